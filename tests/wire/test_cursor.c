#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "wire/cursor.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A cursor over hex, good until the next call. */
static struct tly_cursor over(const char *hex)
{
    static uint8_t bytes[256];
    return tly_cursor_of(from_hex(hex, bytes, sizeof bytes));
}

static void every_form_of_an_integer_gives_its_number(void **state)
{
    static const struct {
        const char *hex;
        int64_t number;
    } rows[] = {
        {"00", 0},
        {"7f", 127},
        {"ff", -1},
        {"e0", -32},
        {"cc 05", 5},
        {"cc ff", 255},
        {"cd 00 05", 5},
        {"cd ff ff", 65535},
        {"ce 00 00 00 05", 5},
        {"ce ff ff ff ff", INT64_C(4294967295)},
        {"cf 00 00 00 00 00 00 00 05", 5},
        {"cf 7f ff ff ff ff ff ff ff", INT64_MAX},
        {"d0 05", 5},
        {"d0 80", -128},
        {"d1 00 05", 5},
        {"d1 80 00", -32768},
        {"d2 00 00 00 05", 5},
        {"d2 80 00 00 00", -INT64_C(2147483648)},
        {"d3 00 00 00 00 00 00 00 05", 5},
        {"d3 80 00 00 00 00 00 00 00", INT64_MIN},
        {"d3 ff ff ff ff ff ff ff ff", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_cursor cursor = over(rows[i].hex);
        assert_true(tly_get_int(&cursor) == rows[i].number);
        assert_int_equal(tly_cursor_end(&cursor), TLY_OK);

        bool negative = rows[i].number < 0;
        cursor = over(rows[i].hex);
        assert_true(tly_get_uint(&cursor) == (negative ? 0 : (uint64_t)rows[i].number));
        assert_int_equal(tly_cursor_end(&cursor), negative ? TLY_BAD_MESSAGE : TLY_OK);

        /* With more behind it, which is read otherwise, and no byte of that. */
        char hex[64];
        (void)snprintf(hex, sizeof hex, "%s ff ff ff ff ff ff ff ff", rows[i].hex);
        cursor = over(hex);
        assert_true(tly_get_int(&cursor) == rows[i].number);
        assert_int_equal(tly_cursor_left(&cursor), 8);
        cursor = over(hex);
        assert_true(tly_get_uint(&cursor) == (negative ? 0 : (uint64_t)rows[i].number));
        assert_int_equal(tly_cursor_left(&cursor), negative ? 0 : 8);
    }
}

static void a_number_beyond_i64_is_a_uint_only(void **state)
{
    struct tly_cursor cursor = over("cf ff ff ff ff ff ff ff ff");
    assert_true(tly_get_uint(&cursor) == UINT64_MAX);
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    cursor = over("cf 80 00 00 00 00 00 00 00");
    assert_true(tly_get_int(&cursor) == 0);
    assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
}

static void an_integer_is_nothing_else(void **state)
{
    static const char *const others[] = {"c0", "c1",    "c2",    "c3", "ca 00 00 00 00", "a1 31", "c4 01 31",
                                         "90", "91 01", "81 01", "80", "d4 01 01"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct tly_cursor cursor = over(others[i]);
        assert_int_equal(tly_get_uint(&cursor), 0);
        assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
        cursor = over(others[i]);
        assert_int_equal(tly_get_int(&cursor), 0);
        assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
    }
}

static void a_bool_is_c2_or_c3(void **state)
{
    struct tly_cursor cursor = over("c3 c2");
    assert_true(tly_get_bool(&cursor));
    assert_false(tly_get_bool(&cursor));
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    cursor = over("01");
    assert_false(tly_get_bool(&cursor));
    assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
}

static void str_and_bin_of_every_width_are_bytes(void **state)
{
    static const char *const forms[] = {
        "a3 61 62 63",       "d9 03 61 62 63",          "da 00 03 61 62 63",    "c4 03 61 62 63",
        "c5 00 03 61 62 63", "db 00 00 00 03 61 62 63", "c6 00 00 00 03 616263"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tly_cursor cursor = over(forms[i]);
        assert_true(tly_slice_equal(tly_get_bytes(&cursor, 3), tly_slice_text("abc")));
        assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
        cursor = over(forms[i]);
        assert_int_equal(tly_get_bytes(&cursor, 2).n, 0);
        assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
    }
}

static void bytes_that_are_not_there_are_refused(void **state)
{
    static const char *const short_ones[] = {
        "a3 61 62",    "c4 02 61",          "c5 ff ff 61", "c6 ff ff ff ff 61",
        "da 00 04 61", "db ff ff ff ff 61", "c4",          "db 00 00 00"};
    for (size_t i = 0; i < sizeof short_ones / sizeof short_ones[0]; i++) {
        struct tly_cursor cursor = over(short_ones[i]);
        struct tly_slice bytes = tly_get_bytes(&cursor, SIZE_MAX);
        assert_null(bytes.p);
        assert_int_equal(bytes.n, 0);
        assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
    }
}

static void containers_give_their_counts_in_every_width(void **state)
{
    struct tly_cursor cursor = over("92 01 02");
    assert_int_equal(tly_get_array(&cursor, 2), 2);
    cursor = over("dc 00 02 01 02");
    assert_int_equal(tly_get_array(&cursor, 2), 2);
    cursor = over("dd 00 00 00 02 01 02");
    assert_int_equal(tly_get_array(&cursor, 2), 2);
    cursor = over("81 01 02");
    assert_int_equal(tly_get_map(&cursor, 1), 1);
    cursor = over("de 00 01 01 02");
    assert_int_equal(tly_get_map(&cursor, 1), 1);
    cursor = over("df 00 00 00 01 01 02");
    assert_int_equal(tly_get_map(&cursor, 1), 1);
    assert_int_equal(cursor.result, TLY_OK);
}

static void a_count_above_the_callers_limit_is_refused(void **state)
{
    struct tly_cursor cursor = over("93 01 02 03");
    assert_int_equal(tly_get_array(&cursor, 2), 0);
    assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
    cursor = over("82 01 02 03 04");
    assert_int_equal(tly_get_map(&cursor, 1), 0);
    assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
}

static void a_count_beyond_the_bytes_that_remain_is_refused(void **state)
{
    static const char *const arrays[] = {"93 01 02", "dd 0f ff ff ff", "dd ff ff ff ff 01 02 03", "dc 00 01"};
    static const char *const maps[] = {"82 01 02 03", "df 0f ff ff ff", "df 80 00 00 01 01 02",
                                       "de ff ff 01"};
    for (size_t i = 0; i < 4; i++) {
        struct tly_cursor cursor = over(arrays[i]);
        assert_int_equal(tly_get_array(&cursor, SIZE_MAX), 0);
        assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
        cursor = over(maps[i]);
        assert_int_equal(tly_get_map(&cursor, SIZE_MAX), 0);
        assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
    }
}

static void an_array_is_no_map_and_the_reverse(void **state)
{
    struct tly_cursor cursor = over("92 01 02");
    assert_int_equal(tly_get_map(&cursor, 9), 0);
    assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
    cursor = over("81 01 02");
    assert_int_equal(tly_get_array(&cursor, 9), 0);
    assert_int_equal(cursor.result, TLY_BAD_MESSAGE);
}

static void after_a_failure_everything_reads_as_nothing(void **state)
{
    struct tly_cursor cursor = over("c1 05 05 a1 61 91 05");
    assert_int_equal(tly_get_uint(&cursor), 0);
    assert_int_equal(tly_get_uint(&cursor), 0);
    assert_int_equal(tly_get_int(&cursor), 0);
    assert_false(tly_get_bool(&cursor));
    assert_int_equal(tly_get_bytes(&cursor, 9).n, 0);
    assert_int_equal(tly_get_array(&cursor, 9), 0);
    assert_int_equal(tly_get_map(&cursor, 9), 0);
    tly_cursor_skip(&cursor);
    assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
}

static void the_end_is_good_only_when_everything_was_read(void **state)
{
    struct tly_cursor cursor = over("01 02");
    (void)tly_get_uint(&cursor);
    assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
    (void)tly_get_uint(&cursor);
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    cursor = tly_cursor_of(tly_slice_of(NULL, 0));
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    assert_int_equal(tly_get_uint(&cursor), 0);
    assert_int_equal(tly_cursor_end(&cursor), TLY_BAD_MESSAGE);
}

static const char *const one_of_each[] = {
    "05",
    "ff",
    "c0",
    "c2",
    "c3",
    "cc 01",
    "cd 01 02",
    "ce 01 02 03 04",
    "cf 01 02 03 04 05 06 07 08",
    "d0 01",
    "d1 01 02",
    "d2 01 02 03 04",
    "d3 01 02 03 04 05 06 07 08",
    "ca 01 02 03 04",
    "cb 01 02 03 04 05 06 07 08",
    "a0",
    "a2 61 62",
    "d9 01 61",
    "da 00 01 61",
    "db 00 00 00 01 61",
    "c4 01 61",
    "c5 00 01 61",
    "c6 00 00 00 01 61",
    "d4 09 01",
    "d5 09 01 02",
    "d6 09 01 02 03 04",
    "d7 09 01 02 03 04 05 06 07 08",
    "d8 09 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10",
    "c7 01 09 61",
    "c7 00 09",
    "c8 00 01 09 61",
    "c9 00 00 00 01 09 61",
    "90",
    "92 01 91 02",
    "dc 00 01 01",
    "dd 00 00 00 01 01",
    "80",
    "81 01 82 02 03 04 05",
    "de 00 01 01 02",
    "df 00 00 00 01 01 02",
};

static void skip_passes_over_exactly_one_value_of_any_kind(void **state)
{
    for (size_t i = 0; i < sizeof one_of_each / sizeof one_of_each[0]; i++) {
        char hex[128];
        snprintf(hex, sizeof hex, "%s 2a", one_of_each[i]);
        struct tly_cursor cursor = over(hex);
        tly_cursor_skip(&cursor);
        assert_int_equal(tly_get_uint(&cursor), 42);
        assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    }
}

static bool skip_fails(struct tly_slice bytes, void *context)
{
    (void)context;
    struct tly_cursor cursor = tly_cursor_of(bytes);
    tly_cursor_skip(&cursor);
    return tly_cursor_end(&cursor) == TLY_BAD_MESSAGE;
}

static void no_prefix_of_a_value_is_a_value(void **state)
{
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof one_of_each / sizeof one_of_each[0]; i++)
        each_prefix(from_hex(one_of_each[i], bytes, sizeof bytes), skip_fails, NULL);
}

static void the_reserved_byte_is_refused_at_any_depth(void **state)
{
    static const char *const inputs[] = {"c1", "91 c1", "81 01 c1", "92 91 c1 00"};
    uint8_t bytes[16];
    for (size_t i = 0; i < 4; i++)
        assert_true(skip_fails(from_hex(inputs[i], bytes, sizeof bytes), NULL));
}

/* An array in an array in an array …, `depth` of them, the last one empty. */
static bool nest_passes(size_t depth)
{
    uint8_t *bytes = malloc(depth);
    assert_non_null(bytes);
    memset(bytes, 0x91, depth);
    bytes[depth - 1] = 0x90;
    struct tly_cursor cursor = tly_cursor_of(tly_slice_of(bytes, depth));
    tly_cursor_skip(&cursor);
    enum tly_result result = tly_cursor_end(&cursor);
    free(bytes);
    return result == TLY_OK;
}

static void skip_follows_eight_levels_and_not_nine(void **state)
{
    assert_true(nest_passes(1));
    assert_true(nest_passes(TLY_CURSOR_DEPTH_MAX));
    assert_false(nest_passes(TLY_CURSOR_DEPTH_MAX + 1));
    assert_false(nest_passes(10000));
}

static void a_wide_value_of_empty_containers_is_passed_over(void **state)
{
    uint8_t bytes[5 + 40000] = {0xdd, 0, 0, 40000 >> 8, 40000 & 0xff};
    memset(bytes + 5, 0x90, 40000);
    struct tly_cursor cursor = tly_cursor_of(tly_slice_of(bytes, sizeof bytes));
    tly_cursor_skip(&cursor);
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
}

/* Numbers of every size come up alike. */
static uint64_t some_number(struct test_rng *rng)
{
    return test_rng_next(rng) >> test_rng_below(rng, 64);
}

static void what_is_put_is_got_and_nothing_is_left_over(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf buf;
    tly_buf_init(&buf, &mem, 4096);
    struct test_rng rng = test_rng_of(test_seed_first());
    for (int i = 0; i < 10000; i++) {
        uint64_t number = some_number(&rng);
        tly_buf_clear(&buf);
        tly_put_array(&buf, 6);
        tly_put_uint(&buf, number);
        tly_put_int(&buf, (int64_t)number);
        tly_put_int(&buf, -(int64_t)(number >> 1));
        tly_put_bool(&buf, (number & 1) != 0);
        tly_put_text(&buf, tly_slice_of("0123456789012345678901234567890123456789", number % 40));
        tly_put_bytes(&buf, tly_slice_of(&number, number % 9));
        struct tly_cursor cursor = tly_cursor_of(tly_buf_slice(&buf));
        assert_int_equal(tly_get_array(&cursor, 6), 6);
        claim(tly_get_uint(&cursor) == number);
        claim(tly_get_int(&cursor) == (int64_t)number);
        claim(tly_get_int(&cursor) == -(int64_t)(number >> 1));
        claim(tly_get_bool(&cursor) == ((number & 1) != 0));
        claim(tly_get_bytes(&cursor, 40).n == number % 40);
        claim(tly_slice_equal(tly_get_bytes(&cursor, 8), tly_slice_of(&number, number % 9)));
        claim(tly_cursor_end(&cursor) == TLY_OK);
    }
    tly_buf_fini(&buf);
}

/* Whatever the bytes are, the walk ends inside them and a failed cursor stands at the end. */
static bool walk_stays_inside(struct tly_slice bytes, void *context)
{
    (void)context;
    struct tly_cursor cursor = tly_cursor_of(bytes);
    for (size_t steps = 0; cursor.p < cursor.end; steps++) {
        if (steps > bytes.n) return false;
        const uint8_t *before = cursor.p;
        tly_cursor_skip(&cursor);
        if (cursor.p <= before || cursor.p > cursor.end) return false;
    }
    return cursor.p == cursor.end;
}

static void mutants_are_walked_without_leaving_the_bytes(void **state)
{
    static uint8_t bytes[sizeof one_of_each / sizeof one_of_each[0]][32];
    struct tly_slice seeds[sizeof one_of_each / sizeof one_of_each[0]];
    for (size_t i = 0; i < sizeof one_of_each / sizeof one_of_each[0]; i++)
        seeds[i] = from_hex(one_of_each[i], bytes[i], sizeof bytes[i]);
    each_mutant(seeds, sizeof seeds / sizeof seeds[0], walk_stays_inside, NULL);
}

static void claim_packed(const struct tly_buf *buf, const uint8_t *packed, const uint8_t *end)
{
    claim(tly_slice_equal(tly_buf_slice(buf), tly_slice_of(packed, (size_t)(end - packed))));
}

/* At, below and above every power of two, and of either sign. */
static void what_is_packed_without_calls_is_the_same(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf buf;
    uint8_t packed[TLY_PACK_NUMBER_BYTES_MAX];
    tly_buf_init(&buf, &mem, 80000);
    for (unsigned i = 0; i < 64 * 3 * 2; i++) {
        uint64_t power = (UINT64_C(1) << i / 6) + i % 3 - 1, number = i / 3 % 2 == 0 ? power : 0 - power;
        tly_buf_clear(&buf);
        tly_put_uint(&buf, number);
        claim_packed(&buf, packed, tly_pack_uint(packed, number));
        tly_buf_clear(&buf);
        tly_put_int(&buf, (int64_t)number);
        claim_packed(&buf, packed, tly_pack_int(packed, (int64_t)number));
        if (number < 16) {
            tly_buf_clear(&buf);
            tly_put_array(&buf, (size_t)number);
            claim_packed(&buf, packed, tly_pack_array(packed, (size_t)number));
        }
        if (number > 70000) continue;
        static const uint8_t bytes[70000];
        tly_buf_clear(&buf);
        tly_put_bytes(&buf, tly_slice_of(bytes, (size_t)number));
        buf.n -= (size_t)number;
        claim_packed(&buf, packed, tly_pack_bytes_head(packed, (size_t)number));
    }
    tly_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_integer_gives_its_number),
        cmocka_unit_test(a_number_beyond_i64_is_a_uint_only),
        cmocka_unit_test(an_integer_is_nothing_else),
        cmocka_unit_test(a_bool_is_c2_or_c3),
        cmocka_unit_test(str_and_bin_of_every_width_are_bytes),
        cmocka_unit_test(bytes_that_are_not_there_are_refused),
        cmocka_unit_test(containers_give_their_counts_in_every_width),
        cmocka_unit_test(a_count_above_the_callers_limit_is_refused),
        cmocka_unit_test(a_count_beyond_the_bytes_that_remain_is_refused),
        cmocka_unit_test(an_array_is_no_map_and_the_reverse),
        cmocka_unit_test(after_a_failure_everything_reads_as_nothing),
        cmocka_unit_test(the_end_is_good_only_when_everything_was_read),
        cmocka_unit_test(skip_passes_over_exactly_one_value_of_any_kind),
        cmocka_unit_test(no_prefix_of_a_value_is_a_value),
        cmocka_unit_test(the_reserved_byte_is_refused_at_any_depth),
        cmocka_unit_test(skip_follows_eight_levels_and_not_nine),
        cmocka_unit_test(a_wide_value_of_empty_containers_is_passed_over),
        cmocka_unit_test(what_is_put_is_got_and_nothing_is_left_over),
        cmocka_unit_test(what_is_packed_without_calls_is_the_same),
        cmocka_unit_test(mutants_are_walked_without_leaving_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
