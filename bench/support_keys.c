#include "bench/support_keys.h"

#include "bench/support.h"

#include <stdlib.h>

#define KEY_BYTES 40
#define TENANTS 2000
#define IDS_OF_5_DIGITS ((size_t)1 << 20)

static const char *const routes[] = {"/api/v2/orders", "/api/v2/login", "/metrics", "/webhooks",
                                     "/search",        "/v1/files",     "/status",  "/reports"};

struct tly_bench_keys {
    size_t count;
    char (*text)[KEY_BYTES];
    uint8_t *bytes;  /* of each */
    uint32_t *order; /* which key has which rank */
    double *sum;     /* of the weights up to a rank */
};

/* Ids are a permutation (an odd factor and an offset), so that no key comes twice. */
static void make_key(struct tly_bench_keys *keys, size_t i, uint64_t offset, uint64_t *seed)
{
    unsigned tenant = (unsigned)tly_bench_below(seed, TENANTS);
    const char *route = routes[tly_bench_below(seed, sizeof routes / sizeof routes[0])];
    int digits = keys->count <= IDS_OF_5_DIGITS ? 5 : 6;
    unsigned id = (unsigned)((i * 0x9e375u + offset) % (1u << 4 * digits));
    keys->bytes[i] =
        (uint8_t)snprintf(keys->text[i], KEY_BYTES, "rl:%05u:%s:%0*x", tenant, route, digits, id);
}

static void make_sums(struct tly_bench_keys *keys)
{
    double sum = 0;
    for (size_t i = 0; i < keys->count; i++)
        keys->sum[i] = sum += 1 / ((double)i + 1);
}

struct tly_bench_keys *tly_bench_keys_new(size_t count, uint64_t *seed)
{
    if (count == 0 || count > TLY_BENCH_KEYS_MAX)
        tly_bench_fail("1 to %u keys, not %zu", TLY_BENCH_KEYS_MAX, count);
    struct tly_bench_keys *keys = tly_bench_new(1, sizeof *keys);
    keys->count = count;
    keys->text = tly_bench_new(count, KEY_BYTES);
    keys->bytes = tly_bench_new(count, 1);
    keys->order = tly_bench_new(count, sizeof *keys->order);
    keys->sum = tly_bench_new(count, sizeof *keys->sum);
    uint64_t offset = tly_bench_next(seed);
    for (size_t i = 0; i < count; i++)
        make_key(keys, i, offset, seed);
    tly_bench_shuffle(keys->order, count, seed);
    make_sums(keys);
    return keys;
}

void tly_bench_keys_free(struct tly_bench_keys *keys)
{
    if (keys == NULL) return;
    free(keys->text);
    free(keys->bytes);
    free(keys->order);
    free(keys->sum);
    free(keys);
}

size_t tly_bench_keys_count(const struct tly_bench_keys *keys)
{
    return keys->count;
}

struct tly_slice tly_bench_key(const struct tly_bench_keys *keys, size_t i)
{
    return tly_slice_of(keys->text[i], keys->bytes[i]);
}

size_t tly_bench_zipf(const struct tly_bench_keys *keys, uint64_t *seed)
{
    double point = (double)(tly_bench_next(seed) >> 11) * 0x1p-53 * keys->sum[keys->count - 1];
    size_t low = 0, high = keys->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (keys->sum[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    return keys->order[low];
}
