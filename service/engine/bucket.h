/* What limit.c and refund.c share: a token bucket as it stands. */
#ifndef TALLY_SERVICE_ENGINE_BUCKET_H
#define TALLY_SERVICE_ENGINE_BUCKET_H

#include "service/engine/limit.h"

/* ns. A value. */
struct tly_bucket {
    uint64_t tat, emission, tolerance;
};

/* Of an entry that may not be there. */
struct tly_bucket tly_bucket_read(struct tly_ormap *map, const struct tly_tally *tally,
                                  const struct tly_rate *rate, uint64_t now_ns);
/* Counts so many units, fewer than none to give back, and says the TAT that it has now. */
enum tly_result tly_bucket_take(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                const struct tly_tally *tally, const struct tly_bucket *bucket,
                                int64_t units) TLY_MUST_CHECK;

#endif
