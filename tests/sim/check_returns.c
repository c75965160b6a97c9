/* What a node says it knows to be removed does not stand there: no PUT comes back that is older than a REMOVE, forgotten or not. */
#include "tests/sim/sim.h"

static bool covers(struct sim *sim, size_t node, size_t dot)
{
    const struct tly_dot *remove = sim_twin_dot(sim, dot);
    const struct tly_engine *engine = sim->nodes[node].engine;
    /* A mark of a life that was made up may hide what another was told. */
    if (sim_hostile_made(remove->version.origin)) return false;
    for (size_t i = 0; i < tly_engine_lives(engine); i++) {
        struct tly_life life = tly_engine_life(engine, i);
        if (life.origin != remove->version.origin) continue;
        return remove->version.ts <= life.mark && sim_twin_asks(sim, &life) &&
               !sim_twin_went_with_who_had_it(sim, node, &life, dot);
    }
    return false;
}

static void check_key(struct sim *sim, size_t node, size_t key)
{
    struct tly_slice name = sim_twin_key(sim, key);
    struct tly_entry_view view;
    sim->nodes[node].is_due_known = false;
    if (tly_engine_entry(sim->nodes[node].engine, name, &view) != TLY_OK || view.unsealed) return;
    for (size_t at = 0, i = sim_twin_newest(sim, key); i != 0 && at < 200;
         i = sim_twin_before(sim, i), at++) {
        const struct tly_dot *remove = sim_twin_dot(sim, i);
        if (remove->op != TLY_REMOVE || sim_twin_went_at_install(sim, remove->version)) continue;
        for (size_t j = 0; j < view.count; j++) {
            const struct tly_dot *put = &view.dots[j];
            if (put->op != TLY_PUT || !tly_dominates(view.strategy, remove, put)) continue;
            /* Counts are carried over an install, also into a key that was deleted and forgotten meanwhile (D29). */
            if (view.strategy->own_shards && sim_twin_has_installed(sim, put->version.origin)) continue;
            /* A life that was made up may say something of long ago, of which nothing was known when the REMOVE was forgotten (D126). */
            if (sim_twin_came_too_late(sim, put->version, remove->version.ts)) continue;
            if (sim_twin_comes_with_a_round(sim, node, i)) continue;
            sim_claim(sim, !covers(sim, node, i),
                      "n%zu has the PUT %llu of %llx for %.*s, which the REMOVE %llu of %llx took away", node,
                      (unsigned long long)put->version.ts, (unsigned long long)put->version.origin,
                      (int)name.n, (const char *)name.p, (unsigned long long)remove->version.ts,
                      (unsigned long long)remove->version.origin);
        }
    }
}

void sim_check_returns(struct sim *sim, size_t node, size_t count)
{
    size_t keys = sim_twin_keys(sim);
    for (size_t i = 0; i < count && keys > 0; i++)
        check_key(sim, node, test_rng_below(&sim->looks, keys));
}

bool sim_hostile_said(struct sim *sim, size_t node, const char *text)
{
    struct tly_entry_view view;
    sim->nodes[node].is_due_known = false;
    if (tly_engine_entry(sim->nodes[node].engine, tly_slice_text(text), &view) != TLY_OK) return false;
    for (size_t i = 0; i < view.count; i++)
        if (sim_hostile_made(view.dots[i].version.origin)) return true;
    return false;
}
