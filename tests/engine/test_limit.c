/* The algorithms on one node, against references that are too simple to be wrong. */
#include "tests/engine/support_limit.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdlib.h>

static int nothing_is_left(void **state)
{
    (void)state;
    return test_mem_live() == 0 ? 0 : -1;
}

static void a_fixed_window_admits_the_limit_and_turns_at_its_edge(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = 3, .window_ms = 10000, .algorithm = TLY_FIXED_WINDOW};
    for (uint64_t left = 3; left-- > 0;) {
        struct tly_verdict v = check_at(&scene, &rate, 1, START);
        assert_int_equal(v.code, TLY_CODE_OK);
        assert_int_equal(v.remaining, left);
    }
    struct tly_verdict over = check_at(&scene, &rate, 1, START + 9999 * MS);
    assert_int_equal(over.code, TLY_CODE_OVER);
    assert_int_equal(over.remaining, 0);
    assert_int_equal(over.retry_after_ms, 1);
    assert_int_equal(check_at(&scene, &rate, 1, START + 10000 * MS).remaining, 2);
    scene_free(&scene);
}

static void old_window_leaves_nothing(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2);
    struct tly_rate rate = {.limit = 100, .window_ms = 10000, .algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(check_at(&a, &rate, 90, START).code, TLY_CODE_OK);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 1, START + 1).remaining, 9);
    assert_int_equal(check_at(&b, &rate, 1, START + 10000 * MS).remaining, 99);
    scene_free(&b);
    scene_free(&a);
}

static void refusals_cost_nothing(void **state)
{
    (void)state;
    static const enum tly_algorithm all[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = all[i]};
        assert_int_equal(check_at(&scene, &rate, 11, START).code, TLY_CODE_OVER);
        assert_int_equal(tly_ormap_count(scene.map), 0);
        assert_int_equal(check_at(&scene, &rate, 7, START).remaining, 3);
        for (int n = 0; n < 1000; n++)
            assert_int_equal(check_at(&scene, &rate, 4, START).code, TLY_CODE_OVER);
        assert_int_equal(check_at(&scene, &rate, 3, START).code, TLY_CODE_OK);
        assert_int_equal(check_at(&scene, &rate, 0, START).remaining, 0);
        scene_free(&scene);
    }
}

static void what_can_never_pass_says_so(void **state)
{
    (void)state;
    static const enum tly_algorithm all[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = all[i]};
        assert_true(check_at(&scene, &rate, 11, START).retry_after_ms == UINT64_MAX);
        scene_free(&scene);
    }
}

#define LOGGED 4096

/* When hits were admitted. */
struct log {
    uint64_t at_ms[LOGGED];
    size_t count;
};

/* Those from then on, and before that. */
static uint64_t logged(const struct log *log, uint64_t from_ms, uint64_t until_ms)
{
    uint64_t count = 0;
    for (size_t i = 0; i < log->count; i++)
        count += log->at_ms[i] >= from_ms && log->at_ms[i] < until_ms;
    return count;
}

/*
 * Beside a log of every hit. Of the window before it is not known when its hits came: all of them may be in the last
 * window_ms, or none. So the sum is off by no more than their part that was taken for the other; at an edge by nothing.
 */
static void a_sliding_window_agrees_with_an_exact_log(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    uint64_t edges = 0, apart = 0;
    for (int trace = 0; trace < 50; trace++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 5 + test_rng_below(&rng, 60),
                                .window_ms = 100 + test_rng_below(&rng, 3000),
                                .algorithm = TLY_SLIDING_WINDOW};
        struct log log = {.count = 0};
        uint64_t now = START / MS, window = rate.window_ms;
        for (int i = 0; i < 1000 && log.count < LOGGED; i++) {
            uint64_t step = test_rng_below(&rng, window / 10 + 2), edge = window - now % window;
            now += test_rng_below(&rng, 8) == 0 ? edge : step;
            uint64_t begin = now - now % window, elapsed = now - begin;
            uint64_t before = logged(&log, begin - window, begin);
            uint64_t exact = logged(&log, now - window, now) + logged(&log, now, now + 1);
            uint64_t used = check_at(&scene, &rate, 0, now * MS).used;
            uint64_t weight = elapsed > window - elapsed ? elapsed : window - elapsed;
            uint64_t most = elapsed == 0 ? 0 : (before * weight + window - 1) / window;
            uint64_t off = used > exact ? used - exact : exact - used;
            claim(off <= most);
            edges += elapsed == 0;
            apart += off > 0;
            if (check_at(&scene, &rate, 1, now * MS).code == TLY_CODE_OK) log.at_ms[log.count++] = now;
            claim(logged(&log, begin, begin + window) <= rate.limit);
        }
        scene_free(&scene);
    }
    assert_true(edges > 1000 && apart > 1000);
}

/* The formula itself: units of this window, and with its weight the window before. */
static void a_sliding_window_is_its_formula(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(20261);
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = 50, .window_ms = 1000, .algorithm = TLY_SLIDING_WINDOW};
    uint64_t counts[2] = {0, 0}, epoch = START / MS / 1000, now = START, compared = 0;
    for (int i = 0; i < 100000; i++) {
        now += test_rng_below(&rng, 40) * MS + test_rng_below(&rng, MS);
        uint64_t now_ms = now / MS, turned = now_ms / 1000 - epoch;
        if (turned > 0) {
            counts[1] = turned == 1 ? counts[0] : 0;
            counts[0] = 0;
            epoch += turned;
        }
        uint64_t hits = test_rng_below(&rng, 4), elapsed = now_ms % 1000;
        bool fits = counts[1] * (1000 - elapsed) + (counts[0] + hits) * 1000 <= rate.limit * 1000;
        struct tly_verdict v = check_at(&scene, &rate, (uint32_t)hits, now);
        assert_int_equal(v.code == TLY_CODE_OK, fits);
        if (fits) counts[0] += hits;
        compared += !fits;
    }
    assert_true(compared > 1000);
    scene_free(&scene);
}

/* The generic cell rate algorithm as ITU-T I.371 gives it, in ns. */
static void a_bucket_is_gcra_hit_for_hit(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(7);
    for (int round = 0; round < 50; round++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 1 + test_rng_below(&rng, 100),
                                .window_ms = 1 + test_rng_below(&rng, 60000),
                                .burst = 1 + test_rng_below(&rng, 50),
                                .algorithm = TLY_TOKEN_BUCKET};
        uint64_t emission = rate.window_ms * MS / rate.limit, tolerance = emission * rate.burst;
        uint64_t now = START, tat = 0, refused = 0;
        for (int i = 0; i < 2000; i++) {
            now += test_rng_below(&rng, emission * 3 / 2);
            uint64_t hits = test_rng_below(&rng, 3), base = tat > now ? tat : now;
            bool fits = base + emission * hits <= now + tolerance;
            struct tly_verdict v = check_at(&scene, &rate, (uint32_t)hits, now);
            assert_int_equal(v.code == TLY_CODE_OK, fits);
            if (fits) tat = base + emission * hits;
            base = tat > now ? tat : now;
            assert_int_equal(v.remaining, (tolerance - (base - now)) / emission);
            refused += !fits;
        }
        assert_true(refused > 0);
        scene_free(&scene);
    }
}

static void retry_after_is_true(void **state)
{
    (void)state;
    static const enum tly_algorithm all[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    struct test_rng rng = test_rng_of(99);
    uint64_t refused = 0;
    while (refused < 10000) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 1 + test_rng_below(&rng, 30),
                                .window_ms = 1 + test_rng_below(&rng, 5000),
                                .algorithm = all[test_rng_below(&rng, 3)]};
        uint64_t now = START;
        for (int i = 0; i < 60; i++) {
            now += test_rng_below(&rng, rate.window_ms / 4 + 1) * MS;
            uint32_t hits = 1 + (uint32_t)test_rng_below(&rng, rate.limit);
            struct tly_verdict v = check_at(&scene, &rate, hits, now);
            if (v.code == TLY_CODE_OK) continue;
            refused++;
            assert_true(v.retry_after_ms > 0 && v.retry_after_ms <= 2 * rate.window_ms);
            now += (v.retry_after_ms - 1) * MS;
            assert_int_equal(check_at(&scene, &rate, hits, now).code, TLY_CODE_OVER);
            now += MS;
            assert_int_equal(check_at(&scene, &rate, hits, now).code, TLY_CODE_OK);
        }
        scene_free(&scene);
    }
}

static void reset_is_when_nothing_is_left(void **state)
{
    (void)state;
    static const enum tly_algorithm all[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    struct test_rng rng = test_rng_of(5);
    for (int i = 0; i < 3000; i++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {
            .limit = 10, .window_ms = 1 + test_rng_below(&rng, 5000), .algorithm = all[i % 3]};
        uint64_t now = START + test_rng_below(&rng, 10000) * MS;
        uint64_t reset_ms = check_at(&scene, &rate, 1 + (uint32_t)test_rng_below(&rng, 10), now).reset_ms;
        assert_true(reset_ms > 0);
        assert_int_equal(check_at(&scene, &rate, 0, now + reset_ms * MS).remaining, 10);
        assert_int_equal(check_at(&scene, &rate, 0, now + reset_ms * MS).reset_ms, 0);
        assert_true(check_at(&scene, &rate, 0, now + (reset_ms - 1) * MS).reset_ms > 0);
        scene_free(&scene);
    }
}

static void a_bucket_learns_what_others_took(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(check_at(&b, &rate, 1, START).remaining, 9);
    assert_int_equal(check_at(&a, &rate, 4, START).remaining, 6);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 0, START).remaining, 5);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 0, START).remaining, 5);
    assert_int_equal(check_at(&b, &rate, 0, START + 2000 * MS).remaining, 7);
    scene_free(&a);
    scene_free(&b);
}

static void a_bucket_first_seen_starts_with_what_others_owe(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(check_at(&a, &rate, 4, START).remaining, 6);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 0, START).remaining, 6);
    assert_int_equal(check_at(&b, &rate, 6, START).remaining, 0);
    scene_free(&a);
    scene_free(&b);
}

/* It starts there once: what the others owe together is more than all of it, and would go on refusing while it fills. */
static void a_bucket_first_seen_and_refused_fills_like_any_other(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2), c = scene_new(3);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(check_at(&a, &rate, 5, START).remaining, 5);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 5, START).remaining, 0);
    hand_over(&a, &c, START);
    hand_over(&b, &c, START);
    struct tly_verdict v = check_at(&c, &rate, 1, START);
    assert_int_equal(v.code, TLY_CODE_OVER);
    assert_int_equal(v.retry_after_ms, 1000);
    assert_int_equal(check_at(&c, &rate, 1, START + 999 * MS).code, TLY_CODE_OVER);
    assert_int_equal(check_at(&c, &rate, 1, START + 1000 * MS).code, TLY_CODE_OK);
    assert_int_equal(check_at(&c, &rate, 1, START + 1000 * MS).code, TLY_CODE_OVER);
    scene_free(&a);
    scene_free(&b);
    scene_free(&c);
}

static void an_hour_apart_is_not_an_hour_of_refusals(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    for (uint64_t s = 0; s < 3600; s++)
        assert_int_equal(check_at(&a, &rate, 1, START + s * 1000 * MS).code, TLY_CODE_OK);
    uint64_t now = START + 3600 * 1000 * MS;
    assert_int_equal(check_at(&b, &rate, 1, now).remaining, 9);
    hand_over(&a, &b, now);
    struct tly_verdict v = check_at(&b, &rate, 1, now);
    assert_int_equal(v.code, TLY_CODE_OVER);
    assert_true(v.retry_after_ms <= 20000);
    scene_free(&a);
    scene_free(&b);
}

static void great_numbers_do_not_overflow(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = TLY_LIMIT_MAX, .window_ms = UINT64_C(31622400000)};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(check_at(&scene, &rate, UINT32_MAX, START).code, TLY_CODE_OK);
    assert_int_equal(check_at(&scene, &rate, 0, START).remaining,
                     (uint64_t)TLY_LIMIT_MAX - UINT64_C(1000) * UINT32_MAX);
    struct tly_rate tiny = {.limit = 5, .window_ms = 1, .algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(check_at(&scene, &tiny, 5, START).remaining, 0);
    assert_int_equal(check_at(&scene, &tiny, 1, START + MS - 1).code, TLY_CODE_OVER);
    assert_int_equal(check_at(&scene, &tiny, 1, START + MS).code, TLY_CODE_OK);
    scene_free(&scene);
}

static void a_full_bucket_expires_after_the_skew_and_not_before(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(check_at(&scene, &rate, 4, START).code, TLY_CODE_OK);
    struct tly_dot dot;
    struct tly_slice key = tly_slice_text("rl:k");
    assert_true(tly_ormap_own(scene.map, tly_ormap_find(scene.map, key), 0, &dot));
    uint64_t full = START + 4000 * MS;
    assert_false(tly_limit_expired(key, tly_epoch_sum(), &dot, full + TLY_MAX_SKEW_NS, TLY_MAX_SKEW_NS));
    assert_true(tly_limit_expired(key, tly_epoch_sum(), &dot, full + TLY_MAX_SKEW_NS + 1, TLY_MAX_SKEW_NS));
    scene_free(&scene);
}

/* Another rate may have given back by then what is more than it had told before. */
static void what_a_shard_took_that_is_over_takes_no_more_from_the_own_bucket(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    for (uint64_t late = 0; late < 2; late++) {
        struct scene a = scene_new(1), b = scene_new(2);
        uint64_t heard = START + 4000 * MS + TLY_MAX_SKEW_NS + late;
        assert_int_equal(check_at(&a, &rate, 4, START).code, TLY_CODE_OK);
        assert_int_equal(check_at(&b, &rate, 1, heard).remaining, 9);
        hand_over(&a, &b, heard);
        assert_int_equal(check_at(&b, &rate, 0, heard).remaining, late ? 9 : 5);
        scene_free(&a);
        scene_free(&b);
    }
}

/* ---- what is counted ---- */

static struct tly_verdict charge(struct scene *scene, const struct tly_rate *rate, uint32_t hits,
                                 enum tly_charging charging)
{
    struct tly_verdict verdict;
    struct tly_limit_ask ask = {.seek = tly_seek_of(scene->map, tly_slice_text("rl:k")),
                                .rate = rate,
                                .hits = hits,
                                .charging = charging,
                                .now_ns = START};
    assert_int_equal(tly_limit_check(scene->map, &ask, &scene->span, &verdict), TLY_OK);
    return verdict;
}

static void refused_hits_are_counted_when_all_are_charged(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(charge(&scene, &rate, 8, TLY_CHARGE_ALL).code, TLY_CODE_OK);
    struct tly_verdict verdict = charge(&scene, &rate, 5, TLY_CHARGE_ALL);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.used, 13);
    assert_int_equal(verdict.remaining, 0);
    assert_int_equal(charge(&scene, &rate, 1, TLY_CHARGE_ALL).used, 14);
    /* Where only admitted hits are charged a refusal leaves no trace. */
    assert_int_equal(charge(&scene, &rate, 1, TLY_CHARGE_ADMITTED).used, 14);
    /* A cap is about what was counted, so what it refuses is not. */
    rate.mode = TLY_CAPPED;
    rate.cap = 5;
    assert_int_equal(charge(&scene, &rate, 3, TLY_CHARGE_ALL).used, 14);
    scene_free(&scene);
}

static void hits_are_given_back_down_to_nothing(void **state)
{
    (void)state;
    static const enum tly_algorithm windows[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene = scene_new(1);
        struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = windows[i]};
        assert_int_equal(charge(&scene, &rate, 3, TLY_GIVE_BACK).remaining, 10);
        assert_int_equal(charge(&scene, &rate, 7, TLY_CHARGE_ADMITTED).remaining, 3);
        assert_int_equal(charge(&scene, &rate, 4, TLY_GIVE_BACK).remaining, 7);
        assert_int_equal(charge(&scene, &rate, UINT32_MAX, TLY_GIVE_BACK).remaining, 10);
        assert_int_equal(charge(&scene, &rate, 10, TLY_CHARGE_ADMITTED).code, TLY_CODE_OK);
        assert_int_equal(charge(&scene, &rate, 1, TLY_CHARGE_ADMITTED).code, TLY_CODE_OVER);
        scene_free(&scene);
    }
}

static void a_bucket_gives_nothing_back(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_rate rate = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(charge(&scene, &rate, 7, TLY_CHARGE_ALL).remaining, 3);
    assert_int_equal(charge(&scene, &rate, 4, TLY_GIVE_BACK).remaining, 3);
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_fixed_window_admits_the_limit_and_turns_at_its_edge, nothing_is_left),
        cmocka_unit_test_teardown(old_window_leaves_nothing, nothing_is_left),
        cmocka_unit_test_teardown(refusals_cost_nothing, nothing_is_left),
        cmocka_unit_test_teardown(what_can_never_pass_says_so, nothing_is_left),
        cmocka_unit_test_teardown(a_sliding_window_is_its_formula, nothing_is_left),
        cmocka_unit_test_teardown(a_sliding_window_agrees_with_an_exact_log, nothing_is_left),
        cmocka_unit_test_teardown(a_bucket_is_gcra_hit_for_hit, nothing_is_left),
        cmocka_unit_test_teardown(retry_after_is_true, nothing_is_left),
        cmocka_unit_test_teardown(reset_is_when_nothing_is_left, nothing_is_left),
        cmocka_unit_test_teardown(a_bucket_learns_what_others_took, nothing_is_left),
        cmocka_unit_test_teardown(a_bucket_first_seen_starts_with_what_others_owe, nothing_is_left),
        cmocka_unit_test_teardown(a_bucket_first_seen_and_refused_fills_like_any_other, nothing_is_left),
        cmocka_unit_test_teardown(an_hour_apart_is_not_an_hour_of_refusals, nothing_is_left),
        cmocka_unit_test_teardown(great_numbers_do_not_overflow, nothing_is_left),
        cmocka_unit_test_teardown(a_full_bucket_expires_after_the_skew_and_not_before, nothing_is_left),
        cmocka_unit_test_teardown(what_a_shard_took_that_is_over_takes_no_more_from_the_own_bucket,
                                  nothing_is_left),
        cmocka_unit_test_teardown(refused_hits_are_counted_when_all_are_charged, nothing_is_left),
        cmocka_unit_test_teardown(hits_are_given_back_down_to_nothing, nothing_is_left),
        cmocka_unit_test_teardown(a_bucket_gives_nothing_back, nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
