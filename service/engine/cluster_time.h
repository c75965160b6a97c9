/*
 * Cluster time: what windows and deadlines are judged by.  Each node's wall clock may be wrong; the median of all
 * members' is what they agree on without a message of its own.
 *
 *     target   = median of the members' raw walls, one's own included; with two members one's own
 *     before it was used      it is the target
 *     afterwards              it runs with the monotonic clock and makes up the difference by at most 10 % of the time
 *                             that passes, so it never goes back and no window is seen twice
 *
 * A value; time is told to it.  It is driven by the monotonic clock, so a wall that is stepped moves nothing but the target.
 */
#ifndef TALLY_SERVICE_ENGINE_CLUSTER_TIME_H
#define TALLY_SERVICE_ENGINE_CLUSTER_TIME_H

#include "crdt/clock.h"

#include <stddef.h>

/* One part in so many of the time that passes is made up. */
#define TLY_SLEW_PART 10
/* Alone for so long, a node trusts its own wall. */
#define TLY_ALONE_NS UINT64_C(60000000000)
/* Readings that one median is taken of; further ones are left out. */
#define TLY_READINGS_MAX 4096

struct tly_cluster_time {
    uint64_t ns, mono_ns; /* cluster time at that moment of the monotonic clock */
    uint64_t earliest;    /* … and the lower of the two in the middle: nothing is over before that */
    uint64_t target, target_mono; /* where it should have been at that moment */
    uint64_t since_mono;
    bool used;  /* something was judged by it: from now on it is slewed */
    bool heard; /* a peer's wall is in the target */
};

struct tly_cluster_time tly_cluster_time_of(struct tly_time now);

/* What a member's wall clock says at the monotonic moment in `now`, as walls[]; they are sorted in place. */
void tly_cluster_time_aim(struct tly_cluster_time *time, struct tly_time now, uint64_t *walls, size_t count);

/* Cluster time at a moment; moves on with it. Not before the moment of the last call. */
uint64_t tly_cluster_time_at(struct tly_cluster_time *time, uint64_t mono_ns);

/*
 * Cluster time, but of two members the earlier: what is dropped because its time is over cannot be had again, and one of two
 * that are apart is wrong.
 */
uint64_t tly_cluster_time_over(const struct tly_cluster_time *time, uint64_t mono_ns);

/* Target minus cluster time: what is still to be made up. */
int64_t tly_cluster_time_error(const struct tly_cluster_time *time, uint64_t mono_ns);

/* Whether it may be used to judge that something is over: a peer has set it, or the node was alone long enough. */
bool tly_cluster_time_is_set(const struct tly_cluster_time *time, uint64_t mono_ns);

#endif
