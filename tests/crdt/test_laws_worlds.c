/*
 * Three nodes that write, count, exchange rounds, lose parts of them, restart and fall: whatever happens they end as the join of
 * every dot that was ever handed on.  All small histories of writes and exchanges, and random ones.
 */
#include "crdt/counter.h"
#include "tests/crdt/law.h"
#include "tests/crdt/rules.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW 1000

static struct tly_registry *registry;

static int begin(void **state)
{
    struct tly_mem kept = test_mem();
    registry = world_registry(&kept);
    return 0;
}

static int end(void **state)
{
    tly_registry_free(registry);
    claim(test_mem_live() == 0);
    return 0;
}

/* As world_of, but the registry and the memory are there already: worlds are made by the million. */
static struct world new_world(void)
{
    struct world world = {.mem = law_mem(), .registry = registry};
    for (size_t i = 0; i < WORLD_NODES; i++) {
        world.origin[i] = i + 1;
        world.node[i] = world_map(&world.mem, registry, world.origin[i]);
    }
    return world;
}

static void end_world(struct world *world)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_free(world->node[i]);
    twin_free(&world->twin);
    claim(law_mem_live() == 0);
}

/* A dot that any mark covers changes nothing, by whatever path and however late it comes. */
static void claim_nothing_comes_back(struct world *world)
{
    for (size_t node = 0; node < WORLD_NODES; node++) {
        struct tly_ormap *map = world->node[node];
        uint64_t digest = tly_ormap_digest(map);
        for (size_t i = 0; i < world->twin.count; i++) {
            const struct twin_dot *old = &world->twin.dots[i];
            claim(world_apply(map, world_key(old->key), &old->dot) != TLY_APPLIED);
        }
        claim(tly_ormap_digest(map) == digest);
    }
}

/* A map that is given nothing but what one node hands on is that node, and whatever else comes late is not taken. */
static void claim_copies_are_alike(struct world *world)
{
    struct tly_ormap *map = world_copy(&world->mem, world->registry, world->node[0], 0, NULL);
    claim(tly_ormap_digest(map) == tly_ormap_digest(world->node[0]));
    twin_claim_equal(&world->twin, map);
    for (size_t i = 0; i < world->twin.count; i++)
        claim(world_apply(map, world_key(world->twin.dots[i].key), &world->twin.dots[i].dot) != TLY_APPLIED);
    claim(tly_ormap_digest(map) == tly_ormap_digest(world->node[0]));
    tly_ormap_free(map);
}

static void settle_and_end(struct world *world)
{
    world_settle(world);
    claim_nothing_comes_back(world);
    claim_copies_are_alike(world);
    end_world(world);
}

/* ---- all small histories ---- */

/* A step: one of three nodes writes in one of three ways and hands a round to nobody, to the next node or to the other. */
enum { WRITES = 3, ROUNDS = 3, STEPS = WORLD_NODES * WRITES * ROUNDS };

typedef void write_step(struct world *world, size_t node);

static void put_or_remove(struct world *world, size_t node, size_t key, struct tly_dot dot)
{
    enum tly_result result = world_write(world, node, key, &dot);
    claim(result == TLY_OK || (dot.op == TLY_REMOVE && result == TLY_NOT_FOUND));
}

static void lww_a(struct world *world, size_t node)
{
    put_or_remove(world, node, 0, (struct tly_dot){.bytes = tly_slice_text("a")});
}

static void lww_b(struct world *world, size_t node)
{
    put_or_remove(world, node, 0, (struct tly_dot){.num = {1000}, .bytes = tly_slice_text("b")});
}

static void lww_remove(struct world *world, size_t node)
{
    put_or_remove(world, node, 0, (struct tly_dot){.op = TLY_REMOVE});
}

static void max_high(struct world *world, size_t node)
{
    put_or_remove(world, node, 1, (struct tly_dot){.num = {2, 0}});
}

static void max_low(struct world *world, size_t node)
{
    put_or_remove(world, node, 1, (struct tly_dot){.num = {1, UINT64_MAX}});
}

static void max_remove(struct world *world, size_t node)
{
    put_or_remove(world, node, 1, (struct tly_dot){.op = TLY_REMOVE});
}

static void hit(struct world *world, size_t node, uint64_t window, uint64_t epoch)
{
    world_hit(world->node[node], world_key(2),
              (struct tly_hit){.window = window, .epoch = epoch, .units = 1});
}

static void hit_one(struct world *world, size_t node)
{
    hit(world, node, WINDOW, 1);
}

static void hit_two(struct world *world, size_t node)
{
    hit(world, node, WINDOW, 2);
}

static void counter_add(struct world *world, size_t node)
{
    int64_t value;
    claim(tly_counter_add(world->node[node], world_key(2), 1, 0, &value) == TLY_OK);
}

static void counter_set(struct world *world, size_t node)
{
    claim(tly_counter_set(world->node[node], world_key(2), 7, 500) == TLY_OK);
}

static void sum_remove(struct world *world, size_t node)
{
    put_or_remove(world, node, 2, (struct tly_dot){.op = TLY_REMOVE});
}

static void right_moved(struct world *world, size_t node)
{
    put_or_remove(world, node, 3, (struct tly_dot){.num = {WINDOW, 1, 7, 5}});
}

static void right_moved_later(struct world *world, size_t node)
{
    put_or_remove(world, node, 3, (struct tly_dot){.num = {WINDOW, 2, 7, 1}});
}

static void stretch_given(struct world *world, size_t node)
{
    put_or_remove(world, node, 3, (struct tly_dot){.num = {0, 5, 7, 9}});
}

static void rights_remove(struct world *world, size_t node)
{
    put_or_remove(world, node, 3, (struct tly_dot){.op = TLY_REMOVE});
}

static const struct {
    size_t strategy;
    write_step *write[WRITES];
} tables[] = {{0, {lww_a, lww_b, lww_remove}},
              {1, {max_high, max_low, max_remove}},
              {2, {hit_one, counter_add, sum_remove}},
              {2, {hit_one, hit_two, sum_remove}},
              {2, {counter_set, counter_add, sum_remove}},
              {3, {right_moved, right_moved_later, rights_remove}},
              {3, {right_moved, stretch_given, rights_remove}}};

#define TABLES (sizeof tables / sizeof tables[0])

static size_t run_all_writes(size_t table, size_t length)
{
    size_t histories = 1;
    for (size_t i = 0; i < length; i++)
        histories *= STEPS;
    /* Everything is exchanged in the end, so where the last round goes makes no difference. */
    for (size_t history = 0; history < histories; history += ROUNDS) {
        struct world world = new_world();
        for (size_t place = histories / STEPS; place > 0; place /= STEPS) {
            size_t step = history / place % STEPS, node = step / (WRITES * ROUNDS), round = step % ROUNDS;
            tables[table].write[step / ROUNDS % WRITES](&world, node);
            if (round > 0) world_sync(&world, node, (node + round) % WORLD_NODES, NULL);
            tly_ormap_check(world.node[node]);
            if (tables[table].strategy == 2) world_claim_tallies(world.node[node]);
        }
        settle_and_end(&world);
    }
    return histories / ROUNDS;
}

/* Laws L2, L3, L4, L5, L6, L7 */
static void every_small_history_of_writes_ends_in_one_state(void **state)
{
    size_t length_max = law_is_full() ? 4 : 3, total[SAMPLE_STRATEGIES] = {0};
    for (size_t table = 0; table < TABLES; table++)
        for (size_t length = 1; length <= length_max; length++)
            total[tables[table].strategy] += run_all_writes(table, length);
    for (size_t i = 0; i < SAMPLE_STRATEGIES; i++)
        law_covered("L2 L3 L4 L5 L6 L7", tly_strategy_at(i)->name, 0, total[i]);
}

/* ---- random histories ---- */

static void random_hit(struct test_rng *rng, struct tly_ormap *map, size_t key)
{
    static const int64_t units[] = {1, 1, 2, -1, INT64_MAX, INT64_MIN};
    struct tly_hit one = {.window = test_rng_chance(rng, 50) ? 0 : WINDOW,
                          .units = units[test_rng_below(rng, 6)]};
    one.epoch = test_rng_below(rng, 4);
    if (one.window == 0) {
        one.epoch = world_read(map, world_key(key), (struct tly_moment){0}).epoch;
        if (one.epoch < 1000) one.epoch += test_rng_below(rng, 2);
        one.aux = (int64_t)test_rng_below(rng, 3) * 500;
    }
    if (one.window != 0 && test_rng_chance(rng, 50))
        world_check(map, world_key(key), one);
    else
        world_hit(map, world_key(key), one);
}

static void random_write(struct test_rng *rng, struct world *world, size_t node, size_t strategy)
{
    size_t key = strategy + SAMPLE_STRATEGIES * (size_t)test_rng_below(rng, WORLD_KEYS);
    if (world_strategy(key)->own_shards && test_rng_chance(rng, 75))
        random_hit(rng, world->node[node], key);
    else
        put_or_remove(world, node, key, sample_write(rng, world_strategy(key), 70));
}

/* The wall stands still, goes on or is set back; versions rise all the same. */
static void step_clock(struct test_rng *rng, struct tly_ormap *map)
{
    struct tly_clock *clock = tly_ormap_clock(map);
    struct tly_time now = {test_rng_below(rng, 100), clock->now.mono_ns + test_rng_below(rng, 20)};
    tly_clock_tick(clock, now);
}

/* A dot that no honest node made, among the versions of those that do. It returns a bit for the node that got it. */
static unsigned forge(struct test_rng *rng, struct world *world, size_t strategy)
{
    size_t node = (size_t)test_rng_below(rng, WORLD_NODES),
           key = strategy + SAMPLE_STRATEGIES * (size_t)test_rng_below(rng, WORLD_KEYS);
    struct tly_dot dot = sample_dot(rng, world_strategy(key));
    dot.version = (struct tly_version){1 + test_rng_below(rng, 100), WORLD_FORGED + test_rng_below(rng, 3)};
    twin_learn(&world->twin, key, &dot);
    (void)world_apply(world->node[node], world_key(key), &dot);
    return 1U << node;
}

/* Nobody speaks for a forged life, so its mark says nothing until all that there is of it is everywhere. */
static void spread_forged(struct world *world)
{
    for (size_t i = 0; i < 2 * WORLD_NODES; i++)
        world_sync(world, i % WORLD_NODES, (i + 1) % WORLD_NODES, NULL);
    for (uint64_t origin = WORLD_FORGED; origin < WORLD_FORGED + 3; origin++)
        claim(tly_ormap_raise_mark(world->node[0], origin, 100) == TLY_OK);
}

/* It returns a bit for each node that may have changed. */
static unsigned random_step(struct test_rng *rng, struct world *world, size_t strategy)
{
    size_t node = (size_t)test_rng_below(rng, WORLD_NODES),
           other = (node + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
    uint64_t what = test_rng_below(rng, 100);
    if (what < 60)
        random_write(rng, world, node, strategy);
    else if (what < 67)
        world_seal(world, node);
    else if (what < 72)
        step_clock(rng, world->node[node]);
    else if (what < 82)
        world_part(world, node, other, rng);
    else if (what < 95)
        world_sync(world, node, other, rng);
    else
        world_restart(world, node, what < 98, rng);
    return 1U << node | (what >= 72 && what < 95 ? 1U << other : 0);
}

static void run_random(size_t strategy, const char *name)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(3000);
    size_t dots = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct world world = new_world();
        uint64_t steps_max = test_rng_chance(&rng, 2) ? 200 : 20;
        bool hostile = test_rng_chance(&rng, 30);
        for (uint64_t steps = 3 + test_rng_below(&rng, steps_max); steps > 0; steps--) {
            unsigned changed = 0;
            if (hostile && test_rng_chance(&rng, 20)) changed = forge(&rng, &world, strategy);
            changed |= random_step(&rng, &world, strategy);
            for (size_t node = 0; strategy == 2 && node < WORLD_NODES; node++)
                if (changed >> node & 1) world_claim_tallies(world.node[node]);
        }
        if (hostile) spread_forged(&world);
        dots += world.twin.count;
        settle_and_end(&world);
    }
    claim(dots > rounds);
    law_covered("L2 L3 L4 L5 L6 L7", name, first, (size_t)rounds);
}

/* Laws L2, L3, L4, L5, L6, L7 */
static void random_worlds_of_lww_settle_to_the_twin(void **state)
{
    run_random(0, "lww");
}

/* Laws L2, L3, L4, L5, L6, L7 */
static void random_worlds_of_epoch_max_settle_to_the_twin(void **state)
{
    run_random(1, "epoch_max");
}

/* Laws L2, L3, L4, L5, L6, L7 */
static void random_worlds_of_epoch_sum_settle_to_the_twin(void **state)
{
    run_random(2, "epoch_sum");
}

/* Laws L2, L3, L4, L5, L6, L7 */
static void random_worlds_of_escrow_settle_to_the_twin(void **state)
{
    run_random(3, "escrow");
}

/* ---- what was admitted is what is read ---- */

/* Hits by hand: epoch 0 is the plain counter, 1 and more are windows. */
struct ledger {
    int64_t sealed[16], unsealed[WORLD_NODES][16];
    uint64_t now; /* the epoch of the moment */
};

static void ledger_seal(struct ledger *ledger, size_t node, bool heard)
{
    for (size_t i = 0; i < 16; i++) {
        if (heard) ledger->sealed[i] += ledger->unsealed[node][i];
        ledger->unsealed[node][i] = 0;
    }
}

static void count_hit(struct test_rng *rng, struct world *world, struct ledger *ledger, size_t node)
{
    uint64_t epoch = test_rng_below(rng, 3);
    int64_t units = (int64_t)test_rng_below(rng, 9) - 2;
    if (epoch > 0) epoch = ledger->now - (epoch - 1);
    if (epoch == 0)
        world_hit(world->node[node], world_key(2), (struct tly_hit){.units = units, .keeps_aux = true});
    else
        world_hit(world->node[node], world_key(2),
                  (struct tly_hit){.window = WINDOW, .epoch = epoch, .units = units});
    ledger->unsealed[node][epoch] += units;
}

static void count_step(struct test_rng *rng, struct world *world, struct ledger *ledger)
{
    size_t node = (size_t)test_rng_below(rng, WORLD_NODES),
           other = (node + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
    uint64_t what = test_rng_below(rng, 100);
    if (what < 60) {
        count_hit(rng, world, ledger, node);
    } else if (what < 66) {
        if (ledger->now < 15) ledger->now++;
    } else if (what < 92) {
        if (what < 75)
            world_part(world, node, other, rng);
        else
            world_sync(world, node, other, rng);
        ledger_seal(ledger, node, true);
    } else {
        ledger_seal(ledger, node, what < 96);
        world_restart(world, node, what < 96, rng);
    }
}

static void claim_admitted(struct world *world, const struct ledger *ledger)
{
    struct tly_moment at = {.window = WINDOW, .epoch = ledger->now};
    for (size_t node = 0; node < WORLD_NODES; node++) {
        struct tly_value value = world_read(world->node[node], world_key(2), at);
        claim(value.count == ledger->sealed[ledger->now]);
        claim(ledger->now < 2 || value.previous == ledger->sealed[ledger->now - 1]);
        value = world_read(world->node[node], world_key(2), (struct tly_moment){0});
        claim(value.count == ledger->sealed[0]);
    }
}

/* Laws L8, ES4, ES9: over rounds lost, restarts and nodes that fell, whatever one had handed on. */
static void hits_are_counted_exactly(void **state)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(3000);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct world world = new_world();
        struct ledger ledger = {.now = 2};
        for (uint64_t steps = 3 + test_rng_below(&rng, 25); steps > 0; steps--)
            count_step(&rng, &world, &ledger);
        for (size_t node = 0; node < WORLD_NODES; node++)
            ledger_seal(&ledger, node, true);
        world_settle(&world);
        claim_admitted(&world, &ledger);
        end_world(&world);
    }
    law_covered("L8", "epoch_sum", first, (size_t)rounds);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(every_small_history_of_writes_ends_in_one_state),
        scene(random_worlds_of_lww_settle_to_the_twin),
        scene(random_worlds_of_epoch_max_settle_to_the_twin),
        scene(random_worlds_of_epoch_sum_settle_to_the_twin),
        scene(random_worlds_of_escrow_settle_to_the_twin),
        scene(hits_are_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
