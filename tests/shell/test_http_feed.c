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
    struct said said = {{.status = atoi(copy + 9), .head = copy, .body = end + 4}, {0}};
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

static void tick(struct scene *scene, struct tly_mirror *mirror, struct tly_time now, size_t *batches)
{
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
        assert_int_equal(tly_mirror_take(mirror, said.body, now, &sink, &news), TLY_OK);
    }
    tly_buf_fini(&question);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(an_empty_question_is_one_without_delta),
        SCENE(who_follows_comes_to_hold_the_same),
        SCENE(what_is_no_question_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
