/*
 * The stream of dots from one node to another, and the parts that it is cut into.
 *
 * Both ends keep a table alike: numbers that stand for a key, a strategy and a life, with the words of the last dot of each.
 * A part then says which numbers changed, as gaps between them, and what their words grew by.  What is decoded are absolute
 * dots: the differences belong to the ordered stream, so a dot may come twice and out of order by other ways as before.
 * Everything that is usual (the ts is one more than the row before, the epoch is the newest of its window) costs nothing;
 * what differs is listed. PROTOCOL.md has the bytes.
 *
 * A table is as old as its connection.  A part with TLY_PART_RESET begins with an empty one, so a stream that is reset before
 * every part, and whose own names are cleared, makes parts that stand alone: on a disk, in a file.
 *
 * A peer can make the reading end hold TLY_NAMES_MAX numbers of 64 bytes and TLY_NAMES_KEY_BYTES_MAX of keys, and no more.
 */
#ifndef TALLY_WIRE_STREAM_H
#define TALLY_WIRE_STREAM_H

#include "wire/message.h"
#include "wire/names.h"

/* In one part. */
#define TLY_PART_ROWS_MAX 4096
/* A part is full when what its rows may take at worst comes to this. */
#define TLY_PART_WORST_BYTES ((size_t)128 * 1024)
/* Lives that one stream can name, and marks in one list. */
#define TLY_STREAM_LIVES_MAX 8192
#define TLY_STREAM_MARKS_MAX 4096

enum {
    TLY_PART_FIRST = 1, /* of a round */
    TLY_PART_LAST = 2,  /* of a round: it has end marks */
    TLY_PART_RESET = 4, /* the table is empty before it */
    TLY_PART_START =
        8, /* with FIRST: it says the start marks; without, the round starts where the last one ended */
    TLY_PART_TAIL = 16,
    TLY_PART_TOLD = 32 /* it says marks that the writer has come to have */
};

/* One end of a stream, in one direction. An object. */
struct tly_stream;

/* NULL: no memory. */
struct tly_stream *tly_stream_new(const struct tly_mem *mem);
void tly_stream_free(struct tly_stream *stream);
/* For the reading end: numbers from here on are malformed. At first TLY_NAMES_MAX. */
void tly_stream_limit(struct tly_stream *stream, uint32_t names_max);
/* Empties the table; the next part written says so. */
void tly_stream_reset(struct tly_stream *stream);
/* Bytes held. */
size_t tly_stream_bytes(const struct tly_stream *stream);

/* Room to work in, for any number of streams, one part at a time. An object. */
struct tly_parts;

/* NULL: no memory. */
struct tly_parts *tly_parts_new(const struct tly_mem *mem);
void tly_parts_free(struct tly_parts *parts);
/*
 * From here on rows say the tly_key_hash of their keys, which is made once for each number. All that reads one stream has to use
 * the same key.
 */
void tly_parts_use_hash(struct tly_parts *parts, const struct tly_hash_key *key);

/* ---- writing ---- */

/* Begins a part; all are borrowed until it ends. The names are those of all streams of this node. */
void tly_parts_begin(struct tly_parts *parts, struct tly_stream *stream, struct tly_names *names);
/*
 * Adds a sealed dot of a well-formed payload, which is borrowed until the part ends. False: it is full, end it first (an
 * empty one takes any dot); or there is no memory, which the end will say.
 */
bool tly_parts_add(struct tly_parts *parts, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *dot);
/* Whether the part has failed for want of memory, which its end will say. */
bool tly_parts_failed(const struct tly_parts *parts);
size_t tly_parts_rows(const struct tly_parts *parts);
/* About the bytes that the rows so far will take. */
size_t tly_parts_bytes(const struct tly_parts *parts);

struct tly_part_head {
    unsigned flags; /* FIRST, LAST, START */
    struct tly_mark_list
        told; /* marks of the writer that have moved since it last told; none: nothing is said of them */
    struct tly_mark_list start; /* with START */
    struct tly_mark_list
        end; /* with LAST: marks that the round moves; a life that is not named stays as it was */
};

/* Appends the body. After a failure (in out->result) the stream is reset and begins anew with its next part. */
void tly_parts_end(struct tly_parts *parts, const struct tly_part_head *head, struct tly_buf *out);

/* ---- reading ---- */

/* A part, decoded; all of it borrows from `parts`, the stream and the body until the next call with any of them. */
struct tly_part {
    unsigned flags;
    const struct tly_row *rows;
    const uint32_t *by_ts; /* their numbers, the oldest first: in which order they are best joined */
    size_t row_count;
    struct tly_mark_list told, start, end;
};

/*
 * Decodes a part whole.
 *   TLY_BAD_MESSAGE    malformed, or it speaks of what the table does not hold
 *   TLY_WRONG_STRATEGY a strategy that is not known here
 *   TLY_NOMEM
 * After any of these the table is of no use any more: the session must end. Rows have dots within all bounds of
 * PROTOCOL.md; payloads are judged by tly_dot_check, later.
 */
enum tly_result tly_parts_get(struct tly_parts *parts, struct tly_stream *stream, struct tly_slice body,
                              struct tly_part *part) TLY_MUST_CHECK;

#endif
