/* Internal to the gRPC door: what grpc.c (a connection) and grpc_send.c (what goes out of it) share. */
#ifndef TALLY_SERVICE_SHELL_GRPC_INTERNAL_H
#define TALLY_SERVICE_SHELL_GRPC_INTERNAL_H

#include "service/shell/grpc.h"
#include "service/shell/grpc_flood.h"

LIST_HEAD(tly_grpc_calls, tly_grpc_call);

struct tly_grpc {
    struct tly_mem mem;
    struct tly_app *app;
    struct tly_client *client;
    nghttp2_session *session;
    struct tly_grpc_calls calls, spare;
    size_t call_count, spare_count;
    uint64_t last_call_ns, looked_ns; /* at its calls */
    struct tly_grpc_flood flood;
    bool spoke;        /* anything came */
    bool is_heard;     /* the client has answered our PING */
    bool is_draining;  /* new calls go elsewhere: the client was told */
    bool is_last_told; /* … and which was the last one */
    bool is_calmed;    /* the client does too much of what helps nobody, and was told */
};

#endif
