#include "crdt/entry.h"

#include <assert.h>
#include <string.h>

static size_t entry_bytes(const struct tly_strategy *strategy, size_t key_bytes, bool has_local,
                          size_t capacity)
{
    return sizeof(struct tly_entry) + tly_entry_head_words(key_bytes, has_local) * sizeof(uint64_t) +
           capacity * tly_cell_stride(strategy);
}

struct tly_entry *tly_entry_new(const struct tly_mem *mem, const struct tly_strategy *strategy,
                                struct tly_slice key, uint64_t hash, uint32_t number)
{
    struct tly_entry *entry = tly_mem_zeroed(mem, entry_bytes(strategy, key.n, false, 1));
    if (entry == NULL) return NULL;
    entry->strategy = strategy;
    entry->hash = hash;
    entry->number = number;
    entry->capacity = 1;
    entry->key_bytes = (uint16_t)key.n;
    memcpy(entry->tail, key.p, key.n);
    return entry;
}

static uint8_t *bytes_of(const struct tly_entry *entry, const struct tly_cell *cell)
{
    return (uint8_t *)(uintptr_t)cell->word[entry->strategy->nums];
}

struct tly_slice tly_cell_bytes(const struct tly_entry *entry, const struct tly_cell *cell)
{
    if (!entry->strategy->has_bytes) return tly_slice_of(NULL, 0);
    return tly_slice_of(bytes_of(entry, cell), (size_t)cell->word[entry->strategy->nums + 1u]);
}

static void free_bytes(const struct tly_mem *mem, const struct tly_entry *entry, const struct tly_cell *cell)
{
    struct tly_slice bytes = tly_cell_bytes(entry, cell);
    if (bytes.n > 0) tly_mem_free(mem, bytes_of(entry, cell), bytes.n);
}

void tly_entry_free(const struct tly_mem *mem, struct tly_entry *entry)
{
    for (size_t i = 0; i < entry->count; i++)
        free_bytes(mem, entry, tly_cell_at(entry, i));
    tly_mem_free(mem, entry,
                 entry_bytes(entry->strategy, entry->key_bytes, entry->has_local, entry->capacity));
}

struct tly_entry *tly_entry_resize(const struct tly_mem *mem, struct tly_entry *entry, size_t capacity,
                                   bool has_local)
{
    assert(capacity >= entry->count && has_local >= entry->has_local);
    size_t old = entry_bytes(entry->strategy, entry->key_bytes, entry->has_local, entry->capacity);
    struct tly_entry *grown =
        tly_mem_resize(mem, entry, old, entry_bytes(entry->strategy, entry->key_bytes, has_local, capacity));
    if (grown == NULL) return NULL;
    if (has_local && !grown->has_local) {
        char *cells = (char *)tly_cell_at(grown, 0);
        size_t gap = TLY_LOCAL_WORDS * sizeof(uint64_t);
        memmove(cells + gap, cells, grown->count * tly_cell_stride(grown->strategy));
        memset(cells, 0, gap);
        grown->has_local = true;
    }
    grown->capacity = (uint32_t)capacity;
    return grown;
}

void tly_entry_take_out(const struct tly_mem *mem, struct tly_entry *entry, size_t i)
{
    free_bytes(mem, entry, tly_cell_at(entry, i));
    size_t after = entry->count - i - 1;
    memmove(tly_cell_at(entry, i), tly_cell_at(entry, i + 1), after * tly_cell_stride(entry->strategy));
    entry->count--;
}

struct tly_cell *tly_entry_put_in(const struct tly_mem *mem, struct tly_entry *entry, size_t at,
                                  const struct tly_dot *dot, uint32_t life)
{
    assert(entry->count < entry->capacity && at <= entry->count);
    uint8_t *bytes = NULL;
    if (dot->bytes.n > 0) {
        bytes = tly_mem_new(mem, dot->bytes.n);
        if (bytes == NULL) return NULL;
        memcpy(bytes, dot->bytes.p, dot->bytes.n);
    }
    struct tly_cell *cell = tly_cell_at(entry, at);
    size_t stride = tly_cell_stride(entry->strategy);
    memmove((char *)cell + stride, cell, (entry->count - at) * stride);
    *cell = (struct tly_cell){.ts = dot->version.ts, .life = life, .op = (uint8_t)dot->op};
    memcpy(cell->word, dot->num, entry->strategy->nums * sizeof(uint64_t));
    if (entry->strategy->has_bytes) {
        cell->word[entry->strategy->nums] = (uintptr_t)bytes;
        cell->word[entry->strategy->nums + 1u] = dot->bytes.n;
    }
    entry->count++;
    return cell;
}

struct tly_cell *tly_entry_move_last(struct tly_entry *entry, size_t i)
{
    size_t stride = tly_cell_stride(entry->strategy);
    uint64_t kept[(sizeof(struct tly_cell) + (TLY_NUMS_MAX + 2) * sizeof(uint64_t)) / sizeof(uint64_t)];
    assert(stride <= sizeof kept);
    struct tly_cell *cell = tly_cell_at(entry, i), *last = tly_cell_at(entry, entry->count - 1);
    memcpy(kept, cell, stride);
    memmove(cell, tly_cell_at(entry, i + 1), (entry->count - i - 1) * stride);
    memcpy(last, kept, stride);
    return last;
}

struct tly_slice tly_entry_key(const struct tly_entry *entry)
{
    return tly_slice_of(entry->tail, entry->key_bytes);
}

const struct tly_strategy *tly_entry_strategy(const struct tly_entry *entry)
{
    return entry->strategy;
}

bool tly_entry_is_unsealed(const struct tly_entry *entry)
{
    for (size_t i = 0; i < entry->count; i++)
        if (tly_cell_at(entry, i)->unsealed) return true;
    return false;
}

uint64_t *tly_entry_local(struct tly_entry *entry)
{
    return entry->has_local ? entry->tail + tly_entry_head_words(entry->key_bytes, false) : NULL;
}
