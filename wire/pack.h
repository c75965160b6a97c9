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

/*
 * The same where there is room, without calls: for what is written by the million. Each gives the end of what it wrote, which is
 * TLY_PACK_NUMBER_BYTES_MAX at most.
 */
#define TLY_PACK_NUMBER_BYTES_MAX 9u

/* The bytes of a word, the high one first. */
static inline uint8_t *tly_pack_word(uint8_t *to, uint64_t word, unsigned bytes)
{
    word <<= 64 - 8 * bytes;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, bytes);
    return to + bytes;
}

static inline uint8_t *tly_pack_head(uint8_t *to, uint8_t head, uint64_t word, unsigned bytes)
{
    *to = head;
    return tly_pack_word(to + 1, word, bytes);
}

static inline uint8_t *tly_pack_uint(uint8_t *to, uint64_t value)
{
    if (value < 0x80) return tly_pack_word(to, value, 1);
    if (value <= UINT8_MAX) return tly_pack_head(to, 0xcc, value, 1);
    if (value <= UINT16_MAX) return tly_pack_head(to, 0xcd, value, 2);
    if (value <= UINT32_MAX) return tly_pack_head(to, 0xce, value, 4);
    return tly_pack_head(to, 0xcf, value, 8);
}

static inline uint8_t *tly_pack_int(uint8_t *to, int64_t value)
{
    uint64_t word = (uint64_t)value;
    if (value >= 0) return tly_pack_uint(to, word);
    if (value >= -32) return tly_pack_word(to, word, 1);
    if (value >= INT8_MIN) return tly_pack_head(to, 0xd0, word, 1);
    if (value >= INT16_MIN) return tly_pack_head(to, 0xd1, word, 2);
    if (value >= INT32_MIN) return tly_pack_head(to, 0xd2, word, 4);
    return tly_pack_head(to, 0xd3, word, 8);
}

/* The head of so many bytes, which are to follow. */
static inline uint8_t *tly_pack_bytes_head(uint8_t *to, size_t n)
{
    if (n <= UINT8_MAX) return tly_pack_head(to, 0xc4, n, 1);
    if (n <= UINT16_MAX) return tly_pack_head(to, 0xc5, n, 2);
    return tly_pack_head(to, 0xc6, n, 4);
}

/* The head of fewer than 16 elements. */
static inline uint8_t *tly_pack_array(uint8_t *to, size_t elements)
{
    return tly_pack_word(to, 0x90 | elements, 1);
}

#endif
