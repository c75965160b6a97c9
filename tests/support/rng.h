/*
 * A small seeded generator, the same numbers everywhere, and the claim that names its seed when it fails.  The seed in
 * use is remembered for that one purpose: it is printed when a claim fails and when an assertion of ours aborts.
 */
#ifndef TALLY_TESTS_SUPPORT_RNG_H
#define TALLY_TESTS_SUPPORT_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_rng {
    uint64_t state;
};

struct test_rng test_rng_of(uint64_t seed);
/* One that is not of the seed in use, or of a program that names its seed by itself: what is remembered stays. */
struct test_rng test_rng_unnamed(uint64_t seed);
uint64_t test_rng_next(struct test_rng *rng);
/* 0 to n-1; n is not 0. */
uint64_t test_rng_below(struct test_rng *rng, uint64_t n);
bool test_rng_chance(struct test_rng *rng, unsigned percent);
void test_rng_shuffle(struct test_rng *rng, void *items, size_t count, size_t item_bytes);

/* TALLY_SEED in the environment, or 1: random tests run some seeds from here on. */
uint64_t test_seed_first(void);
/* TALLY_LONG=1 in the environment: the longer laws. */
bool test_is_long(void);

/* Fails the running test, with the seed, unless `holds`. */
#define claim(holds) ((holds) ? (void)0 : test_does_not_hold(#holds, __FILE__, __LINE__))
_Noreturn void test_does_not_hold(const char *text, const char *file, int line);

#endif
