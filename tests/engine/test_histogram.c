/* Durations by steps that double, and how old the counts of peers are when they arrive. */
#include "service/engine/histogram.h"

#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static void a_step_holds_what_is_at_most_its_bound(void **state)
{
    for (unsigned i = 0; i < TLY_HISTOGRAM_STEPS - 1; i++) {
        struct tly_histogram histogram = {.count = 0};
        uint64_t bound = UINT64_C(1000) << i;
        tly_histogram_add(&histogram, bound, 3);
        tly_histogram_add(&histogram, bound + 1, 5);
        assert_int_equal(histogram.step[i], 3);
        assert_int_equal(histogram.step[i + 1], 5);
        assert_int_equal(histogram.count, 8);
        assert_int_equal(histogram.sum_ns, bound * 8 + 5);
    }
}

static void the_first_and_the_last_step_take_the_rest(void **state)
{
    struct tly_histogram histogram = {.count = 0}, other = {.count = 0};
    tly_histogram_add(&histogram, 0, 1);
    tly_histogram_add(&histogram, 1, 1);
    tly_histogram_add(&other, UINT64_MAX, 1);
    assert_int_equal(histogram.step[0], 2);
    assert_int_equal(other.step[TLY_HISTOGRAM_STEPS - 1], 1);
    tly_histogram_join(&histogram, &other);
    assert_int_equal(histogram.step[0], 2);
    assert_int_equal(histogram.step[TLY_HISTOGRAM_STEPS - 1], 1);
    assert_int_equal(histogram.count, 3);
}

/* A write takes the way of 20 ms, and whatever one flush waits for before it. */
static void the_age_of_a_peers_counts_is_the_way_and_a_flush(void **state)
{
    struct net *net = net_new(20 * MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 5 * S);
    struct tly_histogram before = *tly_engine_staleness(net_node(net, 1));
    for (int i = 0; i < 50; i++) {
        net_add_to(net, 0, "k", 1);
        net_run(net, 100 * MS);
    }
    struct tly_histogram after = *tly_engine_staleness(net_node(net, 1));
    uint64_t parts = after.count - before.count;
    assert_int_equal(parts, 50);
    assert_in_range((after.sum_ns - before.sum_ns) / parts, 20 * MS, 31 * MS);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_holds_what_is_at_most_its_bound),
        cmocka_unit_test(the_first_and_the_last_step_take_the_rest),
        cmocka_unit_test(the_age_of_a_peers_counts_is_the_way_and_a_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
