/* Marks are true: the fingerprints that peers compare never find a dot that they hid, unless a node goes on with an older disk. */
#include "tests/sim/sim.h"

void sim_check_audit(struct sim *sim, size_t node)
{
    struct tly_stats stats;
    tly_engine_stats(sim->nodes[node].engine, &stats);
    sim_claim(sim, sim->rolled_back || stats.dots_repaired == 0,
              "n%zu had the marks of %llu dots that it lacked until a peer compared", node,
              (unsigned long long)stats.dots_repaired);
}
