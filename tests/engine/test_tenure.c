/* Hard counters: whatever the network does, all nodes together count between the bounds; and what there is moves to where it is wanted. */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"
#include "tests/engine/support_hard.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

static void add_node(struct net *net, unsigned joins, int64_t min, uint64_t max)
{
    struct tly_engine_config config = {.has_store = true, .max_skew_ns = 3 * S, .forget_after_ms = 20000};
    /* The last of three forgets nobody, so that it is not each who is forgotten by the other. */
    if (joins == 3) config.forget_after_ms = 1000000;
    hard_use_counter(net, net_add_with(net, config, joins), min, max);
}

static struct net *cluster(size_t nodes, int64_t min, uint64_t max)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < nodes; i++)
        add_node(net, i == 0 ? 0 : (1u << i) - 1, min, max);
    net_run(net, 20 * S);
    for (size_t i = 0; i < nodes; i++)
        assert_int_equal(net_peers_up(net, i), nodes - 1);
    return net;
}

static struct tly_reply ask(struct net *net, size_t node, enum tly_request_kind kind, uint32_t hits)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request request = {.kind = kind};
    struct tly_reply reply;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    enum tly_result result = net_ask(net, node, request, &reply);
    claim(result == TLY_OK);
    return reply;
}

static bool raise(struct net *net, size_t node, uint32_t hits)
{
    return ask(net, node, TLY_ASK_CHECK, hits).verdict.code == TLY_CODE_OK;
}

static int64_t lower(struct net *net, size_t node, uint32_t hits)
{
    return (int64_t)ask(net, node, TLY_ASK_REFUND, hits).refunded;
}

/* Raises it one by one, with time in between for what has to come, until it was raised so often or that many attempts were refused. */
static int64_t raise_by(struct net *net, size_t node, int64_t wanted)
{
    int64_t raised = 0;
    for (size_t refused = 0; raised < wanted && refused < 30;) {
        bool ok = raise(net, node, 1);
        raised += ok;
        refused += !ok;
        net_run(net, 100 * MS);
    }
    return raised;
}

static int64_t raise_on(struct net *net, size_t node)
{
    return raise_by(net, node, INT64_MAX);
}

static int64_t lower_on(struct net *net, size_t node)
{
    int64_t lowered = 0;
    for (size_t refused = 0; refused < 30;) {
        int64_t units = lower(net, node, 1);
        lowered += units;
        refused += units == 0;
        net_run(net, 100 * MS);
    }
    return lowered;
}

/* Lowers it by so many, with time in between for the rights to come, but not for ever. */
static int64_t lower_by(struct net *net, size_t node, int64_t wanted)
{
    int64_t lowered = 0;
    for (size_t i = 0; lowered < wanted && i < 25; i++) {
        lowered += lower(net, node, (uint32_t)(wanted - lowered));
        net_run(net, 100 * MS);
    }
    return lowered;
}

static int64_t value_at(struct net *net, size_t node)
{
    return net_read(net, node, "rl:c:hard:me");
}

/* Raised on one node and lowered on another it goes from bound to bound, time and again. */
static void rights_move_up_and_down_to_where_they_are_wanted(void **state)
{
    struct net *net = cluster(3, -2, 10);
    for (size_t round = 0; round < 4; round++) {
        int64_t there = round == 0 ? 0 : -2;
        size_t node = round % 3, other = (round + 1) % 3;
        assert_int_equal(raise_on(net, node), 10 - there);
        assert_int_equal(value_at(net, other), 10);
        assert_false(raise(net, other, 1));
        assert_int_equal(lower_on(net, other), 12);
        assert_int_equal(value_at(net, node), -2);
        assert_int_equal(lower(net, node, 1), 0);
    }
    net_free(net);
}

/* Who asks again and again for what the bound does not leave takes nothing from others; up to there, from below 0 too, it is only rights that lack. */
static void what_can_never_pass_takes_no_rights(void **state)
{
    struct net *net = cluster(3, -4, 10);
    assert_int_equal(raise_by(net, 1, 2) + raise_by(net, 2, 2), 4);
    int64_t raised = 0, lowered = 0;
    for (size_t i = 0; i < 400; i++) {
        struct tly_verdict verdict = ask(net, 0, TLY_ASK_CHECK, 14).verdict;
        assert_int_equal(verdict.reason, TLY_REASON_LIMIT);
        assert_int_equal(verdict.retry_after_ms, UINT64_MAX);
        if (i % 80 == 0) raised += raise(net, 1, 1);
        if (i % 80 == 40) lowered += lower(net, 2, 1);
        net_run(net, 25 * MS);
    }
    assert_int_equal(raised, 5);
    assert_int_equal(lowered, 5);
    assert_int_equal(lower_on(net, 1), 8);
    struct tly_verdict verdict = ask(net, 2, TLY_ASK_CHECK, 13).verdict;
    assert_int_equal(verdict.reason, TLY_REASON_RIGHTS);
    net_run(net, S);
    assert_true(raise(net, 2, 13));
    net_free(net);
}

/* What the others had not got is asked for again when two seconds are over, also by a node whose versions were ahead of its clock by then. */
static void a_wish_is_said_again_however_far_a_clock_was_ahead(void **state)
{
    for (size_t ahead = 0; ahead < 2; ahead++) {
        struct net *net = net_new(2 * MS);
        for (size_t i = 0; i < 2; i++) {
            if (ahead == 1 && i == 1) net_shift_wall(net, 1, (int64_t)(200 * S));
            struct tly_engine_config config = {.has_store = true, .max_skew_ns = 300 * S};
            hard_use_counter(net, net_add_with(net, config, i == 0 ? 0 : 1), 0, 10);
        }
        net_run(net, 20 * S);
        assert_int_equal(raise_on(net, 1), 10);
        assert_int_equal(lower_on(net, 1), 10);
        net_shift_wall(net, 1, 0);
        net_block(net, 0, 1, true);
        assert_int_equal(raise_by(net, 1, 9), 9);
        assert_false(raise(net, 0, 5));
        net_block(net, 0, 1, false);
        net_run(net, 10 * S);
        assert_int_equal(value_at(net, 0), 9);
        assert_int_equal(lower(net, 1, 6), 6);
        net_run(net, 200 * MS);
        assert_false(raise(net, 0, 5));
        net_run(net, 200 * MS);
        if (!raise(net, 0, 5)) fail_msg("%zu s ahead", (size_t)(200 * ahead));
        net_free(net);
    }
}

/* Each side counts what it holds, and the sum of both is within the bounds. */
static void two_sides_of_a_cut_stay_within_the_bounds(void **state)
{
    struct net *net = cluster(2, 0, 100);
    int64_t value = raise_by(net, 0, 20) + raise_by(net, 1, 20);
    assert_int_equal(value, 40);
    net_hole(net, 0, 1, true);
    int64_t here = raise_on(net, 0), there = raise_on(net, 1);
    assert_true(here + there > 0 && value + here + there <= 100);
    struct tly_verdict verdict = ask(net, here < there ? 0 : 1, TLY_ASK_CHECK, 1).verdict;
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.bound, 0);
    net_hole(net, 0, 1, false);
    net_run(net, 20 * S);
    value += here + there;
    assert_int_equal(value_at(net, 0), value);
    assert_int_equal(raise_on(net, 0), 100 - value);
    assert_int_equal(value_at(net, 1), 100);
    net_free(net);
}

/* Once its end is settled, what a life left is there for the others, and for the next life of its node. */
static void what_a_life_left_is_taken_over(void **state)
{
    for (size_t how = 0; how < 2; how++) {
        struct net *net = cluster(3, 0, 90);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(raise_by(net, i, 10), 10);
        for (size_t i = 0; i < 3; i++) {
            net_run(net, S);
            net_kill(net, i);
            net_run(net, S);
            net_revive(net, i, 7000 + i, 7 & ~(1u << i));
            hard_use_counter(net, i, 0, 90);
            net_run(net, 30 * S);
        }
        assert_int_equal(raise_on(net, how), 60);
        assert_int_equal(value_at(net, 2), 90);
        net_free(net);
    }
}

/* A member that is given up takes nothing with it but what it counted. */
static void what_a_forgotten_node_held_is_taken_over(void **state)
{
    struct net *net = cluster(3, 0, 30);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(raise_by(net, i, 4), 4);
    net_run(net, S);
    net_kill(net, 2);
    net_run(net, 10 * S);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text("n2")};
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    net_run(net, 60 * S);
    assert_int_equal(raise_on(net, 0), 18);
    net_free(net);
}

/*
 * A node counts alone what it holds, is forgotten, and what it seemed to have left is counted by others: when it comes back, what nobody
 * had heard is not carried over.
 */
static void what_a_forgotten_node_counted_alone_is_lost(void **state)
{
    struct net *net = cluster(3, 0, 30);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(raise_by(net, i, 4), 4);
    net_run(net, S);
    net_hole(net, 0, 2, true);
    net_hole(net, 1, 2, true);
    net_run(net, S);
    int64_t alone = raise_on(net, 2);
    assert_true(alone > 0);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text("n2")};
    net_run(net, 5 * S);
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
    net_run(net, 60 * S);
    assert_int_equal(raise_on(net, 0), 18);
    net_hole(net, 0, 2, false);
    net_hole(net, 1, 2, false);
    net_run(net, 120 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(value_at(net, i), 30);
    net_free(net);
}

/* ---- owners before this one ---- */

#define OTHER UINT64_C(0x5500)
#define ANOTHER UINT64_C(0x6600)

/* A node alone, which holds the line. */
static struct net *lonely(void)
{
    struct net *net = cluster(1, 0, 10);
    struct tly_engine *e = net_node(net, 0);
    size_t count;
    const struct tly_piece *pieces = tly_line_at(e, UINT64_MAX, &count);
    assert_true(count == 1 && pieces[0].life == tly_ormap_origin(e->map));
    return net;
}

static uint64_t own_life(struct net *net)
{
    return tly_ormap_origin(net_node(net, 0)->map);
}

static uint64_t now_ms(const struct tly_engine *e)
{
    return e->cluster_ns / MS;
}

/* What somebody said comes by itself, before all that was said before it. */
static uint64_t hear(struct net *net, const char *key, uint64_t origin, const uint64_t num[4])
{
    struct tly_engine *e = net_node(net, 0);
    struct tly_dot dot = {
        .version = {e->cluster_ns, origin}, .op = TLY_PUT, .num = {num[0], num[1], num[2], num[3]}};
    bool is_own = origin == tly_ormap_origin(e->map);
    enum tly_outcome outcome;
    e->escrow.is_read = false;
    assert_int_equal(is_own ? tly_ormap_put(e->map, tly_slice_text(key), &dot)
                            : tly_ormap_apply(e->map, tly_slice_text(key), &dot, &outcome),
                     TLY_OK);
    net_run(net, S);
    return dot.version.ts;
}

/* A fact about the whole line, which becomes true meanwhile. */
static uint64_t hear_of_line(struct net *net, uint64_t origin, uint64_t window, uint64_t peer)
{
    struct tly_stretch all = {0, TLY_LINE_END};
    const uint64_t num[4] = {window, now_ms(net_node(net, 0)) + 1, peer, tly_stretch_pack(all)};
    return hear(net, TLY_RIGHTS_PREFIX, origin, num);
}

static void hear_all_of(struct net *net, uint64_t origin, uint64_t ts)
{
    assert_int_equal(tly_ormap_raise_mark(net_node(net, 0)->map, origin, ts), TLY_OK);
}

static void end_of(struct net *net, uint64_t origin)
{
    uint64_t last = net_node(net, 0)->cluster_ns;
    hear_all_of(net, origin, last);
    assert_int_equal(tly_ormap_settle_life(net_node(net, 0)->map, origin, last), TLY_OK);
}

/* It may have taken all rights of the counter while it held the line. */
static void a_new_owner_has_heard_all_of_the_one_before_it(void **state)
{
    struct net *net = lonely();
    uint64_t own = own_life(net);
    hear_of_line(net, own, TLY_RIGHTS_STANDING, OTHER);
    uint64_t given = hear_of_line(net, OTHER, TLY_RIGHTS_STANDING, own);
    struct tly_verdict verdict = ask(net, 0, TLY_ASK_CHECK, 1).verdict;
    assert_int_equal(verdict.code, TLY_CODE_OVER);
    assert_int_equal(verdict.reason, TLY_REASON_NOBODYS);
    hear_all_of(net, OTHER, given);
    assert_int_equal(raise_on(net, 0), 10);
    net_free(net);
}

/* … and of a life that had it before that one, which heard the end of it: this node may not have. */
static void a_new_owner_has_heard_all_of_who_was_taken_over_from(void **state)
{
    struct net *net = lonely();
    uint64_t own = own_life(net);
    hear_of_line(net, own, TLY_RIGHTS_STANDING, OTHER);
    hear_of_line(net, ANOTHER, TLY_RIGHTS_TAKEN, OTHER);
    uint64_t given = hear_of_line(net, ANOTHER, TLY_RIGHTS_STANDING, own);
    hear_all_of(net, ANOTHER, given);
    assert_false(raise(net, 0, 1));
    hear_all_of(net, OTHER, net_node(net, 0)->cluster_ns);
    assert_false(raise(net, 0, 1));
    end_of(net, OTHER);
    assert_int_equal(raise_on(net, 0), 10);
    net_free(net);
}

/*
 * One gave another what it had, and that one counted it; both ended before anybody heard of the gift. Who gave seems to have it still, and
 * who counted never to have had it: of what the former left so much is not there. (As long as the count is seen the bound keeps it from being
 * spent; but what is lowered elsewhere and not heard of again would make room for it.)
 */
static void what_an_ended_life_owes_is_not_taken_over(void **state)
{
    struct net *net = lonely();
    uint64_t own = own_life(net);
    const uint64_t took[4] = {[TLY_RIGHTS_WINDOW] = TLY_RIGHTS_TOOK_UP, [TLY_RIGHTS_UNITS] = 10};
    const uint64_t counted[4] = {[TLY_SUM_COUNT] = 3};
    hear_of_line(net, own, TLY_RIGHTS_STANDING, OTHER);
    hear(net, "sys:r:c:hard:me", OTHER, took);
    hear_of_line(net, OTHER, TLY_RIGHTS_STANDING, own);
    hear(net, "rl:c:hard:me", ANOTHER, counted);
    assert_int_equal(value_at(net, 0), 3);
    assert_false(raise(net, 0, 1));
    end_of(net, OTHER);
    end_of(net, ANOTHER);
    assert_true(raise(net, 0, 1));
    assert_int_equal(ask(net, 0, TLY_ASK_CHECK, 0).verdict.held, 7);
    assert_int_equal(raise_on(net, 0), 6);
    net_free(net);
}

static void a_reset_begins_anew_and_holds(void **state)
{
    struct net *net = cluster(2, 0, 10);
    assert_int_equal(raise_on(net, 0), 10);
    (void)ask(net, 1, TLY_ASK_RESET, 0);
    net_hole(net, 0, 1, true);
    int64_t there = raise_on(net, 1), here = raise_on(net, 0);
    assert_int_equal(there, 10);
    assert_int_equal(here, 0);
    net_hole(net, 0, 1, false);
    net_run(net, 20 * S);
    assert_int_equal(value_at(net, 0), 10);
    assert_int_equal(lower_on(net, 0), 10);
    assert_int_equal(raise_on(net, 0), 10);
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text("rl:c:hard:me")};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, request, &reply), TLY_READ_ONLY);
    net_free(net);
}

/* What was reserved is given back by what this node may lower, and no further. */
static void what_is_given_back_stays_above_the_least(void **state)
{
    struct net *net = cluster(2, 0, 10);
    assert_int_equal(raise_on(net, 0), 10);
    assert_int_equal(lower_on(net, 1), 10);
    assert_int_equal(lower(net, 0, 5), 0);
    assert_int_equal(value_at(net, 0), 0);
    net_free(net);
}

static enum tly_result cancel(struct net *net, struct tly_hold_view *hold)
{
    struct tly_request request = {.kind = TLY_ASK_CANCEL, .bytes = tly_slice_text("r")};
    struct tly_reply reply = {0};
    enum tly_result result = net_ask(net, 0, request, &reply);
    *hold = reply.hold;
    return result;
}

/* Until it is admitted. */
static void reserve(struct net *net, uint32_t hits, int64_t ttl_ms)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request request = {.kind = TLY_ASK_RESERVE, .bytes = tly_slice_text("r"), .number = ttl_ms};
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = hits};
    struct tly_reply reply = {0};
    for (size_t i = 0; i < 20 && reply.hold.state == TLY_HOLD_NONE; i++) {
        assert_int_equal(net_ask(net, 0, request, &reply), TLY_OK);
        net_run(net, 100 * MS);
    }
    assert_int_equal(reply.hold.charged, hits);
}

/* Others may have been given what a reservation makes, and used it: it stays open until there is as much again, and nothing is lost. */
static void what_is_reserved_comes_back_when_the_rights_do(void **state)
{
    for (size_t how = 0; how < 2; how++) {
        struct net *net = cluster(2, 0, 20);
        assert_int_equal(raise_by(net, 0, 5) + raise_by(net, 1, 5), 10);
        reserve(net, 5, how == 0 ? 60000 : 6000);
        assert_int_equal(lower_by(net, 1, 6), 6);
        assert_int_equal(value_at(net, 0), 9);
        struct tly_hold_view hold;
        size_t refused = 0;
        while (how == 0 && cancel(net, &hold) == TLY_NO_RIGHTS && ++refused < 10)
            net_run(net, S);
        net_run(net, 20 * S);
        assert_int_equal(value_at(net, 1), 4);
        assert_int_equal(cancel(net, &hold), TLY_OK);
        assert_int_equal(hold.state, how == 0 ? TLY_HOLD_CANCELLED : TLY_HOLD_RETURNED);
        if (how == 0) assert_in_range(refused, 1, 5);
        net_free(net);
    }
}

/* What a client said that it spent is charged, also if it could not be settled then, and nobody asks again. */
static void what_was_spent_stays_charged_when_the_rest_comes_back(void **state)
{
    struct net *net = cluster(2, 0, 20);
    assert_int_equal(raise_by(net, 0, 5) + raise_by(net, 1, 5), 10);
    reserve(net, 5, 6000);
    assert_int_equal(lower_by(net, 1, 7), 7);
    assert_int_equal(value_at(net, 0), 8);
    struct tly_request commit = {.kind = TLY_ASK_COMMIT, .bytes = tly_slice_text("r"), .number = 2};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, 0, commit, &reply), TLY_NO_RIGHTS);
    net_run(net, 30 * S);
    assert_int_equal(value_at(net, 1), 5);
    struct tly_hold_view hold;
    assert_int_equal(cancel(net, &hold), TLY_OK);
    assert_int_equal(hold.state, TLY_HOLD_COMMITTED);
    assert_int_equal(hold.charged, 2);
    net_free(net);
}

#define LONG_MS UINT64_C(600000)

/* ttl_ms: of what is reserved. */
static enum tly_result settle_in(struct net *net, size_t node, enum tly_request_kind kind, uint64_t ttl_ms)
{
    struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
    struct tly_request request = {.kind = kind, .bytes = tly_slice_text("r")};
    struct tly_reply reply = {0};
    if (kind == TLY_ASK_RESERVE) request.number = (int64_t)ttl_ms;
    request.check =
        (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1, .hits = 5};
    enum tly_result result = net_ask(net, node, request, &reply);
    return kind == TLY_ASK_RESERVE && reply.hold.state != TLY_HOLD_OPEN ? TLY_MORE : result;
}

static enum tly_result settle_on(struct net *net, size_t node, enum tly_request_kind kind)
{
    return settle_in(net, node, kind, LONG_MS);
}

static struct net *three_that_may_lower(void)
{
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 3; i++) {
        struct tly_engine_config config = {.has_store = true, .forget_after_ms = 10000000};
        hard_use_counter(net, net_add_with(net, config, (1u << i) - 1), 0, 40);
    }
    net_run(net, 20 * S);
    return net;
}

/* The rights to all that there is are on the third, which is away for so long that the others seldom look. */
static void rights_that_come_late_do_not_go_to_and_fro(void **state)
{
    (void)state;
    for (uint64_t apart_ms = 500; apart_ms < 8000; apart_ms += 2500) {
        struct net *net = three_that_may_lower();
        assert_int_equal(raise_by(net, 2, 10), 10);
        for (size_t i = 0; i < 2; i++) {
            enum tly_result result = TLY_MORE;
            for (size_t n = 0; n < 20 && result != TLY_OK; n++, net_run(net, 100 * MS))
                result = settle_in(net, i, TLY_ASK_RESERVE, 6000 + i * apart_ms);
            assert_int_equal(result, TLY_OK);
        }
        assert_int_equal(lower_by(net, 2, 15), 15);
        net_block(net, 2, 0, true);
        net_block(net, 2, 1, true);
        net_run(net, 80 * S);
        assert_int_equal(net_node(net, 0)->hold_count + net_node(net, 1)->hold_count, 2);
        net_block(net, 2, 0, false);
        net_block(net, 2, 1, false);
        net_run(net, 60 * S);
        assert_int_equal(net_node(net, 0)->hold_count + net_node(net, 1)->hold_count, 0);
        assert_int_equal(value_at(net, 0), 0);
        net_free(net);
    }
}

/* Two give back 5 each, with the rights to 8 between them: neither waits for what the other has. */
static void two_that_give_back_do_not_hold_each_other_up(void **state)
{
    (void)state;
    struct net *net = three_that_may_lower();
    for (size_t i = 0; i < 2; i++)
        for (size_t n = 0; n < 20 && settle_on(net, i, TLY_ASK_RESERVE) != TLY_OK; n++)
            net_run(net, 200 * MS);
    net_run(net, S);
    assert_int_equal(value_at(net, 2), 10);
    int64_t lowered = 0;
    for (size_t n = 0; n < 50 && lowered < 2; n++) {
        lowered += lower(net, 2, 1);
        net_run(net, 100 * MS);
    }
    net_run(net, 5 * S);
    net_block(net, 2, 0, true);
    net_block(net, 2, 1, true);
    for (size_t n = 0; n < 20; n++) {
        for (size_t i = 0; i < 2; i++)
            assert_in_set(settle_on(net, i, TLY_ASK_CANCEL), ((uintmax_t[]){TLY_OK, TLY_NO_RIGHTS}), 2);
        net_run(net, 500 * MS);
    }
    /* The third holds the rest. */
    assert_int_equal(value_at(net, 0), 2);
    net_block(net, 2, 0, false);
    net_block(net, 2, 1, false);
    net_run(net, 10 * S);
    for (size_t n = 0; n < 20; n++) {
        for (size_t i = 0; i < 2; i++)
            (void)settle_on(net, i, TLY_ASK_CANCEL);
        net_run(net, 500 * MS);
    }
    assert_int_equal(settle_on(net, 0, TLY_ASK_CANCEL), TLY_OK);
    assert_int_equal(settle_on(net, 1, TLY_ASK_CANCEL), TLY_OK);
    assert_int_equal(value_at(net, 0), 0);
    net_free(net);
}

/* What cannot be given back for long is looked at ever more seldom. */
static void who_waits_for_rights_looks_ever_more_seldom(void **state)
{
    (void)state;
    struct net *net = net_new(2 * MS);
    for (size_t i = 0; i < 2; i++) {
        struct tly_engine_config config = {.has_store = true, .forget_after_ms = 1000000};
        hard_use_counter(net, net_add_with(net, config, i == 0 ? 0 : 1), 0, 20);
    }
    net_run(net, 20 * S);
    assert_int_equal(raise_by(net, 0, 5) + raise_by(net, 1, 5), 10);
    reserve(net, 5, 6000);
    assert_int_equal(lower_by(net, 1, 6), 6);
    net_block(net, 0, 1, true);
    net_run(net, 10 * S);
    struct tly_engine *e = net_node(net, 0);
    assert_int_equal(e->hold_count, 1);
    size_t looks = 0;
    for (size_t second = 0; second < 60; second++) {
        uint64_t next_ms = e->holds[0].end_ms;
        net_run(net, S);
        looks += e->holds[0].end_ms != next_ms;
    }
    assert_in_range(looks, 8, 24);
    net_block(net, 0, 1, false);
    net_run(net, 30 * S);
    assert_int_equal(e->hold_count, 0);
    assert_int_equal(value_at(net, 1), 4);
    net_free(net);
}

/* What made it is over with the life, and is taken over once that is settled. */
static void what_a_former_life_reserved_comes_back(void **state)
{
    for (size_t how = 0; how < 2; how++) {
        struct net *net = cluster(2, 0, 10);
        reserve(net, 5, 2000);
        net_run(net, S);
        assert_int_equal(value_at(net, 1), 5);
        net_kill(net, 0);
        net_run(net, 2 * S);
        if (how == 1) net_shorten(net, 0, 0);
        net_revive(net, 0, 7000, 2);
        hard_use_counter(net, 0, 0, 10);
        /* It cannot tell yet what others did meanwhile. */
        struct tly_field field = {tly_slice_text("who"), tly_slice_text("me")};
        struct tly_request reset = {.kind = TLY_ASK_RESET};
        struct tly_reply reply;
        reset.check = (struct tly_check){.limit = tly_slice_text("hard"), .fields = &field, .field_count = 1};
        assert_int_equal(net_ask(net, 0, reset, &reply), TLY_NO_RIGHTS);
        net_run(net, 60 * S);
        assert_int_equal(value_at(net, 0), 0);
        assert_int_equal(value_at(net, 1), 0);
        net_free(net);
    }
}

/* What counts there by then was charged by others. */
static void after_a_reset_nothing_reserved_before_comes_back(void **state)
{
    for (size_t how = 0; how < 2; how++) {
        struct net *net = cluster(2, 0, 10);
        struct tly_hold_view hold;
        reserve(net, 3, 60000);
        (void)ask(net, how, TLY_ASK_RESET, 0);
        if (how == 1) net_run(net, S);
        assert_int_equal(raise_by(net, how, 7), 7);
        assert_int_equal(cancel(net, &hold), TLY_OK);
        net_run(net, S);
        assert_int_equal(value_at(net, 1), 7);
        net_free(net);
    }
}

/* ---- by seeds ---- */

#define NODES 4

struct story {
    struct test_rng rng;
    struct net *net;
    int64_t min, max, value;
    bool up[NODES];
    bool loses; /* nodes fall without a word, and what only they knew is lost */
    uint64_t lives;
};

static struct {
    uint64_t raised, lowered, refused, cuts, stops, falls, full;
} sum;

static uint64_t below(struct story *story, uint64_t n)
{
    return test_rng_below(&story->rng, n);
}

static void count(struct story *story, size_t node)
{
    uint32_t hits = 1 + (uint32_t)below(story, 3);
    if (below(story, 2) == 0) {
        bool ok = raise(story->net, node, hits);
        story->value += ok ? hits : 0;
        sum.raised += ok;
        sum.refused += !ok;
    } else {
        int64_t lowered = lower(story->net, node, hits);
        story->value -= lowered;
        sum.lowered += lowered > 0;
    }
    if (!story->loses) claim(story->value >= story->min && story->value <= story->max);
}

static void stop_or_start(struct story *story, size_t node)
{
    struct tly_node_view view;
    unsigned others = ((1u << NODES) - 1) & ~(1u << node);
    if (!story->up[node]) return;
    tly_engine_node(net_node(story->net, node), false, &view);
    bool is_clean = !story->loses || below(story, 2) == 0;
    if (is_clean && view.life_in_question) return;
    if (is_clean) {
        net_event(story->net, node, (struct tly_event){.kind = TLY_LEAVE});
        net_run(story->net, 50 * MS);
    }
    net_kill(story->net, node);
    net_run(story->net, below(story, 2000) * MS);
    if (is_clean) {
        net_go_on(story->net, node, view.origin, others);
    } else {
        if (below(story, 4) == 0) net_shorten(story->net, node, 0);
        net_revive(story->net, node, 0x1000 + below(story, 1 << 20) * 256 + ++story->lives, others);
    }
    hard_use_counter(story->net, node, story->min, (uint64_t)story->max);
    sum.stops += is_clean;
    sum.falls += !is_clean;
}

static void run_seed(uint64_t seed)
{
    struct story story = {.rng = test_rng_of(seed), .loses = seed % 2 == 1};
    story.min = -(int64_t)below(&story, 2) * 5;
    story.max = 1 + (int64_t)below(&story, 30);
    story.net = net_new(MS + below(&story, 20 * MS));
    for (size_t i = 0; i < NODES; i++) {
        add_node(story.net, i == 0 ? 0 : (1u << i) - 1, story.min, (uint64_t)story.max);
        story.up[i] = true;
    }
    net_run(story.net, 10 * S);
    for (size_t step = 0; step < 600; step++) {
        size_t node = (size_t)below(&story, NODES), other = (size_t)below(&story, NODES);
        count(&story, node);
        uint64_t what = below(&story, 60);
        if (what == 0) stop_or_start(&story, node);
        if (what < 4 && node != other) {
            net_hole(story.net, node, other, what == 1);
            sum.cuts += what == 1;
        }
        net_run(story.net, below(&story, 150) * MS);
    }
    for (size_t a = 0; a < NODES; a++)
        for (size_t b = a + 1; b < NODES; b++)
            net_hole(story.net, a, b, false);
    net_run(story.net, 60 * S);
    int64_t value = value_at(story.net, 0);
    for (size_t i = 0; i < NODES; i++)
        claim(value_at(story.net, i) == value);
    if (value == INT64_MIN) value = 0;
    if (value < story.min || value > story.max || (!story.loses && value != story.value))
        fail_msg("seed %zu: %d of %d to %d, counted %d", (size_t)seed, (int)value, (int)story.min,
                 (int)story.max, (int)story.value);
    /* All are there: what is left is to be had anywhere. */
    int64_t more = raise_on(story.net, (size_t)below(&story, NODES));
    if (value + more > story.max)
        fail_msg("seed %zu: %d + %d of %d", (size_t)seed, (int)value, (int)more, (int)story.max);
    sum.full += value + more == story.max;
    net_free(story.net);
}

static void no_history_leaves_the_bounds(void **state)
{
    const char *text = getenv("TALLY_SEEDS");
    uint64_t first = test_seed_first(), n = test_is_long() ? 1000 : 8;
    if (text != NULL) n = strtoull(text, NULL, 10);
    for (uint64_t seed = first; seed < first + n; seed++)
        run_seed(seed);
    print_message(
        "%zu seeds from %zu: %zu raised, %zu lowered, %zu refused; %zu links gone silent, %zu clean stops, %zu "
        "falls; %zu could be filled\n",
        (size_t)n, (size_t)first, (size_t)sum.raised, (size_t)sum.lowered, (size_t)sum.refused,
        (size_t)sum.cuts, (size_t)sum.stops, (size_t)sum.falls, (size_t)sum.full);
    if (n < 8) return;
    assert_true(sum.raised > n && sum.lowered > n && sum.refused > n && sum.cuts > n && sum.stops > n &&
                sum.falls > n / 2 && sum.full > n / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_move_up_and_down_to_where_they_are_wanted),
        cmocka_unit_test(what_can_never_pass_takes_no_rights),
        cmocka_unit_test(a_wish_is_said_again_however_far_a_clock_was_ahead),
        cmocka_unit_test(two_sides_of_a_cut_stay_within_the_bounds),
        cmocka_unit_test(what_a_life_left_is_taken_over),
        cmocka_unit_test(what_a_forgotten_node_held_is_taken_over),
        cmocka_unit_test(what_a_forgotten_node_counted_alone_is_lost),
        cmocka_unit_test(a_new_owner_has_heard_all_of_the_one_before_it),
        cmocka_unit_test(a_new_owner_has_heard_all_of_who_was_taken_over_from),
        cmocka_unit_test(what_an_ended_life_owes_is_not_taken_over),
        cmocka_unit_test(a_reset_begins_anew_and_holds),
        cmocka_unit_test(what_is_given_back_stays_above_the_least),
        cmocka_unit_test(what_is_reserved_comes_back_when_the_rights_do),
        cmocka_unit_test(what_was_spent_stays_charged_when_the_rest_comes_back),
        cmocka_unit_test(two_that_give_back_do_not_hold_each_other_up),
        cmocka_unit_test(rights_that_come_late_do_not_go_to_and_fro),
        cmocka_unit_test(who_waits_for_rights_looks_ever_more_seldom),
        cmocka_unit_test(what_a_former_life_reserved_comes_back),
        cmocka_unit_test(after_a_reset_nothing_reserved_before_comes_back),
        cmocka_unit_test(no_history_leaves_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
