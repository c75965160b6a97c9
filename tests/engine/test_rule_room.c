/* What a limit is for (match), and how many keys it may have (cardinality_max); and what is counted of each limit. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static struct tly_rules *rules_of(size_t keys_max, const char *mode)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "api", .field_count = 1, .field = {"who"}, .keys_max = keys_max};
    struct tly_rule other = {.name = "else", .field_count = 1, .field = {"who"}};
    assert_int_equal(tly_mode_parse(tly_slice_text(mode), &rule.rate), TLY_OK);
    rule.rate.limit = other.rate.limit = 1000;
    rule.rate.window_ms = other.rate.window_ms = 1000;
    rule.rate.algorithm = other.rate.algorithm = TLY_FIXED_WINDOW;
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    assert_int_equal(tly_rules_add(rules, &other), TLY_OK);
    return rules;
}

static struct tly_verdict check(struct net *net, size_t node, const char *limit, size_t who, uint32_t hits)
{
    char text[16];
    (void)snprintf(text, sizeof text, "w%zu", who);
    struct tly_field field = {tly_slice_text("who"), tly_slice_text(text)};
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.limit = tly_slice_text(limit), .fields = &field, .field_count = 1, .hits = hits}};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict;
}

static const struct tly_rule_count *count_of(struct net *net, size_t node)
{
    return tly_rules_find(tly_engine_rules(net_node(net, node)), tly_slice_text("api"))->count;
}

/* Keys of the limit that the map has. */
static size_t keys_in(struct net *net, size_t node)
{
    size_t count = 0;
    for (size_t who = 0; who < 400; who++) {
        char key[32];
        struct tly_entry_view view;
        (void)snprintf(key, sizeof key, "rl:n:api:w%zu", who);
        count += tly_engine_entry(net_node(net, node), tly_slice_text(key), &view) == TLY_OK;
    }
    return count;
}

static void keys_beyond_cardinality_max_are_not_counted(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_run(net, S);
    tly_engine_use_rules(net_node(net, 0), rules_of(10, "optimistic"));
    for (size_t who = 0; who < 30; who++) {
        struct tly_verdict verdict = check(net, 0, "api", who, 1);
        assert_int_equal(verdict.code, TLY_CODE_OK);
        assert_int_equal(verdict.full, who >= 10);
        assert_int_equal(verdict.reason, who >= 10 ? TLY_REASON_KEYS : TLY_REASON_NONE);
        assert_int_equal(verdict.used, who < 10 ? 1 : 0);
        char why[TLY_WHY_BYTES_MAX];
        (void)tly_reason_put(&verdict, 1, why);
        if (who == 10)
            assert_string_equal(why,
                                "the key is new and the limit's cardinality_max is reached: not counted");
        /* Another limit does not mind. */
        assert_false(check(net, 0, "else", who, 1).full);
    }
    /* What is there goes on; looking makes nothing new. */
    assert_int_equal(check(net, 0, "api", 3, 5).used, 6);
    assert_false(check(net, 0, "api", 77, 0).full);
    assert_int_equal(count_of(net, 0)->keys, 10);
    assert_int_equal(keys_in(net, 0), 10);
    assert_int_equal(count_of(net, 0)->uncounted, 20);
    assert_int_equal(count_of(net, 0)->admitted, 11);
    assert_int_equal(net_stats(net, 0).checks_uncounted, 20);
    /* Whose window is over makes room: three windows and max_skew later. */
    net_run(net, 600 * S);
    assert_int_equal(count_of(net, 0)->keys, 0);
    assert_false(check(net, 0, "api", 50, 1).full);
    net_free(net);
}

static void on_full_refuses_and_a_hard_limit_too(void **state)
{
    (void)state;
    for (size_t is_hard = 0; is_hard < 2; is_hard++) {
        struct net *net = net_new(MS);
        struct tly_engine_config config = {.on_full = is_hard ? TLY_ON_FULL_ADMIT : TLY_ON_FULL_REFUSE};
        net_add_with(net, config, 0);
        tly_engine_use_rules(net_node(net, 0), rules_of(1, is_hard ? "hard" : "optimistic"));
        net_run(net, 5 * S);
        assert_int_equal(check(net, 0, "api", 0, 1).code, TLY_CODE_OK);
        struct tly_verdict verdict = check(net, 0, "api", 1, 1);
        assert_int_equal(verdict.code, TLY_CODE_OVER);
        assert_int_equal(verdict.reason, TLY_REASON_KEYS);
        assert_int_equal(verdict.remaining, 0);
        assert_int_equal(count_of(net, 0)->refused_full, 1);
        assert_int_equal(net_stats(net, 0).checks_refused_full, 1);
        net_free(net);
    }
}

/* Of all nodes; what others bring is taken, and leaves no room for one's own. */
static void what_others_count_are_keys_too(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 2 * S);
    for (size_t node = 0; node < 2; node++)
        tly_engine_use_rules(net_node(net, node), rules_of(20, "optimistic"));
    for (size_t who = 0; who < 15; who++) {
        (void)check(net, 0, "api", who, 1);
        (void)check(net, 1, "api", 100 + who, 1);
    }
    net_run(net, 200 * MS);
    for (size_t node = 0; node < 2; node++) {
        assert_int_equal(count_of(net, node)->keys, 30);
        assert_true(check(net, node, "api", 200, 1).full);
        assert_false(check(net, node, "api", 3, 1).full);
    }
    net_free(net);
}

/* While keys come and go limits are replaced at any moment; in between they are counted some at a time. */
static void keys_are_counted_anew_while_they_come_and_go(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(99);
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_run(net, 65 * S);
    /* So that one look is not enough. */
    for (size_t i = 0; i < 3000; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "counter-%zu", i);
        (void)net_add_to(net, 0, key, 1);
    }
    for (size_t round = 0; round < 20; round++) {
        tly_engine_use_rules(net_node(net, 0), rules_of(1000, "optimistic"));
        size_t steps = test_rng_below(&rng, 300);
        for (size_t i = 0; i < steps; i++) {
            size_t who = test_rng_below(&rng, 400);
            (void)check(net, 0, "api", who, 1);
            if (i % 50 == 7) net_event(net, 0, (struct tly_event){.kind = TLY_TICK, .now = net_time(net, 0)});
        }
        net_run(net, (round % 5 == 4 ? 400 : 1) * S);
        assert_int_equal(count_of(net, 0)->keys, keys_in(net, 0));
    }
    assert_true(net_stats(net, 0).dots_expired > 100);
    net_free(net);
}

/* A node that was given up comes back and gets all anew: what it has from then on is counted. */
static void keys_of_a_snapshot_are_counted(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    for (size_t i = 0; i < 3; i++)
        net_add_with(net, (struct tly_engine_config){.has_store = true}, i > 0 ? 1 : 0);
    net_run(net, 2 * S);
    net_kill(net, 2);
    net_run(net, 30 * S);
    struct tly_reply reply;
    struct tly_request forget = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text("n2")};
    assert_int_equal(net_ask(net, 0, forget, &reply), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules_of(1000, "optimistic"));
    for (size_t who = 0; who < 40; who++)
        (void)check(net, 0, "api", who, 1);
    net_run(net, 5 * S);
    net_revive(net, 2, 4711, 1);
    tly_engine_use_rules(net_node(net, 2), rules_of(1000, "optimistic"));
    (void)check(net, 2, "api", 300, 1);
    net_run(net, 20 * S);
    assert_true(net_stats(net, 2).snapshots_installed > 0);
    assert_true(keys_in(net, 2) >= 40);
    assert_int_equal(count_of(net, 2)->keys, keys_in(net, 2));
    (void)check(net, 0, "api", 301, 1);
    net_run(net, S);
    assert_int_equal(count_of(net, 2)->keys, keys_in(net, 2));
    net_free(net);
}

static void counts_go_on_when_limits_are_replaced(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    tly_engine_use_rules(net_node(net, 0), rules_of(0, "optimistic"));
    (void)check(net, 0, "api", 0, 600);
    (void)check(net, 0, "api", 0, 600);
    tly_engine_use_rules(net_node(net, 0), rules_of(5, "optimistic"));
    (void)check(net, 0, "api", 0, 600);
    (void)check(net, 0, "api", 0, 100);
    assert_int_equal(count_of(net, 0)->admitted, 2);
    assert_int_equal(count_of(net, 0)->refused, 2);
    assert_int_equal(count_of(net, 0)->keys, 1);
    net_free(net);
}

static bool matches(const char *pattern, const char *value)
{
    struct tly_rule rule = {.name = "api"};
    struct tly_field field = {tly_slice_text("plan"), tly_slice_text(value != NULL ? value : "")};
    assert_true(tly_rule_add_match(&rule, "plan", pattern));
    return tly_rule_matches(&rule, &field, value != NULL);
}

static void a_match_is_a_value_a_prefix_or_any(void **state)
{
    (void)state;
    assert_true(matches("free", "free"));
    assert_false(matches("free", "freer"));
    assert_false(matches("free", "fre"));
    assert_false(matches("free", NULL));
    assert_true(matches("fr*", "free"));
    assert_true(matches("fr*", "fr"));
    assert_false(matches("fr*", "f"));
    assert_true(matches("*", "x"));
    assert_false(matches("*", ""));
    assert_false(matches("*", NULL));
    struct tly_rule rule = {.name = "api"};
    char value[80];
    memset(value, 'a', sizeof value);
    value[65] = '\0';
    assert_false(tly_rule_add_match(&rule, "plan", value));
    value[64] = '\0';
    for (size_t i = 0; i < TLY_RULE_MATCHES_MAX; i++)
        assert_true(tly_rule_add_match(&rule, "plan", value));
    assert_false(tly_rule_add_match(&rule, "plan", "b"));
}

static void what_does_not_match_is_admitted_and_not_counted(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "free", .field_count = 1, .field = {"who"}};
    rule.rate = (struct tly_rate){.limit = 5, .window_ms = 60000, .algorithm = TLY_FIXED_WINDOW};
    assert_true(tly_rule_add_match(&rule, "plan", "free"));
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    rule = (struct tly_rule){.name = "all", .rate = rule.rate};
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    net_add(net, 0);
    tly_engine_use_rules(net_node(net, 0), rules);
    struct tly_field fields[2] = {{tly_slice_text("who"), tly_slice_text("me")},
                                  {tly_slice_text("plan"), tly_slice_text("gold")}};
    struct tly_check one = {.limit = tly_slice_text("free"), .fields = fields, .field_count = 2, .hits = 4};
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = one};
    struct tly_reply reply;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        assert_int_equal(reply.verdict.code, TLY_CODE_OK);
        assert_int_equal(reply.verdict.reason, TLY_REASON_UNMATCHED);
        assert_int_equal(reply.verdict.remaining, 5);
    }
    /* Nor is anything given back, or reserved. */
    struct tly_request refund = {.kind = TLY_ASK_REFUND, .check = one};
    assert_int_equal(net_ask(net, 0, refund, &reply), TLY_OK);
    assert_int_equal(reply.refunded, 0);
    struct tly_request reserve = {.kind = TLY_ASK_RESERVE, .check = one, .number = 1000};
    assert_int_equal(net_ask(net, 0, reserve, &reply), TLY_OK);
    assert_int_equal(reply.hold.charged, 0);
    /* Of several limits it is one that has no say. */
    struct tly_checked both[2] = {{.check = one}, {.check = {.limit = tly_slice_text("all"), .hits = 4}}};
    struct tly_request all = {.kind = TLY_ASK_CHECK_ALL, .checked = both, .checked_count = 2};
    assert_int_equal(net_ask(net, 0, all, &reply), TLY_OK);
    assert_false(reply.is_over);
    assert_int_equal(both[1].verdict.used, 4);
    assert_int_equal(net_ask(net, 0, all, &reply), TLY_OK);
    assert_true(reply.is_over);
    fields[1].value = tly_slice_text("free");
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    assert_int_equal(reply.verdict.used, 4);
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    assert_int_equal(reply.verdict.code, TLY_CODE_OVER);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_beyond_cardinality_max_are_not_counted),
        cmocka_unit_test(on_full_refuses_and_a_hard_limit_too),
        cmocka_unit_test(what_others_count_are_keys_too),
        cmocka_unit_test(keys_are_counted_anew_while_they_come_and_go),
        cmocka_unit_test(keys_of_a_snapshot_are_counted),
        cmocka_unit_test(counts_go_on_when_limits_are_replaced),
        cmocka_unit_test(a_match_is_a_value_a_prefix_or_any),
        cmocka_unit_test(what_does_not_match_is_admitted_and_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
