#include "tests/support/rng.h"

#include "tests/support/cmocka.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t seed_in_use;

/* In a signal handler: nothing but write. */
static void tell_seed(int signal_number)
{
    char text[] = "seed 00000000000000000000\n";
    uint64_t rest = seed_in_use;
    for (size_t i = sizeof text - 2; text[--i] != ' ' && rest > 0; rest /= 10)
        text[i] = (char)('0' + rest % 10);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(1);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

struct test_rng test_rng_of(uint64_t seed)
{
    seed_in_use = seed;
    (void)signal(SIGABRT, tell_seed);
    return test_rng_unnamed(seed);
}

struct test_rng test_rng_unnamed(uint64_t seed)
{
    return (struct test_rng){seed};
}

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators (splitmix64). */
uint64_t test_rng_next(struct test_rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t test_rng_below(struct test_rng *rng, uint64_t n)
{
    return test_rng_next(rng) % n;
}

bool test_rng_chance(struct test_rng *rng, unsigned percent)
{
    return test_rng_below(rng, 100) < percent;
}

void test_rng_shuffle(struct test_rng *rng, void *items, size_t count, size_t item_bytes)
{
    unsigned char *p = items;
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)test_rng_below(rng, i);
        for (size_t k = 0; k < item_bytes; k++) {
            unsigned char kept = p[(i - 1) * item_bytes + k];
            p[(i - 1) * item_bytes + k] = p[j * item_bytes + k];
            p[j * item_bytes + k] = kept;
        }
    }
}

/* TALLY_TEST=name in the environment: only that test of a program (cmocka's pattern). */
__attribute__((constructor)) static void choose_test(void)
{
    const char *pattern = getenv("TALLY_TEST");
    if (pattern != NULL) cmocka_set_test_filter(pattern);
}

uint64_t test_seed_first(void)
{
    const char *text = getenv("TALLY_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

bool test_is_long(void)
{
    const char *text = getenv("TALLY_LONG");
    return text != NULL && strcmp(text, "1") == 0;
}

void test_does_not_hold(const char *text, const char *file, int line)
{
    print_error("does not hold (seed %llu): %s\n", (unsigned long long)seed_in_use, text);
    _fail(file, line);
    abort(); /* it does not come back, but its header does not say so */
}
