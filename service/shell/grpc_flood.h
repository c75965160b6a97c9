/*
 * What a client of the gRPC door may do that asks for nothing: reset calls, and send frames that only have to be looked at.  Each is paid
 * for from an account that fills up again with time; who has spent it is closed with ENHANCE_YOUR_CALM.  Frames that belong to calls
 * (windows that widen, pings that measure) are given with the answers, so that a busy client is not taken for a bad one.
 */
#ifndef TALLY_SERVICE_SHELL_GRPC_FLOOD_H
#define TALLY_SERVICE_SHELL_GRPC_FLOOD_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

/* Calls that end by a reset, whoever sent it: so many at once, and so many a second. */
#define TLY_GRPC_RESETS_MAX 2000u
#define TLY_GRPC_RESETS_PER_S 200u
/* The same of frames that ask for nothing, and how many each frame of an answer gives. */
#define TLY_GRPC_CHATTER_MAX 2000u
#define TLY_GRPC_CHATTER_PER_S 200u
#define TLY_GRPC_CHATTER_PER_ANSWER 4u
/* Resets of one connection in one turn of the loop, about; the rest wait for their next turn. */
#define TLY_GRPC_RESETS_PER_TURN 16u

/* A value: nothing was spent when all is 0. Times are monotonic. */
struct tly_grpc_flood {
    uint64_t resets_until_ns, chatter_until_ns; /* when what was spent will be there again */
    uint32_t resets_of_turn;
    const char *what; /* there was too much of; NULL: of nothing */
};

/* A frame has come. */
void tly_grpc_flood_heard(struct tly_grpc_flood *flood, const nghttp2_frame *frame, uint64_t now_ns);
/* A frame went out. */
void tly_grpc_flood_said(struct tly_grpc_flood *flood, const nghttp2_frame *frame, uint64_t now_ns);

#endif
