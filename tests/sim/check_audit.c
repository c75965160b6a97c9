/*
 * Marks are true: on days written by hand the fingerprints that peers compare never find a dot that they hid, unless a node goes on with an
 * older disk. On others they may bring back the word of an ended life that had gone here and not yet there.
 */
#include "tests/sim/sim.h"

void sim_check_audit(struct sim *sim, size_t node)
{
    struct tly_stats stats;
    if (sim->rolled_back || sim->knobs.trouble_ns > 0) return;
    tly_engine_stats(sim->nodes[node].engine, &stats);
    sim_claim(sim, stats.dots_repaired == 0,
              "n%zu had the marks of %llu dots that it lacked until a peer compared", node,
              (unsigned long long)stats.dots_repaired);
}
