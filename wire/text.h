/*
 * How keys are spelled that the other end does not know yet: what they begin with alike with the key before, then words. A word ends
 * at a separator. It was spelled a short while ago (then its place among the 64 latest says which), or it is spelled now: as a
 * number, decimal or hexadecimal, of the letters of base64url, or as any bytes. Kind, length and separator need not be said when
 * they are those of the word in the same place of the key before, as they are in the keys of one pattern.
 *
 * Both ends keep one of these alike. A value; {0} knows nothing.
 */
#ifndef TALLY_WIRE_TEXT_H
#define TALLY_WIRE_TEXT_H

#include "wire/bits.h"

#define TLY_TEXT_WORDS 64
#define TLY_TEXT_WORD_BYTES_MAX 32

struct tly_text_word {
    uint8_t n;
    bool ends;                              /* its key: there is no separator */
    uint8_t bytes[TLY_TEXT_WORD_BYTES_MAX]; /* with the separator */
};

/* What a word looks like. */
struct tly_text_shape {
    uint16_t start, n; /* where in its key; bytes without the separator */
    uint8_t kind, separator;
};

#define TLY_TEXT_SHAPES 8

struct tly_text {
    tly_code shared, rank, length[4], separator;
    uint16_t before_n;
    uint8_t before[TLY_KEY_BYTES_MAX];
    uint8_t word_count, shape_count;
    struct tly_text_shape shapes[TLY_TEXT_SHAPES]; /* of the first words of the key before */
    uint8_t order[TLY_TEXT_WORDS];                 /* places in `words`, the latest first */
    struct tly_text_word words[TLY_TEXT_WORDS];
};

/* Bytes that stand apart from the bits, at the end of a part. A borrow. */
struct tly_tail {
    const uint8_t *p;
    size_t n;
};

/* The next n bytes of the tail; NULL when there are fewer. */
const uint8_t *tly_tail_take(struct tly_tail *tail, size_t n);

/* key: 1 to TLY_KEY_BYTES_MAX bytes. `bits` and `tail` take what it is spelled in. */
void tly_text_put(struct tly_text *text, struct tly_slice key, struct tly_bits_out *bits,
                  struct tly_buf *tail);
/* The next key, a borrow until the next call; an empty one: it is malformed, and bits->failed is set. */
struct tly_slice tly_text_get(struct tly_text *text, struct tly_bits_in *bits, struct tly_tail *tail);

#endif
