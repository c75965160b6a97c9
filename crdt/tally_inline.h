/*
 * Reading a window and counting in it at once, where nothing is unusual: the key's one shard is this node's, of that very epoch, its
 * number takes no more bytes than before, and it is not the first that is counted into since all was sealed.  Then nothing is made,
 * nothing moves and nothing else has to follow.  Without a call, for every check comes by here: how the map lies in memory stays the
 * affair of this file.
 */
#ifndef TALLY_CRDT_TALLY_INLINE_H
#define TALLY_CRDT_TALLY_INLINE_H

#include "crdt/cell.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

struct tly_taking {
    struct tly_joined key; /* TLY_JOINED_BYTES_MIN bytes and more in all */
    uint32_t hash;         /* of it, as for tly_seek_known */
    uint32_t hits;
    const struct tly_meter *meter;
};

/* An entry of windows with such a key, of no more than 256 bytes, and nothing that has to follow when it changes. */
TLY_ALWAYS_INLINE bool tly_take_of_usual(const uint8_t *entry, size_t key_bytes)
{
    size_t asked = 0xffff & ~(size_t)TLY_ENTRY_QUEUED, flags = TLY_ENTRY_HELD | TLY_EPOCH_SUM;
    return (tly_shape_load(entry) & asked) == (flags | (key_bytes - 1) << 8);
}

TLY_ALWAYS_INLINE bool tly_take_of_key(const uint8_t *at, const struct tly_joined *key)
{
    uint64_t others = UINT64_MAX << 8 * key->begin_bytes;
    if ((tly_word_load(at) & ~others) != key->begin) return false;
    return tly_bytes_equal(at + key->begin_bytes, key->rest.p, key->rest.n);
}

/* The entry's one cell is this life's shard of that pane, and says no more than that. */
TLY_ALWAYS_INLINE bool tly_take_of_pane(const uint8_t *at, uint32_t own, const struct tly_pane *pane)
{
    static_assert(TLY_KIND_PUT == 0 && TLY_KIND_UNSEALED == 1, "the other kinds have the higher bit");
    unsigned asked = TLY_LAST_BIT | 2u << TLY_KIND_SHIFT | TLY_PANE_CODES;
    if ((tly_shape_load(at) & asked) != (TLY_LAST_BIT | pane->codes)) return false;
    if (at[2] != own || own >= TLY_LIFE_SHORT) return false;
    return (tly_word_load(at + 3 + sizeof(uint64_t)) & pane->mask) == pane->head;
}

/* Adds what counts of the epoch before, as that lies there; false: it is negative, or too much. */
static inline bool tly_take_before(const struct tly_meter *meter, uint64_t word, uint64_t *used)
{
    __extension__ typedef unsigned __int128 wide;
    wide weighted = ((wide)(word >> 1) * meter->part + meter->whole - 1) / meter->whole;
    *used += (uint64_t)weighted;
    return (word & 1) == 0 && weighted <= INT64_MAX;
}

/* What is used, by the numbers of a shard; false: the hits are too many, or their sum takes other room. */
TLY_ALWAYS_INLINE bool tly_take_may(const uint8_t *count_at, unsigned codes, const struct tly_taking *taking,
                                    uint64_t *used)
{
    const struct tly_meter *meter = taking->meter;
    uint64_t mask = tly_mask_of_code[codes & 7], count = tly_word_load(count_at) & mask;
    uint64_t sum = count + ((uint64_t)taking->hits << 1); /* folded */
    *used = count >> 1;
    if ((count & 1) != 0 || sum < count || (sum & ~mask) != 0) return false;
    if (meter->part != 0 && (codes >> 3 & 7) != 0) {
        uint64_t word = tly_word_load(count_at + tly_width_of(codes & 7));
        if (!tly_take_before(meter, word & tly_mask_of_code[codes >> 3 & 7], used)) return false;
    }
    return *used < meter->below && *used <= meter->most && taking->hits <= meter->most - *used;
}

/* Puts an entry on the list of those to seal; false: that list has to grow. */
static inline bool tly_take_queue(struct tly_ormap *map, uint8_t *entry, uint32_t hash)
{
    struct tly_unsealed *top = map->unsealed;
    if (top == NULL || top->count == TLY_UNSEALED_PIECE) return false;
    top->hashes[top->count++] = hash;
    entry[0] |= TLY_ENTRY_QUEUED;
    return true;
}

/* What most shards were already: counted into since they were sealed. */
TLY_ALWAYS_INLINE void tly_take_unseal(uint8_t *at)
{
    unsigned unsealed = TLY_KIND_UNSEALED << (TLY_KIND_SHIFT - 8);
    if ((at[1] & unsealed) == 0) at[1] |= (uint8_t)unsealed;
}

/* Counts the hits; `used`: what was used before, in all. False: it is another case, or too much; nothing was counted. */
TLY_ALWAYS_INLINE bool tly_tally_take(struct tly_ormap *map, const struct tly_taking *taking, uint64_t *used)
{
    const struct tly_pane *pane = &taking->meter->pane;
    const struct tly_slot *slot = tly_index_look(&map->index, taking->hash);
    size_t key_bytes = taking->key.begin_bytes + taking->key.rest.n;
    if (slot == NULL) return false;
    uint8_t *entry = tly_arena_at(&map->arena, slot->ref), *key_at = entry + TLY_ENTRY_HEAD_BYTES;
    uint8_t *at = key_at + key_bytes, *count_at = at + 3 + sizeof(uint64_t) + pane->width;
    if (!tly_take_of_usual(entry, key_bytes) || !tly_take_of_key(key_at, &taking->key)) return false;
    if (!tly_take_of_pane(at, map->own, pane)) return false;
    if (!tly_take_may(count_at, tly_shape_load(at) >> 6, taking, used)) return false;
    bool is_queued = (entry[0] & TLY_ENTRY_QUEUED) != 0;
    if (!is_queued && !tly_take_queue(map, entry, taking->hash)) return false;
    tly_word_store(count_at, tly_word_load(count_at) + ((uint64_t)taking->hits << 1));
    tly_take_unseal(at);
    return true;
}

/* ---- buckets ---- */

/* Whether all that there is of an entry is this node's shard without a window, whose generation is then the newest. */
TLY_ALWAYS_INLINE bool tly_take_alone(const struct tly_ormap *map, const uint8_t *at, struct tly_tally *tally)
{
    unsigned shape = tly_shape_load(at), code = shape >> 3 & 7;
    bool alone = (shape & TLY_LAST_BIT) != 0 && at[2] == map->own && at[2] < TLY_LIFE_SHORT;
    if (!alone || (shape >> TLY_KIND_SHIFT & 3) == TLY_KIND_REMOVE || (shape & 7) != 0) return false;
    tally->generation = tly_word_load(at + 3 + sizeof(uint64_t)) & tly_mask_of_code[code];
    tally->own = at;
    return true;
}

/*
 * The counter of a key that is sought, where this node alone counts in it and a caller has its local words (no more than 256 bytes of key, and
 * nothing that has to follow when it changes). Counting in it (tly_tally_counter_hit) asks for no memory then. False: it is another case.
 */
TLY_ALWAYS_INLINE bool tly_take_find_local(const struct tly_ormap *map, const struct tly_seek *seek,
                                           struct tly_tally *tally)
{
    const struct tly_slot *slot = tly_index_walk(tly_map_sought_from(map, seek), seek->hash);
    if (!tly_index_is_of(slot, seek->hash)) return false;
    uint8_t *entry = tly_arena_at(&map->arena, slot->ref), *key_at = entry + TLY_ENTRY_LOCAL_BYTES;
    size_t asked = 0xffff & ~(size_t)TLY_ENTRY_QUEUED, key_bytes = seek->key.n;
    size_t flags = TLY_ENTRY_HELD | TLY_ENTRY_LOCAL | TLY_EPOCH_SUM;
    if ((tly_shape_load(entry) & asked) != (flags | (key_bytes - 1) << 8)) return false;
    tally->entry = (struct tly_entry *)(void *)entry;
    if (tly_entry_sums(tally->entry) != NULL || !tly_bytes_equal(key_at, seek->key.p, key_bytes))
        return false;
    bool is_queued = (entry[0] & TLY_ENTRY_QUEUED) != 0;
    const struct tly_unsealed *top = map->unsealed;
    if (!is_queued && (top == NULL || top->count == TLY_UNSEALED_PIECE)) return false;
    return tly_take_alone(map, key_at + key_bytes, tally);
}

/* ---- ahead ---- */

/* Of several that are about to be taken: asks for the slots of one, and, once they have come, for its entry. */
TLY_ALWAYS_INLINE void tly_take_far(const struct tly_ormap *map, uint32_t hash)
{
    tly_index_prefetch(&map->index, hash);
}

TLY_ALWAYS_INLINE void tly_take_near(const struct tly_ormap *map, uint32_t hash)
{
    const struct tly_slot *slot = tly_index_look(&map->index, hash);
    if (slot != NULL) tly_map_prefetch(map, slot);
}

#endif
