/* Own shards: counted in place, sealed before a hand-off. */
#include "crdt/cell.h"
#include "crdt/ormap_impl.h"

#include "crdt/epoch_sum.h"

/* ---- the list of what to seal ---- */

bool tly_map_queue_unsealed(struct tly_ormap *map, const struct tly_place *place)
{
    if ((place->entry->flags & TLY_ENTRY_QUEUED) != 0) return true;
    struct tly_unsealed *top = map->unsealed;
    if (top == NULL || top->count == TLY_UNSEALED_PIECE) {
        top = tly_mem_new(&map->mem, sizeof *top);
        if (top == NULL) return false;
        top->below = map->unsealed;
        top->count = 0;
        map->unsealed = top;
    }
    tly_map_touch(map, place->entry); /* counting overwrites what was sealed */
    top->hashes[top->count++] = place->hash;
    place->entry->flags |= TLY_ENTRY_QUEUED;
    return true;
}

static void pop(struct tly_ormap *map)
{
    struct tly_unsealed *top = map->unsealed;
    if (--top->count > 0) return;
    map->unsealed = top->below;
    tly_mem_free(&map->mem, top, sizeof *top);
}

void tly_map_free_unsealed(struct tly_ormap *map)
{
    for (struct tly_unsealed *top; (top = map->unsealed) != NULL;) {
        map->unsealed = top->below;
        tly_mem_free(&map->mem, top, sizeof *top);
    }
}

bool tly_ormap_is_unsealed(const struct tly_ormap *map)
{
    return map->unsealed != NULL;
}

/* ---- counting ---- */

/* The own shard of a window and its number among the cells; TLY_NO_CELL: there is none. */
static size_t own_cell(const struct tly_ormap *map, const struct tly_entry *entry, uint64_t window,
                       struct tly_cell *cell)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    if (map->own == TLY_NO_LIFE || !strategy->own_shards) return TLY_NO_CELL;
    struct tly_cells cells = tly_cells_of(entry, strategy);
    for (size_t i = 0; tly_cell_read(&cells, cell); i++)
        if (cell->life == map->own && cell->dot.op == TLY_PUT && cell->dot.num[TLY_SUM_WINDOW] == window)
            return i;
    return TLY_NO_CELL;
}

bool tly_ormap_own(const struct tly_ormap *map, const struct tly_entry *entry, uint64_t window,
                   struct tly_dot *out)
{
    struct tly_cell cell;
    if (own_cell(map, entry, window, &cell) == TLY_NO_CELL) return false;
    *out = cell.dot;
    out->version.origin = tly_ormap_origin(map);
    return true;
}

static void count_into(struct tly_cell *cell, const struct tly_hit *hit)
{
    uint64_t *num = cell->dot.num;
    uint64_t *epoch = &num[TLY_SUM_EPOCH], *count = &num[TLY_SUM_COUNT], *aux = &num[TLY_SUM_AUX];
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

/* Writes a cell that was read from the entry and changed over itself; false: it takes other room now. */
static bool put_same(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_cell *cell)
{
    return tly_cell_put_same((uint8_t *)(uintptr_t)cell->at, cell->size, tly_map_strategy(map, entry), cell);
}

/* Puts the cell in the place of number i, or first when there was none. */
static bool put_shard(struct tly_ormap *map, struct tly_place *place, size_t i, const struct tly_cell *cell)
{
    struct tly_plan plan = {.fresh = cell, .place = i == TLY_NO_CELL ? 0 : i, .skip = i};
    struct tly_room room;
    if (!tly_map_make_room(map, place, &plan, &room)) return false;
    tly_map_carry_out(map, place, &plan, &room);
    return true;
}

enum tly_result tly_ormap_hit(struct tly_ormap *map, struct tly_entry **entry, const struct tly_hit *hit)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, *entry);
    assert(map->own != TLY_NO_LIFE && strategy->own_shards);
    if (((*entry)->flags & (TLY_ENTRY_HELD | TLY_ENTRY_QUEUED)) == TLY_ENTRY_HELD) {
        struct tly_place place = {.hash = tly_map_hash_of(map, *entry), .entry = *entry};
        if (!tly_map_queue_unsealed(map, &place)) return TLY_NOMEM;
    }
    tly_map_lose_sums(*entry);
    if (tly_quick_hit(map, *entry, hit)) return TLY_OK;
    struct tly_cell cell;
    size_t i = own_cell(map, *entry, hit->window, &cell);
    if (i == TLY_NO_CELL)
        cell = (struct tly_cell){.dot = {.num = {hit->window, hit->epoch}}, .life = map->own};
    count_into(&cell, hit);
    cell.unsealed = true;
    struct tly_place place = tly_map_place_of(map, *entry);
    if (!tly_map_queue_unsealed(map, &place)) return TLY_NOMEM;
    if (i != TLY_NO_CELL && put_same(map, *entry, &cell)) return TLY_OK;
    if (!put_shard(map, &place, i, &cell)) return TLY_NOMEM;
    *entry = place.entry;
    return TLY_OK;
}

/* ---- sealing ---- */

/*
 * The newest dot's deadline counts, and this cell is about to be the newest: one that it only goes on carrying, and that
 * another origin has replaced since, must not be said again.
 */
static void forget_replaced_aux(const struct tly_ormap *map, const struct tly_entry *entry,
                                struct tly_cell *own)
{
    const uint64_t *num = own->dot.num;
    if (num[TLY_SUM_WINDOW] != 0 || num[TLY_SUM_AUX] == 0 || own->says_aux) return;
    struct tly_cells cells = tly_map_cells(map, entry);
    bool replaced = false;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
        const struct tly_dot *other = &cell.dot;
        replaced =
            replaced || (other->op == TLY_PUT && other->num[TLY_SUM_WINDOW] == 0 &&
                         other->num[TLY_SUM_AUX] != 0 && other->num[TLY_SUM_EPOCH] == num[TLY_SUM_EPOCH] &&
                         tly_version_compare(other->version, own->dot.version) > 0);
    }
    if (replaced) own->dot.num[TLY_SUM_AUX] = 0;
}

/*
 * A counter that ended is dropped once everything up to its deadline is known everywhere (crdt/forget.h). What was counted before
 * the deadline and is sealed long after it must then not stand alone as a counter without an end: it says the deadline itself.
 */
static void say_passed_deadline(const struct tly_ormap *map, const struct tly_entry *entry,
                                struct tly_cell *own, uint64_t ts)
{
    const uint64_t *num = own->dot.num;
    if (num[TLY_SUM_WINDOW] != 0 || num[TLY_SUM_AUX] != 0) return;
    struct tly_cells cells = tly_map_cells(map, entry);
    struct tly_version newest = {0};
    uint64_t aux = 0, skew = map->clock.max_skew_ns;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
        const struct tly_dot *other = &cell.dot;
        bool carries = other->op == TLY_PUT && other->num[TLY_SUM_WINDOW] == 0 &&
                       other->num[TLY_SUM_AUX] != 0 && other->num[TLY_SUM_EPOCH] == num[TLY_SUM_EPOCH];
        if (!carries || tly_version_compare(other->version, newest) <= 0) continue;
        newest = other->version;
        aux = other->num[TLY_SUM_AUX];
    }
    bool is_deadline = (int64_t)aux > 0 && aux != (uint64_t)TLY_DEADLINE_NONE;
    if (is_deadline && ts > skew && (ts - skew) / 1000000 >= aux) own->dot.num[TLY_SUM_AUX] = aux;
}

/* Gives cell i its version; what the entry then holds is again what a join would leave. */
static enum tly_result seal_cell(struct tly_ormap *map, struct tly_place *place, size_t i,
                                 const struct tly_cell *cell, bool alone)
{
    struct tly_clock clock = map->clock;
    struct tly_cell sealed = *cell;
    uint64_t ts, old = cell->dot.version.ts;
    enum tly_result result = tly_clock_next(&clock, &ts);
    if (result != TLY_OK) return result;
    forget_replaced_aux(map, place->entry, &sealed);
    say_passed_deadline(map, place->entry, &sealed, ts);
    sealed.dot.version.ts = ts;
    sealed.unsealed = sealed.says_aux = false;
    struct tly_plan plan = {.fresh = &sealed, .place = TLY_AT_END, .skip = i, .over = &sealed.dot};
    struct tly_room room;
    if (!tly_map_reserve_record(map, map->own, ts)) return TLY_NOMEM;
    bool written = alone && put_same(map, place->entry, &sealed);
    if (!written && !tly_map_make_room(map, place, &plan, &room)) return TLY_NOMEM;
    map->clock.last = clock.last;
    map->lives[map->own].mark = ts;
    tly_map_add_record(map, map->own, ts, place->hash);
    if (old != 0) tly_map_remove_record(map, map->own, old, place->hash);
    if (!written) tly_map_carry_out(map, place, &plan, &room);
    return TLY_OK;
}

/* The first that is unsealed, and whether it is all that the entry has. */
static size_t unsealed_cell(const struct tly_ormap *map, const struct tly_entry *entry, struct tly_cell *cell,
                            bool *alone)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    for (size_t i = 0; tly_map_next(map, &cells, cell); i++) {
        *alone = i == 0 && cells.next == NULL;
        if (cell->unsealed) return i;
    }
    return TLY_NO_CELL;
}

/* The usual case: one shard of the entry is unsealed. */
static enum tly_result seal_usual(struct tly_ormap *map, struct tly_place *place)
{
    struct tly_clock clock = map->clock;
    uint64_t ts;
    enum tly_result result = tly_clock_next(&clock, &ts);
    if (result != TLY_OK) return result;
    result = tly_quick_seal(map, place, ts);
    if (result != TLY_OK) return result;
    map->clock.last = clock.last;
    map->lives[map->own].mark = ts;
    return TLY_OK;
}

static enum tly_result seal_any(struct tly_ormap *map, struct tly_place *place)
{
    struct tly_cell cell;
    bool alone = false;
    for (size_t i; (i = unsealed_cell(map, place->entry, &cell, &alone)) != TLY_NO_CELL;) {
        enum tly_result result = seal_cell(map, place, i, &cell, alone);
        if (result != TLY_OK) return result;
        if (alone) break;
    }
    return TLY_OK;
}

static enum tly_result seal_entry(struct tly_ormap *map, struct tly_place *place)
{
    enum tly_result result = seal_usual(map, place);
    if (result == TLY_MORE || result == TLY_CLOCK_END) result = seal_any(map, place);
    if (result == TLY_OK) place->entry->flags &= (uint8_t)~TLY_ENTRY_QUEUED;
    return result;
}

/* Seals the entries of one hash that want it; those that were gone and came again may not. */
static enum tly_result seal_hash(struct tly_ormap *map, uint32_t hash)
{
    struct tly_slot *slot = tly_index_find(&map->index, hash);
    for (; slot != NULL; slot = tly_index_again(slot)) {
        struct tly_place place = {hash, slot, tly_map_entry(map, slot)};
        if ((place.entry->flags & TLY_ENTRY_QUEUED) == 0) continue;
        enum tly_result result = seal_entry(map, &place);
        if (result != TLY_OK) return result;
    }
    return TLY_OK;
}

void tly_map_look_ahead(const struct tly_ormap *map, const struct tly_unsealed *piece, size_t left)
{
    if (left > 16) tly_index_prefetch(&map->index, piece->hashes[left - 17]);
    if (left <= 8) return;
    const struct tly_slot *slot = tly_index_find(&map->index, piece->hashes[left - 9]);
    if (slot != NULL) tly_map_prefetch(map, slot);
}

enum tly_result tly_ormap_seal(struct tly_ormap *map)
{
    while (map->unsealed != NULL) {
        const struct tly_unsealed *top = map->unsealed;
        tly_map_look_ahead(map, top, top->count);
        enum tly_result result = seal_hash(map, top->hashes[top->count - 1]);
        if (result != TLY_OK) return result;
        pop(map);
    }
    return TLY_OK;
}

enum tly_result tly_ormap_seal_by(struct tly_ormap *map, tly_rank *rank, void *context)
{
    tly_map_order_unsealed(map, rank, context);
    return tly_ormap_seal(map);
}
