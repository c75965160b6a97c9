/*
 * Who settles a life says that this is all there is of it: no member has more. Unless one was forgotten, who is not asked any more; or goes
 * on with an older disk, or with what its disk had written when it fell, which had not said what others think and may have what they replaced
 * since; or it is nobody's life, which may say more at any time.
 */
#include "service/engine/impl.h"
#include "tests/sim/sim.h"

static struct tly_life life_of(const struct tly_engine *engine, uint64_t origin)
{
    for (size_t i = 0; i < tly_engine_lives(engine); i++)
        if (tly_engine_life(engine, i).origin == origin) return tly_engine_life(engine, i);
    return (struct tly_life){0};
}

void sim_check_settled(struct sim *sim, size_t node, uint64_t origin)
{
    if (sim->rolled_back || sim->was_one_forgotten || sim_hostile_made(origin)) return;
    struct tly_life settled = life_of(sim->nodes[node].engine, origin);
    uint64_t ended_at = sim_twin_ended_at(sim, origin);
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_engine *other = sim->nodes[i].engine;
        if (i == node || other == NULL || sim->nodes[i].fell_at > ended_at) continue;
        struct tly_life life = life_of(other, origin);
        if (life.origin == 0 || life.state >= TLY_LIFE_SETTLED) continue;
        struct tly_beyond beyond = tly_ormap_beyond(other->map, origin, settled.mark);
        sim_claim(sim, beyond.print == 0, "n%zu settles %llx at %llu, and n%zu has of it up to %llu", node,
                  (unsigned long long)origin, (unsigned long long)settled.mark, i,
                  (unsigned long long)beyond.newest);
    }
}
