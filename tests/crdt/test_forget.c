/* What is forgotten stays away: floors, the ends of lives, and what time has ended. */
#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "crdt/forget.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define EVERYTHING SIZE_MAX

static struct world world;

static int begin(void **state)
{
    world = world_of();
    return 0;
}

static int end(void **state)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_check(world.node[i]);
    world_end(&world);
    return 0;
}

static struct tly_slice key(const char *text)
{
    return tly_slice_text(text);
}

static void put_text(size_t node, const char *name, const char *text)
{
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_slice_text(text)};
    claim(tly_ormap_put(world.node[node], key(name), &dot) == TLY_OK);
}

static void remove_key(size_t node, const char *name)
{
    claim(tly_ormap_remove(world.node[node], key(name)) == TLY_OK);
}

static void sync_nodes(size_t from, size_t to)
{
    (void)world_round(world.node[from], world.node[to], NULL);
}

static void sync_all(void)
{
    for (size_t i = 0; i < 4 * WORLD_NODES; i++)
        sync_nodes(i % WORLD_NODES, (i + 1) % WORLD_NODES);
}

static struct tly_forgotten forget(size_t node, uint64_t upto, size_t budget)
{
    claim(tly_ormap_seal(world.node[node]) == TLY_OK);
    return tly_ormap_forget(world.node[node], upto, budget);
}

static uint64_t floor_of(size_t node, uint64_t origin)
{
    for (size_t i = 0; i < tly_ormap_lives(world.node[node]); i++)
        if (tly_ormap_life(world.node[node], i).origin == origin)
            return tly_ormap_life(world.node[node], i).floor;
    return 0;
}

/* ---- REMOVEs ---- */

static void a_put_older_than_a_forgotten_remove_is_stale(void **state)
{
    put_text(0, "l:a", "old");
    struct tly_dot old = text_of(tly_ormap_mark(world.node[0], 1), 1, "old");
    remove_key(0, "l:a");
    sync_all();
    for (size_t i = 0; i < WORLD_NODES; i++) {
        assert_int_equal(forget(i, UINT64_MAX, EVERYTHING).dropped, 1);
        assert_int_equal(tly_ormap_count(world.node[i]), 0);
        assert_int_equal(tly_ormap_removes(world.node[i]), 0);
    }
    assert_int_equal(world_apply(world.node[1], key("l:a"), &old), TLY_DROPPED);
    assert_int_equal(tly_ormap_count(world.node[1]), 0);
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_repair(world.node[1], key("l:a"), &old, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_REPAIRED);
    assert_int_equal(tly_ormap_repair(world.node[1], key("l:a"), &old, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_DUPLICATE);
}

static void removes_go_up_to_f_and_raise_the_floor_of_their_life(void **state)
{
    put_text(0, "l:a", "x");
    put_text(0, "l:b", "x");
    remove_key(0, "l:a");
    uint64_t first = tly_ormap_mark(world.node[0], 1);
    remove_key(0, "l:b");
    uint64_t second = tly_ormap_mark(world.node[0], 1);
    sync_all();
    assert_int_equal(forget(1, first - 1, EVERYTHING).dropped, 0);
    assert_int_equal(floor_of(1, 1), 0);
    assert_int_equal(forget(1, second - 1, EVERYTHING).dropped, 1);
    assert_int_equal(floor_of(1, 1), first);
    assert_int_equal(tly_ormap_removes(world.node[1]), 1);
    assert_int_equal(forget(1, second, EVERYTHING).dropped, 1);
    assert_int_equal(floor_of(1, 1), second);
    assert_int_equal(floor_of(1, 2), 0);
}

static void a_remove_with_a_newer_put_beside_it_leaves_the_put(void **state)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {5, 7}};
    claim(tly_ormap_put(world.node[0], key("m:a"), &dot) == TLY_OK);
    remove_key(0, "m:a");
    dot.num[0] = 3;
    claim(tly_ormap_put(world.node[0], key("m:a"), &dot) == TLY_OK);
    assert_int_equal(forget(0, UINT64_MAX, EVERYTHING).dropped, 1);
    assert_int_equal(world_read(world.node[0], key("m:a"), (struct tly_moment){0}).epoch, 3);
}

#define MANY 300

static void make_many(void)
{
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "l:%d", i);
        put_text((size_t)i % 3, name, "x");
        if (i % 2 == 0) remove_key((size_t)i % 3, name);
        sync_nodes((size_t)i % 3, (size_t)(i + 1) % 3);
    }
    sync_all();
}

/* Of two nodes one of which looks at few records a time, each state of one is a state of the other: the order is that of the ts. */
static void forgetting_goes_on_in_bounded_steps_in_the_order_of_ts(void **state)
{
    make_many();
    uint64_t upto = tly_ormap_clock(world.node[0])->last, steps = 0;
    size_t left = tly_ormap_removes(world.node[0]);
    assert_int_equal(left, MANY / 2);
    for (bool done = false; !done; steps++) {
        struct tly_forgotten forgotten = forget(0, upto, 20);
        assert_in_range(forgotten.dropped, 0, 20);
        left -= forgotten.dropped;
        assert_int_equal(tly_ormap_removes(world.node[0]), left);
        done = forgotten.done;
        /* No REMOVE stands below the newest one that went. */
        uint64_t newest = 0;
        for (uint64_t origin = 1; origin <= 3; origin++)
            newest = floor_of(0, origin) > newest ? floor_of(0, origin) : newest;
        assert_int_equal(forget(1, newest, EVERYTHING).dropped, forgotten.dropped);
        assert_true(forget(1, newest, EVERYTHING).done);
        assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
    }
    assert_int_equal(left, 0);
    assert_true(steps >= MANY / 20);
}

static void a_remove_that_arrives_below_what_was_walked_is_found(void **state)
{
    put_text(0, "l:a", "x");
    remove_key(0, "l:a");
    sync_all();
    assert_int_equal(forget(1, 100, EVERYTHING).dropped, 1);
    struct tly_dot late = remove_of(50, 9);
    assert_int_equal(world_apply(world.node[1], key("l:b"), &late), TLY_APPLIED);
    /* What all have says nothing of a life whose mark nobody has told; nor is a floor to stand above it. */
    assert_int_equal(forget(1, 100, EVERYTHING).dropped, 0);
    assert_int_equal(floor_of(1, 9), 0);
    assert_int_equal(tly_ormap_removes(world.node[1]), 1);
    claim(tly_ormap_raise_mark(world.node[1], 9, 50) == TLY_OK);
    assert_int_equal(forget(1, 100, EVERYTHING).dropped, 1);
    assert_int_equal(floor_of(1, 9), 50);
}

/* ---- lives ---- */

static void a_settled_life_takes_nothing_more(void **state)
{
    put_text(1, "l:a", "x");
    sync_all();
    uint64_t mark = tly_ormap_mark(world.node[0], 2);
    assert_int_equal(tly_ormap_close_life(world.node[0], 2), TLY_OK);
    struct tly_dot last = text_of(mark + 1, 2, "still");
    assert_int_equal(world_apply(world.node[0], key("l:b"), &last), TLY_APPLIED);
    assert_int_equal(tly_ormap_settle_life(world.node[0], 2, mark + 1), TLY_MORE);
    assert_int_equal(tly_ormap_mark(world.node[0], 2), mark);
    assert_int_equal(tly_ormap_raise_mark(world.node[0], 2, mark + 1), TLY_OK);
    assert_int_equal(tly_ormap_settle_life(world.node[0], 2, mark + 1), TLY_OK);
    assert_int_equal(tly_ormap_mark(world.node[0], 2), UINT64_MAX);
    struct tly_dot newer = text_of(mark + 2, 2, "y"), absent = text_of(mark, 2, "z");
    assert_int_equal(world_apply(world.node[0], key("l:a"), &newer), TLY_REFUSED);
    assert_int_equal(world_apply(world.node[0], key("l:c"), &absent), TLY_DROPPED);
    assert_int_equal(world_apply(world.node[0], key("l:b"), &last), TLY_DUPLICATE);
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_repair(world.node[0], key("l:a"), &newer, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_REFUSED);
    assert_int_equal(tly_ormap_raise_mark(world.node[0], 2, mark + 9), TLY_OK);
    assert_int_equal(tly_ormap_beyond(world.node[0], 2, mark + 1).print, 0);
    assert_int_equal(tly_ormap_beyond(world.node[0], 2, mark + 1).newest, mark + 1);
    assert_true(tly_ormap_beyond(world.node[0], 2, mark).print != 0);
    assert_int_equal(tly_ormap_beyond(world.node[0], 2, mark).newest, mark + 1);
}

static size_t listed_lives(size_t node)
{
    size_t listed = 0;
    for (size_t i = 0; i < tly_ormap_lives(world.node[node]); i++)
        listed += tly_ormap_life(world.node[node], i).mark > 0;
    return listed;
}

static void a_retired_life_leaves_the_marks_and_a_dropped_one_the_memory(void **state)
{
    put_text(0, "l:b", "w");
    put_text(1, "l:a", "x");
    sync_all();
    uint64_t mark = tly_ormap_mark(world.node[0], 2), word = tly_ormap_mark(world.node[0], 1);
    assert_int_equal(listed_lives(0), 2);
    tly_ormap_retire_life(world.node[0], 2, (struct tly_version){word, 1});
    assert_int_equal(listed_lives(0), 2); /* not settled */
    assert_int_equal(tly_ormap_settle_life(world.node[0], 2, mark), TLY_OK);
    assert_false(tly_ormap_drop_life(world.node[0], 2));
    tly_ormap_retire_life(world.node[0], 2, (struct tly_version){word, 1});
    assert_int_equal(listed_lives(0), 1);
    assert_int_equal(floor_of(0, 1), word);
    assert_false(tly_ormap_drop_life(world.node[0], 2)); /* its dot stands */
    put_text(0, "l:a", "y");
    assert_true(tly_ormap_drop_life(world.node[0], 2));
    assert_false(tly_ormap_drop_life(world.node[0], 2));
    assert_int_equal(tly_ormap_bounds(world.node[0]).lost, mark);
    struct tly_dot old = text_of(mark, 2, "x");
    assert_int_equal(world_apply(world.node[0], key("l:c"), &old), TLY_DROPPED);
    assert_int_equal(tly_ormap_settle_life(world.node[0], 2, mark), TLY_OK);
    struct tly_dot fresh = text_of(mark + 5, 77, "new");
    assert_int_equal(world_apply(world.node[0], key("l:c"), &fresh), TLY_APPLIED);
    assert_int_equal(tly_ormap_lives(world.node[0]), 2); /* it got the number that was free */
    assert_int_equal(tly_ormap_mark(world.node[0], 77), 0);
}

static void a_thousand_lives_that_come_and_go_leave_nothing(void **state)
{
    size_t bytes = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        struct tly_dot dot = text_of(10 + i, 1000 + i, "x");
        assert_int_equal(world_apply(world.node[0], key("l:a"), &dot), TLY_APPLIED);
        assert_int_equal(tly_ormap_raise_mark(world.node[0], 1000 + i, 10 + i), TLY_OK);
        assert_int_equal(tly_ormap_settle_life(world.node[0], 1000 + i, 10 + i), TLY_OK);
        tly_ormap_retire_life(world.node[0], 1000 + i, (struct tly_version){11 + i, 1001 + i});
        if (i > 0) assert_true(tly_ormap_drop_life(world.node[0], 999 + i));
        if (i == 100) bytes = tly_ormap_bytes(world.node[0]);
    }
    assert_int_equal(tly_ormap_bytes(world.node[0]), bytes);
    assert_in_range(tly_ormap_lives(world.node[0]), 2, 4);
}

/* ---- what time has ended ---- */

static bool every_key_is_a_counter(struct tly_slice name)
{
    return true;
}

static struct tly_swept sweep(size_t node, uint64_t upto, uint64_t now_ms)
{
    struct tly_ended ended = {
        .upto = upto, .now_ms = now_ms, .skew_ns = TLY_MAX_SKEW_NS, .is_counter = every_key_is_a_counter};
    size_t cursor = 0;
    claim(tly_ormap_seal(world.node[node]) == TLY_OK);
    struct tly_swept swept = tly_ormap_sweep_ended(world.node[node], &cursor, EVERYTHING, &ended);
    claim(cursor == 0);
    return swept;
}

static void a_register_past_its_deadline_goes_when_nothing_older_can_come(void **state)
{
    put_text(2, "l:a", "old"); /* only node 2 has it */
    tly_clock_tick(tly_ormap_clock(world.node[0]), (struct tly_time){1000 * MS, 1});
    struct tly_dot brief = {.op = TLY_PUT, .num = {2000}, .bytes = tly_slice_text("brief")};
    claim(tly_ormap_put(world.node[0], key("l:a"), &brief) == TLY_OK);
    sync_nodes(0, 1);
    /* By time alone it would go now, and then the old one would come. F says that it may still come. */
    assert_int_equal(sweep(0, 0, 3000).dropped, 0);
    assert_int_equal(sweep(0, 0, 3000).waiting, 1);
    assert_int_equal(sweep(0, UINT64_MAX, 1999).waiting, 0);
    sync_nodes(2, 0);
    sync_nodes(0, 2);
    uint64_t f = tly_ormap_mark(world.node[0], 1);
    assert_int_equal(sweep(0, f, 3000).dropped, 1);
    assert_int_equal(floor_of(0, 1), f);
    /* The third node's dot, sent before it knew better, arrives now. */
    struct tly_dot old = text_of(tly_ormap_mark(world.node[2], 3), 3, "old");
    assert_int_equal(world_apply(world.node[0], key("l:a"), &old), TLY_DROPPED);
    assert_int_equal(tly_ormap_count(world.node[0]), 0);
}

static int64_t counted(size_t node, uint64_t now_ms)
{
    struct tly_value value = {0};
    enum tly_result result = tly_counter_get(world.node[node], key("s:a"), now_ms, &value);
    claim(result == TLY_OK || result == TLY_NOT_FOUND);
    return result == TLY_OK ? value.count : INT64_MIN;
}

static void add(size_t node, uint64_t now_ms, int64_t units)
{
    int64_t value;
    claim(tly_counter_add(world.node[node], key("s:a"), units, now_ms, &value) == TLY_OK);
}

static void set_walls(uint64_t ms)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_clock_tick(tly_ormap_clock(world.node[i]), (struct tly_time){ms * MS, ms * MS});
}

static void an_ended_counter_goes_a_skew_after_its_deadline(void **state)
{
    const uint64_t skew_ms = TLY_MAX_SKEW_NS / MS;
    set_walls(1000);
    add(0, 1000, 5);
    add(1, 1000, 7);
    claim(tly_counter_expire(world.node[0], key("s:a"), 2000, 1000) == TLY_OK);
    sync_all();
    assert_int_equal(counted(2, 1999), 12);
    assert_int_equal(counted(2, 2000), INT64_MIN);
    assert_int_equal(sweep(2, (2000 + skew_ms) * MS - 1, 9000).dropped, 0);
    assert_int_equal(sweep(2, (2000 + skew_ms) * MS, 1999).dropped, 0);
    assert_int_equal(sweep(2, (2000 + skew_ms) * MS, 9000).dropped, 2);
    assert_int_equal(tly_ormap_count(world.node[2]), 0);
}

/* Node 1 counted in time, was cut off, and seals long after the others have dropped the counter. */
static void what_was_counted_in_time_and_told_late_revives_no_ended_counter(void **state)
{
    const uint64_t late_ms = 2001 + TLY_MAX_SKEW_NS / MS;
    set_walls(1000);
    add(0, 1000, 5);
    claim(tly_counter_expire(world.node[0], key("s:a"), 2000, 1000) == TLY_OK);
    sync_all();
    add(1, 1500, 7);
    set_walls(late_ms);
    put_text(0, "l:a", "time passes");
    sync_nodes(0, 2);
    assert_int_equal(sweep(2, late_ms * MS, late_ms).dropped, 1);
    sync_nodes(1, 2);
    assert_int_equal(counted(2, late_ms), INT64_MIN);
    assert_int_equal(counted(1, late_ms), INT64_MIN);
    sync_nodes(1, 0);
    assert_int_equal(counted(0, late_ms), INT64_MIN);
    /* … and what begins anew begins everywhere. */
    add(1, late_ms, 3);
    sync_nodes(1, 2);
    assert_int_equal(counted(2, late_ms), 3);
}

static void neither_windows_nor_living_counters_are_ended(void **state)
{
    set_walls(1000);
    world_hit(world.node[0], key("s:b"), (struct tly_hit){.window = 7, .epoch = 1, .units = 1});
    add(0, 1000, 5);
    struct tly_dot hit = shard_of(1, 9, (uint64_t[]){0, 0, 1, 0});
    assert_int_equal(world_apply(world.node[0], key("s:b"), &hit), TLY_APPLIED);
    assert_int_equal(sweep(0, UINT64_MAX, UINT64_MAX / MS).dropped, 0);
    assert_int_equal(sweep(0, UINT64_MAX, UINT64_MAX / MS).waiting, 0);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(a_put_older_than_a_forgotten_remove_is_stale),
        scene(removes_go_up_to_f_and_raise_the_floor_of_their_life),
        scene(a_remove_with_a_newer_put_beside_it_leaves_the_put),
        scene(forgetting_goes_on_in_bounded_steps_in_the_order_of_ts),
        scene(a_remove_that_arrives_below_what_was_walked_is_found),
        scene(a_settled_life_takes_nothing_more),
        scene(a_retired_life_leaves_the_marks_and_a_dropped_one_the_memory),
        scene(a_thousand_lives_that_come_and_go_leave_nothing),
        scene(a_register_past_its_deadline_goes_when_nothing_older_can_come),
        scene(an_ended_counter_goes_a_skew_after_its_deadline),
        scene(what_was_counted_in_time_and_told_late_revives_no_ended_counter),
        scene(neither_windows_nor_living_counters_are_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
