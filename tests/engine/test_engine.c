/* Engines in virtual time: scenes of two and three nodes. */
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static struct net *three_nodes(void)
{
    struct net *net = net_new(MS / 2);
    net_add(net, 0);
    net_add(net, 1);
    net_add(net, 1);
    net_run(net, 2 * S);
    return net;
}

static void assert_all_equal(struct net *net, size_t nodes)
{
    uint64_t digest = net_digest(net, 0);
    assert_true(digest != 0);
    for (size_t i = 1; i < nodes; i++)
        assert_int_equal(net_digest(net, i), digest);
}

static void from_one_seed_everybody_meets_everybody(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_peers_up(net, i), 2);
    assert_int_equal(net_connections(net), 3);
    net_free(net);
}

static void a_write_on_one_is_readable_on_all_within_a_flush(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    assert_int_equal(net_add_to(net, 0, "hello", 5), 5);
    assert_int_equal(net_read(net, 1, "hello"), INT64_MIN);
    net_run(net, MS);
    assert_int_equal(net_read(net, 1, "hello"), 5);
    assert_int_equal(net_read(net, 2, "hello"), 5);
    net_free(net);
}

static void increments_everywhere_add_up_exactly(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    for (int i = 0; i < 30000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i * 7919 % 100);
        net_add_to(net, (size_t)i % 3, key, 1);
        if (i % 10 == 0) net_run(net, MS / 3);
    }
    net_run(net, S);
    for (size_t node = 0; node < 3; node++) {
        int64_t sum = 0;
        for (int i = 0; i < 100; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            sum += net_read(net, node, key);
        }
        assert_int_equal(sum, 30000);
    }
    assert_all_equal(net, 3);
    net_free(net);
}

static void one_limit_holds_over_three_nodes(void **state)
{
    (void)state;
    static const enum tly_algorithm algorithms[] = {TLY_FIXED_WINDOW, TLY_SLIDING_WINDOW};
    for (size_t a = 0; a < 2; a++) {
        struct net *net = three_nodes();
        net_run(net, 10 * S - (net_time(net, 0).wall_ns % (10 * S)));
        int admitted = 0;
        for (int i = 0; i < 300; i++) {
            admitted += net_check(net, (size_t)i % 3, "k", "100/10s", algorithms[a]);
            net_run(net, 10 * MS);
        }
        assert_in_range(admitted, 100, 102);
        net_free(net);
    }
}

static void a_bucket_holds_over_three_nodes(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    int admitted = 0;
    for (int i = 0; i < 300; i++) {
        admitted += net_check(net, (size_t)i % 3, "k", "100/10s", TLY_TOKEN_BUCKET);
        net_run(net, 10 * MS);
    }
    /* 100 of the burst, and 10 a second come back over 3 s. */
    assert_in_range(admitted, 125, 135);
    net_free(net);
}

static void a_cut_loses_nothing(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    for (int i = 0; i < 2000; i++) {
        net_add_to(net, (size_t)i % 3, "k", 1);
        if (i % 100 == 50) net_cut(net, (size_t)i / 100 % 3, ((size_t)i / 100 + 1) % 3);
        if (i % 500 == 100) net_block(net, 0, 1, true);
        if (i % 500 == 400) net_block(net, 0, 1, false);
        net_run(net, 3 * MS);
    }
    net_block(net, 0, 1, false);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "k"), 2000);
    assert_all_equal(net, 3);
    assert_int_equal(net_connections(net), 3);
    net_free(net);
}

static void what_a_dead_node_had_told_one_survivor_reaches_all(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    net_block(net, 0, 2, true);
    net_add_to(net, 0, "k", 41);
    net_block(net, 1, 2, true);
    net_run(net, 50 * MS);
    net_kill(net, 0);
    net_block(net, 1, 2, false);
    net_run(net, 60 * S);
    assert_int_equal(net_read(net, 2, "k"), 41);
    net_free(net);
}

static void a_joiner_gets_everything_without_a_new_write(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    for (int i = 0; i < 20000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        net_add_to(net, 0, key, 1);
    }
    struct tly_reply reply;
    struct tly_request remove = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text("k7")};
    assert_int_equal(net_ask(net, 0, remove, &reply), TLY_OK);
    net_add(net, 1);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 1, "k7"), INT64_MIN);
    assert_int_equal(net_read(net, 1, "k19999"), 1);
    /* Who it is, and the numbers by which the REMOVE can be forgotten; nothing of what it got. */
    assert_in_range(net_stats(net, 1).dots_sent, 1, 3);
    assert_all_equal(net, 2);
    net_free(net);
}

static void a_delete_reaches_who_was_away(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    net_add_to(net, 1, "k", 3);
    net_run(net, S);
    net_block(net, 1, 0, true);
    net_block(net, 1, 2, true);
    struct tly_reply reply;
    struct tly_request remove = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text("k")};
    assert_int_equal(net_ask(net, 0, remove, &reply), TLY_OK);
    net_run(net, 20 * S);
    assert_int_equal(net_read(net, 1, "k"), 3);
    net_block(net, 1, 0, false);
    net_block(net, 1, 2, false);
    net_run(net, 60 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(net_read(net, i, "k"), INT64_MIN);
    assert_all_equal(net, 3);
    net_free(net);
}

static uint64_t lag_of(struct net *net, size_t node, const char *name)
{
    for (size_t i = 0; i < tly_engine_peers(net_node(net, node)); i++) {
        struct tly_peer_view view;
        tly_engine_peer(net_node(net, node), i, &view);
        uint64_t dots;
        if (tly_slice_equal(view.name, tly_slice_text(name)))
            return tly_engine_peer_lag(net_node(net, node), i, &dots) ? dots : UINT64_MAX;
    }
    return UINT64_MAX;
}

static void lag_is_what_a_peer_has_not_acknowledged(void **state)
{
    (void)state;
    struct net *net = net_new(20 * MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 2 * S);
    assert_int_equal(lag_of(net, 0, "n1"), 0);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        net_add_to(net, 0, key, 1);
    }
    net_run(net, 30 * MS); /* handed over, and the answer is on its way */
    assert_int_equal(lag_of(net, 0, "n1"), 100);
    net_add_to(net, 0, "k0", 1); /* counted, and not handed over yet */
    assert_int_equal(lag_of(net, 0, "n1"), 100);
    net_run(net, 200 * MS); /* its mark is told within 100 ms */
    assert_int_equal(lag_of(net, 0, "n1"), 0);
    net_kill(net, 1);
    net_run(net, 60 * S);
    assert_int_equal(lag_of(net, 0, "n1"), UINT64_MAX); /* nobody knows */
    net_free(net);
}

static void idle_means_heartbeats_only(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    net_add_to(net, 0, "k", 1);
    net_run(net, 10 * S);
    uint64_t rounds =
        net_stats(net, 0).rounds_sent + net_stats(net, 1).rounds_sent + net_stats(net, 2).rounds_sent;
    uint64_t bytes = net_bytes(net);
    net_run(net, 60 * S);
    uint64_t after =
        net_stats(net, 0).rounds_sent + net_stats(net, 1).rounds_sent + net_stats(net, 2).rounds_sent;
    assert_int_equal(after, rounds);
    /* Three links, both ways, a PING and a PONG every 2 s. */
    assert_in_range((net_bytes(net) - bytes) / 60 / 3, 10, 80);
    net_free(net);
}

static void a_line_relays_each_dot_once(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_add(net, 2);
    net_block(net, 0, 2, true);
    net_run(net, 30 * S);
    struct tly_stats before[3], after[3];
    for (size_t i = 0; i < 3; i++)
        before[i] = net_stats(net, i);
    net_add_to(net, 0, "k", 1);
    net_run(net, S);
    for (size_t i = 0; i < 3; i++)
        after[i] = net_stats(net, i);
    assert_int_equal(net_read(net, 2, "k"), 1);
    assert_int_equal(after[0].dots_sent - before[0].dots_sent, 1);
    assert_int_equal(after[1].dots_sent - before[1].dots_sent, 1);
    assert_int_equal(after[2].dots_sent - before[2].dots_sent, 0);
    net_free(net);
}

static void in_a_mesh_each_dot_crosses_each_link_once(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < 3; i++)
        before += net_stats(net, i).dots_sent;
    for (int i = 0; i < 100; i++) {
        net_add_to(net, (size_t)i % 3, "k", 1);
        net_run(net, 20 * MS);
    }
    for (size_t i = 0; i < 3; i++)
        after += net_stats(net, i).dots_sent;
    assert_int_equal(after - before, 200);
    net_free(net);
}

/* Five nodes that count all the time, over links of 50 ms; how many dots are sent, of those that a link each may take. */
static void send_over_long_links(uint32_t flush_ms)
{
    enum { NODES = 5, FLUSHES = 60, LINKS = NODES * (NODES - 1) };
    static const char *const keys[NODES] = {"a", "b", "c", "d", "e"};
    struct net *net = net_new(50 * MS);
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < NODES; i++)
        net_add_with(net, (struct tly_engine_config){.flush_ms = flush_ms}, i == 0 ? 0 : 1);
    net_run(net, 20 * S);
    for (size_t i = 0; i < NODES; i++)
        before += net_stats(net, i).dots_sent;
    for (size_t i = 0; i < (size_t)FLUSHES * flush_ms; i++) {
        net_add_to(net, i % NODES, keys[i % NODES], 1);
        net_run(net, MS);
    }
    for (size_t i = 0; i < NODES; i++)
        after += net_stats(net, i).dots_sent;
    assert_in_range(after - before, 1, (FLUSHES + 1) * LINKS);
    net_free(net);
}

/* Also where the word that somebody has it is longer under way than the dot itself waits, and where the next dot comes before it. */
static void over_long_links_each_dot_crosses_each_link_once(void **state)
{
    (void)state;
    send_over_long_links(100);
    send_over_long_links(50);
    send_over_long_links(20);
}

static void another_cluster_is_refused(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.cluster = tly_slice_text("other")}, 1);
    net_add_to(net, 0, "k", 1);
    net_run(net, 5 * S);
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_true(net_stats(net, 0).sessions_refused > 0);
    assert_int_equal(net_read(net, 1, "k"), INT64_MIN);
    net_free(net);
}

static void two_nodes_of_one_name_are_refused(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add_with(net, (struct tly_engine_config){.name = tly_slice_text("n0")}, 1);
    net_run(net, 5 * S);
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_true(net_stats(net, 0).sessions_refused > 0);
    net_free(net);
}

static void a_node_that_joins_itself_stays_alone_and_quiet(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 1);
    net_run(net, 60 * S);
    assert_int_equal(net_peers_up(net, 0), 0);
    assert_int_equal(net_stats(net, 0).dials, 1);
    assert_int_equal(net_stats(net, 0).sessions_refused, 0);
    net_free(net);
}

/* Of a node's peers, all up: how many refuse its clock, and whose clock it refuses. */
static void assert_dispute(struct net *net, size_t node, size_t refused_by, size_t refusing)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    assert_true(view.peers_up > 0);
    assert_int_equal(view.refused_by, refused_by);
    assert_int_equal(view.refusing, refusing);
}

static void a_clock_far_ahead_is_refused_and_forgiven_once_right(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, S);
    net_shift_wall(net, 1, (int64_t)(3600 * S));
    net_run(net, S);
    net_add_to(net, 1, "k", 1);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 0, "k"), INT64_MIN);
    assert_true(net_stats(net, 0).naks_sent > 0);
    assert_dispute(net, 1, 1, 0);
    assert_dispute(net, 0, 0, 1);
    net_run(net, 3600 * S);
    assert_dispute(net, 1, 0, 0);
    assert_dispute(net, 0, 0, 0);
    assert_int_equal(net_read(net, 0, "k"), 1);
    assert_all_equal(net, 2);
    net_free(net);
}

static void a_node_of_1970_joins_once_its_clock_is_set(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, S);
    net_add_to(net, 0, "k", 1);
    net_run(net, S);
    net_shift_wall(net, 2, -(int64_t)NET_WALL_START);
    net_add(net, 1);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 2, "k"), INT64_MIN);
    assert_dispute(net, 2, 0, 2);
    assert_dispute(net, 0, 1, 0); /* one of two: not most */
    net_shift_wall(net, 2, 0);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 2, "k"), 1);
    assert_dispute(net, 2, 0, 0);
    net_add_to(net, 2, "k", 1);
    net_run(net, S);
    assert_int_equal(net_read(net, 0, "k"), 2);
    assert_all_equal(net, 3);
    net_free(net);
}

/* It knows that a clock of 1970 is wrong, and takes that of the others. */
static void a_node_of_1970_takes_the_time_of_the_members(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add(net, 0);
    net_add(net, 1);
    net_add_to(net, 0, "k", 1);
    net_run(net, S);
    net_shift_wall(net, 2, -(int64_t)NET_WALL_START);
    net_add_with(net, (struct tly_engine_config){.wall_earliest_ns = NET_WALL_START - S}, 1);
    struct tly_node_view view;
    tly_engine_node(net_node(net, 2), false, &view);
    assert_false(view.wall_borrowed);
    net_add_to(net, 2, "early", 1);
    net_run(net, 5 * S);
    assert_int_equal(net_read(net, 0, "early"), 1);
    assert_int_equal(net_read(net, 2, "k"), 1);
    assert_int_equal(net_add_to(net, 2, "k", 1), 2);
    assert_int_equal(net_add_to(net, 0, "k", 1), 2);
    net_run(net, S);
    tly_engine_node(net_node(net, 2), false, &view);
    assert_true(view.wall_borrowed);
    assert_dispute(net, 2, 0, 0);
    /* Once it is right, even if the others are gone, its own is used again. */
    net_shift_wall(net, 2, (int64_t)S);
    net_run(net, S);
    tly_engine_node(net_node(net, 2), false, &view);
    assert_false(view.wall_borrowed);
    assert_int_equal(net_read(net, 2, "k"), 3);
    assert_all_equal(net, 3);
    net_free(net);
}

static void simultaneous_dials_leave_one_connection(void **state)
{
    (void)state;
    for (uint64_t delay = 1; delay < 40; delay++) {
        struct net *net = net_new(delay * MS / 10);
        net_add(net, 2);
        net_add(net, 1);
        /* Both dial in the same instant; whose greeting comes first must not matter. */
        if (delay % 2 == 0) net_event(net, 1, (struct tly_event){.kind = TLY_TICK});
        net_run(net, 2 * S);
        assert_int_equal(net_connections(net), 1);
        assert_int_equal(net_peers_up(net, 0), 1);
        assert_int_equal(net_peers_up(net, 1), 1);
        struct tly_peer_view peer;
        tly_engine_peer(net_node(net, 0), 0, &peer);
        assert_true(peer.dialled); /* its origin is the lower */
        assert_int_equal(net_stats(net, 0).dials + net_stats(net, 1).dials, 2);
        net_add_to(net, 0, "a", 1);
        net_add_to(net, 1, "b", 1);
        net_run(net, S);
        assert_int_equal(net_read(net, 0, "b"), 1);
        assert_int_equal(net_read(net, 1, "a"), 1);
        net_free(net);
    }
}

static void a_leave_is_seen_at_once_and_not_dialled_again(void **state)
{
    (void)state;
    struct net *net = three_nodes();
    net_event(net, 2, (struct tly_event){.kind = TLY_LEAVE});
    net_run(net, S);
    assert_int_equal(net_peers_up(net, 0), 1);
    uint64_t dials = net_stats(net, 0).dials;
    net_kill(net, 2);
    net_run(net, 60 * S);
    assert_int_equal(net_stats(net, 0).dials, dials);
    /* But now and then: it may be up again where nobody heard of it. */
    net_run(net, 3600 * S);
    assert_in_range(net_stats(net, 0).dials, dials + 5, dials + 7);
    net_free(net);
}

static void what_the_store_was_given_brings_everything_back(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add(net, 1);
    for (int i = 0; i < 3000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 500);
        net_add_to(net, (size_t)i % 2, key, 1);
        if (i % 50 == 0) net_run(net, 5 * MS);
    }
    net_run(net, S);
    uint64_t ticket = tly_engine_ticket(net_node(net, 0));
    assert_int_equal(ticket, 0);
    uint64_t digest = net_digest(net, 0);

    struct tly_engine_config config = {
        .mem = test_mem(),
        .name = tly_slice_text("n0"),
        .cluster = tly_slice_text("test"),
        .now = net_time(net, 0),
        .has_store = true,
    };
    struct tly_engine *again;
    assert_int_equal(tly_engine_new(&config, &again), TLY_OK);
    assert_true(net_batches(net, 0) > 5);
    for (size_t i = 0; i < net_batches(net, 0); i++)
        assert_int_equal(tly_engine_replay(again, net_batch(net, 0, i)), TLY_OK);
    struct tly_node_view view;
    tly_engine_node(again, true, &view);
    assert_int_equal(view.digest, digest);
    assert_int_equal(tly_engine_start(again, 999, net_time(net, 0)), TLY_OK);
    tly_engine_check(again);
    tly_engine_free(again);
    net_free(net);
}

static void every_prefix_of_a_batch_replays_or_is_refused(void **state)
{
    (void)state;
    struct net *net = net_new(MS);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 0);
    net_add_to(net, 0, "k", 1);
    net_run(net, S);
    assert_true(net_batches(net, 0) > 0);
    struct tly_slice batch = net_batch(net, 0, 0);
    struct tly_engine_config config = {.mem = test_mem(),
                                       .name = tly_slice_text("n0"),
                                       .cluster = tly_slice_text("test"),
                                       .now = net_time(net, 0)};
    struct tly_engine *again;
    assert_int_equal(tly_engine_new(&config, &again), TLY_OK);
    for (size_t n = 0; n < batch.n; n++)
        assert_int_not_equal(tly_engine_replay(again, tly_slice_of(batch.p, n)), TLY_OK);
    assert_int_equal(tly_engine_replay(again, batch), TLY_OK);
    tly_engine_free(again);
    net_free(net);
}

static void a_reply_waits_for_its_ticket_alone(void **state)
{
    (void)state;
    struct tly_engine_config config = {.mem = test_mem(),
                                       .name = tly_slice_text("n0"),
                                       .cluster = tly_slice_text("test"),
                                       .has_store = true};
    config.now = (struct tly_time){NET_WALL_START, S};
    struct tly_engine *e;
    struct tly_effects effects;
    assert_int_equal(tly_engine_new(&config, &e), TLY_OK);
    assert_int_equal(tly_engine_start(e, 7, config.now), TLY_OK);
    assert_int_equal(tly_engine_ticket(e), 0);
    struct tly_request add = {
        .kind = TLY_ASK_ADD, .now = config.now, .key = tly_slice_text("k"), .number = 1};
    struct tly_reply reply;
    assert_int_equal(tly_engine_ask(e, &add, &reply), TLY_OK);
    uint64_t first = tly_engine_ticket(e);
    assert_true(first != 0);
    assert_int_equal(tly_engine_deadline(e), 0);
    struct tly_event tick = {.kind = TLY_TICK, .now = config.now};
    assert_int_equal(tly_engine_step(e, &tick, &effects), TLY_OK);
    assert_int_equal(tly_engine_ticket(e), first);
    assert_int_equal(tly_engine_ask(e, &add, &reply), TLY_OK);
    uint64_t second = tly_engine_ticket(e);
    assert_true(second > first);
    assert_int_equal(tly_engine_step(e, &tick, &effects), TLY_OK);
    struct tly_event stored = {.kind = TLY_STORED, .now = config.now, .number = 1};
    assert_int_equal(tly_engine_step(e, &stored, &effects), TLY_OK);
    assert_true(tly_engine_is_stored(e, first));
    assert_false(tly_engine_is_stored(e, second));
    stored.number = 2;
    assert_int_equal(tly_engine_step(e, &stored, &effects), TLY_OK);
    assert_true(tly_engine_is_stored(e, second));
    assert_int_equal(tly_engine_ticket(e), 0);
    tly_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_one_seed_everybody_meets_everybody),
        cmocka_unit_test(a_write_on_one_is_readable_on_all_within_a_flush),
        cmocka_unit_test(increments_everywhere_add_up_exactly),
        cmocka_unit_test(one_limit_holds_over_three_nodes),
        cmocka_unit_test(a_bucket_holds_over_three_nodes),
        cmocka_unit_test(a_cut_loses_nothing),
        cmocka_unit_test(what_a_dead_node_had_told_one_survivor_reaches_all),
        cmocka_unit_test(a_joiner_gets_everything_without_a_new_write),
        cmocka_unit_test(a_delete_reaches_who_was_away),
        cmocka_unit_test(lag_is_what_a_peer_has_not_acknowledged),
        cmocka_unit_test(idle_means_heartbeats_only),
        cmocka_unit_test(a_line_relays_each_dot_once),
        cmocka_unit_test(in_a_mesh_each_dot_crosses_each_link_once),
        cmocka_unit_test(over_long_links_each_dot_crosses_each_link_once),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(two_nodes_of_one_name_are_refused),
        cmocka_unit_test(a_node_that_joins_itself_stays_alone_and_quiet),
        cmocka_unit_test(a_clock_far_ahead_is_refused_and_forgiven_once_right),
        cmocka_unit_test(a_node_of_1970_joins_once_its_clock_is_set),
        cmocka_unit_test(a_node_of_1970_takes_the_time_of_the_members),
        cmocka_unit_test(simultaneous_dials_leave_one_connection),
        cmocka_unit_test(a_leave_is_seen_at_once_and_not_dialled_again),
        cmocka_unit_test(what_the_store_was_given_brings_everything_back),
        cmocka_unit_test(every_prefix_of_a_batch_replays_or_is_refused),
        cmocka_unit_test(a_reply_waits_for_its_ticket_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
