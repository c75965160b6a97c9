/*
 * What all lives but the own one counted in one epoch of a window, kept in entries of many shards: a check of a key in which many
 * nodes count reads three words and its own shard.  A walk finds them, once for an epoch; a dot that takes the place of its predecessor
 * moves them on by the difference; anything else that happens to the entry lets them go, and the next check walks.
 */
#include "crdt/cell.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

/* What a shard adds to the sums of an epoch. */
struct share {
    int64_t current, previous;
};

static struct share share_of(const uint64_t *num, uint64_t window, uint64_t epoch)
{
    struct share share = {0, 0};
    int64_t count = (int64_t)num[TLY_SUM_COUNT], aux = (int64_t)num[TLY_SUM_AUX];
    if (num[TLY_SUM_WINDOW] != window) return share;
    if (num[TLY_SUM_EPOCH] == epoch)
        share = (struct share){count, aux};
    else if (num[TLY_SUM_EPOCH] == epoch + 1)
        share.current = aux;
    else if (num[TLY_SUM_EPOCH] + 1 == epoch)
        share.previous = count;
    return share;
}

/* False: a sum is too great to be kept. */
static bool add_share(struct tly_sums *sums, struct share share)
{
    return !__builtin_add_overflow(sums->current, share.current, &sums->current) &&
           !__builtin_add_overflow(sums->previous, share.previous, &sums->previous);
}

static bool take_share(struct tly_sums *sums, struct share share)
{
    return !__builtin_sub_overflow(sums->current, share.current, &sums->current) &&
           !__builtin_sub_overflow(sums->previous, share.previous, &sums->previous);
}

static struct share share_at(const uint8_t *at, uint64_t window, uint64_t epoch)
{
    struct tly_cells cells = {at, tly_epoch_sum()};
    struct tly_cell cell = {0};
    (void)tly_cell_read(&cells, &cell);
    return share_of(cell.dot.num, window, epoch);
}

static uint64_t window_of(const struct tly_sums *sums)
{
    return sums->head & tly_mask_of_code[sums->codes & 7];
}

static uint64_t epoch_of(const struct tly_sums *sums)
{
    return sums->head >> 8 * tly_width_of(sums->codes & 7);
}

/* Those that hold, for the own life of now. */
static const struct tly_sums *good_sums(const struct tly_ormap *map, struct tly_entry *entry)
{
    const struct tly_sums *sums = tly_entry_sums(entry);
    return sums != NULL && sums->codes != TLY_SUMS_NONE && sums->own == (uint16_t)map->own ? sums : NULL;
}

/* What the shard that is left out counted: it is of that very epoch. */
static struct share own_share(const struct tly_sums *sums, const struct tly_entry *entry)
{
    struct share share = {0, 0};
    unsigned width = tly_width_of(sums->codes & 7) + tly_width_of(sums->codes >> 3 & 7);
    if (sums->own_at != 0)
        tly_cell_slots((const uint8_t *)entry + sums->own_at, width, &share.current, &share.previous);
    return share;
}

bool tly_map_sums_read(const struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally)
{
    const struct tly_sums *sums = good_sums(map, tally->entry);
    if (sums == NULL || sums->codes != pane->codes || sums->head != pane->head) return false;
    struct share own = own_share(sums, tally->entry);
    if (__builtin_add_overflow(sums->current, own.current, &tally->current) ||
        __builtin_add_overflow(sums->previous, own.previous, &tally->previous))
        return false;
    tally->own = sums->own_at != 0 ? (const uint8_t *)tally->entry + sums->own_at : NULL;
    return true;
}

/* Room for sums; false: there is none, or a caller has it. The entry may move, and its own shard with it. */
static bool need_room(struct tly_ormap *map, struct tly_tally *tally)
{
    if ((tally->entry->flags & TLY_ENTRY_LOCAL) != 0) return tly_entry_sums(tally->entry) != NULL;
    size_t before = tly_entry_cells_offset(tally->entry);
    size_t own = tally->own != NULL ? (size_t)(tally->own - (const uint8_t *)tally->entry) : 0;
    if (tly_entry_need_local(map, &tally->entry) != TLY_OK) return false;
    tly_map_sums_put(tally->entry, (struct tly_sums){.codes = TLY_SUMS_NONE});
    size_t moved = tly_entry_cells_offset(tally->entry) - before;
    if (own != 0) tally->own = (const uint8_t *)tally->entry + own + moved;
    return true;
}

void tly_map_sums_keep(struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally)
{
    if (!need_room(map, tally)) return;
    size_t own_at = tally->own != NULL ? (size_t)(tally->own - (const uint8_t *)tally->entry) : 0;
    struct tly_sums kept = {.codes = (uint8_t)pane->codes,
                            .own_at = (uint16_t)own_at,
                            .own = (uint16_t)map->own,
                            .head = pane->head,
                            .current = tally->current,
                            .previous = tally->previous};
    if (own_at > UINT16_MAX || !take_share(&kept, own_share(&kept, tally->entry))) kept.codes = TLY_SUMS_NONE;
    tly_map_sums_put(tally->entry, kept);
}

/* Where a cell lies after the move that is not the one which moves. */
static size_t moved_to(size_t at, const struct tly_entry *entry, const struct tly_sums_move *move)
{
    const uint8_t *cell = (const uint8_t *)entry + at;
    if (cell < move->at) return at;
    return cell < move->upto ? at - move->size : at + move->n - move->size;
}

bool tly_map_sums_after(const struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot,
                        uint32_t life, const struct tly_sums_move *move, struct tly_sums *after)
{
    const struct tly_sums *sums = good_sums(map, entry);
    if (sums == NULL) return false;
    uint64_t window = window_of(sums), epoch = epoch_of(sums);
    bool is_own = sums->own_at != 0 && move->at == (const uint8_t *)entry + sums->own_at;
    size_t own_at = sums->own_at != 0 ? moved_to(sums->own_at, entry, move) : 0;
    *after = *sums;
    if (is_own) {
        /* It is sealed, or put: what is left out is that of this epoch alone. */
        if (dot->num[TLY_SUM_EPOCH] != epoch) return false;
        own_at = (size_t)(move->upto - (const uint8_t *)entry) - move->size;
    } else if (life == map->own || !take_share(after, share_at(move->at, window, epoch)) ||
               !add_share(after, share_of(dot->num, window, epoch))) {
        return false;
    }
    after->own_at = (uint16_t)own_at;
    return own_at <= UINT16_MAX;
}

void tly_map_check_sums(const struct tly_ormap *map, const struct tly_entry *entry)
{
    /* It changes nothing but what is scratch. */
    struct tly_ormap *mine = (struct tly_ormap *)(uintptr_t)map;
    const struct tly_sums *sums = good_sums(map, (struct tly_entry *)(uintptr_t)entry);
    if (sums == NULL) return;
    struct tly_sums all = *sums;
    if (!add_share(&all, own_share(sums, entry))) return;
    struct tly_moment at = {.window = window_of(sums), .epoch = epoch_of(sums)};
    struct tly_value value;
    tly_entry_read(mine, entry, &at, &value);
    assert(all.current == value.count && all.previous == value.previous);
    (void)value;
}
