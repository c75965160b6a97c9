#include "service/shell/door_internal.h"
#include "service/shell/door_socket.h"
#include "service/shell/libc_mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#define ACCEPTS_MAX 64
#define SWEEP_MS 500
#define ACCEPT_PAUSE_MS 100

/* Patience in ms; 0: endless. */
static uint32_t patience_ms(const struct tly_door *door, enum tly_waiting waiting)
{
    const uint32_t patience[TLY_WAITING_COUNT] = {
        [TLY_FOR_REQUEST] = door->protocol->idle_ms,
        [TLY_FOR_REST] = TLY_HALF_MS,
        [TLY_FOR_ROOM] = TLY_STUCK_MS,
        [TLY_FOR_END] = TLY_LINGER_MS,
    };
    return patience[waiting];
}

/* Whose patience is over. */
static void on_sweep(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct tly_door *door = context;
    uint64_t now = tly_app_now(door->app).mono_ns;
    struct tly_client *next;
    for (struct tly_client *client = TAILQ_FIRST(&door->parked); client != NULL; client = next) {
        next = TAILQ_NEXT(client, in_parked);
        tly_client_look_after(client);
    }
    for (enum tly_waiting waiting = 0; waiting < TLY_WAITING_COUNT; waiting++) {
        uint64_t patience_ns = patience_ms(door, waiting) * UINT64_C(1000000);
        struct tly_client *client;
        while (patience_ns != 0 && (client = TAILQ_FIRST(&door->waiting[waiting])) != NULL &&
               client->since_ns + patience_ns <= now) {
            if (waiting == TLY_FOR_REQUEST && client->is_stream && !client->closing) {
                tly_client_wake(client, true);
                continue;
            }
            door->stats.timed_out += waiting != TLY_FOR_END;
            tly_client_free(client);
        }
    }
}

void tly_door_stored(struct tly_door *door)
{
    struct tly_client *next;
    for (struct tly_client *client = TAILQ_FIRST(&door->held); client != NULL; client = next) {
        next = TAILQ_NEXT(client, in_held);
        if (tly_app_must_wait(door->app, client->held_batch, client->held_is_write)) continue;
        TAILQ_REMOVE(&door->held, client, in_held);
        client->held_batch = 0;
        client->allowed = client->held_end;
        tly_client_settle(client);
    }
}

void tly_door_wake(struct tly_door *door)
{
    struct tly_client *next;
    for (struct tly_client *client = TAILQ_FIRST(&door->streams); client != NULL; client = next) {
        next = TAILQ_NEXT(client, in_streams);
        tly_client_wake(client, false);
    }
}

/* Those that are parked again stand behind those that were. */
void tly_door_resume(struct tly_door *door)
{
    struct tly_client *client, *last = TAILQ_LAST(&door->parked, tly_client_list);
    bool is_last = last == NULL;
    while (!is_last && (client = TAILQ_FIRST(&door->parked)) != NULL) {
        is_last = client == last;
        tly_client_resume(client);
    }
}

/* ---- the listener ---- */

/* Closes the newcomer when there are enough; true: it may stay. */
static bool has_place(struct tly_door *door, int fd)
{
    struct tly_app_stats stats;
    tly_app_stats(door->app, &stats);
    if (stats.clients_open < TLY_CLIENTS_MAX) return true;
    door->stats.refused++;
    (void)close(fd);
    tly_log(tly_app_log(door->app), TLY_LEVEL_WARN,
            "client refused door=%s reason=\"%d clients are connected\"", door->protocol->name,
            TLY_CLIENTS_MAX);
    return false;
}

static void pause_accepting(struct tly_door *door, int reason)
{
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    (void)event_del(door->acceptable);
    (void)event_add(door->resume, &pause);
    tly_log(tly_app_log(door->app), TLY_LEVEL_WARN, "cannot accept, trying again door=%s reason=\"%s\"",
            door->protocol->name, strerror(reason));
}

static void on_acceptable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct tly_door *door = context;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int client = accept4(fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno != EAGAIN) pause_accepting(door, errno);
            return;
        }
        if (!has_place(door, client)) continue;
        const int on = 1;
        if (from.ss_family != AF_UNIX) {
            (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            (void)setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        }
        tly_client_new(door, client, (const struct sockaddr *)&from);
    }
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct tly_door *door = context;
    if (!door->draining) (void)event_add(door->acceptable, NULL);
}

static bool add_events(struct tly_door *door)
{
    struct event_base *base = tly_app_base(door->app);
    const struct timeval every = {.tv_usec = SWEEP_MS * 1000};
    door->acceptable = event_new(base, door->fd, EV_READ | EV_PERSIST, on_acceptable, door);
    door->resume = evtimer_new(base, on_resume, door);
    door->sweep = event_new(base, -1, EV_PERSIST, on_sweep, door);
    return door->acceptable != NULL && door->resume != NULL && door->sweep != NULL &&
           event_add(door->acceptable, NULL) == 0 && event_add(door->sweep, &every) == 0;
}

/* NOLINTNEXTLINE(readability-function-size): two texts with their sizes make it eight parameters */
struct tly_door *tly_door_open(struct tly_app *app, const struct tly_listen *listen,
                               const struct tly_protocol *protocol, char *address, size_t address_size,
                               char *error, size_t error_size)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_door_text text = {0}, name = {0};
    struct tly_door *door = tly_mem_zeroed(&mem, sizeof *door);
    if (door == NULL) {
        (void)snprintf(error, error_size, "%s", tly_result_text(TLY_NOMEM));
        return NULL;
    }
    *door = (struct tly_door){.app = app, .protocol = protocol, .mem = mem, .bytes_max = TLY_DOOR_BYTES_MAX};
    for (size_t i = 0; i < TLY_WAITING_COUNT; i++)
        TAILQ_INIT(&door->waiting[i]);
    TAILQ_INIT(&door->held);
    TAILQ_INIT(&door->streams);
    TAILQ_INIT(&door->parked);
    door->fd = tly_door_listen(listen, &name, &text);
    if (door->fd >= 0 && listen->kind == TLY_LISTEN_UNIX)
        (void)snprintf(door->unlink, sizeof door->unlink, "%s", listen->path);
    if (door->fd < 0 || !add_events(door) || !tly_together_open(door)) {
        (void)snprintf(error, error_size, "%s", door->fd < 0 ? text.text : tly_result_text(TLY_NOMEM));
        tly_door_free(door);
        return NULL;
    }
    (void)snprintf(address, address_size, "%s", name.text);
    return door;
}

void tly_door_encrypt(struct tly_door *door, struct tly_tls *tls)
{
    door->tls = tls;
}

static void stop_listening(struct tly_door *door)
{
    if (door->acceptable != NULL) event_free(door->acceptable);
    door->acceptable = NULL;
    if (door->fd >= 0) (void)close(door->fd);
    door->fd = -1;
    if (door->unlink[0] != '\0') (void)unlink(door->unlink);
    door->unlink[0] = '\0';
}

static void drain(struct tly_client *client)
{
    const struct tly_protocol *protocol = client->door->protocol;
    if (protocol->drain == NULL || !protocol->drain(client->state, client)) client->closing = true;
    if (client->parked)
        tly_client_resume(client);
    else
        tly_client_settle(client);
}

void tly_door_drain(struct tly_door *door)
{
    door->draining = true;
    stop_listening(door);
    for (enum tly_waiting waiting = 0; waiting < TLY_FOR_END; waiting++) {
        /* Those that stay stand behind the last one then. */
        struct tly_client *last = TAILQ_LAST(&door->waiting[waiting], tly_client_list), *client, *next;
        bool is_last = last == NULL;
        for (client = TAILQ_FIRST(&door->waiting[waiting]); !is_last; client = next) {
            next = TAILQ_NEXT(client, in_waiting);
            is_last = client == last;
            drain(client);
        }
    }
}

bool tly_door_is_drained(const struct tly_door *door)
{
    return door->draining && door->stats.open == 0;
}

void tly_door_free(struct tly_door *door)
{
    if (door == NULL) return;
    for (enum tly_waiting waiting = 0; waiting < TLY_WAITING_COUNT; waiting++)
        while (!TAILQ_EMPTY(&door->waiting[waiting]))
            tly_client_free(TAILQ_FIRST(&door->waiting[waiting]));
    stop_listening(door);
    if (door->resume != NULL) event_free(door->resume);
    if (door->sweep != NULL) event_free(door->sweep);
    tly_together_close(door);
    while (door->spares > 0)
        tly_buf_fini(&door->spare[--door->spares]);
    struct tly_mem mem = door->mem;
    tly_mem_free(&mem, door, sizeof *door);
}

void tly_door_stats(const struct tly_door *door, struct tly_door_stats *stats)
{
    *stats = door->stats;
}
