/* Many dots at once, and what only many show: long keys, many lives, crowds of forged dots, scans among writes. */
#include "crdt/ormap_impl.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
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

#define ARRIVALS 60

/* Of every other one the hash is known. */
static size_t sample_arrivals(struct test_rng *rng, struct tly_dot *dots, struct tly_arrival *arrivals)
{
    size_t count = (size_t)test_rng_below(rng, ARRIVALS + 1);
    for (size_t i = 0; i < count; i++) {
        size_t key = (size_t)test_rng_below(rng, 6);
        dots[i] = sample_dot(rng, world_strategy(key));
        arrivals[i] = (struct tly_arrival){.key = world_key(key), .dot = &dots[i]};
        if (i % 2 == 1) arrivals[i].hash = tly_map_hash(map, arrivals[i].key);
    }
    return count;
}

static void a_batch_does_what_one_by_one_does(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 20000 : 1000;
    size_t applied = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct tly_ormap *pair[2];
        struct tly_arrival arrivals[ARRIVALS];
        struct tly_dot dots[ARRIVALS];
        for (size_t i = 0; i < 2; i++)
            pair[i] = world_map(&world.mem, world.registry, 9);
        for (size_t batch = 0; batch < 4; batch++) {
            size_t count = sample_arrivals(&rng, dots, arrivals), done;
            claim(tly_ormap_apply_batch(pair[0], arrivals, count, &done) == TLY_OK && done == count);
            for (size_t i = 0; i < count; i++) {
                claim(world_apply(pair[1], arrivals[i].key, arrivals[i].dot) == arrivals[i].outcome);
                applied += arrivals[i].outcome == TLY_APPLIED;
            }
            tly_ormap_check(pair[0]);
            claim(tly_ormap_digest(pair[0]) == tly_ormap_digest(pair[1]));
            claim(tly_ormap_clock(pair[0])->last == tly_ormap_clock(pair[1])->last);
        }
        tly_ormap_free(pair[0]);
        tly_ormap_free(pair[1]);
    }
    claim(applied > rounds * 10);
}

static struct tly_slice numbered(char text[40], char prefix, size_t i)
{
    return tly_slice_of(text, (size_t)snprintf(text, 40, "%c:a numbered name %zu", prefix, i));
}

/* Wherever memory ends, what was done is done, the rest can be done again, and the log fits what stands. */
static void a_batch_that_runs_out_of_memory_can_go_on(void **state)
{
    static char text[400][40];
    static struct tly_arrival arrivals[400];
    static struct tly_dot dots[400];
    uint64_t expected = 0;
    size_t failures = 0;
    for (size_t i = 0; i < 400; i++) {
        arrivals[i].key = numbered(text[i], "ms"[i % 2], i % 90);
        dots[i] = put_of(1000 + (i * 37) % 400, 5, 0, i % 2 ? 0 : i);
        arrivals[i].dot = &dots[i];
    }
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_ormap *other = world_map(&mem, world.registry, 9);
        failing.countdown = countdown;
        size_t done, total = 0;
        enum tly_result result = tly_ormap_apply_batch(other, arrivals, 400, &total);
        tly_ormap_check(other);
        if (result != TLY_OK) {
            claim(result == TLY_NOMEM && failing.failed);
            claim(tly_ormap_apply_batch(other, arrivals + total, 400 - total, &done) == TLY_OK);
            claim(total + done == 400);
            failures++;
        }
        tly_ormap_check(other);
        if (countdown == 0) expected = tly_ormap_digest(other);
        claim(tly_ormap_digest(other) == expected);
        tly_ormap_free(other);
        if (!failing.failed) break;
    }
    claim(failures > 20);
}

/* Law M1: chunks are joined and go while records that were looked for before still stand in those behind them. */
static void records_that_go_together_find_their_chunks(void **state)
{
    enum { KEYS = 3000, PASSES = 4 };
    static char text[KEYS][40];
    static struct tly_arrival arrivals[KEYS];
    static struct tly_dot dots[KEYS];
    static uint32_t order[KEYS];
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t done;
    for (uint32_t i = 0; i < KEYS; i++)
        order[i] = i;
    for (uint64_t pass = 0; pass < PASSES; pass++) {
        test_rng_shuffle(&rng, order, KEYS, sizeof order[0]);
        for (size_t i = 0; i < KEYS; i++) {
            arrivals[i].key = numbered(text[i], 'm', order[i]);
            dots[i] = put_of(1 + pass * KEYS + i, 5, pass, 0);
            arrivals[i].dot = &dots[i];
        }
        claim(tly_ormap_apply_batch(map, arrivals, KEYS, &done) == TLY_OK && done == KEYS);
        claim(tly_ormap_log_size(map) == KEYS);
        tly_ormap_check(map);
    }
}

static void a_full_map_ends_a_batch_where_it_is_full(void **state)
{
    struct tly_ormap_config config = {.mem = world.mem, .registry = world.registry, .keys_max = 10};
    char text[20][40];
    struct tly_arrival arrivals[20];
    struct tly_dot dots[20];
    size_t done;
    struct tly_ormap *other = tly_ormap_new(&config);
    for (size_t i = 0; i < 20; i++) {
        dots[i] = put_of(5 + i, 5, 1, 1);
        arrivals[i] = (struct tly_arrival){.key = numbered(text[i], 'm', i), .dot = &dots[i]};
    }
    assert_int_equal(tly_ormap_apply_batch(other, arrivals, 20, &done), TLY_FULL);
    assert_int_equal(done, 10);
    assert_int_equal(tly_ormap_count(other), 10);
    tly_ormap_check(other);
    tly_ormap_free(other);
}

static void a_key_on_its_way_is_as_good_as_a_key(void **state)
{
    char text[40];
    struct tly_entry *entry;
    enum tly_outcome outcome;
    struct tly_dot dot = put_of(50, 5, 1, 1);
    struct tly_seek seek = tly_seek_of(map, numbered(text, 'm', 1)),
                    bad = tly_seek_of(map, tly_slice_text("x:"));
    tly_seek_ahead(map, &seek);
    assert_null(tly_seek_find(map, &seek));
    /* What is believed of a key is what holds when it is used. */
    assert_int_equal(tly_seek_apply(map, &seek, &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_APPLIED);
    tly_seek_ahead(map, &seek);
    assert_ptr_equal(tly_seek_find(map, &seek), tly_ormap_find(map, seek.key));
    tly_seek_ahead_local(map, &seek);
    assert_ptr_equal(tly_seek_find(map, &seek), tly_ormap_find(map, seek.key));
    assert_int_equal(tly_seek_need(map, &seek, &entry), TLY_OK);
    assert_ptr_equal(entry, tly_ormap_find(map, seek.key));
    assert_int_equal(tly_seek_need(map, &bad, &entry), TLY_NO_STRATEGY);
    assert_int_equal(tly_seek_apply(map, &bad, &dot, &outcome), TLY_NO_STRATEGY);
    struct tly_seek fresh = tly_seek_of(map, numbered(text, 'm', 2));
    tly_seek_ahead(map, &fresh);
    for (uint64_t count = 7; count < 9; count++) {
        struct tly_dot own = {.op = TLY_PUT, .num = {1, count}};
        assert_int_equal(tly_seek_put(map, &fresh, &own), TLY_OK);
        struct tly_value value = {0};
        struct tly_moment at = {0};
        tly_entry_read(map, tly_ormap_find(map, fresh.key), &at, &value);
        assert_int_equal(value.count, count);
    }
    assert_int_equal(tly_seek_put(map, &bad, &dot), TLY_NO_STRATEGY);
}

/* Whatever the clock was moved on to for its version. */
static void a_put_that_is_refused_leaves_the_clock(void **state)
{
    struct tly_dot bad = {.op = TLY_PUT, .num = {1, 1, 1}};
    char text[40];
    struct tly_slice key = numbered(text, 'm', 1);
    uint64_t last = tly_ormap_clock(map)->last;
    assert_int_equal(tly_ormap_put(map, key, &bad), TLY_BAD_PAYLOAD);
    assert_true(tly_ormap_clock(map)->last == last);
    bad.num[2] = 0;
    assert_int_equal(tly_ormap_put(map, key, &bad), TLY_OK);
    assert_true(tly_ormap_clock(map)->last > last);
}

/* Keys are compared by pieces: of every length, whichever byte differs. */
static void two_keys_are_the_same_if_no_byte_differs(void **state)
{
    uint8_t a[80], b[80];
    (void)state;
    for (size_t n = 1; n <= sizeof a; n++) {
        memset(a, 'k', sizeof a);
        memset(b, 'k', sizeof b);
        if (n < sizeof a) b[n] = 'x'; /* what lies behind them is not theirs */
        assert_true(tly_bytes_equal(a, b, n) && tly_bytes_equal_old(a, b, n));
        for (size_t i = 0; i < n; i++) {
            b[i] ^= 1;
            assert_false(tly_bytes_equal(a, b, n) || tly_bytes_equal_old(a, b, n));
            b[i] ^= 1;
        }
    }
}

/* ---- what is larger than usual ---- */

struct hashed {
    uint32_t hash, number;
};

static int hashed_order(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash ? 1 : -1)
                              : (x->number > y->number) - (x->number < y->number);
}

/* Numbers of keys that share their hash with another; of so many there are some. */
static size_t crowded(uint32_t *numbers, size_t room)
{
    enum { KEYS = 300000 };
    char text[40];
    struct hashed *all = calloc(KEYS, sizeof *all);
    claim(all != NULL);
    for (uint32_t i = 0; i < KEYS; i++)
        all[i] = (struct hashed){tly_map_hash(map, numbered(text, 'm', i)), i};
    qsort(all, KEYS, sizeof *all, hashed_order);
    size_t count = 0;
    for (size_t i = 1; i < KEYS && count + 2 <= room; i++) {
        if (all[i].hash != all[i - 1].hash) continue;
        numbers[count++] = all[i - 1].number;
        numbers[count++] = all[i].number;
    }
    free(all);
    return count;
}

/* Law M5 */
static void keys_of_one_hash_are_each_found_and_walked(void **state)
{
    uint32_t numbers[40];
    char text[40];
    size_t count = crowded(numbers, 40), met = 0, cursor = 0;
    assert_true(count >= 4);
    for (size_t i = 0; i < count; i++) {
        struct tly_dot dot = {.num = {numbers[i], 0}};
        assert_int_equal(tly_ormap_put(map, numbered(text, 'm', numbers[i]), &dot), TLY_OK);
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(world_read(map, numbered(text, 'm', numbers[i]), (struct tly_moment){0}).epoch,
                         numbers[i]);
    while (tly_ormap_each(map, &cursor) != NULL)
        met++;
    assert_int_equal(met, count);
    tly_ormap_check(map);
}

/* Laws M6, M7 */
static void keys_of_every_length_keep_words_and_dots(void **state)
{
    char text[TLY_KEY_BYTES_MAX];
    memset(text, 'k', sizeof text);
    memcpy(text, "s:", 2);
    for (size_t n = 3; n <= TLY_KEY_BYTES_MAX; n += n < 250 || n > 260 ? 7 : 1) {
        struct tly_slice key = tly_slice_of(text, n);
        struct tly_entry *entry;
        world_hit(map, key, (struct tly_hit){.window = 1000, .epoch = 5, .units = (int64_t)n});
        entry = tly_ormap_find(map, key);
        assert_int_equal(tly_entry_need_local(map, &entry), TLY_OK);
        tly_entry_local(entry)[2] = n;
        world_hit(map, key, (struct tly_hit){.window = 7, .epoch = 5, .units = INT64_MAX});
        entry = tly_ormap_find(map, key);
        assert_true(tly_slice_equal(tly_entry_key(entry), key));
        assert_int_equal(tly_entry_local(entry)[2], n);
        struct tly_moment at = {.window = 1000, .epoch = 5};
        assert_int_equal(world_read(map, key, at).count, n);
    }
    assert_int_equal(tly_ormap_seal(map), TLY_OK);
    tly_ormap_check(map);
}

/* Laws M6, M7: more lives than one byte can number, more cells than a mask has bits, more bytes than are put together aside. */
static void hundreds_of_lives_count_in_one_key(void **state)
{
    struct tly_slice key = tly_slice_text("s:a");
    struct tly_moment at = {.window = 1000, .epoch = 5};
    for (uint64_t pass = 1; pass <= 2; pass++)
        for (uint64_t i = 0; i < 600; i++) {
            struct tly_dot dot =
                shard_of(pass * 1000 + i * 7 % 600, 100 + i, (uint64_t[]){1000, 5, pass * 1000, 0});
            claim(world_apply(map, key, &dot) == TLY_APPLIED);
        }
    tly_ormap_check(map);
    assert_int_equal(world_read(map, key, at).count, 600 * 2000);
    /* Of the dot with its ts the origin is higher, so that one stays. */
    struct tly_dot remove = remove_of(2300, 7);
    assert_int_equal(world_apply(map, key, &remove), TLY_APPLIED);
    tly_ormap_check(map);
    assert_int_equal(world_read(map, key, at).count, 300 * 2000);
}

/* ---- scans ---- */

/* Only a forger makes two dots of one version; were there hundreds, each would still be yielded once. */
static void a_crowd_of_one_version_is_yielded_once_each(void **state)
{
    char text[40];
    static bool met[700];
    for (size_t i = 0; i < 700; i++) {
        struct tly_dot dot = put_of(i % 3 == 0 ? 10 + i : 500, 5, 1, (uint64_t)i);
        claim(world_apply(map, numbered(text, 'm', i), &dot) == TLY_APPLIED);
    }
    tly_ormap_check(map);
    struct tly_scan scan = tly_scan_of(map, 1, 0);
    size_t yielded = 0;
    uint64_t last = 0;
    for (struct tly_scanned row; tly_scan_next(map, &scan, &row); yielded++) {
        claim(row.dot.version.ts >= last && !met[row.dot.num[1]]);
        last = row.dot.version.ts;
        met[row.dot.num[1]] = true;
    }
    assert_int_equal(yielded, 700);
}

static bool put_max(size_t i, uint64_t value)
{
    char text[40];
    struct tly_dot dot = {.num = {value, 0}};
    return tly_ormap_put(map, numbered(text, 'm', i), &dot) == TLY_OK;
}

/* Every dot that stands from the beginning to the end is yielded, once, and those that are written meanwhile follow. */
static void a_scan_goes_on_among_writes(void **state)
{
    static size_t met[1000];
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < 1000; i++)
        claim(put_max(i, 1));
    struct tly_scan scan = tly_scan_of(map, 0, 0);
    size_t yielded = 0, written = 0;
    uint64_t last = 0;
    for (struct tly_scanned row; tly_scan_next(map, &scan, &row); yielded++) {
        claim(row.dot.version.ts > last);
        last = row.dot.version.ts;
        met[strtoul((const char *)row.key.p + strlen("m:a numbered name "), NULL, 10)]++;
        if (yielded < 900 && test_rng_chance(&rng, 40)) {
            claim(put_max((size_t)test_rng_below(&rng, 1000), 2 + yielded));
            written++;
        }
    }
    tly_ormap_check(map);
    claim(written > 100 && yielded <= 1000 + written);
    for (size_t i = 0; i < 1000; i++)
        claim(met[i] > 0);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_keys_are_the_same_if_no_byte_differs),
        scene(a_batch_does_what_one_by_one_does),
        scene(a_batch_that_runs_out_of_memory_can_go_on),
        scene(records_that_go_together_find_their_chunks),
        scene(a_full_map_ends_a_batch_where_it_is_full),
        scene(a_key_on_its_way_is_as_good_as_a_key),
        scene(a_put_that_is_refused_leaves_the_clock),
        scene(keys_of_one_hash_are_each_found_and_walked),
        scene(keys_of_every_length_keep_words_and_dots),
        scene(hundreds_of_lives_count_in_one_key),
        scene(a_crowd_of_one_version_is_yielded_once_each),
        scene(a_scan_goes_on_among_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
