#include "service/shell/door_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

__attribute__((format(printf, 2, 3))) static void say(struct tly_door_text *to, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(to->text, sizeof to->text, format, args);
    va_end(args);
}

void tly_door_name(const struct sockaddr *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        (void)snprintf(text, size, "%s:%u", host, (unsigned)ntohs(in.sin_port));
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
        (void)snprintf(text, size, "[%s]:%u", host, (unsigned)ntohs(in6.sin6_port));
    } else {
        (void)snprintf(text, size, "unix");
    }
}

/* A bound and listening socket, or -1 with errno. */
static int listen_at(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const int on = 1;
    if (address->sa_family != AF_UNIX) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address, size) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int reason = errno;
    (void)close(fd);
    errno = reason;
    return -1;
}

static void name_listener(int fd, struct tly_door_text *address)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    (void)getsockname(fd, (struct sockaddr *)&bound, &size);
    tly_door_name((const struct sockaddr *)&bound, address->text, sizeof address->text);
}

/* The host without the brackets that an IPv6 address is written in. */
static void bare_host(const char *written, char *host, size_t size)
{
    size_t n = strlen(written);
    bool bracketed = n >= 2 && written[0] == '[' && written[n - 1] == ']';
    (void)snprintf(host, size, "%.*s", (int)(bracketed ? n - 2 : n), written + (bracketed ? 1 : 0));
}

static int listen_tcp(const struct tly_listen *listen, struct tly_door_text *address,
                      struct tly_door_text *error)
{
    char host[sizeof listen->host], port[8];
    bare_host(listen->host, host, sizeof host);
    (void)snprintf(port, sizeof port, "%u", (unsigned)listen->port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (failed != 0) {
        say(error, "cannot listen at %s:%s: %s", listen->host, port, gai_strerror(failed));
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = listen_at(at->ai_addr, at->ai_addrlen);
    if (fd < 0) say(error, "cannot listen at %s:%s: %s", listen->host, port, strerror(errno));
    freeaddrinfo(found);
    if (fd >= 0) name_listener(fd, address);
    return fd;
}

/* Whether somebody answers on this socket. */
static bool is_served(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    bool served = connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 || errno != ECONNREFUSED;
    (void)close(fd);
    return served;
}

static int listen_unix(const struct tly_listen *listen, struct tly_door_text *address,
                       struct tly_door_text *error)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(listen->path) >= sizeof at.sun_path) {
        say(error, "cannot listen at unix:%s: the path is too long", listen->path);
        return -1;
    }
    memcpy(at.sun_path, listen->path, strlen(listen->path) + 1);
    struct stat there;
    bool stale = lstat(listen->path, &there) == 0 && S_ISSOCK(there.st_mode) && !is_served(&at);
    if (stale) (void)unlink(listen->path);
    int fd = listen_at((const struct sockaddr *)&at, sizeof at);
    if (fd < 0)
        say(error, "cannot listen at unix:%s: %s", listen->path, strerror(errno));
    else
        say(address, "unix:%s", listen->path);
    return fd;
}

int tly_door_listen(const struct tly_listen *listen, struct tly_door_text *address,
                    struct tly_door_text *error)
{
    return listen->kind == TLY_LISTEN_UNIX ? listen_unix(listen, address, error)
                                           : listen_tcp(listen, address, error);
}
