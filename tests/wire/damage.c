#include "tests/wire/damage.h"

#include "tests/support/guard.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MUTANT_BYTES_MAX 4096

static void print_bytes(struct tly_slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        fprintf(stderr, "%02x%s", bytes.p[i], i % 32 == 31 || i + 1 == bytes.n ? "\n" : " ");
}

/* Prints the input when the judge is not content. */
static bool holds(struct test_guard *guard, struct tly_slice bytes, judge_fn *judge, void *context)
{
    struct tly_slice placed = tly_slice_of(test_guard_place(guard, bytes.p, bytes.n), bytes.n);
    if (judge(placed, context)) return true;
    print_bytes(bytes);
    return false;
}

void at_the_edge(struct tly_slice bytes, judge_fn *judge, void *context)
{
    struct test_guard *guard = test_guard_new(bytes.n);
    if (!holds(guard, bytes, judge, context)) fail_msg("the whole input");
    test_guard_free(guard);
}

void each_prefix(struct tly_slice bytes, judge_fn *judge, void *context)
{
    struct test_guard *guard = test_guard_new(bytes.n);
    for (size_t n = 0; n < bytes.n; n++)
        if (!holds(guard, tly_slice_of(bytes.p, n), judge, context))
            fail_msg("the prefix of %zu of %zu bytes", n, bytes.n);
    test_guard_free(guard);
}

void each_bit_flip(struct tly_slice bytes, judge_fn *judge, void *context)
{
    struct test_guard *guard = test_guard_new(bytes.n);
    uint8_t *copy = malloc(bytes.n);
    assert_non_null(copy);
    memcpy(copy, bytes.p, bytes.n);
    for (size_t bit = 0; bit < bytes.n * 8; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!holds(guard, tly_slice_of(copy, bytes.n), judge, context)) fail_msg("with bit %zu turned", bit);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
    test_guard_free(guard);
}

/* ---- mutants ---- */

struct mutant {
    uint8_t p[MUTANT_BYTES_MAX];
    size_t n;
};

/* What has broken decoders before: the ends of ranges, reserved bytes, heads that promise a lot. */
static const struct {
    uint8_t bytes[5];
    uint8_t n;
} nasty[] = {
    {{0x00}, 1},       {{0x7f}, 1},       {{0x80}, 1},
    {{0xff}, 1},       {{0xc0}, 1},       {{0xc1}, 1},
    {{0xdc}, 1},       {{0xcf, 0xff}, 2}, {{0xd3, 0x80}, 2},
    {{0xc9, 0xff}, 2}, {{0x9f, 0x9f}, 2}, {{0xdd, 0x0f, 0xff, 0xff, 0xff}, 5},
    {{0x91}, 1},       {{0xa0}, 1},       {{0xdf, 0xff, 0xff, 0xff, 0xff}, 5},
    {{0xc4, 0x00}, 2}, {{0x90}, 1},       {{0xc6, 0xff, 0xff, 0xff, 0xff}, 5},
};

static size_t some(struct test_rng *rng, size_t below)
{
    return (size_t)test_rng_below(rng, below);
}

static void cut_out(struct mutant *mutant, size_t at, size_t n)
{
    if (n > mutant->n - at) n = mutant->n - at;
    memmove(mutant->p + at, mutant->p + at + n, mutant->n - at - n);
    mutant->n -= n;
}

static void insert(struct mutant *mutant, size_t at, const uint8_t *bytes, size_t n)
{
    if (n > sizeof mutant->p - mutant->n) return;
    memmove(mutant->p + at + n, mutant->p + at, mutant->n - at);
    memmove(mutant->p + at, bytes, n);
    mutant->n += n;
}

static void put_nasty(struct mutant *mutant, size_t at, struct test_rng *rng)
{
    size_t which = some(rng, sizeof nasty / sizeof nasty[0]);
    if (some(rng, 2) == 0) cut_out(mutant, at, nasty[which].n);
    insert(mutant, at, nasty[which].bytes, nasty[which].n);
}

static void repeat(struct mutant *mutant, size_t from, size_t at, size_t n)
{
    uint8_t copy[16];
    if (n > sizeof copy) n = sizeof copy;
    if (n > mutant->n - from) n = mutant->n - from;
    memcpy(copy, mutant->p + from, n);
    insert(mutant, at, copy, n);
}

static void mutate_once(struct mutant *mutant, struct test_rng *rng)
{
    if (mutant->n == 0) {
        put_nasty(mutant, 0, rng);
        return;
    }
    size_t at = some(rng, mutant->n);
    switch (some(rng, 6)) {
    case 0: mutant->p[at] ^= (uint8_t)(1u << some(rng, 8)); break;
    case 1: mutant->p[at] = (uint8_t)test_rng_next(rng); break;
    case 2: cut_out(mutant, at, 1 + some(rng, 4)); break;
    case 3: put_nasty(mutant, at, rng); break;
    case 4: repeat(mutant, some(rng, mutant->n), at, 1 + some(rng, 16)); break;
    default: mutant->p[at] = (uint8_t)(mutant->p[at] + (some(rng, 2) == 0 ? 1 : 255)); break;
    }
}

static void mutate(struct mutant *mutant, struct tly_slice seed, struct test_rng *rng)
{
    assert_true(seed.n <= sizeof mutant->p);
    if (seed.n > 0) memcpy(mutant->p, seed.p, seed.n);
    mutant->n = seed.n;
    for (size_t changes = 1 + some(rng, 4); changes > 0; changes--)
        mutate_once(mutant, rng);
}

void each_mutant(const struct tly_slice *seeds, size_t seed_count, judge_fn *judge, void *context)
{
    struct test_guard *guard = test_guard_new(MUTANT_BYTES_MAX);
    struct mutant *mutant = malloc(sizeof *mutant);
    assert_non_null(mutant);
    uint64_t seed = test_seed_first();
    struct test_rng rng = test_rng_of(seed);
    long count = test_is_long() ? 10L * MUTANTS : MUTANTS;
    print_message("           TALLY_SEED=%" PRIu64 ", %ld mutants\n", seed, count);
    (void)fflush(stdout); /* an input that kills us takes the rest of the output with it */
    for (long i = 0; i < count; i++) {
        mutate(mutant, seeds[some(&rng, seed_count)], &rng);
        if (!holds(guard, tly_slice_of(mutant->p, mutant->n), judge, context))
            fail_msg("mutant %ld of TALLY_SEED=%" PRIu64, i, seed);
    }
    free(mutant);
    test_guard_free(guard);
}

/* ---- memory ---- */

void each_failed_allocation(encode_fn *encode, void *context)
{
    size_t live = test_mem_live();
    for (size_t n = 0;; n++) {
        struct test_failing failing = {.countdown = n};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_buf out;
        tly_buf_init(&out, &mem, SIZE_MAX);
        encode(&out, &mem, context);
        enum tly_result result = out.result;
        tly_buf_fini(&out);
        assert_int_equal(test_mem_live(), live);
        assert_int_equal(result, failing.failed ? TLY_NOMEM : TLY_OK);
        if (failing.failed) continue;
        assert_true(n > 0);
        return;
    }
}

/* ---- hex ---- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

struct tly_slice from_hex(const char *hex, uint8_t *to, size_t room)
{
    size_t n = 0;
    for (const char *c = hex; *c != '\0'; c++) {
        if (*c == ' ' || *c == '\n') continue;
        int high = digit_of(c[0]), low = high >= 0 ? digit_of(c[1]) : -1;
        if (low < 0 || n == room) fail_msg("no hex, or too much of it: %s", hex);
        to[n++] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
        c++;
    }
    return tly_slice_of(to, n);
}
