/*
 * Which life this node speaks as.  After a clean stop the earlier one may go on; but the disk may be an older copy, and then
 * peers have dots of that life that are not here.  Whatever it wrote before it knows would stand above those and hide them: a
 * right clock alone lifts it over all that the peers have.  So while that life is in question everything is made in another:
 *
 *     a clean stop --> ASKED --all that it is linked with have spoken, none knows more--> the earlier life goes on
 *                        |
 *                        +---one knows more, or not all could be asked in time----------> the other one is the life
 *
 * Nothing waits meanwhile: what is written goes to disk and peers at once, under a life of which nobody else can have
 * anything.  Only the announcement of this node waits, so that one that is not written to leaves no trace of the other life.
 * Who knows no other node and was told of none has nobody to ask, and goes on at once, unless its clock was set back (a shard's epoch never
 * falls: in the windows that come again it would count what it admits where nobody reads it). If the first that it meets knows more
 * all the same, what it made since the start becomes its next life's, but for its counts, which cannot be told from those before.
 */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"

/* After the first peer has spoken, for what it says of the others; and how long all are waited for. */
#define SETTLE_NS (NS_PER_S / 2)
#define ASK_NS (10 * NS_PER_S)
#define AGAIN_NS (60 * NS_PER_S)
#define FALL_NS (100 * NS_PER_MS)

static const char knows_more[] = "a peer knows more of this life than this node does";
static const char was_set_back[] = "its clock was set back behind windows that it has counted in";
static const char not_asked[] = "not every member could be asked whether its life went on elsewhere";

static const char gone_here[] = "others may have heard what went here for a snapshot";

uint64_t tly_life_spoken(const struct tly_engine *e)
{
    return e->life.kept != 0 ? e->life.kept : tly_ormap_origin(e->map);
}

struct tly_life tly_life_told(const struct tly_engine *e, size_t i)
{
    struct tly_life life = tly_ormap_life_kept(e->map, i);
    if (life.origin == tly_ormap_origin(e->map) && life.mark == 0) life = (struct tly_life){0};
    return life;
}

/* Members that this node is to be linked with. */
static bool is_asked(const struct peer *peer)
{
    return tly_member_counts(peer) && peer->is_linked;
}

static bool knows_others(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->is_member) return true;
    return false;
}

/* Who has answered a ping has read the greeting before it, and would have ended the session if it knew of that life's end. */
static bool all_have_spoken(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct conn *conn = e->peers[i]->conn;
        if (is_asked(e->peers[i]) && (conn == NULL || !conn->answered)) return false;
    }
    return true;
}

static bool is_count(const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    return strategy->own_shards && dot->op == TLY_PUT;
}

static size_t life_at(const struct tly_engine *e, uint64_t origin)
{
    size_t i = 0;
    while (tly_ormap_life(e->map, i).origin != origin)
        i++;
    return i;
}

/* A life that counted in windows that are yet to come would admit without end until they do. */
static bool is_ahead_of_time(struct tly_engine *e, uint64_t origin)
{
    e->life.judged_ns = e->cluster_ns;
    struct tly_scan scan = tly_scan_of(e->map, life_at(e, origin), 0);
    for (struct tly_scanned scanned; tly_scan_next(e->map, &scan, &scanned);)
        if (is_count(scanned.strategy, &scanned.dot) &&
            tly_sum_is_ahead(&scanned.dot, e->cluster_ns / NS_PER_MS))
            return true;
    return false;
}

static enum tly_result take_up(struct tly_engine *e, uint64_t origin)
{
    enum tly_result result = tly_ormap_begin_life(e->map, origin);
    if (result == TLY_OK) result = tly_follower_catch_up(&e->disk);
    e->life.known_to = tly_ormap_mark(e->map, origin);
    e->life.first = tly_ormap_clock(e->map)->last + 1;
    return result;
}

enum tly_result tly_life_start(struct tly_engine *e, uint64_t origin)
{
    enum tly_result result = take_up(e, origin);
    if (result == TLY_OK) result = tly_lives_start(e);
    if (result == TLY_OK) result = tly_member_announce(e, false);
    if (result != TLY_OK) return result;
    tly_member_learn_all(e);
    return tly_lives_close_unannounced(e); /* of those that no member lives */
}

enum tly_result tly_life_resume(struct tly_engine *e, uint64_t origin, bool has_seeds)
{
    enum tly_result result = take_up(e, origin);
    if (result != TLY_OK) return result;
    /* Nothing is announced while a life is in question, not even while the list of members is read. */
    e->life.kept = origin;
    e->life.until = e->now.mono_ns + ASK_NS;
    tly_lives_learn_all(e);
    tly_member_learn_all(e);
    bool is_alone = !has_seeds && !knows_others(e), goes_on = is_alone && !is_ahead_of_time(e, origin);
    if (is_alone && !goes_on) e->life.until = e->now.mono_ns;
    if (goes_on) e->life.kept = 0;
    e->life.went_on = goes_on;
    if (!goes_on) result = tly_ormap_begin_life(e->map, tly_random(e) | 1);
    if (result == TLY_OK) result = tly_lives_close_unannounced(e);
    return result == TLY_OK ? tly_member_announce(e, false) : result;
}

static enum tly_result begin_another(struct tly_engine *e, const char *why, bool lives_on)
{
    bool in_question = e->life.kept != 0;
    uint64_t old = tly_life_spoken(e);
    enum tly_result result = in_question ? TLY_OK : tly_ormap_begin_life(e->map, tly_random(e) | 1);
    if (result != TLY_OK) return result;
    e->life.kept = 0;
    e->life.known_to = UINT64_MAX; /* nobody has anything of it */
    e->new_life_at = e->now.mono_ns + AGAIN_NS;
    tly_fx_trace(e, TLY_TRACE_NEW_LIFE, "", tly_slice_text(why));
    /* One that stood in question may be that of another node, of whose disk this is a copy. */
    bool is_ours = !in_question || tly_member_origin(e, tly_slice_text(e->name)) == old;
    result = tly_lives_left(e, old, is_ours && !lives_on);
    return result == TLY_OK ? tly_member_announce(e, false) : result;
}

enum tly_result tly_life_another(struct tly_engine *e, const char *why, bool lives_on)
{
    bool is_too_soon = e->life.kept == 0 && e->now.mono_ns < e->new_life_at;
    return is_too_soon ? TLY_MORE : begin_another(e, why, lives_on);
}

void tly_life_carried(struct tly_engine *e)
{
    /* A fall that has not been looked at yet, of the same step perhaps, is so all the same. */
    if (e->life.judged_ns < e->cluster_ns) e->life.judged_ns = e->cluster_ns;
}

enum tly_result tly_life_leave(struct tly_engine *e, uint64_t known)
{
    uint64_t old = tly_ormap_origin(e->map);
    enum tly_result result = tly_ormap_begin_life(e->map, tly_random(e) | 1);
    if (result != TLY_OK) return result;
    tly_ormap_lower_mark(e->map, old, known);
    if (e->life.kept == 0) e->life.known_to = UINT64_MAX; /* nobody has anything of it */
    tly_fx_trace(e, TLY_TRACE_NEW_LIFE, "", tly_slice_text(gone_here));
    return TLY_OK;
}

void tly_life_heard(struct tly_engine *e, struct tly_mark theirs)
{
    const struct own_life *life = &e->life;
    if (theirs.origin != tly_life_spoken(e)) return;
    /* What was made in it since the start, and was told, anybody may have. */
    bool is_old = life->kept != 0 || life->met_at == 0 || theirs.ts < life->first;
    bool is_ahead = is_old ? theirs.ts > life->known_to : theirs.ts > tly_ormap_clock(e->map)->last;
    e->life.is_ahead = life->is_ahead || is_ahead;
    bool is_first =
        life->went_on && life->met_at == 0 && tly_clock_admits(tly_ormap_clock(e->map), theirs.ts);
    e->life.is_behind = life->is_behind || (is_ahead && is_first);
}

bool tly_life_yields(struct tly_engine *e, uint64_t origin)
{
    if (e->life.kept == 0 || e->life.kept != origin) return false;
    e->life.is_ahead = e->life.is_held = true;
    return true;
}

void tly_life_met(struct tly_engine *e, struct conn *conn)
{
    if (e->life.met_at == 0) e->life.met_at = e->now.mono_ns;
    if (e->life.kept != 0) tly_conn_ping(e, conn);
}

void tly_life_refused(struct tly_engine *e)
{
    e->life.is_ahead = e->life.is_ahead || e->life.kept != 0;
}

/* ---- a life that went on and should not have ---- */

enum tly_result tly_life_anew(struct tly_engine *e, uint64_t origin, const char *why, bool has_ended)
{
    uint64_t old = tly_life_spoken(e);
    enum tly_result result = tly_ormap_begin_life(e->map, origin);
    if (result != TLY_OK) return result;
    tly_ormap_clear_marks(e->map);
    e->life.kept = 0;
    e->new_life_at = e->now.mono_ns + AGAIN_NS;
    tly_fx_trace(e, TLY_TRACE_NEW_LIFE, "", tly_slice_text(why));
    while (e->conn_count > 0)
        tly_conn_end(e, e->conns[e->conn_count - 1], "renewed", "the node begins again with another life");
    result = tly_lives_left(e, old, has_ended);
    return result == TLY_OK ? tly_member_announce(e, false) : result;
}

static bool is_disowned(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                        const struct tly_dot *put)
{
    (void)key;
    const struct tly_engine *e = context;
    return put->version.origin == tly_ormap_origin(e->map) && put->version.ts > e->life.known_to &&
           is_count(strategy, put);
}

/* Says in the name of the heir what a dot of this life says, at the same time: one ns later, so that it takes its place. */
static enum tly_result hand_down(struct tly_engine *e, const struct tly_scanned *scanned, uint64_t heir)
{
    enum tly_outcome outcome;
    struct tly_dot dot = scanned->dot;
    tly_buf_clear(&e->frame);
    tly_buf_put(&e->frame, dot.bytes.p, dot.bytes.n);
    if (e->frame.result != TLY_OK) return e->frame.result;
    memcpy(e->key, scanned->key.p, scanned->key.n);
    dot.bytes = tly_buf_slice(&e->frame);
    dot.version = (struct tly_version){dot.version.ts + 1, heir};
    return tly_ormap_apply(e->map, tly_slice_of(e->key, scanned->key.n), &dot, &outcome);
}

/* Nothing that was made in this life since the start stays in it. What peers have of it comes again. */
static enum tly_result disown(struct tly_engine *e)
{
    uint64_t heir = tly_random(e) | 1;
    enum tly_result result = tly_ormap_seal(e->map);
    if (result != TLY_OK) return result;
    struct tly_scan scan = tly_scan_of(e->map, life_at(e, tly_ormap_origin(e->map)), e->life.known_to);
    for (struct tly_scanned scanned; result == TLY_OK && tly_scan_next(e->map, &scan, &scanned);)
        if (!is_count(scanned.strategy, &scanned.dot)) result = hand_down(e, &scanned, heir);
    if (result != TLY_OK) return result;
    size_t cursor = 0;
    do
        (void)tly_ormap_sweep(e->map, &cursor, SIZE_MAX, is_disowned, e);
    while (cursor != 0);
    e->life.known_to = UINT64_MAX;
    e->life.went_on = false;
    /* By whom else it may be lived, is not known yet: who sees this node's record pass to the heir says that it has ended. */
    result = tly_life_anew(e, heir, knows_more, false);
    if (result == TLY_OK) tly_snap_dump(e); /* else a restart would read what was disowned */
    return result;
}

/* ---- judging ---- */

static enum tly_result go_on(struct tly_engine *e)
{
    uint64_t meanwhile = tly_ormap_origin(e->map);
    enum tly_result result = tly_ormap_begin_life(e->map, e->life.kept);
    if (result != TLY_OK) return result;
    e->life.kept = 0;
    e->life.first = e->life.unheard = tly_ormap_clock(e->map)->last + 1;
    e->escrow.step_at = e->now.mono_ns;
    if (tly_ormap_mark(e->map, meanwhile) != 0)
        result = tly_lives_close(e, meanwhile, tly_slice_text(e->name));
    else if (tly_ormap_drop_life(e->map, meanwhile)) /* else all would wait for ever to hear of it */
        tly_exports_fail(e);
    return result == TLY_OK ? tly_member_announce(e, false) : result;
}

static bool is_settled(const struct tly_engine *e)
{
    return e->life.met_at != 0 && e->now.mono_ns - e->life.met_at >= SETTLE_NS;
}

/* By any way in: a round, an archive. */
static bool has_grown(const struct tly_engine *e)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.origin == e->life.kept) return life.mark != e->life.known_to || life.last > e->life.known_to;
    }
    return true;
}

static enum tly_result judge_kept(struct tly_engine *e)
{
    if (e->life.is_ahead || has_grown(e)) return tly_life_another(e, knows_more, e->life.is_held);
    bool is_over = e->now.mono_ns >= e->life.until, all_spoke = is_settled(e) && all_have_spoken(e);
    if (!is_over && !all_spoke) return TLY_OK;
    if (is_ahead_of_time(e, e->life.kept)) return tly_life_another(e, was_set_back, false);
    return all_spoke ? go_on(e) : tly_life_another(e, not_asked, false);
}

/* Only what somebody has heard shows an older copy of this disk, if that is started later, that the life went on. */
static void look_whether_heard(struct tly_engine *e)
{
    for (size_t i = 0; e->life.unheard != 0 && i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        bool has = conn->state == CONN_UP &&
                   tly_follower_word(&conn->follower, tly_ormap_origin(e->map)) >= e->life.unheard;
        if (has) e->life.unheard = 0;
    }
}

/*
 * Members are heard one by one, and until it is in use cluster time falls with that. By a little it does each time, and all that was made is walked
 * for it.
 */
static bool has_time_fallen(const struct tly_engine *e)
{
    return e->cluster_ns + FALL_NS < e->life.judged_ns;
}

/* However young the life is: in the next nothing is ahead. */
static enum tly_result judge_time(struct tly_engine *e)
{
    uint64_t judged_ns = e->life.judged_ns;
    if (!is_ahead_of_time(e, tly_ormap_origin(e->map))) return TLY_OK;
    enum tly_result result = begin_another(e, was_set_back, false);
    if (result != TLY_OK) e->life.judged_ns = judged_ns;
    return result;
}

void tly_life_judge(struct tly_engine *e)
{
    look_whether_heard(e);
    enum tly_result result = TLY_OK;
    if (e->life.kept != 0 && !e->leaving)
        result = judge_kept(e);
    else if (e->life.is_behind)
        result = disown(e);
    else if (e->life.is_ahead)
        result = tly_life_another(e, knows_more, false);
    if (result == TLY_MORE) result = TLY_OK; /* said again by whoever knows more */
    if (result == TLY_OK && e->life.kept == 0 && has_time_fallen(e)) result = judge_time(e);
    e->life.is_ahead = false;
    if (result == TLY_OK) {
        e->life.is_behind = false;
        return;
    }
    e->life.until = e->now.mono_ns + NS_PER_S; /* once more then */
    e->arena.result = result;
}

uint64_t tly_life_deadline(const struct tly_engine *e)
{
    if (e->life.kept == 0 || e->leaving) return TLY_NEVER;
    return e->life.met_at != 0 && !is_settled(e) ? e->life.met_at + SETTLE_NS : e->life.until;
}
