#include "service/engine/impl.h"
#include "service/engine/ring.h"

/* splitmix64 (Steele, Lea, Flood 2014): for jitter and for numbers of lives drawn while running. */
uint64_t tly_random(struct tly_engine *e)
{
    uint64_t z = e->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void copy_text(char *out, size_t size, struct tly_slice text)
{
    size_t n = text.n < size ? text.n : size - 1;
    if (n > 0) memcpy(out, text.p, n);
    out[n] = '\0';
}

/* ---- connections ---- */

struct conn *tly_conn_find(struct tly_engine *e, uint64_t id)
{
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->id == id) return e->conns[i];
    return NULL;
}

struct conn *tly_conn_new(struct tly_engine *e, uint64_t id, struct target *target)
{
    if (e->conn_count == TLY_CONNS_MAX) return NULL;
    void *conns =
        tly_mem_reserve(&e->mem, e->conns, &e->conn_capacity, e->conn_count + 1, sizeof(struct conn *));
    if (conns == NULL) return NULL;
    e->conns = conns;
    struct conn *conn = tly_mem_zeroed(&e->mem, sizeof *conn);
    if (conn == NULL) return NULL;
    conn->id = id;
    conn->state = target != NULL ? CONN_DIALLING : CONN_GREETING;
    conn->target = target;
    conn->since = conn->last_heard = conn->last_ping = e->now.mono_ns;
    conn->flush_at = conn->ack_at = conn->repair_at = conn->begun_at = TLY_NEVER;
    conn->lanes = tly_lanes_of(e->link_budget, e->now.mono_ns);
    tly_follower_init(&conn->follower, &e->mem, e->map);
    tly_buf_init(&conn->in, &e->mem, TLY_FRAME_BODY_MAX + TLY_FRAME_HEAD_MAX);
    e->conns[e->conn_count++] = conn;
    return conn;
}

void tly_conn_free(struct tly_engine *e, struct conn *conn)
{
    tly_repair_fini(e, conn);
    tly_buf_fini(&conn->in);
    tly_follower_fini(&conn->follower);
    tly_stream_free(conn->heard);
    tly_mem_free(&e->mem, conn, sizeof *conn);
}

bool tly_own_marks_init(struct tly_engine *e, struct own_marks *own)
{
    size_t lives = tly_ormap_lives(e->map);
    *own = (struct own_marks){.bytes = (lives + 1) * sizeof *own->marks};
    own->marks = tly_mem_new(&e->mem, own->bytes);
    if (own->marks == NULL) {
        e->arena.result = TLY_NOMEM;
        return false;
    }
    for (size_t i = 0; i < lives; i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.mark > 0) own->marks[own->count++] = (struct tly_mark){life.origin, life.mark};
    }
    return true;
}

void tly_own_marks_fini(struct tly_engine *e, struct own_marks *own)
{
    tly_mem_free(&e->mem, own->marks, own->bytes);
}

void tly_conn_greet(struct tly_engine *e, struct conn *conn)
{
    conn->state = CONN_GREETING;
    conn->since = conn->last_heard = e->now.mono_ns;
    struct own_marks own;
    if (!tly_own_marks_init(e, &own)) return;
    struct tly_hello hello = {
        .version_oldest = TLY_PROTOCOL_OLDEST,
        .version_newest = TLY_PROTOCOL_NEWEST,
        .cluster = tly_slice_text(e->cluster),
        .name = tly_slice_text(e->name),
        .address = tly_slice_text(e->address),
        .origin = tly_life_spoken(e),
        .wall_ns = e->now.wall_ns,
        .delta = true,
        .table = e->table < TLY_NAMES_MAX ? e->table : 0,
        .snapshot = true,
        .repair = true,
        .resume = true,
        .news = true,
        .columns = true,
    };
    tly_hello_put(&e->body, &hello, e->registry, own.marks, own.count);
    tly_own_marks_fini(e, &own);
    if (conn->target != NULL) conn->target->greeted_ns = hello.wall_ns;
    tly_fx_send(e, conn, TLY_FRAME_HELLO);
}

/*
 * Nobody expects anything of a member that left; but it may be up again, and nobody have said so to anyone who still was. Who has
 * met no other yet cannot know what has happened since its list was written.
 */
static uint64_t left_pause(const struct tly_engine *e, const struct target *target)
{
    return target->has_left && !target->is_seed && e->life.met_at != 0 ? TLY_LEFT_PAUSE_NS : 0;
}

void tly_target_left(struct tly_engine *e, struct target *target, bool has_left)
{
    target->has_left = has_left;
    target->next_at = e->now.mono_ns + left_pause(e, target);
}

/* When the target of a connection that is over is dialled next. */
static void dial_again(struct tly_engine *e, const struct conn *conn)
{
    struct target *target = conn->target;
    target->dialling = false;
    /* Who greets and is then refused is as far away as one who does not answer. */
    bool lasted = conn->state == CONN_UP && e->now.mono_ns - conn->since >= TLY_LASTED_NS;
    if (lasted) target->backoff_ns = TLY_BACKOFF_MIN_NS;
    uint64_t pause = target->backoff_ns;
    if (conn->state != CONN_UP && left_pause(e, target) > pause) pause = left_pause(e, target);
    uint64_t at = e->now.mono_ns + pause - pause / 10 + tly_random(e) % (pause / 5 + 1);
    if (target->next_at < at) target->next_at = at; /* it may be later, if the member has left meanwhile */
    target->backoff_ns =
        target->backoff_ns < TLY_BACKOFF_MAX_NS / 2 ? target->backoff_ns * 2 : TLY_BACKOFF_MAX_NS;
}

void tly_conn_taken(struct tly_engine *e, struct conn *conn, uint64_t queued)
{
    struct tly_lanes *lanes = &conn->lanes;
    if (queued < lanes->queued) {
        e->stats.bytes_taken += lanes->queued - queued;
        lanes->queued = queued;
    }
    if (conn->blocked) conn->flush_at = e->now.mono_ns;
}

/* Takes the connection off every list and frees it; its peer may go over to nobody. */
static void unlink_conn(struct tly_engine *e, struct conn *conn)
{
    size_t i = 0;
    while (e->conns[i] != conn)
        i++;
    e->conns[i] = e->conns[--e->conn_count];
    e->stats.bytes_lost += conn->lanes.total - conn->lanes.acked;
    if (conn->peer != NULL && conn->peer->conn == conn) conn->peer->conn = NULL;
    if (conn->target != NULL) dial_again(e, conn);
    tly_snap_put_aside(e, conn);
    tly_conn_free(e, conn);
}

static bool is_the_link(const struct conn *conn)
{
    return conn->state == CONN_UP && conn->peer != NULL && conn->peer->conn == conn;
}

void tly_conn_end(struct tly_engine *e, struct conn *conn, const char *word, const char *text)
{
    if (word != NULL && conn->state != CONN_DIALLING) {
        tly_goodbye_put(&e->body, tly_slice_text(word), tly_slice_text(text));
        tly_fx_send(e, conn, TLY_FRAME_GOODBYE);
    }
    if (is_the_link(conn)) tly_fx_trace(e, TLY_TRACE_PEER_DOWN, conn->peer->name, tly_slice_text(text));
    tly_fx_add(e, TLY_DO_CLOSE, conn->id, 0, tly_slice_of(NULL, 0));
    unlink_conn(e, conn);
}

void tly_conn_gone(struct tly_engine *e, struct conn *conn, const char *why)
{
    struct target *target = conn->target;
    if (is_the_link(conn)) {
        tly_fx_trace(e, TLY_TRACE_PEER_DOWN, conn->peer->name, tly_slice_text(why));
    } else if (target != NULL && conn->state == CONN_DIALLING && !target->reported && !target->has_left) {
        target->reported = true;
        tly_fx_trace(e, TLY_TRACE_DIAL_FAILED, target->address,
                     tly_slice_text("trying again until it answers"));
    }
    unlink_conn(e, conn);
}

/* ---- targets and peers ---- */

struct target *tly_target_need(struct tly_engine *e, struct tly_slice address)
{
    if (address.n == 0 || address.n > TLY_ADDRESS_BYTES_MAX) return NULL;
    for (size_t i = 0; i < e->target_count; i++)
        if (tly_slice_equal(tly_slice_text(e->targets[i]->address), address)) return e->targets[i];
    if (e->target_count == TLY_TARGETS_MAX) return NULL;
    size_t need = e->target_count + 1;
    void *targets = tly_mem_reserve(&e->mem, e->targets, &e->target_capacity, need, sizeof(struct target *));
    if (targets == NULL) return NULL;
    e->targets = targets;
    struct target *target = tly_mem_zeroed(&e->mem, sizeof *target);
    if (target == NULL) return NULL;
    copy_text(target->address, sizeof target->address, address);
    target->next_at = e->now.mono_ns;
    target->backoff_ns = TLY_BACKOFF_MIN_NS;
    e->targets[e->target_count++] = target;
    return target;
}

struct peer *tly_peer_find(struct tly_engine *e, struct tly_slice name)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_slice_equal(tly_slice_text(e->peers[i]->name), name)) return e->peers[i];
    return NULL;
}

static struct peer *add_peer(struct tly_engine *e)
{
    void *peers =
        tly_mem_reserve(&e->mem, e->peers, &e->peer_capacity, e->peer_count + 1, sizeof(struct peer *));
    if (peers == NULL) return NULL;
    e->peers = peers;
    struct peer *peer = tly_mem_zeroed(&e->mem, sizeof *peer);
    if (peer != NULL) e->peers[e->peer_count++] = peer;
    return peer;
}

/* Who greeted once, is no member and has gone: of those the one that was silent for longest. NULL: there is none. */
static struct peer *find_stranger(struct tly_engine *e)
{
    struct peer *found = NULL;
    for (size_t i = 0; i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        if (peer->conn != NULL || peer->is_member || peer->is_given_up || peer->aside != NULL) continue;
        if (found == NULL || peer->last_heard < found->last_heard) found = peer;
    }
    for (size_t i = 0; i < e->target_count && found != NULL; i++)
        if (e->targets[i]->peer == found) e->targets[i]->peer = NULL;
    return found;
}

struct peer *tly_peer_need(struct tly_engine *e, struct tly_slice name)
{
    struct peer *known = tly_peer_find(e, name);
    if (known != NULL) return known;
    struct peer *peer = e->peer_count < TLY_PEERS_MAX ? add_peer(e) : find_stranger(e);
    if (peer == NULL) return NULL;
    *peer = (struct peer){.ring_hash = tly_ring_hash(name), .place = TLY_NOWHERE, .is_linked = true};
    copy_text(peer->name, sizeof peer->name, name);
    e->ring_changed = true;
    return peer;
}

/* The origin of the end that dialled. */
static uint64_t dialler(const struct tly_engine *e, const struct conn *conn, uint64_t peer_origin)
{
    return conn->target != NULL ? tly_life_spoken(e) : peer_origin;
}

bool tly_peer_take(struct tly_engine *e, struct peer *peer, struct conn *conn, uint64_t origin)
{
    struct conn *old = peer->conn;
    if (conn->target != NULL) conn->target->peer = peer;
    if (old != NULL && peer->origin == origin && dialler(e, old, origin) < dialler(e, conn, origin)) {
        tly_conn_end(e, conn, "duplicate", "another connection between us stays");
        return false;
    }
    bool was_up = old != NULL;
    if (old != NULL) {
        peer->conn = NULL; /* so that replacing a connection is not reported as a peer that went down */
        tly_conn_end(e, old, "duplicate", "another connection between us stays");
    }
    bool new_life = peer->origin != origin;
    if (new_life && peer->origin != 0)
        peer->replaced[peer->replaced_count++ % TLY_REPLACED_KEPT] = peer->origin;
    peer->origin = origin;
    peer->conn = conn;
    conn->peer = peer;
    conn->state = CONN_UP;
    if (!was_up || new_life) tly_fx_trace(e, TLY_TRACE_PEER_UP, peer->name, tly_slice_of(NULL, 0));
    return true;
}

/* ---- time ---- */

/* A node without any connection takes whomever it can get. */
static inline bool wants_dial(const struct tly_engine *e, const struct target *target)
{
    if (target->dialling || target->is_self || target->retired) return false;
    if (!target->is_seed && !target->is_member) return false; /* a seed that is named no more */
    if (target->peer == NULL) return true;
    return target->peer->conn == NULL && (target->peer->is_linked || e->conn_count == 0);
}

bool tly_is_first_in_line(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->conn != NULL && strcmp(e->peers[i]->name, e->name) < 0) return false;
    return true;
}

/*
 * Several members that are held for dead were rather cut off than have fallen. Each is dialled ever more rarely; so that a split ends soon
 * after its cause, one node of each part dials one of them every three seconds: who would be next anyway. One is enough, and two that meet
 * theirs at once would say everything twice. NULL: nobody.
 */
static struct target *rover_target(const struct tly_engine *e)
{
    struct target *next = NULL;
    size_t dead = 0;
    for (size_t i = 0; i < e->target_count && !e->leaving; i++) {
        struct target *target = e->targets[i];
        if (target->peer == NULL || target->peer->conn != NULL || target->peer->state != MEMBER_DEAD)
            continue;
        dead++;
        if (wants_dial(e, target) && (next == NULL || target->next_at < next->next_at)) next = target;
    }
    return dead > 1 && tly_is_first_in_line(e) ? next : NULL;
}

/*
 * A connection that brought two together but that the ring has no place for. Not before both have learned who is there, and whoever is being
 * brought up over it is so to the end.
 */
static bool is_surplus(const struct tly_engine *e, const struct conn *conn)
{
    if (conn->state != CONN_UP || conn->peer->is_linked || conn->asked || conn->out.active) return false;
    return e->now.mono_ns - conn->since > TLY_SURPLUS_NS;
}

static void dial(struct tly_engine *e, struct target *target)
{
    struct conn *conn = tly_conn_new(e, e->next_dial, target);
    if (conn == NULL) {
        target->next_at = e->now.mono_ns + target->backoff_ns;
        return;
    }
    e->next_dial++;
    target->dialling = true;
    e->rove_at = e->now.mono_ns + TLY_ROVE_NS;
    e->stats.dials++;
    tly_fx_add(e, TLY_DO_DIAL, conn->id, 0, tly_slice_text(target->address));
}

static uint64_t stalls_at(const struct conn *conn)
{
    return conn->asked ? conn->brought_at + TLY_STALL_NS : TLY_NEVER;
}

/* When this connection has been silent, greeting, in the middle of a frame, or owing a snapshot for too long. */
static uint64_t gives_up_at(const struct conn *conn)
{
    if (conn->state != CONN_UP) return conn->since + TLY_HELLO_TIMEOUT_NS;
    uint64_t at = conn->last_heard + TLY_SILENCE_MAX_NS;
    if (stalls_at(conn) < at) at = stalls_at(conn);
    if (conn->begun_at == TLY_NEVER || at <= conn->begun_at + TLY_FRAME_MAX_NS) return at;
    return conn->begun_at + TLY_FRAME_MAX_NS;
}

static const char *why_given_up(const struct tly_engine *e, const struct conn *conn)
{
    if (conn->state != CONN_UP) return "no HELLO within 5 s";
    if (stalls_at(conn) <= e->now.mono_ns) return "nothing of the snapshot within 300 s";
    bool is_silent = conn->last_heard + TLY_SILENCE_MAX_NS <= e->now.mono_ns;
    return is_silent ? "silent for 10 s" : "no end of a frame within 60 s";
}

static uint64_t ping_at(const struct conn *conn)
{
    uint64_t silent = conn->last_sent + (conn->sent_ping ? TLY_PING_AGAIN_NS : TLY_PING_SILENT_NS);
    uint64_t latest = conn->last_ping + TLY_PING_MAX_NS;
    return silent < latest ? silent : latest;
}

void tly_conn_ping(struct tly_engine *e, struct conn *conn)
{
    struct tly_ping ping = {e->now.mono_ns, e->now.wall_ns};
    tly_ping_put(&e->body, &ping);
    tly_fx_send(e, conn, TLY_FRAME_PING);
    conn->last_ping = e->now.mono_ns;
    bool more = conn->is_long || conn->out.active;
    tly_lanes_pinged(&conn->lanes, e->now.mono_ns, more);
}

void tly_link_tick(struct tly_engine *e)
{
    tly_ring_update(e);
    for (size_t i = e->conn_count; i-- > 0;) {
        struct conn *conn = e->conns[i];
        if (gives_up_at(conn) <= e->now.mono_ns) {
            if (conn->state == CONN_DIALLING) {
                tly_fx_add(e, TLY_DO_CLOSE, conn->id, 0, tly_slice_of(NULL, 0));
                tly_conn_gone(e, conn, "no answer");
            } else {
                tly_conn_end(e, conn, "timeout", why_given_up(e, conn));
            }
        } else if (conn->lanes.queued > TLY_QUEUED_CAP) {
            tly_conn_end(e, conn, NULL, "it reads nothing");
        } else if (is_surplus(e, conn)) {
            tly_conn_end(e, conn, "unneeded", "the two are linked through others");
        } else if (conn->state == CONN_UP && ping_at(conn) <= e->now.mono_ns) {
            tly_conn_ping(e, conn);
        }
    }
    for (size_t i = 0; i < e->target_count && !e->leaving; i++)
        if (wants_dial(e, e->targets[i]) && e->targets[i]->next_at <= e->now.mono_ns) dial(e, e->targets[i]);
    struct target *roved = e->rove_at <= e->now.mono_ns ? rover_target(e) : NULL;
    if (roved != NULL) dial(e, roved);
}

/* When somebody is dialled, if that is before `at`. */
static uint64_t dials_at(const struct tly_engine *e, uint64_t at)
{
    size_t dead = 0;
    for (size_t i = 0; i < e->target_count; i++) {
        const struct target *target = e->targets[i];
        if (target->peer != NULL && target->peer->conn != NULL) continue;
        dead += target->peer != NULL && target->peer->state == MEMBER_DEAD;
        if (target->next_at < at && wants_dial(e, target)) at = target->next_at;
    }
    return dead > 1 && e->rove_at < at && rover_target(e) != NULL ? e->rove_at : at;
}

/* When anything is due of a connection, whichever file does it: to go through them once is much less than once for each. */
static uint64_t conn_due(const struct conn *conn)
{
    uint64_t at = tly_earlier(gives_up_at(conn), conn->repair_at);
    if (conn->held_back) at = tly_earlier(at, conn->retry_at);
    if (conn->state != CONN_UP) return at;
    return tly_earlier(tly_earlier(at, ping_at(conn)), tly_earlier(conn->flush_at, conn->ack_at));
}

uint64_t tly_link_deadline(const struct tly_engine *e)
{
    uint64_t at = TLY_NEVER;
    for (size_t i = 0; i < e->conn_count; i++)
        at = tly_earlier(at, conn_due(e->conns[i]));
    return e->leaving ? at : dials_at(e, at);
}
