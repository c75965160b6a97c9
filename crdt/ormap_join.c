/* How dots enter: from elsewhere and by local writes. */
#include "crdt/ormap_impl.h"

#include "crdt/epoch_sum.h"

#include <assert.h>

/* The place that keeps the cells in the order of tly_dot_compare. */
static size_t place_for(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    size_t at = entry->count;
    while (at > 0) {
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, at - 1));
        if (tly_dot_compare(&other, dot) <= 0) break;
        at--;
    }
    return at;
}

static bool holds_own(const struct tly_ormap *map, const struct tly_entry *entry)
{
    for (size_t i = 0; i < entry->count; i++)
        if (tly_cell_at(entry, i)->life == map->own && tly_cell_at(entry, i)->op == TLY_PUT) return true;
    return false;
}

/* What is left of the own shards after a REMOVE starts from nothing, else the next flush would bring all back. */
static void restart_own_shards(struct tly_ormap *map, struct tly_entry *entry)
{
    if (entry->has_local) memset(tly_entry_local(entry), 0, TLY_LOCAL_WORDS * sizeof(uint64_t));
    for (size_t i = 0; i < entry->count; i++) {
        struct tly_cell *cell = tly_cell_at(entry, i);
        if (cell->life != map->own || cell->op != TLY_PUT) continue;
        cell->word[TLY_SUM_COUNT] = cell->word[TLY_SUM_AUX] = 0;
        cell->unsealed = true;
    }
}

static enum tly_outcome judge(const struct tly_ormap *map, const struct tly_entry *entry,
                              const struct tly_dot *dot)
{
    for (size_t i = 0; i < entry->count; i++) {
        const struct tly_cell *cell = tly_cell_at(entry, i);
        struct tly_dot other = tly_map_dot_of(map, entry, cell);
        if (!cell->unsealed && tly_dot_equal(&other, dot)) return TLY_DUPLICATE;
        if (tly_dominates(entry->strategy, &other, dot)) return TLY_DOMINATED;
    }
    return TLY_APPLIED;
}

/* Joins a dot that nothing here dominates. */
static enum tly_result insert(struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot,
                              uint32_t life)
{
    bool restarts = dot->op == TLY_REMOVE && entry->strategy->own_shards;
    if (restarts && holds_own(map, entry) && !tly_map_queue_unsealed(map, entry)) return TLY_NOMEM;
    if (!tly_map_reserve_cell(map, &entry) || !tly_map_reserve_record(map, life)) return TLY_NOMEM;
    const struct tly_cell *cell = tly_entry_put_in(&map->mem, entry, place_for(map, entry, dot), dot, life);
    if (cell == NULL) return TLY_NOMEM;
    tly_oplog_append(&map->lives[life].log, (struct tly_record){dot->version.ts, entry->number});
    if (dot->op == TLY_REMOVE) tly_map_noted_remove(map, life, dot->version.ts);
    /* The bytes that came with the dot may be those of one that goes now. */
    struct tly_dot placed = tly_map_dot_of(map, entry, cell);
    tly_map_drop_dominated(map, entry, &placed);
    if (restarts) restart_own_shards(map, entry);
    return TLY_OK;
}

static enum tly_result insert_or_tidy(struct tly_ormap *map, struct tly_entry *entry,
                                      const struct tly_dot *dot, uint32_t life)
{
    uint32_t number = entry->number;
    enum tly_result result = insert(map, entry, dot, life);
    if (result != TLY_OK) tly_ormap_tidy(map, map->entries[number]);
    return result;
}

enum tly_result tly_ormap_admits(const struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    if (!tly_clock_admits(&map->clock, dot->version.ts)) return TLY_CLOCK_AHEAD;
    /* A generation is made from the clock, so it is held to the same horizon. */
    bool generation = strategy->id == TLY_EPOCH_SUM && dot->op == TLY_PUT && dot->num[TLY_SUM_WINDOW] == 0;
    if (generation && !tly_clock_admits(&map->clock, dot->num[TLY_SUM_EPOCH])) return TLY_CLOCK_AHEAD;
    return TLY_OK;
}

static enum tly_result join_dot(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                bool repairs, enum tly_outcome *outcome)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    *outcome = TLY_MALFORMED;
    if (tly_dot_check(strategy, dot) != TLY_OK) return TLY_OK;
    *outcome = TLY_FORGED;
    if (dot->version.origin == tly_ormap_origin(map)) return TLY_OK;

    struct tly_entry *entry = tly_ormap_find(map, key);
    *outcome = entry != NULL ? judge(map, entry, dot) : TLY_APPLIED;
    if (*outcome == TLY_APPLIED) *outcome = tly_map_lets_in(map, dot->version);
    if (*outcome == TLY_DROPPED && repairs) *outcome = TLY_REPAIRED;
    if (*outcome == TLY_APPLIED || *outcome == TLY_REPAIRED) {
        uint32_t life;
        result = tly_map_life_need(map, dot->version.origin, &life);
        if (result != TLY_OK) return result;
        if (entry == NULL) result = tly_map_need_hashed(map, key, strategy, &entry);
        if (result == TLY_OK) result = insert_or_tidy(map, entry, dot, life);
    }
    if (result == TLY_OK) tly_clock_observe(&map->clock, dot->version.ts);
    return result;
}

enum tly_result tly_ormap_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    return join_dot(map, key, dot, false, outcome);
}

enum tly_result tly_ormap_repair(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                 enum tly_outcome *outcome)
{
    return join_dot(map, key, dot, true, outcome);
}

static enum tly_result check_frontier(const struct tly_ormap *map, const struct tly_entry *entry,
                                      const struct tly_dot *dot)
{
    size_t stay = 0;
    for (size_t i = 0; i < entry->count; i++) {
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, i));
        stay += other.op == TLY_PUT && !tly_dominates(entry->strategy, dot, &other);
    }
    return stay < TLY_FRONTIER_MAX ? TLY_OK : TLY_FRONTIER_FULL;
}

static enum tly_result put_into(struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *wanted)
{
    struct tly_dot dot = *wanted;
    /* What the next version will be is known without taking it: nothing may have changed if this is refused. */
    struct tly_clock clock = map->clock;
    enum tly_result result = tly_clock_next(&clock, &dot.version.ts);
    if (result != TLY_OK) return result;
    dot.version.origin = tly_ormap_origin(map);
    result = tly_dot_check(entry->strategy, &dot);
    if (result != TLY_OK) return result;
    if (entry->strategy->id == TLY_EPOCH_MAX && dot.op == TLY_PUT) {
        result = check_frontier(map, entry, &dot);
        if (result != TLY_OK) return result;
    }
    result = insert(map, entry, &dot, map->own);
    if (result != TLY_OK) return result;
    map->clock.last = clock.last;
    map->lives[map->own].mark = dot.version.ts;
    return TLY_OK;
}

enum tly_result tly_ormap_put(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    assert(map->own != TLY_NO_LIFE);
    struct tly_entry *entry;
    enum tly_result result = tly_ormap_need(map, key, &entry);
    if (result != TLY_OK) return result;
    uint32_t number = entry->number;
    result = put_into(map, entry, dot);
    if (result != TLY_OK) tly_ormap_tidy(map, map->entries[number]);
    return result;
}

enum tly_result tly_ormap_remove(struct tly_ormap *map, struct tly_slice key)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    bool holds = false;
    for (size_t i = 0; entry != NULL && i < entry->count; i++)
        holds |= tly_cell_at(entry, i)->op == TLY_PUT;
    if (!holds) return TLY_NOT_FOUND;
    struct tly_dot remove = {.op = TLY_REMOVE};
    return tly_ormap_put(map, key, &remove);
}
