#include "crdt/oplog_impl.h"

/* Two that are joined fill no more than three quarters of one. */
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
    tly_mem_free(mem, log->miles, sizeof *log->miles);
    *log = (struct tly_oplog){0};
}

/* ---- finding ---- */

struct tly_chunk_at tly_oplog_find(const struct tly_oplog *log, uint64_t ts)
{
    assert(log->block_count > 0);
    size_t newest = log->block_count - 1;
    const struct tly_block *block = &log->blocks[newest];
    if (block->chunks[block->count - 1].from <= ts) return (struct tly_chunk_at){newest, block->count - 1};
    size_t i = tly_oplog_block(log, ts);
    block = &log->blocks[i];
    return (struct tly_chunk_at){
        i, tly_last_from((const char *)block->chunks, sizeof *block->chunks, block->count, ts)};
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
    *to = after.block < log->block_count ? tly_oplog_at(log, after)->from - 1 : UINT64_MAX;
    return tly_oplog_at(log, at);
}

/* ---- room ---- */

/* Records of the newest chunk have moved, or it is another one. */
static void forget_miles(struct tly_oplog *log)
{
    for (size_t i = 0; i < TLY_CHUNK_RECORDS / TLY_MILE; i++)
        log->miles->newest[i] = UINT64_MAX;
}

uint32_t tly_oplog_newer_from(const struct tly_oplog *log, uint64_t ts)
{
    uint32_t mile = TLY_CHUNK_RECORDS / TLY_MILE - 1;
    while (mile > 0 && (TLY_MILE * mile >= log->newest->count || log->miles->newest[mile] > ts))
        mile--;
    return TLY_MILE * mile;
}

/* After whatever may have moved the last chunk. */
static void note_newest(struct tly_oplog *log)
{
    log->newest = NULL;
    if (log->block_count == 0) return;
    const struct tly_block *last = &log->blocks[log->block_count - 1];
    log->newest = &last->chunks[last->count - 1];
    if (log->newest->from != log->miles->from) forget_miles(log);
    log->miles->from = log->newest->from;
}

static void close_holes(struct tly_chunk *chunk)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->hashes[i] != 0) chunk->hashes[count++] = chunk->hashes[i];
    assert(count == chunk->live);
    chunk->count = count;
}

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
    if (log->miles == NULL) log->miles = tly_mem_zeroed(mem, sizeof *log->miles);
    if (log->miles == NULL || !reserve_block(log, mem) || !reserve_chunks(&block, mem, 1)) return false;
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
    assert(count == chunk->live);
    sort_timed(items, count);
    size_t middle = middle_of(items, count);
    if (middle == 0 || middle == count) return false;
    for (size_t i = 0; i < middle; i++)
        chunk->hashes[i] = items[i].hash;
    for (size_t i = middle; i < count; i++)
        second->hashes[i - middle] = items[i].hash;
    chunk->count = chunk->live = (uint32_t)middle;
    second->count = second->live = (uint32_t)(count - middle);
    second->from = items[middle].ts;
    return true;
}

/* A chunk of its own behind the last one, for a ts newer than all. */
static bool reserve_newest(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts)
{
    struct tly_block *block = &log->blocks[log->block_count - 1];
    struct tly_chunk_at at = {log->block_count - 1, block->count - 1};
    if (block->chunks[at.chunk].live == 0) {
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
    struct tly_chunk *chunk = tly_oplog_at(log, at);
    if (divide(chunk, to, dots, &second)) {
        insert_chunk_after(log, at, second);
        return true;
    }
    free_chunk(mem, &second);
    close_holes(chunk);
    forget_miles(log);
    return reserve_records(chunk, mem, chunk->count + 1);
}

bool tly_oplog_divides(const struct tly_oplog *log, uint64_t ts)
{
    if (ts > log->last || log->block_count == 0) return false;
    return tly_oplog_at(log, tly_oplog_find(log, ts))->count >= TLY_CHUNK_RECORDS;
}

static bool reserve(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts,
                    const struct tly_dots *dots)
{
    if (log->block_count == 0) return begin(log, mem, ts);
    struct tly_chunk_at at = tly_oplog_find(log, ts);
    struct tly_chunk *chunk = tly_oplog_at(log, at);
    bool full = chunk->count == chunk->capacity || chunk->count >= TLY_CHUNK_RECORDS;
    if (full && chunk->live <= chunk->count / 4 * 3) {
        close_holes(chunk);
        if (chunk == log->newest) forget_miles(log);
    }
    if (chunk->count < TLY_CHUNK_RECORDS) return reserve_records(chunk, mem, chunk->count + 1);
    if (ts > log->last) return reserve_newest(log, mem, ts);
    if (chunk->live <= TLY_CHUNK_RECORDS) return reserve_divided(log, mem, at, dots);
    return reserve_records(chunk, mem, chunk->count + 1);
}

bool tly_oplog_reserve(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts,
                       const struct tly_dots *dots)
{
    if (tly_oplog_newest(log, ts) != NULL) return true;
    bool reserved = reserve(log, mem, ts, dots);
    note_newest(log);
    return reserved;
}

/* ---- records ---- */

/* The first chunk, and with it the first block, begins with whatever comes earlier. */
static void begin_earlier(struct tly_oplog *log, uint64_t ts)
{
    struct tly_chunk *first = &log->blocks[0].chunks[0];
    if (ts >= first->from) return;
    first->from = log->blocks[0].from = ts;
    if (first == log->newest) log->miles->from = ts;
}

void tly_oplog_add(struct tly_oplog *log, uint64_t ts, uint32_t hash)
{
    begin_earlier(log, ts);
    struct tly_chunk *chunk = tly_oplog_at(log, tly_oplog_find(log, ts));
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
    uint32_t both = chunk->live + next->live;
    if (both > CHUNK_JOINED_MAX || !reserve_records(chunk, mem, both)) return false;
    close_holes(chunk);
    close_holes(next);
    memcpy(chunk->hashes + chunk->count, next->hashes, next->count * sizeof *next->hashes);
    chunk->count = chunk->live = both;
    free_chunk(mem, next);
    remove_chunk(log, mem, (struct tly_chunk_at){at.block, at.chunk + 1});
    return true;
}

/* Of a life that has ended and was forgotten nothing else is left. */
static void emptied(struct tly_oplog *log, const struct tly_mem *mem)
{
    tly_mem_free(mem, log->blocks, log->block_capacity * sizeof *log->blocks);
    tly_mem_free(mem, log->miles, sizeof *log->miles);
    log->blocks = NULL;
    log->miles = NULL;
    log->block_capacity = 0;
    log->last = 0;
}

void tly_oplog_tidy(struct tly_oplog *log, const struct tly_mem *mem, struct tly_chunk_at at)
{
    struct tly_chunk *chunk = tly_oplog_at(log, at);
    if (chunk->live == 0) {
        free_chunk(mem, chunk);
        remove_chunk(log, mem, at);
        if (log->block_count == 0) emptied(log, mem);
    } else if (!join_chunks(log, mem, at) && at.chunk > 0) {
        (void)join_chunks(log, mem, (struct tly_chunk_at){at.block, at.chunk - 1});
    }
    note_newest(log);
}

/* ---- the invariant ---- */

static uint32_t records_of(const struct tly_chunk *chunk)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < chunk->count; i++)
        count += chunk->hashes[i] != 0;
    return count;
}

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
            assert(chunk->live == 0 || chunk->from <= log->last);
            assert(chunk->live == records_of(chunk));
            from = chunk->from;
            count += chunk->live;
            empty += chunk->live == 0;
        }
    }
    assert(count == log->count && (count > 0 || log->last == 0));
    const struct tly_block *last = log->block_count > 0 ? &log->blocks[log->block_count - 1] : NULL;
    assert(log->newest == (last != NULL ? &last->chunks[last->count - 1] : NULL));
    (void)last;
    (void)from;
}
