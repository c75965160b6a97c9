/*
 * Internal to the map: an entry is one block of bytes, without padding.
 *
 *     flags | key length | local words, if any, aligned to 8 | key | cell | cell | …
 *
 * A cell is a dot in memory.  Its origin is the number of a life, its words take as many bytes as they need:
 *
 *     shape, 2 bytes | life, 1 or 2 | ts, 8 | word, word, … | bytes, if the strategy has them
 *
 *     shape   bits 0-11  the width of four words, three bits each: 0, 1, 2, 3, 4, 5, 6 or 8 bytes
 *             bits 12-13 what it is: a PUT, an unsealed one, an unsealed one with a new aux, a REMOVE
 *             bit 15     the last cell of the entry
 *
 * Signed words are folded (0, -1, 1, -2, …) so that small ones are short; the length of the bytes is one more word.  Cells
 * stand ascending by (ts, origin), unsealed ones wherever they were.  Up to TLY_ARENA_SLACK bytes behind a block are read.
 */
#ifndef TALLY_CRDT_ENTRY_H
#define TALLY_CRDT_ENTRY_H

#include "crdt/ormap.h"

#include <assert.h>

struct tly_entry {
    uint8_t flags;
    uint8_t key_low; /* key length - 1, its low 8 bits */
    uint8_t tail[];
};

/* The low bits of flags are the strategy's id. */
#define TLY_ENTRY_STRATEGY 0x07u
#define TLY_ENTRY_PRINTED 0x08u  /* its dots are in the map's prints */
#define TLY_ENTRY_LONG_KEY 0x10u /* the ninth bit of key length - 1 */
#define TLY_ENTRY_LOCAL 0x20u
#define TLY_ENTRY_QUEUED 0x40u /* in the map's list of entries to seal */
#define TLY_ENTRY_HELD 0x80u   /* it has cells */

#define TLY_ENTRY_HEAD_BYTES 2u
#define TLY_ENTRY_LOCAL_BYTES (8u + TLY_LOCAL_WORDS * sizeof(uint64_t)) /* the head, padded, and the words */

/*
 * What the local words are when no caller wants them: what all lives but the own one counted in an epoch of a window (tly_pane), so
 * that a check need not walk the shards of many nodes. It lies over the head of an entry with room for local words.
 */
struct tly_sums {
    uint8_t flags, key_low; /* of the entry */
    uint8_t is_kept;        /* 0: the words are a caller's */
    uint8_t codes;          /* of the pane; TLY_SUMS_NONE: something has changed since */
    uint16_t
        own_at;    /* where the shard of the own life lies that is left out; 0: there is none in that epoch */
    uint16_t own;  /* the number of that life */
    uint64_t head; /* of the pane */
    int64_t current, previous;
};

#define TLY_SUMS_NONE 0xffu

static_assert(sizeof(struct tly_sums) == TLY_ENTRY_LOCAL_BYTES, "sums take the place of local words");
/* What a windowed shard of small numbers takes. */
#define TLY_CELL_BYTES_USUAL 19u

struct tly_cell {
    struct tly_dot
        dot; /* ts 0: never sealed. The origin is for who knows the lives; bytes borrow from the entry */
    uint32_t life;
    bool unsealed; /* counted into since the last sealing */
    bool says_aux; /* a new aux came with what was counted */
    uint32_t size; /* bytes of it */
    const uint8_t *at;
};

/* A walk over the cells. */
struct tly_cells {
    const uint8_t *next; /* NULL: no more */
    const struct tly_strategy *strategy;
};

static inline size_t tly_entry_key_bytes(const struct tly_entry *entry)
{
    return (size_t)entry->key_low + ((entry->flags & TLY_ENTRY_LONG_KEY) != 0 ? 257u : 1u);
}

static inline size_t tly_entry_head_bytes(const struct tly_entry *entry)
{
    return (entry->flags & TLY_ENTRY_LOCAL) != 0 ? TLY_ENTRY_LOCAL_BYTES : TLY_ENTRY_HEAD_BYTES;
}

static inline const uint8_t *tly_entry_key_at(const struct tly_entry *entry)
{
    return (const uint8_t *)entry + tly_entry_head_bytes(entry);
}

static inline struct tly_slice tly_entry_key_of(const struct tly_entry *entry)
{
    return tly_slice_of(tly_entry_key_at(entry), tly_entry_key_bytes(entry));
}

/* Of one that has local words: where they lie, if no sums do. */
static inline uint64_t *tly_entry_words(struct tly_entry *entry)
{
    return (uint64_t *)(void *)((uint8_t *)entry + 8);
}

/* Where the cells begin; all before them is the same as long as the entry lives, but for flags and local words. */
static inline size_t tly_entry_cells_offset(const struct tly_entry *entry)
{
    return tly_entry_head_bytes(entry) + tly_entry_key_bytes(entry);
}

static inline bool tly_entry_is_held(const struct tly_entry *entry)
{
    return (entry->flags & TLY_ENTRY_HELD) != 0;
}

static inline struct tly_cells tly_cells_of(const struct tly_entry *entry,
                                            const struct tly_strategy *strategy)
{
    const uint8_t *cells = (const uint8_t *)entry + tly_entry_cells_offset(entry);
    return (struct tly_cells){tly_entry_is_held(entry) ? cells : NULL, strategy};
}

/* The next cell, but for its origin; false at the end. */
bool tly_cells_next(struct tly_cells *cells, struct tly_cell *cell);

/* What a log wants to know of a cell. */
struct tly_cell_brief {
    uint64_t ts;
    uint32_t life;
    const uint8_t *at;
};

/* Bytes that a cell takes. Only dot, life, unsealed and says_aux are read. */
size_t tly_cell_size(const struct tly_strategy *strategy, const struct tly_cell *cell);
/* The most that a cell takes without its bytes, and room to store a whole word where a short one is wanted. */
#define TLY_CELL_FIXED_MAX (2 + 2 + sizeof(uint64_t) * (1 + TLY_NUMS_MAX) + sizeof(uint64_t))

/* Writes it without its bytes, as one that is not the last; how long that is. */
size_t tly_cell_encode(uint8_t out[TLY_CELL_FIXED_MAX], const struct tly_strategy *strategy,
                       const struct tly_cell *cell);
/* Writes it as one that is not the last; its end. */
uint8_t *tly_cell_put(uint8_t *at, const struct tly_strategy *strategy, const struct tly_cell *cell);
/* Writes a cell without bytes over one of `size` bytes if it takes as many; false: it does not, and nothing was written. */
bool tly_cell_put_same(uint8_t *at, size_t size, const struct tly_strategy *strategy,
                       const struct tly_cell *cell);

/* The sums of an entry, right or not; NULL: it has no room for them, or a caller has it. */
static inline struct tly_sums *tly_entry_sums(struct tly_entry *entry)
{
    struct tly_sums *sums = (struct tly_sums *)(void *)entry;
    return (entry->flags & TLY_ENTRY_LOCAL) != 0 && sums->is_kept != 0 ? sums : NULL;
}

/* Bytes of an entry with such a key and so many bytes of cells. */
size_t tly_entry_size(size_t key_bytes, bool has_local, size_t cells_bytes);
/* Makes an entry without cells in a block that is large enough. */
struct tly_entry *tly_entry_make(void *block, const struct tly_strategy *strategy, struct tly_slice key);
/* Bytes that the cells take. */
size_t tly_entry_cells_size(const struct tly_entry *entry, const struct tly_strategy *strategy);

#endif
