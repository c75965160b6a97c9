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

static uint64_t *count_of(struct table *table, uint32_t i)
{
    struct tly_slice key = tly_bench_key(table->keys, i);
    uint64_t hash = tly_hash(&table->secret, key);
    size_t at = hash & table->mask;
    for (; table->slots[at].key != 0; at = (at + 1) & table->mask) {
        if (table->slots[at].hash != hash) continue;
        if (tly_slice_equal(tly_bench_key(table->keys, table->slots[at].key - 1), key)) break;
    }
    table->slots[at].hash = hash;
    table->slots[at].key = i + 1;
    return &table->slots[at].count;
}

double tly_bench_bare(const struct tly_bench_keys *keys, uint32_t *const *order, size_t passes)
{
    struct table table;
    size_t count = tly_bench_keys_count(keys);
    uint64_t sum = 0;
    table_init(&table, keys);
    double since = tly_bench_cpu_s();
    for (size_t pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < count; i++)
            ++*count_of(&table, order[pass][i]);
    double rate = tly_bench_rate(passes * count, since);
    for (size_t i = 0; i <= table.mask; i++)
        sum += table.slots[i].count;
    tly_bench_equal(sum, passes * count, "sum of the yardstick");
    free(table.slots);
    return rate;
}
