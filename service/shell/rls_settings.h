/* How Envoy's rate limit service is set up: values, as envoyproxy/ratelimit has them. */
#ifndef TALLY_SERVICE_SHELL_RLS_SETTINGS_H
#define TALLY_SERVICE_SHELL_RLS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

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

/* As it is when nothing is set. */
void tly_rls_settings_init(struct tly_rls_settings *settings);

#endif
