/*
 * ANY /check/LIMIT: the one contract for proxies that ask before they forward (nginx auth_request, Caddy forward_auth,
 * Traefik ForwardAuth).  A field of the limit's key is taken from the query, else from X-Tally-FIELD, else, if it is
 * one of those that every request has (ip, host, path, method, scheme), from what proxies say of it.
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
    uint8_t decoded[TLY_HTTP_LINE_BYTES_MAX];
    size_t used;
};

/* Decoded into the room that is left; false: a malformed escape. */
static bool decode(struct forward *forward, struct tly_slice text, bool is_query, struct tly_slice *decoded)
{
    /* The room is that of a request line, of which every part is decoded once at most. */
    uint8_t *to = forward->decoded + forward->used;
    size_t n =
        text.n <= sizeof forward->decoded - forward->used ? tly_http_decode(text, is_query, to) : SIZE_MAX;
    if (n == SIZE_MAX) return false;
    forward->used += n;
    *decoded = tly_slice_of(to, n);
    return true;
}

static bool is_field(const struct tly_rule *rule, struct tly_slice name)
{
    for (size_t i = 0; i < rule->field_count; i++)
        if (tly_slice_equal(name, tly_slice_text(rule->field[i]))) return true;
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

/* One "name=value"; NULL, or what is wrong with it. A field that the limit does not have is passed over. */
static const char *take_pair(struct forward *forward, struct tly_slice raw_name, struct tly_slice raw_value)
{
    struct tly_slice name, value;
    if (!decode(forward, raw_name, true, &name) || !decode(forward, raw_value, true, &value))
        return "the query has a malformed escape";
    if (is_field(forward->rule, name)) {
        if (given(forward, name) != NULL) return "the query has a field twice";
        forward->field[forward->field_count++] = (struct tly_field){name, value};
    } else if (tly_http_is(name, "hits")) {
        if (!get_hits(value, &forward->hits)) return "hits: a whole number from 0 to 4294967295";
    } else if (tly_http_is(name, "deny")) {
        bool is_403 = tly_http_is(value, "403");
        if (!is_403 && !tly_http_is(value, "429")) return "deny: 403 or 429";
        forward->deny = is_403 ? 403 : 429;
    }
    return NULL;
}

static const char *take_query(struct forward *forward, struct tly_slice query)
{
    struct tly_slice name, value;
    for (size_t at = 0; tly_http_query_next(query, &at, &name, &value);) {
        const char *fault = take_pair(forward, name, value);
        if (fault != NULL) return fault;
    }
    return NULL;
}

/* ---- what proxies say ---- */

/* The value of the first of these headers that is there. */
static struct tly_slice first_header(const struct tly_http_request *request, const char *const *names)
{
    struct tly_slice value = {0};
    for (size_t i = 0; value.p == NULL && names[i] != NULL; i++)
        value = tly_http_header(request, names[i]);
    return value;
}

/* The last of a list: the one that the nearest proxy added. */
static struct tly_slice last_of(struct tly_slice list)
{
    size_t n = list.n;
    while (n > 0 && list.p[n - 1] != ',')
        n--;
    return tly_http_trimmed(tly_slice_of(list.p + n, list.n - n));
}

/* "127.0.0.1" of "127.0.0.1:53412", "::1" of "[::1]:53412"; "unix" as it is. */
static struct tly_slice peer_ip(const struct tly_client *client)
{
    const char *peer = tly_client_peer(client), *colon = strrchr(peer, ':');
    if (colon == NULL) return tly_slice_text(peer);
    size_t n = (size_t)(colon - peer);
    bool is_v6 = n >= 2 && peer[0] == '[';
    return is_v6 ? tly_slice_of(peer + 1, n - 2) : tly_slice_of(peer, n);
}

static struct tly_slice ip_of(const struct tly_exchange *x)
{
    struct tly_slice real = tly_http_header(x->request, "x-real-ip");
    struct tly_slice forwarded = tly_http_header(x->request, "x-forwarded-for");
    if (real.n > 0) return real;
    return forwarded.n > 0 ? last_of(forwarded) : peer_ip(x->client);
}

static struct tly_slice host_of(const struct tly_exchange *x)
{
    static const char *const names[] = {"x-forwarded-host", "host", NULL};
    return first_header(x->request, names);
}

/* Without its query. */
static struct tly_slice path_of(const struct tly_exchange *x)
{
    static const char *const names[] = {"x-original-uri", "x-forwarded-uri", NULL};
    struct tly_slice uri = first_header(x->request, names);
    const uint8_t *mark = uri.n > 0 ? memchr(uri.p, '?', uri.n) : NULL;
    return mark != NULL ? tly_slice_of(uri.p, (size_t)(mark - uri.p)) : uri;
}

static struct tly_slice method_of(const struct tly_exchange *x)
{
    static const char *const names[] = {"x-forwarded-method", "x-original-method", NULL};
    struct tly_slice method = first_header(x->request, names);
    return method.p != NULL ? method : x->request->method;
}

static struct tly_slice scheme_of(const struct tly_exchange *x)
{
    struct tly_slice scheme = tly_http_header(x->request, "x-forwarded-proto");
    return scheme.p != NULL ? scheme : tly_slice_text("http");
}

static const struct {
    const char *name;
    struct tly_slice (*get)(const struct tly_exchange *x);
} known[] = {
    {"ip", ip_of}, {"host", host_of}, {"path", path_of}, {"method", method_of}, {"scheme", scheme_of}};

/* A field that the query does not have; p NULL: nobody says what it is. */
static struct tly_slice find_field(const struct tly_exchange *x, const char *name)
{
    char header[sizeof "x-tally-" + TLY_FIELD_NAME_BYTES_MAX];
    (void)snprintf(header, sizeof header, "x-tally-%s", name);
    for (char *c = header; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    struct tly_slice value = tly_http_header(x->request, header);
    for (size_t i = 0; value.p == NULL && i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) value = known[i].get(x);
    return value;
}

static void fill_fields(const struct tly_exchange *x, struct forward *forward)
{
    for (size_t i = 0; i < forward->rule->field_count; i++) {
        struct tly_slice name = tly_slice_text(forward->rule->field[i]);
        if (given(forward, name) != NULL) continue;
        struct tly_slice value = find_field(x, forward->rule->field[i]);
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
    forward.used = forward.field_count = 0;
    forward.hits = 1;
    forward.deny = 429;
    if (!decode(&forward, x->rest, false, &forward.limit)) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    const struct tly_rules *rules = tly_engine_rules(tly_app_engine(x->app));
    forward.rule = rules != NULL ? tly_rules_find(rules, forward.limit) : NULL;
    if (forward.rule == NULL) {
        tly_http_problem_of(x, TLY_NO_LIMIT);
        return;
    }
    const char *fault = take_query(&forward, x->request->query);
    if (fault != NULL) {
        tly_http_problem(x, 400, "bad_query", "%s", fault);
        return;
    }
    fill_fields(x, &forward);
    decide(x, &forward);
}
