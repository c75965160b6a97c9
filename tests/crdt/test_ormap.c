/* The map's own rules: what is let in, what is refused and leaves no trace, and what a walk or a sweep sees. */
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <string.h>

static struct world world;
static struct tly_ormap *map; /* of origin 1 */

static int begin(void **state)
{
    world = world_of();
    map = world.node[0];
    return 0;
}

static int end(void **state)
{
    world_end(&world);
    return 0;
}

static struct tly_slice key_of(const char *text)
{
    return tly_slice_text(text);
}

static enum tly_result put_max(const char *key, uint64_t epoch, int64_t count)
{
    struct tly_dot dot = {.num = {epoch, (uint64_t)count}};
    return tly_ormap_put(map, key_of(key), &dot);
}

static enum tly_result put_text(const char *key, const char *text)
{
    struct tly_dot dot = {.bytes = tly_slice_text(text)};
    return tly_ormap_put(map, key_of(key), &dot);
}

static enum tly_outcome apply(const char *key, struct tly_dot dot)
{
    enum tly_outcome outcome = world_apply(map, key_of(key), &dot);
    tly_ormap_check(map);
    return outcome;
}

static struct tly_value read_now(const char *key)
{
    return world_read(map, key_of(key), (struct tly_moment){0});
}

static size_t dots_of(const char *key)
{
    size_t count;
    (void)world_dots(map, key_of(key), &count);
    return count;
}

/* Everything that must be as before when something was refused. */
struct trace {
    uint64_t digest, mark;
    size_t count, records;
    uint64_t clock;
};

static struct trace trace_of(void)
{
    struct trace trace = {.digest = tly_ormap_digest(map), .count = tly_ormap_count(map)};
    trace.records = tly_ormap_log_size(map);
    trace.mark = tly_ormap_mark(map, 1);
    trace.clock = tly_ormap_clock(map)->last;
    return trace;
}

static void assert_unchanged(struct trace before)
{
    struct trace now = trace_of();
    assert_memory_equal(&before, &now, sizeof now);
    tly_ormap_check(map);
}

/* ---- dots from elsewhere ---- */

/* Law L4 */
static void a_put_older_than_a_remove_stays_dead(void **state)
{
    static const char *const keys[] = {"l:a", "m:a", "s:a"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(apply(keys[i], remove_of(20, 5)), TLY_APPLIED);
        for (uint64_t ts = 1; ts < 20; ts++)
            assert_int_equal(apply(keys[i], put_of(ts, 6, 0, 0)), TLY_DOMINATED);
        assert_int_equal(apply(keys[i], put_of(20, 4, 0, 0)), TLY_DOMINATED);
        assert_int_equal(apply(keys[i], put_of(20, 5, 0, 0)), TLY_DOMINATED);
        assert_int_equal(dots_of(keys[i]), 1);
        assert_false(read_now(keys[i]).present);
        assert_int_equal(apply(keys[i], put_of(20, 6, 0, 0)), TLY_APPLIED);
        assert_true(read_now(keys[i]).present);
    }
}

/* Law EM1 */
static void an_equal_value_with_an_older_version_changes_no_byte(void **state)
{
    assert_int_equal(apply("m:a", put_of(10, 5, 3, 3)), TLY_APPLIED);
    uint64_t digest = tly_ormap_digest(map);
    assert_int_equal(apply("m:a", put_of(9, 6, 3, 3)), TLY_DOMINATED);
    assert_int_equal(tly_ormap_digest(map), digest);
    assert_int_equal(apply("m:a", put_of(11, 6, 3, 3)), TLY_APPLIED);
    assert_int_equal(dots_of("m:a"), 1);
}

/* Law M3 */
static void a_stale_dot_is_dropped_and_leaves_no_trace(void **state)
{
    assert_int_equal(tly_ormap_raise_mark(map, 5, 100), TLY_OK);
    struct trace before = trace_of();
    assert_int_equal(apply("m:a", put_of(100, 5, 1, 1)), TLY_DROPPED);
    assert_int_equal(apply("m:a", put_of(1, 5, 1, 1)), TLY_DROPPED);
    assert_int_equal(apply("m:a", remove_of(100, 5)), TLY_DROPPED);
    assert_unchanged(before);
    assert_int_equal(apply("m:a", put_of(101, 5, 1, 1)), TLY_APPLIED);
    assert_int_equal(apply("m:a", put_of(1, 6, 2, 1)), TLY_APPLIED);
    /* What stands, or is redundant, is not stale. */
    assert_int_equal(tly_ormap_raise_mark(map, 5, 200), TLY_OK);
    assert_int_equal(apply("m:a", put_of(101, 5, 1, 1)), TLY_DUPLICATE);
    assert_int_equal(apply("m:a", put_of(100, 5, 1, 1)), TLY_DOMINATED);
}

/* Law M3 */
static void a_dot_of_the_own_life_from_elsewhere_is_forged(void **state)
{
    assert_int_equal(put_max("m:a", 1, 1), TLY_OK);
    struct trace before = trace_of();
    assert_int_equal(apply("m:a", put_of(50, 1, 9, 9)), TLY_FORGED);
    assert_int_equal(apply("m:b", remove_of(50, 1)), TLY_FORGED);
    assert_unchanged(before);
}

/* Law L9 */
static void a_malformed_dot_leaves_no_trace(void **state)
{
    struct trace before = trace_of();
    size_t lives = tly_ormap_lives(map);
    struct tly_dot late = put_of(50, 5, 0, 0);
    late.num[3] = 1;
    assert_int_equal(apply("m:a", late), TLY_MALFORMED);
    assert_int_equal(apply("m:a", put_of(0, 5, 1, 1)), TLY_MALFORMED);
    assert_int_equal(apply("m:a", put_of(50, 0, 1, 1)), TLY_MALFORMED);
    assert_int_equal(apply("s:a", put_of(50, 5, UINT64_MAX, 1)), TLY_MALFORMED);
    assert_unchanged(before);
    assert_int_equal(tly_ormap_lives(map), lives);
}

/* Law M4 */
static void a_dot_moves_the_clock_once(void **state)
{
    for (int i = 0; i < 1000; i++) {
        (void)apply("m:a", put_of(500, 5, 1, 1));
        assert_int_equal(tly_ormap_clock(map)->last, 500);
    }
    assert_int_equal(put_max("m:a", 0, 0), TLY_OK);
    assert_int_equal(tly_ormap_mark(map, 1), 501);
}

/* Law M4 */
static void a_write_after_learning_wins(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (int i = 0; i < 2000; i++) {
        struct tly_dot heard = text_of(tly_ormap_clock(map)->last + test_rng_below(&rng, 100), 5, "theirs");
        enum tly_outcome outcome = world_apply(map, key_of("l:a"), &heard);
        claim(outcome == TLY_APPLIED || outcome == TLY_DOMINATED || outcome == TLY_DUPLICATE);
        claim(put_text("l:a", "ours") == TLY_OK);
        claim(tly_slice_equal(read_now("l:a").bytes, tly_slice_text("ours")));
        claim(put_max("m:a", 0, i) == TLY_OK);
        claim(tly_ormap_mark(map, 1) > heard.version.ts);
    }
    claim(dots_of("m:a") == 1 && dots_of("l:a") == 1);
}

static void a_version_or_a_generation_beyond_the_horizon_is_not_admitted(void **state)
{
    uint64_t last = tly_ormap_clock(map)->horizon + TLY_MAX_SKEW_NS;
    struct tly_dot dot = put_of(last, 5, 0, last);
    assert_int_equal(tly_ormap_admits(map, key_of("s:a"), &dot), TLY_OK);
    dot.num[1]++;
    assert_int_equal(tly_ormap_admits(map, key_of("s:a"), &dot), TLY_CLOCK_AHEAD);
    assert_int_equal(tly_ormap_admits(map, key_of("m:a"), &dot), TLY_OK);
    dot.num[0] = 1000;
    assert_int_equal(tly_ormap_admits(map, key_of("s:a"), &dot), TLY_OK);
    dot.version.ts++;
    assert_int_equal(tly_ormap_admits(map, key_of("s:a"), &dot), TLY_CLOCK_AHEAD);
    assert_int_equal(tly_ormap_admits(map, key_of("x:a"), &dot), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_admits(map, key_of(""), &dot), TLY_BAD_KEY);
}

/* ---- two dots with one version ---- */

/* Law R3 */
static void forged_dots_of_one_version_are_one_state_in_both_orders(void **state)
{
    struct tly_dot twin[] = {shard_of(10, 5, (uint64_t[]){7, 1, 1, 0}),
                             shard_of(10, 5, (uint64_t[]){1000, 1, 2, 0})};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 2; j++)
            assert_int_equal(world_apply(world.node[i], key_of("s:a"), &twin[(i + j) % 2]), TLY_APPLIED);
    assert_int_equal(tly_ormap_digest(world.node[0]), tly_ormap_digest(world.node[1]));
    struct tly_dot newer = shard_of(11, 5, (uint64_t[]){7, 1, 1, 0});
    assert_int_equal(apply("s:a", newer), TLY_APPLIED);
    assert_int_equal(dots_of("s:a"), 2);
}

/* ---- local writes ---- */

/* Law M2 */
static void what_has_no_strategy_or_a_bad_key_leaves_no_byte(void **state)
{
    char long_key[TLY_KEY_BYTES_MAX + 2] = "m:";
    memset(long_key + 2, 'k', TLY_KEY_BYTES_MAX - 1);
    size_t bytes = tly_ormap_bytes(map);
    struct trace before = trace_of();
    struct tly_dot dot = put_of(5, 5, 1, 1);
    enum tly_outcome outcome;
    assert_int_equal(put_max("x:a", 1, 1), TLY_NO_STRATEGY);
    assert_int_equal(put_max("", 1, 1), TLY_BAD_KEY);
    assert_int_equal(put_max(long_key, 1, 1), TLY_BAD_KEY);
    assert_int_equal(tly_ormap_apply(map, key_of("x:a"), &dot, &outcome), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_apply(map, key_of(long_key), &dot, &outcome), TLY_BAD_KEY);
    assert_int_equal(tly_ormap_remove(map, key_of("x:a")), TLY_NOT_FOUND);
    assert_unchanged(before);
    assert_int_equal(tly_ormap_bytes(map), bytes);
    long_key[TLY_KEY_BYTES_MAX] = '\0';
    assert_int_equal(put_max(long_key, 1, 1), TLY_OK);
    assert_true(read_now(long_key).present);
}

/* Laws L9, LWW4 */
static void a_refused_write_changes_nothing(void **state)
{
    static const uint8_t bytes[TLY_LWW_BYTES_MAX + 1];
    struct tly_dot large = {.bytes = tly_slice_of(bytes, sizeof bytes)}, wrong = {.num = {0, 0, 7}};
    struct trace before = trace_of();
    assert_int_equal(tly_ormap_put(map, key_of("l:a"), &large), TLY_TOO_LARGE);
    assert_int_equal(tly_ormap_put(map, key_of("m:a"), &wrong), TLY_BAD_PAYLOAD);
    assert_int_equal(tly_ormap_remove(map, key_of("m:a")), TLY_NOT_FOUND);
    assert_unchanged(before);
    large.bytes.n--;
    assert_int_equal(tly_ormap_put(map, key_of("l:a"), &large), TLY_OK);
    assert_int_equal(read_now("l:a").bytes.n, TLY_LWW_BYTES_MAX);
}

static void a_remove_wants_something_to_remove(void **state)
{
    assert_int_equal(put_max("m:a", 1, 1), TLY_OK);
    assert_int_equal(tly_ormap_remove(map, key_of("m:a")), TLY_OK);
    assert_false(read_now("m:a").present);
    struct trace before = trace_of();
    assert_int_equal(tly_ormap_remove(map, key_of("m:a")), TLY_NOT_FOUND);
    assert_unchanged(before);
}

static void a_value_may_be_written_again_from_where_it_stands(void **state)
{
    assert_int_equal(put_text("l:a", "a value that has a block of its own"), TLY_OK);
    for (uint64_t deadline = 1000; deadline < 1010; deadline++) {
        size_t count;
        struct tly_dot again = *world_dots(map, key_of("l:a"), &count);
        again.num[0] = deadline;
        assert_int_equal(tly_ormap_put(map, key_of("l:a"), &again), TLY_OK);
    }
    assert_int_equal(dots_of("l:a"), 1);
    assert_true(
        tly_slice_equal(read_now("l:a").bytes, tly_slice_text("a value that has a block of its own")));
}

static void at_the_end_of_the_clock_every_write_is_refused(void **state)
{
    world_hit(map, key_of("s:a"), (struct tly_hit){.window = 1000, .epoch = 1, .units = 1});
    tly_clock_observe(tly_ormap_clock(map), TLY_CLOCK_LAST - 1);
    assert_int_equal(put_max("m:a", 1, 1), TLY_OK);
    struct trace before = trace_of();
    assert_int_equal(put_max("m:a", 2, 1), TLY_CLOCK_END);
    assert_int_equal(put_max("m:b", 2, 1), TLY_CLOCK_END);
    assert_int_equal(tly_ormap_remove(map, key_of("m:a")), TLY_CLOCK_END);
    assert_int_equal(tly_ormap_seal(map), TLY_CLOCK_END);
    assert_unchanged(before);
    assert_true(tly_ormap_is_unsealed(map));
    world_hit(map, key_of("s:a"), (struct tly_hit){.window = 1000, .epoch = 1, .units = 1});
    assert_int_equal(world_read(map, key_of("s:a"), (struct tly_moment){.window = 1000, .epoch = 1}).count,
                     2);
    /* The world's end hands rounds: let there be nothing to seal. */
    tly_ormap_clock(map)->last = TLY_CLOCK_LAST - 1;
}

/* Law EM4 */
static void the_65th_local_point_of_a_frontier_is_refused(void **state)
{
    for (int i = 0; i < TLY_FRONTIER_MAX; i++)
        assert_int_equal(put_max("m:a", 100, -i), TLY_OK);
    assert_int_equal(dots_of("m:a"), TLY_FRONTIER_MAX);
    struct trace before = trace_of();
    assert_int_equal(put_max("m:a", 0, 0), TLY_FRONTIER_FULL);
    assert_unchanged(before);
    /* One that takes another's place fits, a higher one always does, and so does a REMOVE. */
    assert_int_equal(put_max("m:a", 100, 1 - TLY_FRONTIER_MAX), TLY_OK);
    assert_int_equal(dots_of("m:a"), TLY_FRONTIER_MAX);
    assert_int_equal(tly_ormap_remove(map, key_of("m:a")), TLY_OK);
    assert_int_equal(put_max("m:a", 0, 0), TLY_OK);
    assert_int_equal(dots_of("m:a"), 2);
}

/* Law EM4 */
static void a_longer_frontier_from_a_peer_is_taken_whole(void **state)
{
    for (uint64_t i = 0; i < 65; i++)
        assert_int_equal(apply("m:a", put_of(10 + i, 5, 100, 1000 - i)), TLY_APPLIED);
    assert_int_equal(dots_of("m:a"), 65);
    assert_int_equal(tly_ormap_overlong(map), 1);
    assert_true(read_now("m:a").epoch == 100 && read_now("m:a").count == 1000);
    assert_int_equal(put_max("m:a", 0, 0), TLY_FRONTIER_FULL);
    assert_int_equal(put_max("m:a", 101, 0), TLY_OK);
    assert_int_equal(dots_of("m:a"), 1);
}

/* ---- keys, lives, marks ---- */

static void as_many_keys_as_may_be_and_no_more(void **state)
{
    struct tly_ormap_config config = {.mem = world.mem, .registry = world.registry, .keys_max = 3};
    config.clock = tly_clock_of(0, (struct tly_time){1, 0}, TLY_MAX_SKEW_NS);
    struct tly_ormap *before = map;
    map = tly_ormap_new(&config);
    assert_int_equal(tly_ormap_begin_life(map, 1), TLY_OK);
    assert_int_equal(put_max("m:a", 1, 1), TLY_OK);
    assert_int_equal(put_max("m:b", 1, 1), TLY_OK);
    assert_int_equal(apply("m:c", put_of(1, 5, 1, 1)), TLY_APPLIED);
    struct tly_dot dot = put_of(2, 5, 1, 1);
    struct trace trace = trace_of();
    enum tly_outcome outcome;
    assert_int_equal(put_max("m:d", 1, 1), TLY_FULL);
    assert_int_equal(tly_ormap_apply(map, key_of("m:d"), &dot, &outcome), TLY_FULL);
    assert_unchanged(trace);
    assert_int_equal(put_max("m:a", 2, 1), TLY_OK);
    tly_ormap_free(map);
    map = before;
}

static void lives_are_bounded_and_numbered_as_they_came(void **state)
{
    for (uint64_t i = 1; i < TLY_ORIGINS_MAX; i++) {
        uint64_t origin = i * UINT64_C(0x9e3779b97f4a7c15) | 2;
        assert_int_equal(tly_ormap_raise_mark(map, origin, i), TLY_OK);
        assert_int_equal(tly_ormap_lives(map), i + 1);
        assert_true(tly_ormap_life(map, i).origin == origin && tly_ormap_life(map, i).mark == i);
    }
    for (uint64_t i = 1; i < TLY_ORIGINS_MAX; i++)
        assert_int_equal(tly_ormap_mark(map, i * UINT64_C(0x9e3779b97f4a7c15) | 2), i);
    struct trace before = trace_of();
    struct tly_dot dot = put_of(50, 4, 1, 1);
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_raise_mark(map, 4, 1), TLY_FULL);
    assert_int_equal(tly_ormap_begin_life(map, 4), TLY_FULL);
    assert_int_equal(tly_ormap_apply(map, key_of("m:a"), &dot, &outcome), TLY_FULL);
    assert_unchanged(before);
    assert_int_equal(tly_ormap_mark(map, 4), 0);
    assert_int_equal(tly_ormap_origin(map), 1);
}

static void marks_only_rise(void **state)
{
    assert_int_equal(tly_ormap_raise_mark(map, 5, 100), TLY_OK);
    assert_int_equal(tly_ormap_raise_mark(map, 5, 50), TLY_OK);
    assert_int_equal(tly_ormap_mark(map, 5), 100);
    /* The own mark may run with the clock: the next version is above it. */
    assert_int_equal(tly_ormap_raise_mark(map, 1, 900), TLY_OK);
    assert_int_equal(put_max("m:a", 1, 1), TLY_OK);
    assert_int_equal(tly_ormap_mark(map, 1), 901);
    struct tly_life life = tly_ormap_life(map, 0);
    assert_true(life.origin == 1 && life.mark == 901 && life.last == 901);
}

static void the_newest_record_of_a_life_is_known_in_any_order(void **state)
{
    (void)apply("m:a", put_of(30, 5, 3, 1));
    (void)apply("m:b", put_of(20, 5, 2, 1));
    (void)apply("l:a", put_of(25, 5, 0, 0));
    assert_int_equal(tly_ormap_life(map, 1).last, 30);
    (void)tly_scan_of(map, 1, 0);
    assert_int_equal(tly_ormap_life(map, 1).last, 30);
    assert_int_equal(tly_ormap_life(map, 0).last, 0);
}

/* By the long way. */
static size_t scanned_after(size_t life, uint64_t ts)
{
    struct tly_scan scan = tly_scan_of(map, life, ts);
    struct tly_scanned scanned;
    size_t count = 0;
    while (tly_scan_next(map, &scan, &scanned))
        count++;
    return count;
}

static void as_many_are_newer_as_a_scan_would_yield(void **state)
{
    assert_int_equal(tly_ormap_newer(map, 0, 0), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "m:%d", (int)(i * 7919 % 600)); /* later ones replace some */
        (void)world_apply(map, key_of(key),
                          &(struct tly_dot){.version = {100 + i * 617 % 1000, 5}, .num = {i, 1}});
    }
    tly_ormap_check(map);
    for (uint64_t ts = 0; ts < 1110; ts++)
        assert_int_equal(tly_ormap_newer(map, 1, ts), scanned_after(1, ts));
    assert_in_range(scanned_after(1, 600), 200, 400);
}

/* What is counted into after it was handed over has the record that it had. */
static void what_is_not_sealed_counts_as_it_did(void **state)
{
    world_hit(map, key_of("s:a"), (struct tly_hit){.units = 1});
    world_hit(map, key_of("s:b"), (struct tly_hit){.units = 1});
    assert_int_equal(tly_ormap_newer(map, 0, 0), 0);
    assert_int_equal(tly_ormap_seal(map), TLY_OK);
    assert_int_equal(tly_ormap_newer(map, 0, 0), 2);
    world_hit(map, key_of("s:a"), (struct tly_hit){.units = 1});
    assert_int_equal(tly_ormap_newer(map, 0, 0), 2);
    assert_int_equal(tly_ormap_seal(map), TLY_OK);
    assert_int_equal(tly_ormap_newer(map, 0, 0), 2);
}

/* ---- walks and sweeps ---- */

static bool is_odd(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *put)
{
    size_t *asked = context;
    ++*asked;
    return put->op == TLY_PUT && put->num[0] % 2 == 1;
}

static void fill(size_t keys)
{
    for (size_t i = 0; i < keys; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "m:%zu", i);
        assert_int_equal(put_max(key, i, 0), TLY_OK);
    }
}

/* Law M5 */
static void a_walk_meets_every_entry_once(void **state)
{
    fill(300);
    uint64_t epochs = 0;
    size_t met = 0, cursor = 0;
    for (struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL; met++) {
        struct tly_value value;
        tly_entry_read(map, entry, &(struct tly_moment){0}, &value);
        epochs += value.epoch;
        assert_ptr_equal(tly_ormap_find(map, tly_entry_key(entry)), entry);
    }
    assert_int_equal(met, 300);
    assert_int_equal(epochs, 300 * 299 / 2);
}

static void a_sweep_drops_what_is_gone_within_its_budget(void **state)
{
    fill(300);
    assert_int_equal(tly_ormap_remove(map, key_of("m:0")), TLY_OK);
    size_t cursor = 0, asked = 0, dropped = 0, turns = 0;
    do {
        size_t before = asked;
        dropped += tly_ormap_sweep(map, &cursor, 7, is_odd, &asked);
        assert_true(asked - before <= 7);
        tly_ormap_check(map);
        turns++;
    } while (cursor != 0);
    assert_int_equal(turns, 43);
    assert_int_equal(asked, 299); /* a REMOVE is not asked about */
    assert_int_equal(dropped, 150);
    assert_int_equal(tly_ormap_count(map), 150);
    assert_int_equal(tly_ormap_log_size(map), 150);
    /* What was dropped can be written again, in the places that became free. */
    fill(300);
    assert_int_equal(tly_ormap_count(map), 300);
    tly_ormap_check(map);
}

static void an_entry_that_was_needed_in_vain_is_tidied(void **state)
{
    struct tly_entry *entry;
    assert_int_equal(tly_ormap_need(map, key_of("s:a"), &entry), TLY_OK);
    assert_int_equal(tly_ormap_count(map), 1);
    tly_ormap_tidy(map, entry);
    assert_int_equal(tly_ormap_count(map), 0);
    assert_null(tly_ormap_find(map, key_of("s:a")));
    tly_ormap_check(map);
    world_hit(map, key_of("s:a"), (struct tly_hit){.window = 7, .units = 1});
    assert_int_equal(tly_ormap_need(map, key_of("s:a"), &entry), TLY_OK);
    tly_ormap_tidy(map, entry);
    assert_int_equal(tly_ormap_count(map), 1);
}

static void bytes_in_use_return_to_what_they_were(void **state)
{
    struct tly_ormap *other = world_map(&world.mem, world.registry, 8);
    size_t bytes = tly_ormap_bytes(other), live = test_mem_live();
    assert_true(bytes > 0);
    struct tly_entry *entry;
    assert_int_equal(tly_ormap_need(other, key_of("l:a"), &entry), TLY_OK);
    assert_int_equal(test_mem_live() - live, tly_ormap_bytes(other) - bytes);
    tly_ormap_free(other);
    assert_int_equal(test_mem_live(), live - bytes);
    tly_ormap_free(NULL);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(a_put_older_than_a_remove_stays_dead),
        scene(an_equal_value_with_an_older_version_changes_no_byte),
        scene(a_stale_dot_is_dropped_and_leaves_no_trace),
        scene(a_dot_of_the_own_life_from_elsewhere_is_forged),
        scene(a_malformed_dot_leaves_no_trace),
        scene(a_dot_moves_the_clock_once),
        scene(a_write_after_learning_wins),
        scene(a_version_or_a_generation_beyond_the_horizon_is_not_admitted),
        scene(forged_dots_of_one_version_are_one_state_in_both_orders),
        scene(what_has_no_strategy_or_a_bad_key_leaves_no_byte),
        scene(a_refused_write_changes_nothing),
        scene(a_remove_wants_something_to_remove),
        scene(a_value_may_be_written_again_from_where_it_stands),
        scene(at_the_end_of_the_clock_every_write_is_refused),
        scene(the_65th_local_point_of_a_frontier_is_refused),
        scene(a_longer_frontier_from_a_peer_is_taken_whole),
        scene(as_many_keys_as_may_be_and_no_more),
        scene(lives_are_bounded_and_numbered_as_they_came),
        scene(marks_only_rise),
        scene(the_newest_record_of_a_life_is_known_in_any_order),
        scene(as_many_are_newer_as_a_scan_would_yield),
        scene(what_is_not_sealed_counts_as_it_did),
        scene(a_walk_meets_every_entry_once),
        scene(a_sweep_drops_what_is_gone_within_its_budget),
        scene(an_entry_that_was_needed_in_vain_is_tidied),
        scene(bytes_in_use_return_to_what_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
