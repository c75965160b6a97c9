/* Within one process F and what was forgotten by it only rise, and nothing is forgotten beyond F. */
#include "tests/sim/sim.h"

void sim_check_floors(struct sim *sim, size_t node)
{
    struct sim_floors *before = &sim->nodes[node].floors;
    struct tly_forget_view now;
    tly_engine_forgetting(sim->nodes[node].engine, &now);
    bool same = before->process == sim->nodes[node].process;
    if (same) {
        sim_claim(sim, now.f >= before->f, "n%zu: F falls from %llu to %llu", node,
                  (unsigned long long)before->f, (unsigned long long)now.f);
        sim_claim(sim, now.forgotten >= before->forgotten, "n%zu: what was forgotten falls from %llu to %llu",
                  node, (unsigned long long)before->forgotten, (unsigned long long)now.forgotten);
        /* By itself it forgets up to F; a snapshot, and the word that retires a life, bring what others forgot. */
        bool brought = before->brought != sim->nodes[node].brought;
        sim_claim(sim, brought || now.forgotten == before->forgotten || now.forgotten <= now.f,
                  "n%zu forgets up to %llu, and not all have more than %llu", node,
                  (unsigned long long)now.forgotten, (unsigned long long)now.f);
    }
    *before = (struct sim_floors){sim->nodes[node].process, now.f, now.forgotten, sim->nodes[node].brought};
}
