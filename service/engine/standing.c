/* Where this node stands among the members, as limits want to know it: who is lost, who has heard what, how old a version is. */
#include "service/engine/impl.h"

/* On a link that is up something comes at least every TLY_PING_AGAIN_NS and a round trip; after so long it is in doubt. */
#define DOUBT_NS (4 * NS_PER_S)
/* A node that finds none of those that it was told of begins without them. */
#define ALONE_NS (10 * NS_PER_S)
/* Nothing is projected for longer than three flushes, or this. */
#define HORIZON_LEAST_NS (300 * NS_PER_MS)

uint64_t tly_standing_horizon(const struct tly_engine *e)
{
    if (e->horizon_ns != 0) return e->horizon_ns;
    return 3 * e->flush_ns > HORIZON_LEAST_NS ? 3 * e->flush_ns : HORIZON_LEAST_NS;
}

static const struct peer *peer_of(const struct tly_engine *e, uint64_t origin)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->origin == origin) return e->peers[i];
    return NULL;
}

/*
 * A version is the wall clock of its node, which is known from the pongs, unless that node's clock has been moved on by others' dots; then
 * all that can be said is how long it took to come.
 */
static uint64_t age_of(void *context, struct tly_version version)
{
    const struct tly_engine *e = context;
    const struct peer *peer = peer_of(e, version.origin);
    uint64_t wall = e->now.wall_ns + (uint64_t)(peer != NULL ? peer->offset_ns : 0);
    bool is_known = peer == NULL || peer->rtt_ns != 0;
    if (version.ts <= wall && (is_known || wall - version.ts < HORIZON_LEAST_NS)) return wall - version.ts;
    return peer != NULL ? peer->rtt_ns / 2 : 0;
}

static uint64_t silence_of(void *context, uint64_t origin)
{
    const struct tly_engine *e = context;
    const struct peer *peer = peer_of(e, origin);
    if (peer == NULL || !tly_member_counts(peer)) return 0;
    /* In a ring the others are heard of by way of those that are linked. */
    if (peer->conn == NULL && !peer->is_linked && tly_member_is_reachable(e, peer)) return 0;
    return e->now.mono_ns > peer->last_heard ? e->now.mono_ns - peer->last_heard : 0;
}

static uint64_t heard_now(struct tly_engine *e)
{
    uint64_t own = tly_ormap_origin(e->map), least = TLY_NEVER;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_member_counts(peer) || peer->conn == NULL) continue;
        uint64_t word = tly_follower_word(&peer->conn->follower, own);
        if (word < least) least = word;
    }
    uint64_t far = tly_hearsay_far(e);
    return far < least ? far : least;
}

/* It changes with steps alone. Who asks waits for what is not heard yet. */
static uint64_t heard_of(void *context)
{
    struct tly_engine *e = context;
    if (!e->heard_known) e->heard = heard_now(e);
    e->heard_known = true;
    uint64_t newest = tly_ormap_mark(e->map, tly_ormap_origin(e->map));
    if (e->heard < newest && tly_hearsay_far(e) != TLY_NEVER) tly_hearsay_want(e, newest);
    return e->heard;
}

enum tly_result tly_standing_init(struct tly_engine *e)
{
    struct tly_heat_world world = {e, age_of, heard_of, silence_of, tly_standing_horizon(e)};
    e->cluster_now.members = 1;
    e->heat = tly_heat_new(&e->mem, &world);
    return e->heat != NULL ? TLY_OK : TLY_NOMEM;
}

static bool is_lost(const struct tly_engine *e, const struct peer *peer)
{
    if (!tly_member_is_reachable(e, peer)) return true;
    if (peer->conn == NULL) return peer->is_linked;
    return e->now.mono_ns - peer->conn->last_heard > DOUBT_NS;
}

/* The version by which this life told of itself; 0: it did not. */
static uint64_t announced_at(struct tly_engine *e)
{
    struct tly_version version;
    return tly_member_told(e, &version) && version.origin == tly_ormap_origin(e->map) ? version.ts : 0;
}

/*
 * Those without a connection answer the first word of this process: what they say is newer than what this node may have lost.
 */
static bool far_know_us(struct tly_engine *e, uint64_t announced)
{
    uint64_t far = tly_hearsay_far(e), first = e->hearsay.first;
    if (far == TLY_NEVER) return true;
    tly_hearsay_want(e, first > announced ? first : announced);
    return first != 0 && far >= first && far >= announced;
}

/* A life that is in question is not announced, and no other node counts it. */
static bool all_know_us(struct tly_engine *e)
{
    uint64_t own = tly_ormap_origin(e->map), announced = announced_at(e);
    if (e->life.kept != 0) return false;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_member_counts(peer) || (peer->conn == NULL && !peer->is_linked)) continue;
        if (peer->conn == NULL || peer->conn->round_open) return false;
        if (tly_follower_word(&peer->conn->follower, own) < announced) return false;
    }
    return far_know_us(e, announced);
}

static bool has_seeds(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->is_seed && !e->targets[i]->is_self) return true;
    return false;
}

/* What they had handed out until they knew this node is here two flushes later, unless a round is still under way. */
static void look_whether_joined(struct tly_engine *e)
{
    uint64_t own = tly_ormap_origin(e->map), now = e->now.mono_ns;
    if (e->joined_as == own || own == 0) return;
    if (e->joining_as != own) {
        e->joining_as = own;
        e->joining_since = now;
        e->known_since = TLY_NEVER;
    }
    if (e->cluster_now.members == 1) {
        if (!has_seeds(e) || now - e->joining_since >= ALONE_NS) e->joined_as = own;
        return;
    }
    if (!all_know_us(e)) return;
    if (e->known_since == TLY_NEVER) e->known_since = now;
    if (now - e->known_since >= 2 * e->flush_ns) e->joined_as = own;
}

void tly_standing_look(struct tly_engine *e)
{
    struct tly_cluster_now now = {.members = 1, .ended = e->forget.closed_count};
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_member_counts(peer)) continue;
        now.members++;
        now.lost += is_lost(e, peer);
    }
    e->cluster_now = now;
    look_whether_joined(e);
    e->cluster_now.joined = e->joined_as == tly_ormap_origin(e->map);
}

void tly_standing_step(struct tly_engine *e, bool looks)
{
    e->heard_known = false;
    if (looks || !e->cluster_now.joined) tly_standing_look(e);
}
