/* Prefixes that get another strategy on nodes that run: approved, whole, and never merged with what they were. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static enum tly_result ask(struct net *net, size_t node, enum tly_request_kind kind, const char *key,
                           const char *bytes, struct tly_reply *reply)
{
    struct tly_request request = {
        .kind = kind, .key = tly_slice_text(key), .bytes = tly_slice_text(bytes), .number = 1, .epoch = 1};
    return net_ask(net, node, request, reply);
}

static struct tly_prefix_plan plan_of(struct net *net, size_t node, const char *prefix, const char *strategy)
{
    struct tly_prefix_plan plan;
    assert_int_equal(
        tly_engine_prefix_plan(net_node(net, node), tly_slice_text(prefix), tly_slice_text(strategy), &plan),
        TLY_OK);
    return plan;
}

static enum tly_result migrate(struct net *net, size_t node, const char *prefix, const char *strategy,
                               uint64_t approval)
{
    struct tly_reply reply;
    struct tly_prefix_wish wish = {.op = TLY_PREFIX_MIGRATE,
                                   .prefix = tly_slice_text(prefix),
                                   .strategy = tly_slice_text(strategy),
                                   .approval = approval};
    return net_change(net, node, wish, &reply);
}

/* With "x:" as lww, a number and a word under it, and a neighbour. */
static struct net *three_nodes(void)
{
    struct net *net = net_new(MS);
    struct tly_reply reply;
    struct tly_engine_config config = {.has_store = true};
    net_add_with(net, config, 0);
    net_add_with(net, config, 1);
    net_add_with(net, config, 1);
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(ask(net, 0, TLY_ASK_PUT, "x:n", "41", &reply), TLY_OK);
    assert_int_equal(ask(net, 0, TLY_ASK_PUT, "x:w", "word", &reply), TLY_OK);
    assert_int_equal(ask(net, 0, TLY_ASK_PUT, "kv:n", "41", &reply), TLY_OK);
    net_run(net, 10 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_peers_up(net, i), 2);
    return net;
}

static bool has_key(struct net *net, size_t node, const char *key)
{
    return tly_ormap_find(net_node(net, node)->map, tly_slice_text(key)) != NULL;
}

static void what_the_keys_say_goes_over(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    struct tly_prefix_plan plan = plan_of(net, 0, "x:", "epoch_sum");
    assert_true(plan.keys == 2 && plan.lost == 1);
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", plan.approval), TLY_OK);
    assert_int_equal(net_read(net, 0, "x:n"), 41);
    assert_false(has_key(net, 0, "x:w"));
    assert_true(has_key(net, 0, "kv:n"));
    /* What waits is judged by the new table. */
    assert_int_equal(ask(net, 0, TLY_ASK_PUT, "x:n", "v", &reply), TLY_WRONG_STRATEGY);
    assert_int_equal(ask(net, 0, TLY_ASK_ADD, "x:n", "", &reply), TLY_OK);
    assert_int_equal(net_read(net, 0, "x:n"), 42);
    tly_engine_check(net_node(net, 0));
    net_free(net);
}

static void a_peer_with_the_old_table_is_refused_until_it_has_migrated_too(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    uint64_t approval = plan_of(net, 0, "x:", "epoch_sum").approval;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(plan_of(net, i, "x:", "epoch_sum").approval, approval);
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", approval), TLY_OK);
    assert_int_equal(ask(net, 0, TLY_ASK_ADD, "x:n", "", &reply), TLY_OK);
    net_add_to(net, 1, "ctr:a", 1);
    net_run(net, 60 * S);
    /* Neither has what is the other's: not the counter there, nor what is written here. */
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_int_equal(net_peers_up(net, 1), 1);
    assert_int_equal(net_read(net, 0, "x:n"), 42);
    assert_true(has_key(net, 1, "x:w"));
    assert_ptr_equal(tly_registry_find(net_node(net, 1)->registry, tly_slice_text("x:n")), tly_lww());
    assert_true(net_stats(net, 0).sessions_refused > 0);
    assert_int_equal(migrate(net, 1, "x:", "epoch_sum", approval), TLY_OK);
    assert_int_equal(migrate(net, 2, "x:", "epoch_sum", approval), TLY_OK);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_peers_up(net, i), 2);
        assert_int_equal(net_read(net, i, "x:n"), 42);
        assert_int_equal(net_read(net, i, "ctr:a"), 1);
        assert_false(has_key(net, i, "x:w"));
        assert_int_equal(net_digest(net, i), net_digest(net, 0));
        tly_engine_check(net_node(net, i));
    }
    net_free(net);
}

static void it_needs_the_approval_of_what_is_there(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    uint64_t sum = plan_of(net, 0, "x:", "epoch_sum").approval;
    uint64_t max = plan_of(net, 0, "x:", "epoch_max").approval;
    assert_true(sum != max && sum != plan_of(net, 0, "x:", "").approval);
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", 0), TLY_UNAPPROVED);
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", max), TLY_APPROVAL_STALE);
    assert_int_equal(ask(net, 0, TLY_ASK_PUT, "x:n", "40", &reply), TLY_OK);
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", sum), TLY_APPROVAL_STALE);
    assert_true(has_key(net, 0, "x:w"));
    sum = plan_of(net, 0, "x:", "epoch_sum").approval;
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", sum), TLY_OK);
    /* It is so already. */
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", sum), TLY_OK);
    assert_int_equal(plan_of(net, 0, "x:", "epoch_sum").approval, 0);
    assert_int_equal(migrate(net, 0, "kv:", "epoch_sum", 1), TLY_PREFIX_BUILT_IN);
    assert_int_equal(migrate(net, 0, "y:", "epoch_sum", 1), TLY_NO_PREFIX);
    assert_int_equal(migrate(net, 0, "x:", "none", 1), TLY_NO_SUCH_STRATEGY);
    /* Where nothing is, nothing has to be approved. */
    assert_int_equal(net_register(net, 0, "z:", "lww"), TLY_OK);
    assert_int_equal(migrate(net, 0, "z:", "epoch_max", 0), TLY_OK);
    net_free(net);
}

/* Two nodes that did not hold the same when they migrated: the newer of what they say stands on both. */
static void who_held_something_else_is_brought_together(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    uint64_t approval = plan_of(net, 0, "x:", "epoch_sum").approval;
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", approval), TLY_OK);
    assert_int_equal(ask(net, 1, TLY_ASK_PUT, "x:n", "50", &reply), TLY_OK);
    net_run(net, 10 * S);
    assert_int_equal(migrate(net, 1, "x:", "epoch_sum", approval), TLY_APPROVAL_STALE);
    for (size_t i = 1; i < 3; i++)
        assert_int_equal(migrate(net, i, "x:", "epoch_sum", plan_of(net, i, "x:", "epoch_sum").approval),
                         TLY_OK);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_peers_up(net, i), 2);
        assert_int_equal(net_read(net, i, "x:n"), 50);
        assert_int_equal(net_digest(net, i), net_digest(net, 0));
    }
    net_free(net);
}

/* Of prefixes of which one begins with the other it would be a matter of the order whose keys they are. */
static void nested_prefixes_are_changed_one_after_the_other(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    struct tly_prefix_wish wishes[2] = {
        {.op = TLY_PREFIX_REGISTER, .prefix = tly_slice_text("x:s:"), .strategy = tly_slice_text("lww")},
        {.op = TLY_PREFIX_MIGRATE,
         .prefix = tly_slice_text("x:"),
         .strategy = tly_slice_text("epoch_sum"),
         .approval = plan_of(net, 0, "x:", "epoch_sum").approval}};
    struct tly_request request = {.kind = TLY_ASK_PREFIXES, .wishes = wishes, .wish_count = 2};
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_PREFIXES_NEST);
    assert_int_equal(reply.wish_at, 1);
    wishes[0].prefix = tly_slice_text("y:");
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    assert_int_equal(net_read(net, 0, "x:n"), 41);
    net_free(net);
}

static void not_while_a_snapshot_goes_to_the_disk(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    uint64_t approval = plan_of(net, 0, "x:", "epoch_sum").approval;
    net_node(net, 0)->dump.active = true;
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", approval), TLY_BUSY);
    net_node(net, 0)->dump.active = false;
    assert_true(has_key(net, 0, "x:w"));
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", approval), TLY_OK);
    net_free(net);
}

/* The disk stores all of it or nothing, so it has to fit into what may wait. */
static void more_than_goes_to_the_disk_in_one_piece_is_refused(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_reply reply;
    char key[TLY_KEY_BYTES_MAX + 1];
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    size_t count = TLY_TABLE_PARTS_MAX * TLY_ROUND_ROWS_BYTES_MAX / TLY_KEY_BYTES_MAX;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "x:%0*zu", TLY_KEY_BYTES_MAX - 2, i);
        assert_int_equal(ask(net, 0, TLY_ASK_PUT, key, "1", &reply), TLY_OK);
        if (i % 1000 == 0) net_run(net, 50 * MS);
    }
    net_run(net, S);
    uint64_t digest = net_digest(net, 0), approval = plan_of(net, 0, "x:", "epoch_sum").approval;
    assert_int_equal(migrate(net, 0, "x:", "epoch_sum", approval), TLY_TOO_LARGE);
    assert_int_equal(net_digest(net, 0), digest);
    tly_engine_check(net_node(net, 0));
    net_free(net);
}

/* With the n-th allocation failing all stays as it is, until none fails. */
static void a_failed_allocation_leaves_all_as_it_was(void **state)
{
    (void)state;
    bool failed = true;
    for (size_t n = 0; failed; n++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_engine_config config = {.mem = test_failing_mem(&failing),
                                           .name = tly_slice_text("n0"),
                                           .cluster = tly_slice_text("test"),
                                           .has_store = true,
                                           .now = {NET_WALL_START, S}};
        struct tly_engine *engine;
        struct tly_reply reply;
        struct tly_prefix_plan plan;
        struct tly_prefix_wish wish = {
            .op = TLY_PREFIX_REGISTER, .prefix = tly_slice_text("x:"), .strategy = tly_slice_text("lww")};
        struct tly_request change = {
            .kind = TLY_ASK_PREFIXES, .now = config.now, .wishes = &wish, .wish_count = 1};
        struct tly_request put = {.kind = TLY_ASK_PUT,
                                  .key = tly_slice_text("x:1"),
                                  .bytes = tly_slice_text("7"),
                                  .now = config.now};
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
        assert_int_equal(tly_engine_ask(engine, &change, &reply), TLY_OK);
        assert_int_equal(tly_engine_ask(engine, &put, &reply), TLY_OK);
        wish.op = TLY_PREFIX_MIGRATE;
        wish.strategy = tly_slice_text("epoch_sum");
        assert_int_equal(tly_engine_prefix_plan(engine, wish.prefix, wish.strategy, &plan), TLY_OK);
        wish.approval = plan.approval;
        uint64_t digest = tly_ormap_digest(engine->map);
        size_t news = engine->table_news.n;
        failing = (struct test_failing){.countdown = n};
        enum tly_result result = tly_engine_ask(engine, &change, &reply);
        failed = failing.failed;
        failing = (struct test_failing){.countdown = SIZE_MAX};
        assert_int_equal(result, failed ? TLY_NOMEM : TLY_OK);
        assert_int_equal(tly_ormap_digest(engine->map) == digest, failed);
        assert_int_equal(engine->table_news.n == news, failed);
        tly_engine_check(engine);
        tly_engine_free(engine);
        assert_int_equal(test_mem_live(), 0);
        assert_true(failed || n > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_keys_say_goes_over),
        cmocka_unit_test(a_peer_with_the_old_table_is_refused_until_it_has_migrated_too),
        cmocka_unit_test(it_needs_the_approval_of_what_is_there),
        cmocka_unit_test(who_held_something_else_is_brought_together),
        cmocka_unit_test(nested_prefixes_are_changed_one_after_the_other),
        cmocka_unit_test(not_while_a_snapshot_goes_to_the_disk),
        cmocka_unit_test(more_than_goes_to_the_disk_in_one_piece_is_refused),
        cmocka_unit_test(a_failed_allocation_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
