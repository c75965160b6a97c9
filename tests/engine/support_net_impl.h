/* Inside the virtual network: shared by its files, for nobody else. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_NET_IMPL_H
#define TALLY_TESTS_ENGINE_SUPPORT_NET_IMPL_H

#include "tests/engine/support_net.h"
#include "tests/support/rng.h"

enum what { ACCEPT, CONNECT, DATA, CLOSE, DRAIN };

struct flight {
    uint64_t at, seq;
    enum what what;
    size_t node;
    uint64_t conn;
    uint8_t *bytes;
    size_t n;
};

/* The two ends of one connection; id 0: that end is gone. */
struct wire {
    size_t node[2];
    uint64_t id[2];
    uint64_t free_at[2];  /* of a thin link: when all that was handed over at that end has left it */
    uint64_t lands_at[2]; /* with jitter: when the last of what is on its way to that end comes */
};

struct batch {
    uint8_t *bytes;
    size_t n;
};

struct node {
    struct tly_engine *engine;
    struct tly_engine_config config;
    unsigned joins;
    bool paused;
    bool is_due_known; /* nothing has happened there since due was asked for */
    uint64_t due;
    int64_t wall_shift;
    struct batch *batches;
    size_t batch_count, woken;
    size_t batches_before; /* of its earlier lives */
    bool store_held;       /* batches are taken and never called stored */
    size_t leases;
};

struct net {
    uint64_t now, delay, seq, next_accept, bytes, engines_made;
    uint64_t rate, kernel; /* of every link; rate 0: no end */
    struct node nodes[NET_NODES_MAX];
    size_t node_count;
    bool blocked[NET_NODES_MAX][NET_NODES_MAX];
    struct flight *flights;
    size_t flight_count, flight_capacity;
    struct flight *waiting; /* for paused nodes */
    size_t waiting_count;
    struct wire *wires;
    size_t wire_count, wire_capacity;
    /* Faults. */
    uint64_t jitter;
    struct test_rng rng;
    bool hole[NET_NODES_MAX][NET_NODES_MAX];
    struct net_cut_plan cut;
    bool cut_waits, was_cut;
    net_tap *tap;
    void *tap_context;
};

/* support_net.c */
void net_push_flight(struct net *net, struct flight flight);
void net_send_off(struct net *net, struct flight flight, uint64_t at);

/* support_net_faults.c: when what is sent now to one end of a wire comes, which without jitter is `at`. */
uint64_t net_arrival(struct net *net, struct wire *wire, int end, uint64_t at);
/* How many of n bytes that one end says come; fewer: the wire is cut behind them, and is no more once those are on their way. */
size_t net_before_cut(struct net *net, const struct wire *wire, int end, size_t n);
void net_cut_now(struct net *net, struct wire *wire, int from);

#endif
