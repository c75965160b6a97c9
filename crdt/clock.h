/*
 * The clock that makes versions: ns since 1970, strictly increasing, never behind what was seen.  A value; time is
 * told to it, it asks nobody.
 *
 *   next      = max(last + 1, wall)
 *   observe   last = max(last, t): a max, so a dot delivered twice moves nothing
 *   horizon   = max(wall, horizon + monotonic time passed).  Dots never move it, for a guard that followed the
 *               clock would be ratcheted up by every dot it lets through.
 *   lease     what is durably promised: after a crash the clock starts above it, so that one's own later writes never
 *             lose to one's earlier ones, without a sync per write.
 */
#ifndef TALLY_CRDT_CLOCK_H
#define TALLY_CRDT_CLOCK_H

#include "crdt/result.h"

#include <stdbool.h>
#include <stdint.h>

#define TLY_CLOCK_LAST (UINT64_MAX - 1)
#define TLY_CLOCK_LEASE_NS (UINT64_C(1) << 32)
#define TLY_MAX_SKEW_NS UINT64_C(300000000000)

/* The two clocks of the machine at one moment; mono never goes back, wall may. */
struct tly_time {
    uint64_t wall_ns;
    uint64_t mono_ns;
};

struct tly_clock {
    uint64_t last;
    uint64_t lease; /* durable up to here; 0: nothing is promised yet */
    uint64_t horizon;
    struct tly_time now;
    uint64_t max_skew_ns;
};

/* lease: what an earlier process had made durable, 0 if none. The first version is above it. */
struct tly_clock tly_clock_of(uint64_t lease, struct tly_time now, uint64_t max_skew_ns);

/* Tells the time. A mono that went back counts as no time passed. */
void tly_clock_tick(struct tly_clock *clock, struct tly_time now);

/* The next version's ts; TLY_CLOCK_END once TLY_CLOCK_LAST was given, for good. */
enum tly_result tly_clock_next(struct tly_clock *clock, uint64_t *ts) TLY_MUST_CHECK;

static inline void tly_clock_observe(struct tly_clock *clock, uint64_t ts)
{
    if (ts > clock->last) clock->last = ts;
}

/* The newest ts from elsewhere that is within horizon + max_skew. */
static inline uint64_t tly_clock_admits_to(const struct tly_clock *clock)
{
    bool beyond = clock->max_skew_ns > TLY_CLOCK_LAST - clock->horizon || clock->horizon > TLY_CLOCK_LAST;
    return beyond ? TLY_CLOCK_LAST : clock->horizon + clock->max_skew_ns;
}

static inline bool tly_clock_admits(const struct tly_clock *clock, uint64_t ts)
{
    return ts <= tly_clock_admits_to(clock);
}

/*
 * The lease that should be made durable now, or 0 when none is needed: less than half a lease is left above the last
 * version given. Call tly_clock_leased when it is durable.
 */
uint64_t tly_clock_wants_lease(const struct tly_clock *clock);
void tly_clock_leased(struct tly_clock *clock, uint64_t lease);

/* False when versions have been given beyond the lease: order over a crash is then not assured. */
bool tly_clock_is_covered(const struct tly_clock *clock);

#endif
