/* What limit.c, refund.c and usual.c share: a token bucket as it stands. */
#ifndef TALLY_SERVICE_ENGINE_BUCKET_H
#define TALLY_SERVICE_ENGINE_BUCKET_H

#include "service/engine/limit.h"

/* ns. A value. */
struct tly_bucket {
    uint64_t tat, emission, tolerance;
};

static inline uint64_t tly_bucket_burst(const struct tly_rate *rate)
{
    return rate->burst != 0 ? rate->burst : rate->limit;
}

/* Without a TAT: one that is full. */
static inline struct tly_bucket tly_bucket_of(const struct tly_rate *rate)
{
    uint64_t emission = rate->window_ms * UINT64_C(1000000) / rate->limit;
    return (struct tly_bucket){0, emission, emission * tly_bucket_burst(rate)};
}

/* Units that are there `debt` before it is full. A division takes as long as all the rest, and who is refused mostly has nothing. */
static inline uint64_t tly_bucket_left(const struct tly_bucket *bucket, uint64_t debt)
{
    uint64_t room = bucket->tolerance > debt ? bucket->tolerance - debt : 0;
    return room < bucket->emission || bucket->emission == 0 ? 0 : room / bucket->emission;
}

/* Keeps it in the local words of its entry. */
static inline void tly_bucket_write(uint64_t *words, const struct tly_bucket *bucket)
{
    words[TLY_BUCKET_TAT] = bucket->tat;
    words[TLY_BUCKET_EMISSION] = bucket->emission;
    words[TLY_BUCKET_TOLERANCE] = bucket->tolerance;
}

/* Of an entry that may not be there. */
struct tly_bucket tly_bucket_read(struct tly_ormap *map, const struct tly_tally *tally,
                                  const struct tly_rate *rate, uint64_t now_ns);
/* What it keeps on its entry; NULL: nothing yet. */
const uint64_t *tly_bucket_words(struct tly_entry *entry);
void tly_bucket_note(struct tly_entry *entry, const struct tly_bucket *bucket);
/* When so many hits pass that were refused `debt` before it is full; UINT64_MAX: never. */
uint64_t tly_bucket_retry_ms(const struct tly_bucket *bucket, uint64_t debt, uint32_t hits);
/* Counts so many units, fewer than none to give back, and says the TAT that it has now. */
enum tly_result tly_bucket_take(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                const struct tly_tally *tally, const struct tly_bucket *bucket,
                                int64_t units) TLY_MUST_CHECK;

#endif
