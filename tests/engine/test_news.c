/*
 * What is new while a snapshot is under way, over a thin link in virtual time: node 0 has forgotten a REMOVE, so node 1 is brought up by
 * a snapshot that takes half a minute, and both count into fresh keys meanwhile.
 */
#include "service/engine/impl.h"
#include "tests/engine/support_thin.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

#define GRACE_MS 1000

static const struct tly_engine_config forgetful = {.tombstone_grace_ms = GRACE_MS};

static void put(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {
        .kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = tly_slice_text("x")};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

static void remove_key(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = tly_slice_text(key)};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
}

/* A node that has forgotten a REMOVE and holds so many old keys. */
static struct net *source(size_t old)
{
    struct net *net = net_new(DELAY);
    net_thin(net, THIN, KERNEL);
    net_add_with(net, forgetful, 0);
    net_run(net, 3 * S);
    put(net, 0, "kv:gone");
    remove_key(net, 0, "kv:gone");
    for (int i = 0; i < 60 && net_stats(net, 0).removes_forgotten == 0; i++)
        net_run(net, S);
    assert_int_equal(net_stats(net, 0).removes_forgotten, 1);
    for (size_t i = 0; i < old; i++)
        thin_count(net, 0, 'o', i);
    return net;
}

static struct net *joined(size_t old)
{
    struct net *net = source(old);
    assert_int_equal(net_add_with(net, forgetful, 1), 1);
    while (net_peers_up(net, 0) == 0 || net_peers_up(net, 1) == 0)
        net_run(net, MS);
    return net;
}

static bool is_installed(struct net *net)
{
    return net_stats(net, 1).snapshots_installed == 1;
}

static void claim_equal(struct net *net)
{
    assert_int_equal(net_stats(net, 1).snapshots_installed, 1);
    assert_int_equal(net_digest(net, 0), net_digest(net, 1));
    for (size_t i = 0; i < 2; i++) {
        uint64_t own = tly_ormap_origin(net_node(net, i)->map);
        assert_int_equal(tly_ormap_mark(net_node(net, 1 - i)->map, own),
                         tly_ormap_mark(net_node(net, i)->map, own));
    }
}

/* D1, the row of the bench with a snapshot. */
static void claim_news_come_beside_a_snapshot(uint64_t hz)
{
    enum { OLD = 2500 };
    struct net *net = joined(OLD);
    struct thin_stream streams[2] = {{.from = 0, .kind = 'a', .every = S / hz, .next = net_now(net)},
                                     {.from = 1, .kind = 'b', .every = S / hz, .next = net_now(net)}};
    uint64_t began = net_now(net), until = began + 50 * S, took = 0;
    uint64_t ideal = (uint64_t)OLD * KEY_BYTES * S / (THIN - hz * KEY_BYTES) + DELAY;
    while (net_now(net) < until + 2 * S) {
        net_run(net, 5 * MS);
        for (size_t i = 0; i < 2; i++)
            thin_go_on(net, &streams[i], until);
        if (took == 0 && is_installed(net)) took = net_now(net) - began;
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(streams[i].seen, streams[i].made);
        assert_in_range(streams[i].oldest_ns, DELAY, S);
    }
    printf("%u Hz: news at most %.2f and %.2f s old, the snapshot in %.2f of its ideal time\n", (unsigned)hz,
           (double)streams[0].oldest_ns / 1e9, (double)streams[1].oldest_ns / 1e9,
           (double)took / (double)ideal);
    assert_in_range(took, 1, ideal * 110 / 100);
    assert_int_equal(thin_old_here(net, 0, OLD), OLD);
    claim_equal(net);
    net_free(net);
}

static void news_come_within_a_second_beside_a_snapshot_of_a_megabyte(void **state)
{
    (void)state;
    claim_news_come_beside_a_snapshot(1);
    claim_news_come_beside_a_snapshot(10);
    claim_news_come_beside_a_snapshot(25);
}

/* What was said meanwhile is not said again: both ends know how far they came. */
static void news_are_said_once(void **state)
{
    (void)state;
    struct net *net = joined(1000);
    struct thin_stream streams[2] = {{.from = 0, .kind = 'a', .every = S / 20, .next = net_now(net)},
                                     {.from = 1, .kind = 'b', .every = S / 20, .next = net_now(net)}};
    while (!is_installed(net)) {
        net_run(net, 5 * MS);
        for (size_t i = 0; i < 2; i++)
            thin_go_on(net, &streams[i], UINT64_MAX);
    }
    net_run(net, 5 * S);
    uint64_t made = streams[0].made;
    assert_true(made > 100);
    claim_equal(net);
    /* What is sealed between the last of them and the end is a handful. */
    assert_in_range(net_stats(net, 0).dots_received, made, made + 40);
    assert_in_range(net_stats(net, 1).dots_received, made, made + 40);
    net_free(net);
}

/* A cut at any time: what came is kept or comes again, and nothing is missing at the end. */
static void a_cut_loses_no_news(void **state)
{
    (void)state;
    for (uint64_t cut = 500; cut < 9000; cut += 1700) {
        struct net *net = joined(600);
        struct thin_stream streams[2] = {{.from = 0, .kind = 'a', .every = S / 20, .next = net_now(net)},
                                         {.from = 1, .kind = 'b', .every = S / 20, .next = net_now(net)}};
        uint64_t began = net_now(net);
        bool is_cut = false;
        for (uint64_t until = began + 12 * S; net_now(net) < until + 20 * S;) {
            net_run(net, 5 * MS);
            for (size_t i = 0; i < 2; i++)
                thin_go_on(net, &streams[i], until);
            if (!is_cut && net_now(net) >= began + cut * MS) net_cut(net, 0, 1);
            is_cut = is_cut || net_now(net) >= began + cut * MS;
        }
        assert_int_equal(streams[0].seen, streams[0].made);
        assert_int_equal(streams[1].seen, streams[1].made);
        claim_equal(net);
        net_free(net);
    }
}

/* Keys that are raised, deleted and written again on both sides while the snapshot is under way. */
static void what_is_deleted_meanwhile_stays_deleted(void **state)
{
    (void)state;
    struct net *net = source(400);
    put(net, 0, "kv:old");
    put(net, 0, "kv:theirs");
    net_run(net, S);
    assert_int_equal(net_add_with(net, forgetful, 1), 1);
    while (net_node(net, 1)->coming.install == NULL)
        net_run(net, MS);
    put(net, 0, "kv:back");
    remove_key(net, 0, "kv:old");
    put(net, 1, "kv:here");
    put(net, 1, "kv:theirs");
    net_run(net, S);
    assert_false(is_installed(net));
    remove_key(net, 0, "kv:back");
    remove_key(net, 0, "kv:here");
    remove_key(net, 1, "kv:theirs");
    net_run(net, 30 * S);
    claim_equal(net);
    struct tly_reply reply;
    for (size_t i = 0; i < 2; i++) {
        static const char *const keys[] = {"kv:old", "kv:back", "kv:here", "kv:theirs"};
        for (size_t k = 0; k < 4; k++) {
            struct tly_request get = {.kind = TLY_ASK_READ, .key = tly_slice_text(keys[k])};
            assert_int_equal(net_ask(net, i, get, &reply), TLY_NOT_FOUND);
        }
    }
    net_free(net);
}

/* It lacks the capability: the joiner gets none and comes to hold the same. */
static void who_does_not_know_of_news_gets_none(void **state)
{
    (void)state;
    struct net *net = joined(300);
    net_node(net, 0)->conns[0]->news.is_known = false;
    net_node(net, 1)->conns[0]->news.is_known = false;
    struct thin_stream stream = {.from = 0, .kind = 'a', .every = S / 20, .next = net_now(net)};
    while (!is_installed(net)) {
        net_run(net, 5 * MS);
        thin_go_on(net, &stream, UINT64_MAX);
        assert_int_equal(net_stats(net, 1).dots_received, 0);
    }
    net_run(net, 5 * S);
    claim_equal(net);
    net_free(net);
}

/* Whether a node takes one such row from its one peer, outside a round. */
static enum tly_result admitted(struct net *net, size_t node, uint64_t origin, uint64_t ts)
{
    struct tly_engine *e = net_node(net, node);
    struct tly_row row = {.key = tly_slice_text("ctr:x"),
                          .strategy_id = TLY_EPOCH_SUM,
                          .dot = {.version = {ts, origin}, .op = TLY_PUT, .num = {0, 0, 1, 0}}};
    struct tly_part part = {.rows = &row, .row_count = 1};
    e->conns[0]->news.lacks = false;
    return tly_news_admit(e, e->conns[0], &part);
}

static bool says_it_lacks(struct net *net, size_t node)
{
    return net_node(net, node)->conns[0]->news.lacks;
}

/*
 * Of another life, not newer than all that was forgotten, or from the future: the source passes it over and then takes no mark; at the
 * joiner it ends the session, for no chunk will have it.
 */
static void only_what_is_the_peers_own_and_new_is_news(void **state)
{
    (void)state;
    struct net *net = joined(200);
    uint64_t wall = net_time(net, 0).wall_ns, origins[2];
    for (size_t i = 0; i < 2; i++)
        origins[i] = tly_ormap_origin(net_node(net, i)->map);
    for (size_t i = 0; i < 2; i++) { /* nothing is under way yet */
        assert_int_equal(admitted(net, i, origins[1 - i], wall), TLY_MORE);
        assert_false(says_it_lacks(net, i));
    }
    while (net_node(net, 1)->coming.install == NULL)
        net_run(net, MS);
    uint64_t forgotten = net_node(net, 1)->coming.forgotten;
    assert_true(forgotten > 0 && forgotten < wall);
    for (size_t i = 0; i < 2; i++) {
        const enum tly_result unfit = i == 0 ? TLY_MORE : TLY_BAD_MESSAGE,
                              ahead = i == 0 ? TLY_MORE : TLY_CLOCK_AHEAD;
        assert_int_equal(admitted(net, i, origins[1 - i], forgotten + 1), TLY_OK);
        assert_false(says_it_lacks(net, i));
        assert_int_equal(admitted(net, i, origins[1 - i], forgotten), unfit);
        assert_true(says_it_lacks(net, i));
        assert_int_equal(admitted(net, i, origins[i], wall), unfit);
        assert_int_equal(admitted(net, i, 4711, wall), unfit);
        assert_int_equal(admitted(net, i, origins[1 - i], wall + 3600 * S), ahead);
        assert_true(says_it_lacks(net, i));
    }
    /* What it passed over is not covered by the joiner's word. */
    struct tly_engine *e = net_node(net, 0);
    struct tly_buf body;
    tly_buf_init(&body, &e->mem, 64);
    tly_news_put(&body, wall);
    assert_int_equal(tly_news_ended(e, e->conns[0], tly_buf_slice(&body)), TLY_OK);
    assert_true(tly_ormap_mark(e->map, origins[1]) < wall);
    e->conns[0]->news.lacks = false;
    assert_int_equal(tly_news_ended(e, e->conns[0], tly_buf_slice(&body)), TLY_OK);
    assert_int_equal(tly_ormap_mark(e->map, origins[1]), wall);
    tly_buf_fini(&body);
    net_free(net);
}

/* A chunk in columns takes less; who does not know of them gets rows. */
static uint64_t bulk_bytes(bool columns)
{
    struct net *net = joined(300);
    net_node(net, 0)->conns[0]->columns = columns;
    while (!is_installed(net))
        net_run(net, 5 * MS);
    net_run(net, 5 * S);
    claim_equal(net);
    assert_int_equal(thin_old_here(net, 0, 300), 300);
    assert_null(net_node(net, 0)->columns.names);
    assert_null(net_node(net, 1)->columns.in);
    uint64_t bytes = net_stats(net, 0).lane_bulk_bytes;
    net_free(net);
    return bytes;
}

static void chunks_are_columns_or_rows(void **state)
{
    (void)state;
    uint64_t rows = bulk_bytes(false), columns = bulk_bytes(true);
    printf("300 keys of %d bytes: rows %u bytes, columns %u\n", KEY_BYTES, (unsigned)rows, (unsigned)columns);
    assert_in_range(rows, 300 * KEY_BYTES, 300 * KEY_BYTES * 11 / 10);
    assert_in_range(columns, 300 * KEY_BYTES * 7 / 10, 300 * KEY_BYTES * 82 / 100);
}

/* What belongs to a round, or leans on an earlier part, is no chunk. */
static void a_chunk_that_does_not_stand_alone_is_refused(void **state)
{
    (void)state;
    struct net *net = joined(1);
    struct tly_engine *e = net_node(net, 0);
    struct tly_buf body;
    struct tly_part part;
    struct tly_dot dot = {.version = {NET_WALL_START, 7}, .op = TLY_PUT, .num = {60000, 5, 6, 0}};
    tly_buf_init(&body, &e->mem, TLY_FRAME_BODY_MAX);
    for (unsigned nth = 0; nth < 4; nth++) {
        static const unsigned flags[] = {0, TLY_PART_FIRST, TLY_PART_LAST, 0};
        struct columns *columns = tly_columns_need(e);
        assert_non_null(columns);
        tly_buf_clear(&body);
        if (nth < 3)
            tly_columns_begin(e, columns);
        else
            tly_parts_begin(e->parts, columns->out, columns->names);
        assert_true(tly_parts_add(e->parts, tly_slice_text("rl:x"), tly_epoch_sum(), &dot));
        tly_parts_end(e->parts, &(struct tly_part_head){.flags = flags[nth]}, &body);
        assert_int_equal(tly_columns_get(e, tly_buf_slice(&body), &part),
                         nth == 0 ? TLY_OK : TLY_BAD_MESSAGE);
    }
    assert_int_equal(tly_columns_get(e, tly_slice_text("\x04"), &part), TLY_BAD_MESSAGE);
    assert_int_equal(tly_columns_get(e, tly_slice_of(NULL, 0), &part), TLY_BAD_MESSAGE);
    tly_buf_fini(&body);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(news_come_within_a_second_beside_a_snapshot_of_a_megabyte),
        cmocka_unit_test(news_are_said_once),
        cmocka_unit_test(a_cut_loses_no_news),
        cmocka_unit_test(what_is_deleted_meanwhile_stays_deleted),
        cmocka_unit_test(who_does_not_know_of_news_gets_none),
        cmocka_unit_test(only_what_is_the_peers_own_and_new_is_news),
        cmocka_unit_test(chunks_are_columns_or_rows),
        cmocka_unit_test(a_chunk_that_does_not_stand_alone_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
