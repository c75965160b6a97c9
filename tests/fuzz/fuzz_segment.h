/*
 * A segment of the log or a snapshot, read, salvaged and replayed into an engine.  Claims: what counts ends within the file, reads
 * again as it was, and is salvaged with whatever lies behind damage; an engine is sound after whatever it was given.
 */
#ifndef TALLY_TESTS_FUZZ_SEGMENT_H
#define TALLY_TESTS_FUZZ_SEGMENT_H

#include "service/engine/engine.h"
#include "tests/fuzz/fuzz_mem.h"
#include "tests/fuzz/fuzz_store.h"

#define FUZZ_WALL_NS UINT64_C(1800000000000000000)

struct fuzz_batches {
    struct tly_engine *engine; /* NULL: they are only counted */
    uint64_t count, sum;
};

static inline enum tly_result fuzz_take(void *context, struct tly_slice batch)
{
    struct fuzz_batches *batches = context;
    batches->count++;
    batches->sum = batches->sum * 31 + XXH3_64bits(batch.p, batch.n);
    return batches->engine != NULL ? tly_engine_replay(batches->engine, batch) : TLY_OK;
}

static inline void fuzz_replay(const struct tly_segment_part *part)
{
    struct tly_segment_end end;
    struct tly_time now = {FUZZ_WALL_NS, 1};
    struct tly_engine_config config = {.mem = fuzz_mem(),
                                       .name = tly_slice_text("fuzz"),
                                       .cluster = tly_slice_text("fuzz"),
                                       .has_store = true,
                                       .now = now};
    struct fuzz_batches batches = {0};
    enum tly_result result = tly_engine_new(&config, &batches.engine);
    assert(result == TLY_OK);
    result = tly_segment_read(part, fuzz_take, &batches, &end);
    assert(result != TLY_NOT_FOUND && result != TLY_IO && end.valid <= part->bytes);
    tly_engine_check(batches.engine);
    result = tly_engine_start(batches.engine, 77, now);
    struct tly_effects effects;
    struct tly_event tick = {.kind = TLY_TICK,
                             .now = {FUZZ_WALL_NS + UINT64_C(1000000000), UINT64_C(1000000001)}};
    if (result == TLY_OK && tly_engine_step(batches.engine, &tick, &effects) == TLY_OK)
        assert(effects.list != NULL);
    tly_engine_check(batches.engine);
    tly_engine_free(batches.engine);
}

static inline void fuzz_read(const struct tly_segment_part *part)
{
    struct tly_segment_end end, again;
    struct tly_segment_part valid = *part;
    struct fuzz_batches all = {0}, counted = {0}, salvaged = {0};
    uint64_t lost = 0;
    enum tly_result result = tly_segment_read(part, fuzz_take, &all, &end);
    assert(end.valid <= part->bytes && !end.is_takers);
    assert(result != TLY_OK || end.valid == part->bytes);
    assert(end.following == 0 || (end.following > end.valid && end.following < part->bytes));
    valid.bytes = end.valid;
    enum tly_result second = tly_segment_read(&valid, fuzz_take, &counted, &again);
    if (end.valid > 0) {
        assert(counted.count == all.count && counted.sum == all.sum && again.valid == end.valid);
        assert(second == (part->kind == TLY_SEGMENT_LOG || result == TLY_OK ? TLY_OK : TLY_MORE));
    }
    result = tly_segment_salvage(part, fuzz_take, &salvaged, &lost);
    assert(lost <= part->bytes && salvaged.count >= all.count);
    assert(result != TLY_OK || end.following == 0 || lost > 0);
}

static inline void fuzz_segment(enum tly_segment_kind kind, struct tly_slice file)
{
    /* The number of the name is the one inside, so that it is never that which is wrong. */
    uint64_t number = 0;
    for (size_t i = 0; i < 8 && file.n >= TLY_SEGMENT_HEADER_BYTES; i++)
        number |= (uint64_t)file.p[12 + i] << (8 * i);
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(kind, number, name);
    struct tly_storage *storage = fuzz_storage(name, file);
    struct tly_segment_part part = {storage, kind, number, file.n};
    fuzz_read(&part);
    fuzz_replay(&part);
    tly_storage_close(storage);
}

#endif
