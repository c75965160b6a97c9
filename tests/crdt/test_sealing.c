/* Own shards: counted in place, versioned when handed on, started again by a REMOVE. */
#include "crdt/epoch_sum.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define WINDOW 1000
#define SUM "s:a"

static struct world world;

static int begin(void **state)
{
    world = world_of();
    return 0;
}

static int end(void **state)
{
    world_end(&world);
    return 0;
}

static struct tly_slice sum_key(void)
{
    return tly_slice_text(SUM);
}

static void hit(size_t node, uint64_t window, uint64_t epoch, int64_t units)
{
    world_hit(world.node[node], sum_key(),
              (struct tly_hit){.window = window, .epoch = epoch, .units = units});
}

static int64_t current(size_t node, uint64_t window, uint64_t epoch)
{
    return world_read(world.node[node], sum_key(), (struct tly_moment){.window = window, .epoch = epoch})
        .count;
}

static void remove_at(size_t node)
{
    assert_int_equal(tly_ormap_remove(world.node[node], sum_key()), TLY_OK);
}

static size_t live_dots(size_t node)
{
    return tly_ormap_log_size(world.node[node]);
}

/* Law ES14 */
static void hits_between_two_seals_are_one_dot(void **state)
{
    for (int i = 0; i < 1000; i++)
        hit(0, WINDOW, 5, 1);
    assert_true(tly_ormap_is_unsealed(world.node[0]));
    assert_int_equal(live_dots(0), 0);
    assert_int_equal(world_round(world.node[0], world.node[1], NULL), 1);
    assert_false(tly_ormap_is_unsealed(world.node[0]));
    assert_int_equal(current(1, WINDOW, 5), 1000);
    for (int i = 0; i < 1000; i++)
        hit(0, WINDOW, 5, 1);
    assert_int_equal(world_round(world.node[0], world.node[1], NULL), 1);
    assert_int_equal(current(1, WINDOW, 5), 2000);
    assert_int_equal(live_dots(0), 1);
}

/* Law ES14 */
static void sealing_with_nothing_new_makes_no_dot(void **state)
{
    hit(0, WINDOW, 5, 1);
    assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    uint64_t mark = tly_ormap_mark(world.node[0], 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    assert_int_equal(tly_ormap_mark(world.node[0], 1), mark);
    assert_int_equal(live_dots(0), 1);
}

/* Every payload that a version was ever seen with. */
static void claim_one_payload(struct twin *seen, const struct tly_ormap *map, struct tly_scan scan)
{
    for (struct tly_scanned row; tly_scan_next(map, &scan, &row);) {
        for (size_t i = 0; i < seen->count; i++)
            if (tly_version_compare(seen->dots[i].dot.version, row.dot.version) == 0)
                claim(tly_dot_equal(&seen->dots[i].dot, &row.dot));
        twin_learn(seen, 2, &row.dot);
    }
}

/* Law L7 */
static void one_version_has_one_payload(void **state)
{
    uint64_t first = test_seed_first();
    for (uint64_t seed = first; seed < first + 50; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct twin seen = {0};
        for (size_t i = 0; i < 60; i++) {
            int64_t units = (int64_t)test_rng_below(&rng, 5) - 2;
            hit(0, test_rng_chance(&rng, 50) ? 0 : WINDOW, 3 + test_rng_below(&rng, 3), units);
            if (test_rng_chance(&rng, 5)) remove_at(0);
            if (!test_rng_chance(&rng, 40)) continue;
            claim(tly_ormap_seal(world.node[0]) == TLY_OK);
            claim_one_payload(&seen, world.node[0], tly_scan_of(world.node[0], 0, 0));
        }
        claim(seen.count > 10);
        twin_free(&seen);
    }
}

/* Law L7 */
static void a_refund_after_sealing_stands_everywhere(void **state)
{
    hit(0, WINDOW, 5, 7);
    world_sync(&world, 0, 1, NULL);
    assert_int_equal(current(1, WINDOW, 5), 7);
    hit(0, WINDOW, 5, -1);
    world_settle(&world);
    for (size_t node = 0; node < WORLD_NODES; node++)
        assert_int_equal(current(node, WINDOW, 5), 6);
}

/* Law ES9 */
static void a_hit_moves_to_the_slot_of_its_epoch(void **state)
{
    hit(0, WINDOW, 5, 10);
    hit(0, WINDOW, 6, 1); /* 10 goes to aux */
    assert_int_equal(current(0, WINDOW, 5), 10);
    assert_int_equal(current(0, WINDOW, 6), 1);
    hit(0, WINDOW, 5, 2); /* late: to aux */
    assert_int_equal(current(0, WINDOW, 5), 12);
    hit(0, WINDOW, 4, 100); /* older than aux: still to count */
    assert_int_equal(current(0, WINDOW, 6), 101);
    hit(0, WINDOW, 8, 1); /* a window was skipped */
    assert_int_equal(current(0, WINDOW, 8), 1);
    assert_int_equal(current(0, WINDOW, 7), 0);
    struct tly_dot own;
    assert_true(tly_ormap_own(world.node[0], tly_ormap_find(world.node[0], sum_key()), WINDOW, &own));
    assert_true(own.num[TLY_SUM_EPOCH] == 8 && own.num[TLY_SUM_COUNT] == 1 && own.num[TLY_SUM_AUX] == 0);
}

/* Law ES9 */
static void the_last_epochs_do_not_wrap(void **state)
{
    hit(0, WINDOW, UINT64_MAX, 3);
    hit(0, WINDOW, UINT64_MAX - 1, 4);
    hit(0, WINDOW, 0, 5);
    assert_int_equal(current(0, WINDOW, UINT64_MAX), 8);
    assert_int_equal(current(0, WINDOW, UINT64_MAX - 1), 4);
    assert_int_equal(current(0, WINDOW, 0), 0);
}

/* Law ES7 */
static void a_slot_holds_at_the_ends_of_its_range(void **state)
{
    hit(0, WINDOW, 5, INT64_MAX);
    hit(0, WINDOW, 5, INT64_MAX);
    assert_int_equal(current(0, WINDOW, 5), INT64_MAX);
    hit(0, WINDOW, 5, INT64_MIN);
    hit(0, WINDOW, 5, INT64_MIN);
    hit(0, WINDOW, 5, INT64_MIN);
    assert_int_equal(current(0, WINDOW, 5), INT64_MIN);
}

/* ---- REMOVE ---- */

/* Law ES8 */
static void a_remove_brings_nothing_back_from_sealed_or_unsealed_units(void **state)
{
    static const uint64_t windows[] = {0, WINDOW};
    for (size_t i = 0; i < 2; i++) {
        uint64_t window = windows[i], epoch = window == 0 ? 0 : 5;
        for (size_t node = 0; node < WORLD_NODES; node++)
            hit(node, window, epoch, 5);
        world_settle(&world);
        assert_int_equal(current(0, window, epoch), 15);
        for (size_t node = 0; node < WORLD_NODES; node++)
            hit(node, window, epoch, 3);
        remove_at(0);
        assert_int_equal(current(0, window, epoch), 0);
        world_settle(&world);
        for (size_t node = 0; node < WORLD_NODES; node++)
            assert_int_equal(current(node, window, epoch), 0);
        hit(1, window, epoch, 2);
        world_settle(&world);
        for (size_t node = 0; node < WORLD_NODES; node++)
            assert_int_equal(current(node, window, epoch), 2);
        remove_at(2);
        world_settle(&world);
    }
}

/* Law ES8 */
static void a_remove_below_the_own_dot_publishes_a_zero(void **state)
{
    hit(0, WINDOW, 5, 5);
    world_sync(&world, 0, 1, NULL);
    remove_at(1);
    for (int i = 0; i < 2; i++) {
        hit(0, WINDOW, 5, 2);
        assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    }
    hit(0, WINDOW, 5, 4);
    /* The sealed 9 stands above the REMOVE that comes now. */
    uint64_t before = tly_ormap_mark(world.node[0], 1);
    assert_true(before > tly_ormap_mark(world.node[1], 2));
    world_sync(&world, 1, 0, NULL);
    assert_int_equal(current(0, WINDOW, 5), 0);
    assert_true(tly_ormap_is_unsealed(world.node[0]));
    world_sync(&world, 0, 1, NULL);
    assert_true(tly_ormap_mark(world.node[0], 1) > before);
    world_settle(&world);
    for (size_t node = 0; node < WORLD_NODES; node++)
        assert_int_equal(current(node, WINDOW, 5), 0);
}

/* Law ES8 */
static void a_remove_heard_twice_restarts_once(void **state)
{
    hit(0, WINDOW, 5, 5);
    world_sync(&world, 0, 1, NULL);
    remove_at(1);
    struct tly_dot remove = {.op = TLY_REMOVE, .version = {tly_ormap_mark(world.node[1], 2), 2}};
    assert_int_equal(world_apply(world.node[0], sum_key(), &remove), TLY_APPLIED);
    hit(0, WINDOW, 5, 3);
    assert_int_equal(world_apply(world.node[0], sum_key(), &remove), TLY_DUPLICATE);
    assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    assert_int_equal(world_apply(world.node[0], sum_key(), &remove), TLY_DUPLICATE);
    assert_int_equal(current(0, WINDOW, 5), 3);
}

/* Law ES8 */
static void a_remove_clears_the_local_words(void **state)
{
    hit(0, WINDOW, 5, 5);
    struct tly_entry *entry = tly_ormap_find(world.node[0], sum_key());
    assert_null(tly_entry_local(entry));
    assert_int_equal(tly_entry_need_local(world.node[0], &entry), TLY_OK);
    uint64_t *local = tly_entry_local(entry);
    for (size_t i = 0; i < TLY_LOCAL_WORDS; i++) {
        assert_int_equal(local[i], 0);
        local[i] = i + 1;
    }
    assert_int_equal(current(0, WINDOW, 5), 5);
    hit(0, 7, 5, 1); /* one more cell: the entry moves, the words stay */
    local = tly_entry_local(tly_ormap_find(world.node[0], sum_key()));
    assert_true(local[0] == 1 && local[1] == 2 && local[2] == 3);
    remove_at(0);
    local = tly_entry_local(tly_ormap_find(world.node[0], sum_key()));
    assert_true(local[0] == 0 && local[1] == 0 && local[2] == 0);
}

static void a_remove_from_elsewhere_leaves_nothing_to_seal_where_nothing_was_counted(void **state)
{
    hit(0, WINDOW, 5, 5);
    world_sync(&world, 0, 1, NULL);
    remove_at(0);
    world_sync(&world, 0, 1, NULL);
    assert_false(tly_ormap_is_unsealed(world.node[1]));
}

/* ---- generations and lives ---- */

/* Law ES8 */
static void a_higher_generation_drops_own_units_sealed_or_not(void **state)
{
    struct tly_dot higher = shard_of(50, 9, (uint64_t[]){0, 7, 100, 0});
    hit(0, 0, 0, 5);
    assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    hit(0, 0, 0, 3);
    assert_int_equal(world_apply(world.node[0], sum_key(), &higher), TLY_APPLIED);
    assert_int_equal(current(0, 0, 0), 100);
    hit(0, 0, 7, 2);
    assert_int_equal(current(0, 0, 0), 102);
    assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    assert_int_equal(current(0, 0, 0), 102);
    tly_ormap_check(world.node[0]);
}

/* Law ES11 */
static void aux_that_came_with_a_hit_is_sealed_and_aux_that_was_replaced_is_not(void **state)
{
    struct tly_ormap *map = world.node[0];
    struct tly_dot own, theirs = shard_of(50, 9, (uint64_t[]){0, 0, 1, 700});
    for (size_t keeps = 0; keeps < 2; keeps++) {
        world_hit(map, sum_key(), (struct tly_hit){.units = 1, .aux = 600});
        assert_int_equal(tly_ormap_seal(map), TLY_OK);
        world_hit(map, sum_key(), (struct tly_hit){.units = 1, .aux = 650, .keeps_aux = keeps == 1});
        theirs.version.ts = 50 + tly_ormap_clock(map)->last;
        assert_int_equal(world_apply(map, sum_key(), &theirs), TLY_APPLIED);
        assert_int_equal(tly_ormap_seal(map), TLY_OK);
        assert_true(tly_ormap_own(map, tly_ormap_find(map, sum_key()), 0, &own));
        assert_int_equal(own.num[TLY_SUM_AUX], keeps == 1 ? 0 : 650);
    }
}

static void a_new_life_leaves_the_shards_of_the_old_as_they_are(void **state)
{
    hit(0, WINDOW, 5, 5);
    assert_int_equal(tly_ormap_begin_life(world.node[0], 77), TLY_OK);
    assert_int_equal(tly_ormap_origin(world.node[0]), 77);
    assert_false(tly_ormap_is_unsealed(world.node[0]));
    hit(0, WINDOW, 5, 2);
    assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
    size_t count;
    const struct tly_dot *dots = world_dots(world.node[0], sum_key(), &count);
    assert_int_equal(count, 2);
    assert_true(dots[0].version.origin == 1 && dots[0].num[TLY_SUM_COUNT] == 5);
    assert_true(dots[1].version.origin == 77 && dots[1].num[TLY_SUM_COUNT] == 2);
    assert_true(dots[1].version.ts > dots[0].version.ts);
    assert_int_equal(current(0, WINDOW, 5), 7);
}

/* First hit in one order, then hit in another: versions follow the first. */
static void rank_by_number(void *context, const struct tly_slice *keys,
                           const struct tly_strategy *const *strategies, size_t count, uint32_t *ranks)
{
    assert_true(count <= TLY_RANKED_MAX);
    for (size_t k = 0; k < count; k++) {
        uint32_t number = 0;
        for (size_t i = 2; i < keys[k].n; i++)
            number = number * 10 + (keys[k].p[i] - (uint32_t)'0');
        ranks[k] = number < *(const uint32_t *)context ? number : UINT32_MAX;
    }
}

static void shards_are_sealed_in_the_order_of_their_ranks(void **state)
{
    uint32_t ranked = 400;
    struct tly_ormap *map = world.node[0];
    uint64_t last = 0;
    static const size_t counts[] = {20, 61, 500, 500}; /* few are sorted otherwise than many */
    for (size_t round = 0; round < 4; round++) {
        size_t count = counts[round];
        for (size_t i = 0; i < count; i++) {
            char key[32];
            size_t which = round == 0 ? i : (i * 331 + round) % count;
            snprintf(key, sizeof key, "s:%zu", which);
            world_hit(map, tly_slice_text(key), (struct tly_hit){.window = WINDOW, .epoch = 5, .units = 1});
        }
        assert_int_equal(tly_ormap_seal_by(map, rank_by_number, &ranked), TLY_OK);
        for (size_t i = 0; i < (count < ranked ? count : ranked); i++) {
            char key[32];
            size_t dots;
            snprintf(key, sizeof key, "s:%zu", i);
            const struct tly_dot *dot = world_dots(map, tly_slice_text(key), &dots);
            assert_true(dots == 1 && dot->version.ts > last);
            last = dot->version.ts;
        }
    }
}

static bool is_sum(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *put)
{
    return strategy->id == TLY_EPOCH_SUM;
}

/* The entry's number is free then, still stands in the list of what to seal, and is given to the next key. */
static void a_shard_gone_before_it_was_sealed_leaves_no_trouble(void **state)
{
    struct tly_ormap *map = world.node[0];
    for (int round = 0; round < 5; round++) {
        hit(0, WINDOW, 5, 1);
        size_t cursor = 0;
        assert_int_equal(tly_ormap_sweep(map, &cursor, 100, is_sum, NULL), 1);
        assert_null(tly_ormap_find(map, sum_key()));
        struct tly_dot other = {.bytes = tly_slice_text("a")};
        if (round == 1) assert_int_equal(tly_ormap_put(map, world_key(0), &other), TLY_OK);
        if (round == 3) assert_int_equal(tly_ormap_seal(map), TLY_OK);
        tly_ormap_check(map);
    }
    hit(0, 7, 5, 1);
    remove_at(0);
    hit(0, 7, 5, 2);
    world_settle(&world);
    assert_int_equal(current(1, 7, 5), 2);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(hits_between_two_seals_are_one_dot),
        scene(sealing_with_nothing_new_makes_no_dot),
        scene(one_version_has_one_payload),
        scene(a_refund_after_sealing_stands_everywhere),
        scene(a_hit_moves_to_the_slot_of_its_epoch),
        scene(the_last_epochs_do_not_wrap),
        scene(a_slot_holds_at_the_ends_of_its_range),
        scene(a_remove_brings_nothing_back_from_sealed_or_unsealed_units),
        scene(a_remove_below_the_own_dot_publishes_a_zero),
        scene(a_remove_heard_twice_restarts_once),
        scene(a_remove_clears_the_local_words),
        scene(a_remove_from_elsewhere_leaves_nothing_to_seal_where_nothing_was_counted),
        scene(a_higher_generation_drops_own_units_sealed_or_not),
        scene(aux_that_came_with_a_hit_is_sealed_and_aux_that_was_replaced_is_not),
        scene(a_new_life_leaves_the_shards_of_the_old_as_they_are),
        scene(shards_are_sealed_in_the_order_of_their_ranks),
        scene(a_shard_gone_before_it_was_sealed_leaves_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
