/* Hard limits: whatever the network does, no window admits more than its limit; and as much as there is, while all are there. */
#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"

static struct net *cluster(size_t nodes, uint64_t limit, uint64_t window_ms)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++) {
        (void)net_add(net, i == 0 ? 0 : 1);
        hard_use(net, i, limit, window_ms);
    }
    net_run(net, 20 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_int_equal(net_peers_up(net, i), nodes - 1);
    return net;
}

static void run_to_window(struct net *net, uint64_t window_ns)
{
    net_run(net, window_ns - (NET_WALL_START + net_now(net)) % window_ns);
}

static void the_shares_of_all_are_the_limit(void **state)
{
    struct net *net = cluster(3, 1000, 1000);
    run_to_window(net, S);
    uint64_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        uint64_t held = hard_ask(net, i, 0).held;
        print_message("node %zu holds %zu\n", i, (size_t)held);
        assert_true(held >= 300 && held <= 400);
        sum += held;
    }
    assert_int_equal(sum, 1000);
    net_free(net);
}

/* A limit of 1 on five nodes: whichever is asked all window long admits exactly one. */
static void low_limits_work(void **state)
{
    struct net *net = cluster(5, 1, 1000);
    for (size_t i = 0; i < 15; i++) {
        uint64_t admitted = 0;
        run_to_window(net, S);
        for (size_t j = 0; j < 99; j++) {
            admitted += hard_ask(net, i % 5, 1).code == TLY_CODE_OK;
            net_run(net, 10 * MS);
        }
        assert_int_equal(admitted, 1);
    }
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shares_of_all_are_the_limit),
        cmocka_unit_test(low_limits_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
