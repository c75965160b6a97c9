/*
 * Envoy's rate limit service: what a request is answered, whatever door brought it.  It behaves as envoyproxy/ratelimit does, with the
 * engine's limits in the place of Redis: every descriptor is charged, refused hits too, in fixed windows; what is measured and
 * answered of a limit follows from the count before and after.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_H
#define TALLY_SERVICE_SHELL_RLS_H

#include "service/shell/app.h"
#include "service/shell/rls_config.h"
#include "service/shell/rls_settings.h"
#include "service/shell/rls_stats.h"

/* An object: the configuration in use, and what is counted. Loop thread only. */
struct tly_rls;

struct tly_rls *tly_rls_new(const struct tly_mem *mem, const struct tly_rls_settings *settings);
void tly_rls_free(struct tly_rls *rls);
/* Takes the configuration over; NULL: one could not be loaded, and the one in use stays. Both are counted. */
void tly_rls_use(struct tly_rls *rls, struct tly_rls_config *config);
/* That in use; NULL: none was loaded yet. */
const struct tly_rls_config *tly_rls_config(const struct tly_rls *rls);
const struct tly_rls_series *tly_rls_series(const struct tly_rls *rls);
void tly_rls_service_stats(const struct tly_rls *rls, struct tly_rls_service_stats *stats);

/* A request came over gRPC. */
void tly_rls_count_call(struct tly_rls *rls);

/* Room for one request and its answer, for whoever asks. */
struct tly_rls_request *tly_rls_request(struct tly_rls *rls);
/* Answers what stands in that room. NULL: it cannot be answered, and *error says why. It borrows until the next request. */
const struct tly_rls_response *tly_rls_ask(struct tly_rls *rls, struct tly_app *app, const char **error);

#endif
