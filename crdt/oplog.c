#include "crdt/oplog.h"

#include <assert.h>
#include <string.h>

/* A chunk with fewer is joined with a neighbour if both together fill no more than three quarters of one. */
#define CHUNK_LOW (TLY_CHUNK_RECORDS / 4)
#define CHUNK_JOINED_MAX (TLY_CHUNK_RECORDS / 4 * 3)
#define BLOCK_LOW (TLY_BLOCK_CHUNKS / 4)
#define BLOCK_JOINED_MAX (TLY_BLOCK_CHUNKS / 4 * 3)

static void free_chunk(const struct tly_mem *mem, struct tly_chunk *chunk)
{
    tly_mem_free(mem, chunk->hashes, chunk->capacity * sizeof *chunk->hashes);
}

static void free_block(const struct tly_mem *mem, struct tly_block *block)
{
    tly_mem_free(mem, block->chunks, block->capacity * sizeof *block->chunks);
}

void tly_oplog_fini(struct tly_oplog *log, const struct tly_mem *mem)
{
    for (size_t i = 0; i < log->block_count; i++) {
        for (uint32_t j = 0; j < log->blocks[i].count; j++)
            free_chunk(mem, &log->blocks[i].chunks[j]);
        free_block(mem, &log->blocks[i]);
    }
    tly_mem_free(mem, log->blocks, log->block_capacity * sizeof *log->blocks);
    *log = (struct tly_oplog){0};
}

/* ---- finding ---- */

/*
 * The last of `count` items that begins at or before ts, or the first; an item begins with its `from`.  Halved without a branch,
 * which would be guessed wrongly: deaths come at any ts.
 */
TLY_ALWAYS_INLINE size_t last_from(const char *items, size_t item_bytes, size_t count, uint64_t ts)
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

static size_t block_of(const struct tly_oplog *log, uint64_t ts)
{
    return last_from((const char *)log->blocks, sizeof *log->blocks, log->block_count, ts);
}

struct tly_chunk_at tly_oplog_find(const struct tly_oplog *log, uint64_t ts)
{
    assert(log->block_count > 0);
    size_t newest = log->block_count - 1;
    const struct tly_block *block = &log->blocks[newest];
    if (block->chunks[block->count - 1].from <= ts) return (struct tly_chunk_at){newest, block->count - 1};
    size_t i = block_of(log, ts);
    block = &log->blocks[i];
    return (struct tly_chunk_at){
        i, last_from((const char *)block->chunks, sizeof *block->chunks, block->count, ts)};
}

static struct tly_chunk *chunk_at(const struct tly_oplog *log, struct tly_chunk_at at)
{
    return &log->blocks[at.block].chunks[at.chunk];
}

struct tly_chunk_at tly_oplog_after(const struct tly_oplog *log, struct tly_chunk_at at)
{
    if (at.chunk + 1 < log->blocks[at.block].count) return (struct tly_chunk_at){at.block, at.chunk + 1};
    return (struct tly_chunk_at){at.block + 1, 0};
}

const struct tly_chunk *tly_oplog_chunk(const struct tly_oplog *log, struct tly_chunk_at at, uint64_t *to)
{
    if (at.block >= log->block_count) return NULL;
    struct tly_chunk_at after = tly_oplog_after(log, at);
    *to = after.block < log->block_count ? chunk_at(log, after)->from - 1 : UINT64_MAX;
    return chunk_at(log, at);
}

/* ---- room ---- */

static bool reserve_block(struct tly_oplog *log, const struct tly_mem *mem)
{
    void *blocks =
        tly_mem_reserve(mem, log->blocks, &log->block_capacity, log->block_count + 1, sizeof *log->blocks);
    if (blocks == NULL) return false;
    log->blocks = blocks;
    return true;
}

static bool reserve_chunks(struct tly_block *block, const struct tly_mem *mem, uint32_t count)
{
    size_t capacity = block->capacity;
    void *chunks = tly_mem_reserve(mem, block->chunks, &capacity, count, sizeof *block->chunks);
    if (chunks == NULL) return false;
    block->chunks = chunks;
    block->capacity = (uint32_t)capacity;
    return true;
}

static bool reserve_records(struct tly_chunk *chunk, const struct tly_mem *mem, uint32_t count)
{
    if (count <= chunk->capacity) return true;
    size_t capacity = chunk->capacity;
    void *hashes = tly_mem_reserve(mem, chunk->hashes, &capacity, count, sizeof *chunk->hashes);
    if (hashes == NULL) return false;
    chunk->hashes = hashes;
    chunk->capacity = (uint32_t)capacity;
    return true;
}

static void insert_block(struct tly_oplog *log, size_t at, struct tly_block block)
{
    log->shape++;
    memmove(&log->blocks[at + 1], &log->blocks[at], (log->block_count - at) * sizeof block);
    log->blocks[at] = block;
    log->block_count++;
}

/* Room for a chunk behind this one, in a block that it may have to divide; *at is then right again. */
static bool reserve_chunk_after(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at *at)
{
    struct tly_block *block = &log->blocks[at->block];
    if (block->count < TLY_BLOCK_CHUNKS) return reserve_chunks(block, mem, block->count + 1);
    /* Appending leaves full blocks behind; elsewhere a block is halved. */
    bool appends = at->block + 1 == log->block_count && at->chunk + 1 == block->count;
    uint32_t kept = appends ? block->count - 1 : block->count / 2, moved = block->count - kept;
    struct tly_block second = {0};
    if (!reserve_block(log, mem) || !reserve_chunks(&second, mem, moved + 1)) return false;
    block = &log->blocks[at->block];
    memcpy(second.chunks, block->chunks + kept, moved * sizeof *second.chunks);
    second.count = moved;
    second.from = second.chunks[0].from;
    block->count = kept;
    insert_block(log, at->block + 1, second);
    if (at->chunk < kept) return reserve_chunks(&log->blocks[at->block], mem, kept + 1);
    *at = (struct tly_chunk_at){at->block + 1, at->chunk - kept};
    return true;
}

/* After reserve_chunk_after. */
static void insert_chunk_after(struct tly_oplog *log, struct tly_chunk_at at, struct tly_chunk chunk)
{
    log->shape++;
    struct tly_block *block = &log->blocks[at.block];
    struct tly_chunk *place = &block->chunks[at.chunk + 1];
    memmove(place + 1, place, (block->count - at.chunk - 1) * sizeof chunk);
    *place = chunk;
    block->count++;
}

static bool begin(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts)
{
    struct tly_block block = {.from = ts};
    struct tly_chunk chunk = {.from = ts};
    if (!reserve_block(log, mem) || !reserve_chunks(&block, mem, 1)) return false;
    if (!reserve_records(&chunk, mem, 1)) {
        free_block(mem, &block);
        return false;
    }
    block.chunks[0] = chunk;
    block.count = 1;
    insert_block(log, 0, block);
    return true;
}

/* ---- dividing ---- */

static void sort_timed(struct tly_timed *items, size_t count)
{
    /* Nearly in order as a rule, and never many. */
    for (size_t i = 1; i < count; i++) {
        struct tly_timed item = items[i];
        size_t j = i;
        for (; j > 0 && items[j - 1].ts > item.ts; j--)
            items[j] = items[j - 1];
        items[j] = item;
    }
}

/* Where to divide: near the middle, between two of different ts; 0 or count when all are of one. */
static size_t middle_of(const struct tly_timed *items, size_t count)
{
    size_t middle = count / 2, up = middle, down = middle;
    while (up < count && items[up - 1].ts == items[up].ts)
        up++;
    if (up < count) return up;
    while (down > 0 && items[down - 1].ts == items[down].ts)
        down--;
    return down;
}

/* Gives the chunk's later half to `second`, whose array is large enough. False: they are all of one ts. */
static bool divide(struct tly_chunk *chunk, uint64_t to, const struct tly_dots *dots,
                   struct tly_chunk *second)
{
    struct tly_timed items[TLY_CHUNK_RECORDS];
    size_t count = dots->list(dots->context, chunk, chunk->from, to, items, TLY_CHUNK_RECORDS);
    assert(count == chunk->count);
    sort_timed(items, count);
    size_t middle = middle_of(items, count);
    if (middle == 0 || middle == count) return false;
    for (size_t i = 0; i < middle; i++)
        chunk->hashes[i] = items[i].hash;
    for (size_t i = middle; i < count; i++)
        second->hashes[i - middle] = items[i].hash;
    chunk->count = (uint32_t)middle;
    second->count = (uint32_t)(count - middle);
    second->from = items[middle].ts;
    return true;
}

/* A chunk of its own behind the last one, for a ts newer than all. */
static bool reserve_newest(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts)
{
    struct tly_block *block = &log->blocks[log->block_count - 1];
    struct tly_chunk_at at = {log->block_count - 1, block->count - 1};
    if (block->chunks[at.chunk].count == 0) {
        /* Reserved once, and then not used. */
        block->chunks[at.chunk].from = ts;
        block->from = block->chunks[0].from;
        return true;
    }
    struct tly_chunk chunk = {.from = ts};
    if (!reserve_records(&chunk, mem, TLY_CHUNK_RECORDS)) return false;
    if (!reserve_chunk_after(log, mem, &at)) {
        free_chunk(mem, &chunk);
        return false;
    }
    insert_chunk_after(log, at, chunk);
    return true;
}

static bool reserve_divided(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at,
                            const struct tly_dots *dots)
{
    struct tly_chunk second = {0};
    uint64_t to = UINT64_MAX;
    if (!reserve_records(&second, mem, TLY_CHUNK_RECORDS)) return false;
    if (!reserve_chunk_after(log, mem, &at)) {
        free_chunk(mem, &second);
        return false;
    }
    (void)tly_oplog_chunk(log, at, &to);
    struct tly_chunk *chunk = chunk_at(log, at);
    if (divide(chunk, to, dots, &second)) {
        insert_chunk_after(log, at, second);
        return true;
    }
    free_chunk(mem, &second);
    return reserve_records(chunk, mem, chunk->count + 1);
}

bool tly_oplog_divides(const struct tly_oplog *log, uint64_t ts)
{
    if (ts > log->last || log->block_count == 0) return false;
    return chunk_at(log, tly_oplog_find(log, ts))->count == TLY_CHUNK_RECORDS;
}

bool tly_oplog_reserve(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts,
                       const struct tly_dots *dots)
{
    if (tly_oplog_newest(log, ts) != NULL) return true;
    if (log->block_count == 0) return begin(log, mem, ts);
    struct tly_chunk_at at = tly_oplog_find(log, ts);
    struct tly_chunk *chunk = chunk_at(log, at);
    if (chunk->count < TLY_CHUNK_RECORDS) return reserve_records(chunk, mem, chunk->count + 1);
    if (ts > log->last) return reserve_newest(log, mem, ts);
    if (chunk->count == TLY_CHUNK_RECORDS) return reserve_divided(log, mem, at, dots);
    return reserve_records(chunk, mem, chunk->count + 1);
}

/* ---- records ---- */

/* The first chunk, and with it the first block, begins with whatever comes earlier. */
static void begin_earlier(struct tly_oplog *log, uint64_t ts)
{
    struct tly_chunk *first = &log->blocks[0].chunks[0];
    if (ts < first->from) first->from = log->blocks[0].from = ts;
}

void tly_oplog_add(struct tly_oplog *log, uint64_t ts, uint32_t hash)
{
    begin_earlier(log, ts);
    struct tly_chunk *chunk = chunk_at(log, tly_oplog_find(log, ts));
    assert(chunk->count < chunk->capacity);
    tly_oplog_append(log, chunk, ts, hash);
}

static void remove_block(struct tly_oplog *log, const struct tly_mem *mem, size_t at)
{
    log->shape++;
    free_block(mem, &log->blocks[at]);
    log->block_count--;
    memmove(&log->blocks[at], &log->blocks[at + 1], (log->block_count - at) * sizeof *log->blocks);
}

/* Joins a block that is low with the next one, if they fit. Without memory they stay two. */
static void join_blocks(struct tly_oplog *log, const struct tly_mem *mem, size_t at)
{
    if (at + 1 >= log->block_count) return;
    struct tly_block *block = &log->blocks[at], *next = block + 1;
    uint32_t both = block->count + next->count;
    if (both > BLOCK_JOINED_MAX || !reserve_chunks(block, mem, both)) return;
    memcpy(block->chunks + block->count, next->chunks, next->count * sizeof *next->chunks);
    block->count = both;
    remove_block(log, mem, at + 1);
}

/* The chunk's own array is gone or has been given away. */
static void remove_chunk(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at)
{
    log->shape++;
    struct tly_block *block = &log->blocks[at.block];
    block->count--;
    memmove(&block->chunks[at.chunk], &block->chunks[at.chunk + 1],
            (block->count - at.chunk) * sizeof *block->chunks);
    if (block->count == 0) {
        remove_block(log, mem, at.block);
    } else {
        block->from = block->chunks[0].from;
        if (block->count >= BLOCK_LOW) return;
        join_blocks(log, mem, at.block);
        if (at.block > 0) join_blocks(log, mem, at.block - 1);
    }
}

/* Joins a chunk with the next of its block, if they fit. */
static bool join_chunks(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at)
{
    struct tly_block *block = &log->blocks[at.block];
    if (at.chunk + 1 >= block->count) return false;
    struct tly_chunk *chunk = &block->chunks[at.chunk], *next = chunk + 1;
    uint32_t both = chunk->count + next->count;
    if (both > CHUNK_JOINED_MAX || !reserve_records(chunk, mem, both)) return false;
    memcpy(chunk->hashes + chunk->count, next->hashes, next->count * sizeof *next->hashes);
    chunk->count = both;
    free_chunk(mem, next);
    remove_chunk(log, mem, (struct tly_chunk_at){at.block, at.chunk + 1});
    return true;
}

/* Of a life that has ended and was forgotten nothing else is left. */
static void emptied(struct tly_oplog *log, const struct tly_mem *mem)
{
    tly_mem_free(mem, log->blocks, log->block_capacity * sizeof *log->blocks);
    log->blocks = NULL;
    log->block_capacity = 0;
    log->last = 0;
}

static void tidy_chunk(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at)
{
    struct tly_chunk *chunk = chunk_at(log, at);
    if (chunk->count >= CHUNK_LOW) return;
    if (chunk->count == 0) {
        free_chunk(mem, chunk);
        remove_chunk(log, mem, at);
        if (log->block_count == 0) emptied(log, mem);
        return;
    }
    if (join_chunks(log, mem, at) || at.chunk == 0) return;
    (void)join_chunks(log, mem, (struct tly_chunk_at){at.block, at.chunk - 1});
}

/* Four hashes that are compared at once. */
typedef uint32_t lanes __attribute__((vector_size(16)));

static inline lanes lanes_equal(const uint32_t *hashes, lanes wanted)
{
    lanes four;
    memcpy(&four, hashes, sizeof four);
    return (lanes)(four == wanted);
}

/* The place of a record of this hash; the count when there is none. Sixteen at a time: it is looked for at every death. */
static uint32_t record_of(const struct tly_chunk *chunk, uint32_t hash)
{
    const uint32_t *hashes = chunk->hashes;
    const lanes wanted = {hash, hash, hash, hash};
    uint32_t i = 0;
    for (; i + 16 <= chunk->count; i += 16) {
        lanes found = lanes_equal(hashes + i, wanted) | lanes_equal(hashes + i + 4, wanted) |
                      lanes_equal(hashes + i + 8, wanted) | lanes_equal(hashes + i + 12, wanted);
        uint64_t halves[2];
        memcpy(halves, &found, sizeof found);
        if ((halves[0] | halves[1]) != 0) break;
    }
    while (i < chunk->count && hashes[i] != hash)
        i++;
    return i;
}

static void take_from(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at, uint32_t hash)
{
    struct tly_chunk *chunk = chunk_at(log, at);
    uint32_t i = record_of(chunk, hash);
    assert(i < chunk->count);
    /* Those behind move up, so that records that came in order stay in order. */
    chunk->count--;
    memmove(&chunk->hashes[i], &chunk->hashes[i + 1], (chunk->count - i) * sizeof *chunk->hashes);
    log->count--;
    tidy_chunk(log, mem, at);
}

void tly_oplog_remove(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts, uint32_t hash)
{
    take_from(log, mem, tly_oplog_find(log, ts), hash);
}

/* Where among the chunks of a block a ts stands if they are spread evenly in time, as they are while many keys come and go. */
static size_t guess(const struct tly_oplog *log, size_t block, uint64_t ts)
{
    uint64_t from = log->blocks[block].from, count = log->blocks[block].count;
    uint64_t to = block + 1 < log->block_count ? log->blocks[block + 1].from : log->last + 1;
    if (ts <= from || ts >= to) return ts <= from ? 0 : count - 1;
    size_t at = (size_t)((double)(ts - from) / (double)(to - from) * (double)count);
    return at < count ? at : count - 1; /* it may have been rounded up */
}

void tly_oplog_aim(const struct tly_oplog *log, struct tly_leaving *leaving)
{
    leaving->shape = log->shape;
    leaving->at.block = block_of(log, leaving->ts);
    leaving->at.chunk = guess(log, leaving->at.block, leaving->ts);
    const struct tly_chunk *chunk = chunk_at(log, leaving->at);
    __builtin_prefetch(chunk);
    __builtin_prefetch(chunk + 1);
}

/* How far from the guess it is worth a walk. */
#define WALK_MAX 4

void tly_oplog_seek(const struct tly_oplog *log, struct tly_leaving *leaving)
{
    const struct tly_block *block = &log->blocks[leaving->at.block];
    const struct tly_chunk *chunks = block->chunks;
    size_t at = leaving->at.chunk, walked = 0;
    for (; walked < WALK_MAX && at > 0 && chunks[at].from > leaving->ts; walked++)
        at--;
    for (; walked < WALK_MAX && at + 1 < block->count && chunks[at + 1].from <= leaving->ts; walked++)
        at++;
    if (walked == WALK_MAX) at = last_from((const char *)chunks, sizeof *chunks, block->count, leaving->ts);
    leaving->at.chunk = at;
    for (uint32_t i = 0; i < chunks[at].count; i += 16)
        __builtin_prefetch(&chunks[at].hashes[i]);
}

void tly_oplog_take(struct tly_oplog *log, const struct tly_mem *mem, const struct tly_leaving *leaving)
{
    bool moved = log->shape != leaving->shape;
    take_from(log, mem, moved ? tly_oplog_find(log, leaving->ts) : leaving->at, leaving->hash);
}

/* ---- the invariant ---- */

void tly_oplog_check(const struct tly_oplog *log)
{
    size_t count = 0, empty = 0;
    uint64_t from = 0;
    for (size_t i = 0; i < log->block_count; i++) {
        const struct tly_block *block = &log->blocks[i];
        assert(block->count > 0 && block->count <= TLY_BLOCK_CHUNKS && block->count <= block->capacity);
        assert(block->from == block->chunks[0].from);
        for (uint32_t j = 0; j < block->count; j++) {
            const struct tly_chunk *chunk = &block->chunks[j];
            assert(chunk->from > from && chunk->count <= chunk->capacity);
            assert(empty == 0); /* only the last may be */
            assert(chunk->count == 0 || chunk->from <= log->last);
            from = chunk->from;
            count += chunk->count;
            empty += chunk->count == 0;
        }
    }
    assert(count == log->count && (count > 0 || log->last == 0));
    (void)from;
}
