/* Who is alive, who says so, and who is linked to whom. */
#include "service/engine/ring.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static struct tly_peer_view view_of(struct net *net, size_t node, size_t about)
{
    struct tly_peer_view view = {0};
    char name[24];
    (void)snprintf(name, sizeof name, "n%zu", about);
    for (size_t i = 0; i < tly_engine_peers(net_node(net, node)); i++) {
        tly_engine_peer(net_node(net, node), i, &view);
        if (tly_slice_equal(view.name, tly_slice_text(name))) return view;
    }
    return (struct tly_peer_view){.state = "unknown"};
}

static struct net *mesh(size_t nodes)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < nodes; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 3 * S);
    return net;
}

static void sixteen_from_one_seed_are_a_full_mesh_in_5_s(void **state)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < 16; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 5 * S);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(net_peers_up(net, i), 15);
    assert_int_equal(net_connections(net), 16 * 15 / 2);
    net_free(net);
}

/* All fall, and come back in any order, whom they knew first long after the others. */
static void restarted_in_any_order_without_their_seed_all_meet(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = net_new(MS / 2);
    size_t order[15];
    for (size_t i = 0; i < 16; i++)
        net_add_with(net, (struct tly_engine_config){.has_store = true}, i == 0 ? 0 : 1);
    net_run(net, 5 * S);
    for (size_t i = 0; i < 16; i++) {
        net_add_to(net, i, "k", 1);
        if (i > 0) order[i - 1] = i;
    }
    net_run(net, S);
    for (size_t i = 0; i < 16; i++)
        net_kill(net, i);
    test_rng_shuffle(&rng, order, 15, sizeof *order);
    for (size_t i = 0; i < 15; i++) {
        net_restart(net, order[i], 1000 + order[i], SIZE_MAX);
        net_run(net, test_rng_below(&rng, 3000) * MS);
    }
    net_run(net, 40 * S); /* the longest pause between two dials */
    for (size_t i = 1; i < 16; i++)
        claim(net_peers_up(net, i) == 14 && net_read(net, i, "k") == 16);
    net_restart(net, 0, 1000, SIZE_MAX);
    net_run(net, 40 * S);
    for (size_t i = 0; i < 16; i++)
        claim(net_peers_up(net, i) == 15 && net_digest(net, i) == net_digest(net, 0));
    claim(net_connections(net) == 16 * 15 / 2);
    net_free(net);
}

static void a_leave_is_known_at_once_and_a_kill_within_15_s(void **state)
{
    struct net *net = mesh(4);
    net_event(net, 3, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 100 * MS);
    net_kill(net, 3);
    assert_string_equal(view_of(net, 0, 3).state, "left");
    net_kill(net, 2);
    net_run(net, 15 * S);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(view_of(net, i, 2).state, "dead");
        assert_false(view_of(net, i, 2).reachable);
        assert_true(view_of(net, i, 1 - i).reachable);
    }
    net_free(net);
}

static void leave_and_go(struct net *net, size_t node)
{
    net_event(net, node, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 100 * MS);
    assert_string_equal(view_of(net, 1 - node, node).state, "left");
    net_kill(net, node);
}

static void two_that_know_of_each_other_that_they_left_meet_again(void **state)
{
    /* By what they remember, and by what the operator says. */
    for (unsigned joins = 0; joins < 2; joins++) {
        struct net *net = net_new(MS / 2);
        for (unsigned i = 0; i < 2; i++)
            net_add_with(net, (struct tly_engine_config){.has_store = true}, i);
        net_run(net, 3 * S);
        leave_and_go(net, 1);
        size_t disk = net_batches(net, 0);
        net_revive(net, 1, 101, 0);
        net_run(net, 3 * S);
        leave_and_go(net, 0);
        net_kill(net, 1);
        net_shorten(net, 0, disk);
        net_revive(net, 0, 200, 0);
        net_revive(net, 1, 101, joins);
        net_run(net, 3 * S);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(net_peers_up(net, i), 1);
            assert_string_equal(view_of(net, i, 1 - i).state, "alive");
        }
        net_free(net);
    }
}

static void where_the_operator_says_is_dialled_whoever_left_there(void **state)
{
    struct net *net = net_new(MS / 2);
    net_add(net, 1 << 1);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_run(net, 40 * S);
    leave_and_go(net, 1);
    net_restart(net, 1, 300, 0);
    net_run(net, 40 * S);
    assert_int_equal(net_peers_up(net, 0), 1);
    net_free(net);
}

static void of_two_the_other_needs_no_witness(void **state)
{
    struct net *net = mesh(2);
    net_kill(net, 1);
    net_run(net, 15 * S);
    assert_string_equal(view_of(net, 0, 1).state, "dead");
    net_free(net);
}

static void who_is_heard_by_a_third_is_not_declared_dead(void **state)
{
    struct net *net = mesh(3);
    net_block(net, 0, 1, true);
    net_run(net, 120 * S);
    assert_string_equal(view_of(net, 0, 1).state, "alive");
    assert_string_equal(view_of(net, 1, 0).state, "alive");
    assert_false(view_of(net, 0, 1).up);
    assert_true(view_of(net, 0, 1).reachable);
    assert_true(net_stats(net, 0).probes_sent > 0);
    assert_int_equal(net_stats(net, 0).suspicions + net_stats(net, 1).suspicions, 0);
    net_free(net);
}

static void one_cut_off_from_all_accuses_nobody(void **state)
{
    struct net *net = mesh(4);
    for (size_t i = 1; i < 4; i++)
        net_block(net, 0, i, true);
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).suspicions, 0);
    assert_string_equal(view_of(net, 1, 0).state, "dead");
    for (size_t i = 1; i < 4; i++) {
        assert_false(view_of(net, 0, i).reachable);
        net_block(net, 0, i, false);
    }
    /* It hears what is said of it, and refutes that. */
    net_run(net, 40 * S);
    assert_true(net_stats(net, 0).refutations > 0);
    for (size_t i = 1; i < 4; i++)
        assert_string_equal(view_of(net, i, 0).state, "alive");
    net_free(net);
}

static void a_paused_node_refutes_and_loses_nothing(void **state)
{
    struct net *net = mesh(3);
    net_add_to(net, 2, "k", 7);
    net_pause(net, 2, true);
    net_run(net, 120 * S);
    assert_string_equal(view_of(net, 0, 2).state, "dead");
    net_add_to(net, 0, "k", 1);
    net_pause(net, 2, false);
    net_run(net, 40 * S);
    assert_true(net_stats(net, 2).pauses > 0);
    assert_int_equal(net_stats(net, 2).suspicions, 0);
    assert_true(net_stats(net, 2).refutations > 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "k"), 8);
    assert_string_equal(view_of(net, 0, 2).state, "alive");
    net_free(net);
}

static void who_is_idle_has_not_been_stopped(void **state)
{
    struct net *net = mesh(4);
    net_run(net, 300 * S);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(net_stats(net, i).pauses, 0);
    /* Else it would take its time to believe that another is gone. */
    net_kill(net, 3);
    net_run(net, 15 * S);
    assert_string_equal(view_of(net, 0, 3).state, "dead");
    net_free(net);
}

static void what_was_said_of_an_earlier_life_is_refuted_too(void **state)
{
    struct net *net = mesh(3);
    net_kill(net, 2);
    net_run(net, 20 * S);
    assert_string_equal(view_of(net, 0, 2).state, "dead");
    /* The same name and address in another life. */
    struct tly_engine_config config = {.name = tly_slice_text("n2")};
    size_t again = net_add_with(net, config, 1);
    net_run(net, 20 * S);
    assert_string_equal(view_of(net, 0, 2).state, "alive");
    assert_string_equal(view_of(net, 1, 2).state, "alive");
    assert_int_equal(net_peers_up(net, again), 2);
    net_free(net);
}

/* ---- the ring ---- */

static void both_ends_agree_on_each_link(void **state)
{
    const size_t sizes[] = {2, 3, 16, 17, 33, 64, 100, 1000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s], most = 0;
        for (size_t a = 0; a < n; a++) {
            size_t links = 0;
            for (size_t b = 0; b < n; b++) {
                assert_int_equal(tly_ring_links(a, b, n), tly_ring_links(b, a, n));
                links += a != b && tly_ring_links(a, b, n);
            }
            assert_true(links >= 1);
            if (links > most) most = links;
        }
        assert_true(n < 1000 || most <= 12);
    }
}

/* The longest way over the links from place 0; the ring looks alike from everywhere. */
static size_t hops_of(size_t n)
{
    static size_t hops[4096], queue[4096];
    memset(hops, 0xff, sizeof hops);
    size_t head = 0, tail = 0, most = 0;
    hops[0] = 0;
    queue[tail++] = 0;
    while (head < tail) {
        size_t at = queue[head++];
        most = hops[at];
        for (size_t b = 0; b < n; b++) {
            if (hops[b] != SIZE_MAX || !tly_ring_links(at, b, n)) continue;
            hops[b] = hops[at] + 1;
            queue[tail++] = b;
        }
    }
    assert_int_equal(tail, n);
    return most;
}

static void everybody_is_reached_in_few_hops(void **state)
{
    assert_true(hops_of(64) <= 6);
    assert_true(hops_of(256) <= 8);
    assert_true(hops_of(1024) <= 10);
}

/* ---- life in a ring ---- */

#define RING 20

/* So many nodes, far beyond their mesh_max, each where it belongs. */
static struct net *ring_of(size_t nodes)
{
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < nodes; i++)
        net_add_with(net, (struct tly_engine_config){.mesh_max = 4}, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    return net;
}

static uint64_t suspicions(struct net *net, size_t nodes)
{
    uint64_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        count += net_stats(net, i).suspicions;
    return count;
}

/* Of those that are alive, who says this of it, and how many hold it for reachable. */
static size_t saying(struct net *net, size_t from, size_t to, size_t about, const char *state)
{
    size_t count = 0;
    for (size_t i = from; i < to; i++)
        count += i != about && strcmp(view_of(net, i, about).state, state) == 0;
    return count;
}

static size_t reaching(struct net *net, size_t from, size_t to, size_t about)
{
    size_t count = 0;
    for (size_t i = from; i < to; i++)
        count += i != about && view_of(net, i, about).reachable;
    return count;
}

static void in_a_ring_nobody_is_suspected_and_idle_is_silent(void **state)
{
    struct net *net = ring_of(RING);
    uint64_t dots = 0, after = 0, bytes = net_bytes(net);
    for (size_t i = 0; i < RING; i++)
        dots += net_stats(net, i).dots_sent;
    net_run(net, 120 * S);
    for (size_t i = 0; i < RING; i++)
        after += net_stats(net, i).dots_sent;
    assert_int_equal(after, dots);
    assert_int_equal(suspicions(net, RING), 0);
    /* Of each link and direction 12.8 bytes/s (D103). */
    assert_in_range((net_bytes(net) - bytes) * 10 / 120 / net_connections(net), 231, 281);
    for (size_t i = 0; i < RING; i++)
        assert_int_equal(reaching(net, 0, RING, i), RING - 1);
    for (size_t i = 1; i < RING; i++)
        assert_true(view_of(net, 0, i).origin != 0); /* linked or not */
    net_free(net);
}

static void in_a_ring_a_kill_is_known_to_all_within_15_s(void **state)
{
    struct net *net = ring_of(RING);
    net_kill(net, 7);
    net_run(net, 15 * S);
    assert_int_equal(saying(net, 0, 7, 7, "dead"), 7);
    assert_int_equal(saying(net, 8, RING, 7, "dead"), RING - 8);
    for (size_t i = 0; i < RING; i++)
        assert_true(i == 7 || saying(net, 0, 7, i, "dead") == 0);
    net_free(net);
}

/* Two neighbours that cannot reach each other, and one who is linked to neither knows nothing of it. */
static void in_a_ring_a_broken_link_is_no_verdict_and_soon_no_news(void **state)
{
    struct net *net = ring_of(RING);
    size_t other = 1;
    while (!view_of(net, 0, other).linked)
        other++;
    net_block(net, 0, other, true);
    for (int i = 0; i < 1200; i++) {
        net_run(net, S);
        assert_int_equal(saying(net, 0, RING, 0, "dead") + saying(net, 0, RING, other, "dead"), 0);
    }
    assert_in_range(suspicions(net, RING), 3, 24); /* after 5 s, 10 s, 20 s, … 320 s, by either */
    net_add_to(net, 0, "k", 1);
    net_run(net, S);
    assert_int_equal(net_read(net, other, "k"), 1);
    net_block(net, 0, other, false);
    net_run(net, 60 * S);
    assert_true(view_of(net, 0, other).up);
    net_free(net);
}

static void a_ring_in_two_halves_knows_it_and_is_one_again(void **state)
{
    struct net *net = ring_of(RING);
    for (size_t a = 0; a < RING / 2; a++)
        for (size_t b = RING / 2; b < RING; b++)
            net_block(net, a, b, true);
    net_run(net, 60 * S);
    for (size_t i = 0; i < RING; i++) {
        bool low = i < RING / 2;
        assert_int_equal(reaching(net, 0, RING / 2, i), low ? RING / 2 - 1 : 0);
        assert_int_equal(reaching(net, RING / 2, RING, i), low ? 0 : RING / 2 - 1);
        net_add_to(net, i, "k", 1);
    }
    for (size_t a = 0; a < RING / 2; a++)
        for (size_t b = RING / 2; b < RING; b++)
            net_block(net, a, b, false);
    net_run(net, 90 * S);
    for (size_t i = 0; i < RING; i++) {
        assert_int_equal(net_read(net, i, "k"), RING);
        assert_int_equal(saying(net, 0, RING, i, "alive"), RING - 1);
    }
    net_free(net);
}

/* Whether every pair of the first n nodes is linked as both ends' own views say. */
static void assert_links_agree(struct net *net, size_t n)
{
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++) {
            if (a == b) continue;
            struct tly_peer_view there = view_of(net, a, b), back = view_of(net, b, a);
            assert_int_equal(there.linked, back.linked);
            assert_int_equal(there.up, there.linked);
        }
}

static void seventeen_are_a_ring_and_sixteen_again_a_mesh(void **state)
{
    struct net *net = mesh(16);
    net_run(net, 5 * S);
    net_add(net, 1);
    for (int i = 0; i < 600; i++) {
        net_add_to(net, (size_t)i % 17, "k", 1);
        net_run(net, 100 * MS);
    }
    net_run(net, S); /* each hop of a relay may wait a moment */
    assert_links_agree(net, 17);
    assert_true(net_connections(net) < 17 * 6 / 2 + 1);
    for (size_t i = 0; i < 17; i++)
        assert_int_equal(net_read(net, i, "k"), 600);
    net_event(net, 16, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, 100 * MS);
    net_kill(net, 16);
    for (int i = 0; i < 400; i++) {
        net_add_to(net, (size_t)i % 16, "k", 1);
        net_run(net, 100 * MS);
    }
    assert_links_agree(net, 16);
    assert_int_equal(net_connections(net), 16 * 15 / 2);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(net_read(net, i, "k"), 1000);
    net_free(net);
}

/* The more there are the longer they take to find their places; 64 take a sanitizer minutes. */
static void many_converge_over_a_ring(void **state)
{
    size_t many = test_is_long() ? 64 : 32;
    struct net *net = net_new(MS / 2);
    for (size_t i = 0; i < many; i++)
        net_add(net, i == 0 ? 0 : 1);
    net_run(net, 60 * S);
    assert_links_agree(net, many);
    for (size_t i = 0; i < many; i++)
        net_add_to(net, i, "k", 1);
    /* Six hops, each after at most the wait of a relay, a flush and the way. */
    net_run(net, 6 * (60 + 10 + 1) * MS + 20 * MS);
    for (size_t i = 0; i < many; i++)
        assert_int_equal(net_read(net, i, "k"), many);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_from_one_seed_are_a_full_mesh_in_5_s),
        cmocka_unit_test(restarted_in_any_order_without_their_seed_all_meet),
        cmocka_unit_test(a_leave_is_known_at_once_and_a_kill_within_15_s),
        cmocka_unit_test(two_that_know_of_each_other_that_they_left_meet_again),
        cmocka_unit_test(where_the_operator_says_is_dialled_whoever_left_there),
        cmocka_unit_test(of_two_the_other_needs_no_witness),
        cmocka_unit_test(who_is_heard_by_a_third_is_not_declared_dead),
        cmocka_unit_test(one_cut_off_from_all_accuses_nobody),
        cmocka_unit_test(a_paused_node_refutes_and_loses_nothing),
        cmocka_unit_test(who_is_idle_has_not_been_stopped),
        cmocka_unit_test(what_was_said_of_an_earlier_life_is_refuted_too),
        cmocka_unit_test(both_ends_agree_on_each_link),
        cmocka_unit_test(everybody_is_reached_in_few_hops),
        cmocka_unit_test(in_a_ring_nobody_is_suspected_and_idle_is_silent),
        cmocka_unit_test(in_a_ring_a_kill_is_known_to_all_within_15_s),
        cmocka_unit_test(in_a_ring_a_broken_link_is_no_verdict_and_soon_no_news),
        cmocka_unit_test(a_ring_in_two_halves_knows_it_and_is_one_again),
        cmocka_unit_test(seventeen_are_a_ring_and_sixteen_again_a_mesh),
        cmocka_unit_test(many_converge_over_a_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
