/*
 * Internal to the doors: what door.c (listening, patience), door_client.c (one connection) and door_together.c (those that can be read
 * from in one turn of the loop) share.
 */
#ifndef TALLY_SERVICE_SHELL_DOOR_INTERNAL_H
#define TALLY_SERVICE_SHELL_DOOR_INTERNAL_H

#include "service/shell/door.h"
#include "service/shell/tls.h"
#include "service/shell/volley.h"

#include <event2/event.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define TLY_DOOR_SCRATCH_BYTES (64u * 1024u)
/* What each of several reads at a time brings. */
#define TLY_TOGETHER_BYTES (16u * 1024u)

/*
 * Every connection waits for one thing and stands in the list of those that wait for the same, longest first. Each list
 * has one patience, so whose time is over is found at its head.
 */
enum tly_waiting {
    TLY_FOR_REQUEST, /* nothing has begun */
    TLY_FOR_REST,    /* half a request is here */
    TLY_FOR_ROOM,    /* the client takes its answers slowly */
    TLY_FOR_END,     /* shut for writing: what still comes is thrown away */
    TLY_WAITING_COUNT
};

TAILQ_HEAD(tly_client_list, tly_client);

struct tly_client {
    TAILQ_ENTRY(tly_client) in_waiting;
    TAILQ_ENTRY(tly_client) in_held;
    TAILQ_ENTRY(tly_client) in_streams;
    TAILQ_ENTRY(tly_client) in_parked;
    struct tly_door *door;
    void *state;
    struct event *readable, *writable;
    size_t place; /* among those that are read from together, from 1; 0: it is none of them */
    uint64_t id;
    uint64_t since_ns; /* it waits */
    enum tly_waiting waiting;
    int fd;
    struct tly_tls_link *tls; /* NULL: in the clear */
    bool reading, writing;    /* the events that are added */
    bool closing;             /* takes no more requests */
    bool is_stream;           /* is woken for more answers to its last request */
    bool has_more;            /* it has more to say than was let out at once */
    bool ended;               /* the client sends no more */
    bool parked;              /* its last request is not answered yet, and nothing is read meanwhile */
    bool stalled;             /* requests were left in `in` because too much output waited */
    struct tly_buf in;        /* half a request */
    struct tly_buf out;
    size_t sent;                       /* of out */
    size_t allowed;                    /* of out: may be sent; the rest waits for a batch */
    uint64_t held_batch;               /* 0: none */
    bool held_is_write, late_is_write; /* late: of what is behind what is held */
    size_t held_end;
    size_t swallowed; /* after the end */
    size_t kept;      /* bytes of tly_client_mem */
    size_t idle_kept; /* … when it was open; SIZE_MAX: it is not yet */
    size_t bytes;     /* of its buffers and what is kept beyond idle_kept, as counted in the door's */
    bool is_greedy;   /* it wanted more than there is */
    char peer[64];
};

/*
 * Connections that the loop found readable one behind the other. They are read from by one volley, then each is fed, and what all of
 * them have to say goes out by another; only those that keep no half request and are in the clear.
 */
struct tly_together {
    struct tly_volley *volley; /* NULL: there are none; each is read from, fed and answered before the next */
    struct event *due;         /* behind the last event of this turn of the loop */
    struct tly_client *client[TLY_VOLLEY_MAX]; /* NULL: it is gone */
    size_t count;
    uint8_t *bytes; /* what they said */
};

struct tly_door {
    struct tly_app *app;
    const struct tly_protocol *protocol;
    struct tly_mem mem;
    struct tly_tls *tls; /* NULL: in the clear; not its own */
    int fd;
    struct event *acceptable, *resume, *sweep;
    struct tly_client_list waiting[TLY_WAITING_COUNT];
    struct tly_client_list held;
    struct tly_client_list streams;
    struct tly_client_list parked;
    struct tly_door_stats stats;
    size_t bytes, bytes_max; /* of all connections together */
    uint64_t last_id;
    bool draining;
    char unlink[108];
    struct tly_buf spare[TLY_VOLLEY_MAX]; /* output buffers for whoever has something to say */
    size_t spares, spare_bytes;
    struct tly_together together;
    uint8_t scratch[TLY_DOOR_SCRATCH_BYTES];
};

/* Takes the descriptor over. */
void tly_client_new(struct tly_door *door, int fd, const struct sockaddr *address);
void tly_client_free(struct tly_client *client);
/* A stream may say more. The connection may be gone afterwards. */
void tly_client_wake(struct tly_client *client, bool is_idle);
/* Looks whether what a parked one waits for has come. The connection may be gone afterwards. */
void tly_client_resume(struct tly_client *client);
/* A parked one is not read from: whether its client is still there has to be looked at. It may be gone afterwards. */
void tly_client_look_after(struct tly_client *client);
/* To be called after anything happened; the connection may be gone afterwards. */
void tly_client_settle(struct tly_client *client);

/* One read, what it brings is fed, and what there is to say to that is said. The connection may be gone afterwards. */
void tly_client_turn(struct tly_client *client);
/* The same in three parts: n bytes that were read, or what a volley says. The connection may be gone afterwards. */
void tly_client_took(struct tly_client *client, uint8_t *bytes, ssize_t n);
/* What is to be sent now; n is 0 where there is nothing. */
struct tly_shot tly_client_shot(const struct tly_client *client);
/* What of that was sent, or what a volley says. The connection may be gone afterwards. */
void tly_client_sent(struct tly_client *client, ssize_t n);

/* door_together.c. False: there is no memory. */
bool tly_together_open(struct tly_door *door);
void tly_together_close(struct tly_door *door);
/* The loop found it readable. */
void tly_together_add(struct tly_client *client);
/* It ends. */
void tly_together_forget(struct tly_client *client);

#endif
