/* How hard limits are over several nodes: the projection, the cap, what happens at a partition, and the bound that is published. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static struct tly_rate rate_of(uint64_t limit, uint64_t window_ms, enum tly_algorithm algorithm)
{
    return (struct tly_rate){.limit = limit, .window_ms = window_ms, .algorithm = algorithm};
}

static struct tly_rate capped(uint64_t limit, uint64_t window_ms, uint64_t cap)
{
    struct tly_rate rate = rate_of(limit, window_ms, TLY_FIXED_WINDOW);
    rate.mode = TLY_CAPPED;
    rate.cap = cap;
    rate.on_partition = TLY_PARTITION_CLOSED;
    return rate;
}

static struct tly_verdict ask(struct net *net, size_t node, const struct tly_rate *rate, uint32_t hits)
{
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check.key = tly_slice_text("k");
    request.check.rate = *rate;
    request.check.hits = hits;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict;
}

static struct net *cluster(size_t nodes, uint64_t delay_ms, uint32_t flush_ms)
{
    struct net *net = net_new(delay_ms * MS);
    for (size_t i = 0; i < nodes; i++)
        (void)net_add_with(net, (struct tly_engine_config){.flush_ms = flush_ms}, i == 0 ? 0 : 1);
    net_run(net, 20 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_int_equal(net_peers_up(net, i), nodes - 1);
    return net;
}

/* To a moment that is so far into a window of this length. */
static void run_into_window(struct net *net, uint64_t window_ns, uint64_t ns)
{
    uint64_t wall = NET_WALL_START + net_now(net);
    net_run(net, window_ns - wall % window_ns + ns);
}

/* Everybody asks once every `gap_ns` until then; how many were admitted. */
static uint64_t hammer(struct net *net, size_t nodes, const struct tly_rate *rate, uint64_t gap_ns,
                       uint64_t for_ns)
{
    uint64_t admitted = 0, until = net_now(net) + for_ns;
    for (size_t i = 0; net_now(net) < until; i = (i + 1) % nodes) {
        admitted += ask(net, i, rate, 1).code == TLY_CODE_OK;
        net_run(net, gap_ns / nodes);
    }
    return admitted;
}

static void a_projection_admits_all_of_the_limit_and_hardly_more(void **state)
{
    static const enum tly_algorithm algorithms[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW, TLY_TOKEN_BUCKET};
    for (size_t i = 0; i < 3; i++) {
        struct tly_rate rate = rate_of(1000, 1000, algorithms[i]);
        struct net *net = cluster(5, 20, 50);
        run_into_window(net, S, 0);
        (void)hammer(net, 5, &rate, 2 * MS, 3 * S); /* 2500/s, so the limit is passed within half a window */
        uint64_t admitted = hammer(net, 5, &rate, 2 * MS, 4 * S);
        if (admitted > 4 * 1000 + 40 || admitted < 4 * 980)
            fail_msg("%s admitted %zu", tly_algorithm_name(algorithms[i]), (size_t)admitted);
        net_free(net);
    }
}

/*
 * Where clocks are apart, versions are moved on by others' dots and tell no age. What was there before grows older all the same when somebody
 * else is heard; were it taken for new each time, its rate would seem many times what it is.
 */
static void clocks_that_are_apart_starve_nobody(void **state)
{
    struct tly_rate rate = rate_of(1000, 1000, TLY_SLIDING_WINDOW);
    struct net *net = net_new(50 * MS);
    for (size_t i = 0; i < 5; i++) {
        net_shift_wall(net, i, (int64_t)(i * 100 * MS) - (int64_t)(200 * MS));
        (void)net_add_with(net, (struct tly_engine_config){.flush_ms = 100}, i == 0 ? 0 : 1);
    }
    net_run(net, 20 * S);
    (void)hammer(net, 5, &rate, 2 * MS, 3 * S);
    uint64_t admitted = hammer(net, 5, &rate, 2 * MS, 10 * S);
    if (admitted < 10 * 980) fail_msg("admitted %zu", (size_t)admitted);
    net_free(net);
}

/* Without it the same is passed by far: the test above can fail. */
static void a_plain_view_passes_the_limit(void **state)
{
    struct tly_rate rate = rate_of(1000, 1000, TLY_FIXED_WINDOW);
    struct net *net = net_new(20 * MS);
    for (size_t i = 0; i < 5; i++)
        (void)net_add_with(net, (struct tly_engine_config){.flush_ms = 50, .horizon_ns = TLY_HORIZON_PLAIN},
                           i == 0 ? 0 : 1);
    net_run(net, 20 * S);
    run_into_window(net, S, 0);
    (void)hammer(net, 5, &rate, 2 * MS, 3 * S);
    assert_true(hammer(net, 5, &rate, 2 * MS, 4 * S) > 4 * 1000 + 80);
    net_free(net);
}

/* The others were busy and then stopped for good: what they left is there to be taken, by the one that goes on. */
static void a_projection_starves_nobody_beyond_its_horizon(void **state)
{
    struct tly_rate rate = rate_of(1000, 10000, TLY_FIXED_WINDOW);
    struct net *net = cluster(3, 20, 50);
    run_into_window(net, 10 * S, 0);
    uint64_t admitted = hammer(net, 3, &rate, 10 * MS, 2 * S); /* 300/s */
    assert_true(admitted > 550 && admitted < 650);
    for (size_t i = 0; i < 3000; i++) {
        admitted += ask(net, 0, &rate, 1).code == TLY_CODE_OK;
        net_run(net, 2 * MS);
    }
    assert_int_equal(admitted, 1000);
    net_free(net);
}

static void what_is_published_is_what_can_happen(void **state)
{
    struct tly_rate rate = rate_of(500, 1000, TLY_FIXED_WINDOW);
    struct net *net = cluster(4, 30, 100);
    uint64_t bound = 0, sums[16] = {0}, bounds[17] = {0}, over = 0;
    run_into_window(net, S, 0);
    uint64_t begin = (NET_WALL_START + net_now(net)) / S;
    for (uint64_t number; (number = (NET_WALL_START + net_now(net)) / S - begin) < 16;) {
        for (size_t i = 0; i < 4; i++) {
            struct tly_verdict verdict = ask(net, i, &rate, number % 4 == 3 ? 40 : 2);
            if (verdict.code == TLY_CODE_OK) sums[number] += number % 4 == 3 ? 40 : 2;
            if (verdict.bound > bounds[number]) bounds[number] = verdict.bound;
        }
        net_run(net, 4 * MS);
    }
    for (size_t i = 1; i + 1 < 16; i++) {
        bound = bounds[i] > bounds[i + 1] ? bounds[i] : bounds[i + 1];
        over += sums[i] > 500;
        if (sums[i] > 500 + bound) fail_msg("window %zu: %zu, bound %zu", i, (size_t)sums[i], (size_t)bound);
        assert_true(bound <= 3 * 500);
    }
    assert_true(over > 0); /* the bursts are faster than any word of them */
    net_free(net);
}

/* ---- capped ---- */

static void alone_a_cap_is_no_limit(void **state)
{
    struct tly_rate rate = capped(100, 10000, 5);
    struct net *net = net_new(MS);
    (void)net_add(net, 0);
    net_run(net, S);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(hammer(net, 1, &rate, MS, 200 * MS), 100);
    assert_int_equal(ask(net, 0, &rate, 0).bound, 0);
    net_free(net);
}

static void no_more_than_the_cap_goes_unheard(void **state)
{
    struct tly_rate rate = capped(1000, 10000, 5);
    struct net *net = cluster(3, 20, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 0).bound, 10);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(ask(net, 0, &rate, 1).code, TLY_CODE_OK);
    struct tly_verdict verdict = ask(net, 0, &rate, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_CAPPED);
    assert_int_equal(verdict.unheard, 5);
    assert_true(verdict.retry_after_ms > 0 && verdict.retry_after_ms <= 300);
    net_run(net, 300 * MS);
    assert_int_equal(ask(net, 0, &rate, 5).code, TLY_CODE_OK);
    net_free(net);
}

/* A member that does not answer has not heard; it stays a member. */
static void a_member_that_is_away_has_heard_nothing(void **state)
{
    struct tly_rate rate = capped(1000, 10000, 7);
    struct net *net = cluster(3, 5, 10);
    net_kill(net, 2);
    net_run(net, 30 * S);
    run_into_window(net, 10 * S, 0);
    uint64_t admitted = hammer(net, 2, &rate, 10 * MS, 5 * S);
    assert_int_equal(admitted, 2 * 7);
    rate.on_partition = TLY_PARTITION_OPEN;
    struct tly_verdict verdict = ask(net, 0, &rate, 1);
    assert_int_equal(verdict.code, TLY_CODE_OK);
    assert_true(verdict.bound == TLY_BOUND_NONE);
    net_free(net);
}

static void whoever_joins_admits_nothing_until_all_know_it(void **state)
{
    struct tly_rate rate = capped(100, 10000, 50);
    struct net *net = cluster(2, 20, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 50).code, TLY_CODE_OK);
    net_run(net, 500 * MS);
    assert_int_equal(ask(net, 1, &rate, 50).code, TLY_CODE_OK);
    (void)net_add(net, 1);
    struct tly_verdict verdict = ask(net, 2, &rate, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_JOINING);
    for (size_t i = 0; i < 400; i++) {
        net_run(net, 10 * MS);
        assert_int_equal(ask(net, 2, &rate, 1).code, TLY_CODE_OVER);
    }
    /* Since then it is the limit, not the joining, that says no. */
    assert_int_equal(ask(net, 2, &rate, 1).reason, TLY_REASON_LIMIT);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 2, &rate, 1).code, TLY_CODE_OK);
    net_free(net);
}

/* Nobody counts a life that is in question: what it admitted would be in no bound that the others publish. */
static void a_life_in_question_admits_nothing(void **state)
{
    struct tly_rate rate = capped(1000, 10000, 5);
    struct net *net = net_new(20 * MS);
    (void)net_add(net, 0);
    (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_run(net, 20 * S);
    net_event(net, 1, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 100 * MS);
    net_kill(net, 1);
    assert_int_equal(ask(net, 0, &rate, 0).bound, 0);
    net_go_on(net, 1, 101, 1);
    assert_true(ask(net, 0, &rate, 1).code == TLY_CODE_OK);
    uint64_t admitted = 0, questions = 0, waited = 0;
    for (; admitted == 0; waited++) {
        struct tly_node_view view;
        tly_engine_node(net_node(net, 1), false, &view);
        questions += view.life_in_question && net_peers_up(net, 1) == 1;
        admitted = ask(net, 1, &rate, 5).code == TLY_CODE_OK ? 5 : 0;
        assert_true(ask(net, 0, &rate, 0).bound >= admitted);
        net_run(net, 10 * MS);
    }
    assert_true(questions > 30 && waited < 200);
    net_free(net);
}

/* The other hears that it has a life again when it is too late to ask, if ever: until then it waits. */
static void a_life_that_was_in_question_too_long_waits_to_be_known(void **state)
{
    struct tly_rate rate = capped(1000, 10000, 5);
    struct net *net = net_new(100 * MS);
    (void)net_add(net, 0);
    (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_run(net, 20 * S);
    net_event(net, 1, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 500 * MS);
    net_kill(net, 1);
    net_go_on(net, 1, 101, 1);
    while (net_peers_up(net, 1) == 0)
        net_run(net, MS);
    net_hole(net, 0, 1, true);
    net_hole(net, 1, 0, true);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(ask(net, 1, &rate, 1).code, TLY_CODE_OVER);
        net_run(net, 100 * MS);
    }
    net_free(net);
}

static void cut_and_heal(struct net *net, struct test_rng *rng, size_t nodes)
{
    for (size_t a = 0; a < nodes; a++)
        for (size_t b = 0; b < a; b++) {
            bool blocked = test_rng_chance(rng, 30);
            net_block(net, a, b, blocked);
            net_block(net, b, a, blocked);
            if (blocked) net_cut(net, a, b);
        }
}

/* A hundred asks in each of twelve windows, with links cut and healed between; how many were refused. */
static uint64_t ask_in_a_storm(struct net *net, size_t nodes, struct test_rng *rng)
{
    uint64_t cap = 1 + test_rng_below(rng, 30), limit = 20 + test_rng_below(rng, 300), refusals = 0;
    struct tly_rate rate = capped(limit, 1000, cap);
    run_into_window(net, S, 0);
    for (size_t window = 0; window < 12; window++) {
        uint64_t admitted = 0;
        for (size_t i = 0; i < 100; i++) {
            if (test_rng_chance(rng, 3)) cut_and_heal(net, rng, nodes);
            size_t node = test_rng_below(rng, nodes);
            uint32_t hits = (uint32_t)test_rng_below(rng, 20);
            bool ok = ask(net, node, &rate, hits).code == TLY_CODE_OK;
            admitted += ok ? hits : 0;
            refusals += !ok;
            net_run(net, 9 * MS + 999 * MS / 1000);
        }
        claim(admitted <= limit + (nodes - 1) * cap);
        run_into_window(net, S, 0);
    }
    return refusals;
}

static void a_cap_holds_whatever_the_network_does(void **state)
{
    uint64_t seed = test_seed_first(), refusals = 0;
    for (uint64_t last = seed + (test_is_long() ? 200 : 12); seed < last; seed++) {
        struct test_rng rng = test_rng_of(seed);
        size_t nodes = 2 + test_rng_below(&rng, 3);
        struct net *net = cluster(nodes, 1 + test_rng_below(&rng, 40), 10);
        refusals += ask_in_a_storm(net, nodes, &rng);
        net_free(net);
    }
    assert_true(refusals > 100);
}

/* ---- capped, where a node is linked to some only ---- */

static struct net *ring(size_t nodes, uint64_t delay_ms)
{
    struct net *net = net_new(delay_ms * MS);
    for (size_t i = 0; i < nodes; i++)
        (void)net_add_with(net, (struct tly_engine_config){.mesh_max = 2}, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_true(net_peers_up(net, i) < nodes - 1);
    return net;
}

static uint64_t dots_said(struct net *net, size_t nodes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < nodes; i++)
        sum += net_stats(net, i).dots_sent;
    return sum;
}

/* Each asks for 40 a second, and those that it is not linked to say within two that they have heard of them. */
static void in_a_ring_a_cap_admits_what_is_asked_and_then_all_is_silent(void **state)
{
    enum { NODES = 10 };
    struct tly_rate rate = capped(5000, 10000, 120);
    struct net *net = ring(NODES, 1);
    for (size_t i = 0; i < 2; i++) {
        run_into_window(net, 10 * S, 0);
        assert_int_equal(hammer(net, NODES, &rate, 25 * MS, 9 * S), 9 * 40 * NODES);
    }
    net_run(net, 10 * S);
    uint64_t before = dots_said(net, NODES);
    net_run(net, 60 * S);
    assert_int_equal(dots_said(net, NODES), before);
    net_free(net);
}

static void in_a_ring_who_is_away_has_heard_nothing(void **state)
{
    enum { NODES = 8, CAP = 7 };
    struct tly_rate rate = capped(1000, 10000, CAP);
    struct net *net = ring(NODES, 1);
    (void)hammer(net, NODES, &rate, 100 * MS, 5 * S);
    net_kill(net, NODES - 1);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 2; i++) {
        run_into_window(net, 10 * S, 0);
        assert_int_equal(hammer(net, NODES - 1, &rate, 50 * MS, 8 * S), (NODES - 1) * CAP);
    }
    net_free(net);
}

/*
 * The clock of whoever joins is behind, so what the others said before they knew of it has newer versions than its own. They have not
 * heard of it all the same.
 */
/* Whom the first had met by a connection that is closed since, it hears by way of others: they are not thought to count unheard. */
static void in_a_ring_a_bound_does_not_grow_while_all_are_heard(void **state)
{
    enum { NODES = 10 };
    struct tly_rate rate = rate_of(1000, 5000, TLY_FIXED_WINDOW);
    struct net *net = ring(NODES, 1);
    run_into_window(net, 5 * S, 0);
    (void)hammer(net, NODES, &rate, 50 * MS, 12 * S);
    for (size_t i = 0; i < NODES; i++) {
        struct tly_verdict verdict = ask(net, i, &rate, 0);
        assert_true(verdict.is_judged);
        assert_in_range(verdict.bound, 0, 1000);
    }
    net_free(net);
}

static void in_a_ring_whoever_joins_admits_nothing_until_all_know_it(void **state)
{
    enum { NODES = 9 };
    struct tly_rate rate = capped(1000, 10000, 500);
    struct net *net = ring(NODES, 200);
    (void)hammer(net, NODES, &rate, 100 * MS, 10 * S); /* all have said what they heard */
    net_shift_wall(net, NODES, -(int64_t)(20 * S));
    size_t joiner = net_add_with(net, (struct tly_engine_config){.mesh_max = 2}, 1);
    size_t waited = 0;
    for (; ask(net, joiner, &rate, 1).code != TLY_CODE_OK; waited++) {
        assert_int_equal(ask(net, joiner, &rate, 1).reason, TLY_REASON_JOINING);
        net_run(net, 100 * MS);
        assert_true(waited < 300);
    }
    /* Its own word, a way of two links at least to the last of them, and theirs back. */
    assert_true(waited * 100 >= 4 * 200 + 1000);
    net_free(net);
}

static void in_a_ring_a_cap_holds_whatever_the_network_does(void **state)
{
    uint64_t seed = test_seed_first(), refusals = 0;
    for (uint64_t last = seed + (test_is_long() ? 100 : 4); seed < last; seed++) {
        struct test_rng rng = test_rng_of(seed);
        size_t nodes = 6 + test_rng_below(&rng, 3);
        struct net *net = ring(nodes, 1 + test_rng_below(&rng, 40));
        refusals += ask_in_a_storm(net, nodes, &rng);
        net_free(net);
    }
    assert_true(refusals > 100);
}

/* ---- partitions ---- */

static void at_a_partition_each_does_what_it_was_told(void **state)
{
    struct tly_rate open = rate_of(90, 10000, TLY_FIXED_WINDOW), share = open, closed = open;
    share.on_partition = TLY_PARTITION_SHARE;
    closed.on_partition = TLY_PARTITION_CLOSED;
    struct net *net = cluster(3, 5, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &closed, 0).remaining, 90);
    assert_int_equal(ask(net, 0, &open, 0).bound, 0);
    net_block(net, 0, 2, true);
    net_block(net, 2, 0, true);
    net_block(net, 1, 2, true);
    net_block(net, 2, 1, true);
    net_cut(net, 0, 2);
    net_cut(net, 1, 2);
    net_run(net, 15 * S);
    run_into_window(net, 10 * S, 0);
    struct tly_verdict verdict = ask(net, 0, &closed, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_PARTITION);
    verdict = ask(net, 0, &share, 61);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_SHARE);
    assert_int_equal(ask(net, 0, &share, 60).code, TLY_CODE_OK);
    verdict = ask(net, 0, &open, 30);
    assert_int_equal(verdict.code, TLY_CODE_OK);
    assert_int_equal(verdict.bound, 90); /* the third has all of it for itself */
    assert_int_equal(ask(net, 2, &share, 31).code, TLY_CODE_OVER);
    assert_int_equal(ask(net, 2, &open, 90).bound, 180);
    net_block(net, 0, 2, false);
    net_block(net, 2, 0, false);
    net_block(net, 1, 2, false);
    net_block(net, 2, 1, false);
    net_run(net, 60 * S);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &closed, 90).code, TLY_CODE_OK);
    net_free(net);
}

/* The third node is alone and has a third: of what is there, and of what comes back. */
static void at_a_partition_a_bucket_is_shared_too(void **state)
{
    struct tly_rate share = rate_of(90, 9000, TLY_TOKEN_BUCKET), scarce = rate_of(2, 9000, TLY_TOKEN_BUCKET);
    share.on_partition = scarce.on_partition = TLY_PARTITION_SHARE;
    struct net *net = cluster(3, 5, 10);
    for (size_t i = 0; i < 2; i++) {
        net_block(net, i, 2, true);
        net_block(net, 2, i, true);
        net_cut(net, i, 2);
    }
    net_run(net, 15 * S);
    /* Of two units a third is none. */
    struct tly_verdict verdict = ask(net, 2, &scarce, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_SHARE);
    assert_int_equal(verdict.retry_after_ms, 300);
    verdict = ask(net, 0, &share, 61);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_SHARE);
    assert_int_equal(verdict.remaining, 60);
    assert_int_equal(ask(net, 0, &share, 60).code, TLY_CODE_OK);
    assert_int_equal(ask(net, 2, &share, 31).code, TLY_CODE_OVER);
    assert_int_equal(ask(net, 2, &share, 20).remaining, 10);
    assert_int_equal(ask(net, 2, &share, 10).code, TLY_CODE_OK);
    /* In a third of the window a third of each part is back. */
    net_run(net, 3 * S);
    assert_int_equal(ask(net, 0, &share, 20).remaining, 0);
    assert_int_equal(ask(net, 2, &share, 10).remaining, 0);
    assert_int_equal(ask(net, 2, &share, 1).code, TLY_CODE_OVER);
    for (size_t i = 0; i < 2; i++) {
        net_block(net, i, 2, false);
        net_block(net, 2, i, false);
    }
    net_run(net, 60 * S);
    assert_int_equal(ask(net, 2, &share, 90).code, TLY_CODE_OK);
    net_free(net);
}

/* ---- reasons ---- */

static void a_reason_adds_up(void **state)
{
    struct tly_rate rate = rate_of(100, 10000, TLY_FIXED_WINDOW);
    char text[TLY_WHY_BYTES_MAX];
    struct net *net = cluster(2, 5, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 60).code, TLY_CODE_OK);
    net_run(net, 2 * S);
    assert_int_equal(ask(net, 1, &rate, 30).code, TLY_CODE_OK);
    struct tly_verdict verdict = ask(net, 1, &rate, 11);
    size_t n = tly_reason_put(&verdict, 11, text);
    assert_int_equal(n, strlen(text));
    assert_string_equal(text, "90 used (30 here in this window, 60 otherwise) + 11 hits of 100");
    assert_int_equal(verdict.own, 30);
    assert_int_equal(verdict.used, 90);
    assert_true(verdict.own <= verdict.used && verdict.used + verdict.ahead + 11 > verdict.limit);
    net_free(net);
}

/* ---- known defects of other limiters ---- */

static void exhausted_window_turns(void **state)
{
    struct tly_rate rate = rate_of(10, 10000, TLY_FIXED_WINDOW);
    struct net *net = cluster(2, 5, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 10).code, TLY_CODE_OK);
    net_run(net, 9 * S);
    assert_int_equal(ask(net, 1, &rate, 1).code, TLY_CODE_OVER);
    net_run(net, S);
    assert_int_equal(ask(net, 1, &rate, 10).code, TLY_CODE_OK);
    /* Nobody is admitted in the next one; and the wall steps back by 50 s after a look from far ahead. */
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 1, &rate, 11).code, TLY_CODE_OVER);
    net_shift_wall(net, 1, (int64_t)(50 * S));
    (void)ask(net, 1, &rate, 0);
    net_shift_wall(net, 1, 0);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 1, &rate, 10).code, TLY_CODE_OK);
    net_free(net);
}

static void remaining_is_never_negative(void **state)
{
    struct tly_rate rate = rate_of(100, 10000, TLY_FIXED_WINDOW), less = rate_of(10, 10000, TLY_FIXED_WINDOW);
    struct net *net = cluster(2, 50, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 100).code, TLY_CODE_OK);
    assert_int_equal(ask(net, 1, &rate, 100).code, TLY_CODE_OK);
    net_run(net, S);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ask(net, i, &rate, 0).remaining, 0);
        assert_int_equal(ask(net, i, &less, 0).remaining, 0);
        assert_int_equal(ask(net, i, &less, 1).code, TLY_CODE_OVER);
    }
    net_free(net);
}

static void shards_add_up(void **state)
{
    struct tly_rate rate = rate_of(10, 10000, TLY_FIXED_WINDOW);
    struct net *net = cluster(3, 5, 10);
    run_into_window(net, 10 * S, 0);
    assert_int_equal(ask(net, 0, &rate, 1).code, TLY_CODE_OK);
    assert_int_equal(ask(net, 2, &rate, 3).code, TLY_CODE_OK);
    net_run(net, S);
    /* A send that fails loses nothing: node 1 is cut off and counts on. */
    assert_int_equal(ask(net, 1, &rate, 5).code, TLY_CODE_OK);
    net_cut(net, 0, 1);
    net_cut(net, 1, 2);
    assert_int_equal(ask(net, 1, &rate, 1).code, TLY_CODE_OK);
    assert_int_equal(ask(net, 1, &rate, 1).code, TLY_CODE_OVER);
    net_run(net, 3 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(ask(net, i, &rate, 1).code, TLY_CODE_OVER);
    net_free(net);
}

static void restart_hides_and_repeats_nothing(void **state)
{
    struct tly_rate rate = rate_of(10, 60000, TLY_FIXED_WINDOW);
    struct net *net = net_new(5 * MS);
    for (size_t i = 0; i < 3; i++)
        (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
    net_run(net, 5 * S);
    run_into_window(net, 60 * S, 0);
    uint64_t admitted = 0;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++)
            admitted += ask(net, i, &rate, 1).code == TLY_CODE_OK;
        net_run(net, S);
        net_restart(net, i, 500 + i, i == 1 ? 0 : SIZE_MAX); /* the second loses its disk */
        net_run(net, 6 * S);
    }
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 5; j++) {
            admitted += ask(net, i, &rate, 1).code == TLY_CODE_OK;
            net_run(net, S);
        }
    assert_int_equal(admitted, 10);
    net_free(net);
}

static void merging_never_moves_a_window(void **state)
{
    struct tly_rate rate = rate_of(1000000, 10000, TLY_FIXED_WINDOW);
    struct net *net = net_new(MS);
    (void)net_add(net, 0);
    for (size_t i = 1; i < 4; i++) {
        net_shift_wall(net, i, (int64_t)(i * 700 * MS) - (int64_t)(1000 * MS));
        (void)net_add(net, 1);
    }
    net_run(net, 30 * S);
    run_into_window(net, 10 * S, 200 * MS);
    uint64_t end = net_now(net) / MS + ask(net, 0, &rate, 1).reset_ms, rounds = 0;
    for (size_t i = 0; i < 250; i++) {
        for (size_t node = 1; node < 4; node++)
            (void)ask(net, node, &rate, 1);
        net_run(net, 30 * MS);
        struct tly_verdict verdict = ask(net, 0, &rate, 1);
        /* It is slewed by what the walls differ, at most, but never by what is merged. */
        int64_t moved = (int64_t)(net_now(net) / MS + verdict.reset_ms) - (int64_t)end;
        assert_true(moved >= -1 && moved <= 1);
        rounds += verdict.used > i;
    }
    assert_true(rounds > 200);
    net_free(net);
}

/* There is nobody to reckon with: what stands near its limit is watched as soon as there is. */
static void a_node_that_is_alone_watches_no_keys(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    struct tly_rate rate = rate_of(10, 86400000, TLY_FIXED_WINDOW), cap = capped(10, 86400000, 4);
    (void)net_add(net, 0);
    net_run(net, 12 * S);
    for (size_t i = 0; i < 12; i++) {
        struct tly_verdict verdict = ask(net, 0, &rate, 1);
        assert_int_equal(verdict.code, i < 10 ? TLY_CODE_OK : TLY_CODE_OVER);
        assert_int_equal(verdict.reason, i < 10 ? TLY_REASON_NONE : TLY_REASON_LIMIT);
        assert_int_equal(verdict.bound, 0);
        assert_false(verdict.is_judged);
    }
    /* A cap is kept all the same. */
    assert_true(ask(net, 0, &cap, 0).is_judged);
    (void)net_add(net, 1);
    net_run(net, 20 * S);
    assert_int_equal(net_peers_up(net, 0), 1);
    assert_true(ask(net, 0, &rate, 0).is_judged);
    assert_true(ask(net, 1, &rate, 0).is_judged);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_is_alone_watches_no_keys),
        cmocka_unit_test(a_projection_admits_all_of_the_limit_and_hardly_more),
        cmocka_unit_test(clocks_that_are_apart_starve_nobody),
        cmocka_unit_test(a_plain_view_passes_the_limit),
        cmocka_unit_test(a_projection_starves_nobody_beyond_its_horizon),
        cmocka_unit_test(what_is_published_is_what_can_happen),
        cmocka_unit_test(alone_a_cap_is_no_limit),
        cmocka_unit_test(no_more_than_the_cap_goes_unheard),
        cmocka_unit_test(a_member_that_is_away_has_heard_nothing),
        cmocka_unit_test(whoever_joins_admits_nothing_until_all_know_it),
        cmocka_unit_test(a_life_in_question_admits_nothing),
        cmocka_unit_test(a_life_that_was_in_question_too_long_waits_to_be_known),
        cmocka_unit_test(a_cap_holds_whatever_the_network_does),
        cmocka_unit_test(in_a_ring_a_cap_admits_what_is_asked_and_then_all_is_silent),
        cmocka_unit_test(in_a_ring_who_is_away_has_heard_nothing),
        cmocka_unit_test(in_a_ring_a_bound_does_not_grow_while_all_are_heard),
        cmocka_unit_test(in_a_ring_whoever_joins_admits_nothing_until_all_know_it),
        cmocka_unit_test(in_a_ring_a_cap_holds_whatever_the_network_does),
        cmocka_unit_test(at_a_partition_each_does_what_it_was_told),
        cmocka_unit_test(at_a_partition_a_bucket_is_shared_too),
        cmocka_unit_test(a_reason_adds_up),
        cmocka_unit_test(exhausted_window_turns),
        cmocka_unit_test(remaining_is_never_negative),
        cmocka_unit_test(shards_add_up),
        cmocka_unit_test(restart_hides_and_repeats_nothing),
        cmocka_unit_test(merging_never_moves_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
