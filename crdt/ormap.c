#include "crdt/entry.h"
#include "crdt/epoch_sum.h"
#include "crdt/index.h"
#include "crdt/oplog.h"

#include <assert.h>

#define NO_LIFE UINT32_MAX

struct life {
    uint64_t origin;
    uint64_t mark;
    struct tly_oplog log;
};

struct by_origin {
    uint64_t origin;
    uint32_t life;
};

struct tly_ormap {
    struct tly_mem mem; /* what was given, with every byte counted */
    struct tly_mem given;
    size_t bytes;
    struct tly_hash_key hash_key;
    const struct tly_registry *registry;
    size_t keys_max;
    struct tly_clock clock;

    struct tly_index index;
    struct tly_entry **entries; /* by number; NULL: free */
    size_t numbers, numbers_capacity;
    uint32_t *free_numbers; /* as much room as entries */
    size_t free_count, free_capacity;
    size_t keys;

    struct life *lives;
    size_t life_count, life_capacity;
    struct by_origin *sorted; /* the lives by origin */
    size_t sorted_capacity;
    uint32_t own; /* NO_LIFE until one begins */
    uint32_t last_life;

    uint32_t *unsealed; /* numbers of entries with something to seal */
    size_t unsealed_count, unsealed_capacity;

    struct tly_dot *scratch; /* room for the dots of any one entry */
    size_t scratch_capacity;
};

static void *counted_resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_ormap *map = context;
    void *moved = tly_mem_resize(&map->given, block, old_bytes, new_bytes);
    if (moved != NULL || new_bytes == 0) map->bytes += new_bytes - old_bytes;
    return moved;
}

/* ---- making and ending ---- */

struct tly_ormap *tly_ormap_new(const struct tly_ormap_config *config)
{
    struct tly_ormap *map = tly_mem_zeroed(&config->mem, sizeof *map);
    if (map == NULL) return NULL;
    map->given = config->mem;
    map->mem = (struct tly_mem){counted_resize, map};
    map->bytes = sizeof *map;
    map->hash_key = config->hash_key;
    map->registry = config->registry;
    map->keys_max = config->keys_max < UINT32_MAX - 1 ? config->keys_max : UINT32_MAX - 1;
    map->clock = config->clock;
    map->own = map->last_life = NO_LIFE;
    if (!tly_index_init(&map->index, &map->mem)) {
        struct tly_mem given = map->given;
        tly_mem_free(&given, map, sizeof *map);
        return NULL;
    }
    return map;
}

void tly_ormap_free(struct tly_ormap *map)
{
    if (map == NULL) return;
    for (size_t i = 0; i < map->numbers; i++)
        if (map->entries[i] != NULL) tly_entry_free(&map->mem, map->entries[i]);
    for (size_t i = 0; i < map->life_count; i++)
        tly_oplog_fini(&map->lives[i].log, &map->mem);
    tly_index_fini(&map->index, &map->mem);
    tly_mem_free(&map->mem, map->entries, map->numbers_capacity * sizeof *map->entries);
    tly_mem_free(&map->mem, map->free_numbers, map->free_capacity * sizeof *map->free_numbers);
    tly_mem_free(&map->mem, map->lives, map->life_capacity * sizeof *map->lives);
    tly_mem_free(&map->mem, map->sorted, map->sorted_capacity * sizeof *map->sorted);
    tly_mem_free(&map->mem, map->unsealed, map->unsealed_capacity * sizeof *map->unsealed);
    tly_mem_free(&map->mem, map->scratch, map->scratch_capacity * sizeof *map->scratch);
    assert(map->bytes == sizeof *map);
    struct tly_mem given = map->given;
    tly_mem_free(&given, map, sizeof *map);
}

struct tly_clock *tly_ormap_clock(struct tly_ormap *map)
{
    return &map->clock;
}

void tly_ormap_use_registry(struct tly_ormap *map, const struct tly_registry *registry)
{
    map->registry = registry;
}

const struct tly_registry *tly_ormap_registry(const struct tly_ormap *map)
{
    return map->registry;
}

size_t tly_ormap_count(const struct tly_ormap *map)
{
    return map->keys;
}

size_t tly_ormap_bytes(const struct tly_ormap *map)
{
    return map->bytes;
}

/* ---- lives ---- */

/* Where the origin stands in `sorted`, or would. */
static size_t sorted_place(const struct tly_ormap *map, uint64_t origin)
{
    size_t low = 0, high = map->life_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->sorted[middle].origin < origin)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t life_find(const struct tly_ormap *map, uint64_t origin)
{
    if (map->last_life != NO_LIFE && map->lives[map->last_life].origin == origin) return map->last_life;
    size_t at = sorted_place(map, origin);
    return at < map->life_count && map->sorted[at].origin == origin ? map->sorted[at].life : NO_LIFE;
}

static enum tly_result life_need(struct tly_ormap *map, uint64_t origin, uint32_t *life)
{
    *life = life_find(map, origin);
    if (*life != NO_LIFE) {
        map->last_life = *life;
        return TLY_OK;
    }
    if (map->life_count == TLY_ORIGINS_MAX) return TLY_FULL;
    size_t need = map->life_count + 1;
    void *lives = tly_mem_reserve(&map->mem, map->lives, &map->life_capacity, need, sizeof *map->lives);
    if (lives == NULL) return TLY_NOMEM;
    map->lives = lives;
    void *sorted = tly_mem_reserve(&map->mem, map->sorted, &map->sorted_capacity, need, sizeof *map->sorted);
    if (sorted == NULL) return TLY_NOMEM;
    map->sorted = sorted;

    size_t at = sorted_place(map, origin);
    memmove(&map->sorted[at + 1], &map->sorted[at], (map->life_count - at) * sizeof *map->sorted);
    *life = (uint32_t)map->life_count++;
    map->sorted[at] = (struct by_origin){origin, *life};
    map->lives[*life] = (struct life){.origin = origin};
    return TLY_OK;
}

enum tly_result tly_ormap_begin_life(struct tly_ormap *map, uint64_t origin)
{
    /* What was counted in the life that ends stays that life's. */
    enum tly_result result = tly_ormap_seal(map);
    uint32_t life = NO_LIFE;
    if (result == TLY_OK) result = life_need(map, origin, &life);
    if (result == TLY_OK) map->own = life;
    return result;
}

uint64_t tly_ormap_origin(const struct tly_ormap *map)
{
    return map->own == NO_LIFE ? 0 : map->lives[map->own].origin;
}

size_t tly_ormap_lives(const struct tly_ormap *map)
{
    return map->life_count;
}

struct tly_life tly_ormap_life(const struct tly_ormap *map, size_t i)
{
    const struct life *life = &map->lives[i];
    uint64_t last = 0;
    for (size_t at = life->log.count; at-- > 0;) {
        if (life->log.records[at].ts > last) last = life->log.records[at].ts;
        if (at < life->log.ordered) break;
    }
    return (struct tly_life){life->origin, life->mark, last};
}

uint64_t tly_ormap_mark(const struct tly_ormap *map, uint64_t origin)
{
    uint32_t life = life_find(map, origin);
    return life == NO_LIFE ? 0 : map->lives[life].mark;
}

enum tly_result tly_ormap_raise_mark(struct tly_ormap *map, uint64_t origin, uint64_t ts)
{
    uint32_t life;
    enum tly_result result = life_need(map, origin, &life);
    if (result != TLY_OK) return result;
    if (map->lives[life].mark < ts) map->lives[life].mark = ts;
    tly_clock_observe(&map->clock, ts);
    return TLY_OK;
}

/* ---- entries ---- */

static uint64_t hash_of_number(const void *context, uint32_t number)
{
    const struct tly_ormap *map = context;
    return map->entries[number]->hash;
}

static struct tly_entry *find_hashed(const struct tly_ormap *map, struct tly_slice key, uint64_t hash)
{
    struct tly_probe probe = tly_probe_of(&map->index, hash);
    for (uint32_t number; tly_probe_next(&map->index, &probe, &number);) {
        struct tly_entry *entry = map->entries[number];
        if (tly_slice_equal(tly_entry_key(entry), key)) return entry;
    }
    return NULL;
}

struct tly_entry *tly_ormap_find(struct tly_ormap *map, struct tly_slice key)
{
    return find_hashed(map, key, tly_hash(&map->hash_key, key));
}

static bool reserve_number(struct tly_ormap *map)
{
    if (map->free_count > 0) return true;
    size_t need = map->numbers + 1;
    void *entries =
        tly_mem_reserve(&map->mem, map->entries, &map->numbers_capacity, need, sizeof *map->entries);
    if (entries == NULL) return false;
    map->entries = entries;
    void *free_numbers =
        tly_mem_reserve(&map->mem, map->free_numbers, &map->free_capacity, need, sizeof *map->free_numbers);
    if (free_numbers == NULL) return false;
    map->free_numbers = free_numbers;
    return true;
}

static bool reserve_scratch(struct tly_ormap *map, size_t cells)
{
    void *scratch =
        tly_mem_reserve(&map->mem, map->scratch, &map->scratch_capacity, cells, sizeof *map->scratch);
    if (scratch == NULL) return false;
    map->scratch = scratch;
    return true;
}

static enum tly_result need_hashed(struct tly_ormap *map, struct tly_slice key,
                                   const struct tly_strategy *strategy, struct tly_entry **out)
{
    uint64_t hash = tly_hash(&map->hash_key, key);
    *out = find_hashed(map, key, hash);
    if (*out != NULL) return TLY_OK;
    if (map->keys >= map->keys_max) return TLY_FULL;
    if (!reserve_number(map) || !reserve_scratch(map, 1)) return TLY_NOMEM;
    if (!tly_index_reserve(&map->index, &map->mem, hash_of_number, map)) return TLY_NOMEM;
    uint32_t number = map->free_count > 0 ? map->free_numbers[map->free_count - 1] : (uint32_t)map->numbers;
    struct tly_entry *entry = tly_entry_new(&map->mem, strategy, key, hash, number);
    if (entry == NULL) return TLY_NOMEM;
    if (map->free_count > 0)
        map->free_count--;
    else
        map->numbers++;
    map->entries[number] = entry;
    tly_index_add(&map->index, hash, number);
    map->keys++;
    *out = entry;
    return TLY_OK;
}

static enum tly_result strategy_for(const struct tly_ormap *map, struct tly_slice key,
                                    const struct tly_strategy **strategy)
{
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    *strategy = tly_registry_find(map->registry, key);
    return *strategy == NULL ? TLY_NO_STRATEGY : TLY_OK;
}

enum tly_result tly_ormap_need(struct tly_ormap *map, struct tly_slice key, struct tly_entry **out)
{
    const struct tly_strategy *strategy;
    enum tly_result result = strategy_for(map, key, &strategy);
    return result != TLY_OK ? result : need_hashed(map, key, strategy, out);
}

void tly_ormap_tidy(struct tly_ormap *map, struct tly_entry *entry)
{
    if (entry->count > 0) return;
    tly_index_remove(&map->index, entry->hash, entry->number, hash_of_number, map);
    map->entries[entry->number] = NULL;
    map->free_numbers[map->free_count++] = entry->number;
    map->keys--;
    tly_entry_free(&map->mem, entry);
}

static bool resize(struct tly_ormap *map, struct tly_entry **entry, size_t capacity, bool has_local)
{
    struct tly_entry *resized = tly_entry_resize(&map->mem, *entry, capacity, has_local);
    if (resized == NULL) return false;
    map->entries[resized->number] = *entry = resized;
    return true;
}

static bool reserve_cell(struct tly_ormap *map, struct tly_entry **entry)
{
    size_t need = (size_t)(*entry)->count + 1;
    if (!reserve_scratch(map, need)) return false;
    if (need <= (*entry)->capacity) return true;
    return resize(map, entry, need <= 4 ? need : need + need / 2, (*entry)->has_local);
}

enum tly_result tly_entry_need_local(struct tly_ormap *map, struct tly_entry **entry)
{
    if ((*entry)->has_local) return TLY_OK;
    return resize(map, entry, (*entry)->capacity, true) ? TLY_OK : TLY_NOMEM;
}

struct tly_entry *tly_ormap_each(struct tly_ormap *map, size_t *cursor)
{
    while (*cursor < map->numbers) {
        struct tly_entry *entry = map->entries[(*cursor)++];
        if (entry != NULL) return entry;
    }
    return NULL;
}

/* ---- dots ---- */

static struct tly_dot dot_of(const struct tly_ormap *map, const struct tly_entry *entry,
                             const struct tly_cell *cell)
{
    struct tly_dot dot = {
        .version = {cell->ts, map->lives[cell->life].origin},
        .op = cell->op == TLY_REMOVE ? TLY_REMOVE : TLY_PUT,
        .bytes = tly_cell_bytes(entry, cell),
    };
    memcpy(dot.num, cell->word, entry->strategy->nums * sizeof(uint64_t));
    return dot;
}

const struct tly_dot *tly_entry_dots(struct tly_ormap *map, const struct tly_entry *entry, size_t *count)
{
    for (size_t i = 0; i < entry->count; i++)
        map->scratch[i] = dot_of(map, entry, tly_cell_at(entry, i));
    *count = entry->count;
    return map->scratch;
}

void tly_entry_read(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_moment *at,
                    struct tly_value *value)
{
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    entry->strategy->read(dots, count, at, value);
}

/* The nth cell of the record's version, or NULL. */
static const struct tly_cell *recorded_cell(const struct tly_ormap *map, const struct tly_record *record,
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
    return recorded_cell(log->map, record, log->life, nth) != NULL;
}

static bool reserve_record(struct tly_ormap *map, uint32_t life)
{
    return tly_oplog_reserve(&map->lives[life].log, &map->mem);
}

/* Some record of this life no longer has its dot. */
static void record_died(struct tly_ormap *map, uint32_t life)
{
    struct log_context context = {map, life};
    tly_oplog_died(&map->lives[life].log, record_is_live, &context);
}

static void drop_cell(struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    const struct tly_cell *cell = tly_cell_at(entry, i);
    uint32_t life = cell->life;
    bool recorded = cell->ts != 0;
    tly_entry_take_out(&map->mem, entry, i);
    if (recorded) record_died(map, life);
}

static void drop_dominated(struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot)
{
    for (size_t i = 0; i < entry->count;) {
        struct tly_dot other = dot_of(map, entry, tly_cell_at(entry, i));
        if (tly_dominates(entry->strategy, dot, &other))
            drop_cell(map, entry, i);
        else
            i++;
    }
}

/* ---- the own shards ---- */

static bool queue_unsealed(struct tly_ormap *map, struct tly_entry *entry)
{
    if (entry->queued) return true;
    void *list = tly_mem_reserve(&map->mem, map->unsealed, &map->unsealed_capacity, map->unsealed_count + 1,
                                 sizeof *map->unsealed);
    if (list == NULL) return false;
    map->unsealed = list;
    map->unsealed[map->unsealed_count++] = entry->number;
    entry->queued = true;
    return true;
}

static struct tly_cell *own_cell(const struct tly_ormap *map, const struct tly_entry *entry, uint64_t window)
{
    if (map->own == NO_LIFE || !entry->strategy->own_shards) return NULL;
    for (size_t i = 0; i < entry->count; i++) {
        struct tly_cell *cell = tly_cell_at(entry, i);
        if (cell->life == map->own && cell->op == TLY_PUT && cell->word[TLY_SUM_WINDOW] == window)
            return cell;
    }
    return NULL;
}

bool tly_ormap_own(const struct tly_ormap *map, const struct tly_entry *entry, uint64_t window,
                   struct tly_dot *out)
{
    const struct tly_cell *cell = own_cell(map, entry, window);
    if (cell != NULL) *out = dot_of(map, entry, cell);
    return cell != NULL;
}

static void count_into(struct tly_cell *cell, const struct tly_hit *hit)
{
    uint64_t *epoch = &cell->word[TLY_SUM_EPOCH], *count = &cell->word[TLY_SUM_COUNT],
             *aux = &cell->word[TLY_SUM_AUX];
    if (hit->epoch > *epoch) {
        *aux = hit->window != 0 && hit->epoch == *epoch + 1 ? *count : 0;
        *count = 0;
        *epoch = hit->epoch;
    }
    /* An origin's epoch never falls: a hit for the window before goes to aux, an older one still to count. */
    uint64_t *slot = hit->window != 0 && hit->epoch + 1 == *epoch ? aux : count;
    *slot = (uint64_t)tly_clamp_add((int64_t)*slot, hit->units);
    if (hit->window != 0 || hit->keeps_aux) return;
    *aux = (uint64_t)hit->aux;
    cell->says_aux = true;
}

enum tly_result tly_ormap_hit(struct tly_ormap *map, struct tly_entry **entry, const struct tly_hit *hit)
{
    assert(map->own != NO_LIFE && (*entry)->strategy->own_shards);
    if (!queue_unsealed(map, *entry)) return TLY_NOMEM;
    struct tly_cell *cell = own_cell(map, *entry, hit->window);
    if (cell == NULL) {
        if (!reserve_cell(map, entry)) return TLY_NOMEM;
        struct tly_dot fresh = {.op = TLY_PUT, .num = {hit->window, hit->epoch}};
        cell = tly_entry_put_in(&map->mem, *entry, 0, &fresh, map->own);
        if (cell == NULL) return TLY_NOMEM;
    }
    cell->unsealed = true;
    count_into(cell, hit);
    return TLY_OK;
}

bool tly_ormap_is_unsealed(const struct tly_ormap *map)
{
    return map->unsealed_count > 0;
}

/*
 * The newest dot's deadline counts, and cell i is about to be the newest: one that it only goes on carrying, and that
 * another origin has replaced since, must not be said again.
 */
static void forget_replaced_aux(const struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    struct tly_cell *own = tly_cell_at(entry, i);
    if (own->word[TLY_SUM_WINDOW] != 0 || own->says_aux) return;
    struct tly_version last = {own->ts, map->lives[own->life].origin};
    for (size_t j = 0; j < entry->count; j++) {
        struct tly_dot other = dot_of(map, entry, tly_cell_at(entry, j));
        bool replaces = other.op == TLY_PUT && other.num[TLY_SUM_WINDOW] == 0 &&
                        other.num[TLY_SUM_AUX] != 0 && other.num[TLY_SUM_EPOCH] == own->word[TLY_SUM_EPOCH] &&
                        tly_version_compare(other.version, last) > 0;
        if (replaces) own->word[TLY_SUM_AUX] = 0;
    }
}

/* Gives cell i its version; what the entry then holds is again what a join would leave. */
static enum tly_result seal_cell(struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    if (!reserve_record(map, map->own)) return TLY_NOMEM;
    uint64_t ts, old = tly_cell_at(entry, i)->ts;
    enum tly_result result = tly_clock_next(&map->clock, &ts);
    if (result != TLY_OK) return result;
    forget_replaced_aux(map, entry, i);
    struct tly_cell *cell = tly_entry_move_last(entry, i);
    cell->ts = ts;
    cell->unsealed = cell->says_aux = false;
    map->lives[map->own].mark = ts;
    tly_oplog_append(&map->lives[map->own].log, (struct tly_record){ts, entry->number});
    if (old != 0) record_died(map, map->own);
    struct tly_dot sealed = dot_of(map, entry, cell);
    drop_dominated(map, entry, &sealed);
    return TLY_OK;
}

static enum tly_result seal_entry(struct tly_ormap *map, struct tly_entry *entry)
{
    for (size_t i = 0; i < entry->count;) {
        if (!tly_cell_at(entry, i)->unsealed) {
            i++;
            continue;
        }
        enum tly_result result = seal_cell(map, entry, i);
        if (result != TLY_OK) return result;
        i = 0;
    }
    entry->queued = false;
    return TLY_OK;
}

enum tly_result tly_ormap_seal(struct tly_ormap *map)
{
    while (map->unsealed_count > 0) {
        uint32_t number = map->unsealed[map->unsealed_count - 1];
        struct tly_entry *entry = map->entries[number];
        if (entry != NULL && entry->queued) {
            enum tly_result result = seal_entry(map, entry);
            if (result != TLY_OK) return result;
        }
        map->unsealed_count--;
    }
    return TLY_OK;
}

/* ---- joining ---- */

/* The place that keeps the cells in the order of tly_dot_compare. */
static size_t place_for(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    size_t at = entry->count;
    while (at > 0) {
        struct tly_dot other = dot_of(map, entry, tly_cell_at(entry, at - 1));
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
        struct tly_dot other = dot_of(map, entry, cell);
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
    if (restarts && holds_own(map, entry) && !queue_unsealed(map, entry)) return TLY_NOMEM;
    if (!reserve_cell(map, &entry) || !reserve_record(map, life)) return TLY_NOMEM;
    const struct tly_cell *cell = tly_entry_put_in(&map->mem, entry, place_for(map, entry, dot), dot, life);
    if (cell == NULL) return TLY_NOMEM;
    tly_oplog_append(&map->lives[life].log, (struct tly_record){dot->version.ts, entry->number});
    /* The bytes that came with the dot may be those of one that goes now. */
    struct tly_dot placed = dot_of(map, entry, cell);
    drop_dominated(map, entry, &placed);
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
    enum tly_result result = strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    if (!tly_clock_admits(&map->clock, dot->version.ts)) return TLY_CLOCK_AHEAD;
    /* A generation is made from the clock, so it is held to the same horizon. */
    bool generation = strategy->id == TLY_EPOCH_SUM && dot->op == TLY_PUT && dot->num[TLY_SUM_WINDOW] == 0;
    if (generation && !tly_clock_admits(&map->clock, dot->num[TLY_SUM_EPOCH])) return TLY_CLOCK_AHEAD;
    return TLY_OK;
}

enum tly_result tly_ormap_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    const struct tly_strategy *strategy;
    enum tly_result result = strategy_for(map, key, &strategy);
    if (result != TLY_OK) return result;
    *outcome = TLY_MALFORMED;
    if (tly_dot_check(strategy, dot) != TLY_OK) return TLY_OK;
    *outcome = TLY_FORGED;
    if (dot->version.origin == tly_ormap_origin(map)) return TLY_OK;

    uint32_t life;
    result = life_need(map, dot->version.origin, &life);
    if (result != TLY_OK) return result;
    struct tly_entry *entry = tly_ormap_find(map, key);
    *outcome = entry != NULL ? judge(map, entry, dot) : TLY_APPLIED;
    if (*outcome == TLY_APPLIED && dot->version.ts <= map->lives[life].mark) *outcome = TLY_DROPPED;
    if (*outcome == TLY_APPLIED) {
        if (entry == NULL) result = need_hashed(map, key, strategy, &entry);
        if (result == TLY_OK) result = insert_or_tidy(map, entry, dot, life);
    }
    if (result == TLY_OK) tly_clock_observe(&map->clock, dot->version.ts);
    return result;
}

static enum tly_result check_frontier(const struct tly_ormap *map, const struct tly_entry *entry,
                                      const struct tly_dot *dot)
{
    size_t stay = 0;
    for (size_t i = 0; i < entry->count; i++) {
        struct tly_dot other = dot_of(map, entry, tly_cell_at(entry, i));
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
    assert(map->own != NO_LIFE);
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

/* ---- sweeping, scanning, comparing ---- */

static size_t sweep_entry(struct tly_ormap *map, struct tly_entry *entry, tly_gone *gone, void *context)
{
    size_t dropped = 0;
    for (size_t i = 0; i < entry->count;) {
        struct tly_dot dot = dot_of(map, entry, tly_cell_at(entry, i));
        if (dot.op == TLY_PUT && gone(context, tly_entry_key(entry), entry->strategy, &dot)) {
            drop_cell(map, entry, i);
            dropped++;
        } else {
            i++;
        }
    }
    tly_ormap_tidy(map, entry);
    return dropped;
}

size_t tly_ormap_sweep(struct tly_ormap *map, size_t *cursor, size_t budget, tly_gone *gone, void *context)
{
    size_t dropped = 0;
    for (; budget > 0 && *cursor < map->numbers; budget--, (*cursor)++)
        if (map->entries[*cursor] != NULL) dropped += sweep_entry(map, map->entries[*cursor], gone, context);
    if (*cursor >= map->numbers) *cursor = 0;
    return dropped;
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
        const struct tly_cell *cell = recorded_cell(map, record, scan->life, nth);
        if (cell == NULL) continue;
        assert(!cell->unsealed);
        const struct tly_entry *entry = map->entries[record->entry];
        *out = (struct tly_scanned){tly_entry_key(entry), entry->strategy, dot_of(map, entry, cell)};
        return true;
    }
    return false;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    a ^= a >> 32;
    a *= UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

static uint64_t mix_bytes(uint64_t a, struct tly_slice bytes)
{
    a = mix(a, bytes.n);
    for (size_t i = 0; i < bytes.n; i++)
        a = mix(a, bytes.p[i]);
    return a;
}

uint64_t tly_ormap_digest(struct tly_ormap *map)
{
    uint64_t sum = 0;
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;) {
        uint64_t digest = mix_bytes(entry->strategy->id, tly_entry_key(entry));
        for (size_t i = 0; i < entry->count; i++) {
            struct tly_dot dot = dot_of(map, entry, tly_cell_at(entry, i));
            digest = mix(mix(mix(digest, dot.version.ts), dot.version.origin), dot.op);
            for (size_t word = 0; word < TLY_NUMS_MAX; word++)
                digest = mix(digest, dot.num[word]);
            digest = mix_bytes(digest, dot.bytes);
        }
        sum += digest;
    }
    return sum;
}

/* Dots of a life that have a record: all that were ever sealed. */
static size_t recorded_cells(const struct tly_ormap *map, uint32_t life)
{
    size_t count = 0;
    for (size_t number = 0; number < map->numbers; number++) {
        const struct tly_entry *entry = map->entries[number];
        for (size_t i = 0; entry != NULL && i < entry->count; i++)
            count += tly_cell_at(entry, i)->life == life && tly_cell_at(entry, i)->ts != 0;
    }
    return count;
}

static void check_entry(const struct tly_ormap *map, const struct tly_entry *entry)
{
    assert(entry->count > 0 && entry->count <= entry->capacity && entry->count <= map->scratch_capacity);
    assert(find_hashed(map, tly_entry_key(entry), entry->hash) == entry);
    for (size_t i = 0; i < entry->count; i++) {
        const struct tly_cell *cell = tly_cell_at(entry, i);
        assert(cell->life < map->life_count);
        assert(!cell->unsealed || (cell->life == map->own && entry->queued));
        struct tly_dot a = dot_of(map, entry, cell);
        for (size_t j = 0; j < entry->count; j++) {
            struct tly_dot b = dot_of(map, entry, tly_cell_at(entry, j));
            assert(cell->unsealed || tly_cell_at(entry, j)->unsealed ||
                   !tly_dominates(entry->strategy, &a, &b));
            (void)b;
        }
        (void)a;
    }
}

void tly_ormap_check(const struct tly_ormap *map)
{
    size_t keys = 0;
    for (size_t i = 0; i < map->numbers; i++) {
        if (map->entries[i] == NULL) continue;
        check_entry(map, map->entries[i]);
        keys++;
    }
    assert(keys == map->keys && keys == map->index.used && keys + map->free_count == map->numbers);
    for (uint32_t life = 0; life < map->life_count; life++) {
        const struct tly_oplog *log = &map->lives[life].log;
        size_t live = recorded_cells(map, life), found = 0;
        for (size_t i = 0; i < log->count; i++)
            found += recorded_cell(map, &log->records[i], life, 0) != NULL;
        assert(live + log->dead == log->count && live <= found);
        (void)found;
        assert(log->dead <= (live > 64 ? live : 64) + 1);
    }
}
