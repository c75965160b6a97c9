/* Counters with bounds: raised by checks, lowered by refunds, never beyond what they may be. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static void use(struct net *net, size_t node, int64_t min, uint64_t max, enum tly_on_partition on_partition)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "seats", .field_count = 1, .field = {"room"}};
    rule.rate =
        (struct tly_rate){.limit = max, .min = min, .algorithm = TLY_COUNTER, .on_partition = on_partition};
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, node), rules);
}

static struct net *some(size_t count, int64_t min, uint64_t max)
{
    struct net *net = net_new(MS);
    for (size_t i = 0; i < count; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i > 0 ? 1 : 0);
        use(net, i, min, max, TLY_PARTITION_OPEN);
    }
    net_run(net, 2 * S);
    return net;
}

static struct tly_reply ask(struct net *net, size_t node, enum tly_request_kind kind, uint32_t hits)
{
    struct tly_field field = {tly_slice_text("room"), tly_slice_text("7")};
    struct tly_request request = {
        .kind = kind,
        .check = {.limit = tly_slice_text("seats"), .fields = &field, .field_count = 1, .hits = hits},
        .number = kind == TLY_ASK_RESERVE ? 5000 : 0};
    struct tly_reply reply;
    claim(net_ask(net, node, request, &reply) == TLY_OK);
    return reply;
}

static bool push(struct net *net, size_t node, uint32_t hits)
{
    return ask(net, node, TLY_ASK_CHECK, hits).verdict.code == TLY_CODE_OK;
}

static uint64_t lower(struct net *net, size_t node, uint32_t hits)
{
    return ask(net, node, TLY_ASK_REFUND, hits).refunded;
}

static void it_stays_within_its_bounds(void **state)
{
    (void)state;
    struct net *net = some(1, -3, 10);
    assert_true(push(net, 0, 8));
    assert_false(push(net, 0, 3));
    struct tly_verdict over = ask(net, 0, TLY_ASK_CHECK, 3).verdict;
    assert_int_equal(over.limit, 10);
    assert_int_equal(over.used, 8);
    assert_int_equal(over.remaining, 2);
    assert_int_equal(over.reason, TLY_REASON_LIMIT);
    assert_true(over.retry_after_ms == UINT64_MAX);
    char why[TLY_WHY_BYTES_MAX];
    (void)tly_reason_put(&over, 3, why);
    assert_string_equal(why, "8 used + 3 hits of 10");
    assert_true(push(net, 0, 2));
    assert_false(push(net, 0, 1));
    assert_int_equal(lower(net, 0, 4), 4);
    assert_int_equal(lower(net, 0, 100), 9); /* 6 to -3 */
    assert_int_equal(lower(net, 0, 1), 0);
    assert_int_equal(ask(net, 0, TLY_ASK_CHECK, 0).verdict.remaining, 13);
    struct tly_verdict below = ask(net, 0, TLY_ASK_CHECK, 0).verdict;
    assert_int_equal(below.used, 0);
    (void)tly_reason_put(&below, 0, why);
    assert_string_equal(why, "-3 used + 0 hits of 10");
    below = ask(net, 0, TLY_ASK_CHECK, 2).verdict;
    (void)tly_reason_put(&below, 2, why);
    assert_string_equal(why, "-3 used + 2 hits of 10");
    assert_true(push(net, 0, 11));
    assert_false(push(net, 0, 1));
    (void)ask(net, 0, TLY_ASK_RESET, 0);
    assert_true(push(net, 0, 10));
    net_free(net);
}

/* It has no window: what was counted is there as long as nobody lowers it, over restarts too, and is no bucket that fills again. */
static void it_never_ends_by_itself(void **state)
{
    (void)state;
    struct net *net = some(2, 0, 10);
    assert_true(push(net, 0, 6));
    net_run(net, 3 * 86400 * S);
    assert_int_equal(ask(net, 1, TLY_ASK_CHECK, 0).verdict.used, 6);
    net_restart(net, 0, 77, SIZE_MAX);
    use(net, 0, 0, 10, TLY_PARTITION_OPEN);
    net_run(net, 30 * S);
    assert_int_equal(ask(net, 0, TLY_ASK_CHECK, 0).verdict.used, 6);
    assert_int_equal(lower(net, 0, 2), 2);
    net_run(net, S);
    assert_int_equal(ask(net, 1, TLY_ASK_CHECK, 0).verdict.used, 4);
    assert_true(push(net, 1, 6));
    net_run(net, S);
    assert_false(push(net, 0, 1));
    net_free(net);
}

static void at_a_cut_it_is_passed_by_what_is_published(void **state)
{
    (void)state;
    for (size_t is_closed = 0; is_closed < 2; is_closed++) {
        struct net *net = some(2, -5, 10);
        assert_true(push(net, 0, 4));
        net_run(net, S);
        for (size_t i = 0; i < 2; i++)
            use(net, i, -5, 10, is_closed ? TLY_PARTITION_CLOSED : TLY_PARTITION_OPEN);
        net_block(net, 0, 1, true);
        net_run(net, 30 * S);
        uint64_t sum = 4;
        for (size_t i = 0; i < 2; i++) {
            struct tly_verdict verdict = ask(net, i, TLY_ASK_CHECK, 6).verdict;
            assert_int_equal(verdict.bound, 15);
            assert_int_equal(verdict.code, is_closed ? TLY_CODE_OVER : TLY_CODE_OK);
            assert_int_equal(verdict.reason, is_closed ? TLY_REASON_PARTITION : TLY_REASON_NONE);
            /* It will be open again; what is full stays full. */
            assert_int_equal(verdict.retry_after_ms, is_closed ? 300 : 0);
            assert_true(ask(net, i, TLY_ASK_CHECK, 7).verdict.retry_after_ms == UINT64_MAX);
            sum += verdict.code == TLY_CODE_OK ? 6 : 0;
        }
        net_block(net, 0, 1, false);
        net_run(net, 40 * S);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(ask(net, i, TLY_ASK_CHECK, 0).verdict.used, sum);
            assert_int_equal(ask(net, i, TLY_ASK_CHECK, 0).verdict.remaining, is_closed ? 6 : 0);
        }
        net_free(net);
    }
}

static void what_is_reserved_of_it_is_settled(void **state)
{
    (void)state;
    struct net *net = some(1, 0, 10);
    struct tly_hold_view hold = ask(net, 0, TLY_ASK_RESERVE, 6).hold;
    assert_int_equal(hold.charged, 6);
    struct tly_reply reply;
    /* A commit above it goes to the bound and no further. */
    struct tly_request commit = {.kind = TLY_ASK_COMMIT, .bytes = hold.id, .number = 50};
    assert_int_equal(net_ask(net, 0, commit, &reply), TLY_OK);
    assert_int_equal(ask(net, 0, TLY_ASK_CHECK, 0).verdict.used, 10);
    assert_int_equal(lower(net, 0, 7), 7);
    (void)ask(net, 0, TLY_ASK_RESERVE, 4);
    net_run(net, 6 * S);
    assert_int_equal(ask(net, 0, TLY_ASK_CHECK, 0).verdict.used, 3);
    net_free(net);
}

/* Random raising and lowering on three nodes, each heard before the next: as a number that is kept by hand. */
static void random_steps_agree_with_a_number(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = some(3, -20, 50);
    int64_t value = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t node = test_rng_below(&rng, 3);
        uint32_t hits = (uint32_t)test_rng_below(&rng, 30);
        if (test_rng_chance(&rng, 50)) {
            bool fits = value + hits <= 50;
            claim(push(net, node, hits) == fits);
            value += fits ? hits : 0;
        } else {
            int64_t room = value + 20, back = hits < room ? hits : room;
            claim(lower(net, node, hits) == (uint64_t)back);
            value -= back;
        }
        net_run(net, 40 * MS);
    }
    net_free(net);
}

static void the_greatest_numbers_do_not_overflow(void **state)
{
    (void)state;
    struct net *net = some(1, INT64_MIN + 1, INT64_MAX);
    for (size_t i = 0; i < 3; i++)
        assert_true(push(net, 0, UINT32_MAX));
    assert_int_equal(lower(net, 0, UINT32_MAX), UINT32_MAX);
    assert_true(ask(net, 0, TLY_ASK_CHECK, 0).verdict.remaining ==
                (uint64_t)INT64_MAX - 2 * (uint64_t)UINT32_MAX);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stays_within_its_bounds),
        cmocka_unit_test(it_never_ends_by_itself),
        cmocka_unit_test(at_a_cut_it_is_passed_by_what_is_published),
        cmocka_unit_test(what_is_reserved_of_it_is_settled),
        cmocka_unit_test(random_steps_agree_with_a_number),
        cmocka_unit_test(the_greatest_numbers_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
