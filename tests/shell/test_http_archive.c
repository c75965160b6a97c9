/* The HTTP door: dots out of a node, into one, and looked at. */
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/archive.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

/* Everything that was said from the request on to its end, however many turns it takes. */
static struct tly_buf listen_to(struct scene *scene, const char *request)
{
    struct tly_mem mem = test_mem();
    struct tly_buf heard;
    tly_buf_init(&heard, &mem, 64u << 20);
    struct tly_slice said = talk_say_bytes(scene->talk, tly_slice_text(request));
    tly_buf_put(&heard, said.p, said.n);
    size_t turns = 0;
    for (; talk_left(scene->talk) > 0 && !talk_is_closed(scene->talk); turns++) {
        assert_true(turns < 10000);
        said = talk_say_bytes(scene->talk, tly_slice_of(NULL, 0));
        assert_true(said.n <= TLY_EXPORT_PIECE_BYTES + 64);
        tly_buf_put(&heard, said.p, said.n);
    }
    tly_buf_put(&heard, "", 1);
    assert_int_equal(heard.result, TLY_OK);
    return heard;
}

/* Takes the chunks of a body apart, in place. */
static void unchunk(struct tly_buf *heard)
{
    char *at = strstr((char *)heard->p, "\r\n\r\n");
    assert_non_null(at);
    at += 4;
    size_t n = 0;
    for (;;) {
        char *line;
        size_t size = strtoul(at, &line, 16);
        assert_memory_equal(line, "\r\n", 2);
        if (size == 0) break;
        memmove(heard->p + n, line + 2, size);
        n += size;
        at = line + 2 + size;
        assert_memory_equal(at, "\r\n", 2);
        at += 2;
    }
    heard->n = n;
}

static size_t rows_of(struct tly_slice file)
{
    struct tly_mem mem = test_mem();
    struct tly_archive_reader reader;
    struct tly_archive_item item;
    size_t rows = 0;
    tly_archive_reader_init(&reader, &mem);
    while (!reader.has_end) {
        size_t consumed, at = (size_t)reader.offset;
        assert_int_equal(tly_archive_get(&reader, tly_slice_of(file.p + at, file.n - at), &item, &consumed),
                         TLY_OK);
    }
    assert_int_equal(reader.offset, file.n);
    rows = (size_t)reader.rows;
    tly_archive_reader_fini(&reader);
    return rows;
}

static void fill(struct scene *scene, int count)
{
    char target[64];
    for (int i = 0; i < count; i++) {
        (void)snprintf(target, sizeof target, "/v1/counters/kv:%d", i);
        assert_int_equal(post(scene, target, "{\"value\":\"some text that is not short\"}").status, 200);
    }
}

static void an_export_comes_in_pieces_and_is_whole(void **state)
{
    struct scene *scene = *state;
    fill(scene, 3000);
    struct tly_buf heard = listen_to(scene, "GET /v1/export HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr((char *)heard.p, "Transfer-Encoding: chunked\r\n"));
    assert_null(strstr((char *)heard.p, "Content-Length"));
    unchunk(&heard);
    assert_int_equal(rows_of(tly_buf_slice(&heard)), 3000);
    tly_buf_fini(&heard);
    /* The connection goes on, with what was said behind it too. */
    heard = listen_to(
        scene,
        "GET /v1/export?prefix=kv:1 HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr((char *)heard.p + heard.n - 5, "ok\n"));
    unchunk(&heard);
    assert_int_equal(rows_of(tly_buf_slice(&heard)), 1111);
    tly_buf_fini(&heard);
    assert_int_equal(get(scene, "/healthz").status, 200);
}

static void before_http_1_1_an_export_ends_with_the_connection(void **state)
{
    struct scene *scene = *state;
    fill(scene, 5);
    struct tly_buf heard = listen_to(scene, "GET /v1/export HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(talk_is_closed(scene->talk));
    assert_null(strstr((char *)heard.p, "chunked"));
    char *body = strstr((char *)heard.p, "\r\n\r\n") + 4;
    assert_int_equal(rows_of(tly_slice_of(body, heard.n - 1 - (size_t)(body - (char *)heard.p))), 5);
    tly_buf_fini(&heard);
}

static void head_of_an_export_is_its_head(void **state)
{
    struct scene *scene = *state;
    struct answer answer = ask(scene, "HEAD /v1/export", "", NULL);
    assert_int_equal(answer.status, 200);
    assert_int_equal(get(scene, "/healthz").status, 200);
    assert_problem(get(scene, "/v1/export?prefix=%zz"), 400, "bad_query");
}

/* The connection goes in the middle: nothing is left (the teardown counts). */
static void an_export_that_nobody_takes_is_dropped(void **state)
{
    struct scene *scene = *state;
    fill(scene, 3000);
    (void)talk_say(scene->talk, "GET /v1/export HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)talk_say(scene->talk, "");
    assert_true(talk_left(scene->talk) > 0);
}

static void one_export_too_many_is_told_to_wait(void **state)
{
    struct scene *scene = *state;
    struct tly_export *exports[TLY_EXPORTS_MAX];
    struct tly_engine *engine = tly_app_engine(scene->app);
    for (size_t i = 0; i < TLY_EXPORTS_MAX; i++)
        assert_int_equal(tly_export_new(engine, tly_slice_text(""), tly_app_now(scene->app), &exports[i]),
                         TLY_OK);
    assert_problem(get(scene, "/v1/export"), 503, "busy");
    for (size_t i = 0; i < TLY_EXPORTS_MAX; i++)
        tly_export_free(exports[i]);
    struct tly_buf heard = listen_to(scene, "GET /v1/export HTTP/1.1\r\nHost: x\r\n\r\n");
    unchunk(&heard);
    assert_int_equal(rows_of(tly_buf_slice(&heard)), 0);
    tly_buf_fini(&heard);
}

/* ---- apply ---- */

static struct answer apply(struct scene *scene, struct tly_slice file)
{
    struct tly_mem mem = test_mem();
    struct tly_buf request;
    char head[128];
    tly_buf_init(&request, &mem, 4u << 20);
    int n = snprintf(head, sizeof head, "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                     file.n);
    tly_buf_put(&request, head, (size_t)n);
    tly_buf_put(&request, file.p, file.n);
    static char copy[65536];
    struct tly_slice said = talk_say_bytes(scene->talk, tly_buf_slice(&request));
    tly_buf_fini(&request);
    assert_true(said.n < sizeof copy);
    memcpy(copy, said.p, said.n + 1);
    struct answer answer = {.status = atoi(copy + 9), .head = copy, .body = strstr(copy, "\r\n\r\n") + 4};
    char *end = strstr(copy, "\r\n\r\n");
    end[2] = '\0';
    return answer;
}

static void an_archive_is_applied_whole_or_refused_with_its_offset(void **state)
{
    struct scene *scene = *state;
    struct tly_mem mem = test_mem();
    struct tly_buf file;
    struct tly_archive_writer writer;
    struct tly_round_writer rows;
    struct tly_archive_head head = {0};
    tly_buf_init(&file, &mem, 1 << 20);
    tly_archive_writer_init(&writer, &mem);
    tly_round_writer_init(&rows, &mem);
    struct tly_dot dot = {.version = {5, 9}, .op = TLY_PUT, .bytes = tly_slice_text("x")};
    tly_archive_put_head(&writer, &head, (struct tly_mark_list){0}, &file);
    assert_true(tly_round_writer_add(&rows, tly_slice_text("kv:x"), tly_lww(), &dot));
    tly_archive_put_rows(&writer, &rows, &file);
    tly_archive_put_end(&writer, &file);

    assert_problem(apply(scene, tly_slice_of(file.p, file.n - 1)), 400, "cut_off");
    file.p[file.n / 2] ^= 4;
    struct answer answer = apply(scene, tly_buf_slice(&file));
    assert_int_equal(answer.status, 400);
    assert_non_null(strstr(answer.body, "at byte "));
    file.p[file.n / 2] ^= 4;
    file.p[TLY_ARCHIVE_MAGIC_BYTES - 2] = TLY_ARCHIVE_FORMAT + 1;
    answer = apply(scene, tly_buf_slice(&file));
    assert_problem(answer, 400, "unknown_frame");
    assert_non_null(strstr(answer.body, "at byte 0: a newer format than this node knows"));
    file.p[TLY_ARCHIVE_MAGIC_BYTES - 2] = TLY_ARCHIVE_FORMAT;
    assert_problem(get(scene, "/v1/counters/kv:x"), 404, "not_found");
    answer = apply(scene, tly_buf_slice(&file));
    assert_string_equal(answer.body, "{\"dots\":1,\"applied\":1,\"repaired\":0}\n");
    assert_int_equal(get(scene, "/v1/counters/kv:x").status, 200);
    tly_buf_fini(&file);
    tly_archive_writer_fini(&writer);
    tly_round_writer_fini(&rows);
}

static void results_have_their_status(void **state)
{
    struct scene *scene = *state;
    static const struct {
        enum tly_result result;
        int status;
    } expected[] = {{TLY_NO_STRATEGY, 404}, {TLY_READ_ONLY, 403},   {TLY_TOO_LARGE, 413},
                    {TLY_OWN_LIFE, 409},    {TLY_CLOCK_AHEAD, 409}, {TLY_NOMEM, 503},
                    {TLY_FULL, 507},        {TLY_BAD_PAYLOAD, 400}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        fake_app_fail(scene->app, expected[i].result, 1);
        assert_problem(apply(scene, tly_slice_text("x")), expected[i].status,
                       tly_result_name(expected[i].result));
    }
}

/* ---- explain ---- */

static void an_entry_is_explained(void **state)
{
    struct scene *scene = *state;
    assert_problem(get(scene, "/v1/explain/c"), 404, "not_found");
    assert_int_equal(post(scene, "/v1/counters/c", "{\"delta\":4}").status, 200);
    struct json_object *object = json_tokener_parse(get(scene, "/v1/explain/c").body);
    assert_string_equal(json_object_get_string(json_object_object_get(object, "strategy")), "epoch_sum");
    assert_true(json_object_get_boolean(json_object_object_get(object, "unsealed")));
    struct json_object *dots = json_object_object_get(object, "dots");
    assert_int_equal(json_object_array_length(dots), 1);
    struct json_object *reads = json_object_object_get(object, "reads");
    assert_int_equal(json_object_array_length(reads), 1);
    assert_int_equal(
        json_object_get_int(json_object_object_get(json_object_array_get_idx(reads, 0), "count")), 4);
    json_object_put(object);

    assert_int_equal(
        post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"5/s\",\"algorithm\":\"token_bucket\"}").status,
        200);
    struct answer answer = get(scene, "/v1/explain/rl:a:k");
    assert_non_null(strstr(answer.body, "\"bucket\":{\"tat_ns\":"));
    assert_problem(get(scene, "/v1/explain/%z"), 400, "bad_path");
}

static uint64_t uint_of(struct json_object *object, const char *name)
{
    struct json_object *member = json_object_object_get(object, name);
    assert_non_null(member);
    return json_object_get_uint64(member);
}

static void a_bucket_is_there_until_the_millisecond_in_which_it_is_full(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(
        post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"5/s\",\"algorithm\":\"token_bucket\"}").status,
        200);
    struct json_object *object = json_tokener_parse(get(scene, "/v1/explain/rl:a:k").body);
    struct json_object *read = json_object_array_get_idx(json_object_object_get(object, "reads"), 0);
    uint64_t tat_ns = uint_of(json_object_object_get(object, "bucket"), "tat_ns");
    uint64_t deadline_ms = uint_of(read, "deadline_ms");
    assert_true(json_object_get_boolean(json_object_object_get(read, "present")));
    assert_true(deadline_ms >= tat_ns / 1000000 && deadline_ms <= tat_ns / 1000000 + 1);
    json_object_put(object);

    fake_app_advance(scene->app, 1000);
    fake_app_tick(scene->app);
    object = json_tokener_parse(get(scene, "/v1/explain/rl:a:k").body);
    read = json_object_array_get_idx(json_object_object_get(object, "reads"), 0);
    assert_false(json_object_get_boolean(json_object_object_get(read, "present")));
    assert_int_equal(uint_of(read, "deadline_ms"), deadline_ms);
    json_object_put(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(an_export_comes_in_pieces_and_is_whole),
        SCENE(before_http_1_1_an_export_ends_with_the_connection),
        SCENE(head_of_an_export_is_its_head),
        SCENE(an_export_that_nobody_takes_is_dropped),
        SCENE(one_export_too_many_is_told_to_wait),
        SCENE(an_archive_is_applied_whole_or_refused_with_its_offset),
        SCENE(results_have_their_status),
        SCENE(an_entry_is_explained),
        SCENE(a_bucket_is_there_until_the_millisecond_in_which_it_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
