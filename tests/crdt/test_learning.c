/* Who writes after having learned of a write wins, whatever the clocks say and in whichever order all of it spreads. */
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#define ROUNDS 10000

/* Others write, some of them far ahead of the last one's clock; all of it reaches `last`, by whatever way. */
static void let_others_write(struct world *world, struct test_rng *rng, size_t key, size_t last)
{
    size_t writes = 1 + test_rng_below(rng, 4);
    for (size_t i = 0; i < writes; i++) {
        size_t node = (last + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
        uint64_t lead = test_rng_below(rng, 1000);
        tly_clock_observe(tly_ormap_clock(world->node[node]),
                          tly_ormap_clock(world->node[node])->last + lead);
        struct tly_dot dot = sample_write(rng, world_strategy(key), 100);
        claim(tly_ormap_put(world->node[node], world_key(key), &dot) == TLY_OK);
        if (test_rng_chance(rng, 50)) world_part(world, node, last, rng);
        if (test_rng_chance(rng, 50)) world_sync(world, node, (node + 1) % WORLD_NODES, rng);
    }
    for (size_t node = 0; node < WORLD_NODES; node++)
        if (node != last) world_sync(world, node, last, rng);
}

static void spread_anyhow(struct world *world, struct test_rng *rng)
{
    for (size_t i = test_rng_below(rng, 6); i > 0; i--) {
        size_t from = test_rng_below(rng, WORLD_NODES),
               to = (from + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
        if (test_rng_chance(rng, 50))
            world_part(world, from, to, rng);
        else
            world_sync(world, from, to, rng);
    }
    world_settle(world);
}

/* key 0 is lww: the last write stands. key 1 is epoch_max: a greatest value written last stands, and a REMOVE. */
static void write_last(struct world *world, struct test_rng *rng, size_t key, size_t last)
{
    struct tly_ormap *map = world->node[last];
    uint64_t before = tly_ormap_clock(map)->last;
    bool removes = test_rng_chance(rng, 30);
    struct tly_dot dot = {.num = {key == 1 ? UINT64_MAX : 0, INT64_MAX},
                          .bytes = tly_slice_text(key == 0 ? "a" : "")};
    if (key == 0) dot.num[1] = 0;
    enum tly_result result =
        removes ? tly_ormap_remove(map, world_key(key)) : tly_ormap_put(map, world_key(key), &dot);
    claim(result == TLY_OK);
    claim(tly_ormap_clock(map)->last > before);
    uint64_t ts = tly_ormap_clock(map)->last;
    spread_anyhow(world, rng);
    for (size_t node = 0; node < WORLD_NODES; node++) {
        size_t count;
        const struct tly_dot *dots = world_dots(world->node[node], world_key(key), &count);
        claim(count == 1 && dots[0].version.ts == ts && dots[0].version.origin == last + 1);
        claim(dots[0].op == (removes ? TLY_REMOVE : TLY_PUT));
    }
}

static void what_is_written_after_learning_stands_everywhere(void **state)
{
    uint64_t first = test_seed_first();
    for (uint64_t seed = first; seed < first + ROUNDS; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct world world = world_of();
        size_t key = seed % 2, last = test_rng_below(&rng, WORLD_NODES);
        let_others_write(&world, &rng, key, last);
        write_last(&world, &rng, key, last);
        world_end(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_after_learning_stands_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
