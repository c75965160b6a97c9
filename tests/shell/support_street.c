#include "tests/shell/support_street.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 10

/* ---- the protocol ---- */

static void *open_lines(struct tly_app *app, struct tly_client *client)
{
    (void)client;
    return app;
}

static void *open_nothing(struct tly_app *app, struct tly_client *client)
{
    (void)app, (void)client;
    return NULL;
}

static void answer(struct tly_client *client, struct tly_slice line)
{
    struct tly_buf *out = tly_client_out(client);
    tly_client_count_request(client);
    if (line.n > 4 && memcmp(line.p, "big ", 4) == 0) {
        size_t n = strtoul((const char *)line.p + 4, NULL, 10);
        uint8_t *to = tly_buf_room(out, n);
        if (to != NULL) {
            memset(to, 'x', n);
            out->n += n;
        }
        tly_buf_put(out, "\n", 1);
        return;
    }
    if (tly_slice_equal(line, tly_slice_text("close\n"))) tly_client_close(client);
    if (!tly_slice_equal(line, tly_slice_text("wait\n"))) tly_buf_put(out, line.p, line.n);
}

static size_t feed_lines(void *state, struct tly_client *client, struct tly_slice in)
{
    (void)state;
    size_t used = 0;
    while (used < in.n && !tly_client_is_closing(client) && !tly_client_is_full(client)) {
        const uint8_t *end = memchr(in.p + used, '\n', in.n - used);
        if (end == NULL) break;
        size_t n = (size_t)(end - (in.p + used)) + 1;
        answer(client, tly_slice_of(in.p + used, n));
        used += n;
    }
    return used;
}

static void close_lines(void *state)
{
    (void)state;
}

const struct tly_protocol *street_lines(void)
{
    static const struct tly_protocol lines = {.name = "lines",
                                              .in_max = STREET_IN_MAX,
                                              .idle_ms = STREET_IDLE_MS,
                                              .open = open_lines,
                                              .feed = feed_lines,
                                              .close = close_lines};
    return &lines;
}

const struct tly_protocol *street_patient_lines(void)
{
    static const struct tly_protocol lines = {.name = "lines",
                                              .in_max = STREET_IN_MAX,
                                              .open = open_lines,
                                              .feed = feed_lines,
                                              .close = close_lines};
    return &lines;
}

const struct tly_protocol *street_refusing(void)
{
    static const struct tly_protocol nothing = {.name = "nothing",
                                                .in_max = STREET_IN_MAX,
                                                .open = open_nothing,
                                                .feed = feed_lines,
                                                .close = close_lines};
    return &nothing;
}

/* ---- the street ---- */

void street_open(struct street *street, const struct tly_protocol *protocol)
{
    char error[256] = "";
    struct tly_listen listen = {.kind = TLY_LISTEN_TCP, .host = "127.0.0.1"};
    tly_door_free(street->door);
    street->door = tly_door_open(street->app, &listen, protocol, street->address, sizeof street->address,
                                 error, sizeof error);
    assert_string_equal(error, "");
    assert_non_null(street->door);
}

int street_setup(void **state)
{
    struct street *street = calloc(1, sizeof *street);
    if (street == NULL) return -1;
    street->base = event_base_new();
    street->app = fake_app_new(street->base);
    street_open(street, street_lines());
    *state = street;
    return 0;
}

int street_teardown(void **state)
{
    struct street *street = *state;
    tly_door_free(street->door);
    fake_app_free(street->app);
    event_base_free(street->base);
    free(street);
    return test_mem_live() == 0 ? 0 : -1;
}

static time_t seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

void street_until(struct street *street, street_claim *holds, void *context)
{
    time_t end = seconds() + PATIENCE_S;
    while (!holds(context)) {
        assert_true(seconds() < end);
        (void)event_base_loop(street->base, EVLOOP_ONCE);
    }
}

void street_settle(struct street *street)
{
    for (int i = 0; i < 50; i++)
        (void)event_base_loop(street->base, EVLOOP_NONBLOCK);
}

struct tly_door_stats street_stats(const struct street *street)
{
    struct tly_door_stats stats;
    tly_door_stats(street->door, &stats);
    return stats;
}

bool street_is_empty(void *context)
{
    return street_stats(context).open == 0;
}

/* ---- visitors ---- */

struct visitor {
    struct street *street;
    int fd;
    struct event *readable;
    char *heard;
    size_t n, capacity;
    bool over, reset;
};

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct visitor *visitor = context;
    if (visitor->n + 65536 > visitor->capacity) {
        visitor->capacity = visitor->capacity * 2 + 65537;
        visitor->heard = realloc(visitor->heard, visitor->capacity + 1);
        assert_non_null(visitor->heard);
    }
    ssize_t n = recv(fd, visitor->heard + visitor->n, 65536, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0) visitor->n += (size_t)n;
    visitor->heard[visitor->n] = '\0';
    if (n > 0) return;
    visitor->over = true;
    visitor->reset = n < 0;
    (void)event_del(visitor->readable);
}

static int connect_to(const char *address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET};
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int connected;
    if (is_unix) {
        (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", address + 5);
        connected = connect(fd, (const struct sockaddr *)&un, sizeof un);
    } else {
        in.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected = connect(fd, (const struct sockaddr *)&in, sizeof in);
    }
    assert_int_equal(connected, 0);
    assert_int_equal(evutil_make_socket_nonblocking(fd), 0);
    return fd;
}

struct visitor *visitor_new(struct street *street)
{
    struct visitor *visitor = calloc(1, sizeof *visitor);
    assert_non_null(visitor);
    visitor->street = street;
    visitor->heard = calloc(1, 1);
    visitor->fd = connect_to(street->address);
    visitor->readable = event_new(street->base, visitor->fd, EV_READ | EV_PERSIST, on_readable, visitor);
    assert_int_equal(event_add(visitor->readable, NULL), 0);
    return visitor;
}

void visitor_free(struct visitor *visitor)
{
    event_free(visitor->readable);
    (void)close(visitor->fd);
    free(visitor->heard);
    free(visitor);
}

size_t visitor_push(struct visitor *visitor, const char *bytes, size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        ssize_t more = send(visitor->fd, bytes + sent, n - sent, MSG_NOSIGNAL);
        if (more < 0) break;
        sent += (size_t)more;
    }
    return sent;
}

void visitor_say(struct visitor *visitor, const char *text)
{
    assert_int_equal(visitor_push(visitor, text, strlen(text)), strlen(text));
}

void visitor_listen(struct visitor *visitor, bool listens)
{
    assert_int_equal(listens ? event_add(visitor->readable, NULL) : event_del(visitor->readable), 0);
}

void visitor_end(struct visitor *visitor)
{
    assert_int_equal(shutdown(visitor->fd, SHUT_WR), 0);
}

int visitor_fd(const struct visitor *visitor)
{
    return visitor->fd;
}

const char *visitor_heard(const struct visitor *visitor)
{
    return visitor->heard;
}

size_t visitor_heard_bytes(const struct visitor *visitor)
{
    return visitor->n;
}

bool visitor_is_over(const struct visitor *visitor)
{
    return visitor->over;
}

bool visitor_was_reset(const struct visitor *visitor)
{
    return visitor->reset;
}

struct hearing {
    const struct visitor *visitor;
    size_t bytes;
};

static bool has_heard(void *context)
{
    const struct hearing *hearing = context;
    return hearing->visitor->n >= hearing->bytes || hearing->visitor->over;
}

void visitor_hears(struct visitor *visitor, const char *text)
{
    struct hearing hearing = {visitor, strlen(text)};
    street_until(visitor->street, has_heard, &hearing);
    assert_string_equal(visitor->heard, text);
}

static bool is_over(void *context)
{
    const struct visitor *visitor = context;
    return visitor->over;
}

void visitor_hears_end(struct visitor *visitor)
{
    street_until(visitor->street, is_over, visitor);
}

struct departure {
    struct street *street;
    uint64_t open_before;
};

static bool has_departed(void *context)
{
    const struct departure *departure = context;
    return street_stats(departure->street).open <= departure->open_before;
}

/* A witness whose time is over too, and who is looked at last. */
void street_advance(struct street *street, uint64_t ms)
{
    assert_true(ms >= TLY_LINGER_MS);
    street_settle(street);
    struct departure departure = {street, street_stats(street).open};
    struct visitor *witness = visitor_new(street);
    visitor_say(witness, "close\n");
    visitor_hears_end(witness);
    fake_app_advance(street->app, ms);
    street_until(street, has_departed, &departure);
    visitor_free(witness);
}
