/* Cluster time: the median of the walls, stepped before it is used and slewed afterwards. */
#include "service/engine/cluster_time.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#define S UINT64_C(1000000000)
#define WALL (UINT64_C(1700000000) * S)

static struct tly_time at(uint64_t wall, uint64_t mono)
{
    return (struct tly_time){.wall_ns = wall, .mono_ns = mono};
}

static struct tly_cluster_time aimed(struct tly_time now, uint64_t a, uint64_t b)
{
    struct tly_cluster_time time = tly_cluster_time_of(now);
    uint64_t walls[] = {now.wall_ns, a, b};
    tly_cluster_time_aim(&time, now, walls, 3);
    return time;
}

static void alone_it_is_the_own_wall(void **state)
{
    struct tly_cluster_time time = tly_cluster_time_of(at(WALL, S));
    assert_int_equal(tly_cluster_time_at(&time, S), WALL);
    assert_int_equal(tly_cluster_time_at(&time, 5 * S), WALL + 4 * S);
}

static void of_two_each_keeps_its_own(void **state)
{
    struct tly_cluster_time time = tly_cluster_time_of(at(WALL, S));
    uint64_t walls[] = {WALL, WALL + 100 * S};
    tly_cluster_time_aim(&time, at(WALL, S), walls, 2);
    assert_int_equal(tly_cluster_time_at(&time, S), WALL);
    assert_true(time.heard);
}

static void before_it_is_used_it_steps_to_the_median(void **state)
{
    struct tly_cluster_time time = aimed(at(WALL + 500 * S, S), WALL, WALL + 2 * S);
    assert_int_equal(tly_cluster_time_at(&time, S), WALL + 2 * S);
    time = aimed(at(WALL - 500 * S, S), WALL, WALL + 2 * S);
    assert_int_equal(tly_cluster_time_at(&time, 3 * S), WALL + 2 * S);
}

static void of_an_even_number_it_is_the_middle_of_two(void **state)
{
    uint64_t walls[] = {UINT64_MAX, UINT64_MAX - 10, 5, 7};
    struct tly_cluster_time time = tly_cluster_time_of(at(5, 1));
    tly_cluster_time_aim(&time, at(5, 1), walls, 4);
    assert_int_equal(tly_cluster_time_at(&time, 1), 7 + (UINT64_MAX - 10 - 7) / 2);
}

static void once_used_it_is_slewed_by_a_tenth_at_most(void **state)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct tly_cluster_time time = tly_cluster_time_of(at(WALL, S));
        time.used = true;
        uint64_t peers = sign < 0 ? WALL - 10 * S : WALL + 10 * S;
        uint64_t walls[] = {WALL, peers, peers};
        tly_cluster_time_aim(&time, at(WALL, S), walls, 3);
        assert_int_equal(tly_cluster_time_error(&time, S), sign * 10 * (int64_t)S);
        uint64_t expected = sign < 0 ? WALL + 9 * S : WALL + 11 * S;
        assert_int_equal(tly_cluster_time_at(&time, 11 * S), expected);
        /* After 100 s the 10 s are made up, and nothing more. */
        assert_int_equal(tly_cluster_time_at(&time, 101 * S), peers + 100 * S);
        assert_int_equal(tly_cluster_time_at(&time, 201 * S), peers + 200 * S);
        assert_int_equal(tly_cluster_time_error(&time, 201 * S), 0);
    }
}

static void once_used_it_never_goes_back(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_cluster_time time = tly_cluster_time_of(at(WALL, S));
    time.used = true;
    uint64_t mono = S, last = 0;
    for (int i = 0; i < 100000; i++) {
        mono += test_rng_below(&rng, S);
        uint64_t walls[5];
        for (size_t j = 0; j < 5; j++)
            walls[j] =
                test_rng_below(&rng, 8) == 0 ? test_rng_next(&rng) : WALL + test_rng_below(&rng, 1000 * S);
        size_t count = 1 + test_rng_below(&rng, 5);
        tly_cluster_time_aim(&time, at(walls[0], mono), walls, count);
        uint64_t ns = tly_cluster_time_at(&time, mono);
        assert_true(ns >= last);
        last = ns;
    }
}

static void it_is_not_set_before_a_peer_or_a_minute_alone(void **state)
{
    struct tly_cluster_time time = tly_cluster_time_of(at(WALL, S));
    assert_false(tly_cluster_time_is_set(&time, S + TLY_ALONE_NS - 1));
    assert_true(tly_cluster_time_is_set(&time, S + TLY_ALONE_NS));
    time = aimed(at(WALL, S), WALL, WALL);
    assert_true(tly_cluster_time_is_set(&time, S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_is_the_own_wall),
        cmocka_unit_test(of_two_each_keeps_its_own),
        cmocka_unit_test(before_it_is_used_it_steps_to_the_median),
        cmocka_unit_test(of_an_even_number_it_is_the_middle_of_two),
        cmocka_unit_test(once_used_it_is_slewed_by_a_tenth_at_most),
        cmocka_unit_test(once_used_it_never_goes_back),
        cmocka_unit_test(it_is_not_set_before_a_peer_or_a_minute_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
