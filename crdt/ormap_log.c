/* Lives, their marks, and the log that followers are fed from. */
#include "crdt/cell.h"
#include "crdt/ormap_impl.h"

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
    map->numbering++;
    return TLY_OK;
}

void tly_map_life_drop(struct tly_ormap *map, uint32_t life)
{
    tly_map_settle_log(map);
    size_t at = sorted_place(map, map->lives[life].origin), known = map->life_count - map->free_lives;
    memmove(&map->sorted[at], &map->sorted[at + 1], (known - at - 1) * sizeof *map->sorted);
    tly_oplog_fini(&map->lives[life].log, &map->mem);
    map->lives[life] = (struct tly_map_life){0};
    map->free_lives++;
    map->numbering++;
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

size_t tly_ormap_life_number(const struct tly_ormap *map, uint64_t origin)
{
    uint32_t life = tly_map_life_find(map, origin);
    return life == TLY_NO_LIFE ? map->life_count : life;
}

struct tly_life tly_ormap_life(const struct tly_ormap *map, size_t i)
{
    tly_map_settle_log(map);
    return tly_ormap_life_held(map, i);
}

struct tly_life tly_ormap_life_held(const struct tly_ormap *map, size_t i)
{
    const struct tly_map_life *life = &map->lives[i];
    if (life->state == TLY_LIFE_RETIRED)
        return (struct tly_life){.origin = life->origin, .floor = life->floor, .state = life->state};
    return (struct tly_life){life->origin, life->mark, life->log.last, life->floor, life->state};
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
    map->raised++;
    tly_clock_observe(&map->clock, ts);
    return TLY_OK;
}

void tly_ormap_clear_marks(struct tly_ormap *map)
{
    for (size_t i = 0; i < map->life_count; i++)
        if (i != map->own) map->lives[i].mark = 0;
}

void tly_ormap_lower_mark(struct tly_ormap *map, uint64_t origin, uint64_t ts)
{
    uint32_t number = tly_map_life_find(map, origin);
    if (number == TLY_NO_LIFE || number == map->own) return;
    struct tly_map_life *life = &map->lives[number];
    if (life->mark > ts) life->mark = ts;
    if (life->floor > life->mark) life->floor = life->mark;
}

/* ---- what stands in a chunk ---- */

/* What to gather: dots of a life with ts in [from, to] that come behind a scan's position. */
struct wish {
    const struct tly_ormap *map;
    uint32_t life;
    uint64_t from, to;
    const struct tly_scan *behind;
};

/* The order of scans: by ts; dots forged with one ts by hash, and those of one hash as they stand. */
static int found_compare(const struct tly_found *a, uint64_t ts, uint32_t hash, uint32_t nth)
{
    if (a->ts != ts) return a->ts < ts ? -1 : 1;
    if (a->hash != hash) return a->hash < hash ? -1 : 1;
    if (a->nth != nth) return a->nth < nth ? -1 : 1;
    return 0;
}

/* Keeps it in order, and but the first ones if there is no room for all. A hash that is met twice says the same twice. */
static void keep(struct tly_ahead *ahead, const struct tly_found *found)
{
    size_t at = ahead->count;
    for (; at > 0; at--) {
        int order = found_compare(&ahead->found[at - 1], found->ts, found->hash, found->nth);
        if (order == 0) return;
        if (order < 0) break;
    }
    if (at == TLY_CHUNK_RECORDS) {
        ahead->all = false;
        return;
    }
    size_t after = ahead->count - at;
    if (ahead->count == TLY_CHUNK_RECORDS) {
        ahead->all = false;
        after--;
    } else {
        ahead->count++;
    }
    memmove(&ahead->found[at + 1], &ahead->found[at], after * sizeof *found);
    ahead->found[at] = *found;
}

/* The dots of a hash, from its first slot on; NULL: it has none. */
static void gather_hash(const struct wish *wish, uint32_t hash, struct tly_slot *slot,
                        struct tly_ahead *ahead)
{
    const struct tly_scan *behind = wish->behind;
    struct tly_found found = {.hash = hash};
    for (; slot != NULL; slot = tly_index_again(slot)) {
        found.entry = tly_map_entry(wish->map, slot);
        struct tly_cells cells = tly_map_cells(wish->map, found.entry);
        for (struct tly_cell_brief cell; tly_cell_skim(&cells, &cell);) {
            found.ts = cell.ts;
            if (cell.life != wish->life || found.ts < wish->from || found.ts > wish->to) continue;
            found.cell = cell.at;
            if (found_compare(&found, behind->ts, behind->hash, behind->nth) > 0) keep(ahead, &found);
            found.nth++;
        }
    }
}

#define GROUP 16

/* Gathers what the records of a chunk stand for from a place on, a group at a time so that their memory is fetched together. */
static void gather(const struct wish *wish, const struct tly_chunk *chunk, uint32_t next,
                   struct tly_ahead *ahead)
{
    const struct tly_index *index = &wish->map->index;
    struct tly_slot *slots[GROUP];
    ahead->at = ahead->count = 0;
    ahead->all = true;
    while (next < chunk->count) {
        uint32_t hashes[GROUP], n = 0;
        for (; n < GROUP && next < chunk->count; next++)
            if (chunk->hashes[next] != 0) hashes[n++] = chunk->hashes[next];
        for (uint32_t i = 0; i < n; i++)
            tly_index_prefetch(index, hashes[i]);
        for (uint32_t i = 0; i < n; i++) {
            slots[i] = tly_index_find(index, hashes[i]);
            if (slots[i] != NULL) tly_map_prefetch(wish->map, slots[i]);
        }
        for (uint32_t i = 0; i < n; i++)
            gather_hash(wish, hashes[i], slots[i], ahead);
    }
}

/* ---- records ---- */

struct log_context {
    const struct tly_ormap *map;
    uint32_t life;
};

static size_t list_dots(const void *context, const struct tly_chunk *chunk, uint64_t from, uint64_t to,
                        struct tly_timed *out, size_t room)
{
    const struct log_context *log = context;
    static const struct tly_scan beginning = {.ts = 0};
    struct wish wish = {log->map, log->life, from > 0 ? from : 1, to, &beginning};
    struct tly_ahead *ahead = log->map->ahead;
    gather(&wish, chunk, 0, ahead);
    ahead->changes = UINT64_MAX; /* no scan asked for this */
    assert(ahead->count <= room);
    for (size_t i = 0; i < ahead->count; i++)
        out[i] = (struct tly_timed){ahead->found[i].ts, ahead->found[i].hash};
    return ahead->count;
}

void tly_map_take_leavings(struct tly_ormap *map)
{
    struct tly_leavings *leavings = &map->leavings;
    map->changes++;
    for (uint32_t i = 0; i < leavings->count; i++)
        leavings->of[i].log = &map->lives[leavings->life[i]].log;
    tly_oplog_take(leavings->of, leavings->count, &map->mem);
    leavings->count = 0;
}

bool tly_map_reserve_somewhere(struct tly_ormap *map, uint32_t life, uint64_t ts)
{
    struct log_context context = {map, life};
    struct tly_dots dots = {list_dots, &context};
    if (map->leavings.count > 0 && tly_oplog_divides(&map->lives[life].log, ts)) tly_map_take_leavings(map);
    return tly_oplog_reserve(&map->lives[life].log, &map->mem, ts, &dots);
}

size_t tly_ormap_log_size(const struct tly_ormap *map)
{
    tly_map_settle_log(map);
    size_t records = 0;
    for (size_t i = 0; i < map->life_count; i++)
        records += map->lives[i].log.count;
    return records;
}

size_t tly_ormap_newer(const struct tly_ormap *map, size_t life, uint64_t ts)
{
    tly_map_settle_log(map);
    const struct tly_oplog *log = &map->lives[life].log;
    if (ts >= log->last) return 0;
    struct tly_chunk_at at = tly_oplog_find(log, ts);
    uint64_t to;
    const struct tly_chunk *chunk = tly_oplog_chunk(log, at, &to);
    size_t newer = chunk->live;
    if (chunk->from <= ts) {
        struct tly_scan behind = {life, ts, UINT32_MAX, UINT32_MAX};
        struct wish wish = {map, (uint32_t)life, chunk->from, to, &behind};
        gather(&wish, chunk, 0, map->ahead);
        map->ahead->changes = UINT64_MAX; /* no scan asked for this */
        newer = map->ahead->count;
    }
    while ((chunk = tly_oplog_chunk(log, at = tly_oplog_after(log, at), &to)) != NULL)
        newer += chunk->live;
    return newer;
}

/* ---- scans ---- */

struct tly_scan tly_scan_of(struct tly_ormap *map, size_t life, uint64_t after_ts)
{
    (void)map;
    return (struct tly_scan){life, after_ts, UINT32_MAX, UINT32_MAX};
}

static bool same_position(const struct tly_scan *a, const struct tly_scan *b)
{
    return a->life == b->life && a->ts == b->ts && a->hash == b->hash && a->nth == b->nth;
}

/* Gathers the next dots behind the scan's position; false: there are none. */
static bool look_ahead(const struct tly_ormap *map, const struct tly_scan *scan)
{
    const struct tly_oplog *log = &map->lives[scan->life].log;
    struct tly_ahead *ahead = map->ahead;
    bool is_behind_ts = scan->hash == UINT32_MAX && scan->nth == UINT32_MAX;
    if (log->count == 0 || scan->ts > log->last || (is_behind_ts && scan->ts == log->last)) return false;
    bool goes_on = ahead->changes == map->changes && same_position(&ahead->from, scan) && ahead->all;
    struct tly_chunk_at at = goes_on ? tly_oplog_after(log, ahead->chunk) : tly_oplog_find(log, scan->ts);
    uint64_t to;
    const struct tly_chunk *chunk;
    for (; (chunk = tly_oplog_chunk(log, at, &to)) != NULL; at = tly_oplog_after(log, at)) {
        struct wish wish = {map, (uint32_t)scan->life, chunk->from, to, scan};
        /* Of the ts it stands at it may want others. */
        uint64_t has = scan->hash == UINT32_MAX ? scan->ts : scan->ts - 1;
        gather(&wish, chunk, chunk == log->newest ? tly_oplog_newer_from(log, has) : 0, ahead);
        ahead->chunk = at;
        ahead->from = ahead->begun = *scan;
        ahead->changes = map->changes;
        if (ahead->count > 0) return true;
    }
    return false;
}

bool tly_scan_next(const struct tly_ormap *map, struct tly_scan *scan, struct tly_scanned *out)
{
    struct tly_ahead *ahead = map->ahead;
    bool known = ahead->changes == map->changes && same_position(&ahead->from, scan);
    if (!known && ahead->changes == map->changes && same_position(&ahead->begun, scan)) {
        ahead->at = 0; /* another follower, which stands where the one before did */
        known = true;
    }
    if ((!known || ahead->at == ahead->count) && !look_ahead(map, scan)) return false;
    const struct tly_found *found = &ahead->found[ahead->at++];
    *scan = ahead->from = (struct tly_scan){scan->life, found->ts, found->hash, found->nth};
    unsigned shape;
    uint32_t life;
    out->key = tly_entry_key_of(found->entry);
    out->strategy = tly_map_strategy(map, found->entry);
    (void)tly_cell_dot(found->cell, out->strategy, &out->dot, &shape, &life);
    out->dot.version.origin = map->lives[life].origin;
    assert((shape >> TLY_KIND_SHIFT & 3) == TLY_KIND_PUT || out->dot.op == TLY_REMOVE);
    return true;
}
