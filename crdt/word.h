/* Eight bytes at any address as a number. */
#ifndef TALLY_CRDT_WORD_H
#define TALLY_CRDT_WORD_H

#include <stdint.h>
#include <string.h>

/* Numbers lie with their low byte first, so that a short one is a whole one, cut off. */
static inline uint64_t tly_word_load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void tly_word_store(uint8_t *at, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

#endif
