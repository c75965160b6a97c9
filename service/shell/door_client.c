#include "service/shell/door_internal.h"
#include "service/shell/door_socket.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

/* Output buffers that are kept, all together. */
#define SPARE_BYTES_MAX (1024u * 1024u)
/* Thrown away after the end, before the connection is cut. */
#define SWALLOW_BYTES_MAX (1024u * 1024u)
#define READ_BYTES_MIN 4096u

/* ---- the socket, encrypted or not ---- */

static ssize_t take_bytes(struct tly_client *client, void *to, size_t n)
{
    return client->tls != NULL ? tly_tls_recv(client->tls, to, n) : recv(client->fd, to, n, 0);
}

static ssize_t give_bytes(struct tly_client *client, const void *bytes, size_t n)
{
    return client->tls != NULL ? tly_tls_send(client->tls, bytes, n)
                               : send(client->fd, bytes, n, MSG_NOSIGNAL);
}

/* It shakes hands: TLS says what it waits for, and nothing is asked or answered yet. */
static bool is_opening(const struct tly_client *client)
{
    return client->tls != NULL && !tly_tls_is_open(client->tls);
}

static void wait_for(struct tly_client *client, enum tly_waiting waiting, bool anew)
{
    if (client->waiting == waiting && !anew) return;
    struct tly_door *door = client->door;
    TAILQ_REMOVE(&door->waiting[client->waiting], client, in_waiting);
    client->waiting = waiting;
    client->since_ns = tly_app_now(door->app).mono_ns;
    TAILQ_INSERT_TAIL(&door->waiting[waiting], client, in_waiting);
}

/* ---- making and ending a connection ---- */

void tly_client_free(struct tly_client *client)
{
    struct tly_door *door = client->door;
    if (client->held_batch != 0) TAILQ_REMOVE(&door->held, client, in_held);
    if (client->parked) TAILQ_REMOVE(&door->parked, client, in_parked);
    tly_together_forget(client);
    if (client->is_stream) TAILQ_REMOVE(&door->streams, client, in_streams);
    TAILQ_REMOVE(&door->waiting[client->waiting], client, in_waiting);
    if (client->state != NULL) door->protocol->close(client->state);
    if (client->readable != NULL) event_free(client->readable);
    if (client->writable != NULL) event_free(client->writable);
    tly_buf_fini(&client->in);
    tly_buf_fini(&client->out);
    tly_tls_close(client->tls);
    (void)close(client->fd);
    door->bytes -= client->bytes;
    door->stats.open--;
    tly_mem_free(&door->mem, client, sizeof *client);
}

static void set_event(struct event *event, bool *is_added, bool wanted)
{
    if (*is_added == wanted) return;
    *is_added = wanted;
    if (wanted)
        (void)event_add(event, NULL);
    else
        (void)event_del(event);
}

/* ---- output ---- */

/* Bytes that nobody has taken yet. */
static size_t backlog(const struct tly_client *client)
{
    return client->out.n - client->sent;
}

/* An output buffer: one that lies ready, or a new one. */
static void lend_out(struct tly_client *client)
{
    struct tly_door *door = client->door;
    if (client->out.p != NULL || door->spares == 0) return;
    client->out = door->spare[--door->spares];
    door->spare_bytes -= client->out.capacity;
}

static void return_out(struct tly_client *client)
{
    struct tly_door *door = client->door;
    client->sent = client->allowed = 0;
    tly_buf_clear(&client->out);
    if (door->spares == TLY_VOLLEY_MAX || client->out.capacity > SPARE_BYTES_MAX - door->spare_bytes) {
        tly_buf_fini(&client->out);
        return;
    }
    door->spare_bytes += client->out.capacity;
    door->spare[door->spares++] = client->out;
    tly_buf_init(&client->out, &door->mem, TLY_OUT_MAX);
}

/*
 * What was added waits for the batch that covers it. Answers added while others wait already are covered by the
 * batch that is pending when those go out: it is no earlier than their own.
 */
static void hold(struct tly_client *client)
{
    struct tly_app *app = client->door->app;
    bool is_write = tly_app_took_writes(app);
    if (client->held_batch != 0) client->late_is_write = client->late_is_write || is_write;
    if (client->held_batch != 0 || client->allowed == client->out.n) return;
    is_write = is_write || client->late_is_write;
    uint64_t batch = tly_app_ticket(app);
    client->late_is_write = false;
    if (!tly_app_must_wait(app, batch, is_write)) {
        client->allowed = client->out.n;
        return;
    }
    client->held_batch = batch;
    client->held_is_write = is_write;
    client->held_end = client->out.n;
    TAILQ_INSERT_TAIL(&client->door->held, client, in_held);
}

/* Sends what may be sent; false: the connection is broken. */
static bool flush(struct tly_client *client)
{
    while (client->sent < client->allowed) {
        ssize_t n = give_bytes(client, client->out.p + client->sent, client->allowed - client->sent);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        client->sent += (size_t)n;
        if (client->waiting == TLY_FOR_ROOM) wait_for(client, TLY_FOR_ROOM, true);
    }
    if (backlog(client) == 0 && client->out.p != NULL) return_out(client);
    return true;
}

/* ---- the life of a connection ---- */

/* All is said. What the client still sends must not turn into a reset that takes our last answer away. */
static void linger(struct tly_client *client)
{
    tly_buf_fini(&client->in);
    tly_tls_close(client->tls);
    client->tls = NULL;
    if (client->ended || shutdown(client->fd, SHUT_WR) != 0) {
        tly_client_free(client);
        return;
    }
    wait_for(client, TLY_FOR_END, true);
    set_event(client->writable, &client->writing, false);
    set_event(client->readable, &client->reading, true);
}

/* Reads and drops; the client's end, an error or too much of it ends the connection. */
static void swallow(struct tly_client *client)
{
    struct tly_door *door = client->door;
    ssize_t n = recv(client->fd, door->scratch, sizeof door->scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    client->swallowed += n > 0 ? (size_t)n : 0;
    if (n <= 0 || client->swallowed > SWALLOW_BYTES_MAX) tly_client_free(client);
}

/* What it waits for now, and which events that takes. */
static void arrange(struct tly_client *client)
{
    bool is_sending = client->sent < client->allowed && !is_opening(client);
    bool was_paused = client->stalled || !client->reading;
    bool has_room = backlog(client) < (was_paused ? TLY_OUT_HIGH / 2 : TLY_OUT_HIGH);
    /* Requests that were left are taken up when the socket is next writable, after everybody else had a turn. */
    bool goes_on =
        client->has_more && !client->closing && !is_opening(client) && backlog(client) < TLY_OUT_HIGH / 2;
    bool is_left = client->stalled && has_room && !client->parked;
    bool reads = !client->closing && !client->stalled && !client->parked && has_room;
    bool is_wanted = client->tls != NULL && tly_tls_wants_write(client->tls);
    set_event(client->writable, &client->writing, is_sending || is_left || goes_on || is_wanted);
    set_event(client->readable, &client->reading, reads);
    if (reads && client->tls != NULL && !is_opening(client) && tly_tls_has_more(client->tls))
        event_active(client->readable, EV_READ, 0);

    if (is_sending)
        wait_for(client, TLY_FOR_ROOM, false);
    else if (is_opening(client) || (client->in.n > 0 && !client->stalled && !client->parked))
        wait_for(client, TLY_FOR_REST, false);
    else
        /* Where there is no end to patience nobody asks who has waited longest, and neighbours in the list are far away in memory. */
        wait_for(client, TLY_FOR_REQUEST, client->door->protocol->idle_ms != 0);
}

/* Whether so many bytes of one connection are more than its part, when all hold too much. */
static bool is_too_much(const struct tly_client *client, size_t bytes)
{
    const struct tly_door *door = client->door;
    bool grows = bytes > client->bytes;
    return grows && bytes > TLY_FAIR_BYTES && door->bytes - client->bytes + bytes > door->bytes_max;
}

static void count_bytes(struct tly_client *client, size_t bytes)
{
    client->door->bytes += bytes - client->bytes;
    client->bytes = bytes;
}

/* What is kept beyond what every connection of its kind costs: there are at most TLY_CLIENTS_MAX of those. */
static size_t beyond_idle(const struct tly_client *client, size_t kept)
{
    return kept > client->idle_kept ? kept - client->idle_kept : 0;
}

/* Counts what it holds by now; false: all hold too much, and this one has its part in it. */
static bool is_bearable(struct tly_client *client)
{
    size_t bytes = client->in.capacity + client->out.capacity + beyond_idle(client, client->kept) +
                   (client->tls != NULL ? tly_tls_bytes(client->tls) : 0);
    client->is_greedy = client->is_greedy || is_too_much(client, bytes);
    count_bytes(client, bytes);
    client->door->stats.crowded += client->is_greedy;
    return !client->is_greedy;
}

/* False: there was no memory for what it has to say, and it is gone. */
static bool hold_or_end(struct tly_client *client)
{
    bool is_whole = client->out.result == TLY_OK;
    if (is_whole)
        hold(client);
    else
        tly_client_free(client);
    return is_whole;
}

/* Says what may be said, and waits for what comes next. */
static void go_on(struct tly_client *client)
{
    if (!flush(client) || !is_bearable(client)) {
        tly_client_free(client);
        return;
    }
    if (client->closing && (backlog(client) == 0 || is_opening(client)))
        linger(client);
    else
        arrange(client);
}

void tly_client_settle(struct tly_client *client)
{
    if (hold_or_end(client)) go_on(client);
}

/* Keeps what the protocol left of `in`, which is the scratch or all of client->in. */
static void keep(struct tly_client *client, struct tly_slice in, size_t used)
{
    assert(used <= in.n);
    if (client->in.n > 0)
        tly_buf_take(&client->in, used);
    else if (used < in.n)
        tly_buf_put(&client->in, in.p + used, in.n - used);
    if (client->in.n == 0 || client->closing) tly_buf_fini(&client->in);
    if (client->in.result != TLY_OK) client->closing = true;
    if (client->in.n == 0) client->stalled = false;
    bool is_left = client->stalled || client->parked;
    if (client->in.n >= client->door->protocol->in_max && !is_left) client->closing = true;
    /* What is left is the beginning of another request, whose time begins now. */
    if (used > 0 && client->waiting == TLY_FOR_REST) wait_for(client, TLY_FOR_REST, true);
}

static void feed(struct tly_client *client, struct tly_slice in)
{
    lend_out(client);
    client->stalled = false;
    size_t used = client->door->protocol->feed(client->state, client, in);
    keep(client, in, used);
}

/* One read into the common scratch, or behind half a request. Below 1 as recv says it. */
static ssize_t receive(struct tly_client *client, struct tly_slice *in)
{
    struct tly_door *door = client->door;
    size_t most = door->protocol->in_max - client->in.n;
    if (client->in.n == 0) {
        ssize_t n =
            take_bytes(client, door->scratch, most < TLY_DOOR_SCRATCH_BYTES ? most : TLY_DOOR_SCRATCH_BYTES);
        *in = tly_slice_of(door->scratch, n > 0 ? (size_t)n : 0);
        return n;
    }
    size_t room = client->in.n < READ_BYTES_MIN ? READ_BYTES_MIN : client->in.n;
    room = room < most ? room : most;
    uint8_t *to = tly_buf_room(&client->in, room);
    if (to == NULL) return 0;
    ssize_t n = take_bytes(client, to, room);
    client->in.n += n > 0 ? (size_t)n : 0;
    *in = tly_buf_slice(&client->in);
    return n;
}

/* Without the port, which is another each time: what repeats is counted. */
static void tell_problem(const struct tly_client *client)
{
    const char *problem = client->tls != NULL ? tly_tls_problem(client->tls) : NULL;
    const char *port = strrchr(client->peer, ':');
    int host_bytes = (int)(port != NULL ? (size_t)(port - client->peer) : strlen(client->peer));
    if (problem != NULL)
        tly_log(tly_app_log(client->door->app), TLY_LEVEL_INFO,
                "client closed door=%s peer=%.*s reason=\"TLS: %s\"", client->door->protocol->name,
                host_bytes, client->peer, problem);
}

/* Nothing whole came: half a handshake or record is held for it, or hands are shaken now. */
static void wait_for_tls(struct tly_client *client, bool was_opening)
{
    if (was_opening) {
        go_on(client);
        return;
    }
    if (tly_tls_wants_write(client->tls)) set_event(client->writable, &client->writing, true);
    if (!is_bearable(client)) tly_client_free(client);
}

/* What one read brought; false: the connection is gone. */
static bool take(struct tly_client *client, struct tly_slice in, ssize_t n)
{
    if (n < 0) {
        tell_problem(client);
        tly_client_free(client);
        return false;
    }
    if (n == 0) client->ended = client->closing = true;
    if (n > 0) feed(client, in);
    return true;
}

void tly_client_turn(struct tly_client *client)
{
    struct tly_slice in;
    bool was_opening = is_opening(client);
    ssize_t n = receive(client, &in);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (client->tls != NULL) wait_for_tls(client, was_opening);
        return;
    }
    if (take(client, in, n)) tly_client_settle(client);
}

void tly_client_took(struct tly_client *client, uint8_t *bytes, ssize_t n)
{
    if (n == -EAGAIN || n == -EINTR) return;
    if (take(client, tly_slice_of(bytes, n > 0 ? (size_t)n : 0), n)) (void)hold_or_end(client);
}

struct tly_shot tly_client_shot(const struct tly_client *client)
{
    return (struct tly_shot){true, client->fd, client->out.p + client->sent, client->allowed - client->sent,
                             0};
}

void tly_client_sent(struct tly_client *client, ssize_t n)
{
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        tly_client_free(client);
        return;
    }
    client->sent += n > 0 ? (size_t)n : 0;
    if (client->waiting != TLY_FOR_END) go_on(client);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct tly_client *client = context;
    if (client->waiting == TLY_FOR_END)
        swallow(client);
    else
        tly_together_add(client);
}

void tly_client_wake(struct tly_client *client, bool is_idle)
{
    if (client->closing) return;
    if (backlog(client) >= TLY_OUT_HIGH / 2) {
        if (is_idle) wait_for(client, client->waiting, true);
        return;
    }
    size_t before = client->out.n;
    lend_out(client);
    client->has_more = client->door->protocol->wake(client->state, client, is_idle);
    /* Who was told nothing goes on being idle, and is asked again when the time has passed once more. */
    if (is_idle) wait_for(client, client->waiting, true);
    if (client->out.n != before || client->out.result != TLY_OK || client->closing)
        tly_client_settle(client);
    else if (client->out.p != NULL && backlog(client) == 0)
        return_out(client);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct tly_client *client = context;
    bool is_sending = client->sent < client->allowed;
    if (client->tls != NULL && tly_tls_wants_write(client->tls) && !is_sending) {
        /* What it could not write was its own, while it read. */
        set_event(client->writable, &client->writing, false);
        on_readable(fd, what, client);
        return;
    }
    /* What a stream has to say waits until the client has taken most of what was said. */
    if (client->is_stream && !client->closing && flush(client) && backlog(client) < TLY_OUT_HIGH / 2) {
        lend_out(client);
        client->has_more = client->door->protocol->wake(client->state, client, false);
    }
    if (client->stalled && !client->parked && !client->closing && backlog(client) < TLY_OUT_HIGH / 2)
        feed(client, tly_buf_slice(&client->in));
    tly_client_settle(client);
}

void tly_client_new(struct tly_door *door, int fd, const struct sockaddr *address)
{
    struct tly_client *client = tly_mem_zeroed(&door->mem, sizeof *client);
    if (client == NULL) {
        door->stats.refused++;
        (void)close(fd);
        return;
    }
    client->door = door;
    client->fd = fd;
    client->idle_kept = SIZE_MAX;
    client->id = ++door->last_id;
    client->since_ns = tly_app_now(door->app).mono_ns;
    tly_buf_init(&client->in, &door->mem, door->protocol->in_max);
    tly_buf_init(&client->out, &door->mem, TLY_OUT_MAX);
    tly_door_name(address, client->peer, sizeof client->peer);
    /* To shake hands takes no longer than half a request. */
    client->waiting = door->tls != NULL ? TLY_FOR_REST : TLY_FOR_REQUEST;
    TAILQ_INSERT_TAIL(&door->waiting[client->waiting], client, in_waiting);
    door->stats.open++;
    struct event_base *base = tly_app_base(door->app);
    client->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, client);
    client->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, client);
    if (door->tls != NULL) client->tls = tly_tls_open(door->tls, fd, NULL);
    if (client->readable != NULL && client->writable != NULL && (client->tls != NULL || door->tls == NULL))
        client->state = door->protocol->open(door->app, client);
    if (client->state == NULL) {
        door->stats.refused++;
        tly_client_free(client);
        return;
    }
    client->idle_kept = client->kept;
    door->stats.accepted++;
    set_event(client->readable, &client->reading, true);
}

void tly_client_resume(struct tly_client *client)
{
    TAILQ_REMOVE(&client->door->parked, client, in_parked);
    client->parked = false;
    feed(client, tly_buf_slice(&client->in));
    tly_client_settle(client);
}

void tly_client_look_after(struct tly_client *client)
{
    char byte;
    ssize_t n = recv(client->fd, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    bool is_gone = n == 0 ? !client->door->protocol->waits_end : n < 0 && errno != EAGAIN && errno != EINTR;
    if (is_gone) tly_client_free(client);
}

/* ---- for protocols ---- */

struct tly_buf *tly_client_out(struct tly_client *client)
{
    return &client->out;
}

void tly_client_close(struct tly_client *client)
{
    client->closing = true;
}

bool tly_client_is_closing(const struct tly_client *client)
{
    return client->closing;
}

bool tly_client_is_full(struct tly_client *client)
{
    if (backlog(client) < TLY_OUT_HIGH) return false;
    client->stalled = true;
    return true;
}

void tly_client_go_on(struct tly_client *client)
{
    client->stalled = true;
}

void tly_client_park(struct tly_client *client)
{
    if (client->parked) return;
    client->parked = true;
    TAILQ_INSERT_TAIL(&client->door->parked, client, in_parked);
}

void tly_client_stream(struct tly_client *client)
{
    if (client->is_stream) return;
    client->is_stream = true;
    TAILQ_INSERT_TAIL(&client->door->streams, client, in_streams);
}

void tly_client_count_request(struct tly_client *client)
{
    client->door->stats.requests++;
}

static void *resize_kept(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_client *client = context;
    bool is_huge = new_bytes > client->door->bytes_max;
    size_t kept = client->kept - old_bytes + (is_huge ? 0 : new_bytes);
    size_t bytes = client->bytes - beyond_idle(client, client->kept) + beyond_idle(client, kept);
    if (is_huge || is_too_much(client, bytes)) {
        client->is_greedy = true;
        return NULL;
    }
    void *resized = tly_mem_resize(&client->door->mem, block, old_bytes, new_bytes);
    if (resized == NULL && new_bytes > 0) return NULL;
    client->kept = kept;
    count_bytes(client, bytes);
    return resized;
}

struct tly_mem tly_client_mem(struct tly_client *client)
{
    return (struct tly_mem){resize_kept, client};
}

void tly_client_count_calmed(struct tly_client *client)
{
    client->door->stats.calmed++;
}

uint64_t tly_client_id(const struct tly_client *client)
{
    return client->id;
}

const char *tly_client_peer(const struct tly_client *client)
{
    return client->peer;
}
