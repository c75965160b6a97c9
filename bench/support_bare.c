#include "bench/support_bare.h"

#include "bench/support.h"
#include "crdt/hash.h"

#include <stdlib.h>

struct slot {
    uint64_t hash;
    uint32_t key; /* number + 1; 0: empty */
    uint64_t count;
};

struct table {
    const struct tly_bench_keys *keys;
    struct tly_hash_key secret;
    struct slot *slots;
    size_t mask;
};

static void table_init(struct table *table, const struct tly_bench_keys *keys)
{
    uint64_t seed = 1;
    *table = (struct table){.keys = keys, .mask = 1};
    while (table->mask < 2 * tly_bench_keys_count(keys))
        table->mask = 2 * table->mask + 1;
    table->slots = tly_bench_new(table->mask + 1, sizeof *table->slots);
    for (size_t i = 0; i < sizeof table->secret.secret; i++)
        table->secret.secret[i] = (uint8_t)tly_bench_next(&seed);
}

static uint64_t hash_of(const struct table *table, uint32_t i)
{
    return tly_hash(&table->secret, tly_bench_key(table->keys, i));
}

static uint64_t *count_of(struct table *table, uint32_t i, uint64_t hash)
{
    struct tly_slice key = tly_bench_key(table->keys, i);
    size_t at = hash & table->mask;
    for (; table->slots[at].key != 0; at = (at + 1) & table->mask) {
        if (table->slots[at].hash != hash) continue;
        if (tly_slice_equal(tly_bench_key(table->keys, table->slots[at].key - 1), key)) break;
    }
    table->slots[at].hash = hash;
    table->slots[at].key = i + 1;
    return &table->slots[at].count;
}

static void add_each(struct table *table, const uint32_t *order, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ++*count_of(table, order[i], hash_of(table, order[i]));
}

/* A group at a time, whose slots are asked for before the first is looked at. */
static void add_groups(struct table *table, const uint32_t *order, size_t count)
{
    uint64_t hashes[TLY_BENCH_BARE_GROUP];
    for (size_t done = 0; done < count; done += TLY_BENCH_BARE_GROUP) {
        size_t left = count - done, n = left < TLY_BENCH_BARE_GROUP ? left : TLY_BENCH_BARE_GROUP;
        for (size_t i = 0; i < n; i++) {
            hashes[i] = hash_of(table, order[done + i]);
            __builtin_prefetch(&table->slots[hashes[i] & table->mask]);
        }
        for (size_t i = 0; i < n; i++)
            ++*count_of(table, order[done + i], hashes[i]);
    }
}

static void table_fini(struct table *table, size_t passes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= table->mask; i++)
        sum += table->slots[i].count;
    tly_bench_equal(sum, passes * tly_bench_keys_count(table->keys), "sum of the yardstick");
    free(table->slots);
}

double tly_bench_bare(const struct tly_bench_keys *keys, uint32_t *const *order, size_t passes)
{
    struct table table;
    size_t count = tly_bench_keys_count(keys);
    table_init(&table, keys);
    double since = tly_bench_cpu_s();
    for (size_t pass = 0; pass < passes; pass++)
        add_each(&table, order[pass], count);
    double rate = tly_bench_rate(passes * count, since);
    table_fini(&table, passes);
    return rate;
}

double tly_bench_bare_again(const struct tly_bench_keys *keys, uint32_t *const *order, size_t passes,
                            bool grouped)
{
    struct table table;
    size_t count = tly_bench_keys_count(keys);
    table_init(&table, keys);
    add_each(&table, order[0], count);
    double since = tly_bench_cpu_s();
    for (size_t pass = 1; pass < passes; pass++)
        (grouped ? add_groups : add_each)(&table, order[pass], count);
    double rate = tly_bench_rate((passes - 1) * count, since);
    table_fini(&table, passes);
    return rate;
}
