/* Connections that are read from, fed and answered together. */
#include "service/shell/door_internal.h"

/* They begin at different places of a page, so that their first lines do not all want the same place of the processor's memory. */
#define STRIDE_BYTES ((size_t)TLY_TOGETHER_BYTES + 576)

/* How long it took is counted for each request that was answered. */
static uint64_t begin(struct tly_door *door)
{
    tly_app_turn_begin(door->app);
    return tly_app_now(door->app).mono_ns;
}

static void end(struct tly_door *door, uint64_t begun_ns, uint64_t requests)
{
    uint64_t last_ns = tly_app_now(door->app).mono_ns, took_ns = tly_app_turn_end(door->app);
    if (door->stats.requests > requests)
        tly_histogram_add(&door->stats.latency, last_ns - begun_ns + took_ns,
                          door->stats.requests - requests);
}

static void turn(struct tly_client *client)
{
    struct tly_door *door = client->door; /* the client may go */
    uint64_t requests = door->stats.requests, begun_ns = begin(door);
    tly_client_turn(client);
    end(door, begun_ns, requests);
}

/* ---- one volley, and another ---- */

/* Something may have happened to it since the loop found it readable. */
static bool is_to_be_read(const struct tly_client *client)
{
    return client->reading && client->waiting != TLY_FOR_END && client->in.n == 0;
}

/* Those that are still to be read from, side by side, and what they said. */
static void receive(struct tly_door *door, struct tly_shot *shots)
{
    struct tly_together *together = &door->together;
    size_t in_max = door->protocol->in_max, n = 0,
           most = in_max < TLY_TOGETHER_BYTES ? in_max : TLY_TOGETHER_BYTES;
    for (size_t i = 0; i < together->count; i++) {
        struct tly_client *client = together->client[i];
        if (client == NULL) continue;
        bool reads = is_to_be_read(client);
        client->place = reads ? n + 1 : 0;
        if (!reads) continue;
        shots[n] = (struct tly_shot){false, client->fd, together->bytes + n * STRIDE_BYTES, most, 0};
        together->client[n++] = client;
    }
    together->count = n;
    tly_volley_fire(together->volley, shots, n);
}

/*
 * What came with one call is asked at one time. Who is fed may bring others to an end, or to say more: what each has to say is looked
 * at when all are fed.
 */
static void feed(struct tly_door *door, const struct tly_shot *shots)
{
    struct tly_together *together = &door->together;
    tly_app_turn_begin(door->app);
    for (size_t i = 0; i < together->count; i++) {
        struct tly_client *client = together->client[i];
        if (client != NULL && !client->closing) tly_client_took(client, shots[i].bytes, shots[i].result);
    }
}

static void answer(struct tly_together *together)
{
    struct tly_shot shots[TLY_VOLLEY_MAX];
    size_t n = 0, at[TLY_VOLLEY_MAX];
    for (size_t i = 0; i < together->count; i++) {
        if (together->client[i] == NULL) continue;
        shots[n] = tly_client_shot(together->client[i]);
        if (shots[n].n > 0) at[n++] = i;
    }
    tly_volley_fire(together->volley, shots, n);
    size_t next = 0;
    for (size_t i = 0; i < together->count; i++) {
        bool has_said = next < n && at[next] == i;
        ssize_t sent = has_said ? shots[next++].result : 0;
        struct tly_client *client = together->client[i];
        if (client == NULL) continue;
        client->place = 0;
        tly_client_sent(client, sent);
    }
}

static void run(struct tly_door *door)
{
    struct tly_together *together = &door->together;
    struct tly_shot shots[TLY_VOLLEY_MAX];
    if (together->count == 1 && together->client[0] != NULL) {
        struct tly_client *client = together->client[0];
        tly_together_forget(client);
        together->count = 0;
        if (is_to_be_read(client)) turn(client);
        return;
    }
    uint64_t requests = door->stats.requests, begun_ns = begin(door);
    receive(door, shots);
    feed(door, shots);
    answer(together);
    together->count = 0;
    end(door, begun_ns, requests);
}

static void on_due(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct tly_door *door = context;
    if (door->together.count > 0) run(door);
}

/* ---- who takes part ---- */

void tly_together_add(struct tly_client *client)
{
    struct tly_door *door = client->door;
    struct tly_together *together = &door->together;
    if (together->volley == NULL || client->tls != NULL || client->in.n > 0) {
        turn(client);
        return;
    }
    if (client->place != 0) return;
    together->client[together->count++] = client;
    client->place = together->count;
    if (together->count == TLY_VOLLEY_MAX)
        run(door);
    else if (together->count == 1)
        event_active(together->due, EV_READ, 0);
}

void tly_together_forget(struct tly_client *client)
{
    if (client->place != 0) client->door->together.client[client->place - 1] = NULL;
    client->place = 0;
}

bool tly_together_open(struct tly_door *door)
{
    struct tly_together *together = &door->together;
    if (tly_app_config(door->app)->io_uring == TLY_IO_URING_AUTO) together->volley = tly_volley_new();
    if (together->volley == NULL) return true;
    together->bytes = tly_mem_new(&door->mem, TLY_VOLLEY_MAX * STRIDE_BYTES);
    together->due = event_new(tly_app_base(door->app), -1, 0, on_due, door);
    return together->bytes != NULL && together->due != NULL;
}

void tly_together_close(struct tly_door *door)
{
    struct tly_together *together = &door->together;
    tly_volley_free(together->volley);
    if (together->due != NULL) event_free(together->due);
    tly_mem_free(&door->mem, together->bytes, TLY_VOLLEY_MAX * STRIDE_BYTES);
}
