#include "service/shell/net.h"

#include "service/shell/door_socket.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

/* It is told whenever what waits has shrunk to this: the engine decides what is little enough for more. */
#define QUEUE_LOW (64u * 1024u)
#define READ_MAX (64u * 1024u)
/* Unsent bytes that the kernel takes: what waits is to wait with us, where it can still be conflated. */
#define NOTSENT_LOWAT (4 * 1024)
#define LINGER_S 2
#define ACCEPT_PAUSE_MS 100
#define ACCEPTS_PER_TURN 64

struct link {
    TAILQ_ENTRY(link) entry;
    struct tly_net *net;
    uint64_t conn;
    struct bufferevent *bev;
    bool ending; /* closed by us: only what waits to be sent matters */
};

/* A dial that could not even begin. */
struct failure {
    struct failure *next;
    uint64_t conn;
};

struct tly_net {
    struct event_base *base;
    struct evdns_base *dns; /* made when a name is first seen */
    tly_net_event *event;
    void *context;
    TAILQ_HEAD(link_list, link) links;
    struct failure *failures;
    struct event *failed;
    uint64_t next_accepted;
    int listener;
    struct event *accepting, *resume;
};

static void tell(struct tly_net *net, enum tly_event_kind kind, uint64_t conn, uint64_t number,
                 struct tly_slice bytes)
{
    struct tly_event event = {.kind = kind, .conn = conn, .number = number, .bytes = bytes};
    net->event(net->context, &event);
}

static void free_link(struct link *link)
{
    TAILQ_REMOVE(&link->net->links, link, entry);
    bufferevent_free(link->bev);
    free(link);
}

static struct link *find_link(struct tly_net *net, uint64_t conn)
{
    struct link *link;
    TAILQ_FOREACH(link, &net->links, entry)
    if (link->conn == conn && !link->ending) return link;
    return NULL;
}

/* ---- what libevent tells ---- */

static void on_read(struct bufferevent *bev, void *argument)
{
    struct link *link = argument;
    struct tly_net *net = link->net;
    uint64_t conn = link->conn;
    struct evbuffer *input = bufferevent_get_input(bev);
    /* The link may be closed by what its bytes bring about. */
    while (find_link(net, conn) == link && evbuffer_get_length(input) > 0) {
        size_t n = evbuffer_get_contiguous_space(input);
        if (n > READ_MAX) n = READ_MAX;
        uint8_t bytes[READ_MAX];
        int got = evbuffer_remove(input, bytes, n);
        if (got <= 0) break;
        tell(net, TLY_BYTES, conn, 0, tly_slice_of(bytes, (size_t)got));
    }
}

static void on_write(struct bufferevent *bev, void *argument)
{
    struct link *link = argument;
    size_t left = evbuffer_get_length(bufferevent_get_output(bev));
    if (!link->ending)
        tell(link->net, TLY_QUEUED, link->conn, left, tly_slice_of(NULL, 0));
    else if (left == 0)
        free_link(link);
}

static void set_options(struct bufferevent *bev)
{
    int one = 1, most = NOTSENT_LOWAT;
    (void)setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef TCP_NOTSENT_LOWAT
    (void)setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most);
#else
    (void)most;
#endif
}

static void on_event(struct bufferevent *bev, short what, void *argument)
{
    struct link *link = argument;
    struct tly_net *net = link->net;
    uint64_t conn = link->conn;
    bool ending = link->ending;
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        set_options(bev);
        tell(net, TLY_CONNECTED, conn, 0, tly_slice_of(NULL, 0));
        return;
    }
    free_link(link);
    if (!ending) tell(net, TLY_CLOSED, conn, 0, tly_slice_of(NULL, 0));
}

static struct link *new_link(struct tly_net *net, uint64_t conn, int fd)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) return NULL;
    /* Deferred: a failure inside one of our own calls must not call back from within it. */
    link->bev = bufferevent_socket_new(net->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (link->bev == NULL) {
        free(link);
        return NULL;
    }
    link->net = net;
    link->conn = conn;
    bufferevent_setcb(link->bev, on_read, on_write, on_event, link);
    bufferevent_setwatermark(link->bev, EV_READ, 0, READ_MAX);
    bufferevent_setwatermark(link->bev, EV_WRITE, QUEUE_LOW, 0);
    bufferevent_enable(link->bev, EV_READ | EV_WRITE);
    TAILQ_INSERT_TAIL(&net->links, link, entry);
    return link;
}

/* ---- listening ---- */

static void on_resume(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    const struct tly_net *net = argument;
    if (net->accepting != NULL) event_add(net->accepting, NULL);
}

static void pause_accepting(struct tly_net *net)
{
    static const struct timeval pause = {0, ACCEPT_PAUSE_MS * 1000};
    event_del(net->accepting);
    event_add(net->resume, &pause);
}

static void on_accept(evutil_socket_t listener, short what, void *argument)
{
    (void)what;
    struct tly_net *net = argument;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(net);
            return;
        }
        uint64_t conn = net->next_accepted++;
        struct link *link = new_link(net, conn, fd);
        if (link == NULL) {
            close(fd);
            continue;
        }
        set_options(link->bev);
        tell(net, TLY_ACCEPTED, conn, 0, tly_slice_of(NULL, 0));
    }
}

bool tly_net_listen(struct tly_net *net, const struct tly_listen *listen, char *address, size_t address_size,
                    char *error, size_t error_size)
{
    struct tly_door_text where, why;
    net->listener = tly_door_listen(listen, &where, &why);
    if (net->listener < 0) {
        snprintf(error, error_size, "%s", why.text);
        return false;
    }
    snprintf(address, address_size, "%s", where.text);
    net->accepting = event_new(net->base, net->listener, EV_READ | EV_PERSIST, on_accept, net);
    net->resume = event_new(net->base, -1, 0, on_resume, net);
    if (net->accepting == NULL || net->resume == NULL || event_add(net->accepting, NULL) != 0) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    return true;
}

void tly_net_stop_listening(struct tly_net *net)
{
    if (net->accepting != NULL) event_free(net->accepting);
    if (net->resume != NULL) event_free(net->resume);
    if (net->listener >= 0) close(net->listener);
    net->accepting = net->resume = NULL;
    net->listener = -1;
}

/* ---- what is asked of it ---- */

static bool take_failure(struct tly_net *net, uint64_t *conn)
{
    struct failure *failure = net->failures;
    if (failure == NULL) return false;
    net->failures = failure->next;
    *conn = failure->conn;
    free(failure);
    return true;
}

static void tell_failures(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tly_net *net = argument;
    for (uint64_t conn; take_failure(net, &conn);)
        tell(net, TLY_CLOSED, conn, 0, tly_slice_of(NULL, 0));
}

struct tly_net *tly_net_new(struct event_base *base, tly_net_event *event, void *context)
{
    struct tly_net *net = calloc(1, sizeof *net);
    if (net == NULL) return NULL;
    net->base = base;
    net->event = event;
    net->context = context;
    net->next_accepted = 1;
    net->listener = -1;
    TAILQ_INIT(&net->links);
    net->failed = event_new(base, -1, 0, tell_failures, net);
    if (net->failed == NULL) {
        free(net);
        return NULL;
    }
    return net;
}

void tly_net_free(struct tly_net *net)
{
    if (net == NULL) return;
    tly_net_stop_listening(net);
    while (!TAILQ_EMPTY(&net->links))
        /* It does not follow that free_link takes the first one off the list. */
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        free_link(TAILQ_FIRST(&net->links));
    for (uint64_t conn; take_failure(net, &conn);)
        continue;
    event_free(net->failed);
    if (net->dns != NULL) evdns_base_free(net->dns, 0);
    free(net);
}

/* "host:port" or "[v6]:port"; false: it is neither. */
static bool split_address(struct tly_slice address, char *host, size_t host_size, int *port)
{
    char text[TLY_ADDRESS_BYTES_MAX + 1];
    if (address.n == 0 || address.n >= sizeof text) return false;
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    char *colon = strrchr(text, ':'), *end;
    if (colon == NULL) return false;
    long number = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || number < 1 || number > 65535) return false;
    *port = (int)number;
    *colon = '\0';
    size_t n = strlen(text);
    bool bracketed = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    if (bracketed) text[n - 1] = '\0';
    return snprintf(host, host_size, "%s", bracketed ? text + 1 : text) < (int)host_size;
}

static bool is_numeric(const char *host)
{
    struct in6_addr ignored;
    return evutil_inet_pton(AF_INET, host, &ignored) == 1 || evutil_inet_pton(AF_INET6, host, &ignored) == 1;
}

static struct evdns_base *resolver(struct tly_net *net)
{
    if (net->dns == NULL) {
        net->dns =
            evdns_base_new(net->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    }
    return net->dns;
}

/* From the loop, not from within the call that failed. */
static void fail_later(struct tly_net *net, uint64_t conn)
{
    struct failure *failure = malloc(sizeof *failure);
    if (failure == NULL) return; /* the engine gives the dial up after 5 s */
    *failure = (struct failure){net->failures, conn};
    net->failures = failure;
    event_active(net->failed, EV_TIMEOUT, 0);
}

void tly_net_dial(struct tly_net *net, uint64_t conn, struct tly_slice address)
{
    char host[TLY_ADDRESS_BYTES_MAX + 1];
    int port;
    struct link *link = NULL;
    if (split_address(address, host, sizeof host, &port)) link = new_link(net, conn, -1);
    if (link == NULL) {
        fail_later(net, conn);
        return;
    }
    struct evdns_base *dns = is_numeric(host) ? NULL : resolver(net);
    if (bufferevent_socket_connect_hostname(link->bev, dns, AF_UNSPEC, host, port) != 0 &&
        find_link(net, conn) == link) {
        free_link(link);
        fail_later(net, conn);
    }
}

void tly_net_send(struct tly_net *net, uint64_t conn, struct tly_slice bytes)
{
    struct link *link = find_link(net, conn);
    if (link == NULL) return;
    /* Out of memory: what would follow made no sense without these bytes. */
    if (bufferevent_write(link->bev, bytes.p, bytes.n) != 0)
        bufferevent_trigger_event(link->bev, BEV_EVENT_ERROR, 0);
}

void tly_net_close(struct tly_net *net, uint64_t conn)
{
    static const struct timeval linger = {LINGER_S, 0};
    struct link *link = find_link(net, conn);
    if (link == NULL) return;
    if (evbuffer_get_length(bufferevent_get_output(link->bev)) == 0) {
        free_link(link);
        return;
    }
    link->ending = true;
    bufferevent_disable(link->bev, EV_READ);
    bufferevent_setwatermark(link->bev, EV_WRITE, 0, 0);
    bufferevent_set_timeouts(link->bev, NULL, &linger);
}

bool tly_net_is_idle(const struct tly_net *net)
{
    const struct link *link;
    TAILQ_FOREACH(link, &net->links, entry)
    if (evbuffer_get_length(bufferevent_get_output(link->bev)) > 0) return false;
    return true;
}
