/*
 * Thin links in virtual time: what goes first, how much is under way, and what becomes of writes that have to wait.  Every scene has
 * two nodes, node 0 with old keys that node 1 lacks.
 */
#include "service/engine/lane.h"
#include "tests/engine/support_forget.h"
#include "tests/engine/support_thin.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

static struct tly_peer_view peer_of(struct net *net, size_t node)
{
    struct tly_peer_view view;
    tly_engine_peer(net_node(net, node), 0, &view);
    return view;
}

/* Two that have met over a link, with so many old keys on node 0 that node 1 will get. */
static struct net *pair(uint64_t rate, size_t old, struct tly_engine_config config)
{
    struct net *net = net_new(DELAY);
    net_thin(net, rate, KERNEL);
    net_add_with(net, config, 0);
    for (size_t i = 0; i < old; i++)
        thin_count(net, 0, 'o', i);
    net_add(net, 1);
    while (net_peers_up(net, 0) == 0 || net_peers_up(net, 1) == 0)
        net_run(net, MS);
    return net;
}

/* Nothing more goes out than the credit lets. */
static void claim_credit(struct net *net, uint64_t *unacked)
{
    struct tly_peer_view view = peer_of(net, 0);
    if (view.unacked_bytes > *unacked) assert_in_range(view.unacked_bytes, 0, view.credit_bytes);
    *unacked = view.unacked_bytes;
}

/* ---- claims ---- */

/* D1, the line of the bench: 256 kbit/s and 100 ms, 1 MB that is old, fresh keys both ways. */
static void claim_news_overtake_old_keys(uint64_t hz)
{
    enum { OLD = 2500 };
    struct net *net = pair(THIN, OLD, (struct tly_engine_config){0});
    struct thin_stream streams[2] = {{.from = 0, .kind = 'a', .every = S / hz, .next = net_now(net) + S},
                                     {.from = 1, .kind = 'b', .every = S / hz, .next = net_now(net) + S}};
    uint64_t began = net_now(net), until = began + 50 * S, took = 0, unacked = 0;
    uint64_t ideal = (uint64_t)OLD * KEY_BYTES * S / (THIN - hz * KEY_BYTES) + DELAY;
    size_t old = 0;
    while (net_now(net) < until + 2 * S) {
        net_run(net, 5 * MS);
        for (size_t i = 0; i < 2; i++)
            thin_go_on(net, &streams[i], until);
        claim_credit(net, &unacked);
        old = thin_old_here(net, old, OLD);
        if (old == OLD && took == 0) took = net_now(net) - began;
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(streams[i].seen, streams[i].made);
        assert_in_range(streams[i].oldest_ns, DELAY, S);
    }
    printf(
        "%u Hz: news at most %.2f s old, the old keys in %.2f of the ideal time\n", (unsigned)hz,
        (double)(streams[0].oldest_ns > streams[1].oldest_ns ? streams[0].oldest_ns : streams[1].oldest_ns) /
            1e9,
        (double)took / (double)ideal);
    assert_in_range(took, 1, ideal * 110 / 100);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

static void news_overtake_a_megabyte_on_a_thin_link(void **state)
{
    (void)state;
    claim_news_overtake_old_keys(1);
    claim_news_overtake_old_keys(10);
    claim_news_overtake_old_keys(25);
}

static size_t batch_bytes(const struct net *net, size_t node)
{
    size_t bytes = 0;
    for (size_t i = 0; i < net_batches(net, node); i++)
        bytes += net_batch(net, node, i).n;
    return bytes;
}

/* What comes later and is older has its follower, the disk, go back; what it was given already is not written again. */
static void what_overtook_is_written_to_the_disk_once(void **state)
{
    (void)state;
    enum { OLD = 1000 };
    struct net *net = net_new(DELAY);
    net_thin(net, THIN, KERNEL);
    net_add(net, 0);
    for (size_t i = 0; i < OLD; i++)
        thin_count(net, 0, 'o', i);
    net_add_with(net, (struct tly_engine_config){.has_store = true}, 1);
    struct thin_stream stream = {.from = 0, .kind = 'a', .every = S / 25, .next = net_now(net) + S};
    uint64_t until = net_now(net) + 12 * S;
    while (net_now(net) < until + 20 * S) {
        net_run(net, 5 * MS);
        thin_go_on(net, &stream, until);
        if (net_now(net) >= until - 4 * S && net_now(net) < until - 4 * S + 5 * MS) net_cut(net, 0, 1);
    }
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    size_t dots = OLD + stream.made;
    assert_in_range(batch_bytes(net, 1), dots * KEY_BYTES, dots * KEY_BYTES * 3 / 2);
    net_restart(net, 1, 500, SIZE_MAX);
    net_run(net, 10 * S);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* News without what is older: when their maker is gone for good, all who have some of them come to have the same. */
static void a_maker_that_falls_amid_its_news_leaves_equals(void **state)
{
    (void)state;
    for (uint64_t fall = 2; fall <= 8; fall += 3) {
        struct net *net = pair(THIN, 500, (struct tly_engine_config){0});
        net_add(net, 3);
        struct thin_stream stream = {.from = 0, .kind = 'a', .every = S / 25, .next = net_now(net) + S};
        for (uint64_t until = net_now(net) + fall * S; net_now(net) < until;) {
            net_run(net, 5 * MS);
            thin_go_on(net, &stream, until);
        }
        assert_true(net_digest(net, 1) != net_digest(net, 0));
        net_kill(net, 0);
        net_run(net, 60 * S);
        assert_true(thin_is_here(net, 1, 'a', 0) && thin_is_here(net, 2, 'a', 0));
        assert_int_equal(net_digest(net, 1), net_digest(net, 2));
        net_free(net);
    }
}

/* What was to go ahead of a long round is replaced by the other's before it could: then nothing is left to go, and nothing waits for it. */
static void what_is_replaced_before_it_could_go_ahead_holds_up_nothing(void **state)
{
    (void)state;
    enum { OLD = 600, WRITES = 1000 };
    struct net *net = pair(THIN, OLD, (struct tly_engine_config){0});
    net_shift_wall(net, 1, (int64_t)S);
    for (size_t i = 0; i < OLD; i++)
        thin_count(net, 1, 'p', i);
    for (size_t i = 0; i < WRITES; i++) {
        struct tly_reply reply;
        struct tly_request put = {
            .kind = TLY_ASK_PUT, .key = tly_slice_text("kv:hot"), .bytes = tly_slice_text("x")};
        assert_int_equal(net_ask(net, i % 2, put, &reply), TLY_OK);
        net_run(net, 3 * MS + i % 7 * MS); /* it says so when time stands still */
    }
    net_run(net, 60 * S);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* D4: what is handed over and not taken is what control waits for. */
static void control_waits_for_one_chunk_at_most(void **state)
{
    (void)state;
    struct net *net = pair(THIN, 1000, (struct tly_engine_config){0});
    uint64_t most = 0;
    net_thin(net, THIN, 0); /* all that is handed over can be seen */
    net_run(net, 3 * S);    /* the link is known by then */
    uint64_t before = net_stats(net, 1).dots_applied;
    for (int i = 0; i < 5000; i++) {
        net_run(net, MS);
        struct tly_peer_view view = peer_of(net, 0);
        if (view.queued_bytes > most) most = view.queued_bytes;
        assert_in_range(view.queued_bytes, 0, view.chunk_bytes + 1024 + KEY_BYTES);
    }
    assert_true(most > 0 && net_stats(net, 1).dots_applied > before + 350);
    net_free(net);
}

/* D4: fresh keys beyond what the link carries; the old ones end all the same. */
static void bulk_keeps_a_tenth_when_live_could_take_all(void **state)
{
    (void)state;
    enum { OLD = 200 };
    struct net *net = pair(THIN, OLD, (struct tly_engine_config){0});
    struct thin_stream stream = {.from = 0, .kind = 'a', .every = S / 100, .next = net_now(net) + S};
    uint64_t until = net_now(net) + 40 * S, took = 0;
    for (size_t old = 0; net_now(net) < until;) {
        net_run(net, 10 * MS);
        thin_go_on(net, &stream, until);
        old = thin_old_here(net, old, OLD);
        if (old == OLD && took == 0) took = net_now(net);
    }
    assert_true(took > 0);
    struct tly_stats stats = net_stats(net, 0);
    assert_true(stream.seen < stream.made); /* it was too much */
    uint64_t data = stats.lane_live_bytes + stats.lane_bulk_bytes;
    assert_in_range(stats.lane_bulk_bytes, data / 12, data);
    assert_int_equal(data + stats.lane_repair_bytes + stats.lane_control_bytes, stats.bytes_sent);
    net_run(net, 60 * S);
    thin_go_on(net, &stream, until);
    assert_int_equal(stream.seen, stream.made);
    net_free(net);
}

/* D5 */
static void claim_chunks(uint64_t rate, size_t old, uint64_t chunk)
{
    struct net *net = pair(rate, old, (struct tly_engine_config){0});
    uint64_t unacked = 0, most = 0, started = net_now(net);
    while (net_stats(net, 1).dots_applied < old) {
        net_run(net, 5 * MS);
        claim_credit(net, &unacked);
        struct tly_peer_view view = peer_of(net, 0);
        if (view.rate > 0 && view.chunk_bytes > most) most = view.chunk_bytes;
        assert_true(net_now(net) - started < 60 * S);
    }
    assert_in_range(most, chunk * 9 / 10, chunk * 11 / 10);
    net_free(net);
}

static void chunks_are_a_tenth_of_a_second_of_the_link(void **state)
{
    (void)state;
    claim_chunks(THIN, 1000, 3200);
    claim_chunks(10000000, 10000, 65536);
}

/* Bytes that node 0 sent, as they stand in a bucket that leaks at the budget. */
struct level {
    uint64_t budget, sent, bytes;
};

/* Now so many have been sent in all. */
static void claim_level(struct level *level, uint64_t sent, uint64_t most)
{
    uint64_t leaked = level->budget / 1000;
    level->bytes = (level->bytes > leaked ? level->bytes - leaked : 0) + (sent - level->sent);
    level->sent = sent;
    assert_in_range(level->bytes, 0, most);
}

static void claim_all_within(struct net *net, struct level *level)
{
    claim_level(level, net_stats(net, 0).bytes_sent, TLY_BURST_MIN + 512);
}

/* D6: over every stretch of time no more goes to the peer than the rate and the burst, and what must be answered. */
static void a_budget_is_kept_over_any_time(void **state)
{
    (void)state;
    enum { BUDGET = 8000, OLD = 100 };
    struct net *net = pair(10000000, OLD, (struct tly_engine_config){.link_budget = BUDGET});
    struct thin_stream stream = {.from = 0, .kind = 'a', .every = S / 50, .next = net_now(net)};
    struct level level = {.budget = BUDGET, .sent = net_stats(net, 0).bytes_sent};
    uint64_t until = net_now(net) + 20 * S;
    while (net_now(net) < until + 60 * S) {
        net_run(net, MS);
        thin_go_on(net, &stream, until);
        claim_all_within(net, &level);
    }
    assert_true(stream.made > 900 && stream.seen == stream.made);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* Node `node`, which joins node 0, writes one register in many lives, of most of which nothing is left. */
static void write_in_many_lives(struct net *net, size_t node, size_t lives)
{
    net_add(net, 1);
    for (uint64_t i = 1; i <= lives; i++) {
        net_restart(net, node, i * UINT64_C(0x9e3779b97f4a7c15), 0); /* a life's number is random */
        net_run(net, 2 * S);
        put(net, node, "r:one", "value");
        net_run(net, S);
    }
}

/* While node 1 is cut off. Each of the lives is named to it at the end of the round that brings what node 0 counts. */
static void the_marks_of_many_lives_are_within_the_budget(void **state)
{
    (void)state;
    enum { BUDGET = 8000, KEYS = 100 };
    struct net *net = pair(10000000, 0, (struct tly_engine_config){.link_budget = BUDGET});
    assert_int_equal(net_register(net, 0, "r:", "lww"), TLY_OK);
    net_run(net, S);
    net_block(net, 0, 1, true);
    net_cut(net, 0, 1);
    net_block(net, 1, 2, true);
    write_in_many_lives(net, 2, 80);
    net_kill(net, 2);
    for (size_t k = 0; k < KEYS; k++)
        thin_count(net, 0, 'k', k);
    net_run(net, S);
    assert_false(thin_is_here(net, 1, 'k', 0));
    net_block(net, 0, 1, false);
    struct level level = {.budget = BUDGET, .sent = net_stats(net, 0).bytes_sent};
    for (uint64_t until = net_now(net) + 60 * S; net_now(net) < until;) {
        net_run(net, MS);
        claim_all_within(net, &level);
    }
    assert_true(thin_is_here(net, 1, 'k', KEYS - 1));
    assert_int_equal(net_stats(net, 0).snapshots_sent, 0);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* A bucket that was full has nothing saved for what must go: that is gone from it for the rest. */
static void what_flowed_over_makes_up_for_nothing(void **state)
{
    (void)state;
    struct tly_lanes lanes = tly_lanes_of(8000, 0);
    tly_lanes_sent(&lanes, TLY_LANE_CONTROL, 3000, 0, 10 * S);
    assert_int_equal(tly_lane_room(&lanes, TLY_LANE_LIVE, 10 * S), TLY_BURST_MIN - 3000);
    assert_int_equal(tly_lane_room(&lanes, TLY_LANE_LIVE, 10 * S + 100 * MS), TLY_BURST_MIN - 3000 + 800);
}

/* What fills the room waits for what goes beside it; for much no longer than until most of the burst is there, since answers go on. */
static void what_goes_beside_waits_for_room_with_the_rest(void **state)
{
    (void)state;
    size_t room = 0;
    unsigned live = 1u << TLY_LANE_LIVE;
    struct tly_lanes lanes = tly_lanes_of(8000, 0);
    assert_int_equal(tly_lanes_next(&lanes, live, 1000, 0, &room), TLY_LANE_LIVE);
    assert_int_equal(room, TLY_BURST_MIN - 1000);
    tly_lanes_sent(&lanes, TLY_LANE_LIVE, 3000, 0, 0);
    assert_int_equal(tly_lanes_next(&lanes, live, 1000, 0, &room), TLY_LANES);
    uint64_t at = tly_lanes_budget_at(&lanes, 0);
    assert_in_range(at, 1, S);
    assert_int_equal(tly_lanes_next(&lanes, live, 1000, at, &room), TLY_LANE_LIVE);
    assert_in_range(room, 256, TLY_CHUNK_MIN + 16);
    assert_int_equal(tly_lanes_next(&lanes, live, 100000, at, &room), TLY_LANES);
    uint64_t later = tly_lanes_budget_at(&lanes, at);
    assert_in_range(later, at + 1, S / 2);
    assert_int_equal(tly_lanes_next(&lanes, live, 100000, later, &room), TLY_LANE_LIVE);
    assert_int_equal(room, 256);
}

/* Marks that are told alone wait as well, as long as it takes for so much to flow in; without a budget nothing waits. */
static void what_is_told_waits_until_there_is_room_for_it(void **state)
{
    (void)state;
    struct tly_lanes lanes = tly_lanes_of(8000, 0), free = tly_lanes_of(0, 0);
    tly_lanes_sent(&lanes, TLY_LANE_LIVE, TLY_BURST_MIN, 0, 0);
    tly_lanes_sent(&free, TLY_LANE_LIVE, TLY_BURST_MIN, 0, 0);
    assert_int_equal(tly_lanes_budget_for(&lanes, 0, MS), MS);
    uint64_t at = tly_lanes_budget_for(&lanes, 640, MS);
    assert_in_range(at, 80 * MS, 90 * MS);
    assert_int_equal(tly_lanes_budget_for(&lanes, 640, at), at);
    assert_int_equal(tly_lanes_budget_for(&free, 640, MS), MS);
}

/* A key that is counted in windows of so many lengths, each with a dot of its own. */
static void count_in_windows(struct net *net, const char *key, size_t windows)
{
    struct tly_reply reply;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_request check = {.kind = TLY_ASK_CHECK,
                                .check = {.key = tly_slice_text(key), .hits = 1, .rate = {.limit = 10}}};
    check.check.rate.algorithm = TLY_FIXED_WINDOW;
    for (size_t i = 0; i < windows; i++) {
        check.check.rate.window_ms =
            3600000 + test_rng_below(&rng, 1000000000); /* parts make little of these */
        assert_int_equal(net_ask(net, 0, check, &reply), TLY_OK);
    }
}

/* Who has forgotten a REMOVE brings others up by a snapshot, of which one key is most. */
static void under_a_budget_no_key_of_a_snapshot_goes_in_one_piece(void **state)
{
    (void)state;
    enum { BUDGET = 8000, WINDOWS = 1500 };
    struct net *net = net_new(DELAY);
    struct tly_reply reply;
    struct tly_request put = {.kind = TLY_ASK_PUT, .key = tly_slice_text("kv:gone")};
    struct tly_engine_config config = {.link_budget = BUDGET, .tombstone_grace_ms = 1000};
    net_add_with(net, config, 0);
    net_run(net, 3 * S);
    assert_int_equal(net_ask(net, 0, put, &reply), TLY_OK);
    put.kind = TLY_ASK_REMOVE;
    assert_int_equal(net_ask(net, 0, put, &reply), TLY_OK);
    for (int i = 0; i < 60 && net_stats(net, 0).removes_forgotten == 0; i++)
        net_run(net, S);
    count_in_windows(net, "many", WINDOWS);
    net_run(net, S);
    net_add_with(net, config, 1);
    uint64_t began = net_stats(net, 0).bytes_sent;
    struct level level = {.budget = BUDGET, .sent = began};
    for (uint64_t ms = 0; ms < 60000 && net_stats(net, 1).snapshots_installed == 0; ms++) {
        net_run(net, MS);
        claim_all_within(net, &level);
    }
    assert_int_equal(net_stats(net, 1).snapshots_installed, 1);
    assert_true(level.sent - began > 2 * 4096);
    net_run(net, 10 * S);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    net_free(net);
}

/* ---- keys near their limits, under a budget ---- */

#define LIMIT 1000000
#define LIMITED 200

/* What is left of key i as a node knows it, without what it takes for likely, after so many hits there. */
static uint64_t left_of(struct net *net, size_t node, size_t i, uint64_t hits)
{
    char text[16];
    struct tly_reply reply;
    (void)snprintf(text, sizeof text, "limit%zu", i);
    struct tly_request check = {.kind = TLY_ASK_CHECK,
                                .check = {.key = tly_slice_text(text), .hits = (uint32_t)hits}};
    assert_int_equal(tly_rate_parse(tly_slice_text("1000000/3600s"), &check.check.rate), TLY_OK);
    assert_int_equal(net_ask(net, node, check, &reply), TLY_OK);
    return LIMIT - reply.verdict.used;
}

/* D6: all keys are hit all the time, which is far more than the budget carries; every other is at 95 % of its limit, the rest at 5 %. */
static void under_a_budget_keys_near_their_limits_are_fresher(void **state)
{
    (void)state;
    struct net *net = pair(10000000, 0, (struct tly_engine_config){.link_budget = 4000});
    uint64_t lag[2] = {0, 0}, looks = 0;
    net_run(net, 2 * S);
    for (size_t i = 0; i < LIMITED; i++)
        (void)left_of(net, 0, i, i % 2 == 0 ? LIMIT / 100 * 95 : LIMIT / 100 * 5);
    net_run(net, 10 * S);
    for (int ms = 0; ms < 20000; ms += 5) {
        for (size_t i = 0; i < LIMITED; i++)
            (void)left_of(net, 0, i, 1);
        net_run(net, 5 * MS);
        if (ms < 5000 || ms % 100 != 0) continue;
        looks++;
        for (size_t i = 0; i < LIMITED; i++)
            lag[i % 2] += left_of(net, 1, i, 0) - left_of(net, 0, i, 0);
    }
    /* A hit every 5 ms. */
    double each = (double)looks * LIMITED / 2 * 200, near_s = (double)lag[0] / each,
           far_s = (double)lag[1] / each;
    printf("at 95 %% of the limit %.2f s old on average, at 5 %% %.2f s\n", near_s, far_s);
    assert_true(near_s > 0 && near_s * 3 < far_s);
    /* Nobody starves for good. */
    net_run(net, 20 * S);
    for (size_t i = 0; i < LIMITED; i++)
        assert_int_equal(left_of(net, 1, i, 0), left_of(net, 0, i, 0));
    net_free(net);
}

/* What is left of 100 by what the other node knows, without what it takes for likely. */
static uint64_t left_there(struct net *net)
{
    struct tly_reply reply;
    struct tly_request peek = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text("k")}};
    assert_int_equal(tly_rate_parse(tly_slice_text("100/60s"), &peek.check.rate), TLY_OK);
    assert_int_equal(net_ask(net, 1, peek, &reply), TLY_OK);
    return 100 - reply.verdict.used;
}

static void check_up_to(struct net *net, unsigned *done, unsigned checks)
{
    for (; *done < checks; ++*done)
        assert_true(net_check(net, 0, "k", "100/60s", TLY_FIXED_WINDOW));
}

static void a_count_that_nears_its_limit_goes_at_once(void **state)
{
    (void)state;
    static const unsigned crossings[] = {80, 95, 100};
    struct net *net = pair(1000000, 0, (struct tly_engine_config){.flush_ms = 1000});
    net_run(net, 3 * S);
    unsigned done = 0, seen = 1;
    check_up_to(net, &done, seen);
    net_run(net, DELAY + 2 * MS); /* after idle */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(left_there(net), 100 - seen);
        check_up_to(net, &done, crossings[i] - 1);
        net_run(net, DELAY + 10 * MS);
        assert_int_equal(left_there(net), 100 - seen);
        check_up_to(net, &done, crossings[i]);
        net_run(net, DELAY + 7 * MS);
        seen = crossings[i];
        assert_int_equal(left_there(net), 100 - seen);
    }
    net_free(net);
}

/* At most every 5 ms, however many limits are near. */
static void counts_near_their_limits_do_not_flood(void **state)
{
    (void)state;
    struct net *net = pair(1000000, 0, (struct tly_engine_config){.flush_ms = 1000});
    net_run(net, 3 * S);
    uint64_t rounds = net_stats(net, 0).rounds_sent;
    for (unsigned i = 0; i < 400; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        for (unsigned hit = 0; hit < 4; hit++)
            assert_true(net_check(net, 0, key, "5/60s", TLY_FIXED_WINDOW));
        net_run(net, MS);
    }
    assert_in_range(net_stats(net, 0).rounds_sent - rounds, 60, 82);
    net_free(net);
}

/* D7 */
static void what_is_written_during_a_stall_arrives_as_one_dot(void **state)
{
    (void)state;
    struct net *net = pair(THIN, 0, (struct tly_engine_config){0});
    net_run(net, 2 * S);
    net_pause(net, 1, true);
    for (size_t i = 0; i < 300; i++)
        thin_count(net, 0, 'f', i);
    net_run(net, 2 * S); /* nobody answers, and that has been noticed */
    uint64_t received = net_stats(net, 1).dots_received;
    for (int64_t i = 1; i <= 4000; i++) {
        assert_int_equal(net_add_to(net, 0, "hot", 1), i);
        net_run(net, MS);
    }
    net_pause(net, 1, false);
    net_run(net, 10 * S);
    assert_int_equal(net_read(net, 1, "hot"), 4000);
    assert_in_range(net_stats(net, 1).dots_received - received, 301, 310);
    net_free(net);
}

/* D8 */
static void at_200_ms_two_emitters_wait_no_extra_round_trip(void **state)
{
    (void)state;
    struct net *net = pair(THIN, 0, (struct tly_engine_config){0});
    net_run(net, 2 * S);
    struct thin_stream streams[2] = {
        {.from = 0, .kind = 'a', .every = S / 25, .next = net_now(net)},
        {.from = 1, .kind = 'b', .every = S / 25, .next = net_now(net) + S / 50}};
    uint64_t until = net_now(net) + 20 * S;
    while (net_now(net) < until + S) {
        net_run(net, MS);
        for (size_t i = 0; i < 2; i++)
            thin_go_on(net, &streams[i], until);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(streams[i].made, 500);
        assert_int_equal(streams[i].seen, 500);
        /* One way, a flush, and a few parts that are under way before it. */
        assert_in_range(streams[i].oldest_ns, DELAY, DELAY + 70 * MS);
    }
    net_free(net);
}

/* D9 */
static void claim_chain(struct net *net, size_t node)
{
    struct tly_stats stats = net_stats(net, node);
    assert_true(stats.bytes_sent >= stats.bytes_taken);
    assert_true(stats.bytes_taken >= stats.bytes_acked);
    assert_true(stats.bytes_sent >= stats.bytes_acked + stats.bytes_lost);
}

/* All but an answer that was given after the last question. */
static bool is_drained(struct net *net, size_t node)
{
    struct tly_stats stats = net_stats(net, node);
    return stats.bytes_sent - stats.bytes_acked - stats.bytes_lost <= 32;
}

static void bytes_are_handed_over_taken_and_acknowledged(void **state)
{
    (void)state;
    struct net *net = pair(THIN, 500, (struct tly_engine_config){0});
    for (int i = 0; i < 60000; i++) {
        net_run(net, MS);
        claim_chain(net, 0);
        claim_chain(net, 1);
        if (i % 7000 == 3000 && i < 30000) net_cut(net, 0, 1);
    }
    assert_true(net_stats(net, 0).bytes_lost > 0);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    /* Two silent nodes take turns to ask: after each answer all that went before is acknowledged. */
    bool drained[2] = {false, false};
    for (int i = 0; i < 20000; i++) {
        net_run(net, MS);
        for (size_t node = 0; node < 2; node++)
            drained[node] = drained[node] || is_drained(net, node);
    }
    assert_true(drained[0] && drained[1]);
    net_free(net);
}

/* H3 */
static void a_follower_far_behind_is_not_dropped(void **state)
{
    (void)state;
    struct net *net = pair(THIN * 10, 0, (struct tly_engine_config){0});
    net_run(net, 2 * S);
    uint64_t ups = net_stats(net, 0).sessions_up;
    net_pause(net, 1, true);
    for (int i = 0; i < 1000000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i % 1000);
        net_add_to(net, 0, key, 1);
        if (i % 1000 == 999) net_run(net, 5 * MS);
    }
    assert_in_range(peer_of(net, 0).queued_bytes, 0, 64 << 10);
    net_pause(net, 1, false);
    net_run(net, 10 * S);
    assert_int_equal(net_read(net, 1, "k0"), 1000);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    assert_int_equal(net_stats(net, 0).sessions_up, ups);
    assert_in_range(net_stats(net, 1).dots_received, 1000, 200000);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(news_overtake_a_megabyte_on_a_thin_link),
        cmocka_unit_test(what_overtook_is_written_to_the_disk_once),
        cmocka_unit_test(a_maker_that_falls_amid_its_news_leaves_equals),
        cmocka_unit_test(what_is_replaced_before_it_could_go_ahead_holds_up_nothing),
        cmocka_unit_test(control_waits_for_one_chunk_at_most),
        cmocka_unit_test(bulk_keeps_a_tenth_when_live_could_take_all),
        cmocka_unit_test(chunks_are_a_tenth_of_a_second_of_the_link),
        cmocka_unit_test(a_budget_is_kept_over_any_time),
        cmocka_unit_test(the_marks_of_many_lives_are_within_the_budget),
        cmocka_unit_test(what_flowed_over_makes_up_for_nothing),
        cmocka_unit_test(what_goes_beside_waits_for_room_with_the_rest),
        cmocka_unit_test(what_is_told_waits_until_there_is_room_for_it),
        cmocka_unit_test(under_a_budget_no_key_of_a_snapshot_goes_in_one_piece),
        cmocka_unit_test(under_a_budget_keys_near_their_limits_are_fresher),
        cmocka_unit_test(a_count_that_nears_its_limit_goes_at_once),
        cmocka_unit_test(counts_near_their_limits_do_not_flood),
        cmocka_unit_test(what_is_written_during_a_stall_arrives_as_one_dot),
        cmocka_unit_test(at_200_ms_two_emitters_wait_no_extra_round_trip),
        cmocka_unit_test(bytes_are_handed_over_taken_and_acknowledged),
        cmocka_unit_test(a_follower_far_behind_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
