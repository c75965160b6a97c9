/* Lives, their marks, and the log that followers are fed from. */
#include "crdt/ormap_impl.h"

#include <assert.h>

/* Where the origin stands in `sorted`, or would. */
static size_t sorted_place(const struct tly_ormap *map, uint64_t origin)
{
    size_t low = 0, high = map->life_count - map->free_lives;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->sorted[middle].origin < origin)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t tly_map_life_find(const struct tly_ormap *map, uint64_t origin)
{
    if (map->last_life != TLY_NO_LIFE && map->lives[map->last_life].origin == origin) return map->last_life;
    size_t at = sorted_place(map, origin);
    bool known = at < map->life_count - map->free_lives && map->sorted[at].origin == origin;
    return known ? map->sorted[at].life : TLY_NO_LIFE;
}

/* Room for one more life. */
static enum tly_result reserve_life(struct tly_ormap *map)
{
    if (map->free_lives > 0) return TLY_OK;
    if (map->life_count == TLY_ORIGINS_MAX) return TLY_FULL;
    size_t need = map->life_count + 1;
    void *lives = tly_mem_reserve(&map->mem, map->lives, &map->life_capacity, need, sizeof *map->lives);
    if (lives == NULL) return TLY_NOMEM;
    map->lives = lives;
    void *sorted = tly_mem_reserve(&map->mem, map->sorted, &map->sorted_capacity, need, sizeof *map->sorted);
    if (sorted == NULL) return TLY_NOMEM;
    map->sorted = sorted;
    return TLY_OK;
}

/* A number that no life has; after reserve_life. */
static uint32_t take_number(struct tly_ormap *map)
{
    if (map->free_lives == 0) return (uint32_t)map->life_count++;
    map->free_lives--;
    uint32_t life = 0;
    while (map->lives[life].origin != 0)
        life++;
    return life;
}

enum tly_result tly_map_life_need(struct tly_ormap *map, uint64_t origin, uint32_t *life)
{
    *life = tly_map_life_find(map, origin);
    if (*life != TLY_NO_LIFE) {
        map->last_life = *life;
        return TLY_OK;
    }
    enum tly_result result = reserve_life(map);
    if (result != TLY_OK) return result;
    size_t at = sorted_place(map, origin), after = map->life_count - map->free_lives - at;
    memmove(&map->sorted[at + 1], &map->sorted[at], after * sizeof *map->sorted);
    *life = take_number(map);
    map->sorted[at] = (struct tly_by_origin){origin, *life};
    map->lives[*life] = (struct tly_map_life){.origin = origin};
    return TLY_OK;
}

void tly_map_life_drop(struct tly_ormap *map, uint32_t life)
{
    size_t at = sorted_place(map, map->lives[life].origin), known = map->life_count - map->free_lives;
    memmove(&map->sorted[at], &map->sorted[at + 1], (known - at - 1) * sizeof *map->sorted);
    tly_oplog_fini(&map->lives[life].log, &map->mem);
    map->lives[life] = (struct tly_map_life){0};
    map->free_lives++;
    map->last_life = TLY_NO_LIFE;
}

enum tly_result tly_ormap_begin_life(struct tly_ormap *map, uint64_t origin)
{
    /* What was counted in the life that ends stays that life's. */
    enum tly_result result = tly_ormap_seal(map);
    uint32_t life = TLY_NO_LIFE;
    if (result == TLY_OK) result = tly_map_life_need(map, origin, &life);
    if (result == TLY_OK) map->own = life;
    return result;
}

uint64_t tly_ormap_origin(const struct tly_ormap *map)
{
    return map->own == TLY_NO_LIFE ? 0 : map->lives[map->own].origin;
}

size_t tly_ormap_lives(const struct tly_ormap *map)
{
    return map->life_count;
}

struct tly_life tly_ormap_life(const struct tly_ormap *map, size_t i)
{
    const struct tly_map_life *life = &map->lives[i];
    if (life->state == TLY_LIFE_RETIRED)
        return (struct tly_life){.origin = life->origin, .floor = life->floor, .state = life->state};
    uint64_t last = 0;
    for (size_t at = life->log.count; at-- > 0;) {
        if (life->log.records[at].ts > last) last = life->log.records[at].ts;
        if (at < life->log.ordered) break;
    }
    return (struct tly_life){life->origin, life->mark, last, life->floor, life->state};
}

uint64_t tly_ormap_mark(const struct tly_ormap *map, uint64_t origin)
{
    uint32_t life = tly_map_life_find(map, origin);
    if (life == TLY_NO_LIFE) return map->lost;
    return map->lives[life].state >= TLY_LIFE_SETTLED ? UINT64_MAX : map->lives[life].mark;
}

enum tly_result tly_ormap_raise_mark(struct tly_ormap *map, uint64_t origin, uint64_t ts)
{
    if (ts <= tly_ormap_mark(map, origin)) return TLY_OK;
    uint32_t life;
    enum tly_result result = tly_map_life_need(map, origin, &life);
    if (result != TLY_OK) return result;
    map->lives[life].mark = ts;
    tly_clock_observe(&map->clock, ts);
    return TLY_OK;
}

/* The nth cell of the record's version, or NULL. */
const struct tly_cell *tly_map_recorded_cell(const struct tly_ormap *map, const struct tly_record *record,
                                             size_t life, size_t nth)
{
    const struct tly_entry *entry = map->entries[record->entry];
    for (size_t i = 0; entry != NULL && i < entry->count; i++) {
        const struct tly_cell *cell = tly_cell_at(entry, i);
        if (cell->ts != record->ts || cell->life != life) continue;
        if (nth-- == 0) return cell;
    }
    return NULL;
}

struct log_context {
    const struct tly_ormap *map;
    uint32_t life;
};

static bool record_is_live(const void *context, const struct tly_record *record, size_t nth)
{
    const struct log_context *log = context;
    return tly_map_recorded_cell(log->map, record, log->life, nth) != NULL;
}

bool tly_map_reserve_record(struct tly_ormap *map, uint32_t life)
{
    return tly_oplog_reserve(&map->lives[life].log, &map->mem);
}

/* Some record of this life no longer has its dot. */
void tly_map_record_died(struct tly_ormap *map, uint32_t life)
{
    struct log_context context = {map, life};
    tly_oplog_died(&map->lives[life].log, record_is_live, &context);
}

void tly_ormap_log_size(const struct tly_ormap *map, size_t *live, size_t *dead)
{
    *live = *dead = 0;
    for (size_t i = 0; i < map->life_count; i++) {
        *dead += map->lives[i].log.dead;
        *live += map->lives[i].log.count - map->lives[i].log.dead;
    }
}

struct tly_scan tly_scan_of(struct tly_ormap *map, size_t life, uint64_t after_ts)
{
    return (struct tly_scan){life, tly_oplog_after(&map->lives[life].log, after_ts)};
}

bool tly_scan_next(const struct tly_ormap *map, struct tly_scan *scan, struct tly_scanned *out)
{
    const struct tly_oplog *log = &map->lives[scan->life].log;
    while (scan->at < log->count) {
        const struct tly_record *record = &log->records[scan->at];
        size_t nth = 0;
        while (nth < scan->at && record[-1 - (ptrdiff_t)nth].ts == record->ts &&
               record[-1 - (ptrdiff_t)nth].entry == record->entry)
            nth++;
        scan->at++;
        const struct tly_cell *cell = tly_map_recorded_cell(map, record, scan->life, nth);
        if (cell == NULL) continue;
        assert(!cell->unsealed);
        const struct tly_entry *entry = map->entries[record->entry];
        *out = (struct tly_scanned){tly_entry_key(entry), entry->strategy, tly_map_dot_of(map, entry, cell)};
        return true;
    }
    return false;
}
