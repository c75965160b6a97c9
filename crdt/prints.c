#include "crdt/prints.h"

#include "crdt/cell.h"
#include "crdt/ormap_impl.h"

#include <assert.h>

void tly_ormap_use_prints(struct tly_ormap *map, struct tly_prints *prints)
{
    assert(map->prints == NULL);
    memset(prints->of, 0, sizeof prints->of);
    map->prints = prints;
}

uint64_t tly_ormap_changes(const struct tly_ormap *map)
{
    return map->changes;
}

/* ---- prints ---- */

uint64_t tly_print_of_key(const struct tly_hash_key *key, struct tly_slice name)
{
    return tly_hash(key, name);
}

/* Eight words, low byte first, then what the dot is. */
#define PRINTED_BYTES (8 * sizeof(uint64_t) + 2)

uint64_t tly_print_of_dot(const struct tly_hash_key *key, uint64_t name_print,
                          const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    uint8_t bytes[PRINTED_BYTES], *next = bytes;
    const uint64_t words[] = {
        name_print,  dot->version.ts, dot->version.origin, dot->num[0],
        dot->num[1], dot->num[2],     dot->num[3],         dot->bytes.n > 0 ? tly_hash(key, dot->bytes) : 0,
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++, next += sizeof words[0])
        tly_word_store(next, words[i]);
    next[0] = (uint8_t)strategy->id;
    next[1] = (uint8_t)dot->op;
    return tly_hash(key, tly_slice_of(bytes, sizeof bytes));
}

static uint64_t sum_of(const struct tly_hash_key *key, uint64_t name_print,
                       const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += tly_print_of_dot(key, name_print, strategy, &dots[i]);
    return sum;
}

/* ---- what is left out ---- */

/* By itself, whatever stands beside it. */
static bool is_out(const struct tly_omit *omit, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *dot)
{
    if (dot->op == TLY_REMOVE) return dot->version.ts <= omit->ended.upto;
    return omit->gone != NULL && omit->gone(omit->context, key, strategy, dot);
}

size_t tly_omit_from(const struct tly_omit *omit, struct tly_slice key, const struct tly_strategy *strategy,
                     struct tly_dot *dots, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_out(omit, key, strategy, &dots[i])) dots[left++] = dots[i];
    return tly_dots_may_go(key, strategy, dots, left, &omit->ended) ? 0 : left;
}

const struct tly_dot *tly_entry_dots_left(struct tly_ormap *map, const struct tly_entry *entry,
                                          const struct tly_omit *omit, size_t *count)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    *count = 0;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);)
        if (!cell.unsealed) map->scratch[(*count)++] = cell.dot;
    if (omit != NULL)
        *count =
            tly_omit_from(omit, tly_entry_key(entry), tly_map_strategy(map, entry), map->scratch, *count);
    return map->scratch;
}

/* ---- upkeep ---- */

/* What an entry without unsealed dots adds to the sums; *leaf: where. */
static uint64_t print_entry(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_omit *omit,
                            unsigned *leaf)
{
    const struct tly_hash_key *key = &map->prints->key;
    uint64_t name_print = tly_print_of_key(key, tly_entry_key(entry));
    size_t count;
    const struct tly_dot *dots = tly_entry_dots_left(map, entry, omit, &count);
    *leaf = tly_leaf_of(name_print);
    return sum_of(key, name_print, tly_map_strategy(map, entry), dots, count);
}

void tly_map_unprint(struct tly_ormap *map, struct tly_entry *entry)
{
    unsigned leaf;
    uint64_t sum = print_entry(map, entry, NULL, &leaf);
    map->prints->of[leaf] -= sum;
    entry->flags &= (uint8_t)~TLY_ENTRY_PRINTED;
}

/* Whether anything of the entry is left out. */
static bool has_out(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_omit *omit)
{
    size_t all;
    (void)tly_entry_dots_left(map, entry, NULL, &all);
    return tly_omit_from(omit, tly_entry_key(entry), tly_map_strategy(map, entry), map->scratch, all) < all;
}

static void walk_entry(struct tly_ormap *map, struct tly_entry *entry, const struct tly_omit *omit,
                       uint64_t *omitted)
{
    unsigned leaf;
    if (!tly_entry_is_held(entry) || (entry->flags & TLY_ENTRY_QUEUED) != 0) return;
    bool printed = (entry->flags & TLY_ENTRY_PRINTED) != 0, out = has_out(map, entry, omit);
    if (printed && !out) return;
    uint64_t all = print_entry(map, entry, NULL, &leaf);
    if (!printed) map->prints->of[leaf] += all;
    entry->flags |= TLY_ENTRY_PRINTED;
    if (out) omitted[leaf] += all - print_entry(map, entry, omit, &leaf);
}

bool tly_prints_walk(struct tly_ormap *map, size_t *cursor, size_t budget, const struct tly_omit *omit,
                     uint64_t *omitted)
{
    assert(map->prints != NULL);
    for (; budget > 0; budget--) {
        struct tly_entry *entry = tly_ormap_each(map, cursor);
        if (entry == NULL) return false;
        walk_entry(map, entry, omit, omitted);
    }
    return true;
}

/* Four at a time: the laws ask for it by the million. */
static uint64_t sum_of_leaves(const uint64_t *of)
{
    uint64_t sum[4] = {0};
    for (unsigned leaf = 0; leaf < TLY_LEAVES; leaf += 4)
        for (unsigned i = 0; i < 4; i++)
            sum[i] += of[leaf + i];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

void tly_map_check_prints(const struct tly_ormap *map)
{
    if (map->prints == NULL) return;
    /* It changes nothing but what is scratch. */
    struct tly_ormap *mine = (struct tly_ormap *)(uintptr_t)map;
    uint64_t sums = sum_of_leaves(map->prints->of), prints = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(mine, &cursor)) != NULL;) {
        if ((entry->flags & TLY_ENTRY_PRINTED) == 0) continue;
        unsigned leaf;
        assert((entry->flags & TLY_ENTRY_QUEUED) == 0);
        prints += print_entry(mine, entry, NULL, &leaf);
    }
    assert(sums == prints);
    (void)sums;
    (void)prints;
}
