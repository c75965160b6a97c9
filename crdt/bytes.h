/* Comparing and copying a few bytes without a call: keys, words of a request, cells. */
#ifndef TALLY_CRDT_BYTES_H
#define TALLY_CRDT_BYTES_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* How eight bytes differ: 0 is not at all. */
TLY_ALWAYS_INLINE uint64_t tly_differ(const uint8_t *a, const uint8_t *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}

/* The same of four. */
TLY_ALWAYS_INLINE uint32_t tly_differ_four(const uint8_t *a, const uint8_t *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}

/* Whether n bytes are the same: sixteen at a time, the last ones anew. */
TLY_ALWAYS_INLINE bool tly_bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 4) return memcmp(a, b, n) == 0;
    if (n < 8) return (tly_differ_four(a, b) | tly_differ_four(a + n - 4, b + n - 4)) == 0;
    uint64_t differs = tly_differ(a + n - 8, b + n - 8);
    if (n < 16) return (differs | tly_differ(a, b)) == 0;
    differs |= tly_differ(a + n - 16, b + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16)
        differs |= tly_differ(a + i, b + i) | tly_differ(a + i + 8, b + i + 8);
    return differs == 0;
}

/* How sixteen bytes differ: 0 is not at all. */
TLY_ALWAYS_INLINE unsigned tly_differ_sixteen(const uint8_t *a, const uint8_t *b)
{
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) ^ 0xffff;
#else
    return (tly_differ(a, b) | tly_differ(a + 8, b + 8)) != 0;
#endif
}

/*
 * tly_bytes_equal of bytes that have been lying there, as what came from elsewhere has: of those that were just written in smaller
 * pieces, sixteen at once would be waited for.
 */
TLY_ALWAYS_INLINE bool tly_bytes_equal_old(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 16) return tly_bytes_equal(a, b, n);
    unsigned differs = tly_differ_sixteen(a + n - 16, b + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16)
        differs |= tly_differ_sixteen(a + i, b + i);
    return differs == 0;
}

/* Copies n bytes elsewhere: pieces from both ends, which meet or lap over. */
TLY_ALWAYS_INLINE void tly_bytes_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    uint64_t head[2], tail[2];
    if (n < 8 || n > 32) {
        memcpy(to, from, n);
    } else if (n < 16) {
        memcpy(head, from, 8);
        memcpy(tail, from + n - 8, 8);
        memcpy(to, head, 8);
        memcpy(to + n - 8, tail, 8);
    } else {
        memcpy(head, from, 16);
        memcpy(tail, from + n - 16, 16);
        memcpy(to, head, 16);
        memcpy(to + n - 16, tail, 16);
    }
}

#endif
