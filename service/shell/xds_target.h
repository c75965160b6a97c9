/* Where a management server is: "host:port", "dns:///host:port", "unix:PATH" or "unix:///PATH", as gRPC names it. */
#ifndef TALLY_SERVICE_SHELL_XDS_TARGET_H
#define TALLY_SERVICE_SHELL_XDS_TARGET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct bufferevent;
struct evdns_base;

struct tly_xds_target {
    char host[256];      /* also what its certificate has to name; of a socket in a directory: localhost */
    char authority[256]; /* what it is called in a call */
    int port;
    struct sockaddr_un at; /* sun_family 0: it is host and port */
};

/* False: it is none of these. */
bool tly_xds_target_parse(const char *text, struct tly_xds_target *target);
/* Begins to connect; false: errno says why, or the bufferevent's callback was told. */
bool tly_xds_target_dial(const struct tly_xds_target *target, struct bufferevent *bev,
                         struct evdns_base *dns);

#endif
