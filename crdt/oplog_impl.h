/*
 * Inside the log:  oplog.c  chunks, their room and records    oplog_take.c  records that go, several at a time
 */
#ifndef TALLY_CRDT_OPLOG_IMPL_H
#define TALLY_CRDT_OPLOG_IMPL_H

#include "crdt/oplog.h"

#include <assert.h>
#include <string.h>

/*
 * The last of `count` items that begins at or before ts, or the first; an item begins with its `from`.  Halved without a branch,
 * which would be guessed wrongly: deaths come at any ts.
 */
TLY_ALWAYS_INLINE size_t tly_last_from(const char *items, size_t item_bytes, size_t count, uint64_t ts)
{
    const char *at = items;
    for (size_t left = count; left > 1;) {
        size_t half = left / 2;
        const char *middle = at + half * item_bytes;
        uint64_t from;
        memcpy(&from, middle, sizeof from);
        at = from <= ts ? middle : at;
        left -= half;
    }
    return (size_t)(at - items) / item_bytes;
}

static inline size_t tly_oplog_block(const struct tly_oplog *log, uint64_t ts)
{
    return tly_last_from((const char *)log->blocks, sizeof *log->blocks, log->block_count, ts);
}

static inline struct tly_chunk *tly_oplog_at(const struct tly_oplog *log, struct tly_chunk_at at)
{
    return &log->blocks[at.block].chunks[at.chunk];
}

/* Gives a chunk back that is empty, and joins one that is low with a neighbour if they fit. */
void tly_oplog_tidy(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at);

#endif
