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

uint64_t tly_get_uint(struct tly_cursor *cursor);
/* Any msgpack integer that fits i64. */
int64_t tly_get_int(struct tly_cursor *cursor);
bool tly_get_bool(struct tly_cursor *cursor);
/* bin or str of at most `bytes_max` bytes; borrows. */
struct tly_slice tly_get_bytes(struct tly_cursor *cursor, size_t bytes_max);
/* Elements of an array, pairs of a map; at most `count_max`, else it fails. */
size_t tly_get_array(struct tly_cursor *cursor, size_t count_max);
size_t tly_get_map(struct tly_cursor *cursor, size_t count_max);
/* Passes over one value of any kind. */
void tly_cursor_skip(struct tly_cursor *cursor);

#endif
