/*
 * The algorithms: one check against one rate, decided on what this node knows now, in integers.
 *
 *     fixed_window     current + hits <= limit
 *     sliding_window   previous * (1 - elapsed/window) + current + hits <= limit
 *     token_bucket     max(now, TAT) + emission * hits - tolerance <= now      (GCRA, ITU-T I.371)
 *
 * Windows are aligned to the epoch of the wall clock.  Refused hits are never stored.
 */
#ifndef TALLY_SERVICE_ENGINE_LIMIT_H
#define TALLY_SERVICE_ENGINE_LIMIT_H

#include "service/engine/engine.h"

/* What is asked: so many hits on this key, at this time of the wall clock. hits 0 peeks. */
struct tly_limit_ask {
    struct tly_slice key;
    const struct tly_rate *rate;
    uint32_t hits;
    uint64_t now_ns;
};

/*
 * Decides and, when admitted, counts. Sets code (ok or over), limit, remaining, reset_ms, retry_after_ms, window_ms and
 * algorithm of the verdict. On any other result than TLY_OK nothing was counted.
 */
enum tly_result tly_limit_check(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                struct tly_verdict *verdict) TLY_MUST_CHECK;

/* Whether a limit counts under this key. */
bool tly_limit_is_limit(struct tly_slice key);

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
