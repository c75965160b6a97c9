/* How far a write has come: queued, sent, merged, durable, each told from the next. */
#include "service/engine/acked.h"

#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

/* Three nodes; the last has no disk. */
static struct net *some_nodes(void)
{
    struct net *net = net_new(MS / 2);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = false}, 1);
    net_run(net, 3 * S);
    assert_int_equal(net_peers_up(net, 0), 2);
    return net;
}

static struct tly_ack *wait_for(struct net *net, uint64_t nodes, bool durable, uint64_t timeout_ns)
{
    struct tly_ack_wish wish = {nodes, durable, timeout_ns};
    struct tly_ack *ack;
    net_add_to(net, 0, "ctr:a", 1);
    assert_int_equal(tly_ack_new(net_node(net, 0), &wish, net_time(net, 0), &ack), TLY_OK);
    return ack;
}

/* C15. */
static void four_words_are_told_apart(void **state)
{
    struct net *net = some_nodes();
    struct tly_ack *merged = wait_for(net, 2, false, 5 * S), *durable = wait_for(net, 1, true, 5 * S),
                   *too_durable = wait_for(net, 2, true, 5 * S);
    assert_false(tly_ack_look(merged).done);
    assert_int_equal(tly_ack_look(merged).reached, TLY_REACHED_QUEUED);
    net_run(net, 30 * MS); /* soon: nobody waits until marks are told by themselves */
    struct tly_acked acked = tly_ack_look(merged);
    assert_true(acked.done);
    assert_int_equal(acked.reached, TLY_REACHED_MERGED);
    assert_int_equal(acked.merged, 2);
    acked = tly_ack_look(durable);
    assert_true(acked.done);
    assert_int_equal(acked.reached, TLY_REACHED_DURABLE);
    assert_int_equal(acked.durable, 1);
    assert_false(tly_ack_look(too_durable).done);
    net_run(net, 6 * S);
    acked = tly_ack_look(too_durable);
    assert_true(acked.done); /* of two disks there is one */
    assert_int_equal(acked.reached, TLY_REACHED_MERGED);
    assert_int_equal(acked.durable, 1);
    assert_int_equal(net_read(net, 1, "ctr:a"), 3);

    net_pause(net, 2, true); /* it hears and does not answer */
    struct tly_ack *sent = wait_for(net, 2, false, 100 * MS);
    net_run(net, 200 * MS);
    acked = tly_ack_look(sent);
    assert_true(acked.done);
    assert_int_equal(acked.reached, TLY_REACHED_SENT);
    assert_int_equal(acked.merged, 1);
    net_pause(net, 2, false);
    net_run(net, S);

    net_cut(net, 0, 1);
    net_cut(net, 0, 2);
    net_block(net, 0, 1, true);
    net_block(net, 0, 2, true);
    net_run(net, S);
    struct tly_ack *queued = wait_for(net, 1, false, 100 * MS);
    net_run(net, 200 * MS);
    acked = tly_ack_look(queued);
    assert_true(acked.done);
    assert_int_equal(acked.reached, TLY_REACHED_QUEUED);

    struct tly_ack *all[] = {merged, durable, too_durable, sent, queued};
    for (size_t i = 0; i < 5; i++)
        tly_ack_free(all[i]);
    struct tly_stats stats = net_stats(net, 0);
    assert_int_equal(stats.acks_queued, 1);
    assert_int_equal(stats.acks_sent, 1);
    assert_int_equal(stats.acks_merged, 2);
    assert_int_equal(stats.acks_durable, 1);
    net_free(net);
}

static void without_an_end_it_waits_until_the_line_heals(void **state)
{
    struct net *net = some_nodes();
    net_cut(net, 0, 1);
    net_block(net, 0, 1, true);
    net_cut(net, 0, 2);
    net_block(net, 0, 2, true);
    net_run(net, S);
    struct tly_ack *ack = wait_for(net, 1, true, 0);
    net_run(net, 100 * S);
    assert_false(tly_ack_look(ack).done);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    assert_true(tly_ack_look(ack).done);
    assert_int_equal(tly_ack_look(ack).reached, TLY_REACHED_DURABLE);
    tly_ack_free(ack);
    net_free(net);
}

static void for_nobody_nobody_waits(void **state)
{
    struct net *net = some_nodes();
    struct tly_ack *ack = wait_for(net, 0, true, S);
    assert_true(tly_ack_look(ack).done);
    assert_int_equal(tly_ack_look(ack).reached, TLY_REACHED_QUEUED);
    tly_ack_free(ack);
    net_free(net);
}

/* Under a stream of those who wait each is answered. */
static void many_who_wait_are_all_answered(void **state)
{
    struct net *net = some_nodes();
    struct tly_ack *acks[500];
    for (size_t i = 0; i < 500; i++) {
        acks[i] = wait_for(net, 1, true, 0);
        net_run(net, MS / 5);
    }
    net_run(net, 100 * MS);
    for (size_t i = 0; i < 500; i++) {
        assert_true(tly_ack_look(acks[i]).done);
        tly_ack_free(acks[i]);
    }
    assert_int_equal(net_stats(net, 0).acks_durable, 500);
    struct tly_ack *more[TLY_ACKS_MAX], *none;
    struct tly_ack_wish wish = {9, false, 0};
    for (size_t i = 0; i < TLY_ACKS_MAX; i++)
        assert_int_equal(tly_ack_new(net_node(net, 0), &wish, net_time(net, 0), &more[i]), TLY_OK);
    assert_int_equal(tly_ack_new(net_node(net, 0), &wish, net_time(net, 0), &none), TLY_FULL);
    for (size_t i = 0; i < TLY_ACKS_MAX; i++)
        tly_ack_free(more[i]);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_words_are_told_apart),
        cmocka_unit_test(without_an_end_it_waits_until_the_line_heals),
        cmocka_unit_test(for_nobody_nobody_waits),
        cmocka_unit_test(many_who_wait_are_all_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
