/*
 * Optimistic limits: a process knows at least what it admitted itself, so of one window it admits no more than the limit; and so all of
 * them together no more than that times the processes.
 */
#include "tests/sim/sim.h"

#include <string.h>

void sim_check_admitted(struct sim *sim, size_t node, unsigned key, const struct tly_verdict *verdict,
                        uint32_t hits)
{
    struct sim_window *window = &sim->nodes[node].windows[key];
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    uint64_t epoch = view.cluster_ns / SIM_MS / verdict->window_ms;
    bool same = window->process == sim->nodes[node].process && window->epoch == epoch;
    if (!same) *window = (struct sim_window){.process = sim->nodes[node].process, .epoch = epoch};
    if (verdict->code == TLY_CODE_OK) window->admitted += hits;
    sim_tell(sim, "n%zu %s %u of window:%u in %llu, %llu left", node,
             verdict->code == TLY_CODE_OK ? "admits" : "refuses", hits, key, (unsigned long long)epoch,
             (unsigned long long)verdict->remaining);
    sim_claim(sim, window->admitted <= verdict->limit, "n%zu admits %llu of %llu in one window of window:%u",
              node, (unsigned long long)window->admitted, (unsigned long long)verdict->limit, key);
    sim_claim(sim, verdict->remaining <= verdict->limit - window->admitted,
              "n%zu says that %llu of %llu are left of window:%u, and has admitted %llu", node,
              (unsigned long long)verdict->remaining, (unsigned long long)verdict->limit, key,
              (unsigned long long)window->admitted);
}

/* Hard ones are not passed by all of them together: no bad luck adds anything to that. */
void sim_check_hard(struct sim *sim, uint64_t admitted, unsigned key)
{
    sim_claim(sim, admitted <= sim->knobs.hard_limit, "%llu of %llu are admitted in one window of hard:k%u",
              (unsigned long long)admitted, (unsigned long long)sim->knobs.hard_limit, key);
}

/* What an install puts aside until its life is settled counts again later. */
void sim_forget_admitted(struct sim_node *node)
{
    memset(node->windows, 0, sizeof node->windows);
}
