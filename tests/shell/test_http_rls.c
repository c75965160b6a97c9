/* Envoy's rate limit service over HTTP: /json, /healthcheck, /rlconfig, /stats, and its metrics under their names. */
#include "service/shell/rls.h"
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

static const char rules[] =
    "domain: d\n"
    "descriptors:\n"
    "  - {key: two, rate_limit: {name: pair, unit: year, requests_per_unit: 2}}\n"
    "  - {key: free, rate_limit: {unlimited: true}}\n"
    "  - {key: det, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 1}}\n";

static struct scene *begin(void **state)
{
    struct scene *scene = *state;
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    settings.headers.enabled = true;
    fake_app_rls(scene->app, &settings, rules);
    return scene;
}

#define ASK "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":\"two\",\"value\":\"x\"}]}]}"

static bool has(struct answer answer, const char *text)
{
    if (strstr(answer.body, text) != NULL) return true;
    print_message("%s\nlacks %s\n", answer.body, text);
    return false;
}

static void json_is_200_429_or_400(void **state)
{
    struct scene *scene = begin(state);
    struct answer answer = post(scene, "/json", ASK);
    assert_int_equal(answer.status, 200);
    assert_true(has(
        answer, "{\"overallCode\":\"OK\",\"statuses\":[{\"code\":\"OK\",\"currentLimit\":{\"name\":\"pair\","
                "\"requestsPerUnit\":2,\"unit\":\"YEAR\"},\"limitRemaining\":1,\"durationUntilReset\":\""));
    assert_true(
        has(answer,
            "\"responseHeadersToAdd\":[{\"key\":\"RateLimit-Limit\",\"value\":\"2\"},{\"key\":\"RateLimit-"
            "Remaining\",\"value\":\"1\"},{\"key\":\"RateLimit-Reset\",\"value\":\""));
    assert_int_equal(post(scene, "/json", ASK).status, 200);
    answer = post(scene, "/json", ASK);
    assert_int_equal(answer.status, 429);
    assert_true(has(answer, "{\"overallCode\":\"OVER_LIMIT\",\"statuses\":[{\"code\":\"OVER_LIMIT\""));
    assert_string_equal(header_of(&answer, "Content-Type"), "application/json");
}

static void json_reads_what_protobuf_writes(void **state)
{
    struct scene *scene = begin(state);
    static const char *const good[] = {
        "{\"domain\":\"d\",\"descriptors\":[{}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":null}],\"hitsAddend\":null}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":\"free\"}],\"hitsAddend\":\"18446744073709551615\"}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":\"free\"}],\"hits_addend\":7}],\"hits_addend\":3}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":\"k\"}],\"limit\":{\"requestsPerUnit\":5,\"unit\":\"DAY\"}}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"limit\":{\"requests_per_unit\":\"5\",\"unit\":4},\"isNegativeHits\":true}]}",
    };
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"domain\":\"d\"}",
        "{\"domain\":\"d\",\"descriptors\":[]}",
        "{\"domain\":\"\",\"descriptors\":[{}]}",
        "{\"domain\":7,\"descriptors\":[{}]}",
        "{\"domain\":\"d\",\"descriptors\":{}}",
        "{\"domain\":\"d\",\"descriptors\":[7]}",
        "{\"domain\":\"d\",\"descriptors\":[null]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":7}]}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"colour\":\"blue\"}]}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"limit\":{\"unit\":\"day\"}}]}",
        "{\"domain\":\"d\",\"descriptors\":[{\"limit\":{\"requestsPerUnit\":-1}}]}",
        "{\"domain\":\"d\",\"descriptors\":[{}],\"hitsAddend\":4294967296}",
        "{\"domain\":\"d\",\"descriptors\":[{}],\"hitsAddend\":\"\"}",
        "{\"domain\":\"d\",\"descriptors\":[{\"hitsAddend\":\"18446744073709551616\"}]}",
        "{\"domain\":\"d\",\"descriptors\":[{}],\"other\":1}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (post(scene, "/json", good[i]).status != 200) fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer answer = post(scene, "/json", bad[i]);
        if (answer.status != 400) fail_msg("%d for %s", answer.status, bad[i]);
        assert_string_equal(answer.body, "Bad Request\n");
    }
}

static void too_many_descriptors_are_no_request(void **state)
{
    struct scene *scene = begin(state);
    for (size_t count = TLY_RLS_DESCRIPTORS_MAX; count <= TLY_RLS_DESCRIPTORS_MAX + 1; count++) {
        char body[1024];
        size_t n = (size_t)snprintf(body, sizeof body, "{\"domain\":\"d\",\"descriptors\":[{}");
        for (size_t i = 1; i < count; i++)
            n += (size_t)snprintf(body + n, sizeof body - n, ",{}");
        (void)snprintf(body + n, sizeof body - n, "]}");
        assert_int_equal(post(scene, "/json", body).status, count <= TLY_RLS_DESCRIPTORS_MAX ? 200 : 400);
    }
}

static void without_a_configuration_json_is_400(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(post(scene, "/json", ASK).status, 400);
    assert_string_equal(get(scene, "/rlconfig").body, "");
}

static void health_is_ok_or_500(void **state)
{
    struct scene *scene = begin(state);
    struct answer answer = get(scene, "/healthcheck");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "OK");
    fake_app_unready(scene->app, "stopping\n");
    assert_int_equal(get(scene, "/healthcheck").status, 500);
}

static void limits_and_counts_are_shown_under_their_names(void **state)
{
    struct scene *scene = begin(state);
    for (int i = 0; i < 3; i++)
        (void)post(scene, "/json", ASK);
    (void)post(
        scene, "/json",
        "{\"domain\":\"d\",\"descriptors\":[{\"entries\":[{\"key\":\"det\",\"value\":\"a\\n.\\\"b\"}]}]}");
    (void)post(scene, "/json", "{\"domain\":\"\",\"descriptors\":[{}]}");
    (void)post(scene, "/json", "{\"domain\":\"e\",\"descriptors\":[{}]}");
    assert_string_equal(get(scene, "/rlconfig").body,
                        "d.two: unit=YEAR requests_per_unit=2, shadow_mode: false\n"
                        "d.free: unit=UNKNOWN requests_per_unit=0, shadow_mode: false\n"
                        "d.det: unit=DAY requests_per_unit=1, shadow_mode: false\n");
    struct answer answer = get(scene, "/stats");
    assert_true(has(answer, "ratelimit.service.config_load_success: 1\n"));
    assert_true(has(answer, "ratelimit.service.call.should_rate_limit.service_error: 1\n"));
    assert_true(has(answer, "ratelimit.service.domain_not_found: 1\n"));
    assert_true(has(answer, "ratelimit.service.rate_limit.d.two.total_hits: 3\n"));
    assert_true(has(answer, "ratelimit.service.rate_limit.d.two.over_limit: 1\n"));
    assert_true(has(answer, "ratelimit.service.rate_limit.d.det_a?.\"b.total_hits: 1\n"));
    assert_true(has(answer, "ratelimit_server.ShouldRateLimit.total_requests: 0\n")); /* /json is none */
    tly_rls_count_call(tly_app_rls(scene->app));
    answer = get(scene, "/metrics");
    assert_true(has(answer, "ratelimit_service_total_requests{grpc_method=\"ShouldRateLimit\"} 1\n"));
    assert_true(
        has(answer, "ratelimit_service_response_time_seconds_count{grpc_method=\"ShouldRateLimit\"} "));
    assert_true(has(answer, "# TYPE ratelimit_service_response_time_seconds histogram\n"));
    assert_true(has(answer, "ratelimit_service_config_load_success 1\n"));
    assert_true(has(answer, "ratelimit_service_should_rate_limit_error{err_type=\"service_error\"} 1\n"));
    assert_true(has(answer, "ratelimit_service_rate_limit_over_limit{domain=\"d\",key1=\"two\"} 1\n"));
    assert_true(
        has(answer,
            "ratelimit_service_rate_limit_total_hits{domain=\"d\",key1=\"det_a\\n\",key2=\"\\\"b\"} 1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(json_is_200_429_or_400),
        SCENE(json_reads_what_protobuf_writes),
        SCENE(too_many_descriptors_are_no_request),
        SCENE(without_a_configuration_json_is_400),
        SCENE(health_is_ok_or_500),
        SCENE(limits_and_counts_are_shown_under_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
