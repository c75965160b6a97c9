/* A prefix under another strategy: what goes over, what is lost, and that it happens whole or not at all. */
#include "crdt/convert.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <string.h>

#define WORLDS 3000
#define DOTS_MAX 24

/* ---- one key ---- */

static const uint8_t raw_word[16] = {0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 254};

/* What a value of one strategy becomes in another. NULL: it is lost. */
static struct tly_value after(struct tly_dot dot, const struct tly_strategy *from,
                              const struct tly_strategy *to, bool *loses)
{
    static uint8_t room[TLY_CONVERTED_BYTES];
    struct tly_dot dots[1] = {dot};
    struct tly_value value;
    struct tly_moment at = {0};
    size_t count = tly_convert(from, to, dots, 1, room, loses);
    to->read(dots, count, &at, &value);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tly_version_compare(dots[i].version, dot.version), 0);
        assert_int_equal(tly_dot_check(to, &dots[i]), TLY_OK);
    }
    return value;
}

static void numbers_in_digits_become_counters_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool goes;
        int64_t count;
    } cases[] = {{"0", true, 0},
                 {"7", true, 7},
                 {"-7", true, -7},
                 {"9223372036854775807", true, INT64_MAX},
                 {"-9223372036854775808", true, INT64_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"18446744073709551617", false, 0},
                 {"99999999999999999999", false, 0},
                 {"100000000000000000000", false, 0},
                 {"", false, 0},
                 {"-", false, 0},
                 {"-0", false, 0},
                 {"007", false, 0},
                 {"+7", false, 0},
                 {" 7", false, 0},
                 {"7 ", false, 0},
                 {"7x", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool loses;
        struct tly_dot text = text_of(70000, 3, cases[i].text);
        struct tly_value value = after(text, tly_lww(), tly_epoch_sum(), &loses);
        assert_int_equal(loses, !cases[i].goes);
        assert_int_equal(value.present, cases[i].goes);
        if (!cases[i].goes) continue;
        assert_true(value.count == cases[i].count);
        const uint64_t num[TLY_NUMS_MAX] = {0, value.epoch, (uint64_t)value.count, 0};
        value = after(shard_of(70000, 3, num), tly_epoch_sum(), tly_lww(), &loses);
        assert_false(loses);
        assert_true(tly_slice_equal(value.bytes, tly_slice_text(cases[i].text)));
    }
}

static void an_epoch_and_a_count_are_sixteen_bytes(void **state)
{
    (void)state;
    bool loses;
    struct tly_dot text = {.version = {9, 3}, .op = TLY_PUT, .bytes = {raw_word, 16}};
    struct tly_value value = after(text, tly_lww(), tly_epoch_max(), &loses);
    assert_true(!loses && value.present && value.epoch == 7 && value.count == -2);
    value = after(put_of(9, 3, 7, (uint64_t)-2), tly_epoch_max(), tly_lww(), &loses);
    assert_true(!loses && tly_slice_equal(value.bytes, tly_slice_of(raw_word, 16)));
    text.bytes.n = 15;
    assert_false(after(text, tly_lww(), tly_epoch_max(), &loses).present);
    assert_true(loses);
}

static void a_sum_is_the_count_of_epoch_nought(void **state)
{
    (void)state;
    bool loses;
    const uint64_t five[TLY_NUMS_MAX] = {0, 3, 5, 0};
    struct tly_value value = after(shard_of(9, 3, five), tly_epoch_sum(), tly_epoch_max(), &loses);
    assert_true(!loses && value.present && value.epoch == 0 && value.count == 5);
    value = after(put_of(9, 3, 0, 5), tly_epoch_max(), tly_epoch_sum(), &loses);
    assert_true(!loses && value.present && value.count == 5);
    assert_false(after(put_of(9, 3, 1, 5), tly_epoch_max(), tly_epoch_sum(), &loses).present);
    assert_true(loses);
}

static void a_deadline_goes_over_or_all_is_lost(void **state)
{
    (void)state;
    bool loses;
    struct tly_dot text = text_of(9, 3, "5");
    text.num[0] = 1000;
    struct tly_value value = after(text, tly_lww(), tly_epoch_sum(), &loses);
    assert_true(!loses && value.count == 5 && value.deadline_ms == 1000);
    const uint64_t five[TLY_NUMS_MAX] = {0, 3, 5, 1000};
    value = after(shard_of(9, 3, five), tly_epoch_sum(), tly_lww(), &loses);
    assert_true(!loses && value.deadline_ms == 1000 && tly_slice_equal(value.bytes, tly_slice_text("5")));
    assert_false(after(shard_of(9, 3, five), tly_epoch_sum(), tly_epoch_max(), &loses).present);
    assert_true(loses);
    text = (struct tly_dot){.version = {9, 3}, .op = TLY_PUT, .num = {1000}, .bytes = {raw_word, 16}};
    assert_false(after(text, tly_lww(), tly_epoch_max(), &loses).present);
    assert_true(loses);
    /* A deadline that no counter can have. */
    text = text_of(9, 3, "5");
    text.num[0] = (uint64_t)TLY_DEADLINE_NONE;
    assert_false(after(text, tly_lww(), tly_epoch_sum(), &loses).present);
    assert_true(loses);
}

static void windows_have_no_place_elsewhere(void **state)
{
    (void)state;
    bool loses;
    const uint64_t window[TLY_NUMS_MAX] = {1000, 3, 5, 1};
    assert_false(after(shard_of(9, 3, window), tly_epoch_sum(), tly_lww(), &loses).present);
    assert_true(loses);
    assert_false(after(shard_of(9, 3, window), tly_epoch_sum(), tly_epoch_max(), &loses).present);
    assert_true(loses);
}

/* Several dots become one, under the newest version of those that are read; REMOVEs stay where the strategy has them. */
static void what_was_read_from_many_dots_is_one(void **state)
{
    (void)state;
    static uint8_t room[TLY_CONVERTED_BYTES];
    bool loses;
    const uint64_t three[TLY_NUMS_MAX] = {0, 1, 3, 0}, four[TLY_NUMS_MAX] = {0, 1, 4, 0};
    struct tly_dot dots[3] = {remove_of(5, 1), shard_of(20, 2, three), shard_of(10, 1, four)};
    assert_int_equal(tly_convert(tly_epoch_sum(), tly_lww(), dots, 3, room, &loses), 1);
    assert_true(!loses && dots[0].version.ts == 20 && dots[0].version.origin == 2);
    assert_true(tly_slice_equal(dots[0].bytes, tly_slice_text("7")));

    struct tly_dot others[3] = {remove_of(5, 1), put_of(20, 2, 0, 3), put_of(10, 1, 0, 4)};
    assert_int_equal(tly_convert(tly_epoch_max(), tly_epoch_sum(), others, 3, room, &loses), 2);
    assert_true(!loses && others[0].op == TLY_REMOVE && others[1].op == TLY_PUT);
    assert_true(others[1].version.ts == 20 && others[1].num[TLY_SUM_COUNT] == 4);
    /* Counting goes on in it, also after that REMOVE. */
    assert_true(others[1].num[TLY_SUM_EPOCH] >= tly_counter_after(5));

    struct tly_dot removed[1] = {remove_of(5, 1)};
    assert_int_equal(tly_convert(tly_lww(), tly_epoch_sum(), removed, 1, room, &loses), 1);
    assert_true(!loses && removed[0].op == TLY_REMOVE);
}

/* ---- a map ---- */

struct scene {
    struct tly_mem mem;
    struct tly_registry *before, *then;
    size_t strategy; /* of the prefix, before */
    const struct tly_strategy *to;
};

static struct tly_registry *with_strategy(const struct tly_registry *registry, size_t i,
                                          const struct tly_strategy *strategy)
{
    struct tly_registry *next;
    struct tly_prefix row = {{world_key(i).p, 2}, strategy, 1};
    claim(tly_registry_set(registry, &row, &next) == TLY_OK);
    return next;
}

static struct scene scene_of(struct test_rng *rng)
{
    struct scene scene = {.mem = test_mem(), .strategy = test_rng_below(rng, SAMPLE_STRATEGIES)};
    size_t to = (scene.strategy + 1 + test_rng_below(rng, SAMPLE_STRATEGIES - 1)) % SAMPLE_STRATEGIES;
    scene.to = tly_strategy_at(to);
    scene.before = world_registry(&scene.mem);
    scene.then = with_strategy(scene.before, scene.strategy, scene.to);
    return scene;
}

static void scene_end(struct scene *scene)
{
    tly_registry_free(scene->before);
    tly_registry_free(scene->then);
    assert_int_equal(test_mem_live(), 0);
}

static bool is_concerned(void *context, struct tly_slice key)
{
    const struct scene *scene = context;
    return tly_slice_begins(key, (struct tly_slice){world_key(scene->strategy).p, 2});
}

/* Dots of others, forged ones too, and what this life counts. False: one of them took the clock to its end. */
static bool fill(struct tly_ormap *map, struct test_rng *rng)
{
    size_t count = test_rng_below(rng, DOTS_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t key = test_rng_below(rng, SAMPLE_STRATEGIES * (size_t)WORLD_KEYS);
        struct tly_dot dot = sample_dot(rng, world_strategy(key));
        (void)world_apply(map, world_key(key), &dot);
        if (test_rng_chance(rng, 20)) world_hit(map, world_key(2), (struct tly_hit){.units = 1});
    }
    enum tly_result result = tly_ormap_seal(map);
    claim(result == TLY_OK || result == TLY_CLOCK_END);
    return result == TLY_OK;
}

static enum tly_result convert(struct scene *scene, struct tly_ormap *map)
{
    struct tly_conversion *conversion;
    enum tly_result result = tly_conversion_new(map, scene->to, is_concerned, scene, &conversion);
    if (result != TLY_OK) return result;
    tly_conversion_finish(conversion);
    tly_ormap_use_registry(map, scene->then);
    return TLY_OK;
}

/* Each key has the join of what its dots become, and others are as they were. */
static void random_maps_become_what_their_keys_become(void **state)
{
    (void)state;
    size_t converted = 0, lost = 0, late = 0;
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + WORLDS; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct scene scene = scene_of(&rng);
        struct tly_ormap *map = world_map(&scene.mem, scene.before, 3);
        if (!fill(map, &rng)) {
            tly_ormap_free(map);
            scene_end(&scene);
            continue;
        }
        struct tly_dot expected[SAMPLE_STRATEGIES * WORLD_KEYS][DOTS_MAX + 4];
        uint8_t room[SAMPLE_STRATEGIES * WORLD_KEYS][TLY_CONVERTED_BYTES];
        size_t counts[SAMPLE_STRATEGIES * WORLD_KEYS], loses_count = 0;
        for (size_t key = 0; key < SAMPLE_STRATEGIES * WORLD_KEYS; key++) {
            const struct tly_dot *dots = world_dots(map, world_key(key), &counts[key]);
            if (counts[key] > 0) memcpy(expected[key], dots, counts[key] * sizeof *dots);
            for (size_t i = 0; i < counts[key]; i++)
                expected[key][i].bytes = sample_kept(expected[key][i].bytes);
            if (!is_concerned(&scene, world_key(key))) continue;
            bool loses;
            counts[key] =
                tly_convert(world_strategy(key), scene.to, expected[key], counts[key], room[key], &loses);
            loses_count += loses;
        }
        struct tly_conversion *conversion;
        enum tly_result result = tly_conversion_new(map, scene.to, is_concerned, &scene, &conversion);
        claim(result == TLY_OK || result == TLY_CLOCK_AHEAD);
        if (result == TLY_OK) {
            claim(tly_conversion_lost(conversion) == loses_count);
            converted += tly_conversion_keys(conversion);
            lost += loses_count;
            tly_conversion_finish(conversion);
            tly_ormap_use_registry(map, scene.then);
            for (size_t key = 0; key < SAMPLE_STRATEGIES * WORLD_KEYS; key++) {
                size_t count;
                const struct tly_dot *dots = world_dots(map, world_key(key), &count);
                claim(dots_equal(dots, count, expected[key], counts[key]));
                if (count > 0 && is_concerned(&scene, world_key(key)))
                    claim(tly_entry_strategy(tly_ormap_find(map, world_key(key))) == scene.to);
            }
            log_claim_complete(map);
        }
        late += result != TLY_OK;
        tly_ormap_check(map);
        tly_ormap_free(map);
        scene_end(&scene);
    }
    print_message("  %zu keys converted, %zu of them lost something; %zu maps refused\n", converted, lost,
                  late);
    assert_true(converted > WORLDS / 2 && lost > WORLDS / 10 && late > 0);
}

/* Two nodes that hold the same hold the same afterwards, whatever way it came there. */
static void who_held_the_same_holds_the_same(void **state)
{
    (void)state;
    size_t compared = 0;
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + WORLDS; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct scene scene = scene_of(&rng);
        struct tly_ormap *map = world_map(&scene.mem, scene.before, 3);
        if (!fill(map, &rng)) {
            tly_ormap_free(map);
            scene_end(&scene);
            continue;
        }
        struct tly_ormap *copy = world_copy(&scene.mem, scene.before, map, 4, &rng);
        claim(tly_ormap_digest(map) == tly_ormap_digest(copy));
        enum tly_result result = convert(&scene, map);
        if (result == TLY_OK) {
            claim(convert(&scene, copy) == TLY_OK);
            claim(tly_ormap_digest(map) == tly_ormap_digest(copy));
            tly_ormap_check(copy);
            compared++;
        }
        tly_ormap_free(copy);
        tly_ormap_free(map);
        scene_end(&scene);
    }
    assert_true(compared > WORLDS / 2);
}

static void a_failed_allocation_leaves_the_map_as_it_was(void **state)
{
    (void)state;
    size_t failures = 0;
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + 200; seed++) {
        bool failed = true;
        for (size_t n = 0; failed; n++) {
            struct test_failing failing = {.countdown = SIZE_MAX};
            struct test_rng rng = test_rng_of(seed);
            struct scene scene = scene_of(&rng);
            struct tly_mem mem = test_failing_mem(&failing);
            struct tly_ormap *map = world_map(&mem, scene.before, 3);
            bool is_sealed = fill(map, &rng);
            uint64_t digest = is_sealed ? tly_ormap_digest(map) : 0;
            failing = (struct test_failing){.countdown = n};
            enum tly_result result = is_sealed ? convert(&scene, map) : TLY_OK;
            failed = failing.failed;
            failing = (struct test_failing){.countdown = SIZE_MAX};
            claim(!failed || result == TLY_NOMEM);
            if (failed) claim(tly_ormap_digest(map) == digest);
            failures += failed;
            tly_ormap_check(map);
            tly_ormap_free(map);
            scene_end(&scene);
        }
    }
    assert_true(failures > 100);
}

/* A counter that was text counts on, on the node that wrote it and on others, and all add up. */
static void what_became_a_counter_counts_on(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct scene scene = {.mem = mem, .strategy = 0, .to = tly_epoch_sum()};
    scene.before = world_registry(&mem);
    scene.then = with_strategy(scene.before, 0, scene.to);
    struct tly_ormap *map = world_map(&mem, scene.before, 3);
    struct tly_dot text = text_of(0, 0, "5");
    assert_int_equal(tly_ormap_put(map, world_key(0), &text), TLY_OK);
    struct tly_ormap *copy = world_copy(&mem, scene.before, map, 4, NULL);
    assert_int_equal(convert(&scene, map), TLY_OK);
    assert_int_equal(convert(&scene, copy), TLY_OK);
    int64_t value;
    assert_int_equal(tly_counter_add(map, world_key(0), 2, 0, &value), TLY_OK);
    assert_int_equal(value, 7);
    assert_int_equal(tly_counter_add(copy, world_key(0), 10, 0, &value), TLY_OK);
    assert_int_equal(value, 15);
    (void)world_round(map, copy, NULL);
    (void)world_round(copy, map, NULL);
    assert_int_equal(world_read(map, world_key(0), (struct tly_moment){0}).count, 17);
    assert_true(tly_ormap_digest(map) == tly_ormap_digest(copy));
    tly_ormap_check(map);
    tly_ormap_check(copy);
    tly_ormap_free(map);
    tly_ormap_free(copy);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_digits_become_counters_and_back),
        cmocka_unit_test(an_epoch_and_a_count_are_sixteen_bytes),
        cmocka_unit_test(a_sum_is_the_count_of_epoch_nought),
        cmocka_unit_test(a_deadline_goes_over_or_all_is_lost),
        cmocka_unit_test(windows_have_no_place_elsewhere),
        cmocka_unit_test(what_was_read_from_many_dots_is_one),
        cmocka_unit_test(random_maps_become_what_their_keys_become),
        cmocka_unit_test(who_held_the_same_holds_the_same),
        cmocka_unit_test(a_failed_allocation_leaves_the_map_as_it_was),
        cmocka_unit_test(what_became_a_counter_counts_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
