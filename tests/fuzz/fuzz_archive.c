/*
 * An archive, given whole and in pieces.  Claims: both read the same, no offset lies beyond the input, and what is whole is whole
 * when its rows are written anew.
 */
#include "tests/fuzz/fuzz_mem.h"
#include "wire/archive.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum tly_result result;
    uint64_t offset, rows;
};

static struct tly_archive_item item;

/* Offers `step` bytes more whenever more are wanted; rows are written to `writer` if it is given. */
static struct outcome read_all(struct tly_slice file, size_t step, struct tly_archive_writer *writer,
                               struct tly_buf *out)
{
    static struct tly_round_writer rows;
    struct tly_mem mem = fuzz_mem();
    struct tly_archive_reader reader;
    struct outcome outcome = {TLY_OK, 0, 0};
    size_t given = 0;
    tly_archive_reader_init(&reader, &mem);
    tly_round_writer_init(&rows, &mem);
    while (outcome.result == TLY_OK && !(reader.has_end && reader.offset == file.n)) {
        size_t consumed = 0, at = (size_t)reader.offset;
        outcome.result = tly_archive_get(&reader, tly_slice_of(file.p + at, given - at), &item, &consumed);
        assert(reader.offset <= given && consumed <= given - at);
        if (outcome.result == TLY_MORE && given < file.n) {
            given = file.n - given < step ? file.n : given + step;
            outcome.result = TLY_OK;
            continue;
        }
        if (outcome.result != TLY_OK || item.part != TLY_ARCHIVE_ROWS) continue;
        struct tly_rows each = tly_rows_of(&item.rows);
        tly_round_writer_clear(&rows);
        for (struct tly_row row; tly_rows_next(&each, &row);) {
            const struct tly_strategy *strategy = tly_strategy_by_id(row.strategy_id);
            if (writer != NULL && strategy != NULL)
                (void)tly_round_writer_add(&rows, row.key, strategy, &row.dot);
        }
        if (writer != NULL) tly_archive_put_rows(writer, &rows, out);
    }
    outcome.offset = reader.offset;
    outcome.rows = reader.rows;
    tly_round_writer_fini(&rows);
    tly_archive_reader_fini(&reader);
    return outcome;
}

static void write_again(struct tly_slice file)
{
    struct tly_mem mem = fuzz_mem();
    struct tly_archive_writer writer;
    struct tly_archive_head head = {0};
    struct tly_buf out;
    tly_archive_writer_init(&writer, &mem);
    tly_buf_init(&out, &mem, (size_t)64 << 20);
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){0}, &out);
    (void)read_all(file, SIZE_MAX, &writer, &out);
    tly_archive_put_end(&writer, &out);
    if (out.result == TLY_OK) {
        struct outcome again = read_all(tly_buf_slice(&out), SIZE_MAX, NULL, NULL);
        assert(again.result == TLY_OK && again.rows == writer.rows);
        (void)again;
    }
    tly_buf_fini(&out);
    tly_archive_writer_fini(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tly_slice file = tly_slice_of(data, size);
    struct outcome whole = read_all(file, SIZE_MAX, NULL, NULL);
    struct outcome pieces = read_all(file, 1 + size / 7, NULL, NULL);
    assert(whole.result == pieces.result && whole.offset == pieces.offset && whole.rows == pieces.rows);
    (void)pieces;
    if (whole.result == TLY_OK) write_again(file);
    return 0;
}
