#include "service/engine/acked.h"

#include "service/engine/impl.h"

struct tly_ack {
    struct tly_engine *engine;
    struct tly_ack *next;
    struct tly_ack_wish wish;
    struct tly_mark written; /* all of this life up to there */
    uint64_t deadline;       /* mono, ns */
    struct tly_acked acked;
};

const char *tly_reached_word(enum tly_reached reached)
{
    static const char *const words[TLY_REACHED_COUNT] = {
#define WORD(name, word) [TLY_REACHED_##name] = (word),
        TLY_REACHES(WORD)
#undef WORD
    };
    return (size_t)reached < TLY_REACHED_COUNT ? words[reached] : "unknown";
}

/* ---- at who waits ---- */

static enum tly_reached reached_of(const struct tly_ack *ack)
{
    uint64_t nodes = ack->wish.nodes;
    if (nodes == 0) return TLY_REACHED_QUEUED;
    if (ack->acked.durable >= nodes) return TLY_REACHED_DURABLE;
    if (ack->acked.merged >= nodes) return TLY_REACHED_MERGED;
    return ack->acked.sent >= nodes ? TLY_REACHED_SENT : TLY_REACHED_QUEUED;
}

static void look_at(struct tly_ack *ack, struct conn *conn)
{
    struct tly_mark written = ack->written;
    if (conn->state != CONN_UP) return;
    bool is_own = written.origin == tly_ormap_origin(ack->engine->map);
    ack->acked.sent += tly_follower_handed(&conn->follower, written.origin) >= written.ts;
    ack->acked.merged += tly_follower_word(&conn->follower, written.origin) >= written.ts;
    ack->acked.durable += is_own && conn->kept >= written.ts;
}

static void look(struct tly_ack *ack)
{
    struct tly_engine *e = ack->engine;
    ack->acked = (struct tly_acked){0};
    for (size_t i = 0; i < e->conn_count; i++)
        look_at(ack, e->conns[i]);
    ack->acked.reached = reached_of(ack);
    enum tly_reached wanted = ack->wish.durable ? TLY_REACHED_DURABLE : TLY_REACHED_MERGED;
    bool is_late = e->now.mono_ns >= ack->deadline;
    ack->acked.done = ack->wish.nodes == 0 || ack->acked.reached >= wanted || is_late;
}

/* Behind what is waited for goes the word that somebody does. */
static void tell(struct tly_ack *ack)
{
    struct tly_engine *e = ack->engine;
    struct tly_mark written = ack->written;
    if (written.origin != tly_ormap_origin(e->map)) return;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP || conn->wanted >= written.ts) continue;
        if (tly_follower_handed(&conn->follower, written.origin) < written.ts) continue;
        conn->wanted = written.ts;
        tly_ack_put(&e->body, &written, 1);
        tly_fx_send(e, conn, (enum tly_frame_type)(TLY_FRAME_WANTED | TLY_FRAME_IGNORABLE));
    }
}

enum tly_result tly_ack_new(struct tly_engine *e, const struct tly_ack_wish *wish, struct tly_time now,
                            struct tly_ack **out)
{
    size_t count = 0;
    for (const struct tly_ack *ack = e->acks; ack != NULL; ack = ack->next)
        count++;
    if (count == TLY_ACKS_MAX) return TLY_FULL;
    tly_engine_wake(e, now);
    enum tly_result result = tly_flush_seal(e);
    if (result != TLY_OK) return result;
    struct tly_ack *ack = tly_mem_zeroed(&e->mem, sizeof *ack);
    if (ack == NULL) return TLY_NOMEM;
    uint64_t origin = tly_ormap_origin(e->map), end = now.mono_ns + wish->timeout_ns;
    ack->engine = e;
    ack->wish = *wish;
    ack->written = (struct tly_mark){origin, tly_ormap_mark(e->map, origin)};
    ack->deadline = wish->timeout_ns == 0 || end < now.mono_ns ? TLY_NEVER : end;
    ack->next = e->acks;
    e->acks = ack;
    look(ack);
    *out = ack;
    return TLY_OK;
}

struct tly_acked tly_ack_look(const struct tly_ack *ack)
{
    return ack->acked;
}

static void count(struct tly_stats *stats, enum tly_reached reached)
{
    switch (reached) {
    case TLY_REACHED_QUEUED: stats->acks_queued++; break;
    case TLY_REACHED_SENT: stats->acks_sent++; break;
    case TLY_REACHED_MERGED: stats->acks_merged++; break;
    case TLY_REACHED_DURABLE: stats->acks_durable++; break;
    case TLY_REACHED_COUNT: break;
    }
}

void tly_ack_free(struct tly_ack *ack)
{
    if (ack == NULL) return;
    struct tly_engine *e = ack->engine;
    struct tly_ack **at = &e->acks;
    while (*at != ack)
        at = &(*at)->next;
    *at = ack->next;
    count(&e->stats, ack->acked.reached);
    tly_mem_free(&e->mem, ack, sizeof *ack);
}

enum tly_result tly_acks_on_kept(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_marks marks;
    struct tly_mark mark;
    enum tly_result result = tly_ack_get(body, &marks);
    if (result != TLY_OK || !tly_marks_next(&marks, &mark) || marks.left > 0) return TLY_BAD_MESSAGE;
    if (mark.origin == tly_ormap_origin(e->map) && conn->kept < mark.ts) conn->kept = mark.ts;
    return TLY_OK;
}

/* ---- at who is asked ---- */

enum tly_result tly_acks_on_wanted(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_marks marks;
    struct tly_mark mark;
    enum tly_result result = tly_ack_get(body, &marks);
    if (result != TLY_OK || !tly_marks_next(&marks, &mark) || marks.left > 0) return TLY_BAD_MESSAGE;
    if (mark.origin != conn->peer->origin) return TLY_OK; /* an earlier life of it */
    conn->ack_at = e->now.mono_ns;
    if (e->has_store && conn->keep_next < mark.ts) conn->keep_next = mark.ts;
    e->keeps = true;
    return TLY_OK;
}

/* One ticket at a time, so that whoever asks again and again does not put off the answer for ever. */
static void keep(struct tly_engine *e, struct conn *conn)
{
    uint64_t origin = conn->peer->origin;
    if (conn->keep == 0 && conn->keep_next != 0 && tly_ormap_mark(e->map, origin) >= conn->keep_next) {
        conn->keep = conn->keep_next;
        conn->keep_next = 0;
        conn->keep_ticket = tly_engine_ticket(e);
    }
    if (conn->keep == 0 || !tly_engine_is_stored(e, conn->keep_ticket)) return;
    struct tly_mark kept = {origin, conn->keep};
    conn->keep = 0;
    tly_ack_put(&e->body, &kept, 1);
    tly_fx_send(e, conn, (enum tly_frame_type)(TLY_FRAME_KEPT | TLY_FRAME_IGNORABLE));
}

static void keep_for_all(struct tly_engine *e)
{
    e->keeps = false;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if ((conn->keep | conn->keep_next) == 0) continue;
        e->keeps = true;
        if (conn->state == CONN_UP) keep(e, conn);
    }
}

/* ---- both ---- */

void tly_acks_step(struct tly_engine *e)
{
    bool done = false;
    if (e->keeps) keep_for_all(e);
    for (struct tly_ack *ack = e->acks; ack != NULL; ack = ack->next) {
        if (ack->acked.done) continue;
        tell(ack);
        look(ack);
        done = done || ack->acked.done;
    }
    if (done) tly_fx_add(e, TLY_DO_ACKED, 0, 0, tly_slice_of(NULL, 0));
}

uint64_t tly_acks_deadline(const struct tly_engine *e)
{
    uint64_t at = TLY_NEVER;
    for (const struct tly_ack *ack = e->acks; ack != NULL; ack = ack->next)
        if (!ack->acked.done && ack->deadline < at) at = ack->deadline;
    return at;
}
