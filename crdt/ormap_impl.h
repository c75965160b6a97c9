/*
 * Inside the map, split by idea:
 *
 *     ormap.c        making, entries, reading, sweeping      ormap_log.c    lives, marks, records, scans
 *     ormap_cells.c  changing the cells of an entry          ormap_join.c   dots that enter
 *     ormap_shard.c  own shards: counting and sealing        ormap_batch.c  many keys at once
 *     ormap_check.c  the invariant and the digest             ormap_stage.c  many dots, all or none
 *     ormap_quick.c  the usual changes, which ask nothing that is not needed
 *     ormap_order.c  in which order shards are sealed         ormap_tally.c  windows, as checks want them
 *     forget.c       floors, the ends of lives                prints.c       fingerprints
 *     ormap_sums.c   what others counted, kept beside their shards    ormap_convert.c  keys under another strategy
 */
#ifndef TALLY_CRDT_ORMAP_IMPL_H
#define TALLY_CRDT_ORMAP_IMPL_H

#include "crdt/arena.h"
#include "crdt/bytes.h"
#include "crdt/entry.h"
#include "crdt/forget.h"
#include "crdt/index.h"
#include "crdt/oplog.h"
#include "crdt/prints.h"

#define TLY_NO_LIFE UINT32_MAX

struct tly_map_life {
    uint64_t origin;
    uint64_t mark;
    uint64_t floor;  /* newest ts that was forgotten */
    uint64_t walked; /* no REMOVE stands at or below it */
    enum tly_life_state state;
    struct tly_oplog log;
};

struct tly_by_origin {
    uint64_t origin;
    uint32_t life;
};

/* A dot that a scan will yield: the nth of those of its hash in its chunk. */
struct tly_found {
    uint64_t ts;
    uint32_t hash, nth;
    const struct tly_entry *entry;
    const uint8_t *cell;
};

/* What was gathered of one chunk for the scan that asked last. */
struct tly_ahead {
    size_t life;
    uint64_t changes; /* of the map when it was gathered */
    struct tly_chunk_at chunk;
    bool all;                    /* of the chunk */
    struct tly_scan begun, from; /* where it was gathered from, and where what was taken of it ends */
    size_t at, count;
    struct tly_found found[TLY_CHUNK_RECORDS];
};

/*
 * Hashes of keys whose entries are to be sealed: a stack that grows by pieces and is never copied. A piece takes the bytes of a full
 * chunk of the log, since that is what its memory becomes when what was counted is sealed.
 */
#define TLY_UNSEALED_PIECE 125u

struct tly_unsealed {
    struct tly_unsealed *below;
    uint32_t count;
    uint32_t hashes[TLY_UNSEALED_PIECE];
};

static_assert(sizeof(struct tly_unsealed) == TLY_CHUNK_RECORDS * sizeof(uint32_t),
              "a heap that gives one for the other keeps no rest");

/*
 * Records of dots that went: a few wait, so that they are looked for together and their memory comes at once.  Meanwhile they name
 * nothing, which a scan passes over.
 */
#define TLY_LEAVING_MAX 16u

struct tly_leavings {
    uint32_t count;
    uint32_t life[TLY_LEAVING_MAX];
    struct tly_leaving of[TLY_LEAVING_MAX];
};

struct tly_ormap {
    struct tly_mem mem; /* what was given, with every byte counted */
    struct tly_mem given;
    size_t bytes;
    struct tly_hash_key hash_key;
    const struct tly_registry *registry;
    const struct tly_strategy *strategies[TLY_ENTRY_STRATEGY + 1]; /* by id */
    size_t keys_max;
    struct tly_clock clock;

    struct tly_index index;
    struct tly_arena arena; /* of the entries */
    size_t keys;
    tly_key_watch *key_watch; /* NULL: none */
    void *key_context;
    const struct tly_entry *known; /* found last, while it stays where it is; NULL: none */
    uint32_t known_hash;
    uint64_t arrangement; /* rises whenever a slot comes, goes or moves; never 0 */
    uint64_t changes;     /* rises whenever a cell or a record comes, goes or moves */
    struct tly_leavings leavings;
    struct tly_prints *prints; /* NULL: none are kept */

    struct tly_map_life *lives;
    size_t life_count, life_capacity;
    size_t free_lives;            /* numbers among them that no life has now */
    uint64_t numbering;           /* rises when a number gets a life or loses it */
    uint64_t raised;              /* rises with each mark of others' */
    struct tly_by_origin *sorted; /* the lives by origin */
    size_t sorted_capacity;
    uint32_t own; /* TLY_NO_LIFE until one begins */
    uint32_t last_life;
    uint64_t overlong;      /* points from elsewhere that a frontier had no room for */
    size_t removes;         /* REMOVEs that stand */
    uint64_t newest_remove; /* ts of the newest that ever stood */
    uint64_t lost;          /* the mark of every life that is not known (any more) */
    uint64_t forgotten;     /* newest ts that was forgotten, of any life */

    struct tly_unsealed *unsealed; /* the top piece holds one at least */
    uint64_t *order;               /* to sort them with */
    size_t order_capacity;

    struct tly_dot *scratch; /* room for the dots of any one entry */
    size_t scratch_capacity;
    struct tly_ahead *ahead;
};

/* An entry and where it is known. A borrow: valid until a key comes or goes, or the entry moves. */
struct tly_place {
    uint32_t hash;
    struct tly_slot *slot;
    struct tly_entry *entry;
};

static inline const struct tly_strategy *tly_map_strategy(const struct tly_ormap *map,
                                                          const struct tly_entry *entry)
{
    return map->strategies[entry->flags & TLY_ENTRY_STRATEGY];
}

static inline struct tly_cells tly_map_cells(const struct tly_ormap *map, const struct tly_entry *entry)
{
    return tly_cells_of(entry, tly_map_strategy(map, entry));
}

/* tly_cells_next, with the origin. */
static inline bool tly_map_next(const struct tly_ormap *map, struct tly_cells *cells, struct tly_cell *cell)
{
    if (!tly_cells_next(cells, cell)) return false;
    cell->dot.version.origin = map->lives[cell->life].origin;
    return true;
}

static inline struct tly_entry *tly_map_entry(const struct tly_ormap *map, const struct tly_slot *slot)
{
    return tly_arena_at(&map->arena, slot->ref);
}

/* Where most entries have their cells, or close to it. */
#define TLY_ENTRY_USUAL 48u

/* Asks for the first line of an entry, and for that of a later byte. */
TLY_ALWAYS_INLINE void tly_map_prefetch_with(const struct tly_ormap *map, const struct tly_slot *slot,
                                             size_t later)
{
    const uint8_t *entry = tly_arena_at(&map->arena, slot->ref);
    __builtin_prefetch(entry);
    __builtin_prefetch(entry + later);
}

/* The two lines in which most entries lie. */
TLY_ALWAYS_INLINE void tly_map_prefetch(const struct tly_ormap *map, const struct tly_slot *slot)
{
    tly_map_prefetch_with(map, slot, TLY_ENTRY_USUAL);
}

/* tly_map_find, from the first slot of the hash on; NULL: there is none. */
TLY_ALWAYS_INLINE bool tly_map_find_at(const struct tly_ormap *map, struct tly_slice key, uint32_t hash,
                                       struct tly_slot *slot, struct tly_place *place)
{
    place->hash = hash;
    for (; slot != NULL; slot = tly_index_again(slot)) {
        struct tly_entry *entry = tly_map_entry(map, slot);
        __builtin_prefetch((const uint8_t *)entry + TLY_ENTRY_USUAL);
        if (tly_entry_key_bytes(entry) != key.n) continue;
        if (!tly_bytes_equal(tly_entry_key_at(entry), key.p, key.n)) continue;
        place->slot = slot;
        place->entry = entry;
        return true;
    }
    place->slot = NULL;
    place->entry = NULL;
    return false;
}

/* False: there is none, and place->entry is NULL. */
static inline bool tly_map_find(const struct tly_ormap *map, struct tly_slice key, uint32_t hash,
                                struct tly_place *place)
{
    return tly_map_find_at(map, key, hash, tly_index_look(&map->index, hash), place);
}

/* From which slot on the key is looked for. */
TLY_ALWAYS_INLINE struct tly_slot *tly_map_sought_from(const struct tly_ormap *map,
                                                       const struct tly_seek *seek)
{
    if (seek->arrangement == map->arrangement) return seek->slot;
    return tly_index_home(tly_index_segment(&map->index, seek->hash), seek->hash);
}

/* The same for a key on its way. */
TLY_ALWAYS_INLINE bool tly_map_sought(const struct tly_ormap *map, const struct tly_seek *seek,
                                      struct tly_place *place)
{
    struct tly_slot *slot = tly_index_walk(tly_map_sought_from(map, seek), seek->hash);
    if (!tly_index_is_of(slot, seek->hash)) slot = NULL;
    return tly_map_find_at(map, seek->key, seek->hash, slot, place);
}

/* A key that was not looked for. */
static inline struct tly_seek tly_map_seek(struct tly_slice key, uint32_t hash)
{
    return (struct tly_seek){.key = key, .hash = hash};
}

/* ormap.c */
uint32_t tly_map_hash(const struct tly_ormap *map, struct tly_slice key);
uint32_t tly_map_hash_of(const struct tly_ormap *map, const struct tly_entry *entry);
struct tly_place tly_map_place_of(const struct tly_ormap *map, struct tly_entry *entry);
/* Makes an entry that is not there, with room for so many bytes of cells. */
enum tly_result tly_map_make(struct tly_ormap *map, struct tly_slice key, const struct tly_strategy *strategy,
                             size_t cells_bytes, struct tly_place *place);
/* Drops the entry if it has no cells. */
void tly_map_tidy(struct tly_ormap *map, const struct tly_place *place);
/* TLY_OK, TLY_BAD_KEY or TLY_NO_STRATEGY. */
enum tly_result tly_map_strategy_for(const struct tly_ormap *map, struct tly_slice key,
                                     const struct tly_strategy **strategy);
enum tly_result tly_map_need(struct tly_ormap *map, const struct tly_seek *seek, struct tly_place *place);

/* ormap_cells.c */
/* Room that a block may have to spare before its entry moves to a smaller one. */
#define TLY_SPARE_BYTES 16u
#define TLY_AT_END SIZE_MAX
#define TLY_NO_CELL SIZE_MAX

/* What becomes of an entry's cells. */
struct tly_plan {
    const struct tly_cell *fresh; /* comes in before cell number `place`; NULL: none */
    size_t place;
    size_t skip;                /* number of a cell that goes, its record being the caller's affair */
    const struct tly_dot *over; /* what this makes redundant goes with its records; NULL: nothing */
    bool restarts;              /* own shards that stay start from nothing */
};

/* Where the cells will be, taken before anything changes. */
struct tly_room {
    uint32_t ref; /* a new block; 0: they stay */
    size_t cells_bytes;
    uint64_t goes; /* bit i: cell i goes, for the first 64 */
};

/* False: no memory. What was made room for is to be carried out. */
bool tly_map_make_room(struct tly_ormap *map, const struct tly_place *place, const struct tly_plan *plan,
                       struct tly_room *room);
/* The entry may move: place is set anew. */
void tly_map_carry_out(struct tly_ormap *map, struct tly_place *place, const struct tly_plan *plan,
                       const struct tly_room *room);
/*
 * Makes a block with these dots, sealed and ascending, for an entry that is there with dots of the same versions and others; 0: no
 * memory. The lives are known.
 */
uint32_t tly_map_write_block(struct tly_ormap *map, struct tly_slice key, const struct tly_strategy *strategy,
                             const struct tly_dot *dots, size_t count);
/* Puts it in the place of that entry, whose other dots go with their records. Cannot fail. */
void tly_map_use_block(struct tly_ormap *map, struct tly_place *place, uint32_t ref);
typedef bool tly_goes(void *context, const struct tly_dot *dot);
/*
 * Takes cells out where they lie: what goes by the plan, which brings in nothing fresh, and the dots for which goes() holds
 * (NULL: no more). How many went, but for plan->skip. Cannot fail; the entry, which may be left without cells, does not move.
 */
size_t tly_map_shrink(struct tly_ormap *map, struct tly_place *place, const struct tly_plan *plan,
                      tly_goes *goes, void *context);
/* Takes out the dots for which goes() holds, and an entry without dots; how many there were. */
size_t tly_map_drop_if(struct tly_ormap *map, struct tly_entry *entry, tly_goes *goes, void *context);
/* Drops the cells for which gone() holds; how many. The entry may be gone afterwards. */
size_t tly_map_sweep_entry(struct tly_ormap *map, struct tly_place *place, tly_gone *gone, void *context);

/* ormap_quick.c */
/*
 * Each does the usual case of something that is done elsewhere for every case, and has then done all of it; TLY_MORE: it is another
 * case, and nothing has changed.
 */
/* A dot of another life, or the own one's next, takes the place of its predecessor. It is not stale. */
enum tly_result tly_quick_replace(struct tly_ormap *map, const struct tly_place *place,
                                  const struct tly_dot *dot, uint32_t life);
/* The own life's dot is the next of a register: it is looked for, and takes the next version; false: it is another case. */
bool tly_quick_rise(struct tly_ormap *map, struct tly_slice key, uint32_t hash, const struct tly_dot *dot);
/* Counts into the own shard of an entry that is on the list of those to seal; false: it is another case. */
bool tly_quick_hit(struct tly_ormap *map, struct tly_entry *entry, const struct tly_hit *hit);
/* The entry's one unsealed shard takes this version. */
enum tly_result tly_quick_seal(struct tly_ormap *map, const struct tly_place *place, uint64_t ts);
/* A dot is the first of a key that is not here; TLY_FULL or TLY_NOMEM: it cannot be. */
enum tly_result tly_quick_begin(struct tly_ormap *map, struct tly_slice key,
                                const struct tly_strategy *strategy, const struct tly_dot *dot, uint32_t life,
                                struct tly_place *place);

/* ormap_log.c */
enum tly_result tly_map_life_need(struct tly_ormap *map, uint64_t origin, uint32_t *life);
/* Its number, or TLY_NO_LIFE. */
uint32_t tly_map_life_find(const struct tly_ormap *map, uint64_t origin);
/* Takes a life without dots out of every list; its number becomes free. */
void tly_map_life_drop(struct tly_ormap *map, uint32_t life);
/* Takes out the records that wait for it. */
void tly_map_take_leavings(struct tly_ormap *map);
/* For who asks what a log has: nothing that waits is counted in. */
static inline void tly_map_settle_log(const struct tly_ormap *map)
{
    /* It changes nothing that shows but this. */
    if (map->leavings.count > 0) tly_map_take_leavings((struct tly_ormap *)(uintptr_t)map);
}

/* The general case of tly_map_reserve_record. */
bool tly_map_reserve_somewhere(struct tly_ormap *map, uint32_t life, uint64_t ts);

/* Room for one more record. */
static inline bool tly_map_reserve_record(struct tly_ormap *map, uint32_t life, uint64_t ts)
{
    return tly_oplog_newest(&map->lives[life].log, ts) != NULL || tly_map_reserve_somewhere(map, life, ts);
}

/* After tly_map_reserve_record. */
static inline void tly_map_add_record(struct tly_ormap *map, uint32_t life, uint64_t ts, uint32_t hash)
{
    struct tly_oplog *log = &map->lives[life].log;
    struct tly_chunk *chunk = tly_oplog_newest(log, ts);
    if (chunk != NULL)
        tly_oplog_append(log, chunk, ts, hash);
    else
        tly_oplog_add(log, ts, hash);
    map->changes++;
}

TLY_ALWAYS_INLINE void tly_map_remove_record(struct tly_ormap *map, uint32_t life, uint64_t ts, uint32_t hash)
{
    struct tly_leavings *leavings = &map->leavings;
    if (leavings->count == TLY_LEAVING_MAX) tly_map_take_leavings(map);
    struct tly_leaving *leaving = &leavings->of[leavings->count];
    leavings->life[leavings->count++] = life;
    leaving->ts = ts;
    leaving->hash = hash;
    map->changes++;
}

/* ormap_sums.c */
/* Whatever is about to change: the sums no longer hold. */
static inline void tly_map_lose_sums(struct tly_entry *entry)
{
    if ((entry->flags & TLY_ENTRY_LOCAL) == 0) return;
    struct tly_sums *sums = tly_entry_sums(entry);
    if (sums != NULL) sums->codes = TLY_SUMS_NONE;
}

/* Reads a window from them; false: they are not there, or not of this pane. */
bool tly_map_sums_read(const struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally);
/* Keeps what a walk found, in an entry that may move for it; without memory it is walked again. */
void tly_map_sums_keep(struct tly_ormap *map, const struct tly_pane *pane, struct tly_tally *tally);
/*
 * A dot takes the place of its predecessor, a cell of `size` bytes at `at`, and comes to lie before `upto` in n bytes; all of it as it
 * was before that happens. False: they do not hold after it, else `after` is what they are then.
 */
struct tly_sums_move {
    const uint8_t *at, *upto;
    size_t size, n;
};

/* Writes sums into an entry that has room for them. */
static inline void tly_map_sums_put(struct tly_entry *entry, struct tly_sums sums)
{
    sums.flags = entry->flags;
    sums.key_low = entry->key_low;
    sums.is_kept = 1;
    *(struct tly_sums *)(void *)entry = sums;
}

bool tly_map_sums_after(const struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot,
                        uint32_t life, const struct tly_sums_move *move, struct tly_sums *after);
void tly_map_check_sums(const struct tly_ormap *map, const struct tly_entry *entry);

/* prints.c */
/* Takes an entry out of the prints. */
void tly_map_unprint(struct tly_ormap *map, struct tly_entry *entry);
void tly_map_check_prints(const struct tly_ormap *map);

/* To be called before the sealed dots of an entry change. */
static inline void tly_map_touch(struct tly_ormap *map, struct tly_entry *entry)
{
    if ((entry->flags & TLY_ENTRY_PRINTED) != 0) tly_map_unprint(map, entry);
    tly_map_lose_sums(entry);
}

/* ormap_check.c */
/* Alike on every node and in every process. */
uint64_t tly_map_digest_key(const struct tly_strategy *strategy, struct tly_slice key);
uint64_t tly_map_digest_dot(uint64_t digest, const struct tly_dot *dot);

/* forget.c */
/* TLY_APPLIED for a version that may come in; TLY_DROPPED or TLY_REFUSED. */
enum tly_outcome tly_map_lets_in(const struct tly_ormap *map, struct tly_version version);
void tly_map_raise_bounds(struct tly_ormap *map, struct tly_bounds bounds);
/* A REMOVE of this version has come in. */
void tly_map_noted_remove(struct tly_ormap *map, uint32_t life, uint64_t ts);

/* ormap_shard.c */
/* Puts the entry on the list of those to seal. */
bool tly_map_queue_unsealed(struct tly_ormap *map, const struct tly_place *place);
void tly_map_free_unsealed(struct tly_ormap *map);
/* Asks for the memory of those in a piece whose turn comes soon, when so many are left and the last of them is next. */
void tly_map_look_ahead(const struct tly_ormap *map, const struct tly_unsealed *piece, size_t left);

/* ormap_order.c */
void tly_map_order_unsealed(struct tly_ormap *map, tly_rank *rank, void *context);

/* ormap_join.c */
/*
 * Judges a dot of another life and, if nothing here makes it redundant, puts it in beside what it makes redundant, which stays
 * until tly_map_shrink. What that will take is reserved.
 */
enum tly_result tly_map_put_beside(struct tly_ormap *map, const struct tly_seek *seek,
                                   const struct tly_dot *dot, enum tly_outcome *outcome);
/* Whether a dot restarts the own shards of its entry. */
bool tly_map_restarts(const struct tly_ormap *map, const struct tly_entry *entry, const struct tly_dot *dot);
/* As tly_ormap_apply. The strategy is the key's; NULL: it is not known. */
enum tly_result tly_map_apply(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot,
                              const struct tly_strategy *strategy, enum tly_outcome *outcome);

#endif
