/*
 * Comparing with peers.  Something rots: a dot that stood goes, or another payload stands under its version, while all marks say
 * that it is there.  No round will ever mend that.
 */
#include "crdt/ormap_impl.h"
#include "service/engine/impl.h"
#include "tests/engine/support_net.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define OTHER 4242 /* a life that is nobody's any more */

static const char *key_of(size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "rl-like:%zu:/search", i);
    return key;
}

/* Two nodes that are quiet; the first asks. */
static struct net *pair_of(uint64_t delay_ns, size_t keys)
{
    struct net *net = net_new(delay_ns);
    net_add(net, 0);
    net_add(net, 1);
    net_run(net, 5 * S + 10 * delay_ns);
    for (size_t i = 0; i < keys; i++)
        net_add_to(net, i % 2, key_of(i), (int64_t)i + 1);
    net_run(net, 5 * S + 10 * delay_ns);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    return net;
}

static struct conn *conn_of(struct net *net, size_t node)
{
    struct tly_engine *e = net_node(net, node);
    assert_int_equal(e->conn_count, 1);
    return e->conns[0];
}

static void compare_now(struct net *net, size_t node)
{
    conn_of(net, node)->repair_at = net_now(net);
}

static bool any(void *context, const struct tly_dot *dot)
{
    return true;
}

/* The one dot of a key; *dot: what it was. */
static void lose(struct net *net, size_t node, const char *key, struct tly_dot *dot)
{
    struct tly_ormap *map = net_node(net, node)->map;
    assert_int_equal(tly_ormap_seal(map), TLY_OK);
    struct tly_entry *entry = tly_ormap_find(map, tly_slice_text(key));
    size_t count;
    assert_non_null(entry);
    *dot = tly_entry_dots(map, entry, &count)[0];
    assert_int_equal(tly_map_drop_if(map, entry, any, NULL), 1);
}

/* The same version with another count, whoever's life it is. */
static void spoil(struct net *net, size_t node, const char *key, int64_t by)
{
    struct tly_ormap *map = net_node(net, node)->map;
    struct tly_dot dot;
    enum tly_outcome outcome;
    lose(net, node, key, &dot);
    dot.num[2] += (uint64_t)by;
    uint32_t own = map->own;
    map->own = TLY_NO_LIFE;
    assert_int_equal(tly_ormap_repair(map, tly_slice_text(key), &dot, &outcome), TLY_OK);
    map->own = own;
    assert_int_equal(outcome, TLY_REPAIRED);
}

static uint64_t repaired(struct net *net)
{
    return net_stats(net, 0).dots_repaired + net_stats(net, 1).dots_repaired;
}

/* Lets time pass until both are equal, and says how long that took. */
static uint64_t until_equal(struct net *net, uint64_t most)
{
    uint64_t from = net_now(net);
    while (net_digest(net, 0) != net_digest(net, 1) && net_now(net) < from + most)
        net_run(net, MS);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    return net_now(net) - from;
}

/* Bytes of the frames of a snapshot of a node. */
static size_t snapshot_bytes(struct net *net, size_t node)
{
    struct tly_engine *e = net_node(net, node);
    struct snap_out out = {.active = true, .number = 1};
    size_t bytes = 0;
    while (out.active) {
        tly_buf_clear(&e->body);
        enum tly_frame_type type = tly_snap_next(e, &out, TLY_PART_MAX);
        tly_buf_clear(&e->frame);
        tly_frame_put(&e->frame, type, tly_buf_slice(&e->body));
        assert_int_equal(e->frame.result, TLY_OK);
        bytes += e->frame.n;
    }
    tly_buf_clear(&e->body);
    return bytes;
}

/* Right behind a PING and its answer: the next are two seconds off. */
static void pass_pings(struct net *net, uint64_t most)
{
    for (uint64_t before = net_bytes(net); net_bytes(net) == before; net_run(net, MS))
        continue;
    net_run(net, most);
}

static void equal_stores_cost_one_round_trip_and_under_100_bytes(void **state)
{
    struct net *net = pair_of(50 * MS, 10000);
    pass_pings(net, 300 * MS);
    uint64_t before = net_bytes(net), from = net_now(net);
    compare_now(net, 0);
    while (net_stats(net, 0).repairs_equal == 0 && net_now(net) < from + S)
        net_run(net, MS);
    assert_int_equal(net_stats(net, 0).repairs_equal, 1);
    assert_true(net_now(net) - from < 2 * 100 * MS);
    assert_in_range(net_bytes(net) - before, 60, 99);
    assert_int_equal(net_stats(net, 0).repair_dots_sent + net_stats(net, 1).repair_dots_sent, 0);
    net_free(net);
}

static void each_pair_compares_every_minute_unasked(void **state)
{
    struct net *net = pair_of(MS, 100);
    net_run(net, 600 * S);
    assert_in_range(net_stats(net, 0).repairs_begun + net_stats(net, 1).repairs_begun, 9, 10);
    assert_int_equal(net_stats(net, 0).repairs_equal + net_stats(net, 1).repairs_equal,
                     net_stats(net, 0).repairs_begun + net_stats(net, 1).repairs_begun);
    net_free(net);
}

/* Missing on either side, of either life, and of other payloads. */
static size_t damage(struct net *net)
{
    struct tly_dot dot;
    for (size_t i = 0; i < 6; i++)
        lose(net, i % 2, key_of(1000 * i + i / 2), &dot);
    for (size_t i = 6; i < 10; i++)
        spoil(net, i % 2, key_of(900 * i + i / 4), i % 3 == 0 ? 5 : -1);
    return 10;
}

static void ten_divergent_keys_in_10000_are_found_and_fixed(void **state)
{
    struct net *net = pair_of(250 * MS, 10000);
    size_t whole = snapshot_bytes(net, 0), keys = damage(net);
    pass_pings(net, 600 * MS);
    assert_int_not_equal(net_digest(net, 0), net_digest(net, 1));
    uint64_t bytes = net_bytes(net), round_trip = 2 * 250 * MS;
    compare_now(net, 0);
    uint64_t took = until_equal(net, 10 * S);
    net_run(net, 300 * MS);
    assert_true(took <= 4 * round_trip);
    assert_int_equal(repaired(net), keys);
    assert_int_equal(net_stats(net, 0).repairs_opened, 1);
    printf("%zu keys: %llu bytes of a snapshot's %zu, %llu ms at a round trip of 500 ms\n", keys,
           (unsigned long long)(net_bytes(net) - bytes), whole, (unsigned long long)(took / MS));
    assert_true((net_bytes(net) - bytes) * 20 <= whole);
    compare_now(net, 0);
    net_run(net, 2 * S);
    assert_int_equal(net_stats(net, 0).repairs_equal, 1);
    net_free(net);
}

/* The peer has no more than a snapshot's worth to send, and nothing of it goes back. */
static void a_store_that_lost_everything_gets_it_back(void **state)
{
    for (size_t asker = 0; asker < 2; asker++) {
        struct net *net = pair_of(MS, 3000);
        size_t whole = snapshot_bytes(net, 0);
        struct tly_dot dot;
        for (size_t i = 0; i < 3000; i++)
            lose(net, 1, key_of(i), &dot);
        uint64_t bytes = net_bytes(net);
        compare_now(net, asker);
        (void)until_equal(net, 20 * S);
        net_run(net, S);
        assert_int_equal(repaired(net), 3000);
        assert_true((net_bytes(net) - bytes) * 10 <= whole * 13);
        net_free(net);
    }
}

static void a_small_store_that_differs_is_not_taken_apart(void **state)
{
    struct net *net = pair_of(MS, 100);
    struct tly_dot dot;
    lose(net, 1, key_of(42), &dot);
    pass_pings(net, 100 * MS);
    uint64_t bytes = net_bytes(net);
    compare_now(net, 0);
    (void)until_equal(net, S);
    net_run(net, 100 * MS);
    assert_true(net_bytes(net) - bytes < snapshot_bytes(net, 0));
    assert_int_equal(repaired(net), 1);
    net_free(net);
}

/* What a node counted itself is the truth: it says it anew, and the spoiled copy goes. */
static void an_own_shard_that_others_have_otherwise_is_said_anew(void **state)
{
    for (int64_t by = -3; by <= 3; by += 6)
        for (size_t spoiled = 0; spoiled < 2; spoiled++) {
            struct net *net = pair_of(MS, 10);
            int64_t own = net_read(net, 0, key_of(4));
            spoil(net, spoiled, key_of(4), by);
            compare_now(net, 0);
            (void)until_equal(net, S);
            assert_int_equal(net_read(net, 1, key_of(4)), spoiled == 0 ? own + by : own);
            assert_true(repaired(net) > 0);
            net_free(net);
        }
}

static void both_ends_may_begin_at_once(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = pair_of(5 * MS, 1500);
    uint64_t missing = 0;
    for (size_t round = 0; round < 1000; round++) {
        size_t count = 1 + (size_t)test_rng_below(&rng, 3);
        size_t from = (size_t)test_rng_below(&rng, 1500);
        for (size_t i = 0; i < count; i++) {
            struct tly_dot dot;
            lose(net, (size_t)test_rng_below(&rng, 2), key_of((from + 7 * i) % 1500), &dot);
        }
        missing += count;
        size_t first = (size_t)test_rng_below(&rng, 2);
        compare_now(net, first);
        net_run(net, test_rng_below(&rng, 12) * MS);
        compare_now(net, 1 - first);
        net_run(net, 60 * MS);
        claim(net_digest(net, 0) == net_digest(net, 1));
        claim(repaired(net) == missing);
    }
    claim(net_connections(net) == 1);
    claim(net_stats(net, 0).sessions_broken + net_stats(net, 1).sessions_broken == 0);
    net_free(net);
}

/* Writes everywhere, all the time. */
static void write_some(struct net *net, struct test_rng *rng)
{
    for (size_t i = 0; i < 40; i++)
        net_add_to(net, i % 2, key_of((size_t)test_rng_below(rng, 3000)), 1);
    struct tly_request put = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text("kv:hot"), .bytes = tly_slice_text("x")};
    struct tly_reply reply;
    assert_int_equal(net_ask(net, (size_t)test_rng_below(rng, 2), put, &reply), TLY_OK);
    if (!test_rng_chance(rng, 30)) return;
    put.kind = TLY_ASK_REMOVE;
    (void)net_ask(net, (size_t)test_rng_below(rng, 2), put, &reply);
}

static void hot_writes_raise_no_alarm_and_hide_none_for_ever(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = pair_of(8 * MS, 3000);
    struct tly_dot dot;
    net_add_to(net, 0, "quiet", 1);
    for (size_t i = 0; i < 2 * 64 * 8; i++) {
        if (i == 64 * 8) {
            assert_int_equal(repaired(net), 0);
            lose(net, 1, "quiet", &dot);
        }
        if (i % 8 == 0) compare_now(net, i / 8 % 2);
        write_some(net, &rng);
        net_run(net, 3 * MS);
        if (i % 8 == 7) net_run(net, 30 * MS);
    }
    assert_true(net_stats(net, 0).repairs_audited + net_stats(net, 1).repairs_audited > 100);
    for (size_t i = 0; i < 64; i++) {
        compare_now(net, 0);
        write_some(net, &rng);
        net_run(net, 60 * MS);
    }
    assert_int_equal(repaired(net), 1);
    assert_int_equal(net_read(net, 1, "quiet"), 1);
    net_free(net);
}

/* One of everything that each node drops alone: windows, buckets, deadlines of registers and of counters, deletes. */
static void write_what_ends(struct net *net, struct test_rng *rng)
{
    size_t node = (size_t)test_rng_below(rng, 2);
    struct tly_reply reply;
    char key[16];
    (void)snprintf(key, sizeof key, "kv:%d", (int)test_rng_below(rng, 2000));
    uint64_t soon = (NET_WALL_START + net_now(net)) / MS + test_rng_below(rng, 3000);
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text("x")};
    uint64_t what = test_rng_below(rng, 6);
    if (what == 0) request.deadline_ms = soon;
    if (what == 1) request.kind = TLY_ASK_REMOVE;
    if (what <= 2) (void)net_ask(net, node, request, &reply);
    if (what == 3) (void)net_check(net, node, key, "1000/1s", TLY_FIXED_WINDOW);
    if (what == 4) (void)net_check(net, node, key, "1000/2s", TLY_TOKEN_BUCKET);
    if (what < 5) return;
    net_add_to(net, node, key + 3, 1);
    request =
        (struct tly_request){.kind = TLY_ASK_EXPIRE, .key = tly_slice_text(key + 3), .deadline_ms = soon};
    (void)net_ask(net, node, request, &reply);
}

/* Of two nodes whose clocks are apart each drops and forgets at its own time. */
static void what_ends_raises_no_alarm(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    struct net *net = net_new(3 * MS);
    struct tly_engine_config config = {.max_skew_ns = S, .tombstone_grace_ms = 500};
    net_add_with(net, config, 0);
    net_add_with(net, config, 1);
    net_shift_wall(net, 1, (int64_t)(700 * MS));
    net_run(net, 70 * S);
    for (size_t i = 0; i < 20000; i++) {
        write_what_ends(net, &rng);
        if (i % 5 == 0) compare_now(net, i / 5 % 2);
        net_run(net, i % 1000 < 900 ? 10 * MS : 40 * MS);
    }
    struct tly_stats stats = net_stats(net, 0), others = net_stats(net, 1);
    assert_true(stats.removes_forgotten > 100 && stats.dots_expired > 100 && stats.dots_ended > 100);
    /* Nor are two that agree ever found to differ in it. */
    assert_int_equal(stats.repairs_opened + others.repairs_opened, 0);
    assert_true(stats.repairs_equal + others.repairs_equal > 3000);
    assert_int_equal(repaired(net), 0);
    /* Once it is quiet all compares equal, long before everything has gone on both. */
    for (size_t i = 0; i < 20; i++) {
        net_run(net, 250 * MS);
        compare_now(net, 0);
    }
    assert_true(net_stats(net, 0).repairs_equal > stats.repairs_equal + 15);
    assert_int_equal(repaired(net), 0);
    net_free(net);
}

static void another_secret_means_no_comparison(void **state)
{
    for (size_t same = 0; same < 2; same++) {
        struct net *net = net_new(MS);
        net_add_with(net, (struct tly_engine_config){.secret = tly_slice_text("one")}, 0);
        net_add_with(net, (struct tly_engine_config){.secret = tly_slice_text(same ? "one" : "two")}, 1);
        net_run(net, 5 * S);
        net_add_to(net, 0, "a", 1);
        net_run(net, S);
        compare_now(net, 0);
        net_run(net, S);
        assert_int_equal(net_stats(net, 0).repairs_begun, 1);
        assert_int_equal(net_stats(net, 0).repairs_equal, same);
        assert_int_equal(net_stats(net, 0).repairs_opened + net_stats(net, 0).repairs_audited, 0);
        assert_int_equal(net_connections(net), 1);
        net_free(net);
    }
}

static void who_does_not_know_of_it_is_left_alone(void **state)
{
    struct net *net = pair_of(MS, 10);
    for (size_t i = 0; i < 2; i++)
        conn_of(net, i)->repairs = false;
    compare_now(net, 0);
    net_run(net, 120 * S);
    assert_int_equal(net_stats(net, 0).repairs_begun, 0);
    assert_int_equal(net_stats(net, 1).frames_ignored, 0);
    net_free(net);
}

/* ---- dots that a hostile peer lists ---- */

/* The node waits for the leaves that it has opened, and gets these dots. */
static void bring(struct net *net, const char *key, const struct tly_strategy *strategy,
                  const struct tly_dot *dots, size_t count)
{
    struct tly_engine *e = net_node(net, 0);
    struct conn *conn = conn_of(net, 0);
    compare_now(net, 0);
    net_event(net, 0, (struct tly_event){.kind = TLY_TICK});
    assert_non_null(conn->mine);
    conn->mine->stage = REPAIR_OPENED;
    struct tly_leaves message = {.number = conn->mine->number, .flags = TLY_LEAVES_LAST};
    struct tly_buf body, part, frame;
    struct tly_mem mem = e->mem;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&part, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&frame, &mem, TLY_FRAME_BODY_MAX);
    tly_round_writer_clear(&e->writer);
    for (size_t i = 0; i < count; i++)
        assert_true(tly_round_writer_add(&e->writer, tly_slice_text(key), strategy, &dots[i]));
    tly_round_writer_finish(&e->writer, 0, (struct tly_mark_list){0}, (struct tly_mark_list){0}, &part);
    message.part = tly_buf_slice(&part);
    tly_leaves_put(&body, &message, NULL);
    tly_frame_put(&frame, (enum tly_frame_type)(TLY_FRAME_LEAVES | TLY_FRAME_IGNORABLE),
                  tly_buf_slice(&body));
    assert_int_equal(frame.result, TLY_OK);
    struct tly_event event = {.kind = TLY_BYTES, .conn = conn->id, .bytes = tly_buf_slice(&frame)};
    net_event(net, 0, event);
    tly_buf_fini(&body);
    tly_buf_fini(&part);
    tly_buf_fini(&frame);
}

static struct tly_dot text_of(uint64_t ts, uint64_t origin)
{
    return (struct tly_dot){.version = {ts, origin}, .bytes = tly_slice_text("x")};
}

static void a_version_far_in_the_future_is_refused_whole(void **state)
{
    static const uint64_t ahead[] = {UINT64_MAX, UINT64_MAX - 1,
                                     NET_WALL_START + UINT64_C(10) * 365 * 86400 * S};
    struct net *net = pair_of(MS, 10);
    struct tly_ormap *map = net_node(net, 0)->map;
    for (size_t i = 0; i < 3; i++) {
        uint64_t mark = tly_ormap_mark(map, 101), last = tly_ormap_clock(map)->last;
        /* The first one alone would be let in. */
        struct tly_dot dots[] = {text_of(mark - 1, 101), text_of(ahead[i], 101)};
        bring(net, "kv:a", tly_lww(), dots, 2);
        assert_null(tly_ormap_find(map, tly_slice_text("kv:a")));
        assert_int_equal(tly_ormap_mark(map, 101), mark);
        assert_int_equal(tly_ormap_clock(map)->last, last);
        assert_int_equal(net_stats(net, 0).repairs_refused, i + 1);
        assert_null(conn_of(net, 0)->mine);
    }
    assert_true(conn_of(net, 0)->peer->clock_ahead_at > 0);
    net_run(net, S);
    assert_int_equal(net_connections(net), 1);
    assert_int_equal(repaired(net), 0);
    net_free(net);
}

/* Its REMOVE was forgotten: every other way in drops it; this one lets it in, and says so. */
static void a_stale_dot_comes_in_by_repair_alone_and_alarms(void **state)
{
    struct net *net = pair_of(MS, 10);
    struct tly_ormap *map = net_node(net, 0)->map;
    struct tly_dot dot = text_of(tly_ormap_mark(map, 101) - 1, 101);
    enum tly_outcome outcome;
    assert_int_equal(tly_ormap_apply(map, tly_slice_text("kv:a"), &dot, &outcome), TLY_OK);
    assert_int_equal(outcome, TLY_DROPPED);
    bring(net, "kv:a", tly_lww(), &dot, 1);
    assert_int_equal(net_stats(net, 0).dots_repaired, 1);
    assert_non_null(tly_ormap_find(map, tly_slice_text("kv:a")));
    bring(net, "kv:a", tly_lww(), &dot, 1);
    assert_int_equal(net_stats(net, 0).dots_repaired, 1);
    net_free(net);
}

/* What lies beyond the marks comes by a round, and what cannot be is nobody's. */
static void what_is_beyond_a_mark_or_malformed_is_not_repaired(void **state)
{
    struct net *net = pair_of(MS, 10);
    struct tly_ormap *map = net_node(net, 0)->map;
    uint64_t mark = tly_ormap_mark(map, 101);
    struct tly_dot dots[] = {text_of(mark + 1, 101), text_of(mark + 2, OTHER)};
    bring(net, "kv:a", tly_lww(), dots, 2);
    assert_null(tly_ormap_find(map, tly_slice_text("kv:a")));
    /* A window longer than any. */
    struct tly_dot bad = {.version = {mark - 1, 101}, .num = {UINT64_C(1) << 62, 0, 1, 0}};
    assert_int_not_equal(tly_dot_check(tly_epoch_sum(), &bad), TLY_OK);
    struct tly_dot good = {.version = {mark - 2, 101}, .num = {0, 0, 1, 0}}, both[] = {good, bad};
    bring(net, "a", tly_epoch_sum(), both, 2);
    assert_int_equal(net_stats(net, 0).dots_malformed, 1);
    assert_int_equal(net_stats(net, 0).dots_repaired, 1);
    assert_int_equal(net_read(net, 0, "a"), 1);
    net_run(net, S);
    assert_int_equal(net_connections(net), 1);
    assert_int_equal(net_stats(net, 0).sessions_broken, 0);
    net_free(net);
}

/* The one that has it does not know all up to it, so nobody can say that the other has lost it. */
static void what_only_one_mark_covers_is_no_alarm(void **state)
{
    for (size_t covered = 0; covered < 2; covered++) {
        struct net *net = pair_of(MS, 10);
        struct tly_ormap *map = net_node(net, 0)->map;
        struct tly_dot dot = text_of(NET_WALL_START, OTHER);
        for (size_t i = 0; i < 2; i++)
            conn_of(net, i)->takes_rounds = false; /* or dot and mark would come by one */
        enum tly_outcome outcome;
        assert_int_equal(tly_ormap_apply(map, tly_slice_text("kv:a"), &dot, &outcome), TLY_OK);
        assert_int_equal(outcome, TLY_APPLIED);
        assert_int_equal(tly_ormap_raise_mark(net_node(net, 1)->map, OTHER, NET_WALL_START), TLY_OK);
        if (covered == 1) assert_int_equal(tly_ormap_raise_mark(map, OTHER, NET_WALL_START), TLY_OK);
        for (size_t i = 0; i < 64; i++) {
            compare_now(net, 0);
            net_run(net, 50 * MS);
        }
        assert_int_equal(net_stats(net, 1).dots_repaired, covered);
        net_free(net);
    }
}

/* A node fell amid a round, and its life is not settled while another is away: no mark ever comes up to what it left. */
static void what_a_fallen_node_left_beyond_its_mark_hides_nothing(void **state)
{
    (void)state;
    struct net *net = pair_of(MS, 3000);
    struct tly_dot left = text_of(NET_WALL_START, OTHER), lost;
    for (size_t i = 0; i < 2; i++) {
        struct tly_ormap *map = net_node(net, i)->map;
        enum tly_outcome outcome;
        assert_int_equal(tly_ormap_apply(map, tly_slice_text("kv:a"), &left, &outcome), TLY_OK);
        assert_int_equal(outcome, TLY_APPLIED);
        assert_int_equal(tly_ormap_close_life(map, OTHER), TLY_OK);
    }
    net_run(net, 5 * S);
    for (size_t i = 0; i < 5; i++)
        lose(net, i % 2, key_of(500 * i), &lost);
    compare_now(net, 0);
    (void)until_equal(net, 5 * S);
    assert_int_equal(repaired(net), 5);
    assert_int_equal(net_stats(net, 0).repairs_opened, 1);
    net_free(net);
}

static void a_peer_that_goes_takes_its_comparison_along(void **state)
{
    struct net *net = pair_of(20 * MS, 3000);
    for (size_t i = 0; i < 12; i++) {
        struct tly_dot dot;
        lose(net, i % 2, key_of(100 * i), &dot);
        compare_now(net, 0);
        net_run(net, i * 10 * MS);
        net_cut(net, 0, 1);
        net_run(net, 5 * S);
    }
    compare_now(net, 0);
    (void)until_equal(net, 5 * S);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_stores_cost_one_round_trip_and_under_100_bytes),
        cmocka_unit_test(each_pair_compares_every_minute_unasked),
        cmocka_unit_test(ten_divergent_keys_in_10000_are_found_and_fixed),
        cmocka_unit_test(a_store_that_lost_everything_gets_it_back),
        cmocka_unit_test(a_small_store_that_differs_is_not_taken_apart),
        cmocka_unit_test(an_own_shard_that_others_have_otherwise_is_said_anew),
        cmocka_unit_test(both_ends_may_begin_at_once),
        cmocka_unit_test(hot_writes_raise_no_alarm_and_hide_none_for_ever),
        cmocka_unit_test(what_ends_raises_no_alarm),
        cmocka_unit_test(another_secret_means_no_comparison),
        cmocka_unit_test(who_does_not_know_of_it_is_left_alone),
        cmocka_unit_test(a_version_far_in_the_future_is_refused_whole),
        cmocka_unit_test(a_stale_dot_comes_in_by_repair_alone_and_alarms),
        cmocka_unit_test(what_is_beyond_a_mark_or_malformed_is_not_repaired),
        cmocka_unit_test(what_only_one_mark_covers_is_no_alarm),
        cmocka_unit_test(what_a_fallen_node_left_beyond_its_mark_hides_nothing),
        cmocka_unit_test(a_peer_that_goes_takes_its_comparison_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
