/* Fingerprints: equal contents have equal ones, in every leaf, whatever became of them before and however the sums were kept. */
#include "crdt/install.h"
#include "crdt/prints.h"
#include "tests/crdt/law.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include "crdt/epoch_sum.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS (SAMPLE_STRATEGIES * WORLD_KEYS)
#define MS UINT64_C(1000000)

static struct tly_prints prints[WORLD_NODES + 1];

static void keep_prints(struct tly_ormap *map, size_t i)
{
    tly_hash_key_from(&prints[i].key, tly_slice_text("of a cluster"));
    tly_ormap_use_prints(map, &prints[i]);
}

/* A shard of a window has ended, as far as these tests go, when its epoch is over. */
static bool is_over(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    const uint64_t *epoch = context;
    return strategy->id == TLY_EPOCH_SUM && put->num[TLY_SUM_WINDOW] != 0 && put->num[TLY_SUM_EPOCH] < *epoch;
}

static bool is_counter(struct tly_slice key)
{
    return true;
}

static struct tly_omit omit_of(uint64_t upto, uint64_t *epoch, uint64_t now_ms)
{
    return (struct tly_omit){.ended = {.upto = upto, .now_ms = now_ms, .is_counter = is_counter},
                             .gone = is_over,
                             .context = epoch};
}

/* The prints of all that is to be compared. The caller has room for TLY_LEAVES. */
static void take_prints(struct tly_ormap *map, const struct tly_prints *kept, const struct tly_omit *omit,
                        uint64_t *out)
{
    size_t cursor = 0;
    claim(tly_ormap_seal(map) == TLY_OK);
    memset(out, 0, TLY_LEAVES * sizeof *out);
    while (tly_prints_walk(map, &cursor, 3, omit, out))
        ;
    for (size_t i = 0; i < TLY_LEAVES; i++)
        out[i] = kept->of[i] - out[i];
}

static size_t leaves_that_differ(const uint64_t *a, const uint64_t *b)
{
    size_t count = 0;
    for (size_t i = 0; i < TLY_LEAVES; i++)
        count += a[i] != b[i];
    return count;
}

static uint64_t first[TLY_LEAVES], second[TLY_LEAVES], scrap[TLY_LEAVES];

/* ---- any history ---- */

/* Of a printed map shards are dropped, and one comes back below its mark, as only a repair brings it. */
static void drop_and_repair(struct tly_ormap *map)
{
    size_t cursor = 0, count, dropped;
    uint64_t epoch = 2;
    struct tly_slice key = world_key(2);
    const struct tly_dot *dots = world_dots(map, key, &count);
    struct tly_dot shard = {0};
    for (size_t i = 0; i < count; i++)
        if (dots[i].num[TLY_SUM_WINDOW] != 0 && dots[i].num[TLY_SUM_EPOCH] < epoch) shard = dots[i];
    dropped = tly_ormap_sweep(map, &cursor, SIZE_MAX, is_over, &epoch);
    tly_ormap_check(map);
    if (shard.version.origin == 0) return;
    enum tly_outcome outcome;
    claim(dropped > 0 && tly_ormap_repair(map, key, &shard, &outcome) == TLY_OK && outcome == TLY_REPAIRED);
    tly_ormap_check(map);
}

static void shake(struct world *world, size_t node, struct test_rng *rng)
{
    struct tly_ormap *map = world->node[node];
    size_t key = (size_t)test_rng_below(rng, KEYS), cursor = 0;
    uint64_t epoch = 2, what = test_rng_below(rng, 10);
    struct tly_omit omit = omit_of(test_rng_below(rng, 100), &epoch, 5);
    if (what < 3) {
        struct tly_dot dot = sample_write(rng, world_strategy(key), 70);
        (void)world_write(world, node, key, &dot);
    } else if (what < 6) {
        struct tly_hit hit = {.window = test_rng_below(rng, 2) * 1000, .epoch = 1, .units = 1};
        if (hit.window == 0) hit.epoch = test_rng_below(rng, 2);
        world_hit(map, world_key(2 + SAMPLE_STRATEGIES * test_rng_below(rng, WORLD_KEYS)), hit);
    } else if (what < 7) {
        world_seal(world, node);
    } else if (what < 8) {
        world_sync(world, node, (node + 1 + test_rng_below(rng, WORLD_NODES - 1)) % WORLD_NODES, rng);
    } else {
        (void)tly_prints_walk(map, &cursor, 1 + (size_t)test_rng_below(rng, KEYS), &omit, scrap);
    }
}

static void history(uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct world world = world_of();
    struct tly_omit nothing = omit_of(0, &(uint64_t){0}, 0);
    for (size_t i = 0; i < WORLD_NODES; i++)
        keep_prints(world.node[i], i);
    for (size_t i = 0; i < 60; i++) {
        size_t node = (size_t)test_rng_below(&rng, WORLD_NODES);
        shake(&world, node, &rng);
        if (test_rng_chance(&rng, 30)) tly_ormap_check(world.node[node]);
    }
    world_settle(&world);
    take_prints(world.node[0], &prints[0], &nothing, first);
    struct tly_ormap *copy = world_copy(&world.mem, world.registry, world.node[0], 0, &rng);
    keep_prints(copy, WORLD_NODES);
    take_prints(copy, &prints[WORLD_NODES], &nothing, second);
    claim(leaves_that_differ(first, second) == 0);
    for (size_t i = 1; i < WORLD_NODES; i++) {
        take_prints(world.node[i], &prints[i], &nothing, second);
        claim(leaves_that_differ(first, second) == 0);
        tly_ormap_check(world.node[i]);
    }
    drop_and_repair(copy);
    tly_ormap_free(copy);
    world_end(&world);
}

/* Laws L6: the sums are kept right through every change, and what is equal has equal ones. */
static void random_histories_that_end_alike_have_equal_prints(void **state)
{
    uint64_t from = test_seed_first(), rounds = law_rounds(300);
    for (uint64_t seed = from; seed < from + rounds; seed++)
        history(seed);
    law_covered("L6", "all", from, rounds);
}

/* ---- what each node drops alone ---- */

static void put_word(struct tly_ormap *map, const char *key, const char *text, uint64_t deadline_ms)
{
    struct tly_dot dot = {.op = TLY_PUT, .num = {deadline_ms}, .bytes = tly_slice_text(text)};
    claim(tly_ormap_put(map, tly_slice_text(key), &dot) == TLY_OK);
}

/* Some of everything: a deleted register, one past its deadline, a shard that is over, an ended counter, and what stays. */
static uint64_t make_some(struct world *world)
{
    struct tly_ormap *map = world->node[0];
    put_word(map, "l:stays", "x", 0);
    put_word(map, "l:goes", "x", 0);
    put_word(map, "l:ends", "x", 3);
    put_word(map, "l:later", "x", 1000);
    claim(tly_ormap_remove(map, tly_slice_text("l:goes")) == TLY_OK);
    world_hit(map, tly_slice_text("s:window"), (struct tly_hit){.window = 1000, .epoch = 1, .units = 4});
    world_hit(map, tly_slice_text("s:now"), (struct tly_hit){.window = 1000, .epoch = 9, .units = 4});
    world_hit(map, tly_slice_text("s:ended"), (struct tly_hit){.units = 4, .aux = 3});
    /* Both at once: the shard goes by time, and then the counter beside it may. */
    world_hit(map, tly_slice_text("s:both"), (struct tly_hit){.units = 4, .aux = 3});
    world_hit(map, tly_slice_text("s:both"), (struct tly_hit){.window = 1000, .epoch = 1, .units = 4});
    claim(tly_ormap_seal(map) == TLY_OK);
    for (size_t i = 1; i < WORLD_NODES; i++)
        (void)world_round(map, world->node[i], NULL);
    return 10 * MS;
}

/* The second node forgets and drops all it may. */
static void drop_all(struct tly_ormap *map, uint64_t upto, uint64_t *epoch)
{
    struct tly_omit omit = omit_of(upto, epoch, 5);
    size_t cursor = 0;
    claim(tly_ormap_forget(map, upto, 1000).dropped == 1);
    claim(tly_ormap_sweep(map, &cursor, 1000, is_over, epoch) == 2);
    cursor = 0;
    claim(tly_ormap_sweep_ended(map, &cursor, 1000, &omit.ended).dropped == 3);
}

/* Laws L6: */
static void what_one_of_two_has_dropped_already_makes_no_difference(void **state)
{
    struct world world = world_of();
    uint64_t upto = make_some(&world), epoch = 5, before = 0;
    for (size_t i = 0; i < WORLD_NODES; i++)
        keep_prints(world.node[i], i);
    drop_all(world.node[1], upto, &epoch);
    claim(tly_ormap_count(world.node[1]) == 3);
    struct tly_omit both = omit_of(upto, &epoch, 5);
    take_prints(world.node[0], &prints[0], &both, first);
    take_prints(world.node[1], &prints[1], &both, second);
    claim(leaves_that_differ(first, second) == 0);
    /* Each of the three alone is not enough. */
    struct tly_omit by_f = omit_of(0, &epoch, 5), by_time = omit_of(upto, &before, 5);
    take_prints(world.node[0], &prints[0], &by_f, first);
    claim(leaves_that_differ(first, second) > 0);
    take_prints(world.node[0], &prints[0], &by_time, first);
    claim(leaves_that_differ(first, second) > 0);
    for (size_t i = 0; i < WORLD_NODES; i++)
        tly_ormap_check(world.node[i]);
    world_end(&world);
}

/* Laws L6: what an install brings in place of what was here is printed anew. */
static void an_installed_snapshot_is_printed_as_any_content(void **state)
{
    struct world world = world_of();
    struct tly_omit nothing = omit_of(0, &(uint64_t){0}, 0);
    struct tly_ormap *from = world.node[0], *to = world.node[1];
    keep_prints(from, 0);
    keep_prints(to, 1);
    put_word(from, "l:a", "theirs", 0);
    put_word(to, "l:b", "mine", 0);
    take_prints(from, &prints[0], &nothing, first);
    take_prints(to, &prints[1], &nothing, second);
    struct tly_install *install = tly_install_new(to);
    claim(install != NULL);
    struct tly_life life = tly_ormap_life_kept(from, 0);
    claim(tly_install_life(install, &life) == TLY_OK);
    size_t count;
    struct tly_dot dot = *world_dots(from, tly_slice_text("l:a"), &count);
    enum tly_outcome outcome;
    claim(tly_install_add(install, tly_slice_text("l:a"), &dot, &outcome) == TLY_OK);
    struct tly_installed report;
    claim(tly_install_finish(install, &report) == TLY_OK && report.kept == 1);
    tly_install_free(install);
    tly_ormap_check(to);
    claim(world_round(to, from, NULL) > 0);
    take_prints(from, &prints[0], &nothing, first);
    take_prints(to, &prints[1], &nothing, second);
    claim(leaves_that_differ(first, second) == 0);
    tly_ormap_check(to);
    world_end(&world);
}

/* ---- differences ---- */

/* Laws L6: */
static void any_word_of_a_dot_is_in_the_print_of_its_leaf_and_of_no_other(void **state)
{
    struct tly_hash_key key;
    tly_hash_key_from(&key, tly_slice_text("k"));
    uint64_t name = tly_print_of_key(&key, tly_slice_text("s:a"));
    struct tly_dot base = {{5, 6}, TLY_PUT, {1, 2, 3, 4}, tly_slice_text("v")}, dots[9];
    for (size_t i = 0; i < 9; i++)
        dots[i] = base;
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        dots[i].num[i] ^= UINT64_C(1) << (i * 20);
    dots[4].version.ts++;
    dots[5].version.origin++;
    dots[6].op = TLY_REMOVE;
    dots[7].bytes = tly_slice_text("w");
    dots[8].bytes = tly_slice_of(NULL, 0);
    uint64_t print = tly_print_of_dot(&key, name, tly_lww(), &base);
    claim(tly_print_of_dot(&key, name + 1, tly_lww(), &base) != print);
    claim(tly_print_of_dot(&key, name, tly_epoch_max(), &base) != print);
    for (size_t i = 0; i < 9; i++)
        claim(tly_print_of_dot(&key, name, tly_lww(), &dots[i]) != print);

    struct world world = world_of();
    struct tly_omit nothing = omit_of(0, &(uint64_t){0}, 0);
    for (size_t i = 0; i < 2; i++) {
        keep_prints(world.node[i], i);
        for (uint64_t k = 0; k < 500; k++) {
            char text[16];
            snprintf(text, sizeof text, "m:%d", (int)k);
            struct tly_dot dot = put_of(k + 1, 9, 1, k == 77 ? i : 0);
            claim(world_apply(world.node[i], tly_slice_text(text), &dot) == TLY_APPLIED);
        }
    }
    take_prints(world.node[0], &prints[0], &nothing, first);
    take_prints(world.node[1], &prints[1], &nothing, second);
    claim(leaves_that_differ(first, second) == 1);
    unsigned leaf = tly_leaf_of(tly_print_of_key(&prints[0].key, tly_slice_text("m:77")));
    claim(first[leaf] != second[leaf]);
    world_end(&world);
}

/* Another cluster's prints are others, and the keys are spread. */
static void prints_follow_from_the_key_of_the_cluster(void **state)
{
    struct tly_hash_key key, other;
    bool met[TLY_LEAVES] = {false};
    size_t leaves = 0;
    tly_hash_key_from(&key, tly_slice_text("prod"));
    tly_hash_key_from(&other, tly_slice_text("test"));
    for (size_t i = 0; i < 20000; i++) {
        char text[16];
        snprintf(text, sizeof text, "k%zu", i);
        uint64_t print = tly_print_of_key(&key, tly_slice_text(text));
        claim(print != tly_print_of_key(&other, tly_slice_text(text)));
        leaves += !met[tly_leaf_of(print)];
        met[tly_leaf_of(print)] = true;
    }
    claim(leaves > 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_that_end_alike_have_equal_prints),
        cmocka_unit_test(what_one_of_two_has_dropped_already_makes_no_difference),
        cmocka_unit_test(an_installed_snapshot_is_printed_as_any_content),
        cmocka_unit_test(any_word_of_a_dot_is_in_the_print_of_its_leaf_and_of_no_other),
        cmocka_unit_test(prints_follow_from_the_key_of_the_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
