/*
 * What is new while a snapshot is under way.  It takes as long as its bytes do, and until it is installed no round goes either way: on a thin
 * link a joiner would hear nothing for half a minute, and nobody anything of it.  So both ends say meanwhile what is new in
 * their own lives, on the live lane, as parts that belong to no round.  The receiver joins these dots and takes no mark of them; the
 * joiner puts them to the snapshot, too, for that replaces.
 *
 * At the end both ends say how far they came (NEWS): then what was said need not be said again behind the snapshot, where it would
 * be in front of all that is new by then.
 */
#include "service/engine/impl.h"

static uint64_t own_mark(const struct tly_engine *e)
{
    return tly_ormap_mark(e->map, tly_ormap_origin(e->map));
}

void tly_news_greeted(struct tly_engine *e, struct conn *conn)
{
    /* What was counted before is no news. Where it cannot be sealed now, it will be said twice. */
    if (tly_flush_seal(e) != TLY_OK) return;
    conn->news.from = (struct tly_mark){tly_ormap_origin(e->map), own_mark(e)};
}

/* ---- giving ---- */

/* Who speaks as another life than it writes in has nothing to say: its dots would be taken for somebody else's. */
static bool may_give(const struct tly_engine *e, const struct conn *conn)
{
    uint64_t own = tly_ormap_origin(e->map);
    return conn->news.is_known && conn->version >= 2 && own != 0 && own == tly_life_spoken(e);
}

void tly_news_begin(const struct tly_engine *e, struct conn *conn)
{
    struct snap_news *news = &conn->news;
    struct tly_mark now = {tly_ormap_origin(e->map), own_mark(e)};
    struct tly_mark *from = &conn->out.news_from;
    if (from->origin == 0) *from = news->from;
    if (from->origin != now.origin) *from = now;
    news->gives = may_give(e, conn) && !tly_snap_is_asking(e);
    news->at = *from;
    news->is_whole = true;
}

/* Whether there is something of one's own life in between that the snapshot's source may lack and that is not news. */
static bool has_older(struct tly_engine *e, uint64_t after, uint64_t up_to)
{
    struct tly_scanned scanned;
    size_t life = tly_ormap_life_number(e->map, tly_ormap_origin(e->map));
    struct tly_scan scan = tly_scan_of(e->map, life, after);
    return tly_scan_next(e->map, &scan, &scanned) && scanned.dot.version.ts <= up_to;
}

void tly_news_answer(struct tly_engine *e, struct conn *conn)
{
    struct snap_news *news = &conn->news;
    const struct snap_in *in = &e->coming;
    uint64_t own = tly_ormap_origin(e->map);
    /* What is unsealed cannot be looked at, and may have been sealed before. */
    news->gives = may_give(e, conn) && tly_flush_seal(e) == TLY_OK;
    if (!news->gives) return;
    uint64_t known = tly_install_known(in->install, own);
    /* What is not newer than all that was forgotten there may go when the snapshot is installed, so nobody must have heard it. */
    news->at = (struct tly_mark){own, known > in->forgotten ? known : in->forgotten};
    news->is_whole = !has_older(e, known, in->forgotten);
    conn->flush_at = e->now.mono_ns;
}

void tly_news_skip(const struct tly_engine *e, struct conn *conn)
{
    const struct snap_news *news = &conn->news;
    struct snap_out *out = &conn->out;
    uint64_t theirs = conn->peer->origin, mark = tly_ormap_mark(e->map, theirs),
             forgotten = tly_ormap_bounds(e->map).forgotten;
    out->news_to = news->gives ? news->at : (struct tly_mark){0};
    out->news_of = (struct tly_mark){news->is_known ? theirs : 0, mark > forgotten ? mark : forgotten};
}

bool tly_news_were_said(const struct snap_out *out, struct tly_version version)
{
    if (version.origin == out->news_of.origin) return version.ts > out->news_of.ts;
    return version.origin == out->news_to.origin && version.ts > out->news_from.ts &&
           version.ts <= out->news_to.ts;
}

/* Some has not been given yet. */
static bool is_behind(const struct tly_engine *e, const struct conn *conn)
{
    const struct snap_news *news = &conn->news;
    return news->gives && news->at.origin == tly_ormap_origin(e->map) && own_mark(e) > news->at.ts;
}

uint64_t tly_news_at(const struct tly_engine *e, const struct conn *conn)
{
    return is_behind(e, conn) ? conn->last_flush + tly_flush_pace(e, conn) : TLY_NEVER;
}

void tly_news_give(struct tly_engine *e, struct conn *conn, size_t room, unsigned wanting)
{
    uint64_t now = e->now.mono_ns;
    struct snap_news *news = &conn->news;
    struct tly_part_wish wish = {.rows_bytes_max = room, .now_ns = now, .tell = tly_flush_tell(e, conn)};
    struct tly_pens pens = tly_flush_pens(e);
    struct tly_handed part = tly_follower_news(&conn->follower, &news->at, &wish, &pens, &e->body);
    if (e->body.result != TLY_OK) {
        tly_buf_clear(&e->body);
        news->gives = false;
        return;
    }
    if (!part.full && news->at.ts < own_mark(e)) news->at.ts = own_mark(e);
    if (part.rows == 0) return;
    tly_fx_send_on(e, conn, TLY_FRAME_PART, TLY_LANE_LIVE, wanting);
    e->stats.dots_sent += part.rows;
    conn->last_flush = now;
    conn->crossed = false;
    if (wish.tell > 0) tly_flush_told(e, conn);
    tly_flush_part_sent(e, conn);
}

void tly_news_flush(struct tly_engine *e, struct conn *conn)
{
    uint64_t now = e->now.mono_ns;
    bool is_time = tly_news_at(e, conn) <= now;
    size_t room = 0;
    conn->blocked = is_time && tly_lanes_next(&conn->lanes, 1u << TLY_LANE_LIVE, 0, now, &room) == TLY_LANES;
    if (is_time && !conn->blocked) tly_news_give(e, conn, room, 1u << TLY_LANE_LIVE);
    conn->flush_at = conn->blocked ? tly_lanes_budget_at(&conn->lanes, now) : tly_news_at(e, conn);
}

void tly_news_end(struct tly_engine *e, struct conn *conn)
{
    const struct snap_news *news = &conn->news;
    if (is_behind(e, conn)) tly_news_give(e, conn, TLY_QUEUE_MIN, 0);
    if (!news->gives || !news->is_whole || is_behind(e, conn) || tly_ormap_is_unsealed(e->map)) return;
    if (news->at.origin != tly_ormap_origin(e->map)) return;
    tly_news_put(&e->body, news->at.ts);
    tly_fx_send(e, conn, TLY_FRAME_NEWS);
}

/* ---- taking ---- */

/* Who is being brought up itself will be replaced, so what it has heard of a joiner it may lose again. */
static bool from_joiner(const struct tly_engine *e, const struct conn *conn)
{
    return conn->below && conn->out.begun && !tly_snap_is_asking(e);
}

/*
 * A joiner that is said what it cannot take ends the session, as with a chunk that it cannot take: no chunk will have it. At the source
 * it comes again, by rounds.
 */
static enum tly_result unfit(const struct tly_engine *e, struct conn *conn, enum tly_result result)
{
    conn->news.lacks = true;
    return tly_snap_is_bringing(e, conn) ? result : TLY_MORE;
}

enum tly_result tly_news_admit(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    bool to_joiner = tly_snap_is_bringing(e, conn);
    if (conn->below && conn->out.begun && tly_snap_is_asking(e)) conn->news.lacks = true;
    if (!conn->news.is_known || (!from_joiner(e, conn) && !to_joiner)) return TLY_MORE;
    uint64_t forgotten = to_joiner ? e->coming.forgotten : tly_ormap_bounds(e->map).forgotten;
    for (size_t i = 0; i < part->row_count; i++) {
        const struct tly_row *row = &part->rows[i];
        struct tly_version version = row->dot.version;
        if (version.origin != conn->peer->origin || version.ts <= forgotten)
            return unfit(e, conn, TLY_BAD_MESSAGE);
        enum tly_result result = tly_session_admits(e, row);
        if (result == TLY_CLOCK_AHEAD) return unfit(e, conn, result);
        if (result != TLY_OK) return result;
    }
    return TLY_OK;
}

enum tly_result tly_news_stage(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    enum tly_result result = TLY_OK;
    enum tly_outcome outcome;
    if (!tly_snap_is_bringing(e, conn)) return TLY_OK;
    for (size_t i = 0; i < part->row_count && result == TLY_OK; i++)
        result = tly_install_add(e->coming.install, part->rows[i].key, &part->rows[i].dot, &outcome);
    return result;
}

enum tly_result tly_news_ended(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_mark mark = {conn->peer->origin, 0};
    enum tly_result result = tly_news_get(body, &mark.ts);
    if (result != TLY_OK || conn->news.lacks || !conn->news.is_known) return result;
    if (!tly_clock_admits(tly_ormap_clock(e->map), mark.ts)) return TLY_OK;
    if (tly_snap_is_bringing(e, conn))
        tly_install_reached(e->coming.install, mark.origin, mark.ts);
    else if (from_joiner(e, conn))
        result = tly_part_mark(e, conn, mark);
    return result;
}
