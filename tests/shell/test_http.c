/* The HTTP door: what a node tells of itself, and counters and values over /v1/counters. */
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON "application/json"

static void assert_body(struct answer answer, int status, const char *body)
{
    assert_string_equal(answer.body, body);
    assert_int_equal(answer.status, status);
}

/* ---- counters ---- */

static void counters_are_read_raised_set_and_deleted(void **state)
{
    struct scene *scene = *state;
    assert_problem(get(scene, "/v1/counters/a"), 404, "not_found");
    struct answer answer = ask(scene, "POST /v1/counters/a", "", NULL);
    assert_string_equal(header_of(&answer, "Content-Type"), JSON);
    assert_body(answer, 200, "{\"key\":\"a\",\"value\":1}\n");
    assert_body(post(scene, "/v1/counters/a", "{\"delta\":-5}"), 200, "{\"key\":\"a\",\"value\":-4}\n");
    assert_body(post(scene, "/v1/counters/a", " {\"value\" : 7} \r\n"), 200, "{\"key\":\"a\",\"value\":7}\n");
    assert_body(get(scene, "/v1/counters/a"), 200, "{\"key\":\"a\",\"value\":7}\n");
    answer = ask(scene, "DELETE /v1/counters/a", "", NULL);
    assert_int_equal(answer.status, 204);
    assert_null(header_of(&answer, "Content-Length"));
    assert_problem(ask(scene, "DELETE /v1/counters/a", "", NULL), 404, "not_found");
    assert_problem(get(scene, "/v1/counters/a"), 404, "not_found");
}

static void a_deadline_is_shown_and_kept(void **state)
{
    struct scene *scene = *state;
    char body[128], expected[128];
    uint64_t deadline = FAKE_WALL_MS + 1000;
    (void)snprintf(body, sizeof body, "{\"value\":7,\"deadline_ms\":%" PRIu64 "}", deadline);
    (void)snprintf(expected, sizeof expected, "{\"key\":\"a\",\"value\":7,\"deadline_ms\":%" PRIu64 "}\n",
                   deadline);
    assert_body(post(scene, "/v1/counters/a", body), 200, expected);
    fake_app_advance(scene->app, 1000);
    assert_problem(get(scene, "/v1/counters/a"), 404, "not_found");
}

static void epoch_keys_have_epoch_and_count(void **state)
{
    struct scene *scene = *state;
    assert_body(post(scene, "/v1/counters/em:a", "{\"epoch\":6,\"count\":0}"), 200,
                "{\"epoch\":6,\"count\":0}\n");
    assert_body(post(scene, "/v1/counters/em:a", "{\"epoch\":5,\"count\":9}"), 200,
                "{\"epoch\":6,\"count\":0}\n");
    static const char extreme[] = "{\"epoch\":18446744073709551615,\"count\":-9223372036854775808}";
    assert_int_equal(post(scene, "/v1/counters/em:a", extreme).status, 200);
    struct answer answer = get(scene, "/v1/counters/em:a");
    assert_int_equal(strncmp(answer.body, extreme, strlen(extreme)), 0);
}

static void text_lives_under_kv(void **state)
{
    struct scene *scene = *state;
    assert_body(post(scene, "/v1/counters/kv:a", "{\"value\":\"h\\u00e9 \\\"q\\\"\\n\"}"), 200,
                "{\"value\":\"h\xc3\xa9 \\\"q\\\"\\n\"}\n");
    assert_body(get(scene, "/v1/counters/kv:a"), 200, "{\"value\":\"h\xc3\xa9 \\\"q\\\"\\n\"}\n");
}

static void bytes_that_are_no_text_come_in_base64(void **state)
{
    struct scene *scene = *state;
    static const char *const shown[] = {"/w==", "//4=", "//79", "//79AA=="};
    for (size_t n = 1; n <= 4; n++) {
        struct tly_request request = {.kind = TLY_ASK_PUT, .key = tly_slice_text("kv:b")};
        struct tly_reply reply;
        char expected[64];
        request.bytes = tly_slice_of("\xff\xfe\xfd\x00", n);
        assert_int_equal(tly_app_ask(scene->app, &request, &reply), TLY_OK);
        (void)snprintf(expected, sizeof expected, "{\"value_base64\":\"%s\"}\n", shown[n - 1]);
        assert_body(get(scene, "/v1/counters/kv:b"), 200, expected);
    }
}

static void keys_are_any_bytes(void **state)
{
    struct scene *scene = *state;
    assert_body(post(scene, "/v1/counters/a%20b/c%2Fd?x", ""), 200, "{\"key\":\"a b/c/d\",\"value\":1}\n");
    assert_body(get(scene, "/v1/counters/a%20b%2fc/d"), 200, "{\"key\":\"a b/c/d\",\"value\":1}\n");
    assert_body(post(scene, "/v1/counters/a+b", ""), 200, "{\"key\":\"a+b\",\"value\":1}\n");
    assert_body(post(scene, "/v1/counters/%ff%22", ""), 200, "{\"key\":\"\xef\xbf\xbd\\\"\",\"value\":1}\n");
    assert_problem(post(scene, "/v1/counters/%zz", ""), 400, "bad_path");
    assert_problem(get(scene, "/v1/counters/"), 404, "no_route");
    char target[700];
    (void)snprintf(target, sizeof target, "/v1/counters/%0512d", 0);
    assert_int_equal(post(scene, target, "").status, 200);
    (void)snprintf(target, sizeof target, "/v1/counters/%0513d", 0);
    assert_problem(post(scene, target, ""), 400, "bad_key");
}

static void what_does_not_fit_the_key_is_a_conflict(void **state)
{
    struct scene *scene = *state;
    assert_problem(post(scene, "/v1/counters/kv:a", "{\"delta\":1}"), 409, "wrong_strategy");
    assert_problem(post(scene, "/v1/counters/kv:a", "{\"value\":1}"), 409, "wrong_strategy");
    assert_problem(post(scene, "/v1/counters/a", "{\"value\":\"x\"}"), 409, "wrong_strategy");
    assert_problem(post(scene, "/v1/counters/a", "{\"epoch\":1,\"count\":1}"), 409, "wrong_strategy");
    assert_problem(post(scene, "/v1/counters/em:a", ""), 409, "wrong_strategy");
    assert_int_equal(post(scene, "/v1/counters/a", "{\"value\":9223372036854775807}").status, 200);
    assert_problem(post(scene, "/v1/counters/a", ""), 409, "overflow");
    assert_problem(post(scene, "/v1/counters/sys:a", "{\"value\":\"x\"}"), 403, "read_only");
    assert_problem(post(scene, "/v1/counters/rl:a", ""), 403, "read_only");
}

static void a_malformed_change_changes_nothing(void **state)
{
    struct scene *scene = *state;
    static const char *const changes[] = {"[]",
                                          "{}",
                                          "{\"delta\":1.5}",
                                          "{\"delta\":\"1\"}",
                                          "{\"delta\":null}",
                                          "{\"delta\":9223372036854775808}",
                                          "{\"delta\":1,\"value\":1}",
                                          "{\"delta\":1,\"deadline_ms\":5}",
                                          "{\"value\":true}",
                                          "{\"value\":1,\"deadline_ms\":-5}",
                                          "{\"epoch\":1}",
                                          "{\"count\":1}",
                                          "{\"epoch\":-1,\"count\":1}",
                                          "{\"deadline_ms\":5}",
                                          "{\"Delta\":1}"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        assert_problem(post(scene, "/v1/counters/a", changes[i]), 400, "bad_change");
    assert_problem(get(scene, "/v1/counters/a"), 404, "not_found");
}

static void what_is_no_json_is_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const texts[] = {"{",
                                        "{\"delta\":1",
                                        "{\"delta\":1}x",
                                        "{\"delta\":1}{}",
                                        "{'delta':1}",
                                        "nonsense",
                                        "null",
                                        "{\"delta\":1,}",
                                        "{\"a\":\"\xff\"}",
                                        "{\"a\":\"\xc3\x28\"}",
                                        "\x01{}",
                                        "{\"a\":\"\xed\xa0\x80\"}",
                                        "{\"a\":\"\x01\"}",
                                        "{\"a\":\"\n\"}",
                                        "{\"delta\":00}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_problem(post(scene, "/v1/counters/a", texts[i]), 400, "bad_json");
    assert_problem(get(scene, "/v1/counters/a"), 404, "not_found");
}

static void json_that_is_no_object_is_not_called_cut_off(void **state)
{
    struct scene *scene = *state;
    static const char *const whole[] = {"null", "3", "-0", "true", "\"x\""};
    static const char *const cut[] = {"", " ", "-", "tru", "{\"delta\":1", "[", "\"x", "{\"a\":\"\\u00"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        struct answer answer = post(scene, "/v1/check", whole[i]);
        assert_int_equal(answer.status, 400);
        assert_null(strstr(answer.body, "too early"));
    }
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        struct answer answer = post(scene, "/v1/check", cut[i]);
        assert_non_null(strstr(answer.body, "the JSON text ends too early"));
        assert_problem(answer, 400, "bad_json");
    }
}

/* What a lenient parser takes for something near. */
static void json_that_would_read_as_something_else_is_refused(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *key, *text, *why;
    } cases[] = {
        {"em:a", "{\"epoch\":18446744073709551616,\"count\":1}", "more than 64 bits"},
        {"a", "{\"delta\":-9223372036854775809}", "more than 64 bits"},
        {"a", "{\"delta\":1234567890123456789012345}", "more than 64 bits"},
        {"kv:a", "{\"value\":\"\\ud800\"}", "surrogate"},
        {"kv:a", "{\"value\":\"\\udc00\\ud800\"}", "surrogate"},
        {"kv:a", "{\"value\":\"\\ud83dx\"}", "surrogate"},
        {"kv:a", "{\"value\":\"\\ud83d\\\\ude00\"}", "surrogate"},
        {"kv:a", "{\"value\\u0000x\" : \"a\"}", "zero"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/v1/counters/%s", cases[i].key);
        struct answer answer = post(scene, path, cases[i].text);
        assert_non_null(strstr(answer.body, cases[i].why));
        assert_problem(answer, 400, "bad_json");
        assert_problem(get(scene, path), 404, "not_found");
    }
    assert_body(
        post(scene, "/v1/counters/em:a", "{\"epoch\":18446744073709551615,\"count\":-9223372036854775808}"),
        200, "{\"epoch\":18446744073709551615,\"count\":-9223372036854775808}\n");
    assert_body(post(scene, "/v1/counters/kv:a",
                     "{\"value\":\"\\ud83d\\ude00\\u0000\\\\u0000 123456789012345678901\"}"),
                200, "{\"value\":\"\xf0\x9f\x98\x80\\u0000\\\\u0000 123456789012345678901\"}\n");
}

/* "[[[…]]]" and its kin: what a parser would make a hundred times as much of. */
static void json_that_is_deep_or_wide_is_refused(void **state)
{
    struct scene *scene = *state;
    size_t n = 1000000;
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, '[', n);
    text[n] = '\0';
    assert_problem(post(scene, "/v1/check", text), 400, "bad_json");
    memset(text, '[', 20);
    memset(text + 20, ']', 20);
    text[40] = '\0';
    assert_problem(post(scene, "/v1/check", text), 400, "bad_json");
    text[0] = '[';
    for (size_t i = 1; i + 2 < n; i += 3)
        memcpy(text + i, "{},", 3);
    text[n] = '\0';
    assert_problem(post(scene, "/v1/check", text), 400, "bad_json");
    for (size_t i = 1; i + 1 < n; i += 2)
        memcpy(text + i, "1,", 2);
    assert_problem(post(scene, "/v1/check", text), 400, "bad_json");
    free(text);
}

static void a_body_in_chunks_is_one_body(void **state)
{
    struct scene *scene = *state;
    static const char head[] =
        "POST /v1/counters/kv:a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    char text[512];
    /* Cut inside a character of two bytes. */
    (void)snprintf(text, sizeof text, "%sb\r\n{\"value\":\"\xc3\r\n3\r\n\xa9\"}\r\n0\r\n\r\n", head);
    assert_body(say(scene, text), 200, "{\"value\":\"\xc3\xa9\"}\n");
    (void)snprintf(text, sizeof text,
                   "POST /v1/counters/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_body(say(scene, text), 200, "{\"key\":\"a\",\"value\":1}\n");
}

/* ---- routes ---- */

static void each_route_takes_its_methods(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *line, *allow;
    } cases[] = {
        {"PUT /v1/check", "POST"},
        {"GET /v1/check", "POST"},
        {"PATCH /v1/counters/a", "GET, HEAD, POST, PUT, DELETE"},
        {"POST /v1/watch", "GET"},
        {"POST /metrics", "GET, HEAD"},
        {"DELETE /", "GET, HEAD"},
        {"OPTIONS /v1/cluster", "GET, HEAD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer answer = ask(scene, cases[i].line, "", NULL);
        assert_string_equal(header_of(&answer, "Allow"), cases[i].allow);
        assert_problem(answer, 405, "method_not_allowed");
    }
    static const char *const nowhere[] = {"/nope",  "/v1",     "/v1/", "/v1/checks", "/metrics/",
                                          "/check", "/check/", "//",   "/healthz/x"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        assert_problem(get(scene, nowhere[i]), 404, "no_route");
    assert_problem(ask(scene, "OPTIONS *", "", NULL), 404, "no_route");
}

static void a_page_of_another_site_changes_nothing(void **state)
{
    struct scene *scene = *state;
    static const char *const foreign[] = {
        "Origin: http://evil.test\r\n",    "Origin: null\r\n",
        "Origin: http://evil.test:80\r\n", "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",   "Origin: http://xtally.test\r\n",
    };
    static const char *const own[] = {"Origin: http://tally.test\r\n", "Sec-Fetch-Site: none\r\n", "",
                                      "Sec-Fetch-Site: same-origin\r\nOrigin: http://tally.test\r\n"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_problem(ask(scene, "POST /v1/counters/a", foreign[i], "{\"delta\":1}"), 403, "cross_site");
        assert_problem(ask(scene, "DELETE /v1/counters/a", foreign[i], NULL), 403, "cross_site");
        assert_problem(ask(scene, "GET /v1/counters/a", foreign[i], NULL), 404, "not_found");
        assert_problem(ask(scene, "POST /check/api", foreign[i], NULL), 404, "no_limit");
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        assert_int_equal(ask(scene, "POST /v1/counters/a", own[i], "{\"delta\":1}").status, 200);
}

static void a_put_takes_bytes_of_the_strategys_raw_form(void **state)
{
    struct scene *scene = *state;
    static const char *const wrong[] = {"", "15 bytes, a few", "17 bytes are many"};
    for (size_t i = 0; i < 3; i++) {
        assert_problem(ask(scene, "PUT /v1/counters/em:a", "", wrong[i]), 400, "bad_raw");
        assert_problem(get(scene, "/v1/counters/em:a"), 404, "not_found");
    }
    assert_int_equal(ask(scene, "PUT /v1/counters/em:a", "",
                         "epoch as\x7f"
                         "letters")
                         .status,
                     204);
    assert_body(get(scene, "/v1/counters/em:a"), 200,
                "{\"epoch\":7309464667961713011,\"count\":9181825291145015923}\n");
    static const char bytes[] = "Accept: application/octet-stream\r\n";
    struct answer answer = ask(scene, "GET /v1/counters/em:a", bytes, NULL);
    assert_string_equal(answer.body, "epoch as\x7f"
                                     "letters");
    assert_string_equal(header_of(&answer, "Content-Type"), "application/octet-stream");
    assert_problem(ask(scene, "PUT /v1/counters/counter", "", "x"), 409, "wrong_strategy");
    assert_problem(ask(scene, "PUT /v1/counters/rl:x", "", "x"), 403, "read_only");
    assert_int_equal(ask(scene, "PUT /v1/counters/kv:a", "", "").status, 204);
    assert_body(get(scene, "/v1/counters/kv:a"), 200, "{\"value\":\"\"}\n");
}

static void head_is_get_without_a_body(void **state)
{
    struct scene *scene = *state;
    static const char *const targets[] = {"/", "/healthz", "/v1/limits", "/v1/counters/nope", "/nope"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char line[64], head[1024];
        struct answer answer = get(scene, targets[i]);
        (void)snprintf(head, sizeof head, "%s", answer.head);
        (void)snprintf(line, sizeof line, "HEAD %s", targets[i]);
        assert_string_equal(ask(scene, line, "", NULL).head, head);
    }
}

static void health_and_readiness(void **state)
{
    struct scene *scene = *state;
    assert_body(get(scene, "/healthz"), 200, "ok\n");
    assert_body(get(scene, "/readyz"), 200, "ok\n");
    fake_app_unready(scene->app, "store: the disk is full\nclock: not set\n");
    assert_body(get(scene, "/readyz"), 503, "store: the disk is full\nclock: not set\n");
    assert_body(get(scene, "/healthz"), 200, "ok\n");
}

static void names_and_values_of_queries_are_decoded(void **state)
{
    struct scene *scene = *state;
    struct answer answer = post(scene, "/v1/counters/ctr:a?%61ck=%30", "{\"delta\":1}");
    assert_non_null(strstr(answer.head, "Tally-Ack: queued"));
    assert_non_null(strstr(get(scene, "/v1/cluster?d%69gest=%31").body, "\"digest\":"));
    assert_non_null(strstr(get(scene, "/v1/prefixes/ctr:?strateg%79=l%77w").body, "lww"));
    static const char *const malformed[] = {"/v1/counters/ctr:a?ack=%zz", "/v1/counters/ctr:a?x=1&%4=1",
                                            "/v1/cluster?digest=%",       "/v1/watch?prefix=%1x",
                                            "/v1/prefixes/x:?strategy=%", "/v1/export?x=100%"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        assert_problem(get(scene, malformed[i]), 400, "bad_query");
}

/* C15. */
static void a_write_waits_for_other_nodes_if_it_is_told_to(void **state)
{
    struct scene *scene = *state;
    struct answer answer = post(scene, "/v1/counters/ctr:a?ack=0", "{\"delta\":1}");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.head, "Tally-Ack: queued; sent=0; merged=0; durable=0"));
    assert_problem(post(scene, "/v1/counters/ctr:b?ack=1025", "{\"delta\":1}"), 400, "bad_query");
    assert_problem(get(scene, "/v1/counters/ctr:b"), 404, "not_found");
    const char *request = "POST /v1/counters/ctr:a?ack=1&timeout_ms=50 HTTP/1.1\r\nHost: x\r\n\r\n"
                          "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_string_equal(talk_say(scene->talk, request), "");
    fake_app_advance(scene->app, 50);
    fake_app_tick(scene->app);
    const char *said = talk_say(scene->talk, "");
    assert_non_null(strstr(said, "Tally-Ack: queued; sent=0; merged=0; durable=0\r\n"));
    assert_non_null(strstr(said, "{\"key\":\"ctr:a\",\"value\":2}"));
    assert_non_null(strstr(said, "\r\n\r\nok\n"));
    assert_string_equal(talk_say(scene->talk, request), ""); /* and the client goes */
}

static void the_root_names_every_route(void **state)
{
    struct scene *scene = *state;
    struct answer answer = get(scene, "/");
    static const char *const routes[] = {"/check/",      "/v1/check",   "/v1/counters/", "/v1/cluster",
                                         "/v1/peers",    "/v1/limits",  "/v1/export",    "/v1/apply",
                                         "/v1/explain/", "/metrics",    "/healthz",      "/readyz",
                                         "/v1/sync",     "/v1/snapshot"};
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        assert_non_null(strstr(answer.body, routes[i]));
}

static const char *string_of(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, name, &value));
    return json_object_get_string(value);
}

static void the_cluster_is_told_of(void **state)
{
    struct scene *scene = *state;
    struct json_object *digest = NULL, *object = json_tokener_parse(get(scene, "/v1/cluster").body);
    assert_non_null(object);
    assert_string_equal(string_of(object, "name"), "node-a");
    assert_string_equal(string_of(object, "cluster"), "test");
    assert_string_equal(string_of(object, "origin"), "0000000000abcdef");
    assert_string_equal(string_of(object, "peers"), "[ ]");
    assert_false(json_object_object_get_ex(object, "digest", &digest));
    json_object_put(object);
    object = json_tokener_parse(get(scene, "/v1/cluster?x&digest=1").body);
    assert_int_equal(strlen(string_of(object, "digest")), 16);
    json_object_put(object);
    assert_body(get(scene, "/v1/peers"), 200, "[]\n");
}

static void the_limits_are_told_of(void **state)
{
    struct scene *scene = *state;
    assert_body(get(scene, "/v1/limits"), 200, "[]\n");
    static const char *const fields[] = {"tenant", "ip", NULL};
    fake_app_limit(scene->app, "api", "100/10s", TLY_SLIDING_WINDOW, fields);
    assert_body(
        get(scene, "/v1/limits"), 200,
        "[{\"name\":\"api\",\"key\":[\"tenant\",\"ip\"],\"limit\":100,\"window_ms\":10000,"
        "\"algorithm\":\"sliding_window\",\"mode\":\"optimistic\",\"on_partition\":\"open\",\"shadow\":false}]\n");
}

/* The one limit there is, with a cap. */
static void cap_limit(struct tly_app *app)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = *tly_rules_at(tly_engine_rules(tly_app_engine(app)), 0);
    assert_non_null(rules);
    rule.rate.mode = TLY_CAPPED;
    rule.rate.cap = 1;
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(tly_app_engine(app), rules);
}

static void a_limit_says_how_hard_it_is_now(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL};
    fake_app_limit(scene->app, "api", "2/10s", TLY_FIXED_WINDOW, fields);
    assert_int_equal(get(scene, "/v1/limits/nope").status, 404);
    assert_int_equal(get(scene, "/v1/limits/a%2").status, 400);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t\"}}").status,
                         200);
    assert_body(
        get(scene, "/v1/limits/api"), 200,
        "{\"name\":\"api\",\"key\":[\"tenant\"],\"limit\":2,\"window_ms\":10000,"
        "\"algorithm\":\"fixed_window\",\"mode\":\"optimistic\",\"on_partition\":\"open\",\"shadow\":false,"
        "\"bound\":0,\"formula\":\"the sum of unseen over the others, of the key where it is greatest, + lost * "
        "limit; at most (members - 1) * limit\",\"inputs\":{\"members\":1,\"lost\":0,\"ended_lives\":0,"
        "\"joined\":true,\"flush_ms\":10,\"horizon_ms\":300,\"watched_keys\":0},\"others\":[]}\n");
    /* Alone it watches only what is capped. */
    cap_limit(scene->app);
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t\"}}").status, 429);
    assert_non_null(strstr(get(scene, "/v1/limits/api").body,
                           "\"watched_keys\":1},\"worst_key\":\"rl:n:api:t\",\"others\":[]}\n"));
}

/* ---- metrics ---- */

static size_t name_bytes(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    return n;
}

/* One of a histogram: steps, or their sum, or how many. */
static bool is_of_histogram(const char *name, const char *family)
{
    size_t n = strlen(family);
    const char *rest = name + n;
    return strncmp(name, family, n) == 0 &&
           (strncmp(rest, "_bucket{", 8) == 0 || strncmp(rest, "_sum", 4) == 0 ||
            strncmp(rest, "_count", 6) == 0);
}

/* Text format 0.0.4: HELP and TYPE once for each family, before its samples; a counter's name ends in _total. */
static void metrics_are_well_formed(void **state)
{
    struct scene *scene = *state;
    struct answer answer = get(scene, "/metrics");
    assert_string_equal(header_of(&answer, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    char *text = strdup(answer.body), *save = NULL, family[128] = "", kind[16] = "";
    size_t samples = 0, families = 0, histograms = 0;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            (void)snprintf(family, sizeof family, "%.*s", (int)name_bytes(line + 7), line + 7);
            assert_true(strlen(line + 7 + strlen(family)) > 5);
            families++;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
            (void)snprintf(kind, sizeof kind, "%s", line + 8 + strlen(family));
            assert_true(strcmp(kind, "gauge") == 0 || strcmp(kind, "counter") == 0 ||
                        strcmp(kind, "histogram") == 0);
            histograms += strcmp(kind, "histogram") == 0;
        } else if (strcmp(kind, "histogram") == 0) {
            assert_true(is_of_histogram(line, family));
            assert_true(isdigit((unsigned char)strrchr(line, ' ')[1]));
        } else {
            size_t n = name_bytes(line);
            assert_true(n == strlen(family) && strncmp(line, family, n) == 0 &&
                        strncmp(line, "tally_", 6) == 0);
            assert_int_equal(strcmp(kind, "counter") == 0, n > 6 && strncmp(line + n - 6, "_total", 6) == 0);
            assert_true(isdigit((unsigned char)strrchr(line, ' ')[1]));
            samples++;
        }
    }
    assert_true(samples + histograms == families && samples > 30 && histograms == 2);
    free(text);
}

static void metrics_move_with_what_happens(void **state)
{
    struct scene *scene = *state;
    assert_non_null(strstr(get(scene, "/metrics").body, "\ntally_checks_ok_total 0\n"));
    assert_int_equal(post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"5/s\"}").status, 200);
    assert_non_null(strstr(get(scene, "/metrics").body, "\ntally_checks_ok_total 1\n"));
    assert_non_null(strstr(get(scene, "/metrics").body, "\ntally_ready 1\n"));
    fake_app_unready(scene->app, "store: x\n");
    assert_non_null(strstr(get(scene, "/metrics").body, "\ntally_ready 0\n"));
    assert_int_equal(talk_requests(scene->talk), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(counters_are_read_raised_set_and_deleted),
        SCENE(a_deadline_is_shown_and_kept),
        SCENE(epoch_keys_have_epoch_and_count),
        SCENE(text_lives_under_kv),
        SCENE(bytes_that_are_no_text_come_in_base64),
        SCENE(keys_are_any_bytes),
        SCENE(what_does_not_fit_the_key_is_a_conflict),
        SCENE(a_malformed_change_changes_nothing),
        SCENE(what_is_no_json_is_refused),
        SCENE(json_that_is_no_object_is_not_called_cut_off),
        SCENE(json_that_would_read_as_something_else_is_refused),
        SCENE(json_that_is_deep_or_wide_is_refused),
        SCENE(a_body_in_chunks_is_one_body),
        SCENE(each_route_takes_its_methods),
        SCENE(a_page_of_another_site_changes_nothing),
        SCENE(a_put_takes_bytes_of_the_strategys_raw_form),
        SCENE(head_is_get_without_a_body),
        SCENE(health_and_readiness),
        SCENE(names_and_values_of_queries_are_decoded),
        SCENE(a_write_waits_for_other_nodes_if_it_is_told_to),
        SCENE(the_root_names_every_route),
        SCENE(the_cluster_is_told_of),
        SCENE(the_limits_are_told_of),
        SCENE(a_limit_says_how_hard_it_is_now),
        SCENE(metrics_are_well_formed),
        SCENE(metrics_move_with_what_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
