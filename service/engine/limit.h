/*
 * The algorithms: one check against one rate, decided on what this node knows now, in integers.
 *
 *     fixed_window     current + hits <= limit
 *     sliding_window   previous * (1 - elapsed/window) + current + hits <= limit
 *     quota            as fixed_window, in a unit of the calendar in a time zone
 *     token_bucket     max(now, TAT) + emission * hits - tolerance <= now      (GCRA, ITU-T I.371)
 *
 * Windows are aligned to the epoch of the wall clock.  Refused hits are never stored.
 */
#ifndef TALLY_SERVICE_ENGINE_LIMIT_H
#define TALLY_SERVICE_ENGINE_LIMIT_H

#include "service/engine/engine.h"
#include "service/engine/heat.h"

/* The window of one length in which a moment lies. A value; {0}: none. Kept from check to check it saves a division. */
struct tly_span {
    uint64_t start_ms;
    struct tly_pane pane;
    uint64_t end_ms;             /* of a unit of the calendar; of no other it is set */
    const struct tly_zone *zone; /* … and of this zone */
};

/* The cluster as this node sees it now. A value. */
struct tly_cluster_now {
    size_t members; /* that count, this node among them */
    size_t lost;    /* … of those, how many cannot be reached */
    size_t ended;   /* lives that ended and may have counted what nobody heard */
    bool joined;    /* every member knows this node, and it knows what they knew then */
};

/* What is asked: so many hits on this key, at this time of the wall clock. hits 0 peeks. */
struct tly_limit_ask {
    struct tly_seek seek;
    const struct tly_rate *rate; /* that tly_rate_check lets pass */
    uint32_t hits;
    enum tly_charging charging;
    uint64_t now_ns;
    struct tly_heat *heat; /* NULL: nothing is projected, and a cap is not kept */
    const struct tly_cluster_now *cluster;
    const uint64_t *rights; /* hard: what this node may still count; NULL: what the limit leaves */
};

/*
 * Decides and, when admitted, counts. Sets the whole verdict, without a name. On any other result than TLY_OK nothing was
 * counted. `span` is that of an earlier check, whichever.
 */
enum tly_result tly_limit_check(struct tly_ormap *map, const struct tly_limit_ask *ask, struct tly_span *span,
                                struct tly_verdict *verdict) TLY_MUST_CHECK;

/*
 * Gives back up to ask->hits units of those that were charged at `at_ns`: never more than that window, or the bucket, has charged, and
 * none if that is no longer of any account. *units: how many. Errors as of tly_limit_check; nothing was given back then.
 */
enum tly_result tly_limit_refund(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t at_ns,
                                 uint64_t *units) TLY_MUST_CHECK;

/* Counts ask->hits units whatever the limit says: they were spent. Errors as of tly_limit_check. */
enum tly_result tly_limit_charge(struct tly_ormap *map, const struct tly_limit_ask *ask) TLY_MUST_CHECK;

/* Whether a limit counts under this key. */
static inline bool tly_limit_is_limit(struct tly_slice key)
{
    return tly_slice_begins(key, tly_slice_text("rl:"));
}
/* … and whether one with window 0 is a counter, a plain one or one with bounds, and no bucket. */
bool tly_limit_is_counter(struct tly_slice key);

/*
 * What was read of an entry as of a counter, said of a bucket: its TAT is the moment at which it is full, and what is full reads as absent.
 * Of another key it stays as it is.
 */
void tly_limit_value(struct tly_slice key, uint64_t now_ms, struct tly_value *value);

/*
 * To be called around the join of a dot from elsewhere: a bucket's own TAT moves on by what the remote shard took since.
 * tly_limit_units is that shard's count before.
 */
bool tly_limit_is_bucket(struct tly_slice key, const struct tly_dot *dot);
int64_t tly_limit_units(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot);
void tly_limit_learned(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                       int64_t units_before, uint64_t now_ns);

/* The local words of a bucket's entry. */
enum { TLY_BUCKET_TAT = 0, TLY_BUCKET_EMISSION = 1, TLY_BUCKET_TOLERANCE = 2 };

/* Whether a PUT under this key reads as nothing from now on, on every node alike (tly_ormap_sweep). */
bool tly_limit_expired(struct tly_slice key, const struct tly_strategy *strategy, const struct tly_dot *put,
                       uint64_t now_ns, uint64_t skew_ns);

#endif
