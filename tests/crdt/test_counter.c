/* Plain counters: generations, deadlines, and what two nodes make of them at once. */
#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#define NEVER UINT64_MAX

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

static struct tly_slice key(void)
{
    return tly_slice_text("s:a");
}

static int64_t add(size_t node, int64_t delta, uint64_t now_ms)
{
    int64_t value = 0;
    claim(tly_counter_add(world.node[node], key(), delta, now_ms, &value) == TLY_OK);
    return value;
}

static void set(size_t node, int64_t value, uint64_t deadline_ms)
{
    claim(tly_counter_set(world.node[node], key(), value, deadline_ms) == TLY_OK);
}

static enum tly_result expire(size_t node, uint64_t deadline_ms, uint64_t now_ms)
{
    return tly_counter_expire(world.node[node], key(), deadline_ms, now_ms);
}

static struct tly_value get(size_t node, uint64_t now_ms)
{
    struct tly_value value = {0};
    enum tly_result result = tly_counter_get(world.node[node], key(), now_ms, &value);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
    claim(value.present == (result == TLY_OK));
    return value;
}

static bool is_absent(size_t node, uint64_t now_ms)
{
    return !get(node, now_ms).present;
}

static void all_nodes_read(int64_t count, uint64_t deadline_ms)
{
    world_settle(&world);
    for (size_t node = 0; node < WORLD_NODES; node++) {
        struct tly_value value = get(node, 0);
        assert_int_equal(value.count, count);
        assert_int_equal(value.deadline_ms, deadline_ms);
    }
}

/* ---- one node ---- */

static void an_absent_counter_counts_from_zero(void **state)
{
    assert_true(is_absent(0, 0));
    assert_int_equal(add(0, 5, 0), 5);
    assert_int_equal(add(0, -7, 0), -2);
    assert_int_equal(get(0, 0).count, -2);
    assert_int_equal(get(0, NEVER).deadline_ms, 0);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    assert_true(is_absent(0, 0));
    assert_int_equal(add(0, 3, 0), 3);
}

static void nothing_added_after_a_delete_is_a_counter_of_nothing(void **state)
{
    assert_int_equal(add(0, 5, 0), 5);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    assert_int_equal(add(0, 0, 0), 0);
    assert_false(is_absent(0, 0));
    all_nodes_read(0, 0);
}

static void only_keys_of_counters_count(void **state)
{
    static const struct {
        const char *key;
        enum tly_result result;
    } keys[] = {{"l:a", TLY_WRONG_STRATEGY}, {"m:a", TLY_WRONG_STRATEGY}, {"x", TLY_NO_STRATEGY}};
    struct tly_ormap *map = world.node[0];
    size_t bytes = tly_ormap_bytes(map);
    for (size_t i = 0; i < 3; i++) {
        struct tly_slice other = tly_slice_text(keys[i].key);
        int64_t sum;
        struct tly_value value;
        assert_int_equal(tly_counter_add(map, other, 1, 0, &sum), keys[i].result);
        assert_int_equal(tly_counter_set(map, other, 1, 0), keys[i].result);
        assert_int_equal(tly_counter_expire(map, other, 1, 0), keys[i].result);
        assert_int_equal(tly_counter_get(map, other, 0, &value), keys[i].result);
    }
    assert_int_equal(tly_ormap_bytes(map), bytes);
}

static void a_set_replaces_whatever_was_counted(void **state)
{
    (void)add(0, 100, 0);
    set(0, 7, 0);
    assert_int_equal(get(0, 0).count, 7);
    assert_int_equal(add(0, 1, 0), 8);
    set(0, -1, 0);
    assert_int_equal(get(0, 0).count, -1);
    (void)add(1, 50, 0);
    world_settle(&world);
    assert_int_equal(get(1, 0).count, -1);
    set(1, 2, 0);
    all_nodes_read(2, 0);
}

/* Law ES10 */
static void a_generation_is_above_the_clock_and_all_others_and_names_its_origin(void **state)
{
    struct tly_ormap *map = world.node[1];
    struct tly_dot high = shard_of(50, 9, (uint64_t[]){0, 1000000, 3, 0});
    set(1, 1, 0);
    uint64_t generation = get(1, 0).epoch;
    assert_true((generation & 0xffff) == 2 && generation <= 0x10000 + 2);
    assert_int_equal(world_apply(map, key(), &high), TLY_APPLIED);
    set(1, 1, 0);
    generation = get(1, 0).epoch;
    assert_true((generation & 0xffff) == 2 && generation > 1000000 && generation <= 1000000 + 0x10000);
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t before = generation, wall = (UINT64_C(1) << 40) + (i << 20);
        tly_clock_tick(tly_ormap_clock(map), (struct tly_time){wall, 0});
        set(1, 1, 0);
        generation = get(1, 0).epoch;
        assert_true((generation & 0xffff) == 2 && generation > before && generation > wall);
    }
}

/* Law ES10 */
static void sets_in_quick_succession_do_not_outrun_the_clock(void **state)
{
    const uint64_t wall = UINT64_C(1) << 40;
    tly_clock_tick(tly_ormap_clock(world.node[0]), (struct tly_time){wall, 0});
    for (int64_t i = 0; i < 100000; i++)
        set(0, i, 0);
    assert_true(get(0, 0).epoch <= wall + 0x20000);
    all_nodes_read(99999, 0);
    /* What another node has counted in it since makes it a generation that a SET must leave. */
    uint64_t generation = get(0, 0).epoch;
    (void)add(1, 7, 0);
    world_settle(&world);
    set(0, 1, 0);
    assert_true(get(0, 0).epoch > generation);
    all_nodes_read(1, 0);
}

/* Law ES10 */
static void a_generation_beyond_the_horizon_is_refused(void **state)
{
    struct tly_ormap *map = world.node[0];
    struct tly_dot far = shard_of(50, 9, (uint64_t[]){0, TLY_MAX_SKEW_NS * 2, 3, 0});
    assert_int_equal(world_apply(map, key(), &far), TLY_APPLIED);
    assert_int_equal(tly_counter_set(map, key(), 1, 0), TLY_CLOCK_AHEAD);
    assert_int_equal(get(0, 0).count, 3);
}

/* Law ES12: Node 1 counts in a SET's generation while node 0 deletes; its shard restarts there, above the REMOVE. */
static void what_is_counted_after_a_delete_is_not_hidden_by_a_restarted_shard(void **state)
{
    set(0, 5, 0);
    world_settle(&world);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    tly_clock_observe(tly_ormap_clock(world.node[1]), tly_ormap_clock(world.node[0])->last + 10);
    (void)add(1, 1, 0);
    assert_int_equal(tly_ormap_seal(world.node[1]), TLY_OK);
    assert_int_equal(add(0, 10, 0), 10);
    all_nodes_read(10, 0);
    assert_int_equal(add(1, 2, 0), 12);
    assert_int_equal(add(2, 3, 0), 13);
    all_nodes_read(15, 0);
}

/* Law ES12: the wall stands still, so SETs in turn have generations far ahead of the versions. */
static void a_delete_is_newer_than_generations_that_outran_the_clock(void **state)
{
    for (int i = 0; i < 6; i++) {
        set((size_t)i % 2, i, 0);
        world_sync(&world, (size_t)i % 2, (size_t)(i + 1) % 2, NULL);
    }
    uint64_t outrun = get(1, 0).epoch;
    assert_true(outrun > tly_ormap_clock(world.node[1])->last + 0x20000);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    for (int i = 0; i < 9; i++) {
        (void)add(1, 100, 0); /* of a version above the REMOVE's, so the shard is restarted and stays */
        world_sync(&world, 1, 2, NULL);
    }
    tly_clock_observe(tly_ormap_clock(world.node[1]), outrun + 0x100000);
    (void)add(1, 100, 0);
    world_sync(&world, 1, 2, NULL);
    assert_int_equal(add(0, 5, 0), 5);
    assert_true(get(0, 0).epoch > outrun);
    all_nodes_read(5, 0);
}

/* Law ES10: two nodes that know the same REMOVE count in one generation, which a SET of either must leave. */
static void of_two_sets_after_one_delete_one_wins_whole(void **state)
{
    set(2, 1, 0);
    world_sync(&world, 2, 0, NULL);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    world_sync(&world, 0, 1, NULL);
    for (size_t node = 0; node < 2; node++) {
        (void)add(node, 1, 0);
        set(node, 5 + (int64_t)node, 0);
    }
    all_nodes_read(6, 0);
}

static void at_the_end_of_the_generations_a_set_is_refused(void **state)
{
    struct tly_dot last = shard_of(50, 9, (uint64_t[]){0, UINT64_MAX, 3, 0});
    assert_int_equal(world_apply(world.node[0], key(), &last), TLY_APPLIED);
    uint64_t digest = tly_ormap_digest(world.node[0]);
    assert_int_equal(tly_counter_set(world.node[0], key(), 1, 0), TLY_CLOCK_END);
    assert_int_equal(tly_ormap_digest(world.node[0]), digest);
    assert_int_equal(add(0, 1, 0), 4);
}

static void an_overflow_is_refused_and_changes_nothing(void **state)
{
    static const int64_t ends[] = {INT64_MAX, INT64_MIN};
    struct tly_ormap *map = world.node[0];
    for (size_t i = 0; i < 2; i++) {
        int64_t value = 42, over = ends[i] > 0 ? 1 : -1;
        set(0, ends[i], 0);
        uint64_t digest = tly_ormap_digest(map);
        assert_int_equal(tly_counter_add(map, key(), over, 0, &value), TLY_OVERFLOW);
        assert_int_equal(tly_counter_add(map, key(), ends[i], 0, &value), TLY_OVERFLOW);
        assert_int_equal(tly_ormap_digest(map), digest);
        assert_false(tly_ormap_is_unsealed(map));
        assert_int_equal(add(0, -over, 0), ends[i] - over);
        assert_int_equal(tly_ormap_seal(map), TLY_OK);
    }
    tly_ormap_check(map);
}

static void an_own_shard_that_would_overflow_is_refused_though_the_sum_would_not(void **state)
{
    set(0, INT64_MAX, 0);
    world_settle(&world);
    (void)add(1, -10, 0);
    world_settle(&world);
    int64_t value;
    assert_int_equal(get(0, 0).count, INT64_MAX - 10);
    assert_int_equal(tly_counter_add(world.node[0], key(), 5, 0, &value), TLY_OVERFLOW);
    assert_int_equal(get(0, 0).count, INT64_MAX - 10);
    assert_int_equal(add(1, 5, 0), INT64_MAX - 5);
}

static void what_adding_answers_is_what_is_read_then(void **state)
{
    set(0, INT64_MAX - 5, 0);
    world_settle(&world);
    (void)add(1, 5, 0);
    (void)add(2, 5, 0);
    world_settle(&world);
    assert_int_equal(get(0, 0).count, INT64_MAX); /* truly five more */
    int64_t answer = add(0, -1, 0);
    assert_int_equal(answer, get(0, 0).count);
    answer = add(0, -7, 0);
    assert_int_equal(answer, INT64_MAX - 3);
    assert_int_equal(answer, get(0, 0).count);
}

static void an_overflow_on_an_absent_counter_cannot_be_and_leaves_no_entry(void **state)
{
    assert_int_equal(add(0, INT64_MIN, 0), INT64_MIN);
    int64_t value;
    assert_int_equal(tly_counter_add(world.node[0], key(), -1, 0, &value), TLY_OVERFLOW);
    assert_int_equal(tly_counter_set(world.node[1], key(), 1, INT64_MAX), TLY_OVERFLOW);
    assert_null(tly_ormap_find(world.node[1], key()));
}

/* ---- deadlines ---- */

/* Law ES11 */
static void past_its_deadline_a_counter_is_absent_and_counts_from_zero(void **state)
{
    (void)add(0, 5, 0);
    assert_int_equal(expire(0, 1000, 0), TLY_OK);
    assert_int_equal(get(0, 999).count, 5);
    assert_int_equal(get(0, 999).deadline_ms, 1000);
    assert_int_equal(add(0, 1, 999), 6);
    assert_true(is_absent(0, 1000));
    assert_int_equal(expire(0, 2000, 1000), TLY_NOT_FOUND);
    world_settle(&world);
    for (size_t node = 0; node < WORLD_NODES; node++)
        assert_true(get(node, 999).count == 6 && is_absent(node, 1000));
    assert_int_equal(add(1, 2, 1000), 2);
    assert_int_equal(add(1, 1, 5000), 3);
    all_nodes_read(3, 0);
}

static void a_deadline_in_the_past_ends_the_counter(void **state)
{
    (void)add(0, 5, 0);
    assert_int_equal(expire(0, 1000, 5000), TLY_OK);
    assert_true(is_absent(0, 5000));
    assert_int_equal(add(0, 1, 5000), 1);
}

/* Law ES11 */
static void persist_lifts_a_deadline_everywhere(void **state)
{
    (void)add(0, 5, 0);
    assert_int_equal(expire(0, 1000, 0), TLY_OK);
    world_settle(&world);
    assert_int_equal(expire(1, 0, 0), TLY_OK);
    all_nodes_read(5, 0);
    assert_int_equal(get(2, NEVER).count, 5);
    assert_int_equal(expire(2, 3000, 0), TLY_OK);
    all_nodes_read(5, 3000);
}

static void a_deadline_counts_up_to_the_last_that_can_be_said(void **state)
{
    (void)add(0, 5, 0);
    assert_int_equal(expire(0, TLY_DEADLINE_NONE, 0), TLY_OVERFLOW);
    assert_int_equal(expire(0, UINT64_MAX, 0), TLY_OVERFLOW);
    assert_int_equal(expire(0, TLY_DEADLINE_NONE - 1, 0), TLY_OK);
    assert_int_equal(get(0, TLY_DEADLINE_NONE - 2).count, 5);
    assert_true(is_absent(0, TLY_DEADLINE_NONE - 1));
}

static void a_set_brings_its_own_deadline_or_none(void **state)
{
    set(0, 5, 1000);
    assert_true(get(0, 999).count == 5 && is_absent(0, 1000));
    set(0, 6, 0);
    assert_true(get(0, NEVER).count == 6);
    all_nodes_read(6, 0);
}

static void counting_and_sealing_keep_the_deadline(void **state)
{
    (void)add(0, 5, 0);
    assert_int_equal(expire(0, 1000, 0), TLY_OK);
    for (int i = 0; i < 5; i++) {
        (void)add(0, 1, 0);
        (void)add(1, 1, 0);
        world_settle(&world);
    }
    all_nodes_read(15, 1000);
}

/* Law ES11: What was replaced while units waited to be sealed is not said again by the sealing. */
static void a_deadline_replaced_elsewhere_stays_replaced_when_the_old_shard_is_sealed(void **state)
{
    static const uint64_t later[] = {5000, 0};
    for (size_t i = 0; i < 2; i++) {
        set(0, 5, 1000);
        world_settle(&world);
        (void)add(0, 1, 0); /* unsealed, beside the deadline of 1000 */
        assert_int_equal(expire(1, later[i], 0), TLY_OK);
        world_sync(&world, 1, 0, NULL);
        assert_int_equal(get(0, 0).deadline_ms, later[i]);
        assert_int_equal(tly_ormap_seal(world.node[0]), TLY_OK);
        assert_int_equal(get(0, 0).deadline_ms, later[i]);
        all_nodes_read(6, later[i]);
        (void)add(0, 1, 0);
        all_nodes_read(7, later[i]);
    }
}

/* ---- two nodes at once ---- */

/* Law ES10 */
static void of_two_concurrent_sets_one_wins_whole(void **state)
{
    for (int i = 0; i < 20; i++) {
        set(0, 100, 0);
        set(1, 200, 0);
        assert_int_equal(add(0, 1, 0), 101);
        assert_int_equal(add(1, 2, 0), 202);
        world_settle(&world);
        int64_t count = get(0, 0).count;
        assert_true(count == 101 || count == 202);
        all_nodes_read(count, 0);
    }
}

/* Law ES10 */
static void increments_on_the_losing_generation_vanish_alike(void **state)
{
    (void)add(2, 1000, 0);
    (void)add(1, 50, 0);
    set(0, 7, 0);
    (void)add(1, 50, 0);
    world_sync(&world, 0, 1, NULL);
    assert_int_equal(get(1, 0).count, 7);
    assert_int_equal(add(1, 1, 0), 8);
    all_nodes_read(8, 0);
}

/* Laws ES8, ES12 */
static void a_delete_while_another_counts_ends_alike_and_brings_nothing_back(void **state)
{
    (void)add(0, 5, 0);
    world_settle(&world);
    assert_int_equal(tly_ormap_remove(world.node[0], key()), TLY_OK);
    (void)add(1, 2, 0);
    assert_int_equal(get(1, 0).count, 7);
    world_sync(&world, 0, 1, NULL);
    assert_int_equal(get(1, 0).count, 0);
    all_nodes_read(0, 0);
    (void)add(2, 4, 0);
    all_nodes_read(4, 0);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(an_absent_counter_counts_from_zero),
        scene(nothing_added_after_a_delete_is_a_counter_of_nothing),
        scene(only_keys_of_counters_count),
        scene(a_set_replaces_whatever_was_counted),
        scene(sets_in_quick_succession_do_not_outrun_the_clock),
        scene(a_generation_beyond_the_horizon_is_refused),
        scene(what_is_counted_after_a_delete_is_not_hidden_by_a_restarted_shard),
        scene(a_generation_is_above_the_clock_and_all_others_and_names_its_origin),
        scene(a_delete_is_newer_than_generations_that_outran_the_clock),
        scene(of_two_sets_after_one_delete_one_wins_whole),
        scene(at_the_end_of_the_generations_a_set_is_refused),
        scene(an_overflow_is_refused_and_changes_nothing),
        scene(an_own_shard_that_would_overflow_is_refused_though_the_sum_would_not),
        scene(what_adding_answers_is_what_is_read_then),
        scene(an_overflow_on_an_absent_counter_cannot_be_and_leaves_no_entry),
        scene(past_its_deadline_a_counter_is_absent_and_counts_from_zero),
        scene(a_deadline_in_the_past_ends_the_counter),
        scene(persist_lifts_a_deadline_everywhere),
        scene(a_deadline_counts_up_to_the_last_that_can_be_said),
        scene(a_set_brings_its_own_deadline_or_none),
        scene(counting_and_sealing_keep_the_deadline),
        scene(a_deadline_replaced_elsewhere_stays_replaced_when_the_old_shard_is_sealed),
        scene(of_two_concurrent_sets_one_wins_whole),
        scene(increments_on_the_losing_generation_vanish_alike),
        scene(a_delete_while_another_counts_ends_alike_and_brings_nothing_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
