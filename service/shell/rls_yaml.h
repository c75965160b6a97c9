/*
 * A file of envoyproxy/ratelimit's configuration, by libyaml: bounded, then read as Go's yaml.v2 reads it, for that is what
 * the files were written for: which plain words are numbers, booleans or nothing, what may stand where a text is wanted, that a key
 * that comes twice means its last value, and in which words a mistake is told.
 *
 * Beyond that, `metadata` may stand in a descriptor or its rate_limit with anything in it; of that `tally` is ours:
 *
 *     metadata:
 *       tally: {algorithm: token_bucket, window: 10s, burst: 20, mode: optimistic, on_partition: open}
 */
#ifndef TALLY_SERVICE_SHELL_RLS_YAML_H
#define TALLY_SERVICE_SHELL_RLS_YAML_H

#include "service/shell/rls_config.h"

#define TLY_RLS_FILE_BYTES_MAX ((size_t)1024 * 1024)
#define TLY_RLS_VALUES_MAX ((size_t)262144)

/* Adds what the text says; `file` names it in errors. False: error says why, and config is of no use any more. */
bool tly_rls_yaml_load(struct tly_rls_config *config, const char *file, struct tly_slice text, bool merges,
                       struct tly_rls_error *error);

#endif
