/* How Envoy's rate limit service is set up: values, as envoyproxy/ratelimit has them. */
#ifndef TALLY_SERVICE_SHELL_RLS_SETTINGS_H
#define TALLY_SERVICE_SHELL_RLS_SETTINGS_H

#include "service/shell/tls_files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLY_RLS_HEADER_NAME_MAX 64
#define TLY_RLS_PREFIX_MAX 64

/* Headers that tell what is left of the limit that is nearest. */
struct tly_rls_header_names {
    bool enabled;
    char limit[TLY_RLS_HEADER_NAME_MAX], remaining[TLY_RLS_HEADER_NAME_MAX], reset[TLY_RLS_HEADER_NAME_MAX];
};

struct tly_rls_settings {
    struct tly_rls_header_names headers, request_headers;
    bool shadow, quota; /* for all limits */
    float near_ratio;
    char prefix[TLY_RLS_PREFIX_MAX]; /* of every counter's key */
};

/* Where the files of its configuration are: ROOT/SUBDIRECTORY/APP_DIRECTORY, of which the last two may be empty. */
struct tly_rls_place {
    char root[4096]; /* "": there are none */
    char subdirectory[256];
    char app_directory[64];
    bool ignores_dot_files, merges_domains;
};

/* The management server that its configuration comes from, in the place of files (xds.h). */
struct tly_xds_settings {
    char server[256];    /* host:port; "": there is none */
    char node_id[256];   /* what this node is called there */
    char metadata[1024]; /* of the node: "key=value,key=value" */
    char headers[1024];  /* of the call: "name:value,name:value" */
    uint32_t retry_ms;   /* how long it waits before it dials again, at first */
    bool uses_tls, merges_domains;
    struct tly_tls_files tls;
};

/* As it is when nothing is set. */
void tly_rls_settings_init(struct tly_rls_settings *settings);

#endif
