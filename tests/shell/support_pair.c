#include "tests/shell/support_pair.h"

#include "service/shell/net.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define WALL UINT64_C(1700000000000000000)
#define RELAYS_MAX 64
#define SAID_MAX 65536
/* Far more than the longest pause between two dials. */
#define TURNS_MAX 100000

/* One connection through the relay: [i] is the end towards side i. */
struct relay {
    struct pair *pair;
    int fd[2]; /* -1: closed */
    struct event *readable[2];
};

struct side {
    struct pair *pair;
    size_t number;
    struct tly_engine *engine;
    struct tly_net *net;
    char address[TLY_ADDRESS_BYTES_MAX + 1]; /* of its own listener */
    int door;                                /* of the relay, which leads there */
    struct event *knock;
};

struct cut {
    size_t from, left;
    unsigned late;
    bool waits, happened;
};

struct pair {
    struct event_base *base;
    struct side side[2];
    uint64_t mono;
    struct relay relays[RELAYS_MAX];
    size_t relay_count;
    struct cut cut;
    uint8_t said[2][SAID_MAX];
    size_t said_bytes[2];
};

/* ---- engines ---- */

static struct tly_time now_of(const struct pair *pair)
{
    return (struct tly_time){WALL + pair->mono, pair->mono};
}

static void step(struct side *side, struct tly_event *event)
{
    struct tly_effects effects;
    event->now = now_of(side->pair);
    assert_int_equal(tly_engine_step(side->engine, event, &effects), TLY_OK);
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_DIAL) tly_net_dial(side->net, effect->conn, effect->bytes);
        if (effect->kind == TLY_DO_SEND) tly_net_send(side->net, effect->conn, effect->bytes);
        if (effect->kind == TLY_DO_CLOSE) tly_net_close(side->net, effect->conn);
    }
}

static void on_net(void *context, struct tly_event *event)
{
    struct side *side = context;
    step(side, event);
}

static void tick(struct side *side)
{
    for (int i = 0; i < 100 && tly_engine_deadline(side->engine) <= side->pair->mono; i++)
        step(side, &(struct tly_event){.kind = TLY_TICK});
}

void pair_turn(struct pair *pair, size_t first)
{
    pair->mono += MS;
    assert_true(event_base_loop(pair->base, EVLOOP_NONBLOCK) >= 0);
    tick(&pair->side[first]);
    tick(&pair->side[1 - first]);
}

void pair_turns(struct pair *pair, size_t turns)
{
    while (turns-- > 0)
        pair_turn(pair, 0);
}

/* ---- the relay ---- */

static void close_end(struct relay *relay, size_t end)
{
    if (relay->fd[end] < 0) return;
    event_free(relay->readable[end]);
    close(relay->fd[end]);
    relay->fd[end] = -1;
}

static void close_relay(struct relay *relay)
{
    close_end(relay, 0);
    close_end(relay, 1);
}

static void cut_relay(struct relay *relay)
{
    struct cut *cut = &relay->pair->cut;
    cut->waits = false;
    cut->happened = true;
    for (size_t end = 0; end < 2; end++) {
        if ((cut->late & 1u << end) == 0)
            close_end(relay, end);
        else
            event_del(relay->readable[end]);
    }
}

static void pass_on(struct relay *relay, size_t from, const uint8_t *bytes, size_t n)
{
    struct pair *pair = relay->pair;
    struct cut *cut = &pair->cut;
    size_t passes = n;
    if (cut->waits && cut->from == from) {
        passes = n < cut->left ? n : cut->left;
        cut->left -= passes;
    }
    assert_true(pair->said_bytes[from] + passes <= SAID_MAX);
    memcpy(pair->said[from] + pair->said_bytes[from], bytes, passes);
    pair->said_bytes[from] += passes;
    /* So little always fits, unless the other end is gone. */
    if (passes > 0) (void)send(relay->fd[1 - from], bytes, passes, MSG_NOSIGNAL);
    if (passes < n) cut_relay(relay);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct relay *relay = argument;
    (void)what;
    size_t from = fd == relay->fd[0] ? 0 : 1;
    uint8_t bytes[4096];
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0)
        pass_on(relay, from, bytes, (size_t)got);
    else if (got == 0 || errno != EAGAIN)
        close_relay(relay);
}

static int connect_to(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void attach(struct relay *relay, size_t end, int fd)
{
    relay->fd[end] = fd;
    relay->readable[end] = event_new(relay->pair->base, fd, EV_READ | EV_PERSIST, on_readable, relay);
    assert_non_null(relay->readable[end]);
    assert_int_equal(event_add(relay->readable[end], NULL), 0);
}

static void on_knock(evutil_socket_t door, short what, void *argument)
{
    struct side *side = argument;
    struct pair *pair = side->pair;
    (void)what;
    int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    assert_true(pair->relay_count < RELAYS_MAX);
    struct relay *relay = &pair->relays[pair->relay_count++];
    relay->pair = pair;
    attach(relay, 1 - side->number, fd);
    attach(relay, side->number, connect_to(side->address));
}

static void open_door(struct side *side, char *address, size_t size)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_bytes = sizeof at;
    side->door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(side->door >= 0);
    assert_int_equal(bind(side->door, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(side->door, 16), 0);
    assert_int_equal(getsockname(side->door, (struct sockaddr *)&at, &at_bytes), 0);
    (void)snprintf(address, size, "127.0.0.1:%d", (int)ntohs(at.sin_port));
    side->knock = event_new(side->pair->base, side->door, EV_READ | EV_PERSIST, on_knock, side);
    assert_non_null(side->knock);
    assert_int_equal(event_add(side->knock, NULL), 0);
}

size_t pair_relayed(const struct pair *pair)
{
    size_t open = 0;
    for (size_t i = 0; i < pair->relay_count; i++)
        open += pair->relays[i].fd[0] >= 0 && pair->relays[i].fd[1] >= 0;
    return open;
}

/* ---- faults ---- */

void pair_cut_after(struct pair *pair, size_t from, size_t bytes, unsigned late)
{
    pair->cut = (struct cut){.from = from, .left = bytes, .late = late, .waits = true};
    pair->said_bytes[0] = pair->said_bytes[1] = 0;
}

bool pair_was_cut(const struct pair *pair)
{
    return pair->cut.happened;
}

void pair_release(struct pair *pair)
{
    pair->cut.waits = false;
    for (size_t i = 0; i < pair->relay_count; i++) {
        struct relay *relay = &pair->relays[i];
        if ((relay->fd[0] < 0) != (relay->fd[1] < 0)) close_relay(relay);
    }
}

struct tly_slice pair_said(const struct pair *pair, size_t from)
{
    return tly_slice_of(pair->said[from], pair->said_bytes[from]);
}

/* ---- the pair ---- */

static void listen_on(struct side *side)
{
    char why[200];
    struct tly_listen anywhere = {.kind = TLY_LISTEN_TCP, .host = "127.0.0.1"};
    side->net = tly_net_new(side->pair->base, on_net, side);
    assert_non_null(side->net);
    if (!tly_net_listen(side->net, &anywhere, side->address, sizeof side->address, why, sizeof why))
        fail_msg("%s", why);
}

static void start_engine(struct side *side, const char *address)
{
    struct tly_engine_config config = {.mem = test_mem(),
                                       .seed = side->number + 1,
                                       .name = tly_slice_text(side->number == 0 ? "n0" : "n1"),
                                       .cluster = tly_slice_text("test"),
                                       .address = tly_slice_text(address),
                                       .now = now_of(side->pair)};
    memset(config.hash_key.secret, 7, sizeof config.hash_key.secret);
    assert_int_equal(tly_engine_new(&config, &side->engine), TLY_OK);
    assert_int_equal(tly_engine_start(side->engine, 100 + side->number, config.now), TLY_OK);
}

struct pair *pair_new(bool direct)
{
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    pair->mono = 1000 * MS;
    pair->base = event_base_new();
    assert_non_null(pair->base);
    char address[2][TLY_ADDRESS_BYTES_MAX + 1];
    for (size_t i = 0; i < 2; i++) {
        struct side *side = &pair->side[i];
        side->pair = pair;
        side->number = i;
        side->door = -1;
        listen_on(side);
        (void)snprintf(address[i], sizeof address[i], "%s", side->address);
        if (!direct) open_door(side, address[i], sizeof address[i]);
        start_engine(side, address[i]);
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(tly_engine_join(pair->side[i].engine, tly_slice_text(address[1 - i])), TLY_OK);
    return pair;
}

void pair_free(struct pair *pair)
{
    for (size_t i = 0; i < pair->relay_count; i++)
        close_relay(&pair->relays[i]);
    for (size_t i = 0; i < 2; i++) {
        struct side *side = &pair->side[i];
        if (side->knock != NULL) event_free(side->knock);
        if (side->door >= 0) close(side->door);
        tly_net_free(side->net);
        tly_engine_check(side->engine);
        tly_engine_free(side->engine);
    }
    event_base_free(pair->base);
    free(pair);
    assert_int_equal(test_mem_live(), 0);
}

/* ---- looking in ---- */

struct tly_engine *pair_engine(struct pair *pair, size_t side)
{
    return pair->side[side].engine;
}

struct tly_stats pair_stats(const struct pair *pair, size_t side)
{
    struct tly_stats stats;
    tly_engine_stats(pair->side[side].engine, &stats);
    return stats;
}

bool pair_is_up(struct pair *pair, size_t side)
{
    struct tly_peer_view peer;
    if (tly_engine_peers(pair->side[side].engine) == 0) return false;
    tly_engine_peer(pair->side[side].engine, 0, &peer);
    return peer.up;
}

void pair_add(struct pair *pair, size_t side, const char *key, int64_t delta)
{
    struct tly_reply reply;
    struct tly_request add = {
        .kind = TLY_ASK_ADD, .now = now_of(pair), .key = tly_slice_text(key), .number = delta};
    assert_int_equal(tly_engine_ask(pair->side[side].engine, &add, &reply), TLY_OK);
}

int64_t pair_read(struct pair *pair, size_t side, const char *key)
{
    struct tly_reply reply;
    struct tly_request read = {.kind = TLY_ASK_READ, .now = now_of(pair), .key = tly_slice_text(key)};
    enum tly_result result = tly_engine_ask(pair->side[side].engine, &read, &reply);
    assert_true(result == TLY_OK || result == TLY_NOT_FOUND);
    return result == TLY_OK ? reply.value.count : INT64_MIN;
}

static uint64_t digest_of(struct pair *pair, size_t side)
{
    struct tly_node_view view;
    tly_engine_node(pair->side[side].engine, true, &view);
    return view.digest;
}

void pair_settle(struct pair *pair)
{
    for (size_t i = 0; i < TURNS_MAX; i++) {
        pair_turn(pair, i % 2);
        if (pair_is_up(pair, 0) && pair_is_up(pair, 1) && digest_of(pair, 0) == digest_of(pair, 1)) return;
    }
    fail_msg("%s", "the two never settle");
}
