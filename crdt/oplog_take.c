/* Records of dots that went: each is looked for where its ts lets expect it. */
#include "crdt/oplog_impl.h"

/* A chunk with fewer is low. */
#define CHUNK_LOW (TLY_CHUNK_RECORDS / 4)
/* So many deaths later it is tidied again. */
#define TIDY_EVERY 8

/* Four hashes that are compared at once. */
typedef uint32_t lanes __attribute__((vector_size(16)));

#define LOOKED_AT 16u /* hashes, which are a line */

/* Which of the four is the wanted hash; 4: none. */
static inline uint32_t among_four(const uint32_t *hashes, lanes wanted)
{
    lanes four;
    uint64_t halves[2];
    uint32_t is[4];
    memcpy(&four, hashes, sizeof four);
    four = (lanes)(four == wanted);
    memcpy(halves, &four, sizeof halves);
    if ((halves[0] | halves[1]) == 0) return 4;
    memcpy(is, &four, sizeof is);
    return is[0] != 0 ? 0 : is[1] != 0 ? 1 : is[2] != 0 ? 2 : 3;
}

/* The first place of a hash from a place on; the count when there is none. */
static uint32_t record_from(const struct tly_chunk *chunk, uint32_t hash, uint32_t i)
{
    const lanes wanted = {hash, hash, hash, hash};
    for (; i + 4 <= chunk->count; i += 4) {
        uint32_t which = among_four(chunk->hashes + i, wanted);
        if (which < 4) return i + which;
    }
    while (i < chunk->count && chunk->hashes[i] != hash)
        i++;
    return i;
}

/* From which place on a record is looked for that is expected at another one. */
static inline uint32_t before(uint32_t near)
{
    return near > LOOKED_AT / 2 ? near - LOOKED_AT / 2 : 0;
}

/* The place of a record that is expected at a place, and is somewhere. */
static uint32_t record_near(const struct tly_chunk *chunk, uint32_t hash, uint32_t near)
{
    if (near < chunk->count && chunk->hashes[near] == hash) return near;
    uint32_t i = record_from(chunk, hash, before(near));
    if (i >= chunk->count) i = record_from(chunk, hash, 0); /* they were closed up, or lie unevenly */
    assert(i < chunk->count);
    return i;
}

static inline void take_from(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at,
                             uint32_t hash, uint32_t near)
{
    struct tly_chunk *chunk = tly_oplog_at(log, at);
    /* Of several that are alike the milestones want the first to go. */
    uint32_t place = chunk == log->newest ? record_from(chunk, hash, 0) : record_near(chunk, hash, near);
    chunk->hashes[place] = 0;
    log->count--;
    if (--chunk->live < CHUNK_LOW && chunk->live % TIDY_EVERY == 0) tly_oplog_tidy(log, mem, at);
}

void tly_oplog_remove(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts, uint32_t hash)
{
    take_from(log, mem, tly_oplog_find(log, ts), hash, 0);
}

/*
 * Where among so many a ts stands that are spread evenly from one ts to another, as they are while many keys come and go. Halves,
 * for these are signed in a processor's eyes.
 */
static inline size_t share(uint64_t ts, uint64_t from, uint64_t to, size_t count)
{
    if (ts <= from || ts >= to) return ts <= from ? 0 : count - 1;
    double part = (double)(int64_t)((ts - from) / 2) / (double)(int64_t)((to - from) / 2 + 1);
    size_t at = (size_t)(int64_t)(part * (double)(int64_t)count);
    return at < count ? at : count - 1; /* it may have been rounded up */
}

/* Where the block of this number, or the chunk at `at`, ends: the first ts behind it. */
static inline uint64_t block_end(const struct tly_oplog *log, size_t block)
{
    return block + 1 < log->block_count ? log->blocks[block + 1].from : log->last + 1;
}

static inline uint64_t chunk_end(const struct tly_oplog *log, struct tly_chunk_at at)
{
    const struct tly_block *block = &log->blocks[at.block];
    return at.chunk + 1 < block->count ? block->chunks[at.chunk + 1].from : block_end(log, at.block);
}

/* How far from a guess it is worth a walk. */
#define WALK_MAX 4
/* So many blocks are halved as quickly as one of them is guessed. */
#define BLOCKS_HALVED 4

/* tly_last_from, for which `at` is a guess. */
TLY_ALWAYS_INLINE size_t last_near(const char *items, size_t item_bytes, size_t count, size_t at, uint64_t ts)
{
    for (size_t walked = 0; walked < WALK_MAX; walked++) {
        uint64_t from, next;
        memcpy(&from, items + at * item_bytes, sizeof from);
        bool is_before = at > 0 && from > ts;
        if (!is_before && at + 1 == count) return at;
        memcpy(&next, items + (at + 1) * item_bytes, sizeof next);
        if (!is_before && next > ts) return at;
        at = is_before ? at - 1 : at + 1;
    }
    return tly_last_from(items, item_bytes, count, ts);
}

TLY_ALWAYS_INLINE size_t block_of(const struct tly_oplog *log, uint64_t ts)
{
    const char *blocks = (const char *)log->blocks;
    size_t count = log->block_count;
    if (count <= BLOCKS_HALVED) return tly_oplog_block(log, ts);
    return last_near(blocks, sizeof *log->blocks, count, share(ts, log->blocks[0].from, log->last + 1, count),
                     ts);
}

/* Guesses the chunk. */
TLY_ALWAYS_INLINE void aim(struct tly_leaving *leaving)
{
    const struct tly_oplog *log = leaving->log;
    size_t i = block_of(log, leaving->ts);
    const struct tly_block *block = &log->blocks[i];
    size_t at = share(leaving->ts, block->from, block_end(log, i), block->count);
    leaving->shape = log->shape;
    leaving->at = (struct tly_chunk_at){i, at};
    __builtin_prefetch(&block->chunks[at]);
    __builtin_prefetch(&block->chunks[at] + 1);
}

/* Finds the chunk, and guesses the place in it. */
TLY_ALWAYS_INLINE void seek(struct tly_leaving *leaving)
{
    const struct tly_block *block = &leaving->log->blocks[leaving->at.block];
    const struct tly_chunk *chunks = block->chunks;
    size_t at = last_near((const char *)chunks, sizeof *chunks, block->count, leaving->at.chunk, leaving->ts);
    leaving->at.chunk = at;
    /* What was sealed together has one ts after the other. */
    uint64_t near = leaving->ts - chunks[at].from;
    if (near >= chunks[at].count)
        near = share(leaving->ts, chunks[at].from, chunk_end(leaving->log, leaving->at), chunks[at].count);
    leaving->near = (uint32_t)near;
    __builtin_prefetch(chunks[at].hashes + leaving->near);
}

void tly_oplog_take(struct tly_leaving *leavings, size_t count, const struct tly_mem *mem)
{
    for (size_t i = 0; i < count; i++)
        aim(&leavings[i]);
    for (size_t i = 0; i < count; i++)
        seek(&leavings[i]);
    for (size_t i = 0; i < count; i++) {
        const struct tly_leaving *leaving = &leavings[i];
        bool moved = leaving->log->shape != leaving->shape;
        struct tly_chunk_at at = moved ? tly_oplog_find(leaving->log, leaving->ts) : leaving->at;
        take_from(leaving->log, mem, at, leaving->hash, leaving->near);
    }
}
