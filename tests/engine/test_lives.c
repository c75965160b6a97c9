/* Lives and leases of whole nodes: what a restart keeps, what a restored disk must not do, and what the lease costs. */
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static struct tly_node_view view_of(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view;
}

static void assert_equal_nodes(struct net *net, size_t a, size_t b)
{
    assert_int_equal(net_digest(net, a), net_digest(net, b));
}

static void stop(struct net *net, size_t node)
{
    net_event(net, node, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 20 * MS);
    net_kill(net, node);
}

static void the_lease_costs_at_most_one_sync_per_lease_of_clock(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_run(net, S);
    size_t before = net_leases(net, 0);
    uint64_t from = view_of(net, 0).clock_last;
    for (int i = 0; i < 2000; i++) {
        net_add_to(net, 0, "k", 1);
        net_run(net, 50 * MS);
    }
    uint64_t passed = view_of(net, 0).clock_last - from;
    size_t leases = net_leases(net, 0) - before;
    assert_true(leases > 0 && passed > 90 * S);
    assert_true(leases <= passed / TLY_CLOCK_LEASE_NS + 1);
    assert_true(view_of(net, 0).clock_covered);
    net_free(net);
}

static void an_idle_minute_appends_no_record_and_no_lease(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 0, "k", 1);
    net_run(net, 5 * S);
    size_t batches = net_batches(net, 0), leases = net_leases(net, 0);
    assert_true(batches > 0);
    net_run(net, 60 * S);
    assert_int_equal(net_batches(net, 0), batches);
    assert_int_equal(net_leases(net, 0), leases);
    net_free(net);
}

/* An old copy of a disk, with its clean mark: the life would go on below what its peers know of it. */
static void a_restored_node_takes_a_new_life_before_anybody_has_a_dot_of_it(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    size_t copied = net_batches(net, 1);
    net_add_to(net, 1, "a", 2);
    net_add_to(net, 1, "b", 3);
    net_run(net, S);
    net_kill(net, 1);
    net_shift_wall(net, 1, -(int64_t)(60 * S));
    net_shorten(net, 1, copied);
    net_go_on(net, 1, 101, 1);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_int_equal(net_read(net, 1, "a"), 5);
    net_run(net, 2 * S);
    assert_true(view_of(net, 1).origin != 101);
    net_add_to(net, 1, "a", 1);
    net_add_to(net, 0, "b", 1);
    net_run(net, 2 * S);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_read(net, i, "a"), 8);
        assert_int_equal(net_read(net, i, "b"), 4);
    }
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* All nodes of a cluster have one list of seeds, so each is told of itself and greets itself. */
static void a_node_that_dials_itself_goes_on_with_its_life(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 3);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    net_kill(net, 1);
    net_go_on(net, 1, 101, 3);
    net_run(net, 5 * S);
    assert_int_equal(view_of(net, 1).origin, 101);
    net_add_to(net, 1, "a", 2);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "a"), 7);
    net_free(net);
}

/* Two copies of one disk, both alive: no two nodes speak as one life. */
static void the_second_holder_of_a_life_is_kept_out(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    net_kill(net, 2);
    net_shorten(net, 2, 0);
    net_go_on(net, 2, 101, 3); /* n2 comes up with n1's life */
    net_run(net, 5 * S);
    net_add_to(net, 1, "a", 2);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 0, "a"), 7);
    assert_int_equal(net_read(net, 1, "a"), 7);
    /* By whoever sees it first, be it the copy itself. */
    assert_true(net_stats(net, 0).sessions_refused + net_stats(net, 2).sessions_refused > 0);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_true(view_of(net, 2).origin != 101);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* The stop was clean and the disk is the newest: nobody knows more. */
static void a_life_goes_on_after_a_clean_stop(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    for (int i = 0; i < 20; i++) {
        stop(net, 1);
        net_go_on(net, 1, 101, 1);
        net_run(net, 2 * S);
        assert_int_equal(view_of(net, 1).origin, 101);
        assert_int_equal(net_add_to(net, 1, "a", 1), 6 + i);
        net_run(net, S);
    }
    /* While the life was in question nothing was written, so no other is known. */
    assert_int_equal(view_of(net, 0).lives, 2);
    assert_int_equal(net_read(net, 0, "a"), 25);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* The mark at which a life was settled is there from the start on, and so is the word that settled it. */
static void a_settled_life_is_so_while_the_own_is_in_question(void **state)
{
    (void)state;
    struct net *net = some_nodes(3);
    net_add_to(net, 2, "a", 5);
    net_run(net, S);
    net_kill(net, 2);
    forget_member(net, 0, "n2");
    net_run(net, 5 * S);
    uint64_t mark = net_life(net, 1, 102).mark;
    assert_true(mark > 0 && net_life(net, 1, 102).state >= TLY_LIFE_SETTLED);
    stop(net, 1);
    block_all(net, 1, 3, true);
    net_go_on(net, 1, 101, 1);
    net_run(net, S);
    assert_true(view_of(net, 1).life_in_question);
    assert_true(net_life(net, 1, 102).state >= TLY_LIFE_SETTLED);
    assert_int_equal(net_life(net, 1, 102).mark, mark);
    block_all(net, 1, 3, false);
    net_run(net, 5 * S);
    assert_false(view_of(net, 1).life_in_question);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_true(net_life(net, 1, 102).state >= TLY_LIFE_SETTLED);
    assert_int_equal(net_life(net, 1, 102).mark, mark);
    net_free(net);
}

/* n2 counts alone, is forgotten and told so, and has no snapshot yet when all stop. */
static struct net *one_that_was_not_brought_up(uint64_t *origin)
{
    struct net *net = some_nodes(3);
    net_add_to(net, 2, "a", 5);
    net_run(net, S);
    block_all(net, 2, 3, true);
    net_add_to(net, 2, "a", 2);
    net_add_to(net, 2, "b", 3);
    put(net, 2, "kv:alone", "x");
    net_run(net, S);
    forget_member(net, 0, "n2");
    while (net_life(net, 1, 102).state < TLY_LIFE_SETTLED)
        net_run(net, 100 * MS);
    block_all(net, 2, 3, false);
    while (net_life(net, 2, 102).state < TLY_LIFE_SETTLED)
        net_run(net, MS / 10);
    block_all(net, 2, 3, true);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 0);
    *origin = net_origin(net, 2);
    for (size_t i = 0; i < 3; i++)
        stop(net, i);
    block_all(net, 2, 3, false);
    return net;
}

/* Had each of the others taken what n2 counted alone, for it was just started as well, none could give a snapshot without. */
static void who_was_forgotten_meets_only_those_that_were_just_started(void **state)
{
    (void)state;
    uint64_t origin;
    struct net *net = one_that_was_not_brought_up(&origin);
    net_go_on(net, 2, origin, 3);
    net_go_on(net, 0, 100, 6);
    net_go_on(net, 1, 101, 5);
    net_run(net, 30 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_read(net, i, "a"), 7);
        assert_int_equal(net_read(net, i, "b"), 3);
        assert_true(net_life(net, i, 102).last <= net_life(net, i, 102).mark);
        assert_int_equal(net_stats(net, i).snapshots_installed, i == 2 ? 1 : 0);
    }
    claim_equal(net, 3);
    net_free(net);
}

/* In a ring only the neighbours are asked, for with the others there is no link. */
static void in_a_ring_the_neighbours_are_asked(void **state)
{
    enum { NODES = 24, LAST = NODES - 1 };
    struct net *net = net_new(MS);
    for (size_t i = 0; i < NODES; i++)
        net_add_with(net, (struct tly_engine_config){.has_store = i == LAST, .mesh_max = 4}, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    assert_true(net_peers_up(net, LAST) < LAST);
    stop(net, LAST);
    net_run(net, S);
    net_go_on(net, LAST, 100 + LAST, 1);
    net_run(net, 9 * S);
    assert_int_equal(view_of(net, LAST).origin, 100 + LAST);
    assert_int_equal(net_add_to(net, LAST, "a", 1), 1);
    net_run(net, 30 * S);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(net_read(net, i, "a"), 1);
    assert_int_equal(view_of(net, LAST).origin, 100 + LAST);
    net_free(net);
}

/* What is written before any peer has spoken is counted all the same, whichever life is then gone on with. */
static void what_is_written_while_a_life_is_in_question_counts(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    net_kill(net, 1);
    net_go_on(net, 1, 101, 1);
    assert_int_equal(net_add_to(net, 1, "a", 2), 7);
    net_run(net, 2 * S);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_int_equal(view_of(net, 0).lives, 3);
    assert_int_equal(net_add_to(net, 1, "a", 1), 8);
    net_run(net, S);
    /* What was written then is on the disk as well. */
    net_kill(net, 1);
    net_revive(net, 1, 1000, 0);
    assert_int_equal(net_read(net, 1, "a"), 8);
    assert_int_equal(net_read(net, 0, "a"), 8);
    net_free(net);
}

/* Its peers cannot be asked: it serves, and does not go on with a life of which they may know more. */
static void a_restored_node_that_is_cut_off_serves_in_another_life(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    size_t copied = net_batches(net, 1);
    net_add_to(net, 1, "a", 2);
    net_run(net, S);
    net_kill(net, 1);
    net_block(net, 0, 1, true);
    net_shorten(net, 1, copied);
    net_go_on(net, 1, 101, 0); /* it knows the other from its disk */
    assert_int_equal(net_add_to(net, 1, "a", 10), 15);
    net_run(net, 60 * S);
    assert_true(view_of(net, 1).origin != 101);
    assert_int_equal(net_add_to(net, 1, "a", 10), 25);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(net_read(net, i, "a"), 27);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* Something waits to be forgotten, which rests as long: a moment in the past would keep the node from all else. */
static void a_node_whose_life_is_in_question_is_not_always_due(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    net_kill(net, 2);
    net_revive(net, 2, 1000, 1); /* the life before has ended */
    net_run(net, S);
    net_kill(net, 1);
    net_block(net, 0, 1, true);
    net_block(net, 2, 1, true);
    net_go_on(net, 1, 101, 1);
    net_run(net, 2 * S);
    struct tly_forget_view waiting;
    tly_engine_forgetting(net_node(net, 1), &waiting);
    assert_true(waiting.closed > 0);
    assert_true(tly_engine_deadline(net_node(net, 1)) > net_time(net, 1).mono_ns);
    net_free(net);
}

/* A life in question is not announced: who is killed then has left, as far as the others know. */
static void two_that_know_of_each_other_that_they_left_meet_again(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 2);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    stop(net, 0);
    net_go_on(net, 0, 100, 0);
    net_run(net, 200 * MS);
    assert_int_equal(net_peers_up(net, 0), 1);
    assert_true(view_of(net, 0).life_in_question);
    stop(net, 1);
    net_kill(net, 0);
    net_revive(net, 0, 1000, 0);
    net_run(net, S);
    net_revive(net, 1, 1001, 0);
    net_add_to(net, 1, "a", 1);
    net_run(net, 30 * S);
    assert_int_equal(net_peers_up(net, 0), 1);
    assert_int_equal(net_read(net, 0, "a"), 6);
    net_free(net);
}

/* Nobody knows more of that life; but it has ended, and its node lived on as another. */
static void a_life_that_was_replaced_is_not_gone_on_with(void **state)
{
    struct net *net = net_new(600 * MS); /* what the others answer comes late */
    ;
    net_add(net, 0);
    net_add(net, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_to(net, 2, "a", 5);
    net_run(net, 10 * S);
    stop(net, 2);
    struct net_disk *disk = net_disk_copy(net, 2);
    net_revive(net, 2, 1000, 1);
    net_add_to(net, 2, "a", 1);
    net_run(net, 10 * S);
    net_kill(net, 2);
    net_disk_put(net, 2, disk);
    net_disk_free(disk);
    net_go_on(net, 2, 102, 3);
    net_run(net, 5 * S);
    assert_true(view_of(net, 2).origin != 102);
    net_run(net, 60 * S);
    assert_int_equal(net_peers_up(net, 2), 2);
    assert_int_equal(net_read(net, 2, "a"), 6);
    assert_equal_nodes(net, 0, 2);
    net_free(net);
}

/* n0 and n1 have forgotten what is newer than all that n2 has counted, alone. */
static struct net *one_alone_and_two_that_forgot(void)
{
    struct net *net = some_nodes(2);
    net_add_with(net, stored, 0);
    net_add_to(net, 2, "a", 5);
    net_run(net, S);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    del(net, 0, "kv:x");
    net_run(net, 60 * S);
    assert_int_equal(removes(net, 0) + removes(net, 1), 0);
    return net;
}

/* … of those whom it is told of, while it is in question which life speaks. */
static void await_a_snapshot(struct net *net, size_t node)
{
    while (net_stats(net, node).snapshots_installed == 0) {
        assert_true(view_of(net, node).life_in_question);
        net_run(net, MS);
    }
}

/* What it counted is then no more its own life's than it is theirs. */
static void what_a_life_in_question_counted_alone_outlives_a_snapshot(void **state)
{
    (void)state;
    struct net *net = one_alone_and_two_that_forgot();
    stop(net, 2);
    net_go_on(net, 2, 102, 3);
    await_a_snapshot(net, 2);
    net_run(net, 20 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "a"), 5);
    claim_equal(net, 3);
    net_free(net);
}

/* A copy of that disk, under another name, has no less right to those counts; when the original comes itself, they are there once. */
static void what_a_copy_in_question_brings_is_not_counted_twice(void **state)
{
    (void)state;
    struct net *net = one_alone_and_two_that_forgot();
    net_add_with(net, stored, 0);
    net_run(net, S);
    net_kill(net, 3);
    struct net_disk *disk = net_disk_copy(net, 2);
    net_disk_put(net, 3, disk);
    net_disk_free(disk);
    block_all(net, 2, 4, true);
    net_go_on(net, 3, 102, 3);
    await_a_snapshot(net, 3);
    net_run(net, 100 * S);
    assert_int_equal(net_read(net, 0, "a"), 5);
    net_add_to(net, 2, "a", 2);
    block_all(net, 2, 4, false);
    stop(net, 2);
    net_go_on(net, 2, 102, 3);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(net_read(net, i, "a"), 7);
    net_free(net);
}

/*
 * n2 counts 5 while its life is in question, or 3 more that n0 and n1 hear, and falls before that is over. They forget it, and what is newer than all
 * that it has counted.
 */
static struct net *one_that_fell_and_two_that_forgot(bool is_heard)
{
    struct net *net = some_nodes(3);
    net_run(net, S);
    stop(net, 2);
    block_all(net, 2, 3, !is_heard);
    net_go_on(net, 2, 102, 3);
    if (is_heard) {
        net_run(net, 10 * MS);
        net_add_to(net, 2, "a", 3);
        net_run(net, 200 * MS);
        assert_int_equal(net_read(net, 0, "a"), 3);
        block_all(net, 2, 3, true);
    }
    net_add_to(net, 2, "a", 5);
    net_run(net, 100 * MS);
    assert_true(view_of(net, 2).life_in_question);
    net_kill(net, 2);
    forget_member(net, 0, "n2");
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    del(net, 0, "kv:x");
    net_run(net, 100 * S);
    assert_int_equal(removes(net, 0) + removes(net, 1), 0);
    block_all(net, 2, 3, false);
    return net;
}

/* That life was not announced, and nobody but the disk tells whose it was. */
static void what_was_counted_in_question_outlives_a_fall_and_a_snapshot(void **state)
{
    (void)state;
    for (int is_heard = 0; is_heard < 2; is_heard++) {
        struct net *net = one_that_fell_and_two_that_forgot(is_heard);
        net_revive(net, 2, 1000, 3);
        net_run(net, 100 * S);
        assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(net_read(net, i, "a"), is_heard ? 8 : 5);
        claim_equal(net, 3);
        net_free(net);
    }
}

/* Nor does a copy of the disk under another name take them for its own: what it has of that life stays where it was, and counts once. */
static void what_was_counted_in_question_is_not_counted_twice_by_a_copy(void **state)
{
    (void)state;
    for (int is_heard = 0; is_heard < 2; is_heard++) {
        struct net *net = one_that_fell_and_two_that_forgot(is_heard);
        net_add_with(net, stored, 0);
        net_kill(net, 3);
        struct net_disk *disk = net_disk_copy(net, 2);
        net_disk_put(net, 3, disk);
        net_disk_free(disk);
        net_revive(net, 3, 1001, 3);
        net_run(net, 100 * S);
        net_revive(net, 2, 1000, 3);
        net_run(net, 100 * S);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(net_read(net, i, "a"), is_heard ? 8 : 5);
        claim_equal(net, 4);
        net_free(net);
    }
}

/* A clean stop leaves the life in question, which is so once more at the next start; the one beside it has ended. */
static void what_was_counted_in_question_outlives_a_stop_and_a_snapshot(void **state)
{
    (void)state;
    struct net *net = one_that_fell_and_two_that_forgot(false);
    net_go_on(net, 2, 102, 3);
    net_run(net, 100 * S);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "a"), 5);
    claim_equal(net, 3);
    net_free(net);
}

static void who_knows_nobody_goes_on_at_once(void **state)
{
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_to(net, 0, "a", 5);
    net_run(net, S);
    net_kill(net, 0);
    net_go_on(net, 0, 100, 0);
    assert_int_equal(net_add_to(net, 0, "a", 1), 6);
    net_run(net, 20 * S);
    assert_int_equal(view_of(net, 0).origin, 100);
    assert_int_equal(view_of(net, 0).lives, 1);
    net_free(net);
}

static void ask_for(struct net *net, size_t node, enum tly_request_kind kind, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = kind, .key = tly_slice_text(key), .bytes = tly_slice_text("new")};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

/*
 * A disk from before it knew any other: it has nobody to ask and goes on. The first that comes knows more: nothing that anybody
 * had heard is lost, deletes and texts stand, and only what was counted in between is not.
 */
static void who_went_on_and_is_behind_disowns_its_counts(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 2);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_block(net, 0, 1, true);
    net_add_to(net, 1, "a", 5);
    net_add_to(net, 1, "gone", 5);
    ask_for(net, 1, TLY_ASK_PUT, "kv:old");
    net_run(net, S);
    size_t copied = net_batches(net, 1);
    net_block(net, 0, 1, false);
    net_run(net, 40 * S);
    net_add_to(net, 1, "a", 2);
    net_add_to(net, 0, "a", 20);
    net_add_to(net, 1, "b", 3);
    net_run(net, S);
    net_kill(net, 1);
    net_block(net, 0, 1, true);
    net_shorten(net, 1, copied);
    net_go_on(net, 1, 101, 0);
    assert_int_equal(net_add_to(net, 1, "a", 100), 105);
    ask_for(net, 1, TLY_ASK_REMOVE, "gone");
    ask_for(net, 1, TLY_ASK_REMOVE, "kv:old");
    ask_for(net, 1, TLY_ASK_PUT, "kv:new");
    net_run(net, 20 * S);
    assert_int_equal(view_of(net, 1).origin, 101);
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    assert_true(view_of(net, 1).origin != 101);
    assert_equal_nodes(net, 0, 1);
    for (size_t i = 0; i < 2; i++) {
        struct tly_reply reply;
        struct tly_request kept = {.kind = TLY_ASK_READ, .key = tly_slice_text("kv:new")};
        struct tly_request removed = {.kind = TLY_ASK_READ, .key = tly_slice_text("kv:old")};
        assert_int_equal(net_read(net, i, "a"), 27);
        assert_int_equal(net_read(net, i, "b"), 3);
        assert_int_equal(net_read(net, i, "gone"), INT64_MIN);
        assert_int_equal(net_ask(net, i, kept, &reply), TLY_OK);
        assert_int_equal(net_ask(net, i, removed, &reply), TLY_NOT_FOUND);
    }
    assert_int_equal(net_add_to(net, 1, "a", 1), 28);
    net_run(net, S);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* A copy of a node that knew nobody knows the one it was copied from, and waits for it in a life of its own. */
static void a_copy_leaves_no_dot_in_the_life_of_the_original(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 2);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 3);
    net_block(net, 0, 1, true);
    net_block(net, 2, 1, true);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    struct net_disk *disk = net_disk_copy(net, 1);
    net_block(net, 0, 1, false);
    net_run(net, 40 * S);
    net_kill(net, 2);
    net_block(net, 0, 2, true);
    net_disk_put(net, 2, disk);
    net_disk_free(disk);
    net_go_on(net, 2, 101, 0);
    assert_int_equal(net_add_to(net, 2, "a", 100), 105);
    ask_for(net, 2, TLY_ASK_PUT, "kv:copy");
    net_add_to(net, 1, "a", 2);
    net_run(net, S);
    net_block(net, 0, 2, false);
    net_block(net, 2, 1, false);
    net_run(net, 100 * S);
    assert_int_equal(view_of(net, 1).origin, 101);
    assert_true(view_of(net, 2).origin != 101);
    for (size_t i = 0; i < 3; i++) {
        struct tly_reply reply;
        struct tly_request put = {.kind = TLY_ASK_READ, .key = tly_slice_text("kv:copy")};
        assert_int_equal(net_read(net, i, "a"), 107);
        assert_int_equal(net_ask(net, i, put, &reply), TLY_OK);
        assert_equal_nodes(net, 0, i);
    }
    net_free(net);
}

/* ---- at random ---- */

static void count_somewhere(struct net *net, size_t node, struct test_rng *rng, int64_t sums[3])
{
    static const char *const keys[] = {"a", "b", "c"};
    size_t key = (size_t)test_rng_below(rng, 3);
    int64_t units = (int64_t)test_rng_below(rng, 5) + 1;
    (void)net_add_to(net, node, keys[key], units);
    sums[key] += units;
}

/* Three nodes count for a while; the last has a disk. At the end all was heard by somebody. */
static void count_for_a_while(struct net *net, struct test_rng *rng, int64_t sums[3])
{
    for (size_t n = (size_t)test_rng_below(rng, 12); n > 0; n--) {
        count_somewhere(net, (size_t)test_rng_below(rng, 3), rng, sums);
        net_run(net, test_rng_below(rng, 100) * MS);
    }
    net_run(net, 500 * MS);
}

/* All three nodes hold the same, and no count was lost or doubled. */
static void assert_counts(struct net *net, const int64_t sums[3])
{
    for (size_t i = 0; i < 3; i++) {
        bool exact = net_read(net, i, "a") == (sums[0] != 0 ? sums[0] : INT64_MIN) &&
                     net_read(net, i, "b") == (sums[1] != 0 ? sums[1] : INT64_MIN) &&
                     net_read(net, i, "c") == (sums[2] != 0 ? sums[2] : INT64_MIN);
        claim(exact);
        claim(net_digest(net, i) == net_digest(net, 0));
    }
}

/* True: the node had to begin another life. */
static bool a_disk_comes_back(uint64_t seed)
{
    static const int64_t shifts_s[] = {0, -60, 60, -200};
    struct test_rng rng = test_rng_of(seed);
    int64_t sums[3] = {0};
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 3);
    count_for_a_while(net, &rng, sums);
    count_for_a_while(net, &rng, sums);
    size_t copied = (size_t)test_rng_below(&rng, net_batches(net, 2) + 1);
    bool is_older = copied < net_batches(net, 2), cut_off = test_rng_below(&rng, 2) == 0;
    net_kill(net, 2);
    net_shift_wall(net, 2, shifts_s[test_rng_below(&rng, 4)] * (int64_t)S);
    net_block(net, 0, 2, cut_off && test_rng_below(&rng, 2) == 0);
    net_block(net, 1, 2, cut_off);
    net_run(net, test_rng_below(&rng, 3000) * MS);
    net_shorten(net, 2, copied);
    net_go_on(net, 2, 102, 3);
    count_for_a_while(net, &rng, sums);
    net_block(net, 0, 2, false);
    net_block(net, 1, 2, false);
    count_for_a_while(net, &rng, sums);
    net_run(net, 60 * S);
    assert_counts(net, sums);
    /* Of an older disk the life goes on if it lacks nothing of that. */
    bool has_begun_another = view_of(net, 2).origin != 102;
    claim(cut_off || is_older || !has_begun_another);
    net_free(net);
    return has_begun_another;
}

static void whatever_disk_comes_back_no_count_is_lost_or_doubled(void **state)
{
    size_t others = 0;
    uint64_t first = test_seed_first();
    for (uint64_t seed = first; seed < first + 300; seed++)
        others += a_disk_comes_back(seed);
    assert_true(others > 100 && others < 300);
}

/* A copy of a disk that is in use, under another name: it counts at once, in a life of its own, and gets all it lacks. */
static void a_cloned_disk(uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    int64_t sums[3] = {0};
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 3);
    count_for_a_while(net, &rng, sums);
    count_for_a_while(net, &rng, sums);
    net_kill(net, 2);
    struct net_disk *disk = net_disk_copy(net, 1);
    net_disk_put(net, 2, disk);
    net_disk_free(disk);
    net_shorten(net, 2, (size_t)test_rng_below(&rng, net_batches(net, 1)) + 1);
    bool is_cut_off = test_rng_chance(&rng, 50);
    net_block(net, 0, 2, is_cut_off);
    net_go_on(net, 2, 101, 1 + (unsigned)test_rng_below(&rng, 3));
    count_for_a_while(net, &rng, sums);
    net_block(net, 0, 2, false);
    count_for_a_while(net, &rng, sums);
    net_run(net, 60 * S);
    claim(view_of(net, 2).origin != 101);
    claim(view_of(net, 1).origin == 101);
    assert_counts(net, sums);
    for (size_t i = 0; i < 3; i++)
        claim(net_peers_up(net, i) == 2);
    net_free(net);
}

static void a_copy_of_a_disk_in_use_counts_in_a_life_of_its_own(void **state)
{
    uint64_t first = test_seed_first();
    for (uint64_t seed = first; seed < first + 200; seed++)
        a_cloned_disk(seed);
}

static void a_killed_node_counts_on_in_a_new_life(void **state)
{
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    int64_t hits = 0;
    for (uint64_t life = 0; life < 100; life++) {
        for (int i = 0; i < 3; i++, hits++)
            net_add_to(net, 1, "a", 1);
        net_run(net, 100 * MS);
        net_kill(net, 1);
        net_run(net, 20 * MS);
        net_revive(net, 1, 1000 + life, 1);
        net_run(net, S);
        assert_int_equal(net_read(net, 0, "a"), hits);
        assert_int_equal(net_read(net, 1, "a"), hits);
    }
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* Whether a node has the number of a life (sys:stable:, forget.c). */
static bool has_number_of(struct net *net, size_t node, uint64_t life)
{
    char key[40];
    struct tly_entry_view view;
    snprintf(key, sizeof key, "sys:stable:%020llu", (unsigned long long)life);
    return tly_engine_entry(net_node(net, node), tly_slice_text(key), &view) == TLY_OK &&
           view.dots[0].op == TLY_PUT;
}

/* Nothing is settled while one is away, and what each life had published is long when many wait for it. */
static void while_one_is_away_the_others_keep_one_number_a_node(void **state)
{
    struct net *net = some_nodes(3);
    block_all(net, 2, 3, true);
    size_t numbers = 0, settled = net_stats(net, 0).lives_settled;
    for (uint64_t life = 1000; life < 1030; life++) {
        net_kill(net, 1);
        net_run(net, 100 * MS);
        net_revive(net, 1, life, 1);
        net_run(net, 15 * S);
        claim(has_number_of(net, 0, life));
    }
    for (uint64_t life = 1000; life < 1030; life++)
        numbers += has_number_of(net, 0, life);
    assert_int_equal(numbers, 1);
    assert_int_equal(net_stats(net, 0).lives_settled, settled);
    block_all(net, 2, 3, false);
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).lives_settled, settled + 30);
    claim_equal(net, 3);
    net_free(net);
}

/* Bytes on all links until the two have met and are quiet. */
static uint64_t bytes_to_meet(struct net *net)
{
    uint64_t before = net_bytes(net);
    net_cut(net, 0, 1);
    net_run(net, 500 * MS);
    assert_int_equal(net_peers_up(net, 0), 1);
    return net_bytes(net) - before;
}

/*
 * What is left of a life that has ended, when all of it is forgotten, until it is dropped as one of more than TLY_LIVES_KEPT; in
 * bytes. Tables double, so what is in one may be there twice.
 *
 *     in the map    its record (96) and its place by origin (16), twice; and of the pages that the words about its end had
 *                   filled, one of each size (crdt/arena.h): fewer than 128 a life, and 64 KiB a size at most
 *     in the engine how far each connection and the disk are with it (64 each), its marks in each stream (64 both ways), what
 *                   was known of its end (16), a mark in a list (16): twice
 *     and of each of the two keys that were written about it (sys:closed:, sys:stable:), though they are gone, the name by which
 *                   streams called it: 40, the key (31), its place (32), and a row of 64 in the tables, twice. These are as
 *                   many as there ever were names, and TLY_NAMES_MAX at most.
 */
static const size_t map_bytes_of_a_life = 2 * (96 + 16) + 128;
static const size_t bytes_of_a_life =
    2 * (96 + 16) + 128 + 2 * (4 * 64 + 16 + 16) + 2 * (40 + 31 + 32 + 2 * 64);

/* Crashes n1 so often, and lets all of it be forgotten. A plain counter would keep a shard of each life; that is known. */
static void crash_again_and_again(struct net *net, size_t crashes, uint64_t *lives)
{
    for (size_t i = 0; i < crashes; i++) {
        if (i % 20 == 0) (void)net_check(net, 1, "k", "1000000/1s", TLY_FIXED_WINDOW);
        net_run(net, 50 * MS);
        net_kill(net, 1);
        net_run(net, 10 * MS);
        net_revive(net, 1, ++*lives, 1);
        net_run(net, 300 * MS);
    }
    net_run(net, 900 * S);
}

static void what_a_thousand_crashes_leave_is_bounded_by_each(void **state)
{
    size_t crashes = test_is_long() ? 1000 : 200, first = crashes / 4, memory[2], map[2];
    uint64_t lives = 1000;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    net_run(net, S);
    uint64_t bytes = bytes_to_meet(net);
    crash_again_and_again(net, first, &lives);
    for (size_t i = 0; i < 2; i++) {
        memory[i] = view_of(net, i).memory_used;
        map[i] = view_of(net, i).bytes;
    }
    crash_again_and_again(net, crashes - first, &lives);
    for (size_t i = 0; i < 2; i++) {
        struct tly_node_view view = view_of(net, i);
        size_t more = view.memory_used - memory[i], of_map = view.bytes - map[i];
        print_message("n%zu: %zu bytes a life, %zu of them in the map\n", i, more / (crashes - first),
                      of_map / (crashes - first));
        assert_in_range(view.lives, crashes, crashes + 2);
        assert_in_range(view.keys, 1, 10);
        assert_in_range(of_map, 1, (crashes - first) * map_bytes_of_a_life);
        assert_in_range(more, 1, (crashes - first) * bytes_of_a_life);
    }
    /* Nothing is said of them any more. */
    assert_in_range(bytes_to_meet(net), bytes / 2, 2 * bytes);
    assert_equal_nodes(net, 0, 1);
    net_free(net);
}

/* Ends the life of that number at that time: all have it, and lacked some of it. */
static void end_a_life(struct net *net, uint64_t origin, uint64_t ts)
{
    char key[40];
    struct tly_ormap *map = net_node(net, 0)->map;
    struct tly_dot whole = {.op = TLY_PUT, .bytes = tly_slice_text("\x01")};
    (void)snprintf(key, sizeof key, "sys:omitted:%020llu", (unsigned long long)origin);
    assert_int_equal(tly_ormap_close_life(map, origin), TLY_OK);
    assert_int_equal(tly_ormap_raise_mark(map, origin, ts), TLY_OK);
    assert_int_equal(tly_ormap_settle_life(map, origin, ts), TLY_OK);
    tly_ormap_retire_life(map, origin, (struct tly_version){ts, net_origin(net, 0)});
    assert_int_equal(tly_ormap_put(map, tly_slice_text(key), &whole), TLY_OK);
}

/* Keys, be it that they read as deleted. */
static size_t said_to_be_omitted(struct net *net, size_t node)
{
    struct tly_ormap *map = net_node(net, node)->map;
    size_t count = 0, cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL;)
        count += tly_slice_begins(tly_entry_key(entry), tly_slice_text("sys:omitted:"));
    return count;
}

static void what_all_lacked_of_a_life_is_said_while_that_is_remembered(void **state)
{
    (void)state;
    const size_t ended = TLY_LIVES_KEPT + 20;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true, .tombstone_grace_ms = 1000}, 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true, .tombstone_grace_ms = 1000}, 1);
    net_run(net, 3 * S);
    struct tly_engine *e = net_node(net, 0);
    uint64_t now = tly_ormap_clock(e->map)->last;
    for (size_t i = 0; i < ended; i++)
        end_a_life(net, 100000 + i, now - ended + i);
    for (size_t i = 0; i < 60; i++) {
        e->forget.is_wanted = true; /* there is something to do */
        e->forget.step_at = net_time(net, 0).mono_ns;
        net_run(net, S);
    }
    size_t dropped = net_stats(net, 0).lives_dropped;
    assert_true(dropped >= 20);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(said_to_be_omitted(net, i), ended - dropped);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lease_costs_at_most_one_sync_per_lease_of_clock),
        cmocka_unit_test(an_idle_minute_appends_no_record_and_no_lease),
        cmocka_unit_test(a_restored_node_takes_a_new_life_before_anybody_has_a_dot_of_it),
        cmocka_unit_test(a_node_that_dials_itself_goes_on_with_its_life),
        cmocka_unit_test(the_second_holder_of_a_life_is_kept_out),
        cmocka_unit_test(a_life_goes_on_after_a_clean_stop),
        cmocka_unit_test(a_settled_life_is_so_while_the_own_is_in_question),
        cmocka_unit_test(who_was_forgotten_meets_only_those_that_were_just_started),
        cmocka_unit_test(in_a_ring_the_neighbours_are_asked),
        cmocka_unit_test(what_is_written_while_a_life_is_in_question_counts),
        cmocka_unit_test(a_restored_node_that_is_cut_off_serves_in_another_life),
        cmocka_unit_test(a_node_whose_life_is_in_question_is_not_always_due),
        cmocka_unit_test(two_that_know_of_each_other_that_they_left_meet_again),
        cmocka_unit_test(a_life_that_was_replaced_is_not_gone_on_with),
        cmocka_unit_test(what_a_life_in_question_counted_alone_outlives_a_snapshot),
        cmocka_unit_test(what_a_copy_in_question_brings_is_not_counted_twice),
        cmocka_unit_test(what_was_counted_in_question_outlives_a_fall_and_a_snapshot),
        cmocka_unit_test(what_was_counted_in_question_is_not_counted_twice_by_a_copy),
        cmocka_unit_test(what_was_counted_in_question_outlives_a_stop_and_a_snapshot),
        cmocka_unit_test(who_knows_nobody_goes_on_at_once),
        cmocka_unit_test(who_went_on_and_is_behind_disowns_its_counts),
        cmocka_unit_test(a_copy_leaves_no_dot_in_the_life_of_the_original),
        cmocka_unit_test(whatever_disk_comes_back_no_count_is_lost_or_doubled),
        cmocka_unit_test(a_copy_of_a_disk_in_use_counts_in_a_life_of_its_own),
        cmocka_unit_test(a_killed_node_counts_on_in_a_new_life),
        cmocka_unit_test(while_one_is_away_the_others_keep_one_number_a_node),
        cmocka_unit_test(what_a_thousand_crashes_leave_is_bounded_by_each),
        cmocka_unit_test(what_all_lacked_of_a_life_is_said_while_that_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
