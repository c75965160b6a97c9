/* /v1/counters/KEY: whatever a key holds, as its strategy has it. */
#include "service/shell/http.h"

void tly_http_put_value(struct tly_json *json, const struct tly_strategy *strategy,
                        const struct tly_value *value)
{
    if (strategy->id == TLY_EPOCH_MAX) {
        tly_json_member_uint(json, "epoch", value->epoch);
        tly_json_member_int(json, "count", value->count);
    } else if (strategy->id == TLY_EPOCH_SUM) {
        tly_json_member_int(json, "value", value->count);
    } else if (tly_utf8_is_valid(value->bytes)) {
        tly_json_member_text(json, "value", value->bytes);
    } else {
        tly_json_key(json, "value_base64");
        tly_json_put_base64(json, value->bytes);
    }
    if (value->deadline_ms != 0) tly_json_member_uint(json, "deadline_ms", value->deadline_ms);
}

static void put_state(struct tly_exchange *x, struct tly_slice key, const struct tly_reply *reply)
{
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    if (reply->strategy->id == TLY_EPOCH_SUM) tly_json_member_text(&json, "key", key);
    tly_http_put_value(&json, reply->strategy, &reply->value);
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

static bool wants_raw(const struct tly_http_request *request)
{
    return tly_slice_equal(tly_http_header(request, "accept"), tly_slice_text(TLY_HTTP_BYTES));
}

static bool put_raw(struct tly_exchange *x, const struct tly_reply *reply)
{
    uint8_t room[TLY_RAW_EPOCH_MAX_BYTES];
    struct tly_slice raw;
    if (!tly_raw_of(reply->strategy, &reply->value, room, &raw)) return false;
    x->type = TLY_HTTP_BYTES;
    tly_buf_put(x->body, raw.p, raw.n);
    return true;
}

static void read_key(struct tly_exchange *x, struct tly_slice key)
{
    struct tly_request request = {.kind = TLY_ASK_READ, .key = key};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result != TLY_OK)
        tly_http_problem_of(x, result);
    else if (!wants_raw(x->request) || !put_raw(x, &reply))
        put_state(x, key, &reply);
}

/* PUT: the body is the value, as tly_raw_get reads it. */
static void store_raw(struct tly_exchange *x, struct tly_slice key)
{
    struct tly_slice piece;
    for (size_t at = 0; tly_http_body_next(x->request, &at, &piece);)
        tly_buf_put(x->body, piece.p, piece.n);
    struct tly_request request = {.kind = TLY_ASK_PUT_RAW, .key = key, .bytes = tly_buf_slice(x->body)};
    struct tly_reply reply;
    enum tly_result result = x->body->result;
    if (result == TLY_OK) result = tly_app_ask(x->app, &request, &reply);
    tly_buf_clear(x->body);
    if (result == TLY_OK)
        x->status = 204;
    else
        tly_http_problem_of(x, result);
}

static void delete_key(struct tly_exchange *x, struct tly_slice key)
{
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = key};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK)
        x->status = 204;
    else
        tly_http_problem_of(x, result);
}

/* ---- POST ---- */

/* The members of a change that were there, by bit. */
enum { HAS_DELTA = 1, HAS_NUMBER = 2, HAS_TEXT = 4, HAS_EPOCH = 8, HAS_COUNT = 16, HAS_DEADLINE = 32 };

/* Reads one member; its bit, or 0 when it is not what it should be. */
static unsigned get_member(const char *name, struct json_object *value, struct tly_request *request)
{
    if (strcmp(name, "delta") == 0) return tly_json_get_int(value, &request->number) ? HAS_DELTA : 0;
    if (strcmp(name, "count") == 0) return tly_json_get_int(value, &request->number) ? HAS_COUNT : 0;
    if (strcmp(name, "epoch") == 0)
        return tly_json_get_uint(value, UINT64_MAX, &request->epoch) ? HAS_EPOCH : 0;
    if (strcmp(name, "deadline_ms") == 0)
        return tly_json_get_uint(value, INT64_MAX - 1, &request->deadline_ms) ? HAS_DEADLINE : 0;
    if (strcmp(name, "value") != 0) return 0;
    if (tly_json_get_text(value, &request->bytes)) return HAS_TEXT;
    return tly_json_get_int(value, &request->number) ? HAS_NUMBER : 0;
}

static const struct {
    unsigned members;
    enum tly_request_kind kind;
} changes[] = {
    {HAS_DELTA, TLY_ASK_ADD},
    {HAS_NUMBER, TLY_ASK_SET},
    {HAS_NUMBER | HAS_DEADLINE, TLY_ASK_SET},
    {HAS_TEXT, TLY_ASK_PUT},
    {HAS_TEXT | HAS_DEADLINE, TLY_ASK_PUT},
    {HAS_EPOCH | HAS_COUNT, TLY_ASK_PUT_MAX},
};

static bool get_change(struct json_object *object, struct tly_request *request)
{
    unsigned has = 0;
    if (!json_object_is_type(object, json_type_object)) return false;
    struct json_object_iterator at = json_object_iter_begin(object), end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        unsigned bit = get_member(json_object_iter_peek_name(&at), json_object_iter_peek_value(&at), request);
        if (bit == 0) return false;
        has |= bit;
    }
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        if (has != changes[i].members) continue;
        request->kind = changes[i].kind;
        return true;
    }
    return false;
}

static void apply(struct tly_exchange *x, struct tly_request *request)
{
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, request, &reply);
    if (result == TLY_OK)
        read_key(x, request->key);
    else
        tly_http_problem_of(x, result);
}

static void change_key(struct tly_exchange *x, struct tly_slice key)
{
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = key, .number = 1};
    struct tly_slice piece;
    size_t at = 0;
    if (!tly_http_body_next(x->request, &at, &piece)) {
        apply(x, &request);
        return;
    }
    const char *error;
    struct json_object *object = tly_json_parse(x->request, &x->body->mem, &error);
    if (object == NULL)
        tly_http_problem(x, 400, "bad_json", "%s", error);
    else if (!get_change(object, &request))
        tly_http_problem(x, 400, "bad_change",
                         "a change is {\"delta\": n}, {\"value\": n or text}, perhaps with deadline_ms, or "
                         "{\"epoch\": n, \"count\": n}");
    else
        apply(x, &request);
    (void)json_object_put(object);
}

/* ---- how far it is to come ---- */

#define TIMEOUT_MS 1000
#define TIMEOUT_MS_MAX 60000

static bool get_number(struct tly_slice value, uint64_t least, uint64_t most, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || *number > most) return false;
        *number = *number * 10 + (uint64_t)(value.p[i] - '0');
    }
    return value.n > 0 && *number >= least && *number <= most;
}

/* ack=N, timeout_ms=T, durable=1; *waits: there is an ack. False: it was answered what is wrong. */
static bool get_wish(struct tly_exchange *x, struct tly_ack_wish *wish, bool *waits)
{
    uint8_t room[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_http_query query = {x->request->query, room};
    struct tly_slice name, value;
    uint64_t timeout_ms = TIMEOUT_MS, durable = 0;
    bool ok = true;
    while (ok && tly_http_query_next(&query, &name, &value)) {
        if (tly_http_is(name, "ack")) {
            ok = get_number(value, 0, TLY_ACK_NODES_MAX, &wish->nodes);
            *waits = true;
        } else if (tly_http_is(name, "timeout_ms")) {
            ok = get_number(value, 1, TIMEOUT_MS_MAX, &timeout_ms);
        } else if (tly_http_is(name, "durable")) {
            ok = get_number(value, 0, 1, &durable);
        }
    }
    wish->timeout_ns = timeout_ms * UINT64_C(1000000);
    wish->durable = durable == 1;
    if (!ok)
        tly_http_problem(x, 400, "bad_query",
                         "ack is a number of other nodes, at most %d, timeout_ms 1 to %d, durable 0 or 1",
                         TLY_ACK_NODES_MAX, TIMEOUT_MS_MAX);
    return ok;
}

static void write_key(struct tly_exchange *x, struct tly_slice key)
{
    struct tly_ack_wish wish = {0};
    bool waits = false;
    if (!get_wish(x, &wish, &waits)) return;
    if (tly_http_method_is(x->request, "DELETE"))
        delete_key(x, key);
    else if (tly_http_method_is(x->request, "PUT"))
        store_raw(x, key);
    else
        change_key(x, key);
    if (!waits || x->status >= 300) return;
    /* It is written: who cannot wait is told no less. */
    if (tly_app_wait(x->app, &wish, &x->ack) == TLY_OK) return;
    x->ack = NULL;
    tly_http_add_header(x, "Tally-Ack: %s", tly_reached_word(TLY_REACHED_QUEUED));
}

void tly_http_run_counter(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX];
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    struct tly_slice key = tly_slice_of(bytes, n);
    bool is_reading = tly_http_method_is(x->request, "GET") || tly_http_method_is(x->request, "HEAD");
    if (is_reading)
        read_key(x, key);
    else
        write_key(x, key);
}
