#include "service/shell/rls_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking them up ---- */

/* NULL: not set; empty is not set, as there. */
static const char *value_of(const char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return (*environment)[n + 1] != '\0' ? *environment + n + 1 : NULL;
    return NULL;
}

struct reader {
    const char *const *environment;
    struct tly_config_error *error;
    bool failed;
};

static void fail(struct reader *reader, const char *name, const char *value, const char *expected)
{
    if (!reader->failed)
        (void)snprintf(reader->error->text, sizeof reader->error->text, "environment: %s=%.200s: expected %s",
                       name, value, expected);
    reader->failed = true;
}

/* As Go's strconv.ParseBool. */
static bool get_bool(struct reader *reader, const char *name, bool otherwise)
{
    static const char *const words[] = {"1", "t", "T", "true",  "TRUE",  "True",
                                        "0", "f", "F", "false", "FALSE", "False"};
    const char *value = value_of(reader->environment, name);
    if (value == NULL) return otherwise;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(value, words[i]) == 0) return i < sizeof words / sizeof words[0] / 2;
    fail(reader, name, value, "true or false");
    return otherwise;
}

static void get_text(struct reader *reader, const char *name, char *to, size_t size)
{
    const char *value = value_of(reader->environment, name);
    if (value != NULL && strlcpy(to, value, size) >= size) fail(reader, name, value, "less bytes");
}

static void get_ratio(struct reader *reader, float *ratio)
{
    const char *value = value_of(reader->environment, "NEAR_LIMIT_RATIO");
    char *end;
    if (value == NULL) return;
    float number = strtof(value, &end);
    if (*end != '\0' || !(number >= 0) || !(number <= 1)) {
        fail(reader, "NEAR_LIMIT_RATIO", value, "a number from 0 to 1");
        return;
    }
    *ratio = number;
}

/* Host and port of two variables go into the setting of a door. */
static void get_listen(struct reader *reader, struct tly_config *config, const char *key,
                       const char *host_name, const char *port_name, const char *port)
{
    char assignment[512];
    struct tly_config_error error;
    const char *host = value_of(reader->environment, host_name),
               *set = value_of(reader->environment, port_name);
    if (host == NULL) host = "0.0.0.0";
    bool bare_v6 = strchr(host, ':') != NULL && host[0] != '[';
    (void)snprintf(assignment, sizeof assignment, "%s%.250s%s:%.20s", bare_v6 ? "[" : "", host,
                   bare_v6 ? "]" : "", set != NULL ? set : port);
    if (!tly_config_put(config, key, assignment, &error))
        fail(reader, set != NULL ? port_name : host_name, set != NULL ? set : host,
             "an address and a port to listen on");
}

static void get_headers(struct reader *reader, const char *prefix, const char *switch_name,
                        struct tly_rls_header_names *names)
{
    struct {
        const char *name;
        char *to;
    } each[] = {{"LIMIT_HEADER", names->limit},
                {"REMAINING_HEADER", names->remaining},
                {"RESET_HEADER", names->reset}};
    char name[64];
    names->enabled = get_bool(reader, switch_name, names->enabled);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s%s", prefix, each[i].name);
        get_text(reader, name, each[i].to, TLY_RLS_HEADER_NAME_MAX);
    }
}

static void get_place(struct reader *reader, struct tly_rls_place *place)
{
    *place = (struct tly_rls_place){.root = "/srv/runtime_data/current", .app_directory = "config"};
    get_text(reader, "RUNTIME_ROOT", place->root, sizeof place->root);
    get_text(reader, "RUNTIME_SUBDIRECTORY", place->subdirectory, sizeof place->subdirectory);
    get_text(reader, "RUNTIME_APPDIRECTORY", place->app_directory, sizeof place->app_directory);
    place->ignores_dot_files = get_bool(reader, "RUNTIME_IGNOREDOTFILES", false);
    place->merges_domains = get_bool(reader, "MERGE_DOMAIN_CONFIG", false);
}

/* logrus has more words for it. */
static void get_level(struct reader *reader, struct tly_config *config)
{
    static const char *const words[][2] = {
        {"trace", "debug"}, {"warning", "warn"}, {"fatal", "error"}, {"panic", "error"}};
    const char *value = value_of(reader->environment, "LOG_LEVEL");
    char lower[16] = "";
    struct tly_config_error error;
    if (value == NULL) return;
    for (size_t i = 0; value[i] != '\0' && i + 1 < sizeof lower; i++)
        lower[i] = (char)(value[i] >= 'A' && value[i] <= 'Z' ? value[i] + 'a' - 'A' : value[i]);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(lower, words[i][0]) == 0) (void)strlcpy(lower, words[i][1], sizeof lower);
    if (!tly_config_put(config, "log", lower, &error))
        fail(reader, "LOG_LEVEL", value, "a level such as info");
}

static void get_doors(struct reader *reader, struct tly_config *config)
{
    char path[256];
    struct tly_config_error error;
    const char *uds = value_of(reader->environment, "GRPC_UDS");
    get_listen(reader, config, "http", "HOST", "PORT", "8080");
    get_listen(reader, config, "debug", "DEBUG_HOST", "DEBUG_PORT", "6070");
    if (uds == NULL) {
        get_listen(reader, config, "grpc", "GRPC_HOST", "GRPC_PORT", "8081");
        return;
    }
    (void)snprintf(path, sizeof path, "unix:%.200s", uds);
    if (!tly_config_put(config, "grpc", path, &error)) fail(reader, "GRPC_UDS", uds, "a path of a socket");
}

static void get_tls(struct reader *reader, struct tly_tls_files *tls)
{
    if (!get_bool(reader, "GRPC_SERVER_USE_TLS", false)) return;
    get_text(reader, "GRPC_SERVER_TLS_CERT", tls->certificate, sizeof tls->certificate);
    get_text(reader, "GRPC_SERVER_TLS_KEY", tls->key, sizeof tls->key);
    get_text(reader, "GRPC_CLIENT_TLS_CACERT", tls->ca, sizeof tls->ca);
    if (tls->ca[0] != '\0') get_text(reader, "GRPC_CLIENT_TLS_SAN", tls->name, sizeof tls->name);
    if (tls->certificate[0] == '\0' || tls->key[0] == '\0')
        fail(reader, "GRPC_SERVER_USE_TLS", "true",
             "GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY to be set as well");
}

/* As Go writes a duration: "3s", "1m30s", "250ms"; below 0: it is none. Days of it are enough. */
static double seconds_of(const char *text)
{
    static const struct {
        const char *name;
        double s;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    double s = 0;
    while (*text != '\0') {
        char *end;
        if (*text < '0' || *text > '9') return -1;
        double number = strtod(text, &end);
        if (number > 1e9) return -1;
        size_t n = strcspn(end, "0123456789."), i = 0, count = sizeof units / sizeof units[0];
        while (i < count && (strlen(units[i].name) != n || strncmp(end, units[i].name, n) != 0))
            i++;
        if (i == count) return -1;
        s += number * units[i].s;
        text = end + n;
    }
    return s;
}

static void get_retry(struct reader *reader, uint32_t *ms)
{
    static const char name[] = "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL";
    const char *value = value_of(reader->environment, name);
    double s = value != NULL ? seconds_of(value) : *ms / 1000.0;
    if (s >= 0.001 && s <= 3600)
        *ms = (uint32_t)(s * 1000);
    else
        fail(reader, name, value, "a duration from 1ms to 1h");
}

static void get_xds(struct reader *reader, struct tly_xds_settings *xds)
{
    struct tly_tls_files *tls = &xds->tls;
    (void)strlcpy(xds->server, "localhost:18000", sizeof xds->server);
    get_text(reader, "CONFIG_GRPC_XDS_SERVER_URL", xds->server, sizeof xds->server);
    get_text(reader, "CONFIG_GRPC_XDS_NODE_ID", xds->node_id, sizeof xds->node_id);
    get_text(reader, "CONFIG_GRPC_XDS_NODE_METADATA", xds->metadata, sizeof xds->metadata);
    get_text(reader, "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", xds->headers, sizeof xds->headers);
    get_retry(reader, &xds->retry_ms);
    xds->merges_domains = get_bool(reader, "MERGE_DOMAIN_CONFIG", false);
    xds->uses_tls = get_bool(reader, "CONFIG_GRPC_XDS_SERVER_USE_TLS", false);
    if (!xds->uses_tls) return;
    get_text(reader, "CONFIG_GRPC_XDS_CLIENT_TLS_CERT", tls->certificate, sizeof tls->certificate);
    get_text(reader, "CONFIG_GRPC_XDS_CLIENT_TLS_KEY", tls->key, sizeof tls->key);
    get_text(reader, "CONFIG_GRPC_XDS_SERVER_TLS_CACERT", tls->ca, sizeof tls->ca);
    get_text(reader, "CONFIG_GRPC_XDS_SERVER_TLS_SAN", tls->name, sizeof tls->name);
    if ((tls->certificate[0] == '\0') != (tls->key[0] == '\0'))
        fail(reader, "CONFIG_GRPC_XDS_CLIENT_TLS_CERT", tls->certificate,
             "CONFIG_GRPC_XDS_CLIENT_TLS_KEY to be set with it");
}

/* Where the limits come from. */
static void get_source(struct reader *reader, struct tly_config *config)
{
    const char *type = value_of(reader->environment, "CONFIG_TYPE");
    if (type == NULL || strcmp(type, "FILE") == 0)
        get_place(reader, &config->rls_place);
    else if (strcmp(type, "GRPC_XDS_SOTW") == 0)
        get_xds(reader, &config->xds);
    else
        fail(reader, "CONFIG_TYPE", type, "FILE or GRPC_XDS_SOTW (there is no delta xDS)");
}

static bool is_meant(const char *const *environment)
{
    return value_of(environment, "RUNTIME_ROOT") != NULL ||
           value_of(environment, "RUNTIME_SUBDIRECTORY") != NULL ||
           value_of(environment, "CONFIG_TYPE") != NULL;
}

bool tly_rls_env(struct tly_config *config, const char *const *environment, struct tly_config_error *error)
{
    struct reader reader = {environment, error, false};
    struct tly_rls_settings *rls = &config->rls;
    if (!is_meant(environment)) return true;
    get_tls(&reader, &config->grpc_tls);
    get_source(&reader, config);
    get_doors(&reader, config);
    get_level(&reader, config);
    get_headers(&reader, "LIMIT_", "LIMIT_RESPONSE_HEADERS_ENABLED", &rls->headers);
    get_headers(&reader, "LIMIT_REQUEST_", "LIMIT_REQUEST_HEADERS_ENABLED", &rls->request_headers);
    rls->shadow = get_bool(&reader, "SHADOW_MODE", false);
    rls->quota = get_bool(&reader, "QUOTA_MODE", false);
    get_ratio(&reader, &rls->near_ratio);
    get_text(&reader, "CACHE_KEY_PREFIX", rls->prefix, sizeof rls->prefix);
    return !reader.failed;
}

/* ---- what is to be said ---- */

static const struct {
    const char *name;
    bool is_prefix;
    const char *why;
} notes_of[] = {
    {"REDIS_", true, "not needed: there is no Redis"},
    {"MEMCACHE_", true, "not needed: there is no memcached"},
    {"BACKEND_TYPE", false, "not needed: limits are counted here"},
    {"LOCAL_CACHE_SIZE_IN_BYTES", false, "not needed: all counters are local"},
    {"EXPIRATION_JITTER_MAX_SECONDS", false, "not needed: windows end by themselves"},
    {"STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", false,
     "not supported: refused hits are counted, unless a rule's metadata says tally: {charge: admitted}"},
    {"RUNTIME_WATCH_ROOT", false, "not needed: both the link and the files are looked at"},
    {"USE_STATSD", false, "not supported: GET /metrics and /stats have the same numbers"},
    {"STATSD_", true, "not supported: GET /metrics and /stats have the same numbers"},
    {"EXTRA_TAGS", false, "not supported: GET /metrics and /stats have the same numbers"},
    {"STATS_FLUSH_INTERVAL", false, "not supported: GET /metrics and /stats have the same numbers"},
    {"DISABLE_STATS", false, "not supported: GET /metrics and /stats are always there"},
    {"USE_DOG_STATSD", true, "not supported: GET /metrics and /stats have the same numbers"},
    {"USE_PROMETHEUS", false, "not needed: GET /metrics is always there"},
    {"PROMETHEUS_", true, "not supported: GET /metrics of the HTTP door has them"},
    {"XDS_CLIENT_BACKOFF_", true, "not supported: the time before the next try doubles up to a minute"},
    {"XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", false, "not supported: a response has at most 16 MiB"},
    {"RESPONSE_DYNAMIC_METADATA", false, "not supported: answers have no dynamic metadata"},
    {"MAX_CONCURRENT_REQUESTS", false, "not needed: a request is answered at once"},
    {"REQUEST_TIMEOUT", false, "not needed: a request is answered at once"},
    {"GRPC_MAX_CONCURRENT_STREAMS", false, "not supported: a connection has at most 1000 calls at once"},
    {"FORCE_START_WITHOUT_INITIAL_CONFIG", false, "not needed: it starts at once, and /readyz tells"},
    {"HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", false, "not needed: it is healthy once limits are loaded"},
    {"LOG_FORMAT", false, "not supported: log lines are text"},
    {"TRACING_", true, "not supported"},
    {"OTEL_", true, "not supported"},
    {"GRPC_MAX_CONNECTION_AGE", true, "not supported: connections end when they are idle"},
};

void tly_rls_env_look(const char *const *environment, struct tly_rls_env_notes *notes)
{
    size_t n = 0;
    notes->text[0] = '\0';
    for (const char *const *at = environment; is_meant(environment) && *at != NULL; at++) {
        size_t name = strcspn(*at, "=");
        for (size_t i = 0; i < sizeof notes_of / sizeof notes_of[0]; i++) {
            size_t known = strlen(notes_of[i].name);
            bool is_it =
                strncmp(*at, notes_of[i].name, known) == 0 && (notes_of[i].is_prefix || name == known);
            if (!is_it || n + name + 128 > sizeof notes->text) continue;
            n += (size_t)snprintf(notes->text + n, sizeof notes->text - n, "%.*s: %s\n", (int)name, *at,
                                  notes_of[i].why);
        }
    }
}
