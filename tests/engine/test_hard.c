/* Hard limits: whatever the network does, no window admits more than its limit; and as much as there is, while all are there. */
#include "service/engine/impl.h"

#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

static struct net *cluster(size_t nodes, uint64_t limit, uint64_t window_ms)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++) {
        (void)net_add(net, i == 0 ? 0 : 1);
        hard_use(net, i, limit, window_ms);
    }
    net_run(net, 20 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_int_equal(net_peers_up(net, i), nodes - 1);
    return net;
}

static void run_to_window(struct net *net, uint64_t window_ns)
{
    net_run(net, window_ns - (NET_WALL_START + net_now(net)) % window_ns);
}

static void the_shares_of_all_are_the_limit(void **state)
{
    struct net *net = cluster(3, 1000, 1000);
    run_to_window(net, S);
    uint64_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        uint64_t held = hard_ask(net, i, 0).held;
        assert_true(held >= 300 && held <= 400);
        sum += held;
    }
    assert_int_equal(sum, 1000);
    net_free(net);
}

/* A limit of 1 on five nodes: whichever is asked all window long admits exactly one. */
static void low_limits_work(void **state)
{
    struct net *net = cluster(5, 1, 1000);
    for (size_t i = 0; i < 15; i++) {
        uint64_t admitted = 0;
        run_to_window(net, S);
        for (size_t j = 0; j < 99; j++) {
            admitted += hard_ask(net, i % 5, 1).code == TLY_CODE_OK;
            net_run(net, 10 * MS);
        }
        assert_int_equal(admitted, 1);
    }
    net_free(net);
}

/* In a ring most members have no connection to who asks, and give all the same. */
static void in_a_ring_those_without_a_connection_give_too(void **state)
{
    enum { NODES = 10 };
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < NODES; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.mesh_max = 2}, i == 0 ? 0 : 1);
        hard_use(net, i, 1000, 10000);
    }
    net_run(net, 60 * S); /* the connections by which they met are closed again */
    for (size_t window = 0; window < 2; window++) {
        uint64_t admitted = 0;
        run_to_window(net, 10 * S);
        for (size_t i = 0; i < 900; i++) {
            admitted += hard_ask(net, 3, 1).code == TLY_CODE_OK;
            net_run(net, 10 * MS);
        }
        assert_in_range(admitted, 800, 900);
    }
    net_free(net);
}

/* There is no room in front of it for what would say what was given: each admits its share. */
static void of_the_longest_keys_each_admits_its_share(void **state)
{
    struct net *net = cluster(3, 900, 10000);
    uint8_t who[TLY_KEY_BYTES_MAX];
    memset(who, 'w', sizeof who);
    for (size_t cut = 0; cut < 5; cut++) {
        struct tly_field field = {tly_slice_text("who"),
                                  {who, TLY_KEY_BYTES_MAX - strlen("rl:n:hard:") - cut}};
        struct tly_check check = {
            .limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = 1};
        uint64_t admitted = 0;
        run_to_window(net, 10 * S);
        for (size_t i = 0; i < 3000; i++) {
            struct tly_reply reply;
            struct tly_request request = {.kind = TLY_ASK_CHECK, .check = check};
            assert_int_equal(net_ask(net, i % 3, request, &reply), TLY_OK);
            admitted += reply.verdict.code == TLY_CODE_OK;
            net_run(net, MS);
        }
        assert_int_equal(admitted, 900);
    }
    net_free(net);
}

/* A check may be for more than any node's share: as long as so much is left in all, the next one like it passes, also where all have counted some. */
static void one_check_may_be_for_more_than_a_share(void **state)
{
    static const uint32_t hits[] = {201, 250, 400, 700, 950, 1000};
    for (size_t i = 0; i < 2 * sizeof hits / sizeof hits[0]; i++) {
        struct net *net = cluster(5, 1000, 10000);
        run_to_window(net, 10 * S);
        uint32_t wanted = hits[i / 2];
        for (size_t node = 0; i % 2 == 1 && wanted <= 950 && node < 5; node++)
            assert_int_equal(hard_ask(net, node, 10).code, TLY_CODE_OK);
        net_run(net, 50 * MS);
        struct tly_verdict first = hard_ask(net, 2, wanted);
        assert_int_equal(first.code, TLY_CODE_OVER);
        assert_int_equal(first.reason, TLY_REASON_RIGHTS);
        net_run(net, first.retry_after_ms * MS);
        struct tly_verdict second = hard_ask(net, 2, wanted);
        if (second.code != TLY_CODE_OK)
            fail_msg("%zu: %u hits, of which %zu are held", i, wanted, (size_t)second.held);
        net_free(net);
    }
}

/* Who asks again and again for more than is left takes nothing from those that ask for what there is. */
static void what_can_never_pass_takes_no_rights(void **state)
{
    (void)state;
    struct net *net = cluster(3, 100, 60000);
    run_to_window(net, 60 * S);
    assert_int_equal(hard_ask(net, 1, 1).code, TLY_CODE_OK);
    net_run(net, 100 * MS);
    uint64_t admitted = 1;
    for (size_t i = 0; i < 400; i++) {
        assert_int_equal(hard_ask(net, 0, 100).reason, TLY_REASON_LIMIT);
        if (i % 8 == 0) admitted += hard_ask(net, 1 + i / 8 % 2, 1).code == TLY_CODE_OK;
        net_run(net, 25 * MS);
    }
    assert_int_equal(admitted, 51);
    net_free(net);
}

static struct tly_verdict ask_key(struct net *net, size_t node, size_t key)
{
    char text[32];
    (void)snprintf(text, sizeof text, "key%zu", key);
    struct tly_field field = {tly_slice_text("who"), tly_slice_text(text)};
    struct tly_request request = {.kind = TLY_ASK_CHECK};
    struct tly_reply reply;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = 1};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict;
}

/* However many keys are used up, of which somebody has wished for more that nobody has, what is there of another goes to who asks. */
static void wishes_that_cannot_be_met_are_in_nobodys_way(void **state)
{
    (void)state;
    struct net *net = cluster(2, 2, 600000);
    run_to_window(net, 600 * S);
    for (size_t key = 0; key < 4200; key++) {
        for (size_t node = 0; node < 2; node++)
            assert_int_equal(ask_key(net, node, key).code, TLY_CODE_OK);
        if (key % 50 == 0) net_run(net, 30 * MS);
    }
    net_run(net, S);
    assert_int_equal(ask_key(net, 0, 5000).code, TLY_CODE_OK);
    net_run(net, 200 * MS);
    assert_int_equal(ask_key(net, 0, 5000).code, TLY_CODE_OK);
    net_free(net);
}

static uint64_t refund(struct net *net, size_t node, uint32_t hits)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request back = {.kind = TLY_ASK_REFUND};
    struct tly_reply reply;
    back.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    assert_int_equal(net_ask(net, node, back, &reply), TLY_OK);
    return reply.refunded;
}

/* … and who was not heard says it again. */
static void a_wish_that_was_forgotten_is_said_again(void **state)
{
    (void)state;
    struct net *net = cluster(2, 10, 600000);
    run_to_window(net, 600 * S);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(hard_ask(net, i % 2, 1).code, TLY_CODE_OK);
    net_run(net, S);
    net_node(net, 1)->escrow.want_count = 0;
    assert_int_equal(refund(net, 1, 4), 4);
    net_run(net, 40 * S);
    assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OVER);
    net_run(net, 200 * MS);
    assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OK);
    net_free(net);
}

/* Who waits for what another has not got has it as soon as that is given back there. */
static void what_is_given_back_goes_at_once_to_who_waits_for_it(void **state)
{
    (void)state;
    struct net *net = cluster(2, 10, 600000);
    run_to_window(net, 600 * S);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(hard_ask(net, i % 2, 1).code, TLY_CODE_OK);
    for (size_t i = 0; i < 2; i++) {
        net_run(net, 5 * S + i * 700 * MS);
        assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OVER);
        assert_int_equal(refund(net, 1, 2), 2);
        net_run(net, 50 * MS);
        assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OK);
    }
    net_free(net);
}

static uint64_t shares(struct net *net, size_t nodes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < nodes; i++)
        sum += hard_ask(net, i, 0).held;
    return sum;
}

/* As much as it gets, one by one, with time in between. */
static uint64_t hammer(struct net *net, size_t node, size_t times, uint64_t gap_ns)
{
    uint64_t admitted = 0;
    for (size_t i = 0; i < times; i++) {
        admitted += hard_ask(net, node, 1).code == TLY_CODE_OK;
        net_run(net, gap_ns);
    }
    return admitted;
}

/* One node is asked ten times as often as each other, more than there is in all: 95 % of it is admitted. */
static void what_is_there_is_used_though_one_is_asked_ten_times_as_often(void **state)
{
    static const uint64_t limits[] = {100, 1000};
    for (size_t l = 0; l < 2; l++) {
        struct net *net = cluster(5, limits[l], 1000);
        for (size_t window = 0; window < 6; window++) {
            uint64_t admitted = 0;
            run_to_window(net, S);
            for (size_t i = 0; i < 198; i++) {
                uint32_t hits = (uint32_t)(limits[l] / 100);
                admitted += hard_ask(net, window % 5, hits).code == TLY_CODE_OK ? hits : 0;
                if (i % 10 == 9)
                    for (size_t j = 0; j < 5; j++)
                        if (j != window % 5)
                            admitted += hard_ask(net, j, hits).code == TLY_CODE_OK ? hits : 0;
                net_run(net, 5 * MS);
            }
            if (admitted > limits[l] || admitted < limits[l] / 100 * 95)
                fail_msg("window %zu: %zu of %zu", window, (size_t)admitted, (size_t)limits[l]);
        }
        net_free(net);
    }
}

/* It says what it gave, and falls when the other has it; whatever becomes of it, in this window it counts no more of that. */
static void a_giver_killed_after_giving_never_spends_that_right(void **state)
{
    for (size_t how = 0; how < 3; how++) {
        struct net *net = net_new(2 * MS);
        for (size_t i = 0; i < 2; i++) {
            (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
            hard_use(net, i, 10, 10000);
        }
        net_run(net, 20 * S);
        run_to_window(net, 10 * S);
        assert_int_equal(hard_ask(net, 0, 0).held, 5);
        uint64_t admitted = hammer(net, 1, 20, 50 * MS);
        assert_true(admitted > 5 && net_stats(net, 0).rights_given >= admitted - 5);
        uint64_t life = net_stats(net, 0).rights_given > 0 ? 100 : 0;
        if (how == 0) {
            net_event(net, 0, (struct tly_event){.kind = TLY_LEAVE});
            net_run(net, 50 * MS);
        }
        net_kill(net, 0);
        if (how == 0)
            net_go_on(net, 0, life, 2);
        else
            net_restart(net, 0, 7000, how == 1 ? SIZE_MAX : 0);
        hard_use(net, 0, 10, 10000);
        net_run(net, 500 * MS);
        admitted += hammer(net, 0, 20, 20 * MS);
        if (admitted > 10) fail_msg("way %zu: %zu of 10", how, (size_t)admitted);
        assert_true(how > 0 || admitted == 10); /* after a clean stop it knows what it has left */
        net_free(net);
    }
}

/* A life that ended without a word has nothing to begin with; its node takes over what that held for windows that it cannot have begun. */
static void who_fell_takes_over_what_it_held(void **state)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 3; i++) {
        struct tly_engine_config config = {.has_store = true, .max_skew_ns = 20 * S};
        (void)net_add_with(net, config, i == 0 ? 0 : 1);
        hard_use(net, i, 900, 1000);
    }
    net_run(net, 20 * S);
    assert_int_equal(shares(net, 3), 900);
    net_kill(net, 2);
    net_run(net, S);
    net_revive(net, 2, 7000, 1);
    hard_use(net, 2, 900, 1000);
    net_run(net, S);
    run_to_window(net, S);
    assert_true(shares(net, 3) <= 600);
    net_run(net, 5 * S);
    run_to_window(net, S);
    assert_true(hard_ask(net, 2, 0).held > 150); /* of the others' */
    net_run(net, 60 * S);
    run_to_window(net, S);
    assert_int_equal(shares(net, 3), 900);
    net_free(net);
}

/*
 * A node goes on with its life after a clean stop, is cut off as soon as it holds something, uses it and falls; then the same again from a copy of the
 * disk as it was at that stop. It holds nothing before somebody has heard that its life went on, so the copy is found out.
 */
static void a_copy_of_the_disk_holds_nothing_twice(void **state)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 3; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
        hard_use(net, i, 900, 60000);
    }
    net_run(net, 20 * S);
    run_to_window(net, 60 * S);
    net_event(net, 2, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 50 * MS);
    net_kill(net, 2);
    struct net_disk *disk = net_disk_copy(net, 2);
    uint64_t admitted = 0;
    for (size_t start = 0; start < 2; start++) {
        net_disk_put(net, 2, disk);
        net_go_on(net, 2, 102, 1);
        hard_use(net, 2, 900, 60000);
        for (size_t ms = 0; ms < 2000 && hard_ask(net, 2, 0).held == 0; ms++)
            net_run(net, MS);
        for (size_t other = 0; other < 2; other++)
            net_block(net, 2, other, true);
        admitted += hammer(net, 2, 400, 0);
        assert_int_equal(admitted, 300);
        net_run(net, 100 * MS);
        net_kill(net, 2);
        for (size_t other = 0; other < 2; other++)
            net_block(net, 2, other, false);
        net_run(net, 100 * MS);
    }
    admitted += hammer(net, 0, 700, 0) + hammer(net, 1, 700, 0);
    assert_in_range(admitted, 850, 900);
    net_disk_free(disk);
    net_free(net);
}

static void a_part_that_is_cut_off_goes_on_with_its_share(void **state)
{
    struct net *net = cluster(3, 900, 1000);
    net_block(net, 2, 0, true);
    net_block(net, 2, 1, true);
    net_run(net, 20 * S);
    run_to_window(net, S);
    uint64_t alone = hammer(net, 2, 450, MS), others = hammer(net, 0, 450, MS);
    assert_true(alone >= 290 && alone <= 310);
    assert_true(alone + others <= 900 && others > 400);
    net_free(net);
}

/* Who held most of it was not heard for half of forget_after: by then they may think this one gone. */
static void the_lesser_part_holds_back_before_it_is_forgotten(void **state)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 3; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.forget_after_ms = 120000}, i == 0 ? 0 : 1);
        hard_use(net, i, 900, 1000);
    }
    net_run(net, 20 * S);
    net_block(net, 2, 0, true);
    net_block(net, 2, 1, true);
    net_run(net, 40 * S);
    assert_true(hard_ask(net, 2, 0).held > 0);
    net_run(net, 40 * S);
    assert_int_equal(hard_ask(net, 2, 0).held, 0);
    assert_true(hard_ask(net, 0, 0).held > 0 && hard_ask(net, 1, 0).held > 0);
    net_free(net);
}

/* What a node has said of its rights in a window of a minute. */
static struct tly_moved said(struct net *net, size_t node)
{
    struct tly_engine *e = net_node(net, node);
    size_t count;
    const struct tly_dot *dots = tly_escrow_dots(e, tly_slice_text("sys:r:n:hard:me"), &count);
    struct tly_rate rate = {.limit = 900, .window_ms = 60000, .algorithm = TLY_FIXED_WINDOW};
    struct tly_term term = tly_term_of(&rate, e->cluster_ns / MS);
    return tly_rights_moved(dots, count, &term.at, net_origin(net, node));
}

/* What it holds back it does not lack, and nobody hears it: a storm of refusals writes nothing. */
static void who_holds_back_wishes_for_nothing(void **state)
{
    (void)state;
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 3; i++) {
        (void)net_add_with(net, (struct tly_engine_config){.forget_after_ms = 120000}, i == 0 ? 0 : 1);
        hard_use(net, i, 900, 60000);
    }
    net_run(net, 20 * S);
    net_block(net, 2, 0, true);
    net_block(net, 2, 1, true);
    net_run(net, 80 * S);
    run_to_window(net, 60 * S);
    uint64_t wrote = 0, before = 0;
    for (size_t i = 0; i < 100; i++) {
        struct tly_verdict verdict = hard_ask(net, 2, 1);
        assert_int_equal(verdict.code, TLY_CODE_OVER);
        assert_int_equal(verdict.held, 0);
        uint64_t ts = said(net, 2).wish_ts;
        wrote += ts != before;
        before = ts;
        net_run(net, 10 * MS);
    }
    assert_int_equal(wrote, 0);
    net_free(net);
}

/* A node that stops cleanly and goes on with its life, its wall set back by so much meanwhile. */
static void go_on_earlier(struct net *net, uint64_t back_ns)
{
    net_event(net, 0, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 50 * MS);
    net_kill(net, 0);
    net_shift_wall(net, 0, -(int64_t)back_ns);
    net_go_on(net, 0, 100, 0);
    hard_use(net, 0, 10, 1000);
    net_run(net, 100 * MS);
}

/* It is back in a window that it has counted in, and knows only what it counted in a later one: it begins anew. */
static void a_window_that_comes_back_is_not_counted_twice(void **state)
{
    struct net *net = net_new(MS);
    (void)net_add_with(net, (struct tly_engine_config){.has_store = true, .max_skew_ns = 5 * S}, 0);
    hard_use(net, 0, 10, 1000);
    net_run(net, 20 * S);
    for (size_t i = 0; i < 3; i++) {
        run_to_window(net, S);
        net_run(net, 300 * MS);
        assert_int_equal(hammer(net, 0, 20, MS), 10);
    }
    go_on_earlier(net, 2 * S);
    assert_int_equal(hammer(net, 0, 20, MS), 0);
    net_run(net, 120 * S);
    run_to_window(net, S);
    assert_int_equal(hammer(net, 0, 20, MS), 10);
    net_free(net);
}

/* Its clock ran ahead when it fell, so it had counted in windows that come only now. */
static void what_a_fast_clock_counted_is_not_counted_again(void **state)
{
    struct net *net = net_new(MS);
    for (size_t i = 0; i < 2; i++) {
        if (i == 1) net_shift_wall(net, 1, (int64_t)(40 * S));
        struct tly_engine_config config = {.has_store = true, .max_skew_ns = 60 * S};
        (void)net_add_with(net, config, i == 0 ? 0 : 1);
        hard_use(net, i, 10, 30000);
    }
    net_run(net, 40 * S);
    net_run(net, 30 * S - (NET_WALL_START + net_now(net) + 40 * S) % (30 * S));
    uint64_t counted = hammer(net, 1, 20, MS), window = (NET_WALL_START + net_now(net) + 40 * S) / (30 * S);
    assert_true(counted >= 5);
    net_kill(net, 1);
    net_shift_wall(net, 1, 0);
    net_revive(net, 1, 7000, 1);
    hard_use(net, 1, 10, 30000);
    while ((NET_WALL_START + net_now(net)) / (30 * S) <= window) {
        bool is_that = (NET_WALL_START + net_now(net)) / (30 * S) == window;
        for (size_t node = 0; is_that && node < 2; node++)
            counted += hard_ask(net, node, 1).code == TLY_CODE_OK;
        net_run(net, 500 * MS);
    }
    assert_true(counted <= 10);
    net_free(net);
}

static void go_ahead_of_the_others(struct net *net, size_t node)
{
    struct tly_engine *e = net_node(net, node);
    struct tly_dot next = {.op = TLY_PUT, .num = {60000, net_time(net, node).wall_ns / (60 * S) + 1, 1}};
    assert_int_equal(tly_ormap_put(e->map, tly_slice_text("rl:n:hard:me"), &next), TLY_OK);
    tly_flush_soon(e, true);
    net_run(net, S);
    assert_int_equal(hard_ask(net, node, 0).held, 0);
}

/* One is in the next window already: it has nothing to give of this one, and can use nothing of it. To the last unit that is among the others. */
static void what_is_left_is_not_for_who_is_in_a_later_window(void **state)
{
    (void)state;
    struct net *net = cluster(3, 3, 60000);
    for (size_t wishes = 0; wishes < 2; wishes++) {
        run_to_window(net, 60 * S);
        if (wishes == 1) assert_int_equal(hard_ask(net, 0, 1).code, TLY_CODE_OK);
        assert_int_equal(said(net, 0).wish, 2 * wishes);
        go_ahead_of_the_others(net, 0);
        assert_int_equal(hard_ask(net, 1, 0).held, 1);
        uint64_t admitted = hammer(net, 2, 20, 50 * MS);
        assert_int_equal(admitted, 2);
        net_run(net, 60 * S);
    }
    net_free(net);
}

/* They meet over a line that is slower than their windows: none begins before it knows what the other does. */
static void two_that_meet_do_not_both_found(void **state)
{
    struct net *net = net_new(200 * MS);
    uint64_t founded = 0;
    for (size_t i = 0; i < 2; i++) {
        (void)net_add(net, i == 0 ? 2 : 1);
        hard_use(net, i, 10, 20);
    }
    for (size_t i = 0; i < 1000; i++) {
        uint64_t sum = shares(net, 2);
        assert_true(sum <= 10);
        founded += sum > 0;
        net_run(net, 10 * MS);
    }
    assert_true(founded > 0);
    net_free(net);
}

static void forget(struct net *net, size_t node, const char *name)
{
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text(name)};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static struct net *forgetful(size_t nodes)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++) {
        struct tly_engine_config config = {.forget_after_ms = 40000, .max_skew_ns = 5 * S};
        (void)net_add_with(net, config, i == 0 ? 0 : 1);
        hard_use(net, i, 900, 1000);
    }
    net_run(net, 20 * S);
    run_to_window(net, S);
    assert_int_equal(shares(net, nodes), 900);
    return net;
}

/* What a forgotten node held is the others' again, once it must have held back, also if it lives. */
static void what_a_forgotten_node_held_comes_back(void **state)
{
    for (size_t lives = 0; lives < 2; lives++) {
        struct net *net = forgetful(3);
        if (lives == 0) net_kill(net, 2);
        net_block(net, 2, 0, true);
        net_block(net, 2, 1, true);
        net_run(net, 2 * S);
        forget(net, 0, "n2");
        net_run(net, 10 * S);
        run_to_window(net, S);
        assert_int_equal(shares(net, 2), 600);
        for (size_t i = 0; i < 60; i++) {
            net_run(net, S);
            assert_true(shares(net, lives == 0 ? 2 : 3) <= 900);
        }
        run_to_window(net, S);
        assert_int_equal(shares(net, 2), 900);
        net_free(net);
    }
}

/* Of two halves neither takes what the other may still use. */
static void a_half_takes_nothing_from_the_other(void **state)
{
    struct net *net = forgetful(2);
    net_block(net, 0, 1, true);
    net_run(net, 2 * S);
    forget(net, 0, "n1");
    forget(net, 1, "n0");
    net_run(net, 120 * S);
    run_to_window(net, S);
    assert_int_equal(shares(net, 2), 900);
    assert_int_equal(hard_ask(net, 0, 0).held, 450);
    net_free(net);
}

/* Two that were told of each other do not each begin alone. */
static void nobody_founds_before_all_have_met(void **state)
{
    struct net *net = net_new(2 * MS);
    net_block(net, 0, 1, true);
    for (size_t i = 0; i < 2; i++) {
        (void)net_add(net, i == 0 ? 2 : 1);
        hard_use(net, i, 10, 1000);
    }
    net_run(net, 60 * S);
    assert_int_equal(shares(net, 2), 0);
    struct tly_verdict verdict = hard_ask(net, 0, 1);
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_NOBODYS);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    run_to_window(net, S);
    assert_int_equal(shares(net, 2), 10);
    net_free(net);
}

/* A reset forgets what was counted, and leaves to each what it held. */
static void a_reset_gives_the_window_anew(void **state)
{
    struct net *net = cluster(2, 10, 10000);
    run_to_window(net, 10 * S);
    uint64_t admitted = hammer(net, 0, 30, 20 * MS);
    assert_int_equal(admitted, 10);
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text("rl:n:hard:me")};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 1, request, &reply), TLY_OK);
    net_run(net, 200 * MS);
    admitted = hammer(net, 1, 30, 20 * MS) + hammer(net, 0, 30, 20 * MS);
    assert_int_equal(admitted, 10);
    request.key = tly_slice_text("sys:r:n:hard:me");
    assert_int_equal(net_ask(net, 1, request, &reply), TLY_READ_ONLY);
    net_free(net);
}

/* A hard limit must be known to whoever is asked to give: one of a request is not. */
static void a_rate_that_comes_with_a_request_is_not_hard(void **state)
{
    struct net *net = cluster(1, 10, 1000);
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text("k"), .hits = 1}};
    struct tly_reply reply;
    assert_int_equal(tly_mode_parse(tly_slice_text("hard"), &request.check.rate), TLY_OK);
    request.check.rate.limit = request.check.rate.window_ms = 1000;
    request.check.rate.algorithm = TLY_FIXED_WINDOW;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_BAD_RULE);
    net_free(net);
}

static void tick(struct tly_engine *engine, struct tly_time now)
{
    struct tly_effects effects;
    (void)!tly_engine_step(engine, &(struct tly_event){.kind = TLY_TICK, .now = now}, &effects);
}

/* Whether one more is admitted; not where there is no memory for it. */
static bool admits_one(struct tly_engine *engine, struct tly_time now)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_check check = {.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = 1};
    struct tly_request request = {.kind = TLY_ASK_CHECK, .now = now, .check = check};
    struct tly_reply reply;
    enum tly_result result = tly_engine_ask(engine, &request, &reply);
    assert_true(result == TLY_OK || result == TLY_NOMEM);
    return result == TLY_OK && reply.verdict.code == TLY_CODE_OK;
}

/* Founding, counting and refusing, with an allocation that fails on the way: less at first, and never more. */
static void without_memory_less_is_admitted_and_never_more(void **state)
{
    size_t failures = 0;
    bool failed = true;
    for (size_t n = 0; failed; n++) {
        struct test_failing failing = {.countdown = SIZE_MAX};
        struct tly_engine_config config = {.mem = test_failing_mem(&failing),
                                           .name = tly_slice_text("n0"),
                                           .address = tly_slice_text("n0:1"),
                                           .now = {NET_WALL_START + 3 * S, S}};
        struct tly_engine *engine;
        uint64_t admitted = 0;
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        assert_int_equal(tly_engine_start(engine, 7, config.now), TLY_OK);
        tly_engine_use_rules(engine, hard_rules(3, 10000));
        failing = (struct test_failing){.countdown = n};
        struct tly_time now = config.now;
        for (size_t i = 0; i < 30; i++) {
            now.wall_ns += 500 * MS;
            now.mono_ns += 500 * MS;
            tick(engine, now);
            bool begun = now.wall_ns / (10 * S) > config.now.wall_ns / (10 * S);
            if (begun) admitted += admits_one(engine, now);
        }
        failed = failing.failed;
        failures += failed;
        if (admitted != 3) fail_msg("the allocation number %zu: %zu of 3", n, (size_t)admitted);
        tly_engine_check(engine);
        tly_engine_free(engine);
        assert_int_equal(test_mem_live(), 0);
    }
    assert_true(failures > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shares_of_all_are_the_limit),
        cmocka_unit_test(low_limits_work),
        cmocka_unit_test(of_the_longest_keys_each_admits_its_share),
        cmocka_unit_test(one_check_may_be_for_more_than_a_share),
        cmocka_unit_test(what_can_never_pass_takes_no_rights),
        cmocka_unit_test(wishes_that_cannot_be_met_are_in_nobodys_way),
        cmocka_unit_test(a_wish_that_was_forgotten_is_said_again),
        cmocka_unit_test(what_is_given_back_goes_at_once_to_who_waits_for_it),
        cmocka_unit_test(in_a_ring_those_without_a_connection_give_too),
        cmocka_unit_test(what_is_there_is_used_though_one_is_asked_ten_times_as_often),
        cmocka_unit_test(a_giver_killed_after_giving_never_spends_that_right),
        cmocka_unit_test(who_fell_takes_over_what_it_held),
        cmocka_unit_test(a_copy_of_the_disk_holds_nothing_twice),
        cmocka_unit_test(a_part_that_is_cut_off_goes_on_with_its_share),
        cmocka_unit_test(the_lesser_part_holds_back_before_it_is_forgotten),
        cmocka_unit_test(who_holds_back_wishes_for_nothing),
        cmocka_unit_test(a_window_that_comes_back_is_not_counted_twice),
        cmocka_unit_test(what_a_fast_clock_counted_is_not_counted_again),
        cmocka_unit_test(what_is_left_is_not_for_who_is_in_a_later_window),
        cmocka_unit_test(two_that_meet_do_not_both_found),
        cmocka_unit_test(what_a_forgotten_node_held_comes_back),
        cmocka_unit_test(a_half_takes_nothing_from_the_other),
        cmocka_unit_test(nobody_founds_before_all_have_met),
        cmocka_unit_test(a_reset_gives_the_window_anew),
        cmocka_unit_test(without_memory_less_is_admitted_and_never_more),
        cmocka_unit_test(a_rate_that_comes_with_a_request_is_not_hard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
