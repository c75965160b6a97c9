#include "tests/support/mem.h"
#include "tests/wire/damage.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FIELDS 10

static const struct tly_mark some_marks[] = {{7, 1000}, {UINT64_MAX, UINT64_MAX}, {3, 0}};

/* A registry, a HELLO made with it, and its pairs one by one, so that others can be put together from them. */
struct bench {
    struct tly_registry *registry;
    struct tly_hello hello;
    struct tly_buf out, other;
    struct tly_slice pairs[FIELDS];
};

static void register_prefix(struct bench *bench, const char *prefix, const struct tly_strategy *strategy)
{
    struct tly_registry *next = NULL;
    assert_int_equal(tly_registry_with(bench->registry, tly_slice_text(prefix), strategy, &next), TLY_OK);
    tly_registry_free(bench->registry);
    bench->registry = next;
}

static struct tly_hello some_hello(void)
{
    return (struct tly_hello){
        .version_oldest = 1,
        .version_newest = 3,
        .cluster = tly_slice_text("prod"),
        .name = tly_slice_text("n1"),
        .address = tly_slice_text("10.0.0.1:7400"),
        .origin = UINT64_C(0xfeedfacecafebeef),
        .wall_ns = UINT64_C(1700000000000000000),
        .delta = true,
    };
}

static void cut_into_pairs(struct bench *bench)
{
    struct tly_cursor cursor = tly_cursor_of(tly_buf_slice(&bench->out));
    assert_int_equal(tly_get_map(&cursor, FIELDS), FIELDS);
    for (size_t i = 0; i < FIELDS; i++) {
        const uint8_t *start = cursor.p;
        tly_cursor_skip(&cursor);
        tly_cursor_skip(&cursor);
        bench->pairs[i] = tly_slice_of(start, (size_t)(cursor.p - start));
    }
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
}

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return -1;
    bench->registry = tly_registry_new(&mem);
    register_prefix(bench, "config:", tly_lww());
    register_prefix(bench, "", tly_epoch_max());
    register_prefix(bench, "rl:", tly_epoch_sum());
    bench->hello = some_hello();
    tly_buf_init(&bench->out, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&bench->other, &mem, TLY_FRAME_BODY_MAX);
    tly_hello_put(&bench->out, &bench->hello, bench->registry, some_marks, 3);
    cut_into_pairs(bench);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    tly_registry_free(bench->registry);
    tly_buf_fini(&bench->out);
    tly_buf_fini(&bench->other);
    free(bench);
    return test_mem_live() == 0 ? 0 : -1;
}

static struct tly_slice put(struct bench *bench, const struct tly_mark *marks, size_t mark_count)
{
    tly_buf_clear(&bench->out);
    tly_hello_put(&bench->out, &bench->hello, bench->registry, marks, mark_count);
    assert_int_equal(bench->out.result, TLY_OK);
    return tly_buf_slice(&bench->out);
}

static void put_pairs_but(struct bench *bench, size_t without)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (i != without) tly_buf_put(&bench->other, bench->pairs[i].p, bench->pairs[i].n);
}

static enum tly_result get_other(struct bench *bench)
{
    static struct tly_hello hello;
    return tly_hello_get(tly_buf_slice(&bench->other), &hello);
}

/* ---- claims ---- */

static void a_hello_comes_back_as_it_was(void **state)
{
    struct bench *bench = *state;
    struct tly_hello hello;
    assert_int_equal(tly_hello_get(put(bench, some_marks, 3), &hello), TLY_OK);
    assert_int_equal(hello.version_oldest, 1);
    assert_int_equal(hello.version_newest, 3);
    assert_true(tly_slice_equal(hello.cluster, tly_slice_text("prod")));
    assert_true(tly_slice_equal(hello.name, tly_slice_text("n1")));
    assert_true(tly_slice_equal(hello.address, tly_slice_text("10.0.0.1:7400")));
    assert_true(hello.origin == bench->hello.origin);
    assert_true(hello.wall_ns == bench->hello.wall_ns);
    assert_true(hello.delta);
}

static void its_marks_come_in_the_order_in_which_they_were_given(void **state)
{
    struct tly_hello hello;
    struct tly_mark mark;
    assert_int_equal(tly_hello_get(put(*state, some_marks, 3), &hello), TLY_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_true(tly_marks_next(&hello.marks, &mark));
        assert_true(mark.origin == some_marks[i].origin && mark.ts == some_marks[i].ts);
    }
    assert_false(tly_marks_next(&hello.marks, &mark));
    assert_false(tly_marks_next(&hello.marks, &mark));
}

static void its_prefixes_come_in_byte_order_with_their_strategies(void **state)
{
    static const char *const prefixes[] = {"", "config:", "rl:"};
    static const uint64_t ids[] = {TLY_EPOCH_MAX, TLY_LWW, TLY_EPOCH_SUM};
    struct tly_hello hello;
    struct tly_slice prefix;
    uint64_t id = 0;
    assert_int_equal(tly_hello_get(put(*state, some_marks, 3), &hello), TLY_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_true(tly_prefixes_next(&hello.prefixes, &prefix, &id));
        assert_true(tly_slice_equal(prefix, tly_slice_text(prefixes[i])));
        assert_true(id == ids[i]);
    }
    assert_false(tly_prefixes_next(&hello.prefixes, &prefix, &id));
}

static void a_hello_without_anything_optional_comes_back(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct tly_hello hello;
    tly_registry_free(bench->registry);
    bench->registry = tly_registry_new(&mem);
    bench->hello.delta = false;
    bench->hello.address = tly_slice_of(NULL, 0);
    assert_int_equal(tly_hello_get(put(bench, NULL, 0), &hello), TLY_OK);
    assert_false(hello.delta);
    assert_int_equal(hello.address.n, 0);
    assert_int_equal(hello.marks.left, 0);
    assert_int_equal(hello.prefixes.left, 0);
}

static void a_hello_at_all_limits_fits_into_a_frame(void **state)
{
    static struct tly_mark marks[TLY_MARKS_MAX];
    static char text[256];
    struct bench *bench = *state;
    struct tly_hello hello;
    for (size_t i = 0; i < TLY_MARKS_MAX; i++)
        marks[i] = (struct tly_mark){UINT64_MAX - i, UINT64_MAX};
    for (int i = 0; i < TLY_PREFIXES_MAX - 3; i++) {
        snprintf(text, sizeof text, "%0*d", TLY_PREFIX_BYTES_MAX, i);
        register_prefix(bench, text, tly_lww());
    }
    memset(text, 'x', sizeof text);
    bench->hello.name = bench->hello.cluster = tly_slice_of(text, TLY_NAME_BYTES_MAX);
    bench->hello.address = tly_slice_of(text, TLY_ADDRESS_BYTES_MAX);
    assert_int_equal(tly_hello_get(put(bench, marks, TLY_MARKS_MAX), &hello), TLY_OK);
    assert_int_equal(hello.marks.left, TLY_MARKS_MAX);
    assert_int_equal(hello.prefixes.left, TLY_PREFIXES_MAX);
    assert_true(bench->out.n <= TLY_FRAME_BODY_MAX);
}

static void what_is_beyond_a_limit_is_not_written(void **state)
{
    static struct tly_mark marks[TLY_MARKS_MAX + 1];
    static char text[256];
    struct bench *bench = *state;
    for (int which = 0; which < 4; which++) {
        bench->hello = some_hello();
        if (which == 0) bench->hello.name = tly_slice_of(text, TLY_NAME_BYTES_MAX + 1);
        if (which == 1) bench->hello.cluster = tly_slice_of(text, TLY_NAME_BYTES_MAX + 1);
        if (which == 2) bench->hello.address = tly_slice_of(text, TLY_ADDRESS_BYTES_MAX + 1);
        tly_buf_clear(&bench->out);
        tly_hello_put(&bench->out, &bench->hello, bench->registry, marks, which == 3 ? TLY_MARKS_MAX + 1 : 0);
        assert_int_equal(bench->out.result, TLY_TOO_LARGE);
    }
}

static void the_pairs_may_come_in_any_order(void **state)
{
    struct bench *bench = *state;
    tly_put_map(&bench->other, FIELDS);
    for (size_t i = FIELDS; i-- > 0;)
        tly_buf_put(&bench->other, bench->pairs[i].p, bench->pairs[i].n);
    assert_int_equal(get_other(bench), TLY_OK);
}

static void every_pair_is_needed(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < FIELDS; i++) {
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS - 1);
        put_pairs_but(bench, i);
        assert_int_equal(get_other(bench), TLY_BAD_MESSAGE);
    }
}

static void a_key_that_is_there_twice_is_refused(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < FIELDS; i++) {
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS + 1);
        put_pairs_but(bench, FIELDS);
        tly_buf_put(&bench->other, bench->pairs[i].p, bench->pairs[i].n);
        assert_int_equal(get_other(bench), TLY_BAD_MESSAGE);
    }
}

/* All ten pairs and one more, given in hex: key and value. */
static enum tly_result get_with(struct bench *bench, const char *pair_hex)
{
    uint8_t bytes[256];
    struct tly_slice pair = from_hex(pair_hex, bytes, sizeof bytes);
    tly_buf_clear(&bench->other);
    tly_put_map(&bench->other, FIELDS + 1);
    tly_buf_put(&bench->other, pair.p, pair.n);
    put_pairs_but(bench, FIELDS);
    return get_other(bench);
}

static void unknown_keys_are_passed_over_whatever_they_hold(void **state)
{
    assert_int_equal(get_with(*state, "a1 7a 01"), TLY_OK);
    assert_int_equal(get_with(*state, "a1 7a c0"), TLY_OK);
    assert_int_equal(get_with(*state, "a1 7a 82 01 92 02 03 04 c7 01 05 06"), TLY_OK);
    assert_int_equal(get_with(*state, "a0 cb 00 00 00 00 00 00 00 00"), TLY_OK);
    assert_int_equal(get_with(*state, "a1 7a 91 91 91 91 91 91 91 90"), TLY_OK);
}

static void an_unknown_key_is_no_way_around_the_limits(void **state)
{
    assert_int_equal(get_with(*state, "01 01"), TLY_BAD_MESSAGE);
    assert_int_equal(get_with(*state, "a1 7a c1"), TLY_BAD_MESSAGE);
    assert_int_equal(get_with(*state, "a1 7a dd 0f ff ff ff"), TLY_BAD_MESSAGE);
    assert_int_equal(get_with(*state, "a1 7a 91 91 91 91 91 91 91 91 90"), TLY_BAD_MESSAGE);
    assert_int_equal(
        get_with(*state, "d9 20 6161616161616161616161616161616161616161616161616161616161616161 00"),
        TLY_OK);
    assert_int_equal(
        get_with(*state, "d9 21 616161616161616161616161616161616161616161616161616161616161616161 00"),
        TLY_BAD_MESSAGE);
}

static void more_pairs_than_64_are_refused(void **state)
{
    struct bench *bench = *state;
    for (size_t pairs = 64; pairs <= 65; pairs++) {
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, pairs);
        put_pairs_but(bench, FIELDS);
        for (size_t i = FIELDS; i < pairs; i++)
            tly_buf_put(&bench->other, "\xa1z\x01", 3);
        assert_int_equal(get_other(bench), pairs == 64 ? TLY_OK : TLY_BAD_MESSAGE);
    }
}

enum { MAGIC, VERSIONS, CLUSTER, NAME, ORIGIN, PREFIXES, CAPS, WALL, ADDRESS, MARKS };

static const char *const keys[FIELDS] = {"magic",    "versions", "cluster", "name",    "origin",
                                         "prefixes", "caps",     "wall",    "address", "marks"};

static void values_out_of_bounds_are_refused(void **state)
{
    static const struct {
        const char *hex;
        int field;
        enum tly_result result;
    } rows[] = {
        {"a5 74616c6c79", MAGIC, TLY_OK},
        {"a5 74616c6c78", MAGIC, TLY_BAD_MESSAGE},
        {"a4 74616c6c", MAGIC, TLY_BAD_MESSAGE},
        {"a0", MAGIC, TLY_BAD_MESSAGE},
        {"01", MAGIC, TLY_BAD_MESSAGE},
        {"92 01 01", VERSIONS, TLY_OK},
        {"92 07 cf ff ff ff ff ff ff ff ff", VERSIONS, TLY_OK},
        {"92 00 01", VERSIONS, TLY_BAD_MESSAGE},
        {"92 02 01", VERSIONS, TLY_BAD_MESSAGE},
        {"91 01", VERSIONS, TLY_BAD_MESSAGE},
        {"93 01 01 01", VERSIONS, TLY_BAD_MESSAGE},
        {"91 01 01", VERSIONS, TLY_BAD_MESSAGE},
        {"01", VERSIONS, TLY_BAD_MESSAGE},
        {"a0", CLUSTER, TLY_BAD_MESSAGE},
        {"c4 01 61", CLUSTER, TLY_OK},
        {"db ff ff ff ff", CLUSTER, TLY_BAD_MESSAGE},
        {"a0", NAME, TLY_BAD_MESSAGE},
        {"90", NAME, TLY_BAD_MESSAGE},
        {"01", ORIGIN, TLY_OK},
        {"00", ORIGIN, TLY_BAD_MESSAGE},
        {"ff", ORIGIN, TLY_BAD_MESSAGE},
        {"cb 3f f0 00 00 00 00 00 00", ORIGIN, TLY_BAD_MESSAGE},
        {"90", PREFIXES, TLY_OK},
        {"92 a0 cd ff ff", PREFIXES, TLY_OK},
        {"94 a1 61 01 a1 62 02", PREFIXES, TLY_OK},
        {"94 a1 62 01 a1 61 02", PREFIXES, TLY_BAD_MESSAGE},
        {"94 a1 61 01 a1 61 02", PREFIXES, TLY_BAD_MESSAGE},
        {"91 a1 61", PREFIXES, TLY_BAD_MESSAGE},
        {"91", PREFIXES, TLY_BAD_MESSAGE},
        {"92 01 01", PREFIXES, TLY_BAD_MESSAGE},
        {"92 a1 61 a1 62", PREFIXES, TLY_BAD_MESSAGE},
        {"dd ff ff ff fe", PREFIXES, TLY_BAD_MESSAGE},
        {"90", CAPS, TLY_OK},
        {"92 a1 78 a5 64656c7461", CAPS, TLY_OK},
        {"91 01", CAPS, TLY_BAD_MESSAGE},
        {"dd 0f ff ff ff", CAPS, TLY_BAD_MESSAGE},
        {"00", WALL, TLY_OK},
        {"cf ff ff ff ff ff ff ff ff", WALL, TLY_OK},
        {"ff", WALL, TLY_BAD_MESSAGE},
        {"a1 31", WALL, TLY_BAD_MESSAGE},
        {"a0", ADDRESS, TLY_OK},
        {"90", MARKS, TLY_OK},
        {"92 01 00", MARKS, TLY_OK},
        {"92 00 01", MARKS, TLY_BAD_MESSAGE},
        {"91 01", MARKS, TLY_BAD_MESSAGE},
        {"91", MARKS, TLY_BAD_MESSAGE},
        {"92 01 ff", MARKS, TLY_BAD_MESSAGE},
        {"dd 0f ff ff ff", MARKS, TLY_BAD_MESSAGE},
        {"dd ff ff ff fe 01 01", MARKS, TLY_BAD_MESSAGE},
        {"80", MARKS, TLY_BAD_MESSAGE},
    };
    struct bench *bench = *state;
    uint8_t bytes[128];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_slice value = from_hex(rows[i].hex, bytes, sizeof bytes);
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS);
        tly_put_text(&bench->other, tly_slice_text(keys[rows[i].field]));
        tly_buf_put(&bench->other, value.p, value.n);
        put_pairs_but(bench, (size_t)rows[i].field);
        if (get_other(bench) != rows[i].result) fail_msg("%s: %s", keys[rows[i].field], rows[i].hex);
    }
}

/* A value of n bytes, words, prefixes of no more than three bytes, or marks. */
static void put_many(struct tly_buf *out, int field, size_t n)
{
    static const uint8_t letters[1000];
    bool list = field == PREFIXES || field == CAPS || field == MARKS;
    if (list) tly_put_array(out, field == CAPS ? n : 2 * n);
    if (!list) tly_put_text(out, tly_slice_of(letters, n));
    for (size_t i = 0; list && i < n; i++) {
        uint8_t number[3] = {'p', (uint8_t)(i >> 8), (uint8_t)i};
        if (field == MARKS) tly_put_uint(out, 1 + i);
        if (field != MARKS) tly_put_bytes(out, tly_slice_of(number, 3));
        if (field != CAPS) tly_put_uint(out, 1);
    }
}

static void every_limit_is_taken_and_one_more_is_refused(void **state)
{
    static const struct {
        int field;
        size_t most;
    } rows[] = {
        {CLUSTER, TLY_NAME_BYTES_MAX},
        {NAME, TLY_NAME_BYTES_MAX},
        {ADDRESS, TLY_ADDRESS_BYTES_MAX},
        {PREFIXES, TLY_PREFIXES_MAX},
        {CAPS, 64},
        {MARKS, TLY_MARKS_MAX},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS);
        tly_put_text(&bench->other, tly_slice_text(keys[rows[i / 2].field]));
        put_many(&bench->other, rows[i / 2].field, rows[i / 2].most + i % 2);
        put_pairs_but(bench, (size_t)rows[i / 2].field);
        if (get_other(bench) != (i % 2 == 0 ? TLY_OK : TLY_BAD_MESSAGE))
            fail_msg("%s", keys[rows[i / 2].field]);
    }
}

static void a_prefix_or_a_word_has_its_limit_too(void **state)
{
    static const uint8_t letters[TLY_PREFIX_BYTES_MAX + 1];
    struct bench *bench = *state;
    for (size_t more = 0; more <= 1; more++) {
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS);
        tly_put_text(&bench->other, tly_slice_text("prefixes"));
        tly_put_array(&bench->other, 2);
        tly_put_bytes(&bench->other, tly_slice_of(letters, TLY_PREFIX_BYTES_MAX + more));
        tly_put_uint(&bench->other, 1);
        put_pairs_but(bench, PREFIXES);
        assert_int_equal(get_other(bench), more == 0 ? TLY_OK : TLY_BAD_MESSAGE);
        tly_buf_clear(&bench->other);
        tly_put_map(&bench->other, FIELDS);
        tly_put_text(&bench->other, tly_slice_text("caps"));
        tly_put_array(&bench->other, 1);
        tly_put_text(&bench->other, tly_slice_of(letters, 32 + more));
        put_pairs_but(bench, CAPS);
        assert_int_equal(get_other(bench), more == 0 ? TLY_OK : TLY_BAD_MESSAGE);
    }
}

static void bytes_left_over_are_refused(void **state)
{
    struct bench *bench = *state;
    tly_put_map(&bench->other, FIELDS);
    put_pairs_but(bench, FIELDS);
    tly_buf_put(&bench->other, "\xc0", 1);
    assert_int_equal(get_other(bench), TLY_BAD_MESSAGE);
}

static bool is_ok(struct tly_slice bytes, void *context)
{
    return tly_hello_get(bytes, context) == TLY_OK;
}

static bool is_bad(struct tly_slice bytes, void *context)
{
    return tly_hello_get(bytes, context) == TLY_BAD_MESSAGE;
}

static void no_prefix_of_a_hello_is_a_hello(void **state)
{
    struct tly_hello hello;
    each_prefix(put(*state, some_marks, 3), is_bad, &hello);
}

static void a_hello_is_read_without_touching_what_follows(void **state)
{
    struct tly_hello hello;
    at_the_edge(put(*state, some_marks, 3), is_ok, &hello);
}

/* What was taken is within the bounds, and every list is as long as it says. */
static bool is_within_bounds(struct tly_slice bytes, void *context)
{
    struct tly_hello *hello = context;
    enum tly_result result = tly_hello_get(bytes, hello);
    if (result != TLY_OK) return result == TLY_BAD_MESSAGE;
    size_t marks = hello->marks.left, prefixes = hello->prefixes.left;
    struct tly_mark mark;
    struct tly_slice prefix;
    uint64_t id = 0;
    while (tly_marks_next(&hello->marks, &mark)) {
        if (mark.origin == 0) return false;
        marks--;
    }
    while (tly_prefixes_next(&hello->prefixes, &prefix, &id)) {
        if (prefix.n > TLY_PREFIX_BYTES_MAX) return false;
        prefixes--;
    }
    return marks == 0 && prefixes == 0 && hello->origin != 0 && hello->name.n >= 1 &&
           hello->name.n <= TLY_NAME_BYTES_MAX && hello->cluster.n >= 1 &&
           hello->cluster.n <= TLY_NAME_BYTES_MAX && hello->address.n <= TLY_ADDRESS_BYTES_MAX &&
           hello->version_oldest <= hello->version_newest;
}

static void mutants_are_hellos_within_the_bounds_or_none(void **state)
{
    struct tly_hello hello;
    struct tly_slice seed = put(*state, some_marks, 3);
    each_mutant(&seed, 1, is_within_bounds, &hello);
}

static void put_hello(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem;
    struct bench *bench = context;
    tly_hello_put(out, &bench->hello, bench->registry, some_marks, 3);
}

static void without_memory_no_hello_is_written(void **state)
{
    each_failed_allocation(put_hello, *state);
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_hello_comes_back_as_it_was),
        test(its_marks_come_in_the_order_in_which_they_were_given),
        test(its_prefixes_come_in_byte_order_with_their_strategies),
        test(a_hello_without_anything_optional_comes_back),
        test(a_hello_at_all_limits_fits_into_a_frame),
        test(what_is_beyond_a_limit_is_not_written),
        test(the_pairs_may_come_in_any_order),
        test(every_pair_is_needed),
        test(a_key_that_is_there_twice_is_refused),
        test(unknown_keys_are_passed_over_whatever_they_hold),
        test(an_unknown_key_is_no_way_around_the_limits),
        test(more_pairs_than_64_are_refused),
        test(values_out_of_bounds_are_refused),
        test(every_limit_is_taken_and_one_more_is_refused),
        test(a_prefix_or_a_word_has_its_limit_too),
        test(bytes_left_over_are_refused),
        test(no_prefix_of_a_hello_is_a_hello),
        test(a_hello_is_read_without_touching_what_follows),
        test(mutants_are_hellos_within_the_bounds_or_none),
        test(without_memory_no_hello_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
