/*
 * Bits, the lowest of a byte first, and the one code that the columns of a part are written in.
 *
 * The code is Exp-Golomb with a parameter k that follows the numbers: for v, with q = v >> k and L the bits of q, it is L ones,
 * a zero, the lower L - 1 bits of q, the lower k bits of v.  k is an eighth of a context, a byte that both ends keep alike:
 * small numbers (L = 0) let it fall by one, large ones (L > 1) let it rise by 2 (L - 1).  Numbers of a geometric
 * distribution come out within a few per cent of their entropy, and a wild one costs twice its bits.
 */
#ifndef TALLY_WIRE_BITS_H
#define TALLY_WIRE_BITS_H

#include "crdt/word.h"
#include "wire/buf.h"

/* The highest k. */
#define TLY_CODE_K_MAX 31u
/* The most bits that the code of a number takes. */
#define TLY_CODE_BITS_MAX 128u

typedef uint8_t tly_code;

static inline unsigned tly_bits_of(uint64_t value)
{
    return value == 0 ? 0u : 64u - (unsigned)__builtin_clzll(value);
}

/* Differences as numbers that are small when they are near 0, of either sign. */
static inline uint64_t tly_zigzag(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static inline uint64_t tly_unzigzag(uint64_t value)
{
    return value >> 1 ^ (0 - (value & 1));
}

static inline void tly_code_adapt(tly_code *code, unsigned length)
{
    if (length == 0) {
        *code = *code > 0 ? (tly_code)(*code - 1) : 0;
    } else if (length > 1) {
        unsigned raised = *code + 2 * (length - 1);
        *code = (tly_code)(raised < 8 * TLY_CODE_K_MAX ? raised : 8 * TLY_CODE_K_MAX);
    }
}

/* ---- writing ---- */

/* A value; `out` is borrowed and keeps the failure. */
struct tly_bits_out {
    struct tly_buf *out;
    uint64_t pending;
    unsigned count; /* bits pending, fewer than 32 */
};

struct tly_bits_out tly_bits_out_of(struct tly_buf *out);
/* The lower `count` bits, at most 64; those above are 0. */
void tly_bits_put(struct tly_bits_out *bits, uint64_t value, unsigned count);
void tly_code_put(struct tly_bits_out *bits, tly_code *code, uint64_t value);
/* Fills the last byte up with zeros. */
void tly_bits_end(struct tly_bits_out *bits);

/* ---- reading ---- */

/* A borrow. What is missing reads as zeros and sets `failed`; the reader asks once, at the end. */
struct tly_bits_in {
    const uint8_t *p, *end;
    uint64_t held;
    unsigned count; /* bits held */
    bool failed;
};

struct tly_bits_in tly_bits_in_of(struct tly_slice bytes);
/* Everything was there, and what is left are zeros that fill a byte. */
bool tly_bits_ended(const struct tly_bits_in *bits);
/* Bits not read yet. */
size_t tly_bits_left(const struct tly_bits_in *bits);

/* Holds at least 56 bits, or all there are. */
static inline void tly_bits_fill(struct tly_bits_in *bits)
{
    if (bits->end - bits->p >= 8) {
        bits->held |= tly_word_load(bits->p) << bits->count;
        bits->p += (63 - bits->count) >> 3;
        bits->count |= 56;
        return;
    }
    for (; bits->count <= 56 && bits->p < bits->end; bits->count += 8)
        bits->held |= (uint64_t)*bits->p++ << bits->count;
}

/* `count`: at most 56, and that many are held. */
static inline uint64_t tly_bits_take(struct tly_bits_in *bits, unsigned count)
{
    uint64_t value = bits->held & ((UINT64_C(1) << count) - 1);
    bits->held >>= count;
    bits->count -= count;
    return value;
}

/* At most 64. */
uint64_t tly_bits_get(struct tly_bits_in *bits, unsigned count);
uint64_t tly_code_get_long(struct tly_bits_in *bits, tly_code *code);

/* tly_code_get where a column is read: what is held stays in registers. */
TLY_ALWAYS_INLINE uint64_t tly_code_next(struct tly_bits_in *bits, tly_code *code)
{
    unsigned k = *code >> 3;
    tly_bits_fill(bits);
    unsigned length = (unsigned)__builtin_ctzll(~bits->held | UINT64_C(1) << 63);
    unsigned whole = 2 * length + k + (length == 0);
    if (whole > 56 || whole > bits->count) return tly_code_get_long(bits, code);
    bits->held >>= length + 1;
    bits->count -= length + 1;
    uint64_t high = 0;
    if (length > 0) high = UINT64_C(1) << (length - 1) | tly_bits_take(bits, length - 1);
    uint64_t value = high << k | tly_bits_take(bits, k);
    tly_code_adapt(code, length);
    return value;
}

static inline uint64_t tly_code_get(struct tly_bits_in *bits, tly_code *code)
{
    return tly_code_next(bits, code);
}

#endif
