/* Parts of streams: protocol version 2. What a round of version 1 does, session.c does; the steps are the same. */
#include "crdt/epoch_sum.h"
#include "service/engine/impl.h"

bool tly_streams_begin(struct tly_engine *e, struct conn *conn)
{
    conn->heard = tly_stream_new(&e->mem);
    conn->follower.stream = tly_stream_new(&e->mem);
    if (conn->heard == NULL || conn->follower.stream == NULL) return false;
    tly_stream_limit(conn->heard, e->table);
    return true;
}

void tly_streams_limit(struct tly_engine *e, uint64_t table)
{
    if (table == 0 || table >= e->names_max) return;
    e->names_max = (uint32_t)table;
    tly_names_limit(e->names, e->names_max);
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->follower.stream != NULL) tly_stream_reset(e->conns[i]->follower.stream);
}

/*
 * By when the peer's word is here that it has the dot as well, which comes to it another way: where all are linked to all by its own link, a
 * flush later at most, and both ways may be long; in a ring over as many links as there are on the way. Who is on that way himself waits for
 * nobody. `soon`: it did not come that way of late.
 */
static uint64_t relay_at(const struct tly_engine *e, const struct conn *conn, size_t place, bool soon)
{
    uint64_t longest = TLY_RELAY_RTT_MAX_NS,
             way = conn->peer->rtt_ns * (e->ring.count > 0 ? e->ring.most : 1);
    uint64_t at = e->now.mono_ns + e->flush_ns, late = TLY_RELAY_NS + (way < longest ? way : longest);
    bool is_from_nowhere = e->ring.count > 0 && place == TLY_NOWHERE;
    if (!tly_has_relays(e) || is_from_nowhere) return at + late;
    enum turn turn = tly_ring_turn(e, conn->peer, place);
    if (turn == FIRST_TO_RELAY) return at;
    if (turn == LAST_TO_RELAY) return at + late + TLY_RELAY_LATE_NS;
    return at + late + (soon ? 0 : TLY_RELAY_TOLD_NS);
}

/* Follows what the peer says it has. */
static enum tly_result take_word(const struct tly_engine *e, struct conn *conn, struct tly_mark_list marks)
{
    enum tly_result result = TLY_OK;
    for (size_t i = 0; i < marks.count && result == TLY_OK; i++) {
        struct tly_mark mark = marks.marks[i];
        bool had_it_first;
        result = tly_follower_has(&conn->follower, mark, &had_it_first);
        if (had_it_first)
            tly_follower_put_off(&conn->follower, mark.origin,
                                 relay_at(e, conn, tly_ring_place(e, mark.origin), false));
    }
    return result;
}

static bool is_covered(const struct tly_engine *e, struct tly_mark_list start)
{
    for (size_t i = 0; i < start.count; i++)
        if (tly_ormap_mark(e->map, start.marks[i].origin) < start.marks[i].ts) return false;
    return true;
}

static enum tly_result admit(const struct tly_engine *e, const struct tly_part *part)
{
    for (size_t i = 0; i < part->row_count; i++) {
        enum tly_result result = tly_session_admits(e, &part->rows[i]);
        if (result != TLY_OK) return result;
    }
    for (size_t i = 0; i < part->end.count; i++)
        if (!tly_clock_admits(tly_ormap_clock(e->map), part->end.marks[i].ts)) return TLY_CLOCK_AHEAD;
    return TLY_OK;
}

/*
 * What is about to be known of a life, for those whom it may have to be relayed to. What comes back of the own life is no news: were that to
 * wait, marks of others' dots that an own one has replaced would overtake it.
 */
enum news { EXPECTED, MAY_WAIT, GOES_ALONG, URGENT };

static void learn(const struct tly_engine *e, struct conn *conn, size_t life, size_t place, enum news news)
{
    struct tly_follower *follower = &conn->follower;
    bool has_relays = tly_has_relays(e), soon = false;
    if (news == URGENT && !has_relays) {
        tly_follower_pin(follower, life);
        return;
    }
    if (has_relays) {
        if (!tly_follower_lacks(follower, life)) return;
        soon = tly_follower_is_cut_off(follower, life, e->now.mono_ns);
    }
    tly_follower_learned(follower, life, relay_at(e, conn, place, soon));
    /* Behind that, which waits only if there is the memory to say so. */
    if (news >= GOES_ALONG) tly_follower_go_along(follower, life, news == URGENT);
}

static void tell_followers(struct tly_engine *e, const struct conn *from, uint64_t origin, enum news news)
{
    if (origin == tly_ormap_origin(e->map)) return;
    size_t life = tly_ormap_life_number(e->map, origin);
    if (life == tly_ormap_lives(e->map)) return;
    size_t place = news != EXPECTED ? tly_ring_place(e, origin) : TLY_NOWHERE;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn == from || conn->state != CONN_UP) continue;
        if (news == EXPECTED)
            tly_follower_expects(&conn->follower, life);
        else
            learn(e, conn, life, place, news);
    }
}

/* Whether the dot, not joined yet, makes one redundant that stands in its key here and is of another life. */
static bool takes_a_place(const struct tly_engine *e, const struct tly_row *row)
{
    size_t count = 0;
    const struct tly_entry *entry = tly_ormap_find(e->map, row->key);
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (dots[i].version.origin != row->dot.version.origin &&
            tly_dominates(tly_entry_strategy(entry), &row->dot, &dots[i]))
            return true;
    return false;
}

/*
 * Whether the dot makes dots of other lives redundant, or may have done so elsewhere. Marks that rest on it must not overtake it, so it goes on
 * soon. What can make none redundant may wait for its own link to deliver it. A register, or a count at a generation, that takes nobody's place
 * here may be what third lives' marks rest on that come without it; none of the own life does.
 */
static enum news news_of(const struct tly_engine *e, const struct tly_row *row)
{
    bool is_count = row->strategy_id == TLY_EPOCH_SUM;
    if (row->dot.op != TLY_PUT || (!is_count && row->strategy_id != TLY_LWW)) return URGENT;
    if (is_count && (row->dot.num[TLY_SUM_WINDOW] != 0 || row->dot.num[TLY_SUM_EPOCH] == 0)) return MAY_WAIT;
    return takes_a_place(e, row) ? URGENT : GOES_ALONG;
}

/* Joins one row and says so to who may have to be sent it; `last`: what was said for the row before. */
struct relay {
    uint64_t origin;
    enum news news;
};

static enum tly_result join_and_relay(struct tly_engine *e, const struct conn *conn,
                                      const struct sought_row *sought, struct relay *last, size_t *held)
{
    const struct tly_row *row = sought->row;
    uint64_t origin = row->dot.version.origin;
    enum news news = news_of(e, row);
    bool same = origin == last->origin;
    if (!same) tell_followers(e, conn, origin, EXPECTED);
    enum tly_result result = tly_session_join_sought(e, sought, held);
    if (result == TLY_OK && (!same || news > last->news)) {
        tell_followers(e, conn, origin, news);
        *last = (struct relay){origin, news};
    }
    return result;
}

/* Joins the rows, but for what there is no room for; *urgent: one of them was, to somebody. */
static enum tly_result join(struct tly_engine *e, struct conn *conn, const struct tly_part *part,
                            bool *urgent)
{
    enum tly_result result = TLY_OK;
    struct relay last = {0, MAY_WAIT};
    struct sought_row sought[TLY_JOINED_TOGETHER];
    size_t held = 0;
    for (size_t i = 0; i < part->row_count && result == TLY_OK; i++) {
        size_t at = i % TLY_JOINED_TOGETHER;
        if (at == 0) tly_forget_make_room(e);
        if (at == 0) tly_session_seek(e, part->rows, part->by_ts + i, part->row_count - i, sought);
        result = e->conn_count < 2 ? tly_session_join_sought(e, &sought[at], &held)
                                   : join_and_relay(e, conn, &sought[at], &last, &held);
        *urgent = *urgent || last.news == URGENT;
    }
    e->stats.dots_received += part->row_count;
    if (result == TLY_OK && held > 0) tly_room_hold_back(e, conn);
    return result;
}

/* By the last row of the peer's own life: others may have been here before. */
static void note_staleness(struct tly_engine *e, const struct conn *conn, const struct tly_part *part)
{
    for (size_t i = part->row_count; i-- > 0;) {
        struct tly_version version = part->rows[i].dot.version;
        if (version.origin != conn->peer->origin) continue;
        tly_histogram_add(&e->staleness, e->cluster_ns > version.ts ? e->cluster_ns - version.ts : 0, 1);
        return;
    }
}

enum tly_result tly_part_mark(struct tly_engine *e, struct conn *conn, struct tly_mark mark)
{
    tell_followers(e, conn, mark.origin, EXPECTED);
    enum tly_result result = tly_ormap_raise_mark(e->map, mark.origin, mark.ts);
    if (result == TLY_OK) tell_followers(e, conn, mark.origin, MAY_WAIT);
    return result;
}

static enum tly_result end_round(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    uint64_t own = tly_ormap_origin(e->map);
    enum tly_result result = take_word(e, conn, part->end); /* what it says we have now, it has */
    if (result == TLY_OK) conn->peer->failures = 0;
    if (result != TLY_OK || conn->held_back) return result;
    tly_room_taken(e, conn);
    for (size_t i = 0; i < part->end.count && result == TLY_OK; i++) {
        if (part->end.marks[i].origin != own) result = tly_part_mark(e, conn, part->end.marks[i]);
    }
    return result;
}

/* Whether the part belongs to a round, and to one that is to be taken; a round that is not gets its NAK. */
static enum tly_result open_round(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    bool first = (part->flags & TLY_PART_FIRST) != 0;
    if (!first) return conn->round_open ? TLY_OK : TLY_BAD_MESSAGE;
    conn->round_open = true;
    if ((part->flags & TLY_PART_START) == 0) return conn->heard_begun ? TLY_OK : TLY_BAD_MESSAGE;
    conn->heard_begun = true;
    /* While marks are held back the next round begins where the last one ended, and there is no gap in between. */
    conn->round_taken = conn->held_back || is_covered(e, part->start);
    if (!conn->round_taken) tly_session_nak(e, conn, TLY_STALE);
    return TLY_OK;
}

static enum tly_result take_rows(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    enum tly_result result = admit(e, part);
    if (result == TLY_CLOCK_AHEAD) {
        tly_session_nak(e, conn, result); /* nor is the next, until one begins anew */
        return TLY_OK;
    }
    bool urgent = false;
    if (result == TLY_OK) result = join(e, conn, part, &urgent);
    if (result == TLY_OK && !conn->held_back) note_staleness(e, conn, part);
    if (result == TLY_OK && (part->flags & TLY_PART_LAST) != 0) result = end_round(e, conn, part);
    if (result == TLY_OK) tly_flush_learned(e, conn, urgent);
    return result;
}

/* Rows without a round, while one of both is being brought up. */
static enum tly_result take_news(struct tly_engine *e, struct conn *conn, const struct tly_part *part)
{
    bool is_round = (part->flags & (TLY_PART_FIRST | TLY_PART_LAST)) != 0, urgent = false;
    enum tly_result result = is_round ? TLY_MORE : tly_news_admit(e, conn, part);
    if (result != TLY_OK) return result == TLY_MORE ? TLY_OK : result;
    result = tly_news_stage(e, conn, part);
    if (result == TLY_OK) result = join(e, conn, part, &urgent);
    if (conn->held_back) conn->news.lacks = true;
    conn->brought_at = e->now.mono_ns;
    if (result == TLY_OK) tly_flush_learned(e, conn, urgent);
    return result;
}

/* None of the peer's own life goes back to it: ours need not wait for more of that. */
static bool has_other_lives(const struct conn *conn, const struct tly_part *part)
{
    size_t i = 0;
    while (i < part->row_count && part->rows[i].dot.version.origin == conn->peer->origin)
        i++;
    return i < part->row_count;
}

enum tly_result tly_part_take(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_part part;
    enum tly_result result = tly_parts_get(e->parts, conn->heard, body, &part);
    if (result == TLY_OK) result = take_word(e, conn, part.told);
    bool only_tells = (part.flags & (TLY_PART_FIRST | TLY_PART_LAST)) == 0 && part.row_count == 0;
    if (result != TLY_OK || only_tells) return result;
    if (conn->below || conn->asked) return take_news(e, conn, &part); /* first it is brought up, or we are */
    e->stats.rounds_received++;
    result = open_round(e, conn, &part);
    if (result != TLY_OK) return result;
    conn->round_open = (part.flags & TLY_PART_LAST) == 0;
    bool first = (part.flags & TLY_PART_FIRST) != 0;
    if (first || has_other_lives(conn, &part)) conn->round_heard = e->now.mono_ns;
    /* Ours could not end while theirs was open, or not even begin: only dots of the own life go then. */
    if (!conn->round_open && conn->put_off) conn->flush_at = e->now.mono_ns;
    return conn->round_taken ? take_rows(e, conn, &part) : TLY_OK;
}
