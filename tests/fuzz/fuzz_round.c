/*
 * The body of a part of a round.  Claims: what is taken is within the bounds, and its rows of known strategies are
 * written and read again as they were.
 */
#include "tests/fuzz/fuzz_mem.h"
#include "wire/frame.h"
#include "wire/message.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct tly_row *row)
{
    assert(row->key.n >= 1 && row->key.n <= TLY_KEY_BYTES_MAX);
    assert(row->dot.version.ts != 0 && row->dot.version.origin != 0);
    assert(row->dot.op == TLY_PUT || row->dot.op == TLY_REMOVE);
    assert(row->dot.bytes.n <= TLY_LWW_BYTES_MAX);
}

/* As many of the rows as one part takes; how many that are. */
static size_t write_rows(struct tly_round_writer *writer, const struct tly_round *round)
{
    struct tly_rows rows = tly_rows_of(round);
    struct tly_row row;
    size_t left = round->row_count;
    for (; tly_rows_next(&rows, &row); left--) {
        check_row(&row);
        const struct tly_strategy *strategy = tly_strategy_by_id(row.strategy_id);
        if (strategy == NULL) continue;
        if (!tly_round_writer_add(writer, row.key, strategy, &row.dot)) break;
    }
    assert(left == 0 || writer->row_count > 0);
    return writer->row_count;
}

static void compare(const struct tly_round *round, const struct tly_round *again, size_t count)
{
    struct tly_rows rows = tly_rows_of(round), copies = tly_rows_of(again);
    struct tly_row row, copy;
    while (count > 0) {
        bool more = tly_rows_next(&rows, &row);
        assert(more);
        if (tly_strategy_by_id(row.strategy_id) == NULL) continue;
        more = tly_rows_next(&copies, &copy);
        assert(more && tly_slice_equal(row.key, copy.key) && row.strategy_id == copy.strategy_id);
        assert(tly_dot_equal(&row.dot, &copy.dot));
        count--;
    }
}

static void write_and_read_again(const struct tly_round *round)
{
    static struct tly_round_writer writer;
    static struct tly_round again;
    struct tly_mem mem = fuzz_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    tly_round_writer_init(&writer, &mem);
    size_t count = write_rows(&writer, round);
    tly_round_writer_finish(&writer, round->flags, (struct tly_mark_list){NULL, 0},
                            (struct tly_mark_list){NULL, 0}, &out);
    assert(out.result == TLY_OK);
    enum tly_result result = tly_round_get(tly_buf_slice(&out), &again);
    assert(result == TLY_OK && again.row_count == count);
    compare(round, &again, count);
    tly_round_writer_fini(&writer);
    tly_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tly_round round;
    if (tly_round_get(tly_slice_of(data, size), &round) == TLY_OK) write_and_read_again(&round);
    return 0;
}
