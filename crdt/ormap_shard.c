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

/* Gives cell i its version; what the entry then holds is again what a join would leave. */
static enum tly_result seal_cell(struct tly_ormap *map, struct tly_entry *entry, size_t i)
{
    if (!tly_map_reserve_record(map, map->own)) return TLY_NOMEM;
    uint64_t ts, old = tly_cell_at(entry, i)->ts;
    enum tly_result result = tly_clock_next(&map->clock, &ts);
    if (result != TLY_OK) return result;
    forget_replaced_aux(map, entry, i);
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

#define SORT_BITS 11

static void sort_turn(const uint32_t *from, uint32_t *to, size_t count, unsigned shift)
{
    const uint32_t last = (1u << SORT_BITS) - 1;
    size_t place[1u << SORT_BITS] = {0};
    for (size_t i = 0; i < count; i++)
        place[last - (from[i] >> shift & last)]++;
    for (size_t i = 0, sum = 0, here; i <= last; i++, sum += here) {
        here = place[i];
        place[i] = sum;
    }
    for (size_t i = 0; i < count; i++)
        to[place[last - (from[i] >> shift & last)]++] = from[i];
}

/* Few are moved to their places one by one. */
static void sort_few(uint32_t *numbers, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint32_t number = numbers[i];
        size_t at = i;
        for (; at > 0 && numbers[at - 1] < number; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = number;
    }
}

/*
 * Entries are sealed in the order of their numbers, so that versions rise with them from flush to flush and whoever sends them
 * sorted needs to say neither order. The last of the list is sealed first. Without memory any order will do.
 */
static void order_unsealed(struct tly_ormap *map)
{
    size_t count = map->unsealed_count;
    if (count <= 32) {
        sort_few(map->unsealed, count);
        return;
    }
    void *other = tly_mem_reserve(&map->mem, map->unsealed_other, &map->unsealed_other_capacity, count,
                                  sizeof *map->unsealed_other);
    if (other == NULL) return;
    map->unsealed_other = other;
    for (unsigned shift = 0; shift < 32; shift += SORT_BITS) {
        if (map->numbers >> shift == 0) break;
        sort_turn(map->unsealed, map->unsealed_other, count, shift);
        memcpy(map->unsealed, map->unsealed_other, count * sizeof *map->unsealed);
    }
}

enum tly_result tly_ormap_seal(struct tly_ormap *map)
{
    order_unsealed(map);
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
