/* Many keys at once: while one is worked on, the memory of the next ones is on its way. */
#include "crdt/hash_inline.h"
#include "crdt/ormap_impl.h"

void tly_seek_to(const struct tly_ormap *map, struct tly_slice key, struct tly_seek *seek)
{
    uint32_t hash = tly_map_hash_from(tly_hash_inline(&map->hash_key, key));
    /* One by one: put together elsewhere and copied, they would be read in larger pieces than they were just written in. */
    seek->key = key;
    seek->hash = hash;
    seek->arrangement = map->arrangement;
    seek->slot = tly_index_prefetch(&map->index, hash);
}

void tly_seek_ahead(const struct tly_ormap *map, struct tly_seek *seek)
{
    seek->slot = tly_index_walk(tly_map_sought_from(map, seek), seek->hash);
    seek->arrangement = map->arrangement;
    if (tly_index_is_of(seek->slot, seek->hash)) tly_map_prefetch(map, seek->slot);
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

enum tly_result tly_ormap_apply_batch(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *done)
{
    struct tly_seek seeks[RING];
    size_t ahead = count < AHEAD ? count : AHEAD;
    *done = 0;
    for (size_t i = 0; *done < count; i++) {
        if (i >= 2 * ahead) {
            struct tly_arrival *arrival = &arrivals[*done];
            enum tly_result result =
                tly_map_apply(map, &seeks[*done % RING], &arrival->dot, arrival->strategy, &arrival->outcome);
            if (result != TLY_OK) return result;
            ++*done;
        }
        if (i < count) tly_seek_to(map, arrivals[i].key, &seeks[i % RING]);
        if (i >= ahead && i - ahead < count) tly_seek_ahead(map, &seeks[(i - ahead) % RING]);
    }
    return TLY_OK;
}
