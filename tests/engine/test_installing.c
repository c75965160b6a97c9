/* A snapshot that replaces all on the disk: given anew when it could not be stored, and nobody hears of anything before it is. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define KEYS 3000

static const char *key_of(int i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "ctr:%d", i);
    return key;
}

static struct net *pair(void)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    for (int i = 0; i < KEYS; i++)
        net_add_to(net, 0, key_of(i), i + 1);
    net_run(net, 5 * S);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    return net;
}

/* Batches of a snapshot's end among those from `from` on. */
static size_t ends_from(struct net *net, size_t node, size_t from)
{
    size_t ends = 0;
    for (size_t i = from; i < net_batches(net, node); i++)
        ends += tly_batch_kind(net_batch(net, node, i)) == TLY_BATCH_SNAP_END;
    return ends;
}

static void what_could_not_be_stored_is_given_anew(void **state)
{
    (void)state;
    struct net *net = pair();
    struct tly_engine *engine = net_node(net, 1);
    size_t before = net_batches(net, 1);
    net_hold_store(net, 1, true);
    tly_snap_dump(engine);
    net_run(net, S);
    assert_int_equal(ends_from(net, 1, before), 1);
    net_add_to(net, 1, "ctr:new", 7);
    net_run(net, S);
    assert_true(net_read(net, 0, "ctr:new") == INT64_MIN); /* nobody hears of it */
    uint64_t ticket = tly_engine_ticket(engine);
    /* So often that more was given than may be underway. */
    for (size_t round = 1; round <= TLY_BATCHES_MAX / 2; round++) {
        size_t given = net_batches(net, 1);
        net_event(net, 1, (struct tly_event){.kind = TLY_INSTALL_FAILED});
        net_run(net, S / 2);
        assert_int_equal(net_batches(net, 1), given); /* not at once, for the disk is as it was */
        net_run(net, S);
        assert_int_equal(ends_from(net, 1, before), 1 + round);
        assert_true(net_read(net, 0, "ctr:new") == INT64_MIN);
        assert_false(tly_engine_is_stored(engine, ticket));
    }
    /* What is stored of those that came to nothing is no promise kept. */
    size_t given = net_batches(net, 1);
    net_event(net, 1, (struct tly_event){.kind = TLY_INSTALL_FAILED});
    net_event(net, 1, (struct tly_event){.kind = TLY_STORED, .number = given});
    assert_false(tly_engine_is_stored(engine, ticket));
    net_run(net, 2 * S);
    net_hold_store(net, 1, false);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "ctr:new"), 7);
    assert_true(tly_engine_is_stored(engine, ticket));
    net_restart(net, 1, 77, net_batches(net, 1));
    assert_int_equal(net_read(net, 1, "ctr:new"), 7);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(net_read(net, 1, key_of(i)), i + 1);
    net_free(net);
}

/* Told of one that is stored meanwhile, or of none, it does nothing. */
static void without_one_under_way_nothing_is_given(void **state)
{
    (void)state;
    struct net *net = pair();
    size_t before = net_batches(net, 1);
    net_event(net, 1, (struct tly_event){.kind = TLY_INSTALL_FAILED});
    net_run(net, 3 * S);
    assert_int_equal(ends_from(net, 1, before), 0);
    tly_snap_dump(net_node(net, 1));
    net_run(net, S);
    net_event(net, 1, (struct tly_event){.kind = TLY_INSTALL_FAILED});
    net_run(net, 3 * S);
    assert_int_equal(ends_from(net, 1, before), 1);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_could_not_be_stored_is_given_anew),
        cmocka_unit_test(without_one_under_way_nothing_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
