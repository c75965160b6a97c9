/* WAIT numreplicas timeout, as in redis: the number of other nodes that have what was written here until now. */
#include "service/shell/resp.h"

bool tly_resp_end_wait(struct tly_resp *resp)
{
    struct tly_acked acked = tly_ack_look(resp->ack);
    if (!acked.done && !tly_client_is_closing(resp->client)) {
        tly_client_park(resp->client);
        return false;
    }
    tly_resp_put_uint(resp->out, acked.merged);
    tly_ack_free(resp->ack);
    resp->ack = NULL;
    return true;
}

/* In ms; 0: without an end. False: the error is written. */
static bool get_timeout(struct tly_resp *resp, struct tly_slice arg, uint64_t *timeout_ns)
{
    int64_t ms;
    if (!tly_resp_get_int(arg, &ms) || ms > INT64_MAX / 1000000) {
        tly_resp_put_error(resp->out, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (ms < 0) tly_resp_put_error(resp->out, "ERR timeout is negative");
    *timeout_ns = (uint64_t)ms * 1000000;
    return ms >= 0;
}

void tly_resp_run_wait(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    struct tly_ack_wish wish = {0};
    int64_t nodes;
    if (!tly_resp_get_int(arg[1], &nodes)) {
        tly_resp_put_not_int(resp);
        return;
    }
    if (!get_timeout(resp, arg[2], &wish.timeout_ns)) return;
    wish.nodes = nodes > 0 ? (uint64_t)nodes : 0;
    enum tly_result result = tly_app_wait(resp->app, &wish, &resp->ack);
    if (result == TLY_FULL)
        tly_resp_put_error(resp->out, "ERR %d clients wait already", TLY_ACKS_MAX);
    else if (result != TLY_OK)
        tly_resp_put_result(resp, result);
    else
        (void)tly_resp_end_wait(resp);
}
