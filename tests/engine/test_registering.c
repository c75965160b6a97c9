/* Prefixes: registered while others write, longest wins, and a key under none leaves no trace. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/pack.h"
#include "wire/table.h"

#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static enum tly_result ask(struct net *net, enum tly_request_kind kind, const char *key, const char *bytes,
                           struct tly_reply *reply)
{
    struct tly_request request = {
        .kind = kind, .key = tly_slice_text(key), .bytes = tly_slice_text(bytes), .number = 1, .epoch = 1};
    return net_ask(net, 0, request, reply);
}

/* The one kind of write that each strategy takes. */
static const struct {
    const char *name;
    enum tly_request_kind kind;
} strategies[] = {{"lww", TLY_ASK_PUT}, {"epoch_max", TLY_ASK_PUT_MAX}, {"epoch_sum", TLY_ASK_ADD}};

/* A key takes what its strategy takes and nothing else. */
static void claim_strategy(struct net *net, const char *key, size_t strategy)
{
    struct tly_reply reply;
    for (size_t i = 0; i < 3; i++) {
        enum tly_result result = ask(net, strategies[i].kind, key, "x", &reply);
        assert_int_equal(result, i == strategy ? TLY_OK : TLY_WRONG_STRATEGY);
        assert_string_equal(reply.strategy->name, strategies[strategy].name);
    }
}

static void registering_among_ten_thousand_writes_a_second_shows_nobody_half_a_table(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    struct tly_reply reply;
    char key[32], prefix[32];
    size_t registered = 0, writes = 0;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "k%d", i % 100);
        assert_int_equal(ask(net, TLY_ASK_ADD, key, "", &reply), TLY_OK);
        writes++;
        /* Keys of all prefixes so far, and of the next one, which is not there yet and counts. */
        size_t p = (size_t)i % (registered + 1);
        snprintf(key, sizeof key, "p%zu:%d", p, i % 10);
        if (p < registered) {
            claim_strategy(net, key, p % 3);
            writes++;
        }
        if (i % 100 == 99) {
            snprintf(prefix, sizeof prefix, "p%zu:", registered);
            assert_int_equal(net_register(net, 0, prefix, strategies[registered % 3].name), TLY_OK);
            registered++;
        }
        if (i % 10 == 0) net_run(net, MS);
    }
    assert_int_equal(registered, 200);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "k7"), 200);
    assert_true(net_stats(net, 0).writes >= writes);
    tly_engine_check(net_node(net, 0));
    net_free(net);
}

static void the_longest_prefix_wins_and_neighbours_do_not_mix(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    assert_int_equal(net_register(net, 0, "x", "lww"), TLY_OK);
    assert_int_equal(net_register(net, 0, "x:a", "epoch_max"), TLY_OK);
    assert_int_equal(net_register(net, 0, "x:ab", "epoch_sum"), TLY_OK);
    claim_strategy(net, "x:", 0);
    claim_strategy(net, "x:b", 0);
    claim_strategy(net, "x:a", 1);
    claim_strategy(net, "x:ac", 1);
    claim_strategy(net, "x:ab", 2);
    claim_strategy(net, "x:abc", 2);
    claim_strategy(net, "w", 2);
    /* One that claims keys which exist with another strategy would leave them without a way in. */
    assert_int_equal(net_register(net, 0, "x:b", "epoch_max"), TLY_PREFIX_TAKEN);
    claim_strategy(net, "x:b", 0);
    /* Limits of one name do not reach into those of a longer one. */
    assert_true(net_check(net, 0, "a", "1/1d", TLY_FIXED_WINDOW));
    assert_true(net_check(net, 0, "ab", "1/1d", TLY_FIXED_WINDOW));
    assert_false(net_check(net, 0, "a", "1/1d", TLY_FIXED_WINDOW));
    assert_false(net_check(net, 0, "ab", "1/1d", TLY_FIXED_WINDOW));
    net_free(net);
}

static void a_failed_registration_leaves_the_table_as_it_was(void **state)
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
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
        size_t before = tly_registry_count(engine->registry);
        failing = (struct test_failing){.countdown = n};
        struct tly_prefix_wish wish = {
            .op = TLY_PREFIX_REGISTER, .prefix = tly_slice_text("x:"), .strategy = tly_slice_text("lww")};
        struct tly_request request = {
            .kind = TLY_ASK_PREFIXES, .now = config.now, .wishes = &wish, .wish_count = 1};
        enum tly_result result = tly_engine_ask(engine, &request, &reply);
        failed = failing.failed;
        assert_int_equal(result, failed ? TLY_NOMEM : TLY_OK);
        assert_int_equal(tly_registry_count(engine->registry), before + !failed);
        tly_engine_free(engine);
        assert_int_equal(test_mem_live(), 0);
    }
}

/* Every way into a map whose table has no prefix for the key: refused by name, and not a byte is kept. */
static void a_key_under_no_prefix_is_refused_and_leaves_no_byte(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct tly_registry *empty = tly_registry_new(&mem), *registry;
    assert_non_null(empty);
    assert_int_equal(tly_registry_with(empty, tly_slice_text("a:"), tly_lww(), &registry), TLY_OK);
    struct tly_time now = {NET_WALL_START, S};
    struct tly_ormap_config config = {.mem = mem,
                                      .registry = registry,
                                      .keys_max = SIZE_MAX,
                                      .clock = tly_clock_of(0, now, TLY_MAX_SKEW_NS)};
    memset(config.hash_key.secret, 0x3c, sizeof config.hash_key.secret);
    struct tly_ormap *map = tly_ormap_new(&config);
    assert_non_null(map);
    assert_int_equal(tly_ormap_begin_life(map, 7), TLY_OK);
    struct tly_slice key = tly_slice_text("b:key");
    struct tly_dot dot = {.version = {NET_WALL_START, 8}, .op = TLY_PUT};
    struct tly_entry *entry;
    enum tly_outcome outcome;
    size_t bytes = tly_ormap_bytes(map), live = test_mem_live();
    uint64_t last = tly_ormap_clock(map)->last;
    assert_int_equal(tly_ormap_put(map, key, &dot), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_apply(map, key, &dot, &outcome), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_admits(map, key, &dot), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_need(map, key, &entry), TLY_NO_STRATEGY);
    assert_int_equal(tly_ormap_remove(map, key), TLY_NOT_FOUND);
    assert_null(tly_ormap_find(map, key));
    assert_int_equal(tly_ormap_bytes(map), bytes);
    assert_int_equal(test_mem_live(), live);
    assert_int_equal(tly_ormap_lives(map), 1);
    assert_int_equal(tly_ormap_clock(map)->last, last);
    tly_ormap_check(map);
    tly_ormap_free(map);
    tly_registry_free(registry);
    tly_registry_free(empty);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- several nodes ---- */

static struct tly_prefix_plan plan_of(struct net *net, size_t node, const char *prefix)
{
    struct tly_prefix_plan plan;
    assert_int_equal(
        tly_engine_prefix_plan(net_node(net, node), tly_slice_text(prefix), tly_slice_text(""), &plan),
        TLY_OK);
    return plan;
}

static enum tly_result drop(struct net *net, size_t node, const char *prefix, uint64_t approval)
{
    struct tly_reply reply;
    return net_change(net, node,
                      (struct tly_prefix_wish){
                          .op = TLY_PREFIX_DROP, .prefix = tly_slice_text(prefix), .approval = approval},
                      &reply);
}

static struct net *three_nodes(void)
{
    struct net *net = net_new(MS);
    struct tly_engine_config config = {.has_store = true};
    net_add_with(net, config, 0);
    net_add_with(net, config, 1);
    net_add_with(net, config, 1);
    net_run(net, 2 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_peers_up(net, i), 2);
    return net;
}

static bool has_key(struct net *net, size_t node, const char *key)
{
    return tly_ormap_find(net_node(net, node)->map, tly_slice_text(key)) != NULL;
}

static const struct tly_strategy *strategy_of(struct net *net, size_t node, const char *key)
{
    return tly_registry_find(net_node(net, node)->registry, tly_slice_text(key));
}

/* A prefix that is registered on one node comes to all that hold nothing under it, and to a node that is new. */
static void what_one_node_registers_the_others_follow(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "v", &reply), TLY_OK);
    net_run(net, 10 * S);
    net_add(net, 1);
    net_run(net, 10 * S);
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(strategy_of(net, i, "x:1"), tly_lww());
        assert_true(has_key(net, i, "x:1"));
        assert_int_equal(net_peers_up(net, i), 3);
        assert_int_equal(net_digest(net, i), net_digest(net, 0));
    }
    net_free(net);
}

/* Nothing of what one node dropped comes back to it from the others, which are refused until their operator has said the same. */
static void what_was_dropped_comes_back_from_nobody(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "v", &reply), TLY_OK);
    net_run(net, 10 * S);
    uint64_t approval = plan_of(net, 0, "x:").approval;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(plan_of(net, i, "x:").approval, approval);
    assert_int_equal(drop(net, 0, "x:", approval), TLY_OK);
    assert_false(has_key(net, 0, "x:1"));
    /* It comes from nobody, though both others have it and write on. */
    net_add_to(net, 1, "ctr:a", 1);
    net_run(net, 60 * S);
    assert_false(has_key(net, 0, "x:1"));
    assert_true(has_key(net, 1, "x:1") && has_key(net, 2, "x:1"));
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_int_equal(net_peers_up(net, 1), 1);
    /* The approval that one node gave is that of the others, as long as they hold the same. */
    assert_int_equal(drop(net, 1, "x:", approval), TLY_OK);
    assert_int_equal(drop(net, 2, "x:", approval), TLY_OK);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_false(has_key(net, i, "x:1"));
        assert_int_equal(net_peers_up(net, i), 2);
        assert_int_equal(net_read(net, i, "ctr:a"), 1);
        assert_int_equal(net_digest(net, i), net_digest(net, 0));
    }
    net_free(net);
}

static void a_drop_needs_the_approval_of_what_goes(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "v", &reply), TLY_OK);
    struct tly_prefix_plan plan = plan_of(net, 0, "x:");
    assert_int_equal(plan.keys, 1);
    assert_int_equal(drop(net, 0, "x:", 0), TLY_UNAPPROVED);
    assert_int_equal(drop(net, 0, "x:", plan.approval + 1), TLY_APPROVAL_STALE);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "w", &reply), TLY_OK);
    assert_int_equal(drop(net, 0, "x:", plan.approval), TLY_APPROVAL_STALE);
    assert_true(has_key(net, 0, "x:1"));
    plan = plan_of(net, 0, "x:");
    assert_int_equal(drop(net, 0, "x:", plan.approval), TLY_OK);
    /* It serves once. */
    assert_int_equal(drop(net, 0, "x:", plan.approval), TLY_NO_PREFIX);
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "w", &reply), TLY_OK);
    assert_int_equal(drop(net, 0, "x:", plan.approval), TLY_APPROVAL_STALE);
    assert_int_equal(drop(net, 0, "y:", 1), TLY_NO_PREFIX);
    assert_int_equal(drop(net, 0, "kv:", 0), TLY_PREFIX_BUILT_IN);
    assert_int_equal(net_register(net, 0, "z:", "none"), TLY_NO_SUCH_STRATEGY);
    net_free(net);
}

/* Two say different things of one prefix: neither is merged into the other, and either says what differs. */
static void two_tables_that_differ_are_never_merged(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 0);
    struct tly_reply reply;
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    assert_int_equal(net_register(net, 1, "x:", "epoch_max"), TLY_OK);
    assert_int_equal(ask(net, TLY_ASK_PUT, "x:1", "v", &reply), TLY_OK);
    assert_int_equal(tly_engine_join(net_node(net, 1), tly_slice_text("n0:1")), TLY_OK);
    net_event(net, 1, (struct tly_event){.kind = TLY_TICK});
    net_run(net, 60 * S);
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_false(has_key(net, 1, "x:1"));
    assert_ptr_equal(strategy_of(net, 1, "x:1"), tly_epoch_max());
    assert_true(net_stats(net, 0).sessions_refused > 0 && net_stats(net, 1).sessions_refused > 0);
    net_free(net);
}

static struct tly_prefix_wish to_register(const char *prefix)
{
    return (struct tly_prefix_wish){
        .op = TLY_PREFIX_REGISTER, .prefix = tly_slice_text(prefix), .strategy = tly_slice_text("lww")};
}

static enum tly_result change_all(struct net *net, const struct tly_prefix_wish *wishes, size_t count,
                                  struct tly_reply *reply)
{
    struct tly_request request = {.kind = TLY_ASK_PREFIXES, .wishes = wishes, .wish_count = count};
    return net_ask(net, 0, request, reply);
}

/* Of several wishes all are done, or none, and the reply says which could not be. */
static void of_several_wishes_all_are_done_or_none(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_reply reply;
    struct tly_prefix_wish wishes[TLY_TABLE_CHANGED_MAX + 1];
    char names[TLY_TABLE_CHANGED_MAX + 1][8];
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    for (size_t i = 0; i <= TLY_TABLE_CHANGED_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "p%zu:", i);
        wishes[i] = to_register(names[i]);
    }
    size_t before = tly_engine_prefixes(net_node(net, 0));
    assert_int_equal(change_all(net, wishes, TLY_TABLE_CHANGED_MAX + 1, &reply), TLY_BAD_PREFIX);
    assert_int_equal(reply.wish_at, TLY_TABLE_CHANGED_MAX);
    wishes[2] = to_register("p0:");
    wishes[2].strategy = tly_slice_text("epoch_max");
    assert_int_equal(change_all(net, wishes, 3, &reply), TLY_PREFIX_TAKEN);
    assert_int_equal(reply.wish_at, 2);
    wishes[2].strategy = wishes[0].strategy; /* as it is by then, which is nothing to do */
    wishes[3] = (struct tly_prefix_wish){.op = TLY_PREFIX_DROP, .prefix = tly_slice_text("kv:")};
    assert_int_equal(change_all(net, wishes, 4, &reply), TLY_PREFIX_BUILT_IN);
    assert_int_equal(reply.wish_at, 3);
    assert_int_equal(tly_engine_prefixes(net_node(net, 0)), before);
    wishes[2] = to_register(names[2]);
    wishes[3] = to_register(names[3]);
    assert_int_equal(change_all(net, wishes, TLY_TABLE_CHANGED_MAX, &reply), TLY_OK);
    assert_int_equal(tly_engine_prefixes(net_node(net, 0)), before + TLY_TABLE_CHANGED_MAX);
    /* One prefix is changed once in a request. */
    wishes[0].op = TLY_PREFIX_DROP;
    wishes[1] = to_register(names[0]);
    assert_int_equal(change_all(net, wishes, 2, &reply), TLY_PREFIX_TAKEN);
    assert_ptr_equal(strategy_of(net, 0, "p0:1"), tly_lww());
    net_free(net);
}

/* A prefix of its own for keys that are there and keep their strategy takes none of them away. */
static void keys_that_keep_their_strategy_stay(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    struct tly_reply reply;
    assert_int_equal(ask(net, TLY_ASK_PUT, "kv:s:1", "v", &reply), TLY_OK);
    net_run(net, 10 * S);
    assert_int_equal(net_register(net, 0, "kv:s:", "lww"), TLY_OK);
    assert_true(has_key(net, 0, "kv:s:1"));
    net_run(net, 10 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_true(has_key(net, i, "kv:s:1"));
        assert_int_equal(net_peers_up(net, i), 2);
        assert_int_equal(tly_engine_prefixes(net_node(net, i)), tly_engine_prefixes(net_node(net, 0)));
    }
    net_free(net);
}

/* Who was greeted with the old table is not listened to any more, from the next event on. */
static void with_a_change_every_session_ends(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_OK);
    net_event(net, 0, (struct tly_event){.kind = TLY_TICK});
    assert_int_equal(net_peers_up(net, 0), 0);
    net_run(net, 10 * S);
    assert_int_equal(net_peers_up(net, 0), 2);
    net_free(net);
}

static void while_the_disk_refuses_nothing_is_changed(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_event(net, 0, (struct tly_event){.kind = TLY_STORE_FAILED});
    assert_int_equal(net_register(net, 0, "x:", "lww"), TLY_IO);
    assert_ptr_equal(strategy_of(net, 0, "x:1"), tly_epoch_sum());
    net_free(net);
}

/* Generations end; a drop that none is left for is refused. */
static void the_last_generation_is_not_dropped(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct tly_engine_config config = {.mem = mem,
                                       .name = tly_slice_text("n0"),
                                       .cluster = tly_slice_text("test"),
                                       .now = {NET_WALL_START, S}};
    struct tly_engine *engine;
    struct tly_reply reply;
    struct tly_buf table;
    tly_buf_init(&table, &mem, 1024);
    tly_put_array(&table, 2);
    tly_put_text(&table, tly_slice_text("x:"));
    tly_put_uint(&table, TLY_LWW + UINT64_C(16) * TLY_GENERATION_MAX);
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    assert_int_equal(tly_engine_use_table(engine, tly_buf_slice(&table)), TLY_OK);
    assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
    struct tly_prefix_wish wish = {.op = TLY_PREFIX_DROP, .prefix = tly_slice_text("x:")};
    struct tly_request request = {
        .kind = TLY_ASK_PREFIXES, .now = config.now, .wishes = &wish, .wish_count = 1};
    assert_int_equal(tly_engine_ask(engine, &request, &reply), TLY_BAD_PREFIX);
    tly_buf_fini(&table);
    tly_engine_free(engine);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registering_among_ten_thousand_writes_a_second_shows_nobody_half_a_table),
        cmocka_unit_test(the_longest_prefix_wins_and_neighbours_do_not_mix),
        cmocka_unit_test(a_failed_registration_leaves_the_table_as_it_was),
        cmocka_unit_test(a_key_under_no_prefix_is_refused_and_leaves_no_byte),
        cmocka_unit_test(what_one_node_registers_the_others_follow),
        cmocka_unit_test(what_was_dropped_comes_back_from_nobody),
        cmocka_unit_test(a_drop_needs_the_approval_of_what_goes),
        cmocka_unit_test(two_tables_that_differ_are_never_merged),
        cmocka_unit_test(of_several_wishes_all_are_done_or_none),
        cmocka_unit_test(keys_that_keep_their_strategy_stay),
        cmocka_unit_test(with_a_change_every_session_ends),
        cmocka_unit_test(while_the_disk_refuses_nothing_is_changed),
        cmocka_unit_test(the_last_generation_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
