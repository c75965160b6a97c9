/*
 * The sizes at which the core is measured, and the load of one size: its keys and some orders to go through them.
 *
 * What an operation costs should not depend on how many keys there are, but for cache misses. Those the yardstick
 * has too, so what has to stay flat over the sizes is the ratio to it.
 */
#ifndef TALLY_BENCH_SUPPORT_LOAD_H
#define TALLY_BENCH_SUPPORT_LOAD_H

#include "bench/support.h"
#include "bench/support_keys.h"

#define TLY_BENCH_PASSES_MAX 4
#define TLY_BENCH_SIZES_MAX 4

struct tly_bench_size {
    size_t keys, passes, repeats;
};

/* An object. */
struct tly_bench_load {
    struct tly_bench_keys *keys;
    size_t count, passes;
    uint32_t *order[TLY_BENCH_PASSES_MAX]; /* each pass over the keys in another order */
};

void tly_bench_load_init(struct tly_bench_load *load, const struct tly_bench_size *size, uint64_t seed);
void tly_bench_load_fini(struct tly_bench_load *load);
/* The number of the i-th key, i below count * passes. */
static inline size_t tly_bench_load_at(const struct tly_bench_load *load, size_t i)
{
    return load->order[i / load->count][i % load->count];
}

/* The yardstick over this load. */
double tly_bench_load_bare(const struct tly_bench_load *load);

/* The cases of a table, at every size. */
struct tly_bench_curve {
    const struct tly_bench_case *cases; /* for their names; the first is the yardstick */
    size_t case_count;
    struct tly_bench_size sizes[TLY_BENCH_SIZES_MAX];
    size_t size_count;
    double *medians[TLY_BENCH_SIZES_MAX];
};

/* Measures one size, and sets a median for each case. */
typedef void tly_bench_run_size(const struct tly_bench_size *size, FILE *json, double *medians);

/*
 * Runs 10,000 to 10,000,000 keys, those above BENCH_KEYS_MAX (10,000,000) left out, and those for which the machine has
 * less than `bytes_per_key` to give for each; either is said. Then prints what an operation costs at each size.
 */
void tly_bench_run_sizes(struct tly_bench_curve *curve, size_t bytes_per_key, tly_bench_run_size *run_size,
                         FILE *json);

#endif
