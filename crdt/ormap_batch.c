/* Many keys at once: while one is worked on, the memory of the next ones is on its way. */
#include "crdt/hash_inline.h"
#include "crdt/ormap_impl.h"

TLY_ALWAYS_INLINE void set_out(const struct tly_ormap *map, struct tly_slice key, uint32_t hash,
                               struct tly_seek *seek)
{
    /* One by one: put together elsewhere and copied, they would be read in larger pieces than they were just written in. */
    seek->key = key;
    seek->hash = hash;
    seek->arrangement = map->arrangement;
    seek->slot = tly_index_prefetch(&map->index, hash);
}

/* later: as of tly_map_prefetch_with. */
TLY_ALWAYS_INLINE void go_ahead_with(const struct tly_ormap *map, struct tly_seek *seek, size_t later)
{
    seek->slot = tly_index_walk(tly_map_sought_from(map, seek), seek->hash);
    seek->arrangement = map->arrangement;
    if (tly_index_is_of(seek->slot, seek->hash)) tly_map_prefetch_with(map, seek->slot, later);
}

TLY_ALWAYS_INLINE void go_ahead(const struct tly_ormap *map, struct tly_seek *seek)
{
    go_ahead_with(map, seek, TLY_ENTRY_USUAL);
}

void tly_seek_to(const struct tly_ormap *map, struct tly_slice key, struct tly_seek *seek)
{
    set_out(map, key, tly_key_hash_inline(&map->hash_key, key), seek);
}

void tly_seek_joined(const struct tly_ormap *map, uint64_t begin, struct tly_slice key, struct tly_slice rest,
                     struct tly_seek *seek)
{
    const struct tly_joined joined = {begin, key.n - rest.n, rest};
    bool fits = key.n >= TLY_JOINED_BYTES_MIN && key.n <= TLY_JOINED_BYTES_MAX;
    if (fits)
        set_out(map, key, tly_key_hash_of(tly_hash_joined(&map->hash_key, &joined)), seek);
    else
        tly_seek_to(map, key, seek);
}

/* Nobody has read the key of late. */
TLY_ALWAYS_INLINE void set_out_known(const struct tly_ormap *map, struct tly_slice key, uint32_t hash,
                                     struct tly_seek *seek)
{
    __builtin_prefetch(key.p);
    set_out(map, key, hash, seek);
}

void tly_seek_known(const struct tly_ormap *map, struct tly_slice key, uint32_t hash, struct tly_seek *seek)
{
    set_out_known(map, key, hash, seek);
}

void tly_seek_ahead(const struct tly_ormap *map, struct tly_seek *seek)
{
    go_ahead(map, seek);
}

/* Its cells begin behind 32 bytes and the key: where the entry begins with a line, the usual place is still in that one. */
#define LOCAL_USUAL 64

void tly_seek_ahead_local(const struct tly_ormap *map, struct tly_seek *seek)
{
    go_ahead_with(map, seek, LOCAL_USUAL);
}

/*
 * Three short loops: what is asked for in an address that has to be translated first waits for that, and as many others are on their way
 * meanwhile as stand within a few hundred instructions.
 */
__attribute__((flatten)) void tly_seek_all_ahead(const struct tly_ormap *map, const struct tly_slice *keys,
                                                 size_t count, uint64_t local, struct tly_seek *seeks)
{
    assert(count <= TLY_SEEK_ALL_MAX);
    for (size_t i = 0; i < count; i++)
        seeks[i].hash = tly_key_hash_inline(&map->hash_key, keys[i]);
    for (size_t i = 0; i < count; i++)
        set_out(map, keys[i], seeks[i].hash, &seeks[i]);
    for (size_t i = 0; i < count; i++)
        go_ahead_with(map, &seeks[i], (local >> i & 1) != 0 ? LOCAL_USUAL : TLY_ENTRY_USUAL);
}

struct tly_entry *tly_seek_find(struct tly_ormap *map, const struct tly_seek *seek)
{
    struct tly_place place;
    if (tly_map_sought(map, seek, &place)) {
        map->known = place.entry;
        map->known_hash = seek->hash;
    }
    return place.entry;
}

enum tly_result tly_seek_need(struct tly_ormap *map, const struct tly_seek *seek, struct tly_entry **out)
{
    struct tly_place place;
    enum tly_result result = tly_map_need(map, seek, &place);
    if (result == TLY_OK) *out = place.entry;
    return result;
}

enum tly_result tly_seek_apply(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot,
                               enum tly_outcome *outcome)
{
    return tly_map_apply(map, seek, dot, NULL, outcome);
}

/* For so many dots the memory of a slot, and then for as many that of an entry, is on its way: what a core fetches at a time, roughly. */
#define AHEAD 16u
#define RING (2 * AHEAD)

static inline void set_out_for(const struct tly_ormap *map, const struct tly_arrival *arrival,
                               struct tly_seek *seek)
{
    if (arrival->hash != 0)
        set_out_known(map, arrival->key, arrival->hash, seek);
    else
        tly_seek_to(map, arrival->key, seek);
}

enum tly_result tly_ormap_apply_batch(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *done)
{
    struct tly_seek seeks[RING];
    size_t far = count < RING ? count : RING, near = count < AHEAD ? count : AHEAD, i = 0;
    for (; i < far; i++)
        set_out_for(map, &arrivals[i], &seeks[i]);
    for (i = 0; i < near; i++)
        go_ahead(map, &seeks[i]);
    for (i = 0; i < count; i++) {
        struct tly_arrival *arrival = &arrivals[i];
        *done = i;
        enum tly_result result =
            tly_map_apply(map, &seeks[i % RING], arrival->dot, arrival->strategy, &arrival->outcome);
        if (result != TLY_OK) return result;
        if (i + RING < count) set_out_for(map, &arrivals[i + RING], &seeks[i % RING]);
        if (i + AHEAD < count) go_ahead(map, &seeks[(i + AHEAD) % RING]);
    }
    *done = count;
    return TLY_OK;
}
