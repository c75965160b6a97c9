/* Tables of prefixes and changes of them, as bytes. */
#include "wire/table.h"

#include "tests/support/mem.h"
#include "tests/wire/damage.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
    const char *prefix;
    uint64_t strategy; /* 0: dropped */
    uint32_t generation;
} some_rows[] = {{"", TLY_EPOCH_SUM, 0}, {"a:", 0, 2}, {"b:", TLY_LWW, TLY_GENERATION_MAX}};

#define ROWS (sizeof some_rows / sizeof some_rows[0])

static struct tly_registry *some_table(void)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *table = tly_registry_new(&mem);
    assert_non_null(table);
    for (size_t i = 0; i < ROWS; i++) {
        struct tly_registry *next;
        struct tly_prefix row = {tly_slice_text(some_rows[i].prefix),
                                 tly_strategy_by_id(some_rows[i].strategy), some_rows[i].generation};
        assert_int_equal(tly_registry_set(table, &row, &next), TLY_OK);
        tly_registry_free(table);
        table = next;
    }
    return table;
}

static struct tly_table_change some_change(void)
{
    return (struct tly_table_change){
        .kind = TLY_TABLE_BATCH,
        .actor = tly_slice_text("http 127.0.0.1:1"),
        .changed = {{tly_slice_text("a:"), false}, {tly_slice_text("b:"), true}},
        .changed_count = 2,
    };
}

struct bench {
    struct tly_registry *table;
    struct tly_buf out, again;
};

static struct bench begin(void)
{
    struct tly_mem mem = test_mem();
    struct bench bench = {.table = some_table()};
    tly_buf_init(&bench.out, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&bench.again, &mem, TLY_FRAME_BODY_MAX);
    return bench;
}

static void end(struct bench *bench)
{
    tly_registry_free(bench->table);
    tly_buf_fini(&bench->out);
    tly_buf_fini(&bench->again);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- words ---- */

static void a_word_says_strategy_and_generation(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        struct tly_prefix row = {{0}, tly_strategy_by_id(some_rows[i].strategy), some_rows[i].generation},
                          back = {0};
        uint64_t word = tly_table_word(&row);
        assert_true(word == some_rows[i].strategy + UINT64_C(16) * some_rows[i].generation);
        assert_true(tly_table_from_word(word, &back));
        assert_ptr_equal(back.strategy, row.strategy);
        assert_int_equal(back.generation, row.generation);
    }
    struct tly_prefix row;
    assert_false(tly_table_from_word(15, &row));                                  /* of no strategy */
    assert_false(tly_table_from_word((UINT64_C(16) << 24) + 16 + TLY_LWW, &row)); /* one too many */
    assert_false(tly_table_from_word((UINT64_C(16) << 32) + TLY_LWW, &row));      /* nor by wrapping */
    assert_false(tly_table_from_word(UINT64_MAX, &row));
}

/* ---- tables ---- */

static void a_table_comes_back_as_it_was(void **state)
{
    (void)state;
    struct bench bench = begin();
    tly_table_put(&bench.out, bench.table);
    struct tly_cursor cursor = tly_cursor_of(tly_buf_slice(&bench.out));
    struct tly_prefixes rows = tly_table_get(&cursor);
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    struct tly_slice prefix;
    uint64_t word;
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(tly_prefixes_next(&rows, &prefix, &word));
        assert_true(tly_slice_equal(prefix, tly_slice_text(some_rows[i].prefix)));
        assert_true(word == some_rows[i].strategy + UINT64_C(16) * some_rows[i].generation);
    }
    assert_false(tly_prefixes_next(&rows, &prefix, &word));
    end(&bench);
}

static enum tly_result get_table(struct tly_slice bytes)
{
    struct tly_cursor cursor = tly_cursor_of(bytes);
    (void)tly_table_get(&cursor);
    return tly_cursor_end(&cursor);
}

static void rows_ascend_and_none_is_there_twice(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        enum tly_result result;
    } cases[] = {{"a", "b", TLY_OK},          {"", "a", TLY_OK},           {"a", "aa", TLY_OK},
                 {"a", "a", TLY_BAD_MESSAGE}, {"b", "a", TLY_BAD_MESSAGE}, {"aa", "a", TLY_BAD_MESSAGE},
                 {"a", "", TLY_BAD_MESSAGE},  {"", "", TLY_BAD_MESSAGE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench = begin();
        tly_put_array(&bench.out, 4);
        tly_put_text(&bench.out, tly_slice_text(cases[i].a));
        tly_put_uint(&bench.out, TLY_LWW);
        tly_put_text(&bench.out, tly_slice_text(cases[i].b));
        tly_put_uint(&bench.out, TLY_LWW);
        assert_int_equal(get_table(tly_buf_slice(&bench.out)), cases[i].result);
        end(&bench);
    }
}

/* `count` elements are said; prefixes of `bytes` bytes, ascending. */
static enum tly_result get_of_size(struct bench *bench, size_t count, size_t bytes)
{
    char prefix[TLY_PREFIX_BYTES_MAX + 2];
    tly_buf_clear(&bench->out);
    tly_put_array(&bench->out, count);
    for (size_t i = 0; i < count / 2; i++) {
        (void)snprintf(prefix, sizeof prefix, "%0*zu", (int)bytes, i);
        tly_put_text(&bench->out, tly_slice_text(prefix));
        tly_put_uint(&bench->out, TLY_LWW);
    }
    if (count % 2 == 1) tly_put_text(&bench->out, tly_slice_text("~"));
    return get_table(tly_buf_slice(&bench->out));
}

static void limits_of_a_table(void **state)
{
    (void)state;
    struct bench bench = begin();
    assert_int_equal(get_of_size(&bench, 2 * TLY_PREFIXES_MAX, 8), TLY_OK);
    assert_int_not_equal(get_of_size(&bench, 2 * TLY_PREFIXES_MAX + 2, 8), TLY_OK);
    assert_int_equal(get_of_size(&bench, 2, TLY_PREFIX_BYTES_MAX), TLY_OK);
    assert_int_not_equal(get_of_size(&bench, 2, TLY_PREFIX_BYTES_MAX + 1), TLY_OK);
    assert_int_equal(get_of_size(&bench, 3, 8), TLY_BAD_MESSAGE);
    assert_int_equal(get_of_size(&bench, 0, 8), TLY_OK);
    end(&bench);
}

/* ---- changes ---- */

static void a_change_comes_back_as_it_was(void **state)
{
    (void)state;
    struct bench bench = begin();
    struct tly_table_change change = some_change(), back;
    tly_table_change_put(&bench.out, &change, bench.table);
    assert_int_equal(tly_table_change_get(tly_buf_slice(&bench.out), &back), TLY_OK);
    assert_int_equal(back.kind, change.kind);
    assert_true(tly_slice_equal(back.actor, change.actor));
    assert_int_equal(back.changed_count, change.changed_count);
    for (size_t i = 0; i < change.changed_count; i++) {
        assert_true(tly_slice_equal(back.changed[i].prefix, change.changed[i].prefix));
        assert_int_equal(back.changed[i].keeps, change.changed[i].keeps);
    }
    assert_int_equal(back.rows.left, ROWS);
    end(&bench);
}

static enum tly_result get_change_of(struct bench *bench, size_t fields, size_t actor, size_t changed)
{
    char text[TLY_TABLE_ACTOR_MAX + 2];
    memset(text, 'x', sizeof text);
    tly_buf_clear(&bench->out);
    tly_put_array(&bench->out, fields);
    tly_put_uint(&bench->out, TLY_TABLE_DROP);
    tly_put_text(&bench->out, tly_slice_of(text, actor));
    tly_put_array(&bench->out, changed);
    for (size_t i = 0; i < changed / 2; i++) {
        tly_put_text(&bench->out, tly_slice_text("a:"));
        tly_put_bool(&bench->out, false);
    }
    tly_table_put(&bench->out, bench->table);
    struct tly_table_change change;
    return tly_table_change_get(tly_buf_slice(&bench->out), &change);
}

static void limits_of_a_change(void **state)
{
    (void)state;
    struct bench bench = begin();
    assert_int_equal(get_change_of(&bench, 4, TLY_TABLE_ACTOR_MAX, (size_t)2 * TLY_TABLE_CHANGED_MAX),
                     TLY_OK);
    assert_int_not_equal(get_change_of(&bench, 3, 1, 2), TLY_OK);
    assert_int_not_equal(get_change_of(&bench, 5, 1, 2), TLY_OK);
    assert_int_not_equal(get_change_of(&bench, 4, TLY_TABLE_ACTOR_MAX + 1, 2), TLY_OK);
    assert_int_not_equal(get_change_of(&bench, 4, 1, (size_t)2 * TLY_TABLE_CHANGED_MAX + 2), TLY_OK);
    assert_int_not_equal(get_change_of(&bench, 4, 1, 1), TLY_OK);
    end(&bench);
}

/* What was taken is within the bounds, and its rows walk to their end. */
static bool is_sound(struct tly_slice bytes, void *context)
{
    size_t *taken = context;
    struct tly_table_change change;
    if (tly_table_change_get(bytes, &change) != TLY_OK) return true;
    ++*taken;
    struct tly_slice prefix;
    size_t left = change.rows.left;
    for (uint64_t word; tly_prefixes_next(&change.rows, &prefix, &word); left--)
        if (prefix.n > TLY_PREFIX_BYTES_MAX) return false;
    return left == 0 && change.changed_count <= TLY_TABLE_CHANGED_MAX &&
           change.actor.n <= TLY_TABLE_ACTOR_MAX;
}

static bool is_refused(struct tly_slice bytes, void *context)
{
    (void)context;
    struct tly_table_change change;
    return tly_table_change_get(bytes, &change) != TLY_OK;
}

static void damage_is_refused_or_within_the_bounds(void **state)
{
    (void)state;
    struct bench bench = begin();
    struct tly_table_change change = some_change();
    tly_table_change_put(&bench.out, &change, bench.table);
    struct tly_slice whole = tly_buf_slice(&bench.out);
    size_t taken = 0;
    at_the_edge(whole, is_sound, &taken);
    assert_true(taken > 0);
    each_prefix(whole, is_refused, NULL);
    each_bit_flip(whole, is_sound, &taken);
    each_mutant(&whole, 1, is_sound, &taken);
    end(&bench);
}

static void put_change(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem;
    struct tly_table_change change = some_change();
    tly_table_change_put(out, &change, context);
}

static void a_failed_allocation_is_told(void **state)
{
    (void)state;
    struct tly_registry *table = some_table();
    each_failed_allocation(put_change, table);
    tly_registry_free(table);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_says_strategy_and_generation),
        cmocka_unit_test(a_table_comes_back_as_it_was),
        cmocka_unit_test(rows_ascend_and_none_is_there_twice),
        cmocka_unit_test(limits_of_a_table),
        cmocka_unit_test(a_change_comes_back_as_it_was),
        cmocka_unit_test(limits_of_a_change),
        cmocka_unit_test(damage_is_refused_or_within_the_bounds),
        cmocka_unit_test(a_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
