/*
 * Changing the cells of an entry: what stays is copied, what is new is put among it, in a new block or where the old cells
 * were.  Memory is taken before anything changes, so that a change happens whole or not at all.
 */
#include "crdt/cell.h"
#include "crdt/ormap_impl.h"

#include "crdt/epoch_sum.h"

/* Cells that stay in their block are put together here first: the new one may borrow its bytes from an old one. */
#define ASIDE_BYTES 512u

/* How the parts of a plan are applied to one cell; `goes` is known for the first 64 once the plan was measured. */
static bool cell_goes(const struct tly_plan *plan, const struct tly_strategy *strategy, size_t i,
                      const struct tly_cell *cell)
{
    return i == plan->skip || (plan->over != NULL && tly_dominates(strategy, plan->over, &cell->dot));
}

static bool went(const struct tly_plan *plan, const struct tly_room *room,
                 const struct tly_strategy *strategy, size_t i, const struct tly_cell *cell)
{
    return i < 64 ? (room->goes >> i & 1) != 0 : cell_goes(plan, strategy, i, cell);
}

/* What is left of the own shards after a REMOVE starts from nothing, else the next flush would bring all back. */
static inline bool restart(const struct tly_ormap *map, const struct tly_plan *plan, struct tly_cell *cell)
{
    if (!plan->restarts || cell->life != map->own || cell->dot.op != TLY_PUT) return false;
    cell->dot.num[TLY_SUM_COUNT] = cell->dot.num[TLY_SUM_AUX] = 0;
    cell->unsealed = true;
    return true;
}

/* Bytes and number of the cells that there will be. */
static size_t measure(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_plan *plan,
                      struct tly_room *room)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    struct tly_cells cells = tly_map_cells(map, entry);
    size_t count = 0, i = 0;
    *room = (struct tly_room){0};
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); i++) {
        bool goes = cell_goes(plan, strategy, i, &cell);
        if (goes && i < 64) room->goes |= UINT64_C(1) << i;
        if (goes) continue;
        room->cells_bytes += restart(map, plan, &cell) ? tly_cell_size(strategy, &cell) : cell.size;
        count++;
    }
    if (plan->fresh == NULL) return count;
    room->cells_bytes += tly_cell_size(strategy, plan->fresh);
    return count + 1;
}

static bool reserve_scratch(struct tly_ormap *map, size_t cells)
{
    void *scratch =
        tly_mem_reserve(&map->mem, map->scratch, &map->scratch_capacity, cells, sizeof *map->scratch);
    if (scratch == NULL) return false;
    map->scratch = scratch;
    return true;
}

bool tly_map_make_room(struct tly_ormap *map, const struct tly_place *place, const struct tly_plan *plan,
                       struct tly_room *room)
{
    const struct tly_entry *entry = place->entry;
    size_t count = measure(map, entry, plan, room);
    if (count > map->scratch_capacity && !reserve_scratch(map, count)) return false;
    bool has_local = (entry->flags & TLY_ENTRY_LOCAL) != 0;
    size_t wanted = tly_entry_size(tly_entry_key_bytes(entry), has_local, room->cells_bytes);
    size_t has = tly_arena_room(&map->arena, place->slot->ref);
    bool stays = wanted <= has && has - wanted < TLY_SPARE_BYTES + wanted / 4;
    if (stays && room->cells_bytes <= ASIDE_BYTES) return true;
    room->ref = tly_arena_new(&map->arena, &map->mem, wanted);
    return room->ref != 0;
}

/* Cells as they are written, one behind the other. */
struct pen {
    uint8_t *next, *last; /* last: where the last one begins, or NULL */
};

static void copy_cell(struct pen *pen, const struct tly_cell *cell)
{
    memmove(pen->next, cell->at, cell->size);
    pen->last = pen->next;
    tly_cell_mark_last(pen->last, false);
    pen->next += cell->size;
}

static void write_cell(struct pen *pen, const struct tly_strategy *strategy, const struct tly_cell *cell)
{
    pen->last = pen->next;
    pen->next = tly_cell_put(pen->next, strategy, cell);
}

static void lose_record(struct tly_ormap *map, uint32_t hash, const struct tly_cell *cell)
{
    if (cell->dot.op == TLY_REMOVE) map->removes--;
    if (cell->dot.version.ts != 0) tly_map_remove_record(map, cell->life, cell->dot.version.ts, hash);
}

/* Whether anything was written. */
static bool write_cells(struct tly_ormap *map, const struct tly_place *place, const struct tly_plan *plan,
                        const struct tly_room *room, uint8_t *out)
{
    const struct tly_strategy *strategy = tly_map_strategy(map, place->entry);
    struct tly_cells cells = tly_map_cells(map, place->entry);
    struct pen pen = {.next = out};
    size_t i = 0;
    bool waits = plan->fresh != NULL;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); i++) {
        if (waits && i == plan->place) write_cell(&pen, strategy, plan->fresh);
        waits = waits && i != plan->place;
        if (went(plan, room, strategy, i, &cell)) {
            if (i != plan->skip) lose_record(map, place->hash, &cell);
        } else if (restart(map, plan, &cell)) {
            write_cell(&pen, strategy, &cell);
        } else {
            copy_cell(&pen, &cell);
        }
    }
    if (waits) write_cell(&pen, strategy, plan->fresh);
    if (pen.last != NULL) tly_cell_mark_last(pen.last, true);
    return pen.last != NULL;
}

static void set_held(struct tly_entry *entry, bool held)
{
    entry->flags = (uint8_t)((entry->flags & ~TLY_ENTRY_HELD) | (held ? TLY_ENTRY_HELD : 0));
}

static void move_entry(struct tly_ormap *map, struct tly_place *place, const struct tly_plan *plan,
                       const struct tly_room *room)
{
    uint8_t *block = tly_arena_at(&map->arena, room->ref);
    size_t offset = tly_entry_cells_offset(place->entry);
    bool held = write_cells(map, place, plan, room, block + offset);
    memcpy(block, place->entry, offset);
    tly_arena_free(&map->arena, &map->mem, place->slot->ref);
    map->known = NULL;
    place->slot->ref = room->ref;
    place->entry = (struct tly_entry *)(void *)block;
    set_held(place->entry, held);
}

void tly_map_carry_out(struct tly_ormap *map, struct tly_place *place, const struct tly_plan *plan,
                       const struct tly_room *room)
{
    tly_map_touch(map, place->entry);
    if (plan->restarts && tly_entry_local(place->entry) != NULL)
        memset(tly_entry_local(place->entry), 0, TLY_LOCAL_WORDS * sizeof(uint64_t));
    map->changes++;
    if (room->ref != 0) {
        move_entry(map, place, plan, room);
        return;
    }
    uint8_t aside[ASIDE_BYTES];
    set_held(place->entry, write_cells(map, place, plan, room, aside));
    memcpy((uint8_t *)place->entry + tly_entry_cells_offset(place->entry), aside, room->cells_bytes);
}

/* ---- an entry under another strategy ---- */

uint32_t tly_map_write_block(struct tly_ormap *map, struct tly_slice key, const struct tly_strategy *strategy,
                             const struct tly_dot *dots, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct tly_cell cell = {.dot = dots[i], .life = tly_map_life_find(map, dots[i].version.origin)};
        bytes += tly_cell_size(strategy, &cell);
    }
    uint32_t ref = tly_arena_new(&map->arena, &map->mem, tly_entry_size(key.n, false, bytes));
    if (ref == 0) return 0;
    struct tly_entry *entry = tly_entry_make(tly_arena_at(&map->arena, ref), strategy, key);
    struct pen pen = {.next = (uint8_t *)entry + tly_entry_cells_offset(entry)};
    for (size_t i = 0; i < count; i++) {
        struct tly_cell cell = {.dot = dots[i], .life = tly_map_life_find(map, dots[i].version.origin)};
        write_cell(&pen, strategy, &cell);
    }
    if (pen.last != NULL) tly_cell_mark_last(pen.last, true);
    set_held(entry, pen.last != NULL);
    return ref;
}

/* Whether a dot of this version and kind is the entry's. */
static bool has_version(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot)
{
    struct tly_cells cells = tly_map_cells(map, entry);
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);)
        if (cell.dot.op == dot->op && tly_version_compare(cell.dot.version, dot->version) == 0) return true;
    return false;
}

void tly_map_use_block(struct tly_ormap *map, struct tly_place *place, uint32_t ref)
{
    struct tly_entry *next = tly_arena_at(&map->arena, ref);
    struct tly_version kept = {0};
    tly_map_touch(map, place->entry);
    struct tly_cells cells = tly_map_cells(map, place->entry);
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell);) {
        /* Cells ascend by version: two of one version, which nobody but a forger makes, keep one record. */
        bool stays = has_version(map, next, &cell.dot) && tly_version_compare(kept, cell.dot.version) != 0;
        if (stays)
            kept = cell.dot.version;
        else
            lose_record(map, place->hash, &cell);
    }
    tly_arena_free(&map->arena, &map->mem, place->slot->ref);
    map->known = NULL;
    map->changes++;
    place->slot->ref = ref;
    place->entry = next;
}

/* An entry that lost cells moves to a smaller block if it pays and there is memory. */
static void fit(struct tly_ormap *map, struct tly_place *place)
{
    static const struct tly_plan nothing = {.skip = TLY_NO_CELL};
    struct tly_room room;
    if (tly_map_make_room(map, place, &nothing, &room)) tly_map_carry_out(map, place, &nothing, &room);
}

size_t tly_map_shrink(struct tly_ormap *map, struct tly_place *place, const struct tly_plan *plan,
                      tly_goes *goes, void *context)
{
    struct tly_entry *entry = place->entry;
    const struct tly_strategy *strategy = tly_map_strategy(map, entry);
    bool changes = plan->skip != TLY_NO_CELL || plan->restarts;
    if (changes) tly_map_touch(map, entry);
    struct tly_cells cells = tly_map_cells(map, entry);
    struct pen pen = {.next = (uint8_t *)entry + tly_entry_cells_offset(entry)};
    size_t dropped = 0, i = 0;
    for (struct tly_cell cell; tly_map_next(map, &cells, &cell); i++) {
        if (i == plan->skip) continue;
        if (cell_goes(plan, strategy, i, &cell) || (goes != NULL && goes(context, &cell.dot))) {
            /* Up to here all stands as it stood; mostly it is so to the end. */
            if (dropped == 0) tly_map_touch(map, entry);
            lose_record(map, place->hash, &cell);
            dropped++;
        } else if (restart(map, plan, &cell)) {
            write_cell(&pen, strategy, &cell); /* of fewer bytes, or as many */
        } else {
            copy_cell(&pen, &cell);
        }
    }
    if (pen.last != NULL) tly_cell_mark_last(pen.last, true);
    set_held(entry, pen.last != NULL);
    if (plan->restarts && tly_entry_local(entry) != NULL)
        memset(tly_entry_local(entry), 0, TLY_LOCAL_WORDS * sizeof(uint64_t));
    map->changes += changes || dropped > 0;
    return dropped;
}

static size_t drop_from(struct tly_ormap *map, struct tly_place *place, tly_goes *goes, void *context)
{
    static const struct tly_plan nothing = {.skip = TLY_NO_CELL};
    size_t dropped = tly_map_shrink(map, place, &nothing, goes, context);
    if (dropped > 0 && tly_entry_is_held(place->entry)) fit(map, place);
    tly_map_tidy(map, place);
    return dropped;
}

size_t tly_map_drop_if(struct tly_ormap *map, struct tly_entry *entry, tly_goes *goes, void *context)
{
    struct tly_place place = tly_map_place_of(map, entry);
    return drop_from(map, &place, goes, context);
}

struct sweep {
    struct tly_slice key;
    const struct tly_strategy *strategy;
    tly_gone *gone;
    void *context;
};

static bool put_is_gone(void *context, const struct tly_dot *dot)
{
    const struct sweep *sweep = context;
    return dot->op == TLY_PUT && sweep->gone(sweep->context, sweep->key, sweep->strategy, dot);
}

size_t tly_map_sweep_entry(struct tly_ormap *map, struct tly_place *place, tly_gone *gone, void *context)
{
    struct sweep sweep = {tly_entry_key(place->entry), tly_map_strategy(map, place->entry), gone, context};
    return drop_from(map, place, put_is_gone, &sweep);
}
