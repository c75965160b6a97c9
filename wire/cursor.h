/*
 * Reads msgpack straight down from bytes that somebody else wrote.  A borrow.  The first thing that does not fit sets `result`;
 * every later read gives zero, and the reader asks once at the end.  Counts are checked against the bytes that remain
 * (an element takes at least one), so nothing a count says can make anybody allocate or loop for more than what was sent.
 */
#ifndef TALLY_WIRE_CURSOR_H
#define TALLY_WIRE_CURSOR_H

#include "crdt/dot.h"
#include "crdt/result.h"

/* Nesting that tly_cursor_skip follows. */
#define TLY_CURSOR_DEPTH_MAX 8

struct tly_cursor {
    const uint8_t *p;
    const uint8_t *end;
    enum tly_result result; /* TLY_OK or TLY_BAD_MESSAGE */
};

struct tly_cursor tly_cursor_of(struct tly_slice bytes);
/* Marks the input as malformed. */
void tly_cursor_fail(struct tly_cursor *cursor);
/* TLY_OK when all was well and nothing is left over, else TLY_BAD_MESSAGE. */
enum tly_result tly_cursor_end(const struct tly_cursor *cursor) TLY_MUST_CHECK;

/* The usual heads are read inline, all others by these calls. A cursor that has failed has nothing left, so it comes here too. */
uint64_t tly_get_uint_any(struct tly_cursor *cursor);
int64_t tly_get_int_any(struct tly_cursor *cursor);
struct tly_slice tly_get_bytes_any(struct tly_cursor *cursor, size_t bytes_max);
size_t tly_get_array_any(struct tly_cursor *cursor, size_t count_max);

static inline size_t tly_cursor_left(const struct tly_cursor *cursor)
{
    return (size_t)(cursor->end - cursor->p);
}

static inline uint64_t tly_get_uint(struct tly_cursor *cursor)
{
    if (cursor->p != cursor->end && *cursor->p <= 0x7f) return *cursor->p++;
    return tly_get_uint_any(cursor);
}

/* Any msgpack integer that fits i64. */
static inline int64_t tly_get_int(struct tly_cursor *cursor)
{
    if (cursor->p != cursor->end && *cursor->p <= 0x7f) return *cursor->p++;
    return tly_get_int_any(cursor);
}

bool tly_get_bool(struct tly_cursor *cursor);

/* bin or str of at most `bytes_max` bytes; borrows. */
static inline struct tly_slice tly_get_bytes(struct tly_cursor *cursor, size_t bytes_max)
{
    const uint8_t *p = cursor->p;
    size_t left = tly_cursor_left(cursor);
    /* A bin of up to 255 bytes, as every key of ours is. */
    if (left < 2 || p[0] != 0xc4 || p[1] > bytes_max || p[1] > left - 2)
        return tly_get_bytes_any(cursor, bytes_max);
    cursor->p = p + 2 + p[1];
    return tly_slice_of(p + 2, p[1]);
}

/* Elements of an array, pairs of a map; at most `count_max`, else it fails. */
static inline size_t tly_get_array(struct tly_cursor *cursor, size_t count_max)
{
    size_t left = tly_cursor_left(cursor), n = left > 0 ? *cursor->p ^ 0x90u : 0xff;
    if (n > 0x0f || n >= left || n > count_max) return tly_get_array_any(cursor, count_max);
    cursor->p++;
    return n;
}

size_t tly_get_map(struct tly_cursor *cursor, size_t count_max);
/* Passes over one value of any kind. */
void tly_cursor_skip(struct tly_cursor *cursor);

#endif
