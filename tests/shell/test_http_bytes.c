/* The HTTP door on the wire: pipelines, pieces, keep-alive, refusals, garbage. */
#include "service/shell/http_parse.h"
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define HOST "Host: a\r\n"
#define OK "HTTP/1.1 200 OK\r\n" FAKE_DATE
#define COUNTER(n) \
    OK "Content-Length: 22\r\nContent-Type: application/json\r\n\r\n{\"key\":\"n\",\"value\":" n "}\n"

static const char pipeline[] =
    "POST /v1/counters/n HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n{\"delta\":1}"
    "POST /v1/counters/n HTTP/1.1\r\n" HOST
    "Transfer-Encoding: chunked\r\n\r\n4;x\r\n{\"de\r\n7\r\nlta\":2}\r\n0\r\nT: 1\r\n\r\n"
    "HEAD /v1/counters/n HTTP/1.1\r\n" HOST "\r\n"
    "GET /v1/counters/n HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    "GET /healthz HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";

static const char answers[] = COUNTER("1") COUNTER("3") OK
    "Content-Length: 22\r\nContent-Type: application/json\r\n\r\n" OK
    "Content-Length: 22\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n\r\n{\"key\":\"n\",\"value\":3}\n" OK
    "Content-Length: 3\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nok\n";

static void a_pipeline_cut_at_every_byte_gets_the_same_answers(void **state)
{
    (void)state;
    scene_cut_everywhere(tly_http_protocol(), pipeline, answers, true);
}

static void a_pipeline_byte_by_byte_gets_the_same_answers(void **state)
{
    scene_byte_by_byte(*state, pipeline, answers);
}

static void a_strict_prefix_of_a_request_changes_nothing(void **state)
{
    struct scene *scene = *state;
    size_t first = (size_t)(strstr(pipeline, "}POST") + 1 - pipeline);
    for (size_t n = 0; n < first; n++) {
        struct talk *talk = talk_new(scene->app, tly_http_protocol());
        assert_int_equal(talk_say_bytes(talk, tly_slice_of(pipeline, n)).n, 0);
        assert_int_equal(talk_left(talk), n);
        talk_free(talk);
    }
    assert_problem(get(scene, "/v1/counters/n"), 404, "not_found");
}

static void while_answers_pile_up_requests_wait(void **state)
{
    struct scene *scene = *state;
    talk_fill(scene->talk, true);
    assert_string_equal(talk_say(scene->talk, pipeline), "");
    assert_int_equal(talk_left(scene->talk), strlen(pipeline));
    talk_fill(scene->talk, false);
    assert_string_equal(talk_say(scene->talk, ""), answers);
}

static void a_connection_is_kept_as_the_client_wants(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *request, *connection;
    } cases[] = {
        {"GET /healthz HTTP/1.1\r\n" HOST "\r\n", NULL},
        {"GET /healthz HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n", NULL},
        {"GET /healthz HTTP/1.1\r\n" HOST "Connection: x, CLOSE\r\n\r\n", "close"},
        {"GET /healthz HTTP/1.0\r\n\r\n", "close"},
        {"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene one = {scene->app, talk_new(scene->app, tly_http_protocol())};
        struct answer answer = say(&one, cases[i].request);
        const char *connection = header_of(&answer, "Connection");
        if (cases[i].connection == NULL)
            assert_null(connection);
        else
            assert_string_equal(connection, cases[i].connection);
        bool closes = cases[i].connection != NULL && strcmp(cases[i].connection, "close") == 0;
        assert_int_equal(talk_is_closed(one.talk), closes);
        talk_free(one.talk);
    }
}

/* RFC 9110, 6.6.1 and 5.6.7: on every answer, whatever becomes of the request. */
static void an_answer_says_when_it_was_made(void **state)
{
    struct scene *scene = *state;
    static const struct {
        uint64_t later_ms;
        const char *date;
    } cases[] = {
        {0, "Thu, 01 Jan 2026 00:00:00 GMT"},
        {999, "Thu, 01 Jan 2026 00:00:00 GMT"},
        {1, "Thu, 01 Jan 2026 00:00:01 GMT"},
        {UINT64_C(66787) * 86400000, "Thu, 10 Nov 2208 00:00:01 GMT"},
        {43199000, "Thu, 10 Nov 2208 12:00:00 GMT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_app_advance(scene->app, cases[i].later_ms);
        struct answer answer = get(scene, "/healthz");
        assert_string_equal(header_of(&answer, "Date"), cases[i].date);
    }
    struct answer answer = get(scene, "/nope");
    assert_string_equal(header_of(&answer, "Date"), cases[4].date);
    answer = say(scene, "PUT /v1/counters/kv:a HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na");
    assert_int_equal(answer.status, 204);
    assert_string_equal(header_of(&answer, "Date"), cases[4].date);
    answer = say(scene, "nonsense\r\n\r\n");
    assert_string_equal(header_of(&answer, "Date"), cases[4].date);
    assert_problem(answer, 400, "bad_request");
}

static void who_waits_to_be_asked_is_asked(void **state)
{
    struct scene *scene = *state;
    static const char head[] =
        "POST /v1/counters/n HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n";
    assert_string_equal(talk_say(scene->talk, head), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(talk_say(scene->talk, "{\"delta\""), "");
    assert_string_equal(talk_say(scene->talk, ":1}"), COUNTER("1"));
    struct tly_slice whole = talk_say_cut(scene->talk,
                                          tly_slice_text("POST /v1/counters/n HTTP/1.1\r\n" HOST
                                                         "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n"
                                                         "{\"delta\":1}"),
                                          0);
    assert_string_equal((const char *)whole.p, COUNTER("2"));
}

static void too_large_a_body_is_refused_before_it_is_sent(void **state)
{
    struct scene *scene = *state;
    assert_problem(say(scene, "POST /v1/check HTTP/1.1\r\n" HOST
                              "Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"),
                   413, "too_large");
    assert_true(talk_is_closed(scene->talk));
}

static void lost_rhythm_gets_a_reason_and_the_end(void **state)
{
    struct scene *scene = *state;
    static const struct {
        int status;
        const char *code, *said;
    } cases[] = {
        {400, "bad_request", "*1\r\n$4\r\nPING\r\n"},
        {400, "bad_request", "PING\r\n"},
        {400, "bad_request", "\x16\x03\x01\x02"},
        {400, "bad_request", "GET / HTTP/1.1\r\n\r\n"},
        {400, "bad_request",
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /"},
        {501, "not_implemented", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n"},
        {505, "version_not_supported", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        {417, "expectation_failed", "POST / HTTP/1.1\r\n" HOST "Expect: a-miracle\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene one = {scene->app, talk_new(scene->app, tly_http_protocol())};
        struct answer answer = say(&one, cases[i].said);
        assert_string_equal(header_of(&answer, "Connection"), "close");
        assert_problem(answer, cases[i].status, cases[i].code);
        assert_true(talk_is_closed(one.talk));
        talk_free(one.talk);
    }
    char line[TLY_HTTP_LINE_BYTES_MAX + TLY_HTTP_HEAD_BYTES_MAX];
    for (int headers = 0; headers < 2; headers++) {
        int head = snprintf(line, sizeof line, headers ? "GET / HTTP/1.1\r\n" HOST "X: " : "GET /");
        memset(line + head, 'x', sizeof line - 1 - (size_t)head);
        line[sizeof line - 1] = '\0';
        struct scene one = {scene->app, talk_new(scene->app, tly_http_protocol())};
        assert_problem(say(&one, line), headers ? 431 : 414, headers ? "headers_too_large" : "uri_too_long");
        assert_true(talk_is_closed(one.talk));
        talk_free(one.talk);
    }
}

/* Smuggling: whatever the first request hides, the second one is never answered. */
static void nothing_is_answered_behind_a_refusal(void **state)
{
    struct scene *scene = *state;
    const char *all = talk_say(scene->talk, "GET / HTTP/1.1\r\n" HOST "Content-Length : 30\r\n\r\n"
                                            "POST /v1/counters/smuggled HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(strncmp(all, "HTTP/1.1 400 ", 13), 0);
    assert_null(strstr(all + 1, "HTTP/1.1 "));
}

static void garbage_never_breaks_the_door(void **state)
{
    struct scene *scene = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t closed = 0, answered = 0;
    fake_app_fail(scene->app, TLY_OK, 0);
    for (size_t i = 0; i < 100000; i++) {
        struct talk *talk = talk_new(scene->app, tly_http_protocol());
        uint8_t bytes[sizeof pipeline];
        size_t n = 1 + (size_t)test_rng_below(&rng, sizeof pipeline - 1);
        memcpy(bytes, pipeline, n);
        for (uint64_t changes = test_rng_below(&rng, 4); changes > 0; changes--)
            bytes[test_rng_below(&rng, n)] = (uint8_t)test_rng_next(&rng);
        struct tly_slice got =
            talk_say_cut(talk, tly_slice_of(bytes, n), (size_t)test_rng_below(&rng, n + 1));
        claim(got.n == 0 || memcmp(got.p, "HTTP/1.1 ", 9) == 0);
        answered += got.n > 0;
        closed += talk_is_closed(talk);
        talk_free(talk);
    }
    claim(answered > 1000 && closed > 1000 && closed < 99000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_pipeline_cut_at_every_byte_gets_the_same_answers),
        SCENE(a_pipeline_byte_by_byte_gets_the_same_answers),
        SCENE(a_strict_prefix_of_a_request_changes_nothing),
        SCENE(while_answers_pile_up_requests_wait),
        SCENE(a_connection_is_kept_as_the_client_wants),
        SCENE(an_answer_says_when_it_was_made),
        SCENE(who_waits_to_be_asked_is_asked),
        SCENE(too_large_a_body_is_refused_before_it_is_sent),
        SCENE(lost_rhythm_gets_a_reason_and_the_end),
        SCENE(nothing_is_answered_behind_a_refusal),
        SCENE(garbage_never_breaks_the_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
