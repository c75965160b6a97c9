#include "bench/support_load.h"

#include "bench/support_bare.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct tly_bench_size all_sizes[TLY_BENCH_SIZES_MAX] = {
    {10000, 4, 21}, {100000, 4, 7}, {1000000, 4, 3}, {10000000, 2, 1}};

/* ---- sizes ---- */

static size_t keys_max(void)
{
    const char *text = getenv("BENCH_KEYS_MAX");
    if (text == NULL || text[0] == '\0') return all_sizes[TLY_BENCH_SIZES_MAX - 1].keys;
    char *end;
    unsigned long long keys = strtoull(text, &end, 10);
    if (*end != '\0' || keys < all_sizes[0].keys)
        tly_bench_fail("BENCH_KEYS_MAX=%s: a number from %zu on was expected", text, all_sizes[0].keys);
    return (size_t)keys;
}

/* What the kernel could give without swapping; nothing is known elsewhere than on Linux. */
static uint64_t available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    uint64_t kib = UINT64_MAX / 1024;
    char line[128];
    if (file == NULL) return UINT64_MAX;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

static size_t choose_sizes(size_t bytes_per_key, struct tly_bench_size sizes[TLY_BENCH_SIZES_MAX])
{
    size_t most = keys_max(), count = 0;
    for (size_t i = 0; i < TLY_BENCH_SIZES_MAX; i++) {
        const struct tly_bench_size *size = &all_sizes[i];
        if (size->keys > most) {
            printf("%zu keys are left out: BENCH_KEYS_MAX=%zu\n", size->keys, most);
            continue;
        }
        if (size->keys * bytes_per_key > available_bytes()) {
            printf("%zu keys are left out: they take %zu MiB, more than this machine has to give now\n",
                   size->keys, size->keys * bytes_per_key >> 20);
            continue;
        }
        sizes[count] = *size;
        sizes[count++].repeats = tly_bench_repeats(size->repeats);
    }
    return count;
}

/* ---- one size ---- */

void tly_bench_load_init(struct tly_bench_load *load, const struct tly_bench_size *size, uint64_t seed)
{
    *load = (struct tly_bench_load){.count = size->keys, .passes = size->passes};
    load->keys = tly_bench_keys_new(size->keys, &seed);
    for (size_t pass = 0; pass < size->passes; pass++) {
        load->order[pass] = tly_bench_new(size->keys, sizeof *load->order[pass]);
        tly_bench_shuffle(load->order[pass], size->keys, &seed);
    }
}

void tly_bench_load_fini(struct tly_bench_load *load)
{
    for (size_t pass = 0; pass < load->passes; pass++)
        free(load->order[pass]);
    tly_bench_keys_free(load->keys);
}

double tly_bench_load_bare(const struct tly_bench_load *load)
{
    return tly_bench_bare(load->keys, load->order, load->passes);
}

/* ---- all sizes ---- */

static void print_curve(const struct tly_bench_curve *curve)
{
    printf("  %-32s", "ns per operation (x the bare one)");
    for (size_t s = 0; s < curve->size_count; s++)
        printf(" %12zu keys", curve->sizes[s].keys);
    putchar('\n');
    for (size_t i = 0; i < curve->case_count; i++) {
        printf("  %-33s", curve->cases[i].name);
        for (size_t s = 0; s < curve->size_count; s++) {
            const double *median = curve->medians[s];
            printf(" %8.0f %6.1fx ", 1e3 / median[i], median[0] / median[i]);
        }
        putchar('\n');
    }
}

void tly_bench_run_sizes(struct tly_bench_curve *curve, size_t bytes_per_key, tly_bench_run_size *run_size,
                         FILE *json)
{
    curve->size_count = choose_sizes(bytes_per_key, curve->sizes);
    for (size_t i = 0; i < curve->size_count; i++) {
        curve->medians[i] = tly_bench_new(curve->case_count, sizeof *curve->medians[i]);
        run_size(&curve->sizes[i], json, curve->medians[i]);
    }
    print_curve(curve);
    for (size_t i = 0; i < curve->size_count; i++)
        free(curve->medians[i]);
}
