#include "service/shell/config.h"

#include "service/shell/config_value.h"
#include "service/shell/rls_env.h"
#include "service/shell/seeds.h"
#include "service/shell/xds_target.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_MS_MAX 1000
#define MESH_MAX 1000
/* Less would be taken by buffers alone. */
#define LINK_BUDGET_LEAST 1024
#define MEMORY_MAX_LEAST (16u << 20)
#define COMPACT_MIN_LEAST ((size_t)64 * 1024)
#define COMPACT_MIN_DEFAULT ((size_t)64 * 1024 * 1024)

/* ---- those that are like no other ---- */

static bool set_join(struct tly_config *config, const char *value)
{
    char copy[TLY_CONFIG_JOIN_TEXT_MAX], *rest = copy;
    char parsed[TLY_JOIN_MAX][TLY_ADDRESS_BYTES_MAX + 1];
    size_t count = 0;
    if (strlcpy(copy, value, sizeof copy) >= sizeof copy) return false;
    for (const char *item; value[0] != '\0' && (item = strsep(&rest, ",")) != NULL;) {
        if (count == TLY_JOIN_MAX || !(tly_seed_is_dns(item) || tly_value_is_address(item))) return false;
        strlcpy(parsed[count++], item, sizeof parsed[0]);
    }
    memcpy(config->join, parsed, count * sizeof parsed[0]);
    config->join_count = count;
    return true;
}

static void get_join(const struct tly_config *config, char *value, size_t size)
{
    value[0] = '\0';
    for (size_t i = 0; i < config->join_count; i++) {
        strlcat(value, i > 0 ? "," : "", size);
        strlcat(value, config->join[i], size);
    }
}

static bool set_ratelimit(struct tly_config *config, const char *value)
{
    if (value[0] == '\0' || strlen(value) >= sizeof config->rls_place.root) return false;
    config->rls_place = (struct tly_rls_place){.ignores_dot_files = true};
    strlcpy(config->rls_place.root, strcmp(value, "none") == 0 ? "" : value, sizeof config->rls_place.root);
    return true;
}

static void get_ratelimit(const struct tly_config *config, char *value, size_t size)
{
    const struct tly_rls_place *place = &config->rls_place;
    const char *parts[] = {place->root[0] != '\0' ? place->root : "none", place->subdirectory,
                           place->app_directory};
    value[0] = '\0';
    for (size_t i = 0; i < 3; i++) {
        if (i > 0 && parts[i][0] != '\0') strlcat(value, "/", size);
        strlcat(value, parts[i], size);
    }
}

static bool set_log(struct tly_config *config, const char *value)
{
    return tly_level_parse(value, &config->level);
}

static void get_log(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, tly_level_name(config->level), size);
}

static bool set_xds(struct tly_config *config, const char *value)
{
    struct tly_xds_settings *xds = &config->xds;
    struct tly_xds_target target;
    bool is_none = strcmp(value, "none") == 0;
    if (strlen(value) >= sizeof xds->server || !(is_none || tly_xds_target_parse(value, &target)))
        return false;
    strlcpy(xds->server, is_none ? "" : value, sizeof xds->server);
    return true;
}

static void get_xds(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->xds.server[0] != '\0' ? config->xds.server : "none", size);
}

/* ---- the settings ---- */

static const char *const fsync_names[] = {
    [TLY_FSYNC_ALWAYS] = "always", [TLY_FSYNC_INTERVAL] = "interval", [TLY_FSYNC_NEVER] = "never", NULL};
static const char *const on_full_names[] = {
    [TLY_ON_FULL_ADMIT] = "admit", [TLY_ON_FULL_REFUSE] = "refuse", NULL};
static const char *const large_pages_names[] = {
    [TLY_LARGE_PAGES_AUTO] = "auto", [TLY_LARGE_PAGES_NO] = "no", NULL};
static const char *const io_uring_names[] = {[TLY_IO_URING_AUTO] = "auto", [TLY_IO_URING_NO] = "no", NULL};
/* Whose word it is: that of proxies, or that of the connection. */
static const char *const client_ip_names[] = {[TLY_CLIENT_IP_FORWARDED] = "forwarded",
                                              [TLY_CLIENT_IP_REAL_IP] = "real-ip",
                                              [TLY_CLIENT_IP_CONNECTION] = "connection",
                                              NULL};

static const char *const x_ratelimit_names[] = {[TLY_X_RATELIMIT_NO] = "no",
                                                [TLY_X_RATELIMIT_SECONDS] = "seconds",
                                                [TLY_X_RATELIMIT_EPOCH] = "epoch",
                                                NULL};

static const char listen_form[] = "ADDR:PORT, unix:PATH or none";
static const char name_form[] = "1 to 64 of letters, digits, '.', '_' and '-'";
static const char pem_form[] = "a file in PEM, or none";

#define MEMBER(of_kind, member)                                                 \
    .kind = TLY_VALUE_##of_kind, .offset = offsetof(struct tly_config, member), \
    .size = sizeof(((struct tly_config *)NULL)->member)
#define DOOR(key, member)                                             \
    {                                                                 \
        key, listen_form, MEMBER(LISTEN, member), .may_be_unix = true \
    }
#define OWN(key, expected, name)                                                   \
    {                                                                              \
        key, expected, .kind = TLY_VALUE_OWN, .set = set_##name, .get = get_##name \
    }

static const struct tly_setting settings[] = {
    {"name", name_form, MEMBER(NAME, name)},
    {"cluster", name_form, MEMBER(NAME, cluster)},
    {"secret", "up to 255 bytes", MEMBER(SECRET, secret)},
    {"data", "a directory or none", MEMBER(TEXT, data)},
    DOOR("resp", resp),
    DOOR("http", http),
    DOOR("grpc", grpc),
    {"grpc_tls_cert", pem_form, MEMBER(TEXT, grpc_tls.certificate)},
    {"grpc_tls_key", pem_form, MEMBER(TEXT, grpc_tls.key)},
    {"grpc_tls_client_ca", pem_form, MEMBER(TEXT, grpc_tls.ca)},
    {"grpc_tls_client_name", "a name or an address in the clients' certificates, or none",
     MEMBER(TEXT, grpc_tls.name)},
    DOOR("debug", debug),
    {"peers", "ADDR:PORT or none", MEMBER(LISTEN, peers)},
    OWN("ratelimit", "a directory with files of envoyproxy/ratelimit, or none", ratelimit),
    OWN("xds", "HOST:PORT or unix:PATH of a management server, or none", xds),
    {"xds_node", "what this node is called at the management server", MEMBER(TEXT, xds.node_id)},
    {"advertise", "ADDR:PORT as other nodes dial it", MEMBER(ADDRESS, advertise)},
    OWN("join", "ADDR:PORT, dns:NAME:PORT or dns:NAME (SRV), at most 64 with commas between", join),
    {"resolver", "ADDR:PORT of a DNS server, or nothing", MEMBER(ADDRESS, resolver), .may_be_nothing = true},
    {"fsync", "always, interval or never", MEMBER(WORD, fsync), .words = fsync_names},
    {"flush_ms", "a number from 1 to 1000", MEMBER(NUMBER, flush_ms), .least = 1, .most = FLUSH_MS_MAX},
    {"mesh_max", "a number from 2 to 1000", MEMBER(NUMBER, mesh_max), .least = 2, .most = MESH_MAX},
    {"link_budget", "bytes a second such as 32k or 1m, at least 1k; 0: no limit", MEMBER(BYTES, link_budget),
     .least = LINK_BUDGET_LEAST, .may_be_nothing = true},
    {"memory_max", "bytes such as 512m or 2g, at least 16m; 0: no limit", MEMBER(BYTES, memory_max),
     .least = MEMORY_MAX_LEAST, .may_be_nothing = true},
    {"on_full", "admit or refuse", MEMBER(WORD, on_full), .words = on_full_names},
    {"large_pages", "auto or no", MEMBER(WORD, large_pages), .words = large_pages_names},
    {"io_uring", "auto or no", MEMBER(WORD, io_uring), .words = io_uring_names},
    {"compact_min", "bytes such as 64m, at least 64k", MEMBER(BYTES, compact_min),
     .least = COMPACT_MIN_LEAST},
    {"tombstone_grace", "a number of seconds from 1 to 604800", MEMBER(SECONDS, tombstone_grace_ms),
     .least = 1, .most = 604800},
    {"forget_after", "a number of seconds from 1 to 31622400", MEMBER(SECONDS, forget_after_ms), .least = 1,
     .most = 31622400},
    {"client_ip", "forwarded, real-ip or connection", MEMBER(WORD, client_ip), .words = client_ip_names},
    {"trusted_hops", "a number from 1 to 16", MEMBER(NUMBER, trusted_hops), .least = 1, .most = 16},
    {"ipv6_prefix", "a number from 1 to 128", MEMBER(NUMBER, ipv6_prefix), .least = 1, .most = 128},
    {"x_ratelimit", "no, seconds or epoch", MEMBER(WORD, x_ratelimit), .words = x_ratelimit_names},
    OWN("log", "error, warn, info or debug", log),
};

#define SETTING_COUNT (sizeof settings / sizeof settings[0])

const char *tly_config_key(size_t i)
{
    return i < SETTING_COUNT ? settings[i].key : NULL;
}

static const struct tly_setting *find(const char *key)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings[i].key, key) == 0) return &settings[i];
    return NULL;
}

bool tly_config_get(const struct tly_config *config, const char *key, char *value, size_t size)
{
    const struct tly_setting *setting = find(key);
    if (setting != NULL) tly_value_get(setting, config, value, size);
    return setting != NULL;
}

static void known_keys(char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        strlcat(text, i > 0 ? ", " : "", size);
        strlcat(text, settings[i].key, size);
    }
}

static void refuse_unknown(const char *key, struct tly_config_error *error)
{
    char known[512];
    known_keys(known, sizeof known);
    bool is_envoys = strcmp(key, "domain") == 0 || strcmp(key, "descriptors") == 0;
    if (is_envoys)
        snprintf(error->text, sizeof error->text,
                 "%s: rules of Envoy's ratelimit are files in a directory of their own: -o ratelimit=DIR",
                 key);
    else
        snprintf(error->text, sizeof error->text, "%.100s: no such setting; expected one of: %s", key, known);
}

bool tly_config_put(struct tly_config *config, const char *key, const char *value,
                    struct tly_config_error *error)
{
    const struct tly_setting *setting = find(key);
    if (setting == NULL) {
        refuse_unknown(key, error);
        return false;
    }
    if (tly_value_set(setting, config, value)) return true;
    const char *shown = setting->kind == TLY_VALUE_SECRET ? "…" : value;
    snprintf(error->text, sizeof error->text, "%s=%.200s: expected %s", key, shown, setting->expected);
    return false;
}

bool tly_config_set(struct tly_config *config, const char *assignment, struct tly_config_error *error)
{
    char key[64];
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || (size_t)(equals - assignment) >= sizeof key) {
        snprintf(error->text, sizeof error->text, "-o %.200s: expected key=value", assignment);
        return false;
    }
    memcpy(key, assignment, (size_t)(equals - assignment));
    key[equals - assignment] = '\0';
    struct tly_config_error inner;
    if (tly_config_put(config, key, equals + 1, &inner)) return true;
    snprintf(error->text, sizeof error->text, "-o %.900s", inner.text);
    return false;
}

void tly_config_init(struct tly_config *config)
{
    *config = (struct tly_config){
        .cluster = "tally",
        .resp = {TLY_LISTEN_TCP, "127.0.0.1", 7379, ""},
        .http = {TLY_LISTEN_TCP, "127.0.0.1", 7380, ""},
        .peers = {TLY_LISTEN_TCP, "127.0.0.1", 7382, ""},
        .fsync = TLY_FSYNC_INTERVAL,
        .compact_min = COMPACT_MIN_DEFAULT,
        .flush_ms = 10,
        .mesh_max = 16,
        .tombstone_grace_ms = 300000,
        .forget_after_ms = 86400000,
        .trusted_hops = 1,
        .ipv6_prefix = 64,
        .level = TLY_LEVEL_INFO,
    };
    tly_rls_settings_init(&config->rls);
    config->xds = (struct tly_xds_settings){.node_id = "default", .retry_ms = 3000};
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (state != NULL && state[0] == '/')
        n = snprintf(config->data, sizeof config->data, "%s/tally", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(config->data, sizeof config->data, "%s/.local/state/tally", home);
    else
        n = snprintf(config->data, sizeof config->data, "/var/lib/tally");
    if (n >= (int)sizeof config->data) config->data[0] = '\0';
}

bool tly_config_check(const struct tly_config *config, struct tly_config_error *error)
{
    error->text[0] = '\0';
    if (config->peers.kind == TLY_LISTEN_NONE && config->advertise[0] != '\0')
        snprintf(error->text, sizeof error->text,
                 "advertise is set, but peers=none: nobody could connect there");
    if (config->xds.server[0] != '\0' && config->rls_place.root[0] != '\0')
        snprintf(error->text, sizeof error->text,
                 "ratelimit and xds are both set: the limits are from one of them");
    const struct tly_tls_files *tls = &config->grpc_tls;
    if ((tls->certificate[0] == '\0') != (tls->key[0] == '\0'))
        snprintf(error->text, sizeof error->text, "grpc_tls_cert and grpc_tls_key are needed together");
    else if (tls->ca[0] != '\0' && tls->certificate[0] == '\0')
        snprintf(error->text, sizeof error->text,
                 "grpc_tls_client_ca is set, but not grpc_tls_cert: clients would not be asked for theirs");
    else if (tls->name[0] != '\0' && tls->ca[0] == '\0')
        snprintf(error->text, sizeof error->text,
                 "grpc_tls_client_name is set, but not grpc_tls_client_ca: nobody would vouch for the name");
    return error->text[0] == '\0';
}

static bool set_all(struct tly_config *config, const char *const *assignments, struct tly_config_error *error)
{
    bool good = true;
    for (size_t i = 0; assignments != NULL && assignments[i] != NULL && good; i++)
        good = tly_config_set(config, assignments[i], error);
    return good;
}

bool tly_config_read(struct tly_config *config, const struct tly_config_sources *sources,
                     const struct tly_mem *mem, struct tly_rules **rules, struct tly_config_error *error)
{
    tly_config_init(config);
    *rules = NULL;
    bool good = set_all(config, sources->defaults, error);
    if (good && sources->environment != NULL) good = tly_rls_env(config, sources->environment, error);
    if (good && sources->file != NULL) good = tly_config_load(config, sources->file, mem, rules, error);
    good = good && set_all(config, sources->options, error) && tly_config_check(config, error);
    if (good && *rules == NULL) {
        *rules = tly_rules_new(mem);
        if (*rules == NULL) snprintf(error->text, sizeof error->text, "out of memory");
    }
    if (good && *rules != NULL) return true;
    tly_rules_free(*rules);
    *rules = NULL;
    return false;
}

/* As they are written, but for what is never shown. */
static bool is_alike(const struct tly_setting *setting, const struct tly_config *a,
                     const struct tly_config *b)
{
    char one[TLY_CONFIG_JOIN_TEXT_MAX], other[TLY_CONFIG_JOIN_TEXT_MAX];
    if (setting->kind == TLY_VALUE_SECRET) return strcmp(a->secret, b->secret) == 0;
    tly_value_get(setting, a, one, sizeof one);
    tly_value_get(setting, b, other, sizeof other);
    return strcmp(one, other) == 0;
}

void tly_config_differences(const struct tly_config *a, const struct tly_config *b, char *names, size_t size)
{
    names[0] = '\0';
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (is_alike(&settings[i], a, b)) continue;
        if (names[0] != '\0') strlcat(names, ", ", size);
        strlcat(names, settings[i].key, size);
    }
}
