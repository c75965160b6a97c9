#include "tests/engine/support_net.h"

#include "tests/engine/support_net_impl.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct net *net_new(uint64_t delay_ns)
{
    struct net *net = calloc(1, sizeof *net);
    assert_non_null(net);
    net->now = 1000000000;
    net->delay = delay_ns;
    net->next_accept = 1;
    return net;
}

static void free_node(struct node *node)
{
    if (node->engine != NULL) tly_engine_check(node->engine);
    tly_engine_free(node->engine);
    node->engine = NULL;
}

void net_free(struct net *net)
{
    for (size_t i = 0; i < net->node_count; i++) {
        free_node(&net->nodes[i]);
        for (size_t j = 0; j < net->nodes[i].batch_count; j++)
            free(net->nodes[i].batches[j].bytes);
        free(net->nodes[i].batches);
    }
    for (size_t i = 0; i < net->flight_count; i++)
        free(net->flights[i].bytes);
    for (size_t i = 0; i < net->waiting_count; i++)
        free(net->waiting[i].bytes);
    free(net->waiting);
    free(net->flights);
    free(net->wires);
    free(net);
    assert_int_equal(test_mem_live(), 0);
}

uint64_t net_now(const struct net *net)
{
    return net->now;
}

struct tly_time net_time(const struct net *net, size_t node)
{
    uint64_t wall = NET_WALL_START + net->now + (uint64_t)net->nodes[node].wall_shift;
    return (struct tly_time){.wall_ns = wall, .mono_ns = net->now};
}

struct tly_engine *net_node(struct net *net, size_t node)
{
    net->nodes[node].is_due_known = false;
    return net->nodes[node].engine;
}

/* ---- the network ---- */

static bool lands_before(const struct flight *a, const struct flight *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

/* The flights are a heap, the next to land first. */
void net_push_flight(struct net *net, struct flight flight)
{
    if (net->flight_count == net->flight_capacity) {
        net->flight_capacity = net->flight_capacity * 2 + 64;
        net->flights = realloc(net->flights, net->flight_capacity * sizeof *net->flights);
        assert_non_null(net->flights);
    }
    size_t i = net->flight_count++;
    for (; i > 0 && lands_before(&flight, &net->flights[(i - 1) / 2]); i = (i - 1) / 2)
        net->flights[i] = net->flights[(i - 1) / 2];
    net->flights[i] = flight;
}

static struct flight pop_flight(struct net *net)
{
    struct flight first = net->flights[0], last = net->flights[--net->flight_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < net->flight_count; i = child) {
        if (child + 1 < net->flight_count && lands_before(&net->flights[child + 1], &net->flights[child]))
            child++;
        if (!lands_before(&net->flights[child], &last)) break;
        net->flights[i] = net->flights[child];
    }
    net->flights[i] = last;
    return first;
}

void net_send_off(struct net *net, struct flight flight, uint64_t at)
{
    flight.at = at;
    flight.seq = net->seq++;
    net_push_flight(net, flight);
}

/* To one end of a wire. */
static void send_to_end(struct net *net, struct wire *wire, int end, struct flight flight, uint64_t at)
{
    flight.node = wire->node[end];
    flight.conn = wire->id[end];
    net_send_off(net, flight, net_arrival(net, wire, end, at));
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct wire *wire_of(struct net *net, size_t node, uint64_t conn, int *end)
{
    for (size_t i = 0; i < net->wire_count; i++)
        for (*end = 0; *end < 2; (*end)++)
            if (net->wires[i].node[*end] == node && net->wires[i].id[*end] == conn) return &net->wires[i];
    return NULL;
}

static void tear(struct net *net, struct wire *wire)
{
    for (int end = 0; end < 2; end++) {
        for (size_t i = 0; i < net->flight_count; i++)
            if (net->flights[i].node == wire->node[end] && net->flights[i].conn == wire->id[end] &&
                net->flights[i].what == DATA)
                net->flights[i].conn = UINT64_MAX; /* lost: nobody has this number */
        for (size_t i = 0; i < net->waiting_count; i++)
            if (net->waiting[i].node == wire->node[end] && net->waiting[i].conn == wire->id[end] &&
                net->waiting[i].what == DATA)
                net->waiting[i].conn = UINT64_MAX;
        send_to_end(net, wire, end, (struct flight){.what = CLOSE}, net->now + net->delay);
    }
    *wire = net->wires[--net->wire_count];
}

/* How long a link is busy with so many bytes, ns. */
static uint64_t busy_with(const struct net *net, uint64_t bytes)
{
    return net->rate == 0 ? 0 : bytes * 1000000000 / net->rate;
}

/* What the socket has not taken: all but what has left and what the kernel holds. */
static uint64_t queued_at(struct net *net, size_t node, uint64_t conn)
{
    int end;
    const struct wire *wire = wire_of(net, node, conn, &end);
    if (wire == NULL || net->rate == 0 || wire->free_at[end] <= net->now) return 0;
    uint64_t held = (wire->free_at[end] - net->now) * net->rate / 1000000000;
    return held > net->kernel ? held - net->kernel : 0;
}

void net_thin(struct net *net, uint64_t rate, uint64_t kernel_bytes)
{
    net->rate = rate;
    net->kernel = kernel_bytes;
}

static void do_dial(struct net *net, size_t from, uint64_t conn, struct tly_slice address)
{
    char text[32] = "";
    memcpy(text, address.p, address.n < sizeof text ? address.n : sizeof text - 1);
    size_t to = (size_t)strtoul(text + 1, NULL, 10);
    if (to < net->node_count && net->hole[from][to]) return; /* nobody ever answers */
    if (to >= net->node_count || net->nodes[to].engine == NULL || net->blocked[from][to]) {
        net_send_off(net, (struct flight){.what = CLOSE, .node = from, .conn = conn}, net->now + net->delay);
        return;
    }
    if (net->wire_count == net->wire_capacity) {
        net->wire_capacity = net->wire_capacity * 2 + 16;
        net->wires = realloc(net->wires, net->wire_capacity * sizeof *net->wires);
        assert_non_null(net->wires);
    }
    uint64_t accepted = net->next_accept++;
    struct wire *wire = &net->wires[net->wire_count++];
    *wire = (struct wire){.node = {from, to}, .id = {conn, accepted}};
    send_to_end(net, wire, 1, (struct flight){.what = ACCEPT}, net->now + net->delay);
    send_to_end(net, wire, 0, (struct flight){.what = CONNECT}, net->now + net->delay);
}

/* When the socket has taken what leaves then, or as much of it as makes room for more. */
static uint64_t drains_at(const struct net *net, uint64_t leaves)
{
    uint64_t held = busy_with(net, net->kernel);
    if (net->rate == 0) return net->now + net->delay;
    return leaves > net->now + held ? leaves - held : net->now;
}

static void do_send(struct net *net, size_t from, uint64_t conn, struct tly_slice bytes)
{
    int end;
    struct wire *wire = wire_of(net, from, conn, &end);
    if (wire == NULL) return;
    net->bytes += bytes.n;
    if (net->hole[from][wire->node[1 - end]]) return; /* and the socket takes no more */
    size_t n = net_before_cut(net, wire, end, bytes.n);
    uint8_t *copy = malloc(n + 1);
    assert_non_null(copy);
    memcpy(copy, bytes.p, n);
    if (net->tap != NULL) net->tap(net->tap_context, from, wire->node[1 - end], wire->id[1 - end], copy, n);
    uint64_t leaves = max_u64(wire->free_at[end], net->now) + busy_with(net, n);
    wire->free_at[end] = leaves;
    if (n > 0)
        send_to_end(net, wire, 1 - end, (struct flight){.what = DATA, .bytes = copy, .n = n},
                    leaves + net->delay);
    else
        free(copy);
    if (n < bytes.n) {
        net_cut_now(net, wire, end);
        return;
    }
    struct flight drain = {.what = DRAIN, .node = from, .conn = conn};
    net_send_off(net, drain, drains_at(net, leaves));
}

static void do_close(struct net *net, size_t from, uint64_t conn)
{
    int end;
    struct wire *wire = wire_of(net, from, conn, &end);
    if (wire == NULL) return;
    /* Once what was sent is out. */
    uint64_t out_at = max_u64(wire->free_at[end], net->now);
    if (!net->hole[from][wire->node[1 - end]])
        send_to_end(net, wire, 1 - end, (struct flight){.what = CLOSE}, out_at + net->delay);
    *wire = net->wires[--net->wire_count];
}

static void add_batch(struct batch **batches, size_t *count, struct tly_slice bytes)
{
    *batches = realloc(*batches, (*count + 1) * sizeof **batches);
    assert_non_null(*batches);
    struct batch *batch = &(*batches)[(*count)++];
    *batch = (struct batch){malloc(bytes.n + 1), bytes.n};
    assert_non_null(batch->bytes);
    memcpy(batch->bytes, bytes.p, bytes.n);
}

void net_event(struct net *net, size_t node, struct tly_event event)
{
    if (net->nodes[node].engine == NULL) return;
    struct tly_effects effects;
    event.now = net_time(net, node);
    assert_int_equal(tly_engine_step(net_node(net, node), &event, &effects), TLY_OK);
    uint64_t stored = 0, leased = 0;
    for (size_t i = 0; i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        switch (effect->kind) {
        case TLY_DO_DIAL: do_dial(net, node, effect->conn, effect->bytes); break;
        case TLY_DO_SEND: do_send(net, node, effect->conn, effect->bytes); break;
        case TLY_DO_CLOSE: do_close(net, node, effect->conn); break;
        case TLY_DO_INSTALL_FIRST:
        case TLY_DO_INSTALL:
        case TLY_DO_INSTALL_LAST:
        case TLY_DO_APPEND:
            add_batch(&net->nodes[node].batches, &net->nodes[node].batch_count, effect->bytes);
            assert_int_equal(effect->number, net->nodes[node].batch_count - net->nodes[node].batches_before);
            if (!net->nodes[node].store_held) stored = effect->number;
            break;
        case TLY_DO_TABLE_ROWS:
        case TLY_DO_TABLE: /* it has its place among them */
            add_batch(&net->nodes[node].batches, &net->nodes[node].batch_count, tly_slice_of("", 0));
            stored = effect->number;
            break;
        case TLY_DO_LEASE:
            leased = effect->number;
            net->nodes[node].leases++;
            break;
        case TLY_DO_WATCH: net->nodes[node].woken++; break;
        case TLY_DO_ACKED: break;
        case TLY_DO_TRACE:
            if (getenv("TALLY_TRACE") != NULL)
                printf("%12.6f n%zu %s %.*s: %.*s\n", (double)net->now / 1e9, node,
                       tly_trace_word(effect->trace.kind), (int)effect->trace.peer.n,
                       (const char *)effect->trace.peer.p, (int)effect->trace.detail.n,
                       (const char *)effect->trace.detail.p);
            break;
        }
    }
    if (stored != 0) net_event(net, node, (struct tly_event){.kind = TLY_STORED, .number = stored});
    if (leased != 0) net_event(net, node, (struct tly_event){.kind = TLY_LEASED, .number = leased});
}

static void land(struct net *net, struct flight flight)
{
    static const enum tly_event_kind kinds[] = {
        [ACCEPT] = TLY_ACCEPTED, [CONNECT] = TLY_CONNECTED, [DATA] = TLY_BYTES,
        [CLOSE] = TLY_CLOSED,    [DRAIN] = TLY_QUEUED,
    };
    if (flight.conn != UINT64_MAX) {
        struct tly_event event = {.kind = kinds[flight.what], .conn = flight.conn};
        event.bytes = tly_slice_of(flight.bytes, flight.n);
        if (flight.what == DRAIN) event.number = queued_at(net, flight.node, flight.conn);
        net_event(net, flight.node, event);
    }
    free(flight.bytes);
}

/* ---- time ---- */

static bool tick_due(struct net *net, uint64_t until, uint64_t *at, size_t *node)
{
    *at = UINT64_MAX;
    for (size_t i = 0; i < net->node_count; i++) {
        if (net->nodes[i].engine == NULL || net->nodes[i].paused) continue;
        struct node *it = &net->nodes[i];
        if (!it->is_due_known) it->due = tly_engine_deadline(it->engine);
        it->is_due_known = true;
        if (it->due < *at) {
            *at = it->due;
            *node = i;
        }
    }
    if (*at < net->now) *at = net->now;
    return *at <= until;
}

static void keep_waiting(struct net *net, struct flight flight)
{
    net->waiting = realloc(net->waiting, (net->waiting_count + 1) * sizeof *net->waiting);
    assert_non_null(net->waiting);
    net->waiting[net->waiting_count++] = flight;
}

void net_run(struct net *net, uint64_t ns)
{
    uint64_t until = net->now + ns;
    uint64_t last = 0;
    for (unsigned busy = 0; busy < 1000000; busy++) {
        if (net->now > last) busy = 0;
        last = net->now;
        size_t node = 0;
        uint64_t tick_at;
        bool tick = tick_due(net, until, &tick_at, &node);
        bool lands = net->flight_count > 0 && net->flights[0].at <= until;
        if (!tick && !lands) {
            net->now = until;
            return;
        }
        if (lands && (!tick || net->flights[0].at <= tick_at)) {
            struct flight landing = pop_flight(net);
            if (landing.at > net->now) net->now = landing.at; /* what lay before a paused node is late */
            if (net->nodes[landing.node].paused)
                keep_waiting(net, landing);
            else
                land(net, landing);
        } else {
            net->now = tick_at;
            net_event(net, node, (struct tly_event){.kind = TLY_TICK});
        }
    }
    fail_msg("%s", "the engines never come to rest");
}

/* ---- nodes ---- */

void net_kill(struct net *net, size_t node)
{
    for (size_t i = net->wire_count; i-- > 0;)
        if (net->wires[i].node[0] == node || net->wires[i].node[1] == node) tear(net, &net->wires[i]);
    free_node(&net->nodes[node]);
}

size_t net_batches(const struct net *net, size_t node)
{
    return net->nodes[node].batch_count;
}

struct tly_slice net_batch(const struct net *net, size_t node, size_t i)
{
    return tly_slice_of(net->nodes[node].batches[i].bytes, net->nodes[node].batches[i].n);
}

static struct tly_engine *make_engine(struct net *net, size_t i, struct tly_engine_config config)
{
    char name[24], address[24];
    (void)snprintf(name, sizeof name, "n%zu", i);
    (void)snprintf(address, sizeof address, "n%zu:1", i);
    config.mem = test_mem();
    for (size_t j = 0; j < sizeof config.hash_key.secret; j++)
        config.hash_key.secret[j] = (uint8_t)(j * 13 + i + 1);
    config.seed = ++net->engines_made * NET_NODES_MAX + i; /* each process has its own */
    if (config.name.n == 0) config.name = tly_slice_text(name);
    if (config.cluster.n == 0) config.cluster = tly_slice_text("test");
    config.address = tly_slice_text(address);
    config.now = net_time(net, i);
    struct tly_engine *engine;
    assert_int_equal(tly_engine_new(&config, &engine), TLY_OK);
    return engine;
}

static void join_all(struct net *net, size_t i, unsigned joins)
{
    for (size_t j = 0; j < 32; j++) {
        char seed[24];
        (void)snprintf(seed, sizeof seed, "n%zu:1", j);
        if ((joins & 1u << j) != 0)
            assert_int_equal(tly_engine_join(net->nodes[i].engine, tly_slice_text(seed)), TLY_OK);
    }
}

static void start_engine(struct net *net, size_t i, uint64_t origin, unsigned joins)
{
    assert_int_equal(tly_engine_start(net_node(net, i), origin, net_time(net, i)), TLY_OK);
    join_all(net, i, joins);
}

size_t net_add_with(struct net *net, struct tly_engine_config config, unsigned joins)
{
    size_t i = net->node_count++;
    assert_true(i < NET_NODES_MAX);
    net->nodes[i].config = config;
    net->nodes[i].joins = joins;
    net->nodes[i].engine = make_engine(net, i, config);
    start_engine(net, i, 100 + i, joins);
    return i;
}

/* An engine that has read what is on its disk. */
static void read_disk(struct net *net, size_t i)
{
    struct node *node = &net->nodes[i];
    assert_null(node->engine);
    node->engine = make_engine(net, i, node->config);
    for (size_t j = 0; j < node->batch_count; j++) {
        if (net_batch(net, i, j).n == 0)
            fail_msg("tables of prefixes are for tests/shell/test_store_prefixes.c");
        assert_int_equal(tly_engine_replay(node->engine, net_batch(net, i, j)), TLY_OK);
    }
    /* The engine numbers what it gives from 1 on. */
    node->batches_before = node->batch_count;
}

void net_revive(struct net *net, size_t node, uint64_t origin, unsigned joins)
{
    read_disk(net, node);
    start_engine(net, node, origin, joins);
}

void net_go_on(struct net *net, size_t node, uint64_t origin, unsigned joins)
{
    read_disk(net, node);
    assert_int_equal(tly_engine_resume(net_node(net, node), origin, joins != 0, net_time(net, node)), TLY_OK);
    join_all(net, node, joins);
}

void net_restart(struct net *net, size_t i, uint64_t origin, size_t batches)
{
    struct node *node = &net->nodes[i];
    if (node->engine != NULL) net_kill(net, i);
    net_shorten(net, i, batches);
    net_revive(net, i, origin, node->joins);
}

size_t net_leases(const struct net *net, size_t node)
{
    return net->nodes[node].leases;
}

/* ---- disks ---- */

struct net_disk {
    struct batch *batches;
    size_t count;
};

void net_shorten(struct net *net, size_t node, size_t batches)
{
    struct node *it = &net->nodes[node];
    for (; it->batch_count > batches; it->batch_count--)
        free(it->batches[it->batch_count - 1].bytes);
}

void net_lose(struct net *net, size_t node, size_t i)
{
    struct node *it = &net->nodes[node];
    assert_true(i < it->batch_count);
    free(it->batches[i].bytes);
    memmove(it->batches + i, it->batches + i + 1, (--it->batch_count - i) * sizeof *it->batches);
}

struct net_disk *net_disk_copy(const struct net *net, size_t node)
{
    struct net_disk *disk = calloc(1, sizeof *disk);
    assert_non_null(disk);
    for (size_t i = 0; i < net_batches(net, node); i++)
        add_batch(&disk->batches, &disk->count, net_batch(net, node, i));
    return disk;
}

void net_disk_put(struct net *net, size_t node, const struct net_disk *disk)
{
    struct node *it = &net->nodes[node];
    net_shorten(net, node, 0);
    for (size_t i = 0; i < disk->count; i++)
        add_batch(&it->batches, &it->batch_count, tly_slice_of(disk->batches[i].bytes, disk->batches[i].n));
}

void net_disk_free(struct net_disk *disk)
{
    if (disk == NULL) return;
    for (size_t i = 0; i < disk->count; i++)
        free(disk->batches[i].bytes);
    free(disk->batches);
    free(disk);
}

size_t net_add(struct net *net, unsigned joins)
{
    return net_add_with(net, (struct tly_engine_config){0}, joins);
}

void net_cut(struct net *net, size_t a, size_t b)
{
    for (size_t i = net->wire_count; i-- > 0;) {
        const struct wire *wire = &net->wires[i];
        if ((wire->node[0] == a && wire->node[1] == b) || (wire->node[0] == b && wire->node[1] == a))
            tear(net, &net->wires[i]);
    }
}

void net_block(struct net *net, size_t a, size_t b, bool blocked)
{
    net->blocked[a][b] = net->blocked[b][a] = blocked;
    if (blocked) net_cut(net, a, b);
}

void net_pause(struct net *net, size_t node, bool paused)
{
    net->nodes[node].paused = paused;
    size_t kept = 0;
    for (size_t i = 0; i < net->waiting_count; i++) {
        if (net->nodes[net->waiting[i].node].paused)
            net->waiting[kept++] = net->waiting[i];
        else
            net_push_flight(net, net->waiting[i]);
    }
    net->waiting_count = kept;
}

void net_shift_wall(struct net *net, size_t node, int64_t ns)
{
    net->nodes[node].wall_shift = ns;
}

size_t net_woken(const struct net *net, size_t node)
{
    return net->nodes[node].woken;
}

uint64_t net_bytes(const struct net *net)
{
    return net->bytes;
}

size_t net_connections(const struct net *net)
{
    return net->wire_count;
}

/* ---- requests ---- */

enum tly_result net_ask(struct net *net, size_t node, struct tly_request request, struct tly_reply *reply)
{
    request.now = net_time(net, node);
    return tly_engine_ask(net_node(net, node), &request, reply);
}

int64_t net_add_to(struct net *net, size_t node, const char *key, int64_t delta)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = delta};
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.value.count;
}

int64_t net_read(struct net *net, size_t node, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_READ, .key = tly_slice_text(key)};
    enum tly_result result = net_ask(net, node, request, &reply);
    if (result == TLY_NOT_FOUND) return INT64_MIN;
    assert_int_equal(result, TLY_OK);
    return reply.value.count;
}

bool net_check(struct net *net, size_t node, const char *key, const char *rate, enum tly_algorithm algorithm)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text(key), .hits = 1}};
    assert_int_equal(tly_rate_parse(tly_slice_text(rate), &request.check.rate), TLY_OK);
    request.check.rate.algorithm = algorithm;
    assert_int_equal(net_ask(net, node, request, &reply), TLY_OK);
    return reply.verdict.code == TLY_CODE_OK;
}

uint64_t net_digest(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), true, &view);
    return view.digest;
}

size_t net_peers_up(struct net *net, size_t node)
{
    size_t up = 0;
    for (size_t i = 0; i < tly_engine_peers(net->nodes[node].engine); i++) {
        struct tly_peer_view view;
        tly_engine_peer(net->nodes[node].engine, i, &view);
        up += view.up;
    }
    return up;
}

uint64_t net_origin(struct net *net, size_t node)
{
    struct tly_node_view view;
    tly_engine_node(net_node(net, node), false, &view);
    return view.origin;
}

struct tly_life net_life(struct net *net, size_t node, uint64_t origin)
{
    const struct tly_engine *engine = net_node(net, node);
    for (size_t i = 0; i < tly_engine_lives(engine); i++)
        if (tly_engine_life(engine, i).origin == origin) return tly_engine_life(engine, i);
    fail_msg("%s", "it does not know that life");
    return (struct tly_life){0};
}

struct tly_stats net_stats(struct net *net, size_t node)
{
    struct tly_stats stats;
    tly_engine_stats(net->nodes[node].engine, &stats);
    return stats;
}

enum tly_result net_change(struct net *net, size_t node, struct tly_prefix_wish wish, struct tly_reply *reply)
{
    struct tly_request request = {
        .kind = TLY_ASK_PREFIXES, .bytes = tly_slice_text("test"), .wishes = &wish, .wish_count = 1};
    return net_ask(net, node, request, reply);
}

enum tly_result net_register(struct net *net, size_t node, const char *prefix, const char *strategy)
{
    struct tly_reply reply;
    return net_change(net, node,
                      (struct tly_prefix_wish){.op = TLY_PREFIX_REGISTER,
                                               .prefix = tly_slice_text(prefix),
                                               .strategy = tly_slice_text(strategy)},
                      &reply);
}
