/*
 * Inside the map, split by idea:
 *
 *     ormap.c        making, entries, reading, sweeping      ormap_log.c    lives, marks, records, scans
 *     ormap_shard.c  own shards: counting and sealing        ormap_join.c   dots that enter
 *     ormap_check.c  the invariant and the digest            forget.c       floors, the ends of lives
 */
#ifndef TALLY_CRDT_ORMAP_IMPL_H
#define TALLY_CRDT_ORMAP_IMPL_H

#include "crdt/entry.h"
#include "crdt/forget.h"
#include "crdt/index.h"
#include "crdt/oplog.h"

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

    struct tly_map_life *lives;
    size_t life_count, life_capacity;
    size_t free_lives;            /* numbers among them that no life has now */
    struct tly_by_origin *sorted; /* the lives by origin */
    size_t sorted_capacity;
    uint32_t own; /* TLY_NO_LIFE until one begins */
    uint32_t last_life;
    size_t removes;         /* REMOVEs that stand */
    uint64_t newest_remove; /* ts of the newest that ever stood */
    uint64_t lost;          /* the mark of every life that is not known (any more) */
    uint64_t forgotten;     /* newest ts that was forgotten, of any life */

    uint32_t *unsealed; /* numbers of entries with something to seal */
    size_t unsealed_count, unsealed_capacity;

    struct tly_dot *scratch; /* room for the dots of any one entry */
    size_t scratch_capacity;
};

static inline struct tly_dot tly_map_dot_of(const struct tly_ormap *map, const struct tly_entry *entry,
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

/* ormap.c */
struct tly_entry *tly_map_find_hashed(const struct tly_ormap *map, struct tly_slice key, uint64_t hash);
/* The entry, made if absent. */
enum tly_result tly_map_need_hashed(struct tly_ormap *map, struct tly_slice key,
                                    const struct tly_strategy *strategy, struct tly_entry **out);
/* TLY_OK, TLY_BAD_KEY or TLY_NO_STRATEGY. */
enum tly_result tly_map_strategy_for(const struct tly_ormap *map, struct tly_slice key,
                                     const struct tly_strategy **strategy);
/* Room for one more cell; the entry may move. */
bool tly_map_reserve_cell(struct tly_ormap *map, struct tly_entry **entry);
/* Takes out the dots for which goes() holds, and an entry without dots; how many there were. */
typedef bool tly_goes(void *context, const struct tly_dot *dot);
size_t tly_map_drop_if(struct tly_ormap *map, struct tly_entry *entry, tly_goes *goes, void *context);
/* Takes out what the dot makes redundant. */
void tly_map_drop_dominated(struct tly_ormap *map, struct tly_entry *entry, const struct tly_dot *dot);

/* ormap_log.c */
enum tly_result tly_map_life_need(struct tly_ormap *map, uint64_t origin, uint32_t *life);
/* Its number, or TLY_NO_LIFE. */
uint32_t tly_map_life_find(const struct tly_ormap *map, uint64_t origin);
/* Takes a life without dots out of every list; its number becomes free. */
void tly_map_life_drop(struct tly_ormap *map, uint32_t life);
/* The nth cell of a record's version, or NULL: two dots may be forged with one. */
const struct tly_cell *tly_map_recorded_cell(const struct tly_ormap *map, const struct tly_record *record,
                                             size_t life, size_t nth);
/* Room for one more record. */
bool tly_map_reserve_record(struct tly_ormap *map, uint32_t life);
/* Some record of this life no longer has its dot. */
void tly_map_record_died(struct tly_ormap *map, uint32_t life);

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
bool tly_map_queue_unsealed(struct tly_ormap *map, struct tly_entry *entry);

#endif
