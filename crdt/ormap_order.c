/* The order in which shards are sealed. */
#include "crdt/ormap_impl.h"

#define SORT_BITS 11
#define SORT_PLACES (1u << SORT_BITS)
/* Few are moved to their places one by one: three turns over all places take as long as that many moves. */
#define FEW 64
/* Room that stays from one sealing to the next. */
#define KEPT 4096

static size_t count_unsealed(const struct tly_ormap *map)
{
    size_t count = 0;
    for (const struct tly_unsealed *piece = map->unsealed; piece != NULL; piece = piece->below)
        count += piece->count;
    return count;
}

/* The rank of the entry of this hash that is queued, above the hash itself. */
static uint64_t ranked(const struct tly_ormap *map, uint32_t hash, tly_rank *rank, void *context)
{
    uint32_t place = UINT32_MAX;
    for (struct tly_slot *slot = tly_index_find(&map->index, hash); slot != NULL;
         slot = tly_index_again(slot)) {
        const struct tly_entry *entry = tly_map_entry(map, slot);
        if ((entry->flags & TLY_ENTRY_QUEUED) == 0) continue;
        place = rank(context, tly_entry_key(entry), tly_map_strategy(map, entry));
        break;
    }
    return (uint64_t)place << 32 | hash;
}

static void sort_few(uint64_t *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t one = list[i];
        size_t at = i;
        for (; at > 0 && list[at - 1] >> 32 > one >> 32; at--)
            list[at] = list[at - 1];
        list[at] = one;
    }
}

static void sort_turn(const uint64_t *from, uint64_t *to, size_t count, unsigned shift)
{
    size_t place[SORT_PLACES] = {0};
    for (size_t i = 0; i < count; i++)
        place[from[i] >> shift & (SORT_PLACES - 1)]++;
    for (size_t i = 0, sum = 0, here; i < SORT_PLACES; i++, sum += here) {
        here = place[i];
        place[i] = sum;
    }
    for (size_t i = 0; i < count; i++)
        to[place[from[i] >> shift & (SORT_PLACES - 1)]++] = from[i];
}

/* By rank; those of one rank stay as they are. `list` has room for as many again. */
static void sort(uint64_t *list, size_t count)
{
    if (count <= FEW) {
        sort_few(list, count);
        return;
    }
    uint64_t *from = list, *to = list + count;
    for (unsigned shift = 32; shift < 64; shift += SORT_BITS) {
        sort_turn(from, to, count, shift);
        uint64_t *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != list) memcpy(list, from, count * sizeof *list);
}

/* Without memory any order will do. */
void tly_map_order_unsealed(struct tly_ormap *map, tly_rank *rank, void *context)
{
    size_t count = count_unsealed(map), n = 0;
    if (count < 2) return;
    void *order = tly_mem_reserve(&map->mem, map->order, &map->order_capacity, 2 * count, sizeof *map->order);
    if (order == NULL) return;
    map->order = order;
    for (const struct tly_unsealed *piece = map->unsealed; piece != NULL; piece = piece->below)
        for (size_t i = piece->count; i > 0; i--) {
            tly_map_look_ahead(map, piece, i);
            map->order[n++] = ranked(map, piece->hashes[i - 1], rank, context);
        }
    sort(map->order, count);
    n = 0;
    for (struct tly_unsealed *piece = map->unsealed; piece != NULL; piece = piece->below)
        for (size_t i = piece->count; i-- > 0;)
            piece->hashes[i] = (uint32_t)map->order[n++];
    if (map->order_capacity <= KEPT) return;
    tly_mem_free(&map->mem, map->order, map->order_capacity * sizeof *map->order);
    map->order = NULL;
    map->order_capacity = 0;
}
