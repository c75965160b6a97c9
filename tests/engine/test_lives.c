/* Lives and leases of whole nodes: what a restart keeps, what a restored disk must not do, and what the lease costs. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static struct tly_node_view view_of(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view;
}

static void assert_equal_nodes(struct net *net, size_t a, size_t b)
{
    assert_int_equal(net_digest(net, a), net_digest(net, b));
}

static void the_lease_costs_at_most_one_sync_per_lease_of_clock(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_run(net, S);
    size_t before = net_leases(net, 0);
    uint64_t from = view_of(net, 0).clock_last;
    for (int i = 0; i < 2000; i++) {
        net_add_to(net, 0, "k", 1);
        net_run(net, 50 * MS);
    }
    uint64_t passed = view_of(net, 0).clock_last - from;
    size_t leases = net_leases(net, 0) - before;
    assert_true(leases > 0 && passed > 90 * S);
    assert_true(leases <= passed / TLY_CLOCK_LEASE_NS + 1);
    assert_true(view_of(net, 0).clock_covered);
    net_free(net);
}

static void an_idle_minute_appends_no_record_and_no_lease(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 0, "k", 1);
    net_run(net, 5 * S);
    size_t batches = net_batches(net, 0), leases = net_leases(net, 0);
    assert_true(batches > 0);
    net_run(net, 60 * S);
    assert_int_equal(net_batches(net, 0), batches);
    assert_int_equal(net_leases(net, 0), leases);
    net_free(net);
}

/* An old copy of a disk, with its clean mark: the life would go on below what its peers know of it. */
static void a_restored_node_takes_a_new_life_before_anybody_has_a_dot_of_it(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    size_t copied = net_batches(net, 1);
    net_add_to(net, 1, "a", 2);
    net_add_to(net, 1, "b", 3);
    net_run(net, S);
    net_kill(net, 1);
    net_shift_wall(net, 1, -(int64_t)(60 * S));
    net_revive(net, 1, 101, copied, 1);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_int_equal(net_read(net, 1, "a"), 5);
    net_run(net, 2 * S);
    assert_true(view_of(net, 1).origin != 101);
    net_add_to(net, 1, "a", 1);
    net_add_to(net, 0, "b", 1);
    net_run(net, 2 * S);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_read(net, i, "a"), 8);
        assert_int_equal(net_read(net, i, "b"), 4);
    }
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* Two copies of one disk, both alive: no two nodes speak as one life. */
static void the_second_holder_of_a_life_is_kept_out(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    net_kill(net, 2);
    net_revive(net, 2, 101, 0, 3); /* n2 comes up with n1's life */
    net_run(net, 5 * S);
    net_add_to(net, 1, "a", 2);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 0, "a"), 7);
    assert_int_equal(net_read(net, 1, "a"), 7);
    assert_true(net_stats(net, 0).sessions_refused > 0);
    assert_true(view_of(net, 2).origin != 101);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

static void a_killed_node_counts_on_in_a_new_life(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    int64_t hits = 0;
    for (uint64_t life = 0; life < 100; life++) {
        for (int i = 0; i < 3; i++, hits++)
            net_add_to(net, 1, "a", 1);
        net_run(net, 100 * MS);
        size_t batches = net_batches(net, 1);
        net_kill(net, 1);
        net_run(net, 20 * MS);
        net_revive(net, 1, 1000 + life, batches, 1);
        net_run(net, S);
        assert_int_equal(net_read(net, 0, "a"), hits);
        assert_int_equal(net_read(net, 1, "a"), hits);
    }
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lease_costs_at_most_one_sync_per_lease_of_clock),
        cmocka_unit_test(an_idle_minute_appends_no_record_and_no_lease),
        cmocka_unit_test(a_restored_node_takes_a_new_life_before_anybody_has_a_dot_of_it),
        cmocka_unit_test(the_second_holder_of_a_life_is_kept_out),
        cmocka_unit_test(a_killed_node_counts_on_in_a_new_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
