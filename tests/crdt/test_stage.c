/* Dots that are staged and settled together are joined like one by one; unstaged, they leave nothing. */
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <string.h>

#define BATCH_MAX 12
#define BATCHES 20000

struct batch {
    size_t count;
    struct tly_dot dots[BATCH_MAX];
    size_t key[BATCH_MAX];
    bool taken[BATCH_MAX];
};

static struct batch sample_batch(struct test_rng *rng)
{
    struct batch batch = {.count = 1 + test_rng_below(rng, BATCH_MAX)};
    for (size_t i = 0; i < batch.count; i++) {
        batch.key[i] = test_rng_below(rng, SAMPLE_STRATEGIES * (size_t)WORLD_KEYS);
        batch.dots[i] = sample_dot(rng, world_strategy(batch.key[i]));
        if (i > 0 && test_rng_chance(rng, 10)) {
            batch.dots[i] = batch.dots[i - 1];
            batch.key[i] = batch.key[i - 1];
        }
    }
    return batch;
}

static void stage(struct tly_ormap *map, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        enum tly_outcome outcome;
        assert_int_equal(tly_ormap_stage(map, world_key(batch->key[i]), &batch->dots[i], &outcome), TLY_OK);
        batch->taken[i] = outcome == TLY_APPLIED;
    }
}

static uint64_t state_of(struct tly_ormap *map)
{
    return tly_ormap_digest(map) + tly_ormap_log_size(map) * 31 + tly_ormap_count(map) * 7;
}

struct pair {
    struct tly_mem mem;
    struct tly_registry *registry;
    struct tly_ormap *one, *other; /* own life: 3 in both, with shards of its own */
};

static struct pair pair_of(void)
{
    struct pair pair = {.mem = test_mem()};
    pair.registry = world_registry(&pair.mem);
    pair.one = world_map(&pair.mem, pair.registry, 3);
    pair.other = world_map(&pair.mem, pair.registry, 3);
    return pair;
}

static void pair_end(struct pair *pair)
{
    tly_ormap_check(pair->one);
    tly_ormap_check(pair->other);
    tly_ormap_free(pair->one);
    tly_ormap_free(pair->other);
    tly_registry_free(pair->registry);
    assert_int_equal(test_mem_live(), 0);
}

static void staged_and_settled_is_as_one_by_one(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t taken = 0;
    for (size_t round = 0; round < BATCHES / 40; round++) {
        struct pair pair = pair_of();
        for (size_t i = 0; i < 40; i++) {
            struct batch batch = sample_batch(&rng);
            stage(pair.one, &batch);
            for (size_t j = 0; j < batch.count; j++) {
                enum tly_outcome outcome;
                if (batch.taken[j]) tly_ormap_settle(pair.one, world_key(batch.key[j]), &batch.dots[j]);
                taken += batch.taken[j];
                assert_int_equal(
                    tly_ormap_repair(pair.other, world_key(batch.key[j]), &batch.dots[j], &outcome), TLY_OK);
            }
            claim(tly_ormap_digest(pair.one) == tly_ormap_digest(pair.other));
        }
        pair_end(&pair);
    }
    claim(taken > BATCHES / 10);
}

/* Law M1 */
static void what_is_unstaged_leaves_nothing(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t round = 0; round < BATCHES / 40; round++) {
        struct pair pair = pair_of();
        for (size_t i = 0; i < 40; i++) {
            struct batch batch = sample_batch(&rng), other = sample_batch(&rng);
            stage(pair.one, &batch);
            for (size_t j = 0; j < batch.count; j++)
                if (batch.taken[j]) tly_ormap_settle(pair.one, world_key(batch.key[j]), &batch.dots[j]);
            uint64_t before = state_of(pair.one), last = tly_ormap_clock(pair.one)->last;
            stage(pair.one, &other);
            for (size_t j = 0; j < other.count; j++)
                if (other.taken[j]) tly_ormap_unstage(pair.one, world_key(other.key[j]), &other.dots[j]);
            claim(state_of(pair.one) == before && tly_ormap_clock(pair.one)->last == last);
        }
        pair_end(&pair);
    }
}

/* What was counted here and not handed on yet goes with a REMOVE that is staged, not before it is settled. */
static void a_staged_remove_restarts_shards_when_it_is_settled(void **state)
{
    (void)state;
    struct pair pair = pair_of();
    struct tly_slice key = world_key(2); /* epoch_sum */
    world_hit(pair.one, key, (struct tly_hit){.units = 5});
    struct tly_dot remove = remove_of(9, 8);
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_stage(pair.one, key, &remove, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_APPLIED);
    assert_int_equal(world_read(pair.one, key, (struct tly_moment){0}).count, 5);
    tly_ormap_settle(pair.one, key, &remove);
    assert_int_equal(world_read(pair.one, key, (struct tly_moment){0}).count, 0);
    pair_end(&pair);
}

/* The one way in for a dot at or below its mark. */
static void repair_lets_in_what_apply_drops(void **state)
{
    (void)state;
    struct pair pair = pair_of();
    struct tly_dot dot = text_of(9, 8, "a");
    struct tly_slice key = world_key(0); /* lww */
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_raise_mark(pair.one, 8, 10), TLY_OK);
    assert_int_equal(tly_ormap_apply(pair.one, key, &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_DROPPED);
    assert_int_equal(tly_ormap_repair(pair.one, key, &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_REPAIRED);
    dot.version.origin = 3;
    assert_int_equal(tly_ormap_repair(pair.one, key, &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_FORGED);
    pair_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(staged_and_settled_is_as_one_by_one),
        cmocka_unit_test(what_is_unstaged_leaves_nothing),
        cmocka_unit_test(a_staged_remove_restarts_shards_when_it_is_settled),
        cmocka_unit_test(repair_lets_in_what_apply_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
