/* CL.THROTTLE and THROTTLE: token buckets whose size comes with the request. */
#include "service/shell/resp.h"

/* Both read numbers as Rust does: a plus sign and leading zeros are allowed. */
static bool get_rust_any(struct tly_slice text, int64_t *number)
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

/* Most have one digit or two. */
static inline bool get_rust_int(struct tly_slice text, int64_t *number)
{
    if (text.n != 1 && text.n != 2) return get_rust_any(text, number);
    unsigned tens = text.n == 1 ? 0 : (unsigned)text.p[0] - '0', ones = (unsigned)text.p[text.n - 1] - '0';
    if (tens > 9 || ones > 9) return get_rust_any(text, number);
    *number = tens * 10 + ones;
    return true;
}

/* The first of the numbers that is none; 0: they are all read. */
static inline size_t get_numbers(const struct tly_slice *arg, size_t count,
                                 struct tly_resp_throttle *throttle)
{
    /* Each to its place: an array of them would be copied in larger pieces than it was just written in, and wait for that. */
    if (!get_rust_int(arg[2], &throttle->max_burst)) return 2;
    if (!get_rust_int(arg[3], &throttle->count)) return 3;
    if (!get_rust_int(arg[4], &throttle->period_s)) return 4;
    throttle->quantity = 1;
    return count == 6 && !get_rust_int(arg[5], &throttle->quantity) ? 5 : 0;
}

static int64_t seconds_up(uint64_t ms)
{
    return (int64_t)(ms / 1000 + (ms % 1000 != 0));
}

/*
 * A bucket of `burst` units; both commands know it by the same key. Each number to its place, here and below: a struct made elsewhere
 * and copied is read in larger pieces than it was just written in, and to clear a whole request takes as long as to find the key.
 */
static inline void set_rate(struct tly_rate *rate, const struct tly_resp_throttle *throttle, uint64_t burst)
{
    rate->limit = (uint64_t)throttle->count;
    rate->window_ms = (uint64_t)throttle->period_s * 1000;
    rate->burst = burst;
    rate->algorithm = TLY_TOKEN_BUCKET;
    rate->mode = TLY_OPTIMISTIC;
    rate->on_partition = TLY_PARTITION_OPEN;
    rate->unit = 0;
    rate->cap = 0;
    rate->zone = NULL;
    rate->min = 0;
}

/* The request but for the key; from now on it is read. */
static inline void prepare(struct tly_resp_throttle *throttle, uint64_t burst)
{
    struct tly_check *check = &throttle->request.check;
    throttle->request.kind = TLY_ASK_CHECK;
    check->limit = tly_slice_of(NULL, 0);
    check->fields = NULL;
    check->field_count = 0;
    check->hits = (uint32_t)throttle->quantity;
    check->charging = TLY_CHARGE_ADMITTED;
    set_rate(&check->rate, throttle, burst);
    throttle->is_read = true;
}

/* Whether the numbers are those of a request that was read before. */
static inline bool is_read(const struct tly_resp *resp)
{
    return resp->is_again && resp->throttle->is_read;
}

static inline enum tly_result ask(struct tly_resp *resp, struct tly_slice key, bool is_behind,
                                  struct tly_reply *reply)
{
    struct tly_request *request = &resp->throttle->request;
    request->ahead = resp->ahead;
    request->check.key = key;
    /* Behind one of the same turn there is nothing to be done for it but to check. */
    if (is_behind && resp->ahead != 0)
        return tly_engine_check_again(tly_app_engine(resp->app), request, reply);
    return tly_app_ask(resp->app, request, reply);
}

/* ---- CL.THROTTLE, as redis-cell ---- */

static bool get_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                         struct tly_resp_throttle *throttle)
{
    size_t i = get_numbers(arg, count, throttle);
    if (i == 0) return true;
    tly_resp_put_error(resp->out, "Cell error: Couldn't parse as integer: %.*s",
                       (int)(arg[i].n < 128 ? arg[i].n : 128), (const char *)arg[i].p);
    return false;
}

/* NULL: it can be computed with. */
static const char *throttle_fault(const struct tly_resp_throttle *throttle)
{
    if (throttle->count == 0 || throttle->period_s == 0) return "Zero rates are not supported";
    if (throttle->max_burst < 0 || throttle->count < 0 || throttle->period_s < 0 || throttle->quantity < 0)
        return "Negative numbers are not supported";
    if (throttle->max_burst == INT64_MAX || throttle->period_s > INT64_MAX / 1000 ||
        throttle->quantity > UINT32_MAX)
        return "Number too large";
    return NULL;
}

static void put_bad_rate(struct tly_resp *resp)
{
    const char *fault = tly_rate_fault(&resp->throttle->request.check.rate);
    tly_resp_put_error(resp->out, "Cell error: %s", fault != NULL ? fault : tly_result_text(TLY_BAD_RULE));
}

static inline bool is_told(const struct tly_resp_throttle *throttle, int64_t a, int64_t b, int64_t c,
                           int64_t d, int64_t e)
{
    if (throttle->told_bytes == 0) return false;
    const int64_t *told = throttle->told;
    return ((told[0] ^ a) | (told[1] ^ b) | (told[2] ^ c) | (told[3] ^ d) | (told[4] ^ e)) == 0;
}

/* The two may lap over, beyond what is said. */
static inline void say_again(uint8_t *to, const uint8_t *told)
{
    uint8_t bytes[TLY_RESP_TOLD_BYTES_MAX];
    memcpy(bytes, told, sizeof bytes);
    memcpy(to, bytes, sizeof bytes);
}

/*
 * Five numbers. Many keys are answered as the one before them was, and that is not written out again; nor is it copied elsewhere for that,
 * for what was just written in small pieces is waited for when it is read in larger ones.
 */
TLY_ALWAYS_INLINE void put_numbers(struct tly_resp *resp, int64_t a, int64_t b, int64_t c, int64_t d,
                                   int64_t e)
{
    struct tly_resp_throttle *throttle = resp->throttle;
    struct tly_buf *out = resp->out;
    uint8_t *to = tly_buf_room(out, TLY_RESP_TOLD_BYTES_MAX);
    if (to == NULL) return;
    size_t before = out->n;
    if (is_told(throttle, a, b, c, d, e)) {
        say_again(to, out->p + throttle->told_at);
        throttle->told_at = before;
        out->n += throttle->told_bytes;
        return;
    }
    const int64_t numbers[] = {a, b, c, d, e};
    tly_resp_put_ints(out, numbers, sizeof numbers / sizeof numbers[0]);
    size_t bytes = out->n - before;
    throttle->told_bytes = 0;
    if (out->result != TLY_OK || bytes > TLY_RESP_TOLD_BYTES_MAX) return;
    memcpy(throttle->told, numbers, sizeof numbers);
    throttle->told_bytes = bytes;
    throttle->told_at = before;
}

static void put_throttled(struct tly_resp *resp, const struct tly_verdict *verdict)
{
    bool limited = verdict->code == TLY_CODE_OVER;
    bool has_retry = limited && verdict->retry_after_ms != UINT64_MAX;
    put_numbers(resp, limited, tly_resp_as_int(verdict->limit), tly_resp_as_int(verdict->remaining),
                has_retry ? seconds_up(verdict->retry_after_ms) : -1, seconds_up(verdict->reset_ms));
}

/* False: an error is written. */
static bool read_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct tly_resp_throttle *throttle = resp->throttle;
    if (count != 5 && count != 6) {
        tly_resp_put_error(resp->out, "Cell error: Usage: cl.throttle <key> <max_burst> <count per period> "
                                      "<period> [<quantity>]");
        return false;
    }
    if (!get_throttle(resp, arg, count, throttle)) return false;
    const char *fault = throttle_fault(throttle);
    if (fault != NULL) {
        tly_resp_put_error(resp->out, "Cell error: %s", fault);
        return false;
    }
    prepare(throttle, (uint64_t)throttle->max_burst + 1);
    return true;
}

void tly_resp_run_cl_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    bool is_behind = is_read(resp);
    if (!is_behind && !read_throttle(resp, arg, count)) return;
    struct tly_reply reply;
    enum tly_result result = ask(resp, arg[1], is_behind, &reply);
    if (result == TLY_OK)
        put_throttled(resp, &reply.verdict);
    else if (result == TLY_BAD_RULE)
        put_bad_rate(resp);
    else
        tly_resp_put_result(resp, result);
}

/* ---- THROTTLE, as throttlecrab ---- */

static bool get_crab(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                     struct tly_resp_throttle *throttle)
{
    static const char *const names[] = {"max_burst", "count_per_period", "period", "quantity"};
    size_t i = get_numbers(arg, count, throttle);
    if (i != 0) tly_resp_put_error(resp->out, "ERR invalid %s", names[i - 2]);
    return i == 0;
}

/* False: it cannot be computed with; the error is written. */
static bool is_crab(struct tly_resp *resp, const struct tly_resp_throttle *throttle)
{
    if (throttle->quantity < 0) {
        tly_resp_put_error(resp->out, "ERR Rate limit check failed: negative quantity: %lld",
                           (long long)throttle->quantity);
        return false;
    }
    bool fits = throttle->max_burst > 0 && throttle->count > 0 && throttle->period_s > 0 &&
                throttle->period_s <= INT64_MAX / 1000 && throttle->quantity <= UINT32_MAX;
    if (!fits) tly_resp_put_error(resp->out, "ERR Rate limit check failed: invalid rate limit parameters");
    return fits;
}

/*
 * It knows no "never": hits that can never pass are told to come back when the bucket of an endless burst would take them, as its formula
 * has it, (quantity - max_burst) emissions after the bucket is full.
 */
static int64_t never_s(const struct tly_resp_throttle *throttle, uint64_t reset_ms)
{
    uint64_t beyond = (uint64_t)(throttle->quantity - throttle->max_burst);
    uint64_t emission_ns = (uint64_t)throttle->period_s * 1000000000 / (uint64_t)throttle->count, ns;
    if (__builtin_mul_overflow(beyond, emission_ns, &ns)) return INT64_MAX / 1000;
    return seconds_up(reset_ms + ns / 1000000 + (ns % 1000000 != 0));
}

/* The opposite of CL.THROTTLE's first, and its last two the other way round. */
static void put_crab(struct tly_resp *resp, const struct tly_verdict *verdict)
{
    const struct tly_resp_throttle *throttle = resp->throttle;
    bool allowed = verdict->code == TLY_CODE_OK;
    uint64_t retry_ms = verdict->retry_after_ms;
    int64_t retry_s = retry_ms == UINT64_MAX ? never_s(throttle, verdict->reset_ms) : seconds_up(retry_ms);
    put_numbers(resp, allowed, throttle->max_burst, tly_resp_as_int(verdict->remaining),
                seconds_up(verdict->reset_ms), allowed ? 0 : retry_s);
}

/* False: an error is written. */
static bool read_crab(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct tly_resp_throttle *throttle = resp->throttle;
    if (count != 5 && count != 6) {
        tly_resp_put_arity(resp, "throttle");
        return false;
    }
    if (!get_crab(resp, arg, count, throttle) || !is_crab(resp, throttle)) return false;
    prepare(throttle, (uint64_t)throttle->max_burst);
    return true;
}

void tly_resp_run_throttle(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    bool is_behind = is_read(resp);
    if (!is_behind && !read_crab(resp, arg, count)) return;
    struct tly_reply reply;
    enum tly_result result = ask(resp, arg[1], is_behind, &reply);
    if (result == TLY_OK)
        put_crab(resp, &reply.verdict);
    else if (result == TLY_BAD_RULE)
        tly_resp_put_error(resp->out, "ERR Rate limit check failed: invalid rate limit parameters");
    else
        tly_resp_put_result(resp, result);
}
