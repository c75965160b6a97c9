/*
 * What a node makes is newer than all that it ever made, in an earlier process too, as far as its lease on the disk had been raised: so no
 * write loses to an earlier one of the same node, though a crash took that from its disk and the clock was set back meanwhile.
 */
#include "tests/sim/sim.h"

void sim_check_order(struct sim *sim, size_t i, uint64_t ts)
{
    struct sim_node *node = &sim->nodes[i];
    struct sim_made *made = &node->made;
    if (made->process != node->process) {
        if (made->before < made->newest) made->before = made->newest;
        made->process = node->process;
        made->newest = 0;
    }
    sim_claim(sim, ts > made->before, "n%zu makes %llu, and had made %llu before it was started", i,
              (unsigned long long)ts, (unsigned long long)made->before);
    if (ts <= node->disk.lease && made->newest < ts) made->newest = ts;
}
