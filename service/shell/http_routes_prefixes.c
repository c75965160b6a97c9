/* /v1/prefixes: which prefixes have which strategy, and changes of that: all of one request, or none. */
#include "service/shell/http.h"

#include "service/shell/intent.h"
#include "service/shell/libc_mem.h"
#include "wire/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define APPROVAL_DIGITS 16

/* ---- what there is ---- */

static void put_prefix(struct tly_json *json, const struct tly_prefix_view *view,
                       const struct tly_kept_intent *kept)
{
    tly_json_open(json, '{');
    tly_json_member_text(json, "prefix", view->prefix);
    tly_json_key(json, "strategy");
    if (view->strategy != NULL)
        tly_json_put_text(json, tly_slice_text(view->strategy->name));
    else
        tly_json_put_null(json);
    tly_json_member_uint(json, "generation", view->generation);
    tly_json_member_bool(json, "built_in", view->is_built_in);
    tly_json_member_bool(json, "held", view->is_held);
    if (kept != NULL) {
        tly_json_member_string(json, "held_by", kept->name);
        tly_json_member_string(json, "held_why", kept->why);
    }
    tly_json_close(json, '}');
}

static void put_prefixes(struct tly_exchange *x)
{
    const struct tly_engine *engine = tly_app_engine(x->app);
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '[');
    for (size_t i = 0; i < tly_engine_prefixes(engine); i++) {
        struct tly_prefix_view view = tly_engine_prefix(engine, i);
        put_prefix(&json, &view, view.is_held ? tly_app_kept(x->app, view.prefix) : NULL);
    }
    tly_json_close(&json, ']');
    tly_http_put_text(x, "\n");
}

static void put_plan(struct tly_json *json, struct tly_slice prefix, struct tly_slice strategy,
                     const struct tly_prefix_plan *plan)
{
    char approval[APPROVAL_DIGITS + 1];
    (void)snprintf(approval, sizeof approval, "%016" PRIx64, plan->approval);
    tly_json_open(json, '{');
    tly_json_member_text(json, "prefix", prefix);
    if (strategy.n > 0) tly_json_member_text(json, "strategy", strategy);
    tly_json_member_uint(json, "keys", plan->keys);
    tly_json_member_uint(json, "lost", plan->lost);
    tly_json_member_string(json, "approval", approval);
    tly_json_close(json, '}');
}

/* ?strategy= */
static struct tly_slice get_strategy(struct tly_http_query query)
{
    struct tly_slice name, value;
    while (tly_http_query_next(&query, &name, &value))
        if (tly_http_is(name, "strategy")) return value;
    return tly_slice_of(NULL, 0);
}

void tly_http_run_prefix(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX], room[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_prefix_plan plan;
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    struct tly_slice strategy = get_strategy((struct tly_http_query){x->request->query, room});
    enum tly_result result =
        tly_engine_prefix_plan(tly_app_engine(x->app), tly_slice_of(bytes, n), strategy, &plan);
    if (result != TLY_OK) {
        tly_http_problem_of(x, result);
        return;
    }
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    put_plan(&json, tly_slice_of(bytes, n), strategy, &plan);
    tly_http_put_text(x, "\n");
}

/* ---- what is wanted ---- */

static bool get_approval(struct tly_slice text, uint64_t *approval)
{
    char digits[APPROVAL_DIGITS + 1];
    if (text.n != APPROVAL_DIGITS) return false;
    memcpy(digits, text.p, text.n);
    digits[text.n] = '\0';
    if (strspn(digits, "0123456789abcdef") != APPROVAL_DIGITS) return false;
    *approval = strtoull(digits, NULL, 16);
    return *approval != 0;
}

static bool get_op(struct tly_slice text, enum tly_prefix_op *op)
{
    static const char *const words[] = {
        [TLY_PREFIX_REGISTER] = "register", [TLY_PREFIX_DROP] = "drop", [TLY_PREFIX_MIGRATE] = "migrate"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        *op = (enum tly_prefix_op)i;
        if (tly_slice_equal(text, tly_slice_text(words[i]))) return true;
    }
    return false;
}

static const char *get_member(const char *name, struct json_object *value, struct tly_prefix_wish *wish)
{
    struct tly_slice text;
    if (!tly_json_get_text(value, &text)) return "every member of a change is a string";
    if (strcmp(name, "prefix") == 0) {
        wish->prefix = text;
    } else if (strcmp(name, "strategy") == 0) {
        wish->strategy = text;
    } else if (strcmp(name, "approval") == 0) {
        if (!get_approval(text, &wish->approval))
            return "approval: 16 hex digits, as GET of the prefix gives them";
    } else if (strcmp(name, "op") == 0) {
        if (!get_op(text, &wish->op)) return "op: register, migrate or drop";
    } else {
        return "a change has op, prefix, strategy and approval, and no other member";
    }
    return NULL;
}

/* NULL: well; else what is wrong. Its texts borrow from the object. */
static const char *get_wish(struct json_object *object, struct tly_prefix_wish *wish)
{
    struct json_object *op, *prefix;
    if (!json_object_is_type(object, json_type_object)) return "a change is an object";
    bool has_both =
        json_object_object_get_ex(object, "op", &op) && json_object_object_get_ex(object, "prefix", &prefix);
    if (!has_both) return "a change has op and prefix";
    *wish = (struct tly_prefix_wish){0};
    struct json_object_iterator at = json_object_iter_begin(object), end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *why = get_member(json_object_iter_peek_name(&at), json_object_iter_peek_value(&at), wish);
        if (why != NULL) return why;
    }
    if (wish->op != TLY_PREFIX_DROP && wish->strategy.p == NULL)
        return "to register or migrate, a strategy has to be named";
    return NULL;
}

static const char *get_wishes(struct json_object *body, struct tly_prefix_wish *wishes, size_t *count)
{
    if (!json_object_is_type(body, json_type_array)) {
        *count = 1;
        return get_wish(body, wishes);
    }
    *count = json_object_array_length(body);
    if (*count == 0 || *count > TLY_TABLE_CHANGED_MAX) return "a request has 1 to 8 changes";
    for (size_t i = 0; i < *count; i++) {
        const char *why = get_wish(json_object_array_get_idx(body, i), &wishes[i]);
        if (why != NULL) return why;
    }
    return NULL;
}

static void refuse(struct tly_exchange *x, enum tly_result result, const struct tly_prefix_wish *wish,
                   const struct tly_reply *reply)
{
    int n = (int)(wish->prefix.n < 64 ? wish->prefix.n : 64);
    if (result == TLY_UNAPPROVED || result == TLY_APPROVAL_STALE)
        tly_http_problem(x, 409, tly_result_name(result),
                         "%.*s: %s: of %zu keys %zu would be lost; to approve that: %016" PRIx64, n,
                         (const char *)wish->prefix.p, tly_result_text(result), reply->plan.keys,
                         reply->plan.lost, reply->plan.approval);
    else if (result == TLY_TOO_LARGE)
        tly_http_problem(x, 413, tly_result_name(result),
                         "%.*s: it holds more than can be migrated in one piece", n,
                         (const char *)wish->prefix.p);
    else if (result == TLY_IO)
        tly_http_problem(x, 503, "store", "the disk refuses, so nothing is changed: see /readyz");
    else
        tly_http_problem_of(x, result);
}

static void change(struct tly_exchange *x, struct json_object *body)
{
    char actor[TLY_TABLE_ACTOR_MAX + 1];
    struct tly_prefix_wish wishes[TLY_TABLE_CHANGED_MAX];
    struct tly_reply reply;
    (void)snprintf(actor, sizeof actor, "http %s", x->client != NULL ? tly_client_peer(x->client) : "");
    struct tly_request request = {.kind = TLY_ASK_PREFIXES, .bytes = tly_slice_text(actor), .wishes = wishes};
    const char *why = get_wishes(body, wishes, &request.wish_count);
    if (why != NULL) {
        tly_http_problem(x, 400, "bad_request", "%s", why);
        return;
    }
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK)
        put_prefixes(x);
    else
        refuse(x, result, &wishes[reply.wish_at < request.wish_count ? reply.wish_at : 0], &reply);
}

void tly_http_run_prefixes(struct tly_exchange *x)
{
    if (!tly_http_method_is(x->request, "POST")) {
        put_prefixes(x);
        return;
    }
    struct tly_mem mem = tly_libc_mem();
    const char *error = NULL;
    struct json_object *body = tly_json_parse(x->request, &mem, &error);
    if (body == NULL)
        tly_http_problem(x, 400, "bad_json", "%s", error);
    else
        change(x, body);
    json_object_put(body);
}
