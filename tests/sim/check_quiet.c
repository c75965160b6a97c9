/* No echo: when nothing goes wrong, each dot goes to each other node about once, and never back. */
#include "tests/sim/sim.h"

#define WRITES 12
#define PACE (4 * SIM_S)
#define REST (15 * SIM_S) /* without a dot sent */
#define RELAY_NS (60 * SIM_MS)
/* A life that no member has is closed a minute after all are linked again. */
#define STRAYS (80 * SIM_S)

static uint64_t dots_sent(const struct sim *sim)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < sim->knobs.nodes; i++) {
        struct tly_stats stats;
        if (sim->nodes[i].engine == NULL || sim->nodes[i].gone) continue;
        tly_engine_stats(sim->nodes[i].engine, &stats);
        sum += stats.dots_sent;
    }
    return sum;
}

static size_t count_up(const struct sim *sim)
{
    size_t count = 0;
    for (size_t i = 0; i < sim->knobs.nodes; i++)
        count += sim_is_up(sim, i) && !sim->nodes[i].gone;
    return count;
}

/*
 * A node passes on what it has heard unless it hears in time that the others have it, which over slow links it does not; and not of what all say
 * at one time: registers of others go at once (design 2.2), so each of those may pass each way once. Nothing ever goes back.
 */
static uint64_t most(const struct sim *sim, size_t dots, size_t said, size_t others)
{
    bool slow = sim->knobs.delay_ns + sim->knobs.jitter_ns > RELAY_NS / 4;
    if (others == 1) return (dots + said) * 3 / 2 + 8;
    return (dots * (slow ? 5 * others : 8) / 4 + said * (slow ? 5 * others : 4 * others) / 4) * others + 8;
}

/* What nodes said of themselves, of all dots behind so many. */
static size_t said_since(const struct sim *sim, size_t dots)
{
    size_t said = 0;
    for (size_t i = dots + 1; i <= sim_twin_count(sim); i++)
        said += tly_slice_begins(sim_twin_key_of(sim, i), tly_slice_text("sys:"));
    return said;
}

/* What the trouble has left may go on when all agree already: a life that was forgotten begins anew, and is carried over. */
static void wait_for_quiet(struct sim *sim)
{
    uint64_t until = sim->now + sim->knobs.settle_ns, sent;
    sim_run(sim, sim->now + STRAYS);
    do {
        sent = dots_sent(sim);
        sim_run(sim, sim->now + REST);
    } while (dots_sent(sim) != sent && sim->now < until);
}

void sim_check_quiet(struct sim *sim)
{
    size_t others = count_up(sim) - 1;
    if (others == 0) return;
    wait_for_quiet(sim);
    size_t dots = sim_twin_count(sim);
    uint64_t sent = dots_sent(sim);
    for (size_t i = 0; i < WRITES; i++) {
        size_t node = i % sim->knobs.nodes;
        if (sim_is_up(sim, node) && !sim->nodes[node].gone)
            sim_write_plain(sim, node, (unsigned)(i % sim->knobs.keys));
        sim_run(sim, sim->now + PACE);
    }
    size_t said = said_since(sim, dots);
    dots = sim_twin_count(sim) - dots;
    sent = dots_sent(sim) - sent;
    sim_tell(sim, "in quiet %zu dots were sent %llu times", dots, (unsigned long long)sent);
    sim_claim(sim, dots >= WRITES / 4, "only %zu dots came of %d writes", dots, WRITES);
    sim_claim(sim, sent <= most(sim, dots - said, said, others), "%zu dots were sent %llu times to %zu nodes",
              dots, (unsigned long long)sent, others + 1);
}
