/*
 * The wall clock beside the monotonic one, a value.  To read a clock takes as long as half a check, and of checks that a program makes one
 * by one each has a moment of its own.  So the wall is read once a millisecond; until then it goes as the other clock does.  A wall that
 * was set is seen by that much later.
 */
#ifndef TALLY_SERVICE_SHELL_WALL_H
#define TALLY_SERVICE_SHELL_WALL_H

#include "crdt/clock.h"

#define TLY_WALL_GOOD_NS UINT64_C(1000000)

/* {0}: it was not read yet. */
struct tly_wall {
    uint64_t ahead_ns; /* of the monotonic clock, modulo 2^64 */
    uint64_t until_ns; /* of the monotonic clock: from then on it is to be read anew */
};

static inline bool tly_wall_is_due(const struct tly_wall *wall, uint64_t mono_ns)
{
    return mono_ns >= wall->until_ns;
}

/* What both clocks showed. */
static inline void tly_wall_note(struct tly_wall *wall, struct tly_time both)
{
    wall->ahead_ns = both.wall_ns - both.mono_ns;
    wall->until_ns = both.mono_ns + TLY_WALL_GOOD_NS;
}

static inline struct tly_time tly_wall_at(const struct tly_wall *wall, uint64_t mono_ns)
{
    return (struct tly_time){mono_ns + wall->ahead_ns, mono_ns};
}

#endif
