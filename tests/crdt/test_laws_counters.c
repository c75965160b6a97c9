/*
 * Plain counters raced on three nodes beside a ledger kept by hand: what each node has counted since the last REMOVE that it knows,
 * and in which generation.  In the end every node reads the sum of those that count in the highest one.
 */
#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "tests/crdt/law.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

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

/* One node's shard, as it must be. */
struct page {
    uint64_t generation;
    int64_t count;
    struct tly_version remove; /* the newest that it knows */
};

struct race {
    struct world world;
    struct page page[WORLD_NODES];
    struct test_rng rng;
    uint64_t now_ms, wall_ns, ahead_ns[WORLD_NODES];
};

static struct tly_slice key(void)
{
    return world_key(2);
}

static struct tly_value get(struct race *race, size_t node)
{
    struct tly_value value = {0};
    enum tly_result result = tly_counter_get(race->world.node[node], key(), race->now_ms, &value);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
    claim(value.present == (result == TLY_OK));
    return value;
}

/* The generation of the own shard, which a write has just made or used. */
static uint64_t own_generation(struct race *race, size_t node)
{
    struct tly_dot own = {0};
    struct tly_ormap *map = race->world.node[node];
    claim(tly_ormap_own(map, tly_ormap_find(map, key()), 0, &own));
    return own.num[TLY_SUM_EPOCH];
}

/* After whatever happened at a node: a REMOVE that it did not know takes what it had counted. */
static void note_removes(struct race *race, size_t node)
{
    struct page *page = &race->page[node];
    size_t count;
    const struct tly_dot *dots = world_dots(race->world.node[node], key(), &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_REMOVE && tly_version_compare(dots[i].version, page->remove) > 0) {
            *page = (struct page){.remove = dots[i].version};
        }
}

/* ---- what may happen ---- */

static void add(struct race *race, size_t node)
{
    struct tly_value before = get(race, node);
    int64_t delta = (int64_t)test_rng_below(&race->rng, 20) - 5, value = 0;
    claim(tly_counter_add(race->world.node[node], key(), delta, race->now_ms, &value) == TLY_OK);
    struct tly_value after = get(race, node);
    /* After a delete that is known here, what others counted without knowing it is left behind. */
    bool goes_on = before.present && before.epoch == after.epoch;
    claim(after.present && after.count == value);
    claim(value == (goes_on ? before.count : 0) + delta);
    struct page *page = &race->page[node];
    uint64_t generation = own_generation(race, node);
    claim(generation == after.epoch && generation >= page->generation);
    /* Past its deadline it begins anew, perhaps in a generation of its own that nobody else has used. */
    bool ended = !before.present && before.deadline_ms != 0;
    page->count = (generation == page->generation && !ended ? page->count : 0) + delta;
    page->generation = generation;
}

static void set(struct race *race, size_t node)
{
    int64_t count = (int64_t)test_rng_below(&race->rng, 100);
    uint64_t deadline_ms = test_rng_chance(&race->rng, 50) ? race->now_ms + 5 : 0;
    struct tly_clock *clock = tly_ormap_clock(race->world.node[node]);
    uint64_t floor = clock->last > clock->now.wall_ns ? clock->last : clock->now.wall_ns,
             highest = get(race, node).epoch;
    claim(tly_counter_set(race->world.node[node], key(), count, deadline_ms) == TLY_OK);
    struct tly_value value = get(race, node);
    claim(value.present && value.count == count && value.deadline_ms == deadline_ms);
    uint64_t generation = own_generation(race, node);
    claim(generation == value.epoch && generation >= highest);
    /* Ours and named after us; above the clock, unless one of our own is set again. */
    claim((generation & 0xffff) == (race->world.origin[node] & 0xffff));
    claim(generation > floor || generation == highest);
    race->page[node].generation = generation;
    race->page[node].count = count;
}

static void expire(struct race *race, size_t node)
{
    struct tly_value before = get(race, node);
    uint64_t deadline_ms = test_rng_chance(&race->rng, 50) ? race->now_ms + 5 : 0;
    enum tly_result result = tly_counter_expire(race->world.node[node], key(), deadline_ms, race->now_ms);
    claim(result == (before.present ? TLY_OK : TLY_NOT_FOUND));
    if (result != TLY_OK) return;
    struct tly_value after = get(race, node);
    claim(after.present && after.count == before.count && after.deadline_ms == deadline_ms);
    struct page *page = &race->page[node];
    if (page->generation != after.epoch) page->count = 0;
    page->generation = after.epoch;
}

static void delete_it(struct race *race, size_t node)
{
    enum tly_result result = tly_ormap_remove(race->world.node[node], key());
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
    struct tly_value value = get(race, node);
    claim(result != TLY_OK || !value.present || value.count == 0);
}

static void seal_changes_no_read(struct race *race, size_t node)
{
    struct tly_value before = get(race, node);
    world_seal(&race->world, node);
    struct tly_value after = get(race, node);
    claim(values_equal(&before, &after));
}

/*
 * Walls that differ by up to a second. Between two steps more time passes than a generation is ahead of the clock: nodes that SET in
 * turn on a clock that stands still let the generations outrun it, and ES12 then promises nothing.
 */
static void tick(struct race *race)
{
    race->wall_ns += 0x40000 + test_rng_below(&race->rng, 0x40000);
    for (size_t node = 0; node < WORLD_NODES; node++) {
        struct tly_clock *clock = tly_ormap_clock(race->world.node[node]);
        tly_clock_tick(clock, (struct tly_time){race->wall_ns + race->ahead_ns[node], race->wall_ns});
    }
}

static void step(struct race *race)
{
    struct test_rng *rng = &race->rng;
    size_t node = (size_t)test_rng_below(rng, WORLD_NODES),
           other = (node + 1 + test_rng_below(rng, 2)) % WORLD_NODES;
    race->now_ms += test_rng_below(rng, 3);
    tick(race);
    switch (test_rng_below(rng, 16)) {
    case 0:
    case 1: set(race, node); break;
    case 2:
    case 3: expire(race, node); break;
    case 4:
    case 5: delete_it(race, node); break;
    case 6:
    case 7: world_sync(&race->world, node, other, rng); break;
    case 8: world_part(&race->world, node, other, rng); break;
    case 9:
    case 10: seal_changes_no_read(race, node); break;
    case 11: world_restart(&race->world, node, true, rng); break;
    default: add(race, node);
    }
    note_removes(race, node);
    note_removes(race, other);
}

/* ---- the end ---- */

static void claim_counted(struct race *race)
{
    struct tly_value first = get(race, 0);
    int64_t sum = 0;
    for (size_t node = 0; node < WORLD_NODES; node++) {
        struct tly_value value = get(race, node);
        claim(values_equal(&first, &value));
        claim(race->page[node].generation <= first.epoch || race->page[node].count == 0);
        if (race->page[node].generation == first.epoch) sum += race->page[node].count;
    }
    claim(first.count == sum);
}

static void settle(struct race *race)
{
    /* As world_settle, but what each round brings is noted before the next. */
    for (size_t i = 0; i < 4 * WORLD_NODES; i++) {
        world_sync(&race->world, i % WORLD_NODES, (i + 1) % WORLD_NODES, NULL);
        note_removes(race, (i + 1) % WORLD_NODES);
    }
    world_settle(&race->world);
}

static struct race new_race(uint64_t seed)
{
    struct race race = {.rng = test_rng_of(seed), .now_ms = 1, .wall_ns = 1};
    for (size_t i = 0; i < WORLD_NODES; i++)
        race.ahead_ns[i] = test_rng_chance(&race.rng, 50) ? test_rng_below(&race.rng, 1000000000) : 0;
    race.world = (struct world){.mem = law_mem(), .registry = registry};
    for (size_t i = 0; i < WORLD_NODES; i++) {
        race.world.origin[i] = i + 1;
        race.world.node[i] = world_map(&race.world.mem, registry, i + 1);
    }
    return race;
}

/* Laws ES8, ES10, ES11, ES12, L8 */
static void racing_adds_sets_deadlines_and_deletes_end_as_counted_by_hand(void **state)
{
    uint64_t first = test_seed_first(), rounds = law_rounds(3000);
    size_t present = 0, deadlines = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct race race = new_race(seed);
        for (uint64_t steps = 4 + test_rng_below(&race.rng, 40); steps > 0; steps--)
            step(&race);
        settle(&race);
        claim_counted(&race);
        struct tly_value value = get(&race, 0);
        present += value.present;
        deadlines += value.deadline_ms != 0;
        for (size_t node = 0; node < WORLD_NODES; node++)
            tly_ormap_free(race.world.node[node]);
        twin_free(&race.world.twin);
        claim(law_mem_live() == 0);
    }
    claim(present > rounds / 10 && present < rounds && deadlines > rounds / 20);
    law_covered("ES8 ES10 ES11 ES12 L8", "epoch_sum", first, (size_t)rounds);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(racing_adds_sets_deadlines_and_deletes_end_as_counted_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
