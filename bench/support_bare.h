/* The yardstick: a table of counters that does no more than it must. */
#ifndef TALLY_BENCH_SUPPORT_BARE_H
#define TALLY_BENCH_SUPPORT_BARE_H

#include "bench/support_keys.h"

#define TLY_BENCH_BARE "bare table: hash, compare, add"

/* Adds 1 to every key in `passes` passes, each in an order of its own. Millions of additions per CPU second. */
double tly_bench_bare(const struct tly_bench_keys *keys, uint32_t *const *order, size_t passes);
/*
 * The same for keys that are there: the first pass is not measured. Grouped: TLY_BENCH_BARE_GROUP keys at a time, whose memory comes
 * together.
 */
#define TLY_BENCH_BARE_GROUP 16
double tly_bench_bare_again(const struct tly_bench_keys *keys, uint32_t *const *order, size_t passes,
                            bool grouped);

#endif
