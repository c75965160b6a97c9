#include "crdt/ormap_impl.h"

#include <assert.h>

static void *counted_resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_ormap *map = context;
    void *moved = tly_mem_resize(&map->given, block, old_bytes, new_bytes);
    if (moved != NULL || new_bytes == 0) map->bytes += new_bytes - old_bytes;
    return moved;
}

struct tly_ormap *tly_ormap_new(const struct tly_ormap_config *config)
{
    struct tly_ormap *map = tly_mem_zeroed(&config->mem, sizeof *map);
    if (map == NULL) return NULL;
    map->given = config->mem;
    map->mem = (struct tly_mem){counted_resize, map};
    map->bytes = sizeof *map;
    map->hash_key = config->hash_key;
    map->registry = config->registry;
    map->keys_max = config->keys_max < UINT32_MAX - 1 ? config->keys_max : UINT32_MAX - 1;
    map->clock = config->clock;
    map->own = map->last_life = TLY_NO_LIFE;
    if (!tly_index_init(&map->index, &map->mem)) {
        struct tly_mem given = map->given;
        tly_mem_free(&given, map, sizeof *map);
        return NULL;
    }
    return map;
}

void tly_ormap_free(struct tly_ormap *map)
{
    if (map == NULL) return;
    for (size_t i = 0; i < map->numbers; i++)
        if (map->entries[i] != NULL) tly_entry_free(&map->mem, map->entries[i]);
    for (size_t i = 0; i < map->life_count; i++)
        tly_oplog_fini(&map->lives[i].log, &map->mem);
    tly_index_fini(&map->index, &map->mem);
    tly_mem_free(&map->mem, map->entries, map->numbers_capacity * sizeof *map->entries);
    tly_mem_free(&map->mem, map->free_numbers, map->free_capacity * sizeof *map->free_numbers);
    tly_mem_free(&map->mem, map->lives, map->life_capacity * sizeof *map->lives);
    tly_mem_free(&map->mem, map->sorted, map->sorted_capacity * sizeof *map->sorted);
    tly_mem_free(&map->mem, map->unsealed, map->unsealed_capacity * sizeof *map->unsealed);
    tly_mem_free(&map->mem, map->scratch, map->scratch_capacity * sizeof *map->scratch);
    assert(map->bytes == sizeof *map);
    struct tly_mem given = map->given;
    tly_mem_free(&given, map, sizeof *map);
}

struct tly_clock *tly_ormap_clock(struct tly_ormap *map)
{
    return &map->clock;
}

void tly_ormap_use_registry(struct tly_ormap *map, const struct tly_registry *registry)
{
    map->registry = registry;
}

const struct tly_registry *tly_ormap_registry(const struct tly_ormap *map)
{
    return map->registry;
}

size_t tly_ormap_count(const struct tly_ormap *map)
{
    return map->keys;
}

size_t tly_ormap_bytes(const struct tly_ormap *map)
{
    return map->bytes;
}

static uint64_t hash_of_number(const void *context, uint32_t number)
{
    const struct tly_ormap *map = context;
    return map->entries[number]->hash;
}

struct tly_entry *tly_map_find_hashed(const struct tly_ormap *map, struct tly_slice key, uint64_t hash)
{
    struct tly_probe probe = tly_probe_of(&map->index, hash);
    for (uint32_t number; tly_probe_next(&map->index, &probe, &number);) {
        struct tly_entry *entry = map->entries[number];
        if (tly_slice_equal(tly_entry_key(entry), key)) return entry;
    }
    return NULL;
}

struct tly_entry *tly_ormap_find(struct tly_ormap *map, struct tly_slice key)
{
    return tly_map_find_hashed(map, key, tly_hash(&map->hash_key, key));
}

static bool reserve_number(struct tly_ormap *map)
{
    if (map->free_count > 0) return true;
    size_t need = map->numbers + 1;
    void *entries =
        tly_mem_reserve(&map->mem, map->entries, &map->numbers_capacity, need, sizeof *map->entries);
    if (entries == NULL) return false;
    map->entries = entries;
    void *free_numbers =
        tly_mem_reserve(&map->mem, map->free_numbers, &map->free_capacity, need, sizeof *map->free_numbers);
    if (free_numbers == NULL) return false;
    map->free_numbers = free_numbers;
    return true;
}

static bool reserve_scratch(struct tly_ormap *map, size_t cells)
{
    void *scratch =
        tly_mem_reserve(&map->mem, map->scratch, &map->scratch_capacity, cells, sizeof *map->scratch);
    if (scratch == NULL) return false;
    map->scratch = scratch;
    return true;
}

enum tly_result tly_map_need_hashed(struct tly_ormap *map, struct tly_slice key,
                                    const struct tly_strategy *strategy, struct tly_entry **out)
{
    uint64_t hash = tly_hash(&map->hash_key, key);
    *out = tly_map_find_hashed(map, key, hash);
    if (*out != NULL) return TLY_OK;
    if (map->keys >= map->keys_max) return TLY_FULL;
    if (!reserve_number(map) || !reserve_scratch(map, 1)) return TLY_NOMEM;
    if (!tly_index_reserve(&map->index, &map->mem, hash_of_number, map)) return TLY_NOMEM;
    uint32_t number = map->free_count > 0 ? map->free_numbers[map->free_count - 1] : (uint32_t)map->numbers;
    struct tly_entry *entry = tly_entry_new(&map->mem, strategy, key, hash, number);
    if (entry == NULL) return TLY_NOMEM;
    if (map->free_count > 0)
        map->free_count--;
    else
        map->numbers++;
    map->entries[number] = entry;
    tly_index_add(&map->index, hash, number);
    map->keys++;
    *out = entry;
    return TLY_OK;
}

enum tly_result tly_map_strategy_for(const struct tly_ormap *map, struct tly_slice key,
                                     const struct tly_strategy **strategy)
{
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    *strategy = tly_registry_find(map->registry, key);
    return *strategy == NULL ? TLY_NO_STRATEGY : TLY_OK;
}

enum tly_result tly_ormap_need(struct tly_ormap *map, struct tly_slice key, struct tly_entry **out)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, key, &strategy);
    return result != TLY_OK ? result : tly_map_need_hashed(map, key, strategy, out);
}

void tly_ormap_tidy(struct tly_ormap *map, struct tly_entry *entry)
{
    if (entry->count > 0) return;
    tly_index_remove(&map->index, entry->hash, entry->number, hash_of_number, map);
    map->entries[entry->number] = NULL;
    map->free_numbers[map->free_count++] = entry->number;
    map->keys--;
    tly_entry_free(&map->mem, entry);
}

static bool resize(struct tly_ormap *map, struct tly_entry **entry, size_t capacity, bool has_local)
{
    struct tly_entry *resized = tly_entry_resize(&map->mem, *entry, capacity, has_local);
    if (resized == NULL) return false;
    map->entries[resized->number] = *entry = resized;
    return true;
}

bool tly_map_reserve_cell(struct tly_ormap *map, struct tly_entry **entry)
{
    size_t need = (size_t)(*entry)->count + 1;
    if (!reserve_scratch(map, need)) return false;
    if (need <= (*entry)->capacity) return true;
    return resize(map, entry, need <= 4 ? need : need + need / 2, (*entry)->has_local);
}

enum tly_result tly_entry_need_local(struct tly_ormap *map, struct tly_entry **entry)
{
    if ((*entry)->has_local) return TLY_OK;
    return resize(map, entry, (*entry)->capacity, true) ? TLY_OK : TLY_NOMEM;
}

struct tly_entry *tly_ormap_each(struct tly_ormap *map, size_t *cursor)
{
    while (*cursor < map->numbers) {
        struct tly_entry *entry = map->entries[(*cursor)++];
        if (entry != NULL) return entry;
    }
    return NULL;
}

const struct tly_dot *tly_entry_dots(struct tly_ormap *map, const struct tly_entry *entry, size_t *count)
{
    for (size_t i = 0; i < entry->count; i++)
        map->scratch[i] = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
    *count = entry->count;
    return map->scratch;
}

void tly_entry_read(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_moment *at,
                    struct tly_value *value)
{
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    entry->strategy->read(dots, count, at, value);
}

static void drop_cell(struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    const struct tly_cell *cell = tly_cell_at(entry, i);
    uint32_t life = cell->life;
    bool recorded = cell->ts != 0;
    if (cell->op == TLY_REMOVE) map->removes--;
    tly_entry_take_out(&map->mem, entry, i);
    if (recorded) tly_map_record_died(map, life);
}

void tly_map_drop_dominated(struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot)
{
    for (size_t i = 0; i < entry->count;) {
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
        if (tly_dominates(entry->strategy, dot, &other))
            drop_cell(map, entry, i);
        else
            i++;
    }
}

size_t tly_map_drop_if(struct tly_ormap *map, struct tly_entry *entry, tly_goes *goes, void *context)
{
    size_t dropped = 0;
    for (size_t i = 0; i < entry->count;) {
        struct tly_dot dot = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
        if (goes(context, &dot)) {
            drop_cell(map, entry, i);
            dropped++;
        } else {
            i++;
        }
    }
    tly_ormap_tidy(map, entry);
    return dropped;
}

struct sweep {
    const struct tly_entry *entry;
    tly_gone *gone;
    void *context;
};

static bool put_is_gone(void *context, const struct tly_dot *dot)
{
    const struct sweep *sweep = context;
    return dot->op == TLY_PUT &&
           sweep->gone(sweep->context, tly_entry_key(sweep->entry), sweep->entry->strategy, dot);
}

static size_t sweep_entry(struct tly_ormap *map, struct tly_entry *entry, tly_gone *gone, void *context)
{
    struct sweep sweep = {entry, gone, context};
    return tly_map_drop_if(map, entry, put_is_gone, &sweep);
}

size_t tly_ormap_sweep(struct tly_ormap *map, size_t *cursor, size_t budget, tly_gone *gone, void *context)
{
    size_t dropped = 0;
    for (; budget > 0 && *cursor < map->numbers; budget--, (*cursor)++)
        if (map->entries[*cursor] != NULL) dropped += sweep_entry(map, map->entries[*cursor], gone, context);
    if (*cursor >= map->numbers) *cursor = 0;
    return dropped;
}
