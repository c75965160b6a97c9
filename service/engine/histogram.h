/* Durations, counted in steps that double from a microsecond on; the last step has all that took longer.  A value. */
#ifndef TALLY_SERVICE_ENGINE_HISTOGRAM_H
#define TALLY_SERVICE_ENGINE_HISTOGRAM_H

#include <stdint.h>

/* Of 1 us, 2 us, … 2^26 us (67 s), and one more. */
#define TLY_HISTOGRAM_STEPS 28

struct tly_histogram {
    uint64_t step[TLY_HISTOGRAM_STEPS];
    uint64_t count, sum_ns;
};

/* `times` of this duration each. */
static inline void tly_histogram_add(struct tly_histogram *histogram, uint64_t ns, uint64_t times)
{
    uint64_t us = ns / 1000 + (ns % 1000 != 0);
    unsigned step = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
    histogram->step[step < TLY_HISTOGRAM_STEPS ? step : TLY_HISTOGRAM_STEPS - 1] += times;
    histogram->count += times;
    histogram->sum_ns += ns * times;
}

static inline void tly_histogram_join(struct tly_histogram *into, const struct tly_histogram *other)
{
    for (unsigned i = 0; i < TLY_HISTOGRAM_STEPS; i++)
        into->step[i] += other->step[i];
    into->count += other->count;
    into->sum_ns += other->sum_ns;
}

#endif
