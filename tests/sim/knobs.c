/* What kind of days a seed has. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

static uint64_t pick(struct test_rng *rng, const uint64_t *from, size_t count)
{
    return from[test_rng_below(rng, count)];
}

#define PICK(rng, ...) \
    pick((rng), (const uint64_t[]){__VA_ARGS__}, sizeof(const uint64_t[]){__VA_ARGS__} / sizeof(uint64_t))

/* By a stream of their own. */
static void draw_wide(struct sim_knobs *knobs)
{
    struct test_rng own = test_rng_unnamed(knobs->seed ^ UINT64_C(0x57ee7c0de)), *rng = &own;
    if (test_rng_chance(rng, 12) && knobs->nodes <= 4) {
        /* The least that may be set. */
        knobs->memory_max = (size_t)16 << 20;
        knobs->fresh = (unsigned)PICK(rng, 4, 10, 40);
    }
    knobs->refuses_full = test_rng_chance(rng, 50);
    if (test_rng_chance(rng, 30))
        knobs->odd = (unsigned)PICK(rng, 1, 2, 4, 8, 16, 24, 30, 31, 31, SIM_ODD_NEWER);
    if (test_rng_chance(rng, 30)) knobs->weights[SIM_STRANGER] = 10;
    knobs->limits = test_rng_chance(rng, 50);
    knobs->watches = test_rng_chance(rng, 30);
    knobs->copies = test_rng_chance(rng, 25) && knobs->memory_max == 0;
    if (!test_rng_chance(rng, 30)) return;
    knobs->link_budget = knobs->memory_max > 0 ? PICK(rng, 1000000, 4000000) : PICK(rng, 8000, 20000, 100000);
}

void sim_knobs_ring(struct sim_knobs *knobs, size_t mesh_max)
{
    knobs->mesh_max = mesh_max;
    /* The clocks of neighbours are all that a node sees of the cluster's time, by which holds end. */
    knobs->settle_ns += 2 * knobs->skew_ns;
}

/* More members than mesh_max, so that not all have a connection to all: neighbours only, up to seven, and from nine on some who stand apart. */
static void draw_ring(struct sim_knobs *knobs)
{
    struct test_rng own = test_rng_unnamed(knobs->seed ^ UINT64_C(0x216f4d657368)), *rng = &own;
    if (!test_rng_chance(rng, 20)) return;
    sim_knobs_ring(knobs, 2);
    knobs->nodes = (size_t)PICK(rng, 4, 4, 5, 5, 7, 9);
}

/* Some of whom nobody hears anything while they count on, and who are forgotten; on most such days little else goes wrong, so that their lives are settled before they are back. */
static void draw_lone(struct sim_knobs *knobs)
{
    struct test_rng own = test_rng_unnamed(knobs->seed ^ UINT64_C(0x10e1)), *rng = &own;
    if (!test_rng_chance(rng, 25)) return;
    if (test_rng_chance(rng, 75)) memset(knobs->weights, 0, sizeof knobs->weights);
    knobs->weights[SIM_CUT]++;
    knobs->weights[SIM_LONE] = (unsigned)PICK(rng, 1, 10);
    if (knobs->harmed) knobs->weights[SIM_HARM]++;
}

void sim_knobs_narrow(struct sim_knobs *knobs)
{
    knobs->memory_max = 0;
    knobs->fresh = 0;
    knobs->refuses_full = false;
    knobs->link_budget = 0;
    knobs->odd = 0;
    knobs->mesh_max = 0;
    knobs->limits = knobs->watches = knobs->copies = false;
    knobs->weights[SIM_STRANGER] = knobs->weights[SIM_LONE] = 0;
}

/* Each seed has its own kind of bad days: some faults never, some often. */
struct sim_knobs sim_knobs_of(uint64_t seed)
{
    static const unsigned usual[SIM_FAULT_COUNT] = {
#define SIM_FAULT_WEIGHT(name, word, weight) [SIM_##name] = (weight),
        SIM_FAULTS(SIM_FAULT_WEIGHT)
#undef SIM_FAULT_WEIGHT
    };
    struct test_rng own = test_rng_unnamed(seed ^ UINT64_C(0x9e3779b97f4a7c15)), *rng = &own;
    struct sim_knobs knobs = {
        .seed = seed,
        .nodes = (size_t)PICK(rng, 2, 3, 3, 3, 4, 5, 5, 7),
        .trouble_ns = PICK(rng, 2, 5, 10) * SIM_MIN,
        .write_gap_ns = PICK(rng, 100, 500, 1000, 1000, 3000) * SIM_MS,
        .fault_gap_ns = PICK(rng, 1, 3, 5, 10, 20) * SIM_S,
        .delay_ns = PICK(rng, 50, 500, 5000, 50000) * SIM_US,
        .jitter_ns = PICK(rng, 0, 100, 5000, 100000) * SIM_US,
        .disk_ns = PICK(rng, 100, 1000, 20000, 500000) * SIM_US,
        .skew_ns = PICK(rng, 0, 10, 1000, 20000, 60000) * SIM_MS,
        .grace_ms = (uint32_t)PICK(rng, 1000, 5000, 30000, 300000),
        .forget_after_ms = PICK(rng, 120000, 86400000, 86400000),
        .keys = (unsigned)PICK(rng, 1, 3, 8, 24),
        .fsync_always = test_rng_chance(rng, 30),
        .files = seed % 7 == 2 || seed % 7 == 6,
        .harmed = seed % 11 == 3 || seed % 11 == 6,
    };
    /* Each counts the grace for itself, and a window of a minute goes two of them and max_skew after its end. */
    knobs.settle_ns = 2 * knobs.grace_ms * SIM_MS + 10 * SIM_MIN;
    /* So that rounds and snapshots have parts, which something can come between. */
    if (seed % 10 == 7 || seed % 10 == 0) knobs.value_bytes = SIM_VALUE_BYTES;
    /* Who is gone for good has no say in the end of a life that was made up, and so holds up what is forgotten. */
    knobs.minority_gone = !knobs.harmed && (seed % 10 == 6 || seed % 10 == 0);
    /* None of those in tests/sim/seeds, whose days stay as they were. */
    knobs.hard = seed % 13 >= 9 && seed % 13 <= 11;
    knobs.hard_limit = seed % 2 == 0 ? 7 : 100;
    knobs.hard_window_ms = seed % 3 == 0 ? 10000 : 1000;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        knobs.weights[i] = test_rng_chance(rng, 40) ? 0 : usual[i] * (unsigned)PICK(rng, 1, 1, 1, 5);
    knobs.weights[SIM_CUT]++;
    if (!knobs.harmed) knobs.weights[SIM_HARM] = 0;
    if (knobs.harmed && knobs.weights[SIM_HARM] == 0) knobs.weights[SIM_HARM] = 1;
    if (seed >= SIM_WIDE_FROM) {
        draw_ring(&knobs);
        draw_wide(&knobs);
    }
    if (seed >= SIM_LONE_FROM) draw_lone(&knobs);
    return knobs;
}

void sim_knobs_pace(struct sim_knobs *knobs)
{
    knobs->write_gap_ns = SIM_S;
    knobs->trouble_ns = knobs->trouble_ns / knobs->nodes; /* of all nodes together */
    knobs->fault_gap_ns = 0;
    knobs->delay_ns = 500 * SIM_US;
    knobs->jitter_ns = 100 * SIM_US;
    knobs->disk_ns = SIM_MS;
    knobs->skew_ns = 10 * SIM_MS;
    knobs->keys = 8;
    knobs->value_bytes = 0;
    knobs->minority_gone = knobs->harmed = knobs->files = knobs->hard = false;
    sim_knobs_narrow(knobs);
    memset(knobs->weights, 0, sizeof knobs->weights);
}

void sim_knobs_print(const struct sim_knobs *k)
{
    printf(
        "seed %llu: %zu nodes, %llu s of trouble, a write each %llu ms, a fault each %llu ms, links %llu us "
        "+ %llu us, disk %llu us, skew %llu ms, grace %u ms, forget_after %llu ms, %u keys, values %zu, fsync %s, %s%s;",
        (unsigned long long)k->seed, k->nodes, (unsigned long long)(k->trouble_ns / SIM_S),
        (unsigned long long)(k->write_gap_ns / SIM_MS), (unsigned long long)(k->fault_gap_ns / SIM_MS),
        (unsigned long long)(k->delay_ns / SIM_US), (unsigned long long)(k->jitter_ns / SIM_US),
        (unsigned long long)(k->disk_ns / SIM_US), (unsigned long long)(k->skew_ns / SIM_MS), k->grace_ms,
        (unsigned long long)k->forget_after_ms, k->keys, k->value_bytes,
        k->fsync_always ? "always" : "interval", k->files ? "files" : "no files",
        k->hard ? ", hard limits" : "");
    if (k->memory_max > 0)
        printf(" memory_max %zu, on_full %s, %u new keys a turn;", k->memory_max,
               k->refuses_full ? "refuse" : "admit", k->fresh);
    if (k->link_budget > 0) printf(" link_budget %llu;", (unsigned long long)k->link_budget);
    if (k->mesh_max > 0) printf(" mesh_max %zu;", k->mesh_max);
    if (k->copies) printf(" copies;");
    if (k->watches) printf(" watchers;");
    if (k->limits) printf(" limits of all kinds;");
    if (k->odd > 0) printf(" n0 is odd %u;", k->odd);
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        if (k->weights[i] > 0) printf(" %s %u", sim_fault_words[i], k->weights[i]);
    printf("\n");
}
