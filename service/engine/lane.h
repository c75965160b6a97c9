/*
 * The lanes of one connection, and how much each may send now.
 *
 *     control > live > repair > bulk        each lower one is owed a tenth of what goes on those above it
 *
 * All share one ordered stream, so what is handed over too early stands in the way of what comes after.  Therefore little is: what
 * a socket has not taken is bounded by a tenth of a second of the link, and what the other end has not taken in is bounded as well.
 * A PING follows the bytes that are to be acknowledged; frames are answered in their order, so its PONG acknowledges all before it.
 * From these come the round trip and the rate of the link.
 *
 * A value: no memory, no clock.  Times are monotonic ns, sizes are bytes of whole frames.
 */
#ifndef TALLY_SERVICE_ENGINE_LANE_H
#define TALLY_SERVICE_ENGINE_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLY_CHUNK_MIN ((size_t)1024)
#define TLY_CHUNK_MAX ((size_t)64 * 1024)
#define TLY_CHUNK_NS UINT64_C(100000000)
/* While the rate is not known: so that two are under way. */
#define TLY_CHUNK_FIRST ((size_t)4 * 1024)
/* Of repair and bulk together, not acknowledged: the greater of this and what the link holds. */
#define TLY_CREDIT_MIN UINT64_C(8192)
/* Of everything, before live waits as well. */
#define TLY_WINDOW_MIN UINT64_C(32768)
/* Not taken by the socket, before all but control waits. */
#define TLY_QUEUE_MIN UINT64_C(4096)
#define TLY_QUEUE_MAX UINT64_C(65536)
/* Rows of one part on the live lane. */
#define TLY_PART_MAX UINT64_C(16384)
/* A link budget that was not used is kept for so long, and this much at least. */
#define TLY_BURST_NS UINT64_C(100000000)
#define TLY_BURST_MIN UINT64_C(4096)
#define TLY_PINGS_MAX 64

enum tly_lane { TLY_LANE_CONTROL, TLY_LANE_LIVE, TLY_LANE_REPAIR, TLY_LANE_BULK, TLY_LANES };

/* A PING that was not answered: what its PONG will acknowledge. */
struct tly_lane_ping {
    uint64_t sent_at;
    uint64_t total, chunked;          /* sent up to it: on all lanes, on repair and bulk */
    uint64_t delivered, delivered_at; /* what was acknowledged then, and since when nothing more */
    bool is_limited;                  /* more would have been sent if the link had taken it */
};

struct tly_lanes {
    uint64_t sent[TLY_LANES];
    uint64_t total, acked; /* of all lanes */
    uint64_t chunked, chunked_acked;
    uint64_t acked_at;
    uint64_t queued; /* not taken by the socket */
    struct tly_lane_ping pings[TLY_PINGS_MAX];
    size_t first, count;   /* of those that are out, a ring */
    uint64_t pinged;       /* total at the last of them */
    uint64_t rtt_least_ns; /* of pings; 0: not known */
    bool is_filled;        /* the last chunk waited behind others: more would only wait longer */
    uint64_t rate, rate_before, rate_until; /* bytes/s: the best of this second or so and of the one before */
    uint64_t owed[TLY_LANES];
    uint64_t budget; /* bytes/s; 0: none */
    int64_t tokens;
    uint64_t refilled_at;
    size_t beside; /* as it was asked for last */
};

struct tly_lanes tly_lanes_of(uint64_t link_budget, uint64_t now_ns);

/* Bytes/s that the link was seen to carry; 0: not known yet. */
uint64_t tly_lanes_rate(const struct tly_lanes *lanes);
/* What a chunk of repair or bulk should be. */
size_t tly_lanes_chunk(const struct tly_lanes *lanes);
/* What repair and bulk may have unacknowledged, and what they have. */
uint64_t tly_lanes_credit(const struct tly_lanes *lanes);
uint64_t tly_lanes_unacked(const struct tly_lanes *lanes);

/* About how many bytes may go on a lane now; 0: none. Control may always. */
size_t tly_lane_room(struct tly_lanes *lanes, enum tly_lane lane, uint64_t now_ns);
/*
 * Of the lanes that have something to send (a bit each) the one whose turn it is, or TLY_LANES: none may send. *room as above. What is
 * higher comes first, unless a lower one is owed a chunk. `beside`: about how many bytes go with what fills the room, and may not go
 * before it: under a budget both wait until there is room for both, or the whole burst is there.
 */
enum tly_lane tly_lanes_next(struct tly_lanes *lanes, unsigned wanting, size_t beside, uint64_t now_ns,
                             size_t *room);
/* Whether the budget, if there is one, is nearly used up. */
bool tly_lanes_is_out_of_budget(const struct tly_lanes *lanes);
/* When a budget has room for so much, though none waits for more than most of the burst: `now` if it has, or if there is none. */
uint64_t tly_lanes_budget_for(struct tly_lanes *lanes, size_t bytes, uint64_t now_ns);
/* When there will be room for what was asked last if only the budget is in the way; UINT64_MAX: something else is, or nothing. */
uint64_t tly_lanes_budget_at(const struct tly_lanes *lanes, uint64_t now_ns);

/* A frame was handed over. `wanting`: lanes that had something to send as well. */
void tly_lanes_sent(struct tly_lanes *lanes, enum tly_lane lane, size_t bytes, unsigned wanting,
                    uint64_t now_ns);
/* Whether what went since the last PING is enough for another. */
bool tly_lanes_wants_ping(const struct tly_lanes *lanes);
/* A PING was handed over, its own bytes counted; wanting: repair or bulk has more to send. */
void tly_lanes_pinged(struct tly_lanes *lanes, uint64_t now_ns, bool wanting);
/* The PONG to the PING of that time is here; how many bytes are newly acknowledged. */
uint64_t tly_lanes_ponged(struct tly_lanes *lanes, uint64_t sent_at, uint64_t now_ns);

/* The invariant; for tests. */
void tly_lanes_check(const struct tly_lanes *lanes);

#endif
