/*
 * ANY /check/LIMIT: the one contract for proxies that ask before they forward (nginx auth_request, Caddy forward_auth,
 * Traefik ForwardAuth).  A field of the limit's key is taken from the query, or from the header that the query names for
 * it (header.FIELD=NAME); else, if it is one of those that every request has (ip, host, path, method, scheme), from what proxies
 * say of it; else from X-Tally-FIELD.
 */
#include "service/shell/http.h"

#include <stdio.h>

/* What the query says, decoded. */
struct forward {
    struct tly_slice limit;
    const struct tly_rule *rule; /* NULL: no limit of that name */
    struct tly_field field[TLY_RULE_FIELDS_MAX];
    size_t field_count;
    uint32_t hits;
    int deny;
    char ip[TLY_HTTP_IP_BYTES]; /* as tly_http_said writes it */
    uint8_t decoded
        [TLY_HTTP_LINE_BYTES_MAX]; /* of the request line, of which every part is decoded once at most */
};

static bool is_field(const struct tly_rule *rule, struct tly_slice name)
{
    for (size_t i = 0; i < tly_rule_fields(rule); i++)
        if (tly_slice_equal(name, tly_slice_text(tly_rule_field(rule, i)))) return true;
    return false;
}

static bool get_hits(struct tly_slice text, uint32_t *hits)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        number = number * 10 + (uint64_t)(text.p[i] - '0');
        if (number > UINT32_MAX) return false;
    }
    *hits = (uint32_t)number;
    return text.n > 0;
}

static const struct tly_field *given(const struct forward *forward, struct tly_slice name)
{
    for (size_t i = 0; i < forward->field_count; i++)
        if (tly_slice_equal(forward->field[i].name, name)) return &forward->field[i];
    return NULL;
}

static const char *take_field(struct forward *forward, struct tly_slice name, struct tly_slice value)
{
    if (given(forward, name) != NULL) return "the query has a field twice";
    forward->field[forward->field_count++] = (struct tly_field){name, value};
    return NULL;
}

/* "header.tenant=X-Api-Key": the field is what that header says; empty without it, so that leaving it out escapes no limit. */
static const char *take_header(const struct tly_exchange *x, struct forward *forward, struct tly_slice name,
                               struct tly_slice header)
{
    char lower[64];
    if (!is_field(forward->rule, name)) return NULL;
    if (header.n == 0 || header.n >= sizeof lower) return "header.FIELD: the name of a header";
    for (size_t i = 0; i < header.n; i++)
        lower[i] = (char)(header.p[i] >= 'A' && header.p[i] <= 'Z' ? header.p[i] | 0x20 : header.p[i]);
    lower[header.n] = '\0';
    struct tly_slice value = tly_http_header(x->request, lower);
    return take_field(forward, name, value.p != NULL ? value : tly_slice_text(""));
}

/* One "name=value"; NULL, or what is wrong with it. A field that the limit does not have is passed over. */
static const char *take_pair(const struct tly_exchange *x, struct forward *forward, struct tly_slice name,
                             struct tly_slice value)
{
    static const char by_header[] = "header.";
    const size_t head = sizeof by_header - 1;
    if (is_field(forward->rule, name)) return take_field(forward, name, value);
    if (name.n > head && memcmp(name.p, by_header, head) == 0)
        return take_header(x, forward, tly_slice_of(name.p + head, name.n - head), value);
    if (tly_http_is(name, "hits")) {
        if (!get_hits(value, &forward->hits)) return "hits: a whole number from 0 to 4294967295";
    } else if (tly_http_is(name, "deny")) {
        bool is_403 = tly_http_is(value, "403");
        if (!is_403 && !tly_http_is(value, "429")) return "deny: 403 or 429";
        forward->deny = is_403 ? 403 : 429;
    }
    return NULL;
}

static const char *take_query(const struct tly_exchange *x, struct forward *forward)
{
    struct tly_http_query query = {x->request->query, forward->decoded + forward->limit.n};
    struct tly_slice name, value;
    while (tly_http_query_next(&query, &name, &value)) {
        const char *fault = take_pair(x, forward, name, value);
        if (fault != NULL) return fault;
    }
    return NULL;
}

/* A field that the query does not have; p NULL: nobody says what it is. */
static struct tly_slice find_field(const struct tly_exchange *x, const char *name, char *text)
{
    struct tly_slice value;
    if (tly_http_said(x, name, text, &value)) return value;
    char header[sizeof "x-tally-" + TLY_FIELD_NAME_BYTES_MAX];
    (void)snprintf(header, sizeof header, "x-tally-%s", name);
    for (char *c = header; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    return tly_http_header(x->request, header);
}

static void fill_fields(const struct tly_exchange *x, struct forward *forward)
{
    for (size_t i = 0; i < tly_rule_fields(forward->rule); i++) {
        struct tly_slice name = tly_slice_text(tly_rule_field(forward->rule, i));
        if (given(forward, name) != NULL) continue;
        struct tly_slice value = find_field(x, tly_rule_field(forward->rule, i), forward->ip);
        if (value.p != NULL) forward->field[forward->field_count++] = (struct tly_field){name, value};
    }
}

/* ---- the answer ---- */

static void decide(struct tly_exchange *x, const struct forward *forward)
{
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.limit = forward->limit,
                  .fields = forward->field,
                  .field_count = forward->field_count,
                  .hits = forward->hits},
    };
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result != TLY_OK) {
        tly_http_problem_of(x, result);
        return;
    }
    if (reply.verdict.code == TLY_CODE_OVER)
        tly_http_problem(x, forward->deny, "over", "the limit is reached");
    tly_http_add_limit_headers(x, &reply.verdict);
}

void tly_http_run_forward(struct tly_exchange *x)
{
    struct forward forward;
    forward.field_count = 0;
    forward.hits = 1;
    forward.deny = 429;
    forward.limit = tly_slice_of(forward.decoded, tly_http_decode(x->rest, false, forward.decoded));
    if (forward.limit.n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    const struct tly_rules *rules = tly_engine_rules(tly_app_engine(x->app));
    forward.rule = rules != NULL ? tly_rules_find(rules, forward.limit) : NULL;
    if (forward.rule == NULL) {
        tly_http_problem_of(x, TLY_NO_LIMIT);
        return;
    }
    const char *fault = take_query(x, &forward);
    if (fault != NULL) {
        tly_http_problem(x, 400, "bad_query", "%s", fault);
        return;
    }
    fill_fields(x, &forward);
    decide(x, &forward);
}
