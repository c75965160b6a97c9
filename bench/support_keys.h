/*
 * The keys of the workload: "rl:TENANT:ROUTE:ID", 24 bytes in the mean, all different, the same for one seed on every
 * machine; and Zipf 1.0 over them. Above 2^20 keys the ids are longer by a digit, so that fewer stay what they were.
 */
#ifndef TALLY_BENCH_SUPPORT_KEYS_H
#define TALLY_BENCH_SUPPORT_KEYS_H

#include "crdt/dot.h"

#define TLY_BENCH_KEYS_MAX (1u << 24)

struct tly_bench_keys;

/* 1 to TLY_BENCH_KEYS_MAX keys. Ends the program when there is no memory. */
struct tly_bench_keys *tly_bench_keys_new(size_t count, uint64_t *seed);
void tly_bench_keys_free(struct tly_bench_keys *keys);

size_t tly_bench_keys_count(const struct tly_bench_keys *keys);
/* Borrows from the keys. */
struct tly_slice tly_bench_key(const struct tly_bench_keys *keys, size_t i);
/* The number of a key; popular ones come often. */
size_t tly_bench_zipf(const struct tly_bench_keys *keys, uint64_t *seed);

#endif
