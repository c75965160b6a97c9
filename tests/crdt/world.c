#include "tests/crdt/world.h"

#include "tests/support/cmocka.h"

#include <stdlib.h>

#define KEYS (SAMPLE_STRATEGIES * WORLD_KEYS)

static const char *const keys[KEYS] = {"l:a", "m:a", "s:a", "l:b", "m:b", "s:b"};

/* ---- keys and maps ---- */

struct tly_registry *world_registry(const struct tly_mem *mem)
{
    static const char *const prefixes[] = {"l:", "m:", "s:"};
    struct tly_registry *registry = tly_registry_new(mem);
    for (size_t i = 0; i < SAMPLE_STRATEGIES; i++) {
        struct tly_registry *next = NULL;
        claim(tly_registry_with(registry, tly_slice_text(prefixes[i]), tly_strategy_at(i), &next) == TLY_OK);
        tly_registry_free(registry);
        registry = next;
    }
    return registry;
}

struct tly_slice world_key(size_t i)
{
    return tly_slice_text(keys[i % KEYS]);
}

const struct tly_strategy *world_strategy(size_t i)
{
    return tly_strategy_at(i % SAMPLE_STRATEGIES);
}

static size_t key_number(struct tly_slice key)
{
    for (size_t i = 0; i < KEYS; i++)
        if (tly_slice_equal(world_key(i), key)) return i;
    fail_msg("a key of no test");
    return 0;
}

struct tly_ormap *world_map(const struct tly_mem *mem, const struct tly_registry *registry, uint64_t origin)
{
    struct tly_ormap_config config = {
        .mem = *mem,
        .registry = registry,
        .keys_max = 1000000,
        .clock = tly_clock_of(0, (struct tly_time){1, 0}, TLY_MAX_SKEW_NS),
    };
    for (size_t i = 0; i < sizeof config.hash_key.secret; i++)
        config.hash_key.secret[i] = (uint8_t)(i * 37 + 11);
    struct tly_ormap *map = tly_ormap_new(&config);
    if (map != NULL && origin != 0) claim(tly_ormap_begin_life(map, origin) == TLY_OK);
    return map;
}

const struct tly_dot *world_dots(struct tly_ormap *map, struct tly_slice key, size_t *count)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    *count = 0;
    return entry != NULL ? tly_entry_dots(map, entry, count) : NULL;
}

struct tly_value world_read(struct tly_ormap *map, struct tly_slice key, struct tly_moment at)
{
    struct tly_value value = {0};
    const struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry != NULL) tly_entry_read(map, entry, &at, &value);
    return value;
}

bool values_equal(const struct tly_value *a, const struct tly_value *b)
{
    return a->present == b->present && a->epoch == b->epoch && a->count == b->count &&
           a->previous == b->previous && a->deadline_ms == b->deadline_ms &&
           tly_slice_equal(a->bytes, b->bytes);
}

enum tly_outcome world_apply(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    enum tly_outcome outcome = TLY_MALFORMED;
    claim(tly_ormap_apply(map, key, dot, &outcome) == TLY_OK);
    return outcome;
}

void world_hit(struct tly_ormap *map, struct tly_slice key, struct tly_hit hit)
{
    struct tly_entry *entry;
    claim(tly_ormap_need(map, key, &entry) == TLY_OK);
    claim(tly_ormap_hit(map, &entry, &hit) == TLY_OK);
}

/* What `from` would hand to `to`: borrowed from `from`, in memory that the caller frees. */
static struct tly_scanned *delta(struct tly_ormap *from, const struct tly_ormap *to, size_t *count)
{
    size_t live, dead;
    tly_ormap_log_size(from, &live, &dead);
    struct tly_scanned *all = calloc(live + dead + 1, sizeof *all);
    claim(all != NULL);
    *count = 0;
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_scan scan = tly_scan_of(from, i, tly_ormap_mark(to, tly_ormap_life(from, i).origin));
        while (tly_scan_next(from, &scan, &all[*count]))
            ++*count;
    }
    return all;
}

size_t world_round(struct tly_ormap *from, struct tly_ormap *to, struct test_rng *rng)
{
    size_t count;
    claim(tly_ormap_seal(from) == TLY_OK);
    struct tly_scanned *all = delta(from, to, &count);
    if (rng != NULL) test_rng_shuffle(rng, all, count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        enum tly_outcome outcome = world_apply(to, all[i].key, &all[i].dot);
        claim(outcome == TLY_APPLIED || outcome == TLY_DUPLICATE || outcome == TLY_DOMINATED);
        if (rng == NULL || !test_rng_chance(rng, 20)) continue;
        size_t again = (size_t)test_rng_below(rng, i + 1);
        outcome = world_apply(to, all[again].key, &all[again].dot);
        claim(outcome == TLY_DUPLICATE || outcome == TLY_DOMINATED);
    }
    free(all);
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        claim(tly_ormap_raise_mark(to, life.origin, life.mark) == TLY_OK);
    }
    return count;
}

/* ---- the twin ---- */

void twin_free(struct twin *twin)
{
    free(twin->dots);
    *twin = (struct twin){0};
}

void twin_learn(struct twin *twin, size_t key, const struct tly_dot *dot)
{
    if (twin->count == twin->capacity) {
        twin->capacity = twin->capacity * 2 + 16;
        struct twin_dot *grown = realloc(twin->dots, twin->capacity * sizeof *grown);
        claim(grown != NULL);
        twin->dots = grown;
    }
    struct twin_dot *learned = &twin->dots[twin->count++];
    *learned = (struct twin_dot){key, *dot};
    learned->dot.bytes = sample_kept(dot->bytes);
}

uint64_t twin_learn_life(struct twin *twin, struct tly_ormap *map, uint64_t origin, uint64_t after)
{
    uint64_t newest = after;
    for (size_t i = 0; i < tly_ormap_lives(map); i++) {
        if (tly_ormap_life(map, i).origin != origin) continue;
        struct tly_scan scan = tly_scan_of(map, i, after);
        for (struct tly_scanned row; tly_scan_next(map, &scan, &row); newest = row.dot.version.ts)
            twin_learn(twin, key_number(row.key), &row.dot);
    }
    return newest;
}

/* The join of what is known of a key; the caller frees it. */
static struct tly_dot *fold(const struct twin *twin, size_t key, size_t *count)
{
    struct tly_dot *dots = calloc(twin->count + 1, sizeof *dots);
    claim(dots != NULL);
    size_t n = 0;
    for (size_t i = 0; i < twin->count; i++)
        if (twin->dots[i].key == key) dots[n++] = twin->dots[i].dot;
    *count = tly_join(world_strategy(key), dots, n);
    return dots;
}

static void claim_reads(struct tly_ormap *map, size_t key, const struct tly_dot *folded, size_t count)
{
    static const struct tly_moment moments[] = {
        {.now_ms = 999}, {.now_ms = 1000}, {.window = 1000, .epoch = 1}, {.window = 7, .epoch = 2}};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        struct tly_value value = world_read(map, world_key(key), moments[i]), expected = {0};
        if (count > 0) world_strategy(key)->read(folded, count, &moments[i], &expected);
        claim(values_equal(&value, &expected));
    }
}

void twin_claim_equal(const struct twin *twin, struct tly_ormap *map)
{
    tly_ormap_check(map);
    claim(!tly_ormap_is_unsealed(map));
    size_t held = 0;
    for (size_t key = 0; key < KEYS; key++) {
        size_t folded_count, count;
        struct tly_dot *folded = fold(twin, key, &folded_count);
        const struct tly_dot *dots = world_dots(map, world_key(key), &count);
        bool equal = dots_equal(folded, folded_count, dots, count);
        if (!equal) {
            dots_print("the twin's dots:", folded, folded_count);
            dots_print("the map's dots:", dots, count);
        }
        if (equal) claim_reads(map, key, folded, folded_count);
        free(folded);
        claim(equal);
        held += count > 0;
    }
    claim(tly_ormap_count(map) == held);
}

void twin_claim_marks(const struct twin *twin, struct tly_ormap *map)
{
    for (size_t i = 0; i < twin->count; i++) {
        const struct twin_dot *known = &twin->dots[i];
        if (known->dot.version.ts > tly_ormap_mark(map, known->dot.version.origin)) continue;
        size_t count;
        const struct tly_dot *dots = world_dots(map, world_key(known->key), &count);
        bool covered = false;
        for (size_t j = 0; j < count; j++)
            covered = covered || tly_dot_equal(&dots[j], &known->dot) ||
                      tly_dominates(world_strategy(known->key), &dots[j], &known->dot);
        claim(covered);
    }
}

/* ---- several nodes ---- */

struct world world_of(void)
{
    struct world world = {.mem = test_mem()};
    world.registry = world_registry(&world.mem);
    for (size_t i = 0; i < WORLD_NODES; i++)
        world.node[i] = world_map(&world.mem, world.registry, i + 1);
    return world;
}

void world_end(struct world *world)
{
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_free(world->node[i]);
    tly_registry_free(world->registry);
    twin_free(&world->twin);
    claim(test_mem_live() == 0);
}

static void seal_and_learn(struct world *world, size_t node)
{
    struct tly_ormap *map = world->node[node];
    claim(tly_ormap_seal(map) == TLY_OK);
    world->learned[node] = twin_learn_life(&world->twin, map, node + 1, world->learned[node]);
}

void world_sync(struct world *world, size_t from, size_t to, struct test_rng *rng)
{
    seal_and_learn(world, from);
    (void)world_round(world->node[from], world->node[to], rng);
}

void world_part(struct world *world, size_t from, size_t to, struct test_rng *rng)
{
    size_t count;
    seal_and_learn(world, from);
    struct tly_scanned *all = delta(world->node[from], world->node[to], &count);
    test_rng_shuffle(rng, all, count, sizeof *all);
    for (size_t i = 0; i < count; i++)
        if (test_rng_chance(rng, 60)) (void)world_apply(world->node[to], all[i].key, &all[i].dot);
    free(all);
}

static void claim_versions_unique(const struct twin *twin)
{
    for (size_t i = 0; i < twin->count; i++)
        for (size_t j = 0; j < i; j++)
            claim(tly_version_compare(twin->dots[i].dot.version, twin->dots[j].dot.version) != 0);
}

void world_settle(struct world *world)
{
    /* Twice around: what a REMOVE makes others publish must come round as well. */
    for (size_t i = 0; i < 4 * WORLD_NODES; i++)
        world_sync(world, i % WORLD_NODES, (i + 1) % WORLD_NODES, NULL);
    for (size_t i = 0; i < WORLD_NODES; i++) {
        seal_and_learn(world, i);
        twin_claim_marks(&world->twin, world->node[i]);
    }
    claim_versions_unique(&world->twin);
    for (size_t i = 0; i < WORLD_NODES; i++) {
        twin_claim_equal(&world->twin, world->node[i]);
        claim(tly_ormap_digest(world->node[i]) == tly_ormap_digest(world->node[0]));
        for (size_t to = 0; to < WORLD_NODES; to++)
            claim(to == i || world_round(world->node[i], world->node[to], NULL) == 0);
    }
}
