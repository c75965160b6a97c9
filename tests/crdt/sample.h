/*
 * Dots to test with: few versions and few values, so that dots meet, and the ends of every range.  Bytes are borrowed
 * from a fixed pool, so a sampled dot owns nothing and lives as long as the program.
 */
#ifndef TALLY_TESTS_CRDT_SAMPLE_H
#define TALLY_TESTS_CRDT_SAMPLE_H

#include "crdt/strategy.h"
#include "tests/support/rng.h"

#define SAMPLE_STRATEGIES 4

/* Any dot that passes tly_dot_check, those of a fault or an attacker included: one version may carry two payloads. */
struct tly_dot sample_dot(struct test_rng *rng, const struct tly_strategy *strategy);
/* Only op, num and bytes: a PUT in `percent` of cases, as an honest caller would write it. */
struct tly_dot sample_write(struct test_rng *rng, const struct tly_strategy *strategy, unsigned percent);

/* A dot by hand. */
struct tly_dot put_of(uint64_t ts, uint64_t origin, uint64_t first, uint64_t second);
struct tly_dot shard_of(uint64_t ts, uint64_t origin, const uint64_t num[TLY_NUMS_MAX]);
struct tly_dot text_of(uint64_t ts, uint64_t origin, const char *text);
struct tly_dot remove_of(uint64_t ts, uint64_t origin);

/* The same bytes in the pool, where they stay; every sampled dot's bytes are there. */
struct tly_slice sample_kept(struct tly_slice bytes);

bool dots_equal(const struct tly_dot *a, size_t a_count, const struct tly_dot *b, size_t b_count);
void dots_print(const char *title, const struct tly_dot *dots, size_t count);

/* Makes order the next permutation of its n items in lexicographic order; false after the last. */
bool next_order(size_t *order, size_t n);

#endif
