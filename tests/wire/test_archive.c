/* An archive that was cut anywhere, or had any bit turned, is not taken for a whole one. */
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "wire/archive.h"

#include <stdio.h>

static const struct tly_mark marks[] = {{7, 1000}, {9, UINT64_MAX}};

struct written {
    struct tly_buf file;
    struct tly_round_writer rows;
    struct tly_archive_writer writer;
};

static void written_init(struct written *w)
{
    struct tly_mem mem = test_mem();
    tly_buf_init(&w->file, &mem, 1 << 22);
    tly_round_writer_init(&w->rows, &mem);
    tly_archive_writer_init(&w->writer, &mem);
    struct tly_archive_head head = {
        tly_slice_text("prod"), tly_slice_text("a"), tly_slice_text("k"), 7, 123, {{0}, 0}};
    tly_archive_put_head(&w->writer, &head, (struct tly_mark_list){marks, 2}, &w->file);
}

static void written_fini(struct written *w)
{
    tly_buf_fini(&w->file);
    tly_round_writer_fini(&w->rows);
    tly_archive_writer_fini(&w->writer);
    assert_int_equal(test_mem_live(), 0);
}

static void add_rows(struct written *w, unsigned count, const char *value)
{
    for (unsigned i = 0; i < count; i++) {
        struct tly_dot dot = {.version = {1000 + i, 7}, .op = TLY_PUT, .bytes = tly_slice_text(value)};
        char key[16];
        (void)snprintf(key, sizeof key, "kv:%u", i);
        assert_true(tly_round_writer_add(&w->rows, tly_slice_text(key), tly_lww(), &dot));
    }
    tly_archive_put_rows(&w->writer, &w->rows, &w->file);
    tly_round_writer_clear(&w->rows);
}

/* The small file that damage is done to: some rows, compressed and not. */
static struct tly_slice small_file(struct written *w)
{
    written_init(w);
    add_rows(w, 2, "value value");
    add_rows(w, 9, "value value");
    tly_archive_put_end(&w->writer, &w->file);
    assert_int_equal(w->file.result, TLY_OK);
    return tly_buf_slice(&w->file);
}

struct outcome {
    enum tly_result result; /* TLY_OK: whole */
    uint64_t offset, rows;
};

/* Reads what is given in pieces of `step` bytes, as from a stream. */
static struct outcome read_file(struct tly_slice file, size_t step)
{
    struct tly_mem mem = test_mem();
    struct tly_archive_reader reader;
    struct tly_archive_item item;
    tly_archive_reader_init(&reader, &mem);
    struct outcome outcome = {TLY_OK, 0, 0};
    size_t given = 0;
    while (outcome.result == TLY_OK && !(reader.has_end && reader.offset == file.n)) {
        size_t consumed, at = (size_t)reader.offset;
        outcome.result = tly_archive_get(&reader, tly_slice_of(file.p + at, given - at), &item, &consumed);
        if (outcome.result != TLY_MORE || given == file.n) continue;
        given = file.n - given < step ? file.n : given + step;
        outcome.result = TLY_OK;
    }
    outcome.offset = reader.offset;
    outcome.rows = reader.rows;
    tly_archive_reader_fini(&reader);
    return outcome;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct written w;
    struct tly_slice file = small_file(&w);
    struct tly_mem mem = test_mem();
    struct tly_archive_reader reader;
    struct tly_archive_item item;
    size_t consumed, at = 0;
    tly_archive_reader_init(&reader, &mem);

    assert_int_equal(tly_archive_get(&reader, file, &item, &consumed), TLY_OK);
    assert_int_equal(item.part, TLY_ARCHIVE_HEAD);
    assert_true(tly_slice_equal(item.head.cluster, tly_slice_text("prod")));
    assert_true(tly_slice_equal(item.head.name, tly_slice_text("a")));
    assert_true(tly_slice_equal(item.head.prefix, tly_slice_text("k")));
    assert_true(item.head.origin == 7 && item.head.wall_ns == 123);
    struct tly_mark mark;
    for (size_t i = 0; i < 2; i++) {
        assert_true(tly_marks_next(&item.head.marks, &mark));
        assert_true(mark.origin == marks[i].origin && mark.ts == marks[i].ts);
    }
    for (unsigned part = 0, count = 2; part < 2; part++, count = 9) {
        at += consumed;
        assert_int_equal(tly_archive_get(&reader, tly_slice_of(file.p + at, file.n - at), &item, &consumed),
                         TLY_OK);
        assert_int_equal(item.part, TLY_ARCHIVE_ROWS);
        struct tly_rows rows = tly_rows_of(&item.rows);
        struct tly_row row;
        for (unsigned i = 0; i < count; i++)
            assert_true(tly_rows_next(&rows, &row) && row.dot.version.ts == 1000 + i);
        assert_false(tly_rows_next(&rows, &row));
    }
    at += consumed;
    assert_int_equal(tly_archive_get(&reader, tly_slice_of(file.p + at, file.n - at), &item, &consumed),
                     TLY_OK);
    assert_int_equal(item.part, TLY_ARCHIVE_END);
    assert_int_equal(at + consumed, file.n);
    assert_int_equal(reader.rows, 11);
    tly_archive_reader_fini(&reader);
    written_fini(&w);
}

static void pieces_of_any_size_read_the_same(void **state)
{
    (void)state;
    struct written w;
    struct tly_slice file = small_file(&w);
    for (size_t step = 1; step <= file.n; step++) {
        struct outcome outcome = read_file(file, step);
        assert_int_equal(outcome.result, TLY_OK);
        assert_int_equal(outcome.rows, 11);
    }
    written_fini(&w);
}

static bool is_cut(struct tly_slice bytes, void *context)
{
    (void)context;
    struct outcome outcome = read_file(bytes, SIZE_MAX);
    return outcome.result == TLY_MORE && outcome.offset <= bytes.n;
}

static bool is_damaged(struct tly_slice bytes, void *context)
{
    (void)context;
    return read_file(bytes, SIZE_MAX).result != TLY_OK;
}

static void a_file_cut_at_any_byte_is_not_whole(void **state)
{
    (void)state;
    struct written w;
    each_prefix(small_file(&w), is_cut, NULL);
    written_fini(&w);
}

static void a_file_with_any_bit_turned_is_not_whole(void **state)
{
    (void)state;
    struct written w;
    each_bit_flip(small_file(&w), is_damaged, NULL);
    written_fini(&w);
}

/* The offset is that of the part which is wrong: never behind the damage. */
static void the_offset_is_not_behind_the_damage(void **state)
{
    (void)state;
    struct written w;
    struct tly_slice file = small_file(&w);
    for (size_t i = 0; i < file.n; i++) {
        w.file.p[i] ^= 0x10;
        struct outcome outcome = read_file(file, SIZE_MAX);
        w.file.p[i] ^= 0x10;
        assert_int_not_equal(outcome.result, TLY_OK);
        assert_true(outcome.offset <= i);
    }
    written_fini(&w);
}

static void nothing_follows_the_end(void **state)
{
    (void)state;
    struct written w;
    (void)small_file(&w);
    size_t whole = w.file.n;
    tly_buf_put(&w.file, "", 1);
    struct outcome outcome = read_file(tly_buf_slice(&w.file), SIZE_MAX);
    assert_int_equal(outcome.result, TLY_BAD_MESSAGE);
    assert_int_equal(outcome.offset, whole);
    written_fini(&w);
}

/* Frames that are each whole, but not all of them, or in another order: only the digest tells. */
static void a_missing_or_moved_frame_is_seen(void **state)
{
    (void)state;
    struct written w;
    written_init(&w);
    size_t first = w.file.n;
    add_rows(&w, 3, "one");
    size_t second = w.file.n;
    add_rows(&w, 3, "two");
    size_t end = w.file.n;
    assert_int_equal(second - first, end - second);
    tly_archive_put_end(&w.writer, &w.file);
    assert_int_equal(read_file(tly_buf_slice(&w.file), SIZE_MAX).result, TLY_OK);

    struct tly_mem mem = test_mem();
    struct tly_buf less;
    tly_buf_init(&less, &mem, 1 << 20);
    tly_buf_put(&less, w.file.p, second);
    tly_buf_put(&less, w.file.p + end, w.file.n - end);
    struct outcome outcome = read_file(tly_buf_slice(&less), SIZE_MAX);
    assert_int_equal(outcome.result, TLY_BAD_CHECKSUM);
    assert_int_equal(outcome.offset, second);
    tly_buf_clear(&less);
    tly_buf_put(&less, w.file.p, first);
    tly_buf_put(&less, w.file.p + second, end - second);
    tly_buf_put(&less, w.file.p + first, second - first);
    tly_buf_put(&less, w.file.p + end, w.file.n - end);
    outcome = read_file(tly_buf_slice(&less), SIZE_MAX);
    assert_int_equal(outcome.result, TLY_BAD_CHECKSUM);
    assert_int_equal(outcome.offset, end);
    tly_buf_fini(&less);
    written_fini(&w);
}

static void a_newer_format_is_named(void **state)
{
    (void)state;
    struct written w;
    struct tly_slice file = small_file(&w);
    w.file.p[14]++;
    assert_int_equal(read_file(file, SIZE_MAX).result, TLY_UNKNOWN_FRAME);
    assert_int_equal(read_file(tly_slice_text("{\"id\":1}"), SIZE_MAX).result, TLY_BAD_FRAME);
    written_fini(&w);
}

static bool is_bounded(struct tly_slice bytes, void *context)
{
    (void)context;
    struct outcome outcome = read_file(bytes, SIZE_MAX);
    return outcome.offset <= bytes.n && outcome.result != TLY_NOMEM;
}

static void mutants_do_no_harm(void **state)
{
    (void)state;
    struct written w;
    struct tly_slice file = small_file(&w);
    each_mutant(&file, 1, is_bounded, NULL);
    written_fini(&w);
}

static void encode_small(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)context;
    struct tly_archive_writer writer;
    tly_archive_writer_init(&writer, mem);
    struct tly_archive_head head = {.origin = 1};
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){marks, 2}, out);
    tly_archive_put_end(&writer, out);
    tly_archive_writer_fini(&writer);
}

static void memory_that_runs_out_is_said(void **state)
{
    (void)state;
    each_failed_allocation(encode_small, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(pieces_of_any_size_read_the_same),
        cmocka_unit_test(a_file_cut_at_any_byte_is_not_whole),
        cmocka_unit_test(a_file_with_any_bit_turned_is_not_whole),
        cmocka_unit_test(the_offset_is_not_behind_the_damage),
        cmocka_unit_test(nothing_follows_the_end),
        cmocka_unit_test(a_missing_or_moved_frame_is_seen),
        cmocka_unit_test(a_newer_format_is_named),
        cmocka_unit_test(mutants_do_no_harm),
        cmocka_unit_test(memory_that_runs_out_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
