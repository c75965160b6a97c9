/* POST /v1/reserve, /v1/commit, /v1/cancel, /v1/refund and /v1/reset; and of concurrency /v1/acquire and /v1/release. */
#include "service/shell/http_check.h"

/* ---- the body ---- */

/* A check of one limit, and what else a request may say. */
struct only {
    struct tly_http_asked asked;
    struct tly_slice id;
    uint64_t at_ms, ttl_ms;
};

/* Takes a member of the body that is no member of a check; false: it is not of this form. */
static bool take_uint(struct json_object *object, const char *name, uint64_t *number)
{
    struct json_object *value = NULL;
    return !json_object_object_get_ex(object, name, &value) || tly_json_get_uint(value, INT64_MAX, number);
}

static bool get_only(struct json_object *object, struct only *only, struct tly_http_fault *fault)
{
    struct json_object *id = NULL;
    *only = (struct only){.ttl_ms = 60000};
    if (!json_object_is_type(object, json_type_object)) return tly_http_fail(fault, "a check is an object");
    if (!take_uint(object, "at_ms", &only->at_ms)) return tly_http_fail(fault, "at_ms: ms since 1970");
    bool is_ttl = take_uint(object, "ttl_ms", &only->ttl_ms) && only->ttl_ms >= 1;
    if (!is_ttl || only->ttl_ms > (uint64_t)TLY_HOLD_MS_MAX)
        return tly_http_fail(fault, "ttl_ms: 1 to %d", (int)TLY_HOLD_MS_MAX);
    if (json_object_object_get_ex(object, "id", &id) && !tly_json_get_text(id, &only->id))
        return tly_http_fail(fault, "id: a string");
    return true;
}

/* Reads the body, whose `also` are members beside those of a check; NULL: the answer says what is wrong. Else it is to be put back. */
static struct json_object *get_body(struct tly_exchange *x, struct only *only, const char *const *also)
{
    const char *error;
    struct tly_http_fault fault;
    struct json_object *object = tly_json_parse(x->request, &x->body->mem, &error);
    if (object == NULL) {
        tly_http_problem(x, 400, "bad_json", "%s", error);
        return NULL;
    }
    if (get_only(object, only, &fault)) {
        /* They are taken out, and one that does not belong here is left and is no member of a check. */
        struct json_object *id = NULL;
        if (json_object_object_get_ex(object, "id", &id)) (void)json_object_get(id);
        for (; *also != NULL; also++)
            json_object_object_del(object, *also);
        if (tly_http_get_check(object, &only->asked, &fault)) {
            /* The id's text is to live as long as the body. */
            if (id != NULL) (void)json_object_object_add(object, "id", id);
            return object;
        }
        (void)json_object_put(id);
    }
    tly_http_problem(x, 400, "bad_check", "%s", fault.text);
    (void)json_object_put(object);
    return NULL;
}

/* ---- giving back ---- */

void tly_http_run_refund(struct tly_exchange *x)
{
    static const char *const also[] = {"at_ms", NULL};
    struct only only;
    struct json_object *object = get_body(x, &only, also);
    if (object == NULL) return;
    struct tly_request request = {
        .kind = TLY_ASK_REFUND, .check = only.asked.check, .number = (int64_t)only.at_ms};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK) {
        struct tly_json json = tly_json_of(x->body);
        x->type = TLY_HTTP_JSON;
        tly_json_open(&json, '{');
        tly_json_member_uint(&json, "refunded", reply.refunded);
        tly_json_member_uint(&json, "limit", reply.verdict.limit);
        tly_json_member_uint(&json, "remaining", reply.verdict.remaining);
        tly_json_close(&json, '}');
        tly_http_put_text(x, "\n");
    } else {
        tly_http_problem_of(x, result);
    }
    (void)json_object_put(object);
}

void tly_http_run_reset(struct tly_exchange *x)
{
    static const char *const also[] = {NULL};
    struct only only;
    struct json_object *object = get_body(x, &only, also);
    if (object == NULL) return;
    struct tly_request request = {.kind = TLY_ASK_RESET, .check = only.asked.check};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK || result == TLY_NOT_FOUND) {
        x->type = TLY_HTTP_JSON;
        tly_http_put_text(x, result == TLY_OK ? "{\"reset\":true}\n" : "{\"reset\":false}\n");
    } else {
        tly_http_problem_of(x, result);
    }
    (void)json_object_put(object);
}

/* ---- reservations ---- */

static void put_hold(struct tly_json *json, const struct tly_hold_view *hold)
{
    if (hold->state == TLY_HOLD_NONE) return;
    tly_json_member_text(json, "id", hold->id);
    tly_json_member_string(json, "state", tly_hold_word(hold->state));
    tly_json_member_uint(json, "charged", hold->charged);
    tly_json_member_uint(json, "end_ms", hold->end_ms);
}

static void answer_reserved(struct tly_exchange *x, const struct tly_reply *reply, uint64_t hits)
{
    bool holds = reply->hold.state != TLY_HOLD_NONE;
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    x->status = holds ? 200 : 429;
    tly_json_open(&json, '{');
    put_hold(&json, &reply->hold);
    tly_json_key(&json, "verdict");
    tly_http_put_verdict(&json, &reply->verdict, hits);
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
    if (!holds) tly_http_add_limit_headers(x, &reply->verdict);
}

void tly_http_run_reserve(struct tly_exchange *x)
{
    static const char *const also[] = {"ttl_ms", "id", NULL};
    struct only only;
    struct json_object *object = get_body(x, &only, also);
    if (object == NULL) return;
    struct tly_request request = {
        .kind = TLY_ASK_RESERVE, .check = only.asked.check, .number = (int64_t)only.ttl_ms, .bytes = only.id};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK)
        answer_reserved(x, &reply, only.asked.check.hits);
    else
        tly_http_problem_of(x, result);
    (void)json_object_put(object);
}

/* {"id": …, "hits": …}; hits is not there where it is not asked for. */
static bool get_settling(struct json_object *object, bool commits, struct tly_request *request)
{
    struct json_object *id = NULL, *hits = NULL;
    uint64_t number = 0;
    bool good = json_object_is_type(object, json_type_object) &&
                json_object_object_length(object) == 1 + commits &&
                json_object_object_get_ex(object, "id", &id) && tly_json_get_text(id, &request->bytes);
    if (good && commits)
        good =
            json_object_object_get_ex(object, "hits", &hits) && tly_json_get_uint(hits, UINT32_MAX, &number);
    request->number = (int64_t)number;
    return good;
}

static void settle(struct tly_exchange *x, enum tly_request_kind kind)
{
    bool commits = kind == TLY_ASK_COMMIT;
    const char *error;
    struct tly_request request = {.kind = kind};
    struct tly_reply reply;
    struct json_object *object = tly_json_parse(x->request, &x->body->mem, &error);
    if (object == NULL) {
        tly_http_problem(x, 400, "bad_json", "%s", error);
        return;
    }
    if (!get_settling(object, commits, &request)) {
        tly_http_problem(x, 400, "bad_settling", commits ? "an object of id and hits" : "an object of id");
        (void)json_object_put(object);
        return;
    }
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK) {
        struct tly_json json = tly_json_of(x->body);
        x->type = TLY_HTTP_JSON;
        tly_json_open(&json, '{');
        put_hold(&json, &reply.hold);
        tly_json_close(&json, '}');
        tly_http_put_text(x, "\n");
    } else {
        tly_http_problem_of(x, result);
    }
    (void)json_object_put(object);
}

void tly_http_run_commit(struct tly_exchange *x)
{
    settle(x, TLY_ASK_COMMIT);
}

void tly_http_run_cancel(struct tly_exchange *x)
{
    settle(x, TLY_ASK_CANCEL);
}
