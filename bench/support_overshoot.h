/*
 * One limit on N whole engines in virtual time, asked by everybody: what was admitted in each window beside the limit and beside the
 * bound that was published.  Everything follows from a seed.
 */
#ifndef TALLY_BENCH_SUPPORT_OVERSHOOT_H
#define TALLY_BENCH_SUPPORT_OVERSHOOT_H

#include "service/engine/engine.h"

#define TLY_OVERSHOOT_NODES_MAX 16

enum tly_overshoot_fault {
    TLY_FAULT_NONE,
    TLY_FAULT_BURSTS,  /* now and then all ask ten times as fast for a moment */
    TLY_FAULT_CUT,     /* the cluster is cut in two, and heals */
    TLY_FAULT_RESTART, /* a node dies without a word and comes back under a new life, its disk empty */
    TLY_FAULT_CLOCKS   /* wall clocks are up to half a second off */
};

struct tly_overshoot_plan {
    size_t nodes;
    uint64_t rate; /* asks per second, of all nodes together */
    unsigned skew; /* the first node asks so many times as often as each other one */
    uint64_t flush_ms, delay_ms;
    struct tly_rate limit;
    bool plain;     /* without projection */
    size_t windows; /* that are judged */
    enum tly_overshoot_fault fault;
    uint64_t seed;
};

/* All over the windows that were judged; in units, of the limit. */
struct tly_overshoot {
    size_t windows, windows_over;  /* over: above the limit */
    size_t bound_false;            /* windows that passed the limit by more than was published for them */
    uint64_t over_sum, over_most;  /* above the limit */
    uint64_t used_sum, used_least; /* admitted, not above the limit */
    uint64_t could_sum; /* the most that could be, as far as could be known: see support_overshoot.c */
    uint64_t bound_sum; /* published: the greatest of a window and of the one behind it */
    uint64_t most;      /* admitted in one window */
    uint64_t ended;     /* lives that ended */
};

void tly_overshoot_run(const struct tly_overshoot_plan *plan, struct tly_overshoot *result);
const char *tly_overshoot_fault_name(enum tly_overshoot_fault fault);

#endif
