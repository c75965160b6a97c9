/* How dots enter: from elsewhere and by local writes. */
#include "crdt/hash_inline.h"
#include "crdt/ormap_impl.h"

#include "crdt/epoch_sum.h"

/* What an entry says to a dot that would enter. */
struct hearing {
    enum tly_outcome outcome;
    size_t place; /* keeps the cells in the order of tly_dot_compare */
    size_t stays; /* PUTs that would stay beside it */
    size_t goes;  /* cells that it makes redundant */
    bool has_own; /* a PUT of the own life is there */
    /* The last of those that go. */
    struct tly_cell_brief gone;
    bool gone_is_remove;
    size_t gone_at;
    uint32_t gone_size;
};

/* By rule R1 only the newer of two dots can make the other redundant. */
static enum tly_outcome weigh(const struct tly_strategy *strategy, const struct tly_cell *cell,
                              const struct tly_dot *dot, int order)
{
    if (order < 0) return TLY_APPLIED;
    if (order == 0 && !cell->unsealed && tly_dot_equal(&cell->dot, dot)) return TLY_DUPLICATE;
    return tly_dominates(strategy, &cell->dot, dot) ? TLY_DOMINATED : TLY_APPLIED;
}

/* Fills a hearing that is empty. */
static void hear(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot,
                 struct hearing *hearing)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    struct tly_cells cells = tly_map_cells(map, entry);
    size_t i = 0;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); i++) {
        int order = tly_version_compare(cell.dot.version, dot->version);
        hearing->outcome = weigh(strategy, &cell, dot, order);
        if (hearing->outcome != TLY_APPLIED) return;
        if (order < 0 || (order == 0 && tly_dot_compare(&cell.dot, dot) <= 0)) hearing->place = i + 1;
        bool goes = order <= 0 && tly_dominates(strategy, dot, &cell.dot), put = cell.dot.op == TLY_PUT;
        hearing->stays += put && !goes;
        hearing->has_own = hearing->has_own || (put && cell.life == map->own);
        if (!goes) continue;
        hearing->goes++;
        hearing->gone = (struct tly_cell_brief){cell.dot.version.ts, cell.life, cell.at};
        hearing->gone_at = i;
        hearing->gone_is_remove = cell.dot.op == TLY_REMOVE;
        hearing->gone_size = cell.size;
    }
}

/* The usual case: the dot takes the place of its predecessor, in as many bytes. There is room for its record. */
static bool replaces(struct tly_ormap *map, const struct tly_place *place, const struct tly_cell *cell,
                     const struct hearing *hearing)
{
    if (hearing->goes != 1 || hearing->place != hearing->gone_at + 1 || cell->dot.bytes.n > 0) return false;
    uint8_t *at = (uint8_t *)(uintptr_t)hearing->gone.at;
    const struct tly_strategy *strategy = tly_map_strategy(map, place->entry);
    tly_map_touch(map, place->entry);
    if (!tly_cell_put_same(at, hearing->gone_size, strategy, cell)) return false;
    tly_map_add_record(map, cell->life, cell->dot.version.ts, place->hash);
    if (hearing->gone.ts != 0) tly_map_remove_record(map, hearing->gone.life, hearing->gone.ts, place->hash);
    if (hearing->gone_is_remove) map->removes--;
    if (cell->dot.op == TLY_REMOVE) tly_map_noted_remove(map, cell->life, cell->dot.version.ts);
    return true;
}

bool tly_map_restarts(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    return dot->op == TLY_REMOVE && tly_map_strategy(map, entry)->own_shards;
}

/* Joins a dot that nothing here dominates. */
static enum tly_result insert(struct tly_ormap *map, struct tly_place *place, const struct tly_dot *dot,
                              const struct hearing *hearing, uint32_t life)
{
    bool restarts = tly_map_restarts(map, place->entry, dot);
    if (restarts && hearing->has_own && !tly_map_queue_unsealed(map, place)) return TLY_NOMEM;
    if (!tly_map_reserve_record(map, life, dot->version.ts)) return TLY_NOMEM;
    struct tly_cell cell = {.dot = *dot, .life = life};
    if (!restarts && replaces(map, place, &cell, hearing)) return TLY_OK;
    struct tly_plan plan = {.fresh = &cell,
                            .place = hearing->place,
                            .skip = TLY_NO_CELL,
                            .over = hearing->goes > 0 ? dot : NULL,
                            .restarts = restarts};
    struct tly_room room;
    if (!tly_map_make_room(map, place, &plan, &room)) return TLY_NOMEM;
    tly_map_add_record(map, life, dot->version.ts, place->hash);
    if (dot->op == TLY_REMOVE) tly_map_noted_remove(map, life, dot->version.ts);
    tly_map_carry_out(map, place, &plan, &room);
    return TLY_OK;
}

/* Whether the clock lets it in. A generation is made from the clock, so it is held to the same horizon. */
static inline bool is_in_time(uint64_t newest, const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    if (dot->version.ts > newest) return false;
    if (dot->num[TLY_SUM_WINDOW] != 0 || dot->num[TLY_SUM_EPOCH] <= newest) return true;
    return strategy->id != TLY_EPOCH_SUM || dot->op != TLY_PUT;
}

bool tly_ormap_is_in_time(const struct tly_ormap *map, const struct tly_strategy *strategy,
                          const struct tly_dot *dot)
{
    return is_in_time(tly_clock_admits_to(&map->clock), strategy, dot);
}

enum tly_result tly_ormap_admits(const struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    const struct tly_strategy *strategy;
    enum tly_result result = tly_map_strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    return is_in_time(tly_clock_admits_to(&map->clock), strategy, dot) ? TLY_OK : TLY_CLOCK_AHEAD;
}

/* Keys whose first bytes are asked for beforehand. */
#define KEYS_AHEAD 8

enum tly_result tly_ormap_admit_batch(const struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *admitted)
{
    uint64_t newest = tly_clock_admits_to(&map->clock);
    for (*admitted = 0; *admitted < count; ++*admitted) {
        struct tly_arrival *arrival = &arrivals[*admitted];
        const struct tly_strategy *strategy;
        if (*admitted + KEYS_AHEAD < count) __builtin_prefetch(arrivals[*admitted + KEYS_AHEAD].key.p);
        enum tly_result result = tly_map_strategy_for(map, arrival->key, &strategy);
        if (result != TLY_OK) return result;
        if (arrival->strategy != NULL && arrival->strategy != strategy) return TLY_WRONG_STRATEGY;
        if (!is_in_time(newest, strategy, arrival->dot)) return TLY_CLOCK_AHEAD;
        arrival->strategy = strategy;
    }
    return TLY_OK;
}

/* The entry, made to the measure of the dot if it is not there. */
static enum tly_result need_for(struct tly_ormap *map, struct tly_slice key,
                                const struct tly_strategy *strategy, const struct tly_dot *dot,
                                struct tly_place *place)
{
    if (place->entry != NULL) return TLY_OK;
    struct tly_cell cell = {.dot = *dot};
    return tly_map_make(map, key, strategy, tly_cell_size(strategy, &cell), place);
}

/* The same, and leaves what it makes redundant. */
static enum tly_result insert_beside(struct tly_ormap *map, struct tly_place *place,
                                     const struct tly_dot *dot, const struct hearing *hearing, uint32_t life)
{
    bool restarts = tly_map_restarts(map, place->entry, dot);
    if (restarts && hearing->has_own && !tly_map_queue_unsealed(map, place)) return TLY_NOMEM;
    struct tly_cell cell = {.dot = *dot, .life = life};
    struct tly_plan plan = {.fresh = &cell, .place = hearing->place, .skip = TLY_NO_CELL};
    struct tly_room room;
    uint64_t ts = dot->version.ts;
    if (!tly_map_reserve_record(map, life, ts) || !tly_map_make_room(map, place, &plan, &room))
        return TLY_NOMEM;
    tly_map_add_record(map, life, ts, place->hash);
    if (dot->op == TLY_REMOVE) tly_map_noted_remove(map, life, ts);
    tly_map_carry_out(map, place, &plan, &room);
    return TLY_OK;
}

static enum tly_result insert_or_tidy(struct tly_ormap *map, struct tly_place *place,
                                      const struct tly_dot *dot, const struct hearing *hearing, uint32_t life)
{
    enum tly_result result = insert(map, place, dot, hearing, life);
    if (result != TLY_OK) tly_map_tidy(map, place);
    return result;
}

/* A dot from elsewhere, its entry if there is one, and what that says to it. */
struct entrant {
    const struct tly_strategy *strategy;
    struct tly_place place;
    struct hearing hearing;
};

/*
 * TLY_APPLIED: nothing here stands against it. The entrant's place was looked for; its strategy may be known already, else it is
 * NULL.
 */
static enum tly_result receive(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot,
                               struct entrant *entrant, enum tly_outcome *outcome)
{
    if (entrant->strategy == NULL) {
        enum tly_result result = tly_map_strategy_for(map, seek->key, &entrant->strategy);
        if (result != TLY_OK) return result;
    }
    *outcome = TLY_MALFORMED;
    if (tly_dot_check(entrant->strategy, dot) != TLY_OK) return TLY_OK;
    *outcome = TLY_FORGED;
    if (dot->version.origin == tly_ormap_origin(map)) return TLY_OK;
    entrant->hearing = (struct hearing){.outcome = TLY_APPLIED};
    if (entrant->place.entry != NULL) hear(map, entrant->place.entry, dot, &entrant->hearing);
    *outcome = entrant->hearing.outcome;
    return TLY_OK;
}

static enum tly_result enter(struct tly_ormap *map, struct tly_slice key, struct entrant *entrant,
                             const struct tly_dot *dot, uint32_t life)
{
    if (entrant->place.entry != NULL) {
        enum tly_result entered = insert_or_tidy(map, &entrant->place, dot, &entrant->hearing, life);
        bool is_point = entrant->strategy->id == TLY_EPOCH_MAX && dot->op == TLY_PUT;
        if (entered == TLY_OK && is_point && entrant->hearing.stays >= TLY_FRONTIER_MAX) map->overlong++;
        return entered;
    }
    enum tly_result result = tly_quick_begin(map, key, entrant->strategy, dot, life, &entrant->place);
    if (result != TLY_MORE) return result;
    result = need_for(map, key, entrant->strategy, dot, &entrant->place);
    if (result != TLY_OK) return result;
    return insert_or_tidy(map, &entrant->place, dot, &entrant->hearing, life);
}

static enum tly_result apply_any(struct tly_ormap *map, const struct tly_seek *seek,
                                 const struct tly_dot *dot, struct entrant *entrant,
                                 enum tly_outcome *outcome)
{
    enum tly_result result = receive(map, seek, dot, entrant, outcome);
    if (result != TLY_OK || *outcome == TLY_MALFORMED || *outcome == TLY_FORGED) return result;
    if (*outcome == TLY_APPLIED) *outcome = tly_map_lets_in(map, dot->version);
    if (*outcome == TLY_APPLIED) {
        uint32_t life;
        result = tly_map_life_need(map, dot->version.origin, &life);
        if (result == TLY_OK) result = enter(map, seek->key, entrant, dot, life);
    }
    if (result == TLY_OK) tly_clock_observe(&map->clock, dot->version.ts);
    return result;
}

/* The usual case of apply_any, or TLY_MORE. Whatever is wrong with a dot is for that to say. */
static enum tly_result apply_usual(struct tly_ormap *map, const struct tly_place *place,
                                   const struct tly_dot *dot)
{
    uint32_t life = map->last_life;
    if (place->entry == NULL) return TLY_MORE;
    if (life == TLY_NO_LIFE || map->lives[life].origin != dot->version.origin) {
        life = tly_map_life_find(map, dot->version.origin);
        if (life == TLY_NO_LIFE) return TLY_MORE;
        map->last_life = life;
    }
    const struct tly_map_life *known = &map->lives[life];
    bool stale = dot->version.ts <= known->mark || known->state >= TLY_LIFE_SETTLED;
    if (life == map->own || stale) return TLY_MORE;
    return tly_quick_replace(map, place, dot, life);
}

enum tly_result tly_map_apply(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot,
                              const struct tly_strategy *strategy, enum tly_outcome *outcome)
{
    struct entrant entrant; /* what it hears is for who receives it */
    entrant.strategy = strategy;
    (void)tly_map_sought(map, seek, &entrant.place);
    enum tly_result result = apply_usual(map, &entrant.place, dot);
    if (result == TLY_MORE) return apply_any(map, seek, dot, &entrant, outcome);
    *outcome = TLY_APPLIED;
    if (result == TLY_OK) tly_clock_observe(&map->clock, dot->version.ts);
    return result;
}

enum tly_result tly_map_put_beside(struct tly_ormap *map, const struct tly_seek *seek,
                                   const struct tly_dot *dot, enum tly_outcome *outcome)
{
    struct entrant entrant = {.strategy = NULL};
    uint32_t life;
    (void)tly_map_sought(map, seek, &entrant.place);
    enum tly_result result = receive(map, seek, dot, &entrant, outcome);
    if (*outcome == TLY_APPLIED && tly_map_lets_in(map, dot->version) == TLY_REFUSED) *outcome = TLY_REFUSED;
    if (result != TLY_OK || *outcome != TLY_APPLIED) return result;
    result = tly_map_life_need(map, dot->version.origin, &life);
    if (result == TLY_OK) result = need_for(map, seek->key, entrant.strategy, dot, &entrant.place);
    if (result != TLY_OK) return result;
    result = insert_beside(map, &entrant.place, dot, &entrant.hearing, life);
    if (result != TLY_OK) tly_map_tidy(map, &entrant.place);
    return result;
}

enum tly_result tly_ormap_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    struct tly_seek seek = tly_map_seek(key, tly_map_hash(map, key));
    return tly_map_apply(map, &seek, dot, NULL, outcome);
}

static enum tly_result put_any(struct tly_ormap *map, struct tly_place *place, const struct tly_dot *dot)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, place->entry);
    /* No dot here is newer, so none is in the way. */
    struct hearing hearing = {.outcome = TLY_APPLIED};
    hear(map, place->entry, dot, &hearing);
    bool limited = strategy->id == TLY_EPOCH_MAX && dot->op == TLY_PUT;
    if (limited && hearing.stays >= TLY_FRONTIER_MAX) return TLY_FRONTIER_FULL;
    return insert(map, place, dot, &hearing, map->own);
}

/* Into an entry, or as the first dot of a key that has none. */
static enum tly_result put_into(struct tly_ormap *map, struct tly_slice key,
                                const struct tly_strategy *strategy, struct tly_place *place,
                                const struct tly_dot *dot)
{
    enum tly_result result = TLY_MORE;
    if (place->entry != NULL) result = tly_quick_replace(map, place, dot, map->own);
    if (result != TLY_MORE) return result;
    result = tly_dot_check(strategy, dot);
    if (result != TLY_OK) return result;
    if (place->entry == NULL) {
        result = tly_quick_begin(map, key, strategy, dot, map->own, place);
        if (result != TLY_MORE) return result;
        result = need_for(map, key, strategy, dot, place);
        if (result != TLY_OK) return result;
    }
    result = put_any(map, place, dot);
    if (result != TLY_OK) tly_map_tidy(map, place);
    return result;
}

/*
 * A REMOVE is newer than every generation that it ends: those that count on after it begin in one that follows from its version and
 * must lie above. Under a wall that is behind the clock SETs in turn make generations that outrun it. Half of max_skew ahead of
 * the wall is as far as this moves the clock, else clients could drive it to where peers refuse it.
 */
static void pass_generations(const struct tly_ormap *map, const struct tly_entry *entry,
                             struct tly_clock *clock)
{
    if (tly_map_strategy(map, entry)->id != TLY_EPOCH_SUM) return;
    struct tly_cells cells = tly_map_cells(map, entry);
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
        uint64_t generation = cell.dot.num[TLY_SUM_EPOCH], wall_ns = clock->now.wall_ns;
        if (cell.dot.op == TLY_REMOVE || cell.dot.num[TLY_SUM_WINDOW] != 0) continue;
        if (generation < wall_ns || generation - wall_ns <= clock->max_skew_ns / 2)
            tly_clock_observe(clock, generation);
    }
}

/* Writes a dot under the version that comes next. */
enum tly_result tly_seek_put(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot)
{
    const struct tly_strategy *strategy;
    struct tly_place place;
    struct tly_dot own = *dot;
    assert(map->own != TLY_NO_LIFE);
    bool found = tly_map_sought(map, seek, &place);
    enum tly_result result = TLY_OK;
    if (found)
        strategy = tly_map_strategy(map, place.entry);
    else
        result = tly_map_strategy_for(map, seek->key, &strategy);
    if (result != TLY_OK) return result;
    own.version.origin = map->lives[map->own].origin;
    /* Nothing may have changed if this is refused. */
    uint64_t last = map->clock.last;
    if (found && own.op == TLY_REMOVE) pass_generations(map, place.entry, &map->clock);
    result = tly_clock_next(&map->clock, &own.version.ts);
    if (result == TLY_OK) result = put_into(map, seek->key, strategy, &place, &own);
    if (result == TLY_OK)
        map->lives[map->own].mark = own.version.ts;
    else
        map->clock.last = last;
    return result;
}

enum tly_result tly_ormap_put(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    uint32_t hash = tly_key_hash_inline(&map->hash_key, key);
    if (tly_quick_rise(map, key, hash, dot)) return TLY_OK;
    struct tly_seek seek = tly_map_seek(key, hash);
    return tly_seek_put(map, &seek, dot);
}

enum tly_result tly_ormap_remove(struct tly_ormap *map, struct tly_slice key)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry == NULL) return TLY_NOT_FOUND;
    struct tly_cells cells = tly_map_cells(map, entry);
    bool holds = false;
    for (struct tly_cell cell; !holds && tly_cells_next(&cells, &cell);)
        holds = cell.dot.op == TLY_PUT;
    if (!holds) return TLY_NOT_FOUND;
    struct tly_dot remove = {.op = TLY_REMOVE};
    return tly_ormap_put(map, key, &remove);
}
