/*
 * Inside the relay: relay.c listens and does commands, relay_conn.c carries.
 */
#ifndef TALLY_TOOLS_LINK_RELAY_IMPL_H
#define TALLY_TOOLS_LINK_RELAY_IMPL_H

#include "tools/link/relay.h"

#include <event2/listener.h>
#include <netdb.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define WHY_BYTES 256

struct segment;

/* One direction of a connection: from one of its sockets to the other. */
struct flow {
    struct conn *conn;
    int way; /* of the connection */
    struct tly_pipe *pipe;
    STAILQ_HEAD(held, segment) held;
    size_t held_bytes;
    uint64_t passed; /* bytes given out */
    bool ended;      /* its source has said all */
    bool full;       /* its destination takes no more now */
    struct event *readable, *writable, *due;
};

struct conn {
    TAILQ_ENTRY(conn) next;
    struct tly_relay *relay;
    int fd[TLY_LINK_WAYS]; /* up flows from fd[0] to fd[1] */
    bool connected;
    bool swallows; /* reads and forgets, until both ends have ended */
    bool lost;     /* nothing arrives any more */
    struct flow flow[TLY_LINK_WAYS];
    struct event *goodbye;
};

struct pair {
    struct tly_relay *relay;
    struct evconnlistener *listener;
    struct sockaddr_storage target;
    socklen_t target_bytes;
    bool reversed;
    char listen_text[NI_MAXHOST + NI_MAXSERV + 4], target_text[NI_MAXHOST + NI_MAXSERV + 4];
};

struct after {
    bool armed;
    uint64_t bytes;
    enum tly_link_end end;
};

struct tly_relay {
    struct event_base *base;
    struct tly_pipe pipe[TLY_LINK_WAYS];
    struct pair *pairs[TLY_RELAY_PAIRS_MAX];
    size_t pair_count;
    TAILQ_HEAD(conns, conn) conns;
    size_t conn_count;
    struct after after[TLY_LINK_WAYS]; /* by the line's direction */
    uint64_t bytes[TLY_LINK_WAYS], accepted, failed, cut;
    char why[WHY_BYTES];
};

/* The clock of it all: monotonic. */
uint64_t tly_relay_now(void);
/* The line's direction of a flow. */
int tly_flow_line_way(const struct flow *flow);

/* Ours are kept small: more would be a queue of its own before ours. Before listen and connect, for the window to keep to it. */
void tly_relay_set_up_socket(int fd);
/* A connection that was accepted: dials its target. The socket is taken over. */
void tly_conn_accept(struct pair *pair, int fd);
void tly_conn_reset(struct conn *conn);
void tly_conn_cut(struct conn *conn, enum tly_link_end end);
/* After what shapes the line has changed: it is looked at again soon. */
void tly_conn_touch(struct conn *conn);

#endif
