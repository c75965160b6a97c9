/*
 * The bytes of protocol versions 1 and 2.  Each file in tests/wire/golden is a frame: lines that begin with '#' say what it is,
 * the others are hex.  What the encoders make must equal it, what the decoders read must be sound, and PROTOCOL.md
 * must show it.  When one of these fails, nodes of today and yesterday do not understand each other.
 */
#include "tests/support/mem.h"
#include "tests/wire/damage.h"
#include "tests/wire/link.h"
#include "wire/archive.h"
#include "wire/feed.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/repair.h"
#include "wire/snapshot.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef TALLY_TESTS_DIR
#define TALLY_TESTS_DIR "tests"
#endif

#define TEXT_BYTES_MAX 200000
#define T UINT64_C(1700000000000000000)
#define A UINT64_C(0x0123456789abcdef)
#define B UINT64_C(0xfedcba9876543210)

/* ---- the frames, as the encoders make them ---- */

static const struct tly_mark marks[] = {{A, T}, {B, T + 7}};
static const struct tly_mark end_marks[] = {{A, T + 9}, {B, T + 7}};

static struct tly_registry *some_registry(const struct tly_mem *mem)
{
    struct tly_registry *empty = tly_registry_new(mem), *one = NULL, *both = NULL;
    assert_int_equal(tly_registry_with(empty, tly_slice_text("rl:"), tly_epoch_sum(), &one), TLY_OK);
    assert_int_equal(tly_registry_with(one, tly_slice_text("kv:"), tly_lww(), &both), TLY_OK);
    tly_registry_free(empty);
    tly_registry_free(one);
    return both;
}

static void put_hello(struct tly_buf *body)
{
    struct tly_hello hello = {
        .version_oldest = 1, .version_newest = 1, .origin = A, .wall_ns = T + 123456789, .delta = true};
    hello.cluster = tly_slice_text("prod");
    hello.name = tly_slice_text("n1");
    hello.address = tly_slice_text("10.0.0.1:7400");
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = some_registry(&mem);
    tly_hello_put(body, &hello, registry, &marks[1], 1);
    tly_registry_free(registry);
}

static void put_hello_bare(struct tly_buf *body)
{
    struct tly_hello hello = {.version_oldest = 1, .version_newest = 1, .origin = 1};
    hello.cluster = tly_slice_text("c");
    hello.name = tly_slice_text("n");
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = tly_registry_new(&mem);
    tly_hello_put(body, &hello, registry, NULL, 0);
    tly_registry_free(registry);
}

struct put {
    const char *key;
    const struct tly_strategy *(*strategy)(void);
    struct tly_dot dot;
};

static void put_part(struct tly_buf *body, const struct put *puts, size_t count, unsigned flags)
{
    struct tly_mem mem = test_mem();
    static struct tly_round_writer writer;
    tly_round_writer_init(&writer, &mem);
    for (size_t i = 0; i < count; i++)
        assert_true(
            tly_round_writer_add(&writer, tly_slice_text(puts[i].key), puts[i].strategy(), &puts[i].dot));
    tly_round_writer_finish(&writer, flags, (struct tly_mark_list){marks, 1},
                            (struct tly_mark_list){end_marks, 2}, body);
    tly_round_writer_fini(&writer);
}

static void put_round_lww(struct tly_buf *body)
{
    static const struct put put = {
        "kv:a", tly_lww, {{T + 7, B}, TLY_PUT, {1700000060000}, {(const uint8_t *)"hello", 5}}};
    put_part(body, &put, 1, TLY_ROUND_FIRST | TLY_ROUND_LAST);
}

static void put_round_first(struct tly_buf *body)
{
    static const struct put puts[] = {
        {"rl:x", tly_epoch_sum, {{T + 3, A}, TLY_PUT, {60000, 28333333, 5, (uint64_t)-2}, {NULL, 0}}},
        {"rl:x", tly_epoch_sum, {{T + 3, B}, TLY_PUT, {60000, 28333333, 1, 0}, {NULL, 0}}},
        {"m", tly_epoch_max, {{T + 4, A}, TLY_PUT, {9, (uint64_t)-40}, {NULL, 0}}},
    };
    put_part(body, puts, 3, TLY_ROUND_FIRST);
}

static void put_round_last(struct tly_buf *body)
{
    static const struct put put = {"kv:a", tly_lww, {{T + 9, A}, TLY_REMOVE, {0}, {NULL, 0}}};
    put_part(body, &put, 1, TLY_ROUND_LAST);
}

static void put_round_lz4(struct tly_buf *body)
{
    static uint8_t value[200];
    memset(value, 'x', sizeof value);
    struct put put = {"kv:a", tly_lww, {{T + 8, A}, TLY_PUT, {0}, {value, sizeof value}}};
    put_part(body, &put, 1, TLY_ROUND_FIRST | TLY_ROUND_LAST);
}

/* The parts that follow one another on one stream. */
static const struct dot part_dots[] = {
    {"rl:00017:/search", tly_epoch_sum, {{T + 3, A}, TLY_PUT, {60000, 28333333, 5, 0}, {NULL, 0}}},
    {"rl:00018:/search", tly_epoch_sum, {{T + 4, A}, TLY_PUT, {60000, 28333333, 1, 0}, {NULL, 0}}},
    {"kv:a", tly_lww, {{T + 7, B}, TLY_PUT, {0}, {(const uint8_t *)"hello", 5}}},
    {"rl:00017:/search", tly_epoch_sum, {{T + 10000000, A}, TLY_PUT, {60000, 28333333, 7, 0}, {NULL, 0}}},
    {"rl:00018:/search", tly_epoch_sum, {{T + 10000001, A}, TLY_PUT, {60000, 28333333, 2, 0}, {NULL, 0}}},
    {"rl:00017:/search", tly_epoch_sum, {{T + 20000000, A}, TLY_PUT, {60000, 28333334, 1, 7}, {NULL, 0}}},
    {"kv:a", tly_lww, {{T + 30000000, A}, TLY_REMOVE, {0}, {NULL, 0}}},
};
static const struct tly_mark first_end[] = {{A, T + 4}, {B, T + 7}}, second_end = {A, T + 10000001},
                             third_end = {A, T + 20000000}, fourth_end = {A, T + 30000000};

#define ROUND (TLY_PART_FIRST | TLY_PART_LAST)

static const struct {
    size_t from, count;
    struct tly_part_head head;
} part_plans[] = {
    {0, 3, {.flags = ROUND | TLY_PART_START, .start = {marks, 1}, .end = {first_end, 2}}},
    {3, 2, {.flags = ROUND, .end = {&second_end, 1}}},
    {5, 1, {.flags = ROUND, .end = {&third_end, 1}}},
    {6, 1, {.flags = ROUND, .end = {&fourth_end, 1}}},
    {0, 0, {.told = {&marks[1], 1}}},
};

/* Passes the parts before this one, and writes it. */
static void put_stream_part(struct link *link, size_t which, struct tly_buf *body)
{
    struct tly_mem mem = test_mem();
    link_init(link, &mem, NULL);
    for (size_t i = 0; i < which; i++)
        link_pass(link, part_dots + part_plans[i].from, part_plans[i].count, &part_plans[i].head);
    struct tly_slice last =
        link_put(link, part_dots + part_plans[which].from, part_plans[which].count, &part_plans[which].head);
    tly_buf_put(body, last.p, last.n);
}

static void put_part_of(struct tly_buf *body, size_t which)
{
    struct link link;
    put_stream_part(&link, which, body);
    link_fini(&link, true);
}

static enum tly_result get_part_of(struct tly_slice body, size_t which)
{
    struct tly_mem mem = test_mem();
    struct tly_buf own;
    struct link link;
    tly_buf_init(&own, &mem, TLY_FRAME_BODY_MAX);
    put_stream_part(&link, which, &own);
    enum tly_result result = link_get(&link, body);
    assert_true(link_has(&link, part_dots + part_plans[which].from, part_plans[which].count));
    link_fini(&link, true);
    tly_buf_fini(&own);
    return result;
}

#define PART(name, which)                                    \
    static void put_##name(struct tly_buf *body)             \
    {                                                        \
        put_part_of(body, which);                            \
    }                                                        \
    static enum tly_result get_##name(struct tly_slice body) \
    {                                                        \
        return get_part_of(body, which);                     \
    }

PART(part_first, 0)
PART(part_steady, 1)
PART(part_window, 2)
PART(part_remove, 3)
PART(part_told, 4)

static void put_ack(struct tly_buf *body)
{
    tly_ack_put(body, marks, 2);
}

static void put_nak_stale(struct tly_buf *body)
{
    tly_nak_put(body, TLY_STALE, marks, 1);
}

static void put_nak_clock(struct tly_buf *body)
{
    tly_nak_put(body, TLY_CLOCK_AHEAD, NULL, 0);
}

static void put_ping(struct tly_buf *body)
{
    tly_ping_put(body, &(struct tly_ping){.mono_ns = 12345678, .wall_ns = T});
}

static void put_pong(struct tly_buf *body)
{
    tly_ping_put(body, &(struct tly_ping){.mono_ns = 12345678, .wall_ns = T + 1000000});
}

static void put_probe(struct tly_buf *body)
{
    tly_probe_put(body, &(struct tly_probe){.nonce = 99, .name = tly_slice_text("n3")});
}

/* WANTED and KEPT. */
static void put_one_mark(struct tly_buf *body)
{
    tly_ack_put(body, marks, 1);
}

static void put_probed(struct tly_buf *body)
{
    struct tly_probe probe = {.nonce = 99, .name = tly_slice_text("n3"), .heard_ms = 1500};
    tly_probe_put(body, &probe);
}

static void put_goodbye(struct tly_buf *body)
{
    tly_goodbye_put(body, tly_slice_text("leaving"), tly_slice_text("the node is being stopped"));
}

static void put_cold_start(struct tly_buf *body)
{
    tly_cold_put(body, &(struct tly_cold){.reason = TLY_COLD_FLOOR, .forgotten = T + 4});
}

static void put_snap_ask(struct tly_buf *body)
{
    tly_cold_put(body, &(struct tly_cold){.reason = TLY_COLD_APPLY_FAILED});
}

static void put_snap_resume(struct tly_buf *body)
{
    struct tly_cold cold = {
        .reason = TLY_COLD_FLOOR, .forgotten = T + 4, .resumes = true, .number = 3, .chunks = 1};
    cold.key = tly_slice_text("kv:a");
    tly_cold_put(body, &cold);
}

static void put_snap_begin(struct tly_buf *body)
{
    static const struct tly_life lives[] = {
        {.origin = A, .mark = T + 9, .floor = T + 4, .state = TLY_LIFE_OPEN},
        {.origin = 0},
        {.origin = B, .mark = T + 7, .state = TLY_LIFE_SETTLED},
    };
    struct tly_snap_begin begin = {.number = 3, .bounds = {T - 1, T + 4}};
    tly_snap_begin_put(body, &begin, lives, 3);
}

static void put_snap_chunk(struct tly_buf *body)
{
    static const struct put put = {
        "kv:a", tly_lww, {{T + 7, B}, TLY_PUT, {1700000060000}, {(const uint8_t *)"hello", 5}}};
    struct tly_mem mem = test_mem();
    struct tly_buf part;
    tly_buf_init(&part, &mem, TLY_FRAME_BODY_MAX);
    put_part(&part, &put, 1, 0);
    tly_snap_chunk_put(body, &(struct tly_snap_chunk){3, 0, tly_buf_slice(&part)});
    tly_buf_fini(&part);
}

static void put_snap_columns(struct tly_buf *body)
{
    static const struct tly_dot dot = {{T + 7, B}, TLY_PUT, {1700000060000}, {(const uint8_t *)"hello", 5}};
    struct tly_mem mem = test_mem();
    struct tly_names_config config = {.mem = mem, .names_max = 4, .key_bytes_max = 4096};
    struct tly_names *names = tly_names_new(&config);
    struct tly_stream *stream = tly_stream_new(&mem);
    struct tly_parts *parts = tly_parts_new(&mem);
    struct tly_buf part;
    tly_buf_init(&part, &mem, TLY_FRAME_BODY_MAX);
    tly_parts_begin(parts, stream, names);
    assert_true(tly_parts_add(parts, tly_slice_text("kv:a"), tly_lww(), &dot));
    tly_parts_end(parts, &(struct tly_part_head){0}, &part);
    tly_snap_chunk_put(body, &(struct tly_snap_chunk){3, 0, tly_buf_slice(&part)});
    tly_buf_fini(&part);
    tly_parts_free(parts);
    tly_stream_free(stream);
    tly_names_free(names);
}

static void put_snap_end(struct tly_buf *body)
{
    tly_snap_end_put(body, &(struct tly_snap_end){3, 1});
}

static const struct tly_compare compared = {
    .number = 1, .check = 0xc0ffee11, .f = T, .time = 170000001, .state = A, .root = B};

static void put_news(struct tly_buf *body)
{
    tly_news_put(body, T + 9);
}

static void put_feed_ask(struct tly_buf *body)
{
    struct tly_feed_ask ask = {.cursor = tly_slice_text("cursor"),
                               .delta = true,
                               .prefixes = {{tly_slice_text("kv:"), true}},
                               .prefix_count = 1};
    tly_feed_ask_put(body, &ask);
}

static void put_feed_answer(struct tly_buf *body)
{
    struct tly_feed_answer answer = {
        .verdict = TLY_FEED_OPS, .cursor = tly_slice_text("cursor"), .origin = A, .forgotten = T + 4};
    tly_feed_answer_put(body, &answer);
}

static void put_feed_answer_ended(struct tly_buf *body)
{
    static const uint8_t floors[] = {0, 1, 8};
    struct tly_feed_answer answer = {.verdict = TLY_FEED_OPS,
                                     .cursor = tly_slice_text("cursor"),
                                     .origin = A,
                                     .floors = tly_slice_of(floors, sizeof floors),
                                     .floor_count = 3,
                                     .swept = {T + 4, T / 1000000, 1000000000}};
    tly_feed_answer_put(body, &answer);
}

static void put_compare(struct tly_buf *body)
{
    tly_compare_put(body, &compared);
}

static void put_tree(struct tly_buf *body)
{
    tly_tree_put(body, &compared);
}

static void put_open(struct tly_buf *body)
{
    static const struct tly_opened branches[] = {{.branch = 5}, {.branch = 63}};
    tly_open_put(body, &(struct tly_open){.number = 1, .f = T, .time = 170000001, .count = 2}, branches);
}

static void put_leaves(struct tly_buf *body)
{
    static const struct put put = {
        "kv:a", tly_lww, {{T + 7, B}, TLY_PUT, {1700000060000}, {(const uint8_t *)"hello", 5}}};
    static const uint16_t leaves[] = {4095, TLY_LEAVES + 5};
    struct tly_mem mem = test_mem();
    struct tly_buf part;
    tly_buf_init(&part, &mem, TLY_FRAME_BODY_MAX);
    put_part(&part, &put, 1, 0);
    struct tly_leaves message = {
        .number = 1, .flags = TLY_LEAVES_LAST, .count = 2, .part = tly_buf_slice(&part)};
    tly_leaves_put(body, &message, leaves);
    tly_buf_fini(&part);
}

static void put_unknown(struct tly_buf *body)
{
    tly_buf_put(body, "\xc0", 1);
}

/* ---- the decoders; only whether they take it ---- */

static enum tly_result get_hello(struct tly_slice body)
{
    static struct tly_hello hello;
    return tly_hello_get(body, &hello);
}

static enum tly_result get_round(struct tly_slice body)
{
    static struct tly_round round;
    return tly_round_get(body, &round);
}

static enum tly_result get_ack(struct tly_slice body)
{
    struct tly_marks list;
    return tly_ack_get(body, &list);
}

static enum tly_result get_nak(struct tly_slice body)
{
    struct tly_slice word;
    struct tly_marks list;
    return tly_nak_get(body, &word, &list);
}

static enum tly_result get_ping(struct tly_slice body)
{
    struct tly_ping ping;
    return tly_ping_get(body, &ping);
}

static enum tly_result get_probe(struct tly_slice body)
{
    struct tly_probe probe;
    return tly_probe_get(body, &probe);
}

static enum tly_result get_goodbye(struct tly_slice body)
{
    struct tly_slice word, text;
    return tly_goodbye_get(body, &word, &text);
}

static enum tly_result get_cold_start(struct tly_slice body)
{
    struct tly_cold cold;
    return tly_cold_get(body, &cold);
}

static enum tly_result get_snap_begin(struct tly_slice body)
{
    struct tly_snap_begin begin;
    struct tly_life life;
    enum tly_result result = tly_snap_begin_get(body, &begin);
    assert_int_equal(begin.life_count, 2);
    while (tly_snap_lives_next(&begin, &life))
        assert_true(life.origin == A ? life.floor == T + 4 : life.state == TLY_LIFE_SETTLED);
    return result;
}

static enum tly_result get_snap_chunk(struct tly_slice body)
{
    struct tly_snap_chunk chunk;
    enum tly_result result = tly_snap_chunk_get(body, &chunk);
    assert_false(tly_snap_chunk_has_columns(&chunk));
    return result == TLY_OK ? get_round(chunk.part) : result;
}

static enum tly_result get_snap_columns(struct tly_slice body)
{
    struct tly_mem mem = test_mem();
    struct tly_snap_chunk chunk;
    struct tly_part part = {0};
    struct tly_stream *stream = tly_stream_new(&mem);
    struct tly_parts *parts = tly_parts_new(&mem);
    enum tly_result result = tly_snap_chunk_get(body, &chunk);
    assert_non_null(chunk.part.p);
    assert_true(tly_snap_chunk_has_columns(&chunk));
    if (result == TLY_OK) result = tly_parts_get(parts, stream, chunk.part, &part);
    assert_int_equal(part.flags, TLY_PART_RESET | TLY_PART_TAIL);
    assert_int_equal(part.row_count, 1);
    assert_int_equal(part.rows != NULL ? part.rows[0].dot.version.ts : 0, T + 7);
    tly_parts_free(parts);
    tly_stream_free(stream);
    return result;
}

static enum tly_result get_snap_end(struct tly_slice body)
{
    struct tly_snap_end end;
    return tly_snap_end_get(body, &end);
}

static enum tly_result get_news(struct tly_slice body)
{
    uint64_t ts = 0;
    enum tly_result result = tly_news_get(body, &ts);
    assert_int_equal(ts, T + 9);
    return result;
}

static enum tly_result get_feed_ask(struct tly_slice body)
{
    struct tly_feed_ask ask;
    enum tly_result result = tly_feed_ask_get(body, &ask);
    assert_true(ask.delta && ask.prefix_count == 1 && ask.prefixes[0].held);
    return result;
}

static enum tly_result get_feed_answer(struct tly_slice body)
{
    struct tly_feed_answer answer;
    enum tly_result result = tly_feed_answer_get(body, &answer);
    assert_int_equal(answer.verdict, TLY_FEED_OPS);
    assert_int_equal(answer.forgotten, T + 4);
    return result;
}

static enum tly_result get_feed_answer_ended(struct tly_slice body)
{
    struct tly_feed_answer answer;
    enum tly_result result = tly_feed_answer_get(body, &answer);
    assert_int_equal(answer.floor_count, 3);
    assert_int_equal(answer.floors.p[2], 8);
    assert_true(answer.swept.upto == T + 4 && answer.swept.now_ms == T / 1000000 &&
                answer.swept.skew_ns == 1000000000);
    return result;
}

static enum tly_result get_compare(struct tly_slice body)
{
    struct tly_compare compare;
    return tly_compare_get(body, &compare);
}

static enum tly_result get_tree(struct tly_slice body)
{
    struct tly_compare tree;
    return tly_tree_get(body, &tree);
}

static enum tly_result get_open(struct tly_slice body)
{
    struct tly_open open;
    struct tly_opened opened;
    enum tly_result result = tly_open_get(body, &open);
    while (tly_open_next(&open, &opened))
        assert_true(opened.branch == 5 || opened.branch == 63);
    return result;
}

static enum tly_result get_leaves(struct tly_slice body)
{
    struct tly_leaves message;
    enum tly_result result = tly_leaves_get(body, &message);
    return result == TLY_OK ? get_round(message.part) : result;
}

static enum tly_result get_anything(struct tly_slice body)
{
    (void)body;
    return TLY_OK;
}

static const struct golden {
    const char *file;
    unsigned type;
    void (*put)(struct tly_buf *body);
    enum tly_result (*get)(struct tly_slice body);
} goldens[] = {
    {"hello.hex", TLY_FRAME_HELLO, put_hello, get_hello},
    {"hello_bare.hex", TLY_FRAME_HELLO, put_hello_bare, get_hello},
    {"round_lww.hex", TLY_FRAME_ROUND, put_round_lww, get_round},
    {"round_first.hex", TLY_FRAME_ROUND, put_round_first, get_round},
    {"round_last.hex", TLY_FRAME_ROUND, put_round_last, get_round},
    {"round_lz4.hex", TLY_FRAME_ROUND, put_round_lz4, get_round},
    {"part_1_first.hex", TLY_FRAME_PART, put_part_first, get_part_first},
    {"part_2_steady.hex", TLY_FRAME_PART, put_part_steady, get_part_steady},
    {"part_3_window.hex", TLY_FRAME_PART, put_part_window, get_part_window},
    {"part_4_remove.hex", TLY_FRAME_PART, put_part_remove, get_part_remove},
    {"part_5_told.hex", TLY_FRAME_PART, put_part_told, get_part_told},
    {"ack.hex", TLY_FRAME_ACK, put_ack, get_ack},
    {"nak_stale.hex", TLY_FRAME_NAK, put_nak_stale, get_nak},
    {"nak_clock_ahead.hex", TLY_FRAME_NAK, put_nak_clock, get_nak},
    {"ping.hex", TLY_FRAME_PING, put_ping, get_ping},
    {"pong.hex", TLY_FRAME_PONG, put_pong, get_ping},
    {"goodbye.hex", TLY_FRAME_GOODBYE, put_goodbye, get_goodbye},
    {"probe.hex", TLY_FRAME_PROBE | TLY_FRAME_IGNORABLE, put_probe, get_probe},
    {"wanted.hex", TLY_FRAME_WANTED | TLY_FRAME_IGNORABLE, put_one_mark, get_ack},
    {"kept.hex", TLY_FRAME_KEPT | TLY_FRAME_IGNORABLE, put_one_mark, get_ack},
    {"probed.hex", TLY_FRAME_PROBED | TLY_FRAME_IGNORABLE, put_probed, get_probe},
    {"cold_start.hex", TLY_FRAME_COLD_START, put_cold_start, get_cold_start},
    {"snap_ask.hex", TLY_FRAME_SNAP_ASK, put_snap_ask, get_cold_start},
    {"snap_resume.hex", TLY_FRAME_SNAP_ASK, put_snap_resume, get_cold_start},
    {"snap_begin.hex", TLY_FRAME_SNAP_BEGIN, put_snap_begin, get_snap_begin},
    {"snap_chunk.hex", TLY_FRAME_SNAP_CHUNK, put_snap_chunk, get_snap_chunk},
    {"snap_chunk_columns.hex", TLY_FRAME_SNAP_CHUNK, put_snap_columns, get_snap_columns},
    {"snap_end.hex", TLY_FRAME_SNAP_END, put_snap_end, get_snap_end},
    {"news.hex", TLY_FRAME_NEWS, put_news, get_news},
    {"compare.hex", TLY_FRAME_COMPARE | TLY_FRAME_IGNORABLE, put_compare, get_compare},
    {"tree.hex", TLY_FRAME_TREE | TLY_FRAME_IGNORABLE, put_tree, get_tree},
    {"open.hex", TLY_FRAME_OPEN | TLY_FRAME_IGNORABLE, put_open, get_open},
    {"leaves.hex", TLY_FRAME_LEAVES | TLY_FRAME_IGNORABLE, put_leaves, get_leaves},
    {"feed_ask.hex", TLY_FRAME_FEED_ASK, put_feed_ask, get_feed_ask},
    {"feed_answer.hex", TLY_FRAME_FEED_ANSWER, put_feed_answer, get_feed_answer},
    {"feed_answer_ended.hex", TLY_FRAME_FEED_ANSWER, put_feed_answer_ended, get_feed_answer_ended},
    {"unknown_ignorable.hex", 31u | TLY_FRAME_IGNORABLE, put_unknown, get_anything},
};

#define GOLDENS (sizeof goldens / sizeof goldens[0])

/* ---- files ---- */

static const char *path_of(const char *file)
{
    static char path[4096];
    const char *directory = getenv("TALLY_TESTS_DIR");
    snprintf(path, sizeof path, "%s/%s", directory != NULL ? directory : TALLY_TESTS_DIR, file);
    return path;
}

static const char *read_text(const char *file)
{
    static char text[TEXT_BYTES_MAX];
    FILE *in = fopen(path_of(file), "r");
    size_t n = in != NULL ? fread(text, 1, sizeof text - 1, in) : 0;
    bool whole = in != NULL && feof(in) != 0;
    if (in != NULL) (void)fclose(in);
    if (!whole) fail_msg("cannot read %s (tests run from the root of the tree)", path_of(file));
    text[n] = '\0';
    return text;
}

/* Drops the lines that begin with '#'; there must be one, the first. */
static void drop_comments(char *text)
{
    assert_int_equal(text[0], '#');
    char *to = text;
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        n += line[n] == '\n' ? 1 : 0;
        if (*line != '#') {
            memmove(to, line, n);
            to += n;
        }
        line += n;
    }
    *to = '\0';
}

static struct tly_slice read_hex(const char *name)
{
    static uint8_t bytes[4096];
    static char text[TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "%s", read_text(name));
    drop_comments(text);
    return from_hex(text, bytes, sizeof bytes);
}

static struct tly_slice read_golden(const char *file)
{
    char name[300];
    snprintf(name, sizeof name, "wire/golden/%s", file);
    return read_hex(name);
}

static const struct golden *golden_of(const char *file)
{
    for (size_t i = 0; i < GOLDENS; i++)
        if (strcmp(goldens[i].file, file) == 0) return &goldens[i];
    return NULL;
}

static void print_hex(struct tly_slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        print_message("%02x%s", bytes.p[i], i % 16 == 15 || i + 1 == bytes.n ? "\n" : " ");
}

/* ---- claims ---- */

static void the_encoders_make_exactly_the_golden_bytes(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf body, frame;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&frame, &mem, TLY_FRAME_BODY_MAX);
    size_t different = 0;
    for (size_t i = 0; i < GOLDENS; i++) {
        tly_buf_clear(&body);
        tly_buf_clear(&frame);
        goldens[i].put(&body);
        tly_frame_put(&frame, (enum tly_frame_type)goldens[i].type, tly_buf_slice(&body));
        assert_int_equal(frame.result, TLY_OK);
        if (tly_slice_equal(tly_buf_slice(&frame), read_golden(goldens[i].file))) continue;
        print_message("%s; the encoder made:\n", goldens[i].file);
        print_hex(tly_buf_slice(&frame));
        different++;
    }
    tly_buf_fini(&body);
    tly_buf_fini(&frame);
    assert_int_equal(different, 0);
}

static void the_decoders_read_the_golden_bytes(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf body, scratch;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    for (size_t i = 0; i < GOLDENS; i++) {
        struct tly_slice bytes = read_golden(goldens[i].file);
        struct tly_frame frame;
        size_t consumed = 0;
        assert_int_equal(tly_frame_get(bytes, &scratch, &frame, &consumed), TLY_OK);
        assert_int_equal(consumed, bytes.n);
        assert_int_equal(frame.type | (frame.ignorable ? TLY_FRAME_IGNORABLE : 0u), goldens[i].type);
        tly_buf_clear(&body);
        goldens[i].put(&body);
        assert_true(tly_slice_equal(frame.body, tly_buf_slice(&body)));
        assert_int_equal(goldens[i].get(frame.body), TLY_OK);
    }
    tly_buf_fini(&body);
    tly_buf_fini(&scratch);
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void every_golden_file_is_made_by_this_test(void **state)
{
    struct dirent **entries = NULL;
    int files = scandir(path_of("wire/golden"), &entries, is_shown, alphasort);
    assert_int_equal(files, GOLDENS);
    for (int i = 0; i < files; i++) {
        if (golden_of(entries[i]->d_name) == NULL) fail_msg("nobody makes %s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* Hex digits only, so that neither lines nor groups matter; anything else becomes one blank. */
static void keep_hex(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++)
        if (strchr(" \n", *from) == NULL) *to++ = strchr("0123456789abcdef", *from) != NULL ? *from : '.';
    *to = '\0';
}

static void claim_shown(const char *name, struct tly_slice bytes)
{
    static char protocol[TEXT_BYTES_MAX];
    char hex[2 * 4096 + 1];
    snprintf(protocol, sizeof protocol, "%s", read_text("../PROTOCOL.md"));
    keep_hex(protocol);
    for (size_t i = 0; i < bytes.n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes.p[i]);
    if (strstr(protocol, hex) == NULL) fail_msg("PROTOCOL.md does not show %s", name);
}

static void the_protocol_text_shows_every_golden_frame(void **state)
{
    for (size_t i = 0; i < GOLDENS; i++)
        claim_shown(goldens[i].file, read_golden(goldens[i].file));
}

/* A file is more than a frame: its digest goes over all of it. */
static void an_archive_is_exactly_the_golden_one(void **state)
{
    static const struct tly_mark held[] = {{B, T + 7}};
    struct tly_archive_head head = {.cluster = tly_slice_text("prod"),
                                    .name = tly_slice_text("n1"),
                                    .prefix = tly_slice_text("kv:"),
                                    .origin = A,
                                    .wall_ns = T};
    struct tly_dot dot = {{T + 7, B}, TLY_PUT, {1700000060000}, tly_slice_text("hello")};
    struct tly_mem mem = test_mem();
    struct tly_archive_writer writer;
    struct tly_round_writer rows;
    struct tly_buf file;
    tly_buf_init(&file, &mem, TLY_FRAME_BODY_MAX);
    tly_archive_writer_init(&writer, &mem);
    tly_round_writer_init(&rows, &mem);
    assert_true(tly_round_writer_add(&rows, tly_slice_text("kv:a"), tly_lww(), &dot));
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){held, 1}, &file);
    tly_archive_put_rows(&writer, &rows, &file);
    tly_archive_put_end(&writer, &file);
    assert_int_equal(file.result, TLY_OK);
    if (!tly_slice_equal(tly_buf_slice(&file), read_hex("wire/archive.hex"))) {
        print_hex(tly_buf_slice(&file));
        fail_msg("wire/archive.hex differs");
    }
    claim_shown("archive.hex", tly_buf_slice(&file));
    tly_round_writer_fini(&rows);
    tly_archive_writer_fini(&writer);
    tly_buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_encoders_make_exactly_the_golden_bytes),
        cmocka_unit_test(the_decoders_read_the_golden_bytes),
        cmocka_unit_test(every_golden_file_is_made_by_this_test),
        cmocka_unit_test(the_protocol_text_shows_every_golden_frame),
        cmocka_unit_test(an_archive_is_exactly_the_golden_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
