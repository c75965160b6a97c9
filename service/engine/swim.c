/*
 * Who is alive.  Heartbeats are whatever arrives on the one stream between two nodes; a member that is silent is asked
 * after through others before anybody speaks ill of it (SWIM, Das, Gupta, Motivala 2002), may refute what is said of it by a
 * higher incarnation, and a node that is slow itself waits longer before it accuses others (Lifeguard, Dadgar et al. 2017).
 *
 *     ALIVE --silent for 5 s, and nobody asked has heard it--> SUSPECT --5 s more--> DEAD
 *       ^                                                         |                   |
 *       +------------- its own word, with a higher incarnation ---+-------------------+
 *
 * In a ring a member is watched by those that are linked to it. They have no neighbour in common with it who could bear witness; but
 * whoever else is linked to it hears of the suspicion, and so does the member itself, within a few hops, and its contradiction comes
 * back as fast. Whoever is not linked goes by the list.
 *
 * What is said of a member is said in its key sys:member:NAME, so it spreads and is refuted as any lww dot.  A verdict
 * frees nothing: it only tells who is to be counted on.
 */
#include "service/engine/impl.h"

#define SILENT_NS (5 * NS_PER_S)
#define PROBE_WAIT_NS (3 * NS_PER_S / 2)
#define SUSPICION_NS (5 * NS_PER_S)
/* Who heard it so lately vouches for it. */
#define VOUCH_MS 4000
#define PROBES 3
/* A step that comes so much later than it was due shows that this node was away, not the others. */
#define AWAY_NS NS_PER_S
#define SLOW_MAX 8
/* Who was contradicted waits twice as long each time, up to 2^this. */
#define CONTRADICTED_MAX 6
#define CHECK_NS (NS_PER_S / 2)

static uint64_t stretched(const struct tly_engine *e, uint64_t ns)
{
    return ns + ns * e->slowness / 2;
}

static uint64_t heard_at(const struct peer *peer)
{
    return peer->vouched > peer->last_heard ? peer->vouched : peer->last_heard;
}

/* How long it may be silent before it is asked after: ever longer if its link alone is broken. */
static uint64_t patience(const struct tly_engine *e, const struct peer *peer)
{
    unsigned often = peer->contradicted < CONTRADICTED_MAX ? peer->contradicted : CONTRADICTED_MAX;
    return stretched(e, SILENT_NS) << often;
}

static bool is_watched(const struct tly_engine *e, const struct peer *peer)
{
    return tly_member_counts(peer) && peer->state != MEMBER_DEAD && peer->is_linked && !e->leaving;
}

static bool was_heard(const struct tly_engine *e, uint64_t at)
{
    return e->now.mono_ns - at < stretched(e, SILENT_NS + PROBE_WAIT_NS);
}

/* Whether the list can have changed lately: somebody who would have said so was heard. */
static bool hears_anybody(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->state == CONN_UP && was_heard(e, e->conns[i]->last_heard)) return true;
    return false;
}

bool tly_member_is_reachable(const struct tly_engine *e, const struct peer *peer)
{
    if (!tly_member_counts(peer) || peer->state == MEMBER_DEAD) return false;
    if (was_heard(e, heard_at(peer))) return true;
    return !peer->is_linked && peer->state == MEMBER_ALIVE && hears_anybody(e);
}

/* ---- asking others ---- */

/* The n-th up peer from a random start on, that is not the one asked after. */
static struct conn *witness(struct tly_engine *e, const struct peer *about, size_t start, size_t n)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[(start + i) % e->peer_count];
        if (peer == about || peer->conn == NULL || !tly_member_counts(peer)) continue;
        if (n-- == 0) return peer->conn;
    }
    return NULL;
}

static void ask_witnesses(struct tly_engine *e, struct peer *peer)
{
    size_t start = (size_t)(tly_random(e) % e->peer_count);
    peer->probed_at = e->now.mono_ns;
    peer->probe_nonce = tly_random(e);
    peer->probes = 0;
    for (size_t n = 0; n < PROBES; n++) {
        struct conn *conn = witness(e, peer, start, n);
        if (conn == NULL) break;
        struct tly_probe probe = {.nonce = peer->probe_nonce, .name = tly_slice_text(peer->name)};
        tly_probe_put(&e->body, &probe);
        tly_fx_send(e, conn, (enum tly_frame_type)(TLY_FRAME_PROBE | TLY_FRAME_IGNORABLE));
        peer->probes++;
        e->stats.probes_sent++;
    }
}

enum tly_result tly_swim_on_probe(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_probe probe;
    enum tly_result result = tly_probe_get(body, &probe);
    if (result != TLY_OK) return result;
    const struct peer *about = tly_peer_find(e, probe.name);
    probe.heard_ms = TLY_NEVER;
    if (about != NULL && about->last_heard != 0)
        probe.heard_ms = (e->now.mono_ns - about->last_heard) / NS_PER_MS;
    /* The name borrows from the frame that was read; the body is written before that is used again. */
    tly_probe_put(&e->body, &probe);
    tly_fx_send(e, conn, (enum tly_frame_type)(TLY_FRAME_PROBED | TLY_FRAME_IGNORABLE));
    return TLY_OK;
}

enum tly_result tly_swim_on_probed(struct tly_engine *e, struct tly_slice body)
{
    struct tly_probe probe;
    enum tly_result result = tly_probe_get(body, &probe);
    if (result != TLY_OK) return result;
    struct peer *about = tly_peer_find(e, probe.name);
    if (about == NULL || about->probed_at == 0 || about->probe_nonce != probe.nonce) return TLY_OK;
    if (e->slowness > 0) e->slowness--;
    about->answers++;
    if (probe.heard_ms > VOUCH_MS) return TLY_OK;
    uint64_t at = e->now.mono_ns - probe.heard_ms * NS_PER_MS;
    if (at > about->vouched) about->vouched = at;
    about->probed_at = 0;
    return TLY_OK;
}

/* ---- accusing and refuting ---- */

static void accuse(struct tly_engine *e, struct peer *peer, enum member_state state)
{
    if (tly_member_say(e, peer, state) != TLY_OK) {
        e->arena.result = TLY_NOMEM;
        return;
    }
    if (state == MEMBER_SUSPECT)
        e->stats.suspicions++;
    else
        e->stats.verdicts++;
}

/*
 * Nobody of those asked has heard it. With more than two members a node that reaches none of the others has only itself to
 * suspect; of two, there is no third to ask.
 */
static void judge_probe(struct tly_engine *e, struct peer *peer)
{
    if (e->now.mono_ns - peer->probed_at < stretched(e, PROBE_WAIT_NS)) return;
    if (peer->probes > peer->answers && e->slowness < SLOW_MAX) e->slowness++;
    bool alone = peer->probes == 0 && tly_member_count(e) > 2;
    bool unheard = peer->probes > 0 && peer->answers == 0;
    peer->probed_at = 0;
    if (!alone && !unheard) accuse(e, peer, MEMBER_SUSPECT);
}

static void check_peer(struct tly_engine *e, struct peer *peer)
{
    uint64_t now = e->now.mono_ns;
    if (!is_watched(e, peer)) return;
    if (now - heard_at(peer) < patience(e, peer)) {
        peer->probed_at = 0;
    } else if (peer->state == MEMBER_SUSPECT) {
        if (now - peer->suspect_at >= stretched(e, SUSPICION_NS)) accuse(e, peer, MEMBER_DEAD);
    } else if (peer->probed_at != 0) {
        judge_probe(e, peer);
    } else {
        peer->answers = 0;
        ask_witnesses(e, peer);
    }
}

void tly_swim_refute(struct tly_engine *e, uint64_t incarnation)
{
    if (e->leaving) return;
    if (incarnation >= e->incarnation) e->incarnation = incarnation + 1;
    e->stats.refutations++;
    if (tly_member_announce(e, false) != TLY_OK) e->arena.result = TLY_NOMEM;
}

/* ---- time ---- */

/* This node was stopped for a while: what it has not heard meanwhile says nothing about the others. */
static void come_back(struct tly_engine *e)
{
    uint64_t now = e->now.mono_ns;
    for (size_t i = 0; i < e->conn_count; i++)
        e->conns[i]->last_heard = e->conns[i]->since = now;
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->last_heard != 0) e->peers[i]->vouched = now;
    if (e->slowness < SLOW_MAX) e->slowness++;
    e->stats.pauses++;
}

void tly_swim_wake(struct tly_engine *e)
{
    uint64_t now = e->now.mono_ns;
    if (now <= e->due || now - e->due <= AWAY_NS) return;
    /* Whatever has come since the last tick may have put off what was due then; 0 is for something that was asked just now. */
    uint64_t at = tly_engine_deadline(e);
    if (at != 0 && at <= now && now - at > AWAY_NS) come_back(e);
    e->due = at > now ? at : now;
}

void tly_swim_next(struct tly_engine *e)
{
    uint64_t at = tly_engine_deadline(e);
    e->due = at > e->now.mono_ns ? at : e->now.mono_ns;
}

void tly_swim_tick(struct tly_engine *e)
{
    if (e->now.mono_ns < e->swim_at || e->leaving) return;
    e->swim_at = e->now.mono_ns + CHECK_NS;
    for (size_t i = 0; i < e->peer_count; i++)
        check_peer(e, e->peers[i]);
}

uint64_t tly_swim_deadline(const struct tly_engine *e)
{
    uint64_t at = TLY_NEVER;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!is_watched(e, peer)) continue;
        uint64_t due = heard_at(peer) + patience(e, peer);
        if (due < e->swim_at) due = e->swim_at;
        if (due < at) at = due;
    }
    return at;
}
