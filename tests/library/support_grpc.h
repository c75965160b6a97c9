/*
 * A gRPC client for one call at a time, on nghttp2 and a socket that is connected.  It shares no code with the door that answers.
 */
#ifndef TALLY_TESTS_LIBRARY_SUPPORT_GRPC_H
#define TALLY_TESTS_LIBRARY_SUPPORT_GRPC_H

#include <stddef.h>
#include <stdint.h>

struct grpc;

struct grpc_answer {
    int status; /* grpc-status */
    char text[256];
    uint8_t message[4096];
    size_t n;
};

/* Lets the server do what there is to do. */
typedef void grpc_turn(void *context);

struct grpc *grpc_new(int fd, grpc_turn *turn, void *context);
void grpc_free(struct grpc *grpc);
/* One message, and its answer, which is good until the next. */
const struct grpc_answer *grpc_ask(struct grpc *grpc, const char *path, const uint8_t *message, size_t n);

/* ---- messages ---- */

/* A message that is written: at most 512 bytes. */
struct grpc_message {
    uint8_t p[512];
    size_t n;
};

void grpc_put_number(struct grpc_message *message, unsigned field, uint64_t number);
void grpc_put_text(struct grpc_message *message, unsigned field, const char *text);
void grpc_put_message(struct grpc_message *message, unsigned field, const struct grpc_message *inner);

struct grpc_piece {
    const uint8_t *p;
    size_t n;
};

/* The last of a field's values: a number (0: there is none), or the bytes of a text or message (p NULL: there is none). */
uint64_t grpc_number(struct grpc_piece message, unsigned field);
struct grpc_piece grpc_bytes(struct grpc_piece message, unsigned field);

#endif
