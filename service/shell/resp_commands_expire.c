/* Deadlines of keys: setting, lifting, reading. */
#include "service/shell/resp.h"

#include "crdt/epoch_sum.h"

uint64_t tly_resp_now_ms(const struct tly_resp *resp)
{
    return tly_app_cluster_ns(resp->app) / 1000000;
}

bool tly_resp_deadline(const struct tly_resp *resp, int64_t number, struct tly_resp_unit unit,
                       int64_t *deadline_ms)
{
    int64_t now = unit.absolute ? 0 : (int64_t)tly_resp_now_ms(resp);
    if (__builtin_mul_overflow(number, unit.ms, deadline_ms) ||
        __builtin_add_overflow(*deadline_ms, now, deadline_ms))
        return false;
    if (*deadline_ms >= TLY_DEADLINE_NONE) *deadline_ms = TLY_DEADLINE_NONE - 1;
    return true;
}

void tly_resp_put_bad_expire(struct tly_resp *resp, const char *command)
{
    tly_resp_put_error(resp->out, "ERR invalid expire time in '%s' command", command);
}

/* ---- EXPIRE and its kin ---- */

struct condition {
    bool if_none, if_any, if_later, if_earlier;
};

static bool get_condition(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                          struct condition *only)
{
    for (size_t i = 0; i < count; i++) {
        if (tly_resp_is(arg[i], "NX")) {
            only->if_none = true;
        } else if (tly_resp_is(arg[i], "XX")) {
            only->if_any = true;
        } else if (tly_resp_is(arg[i], "GT")) {
            only->if_later = true;
        } else if (tly_resp_is(arg[i], "LT")) {
            only->if_earlier = true;
        } else {
            tly_resp_put_error(resp->out, "ERR Unsupported option %.*s",
                               (int)(arg[i].n < 128 ? arg[i].n : 128), (const char *)arg[i].p);
            return false;
        }
    }
    bool clash = only->if_none && (only->if_any || only->if_later || only->if_earlier);
    if (clash || (only->if_later && only->if_earlier)) {
        tly_resp_put_error(resp->out,
                           clash ? "ERR NX and XX, GT or LT options at the same time are not compatible"
                                 : "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* No deadline is the latest of all. */
static bool is_met(const struct condition *only, uint64_t old_ms, int64_t new_ms)
{
    bool later = old_ms != 0 && new_ms > (int64_t)old_ms;
    bool earlier = old_ms == 0 || new_ms < (int64_t)old_ms;
    return (!only->if_none || old_ms == 0) && (!only->if_any || old_ms != 0) && (!only->if_later || later) &&
           (!only->if_earlier || earlier);
}

/* A deadline that is over deletes. */
static void set_deadline(struct tly_resp *resp, struct tly_slice key, int64_t deadline_ms)
{
    bool is_over = deadline_ms <= 0 || (uint64_t)deadline_ms <= tly_resp_now_ms(resp);
    struct tly_request request = {.kind = is_over ? TLY_ASK_REMOVE : TLY_ASK_EXPIRE, .key = key};
    if (!is_over) request.deadline_ms = (uint64_t)deadline_ms;
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    tly_resp_put_done(resp, result);
}

static void expire(struct tly_resp *resp, const struct tly_slice *arg, size_t count,
                   struct tly_resp_unit unit, const char *command)
{
    struct condition only = {0};
    int64_t number, deadline_ms;
    if (!get_condition(resp, arg + 3, count - 3, &only)) return;
    if (!tly_resp_get_int(arg[2], &number)) {
        tly_resp_put_not_int(resp);
        return;
    }
    if (!tly_resp_deadline(resp, number, unit, &deadline_ms)) {
        tly_resp_put_bad_expire(resp, command);
        return;
    }
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, arg[1], &reply);
    if (result == TLY_NOT_FOUND || (result == TLY_OK && !is_met(&only, reply.value.deadline_ms, deadline_ms)))
        tly_resp_put_int(resp->out, 0);
    else if (result == TLY_OK && reply.strategy->id == TLY_EPOCH_MAX)
        tly_resp_put_result(resp, TLY_WRONG_STRATEGY);
    else if (result != TLY_OK)
        tly_resp_put_result(resp, result);
    else
        set_deadline(resp, arg[1], deadline_ms);
}

void tly_resp_run_expire(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    expire(resp, arg, count, (struct tly_resp_unit){1000, false}, "expire");
}

void tly_resp_run_pexpire(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    expire(resp, arg, count, (struct tly_resp_unit){1, false}, "pexpire");
}

void tly_resp_run_expireat(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    expire(resp, arg, count, (struct tly_resp_unit){1000, true}, "expireat");
}

void tly_resp_run_pexpireat(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    expire(resp, arg, count, (struct tly_resp_unit){1, true}, "pexpireat");
}

void tly_resp_run_persist(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, arg[1], &reply);
    bool has_deadline = result == TLY_OK && reply.value.deadline_ms != 0;
    if (has_deadline) result = tly_resp_ask(resp, TLY_ASK_EXPIRE, arg[1], &reply);
    if (result == TLY_OK || result == TLY_NOT_FOUND)
        tly_resp_put_int(resp->out, has_deadline && result == TLY_OK);
    else
        tly_resp_put_result(resp, result);
}

/* ---- reading ---- */

/* -2: no such key; -1: no deadline; otherwise ms. False: the error is written. */
static bool get_left(struct tly_resp *resp, struct tly_slice key, int64_t *left_ms)
{
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, key, &reply);
    if (result != TLY_OK && result != TLY_NOT_FOUND) {
        tly_resp_put_result(resp, result);
        return false;
    }
    uint64_t now = tly_resp_now_ms(resp), deadline = reply.value.deadline_ms;
    if (result == TLY_NOT_FOUND)
        *left_ms = -2;
    else if (deadline == 0)
        *left_ms = -1;
    else
        *left_ms = deadline > now ? (int64_t)(deadline - now) : 0;
    return true;
}

void tly_resp_run_ttl(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    int64_t left_ms;
    if (get_left(resp, arg[1], &left_ms))
        tly_resp_put_int(resp->out, left_ms < 0 ? left_ms : (left_ms + 500) / 1000);
}

void tly_resp_run_pttl(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    int64_t left_ms;
    if (get_left(resp, arg[1], &left_ms)) tly_resp_put_int(resp->out, left_ms);
}
