/*
 * The directory with the configuration of the rate limit service, as envoyproxy/ratelimit has it: every file under
 * ROOT/SUBDIRECTORY/config, together one configuration.  It is watched (filewatch.h), and loaded again when a file came, went or
 * changed, or ROOT leads elsewhere (a symbolic link that is swapped; a mounted ConfigMap).  A configuration that cannot be loaded is
 * counted and told, and the one in use stays.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_FILES_H
#define TALLY_SERVICE_SHELL_RLS_FILES_H

#include "service/shell/rls.h"

#define TLY_RLS_FILES_MAX 1024
#define TLY_RLS_FILES_BYTES_MAX ((size_t)16 * 1024 * 1024)

/* All files as one configuration; NULL: error says why. */
struct tly_rls_config *tly_rls_files_load(const struct tly_rls_place *place, const struct tly_mem *mem,
                                          struct tly_rls_error *error);

/* An object: what watches the directory. */
struct tly_rls_files;

/* Loads it for the first time, too. NULL: no memory. */
struct tly_rls_files *tly_rls_files_new(struct tly_app *app, struct tly_rls *rls,
                                        const struct tly_rls_place *place);
void tly_rls_files_free(struct tly_rls_files *files);
/* Loads it again, whether it changed or not. */
void tly_rls_files_reload(struct tly_rls_files *files);

#endif
