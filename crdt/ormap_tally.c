/*
 * A window of an entry as a check wants it: one look at its cells tells what was counted and where this node counts, and a hit is
 * then one number that is written over.  What is not the usual case is read and counted by the general code.
 */
#include "crdt/cell.h"
#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"
#include "crdt/tally_inline.h"

#define SUM_SIGNS (1u << TLY_SUM_COUNT | 1u << TLY_SUM_AUX)

struct tly_pane tly_pane_of(uint64_t window, uint64_t epoch)
{
    unsigned codes[] = {tly_code_for(window), tly_code_for(epoch)};
    unsigned width = tly_width_of(codes[0]) + tly_width_of(codes[1]);
    struct tly_pane pane = {.window = window, .epoch = epoch, .codes = TLY_PANE_CODES + 1};
    /* A year's epochs fit; calendar units do not, nor the ends of the range, where epochs have no neighbours. */
    if (width > sizeof(uint64_t) || epoch == 0 || window == 0) return pane;
    pane.codes = codes[0] | codes[1] << 3;
    pane.width = width;
    pane.head = window | epoch << 8 * tly_width_of(codes[0]);
    pane.mask = UINT64_MAX >> (64 - 8 * width);
    return pane;
}

/* ---- reading ---- */

/* Takes one more shard of the window into account: epoch is that of the tally, or a neighbour. False: a sum is too great. */
static inline bool add_shard(const struct tly_cell_heart *cell, uint64_t epoch, struct tly_tally *tally)
{
    unsigned shape = tly_shape_load(cell->at);
    int64_t count, aux;
    tly_cell_slots(cell->at, tly_width_of(shape & 7) + tly_width_of(shape >> 3 & 7), &count, &aux);
    if (cell->word[TLY_SUM_EPOCH] == epoch)
        return !__builtin_add_overflow(tally->current, count, &tally->current) &&
               !__builtin_add_overflow(tally->previous, aux, &tally->previous);
    if (cell->word[TLY_SUM_EPOCH] > epoch)
        return !__builtin_add_overflow(tally->current, aux, &tally->current);
    return !__builtin_add_overflow(tally->previous, count, &tally->previous);
}

/* An entry of so many shards is walked once for an epoch, not at each check. */
#define SUMS_FROM_CELLS 4

/* How many cells there are; 0: something unusual is among them, say two shards of one life. */
static size_t tally_cells(const struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally)
{
    const uint8_t *at = (const uint8_t *)tally->entry + tly_entry_cells_offset(tally->entry);
    uint64_t seen = 0, epoch = pane->epoch;
    for (size_t i = 1;; i++) {
        struct tly_cell_heart cell = tly_cell_heart(at, SUM_SIGNS);
        bool counts = cell.word[TLY_SUM_WINDOW] == pane->window && cell.kind != TLY_KIND_REMOVE;
        /* At most one window off: epochs near the ends of their range are not asked for here. */
        if (counts && cell.word[TLY_SUM_EPOCH] + 1 - epoch <= 2) {
            uint64_t bit = UINT64_C(1) << (cell.life & 63);
            if ((seen & bit) != 0 || !add_shard(&cell, epoch, tally)) return 0;
            seen |= bit;
            if (cell.life == map->own && cell.word[TLY_SUM_EPOCH] == epoch) tally->own = at;
        }
        if (cell.is_last) return i;
        at += cell.size;
    }
}

/* All that is there is this node's shard of that very epoch. False: it is not so. */
TLY_ALWAYS_INLINE bool tally_alone(const struct tly_ormap *map, const struct tly_pane *pane,
                                   struct tly_tally *tally)
{
    const uint8_t *at = (const uint8_t *)tally->entry + tly_entry_cells_offset(tally->entry);
    unsigned shape = tly_shape_load(at), kind = shape >> TLY_KIND_SHIFT & 3;
    bool alone = (shape & TLY_LAST_BIT) != 0 && at[2] == map->own && at[2] < TLY_LIFE_SHORT;
    if (!alone || kind == TLY_KIND_REMOVE || (shape & TLY_PANE_CODES) != pane->codes) return false;
    const uint8_t *words = at + 3 + sizeof(uint64_t);
    if ((tly_word_load(words) & pane->mask) != pane->head) return false;
    tly_cell_slots(at, pane->width, &tally->current, &tally->previous);
    tally->own = at;
    return true;
}

/* Whatever there is. */
static void tally_any(struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally)
{
    struct tly_moment at = {.window = pane->window, .epoch = pane->epoch};
    struct tly_value value;
    tly_entry_read(map, tally->entry, &at, &value);
    tally->current = value.count;
    tally->previous = value.previous;
    tally->own = NULL;
}

static __attribute__((noinline)) void tally_more(struct tly_ormap *map, const struct tly_seek *seek,
                                                 const struct tly_pane *pane, struct tly_tally *tally)
{
    if (tally->entry == NULL) return;
    bool usual = pane->width != 0 && tly_entry_is_held(tally->entry) &&
                 (tally->entry->flags & TLY_ENTRY_STRATEGY) == TLY_EPOCH_SUM;
    if (usual && tly_map_sums_read(map, pane, tally)) return;
    size_t cells = usual ? tally_cells(map, pane, tally) : 0;
    if (cells == 0) tally_any(map, pane, tally);
    if (cells < SUMS_FROM_CELLS) return;
    map->known = tally->entry;
    map->known_hash = seek->hash;
    tly_map_sums_keep(map, pane, tally);
}

void tly_tally_of(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_pane *pane,
                  struct tly_tally *tally)
{
    struct tly_place place;
    unsigned usual = TLY_ENTRY_HELD | TLY_EPOCH_SUM;
    bool found = tly_map_sought(map, seek, &place);
    *tally = (struct tly_tally){.entry = place.entry};
    if (found && (place.entry->flags & (TLY_ENTRY_HELD | TLY_ENTRY_STRATEGY)) == usual &&
        tally_alone(map, pane, tally))
        return;
    tally_more(map, seek, pane, tally);
}

/* ---- counting ---- */

/* Adds to the shard at `at`, whose count lies at `count_at`; false: the number takes other room then. */
static inline bool add_at(uint8_t *at, uint8_t *count_at, int64_t units)
{
    unsigned shape = tly_shape_load(at), code = shape >> 6 & 7;
    int64_t count;
    if (__builtin_add_overflow(tly_signed_at(count_at, code), units, &count)) return false;
    uint64_t folded = tly_folded((uint64_t)count);
    if (tly_code_for(folded) != code) return false;
    tly_word_put_over(count_at, code, folded);
    if ((shape >> TLY_KIND_SHIFT & 3) == TLY_KIND_PUT)
        tly_shape_store(at, shape | (unsigned)TLY_KIND_UNSEALED << TLY_KIND_SHIFT);
    return true;
}

/* Where the count of a shard lies whose window and epoch take so many bytes. */
static inline uint8_t *count_of(const uint8_t *at, unsigned width)
{
    return (uint8_t *)(uintptr_t)at + 3 + (at[2] >= TLY_LIFE_SHORT) + sizeof(uint64_t) + width;
}

/* Adds to the own shard where it lies; false: the number takes other room then. */
static inline bool add_in_place(const struct tly_pane *pane, const struct tly_tally *tally, int64_t units)
{
    return add_at((uint8_t *)(uintptr_t)tally->own, count_of(tally->own, pane->width), units);
}

/* The first hit of a key: an entry with this one shard. */
static enum tly_result begin(struct tly_ormap *map, const struct tly_seek *seek,
                             const struct tly_strategy *strategy, const struct tly_pane *pane, int64_t units)
{
    uint8_t bytes[TLY_CELL_FIXED_MAX];
    struct tly_dot dot = {.num = {pane->window, pane->epoch, (uint64_t)units}};
    size_t n = tly_cell_write(bytes, &dot, map->own, TLY_KIND_UNSEALED, SUM_SIGNS);
    struct tly_place place = {.hash = seek->hash};
    enum tly_result result = tly_map_make(map, seek->key, strategy, n, &place);
    if (result != TLY_OK) return result;
    bool queued = tly_map_queue_unsealed(map, &place);
    if (queued) {
        uint8_t *at = (uint8_t *)place.entry + tly_entry_cells_offset(place.entry);
        memcpy(at, bytes, n);
        tly_cell_mark_last(at, true);
        place.entry->flags |= TLY_ENTRY_HELD;
    }
    tly_map_tidy(map, &place);
    return queued ? TLY_OK : TLY_NOMEM;
}

static enum tly_result hit_any(struct tly_ormap *map, const struct tly_seek *seek, struct tly_entry *entry,
                               const struct tly_hit *hit)
{
    map->known = entry;
    map->known_hash = seek->hash;
    enum tly_result result = tly_ormap_hit(map, &entry, hit);
    if (result != TLY_OK) tly_ormap_tidy(map, entry);
    return result;
}

/* Where nothing is counted in this epoch yet, or the number takes more room. */
static enum tly_result hit_more(struct tly_ormap *map, const struct tly_seek *seek,
                                const struct tly_pane *pane, const struct tly_tally *tally, int64_t units)
{
    const struct tly_strategy *strategy;
    enum tly_result result = TLY_OK;
    assert(map->own != TLY_NO_LIFE && pane->window != 0);
    if (tally->entry != NULL)
        strategy = tly_map_strategy(map, tally->entry);
    else
        result = tly_map_strategy_for(map, seek->key, &strategy);
    if (result != TLY_OK) return result;
    if (strategy->id != TLY_EPOCH_SUM) return TLY_WRONG_STRATEGY;
    if (tally->entry == NULL) return begin(map, seek, strategy, pane, units);
    struct tly_hit hit = {.window = pane->window, .epoch = pane->epoch, .units = units};
    return hit_any(map, seek, tally->entry, &hit);
}

static __attribute__((noinline)) bool queue(struct tly_ormap *map, const struct tly_seek *seek,
                                            struct tly_entry *entry)
{
    struct tly_place place = {.hash = seek->hash, .entry = entry};
    return tly_map_queue_unsealed(map, &place);
}

/* The first hit since it was sealed, or what is not the usual case. */
static __attribute__((noinline)) enum tly_result hit_first(struct tly_ormap *map, const struct tly_seek *seek,
                                                           const struct tly_pane *pane,
                                                           const struct tly_tally *tally, int64_t units)
{
    if (tally->own == NULL) return hit_more(map, seek, pane, tally, units);
    bool queued = (tally->entry->flags & TLY_ENTRY_QUEUED) != 0;
    if (!queued && !queue(map, seek, tally->entry)) return TLY_NOMEM;
    return add_in_place(pane, tally, units) ? TLY_OK : hit_more(map, seek, pane, tally, units);
}

enum tly_result tly_tally_hit(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_pane *pane,
                              const struct tly_tally *tally, int64_t units)
{
    /* What follows keeps nothing across a call, so that it need not save what its caller has in registers. */
    bool queued = tally->own != NULL && (tally->entry->flags & TLY_ENTRY_QUEUED) != 0;
    if (queued && add_in_place(pane, tally, units)) return TLY_OK;
    return hit_first(map, seek, pane, tally, units);
}

/* ---- counters without windows ---- */

/* False: a REMOVE is there, or it is no counter at all. */
static bool tally_generations(const struct tly_ormap *map, struct tly_tally *tally)
{
    unsigned usual = TLY_ENTRY_HELD | TLY_EPOCH_SUM;
    if ((tally->entry->flags & (TLY_ENTRY_HELD | TLY_ENTRY_STRATEGY)) != usual) return false;
    const uint8_t *at = (const uint8_t *)tally->entry + tly_entry_cells_offset(tally->entry);
    if (tly_take_alone(map, at, tally)) return true;
    for (;;) {
        struct tly_cell_heart cell = tly_cell_heart(at, SUM_SIGNS);
        uint64_t generation = cell.word[TLY_SUM_EPOCH];
        if (cell.kind == TLY_KIND_REMOVE) return false;
        if (cell.word[TLY_SUM_WINDOW] == 0 && generation >= tally->generation) {
            if (generation > tally->generation) tally->own = NULL;
            if (cell.life == map->own) tally->own = at;
            tally->generation = generation;
        }
        if (cell.is_last) return true;
        at += cell.size;
    }
}

void tly_tally_counter(struct tly_ormap *map, const struct tly_seek *seek, struct tly_tally *tally)
{
    struct tly_place place;
    bool found = tly_map_sought(map, seek, &place);
    *tally = (struct tly_tally){.entry = place.entry};
    if (!found || tally_generations(map, tally)) return;
    tally->own = NULL;
    bool counts = (tally->entry->flags & TLY_ENTRY_STRATEGY) == TLY_EPOCH_SUM;
    tally->generation = counts ? tly_counter_generation(map, tally->entry) : 0;
}

bool tly_tally_counter_hit(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_tally *tally,
                           int64_t units, int64_t aux)
{
    if (tally->own == NULL) return false;
    uint8_t *at = (uint8_t *)(uintptr_t)tally->own;
    unsigned shape = tly_shape_load(at), count_code = shape >> 6 & 7, aux_code = shape >> 9 & 7;
    uint8_t *count_at = count_of(at, tly_width_of(shape & 7) + tly_width_of(shape >> 3 & 7));
    int64_t count;
    if (__builtin_add_overflow(tly_signed_at(count_at, count_code), units, &count)) return false;
    uint64_t folded = tly_folded((uint64_t)count), folded_aux = tly_folded((uint64_t)aux);
    if (tly_code_for(folded) != count_code || tly_code_for(folded_aux) != aux_code) return false;
    bool queued = (tally->entry->flags & TLY_ENTRY_QUEUED) != 0;
    if (!queued && !queue(map, seek, tally->entry)) return false;
    tly_words_put_over(count_at, shape >> 6, folded, folded_aux);
    unsigned kind = (unsigned)TLY_KIND_UNSEALED_AUX << TLY_KIND_SHIFT;
    tly_shape_store(at, (shape & ~(3u << TLY_KIND_SHIFT)) | kind);
    return true;
}

/* What a counter sums up to, and the own shard of it. */
struct sum {
    uint64_t generation;
    int64_t count;
    uint8_t *own, *count_at; /* NULL: none */
};

/* Takes one more shard into account; false: it is of another generation, says a deadline, or the sum is too great. */
static inline bool sum_shard(const struct tly_cell_heart *cell, struct sum *sum)
{
    unsigned shape = tly_shape_load(cell->at), width = tly_width_of(shape & 7) + tly_width_of(shape >> 3 & 7);
    int64_t count, aux;
    tly_cell_slots(cell->at, width, &count, &aux);
    return cell->word[TLY_SUM_EPOCH] == sum->generation && aux == 0 &&
           !__builtin_add_overflow(sum->count, count, &sum->count);
}

/* Whether all that there is is this node's shard, without a window and without a deadline: of neither is there a byte then. */
TLY_ALWAYS_INLINE bool sum_alone(const struct tly_ormap *map, struct tly_entry *entry, struct sum *sum)
{
    uint8_t *at = (uint8_t *)entry + tly_entry_cells_offset(entry);
    unsigned shape = tly_shape_load(at), of_window_and_aux = 7u | 7u << 9;
    bool alone = (shape & TLY_LAST_BIT) != 0 && at[2] == map->own && at[2] < TLY_LIFE_SHORT;
    if (!alone || (shape >> TLY_KIND_SHIFT & 3) == TLY_KIND_REMOVE || (shape & of_window_and_aux) != 0)
        return false;
    sum->own = at;
    sum->count_at = at + 3 + sizeof(uint64_t) + tly_width_of(shape >> 3 & 7);
    sum->count = tly_signed_at(sum->count_at, shape >> 6);
    return true;
}

/* False: it is not the usual counter, all of one generation and without a deadline. */
static bool sum_up(const struct tly_ormap *map, struct tly_entry *entry, struct sum *sum)
{
    uint8_t *at = (uint8_t *)entry + tly_entry_cells_offset(entry);
    bool first = true;
    for (;;) {
        struct tly_cell_heart cell = tly_cell_heart(at, SUM_SIGNS);
        if (cell.kind == TLY_KIND_REMOVE) return false;
        if (cell.word[TLY_SUM_WINDOW] == 0) {
            if (first) sum->generation = cell.word[TLY_SUM_EPOCH];
            first = false;
            if (!sum_shard(&cell, sum)) return false;
            if (cell.life == map->own) sum->own = at;
        }
        if (cell.is_last) break;
        at += cell.size;
    }
    if (sum->own == NULL) return false;
    unsigned shape = tly_shape_load(sum->own);
    sum->count_at = count_of(sum->own, tly_width_of(shape & 7) + tly_width_of(shape >> 3 & 7));
    return true;
}

bool tly_tally_add(struct tly_ormap *map, const struct tly_seek *seek, int64_t delta, int64_t *value)
{
    struct tly_place place;
    unsigned usual = TLY_ENTRY_HELD | TLY_EPOCH_SUM;
    if (!tly_map_sought(map, seek, &place)) return false;
    if ((place.entry->flags & (TLY_ENTRY_HELD | TLY_ENTRY_STRATEGY)) != usual) return false;
    struct sum sum = {0};
    int64_t all;
    if (!sum_alone(map, place.entry, &sum) && !sum_up(map, place.entry, &sum)) return false;
    if (__builtin_add_overflow(sum.count, delta, &all)) return false;
    bool queued = (place.entry->flags & TLY_ENTRY_QUEUED) != 0;
    if ((!queued && !queue(map, seek, place.entry)) || !add_at(sum.own, sum.count_at, delta)) return false;
    *value = all;
    return true;
}
