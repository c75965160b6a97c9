#include "service/shell/resp.h"

/* ---- CL.THROTTLE, as redis-cell ---- */

/* redis-cell reads numbers as Rust does: a plus sign and leading zeros are allowed. */
static bool get_rust_int(struct tly_slice text, int64_t *number)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    size_t i = negative || (text.n > 0 && text.p[0] == '+');
    if (i == text.n) return false;
    int64_t value = 0;
    for (; i < text.n; i++) {
        int digit = text.p[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, negative ? -digit : digit, &value)) return false;
    }
    *number = value;
    return true;
}

struct throttle {
    int64_t max_burst, count, period_s, quantity;
};

static bool get_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                         struct throttle *throttle)
{
    int64_t number[4] = {0, 0, 0, 1};
    for (size_t i = 2; i < count; i++) {
        if (get_rust_int(arg[i], &number[i - 2])) continue;
        tly_resp_put_error(resp->out, "Cell error: Couldn't parse as integer: %.*s",
                           (int)(arg[i].n < 128 ? arg[i].n : 128), (const char *)arg[i].p);
        return false;
    }
    *throttle = (struct throttle){number[0], number[1], number[2], number[3]};
    return true;
}

/* NULL: it can be computed with. */
static const char *throttle_fault(const struct throttle *throttle)
{
    if (throttle->count == 0 || throttle->period_s == 0) return "Zero rates are not supported";
    if (throttle->max_burst < 0 || throttle->count < 0 || throttle->period_s < 0 || throttle->quantity < 0)
        return "Negative numbers are not supported";
    if (throttle->max_burst == INT64_MAX || throttle->period_s > INT64_MAX / 1000 ||
        throttle->quantity > UINT32_MAX)
        return "Number too large";
    return NULL;
}

static int64_t seconds_up(uint64_t ms)
{
    return (int64_t)(ms / 1000 + (ms % 1000 != 0));
}

static void put_throttled(struct tly_buf *out, const struct tly_verdict *verdict)
{
    bool limited = verdict->code == TLY_CODE_OVER;
    bool has_retry = limited && verdict->retry_after_ms != UINT64_MAX;
    tly_resp_put_array(out, 5);
    tly_resp_put_int(out, limited);
    tly_resp_put_uint(out, verdict->limit);
    tly_resp_put_uint(out, verdict->remaining);
    tly_resp_put_int(out, has_retry ? seconds_up(verdict->retry_after_ms) : -1);
    tly_resp_put_int(out, seconds_up(verdict->reset_ms));
}

void tly_resp_run_cl_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    if (count != 5 && count != 6) {
        tly_resp_put_error(resp->out, "Cell error: Usage: cl.throttle <key> <max_burst> <count per period> "
                                      "<period> [<quantity>]");
        return;
    }
    struct throttle throttle;
    if (!get_throttle(resp, arg, count, &throttle)) return;
    const char *fault = throttle_fault(&throttle);
    if (fault != NULL) {
        tly_resp_put_error(resp->out, "Cell error: %s", fault);
        return;
    }
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check.key = arg[1]};
    request.check.rate = (struct tly_rate){
        .limit = (uint64_t)throttle.count,
        .window_ms = (uint64_t)throttle.period_s * 1000,
        .burst = (uint64_t)throttle.max_burst + 1,
        .algorithm = TLY_TOKEN_BUCKET,
    };
    request.check.hits = (uint32_t)throttle.quantity;
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_OK)
        put_throttled(resp->out, &reply.verdict);
    else
        tly_resp_put_result(resp, result);
}

/* ---- TLY.*: named limits ---- */

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
