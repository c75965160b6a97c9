/*
 * Many seeds, each lived through by a process of its own, several at a time; what they counted is added up. A seed that failed has said
 * why: that is shown, and the others go on or not.
 */
#ifndef TALLY_TESTS_SIM_CAMPAIGN_H
#define TALLY_TESTS_SIM_CAMPAIGN_H

#include "tests/sim/sim.h"

#define SIM_JOBS_MAX 64

/* How a seed is lived through. */
struct sim_wish {
    uint64_t seed;
    uint64_t minutes, nodes, mesh; /* 0: as the seed says */
    const char *schedule;          /* NULL: chance */
    const char *watched;           /* NULL: no key */
    struct sim_skips skips;
    bool trace;
    bool paced; /* nothing goes wrong, and each node has a write a second: how fast the days go by */
};

struct sim_sums {
    uint64_t seeds, failed, virtual_ns, steps, dots, bytes, worst_ns;
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t stats[SIM_STATS];
    uint64_t traces[TLY_TRACE_COUNT];
    uint64_t print; /* of all that was told; the same for the same seeds, wherever and in whatever order */
};

struct sim_campaign {
    struct sim_wish wish;
    uint64_t count;   /* seeds; 0: until one fails */
    uint64_t seconds; /* of the wall, after which no seed is begun; 0: no end */
    uint64_t jobs;
    bool go_on; /* after a seed that failed */
    bool
        mixed; /* seven of eight seeds have a minute of trouble: many kinds of days, and some that are long */
    bool quiet;
};

/* In this process, which ends when something does not hold. */
void sim_live(const struct sim_wish *wish, struct sim_sums *sums);
/* Whether it holds, in a process of its own; what is said goes to `said`, as far as there is room. */
bool sim_holds(const struct sim_wish *wish, struct sim_sums *sums, char *said, size_t room);
/* The number of seeds that failed. */
uint64_t sim_campaign(const struct sim_campaign *campaign, struct sim_sums *sums);
void sim_report(const struct sim_sums *sums, double cpu_s);
/* How many of the marks, which a campaign of some hundred seeds must hit, were not; says which. */
uint64_t sim_marks_missed(const struct sim_sums *sums);
/* Searches for less that fails like this, and says how to live through it again; false: it does not fail. */
bool sim_shrink(struct sim_wish *wish);

#endif
