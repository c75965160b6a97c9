/*
 * A gateway with its limits inside: it answers "hello" to as many requests of a client as the limit "clients" of tally.yaml admits, and 429 to
 * the others.  Gateways that are told of each other (join=) count together.
 *
 *     cc -o gateway gateway.c $(pkg-config --cflags --libs libtally)
 *     ./gateway 8080 tally.yaml peers=127.0.0.1:7382
 *
 * It runs the node's loop itself, between its own requests.  One request per connection; the client is who X-Client says.
 */
#define _GNU_SOURCE

#include <tally.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static int listen_on(uint16_t port, uint16_t *chosen)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    address.sin_port = htons(port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &n) != 0)
        return -1;
    *chosen = ntohs(address.sin_port);
    return fd;
}

/* The head of a request, with a zero behind; false: there is none. */
static int read_head(int fd, char *head, size_t size)
{
    size_t n = 0;
    head[0] = '\0';
    while (strstr(head, "\r\n\r\n") == NULL) {
        ssize_t got = n + 1 < size ? recv(fd, head + n, size - 1 - n, 0) : 0;
        if (got <= 0) return 0;
        n += (size_t)got;
        head[n] = '\0';
    }
    return 1;
}

static struct tally_bytes client_of(const char *head)
{
    const char *name = "\r\nX-Client:", *at = strcasestr(head, name);
    if (at == NULL) return tally_text("anybody");
    at += strlen(name);
    at += strspn(at, " ");
    struct tally_bytes client = {at, strcspn(at, "\r")};
    return client;
}

static void answer(struct tally *tally, int fd)
{
    char head[8192], text[256];
    if (!read_head(fd, head, sizeof head)) return;
    struct tally_field field = {tally_text("client"), client_of(head)};
    struct tally_check check = {
        .limit = tally_text("clients"), .fields = &field, .field_count = 1, .hits = 1};
    struct tally_verdict verdict;
    enum tally_result result = tally_check(tally, &check, &verdict);
    int n;
    if (result != TALLY_OK)
        n = snprintf(text, sizeof text, "HTTP/1.1 500 Error\r\nContent-Length: 0\r\nX-Error: %s\r\n\r\n",
                     tally_code(result));
    else if (verdict.code == TALLY_REFUSED)
        n = snprintf(text, sizeof text,
                     "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: %" PRIu64
                     "\r\n\r\n",
                     verdict.retry_after_ms == TALLY_NEVER ? 86400 : verdict.retry_after_ms / 1000 + 1);
    else
        n = snprintf(text, sizeof text,
                     "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Remaining: %" PRIu64 "\r\n\r\nhello\n",
                     verdict.remaining);
    (void)send(fd, text, (size_t)n, MSG_NOSIGNAL);
}

static void serve(struct tally *tally, int listener)
{
    static const struct timeval patience = {1, 0};
    while (!stopped) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        int count = poll(&ready, 1, 5);
        tally_turn(tally, 0);
        if (count <= 0) continue;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        answer(tally, fd);
        (void)close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: gateway PORT tally.yaml [key=value]...\n");
        return 2;
    }
    char error[256];
    uint16_t port;
    struct tally_options options = {
        .file = argv[2], .settings = (const char *const *)argv + 3, .drive = TALLY_CALLER};
    struct tally *tally = tally_open(&options, error, sizeof error);
    int listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10), &port);
    if (tally == NULL || listener < 0) {
        (void)fprintf(stderr, "gateway: %s\n", tally == NULL ? error : strerror(errno));
        tally_close(tally);
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    (void)printf("ready %u peers=%s\n", (unsigned)port, tally_address(tally, "peers"));
    (void)fflush(stdout);
    serve(tally, listener);
    (void)close(listener);
    tally_close(tally);
    return 0;
}
