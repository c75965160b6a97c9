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

/* The entry of this hash that is queued; NULL: there is none any more. */
static const struct tly_entry *queued_of(const struct tly_ormap *map, uint32_t hash)
{
    struct tly_slot *slot = tly_index_find(&map->index, hash);
    for (; slot != NULL; slot = tly_index_again(slot)) {
        const struct tly_entry *entry = tly_map_entry(map, slot);
        if ((entry->flags & TLY_ENTRY_QUEUED) != 0) return entry;
    }
    return NULL;
}

struct ordering {
    tly_rank *rank;
    void *context;
};

/* Of the last of those in a piece of which so many are left, the last first: their ranks, above their hashes. How many that are. */
static size_t rank_some(const struct tly_ormap *map, const struct tly_unsealed *piece, size_t left,
                        const struct ordering *ordering, uint64_t *to)
{
    struct tly_slice keys[TLY_RANKED_MAX];
    const struct tly_strategy *strategies[TLY_RANKED_MAX];
    uint32_t ranks[TLY_RANKED_MAX];
    size_t of[TLY_RANKED_MAX], n = 0, count = left < TLY_RANKED_MAX ? left : TLY_RANKED_MAX;
    for (size_t i = 0; i < count; i++) {
        tly_map_look_ahead(map, piece, left - i);
        uint32_t hash = piece->hashes[left - i - 1];
        to[i] = (uint64_t)UINT32_MAX << 32 | hash;
        const struct tly_entry *entry = queued_of(map, hash);
        if (entry == NULL) continue;
        keys[n] = tly_entry_key(entry);
        strategies[n] = tly_map_strategy(map, entry);
        of[n++] = i;
    }
    if (n == 0) return count;
    ordering->rank(ordering->context, keys, strategies, n, ranks);
    for (size_t i = 0; i < n; i++)
        to[of[i]] = (uint64_t)ranks[i] << 32 | (uint32_t)to[of[i]];
    return count;
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
    const struct ordering ordering = {rank, context};
    size_t count = count_unsealed(map), n = 0;
    if (count < 2) return;
    void *order = tly_mem_reserve(&map->mem, map->order, &map->order_capacity, 2 * count, sizeof *map->order);
    if (order == NULL) return;
    map->order = order;
    for (const struct tly_unsealed *piece = map->unsealed; piece != NULL; piece = piece->below)
        for (size_t left = piece->count, some; left > 0; left -= some, n += some)
            some = rank_some(map, piece, left, &ordering, map->order + n);
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
