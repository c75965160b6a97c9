/* The invariant, and a digest that does not depend on history. */
#include "crdt/hash_inline.h"
#include "crdt/ormap_impl.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    a ^= a >> 32;
    a *= UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

static uint64_t mix_bytes(uint64_t a, struct tly_slice bytes)
{
    return XXH3_64bits_withSeed(bytes.p, bytes.n, mix(a, bytes.n));
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
    size_t count;
    return tly_ormap_digest_of(map, NULL, NULL, &count);
}

uint64_t tly_ormap_digest_of(struct tly_ormap *map, tly_concerns *concerns, void *context, size_t *count)
{
    uint64_t sum = 0;
    size_t cursor = 0;
    *count = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        if (concerns != NULL && !concerns(context, tly_entry_key(entry))) continue;
        ++*count;
        uint64_t digest = tly_map_digest_key(tly_map_strategy(map, entry), tly_entry_key(entry));
        struct tly_cells cells = tly_map_cells(map, entry);
        for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
            digest = tly_map_digest_dot(digest, &cell.dot);
        }
        sum += digest;
    }
    return sum;
}

/* ---- the invariant ---- */

/* Dots of a hash that have a record in one chunk, or of any hash anywhere: all that were ever sealed. */
static size_t recorded(const struct tly_ormap *map, const struct tly_slot *slot, uint32_t life, uint64_t from,
                       uint64_t to)
{
    size_t count = 0;
    struct tly_cells cells = tly_map_cells(map, tly_map_entry(map, slot));
    for (struct tly_cell cell; tly_cells_next(&cells, &cell);)
        count += cell.life == life && cell.dot.version.ts != 0 && cell.dot.version.ts >= from &&
                 cell.dot.version.ts <= to;
    return count;
}

/* Every record stands for a dot and every dot has a record, in its chunk. */
static void check_record(const struct tly_ormap *map, uint32_t hash, const struct tly_cell *cell)
{
    const struct tly_oplog *log = &map->lives[cell->life].log;
    uint64_t ts = cell->dot.version.ts, to = 0;
    struct tly_chunk_at at = tly_oplog_find(log, ts);
    const struct tly_chunk *chunk = tly_oplog_chunk(log, at, &to);
    assert(chunk != NULL && ts >= chunk->from && ts <= to && ts <= log->last);
    size_t records = 0, dots = 0;
    for (uint32_t i = 0; i < chunk->count; i++)
        records += chunk->hashes[i] == hash;
    for (struct tly_slot *slot = tly_index_find(&map->index, hash); slot != NULL;
         slot = tly_index_again(slot))
        dots += recorded(map, slot, cell->life, chunk->from, to);
    assert(records == dots);
    (void)records;
    (void)dots;
}

/* How many dots the hash of a record has of this life that are newer than a ts. */
static size_t newer(const struct tly_ormap *map, uint32_t hash, uint32_t life, uint64_t ts)
{
    size_t count = 0;
    for (struct tly_slot *slot = tly_index_find(&map->index, hash); slot != NULL;
         slot = tly_index_again(slot))
        count += recorded(map, slot, life, ts + 1, UINT64_MAX);
    return count;
}

/* The milestones of the newest chunk. */
static void check_miles(const struct tly_ormap *map, uint32_t life)
{
    const struct tly_oplog *log = &map->lives[life].log;
    uint32_t count = log->newest != NULL ? log->newest->count : 0;
    for (uint32_t mile = 1; mile * TLY_MILE < count && mile < TLY_CHUNK_RECORDS / TLY_MILE; mile++) {
        if (log->miles->newest[mile] == UINT64_MAX) continue;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t hash = log->newest->hashes[i];
            if (hash == 0) continue;
            size_t behind = 0;
            for (uint32_t j = mile * TLY_MILE; j < count; j++)
                behind += log->newest->hashes[j] == hash;
            assert(behind >= newer(map, hash, life, log->miles->newest[mile]));
            (void)behind;
        }
    }
}

static bool is_queued(const struct tly_ormap *map, uint32_t hash)
{
    for (const struct tly_unsealed *piece = map->unsealed; piece != NULL; piece = piece->below)
        for (uint32_t i = 0; i < piece->count; i++)
            if (piece->hashes[i] == hash) return true;
    return false;
}

/* Against every other cell of the entry. */
static void check_cell(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_cell *a)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    struct tly_cells cells = tly_map_cells(map, entry);
    assert(a->life < map->life_count && a->size == tly_cell_size(strategy, a));
    assert(!a->unsealed || (a->life == map->own && (entry->flags & TLY_ENTRY_QUEUED) != 0));
    for (struct tly_cell b; tly_map_next(map, &cells, &b);)
        assert(a->unsealed || b.unsealed || !tly_dominates(strategy, &a->dot, &b.dot));
    (void)a;
}

/* The sealed dots of the entry. */
static size_t check_entry(const struct tly_ormap *map, const struct tly_slot *slot)
{
    const struct tly_entry *entry = tly_map_entry(map, slot);
    struct tly_slice key = tly_entry_key(entry);
    struct tly_place place;
    assert(tly_entry_is_held(entry) && slot->hash == tly_map_hash(map, key));
    bool found = tly_map_find(map, key, slot->hash, &place);
    assert(found && place.slot == slot);
    assert((entry->flags & TLY_ENTRY_QUEUED) == 0 || is_queued(map, slot->hash));
    size_t count = 0, sealed = 0, bytes = 0;
    struct tly_cells cells = tly_map_cells(map, entry);
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); count++) {
        check_cell(map, entry, &cell);
        bytes += cell.size;
        if (cell.dot.version.ts == 0) continue;
        check_record(map, slot->hash, &cell);
        sealed++;
    }
    tly_map_check_sums(map, entry);
    bool has_local = (entry->flags & TLY_ENTRY_LOCAL) != 0;
    assert(count <= map->scratch_capacity);
    assert(tly_entry_size(key.n, has_local, bytes) <= tly_arena_room(&map->arena, slot->ref));
    (void)found;
    (void)has_local;
    (void)bytes;
    return sealed;
}

void tly_ormap_check(const struct tly_ormap *map)
{
    tly_map_settle_log(map);
    tly_index_check(&map->index);
    tly_arena_check(&map->arena, map->keys);
    assert(map->keys == map->index.used);
    size_t sealed = 0, records = 0;
    struct tly_slot *slot = tly_index_from(&map->index, 0);
    while (slot != NULL) {
        sealed += check_entry(map, slot);
        struct tly_slot *again = tly_index_again(slot);
        if (again == NULL && slot->hash < UINT32_MAX) again = tly_index_from(&map->index, slot->hash + 1);
        slot = again;
    }
    for (uint32_t life = 0; life < map->life_count; life++) {
        tly_oplog_check(&map->lives[life].log);
        check_miles(map, life);
        records += map->lives[life].log.count;
    }
    assert(sealed == records);
    tly_map_check_prints(map);
    (void)sealed;
    (void)records;
}
