/* The invariant, and a digest that does not depend on history. */
#include "crdt/ormap_impl.h"

#include <assert.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    a ^= a >> 32;
    a *= UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

static uint64_t mix_bytes(uint64_t a, struct tly_slice bytes)
{
    a = mix(a, bytes.n);
    for (size_t i = 0; i < bytes.n; i++)
        a = mix(a, bytes.p[i]);
    return a;
}

uint64_t tly_map_digest_key(const struct tly_strategy *strategy, struct tly_slice key)
{
    return mix_bytes(strategy->id, key);
}

uint64_t tly_map_digest_dot(uint64_t digest, const struct tly_dot *dot)
{
    digest = mix(mix(mix(digest, dot->version.ts), dot->version.origin), dot->op);
    for (size_t word = 0; word < TLY_NUMS_MAX; word++)
        digest = mix(digest, dot->num[word]);
    return mix_bytes(digest, dot->bytes);
}

uint64_t tly_ormap_digest(struct tly_ormap *map)
{
    uint64_t sum = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        uint64_t digest = tly_map_digest_key(entry->strategy, tly_entry_key(entry));
        for (size_t i = 0; i < entry->count; i++) {
            struct tly_dot dot = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
            digest = tly_map_digest_dot(digest, &dot);
        }
        sum += digest;
    }
    return sum;
}

/* Dots of a life that have a record: all that were ever sealed. */
static size_t recorded_cells(const struct tly_ormap *map, uint32_t life)
{
    size_t count = 0;
    for (size_t number = 0; number < map->numbers; number++) {
        const struct tly_entry *entry = map->entries[number];
        for (size_t i = 0; entry != NULL && i < entry->count; i++)
            count += tly_cell_at(entry, i)->life == life && tly_cell_at(entry, i)->ts != 0;
    }
    return count;
}

static void check_entry(const struct tly_ormap *map, const struct tly_entry *entry)
{
    assert(entry->count > 0 && entry->count <= entry->capacity && entry->count <= map->scratch_capacity);
    assert(tly_map_find_hashed(map, tly_entry_key(entry), entry->hash) == entry);
    for (size_t i = 0; i < entry->count; i++) {
        const struct tly_cell *cell = tly_cell_at(entry, i);
        assert(cell->life < map->life_count);
        assert(!cell->unsealed || (cell->life == map->own && entry->queued));
        struct tly_dot a = tly_map_dot_of(map, entry, cell);
        for (size_t j = 0; j < entry->count; j++) {
            struct tly_dot b = tly_map_dot_of(map, entry, tly_cell_at(entry, j));
            assert(cell->unsealed || tly_cell_at(entry, j)->unsealed ||
                   !tly_dominates(entry->strategy, &a, &b));
            (void)b;
        }
        (void)a;
    }
}

void tly_ormap_check(const struct tly_ormap *map)
{
    size_t keys = 0;
    for (size_t i = 0; i < map->numbers; i++) {
        if (map->entries[i] == NULL) continue;
        check_entry(map, map->entries[i]);
        keys++;
    }
    assert(keys == map->keys && keys == map->index.used && keys + map->free_count == map->numbers);
    for (uint32_t life = 0; life < map->life_count; life++) {
        const struct tly_oplog *log = &map->lives[life].log;
        size_t live = recorded_cells(map, life), found = 0;
        for (size_t i = 0; i < log->count; i++)
            found += tly_map_recorded_cell(map, &log->records[i], life, 0) != NULL;
        assert(live + log->dead == log->count && live <= found);
        (void)found;
        assert(log->dead <= (live > 64 ? live : 64) + 1);
    }
}
