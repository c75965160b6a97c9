#include "service/engine/lane.h"

#include <assert.h>

#define NS_PER_S UINT64_C(1000000000)
/* Two loops have to turn for an answer: what is measured below says nothing of the link. */
#define RTT_LEAST_NS UINT64_C(1000000)
#define RATE_WINDOW_NS NS_PER_S
#define RATE_MAX (UINT64_C(1) << 40)
/* Live is acknowledged too, but not with a PING for each part. */
#define LIVE_PING_BYTES UINT64_C(8192)
/* Less room than this is none: the head of a part would be most of it. */
#define ROOM_MIN 256
#define STALL_NS (NS_PER_S / 2)
/* Bytes on a lane, for each of which a lower one is owed one. */
#define OWED_SHARE 9

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max)
{
    return value < min ? min : least(value, max);
}

/* rate * ns, of rates up to RATE_MAX and times of minutes. */
static uint64_t bytes_in(uint64_t rate, uint64_t ns)
{
    return rate / NS_PER_S * ns + rate % NS_PER_S * (ns / 1000) / (NS_PER_S / 1000);
}

static uint64_t burst_of(const struct tly_lanes *lanes)
{
    uint64_t burst = bytes_in(lanes->budget, TLY_BURST_NS);
    return burst < TLY_BURST_MIN ? TLY_BURST_MIN : burst;
}

struct tly_lanes tly_lanes_of(uint64_t link_budget, uint64_t now_ns)
{
    struct tly_lanes lanes = {
        .budget = least(link_budget, RATE_MAX), .acked_at = now_ns, .refilled_at = now_ns};
    lanes.tokens = (int64_t)burst_of(&lanes);
    return lanes;
}

uint64_t tly_lanes_rate(const struct tly_lanes *lanes)
{
    return lanes->rate > lanes->rate_before ? lanes->rate : lanes->rate_before;
}

size_t tly_lanes_chunk(const struct tly_lanes *lanes)
{
    uint64_t rate = tly_lanes_rate(lanes);
    if (rate == 0) return TLY_CHUNK_FIRST;
    return (size_t)clamp(bytes_in(rate, TLY_CHUNK_NS), TLY_CHUNK_MIN, TLY_CHUNK_MAX);
}

/*
 * The shortest wait for the answer to a chunk: the way there and back, and the chunk's own time on the line. Measured as that of any PING
 * behind a chunk it was too short where one of them had been small, and left the line empty between two.
 */
static uint64_t chunk_wait(const struct tly_lanes *lanes)
{
    uint64_t rate = tly_lanes_rate(lanes), rtt = clamp(lanes->rtt_least_ns, RTT_LEAST_NS, NS_PER_S * 10);
    return rate == 0 ? rtt : rtt + tly_lanes_chunk(lanes) * NS_PER_S / rate;
}

/* Held to what was measured the rate could never be seen to rise, so a quarter more is let go while nothing waits. */
uint64_t tly_lanes_credit(const struct tly_lanes *lanes)
{
    uint64_t rate = tly_lanes_rate(lanes);
    uint64_t held = bytes_in(lanes->is_filled ? rate : rate / 4 * 5, chunk_wait(lanes));
    return held < TLY_CREDIT_MIN ? TLY_CREDIT_MIN : held;
}

uint64_t tly_lanes_unacked(const struct tly_lanes *lanes)
{
    return lanes->chunked - lanes->chunked_acked;
}

static uint64_t queue_max(const struct tly_lanes *lanes)
{
    uint64_t rate = tly_lanes_rate(lanes);
    return clamp(bytes_in(rate, TLY_CHUNK_NS), TLY_QUEUE_MIN, TLY_QUEUE_MAX);
}

static uint64_t window_max(const struct tly_lanes *lanes)
{
    uint64_t rtt = clamp(lanes->rtt_least_ns, RTT_LEAST_NS, NS_PER_S);
    uint64_t window = bytes_in(tly_lanes_rate(lanes) * 2, rtt), chunks = 2 * tly_lanes_credit(lanes);
    if (window < chunks) window = chunks;
    return window < TLY_WINDOW_MIN ? TLY_WINDOW_MIN : window;
}

/* ---- room ---- */

static uint64_t left(uint64_t most, uint64_t used)
{
    return used < most ? most - used : 0;
}

/* The part that a chunk may be smaller: what is left of the credit is used, but not in crumbs. */
static uint64_t chunk_room(const struct tly_lanes *lanes)
{
    uint64_t chunk = tly_lanes_chunk(lanes), room = left(tly_lanes_credit(lanes), tly_lanes_unacked(lanes));
    if (room < chunk && room < least(chunk / 2, TLY_CREDIT_MIN / 4)) return 0;
    return least(room, chunk);
}

static void refill(struct tly_lanes *lanes, uint64_t now_ns)
{
    uint64_t most = burst_of(lanes), passed = now_ns - lanes->refilled_at;
    uint64_t more =
        passed > NS_PER_S * 60 ? bytes_in(lanes->budget, NS_PER_S * 60) : bytes_in(lanes->budget, passed);
    if (more == 0) return;
    int64_t tokens = lanes->tokens + (int64_t)more;
    lanes->tokens = tokens > (int64_t)most ? (int64_t)most : tokens;
    lanes->refilled_at = now_ns;
}

/* The other end has taken in nothing for so long that what is made now had better wait here, where it is conflated. */
static bool is_stalled(const struct tly_lanes *lanes, uint64_t now_ns)
{
    uint64_t patience = STALL_NS + 4 * least(lanes->rtt_least_ns, NS_PER_S);
    return lanes->count > 0 && now_ns - lanes->pings[lanes->first].sent_at > patience &&
           now_ns - lanes->acked_at > patience;
}

/* What goes on repair and bulk is one chunk at a time, so that control and live never wait for two. */
static bool has_queue(const struct tly_lanes *lanes, enum tly_lane lane)
{
    return lanes->queued < (lane > TLY_LANE_LIVE ? TLY_CHUNK_MIN : queue_max(lanes));
}

/* What the bucket must hold for so much and what goes beside it. Three quarters will have to do: answers go on all the time, and a full one may never be. */
static uint64_t tokens_for(const struct tly_lanes *lanes, uint64_t bytes, size_t beside)
{
    return least(bytes + beside, burst_of(lanes) / 4 * 3);
}

static uint64_t budget_room(struct tly_lanes *lanes, size_t beside, uint64_t now_ns)
{
    refill(lanes, now_ns);
    if (lanes->tokens < (int64_t)tokens_for(lanes, ROOM_MIN, beside)) return 0;
    uint64_t room = left((uint64_t)lanes->tokens, beside);
    return room < ROOM_MIN ? ROOM_MIN : room;
}

/* What may go once what waits in the queue has gone. */
static size_t link_room(struct tly_lanes *lanes, enum tly_lane lane, size_t beside, uint64_t now_ns)
{
    if (is_stalled(lanes, now_ns)) return 0;
    uint64_t room = left(window_max(lanes), lanes->total - lanes->acked);
    if (lane == TLY_LANE_LIVE)
        room = least(room, clamp(queue_max(lanes), TLY_QUEUE_MIN, TLY_PART_MAX));
    else
        room = lanes->count < TLY_PINGS_MAX ? least(room, chunk_room(lanes)) : 0;
    if (lanes->budget > 0) room = least(room, budget_room(lanes, beside, now_ns));
    return room < ROOM_MIN ? 0 : (size_t)room;
}

static size_t room_beside(struct tly_lanes *lanes, enum tly_lane lane, size_t beside, uint64_t now_ns)
{
    if (lane == TLY_LANE_CONTROL) return TLY_CHUNK_MAX;
    return has_queue(lanes, lane) ? link_room(lanes, lane, beside, now_ns) : 0;
}

size_t tly_lane_room(struct tly_lanes *lanes, enum tly_lane lane, uint64_t now_ns)
{
    return room_beside(lanes, lane, 0, now_ns);
}

static bool is_owed(const struct tly_lanes *lanes, enum tly_lane lane)
{
    return lanes->owed[lane] >= tly_lanes_chunk(lanes);
}

enum tly_lane tly_lanes_next(struct tly_lanes *lanes, unsigned wanting, size_t beside, uint64_t now_ns,
                             size_t *room)
{
    lanes->beside = beside;
    for (unsigned lane = TLY_LANE_BULK; lane > TLY_LANE_LIVE; lane--) {
        if ((wanting & 1u << lane) == 0 || !is_owed(lanes, (enum tly_lane)lane)) continue;
        *room = link_room(lanes, (enum tly_lane)lane, beside, now_ns);
        if (*room == 0) continue;
        return has_queue(lanes, (enum tly_lane)lane) ? (enum tly_lane)lane : TLY_LANES;
    }
    for (unsigned lane = TLY_LANE_CONTROL; lane < TLY_LANES; lane++) {
        if ((wanting & 1u << lane) == 0) continue;
        *room = room_beside(lanes, (enum tly_lane)lane, beside, now_ns);
        if (*room > 0) return (enum tly_lane)lane;
    }
    return TLY_LANES;
}

bool tly_lanes_is_out_of_budget(const struct tly_lanes *lanes)
{
    return lanes->budget > 0 && lanes->tokens < (int64_t)burst_of(lanes) / 2;
}

/* When so much will have flowed in. */
static uint64_t when_filled(const struct tly_lanes *lanes, int64_t lacking, uint64_t now_ns)
{
    uint64_t wait = (uint64_t)lacking * (NS_PER_S / 1000) / lanes->budget * 1000 + 1000000;
    return (lanes->refilled_at + wait > now_ns ? lanes->refilled_at : now_ns) + wait;
}

uint64_t tly_lanes_budget_at(const struct tly_lanes *lanes, uint64_t now_ns)
{
    int64_t lacking = (int64_t)tokens_for(lanes, TLY_CHUNK_MIN, lanes->beside) - lanes->tokens;
    return lanes->budget == 0 || lacking <= 0 ? UINT64_MAX : when_filled(lanes, lacking, now_ns);
}

uint64_t tly_lanes_budget_for(struct tly_lanes *lanes, size_t bytes, uint64_t now_ns)
{
    if (lanes->budget == 0) return now_ns;
    refill(lanes, now_ns);
    int64_t lacking = (int64_t)tokens_for(lanes, bytes, 0) - lanes->tokens;
    return lacking <= 0 ? now_ns : when_filled(lanes, lacking, now_ns);
}

/* ---- what goes, and what comes of it ---- */

void tly_lanes_sent(struct tly_lanes *lanes, enum tly_lane lane, size_t bytes, unsigned wanting,
                    uint64_t now_ns)
{
    lanes->sent[lane] += bytes;
    lanes->total += bytes;
    lanes->queued += bytes;
    /* What flowed in until now may have flowed over: it does not make up for what goes now. */
    refill(lanes, now_ns);
    if (lanes->budget > 0) lanes->tokens -= (int64_t)bytes;
    if (lane == TLY_LANE_CONTROL) return;
    if (lane > TLY_LANE_LIVE) lanes->chunked += bytes;
    lanes->owed[lane] -= least(lanes->owed[lane], bytes);
    for (unsigned lower = (unsigned)lane + 1; lower < TLY_LANES; lower++) {
        bool wants = (wanting & 1u << lower) != 0;
        lanes->owed[lower] = wants ? least(lanes->owed[lower] + bytes / OWED_SHARE, 2 * TLY_CHUNK_MAX) : 0;
    }
}

bool tly_lanes_wants_ping(const struct tly_lanes *lanes)
{
    if (lanes->count == TLY_PINGS_MAX) return false;
    const struct tly_lane_ping *last =
        lanes->count > 0 ? &lanes->pings[(lanes->first + lanes->count - 1) % TLY_PINGS_MAX] : NULL;
    uint64_t chunked = last != NULL ? last->chunked : lanes->chunked_acked;
    if (lanes->chunked > chunked) return true;
    uint64_t apart = clamp(tly_lanes_chunk(lanes), LIVE_PING_BYTES, window_max(lanes) / 4);
    return lanes->total - lanes->pinged >= apart;
}

void tly_lanes_pinged(struct tly_lanes *lanes, uint64_t now_ns, bool wanting)
{
    bool is_idle = lanes->count == 0;
    lanes->pinged = lanes->total;
    if (lanes->count == TLY_PINGS_MAX) return; /* its answer will be known by no entry */
    struct tly_lane_ping *ping = &lanes->pings[(lanes->first + lanes->count++) % TLY_PINGS_MAX];
    *ping = (struct tly_lane_ping){
        .sent_at = now_ns,
        .total = lanes->total,
        .chunked = lanes->chunked,
        .delivered = lanes->acked,
        .delivered_at = is_idle ? now_ns : lanes->acked_at,
        .is_limited = wanting || lanes->queued > TLY_QUEUE_MIN,
    };
    if (is_idle) lanes->acked_at = now_ns;
}

static void learn_rate(struct tly_lanes *lanes, const struct tly_lane_ping *ping, uint64_t now_ns)
{
    uint64_t took = now_ns - ping->delivered_at, bytes = ping->total - ping->delivered;
    if (took < RTT_LEAST_NS / 10) took = RTT_LEAST_NS / 10;
    uint64_t rate = least(bytes * (NS_PER_S / 1000) / ((took + 999) / 1000), RATE_MAX);
    if (!ping->is_limited && rate <= tly_lanes_rate(lanes)) return;
    uint64_t window = clamp(4 * chunk_wait(lanes), RATE_WINDOW_NS, 10 * NS_PER_S);
    if (now_ns >= lanes->rate_until) {
        lanes->rate_before = lanes->rate;
        lanes->rate = 0;
        lanes->rate_until = now_ns + window;
    }
    if (rate > lanes->rate) lanes->rate = rate;
}

/* One that was not answered, though a later one is, never will be. */
static bool take_ping(struct tly_lanes *lanes, uint64_t sent_at, struct tly_lane_ping *ping)
{
    for (size_t i = 0; i < lanes->count; i++) {
        *ping = lanes->pings[(lanes->first + i) % TLY_PINGS_MAX];
        if (ping->sent_at != sent_at) continue;
        lanes->first = (lanes->first + i + 1) % TLY_PINGS_MAX;
        lanes->count -= i + 1;
        return true;
    }
    return false;
}

uint64_t tly_lanes_ponged(struct tly_lanes *lanes, uint64_t sent_at, uint64_t now_ns)
{
    struct tly_lane_ping ping;
    if (!take_ping(lanes, sent_at, &ping)) return 0;
    uint64_t rtt = now_ns - ping.sent_at, news = ping.total - lanes->acked;
    bool behind_chunk = ping.chunked > lanes->chunked_acked;
    if (lanes->rtt_least_ns == 0 || rtt < lanes->rtt_least_ns) lanes->rtt_least_ns = rtt;
    if (behind_chunk) lanes->is_filled = rtt / 5 * 4 > chunk_wait(lanes);
    lanes->acked = ping.total;
    lanes->chunked_acked = ping.chunked;
    lanes->acked_at = now_ns;
    if (behind_chunk || news >= LIVE_PING_BYTES) learn_rate(lanes, &ping, now_ns);
    return news;
}

void tly_lanes_check(const struct tly_lanes *lanes)
{
    uint64_t total = 0;
    for (unsigned lane = 0; lane < TLY_LANES; lane++)
        total += lanes->sent[lane];
    assert(total == lanes->total && lanes->acked <= lanes->total && lanes->queued <= lanes->total);
    assert(lanes->sent[TLY_LANE_REPAIR] + lanes->sent[TLY_LANE_BULK] == lanes->chunked);
    assert(lanes->chunked_acked <= lanes->chunked && lanes->count <= TLY_PINGS_MAX);
    (void)total;
}
