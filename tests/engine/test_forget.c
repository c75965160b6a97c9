/* Engines in virtual time: what is deleted is forgotten in the end, and nothing comes back. */
#include "crdt/ormap_impl.h"
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <time.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRACE (GRACE_MS * MS)

static uint64_t lives = 1000;

/* ---- REMOVEs ---- */

static void a_remove_is_forgotten_once_all_have_it_and_the_grace_is_over(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 0, "kv:a", "x");
    net_add_to(net, 1, "c", 5);
    net_run(net, S);
    del(net, 2, "kv:a");
    del(net, 2, "c");
    net_run(net, GRACE / 2);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(removes(net, i), 2);
    net_run(net, 3 * GRACE);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(removes(net, i), 0);
        assert_int_equal(net_stats(net, i).removes_forgotten, 2);
        assert_false(holds(net, i, "kv:a"));
    }
    claim_equal(net, 3);
    /* With nothing left to forget nothing is said any more. */
    uint64_t dots = net_stats(net, 0).dots_sent, rounds = net_stats(net, 0).rounds_sent;
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).dots_sent, dots);
    assert_int_equal(net_stats(net, 0).rounds_sent, rounds);
    net_free(net);
}

/* G4. */
static void who_is_away_holds_it_back_however_long(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 1, "kv:a", "x");
    net_run(net, S);
    block_all(net, 2, 3, true);
    del(net, 0, "kv:a");
    net_run(net, 10 * GRACE);
    assert_int_equal(removes(net, 0), 1);
    assert_true(holds(net, 2, "kv:a"));
    block_all(net, 2, 3, false);
    net_run(net, 60 * S);
    assert_false(holds(net, 2, "kv:a"));
    assert_int_equal(removes(net, 0), 0);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 0);
    claim_equal(net, 3);
    net_free(net);
}

/* G4, E13. */
static void a_forgotten_member_that_returns_brings_its_counts_and_no_deleted_key(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 2, "kv:a", "x");
    net_add_to(net, 2, "c", 10);
    net_add_to(net, 1, "d", 1);
    net_run(net, S);
    block_all(net, 2, 3, true);
    net_add_to(net, 2, "c", 7);
    net_add_to(net, 2, "fresh", 3);
    del(net, 0, "kv:a");
    del(net, 0, "d");
    net_run(net, 2 * GRACE);
    assert_int_equal(removes(net, 0), 2);
    forget_member(net, 0, "n2");
    net_run(net, 6 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    assert_int_equal(net_stats(net, 0).members_forgotten, 1);
    block_all(net, 2, 3, false);
    net_run(net, 120 * S);
    assert_int_equal(net_stats(net, 2).cold_starts_forgotten, 1);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_false(holds(net, i, "kv:a"));
        assert_int_equal(net_read(net, i, "d"), INT64_MIN);
        assert_int_equal(net_read(net, i, "c"), 17);
        assert_int_equal(net_read(net, i, "fresh"), 3);
    }
    claim_equal(net, 3);
    /* It stays so over a restart from what it has stored. */
    net_restart(net, 2, ++lives, SIZE_MAX);
    net_run(net, 60 * S);
    assert_false(holds(net, 2, "kv:a"));
    assert_int_equal(net_read(net, 2, "c"), 17);
    claim_equal(net, 3);
    net_free(net);
}

static unsigned checks(struct net *net, size_t node, unsigned count)
{
    unsigned admitted = 0;
    while (count-- > 0)
        admitted += net_check(net, node, "k", "5/60s", TLY_FIXED_WINDOW);
    return admitted;
}

static void what_a_forgotten_member_counted_in_a_window_long_over_is_not_in_a_later_one(void **state)
{
    struct net *net = some_nodes(3);
    uint64_t origin = net_origin(net, 2);
    block_all(net, 2, 3, true);
    assert_int_equal(checks(net, 2, 10), 5);
    net_run(net, S);
    net_kill(net, 2);
    forget_member(net, 0, "n2");
    net_run(net, 165 * S);
    block_all(net, 2, 3, false);
    net_go_on(net, 2, origin, 1); /* that it is forgotten it hears when it has counted */
    assert_int_equal(checks(net, 2, 1), 1);
    net_run(net, 3 * S);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
    assert_int_equal(checks(net, 0, 10), 4);
    net_free(net);
}

/* So many are members, and nobody else holds up that what is deleted is forgotten. */
static void expect_only(struct net *net, size_t left, uint64_t within_ns)
{
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, within_ns);
    for (size_t i = 0; i < left; i++) {
        assert_int_equal(removes(net, i), 0);
        assert_int_equal(tly_member_count(net_node(net, i)), left);
    }
    claim_equal(net, left);
}

/* Who has not heard that it was forgotten says later that it is dead, which is the later word. */
static void who_was_forgotten_stays_so_when_others_find_it_dead(void **state)
{
    enum { LEFT = 4, GONE = 4 };
    struct net *net = some_nodes(LEFT + 1);
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 2; j < LEFT; j++)
            net_block(net, i, j, true);
    net_kill(net, GONE);
    forget_member(net, 0, "n4");
    net_run(net, 30 * S);
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 2; j < LEFT; j++)
            net_block(net, i, j, false);
    expect_only(net, LEFT, 90 * S);
    net_free(net);
}

static void accuse(struct net *net, size_t node, const char *name, enum member_state state)
{
    struct tly_engine *e = net_node(net, node);
    assert_int_equal(tly_member_say(e, tly_peer_find(e, tly_slice_text(name)), state), TLY_OK);
}

/* Of those who have not heard that it was forgotten n2 has not heard either that it contradicted before; n3, who has, comes later. */
static void who_was_forgotten_stays_so_whatever_it_had_contradicted(void **state)
{
    enum { LEFT = 4, GONE = 4 };
    struct net *net = some_nodes(LEFT + 1);
    block_all(net, 2, LEFT + 1, true);
    accuse(net, 0, "n4", MEMBER_SUSPECT);
    net_run(net, S);
    assert_int_equal(net_stats(net, GONE).refutations, 1);
    block_all(net, 3, LEFT + 1, true);
    net_kill(net, GONE);
    forget_member(net, 0, "n4");
    net_run(net, S);
    for (size_t i = 2; i < LEFT; i++) {
        accuse(net, i, "n4", MEMBER_DEAD);
        block_all(net, i, i, false);
        net_run(net, 30 * S);
        assert_int_equal(tly_member_count(net_node(net, i)), LEFT);
    }
    expect_only(net, LEFT, 60 * S);
    net_free(net);
}

/* n4 has begun another life while n2 was cut off, which says of the one before that it is dead. */
static struct net *found_dead_in_an_earlier_life(bool is_forgotten)
{
    enum { GONE = 4 };
    struct net *net = some_nodes(GONE + 1);
    block_all(net, 2, GONE + 1, true);
    net_restart(net, GONE, 1001, SIZE_MAX);
    net_run(net, 3 * S);
    if (is_forgotten) net_kill(net, GONE);
    if (is_forgotten) forget_member(net, 0, "n4");
    net_run(net, S);
    accuse(net, 2, "n4", MEMBER_DEAD);
    block_all(net, 2, GONE + 1, false);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, 60 * S);
    return net;
}

static void who_was_forgotten_stays_so_when_an_earlier_life_is_found_dead(void **state)
{
    enum { LEFT = 4 };
    struct net *net = found_dead_in_an_earlier_life(true);
    for (size_t i = 0; i < LEFT; i++) {
        assert_int_equal(removes(net, i), 0);
        assert_int_equal(tly_member_count(net_node(net, i)), LEFT);
    }
    claim_equal(net, LEFT);
    net_free(net);
}

static void no_life_ends_when_an_earlier_one_is_found_dead(void **state)
{
    enum { NODES = 5 };
    struct net *net = found_dead_in_an_earlier_life(false);
    assert_int_equal(net_origin(net, 4), 1001);
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(removes(net, i), 0);
        assert_int_equal(tly_member_count(net_node(net, i)), NODES);
    }
    claim_equal(net, NODES);
    net_free(net);
}

/* n2 is cut off in a long round, and forgotten: a count that went ahead of it was heard, one that stands in it was not. */
static struct net *forgotten_in_a_long_round(void)
{
    struct net *net = some_nodes(3);
    struct test_rng rng = test_rng_unnamed(1);
    char value[3000] = "";
    block_all(net, 2, 3, true);
    for (int i = 0; i < 200; i++) {
        char key[16];
        for (size_t j = 0; j < sizeof value - 1; j++) /* nothing makes it smaller */
            value[j] = (char)(1 + test_rng_below(&rng, 255));
        (void)snprintf(key, sizeof key, "kv:%d", i);
        put(net, 2, key, value);
    }
    net_add_to(net, 2, "behind", 7);
    net_thin(net, 20000, 10000);
    net_block(net, 2, 0, false);
    net_run(net, 5 * S);
    net_add_to(net, 2, "ahead", 3);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 0, "ahead"), 3);
    assert_int_equal(net_read(net, 0, "behind"), INT64_MIN);
    block_all(net, 2, 3, true);
    net_thin(net, 0, 0);
    net_run(net, S);
    forget_member(net, 0, "n2");
    return net;
}

static void expect_what_stood_behind(struct net *net)
{
    net_run(net, 60 * S);
    block_all(net, 2, 3, false);
    net_run(net, 120 * S);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_read(net, i, "ahead"), 3);
        assert_int_equal(net_read(net, i, "behind"), 7);
    }
    claim_equal(net, 3);
    net_free(net);
}

static void what_stood_behind_what_went_ahead_is_carried_over(void **state)
{
    (void)state;
    expect_what_stood_behind(forgotten_in_a_long_round());
}

/* There is room for no key more when its life would be settled. */
static void what_stood_behind_is_said_when_there_is_room(void **state)
{
    (void)state;
    struct net *net = forgotten_in_a_long_round();
    uint64_t origin = net_origin(net, 2);
    while (net_life(net, 0, origin).state == TLY_LIFE_OPEN || net_life(net, 1, origin).state == TLY_LIFE_OPEN)
        net_run(net, MS);
    for (size_t i = 0; i < 2; i++)
        net_node(net, i)->map->keys_max = 0;
    net_run(net, 20 * S);
    for (size_t i = 0; i < 2; i++)
        net_node(net, i)->map->keys_max = UINT32_MAX;
    expect_what_stood_behind(net);
}

/* So it is where nobody gives n2 a snapshot for so long that it has been compared with n0 meanwhile. */
static void what_waits_to_be_carried_over_is_not_given_by_comparing(void **state)
{
    (void)state;
    struct net *net = forgotten_in_a_long_round();
    struct tly_engine *engine = net_node(net, 2);
    uint64_t origin = net_origin(net, 2);
    net_add_to(net, 2, "beyond", 2);
    for (size_t i = 0; i < 2; i++)
        while (net_life(net, i, origin).state < TLY_LIFE_SETTLED)
            net_run(net, MS);
    net_pause(net, 1, true); /* so that the word is not over before n2 hears it */
    net_block(net, 2, 0, false);
    uint64_t begun = net_stats(net, 0).repairs_begun + net_stats(net, 2).repairs_begun;
    for (size_t i = 0; i < 130000 && !holds(net, 0, "behind"); i++) {
        for (size_t j = 0; j < engine->conn_count; j++)
            engine->conns[j]->snapshots = false;
        if (i == 5000) net_pause(net, 1, false);
        net_run(net, MS);
    }
    assert_true(engine->forget.resync);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 0);
    assert_true(net_stats(net, 0).repairs_begun + net_stats(net, 2).repairs_begun > begun);
    block_all(net, 0, 3, true);
    net_block(net, 2, 1, false);
    while (net_stats(net, 2).snapshots_installed == 0)
        net_run(net, S);
    block_all(net, 0, 3, false);
    net_run(net, 180 * S);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_read(net, i, "ahead"), 3);
        assert_int_equal(net_read(net, i, "behind"), 7);
        assert_int_equal(net_read(net, i, "beyond"), 2);
    }
    net_free(net);
}

/* Two that are given up in one turn of the loop. */
static void both_are_forgotten_that_are_given_up_at_once(void **state)
{
    struct net *net = some_nodes(4);
    net_kill(net, 2);
    net_kill(net, 3);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, 2 * GRACE);
    forget_member(net, 0, "n2");
    forget_member(net, 0, "n3");
    net_run(net, 6 * GRACE);
    assert_int_equal(net_stats(net, 0).members_forgotten, 2);
    assert_int_equal(removes(net, 0), 0);
    claim_equal(net, 2);
    net_free(net);
}

/* G5: the operator's word reaches a member that lives. */
static void a_member_that_is_forgotten_while_only_slow_loses_nothing(void **state)
{
    struct net *net = some_nodes(3);
    int64_t sum = 0;
    for (int i = 0; i < 200; i++) {
        net_add_to(net, (size_t)i % 3, "c", 1);
        sum++;
        if (i == 100) forget_member(net, 0, "n2");
        net_run(net, 20 * MS);
    }
    net_run(net, 180 * S);
    assert_int_equal(net_peers_up(net, 2), 2);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "c"), sum);
    claim_equal(net, 3);
    net_free(net);
}

/* B21. */
static void a_delete_made_while_cut_off_keeps_its_time(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 0, "kv:a", "old");
    net_run(net, S);
    block_all(net, 2, 3, true);
    del(net, 2, "kv:a");
    net_run(net, 2 * GRACE);
    put(net, 0, "kv:a", "an hour later");
    block_all(net, 2, 3, false);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++)
        assert_true(holds(net, i, "kv:a"));
    claim_equal(net, 3);
    net_free(net);
}

static void a_member_on_an_older_disk_revives_nothing(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 2, "kv:a", "x");
    net_add_to(net, 2, "c", 1);
    net_run(net, S);
    size_t saved = net_batches(net, 2);
    del(net, 0, "kv:a");
    net_add_to(net, 2, "c", 4);
    net_run(net, 4 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    net_restart(net, 2, ++lives, saved);
    assert_true(holds(net, 2, "kv:a"));
    net_run(net, 120 * S);
    assert_int_equal(net_stats(net, 2).cold_starts_floor, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_false(holds(net, i, "kv:a"));
        assert_int_equal(net_read(net, i, "c"), 5);
    }
    claim_equal(net, 3);
    net_free(net);
}

/*
 * n0 was forgotten and came back; n1's disk is of before that, so it knows no other member, and nobody whose word on its former life it had to
 * wait for. But n0 has heard more of that life than the disk has.
 */
static void a_disk_from_before_another_came_back_does_not_settle_alone(void **state)
{
    (void)state;
    struct net *net = some_nodes(2);
    net_block(net, 0, 1, true);
    net_run(net, 20 * S);
    forget_member(net, 1, "n0");
    net_run(net, 5 * S);
    struct net_disk *disk = net_disk_copy(net, 1);
    net_block(net, 0, 1, false);
    net_run(net, 90 * S);
    assert_int_equal(net_peers_up(net, 0), 1);
    net_add_to(net, 1, "a", 5);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "a"), 5);
    net_kill(net, 1);
    net_disk_put(net, 1, disk);
    net_disk_free(disk);
    net_block(net, 0, 1, true);
    net_revive(net, 1, 1001, 1);
    net_run(net, 20 * S);
    net_block(net, 0, 1, false);
    net_run(net, 120 * S);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(net_read(net, i, "a"), 5);
    claim_equal(net, 2);
    net_free(net);
}

static void a_joiner_below_the_floor_gets_a_snapshot_while_writes_go_on(void **state)
{
    struct net *net = some_nodes(2);
    for (int i = 0; i < 3000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        net_add_to(net, 0, key, 1);
    }
    put(net, 0, "kv:a", "x");
    net_run(net, S);
    del(net, 0, "kv:a");
    net_run(net, 4 * GRACE);
    net_add_with(net, (struct tly_engine_config){.has_store = true, .tombstone_grace_ms = GRACE_MS}, 1);
    for (int i = 0; i < 300; i++) {
        net_add_to(net, (size_t)i % 2, "busy", 1);
        net_run(net, 2 * MS);
    }
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 2).snapshots_installed, 1);
    assert_int_equal(net_read(net, 2, "k2999"), 1);
    assert_int_equal(net_read(net, 2, "busy"), 300);
    claim_equal(net, 3);
    net_free(net);
}

/* ---- lives ---- */

/* Lives that stand in this node's lists of marks, in HELLO above all. */
static size_t listed(struct net *net, size_t node)
{
    struct tly_node_view view;
    size_t count = 0;
    tly_engine_node(net_node(net, node), false, &view);
    for (size_t i = 0; i < view.lives; i++) {
        struct tly_life life = tly_engine_life(net_node(net, node), i);
        count += life.mark > 0 && life.state < TLY_LIFE_RETIRED;
    }
    return count;
}

static size_t bytes_of(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view.bytes;
}

/* A15. A plain counter would keep a shard of each life; that is known. */
static void a_node_that_crashes_a_thousand_times_leaves_little(void **state)
{
    size_t crashes = test_is_long() ? 1000 : 120, marks = 0, bytes = 0;
    struct net *net = some_nodes(3);
    for (size_t i = 0; i < crashes; i++) {
        put(net, 2, "kv:a", "x");
        net_check(net, 2, "k", "1000000/1s", TLY_FIXED_WINDOW);
        net_run(net, 300 * MS);
        net_restart(net, 2, ++lives, SIZE_MAX);
        net_run(net, 20 * S);
        if (listed(net, 0) > marks) marks = listed(net, 0);
        if (i == 60) bytes = bytes_of(net, 0);
    }
    print_message("%zu crashes, at most %zu lives in the marks, %zu bytes after 60 and %zu at the end\n",
                  crashes, marks, bytes, bytes_of(net, 0));
    assert_in_range(marks, 3, 12);
    assert_in_range(bytes_of(net, 0), 1, bytes + 256 * crashes);
    net_run(net, 200 * S); /* its disk has told it of every word there ever was */
    claim_equal(net, 3);
    net_free(net);
}

/* What its disk lost of a life that is in no list any more is not known to be everywhere, whatever it says of later words. */
static void a_disk_with_a_hole_is_made_whole(void **state)
{
    struct net *net = some_nodes(3);
    net_add_to(net, 2, "c", 1);
    net_run(net, S);
    size_t from = net_batches(net, 1);
    net_add_to(net, 2, "c", 4);
    net_run(net, S);
    size_t to = net_batches(net, 1);
    net_restart(net, 2, ++lives, SIZE_MAX);
    net_run(net, 60 * S);
    net_kill(net, 1);
    for (size_t i = to; i-- > from;)
        net_lose(net, 1, i);
    net_restart(net, 1, ++lives, SIZE_MAX);
    assert_int_equal(net_read(net, 1, "c"), 1);
    net_run(net, 120 * S);
    assert_int_equal(net_read(net, 1, "c"), 5);
    assert_int_equal(net_stats(net, 1).cold_starts_floor, 1);
    claim_equal(net, 3);
    net_free(net);
}

/* A disk that took nothing meanwhile: what it lacks of a life stands on it before that life is in no list any more. */
static void a_life_is_not_retired_ahead_of_the_own_disk(void **state)
{
    struct net *net = some_nodes(3);
    net_add_to(net, 2, "c", 1);
    net_run(net, S);
    net_hold_store(net, 1, true);
    for (int i = 0; i < 1000; i++) { /* until it takes no more batches */
        net_add_to(net, 1, "busy", 1);
        net_run(net, 20 * MS);
    }
    /* Nor would its life go on from such a disk. */
    assert_false(tly_engine_has_handed_all(net_node(net, 1)));
    net_add_to(net, 2, "c", 4);
    net_run(net, S);
    net_restart(net, 2, ++lives, SIZE_MAX);
    net_run(net, 60 * S);
    net_hold_store(net, 1, false);
    net_run(net, 10 * S);
    assert_true(tly_engine_has_handed_all(net_node(net, 1)));
    net_restart(net, 1, ++lives, SIZE_MAX);
    assert_int_equal(net_read(net, 1, "busy"), 1000);
    assert_int_equal(net_read(net, 1, "c"), 5);
    net_run(net, 120 * S);
    claim_equal(net, 3);
    net_free(net);
}

/* ---- time ---- */

/* B18. */
static void a_boot_three_months_ahead_drops_no_quota_unless_it_is_alone(void **state)
{
    for (int alone = 0; alone < 2; alone++) {
        struct net *net = some_nodes(2);
        assert_true(net_check(net, 0, "q", "10/3600s", TLY_FIXED_WINDOW));
        net_run(net, S);
        if (alone != 0) net_block(net, 0, 1, true);
        net_shift_wall(net, 1, (int64_t)(90 * 86400 * S));
        net_restart(net, 1, ++lives, SIZE_MAX);
        net_run(net, 50 * S);
        assert_int_equal(net_stats(net, 1).dots_expired, 0);
        net_run(net, 100 * S);
        assert_int_equal(net_stats(net, 1).dots_expired, alone);
        net_free(net);
    }
}

/* ---- what would come back ---- */

static uint64_t f_of(struct net *net, size_t node)
{
    struct tly_forget_view view;
    tly_engine_forgetting(net_node(net, node), &view);
    return view.f;
}

/* What a disk that is behind was not handed stays in memory: else what it had replaced would be back after a restart, for ever. */
static void nothing_goes_that_the_own_disk_was_not_handed(void **state)
{
    struct net *net = some_nodes(2);
    put(net, 0, "kv:a", "x");
    net_run(net, S);
    net_hold_store(net, 1, true);
    for (int i = 0; i < 400; i++) {
        net_add_to(net, 0, "c", 1);
        net_run(net, 50 * MS);
    }
    del(net, 0, "kv:a");
    net_run(net, 10 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    assert_int_equal(removes(net, 1), 1);
    net_hold_store(net, 1, false);
    net_run(net, 4 * GRACE);
    assert_int_equal(removes(net, 1), 0);
    uint64_t origin = net_origin(net, 1);
    net_event(net, 1, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, S);
    net_kill(net, 1);
    net_go_on(net, 1, origin, 1);
    net_run(net, 4 * GRACE);
    assert_false(holds(net, 1, "kv:a"));
    claim_equal(net, 2);
    net_free(net);
}

/* Who has nothing to forget says no number of its own accord, and a REMOVE that comes back from a disk waits for all numbers. */
static void who_said_nothing_yet_is_asked(void **state)
{
    struct net *net = some_nodes(2);
    put(net, 0, "kv:a", "x");
    del(net, 0, "kv:a");
    net_run(net, 4 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    net_add_with(net, (struct tly_engine_config){.has_store = true, .tombstone_grace_ms = GRACE_MS}, 1);
    net_run(net, 4 * GRACE);
    uint64_t origin = net_origin(net, 0);
    net_event(net, 0, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, S);
    net_kill(net, 0);
    net_go_on(net, 0, origin, 2);
    assert_int_equal(removes(net, 0), 1);
    net_run(net, 8 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    claim_equal(net, 3);
    /* Once is enough. */
    uint64_t before = net_stats(net, 0).writes + net_stats(net, 1).writes + net_stats(net, 2).writes;
    size_t rounds = net_stats(net, 0).rounds_sent;
    net_run(net, 20 * GRACE);
    assert_int_equal(net_stats(net, 0).writes + net_stats(net, 1).writes + net_stats(net, 2).writes, before);
    assert_int_equal(net_stats(net, 0).rounds_sent, rounds);
    net_free(net);
}

/* A life that went on made another while it was in question, and nothing in that. */
static void a_life_made_for_nothing_holds_nothing_up(void **state)
{
    struct net *net = some_nodes(2);
    put(net, 0, "kv:a", "x");
    net_run(net, S);
    uint64_t origin = net_origin(net, 1);
    net_event(net, 1, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, S);
    net_kill(net, 1);
    net_go_on(net, 1, origin, 1);
    net_run(net, 5 * S);
    assert_int_equal(net_origin(net, 1), origin);
    del(net, 0, "kv:a");
    net_run(net, 4 * GRACE);
    for (size_t i = 0; i < 2; i++) {
        assert_true(f_of(net, i) > 0);
        assert_int_equal(removes(net, i), 0);
    }
    claim_equal(net, 2);
    net_free(net);
}

static void expire(struct net *net, size_t node, const char *key, uint64_t after_ms)
{
    struct tly_reply reply;
    uint64_t deadline_ms = net_time(net, node).wall_ns / 1000000 + after_ms;
    struct tly_request request = {
        .kind = TLY_ASK_EXPIRE, .key = tly_slice_text(key), .deadline_ms = deadline_ms};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

/* Whether anything of it stands there, also what has ended. */
static bool holds_any(struct net *net, size_t node, const char *key)
{
    struct tly_entry_view view;
    return tly_engine_entry(net_node(net, node), tly_slice_text(key), &view) == TLY_OK;
}

/* The log has what a counter was when it ended: that neither ends nor swells what is counted in the key later, and has been dropped everywhere. */
static void a_log_brings_no_ended_counter_back(void **state)
{
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct net *net = net_new(MS / 2);
        struct tly_engine_config config = stored;
        config.max_skew_ns = S;
        for (size_t i = 0; i < 2; i++)
            net_add_with(net, config, i == 0 ? 2 : 1);
        net_run(net, 3 * S);
        for (size_t node = 0; node < 2; node++)
            net_add_to(net, node, "c", 5);
        net_run(net, S);
        expire(net, (size_t)ends, "c", 1000);
        net_run(net, 60 * S);
        for (size_t node = 0; node < 2; node++) {
            assert_int_equal(net_stats(net, node).dots_ended, 2);
            assert_false(holds_any(net, node, "c"));
        }
        net_add_to(net, 0, "c", 1);
        if (ends == 0) expire(net, 0, "c", 600000);
        net_run(net, S);
        for (size_t node = 0; node < 2; node++) {
            net_kill(net, node);
            net_revive(net, node, 100 + node, node == 0 ? 2 : 1);
        }
        net_run(net, 20 * S);
        for (size_t node = 0; node < 2; node++)
            assert_int_equal(net_read(net, node, "c"), 1);
        assert_int_equal(net_digest(net, 0), net_digest(net, 1));
        net_free(net);
    }
}

/* Nodes drop what ended at different times. Who has dropped it begins anew, and that adds up with what is counted where it stands yet. */
static void what_begins_anew_between_two_sweeps_adds_up(void **state)
{
    (void)state;
    for (int at = 0; at < 3; at++) {
        struct net *net = net_new(MS / 2);
        struct tly_engine_config config = stored;
        config.max_skew_ns = S;
        net_add_with(net, config, 2);
        net_run(net, S * 5 / 2);
        net_add_with(net, config, 1);
        net_run(net, 3 * S);
        for (size_t node = 0; node < 2; node++)
            net_add_to(net, node, "c", 5);
        net_run(net, S);
        expire(net, 0, "c", 1000);
        int steps = 0;
        while (holds_any(net, 0, "c") == holds_any(net, 1, "c") && steps++ < 600)
            net_run(net, 100 * MS);
        assert_true(steps < 600);
        size_t swept = holds_any(net, 0, "c") ? 1 : 0;
        if (at != 1) net_add_to(net, swept, "c", 1);
        if (at == 2) net_run(net, S);
        if (at != 2) net_add_to(net, 1 - swept, "c", 1);
        if (at == 1) net_add_to(net, swept, "c", 1);
        net_run(net, S);
        for (size_t node = 0; node < 2; node++)
            assert_int_equal(net_read(net, node, "c"), at == 2 ? 1 : 2);
        net_run(net, 60 * S);
        for (size_t node = 0; node < 2; node++)
            assert_int_equal(net_read(net, node, "c"), at == 2 ? 1 : 2);
        assert_int_equal(net_digest(net, 0), net_digest(net, 1));
        net_free(net);
    }
}

/* Also while a node knows that what ended may go, and another does not yet. */
static void at_whatever_moment_it_is_counted_in_it_begins_anew_everywhere(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 210; at++) {
        struct net *net = net_new(MS / 2);
        struct tly_engine_config config = stored;
        config.max_skew_ns = S;
        for (size_t node = 0; node < 3; node++) {
            net_add_with(net, config, node == 0 ? 2 : 1);
            net_run(net, 300 * MS);
        }
        net_run(net, 3 * S);
        for (size_t node = 0; node < 3; node++)
            net_add_to(net, node, "c", 5);
        net_run(net, S);
        expire(net, at % 2, "c", 1000);
        net_run(net, at < 150 ? 7 * S / 2 + at * 10 * MS : 5 * S + (at - 150) * 300 * MS);
        assert_int_equal(net_add_to(net, at % 2, "c", 1), 1);
        for (int later = 0; later < 2; later++) {
            net_run(net, later == 0 ? S : 60 * S);
            for (size_t node = 0; node < 3; node++)
                assert_int_equal(net_read(net, node, "c"), 1);
            assert_int_equal(net_digest(net, 0), net_digest(net, 1));
            assert_int_equal(net_digest(net, 0), net_digest(net, 2));
        }
        net_free(net);
    }
}

static void name_of(char name[32], size_t i)
{
    snprintf(name, 32, "a-key-of-some-length:%zu", i);
}

/* Two nodes of a memory_max (0: none); in so many keys both have counted, and n1 has said when they end: that is over, and all still stand. */
static struct net *nodes_where_ended_stand(size_t keys, size_t memory_max)
{
    struct net *net = net_new(MS / 2);
    struct tly_engine_config config = stored;
    config.max_skew_ns = S;
    config.tombstone_grace_ms = 60000;
    config.memory_max = memory_max;
    char key[32];
    for (size_t i = 0; i < 2; i++)
        net_add_with(net, config, i == 0 ? 2 : 1);
    net_run(net, 3 * S);
    for (size_t i = 0; i < keys; i++) {
        name_of(key, i);
        net_add_to(net, 0, key, 5);
        net_add_to(net, 1, key, 5);
    }
    net_run(net, S);
    uint64_t deadline = net_time(net, 1).wall_ns + S;
    for (size_t i = 0; i < keys; i++) {
        name_of(key, i);
        expire(net, 1, key, 1000);
    }
    int steps = 0;
    while (net_node(net, 0)->forget.heard.f < deadline + S && steps++ < 600)
        net_run(net, 100 * MS);
    assert_true(steps < 600);
    assert_int_equal(net_stats(net, 0).dots_ended, 0);
    return net;
}

/* Counts in all of them in one turn, where there is room, and reads what node 0 has of them on its disk. */
static size_t count_anew(struct net *net, size_t keys)
{
    char key[32];
    size_t counted = 0;
    for (size_t i = 0; i < keys; i++) {
        struct tly_reply reply;
        name_of(key, i);
        struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = 1};
        enum tly_result result = net_ask(net, 0, request, &reply);
        assert_true(result == TLY_OK || result == TLY_FULL);
        assert_int_equal(net_read(net, 0, key), result == TLY_OK ? 1 : INT64_MIN);
        counted += result == TLY_OK;
    }
    net_run(net, S);
    net_kill(net, 1);
    net_restart(net, 0, ++lives, SIZE_MAX);
    size_t read = 0;
    for (size_t i = 0; i < keys; i++) {
        name_of(key, i);
        if (net_read(net, 0, key) == 1) read++;
    }
    assert_int_equal(read, counted);
    return counted;
}

/* A request has no effects, so the log is told of it in the next step, of however much. */
static void the_log_is_told_of_all_that_begin_anew_in_one_turn(void **state)
{
    (void)state;
    struct net *net = nodes_where_ended_stand(6000, 0);
    assert_int_equal(count_anew(net, 6000), 6000);
    net_free(net);
}

/* What is noted of them takes memory, which is not for new keys alone. */
static void the_log_is_told_of_what_begins_anew_where_memory_is_short(void **state)
{
    (void)state;
    struct net *net = nodes_where_ended_stand(2000, 4u << 20);
    enum tly_result result = TLY_OK;
    for (int i = 0; result == TLY_OK && i < 100000; i++) {
        struct tly_reply reply;
        char key[16];
        snprintf(key, sizeof key, "f%d", i);
        struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = 1};
        result = net_ask(net, 0, request, &reply);
    }
    assert_int_equal(result, TLY_FULL);
    assert_true(count_anew(net, 2000) > 0);
    net_free(net);
}

static void one_failure_to_note_what_ended_is_no_other(void **state)
{
    (void)state;
    struct net *net = nodes_where_ended_stand(1, 0);
    tly_buf_fail(&net_node(net, 0)->forget.gone.rows, TLY_NOMEM);
    assert_int_equal(count_anew(net, 1), 1);
    net_free(net);
}

static struct tly_engine *empty_engine(struct tly_time now)
{
    struct tly_engine_config config = stored;
    config.mem = test_mem();
    config.name = tly_slice_text("n0");
    config.cluster = tly_slice_text("test");
    config.max_skew_ns = S;
    config.now = now;
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    return engine;
}

/* An image of node 0 from now on, and what comes behind it, read back. */
static struct tly_engine *read_from_image(struct net *net)
{
    struct tly_engine *engine = empty_engine(net_time(net, 0));
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    struct tly_image *image;
    while (tly_image_new(net_node(net, 0), &image) == TLY_MORE)
        net_run(net, MS);
    size_t from = net_batches(net, 0);
    for (bool done = false; !done; tly_buf_clear(&out)) {
        assert_int_equal(tly_image_next(image, &out, &done), TLY_OK);
        assert_int_equal(tly_engine_replay(engine, tly_buf_slice(&out)), TLY_OK);
    }
    tly_image_free(image);
    tly_buf_fini(&out);
    net_run(net, S);
    for (size_t i = from; i < net_batches(net, 0); i++)
        assert_int_equal(tly_engine_replay(engine, net_batch(net, 0, i)), TLY_OK);
    return engine;
}

/* What is said behind an image of what is not in it would be taken for deletes of what was counted since. */
static void no_image_begins_before_the_log_knows_of_what_ended(void **state)
{
    (void)state;
    struct net *net = nodes_where_ended_stand(1, 0);
    char key[32];
    name_of(key, 0);
    net_add_to(net, 0, key, 1);
    struct tly_engine *engine = read_from_image(net);
    assert_int_equal(tly_engine_start(engine, ++lives, net_time(net, 0)), TLY_OK);
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = 1};
    request.now = net_time(net, 0);
    assert_int_equal(tly_engine_ask(engine, &request, &reply), TLY_OK);
    assert_int_equal(reply.value.count, 2);
    tly_engine_free(engine);
    net_free(net);
}

/* What a dump has given out already it cannot take back. */
static void what_ended_stands_until_a_dump_is_whole(void **state)
{
    (void)state;
    struct net *net = nodes_where_ended_stand(1000, 0);
    static char large[60001];
    memset(large, 'x', sizeof large - 1);
    char key[32];
    for (size_t i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "kv:%zu", i);
        put(net, 0, key, large);
    }
    net_run(net, S);
    tly_snap_dump(net_node(net, 0));
    net_event(net, 0, (struct tly_event){.kind = TLY_TICK});
    assert_true(net_node(net, 0)->dump.active && net_node(net, 0)->dump.begun);
    assert_int_equal(count_anew(net, 1000), 1000);
    net_free(net);
}

/*
 * A node falls while its life is in question, and nobody says of the life that it had meanwhile whose it was. n1 told n0 that it has all of that life
 * before n0 knew of any such; n2 brought it.
 */
static void what_a_peer_has_of_a_life_that_is_not_known_yet_counts_later(void **state)
{
    (void)state;
    struct net *net = some_nodes(4);
    uint64_t kept = net_origin(net, 3);
    put(net, 0, "kv:a", "x");
    net_run(net, S);
    del(net, 0, "kv:a");
    net_run(net, 2 * S);
    net_kill(net, 3);
    net_block(net, 3, 0, true);
    net_go_on(net, 3, kept, 7);
    net_run(net, 100 * MS);
    net_add_to(net, 3, "c", 1);
    net_run(net, 40 * MS);
    uint64_t life = tly_engine_life(net_node(net, 1), tly_engine_lives(net_node(net, 1)) - 1).origin;
    assert_int_equal(net_origin(net, 3), kept);
    assert_int_not_equal(life, kept);
    assert_int_equal(net_read(net, 1, "c"), 1);
    assert_int_equal(net_read(net, 0, "c"), INT64_MIN);
    net_pause(net, 1, true);
    net_kill(net, 3);
    net_run(net, 200 * MS);
    assert_int_equal(net_read(net, 0, "c"), 1);
    net_pause(net, 1, false);
    net_run(net, 6 * GRACE);
    assert_int_equal(net_life(net, 0, life).state, TLY_LIFE_OPEN);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(removes(net, i), 0);
    claim_equal(net, 3);
    net_free(net);
}

static uint64_t made_up(size_t i)
{
    return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* A peer may make up as many as it likes and say them time and again: each is looked for by halves. */
static void what_a_peer_has_of_lives_that_are_not_known_is_kept_in_order(void **state)
{
    (void)state;
    static const size_t words = 4 * TLY_ORIGINS_MAX;
    struct net *net = some_nodes(1);
    struct tly_engine *engine = net_node(net, 0);
    struct tly_follower many;
    tly_follower_init(&many, &engine->mem, engine->map);
    for (size_t i = 0; i < words; i++) {
        struct tly_mark mark = {made_up(i % TLY_ORIGINS_MAX), i};
        assert_int_equal(tly_follower_has(&many, mark, NULL), TLY_OK);
    }
    assert_int_equal(many.early_count, TLY_ORIGINS_MAX);
    for (size_t i = 1; i < many.early_count; i++)
        assert_true(many.early[i - 1].origin < many.early[i].origin);
    /* And each is found when its life is known. */
    for (size_t i = 0; i < TLY_ORIGINS_MAX; i += 64) {
        assert_int_equal(tly_ormap_raise_mark(engine->map, made_up(i), 1), TLY_OK);
        (void)tly_follower_lacks(&many, tly_ormap_life_number(engine->map, made_up(i)));
        assert_int_equal(tly_follower_word(&many, made_up(i)), words - TLY_ORIGINS_MAX + i);
    }
    assert_int_equal(many.early_count, TLY_ORIGINS_MAX - TLY_ORIGINS_MAX / 64);
    tly_follower_fini(&many);
    net_free(net);
}

/*
 * n1 has deleted what n0 goes on counting in, and hears of that first: n0's shard begins again from nothing. Nobody writes any more, and what waits to be
 * forgotten waits for n2, so no word of that brings it along.
 */
static void claim_a_restarted_shard_is_said(struct tly_engine_config config)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < 3; i++)
        net_add_with(net, config, i == 0 ? 2 : 1);
    net_run(net, 3 * S);
    net_add_to(net, 0, "c", 1);
    net_kill(net, 2);
    net_run(net, 60 * S); /* all is said of it */
    net_block(net, 0, 1, true);
    del(net, 1, "c");
    net_run(net, 100 * MS);
    net_add_to(net, 0, "c", 4);
    net_run(net, 100 * MS);
    net_block(net, 0, 1, false);
    net_run(net, 20 * S);
    assert_int_equal(net_peers_up(net, 0), 1);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(removes(net, i), 1);
        assert_int_equal(net_read(net, i, "c"), 0);
    }
    assert_int_equal(net_stats(net, 1).dots_repaired, 0);
    claim_equal(net, 2);
    net_free(net);
}

static void a_shard_that_a_delete_restarts_is_said_though_nothing_else_is(void **state)
{
    (void)state;
    claim_a_restarted_shard_is_said(stored);
    struct tly_engine_config without_store = stored;
    without_store.has_store = false;
    claim_a_restarted_shard_is_said(without_store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_remove_is_forgotten_once_all_have_it_and_the_grace_is_over),
        cmocka_unit_test(who_is_away_holds_it_back_however_long),
        cmocka_unit_test(a_forgotten_member_that_returns_brings_its_counts_and_no_deleted_key),
        cmocka_unit_test(what_a_forgotten_member_counted_in_a_window_long_over_is_not_in_a_later_one),
        cmocka_unit_test(who_was_forgotten_stays_so_when_others_find_it_dead),
        cmocka_unit_test(who_was_forgotten_stays_so_whatever_it_had_contradicted),
        cmocka_unit_test(who_was_forgotten_stays_so_when_an_earlier_life_is_found_dead),
        cmocka_unit_test(no_life_ends_when_an_earlier_one_is_found_dead),
        cmocka_unit_test(what_stood_behind_what_went_ahead_is_carried_over),
        cmocka_unit_test(what_stood_behind_is_said_when_there_is_room),
        cmocka_unit_test(what_waits_to_be_carried_over_is_not_given_by_comparing),
        cmocka_unit_test(both_are_forgotten_that_are_given_up_at_once),
        cmocka_unit_test(a_member_that_is_forgotten_while_only_slow_loses_nothing),
        cmocka_unit_test(a_delete_made_while_cut_off_keeps_its_time),
        cmocka_unit_test(a_member_on_an_older_disk_revives_nothing),
        cmocka_unit_test(a_disk_with_a_hole_is_made_whole),
        cmocka_unit_test(a_life_is_not_retired_ahead_of_the_own_disk),
        cmocka_unit_test(a_disk_from_before_another_came_back_does_not_settle_alone),
        cmocka_unit_test(a_joiner_below_the_floor_gets_a_snapshot_while_writes_go_on),
        cmocka_unit_test(a_node_that_crashes_a_thousand_times_leaves_little),
        cmocka_unit_test(a_boot_three_months_ahead_drops_no_quota_unless_it_is_alone),
        cmocka_unit_test(nothing_goes_that_the_own_disk_was_not_handed),
        cmocka_unit_test(who_said_nothing_yet_is_asked),
        cmocka_unit_test(a_life_made_for_nothing_holds_nothing_up),
        cmocka_unit_test(a_log_brings_no_ended_counter_back),
        cmocka_unit_test(what_begins_anew_between_two_sweeps_adds_up),
        cmocka_unit_test(at_whatever_moment_it_is_counted_in_it_begins_anew_everywhere),
        cmocka_unit_test(the_log_is_told_of_all_that_begin_anew_in_one_turn),
        cmocka_unit_test(the_log_is_told_of_what_begins_anew_where_memory_is_short),
        cmocka_unit_test(one_failure_to_note_what_ended_is_no_other),
        cmocka_unit_test(no_image_begins_before_the_log_knows_of_what_ended),
        cmocka_unit_test(what_ended_stands_until_a_dump_is_whole),
        cmocka_unit_test(what_a_peer_has_of_a_life_that_is_not_known_yet_counts_later),
        cmocka_unit_test(what_a_peer_has_of_lives_that_are_not_known_is_kept_in_order),
        cmocka_unit_test(a_shard_that_a_delete_restarts_is_said_though_nothing_else_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
