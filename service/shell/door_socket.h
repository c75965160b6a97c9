/* Listening sockets: made from a setting, named for people. Descriptors are the caller's. */
#ifndef TALLY_SERVICE_SHELL_DOOR_SOCKET_H
#define TALLY_SERVICE_SHELL_DOOR_SOCKET_H

#include "service/shell/config.h"

#include <sys/socket.h>

/* An error or a note for people. */
struct tly_door_text {
    char text[320];
};

/*
 * A non-blocking listening socket, or -1: error says why and what about. `address` is where it listens, as in
 * "127.0.0.1:7379", "[::1]:7379" or "unix:/run/tally.sock", with the port that was chosen. A unix socket that nobody
 * answers on is replaced.
 */
int tly_door_listen(const struct tly_listen *listen, struct tly_door_text *address,
                    struct tly_door_text *error);

/* "127.0.0.1:53412", "[::1]:53412" or "unix". */
void tly_door_name(const struct sockaddr *address, char *text, size_t size);

#endif
