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

/* ---- a follower that is far behind ---- */

#define BEHIND_KEYS 1000
#define BEHIND_CHANGES 1000000

/* It hears nothing while a million changes are made: what comes then is each key's last count, on the connection that there was. */
static void lagging_follower_is_not_dropped(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    char key[24];
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    assert_int_equal(net_peers_up(net, 0), 1);
    struct tly_stats before = net_stats(net, 1);
    net_pause(net, 1, true);
    for (size_t i = 0; i < BEHIND_CHANGES; i++) {
        (void)snprintf(key, sizeof key, "c%zu", i % BEHIND_KEYS);
        (void)net_add_to(net, 0, key, 1);
        if (i % (10 * BEHIND_KEYS) == 0) net_run(net, 20 * MS);
    }
    assert_int_equal(net_read(net, 1, "c0"), INT64_MIN);
    net_pause(net, 1, false);
    net_run(net, 30000 * MS);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    for (size_t i = 0; i < BEHIND_KEYS; i++) {
        (void)snprintf(key, sizeof key, "c%zu", i);
        assert_int_equal(net_read(net, 1, key), BEHIND_CHANGES / BEHIND_KEYS);
    }
    struct tly_stats stats = net_stats(net, 1);
    assert_int_equal(stats.sessions_up, before.sessions_up);
    assert_int_equal(net_connections(net), 1);
    /* What was on its way before nothing more was taken, and then each key once. */
    assert_in_range(stats.dots_received - before.dots_received, BEHIND_KEYS, BEHIND_CHANGES / 20);
    net_free(net);
}

/* ---- clocks ---- */

static struct tly_verdict check_window(struct net *net, size_t node, uint32_t hits)
{
    struct tly_verdict verdict;
    assert_int_equal(check(net, node, "x", hits, &verdict), TLY_OK);
    return verdict;
}

/* Three nodes, of which the clock of one is a whole window off; each counts, and each sees the sum of all. */
static void claim_all_count(int64_t shift_ns)
{
    struct tly_rate rate = {.limit = 100, .window_ms = 10000, .algorithm = TLY_FIXED_WINDOW};
    struct net *net = net_new(MS);
    for (size_t i = 0; i < 3; i++) {
        net_add(net, i == 0 ? 0 : 1);
        net_shift_wall(net, i, i == 2 ? shift_ns : 0);
        use_rule(net, i, rate, false);
    }
    net_run(net, 60000 * MS);
    net_run(net, 10000 * MS - (NET_WALL_START + net_now(net)) % (10000 * MS));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(check_window(net, i, 10 + i).code, TLY_CODE_OK);
    net_run(net, 1000 * MS);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(check_window(net, i, 0).used, 33);
    net_free(net);
}

static void fast_clock_hides_nothing(void **state)
{
    (void)state;
    claim_all_count((int64_t)(10000 * MS));
}

static void slow_clock_still_counts(void **state)
{
    (void)state;
    claim_all_count(-(int64_t)(10000 * MS));
}

/* ---- memory ---- */

#define FLOOD_CEILING ((size_t)2 << 20)

/* Keys without end, each checked once: memory stays below its ceiling, on_full is obeyed and counted, and what was counted stays. */
static void keys_are_bounded(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 2, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW};
    size_t keys = test_is_long() ? 10000000 : 60000;
    for (size_t on_full = 0; on_full < 2; on_full++) {
        struct net *net = net_new(MS);
        struct tly_engine_config config = {.memory_max = FLOOD_CEILING};
        config.on_full = on_full == 0 ? TLY_ON_FULL_ADMIT : TLY_ON_FULL_REFUSE;
        size_t counted = 0, full = 0;
        char key[24];
        (void)net_add_with(net, config, 0);
        use_rule(net, 0, rate, false);
        for (size_t i = 0; i < keys; i++) {
            struct tly_verdict verdict;
            (void)snprintf(key, sizeof key, "k%zu", i);
            assert_int_equal(check(net, 0, key, 1, &verdict), TLY_OK);
            assert_int_equal(verdict.code, verdict.full && on_full == 1 ? TLY_CODE_OVER : TLY_CODE_OK);
            full += verdict.full;
            if (!verdict.full && full == 0) counted++;
            if (i % 1000 == 0) net_run(net, 20 * MS);
        }
        struct tly_node_view view;
        tly_engine_node(net_node(net, 0), false, &view);
        assert_true(view.memory_used <= FLOOD_CEILING);
        assert_true(counted > 1000 && full > keys / 2);
        struct tly_stats stats = net_stats(net, 0);
        assert_int_equal(on_full == 0 ? stats.checks_uncounted : stats.checks_refused_full, full);
        for (size_t i = 0; i < counted; i++) {
            struct tly_verdict verdict;
            (void)snprintf(key, sizeof key, "k%zu", i);
            assert_int_equal(check(net, 0, key, 0, &verdict), TLY_OK);
            assert_int_equal(verdict.used, 1);
        }
        net_free(net);
    }
}

/* ---- what is left ---- */

/* Over a limit that was passed, refunded below nothing, lowered, or is shown in a list, what is left is never less than nothing. */
static void remaining_is_never_negative(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 100, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW}, less = rate;
    struct tly_verdict verdict;
    struct net *net = net_new(MS);
    less.limit = 10;
    for (size_t i = 0; i < 2; i++) {
        net_add(net, i == 0 ? 0 : 1);
        use_rule(net, i, rate, false);
    }
    net_run(net, 1000 * MS);
    net_hole(net, 0, 1, true);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(check(net, i, "x", 100, &verdict), TLY_OK);
    net_hole(net, 0, 1, false);
    net_run(net, 20000 * MS);
    for (size_t i = 0; i < 2; i++) {
        use_rule(net, i, less, false);
        assert_int_equal(check(net, i, "x", 0, &verdict), TLY_OK);
        assert_int_equal(verdict.used, 200);
        assert_int_equal(verdict.remaining, 0);
        assert_int_equal(check(net, i, "x", 1, &verdict), TLY_OK);
        assert_int_equal(verdict.code, TLY_CODE_OVER);
    }
    /* The lists: what was refused, and what is fullest. */
    struct tly_refusal_view refusal;
    struct tly_top_view top;
    size_t refused = 0, listed = 0, cursor = 0;
    for (; tly_engine_refused(net_node(net, 0), &cursor, &refusal); refused++)
        assert_int_equal(refusal.verdict->remaining, 0);
    for (cursor = 0; tly_engine_top(net_node(net, 0), net_time(net, 0), &cursor, &top); listed++)
        assert_true(top.used == 200 && top.limit == 10);
    assert_true(refused == 1 && listed == 1);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_do_not_wait_for_merges),
        cmocka_unit_test(unknown_key_from_a_peer_is_fine),
        cmocka_unit_test(lagging_follower_is_not_dropped),
        cmocka_unit_test(fast_clock_hides_nothing),
        cmocka_unit_test(slow_clock_still_counts),
        cmocka_unit_test(keys_are_bounded),
        cmocka_unit_test(remaining_is_never_negative),
        cmocka_unit_test(a_shadow_refuses_what_a_real_run_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
