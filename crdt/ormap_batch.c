/* Many keys at once: while one is worked on, the memory of the next ones is on its way. */
#include "crdt/hash_inline.h"
#include "crdt/ormap_impl.h"

/* As many lines as a core fetches at a time, roughly. */
#define GROUP 16

void tly_seek_to(const struct tly_ormap *map, struct tly_slice key, struct tly_seek *seek)
{
    uint32_t hash = tly_map_hash_from(tly_hash_inline(&map->hash_key, key));
    tly_index_prefetch(&map->index, hash);
    /* One by one: put together elsewhere and copied, they would be read in larger pieces than they were just written in. */
    seek->key = key;
    seek->hash = hash;
    seek->arrangement = 0;
    seek->slot = NULL;
}

void tly_seek_ahead(const struct tly_ormap *map, struct tly_seek *seek)
{
    seek->arrangement = map->arrangement;
    seek->slot = tly_index_find(&map->index, seek->hash);
    if (seek->slot != NULL) tly_map_prefetch(map, seek->slot);
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

enum tly_result tly_ormap_apply_batch(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *done)
{
    struct tly_seek seeks[GROUP];
    enum tly_result result = TLY_OK;
    *done = 0;
    while (*done < count && result == TLY_OK) {
        struct tly_arrival *group = arrivals + *done;
        size_t n = count - *done < GROUP ? count - *done : GROUP;
        for (size_t i = 0; i < n; i++)
            tly_seek_to(map, group[i].key, &seeks[i]);
        for (size_t i = 0; i < n; i++)
            tly_seek_ahead(map, &seeks[i]);
        for (size_t i = 0; i < n && result == TLY_OK; i++) {
            struct tly_arrival *arrival = &group[i];
            result = tly_map_apply(map, &seeks[i], &arrival->dot, arrival->strategy, &arrival->outcome);
            *done += result == TLY_OK;
        }
    }
    return result;
}
