/*
 * Writes msgpack to a buffer, each value in its shortest form; the counterpart of wire/cursor.h.  Failure is in
 * out->result, asked for once at the end.
 */
#ifndef TALLY_WIRE_PACK_H
#define TALLY_WIRE_PACK_H

#include "wire/buf.h"

void tly_put_uint(struct tly_buf *out, uint64_t value);
void tly_put_int(struct tly_buf *out, int64_t value);
void tly_put_bool(struct tly_buf *out, bool value);
/* As str: words and names. */
void tly_put_text(struct tly_buf *out, struct tly_slice text);
/* As bin: keys, prefixes, values. */
void tly_put_bytes(struct tly_buf *out, struct tly_slice bytes);
/* The head alone: so many elements, or twice as many values, are to follow. */
void tly_put_array(struct tly_buf *out, size_t elements);
void tly_put_map(struct tly_buf *out, size_t pairs);

#endif
