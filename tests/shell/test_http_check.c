/* The HTTP door's checks: POST /v1/check, and /check/LIMIT for proxies. */
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const tenant[] = {"tenant", NULL};
static const char *const usual[] = {"ip", "host", "path", "method", "scheme", NULL};

/* How many units the named limit has left for these fields, asked without counting. */
static uint64_t left(struct scene *scene, const char *limit, const struct tly_field *fields, size_t count)
{
    struct tly_request request = {
        .kind = TLY_ASK_CHECK,
        .check = {.limit = tly_slice_text(limit), .fields = fields, .field_count = count}};
    struct tly_reply reply;
    assert_int_equal(tly_app_ask(scene->app, &request, &reply), TLY_OK);
    return reply.verdict.remaining;
}

static struct tly_field field(const char *name, const char *value)
{
    return (struct tly_field){tly_slice_text(name), tly_slice_text(value)};
}

/* ---- POST /v1/check ---- */

static void an_ad_hoc_check_needs_no_rule(void **state)
{
    struct scene *scene = *state;
    static const char asked[] =
        "{\"key\":\"any bytes\",\"rate\":\"2/10s\",\"algorithm\":\"fixed_window\",\"hits\":1}";
    struct answer answer = post(scene, "/v1/check", asked);
    assert_int_equal(answer.status, 200);
    assert_string_equal(
        answer.body, "{\"code\":\"ok\",\"limit\":2,\"remaining\":1,\"reset_ms\":10000,\"retry_after_ms\":0,"
                     "\"window_ms\":10000,\"algorithm\":\"fixed_window\",\"mode\":\"optimistic\",\"bound\":0,"
                     "\"reason\":\"none\",\"why\":\"0 used + 1 hits of 2\"}\n");
    fake_app_advance(scene->app, 1877);
    assert_int_equal(post(scene, "/v1/check", asked).status, 200);
    answer = post(scene, "/v1/check", asked);
    assert_int_equal(answer.status, 429);
    assert_string_equal(
        answer.body,
        "{\"code\":\"over\",\"limit\":2,\"remaining\":0,\"reset_ms\":8123,\"retry_after_ms\":8123,"
        "\"window_ms\":10000,\"algorithm\":\"fixed_window\",\"mode\":\"optimistic\",\"bound\":0,"
        "\"reason\":\"limit\",\"why\":\"2 used + 1 hits of 2\"}\n");
    assert_string_equal(header_of(&answer, "Retry-After"), "9");
    assert_string_equal(header_of(&answer, "Content-Type"), "application/json");
}

static void a_named_check_takes_its_fields(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "1/10s", TLY_FIXED_WINDOW, tenant);
    struct answer answer = post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"}}");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"algorithm\":\"fixed_window\",\"name\":\"api\",\"mode\""));
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"}}").status, 429);
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t2\"}}").status, 200);
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":42}}").status, 200);
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"42\"}}").status, 429);
    assert_int_equal(post(scene, "/v1/check", "{\"limit\":\"api\"}").status, 200);
}

static void defaults_are_one_hit_and_a_sliding_window(void **state)
{
    struct scene *scene = *state;
    struct answer answer = post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"3/s\"}");
    assert_non_null(strstr(answer.body, "\"remaining\":2,"));
    assert_non_null(strstr(answer.body, "\"algorithm\":\"sliding_window\""));
}

static void no_hits_only_look(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < 3; i++) {
        struct answer answer = post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"1/10s\",\"hits\":0}");
        assert_int_equal(answer.status, 200);
        assert_non_null(strstr(answer.body, "\"remaining\":1,"));
    }
}

static void a_bucket_has_a_burst(void **state)
{
    struct scene *scene = *state;
    static const char asked[] = "{\"key\":\"k\",\"rate\":\"1/s\",\"algorithm\":\"token_bucket\",\"burst\":3}";
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(post(scene, "/v1/check", asked).status, 200);
    assert_int_equal(post(scene, "/v1/check", asked).status, 429);
}

static void hits_that_can_never_pass_get_no_time_to_wait(void **state)
{
    struct scene *scene = *state;
    struct answer answer = post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"1/10s\",\"hits\":2}");
    assert_int_equal(answer.status, 429);
    assert_non_null(strstr(answer.body, "\"retry_after_ms\":-1,"));
    assert_null(header_of(&answer, "Retry-After"));
}

static void a_bad_check_says_what_is_wrong(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *asked, *detail;
    } cases[] = {
        {"{}", "either \\\"limit\\\""},
        {"{\"key\":\"k\"}", "either \\\"limit\\\""},
        {"{\"rate\":\"1/s\"}", "either \\\"limit\\\""},
        {"{\"key\":{\"a\":\"b\"},\"rate\":\"1/s\"}", "either \\\"limit\\\""},
        {"{\"limit\":\"api\",\"rate\":\"1/s\"}", "a named limit has its own rate"},
        {"{\"limit\":\"api\",\"key\":\"k\"}", "a named limit has its own rate"},
        {"{\"limit\":\"\"}", "limit: "},
        {"{\"limit\":5}", "limit: "},
        {"{\"key\":5,\"rate\":\"1/s\"}", "key: "},
        {"{\"limit\":\"api\",\"key\":{\"a\":null}}", "key: "},
        {"{\"limit\":\"api\",\"key\":{\"a\":1.5}}", "key: "},
        {"{\"key\":\"k\",\"rate\":\"fast\"}", "rate: "},
        {"{\"key\":\"k\",\"rate\":5}", "rate: "},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"algorithm\":\"magic\"}", "algorithm: one of sliding_window"},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"burst\":-1}", "burst: "},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"hits\":-1}", "hits: "},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"hits\":1.0}", "hits: "},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"hits\":4294967296}", "hits: "},
        {"{\"key\":\"k\",\"rate\":\"1/s\",\"hit\":1}", "no such member: \\\"hit\\\""},
        {"{\"checks\":1}", "no such member: \\\"checks\\\""},
#define BAD(more) "{\"key\":\"k\"," more "}"
        {BAD("\"rate\":\"1/s\",\"burst\":5"), "burst goes with algorithm: token_bucket only"},
        {BAD("\"rate\":\"1/mo\""), "a month or a year goes with algorithm: quota only"},
        {BAD("\"rate\":\"5/10s\",\"algorithm\":\"concurrency\""), "are for limits with a name"},
        {BAD("\"rate\":\"2000000/1ms\",\"algorithm\":\"token_bucket\""),
         "rate and burst: a bucket of at most one"},
        {BAD("\"rate\":\"1/365d\",\"algorithm\":\"token_bucket\",\"burst\":2"), "filled within 366 days"},
        {BAD("\"rate\":\"1/s\",\"mode\":\"capped: 5\",\"on_partition\":\"share\""),
         "on_partition: closed or open goes with mode: capped"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer answer = post(scene, "/v1/check", cases[i].asked);
        if (strstr(answer.body, cases[i].detail) == NULL)
            print_message("%s\n%s", cases[i].asked, answer.body);
        assert_non_null(strstr(answer.body, cases[i].detail));
        assert_problem(answer, 400, "bad_check");
    }
    assert_problem(post(scene, "/v1/check", ""), 400, "bad_json");
    assert_problem(post(scene, "/v1/check", "{\"limit\":\"nope\"}"), 404, "no_limit");
    assert_problem(post(scene, "/v1/check", "{\"key\":\"\",\"rate\":\"1/s\"}"), 400, "bad_key");
}

static void what_the_engine_refuses_has_its_code(void **state)
{
    struct scene *scene = *state;
    static const struct {
        enum tly_result result;
        int status;
    } cases[] = {{TLY_NOMEM, 503}, {TLY_FULL, 507}, {TLY_BAD_RULE, 400}, {TLY_CLOCK_END, 503}, {TLY_IO, 500}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_app_fail(scene->app, cases[i].result, 1);
        assert_problem(post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"1/s\"}"), cases[i].status,
                       tly_result_name(cases[i].result));
    }
}

static void many_checks_are_answered_in_order(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "1/10s", TLY_FIXED_WINDOW, tenant);
#define CHECKS "[{\"limit\":\"api\"},{\"limit\":\"api\"},{\"limit\":\"nope\"},{\"hits\":1}]"
#define RESULT(code, retry, reason, why)                                                                        \
    "{\"code\":\"" code "\",\"limit\":1,\"remaining\":0,\"reset_ms\":10000,\"retry_after_ms\":" retry           \
    ",\"window_ms\":10000,\"algorithm\":\"fixed_window\",\"name\":\"api\",\"mode\":\"optimistic\",\"bound\":0," \
    "\"reason\":\"" reason "\",\"why\":\"" why " + 1 hits of 1\"},"
#define EXPECTED(first) \
    "{\"results\":[" RESULT("ok", "0", "none", first) RESULT("over", "10000", "limit", "1 used") REST
#define REST                                                                                                    \
    "{\"code\":\"no_limit\",\"detail\":\"no limit of that name\"},"                                             \
    "{\"code\":\"bad_check\",\"detail\":\"either \\\"limit\\\" with the fields of its key, or \\\"key\\\" and " \
    "\\\"rate\\\"\"}]}\n"
    struct answer answer = post(scene, "/v1/check", CHECKS);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, EXPECTED("0 used"));
    fake_app_advance(scene->app, 10000);
    assert_string_equal(post(scene, "/v1/check", "{\"checks\":" CHECKS "}").body, EXPECTED("0 used"));
    assert_string_equal(post(scene, "/v1/check", "[]").body, "{\"results\":[]}\n");
}

static void a_thousand_checks_are_taken_and_one_more_is_not(void **state)
{
    struct scene *scene = *state;
    char *text = malloc(64 * 1024), *at = text;
    assert_non_null(text);
    at += sprintf(at, "[");
    for (size_t i = 0; i < 1000; i++)
        at += sprintf(at, "{\"key\":\"k%zu\",\"rate\":\"1/s\"}%s", i, i < 999 ? "," : "");
    (void)sprintf(at, "]");
    assert_int_equal(post(scene, "/v1/check", text).status, 200);
    (void)sprintf(at, ",{}]");
    assert_problem(post(scene, "/v1/check", text), 400, "bad_check");
    free(text);
}

#define SEVERAL(hits, more)                                                           \
    "{\"limits\":[{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"},\"hits\":" hits "}," \
    "{\"key\":\"all\",\"rate\":\"9/10s\",\"hits\":" hits "}]" more "}"

static void several_limits_are_charged_all_or_none(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "5/10s", TLY_FIXED_WINDOW, tenant);
    struct tly_field t1 = field("tenant", "t1");
    struct answer answer = post(scene, "/v1/check", SEVERAL("3", ""));
    assert_int_equal(answer.status, 200);
    assert_int_equal(strncmp(answer.body, "{\"code\":\"ok\",\"limits\":[{\"code\":\"ok\"", 35), 0);
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=2;t=10");
    answer = post(scene, "/v1/check", SEVERAL("3", ""));
    assert_int_equal(answer.status, 429);
    assert_int_equal(strncmp(answer.body, "{\"code\":\"over\",\"limits\":[{\"code\":\"over\"", 39), 0);
    assert_non_null(strstr(answer.body, "{\"code\":\"ok\",\"limit\":9,\"remaining\":6,"));
    assert_non_null(strstr(answer.body, "\"3 used + 0 hits of 9\"")); /* it was only looked at */
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=2;t=10");
    assert_string_equal(header_of(&answer, "Retry-After"), "10");
    assert_int_equal(left(scene, "api", &t1, 1), 2);
    answer = post(scene, "/v1/check", "[" SEVERAL("2", "") "," SEVERAL("1", ",\"charge\":\"all\"") "]");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "{\"code\":\"ok\",\"limit\":9,\"remaining\":3,"));
    assert_int_equal(left(scene, "api", &t1, 1), 0);
    assert_int_equal(post(scene, "/v1/check", SEVERAL("0", "")).status, 200);
    assert_problem(post(scene, "/v1/check", SEVERAL("1", ",\"charge\":\"some\"")), 400, "bad_check");
    assert_problem(post(scene, "/v1/check", SEVERAL("1", ",\"hits\":1")), 400, "bad_check");
    assert_problem(post(scene, "/v1/check", "{\"limits\":[]}"), 400, "bad_check");
    assert_problem(post(scene, "/v1/check", "{\"limits\":[{\"limits\":[]}]}"), 400, "bad_check");
    assert_problem(post(scene, "/v1/check", "{\"limits\":[{\"key\":\"\",\"rate\":\"1/s\"}]}"), 400,
                   "bad_key");
    answer = post(scene, "/v1/check", "{\"limits\":[{\"limit\":\"nope\"}]}");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"limits\":[{\"code\":\"no_limit\""));
}

static void what_was_charged_is_given_back_or_forgotten(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "5/10s", TLY_FIXED_WINDOW, tenant);
    (void)post(scene, "/v1/check", "{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"},\"hits\":4}");
#define OF_T1 "{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"},\"hits\":3"
    assert_string_equal(post(scene, "/v1/refund", OF_T1 "}").body,
                        "{\"refunded\":3,\"limit\":5,\"remaining\":4}\n");
    assert_string_equal(post(scene, "/v1/refund", OF_T1 ",\"at_ms\":1}").body,
                        "{\"refunded\":0,\"limit\":5,\"remaining\":4}\n");
    assert_string_equal(post(scene, "/v1/refund", OF_T1 "}").body,
                        "{\"refunded\":1,\"limit\":5,\"remaining\":5}\n");
    assert_problem(post(scene, "/v1/refund", OF_T1 ",\"at_ms\":-1}"), 400, "bad_check");
    assert_problem(post(scene, "/v1/refund", "[]"), 400, "bad_check");
    assert_problem(post(scene, "/v1/refund", "x"), 400, "bad_json");
    assert_problem(post(scene, "/v1/refund", "{\"limit\":\"nope\"}"), 404, "no_limit");
    (void)post(scene, "/v1/check", OF_T1 "}");
    assert_string_equal(post(scene, "/v1/reset", OF_T1 "}").body, "{\"reset\":true}\n");
    assert_string_equal(post(scene, "/v1/reset", OF_T1 "}").body, "{\"reset\":false}\n");
    assert_problem(post(scene, "/v1/reset", "{\"limit\":\"nope\"}"), 404, "no_limit");
}

static void what_is_reserved_is_settled_once(void **state)
{
    struct scene *scene = *state;
#define RESERVE(more) "{\"key\":\"k\",\"rate\":\"9/10s\",\"hits\":5" more "}"
    struct answer answer = post(scene, "/v1/reserve", RESERVE(",\"id\":\"a\",\"ttl_ms\":1000"));
    assert_int_equal(answer.status, 200);
    assert_ptr_equal(strstr(answer.body,
                            "{\"id\":\"a\",\"state\":\"open\",\"charged\":5,\"end_ms\":1767225601000,"
                            "\"verdict\":{\"code\":\"ok\",\"limit\":9,\"remaining\":4,"),
                     answer.body);
    answer = post(scene, "/v1/reserve", RESERVE(""));
    assert_int_equal(answer.status, 429);
    assert_ptr_equal(strstr(answer.body, "{\"verdict\":{\"code\":\"over\""), answer.body);
    assert_non_null(header_of(&answer, "Retry-After"));
    answer = post(scene, "/v1/commit", "{\"id\":\"a\",\"hits\":2}");
    assert_int_equal(answer.status, 200);
    assert_ptr_equal(strstr(answer.body, "{\"id\":\"a\",\"state\":\"committed\",\"charged\":2,"),
                     answer.body);
    answer = post(scene, "/v1/cancel", "{\"id\":\"a\"}");
    assert_non_null(strstr(answer.body, "\"committed\",\"charged\":2"));
    answer = post(scene, "/v1/reserve", RESERVE(""));
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"remaining\":2,"));
    assert_problem(post(scene, "/v1/cancel", "{\"id\":\"b\"}"), 404, "no_reservation");
    assert_problem(post(scene, "/v1/cancel", "{\"id\":\"b\",\"hits\":1}"), 400, "bad_settling");
    assert_problem(post(scene, "/v1/commit", "{\"id\":\"b\"}"), 400, "bad_settling");
    assert_problem(post(scene, "/v1/commit", "{\"id\":\"b c\",\"hits\":1}"), 400, "bad_id");
    assert_problem(post(scene, "/v1/reserve", RESERVE(",\"ttl_ms\":0")), 400, "bad_check");
    assert_problem(post(scene, "/v1/reserve", RESERVE(",\"id\":5")), 400, "bad_check");
    assert_problem(post(scene, "/v1/reserve", RESERVE(",\"at_ms\":5")), 400, "bad_check");
    assert_problem(post(scene, "/v1/refund", RESERVE(",\"id\":\"x\"")), 400, "bad_check");
    assert_problem(post(scene, "/v1/reserve", "[]"), 400, "bad_check");
    assert_problem(post(scene, "/v1/commit", "x"), 400, "bad_json");
}

static void what_may_be_in_flight_is_acquired_and_released(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "jobs", "5/10s", TLY_CONCURRENCY, tenant);
#define JOBS(more) "{\"limit\":\"jobs\",\"key\":{\"tenant\":\"t\"}" more "}"
    struct answer answer = post(scene, "/v1/acquire", JOBS(",\"hits\":4,\"id\":\"a\",\"ttl_ms\":1000"));
    assert_int_equal(answer.status, 200);
    assert_ptr_equal(strstr(answer.body,
                            "{\"id\":\"a\",\"state\":\"open\",\"charged\":4,\"end_ms\":1767225601000,"
                            "\"verdict\":{\"code\":\"ok\",\"limit\":5,\"remaining\":1,"),
                     answer.body);
    answer = post(scene, "/v1/acquire", JOBS(",\"hits\":2"));
    assert_int_equal(answer.status, 429);
    assert_non_null(strstr(answer.body, "\"algorithm\":\"concurrency\""));
    assert_non_null(strstr(answer.body, "4 in flight (4 from here, 0 from other nodes) + 2 hits of 5"));
    assert_non_null(strstr(get(scene, "/v1/limits/jobs").body, "\"formula\":\"(members - 1) * limit"));
    assert_non_null(strstr(get(scene, "/metrics").body, "\ntally_leases 1\n"));
    answer = post(scene, "/v1/release", "{\"id\":\"a\"}");
    assert_ptr_equal(strstr(answer.body, "{\"id\":\"a\",\"state\":\"released\",\"charged\":0,"), answer.body);
    assert_problem(post(scene, "/v1/release", "{\"id\":\"a\"}"), 404, "no_reservation");
    assert_problem(post(scene, "/v1/check", JOBS("")), 400, "in_flight");
    assert_problem(post(scene, "/v1/refund", JOBS("")), 400, "in_flight");
    answer = post(scene, "/v1/check", JOBS(",\"hits\":0"));
    assert_non_null(strstr(answer.body, "\"remaining\":5,"));
    assert_problem(get(scene, "/check/jobs?tenant=t"), 400, "in_flight");
    assert_problem(
        post(scene, "/v1/acquire", "{\"key\":\"k\",\"rate\":\"5/10s\",\"algorithm\":\"concurrency\"}"), 400,
        "bad_check");
}

/* By the limits' names, never by keys; and what the limit is for is one of its fields. */
static void each_limit_counts_what_became_of_its_checks(void **state)
{
    struct scene *scene = *state;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    struct tly_rule rule = {.name = "a\"b", .field_count = 1, .field = {"tenant"}, .keys_max = 1};
    assert_int_equal(tly_rate_parse(tly_slice_text("1/60s"), &rule.rate), TLY_OK);
    assert_true(tly_rule_add_match(&rule, "plan", "fr*"));
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
    tly_engine_use_rules(tly_app_engine(scene->app), rules);
    assert_int_equal(get(scene, "/check/a%22b?tenant=t&plan=free").status, 200);
    assert_int_equal(get(scene, "/check/a%22b?tenant=t&plan=free").status, 429);
    assert_int_equal(get(scene, "/check/a%22b?tenant=u&plan=free").status, 200);
    assert_int_equal(get(scene, "/check/a%22b?tenant=t&plan=gold").status, 200);
    assert_int_equal(get(scene, "/check/a%22b?tenant=t").status, 200);
    const char *body = get(scene, "/metrics").body;
    assert_non_null(strstr(body, "\ntally_limit_checks_total{limit=\"a\\\"b\",result=\"admitted\"} 1\n"
                                 "tally_limit_checks_total{limit=\"a\\\"b\",result=\"refused\"} 1\n"
                                 "tally_limit_checks_total{limit=\"a\\\"b\",result=\"uncounted\"} 1\n"
                                 "tally_limit_checks_total{limit=\"a\\\"b\",result=\"no_match\"} 2\n#"));
    assert_non_null(strstr(body, "\ntally_limit_keys{limit=\"a\\\"b\"} 1\n"));
    body = get(scene, "/v1/limits/a%22b").body;
    assert_non_null(strstr(body, "\"match\":{\"plan\":\"fr*\"}"));
    assert_non_null(strstr(body, "\"cardinality_max\":1,\"keys\":1"));
    body =
        post(scene, "/v1/check", "{\"limit\":\"a\\\"b\",\"key\":{\"tenant\":\"u\",\"plan\":\"free\"}}").body;
    assert_non_null(strstr(body, "\"reason\":\"keys_full\""));
}

/* ---- /check/LIMIT ---- */

static void a_proxy_gets_an_empty_200_or_a_429(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "2/60s", TLY_FIXED_WINDOW, tenant);
    fake_app_advance(scene->app, 29001);
    struct answer answer = get(scene, "/check/api?tenant=t1");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "");
    assert_string_equal(header_of(&answer, "Content-Length"), "0");
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=1;t=31");
    assert_string_equal(header_of(&answer, "RateLimit-Policy"), "\"api\";q=2;w=60");
    assert_null(header_of(&answer, "Retry-After"));
    (void)get(scene, "/check/api?tenant=t1");
    answer = get(scene, "/check/api?tenant=t1");
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=0;t=31");
    assert_string_equal(header_of(&answer, "RateLimit-Policy"), "\"api\";q=2;w=60");
    assert_string_equal(header_of(&answer, "Retry-After"), "31");
    assert_problem(answer, 429, "over");
    answer = get(scene, "/check/api?tenant=t1&deny=403");
    assert_string_equal(header_of(&answer, "Retry-After"), "31");
    assert_problem(answer, 403, "over");
    assert_problem(get(scene, "/check/api?deny=429&tenant=t1"), 429, "over");
}

/* Retry-After is never earlier than t, and both are when the same hits could pass. */
static void a_refusal_tells_when_to_come_back(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "2/60s", TLY_TOKEN_BUCKET, tenant);
    (void)get(scene, "/check/api");
    struct answer answer = get(scene, "/check/api");
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=0;t=60");
    answer = get(scene, "/check/api");
    assert_string_equal(header_of(&answer, "RateLimit"), "\"api\";r=0;t=30");
    assert_string_equal(header_of(&answer, "Retry-After"), "30");
    answer = get(scene, "/check/api?hits=3");
    assert_null(header_of(&answer, "Retry-After"));
    assert_problem(answer, 429, "over");
}

static void any_method_is_a_check(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "100/60s", TLY_FIXED_WINDOW, tenant);
    static const char *const methods[] = {"GET",     "HEAD",  "POST",     "PUT",     "DELETE",
                                          "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char line[64], expected[32];
        (void)snprintf(line, sizeof line, "%s /check/api", methods[i]);
        (void)snprintf(expected, sizeof expected, "\"api\";r=%zu;t=60", 99 - i);
        struct answer answer = ask(scene, line, "", "a body that nobody reads");
        assert_int_equal(answer.status, 200);
        assert_string_equal(header_of(&answer, "RateLimit"), expected);
    }
}

static void the_query_is_decoded(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"a b", "c", NULL};
    fake_app_limit(scene->app, "l/x", "10/60s", TLY_FIXED_WINDOW, fields);
    (void)get(scene, "/check/l%2Fx?a%20b=1%26&c=x+y&hits=4");
    struct answer answer = get(scene, "/check/l/x?c=x%20y&a+b=1%26&hits=0&other=1");
    assert_string_equal(header_of(&answer, "RateLimit"), "\"l/x\";r=6;t=60");
    assert_problem(get(scene, "/check/l%2"), 400, "bad_path");
    assert_problem(get(scene, "/check/l/x?a=%zz"), 400, "bad_query");
    assert_problem(get(scene, "/check/l/x?c=1&c=2"), 400, "bad_query");
    assert_problem(get(scene, "/check/l/x?hits=x"), 400, "bad_query");
    assert_problem(get(scene, "/check/l/x?hits="), 400, "bad_query");
    assert_problem(get(scene, "/check/l/x?hits=4294967296"), 400, "bad_query");
    assert_problem(get(scene, "/check/l/x?deny=500"), 400, "bad_query");
    assert_problem(get(scene, "/check/nope"), 404, "no_limit");
}

static void fields_come_from_query_then_header(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "10/60s", TLY_FIXED_WINDOW, tenant);
    struct tly_field t1 = field("tenant", "t1"), t2 = field("tenant", "t2"), none = field("tenant", "");
    (void)ask(scene, "GET /check/api?tenant=t1", "X-Tally-Tenant: t2\r\n", NULL);
    assert_int_equal(left(scene, "api", &t1, 1), 9);
    (void)ask(scene, "GET /check/api", "x-tally-tenant: t2\r\n", NULL);
    assert_int_equal(left(scene, "api", &t2, 1), 9);
    (void)ask(scene, "GET /check/api", "", NULL);
    assert_int_equal(left(scene, "api", &none, 1), 9);
}

static void what_every_request_has_comes_from_what_proxies_say(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *headers;
        const char *values[5]; /* ip host path method scheme */
    } cases[] = {
        {"", {"192.0.2.7", "tally.test", "", "POST", "http"}},
        {"X-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n",
         {"10.0.0.2", "tally.test", "", "POST", "http"}},
        {"X-Forwarded-For: 6.6.6.6, 10.0.0.3 , 10.0.0.4\r\n", {"10.0.0.4", "tally.test", "", "POST", "http"}},
        {"X-Forwarded-Host: shop.test\r\nX-Forwarded-Uri: /a/b?c\r\nX-Forwarded-Method: PUT\r\nX-Forwarded-Proto: https\r\n",
         {"192.0.2.7", "shop.test", "/a/b", "PUT", "https"}},
        {"X-Original-URI: /o?x\r\nX-Forwarded-Uri: /f\r\nX-Original-Method: PATCH\r\n",
         {"192.0.2.7", "tally.test", "/o", "PATCH", "http"}},
        {"X-Tally-Ip: 10.9.9.9\r\nX-Tally-Path: /p\r\n", {"192.0.2.7", "tally.test", "", "POST", "http"}},
    };
    fake_app_limit(scene->app, "edge", "1000/60s", TLY_FIXED_WINDOW, usual);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tly_field fields[5];
        for (size_t j = 0; j < 5; j++)
            fields[j] = field(usual[j], cases[i].values[j]);
        uint64_t before = left(scene, "edge", fields, 5);
        assert_int_equal(ask(scene, "POST /check/edge?hits=3", cases[i].headers, NULL).status, 200);
        assert_int_equal(left(scene, "edge", fields, 5), before - 3);
    }
    struct tly_field fields[] = {field("ip", "192.0.2.7"), field("host", "b.test"), field("path", ""),
                                 field("method", "GET"), field("scheme", "http")};
    (void)get(scene, "http://b.test/check/edge?hits=3");
    assert_int_equal(left(scene, "edge", fields, 5), 997);
}

/* I6: what stands left of the trusted hops is anybody's word; one client has one spelling, and all of its network. */
static void a_forged_address_is_no_other_client(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *setting, *headers, *ip;
    } cases[] = {
        {"trusted_hops=1", "X-Forwarded-For: 6.6.6.6, 10.0.0.4\r\n", "10.0.0.4"},
        {"trusted_hops=1", "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 10.0.0.4\r\n",
         "10.0.0.4"},
        {"trusted_hops=1", "X-Forwarded-For: 10.0.0.4:5122\r\n", "10.0.0.4"},
        {"trusted_hops=1", "X-Forwarded-For: ::ffff:10.0.0.4\r\n", "10.0.0.4"},
        {"trusted_hops=1", "X-Forwarded-For: 10.0.0.4, ,\r\n", "10.0.0.4"},
        {"trusted_hops=1", "X-Forwarded-For: ,\r\n", "192.0.2.7"},
        {"trusted_hops=2", "X-Forwarded-For: 6.6.6.6, 10.0.0.4, 10.0.0.5\r\n", "10.0.0.4"},
        {"trusted_hops=2", "X-Forwarded-For: 6.6.6.6, 10.0.0.4\r\nX-Forwarded-For: 10.0.0.5\r\n", "10.0.0.4"},
        {"trusted_hops=2", "X-Forwarded-For: 10.0.0.5\r\n", "10.0.0.5"},
        {"trusted_hops=1", "X-Forwarded-For: 2001:DB8:0:1::1\r\n", "2001:db8:0:1::/64"},
        {"trusted_hops=1", "X-Forwarded-For: 2001:db8:0:1:ffff::2\r\n", "2001:db8:0:1::/64"},
        {"trusted_hops=1", "X-Forwarded-For: [2001:db8:0:1::3]:80\r\n", "2001:db8:0:1::/64"},
        {"ipv6_prefix=48", "X-Forwarded-For: 2001:db8:0:1::1\r\n", "2001:db8::/48"},
        {"ipv6_prefix=61", "X-Forwarded-For: 2001:db8:0:f::1\r\n", "2001:db8:0:8::/61"},
        {"ipv6_prefix=128", "X-Forwarded-For: 2001:db8:0:1::1\r\n", "2001:db8:0:1::1"},
        {"ipv6_prefix=64", "X-Forwarded-For: unknown\r\n", "unknown"},
        {"client_ip=real-ip", "X-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 6.6.6.6\r\n", "10.0.0.1"},
        {"client_ip=real-ip", "X-Forwarded-For: 6.6.6.6\r\n", "192.0.2.7"},
        {"client_ip=connection", "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n", "192.0.2.7"},
        {"client_ip=forwarded", "X-Real-IP: 6.6.6.6\r\n", "192.0.2.7"},
    };
    static const char *const ip[] = {"ip", NULL};
    fake_app_limit(scene->app, "edge", "1000/60s", TLY_FIXED_WINDOW, ip);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tly_field client = field("ip", cases[i].ip);
        fake_app_set(scene->app, cases[i].setting);
        uint64_t before = left(scene, "edge", &client, 1);
        assert_int_equal(ask(scene, "GET /check/edge", cases[i].headers, NULL).status, 200);
        if (left(scene, "edge", &client, 1) != before - 1)
            fail_msg("%s %s", cases[i].setting, cases[i].headers);
    }
}

static void the_query_may_name_a_header(void **state)
{
    struct scene *scene = *state;
    struct tly_field t1 = field("tenant", "t1"), none = field("tenant", "");
    fake_app_limit(scene->app, "api", "10/60s", TLY_FIXED_WINDOW, tenant);
    (void)ask(scene, "GET /check/api?header.tenant=X-Api-Key", "x-api-key: t1\r\nX-Tally-Tenant: t2\r\n",
              NULL);
    assert_int_equal(left(scene, "api", &t1, 1), 9);
    /* Whoever leaves the header out shares one count with all who do. */
    (void)ask(scene, "GET /check/api?header.tenant=X-Api-Key", "X-Tally-Tenant: t2\r\n", NULL);
    assert_int_equal(left(scene, "api", &none, 1), 9);
    (void)get(scene, "/check/api?tenant=t1&header.other=X-Other");
    assert_int_equal(left(scene, "api", &t1, 1), 8);
    assert_problem(get(scene, "/check/api?tenant=t1&header.tenant=X-Api-Key"), 400, "bad_query");
    assert_problem(get(scene, "/check/api?header.tenant="), 400, "bad_query");
    char longest[128] = "/check/api?header.tenant=";
    memset(longest + strlen(longest), 'x', 64);
    assert_problem(get(scene, longest), 400, "bad_query");
}

static void a_name_is_quoted_as_a_structured_field(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "a\"b\\c\xc3\xa9", "10/1500ms", TLY_FIXED_WINDOW, tenant);
    struct answer answer = get(scene, "/check/a%22b%5Cc%C3%A9");
    assert_string_equal(header_of(&answer, "RateLimit-Policy"), "\"a\\\"b\\\\c??\";q=10;w=2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(an_ad_hoc_check_needs_no_rule),
        SCENE(a_named_check_takes_its_fields),
        SCENE(defaults_are_one_hit_and_a_sliding_window),
        SCENE(no_hits_only_look),
        SCENE(a_bucket_has_a_burst),
        SCENE(hits_that_can_never_pass_get_no_time_to_wait),
        SCENE(a_bad_check_says_what_is_wrong),
        SCENE(what_the_engine_refuses_has_its_code),
        SCENE(many_checks_are_answered_in_order),
        SCENE(a_thousand_checks_are_taken_and_one_more_is_not),
        SCENE(several_limits_are_charged_all_or_none),
        SCENE(what_was_charged_is_given_back_or_forgotten),
        SCENE(what_is_reserved_is_settled_once),
        SCENE(what_may_be_in_flight_is_acquired_and_released),
        SCENE(each_limit_counts_what_became_of_its_checks),
        SCENE(a_proxy_gets_an_empty_200_or_a_429),
        SCENE(a_refusal_tells_when_to_come_back),
        SCENE(any_method_is_a_check),
        SCENE(the_query_is_decoded),
        SCENE(fields_come_from_query_then_header),
        SCENE(what_every_request_has_comes_from_what_proxies_say),
        SCENE(a_forged_address_is_no_other_client),
        SCENE(the_query_may_name_a_header),
        SCENE(a_name_is_quoted_as_a_structured_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
