/* Defects that other limiters have, each by its name; and that a shadow tells the truth. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "wire/stream.h"

#include <stdio.h>

#define MS UINT64_C(1000000)

static void use_rule(struct net *net, size_t node, struct tly_rate rate, bool shadow)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "r", .field = {"k"}, .field_count = 1, .rate = rate, .shadow = shadow};
    assert_non_null(rules);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, node), rules);
}

static enum tly_result check(struct net *net, size_t node, const char *key, uint32_t hits,
                             struct tly_verdict *verdict)
{
    struct tly_field field = {tly_slice_text("k"), tly_slice_text(key)};
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.limit = tly_slice_text("r"), .fields = &field, .field_count = 1, .hits = hits}};
    struct tly_reply reply;
    enum tly_result result = net_ask(net, node, request, &reply);
    *verdict = reply.verdict;
    return result;
}

/* No rule and no counter of that name here: it is stored, the session stays up, and it counts when the rule comes. */
static void unknown_key_from_a_peer_is_fine(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 10, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW};
    struct tly_verdict verdict;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    size_t connections = net_connections(net);
    use_rule(net, 0, rate, false);
    assert_int_equal(check(net, 0, "x", 4, &verdict), TLY_OK);
    assert_int_equal(net_add_to(net, 0, "a-counter", 5), 5);
    net_run(net, 1000 * MS);
    assert_int_equal(check(net, 1, "x", 1, &verdict), TLY_NO_LIMIT);
    assert_int_equal(verdict.code, TLY_CODE_UNKNOWN);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    assert_int_equal(net_read(net, 1, "a-counter"), 5);
    assert_int_equal(net_peers_up(net, 1), 1);
    assert_int_equal(net_connections(net), connections);
    struct tly_stats stats = net_stats(net, 1);
    assert_int_equal(stats.sessions_broken + stats.dots_malformed + stats.dots_stale, 0);
    use_rule(net, 1, rate, false);
    assert_int_equal(check(net, 1, "x", 1, &verdict), TLY_OK);
    assert_int_equal(verdict.remaining, 5);
    net_free(net);
}

/* What a limit would refuse in shadow it refuses when it is meant, of the same trace. */
static void a_shadow_refuses_what_a_real_run_does(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b", "c"};
    size_t refused = 0, admitted = 0;
    for (enum tly_algorithm algorithm = TLY_SLIDING_WINDOW; algorithm <= TLY_TOKEN_BUCKET; algorithm++) {
        struct test_rng rng = test_rng_of(test_seed_first() + algorithm);
        struct tly_rate rate = {.limit = 10, .window_ms = 1000, .algorithm = algorithm};
        struct net *net = net_new(MS);
        net_add(net, 0);
        net_add(net, 0);
        use_rule(net, 0, rate, false);
        use_rule(net, 1, rate, true);
        for (size_t i = 0; i < 2000; i++) {
            const char *key = keys[test_rng_below(&rng, 3)];
            uint32_t hits = (uint32_t)test_rng_below(&rng, 4);
            struct tly_verdict real, shadow;
            claim(check(net, 0, key, hits, &real) == TLY_OK);
            claim(check(net, 1, key, hits, &shadow) == TLY_OK);
            claim(shadow.code == TLY_CODE_OK && !real.shadow);
            claim(shadow.shadow == (real.code == TLY_CODE_OVER));
            claim(shadow.used == real.used && shadow.retry_after_ms == real.retry_after_ms);
            refused += shadow.shadow;
            admitted += !shadow.shadow;
            if (test_rng_chance(&rng, 30)) net_run(net, test_rng_below(&rng, 300) * MS);
        }
        net_free(net);
    }
    claim(refused > 300 && admitted > 300);
}

/* ---- H14 ---- */

/* One part at most, and what came with it: some are joined in a microsecond. */
#define DOTS_AT_ONCE (2 * TLY_PART_ROWS_MAX)

struct arrivals {
    struct net *net;
    uint64_t before;
    uint64_t dots_most, admitted;
};

/* Between any two things that arrive a check is answered; so it waits for what one of them brings. */
static void check_between(void *context, size_t from, size_t to, uint64_t conn, uint8_t *bytes, size_t n)
{
    struct arrivals *arrivals = context;
    struct tly_verdict verdict;
    (void)from;
    (void)conn;
    (void)bytes;
    (void)n;
    if (to != 1) return;
    uint64_t dots = net_stats(arrivals->net, 1).dots_received, more = dots - arrivals->before;
    if (more > arrivals->dots_most) arrivals->dots_most = more;
    arrivals->before = dots;
    assert_int_equal(check(arrivals->net, 1, "checked", 1, &verdict), TLY_OK);
    arrivals->admitted += verdict.code == TLY_CODE_OK;
}

static void checks_do_not_wait_for_merges(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 1000000000, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW};
    size_t keys = test_is_long() ? 1000000 : 60000;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    use_rule(net, 1, rate, false);
    struct arrivals arrivals = {.net = net, .before = net_stats(net, 1).dots_received};
    net_listen(net, check_between, &arrivals);
    for (size_t i = 0; i < keys; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "c%zu", i);
        (void)net_add_to(net, 0, key, 1);
        if (i % 5000 == 4999) net_run(net, 50 * MS);
    }
    net_run(net, 10000 * MS);
    net_listen(net, NULL, NULL);
    assert_true(net_stats(net, 1).dots_received >= keys);
    assert_true(arrivals.admitted > keys / 5000);
    if (arrivals.dots_most > DOTS_AT_ONCE) fail_msg("%zu dots at once", (size_t)arrivals.dots_most);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_do_not_wait_for_merges),
        cmocka_unit_test(unknown_key_from_a_peer_is_fine),
        cmocka_unit_test(a_shadow_refuses_what_a_real_run_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
