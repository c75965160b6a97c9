/* What a node forgets, seen by those that are linked with it, or being brought up by it, or that come from the other side of a cut. */
#include "service/engine/impl.h"
#include "tests/engine/support_forget.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRACE (GRACE_MS * MS)

static void put_large(struct net *net, size_t node, size_t count)
{
    struct test_rng rng = test_rng_of(1);
    for (size_t i = 0; i < count; i++) {
        char key[32];
        uint8_t bytes[2000];
        struct tly_reply reply;
        (void)snprintf(key, sizeof key, "kv:large:%zu", i);
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (uint8_t)test_rng_next(&rng);
        struct tly_request request = {
            .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_of(bytes, sizeof bytes)};
        assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    }
}

/*
 * n2 was forgotten, and removes something in a life that nobody has heard of when the others say their numbers: those are above that REMOVE, so
 * by them alone n1 may forget it as soon as it has it, and n0 would never get it.
 */
static void what_a_linked_node_has_not_got_is_not_forgotten(void **state)
{
    struct net *net = some_nodes(3);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    block_all(net, 2, 3, true);
    put(net, 0, "kv:first", "x");
    del(net, 0, "kv:first");
    forget_member(net, 0, "n2");
    for (size_t i = 0; net_stats(net, 1).removes_forgotten == 0; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    uint64_t before = net_origin(net, 2);
    net_block(net, 1, 2, false);
    for (size_t i = 0; net_origin(net, 2) == before; i++) {
        assert_true(i < 60000);
        net_run(net, MS);
    }
    net_block(net, 1, 2, true);
    put(net, 0, "kv:second", "x");
    del(net, 0, "kv:second");
    net_run(net, MS);
    del(net, 2, "kv:x");
    net_run(net, MS);
    for (size_t i = 0; i < 2; i++)
        net_add_to(net, i, "counter:later", 1);
    net_run(net, 5 * GRACE);
    assert_int_equal(removes(net, 1), 0);
    net_block(net, 1, 2, false);
    for (size_t i = 0; net_stats(net, 2).snapshots_installed == 0; i++) {
        assert_true(i < 60000);
        net_run(net, MS);
    }
    net_hole(net, 1, 0, true);
    net_run(net, GRACE + 2 * S); /* so that F has been known for the grace, and the link still stands */
    assert_false(holds(net, 1, "kv:x"));
    assert_true(holds(net, 0, "kv:x"));
    assert_int_equal(removes(net, 1), 1); /* n0 has not said that it has it */
    net_hole(net, 1, 0, false);
    net_run(net, 5 * GRACE);
    for (size_t i = 0; i < 3; i++) {
        assert_false(holds(net, i, "kv:x"));
        assert_int_equal(removes(net, i), 0);
    }
    claim_equal(net, 3);
    net_free(net);
}

/* What is forgotten behind the start of a snapshot would be missing there without a word, and its floor, too. */
static void while_a_snapshot_is_given_nothing_is_forgotten(void **state)
{
    struct net *net = some_nodes(2);
    struct tly_forget_view source, joiner;
    put_large(net, 0, 100);
    put(net, 0, "kv:first", "x");
    del(net, 0, "kv:first");
    net_run(net, 10 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    del(net, 0, "kv:x");
    net_run(net, GRACE / 2); /* both have said their numbers by now */
    net_thin(net, 2000, 4096);
    size_t third = net_add_with(net, stored, 1);
    size_t waited = 0;
    for (; net_stats(net, 0).snapshots_sent == 0; waited++) {
        assert_true(waited < 300);
        assert_int_equal(removes(net, 0), 1);
        net_run(net, S);
    }
    assert_true(waited > 5 * GRACE_MS / 1000); /* else the grace had not passed in any case */
    net_thin(net, 0, 0);
    net_run(net, 20 * S);
    assert_int_equal(removes(net, 0), 0);
    tly_engine_forgetting(net_node(net, 0), &source);
    tly_engine_forgetting(net_node(net, third), &joiner);
    assert_int_equal(source.forgotten, joiner.forgotten);
    assert_false(holds(net, third, "kv:x"));
    claim_equal(net, 3);
    net_free(net);
}

static void cut_in_halves(struct net *net, bool cut)
{
    for (size_t a = 0; a < 2; a++)
        for (size_t b = 2; b < 4; b++)
            net_block(net, a, b, cut);
}

/* … while n1 is still there for it to hear from. */
static void heal_n0_first(struct net *net)
{
    cut_in_halves(net, false);
    net_block(net, 1, 2, true);
    net_block(net, 1, 3, true);
    for (size_t i = 0; net_stats(net, 0).snapshots_installed == 0; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    net_block(net, 1, 2, false);
    net_block(net, 1, 3, false);
}

/*
 * n1 counts, in a life that began behind a cut, and n0 hears it; on the other side both are forgotten, and so is something newer. When they
 * come back n0 gives up what it had heard of that life, and so must not say any more that it has it.
 */
static void what_was_heard_of_an_unknown_life_is_heard_again(void **state)
{
    struct net *net = some_nodes(4);
    net_add_to(net, 0, "counter:all", 1);
    net_run(net, S);
    cut_in_halves(net, true);
    net_kill(net, 1);
    net_run(net, S);
    net_revive(net, 1, 77, 1);
    net_run(net, 5 * S);
    net_add_to(net, 1, "counter:all", 5);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "counter:all"), 6);
    forget_member(net, 2, "n0");
    net_run(net, 2 * S);
    forget_member(net, 2, "n1");
    net_run(net, 2 * S);
    put(net, 2, "kv:first", "x");
    del(net, 2, "kv:first");
    for (size_t i = 0; net_stats(net, 2).removes_forgotten == 0; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    heal_n0_first(net);
    net_run(net, 100 * S);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(net_read(net, i, "counter:all"), 6);
    claim_equal(net, 4);
    net_free(net);
}

/*
 * n2 comes back with an empty disk and a clock that is behind, so what it writes first is older than a REMOVE that n0 has forgotten, and goes
 * when n0 brings it up. But n1, which still keeps that REMOVE, had heard it.
 */
static void what_goes_at_an_install_and_another_has_heard_is_heard_by_all(void **state)
{
    struct net *net = net_new(MS / 2);
    struct tly_engine_config keeps_long = stored;
    keeps_long.tombstone_grace_ms = 600000;
    net_add_with(net, stored, 2);
    net_add_with(net, keeps_long, 1);
    net_add_with(net, stored, 3);
    net_run(net, 3 * S);
    put(net, 0, "kv:x", "x");
    del(net, 0, "kv:x");
    net_run(net, 10 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    assert_int_equal(removes(net, 1), 1);
    net_block(net, 0, 1, true);
    net_block(net, 1, 0, true);
    net_cut(net, 0, 1);
    net_kill(net, 2);
    net_shift_wall(net, 2, -(int64_t)(120 * S));
    net_restart(net, 2, 77, 0);
    put(net, 2, "kv:said", "x");
    for (size_t i = 0; net_stats(net, 2).snapshots_installed == 0; i++) {
        assert_true(i < 60000);
        net_run(net, MS);
    }
    assert_true(holds(net, 1, "kv:said"));
    assert_false(holds(net, 2, "kv:said"));
    net_block(net, 0, 1, false);
    net_block(net, 1, 0, false);
    net_run(net, 30 * S);
    for (size_t i = 0; i < 3; i++)
        assert_true(holds(net, i, "kv:said"));
    assert_int_equal(net_stats(net, 0).dots_repaired + net_stats(net, 2).dots_repaired, 0);
    net_run(net, 1500 * S);
    claim_equal(net, 3);
    net_free(net);
}

static enum tly_life_state state_of(struct net *net, size_t node, uint64_t origin)
{
    const struct tly_engine *e = net_node(net, node);
    for (size_t i = 0; i < tly_engine_lives(e); i++)
        if (tly_engine_life(e, i).origin == origin) return tly_engine_life(e, i).state;
    return TLY_LIFE_RETIRED;
}

/*
 * A life ends of which dots stand beyond all marks, its own number (sys:stable:) among them. Who writes that it is settled removes that number,
 * and so what the word says is no longer what anybody has.
 */
static void a_life_is_settled_though_what_stood_beyond_its_mark_was_replaced(void **state)
{
    struct net *net = some_nodes(4);
    cut_in_halves(net, true);
    net_kill(net, 1);
    net_run(net, S);
    net_revive(net, 1, 77, 1);
    net_run(net, 5 * S);
    forget_member(net, 2, "n0");
    net_run(net, 2 * S);
    forget_member(net, 2, "n1");
    net_run(net, 2 * S);
    put(net, 2, "kv:first", "x");
    del(net, 2, "kv:first");
    for (size_t i = 0; net_stats(net, 2).removes_forgotten == 0; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    /* Newer than what was forgotten on the other side, so that it stays. */
    put(net, 1, "kv:new", "x");
    put(net, 1, "kv:gone", "x");
    del(net, 1, "kv:gone");
    net_run(net, 2 * S);
    heal_n0_first(net);
    net_run(net, 200 * S);
    for (size_t i = 0; i < 4; i++) {
        assert_in_range(state_of(net, i, 77), TLY_LIFE_SETTLED, TLY_LIFE_RETIRED);
        assert_true(holds(net, i, "kv:new"));
        assert_int_equal(removes(net, i), 0);
    }
    claim_equal(net, 4);
    net_free(net);
}

static void settle_at_nothing(struct net *net, size_t node, uint64_t origin)
{
    struct tly_ormap *map = net_node(net, node)->map;
    assert_int_equal(tly_ormap_close_life(map, origin), TLY_OK);
    assert_int_equal(tly_ormap_settle_life(map, origin, 0), TLY_OK);
}

/*
 * What stands beyond the mark at which its life was settled is refused by all others, so a snapshot takes it away; but the first one brought it,
 * and the node ends before it has got another.
 */
static void what_all_others_refuse_goes_after_a_restart_too(void **state)
{
    struct net *net = some_nodes(2);
    put(net, 0, "kv:first", "x");
    del(net, 0, "kv:first");
    for (size_t i = 0; net_stats(net, 1).removes_forgotten == 0; i++) {
        assert_true(i < 100);
        net_run(net, S);
    }
    net_block(net, 0, 1, true);
    enum tly_outcome outcome;
    struct tly_dot dot = {.op = TLY_PUT, .version = {NET_WALL_START, 9}};
    assert_int_equal(tly_ormap_apply(net_node(net, 1)->map, tly_slice_text("kv:refused"), &dot, &outcome),
                     TLY_OK);
    assert_int_equal(outcome, TLY_APPLIED);
    settle_at_nothing(net, 0, 9);
    settle_at_nothing(net, 1, 9);
    size_t third = net_add_with(net, stored, 1 << 1);
    net_block(net, 0, third, true);
    for (size_t i = 0; net_stats(net, third).snapshots_installed == 0; i++) {
        assert_true(i < 100);
        net_run(net, S / 10);
    }
    assert_true(holds(net, third, "kv:refused"));
    net_kill(net, 1);
    net_restart(net, third, 77, SIZE_MAX);
    assert_true(holds(net, third, "kv:refused"));
    net_block(net, 0, third, false);
    for (size_t i = 0; holds(net, third, "kv:refused"); i++) {
        assert_true(i < 300);
        net_run(net, S);
    }
    net_free(net);
}

/*
 * n1 does its work of each second at another time than n0, which writes at what mark the life of n2 is settled. When n1 has heard that, and
 * would not come to its own work yet, n2 comes back under another life with a write of the former one that n0 refuses.
 */
static void what_is_beyond_a_mark_is_refused_as_soon_as_the_word_is_heard(void **state)
{
    struct net *net = some_nodes(3);
    uint64_t former = net_origin(net, 2);
    block_all(net, 2, 3, true);
    put(net, 2, "kv:unheard", "x");
    net_run(net, S);
    net_pause(net, 2, true);
    net_block(net, 1, 2, false);
    forget_member(net, 0, "n2");
    net_pause(net, 1, true);
    net_run(net, 400 * MS);
    net_pause(net, 1, false);
    for (size_t i = 0; net_life(net, 0, former).state != TLY_LIFE_SETTLED; i++) {
        assert_true(i < 5000);
        net_run(net, MS);
    }
    net_run(net, 2 * MS);
    net_pause(net, 2, false);
    for (size_t i = 0; net_origin(net, 2) == former || net_peers_up(net, 2) == 0; i++) {
        assert_true(i < 300);
        net_run(net, MS);
    }
    net_run(net, 20 * MS);
    assert_false(holds(net, 1, "kv:unheard"));
    net_block(net, 0, 2, false);
    net_run(net, 30 * S);
    assert_int_equal(net_stats(net, 1).cold_starts_floor, 0);
    claim_equal(net, 3);
    net_free(net);
}

/* Others have forgotten a REMOVE, so a new node needs a snapshot; its clock is behind that, so it can take none, and no session lasts. */
static void who_can_take_no_snapshot_because_of_its_clock_knows_why(void **state)
{
    struct net *net = some_nodes(2);
    struct tly_node_view view;
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    del(net, 0, "kv:x");
    net_run(net, 5 * GRACE);
    assert_int_equal(removes(net, 0), 0);
    net_shift_wall(net, 2, -(int64_t)(7200 * S));
    net_add(net, 3);
    net_run(net, S);
    for (size_t i = 0; i < 60; i++) {
        net_run(net, S);
        tly_engine_node(net_node(net, 2), false, &view);
        assert_int_equal(view.refusing, 2);
        assert_int_equal(view.peers_judged, 2);
    }
    assert_int_equal(view.peers_up, 0);
    tly_engine_node(net_node(net, 0), false, &view);
    assert_int_equal(view.refused_by + view.refusing, 0);
    net_shift_wall(net, 2, 0);
    net_run(net, 60 * S);
    tly_engine_node(net_node(net, 2), false, &view);
    assert_int_equal(view.refusing, 0);
    assert_int_equal(view.peers_judged, 2);
    net_free(net);
}

/* Runs until all have said, of everything but lives that ended, that they have it up to there. */
static void await_numbers(struct net *net, size_t count, uint64_t ts)
{
    for (size_t i = 0, said = 0; said < count; i++) {
        assert_true(i < 60000);
        net_run(net, MS);
        said = 0;
        for (size_t node = 0; node < count; node++) {
            struct tly_forget_view view;
            tly_engine_forgetting(net_node(net, node), &view);
            said += view.number >= ts;
        }
    }
}

static void await_settled(struct net *net, uint64_t life)
{
    for (size_t i = 0; net_life(net, 0, life).state != TLY_LIFE_SETTLED; i++) {
        assert_true(i < 60000);
        net_run(net, MS);
    }
}

/*
 * All have said that they have the word which settles a life of n2, and n1 stops. It comes back with a disk from before it heard the last of that life, and
 * with a clock that is behind, so that it is still taken for the one that said so when n0 does its next work of forgetting. What it lacks is
 * on its way to it then, behind much else.
 */
static void a_life_is_not_retired_before_a_linked_node_has_all_of_it(void **state)
{
    struct net *net = some_nodes(3);
    uint64_t former = net_origin(net, 2);
    net_add_to(net, 2, "c", 1);
    net_run(net, S);
    size_t batches = net_batches(net, 1);
    put_large(net, 0, 20);
    net_add_to(net, 2, "c", 4);
    net_run(net, S);
    net_restart(net, 2, 1001, SIZE_MAX);
    await_settled(net, former);
    await_numbers(net, 3, net_life(net, 0, net_origin(net, 0)).last);
    net_event(net, 1, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 2 * MS);
    net_shift_wall(net, 1, -(int64_t)(2 * S));
    net_block(net, 1, 2, true);
    net_thin(net, 40000, 4096);
    net_restart(net, 1, 1002, batches);
    net_run(net, S / 2);
    assert_int_equal(net_life(net, 0, former).state, TLY_LIFE_SETTLED);
    assert_int_equal(net_read(net, 1, "c"), 1);
    net_run(net, 10 * S);
    assert_int_equal(net_read(net, 1, "c"), 5);
    net_block(net, 1, 2, false);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_life(net, i, former).state, TLY_LIFE_RETIRED);
    assert_int_equal(net_stats(net, 1).snapshots_installed, 0);
    claim_equal(net, 3);
    net_free(net);
}

/*
 * n2 was cut off when it removed something, is gone for good and forgotten, and its life is settled, with n1 agreeing. n1 comes back with a disk from before it
 * heard of that REMOVE, which has all that n0 said before and after. It is on its way to n1, behind much else, when n0 has known F for the grace.
 */
static void what_a_linked_node_has_not_got_of_a_settled_life_is_not_forgotten(void **state)
{
    struct net *net = some_nodes(3);
    uint64_t former = net_origin(net, 2);
    put(net, 0, "kv:x", "x");
    net_run(net, S);
    block_all(net, 2, 3, true);
    del(net, 2, "kv:x");
    net_run(net, S);
    uint64_t removed = net_life(net, 2, former).last;
    for (size_t i = 0; i < 2; i++) {
        net_add_to(net, i, "later", 1);
        net_run(net, S);
    }
    struct net_disk *disk = net_disk_copy(net, 1);
    block_all(net, 2, 3, false);
    put_large(net, 0, 40);
    net_run(net, S);
    await_numbers(net, 3, removed);
    net_kill(net, 2);
    forget_member(net, 0, "n2");
    await_settled(net, former);
    net_run(net, 2 * MS);
    net_kill(net, 1);
    net_disk_put(net, 1, disk);
    net_disk_free(disk);
    net_thin(net, 4000, 4096);
    net_revive(net, 1, 1002, 1);
    net_run(net, 3 * GRACE); /* so that F has been known for the grace, and the round still goes on */
    assert_true(holds(net, 1, "kv:x"));
    assert_int_equal(removes(net, 0), 2); /* and that of what n2 had published */
    net_thin(net, 0, 0);
    net_run(net, 10 * S);
    assert_false(holds(net, 1, "kv:x"));
    net_run(net, 120 * S);
    for (size_t i = 0; i < 2; i++) {
        assert_false(holds(net, i, "kv:x"));
        assert_int_equal(removes(net, i), 0);
    }
    assert_int_equal(net_stats(net, 1).snapshots_installed, 0);
    claim_equal(net, 2);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_a_snapshot_is_given_nothing_is_forgotten),
        cmocka_unit_test(what_a_linked_node_has_not_got_is_not_forgotten),
        cmocka_unit_test(who_can_take_no_snapshot_because_of_its_clock_knows_why),
        cmocka_unit_test(what_was_heard_of_an_unknown_life_is_heard_again),
        cmocka_unit_test(what_goes_at_an_install_and_another_has_heard_is_heard_by_all),
        cmocka_unit_test(a_life_is_settled_though_what_stood_beyond_its_mark_was_replaced),
        cmocka_unit_test(what_all_others_refuse_goes_after_a_restart_too),
        cmocka_unit_test(what_is_beyond_a_mark_is_refused_as_soon_as_the_word_is_heard),
        cmocka_unit_test(what_a_linked_node_has_not_got_of_a_settled_life_is_not_forgotten),
        cmocka_unit_test(a_life_is_not_retired_before_a_linked_node_has_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
