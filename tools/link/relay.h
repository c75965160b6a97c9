/*
 * The link itself: listens, dials a target for each connection, and carries what comes in through two pipes, which all
 * connections share as they would share a line.
 *
 *     client --+                              +--> target
 *     client --+-- up: queue, rate, delay ----+--> target
 *            <-+-- down ----------------------+--
 *
 * What does not fit into a pipe's queue is not read, so TCP makes the sender wait; our own sockets' buffers are kept
 * small for that. An object, run by its event base alone.
 */
#ifndef TALLY_TOOLS_LINK_RELAY_H
#define TALLY_TOOLS_LINK_RELAY_H

#include "tools/link/command.h"
#include "tools/link/pipe.h"

#include <event2/event.h>
#include <stdio.h>

#define TLY_RELAY_CONNS_MAX 1024
#define TLY_RELAY_PAIRS_MAX 64
/* Of one direction of one connection, taken in and not yet given out; less than that is on its way over a fast link. */
#define TLY_RELAY_HELD_MAX ((size_t)4 * 1024 * 1024)

struct tly_relay;

/* NULL: no memory. The base is borrowed. */
struct tly_relay *tly_relay_new(struct event_base *base, const struct tly_pipe_shape shapes[TLY_LINK_WAYS],
                                uint64_t seed);
/* Every connection is reset. */
void tly_relay_free(struct tly_relay *relay);

/*
 * Listens for connections to be carried, as "LISTEN=TARGET", both ADDRESS:PORT; `reversed`: they dial the other way over the
 * same line, so their "up" is its "down". NULL, or what is wrong, valid until the next call.
 */
const char *tly_relay_add(struct tly_relay *relay, const char *pair_text, bool reversed);

/*
 * Does what a command says; `out` takes a line of JSON for stats. "quit" ends the loop. NULL, or why it could not be done.
 */
const char *tly_relay_do(struct tly_relay *relay, const struct tly_link_command *command, FILE *out);

/* "ready LISTEN=TARGET …", with the ports that were opened, and the end of the line. */
void tly_relay_print_ready(const struct tly_relay *relay, FILE *out);

#endif
