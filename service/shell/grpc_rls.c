/* envoy.service.ratelimit.v3.RateLimitService */
#include "service/shell/grpc_methods.h"

#include "service/shell/rls.h"

void tly_grpc_should_rate_limit(struct tly_grpc_call *call, struct tly_slice message)
{
    struct tly_app *app = tly_grpc_app(call);
    struct tly_rls *rls = tly_app_rls(app);
    const char *error;
    tly_rls_count_call(rls);
    enum tly_result result = tly_rls_request_get(message, tly_rls_request(rls));
    if (result == TLY_TOO_LARGE) {
        tly_grpc_fail(call, TLY_GRPC_RESOURCE_EXHAUSTED, "more than %d descriptors, or %d entries of them",
                      TLY_RLS_DESCRIPTORS_MAX, TLY_RLS_ENTRIES_MAX);
        return;
    }
    if (result != TLY_OK) {
        tly_grpc_fail(call, TLY_GRPC_INTERNAL,
                      "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data");
        return;
    }
    const struct tly_rls_response *response = tly_rls_ask(rls, app, &error);
    if (response == NULL) {
        tly_grpc_fail(call, TLY_GRPC_UNKNOWN, "%s", error);
        return;
    }
    tly_rls_response_put(response, tly_grpc_begin_message(call));
    tly_grpc_end_message(call);
    tly_grpc_finish(call);
}
