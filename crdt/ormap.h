/*
 * The OR-map: keys to entries (sets of dots), the operation log over them, the marks, and the clock that versions
 * them.  One object, because a dot that enters must change all four or none.
 *
 *     key --index--> entry --cells--> dots        log[origin] = records of the sealed dots in ts order
 *
 * The log is the order of the sealed dots, per origin.  A dot that goes takes its record along; the payload is in the
 * entry, not in the log.  Followers (peers, the disk) are fed from it.
 *
 * Sealing: a dot that this node makes takes its version when it happens, save the own shards of strategies that have
 * them: those are counted in place and take a version when tly_ormap_seal is called before a hand-off, so that
 * a key hit a thousand times between two flushes is one dot.
 *
 * Ownership: the map owns everything in it.  A `struct tly_entry *` and every slice got from the map is a borrow
 * that ends with the next call that may write.
 */
#ifndef TALLY_CRDT_ORMAP_H
#define TALLY_CRDT_ORMAP_H

#include "crdt/clock.h"
#include "crdt/hash.h"
#include "crdt/mem.h"
#include "crdt/registry.h"

/* A local write that would make an epoch_max frontier longer than this is refused. */
#define TLY_FRONTIER_MAX 64
/* Lives that one map can know. */
#define TLY_ORIGINS_MAX 4096
/* Words that a caller may keep with an entry; they are never replicated and a REMOVE clears them. */
#define TLY_LOCAL_WORDS 3

struct tly_ormap;
struct tly_entry;
struct tly_slot;

struct tly_ormap_config {
    struct tly_mem mem;
    struct tly_hash_key hash_key;
    const struct tly_registry *registry; /* borrowed for the map's life, or until replaced */
    size_t keys_max;                     /* keys beyond this are refused with TLY_FULL */
    struct tly_clock clock;
};

/* NULL: no memory. */
struct tly_ormap *tly_ormap_new(const struct tly_ormap_config *config);
void tly_ormap_free(struct tly_ormap *map);
/* The invariant; aborts on our own mistakes. O(everything): for tests. */
void tly_ormap_check(const struct tly_ormap *map);

struct tly_clock *tly_ormap_clock(struct tly_ormap *map);
void tly_ormap_use_registry(struct tly_ormap *map, const struct tly_registry *registry);
const struct tly_registry *tly_ormap_registry(const struct tly_ormap *map);

/*
 * Begins, or after a restart goes on with, a life: local writes are made under this origin from now on. Until the first
 * call there is none and every local write must wait. What the life before counted is sealed first. TLY_NOMEM, TLY_FULL,
 * TLY_CLOCK_END: the life is as it was.
 */
enum tly_result tly_ormap_begin_life(struct tly_ormap *map, uint64_t origin) TLY_MUST_CHECK;
uint64_t tly_ormap_origin(const struct tly_ormap *map);

/* Is told of every key that comes or goes, until the map is replaced by an install; NULL: nobody is. It may not write. */
typedef void tly_key_watch(void *context, struct tly_slice key, bool is_new);
void tly_ormap_watch_keys(struct tly_ormap *map, tly_key_watch *watch, void *context);

/* ---- local writes ---- */

/*
 * Writes a dot of this node, versioned now. Only op, num and bytes of `dot` are read.
 *   TLY_OK, TLY_NO_STRATEGY, TLY_BAD_KEY, TLY_BAD_PAYLOAD, TLY_TOO_LARGE, TLY_FRONTIER_FULL, TLY_FULL, TLY_NOMEM,
 *   TLY_CLOCK_END; nothing changed unless TLY_OK.
 */
enum tly_result tly_ormap_put(struct tly_ormap *map, struct tly_slice key,
                              const struct tly_dot *dot) TLY_MUST_CHECK;

/* Deletes a key: a REMOVE versioned now. TLY_NOT_FOUND when the key holds no PUT; otherwise as tly_ormap_put. */
enum tly_result tly_ormap_remove(struct tly_ormap *map, struct tly_slice key) TLY_MUST_CHECK;

struct tly_hit {
    uint64_t window; /* ms; 0: a plain counter or a bucket */
    uint64_t epoch;  /* of the hit; with window 0 the generation it counts in */
    int64_t units;
    int64_t aux; /* with window 0 the new aux; otherwise unused */
    bool
        keeps_aux; /* with window 0: no new one, the shard goes on with what it says unless others replace it */
};

/* Counts into the own shard in place, unsealed. The entry may move: *entry is set anew. TLY_OK or TLY_NOMEM. */
enum tly_result tly_ormap_hit(struct tly_ormap *map, struct tly_entry **entry,
                              const struct tly_hit *hit) TLY_MUST_CHECK;

/* The own shard's payload for a window; false when there is none. */
bool tly_ormap_own(const struct tly_ormap *map, const struct tly_entry *entry, uint64_t window,
                   struct tly_dot *out);

/* Whether anything was counted that has no version yet. */
bool tly_ormap_is_unsealed(const struct tly_ormap *map);
/* Gives every unsealed shard its version. TLY_CLOCK_END, TLY_NOMEM: the rest stays unsealed. */
enum tly_result tly_ormap_seal(struct tly_ormap *map) TLY_MUST_CHECK;
/*
 * The same in the order of ranks, the least first: what rises with the versions costs its reader nothing to be told. UINT32_MAX: none as
 * yet.
 */
#define TLY_RANKED_MAX 16
typedef void tly_rank(void *context, const struct tly_slice *keys,
                      const struct tly_strategy *const *strategies, size_t count,
                      uint32_t *ranks); /* of up to TLY_RANKED_MAX keys at a time */
enum tly_result tly_ormap_seal_by(struct tly_ormap *map, tly_rank *rank, void *context) TLY_MUST_CHECK;

/* ---- dots from elsewhere ---- */

enum tly_outcome {
    TLY_APPLIED,   /* it stands */
    TLY_DUPLICATE, /* it stood already */
    TLY_DOMINATED, /* something here makes it redundant */
    TLY_DROPPED,   /* stale: at or below its origin's mark and not here */
    TLY_MALFORMED, /* no node takes it; see tly_dot_check */
    TLY_FORGED,    /* of our own life, which only we write */
    TLY_REFUSED,   /* of a settled life, beyond the mark at which it was settled */
    TLY_REPAIRED   /* it stands, though its origin's mark said it was here: an alarm (tly_ormap_repair) */
};

/* Whether every node's clock and registry would let the dot in: TLY_OK, TLY_CLOCK_AHEAD, TLY_NO_STRATEGY, TLY_BAD_KEY. */
enum tly_result tly_ormap_admits(const struct tly_ormap *map, struct tly_slice key,
                                 const struct tly_dot *dot) TLY_MUST_CHECK;
/* Of that the clock's part, for who knows the strategy. */
bool tly_ormap_is_in_time(const struct tly_ormap *map, const struct tly_strategy *strategy,
                          const struct tly_dot *dot);

/*
 * Joins one dot. The clock observes its ts. *outcome tells what became of it; TLY_NO_STRATEGY, TLY_BAD_KEY, TLY_FULL
 * and TLY_NOMEM: nothing changed.
 */
enum tly_result tly_ormap_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome) TLY_MUST_CHECK;

/*
 * Many dots, all or none, those at or below a mark too: stage each; then, as nothing can fail any more, settle each that was
 * TLY_APPLIED; or, when one could not be staged, unstage those. No other call comes between.
 *
 * A staged dot stands beside what it dominates, which is still there. *outcome and the result are as of tly_ormap_apply, save
 * that nothing is TLY_DROPPED. The clock observes a dot when it is settled.
 */
enum tly_result tly_ormap_stage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome) TLY_MUST_CHECK;
void tly_ormap_settle(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot);
void tly_ormap_unstage(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot);
/*
 * One dot in that way: for what was here before, such as one's own log, and for repair. TLY_REPAIRED for one at or below its
 * origin's mark.
 */
enum tly_result tly_ormap_repair(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                 enum tly_outcome *outcome) TLY_MUST_CHECK;

/*
 * The same for a dot of the own life, which others still have. Where the own shard of its window is here, that is the truth and is
 * said anew: TLY_REPAIRED.
 */
enum tly_result tly_ormap_repair_own(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                                     enum tly_outcome *outcome) TLY_MUST_CHECK;

/*
 * Many dots at once: the memory that the next ones need is asked for while one is joined, which is several times as fast
 * when the map does not fit into the caches.
 */
struct tly_arrival {
    struct tly_slice key;
    const struct tly_dot *dot; /* borrowed */
    uint32_t hash;             /* of the key, as for tly_seek_known; 0: it is not known */
    const struct tly_strategy
        *strategy;            /* the key's, if it is known, as after tly_ormap_admit_batch; else NULL */
    enum tly_outcome outcome; /* set */
};

/*
 * tly_ormap_admits for each, up to the first that is not; *admitted are. An arrival that says a strategy which is not its key's
 * is TLY_WRONG_STRATEGY; one that says none learns it.
 */
enum tly_result tly_ormap_admit_batch(const struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *admitted) TLY_MUST_CHECK;

/* tly_ormap_apply for each in order, up to the first that fails. *done of them have their outcome. */
enum tly_result tly_ormap_apply_batch(struct tly_ormap *map, struct tly_arrival *arrivals, size_t count,
                                      size_t *done) TLY_MUST_CHECK;

/*
 * The same for a caller that does more than joining: a key on its way. Make some, call tly_seek_ahead for each, then do with
 * each what is to be done. Nothing about the key is believed before that, so anything may be written in between.
 */
struct tly_seek {
    struct tly_slice key; /* borrowed */
    uint32_t hash;
    uint64_t arrangement;  /* the slot is right as long as the map has this one; 0: it was not looked for */
    struct tly_slot *slot; /* from which on the key is to be looked for */
};

void tly_seek_to(const struct tly_ormap *map, struct tly_slice key, struct tly_seek *seek);
/*
 * The same for a key that was put together just now: of a beginning of 1 to 7 bytes, which is one word too, and of a rest that still
 * lies elsewhere. It is hashed from there.
 */
void tly_seek_joined(const struct tly_ormap *map, uint64_t begin, struct tly_slice key, struct tly_slice rest,
                     struct tly_seek *seek);
/* The same for a key of which the tly_key_hash by the map's hash key is known. */
void tly_seek_known(const struct tly_ormap *map, struct tly_slice key, uint32_t hash, struct tly_seek *seek);

static inline struct tly_seek tly_seek_of(const struct tly_ormap *map, struct tly_slice key)
{
    struct tly_seek seek;
    tly_seek_to(map, key, &seek);
    return seek;
}

void tly_seek_ahead(const struct tly_ormap *map, struct tly_seek *seek);
/* The same for a key whose entry probably has local words, so that its cells lie further behind. */
void tly_seek_ahead_local(const struct tly_ormap *map, struct tly_seek *seek);
/* Both for as many keys as a core fetches at a time, whose seeks need not be made; bit i of `local`: tly_seek_ahead_local for key i. */
#define TLY_SEEK_ALL_MAX 64
void tly_seek_all_ahead(const struct tly_ormap *map, const struct tly_slice *keys, size_t count,
                        uint64_t local, struct tly_seek *seeks);
/* As tly_ormap_find, tly_ormap_need, tly_ormap_put and tly_ormap_apply. */
struct tly_entry *tly_seek_find(struct tly_ormap *map, const struct tly_seek *seek);
enum tly_result tly_seek_need(struct tly_ormap *map, const struct tly_seek *seek,
                              struct tly_entry **out) TLY_MUST_CHECK;
enum tly_result tly_seek_put(struct tly_ormap *map, const struct tly_seek *seek,
                             const struct tly_dot *dot) TLY_MUST_CHECK;
enum tly_result tly_seek_apply(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_dot *dot,
                               enum tly_outcome *outcome) TLY_MUST_CHECK;

/*
 * One epoch of a window, made ready to be looked for in entries: a value, which many checks share. The window is not 0.
 */
struct tly_pane {
    uint64_t window, epoch;
    uint64_t head, mask; /* the two as they lie in a cell; in how many bytes, and how that is said there */
    unsigned width, codes;
};

struct tly_pane tly_pane_of(uint64_t window, uint64_t epoch);

/* What a check reads of a key, and where it counts. A borrow: valid until anything is written. */
struct tly_tally {
    struct tly_entry *entry;   /* NULL: the key is not here */
    int64_t current, previous; /* as tly_entry_read has them */
    uint64_t generation;       /* of a counter without windows: the one that counts */
    const uint8_t *own;        /* this node's shard of that epoch; NULL: none yet, or not a usual one */
};

void tly_tally_of(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_pane *pane,
                  struct tly_tally *tally);
/* Counts into the own shard as tly_ormap_hit does; a key that is not here begins. Errors as of a local write. */
enum tly_result tly_tally_hit(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_pane *pane,
                              const struct tly_tally *tally, int64_t units) TLY_MUST_CHECK;

/* What all checks of a rate have in common at one moment. */
struct tly_meter {
    struct tly_pane pane;
    uint64_t part, whole; /* of the epoch before still counts part / whole, rounded up; part 0: none of it */
    uint64_t most;        /* may be used */
    uint64_t below;       /* … and so much must not have been used before */
};

/* The same of a counter without windows: its generation, which is tly_counter_generation, and the own shard in it. */
void tly_tally_counter(struct tly_ormap *map, const struct tly_seek *seek, struct tly_tally *tally);
/* Counts into that shard, with a new aux, where it lies; false: tly_ormap_hit must do it, and nothing was counted. */
bool tly_tally_counter_hit(struct tly_ormap *map, const struct tly_seek *seek, const struct tly_tally *tally,
                           int64_t units, int64_t aux);

/* The usual case of tly_counter_add, in place; false: it must be done there, and nothing was counted. */
bool tly_tally_add(struct tly_ormap *map, const struct tly_seek *seek, int64_t delta, int64_t *value);

/* ---- reading ---- */

struct tly_entry *tly_ormap_find(struct tly_ormap *map, struct tly_slice key);
/* Finds or makes an entry without dots; one that is left so must be given to tly_ormap_tidy. */
enum tly_result tly_ormap_need(struct tly_ormap *map, struct tly_slice key,
                               struct tly_entry **out) TLY_MUST_CHECK;
void tly_ormap_tidy(struct tly_ormap *map, struct tly_entry *entry);

struct tly_slice tly_entry_key(const struct tly_entry *entry);
const struct tly_strategy *tly_entry_strategy(const struct tly_entry *entry);
void tly_entry_read(struct tly_ormap *map, const struct tly_entry *entry, const struct tly_moment *at,
                    struct tly_value *value);
/* The entry's dots ascending by version, an unsealed one with its last version (ts 0: none yet). Borrowed. */
const struct tly_dot *tly_entry_dots(struct tly_ormap *map, const struct tly_entry *entry, size_t *count);
/* The version of the first of them, without a look at the others; false: there is none. */
bool tly_entry_oldest(struct tly_ormap *map, const struct tly_entry *entry, struct tly_version *oldest);

/* Bytes that it takes in the table, its place in the index among them. */
size_t tly_entry_bytes(const struct tly_entry *entry);

/* Whether something was counted into it since its last sealing. */
bool tly_entry_is_unsealed(const struct tly_entry *entry);

/* Local words of an entry, zero at first; NULL when it has none yet. */
uint64_t *tly_entry_local(struct tly_entry *entry);
/* Makes room for them; the entry may move. */
enum tly_result tly_entry_need_local(struct tly_ormap *map, struct tly_entry **entry) TLY_MUST_CHECK;

size_t tly_ormap_count(const struct tly_ormap *map);
/* How many points of other lives came to stand beside TLY_FRONTIER_MAX others or more: a node that keeps the limit makes none. */
uint64_t tly_ormap_overlong(const struct tly_ormap *map);
/* Walks all entries: start with *cursor 0, ends with NULL. The order is fixed as long as nothing is written. */
struct tly_entry *tly_ormap_each(struct tly_ormap *map, size_t *cursor);
/* Of a cursor the bits above these are a hash of 32 bits. */
#define TLY_CURSOR_HASH_SHIFT 24
/* Where a walk comes to a key, if it is there: before it and the others of its hash. The bits below the hash are 0. */
size_t tly_ormap_cursor_at(const struct tly_ormap *map, struct tly_slice key);
/* A number that equal sealed contents share, whatever their history. O(everything). */
uint64_t tly_ormap_digest(struct tly_ormap *map);
/* Bytes held, of all kinds. */
size_t tly_ormap_bytes(const struct tly_ormap *map);

/*
 * Drops dots for which gone() holds, looking at up to `budget` entries from *cursor on; *cursor turns to 0 after the
 * last. How many were dropped.
 */
typedef bool tly_gone(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                      const struct tly_dot *put);
size_t tly_ormap_sweep(struct tly_ormap *map, size_t *cursor, size_t budget, tly_gone *gone, void *context);

/* Whether something is meant for the keys of some prefixes. */
typedef bool tly_concerns(void *context, struct tly_slice key);
/*
 * Takes out all dots of the keys for which goes() holds, those that were not sealed too, and leaves no trace of them: whoever has them
 * still and may speak with this map would bring them back. How many keys went. Cannot fail.
 */
size_t tly_ormap_wipe(struct tly_ormap *map, tly_concerns *goes, void *context);
/* tly_ormap_digest of the keys for which concerns() holds, NULL: of all; and how many there are. Everything must be sealed. */
uint64_t tly_ormap_digest_of(struct tly_ormap *map, tly_concerns *concerns, void *context, size_t *count);

/* ---- the log and the marks ---- */

/* What becomes of a life: see crdt/forget.h. */
enum tly_life_state { TLY_LIFE_OPEN, TLY_LIFE_CLOSED, TLY_LIFE_SETTLED, TLY_LIFE_RETIRED };

struct tly_life {
    uint64_t origin;
    uint64_t mark;  /* every dot of this origin with ts <= mark is here, or is redundant here; retired: 0 */
    uint64_t last;  /* no record has a later ts; 0: there is none, or it is retired */
    uint64_t floor; /* newest ts of this origin that was forgotten here */
    enum tly_life_state state;
};

/*
 * Lives known here are numbered from 0 in the order in which they became known. The number of a life that was dropped
 * (origin 0) is given to the next new one.
 */
size_t tly_ormap_lives(const struct tly_ormap *map);
struct tly_life tly_ormap_life(const struct tly_ormap *map, size_t i);
/* The same of a life that has a dot, for who asks after every dot: it leaves records that wait to be taken out where they are. */
struct tly_life tly_ormap_life_held(const struct tly_ormap *map, size_t i);
/* The number of a life; tly_ormap_lives when it is not known. */
size_t tly_ormap_life_number(const struct tly_ormap *map, uint64_t origin);
/* UINT64_MAX for a settled life. Of an unknown life: what tly_ormap_drop_life left behind, else 0. */
uint64_t tly_ormap_mark(const struct tly_ormap *map, uint64_t origin);
/* Raises a mark, never lowers it; that of a settled life stays. */
enum tly_result tly_ormap_raise_mark(struct tly_ormap *map, uint64_t origin, uint64_t ts) TLY_MUST_CHECK;
/* Lowers every mark but the own to 0: all that others made is to come again. */
void tly_ormap_clear_marks(struct tly_ormap *map);
/* Lowers that of a life which is not the own: some of what it stood for has gone, and may come again. */
void tly_ormap_lower_mark(struct tly_ormap *map, uint64_t origin, uint64_t ts);
/* Records of the logs of all lives: one for each sealed dot that stands. */
size_t tly_ormap_log_size(const struct tly_ormap *map);
/* How many of these of one life have a later ts, by looking into one chunk and adding up the others. Not everything need be sealed. */
size_t tly_ormap_newer(const struct tly_ormap *map, size_t life, uint64_t ts);

/*
 * The live dots of one life with ts > after, in ts order. Everything must be sealed. It is a position: what is written while
 * it stands is yielded if it comes behind.
 */
struct tly_scan {
    size_t life;
    uint64_t ts; /* all up to here was yielded, and of this ts up to the nth of this hash */
    uint32_t hash, nth;
};

struct tly_scanned {
    struct tly_slice key;
    const struct tly_strategy *strategy;
    struct tly_dot dot;
};

struct tly_scan tly_scan_of(struct tly_ormap *map, size_t life, uint64_t after_ts);
bool tly_scan_next(const struct tly_ormap *map, struct tly_scan *scan, struct tly_scanned *out);

#endif
