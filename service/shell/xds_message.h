/*
 * What is said to a management server and heard of it, by the state-of-the-world form of envoy.service.discovery.v3: DiscoveryRequest, written, and
 * DiscoveryResponse with ratelimit.config.ratelimit.v3.RateLimitConfig in it, read into a configuration.  No I/O.
 */
#ifndef TALLY_SERVICE_SHELL_XDS_MESSAGE_H
#define TALLY_SERVICE_SHELL_XDS_MESSAGE_H

#include "service/shell/rls_config.h"

#define TLY_XDS_TYPE "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
#define TLY_XDS_METHOD "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
#define TLY_XDS_RESOURCES_MAX 4096

/* What a request says. Borrows. */
struct tly_xds_request {
    const char *node_id;
    const char *metadata;     /* of the node: "key=value,key=value" */
    struct tly_slice version; /* of what was taken last */
    struct tly_slice nonce;   /* of what is answered; empty: of nothing */
    const char *error;        /* it was refused; NULL: it was taken */
};

void tly_xds_request_put(const struct tly_xds_request *request, struct tly_buf *out);

/* A response. Borrows from its bytes. */
struct tly_xds_response {
    struct tly_slice version, type_url, nonce;
    struct tly_slice bytes;
};

/* False: it is malformed; what could be read until then is there. */
bool tly_xds_response_get(struct tly_slice bytes, struct tly_xds_response *response);
/* All its resources as one configuration. NULL: error says which is wrong, and how. */
struct tly_rls_config *tly_xds_response_config(const struct tly_xds_response *response, bool merges,
                                               const struct tly_mem *mem, struct tly_rls_error *error);

#endif
