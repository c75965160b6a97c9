#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "tests/wire/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define T UINT64_C(1700000000000000000)
#define WINDOW 60000
#define EPOCH (T / 1000000 / WINDOW)
#define ROUND (TLY_PART_FIRST | TLY_PART_LAST)
#define MANY 3000

struct bench {
    struct link link;
    struct dot dots[MANY];
    char keys[MANY][32];
    uint8_t value[TLY_LWW_BYTES_MAX];
};

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return -1;
    link_init(&bench->link, &mem, NULL);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    link_fini(&bench->link, true);
    free(bench);
    return test_mem_live() == 0 ? 0 : -1;
}

/* One of every strategy and op; words at the ends of their ranges; versions that go up, down and around. */
static const struct dot some_dots[] = {
    {"kv:a", tly_lww, {{T, 11}, TLY_PUT, {0}, {(const uint8_t *)"value", 5}}},
    {"kv:b", tly_lww, {{T + 1, 11}, TLY_PUT, {UINT64_MAX}, {NULL, 0}}},
    {"kv:c", tly_lww, {{T + 2, 12}, TLY_REMOVE, {0}, {NULL, 0}}},
    {"m:1", tly_epoch_max, {{T - 100, 12}, TLY_PUT, {UINT64_MAX, (uint64_t)INT64_MIN}, {NULL, 0}}},
    {"m:2", tly_epoch_max, {{UINT64_MAX, 13}, TLY_PUT, {0, (uint64_t)INT64_MAX}, {NULL, 0}}},
    {"m:2", tly_epoch_max, {{7, 13}, TLY_PUT, {5, 6}, {NULL, 0}}},
    {"m:2", tly_epoch_max, {{7, 13}, TLY_REMOVE, {0}, {NULL, 0}}},
    {"m:3", tly_epoch_max, {{1, 13}, TLY_REMOVE, {0}, {NULL, 0}}},
    {"c:1", tly_epoch_sum, {{T, 11}, TLY_PUT, {60000, 28333333, (uint64_t)-1, 7}, {NULL, 0}}},
    {"c:1", tly_epoch_sum, {{T, 11}, TLY_PUT, {1000, 28333333, 0, 0}, {NULL, 0}}},
    {"c:2", tly_epoch_sum, {{T, UINT64_MAX}, TLY_PUT, {0, T, 5, (uint64_t)INT64_MIN}, {NULL, 0}}},
    {"c:1", tly_epoch_sum, {{T + 5, 12}, TLY_PUT, {UINT64_MAX, UINT64_MAX, 0, UINT64_MAX}, {NULL, 0}}},
};

#define SOME (sizeof some_dots / sizeof some_dots[0])

static struct dot counter(const char *key, uint64_t ts, uint64_t epoch, uint64_t count)
{
    return (struct dot){key, tly_epoch_sum, {{ts, 11}, TLY_PUT, {WINDOW, epoch, count, 0}, {NULL, 0}}};
}

/* `count` counters of their own keys, sealed one after the other from `ts` on. */
static void make_counters(struct bench *bench, size_t count, uint64_t ts)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(bench->keys[i], sizeof bench->keys[i], "rl:%05zu:/search", i);
        bench->dots[i] = counter(bench->keys[i], ts + i, EPOCH, 1 + i % 7);
    }
}

static void grow_counters(struct bench *bench, size_t count, uint64_t ts)
{
    for (size_t i = 0; i < count; i++) {
        bench->dots[i].dot.version.ts = ts + i;
        bench->dots[i].dot.num[2] += 1 + i % 3;
    }
}

static size_t pass_round(struct bench *bench, size_t count)
{
    struct tly_mark end = {11, count > 0 ? bench->dots[count - 1].dot.version.ts : T};
    struct tly_part_head head = {.flags = ROUND, .end = {&end, 1}};
    return link_pass(&bench->link, bench->dots, count, &head);
}

/* Who fills a part up to so many bytes goes by what it is thought to take; a key of many windows takes far more than its rows seem to. */
static void what_a_part_takes_is_nearly_known_beforehand(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < MANY / 3; i++) {
        uint64_t window = 3600000 + test_rng_below(&rng, 1000000000);
        bench->dots[i] = counter("rl:many", T + i, T / 1000000 / window, 1);
        bench->dots[i].dot.num[0] = window;
    }
    (void)pass_round(bench, 1); /* the key is in the table now */
    size_t bytes = pass_round(bench, MANY / 3);
    assert_in_range(tly_parts_bytes(bench->link.putting), bytes / 4 * 3, bytes * 2);
}

static const struct tly_part_head middle = {0};

/* ---- claims: there and back ---- */

static void dots_of_all_kinds_come_back_as_they_were(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < 3; i++)
        link_pass(&bench->link, some_dots, SOME, &middle);
    for (size_t i = 0; i < SOME; i++)
        link_pass(&bench->link, &some_dots[SOME - 1 - i], 1, &middle);
}

static void rows_come_in_the_order_of_their_numbers(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 100, T);
    pass_round(bench, 100);
    struct dot shuffled[100];
    memcpy(shuffled, bench->dots, sizeof shuffled);
    struct test_rng rng = test_rng_of(test_seed_first());
    test_rng_shuffle(&rng, shuffled, 100, sizeof shuffled[0]);
    link_pass(&bench->link, shuffled, 100, &middle);
    for (size_t i = 0; i < 100; i++)
        assert_true(tly_slice_equal(bench->link.part.rows[i].key, tly_slice_text(bench->keys[i])));
}

static void without_a_key_to_hash_by_rows_say_no_hash(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct tly_parts *plain = tly_parts_new(&mem);
    struct tly_part part;
    make_counters(bench, 10, T);
    struct tly_slice body = link_put(&bench->link, bench->dots, 10, &middle);
    assert_int_equal(tly_parts_get(plain, bench->link.in, body, &part), TLY_OK);
    assert_int_equal(part.row_count, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(part.rows[i].hash, 0);
    tly_parts_free(plain);
}

static void many_rows_are_listed_by_age_however_far_apart(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (unsigned bits = 1; bits <= 63; bits += 2) {
        size_t count = 1 + (size_t)test_rng_below(&rng, 200);
        make_counters(bench, count, T);
        for (size_t i = 0; i < count; i++)
            bench->dots[i].dot.version.ts = 1 + (test_rng_next(&rng) >> (64 - bits));
        link_pass(&bench->link, bench->dots, count, &middle);
    }
}

static void a_part_without_rows_is_one(void **state)
{
    struct bench *bench = *state;
    link_pass(&bench->link, NULL, 0, &middle);
    assert_int_equal(bench->link.part.flags, TLY_PART_RESET);
    struct tly_part_head head = {.flags = ROUND};
    assert_int_equal(link_pass(&bench->link, NULL, 0, &head), 2);
    assert_int_equal(bench->link.part.flags, ROUND);
}

static void values_and_keys_are_taken_up_to_their_limits(void **state)
{
    struct bench *bench = *state;
    char key[TLY_KEY_BYTES_MAX + 1];
    memset(key, 0xe4, sizeof key - 1);
    key[sizeof key - 1] = '\0';
    memset(bench->value, 0x55, sizeof bench->value);
    struct dot dot = {
        key, tly_lww, {{UINT64_MAX, UINT64_MAX}, TLY_PUT, {UINT64_MAX}, {bench->value, TLY_LWW_BYTES_MAX}}};
    link_pass(&bench->link, &dot, 1, &middle);
    link_pass(&bench->link, &dot, 1, &middle);
}

/* Words of a few bits, wild ones, and everything between, for some keys of some lives. */
static struct dot random_dot(struct test_rng *rng, struct bench *bench, size_t i)
{
    static const struct tly_strategy *(*const strategies[])(void) = {tly_lww, tly_epoch_max, tly_epoch_sum};
    struct dot dot = {bench->keys[i], strategies[test_rng_below(rng, 3)], {{0}, TLY_PUT, {0}, {NULL, 0}}};
    snprintf(bench->keys[i], sizeof bench->keys[i], "k:%d:%x", (int)test_rng_below(rng, 20),
             (unsigned)test_rng_below(rng, 50));
    unsigned wild = test_rng_chance(rng, 20) ? 0 : 56;
    dot.dot.version.ts = 1 + (test_rng_next(rng) >> test_rng_below(rng, 64)) / 2;
    dot.dot.version.origin = 1 + test_rng_below(rng, 5);
    dot.dot.op = test_rng_chance(rng, 10) ? TLY_REMOVE : TLY_PUT;
    if (dot.dot.op == TLY_REMOVE) return dot;
    for (size_t j = 0; j < dot.strategy()->nums; j++)
        dot.dot.num[j] = (test_rng_next(rng) >> wild) >> test_rng_below(rng, 8);
    if (dot.strategy()->has_bytes)
        dot.dot.bytes = tly_slice_of(bench->value, (size_t)test_rng_below(rng, 40));
    return dot;
}

static void random_parts_come_back_on_streams_that_share_their_names(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_names *names = link_names(&mem, 300); /* too few for all keys */
    struct link links[3];
    for (size_t i = 0; i < 3; i++)
        link_init(&links[i], &mem, names);
    for (size_t round = 0; round < 1500; round++) {
        struct link *link = &links[test_rng_below(&rng, 3)];
        size_t count = (size_t)test_rng_below(&rng, 30);
        for (size_t i = 0; i < count; i++)
            bench->dots[i] = random_dot(&rng, bench, i);
        if (test_rng_chance(&rng, 1)) tly_stream_reset(link->out);
        struct tly_part_head head = {.flags = (unsigned)test_rng_below(&rng, 4)};
        link_pass(link, bench->dots, count, &head);
    }
    tly_names_check(names);
    assert_int_equal(tly_names_count(names), 300);
    for (size_t i = 0; i < 3; i++)
        link_fini(&links[i], false);
    tly_names_free(names);
}

static void the_same_dots_after_the_same_past_are_the_same_bytes(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct link other;
    link_init(&other, &mem, NULL);
    make_counters(bench, 500, T);
    for (size_t i = 0; i < 3; i++) {
        struct tly_slice one = link_put(&bench->link, bench->dots, 500, &middle);
        struct tly_slice two = link_put(&other, bench->dots, 500, &middle);
        assert_true(tly_slice_equal(one, two));
        grow_counters(bench, 500, T + 1000 * (i + 1));
    }
    link_fini(&other, true);
}

/* ---- claims: what is usual costs little ---- */

static void a_counter_that_grew_costs_a_byte(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 1000, T);
    size_t first = pass_round(bench, 1000);
    grow_counters(bench, 1000, T + 10000000);
    size_t steady = pass_round(bench, 1000);
    assert_in_range(first, 1000, 6000);
    assert_in_range(steady, 100, 1000);
}

static void a_window_that_ends_costs_no_more(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 1000, T);
    pass_round(bench, 1000);
    grow_counters(bench, 1000, T + 10000000);
    for (size_t i = 0; i < 1000; i++) {
        bench->dots[i].dot.num[3] = bench->dots[i].dot.num[2] - (1 + i % 3); /* what the window before had */
        bench->dots[i].dot.num[2] = 1 + i % 2;
        bench->dots[i].dot.num[1]++;
    }
    assert_in_range(pass_round(bench, 1000), 100, 1000);
}

/* A bucket's aux is a moment shortly before or after its ts. */
static void the_moments_of_buckets_cost_what_lies_between_them_and_the_flush(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    make_counters(bench, 1000, T);
    size_t bytes = 0;
    for (size_t round = 0; round < 3; round++) {
        grow_counters(bench, 1000, T + round * UINT64_C(60000000000));
        for (size_t i = 0; i < 1000; i++) {
            uint64_t ts = bench->dots[i].dot.version.ts;
            bench->dots[i].dot.num[0] = 0;
            bench->dots[i].dot.num[3] = ts - 5000000 + test_rng_below(&rng, 10000000); /* 23 bits of news */
        }
        bytes = pass_round(bench, 1000);
    }
    assert_in_range(bytes, 2900, 3600);
}

static void a_steady_round_of_one_row_has_at_most_nine_bytes(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 1000, T);
    pass_round(bench, 1000);
    size_t bytes = 0;
    for (size_t i = 0; i < 100; i++) {
        struct dot dot = bench->dots[i * 7];
        dot.dot.version.ts = T + (i + 1) * 10000000 + i * 12345;
        dot.dot.num[2]++;
        struct tly_mark end = {11, dot.dot.version.ts};
        struct tly_part_head head = {.flags = ROUND, .end = {&end, 1}};
        bytes += link_pass(&bench->link, &dot, 1, &head);
    }
    assert_in_range(bytes, 400, 900);
}

/* ---- claims: marks ---- */

static void assert_marks(struct tly_mark_list list, const struct tly_mark *expected, size_t count)
{
    assert_int_equal(list.count, count);
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (j < count && list.marks[j].origin != expected[i].origin)
            j++;
        assert_true(j < count && list.marks[j].ts == expected[i].ts);
    }
}

static void marks_come_back_as_they_were(void **state)
{
    struct bench *bench = *state;
    static const struct tly_mark start[] = {{11, T - 5}, {12, 3}, {14, UINT64_MAX}};
    static const struct tly_mark end[] = {{12, T + 9}, {11, T + 5}, {13, UINT64_MAX}};
    struct tly_part_head head = {.flags = ROUND | TLY_PART_START, .start = {start, 3}, .end = {end, 3}};
    link_pass(&bench->link, some_dots, SOME, &head);
    assert_marks(bench->link.part.start, start, 3);
    assert_marks(bench->link.part.end, end, 3);
    head.flags = ROUND;
    link_pass(&bench->link, NULL, 0, &head);
    assert_marks(bench->link.part.end, end, 0); /* they are where they were */
}

static void what_is_told_comes_back_and_is_cheap_the_second_time(void **state)
{
    struct bench *bench = *state;
    struct tly_mark told[] = {{21, T}, {22, T + 1000000}};
    struct tly_part_head head = {.told = {told, 2}};
    link_pass(&bench->link, NULL, 0, &head);
    assert_marks(bench->link.part.told, told, 2);
    for (size_t i = 1; i < 20; i++) {
        told[0].ts += 100000000 + i * 1000;
        head.told.count = 1;
        size_t bytes = link_pass(&bench->link, NULL, 0, &head);
        assert_marks(bench->link.part.told, told, 1);
        if (i > 10) assert_in_range(bytes, 4, 6);
    }
    assert_int_equal(bench->link.part.end.count, 0);
}

static void a_life_whose_mark_did_not_move_has_none(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 10, T);
    struct tly_mark end = {12, 5};
    struct tly_part_head head = {.flags = ROUND, .end = {&end, 1}};
    link_pass(&bench->link, bench->dots, 10, &head);
    assert_marks(bench->link.part.end, &end, 1);
}

static void a_mark_at_the_last_row_is_free(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 10, T);
    pass_round(bench, 10);
    grow_counters(bench, 10, T + 100);
    size_t implied = pass_round(bench, 10);
    assert_marks(bench->link.part.end, &(struct tly_mark){11, T + 109}, 1);
    grow_counters(bench, 10, T + 200);
    struct tly_mark end = {11, T + 1000};
    struct tly_part_head head = {.flags = ROUND, .end = {&end, 1}};
    assert_in_range(link_pass(&bench->link, bench->dots, 10, &head), implied + 1, implied + 5);
    assert_marks(bench->link.part.end, &end, 1);
}

static void the_marks_of_a_long_round_are_those_of_all_its_parts(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 20, T);
    struct tly_part_head head = {.flags = TLY_PART_FIRST};
    link_pass(&bench->link, bench->dots, 10, &head);
    head.flags = 0;
    link_pass(&bench->link, some_dots, 3, &head);
    struct tly_mark end[] = {{11, T + 9}, {12, T + 2}};
    head = (struct tly_part_head){.flags = TLY_PART_LAST, .end = {end, 2}};
    link_pass(&bench->link, NULL, 0, &head);
    assert_marks(bench->link.part.end, end, 2);
}

static void more_marks_than_one_list_may_have_are_not_written(void **state)
{
    struct bench *bench = *state;
    static struct tly_mark marks[TLY_STREAM_MARKS_MAX + 1];
    for (size_t i = 0; i <= TLY_STREAM_MARKS_MAX; i++)
        marks[i] = (struct tly_mark){UINT64_MAX - i, UINT64_MAX - i * 12345678901};
    struct tly_part_head head = {.flags = ROUND | TLY_PART_START,
                                 .start = {marks, TLY_STREAM_MARKS_MAX},
                                 .end = {marks, TLY_STREAM_MARKS_MAX}};
    link_pass(&bench->link, NULL, 0, &head);
    assert_marks(bench->link.part.end, marks, TLY_STREAM_MARKS_MAX);
    head.end.count++;
    link_put(&bench->link, NULL, 0, &head);
    assert_int_equal(bench->link.body.result, TLY_TOO_LARGE);
}

/* ---- claims: what is full ---- */

static void a_part_takes_4096_rows(void **state)
{
    struct bench *bench = *state;
    struct dot dot = counter("k", T, EPOCH, 1);
    link_pass(&bench->link, &dot, 1, &middle);
    tly_parts_begin(bench->link.putting, bench->link.out, bench->link.names);
    size_t rows = 0;
    while (tly_parts_add(bench->link.putting, tly_slice_text("k"), dot.strategy(), &dot.dot))
        rows++;
    assert_int_equal(rows, TLY_PART_ROWS_MAX);
    tly_buf_clear(&bench->link.body);
    tly_parts_end(bench->link.putting, &middle, &bench->link.body);
    assert_int_equal(link_get(&bench->link, tly_buf_slice(&bench->link.body)), TLY_OK);
    assert_int_equal(bench->link.part.row_count, TLY_PART_ROWS_MAX);
}

/* Every word and every key as bad as can be, after a past that taught the codes the worst. */
static void the_worst_part_fits_into_a_frame(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (int turn = 0; turn < 6; turn++) {
        size_t rows = 0;
        bool more = true;
        tly_buf_clear(&bench->link.body);
        tly_parts_begin(bench->link.putting, bench->link.out, bench->link.names);
        for (; more; rows += more) {
            struct tly_dot dot = {
                {test_rng_next(&rng) | 1, 1 + test_rng_next(&rng) % 4000}, TLY_PUT, {0}, {NULL, 0}};
            char key[TLY_KEY_BYTES_MAX];
            for (size_t i = 0; i < sizeof key; i++)
                key[i] = ":|.-"[test_rng_below(&rng, 4)];
            for (size_t i = 0; i < 4; i++)
                dot.num[i] = turn < 4 ? test_rng_next(&rng) : test_rng_below(&rng, 2) << 31;
            size_t n = turn % 2 == 0 ? 8 : sizeof key;
            char *kept = malloc(n);
            assert_non_null(kept);
            memcpy(kept, key, n);
            more = tly_parts_add(bench->link.putting, tly_slice_of(kept, n), tly_epoch_sum(), &dot);
            bench->dots[rows % MANY].key = NULL;
            if (!more)
                free(kept);
            else
                bench->dots[rows % MANY].key = kept;
        }
        assert_in_range(rows, 10, MANY);
        tly_parts_end(bench->link.putting, &middle, &bench->link.body);
        assert_int_equal(bench->link.body.result, TLY_OK);
        assert_int_equal(link_get(&bench->link, tly_buf_slice(&bench->link.body)), TLY_OK);
        assert_int_equal(bench->link.part.row_count, rows);
        for (size_t i = 0; i < rows; i++)
            free((void *)(uintptr_t)bench->dots[i].key);
    }
}

static void a_table_with_too_many_bytes_of_keys_is_emptied(void **state)
{
    struct bench *bench = *state;
    char key[TLY_KEY_BYTES_MAX + 1];
    memset(key, 'k', TLY_KEY_BYTES_MAX);
    key[TLY_KEY_BYTES_MAX] = '\0';
    size_t resets = 0;
    for (int i = 0; i < 2 * (int)(TLY_NAMES_KEY_BYTES_MAX / TLY_KEY_BYTES_MAX); i++) {
        snprintf(key + TLY_KEY_BYTES_MAX - 8, 9, "%08u", (unsigned)i % 100000000u);
        struct dot dot = counter(key, T + (uint64_t)i, EPOCH, 1);
        link_pass(&bench->link, &dot, 1, &middle);
        resets += (bench->link.part.flags & TLY_PART_RESET) != 0;
        assert_true(tly_stream_bytes(bench->link.in) < 3 * TLY_NAMES_KEY_BYTES_MAX);
    }
    assert_in_range(resets, 2, 3);
}

static void a_stream_that_is_reset_before_every_part_makes_parts_that_stand_alone(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct tly_buf first;
    make_counters(bench, 300, T);
    tly_buf_init(&first, &mem, TLY_FRAME_BODY_MAX);
    for (size_t i = 0; i < 3; i++) {
        tly_stream_reset(bench->link.out);
        tly_names_clear(bench->link.names);
        struct tly_slice body = link_put(&bench->link, bench->dots, 300, &middle);
        if (i == 0) tly_buf_put(&first, body.p, body.n);
        assert_true(tly_slice_equal(body, tly_buf_slice(&first)));
        assert_int_equal(link_get(&bench->link, body), TLY_OK);
        assert_true(link_has(&bench->link, bench->dots, 300));
    }
    tly_buf_fini(&first);
}

/* ---- claims: without memory ---- */

static void put_parts(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    struct tly_names *names = link_names(mem, TLY_NAMES_MAX);
    struct tly_stream *stream = tly_stream_new(mem);
    struct tly_parts *parts = tly_parts_new(mem);
    (void)context;
    if (names == NULL || stream == NULL || parts == NULL) {
        tly_buf_fail(out, TLY_NOMEM);
    } else {
        static const struct tly_mark mark = {11, T};
        struct tly_part_head head = {.flags = ROUND | TLY_PART_START, .start = {&mark, 1}, .end = {&mark, 1}};
        tly_parts_begin(parts, stream, names);
        for (size_t i = 0; i < SOME; i++)
            if (!tly_parts_add(parts, tly_slice_text(some_dots[i].key), some_dots[i].strategy(),
                               &some_dots[i].dot))
                tly_buf_fail(out, TLY_NOMEM);
        tly_parts_end(parts, &head, out);
    }
    tly_parts_free(parts);
    tly_stream_free(stream);
    tly_names_free(names);
}

static void without_memory_no_part_is_written(void **state)
{
    each_failed_allocation(put_parts, NULL);
}

static void after_a_part_that_had_no_memory_the_stream_begins_anew(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct tly_buf small;
    tly_buf_init(&small, &mem, 8);
    make_counters(bench, 100, T);
    pass_round(bench, 100);
    tly_parts_begin(bench->link.putting, bench->link.out, bench->link.names);
    for (size_t i = 0; i < 100; i++)
        assert_true(tly_parts_add(bench->link.putting, tly_slice_text(bench->keys[i]), tly_epoch_sum(),
                                  &bench->dots[i].dot));
    tly_parts_end(bench->link.putting, &middle, &small);
    assert_int_equal(small.result, TLY_TOO_LARGE);
    tly_buf_fini(&small);
    pass_round(bench, 100);
    assert_true((bench->link.part.flags & TLY_PART_RESET) != 0);
}

static void without_memory_no_part_is_read(void **state)
{
    struct bench *bench = *state;
    static const struct tly_mark mark = {11, T};
    struct tly_part_head head = {.flags = ROUND | TLY_PART_START, .start = {&mark, 1}, .end = {&mark, 1}};
    struct tly_slice body = link_put(&bench->link, some_dots, SOME, &head);
    for (size_t n = 0;; n++) {
        struct test_failing failing = {.countdown = n};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_stream *stream = tly_stream_new(&mem);
        struct tly_parts *parts = tly_parts_new(&mem);
        struct tly_part part;
        enum tly_result result =
            stream != NULL && parts != NULL ? tly_parts_get(parts, stream, body, &part) : TLY_NOMEM;
        tly_stream_free(stream);
        tly_parts_free(parts);
        assert_int_equal(result, failing.failed ? TLY_NOMEM : TLY_OK);
        if (!failing.failed) return;
    }
}

/* ---- claims: what others may send ---- */

static bool row_is_within_bounds(const struct tly_row *row)
{
    return row->key.n >= 1 && row->key.n <= TLY_KEY_BYTES_MAX && row->dot.version.ts != 0 &&
           row->dot.version.origin != 0 && row->dot.bytes.n <= TLY_LWW_BYTES_MAX &&
           tly_strategy_by_id(row->strategy_id) != NULL && row->dot.op <= TLY_REMOVE;
}

/* A second part is read by a table that holds what the first one told. */
struct hostile {
    struct tly_stream *stream;
    struct tly_parts *parts;
    struct tly_slice first;
    bool alone; /* only prefixes: none is a part */
};

static bool is_within_bounds(struct tly_slice bytes, void *context)
{
    struct hostile *hostile = context;
    struct tly_part part;
    tly_stream_reset(hostile->stream);
    enum tly_result result = tly_parts_get(hostile->parts, hostile->stream, hostile->first, &part);
    if (result != TLY_OK) return false;
    result = tly_parts_get(hostile->parts, hostile->stream, bytes, &part);
    if (result != TLY_OK) return result == TLY_BAD_MESSAGE || result == TLY_WRONG_STRATEGY;
    for (size_t i = 0; i < part.row_count; i++)
        if (!row_is_within_bounds(&part.rows[i])) return false;
    return !hostile->alone && part.row_count <= TLY_PART_ROWS_MAX && part.end.count <= TLY_STREAM_LIVES_MAX;
}

static void hostile_init(struct hostile *hostile, struct bench *bench, struct tly_buf *first)
{
    struct tly_mem mem = test_mem();
    static const struct tly_mark marks[] = {{11, T}, {12, T + 100}};
    struct tly_part_head head = {.flags = ROUND | TLY_PART_START, .start = {marks, 1}, .end = {marks, 2}};
    tly_buf_init(first, &mem, TLY_FRAME_BODY_MAX);
    struct tly_slice body = link_put(&bench->link, some_dots, SOME, &head);
    tly_buf_put(first, body.p, body.n);
    *hostile = (struct hostile){tly_stream_new(&mem), tly_parts_new(&mem), tly_buf_slice(first), false};
}

static void hostile_fini(struct hostile *hostile, struct tly_buf *first)
{
    tly_stream_free(hostile->stream);
    tly_parts_free(hostile->parts);
    tly_buf_fini(first);
}

static struct tly_slice second_part(struct bench *bench)
{
    struct dot dots[SOME + 1];
    memcpy(dots, some_dots, sizeof some_dots);
    for (size_t i = 0; i < SOME; i++) {
        dots[i].dot.version.ts += 1000;
        if (dots[i].dot.op == TLY_PUT && dots[i].strategy()->nums > 1) dots[i].dot.num[1]++;
    }
    dots[SOME] = counter("c:new", T, EPOCH, 3);
    struct tly_mark end = {13, T + 99};
    struct tly_part_head head = {.flags = ROUND, .told = {&end, 1}, .end = {&end, 1}};
    return link_put(&bench->link, dots, SOME + 1, &head);
}

static void no_prefix_of_a_part_is_a_part(void **state)
{
    struct hostile hostile;
    struct tly_buf first;
    hostile_init(&hostile, *state, &first);
    hostile.alone = true;
    each_prefix(second_part(*state), is_within_bounds, &hostile);
    each_prefix(hostile.first, is_within_bounds, &hostile);
    hostile_fini(&hostile, &first);
}

static void a_part_with_a_bit_turned_is_within_the_bounds_or_none(void **state)
{
    struct hostile hostile;
    struct tly_buf first;
    hostile_init(&hostile, *state, &first);
    struct tly_slice second = second_part(*state);
    at_the_edge(second, is_within_bounds, &hostile);
    each_bit_flip(second, is_within_bounds, &hostile);
    each_bit_flip(hostile.first, is_within_bounds, &hostile);
    hostile_fini(&hostile, &first);
}

static void mutants_are_parts_within_the_bounds_or_none(void **state)
{
    struct hostile hostile;
    struct tly_buf first;
    hostile_init(&hostile, *state, &first);
    struct tly_slice seeds[2] = {second_part(*state), hostile.first};
    each_mutant(seeds, 2, is_within_bounds, &hostile);
    hostile_fini(&hostile, &first);
}

static void a_part_for_another_table_is_refused(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 5, T);
    link_put(&bench->link, bench->dots, 5, &middle);
    grow_counters(bench, 5, T + 100);
    struct tly_slice second = link_put(&bench->link, bench->dots, 5, &middle);
    assert_int_equal(link_get(&bench->link, second), TLY_BAD_MESSAGE);
}

static void bytes_behind_a_part_are_refused(void **state)
{
    struct bench *bench = *state;
    make_counters(bench, 5, T);
    link_put(&bench->link, bench->dots, 5, &middle);
    tly_buf_put(&bench->link.body, "", 1);
    assert_int_equal(link_get(&bench->link, tly_buf_slice(&bench->link.body)), TLY_BAD_MESSAGE);
}

static void heads_of_another_shape_are_refused(void **state)
{
    struct bench *bench = *state;
    static const struct {
        const char *hex;
        bool good;
    } bodies[] = {
        {"", false},         {"04 00", true},        {"00 00", true},     {"40 00", false},
        {"80 00", false},    {"08 00", false},       {"09 00", true},     {"10 00 00", false},
        {"10 01 00", false}, {"10 01 00 aa", false}, {"10 80 01", false}, {"10 ff ff ff 00", false},
        {"00 00 00", false}, {"00 80", false},       {"00", false},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        uint8_t bytes[16];
        if (link_get(&bench->link, from_hex(bodies[i].hex, bytes, sizeof bytes)) !=
            (bodies[i].good ? TLY_OK : TLY_BAD_MESSAGE))
            fail_msg("%s", bodies[i].hex);
    }
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(dots_of_all_kinds_come_back_as_they_were),
        test(rows_come_in_the_order_of_their_numbers),
        test(without_a_key_to_hash_by_rows_say_no_hash),
        test(many_rows_are_listed_by_age_however_far_apart),
        test(a_part_without_rows_is_one),
        test(values_and_keys_are_taken_up_to_their_limits),
        test(random_parts_come_back_on_streams_that_share_their_names),
        test(the_same_dots_after_the_same_past_are_the_same_bytes),
        test(a_counter_that_grew_costs_a_byte),
        test(a_window_that_ends_costs_no_more),
        test(the_moments_of_buckets_cost_what_lies_between_them_and_the_flush),
        test(a_steady_round_of_one_row_has_at_most_nine_bytes),
        test(marks_come_back_as_they_were),
        test(what_is_told_comes_back_and_is_cheap_the_second_time),
        test(a_life_whose_mark_did_not_move_has_none),
        test(a_mark_at_the_last_row_is_free),
        test(the_marks_of_a_long_round_are_those_of_all_its_parts),
        test(more_marks_than_one_list_may_have_are_not_written),
        test(a_part_takes_4096_rows),
        test(the_worst_part_fits_into_a_frame),
        test(a_table_with_too_many_bytes_of_keys_is_emptied),
        test(a_stream_that_is_reset_before_every_part_makes_parts_that_stand_alone),
        test(without_memory_no_part_is_written),
        test(after_a_part_that_had_no_memory_the_stream_begins_anew),
        test(without_memory_no_part_is_read),
        test(no_prefix_of_a_part_is_a_part),
        test(a_part_with_a_bit_turned_is_within_the_bounds_or_none),
        test(mutants_are_parts_within_the_bounds_or_none),
        test(a_part_for_another_table_is_refused),
        test(what_a_part_takes_is_nearly_known_beforehand),
        test(bytes_behind_a_part_are_refused),
        test(heads_of_another_shape_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
