/*
 * The settings of tallyd: defaults, then the file (-f), then -o key=value, each checked where it was written.
 * Unknown keys are errors; an error names file, line and column (or the option) and what was expected.
 */
#ifndef TALLY_SERVICE_SHELL_CONFIG_H
#define TALLY_SERVICE_SHELL_CONFIG_H

#include "service/engine/engine.h"
#include "service/shell/log.h"
#include "service/shell/rls_settings.h"
#include "service/shell/store.h"
#include "service/shell/tls_files.h"

#define TLY_JOIN_MAX 64
#define TLY_CONFIG_TEXT_MAX 4096
/* All seeds, with commas between. */
#define TLY_CONFIG_JOIN_TEXT_MAX (TLY_JOIN_MAX * (TLY_ADDRESS_BYTES_MAX + 1))

/* Where a door listens. */
enum tly_listen_kind { TLY_LISTEN_NONE, TLY_LISTEN_TCP, TLY_LISTEN_UNIX };

struct tly_listen {
    enum tly_listen_kind kind;
    char host[256]; /* numeric or a name; "" for all addresses is written 0.0.0.0 or [::] */
    uint16_t port;  /* 0: any free one */
    char path[108]; /* of a unix socket */
};

/* Whether many keys may lie in pages of 2 MiB. */
enum tly_large_pages { TLY_LARGE_PAGES_AUTO, TLY_LARGE_PAGES_NO };

/* Whether clients are read from and answered many at a time, through io_uring. */
enum tly_io_uring { TLY_IO_URING_AUTO, TLY_IO_URING_NO };

/* Whose word a client's address is: that of X-Forwarded-For, of X-Real-IP, or the connection's own. */
enum tly_client_ip { TLY_CLIENT_IP_FORWARDED, TLY_CLIENT_IP_REAL_IP, TLY_CLIENT_IP_CONNECTION };

/* Whether verdicts over HTTP have X-RateLimit headers too, and what their Reset is: seconds from now, or since 1970. */
enum tly_x_ratelimit { TLY_X_RATELIMIT_NO, TLY_X_RATELIMIT_SECONDS, TLY_X_RATELIMIT_EPOCH };

#define TLY_SECRET_BYTES_MAX 255

struct tly_config {
    char name[TLY_NAME_BYTES_MAX + 1]; /* "": made from host name and peers port */
    char cluster[TLY_NAME_BYTES_MAX + 1];
    char secret[TLY_SECRET_BYTES_MAX + 1]; /* of the cluster; never shown */
    char data[TLY_CONFIG_TEXT_MAX];        /* directory; "": no store */
    struct tly_listen resp, http, grpc, debug, peers;
    char advertise[TLY_ADDRESS_BYTES_MAX + 1]; /* "": the peers address */
    char join[TLY_JOIN_MAX][TLY_ADDRESS_BYTES_MAX + 1];
    size_t join_count;
    enum tly_fsync fsync;
    uint32_t flush_ms;
    char resolver[TLY_ADDRESS_BYTES_MAX + 1]; /* empty: the system's */
    size_t mesh_max;
    size_t link_budget; /* bytes/s to each peer; 0: no limit */
    size_t memory_max;  /* bytes; 0: no limit but memory */
    enum tly_on_full on_full;
    enum tly_large_pages large_pages;
    enum tly_io_uring io_uring;
    size_t compact_min; /* bytes of the log that are left alone */
    uint64_t tombstone_grace_ms, forget_after_ms;
    enum tly_client_ip client_ip;
    enum tly_x_ratelimit x_ratelimit;
    uint32_t trusted_hops;         /* proxies on the way whose X-Forwarded-For is believed, at least 1 */
    uint32_t ipv6_prefix;          /* bits of an IPv6 address that make a client, 1 to 128 */
    struct tly_tls_files grpc_tls; /* without a certificate: in the clear */
    struct tly_rls_settings rls;
    struct tly_rls_place rls_place;
    struct tly_xds_settings xds;
    enum tly_level level;
    char file[TLY_CONFIG_TEXT_MAX]; /* -f; "": none */
    uint64_t file_print;            /* of the file as it was read, by tly_filewatch_print */
};

/* An error for people; "" when there is none. */
struct tly_config_error {
    char text[1024];
};

/* Where settings come from, each over what came before. Borrowed; lists end with NULL, and NULL is none. */
struct tly_config_sources {
    const char *const *defaults;    /* "key=value", where they differ from tallyd's own */
    const char *const *environment; /* that of envoyproxy/ratelimit is looked for in it */
    const char *file;
    const char *const *options; /* "key=value" */
};

/* Defaults. data: $XDG_STATE_HOME/tally or $HOME/.local/state/tally. */
void tly_config_init(struct tly_config *config);
/* One "key=value". False: error is set, config unchanged. */
bool tly_config_set(struct tly_config *config, const char *assignment, struct tly_config_error *error);
/* One setting by name; the error does not say where it was written. */
bool tly_config_put(struct tly_config *config, const char *key, const char *value,
                    struct tly_config_error *error);
/* Reads settings and limits from a YAML file into config and a new rules object; on error nothing changed. */
bool tly_config_load(struct tly_config *config, const char *path, const struct tly_mem *mem,
                     struct tly_rules **rules, struct tly_config_error *error);
/* The same of a text that may set nothing but limits; errors name it `label`. */
bool tly_config_parse_limits(const char *label, struct tly_slice text, const struct tly_mem *mem,
                             struct tly_rules **rules, struct tly_config_error *error);
/* What no single key can tell: combinations. */
bool tly_config_check(const struct tly_config *config, struct tly_config_error *error);
/* All of that: what a node starts with. Without a file there are no rules in the new object. False: there is none. */
bool tly_config_read(struct tly_config *config, const struct tly_config_sources *sources,
                     const struct tly_mem *mem, struct tly_rules **rules, struct tly_config_error *error);
/* Names of the settings that are not alike, with commas between. */
void tly_config_differences(const struct tly_config *a, const struct tly_config *b, char *names, size_t size);
/* The value of a setting as it would be written; false: there is no such setting. */
bool tly_config_get(const struct tly_config *config, const char *key, char *value, size_t size);
/* The i-th key's name, or NULL past the end. */
const char *tly_config_key(size_t i);

#endif
