/*
 * The operation log of one life: which entries hold its sealed dots, in the order of their ts.
 *
 *     log -> blocks -> chunks (from ts) -> records: the hash of a key, four bytes
 *
 * A record names an entry by its hash and says by its place about when; the dot's own ts stands in the entry.  There is a
 * record for each sealed dot that stands and no other: a dot that goes takes its record along, so there is nothing to
 * compact.  A chunk has records from its own ts up to that of the next, in no certain order, and is divided when it is full,
 * joined with its neighbour when both are low: a leaf of a B-tree.  Dots of one ts are never divided.
 *
 * A record that is taken leaves a hole, so that the others stay where their ts lets expect them; holes are closed when the
 * chunk has no other room, or is joined.
 *
 * Records are put and taken in O(log n) and touch one chunk.  To divide a chunk one must know the ts of its records: the
 * owner lists them.
 */
#ifndef TALLY_CRDT_OPLOG_H
#define TALLY_CRDT_OPLOG_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>

/* A chunk takes more only if they are all of one ts. */
#define TLY_CHUNK_RECORDS 128u
#define TLY_BLOCK_CHUNKS 128u
#define TLY_MILE 16u

struct tly_chunk {
    uint64_t from;            /* no record has an earlier ts, save in the first chunk of all */
    uint32_t *hashes;         /* 0: a hole; no key has it */
    uint32_t count, capacity; /* places in use, holes too, and all */
    uint32_t live;            /* records */
};

struct tly_block {
    uint64_t from; /* of its first chunk */
    struct tly_chunk *chunks;
    uint32_t count, capacity;
};

/*
 * Milestones of a chunk: of each hash at least as many records stand from place TLY_MILE * i on as it has dots newer than newest[i], so
 * who has all up to there need not look at those before. UINT64_MAX: nothing is known.
 */
struct tly_miles {
    uint64_t newest[TLY_CHUNK_RECORDS / TLY_MILE];
    uint64_t from; /* of the chunk that they are of */
};

struct tly_oplog {
    struct tly_block *blocks;
    size_t block_count, block_capacity;
    size_t count;             /* records */
    struct tly_chunk *newest; /* the last chunk; NULL: there is none */
    struct tly_miles *miles;  /* of the newest chunk; NULL: there is none */
    uint64_t shape;           /* rises when a chunk comes, goes or moves */
    uint64_t last;            /* the newest ts since the log was empty; 0: it is empty */
};

/* A chunk, by its place. A borrow: valid until the log changes. */
struct tly_chunk_at {
    size_t block, chunk;
};

/* What the owner says of the records of a chunk. */
struct tly_timed {
    uint64_t ts;
    uint32_t hash;
};

/* Writes the ts and hash of up to `room` dots whose ts lies in [from, to] and whose hash is among those; how many. */
typedef size_t tly_list_dots(const void *context, const struct tly_chunk *chunk, uint64_t from, uint64_t to,
                             struct tly_timed *out, size_t room);

struct tly_dots {
    tly_list_dots *list;
    const void *context;
};

void tly_oplog_fini(struct tly_oplog *log, const struct tly_mem *mem);

/* The newest chunk, when a record of this ts goes into it and finds room; else NULL. That is the usual case. */
static inline struct tly_chunk *tly_oplog_newest(const struct tly_oplog *log, uint64_t ts)
{
    struct tly_chunk *chunk = log->newest;
    if (chunk == NULL) return NULL;
    bool has_room = chunk->count < chunk->capacity && chunk->count < TLY_CHUNK_RECORDS;
    return has_room && chunk->from <= ts ? chunk : NULL;
}

/* Adds a record to what tly_oplog_newest gave for it. */
static inline void tly_oplog_append(struct tly_oplog *log, struct tly_chunk *chunk, uint64_t ts,
                                    uint32_t hash)
{
    if (chunk->count % TLY_MILE == 0 && chunk == log->newest && chunk->count < TLY_CHUNK_RECORDS)
        log->miles->newest[chunk->count / TLY_MILE] = log->last;
    chunk->hashes[chunk->count++] = hash;
    chunk->live++;
    log->count++;
    if (ts > log->last) log->last = ts;
}

/* Room for one more record of this ts. False: no memory; nothing changed that shows. */
bool tly_oplog_reserve(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts,
                       const struct tly_dots *dots);
/* Whether that may have to ask for the dots. */
bool tly_oplog_divides(const struct tly_oplog *log, uint64_t ts);
/* After tly_oplog_reserve for the same ts. */
void tly_oplog_add(struct tly_oplog *log, uint64_t ts, uint32_t hash);
/* Takes out the record of a dot. */
void tly_oplog_remove(struct tly_oplog *log, const struct tly_mem *mem, uint64_t ts, uint32_t hash);

/* A record that is to be taken out. All but the first three are for tly_oplog_take. */
struct tly_leaving {
    struct tly_oplog *log;
    uint64_t ts;
    uint32_t hash;
    uint32_t near; /* its place in the chunk, about */
    uint64_t shape;
    struct tly_chunk_at at;
};

/*
 * tly_oplog_remove for several, also of different logs: step by step for all of them, each step asking for the memory of the
 * next. A record that several are of is taken once for each.
 */
void tly_oplog_take(struct tly_leaving *leavings, size_t count, const struct tly_mem *mem);

/* The chunk in which a record of this ts stands or would stand. Not of an empty log. */
struct tly_chunk_at tly_oplog_find(const struct tly_oplog *log, uint64_t ts);
/* The chunk there; NULL: past the end. *to is the last ts that may stand in it. */
const struct tly_chunk *tly_oplog_chunk(const struct tly_oplog *log, struct tly_chunk_at at, uint64_t *to);
struct tly_chunk_at tly_oplog_after(const struct tly_oplog *log, struct tly_chunk_at at);

/* From which place on records of the newest chunk stand for dots newer than this. */
uint32_t tly_oplog_newer_from(const struct tly_oplog *log, uint64_t ts);

/* The invariant of the log by itself; aborts on our own mistakes. */
void tly_oplog_check(const struct tly_oplog *log);

#endif
