/*
 * What a node knows of the keys that come near their limits: for every other life that counts in such a key what it had counted
 * when it last said so, how fast it goes on, and how much of it was not known here at worst.  From that follow
 *
 *     the projection    what has probably been counted elsewhere since         rate * age, for one horizon at most
 *     the bound         by how much the limit can be passed                    sum of the most that was not yet seen
 *     the cap           what this node may still admit until others have heard of it
 *
 * It is a cache.  A key that falls out is watched anew when it is asked next: until then it is not projected, its bound takes all
 * that others have counted for unseen, and all that this node has counted for unheard.  Nothing here is ever handed on.
 *
 * Integers only: ns of cluster time, units; a rate is units per 2^32 ns.
 */
#ifndef TALLY_SERVICE_ENGINE_HEAT_H
#define TALLY_SERVICE_ENGINE_HEAT_H

#include "crdt/ormap.h"

/* Keys that are watched, in sets of so many. */
#define TLY_HEAT_SETS 512
#define TLY_HEAT_WAYS 4
/* Other lives in one key that are told apart; the rest is taken for one. */
#define TLY_HEAT_SHARDS 32

/* What the engine knows and a key does not. */
struct tly_heat_world {
    void *context;
    /* How old a version is, ns, as far as that can be told. */
    uint64_t (*age)(void *context, struct tly_version version);
    /* All of this life up to there is known to every member; UINT64_MAX: there is no other. */
    uint64_t (*heard)(void *context);
    /* For how long nothing was heard of the node that this life is of, ns; 0: it is heard all the time, or it has ended. */
    uint64_t (*silence)(void *context, uint64_t origin);
    uint64_t horizon_ns; /* nothing is projected for longer */
};

struct tly_heat;
struct tly_hot; /* one key of it */

struct tly_heat *tly_heat_new(const struct tly_mem *mem, const struct tly_heat_world *world);
void tly_heat_free(struct tly_heat *heat);
void tly_heat_check(const struct tly_heat *heat);
size_t tly_heat_count(const struct tly_heat *heat);
size_t tly_heat_bytes(const struct tly_heat *heat);

/* What a heat begins with, so that to find nothing in it costs nothing. */
struct tly_heat_head {
    size_t count; /* of keys that are watched */
};

bool tly_heat_has(const struct tly_heat *heat, uint32_t hash);

/* Whether a key of this hash may be watched; false is certain. */
static inline bool tly_heat_may_have(const struct tly_heat *heat, uint32_t hash)
{
    return ((const struct tly_heat_head *)(const void *)heat)->count > 0 && tly_heat_has(heat, hash);
}

/* A check of a key as the map has it. */
struct tly_heat_ask {
    struct tly_ormap *map;
    const struct tly_seek *seek;
    const struct tly_pane *pane; /* its window; {0} for a bucket */
    const struct tly_tally
        *tally;        /* with an entry; of a bucket, whose sum nobody makes, current is its TAT */
    uint64_t start_ns; /* of the window; 0 for a bucket */
    uint64_t now_ns;
    bool is_capped; /* what others have heard of is asked for */
};

/*
 * Watches the key from now on if it is not watched yet, and takes in what has come to be known. NULL: there is no memory for it,
 * and nothing is known.
 */
struct tly_hot *tly_heat_look(struct tly_heat *heat, const struct tly_heat_ask *ask);
/* What is known; NULL: it is not watched. */
const struct tly_hot *tly_heat_find(const struct tly_heat *heat, const struct tly_seek *seek,
                                    uint64_t window);

/* Units that others have counted by now, beyond what is known: of the window, and of the one before it. */
struct tly_carry {
    uint64_t current, previous;
};

struct tly_carry tly_hot_ahead(struct tly_hot *hot, uint64_t now_ns);
/* Hits were refused. */
void tly_hot_refused(struct tly_hot *hot, uint64_t now_ns);
/*
 * What of the room that is left is this node's. When this node had to refuse and others that were busy
 * have fallen silent, they have reached the limit by their own
 * reckoning, as this node has, and wait like it: what is left over is divided among all of them, a share for each horizon.
 */
uint64_t tly_hot_share(struct tly_hot *hot, uint64_t room, uint64_t now_ns);
/* Units that this node counted and not every member is known to have heard of. */
uint64_t tly_hot_unheard(const struct tly_hot *hot);
/* This node's and the others' units of the window. */
uint64_t tly_hot_own(const struct tly_hot *hot);
uint64_t tly_hot_others(const struct tly_hot *hot);
/* This node admitted so many units, and that is what the tally says since. */
void tly_hot_count(struct tly_hot *hot, uint64_t units, int64_t current);
/*
 * By how much `limit` can be passed: the sum, over the others, of the most that was not known here at any moment of this window and the
 * one before it; of one that is not heard of, its rate for as long, but not while this node refuses, as that one will.
 */
uint64_t tly_hot_bound(struct tly_hot *hot, uint64_t limit, bool refused);
/* The same as it was at the last check. */
uint64_t tly_hot_unseen(const struct tly_hot *hot, uint64_t limit);

/* What the bound of a key follows from, one other life each; false: there are no more. */
struct tly_hot_view {
    uint64_t origin;         /* 0: several */
    uint64_t rate_per_1000s; /* units, as last measured */
    uint64_t count;          /* units of the window, as known */
    uint64_t age_ns;         /* of that knowledge */
    uint64_t unseen;         /* the most that was not known here */
};
bool tly_hot_at(const struct tly_hot *hot, size_t i, uint64_t now_ns, struct tly_hot_view *view);

/* The i-th watched key, in no order; false: there are no more. */
struct tly_hot_key {
    struct tly_hot *hot;
    struct tly_slice key;
    uint64_t window;
    uint64_t used_ns; /* when it was last asked for */
};
bool tly_heat_at(const struct tly_heat *heat, size_t *cursor, struct tly_hot_key *out);

#endif
