/* Two nodes that have much for each other at the same time: both their rounds end, and the marks are true of it. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static void write_much(struct net *net, size_t nodes, size_t keys)
{
    char key[48];
    for (size_t i = 0; i < keys; i++) {
        snprintf(key, sizeof key, "some:%zu:/search", i);
        net_add_to(net, i % nodes, key, (int64_t)i);
    }
}

/* So many that met, and then have much to say to each other. */
static struct net *nodes_with_much(uint64_t delay_ms, size_t nodes)
{
    struct net *net = net_new(delay_ms * MS);
    for (size_t i = 0; i < nodes; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 5 * S);
    write_much(net, nodes, 9000);
    return net;
}

static void claim_marks(struct net *net, size_t nodes)
{
    for (size_t i = 0; i < nodes; i++)
        for (size_t j = 0; j < nodes; j++) {
            const struct tly_engine *e = net_node(net, i), *other = net_node(net, j);
            uint64_t origin = tly_ormap_origin(other->map);
            assert_true(tly_ormap_mark(e->map, origin) == tly_ormap_mark(other->map, origin));
            assert_int_equal(net_digest(net, i), net_digest(net, j));
        }
}

static void two_long_rounds_at_once_both_end(void **state)
{
    for (uint64_t delay = 1; delay < 200; delay *= 5)
        for (size_t nodes = 2; nodes < 4; nodes++) {
            struct net *net = nodes_with_much(delay, nodes);
            net_run(net, 30 * S);
            claim_marks(net, nodes);
            uint64_t bytes = net_bytes(net);
            net_run(net, 30 * S);
            assert_true(net_bytes(net) - bytes < 200 * 30 * nodes);
            net_free(net);
        }
}

/* Nor does either wait for a pause in what the other makes meanwhile. */
static void two_long_rounds_at_once_end_while_both_write_on(void **state)
{
    for (uint64_t delay = 1; delay < 200; delay *= 5)
        for (size_t nodes = 2; nodes < 4; nodes++) {
            struct net *net = nodes_with_much(delay, nodes);
            uint64_t written[3];
            for (size_t i = 0; i < nodes; i++)
                written[i] = net_time(net, i).wall_ns;
            for (uint64_t waited = 0; waited < 10 * S; waited += 25 * MS) {
                write_much(net, nodes, nodes);
                net_run(net, 25 * MS);
            }
            for (size_t i = 0; i < nodes; i++)
                for (size_t j = 0; j < nodes; j++)
                    assert_true(tly_ormap_mark(net_node(net, i)->map,
                                               tly_ormap_origin(net_node(net, j)->map)) > written[j]);
            net_free(net);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_long_rounds_at_once_both_end),
        cmocka_unit_test(two_long_rounds_at_once_end_while_both_write_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
