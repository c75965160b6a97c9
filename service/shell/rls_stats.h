/*
 * What the rate limit service counts, under the names that envoyproxy/ratelimit has for it.  Counters outlive the configuration they
 * came with, so that a reload is not a reset.  At most TLY_RLS_SERIES_MAX names are kept: a name may hold a value that clients
 * choose (detailed_metric, value_to_metric, limits that clients bring); what comes after is counted under none.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_STATS_H
#define TALLY_SERVICE_SHELL_RLS_STATS_H

#include "crdt/hash.h"
#include "wire/buf.h"

#define TLY_RLS_SERIES_MAX 16384u

/* Of a limit. X(name) */
#define TLY_RLS_LIMIT_STATS(X)     \
    X(total_hits)                  \
    X(over_limit)                  \
    X(near_limit)                  \
    X(over_limit_with_local_cache) \
    X(within_limit)                \
    X(shadow_mode)

/* Of the service. X(member, "name") */
#define TLY_RLS_SERVICE_STATS(X)                             \
    X(config_load_success, "config_load_success")            \
    X(config_load_error, "config_load_error")                \
    X(redis_error, "call.should_rate_limit.redis_error")     \
    X(service_error, "call.should_rate_limit.service_error") \
    X(global_shadow_mode, "global_shadow_mode")

struct tly_rls_stats {
    struct tly_slice name;
#define TLY_RLS_MEMBER(member) uint64_t member;
    TLY_RLS_LIMIT_STATS(TLY_RLS_MEMBER)
#undef TLY_RLS_MEMBER
};

struct tly_rls_service_stats {
#define TLY_RLS_MEMBER(member, name) uint64_t member;
    TLY_RLS_SERVICE_STATS(TLY_RLS_MEMBER)
#undef TLY_RLS_MEMBER
    uint64_t domain_not_found;
    uint64_t calls;   /* over gRPC */
    uint64_t unnamed; /* hits that were counted under no name */
};

/* An object: counters by name. */
struct tly_rls_series;

struct tly_rls_series *tly_rls_series_new(const struct tly_mem *mem, const struct tly_hash_key *key);
void tly_rls_series_free(struct tly_rls_series *series);
/* That of a name, which is made if there is none; NULL: there is no room, or no memory. It stays where it is. */
struct tly_rls_stats *tly_rls_series_need(struct tly_rls_series *series, struct tly_slice name);
/* Writes a name as envoyproxy/ratelimit does: ':' and '|' become '_', and so do the dots of what looks like an IPv4 address, which would
 * divide it. */
void tly_rls_stats_clean(uint8_t *name, size_t n);
/* The i-th in the order in which they were made; NULL past the end. */
const struct tly_rls_stats *tly_rls_series_at(const struct tly_rls_series *series, size_t i);

#endif
