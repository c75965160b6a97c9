#include "tools/link/relay_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
/* The kernel doubles it. */
#define SOCKET_BUFFER_BYTES 8192
/* Taken in or given out in one go before others have their turn. */
#define BURST 16
/* For the far ends to end as well, once both have been told. */
#define GOODBYE_S 30

struct segment {
    STAILQ_ENTRY(segment) next;
    uint64_t at; /* of the pipe's clock */
    size_t n, done;
    bool is_end; /* the stream ends here */
    uint8_t bytes[];
};

uint64_t tly_relay_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int tly_flow_line_way(const struct flow *flow)
{
    return flow->pipe == &flow->conn->relay->pipe[TLY_LINK_UP] ? TLY_LINK_UP : TLY_LINK_DOWN;
}

/* ---- the end of a connection ---- */

static void drop_held(struct flow *flow)
{
    for (struct segment *segment; (segment = STAILQ_FIRST(&flow->held)) != NULL;) {
        STAILQ_REMOVE_HEAD(&flow->held, next);
        free(segment);
    }
    flow->held_bytes = 0;
}

static void free_event(struct event *event)
{
    if (event != NULL) event_free(event);
}

static void conn_free(struct conn *conn)
{
    for (int way = 0; way < TLY_LINK_WAYS; way++) {
        struct flow *flow = &conn->flow[way];
        drop_held(flow);
        free_event(flow->readable);
        free_event(flow->writable);
        free_event(flow->due);
        if (conn->fd[way] >= 0) close(conn->fd[way]);
    }
    free_event(conn->goodbye);
    TAILQ_REMOVE(&conn->relay->conns, conn, next);
    conn->relay->conn_count--;
    free(conn);
}

void tly_conn_reset(struct conn *conn)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    for (int way = 0; way < TLY_LINK_WAYS; way++)
        if (conn->fd[way] >= 0)
            (void)setsockopt(conn->fd[way], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    conn_free(conn);
}

static void on_goodbye_over(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    tly_conn_reset(argument);
}

void tly_conn_cut(struct conn *conn, enum tly_link_end end)
{
    static const struct timeval patience = {GOODBYE_S, 0};
    conn->relay->cut++;
    if (end == TLY_LINK_RST || !conn->connected) {
        tly_conn_reset(conn);
        return;
    }
    conn->swallows = end == TLY_LINK_FIN;
    conn->lost = end == TLY_LINK_BLACKHOLE;
    for (int way = 0; way < TLY_LINK_WAYS; way++) {
        struct flow *flow = &conn->flow[way];
        drop_held(flow);
        event_del(flow->writable);
        event_del(flow->due);
        if (conn->lost) event_del(flow->readable);
        if (conn->swallows) (void)shutdown(conn->fd[way], SHUT_WR);
        /* To be read to its end: a close before that would be a reset. */
        if (conn->swallows && !flow->ended) event_add(flow->readable, NULL);
    }
    if (conn->swallows) event_add(conn->goodbye, &patience);
    if (conn->swallows && conn->flow[0].ended && conn->flow[1].ended) conn_free(conn);
}

/* ---- carrying ---- */

/* After this many more bytes something is to happen; SIZE_MAX: nothing. */
static size_t until_cut(const struct flow *flow)
{
    const struct after *after = &flow->conn->relay->after[tly_flow_line_way(flow)];
    if (!after->armed || after->bytes - flow->passed > SIZE_MAX / 2) return SIZE_MAX;
    return after->bytes > flow->passed ? (size_t)(after->bytes - flow->passed) : 0;
}

enum given { GIVEN_ALL, GIVEN_SOME, GIVEN_NOTHING, GIVEN_BROKEN };

/* Gives out the first of what is held. */
static enum given give_first(struct flow *flow, size_t most)
{
    struct segment *segment = STAILQ_FIRST(&flow->held);
    int fd = flow->conn->fd[1 - flow->way];
    size_t left = segment->n - segment->done;
    if (left > most) left = most;
    if (segment->is_end) {
        (void)shutdown(fd, SHUT_WR);
    } else {
        ssize_t n = send(fd, segment->bytes + segment->done, left, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR ? GIVEN_NOTHING : GIVEN_BROKEN;
        segment->done += (size_t)n;
        flow->passed += (size_t)n;
        flow->held_bytes -= (size_t)n;
        flow->conn->relay->bytes[tly_flow_line_way(flow)] += (size_t)n;
        if (segment->done < segment->n) return GIVEN_SOME;
    }
    STAILQ_REMOVE_HEAD(&flow->held, next);
    free(segment);
    return GIVEN_ALL;
}

/* Whether both streams have come to their ends, at their far ends too. */
static bool is_over(const struct conn *conn)
{
    for (int way = 0; way < TLY_LINK_WAYS; way++)
        if (!conn->flow[way].ended || !STAILQ_EMPTY(&conn->flow[way].held)) return false;
    return true;
}

/* Does what was to be done after so many bytes; true: it was done, and the connection may be no more. */
static bool cut_if_due(struct flow *flow)
{
    struct after *after = &flow->conn->relay->after[tly_flow_line_way(flow)];
    enum tly_link_end end = after->end;
    if (until_cut(flow) > 0) return false;
    after->armed = false;
    tly_conn_cut(flow->conn, end);
    return true;
}

/* False: the connection was ended. */
static bool give_out(struct flow *flow, uint64_t now)
{
    struct conn *conn = flow->conn;
    uint64_t clock = tly_pipe_clock(flow->pipe, now);
    for (int i = 0; i < BURST && !flow->pipe->clogged; i++) {
        const struct segment *first = STAILQ_FIRST(&flow->held);
        if (first == NULL || first->at > clock) break;
        if (cut_if_due(flow)) return false;
        enum given given = give_first(flow, until_cut(flow));
        if (given == GIVEN_BROKEN) {
            tly_conn_reset(conn);
            return false;
        }
        if (cut_if_due(flow)) return false;
        flow->full = given != GIVEN_ALL;
        if (flow->full) break;
    }
    if (!is_over(conn)) return true;
    conn_free(conn);
    return false;
}

static bool take_segment(struct flow *flow, const uint8_t *bytes, size_t n, uint64_t now)
{
    struct segment *segment = malloc(sizeof *segment + n);
    if (segment == NULL) return false;
    segment->at = tly_pipe_take(flow->pipe, n, now);
    segment->n = n;
    segment->done = 0;
    segment->is_end = n == 0;
    memcpy(segment->bytes, bytes, n);
    STAILQ_INSERT_TAIL(&flow->held, segment, next);
    flow->held_bytes += n;
    flow->ended = n == 0;
    return true;
}

static size_t room(const struct flow *flow, uint64_t now)
{
    if (flow->held_bytes >= TLY_RELAY_HELD_MAX) return 0;
    return tly_pipe_room(flow->pipe, now);
}

/* False: the connection is no more. */
static bool take_in(struct flow *flow, uint64_t now)
{
    struct conn *conn = flow->conn;
    uint8_t bytes[TLY_PIPE_SEGMENT_BYTES];
    for (int i = 0; i < BURST && !flow->ended; i++) {
        size_t most = room(flow, now);
        if (most == 0) return true;
        ssize_t n = recv(conn->fd[flow->way], bytes, most, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (n < 0 || !take_segment(flow, bytes, (size_t)n, now)) {
            tly_conn_reset(conn);
            return false;
        }
    }
    return true;
}

/* When something is to be done without a socket having said so; TLY_PIPE_NEVER: not at all. */
static uint64_t due_at(const struct flow *flow, uint64_t now)
{
    uint64_t at = TLY_PIPE_NEVER;
    const struct segment *first = STAILQ_FIRST(&flow->held);
    if (first != NULL && !flow->full) at = first->at;
    bool waits = !flow->ended && flow->held_bytes < TLY_RELAY_HELD_MAX && tly_pipe_room(flow->pipe, now) == 0;
    if (waits && tly_pipe_room_at(flow->pipe) < at) at = tly_pipe_room_at(flow->pipe);
    return at == TLY_PIPE_NEVER ? at : tly_pipe_real(flow->pipe, at);
}

static void arm(struct flow *flow, uint64_t now)
{
    uint64_t at = due_at(flow, now);
    uint64_t wait_us = at > now ? (at - now + 999) / 1000 : 0;
    struct timeval wait = {(time_t)(wait_us / 1000000), (suseconds_t)(wait_us % 1000000)};
    if (at == TLY_PIPE_NEVER)
        event_del(flow->due);
    else
        event_add(flow->due, &wait);
    if (!flow->ended && room(flow, now) > 0)
        event_add(flow->readable, NULL);
    else
        event_del(flow->readable);
    if (flow->full)
        event_add(flow->writable, NULL);
    else
        event_del(flow->writable);
}

/* Everything that can be done for a flow now, and when to look again. */
static void pump(struct flow *flow)
{
    uint64_t now = tly_relay_now();
    if (flow->conn->lost || !flow->conn->connected) return;
    if (!take_in(flow, now) || !give_out(flow, now)) return;
    arm(flow, now);
}

static void swallow(struct flow *flow)
{
    struct conn *conn = flow->conn;
    uint8_t bytes[TLY_PIPE_SEGMENT_BYTES];
    ssize_t n = recv(conn->fd[flow->way], bytes, sizeof bytes, 0);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        event_add(flow->readable, NULL);
        return;
    }
    flow->ended = true;
    if (conn->flow[0].ended && conn->flow[1].ended) conn_free(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct flow *flow = argument;
    (void)fd;
    (void)what;
    if (flow->conn->swallows)
        swallow(flow);
    else
        pump(flow);
}

static void on_due(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    pump(argument);
}

/* The destination takes more; or, the first time on the way up, the target has been reached or not. */
static void on_writable(evutil_socket_t fd, short what, void *argument)
{
    struct flow *flow = argument;
    struct conn *conn = flow->conn;
    int error = 0;
    socklen_t n = sizeof error;
    (void)what;
    flow->full = false;
    if (!conn->connected) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
            conn->relay->failed++;
            tly_conn_reset(conn);
            return;
        }
        conn->connected = true;
        event_active(conn->flow[TLY_LINK_DOWN].due, EV_TIMEOUT, 0);
    }
    pump(flow);
}

/* ---- a new connection ---- */

void tly_relay_set_up_socket(int fd)
{
    int small = SOCKET_BUFFER_BYTES, yes = 1, segment = (int)TLY_PIPE_SEGMENT_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
}

static bool flow_init(struct conn *conn, int way, bool reversed)
{
    struct flow *flow = &conn->flow[way];
    struct event_base *base = conn->relay->base;
    flow->conn = conn;
    flow->way = way;
    flow->pipe = &conn->relay->pipe[reversed ? 1 - way : way];
    STAILQ_INIT(&flow->held);
    flow->readable = event_new(base, conn->fd[way], EV_READ, on_readable, flow);
    flow->writable = event_new(base, conn->fd[1 - way], EV_WRITE, on_writable, flow);
    flow->due = evtimer_new(base, on_due, flow);
    return flow->readable != NULL && flow->writable != NULL && flow->due != NULL;
}

static bool dial(struct conn *conn, const struct pair *pair)
{
    int fd = socket(pair->target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    conn->fd[1] = fd;
    tly_relay_set_up_socket(fd);
    return connect(fd, (const struct sockaddr *)&pair->target, pair->target_bytes) == 0 ||
           errno == EINPROGRESS;
}

void tly_conn_accept(struct pair *pair, int fd)
{
    struct tly_relay *relay = pair->relay;
    struct conn *conn = relay->conn_count < TLY_RELAY_CONNS_MAX ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL) {
        relay->failed++;
        close(fd);
        return;
    }
    conn->relay = relay;
    conn->fd[0] = fd;
    conn->fd[1] = -1;
    STAILQ_INIT(&conn->flow[0].held);
    STAILQ_INIT(&conn->flow[1].held);
    TAILQ_INSERT_TAIL(&relay->conns, conn, next);
    relay->conn_count++;
    relay->accepted++;
    tly_relay_set_up_socket(fd);
    conn->goodbye = evtimer_new(relay->base, on_goodbye_over, conn);
    if (conn->goodbye == NULL || !dial(conn, pair) || !flow_init(conn, TLY_LINK_UP, pair->reversed) ||
        !flow_init(conn, TLY_LINK_DOWN, pair->reversed)) {
        relay->failed++;
        tly_conn_reset(conn);
        return;
    }
    event_add(conn->flow[TLY_LINK_UP].writable, NULL);
}

/* By the timers: a first pump may free what a second one would need. */
void tly_conn_touch(struct conn *conn)
{
    for (int way = 0; way < TLY_LINK_WAYS && !conn->swallows && !conn->lost; way++)
        event_active(conn->flow[way].due, EV_TIMEOUT, 0);
}
