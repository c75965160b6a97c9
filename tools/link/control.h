/*
 * A socket in the file system on which a link takes commands: a line each, and a line back: "ok", JSON, or "error: " and why.
 * An object; it removes the socket when it is freed.
 */
#ifndef TALLY_TOOLS_LINK_CONTROL_H
#define TALLY_TOOLS_LINK_CONTROL_H

#include "tools/link/relay.h"

#define TLY_CONTROL_LINE_MAX 256
#define TLY_CONTROL_CLIENTS_MAX 16

struct tly_control;

/* NULL: it cannot be listened on `path`; errno says why. Base and relay are borrowed. */
struct tly_control *tly_control_new(struct event_base *base, struct tly_relay *relay, const char *path);
void tly_control_free(struct tly_control *control);

#endif
