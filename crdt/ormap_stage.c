/* Many dots, all or none: first everything that takes memory, then everything that cannot fail. */
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

/* The number of the cell that is this dot, or TLY_NO_CELL. */
static size_t find_dot(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    size_t i = 0;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); i++)
        if (!cell.unsealed && tly_dot_equal(&cell.dot, dot)) return i;
    return TLY_NO_CELL;
}

enum tly_result tly_ormap_stage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    struct tly_seek seek = tly_map_seek(key, tly_map_hash(map, key));
    return tly_map_put_beside(map, &seek, dot, outcome);
}

static struct tly_place place_of(const struct tly_ormap *map, struct tly_slice key)
{
    struct tly_place place;
    bool found = tly_map_find(map, key, tly_map_hash(map, key), &place);
    assert(found);
    (void)found;
    return place;
}

void tly_ormap_settle(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    tly_clock_observe(&map->clock, dot->version.ts);
    struct tly_place place = place_of(map, key);
    /* Another one that was settled may have made it redundant, and with it all that it would have. */
    if (find_dot(map, place.entry, dot) == TLY_NO_CELL) return;
    struct tly_plan plan = {
        .skip = TLY_NO_CELL, .over = dot, .restarts = tly_map_restarts(map, place.entry, dot)};
    (void)tly_map_shrink(map, &place, &plan, NULL, NULL);
}

void tly_ormap_unstage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    struct tly_place place = place_of(map, key);
    struct tly_plan plan = {.skip = find_dot(map, place.entry, dot)};
    assert(plan.skip != TLY_NO_CELL);
    uint32_t life = 0;
    while (map->lives[life].origin != dot->version.origin)
        life++;
    (void)tly_map_shrink(map, &place, &plan, NULL, NULL);
    if (dot->op == TLY_REMOVE) map->removes--;
    tly_map_remove_record(map, life, dot->version.ts, place.hash);
    tly_map_tidy(map, &place);
}

enum tly_result tly_ormap_repair(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                 enum tly_outcome *outcome)
{
    bool was_here = tly_map_lets_in(map, dot->version) == TLY_DROPPED;
    enum tly_result result = tly_ormap_stage(map, key, dot, outcome);
    if (result != TLY_OK) return result;
    if (*outcome == TLY_APPLIED) tly_ormap_settle(map, key, dot);
    if (*outcome == TLY_APPLIED && was_here) *outcome = TLY_REPAIRED;
    if (*outcome == TLY_DUPLICATE || *outcome == TLY_DOMINATED)
        tly_clock_observe(&map->clock, dot->version.ts);
    return TLY_OK;
}

/* Whether what is here says already what the dot says, or more. */
static bool is_redundant(const struct tly_ormap *map, const struct tly_entry *entry,
                         const struct tly_dot *dot, enum tly_outcome *outcome)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
        *outcome = tly_dot_equal(&cell.dot, dot) && !cell.unsealed ? TLY_DUPLICATE : TLY_DOMINATED;
        if (*outcome == TLY_DUPLICATE || cell.unsealed) return true;
        if (tly_dominates(tly_map_strategy(map, entry), &cell.dot, dot)) return true;
    }
    return false;
}

enum tly_result tly_ormap_repair_own(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                     enum tly_outcome *outcome)
{
    struct tly_entry *entry = tly_ormap_find(map, key);
    struct tly_dot shard;
    bool counts = dot->op == TLY_PUT && entry != NULL && tly_map_strategy(map, entry)->own_shards;
    if (counts && tly_ormap_own(map, entry, dot->num[TLY_SUM_WINDOW], &shard)) {
        if (is_redundant(map, entry, dot, outcome)) return TLY_OK;
        struct tly_hit nothing = {
            .window = dot->num[TLY_SUM_WINDOW], .epoch = shard.num[TLY_SUM_EPOCH], .keeps_aux = true};
        *outcome = TLY_REPAIRED;
        return tly_ormap_hit(map, &entry, &nothing);
    }
    uint32_t own = map->own;
    map->own = TLY_NO_LIFE; /* for this once it is as anybody's */
    enum tly_result result = tly_ormap_repair(map, key, dot, outcome);
    map->own = own;
    return result;
}
