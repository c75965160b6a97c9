/*
 * A merge strategy is a dominance relation: which dot makes which other dot of the same key redundant, how a
 * payload is checked, and how an entry is read.  Nothing else in the system knows strategies.
 *
 *     dominates(a, b)   a strict partial order on the dots of one key
 *     join(A, B)      = the maximal elements of A u B
 *
 * Because dominance is a strict partial order on finite sets, join is associative, commutative and idempotent.
 * Two rules hold in every strategy:
 *   R1  a dominates b only if version(a) >= version(b).
 *   R2  a REMOVE dominates every other dot whose version is <= its own; a PUT never dominates a REMOVE, save in lww.
 *
 * A strategy is a const table in one file, listed once in strategy.c.
 */
#ifndef TALLY_CRDT_STRATEGY_H
#define TALLY_CRDT_STRATEGY_H

#include "crdt/dot.h"
#include "crdt/result.h"

/* When, and for epoch_sum which window, is asked for. */
struct tly_moment {
    uint64_t now_ms; /* cluster time, ms since 1970 */
    uint64_t window; /* ms; 0: a plain counter */
    uint64_t epoch;  /* floor(now / window); unused with window 0 */
};

/* What an entry reads as.  `bytes` borrows from the dots it was read from. */
struct tly_value {
    bool present;
    uint64_t epoch;       /* epoch_max: the epoch; epoch_sum, window 0: the generation */
    int64_t count;        /* epoch_max: the count; epoch_sum: the sum, clamped */
    int64_t previous;     /* epoch_sum with a window: the window before */
    uint64_t deadline_ms; /* 0: none */
    struct tly_slice bytes;
};

struct tly_strategy {
    const char *name;
    uint8_t id;          /* on wire and disk; never reused */
    uint8_t nums;        /* words of a PUT's payload */
    uint8_t signed_nums; /* bit i: word i is signed */
    bool has_bytes;
    bool own_shards; /* each origin writes its own shard, sealed when first handed on */

    /* A PUT's payload, as any node would judge it: TLY_OK, TLY_BAD_PAYLOAD or TLY_TOO_LARGE. */
    enum tly_result (*check)(const struct tly_dot *put);
    /* For two PUTs. REMOVEs are judged by tly_dominates, unless `total` is set and everything comes here. */
    bool (*dominates)(const struct tly_dot *a, const struct tly_dot *b);
    bool total;
    /* The dots are the entry's, without order. Sets every field of the value. */
    void (*read)(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                 struct tly_value *value);
    /* True when the PUT reads as nothing from now on, on every node alike; NULL: never. skew_ms is max_skew. A PUT for a time
       that no clock reaches is so from the beginning. */
    bool (*expired)(const struct tly_dot *put, uint64_t now_ms, uint64_t skew_ms);
};

/* The numbers by which wire and disk know the strategies. */
enum { TLY_LWW = 1, TLY_EPOCH_MAX = 2, TLY_EPOCH_SUM = 3, TLY_ESCROW = 4 };

const struct tly_strategy *tly_lww(void);
const struct tly_strategy *tly_epoch_max(void);
const struct tly_strategy *tly_epoch_sum(void);
const struct tly_strategy *tly_escrow(void);

/* The i-th strategy, or NULL past the end. */
const struct tly_strategy *tly_strategy_at(size_t i);
/* By the number used on wire and disk; NULL when unknown. */
const struct tly_strategy *tly_strategy_by_id(uint64_t id);
const struct tly_strategy *tly_strategy_by_name(struct tly_slice name);

/* Whether a makes b redundant. False for equal dots. */
bool tly_dominates(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b);

/* A dot of either op: a REMOVE must carry no payload, a PUT is for the strategy to judge. */
enum tly_result tly_dot_check(const struct tly_strategy *strategy, const struct tly_dot *dot) TLY_MUST_CHECK;

/*
 * Reduces `count` dots to their join, in place, ascending by version (then op, then payload), without doubles;
 * returns how many are left. O(count^2); the reference for everything faster.
 */
size_t tly_join(const struct tly_strategy *strategy, struct tly_dot *dots, size_t count);

#endif
