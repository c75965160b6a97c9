/*
 * F, and what is forgotten by it.  While anything waits to be forgotten each member publishes one number for its life,
 * sys:stable:ORIGIN -> [number, life, mark, newest, print, …]: everything of every life that has not ended is here up to number; and what it has
 * of each life that ended and is not settled.  F is the least number of all members.  What lies at or below an F that was
 * known for tombstone_grace is forgotten.  Nothing is published when nothing waits.
 */
#include "service/engine/impl.h"

#include "service/engine/limit.h"
#include "wire/pack.h"

#define PREFIX "sys:stable:"
#define PREFIX_BYTES 11
#define KEY_BYTES (PREFIX_BYTES + 20)
#define SAID_MAX 4096

/* So long after the first number of a life others are taken to have heard it. */
#define HEARD_NS (10 * NS_PER_S)

#define GRACE_MS UINT64_C(300000)
#define FORGET_AFTER_MS UINT64_C(86400000)

void tly_forget_init(struct tly_engine *e, const struct tly_engine_config *config)
{
    uint64_t grace_ms = config->tombstone_grace_ms, after_ms = config->forget_after_ms;
    e->forget.grace_ns = (grace_ms != 0 ? grace_ms : GRACE_MS) * NS_PER_MS;
    e->forget.forget_after_ns = (after_ms != 0 ? after_ms : FORGET_AFTER_MS) * NS_PER_MS;
}

/* ---- numbers ---- */

static struct tly_slice key_of(uint8_t key[KEY_BYTES], uint64_t origin)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    for (size_t i = KEY_BYTES; i-- > PREFIX_BYTES; origin /= 10)
        key[i] = (uint8_t)('0' + origin % 10);
    return tly_slice_of(key, KEY_BYTES);
}

bool tly_forget_counts(const struct peer *peer)
{
    /* Only that word frees anything: who is away, left or dead is waited for. */
    return peer->state != 0 && peer->state != MEMBER_FORGOTTEN;
}

static void lower(uint64_t *least, uint64_t number)
{
    if (number < *least) *least = number;
}

uint64_t tly_forget_number(const struct tly_engine *e)
{
    uint64_t least = tly_ormap_mark(e->map, tly_ormap_origin(e->map));
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.origin != 0 && life.state < TLY_LIFE_SETTLED) lower(&least, life.mark);
    }
    /* A member of whom nothing has been heard yet has a life all the same. */
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_forget_counts(e->peers[i])) lower(&least, tly_ormap_mark(e->map, e->peers[i]->member_origin));
    for (size_t i = 0; i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        if (conn->state == CONN_UP && !conn->below) lower(&least, tly_ormap_mark(e->map, conn->peer->origin));
        if (conn->out.active) lower(&least, conn->out.frozen);
    }
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->aside != NULL) lower(&least, e->peers[i]->aside->frozen);
    return least;
}

/* The walk over what a life has published; false: nothing. */
static bool said_by(struct tly_engine *e, uint64_t origin, uint64_t *number, struct tly_cursor *cursor,
                    size_t *lives)
{
    uint8_t key[KEY_BYTES];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, origin));
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    if (count != 1 || dots[0].op != TLY_PUT) return false;
    *cursor = tly_cursor_of(dots[0].bytes);
    size_t elements = tly_get_array(cursor, (size_t)4 * SAID_MAX + 1);
    *number = tly_get_uint(cursor);
    *lives = elements / 4;
    return elements % 4 == 1 && cursor->result == TLY_OK;
}

static bool has_said(struct tly_engine *e)
{
    uint64_t number;
    struct tly_cursor cursor;
    size_t lives;
    return said_by(e, tly_ormap_origin(e->map), &number, &cursor, &lives);
}

void tly_forget_learn(struct tly_engine *e, struct tly_slice key)
{
    uint8_t own[KEY_BYTES];
    if (key.n != KEY_BYTES || !tly_slice_begins(key, tly_slice_text(PREFIX))) return;
    if (e->forget.asked || tly_slice_equal(key, key_of(own, tly_ormap_origin(e->map))) || has_said(e)) return;
    e->forget.asked = true;
    e->forget.step_at = e->now.mono_ns;
}

bool tly_forget_said(struct tly_engine *e, uint64_t member, uint64_t life, struct tly_beyond *beyond,
                     uint64_t *mark)
{
    uint64_t number;
    struct tly_cursor cursor;
    size_t lives;
    if (!said_by(e, member, &number, &cursor, &lives)) return false;
    for (size_t i = 0; i < lives && cursor.result == TLY_OK; i++) {
        uint64_t origin = tly_get_uint(&cursor);
        *mark = tly_get_uint(&cursor);
        beyond->newest = tly_get_uint(&cursor);
        beyond->print = tly_get_uint(&cursor);
        if (origin == life) return cursor.result == TLY_OK;
    }
    return false;
}

/* Its rounds bring all of all lives before the mark that goes with its own. */
bool tly_forget_is_heard(const struct tly_engine *e, uint64_t member)
{
    uint8_t key[KEY_BYTES];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, member));
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    return count == 1 && dots[0].version.ts <= tly_ormap_mark(e->map, member);
}

static uint64_t number_of(struct tly_engine *e, uint64_t origin)
{
    uint64_t number = 0;
    struct tly_cursor cursor;
    size_t lives;
    return said_by(e, origin, &number, &cursor, &lives) ? number : 0;
}

/* A node that was given others to join and never met any does not know yet what it may forget. */
static bool is_unmet(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->target_count; i++)
        if (!e->targets[i]->is_self && e->targets[i]->peer == NULL && e->peer_count == 0) return true;
    return false;
}

static uint64_t compute_f(struct tly_engine *e)
{
    if (is_unmet(e)) return 0;
    uint64_t least = number_of(e, tly_ormap_origin(e->map));
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_forget_counts(e->peers[i])) lower(&least, number_of(e, e->peers[i]->member_origin));
    return least;
}

/* ---- publishing ---- */

static uint64_t mix(uint64_t sum, uint64_t number)
{
    sum = (sum ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    return sum ^ sum >> 29;
}

/* Appends what is here of the ended lives; a number that changes when any of it does. */
static uint64_t put_closed(struct tly_engine *e, struct tly_buf *out, size_t *count)
{
    uint64_t print = 0;
    *count = 0;
    for (size_t i = 0; i < tly_ormap_lives(e->map) && *count < SAID_MAX; i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.origin == 0 || life.state != TLY_LIFE_CLOSED) continue;
        struct tly_beyond beyond = tly_ormap_beyond(e->map, life.origin, life.mark);
        tly_put_uint(out, life.origin);
        tly_put_uint(out, life.mark);
        tly_put_uint(out, beyond.newest);
        tly_put_uint(out, beyond.print);
        print = mix(mix(mix(print, life.origin), life.mark), beyond.print);
        ++*count;
    }
    return print;
}

static void publish(struct tly_engine *e, uint64_t number, struct tly_slice closed, size_t count)
{
    /* F waits for members, so whoever says a number is one. */
    struct tly_slice name = tly_slice_text(e->name);
    uint64_t own = tly_ormap_origin(e->map);
    if (tly_member_origin(e, name) != own &&
        tly_member_put(e, name, own, tly_slice_text(e->address), MEMBER_ALIVE) != TLY_OK)
        return;
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 4 * count + 1);
    tly_put_uint(&e->frame, number);
    tly_buf_put(&e->frame, closed.p, closed.n);
    if (e->frame.result != TLY_OK) return;
    uint8_t key[KEY_BYTES];
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    if (!has_said(e)) e->forget.drop_at = e->now.mono_ns + HEARD_NS;
    if (tly_ormap_put(e->map, key_of(key, own), &dot) != TLY_OK) return;
    e->forget.number = number;
    tly_flush_soon(e, true);
}

void tly_forget_drop_number(struct tly_engine *e, uint64_t origin)
{
    uint8_t key[KEY_BYTES];
    enum tly_result result = tly_ormap_remove(e->map, key_of(key, origin));
    if (result == TLY_OK) tly_flush_soon(e, true);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The newest ts that waits for F to reach it; 0: nothing waits. */
static uint64_t wanted(const struct tly_engine *e)
{
    /* What a counter's skew has yet to pass for is not asked for before. */
    uint64_t ended = e->forget.ended_newest <= e->now.wall_ns ? e->forget.ended_newest : 0;
    return max_u64(tly_ormap_newest_remove(e->map), max_u64(e->forget.words, ended));
}

/*
 * A number is worth saying when it lets something go that the last one did not. And whoever has said nothing since something came to wait
 * must say something: its own mark would else stay below it everywhere. So must whoever has said nothing in this life while others wait: what
 * they have yet to forget may be gone here.
 */
static void publish_if_worth(struct tly_engine *e)
{
    size_t count;
    tly_buf_clear(&e->body);
    uint64_t print = put_closed(e, &e->body, &count), number = tly_forget_number(e), want = wanted(e);
    bool lets_go = e->forget.number < want && number >= want;
    bool is_behind = want > tly_ormap_mark(e->map, tly_ormap_origin(e->map));
    bool is_mute = e->forget.asked && !has_said(e);
    if (e->body.result == TLY_OK && (lets_go || is_behind || is_mute || print != e->forget.told_print)) {
        e->forget.told_print = print;
        publish(e, number, tly_buf_slice(&e->body), count);
    }
    e->forget.asked = is_mute && !has_said(e);
    tly_buf_clear(&e->body);
}

/* Until others have the number of this life they go by that of the one before. It may be long, and many lives may wait to be settled. */
static void drop_former(struct tly_engine *e)
{
    if (e->forget.drop_at == 0 || e->now.mono_ns < e->forget.drop_at) return;
    e->forget.drop_at = 0;
    tly_lives_drop_our_numbers(e);
}

/* ---- F ---- */

/* F as it was at least so long ago. */
static void age(struct aged *aged, const struct tly_engine *e, uint64_t ns)
{
    if (e->now.mono_ns - aged->next_at < ns) return;
    aged->f = aged->next;
    aged->next = e->forget.f;
    aged->next_at = e->now.mono_ns;
}

/* REMOVEs go once F has been known for the grace. */
static void ripen(struct tly_engine *e)
{
    struct forgetting *f = &e->forget;
    f->f = max_u64(f->f, compute_f(e));
    /* Well before any node sweeps by the same F. */
    age(&f->heard, e, f->grace_ns / 3 < TLY_F_HEARD_NS ? f->grace_ns / 3 : TLY_F_HEARD_NS);
    age(&f->ripe, e, f->grace_ns);
}

/*
 * All had everything of a life that is settled, but one of them may have begun anew on a disk from before that. Who has the word that settled it has
 * all of it.
 */
static uint64_t surely_has(struct tly_engine *e, const struct conn *conn)
{
    uint64_t least = tly_follower_surely_has(&conn->follower, conn->peer->origin);
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.state != TLY_LIFE_SETTLED) continue;
        uint64_t has = tly_follower_word(&conn->follower, life.origin);
        struct tly_version word;
        if (has >= life.last || has >= least) continue;
        bool is_whole =
            tly_lives_settled_by(e, life.origin, &word) && tly_lives_is_acknowledged(e, conn, word);
        if (!is_whole) least = has;
    }
    return least;
}

/*
 * A member may have said its number before it knew of some life, so F alone does not say that all have what that life removed before. Who
 * meets this node again is told so by the floors; who is linked with it now would take a mark over what has gone.
 */
static uint64_t had_by_all(struct tly_engine *e, uint64_t f)
{
    uint64_t least = f;
    for (size_t i = 0; i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        if (conn->state == CONN_UP && !conn->below) lower(&least, surely_has(e, conn));
    }
    return least;
}

/* ---- members that are gone ---- */

static enum tly_result forget_member(struct tly_engine *e, struct tly_slice name)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        if (!tly_forget_counts(peer) || !tly_slice_equal(tly_slice_text(peer->name), name)) continue;
        uint64_t origin = peer->member_origin;
        enum tly_result result = tly_member_put(e, tly_slice_text(peer->name), origin,
                                                tly_slice_text(peer->address), MEMBER_FORGOTTEN);
        if (result == TLY_OK) result = tly_lives_close(e, origin, tly_slice_text(peer->name));
        if (result != TLY_OK) return result;
        e->stats.members_forgotten++;
        tly_fx_trace(e, TLY_TRACE_MEMBER_FORGOTTEN, peer->name, tly_slice_of(NULL, 0));
        return TLY_OK;
    }
    return TLY_NOT_FOUND;
}

enum tly_result tly_forget_ask(struct tly_engine *e, struct tly_slice name)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        if (!tly_forget_counts(peer) || !tly_slice_equal(tly_slice_text(peer->name), name)) continue;
        peer->is_given_up = e->forget.is_wanted = true;
        e->forget.step_at = 0;
        return TLY_OK;
    }
    return TLY_NOT_FOUND;
}

/* A request has no effects of its own, so what was wished since the last step is fulfilled by this one. */
static void forget_as_asked(struct tly_engine *e)
{
    bool is_wanted = e->forget.is_wanted;
    e->forget.is_wanted = false;
    for (size_t i = 0; is_wanted && i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        if (!peer->is_given_up) continue;
        peer->is_given_up = forget_member(e, tly_slice_text(peer->name)) == TLY_NOMEM;
        e->forget.is_wanted = e->forget.is_wanted || peer->is_given_up;
    }
}

/*
 * Of whom anything was heard: its mark moves or it is linked, or, in a ring, those who are linked to it have nothing to say against it. Its mark
 * alone stands still for as long as it has nothing to say.
 */
static void note_who_is_heard_of(struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        uint64_t mark = tly_ormap_mark(e->map, peer->member_origin);
        bool is_heard_of = peer->conn != NULL || mark != peer->moved_mark || tly_member_is_reachable(e, peer);
        if (!is_heard_of && tly_forget_counts(peer) && peer->heard_of_at != 0) continue;
        peer->moved_mark = mark;
        peer->heard_of_at = e->now.mono_ns;
    }
}

/* A member that neither we nor anybody we hear of has heard for forget_after, when something waits for it. */
static void forget_who_is_gone(struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_forget_counts(peer) || e->now.mono_ns - peer->heard_of_at < e->forget.forget_after_ns)
            continue;
        (void)forget_member(e,
                            tly_slice_text(peer->name)); /* again at the next step if there was no memory */
    }
}

/* ---- time ---- */

uint64_t tly_forget_now_ms(const struct tly_engine *e)
{
    if (!tly_cluster_time_is_set(&e->time, e->now.mono_ns)) return 0;
    return tly_cluster_time_over(&e->time, e->now.mono_ns) / NS_PER_MS;
}

/*
 * The log has all that a counter was when it ended. Read again it must not come back beside what was counted in the key since, from nothing: so the log is
 * told, in a part of REMOVEs that have the versions of PUTs. No node says such a thing to another.
 */
void tly_forget_tell_log(struct tly_engine *e)
{
    const struct tly_mark_list none = {0};
    struct tly_round_writer *gone = &e->forget.gone;
    if (gone->row_count > 0) {
        tly_buf_clear(&e->body);
        tly_round_writer_finish(gone, 0, none, none, &e->body);
        if (e->body.result == TLY_OK) tly_flush_append(e);
        tly_buf_clear(&e->body);
    }
    tly_round_writer_clear(gone);
}

bool tly_forget_note(struct tly_round_writer *gone, struct tly_slice key, const struct tly_strategy *strategy,
                     struct tly_version newest)
{
    struct tly_dot remove = {.version = newest, .op = TLY_REMOVE};
    return tly_round_writer_add(gone, key, strategy, &remove);
}

static void note_gone(void *context, struct tly_slice key, struct tly_version newest)
{
    struct tly_engine *e = context;
    if (tly_forget_note(&e->forget.gone, key, tly_epoch_sum(), newest)) return;
    tly_forget_tell_log(e);
    (void)tly_forget_note(&e->forget.gone, key, tly_epoch_sum(), newest);
}

/* In a part of the log, beside what waits for it. */
static bool has_room_to_note(const struct tly_engine *e)
{
    const struct tly_round_writer *gone = &e->forget.gone;
    return tly_round_writer_bytes(gone) <= TLY_ROUND_ROWS_BYTES_MAX / 2 &&
           gone->life_count < TLY_ROUND_LIVES_MAX;
}

bool tly_forget_replay(struct tly_engine *e, const struct tly_round *round)
{
    if (round->flags != 0 || round->row_count == 0) return false;
    struct tly_rows rows = tly_rows_of(round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (row.dot.op != TLY_REMOVE || !tly_ormap_has_put(e->map, row.key, row.dot.version)) return false;
    rows = tly_rows_of(round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        tly_ormap_drop_gone(e->map, row.key, row.dot.version);
    return true;
}

static struct tly_ended ended_up_to(struct tly_engine *e, uint64_t upto)
{
    return (struct tly_ended){
        .upto = upto,
        .now_ms = tly_forget_now_ms(e),
        .skew_ns = tly_ormap_clock(e->map)->max_skew_ns,
        .is_counter = tly_limit_is_counter,
        .has_gone = e->has_store ? note_gone : NULL,
        .context = e,
    };
}

/*
 * Sweeps of nodes are up to a grace apart, and who has dropped a counter begins it anew in the generation that all absent keys have. Where it comes
 * to one that has ended, or a count of this node does, that one goes first, as far as F alone allows. A request has no effects, nor has an upload:
 * what they let go the log is told in the next step, so that is no more than one part takes.
 */
static void touch(struct tly_engine *e, struct tly_slice key, uint64_t upto)
{
    const struct forgetting *f = &e->forget;
    if (f->ended_newest == 0 && f->ended_waiting == 0) return;
    if (!tly_limit_is_counter(key) || tly_forget_is_held(e) || !has_room_to_note(e)) return;
    struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL || tly_entry_is_unsealed(entry)) return;
    struct tly_ended ended = ended_up_to(e, upto);
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    if (ended.now_ms == 0 || !tly_dots_may_go(key, tly_entry_strategy(entry), dots, count, &ended)) return;
    for (size_t i = 0; e->has_store && i < count; i++)
        if (tly_follower_handed(&e->disk, dots[i].version.origin) < dots[i].version.ts) return;
    ended.upto = had_by_all(e, upto);
    e->stats.dots_ended += tly_ormap_end(e->map, entry, &ended);
}

/* Where it is joined what ended goes too, so all must have heard of F by then. */
void tly_forget_touch(struct tly_engine *e, struct tly_slice key)
{
    touch(e, key, e->forget.heard.f);
}

void tly_forget_touch_joined(struct tly_engine *e, struct tly_slice key)
{
    touch(e, key, e->forget.f);
}

void tly_forget_make_room(struct tly_engine *e)
{
    if (!has_room_to_note(e)) tly_forget_tell_log(e);
}

/* What a follower of the feed lets go too: what the least of the steps of a whole pass went by. */
static void note_pass(struct forgetting *f, const struct tly_ended *ended, bool first)
{
    struct tly_feed_swept *pass = &f->pass;
    if (first) *pass = (struct tly_feed_swept){ended->upto, ended->now_ms, ended->skew_ns};
    lower(&pass->upto, ended->upto);
    lower(&pass->now_ms, ended->now_ms);
    if (f->ended_cursor == 0) f->swept = *pass;
}

static void sweep_ended(struct tly_engine *e)
{
    struct forgetting *f = &e->forget;
    struct tly_ended ended = ended_up_to(e, had_by_all(e, e->forget.ripe.f));
    if (ended.now_ms == 0) return;
    bool first = f->ended_cursor == 0;
    struct tly_swept swept = tly_ormap_sweep_ended(e->map, &f->ended_cursor, TLY_FORGET_RECORDS, &ended);
    tly_forget_tell_log(e);
    e->stats.dots_ended += swept.dropped;
    if (first) f->ended_waiting = 0;
    f->ended_waiting = max_u64(f->ended_waiting, swept.newest_waiting);
    note_pass(f, &ended, first);
    /* It is made known at the end of a pass. */
    if (f->ended_cursor == 0) f->ended_newest = f->ended_waiting;
}

static bool has_work(const struct tly_engine *e)
{
    const struct forgetting *f = &e->forget;
    return tly_ormap_removes(e->map) > 0 || f->closed_count > 0 || f->ended_newest != 0 || f->resync ||
           f->asked || f->is_wanted;
}

static void begin_anew_if_closed(struct tly_engine *e)
{
    if (!tly_lives_is_closed(e, tly_ormap_origin(e->map))) return;
    if (tly_life_another(e, "this life was announced closed by others", false) != TLY_OK) return;
    for (size_t i = e->conn_count; i-- > 0;)
        tly_conn_end(e, e->conns[i], "resync", "the node has begun a new life");
}

bool tly_forget_is_held(const struct tly_engine *e)
{
    return tly_image_holds(e) || tly_snap_holds(e) || e->dump.active;
}

void tly_forget_tick(struct tly_engine *e)
{
    struct forgetting *f = &e->forget;
    if (e->now.mono_ns < f->step_at || e->leaving) return;
    f->step_at = e->now.mono_ns + TLY_FORGET_EVERY_NS;
    if (e->life.kept != 0) { /* all else not before it is known which life speaks */
        if (has_work(e) && tly_flush_seal(e) == TLY_OK) tly_lives_settle(e);
        return;
    }
    begin_anew_if_closed(e);
    note_who_is_heard_of(e);
    if (tly_flush_seal(e) != TLY_OK) return;
    /* What goes unheard by the own disk leaves there what it had replaced, under marks that say otherwise. */
    bool may_go = !tly_forget_is_held(e) && tly_flush_to_disk(e);
    if (may_go) sweep_ended(e);
    if (!has_work(e)) return;
    ripen(e);
    tly_lives_step(e);
    forget_as_asked(e);
    publish_if_worth(e);
    drop_former(e);
    forget_who_is_gone(e);
    if (f->resync) tly_snap_resync(e);
    if (!may_go) return;
    struct tly_forgotten forgotten =
        tly_ormap_forget(e->map, had_by_all(e, e->forget.ripe.f), TLY_FORGET_RECORDS);
    e->stats.removes_forgotten += forgotten.dropped;
    if (!forgotten.done) f->step_at = e->now.mono_ns + TLY_FORGET_EVERY_NS / 10;
}

uint64_t tly_forget_deadline(const struct tly_engine *e)
{
    return has_work(e) && !e->leaving ? e->forget.step_at : TLY_NEVER; /* as in tly_forget_tick */
}

void tly_engine_forgetting(const struct tly_engine *e, struct tly_forget_view *view)
{
    *view = (struct tly_forget_view){
        .number = e->forget.number,
        .f = e->forget.f,
        .forgotten = tly_ormap_bounds(e->map).forgotten,
        .removes = tly_ormap_removes(e->map),
        .closed = e->forget.closed_count,
    };
}

size_t tly_engine_lives(const struct tly_engine *e)
{
    return tly_ormap_lives(e->map);
}

struct tly_life tly_engine_life(const struct tly_engine *e, size_t i)
{
    return tly_ormap_life_kept(e->map, i);
}
