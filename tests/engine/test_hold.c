/* Reservations: charged first, settled once, or returned at their end. */
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define TTL_MS 5000

static const struct tly_rate day = {.limit = 100, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW};
static const struct tly_rate slow = {.limit = 100, .window_ms = 86400000, .algorithm = TLY_TOKEN_BUCKET};

static struct tly_check of(struct tly_rate rate, uint32_t hits)
{
    return (struct tly_check){.key = tly_slice_text("k"), .rate = rate, .hits = hits};
}

static struct tly_reply ask(struct net *net, enum tly_request_kind kind, const char *id, int64_t number,
                            enum tly_result expected)
{
    struct tly_request request = {.kind = kind, .bytes = tly_slice_text(id), .number = number};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), expected);
    return reply;
}

static struct tly_hold_view reserve(struct net *net, const char *id, struct tly_rate rate, uint32_t hits)
{
    struct tly_request request = {
        .kind = TLY_ASK_RESERVE, .check = of(rate, hits), .bytes = tly_slice_text(id), .number = TTL_MS};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    return reply.hold;
}

static uint64_t used(struct net *net, size_t node, struct tly_rate rate)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = of(rate, 0)};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict.used;
}

/* So many, each with its disk, which have met. */
static struct net *with_disks(unsigned nodes)
{
    struct net *net = net_new(MS);
    for (unsigned i = 0; i < nodes; i++)
        net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
    net_run(net, 1000 * MS);
    return net;
}

static struct net *alone(void)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    return net;
}

static void what_is_settled_is_settled_once(void **state)
{
    (void)state;
    static const struct tly_rate *const rates[] = {&day, &slow};
    for (size_t i = 0; i < 2; i++) {
        struct net *net = alone();
        struct tly_rate rate = *rates[i];
        assert_int_equal(reserve(net, "less", rate, 10).state, TLY_HOLD_OPEN);
        assert_int_equal(reserve(net, "more", rate, 10).charged, 10);
        assert_int_equal(reserve(net, "none", rate, 10).state, TLY_HOLD_OPEN);
        assert_int_equal(used(net, 0, rate), 30);
        assert_int_equal(ask(net, TLY_ASK_COMMIT, "less", 4, TLY_OK).hold.charged, 4);
        assert_int_equal(used(net, 0, rate), 24);
        /* A commit above the estimate counts. */
        assert_int_equal(ask(net, TLY_ASK_COMMIT, "more", 15, TLY_OK).hold.charged, 15);
        assert_int_equal(used(net, 0, rate), 29);
        assert_int_equal(ask(net, TLY_ASK_CANCEL, "none", 0, TLY_OK).hold.state, TLY_HOLD_CANCELLED);
        assert_int_equal(used(net, 0, rate), 19);
        /* Again, and otherwise: as it was settled. */
        struct tly_hold_view again = ask(net, TLY_ASK_CANCEL, "less", 0, TLY_OK).hold;
        assert_int_equal(again.state, TLY_HOLD_COMMITTED);
        assert_int_equal(again.charged, 4);
        (void)ask(net, TLY_ASK_COMMIT, "more", 1, TLY_OK);
        (void)ask(net, TLY_ASK_COMMIT, "none", 50, TLY_OK);
        (void)reserve(net, "less", rate, 10);
        net_run(net, 2 * TTL_MS * MS);
        assert_int_equal(used(net, 0, rate), 19);
        net_free(net);
    }
}

/* What it had charged went with the reset; what has been counted since is not its own. */
static void after_a_reset_nothing_is_given_back(void **state)
{
    (void)state;
    static const struct tly_rate *const rates[] = {&day, &slow};
    for (size_t i = 0; i < 2; i++) {
        struct net *net = alone();
        struct tly_rate rate = *rates[i];
        (void)reserve(net, "cancelled", rate, 40);
        (void)reserve(net, "less", rate, 10);
        (void)reserve(net, "left", rate, 10);
        struct tly_request reset = {.kind = TLY_ASK_RESET, .check = of(rate, 0)};
        struct tly_request check = {.kind = TLY_ASK_CHECK, .check = of(rate, 30)};
        struct tly_reply reply;
        assert_int_equal(net_ask(net, 0, reset, &reply), TLY_OK);
        assert_int_equal(net_ask(net, 0, check, &reply), TLY_OK);
        (void)reserve(net, "after", rate, 5);
        (void)ask(net, TLY_ASK_CANCEL, "cancelled", 0, TLY_OK);
        (void)ask(net, TLY_ASK_COMMIT, "less", 4, TLY_OK);
        assert_int_equal(used(net, 0, rate), 35);
        net_run(net, 2 * TTL_MS * MS);
        assert_int_equal(used(net, 0, rate), 30);
        net_free(net);
    }
}

static void a_reservation_that_is_made_again_is_the_same(void **state)
{
    (void)state;
    struct net *net = alone();
    uint64_t end_ms = reserve(net, "id", day, 10).end_ms;
    net_run(net, 1000 * MS);
    struct tly_hold_view again = reserve(net, "id", day, 10);
    assert_int_equal(again.end_ms, end_ms);
    assert_int_equal(again.state, TLY_HOLD_OPEN);
    assert_int_equal(used(net, 0, day), 10);
    struct tly_hold_view one = reserve(net, "", day, 1);
    char id[TLY_HOLD_ID_BYTES_MAX + 1] = {0};
    assert_int_equal(one.id.n, 32);
    memcpy(id, one.id.p, one.id.n);
    (void)reserve(net, "", day, 1);
    assert_int_equal(used(net, 0, day), 12);
    (void)ask(net, TLY_ASK_CANCEL, id, 0, TLY_OK);
    assert_int_equal(used(net, 0, day), 11);
    net_free(net);
}

static void what_nobody_settles_is_returned_at_its_end(void **state)
{
    (void)state;
    struct net *net = alone();
    (void)reserve(net, "a", day, 10);
    net_run(net, 1000 * MS);
    (void)reserve(net, "b", day, 20);
    net_run(net, (TTL_MS - 1001) * MS);
    assert_int_equal(used(net, 0, day), 30);
    net_run(net, 2 * MS);
    assert_int_equal(used(net, 0, day), 20);
    assert_int_equal(ask(net, TLY_ASK_COMMIT, "a", 7, TLY_OK).hold.state, TLY_HOLD_RETURNED);
    net_run(net, 1000 * MS);
    assert_int_equal(used(net, 0, day), 0);
    struct tly_stats stats = net_stats(net, 0);
    assert_int_equal(stats.holds_returned, 2);
    net_free(net);
}

static void many_end_in_their_order(void **state)
{
    (void)state;
    struct net *net = alone();
    char id[16];
    for (size_t i = 0; i < 50; i++) {
        (void)snprintf(id, sizeof id, "id-%zu", i);
        struct tly_request request = {.kind = TLY_ASK_RESERVE,
                                      .check = of(day, 1),
                                      .bytes = tly_slice_text(id),
                                      .number = (int64_t)(100 * (1 + i * 37 % 50))};
        struct tly_reply reply;
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    }
    for (size_t left = 50; left-- > 0;) {
        net_run(net, 100 * MS);
        assert_int_equal(used(net, 0, day), left);
    }
    net_free(net);
}

/* However many end in one moment, no turn of the loop is long for it, and all have come back within some of them. */
static void what_ends_at_once_is_returned_in_pieces(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    struct net *net = alone();
    struct tly_rate rate = day;
    rate.limit = MANY;
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(reserve(net, "", rate, 1).state, TLY_HOLD_OPEN);
    net_run(net, (TTL_MS - 1) * MS);
    assert_int_equal(used(net, 0, rate), MANY);
    uint64_t before = MANY, most = 0;
    for (size_t ms = 0; ms < 100; ms++) {
        net_run(net, MS);
        uint64_t now = used(net, 0, rate);
        if (before - now > most) most = before - now;
        before = now;
    }
    assert_int_equal(before, 0);
    assert_in_range(most, 1, 600);
    net_free(net);
}

/* Killed with two open and one settled, and back under a new life. */
static void a_crash_returns_once_what_was_open(void **state)
{
    (void)state;
    struct net *net = with_disks(2);
    (void)reserve(net, "open", day, 10);
    (void)reserve(net, "late", day, 20);
    (void)reserve(net, "done", day, 40);
    (void)ask(net, TLY_ASK_COMMIT, "done", 30, TLY_OK);
    net_run(net, 1000 * MS);
    assert_int_equal(used(net, 1, day), 60);
    net_restart(net, 0, 77, SIZE_MAX);
    net_run(net, 1000 * MS);
    assert_int_equal(used(net, 0, day), 60);
    assert_int_equal(ask(net, TLY_ASK_COMMIT, "late", 5, TLY_OK).hold.charged, 5);
    assert_int_equal(ask(net, TLY_ASK_COMMIT, "done", 1, TLY_OK).hold.charged, 30);
    net_run(net, TTL_MS * MS);
    assert_int_equal(used(net, 0, day), 35);
    net_run(net, 1000 * MS);
    assert_int_equal(used(net, 1, day), 35);
    net_free(net);
}

/* With much for it to hear when it is back after so long. */
static void lose_the_disk(struct net *net, uint64_t after_ms)
{
    for (size_t i = 0; i < 3000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)net_add_to(net, 0, key, 1);
    }
    net_run(net, 1000 * MS);
    net_kill(net, 0);
    net_run(net, after_ms * MS);
    net_shorten(net, 0, 0);
    net_revive(net, 0, 77, 2);
}

/* It hears from the others what it had reserved, and only then what that had charged. */
static void what_ended_while_the_disk_was_lost_is_returned(void **state)
{
    (void)state;
    struct net *net = with_disks(2);
    (void)reserve(net, "open", day, 10);
    lose_the_disk(net, 2 * TTL_MS);
    net_run(net, 10000 * MS);
    assert_int_equal(used(net, 0, day), 0);
    assert_int_equal(used(net, 1, day), 0);
    assert_int_equal(net_stats(net, 0).holds_returned, 1);
    net_free(net);
}

/* As a snapshot that is installed has it learned. */
static void what_is_learned_again_ends_once(void **state)
{
    (void)state;
    struct net *net = with_disks(2);
    (void)reserve(net, "open", day, 10);
    assert_int_equal(net_node(net, 0)->hold_count, 1);
    tly_lives_learn_all(net_node(net, 0));
    assert_int_equal(net_node(net, 0)->hold_count, 1);
    net_run(net, 2 * TTL_MS * MS);
    assert_int_equal(used(net, 0, day), 0);
    assert_int_equal(net_stats(net, 0).holds_returned, 1);
    net_free(net);
}

/* Who was started while another is down has not joined it, and waits no longer than what it had reserved may take to come. */
static void what_ends_is_returned_while_a_member_is_down(void **state)
{
    (void)state;
    struct net *net = with_disks(3);
    net_kill(net, 2);
    net_run(net, 1000 * MS);
    net_restart(net, 0, 77, SIZE_MAX);
    net_run(net, 1000 * MS);
    (void)reserve(net, "open", day, 10);
    net_run(net, 70000 * MS);
    assert_int_equal(used(net, 0, day), 0);
    assert_int_equal(used(net, 1, day), 0);
    net_free(net);
}

static void what_is_refused_or_wrong_holds_nothing(void **state)
{
    (void)state;
    struct net *net = alone();
    assert_int_equal(reserve(net, "id", day, 101).state, TLY_HOLD_NONE);
    (void)ask(net, TLY_ASK_CANCEL, "id", 0, TLY_NO_HOLD);
    (void)ask(net, TLY_ASK_COMMIT, "", 0, TLY_BAD_ID);
    (void)ask(net, TLY_ASK_COMMIT, "a b", 0, TLY_BAD_ID);
    struct tly_request request = {.kind = TLY_ASK_RESERVE, .check = of(day, 1)};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_BAD_RULE);
    request.number = TLY_HOLD_MS_MAX + 1;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_BAD_RULE);
    request.number = 1;
    request.check = (struct tly_check){.limit = tly_slice_text("nobody"), .hits = 1};
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_NO_LIMIT);
    assert_int_equal(used(net, 0, day), 0);
    net_free(net);
}

static void use(struct net *net, enum tly_algorithm algorithm)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "r", .rate = {.limit = 100, .algorithm = algorithm}};
    if (algorithm != TLY_COUNTER) rule.rate.window_ms = 86400000;
    assert_non_null(rules);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
}

static uint64_t used_of_rule(struct net *net)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check.limit = tly_slice_text("r")};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    return reply.verdict.used;
}

/* A counter and a bucket of one name lie in different keys, and what one of them charged is not the other's. */
static void a_limit_that_became_another_is_not_corrected(void **state)
{
    (void)state;
    static const enum tly_algorithm pairs[][2] = {{TLY_TOKEN_BUCKET, TLY_COUNTER},
                                                  {TLY_COUNTER, TLY_TOKEN_BUCKET}};
    for (size_t i = 0; i < 2; i++) {
        struct net *net = alone();
        use(net, pairs[i][0]);
        for (size_t n = 0; n < 2; n++) {
            struct tly_request request = {.kind = TLY_ASK_RESERVE,
                                          .check = {.limit = tly_slice_text("r"), .hits = 10},
                                          .bytes = tly_slice_text(n == 0 ? "less" : "more"),
                                          .number = TTL_MS};
            struct tly_reply reply;
            assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        }
        use(net, pairs[i][1]);
        assert_int_equal(ask(net, TLY_ASK_COMMIT, "less", 3, TLY_OK).hold.charged, 3);
        assert_int_equal(ask(net, TLY_ASK_COMMIT, "more", 30, TLY_OK).hold.charged, 30);
        assert_int_equal(used_of_rule(net), 0);
        use(net, pairs[i][0]);
        assert_int_equal(used_of_rule(net), 20);
        net_run(net, 3 * 3600 * 1000 * MS);
        if (pairs[i][0] == TLY_COUNTER) assert_int_equal(used_of_rule(net), 20);
        net_free(net);
    }
}

static void use_rate(struct net *net, const char *rate, enum tly_algorithm algorithm, const char *mode)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "r", .rate.algorithm = algorithm};
    assert_non_null(rules);
    assert_int_equal(tly_rate_parse(tly_slice_text(rate), &rule.rate), TLY_OK);
    assert_int_equal(tly_mode_parse(tly_slice_text(mode), &rule.rate), TLY_OK);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(net_node(net, 0), rules);
}

/* The window in which it was charged is no more, and the one that counts in its place never had it: what that has charged are others' units. */
static void what_another_window_charged_is_not_given_back(void **state)
{
    (void)state;
    static const struct {
        const char *rate;
        enum tly_algorithm algorithm;
        uint64_t used; /* of 100 that it has charged, once 40 of before are given back */
    } becomes[] = {{"100/d", TLY_FIXED_WINDOW, 60},   {"100/d", TLY_SLIDING_WINDOW, 60},
                   {"100/2h", TLY_FIXED_WINDOW, 100}, {"100/2h", TLY_SLIDING_WINDOW, 100},
                   {"100/d", TLY_QUOTA, 100},         {"100/d", TLY_TOKEN_BUCKET, 100}};
    static const char *const modes[] = {"optimistic", "hard"};
    for (size_t i = 0; i < 2 * sizeof becomes / sizeof becomes[0]; i++) {
        struct net *net = alone();
        bool is_firm = becomes[i / 2].algorithm == TLY_FIXED_WINDOW || becomes[i / 2].algorithm == TLY_QUOTA;
        const char *mode = modes[is_firm ? i % 2 : 0];
        use_rate(net, "100/d", TLY_FIXED_WINDOW, mode);
        net_run(net, 3 * UINT64_C(86400000) * MS - NET_WALL_START % (UINT64_C(86400000) * MS));
        struct tly_request request = {.kind = TLY_ASK_RESERVE,
                                      .check = {.limit = tly_slice_text("r"), .hits = 40},
                                      .bytes = tly_slice_text("id"),
                                      .number = TTL_MS};
        struct tly_reply reply;
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        assert_int_equal(reply.hold.charged, 40);
        use_rate(net, becomes[i / 2].rate, becomes[i / 2].algorithm, mode);
        request = (struct tly_request){.kind = TLY_ASK_CHECK, .check.limit = tly_slice_text("r")};
        request.check.hits = (uint32_t)(100 - used_of_rule(net));
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        assert_int_equal(reply.verdict.code, TLY_CODE_OK);
        assert_int_equal(used_of_rule(net), 100);
        assert_int_equal(ask(net, TLY_ASK_CANCEL, "id", 0, TLY_OK).hold.charged, 0);
        uint64_t left = used_of_rule(net);
        if (left != becomes[i / 2].used)
            fail_msg("%zu: %s: %zu are used, not %zu", i, mode, (size_t)left, (size_t)becomes[i / 2].used);
        net_free(net);
    }
}

/* Only the node that made it can settle it. */
static void another_node_does_not_know_it(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 1000 * MS);
    (void)reserve(net, "id", day, 10);
    net_run(net, 1000 * MS);
    struct tly_request request = {.kind = TLY_ASK_CANCEL, .bytes = tly_slice_text("id")};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 1, request, &reply), TLY_NO_HOLD);
    assert_int_equal(used(net, 1, day), 10);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_settled_is_settled_once),
        cmocka_unit_test(after_a_reset_nothing_is_given_back),
        cmocka_unit_test(a_reservation_that_is_made_again_is_the_same),
        cmocka_unit_test(what_nobody_settles_is_returned_at_its_end),
        cmocka_unit_test(many_end_in_their_order),
        cmocka_unit_test(what_ends_at_once_is_returned_in_pieces),
        cmocka_unit_test(a_crash_returns_once_what_was_open),
        cmocka_unit_test(what_ended_while_the_disk_was_lost_is_returned),
        cmocka_unit_test(what_is_learned_again_ends_once),
        cmocka_unit_test(what_ends_is_returned_while_a_member_is_down),
        cmocka_unit_test(what_is_refused_or_wrong_holds_nothing),
        cmocka_unit_test(a_limit_that_became_another_is_not_corrected),
        cmocka_unit_test(what_another_window_charged_is_not_given_back),
        cmocka_unit_test(another_node_does_not_know_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
