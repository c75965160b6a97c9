/* What the methods of the gRPC door do. */
#ifndef TALLY_SERVICE_SHELL_GRPC_METHODS_H
#define TALLY_SERVICE_SHELL_GRPC_METHODS_H

#include "service/shell/grpc.h"

/* grpc_rls.c */
void tly_grpc_should_rate_limit(struct tly_grpc_call *call, struct tly_slice message);
/* grpc_health.c: grpc.health.v1 */
void tly_grpc_health_check(struct tly_grpc_call *call, struct tly_slice message);
void tly_grpc_health_watch(struct tly_grpc_call *call, struct tly_slice message);
void tly_grpc_health_look(struct tly_grpc_call *call, bool is_draining);
/* grpc_reflection.c: grpc.reflection.v1 and v1alpha */
void tly_grpc_reflect(struct tly_grpc_call *call, struct tly_slice message);

#endif
