/* Windows as checks want them: read in one look and counted into where they lie, which must be what the general code does. */
#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"
#include "crdt/tally_inline.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>

#define WINDOW 1000

static struct world world;

static int begin(void **state)
{
    world = world_of();
    return 0;
}

static int end(void **state)
{
    world_end(&world);
    return 0;
}

static struct tly_slice sum_key(void)
{
    return tly_slice_text("s:a");
}

static struct tly_tally tally_at(struct tly_ormap *map, struct tly_slice key, uint64_t window, uint64_t epoch)
{
    struct tly_seek seek = tly_seek_of(map, key);
    struct tly_pane pane = tly_pane_of(window, epoch);
    struct tly_tally tally;
    tly_tally_of(map, &seek, &pane, &tally);
    return tally;
}

/* ---- beside the general code ---- */

static struct tly_hit random_hit(struct test_rng *rng)
{
    static const uint64_t windows[] = {7, 1000, 1000, 1000, (UINT64_C(1) << 63) + 3};
    static const uint64_t epochs[] = {0, 1, 2, 3, 3, 4, UINT64_MAX - 1, UINT64_MAX};
    static const int64_t units[] = {1, 1, 2, 60, 100, 40000, -1, INT64_MAX, INT64_MIN};
    return (struct tly_hit){.window = windows[test_rng_below(rng, 5)],
                            .epoch = epochs[test_rng_below(rng, 8)],
                            .units = units[test_rng_below(rng, 9)]};
}

/* A hit of a counter without windows, in the generation of the moment; both maps hold the same. */
static void hit_counters(struct test_rng *rng, struct tly_ormap *checked, struct tly_ormap *counted,
                         struct tly_slice key)
{
    static const int64_t auxes[] = {0, 1000, 1000, 1001, INT64_MAX};
    struct tly_seek seek = tly_seek_of(checked, key);
    struct tly_tally tally;
    tly_tally_counter(checked, &seek, &tally);
    struct tly_hit hit = {
        .epoch = tally.generation, .units = random_hit(rng).units, .aux = auxes[test_rng_below(rng, 5)]};
    if (!tly_tally_counter_hit(checked, &seek, &tally, hit.units, hit.aux)) world_hit(checked, key, hit);
    world_hit(counted, key, hit);
}

/* An addition beside a hit in the generation of the moment, where that is all it is. */
static void add_to_both(struct test_rng *rng, struct tly_ormap *checked, struct tly_ormap *counted,
                        struct tly_slice key)
{
    int64_t delta = random_hit(rng).units, value[2] = {0, 0};
    struct tly_value before = world_read(counted, key, (struct tly_moment){0});
    const struct tly_entry *entry = tly_ormap_find(counted, key);
    bool plain =
        entry != NULL && before.deadline_ms == 0 && tly_counter_generation(counted, entry) == before.epoch;
    enum tly_result result = tly_counter_add(checked, key, delta, 0, &value[0]);
    if (!plain || result != TLY_OK) {
        claim(tly_counter_add(counted, key, delta, 0, &value[1]) == result && value[0] == value[1]);
        return;
    }
    world_hit(counted, key, (struct tly_hit){.epoch = before.epoch, .units = delta, .keeps_aux = true});
    claim(value[0] == world_read(counted, key, (struct tly_moment){0}).count);
}

static uint64_t units_of(int64_t count)
{
    return count > 0 ? (uint64_t)count : 0;
}

/* What was taken at once, so that it shows that it was. */
static size_t taken, taken_first, taken_beside;

/* Reads and counts at once; false: it is no usual case, or there is no room, and nothing may have changed. */
static bool take(struct test_rng *rng, struct tly_ormap *map, struct tly_slice key, const struct tly_hit *hit)
{
    struct tly_seek seek = tly_seek_of(map, key);
    struct tly_meter meter = {.pane = tly_pane_of(hit->window, hit->epoch),
                              .part = test_rng_below(rng, 3) * hit->window / 2,
                              .whole = hit->window,
                              .most = test_rng_chance(rng, 30) ? test_rng_below(rng, 100) : INT64_MAX};
    struct tly_taking taking = {.key = {key.p[0], 1, tly_slice_of(key.p + 1, key.n - 1)},
                                .hash = seek.hash,
                                .hits = (uint32_t)hit->units,
                                .meter = &meter};
    struct tly_tally tally;
    uint64_t used;
    meter.below = test_rng_chance(rng, 30) ? test_rng_below(rng, 50) : UINT64_MAX;
    tly_tally_of(map, &seek, &meter.pane, &tally);
    bool is_queued = tally.entry != NULL && (tally.entry->flags & TLY_ENTRY_QUEUED) != 0;
    if (hit->units < 0 || hit->units > UINT32_MAX || !tly_tally_take(map, &taking, &used)) return false;
    __extension__ typedef unsigned __int128 wide;
    wide before = ((wide)units_of(tally.previous) * meter.part + meter.whole - 1) / meter.whole;
    claim(tally.current >= 0 && used == units_of(tally.current) + (uint64_t)before);
    claim(used < meter.below && used + taking.hits <= meter.most);
    taken++;
    taken_first += !is_queued;
    taken_beside += before > 0;
    return true;
}

static void claim_alike(struct tly_ormap *checked, struct tly_ormap *counted)
{
    tly_ormap_check(checked);
    claim(tly_ormap_is_unsealed(checked) == tly_ormap_is_unsealed(counted));
    claim(tly_ormap_digest(checked) == tly_ormap_digest(counted));
    world_claim_tallies(checked);
    world_claim_tallies(counted);
}

static void random_step(struct test_rng *rng, struct tly_ormap *checked, struct tly_ormap *counted)
{
    size_t key = 2 + SAMPLE_STRATEGIES * (size_t)test_rng_below(rng, WORLD_KEYS);
    uint64_t what = test_rng_below(rng, 13);
    struct tly_ormap *both[] = {checked, counted};
    if (what == 10) hit_counters(rng, checked, counted, world_key(key));
    if (what > 10) add_to_both(rng, checked, counted, world_key(key));
    if (what >= 10) return;
    if (what < 5) {
        struct tly_hit hit = random_hit(rng);
        if (!take(rng, checked, world_key(key), &hit)) world_check(checked, world_key(key), hit);
        world_hit(counted, world_key(key), hit);
        return;
    }
    struct tly_dot dot = sample_dot(rng, world_strategy(key));
    enum tly_result result[2] = {TLY_OK, TLY_OK};
    for (size_t i = 0; i < 2; i++) {
        if (what == 5) result[i] = tly_ormap_seal(both[i]);
        if (what == 6) result[i] = tly_ormap_remove(both[i], world_key(key));
        if (what > 6) (void)world_apply(both[i], world_key(key), &dot);
    }
    claim(result[0] == result[1]); /* at the end of the clock nothing can be sealed */
}

/* Laws ES5, ES7, ES9 */
static void a_check_counts_what_a_hit_does(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 20000 : 1000;
    size_t dots = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct tly_ormap *checked = world_map(&world.mem, world.registry, 9),
                         *counted = world_map(&world.mem, world.registry, 9);
        for (size_t steps = 0; steps < 40; steps++) {
            random_step(&rng, checked, counted);
            claim_alike(checked, counted);
        }
        dots += tly_ormap_log_size(checked);
        tly_ormap_free(checked);
        tly_ormap_free(counted);
    }
    claim(dots > rounds);
}

/* Mostly hits of one window, whose epochs follow one another. */
static void usual_step(struct test_rng *rng, struct tly_ormap *taking, struct tly_ormap *counting,
                       uint64_t epoch)
{
    size_t key = 2 + SAMPLE_STRATEGIES * (size_t)test_rng_below(rng, WORLD_KEYS);
    struct tly_hit hit = {.window = WINDOW, .epoch = epoch, .units = 1 + (int64_t)test_rng_below(rng, 60)};
    if (test_rng_chance(rng, 10)) {
        claim(tly_ormap_seal(taking) == tly_ormap_seal(counting));
        return;
    }
    if (!take(rng, taking, world_key(key), &hit)) world_check(taking, world_key(key), hit);
    world_hit(counting, world_key(key), hit);
}

/* Laws ES5, ES7, ES9 */
static void what_is_taken_at_once_is_what_is_counted_step_by_step(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 20000 : 500;
    taken = taken_first = taken_beside = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct tly_ormap *taking = world_map(&world.mem, world.registry, 9),
                         *counting = world_map(&world.mem, world.registry, 9);
        for (size_t step = 0; step < 60; step++) {
            if (test_rng_chance(&rng, 2))
                random_step(&rng, taking, counting);
            else
                usual_step(&rng, taking, counting, 5 + step / 20);
            claim_alike(taking, counting);
        }
        tly_ormap_free(taking);
        tly_ormap_free(counting);
    }
    claim(taken > 10 * rounds && taken_first > rounds && taken_beside > rounds);
}

/* ---- many nodes ---- */

#define PEERS 12

/* A map in which many count, and what each of them counted last; ts and epoch go on. */
struct crowd {
    struct test_rng rng;
    struct tly_ormap *map;
    uint64_t ts, epoch, origin;
    uint64_t count[PEERS];
    size_t held, walked, replaced; /* how often sums went on to hold */
};

static bool sums_hold(struct tly_ormap *map)
{
    struct tly_entry *entry = tly_ormap_find(map, sum_key());
    const struct tly_sums *sums = entry != NULL ? tly_entry_sums(entry) : NULL;
    return sums != NULL && sums->codes != TLY_SUMS_NONE;
}

static void peer_counts(struct crowd *crowd)
{
    size_t peer = (size_t)test_rng_below(&crowd->rng, PEERS);
    bool other = test_rng_chance(&crowd->rng, 5), held = sums_hold(crowd->map);
    bool late = test_rng_chance(&crowd->rng, 2);
    uint64_t num[] = {other ? 7 : WINDOW, crowd->epoch - late,
                      crowd->count[peer] += test_rng_below(&crowd->rng, 90),
                      test_rng_below(&crowd->rng, 300)};
    struct tly_dot dot = shard_of(++crowd->ts, 100 + peer, num);
    enum tly_outcome outcome = world_apply(crowd->map, sum_key(), &dot);
    crowd->replaced += held && outcome == TLY_APPLIED;
    crowd->held += held && outcome == TLY_APPLIED && sums_hold(crowd->map);
}

static bool is_old(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *put)
{
    const struct crowd *crowd = context;
    return put->num[TLY_SUM_EPOCH] + 2 < crowd->epoch;
}

static void replace_by_a_copy(struct crowd *crowd)
{
    struct tly_ormap *copy;
    claim(tly_ormap_seal(crowd->map) == TLY_OK);
    copy = world_copy(&world.mem, world.registry, crowd->map, ++crowd->origin, &crowd->rng);
    tly_ormap_free(crowd->map);
    crowd->map = copy;
}

static void something_else(struct crowd *crowd)
{
    struct tly_dot remove = remove_of(++crowd->ts, 100 + test_rng_below(&crowd->rng, PEERS));
    size_t cursor = 0;
    switch (test_rng_below(&crowd->rng, 7)) {
    case 0: (void)world_apply(crowd->map, sum_key(), &remove); break;
    case 1: claim(tly_ormap_remove(crowd->map, sum_key()) != TLY_NOMEM); break;
    case 2: crowd->epoch++; break;
    case 3: (void)tly_ormap_sweep(crowd->map, &cursor, 10, is_old, crowd); break;
    case 4: claim(tly_ormap_begin_life(crowd->map, ++crowd->origin) == TLY_OK); break;
    case 5: replace_by_a_copy(crowd); break;
    default:
        world_hit(crowd->map, sum_key(),
                  (struct tly_hit){.window = WINDOW, .epoch = crowd->epoch - 1, .units = 3});
        break;
    }
}

/* A REMOVE that stands is no usual thing, and is walked. All of this has been heard by all. */
static void forget_all(struct crowd *crowd)
{
    for (uint64_t peer = 0; peer < PEERS; peer++)
        claim(tly_ormap_raise_mark(crowd->map, 100 + peer, crowd->ts) == TLY_OK);
    (void)tly_ormap_forget(crowd->map, crowd->ts, SIZE_MAX);
}

static void crowd_step(struct crowd *crowd)
{
    uint64_t what = test_rng_below(&crowd->rng, 100);
    if (what < 60) {
        peer_counts(crowd);
    } else if (what < 80) {
        int64_t units = 1 + (int64_t)test_rng_below(&crowd->rng, 40);
        world_check(crowd->map, sum_key(),
                    (struct tly_hit){.window = WINDOW, .epoch = crowd->epoch, .units = units});
    } else if (what < 98) {
        claim(tly_ormap_seal(crowd->map) == TLY_OK);
        if (what > 92) forget_all(crowd);
        if (tly_ormap_clock(crowd->map)->last > crowd->ts) crowd->ts = tly_ormap_clock(crowd->map)->last;
    } else {
        something_else(crowd);
    }
}

/* Of the epoch of the moment mostly, so that sums are found and go on; then any. */
static void claim_crowd(struct crowd *crowd)
{
    struct tly_moment at = {.window = WINDOW, .epoch = crowd->epoch};
    tly_ormap_check(crowd->map);
    if (test_rng_chance(&crowd->rng, 5)) at.epoch += test_rng_below(&crowd->rng, 3) - 1;
    crowd->walked += !sums_hold(crowd->map);
    struct tly_tally tally = tally_at(crowd->map, sum_key(), at.window, at.epoch);
    struct tly_value value = world_read(crowd->map, sum_key(), at);
    claim(tally.current == value.count && tally.previous == value.previous);
    tly_ormap_check(crowd->map);
}

/* Law ES5 */
static void sums_of_many_nodes_are_what_a_walk_finds_after_every_step(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 2000 : 60;
    size_t held = 0, replaced = 0, walked = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct crowd crowd = {.rng = test_rng_of(seed), .ts = 1000, .epoch = 5, .origin = 9};
        crowd.map = world_map(&world.mem, world.registry, 9);
        for (size_t steps = 0; steps < 500; steps++) {
            crowd_step(&crowd);
            claim_crowd(&crowd);
        }
        held += crowd.held;
        replaced += crowd.replaced;
        walked += crowd.walked;
        tly_ormap_free(crowd.map);
    }
    print_message("of %zu dots that came beside sums %zu moved them on; %zu walks in %zu checks\n", replaced,
                  held, walked, (size_t)rounds * 500);
    claim(replaced > 50 * rounds && held > replaced / 2);
}

static void a_bucket_takes_the_words_that_sums_had(void **state)
{
    struct tly_ormap *map = world.node[0];
    uint64_t num[] = {WINDOW, 5, 10, 0};
    for (uint64_t origin = 10; origin < 16; origin++) {
        struct tly_dot dot = shard_of(100 + origin, origin, num);
        assert_int_equal(world_apply(map, sum_key(), &dot), TLY_APPLIED);
    }
    world_check(map, sum_key(), (struct tly_hit){.window = WINDOW, .epoch = 5, .units = 1});
    assert_int_equal(tally_at(map, sum_key(), WINDOW, 5).current, 61);
    assert_true(sums_hold(map));
    struct tly_entry *entry = tly_ormap_find(map, sum_key());
    assert_null(tly_entry_local(entry));
    assert_int_equal(tly_entry_need_local(map, &entry), TLY_OK);
    uint64_t *words = tly_entry_local(entry);
    assert_non_null(words);
    for (size_t i = 0; i < TLY_LOCAL_WORDS; i++) {
        assert_int_equal(words[i], 0);
        words[i] = UINT64_MAX - i;
    }
    assert_int_equal(tally_at(map, sum_key(), WINDOW, 5).current, 61);
    assert_false(sums_hold(map));
    for (size_t i = 0; i < TLY_LOCAL_WORDS; i++)
        assert_true(tly_entry_local(tly_ormap_find(map, sum_key()))[i] == UINT64_MAX - i);
    tly_ormap_check(map);
}

/* ---- scenes ---- */

static void hits_of_a_busy_window_are_written_in_place(void **state)
{
    struct tly_ormap *map = world.node[0];
    struct tly_hit hit = {.window = WINDOW, .epoch = 5, .units = 1};
    assert_null(tally_at(map, sum_key(), WINDOW, 5).entry);
    for (int64_t i = 1; i <= 300; i++) {
        world_check(map, sum_key(), hit);
        struct tly_tally tally = tally_at(map, sum_key(), WINDOW, 5);
        assert_true(tally.own != NULL && tally.current == i && tally.previous == 0);
        if (i % 50 == 0) assert_int_equal(tly_ormap_seal(map), TLY_OK);
        tly_ormap_check(map);
    }
    hit.epoch = 6;
    world_check(map, sum_key(), hit);
    struct tly_tally tally = tally_at(map, sum_key(), WINDOW, 6);
    assert_true(tally.own != NULL && tally.current == 1 && tally.previous == 300);
    /* A late one counts where it belongs. */
    hit.epoch = 5;
    world_check(map, sum_key(), hit);
    assert_int_equal(tally_at(map, sum_key(), WINDOW, 5).current, 301);
}

static void numbers_beyond_a_tally_are_clamped_as_ever(void **state)
{
    struct tly_ormap *map = world.node[0];
    uint64_t most[] = {WINDOW, 5, INT64_MAX, INT64_MAX};
    for (uint64_t origin = 10; origin < 12; origin++) {
        struct tly_dot dot = shard_of(100 + origin, origin, most);
        assert_int_equal(world_apply(map, sum_key(), &dot), TLY_APPLIED);
    }
    world_check(map, sum_key(), (struct tly_hit){.window = WINDOW, .epoch = 5, .units = INT64_MAX});
    world_check(map, sum_key(), (struct tly_hit){.window = WINDOW, .epoch = 5, .units = 1});
    world_claim_tallies(map);
    assert_true(tally_at(map, sum_key(), WINDOW, 5).current == INT64_MAX);
}

/* A key may be of another strategy, say one that an operator registered a longer prefix for. */
static void a_key_that_is_no_counter_is_refused(void **state)
{
    struct tly_ormap *map = world.node[0];
    struct tly_dot text = {.bytes = tly_slice_text("a text that is longer than any word")};
    assert_int_equal(tly_ormap_put(map, world_key(0), &text), TLY_OK);
    struct tly_pane pane = tly_pane_of(WINDOW, 5);
    for (size_t key = 0; key < 2; key++) {
        struct tly_seek seek = tly_seek_of(map, world_key(key));
        struct tly_tally tally;
        tly_tally_of(map, &seek, &pane, &tally);
        assert_true(tally.current == 0 && tally.previous == 0 && tally.own == NULL);
        assert_int_equal(tly_tally_hit(map, &seek, &pane, &tally, 1), TLY_WRONG_STRATEGY);
    }
    struct tly_seek unknown = tly_seek_of(map, tly_slice_text("x:a"));
    struct tly_tally tally;
    tly_tally_of(map, &unknown, &pane, &tally);
    assert_int_equal(tly_tally_hit(map, &unknown, &pane, &tally, 1), TLY_NO_STRATEGY);
    tly_ormap_check(map);
}

static void without_memory_nothing_is_counted(void **state)
{
    struct test_failing failing = {.countdown = SIZE_MAX};
    struct tly_mem mem = test_failing_mem(&failing);
    size_t failures = 0;
    for (int keys = 0; keys < 600; keys++) {
        struct tly_ormap *map = world_map(&mem, world.registry, 9);
        for (int i = 0; i < keys; i++) {
            char key[] = "s:000";
            key[2] = (char)('0' + i / 100);
            key[3] = (char)('0' + i / 10 % 10);
            key[4] = (char)('0' + i % 10);
            world_check(map, tly_slice_text(key), (struct tly_hit){.window = WINDOW, .epoch = 5, .units = 1});
        }
        if (keys % 3 == 1) assert_int_equal(tly_ormap_seal(map), TLY_OK);
        uint64_t digest = tly_ormap_digest(map);
        struct tly_slice key = tly_slice_text(keys % 3 == 1 ? "s:000" : "s:new");
        struct tly_seek seek = tly_seek_of(map, key);
        struct tly_pane pane = tly_pane_of(WINDOW, 5);
        struct tly_tally tally;
        for (size_t nth = 0;; nth++) {
            tly_tally_of(map, &seek, &pane, &tally);
            failing = (struct test_failing){.countdown = nth};
            enum tly_result result = tly_tally_hit(map, &seek, &pane, &tally, 1);
            bool failed = failing.failed;
            failing = (struct test_failing){.countdown = SIZE_MAX};
            claim(result == (failed ? TLY_NOMEM : TLY_OK));
            tly_ormap_check(map);
            if (!failed) break;
            failures++;
            claim(tly_ormap_digest(map) == digest);
        }
        claim(tally_at(map, key, WINDOW, 5).current == (keys % 3 == 1 ? 2 : 1));
        tly_ormap_free(map);
        if (keys > 5 && keys < 240) keys += 16;
    }
    claim(failures > 100);
}

#define scene(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene(a_check_counts_what_a_hit_does),
        scene(what_is_taken_at_once_is_what_is_counted_step_by_step),
        scene(sums_of_many_nodes_are_what_a_walk_finds_after_every_step),
        scene(a_bucket_takes_the_words_that_sums_had),
        scene(hits_of_a_busy_window_are_written_in_place),
        scene(numbers_beyond_a_tally_are_clamped_as_ever),
        scene(a_key_that_is_no_counter_is_refused),
        scene(without_memory_nothing_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
