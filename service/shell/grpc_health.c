/*
 * grpc.health.v1.Health, for the services "", "ratelimit" (as envoyproxy/ratelimit calls itself) and the full name.  Serving is what
 * GET /readyz calls ready.
 */
#include "service/shell/grpc_methods.h"

#include "wire/protobuf.h"

enum health { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* "" (all of it), or one of those that there are. */
static bool is_service(struct tly_slice name)
{
    return name.n == 0 || tly_slice_equal(name, tly_slice_text("ratelimit")) ||
           tly_slice_equal(name, tly_slice_text("envoy.service.ratelimit.v3.RateLimitService"));
}

static enum health health_now(struct tly_grpc_call *call)
{
    char reasons[1024];
    tly_app_readiness(tly_grpc_app(call), reasons, sizeof reasons);
    return reasons[0] == '\0' ? SERVING : NOT_SERVING;
}

/* False: the call has failed. */
static bool get_service(struct tly_grpc_call *call, struct tly_slice message, struct tly_slice *service)
{
    struct tly_pb in = tly_pb_of(message);
    *service = tly_slice_of(NULL, 0);
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        if (tly_pb_is_bytes(&field, 1)) *service = field.bytes;
    if (in.bad)
        tly_grpc_fail(call, TLY_GRPC_INTERNAL,
                      "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data");
    return !in.bad;
}

/* The last one that was said is kept in the call's state. */
static void say(struct tly_grpc_call *call, enum health health)
{
    call->state = (unsigned char)health;
    tly_pb_put_varint(tly_grpc_begin_message(call), 1, health);
    tly_grpc_end_message(call);
}

void tly_grpc_health_check(struct tly_grpc_call *call, struct tly_slice message)
{
    struct tly_slice service;
    if (!get_service(call, message, &service)) return;
    if (!is_service(service)) {
        tly_grpc_fail(call, TLY_GRPC_NOT_FOUND, "unknown service");
        return;
    }
    say(call, health_now(call));
    tly_grpc_finish(call);
}

void tly_grpc_health_watch(struct tly_grpc_call *call, struct tly_slice message)
{
    struct tly_slice service;
    if (get_service(call, message, &service))
        say(call, is_service(service) ? health_now(call) : SERVICE_UNKNOWN);
}

void tly_grpc_health_look(struct tly_grpc_call *call, bool is_draining)
{
    if (call->state == SERVICE_UNKNOWN) {
        if (is_draining) tly_grpc_fail(call, TLY_GRPC_UNAVAILABLE, "the node stops");
        return;
    }
    enum health health = is_draining ? NOT_SERVING : health_now(call);
    if (health != (enum health)call->state) say(call, health);
    if (is_draining) tly_grpc_fail(call, TLY_GRPC_UNAVAILABLE, "the node stops");
}
