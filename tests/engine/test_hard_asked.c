/* Hard limits asked in other ways than one hit at a time: several in one check, given back, reserved. */
#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#define WINDOW_MS 10000
#define NAMES 3

/* Two that are hard, and one that slides. */
static const struct {
    const char *name;
    uint64_t limit;
    enum tly_algorithm algorithm;
    const char *mode;
} limits[NAMES] = {{"all", 20, TLY_FIXED_WINDOW, "hard"},
                   {"some", 8, TLY_FIXED_WINDOW, "hard"},
                   {"soft", 1000, TLY_SLIDING_WINDOW, "optimistic"}};

static void use(struct net *net, size_t node)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    for (size_t i = 0; i < NAMES; i++) {
        struct tly_rule rule = {.name = ""};
        memcpy(rule.name, limits[i].name, strlen(limits[i].name) + 1);
        assert_int_equal(tly_mode_parse(tly_slice_text(limits[i].mode), &rule.rate), TLY_OK);
        rule.rate.limit = limits[i].limit;
        rule.rate.window_ms = WINDOW_MS;
        rule.rate.algorithm = limits[i].algorithm;
        assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    }
    tly_engine_use_rules(net_node(net, node), rules);
}

static void run_to_window(struct net *net)
{
    net_run(net, WINDOW_MS * MS - (NET_WALL_START + net_now(net)) % (WINDOW_MS * MS));
}

static struct net *cluster(size_t nodes)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
        use(net, i);
    }
    net_run(net, 20 * S);
    run_to_window(net);
    return net;
}

static struct tly_check of(size_t limit, uint32_t hits)
{
    return (struct tly_check){.limit = tly_slice_text(limits[limit].name), .hits = hits};
}

static struct tly_reply ask(struct net *net, size_t node, struct tly_request request)
{
    struct tly_reply reply;
    claim(net_ask(net, node, request, &reply) == TLY_OK);
    return reply;
}

static struct tly_verdict peek(struct net *net, size_t node, size_t limit)
{
    return ask(net, node, (struct tly_request){.kind = TLY_ASK_CHECK, .check = of(limit, 0)}).verdict;
}

/* Asks for so much of each in one check; whether all was admitted. */
static bool check_all(struct net *net, size_t node, const uint32_t hits[NAMES], struct tly_verdict *verdicts)
{
    struct tly_checked checks[NAMES];
    for (size_t i = 0; i < NAMES; i++)
        checks[i] = (struct tly_checked){.check = of(i, hits[i])};
    struct tly_reply reply =
        ask(net, node,
            (struct tly_request){.kind = TLY_ASK_CHECK_ALL, .checked = checks, .checked_count = NAMES});
    for (size_t i = 0; i < NAMES; i++)
        verdicts[i] = checks[i].verdict;
    return !reply.is_over;
}

static uint64_t refund(struct net *net, size_t node, size_t limit, uint32_t hits)
{
    return ask(net, node, (struct tly_request){.kind = TLY_ASK_REFUND, .check = of(limit, hits)}).refunded;
}

static void a_refusal_for_want_of_rights_charges_none(void **state)
{
    (void)state;
    struct net *net = cluster(2);
    struct tly_verdict verdicts[NAMES];
    static const uint32_t fits[NAMES] = {3, 3, 3};
    assert_true(peek(net, 0, 1).held == 4 && peek(net, 0, 0).held == 10);
    assert_true(check_all(net, 0, fits, verdicts));
    assert_int_equal(verdicts[0].own, 3);
    assert_int_equal(verdicts[1].own, 3);
    assert_false(check_all(net, 0, fits, verdicts));
    assert_int_equal(verdicts[1].code, TLY_CODE_OVER);
    assert_int_equal(verdicts[1].reason, TLY_REASON_RIGHTS);
    assert_int_equal(verdicts[0].code, TLY_CODE_OK);
    for (size_t i = 0; i < NAMES; i++)
        assert_int_equal(peek(net, 0, i).used, 3);
    /* It has said what it would like to hold, and is given what there is. */
    net_run(net, 500 * MS);
    assert_true(check_all(net, 0, fits, verdicts));
    assert_int_equal(peek(net, 0, 0).used, 6);
    assert_int_equal(peek(net, 0, 1).used, 6);
    net_run(net, 200 * MS);
    assert_false(check_all(net, 1, fits, verdicts));
    assert_int_equal(peek(net, 1, 2).used, 6);
    net_free(net);
}

/* The same limit twice in one check is asked for both. */
static void one_limit_twice_in_a_check_is_asked_for_both(void **state)
{
    (void)state;
    struct net *net = cluster(1);
    struct tly_checked checks[2] = {{.check = of(1, 5)}, {.check = of(1, 4)}};
    struct tly_request request = {.kind = TLY_ASK_CHECK_ALL, .checked = checks, .checked_count = 2};
    assert_true(ask(net, 0, request).is_over);
    assert_int_equal(peek(net, 0, 1).used, 0);
    checks[1].check.hits = 3;
    assert_false(ask(net, 0, request).is_over);
    assert_int_equal(peek(net, 0, 1).used, 8);
    net_free(net);
}

/* One by one, on both nodes in turn; how many were admitted. */
static uint64_t ask_both(struct net *net, size_t times)
{
    uint64_t admitted = 0;
    for (size_t i = 0; i < times; i++) {
        struct tly_request one = {.kind = TLY_ASK_CHECK, .check = of(1, 1)};
        admitted += ask(net, i % 2, one).verdict.code == TLY_CODE_OK;
        net_run(net, 100 * MS);
    }
    return admitted;
}

/* What another node has used of its rights cannot be given back here: then both would use them. */
static void only_what_this_node_used_is_given_back_here(void **state)
{
    (void)state;
    struct net *net = cluster(2);
    struct tly_request four = {.kind = TLY_ASK_CHECK, .check = of(1, 4)};
    assert_int_equal(ask(net, 0, four).verdict.code, TLY_CODE_OK);
    assert_int_equal(ask(net, 1, four).verdict.code, TLY_CODE_OK);
    net_run(net, 200 * MS);
    assert_int_equal(peek(net, 0, 1).used, 8);
    assert_int_equal(refund(net, 0, 1, 8), 4);
    assert_int_equal(refund(net, 0, 1, 8), 0);
    net_run(net, 200 * MS);
    assert_int_equal(peek(net, 1, 1).used, 4);
    assert_int_equal(ask_both(net, 20), 4);
    net_free(net);
}

static struct tly_hold_view reserve(struct net *net, size_t node, const char *id, uint32_t hits)
{
    return ask(net, node,
               (struct tly_request){.kind = TLY_ASK_RESERVE,
                                    .check = of(1, hits),
                                    .bytes = tly_slice_text(id),
                                    .number = 2000})
        .hold;
}

static uint64_t commit(struct net *net, size_t node, const char *id, int64_t hits)
{
    struct tly_request request = {.kind = TLY_ASK_COMMIT, .bytes = tly_slice_text(id), .number = hits};
    return ask(net, node, request).hold.charged;
}

static void a_commit_above_what_was_reserved_passes_no_hard_limit(void **state)
{
    (void)state;
    struct net *net = cluster(1);
    assert_int_equal(reserve(net, 0, "a", 6).charged, 6);
    assert_int_equal(reserve(net, 0, "b", 3).state, TLY_HOLD_NONE);
    assert_int_equal(reserve(net, 0, "c", 2).charged, 2);
    assert_int_equal(commit(net, 0, "a", 9), 6);
    assert_int_equal(peek(net, 0, 1).used, 8);
    assert_int_equal(commit(net, 0, "c", 1), 1);
    assert_int_equal(peek(net, 0, 1).used, 7);
    assert_int_equal(reserve(net, 0, "d", 1).charged, 1);
    net_run(net, 3 * S);
    assert_int_equal(peek(net, 0, 1).used, 7); /* nobody settled it */
    net_free(net);
}

/* … and as much more as this node holds the rights to is charged, and said to be. */
static void a_commit_above_what_was_reserved_is_charged_as_far_as_rights_go(void **state)
{
    (void)state;
    struct net *net = cluster(2);
    assert_int_equal(reserve(net, 0, "a", 1).charged, 1);
    assert_int_equal(commit(net, 0, "a", 3), 3);
    assert_int_equal(peek(net, 0, 1).used, 3);
    uint64_t held = peek(net, 0, 1).held;
    assert_int_equal(reserve(net, 0, "b", 1).charged, 1);
    assert_int_equal(commit(net, 0, "b", 100), held - 3);
    assert_int_equal(commit(net, 0, "b", 100), held - 3);
    assert_int_equal(peek(net, 0, 1).used, held);
    assert_int_equal(held + ask_both(net, 20), 8);
    net_free(net);
}

/* A life that ended has spent what it reserved: the next one gives none of it back, for it cannot count it again. */
static void what_a_former_life_reserved_is_not_given_back(void **state)
{
    (void)state;
    struct net *net = cluster(2);
    assert_int_equal(reserve(net, 0, "a", 4).charged, 4);
    net_run(net, 200 * MS);
    net_restart(net, 0, 7000, SIZE_MAX);
    use(net, 0);
    net_run(net, 5 * S);
    assert_int_equal(peek(net, 1, 1).used, 4);
    /* What it had been given besides is lost with it. */
    uint64_t admitted = ask_both(net, 20);
    assert_in_range(admitted, 1, 4);
    assert_int_equal(peek(net, 1, 1).used, 4 + admitted);
    net_free(net);
}

/* ---- windows that were begun before ---- */

static size_t hammer(struct net *net, size_t node, size_t times)
{
    size_t admitted = 0;
    for (size_t i = 0; i < times; i++) {
        struct tly_request one = {.kind = TLY_ASK_CHECK, .check = of(1, 1)};
        admitted += ask(net, node, one).verdict.code == TLY_CODE_OK;
        net_run(net, 50 * MS);
    }
    return admitted;
}

/* Of a window that others have begun a joiner has what it is given, and no share: the giver may have counted that. */
static void who_joins_within_a_window_has_no_share_of_it(void **state)
{
    (void)state;
    struct net *net = cluster(1);
    assert_int_equal(hammer(net, 0, 10), 8);
    (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    use(net, 1);
    net_run(net, 4 * S);
    assert_int_equal(net_peers_up(net, 1), 1);
    assert_int_equal(peek(net, 1, 1).held, 0);
    assert_int_equal(hammer(net, 1, 10), 0);
    run_to_window(net);
    assert_int_equal(peek(net, 1, 1).held, 4);
    net_free(net);
}

/* ---- all of it, at random ---- */

/* What was answered, by windows as the node that was asked numbers them: their clocks need not turn at once. */
struct ledger {
    uint64_t window;
    uint64_t units[NAMES];
};

#define LEDGERS 128

static struct ledger *window_of(struct ledger *ledgers, struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    uint64_t window = view.cluster_ns / (WINDOW_MS * MS);
    struct ledger *ledger = &ledgers[window % LEDGERS];
    claim(ledger->window == 0 || ledger->window == window);
    ledger->window = window;
    return ledger;
}

static void reserve_and_commit(struct net *net, size_t node, uint32_t hits, struct ledger *ledgers)
{
    struct tly_hold_view hold = reserve(net, node, "", hits + 1);
    char id[TLY_HOLD_ID_BYTES_MAX + 1] = {0};
    if (hold.state != TLY_HOLD_OPEN) return;
    memcpy(id, hold.id.p, hold.id.n);
    commit(net, node, id, hits);
    window_of(ledgers, net, node)->units[1] += hits;
}

static void act(struct net *net, struct test_rng *rng, struct ledger *ledgers)
{
    size_t node = test_rng_below(rng, 3), limit = test_rng_below(rng, 2);
    uint32_t some = (uint32_t)test_rng_below(rng, 4);
    struct tly_verdict verdicts[NAMES];
    uint32_t hits[NAMES] = {some, (uint32_t)test_rng_below(rng, 4), 1};
    if (test_rng_chance(rng, 15)) {
        uint64_t units = refund(net, node, limit, some);
        window_of(ledgers, net, node)->units[limit] -= units;
    } else if (test_rng_chance(rng, 15)) {
        reserve_and_commit(net, node, some, ledgers);
    } else if (check_all(net, node, hits, verdicts)) {
        for (size_t i = 0; i < NAMES; i++)
            window_of(ledgers, net, node)->units[i] += hits[i];
    }
    for (size_t i = 0; i < 2; i++)
        claim(window_of(ledgers, net, node)->units[i] <= limits[i].limit);
}

/* How many windows of the smaller limit were full. */
static size_t run_seed(uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct net *net = cluster(3);
    struct ledger ledgers[LEDGERS] = {0};
    size_t full = 0;
    for (size_t i = 0; i < 3000; i++) {
        if (test_rng_chance(&rng, 1)) net_cut(net, test_rng_below(&rng, 3), test_rng_below(&rng, 3));
        if (test_rng_chance(&rng, 1)) net_block(net, 0, 1 + i % 2, test_rng_chance(&rng, 50));
        act(net, &rng, ledgers);
        net_run(net, (1 + test_rng_below(&rng, 100)) * MS);
    }
    for (size_t i = 0; i < LEDGERS; i++)
        full += ledgers[i].units[1] == limits[1].limit;
    net_free(net);
    return full;
}

static void however_it_is_asked_no_window_admits_more(void **state)
{
    (void)state;
    size_t full = 0;
    for (uint64_t seed = test_seed_first(), end = seed + (test_is_long() ? 500 : 5); seed < end; seed++)
        full += run_seed(seed);
    assert_true(full > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_for_want_of_rights_charges_none),
        cmocka_unit_test(one_limit_twice_in_a_check_is_asked_for_both),
        cmocka_unit_test(only_what_this_node_used_is_given_back_here),
        cmocka_unit_test(a_commit_above_what_was_reserved_passes_no_hard_limit),
        cmocka_unit_test(a_commit_above_what_was_reserved_is_charged_as_far_as_rights_go),
        cmocka_unit_test(what_a_former_life_reserved_is_not_given_back),
        cmocka_unit_test(who_joins_within_a_window_has_no_share_of_it),
        cmocka_unit_test(however_it_is_asked_no_window_admits_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
