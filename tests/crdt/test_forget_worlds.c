/*
 * Law 4 with forgetting on: a PUT older than a REMOVE never comes back.  Four nodes write, delete, forget, meet or do not, crash,
 * come back with an old disk and a new life, are declared forgotten and return; a twin remembers every REMOVE ever made.
 * Whoever meets somebody that knows less than its floors hands over a snapshot, which replaces.
 */
#include "crdt/install.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>

#define NODES 4
#define KEYS 6
#define STEPS 500
#define SEEDS 100

/* What a node says of itself: everything up to `number` is here. Newer words replace older ones. */
struct word {
    uint64_t seq, number;
    bool forgotten;
};

struct node {
    struct tly_ormap *map, *disk; /* disk: how it was when it was saved last */
    struct word heard[NODES];     /* of whom it heard what; the own one too */
    struct word saved[NODES];
    bool below; /* was declared forgotten: nobody takes anything from it before it has been brought up */
};

static struct tly_mem mem;
static struct tly_registry *registry;
static struct test_rng rng;
static struct node nodes[NODES];
static struct twin removes, stalled;
static uint64_t origins, seqs;
static size_t forgotten_removes, installs, settled, settled_beyond, stale;

static uint64_t below(uint64_t n)
{
    return test_rng_below(&rng, n);
}

/* ---- one node ---- */

static enum tly_result stage(struct tly_ormap *source, struct tly_install *install)
{
    size_t cursor = 0;
    for (size_t i = 0; i < tly_ormap_lives(source); i++) {
        struct tly_life life = tly_ormap_life_kept(source, i);
        claim(tly_install_life(install, &life) == TLY_OK);
    }
    tly_install_bounds(install, tly_ormap_bounds(source));
    for (const struct tly_entry *entry; (entry = tly_ormap_each(source, &cursor)) != NULL;) {
        size_t count;
        const struct tly_dot *dots = tly_entry_dots(source, entry, &count);
        for (size_t i = 0; i < count; i++) {
            enum tly_outcome outcome;
            claim(tly_install_add(install, tly_entry_key(entry), &dots[i], &outcome) == TLY_OK);
        }
    }
    struct tly_installed report;
    return tly_install_finish(install, &report);
}

static void replace_by(struct tly_ormap *source, struct tly_ormap *map)
{
    claim(tly_ormap_seal(source) == TLY_OK);
    struct tly_install *install = tly_install_new(map);
    claim(stage(source, install) == TLY_OK);
    tly_install_free(install);
}

static void begin_life(struct node *node)
{
    claim(tly_ormap_begin_life(node->map, ++origins) == TLY_OK);
}

static void save(struct node *node)
{
    tly_ormap_free(node->disk);
    node->disk = world_map(&mem, registry, 0);
    replace_by(node->map, node->disk);
    memcpy(node->saved, node->heard, sizeof node->saved);
}

static void learn_removes(struct tly_ormap *map)
{
    for (size_t key = 0; key < KEYS; key++) {
        size_t count;
        const struct tly_dot *dots = world_dots(map, world_key(key), &count);
        for (size_t i = 0; i < count; i++)
            if (dots[i].op == TLY_REMOVE) twin_learn(&removes, key, &dots[i]);
    }
}

static void write_something(struct node *node)
{
    size_t key = (size_t)below(KEYS);
    struct tly_dot dot = sample_write(&rng, world_strategy(key), 60);
    enum tly_result result = dot.op == TLY_PUT ? tly_ormap_put(node->map, world_key(key), &dot)
                                               : tly_ormap_remove(node->map, world_key(key));
    claim(result == TLY_OK || result == TLY_NOT_FOUND || result == TLY_FRONTIER_FULL);
    claim(tly_ormap_seal(node->map) == TLY_OK);
    learn_removes(node->map);
}

/* ---- what nodes know of each other ---- */

static void publish(size_t who)
{
    struct node *node = &nodes[who];
    struct tly_dot dot = {.op = TLY_PUT};
    claim(tly_ormap_put(node->map, tly_slice_text("l:number"), &dot) == TLY_OK);
    uint64_t least = tly_ormap_mark(node->map, tly_ormap_origin(node->map));
    for (size_t i = 0; i < tly_ormap_lives(node->map); i++) {
        struct tly_life life = tly_ormap_life(node->map, i);
        if (life.origin != 0 && life.state < TLY_LIFE_SETTLED && life.mark < least) least = life.mark;
    }
    node->heard[who] = (struct word){++seqs, least, node->heard[who].forgotten};
}

static void hear(struct node *to, const struct node *from)
{
    for (size_t i = 0; i < NODES; i++)
        if (from->heard[i].seq > to->heard[i].seq) to->heard[i] = from->heard[i];
}

static void forget_some(struct node *node)
{
    uint64_t f = UINT64_MAX;
    for (size_t i = 0; i < NODES; i++)
        if (!node->heard[i].forgotten && node->heard[i].number < f) f = node->heard[i].number;
    forgotten_removes += tly_ormap_forget(node->map, f, below(2) ? SIZE_MAX : (size_t)below(10)).dropped;
}

static bool is_below(struct tly_ormap *of, const struct tly_ormap *who)
{
    for (size_t i = 0; i < tly_ormap_lives(of); i++) {
        struct tly_life life = tly_ormap_life(of, i);
        if (life.state < TLY_LIFE_RETIRED && tly_ormap_mark(who, life.origin) < life.floor) return true;
    }
    return false;
}

/* Learns which lives are settled; false: it holds what nobody else ever will. */
static bool learn_settled(struct tly_ormap *to, const struct tly_ormap *from)
{
    bool agrees = true;
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life_kept(from, i);
        if (life.state < TLY_LIFE_SETTLED) continue;
        claim(life.origin != tly_ormap_origin(to));
        enum tly_result result = tly_ormap_settle_life(to, life.origin, life.mark);
        claim(result == TLY_OK || result == TLY_MORE);
        agrees = agrees && tly_ormap_beyond(to, life.origin, life.mark).print == 0;
    }
    return agrees;
}

/* ---- two nodes ---- */

static void bring_up(size_t from, size_t to)
{
    begin_life(&nodes[to]);
    replace_by(nodes[from].map, nodes[to].map);
    nodes[to].below = false;
    hear(&nodes[to], &nodes[from]);
    nodes[to].heard[to].forgotten = false;
    publish(to);
    installs++;
}

/* The beginning of a round whose end never comes: of each life in the order of ts. */
static void some_dots(struct tly_ormap *from, struct tly_ormap *to)
{
    size_t left = (size_t)below(6);
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        struct tly_scan scan = tly_scan_of(from, i, tly_ormap_mark(to, life.origin));
        if (life.state == TLY_LIFE_RETIRED) continue;
        for (struct tly_scanned row; tly_scan_next(from, &scan, &row);)
            if (left > 0 && left-- > 0) (void)world_apply(to, row.key, &row.dot);
    }
}

static void all_dots(struct tly_ormap *from, struct tly_ormap *to)
{
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        struct tly_scan scan = tly_scan_of(from, i, tly_ormap_mark(to, life.origin));
        if (life.state == TLY_LIFE_RETIRED) continue;
        for (struct tly_scanned row; tly_scan_next(from, &scan, &row);)
            (void)world_apply(to, row.key, &row.dot);
    }
    for (size_t i = 0; i < tly_ormap_lives(from); i++) {
        struct tly_life life = tly_ormap_life(from, i);
        if (life.origin != tly_ormap_origin(to))
            claim(tly_ormap_raise_mark(to, life.origin, life.mark) == TLY_OK);
    }
}

static void meet(size_t from, size_t to, bool whole)
{
    struct node *a = &nodes[from], *b = &nodes[to];
    if (a->below) return;
    claim(tly_ormap_seal(a->map) == TLY_OK && tly_ormap_seal(b->map) == TLY_OK);
    if (b->below || is_below(a->map, b->map)) {
        /* Of two that are both below the other, one is brought up. */
        if (b->below || !is_below(b->map, a->map) || from < to) bring_up(from, to);
        return;
    }
    if (is_below(b->map, a->map)) return;
    if (!learn_settled(b->map, a->map)) {
        bring_up(from, to);
        return;
    }
    if (!whole) {
        some_dots(a->map, b->map);
        return;
    }
    all_dots(a->map, b->map);
    hear(b, a);
}

/* ---- mishaps ---- */

/* Dots that were under way for ever so long: an old chunk, a stalled link. */
static void stall(struct tly_ormap *map)
{
    size_t key = (size_t)below(KEYS), count;
    const struct tly_dot *dots = world_dots(map, world_key(key), &count);
    if (count == 0) return;
    const struct tly_dot *dot = &dots[below(count)];
    bool heard = dot->version.ts <= tly_ormap_mark(map, dot->version.origin);
    if (heard) twin_learn(&stalled, key, dot);
}

static void deliver_stalled(struct tly_ormap *map)
{
    if (stalled.count == 0) return;
    const struct twin_dot *late = &stalled.dots[below(stalled.count)];
    stale += world_apply(map, world_key(late->key), &late->dot) == TLY_DROPPED;
}

static void crash(size_t who)
{
    struct node *node = &nodes[who];
    if (node->disk == NULL) return;
    if (below(2) == 0) meet(who, (who + 1) % NODES, false); /* its last round is cut off */
    tly_ormap_free(node->map);
    node->map = world_map(&mem, registry, 0);
    replace_by(node->disk, node->map);
    memcpy(node->heard, node->saved, sizeof node->heard);
    begin_life(node);
}

/* The operator's word, heard by one node now and by the others from it; the node itself does not hear it. */
static void declare_forgotten(size_t by, size_t who)
{
    if (by == who || nodes[by].below || nodes[who].below) return;
    size_t left = 0;
    for (size_t i = 0; i < NODES; i++)
        left += !nodes[i].below;
    if (left < 3) return;
    nodes[by].heard[who] = (struct word){++seqs, 0, true};
    nodes[who].below = true;
}

static bool is_lived(uint64_t origin)
{
    for (size_t i = 0; i < NODES; i++)
        if (tly_ormap_origin(nodes[i].map) == origin) return true;
    return false;
}

/* A life that nobody lives any more and of which all nodes that count have the same, to the last dot beyond the mark. */
static void settle_some(void)
{
    uint64_t origin = 1 + below(origins);
    struct tly_beyond all = {0};
    uint64_t mark = UINT64_MAX;
    for (size_t i = 0; i < NODES; i++) {
        if (nodes[i].below) continue;
        claim(tly_ormap_seal(nodes[i].map) == TLY_OK);
        uint64_t m = tly_ormap_mark(nodes[i].map, origin);
        struct tly_beyond beyond = tly_ormap_beyond(nodes[i].map, origin, m);
        bool same =
            mark == UINT64_MAX || (m == mark && beyond.newest == all.newest && beyond.print == all.print);
        if (is_lived(origin) || m == UINT64_MAX || beyond.newest == 0 || !same) return;
        all = beyond;
        mark = m;
    }
    for (size_t i = 0; i < NODES; i++) {
        if (nodes[i].below) continue;
        claim(tly_ormap_raise_mark(nodes[i].map, origin, all.newest) == TLY_OK);
        claim(tly_ormap_settle_life(nodes[i].map, origin, all.newest) == TLY_OK);
    }
    settled++;
    settled_beyond += all.print != 0;
}

/* ---- the law ---- */

/* Of a settled life the mark at which it was: what lay beyond was never heard. */
static uint64_t kept_mark(const struct tly_ormap *map, uint64_t origin)
{
    for (size_t i = 0; i < tly_ormap_lives(map); i++) {
        struct tly_life life = tly_ormap_life_kept(map, i);
        if (life.origin == origin) return life.mark;
    }
    return 0;
}

static void claim_dead_stay_dead(struct tly_ormap *map)
{
    for (size_t i = 0; i < removes.count; i++) {
        const struct twin_dot *known = &removes.dots[i];
        if (known->dot.version.ts > kept_mark(map, known->dot.version.origin)) continue;
        size_t count;
        const struct tly_dot *dots = world_dots(map, world_key(known->key), &count);
        for (size_t j = 0; j < count; j++)
            claim(dots[j].op != TLY_PUT || tly_version_compare(dots[j].version, known->dot.version) > 0);
    }
}

static void step(void)
{
    size_t who = (size_t)below(NODES), other = (size_t)below(NODES);
    switch (below(30)) {
    case 0:
        if (below(3) == 0) crash(who);
        break;
    case 1: save(&nodes[who]); break;
    case 2:
        if (below(3) == 0) declare_forgotten(other, who);
        break;
    case 3:
        for (size_t i = 0; i < 20; i++)
            settle_some();
        break;
    case 4:
        for (size_t i = 0; i < NODES; i++)
            publish(i);
        break;
    case 11:
    case 12: stall(nodes[who].map); break;
    case 13:
    case 14:
        for (size_t i = 0; i < 8; i++)
            deliver_stalled(nodes[who].map);
        break;
    case 5:
    case 6: forget_some(&nodes[who]); break;
    case 7:
    case 8:
    case 9:
    case 10: write_something(&nodes[who]); break;
    default:
        if (who != other) meet(who, other, below(5) > 0);
        break;
    }
    claim(tly_ormap_seal(nodes[who].map) == TLY_OK && tly_ormap_seal(nodes[other].map) == TLY_OK);
    claim_dead_stay_dead(nodes[who].map);
    claim_dead_stay_dead(nodes[other].map);
    world_claim_tallies(nodes[who].map);
    world_claim_tallies(nodes[other].map);
}

static void come_to_rest(void)
{
    for (size_t i = 0; i < 12 * NODES; i++) {
        for (size_t j = 0; j < NODES; j++)
            if (j != i % NODES) meet(i % NODES, j, true);
        publish(i % NODES);
    }
    for (size_t i = 0; i < NODES * NODES; i++)
        if (i % NODES != i / NODES) meet(i % NODES, i / NODES, true);
    for (size_t i = 0; i < NODES; i++) {
        claim(tly_ormap_forget(nodes[i].map, UINT64_MAX, SIZE_MAX).done);
        claim_dead_stay_dead(nodes[i].map);
        tly_ormap_check(nodes[i].map);
        claim(tly_ormap_digest(nodes[i].map) == tly_ormap_digest(nodes[0].map));
    }
}

static void run(uint64_t seed)
{
    rng = test_rng_of(seed);
    for (size_t i = 0; i < NODES; i++) {
        nodes[i] = (struct node){.map = world_map(&mem, registry, ++origins)};
        claim(nodes[i].map != NULL);
    }
    for (size_t i = 0; i < STEPS; i++)
        step();
    come_to_rest();
    for (size_t i = 0; i < NODES; i++) {
        tly_ormap_free(nodes[i].map);
        tly_ormap_free(nodes[i].disk);
    }
    twin_free(&removes);
    twin_free(&stalled);
    origins = seqs = 0;
}

static void a_put_older_than_a_remove_never_comes_back(void **state)
{
    mem = test_mem();
    registry = world_registry(&mem);
    size_t seeds = test_is_long() ? 20 * SEEDS : SEEDS;
    forgotten_removes = installs = settled = settled_beyond = stale = 0;
    for (size_t i = 0; i < seeds; i++)
        run(test_seed_first() + i);
    tly_registry_free(registry);
    print_message(
        "%zu histories: %zu REMOVEs forgotten, %zu snapshots installed, %zu lives settled (%zu beyond a mark), "
        "%zu stale dots dropped\n",
        seeds, forgotten_removes, installs, settled, settled_beyond, stale);
    claim(forgotten_removes > 5 * seeds && installs > seeds && settled > seeds && settled_beyond > 0 &&
          stale > seeds);
    claim(test_mem_live() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_put_older_than_a_remove_never_comes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
