/* Own shards: counted in place, sealed before a hand-off. */
#include "crdt/ormap_impl.h"

#include "crdt/epoch_sum.h"

#include <assert.h>

bool tly_map_queue_unsealed(struct tly_ormap *map, struct tly_entry *entry)
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
    if (map->own == TLY_NO_LIFE || !entry->strategy->own_shards) return NULL;
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
    if (cell != NULL) *out = tly_map_dot_of(map, entry, cell);
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
    assert(map->own != TLY_NO_LIFE && (*entry)->strategy->own_shards);
    if (!tly_map_queue_unsealed(map, *entry)) return TLY_NOMEM;
    struct tly_cell *cell = own_cell(map, *entry, hit->window);
    if (cell == NULL) {
        if (!tly_map_reserve_cell(map, entry)) return TLY_NOMEM;
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
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, j));
        bool replaces = other.op == TLY_PUT && other.num[TLY_SUM_WINDOW] == 0 &&
                        other.num[TLY_SUM_AUX] != 0 && other.num[TLY_SUM_EPOCH] == own->word[TLY_SUM_EPOCH] &&
                        tly_version_compare(other.version, last) > 0;
        if (replaces) own->word[TLY_SUM_AUX] = 0;
    }
}

/*
 * A counter that ended is dropped once everything up to its deadline is known everywhere (crdt/forget.h). What was counted before
 * the deadline and is sealed long after it must then not stand alone as a counter without an end: it says the deadline itself.
 */
static void say_passed_deadline(const struct tly_ormap *map, struct tly_entry *entry, size_t i, uint64_t ts)
{
    struct tly_cell *own = tly_cell_at(entry, i);
    if (own->word[TLY_SUM_WINDOW] != 0 || own->word[TLY_SUM_AUX] != 0) return;
    size_t newest = i;
    for (size_t j = 0; j < entry->count; j++) {
        struct tly_dot other = tly_map_dot_of(map, entry, tly_cell_at(entry, j));
        struct tly_dot best = tly_map_dot_of(map, entry, tly_cell_at(entry, newest));
        bool carries = other.op == TLY_PUT && other.num[TLY_SUM_WINDOW] == 0 && other.num[TLY_SUM_AUX] != 0 &&
                       other.num[TLY_SUM_EPOCH] == own->word[TLY_SUM_EPOCH];
        if (carries && (newest == i || tly_version_compare(other.version, best.version) > 0)) newest = j;
    }
    uint64_t aux = tly_cell_at(entry, newest)->word[TLY_SUM_AUX], skew = map->clock.max_skew_ns;
    bool is_deadline = (int64_t)aux > 0 && aux != (uint64_t)TLY_DEADLINE_NONE;
    if (is_deadline && ts > skew && (ts - skew) / 1000000 >= aux) own->word[TLY_SUM_AUX] = aux;
}

/* Gives cell i its version; what the entry then holds is again what a join would leave. */
static enum tly_result seal_cell(struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    if (!tly_map_reserve_record(map, map->own)) return TLY_NOMEM;
    uint64_t ts, old = tly_cell_at(entry, i)->ts;
    enum tly_result result = tly_clock_next(&map->clock, &ts);
    if (result != TLY_OK) return result;
    forget_replaced_aux(map, entry, i);
    say_passed_deadline(map, entry, i, ts);
    struct tly_cell *cell = tly_entry_move_last(entry, i);
    cell->ts = ts;
    cell->unsealed = cell->says_aux = false;
    map->lives[map->own].mark = ts;
    tly_oplog_append(&map->lives[map->own].log, (struct tly_record){ts, entry->number});
    if (old != 0) tly_map_record_died(map, map->own);
    struct tly_dot sealed = tly_map_dot_of(map, entry, cell);
    tly_map_drop_dominated(map, entry, &sealed);
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
