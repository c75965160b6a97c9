/* The environment of envoyproxy/ratelimit. */
#include "service/shell/rls_env.h"
#include "tests/support/cmocka.h"

#include <string.h>

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct tly_config *read_env(const char *const *environment)
{
    static struct tly_config config;
    struct tly_config_error error;
    tly_config_init(&config);
    if (!tly_rls_env(&config, environment, &error)) fail_msg("%s", error.text);
    return &config;
}

static void expect_setting(const struct tly_config *config, const char *key, const char *value)
{
    char got[4096];
    assert_true(tly_config_get(config, key, got, sizeof got));
    assert_string_equal(got, value);
}

static void without_its_own_variables_nothing_is_looked_at(void **state)
{
    const struct tly_config *config = read_env(ENV("PORT=1", "HOST=h", "LOG_LEVEL=debug", "SHADOW_MODE=x"));
    expect_setting(config, "http", "127.0.0.1:7380");
    expect_setting(config, "grpc", "none");
    expect_setting(config, "log", "info");
    struct tly_rls_env_notes notes;
    tly_rls_env_look(ENV("REDIS_URL=x"), &notes);
    assert_string_equal(notes.text, "");
}

static void defaults_are_those_of_the_reference(void **state)
{
    const struct tly_config *config = read_env(ENV("RUNTIME_SUBDIRECTORY=ratelimit"));
    expect_setting(config, "http", "0.0.0.0:8080");
    expect_setting(config, "grpc", "0.0.0.0:8081");
    expect_setting(config, "debug", "0.0.0.0:6070");
    expect_setting(config, "ratelimit", "/srv/runtime_data/current/ratelimit/config");
    assert_false(config->rls.headers.enabled || config->rls.shadow || config->rls.quota);
    assert_false(config->rls_place.ignores_dot_files || config->rls_place.merges_domains);
    assert_string_equal(config->rls.headers.limit, "RateLimit-Limit");
    assert_string_equal(config->rls.request_headers.reset, "RateLimit-Reset");
    assert_true(config->rls.near_ratio > 0.79f && config->rls.near_ratio < 0.81f);
}

static void every_variable_does_what_it_does_there(void **state)
{
    const struct tly_config *config = read_env(
        ENV("RUNTIME_ROOT=/r", "RUNTIME_SUBDIRECTORY=s", "RUNTIME_APPDIRECTORY=a",
            "RUNTIME_IGNOREDOTFILES=true", "MERGE_DOMAIN_CONFIG=1", "HOST=::1", "PORT=1",
            "DEBUG_HOST=127.0.0.2", "DEBUG_PORT=2", "GRPC_HOST=[::1]", "GRPC_PORT=3", "LOG_LEVEL=WARNING",
            "LIMIT_RESPONSE_HEADERS_ENABLED=T", "LIMIT_LIMIT_HEADER=l", "LIMIT_REMAINING_HEADER=m",
            "LIMIT_RESET_HEADER=r", "LIMIT_REQUEST_HEADERS_ENABLED=true", "LIMIT_REQUEST_LIMIT_HEADER=ql",
            "LIMIT_REQUEST_REMAINING_HEADER=qm", "LIMIT_REQUEST_RESET_HEADER=qr", "SHADOW_MODE=true",
            "QUOTA_MODE=true", "NEAR_LIMIT_RATIO=0.5", "CACHE_KEY_PREFIX=p"));
    expect_setting(config, "ratelimit", "/r/s/a");
    expect_setting(config, "http", "[::1]:1");
    expect_setting(config, "debug", "127.0.0.2:2");
    expect_setting(config, "grpc", "[::1]:3");
    expect_setting(config, "log", "warn");
    assert_true(config->rls_place.ignores_dot_files && config->rls_place.merges_domains);
    const struct tly_rls_settings *rls = &config->rls;
    assert_true(rls->headers.enabled && rls->request_headers.enabled && rls->shadow && rls->quota);
    assert_string_equal(rls->headers.limit, "l");
    assert_string_equal(rls->headers.remaining, "m");
    assert_string_equal(rls->headers.reset, "r");
    assert_string_equal(rls->request_headers.limit, "ql");
    assert_string_equal(rls->request_headers.remaining, "qm");
    assert_string_equal(rls->request_headers.reset, "qr");
    assert_string_equal(rls->prefix, "p");
    assert_true(rls->near_ratio > 0.49f && rls->near_ratio < 0.51f);
    config = read_env(ENV("RUNTIME_ROOT=/r", "GRPC_UDS=/run/r.sock", "GRPC_PORT=", "SHADOW_MODE="));
    expect_setting(config, "grpc", "unix:/run/r.sock");
    assert_false(config->rls.shadow);
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const wrong[][2] = {
        {"PORT=http", "PORT=http: expected an address and a port"},
        {"HOST=a b", "HOST=a b: expected an address and a port"},
        {"GRPC_PORT=65536", "GRPC_PORT=65536: expected"},
        {"DEBUG_PORT=-1", "DEBUG_PORT=-1: expected"},
        {"SHADOW_MODE=maybe", "SHADOW_MODE=maybe: expected true or false"},
        {"NEAR_LIMIT_RATIO=2", "NEAR_LIMIT_RATIO=2: expected a number from 0 to 1"},
        {"NEAR_LIMIT_RATIO=nan", "NEAR_LIMIT_RATIO=nan: expected"},
        {"LOG_LEVEL=loud", "LOG_LEVEL=loud: expected a level"},
        {"CONFIG_TYPE=ETCD", "CONFIG_TYPE=ETCD: expected FILE or GRPC_XDS_SOTW"},
        {"CONFIG_TYPE=GRPC_XDS_DELTA",
         "CONFIG_TYPE=GRPC_XDS_DELTA: expected FILE or GRPC_XDS_SOTW (there is no delta xDS)"},
        {"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_USE_TLS=true: expected GRPC_SERVER_TLS_CERT"},
        {"LIMIT_RESET_HEADER=0123456789012345678901234567890123456789012345678901234567890123",
         "expected less bytes"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tly_config config;
        struct tly_config_error error = {""};
        tly_config_init(&config);
        assert_false(tly_rls_env(&config, ENV("RUNTIME_ROOT=/r", wrong[i][0]), &error));
        if (strstr(error.text, wrong[i][1]) == NULL) fail_msg("%s: %s", wrong[i][0], error.text);
    }
}

static void tls_is_set_up_as_there(void **state)
{
    const struct tly_config *config =
        read_env(ENV("RUNTIME_ROOT=/r", "GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT=/c",
                     "GRPC_SERVER_TLS_KEY=/k", "GRPC_CLIENT_TLS_CACERT=/a", "GRPC_CLIENT_TLS_SAN=n"));
    expect_setting(config, "grpc_tls_cert", "/c");
    expect_setting(config, "grpc_tls_key", "/k");
    expect_setting(config, "grpc_tls_client_ca", "/a");
    expect_setting(config, "grpc_tls_client_name", "n");
    config = read_env(ENV("RUNTIME_ROOT=/r", "GRPC_SERVER_TLS_CERT=/c", "GRPC_CLIENT_TLS_CACERT=/a"));
    expect_setting(config, "grpc_tls_cert", "none");
    expect_setting(config, "grpc_tls_client_ca", "none");
}

static void limits_may_come_by_xds_as_there(void **state)
{
    const struct tly_xds_settings *xds = &read_env(ENV("CONFIG_TYPE=GRPC_XDS_SOTW"))->xds;
    assert_string_equal(xds->server, "localhost:18000");
    assert_string_equal(xds->node_id, "default");
    assert_true(xds->retry_ms == 3000 && !xds->uses_tls && xds->metadata[0] == '\0');
    const struct tly_config *config = read_env(
        ENV("CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_URL=m:1", "CONFIG_GRPC_XDS_NODE_ID=n",
            "CONFIG_GRPC_XDS_NODE_METADATA=a=b", "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=h:v",
            "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL=1m1.5s", "MERGE_DOMAIN_CONFIG=true",
            "CONFIG_GRPC_XDS_SERVER_USE_TLS=true", "CONFIG_GRPC_XDS_CLIENT_TLS_CERT=/c",
            "CONFIG_GRPC_XDS_CLIENT_TLS_KEY=/k", "CONFIG_GRPC_XDS_SERVER_TLS_CACERT=/a",
            "CONFIG_GRPC_XDS_SERVER_TLS_SAN=s", "RUNTIME_ROOT=/r"));
    expect_setting(config, "xds", "m:1");
    expect_setting(config, "xds_node", "n");
    expect_setting(config, "ratelimit", "none");
    assert_string_equal(config->xds.metadata, "a=b");
    assert_string_equal(config->xds.headers, "h:v");
    assert_true(config->xds.retry_ms == 61500 && config->xds.uses_tls && config->xds.merges_domains);
    assert_string_equal(config->xds.tls.certificate, "/c");
    assert_string_equal(config->xds.tls.key, "/k");
    assert_string_equal(config->xds.tls.ca, "/a");
    assert_string_equal(config->xds.tls.name, "s");
}

static void what_is_not_needed_is_said(void **state)
{
    struct tly_rls_env_notes notes;
    tly_rls_env_look(
        ENV("RUNTIME_ROOT=/r", "REDIS_URL=secret@x", "MEMCACHE_HOST_PORT=y", "PATH=/bin", "USE_STATSD=true"),
        &notes);
    assert_string_equal(notes.text,
                        "REDIS_URL: not needed: there is no Redis\n"
                        "MEMCACHE_HOST_PORT: not needed: there is no memcached\n"
                        "USE_STATSD: not supported: GET /metrics and /stats have the same numbers\n");
    /* Every name that the reference reads and this one does not. */
    static const char *const names[] = {"EXTRA_TAGS",
                                        "STATS_FLUSH_INTERVAL",
                                        "DISABLE_STATS",
                                        "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED",
                                        "LOG_FORMAT",
                                        "OTEL_EXPORTER_OTLP_ENDPOINT",
                                        "TRACING_ENABLED",
                                        "STATSD_HOST",
                                        "USE_DOG_STATSD_MOGRIFIERS",
                                        "USE_PROMETHEUS",
                                        "PROMETHEUS_ADDR",
                                        "XDS_CLIENT_BACKOFF_JITTER",
                                        "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES",
                                        "RESPONSE_DYNAMIC_METADATA",
                                        "MAX_CONCURRENT_REQUESTS",
                                        "REQUEST_TIMEOUT",
                                        "GRPC_MAX_CONCURRENT_STREAMS",
                                        "FORCE_START_WITHOUT_INITIAL_CONFIG",
                                        "GRPC_MAX_CONNECTION_AGE",
                                        "GRPC_MAX_CONNECTION_AGE_GRACE",
                                        "RUNTIME_WATCH_ROOT",
                                        "EXPIRATION_JITTER_MAX_SECONDS",
                                        "LOCAL_CACHE_SIZE_IN_BYTES",
                                        "BACKEND_TYPE",
                                        "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char set[128];
        (void)snprintf(set, sizeof set, "%s=1", names[i]);
        tly_rls_env_look(ENV("RUNTIME_ROOT=/r", set), &notes);
        if (strncmp(notes.text, names[i], strlen(names[i])) != 0) fail_msg("nothing is said of %s", names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_its_own_variables_nothing_is_looked_at),
        cmocka_unit_test(defaults_are_those_of_the_reference),
        cmocka_unit_test(every_variable_does_what_it_does_there),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(tls_is_set_up_as_there),
        cmocka_unit_test(limits_may_come_by_xds_as_there),
        cmocka_unit_test(what_is_not_needed_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
