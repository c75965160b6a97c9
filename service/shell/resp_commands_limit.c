/* TLY.*: named limits. */
#include "service/shell/resp.h"

struct named {
    struct tly_field field[TLY_RULE_FIELDS_MAX];
    struct tly_check check;
};

/* Reads LIMIT [FIELD VALUE]… [HITS n]; false, with the error written, when it is not that. */
static bool get_named(struct tly_resp *resp, const struct tly_slice *arg, size_t count, struct named *named)
{
    named->check = (struct tly_check){.limit = arg[1], .fields = named->field, .hits = 1};
    if (count % 2 != 0) {
        tly_resp_put_syntax_error(resp);
        return false;
    }
    for (size_t i = 2; i < count; i += 2) {
        int64_t hits;
        if (i + 2 == count && tly_resp_is(arg[i], "HITS")) {
            if (!tly_resp_get_int(arg[i + 1], &hits) || hits < 0 || hits > UINT32_MAX) {
                tly_resp_put_not_int(resp);
                return false;
            }
            named->check.hits = (uint32_t)hits;
        } else if (named->check.field_count == TLY_RULE_FIELDS_MAX) {
            tly_resp_put_error(resp->out, "ERR a limit has at most %d fields", TLY_RULE_FIELDS_MAX);
            return false;
        } else {
            named->field[named->check.field_count++] = (struct tly_field){arg[i], arg[i + 1]};
        }
    }
    return true;
}

static const char *code_word(enum tly_verdict_code code)
{
    static const char *const words[] = {
        [TLY_CODE_OK] = "ok", [TLY_CODE_OVER] = "over", [TLY_CODE_UNKNOWN] = "unknown"};
    return words[code];
}

/* retry_after_ms is -1 when these hits can never pass. */
static void put_verdict(struct tly_resp *resp, const struct tly_verdict *verdict, uint64_t hits)
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
        put_verdict(resp, &reply.verdict, check->hits);
    else
        tly_resp_put_result(resp, result);
}

void tly_resp_run_tly_check(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named;
    if (get_named(resp, arg, count, &named)) ask_named(resp, &named.check);
}

void tly_resp_run_tly_peek(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named;
    if (!get_named(resp, arg, count, &named)) return;
    named.check.hits = 0;
    ask_named(resp, &named.check);
}

void tly_resp_run_tly_reset(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct named named;
    if (!get_named(resp, arg, count, &named)) return;
    struct tly_request request = {.kind = TLY_ASK_RESET, .check = named.check};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    tly_resp_put_done(resp, result);
}
