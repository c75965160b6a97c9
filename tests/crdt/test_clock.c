/* The clock that makes versions. */
#include "crdt/clock.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#define SECOND UINT64_C(1000000000)
#define YEAR (UINT64_C(31557600) * SECOND)
#define NOW (UINT64_C(1700000000) * SECOND)

static struct tly_clock clock_at(uint64_t wall_ns)
{
    return tly_clock_of(0, (struct tly_time){wall_ns, 0}, TLY_MAX_SKEW_NS);
}

static uint64_t next_of(struct tly_clock *clock)
{
    uint64_t ts = 0;
    assert_int_equal(tly_clock_next(clock, &ts), TLY_OK);
    return ts;
}

/* Law L7 */
static void next_only_rises_between_random_observes_and_ticks(void **state)
{
    size_t calls = 10000000, observed = 0;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_clock clock = clock_at(NOW);
    uint64_t last = 0, seen = 0;
    for (size_t i = 0; i < calls; i++) {
        uint64_t ts, before = clock.last;
        claim(tly_clock_next(&clock, &ts) == TLY_OK);
        claim(ts > last && ts > seen && ts >= before && ts >= clock.now.wall_ns);
        last = ts;
        if (test_rng_chance(&rng, 10)) {
            seen = last - 500 + test_rng_below(&rng, 1000);
            tly_clock_observe(&clock, seen);
            observed++;
        }
        if (test_rng_chance(&rng, 10))
            tly_clock_tick(&clock, (struct tly_time){NOW + test_rng_below(&rng, SECOND), i});
    }
    print_message("%zu versions, %zu observed\n", calls, observed);
    claim(observed > calls / 20);
}

static void neither_idling_nor_asking_moves_the_clock(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    uint64_t last = next_of(&clock);
    for (uint64_t i = 1; i < 1000; i++) {
        tly_clock_tick(&clock, (struct tly_time){NOW, i * SECOND});
        (void)tly_clock_admits(&clock, UINT64_MAX - 1);
        (void)tly_clock_wants_lease(&clock);
        (void)tly_clock_is_covered(&clock);
    }
    assert_int_equal(clock.last, last);
    assert_int_equal(next_of(&clock), last + 1);
}

static void the_end_of_time_is_an_error_for_good(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    tly_clock_observe(&clock, UINT64_MAX - 2);
    uint64_t ts = next_of(&clock);
    assert_true(ts == UINT64_MAX - 1 && ts == TLY_CLOCK_LAST);
    ts = 7;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(tly_clock_next(&clock, &ts), TLY_CLOCK_END);
    assert_int_equal(ts, 7);
    tly_clock_tick(&clock, (struct tly_time){NOW, SECOND});
    assert_int_equal(tly_clock_next(&clock, &ts), TLY_CLOCK_END);
}

static void a_clock_started_at_the_end_is_at_the_end(void **state)
{
    uint64_t ts;
    struct tly_clock leased = tly_clock_of(UINT64_MAX, (struct tly_time){NOW, 0}, TLY_MAX_SKEW_NS);
    assert_int_equal(tly_clock_next(&leased, &ts), TLY_CLOCK_END);
    struct tly_clock observed = clock_at(NOW);
    tly_clock_observe(&observed, UINT64_MAX);
    assert_int_equal(tly_clock_next(&observed, &ts), TLY_CLOCK_END);
    struct tly_clock walled = clock_at(NOW);
    tly_clock_tick(&walled, (struct tly_time){UINT64_MAX, 0});
    assert_int_equal(next_of(&walled), TLY_CLOCK_LAST);
    assert_int_equal(tly_clock_next(&walled, &ts), TLY_CLOCK_END);
}

/* Law M4 */
static void observe_is_a_max(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    tly_clock_observe(&clock, NOW + 50);
    for (int i = 0; i < 1000; i++) {
        tly_clock_observe(&clock, NOW + 50);
        tly_clock_observe(&clock, NOW + 49);
        tly_clock_observe(&clock, 0);
    }
    assert_int_equal(clock.last, NOW + 50);
    assert_int_equal(next_of(&clock), NOW + 51);
}

static void max_skew_is_admitted_and_one_ns_more_is_not(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    assert_true(tly_clock_admits(&clock, NOW + TLY_MAX_SKEW_NS));
    assert_false(tly_clock_admits(&clock, NOW + TLY_MAX_SKEW_NS + 1));
    /* What was refused is taken once time has passed. */
    tly_clock_tick(&clock, (struct tly_time){NOW + 1, 1});
    assert_true(tly_clock_admits(&clock, NOW + TLY_MAX_SKEW_NS + 1));
}

static void the_horizon_follows_no_dot(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    for (int i = 0; i < 1000; i++) {
        uint64_t ts = clock.last + TLY_MAX_SKEW_NS;
        if (tly_clock_admits(&clock, ts)) tly_clock_observe(&clock, ts);
    }
    assert_true(clock.last <= NOW + TLY_MAX_SKEW_NS);
    assert_false(tly_clock_admits(&clock, NOW + TLY_MAX_SKEW_NS + 1));
}

static void a_clock_bomb_harms_nobody(void **state)
{
    static const uint64_t bombs[] = {UINT64_MAX, UINT64_MAX - 1, NOW + 10 * YEAR};
    struct tly_clock clock = clock_at(NOW);
    for (size_t i = 0; i < 3; i++)
        assert_false(tly_clock_admits(&clock, bombs[i]));
    for (int i = 0; i < 1000000; i++)
        (void)next_of(&clock);
    assert_true(clock.last < NOW + TLY_MAX_SKEW_NS);
}

static void the_horizon_goes_on_while_the_wall_stands_or_falls(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    tly_clock_tick(&clock, (struct tly_time){NOW - YEAR, 10});
    assert_int_equal(clock.horizon, NOW + 10);
    tly_clock_tick(&clock, (struct tly_time){NOW - YEAR, 10});
    assert_int_equal(clock.horizon, NOW + 10);
    /* A mono that went back counts as no time passed, and not twice when it comes again. */
    tly_clock_tick(&clock, (struct tly_time){NOW - YEAR, 4});
    tly_clock_tick(&clock, (struct tly_time){NOW - YEAR, 10});
    assert_int_equal(clock.horizon, NOW + 10);
    tly_clock_tick(&clock, (struct tly_time){NOW + 100, 11});
    assert_int_equal(clock.horizon, NOW + 100);
    tly_clock_tick(&clock, (struct tly_time){0, UINT64_MAX});
    assert_int_equal(clock.horizon, UINT64_MAX);
    assert_true(tly_clock_admits(&clock, TLY_CLOCK_LAST));
    assert_false(tly_clock_admits(&clock, UINT64_MAX));
}

static void a_clock_starts_above_the_lease_and_not_below_the_wall(void **state)
{
    struct tly_clock poor = tly_clock_of(NOW, (struct tly_time){0, 0}, TLY_MAX_SKEW_NS);
    assert_int_equal(poor.horizon, NOW);
    assert_true(next_of(&poor) > NOW);
    struct tly_clock rich = tly_clock_of(NOW, (struct tly_time){NOW + YEAR, 0}, TLY_MAX_SKEW_NS);
    assert_true(next_of(&rich) >= NOW + YEAR);
    struct tly_clock fresh = clock_at(0);
    assert_int_equal(next_of(&fresh), 1);
}

static void the_lease_is_renewed_at_half_and_once_a_lease(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    uint64_t lease = tly_clock_wants_lease(&clock), syncs = 0;
    assert_true(lease >= clock.last + TLY_CLOCK_LEASE_NS);
    assert_false(tly_clock_is_covered(&clock));
    tly_clock_leased(&clock, lease);
    assert_true(tly_clock_is_covered(&clock));
    assert_int_equal(tly_clock_wants_lease(&clock), 0);

    uint64_t start = clock.last, step = TLY_CLOCK_LEASE_NS / 64;
    for (uint64_t i = 1; i <= 64 * 100; i++) {
        tly_clock_tick(&clock, (struct tly_time){start + i * step, i * step});
        (void)next_of(&clock);
        lease = tly_clock_wants_lease(&clock);
        bool half_gone = clock.lease < clock.last + TLY_CLOCK_LEASE_NS / 2;
        assert_int_equal(lease != 0, half_gone);
        assert_true(tly_clock_is_covered(&clock));
        if (lease == 0) continue;
        assert_true(lease >= clock.last + TLY_CLOCK_LEASE_NS);
        tly_clock_leased(&clock, lease);
        syncs++;
    }
    assert_true(syncs >= 99 && syncs <= 101);
}

static void an_idle_minute_wants_no_lease(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    tly_clock_leased(&clock, tly_clock_wants_lease(&clock));
    for (uint64_t i = 1; i <= 60; i++) {
        tly_clock_tick(&clock, (struct tly_time){NOW + i * SECOND, i * SECOND});
        assert_int_equal(tly_clock_wants_lease(&clock), 0);
    }
}

static void a_clock_past_its_lease_says_so(void **state)
{
    struct tly_clock clock = clock_at(NOW);
    tly_clock_leased(&clock, NOW + 10);
    tly_clock_leased(&clock, NOW + 5);
    assert_int_equal(clock.lease, NOW + 10);
    tly_clock_tick(&clock, (struct tly_time){NOW + 10, 10});
    assert_int_equal(next_of(&clock), NOW + 10);
    assert_true(tly_clock_is_covered(&clock));
    assert_int_equal(next_of(&clock), NOW + 11);
    assert_false(tly_clock_is_covered(&clock));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_only_rises_between_random_observes_and_ticks),
        cmocka_unit_test(neither_idling_nor_asking_moves_the_clock),
        cmocka_unit_test(the_end_of_time_is_an_error_for_good),
        cmocka_unit_test(a_clock_started_at_the_end_is_at_the_end),
        cmocka_unit_test(observe_is_a_max),
        cmocka_unit_test(max_skew_is_admitted_and_one_ns_more_is_not),
        cmocka_unit_test(the_horizon_follows_no_dot),
        cmocka_unit_test(a_clock_bomb_harms_nobody),
        cmocka_unit_test(the_horizon_goes_on_while_the_wall_stands_or_falls),
        cmocka_unit_test(a_clock_starts_above_the_lease_and_not_below_the_wall),
        cmocka_unit_test(the_lease_is_renewed_at_half_and_once_a_lease),
        cmocka_unit_test(an_idle_minute_wants_no_lease),
        cmocka_unit_test(a_clock_past_its_lease_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
