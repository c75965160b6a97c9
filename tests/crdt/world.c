#include "tests/crdt/world.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"

#include "tests/crdt/rules.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>

#define KEYS (SAMPLE_STRATEGIES * WORLD_KEYS)

static const char *const keys[KEYS] = {"l:a", "m:a", "s:a", "e:a", "l:b", "m:b", "s:b", "e:b"};

/* ---- keys and maps ---- */

struct tly_registry *world_registry(const struct tly_mem *mem)
{
    static const char *const prefixes[] = {"l:", "m:", "s:", "e:"};
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

/* Made once: the random laws make maps by the million. */
static const struct tly_hash_key *hash_key(void)
{
    static struct tly_hash_key key;
    if (key.secret[0] == 0)
        for (size_t i = 0; i < sizeof key.secret; i++)
            key.secret[i] = (uint8_t)(i * 37 + 11);
    return &key;
}

struct tly_ormap *world_map(const struct tly_mem *mem, const struct tly_registry *registry, uint64_t origin)
{
    struct tly_ormap_config config = {
        .mem = *mem,
        .hash_key = *hash_key(),
        .registry = registry,
        .keys_max = 1000000,
        .clock = tly_clock_of(0, (struct tly_time){1, 0}, TLY_MAX_SKEW_NS),
    };
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

void world_check(struct tly_ormap *map, struct tly_slice key, struct tly_hit hit)
{
    struct tly_seek seek = tly_seek_of(map, key);
    struct tly_pane pane = tly_pane_of(hit.window, hit.epoch);
    struct tly_tally tally;
    tly_tally_of(map, &seek, &pane, &tally);
    claim(tly_tally_hit(map, &seek, &pane, &tally, hit.units) == TLY_OK);
}

static void claim_tally(struct tly_ormap *map, struct tly_slice key, struct tly_moment at)
{
    struct tly_seek seek = tly_seek_of(map, key);
    struct tly_pane pane = tly_pane_of(at.window, at.epoch);
    struct tly_tally tally;
    struct tly_value value = {0};
    tly_tally_of(map, &seek, &pane, &tally);
    claim(tally.entry == tly_ormap_find(map, key));
    if (tally.entry != NULL) tly_entry_read(map, tally.entry, &at, &value);
    claim(tally.current == value.count && tally.previous == value.previous);
}

static void claim_generation(struct tly_ormap *map, struct tly_slice key)
{
    struct tly_seek seek = tly_seek_of(map, key);
    struct tly_tally tally;
    tly_tally_counter(map, &seek, &tally);
    claim(tally.entry == tly_ormap_find(map, key));
    claim(tally.entry == NULL || tally.generation == tly_counter_generation(map, tally.entry));
    struct tly_dot own = {0};
    if (tally.own != NULL)
        claim(tly_ormap_own(map, tally.entry, 0, &own) && own.num[TLY_SUM_EPOCH] == tally.generation);
}

void world_claim_tallies(struct tly_ormap *map)
{
    static const uint64_t windows[] = {7, 1000, (UINT64_C(1) << 63) + 3};
    static const uint64_t epochs[] = {0, 1, 2, 3, 4, UINT64_MAX - 2, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 2; i < KEYS; i += SAMPLE_STRATEGIES)
        claim_generation(map, world_key(i));
    for (size_t i = 2; i < KEYS; i += SAMPLE_STRATEGIES)
        for (size_t window = 0; window < sizeof windows / sizeof *windows; window++)
            for (size_t epoch = 0; epoch < sizeof epochs / sizeof *epochs; epoch++)
                claim_tally(map, world_key(i),
                            (struct tly_moment){.window = windows[window], .epoch = epochs[epoch]});
}

/* What `from` would hand to `to`: borrowed from `from`, in memory that the caller frees. */
static struct tly_scanned *delta(struct tly_ormap *from, const struct tly_ormap *to, size_t *count)
{
    struct tly_scanned *all = calloc(tly_ormap_log_size(from) + 1, sizeof *all);
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
    for (size_t key = 0; key < KEYS; key++) {
        size_t count;
        const struct tly_dot *dots = world_dots(map, world_key(key), &count);
        for (size_t i = 0; i < count; i++) {
            if (dots[i].version.origin != origin || dots[i].version.ts <= after) continue;
            twin_learn(twin, key, &dots[i]);
            if (dots[i].version.ts > newest) newest = dots[i].version.ts;
        }
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
    *count = rule_fold(world_strategy(key), dots, n);
    return dots;
}

static void claim_reads(struct tly_ormap *map, size_t key, const struct tly_dot *folded, size_t count)
{
    static const struct tly_moment moments[] = {
        {.now_ms = 999}, {.now_ms = 1000}, {.window = 1000, .epoch = 1}, {.window = 7, .epoch = 2}};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        struct tly_value value = world_read(map, world_key(key), moments[i]),
                         expected = rule_read(world_strategy(key), folded, count, &moments[i]);
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
                      rule_dominates(world_strategy(known->key), &dots[j], &known->dot);
        if (!covered) dots_print("claimed by the mark:", &known->dot, 1);
        if (!covered) dots_print("but there is:", dots, count);
        claim(covered);
    }
}

/* ---- the log ---- */

static bool stands(struct tly_ormap *map, const struct tly_scanned *row)
{
    size_t count;
    const struct tly_dot *dots = world_dots(map, row->key, &count);
    for (size_t i = 0; i < count; i++)
        if (tly_dot_equal(&dots[i], &row->dot)) return true;
    return false;
}

/* One that is yielded twice comes twice in a row: rows of one ts are grouped by key. */
static size_t rows_of_life(struct tly_ormap *map, size_t life)
{
    struct tly_scan scan = tly_scan_of(map, life, 0);
    uint64_t origin = tly_ormap_life(map, life).origin;
    struct tly_scanned last = {0};
    size_t rows = 0;
    for (struct tly_scanned row; tly_scan_next(map, &scan, &row); last = row, rows++) {
        claim(row.dot.version.ts >= last.dot.version.ts && row.dot.version.origin == origin);
        claim(rows == 0 || !tly_dot_equal(&row.dot, &last.dot) || !tly_slice_equal(row.key, last.key));
        claim(stands(map, &row));
    }
    return rows;
}

void log_claim_complete(struct tly_ormap *map)
{
    size_t held = 0, rows = 0;
    for (size_t key = 0; key < KEYS; key++) {
        size_t count;
        (void)world_dots(map, world_key(key), &count);
        held += count;
    }
    for (size_t i = 0; i < tly_ormap_lives(map); i++)
        rows += rows_of_life(map, i);
    claim(tly_ormap_log_size(map) == held && rows == held);
}

/* ---- another map with the same dots ---- */

struct tly_ormap *world_copy(const struct tly_mem *mem, const struct tly_registry *registry,
                             struct tly_ormap *from, uint64_t origin, struct test_rng *rng)
{
    struct tly_ormap *map = world_map(mem, registry, 0);
    size_t count;
    struct tly_scanned *all = delta(from, map, &count);
    if (rng != NULL) test_rng_shuffle(rng, all, count, sizeof *all);
    for (size_t i = 0; i < count; i++)
        claim(world_apply(map, all[i].key, &all[i].dot) == TLY_APPLIED);
    free(all);
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        claim(tly_ormap_raise_mark(map, life.origin, life.mark) == TLY_OK);
    }
    tly_clock_observe(tly_ormap_clock(map), tly_ormap_clock(from)->last);
    if (origin != 0) claim(tly_ormap_begin_life(map, origin) == TLY_OK);
    return map;
}

/* ---- several nodes ---- */

struct world world_of(void)
{
    struct world world = {.mem = test_mem()};
    world.registry = world_registry(&world.mem);
    for (size_t i = 0; i < WORLD_NODES; i++) {
        world.origin[i] = i + 1;
        world.node[i] = world_map(&world.mem, world.registry, world.origin[i]);
    }
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

static void learn(struct world *world, size_t node)
{
    world->learned[node] =
        twin_learn_life(&world->twin, world->node[node], world->origin[node], world->learned[node]);
}

void world_seal(struct world *world, size_t node)
{
    claim(tly_ormap_seal(world->node[node]) == TLY_OK);
    claim(!tly_ormap_is_unsealed(world->node[node]));
    learn(world, node);
}

enum tly_result world_write(struct world *world, size_t node, size_t key, const struct tly_dot *wanted)
{
    struct tly_ormap *map = world->node[node];
    enum tly_result result = wanted->op == TLY_PUT ? tly_ormap_put(map, world_key(key), wanted)
                                                   : tly_ormap_remove(map, world_key(key));
    if (result != TLY_OK) return result;
    size_t known = world->twin.count;
    learn(world, node);
    struct tly_dot dot = *wanted;
    dot.version = (struct tly_version){tly_ormap_clock(map)->last, world->origin[node]};
    bool stands = false;
    for (size_t i = known; i < world->twin.count; i++)
        stands = stands || tly_dot_equal(&world->twin.dots[i].dot, &dot);
    claim(stands);
    return TLY_OK;
}

/* What the disk of a node holds that was killed: all that the twin knows and its marks cover, own dots up to the last hand-off. */
static struct tly_ormap *read_back(struct world *world, size_t node, struct test_rng *rng)
{
    struct tly_ormap *from = world->node[node], *map = world_map(&world->mem, world->registry, 0);
    uint64_t own = world->origin[node], learned = world->learned[node];
    size_t count;
    struct tly_scanned *all = delta(from, map, &count);
    for (size_t i = 0; i < world->twin.count; i++) {
        const struct twin_dot *known = &world->twin.dots[i];
        struct tly_version version = known->dot.version;
        /* No mark speaks of forged dots; what is sealed here for the last time may have pushed one out. */
        if (version.origin >= WORLD_FORGED ||
            version.ts <= (version.origin == own ? learned : tly_ormap_mark(from, version.origin)))
            (void)world_apply(map, world_key(known->key), &known->dot);
    }
    if (rng != NULL) test_rng_shuffle(rng, all, count, sizeof *all);
    for (size_t i = 0; i < count; i++)
        if (all[i].dot.version.origin != own || all[i].dot.version.ts <= learned)
            (void)world_apply(map, all[i].key, &all[i].dot);
    free(all);
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        claim(tly_ormap_raise_mark(map, life.origin, life.origin == own ? learned : life.mark) == TLY_OK);
    }
    tly_clock_observe(tly_ormap_clock(map), tly_ormap_clock(from)->last);
    return map;
}

void world_restart(struct world *world, size_t node, bool clean, struct test_rng *rng)
{
    struct tly_ormap *map;
    if (clean) {
        world_seal(world, node);
        map = world_copy(&world->mem, world->registry, world->node[node], world->origin[node], rng);
    } else {
        claim(tly_ormap_seal(world->node[node]) == TLY_OK);
        map = read_back(world, node, rng);
        world->origin[node] += WORLD_NODES;
        world->learned[node] = 0;
        claim(tly_ormap_begin_life(map, world->origin[node]) == TLY_OK);
    }
    tly_ormap_free(world->node[node]);
    world->node[node] = map;
}

void world_sync(struct world *world, size_t from, size_t to, struct test_rng *rng)
{
    world_seal(world, from);
    (void)world_round(world->node[from], world->node[to], rng);
}

void world_part(struct world *world, size_t from, size_t to, struct test_rng *rng)
{
    size_t count;
    world_seal(world, from);
    struct tly_scanned *all = delta(world->node[from], world->node[to], &count);
    test_rng_shuffle(rng, all, count, sizeof *all);
    for (size_t i = 0; i < count; i++)
        if (test_rng_chance(rng, 60)) (void)world_apply(world->node[to], all[i].key, &all[i].dot);
    free(all);
}

static void claim_versions_unique(const struct twin *twin)
{
    for (size_t i = 0; i < twin->count; i++)
        for (size_t j = 0; j < i && twin->dots[i].dot.version.origin < WORLD_FORGED; j++)
            claim(tly_version_compare(twin->dots[i].dot.version, twin->dots[j].dot.version) != 0);
}

static void claim_settled(struct world *world)
{
    claim_versions_unique(&world->twin);
    for (size_t i = 0; i < WORLD_NODES; i++) {
        twin_claim_equal(&world->twin, world->node[i]);
        claim(tly_ormap_digest(world->node[i]) == tly_ormap_digest(world->node[0]));
        log_claim_complete(world->node[i]);
        for (size_t to = 0; to < WORLD_NODES; to++)
            claim(to == i || world_round(world->node[i], world->node[to], NULL) == 0);
    }
}

void world_settle(struct world *world)
{
    /* Twice around: what a REMOVE makes others publish must come round as well. */
    for (size_t i = 0; i < 4 * WORLD_NODES; i++)
        world_sync(world, i % WORLD_NODES, (i + 1) % WORLD_NODES, NULL);
    for (size_t i = 0; i < WORLD_NODES; i++) {
        world_seal(world, i);
        twin_claim_marks(&world->twin, world->node[i]);
    }
    claim_settled(world);
}
