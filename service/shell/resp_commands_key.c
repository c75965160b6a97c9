#include "service/shell/resp.h"

#include <inttypes.h>
#include <stdio.h>

/* MGET's whole answer. */
#define VALUES_BYTES_MAX (8u * 1024u * 1024u)

void tly_resp_put_value(struct tly_resp *resp, const struct tly_reply *reply)
{
    const struct tly_value *value = &reply->value;
    if (reply->strategy->id == TLY_EPOCH_SUM) {
        tly_resp_put_bulk_int(resp->out, value->count);
    } else if (reply->strategy->id == TLY_LWW) {
        tly_resp_put_bulk(resp->out, value->bytes);
    } else {
        char text[48];
        int n = snprintf(text, sizeof text, "%" PRIu64 ":%" PRId64, value->epoch, value->count);
        tly_resp_put_bulk(resp->out, tly_slice_of(text, (size_t)n));
    }
}

/* The value, or null when there is none; any other result is the caller's. */
static enum tly_result read_value(struct tly_resp *resp, struct tly_slice key)
{
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, key, &reply);
    if (result == TLY_OK)
        tly_resp_put_value(resp, &reply);
    else if (result == TLY_NOT_FOUND)
        tly_resp_put_null(resp->out, resp->proto);
    else
        return result;
    return TLY_OK;
}

void tly_resp_run_get(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    enum tly_result result = read_value(resp, arg[1]);
    if (result != TLY_OK) tly_resp_put_result(resp, result);
}

void tly_resp_run_mget(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    size_t mark = resp->out->n;
    tly_resp_put_array(resp->out, count - 1);
    for (size_t i = 1; i < count; i++) {
        enum tly_result result = read_value(resp, arg[i]);
        if (result == TLY_OK && resp->out->n - mark > VALUES_BYTES_MAX) result = TLY_TOO_LARGE;
        if (result == TLY_OK) continue;
        resp->out->n = mark;
        tly_resp_put_result(resp, result);
        return;
    }
}

void tly_resp_run_getdel(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    /* The value is a borrow that the removal ends, so it is written first. */
    size_t mark = resp->out->n;
    struct tly_reply reply;
    enum tly_result result = read_value(resp, arg[1]);
    if (result == TLY_OK) result = tly_resp_ask(resp, TLY_ASK_REMOVE, arg[1], &reply);
    if (result == TLY_OK || result == TLY_NOT_FOUND) return;
    resp->out->n = mark;
    tly_resp_put_result(resp, result);
}

/* A key, and the ad-hoc limit of that name, which CL.THROTTLE's users know as the same thing. */
static enum tly_result forget(struct tly_resp *resp, struct tly_slice key)
{
    struct tly_reply reply;
    struct tly_request reset = {.kind = TLY_ASK_RESET, .check.key = key};
    enum tly_result removed = tly_resp_ask(resp, TLY_ASK_REMOVE, key, &reply);
    if (removed != TLY_OK && removed != TLY_NOT_FOUND) return removed;
    /* A name too long for a limit has none. */
    enum tly_result forgotten = tly_app_ask(resp->app, &reset, &reply);
    if (forgotten == TLY_NOT_FOUND || forgotten == TLY_BAD_KEY) return removed;
    return forgotten;
}

void tly_resp_run_del(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    int64_t gone = 0;
    for (size_t i = 1; i < count; i++) {
        enum tly_result result = forget(resp, arg[i]);
        if (result != TLY_OK && result != TLY_NOT_FOUND) {
            tly_resp_put_result(resp, result);
            return;
        }
        gone += result == TLY_OK;
    }
    tly_resp_put_int(resp->out, gone);
}

void tly_resp_run_exists(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    int64_t there = 0;
    for (size_t i = 1; i < count; i++) {
        struct tly_reply reply;
        enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, arg[i], &reply);
        if (result != TLY_OK && result != TLY_NOT_FOUND) {
            tly_resp_put_result(resp, result);
            return;
        }
        there += result == TLY_OK;
    }
    tly_resp_put_int(resp->out, there);
}

void tly_resp_run_type(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, arg[1], &reply);
    if (result == TLY_OK || result == TLY_NOT_FOUND)
        tly_resp_put_simple(resp->out, result == TLY_OK ? "string" : "none");
    else
        tly_resp_put_result(resp, result);
}
