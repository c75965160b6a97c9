#include "service/engine/impl.h"

const struct tly_histogram *tly_engine_staleness(const struct tly_engine *e)
{
    return &e->staleness;
}

uint64_t tly_engine_cluster_ns(struct tly_engine *e, struct tly_time now)
{
    tly_engine_wake(e, now);
    return e->cluster_ns;
}

void tly_engine_stats(const struct tly_engine *e, struct tly_stats *stats)
{
    *stats = e->stats;
}

/* A refused snapshot ends the session: between two of those it stands for as long as may pass until the next is dialled. */
static bool is_disputed(const struct tly_engine *e, const struct peer *peer, uint64_t at)
{
    uint64_t lasts_ns = peer->conn != NULL ? TLY_DISPUTE_NS : TLY_DISPUTE_NS + TLY_BACKOFF_MAX_NS;
    if (at == 0 || (peer->conn == NULL && at < peer->last_heard)) return false;
    return e->now.mono_ns - at < lasts_ns;
}

/* One that is gone has nothing more to give. */
static bool is_held_back(const struct peer *peer)
{
    return peer->held_back && peer->conn != NULL;
}

static void count_peers(const struct tly_engine *e, struct tly_node_view *view)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        view->peers_held_back += is_held_back(peer);
        bool refuses = is_disputed(e, peer, peer->refused_clock_at);
        bool is_refused = is_disputed(e, peer, peer->clock_ahead_at);
        view->peers_up += peer->conn != NULL;
        view->peers_judged += peer->conn != NULL || refuses || is_refused;
        view->refused_by += refuses;
        view->refusing += is_refused;
    }
}

void tly_engine_node(struct tly_engine *e, bool with_digest, struct tly_node_view *view)
{
    struct tly_clock *clock = tly_ormap_clock(e->map);
    *view = (struct tly_node_view){
        .name = tly_slice_text(e->name),
        .cluster = tly_slice_text(e->cluster),
        .address = tly_slice_text(e->address),
        .origin = tly_life_spoken(e),
        .life_in_question = e->life.kept != 0,
        .keys = tly_ormap_count(e->map),
        .lives = tly_ormap_lives(e->map),
        .bytes = tly_ormap_bytes(e->map),
        .memory_used = e->budget.used,
        .memory_max = e->memory_max,
        .watchers = e->watch_count + e->hearers,
        .leases = tly_leases_count(e->leases),
        .full = e->full,
        .clock_covered = !e->has_store || tly_clock_is_covered(clock),
        .store_failing = e->store_failing,
        .wall_borrowed = e->wall_is_wrong && e->borrows,
        .log_records = tly_ormap_log_size(e->map),
        .clock_last = clock->last,
        .lease = clock->lease,
        .cluster_ns = e->cluster_ns,
        .time_offset_ns = (int64_t)(e->cluster_ns - e->now.wall_ns),
        .time_skew_ns = tly_cluster_time_error(&e->time, e->now.mono_ns),
    };
    count_peers(e, view);
    if (with_digest && tly_flush_seal(e) == TLY_OK) view->digest = tly_ormap_digest(e->map);
}

size_t tly_engine_peers(const struct tly_engine *e)
{
    return e->peer_count;
}

void tly_engine_peer(const struct tly_engine *e, size_t i, struct tly_peer_view *view)
{
    const struct peer *peer = e->peers[i];
    const struct conn *conn = peer->conn;
    *view = (struct tly_peer_view){
        .name = tly_slice_text(peer->name),
        .address = tly_slice_text(peer->address),
        .origin = peer->conn != NULL || peer->member_origin == 0 ? peer->origin : peer->member_origin,
        .up = conn != NULL,
        .state = tly_member_word(peer->state),
        .reachable = tly_member_is_reachable(e, peer),
        .linked = peer->is_linked,
        .dialled = conn != NULL && conn->target != NULL,
        .held_back = is_held_back(peer),
        .last_heard_ms = TLY_NEVER,
        .rtt_ns = peer->rtt_ns,
        .offset_ns = peer->offset_ns,
        .bytes_sent = peer->bytes_sent,
        .bytes_received = peer->bytes_received,
        .clock_refusals = peer->clock_refusals,
    };
    if (peer->last_heard != 0) view->last_heard_ms = (e->now.mono_ns - peer->last_heard) / NS_PER_MS;
    if (conn == NULL) return;
    view->queued_bytes = conn->lanes.queued;
    view->rate = tly_lanes_rate(&conn->lanes);
    view->chunk_bytes = tly_lanes_chunk(&conn->lanes);
    view->credit_bytes = tly_lanes_credit(&conn->lanes);
    view->unacked_bytes = tly_lanes_unacked(&conn->lanes);
}

bool tly_engine_peer_lag(const struct tly_engine *e, size_t i, uint64_t *dots)
{
    const struct conn *conn = e->peers[i]->conn;
    if (conn == NULL) return false;
    *dots = tly_follower_lag(&conn->follower);
    return true;
}
