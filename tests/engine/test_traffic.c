/* What a ring says under load, by the formula of D103: each node counts ten times a second in a counter of its own. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define RATE 10
#define SECONDS 5

static const char *key_of(size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "counter:%zu", i);
    return key;
}

static void count_for_a_while(struct net *net, size_t nodes)
{
    for (size_t step = 0; step < SECONDS * RATE; step++)
        for (size_t i = 0; i < nodes; i++) {
            net_add_to(net, i, key_of(i), 1);
            net_run(net, S / RATE / nodes);
        }
}

/* Bytes a node and second: at rest, and for each dot of others, which comes once. */
static uint64_t formula(size_t nodes, size_t links)
{
    return 128 * links / 10 + 27 * (nodes - 1) * RATE;
}

static void expect_formula(size_t nodes, size_t links)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < nodes; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    assert_int_equal(2 * net_connections(net), nodes * links);
    uint64_t before = net_bytes(net);
    count_for_a_while(net, nodes);
    uint64_t said = (net_bytes(net) - before) / nodes / SECONDS, expected = formula(nodes, links);
    print_message("%zu nodes: %zu bytes/s each, by the formula %zu\n", nodes, (size_t)said, (size_t)expected);
    assert_in_range(said, expected * 85 / 100, expected * 115 / 100);
    net_run(net, S);
    for (size_t i = 0; i < nodes; i++)
        for (size_t j = 0; j < nodes; j++)
            assert_int_equal(net_read(net, i, key_of(j)), SECONDS * RATE);
    net_free(net);
}

static void a_ring_says_what_the_formula_says(void **state)
{
    expect_formula(20, 4);
    expect_formula(32, 5);
    if (test_is_long()) expect_formula(64, 6);
}

static uint64_t dots_taken(struct net *net, size_t nodes)
{
    uint64_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += net_stats(net, i).dots_received;
    return count;
}

/* Who came together while few were there have more connections than the ring gives them. None of those brings what the ring brings. */
static void a_link_of_the_start_brings_nothing_twice_and_is_soon_gone(void **state)
{
    enum { NODES = 32, IN_RING = NODES * 5 / 2 };
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < NODES; i++)
        net_add(net, (1u << i) - 1);
    net_run(net, 3 * S);
    uint64_t before = dots_taken(net, NODES), needed = (uint64_t)NODES * (NODES - 1) * SECONDS * RATE;
    count_for_a_while(net, NODES);
    assert_true(net_connections(net) > 2 * IN_RING);
    uint64_t came = dots_taken(net, NODES) - before;
    print_message("%zu dots came where %zu were new\n", (size_t)came, (size_t)needed);
    assert_in_range(came, needed * 9 / 10, needed * 2); /* six times, if they relayed as the ring does */
    net_run(net, 7 * S);
    assert_int_equal(net_connections(net), IN_RING);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_says_what_the_formula_says),
        cmocka_unit_test(a_link_of_the_start_brings_nothing_twice_and_is_soon_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
