/*
 * The map is the join of every dot ever made: all small histories, and random long ones.  TALLY_LONG=1 makes the small ones
 * one operation longer and the random ones ten times as many.
 */
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <string.h>

#define WINDOW 1000

/* ---- all small histories of dots from elsewhere ---- */

/* Two values of a strategy; some pairs for epoch_sum, whose payloads differ in more ways than one. */
struct pair {
    size_t key;
    const char *text[2];
    uint64_t num[2][TLY_NUMS_MAX];
};

static const struct pair pairs[] = {
    {.key = 0, .text = {"a", "b"}},
    {.key = 1, .num = {{1, 5}, {1, 6}}},
    {.key = 1, .num = {{0, 100}, {UINT64_MAX, (uint64_t)INT64_MIN}}},
    {.key = 2, .num = {{0, 0, 3, 0}, {0, 1, 5, 7}}},
    {.key = 2, .num = {{WINDOW, 1, 3, 1}, {WINDOW, 1, 2, 9}}},
    {.key = 2, .num = {{WINDOW, 1, 3, 1}, {WINDOW, 2, 2, 3}}},
    {.key = 2, .num = {{WINDOW, 1, 3, 1}, {7, 1, 2, 9}}},
    {.key = 2, .num = {{WINDOW, 1, 3, 1}, {0, 1, 2, 9}}},
};

#define PAIRS (sizeof pairs / sizeof pairs[0])

static struct tly_dot dot_number(const struct pair *pair, size_t i, uint64_t ts_count)
{
    struct tly_dot dot = remove_of(1 + i / 3 % ts_count, 1 + i / 3 / ts_count);
    if (i % 3 == 2) return dot;
    dot.op = TLY_PUT;
    memcpy(dot.num, pair->num[i % 3], sizeof dot.num);
    if (pair->text[i % 3] != NULL) dot.bytes = tly_slice_text(pair->text[i % 3]);
    return dot;
}

static size_t run_history(const struct tly_mem *mem, const struct tly_registry *registry, size_t key,
                          const struct tly_dot *history, size_t length)
{
    struct tly_dot expected[8];
    memcpy(expected, history, length * sizeof *history);
    struct tly_ormap *map = world_map(mem, registry, 9);
    for (size_t i = 0; i < length; i++)
        (void)world_apply(map, world_key(key), &history[i]);
    tly_ormap_check(map);
    claim(tly_ormap_seal(map) == TLY_OK);
    size_t expected_count = tly_join(world_strategy(key), expected, length), count;
    const struct tly_dot *dots = world_dots(map, world_key(key), &count);
    claim(dots_equal(expected, expected_count, dots, count));
    tly_ormap_free(map);
    return count;
}

/* Every sequence of the given length: so every order, and every repetition. */
static size_t run_all(const struct tly_mem *mem, const struct tly_registry *registry, const struct pair *pair,
                      size_t length)
{
    uint64_t ts_count = length < 2 ? 2 : length;
    size_t universe = (size_t)(3 * 3 * ts_count), histories = 1;
    for (size_t i = 0; i < length; i++)
        histories *= universe;
    for (size_t history = 0; history < histories; history++) {
        struct tly_dot dots[8];
        size_t rest = history;
        for (size_t i = 0; i < length; i++, rest /= universe)
            dots[i] = dot_number(pair, rest % universe, ts_count);
        claim(run_history(mem, registry, pair->key, dots, length) > 0);
    }
    return histories;
}

static void every_small_history_of_dots_is_their_join(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    size_t length_max = test_is_long() ? 4 : 3, total = 0;
    for (size_t pair = 0; pair < PAIRS; pair++)
        for (size_t length = 1; length <= length_max; length++)
            total += run_all(&mem, registry, &pairs[pair], length);
    tly_registry_free(registry);
    print_message("%zu histories of up to %zu dots\n", total, length_max);
    claim(total >= PAIRS * 20000);
    claim(test_mem_live() == 0);
}

/* ---- all small histories of writes and exchanges ---- */

/* A step: one of three nodes writes in one of three ways and hands a round to nobody, to the next node or to the other. */
enum { WRITES = 3, ROUNDS = 3, STEPS = WORLD_NODES * WRITES * ROUNDS };

static void write_locally(struct tly_ormap *map, size_t key, size_t which)
{
    if (which == 2) {
        enum tly_result result = tly_ormap_remove(map, world_key(key));
        claim(result == TLY_OK || result == TLY_NOT_FOUND);
    } else if (key == 2) {
        /* A unit into a window, and one into the counter's generation. */
        uint64_t generation = world_read(map, world_key(key), (struct tly_moment){0}).epoch;
        struct tly_hit hits[] = {{.window = WINDOW, .epoch = 1, .units = 1},
                                 {.epoch = generation, .units = 2}};
        world_hit(map, world_key(key), hits[which]);
    } else {
        struct tly_dot dot = {.num = {key == 1 ? 2 - which : 0},
                              .bytes = tly_slice_text(key == 0 ? "a" : "")};
        claim(tly_ormap_put(map, world_key(key), &dot) == TLY_OK);
    }
}

static void take_step(struct world *world, size_t key, size_t step)
{
    size_t node = step / (WRITES * ROUNDS), write = step / ROUNDS % WRITES, round = step % ROUNDS;
    write_locally(world->node[node], key, write);
    if (round > 0) world_sync(world, node, (node + round) % WORLD_NODES, NULL);
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_check(world->node[i]);
}

static size_t run_all_writes(size_t key, size_t length)
{
    size_t histories = 1;
    for (size_t i = 0; i < length; i++)
        histories *= STEPS;
    /* Everything is exchanged in the end, so where the last round goes makes no difference. */
    for (size_t history = 0; history < histories; history += ROUNDS) {
        struct world world = world_of();
        size_t place = histories;
        for (size_t i = 0; i < length; i++) {
            place /= STEPS;
            take_step(&world, key, history / place % STEPS);
        }
        world_settle(&world);
        world_end(&world);
    }
    return histories / ROUNDS;
}

static void every_small_history_of_writes_ends_in_one_state(void **state)
{
    size_t length_max = test_is_long() ? 4 : 3, total = 0;
    for (size_t key = 0; key < SAMPLE_STRATEGIES; key++)
        for (size_t length = 1; length <= length_max; length++)
            total += run_all_writes(key, length);
    print_message("%zu histories of up to %zu writes\n", total, length_max);
    claim(total >= SAMPLE_STRATEGIES * 6000);
}

/* ---- random histories ---- */

/* Any dots, hostile ones too, in two orders, with repetitions: both maps are what the twin says. */
static void two_orders_of_any_dots_are_one_state(uint64_t seed, const struct tly_mem *mem,
                                                 const struct tly_registry *registry)
{
    struct test_rng rng = test_rng_of(seed);
    struct twin twin = {0};
    struct tly_ormap *map[2] = {world_map(mem, registry, 9), world_map(mem, registry, 0)};
    size_t count = 1 + (size_t)test_rng_below(&rng, 60);
    for (size_t i = 0; i < count; i++) {
        size_t key = (size_t)test_rng_below(&rng, 6);
        struct tly_dot dot = sample_dot(&rng, world_strategy(key));
        twin_learn(&twin, key, &dot);
    }
    for (size_t m = 0; m < 2; m++) {
        test_rng_shuffle(&rng, twin.dots, count, sizeof *twin.dots);
        for (size_t i = 0; i < count + count / 4; i++) {
            const struct twin_dot *next = &twin.dots[i < count ? i : test_rng_below(&rng, count)];
            (void)world_apply(map[m], world_key(next->key), &next->dot);
            tly_ormap_check(map[m]);
        }
        claim(tly_ormap_seal(map[m]) == TLY_OK);
        twin_claim_equal(&twin, map[m]);
    }
    claim(tly_ormap_digest(map[0]) == tly_ormap_digest(map[1]));
    tly_ormap_free(map[0]);
    tly_ormap_free(map[1]);
    twin_free(&twin);
}

static void a_map_is_the_join_of_any_dots_in_any_order(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = world_registry(&mem);
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 40000 : 4000;
    for (uint64_t seed = first; seed < first + rounds; seed++)
        two_orders_of_any_dots_are_one_state(seed, &mem, registry);
    tly_registry_free(registry);
    claim(test_mem_live() == 0);
}

static void random_hit(struct test_rng *rng, struct tly_ormap *map, size_t key)
{
    static const int64_t units[] = {1, 1, 2, -1, INT64_MAX, INT64_MIN};
    struct tly_hit hit = {.window = test_rng_chance(rng, 50) ? 0 : WINDOW,
                          .units = units[test_rng_below(rng, 6)]};
    hit.epoch = test_rng_below(rng, 4);
    if (hit.window == 0) {
        hit.epoch = world_read(map, world_key(key), (struct tly_moment){0}).epoch + test_rng_below(rng, 2);
        hit.aux = (int64_t)test_rng_below(rng, 3) * 500;
    }
    world_hit(map, world_key(key), hit);
}

static void random_write(struct test_rng *rng, struct tly_ormap *map)
{
    size_t key = (size_t)test_rng_below(rng, 6);
    const struct tly_strategy *strategy = world_strategy(key);
    if (strategy->own_shards && test_rng_chance(rng, 75)) {
        random_hit(rng, map, key);
        return;
    }
    struct tly_dot dot = sample_write(rng, strategy, 70);
    enum tly_result result =
        dot.op == TLY_PUT ? tly_ormap_put(map, world_key(key), &dot) : tly_ormap_remove(map, world_key(key));
    claim(result == TLY_OK || (dot.op == TLY_REMOVE && result == TLY_NOT_FOUND));
}

static void random_step(struct test_rng *rng, struct world *world)
{
    size_t node = (size_t)test_rng_below(rng, WORLD_NODES),
           other = (node + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
    uint64_t what = test_rng_below(rng, 100);
    if (what < 65)
        random_write(rng, world->node[node]);
    else if (what < 75)
        claim(tly_ormap_seal(world->node[node]) == TLY_OK);
    else if (what < 85)
        world_part(world, node, other, rng);
    else
        world_sync(world, node, other, rng);
    tly_ormap_check(world->node[node]);
    tly_ormap_check(world->node[other]);
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

static void random_worlds_settle_to_the_twin(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 10000 : 1000;
    size_t dots = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct world world = world_of();
        for (size_t steps = 20 + (size_t)test_rng_below(&rng, 200); steps > 0; steps--)
            random_step(&rng, &world);
        world_settle(&world);
        claim_nothing_comes_back(&world);
        dots += world.twin.count;
        world_end(&world);
    }
    print_message("%zu sealed dots\n", dots);
    claim(dots > rounds * 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_history_of_dots_is_their_join),
        cmocka_unit_test(every_small_history_of_writes_ends_in_one_state),
        cmocka_unit_test(a_map_is_the_join_of_any_dots_in_any_order),
        cmocka_unit_test(random_worlds_settle_to_the_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
