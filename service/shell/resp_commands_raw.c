/* TLY.SETRAW and TLY.GETRAW: what a key holds as plain bytes, see raw.h. */
#include "service/shell/resp.h"

void tly_resp_run_tly_setraw(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    struct tly_request request = {
        .kind = TLY_ASK_PUT_RAW, .key = arg[1], .bytes = arg[2], .ahead = resp->ahead};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(resp->app, &request, &reply);
    if (result == TLY_OK)
        tly_resp_put_simple(resp->out, "OK");
    else
        tly_resp_put_result(resp, result);
}

void tly_resp_run_tly_getraw(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)count;
    uint8_t room[TLY_RAW_EPOCH_MAX_BYTES];
    struct tly_slice raw = {0};
    struct tly_reply reply;
    enum tly_result result = tly_resp_ask(resp, TLY_ASK_READ, arg[1], &reply);
    if (result == TLY_OK && !tly_raw_of(reply.strategy, &reply.value, room, &raw))
        result = TLY_WRONG_STRATEGY;
    if (result == TLY_OK)
        tly_resp_put_bulk(resp->out, raw);
    else if (result == TLY_NOT_FOUND)
        tly_resp_put_null(resp->out, resp->proto);
    else
        tly_resp_put_result(resp, result);
}
