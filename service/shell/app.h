/*
 * The application: one loop, one engine, perhaps a store, and the doors around them.  What a door may use of it is here.
 * Loop thread only.
 */
#ifndef TALLY_SERVICE_SHELL_APP_H
#define TALLY_SERVICE_SHELL_APP_H

#include "service/engine/acked.h"
#include "service/engine/feed.h"
#include "service/shell/config.h"
#include "service/shell/log.h"

struct event_base;
struct tly_app;
struct tly_rls;

struct event_base *tly_app_base(struct tly_app *app);
struct tly_engine *tly_app_engine(struct tly_app *app);
const struct tly_config *tly_app_config(const struct tly_app *app);
struct tly_log *tly_app_log(struct tly_app *app);
/* Envoy's rate limit service (rls.h). */
struct tly_rls *tly_app_rls(struct tly_app *app);

/* Asks the engine; request->now is set here. Whatever changed is flushed at the end of this turn of the loop. */
enum tly_result tly_app_ask(struct tly_app *app, struct tly_request *request,
                            struct tly_reply *reply) TLY_MUST_CHECK;

/* tly_engine_checks, at the time now. */
void tly_app_checks(struct tly_app *app, struct tly_checked *checks, size_t count);

/* A question of the change feed: tly_feed_sync or tly_feed_snapshot, at the time now. It may bring writes. */
typedef enum tly_result tly_app_feed(struct tly_engine *engine, struct tly_slice question,
                                     struct tly_time now, struct tly_feed_said *said, struct tly_buf *out);
enum tly_result tly_app_ask_feed(struct tly_app *app, tly_app_feed *feed, struct tly_slice question,
                                 struct tly_feed_said *said, struct tly_buf *out) TLY_MUST_CHECK;

/* tly_ack_new, at the time now. When somebody is done the doors' parked clients are fed again. */
enum tly_result tly_app_wait(struct tly_app *app, const struct tly_ack_wish *wish,
                             struct tly_ack **ack) TLY_MUST_CHECK;

/* The ticket that an answer to what was just asked has to wait for (tly_engine_ticket); 0: it may go out now. */
uint64_t tly_app_ticket(const struct tly_app *app);
/*
 * Whether the answer still has to wait for its ticket. While the disk refuses it does only if it acknowledges a write and fsync is
 * always: checks and reads go on, and readyz says that nothing is durable.
 */
bool tly_app_must_wait(const struct tly_app *app, uint64_t ticket, bool is_write);
/* Whether anything but checks and reads was asked for since this was last called. */
bool tly_app_took_writes(struct tly_app *app);

/* The two clocks, read now (the wall's within a millisecond), or when the turn began. */
struct tly_time tly_app_now(struct tly_app *app);
/* Cluster time: what is to end, for whoever asks, ends by that. */
uint64_t tly_app_cluster_ns(struct tly_app *app);
/* What came with one read is asked at one time: between these two the clocks are not read again. How long it took, in ns. */
void tly_app_turn_begin(struct tly_app *app);
uint64_t tly_app_turn_end(struct tly_app *app);
uint64_t tly_app_uptime_s(const struct tly_app *app);

/* Why the node is not ready, one reason a line; "" when it is. */
void tly_app_readiness(const struct tly_app *app, char *text, size_t size);

/* Numbers of the doors and the store for INFO and /metrics. */
struct tly_app_stats {
    uint64_t resp_commands, http_requests, grpc_calls;
    uint64_t clients_open, clients_accepted, clients_refused, clients_calmed, clients_crowded;
    bool xds_up;                                         /* the management server answers */
    uint64_t xds_connections, xds_accepted, xds_refused; /* to it; responses of it */
    uint64_t store_bytes, store_batches_stored, store_batches_synced;
    uint64_t store_snapshot_bytes, store_snapshots, store_snapshots_failed, store_turn_max_ns;
    bool has_store, snapshot_given_up; /* the last one */
    struct tly_histogram resp_latency, http_latency, grpc_latency;
    uint64_t reloads, reloads_refused, reloaded_at_s, limits_from_file, limits_from_key;
    bool reload_good;
};

void tly_app_stats(const struct tly_app *app, struct tly_app_stats *stats);
struct tly_kept_intent;
/* The change that cannot be read and because of which a prefix is refused (intent.h); NULL: there is none. */
const struct tly_kept_intent *tly_app_kept(const struct tly_app *app, struct tly_slice prefix);
/* The listening addresses as the "ready" line shows them: "127.0.0.1:7379"; "none". */
const char *tly_app_address(const struct tly_app *app, const char *door);

#endif
