/*
 * The messages by which a node that rounds cannot bring up is brought up: COLD_START says so and why, SNAP_ASK takes the offer, and the
 * snapshot itself is SNAP_BEGIN (what its source knows of every life), any number of SNAP_CHUNKs, and SNAP_END.  They are sent
 * only to a peer with the capability `snapshot`.  The disk keeps the same three, since a replaced map is written anew.
 */
#ifndef TALLY_WIRE_SNAPSHOT_H
#define TALLY_WIRE_SNAPSHOT_H

#include "crdt/forget.h"
#include "wire/message.h"

/* X(NAME, word) */
#define TLY_COLD_STARTS(X)          \
    X(FLOOR, "floor")               \
    X(FORGOTTEN, "forgotten")       \
    X(AHEAD, "ahead")               \
    X(APPLY_FAILED, "apply_failed") \
    X(NO_DELTA, "no_delta")

enum tly_cold_start {
#define TLY_COLD_START_ENUM(name, word) TLY_COLD_##name,
    TLY_COLD_STARTS(TLY_COLD_START_ENUM)
#undef TLY_COLD_START_ENUM
        TLY_COLD_START_COUNT
};

const char *tly_cold_start_word(enum tly_cold_start reason);
/* An unknown word reads as TLY_COLD_FLOOR: the remedy is the same. */
enum tly_cold_start tly_cold_start_named(struct tly_slice word);

/*
 * COLD_START and SNAP_ASK: [reason, forgotten]; forgotten: the newest ts that the sender has forgotten. SNAP_ASK to a peer with the
 * capability `resume` may go on with a snapshot that was cut off: [reason, forgotten, number, chunks, key].
 */
struct tly_cold {
    enum tly_cold_start reason;
    uint64_t forgotten;
    bool resumes;
    uint64_t number, chunks; /* of the snapshot; how many of its chunks have come */
    struct tly_slice key;    /* the last one in them; empty: there was none. Borrows */
};

void tly_cold_put(struct tly_buf *out, const struct tly_cold *cold);
enum tly_result tly_cold_get(struct tly_slice body, struct tly_cold *cold) TLY_MUST_CHECK;

/* Lives that one snapshot can tell of. */
#define TLY_SNAP_LIVES_MAX TLY_ORIGINS_MAX

/* SNAP_BEGIN: [number, lost, forgotten, [origin, mark, floor, state, …]] */
struct tly_snap_begin {
    uint64_t number; /* of the snapshot, by its source's life */
    struct tly_bounds bounds;
    struct tly_cursor lives;
    size_t life_count;
};

/* Lives with origin 0 are passed over. `lives` and `life_count` of begin are not read. */
void tly_snap_begin_put(struct tly_buf *out, const struct tly_snap_begin *begin, const struct tly_life *lives,
                        size_t count);
enum tly_result tly_snap_begin_get(struct tly_slice body, struct tly_snap_begin *begin) TLY_MUST_CHECK;
bool tly_snap_lives_next(struct tly_snap_begin *begin, struct tly_life *life);

/*
 * SNAP_CHUNK: [number of the snapshot, number of the chunk from 0, part]; part: bin, as ROUND's body, flags and marks empty, or to a
 * peer with the capability `columns` as PART's, which stands alone.
 */
struct tly_snap_chunk {
    uint64_t number, nth;
    struct tly_slice part; /* borrows */
};

void tly_snap_chunk_put(struct tly_buf *out, const struct tly_snap_chunk *chunk);
/* Whether the part is a PART's body; no ROUND's begins with such a byte. */
bool tly_snap_chunk_has_columns(const struct tly_snap_chunk *chunk);
/* The part is not looked into: tly_round_get or tly_parts_get does that. */
enum tly_result tly_snap_chunk_get(struct tly_slice body, struct tly_snap_chunk *chunk) TLY_MUST_CHECK;

/* SNAP_END: [number of the snapshot, chunks] */
struct tly_snap_end {
    uint64_t number, chunks;
};

void tly_snap_end_put(struct tly_buf *out, const struct tly_snap_end *end);
enum tly_result tly_snap_end_get(struct tly_slice body, struct tly_snap_end *end) TLY_MUST_CHECK;

/*
 * NEWS: [ts]. While a snapshot is under way both ends may say what is new in their own lives, as rows of parts that belong to no
 * round. This one says, right before SNAP_END or after it, that everything live of the sender's life up to ts has come. Only to a
 * peer with the capability `news`.
 */
void tly_news_put(struct tly_buf *out, uint64_t ts);
enum tly_result tly_news_get(struct tly_slice body, uint64_t *ts) TLY_MUST_CHECK;

/* ---- on disk ---- */

/* A batch is one of these or a round; they are told apart by how many elements they have. 0: it is none. */
#define TLY_BATCH_SNAP_END 2u
#define TLY_BATCH_SNAP_CHUNK 3u
#define TLY_BATCH_SNAP_BEGIN 4u
#define TLY_BATCH_ROUND 5u
size_t tly_batch_kind(struct tly_slice batch);

/* The round that brings the rows of a batch: itself, or a chunk's part; empty where a batch has no rows. It borrows from `batch`. */
enum tly_result tly_batch_rows(struct tly_slice batch, struct tly_slice *round) TLY_MUST_CHECK;

#endif
