#include "tools/link/relay_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- listening ---- */

/* Splits "HOST:PORT" and looks it up; an IPv6 host stands in brackets. */
static const char *look_up(char *text, struct sockaddr_storage *address, socklen_t *bytes)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    char *colon = strrchr(text, ':'), *host = text;
    if (colon == NULL || colon == text || colon[1] == '\0') return "ADDRESS:PORT was expected";
    *colon = '\0';
    if (host[0] == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = '\0';
    }
    int error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error != 0) return gai_strerror(error);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

static void write_address(const struct sockaddr_storage *address, socklen_t bytes, char *text,
                          size_t text_bytes)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)address, bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, text_bytes, "?");
    else
        snprintf(text, text_bytes, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                        int from_bytes, void *argument)
{
    (void)listener;
    (void)from;
    (void)from_bytes;
    tly_conn_accept(argument, fd);
}

/* What is accepted inherits the buffers. */
static const char *start_listening(struct pair *pair, struct sockaddr_storage *address, socklen_t *bytes)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0) return strerror(errno);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    tly_relay_set_up_socket(fd);
    if (bind(fd, (const struct sockaddr *)address, *bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)address, bytes) != 0) {
        int error = errno;
        close(fd);
        return strerror(error);
    }
    pair->listener = evconnlistener_new(pair->relay->base, on_accepted, pair,
                                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 128, fd);
    if (pair->listener != NULL) return NULL;
    close(fd);
    return "it cannot be listened to";
}

static const char *pair_open(struct pair *pair, char *listen, char *target)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = 0;
    const char *why = look_up(target, &pair->target, &pair->target_bytes);
    if (why == NULL) why = look_up(listen, &address, &bytes);
    if (why == NULL) why = start_listening(pair, &address, &bytes);
    if (why != NULL) return why;
    write_address(&address, bytes, pair->listen_text, sizeof pair->listen_text);
    write_address(&pair->target, pair->target_bytes, pair->target_text, sizeof pair->target_text);
    return NULL;
}

static const char *complain(struct tly_relay *relay, const char *what, const char *why)
{
    snprintf(relay->why, sizeof relay->why, "%.100s: %.120s", what, why);
    return relay->why;
}

const char *tly_relay_add(struct tly_relay *relay, const char *pair_text, bool reversed)
{
    char listen[WHY_BYTES], *equals;
    if (relay->pair_count == TLY_RELAY_PAIRS_MAX) return complain(relay, pair_text, "too many addresses");
    if (strlen(pair_text) >= sizeof listen) return complain(relay, pair_text, "too long");
    memcpy(listen, pair_text, strlen(pair_text) + 1);
    equals = strchr(listen, '=');
    if (equals == NULL) return complain(relay, pair_text, "LISTEN=TARGET was expected, both ADDRESS:PORT");
    *equals = '\0';
    struct pair *pair = calloc(1, sizeof *pair);
    if (pair == NULL) return complain(relay, pair_text, "out of memory");
    pair->relay = relay;
    pair->reversed = reversed;
    const char *why = pair_open(pair, listen, equals + 1);
    if (why != NULL) {
        free(pair);
        return complain(relay, pair_text, why);
    }
    relay->pairs[relay->pair_count++] = pair;
    return NULL;
}

void tly_relay_print_ready(const struct tly_relay *relay, FILE *out)
{
    fputs("ready", out);
    for (size_t i = 0; i < relay->pair_count; i++)
        fprintf(out, " %s=%s", relay->pairs[i]->listen_text, relay->pairs[i]->target_text);
    fputc('\n', out);
    fflush(out);
}

/* ---- commands ---- */

/* Closed: a connection is refused, as where nobody listens. */
static const char *set_open(struct tly_relay *relay, bool open)
{
    for (size_t i = 0; i < relay->pair_count; i++) {
        struct pair *pair = relay->pairs[i];
        char listen[sizeof pair->listen_text], target[sizeof pair->target_text];
        if (open == (pair->listener != NULL)) continue;
        if (!open) {
            evconnlistener_free(pair->listener);
            pair->listener = NULL;
            continue;
        }
        memcpy(listen, pair->listen_text, sizeof listen);
        memcpy(target, pair->target_text, sizeof target);
        const char *why = pair_open(pair, listen, target);
        if (why != NULL) return complain(relay, pair->listen_text, why);
    }
    return NULL;
}

static void set(struct tly_relay *relay, const struct tly_link_command *command)
{
    for (int way = 0; way < TLY_LINK_WAYS; way++) {
        struct tly_pipe_shape shape = relay->pipe[way].shape;
        uint64_t value = command->value[way];
        switch (command->what) {
        case TLY_LINK_RATE: shape.rate_bps = value; break;
        case TLY_LINK_DELAY: shape.delay_ns = value; break;
        case TLY_LINK_JITTER: shape.jitter_ns = value; break;
        case TLY_LINK_QUEUE: shape.queue_bytes = value < SIZE_MAX ? (size_t)value : SIZE_MAX; break;
        case TLY_LINK_WHATS: assert(0); break;
        }
        tly_pipe_reshape(&relay->pipe[way], &shape);
    }
}

static void print_stats(const struct tly_relay *relay, FILE *out)
{
    uint64_t held[TLY_LINK_WAYS] = {0};
    const struct conn *conn;
    TAILQ_FOREACH(conn, &relay->conns, next)
    for (int way = 0; way < TLY_LINK_WAYS; way++)
        if (conn->flow[way].pipe != NULL)
            held[tly_flow_line_way(&conn->flow[way])] += conn->flow[way].held_bytes;
    fprintf(out,
            "{\"up_bytes\":%" PRIu64 ",\"down_bytes\":%" PRIu64 ",\"up_held\":%" PRIu64
            ",\"down_held\":%" PRIu64 ",\"open\":%zu,\"accepted\":%" PRIu64 ",\"failed\":%" PRIu64
            ",\"cut\":%" PRIu64 "}\n",
            relay->bytes[TLY_LINK_UP], relay->bytes[TLY_LINK_DOWN], held[TLY_LINK_UP], held[TLY_LINK_DOWN],
            relay->conn_count, relay->accepted, relay->failed, relay->cut);
    fflush(out);
}

static void cut_all(struct tly_relay *relay, enum tly_link_end end)
{
    struct conn *next;
    for (struct conn *conn = TAILQ_FIRST(&relay->conns); conn != NULL; conn = next) {
        next = TAILQ_NEXT(conn, next);
        if (!conn->swallows && !(conn->lost && end == TLY_LINK_BLACKHOLE)) tly_conn_cut(conn, end);
    }
}

static void touch_all(struct tly_relay *relay)
{
    struct conn *conn;
    TAILQ_FOREACH(conn, &relay->conns, next)
    tly_conn_touch(conn);
}

static void set_clogged(struct tly_relay *relay, const struct tly_link_command *command)
{
    uint64_t now = tly_relay_now();
    for (int way = 0; way < TLY_LINK_WAYS; way++) {
        if (!command->way[way]) continue;
        if (command->verb == TLY_LINK_CLOG)
            tly_pipe_clog(&relay->pipe[way], now);
        else
            tly_pipe_release(&relay->pipe[way], now);
    }
}

const char *tly_relay_do(struct tly_relay *relay, const struct tly_link_command *command, FILE *out)
{
    const char *why = NULL;
    switch (command->verb) {
    case TLY_LINK_SET: set(relay, command); break;
    case TLY_LINK_CUT: cut_all(relay, command->end); break;
    case TLY_LINK_AFTER:
        relay->after[command->way[TLY_LINK_UP] ? TLY_LINK_UP : TLY_LINK_DOWN] =
            (struct after){true, command->value[0], command->end};
        break;
    case TLY_LINK_CLOG:
    case TLY_LINK_RELEASE: set_clogged(relay, command); break;
    case TLY_LINK_CLOSE:
    case TLY_LINK_OPEN: why = set_open(relay, command->verb == TLY_LINK_OPEN); break;
    case TLY_LINK_STATS: print_stats(relay, out); return NULL;
    case TLY_LINK_QUIT: (void)event_base_loopexit(relay->base, NULL); return NULL;
    }
    touch_all(relay);
    return why;
}

/* ---- making and ending ---- */

struct tly_relay *tly_relay_new(struct event_base *base, const struct tly_pipe_shape shapes[TLY_LINK_WAYS],
                                uint64_t seed)
{
    struct tly_relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL) return NULL;
    relay->base = base;
    TAILQ_INIT(&relay->conns);
    for (int way = 0; way < TLY_LINK_WAYS; way++)
        relay->pipe[way] = tly_pipe_of(&shapes[way], seed + (uint64_t)way);
    return relay;
}

void tly_relay_free(struct tly_relay *relay)
{
    if (relay == NULL) return;
    for (struct conn *conn; (conn = TAILQ_FIRST(&relay->conns)) != NULL;)
        tly_conn_reset(conn);
    for (size_t i = 0; i < relay->pair_count; i++) {
        if (relay->pairs[i]->listener != NULL) evconnlistener_free(relay->pairs[i]->listener);
        free(relay->pairs[i]);
    }
    free(relay);
}
