/*
 * The configuration of Envoy's rate limit service from a management server: a client of xDS, state of the world, on one call of the aggregated
 * discovery service.  Every response is read aside; what can be taken is, and acknowledged; what cannot be is refused with its error and the nonce,
 * is counted and logged, and the limits stay as they are.
 *
 * A connection that ends, says nothing for TLY_XDS_SILENCE_MS though it was asked, or does not come to be in that time is dialled again, after a time that doubles up
 * to TLY_XDS_RETRY_MAX_MS, of which chance leaves out up to a half.  Limits of what was taken stay meanwhile. A response has at most TLY_XDS_MESSAGE_MAX
 * bytes; a server that sends more is hung up on.
 */
#ifndef TALLY_SERVICE_SHELL_XDS_H
#define TALLY_SERVICE_SHELL_XDS_H

#include "service/shell/rls.h"

#define TLY_XDS_MESSAGE_MAX (16u * 1024u * 1024u)
#define TLY_XDS_SILENCE_MS 20000
#define TLY_XDS_RETRY_MAX_MS 60000
#define TLY_XDS_VERSION_MAX 1024 /* bytes of a version or a nonce */

struct tly_tls_error;

/* An object: the client. Loop thread only. */
struct tly_xds;

/* Dials at once. NULL: error says what is wrong with the settings. */
struct tly_xds *tly_xds_new(struct tly_app *app, struct tly_rls *rls, const struct tly_xds_settings *settings,
                            struct tly_tls_error *error);
void tly_xds_free(struct tly_xds *xds);

struct tly_xds_stats {
    bool is_up;     /* the server speaks on this connection, though it may have nothing new to say */
    uint64_t dials; /* connections that came to be */
    uint64_t accepted, refused; /* responses */
};
void tly_xds_stats(const struct tly_xds *xds, struct tly_xds_stats *stats);

#endif
