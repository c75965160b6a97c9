/*
 * gRPC over HTTP/2, inside: calls, and the methods that answer them.  nghttp2 speaks HTTP/2 and does no I/O of its own; the door
 * brings the bytes.
 *
 *     grpc.c         a connection         grpc_call.c     a call: its messages, its status
 *     grpc_send.c    what goes out        grpc_flood.c    what a client may do that asks for nothing
 *     grpc_table.c   the methods          grpc_health.c, grpc_reflection.c, grpc_rls.c   what they do
 *
 * A call is answered in the turn of the loop in which its last byte came. Bounded are: calls at once (TLY_GRPC_CALLS_MAX), a message
 * (TLY_GRPC_MESSAGE_MAX), its headers, all bytes of a connection that wait for the rest of their message (the connection's window),
 * the time that half a call may take (TLY_HALF_MS), and what is said that asks for nothing (grpc_flood.h).
 */
#ifndef TALLY_SERVICE_SHELL_GRPC_H
#define TALLY_SERVICE_SHELL_GRPC_H

#include "service/shell/door.h"

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#define TLY_GRPC_MESSAGE_MAX 65536u
#define TLY_GRPC_CALLS_MAX 1000u
#define TLY_GRPC_HEADER_BYTES_MAX 16384u
#define TLY_GRPC_WINDOW_BYTES (1024u * 1024u)
/* What a call that goes on may have waiting for its client. */
#define TLY_GRPC_OUT_MAX (256u * 1024u)

/* grpc/doc/statuscodes.md */
enum tly_grpc_code {
    TLY_GRPC_OK = 0,
    TLY_GRPC_UNKNOWN = 2,
    TLY_GRPC_DEADLINE_EXCEEDED = 4,
    TLY_GRPC_NOT_FOUND = 5,
    TLY_GRPC_RESOURCE_EXHAUSTED = 8,
    TLY_GRPC_UNIMPLEMENTED = 12,
    TLY_GRPC_INTERNAL = 13,
    TLY_GRPC_UNAVAILABLE = 14
};

#define TLY_GRPC_TEXT_MAX 320

struct tly_grpc;
struct tly_grpc_call;

struct tly_grpc_method {
    const char *path; /* "/package.Service/Method" */
    bool
        takes_many; /* messages come until the client has ended, each is answered as it comes; otherwise one, when it has ended */
    bool goes_on; /* the answer has no end of its own */
    /* Answers one message, with tly_grpc_send, tly_grpc_fail or, when it goes on, later. */
    void (*run)(struct tly_grpc_call *call, struct tly_slice message);
    /* Of one that goes on: what there is to say by now. is_draining: and that was the last. */
    void (*look)(struct tly_grpc_call *call, bool is_draining);
};

/* NULL: there is none; *error says it as gRPC servers do. */
const struct tly_grpc_method *tly_grpc_find(struct tly_slice path, char error[TLY_GRPC_TEXT_MAX]);
/* The i-th method; NULL past the end. */
const struct tly_grpc_method *tly_grpc_method_at(size_t i);

struct tly_grpc_call {
    LIST_ENTRY(tly_grpc_call) in_calls;
    struct tly_grpc *grpc;
    const struct tly_grpc_method *method;
    int32_t id;
    struct tly_buf in, out; /* messages that are not whole; messages that are not sent */
    size_t sent;            /* of out */
    size_t message_at;      /* in out, the message that is written */
    size_t unused;          /* bytes that came and are not used yet: they narrow the connection's window */
    uint64_t began_ns,
        deadline_ns; /* monotonic. Of a call of many messages: the last began; no deadline: 0 */
    uint32_t header_bytes;
    uint32_t messages;
    enum tly_grpc_code code;
    int http_status; /* other than 200: it was no gRPC */
    bool is_post, is_grpc, is_encoded;
    bool begun;    /* headers are out */
    bool finished; /* the status is known */
    bool client_ended;
    unsigned char state; /* the method's own */
    char text[TLY_GRPC_TEXT_MAX];
    char path[128]; /* "": too long to be one of ours */
};

/* grpc_call.c, for grpc.c */
void tly_grpc_call_init(struct tly_grpc_call *call, struct tly_grpc *grpc, const struct tly_mem *mem);
void tly_grpc_call_fini(struct tly_grpc_call *call);
/* Empty again for another call, its memory kept. */
void tly_grpc_call_begin(struct tly_grpc_call *call, int32_t id, uint64_t now_ns);
void tly_grpc_call_header(struct tly_grpc_call *call, struct tly_slice name, struct tly_slice value);
/* All headers are here. */
void tly_grpc_call_headers_end(struct tly_grpc_call *call);
void tly_grpc_call_data(struct tly_grpc_call *call, struct tly_slice bytes);
/* The client sends no more. */
void tly_grpc_call_end(struct tly_grpc_call *call, uint64_t now_ns);

/* For methods. */
struct tly_app *tly_grpc_app(const struct tly_grpc_call *call);
/* A message: between the two it is written to what begin returns. */
struct tly_buf *tly_grpc_begin_message(struct tly_grpc_call *call);
void tly_grpc_end_message(struct tly_grpc_call *call);
/* The call is over, once its messages are out. */
void tly_grpc_finish(struct tly_grpc_call *call);
void tly_grpc_fail(struct tly_grpc_call *call, enum tly_grpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* grpc_send.c, for grpc_call.c: has nghttp2 ask for what is to be sent. */
void tly_grpc_flush_call(struct tly_grpc_call *call);

#endif
