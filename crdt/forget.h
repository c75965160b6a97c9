/*
 * Forgetting: how REMOVEs, and what else only says "it is gone", leave the map without anything coming back.
 *
 * A life's states, one way only:
 *
 *     OPEN --its end is announced--> CLOSED --all have the same of it--> SETTLED --all know that--> RETIRED --no dot left--> dropped
 *
 *   CLOSED   nobody takes anything from the life itself any more; it is otherwise as before
 *   SETTLED  its mark counts as infinite: an absent dot at or below it is stale, a newer one is refused
 *   RETIRED  it stands in no list of marks; its dots are no longer sent in rounds
 *
 * A floor (per life) is the newest ts of it that was forgotten.  Who knows less of that life than the floor cannot be brought
 * up by a delta: what it lacks may be a REMOVE that nobody has any more.  That is the one rule that keeps the dead dead; F
 * (what every member is known to have, given in as `upto`) only sees to it that no member ever gets there.
 *
 * Retiring a life, too, forgets something: the dot that said it was settled. So the floor of that dot's life is raised to it.
 */
#ifndef TALLY_CRDT_FORGET_H
#define TALLY_CRDT_FORGET_H

#include "crdt/ormap.h"

/* TLY_OK; TLY_NOMEM or TLY_FULL when the life was unknown and there is no room. Nothing happens if it is closed already. */
enum tly_result tly_ormap_close_life(struct tly_ormap *map, uint64_t origin) TLY_MUST_CHECK;
/*
 * Settles a life, other than the own, at a mark. TLY_MORE: its mark here is lower as yet, so it cannot be; a
 * higher one stays, since it still says what is gone, unless dots stand beyond the new one. Everything must be sealed. Dots beyond it that are here already stay: the caller must then replace
 * the map's contents by those of somebody who has none (crdt/install.h).
 */
enum tly_result tly_ormap_settle_life(struct tly_ormap *map, uint64_t origin, uint64_t mark) TLY_MUST_CHECK;
/* `word`: the version of the dot that says that the life is settled. */
void tly_ormap_retire_life(struct tly_ormap *map, uint64_t origin, struct tly_version word);
/* The i-th life with its mark and last dot also when it is retired. */
struct tly_life tly_ormap_life_kept(const struct tly_ormap *map, size_t i);
/* Whether no dot of a life stands here. */
bool tly_ormap_is_spent(const struct tly_ormap *map, uint64_t origin);
/* Drops the record of a life that has no dot here and is retired, or of which nothing was ever heard; false when it is neither. */
bool tly_ormap_drop_life(struct tly_ormap *map, uint64_t origin);

/* What is known of all that is no longer here. */
struct tly_bounds {
    uint64_t lost; /* the mark of every life that is unknown here */
    uint64_t
        forgotten; /* newest ts that was forgotten, of any life: no REMOVE that nobody has any more is newer */
};

struct tly_bounds tly_ormap_bounds(const struct tly_ormap *map);

/*
 * What stands of a life beyond its mark: parts of rounds whose end never came, since the life died. No mark will ever cover them, so the
 * life is settled at `newest` once all have the same of it. print: the same number for the same dots, 0 for none.
 */
struct tly_beyond {
    uint64_t newest; /* the mark if there is nothing */
    uint64_t print;
};

/* Everything must be sealed. */
struct tly_beyond tly_ormap_beyond(struct tly_ormap *map, uint64_t origin, uint64_t mark);

/* REMOVEs that stand, and a ts that none of them exceeds, 0 if there are none. */
size_t tly_ormap_removes(const struct tly_ormap *map);
uint64_t tly_ormap_newest_remove(const struct tly_ormap *map);

struct tly_forgotten {
    size_t dropped;
    bool done; /* nothing more can be forgotten at this F */
};

/*
 * Forgets REMOVEs with ts <= upto, over all lives in the order of their ts, looking at no more than `budget` records. Everything must
 * be sealed.
 */
struct tly_forgotten tly_ormap_forget(struct tly_ormap *map, uint64_t upto, size_t budget);
/*
 * For who follows somebody that has no REMOVE up to there any more: its own go too, how many, also of lives of which it has no mark or not as much. For
 * those no floor is raised.
 */
size_t tly_ormap_forget_gone(struct tly_ormap *map, uint64_t upto);

/*
 * No REMOVE at or below this stands here any more; it is never above what was forgotten (tly_ormap_bounds), and below that where other
 * things than REMOVEs were. 0: not known yet, for want of budget. Everything must be sealed.
 */
uint64_t tly_ormap_without_removes(struct tly_ormap *map, size_t budget);

/*
 * Entries that time has ended and that would be safe to drop by time alone only if no older dot were still on its way: a
 * register past its deadline, and a plain counter past it. They go like REMOVEs, once nothing older can come:
 *
 *   lww       its PUT has ts <= upto
 *   counter   every dot has ts <= upto, and upto, read as a time, lies max_skew behind the deadline: whatever is not known
 *             everywhere was then made after the deadline, so it either began a new generation or carries the deadline
 *             itself (sealing sees to that)
 */
struct tly_ended {
    uint64_t upto;
    uint64_t now_ms;
    uint64_t skew_ns;
    bool (*is_counter)(struct tly_slice key); /* whether a key with window 0 is a plain counter */
    /* Is told of each counter that has gone, and its newest version; NULL: of none. It may not change the map. */
    void (*has_gone)(void *context, struct tly_slice key, struct tly_version newest);
    void *context;
};

/* Whether the dots, all that a key has, ended and may go. */
bool tly_dots_may_go(struct tly_slice key, const struct tly_strategy *strategy, const struct tly_dot *dots,
                     size_t count, const struct tly_ended *ended);

struct tly_swept {
    size_t dropped;
    size_t waiting;          /* entries that ended and are not known everywhere yet */
    uint64_t newest_waiting; /* the F, if above all, with which all of them could go */
};

/* Drops an entry in which nothing is unsealed, if it ended and may go. How many dots went. */
size_t tly_ormap_end(struct tly_ormap *map, struct tly_entry *entry, const struct tly_ended *ended);

bool tly_ormap_has_put(struct tly_ormap *map, struct tly_slice key, struct tly_version version);
/*
 * For a log that is read again: the counter whose newest version this was had gone, and what was counted in that key since began from nothing. So
 * what stands up to there goes.
 */
void tly_ormap_drop_gone(struct tly_ormap *map, struct tly_slice key, struct tly_version newest);

/* Looks at `budget` entries from *cursor on; *cursor is 0 after the last. Everything must be sealed. */
struct tly_swept tly_ormap_sweep_ended(struct tly_ormap *map, size_t *cursor, size_t budget,
                                       const struct tly_ended *ended);

#endif
