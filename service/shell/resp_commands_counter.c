#include "service/shell/resp.h"

static void add(struct tly_resp *resp, struct tly_slice key, int64_t delta)
{
    /* What is read of it, and no more: to clear all of a request takes as long as to find the key. */
    struct tly_request request;
    request.kind = TLY_ASK_ADD;
    request.key = key;
    request.number = delta;
    request.ahead = resp->ahead;
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_OK)
        tly_resp_put_int(resp->out, reply.value.count);
    else
        tly_resp_put_result(resp, result);
}

void tly_resp_run_incr(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    add(resp, arg[1], 1);
}

void tly_resp_run_decr(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    add(resp, arg[1], -1);
}

void tly_resp_run_incrby(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    int64_t delta;
    if (tly_resp_get_int(arg[2], &delta))
        add(resp, arg[1], delta);
    else
        tly_resp_put_not_int(resp);
}

void tly_resp_run_decrby(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    int64_t delta;
    if (!tly_resp_get_int(arg[2], &delta))
        tly_resp_put_not_int(resp);
    else if (delta == INT64_MIN)
        tly_resp_put_error(resp->out, "ERR decrement would overflow");
    else
        add(resp, arg[1], -delta);
}
