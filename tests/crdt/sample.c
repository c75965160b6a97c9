#include "tests/crdt/sample.h"

#include "tests/support/cmocka.h"

#include <inttypes.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const pool[] = {"", "a", "b", "ab", "\xff", "a longer value, past any word"};

static const uint64_t epochs[] = {0, 1, 2, 3, UINT64_MAX - 1, UINT64_MAX};
static const uint64_t windows[] = {0, 0, 7, 1000, 1000, (UINT64_C(1) << 63) + 3};
static const uint64_t counts[] = {(uint64_t)INT64_MIN, UINT64_MAX, 0, 1, 7, INT64_MAX};
static const uint64_t deadlines[] = {0, 0, 1000, UINT64_MAX};
static const uint64_t clock_ends[] = {1, UINT64_MAX - 1, UINT64_MAX};

static const uint64_t rights[] = {0, 0, 7, 1000, 1000, (UINT64_C(1) << 63) + 3, UINT64_MAX - 1, UINT64_MAX};
static const uint64_t units[] = {0, 1, 7, INT64_MAX};
static const uint64_t stretches[] = {0xffffffff, UINT64_C(0x5555555500000000) + 0xaaaaaaaa, 1, UINT64_MAX - 1,
                                     UINT64_C(0xfffffffeffffffff)};
static const uint64_t lives[] = {1, 2, 3, UINT64_MAX};

static uint64_t one_of(struct test_rng *rng, const uint64_t *items, size_t count)
{
    return items[test_rng_below(rng, count)];
}

/* Of every kind, as tly_dot_check lets pass. */
static void sample_rights(struct test_rng *rng, struct tly_dot *dot)
{
    dot->num[0] = one_of(rng, rights, COUNT_OF(rights));
    dot->num[2] = one_of(rng, lives, COUNT_OF(lives));
    if (dot->num[0] == UINT64_MAX - 1) return;
    dot->num[1] = one_of(rng, epochs, COUNT_OF(epochs));
    if (dot->num[0] == 0 || dot->num[0] == UINT64_MAX) {
        do
            dot->num[3] = one_of(rng, stretches, COUNT_OF(stretches));
        while (dot->num[3] >> 32 >= (uint32_t)dot->num[3]);
    } else {
        dot->num[3] = one_of(rng, units, COUNT_OF(units));
    }
    if (dot->num[0] != 0 && test_rng_chance(rng, 25)) dot->num[2] = 0;
}

static void sample_payload(struct test_rng *rng, const struct tly_strategy *strategy, struct tly_dot *dot)
{
    if (strategy->id == TLY_LWW) {
        dot->num[0] = one_of(rng, deadlines, COUNT_OF(deadlines));
        dot->bytes = tly_slice_text(pool[test_rng_below(rng, COUNT_OF(pool))]);
    } else if (strategy->id == TLY_EPOCH_MAX) {
        dot->num[0] = one_of(rng, epochs, COUNT_OF(epochs));
        dot->num[1] = one_of(rng, counts, COUNT_OF(counts));
    } else if (strategy->id == TLY_ESCROW) {
        sample_rights(rng, dot);
    } else {
        dot->num[0] = one_of(rng, windows, COUNT_OF(windows));
        dot->num[1] = one_of(rng, epochs, COUNT_OF(epochs));
        dot->num[2] = one_of(rng, counts, COUNT_OF(counts));
        dot->num[3] = one_of(rng, counts, COUNT_OF(counts));
    }
}

struct tly_dot sample_dot(struct test_rng *rng, const struct tly_strategy *strategy)
{
    bool end = test_rng_chance(rng, 5), remove = test_rng_chance(rng, 25);
    struct tly_dot dot = {
        .version = {end ? one_of(rng, clock_ends, COUNT_OF(clock_ends)) : 1 + test_rng_below(rng, 9),
                    test_rng_chance(rng, 5) ? UINT64_MAX : 1 + test_rng_below(rng, 4)},
        .op = remove ? TLY_REMOVE : TLY_PUT,
    };
    if (!remove) sample_payload(rng, strategy, &dot);
    return dot;
}

struct tly_dot sample_write(struct test_rng *rng, const struct tly_strategy *strategy, unsigned percent)
{
    struct tly_dot dot = {.op = test_rng_chance(rng, percent) ? TLY_PUT : TLY_REMOVE};
    if (dot.op == TLY_PUT) sample_payload(rng, strategy, &dot);
    return dot;
}

struct tly_dot put_of(uint64_t ts, uint64_t origin, uint64_t first, uint64_t second)
{
    return (struct tly_dot){.version = {ts, origin}, .op = TLY_PUT, .num = {first, second}};
}

struct tly_dot shard_of(uint64_t ts, uint64_t origin, const uint64_t num[TLY_NUMS_MAX])
{
    return (struct tly_dot){.version = {ts, origin}, .op = TLY_PUT, .num = {num[0], num[1], num[2], num[3]}};
}

struct tly_dot text_of(uint64_t ts, uint64_t origin, const char *text)
{
    return (struct tly_dot){.version = {ts, origin}, .op = TLY_PUT, .bytes = tly_slice_text(text)};
}

struct tly_dot remove_of(uint64_t ts, uint64_t origin)
{
    return (struct tly_dot){.version = {ts, origin}, .op = TLY_REMOVE};
}

struct tly_slice sample_kept(struct tly_slice bytes)
{
    for (size_t i = 0; i < COUNT_OF(pool); i++)
        if (tly_slice_equal(tly_slice_text(pool[i]), bytes)) return tly_slice_text(pool[i]);
    fail_msg("bytes that no sampled dot has");
    return bytes;
}

bool dots_equal(const struct tly_dot *a, size_t a_count, const struct tly_dot *b, size_t b_count)
{
    bool equal = a_count == b_count;
    for (size_t i = 0; equal && i < a_count; i++)
        equal = tly_dot_equal(&a[i], &b[i]);
    return equal;
}

void dots_print(const char *title, const struct tly_dot *dots, size_t count)
{
    print_error("%s\n", title);
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *d = &dots[i];
        print_error(
            "    %s @%" PRIu64 "/%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " '%.*s'\n",
            d->op == TLY_REMOVE ? "remove" : "put", d->version.ts, d->version.origin, d->num[0], d->num[1],
            (int64_t)d->num[2], (int64_t)d->num[3], (int)d->bytes.n, (const char *)d->bytes.p);
    }
}

bool next_order(size_t *order, size_t n)
{
    size_t i = n;
    while (i > 1 && order[i - 2] > order[i - 1])
        i--;
    if (i <= 1) return false;
    size_t pivot = i - 2, j = n - 1;
    while (order[j] < order[pivot])
        j--;
    size_t kept = order[pivot];
    order[pivot] = order[j];
    order[j] = kept;
    for (size_t k = n - 1, first = i - 1; first < k; first++, k--) {
        kept = order[first];
        order[first] = order[k];
        order[k] = kept;
    }
    return true;
}
