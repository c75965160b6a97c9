#include "service/shell/grpc_methods.h"

#include <stdio.h>

static const struct tly_grpc_method methods[] = {
    {"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", .run = tly_grpc_should_rate_limit},
    {"/grpc.health.v1.Health/Check", .run = tly_grpc_health_check},
    {"/grpc.health.v1.Health/Watch", .goes_on = true, .run = tly_grpc_health_watch,
     .look = tly_grpc_health_look},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", .takes_many = true,
     .run = tly_grpc_reflect},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", .takes_many = true,
     .run = tly_grpc_reflect},
};

const struct tly_grpc_method *tly_grpc_method_at(size_t i)
{
    return i < sizeof methods / sizeof methods[0] ? &methods[i] : NULL;
}

/* The service's name without the first '/', up to the last. */
static struct tly_slice service_of(struct tly_slice path)
{
    size_t n = path.n;
    while (n > 0 && path.p[n - 1] != '/')
        n--;
    return n < 2 || path.p[0] != '/' ? tly_slice_of(NULL, 0) : tly_slice_of(path.p + 1, n - 2);
}

const struct tly_grpc_method *tly_grpc_find(struct tly_slice path, char error[TLY_GRPC_TEXT_MAX])
{
    struct tly_slice service = service_of(path);
    bool has_service = false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct tly_slice known = tly_slice_text(methods[i].path);
        if (tly_slice_equal(known, path)) return &methods[i];
        has_service = has_service || tly_slice_equal(service_of(known), service);
    }
    if (service.n == 0) {
        (void)snprintf(error, TLY_GRPC_TEXT_MAX, "malformed method name: \"%.*s\"", (int)path.n,
                       (const char *)path.p);
    } else if (has_service) {
        size_t at = service.n + 2;
        (void)snprintf(error, TLY_GRPC_TEXT_MAX, "unknown method %.*s for service %.*s", (int)(path.n - at),
                       (const char *)path.p + at, (int)service.n, (const char *)service.p);
    } else {
        (void)snprintf(error, TLY_GRPC_TEXT_MAX, "unknown service %.*s", (int)service.n,
                       (const char *)service.p);
    }
    return NULL;
}
