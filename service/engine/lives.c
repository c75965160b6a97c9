/*
 * The ends of lives.  A life that ended is announced: sys:closed:ORIGIN -> [state, node, mark, print].  One that is not announced itself, and
 * may end unannounced, says there first of all whose it is.  Once every member has said the
 * same of it (sys:stable:, forget.c), one of them writes that it is settled; once all have that word it is retired, and dropped
 * when none of its dots is left.  What is in memory follows from these dots, so a restart need not remember anything.
 */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"
#include "wire/pack.h"

#include <assert.h>

#define PREFIX "sys:closed:"
#define PREFIX_BYTES 11
#define KEY_BYTES (PREFIX_BYTES + 20)
#define CARRIED "sys:carried:"
#define CARRIED_BYTES (sizeof CARRIED - 1 + 20)
#define OMITTED "sys:omitted:"
#define OMITTED_BYTES (sizeof OMITTED - 1 + 20)
#define NEW_LIFE_EVERY_NS (60 * NS_PER_S)
/* Who does not have the lowest name leaves the word to that one for so long. */
#define WORD_PATIENCE_NS (10 * NS_PER_S)
/* Each address is dialled within the half of it. */
#define MEET_NS (60 * NS_PER_S)
/* A life that nobody has is closed so long after its newest dot. */
#define STRAY_NS (60 * NS_PER_S)

enum { WORD_CLOSED = 1, WORD_SETTLED = 2, WORD_LIVED = 3 };
#define WORD_BYTES_MAX (TLY_NAME_BYTES_MAX + 64)

struct word {
    uint64_t state, mark, print;
    struct tly_slice node;
    struct tly_version version;
};

/* ---- the dots ---- */

static void put_decimal(uint8_t *out, uint64_t number)
{
    for (size_t i = 20; i-- > 0; number /= 10)
        out[i] = (uint8_t)('0' + number % 10);
}

static struct tly_slice key_of(uint8_t key[KEY_BYTES], uint64_t origin)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    put_decimal(key + PREFIX_BYTES, origin);
    return tly_slice_of(key, KEY_BYTES);
}

static uint64_t origin_of(struct tly_slice key)
{
    uint64_t origin = 0;
    if (key.n != KEY_BYTES) return 0;
    for (size_t i = PREFIX_BYTES; i < KEY_BYTES; i++) {
        unsigned digit = key.p[i] - (unsigned)'0';
        if (digit > 9 || origin > (UINT64_MAX - digit) / 10) return 0;
        origin = origin * 10 + digit;
    }
    return origin;
}

static bool word_read(struct tly_engine *e, uint64_t origin, struct word *word)
{
    uint8_t key[KEY_BYTES];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, origin));
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    if (count != 1 || dots[0].op != TLY_PUT) return false;
    struct tly_cursor cursor = tly_cursor_of(dots[0].bytes);
    if (tly_get_array(&cursor, 16) < 4) return false;
    word->version = dots[0].version;
    word->state = tly_get_uint(&cursor);
    word->node = tly_get_bytes(&cursor, TLY_NAME_BYTES_MAX);
    word->mark = tly_get_uint(&cursor);
    word->print = tly_get_uint(&cursor);
    return cursor.result == TLY_OK && word->state >= WORD_CLOSED && word->state <= WORD_LIVED;
}

/* The word of its end. */
static bool word_get(struct tly_engine *e, uint64_t origin, struct word *word)
{
    return word_read(e, origin, word) && word->state != WORD_LIVED;
}

static enum tly_result word_put(struct tly_engine *e, uint64_t origin, const struct word *word)
{
    char name[TLY_NAME_BYTES_MAX];
    size_t n = word->node.n <= sizeof name ? word->node.n : 0;
    if (n > 0) memcpy(name, word->node.p, n); /* it may lie in the dot that goes */
    /* Whoever seals may be reading from the node's own buffers. */
    struct tly_buf bytes;
    tly_buf_init(&bytes, &e->mem, WORD_BYTES_MAX);
    tly_put_array(&bytes, 4);
    tly_put_uint(&bytes, word->state);
    tly_put_text(&bytes, tly_slice_of(name, n));
    tly_put_uint(&bytes, word->mark);
    tly_put_uint(&bytes, word->print);
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&bytes)};
    /* The last word has a deadline that is past at once: it goes when everybody has it, as what has ended does. */
    if (word->state == WORD_SETTLED) dot.num[0] = e->now.wall_ns / NS_PER_MS;
    uint8_t key[KEY_BYTES];
    enum tly_result result = bytes.result;
    if (result == TLY_OK) result = tly_ormap_put(e->map, key_of(key, origin), &dot);
    tly_buf_fini(&bytes);
    if (result == TLY_OK) tly_flush_soon(e, true);
    return result;
}

/* ---- what is known of them ---- */

static struct closed_life *closed_find(const struct tly_engine *e, uint64_t origin)
{
    for (size_t i = 0; i < e->forget.closed_count; i++)
        if (e->forget.closed[i].origin == origin) return &e->forget.closed[i];
    return NULL;
}

static struct tly_life life_of(const struct tly_engine *e, uint64_t origin)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life_kept(e->map, i);
        if (life.origin == origin) return life;
    }
    return (struct tly_life){0};
}

bool tly_lives_is_closed(const struct tly_engine *e, uint64_t origin)
{
    return closed_find(e, origin) != NULL || life_of(e, origin).state != TLY_LIFE_OPEN;
}

static void trace_life(struct tly_engine *e, enum tly_trace_kind kind, uint64_t origin, struct tly_slice node)
{
    char name[TLY_NAME_BYTES_MAX + 1] = "";
    uint8_t digits[20];
    if (node.n < sizeof name && node.n > 0) memcpy(name, node.p, node.n);
    put_decimal(digits, origin);
    tly_fx_trace(e, kind, name, tly_slice_of(digits, sizeof digits));
}

/* Nobody takes anything from it any more. What brought the news may be under way on one of them, so they end with the step. */
static void end_its_connections(struct tly_engine *e, uint64_t origin)
{
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        bool ends = conn->peer != NULL && conn->peer->origin == origin && !conn->below;
        conn->life_ended = conn->life_ended || ends;
        e->lives_ended = e->lives_ended || ends;
    }
}

void tly_lives_end_connections(struct tly_engine *e)
{
    if (!e->lives_ended) return;
    e->lives_ended = false;
    for (size_t i = e->conn_count; i-- > 0;)
        if (e->conns[i]->life_ended) tly_conn_end(e, e->conns[i], "closed", "its life was announced closed");
}

static void remember(struct tly_engine *e, uint64_t origin, struct tly_slice node)
{
    struct forgetting *f = &e->forget;
    void *closed =
        tly_mem_reserve(&e->mem, f->closed, &f->closed_capacity, f->closed_count + 1, sizeof *f->closed);
    if (closed == NULL ||
        (origin != tly_ormap_origin(e->map) && tly_ormap_close_life(e->map, origin) != TLY_OK)) {
        e->arena.result = TLY_NOMEM;
        if (closed != NULL) f->closed = closed;
        return;
    }
    f->closed = closed;
    f->closed[f->closed_count++] =
        (struct closed_life){.origin = origin, .agreed_at = TLY_NEVER, .differs_at = TLY_NEVER};
    f->step_at = e->now.mono_ns;
    trace_life(e, TLY_TRACE_LIFE_CLOSED, origin, node);
    end_its_connections(e, origin);
}

bool tly_is_closed_key(struct tly_slice key)
{
    return key.n == KEY_BYTES && tly_slice_begins(key, tly_slice_text(PREFIX));
}

void tly_lives_learn(struct tly_engine *e, struct tly_slice key)
{
    uint64_t origin = origin_of(key);
    struct word word;
    if (origin == 0 || !word_get(e, origin, &word)) return;
    if (closed_find(e, origin) == NULL) remember(e, origin, word.node);
    struct closed_life *closed = closed_find(e, origin);
    if (closed != NULL && tly_slice_equal(word.node, tly_slice_text(e->name))) closed->was_ours = true;
    /* Until it is settled here, too, this node takes what all others refuse. */
    if (word.state == WORD_SETTLED && life_of(e, origin).state == TLY_LIFE_CLOSED)
        e->forget.step_at = e->now.mono_ns;
}

/* Lives that a snapshot said have ended, though it did not bring the word. */
static void remember_ended(struct tly_engine *e)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        bool ended = life.state == TLY_LIFE_CLOSED || life.state == TLY_LIFE_SETTLED;
        if (ended && closed_find(e, life.origin) == NULL) remember(e, life.origin, tly_slice_of(NULL, 0));
    }
}

/* Whether a node of another name has it: a disk was copied, or a node was renamed. This one may, while its own is in question. */
static bool is_lived(const struct tly_engine *e, uint64_t origin, struct tly_slice name)
{
    if (origin == tly_ormap_origin(e->map) || origin == tly_life_spoken(e)) return true;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        bool has = (peer->conn != NULL && peer->origin == origin) ||
                   (tly_forget_counts(peer) && peer->member_origin == origin);
        if (has && !tly_slice_equal(tly_slice_text(peer->name), name)) return true;
    }
    return false;
}

enum tly_result tly_lives_close(struct tly_engine *e, uint64_t origin, struct tly_slice name)
{
    struct word word = {.state = WORD_CLOSED, .node = name};
    if (origin == 0 || closed_find(e, origin) != NULL || is_lived(e, origin, name)) return TLY_OK;
    if (tly_ormap_mark(e->map, origin) == UINT64_MAX) return TLY_OK; /* settled, and its word is gone */
    enum tly_result result = word_put(e, origin, &word);
    uint8_t key[KEY_BYTES];
    if (result == TLY_OK) tly_lives_learn(e, key_of(key, origin));
    return result;
}

/*
 * Whether something stands beyond the mark at which its life was settled, which the others refuse: the source of a snapshot may not have known yet
 * that it is settled, and this node may have ended before it asked another one.
 */
static bool has_beyond(struct tly_engine *e)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life_kept(e->map, i);
        if (life.state < TLY_LIFE_SETTLED) continue;
        if (tly_ormap_beyond(e->map, life.origin, life.mark).print != 0) return true;
    }
    return false;
}

void tly_lives_learn_all(struct tly_engine *e)
{
    e->forget.resync = has_beyond(e);
    e->hold_count = 0; /* those that are open are all learned again */
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;) {
        struct tly_slice key = tly_entry_key(entry);
        if (tly_is_closed_key(key)) tly_lives_learn(e, key);
        tly_forget_learn(e, key);
        tly_hold_learn(e, key);
    }
    remember_ended(e);
}

void tly_lives_say_whose(struct tly_engine *e)
{
    uint64_t own = tly_ormap_origin(e->map);
    struct word word, lived = {.state = WORD_LIVED, .node = tly_slice_text(e->name)};
    if (e->life.kept == 0 || word_read(e, own, &word)) return;
    bool has_made = tly_ormap_is_unsealed(e->map) || tly_ormap_mark(e->map, own) != 0;
    if (has_made) (void)word_put(e, own, &lived); /* again at the next flush if there was no memory */
}

enum tly_result tly_lives_close_unannounced(struct tly_engine *e)
{
    enum tly_result result = TLY_OK;
    struct tly_slice name = tly_slice_text(e->name);
    for (size_t i = tly_ormap_lives(e->map); result == TLY_OK && i-- > 0;) {
        uint64_t origin = tly_ormap_life(e->map, i).origin;
        struct word word;
        bool was_ours = origin != 0 && word_read(e, origin, &word) && word.state == WORD_LIVED &&
                        tly_slice_equal(word.node, name);
        if (was_ours) result = tly_lives_close(e, origin, name);
    }
    return result;
}

enum tly_result tly_lives_start(struct tly_engine *e)
{
    tly_lives_learn_all(e);
    struct tly_slice name = tly_slice_text(e->name);
    uint64_t before = tly_member_origin(e, name);
    return before != tly_ormap_origin(e->map) ? tly_lives_close(e, before, name) : TLY_OK;
}

enum tly_result tly_lives_left(struct tly_engine *e, uint64_t old, bool has_ended)
{
    e->forget.number = e->forget.told_print = 0;
    enum tly_result result = closed_find(e, old) != NULL ? tly_ormap_close_life(e->map, old) : TLY_OK;
    return result == TLY_OK && has_ended ? tly_lives_close(e, old, tly_slice_text(e->name)) : result;
}

bool tly_lives_was_ours(struct tly_engine *e, uint64_t origin)
{
    struct word word;
    return word_get(e, origin, &word) && tly_slice_equal(word.node, tly_slice_text(e->name));
}

/* Whether what this node counted in it alone is here yet: the next snapshot takes it away, and it is carried over while the word says whose it was. */
static bool waits(struct tly_engine *e, const struct closed_life *closed, const struct tly_life *life)
{
    return closed->was_ours && life->state >= TLY_LIFE_SETTLED &&
           tly_ormap_beyond(e->map, life->origin, life->mark).print != 0;
}

bool tly_lives_former_are_settled(struct tly_engine *e)
{
    for (size_t i = 0; i < e->forget.closed_count; i++) {
        uint64_t origin = e->forget.closed[i].origin;
        bool is_settled = tly_ormap_mark(e->map, origin) == UINT64_MAX;
        if (!is_settled && tly_lives_was_ours(e, origin)) return false;
    }
    return true;
}

void tly_lives_drop_our_numbers(struct tly_engine *e)
{
    for (size_t i = 0; i < e->forget.closed_count; i++) {
        uint64_t origin = e->forget.closed[i].origin;
        if (tly_lives_was_ours(e, origin)) tly_forget_drop_number(e, origin);
    }
}

static struct tly_slice omitted_key(uint8_t key[OMITTED_BYTES], uint64_t origin)
{
    memcpy(key, OMITTED, sizeof OMITTED - 1);
    put_decimal(key + sizeof OMITTED - 1, origin);
    return tly_slice_of(key, OMITTED_BYTES);
}

static uint64_t whole_of(const struct tly_dot *dot)
{
    if (dot->op != TLY_PUT) return UINT64_MAX;
    struct tly_cursor cursor = tly_cursor_of(dot->bytes);
    uint64_t whole = tly_get_uint(&cursor);
    return cursor.result == TLY_OK ? whole : UINT64_MAX;
}

static uint64_t whole_up_to(struct tly_install *install, uint64_t origin)
{
    uint8_t key[OMITTED_BYTES];
    struct tly_dot dot;
    return tly_install_dot(install, omitted_key(key, origin), &dot) ? whole_of(&dot) : UINT64_MAX;
}

/* Under sys:carried:ORIGIN stands that what this life had counted alone was carried over. */
static enum tly_result name_former(struct tly_install *install, uint64_t origin)
{
    uint8_t key[CARRIED_BYTES];
    static_assert(CARRIED_BYTES <= TLY_NOTED_BYTES_MAX, "the key has room");
    memcpy(key, CARRIED, sizeof CARRIED - 1);
    put_decimal(key + sizeof CARRIED - 1, origin);
    return tly_install_former(install, origin, tly_slice_of(key, sizeof key), whole_up_to(install, origin));
}

/* In windows to come it counted by a wrong clock; who has counted there counts in none before. */
static bool is_left_out(void *context, struct tly_slice key, const struct tly_dot *own)
{
    const struct tly_engine *e = context;
    return tly_tenure_is_left_out(context, key) || tly_sum_is_ahead(own, e->cluster_ns / NS_PER_MS);
}

enum tly_result tly_lives_former(struct tly_engine *e, struct tly_install *install)
{
    enum tly_result result = TLY_OK;
    tly_install_leave_out(install, is_left_out, e);
    /* One that is in question is ended by what is installed, and what it counted alone is nowhere else. */
    if (e->life.kept != 0) result = name_former(install, e->life.kept);
    /* Of some the word that says so is to be said again at the next step only. */
    for (size_t i = 0; result == TLY_OK && i < e->forget.closed_count; i++) {
        const struct closed_life *closed = &e->forget.closed[i];
        if (closed->was_ours) result = name_former(install, closed->origin);
    }
    return result;
}

bool tly_lives_may_be_carried(const struct tly_engine *e, uint64_t origin)
{
    if (!e->forget.resync && !tly_snap_is_asking(e)) return false;
    const struct closed_life *closed = closed_find(e, origin);
    return closed != NULL && closed->was_ours;
}

bool tly_lives_settled_by(struct tly_engine *e, uint64_t origin, struct tly_version *version)
{
    struct word word;
    if (!word_get(e, origin, &word) || word.state != WORD_SETTLED) return false;
    *version = word.version;
    return true;
}

bool tly_lives_is_known(struct tly_engine *e, tly_says *says, const void *who, struct tly_version version)
{
    for (size_t links = 0; links < TLY_ORIGINS_MAX; links++) {
        if (says(who, version.origin) >= version.ts) return true;
        if (!tly_lives_settled_by(e, version.origin, &version)) return false;
    }
    return false;
}

static uint64_t said_by_follower(const void *follower, uint64_t origin)
{
    return tly_follower_word(follower, origin);
}

bool tly_lives_is_acknowledged(struct tly_engine *e, const struct conn *conn, struct tly_version version)
{
    return tly_lives_is_known(e, said_by_follower, &conn->follower, version);
}

/* ---- settling ---- */

static bool has_been_up(const struct tly_engine *e, const struct conn *conn)
{
    /* A round that has been coming in for that long may say it at its end. */
    return conn != NULL && conn->state == CONN_UP && !conn->below && !conn->asked && !conn->round_open &&
           e->now.mono_ns - conn->since >= STRAY_NS;
}

/* Whether this node has long been linked with all that it should be, and would have heard whose a life is. Who knows no member may be new. */
static bool knows_all(const struct tly_engine *e)
{
    size_t linked = 0;
    if (e->coming.install != NULL) return false;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (!tly_forget_counts(peer) || !peer->is_linked) continue;
        if (!has_been_up(e, peer->conn)) return false;
        linked++;
    }
    if (linked == 0) return false;
    for (size_t i = 0; i < e->target_count; i++) {
        const struct target *target = e->targets[i];
        const struct peer *peer = target->peer;
        /* A member that was forgotten is dialled on, and nothing that it may say is waited for. */
        bool is_forgotten = peer != NULL && peer->state == MEMBER_FORGOTTEN;
        bool is_wanted = !target->is_self && !target->retired && !is_forgotten;
        if (is_wanted && (peer == NULL || !tly_forget_counts(peer))) return false;
    }
    return true;
}

/* What all members say of a life that ended, this node too. */
struct said {
    uint64_t newest; /* that any of them has */
    uint64_t prints; /* another number when one says something else */
    bool is_same;    /* all say what is here now */
    bool is_heard;   /* what they had when they said so has come here */
};

/* False: it says nothing of it, or another mark. */
static bool hear(struct tly_engine *e, uint64_t member, uint64_t origin, const struct tly_beyond *own,
                 uint64_t mark, struct said *said)
{
    struct tly_beyond its;
    uint64_t its_mark;
    if (!tly_forget_said(e, member, origin, &its, &its_mark) || its_mark != mark) return false;
    said->is_same = said->is_same && its.newest == own->newest && its.print == own->print;
    said->is_heard = said->is_heard && tly_forget_is_heard(e, member);
    if (said->newest < its.newest) said->newest = its.newest;
    said->prints += its.print;
    return true;
}

/*
 * Whether this node was started just now, knows of others and of no member: the disk may be of before one of them came back from being forgotten, and
 * that one have heard more of the lives that ended.
 */
static bool may_meet_more(const struct tly_engine *e)
{
    bool has_others = false;
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_forget_counts(e->peers[i])) return false;
    for (size_t i = 0; i < e->target_count; i++)
        has_others = has_others || !e->targets[i]->is_self;
    return has_others && e->now.mono_ns - e->set_out_at < MEET_NS;
}

/* Whether every member, this node too, has said that it has the life up to the mark that it has here. */
static bool all_say(struct tly_engine *e, uint64_t origin, const struct tly_beyond *own, uint64_t mark,
                    struct said *said)
{
    *said = (struct said){.is_same = true, .is_heard = true};
    if (may_meet_more(e)) return false;
    if (!hear(e, tly_ormap_origin(e->map), origin, own, mark, said)) return false;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (tly_forget_counts(peer) && !hear(e, peer->member_origin, origin, own, mark, said)) return false;
    }
    return true;
}

static void write_settled(struct tly_engine *e, struct closed_life *closed, const struct tly_beyond *beyond)
{
    struct word word;
    if (!word_get(e, closed->origin, &word)) return;
    word.state = WORD_SETTLED;
    word.mark = beyond->newest;
    word.print = beyond->print;
    (void)word_put(e, closed->origin, &word); /* again at the next step if there was no memory */
}

/*
 * Under sys:omitted:ORIGIN stands up to where all had everything of a life that was settled further on, at what came ahead of the rest, or had room: what
 * lies between the two is not known for gone, and its node carries over what it counted there. A mark may have been raised over some of it before:
 * the least that was said stands.
 */
static enum tly_result note_omitted(struct tly_engine *e, uint64_t origin, uint64_t whole)
{
    uint8_t key[OMITTED_BYTES];
    size_t count = 0;
    const struct tly_entry *entry = tly_ormap_find(e->map, omitted_key(key, origin));
    const struct tly_dot *said = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    if (count == 1 && whole_of(&said[0]) < whole) whole = whole_of(&said[0]);
    tly_buf_clear(&e->frame);
    tly_put_uint(&e->frame, whole);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    enum tly_result result = tly_ormap_put(e->map, omitted_key(key, origin), &dot);
    if (result == TLY_OK) tly_flush_soon(e, true);
    return result;
}

static void settle(struct tly_engine *e, const struct closed_life *closed, const struct word *word)
{
    struct tly_life life = life_of(e, closed->origin);
    bool dropped = life.origin == 0 && word->mark <= tly_ormap_bounds(e->map).lost;
    if (life.state >= TLY_LIFE_SETTLED || dropped) return;
    struct tly_beyond beyond = tly_ormap_beyond(e->map, closed->origin, life.mark);
    bool same = word->print != 0 && beyond.print == word->print && beyond.newest == word->mark;
    /* Without memory all of it is for the next step: nobody says this of a life that is settled. */
    if (same && note_omitted(e, closed->origin, life.mark) != TLY_OK) return;
    if (same && tly_ormap_raise_mark(e->map, closed->origin, word->mark) != TLY_OK) return;
    if (tly_ormap_settle_life(e->map, closed->origin, word->mark) != TLY_OK) return;
    e->stats.lives_settled++;
    trace_life(e, TLY_TRACE_LIFE_SETTLED, closed->origin, word->node);
    /* What stands beyond is refused everywhere else. */
    if (tly_ormap_beyond(e->map, closed->origin, word->mark).print != 0) e->forget.resync = true;
    tly_flush_soon(e, false);
}

/*
 * All have heard what all have of it, and it stays different: a life that was made up spoke of a time before a REMOVE that some have forgotten and
 * others have, or have back from their disk. Nothing makes that the same again, so a mark covers it all; it goes to the others as any mark does.
 * What is held back for a moment, for another link, is not heard with the mark that the word goes by; that is over in a minute.
 */
static void cover_what_differs(struct tly_engine *e, struct closed_life *closed, const struct said *said)
{
    if (closed->differs_at == TLY_NEVER || closed->prints != said->prints)
        closed->differs_at = e->now.mono_ns;
    closed->prints = said->prints;
    uint64_t patience = STRAY_NS + (tly_is_first_in_line(e) ? 0 : WORD_PATIENCE_NS);
    if (e->now.mono_ns - closed->differs_at < patience) return;
    if (!said->is_heard || !knows_all(e)) return;
    if (!tly_clock_admits(tly_ormap_clock(e->map), said->newest)) return;
    /* or at the next step */
    if (note_omitted(e, closed->origin, life_of(e, closed->origin).mark) != TLY_OK) return;
    if (tly_ormap_raise_mark(e->map, closed->origin, said->newest) == TLY_OK) tly_flush_soon(e, false);
}

static void step_closed(struct tly_engine *e, struct closed_life *closed)
{
    struct tly_life life = life_of(e, closed->origin);
    struct tly_beyond beyond = tly_ormap_beyond(e->map, closed->origin, life.mark);
    struct said said;
    bool all = all_say(e, closed->origin, &beyond, life.mark, &said);
    if (!all || !said.is_same) closed->agreed_at = TLY_NEVER;
    if (!all || said.is_same) closed->differs_at = TLY_NEVER;
    if (all && !said.is_same) cover_what_differs(e, closed, &said);
    if (!all || !said.is_same) return;
    if (closed->agreed_at == TLY_NEVER) closed->agreed_at = e->now.mono_ns;
    /* One writes the word, so that it has one version. */
    if (!tly_is_first_in_line(e) && e->now.mono_ns - closed->agreed_at < WORD_PATIENCE_NS) return;
    write_settled(e, closed, &beyond);
    tly_forget_drop_number(e, closed->origin);
}

/* Whether some member still has a life as one that is not settled. */
static bool is_waited_for(struct tly_engine *e, uint64_t origin)
{
    struct tly_beyond beyond;
    uint64_t mark;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (tly_forget_counts(peer) && tly_forget_said(e, peer->member_origin, origin, &beyond, &mark))
            return true;
    }
    return false;
}

/*
 * F goes by what members have said, and one of them may have begun anew on a disk from before that. Who meets this node again is told so by the floor
 * that the word is below from then on; who is linked with it now must have the word, and with it all that it settled.
 */
static bool is_known_to_linked(struct tly_engine *e, struct tly_version word)
{
    for (size_t i = 0; i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP || conn->below) continue;
        if (!tly_lives_is_acknowledged(e, conn, word)) return false;
    }
    return true;
}

/* Whether nobody needs to be told of a life any more that this word has settled. */
static bool is_with_all(struct tly_engine *e, uint64_t origin, struct tly_version word)
{
    return word.ts <= e->forget.f && !is_waited_for(e, origin) && is_known_to_linked(e, word) &&
           tly_flush_to_disk(e); /* the disk is a follower like others */
}

/*
 * A word may be lost, or be said again by somebody who had not heard the later one: an old disk. Who knows better says so. Of a life
 * that was dropped here nothing is left: it is settled at whatever the others have.
 */
static void correct_word(struct tly_engine *e, const struct closed_life *closed)
{
    struct word word = {0};
    bool known = word_get(e, closed->origin, &word);
    struct tly_life life = life_of(e, closed->origin);
    bool ended = life.state >= TLY_LIFE_SETTLED || life.origin == 0;
    bool gone =
        life.origin == 0 || (life.state == TLY_LIFE_RETIRED && tly_ormap_is_spent(e->map, life.origin));
    bool lacks_end = known && word.state == WORD_CLOSED && ended;
    /* It waits there for a mark that it cannot hear of any more. */
    lacks_end |= known && gone && word.mark != 0 && is_waited_for(e, closed->origin);
    bool is_lost = !known && (life.state == TLY_LIFE_CLOSED || life.state == TLY_LIFE_SETTLED);
    bool lacks_name = word.node.n == 0 && waits(e, closed, &life);
    if (!lacks_end && !is_lost && !lacks_name) return;
    if (lacks_name) word.node = tly_slice_text(e->name);
    word.state = life.state == TLY_LIFE_CLOSED ? WORD_CLOSED : WORD_SETTLED;
    word.mark = word.state == WORD_SETTLED && !gone ? life.mark : 0;
    word.print = 0;
    (void)word_put(e, closed->origin, &word); /* again at the next step if there was no memory */
}

/*
 * What stood beyond the mark when the word was written may have been replaced since, even by who wrote it, so that no node has just that any
 * more: then all agree once more on what is left.
 */
static bool is_outdated(struct tly_engine *e, const struct tly_life *life, const struct word *word)
{
    if (word->state != WORD_SETTLED || life->origin == 0 || life->mark >= word->mark) return false;
    struct tly_beyond beyond = tly_ormap_beyond(e->map, life->origin, life->mark);
    return beyond.print != word->print || beyond.newest != word->mark;
}

/* Not the own life, nor the one in question: first it must be known which of them speaks. */
void tly_lives_settle(struct tly_engine *e)
{
    for (size_t i = 0; i < e->forget.closed_count; i++) {
        const struct closed_life *closed = &e->forget.closed[i];
        struct word word;
        if (closed->origin == tly_ormap_origin(e->map) || closed->origin == tly_life_spoken(e)) continue;
        if (word_get(e, closed->origin, &word) && word.state == WORD_SETTLED) settle(e, closed, &word);
    }
}

/* False: nothing of it is left to remember. */
static bool step_life(struct tly_engine *e, struct closed_life *closed)
{
    struct word word;
    correct_word(e, closed);
    bool known = word_get(e, closed->origin, &word);
    struct tly_life life = life_of(e, closed->origin);
    bool is_open = known && (word.state == WORD_CLOSED || is_outdated(e, &life, &word));
    if (is_open && life.state < TLY_LIFE_SETTLED) step_closed(e, closed);
    if (known && word_get(e, closed->origin, &word) && word.state == WORD_SETTLED) {
        settle(e, closed, &word);
        bool may_go = life_of(e, closed->origin).state == TLY_LIFE_SETTLED && !tly_forget_is_held(e);
        if (may_go && is_with_all(e, closed->origin, word.version))
            tly_ormap_retire_life(e->map, closed->origin, word.version);
        life = life_of(e, closed->origin);
        if (life.state == TLY_LIFE_SETTLED && e->forget.words < word.version.ts)
            e->forget.words = word.version.ts;
    }
    life = life_of(e, closed->origin);
    return known || waits(e, closed, &life) || (life.origin != 0 && life.state != TLY_LIFE_RETIRED);
}

/* What all lacked of a life is said for as long as the life is remembered; false: there is no room to take it back. */
static bool forget_omitted(struct tly_engine *e, uint64_t origin)
{
    uint8_t bytes[OMITTED_BYTES];
    size_t count = 0;
    struct tly_slice key = omitted_key(bytes, origin);
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    if (count == 0 || dots[0].op == TLY_REMOVE) return true;
    if (tly_ormap_remove(e->map, key) != TLY_OK) return false;
    tly_flush_soon(e, true);
    return true;
}

/*
 * Records of retired lives are kept for as long as there are few, because only who remembers a life can tell an old dot of it from
 * one of a life that is new here. Of too many the oldest that has no dot goes.
 */
static void drop_oldest(struct tly_engine *e)
{
    uint64_t origin = 0, least = UINT64_MAX;
    size_t known = 0;
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life_kept(e->map, i);
        known += life.origin != 0;
        bool older =
            life.state == TLY_LIFE_RETIRED && life.mark < least && tly_ormap_is_spent(e->map, life.origin);
        if (!older) continue;
        origin = life.origin;
        least = life.mark;
    }
    if (known <= TLY_LIVES_KEPT || origin == 0 || !forget_omitted(e, origin)) return;
    if (!tly_ormap_drop_life(e->map, origin)) return;
    e->stats.lives_dropped++;
    tly_exports_fail(e); /* its number is another's from now on */
}

/* Whether a member speaks as it, or whoever is linked. */
static bool is_somebodys(const struct tly_engine *e, uint64_t origin)
{
    if (origin == tly_ormap_origin(e->map) || origin == tly_life_spoken(e)) return true;
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        if (peer->member_origin == origin || (peer->conn != NULL && peer->origin == origin)) return true;
    }
    return false;
}

/*
 * A life says first of all whose it is, so one of which dots or a mark are here and no member was made up, or came in an archive. Nobody raises
 * its mark any more, which would hold up F for ever. Closed, it is settled at what all have of it.
 */
static void close_strays(struct tly_engine *e)
{
    if (tly_forget_is_held(e) || !knows_all(e)) return;
    uint64_t patience = STRAY_NS + (tly_is_first_in_line(e) ? 0 : WORD_PATIENCE_NS);
    uint64_t now_ns = tly_forget_now_ms(e) * NS_PER_MS;
    for (size_t i = tly_ormap_lives(e->map); i-- > 0 && now_ns > patience;) {
        struct tly_life life = tly_ormap_life(e->map, i);
        uint64_t newest = life.mark > life.last ? life.mark : life.last;
        bool is_old = life.origin != 0 && life.state == TLY_LIFE_OPEN && newest < now_ns - patience;
        if (!is_old || is_somebodys(e, life.origin)) continue;
        /* Its own word may say whose it was. */
        struct word word = {0};
        bool has_name = word_read(e, life.origin, &word) && word.state == WORD_LIVED;
        struct tly_slice name = has_name ? word.node : tly_slice_of(NULL, 0);
        (void)!tly_lives_close(e, life.origin, name); /* or at the next step */
    }
}

void tly_lives_step(struct tly_engine *e)
{
    struct forgetting *f = &e->forget;
    f->words = 0;
    close_strays(e);
    for (size_t i = f->closed_count; i-- > 0;) {
        if (f->closed[i].origin == tly_ormap_origin(e->map)) continue; /* a new one begins when it may */
        if (!step_life(e, &f->closed[i])) f->closed[i] = f->closed[--f->closed_count];
    }
    if (!tly_forget_is_held(e)) drop_oldest(e);
}
