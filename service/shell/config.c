#include "service/shell/config.h"

#include "service/shell/seeds.h"

#include <errno.h>
#include <inttypes.h>
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

/* A setting: how it is read from text and written back. set: false with what was expected in `expected`. */
struct setting {
    const char *key;
    bool (*set)(struct tly_config *config, const char *value, const char **expected);
    void (*get)(const struct tly_config *config, char *value, size_t size);
};

/* ---- addresses ---- */

static bool parse_port(const char *text, uint16_t *port)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > UINT16_MAX) return false;
    *port = (uint16_t)number;
    return true;
}

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* A host name or an IPv4 address; what stood in brackets is an IPv6 address, perhaps with a scope. */
static bool is_host(const char *text, size_t n, bool bracketed)
{
    if (bracketed) return strspn(text, NAME_BYTES ":%") >= n && memchr(text, ':', n) != NULL;
    return n > 0 && strspn(text, NAME_BYTES) >= n;
}

/* ADDR:PORT, [v6]:PORT or :PORT; an empty address is all of them. */
static bool parse_host_port(const char *text, char *host, size_t size, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_port(colon + 1, port)) return false;
    size_t n = (size_t)(colon - text);
    bool bracketed = n > 2 && text[0] == '[' && text[n - 1] == ']';
    if (n == 0) {
        text = "0.0.0.0";
        n = strlen(text);
    } else if (bracketed) {
        text++;
        n -= 2;
    }
    if (!is_host(text, n, bracketed) || n >= size) return false;
    memcpy(host, text, n);
    host[n] = '\0';
    return true;
}

static bool parse_listen(const char *text, bool may_be_unix, struct tly_listen *listen)
{
    struct tly_listen parsed = {.kind = TLY_LISTEN_TCP};
    if (strcmp(text, "none") == 0) {
        parsed.kind = TLY_LISTEN_NONE;
    } else if (may_be_unix && strncmp(text, "unix:", 5) == 0) {
        parsed.kind = TLY_LISTEN_UNIX;
        if (text[5] == '\0' || strlcpy(parsed.path, text + 5, sizeof parsed.path) >= sizeof parsed.path)
            return false;
    } else if (!parse_host_port(text, parsed.host, sizeof parsed.host, &parsed.port)) {
        return false;
    }
    *listen = parsed;
    return true;
}

static void write_listen(const struct tly_listen *listen, char *value, size_t size)
{
    bool v6 = strchr(listen->host, ':') != NULL;
    switch (listen->kind) {
    case TLY_LISTEN_NONE: snprintf(value, size, "none"); break;
    case TLY_LISTEN_UNIX: snprintf(value, size, "unix:%s", listen->path); break;
    case TLY_LISTEN_TCP:
        snprintf(value, size, "%s%s%s:%u", v6 ? "[" : "", listen->host, v6 ? "]" : "",
                 (unsigned)listen->port);
        break;
    }
}

static const char listen_form[] = "ADDR:PORT, unix:PATH or none";
static const char pem_form[] = "a file in PEM, or none";
static const char peers_form[] = "ADDR:PORT or none";

static bool set_resp(struct tly_config *config, const char *value, const char **expected)
{
    *expected = listen_form;
    return parse_listen(value, true, &config->resp);
}

static bool set_http(struct tly_config *config, const char *value, const char **expected)
{
    *expected = listen_form;
    return parse_listen(value, true, &config->http);
}

static bool set_grpc(struct tly_config *config, const char *value, const char **expected)
{
    *expected = listen_form;
    return parse_listen(value, true, &config->grpc);
}

static bool set_debug(struct tly_config *config, const char *value, const char **expected)
{
    *expected = listen_form;
    return parse_listen(value, true, &config->debug);
}

static bool set_peers(struct tly_config *config, const char *value, const char **expected)
{
    *expected = peers_form;
    return parse_listen(value, false, &config->peers);
}

static void get_resp(const struct tly_config *config, char *value, size_t size)
{
    write_listen(&config->resp, value, size);
}

static void get_http(const struct tly_config *config, char *value, size_t size)
{
    write_listen(&config->http, value, size);
}

static void get_grpc(const struct tly_config *config, char *value, size_t size)
{
    write_listen(&config->grpc, value, size);
}

static void get_debug(const struct tly_config *config, char *value, size_t size)
{
    write_listen(&config->debug, value, size);
}

static void get_peers(const struct tly_config *config, char *value, size_t size)
{
    write_listen(&config->peers, value, size);
}

/* An address that somebody dials: a port that is not 0. */
static bool is_dialable(const char *text)
{
    char host[TLY_ADDRESS_BYTES_MAX + 1];
    uint16_t port;
    return text[0] != ':' && strlen(text) <= TLY_ADDRESS_BYTES_MAX &&
           parse_host_port(text, host, sizeof host, &port) && port != 0;
}

static bool set_advertise(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "ADDR:PORT as other nodes dial it";
    if (!is_dialable(value)) return false;
    strlcpy(config->advertise, value, sizeof config->advertise);
    return true;
}

static void get_advertise(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->advertise, size);
}

static bool set_join(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "ADDR:PORT, dns:NAME:PORT or dns:NAME (SRV), at most 64 with commas between";
    char copy[TLY_CONFIG_TEXT_MAX * 4], *rest = copy;
    char parsed[TLY_JOIN_MAX][TLY_ADDRESS_BYTES_MAX + 1];
    size_t count = 0;
    if (strlcpy(copy, value, sizeof copy) >= sizeof copy) return false;
    for (const char *item; value[0] != '\0' && (item = strsep(&rest, ",")) != NULL;) {
        if (count == TLY_JOIN_MAX || !(tly_seed_is_dns(item) || is_dialable(item))) return false;
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

static bool set_resolver(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "ADDR:PORT of a DNS server, or nothing";
    if (value[0] != '\0' && !is_dialable(value)) return false;
    strlcpy(config->resolver, value, sizeof config->resolver);
    return true;
}

static void get_resolver(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->resolver, size);
}

/* ---- the rest ---- */

static bool is_name(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > TLY_NAME_BYTES_MAX) return false;
    return strspn(text, NAME_BYTES) == n;
}

static const char name_form[] = "1 to 64 of letters, digits, '.', '_' and '-'";

static bool set_name(struct tly_config *config, const char *value, const char **expected)
{
    *expected = name_form;
    if (!is_name(value)) return false;
    strlcpy(config->name, value, sizeof config->name);
    return true;
}

static void get_name(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->name, size);
}

static bool set_cluster(struct tly_config *config, const char *value, const char **expected)
{
    *expected = name_form;
    if (!is_name(value)) return false;
    strlcpy(config->cluster, value, sizeof config->cluster);
    return true;
}

static void get_cluster(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->cluster, size);
}

static bool set_secret(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "up to 255 bytes";
    if (strlen(value) > TLY_SECRET_BYTES_MAX) return false;
    strlcpy(config->secret, value, sizeof config->secret);
    return true;
}

/* Whether there is one is all that is told. */
static void get_secret(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->secret[0] != '\0' ? "set" : "", size);
}

static bool set_data(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a directory or none";
    if (value[0] == '\0' || strlen(value) >= sizeof config->data) return false;
    strlcpy(config->data, strcmp(value, "none") == 0 ? "" : value, sizeof config->data);
    return true;
}

static void get_data(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, config->data[0] != '\0' ? config->data : "none", size);
}

static const char *const fsync_names[] = {
    [TLY_FSYNC_ALWAYS] = "always",
    [TLY_FSYNC_INTERVAL] = "interval",
    [TLY_FSYNC_NEVER] = "never",
};

static bool set_fsync(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "always, interval or never";
    for (size_t i = 0; i < sizeof fsync_names / sizeof fsync_names[0]; i++) {
        if (strcmp(value, fsync_names[i]) != 0) continue;
        config->fsync = (enum tly_fsync)i;
        return true;
    }
    return false;
}

static void get_fsync(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, fsync_names[config->fsync], size);
}

static bool parse_number(const char *text, unsigned long long most, unsigned long long *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number <= most;
}

static bool set_flush_ms(struct tly_config *config, const char *value, const char **expected)
{
    unsigned long long number;
    *expected = "a number from 1 to 1000";
    if (!parse_number(value, FLUSH_MS_MAX, &number) || number == 0) return false;
    config->flush_ms = (uint32_t)number;
    return true;
}

static void get_flush_ms(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%u", config->flush_ms);
}

static bool set_mesh_max(struct tly_config *config, const char *value, const char **expected)
{
    unsigned long long number;
    *expected = "a number from 2 to 1000";
    if (!parse_number(value, MESH_MAX, &number) || number < 2) return false;
    config->mesh_max = (size_t)number;
    return true;
}

static void get_mesh_max(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%zu", config->mesh_max);
}

/* "512m": bytes, with k, m or g for 2^10, 2^20 and 2^30. */
static bool parse_bytes(const char *text, size_t *bytes)
{
    static const char units[] = "kmg";
    char digits[24];
    size_t n = strspn(text, "0123456789");
    const char *unit = text[n] != '\0' ? strchr(units, text[n] | 0x20) : NULL;
    unsigned shift = unit != NULL ? (unsigned)(unit - units + 1) * 10 : 0;
    if (n >= sizeof digits || (text[n] != '\0' && (unit == NULL || text[n + 1] != '\0'))) return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    unsigned long long number;
    if (!parse_number(digits, (unsigned long long)SIZE_MAX >> shift, &number)) return false;
    *bytes = (size_t)number << shift;
    return true;
}

static bool set_memory_max(struct tly_config *config, const char *value, const char **expected)
{
    size_t bytes;
    *expected = "bytes such as 512m or 2g, at least 16m; 0: no limit";
    if (!parse_bytes(value, &bytes) || (bytes != 0 && bytes < MEMORY_MAX_LEAST)) return false;
    config->memory_max = bytes;
    return true;
}

static void write_bytes(size_t bytes, char *value, size_t size)
{
    static const char units[][2] = {"", "k", "m", "g"};
    size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    snprintf(value, size, "%zu%s", bytes, units[unit]);
}

static void get_memory_max(const struct tly_config *config, char *value, size_t size)
{
    write_bytes(config->memory_max, value, size);
}

static bool set_link_budget(struct tly_config *config, const char *value, const char **expected)
{
    size_t bytes;
    *expected = "bytes a second such as 32k or 1m, at least 1k; 0: no limit";
    if (!parse_bytes(value, &bytes) || (bytes != 0 && bytes < LINK_BUDGET_LEAST)) return false;
    config->link_budget = bytes;
    return true;
}

static void get_link_budget(const struct tly_config *config, char *value, size_t size)
{
    write_bytes(config->link_budget, value, size);
}

static bool set_compact_min(struct tly_config *config, const char *value, const char **expected)
{
    size_t bytes;
    *expected = "bytes such as 64m, at least 64k";
    if (!parse_bytes(value, &bytes) || bytes < COMPACT_MIN_LEAST) return false;
    config->compact_min = bytes;
    return true;
}

static void get_compact_min(const struct tly_config *config, char *value, size_t size)
{
    write_bytes(config->compact_min, value, size);
}

static const char *const on_full_names[] = {[TLY_ON_FULL_ADMIT] = "admit", [TLY_ON_FULL_REFUSE] = "refuse"};

static bool set_on_full(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "admit or refuse";
    for (size_t i = 0; i < sizeof on_full_names / sizeof on_full_names[0]; i++) {
        if (strcmp(value, on_full_names[i]) != 0) continue;
        config->on_full = (enum tly_on_full)i;
        return true;
    }
    return false;
}

static void get_on_full(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, on_full_names[config->on_full], size);
}

/* Seconds in the setting. */
static bool parse_seconds(const char *value, unsigned long long most, uint64_t *ms)
{
    unsigned long long number;
    if (!parse_number(value, most, &number) || number == 0) return false;
    *ms = number * 1000;
    return true;
}

static bool set_tombstone_grace(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a number of seconds from 1 to 604800";
    return parse_seconds(value, 604800, &config->tombstone_grace_ms);
}

static void get_tombstone_grace(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu64, config->tombstone_grace_ms / 1000);
}

static bool set_forget_after(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a number of seconds from 1 to 31622400";
    return parse_seconds(value, 31622400, &config->forget_after_ms);
}

static void get_forget_after(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu64, config->forget_after_ms / 1000);
}

/* ---- the clients of proxies ---- */

static const char *const client_ip_names[] = {
    [TLY_CLIENT_IP_FORWARDED] = "forwarded",
    [TLY_CLIENT_IP_REAL_IP] = "real-ip",
    [TLY_CLIENT_IP_CONNECTION] = "connection",
};

static bool set_client_ip(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "forwarded, real-ip or connection";
    for (size_t i = 0; i < sizeof client_ip_names / sizeof client_ip_names[0]; i++) {
        if (strcmp(value, client_ip_names[i]) != 0) continue;
        config->client_ip = (enum tly_client_ip)i;
        return true;
    }
    return false;
}

static void get_client_ip(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, client_ip_names[config->client_ip], size);
}

static bool parse_small(const char *text, uint32_t most, uint32_t *number)
{
    unsigned long long wide;
    if (!parse_number(text, most, &wide) || wide == 0) return false;
    *number = (uint32_t)wide;
    return true;
}

static bool set_trusted_hops(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a number from 1 to 16";
    return parse_small(value, 16, &config->trusted_hops);
}

static void get_trusted_hops(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu32, config->trusted_hops);
}

static bool set_ipv6_prefix(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a number from 1 to 128";
    return parse_small(value, 128, &config->ipv6_prefix);
}

static void get_ipv6_prefix(const struct tly_config *config, char *value, size_t size)
{
    snprintf(value, size, "%" PRIu32, config->ipv6_prefix);
}

/* ---- Envoy's rate limit service ---- */

static bool set_ratelimit(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a directory with files of envoyproxy/ratelimit, or none";
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

static bool set_log(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "error, warn, info or debug";
    return tly_level_parse(value, &config->level);
}

static void get_log(const struct tly_config *config, char *value, size_t size)
{
    strlcpy(value, tly_level_name(config->level), size);
}

/* A text that has room; "none" empties it. */
static bool set_short(char *to, size_t size, const char *value)
{
    return value[0] != '\0' && strlcpy(to, strcmp(value, "none") == 0 ? "" : value, size) < size;
}

static void get_text(const char *text, char *value, size_t size)
{
    strlcpy(value, text[0] != '\0' ? text : "none", size);
}

static bool set_grpc_tls_cert(struct tly_config *config, const char *value, const char **expected)
{
    *expected = pem_form;
    return set_short(config->grpc_tls.certificate, sizeof config->grpc_tls.certificate, value);
}

static void get_grpc_tls_cert(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->grpc_tls.certificate, value, size);
}

static bool set_grpc_tls_key(struct tly_config *config, const char *value, const char **expected)
{
    *expected = pem_form;
    return set_short(config->grpc_tls.key, sizeof config->grpc_tls.key, value);
}

static void get_grpc_tls_key(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->grpc_tls.key, value, size);
}

static bool set_grpc_tls_client_ca(struct tly_config *config, const char *value, const char **expected)
{
    *expected = pem_form;
    return set_short(config->grpc_tls.ca, sizeof config->grpc_tls.ca, value);
}

static void get_grpc_tls_client_ca(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->grpc_tls.ca, value, size);
}

static bool set_grpc_tls_client_name(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "a name or an address in the clients' certificates, or none";
    return set_short(config->grpc_tls.name, sizeof config->grpc_tls.name, value);
}

static void get_grpc_tls_client_name(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->grpc_tls.name, value, size);
}

static bool set_xds(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "HOST:PORT of a management server, or none";
    bool is_it = strcmp(value, "none") == 0 || strrchr(value, ':') != NULL;
    return is_it && set_short(config->xds.server, sizeof config->xds.server, value);
}

static void get_xds(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->xds.server, value, size);
}

static bool set_xds_node(struct tly_config *config, const char *value, const char **expected)
{
    *expected = "what this node is called at the management server";
    return set_short(config->xds.node_id, sizeof config->xds.node_id, value);
}

static void get_xds_node(const struct tly_config *config, char *value, size_t size)
{
    get_text(config->xds.node_id, value, size);
}

static const struct setting settings[] = {
    {"name", set_name, get_name},
    {"cluster", set_cluster, get_cluster},
    {"secret", set_secret, get_secret},
    {"data", set_data, get_data},
    {"resp", set_resp, get_resp},
    {"http", set_http, get_http},
    {"grpc", set_grpc, get_grpc},
    {"grpc_tls_cert", set_grpc_tls_cert, get_grpc_tls_cert},
    {"grpc_tls_key", set_grpc_tls_key, get_grpc_tls_key},
    {"grpc_tls_client_ca", set_grpc_tls_client_ca, get_grpc_tls_client_ca},
    {"grpc_tls_client_name", set_grpc_tls_client_name, get_grpc_tls_client_name},
    {"debug", set_debug, get_debug},
    {"peers", set_peers, get_peers},
    {"ratelimit", set_ratelimit, get_ratelimit},
    {"xds", set_xds, get_xds},
    {"xds_node", set_xds_node, get_xds_node},
    {"advertise", set_advertise, get_advertise},
    {"join", set_join, get_join},
    {"resolver", set_resolver, get_resolver},
    {"fsync", set_fsync, get_fsync},
    {"flush_ms", set_flush_ms, get_flush_ms},
    {"mesh_max", set_mesh_max, get_mesh_max},
    {"link_budget", set_link_budget, get_link_budget},
    {"memory_max", set_memory_max, get_memory_max},
    {"on_full", set_on_full, get_on_full},
    {"compact_min", set_compact_min, get_compact_min},
    {"tombstone_grace", set_tombstone_grace, get_tombstone_grace},
    {"forget_after", set_forget_after, get_forget_after},
    {"client_ip", set_client_ip, get_client_ip},
    {"trusted_hops", set_trusted_hops, get_trusted_hops},
    {"ipv6_prefix", set_ipv6_prefix, get_ipv6_prefix},
    {"log", set_log, get_log},
};

#define SETTING_COUNT (sizeof settings / sizeof settings[0])

const char *tly_config_key(size_t i)
{
    return i < SETTING_COUNT ? settings[i].key : NULL;
}

static const struct setting *find(const char *key)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings[i].key, key) == 0) return &settings[i];
    return NULL;
}

bool tly_config_get(const struct tly_config *config, const char *key, char *value, size_t size)
{
    const struct setting *setting = find(key);
    if (setting != NULL) setting->get(config, value, size);
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

bool tly_config_put(struct tly_config *config, const char *key, const char *value,
                    struct tly_config_error *error)
{
    const struct setting *setting = find(key);
    if (setting == NULL) {
        char known[512];
        known_keys(known, sizeof known);
        snprintf(error->text, sizeof error->text, "%.100s: no such setting; expected one of: %s", key, known);
        return false;
    }
    const char *expected = "";
    if (setting->set(config, value, &expected)) return true;
    snprintf(error->text, sizeof error->text, "%s=%.200s: expected %s", key, value, expected);
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
