/*
 * How a cell lies in bytes (crdt/entry.h has the layout), inline: for entry.c, and for the paths that every dot takes.
 */
#ifndef TALLY_CRDT_CELL_H
#define TALLY_CRDT_CELL_H

#include "crdt/arena.h"
#include "crdt/entry.h"
#include "crdt/word.h"

enum { TLY_KIND_PUT = 0, TLY_KIND_UNSEALED = 1, TLY_KIND_UNSEALED_AUX = 2, TLY_KIND_REMOVE = 3 };

/* Of a shape: the widths of a shard's window and epoch. */
#define TLY_PANE_CODES 0x3fu
#define TLY_KIND_SHIFT 12
#define TLY_LAST_BIT 0x8000u
/* A life below this takes one byte; otherwise the first has the top bit. */
#define TLY_LIFE_SHORT 0x80u

static const uint64_t tly_mask_of_code[8] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, UINT64_C(0xffffffffff), UINT64_C(0xffffffffffff), UINT64_MAX};
/* 0 to 6, or 8. */
static inline unsigned tly_width_of(unsigned code)
{
    return code + ((code + 1) >> 3);
}

static_assert(TLY_ARENA_SLACK >= sizeof(uint64_t), "a whole word may be loaded where a short one lies");
static_assert(TLY_KEY_BYTES_MAX <= 512, "key length - 1 has nine bits");
static_assert(TLY_ORIGINS_MAX <= 0x8000, "the number of a life has fifteen bits");

static inline unsigned tly_shape_load(const uint8_t *at)
{
    return (unsigned)at[0] | (unsigned)at[1] << 8;
}

static inline void tly_shape_store(uint8_t *at, unsigned shape)
{
    at[0] = (uint8_t)shape;
    at[1] = (uint8_t)(shape >> 8);
}

/* Marks the cell that begins here as the last or as another one. */
static inline void tly_cell_mark_last(uint8_t *at, bool last)
{
    tly_shape_store(at, (tly_shape_load(at) & ~TLY_LAST_BIT) | (last ? TLY_LAST_BIT : 0));
}

static inline unsigned tly_code_for(uint64_t word)
{
    unsigned bytes = word == 0 ? 0 : (unsigned)(71 - __builtin_clzll(word)) >> 3;
    return bytes < 7 ? bytes : 7;
}

static inline uint64_t tly_folded(uint64_t word)
{
    return word << 1 ^ (0 - (word >> 63));
}

static inline uint64_t tly_unfolded(uint64_t word)
{
    return word >> 1 ^ (0 - (word & 1));
}

static inline unsigned tly_cell_kind(const struct tly_cell *cell)
{
    if (cell->dot.op == TLY_REMOVE) return TLY_KIND_REMOVE;
    if (!cell->unsealed) return TLY_KIND_PUT;
    return cell->says_aux ? TLY_KIND_UNSEALED_AUX : TLY_KIND_UNSEALED;
}

/* Writes word i in as few bytes as it needs and notes how many. */
TLY_ALWAYS_INLINE uint8_t *tly_word_put(uint8_t *next, unsigned *shape, unsigned i, uint64_t word,
                                        unsigned is_signed)
{
    word = is_signed != 0 ? tly_folded(word) : word;
    unsigned code = tly_code_for(word);
    *shape |= code << (3 * i);
    tly_word_store(next, word);
    return next + tly_width_of(code);
}

/* tly_cell_encode of a dot without bytes. kind: one of the above; signs: the strategy's signed_nums. */
TLY_ALWAYS_INLINE size_t tly_cell_write(uint8_t out[TLY_CELL_FIXED_MAX], const struct tly_dot *dot,
                                        uint32_t life, unsigned kind, unsigned signs)
{
    unsigned shape = kind << TLY_KIND_SHIFT;
    uint8_t *next = out + sizeof(uint16_t);
    if (life < TLY_LIFE_SHORT) {
        *next++ = (uint8_t)life;
    } else {
        *next++ = (uint8_t)(life >> 8 | TLY_LIFE_SHORT);
        *next++ = (uint8_t)life;
    }
    tly_word_store(next, dot->version.ts);
    next += sizeof(uint64_t);
    /* Words that a strategy does not have are 0 and take no byte. */
    next = tly_word_put(next, &shape, 0, dot->num[0], signs & 1);
    next = tly_word_put(next, &shape, 1, dot->num[1], signs & 2);
    next = tly_word_put(next, &shape, 2, dot->num[2], signs & 4);
    next = tly_word_put(next, &shape, 3, dot->num[3], signs & 8);
    tly_shape_store(out, shape);
    return (size_t)(next - out);
}

TLY_ALWAYS_INLINE const uint8_t *tly_word_get(const uint8_t *next, unsigned code, unsigned is_signed,
                                              uint64_t *word)
{
    uint64_t raw = tly_word_load(next) & tly_mask_of_code[code & 7];
    *word = is_signed != 0 ? tly_unfolded(raw) : raw;
    return next + tly_width_of(code & 7);
}

/* Where a cell's words lie behind its head, and what that says. */
TLY_ALWAYS_INLINE const uint8_t *tly_cell_head(const uint8_t *at, unsigned *shape, uint32_t *life,
                                               uint64_t *ts)
{
    const uint8_t *next = at + 3;
    *shape = tly_shape_load(at);
    *life = at[2];
    if (*life >= TLY_LIFE_SHORT) *life = (*life & (TLY_LIFE_SHORT - 1)) << 8 | *next++;
    *ts = tly_word_load(next);
    return next + sizeof(uint64_t);
}

/* The next cell, in brief; false at the end. */
TLY_ALWAYS_INLINE bool tly_cell_skim(struct tly_cells *cells, struct tly_cell_brief *brief)
{
    const uint8_t *at = cells->next;
    if (at == NULL) return false;
    unsigned shape;
    const uint8_t *next = tly_cell_head(at, &shape, &brief->life, &brief->ts);
    brief->at = at;
    cells->next = NULL;
    if ((shape & TLY_LAST_BIT) != 0) return true;
    for (unsigned i = 0; i < cells->strategy->nums; i++, shape >>= 3)
        next += tly_width_of(shape & 7);
    if (cells->strategy->has_bytes)
        next += tly_width_of(shape & 7) + (size_t)(tly_word_load(next) & tly_mask_of_code[shape & 7]);
    cells->next = next;
    return true;
}

/* The dot of a cell, but for its origin, where it is wanted: copied from elsewhere it would wait for its own stores. The cell's end. */
TLY_ALWAYS_INLINE const uint8_t *tly_cell_dot(const uint8_t *at, const struct tly_strategy *strategy,
                                              struct tly_dot *dot, unsigned *shape, uint32_t *life)
{
    uint64_t ts;
    const uint8_t *next = tly_cell_head(at, shape, life, &ts);
    unsigned signs = strategy->signed_nums;
    dot->version = (struct tly_version){.ts = ts};
    dot->op = (*shape >> TLY_KIND_SHIFT & 3) == TLY_KIND_REMOVE ? TLY_REMOVE : TLY_PUT;
    /* Words that are not there have no width and read as 0. */
    next = tly_word_get(next, *shape, signs & 1, &dot->num[0]);
    next = tly_word_get(next, *shape >> 3, signs & 2, &dot->num[1]);
    next = tly_word_get(next, *shape >> 6, signs & 4, &dot->num[2]);
    next = tly_word_get(next, *shape >> 9, signs & 8, &dot->num[3]);
    dot->bytes = tly_slice_of(NULL, 0);
    if (!strategy->has_bytes) return next;
    size_t n = (size_t)dot->num[strategy->nums];
    dot->num[strategy->nums] = 0;
    if (n > 0) dot->bytes = tly_slice_of(next, n);
    return next + n;
}

/* tly_cells_next. */
TLY_ALWAYS_INLINE bool tly_cell_read(struct tly_cells *cells, struct tly_cell *cell)
{
    const uint8_t *at = cells->next;
    if (at == NULL) return false;
    unsigned shape;
    const uint8_t *next = tly_cell_dot(at, cells->strategy, &cell->dot, &shape, &cell->life);
    unsigned kind = shape >> TLY_KIND_SHIFT & 3;
    cell->at = at;
    cell->unsealed = kind == TLY_KIND_UNSEALED || kind == TLY_KIND_UNSEALED_AUX;
    cell->says_aux = kind == TLY_KIND_UNSEALED_AUX;
    cell->size = (uint32_t)(next - at);
    cells->next = (shape & TLY_LAST_BIT) != 0 ? NULL : next;
    return true;
}

/* What of a cell decides whether another one takes its place. Not for strategies with bytes. */
struct tly_cell_heart {
    const uint8_t *at;
    uint64_t ts, word[2]; /* its first two words */
    uint32_t life, size;
    unsigned kind;
    bool is_last;
};

/* Bytes of the four words of a shape: the codes added up, and one more for each that is 7. */
static inline unsigned tly_words_width(unsigned shape)
{
    unsigned sevens = shape & shape >> 1 & shape >> 2;
    unsigned pairs = (shape & 0x1c7) + (shape >> 3 & 0x1c7) + (sevens & 0x41) + (sevens >> 3 & 0x41);
    return (pairs & 0x3f) + (pairs >> 6);
}

TLY_ALWAYS_INLINE struct tly_cell_heart tly_cell_heart(const uint8_t *at, unsigned signs)
{
    unsigned shape = tly_shape_load(at);
    struct tly_cell_heart heart = {.at = at, .life = at[2]};
    const uint8_t *next = at + 3;
    if (heart.life >= TLY_LIFE_SHORT) heart.life = (heart.life & (TLY_LIFE_SHORT - 1)) << 8 | *next++;
    heart.ts = tly_word_load(next);
    next += sizeof(uint64_t);
    heart.kind = shape >> TLY_KIND_SHIFT & 3;
    heart.is_last = (shape & TLY_LAST_BIT) != 0;
    heart.size = (uint32_t)(next - at) + tly_words_width(shape & 0xfff);
    next = tly_word_get(next, shape, signs & 1, &heart.word[0]);
    (void)tly_word_get(next, shape >> 3, signs & 2, &heart.word[1]);
    return heart;
}

TLY_ALWAYS_INLINE int64_t tly_signed_at(const uint8_t *at, unsigned code)
{
    return (int64_t)tly_unfolded(tly_word_load(at) & tly_mask_of_code[code & 7]);
}

/*
 * Writes over a word of this code, folded if it is signed. Bytes behind it, of another cell, of another block or spare, are written as
 * they were.
 */
TLY_ALWAYS_INLINE void tly_word_put_over(uint8_t *at, unsigned code, uint64_t word)
{
    tly_word_store(at, (tly_word_load(at) & ~tly_mask_of_code[code]) | word);
}

/* The same for two words, whose codes are the lower ones: one after the other, the second would wait for the first to be written. */
TLY_ALWAYS_INLINE void tly_words_put_over(uint8_t *at, unsigned codes, uint64_t first, uint64_t second)
{
    unsigned code = codes & 7, second_code = codes >> 3 & 7, width = tly_width_of(code);
    if (width == sizeof(uint64_t) || width + tly_width_of(second_code) > sizeof(uint64_t)) {
        tly_word_put_over(at, code, first);
        tly_word_put_over(at + width, second_code, second);
        return;
    }
    uint64_t mask = tly_mask_of_code[code] | tly_mask_of_code[second_code] << 8 * width;
    tly_word_store(at, (tly_word_load(at) & ~mask) | first | second << 8 * width);
}

/* The last two words of a cell of four, which are signed; its first two take `width` bytes. */
TLY_ALWAYS_INLINE void tly_cell_slots(const uint8_t *at, unsigned width, int64_t *third, int64_t *fourth)
{
    unsigned shape = tly_shape_load(at);
    const uint8_t *words = at + 3 + (at[2] >= TLY_LIFE_SHORT) + sizeof(uint64_t) + width;
    *third = tly_signed_at(words, shape >> 6);
    *fourth = tly_signed_at(words + tly_width_of(shape >> 6 & 7), shape >> 9);
}

#endif
