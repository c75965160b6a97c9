/* Which keys are asked most, and which are fullest: found in a sample, whatever else is asked. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static void check(struct net *net, const char *key, uint32_t hits)
{
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.key = tly_slice_text(key), .rate = {.limit = 1000, .window_ms = 60000}, .hits = hits}};
    struct tly_reply reply;
    request.check.rate.algorithm = TLY_FIXED_WINDOW;
    claim(net_ask(net, 0, request, &reply) == TLY_OK);
}

/* False: it is not among them. */
static bool find(struct net *net, const char *key, struct tly_top_view *found)
{
    size_t cursor = 0;
    while (tly_engine_top(net_node(net, 0), net_time(net, 0), &cursor, found))
        if (tly_slice_equal(found->key, tly_slice_text(key))) return true;
    return false;
}

static struct net *alone(void)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_run(net, 2 * S);
    return net;
}

static void few_checks_are_all_looked_at(void **state)
{
    (void)state;
    struct net *net = alone();
    struct tly_top_view view;
    for (size_t i = 0; i < 100; i++) {
        check(net, "rare", 1);
        check(net, "often", 1);
        check(net, "often", 1);
        net_run(net, 100 * MS);
    }
    assert_true(find(net, "rl:a:rare", &view));
    assert_in_range(view.checks_per_1000s, 9000, 11000);
    assert_int_equal(view.used, 100);
    assert_int_equal(view.limit, 1000);
    assert_true(find(net, "rl:a:often", &view));
    assert_in_range(view.checks_per_1000s, 18000, 22000);
    assert_int_equal(view.used, 200);
    /* When nobody comes any more it cools down, and what was used is over with its window. */
    net_run(net, 61 * S);
    assert_true(find(net, "rl:a:often", &view));
    assert_int_equal(view.checks_per_1000s, 0);
    assert_int_equal(view.used, 0);
    net_free(net);
}

/* Thousands of keys that come once, and one that is 5 % of all: it is found, with about its rate. */
static void what_is_asked_most_is_found_among_thousands(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(7);
    struct net *net = alone();
    struct tly_top_view view;
    for (size_t ms = 0; ms < 5000; ms++) {
        for (size_t i = 0; i < 20; i++) {
            char key[32];
            (void)snprintf(key, sizeof key, "k%zu", (size_t)test_rng_below(&rng, 100000));
            check(net, i == 0 ? "hot" : key, 0);
        }
        net_run(net, MS);
    }
    assert_true(find(net, "rl:a:hot", &view));
    assert_in_range(view.checks_per_1000s, 600000, 1500000);
    size_t cursor = 0, hotter = 0;
    while (tly_engine_top(net_node(net, 0), net_time(net, 0), &cursor, &view))
        hotter += view.checks_per_1000s > 600000;
    assert_int_equal(hotter, 1);
    net_free(net);
}

static void without_memory_a_check_is_answered_all_the_same(void **state)
{
    (void)state;
    bool failed = true;
    for (size_t countdown = 0; failed; countdown++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_engine_config config = {.mem = test_failing_mem(&failing),
                                           .name = tly_slice_text("n"),
                                           .cluster = tly_slice_text("c"),
                                           .now = {.wall_ns = NET_WALL_START, .mono_ns = 1}};
        struct tly_engine *engine;
        struct tly_reply reply;
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 9, config.now), TLY_OK);
        failing = (struct test_failing){.countdown = countdown};
        struct tly_request request = {
            .kind = TLY_ASK_CHECK,
            .now = config.now,
            .check = {.key = tly_slice_text("k"), .rate = {.limit = 5, .window_ms = 1000}, .hits = 0}};
        assert_int_equal(tly_engine_ask(engine, &request, &reply), TLY_OK);
        failed = failing.failed;
        tly_engine_free(engine);
    }
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_checks_are_all_looked_at),
        cmocka_unit_test(what_is_asked_most_is_found_among_thousands),
        cmocka_unit_test(without_memory_a_check_is_answered_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
