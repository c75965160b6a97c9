/* The HTTP door: the change feed for those who are no nodes. */
#include "service/engine/mirror.h"
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct said {
    struct answer answer; /* its head is text */
    struct tly_slice body;
    size_t bytes; /* on the socket, both ways */
};

static struct said ask_feed(struct scene *scene, const char *path, struct tly_slice question)
{
    static char copy[1u << 17];
    struct tly_mem mem = test_mem();
    struct tly_buf request;
    char head[160];
    tly_buf_init(&request, &mem, 4u << 20);
    int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", path,
                     question.n);
    tly_buf_put(&request, head, (size_t)n);
    tly_buf_put(&request, question.p, question.n);
    struct tly_slice heard = talk_say_bytes(scene->talk, tly_buf_slice(&request));
    tly_buf_fini(&request);
    assert_true(heard.n < sizeof copy);
    memcpy(copy, heard.p, heard.n);
    copy[heard.n] = '\0';
    char *end = strstr(copy, "\r\n\r\n");
    assert_non_null(end);
    end[2] = '\0';
    struct said said = {{.status = atoi(copy + 9), .head = copy, .body = end + 4}, {0}, 0};
    said.bytes = (size_t)n + question.n + heard.n;
    said.body = tly_slice_of(end + 4, heard.n - (size_t)(end + 4 - copy));
    return said;
}

/* Who sends nothing has no capability, and hears in a header what to do. */
static void an_empty_question_is_one_without_delta(void **state)
{
    struct scene *scene = *state;
    struct said said = ask_feed(scene, "/v1/sync", tly_slice_of(NULL, 0));
    assert_non_null(strstr(said.answer.head, "Tally-Feed: up_to_date\r\n"));
    assert_int_equal(post(scene, "/v1/counters/ctr:a", "{\"delta\":1}").status, 200);
    said = ask_feed(scene, "/v1/sync", tly_slice_of(NULL, 0));
    assert_int_equal(said.answer.status, 200);
    assert_non_null(strstr(said.answer.head, "Tally-Feed: cold_start; reason=no_delta\r\n"));
    assert_non_null(strstr(said.answer.head, "Content-Type: application/octet-stream\r\n"));
    said = ask_feed(scene, "/v1/snapshot", tly_slice_of(NULL, 0));
    assert_int_equal(said.answer.status, 200);
    assert_non_null(strstr(said.answer.head, "Tally-Feed: snapshot\r\n"));
}

static enum tly_result no_batch(void *context, struct tly_slice batch)
{
    size_t *batches = context;
    ++*batches;
    return batch.n > 0 ? TLY_OK : TLY_BAD_MESSAGE;
}

/* Bytes on the socket, heads included. */
static size_t tick(struct scene *scene, struct tly_mirror *mirror, struct tly_time now, size_t *batches)
{
    size_t bytes = 0;
    struct tly_mem mem = test_mem();
    struct tly_mirror_sink sink = {no_batch, NULL, batches};
    struct tly_mirror_news news = {.more = true};
    struct tly_buf question;
    tly_buf_init(&question, &mem, 1u << 18);
    for (unsigned i = 0; news.more; i++) {
        assert_true(i < 100);
        tly_buf_clear(&question);
        bool snapshot = tly_mirror_ask(mirror, &question);
        struct said said = ask_feed(scene, snapshot ? "/v1/snapshot" : "/v1/sync", tly_buf_slice(&question));
        assert_int_equal(said.answer.status, 200);
        bytes += said.bytes;
        assert_int_equal(tly_mirror_take(mirror, said.body, now, &sink, &news), TLY_OK);
    }
    tly_buf_fini(&question);
    return bytes;
}

static void who_follows_comes_to_hold_the_same(void **state)
{
    struct scene *scene = *state;
    struct tly_time now = {FAKE_WALL_MS * 1000000, 1000000000};
    struct tly_engine_config config = {
        .mem = test_mem(), .name = tly_slice_text("f"), .cluster = tly_slice_text("test"), .now = now};
    for (int no_delta = 0; no_delta < 2; no_delta++) {
        struct tly_engine *engine;
        struct tly_mirror *mirror;
        struct tly_node_view node;
        size_t batches = 0;
        assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
        struct tly_mirror_config mirrors = {.engine = engine, .no_delta = no_delta == 1, .bytes_max = 4096};
        assert_int_equal(tly_mirror_new(&mirrors, &mirror), TLY_OK);
        for (int i = 0; i < 400; i++) {
            char target[64];
            (void)snprintf(target, sizeof target, "/v1/counters/ctr:%d", i);
            assert_int_equal(post(scene, target, "{\"delta\":1}").status, 200);
            if (i % 100 == 7) tick(scene, mirror, now, &batches);
        }
        tick(scene, mirror, now, &batches);
        tly_engine_node(tly_app_engine(scene->app), true, &node);
        assert_true(batches > 3);
        assert_int_equal(tly_mirror_digest(mirror), node.digest);
        tly_mirror_free(mirror);
        tly_engine_free(engine);
    }
}

#define KEYS 200
#define CHANGED 50

static const char *name_key(char *text, size_t size, unsigned i)
{
    (void)snprintf(text, size, "ctr:tenant-%04u:user-%08u", i % 17, i * 7919);
    return text;
}

/* What another node has counted in all keys. */
static void count_elsewhere(struct scene *scene, uint64_t origin, uint64_t ts)
{
    struct tly_mem mem = test_mem();
    struct tly_feed_ask ask = {.origin = origin};
    struct tly_round_writer rows;
    struct tly_buf body, question;
    struct tly_mark mark = {origin, ts + KEYS};
    tly_round_writer_init(&rows, &mem);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&question, &mem, 1u << 20);
    tly_feed_ask_put(&body, &ask);
    tly_frame_put(&question, TLY_FRAME_FEED_ASK, tly_buf_slice(&body));
    tly_buf_clear(&body);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[64];
        struct tly_dot dot = {.version = {ts + i, origin}, .op = TLY_PUT, .num = {0, 0, i % 7 + 1, 0}};
        assert_true(
            tly_round_writer_add(&rows, tly_slice_text(name_key(key, sizeof key, i)), tly_epoch_sum(), &dot));
    }
    tly_round_writer_finish(&rows, TLY_ROUND_FIRST | TLY_ROUND_LAST, (struct tly_mark_list){0},
                            (struct tly_mark_list){&mark, 1}, &body);
    tly_frame_put(&question, TLY_FRAME_ROUND, tly_buf_slice(&body));
    assert_int_equal(ask_feed(scene, "/v1/sync", tly_buf_slice(&question)).answer.status, 200);
    tly_round_writer_fini(&rows);
    tly_buf_fini(&body);
    tly_buf_fini(&question);
}

static void count_here(struct scene *scene, unsigned times, unsigned keys)
{
    for (unsigned i = 0; i < times; i++) {
        char key[64], target[96];
        (void)snprintf(target, sizeof target, "/v1/counters/%s",
                       name_key(key, sizeof key, i % keys * (KEYS / keys)));
        fake_app_advance(scene->app, 100 + i * 37 % 101);
        assert_int_equal(post(scene, target, "{\"delta\":1}").status, 200);
    }
}

/*
 * E9: 100 single changes over 50 of 200 keys, told as changes and as a whole snapshot, in bytes on the socket both ways, heads
 * included; what either follower holds is the same. As percent.
 */
static size_t cost_of_changes(struct scene *scene, unsigned nodes)
{
    uint64_t later = UINT64_C(1000000000000);
    struct tly_time now = {FAKE_WALL_MS * 1000000 + later, 1000000000 + later};
    struct tly_engine_config config = {
        .mem = test_mem(), .name = tly_slice_text("f"), .cluster = tly_slice_text("test"), .now = now};
    struct tly_engine *engines[2];
    struct tly_mirror *mirrors[2];
    size_t batches = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tly_engine_new(&config, &engines[i]), TLY_OK);
        struct tly_mirror_config mirror = {.engine = engines[i], .no_delta = i == 1};
        assert_int_equal(tly_mirror_new(&mirror, &mirrors[i]), TLY_OK);
    }
    count_here(scene, KEYS, KEYS);
    for (uint64_t i = 1; i < nodes; i++)
        count_elsewhere(scene, UINT64_C(0x5eed000000000000) + i * 7919, FAKE_WALL_MS * 1000000 + i * 1000000);
    (void)tick(scene, mirrors[0], now, &batches);
    count_here(scene, 100, CHANGED);
    struct tly_stats before, after;
    tly_engine_stats(tly_app_engine(scene->app), &before);
    size_t delta = tick(scene, mirrors[0], now, &batches);
    tly_engine_stats(tly_app_engine(scene->app), &after);
    assert_int_equal(after.feed_ops, before.feed_ops + 1);
    size_t whole = tick(scene, mirrors[1], now, &batches);
    assert_int_equal(tly_mirror_digest(mirrors[0]), tly_mirror_digest(mirrors[1]));
    printf("%u nodes: 100 changes over 50 of 200 keys %zu bytes, a snapshot %zu: %zu %%\n", nodes, delta,
           whole, 100 * delta / whole);
    for (int i = 0; i < 2; i++) {
        tly_mirror_free(mirrors[i]);
        tly_engine_free(engines[i]);
    }
    return 100 * delta / whole;
}

static void changes_cost_a_fraction_of_a_snapshot(void **state)
{
    struct scene *scene = *state;
    /* Where one node counts alone, a quarter of the keys is a quarter of all there is. */
    assert_true(cost_of_changes(scene, 1) <= 25);
}

static void in_a_cluster_changes_cost_less_than_a_fifth_of_a_snapshot(void **state)
{
    struct scene *scene = *state;
    assert_true(cost_of_changes(scene, 3) < 20);
}

static void what_is_no_question_is_refused_by_name(void **state)
{
    struct scene *scene = *state;
    assert_problem(ask_feed(scene, "/v1/sync", tly_slice_text("\x02")).answer, 400, "cut_off");
    assert_problem(ask_feed(scene, "/v1/sync", tly_slice_text("{\"cursor\":\"x\"}")).answer, 400, "cut_off");
    assert_problem(ask_feed(scene, "/v1/sync", tly_slice_text("\x01\x1b....\x80")).answer, 400,
                   "bad_checksum");
    static const struct {
        enum tly_result result;
        int status;
    } expected[] = {{TLY_NO_STRATEGY, 404}, {TLY_READ_ONLY, 403},    {TLY_TOO_LARGE, 413},
                    {TLY_OWN_LIFE, 409},    {TLY_CLOCK_AHEAD, 409},  {TLY_NOMEM, 503},
                    {TLY_FULL, 503},        {TLY_BAD_CHECKSUM, 400}, {TLY_WRONG_STRATEGY, 409}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        fake_app_fail(scene->app, expected[i].result, 1);
        assert_problem(ask_feed(scene, "/v1/snapshot", tly_slice_of(NULL, 0)).answer, expected[i].status,
                       tly_result_name(expected[i].result));
    }
    /* Of an archive it is said otherwise: there it is a forgery. */
    fake_app_fail(scene->app, TLY_OWN_LIFE, 1);
    const struct said said = ask_feed(scene, "/v1/sync", tly_slice_of(NULL, 0));
    assert_non_null(strstr(said.answer.body, "the life that it names as its origin"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(an_empty_question_is_one_without_delta),
        SCENE(who_follows_comes_to_hold_the_same),
        SCENE(changes_cost_a_fraction_of_a_snapshot),
        SCENE(in_a_cluster_changes_cost_less_than_a_fifth_of_a_snapshot),
        SCENE(what_is_no_question_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
