/*
 * Connections between nodes: libevent bufferevents by number.  It knows nothing of what is said on them.  It never calls back from
 * within one of its own functions; what happens is told from the loop.
 */
#ifndef TALLY_SERVICE_SHELL_NET_H
#define TALLY_SERVICE_SHELL_NET_H

#include "service/engine/engine.h"
#include "service/shell/config.h"

struct event_base;
struct tly_net;

/* An event of kind TLY_ACCEPTED, TLY_CONNECTED, TLY_CLOSED, TLY_BYTES or TLY_QUEUED, its time not set. */
typedef void tly_net_event(void *context, struct tly_event *event);

/* NULL: no memory. */
struct tly_net *tly_net_new(struct event_base *base, tly_net_event *event, void *context);
void tly_net_free(struct tly_net *net);

/* False: error says why; address is where it listens, as the ready line shows it. */
bool tly_net_listen(struct tly_net *net, const struct tly_listen *listen, char *address, size_t address_size,
                    char *error, size_t error_size);
void tly_net_stop_listening(struct tly_net *net);

/* Names are resolved without blocking. A failure is told as TLY_CLOSED. */
void tly_net_dial(struct tly_net *net, uint64_t conn, struct tly_slice address);
void tly_net_send(struct tly_net *net, uint64_t conn, struct tly_slice bytes);
/* Ends it once what was sent is out, at the latest after 2 s; nothing more is told of it. */
void tly_net_close(struct tly_net *net, uint64_t conn);
/* Whether nothing is left to be sent. */
bool tly_net_is_idle(const struct tly_net *net);

#endif
