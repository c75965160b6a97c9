#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define T UINT64_C(1700000000000000000)

static const struct tly_mark start_marks[] = {{11, T - 5}, {12, 0}};
static const struct tly_mark end_marks[] = {{11, T + 5}, {12, T + 9}, {13, UINT64_MAX}};

struct bench {
    struct tly_round_writer writer;
    struct tly_buf out;
    struct tly_round round;
    uint8_t value[TLY_LWW_BYTES_MAX];
    struct tly_mark marks[TLY_MARKS_MAX];
};

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return -1;
    tly_round_writer_init(&bench->writer, &mem);
    tly_buf_init(&bench->out, &mem, TLY_FRAME_BODY_MAX);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    tly_round_writer_fini(&bench->writer);
    tly_buf_fini(&bench->out);
    free(bench);
    return test_mem_live() == 0 ? 0 : -1;
}

struct put {
    const char *key;
    const struct tly_strategy *(*strategy)(void);
    struct tly_dot dot;
};

/* One of every strategy and op; words at the ends of their ranges; versions that go up, down and around. */
static const struct put some_puts[] = {
    {"kv:a", tly_lww, {{T, 11}, TLY_PUT, {0}, {(const uint8_t *)"value", 5}}},
    {"kv:b", tly_lww, {{T + 1, 11}, TLY_PUT, {UINT64_MAX}, {NULL, 0}}},
    {"kv:c", tly_lww, {{T + 2, 12}, TLY_REMOVE, {0}, {NULL, 0}}},
    {"m:1", tly_epoch_max, {{T - 100, 12}, TLY_PUT, {UINT64_MAX, (uint64_t)INT64_MIN}, {NULL, 0}}},
    {"m:2", tly_epoch_max, {{UINT64_MAX, 13}, TLY_PUT, {0, (uint64_t)INT64_MAX}, {NULL, 0}}},
    {"m:3", tly_epoch_max, {{1, 13}, TLY_REMOVE, {0}, {NULL, 0}}},
    {"c:1", tly_epoch_sum, {{T, 11}, TLY_PUT, {60000, 28333333, (uint64_t)-1, 7}, {NULL, 0}}},
    {"c:2", tly_epoch_sum, {{T, UINT64_MAX}, TLY_PUT, {0, T, 5, (uint64_t)INT64_MIN}, {NULL, 0}}},
};

#define PUTS (sizeof some_puts / sizeof some_puts[0])

static bool add(struct tly_round_writer *writer, const struct put *put)
{
    return tly_round_writer_add(writer, tly_slice_text(put->key), put->strategy(), &put->dot);
}

static void finish(struct bench *bench, unsigned flags)
{
    tly_buf_clear(&bench->out);
    tly_round_writer_finish(&bench->writer, flags, (struct tly_mark_list){start_marks, 2},
                            (struct tly_mark_list){end_marks, 3}, &bench->out);
}

/* The body of one part with all of some_puts. */
static struct tly_slice some_part(struct bench *bench, unsigned flags)
{
    tly_round_writer_clear(&bench->writer);
    for (size_t i = 0; i < PUTS; i++)
        assert_true(add(&bench->writer, &some_puts[i]));
    finish(bench, flags);
    assert_int_equal(bench->out.result, TLY_OK);
    return tly_buf_slice(&bench->out);
}

static enum tly_result get_out(struct bench *bench)
{
    return tly_round_get(tly_buf_slice(&bench->out), &bench->round);
}

static void assert_marks(struct tly_marks marks, const struct tly_mark *expected, size_t count)
{
    struct tly_mark mark;
    for (size_t i = 0; i < count; i++) {
        assert_true(tly_marks_next(&marks, &mark));
        assert_true(mark.origin == expected[i].origin && mark.ts == expected[i].ts);
    }
    assert_false(tly_marks_next(&marks, &mark));
}

/* ---- claims: there and back ---- */

static void rows_come_back_as_they_were(void **state)
{
    struct bench *bench = *state;
    struct tly_row row;
    assert_int_equal(tly_round_get(some_part(bench, 3), &bench->round), TLY_OK);
    assert_int_equal(bench->round.row_count, PUTS);
    struct tly_rows rows = tly_rows_of(&bench->round);
    for (size_t i = 0; i < PUTS; i++) {
        row.hash = 1;
        assert_true(tly_rows_next(&rows, &row));
        assert_int_equal(row.hash, 0);
        assert_true(tly_slice_equal(row.key, tly_slice_text(some_puts[i].key)));
        assert_int_equal(row.strategy_id, some_puts[i].strategy()->id);
        assert_true(tly_dot_equal(&row.dot, &some_puts[i].dot));
    }
    assert_false(tly_rows_next(&rows, &row));
    assert_false(tly_rows_next(&rows, &row));
}

static void a_round_may_be_walked_again(void **state)
{
    struct bench *bench = *state;
    struct tly_row row;
    assert_int_equal(tly_round_get(some_part(bench, 3), &bench->round), TLY_OK);
    for (int i = 0; i < 2; i++) {
        struct tly_rows rows = tly_rows_of(&bench->round);
        assert_true(tly_rows_next(&rows, &row));
        assert_true(tly_slice_equal(row.key, tly_slice_text("kv:a")));
    }
}

static void each_life_is_named_once(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(tly_round_get(some_part(bench, 3), &bench->round), TLY_OK);
    assert_int_equal(bench->round.life_count, 4);
    assert_true(bench->round.lives[0] == 11 && bench->round.lives[1] == 12);
    assert_true(bench->round.lives[2] == 13 && bench->round.lives[3] == UINT64_MAX);
}

static void only_the_first_part_carries_start_marks_and_only_the_last_end_marks(void **state)
{
    struct bench *bench = *state;
    for (unsigned flags = 0; flags <= (TLY_ROUND_FIRST | TLY_ROUND_LAST); flags++) {
        assert_int_equal(tly_round_get(some_part(bench, flags), &bench->round), TLY_OK);
        assert_int_equal(bench->round.flags, flags);
        assert_marks(bench->round.start, start_marks, (flags & TLY_ROUND_FIRST) != 0 ? 2 : 0);
        assert_marks(bench->round.end, end_marks, (flags & TLY_ROUND_LAST) != 0 ? 3 : 0);
    }
}

static void a_round_without_rows_is_one(void **state)
{
    struct bench *bench = *state;
    struct tly_row row;
    tly_round_writer_finish(&bench->writer, 3, (struct tly_mark_list){NULL, 0},
                            (struct tly_mark_list){NULL, 0}, &bench->out);
    assert_int_equal(get_out(bench), TLY_OK);
    struct tly_rows rows = tly_rows_of(&bench->round);
    assert_false(tly_rows_next(&rows, &row));
    assert_int_equal(bench->out.n, 6);
}

static void versions_that_follow_each_other_cost_one_byte(void **state)
{
    struct bench *bench = *state;
    struct put put = some_puts[2];
    assert_true(add(&bench->writer, &put));
    size_t before = tly_round_writer_bytes(&bench->writer);
    put.dot.version.ts++;
    assert_true(add(&bench->writer, &put));
    assert_int_equal(tly_round_writer_bytes(&bench->writer) - before, 11);
    put.dot.version.ts -= 31;
    assert_true(add(&bench->writer, &put));
    assert_int_equal(tly_round_writer_bytes(&bench->writer) - before, 22);
}

static void a_cleared_writer_starts_anew(void **state)
{
    struct bench *bench = *state;
    struct tly_slice part = some_part(bench, 3);
    uint8_t *first = malloc(part.n);
    assert_non_null(first);
    memcpy(first, part.p, part.n);
    struct tly_slice again = some_part(bench, 3);
    assert_true(tly_slice_equal(again, tly_slice_of(first, part.n)));
    free(first);
}

static void random_rows_come_back_as_they_were(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (int i = 0; i < 300; i++) {
        struct put puts[20];
        char keys[20][16];
        tly_round_writer_clear(&bench->writer);
        for (size_t j = 0; j < 20; j++) {
            snprintf(keys[j], sizeof keys[j], "k%d", (int)test_rng_below(&rng, 1000));
            puts[j] = some_puts[test_rng_below(&rng, PUTS)];
            puts[j].key = keys[j];
            puts[j].dot.version.ts = 1 + (test_rng_next(&rng) >> test_rng_below(&rng, 64)) / 2;
            puts[j].dot.version.origin = 1 + test_rng_below(&rng, 5);
            claim(add(&bench->writer, &puts[j]));
        }
        finish(bench, 0);
        claim(get_out(bench) == TLY_OK);
        struct tly_rows rows = tly_rows_of(&bench->round);
        struct tly_row row;
        for (size_t j = 0; j < 20; j++)
            claim(tly_rows_next(&rows, &row) && tly_dot_equal(&row.dot, &puts[j].dot));
    }
}

/* ---- claims: a writer that is full ---- */

static void an_empty_writer_takes_the_largest_dot(void **state)
{
    struct bench *bench = *state;
    static const uint8_t key[TLY_KEY_BYTES_MAX];
    struct tly_row row;
    struct tly_dot dot = {{UINT64_MAX, UINT64_MAX}, TLY_PUT, {UINT64_MAX}, {bench->value, TLY_LWW_BYTES_MAX}};
    assert_true(tly_round_writer_add(&bench->writer, tly_slice_of(key, sizeof key), tly_lww(), &dot));
    finish(bench, 3);
    assert_int_equal(get_out(bench), TLY_OK);
    struct tly_rows rows = tly_rows_of(&bench->round);
    assert_true(tly_rows_next(&rows, &row));
    assert_true(tly_dot_equal(&row.dot, &dot));
    assert_int_equal(row.key.n, TLY_KEY_BYTES_MAX);
}

static void a_dot_that_does_not_fit_leaves_the_writer_as_it_was(void **state)
{
    struct bench *bench = *state;
    struct tly_dot dot = {{T, 11}, TLY_PUT, {0}, {bench->value, TLY_LWW_BYTES_MAX}};
    assert_true(tly_round_writer_add(&bench->writer, tly_slice_text("kv:1"), tly_lww(), &dot));
    size_t bytes = tly_round_writer_bytes(&bench->writer);
    dot.version = (struct tly_version){T + 1, 12};
    assert_false(tly_round_writer_add(&bench->writer, tly_slice_text("kv:2"), tly_lww(), &dot));
    assert_int_equal(bench->writer.rows.result, TLY_OK);
    assert_int_equal(tly_round_writer_bytes(&bench->writer), bytes);
    assert_true(add(&bench->writer, &some_puts[0]));
    finish(bench, 3);
    assert_int_equal(get_out(bench), TLY_OK);
    assert_int_equal(bench->round.row_count, 2);
    assert_int_equal(bench->round.life_count, 1);
}

/* Lives are named once each, beside the rows: who fills a part up to so many bytes counts them too. */
static void what_a_part_takes_is_known_beforehand(void **state)
{
    struct bench *bench = *state;
    struct put put = some_puts[3];
    for (uint64_t i = 0; i < 100; i++) {
        put.dot.version = (struct tly_version){T + i, UINT64_MAX - i};
        assert_true(add(&bench->writer, &put));
    }
    tly_round_writer_finish(&bench->writer, 0, (struct tly_mark_list){NULL, 0},
                            (struct tly_mark_list){NULL, 0}, &bench->out);
    assert_in_range(bench->out.n, 100 * 9, tly_round_writer_bytes(&bench->writer) + 16);
}

/* Fills the writer with short rows of `lives` lives until it takes no more; how many it took. */
static size_t fill(struct bench *bench, size_t lives)
{
    size_t count = 0;
    struct put put = some_puts[3];
    do
        put.dot.version = (struct tly_version){T + count % 2, UINT64_MAX - count % lives};
    while (add(&bench->writer, &put) && ++count > 0);
    return count;
}

static void more_lives_than_1024_do_not_fit(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(fill(bench, SIZE_MAX), TLY_ROUND_LIVES_MAX);
    finish(bench, 3);
    assert_int_equal(get_out(bench), TLY_OK);
    assert_int_equal(bench->round.life_count, TLY_ROUND_LIVES_MAX);
}

static void a_full_part_with_all_lives_and_marks_fits_into_a_frame(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < TLY_MARKS_MAX; i++)
        bench->marks[i] = (struct tly_mark){UINT64_MAX - i, UINT64_MAX};
    size_t rows = fill(bench, TLY_ROUND_LIVES_MAX);
    assert_true(rows > TLY_ROUND_LIVES_MAX);
    tly_round_writer_finish(&bench->writer, 3, (struct tly_mark_list){bench->marks, TLY_MARKS_MAX / 2},
                            (struct tly_mark_list){bench->marks, TLY_MARKS_MAX / 2}, &bench->out);
    assert_int_equal(bench->out.result, TLY_OK);
    assert_int_equal(get_out(bench), TLY_OK);
    assert_int_equal(bench->round.row_count, rows);
}

static void a_writer_that_had_no_memory_says_so_until_it_is_cleared(void **state)
{
    struct bench *bench = *state;
    struct test_failing failing = {0};
    struct tly_mem mem = test_failing_mem(&failing);
    struct tly_round_writer *writer = &bench->writer;
    tly_round_writer_fini(writer);
    tly_round_writer_init(writer, &mem);
    assert_false(add(writer, &some_puts[0]));
    assert_true(failing.failed);
    assert_int_equal(writer->rows.result, TLY_NOMEM);
    assert_false(add(writer, &some_puts[0]));
    finish(bench, 3);
    assert_int_equal(bench->out.result, TLY_NOMEM);
    tly_round_writer_clear(writer);
    assert_true(add(writer, &some_puts[0]));
    finish(bench, 3);
    assert_int_equal(bench->out.result, TLY_OK);
}

static void put_part(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    struct bench *bench = context;
    struct tly_round_writer *writer = &bench->writer;
    tly_round_writer_fini(writer);
    tly_round_writer_init(writer, mem);
    for (size_t i = 0; i < 20 * PUTS; i++)
        (void)add(writer, &some_puts[i % PUTS]);
    tly_round_writer_finish(writer, 3, (struct tly_mark_list){start_marks, 2},
                            (struct tly_mark_list){end_marks, 3}, out);
    tly_round_writer_fini(writer);
}

static void without_memory_no_round_is_written(void **state)
{
    each_failed_allocation(put_part, *state);
}

/* ---- claims: what others may send ---- */

/* A first and last part without marks, of the lives 11 and 12, with these rows in hex. */
static enum tly_result get_rows(struct bench *bench, size_t count, const char *rows_hex)
{
    uint8_t bytes[256];
    struct tly_slice rows = from_hex(rows_hex, bytes, sizeof bytes);
    tly_buf_clear(&bench->out);
    tly_buf_put(&bench->out, "\x95\x03\x90\x92\x0b\x0c", 6);
    tly_put_array(&bench->out, count);
    tly_buf_put(&bench->out, rows.p, rows.n);
    tly_put_array(&bench->out, 0);
    return get_out(bench);
}

static void a_row_has_exactly_what_op_and_strategy_want(void **state)
{
    static const struct {
        const char *hex;
        bool good;
    } rows[] = {
        /* lww: key, 1, life, ts, op, deadline, value */
        {"97 a1 6b 01 00 05 00 00 c4 00", true},
        {"97 c4 01 6b 01 01 05 00 00 a3 61 62 63", true},
        {"96 a1 6b 01 00 05 00 00", false},
        {"98 a1 6b 01 00 05 00 00 c4 00 00", false},
        {"97 a1 6b 01 00 05 00 ff c4 00", false},
        {"97 a1 6b 01 00 05 00 00 00", false},
        /* REMOVE: no payload, whatever the strategy */
        {"95 a1 6b 01 00 05 01", true},
        {"95 a1 6b 02 00 05 01", true},
        {"95 a1 6b 03 00 05 01", true},
        {"97 a1 6b 01 00 05 01 00 c4 00", false},
        {"96 a1 6b 02 00 05 01 00", false},
        {"96 a1 6b 02 00 05 01", false}, /* one more is promised */
        {"96 a1 6b 63 00 05 01 00", false},
        /* epoch_max: epoch, count */
        {"97 a1 6b 02 00 05 00 01 ff", true},
        {"98 a1 6b 02 00 05 00 01 ff", false},
        {"97 a1 6b 02 00 05 00 ff 01", false},
        {"97 a1 6b 02 00 05 00 01 cf 80 00 00 00 00 00 00 00", false},
        {"96 a1 6b 02 00 05 00 01", false},
        {"98 a1 6b 02 00 05 00 01 01 c4 00", false},
        /* epoch_sum: window, epoch, count, aux */
        {"99 a1 6b 03 00 05 00 01 02 ff ff", true},
        {"99 a1 6b 03 00 05 00 ff 02 03 04", false},
        {"98 a1 6b 03 00 05 00 01 02 03", false},
        {"9a a1 6b 03 00 05 00 01 02 03 04 05", false},
        /* the parts that all have */
        {"94 a1 6b 01 00 05", false},
        {"90", false},
        {"80", false},
        {"95 a0 01 00 05 01", false},       /* no key */
        {"95 05 01 00 05 01", false},       /* a key that is a number */
        {"95 a1 6b ff 00 05 01", false},    /* a strategy below 0 */
        {"95 a1 6b 01 02 05 01", false},    /* a life that is not named */
        {"95 a1 6b 01 ff 05 01", false},    /* … */
        {"95 a1 6b 01 00 00 01", false},    /* ts 0 */
        {"95 a1 6b 01 00 05 02", false},    /* no op */
        {"95 a1 6b 01 00 05 cc ff", false}, /* … */
        {"95 a1 6b 01 00 ff 01", true},     /* ts 2^64 - 1, counted down from 0 */
        {"95 a1 6b 01 00 cf ff ff ff ff ff ff ff ff 01", false},
        {"97 a1 6b 01 00 05 00 00 c6 ff ff ff ff", false},
        {"97 a1 6b 01 00 05 00 00 c6 00 01 00 01 00", false},
        {"dd 0f ff ff ff", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (get_rows(*state, 1, rows[i].hex) != (rows[i].good ? TLY_OK : TLY_BAD_MESSAGE))
            fail_msg("%s", rows[i].hex);
}

static void a_ts_that_comes_back_to_0_is_refused(void **state)
{
    assert_int_equal(get_rows(*state, 2, "95 a1 6b 01 00 05 01  95 a1 6b 01 00 fc 01"), TLY_OK);
    assert_int_equal(get_rows(*state, 2, "95 a1 6b 01 00 05 01  95 a1 6b 01 00 fb 01"), TLY_BAD_MESSAGE);
}

static void a_row_of_an_unknown_strategy_is_passed_over(void **state)
{
    struct bench *bench = *state;
    struct tly_row row;
    assert_int_equal(get_rows(bench, 3,
                              "99 a1 6b 63 01 05 00 81 01 02 c0 cb 0000000000000000 c4 01 61"
                              "95 a1 6c 63 00 01 01"
                              "95 a1 6d 01 00 01 01"),
                     TLY_OK);
    struct tly_rows rows = tly_rows_of(&bench->round);
    assert_true(tly_rows_next(&rows, &row));
    assert_int_equal(row.strategy_id, 99);
    assert_true(tly_slice_equal(row.key, tly_slice_text("k")));
    assert_true(tly_dot_equal(&row.dot, &(struct tly_dot){.version = {5, 12}, .op = TLY_PUT}));
    assert_true(tly_rows_next(&rows, &row));
    assert_true(tly_dot_equal(&row.dot, &(struct tly_dot){.version = {6, 11}, .op = TLY_REMOVE}));
    assert_true(tly_rows_next(&rows, &row));
    assert_true(tly_slice_equal(row.key, tly_slice_text("m")));
    assert_true(row.dot.version.ts == 7);
}

static void an_unknown_strategy_is_no_way_around_the_limits(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(get_rows(bench, 1, "96 a1 6b 63 00 05 00 c1"), TLY_BAD_MESSAGE);
    assert_int_equal(get_rows(bench, 1, "96 a1 6b 63 00 05 00 dd 0f ff ff ff"), TLY_BAD_MESSAGE);
    assert_int_equal(get_rows(bench, 1, "96 a1 6b 63 00 05 00 91 91 91 91 91 91 91 91 90"), TLY_BAD_MESSAGE);
    assert_int_equal(get_rows(bench, 1, "96 a1 6b 63 02 05 00 00"), TLY_BAD_MESSAGE);
    for (size_t elements = 32; elements <= 33; elements++) {
        tly_buf_clear(&bench->out);
        tly_buf_put(&bench->out, "\x95\x03\x90\x92\x0b\x0c\x91", 7);
        tly_put_array(&bench->out, elements);
        tly_buf_put(&bench->out, "\xa1k\x63\x00\x05\x00", 6);
        for (size_t i = 5; i < elements; i++)
            tly_put_uint(&bench->out, 1);
        tly_put_array(&bench->out, 0);
        assert_int_equal(get_out(bench), elements == 32 ? TLY_OK : TLY_BAD_MESSAGE);
    }
}

static void keys_and_values_are_taken_up_to_their_limits(void **state)
{
    struct bench *bench = *state;
    for (size_t more = 0; more <= 3; more++) {
        tly_buf_clear(&bench->out);
        tly_buf_put(&bench->out, "\x95\x03\x90\x91\x0b\x91\x97", 7);
        tly_put_bytes(&bench->out, tly_slice_of(bench->value, TLY_KEY_BYTES_MAX + (more & 1)));
        tly_buf_put(&bench->out, "\x01\x00\x05\x00\x00", 5);
        tly_put_bytes(&bench->out, tly_slice_of(bench->value, TLY_LWW_BYTES_MAX));
        /* The last byte of the value's length, counted up. */
        if ((more & 2) != 0) bench->out.p[bench->out.n - TLY_LWW_BYTES_MAX - 1]++;
        if ((more & 2) != 0) tly_buf_put(&bench->out, "x", 1);
        tly_put_array(&bench->out, 0);
        assert_int_equal(get_out(bench), more == 0 ? TLY_OK : TLY_BAD_MESSAGE);
    }
}

static void bodies_of_another_shape_are_refused(void **state)
{
    static const struct {
        const char *hex;
        bool good;
    } rows[] = {
        {"95 03 90 90 90 90", true},
        {"dd 00 00 00 05 d0 03 dc 00 00 90 90 90", true},
        {"95 01 92 01 01 90 90 90", true},
        {"95 02 90 90 90 92 01 01", true},
        {"95 00 92 01 01 90 90 90", false}, /* start marks in a part that is not the first */
        {"95 02 92 01 01 90 90 90", false},
        {"95 01 90 90 90 92 01 01", false}, /* end marks in one that is not the last */
        {"95 04 90 90 90 90", false},       /* a flag that nobody knows */
        {"95 ff 90 90 90 90", false},
        {"95 03 90 91 00 90 90", false}, /* origin 0 */
        {"95 03 92 00 01 90 90 90", false},
        {"95 03 91 01 90 90 90", false},
        {"94 03 90 90 90", false},
        {"94 03 90 90 90 90", false},
        {"95 03 91 90 90 90", false}, /* half a mark, which would do as the lives */
        {"96 03 90 90 90 90 90", false},
        {"95 03 90 90 90 90 00", false},
        {"95 03 90 90 91 90", false},
        {"95 03 90 90 dd ff ff ff ff 90", false}, /* 2^32 - 1 rows */
        {"95 03 90 dd 0f ff ff ff 90 90", false},
        {"95 03 dd 0f ff ff ff 90 90 90", false},
        {"95 03 90 90 90 dd 0f ff ff ff", false},
        {"dd 0f ff ff ff", false},
        {"85 03 90 90 90 90", false},
        {"c0", false},
    };
    struct bench *bench = *state;
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_slice body = from_hex(rows[i].hex, bytes, sizeof bytes);
        if (tly_round_get(body, &bench->round) != (rows[i].good ? TLY_OK : TLY_BAD_MESSAGE))
            fail_msg("%s", rows[i].hex);
    }
}

static void one_life_too_many_is_refused(void **state)
{
    struct bench *bench = *state;
    for (size_t lives = TLY_ROUND_LIVES_MAX; lives <= TLY_ROUND_LIVES_MAX + 1; lives++) {
        tly_buf_clear(&bench->out);
        tly_buf_put(&bench->out, "\x95\x03\x90", 3);
        tly_put_array(&bench->out, lives);
        for (size_t i = 1; i <= lives; i++)
            tly_put_uint(&bench->out, i);
        tly_buf_put(&bench->out, "\x90\x90", 2);
        assert_int_equal(get_out(bench), lives == TLY_ROUND_LIVES_MAX ? TLY_OK : TLY_BAD_MESSAGE);
    }
}

/* ---- claims: damage ---- */

static bool is_ok(struct tly_slice bytes, void *context)
{
    return tly_round_get(bytes, context) == TLY_OK;
}

static bool is_bad(struct tly_slice bytes, void *context)
{
    return tly_round_get(bytes, context) == TLY_BAD_MESSAGE;
}

static void no_prefix_of_a_round_is_a_round(void **state)
{
    struct bench *bench = *state;
    each_prefix(some_part(bench, 3), is_bad, &bench->round);
}

static void a_round_is_read_without_touching_what_follows(void **state)
{
    struct bench *bench = *state;
    at_the_edge(some_part(bench, 3), is_ok, &bench->round);
}

static bool row_is_within_bounds(const struct tly_row *row)
{
    return row->key.n >= 1 && row->key.n <= TLY_KEY_BYTES_MAX && row->dot.version.ts != 0 &&
           row->dot.version.origin != 0 && row->dot.bytes.n <= TLY_LWW_BYTES_MAX &&
           (row->dot.op == TLY_PUT || row->dot.op == TLY_REMOVE);
}

/* The walk of what was taken gives as many rows as it said, each within the bounds. */
static bool is_within_bounds(struct tly_slice bytes, void *context)
{
    struct tly_round *round = context;
    enum tly_result result = tly_round_get(bytes, round);
    if (result != TLY_OK) return result == TLY_BAD_MESSAGE;
    struct tly_rows rows = tly_rows_of(round);
    struct tly_row row;
    size_t left = round->row_count;
    for (; tly_rows_next(&rows, &row); left--)
        if (!row_is_within_bounds(&row)) return false;
    return left == 0 && round->life_count <= TLY_ROUND_LIVES_MAX && round->flags <= 3;
}

static void mutants_are_rounds_within_the_bounds_or_none(void **state)
{
    struct bench *bench = *state;
    uint8_t bytes[64];
    struct tly_slice seeds[2] = {
        some_part(bench, 3),
        from_hex("95 00 90 91 0b 92 97 a1 6b 01 00 05 00 00 c4 00 95 a1 6b 63 00 05 01 90", bytes,
                 sizeof bytes),
    };
    each_mutant(seeds, 2, is_within_bounds, &bench->round);
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(rows_come_back_as_they_were),
        test(a_round_may_be_walked_again),
        test(each_life_is_named_once),
        test(only_the_first_part_carries_start_marks_and_only_the_last_end_marks),
        test(a_round_without_rows_is_one),
        test(versions_that_follow_each_other_cost_one_byte),
        test(what_a_part_takes_is_known_beforehand),
        test(a_cleared_writer_starts_anew),
        test(random_rows_come_back_as_they_were),
        test(an_empty_writer_takes_the_largest_dot),
        test(a_dot_that_does_not_fit_leaves_the_writer_as_it_was),
        test(more_lives_than_1024_do_not_fit),
        test(a_full_part_with_all_lives_and_marks_fits_into_a_frame),
        test(a_writer_that_had_no_memory_says_so_until_it_is_cleared),
        test(without_memory_no_round_is_written),
        test(a_row_has_exactly_what_op_and_strategy_want),
        test(a_ts_that_comes_back_to_0_is_refused),
        test(a_row_of_an_unknown_strategy_is_passed_over),
        test(an_unknown_strategy_is_no_way_around_the_limits),
        test(keys_and_values_are_taken_up_to_their_limits),
        test(bodies_of_another_shape_are_refused),
        test(one_life_too_many_is_refused),
        test(no_prefix_of_a_round_is_a_round),
        test(a_round_is_read_without_touching_what_follows),
        test(mutants_are_rounds_within_the_bounds_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
