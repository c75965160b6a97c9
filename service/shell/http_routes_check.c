/* POST /v1/check: one check, of one limit or several, or up to CHECKS_MAX of them in an array or in {"checks": […]}. */
#include "service/shell/http_check.h"

#define CHECKS_MAX 1000

/* ---- answering ---- */

static const char *code_word(enum tly_verdict_code code)
{
    static const char *const words[] = {
        [TLY_CODE_OK] = "ok", [TLY_CODE_OVER] = "over", [TLY_CODE_UNKNOWN] = "unknown"};
    return words[code];
}

void tly_http_put_verdict(struct tly_json *json, const struct tly_verdict *verdict, uint64_t hits)
{
    bool never = verdict->retry_after_ms == UINT64_MAX;
    char why[TLY_WHY_BYTES_MAX];
    tly_json_open(json, '{');
    tly_json_member_string(json, "code", code_word(verdict->code));
    tly_json_member_uint(json, "limit", verdict->limit);
    tly_json_member_uint(json, "remaining", verdict->remaining);
    tly_json_member_uint(json, "reset_ms", verdict->reset_ms);
    if (never)
        tly_json_member_int(json, "retry_after_ms", -1);
    else
        tly_json_member_uint(json, "retry_after_ms", verdict->retry_after_ms);
    tly_json_member_uint(json, "window_ms", verdict->window_ms);
    tly_json_member_string(json, "algorithm", tly_algorithm_name(verdict->algorithm));
    if (verdict->name.n > 0) tly_json_member_text(json, "name", verdict->name);
    if (verdict->shadow) tly_json_member_bool(json, "shadow", true);
    tly_json_member_string(json, "mode", tly_mode_name(verdict->mode));
    tly_http_put_bound(json, verdict->bound);
    tly_json_member_string(json, "reason", tly_reason_word(verdict->reason));
    (void)tly_reason_put(verdict, hits, why);
    tly_json_member_string(json, "why", why);
    tly_json_close(json, '}');
}

static enum tly_result ask(struct tly_exchange *x, const struct tly_check *check, struct tly_reply *reply)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = *check};
    enum tly_result result = tly_app_ask(x->app, &request, reply);
    return result == TLY_OK && reply->verdict.code == TLY_CODE_UNKNOWN ? TLY_NO_LIMIT : result;
}

/* ---- several limits in one check ---- */

struct several {
    struct tly_http_asked asked[TLY_CHECK_ALL_MAX];
    struct tly_checked checked[TLY_CHECK_ALL_MAX];
    size_t count;
    bool charges_each;
};

static bool get_charge(struct json_object *value, struct several *several, struct tly_http_fault *fault)
{
    struct tly_slice text;
    bool is_text = tly_json_get_text(value, &text);
    several->charges_each = is_text && tly_slice_equal(text, tly_slice_text("all"));
    return several->charges_each || (is_text && tly_slice_equal(text, tly_slice_text("none_if_over"))) ||
           tly_http_fail(fault, "charge: \"none_if_over\" or \"all\"");
}

/* {"limits": [CHECK, …], "charge": "all"} */
static bool get_several(struct json_object *object, struct several *several, struct tly_http_fault *fault)
{
    struct json_object *limits = NULL, *charge = NULL;
    (void)json_object_object_get_ex(object, "limits", &limits);
    bool has_charge = json_object_object_get_ex(object, "charge", &charge);
    several->charges_each = false;
    several->count = json_object_is_type(limits, json_type_array) ? json_object_array_length(limits) : 0;
    if (several->count == 0 || several->count > TLY_CHECK_ALL_MAX) {
        (void)tly_http_fail(fault, "limits: an array of 1 to %d checks", TLY_CHECK_ALL_MAX);
        return false;
    }
    if (json_object_object_length(object) != 1 + has_charge) {
        (void)tly_http_fail(fault, "beside \"limits\" there is only \"charge\"");
        return false;
    }
    if (has_charge && !get_charge(charge, several, fault)) return false;
    for (size_t i = 0; i < several->count; i++) {
        if (!tly_http_get_check(json_object_array_get_idx(limits, i), &several->asked[i], fault))
            return false;
        several->checked[i] = (struct tly_checked){.check = several->asked[i].check};
    }
    return true;
}

static bool is_several(struct json_object *object)
{
    return json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, "limits", NULL);
}

static enum tly_result ask_several(struct tly_exchange *x, struct several *several, bool *is_over)
{
    struct tly_request request = {.kind = several->charges_each ? TLY_ASK_CHECK_EACH : TLY_ASK_CHECK_ALL,
                                  .checked = several->checked,
                                  .checked_count = several->count};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    *is_over = result == TLY_OK && reply.is_over;
    return result;
}

static void put_fault(struct tly_json *json, const char *code, const char *detail)
{
    tly_json_open(json, '{');
    tly_json_member_string(json, "code", code);
    tly_json_member_string(json, "detail", detail);
    tly_json_close(json, '}');
}

static void put_several(struct tly_json *json, const struct several *several, bool is_over)
{
    tly_json_open(json, '{');
    tly_json_member_string(json, "code", code_word(is_over ? TLY_CODE_OVER : TLY_CODE_OK));
    tly_json_key(json, "limits");
    tly_json_open(json, '[');
    for (size_t i = 0; i < several->count; i++) {
        const struct tly_checked *checked = &several->checked[i];
        if (checked->result == TLY_OK)
            tly_http_put_verdict(json, &checked->verdict,
                                 tly_checked_hits(checked, is_over && !several->charges_each));
        else
            put_fault(json, tly_result_name(checked->result), tly_result_text(checked->result));
    }
    tly_json_close(json, ']');
    tly_json_close(json, '}');
}

/* The one that counts: of those that refuse the one to wait for longest, else the one with the least left. */
static const struct tly_verdict *deciding(const struct several *several)
{
    const struct tly_verdict *chosen = NULL;
    for (size_t i = 0; i < several->count; i++) {
        const struct tly_verdict *verdict = &several->checked[i].verdict;
        if (several->checked[i].result != TLY_OK) continue;
        bool over = verdict->code == TLY_CODE_OVER;
        bool chosen_over = chosen != NULL && chosen->code == TLY_CODE_OVER;
        bool is_worse = chosen == NULL || (over && !chosen_over) ||
                        (over == chosen_over && (over ? verdict->retry_after_ms > chosen->retry_after_ms
                                                      : verdict->remaining < chosen->remaining));
        if (is_worse) chosen = verdict;
    }
    return chosen;
}

static void check_several(struct tly_exchange *x, struct json_object *object)
{
    struct several several;
    struct tly_http_fault fault;
    bool is_over;
    if (!get_several(object, &several, &fault)) {
        tly_http_problem(x, 400, "bad_check", "%s", fault.text);
        return;
    }
    enum tly_result result = ask_several(x, &several, &is_over);
    if (result != TLY_OK) {
        tly_http_problem_of(x, result);
        return;
    }
    struct tly_json json = tly_json_of(x->body);
    const struct tly_verdict *verdict = deciding(&several);
    x->type = TLY_HTTP_JSON;
    x->status = is_over ? 429 : 200;
    put_several(&json, &several, is_over);
    tly_http_put_text(x, "\n");
    if (verdict != NULL) tly_http_add_limit_headers(x, verdict);
}

/* In its place among many. */
static void put_several_result(struct tly_exchange *x, struct tly_json *json, struct json_object *object)
{
    struct several several;
    struct tly_http_fault fault;
    bool is_over, is_check = get_several(object, &several, &fault);
    enum tly_result result = is_check ? ask_several(x, &several, &is_over) : TLY_BAD_MESSAGE;
    if (!is_check)
        put_fault(json, "bad_check", fault.text);
    else if (result != TLY_OK)
        put_fault(json, tly_result_name(result), tly_result_text(result));
    else
        put_several(json, &several, is_over);
}

/* ---- one check, many checks ---- */

static void answer_one(struct tly_exchange *x, const struct tly_check *check)
{
    struct tly_reply reply;
    enum tly_result result = ask(x, check, &reply);
    if (result != TLY_OK) {
        tly_http_problem_of(x, result);
        return;
    }
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    x->status = reply.verdict.code == TLY_CODE_OVER ? 429 : 200;
    tly_http_put_verdict(&json, &reply.verdict, check->hits);
    tly_http_put_text(x, "\n");
    tly_http_add_limit_headers(x, &reply.verdict);
}

static void check_one(struct tly_exchange *x, struct json_object *object)
{
    struct tly_http_asked asked;
    struct tly_http_fault fault;
    if (tly_http_get_check(object, &asked, &fault))
        answer_one(x, &asked.check);
    else
        tly_http_problem(x, 400, "bad_check", "%s", fault.text);
}

/* Each is decided for itself; one that cannot be is an object with code and detail in its place. */
static void put_result(struct tly_exchange *x, struct tly_json *json, struct json_object *object)
{
    struct tly_http_asked asked;
    struct tly_http_fault fault;
    struct tly_reply reply;
    if (is_several(object)) {
        put_several_result(x, json, object);
        return;
    }
    bool is_check = tly_http_get_check(object, &asked, &fault);
    enum tly_result result = is_check ? ask(x, &asked.check, &reply) : TLY_BAD_MESSAGE;
    if (result == TLY_OK) {
        tly_http_put_verdict(json, &reply.verdict, asked.check.hits);
        return;
    }
    put_fault(json, is_check ? tly_result_name(result) : "bad_check",
              is_check ? tly_result_text(result) : fault.text);
}

static void check_many(struct tly_exchange *x, struct json_object *array)
{
    size_t count = json_object_array_length(array);
    if (count > CHECKS_MAX) {
        tly_http_problem(x, 400, "bad_check", "at most %d checks in one request", CHECKS_MAX);
        return;
    }
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    tly_json_key(&json, "results");
    tly_json_open(&json, '[');
    for (size_t i = 0; i < count; i++)
        put_result(x, &json, json_object_array_get_idx(array, i));
    tly_json_close(&json, ']');
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

void tly_http_run_check(struct tly_exchange *x)
{
    struct tly_http_asked asked;
    if (!x->request->is_chunked && tly_http_get_plain(x->request->body, &asked)) {
        answer_one(x, &asked.check);
        return;
    }
    const char *error;
    struct json_object *object = tly_json_parse(x->request, &x->body->mem, &error), *checks = NULL;
    if (object == NULL) {
        tly_http_problem(x, 400, "bad_json", "%s", error);
        return;
    }
    if (json_object_is_type(object, json_type_array))
        check_many(x, object);
    else if (json_object_object_get_ex(object, "checks", &checks) &&
             json_object_is_type(checks, json_type_array) && json_object_object_length(object) == 1)
        check_many(x, checks);
    else if (is_several(object))
        check_several(x, object);
    else
        check_one(x, object);
    (void)json_object_put(object);
}
