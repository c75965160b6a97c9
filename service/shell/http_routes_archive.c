/* /v1/export, /v1/apply and /v1/explain: dots as they are. */
#include "service/shell/http.h"

#include "crdt/epoch_sum.h"
#include "service/engine/limit.h"

#include <inttypes.h>
#include <stdio.h>

/* Windows of one key that are read; a key has one, or two for a while when its limit was changed. */
#define WINDOWS_MAX 8

/* ---- export ---- */

static bool next_piece(void *context, struct tly_buf *piece, bool *done)
{
    return tly_export_next(context, piece, done) == TLY_OK;
}

static void end_export(void *context)
{
    tly_export_free(context);
}

/* ?prefix=, into the room; false: it was answered what is wrong. */
static bool get_prefix(struct tly_exchange *x, uint8_t *room, struct tly_slice *prefix)
{
    struct tly_http_query query = {x->request->query, room};
    struct tly_slice name, value;
    *prefix = tly_slice_of(room, 0);
    while (tly_http_query_next(&query, &name, &value)) {
        if (!tly_http_is(name, "prefix")) continue;
        *prefix = value;
        if (value.n <= TLY_KEY_BYTES_MAX) return true;
        tly_http_problem(x, 400, "bad_prefix", "prefix is longer than a key: %d bytes", TLY_KEY_BYTES_MAX);
        return false;
    }
    return true;
}

void tly_http_run_export(struct tly_exchange *x)
{
    uint8_t room[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_slice prefix;
    if (!get_prefix(x, room, &prefix)) return;
    struct tly_export *export;
    enum tly_result result = tly_export_new(tly_app_engine(x->app), prefix, tly_app_now(x->app), &export);
    if (result == TLY_FULL) {
        tly_http_problem(x, 503, "busy", "%d exports are under way: try again later", TLY_EXPORTS_MAX);
        return;
    }
    if (result != TLY_OK) {
        tly_http_problem_of(x, result);
        return;
    }
    x->type = "application/octet-stream";
    x->stream = (struct tly_http_stream){next_piece, end_export, export};
}

/* ---- apply ---- */

static int status_of_refusal(enum tly_result result)
{
    switch (result) {
    case TLY_NO_STRATEGY: return 404;
    case TLY_READ_ONLY: return 403;
    case TLY_TOO_LARGE: return 413;
    case TLY_WRONG_STRATEGY:
    case TLY_CLOCK_AHEAD:
    case TLY_OWN_LIFE: return 409;
    case TLY_FULL: return 507;
    case TLY_NOMEM:
    case TLY_CLOCK_END: return 503;
    default: return 400;
    }
}

/* Keys are any bytes, and an error is for people. */
static void printable(struct tly_slice key, char *text, size_t size)
{
    size_t n = 0;
    for (; n < key.n && n + 1 < size; n++)
        text[n] = (char)(key.p[n] >= ' ' && key.p[n] < 0x7f ? key.p[n] : '?');
    text[n] = '\0';
}

static void refuse_archive(struct tly_exchange *x, enum tly_result result, const struct tly_applied *applied)
{
    char key[64], at[48] = "";
    printable(applied->key, key, sizeof key);
    bool too_many = result == TLY_TOO_LARGE && applied->rows >= TLY_APPLY_ROWS_MAX;
    (void)snprintf(at, sizeof at, "at byte %" PRIu64, applied->offset);
    if (too_many)
        tly_http_problem(x, 413, "too_large", "more than %d dots: nothing was applied", TLY_APPLY_ROWS_MAX);
    else if (result == TLY_MORE)
        tly_http_problem(x, 400, "cut_off", "the file ends too early, %s: nothing was applied", at);
    else if (result == TLY_UNKNOWN_FRAME)
        tly_http_problem(x, 400, "unknown_frame",
                         "%s: a newer format than this node knows: nothing was applied", at);
    else if (applied->key.n > 0)
        tly_http_problem(x, status_of_refusal(result), tly_result_name(result),
                         "%s, key %s: %s: nothing was applied", at, key, tly_result_text(result));
    else
        tly_http_problem(x, status_of_refusal(result), tly_result_name(result), "%s: %s: nothing was applied",
                         at, tly_result_text(result));
}

void tly_http_run_apply(struct tly_exchange *x)
{
    struct tly_request request = {.kind = TLY_ASK_APPLY};
    struct tly_reply reply;
    struct tly_buf room;
    tly_buf_init(&room, &x->body->mem, TLY_HTTP_BODY_BYTES_MAX);
    enum tly_result result = TLY_NOMEM;
    reply.applied = (struct tly_applied){0};
    if (tly_http_whole_body(x->request, &room, &request.bytes))
        result = tly_app_ask(x->app, &request, &reply);
    tly_buf_fini(&room);
    if (result != TLY_OK) {
        refuse_archive(x, result, &reply.applied);
        return;
    }
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    tly_json_member_uint(&json, "dots", reply.applied.rows);
    tly_json_member_uint(&json, "applied", reply.applied.applied);
    tly_json_member_uint(&json, "repaired", reply.applied.repaired);
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

/* ---- explain ---- */

static const char *const words[][TLY_NUMS_MAX] = {
    [TLY_LWW] = {"deadline_ms"},
    [TLY_EPOCH_MAX] = {"epoch", "count"},
    [TLY_EPOCH_SUM] = {"window", "epoch", "count", "aux"},
    [TLY_ESCROW] = {"window", "epoch", "peer", "units"},
};

static void put_payload(struct tly_json *json, const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    for (unsigned i = 0; i < strategy->nums; i++) {
        const char *name = words[strategy->id][i];
        if (strategy->id == TLY_LWW && dot->num[i] == 0) continue;
        if ((strategy->signed_nums >> i & 1u) != 0)
            tly_json_member_int(json, name, (int64_t)dot->num[i]);
        else
            tly_json_member_uint(json, name, dot->num[i]);
    }
    if (!strategy->has_bytes) return;
    tly_json_key(json, tly_utf8_is_valid(dot->bytes) ? "value" : "value_base64");
    if (tly_utf8_is_valid(dot->bytes))
        tly_json_put_text(json, dot->bytes);
    else
        tly_json_put_base64(json, dot->bytes);
}

static void put_dot(struct tly_json *json, const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    tly_json_open(json, '{');
    tly_json_member_string(json, "op", dot->op == TLY_REMOVE ? "remove" : "put");
    tly_json_member_uint(json, "ts", dot->version.ts);
    tly_json_member_uint(json, "origin", dot->version.origin);
    if (dot->op == TLY_PUT) put_payload(json, strategy, dot);
    tly_json_close(json, '}');
}

/* What it reads as now, of one window; epoch_sum only. */
static void put_window(struct tly_json *json, struct tly_slice key, const struct tly_entry_view *view,
                       uint64_t window)
{
    uint64_t now_ms = view->now_ms;
    struct tly_moment at = {.now_ms = now_ms, .window = window, .epoch = window != 0 ? now_ms / window : 0};
    struct tly_value value;
    view->strategy->read(view->dots, view->count, &at, &value);
    if (window == 0) tly_limit_value(key, now_ms, &value);
    tly_json_open(json, '{');
    tly_json_member_uint(json, "window", window);
    tly_json_member_bool(json, "present", value.present);
    tly_json_member_uint(json, "epoch", value.epoch);
    tly_json_member_int(json, "count", value.count);
    if (window != 0) tly_json_member_int(json, "previous", value.previous);
    if (value.deadline_ms != 0) tly_json_member_uint(json, "deadline_ms", value.deadline_ms);
    tly_json_close(json, '}');
}

/* The windows that the dots are of, each once; how many. */
static size_t windows_of(const struct tly_entry_view *view, uint64_t windows[WINDOWS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < view->count; i++) {
        uint64_t window = view->dots[i].num[TLY_SUM_WINDOW];
        size_t at = 0;
        while (at < count && windows[at] != window)
            at++;
        if (view->dots[i].op == TLY_PUT && at == count && count < WINDOWS_MAX) windows[count++] = window;
    }
    return count;
}

static void put_reads(struct tly_json *json, struct tly_slice key, const struct tly_entry_view *view)
{
    uint64_t windows[WINDOWS_MAX];
    size_t count = view->strategy->id == TLY_EPOCH_SUM ? windows_of(view, windows) : 0;
    tly_json_key(json, "reads");
    tly_json_open(json, '[');
    for (size_t i = 0; i < count; i++)
        put_window(json, key, view, windows[i]);
    tly_json_close(json, ']');
    if (!view->is_bucket) return;
    tly_json_key(json, "bucket");
    tly_json_open(json, '{');
    tly_json_member_uint(json, "tat_ns", view->tat_ns);
    tly_json_member_uint(json, "emission_ns", view->emission_ns);
    tly_json_member_uint(json, "tolerance_ns", view->tolerance_ns);
    tly_json_close(json, '}');
}

static void put_entry(struct tly_exchange *x, struct tly_slice key, const struct tly_entry_view *view)
{
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    tly_json_member_text(&json, "key", key);
    tly_json_member_string(&json, "strategy", view->strategy->name);
    tly_json_member_uint(&json, "now_ms", view->now_ms);
    tly_json_member_bool(&json, "unsealed", view->unsealed);
    tly_json_key(&json, "dots");
    tly_json_open(&json, '[');
    for (size_t i = 0; i < view->count; i++)
        put_dot(&json, view->strategy, &view->dots[i]);
    tly_json_close(&json, ']');
    put_reads(&json, key, view);
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

void tly_http_run_explain(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX];
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    struct tly_entry_view view;
    enum tly_result result = tly_engine_entry(tly_app_engine(x->app), tly_slice_of(bytes, n), &view);
    if (result == TLY_OK)
        put_entry(x, tly_slice_of(bytes, n), &view);
    else
        tly_http_problem_of(x, result);
}
