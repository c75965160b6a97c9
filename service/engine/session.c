#include "service/engine/impl.h"

#include "service/engine/limit.h"

#include "crdt/epoch_sum.h"

#define LIFE_IS_HELD "life"
#define NAME_IS_TAKEN "name"

/* What a frame does to the connection it came on. */
enum fate { KEEP, ENDED };

static const char *peer_name(const struct conn *conn)
{
    if (conn->peer != NULL) return conn->peer->name;
    return conn->target != NULL ? conn->target->address : "";
}

static enum fate refuse(struct tly_engine *e, struct conn *conn, struct tly_slice name, const char *word,
                        const char *text)
{
    char peer[TLY_NAME_BYTES_MAX + 1] = "";
    if (name.n < sizeof peer) memcpy(peer, name.p, name.n);
    e->stats.sessions_refused++;
    tly_fx_trace(e, TLY_TRACE_PEER_REFUSED, peer, tly_slice_text(text));
    tly_conn_end(e, conn, word, text);
    return ENDED;
}

static enum fate broken(struct tly_engine *e, struct conn *conn, enum tly_result result)
{
    e->stats.sessions_broken++;
    tly_fx_trace(e, TLY_TRACE_PEER_ERROR, peer_name(conn), tly_slice_text(tly_result_text(result)));
    tly_conn_end(e, conn, tly_result_name(result), tly_result_text(result));
    return ENDED;
}

/* What it says in its rounds makes no sense; whoever is told the same once more asks for everything instead. */
static enum fate not_a_round(struct tly_engine *e, struct conn *conn, enum tly_result result)
{
    if (result == TLY_BAD_MESSAGE) conn->peer->failures++;
    return broken(e, conn, result);
}

/* ---- HELLO ---- */

static bool is_self(const struct tly_engine *e, const struct tly_hello *hello)
{
    return hello->origin == tly_life_spoken(e) && tly_slice_equal(hello->name, tly_slice_text(e->name));
}

/* What this node said itself, and hears at its own door; a copy of its disk says the same at another time, or lives elsewhere. */
static bool is_own_greeting(const struct tly_engine *e, const struct tly_hello *hello)
{
    bool is_sent = false;
    for (size_t i = 0; i < e->target_count; i++)
        is_sent = is_sent || e->targets[i]->greeted_ns == hello->wall_ns;
    return is_sent && is_self(e, hello) && tly_slice_equal(hello->address, tly_slice_text(e->address));
}

/* Another node is up as the life that this greeting speaks for: a disk was copied. */
static bool is_held_elsewhere(const struct tly_engine *e, const struct tly_hello *hello)
{
    if (hello->origin == tly_life_spoken(e)) return true;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (peer->conn != NULL && peer->origin == hello->origin &&
            !tly_slice_equal(tly_slice_text(peer->name), hello->name))
            return true;
    }
    return false;
}

/* NULL: welcome; else the word and the sentence of the refusal. */
static const char *objection(const struct tly_engine *e, const struct tly_hello *hello, const char **text)
{
    if (hello->version_newest < TLY_PROTOCOL_OLDEST || hello->version_oldest > TLY_PROTOCOL_NEWEST) {
        *text = "no protocol version in common";
        return "version";
    }
    if (!tly_slice_equal(hello->cluster, tly_slice_text(e->cluster))) {
        *text = "it belongs to another cluster";
        return "cluster";
    }
    if (is_self(e, hello)) {
        *text = "that is this node itself";
        return "self";
    }
    if (hello->name.n == 0 || tly_slice_equal(hello->name, tly_slice_text(e->name))) {
        *text = "two nodes have one name; give each its own (name=)";
        return NAME_IS_TAKEN;
    }
    if (is_held_elsewhere(e, hello)) {
        *text = "another node is up with this life: a data directory was copied";
        return LIFE_IS_HELD;
    }
    return NULL;
}

/* Follows what the peer says it has. */
static enum tly_result take_word(struct tly_engine *e, struct conn *conn, struct tly_marks marks)
{
    enum tly_result result = TLY_OK;
    for (struct tly_mark mark; result == TLY_OK && tly_marks_next(&marks, &mark);) {
        tly_life_heard(e, mark);
        result = tly_follower_has(&conn->follower, mark, NULL);
    }
    return result;
}

/*
 * A life whose place a newer one took, and that lives all the same while the newer one is up: there are two nodes of that name. Who is up
 * alone is welcome: greetings of lives that followed each other may come late, and an older one last.
 */
static bool was_replaced(const struct peer *peer, uint64_t origin)
{
    if (peer->conn == NULL) return false;
    for (size_t i = 0; i < peer->replaced_count && i < TLY_REPLACED_KEPT; i++)
        if (peer->replaced[i] == origin) return true;
    return false;
}

/* Tables that differ: what costs nothing here is taken over, and the next greeting says so. */
static enum fate refuse_table(struct tly_engine *e, struct conn *conn, const struct tly_hello *hello,
                              const char *text)
{
    (void)tly_prefixes_follow(e, hello->name, hello->prefixes);
    return refuse(e, conn, hello->name, "prefix", text);
}

static enum fate on_hello(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_hello hello;
    enum tly_result result = tly_hello_get(body, &hello);
    if (result != TLY_OK || conn->state == CONN_UP) return broken(e, conn, TLY_BAD_MESSAGE);
    const char *text = "", *word = objection(e, &hello, &text);
    if (word != NULL) {
        if (is_self(e, &hello) && conn->target != NULL) {
            conn->target->is_self = true;
            tly_conn_end(e, conn, NULL, text);
            return ENDED;
        }
        if (is_own_greeting(e, &hello)) {
            tly_fx_trace(e, TLY_TRACE_OWN_SEED, e->name,
                         tly_slice_text("it is among the seeds, which is fine: it is passed over"));
            tly_conn_end(e, conn, word, text);
            return ENDED;
        }
        if (tly_life_yields(e, hello.origin)) word = NULL;
        return refuse(e, conn, hello.name, word, text);
    }
    char difference[TLY_DIFFERENCE_BYTES];
    if (tly_prefixes_differ(e, hello.prefixes, difference, sizeof difference))
        return refuse_table(e, conn, &hello, difference);
    result = take_word(e, conn, hello.marks);
    struct peer *peer = result == TLY_OK ? tly_peer_need(e, hello.name) : NULL;
    if (peer == NULL) return broken(e, conn, result != TLY_OK ? result : TLY_FULL);
    if (was_replaced(peer, hello.origin))
        return refuse(e, conn, hello.name, NAME_IS_TAKEN,
                      "two nodes have one name, and another has come up under it; give each its own (name=)");
    if (!tly_peer_take(e, peer, conn, hello.origin)) return ENDED;
    if (hello.address.n > 0 && hello.address.n < sizeof peer->address) {
        memcpy(peer->address, hello.address.p, hello.address.n);
        peer->address[hello.address.n] = '\0';
    }
    if (conn->target != NULL) conn->target->reported = false;
    e->stats.sessions_up++;
    tly_life_met(e, conn);
    tly_proof_met(e, conn);
    conn->takes_rounds = hello.delta;
    conn->repairs = hello.repair;
    conn->resumes = hello.resume;
    conn->news.is_known = hello.news;
    conn->columns = hello.columns;
    tly_repair_begin(e, conn);
    tly_time_heard(e, peer, hello.wall_ns);
    conn->version = hello.version_newest < TLY_PROTOCOL_NEWEST ? hello.version_newest : TLY_PROTOCOL_NEWEST;
    tly_streams_limit(e, hello.table);
    if (conn->version >= 2 && !tly_streams_begin(e, conn)) return broken(e, conn, TLY_NOMEM);
    conn->flush_at = conn->ack_at = e->now.mono_ns;
    return tly_snap_greeted(e, conn, &hello) ? KEEP : ENDED;
}

/* ---- ROUND ---- */

/* What keys under sys: say is acted upon. */
static void learn_of_cluster(struct tly_engine *e, struct tly_slice key)
{
    if (!tly_slice_begins(key, tly_slice_text("sys:"))) return;
    if (tly_is_member_key(key)) tly_member_learn(e, key);
    /* Before the life begins the disk is being read: then all is learned at the start. */
    if (tly_ormap_origin(e->map) == 0) return;
    if (tly_is_closed_key(key)) tly_lives_learn(e, key);
    tly_forget_learn(e, key);
    tly_hearsay_learn(e, key);
    tly_proof_learn(e, key);
    tly_escrow_learn(e, key);
    tly_hold_learn(e, key);
}

static void count_outcome(struct tly_engine *e, enum tly_outcome outcome)
{
    switch (outcome) {
    case TLY_APPLIED: e->stats.dots_applied++; break;
    case TLY_DUPLICATE:
    case TLY_DOMINATED: e->stats.dots_redundant++; break;
    case TLY_DROPPED: e->stats.dots_stale++; break;
    case TLY_MALFORMED: e->stats.dots_malformed++; break;
    case TLY_FORGED: e->stats.dots_forged++; break;
    case TLY_REFUSED: e->stats.dots_refused++; break;
    case TLY_REPAIRED: e->stats.dots_repaired++; break;
    }
}

void tly_session_rewind(struct tly_engine *e, const struct tly_dot *dot)
{
    size_t life = tly_ormap_life_number(e->map, dot->version.origin);
    for (size_t i = 0; i < e->conn_count; i++)
        tly_follower_rewind(&e->conns[i]->follower, life, dot->version.ts);
    tly_follower_rewind(&e->disk, life, dot->version.ts);
    struct tly_life reached = tly_ormap_life_held(e->map, life);
    if (reached.last > dot->version.ts || reached.mark >= dot->version.ts)
        tly_late_learned(e, &reached, dot->version.ts);
    /* A peer would drop a dot below its mark; the disk has to have it. */
    if (dot->version.ts <= reached.mark) tly_follower_reopen(&e->disk, life, dot->version.ts);
    tly_exports_rewind(e, life, dot->version.ts);
}

/* A shard whose time is over when it comes would go with the next sweep; forged ones for a time that never comes hide nothing so. */
static bool is_over(const struct tly_engine *e, const struct sought_row *sought)
{
    const struct tly_row *row = sought->row;
    if (row->strategy_id != TLY_EPOCH_SUM || row->dot.op != TLY_PUT || sought->now_ms == 0) return false;
    return tly_limit_expired(row->key, tly_epoch_sum(), &row->dot, sought->now_ms * NS_PER_MS,
                             tly_ormap_clock(e->map)->max_skew_ns);
}

/* What is over takes the place of what it makes redundant: a bucket's older shard may say for long that units are gone. */
static bool is_news(const struct tly_engine *e, const struct sought_row *sought)
{
    const struct tly_row *row = sought->row;
    if (!tly_limit_is_bucket(row->key, &row->dot))
        return false; /* windows of a life that are older are over as well */
    struct tly_entry *entry = tly_seek_find(e->map, &sought->seek);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_PUT && tly_dominates(tly_entry_strategy(entry), &row->dot, &dots[i]))
            return true;
    return false;
}

/* What everybody must know of, and what is here already, may take more room than a key that is new. */
static enum room room_for(const struct tly_row *row)
{
    bool is_sys = tly_slice_begins(row->key, tly_slice_text("sys:"));
    return is_sys ? ROOM_OLD_KEY : ROOM_PEERS_KEY;
}

typedef enum tly_result join_dot(struct tly_ormap *map, const struct tly_seek *seek,
                                 const struct tly_dot *dot, enum tly_outcome *outcome);

static enum tly_result repair_dot(struct tly_ormap *map, const struct tly_seek *seek,
                                  const struct tly_dot *dot, enum tly_outcome *outcome)
{
    return tly_ormap_repair(map, seek->key, dot, outcome);
}

static enum tly_result repair_own_dot(struct tly_ormap *map, const struct tly_seek *seek,
                                      const struct tly_dot *dot, enum tly_outcome *outcome)
{
    return tly_ormap_repair_own(map, seek->key, dot, outcome);
}

/* With `held` only what there is room for; what there is none for is counted there. */
static enum tly_result apply_row(struct tly_engine *e, const struct sought_row *sought, join_dot *join,
                                 enum tly_outcome *outcome, size_t *held)
{
    const struct tly_row *row = sought->row;
    if (held == NULL) return join(e->map, &sought->seek, &row->dot, outcome);
    enum tly_result result;
    tly_room_for(e, room_for(row));
    do
        result = join(e->map, &sought->seek, &row->dot, outcome);
    while (tly_room_retry(e, row->key, &result));
    bool lacks_room = result == TLY_FULL && e->budget.refused;
    tly_room_for(e, ROOM_FOR_ALL);
    if (lacks_room) ++*held;
    return result;
}

/* Each node stops at a limit; a frontier beyond it was made by one that does not, or by a hundred nodes at once. Told once a minute. */
static void see_overlong(struct tly_engine *e)
{
    uint64_t overlong = tly_ormap_overlong(e->map), new_ones = overlong - e->overlong;
    e->overlong = overlong;
    e->stats.dots_overlong += new_ones;
    if (new_ones == 0 || e->now.mono_ns < e->overlong_told_until) return;
    e->overlong_told_until = e->now.mono_ns + 60 * NS_PER_S;
    tly_fx_trace(e, TLY_TRACE_OVERLONG, "",
                 tly_slice_text("a key holds more than 64; a higher value or a delete clears them"));
}

static enum tly_result join_row(struct tly_engine *e, const struct sought_row *sought, join_dot *join,
                                enum tly_outcome *outcome, size_t *held)
{
    const struct tly_row *row = sought->row;
    size_t held_before = held != NULL ? *held : 0;
    bool bucket = tly_limit_is_bucket(row->key, &row->dot);
    int64_t before = bucket ? tly_limit_units(e->map, row->key, &row->dot) : 0;
    struct tly_before seen = {0};
    if (e->watch_count > 0) seen = tly_watch_before(e, row->key);
    enum tly_result result = apply_row(e, sought, join, outcome, held);
    if (held != NULL && *held > held_before) {
        e->stats.dots_held_back++;
        return TLY_OK;
    }
    if (result != TLY_OK) return result;
    count_outcome(e, *outcome);
    if (*outcome == TLY_MALFORMED) tly_fx_trace(e, TLY_TRACE_DOT_KEPT_OUT, "", tly_slice_of(NULL, 0));
    if (*outcome != TLY_APPLIED && *outcome != TLY_REPAIRED) return TLY_OK;
    if (seen.watched) tly_watch_after(e, row->key, seen, row->dot.version.origin);
    if (row->strategy_id == TLY_EPOCH_MAX) see_overlong(e);
    tly_session_rewind(e, &row->dot);
    /* What a REMOVE left of an own shard began again from nothing: that is the own life's news, also to who sent the REMOVE. */
    if (row->dot.op == TLY_REMOVE && tly_ormap_is_unsealed(e->map)) tly_flush_soon(e, true);
    if (bucket) tly_limit_learned(e->map, row->key, &row->dot, before, e->cluster_ns);
    learn_of_cluster(e, row->key);
    return TLY_OK;
}

enum tly_result tly_session_join_sought(struct tly_engine *e, const struct sought_row *sought, size_t *held)
{
    enum tly_outcome outcome;
    if (tly_is_left_out(e, sought->row->key)) return TLY_OK;
    if (is_over(e, sought) && !is_news(e, sought)) {
        e->stats.dots_expired++;
        return TLY_OK;
    }
    const struct tly_row *row = sought->row;
    bool is_anew = row->strategy_id == TLY_EPOCH_SUM && row->dot.op == TLY_PUT &&
                   row->dot.num[TLY_SUM_WINDOW] == 0 && row->dot.version.ts > e->forget.f;
    if (is_anew && held != NULL) tly_forget_touch_joined(e, row->key);
    /* What the own log holds was here, also what a repair had let in below a mark. */
    return join_row(e, sought, held != NULL ? tly_seek_apply : repair_dot, &outcome, held);
}

enum tly_result tly_session_repair_row(struct tly_engine *e, const struct tly_row *row,
                                       enum tly_outcome *outcome)
{
    size_t held = 0;
    bool own = row->dot.version.origin == tly_ormap_origin(e->map);
    struct sought_row sought = {row, 0, tly_seek_of(e->map, row->key)};
    *outcome = TLY_DROPPED;
    return join_row(e, &sought, own ? repair_own_dot : repair_dot, outcome, &held);
}

enum tly_result tly_session_admits(const struct tly_engine *e, const struct tly_row *row)
{
    const struct tly_strategy *strategy = tly_registry_find(e->registry, row->key);
    if (tly_is_left_out(e, row->key)) return TLY_OK;
    if (strategy == NULL) return tly_ormap_admits(e->map, row->key, &row->dot); /* it says why */
    if (strategy->id != row->strategy_id) return TLY_WRONG_STRATEGY;
    return tly_ormap_is_in_time(e->map, strategy, &row->dot) ? TLY_OK : TLY_CLOCK_AHEAD;
}

/* Whether this node can read every row and its clock lets every version in: then the part may be applied. */
enum tly_result tly_session_admits_all(const struct tly_engine *e, const struct tly_round *round)
{
    struct tly_rows rows = tly_rows_of(round);
    for (struct tly_row row; tly_rows_next(&rows, &row);) {
        enum tly_result result = tly_session_admits(e, &row);
        if (result != TLY_OK) return result;
    }
    struct tly_marks end = round->end;
    for (struct tly_mark mark; tly_marks_next(&end, &mark);)
        if (!tly_clock_admits(tly_ormap_clock(e->map), mark.ts)) return TLY_CLOCK_AHEAD;
    return TLY_OK;
}

void tly_session_seek(const struct tly_engine *e, const struct tly_row *rows, const uint32_t *order,
                      size_t count, struct sought_row *sought)
{
    size_t n = count < TLY_JOINED_TOGETHER ? count : TLY_JOINED_TOGETHER;
    uint64_t now_ms = tly_forget_now_ms(e);
    for (size_t i = 0; i < n; i++) {
        const struct tly_row *row = sought[i].row = &rows[order != NULL ? order[i] : i];
        if (order != NULL && i + TLY_JOINED_TOGETHER < count)
            tly_row_prefetch(&rows[order[i + TLY_JOINED_TOGETHER]]);
        sought[i].now_ms = now_ms;
        if (row->hash != 0)
            tly_seek_known(e->map, row->key, row->hash, &sought[i].seek);
        else
            tly_seek_to(e->map, row->key, &sought[i].seek);
    }
    for (size_t i = 0; i < n; i++)
        tly_seek_ahead(e->map, &sought[i].seek);
}

/* The next rows, the memory of their entries being asked for; how many. */
static size_t next_rows(const struct tly_engine *e, struct tly_rows *walk, struct tly_row *rows,
                        struct sought_row *sought)
{
    size_t count = 0;
    while (count < TLY_JOINED_TOGETHER && tly_rows_next(walk, &rows[count]))
        count++;
    tly_session_seek(e, rows, NULL, count, sought);
    return count;
}

enum tly_result tly_session_join(struct tly_engine *e, const struct tly_round *round, size_t *held)
{
    enum tly_result result = tly_session_admits_all(e, round);
    if (result != TLY_OK) return result;
    struct tly_rows walk = tly_rows_of(round);
    struct tly_row rows[TLY_JOINED_TOGETHER];
    struct sought_row sought[TLY_JOINED_TOGETHER];
    for (size_t count; result == TLY_OK && (count = next_rows(e, &walk, rows, sought)) > 0;)
        for (size_t i = 0; result == TLY_OK && i < count; i++)
            result = tly_session_join_sought(e, &sought[i], held);
    e->stats.dots_received += round->row_count;
    return result;
}

bool tly_marks_are_covered(const struct tly_engine *e, struct tly_marks start)
{
    for (struct tly_mark mark; tly_marks_next(&start, &mark);)
        if (tly_ormap_mark(e->map, mark.origin) < mark.ts) return false;
    return true;
}

enum tly_result tly_marks_take(struct tly_engine *e, struct tly_marks end)
{
    enum tly_result result = TLY_OK;
    uint64_t own = tly_ormap_origin(e->map);
    for (struct tly_mark mark; result == TLY_OK && tly_marks_next(&end, &mark);)
        if (mark.origin != own) result = tly_ormap_raise_mark(e->map, mark.origin, mark.ts);
    return result;
}

static void count_refusal(struct tly_engine *e, const struct conn *conn)
{
    if (conn->peer == NULL) return;
    conn->peer->clock_ahead_at = e->now.mono_ns;
    conn->peer->clock_refusals++;
}

void tly_session_nak(struct tly_engine *e, struct conn *conn, enum tly_result why)
{
    struct own_marks own;
    conn->round_taken = false;
    if (why == TLY_CLOCK_AHEAD) {
        count_refusal(e, conn);
        tly_fx_trace(e, TLY_TRACE_ROUND_REFUSED, peer_name(conn),
                     tly_slice_text("its clock, or one behind it, is ahead of ours by more than max_skew"));
    }
    if (!tly_own_marks_init(e, &own)) return;
    tly_nak_put(&e->body, why, own.marks, own.count);
    tly_own_marks_fini(e, &own);
    tly_fx_send(e, conn, TLY_FRAME_NAK);
    e->stats.naks_sent++;
}

/* None of the peer's own life goes back to it: ours need not wait for more of that. */
static bool has_other_lives(const struct conn *conn, const struct tly_round *round)
{
    struct tly_rows rows = tly_rows_of(round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (row.dot.version.origin != conn->peer->origin) return true;
    return false;
}

static enum fate on_round(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_round round;
    if (conn->version >= 2) return broken(e, conn, TLY_BAD_MESSAGE);
    enum tly_result result = tly_round_get(body, &round);
    if (result != TLY_OK) return not_a_round(e, conn, result);
    e->stats.rounds_received++;
    if (conn->below || conn->asked) return KEEP; /* first it is brought up, or we are */
    bool first = (round.flags & TLY_ROUND_FIRST) != 0, last = (round.flags & TLY_ROUND_LAST) != 0;
    if (first) {
        conn->round_open = true;
        /* While marks are held back the next round begins where the last one ended, and there is no gap in between. */
        conn->round_taken = conn->held_back || tly_marks_are_covered(e, round.start);
        if (!conn->round_taken) tly_session_nak(e, conn, TLY_STALE);
    } else if (!conn->round_open) {
        return broken(e, conn, TLY_BAD_MESSAGE);
    }
    conn->round_open = !last;
    if (first || has_other_lives(conn, &round)) conn->round_heard = e->now.mono_ns;
    if (!conn->round_taken) return KEEP;

    size_t held = 0;
    result = tly_session_join(e, &round, &held);
    if (result == TLY_CLOCK_AHEAD) {
        conn->round_taken = false;
        tly_session_nak(e, conn, result);
        return KEEP;
    }
    if (result != TLY_OK) return broken(e, conn, result);
    if (held > 0) tly_room_hold_back(e, conn);
    if (last) {
        /* What it says we have now, it has. */
        result = take_word(e, conn, round.end);
        if (result == TLY_OK && !conn->held_back) {
            result = tly_marks_take(e, round.end);
            tly_room_taken(e, conn);
        }
        conn->peer->failures = 0;
        if (result != TLY_OK) return broken(e, conn, result);
    }
    tly_flush_soon(e, false);
    return KEEP;
}

/* ---- the small ones ---- */

static enum fate on_ack(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_marks marks;
    if (conn->version >= 2) return broken(e, conn, TLY_BAD_MESSAGE);
    enum tly_result result = tly_ack_get(body, &marks);
    if (result == TLY_OK) result = take_word(e, conn, marks);
    return result == TLY_OK ? KEEP : broken(e, conn, result);
}

static enum fate on_nak(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_marks marks;
    struct tly_slice why;
    enum tly_result result = tly_nak_get(body, &why, &marks);
    if (result != TLY_OK) return broken(e, conn, result);
    e->stats.naks_received++;
    tly_follower_reset(&conn->follower);
    conn->is_long = false;
    result = take_word(e, conn, marks);
    if (result != TLY_OK) return broken(e, conn, result);
    bool clock = tly_slice_equal(why, tly_slice_text(tly_result_name(TLY_CLOCK_AHEAD)));
    if (clock) {
        conn->peer->refused_clock_at = e->now.mono_ns;
        tly_fx_trace(e, TLY_TRACE_CLOCK, peer_name(conn),
                     tly_slice_text("refuses our versions: set the clocks of both machines"));
    }
    conn->flush_at = e->now.mono_ns + (clock ? TLY_NAK_PAUSE_NS : 0);
    return KEEP;
}

static enum fate on_ping(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_ping ping;
    enum tly_result result = tly_ping_get(body, &ping);
    if (result != TLY_OK) return broken(e, conn, result);
    if (conn->lanes.queued > TLY_QUEUED_CAP / 2) return KEEP; /* it asks and does not read */
    ping.wall_ns = e->now.wall_ns;
    tly_ping_put(&e->body, &ping);
    tly_fx_send(e, conn, TLY_FRAME_PONG);
    return KEEP;
}

static enum fate on_pong(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_ping pong;
    enum tly_result result = tly_ping_get(body, &pong);
    if (result != TLY_OK || pong.mono_ns > e->now.mono_ns) return broken(e, conn, TLY_BAD_MESSAGE);
    uint64_t rtt = e->now.mono_ns - pong.mono_ns;
    conn->answered = true;
    tly_proof_ponged(e, conn, pong.mono_ns);
    bool busy = tly_lanes_unacked(&conn->lanes) > 0;
    e->stats.bytes_acked += tly_lanes_ponged(&conn->lanes, pong.mono_ns, e->now.mono_ns);
    tly_conn_taken(e, conn, conn->lanes.total - conn->lanes.acked);
    conn->peer->rtt_ns = rtt;
    if (busy) return KEEP; /* it waited behind others one way only: that tells nothing of clocks */
    conn->peer->offset_ns = (int64_t)(pong.wall_ns + rtt / 2 - e->now.wall_ns);
    tly_time_heard(e, conn->peer, pong.wall_ns + rtt / 2);
    return KEEP;
}

static enum fate on_goodbye(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_slice word, text;
    enum tly_result result = tly_goodbye_get(body, &word, &text);
    if (result != TLY_OK) return broken(e, conn, result);
    if (!tly_slice_equal(word, tly_slice_text("duplicate")))
        tly_fx_trace(e, TLY_TRACE_PEER_GOODBYE, peer_name(conn), text);
    if (tly_slice_equal(word, tly_slice_text(LIFE_IS_HELD)))
        result = tly_life_another(e, "another node is up with this life: a data directory was copied", true);
    if (result != TLY_OK && result != TLY_MORE) return broken(e, conn, result);
    if (tly_slice_equal(word, tly_slice_text(NAME_IS_TAKEN))) tly_life_refused(e);
    tly_conn_end(e, conn, NULL, "it said goodbye");
    return ENDED;
}

static enum fate on_probe(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    enum tly_result result = frame->type == TLY_FRAME_PROBE ? tly_swim_on_probe(e, conn, frame->body)
                                                            : tly_swim_on_probed(e, frame->body);
    return result == TLY_OK ? KEEP : broken(e, conn, result);
}

static enum fate on_waiting(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    enum tly_result result = frame->type == TLY_FRAME_WANTED ? tly_acks_on_wanted(e, conn, frame->body)
                                                             : tly_acks_on_kept(e, conn, frame->body);
    return result == TLY_OK ? KEEP : broken(e, conn, result);
}

/* ---- frames ---- */

static enum fate on_part(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    enum tly_result result = conn->version >= 2 ? tly_part_take(e, conn, body) : TLY_UNKNOWN_FRAME;
    return result == TLY_OK ? KEEP : not_a_round(e, conn, result);
}

static enum fate on_snapshot(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    bool ended = false;
    enum tly_result result = TLY_BAD_MESSAGE;
    if (frame->type == TLY_FRAME_COLD_START) result = tly_snap_cold_start(e, conn, frame->body, &ended);
    if (frame->type == TLY_FRAME_SNAP_ASK) result = tly_snap_asked(e, conn, frame->body);
    if (frame->type == TLY_FRAME_SNAP_BEGIN) result = tly_snap_begin(e, conn, frame->body);
    if (frame->type == TLY_FRAME_SNAP_CHUNK) result = tly_snap_chunk(e, conn, frame->body);
    if (frame->type == TLY_FRAME_NEWS) result = tly_news_ended(e, conn, frame->body);
    if (frame->type == TLY_FRAME_SNAP_END) {
        result = tly_snap_end(e, conn, frame->body);
        ended = result == TLY_OK;
    }
    if (result == TLY_CLOCK_AHEAD) count_refusal(e, conn);
    if (ended) return ENDED;
    return result == TLY_OK ? KEEP : broken(e, conn, result);
}

static enum fate on_repair(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    enum tly_result result = tly_repair_on_frame(e, conn, frame);
    return result == TLY_OK ? KEEP : broken(e, conn, result);
}

static enum fate on_frame(struct tly_engine *e, struct conn *conn, const struct tly_frame *frame)
{
    if (conn->life_ended) return ENDED;
    bool snapshot = (frame->type >= TLY_FRAME_COLD_START && frame->type <= TLY_FRAME_SNAP_END) ||
                    frame->type == TLY_FRAME_NEWS;
    bool repair = frame->type >= TLY_FRAME_COMPARE && frame->type <= TLY_FRAME_LEAVES;
    bool known = snapshot || repair || (frame->type >= TLY_FRAME_HELLO && frame->type <= TLY_FRAME_PART) ||
                 (frame->type >= TLY_FRAME_PROBE && frame->type <= TLY_FRAME_KEPT);
    bool before_hello = frame->type == TLY_FRAME_HELLO || frame->type == TLY_FRAME_GOODBYE;
    if (known && !before_hello && conn->state != CONN_UP) return broken(e, conn, TLY_BAD_MESSAGE);
    if (snapshot) return on_snapshot(e, conn, frame);
    if (repair) return on_repair(e, conn, frame);
    switch (frame->type) {
    case TLY_FRAME_HELLO: return on_hello(e, conn, frame->body);
    case TLY_FRAME_ROUND: return on_round(e, conn, frame->body);
    case TLY_FRAME_ACK: return on_ack(e, conn, frame->body);
    case TLY_FRAME_NAK: return on_nak(e, conn, frame->body);
    case TLY_FRAME_PING: return on_ping(e, conn, frame->body);
    case TLY_FRAME_PONG: return on_pong(e, conn, frame->body);
    case TLY_FRAME_GOODBYE: return on_goodbye(e, conn, frame->body);
    case TLY_FRAME_PROBE:
    case TLY_FRAME_PROBED: return on_probe(e, conn, frame);
    case TLY_FRAME_WANTED:
    case TLY_FRAME_KEPT: return on_waiting(e, conn, frame);
    case TLY_FRAME_PART: return on_part(e, conn, frame->body);
    default: break;
    }
    if (!frame->ignorable) return broken(e, conn, TLY_UNKNOWN_FRAME);
    e->stats.frames_ignored++;
    return KEEP;
}

/* Handles the whole frames at the beginning of `bytes`; how many bytes they were, or SIZE_MAX: the connection ended. */
static size_t take_frames(struct tly_engine *e, struct conn *conn, struct tly_slice bytes)
{
    size_t used = 0;
    for (;;) {
        struct tly_frame frame;
        size_t consumed;
        struct tly_slice rest = tly_slice_of(bytes.p + used, bytes.n - used);
        enum tly_result result = tly_frame_get(rest, &e->scratch, &frame, &consumed);
        if (result == TLY_MORE) return used;
        if (result != TLY_OK) {
            (void)broken(e, conn, result);
            return SIZE_MAX;
        }
        if (on_frame(e, conn, &frame) == ENDED) return SIZE_MAX;
        used += consumed;
    }
}

void tly_session_bytes(struct tly_engine *e, struct conn *conn, struct tly_slice bytes)
{
    conn->last_heard = e->now.mono_ns;
    e->stats.bytes_received += bytes.n;
    if (conn->peer != NULL) {
        conn->peer->last_heard = e->now.mono_ns;
        conn->peer->contradicted = 0;
        conn->peer->bytes_received += bytes.n;
    }
    while (bytes.n > 0) {
        /* The buffer holds one frame of the greatest size, so a part of the input always fits. */
        size_t room = conn->in.bytes_max - conn->in.n, n = bytes.n < room ? bytes.n : room;
        tly_buf_put(&conn->in, bytes.p, n);
        bytes.p += n;
        bytes.n -= n;
        if (conn->in.result != TLY_OK) {
            (void)broken(e, conn, TLY_NOMEM);
            return;
        }
        size_t used = take_frames(e, conn, tly_buf_slice(&conn->in));
        if (used == SIZE_MAX) return;
        tly_buf_take(&conn->in, used);
        if (used > 0 || conn->begun_at == TLY_NEVER) conn->begun_at = e->now.mono_ns;
        if (conn->in.n == 0) conn->begun_at = TLY_NEVER;
    }
}
