#include "crdt/entry.h"

#include "crdt/cell.h"
#include "crdt/index.h"

size_t tly_cell_size(const struct tly_strategy *strategy, const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    return tly_cell_encode(fixed, strategy, cell) + cell->dot.bytes.n;
}

uint8_t *tly_cell_put(uint8_t *at, const struct tly_strategy *strategy, const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    size_t n = tly_cell_encode(fixed, strategy, cell);
    memcpy(at, fixed, n);
    if (cell->dot.bytes.n > 0) memcpy(at + n, cell->dot.bytes.p, cell->dot.bytes.n);
    return at + n + cell->dot.bytes.n;
}

bool tly_cell_put_same(uint8_t *at, size_t size, const struct tly_strategy *strategy,
                       const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    size_t n = tly_cell_encode(fixed, strategy, cell);
    if (n + cell->dot.bytes.n != size) return false;
    tly_shape_store(fixed, tly_shape_load(fixed) | (tly_shape_load(at) & TLY_LAST_BIT));
    memcpy(at, fixed, n);
    return true;
}

size_t tly_cell_encode(uint8_t out[TLY_CELL_FIXED_MAX], const struct tly_strategy *strategy,
                       const struct tly_cell *cell)
{
    size_t n = tly_cell_write(out, &cell->dot, cell->life, tly_cell_kind(cell), strategy->signed_nums);
    if (cell->dot.bytes.n == 0) return n;
    unsigned shape = tly_shape_load(out);
    const uint8_t *end = tly_word_put(out + n, &shape, strategy->nums, cell->dot.bytes.n, 0);
    tly_shape_store(out, shape);
    return (size_t)(end - out);
}

bool tly_cells_next(struct tly_cells *cells, struct tly_cell *cell)
{
    return tly_cell_read(cells, cell);
}

size_t tly_entry_size(size_t key_bytes, bool has_local, size_t cells_bytes)
{
    size_t bytes = (has_local ? TLY_ENTRY_LOCAL_BYTES : TLY_ENTRY_HEAD_BYTES) + key_bytes + cells_bytes;
    return has_local ? (bytes + 7) / 8 * 8 : bytes;
}

struct tly_entry *tly_entry_make(void *block, const struct tly_strategy *strategy, struct tly_slice key)
{
    struct tly_entry *entry = block;
    size_t low = key.n - 1;
    entry->flags = (uint8_t)(strategy->id | (low > 0xff ? TLY_ENTRY_LONG_KEY : 0));
    entry->key_low = (uint8_t)low;
    memcpy(entry->tail, key.p, key.n);
    return entry;
}

size_t tly_entry_cells_size(const struct tly_entry *entry, const struct tly_strategy *strategy)
{
    struct tly_cells cells = tly_cells_of(entry, strategy);
    size_t size = 0;
    for (struct tly_cell cell; tly_cells_next(&cells, &cell);)
        size += cell.size;
    return size;
}

struct tly_slice tly_entry_key(const struct tly_entry *entry)
{
    return tly_entry_key_of(entry);
}

const struct tly_strategy *tly_entry_strategy(const struct tly_entry *entry)
{
    return tly_strategy_by_id(entry->flags & TLY_ENTRY_STRATEGY);
}

size_t tly_entry_bytes(const struct tly_entry *entry)
{
    size_t cells = tly_entry_is_held(entry) ? tly_entry_cells_size(entry, tly_entry_strategy(entry)) : 0;
    return tly_entry_cells_offset(entry) + cells + sizeof(struct tly_slot);
}

bool tly_entry_is_unsealed(const struct tly_entry *entry)
{
    struct tly_cells cells = tly_cells_of(entry, tly_entry_strategy(entry));
    for (struct tly_cell cell; tly_cells_next(&cells, &cell);)
        if (cell.unsealed) return true;
    return false;
}

uint64_t *tly_entry_local(struct tly_entry *entry)
{
    if ((entry->flags & TLY_ENTRY_LOCAL) == 0 || tly_entry_sums(entry) != NULL) return NULL;
    return tly_entry_words(entry);
}
