/* Who is forgotten because nobody hears of it any more, and who is not. */
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define NODES 5
#define AFTER_MS 120000

/* The grace outlasts forget_after, so that something waits all the time. */
static struct net *nodes_of(size_t count, size_t mesh_max)
{
    struct tly_engine_config config = {.has_store = true,
                                       .tombstone_grace_ms = 2 * AFTER_MS,
                                       .forget_after_ms = AFTER_MS,
                                       .mesh_max = mesh_max};
    struct net *net = net_new(MS);
    for (size_t i = 0; i < count; i++)
        net_add_with(net, config, i == 0 ? 2 : 1);
    net_run(net, 60 * S);
    return net;
}

static uint64_t forgotten_by_all(struct net *net, size_t count)
{
    uint64_t forgotten = 0;
    for (size_t i = 0; i < count; i++)
        forgotten += net_stats(net, i).members_forgotten;
    return forgotten;
}

static void in_a_ring_nobody_is_forgotten_who_has_nothing_to_say(void **state)
{
    (void)state;
    struct net *net = nodes_of(NODES, 2);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(net_peers_up(net, i), 2);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, 3 * AFTER_MS * MS);
    assert_int_equal(removes(net, 0), 1);
    assert_int_equal(forgotten_by_all(net, NODES), 0);
    net_run(net, 3 * AFTER_MS * MS);
    assert_int_equal(forgotten_by_all(net, NODES), 0);
    assert_int_equal(removes(net, 0), 0);
    claim_equal(net, NODES);
    net_free(net);
}

static void in_a_ring_who_is_gone_is_forgotten_and_nobody_else(void **state)
{
    (void)state;
    struct net *net = nodes_of(NODES, 2);
    net_kill(net, NODES - 1);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, AFTER_MS * MS);
    assert_int_equal(forgotten_by_all(net, NODES - 1), 0);
    net_run(net, 60 * S);
    assert_int_not_equal(forgotten_by_all(net, NODES - 1), 0);
    net_run(net, 6 * AFTER_MS * MS);
    assert_int_equal(removes(net, 0), 0);
    for (size_t i = 0; i < NODES - 1; i++) {
        const struct tly_engine *e = net_node(net, i);
        for (size_t j = 0; j < e->peer_count; j++)
            assert_int_equal(e->peers[j]->state == MEMBER_FORGOTTEN, e->peers[j]->name[1] == '0' + NODES - 1);
    }
    claim_equal(net, NODES - 1);
    net_free(net);
}

/* For long nothing waited for anybody, and when something does, one has just been cut off. */
static void who_was_heard_a_moment_ago_is_not_forgotten(void **state)
{
    (void)state;
    struct net *net = nodes_of(3, 0);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, 10 * AFTER_MS * MS);
    assert_int_equal(removes(net, 0), 0);
    for (size_t i = 0; i < 2; i++) {
        net_block(net, 2, i, true);
        net_block(net, i, 2, true);
        net_cut(net, 2, i);
    }
    net_run(net, S);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, AFTER_MS / 2 * MS);
    assert_int_equal(forgotten_by_all(net, 3), 0);
    net_run(net, AFTER_MS * MS);
    assert_int_not_equal(forgotten_by_all(net, 2), 0);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_ring_nobody_is_forgotten_who_has_nothing_to_say),
        cmocka_unit_test(in_a_ring_who_is_gone_is_forgotten_and_nobody_else),
        cmocka_unit_test(who_was_heard_a_moment_ago_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
