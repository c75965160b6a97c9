#include "service/shell/grpc_flood.h"

#define SECOND_NS UINT64_C(1000000000)
#define RESET_NS (SECOND_NS / TLY_GRPC_RESETS_PER_S)
#define CHATTER_NS (SECOND_NS / TLY_GRPC_CHATTER_PER_S)

/* False: there is nothing left. */
static bool spend(uint64_t *until_ns, uint64_t cost_ns, uint64_t most_ns, uint64_t now_ns)
{
    uint64_t from_ns = *until_ns > now_ns ? *until_ns : now_ns;
    *until_ns = from_ns + cost_ns;
    return *until_ns - now_ns <= most_ns;
}

static void spend_reset(struct tly_grpc_flood *flood, uint64_t now_ns)
{
    flood->resets_of_turn++;
    if (!spend(&flood->resets_until_ns, RESET_NS, RESET_NS * TLY_GRPC_RESETS_MAX, now_ns))
        flood->what = "calls that are reset";
}

static bool asks_for_nothing(const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM: return false;
    case NGHTTP2_DATA:
        return frame->hd.length == frame->data.padlen && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default:
        return true; /* answers to frames of ours, which are few, and types that nobody here knows among them */
    }
}

void tly_grpc_flood_heard(struct tly_grpc_flood *flood, const nghttp2_frame *frame, uint64_t now_ns)
{
    if (frame->hd.type == NGHTTP2_RST_STREAM) spend_reset(flood, now_ns);
    if (asks_for_nothing(frame) &&
        !spend(&flood->chatter_until_ns, CHATTER_NS, CHATTER_NS * TLY_GRPC_CHATTER_MAX, now_ns))
        flood->what = "frames that ask for nothing";
}

void tly_grpc_flood_said(struct tly_grpc_flood *flood, const nghttp2_frame *frame, uint64_t now_ns)
{
    const uint64_t given_ns = CHATTER_NS * TLY_GRPC_CHATTER_PER_ANSWER;
    bool is_answer = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (is_answer)
        flood->chatter_until_ns = flood->chatter_until_ns > given_ns ? flood->chatter_until_ns - given_ns : 0;
    /* What the client did wrong is a reset that it made us send; that all was answered before it had ended is none. */
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
        spend_reset(flood, now_ns);
}
