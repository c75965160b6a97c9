/* TLY.*: named limits. */
#include "service/shell/resp.h"

/* A word with a value beside the fields. value.p NULL: it was not said. */
struct option {
    const char *name;
    struct tly_slice value;
};

#define OPTIONS_MAX 3

struct named {
    struct tly_field field[TLY_RULE_FIELDS_MAX];
    struct tly_check check;
    struct option option[OPTIONS_MAX]; /* HITS, and what else the command has; name NULL: no more */
};

/* Whether the limit tells its keys, or what it is for, by a field of this name. */
static bool has_field(const struct tly_rule *rule, struct tly_slice name)
{
    for (size_t i = 0; rule != NULL && i < rule->field_count; i++)
        if (tly_slice_equal(name, tly_slice_text(rule->field[i]))) return true;
    for (size_t i = 0; rule != NULL && i < rule->match_count; i++)
        if (tly_slice_equal(name, tly_slice_text(rule->match[i].field))) return true;
    return false;
}

/* The option that this is; NULL: it is a field. A word that is both is a field when it is spelled as the limit does. */
static struct option *option_of(struct tly_resp *resp, struct named *named, struct tly_slice name)
{
    size_t i = 0;
    while (i < OPTIONS_MAX && named->option[i].name != NULL && !tly_resp_is(name, named->option[i].name))
        i++;
    if (i == OPTIONS_MAX || named->option[i].name == NULL) return NULL;
    const struct tly_rules *rules = tly_engine_rules(tly_app_engine(resp->app));
    bool is_field = rules != NULL && has_field(tly_rules_find(rules, named->check.limit), name);
    return is_field ? NULL : &named->option[i];
}

/* Whether nothing more of a limit stands here: the next one does, or what becomes of all of them, or nothing. */
static bool ends_limit(const struct tly_slice *arg, size_t count, size_t at)
{
    return at >= count || tly_resp_is(arg[at], "AND") ||
           (at + 2 == count && tly_resp_is(arg[at], "CHARGE") && tly_resp_is(arg[at + 1], "ALL"));
}

static bool get_hits(struct tly_resp *resp, struct named *named)
{
    int64_t hits = 1;
    bool is_said = named->option[0].value.p != NULL;
    if (is_said && (!tly_resp_get_int(named->option[0].value, &hits) || hits < 0 || hits > UINT32_MAX)) {
        tly_resp_put_not_int(resp);
        return false;
    }
    named->check.hits = (uint32_t)hits;
    return true;
}

/* Reads LIMIT and its fields and options, each a word and a value, from *at on; false, with the error written, when it is not that. */
static bool get_limit(struct tly_resp *resp, const struct tly_slice *arg, size_t count, size_t *at,
                      struct named *named)
{
    size_t i = *at;
    if (i >= count) {
        tly_resp_put_syntax_error(resp);
        return false;
    }
    if (arg[i].n == 0) {
        /* The engine would take it for a limit that is made up, and complain of its key. */
        tly_resp_put_error(resp->out, "ERR limit: the name of a limit");
        return false;
    }
    named->option[0] = (struct option){.name = "HITS"};
    named->check = (struct tly_check){.limit = arg[i++], .fields = named->field};
    for (; !ends_limit(arg, count, i); i += 2) {
        struct option *option = option_of(resp, named, arg[i]);
        if (i + 1 == count || (option != NULL && option->value.p != NULL)) {
            tly_resp_put_syntax_error(resp);
            return false;
        }
        if (option != NULL) {
            option->value = arg[i + 1];
        } else if (named->check.field_count == TLY_RULE_FIELDS_MAX) {
            tly_resp_put_error(resp->out, "ERR a limit has at most %d fields", TLY_RULE_FIELDS_MAX);
            return false;
        } else {
            named->field[named->check.field_count++] = (struct tly_field){arg[i], arg[i + 1]};
        }
    }
    *at = i;
    return get_hits(resp, named);
}

/* One limit, and nothing behind it. */
static bool get_named(struct tly_resp *resp, const struct tly_slice *arg, size_t count, struct named *named)
{
    size_t at = 1;
    if (!get_limit(resp, arg, count, &at, named)) return false;
    if (at < count) tly_resp_put_syntax_error(resp);
    return at == count;
}

static const char *code_word(enum tly_verdict_code code)
{
    static const char *const words[] = {
        [TLY_CODE_OK] = "ok", [TLY_CODE_OVER] = "over", [TLY_CODE_UNKNOWN] = "unknown"};
    return words[code];
}

void tly_resp_put_verdict(struct tly_resp *resp, const struct tly_verdict *verdict, uint64_t hits)
{
    char why[TLY_WHY_BYTES_MAX];
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"limit", verdict->limit},
        {"remaining", verdict->remaining},
        {"reset_ms", verdict->reset_ms},
    };
    tly_resp_put_map(resp->out, resp->proto, 10);
    tly_resp_put_text(resp->out, "code");
    tly_resp_put_text(resp->out, code_word(verdict->code));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tly_resp_put_text(resp->out, rows[i].name);
        tly_resp_put_uint(resp->out, rows[i].number);
    }
    tly_resp_put_text(resp->out, "retry_after_ms");
    if (verdict->retry_after_ms == UINT64_MAX)
        tly_resp_put_int(resp->out, -1);
    else
        tly_resp_put_uint(resp->out, verdict->retry_after_ms);
    tly_resp_put_text(resp->out, "name");
    tly_resp_put_bulk(resp->out, verdict->name);
    tly_resp_put_text(resp->out, "mode");
    tly_resp_put_text(resp->out, tly_mode_name(verdict->mode));
    tly_resp_put_text(resp->out, "bound");
    if (verdict->bound == TLY_BOUND_NONE)
        tly_resp_put_int(resp->out, -1);
    else
        tly_resp_put_uint(resp->out, verdict->bound);
    tly_resp_put_text(resp->out, "reason");
    tly_resp_put_text(resp->out, tly_reason_word(verdict->reason));
    (void)tly_reason_put(verdict, hits, why);
    tly_resp_put_text(resp->out, "why");
    tly_resp_put_text(resp->out, why);
}

static void ask_named(struct tly_resp *resp, const struct tly_check *check)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = *check};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_NO_LIMIT)
        reply.verdict = (struct tly_verdict){
            .code = TLY_CODE_UNKNOWN, .reason = TLY_REASON_UNKNOWN, .name = check->limit};
    if (result == TLY_OK || result == TLY_NO_LIMIT)
        tly_resp_put_verdict(resp, &reply.verdict, check->hits);
    else
        tly_resp_put_result(resp, result);
}

/* LIMIT… AND LIMIT… [CHARGE ALL]: the answer is a verdict for each, in order. */
static void check_several(struct tly_resp *resp, const struct tly_slice *arg, size_t count, size_t at,
                          const struct named *first)
{
    struct named named[TLY_CHECK_ALL_MAX];
    struct tly_checked checked[TLY_CHECK_ALL_MAX];
    size_t n = 0;
    named[n++] = *first;
    named[0].check.fields = named[0].field;
    while (at < count && tly_resp_is(arg[at], "AND")) {
        at++;
        if (n == TLY_CHECK_ALL_MAX) {
            tly_resp_put_error(resp->out, "ERR at most %d limits in one check", TLY_CHECK_ALL_MAX);
            return;
        }
        named[n].option[1].name = NULL;
        if (!get_limit(resp, arg, count, &at, &named[n++])) return;
    }
    for (size_t i = 0; i < n; i++)
        checked[i] = (struct tly_checked){.check = named[i].check};
    struct tly_request request = {
        .kind = at < count ? TLY_ASK_CHECK_EACH : TLY_ASK_CHECK_ALL, .checked = checked, .checked_count = n};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result != TLY_OK) {
        tly_resp_put_result(resp, result);
        return;
    }
    tly_resp_put_array(resp->out, n);
    for (size_t i = 0; i < n; i++) {
        struct tly_checked *one = &checked[i];
        if (one->result == TLY_NO_LIMIT) one->verdict.name = one->check.limit;
        if (one->result == TLY_OK || one->result == TLY_NO_LIMIT)
            tly_resp_put_verdict(resp, &one->verdict, one->check.hits);
        else
            tly_resp_put_result(resp, one->result);
    }
}

void tly_resp_run_tly_check(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named;
    size_t at = 1;
    named.option[1].name = NULL;
    if (!get_limit(resp, arg, count, &at, &named)) return;
    if (at < count)
        check_several(resp, arg, count, at, &named);
    else
        ask_named(resp, &named.check);
}

void tly_resp_run_tly_peek(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named = {0};
    if (!get_named(resp, arg, count, &named)) return;
    named.check.hits = 0;
    ask_named(resp, &named.check);
}

void tly_resp_run_tly_reset(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named = {0};
    if (!get_named(resp, arg, count, &named)) return;
    struct tly_request request = {.kind = TLY_ASK_RESET, .check = named.check};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    tly_resp_put_done(resp, result);
}

/* … [AT ms]: when it was charged. */
void tly_resp_run_tly_refund(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named = {.option = {[1] = {.name = "AT"}}};
    struct tly_request request = {.kind = TLY_ASK_REFUND};
    struct tly_reply reply;
    const struct tly_slice *at = &named.option[1].value;
    if (!get_named(resp, arg, count, &named)) return;
    if (at->p != NULL && (!tly_resp_get_int(*at, &request.number) || request.number < 0)) {
        tly_resp_put_not_int(resp);
        return;
    }
    request.check = named.check;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_OK)
        tly_resp_put_uint(resp->out, reply.refunded);
    else
        tly_resp_put_result(resp, result);
}

/* ---- reservations ---- */

/* False, with the error written, when it is not a number of that range. */
static bool get_within(struct tly_resp *resp, const char *name, struct tly_slice text, int64_t least,
                       int64_t most, int64_t *number)
{
    bool is_number = tly_resp_get_int(text, number);
    if (is_number && *number >= least && *number <= most) return true;
    if (is_number)
        tly_resp_put_error(resp->out, "ERR %s: %lld to %lld", name, (long long)least, (long long)most);
    else
        tly_resp_put_not_int(resp);
    return false;
}

static void put_reserved(struct tly_resp *resp, const struct tly_reply *reply, uint64_t hits)
{
    tly_resp_put_array(resp->out, 2);
    if (reply->hold.state != TLY_HOLD_NONE)
        tly_resp_put_bulk(resp->out, reply->hold.id);
    else
        tly_resp_put_null(resp->out, resp->proto);
    tly_resp_put_verdict(resp, &reply->verdict, hits);
}

/* … [TTL ms] [ID id] */
void tly_resp_run_tly_reserve(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named = {.option = {[1] = {.name = "TTL"}, {.name = "ID"}}};
    struct tly_request request = {.kind = TLY_ASK_RESERVE, .number = 60000};
    struct tly_reply reply;
    const struct tly_slice *ttl = &named.option[1].value;
    if (!get_named(resp, arg, count, &named)) return;
    if (ttl->p != NULL && !get_within(resp, "TTL", *ttl, 1, TLY_HOLD_MS_MAX, &request.number)) return;
    request.bytes = named.option[2].value;
    request.check = named.check;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_OK)
        put_reserved(resp, &reply, named.check.hits);
    else
        tly_resp_put_result(resp, result);
}

static void settle(struct tly_resp *resp, struct tly_request *request)
{
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, request, &reply);
    if (result == TLY_OK)
        tly_resp_put_uint(resp->out, reply.hold.charged);
    else
        tly_resp_put_result(resp, result);
}

void tly_resp_run_tly_commit(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct tly_request request = {.kind = TLY_ASK_COMMIT, .bytes = arg[1]};
    (void)count;
    if (get_within(resp, "HITS", arg[2], 0, UINT32_MAX, &request.number)) settle(resp, &request);
}

void tly_resp_run_tly_cancel(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct tly_request request = {.kind = TLY_ASK_CANCEL, .bytes = arg[1]};
    (void)count;
    settle(resp, &request);
}
