/* Several limits in one check, and giving back. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define FEW 6

static const struct tly_rate fixed = {.limit = 10, .window_ms = 10000, .algorithm = TLY_FIXED_WINDOW};
static const struct tly_rate sliding = {.limit = 10, .window_ms = 10000, .algorithm = TLY_SLIDING_WINDOW};
static const struct tly_rate bucket = {.limit = 10, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};

static struct tly_check of(const char *key, struct tly_rate rate, uint32_t hits)
{
    return (struct tly_check){.key = tly_slice_text(key), .rate = rate, .hits = hits};
}

static enum tly_result ask(struct net *net, enum tly_request_kind kind, struct tly_checked *checked,
                           size_t count, bool *is_over)
{
    struct tly_request request = {.kind = kind, .checked = checked, .checked_count = count};
    struct tly_reply reply;
    enum tly_result result = net_ask(net, 0, request, &reply);
    *is_over = reply.is_over;
    return result;
}

static uint64_t left_at(struct net *net, size_t node, struct tly_check check)
{
    struct tly_reply reply;
    check.hits = 0;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = check};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict.remaining;
}

static uint64_t left(struct net *net, struct tly_check check)
{
    return left_at(net, 0, check);
}

static uint64_t refund(struct net *net, struct tly_check check, uint64_t at_ms)
{
    struct tly_request request = {.kind = TLY_ASK_REFUND, .check = check, .number = (int64_t)at_ms};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    assert_int_equal(reply.verdict.remaining, left(net, check));
    return reply.refunded;
}

static struct net *alone(void)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    return net;
}

static void a_refused_multi_check_charges_none(void **state)
{
    (void)state;
    static const struct tly_rate *const rates[] = {&fixed, &sliding, &bucket};
    for (size_t i = 0; i < 3; i++) {
        struct net *net = alone();
        struct tly_checked checked[2] = {{.check = of("user", *rates[i], 4)}, {.check = of("all", fixed, 4)}};
        bool is_over;
        for (size_t n = 0; n < 2; n++) {
            assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
            assert_false(is_over);
            assert_int_equal(checked[0].verdict.remaining, 6 - 4 * n);
        }
        checked[0].check.hits = 1;
        assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
        assert_true(is_over);
        assert_int_equal(checked[0].verdict.code, TLY_CODE_OK);
        assert_int_equal(checked[0].verdict.remaining, 2);
        assert_int_equal(checked[1].verdict.code, TLY_CODE_OVER);
        assert_int_equal(checked[1].verdict.retry_after_ms, checked[1].verdict.reset_ms);
        assert_int_equal(left(net, checked[0].check), 2);
        /* It says of itself what it has, without the hits that it was not charged. */
        char why[TLY_WHY_BYTES_MAX];
        (void)tly_reason_put(&checked[0].verdict, 1, why);
        assert_string_equal(why, "8 used + 0 hits of 10");
        struct tly_stats stats = net_stats(net, 0);
        assert_int_equal(stats.checks_over, 1);
        checked[1].check.hits = 2;
        assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
        assert_false(is_over);
        net_free(net);
    }
}

static void charge_each_charges_what_has_room(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_checked checked[2] = {{.check = of("user", fixed, 4)}, {.check = of("all", fixed, 11)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_EACH, checked, 2, &is_over), TLY_OK);
    assert_true(is_over);
    assert_int_equal(left(net, checked[0].check), 6);
    assert_int_equal(left(net, checked[1].check), 10);
    net_free(net);
}

static void the_same_count_twice_is_asked_for_both(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_checked checked[3] = {
        {.check = of("k", fixed, 6)}, {.check = of("other", fixed, 1)}, {.check = of("k", fixed, 5)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 3, &is_over), TLY_OK);
    assert_true(is_over);
    assert_int_equal(left(net, checked[0].check), 10);
    assert_int_equal(left(net, checked[1].check), 10);
    checked[2].check.hits = 4;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 3, &is_over), TLY_OK);
    assert_false(is_over);
    assert_int_equal(left(net, checked[0].check), 0);
    checked[0].check = checked[2].check = of("huge", fixed, UINT32_MAX);
    checked[0].check.rate.limit = checked[2].check.rate.limit = UINT32_MAX;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 3, &is_over), TLY_OK);
    assert_true(is_over);
    assert_int_equal(checked[2].verdict.code, TLY_CODE_OVER);
    assert_int_equal(left(net, checked[0].check), UINT32_MAX);
    net_free(net);
}

static void what_cannot_be_asked_charges_none(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_checked checked[2] = {{.check = of("k", fixed, 6)}, {.check = of("", fixed, 1)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_BAD_KEY);
    assert_int_equal(left(net, checked[0].check), 10);
    /* A limit that does not exist is unknown, and refuses nothing. */
    checked[1].check = (struct tly_check){.limit = tly_slice_text("nobody"), .hits = 1};
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    assert_int_equal(checked[1].result, TLY_NO_LIMIT);
    assert_int_equal(checked[1].verdict.code, TLY_CODE_UNKNOWN);
    assert_int_equal(left(net, checked[0].check), 4);
    net_free(net);
}

static void a_shadow_limit_refuses_no_other(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "shadow", .rate = {.limit = 2, .window_ms = 10000}, .shadow = true};
    assert_non_null(rules);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
    struct tly_checked checked[2] = {{.check = {.limit = tly_slice_text("shadow"), .hits = 3}},
                                     {.check = of("k", fixed, 6)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    assert_true(checked[0].verdict.shadow);
    assert_int_equal(left(net, checked[1].check), 4);
    assert_int_equal(left(net, checked[0].check), 2);
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_true(is_over);
    net_free(net);
}

static uint64_t settled(struct net *net, const char *id, struct tly_check check)
{
    struct tly_reply reply;
    assert_int_equal(
        net_ask(net, 0,
                (struct tly_request){
                    .kind = TLY_ASK_RESERVE, .check = check, .bytes = tly_slice_text(id), .number = 60000},
                &reply),
        TLY_OK);
    return reply.hold.charged;
}

/* What was only looked at, or given back at once, is none of its checks: its series add up to those of all. */
static void each_limit_counts_the_checks_that_it_was_charged_for(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule user = {.name = "user", .rate = fixed}, all = {.name = "all", .rate = fixed},
                    shadow = {.name = "shadow", .rate = {.limit = 2, .window_ms = 10000}, .shadow = true};
    assert_int_equal(tly_rules_add(rules, &user), TLY_OK);
    assert_int_equal(tly_rules_add(rules, &all), TLY_OK);
    assert_int_equal(tly_rules_add(rules, &shadow), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
    const struct tly_rule_count *of_user = tly_rules_find(rules, tly_slice_text("user"))->count,
                                *of_all = tly_rules_find(rules, tly_slice_text("all"))->count,
                                *of_shadow = tly_rules_find(rules, tly_slice_text("shadow"))->count;
    struct tly_checked checked[3] = {{.check = {.limit = tly_slice_text("user"), .hits = 4}},
                                     {.check = {.limit = tly_slice_text("all"), .hits = 5}},
                                     {.check = {.limit = tly_slice_text("shadow"), .hits = 2}}};
    bool is_over;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 3, &is_over), TLY_OK);
        assert_false(is_over);
    }
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_true(is_over);
    assert_int_equal(of_user->admitted, 2);
    assert_int_equal(of_user->refused, 1);
    assert_int_equal(of_all->admitted, 2);
    assert_int_equal(of_all->refused, 1);
    assert_int_equal(of_shadow->admitted, 1);
    assert_int_equal(of_shadow->would_refuse, 1);
    struct tly_stats stats = net_stats(net, 0);
    assert_int_equal(stats.checks_ok, 6); /* shadow's too: it refuses nobody */
    assert_int_equal(stats.checks_over, 2);
    for (size_t i = 0; i < 3; i++) /* asked again it is the same reservation */
        assert_int_equal(settled(net, "one", (struct tly_check){.limit = tly_slice_text("user"), .hits = 1}),
                         1);
    assert_int_equal(of_user->admitted, 3);
    assert_int_equal(net_stats(net, 0).checks_ok, 7);
    /* A look is no check. */
    for (size_t i = 0; i < 3; i++)
        (void)left(net, checked[i].check);
    (void)left(net, of("k", fixed, 1));
    assert_int_equal(of_user->admitted, 3);
    assert_int_equal(of_shadow->admitted, 1);
    assert_int_equal(net_stats(net, 0).checks_ok, 7);
    net_free(net);
}

static struct tly_check of_plan(const char *plan, uint32_t hits)
{
    static struct tly_field fields[2];
    struct tly_field *field = &fields[plan[0] == 'p'];
    *field = (struct tly_field){tly_slice_text("plan"), tly_slice_text(plan)};
    return (struct tly_check){
        .limit = tly_slice_text("paid"), .fields = field, .field_count = 1, .hits = hits};
}

/* Alone it would admit them, however many: so it does beside another, and what it does not count takes no room. */
static void a_limit_for_others_refuses_nothing(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "paid", .rate = {5, 10000, 0, TLY_FIXED_WINDOW}};
    assert_non_null(rules);
    assert_true(tly_rule_add_match(&rule, "plan", "paid"));
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
    struct tly_checked checked[2] = {{.check = of_plan("free", 7)}, {.check = of("k", fixed, 7)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    assert_int_equal(checked[0].verdict.reason, TLY_REASON_UNMATCHED);
    assert_int_equal(left(net, checked[1].check), 3);
    checked[0].check = of_plan("free", 3);
    checked[1].check = of_plan("paid", 4);
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    assert_int_equal(left(net, checked[1].check), 1);
    (void)left(net, of_plan("free", 0));
    assert_int_equal(net_stats(net, 0).checks_unmatched, 2);
    net_free(net);
}

/* … and so does one that has no room to count them. */
static void a_limit_without_room_refuses_nothing(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "paid", .rate = {5, 10000, 0, TLY_FIXED_WINDOW}, .keys_max = 1};
    assert_non_null(rules);
    strcpy(rule.field[rule.field_count++], "plan");
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
    struct tly_checked checked[2] = {{.check = of_plan("paid", 1)}, {.check = of("k", fixed, 1)}};
    bool is_over;
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    checked[0].check = of_plan("free", 7);
    assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    assert_false(is_over);
    assert_int_equal(checked[0].verdict.reason, TLY_REASON_KEYS);
    assert_int_equal(left(net, checked[1].check), 8);
    net_free(net);
}

/* Against a model of plain numbers: all of it is taken, or nothing moves. */
static void random_checks_take_all_or_nothing(void **state)
{
    (void)state;
    static const char *const keys[FEW] = {"a", "b", "c", "d", "e", "f"};
    size_t admitted = 0, refused = 0;
    for (uint64_t seed = test_seed_first(), last = seed + 20; seed < last; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct net *net = alone();
        uint64_t room[FEW];
        struct tly_rate rates[FEW];
        for (size_t k = 0; k < FEW; k++) {
            rates[k] = k % 3 == 0 ? fixed : k % 3 == 1 ? sliding : bucket;
            rates[k].limit = room[k] = 10 + 10 * test_rng_below(&rng, 4);
        }
        for (size_t step = 0; step < 60; step++) {
            struct tly_checked checked[FEW];
            uint64_t wanted[FEW] = {0};
            size_t count = 1 + (size_t)test_rng_below(&rng, FEW);
            for (size_t i = 0; i < count; i++) {
                size_t k = (size_t)test_rng_below(&rng, FEW);
                checked[i].check = of(keys[k], rates[k], (uint32_t)test_rng_below(&rng, 5));
                wanted[k] += checked[i].check.hits;
            }
            bool fits = true, is_over;
            for (size_t k = 0; k < FEW; k++)
                fits = fits && wanted[k] <= room[k];
            claim(ask(net, TLY_ASK_CHECK_ALL, checked, count, &is_over) == TLY_OK);
            claim(is_over == !fits);
            admitted += fits;
            refused += !fits;
            for (size_t k = 0; k < FEW; k++) {
                if (fits) room[k] -= wanted[k];
                claim(left(net, of(keys[k], rates[k], 0)) == room[k]);
            }
        }
        net_free(net);
    }
    claim(admitted > 100 && refused > 100);
}

/* The last one has no room in memory, after the others were charged. */
static void a_full_store_charges_none(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_engine_config config = {.memory_max = 8u << 20, .on_full = TLY_ON_FULL_REFUSE};
    net_add_with(net, config, 0);
    char key[64];
    struct tly_checked checked[2] = {{.check = of("old", fixed, 1)}};
    bool is_over = false;
    size_t i = 0;
    for (; !is_over && i < 1000000; i++) {
        (void)snprintf(key, sizeof key, "a-new-key-%zu", i);
        checked[1].check = of(key, fixed, 1);
        checked[0].check.rate.limit = 1000000;
        assert_int_equal(ask(net, TLY_ASK_CHECK_ALL, checked, 2, &is_over), TLY_OK);
    }
    assert_true(is_over);
    assert_true(checked[1].verdict.full);
    assert_int_equal(left(net, checked[0].check), 1000000 - (i - 1));
    struct tly_stats stats = net_stats(net, 0);
    assert_int_equal(stats.checks_ok, 2 * (i - 1));
    net_free(net);
}

/* ---- giving back ---- */

static void a_refund_stops_at_what_was_charged(void **state)
{
    (void)state;
    static const struct tly_rate *const rates[] = {&fixed, &sliding, &bucket};
    for (size_t i = 0; i < 3; i++) {
        struct net *net = alone();
        struct tly_check check = of("k", *rates[i], 5);
        assert_int_equal(refund(net, check, 0), 0);
        assert_true(net_check(net, 0, "k", "10/10s", rates[i]->algorithm));
        assert_true(net_check(net, 0, "k", "10/10s", rates[i]->algorithm));
        assert_true(net_check(net, 0, "k", "10/10s", rates[i]->algorithm));
        check.hits = 2;
        assert_int_equal(refund(net, check, 0), 2);
        assert_int_equal(left(net, check), 9);
        check.hits = UINT32_MAX;
        assert_int_equal(refund(net, check, 0), 1);
        assert_int_equal(left(net, check), 10);
        assert_int_equal(refund(net, check, 0), 0);
        net_free(net);
    }
}

static void a_refund_goes_to_the_window_it_was_charged_in(void **state)
{
    (void)state;
    struct net *net = alone();
    uint64_t start_ms = net_time(net, 0).wall_ns / MS;
    struct tly_check slides = of("s", sliding, 10), stands = of("f", fixed, 10);
    struct tly_reply reply;
    struct tly_request charge = {.kind = TLY_ASK_CHECK, .check = slides};
    assert_int_equal(net_ask(net, 0, charge, &reply), TLY_OK);
    charge.check = stands;
    assert_int_equal(net_ask(net, 0, charge, &reply), TLY_OK);
    net_run(net, 15000 * MS - net_time(net, 0).wall_ns % (10000 * MS));
    assert_int_equal(left(net, slides), 5);
    slides.hits = 4;
    assert_int_equal(refund(net, slides, 0), 0);
    assert_int_equal(refund(net, slides, start_ms), 4);
    assert_int_equal(left(net, slides), 7);
    /* What a fixed window charged is over with it; nor is there a window that has not begun. */
    assert_int_equal(refund(net, stands, start_ms), 0);
    assert_int_equal(refund(net, stands, start_ms + 100000), 0);
    assert_int_equal(left(net, stands), 10);
    net_run(net, 10000 * MS);
    assert_int_equal(refund(net, slides, start_ms), 0);
    net_free(net);
}

/* As if they had never been taken, though a part has flowed back by then: else a bucket of one unit would be given nothing. */
static void a_bucket_is_given_back_all_that_was_taken(void **state)
{
    (void)state;
    static const struct tly_rate one = {.limit = 1, .window_ms = 10000, .algorithm = TLY_TOKEN_BUCKET};
    struct net *net = alone();
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = of("b", bucket, 5)};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    net_run(net, 1500 * MS);
    assert_int_equal(refund(net, of("b", bucket, 2), 0), 2);
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    assert_int_equal(reply.verdict.reset_ms, 6500);
    assert_int_equal(refund(net, of("b", bucket, 10), 0), 7);
    assert_int_equal(left(net, of("b", bucket, 0)), 10);
    request.check = of("one", one, 1);
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    net_run(net, 10 * MS);
    assert_int_equal(refund(net, of("one", one, 1), 0), 1);
    assert_int_equal(left(net, of("one", one, 0)), 1);
    assert_int_equal(refund(net, of("one", one, 1), 0), 0);
    net_free(net);
}

static void a_refund_is_heard_elsewhere(void **state)
{
    (void)state;
    static const struct tly_rate *const rates[] = {&fixed, &sliding, &bucket};
    for (size_t i = 0; i < 3; i++) {
        struct net *net = net_new(MS);
        struct tly_rate rate = *rates[i];
        net_add(net, 0);
        net_add(net, 1);
        net_run(net, 1000 * MS);
        rate.window_ms = 86400000;
        struct tly_check check = of("k", rate, 8);
        struct tly_reply reply;
        struct tly_request charge = {.kind = TLY_ASK_CHECK, .check = check};
        assert_int_equal(net_ask(net, 0, charge, &reply), TLY_OK);
        charge.check.hits = 1;
        assert_int_equal(net_ask(net, 1, charge, &reply), TLY_OK);
        net_run(net, 1000 * MS);
        assert_int_equal(left_at(net, 1, check), 1);
        assert_int_equal(refund(net, check, 0), 8);
        net_run(net, 1000 * MS);
        assert_int_equal(left_at(net, 1, check), 9);
        assert_int_equal(left_at(net, 0, check), 9);
        net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_multi_check_charges_none),
        cmocka_unit_test(charge_each_charges_what_has_room),
        cmocka_unit_test(the_same_count_twice_is_asked_for_both),
        cmocka_unit_test(what_cannot_be_asked_charges_none),
        cmocka_unit_test(a_shadow_limit_refuses_no_other),
        cmocka_unit_test(each_limit_counts_the_checks_that_it_was_charged_for),
        cmocka_unit_test(a_limit_for_others_refuses_nothing),
        cmocka_unit_test(a_limit_without_room_refuses_nothing),
        cmocka_unit_test(random_checks_take_all_or_nothing),
        cmocka_unit_test(a_full_store_charges_none),
        cmocka_unit_test(a_refund_stops_at_what_was_charged),
        cmocka_unit_test(a_refund_goes_to_the_window_it_was_charged_in),
        cmocka_unit_test(a_bucket_is_given_back_all_that_was_taken),
        cmocka_unit_test(a_refund_is_heard_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
