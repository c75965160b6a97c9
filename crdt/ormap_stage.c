/* Many dots, all or none: first everything that takes memory, then everything that cannot fail. */
#include "crdt/ormap_impl.h"

#include <assert.h>

/* The place of the cell that is this dot, or the number of cells. */
static size_t find_dot(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    for (size_t i = 0; i < entry->count; i++) {
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
        if (!tly_cell_at(entry, i)->unsealed && tly_dot_equal(&other, dot)) return i;
    }
    return entry->count;
}

enum tly_result tly_ormap_stage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    *outcome = TLY_MALFORMED;
    if (tly_dot_check(strategy, dot) != TLY_OK) return TLY_OK;
    *outcome = TLY_FORGED;
    if (dot->version.origin == tly_ormap_origin(map)) return TLY_OK;
    struct tly_entry *entry = tly_ormap_find(map, key);
    *outcome = entry != NULL ? tly_map_judge(map, entry, dot) : TLY_APPLIED;
    if (*outcome != TLY_APPLIED) return TLY_OK;

    uint32_t life;
    result = tly_map_life_need(map, dot->version.origin, &life);
    if (result == TLY_OK && entry == NULL) result = tly_map_need_hashed(map, key, strategy, &entry);
    if (result != TLY_OK) return result;
    uint32_t number = entry->number;
    if (tly_map_put_beside(map, &entry, dot, life) != NULL) return TLY_OK;
    tly_ormap_tidy(map, map->entries[number]);
    return TLY_NOMEM;
}

void tly_ormap_settle(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    tly_clock_observe(&map->clock, dot->version.ts);
    struct tly_entry *entry = tly_ormap_find(map, key);
    assert(entry != NULL);
    /* Another one that was settled may have made it redundant, and with it all that it would have. */
    if (find_dot(map, entry, dot) < entry->count) tly_map_take_effect(map, entry, dot);
}

void tly_ormap_unstage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    struct tly_entry *entry = tly_ormap_find(map, key);
    assert(entry != NULL);
    size_t i = find_dot(map, entry, dot);
    assert(i < entry->count);
    tly_map_drop_cell(map, entry, i);
    tly_ormap_tidy(map, entry);
}

enum tly_result tly_ormap_repair(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                 enum tly_outcome *outcome)
{
    enum tly_result result = tly_ormap_stage(map, key, dot, outcome);
    if (result != TLY_OK) return result;
    if (*outcome == TLY_APPLIED) tly_ormap_settle(map, key, dot);
    if (*outcome == TLY_DUPLICATE || *outcome == TLY_DOMINATED)
        tly_clock_observe(&map->clock, dot->version.ts);
    return TLY_OK;
}
