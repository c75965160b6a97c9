/* Windows and deadlines are judged by cluster time: scenes with clocks that are wrong. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define WINDOW_S 10

static struct tly_node_view view_of(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view;
}

static struct net *five_nodes(size_t wrong, int64_t shift_ns)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < 5; i++) {
        net_shift_wall(net, i, i == wrong ? shift_ns : (int64_t)(i * MS));
        net_add(net, i == 0 ? 0 : 1);
    }
    net_run(net, 3 * S);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(net_peers_up(net, i), 4);
    return net;
}

/* To the beginning of a window of node 0, whose clock is right. */
static void run_to_window(struct net *net)
{
    net_run(net, WINDOW_S * S - net_time(net, 0).wall_ns % (WINDOW_S * S) + 100 * MS);
}

static int admitted_of_300(struct net *net)
{
    int admitted = 0;
    for (int i = 0; i < 300; i++) {
        admitted += net_check(net, (size_t)i % 5, "k", "100/10s", TLY_FIXED_WINDOW);
        net_run(net, 10 * MS);
    }
    return admitted;
}

static void one_of_five_three_windows_off_counts_in_the_windows_of_all(void **state)
{
    const int64_t shifts[] = {3 * WINDOW_S * (int64_t)S, -3 * WINDOW_S * (int64_t)S};
    for (size_t i = 0; i < 2; i++) {
        struct net *net = five_nodes(3, shifts[i]);
        run_to_window(net);
        assert_in_range(admitted_of_300(net), 100, 102);
        int64_t offset = view_of(net, 3).time_offset_ns, expected = 2 * (int64_t)MS - shifts[i];
        assert_in_range(offset - expected + 10 * (int64_t)MS, 0, 20 * MS);
        assert_in_range(view_of(net, 0).time_offset_ns + 10 * (int64_t)MS, 0, 20 * MS);
        net_free(net);
    }
}

static void a_wall_stepped_by_50_s_moves_no_window(void **state)
{
    const int64_t steps[] = {50 * (int64_t)S, -50 * (int64_t)S};
    for (size_t i = 0; i < 2; i++) {
        struct net *net = five_nodes(5, 0);
        run_to_window(net);
        assert_in_range(admitted_of_300(net), 100, 102);
        uint64_t before = view_of(net, 1).cluster_ns;
        net_shift_wall(net, 1, steps[i]);
        net_run(net, MS);
        assert_in_range(view_of(net, 1).cluster_ns, before, before + 20 * MS);
        run_to_window(net);
        assert_in_range(admitted_of_300(net), 100, 102);
        net_free(net);
    }
}

static void alone_a_step_is_made_up_slowly_and_never_backwards(void **state)
{
    struct net *net = net_new(MS / 2);
    net_add(net, 0);
    net_add_to(net, 0, "k", 1);
    uint64_t before = view_of(net, 0).cluster_ns;
    net_shift_wall(net, 0, -10 * (int64_t)S);
    for (int i = 0; i < 1200; i++) {
        net_run(net, 100 * MS);
        net_add_to(net, 0, "k", 1);
        uint64_t now = view_of(net, 0).cluster_ns;
        assert_true(now >= before + 89 * MS);
        before = now;
    }
    /* 10 s are made up in 100 s. */
    assert_in_range(view_of(net, 0).time_offset_ns + (int64_t)MS, 0, 2 * MS);
    net_free(net);
}

static void a_time_wrong_by_more_than_the_skew_begins_a_new_life(void **state)
{
    struct net *net = net_new(MS / 2);
    net_shift_wall(net, 0, -3600 * (int64_t)S);
    net_add(net, 0);
    net_add_to(net, 0, "k", 5);
    net_run(net, S);
    uint64_t first = view_of(net, 0).origin;
    for (size_t i = 1; i < 4; i++)
        net_add(net, 1);
    for (size_t i = 1; i < 4; i++)
        net_add_to(net, i, "k", 1);
    net_run(net, 60 * S);
    assert_true(view_of(net, 0).origin != first);
    assert_int_equal(net_stats(net, 0).clock_lives, 1);
    assert_in_range(view_of(net, 0).time_offset_ns - 3600 * (int64_t)S + 10 * (int64_t)MS, 0, 20 * MS);
    net_free(net);
}

/* It says goodbye to all whom it has greeted, and means its own life. */
static void who_begins_a_new_life_ends_no_life_of_others(void **state)
{
    struct net *net = net_new(MS / 2);
    net_shift_wall(net, 0, 3600 * (int64_t)S);
    net_add(net, 0);
    net_add_to(net, 0, "k", 5);
    net_add(net, 0);
    net_add(net, 2);
    net_run(net, 5 * S);
    uint64_t origins[] = {0, view_of(net, 1).origin, view_of(net, 2).origin};
    net_add(net, 3);
    net_run(net, 30 * S);
    assert_int_equal(net_stats(net, 0).clock_lives, 1);
    for (size_t i = 1; i < 3; i++)
        assert_true(view_of(net, i).origin == origins[i]);
    net_free(net);
}

static void a_deadline_is_past_everywhere_at_one_time(void **state)
{
    struct net *net = five_nodes(2, 40 * (int64_t)S);
    struct tly_reply reply;
    uint64_t at_ms = net_time(net, 0).wall_ns / MS + 5000;
    struct tly_request set = {
        .kind = TLY_ASK_SET, .key = tly_slice_text("d"), .number = 7, .deadline_ms = at_ms};
    assert_int_equal(net_ask(net, 1, set, &reply), TLY_OK);
    net_run(net, 4900 * MS);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(net_read(net, i, "d"), 7);
    net_run(net, 200 * MS);
    for (size_t i = 0; i < 5; i++)
        assert_true(net_read(net, i, "d") == INT64_MIN);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_five_three_windows_off_counts_in_the_windows_of_all),
        cmocka_unit_test(a_wall_stepped_by_50_s_moves_no_window),
        cmocka_unit_test(alone_a_step_is_made_up_slowly_and_never_backwards),
        cmocka_unit_test(a_time_wrong_by_more_than_the_skew_begins_a_new_life),
        cmocka_unit_test(who_begins_a_new_life_ends_no_life_of_others),
        cmocka_unit_test(a_deadline_is_past_everywhere_at_one_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
