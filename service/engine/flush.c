#include "service/engine/impl.h"

void tly_flush_soon(struct tly_engine *e, bool own)
{
    uint64_t now = e->now.mono_ns;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP) continue;
        /* One's own news go at once after idle; those of others wait a flush, in which their own link brings them. */
        uint64_t next = conn->last_flush + e->flush_ns;
        if (!own) next = next > now + e->flush_ns ? next : now + e->flush_ns;
        conn->flush_at = tly_earlier(conn->flush_at, next > now ? next : now);
        if (!own) conn->ack_at = tly_earlier(conn->ack_at, now + TLY_ACK_DELAY_NS);
    }
}

uint64_t tly_flush_pace(const struct tly_engine *e, const struct conn *conn)
{
    return conn->crossed ? tly_earlier(e->flush_ns, TLY_FLUSH_LEAST_NS) : e->flush_ns;
}

void tly_flush_crossed(struct tly_engine *e)
{
    uint64_t now = e->now.mono_ns;
    if (e->horizon_ns == TLY_HORIZON_PLAIN) return;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP) continue;
        conn->crossed = true;
        uint64_t next = conn->last_flush + tly_flush_pace(e, conn);
        conn->flush_at = tly_earlier(conn->flush_at, next > now ? next : now);
    }
}

/* Before they would relay what they do not know is here; nobody acts on what is told of his own life. */
static uint64_t tell_delay(const struct tly_engine *e, const struct conn *conn, const struct conn *from,
                           bool is_soon)
{
    if (conn->version < 2 || is_soon) return TLY_ACK_DELAY_NS;
    if (conn == from) return TLY_TELL_OWN_NS;
    return tly_has_relays(e) ? TLY_TELL_LATE_NS : TLY_TELL_NS;
}

void tly_flush_learned(struct tly_engine *e, const struct conn *from, bool urgent)
{
    uint64_t now = e->now.mono_ns;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP) continue;
        bool is_soon = urgent && conn != from && !tly_has_relays(e);
        conn->ack_at = tly_earlier(conn->ack_at, now + tell_delay(e, conn, from, is_soon));
        conn->flush_at = tly_earlier(conn->flush_at, tly_follower_due_after(&conn->follower));
        if (is_soon) conn->flush_at = tly_earlier(conn->flush_at, now + e->flush_ns);
    }
}

/* ---- to peers ---- */

struct tly_pens tly_flush_pens(struct tly_engine *e)
{
    return (struct tly_pens){&e->writer, e->parts, e->names};
}

/* A part that could not be encoded ends the connection: its follower starts anew from what the peer says. */
static bool encoded(struct tly_engine *e, struct conn *conn)
{
    if (e->body.result == TLY_OK) return true;
    tly_buf_clear(&e->body);
    tly_conn_end(e, conn, "no_memory", "out of memory");
    return false;
}

/* ---- what goes beside rows, which matters where there is a budget ---- */

size_t tly_flush_tell(const struct tly_engine *e, const struct conn *conn)
{
    if (conn->version < 2 || conn->ack_at > e->now.mono_ns + TLY_TELL_EARLY_NS) return 0;
    return conn->lanes.budget == 0 ? SIZE_MAX : TLY_TOLD_MAX;
}

size_t tly_flush_told_bytes(const struct conn *conn, size_t most)
{
    return conn->lanes.budget == 0 ? 0 : tly_follower_told_bytes(&conn->follower, most);
}

static size_t marks_bytes(const struct conn *conn, size_t tell)
{
    if (conn->lanes.budget == 0) return 0;
    return tly_follower_marks_bytes(&conn->follower) + tly_follower_told_bytes(&conn->follower, tell);
}

void tly_flush_told(const struct tly_engine *e, struct conn *conn)
{
    conn->ack_at = tly_flush_told_bytes(conn, 1) > 0 ? e->now.mono_ns : TLY_NEVER;
}

/* What has something to send now, a bit for each lane. A long round is bulk, and what is new meanwhile goes ahead of it. */
static unsigned lanes_wanting(const struct tly_engine *e, const struct conn *conn, uint64_t due_ns)
{
    if (!conn->is_long) return tly_follower_is_due(&conn->follower, due_ns) ? 1u << TLY_LANE_LIVE : 0;
    bool is_ahead = tly_follower_is_ahead(&conn->follower, tly_ormap_origin(e->map));
    bool is_time = e->leaving || e->now.mono_ns >= conn->last_flush + tly_flush_pace(e, conn);
    return 1u << TLY_LANE_BULK | (is_ahead && is_time ? 1u << TLY_LANE_LIVE : 0);
}

void tly_flush_part_sent(struct tly_engine *e, struct conn *conn)
{
    if (tly_lanes_wants_ping(&conn->lanes)) tly_conn_ping(e, conn);
}

/* Of a chunk, beside its rows. */
#define FRAME_BYTES 96

/* One part on its lane. False: there was nothing to put into it, or the connection ended. */
static bool send_part(struct tly_engine *e, struct conn *conn, enum tly_lane lane, unsigned wanting,
                      struct tly_part_wish wish)
{
    struct tly_pens pens = tly_flush_pens(e);
    struct tly_follower *follower = &conn->follower;
    uint64_t own = tly_ormap_origin(e->map);
    bool goes_ahead = conn->is_long && lane == TLY_LANE_LIVE;
    bool is_much = wish.rows_bytes_max + conn->lanes.beside >= TLY_QUEUE_MIN;
    if (lane > TLY_LANE_LIVE) wish.rows_bytes_max -= FRAME_BYTES;
    if (goes_ahead) wish.only_origin = own;
    struct tly_handed part = goes_ahead ? tly_follower_go_ahead(follower, &wish, &pens, &e->body)
                                        : tly_follower_next(follower, &wish, &pens, &e->body);
    if (!encoded(e, conn)) return false;
    bool is_empty = part.rows == 0 && !part.last;
    if (!goes_ahead) conn->is_long = part.full && (conn->is_long || is_much);
    if (conn->is_long) tly_follower_split(follower, own);
    if (is_empty) return false;
    tly_fx_send_on(e, conn, conn->version >= 2 ? TLY_FRAME_PART : TLY_FRAME_ROUND, lane, wanting);
    e->stats.rounds_sent++;
    e->stats.dots_sent += part.rows;
    if (lane == TLY_LANE_LIVE) {
        conn->last_flush = e->now.mono_ns;
        conn->crossed = false;
    }
    if (wish.tell > 0) tly_flush_told(e, conn);
    tly_flush_part_sent(e, conn);
    return true;
}

/* What may go ahead of a long round does so at the pace of any flush. */
static void wait_for_news(const struct tly_engine *e, struct conn *conn)
{
    if (conn->is_long && tly_follower_is_ahead(&conn->follower, tly_ormap_origin(e->map)))
        conn->flush_at = tly_earlier(conn->flush_at, conn->last_flush + tly_flush_pace(e, conn));
}

/* Both are in the middle of a round to each other, and it is this node that is to end its own if nothing more comes. */
static bool is_first(const struct tly_engine *e, const struct conn *conn)
{
    return conn->round_open && conn->follower.in_round && tly_ormap_origin(e->map) < conn->peer->origin;
}

/* Long enough for a part to come that was under way. */
static uint64_t round_wait(const struct peer *peer)
{
    uint64_t wait = TLY_ROUND_WAIT_MIN_NS + 4 * peer->rtt_ns;
    return peer->rtt_ns > 0 && wait < TLY_ROUND_WAIT_NS ? wait : TLY_ROUND_WAIT_NS;
}

/*
 * Two long rounds at once would wait for each other for ever. So after a while without rows of third lives the one of the lower life ends, with
 * all but the dots of the peer's own life; some of third lives may have come from it. What the peer itself makes meanwhile puts nothing off: both
 * may write all the time.
 */
static void wish_for_lives(const struct tly_engine *e, struct conn *conn, struct tly_part_wish *wish)
{
    uint64_t waited = conn->round_heard + round_wait(conn->peer);
    wish->only_origin = wish->not_origin = 0;
    if (!conn->round_open) return;
    if (is_first(e, conn) && waited <= e->now.mono_ns)
        wish->not_origin = conn->peer->origin;
    else
        wish->only_origin = tly_ormap_origin(e->map);
    if (is_first(e, conn) && waited > e->now.mono_ns) conn->flush_at = tly_earlier(conn->flush_at, waited);
}

/*
 * While the peer is in the middle of a round to us, what it has sent is not yet known to be its own by the marks: only our own
 * life is sent then, so that nothing goes back to where it came from.
 */
static void send_rounds(struct tly_engine *e, struct conn *conn)
{
    uint64_t now = e->now.mono_ns, id = conn->id;
    struct tly_part_wish wish = {.now_ns = now, .tell = tly_flush_tell(e, conn)};
    if (e->leaving) wish.now_ns = TLY_NEVER; /* nothing can wait any more */
    conn->flush_at = TLY_NEVER;
    conn->blocked = conn->put_off = false;
    /* What is not durable yet must not be heard. */
    if (!conn->takes_rounds || e->held_batch > e->stored) return;
    for (unsigned wanting; (wanting = lanes_wanting(e, conn, wish.now_ns)) != 0;) {
        if (tly_fx_is_full(e)) {
            conn->flush_at = now;
            return;
        }
        enum tly_lane lane =
            tly_lanes_next(&conn->lanes, wanting, marks_bytes(conn, wish.tell), now, &wish.rows_bytes_max);
        conn->blocked = lane == TLY_LANES;
        if (conn->blocked) {
            conn->flush_at = tly_lanes_budget_at(&conn->lanes, now);
            return;
        }
        wish_for_lives(e, conn, &wish);
        if (!send_part(e, conn, lane, wanting, wish)) {
            if (tly_conn_find(e, id) != conn) return;
            conn->put_off = true; /* the rest waits until their round is over */
            wait_for_news(e, conn);
            return;
        }
    }
    wait_for_news(e, conn);
    conn->flush_at = tly_earlier(conn->flush_at, tly_follower_next_due(&conn->follower));
}

/* Marks are told by whoever reads; the newest stand for all before them. */
static void send_ack(struct tly_engine *e, struct conn *conn)
{
    uint64_t now = e->now.mono_ns;
    size_t most = conn->lanes.budget == 0 ? SIZE_MAX : TLY_TOLD_MAX;
    conn->ack_at = tly_lanes_budget_for(&conn->lanes, tly_flush_told_bytes(conn, most), now);
    if (conn->lanes.queued > TLY_QUEUE_MAX) conn->ack_at = now + NS_PER_S;
    if (conn->ack_at > now) return;
    struct tly_pens pens = tly_flush_pens(e);
    size_t marks = tly_follower_ack(&conn->follower, most, &pens, &e->body);
    if (!encoded(e, conn)) return;
    if (marks > 0) tly_fx_send(e, conn, conn->version >= 2 ? TLY_FRAME_PART : TLY_FRAME_ACK);
    tly_flush_told(e, conn);
}

static void flush_peers(struct tly_engine *e)
{
    uint64_t now = e->now.mono_ns;
    for (size_t i = e->conn_count; i-- > 0;) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP) continue;
        uint64_t id = conn->id;
        bool is_due = conn->flush_at <= now;
        if (is_due && conn->out.active)
            tly_snap_flush(e, conn);
        else if (is_due && conn->news.gives)
            tly_news_flush(e, conn);
        else if (is_due)
            send_rounds(e, conn);
        bool stays = !is_due || tly_conn_find(e, id) == conn;
        if (stays && conn->ack_at <= now) send_ack(e, conn);
    }
}

/* ---- to the disk ---- */

static bool disk_wants(const struct tly_engine *e)
{
    return e->has_store && e->batch - e->stored < TLY_BATCHES_MAX && e->now.mono_ns >= e->dump_at &&
           (tly_prefixes_wait(e) || e->dump.active || tly_ormap_is_unsealed(e->map) ||
            tly_follower_is_behind(&e->disk) || e->forget.gone.row_count > 0);
}

/* A batch of the whole map, which replaces all that the disk has; in one piece, without rounds between. */
static void dump_some(struct tly_engine *e)
{
    bool is_first = !e->dump.begun;
    (void)tly_snap_next(e, &e->dump, TLY_BATCH_BYTES);
    if (e->body.result != TLY_OK) {
        e->dump = (struct snap_out){.active = true, .number = ++e->snapshots};
        e->arena.result = e->body.result;
        tly_buf_clear(&e->body);
        return;
    }
    enum tly_effect_kind kind = is_first         ? TLY_DO_INSTALL_FIRST
                                : e->dump.active ? TLY_DO_INSTALL
                                                 : TLY_DO_INSTALL_LAST;
    tly_fx_add(e, kind, 0, ++e->batch, tly_buf_slice(&e->body));
    tly_buf_clear(&e->body);
    e->stats.batches++;
    if (e->dump.active) return;
    e->held_batch = e->batch;
    e->tickets[e->ticket_count++] = (struct ticket){e->ticket_open++, e->batch};
}

void tly_flush_append(struct tly_engine *e)
{
    tly_fx_add(e, TLY_DO_APPEND, 0, ++e->batch, tly_buf_slice(&e->body));
    tly_buf_clear(&e->body);
    e->stats.batches++;
}

static void flush_disk(struct tly_engine *e)
{
    struct tly_part_wish wish = {.rows_bytes_max = TLY_BATCH_BYTES, .now_ns = TLY_NEVER};
    struct tly_pens pens = tly_flush_pens(e);
    tly_forget_tell_log(e);
    while (disk_wants(e) && !tly_fx_is_full(e) && e->arena.result == TLY_OK) {
        if (tly_prefixes_wait(e)) {
            tly_prefixes_hand_over(e);
            continue;
        }
        if (e->dump.active) {
            dump_some(e);
            continue;
        }
        struct tly_handed part = tly_follower_next(&e->disk, &wish, &pens, &e->body);
        if (e->body.result != TLY_OK) {
            tly_follower_reset(&e->disk); /* writes all again, which is right if slow */
            tly_buf_clear(&e->body);
            return;
        }
        tly_flush_append(e);
        if (part.last) e->tickets[e->ticket_count++] = (struct ticket){e->ticket_open++, e->batch};
    }
}

bool tly_engine_has_handed_all(const struct tly_engine *e)
{
    if (!e->has_store) return true;
    bool is_behind = tly_prefixes_wait(e) || e->dump.active || tly_follower_is_behind(&e->disk);
    return !is_behind && !tly_ormap_is_unsealed(e->map);
}

bool tly_flush_to_disk(struct tly_engine *e)
{
    if (e->has_store) flush_disk(e);
    return tly_engine_has_handed_all(e);
}

void tly_flush_stored(struct tly_engine *e, uint64_t batch)
{
    if (batch > e->batch) batch = e->batch;
    bool held = e->held_batch > e->stored;
    if (batch > e->stored) e->stored = batch;
    if (held && e->held_batch <= e->stored) tly_flush_soon(e, true);
    size_t done = 0;
    while (done < e->ticket_count && e->tickets[done].batch <= e->stored)
        e->ticket_stored = e->tickets[done++].number;
    memmove(e->tickets, e->tickets + done, (e->ticket_count - done) * sizeof *e->tickets);
    e->ticket_count -= done;
}

uint64_t tly_engine_ticket(const struct tly_engine *e)
{
    if (!e->has_store) return 0;
    if (!tly_engine_has_handed_all(e)) return e->ticket_open;
    return e->ticket_stored + 1 == e->ticket_open ? 0 : e->ticket_open - 1;
}

bool tly_engine_is_stored(const struct tly_engine *e, uint64_t ticket)
{
    return ticket <= e->ticket_stored;
}

/* ---- time ---- */

static bool peers_want(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->state == CONN_UP && e->conns[i]->flush_at <= e->now.mono_ns) return true;
    return false;
}

/* In the order in which keys were first sent: see wire/names.h. */
static void rank_of(void *context, const struct tly_slice *keys, const struct tly_strategy *const *strategies,
                    size_t count, uint32_t *ranks)
{
    static_assert(TLY_RANKED_MAX <= TLY_NAMES_TOGETHER, "they are looked for together");
    const struct tly_engine *e = context;
    const struct tly_unnamed unnamed = {keys, strategies, count, tly_ormap_origin(e->map)};
    tly_names_find_all(e->names, &unnamed, ranks);
}

static void rank_by_need(void *context, const struct tly_slice *keys,
                         const struct tly_strategy *const *strategies, size_t count, uint32_t *ranks)
{
    rank_of(context, keys, strategies, count, ranks);
    for (size_t i = 0; i < count; i++)
        ranks[i] = tly_near_rank(context, keys[i], ranks[i]);
}

enum tly_result tly_flush_seal(struct tly_engine *e)
{
    tly_lives_say_whose(e);
    if (tly_near_matters(e)) return tly_ormap_seal_by(e->map, rank_by_need, e);
    /* Where nothing was sent by a name there is no order, and to look for one costs more than to seal. */
    if (tly_names_count(e->names) == 0) return tly_ormap_seal(e->map);
    return tly_ormap_seal_by(e->map, rank_of, e);
}

void tly_flush_tick(struct tly_engine *e)
{
    uint64_t lease = tly_clock_wants_lease(tly_ormap_clock(e->map));
    if (e->has_store && lease != 0 && lease > e->lease_asked + TLY_CLOCK_LEASE_NS / 4) {
        e->lease_asked = lease;
        tly_fx_add(e, TLY_DO_LEASE, 0, lease, tly_slice_of(NULL, 0));
    }
    if (!disk_wants(e) && !peers_want(e)) {
        flush_peers(e); /* acknowledgements may be due */
        return;
    }
    if (tly_flush_seal(e) != TLY_OK) {
        tly_fx_trace(e, TLY_TRACE_CLOCK, "",
                     tly_slice_text("nothing more can be written: no version or no memory left"));
        return;
    }
    flush_disk(e);
    flush_peers(e);
}

uint64_t tly_flush_deadline(const struct tly_engine *e)
{
    if (disk_wants(e)) return 0;
    return e->dump_at > e->now.mono_ns ? e->dump_at : TLY_NEVER;
}
