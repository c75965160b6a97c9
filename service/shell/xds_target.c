#include "service/shell/xds_target.h"

#include <event2/bufferevent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool parse_path(const char *path, struct tly_xds_target *target)
{
    struct sockaddr_un *at = &target->at;
    /* "unix:///PATH" is a URI with nobody's name in it. */
    if (strncmp(path, "//", 2) == 0) {
        path += 2;
        if (path[0] != '/') return false;
    }
    if (path[0] == '\0' || strlcpy(at->sun_path, path, sizeof at->sun_path) >= sizeof at->sun_path)
        return false;
    at->sun_family = AF_UNIX;
    strlcpy(target->host, "localhost", sizeof target->host);
    strlcpy(target->authority, "localhost", sizeof target->authority);
    return true;
}

static bool parse_host_port(const char *text, struct tly_xds_target *target)
{
    if (strlcpy(target->authority, text, sizeof target->authority) >= sizeof target->authority) return false;
    const char *colon = strrchr(text, ':');
    size_t n = colon != NULL ? (size_t)(colon - text) : 0;
    if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof target->host) return false;
    memcpy(target->host, text, n);
    target->host[n] = '\0';
    char *end;
    long port = strtol(colon + 1, &end, 10);
    target->port = (int)port;
    return *end == '\0' && colon[1] >= '0' && colon[1] <= '9' && port > 0 && port <= UINT16_MAX;
}

bool tly_xds_target_parse(const char *text, struct tly_xds_target *target)
{
    *target = (struct tly_xds_target){.port = 0};
    if (strncmp(text, "unix:", 5) == 0) return parse_path(text + 5, target);
    return parse_host_port(strncmp(text, "dns:///", 7) == 0 ? text + 7 : text, target);
}

bool tly_xds_target_dial(const struct tly_xds_target *target, struct bufferevent *bev, struct evdns_base *dns)
{
    if (target->at.sun_family != AF_UNIX)
        return bufferevent_socket_connect_hostname(bev, dns, AF_UNSPEC, target->host, target->port) == 0;
    struct sockaddr_un at = target->at;
    return bufferevent_socket_connect(bev, (struct sockaddr *)&at, sizeof at) == 0;
}
