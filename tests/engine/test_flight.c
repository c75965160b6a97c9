/* Concurrency: what is in flight at once, on all nodes together. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define LEASE_MS 10000
#define LIMIT 100

static struct tly_rules *rules_with(enum tly_on_partition on_partition, uint64_t lease_ms)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "jobs", .field_count = 1, .field = {"who"}};
    rule.rate = (struct tly_rate){
        .limit = LIMIT, .window_ms = lease_ms, .algorithm = TLY_CONCURRENCY, .on_partition = on_partition};
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    return rules;
}

static struct tly_rules *rules_of(enum tly_on_partition on_partition)
{
    return rules_with(on_partition, LEASE_MS);
}

static void use(struct net *net, size_t node, enum tly_on_partition on_partition)
{
    tly_engine_use_rules(net_node(net, node), rules_of(on_partition));
}

/* So many nodes with disks, which know each other. */
static struct net *some(size_t count)
{
    struct net *net = net_new(MS);
    for (size_t i = 0; i < count; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i > 0 ? 1 : 0);
        use(net, i, TLY_PARTITION_OPEN);
    }
    net_run(net, 2 * S);
    return net;
}

static struct tly_check check_of(uint32_t hits)
{
    static const struct tly_field field = {{(const uint8_t *)"who", 3}, {(const uint8_t *)"me", 2}};
    return (struct tly_check){
        .limit = tly_slice_text("jobs"), .fields = &field, .field_count = 1, .hits = hits};
}

static struct tly_reply ask(struct net *net, size_t node, struct tly_request request,
                            enum tly_result expected)
{
    struct tly_reply reply;
    assert_int_equal(net_ask(net, node, request, &reply), expected);
    return reply;
}

static struct tly_reply acquire(struct net *net, size_t node, const char *id, uint32_t hits, int64_t ttl_ms)
{
    return ask(
        net, node,
        (struct tly_request){
            .kind = TLY_ASK_RESERVE, .check = check_of(hits), .bytes = tly_slice_text(id), .number = ttl_ms},
        TLY_OK);
}

static void release(struct net *net, size_t node, const char *id, enum tly_result expected)
{
    struct tly_reply reply =
        ask(net, node, (struct tly_request){.kind = TLY_ASK_CANCEL, .bytes = tly_slice_text(id)}, expected);
    if (expected == TLY_OK) assert_int_equal(reply.hold.state, TLY_HOLD_RELEASED);
}

static struct tly_verdict peek(struct net *net, size_t node)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = check_of(0)};
    return ask(net, node, request, TLY_OK).verdict;
}

static size_t leases(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view.leases;
}

static void what_is_in_flight_counts_on_all_nodes(void **state)
{
    (void)state;
    struct net *net = some(3);
    assert_int_equal(acquire(net, 0, "a", 60, 60000).hold.charged, 60);
    net_run(net, 100 * MS);
    assert_int_equal(peek(net, 2).used, 60);
    assert_int_equal(acquire(net, 1, "b", 40, 60000).hold.state, TLY_HOLD_OPEN);
    net_run(net, 100 * MS);
    struct tly_reply full = acquire(net, 2, "c", 1, 60000);
    assert_int_equal(full.hold.state, TLY_HOLD_NONE);
    assert_int_equal(full.verdict.code, TLY_CODE_OVER);
    assert_int_equal(full.verdict.reason, TLY_REASON_LIMIT);
    assert_int_equal(full.verdict.bound, 2 * LIMIT);
    char why[TLY_WHY_BYTES_MAX];
    (void)tly_reason_put(&full.verdict, 1, why);
    assert_string_equal(why, "100 in flight (0 from here, 100 from other nodes) + 1 hits of 100");
    release(net, 1, "b", TLY_OK);
    net_run(net, 100 * MS);
    assert_int_equal(acquire(net, 2, "c", 40, 60000).hold.charged, 40);
    full = acquire(net, 2, "d", 1, 60000);
    (void)tly_reason_put(&full.verdict, 1, why);
    assert_string_equal(why, "100 in flight (40 from here, 60 from other nodes) + 1 hits of 100");
    release(net, 0, "a", TLY_OK);
    release(net, 2, "c", TLY_OK);
    net_run(net, 100 * MS);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(peek(net, i).used, 0);
        assert_int_equal(leases(net, i), 0);
    }
    net_free(net);
}

static void what_lasts_longer_than_a_window_is_said_anew(void **state)
{
    (void)state;
    struct net *net = some(2);
    (void)acquire(net, 0, "a", 60, 10 * LEASE_MS);
    for (size_t i = 0; i < 93; i++) {
        net_run(net, S);
        assert_int_equal(peek(net, 0).used, 60);
        assert_int_equal(peek(net, 1).used, 60);
        /* Once in each window, and no more. */
        assert_true(net_stats(net, 0).dots_sent < 40 + i / 4);
    }
    net_run(net, 10 * S);
    assert_int_equal(peek(net, 1).used, 0);
    assert_int_equal(net_stats(net, 0).leases_ended, 60);
    net_free(net);
}

/* What is in flight then is said under the lease that holds now, with nothing acquired or released. */
static void a_lease_that_changes_keeps_what_is_in_flight(void **state)
{
    (void)state;
    static const uint64_t leases_ms[] = {2 * LEASE_MS, LEASE_MS / 5, 3600000, LEASE_MS};
    struct net *net = some(2);
    (void)acquire(net, 0, "a", 60, 12 * 3600000);
    for (size_t i = 0; i < 4; i++) {
        for (size_t node = 0; node < 2; node++)
            tly_engine_use_rules(net_node(net, node), rules_with(TLY_PARTITION_OPEN, leases_ms[i]));
        /* One that is refused changes nothing. */
        assert_int_equal(acquire(net, 0, "b", 50, 60000).hold.state, TLY_HOLD_NONE);
        for (size_t n = 0; n < 60; n++) {
            net_run(net, S);
            assert_int_equal(peek(net, 0).used, 60);
            assert_int_equal(peek(net, 1).used, 60);
        }
    }
    release(net, 0, "a", TLY_OK);
    net_run(net, 100 * MS);
    assert_int_equal(peek(net, 0).used, 0);
    assert_int_equal(peek(net, 1).used, 0);
    net_free(net);
}

/* H20. */
static void a_killed_node_gives_its_leases_back_once(void **state)
{
    (void)state;
    struct net *net = some(2);
    char id[16];
    for (size_t i = 0; i < LIMIT; i++) {
        (void)snprintf(id, sizeof id, "id-%zu", i);
        assert_int_equal(acquire(net, 0, id, 1, 60000).hold.state, TLY_HOLD_OPEN);
    }
    net_run(net, 100 * MS);
    assert_int_equal(acquire(net, 1, "x", 1, 60000).hold.state, TLY_HOLD_NONE);
    net_restart(net, 0, 77, SIZE_MAX);
    use(net, 0, TLY_PARTITION_OPEN);
    net_run(net, 2 * S);
    assert_int_equal(leases(net, 0), 0);
    /* They count until their window and the next one are over, and who comes for one finds it gone. */
    assert_int_equal(peek(net, 0).used, LIMIT);
    release(net, 0, "id-7", TLY_NO_HOLD);
    assert_int_equal(peek(net, 1).used, LIMIT);
    net_run(net, 2 * LEASE_MS * MS);
    for (size_t round = 0; round < 4; round++) {
        assert_int_equal(peek(net, 0).used, 0);
        assert_int_equal(peek(net, 1).used, 0);
        net_run(net, LEASE_MS * MS);
    }
    assert_int_equal(acquire(net, 0, "all", LIMIT, 60000).hold.charged, LIMIT);
    net_run(net, 100 * MS);
    assert_int_equal(acquire(net, 1, "one", 1, 60000).hold.state, TLY_HOLD_NONE);
    net_free(net);
}

/* What was in flight at a clean stop ends as a dead node's does, and is not forgotten before. */
static void what_was_in_flight_at_a_clean_stop_runs_out(void **state)
{
    (void)state;
    struct net *net = some(2);
    (void)acquire(net, 0, "a", 60, 60000);
    net_run(net, 100 * MS);
    struct tly_node_view view;
    tly_engine_node(net_node(net, 0), false, &view);
    net_kill(net, 0);
    net_go_on(net, 0, view.origin, 0);
    use(net, 0, TLY_PARTITION_OPEN);
    net_run(net, S);
    tly_engine_node(net_node(net, 0), false, &view);
    assert_int_equal(peek(net, 0).used, 60);
    assert_int_equal(acquire(net, 0, "b", 41, 5 * LEASE_MS).hold.state, TLY_HOLD_NONE);
    assert_int_equal(acquire(net, 0, "c", 30, 5 * LEASE_MS).hold.charged, 30);
    net_run(net, 100 * MS);
    assert_int_equal(peek(net, 1).used, 90);
    net_run(net, 2 * LEASE_MS * MS);
    assert_int_equal(peek(net, 0).used, 30);
    assert_int_equal(peek(net, 1).used, 30);
    release(net, 0, "c", TLY_OK);
    net_run(net, 100 * MS);
    assert_int_equal(peek(net, 1).used, 0);
    net_free(net);
}

static void an_id_stands_for_one_lease(void **state)
{
    (void)state;
    struct net *net = some(1);
    uint64_t end_ms = acquire(net, 0, "a", 10, 60000).hold.end_ms;
    net_run(net, S);
    struct tly_reply again = acquire(net, 0, "a", 10, 60000);
    assert_int_equal(again.hold.end_ms, end_ms);
    assert_int_equal(again.hold.charged, 10);
    assert_int_equal(peek(net, 0).used, 10);
    struct tly_reply unnamed = acquire(net, 0, "", 1, 60000);
    char id[TLY_HOLD_ID_BYTES_MAX + 1] = {0};
    memcpy(id, unnamed.hold.id.p, unnamed.hold.id.n);
    (void)acquire(net, 0, "", 1, 60000);
    assert_int_equal(peek(net, 0).used, 12);
    release(net, 0, id, TLY_OK);
    release(net, 0, id, TLY_NO_HOLD);
    release(net, 0, "a", TLY_OK);
    release(net, 0, "a", TLY_NO_HOLD);
    assert_int_equal(peek(net, 0).used, 1);
    net_run(net, 60 * S);
    assert_int_equal(peek(net, 0).used, 0);
    net_free(net);
}

static void it_is_acquired_and_not_counted(void **state)
{
    (void)state;
    struct net *net = some(1);
    struct tly_check one = check_of(1);
    (void)acquire(net, 0, "a", 10, 60000);
    (void)ask(net, 0, (struct tly_request){.kind = TLY_ASK_CHECK, .check = one}, TLY_IN_FLIGHT);
    (void)ask(net, 0, (struct tly_request){.kind = TLY_ASK_REFUND, .check = one}, TLY_IN_FLIGHT);
    (void)ask(net, 0, (struct tly_request){.kind = TLY_ASK_RESET, .check = one}, TLY_IN_FLIGHT);
    (void)ask(net, 0, (struct tly_request){.kind = TLY_ASK_COMMIT, .bytes = tly_slice_text("a"), .number = 1},
              TLY_IN_FLIGHT);
    struct tly_checked several[2] = {{.check = one}, {.check = one}};
    several[0].check =
        (struct tly_check){.key = tly_slice_text("k"), .hits = 1, .rate = {.limit = 5, .window_ms = 1000}};
    (void)ask(net, 0, (struct tly_request){.kind = TLY_ASK_CHECK_ALL, .checked = several, .checked_count = 2},
              TLY_IN_FLIGHT);
    several[0].check.hits = 0;
    struct tly_request other = {.kind = TLY_ASK_CHECK, .check = several[0].check};
    assert_int_equal(ask(net, 0, other, TLY_OK).verdict.used, 0);
    /* Nor is it asked for without a rule. */
    other.check.rate = (struct tly_rate){.limit = 5, .window_ms = LEASE_MS, .algorithm = TLY_CONCURRENCY};
    (void)ask(net, 0, other, TLY_BAD_RULE);
    assert_int_equal(peek(net, 0).used, 10);
    net_free(net);
}

static void at_a_cut_each_side_does_what_it_was_told(void **state)
{
    (void)state;
    static const struct {
        enum tly_on_partition on_partition;
        uint32_t room;
        enum tly_reason reason;
    } cases[] = {{TLY_PARTITION_OPEN, LIMIT, TLY_REASON_LIMIT},
                 {TLY_PARTITION_SHARE, LIMIT / 2, TLY_REASON_SHARE},
                 {TLY_PARTITION_CLOSED, 0, TLY_REASON_PARTITION}};
    for (size_t i = 0; i < 3; i++) {
        struct net *net = some(2);
        use(net, 0, cases[i].on_partition);
        use(net, 1, cases[i].on_partition);
        net_block(net, 0, 1, true);
        net_run(net, 30 * S);
        for (size_t node = 0; node < 2; node++) {
            assert_int_equal(peek(net, node).remaining, cases[i].room);
            if (cases[i].room > 0) (void)acquire(net, node, "a", cases[i].room, 60000);
            struct tly_verdict over = acquire(net, node, "b", 1, 60000).verdict;
            assert_int_equal(over.code, TLY_CODE_OVER);
            assert_int_equal(over.reason, cases[i].reason);
            assert_int_equal(over.bound, LIMIT);
        }
        net_block(net, 0, 1, false);
        net_run(net, 40 * S);
        assert_int_equal(peek(net, 0).used, 2 * cases[i].room);
        assert_int_equal(peek(net, 1).used, 2 * cases[i].room);
        net_free(net);
    }
}

/* Random leases on three nodes, against what was given out. */
static void random_leases_add_up(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(4711);
    struct net *net = some(3);
    struct {
        uint32_t units;
        uint64_t end_ns;
    } given[3][32] = {0};
    for (size_t step = 0; step < 3000; step++) {
        size_t node = test_rng_below(&rng, 3), which = test_rng_below(&rng, 32);
        char id[16];
        (void)snprintf(id, sizeof id, "id-%zu", which);
        uint64_t now = net_now(net);
        /* Which ends at this moment may be here or not. */
        if (given[node][which].units > 0 && given[node][which].end_ns < now + 5 * MS &&
            given[node][which].end_ns + 5 * MS > now)
            continue;
        bool is_open = given[node][which].units > 0 && given[node][which].end_ns > now;
        if (is_open) {
            release(net, node, id, TLY_OK);
            given[node][which].units = 0;
        } else {
            uint32_t units = 1 + (uint32_t)test_rng_below(&rng, 5);
            int64_t ttl_ms = 1 + (int64_t)test_rng_below(&rng, 3000);
            struct tly_reply reply = acquire(net, node, id, units, ttl_ms);
            if (reply.hold.state == TLY_HOLD_OPEN) {
                given[node][which].units = units;
                given[node][which].end_ns = now + (uint64_t)ttl_ms * MS;
            } else {
                given[node][which].units = 0;
            }
        }
        tly_engine_check(net_node(net, node));
        net_run(net, (1 + test_rng_below(&rng, 40)) * MS);
        if (step % 50 != 0) continue;
        net_run(net, 100 * MS);
        /* What ended a moment ago may not be heard of yet. */
        uint64_t least = 0, most = 0;
        for (size_t i = 0; i < 3 * 32; i++) {
            uint64_t end_ns = given[i / 32][i % 32].end_ns;
            least += end_ns > net_now(net) + 10 * MS ? given[i / 32][i % 32].units : 0;
            most += end_ns + 60 * MS > net_now(net) ? given[i / 32][i % 32].units : 0;
        }
        for (size_t i = 0; i < 3; i++)
            assert_in_range(peek(net, i).used, least, most);
    }
    net_run(net, 4 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(peek(net, i).used, 0);
        assert_int_equal(leases(net, i), 0);
    }
    net_free(net);
}

/* Each allocation fails once: then nothing was acquired, and what is there is still released. */
static void without_memory_nothing_is_in_flight(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_engine_config config = {.mem = test_failing_mem(&failing),
                                           .name = tly_slice_text("n"),
                                           .cluster = tly_slice_text("c"),
                                           .now = {.wall_ns = NET_WALL_START, .mono_ns = 1}};
        struct tly_engine *engine;
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 9, config.now), TLY_OK);
        tly_engine_use_rules(engine, rules_of(TLY_PARTITION_OPEN));
        failing = (struct test_failing){.countdown = countdown};
        struct tly_request request = {.kind = TLY_ASK_RESERVE,
                                      .now = config.now,
                                      .check = check_of(7),
                                      .bytes = tly_slice_text("a"),
                                      .number = 1000};
        struct tly_reply reply;
        enum tly_result result = tly_engine_ask(engine, &request, &reply);
        bool failed = failing.failed;
        assert_true(result == TLY_OK || (failed && result == TLY_NOMEM));
        refused += result != TLY_OK;
        tly_engine_check(engine);
        struct tly_request look = {.kind = TLY_ASK_CHECK, .now = config.now, .check = check_of(0)};
        assert_int_equal(tly_engine_ask(engine, &look, &reply), TLY_OK);
        assert_int_equal(reply.verdict.used, result == TLY_OK ? 7 : 0);
        failing.countdown = SIZE_MAX;
        assert_int_equal(tly_engine_ask(engine, &request, &reply), TLY_OK);
        request.kind = TLY_ASK_CANCEL;
        assert_int_equal(tly_engine_ask(engine, &request, &reply), TLY_OK);
        tly_engine_free(engine);
        if (!failed) break;
        claim(countdown < 100);
    }
    assert_int_equal(test_mem_live(), 0);
    assert_true(refused > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_flight_counts_on_all_nodes),
        cmocka_unit_test(what_lasts_longer_than_a_window_is_said_anew),
        cmocka_unit_test(a_lease_that_changes_keeps_what_is_in_flight),
        cmocka_unit_test(a_killed_node_gives_its_leases_back_once),
        cmocka_unit_test(what_was_in_flight_at_a_clean_stop_runs_out),
        cmocka_unit_test(an_id_stands_for_one_lease),
        cmocka_unit_test(it_is_acquired_and_not_counted),
        cmocka_unit_test(at_a_cut_each_side_does_what_it_was_told),
        cmocka_unit_test(random_leases_add_up),
        cmocka_unit_test(without_memory_nothing_is_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
