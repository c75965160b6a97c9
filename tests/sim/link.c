#include "tests/sim/sim.h"
#include "tests/support/mem.h"
#include "wire/frame.h"

#include <stdlib.h>
#include <string.h>

/* What the two sockets of a connection hold of one direction. */
#define SOCKET_BYTES ((size_t)128 * 1024)
#define REFUSED_MAX (3 * SIM_S)
#define TIMEOUT_MAX (20 * SIM_S)

struct piece {
    struct piece *next;
    size_t n; /* 0: the end */
    uint8_t bytes[];
};

/* One direction. */
struct pipe {
    struct piece *first, **last;
    size_t bytes;      /* on their way */
    size_t count;      /* pieces */
    size_t due;        /* the arrival of so many of them is an event */
    uint64_t schedule; /* events of earlier ones do not count */
    size_t told;       /* the sender knows of so many that the socket has not taken */
    uint64_t free_at;  /* when the line has sent what is on it */
    uint64_t order_at; /* nothing arrives before this: bytes keep their order */
};

/* The end 0 has dialled. id 0: that end is gone. */
struct conn {
    uint64_t serial; /* 0: unused */
    size_t node[2];
    uint64_t id[2];
    uint64_t ready_at;   /* whoever dialled knows that it is there */
    struct pipe pipe[2]; /* [i]: from end i to the other */
    struct sim_level level[2];
    bool greeted[2]; /* it has said its first */
};

struct line {
    bool clogged, blocked;
    uint64_t rate;
};

struct sim_net {
    struct conn *conns;
    size_t count, capacity;
    uint64_t serial, next_accept, bytes;
    struct line lines[SIM_NODES_MAX][SIM_NODES_MAX];
};

struct sim_net *sim_net_new(void)
{
    struct sim_net *net = calloc(1, sizeof *net);
    if (net == NULL) abort();
    net->next_accept = 1;
    return net;
}

static void empty_pipe(struct pipe *pipe)
{
    while (pipe->first != NULL) {
        struct piece *piece = pipe->first;
        pipe->first = piece->next;
        free(piece);
    }
    *pipe = (struct pipe){0};
}

void sim_net_free(struct sim_net *net)
{
    for (size_t i = 0; i < net->count; i++)
        for (int end = 0; end < 2; end++)
            empty_pipe(&net->conns[i].pipe[end]);
    free(net->conns);
    free(net);
}

uint64_t sim_net_bytes(const struct sim *sim)
{
    return sim->net->bytes;
}

/* ---- connections ---- */

static uint64_t delay(struct sim *sim)
{
    return sim->knobs.delay_ns + sim_below(sim, sim->knobs.jitter_ns + 1);
}

static struct conn *find_end(struct sim_net *net, size_t node, uint64_t id, int *end)
{
    for (size_t i = 0; i < net->count; i++)
        for (*end = 0; *end < 2; (*end)++) {
            struct conn *conn = &net->conns[i];
            if (conn->serial != 0 && conn->node[*end] == node && conn->id[*end] == id) return conn;
        }
    return NULL;
}

static struct conn *find_serial(struct sim_net *net, uint64_t serial)
{
    for (size_t i = 0; i < net->count; i++)
        if (net->conns[i].serial == serial) return &net->conns[i];
    return NULL;
}

static struct conn *add_conn(struct sim_net *net)
{
    for (size_t i = 0; i < net->count; i++)
        if (net->conns[i].serial == 0) return &net->conns[i];
    net->conns = sim_grow(net->conns, &net->capacity, net->count, sizeof *net->conns);
    return &net->conns[net->count++];
}

static void free_if_gone(struct conn *conn)
{
    if (conn->id[0] != 0 || conn->id[1] != 0) return;
    empty_pipe(&conn->pipe[0]);
    empty_pipe(&conn->pipe[1]);
    *conn = (struct conn){0};
}

static struct line *line_of(struct sim_net *net, const struct conn *conn, int end)
{
    return &net->lines[conn->node[end]][conn->node[1 - end]];
}

static struct sim_event meant_for(const struct sim *sim, size_t node, enum sim_event_kind kind)
{
    return (struct sim_event){.kind = kind, .node = node, .process = sim->nodes[node].process};
}

/* An end that was there is told, and is there no more. */
static void end_end(struct sim *sim, struct conn *conn, int end, uint64_t in_ns)
{
    if (conn->id[end] == 0) return;
    struct sim_event closed = meant_for(sim, conn->node[end], SIM_EV_CLOSED);
    closed.a = conn->id[end];
    sim_push(sim, in_ns, closed);
    conn->id[end] = 0;
}

static void tear(struct sim *sim, struct conn *conn)
{
    end_end(sim, conn, 0, sim_below(sim, 3 * sim->knobs.delay_ns + SIM_MS));
    end_end(sim, conn, 1, sim_below(sim, 3 * sim->knobs.delay_ns + SIM_MS));
    free_if_gone(conn);
}

void sim_dial(struct sim *sim, size_t from, uint64_t id, struct tly_slice address)
{
    char text[32] = "";
    memcpy(text, address.p, address.n < sizeof text ? address.n : sizeof text - 1);
    size_t to = (size_t)strtoul(text + 1, NULL, 10);
    struct sim_net *net = sim->net;
    bool is_there = to < sim->knobs.nodes && sim->nodes[to].engine != NULL;
    bool is_open = is_there && !net->lines[from][to].blocked && !net->lines[to][from].blocked;
    sim_tell(sim, "n%zu dials n%zu%s", from, to, is_open ? "" : ", which is not to be reached");
    if (!is_open) {
        struct sim_event refused = meant_for(sim, from, SIM_EV_REFUSED);
        refused.a = id;
        sim_push(sim, is_there ? sim_below(sim, TIMEOUT_MAX) + SIM_S : sim_below(sim, REFUSED_MAX) + 1,
                 refused);
        return;
    }
    struct conn *conn = add_conn(net);
    uint64_t there = delay(sim), back = there + delay(sim);
    *conn = (struct conn){.serial = ++net->serial,
                          .node = {from, to},
                          .id = {id, net->next_accept++},
                          .ready_at = sim->now + back};
    struct sim_event accept = meant_for(sim, to, SIM_EV_ACCEPT),
                     connect = meant_for(sim, from, SIM_EV_CONNECT);
    accept.a = connect.a = conn->serial;
    conn->pipe[1].order_at = conn->ready_at;
    sim_push(sim, there, accept);
    sim_push(sim, back, connect);
}

/* ---- bytes ---- */

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void plan_arrival(struct sim *sim, struct conn *conn, int end, const struct piece *piece)
{
    struct pipe *pipe = &conn->pipe[end];
    const struct line *line = line_of(sim->net, conn, end);
    pipe->free_at = max_of(pipe->free_at, sim->now);
    if (line->rate > 0) pipe->free_at += piece->n * SIM_S / line->rate;
    pipe->order_at = max_of(pipe->free_at + delay(sim), pipe->order_at);
    struct sim_event arrive = meant_for(sim, conn->node[1 - end], SIM_EV_ARRIVE);
    arrive.a = conn->serial;
    arrive.b = (uint64_t)end;
    arrive.c = pipe->schedule;
    sim_push(sim, pipe->order_at - sim->now, arrive);
    pipe->due++;
}

/* Of all that is on its way and has no time yet. */
static void plan_arrivals(struct sim *sim, struct conn *conn, int end)
{
    struct pipe *pipe = &conn->pipe[end];
    if (pipe->due == pipe->count || line_of(sim->net, conn, end)->clogged) return;
    const struct piece *piece = pipe->first;
    for (size_t i = 0; i < pipe->due; i++)
        piece = piece->next;
    for (; piece != NULL; piece = piece->next)
        plan_arrival(sim, conn, end, piece);
}

static void plan_anew(struct sim *sim, struct conn *conn, int end)
{
    struct pipe *pipe = &conn->pipe[end];
    pipe->schedule++;
    pipe->due = 0;
    pipe->free_at = 0;
    pipe->order_at = conn->ready_at;
    plan_arrivals(sim, conn, end);
}

static void push_piece(struct pipe *pipe, const uint8_t *bytes, size_t n)
{
    struct piece *piece = malloc(sizeof *piece + n);
    if (piece == NULL) abort();
    piece->next = NULL;
    piece->n = n;
    if (n > 0) memcpy(piece->bytes, bytes, n);
    if (pipe->first == NULL)
        pipe->first = piece;
    else
        *pipe->last = piece;
    pipe->last = &piece->next;
    pipe->bytes += n;
    pipe->count++;
}

static size_t not_taken(const struct pipe *pipe)
{
    return pipe->bytes > SOCKET_BYTES ? pipe->bytes - SOCKET_BYTES : 0;
}

static void tell_queued(struct sim *sim, const struct conn *conn, int end)
{
    struct sim_event queued = meant_for(sim, conn->node[end], SIM_EV_QUEUED);
    queued.a = conn->serial;
    queued.b = (uint64_t)end;
    sim_push(sim, 0, queued);
}

static void carry(struct sim *sim, struct conn *conn, int end, struct tly_slice bytes)
{
    sim_hostile_hears(bytes);
    sim->net->bytes += bytes.n;
    struct pipe *pipe = &conn->pipe[end];
    /* Now and then a frame comes in pieces. */
    size_t cut = sim_below(sim, 8) == 0 ? sim_below(sim, bytes.n) : 0;
    if (cut > 0) push_piece(pipe, bytes.p, cut);
    push_piece(pipe, bytes.p + cut, bytes.n - cut);
    pipe->told = not_taken(pipe) + 1;
    tell_queued(sim, conn, end);
    plan_arrivals(sim, conn, end);
}

void sim_send(struct sim *sim, size_t node, uint64_t id, struct tly_slice bytes)
{
    int end;
    struct conn *conn = find_end(sim->net, node, id, &end);
    if (conn == NULL || bytes.n == 0) return;
    sim_check_budget(sim, node, &conn->level[end], bytes);
    if (conn->greeted[end]) {
        sim_check_spoken(sim, node, conn->node[1 - end], bytes);
        carry(sim, conn, end, bytes);
        return;
    }
    conn->greeted[end] = true;
    struct tly_mem mem = test_mem();
    struct tly_buf greeting;
    tly_buf_init(&greeting, &mem, 2 * TLY_FRAME_BODY_MAX);
    bool is_odd = sim_odd_greeting(sim, node, conn->node[1 - end], bytes, &greeting);
    carry(sim, conn, end, is_odd ? tly_buf_slice(&greeting) : bytes);
    tly_buf_fini(&greeting);
}

/* Of those that no link carries. */
static uint64_t last_closed;

bool sim_was_closed(uint64_t id)
{
    return id == last_closed;
}

uint64_t sim_net_id(struct sim *sim)
{
    return sim->net->next_accept++;
}

void sim_close(struct sim *sim, size_t node, uint64_t id)
{
    int end;
    struct conn *conn = find_end(sim->net, node, id, &end);
    if (conn == NULL) last_closed = id;
    if (conn == NULL) sim_hostile_closed(node, id);
    if (conn == NULL) return;
    push_piece(&conn->pipe[end], NULL, 0);
    plan_arrivals(sim, conn, end);
    /* Its own end may hear of it, however late. */
    if (sim_below(sim, 4) == 0) end_end(sim, conn, end, sim_below(sim, SIM_S));
    conn->id[end] = 0;
    free_if_gone(conn);
}

static void arrive(struct sim *sim, struct conn *conn, int end)
{
    struct pipe *pipe = &conn->pipe[end];
    struct piece *piece = pipe->first;
    pipe->due--;
    if (line_of(sim->net, conn, end)->clogged) return;
    uint64_t serial = conn->serial, id = conn->id[1 - end];
    size_t receiver = conn->node[1 - end];
    pipe->first = piece->next;
    pipe->bytes -= piece->n;
    pipe->count--;
    if (pipe->told > 0 && conn->id[end] != 0) tell_queued(sim, conn, end);
    plan_arrivals(sim, conn, end);
    if (piece->n == 0) {
        end_end(sim, conn, 1 - end, 0);
        free_if_gone(conn);
    } else if (id != 0 && sim->nodes[receiver].engine != NULL) {
        struct tly_event bytes = {
            .kind = TLY_BYTES, .conn = id, .bytes = tly_slice_of(piece->bytes, piece->n)};
        sim_step(sim, receiver, bytes);
    } else if (find_serial(sim->net, serial) != NULL) {
        /* Nobody reads there: the answer is a reset. */
        end_end(sim, conn, end, delay(sim));
        free_if_gone(conn);
    }
    free(piece);
}

static void tell_engine(struct sim *sim, size_t node, enum tly_event_kind kind, uint64_t id, uint64_t number)
{
    struct tly_engine *engine = sim->nodes[node].engine;
    if (engine == NULL || id == 0) return;
    if (kind == TLY_QUEUED && !tly_engine_is_waited_for(engine, id, number)) return;
    sim_step(sim, node, (struct tly_event){.kind = kind, .conn = id, .number = number});
}

void sim_net_event(struct sim *sim, const struct sim_event *event)
{
    if (event->kind == SIM_EV_REFUSED || event->kind == SIM_EV_CLOSED) {
        tell_engine(sim, event->node, TLY_CLOSED, event->a, 0);
        return;
    }
    struct conn *conn = find_serial(sim->net, event->a);
    if (conn == NULL) return;
    int end = (int)event->b;
    switch (event->kind) {
    case SIM_EV_ACCEPT: tell_engine(sim, event->node, TLY_ACCEPTED, conn->id[1], 0); break;
    case SIM_EV_CONNECT: tell_engine(sim, event->node, TLY_CONNECTED, conn->id[0], 0); break;
    case SIM_EV_ARRIVE:
        if (event->c == conn->pipe[end].schedule) arrive(sim, conn, end);
        break;
    case SIM_EV_QUEUED: {
        size_t left = not_taken(&conn->pipe[end]);
        bool is_news = left < conn->pipe[end].told;
        conn->pipe[end].told = left;
        if (is_news) tell_engine(sim, event->node, TLY_QUEUED, conn->id[end], left);
        break;
    }
    default: break;
    }
}

/* ---- bad luck ---- */

void sim_tear_node(struct sim *sim, size_t node, bool silent)
{
    for (size_t i = 0; i < sim->net->count; i++) {
        struct conn *conn = &sim->net->conns[i];
        for (int end = 0; end < 2 && conn->serial != 0; end++) {
            if (conn->node[end] != node) continue;
            conn->id[end] = 0;
            if (!silent) end_end(sim, conn, 1 - end, delay(sim));
            free_if_gone(conn);
        }
    }
}

void sim_tear_pair(struct sim *sim, size_t a, size_t b)
{
    for (size_t i = 0; i < sim->net->count; i++) {
        struct conn *conn = &sim->net->conns[i];
        bool is_theirs =
            (conn->node[0] == a && conn->node[1] == b) || (conn->node[0] == b && conn->node[1] == a);
        if (conn->serial != 0 && is_theirs) tear(sim, conn);
    }
}

/* What waited goes on. */
static void go_on(struct sim *sim, size_t a, size_t b)
{
    for (size_t i = 0; i < sim->net->count; i++)
        for (int end = 0; end < 2; end++) {
            struct conn *conn = &sim->net->conns[i];
            if (conn->serial != 0 && conn->node[end] == a && conn->node[1 - end] == b)
                plan_anew(sim, conn, end);
        }
}

void sim_clog(struct sim *sim, size_t a, size_t b, bool clogged)
{
    if (sim->net->lines[a][b].clogged == clogged) return;
    sim->net->lines[a][b].clogged = clogged;
    if (!clogged) go_on(sim, a, b);
}

void sim_block(struct sim *sim, size_t a, size_t b, bool blocked)
{
    sim->net->lines[a][b].blocked = blocked;
    sim_clog(sim, a, b, blocked);
}

void sim_rate(struct sim *sim, size_t a, size_t b, uint64_t bytes_per_s)
{
    if (sim->net->lines[a][b].rate == bytes_per_s) return;
    sim->net->lines[a][b].rate = bytes_per_s;
    go_on(sim, a, b);
}

void sim_heal_links(struct sim *sim)
{
    for (size_t a = 0; a < sim->knobs.nodes; a++)
        for (size_t b = 0; b < sim->knobs.nodes; b++) {
            sim_block(sim, a, b, false);
            sim_rate(sim, a, b, 0);
        }
}
