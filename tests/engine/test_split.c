/*
 * Five nodes that are left alone keep their ten connections; and five that were split for long, in several ways, are one again soon
 * after the cause is gone, for the bytes of what they lack.
 */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define NODES 5
#define LEFT 3 /* of them on one side */
#define CROSSING (LEFT * (NODES - LEFT))
#define SEEDS 4
#define KEYS 400 /* of each node */

static const char *key_of(size_t node, size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "counter:%zu:%zu", node, i);
    return key;
}

static struct net *five(void)
{
    struct net *net = net_new(MS);
    for (size_t i = 0; i < NODES; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 10 * S);
    assert_int_equal(net_connections(net), NODES * (NODES - 1) / 2);
    return net;
}

static uint64_t sessions(struct net *net)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < NODES; i++)
        sum += net_stats(net, i).sessions_up;
    return sum;
}

static bool all_equal(struct net *net)
{
    for (size_t i = 1; i < NODES; i++)
        if (net_digest(net, i) != net_digest(net, 0)) return false;
    return true;
}

static void five_nodes_keep_ten_connections_for_ten_minutes(void **state)
{
    struct net *net = five();
    uint64_t before = sessions(net), dials = 0, after = 0;
    for (size_t i = 0; i < NODES; i++)
        dials += net_stats(net, i).dials;
    for (size_t i = 0; i < 600; i++) {
        net_add_to(net, i % NODES, key_of(i % NODES, i % KEYS), 1);
        net_run(net, S);
    }
    for (size_t i = 0; i < NODES; i++)
        after += net_stats(net, i).dials;
    assert_int_equal(sessions(net), before);
    assert_int_equal(after, dials);
    assert_int_equal(net_connections(net), NODES * (NODES - 1) / 2);
    assert_true(all_equal(net));
    net_free(net);
}

/* ---- splits ---- */

enum how { REFUSED, SILENT, ONE_WAY, HOWS };

static void part(struct net *net, enum how how, size_t a, size_t b, bool parted)
{
    if (how == REFUSED) {
        net_block(net, a, b, parted);
        net_block(net, b, a, parted);
        if (parted) net_cut(net, a, b);
        return;
    }
    net_hole(net, a, b, parted);
    if (how == SILENT) net_hole(net, b, a, parted);
}

/* In an order of the seed's, a moment apart. */
static void part_all(struct net *net, enum how how, bool parted, struct test_rng *rng)
{
    size_t order[CROSSING];
    for (size_t i = 0; i < CROSSING; i++)
        order[i] = i;
    test_rng_shuffle(rng, order, CROSSING, sizeof *order);
    for (size_t i = 0; i < CROSSING; i++) {
        part(net, how, order[i] % LEFT, LEFT + order[i] / LEFT, parted);
        net_run(net, 10 * MS);
    }
}

static void write_everywhere(struct net *net)
{
    for (size_t i = 0; i < KEYS; i++) {
        for (size_t node = 0; node < NODES; node++)
            net_add_to(net, node, key_of(node, i), (int64_t)i + 1);
        net_run(net, 600 * S / KEYS);
    }
}

static size_t crossing_links(struct net *net)
{
    return net_connections(net) - LEFT * (LEFT - 1) / 2 - (NODES - LEFT) * (NODES - LEFT - 1) / 2;
}

/* What a node costs that has nothing and gets all. */
static uint64_t bytes_of_all(void)
{
    struct net *two = net_new(MS);
    net_add(two, 0);
    for (size_t i = 0; i < KEYS; i++)
        for (size_t node = 0; node < NODES; node++)
            net_add_to(two, 0, key_of(node, i), (int64_t)i + 1);
    net_run(two, S);
    net_add(two, 1);
    net_run(two, S);
    uint64_t bytes = net_bytes(two);
    net_free(two);
    return bytes;
}

static void split_and_heal(enum how how, uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct net *net = five();
    part_all(net, how, true, &rng);
    write_everywhere(net);
    assert_int_equal(crossing_links(net), 0);
    assert_int_equal(net_read(net, 0, key_of(NODES - 1, 0)), INT64_MIN);
    assert_int_equal(net_read(net, NODES - 1, key_of(0, 0)), INT64_MIN);

    uint64_t bytes = net_bytes(net), met = 0, equal = 0;
    part_all(net, how, false, &rng);
    for (; !all_equal(net) && equal < 51; equal++) {
        if (crossing_links(net) == 0) {
            bytes = net_bytes(net);
            met++;
        }
        net_run(net, 100 * MS);
    }
    bytes = net_bytes(net) - bytes;
    size_t first = crossing_links(net);
    assert_true(equal <= 50);
    for (size_t i = 0; i < KEYS; i++)
        for (size_t node = 0; node < NODES; node++)
            assert_int_equal(net_read(net, (node + 1) % NODES, key_of(node, i)), i + 1);
    net_run(net, 40 * S); /* dialling backs off up to 30 s */
    assert_int_equal(crossing_links(net), CROSSING);
    net_free(net);
    /* Three lack two fifths of it, and two three fifths. */
    uint64_t all = bytes_of_all(), least = all * 12 / 5;
    print_message("way %d: met after %zu ms, equal %zu ms later by %zu links, %zu bytes of %zu\n", (int)how,
                  (size_t)met * 100, (size_t)(equal - met) * 100, first, (size_t)bytes, (size_t)least);
    /* Each that meets another before all are equal may say all of it. */
    assert_true(bytes <= (first > 1 ? first : 1) * least * 12 / 10);
}

static void however_they_were_split_they_are_one_again_soon(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        for (enum how how = REFUSED; how < HOWS; how++)
            split_and_heal(how, test_seed_first() + seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_nodes_keep_ten_connections_for_ten_minutes),
        cmocka_unit_test(however_they_were_split_they_are_one_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
