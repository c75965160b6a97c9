#include "crdt/cell.h"
#include "crdt/ormap_impl.h"

static_assert(sizeof(size_t) >= sizeof(uint64_t), "a cursor is a hash and a number");

static void *counted_resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_ormap *map = context;
    void *moved = tly_mem_resize(&map->given, block, old_bytes, new_bytes);
    if (moved != NULL || new_bytes == 0) map->bytes += new_bytes - old_bytes;
    return moved;
}

static void know_strategies(struct tly_ormap *map)
{
    for (uint64_t id = 0; id <= TLY_ENTRY_STRATEGY; id++)
        map->strategies[id] = tly_strategy_by_id(id);
}

static void take_down(struct tly_ormap *map)
{
    for (size_t i = 0; i < map->life_count; i++)
        tly_oplog_fini(&map->lives[i].log, &map->mem);
    tly_index_fini(&map->index, &map->mem);
    tly_arena_fini(&map->arena, &map->mem);
    tly_map_free_unsealed(map);
    tly_mem_free(&map->mem, map->lives, map->life_capacity * sizeof *map->lives);
    tly_mem_free(&map->mem, map->sorted, map->sorted_capacity * sizeof *map->sorted);
    tly_mem_free(&map->mem, map->order, map->order_capacity * sizeof *map->order);
    tly_mem_free(&map->mem, map->scratch, map->scratch_capacity * sizeof *map->scratch);
    tly_mem_free(&map->mem, map->ahead, sizeof *map->ahead);
    assert(map->bytes == sizeof *map);
    struct tly_mem given = map->given;
    tly_mem_free(&given, map, sizeof *map);
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
    map->keys_max = config->keys_max < UINT32_MAX ? config->keys_max : UINT32_MAX;
    map->clock = config->clock;
    map->arrangement = 1;
    map->own = map->last_life = TLY_NO_LIFE;
    know_strategies(map);
    map->ahead = tly_mem_zeroed(&map->mem, sizeof *map->ahead);
    if (map->ahead != NULL && tly_index_init(&map->index, &map->mem)) return map;
    take_down(map);
    return NULL;
}

void tly_ormap_free(struct tly_ormap *map)
{
    if (map != NULL) take_down(map);
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

void tly_ormap_watch_keys(struct tly_ormap *map, tly_key_watch *watch, void *context)
{
    map->key_watch = watch;
    map->key_context = context;
}

size_t tly_ormap_count(const struct tly_ormap *map)
{
    return map->keys;
}

uint64_t tly_ormap_overlong(const struct tly_ormap *map)
{
    return map->overlong;
}

size_t tly_ormap_bytes(const struct tly_ormap *map)
{
    return map->bytes;
}

/* ---- keys ---- */

uint32_t tly_map_hash(const struct tly_ormap *map, struct tly_slice key)
{
    return tly_key_hash(&map->hash_key, key);
}

struct tly_entry *tly_ormap_find(struct tly_ormap *map, struct tly_slice key)
{
    struct tly_place place;
    (void)tly_map_find(map, key, tly_map_hash(map, key), &place);
    return place.entry;
}

uint32_t tly_map_hash_of(const struct tly_ormap *map, const struct tly_entry *entry)
{
    return map->known == entry ? map->known_hash : tly_map_hash(map, tly_entry_key(entry));
}

struct tly_place tly_map_place_of(const struct tly_ormap *map, struct tly_entry *entry)
{
    uint32_t hash = tly_map_hash_of(map, entry);
    struct tly_slot *slot = tly_index_find(&map->index, hash);
    while (slot != NULL && tly_map_entry(map, slot) != entry)
        slot = tly_index_again(slot);
    assert(slot != NULL);
    return (struct tly_place){hash, slot, entry};
}

static bool reserve_scratch(struct tly_ormap *map)
{
    if (map->scratch_capacity > 0) return true;
    map->scratch = tly_mem_reserve(&map->mem, NULL, &map->scratch_capacity, 1, sizeof *map->scratch);
    return map->scratch != NULL;
}

enum tly_result tly_map_make(struct tly_ormap *map, struct tly_slice key, const struct tly_strategy *strategy,
                             size_t cells_bytes, struct tly_place *place)
{
    if (map->keys >= map->keys_max) return TLY_FULL;
    map->arrangement++;
    if (!reserve_scratch(map) || !tly_index_reserve(&map->index, &map->mem, place->hash)) return TLY_NOMEM;
    uint32_t ref = tly_arena_new(&map->arena, &map->mem, tly_entry_size(key.n, false, cells_bytes));
    if (ref == 0) return TLY_NOMEM;
    place->entry = tly_entry_make(tly_arena_at(&map->arena, ref), strategy, key);
    place->slot = tly_index_add(&map->index, place->hash, ref);
    map->keys++;
    map->changes++;
    if (map->key_watch != NULL) map->key_watch(map->key_context, key, true);
    return TLY_OK;
}

enum tly_result tly_map_strategy_for(const struct tly_ormap *map, struct tly_slice key,
                                     const struct tly_strategy **strategy)
{
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    *strategy = tly_registry_find(map->registry, key);
    return *strategy == NULL ? TLY_NO_STRATEGY : TLY_OK;
}

enum tly_result tly_map_need(struct tly_ormap *map, const struct tly_seek *seek, struct tly_place *place)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, seek->key, &strategy);
    if (result != TLY_OK) return result;
    if (!tly_map_sought(map, seek, place))
        result = tly_map_make(map, seek->key, strategy, TLY_CELL_BYTES_USUAL, place);
    map->known = place->entry;
    map->known_hash = seek->hash;
    return result;
}

enum tly_result tly_ormap_need(struct tly_ormap *map, struct tly_slice key, struct tly_entry **out)
{
    struct tly_seek seek = tly_map_seek(key, tly_map_hash(map, key));
    return tly_seek_need(map, &seek, out);
}

void tly_map_tidy(struct tly_ormap *map, const struct tly_place *place)
{
    if (tly_entry_is_held(place->entry)) return;
    map->known = NULL;
    map->arrangement++;
    if (map->key_watch != NULL) map->key_watch(map->key_context, tly_entry_key(place->entry), false);
    tly_arena_free(&map->arena, &map->mem, place->slot->ref);
    tly_index_remove(&map->index, &map->mem, place->slot);
    map->keys--;
    map->changes++;
}

void tly_ormap_tidy(struct tly_ormap *map, struct tly_entry *entry)
{
    if (tly_entry_is_held(entry)) return;
    struct tly_place place = tly_map_place_of(map, entry);
    tly_map_tidy(map, &place);
}

enum tly_result tly_entry_need_local(struct tly_ormap *map, struct tly_entry **entry)
{
    struct tly_entry *old = *entry;
    struct tly_sums *sums = tly_entry_sums(old);
    if (sums != NULL) *sums = (struct tly_sums){.flags = old->flags, .key_low = old->key_low};
    if ((old->flags & TLY_ENTRY_LOCAL) != 0) return TLY_OK;
    size_t key_bytes = tly_entry_key_bytes(old);
    size_t cells_bytes = tly_entry_cells_size(old, tly_map_strategy(map, old));
    size_t wanted = cells_bytes > 0 ? cells_bytes : TLY_CELL_BYTES_USUAL;
    uint32_t ref = tly_arena_new(&map->arena, &map->mem, tly_entry_size(key_bytes, true, wanted));
    if (ref == 0) return TLY_NOMEM;
    uint8_t *block = tly_arena_at(&map->arena, ref);
    memset(block, 0, TLY_ENTRY_LOCAL_BYTES);
    memcpy(block, old, TLY_ENTRY_HEAD_BYTES);
    memcpy(block + TLY_ENTRY_LOCAL_BYTES, tly_entry_key_at(old), key_bytes + cells_bytes);
    struct tly_place place = tly_map_place_of(map, old);
    tly_arena_free(&map->arena, &map->mem, place.slot->ref);
    place.slot->ref = ref;
    map->changes++;
    map->known = NULL;
    *entry = (struct tly_entry *)(void *)block;
    (*entry)->flags |= TLY_ENTRY_LOCAL;
    return TLY_OK;
}

/* ---- walks ---- */

/*
 * A cursor is a hash, and how many entries of that hash are done: it stays true while the table grows. It begins at 0 and
 * ends past all hashes.
 */
#define CURSOR_END ((size_t)1 << (32 + TLY_CURSOR_HASH_SHIFT))

static struct tly_slot *slot_from(const struct tly_ormap *map, size_t *cursor)
{
    if (*cursor >= CURSOR_END) return NULL;
    uint32_t hash = (uint32_t)(*cursor >> TLY_CURSOR_HASH_SHIFT);
    size_t done = *cursor & (((size_t)1 << TLY_CURSOR_HASH_SHIFT) - 1);
    struct tly_slot *slot = tly_index_from(&map->index, hash);
    for (; done > 0 && slot != NULL && slot->hash == hash; done--) {
        struct tly_slot *again = tly_index_again(slot);
        if (again == NULL && hash < UINT32_MAX) again = tly_index_from(&map->index, hash + 1);
        slot = again;
    }
    if (slot == NULL)
        *cursor = CURSOR_END;
    else if (slot->hash != hash)
        *cursor = (size_t)slot->hash << TLY_CURSOR_HASH_SHIFT;
    return slot;
}

struct tly_entry *tly_ormap_each(struct tly_ormap *map, size_t *cursor)
{
    const struct tly_slot *slot = slot_from(map, cursor);
    if (slot == NULL) return NULL;
    ++*cursor;
    return tly_map_entry(map, slot);
}

size_t tly_ormap_cursor_at(const struct tly_ormap *map, struct tly_slice key)
{
    return (size_t)tly_map_hash(map, key) << TLY_CURSOR_HASH_SHIFT;
}

size_t tly_ormap_sweep(struct tly_ormap *map, size_t *cursor, size_t budget, tly_gone *gone, void *context)
{
    size_t dropped = 0;
    struct tly_slot *slot = NULL;
    for (; budget > 0 && (slot = slot_from(map, cursor)) != NULL; budget--) {
        size_t keys = map->keys;
        struct tly_place place = {slot->hash, slot, tly_map_entry(map, slot)};
        dropped += tly_map_sweep_entry(map, &place, gone, context);
        if (map->keys == keys) ++*cursor;
    }
    if (slot_from(map, cursor) == NULL) *cursor = 0;
    return dropped;
}

static bool all_go(void *context, const struct tly_dot *dot)
{
    (void)context;
    (void)dot;
    return true;
}

size_t tly_ormap_wipe(struct tly_ormap *map, tly_concerns *goes, void *context)
{
    size_t wiped = 0, cursor = 0;
    for (const struct tly_slot *slot; (slot = slot_from(map, &cursor)) != NULL;) {
        struct tly_entry *entry = tly_map_entry(map, slot);
        if (goes(context, tly_entry_key(entry))) {
            (void)tly_map_drop_if(map, entry, all_go, NULL);
            wiped++;
        } else {
            cursor++;
        }
    }
    return wiped;
}

/* ---- reading ---- */

const struct tly_dot *tly_entry_dots(struct tly_ormap *map, const struct tly_entry *entry, size_t *count)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    size_t n = 0;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);)
        map->scratch[n++] = cell.dot;
    *count = n;
    return map->scratch;
}

bool tly_entry_oldest(struct tly_ormap *map, const struct tly_entry *entry, struct tly_version *oldest)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    struct tly_cell cell;
    if (!tly_map_next(map, &cells, &cell)) return false;
    *oldest = cell.dot.version;
    return true;
}

void tly_entry_read(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_moment *at,
                    struct tly_value *value)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    struct tly_cells cells = tly_cells_of(entry, strategy);
    struct tly_cell cell;
    size_t count = tly_cell_read(&cells, &cell);
    const struct tly_dot *dots = &cell.dot;
    if (count > 0) cell.dot.version.origin = map->lives[cell.life].origin;
    if (cells.next != NULL) dots = tly_entry_dots(map, entry, &count);
    strategy->read(dots, count, at, value);
}
