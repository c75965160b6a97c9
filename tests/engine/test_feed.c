/* Followers of the feed that are no nodes: whatever happens to either end, they come to hold what the node holds. */
#include "service/engine/feed_internal.h"
#include "tests/engine/support_follow.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRACE_MS 5000
#define PAGE 4096

static struct net *some_nodes(size_t count)
{
    struct net *net = net_new(MS / 2);
    struct tly_engine_config config = {
        .has_store = true, .tombstone_grace_ms = GRACE_MS, .forget_after_ms = 600000};
    for (size_t i = 0; i < count; i++)
        net_add_with(net, config, i == 0 ? 0 : 1);
    net_run(net, 2 * S);
    return net;
}

static void put(struct net *net, size_t node, const char *key, const char *value)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text(value)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static void del(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static void fill(struct net *net, size_t node, unsigned from, unsigned to)
{
    char key[32];
    for (unsigned i = from; i < to; i++) {
        (void)snprintf(key, sizeof key, "ctr:some-key:%u", i);
        net_add_to(net, node, key, 1);
    }
}

#define claim_equal(f, net, node)                            \
    do {                                                     \
        assert_int_equal(follow_tick(f, net, node), TLY_OK); \
        assert_true(follow_is_equal(f, net, node));          \
    } while (0)

/* ---- ops ---- */

/* E2. */
static void a_counter_that_moved_is_read_a_tick_later(void **state)
{
    struct net *net = some_nodes(2);
    struct follow f = {0};
    follow_begin(&f, net, 0);
    for (int64_t i = 1; i <= 20; i++) {
        net_add_to(net, (size_t)i % 2, "ctr:a", i);
        if (i == 7) put(net, 1, "kv:b", "x");
        if (i == 9) del(net, 0, "kv:b");
        net_run(net, 200 * MS);
        claim_equal(&f, net, 0);
        assert_int_equal(follow_read(&f, "ctr:a"), i * (i + 1) / 2);
    }
    size_t ops = f.answers[TLY_FEED_OPS], nothing = f.answers[TLY_FEED_UP_TO_DATE];
    assert_true(ops >= 20);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_OPS], ops);
    assert_int_equal(f.answers[TLY_FEED_UP_TO_DATE], nothing + 1);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 0);
    struct tly_stats stats = net_stats(net, 0);
    assert_int_equal(stats.feed_ops, ops);
    assert_int_equal(stats.feed_up_to_date, nothing + 1);
    follow_end(&f);
    net_free(net);
}

static void a_long_round_comes_in_pages_while_writes_go_on(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.bytes_max = PAGE};
    struct tly_mirror_news news = {.more = true};
    fill(net, 0, 0, 3000);
    follow_begin(&f, net, 0);
    for (unsigned i = 0; news.more; i++) {
        assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
        assert_true(f.answer.n < 2 * PAGE);
        if (i < 10) fill(net, 0, i * 200, i * 200 + 20);
        /* Killed between pages it goes on from the last one. */
        if (i % 4 == 1) follow_restart(&f, net, 0);
    }
    assert_true(f.answers[TLY_FEED_OPS] > 10 && f.answers[TLY_FEED_OPS] < 60);
    assert_true(follow_is_equal(&f, net, 0));
    follow_end(&f);
    net_free(net);
}

/* ---- what the follower wrote ---- */

#define OWN UINT64_C(777)

/* Question and dots of a follower that counts, in a buffer. */
static void put_round(struct tly_buf *out, unsigned flags, struct tly_mark_list start,
                      struct tly_mark_list end, const char *key, const struct tly_dot *dot)
{
    struct tly_mem mem = test_mem();
    struct tly_round_writer writer;
    struct tly_buf body;
    tly_round_writer_init(&writer, &mem);
    tly_buf_init(&body, &mem, 1u << 18);
    if (dot != NULL) {
        const struct tly_strategy *strategy =
            strncmp(key, "kv:", 3) == 0 || strncmp(key, "sys:", 4) == 0 ? tly_lww() : tly_epoch_sum();
        assert_true(tly_round_writer_add(&writer, tly_slice_text(key), strategy, dot));
    }
    tly_round_writer_finish(&writer, flags, start, end, &body);
    tly_frame_put(out, TLY_FRAME_ROUND, tly_buf_slice(&body));
    tly_round_writer_fini(&writer);
    tly_buf_fini(&body);
}

static void put_ask(struct tly_buf *out, const struct tly_feed_ask *ask)
{
    struct tly_mem mem = test_mem();
    struct tly_buf body;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_feed_ask_put(&body, ask);
    tly_frame_put(out, TLY_FRAME_FEED_ASK, tly_buf_slice(&body));
    tly_buf_fini(&body);
}

static enum tly_result sync_with(struct net *net, size_t node, const struct tly_buf *question,
                                 struct tly_buf *answer, struct tly_feed_said *said)
{
    tly_buf_clear(answer);
    return tly_feed_sync(net_node(net, node), tly_buf_slice(question), net_time(net, node), said, answer);
}

static struct tly_dot counted(uint64_t ts, int64_t count)
{
    return (struct tly_dot){.version = {ts, OWN}, .op = TLY_PUT, .num = {0, 0, (uint64_t)count, 0}};
}

static void get_answer(const struct tly_buf *bytes, struct tly_buf *scratch, struct tly_feed_answer *answer)
{
    struct tly_frame frame;
    size_t consumed;
    assert_int_equal(tly_frame_get(tly_buf_slice(bytes), scratch, &frame, &consumed), TLY_OK);
    assert_int_equal(frame.type, TLY_FRAME_FEED_ANSWER);
    assert_int_equal(tly_feed_answer_get(frame.body, answer), TLY_OK);
}

struct uploading {
    struct tly_buf question, answer, scratch;
};

static void uploading_init(struct uploading *u)
{
    struct tly_mem mem = test_mem();
    tly_buf_init(&u->question, &mem, 1u << 20);
    tly_buf_init(&u->answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    tly_buf_init(&u->scratch, &mem, TLY_FRAME_BODY_MAX);
}

static void uploading_fini(struct uploading *u)
{
    tly_buf_fini(&u->question);
    tly_buf_fini(&u->answer);
    tly_buf_fini(&u->scratch);
}

/* E6. */
static void counts_are_exact_though_every_answer_is_lost_once(void **state)
{
    struct net *net = some_nodes(2);
    struct uploading u;
    struct tly_feed_said said;
    struct tly_feed_answer answer;
    struct tly_feed_ask ask = {.delta = true, .origin = OWN};
    uint64_t known = 0;
    uploading_init(&u);
    for (int64_t i = 1; i <= 50; i++) {
        uint64_t ts = net_time(net, 0).wall_ns;
        struct tly_dot dot = counted(ts, i);
        struct tly_mark start = {OWN, known}, end = {OWN, ts};
        tly_buf_clear(&u.question);
        put_ask(&u.question, &ask);
        put_round(&u.question, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){&start, known > 0},
                  (struct tly_mark_list){&end, 1}, "ctr:a", &dot);
        for (int lost = 0; lost < 2; lost++)
            assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
        get_answer(&u.answer, &u.scratch, &answer);
        assert_int_equal(answer.taken, ts);
        known = answer.taken;
        assert_int_equal(net_read(net, 0, "ctr:a"), i);
        net_run(net, 100 * MS);
    }
    assert_int_equal(net_read(net, 1, "ctr:a"), 50);
    assert_int_equal(net_stats(net, 0).feed_dots_taken, 100);
    /* What it sent it is not sent back. */
    struct follow f = {0};
    follow_begin(&f, net, 0);
    claim_equal(&f, net, 0);
    follow_end(&f);
    uploading_fini(&u);
    net_free(net);
}

/* Amid a peer's round only the node's own dots go back to it, and the node has none: what came from others goes when that round ends. */
static void what_comes_amid_a_peers_round_goes_on_when_that_ends(void **state)
{
    enum { MANY = 20000 };
    struct net *net = some_nodes(2);
    struct uploading u;
    struct tly_feed_said said;
    struct tly_feed_ask ask = {.delta = true, .origin = OWN};
    uint64_t ts = net_time(net, 0).wall_ns, before = net_stats(net, 0).dots_received;
    struct tly_dot dot = counted(ts, 1);
    struct tly_mark end = {OWN, ts};
    uploading_init(&u);
    put_ask(&u.question, &ask);
    put_round(&u.question, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){0},
              (struct tly_mark_list){&end, 1}, "ctr:a", &dot);
    fill(net, 1, 0, MANY);
    while (net_stats(net, 0).dots_received == before)
        net_run(net, MS / 10);
    assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
    net_run(net, 2 * MS);
    assert_in_range(net_stats(net, 0).dots_received - before, 1, MANY - 1);
    assert_int_equal(net_read(net, 1, "ctr:a"), INT64_MIN);
    net_run(net, S);
    assert_int_equal(net_read(net, 1, "ctr:a"), 1);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    uploading_fini(&u);
    net_free(net);
}

/* A round that does not go on from what is here moves nothing, and the answer says what is. */
static void a_gap_in_what_a_follower_sends_is_seen(void **state)
{
    struct net *net = some_nodes(1);
    struct uploading u;
    struct tly_feed_said said;
    struct tly_feed_answer answer;
    struct tly_feed_ask ask = {.delta = true, .origin = OWN};
    uint64_t ts = net_time(net, 0).wall_ns;
    struct tly_dot dot = counted(ts, 5);
    struct tly_mark start = {OWN, ts - 10}, end = {OWN, ts};
    uploading_init(&u);
    put_ask(&u.question, &ask);
    put_round(&u.question, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){&start, 1},
              (struct tly_mark_list){&end, 1}, "ctr:a", &dot);
    assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
    get_answer(&u.answer, &u.scratch, &answer);
    assert_int_equal(answer.taken, 0);
    assert_int_equal(net_read(net, 0, "ctr:a"), INT64_MIN);
    uploading_fini(&u);
    net_free(net);
}

/* A4, and lives that are not its own. */
static void what_a_follower_may_not_send_is_refused_whole(void **state)
{
    struct net *net = some_nodes(2);
    struct tly_node_view node;
    tly_engine_node(net_node(net, 0), false, &node);
    uint64_t ours = node.origin;
    tly_engine_node(net_node(net, 1), false, &node);
    uint64_t now = net_time(net, 0).wall_ns, skew = UINT64_C(300) * S;
    const struct {
        uint64_t origin, writes, ts;
        const char *key;
        enum tly_result result;
    } cases[] = {
        {OWN, OWN, UINT64_MAX, "ctr:a", TLY_CLOCK_AHEAD},
        {OWN, OWN, UINT64_MAX - 1, "ctr:a", TLY_CLOCK_AHEAD},
        {OWN, OWN, now + UINT64_C(315360000) * S, "ctr:a", TLY_CLOCK_AHEAD},
        {OWN, OWN, now + skew + 1, "ctr:a", TLY_CLOCK_AHEAD},
        {OWN, OWN + 1, now, "ctr:a", TLY_OWN_LIFE},
        {0, OWN, now, "ctr:a", TLY_OWN_LIFE},
        {ours, ours, now, "ctr:a", TLY_OWN_LIFE},
        {node.origin, node.origin, now, "ctr:a", TLY_OWN_LIFE},
        {OWN, OWN, now, "sys:member:x", TLY_READ_ONLY},
        {OWN, OWN, now, "em:x", TLY_WRONG_STRATEGY},
        {OWN, OWN, now + skew, "ctr:a", TLY_OK},
    };
    struct uploading u;
    uploading_init(&u);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tly_feed_said said;
        struct tly_feed_ask ask = {.delta = true, .origin = cases[i].origin};
        uint64_t digest = net_digest(net, 0);
        struct tly_dot dot = counted(cases[i].ts, 1), good = counted(now, 1);
        struct tly_mark end = {cases[i].writes, cases[i].ts};
        dot.version.origin = good.version.origin = cases[i].writes;
        tly_buf_clear(&u.question);
        put_ask(&u.question, &ask);
        /* The one before it is as it should be, and is not taken either. */
        put_round(&u.question, TLY_ROUND_FIRST, (struct tly_mark_list){0}, (struct tly_mark_list){0},
                  "ctr:good", &good);
        put_round(&u.question, TLY_ROUND_LAST, (struct tly_mark_list){0}, (struct tly_mark_list){&end, 1},
                  cases[i].key, &dot);
        assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), cases[i].result);
        assert_int_equal(u.answer.n == 0, cases[i].result != TLY_OK);
        assert_int_equal(net_digest(net, 0) == digest, cases[i].result != TLY_OK);
    }
    assert_int_equal(net_stats(net, 0).feed_refused, sizeof cases / sizeof cases[0] - 1);
    net_run(net, S);
    assert_int_equal(net_digest(net, 1), net_digest(net, 0));
    uploading_fini(&u);
    net_free(net);
}

/* A4: what lies in the future moves neither contents nor cursor; once time has passed the same answer is taken. */
static void a_follower_takes_nothing_from_the_future(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    struct tly_mirror_news news;
    struct tly_feed_said said;
    struct tly_mirror_sink sink = {0};
    follow_begin(&f, net, 0);
    claim_equal(&f, net, 0);
    struct tly_time before = net_time(net, 0);
    uint64_t digest = tly_mirror_digest(f.mirror);
    net_shift_wall(net, 0, 600 * (int64_t)S);
    net_run(net, S);
    net_add_to(net, 0, "ctr:a", 1);
    for (int i = 0; i < 3; i++) {
        tly_buf_clear(&f.question);
        tly_buf_clear(&f.answer);
        assert_false(tly_mirror_ask(f.mirror, &f.question));
        assert_int_equal(
            tly_feed_sync(net_node(net, 0), tly_buf_slice(&f.question), net_time(net, 0), &said, &f.answer),
            TLY_OK);
        /* However often: it is the clock's fault, and no snapshot would help. */
        assert_int_equal(said.verdict, TLY_FEED_OPS);
        assert_int_equal(tly_mirror_take(f.mirror, tly_buf_slice(&f.answer), before, &sink, &news),
                         TLY_CLOCK_AHEAD);
        assert_int_equal(tly_mirror_digest(f.mirror), digest);
    }
    claim_equal(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:a"), 1);
    follow_end(&f);
    net_free(net);
}

static enum tly_result count_batch(void *context, struct tly_slice batch)
{
    size_t *batches = context;
    assert_true(batch.n > 0);
    ++*batches;
    return TLY_OK;
}

/* Else its log grows by the same piece each time that it asks, for as long as the clock is wrong. */
static void of_a_snapshot_that_lies_ahead_in_part_nothing_is_kept(void **state)
{
    (void)state;
    struct net *net = some_nodes(1);
    struct follow f = {.no_delta = true, .prefixes = {tly_slice_text("ctr:")}, .prefix_count = 1};
    struct tly_mirror_news news;
    struct tly_feed_said said;
    size_t batches = 0;
    struct tly_mirror_sink sink = {.batch = count_batch, .context = &batches};
    follow_begin(&f, net, 0);
    fill(net, 0, 0, 400);
    net_run(net, S);
    assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    assert_int_equal(news.verdict, TLY_FEED_COLD_START);
    struct tly_time before = net_time(net, 0);
    net_shift_wall(net, 0, 600 * (int64_t)S);
    net_run(net, S);
    net_add_to(net, 0, "ctr:some-key:399", 1);
    for (int i = 0; i < 3; i++) {
        tly_buf_clear(&f.question);
        tly_buf_clear(&f.answer);
        assert_true(tly_mirror_ask(f.mirror, &f.question));
        assert_int_equal(tly_feed_snapshot(net_node(net, 0), tly_buf_slice(&f.question), net_time(net, 0),
                                           &said, &f.answer),
                         TLY_OK);
        assert_int_equal(tly_mirror_take(f.mirror, tly_buf_slice(&f.answer), before, &sink, &news),
                         TLY_CLOCK_AHEAD);
        assert_int_equal(batches, 0);
    }
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_int_equal(follow_read(&f, "ctr:some-key:399"), 2);
    follow_end(&f);
    net_free(net);
}

/* A dot below what was handed over in pages before is handed over all the same. */
static void a_dot_that_comes_late_is_not_missed(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.bytes_max = PAGE};
    struct tly_mirror_news news = {.more = true};
    struct tly_feed_ask ask = {.delta = true, .origin = OWN};
    struct tly_feed_said said;
    struct uploading u;
    struct tly_mark_list none = {0};
    uint64_t ts = net_time(net, 0).wall_ns;
    struct tly_dot later = counted(ts, 5), early = counted(ts - 5, 1);
    uploading_init(&u);
    fill(net, 0, 0, 2000);
    follow_begin(&f, net, 0);
    put_ask(&u.question, &ask);
    put_round(&u.question, TLY_ROUND_FIRST, none, none, "ctr:later", &later);
    assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
    /* Until the follower has come past the place in its life where the late one belongs. */
    while (follow_read(&f, "ctr:later") == INT64_MIN && news.more)
        assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    assert_int_equal(follow_read(&f, "ctr:later"), 5);
    tly_buf_clear(&u.question);
    put_ask(&u.question, &ask);
    put_round(&u.question, TLY_ROUND_FIRST, none, none, "ctr:early", &early);
    assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
    fill(net, 0, 0, 10);
    claim_equal(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:early"), 1);
    uploading_fini(&u);
    follow_end(&f);
    net_free(net);
}

/* ---- lost ground, E1 and E3 ---- */

static void below_a_floor_it_starts_cold(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    put(net, 0, "kv:a", "x");
    follow_begin(&f, net, 0);
    claim_equal(&f, net, 0);
    del(net, 0, "kv:a");
    net_run(net, 4 * GRACE_MS * MS);
    assert_int_equal(net_stats(net, 0).removes_forgotten, 1);
    claim_equal(&f, net, 0);
    assert_int_equal(f.reasons[TLY_COLD_FLOOR], 1);
    assert_int_equal(net_stats(net, 0).feed_cold_floor, 1);
    assert_int_equal(follow_read(&f, "kv:a"), INT64_MIN);
    follow_end(&f);
    net_free(net);
}

/* Who follows all the time forgets with the node, and needs no snapshot for it; also who follows some keys alone. */
static void what_the_node_forgets_a_follower_that_kept_up_forgets_too(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct net *net = some_nodes(1);
        struct follow f = {.prefix_count = way};
        f.prefixes[0] = tly_slice_text("kv:");
        follow_begin(&f, net, 0);
        put(net, 0, "kv:a", "x");
        for (int i = 0; i < 40; i++) {
            if (i == 5) del(net, 0, "kv:a");
            net_run(net, S);
            assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
        }
        assert_int_equal(net_stats(net, 0).removes_forgotten, 1);
        assert_int_equal(tly_ormap_removes(f.engine->map), 0);
        if (way == 0) assert_true(follow_is_equal(&f, net, 0));
        assert_int_equal(f.answers[TLY_FEED_COLD_START], 0);
        follow_end(&f);
        net_free(net);
    }
}

/* ---- what ended ---- */

static void expire(struct net *net, size_t node, const char *key, uint64_t after_ms)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_EXPIRE,
                                  .key = tly_slice_text(key),
                                  .deadline_ms = net_time(net, node).wall_ns / MS + after_ms};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static bool node_holds(struct net *net, size_t node, const char *key)
{
    struct tly_entry_view view;
    return tly_engine_entry(net_node(net, node), tly_slice_text(key), &view) == TLY_OK;
}

/* With a max_skew that a follower does not have. */
static struct net *two_nodes(void)
{
    struct net *net = net_new(MS / 2);
    struct tly_engine_config config = {
        .has_store = true, .tombstone_grace_ms = GRACE_MS, .forget_after_ms = 600000, .max_skew_ns = S};
    for (size_t i = 0; i < 2; i++)
        net_add_with(net, config, i == 0 ? 2 : 1);
    net_run(net, 3 * S);
    return net;
}

/* Asks every so often meanwhile, if at all. */
static void follow_for(struct follow *f, struct net *net, uint64_t ns, uint64_t every_ns)
{
    for (uint64_t passed = 0; passed < ns; passed += every_ns) {
        if (every_ns < ns) assert_int_equal(follow_tick(f, net, 0), TLY_OK);
        net_run(net, every_ns);
    }
}

#define ANEW 30

/* Counts in many keys on both nodes, until they have ended and gone; then again, in one of two ways. */
static void begin_anew(struct follow *f, struct net *net, uint64_t every_ns, bool ends)
{
    char key[32];
    for (size_t i = 0; i < 2 * ANEW; i++) {
        (void)snprintf(key, sizeof key, "ctr:anew:%zu", i / 2);
        net_add_to(net, i % 2, key, i % 2 == 0 ? 5 : 7);
    }
    net_run(net, S);
    assert_int_equal(follow_tick(f, net, 0), TLY_OK);
    for (size_t i = 0; i < ANEW; i++) {
        (void)snprintf(key, sizeof key, "ctr:anew:%zu", i);
        expire(net, i % 2, key, 1000);
    }
    /* What was let go unheard would cost a snapshot. */
    net_run(net, 500 * MS);
    assert_int_equal(follow_tick(f, net, 0), TLY_OK);
    follow_for(f, net, 60 * S, every_ns);
    assert_false(node_holds(net, 0, "ctr:anew:0") || node_holds(net, 1, key));
    for (size_t i = 0; i < ANEW; i++) {
        (void)snprintf(key, sizeof key, "ctr:anew:%zu", i);
        net_add_to(net, 0, key, 1);
        if (ends) expire(net, 0, key, 600000);
    }
    fill(net, 0, 0, 300);
    net_run(net, S);
}

static void claim_begun_anew(struct follow *f, int64_t count)
{
    char key[32];
    for (size_t i = 0; i < ANEW; i++) {
        (void)snprintf(key, sizeof key, "ctr:anew:%zu", i);
        assert_int_equal(follow_read(f, key), count);
    }
}

/* Whether it asks often or not at all meanwhile, in one page or many, for all or some; and after a restart. */
static void what_ended_begins_anew_at_a_follower_too(void **state)
{
    static const uint64_t every[] = {S, 17 * S, 60 * S};
    (void)state;
    for (unsigned way = 0; way < 24; way++) {
        struct net *net = two_nodes();
        struct follow f = {.bytes_max = way / 3 % 2 == 0 ? 0 : PAGE, .prefix_count = way / 12};
        f.prefixes[0] = tly_slice_text("ctr:anew");
        follow_begin(&f, net, 0);
        begin_anew(&f, net, every[way % 3], way / 6 % 2 == 1);
        size_t before = f.answers[TLY_FEED_OPS];
        assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
        assert_true(f.bytes_max == 0 || f.answers[TLY_FEED_OPS] > before + 1 || way / 12 == 1);
        claim_begun_anew(&f, 1);
        if (way / 12 == 0) assert_true(follow_is_equal(&f, net, 0));
        follow_restart(&f, net, 0);
        claim_begun_anew(&f, 1);
        if (way / 12 == 0) claim_equal(&f, net, 0);
        assert_int_equal(f.answers[TLY_FEED_SNAPSHOT], 0);
        follow_end(&f);
        net_free(net);
    }
}

/* Nobody counts in it any more. */
static void what_ended_goes_from_a_follower_once_a_node_has_swept(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct net *net = two_nodes();
        struct follow f = {.prefix_count = way};
        f.prefixes[0] = tly_slice_text("ctr:");
        follow_begin(&f, net, 0);
        for (size_t node = 0; node < 2; node++)
            net_add_to(net, node, "ctr:a", 5);
        struct tly_reply reply;
        struct tly_request set = {.kind = TLY_ASK_PUT,
                                  .key = tly_slice_text("kv:a"),
                                  .bytes = tly_slice_text("x"),
                                  .deadline_ms = net_time(net, 0).wall_ns / MS + 2000};
        assert_int_equal(net_ask(net, 0, set, &reply), TLY_OK);
        net_run(net, S);
        expire(net, 1, "ctr:a", 1000);
        follow_for(&f, net, 60 * S, S);
        assert_false(node_holds(net, 0, "ctr:a") || node_holds(net, 0, "kv:a"));
        for (int i = 0; i < 2; i++) {
            struct tly_entry_view view;
            assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
            assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("ctr:a"), &view), TLY_NOT_FOUND);
            if (way == 0) assert_true(follow_is_equal(&f, net, 0));
            follow_restart(&f, net, 0);
        }
        follow_end(&f);
        net_free(net);
    }
}

/* What is counted on past a deadline that another node has put off is no beginning. */
static void what_was_put_off_goes_on_at_a_follower(void **state)
{
    (void)state;
    struct net *net = two_nodes();
    struct follow f = {.bytes_max = PAGE};
    follow_begin(&f, net, 0);
    for (size_t node = 0; node < 2; node++)
        net_add_to(net, node, "ctr:a", 5);
    net_run(net, S);
    expire(net, 0, "ctr:a", 4000);
    net_run(net, S);
    claim_equal(&f, net, 0);
    expire(net, 1, "ctr:a", 600000);
    put(net, 0, "kv:b", "x");
    net_run(net, S);
    del(net, 0, "kv:b"); /* that F moves */
    net_run(net, 60 * S);
    for (size_t node = 0; node < 2; node++)
        net_add_to(net, node, "ctr:a", 1);
    fill(net, 0, 0, 300);
    net_run(net, S);
    claim_equal(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:a"), 12);
    follow_restart(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:a"), 12);
    follow_end(&f);
    net_free(net);
}

#define RANDOM_KEYS 6

static void one_random_thing(struct test_rng *rng, struct follow *f, struct net *net, bool both)
{
    struct tly_mirror_news news;
    size_t node = test_rng_below(rng, 2), asked = both ? test_rng_below(rng, 2) : 0;
    char key[32];
    (void)snprintf(key, sizeof key, "ctr:k:%u", (unsigned)test_rng_below(rng, RANDOM_KEYS));
    uint64_t what = test_rng_below(rng, 100);
    if (what < 20) net_add_to(net, node, key, (int64_t)test_rng_below(rng, 1000) + 1);
    if (what >= 20 && what < 30 && net_read(net, node, key) != INT64_MIN)
        expire(net, node, key, 200 + test_rng_below(rng, 4000));
    if (what == 30 && net_read(net, node, key) != INT64_MIN) del(net, node, key);
    if (what >= 31 && what < 50) net_run(net, 50 * MS);
    if (what >= 50 && what < 57) net_run(net, (500 + test_rng_below(rng, 4000)) * MS);
    if (what == 57) net_run(net, 20 * S);
    if (what >= 58 && what < 63) fill(net, node, 0, 150);
    if (what >= 63 && what < 90) {
        enum tly_result result = follow_ask(f, net, asked, &news);
        assert_true(result == TLY_OK || result == TLY_STALE);
    }
    if (what >= 90 && what < 96) assert_int_equal(follow_tick(f, net, asked), TLY_OK);
    if (what >= 96 && what < 99) follow_restart(f, net, asked);
}

/* In pages, killed now and then, of one node or now this and now that. */
static void whatever_ends_meanwhile_it_reads_the_same(void **state)
{
    (void)state;
    size_t anew = 0;
    for (uint64_t seed = test_seed_first(), nth = 0; nth < 60; nth++) {
        struct test_rng rng = test_rng_of(seed + nth);
        struct net *net = two_nodes();
        struct follow f = {.bytes_max = nth % 2 == 0 ? PAGE : 0};
        follow_begin(&f, net, 0);
        for (int i = 0; i < 400; i++)
            one_random_thing(&rng, &f, net, nth % 4 >= 2);
        net_run(net, 60 * S);
        for (int restarted = 0; restarted < 2; restarted++) {
            claim_equal(&f, net, 0);
            for (unsigned i = 0; i < RANDOM_KEYS; i++) {
                char key[32];
                (void)snprintf(key, sizeof key, "ctr:k:%u", i);
                if (follow_read(&f, key) != net_read(net, 0, key))
                    print_error("seed %" PRIu64 ": %s\n", seed + nth, key);
                assert_int_equal(follow_read(&f, key), net_read(net, 0, key));
            }
            follow_restart(&f, net, 0);
        }
        anew += net_stats(net, 0).dots_ended;
        follow_end(&f);
        net_free(net);
    }
    assert_true(anew > 100);
}

/* E8: of a node of before it learns nothing of it, and goes on. */
static void an_old_node_does_not_say_what_ended(void **state)
{
    (void)state;
    struct net *net = two_nodes();
    struct follow f = {.is_node_old = true};
    follow_begin(&f, net, 0);
    begin_anew(&f, net, S, false);
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    claim_begun_anew(&f, 8);
    assert_int_equal(f.failures, 0);
    assert_false(follow_is_equal(&f, net, 0));
    follow_end(&f);
    net_free(net);
}

/* E3. `batches` of those that were given out are there again, under the life `origin`. */
static void restart(struct net *net, uint64_t origin, size_t batches)
{
    net_restart(net, 0, origin, batches);
    net_run(net, S);
}

static void a_restarted_node_says_ops_and_one_that_lost_something_cold_start(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    struct tly_node_view node;
    follow_begin(&f, net, 0);
    tly_engine_node(net_node(net, 0), false, &node);
    uint64_t life = node.origin;
    fill(net, 0, 0, 30);
    net_run(net, S);
    size_t backup = net_batches(net, 0);
    fill(net, 0, 10, 40);
    net_run(net, S);
    claim_equal(&f, net, 0);

    restart(net, life, SIZE_MAX); /* clean */
    fill(net, 0, 0, 3);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 0);

    restart(net, 1001, net_batches(net, 0) - 1); /* killed, its tail lost */
    claim_equal(&f, net, 0);
    assert_int_equal(f.reasons[TLY_COLD_AHEAD], 1);

    restart(net, 1002, backup);
    claim_equal(&f, net, 0);
    assert_int_equal(f.reasons[TLY_COLD_AHEAD], 2);

    restart(net, 1003, 0); /* wiped */
    size_t nothing = f.answers[TLY_FEED_UP_TO_DATE];
    struct tly_mirror_news news;
    assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    assert_int_equal(f.reasons[TLY_COLD_AHEAD], 3);
    assert_int_equal(f.answers[TLY_FEED_UP_TO_DATE], nothing);
    claim_equal(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:some-key:1"), INT64_MIN);
    assert_int_equal(net_stats(net, 0).feed_cold_ahead, 1);
    follow_end(&f);
    net_free(net);
}

/* Killed without losing anything it has a new life, and rounds do. */
static void a_new_life_alone_is_no_lost_ground(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    follow_begin(&f, net, 0);
    fill(net, 0, 0, 30);
    net_run(net, S);
    claim_equal(&f, net, 0);
    restart(net, 1001, SIZE_MAX);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 0);
    follow_end(&f);
    net_free(net);
}

/*
 * n1 is cut off, hears a part of a round that never ends, and gives it to the follower; no mark says that it has it. Then n1 is forgotten, and no other
 * node ever has that.
 */
static void what_only_a_forgotten_node_had_is_taken_back(void **state)
{
    struct net *net = some_nodes(2);
    struct follow f = {0};
    struct uploading u;
    struct tly_feed_said said;
    struct tly_feed_ask ask = {.delta = true, .origin = OWN};
    struct tly_mark_list none = {0};
    struct tly_dot dot = counted(net_time(net, 1).wall_ns, 5);
    struct tly_reply reply;
    struct tly_request forget = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text("n1")};
    fill(net, 0, 0, 10);
    net_run(net, 5 * S);
    net_block(net, 0, 1, true);
    uploading_init(&u);
    put_ask(&u.question, &ask);
    put_round(&u.question, TLY_ROUND_FIRST, none, none, "ctr:unheard", &dot);
    assert_int_equal(sync_with(net, 1, &u.question, &u.answer, &said), TLY_OK);
    follow_begin(&f, net, 1);
    claim_equal(&f, net, 1);
    assert_int_equal(follow_read(&f, "ctr:unheard"), 5);
    claim_equal(&f, net, 1);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 0); /* n1 still has it */
    net_kill(net, 1);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
        if (i == 500) assert_int_equal(net_ask(net, 0, forget, &reply), TLY_OK);
        net_run(net, 50 * MS);
    }
    assert_int_equal(follow_read(&f, "ctr:unheard"), INT64_MIN);
    assert_true(follow_is_equal(&f, net, 0));
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 1);
    assert_int_equal(f.reasons[TLY_COLD_AHEAD], 1);
    uploading_fini(&u);
    follow_end(&f);
    net_free(net);
}

/* That a life is retired is forgotten too, and says nothing of REMOVEs that are older and still stand. */
static void a_remove_that_the_node_has_is_not_forgotten_for_a_life(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    struct tly_forget_view forgetting;
    follow_begin(&f, net, 0);
    put(net, 0, "kv:a", "x");
    net_run(net, S / 10);
    del(net, 0, "kv:a");
    net_run(net, S / 10);
    claim_equal(&f, net, 0);
    restart(net, 1001, SIZE_MAX);
    do {
        net_run(net, S / 10);
        claim_equal(&f, net, 0);
        tly_engine_forgetting(net_node(net, 0), &forgetting);
    } while (forgetting.forgotten == 0);
    assert_int_equal(net_stats(net, 0).removes_forgotten, 0);
    claim_equal(&f, net, 0);
    net_run(net, 4 * GRACE_MS * MS);
    claim_equal(&f, net, 0);
    assert_true(net_stats(net, 0).removes_forgotten > 0);
    follow_end(&f);
    net_free(net);
}

static void whose_life_is_closed_is_told_so(void **state)
{
    struct net *net = some_nodes(2);
    struct uploading u;
    struct tly_feed_said said;
    struct tly_node_view node;
    struct tly_reply reply;
    tly_engine_node(net_node(net, 1), false, &node);
    uint64_t gone = node.origin;
    net_kill(net, 1);
    net_run(net, 60 * S);
    struct tly_request forget = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_text("n1")};
    assert_int_equal(net_ask(net, 0, forget, &reply), TLY_OK);
    net_run(net, 2 * S);
    uploading_init(&u);
    struct tly_feed_ask ask = {.delta = true, .origin = gone};
    put_ask(&u.question, &ask);
    uint64_t digest = net_digest(net, 0);
    struct tly_dot dot = counted(net_time(net, 0).wall_ns, 1);
    dot.version.origin = gone;
    put_round(&u.question, TLY_ROUND_FIRST, (struct tly_mark_list){0}, (struct tly_mark_list){0}, "ctr:a",
              &dot);
    assert_int_equal(sync_with(net, 0, &u.question, &u.answer, &said), TLY_OK);
    assert_int_equal(said.verdict, TLY_FEED_COLD_START);
    assert_int_equal(said.reason, TLY_COLD_FORGOTTEN);
    assert_int_equal(net_stats(net, 0).feed_cold_forgotten, 1);
    assert_int_equal(net_digest(net, 0), digest);
    uploading_fini(&u);
    net_free(net);
}

/* E5. */
static void a_poison_dot_costs_a_snapshot_and_is_kept_out(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    follow_begin(&f, net, 0);
    fill(net, 0, 0, 10);
    claim_equal(&f, net, 0);
    assert_int_equal(net_register(net, 0, "new:", "lww"), TLY_OK);
    put(net, 0, "new:poison", "x");
    net_add_to(net, 0, "ctr:some-key:1", 1);
    assert_int_equal(follow_tick(&f, net, 0), TLY_WRONG_STRATEGY);
    follow_restart(&f, net, 0);
    assert_int_equal(follow_tick(&f, net, 0), TLY_WRONG_STRATEGY);
    assert_int_equal(follow_read(&f, "ctr:some-key:1"), 1);
    assert_int_equal(follow_tick(&f, net, 0), TLY_WRONG_STRATEGY);
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_int_equal(f.reasons[TLY_COLD_APPLY_FAILED], 1);
    assert_int_equal(net_stats(net, 0).feed_cold_apply_failed, 1);
    assert_int_equal(f.kept_out, 1);
    assert_int_equal(follow_read(&f, "ctr:some-key:1"), 2);
    /* All but the one. */
    net_add_to(net, 0, "ctr:some-key:1", 1);
    del(net, 0, "new:poison");
    assert_int_equal(follow_tick(&f, net, 0), TLY_WRONG_STRATEGY);
    follow_end(&f);
    net_free(net);
}

/* E8. */
static void without_delta_it_lives_on_snapshots(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.no_delta = true};
    follow_begin(&f, net, 0);
    for (int i = 1; i <= 5; i++) {
        fill(net, 0, 0, 100);
        if (i == 3) del(net, 0, "ctr:some-key:7");
        claim_equal(&f, net, 0);
        assert_int_equal(f.reasons[TLY_COLD_NO_DELTA], i);
    }
    assert_int_equal(f.answers[TLY_FEED_OPS], 0);
    claim_equal(&f, net, 0);
    assert_int_equal(f.reasons[TLY_COLD_NO_DELTA], 5);
    assert_int_equal(net_stats(net, 0).feed_cold_no_delta, 5);
    follow_end(&f);
    net_free(net);
}

/* ---- snapshots ---- */

/* What begins anew while a snapshot is on its way is one snapshot or the other. */
static void a_snapshot_goes_on_by_chunk_and_is_never_a_mix(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.no_delta = true, .bytes_max = PAGE};
    struct tly_mirror_news news = {.more = true};
    unsigned pages = 0;
    follow_begin(&f, net, 0);
    fill(net, 0, 0, 2000);
    for (; news.more; pages++) {
        assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
        if (pages % 3 == 0) follow_restart(&f, net, 0);
        if (pages < 5) fill(net, 0, pages * 100, pages * 100 + 30);
        if (pages == 6) {
            net_run(net, S);
            restart(net, 1001, SIZE_MAX);
            del(net, 0, "ctr:some-key:3");
        }
        assert_true(pages < 200);
    }
    assert_true(pages > 20);
    f.no_delta = false;
    follow_restart(&f, net, 0);
    claim_equal(&f, net, 0);
    assert_int_equal(follow_read(&f, "ctr:some-key:3"), INT64_MIN);
    follow_end(&f);
    net_free(net);
}

/*
 * E4. It is killed when a batch is durable and the cursor that goes with it is not, again and again, in rounds and in snapshots: all
 * of it comes once more, and counts once.
 */
static void killed_between_batch_and_cursor_it_loses_and_doubles_nothing(void **state)
{
    struct net *net = some_nodes(1);
    struct test_rng rng = test_rng_of(test_seed_first());
    struct follow f = {.bytes_max = PAGE};
    size_t kills = 0, in_snapshots = 0;
    follow_begin(&f, net, 0);
    fill(net, 0, 0, 1000);
    for (unsigned i = 0; kills < 200; i++) {
        struct tly_mirror_news news;
        struct tly_buf before;
        struct tly_mem mem = test_mem();
        tly_buf_init(&before, &mem, 1u << 20);
        tly_buf_put(&before, f.state.p, f.state.n);
        assert_true(i < 20000);
        f.no_delta = i % 400 >= 200;
        /* Killed at the end of a snapshot it has lost what the last piece would go on from. */
        enum tly_result result = follow_ask(&f, net, 0, &news);
        assert_true(result == TLY_OK || result == TLY_STALE);
        if (test_rng_chance(&rng, 20)) {
            tly_buf_clear(&f.state);
            tly_buf_put(&f.state, before.p, before.n);
            follow_restart(&f, net, 0);
            kills++;
            in_snapshots += news.verdict == TLY_FEED_SNAPSHOT;
        }
        /* Larger and smaller than before: the same piece ends elsewhere. */
        unsigned from = (unsigned)test_rng_below(&rng, 1000);
        fill(net, 0, from, from + 5);
        if (i % 50 == 3) del(net, 0, "ctr:some-key:7");
        if (i % 50 == 20) fill(net, 0, 7, 8);
        tly_buf_fini(&before);
    }
    assert_true(in_snapshots > 20 && kills - in_snapshots > 20);
    f.no_delta = false;
    follow_restart(&f, net, 0);
    claim_equal(&f, net, 0);
    for (unsigned i = 0; i < 1000; i += 50) {
        char key[32];
        (void)snprintf(key, sizeof key, "ctr:some-key:%u", i);
        assert_int_equal(follow_read(&f, key), net_read(net, 0, key));
    }
    follow_end(&f);
    net_free(net);
}

/* E7. */
static void fifty_prefixes_come_in_one_snapshot(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.prefix_count = 50};
    char names[50][16], key[32];
    for (size_t i = 0; i < 50; i++) {
        (void)snprintf(names[i], sizeof names[i], "kv:%02zu:", i);
        f.prefixes[i] = tly_slice_text(names[i]);
        (void)snprintf(key, sizeof key, "%sx", names[i]);
        if (i != 17) put(net, 0, key, "value");
    }
    net_add_to(net, 0, "ctr:other", 5);
    f.no_delta = true;
    follow_begin(&f, net, 0);
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_string_equal(f.missing, "kv:17: ");
    assert_string_equal(f.dropped, "");
    assert_int_equal(f.answers[TLY_FEED_SNAPSHOT], 1);
    struct tly_entry_view view;
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:49:x"), &view), TLY_OK);
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("ctr:other"), &view), TLY_NOT_FOUND);

    del(net, 0, "kv:05:x");
    net_run(net, 4 * GRACE_MS * MS); /* until nothing is left of it */
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_string_equal(f.dropped, "kv:05: ");
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:05:x"), &view), TLY_NOT_FOUND);

    /* What it keeps claims no marks: it has a part of everything. */
    for (size_t i = 0; i < tly_engine_lives(f.engine); i++)
        assert_int_equal(tly_engine_life(f.engine, i).mark, 0);

    /* Rounds keep to the prefixes too, and another list is another snapshot. */
    f.no_delta = false;
    follow_restart(&f, net, 0);
    put(net, 0, "kv:49:y", "new");
    put(net, 0, "kv:other", "new");
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_int_equal(f.answers[TLY_FEED_OPS], 1);
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:49:y"), &view), TLY_OK);
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:other"), &view), TLY_NOT_FOUND);
    for (size_t i = 0; i < tly_engine_lives(f.engine); i++)
        assert_int_equal(tly_engine_life(f.engine, i).mark, 0);
    f.prefix_count = 10;
    follow_restart(&f, net, 0);
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:49:y"), &view), TLY_NOT_FOUND);
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:09:x"), &view), TLY_OK);
    follow_end(&f);
    net_free(net);
}

/* Few keys of many are wanted: no answer takes long to find, and all are found. */
/* No round says that a prefix was dropped, so who has its keys begins anew. */
static void after_a_prefix_was_dropped_it_starts_cold(void **state)
{
    (void)state;
    struct net *net = some_nodes(1);
    struct follow f = {0};
    struct tly_reply reply;
    struct tly_prefix_plan plan;
    assert_int_equal(net_register(net, 0, "x:", "epoch_sum"), TLY_OK);
    net_add_to(net, 0, "x:1", 5);
    net_add_to(net, 0, "ctr:1", 7);
    follow_begin(&f, net, 0);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 0);
    assert_int_equal(follow_read(&f, "x:1"), 5);
    assert_int_equal(
        tly_engine_prefix_plan(net_node(net, 0), tly_slice_text("x:"), tly_slice_text(""), &plan), TLY_OK);
    struct tly_prefix_wish wish = {
        .op = TLY_PREFIX_DROP, .prefix = tly_slice_text("x:"), .approval = plan.approval};
    assert_int_equal(net_change(net, 0, wish, &reply), TLY_OK);
    net_run(net, 200 * MS);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 1);
    assert_int_equal(follow_read(&f, "ctr:1"), 7);
    net_add_to(net, 0, "x:1", 1);
    net_run(net, 200 * MS);
    claim_equal(&f, net, 0);
    assert_int_equal(f.answers[TLY_FEED_COLD_START], 1);
    assert_int_equal(follow_read(&f, "x:1"), 1);
    follow_end(&f);
    net_free(net);
}

static void a_page_that_finds_nothing_goes_on(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.prefix_count = 1};
    f.prefixes[0] = tly_slice_text("kv:");
    fill(net, 0, 0, 20000);
    put(net, 0, "kv:last", "x");
    follow_begin(&f, net, 0);
    assert_int_equal(follow_tick(&f, net, 0), TLY_OK);
    assert_true(f.answers[TLY_FEED_OPS] >= 5);
    struct tly_entry_view view;
    assert_int_equal(tly_engine_entry(f.engine, tly_slice_text("kv:last"), &view), TLY_OK);
    follow_end(&f);
    net_free(net);
}

/* ---- hostile, and without memory ---- */

/* For a connection that is kept, and searched for each; a cursor may name thousands, and is read anew with each question. */
static void what_a_cursor_says_of_lives_that_are_unknown_is_passed_over(void **state)
{
    (void)state;
    struct net *net = some_nodes(1);
    struct tly_mem mem = test_mem();
    static struct tly_mark marks[TLY_MARKS_MAX];
    struct tly_feed feed = {.e = net_node(net, 0)};
    struct tly_buf cursor;
    uint64_t own = tly_ormap_origin(feed.e->map), wall_ns = net_time(net, 0).wall_ns;
    tly_buf_init(&cursor, &mem, TLY_FRAME_BODY_MAX);
    for (size_t i = 0; i < TLY_MARKS_MAX; i++)
        marks[i] = (struct tly_mark){i == 99 ? own : 1 + i, wall_ns - 99 + i};
    tly_feed_cursor_put(&cursor, &feed.cursor, (struct tly_mark_list){marks, TLY_MARKS_MAX}, NULL, 0);
    assert_int_equal(tly_feed_cursor_get(tly_buf_slice(&cursor), &feed.cursor), TLY_OK);
    tly_follower_init(&feed.follower, &mem, feed.e->map);
    assert_int_equal(tly_feed_follow(&feed), TLY_OK);
    assert_int_equal(tly_follower_word(&feed.follower, own), wall_ns);
    assert_int_equal(feed.follower.early_count, 0);
    tly_follower_fini(&feed.follower);
    tly_buf_fini(&cursor);
    net_free(net);
}

static void a_question_that_somebody_made_up_harms_nobody(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {.bytes_max = PAGE};
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_mirror_news news;
    struct tly_buf answer;
    struct tly_mem mem = test_mem();
    size_t taken = 0, refused = 0;
    tly_buf_init(&answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    fill(net, 0, 0, 500);
    follow_begin(&f, net, 0);
    assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    for (int i = 0; i < 4000; i++) {
        /* The cursor inside is damaged, the frame around it whole. */
        struct tly_feed_ask ask = {.delta = true};
        struct tly_feed_said said;
        struct tly_frame frame;
        struct tly_buf scratch, question;
        size_t consumed;
        tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
        tly_buf_init(&question, &mem, TLY_FRAME_BODY_MAX);
        assert_int_equal(tly_frame_get(tly_buf_slice(&f.question), &scratch, &frame, &consumed), TLY_OK);
        assert_int_equal(tly_feed_ask_get(frame.body, &ask), TLY_OK);
        uint8_t damaged[4096];
        assert_true(ask.cursor.n > 0 && ask.cursor.n < sizeof damaged);
        memcpy(damaged, ask.cursor.p, ask.cursor.n);
        for (uint64_t n = test_rng_below(&rng, 4) + 1; n > 0; n--)
            damaged[test_rng_below(&rng, ask.cursor.n)] = (uint8_t)test_rng_next(&rng);
        ask.cursor = tly_slice_of(damaged, ask.cursor.n - test_rng_below(&rng, 3));
        put_ask(&question, &ask);
        tly_buf_clear(&answer);
        struct tly_slice bytes = tly_buf_slice(&question);
        enum tly_result result =
            i % 2 == 0 ? tly_feed_sync(net_node(net, 0), bytes, net_time(net, 0), &said, &answer)
                       : tly_feed_snapshot(net_node(net, 0), bytes, net_time(net, 0), &said, &answer);
        claim(result == TLY_OK || result == TLY_BAD_MESSAGE);
        claim((result == TLY_OK) == (answer.n > 0));
        taken += result == TLY_OK;
        refused += result != TLY_OK;
        tly_buf_fini(&scratch);
        tly_buf_fini(&question);
    }
    assert_true(taken > 100 && refused > 100);
    tly_buf_fini(&answer);
    claim_equal(&f, net, 0);
    follow_end(&f);
    net_free(net);
}

/* E8: fields of a later version are passed over. */
static void what_a_later_version_says_more_is_passed_over(void **state)
{
    static const uint8_t body[] = {
        0x83, /* a map of three */
        0xa4, 'c', 'a', 'p',  's', 0x92, 0xa5, 'd', 'e', 'l',  't',  'a',  0xa5, 'l',  'a',
        't',  'e', 'r', 0xa5, 'f', 'u',  't',  'u', 'r', 0x91, 0x81, 0xa1, 'x',  0xc0, /* something else */
        0xa5, 'b', 'y', 't',  'e', 's',  0x05,
    };
    struct tly_feed_ask ask;
    assert_int_equal(tly_feed_ask_get(tly_slice_of(body, sizeof body), &ask), TLY_OK);
    assert_true(ask.delta);
    assert_int_equal(ask.bytes_max, 5);
}

static void a_follower_says_what_is_no_answer(void **state)
{
    struct net *net = some_nodes(1);
    struct follow f = {0};
    struct tly_mirror_news news;
    struct tly_mirror_sink sink = {0};
    fill(net, 0, 0, 50);
    follow_begin(&f, net, 0);
    assert_int_equal(follow_ask(&f, net, 0, &news), TLY_OK);
    uint64_t digest = tly_mirror_digest(f.mirror);
    for (size_t n = 0; n < f.answer.n; n++) {
        struct tly_slice cut = tly_slice_of(f.answer.p, n);
        enum tly_result result = tly_mirror_take(f.mirror, cut, net_time(net, 0), &sink, &news);
        /* At a boundary between frames it is only less. */
        assert_true(result == TLY_MORE || result == TLY_OK);
        assert_true(result == TLY_MORE || news.dots == 0);
    }
    assert_int_equal(tly_mirror_digest(f.mirror), digest);
    claim_equal(&f, net, 0);
    follow_end(&f);
    net_free(net);
}

static enum tly_result drop_batch(void *context, struct tly_slice batch)
{
    return context == NULL && batch.n > 0 ? TLY_OK : TLY_BAD_MESSAGE;
}

/* One node alone and its follower, either of which is once without memory: then the same is asked again. */
static bool survives_failure(size_t n, bool at_the_node, bool snapshot)
{
    struct test_failing failing = {.countdown = SIZE_MAX};
    struct tly_mem whole = test_mem(), lame = test_failing_mem(&failing);
    struct tly_time now = {NET_WALL_START, 1000};
    struct tly_engine_config config = {.mem = at_the_node ? lame : whole,
                                       .name = tly_slice_text("e"),
                                       .cluster = tly_slice_text("test"),
                                       .now = now};
    struct tly_engine *engine, *copy;
    struct tly_mirror *mirror;
    struct tly_reply reply;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    assert_int_equal(tly_engine_start(engine, 5, now), TLY_OK);
    config.mem = at_the_node ? whole : lame;
    assert_int_equal(tly_engine_new(&config, &copy), TLY_OK);
    struct tly_mirror_config mirrors = {.engine = copy, .no_delta = snapshot, .bytes_max = PAGE};
    assert_int_equal(tly_mirror_new(&mirrors, &mirror), TLY_OK);
    for (int i = 0; i < 300; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "ctr:%d", i);
        struct tly_request add = {.kind = TLY_ASK_ADD, .now = now, .key = tly_slice_text(key), .number = 1};
        assert_int_equal(tly_engine_ask(engine, &add, &reply), TLY_OK);
    }
    struct follow f = {.engine = copy, .mirror = mirror};
    struct tly_mem mem = at_the_node ? lame : whole;
    tly_buf_init(&f.batches, &whole, 1u << 22);
    tly_buf_init(&f.state, &whole, 1u << 20);
    tly_buf_init(&f.question, &whole, 1u << 20);
    tly_buf_init(&f.answer, &mem, TLY_FEED_ANSWER_BYTES_MAX);
    failing.countdown = n;
    struct tly_mirror_news news = {.more = true};
    for (unsigned i = 0; news.more; i++) {
        struct tly_feed_said said;
        struct tly_mirror_sink sink = {drop_batch, NULL, NULL};
        assert_true(i < 100);
        tly_buf_clear(&f.question);
        tly_buf_clear(&f.answer);
        bool is_snapshot = tly_mirror_ask(mirror, &f.question);
        if (f.question.result != TLY_OK) continue;
        enum tly_result result =
            is_snapshot ? tly_feed_snapshot(engine, tly_buf_slice(&f.question), now, &said, &f.answer)
                        : tly_feed_sync(engine, tly_buf_slice(&f.question), now, &said, &f.answer);
        assert_true(result == TLY_OK || (result == TLY_NOMEM && at_the_node && failing.failed));
        if (result != TLY_OK) continue;
        result = tly_mirror_take(mirror, tly_buf_slice(&f.answer), now, &sink, &news);
        assert_true(result == TLY_OK || (result == TLY_NOMEM && !at_the_node && failing.failed));
        if (result != TLY_OK) news.more = true;
    }
    struct tly_node_view node;
    tly_engine_node(engine, true, &node);
    assert_int_equal(tly_mirror_digest(mirror), node.digest);
    bool failed = failing.failed;
    failing.countdown = SIZE_MAX;
    follow_end(&f);
    tly_engine_check(engine);
    tly_engine_free(engine);
    assert_int_equal(test_mem_live(), 0);
    return failed;
}

static void without_memory_it_is_only_later(void **state)
{
    for (int kind = 0; kind < 4; kind++) {
        size_t n = 0;
        while (survives_failure(n, kind % 2 == 0, kind / 2 == 1))
            n++;
        assert_true(n > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_that_moved_is_read_a_tick_later),
        cmocka_unit_test(a_long_round_comes_in_pages_while_writes_go_on),
        cmocka_unit_test(counts_are_exact_though_every_answer_is_lost_once),
        cmocka_unit_test(what_comes_amid_a_peers_round_goes_on_when_that_ends),
        cmocka_unit_test(a_gap_in_what_a_follower_sends_is_seen),
        cmocka_unit_test(what_a_follower_may_not_send_is_refused_whole),
        cmocka_unit_test(a_follower_takes_nothing_from_the_future),
        cmocka_unit_test(of_a_snapshot_that_lies_ahead_in_part_nothing_is_kept),
        cmocka_unit_test(a_dot_that_comes_late_is_not_missed),
        cmocka_unit_test(below_a_floor_it_starts_cold),
        cmocka_unit_test(what_the_node_forgets_a_follower_that_kept_up_forgets_too),
        cmocka_unit_test(what_ended_begins_anew_at_a_follower_too),
        cmocka_unit_test(what_ended_goes_from_a_follower_once_a_node_has_swept),
        cmocka_unit_test(what_was_put_off_goes_on_at_a_follower),
        cmocka_unit_test(whatever_ends_meanwhile_it_reads_the_same),
        cmocka_unit_test(an_old_node_does_not_say_what_ended),
        cmocka_unit_test(a_restarted_node_says_ops_and_one_that_lost_something_cold_start),
        cmocka_unit_test(a_new_life_alone_is_no_lost_ground),
        cmocka_unit_test(what_only_a_forgotten_node_had_is_taken_back),
        cmocka_unit_test(a_remove_that_the_node_has_is_not_forgotten_for_a_life),
        cmocka_unit_test(whose_life_is_closed_is_told_so),
        cmocka_unit_test(a_poison_dot_costs_a_snapshot_and_is_kept_out),
        cmocka_unit_test(without_delta_it_lives_on_snapshots),
        cmocka_unit_test(a_snapshot_goes_on_by_chunk_and_is_never_a_mix),
        cmocka_unit_test(killed_between_batch_and_cursor_it_loses_and_doubles_nothing),
        cmocka_unit_test(fifty_prefixes_come_in_one_snapshot),
        cmocka_unit_test(after_a_prefix_was_dropped_it_starts_cold),
        cmocka_unit_test(a_page_that_finds_nothing_goes_on),
        cmocka_unit_test(what_a_cursor_says_of_lives_that_are_unknown_is_passed_over),
        cmocka_unit_test(a_question_that_somebody_made_up_harms_nobody),
        cmocka_unit_test(what_a_later_version_says_more_is_passed_over),
        cmocka_unit_test(a_follower_says_what_is_no_answer),
        cmocka_unit_test(without_memory_it_is_only_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
