/*
 * Parts of a stream, one behind the other, each with its length before it (one byte, or 255 for all that is left). Claims: what
 * is taken is within the bounds, and its rows are written and read again as they were.
 */
#include "tests/fuzz/fuzz_mem.h"
#include "wire/frame.h"
#include "wire/stream.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct tly_names *names;
    struct tly_stream *in, *out, *again;
    struct tly_parts *reading, *writing, *rereading;
    struct tly_buf body;
};

static void check_row(const struct tly_row *row)
{
    assert(row->key.n >= 1 && row->key.n <= TLY_KEY_BYTES_MAX);
    assert(row->dot.version.ts != 0 && row->dot.version.origin != 0);
    assert(row->dot.op == TLY_PUT || row->dot.op == TLY_REMOVE);
    assert(row->dot.bytes.n <= TLY_LWW_BYTES_MAX && tly_strategy_by_id(row->strategy_id) != NULL);
}

static bool has_row(const struct tly_part *part, const struct tly_row *row)
{
    for (size_t i = 0; i < part->row_count; i++)
        if (tly_slice_equal(part->rows[i].key, row->key) && tly_dot_equal(&part->rows[i].dot, &row->dot))
            return true;
    return false;
}

static void write_and_read_again(struct world *world, const struct tly_part *part)
{
    struct tly_part_head head = {.flags = part->flags & (TLY_PART_FIRST | TLY_PART_LAST | TLY_PART_START),
                                 .told = part->told,
                                 .start = part->start,
                                 .end = part->end};
    size_t count = 0;
    tly_buf_clear(&world->body);
    tly_parts_begin(world->writing, world->out, world->names);
    for (; count < part->row_count; count++) {
        const struct tly_row *row = &part->rows[count];
        check_row(row);
        if (!tly_parts_add(world->writing, row->key, tly_strategy_by_id(row->strategy_id), &row->dot)) break;
    }
    assert(count > 0 || part->row_count == 0);
    tly_parts_end(world->writing, &head, &world->body);
    if (part->end.count > TLY_STREAM_MARKS_MAX) return;
    assert(world->body.result == TLY_OK);
    struct tly_part again;
    enum tly_result result =
        tly_parts_get(world->rereading, world->again, tly_buf_slice(&world->body), &again);
    assert(result == TLY_OK && again.row_count == count && again.start.count == part->start.count);
    for (size_t i = 0; i < count && count <= 64; i++)
        assert(has_row(&again, &part->rows[i]));
}

static void world_init(struct world *world)
{
    struct tly_mem mem = fuzz_mem();
    struct tly_names_config config = {
        .mem = mem, .names_max = TLY_NAMES_MAX, .key_bytes_max = TLY_NAMES_KEY_BYTES_MAX};
    world->names = tly_names_new(&config);
    world->in = tly_stream_new(&mem);
    world->out = tly_stream_new(&mem);
    world->again = tly_stream_new(&mem);
    world->reading = tly_parts_new(&mem);
    world->writing = tly_parts_new(&mem);
    world->rereading = tly_parts_new(&mem);
    tly_buf_init(&world->body, &mem, TLY_FRAME_BODY_MAX);
}

static void world_fini(struct world *world)
{
    tly_names_check(world->names);
    tly_names_free(world->names);
    tly_stream_free(world->in);
    tly_stream_free(world->out);
    tly_stream_free(world->again);
    tly_parts_free(world->reading);
    tly_parts_free(world->writing);
    tly_parts_free(world->rereading);
    tly_buf_fini(&world->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world;
    world_init(&world);
    while (size > 0) {
        size_t n = data[0] == 255 || data[0] > size - 1 ? size - 1 : data[0];
        struct tly_part part;
        if (tly_parts_get(world.reading, world.in, tly_slice_of(data + 1, n), &part) != TLY_OK) break;
        write_and_read_again(&world, &part);
        data += 1 + n;
        size -= 1 + n;
    }
    world_fini(&world);
    return 0;
}
