/*
 * Memory <= its ceiling, save for what a process found on its disk when it began, or was brought by a snapshot, and has not got rid of yet: as
 * long as more is used than old keys may grow to, there is not all the room that is kept free for what must be done (the records of keys that
 * are here). And save for a snapshot that is on its way. Whoever was refused for want of room is counted as refused, and a check that could not be counted did
 * what on_full says.
 */
#include "service/engine/impl.h"
#include "tests/sim/sim.h"

/* In which memory is taken, at most. */
#define LUMP ((size_t)16 * 1024)
/* To which old keys grow, of 32 parts (D35). */
#define OLD_KEYS 30

static struct sim_full *full_of(struct sim_node *node)
{
    if (node->full.process != node->process) node->full = (struct sim_full){.process = node->process};
    return &node->full;
}

void sim_check_memory(struct sim *sim, size_t node)
{
    struct sim_full *full = full_of(&sim->nodes[node]);
    struct tly_node_view view;
    /* It is whole or nothing, and what was here stays until it is. */
    if (sim->nodes[node].engine->coming.install != NULL) return;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    bool fits = view.memory_max == 0 || view.memory_used <= view.memory_max;
    sim_claim(sim, fits || !full->fits, "n%zu holds %zu bytes of %zu", node, view.memory_used,
              view.memory_max);
    full->fits |= view.memory_max == 0 || view.memory_used <= view.memory_max / 32 * OLD_KEYS;
}

/* What is here is given up for nothing, and grows until all but a sixteenth is used (D35). */
void sim_check_crowded(struct sim *sim, size_t node, const char *kind, unsigned key)
{
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    sim_claim(sim, view.memory_used + LUMP > view.memory_max / 32 * OLD_KEYS,
              "n%zu has no room for %s %u, which it has counted, and holds %zu bytes of %zu", node, kind, key,
              view.memory_used, view.memory_max);
}

static void check_verdict(struct sim *sim, size_t node, enum tly_result result, uint32_t hits,
                          const struct tly_verdict *verdict)
{
    struct sim_full *full = full_of(&sim->nodes[node]);
    if (result != TLY_OK || !verdict->full) return;
    bool refuses = sim->knobs.refuses_full || verdict->mode == TLY_HARD;
    struct tly_node_view view;
    tly_engine_node(sim->nodes[node].engine, false, &view);
    sim_claim(sim, view.memory_max > 0 && hits > 0, "n%zu has no room, and no ceiling", node);
    sim_claim(sim, verdict->code == (refuses ? TLY_CODE_OVER : TLY_CODE_OK),
              "n%zu has no room, and does not do what on_full says", node);
    *(refuses ? &full->refused : &full->uncounted) += 1;
}

void sim_check_full(struct sim *sim, size_t node, const struct tly_request *request, enum tly_result result,
                    const struct tly_reply *reply)
{
    if (request->kind == TLY_ASK_CHECK || request->kind == TLY_ASK_RESERVE)
        check_verdict(sim, node, result, request->check.hits, &reply->verdict);
    bool several = request->kind == TLY_ASK_CHECK_ALL || request->kind == TLY_ASK_CHECK_EACH;
    for (size_t i = 0; several && i < request->checked_count; i++)
        check_verdict(sim, node, result, request->checked[i].check.hits, &request->checked[i].verdict);
    bool writes = request->kind >= TLY_ASK_ADD && request->kind <= TLY_ASK_REMOVE;
    if (writes && result == TLY_FULL) full_of(&sim->nodes[node])->writes++;
}

void sim_check_refused(struct sim *sim, size_t node)
{
    struct sim_full *full = full_of(&sim->nodes[node]);
    struct tly_stats stats;
    tly_engine_stats(sim->nodes[node].engine, &stats);
    sim_claim(
        sim,
        full->writes == stats.writes_refused_full && full->refused == stats.checks_refused_full &&
            full->uncounted == stats.checks_uncounted,
        "n%zu refused %llu writes and %llu checks for want of room and passed %llu, and counts %llu, %llu "
        "and %llu",
        node, (unsigned long long)full->writes, (unsigned long long)full->refused,
        (unsigned long long)full->uncounted, (unsigned long long)stats.writes_refused_full,
        (unsigned long long)stats.checks_refused_full, (unsigned long long)stats.checks_uncounted);
}
