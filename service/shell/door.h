/*
 * A door: a listener whose connections speak one protocol, on plain libevent events with buffers of their own: one read,
 * as many requests as it holds, one write; of those that speak at the same time the reads are one call of the kernel, and the writes.
 * The door holds bytes and timeouts; the protocol holds none of the two.
 *
 *   - at most TLY_CLIENTS_MAX connections over all doors; beyond it the newcomer is closed, counted, and listening
 *     goes on; out of descriptors: accepting pauses 100 ms and recovers
 *   - input is read into one buffer of at most in_max bytes; when it is full and the protocol consumes nothing, the connection is
 *     closed after what was written
 *   - output above TLY_OUT_HIGH pauses reading until it falls below half; a client that takes nothing of it for
 *     TLY_STUCK_MS is closed, and so is one whose unsent answers would pass TLY_OUT_MAX
 *   - a stream whose client is slow is not woken until half of what waits is gone, and is kept alive within idle_ms
 *   - all connections of a door together hold at most TLY_DOOR_BYTES_MAX of half requests, unsent answers and what the protocol keeps for
 *     them, without what an idle one costs: who would take them beyond that is closed, unless it holds no more than TLY_FAIR_BYTES, which
 *     every one of TLY_CLIENTS_MAX may
 *   - half a request may take TLY_HALF_MS, then the connection is closed; no request at all: the protocol's idle_ms
 *   - an answer waits until the batch that covers what was asked is stored (tly_app_ticket)
 *   - a connection that we end is shut for writing first and read to its end for a while, so that the last answer is
 *     not lost to a reset
 *
 * A connection without half a request or an unsent answer owns no buffer.
 */
#ifndef TALLY_SERVICE_SHELL_DOOR_H
#define TALLY_SERVICE_SHELL_DOOR_H

#include "service/shell/app.h"
#include "wire/buf.h"

#define TLY_CLIENTS_MAX 16384
#define TLY_OUT_HIGH (256u * 1024u)
#define TLY_OUT_MAX (16u * 1024u * 1024u)
#define TLY_DOOR_BYTES_MAX ((size_t)256 * 1024 * 1024)
#define TLY_FAIR_BYTES (16u * 1024u)
#define TLY_HALF_MS 10000
#define TLY_STUCK_MS 60000
#define TLY_LINGER_MS 2000

struct tly_client; /* one connection */
struct tly_door;
struct tly_tls;

struct tly_protocol {
    const char *name;
    size_t in_max;
    uint32_t idle_ms; /* 0: a connection may be silent for ever */
    /* A new connection's state, or NULL to refuse it. */
    void *(*open)(struct tly_app *app, struct tly_client *client);
    /*
     * Takes whole requests from `in` and writes the answers with tly_client_out; returns how many bytes it used. What is
     * left is given again with more behind it, or, when tly_client_is_full made it stop, once the answers are out.
     * tly_client_close ends the connection once the answers are out.
     */
    size_t (*feed)(void *state, struct tly_client *client, struct tly_slice in);
    void (*close)(void *state);
    /*
     * For connections that are streams (tly_client_stream): writes what there is to say; is_idle: something has to be
     * said to keep the connection alive. True: there is more, for when the client has taken this. NULL: there are none.
     */
    bool (*wake)(void *state, struct tly_client *client, bool is_idle);
    /* The door drains. True: the protocol sees to the connection's end itself. NULL: it ends once its answers are out. */
    bool (*drain)(void *state, struct tly_client *client);
    /* Each wait of a parked one (tly_client_park) has an end, so a client that sends no more is answered; else it is taken for gone. */
    bool waits_end;
};

/* NULL: error says why. address (of size bytes) is where it listens, with the port that was chosen. */
struct tly_door *tly_door_open(struct tly_app *app, const struct tly_listen *listen,
                               const struct tly_protocol *protocol, char *address, size_t address_size,
                               char *error, size_t error_size);
/* Connections are encrypted from now on; tls has to live as long as the door. */
void tly_door_encrypt(struct tly_door *door, struct tly_tls *tls);
/* Stops accepting; answers to what has been read go out, then each connection closes. */
void tly_door_drain(struct tly_door *door);
bool tly_door_is_drained(const struct tly_door *door);
void tly_door_free(struct tly_door *door);
/* Looks again at the clients whose answers waited for a batch. */
void tly_door_stored(struct tly_door *door);
/* Feeds those that are parked again, for what they wait for may have come. */
void tly_door_resume(struct tly_door *door);
/* Wakes every stream. */
void tly_door_wake(struct tly_door *door);

struct tly_door_stats {
    uint64_t open, accepted, refused, timed_out, requests;
    uint64_t calmed;  /* closed for sending too much that asks for nothing */
    uint64_t crowded; /* closed because all held too much */
    struct tly_histogram
        latency; /* from when a request could be read until its answer was handed to the socket, if at once */
};
void tly_door_stats(const struct tly_door *door, struct tly_door_stats *stats);

/* For protocols. */
struct tly_buf *tly_client_out(struct tly_client *client);
void tly_client_close(struct tly_client *client);
bool tly_client_is_closing(const struct tly_client *client);
/* Enough answers wait: a protocol takes no further request in this call of feed. */
bool tly_client_is_full(struct tly_client *client);
/*
 * The protocol left input that it will use later, and wants to be fed it again, with nothing more behind it: when the socket takes
 * more, in another turn of the loop, however many answers wait.
 */
void tly_client_go_on(struct tly_client *client);
/*
 * The last request is not answered yet and nothing more is taken before it is: the connection is fed again, perhaps with nothing, by
 * tly_door_resume, and when it is closing; then the answer has to be what it is by then.
 */
void tly_client_park(struct tly_client *client);
/* From now on the connection is woken to say more; it takes requests as before, if the protocol does. */
void tly_client_stream(struct tly_client *client);
/*
 * Memory for what a connection's requests make the protocol keep, counted with its buffers: NULL, and the connection ends, where it would take all
 * beyond what a door may hold. It outlives the connection's state.
 */
struct tly_mem tly_client_mem(struct tly_client *client);
/* To be called for every request, for tly_door_stats. */
void tly_client_count_request(struct tly_client *client);
void tly_client_count_calmed(struct tly_client *client);
uint64_t tly_client_id(const struct tly_client *client);
/* "127.0.0.1:53412", or "unix". */
const char *tly_client_peer(const struct tly_client *client);

/* The protocols. */
const struct tly_protocol *tly_resp_protocol(void);
const struct tly_protocol *tly_http_protocol(void);
const struct tly_protocol *tly_grpc_protocol(void);

#endif
