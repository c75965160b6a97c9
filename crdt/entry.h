/*
 * Internal to the map: an entry is one block.
 *
 *     struct tly_entry | key, padded to 8 | local words, if any | cells
 *
 * A cell is a dot in memory: its origin is the number of a life, its payload as many words as the strategy has (a payload's
 * bytes are a block of their own, pointed to).  Cells stand ascending by (ts, origin), unsealed ones wherever they were.
 */
#ifndef TALLY_CRDT_ENTRY_H
#define TALLY_CRDT_ENTRY_H

#include "crdt/ormap.h"

struct tly_cell {
    uint64_t ts; /* of the last sealing; 0: never sealed */
    uint32_t life;
    uint8_t op;
    bool unsealed; /* counted into since the last sealing */
    bool says_aux; /* a new aux came with what was counted */
    uint64_t word[];
};

struct tly_entry {
    const struct tly_strategy *strategy;
    uint64_t hash;
    uint32_t number;
    uint32_t count, capacity; /* cells */
    uint16_t key_bytes;
    bool has_local;
    bool queued; /* in the map's list of entries to seal */
    uint64_t tail[];
};

/* Words of a cell's payload in memory; bytes take a pointer and a length. */
static inline size_t tly_cell_words(const struct tly_strategy *strategy)
{
    return strategy->nums + (strategy->has_bytes ? 2u : 0u);
}

static inline size_t tly_cell_stride(const struct tly_strategy *strategy)
{
    return sizeof(struct tly_cell) + tly_cell_words(strategy) * sizeof(uint64_t);
}

static inline size_t tly_entry_head_words(size_t key_bytes, bool has_local)
{
    return (key_bytes + 7) / 8 + (has_local ? TLY_LOCAL_WORDS : 0);
}

static inline struct tly_cell *tly_cell_at(const struct tly_entry *entry, size_t i)
{
    const uint64_t *cells = entry->tail + tly_entry_head_words(entry->key_bytes, entry->has_local);
    return (struct tly_cell *)(uintptr_t)((const char *)cells + i * tly_cell_stride(entry->strategy));
}

/* A new entry without cells, or NULL. */
struct tly_entry *tly_entry_new(const struct tly_mem *mem, const struct tly_strategy *strategy,
                                struct tly_slice key, uint64_t hash, uint32_t number);
void tly_entry_free(const struct tly_mem *mem, struct tly_entry *entry);
/* The same entry with room for `capacity` cells and with local words or not; NULL: no memory, nothing changed. */
struct tly_entry *tly_entry_resize(const struct tly_mem *mem, struct tly_entry *entry, size_t capacity,
                                   bool has_local);

struct tly_slice tly_cell_bytes(const struct tly_entry *entry, const struct tly_cell *cell);
/* Takes the cell out; its bytes are released. */
void tly_entry_take_out(const struct tly_mem *mem, struct tly_entry *entry, size_t i);
/*
 * Puts a dot in at its place, its bytes copied. There must be room. NULL: no memory for the bytes. `order` gives the
 * place: the number of cells that stand before it.
 */
struct tly_cell *tly_entry_put_in(const struct tly_mem *mem, struct tly_entry *entry, size_t at,
                                  const struct tly_dot *dot, uint32_t life);
/* Moves cell i to the end, when it got the newest version. */
struct tly_cell *tly_entry_move_last(struct tly_entry *entry, size_t i);

#endif
