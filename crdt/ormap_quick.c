/*
 * What happens to a key nearly every time: a dot takes the place of its predecessor, a shard is sealed, a key is new.  The other
 * cases, and the proof of these, are in ormap_join.c, ormap_shard.c and ormap_cells.c: here the cells are walked once, and
 * whatever is not the usual thing sends the caller there.
 */
#include "crdt/bytes.h"
#include "crdt/cell.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

/* A dot that enters, and what of it decides where: its first two words are window and epoch, or epoch and count. */
struct fresh {
    const struct tly_dot *dot;
    uint64_t ts;
    uint32_t life;
    unsigned signs;     /* of its strategy */
    bool sums;          /* that is epoch_sum, else epoch_max */
    bool over_unsealed; /* what it takes the place of is unsealed */
};

/* Where among the cells the old one lies and the new one goes. */
struct spot {
    uint8_t *at; /* the cell that goes; NULL: none yet */
    size_t size; /* its bytes */
    uint64_t ts; /* 0: it has no record */
    uint32_t life;
    uint8_t *upto; /* behind the cells that stand before the new one */
    uint8_t *last; /* where the last cell begins */
    uint8_t *end;
};

/* Whether the dot makes an older one redundant that it is not apart from. */
static inline bool goes_over(const struct fresh *fresh, const uint64_t *old)
{
    const uint64_t *num = fresh->dot->num;
    if (fresh->sums) return num[TLY_SUM_EPOCH] >= old[TLY_SUM_EPOCH];
    return num[0] > old[0] || (num[0] == old[0] && (int64_t)num[1] >= (int64_t)old[1]);
}

/* Whether neither of two shards can make the other redundant: another window, or another origin in the same generation. */
static inline bool are_apart(const struct fresh *fresh, const struct tly_cell_heart *cell)
{
    const uint64_t *num = fresh->dot->num;
    if (!fresh->sums) return false;
    if (num[TLY_SUM_WINDOW] != cell->word[TLY_SUM_WINDOW]) return true;
    if (fresh->life == cell->life) return false;
    return num[TLY_SUM_WINDOW] != 0 || num[TLY_SUM_EPOCH] == cell->word[TLY_SUM_EPOCH];
}

static inline bool is_unsealed(const struct tly_cell_heart *cell)
{
    return cell->kind == TLY_KIND_UNSEALED || cell->kind == TLY_KIND_UNSEALED_AUX;
}

static inline void note_old(struct spot *spot, const struct tly_cell_heart *cell)
{
    spot->at = (uint8_t *)(uintptr_t)cell->at;
    spot->size = cell->size;
    spot->ts = cell->ts;
    spot->life = cell->life;
}

/* Takes one more cell into account; false: it is not the usual case. */
TLY_ALWAYS_INLINE bool see_cell(const struct fresh *fresh, const struct tly_cell_heart *cell,
                                struct spot *spot)
{
    if (cell->kind == TLY_KIND_REMOVE || cell->ts == fresh->ts) return false;
    bool older = cell->ts < fresh->ts;
    if (older) spot->upto = spot->end;
    if (are_apart(fresh, cell)) return !fresh->over_unsealed || !is_unsealed(cell);
    bool usual = older && spot->at == NULL && is_unsealed(cell) == fresh->over_unsealed &&
                 (!fresh->sums || cell->life == fresh->life);
    if (!usual || !goes_over(fresh, cell->word)) return false;
    note_old(spot, cell);
    return true;
}

/* The spot, empty at first, for a dot; false: it is not the usual case. */
TLY_ALWAYS_INLINE bool find_spot(const struct tly_entry *entry, const struct fresh *fresh, struct spot *spot)
{
    uint8_t *next = (uint8_t *)(uintptr_t)entry + tly_entry_cells_offset(entry);
    for (;;) {
        struct tly_cell_heart cell = tly_cell_heart(next, fresh->signs);
        spot->last = next;
        spot->end = next += cell.size;
        if (!see_cell(fresh, &cell, spot)) return false;
        if (cell.is_last) return spot->at != NULL;
    }
}

/* Whether the entry may stay in its block with so many bytes more. */
static bool fits(const struct tly_ormap *map, const struct tly_place *place, const struct spot *spot,
                 size_t n)
{
    size_t has = tly_arena_room(&map->arena, place->slot->ref);
    size_t wanted = (size_t)(spot->end - (const uint8_t *)place->entry) - spot->size + n;
    return wanted <= has && has - wanted < TLY_SPARE_BYTES;
}

/* Puts the encoded cell into its spot. */
TLY_ALWAYS_INLINE void fill_spot(const struct spot *spot, const uint8_t *bytes, size_t n)
{
    uint8_t *to = spot->at;
    const uint8_t *behind = spot->at + spot->size;
    if (spot->upto > behind) {
        size_t between = (size_t)(spot->upto - behind);
        memmove(to, behind, between);
        to += between;
    }
    bool is_last = spot->upto == spot->end;
    if (!is_last && n != spot->size) memmove(to + n, spot->upto, (size_t)(spot->end - spot->upto));
    tly_bytes_copy(to, bytes, n);
    if (!is_last) return;
    tly_cell_mark_last(to, true);
    if (spot->last != spot->at) tly_cell_mark_last(spot->last - spot->size, false);
}

/* Finds the spot and lets the dot in there. */
static enum tly_result take_spot(struct tly_ormap *map, const struct tly_place *place,
                                 const struct fresh *fresh)
{
    uint8_t bytes[TLY_CELL_FIXED_MAX];
    struct spot spot = {0};
    if (!find_spot(place->entry, fresh, &spot)) return TLY_MORE;
    size_t n = tly_cell_write(bytes, fresh->dot, fresh->life, TLY_KIND_PUT, fresh->signs);
    if (n != spot.size && !fits(map, place, &spot, n)) return TLY_MORE;
    if (!tly_map_reserve_record(map, fresh->life, fresh->ts)) return TLY_NOMEM;
    struct tly_sums sums = {0};
    const struct tly_sums_move move = {spot.at, spot.upto, spot.size, n};
    bool sums_hold = fresh->sums && (place->entry->flags & TLY_ENTRY_LOCAL) != 0 &&
                     tly_map_sums_after(map, place->entry, fresh->dot, fresh->life, &move, &sums);
    tly_map_touch(map, place->entry);
    fill_spot(&spot, bytes, n);
    if (sums_hold) tly_map_sums_put(place->entry, sums);
    tly_map_add_record(map, fresh->life, fresh->ts, place->hash);
    if (spot.ts != 0) tly_map_remove_record(map, spot.life, spot.ts, place->hash);
    return TLY_OK;
}

/* ---- counting on ---- */

/*
 * What is most usual of all: the entry's one cell is this life's, and of the new dot nothing differs but the version and numbers
 * that take as many bytes. Then nothing but those is written.
 */
struct alone {
    uint8_t *at;
    unsigned shape;
    struct tly_oplog *log;
    struct tly_chunk *chunk; /* where the record goes */
    uint64_t old_ts;
};

/* Of an entry whose cells begin there. False: it is not that case. */
TLY_ALWAYS_INLINE bool is_alone_at(const struct tly_ormap *map, uint8_t *at, uint32_t life, uint64_t ts,
                                   struct alone *alone)
{
    alone->at = at;
    alone->shape = tly_shape_load(alone->at);
    if ((alone->shape & TLY_LAST_BIT) == 0 || life >= TLY_LIFE_SHORT || alone->at[2] != life) return false;
    alone->old_ts = tly_word_load(alone->at + 3);
    alone->log = &map->lives[life].log;
    alone->chunk = tly_oplog_newest(alone->log, ts);
    return alone->old_ts < ts && alone->chunk != NULL;
}

/* The same of any entry. */
TLY_ALWAYS_INLINE bool is_alone(const struct tly_ormap *map, struct tly_entry *entry, uint32_t life,
                                uint64_t ts, struct alone *alone)
{
    /* No print and no sums have to follow. */
    if ((entry->flags & (TLY_ENTRY_LOCAL | TLY_ENTRY_PRINTED)) != 0) return false;
    return is_alone_at(map, (uint8_t *)entry + tly_entry_cells_offset(entry), life, ts, alone);
}

/* The cell becomes a sealed one of this version. */
TLY_ALWAYS_INLINE void renew(struct tly_ormap *map, uint32_t hash, const struct alone *alone, uint32_t life,
                             uint64_t ts)
{
    tly_word_store(alone->at + 3, ts);
    tly_oplog_append(alone->log, alone->chunk, ts, hash);
    map->changes++;
    if (alone->old_ts != 0) tly_map_remove_record(map, life, alone->old_ts, hash);
}

/* The words of a cell, as they are read one after the other. */
struct words {
    uint8_t *at;
    unsigned codes;
};

/* Whether the next word is this one, folded if it is signed. */
TLY_ALWAYS_INLINE bool next_is(struct words *words, uint64_t word)
{
    unsigned code = words->codes & 7;
    bool is = (tly_word_load(words->at) & tly_mask_of_code[code]) == word;
    words->at += tly_width_of(code);
    words->codes >>= 3;
    return is;
}

/* A shard of the same window and epoch. */
static bool counts_on(struct tly_ormap *map, const struct tly_place *place, const struct tly_dot *dot,
                      uint32_t life)
{
    struct alone alone;
    const uint64_t *num = dot->num;
    if (!is_alone(map, place->entry, life, dot->version.ts, &alone)) return false;
    struct words words = {alone.at + 11, alone.shape};
    if (dot->op != TLY_PUT || (alone.shape >> TLY_KIND_SHIFT & 3) != TLY_KIND_PUT) return false;
    if (!next_is(&words, num[TLY_SUM_WINDOW]) || !next_is(&words, num[TLY_SUM_EPOCH])) return false;
    uint64_t count = tly_folded(num[TLY_SUM_COUNT]), aux = tly_folded(num[TLY_SUM_AUX]);
    unsigned count_code = words.codes & 7, aux_code = words.codes >> 3 & 7;
    if (tly_code_for(count) != count_code || tly_code_for(aux) != aux_code || dot->bytes.n != 0) return false;
    tly_words_put_over(words.at, words.codes, count, aux);
    renew(map, place->hash, &alone, life, dot->version.ts);
    return true;
}

/* What is said of a register, and when. */
struct rise {
    const struct tly_dot *dot;
    uint64_t ts;
    uint32_t hash, life;
};

/* A register of the same epoch that rises; `alone` is what is_alone said of it. */
TLY_ALWAYS_INLINE bool rises_so(struct tly_ormap *map, const struct rise *rise, const struct alone *alone)
{
    const uint64_t *num = rise->dot->num;
    struct words words = {alone->at + 11, alone->shape};
    if (rise->dot->op != TLY_PUT || (alone->shape >> TLY_KIND_SHIFT & 3) != TLY_KIND_PUT) return false;
    if (!next_is(&words, num[0]) || (num[2] | num[3] | rise->dot->bytes.n) != 0) return false;
    unsigned code = words.codes & 7;
    uint64_t before = tly_unfolded(tly_word_load(words.at) & tly_mask_of_code[code]);
    uint64_t count = tly_folded(num[1]);
    if (tly_code_for(count) != code || (int64_t)num[1] < (int64_t)before) return false;
    tly_word_put_over(words.at, code, count);
    renew(map, rise->hash, alone, rise->life, rise->ts);
    return true;
}

static bool rises(struct tly_ormap *map, const struct tly_place *place, const struct tly_dot *dot,
                  uint32_t life)
{
    struct alone alone;
    struct rise rise = {dot, dot->version.ts, place->hash, life};
    return is_alone(map, place->entry, life, rise.ts, &alone) && rises_so(map, &rise, &alone);
}

bool tly_quick_rise(struct tly_ormap *map, struct tly_slice key, uint32_t hash, const struct tly_dot *dot)
{
    struct alone alone;
    struct rise rise = {dot, map->clock.last + 1, hash, map->own};
    if (rise.ts < map->clock.now.wall_ns) rise.ts = map->clock.now.wall_ns;
    if (dot->bytes.n != 0 || rise.ts >= TLY_CLOCK_LAST) return false;
    const struct tly_slot *slot = tly_index_look(&map->index, hash);
    if (slot == NULL) return false;
    uint8_t *entry = tly_arena_at(&map->arena, slot->ref), *key_at = entry + TLY_ENTRY_HEAD_BYTES;
    /* No local words and no print, and a key of no more than 256 bytes. */
    if (tly_shape_load(entry) != (TLY_ENTRY_HELD | TLY_EPOCH_MAX | (key.n - 1) << 8)) return false;
    if (!tly_bytes_equal(key_at, key.p, key.n)) return false;
    if (!is_alone_at(map, key_at + key.n, rise.life, rise.ts, &alone) || !rises_so(map, &rise, &alone))
        return false;
    map->clock.last = map->lives[rise.life].mark = rise.ts;
    return true;
}

#define SUM_SIGNS (1u << TLY_SUM_COUNT | 1u << TLY_SUM_AUX)
#define MAX_SIGNS (1u << 1)

/* Whether it is a PUT that tly_dot_check would let in, if its window is one that is here already. */
static inline bool is_sound(const struct fresh *fresh)
{
    const struct tly_dot *dot = fresh->dot;
    if (dot->op != TLY_PUT || dot->bytes.n != 0) return false;
    return fresh->sums || (dot->num[2] | dot->num[3]) == 0;
}

static __attribute__((noinline)) enum tly_result replace_sum(struct tly_ormap *map,
                                                             const struct tly_place *place,
                                                             const struct tly_dot *dot, uint32_t life)
{
    struct fresh fresh = {dot, dot->version.ts, life, SUM_SIGNS, true, false};
    return is_sound(&fresh) ? take_spot(map, place, &fresh) : TLY_MORE;
}

static __attribute__((noinline)) enum tly_result replace_max(struct tly_ormap *map,
                                                             const struct tly_place *place,
                                                             const struct tly_dot *dot, uint32_t life)
{
    struct fresh fresh = {dot, dot->version.ts, life, MAX_SIGNS, false, false};
    return is_sound(&fresh) ? take_spot(map, place, &fresh) : TLY_MORE;
}

enum tly_result tly_quick_replace(struct tly_ormap *map, const struct tly_place *place,
                                  const struct tly_dot *dot, uint32_t life)
{
    if (!tly_entry_is_held(place->entry)) return TLY_MORE;
    switch (place->entry->flags & TLY_ENTRY_STRATEGY) {
    case TLY_EPOCH_SUM: return counts_on(map, place, dot, life) ? TLY_OK : replace_sum(map, place, dot, life);
    case TLY_EPOCH_MAX: return rises(map, place, dot, life) ? TLY_OK : replace_max(map, place, dot, life);
    default: return TLY_MORE;
    }
}

/* The entry's one cell is an unsealed shard. */
static bool seal_alone(struct tly_ormap *map, const struct tly_place *place, uint64_t ts)
{
    struct alone alone;
    if (!is_alone(map, place->entry, map->own, ts, &alone)) return false;
    unsigned kind = alone.shape >> TLY_KIND_SHIFT & 3;
    if (kind != TLY_KIND_UNSEALED && kind != TLY_KIND_UNSEALED_AUX) return false;
    tly_shape_store(alone.at, (alone.shape & ~(3u << TLY_KIND_SHIFT)) | TLY_KIND_PUT << TLY_KIND_SHIFT);
    renew(map, place->hash, &alone, map->own, ts);
    return true;
}

enum tly_result tly_quick_seal(struct tly_ormap *map, const struct tly_place *place, uint64_t ts)
{
    const struct tly_entry *entry = place->entry;
    if (!tly_entry_is_held(entry) || (entry->flags & TLY_ENTRY_STRATEGY) != TLY_EPOCH_SUM) return TLY_MORE;
    if (seal_alone(map, place, ts)) return TLY_OK;
    struct tly_cells cells = tly_cells_of(entry, tly_epoch_sum());
    struct tly_cell cell;
    bool alone = true;
    while (tly_cell_read(&cells, &cell) && !cell.unsealed)
        alone = false;
    if (!cell.unsealed) return TLY_MORE;
    alone = alone && cells.next == NULL;
    /* What others said of the deadline of a counter is for the general case to judge. */
    if (!alone && cell.dot.num[TLY_SUM_WINDOW] == 0) return TLY_MORE;
    struct fresh fresh = {&cell.dot, ts, cell.life, SUM_SIGNS, true, true};
    cell.dot.version.ts = ts;
    return take_spot(map, place, &fresh);
}

/* ---- counting ---- */

/* The own shard of a window; NULL: there is none. */
static uint8_t *own_shard(const struct tly_ormap *map, struct tly_entry *entry, uint64_t window,
                          struct tly_cell_heart *cell)
{
    uint8_t *at = (uint8_t *)entry + tly_entry_cells_offset(entry);
    for (;; at += cell->size) {
        *cell = tly_cell_heart(at, SUM_SIGNS);
        bool mine = cell->life == map->own && cell->kind != TLY_KIND_REMOVE;
        if (mine && cell->word[TLY_SUM_WINDOW] == window) return at;
        if (cell->is_last) return NULL;
    }
}

/* Writes a signed word over one that takes as many bytes, and no byte more: another cell or block may follow. */
static inline void put_word_over(uint8_t *at, unsigned code, int64_t word)
{
    uint8_t bytes[sizeof(uint64_t)];
    tly_word_store(bytes, tly_folded((uint64_t)word));
    for (unsigned i = 0; i < tly_width_of(code); i++)
        at[i] = bytes[i];
}

bool tly_quick_hit(struct tly_ormap *map, struct tly_entry *entry, const struct tly_hit *hit)
{
    unsigned wanted = TLY_ENTRY_HELD | TLY_ENTRY_QUEUED;
    struct tly_cell_heart cell;
    if ((entry->flags & wanted) != wanted) return false;
    uint8_t *at = own_shard(map, entry, hit->window, &cell);
    if (at == NULL || cell.word[TLY_SUM_EPOCH] != hit->epoch) return false;
    unsigned shape = tly_shape_load(at), count_code = shape >> 6 & 7, aux_code = shape >> 9 & 7;
    uint8_t *aux_at = at + cell.size - tly_width_of(aux_code), *count_at = aux_at - tly_width_of(count_code);
    uint64_t raw = tly_word_load(count_at) & tly_mask_of_code[count_code];
    int64_t count = tly_clamp_add((int64_t)tly_unfolded(raw), hit->units);
    bool says = hit->window == 0 && !hit->keeps_aux;
    if (tly_code_for(tly_folded((uint64_t)count)) != count_code) return false;
    if (says && tly_code_for(tly_folded((uint64_t)hit->aux)) != aux_code) return false;
    put_word_over(count_at, count_code, count);
    if (says) put_word_over(aux_at, aux_code, hit->aux);
    unsigned kind = says || cell.kind == TLY_KIND_UNSEALED_AUX ? TLY_KIND_UNSEALED_AUX : TLY_KIND_UNSEALED;
    tly_shape_store(at, (shape & ~(3u << TLY_KIND_SHIFT)) | kind << TLY_KIND_SHIFT);
    return true;
}

/* ---- the first dot ---- */

enum tly_result tly_quick_begin(struct tly_ormap *map, struct tly_slice key,
                                const struct tly_strategy *strategy, const struct tly_dot *dot, uint32_t life,
                                struct tly_place *place)
{
    uint8_t bytes[TLY_CELL_FIXED_MAX];
    if (strategy->has_bytes || dot->op != TLY_PUT) return TLY_MORE;
    size_t n = tly_cell_write(bytes, dot, life, TLY_KIND_PUT, strategy->signed_nums);
    if (!tly_map_reserve_record(map, life, dot->version.ts)) return TLY_NOMEM;
    enum tly_result result = tly_map_make(map, key, strategy, n, place);
    if (result != TLY_OK) return result;
    uint8_t *at = (uint8_t *)place->entry + tly_entry_cells_offset(place->entry);
    tly_bytes_copy(at, bytes, n);
    tly_cell_mark_last(at, true);
    place->entry->flags |= TLY_ENTRY_HELD;
    tly_map_add_record(map, life, dot->version.ts, place->hash);
    return TLY_OK;
}
