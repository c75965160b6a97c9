/*
 * A few engines, a virtual clock and a virtual network: enough for scenes.  Bytes arrive in order after delay_ns; a cut connection
 * loses what was under way.  Nothing here waits.
 */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_NET_H
#define TALLY_TESTS_ENGINE_SUPPORT_NET_H

#include "service/engine/engine.h"

#define NET_NODES_MAX 72
#define NET_WALL_START UINT64_C(1700000000000000000)

struct net;

struct net *net_new(uint64_t delay_ns);
/* Checks and frees every engine; fails the test if memory is left. */
void net_free(struct net *net);

/*
 * From now on every link carries `rate` bytes/s each way, and its sockets take so many bytes ahead of it. Rate 0: as at first, no
 * bounds. A close does not wait for what is on its way.
 */
void net_thin(struct net *net, uint64_t rate, uint64_t kernel_bytes);

/* Adds node i = 0, 1, … called "n0", "n1", … reachable at "n0:1", …; it joins those of the first 32 in `joins` (a bit each). */
size_t net_add(struct net *net, unsigned joins);
/* The same with settings of one's own; what is 0 there is filled in. */
size_t net_add_with(struct net *net, struct tly_engine_config config, unsigned joins);
struct tly_engine *net_node(struct net *net, size_t node);
/* Stops a node without a word, all its connections torn. */
void net_kill(struct net *net, size_t node);
/* A killed node comes back with what is on its disk, and begins the life `origin`. */
void net_revive(struct net *net, size_t node, uint64_t origin, unsigned joins);
/* … or goes on with that life, as after a clean stop. */
void net_go_on(struct net *net, size_t node, uint64_t origin, unsigned joins);
/*
 * Kills a node, if it lives, and starts it again under a new life from the first `batches` of what it had given to its store
 * (SIZE_MAX: all; 0: an empty disk).
 */
void net_restart(struct net *net, size_t i, uint64_t origin, size_t batches);
/* A killed node's disk loses all but the first so many batches. */
void net_shorten(struct net *net, size_t node, size_t batches);
/* … or loses batch i, and none behind it. */
void net_lose(struct net *net, size_t node, size_t i);
/* A copy of a node's disk as it is now, which the caller frees; and what replaces that of a killed node. */
struct net_disk;
struct net_disk *net_disk_copy(const struct net *net, size_t node);
void net_disk_put(struct net *net, size_t node, const struct net_disk *disk);
void net_disk_free(struct net_disk *disk);
/* Tears every connection between two nodes; they may dial again unless blocked. */
void net_cut(struct net *net, size_t a, size_t b);
void net_block(struct net *net, size_t a, size_t b, bool blocked);
/* Stops a node for a while: it hears and does nothing until it goes on, then gets all at once. */
void net_pause(struct net *net, size_t node, bool paused);
/* What one says to the other comes no more and no dial is answered; nobody is told, and the sockets take nothing. */
void net_hole(struct net *net, size_t a, size_t b, bool hole);
/* From now on each thing on its way takes up to so much longer; to one end of one connection it comes in order all the same. */
void net_jitter(struct net *net, uint64_t ns, uint64_t seed);
/*
 * The first connection on which `from` says more than so many bytes to `to` is cut behind them. Each end hears of it so much later
 * than at once, [0] being `from`; what was on its way to it is lost, save for those bytes, or (late) comes just before it hears.
 */
struct net_cut_plan {
    size_t from, to;
    uint64_t bytes;
    uint64_t late_ns[2];
    bool bytes_late;
};
void net_cut_after(struct net *net, const struct net_cut_plan *plan);
/* Whether that has happened; if not, it no longer will. */
bool net_was_cut(struct net *net);
/* Is shown, and may change, what goes to connection `conn` of node `to`. */
typedef void net_tap(void *context, size_t from, size_t to, uint64_t conn, uint8_t *bytes, size_t n);
void net_listen(struct net *net, net_tap *tap, void *context);
/* Shifts one node's wall clock. */
void net_shift_wall(struct net *net, size_t node, int64_t ns);

/* Lets virtual time pass. */
void net_run(struct net *net, uint64_t ns);
uint64_t net_now(const struct net *net);
struct tly_time net_time(const struct net *net, size_t node);

/* Bytes handed to links since the start, and the number of open connections (pairs). */
uint64_t net_bytes(const struct net *net);
size_t net_connections(const struct net *net);

/* Shorthands for requests, at the node's time now. */
enum tly_result net_ask(struct net *net, size_t node, struct tly_request request, struct tly_reply *reply);
enum tly_result net_change(struct net *net, size_t node, struct tly_prefix_wish wish,
                           struct tly_reply *reply);
enum tly_result net_register(struct net *net, size_t node, const char *prefix, const char *strategy);
int64_t net_add_to(struct net *net, size_t node, const char *key, int64_t delta);
/* The counter's value, or INT64_MIN when absent. */
int64_t net_read(struct net *net, size_t node, const char *key);
bool net_check(struct net *net, size_t node, const char *key, const char *rate, enum tly_algorithm algorithm);
uint64_t net_digest(struct net *net, size_t node);
size_t net_peers_up(struct net *net, size_t node);
/* The life that speaks, and what the node knows of one, which it must know. */
uint64_t net_origin(struct net *net, size_t node);
struct tly_life net_life(struct net *net, size_t node, uint64_t origin);
struct tly_stats net_stats(struct net *net, size_t node);

/* How often the node has said that some watcher has something to read. */
size_t net_woken(const struct net *net, size_t node);

/* Injects an event of one's own making. */
void net_event(struct net *net, size_t node, struct tly_event event);
/* From now on batches do not count as stored, so that no more come after a while; or they do again, and those before too. */
void net_hold_store(struct net *net, size_t node, bool held);
/* Batches that a node with a store gave out, in order; they count as stored at once unless held. */
size_t net_batches(const struct net *net, size_t node);
/* Leases that it asked to be made durable. */
size_t net_leases(const struct net *net, size_t node);
struct tly_slice net_batch(const struct net *net, size_t node, size_t i);

#endif
