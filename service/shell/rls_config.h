/*
 * The rules of Envoy's rate limit service: domains, in them descriptors in descriptors, some with a limit.  What is a mistake, and in
 * which words, is that of envoyproxy/ratelimit, whose files and whose xDS resources are loaded here; how a request finds its limit, too:
 *
 *     entry by entry, one level of descriptors each: "KEY_VALUE" exactly, else the first descriptor in the order of the file that ends
 *     in '*' and fits, else "KEY"; only what the last entry comes to counts.
 *
 * An object that never changes once it is made; it owns all its texts.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_CONFIG_H
#define TALLY_SERVICE_SHELL_RLS_CONFIG_H

#include "service/engine/rule.h"
#include "service/shell/rls_message.h"

#define TLY_RLS_RULES_MAX 65536
#define TLY_RLS_DEPTH_MAX 16
#define TLY_RLS_REPLACES_MAX 64

struct tly_rls_stats; /* rls_stats.h */
struct tly_rls_config;

struct tly_rls_limit {
    uint32_t requests_per_unit;
    enum tly_rls_unit unit;
    bool unlimited, shadow, quota, detailed;
    bool spares_refused; /* as our own limits do: what is refused is not counted */
    struct tly_slice name, *replaces;
    size_t replaces_count;
    struct tly_rate rate;        /* what the engine does; not of an unlimited one */
    struct tly_slice full_key;   /* "domain.key_value.key" */
    struct tly_rls_stats *stats; /* under full_key; whoever counts sets it */
};

/* The engine has no limit of nothing, and counts for it by one of 1. */
static inline uint32_t tly_rls_counted_units(uint32_t requests_per_unit)
{
    return requests_per_unit > 0 ? requests_per_unit : 1;
}

/* A descriptor as it stands in a file or a resource. Borrows. */
struct tly_rls_spec {
    struct tly_slice key, value;
    bool shadow, quota, detailed, value_to_metric, share_threshold;
    bool has_limit, unlimited;
    uint32_t requests_per_unit;
    struct tly_slice unit, name;
    struct tly_slice replaces[TLY_RLS_REPLACES_MAX];
    size_t replaces_count;
    /* Our own, from metadata: algorithm, mode, on_partition, burst; window_ms and limit 0: not said. */
    struct tly_rate extras;
    bool spares_refused;
};

struct tly_rls_error {
    char text[512];
};

/* A descriptor that was added. */
struct tly_rls_node;

struct tly_rls_config *tly_rls_config_new(const struct tly_mem *mem);
void tly_rls_config_free(struct tly_rls_config *config);

/*
 * A domain, in which descriptors are added; file names it in errors. With `merges` a domain that there is already goes on. NULL: error
 * says why.
 */
struct tly_rls_node *tly_rls_config_domain(struct tly_rls_config *config, const char *file,
                                           struct tly_slice domain, bool merges, struct tly_rls_error *error);
/* A descriptor in a domain or in a descriptor. NULL: error says why. */
struct tly_rls_node *tly_rls_config_add(struct tly_rls_config *config, const char *file,
                                        struct tly_rls_node *parent, const struct tly_rls_spec *spec,
                                        struct tly_rls_error *error);
/* "FILE: text" as an error; always NULL. */
void *tly_rls_error_set(struct tly_rls_error *error, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

size_t tly_rls_config_domain_count(const struct tly_rls_config *config);
size_t tly_rls_config_rule_count(const struct tly_rls_config *config);
/* The limits in the order in which they were added; NULL past the end. */
struct tly_rls_limit *tly_rls_config_limit_at(const struct tly_rls_config *config, size_t i);

/* How the metrics of a match are called, and what its counter is. */
struct tly_rls_match {
    struct tly_rls_limit *limit; /* NULL: none */
    bool is_domain_known;
    bool is_metric_plain; /* it is the limit's full_key */
    /* Of an entry that came in by a descriptor with share_threshold: the descriptor's value, which counts in the place of the entry's. */
    struct tly_slice shared[TLY_RLS_DEPTH_MAX];
    bool has_shared;
    const struct tly_rls_node *path[TLY_RLS_DEPTH_MAX]; /* what each entry came to */
    bool by_wildcard[TLY_RLS_DEPTH_MAX], by_value[TLY_RLS_DEPTH_MAX];
};

/* The limit of a descriptor that brings none of its own. */
void tly_rls_config_find(const struct tly_rls_config *config, struct tly_slice domain,
                         const struct tly_rls_descriptor *descriptor, struct tly_rls_match *match);
/* The name of its metrics when it is not plain. */
void tly_rls_metric_put(const struct tly_rls_match *match, struct tly_slice domain,
                        const struct tly_rls_descriptor *descriptor, struct tly_buf *out);
/* … and of a descriptor that brings its own limit. */
void tly_rls_override_metric_put(struct tly_slice domain, const struct tly_rls_descriptor *descriptor,
                                 struct tly_buf *out);
/* All limits, a line each, as /rlconfig shows them. */
void tly_rls_config_dump(const struct tly_rls_config *config, struct tly_buf *out);

#endif
