/*
 * Who had not given this node up, and when.  What a life held that was forgotten is taken over once all members have said that it ended; so it may
 * count as long as enough of them show that they had not said so a short while ago.  A silence proves nothing, nor do bytes that came late,
 * or what somebody says of a third. What proves is an answer: it was made after the question, and its moment is read from the own clock alone.
 *
 * Who is linked answers a ping, and ends the connection when it learns that the other's life has ended.  Who is not says what it was asked by
 * one lww key, sys:proof:NAME -> [asked, life, asked, …]: the question that NAME puts, a number that it never used before; and of each member
 * whose life has not ended there, the last question that came from it.  Nobody asks as long as pings do, and nobody writes unasked.
 */
#include "service/engine/impl.h"

#include "wire/pack.h"

#define PREFIX "sys:proof:"
#define PREFIX_BYTES 10
#define LIVES_MAX 256
#define AGAIN_NS NS_PER_S

static struct tly_slice key_of(uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX], struct tly_slice name)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, name.p, name.n);
    return tly_slice_of(key, PREFIX_BYTES + name.n);
}

static void prove(struct peer *peer, uint64_t life, uint64_t at)
{
    if (peer->proven_life == life && peer->proven_at >= at) return;
    peer->proven_life = life;
    peer->proven_at = at;
}

uint64_t tly_proof_of(const struct peer *peer, uint64_t life)
{
    return peer->proven_life == life ? peer->proven_at : 0;
}

/* ---- who is linked ---- */

/* Who brings this node up, or says that it must be, keeps the connection whatever it learns of its life. */
static bool is_witness(const struct conn *conn)
{
    return conn->state == CONN_UP && !conn->asked && !conn->is_cold;
}

/* Who holds back for want of proof is to see at once that there is some. */
static void look_soon(struct tly_engine *e)
{
    if (e->now.mono_ns >= e->escrow.fit_until) e->escrow.step_at = e->now.mono_ns;
}

void tly_proof_met(struct tly_engine *e, struct conn *conn)
{
    if (e->escrow.is_used) tly_conn_ping(e, conn);
}

void tly_proof_ponged(struct tly_engine *e, const struct conn *conn, uint64_t pinged_at)
{
    if (!is_witness(conn)) return;
    prove(conn->peer, conn->peer->origin, pinged_at);
    look_soon(e);
}

/* Beside the pings that keep a connection, which come often enough but at first. */
static void ping(struct tly_engine *e)
{
    uint64_t now = e->now.mono_ns, fresh = e->forget.forget_after_ns / 16;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (!is_witness(conn) || now - conn->last_ping < AGAIN_NS) continue;
        uint64_t proven_at = tly_proof_of(conn->peer, conn->peer->origin);
        if (proven_at == 0 || now - proven_at > fresh) tly_conn_ping(e, conn);
    }
}

/* ---- who is not ---- */

/* Whether it is said of this member what it has asked: not once this node may have agreed that its life has ended. */
static bool is_answered(const struct tly_engine *e, const struct peer *peer)
{
    return tly_member_counts(peer) && peer->asks != 0 && !tly_lives_is_closed(e, peer->member_origin);
}

static void read_word(struct tly_engine *e, struct peer *peer)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, tly_slice_text(peer->name)));
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(e->map, entry, &count) : NULL;
    peer->asks = 0;
    if (count != 1 || dots[0].op != TLY_PUT || dots[0].version.origin != peer->member_origin) return;
    struct tly_cursor cursor = tly_cursor_of(dots[0].bytes);
    size_t elements = tly_get_array(&cursor, 1 + 2 * LIVES_MAX);
    uint64_t asks = elements > 0 ? tly_get_uint(&cursor) : 0;
    for (size_t i = 1; i + 1 < elements && cursor.result == TLY_OK; i += 2) {
        uint64_t life = tly_get_uint(&cursor), asked = tly_get_uint(&cursor);
        bool is_ours = life == tly_ormap_origin(e->map) && asked == e->proof.asked && asked != 0;
        if (is_ours && cursor.result == TLY_OK) prove(peer, peer->member_origin, e->proof.asked_at);
    }
    if (cursor.result == TLY_OK) peer->asks = asks;
}

static void read_words(struct tly_engine *e)
{
    e->proof.is_news = false;
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_member_counts(e->peers[i])) read_word(e, e->peers[i]);
}

/* It may hold something since before it was started, and have no hard limit of its own any more: others have, and ask. */
static bool has_rights(struct tly_engine *e)
{
    size_t count;
    (void)tly_escrow_dots(e, tly_slice_text(TLY_RIGHTS_PREFIX), &count);
    return count > 0;
}

void tly_proof_learn(struct tly_engine *e, struct tly_slice key)
{
    bool is_word = tly_slice_begins(key, tly_slice_text(PREFIX));
    if (is_word || tly_is_member_key(key)) e->proof.is_news = true;
    if (!is_word) return;
    e->escrow.is_used = e->escrow.is_used || has_rights(e);
    look_soon(e);
}

static bool say(struct tly_engine *e, uint64_t asked)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    size_t count = 0, put = 0;
    for (size_t i = 0; i < e->peer_count && count < LIVES_MAX; i++)
        count += is_answered(e, e->peers[i]);
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 1 + 2 * count);
    tly_put_uint(&e->frame, asked);
    for (size_t i = 0; i < e->peer_count && put < count; i++) {
        if (!is_answered(e, e->peers[i])) continue;
        tly_put_uint(&e->frame, e->peers[i]->member_origin);
        tly_put_uint(&e->frame, e->peers[i]->asks);
        put++;
    }
    if (e->frame.result != TLY_OK) return false;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    if (tly_ormap_put(e->map, key_of(key, tly_slice_text(e->name)), &dot) != TLY_OK) return false;
    tly_flush_soon(e, true);
    return true;
}

static bool is_asked(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (is_answered(e, e->peers[i]) && e->peers[i]->asks != e->peers[i]->answered) return true;
    return false;
}

static bool has_far(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (tly_member_counts(e->peers[i]) && e->peers[i]->conn == NULL) return true;
    return false;
}

/* The next question: more than any version of this life so far, so that nobody can have repeated it before. */
static uint64_t next_question(const struct tly_engine *e)
{
    const struct tly_clock *clock = tly_ormap_clock(e->map);
    return clock->last < TLY_CLOCK_LAST ? clock->last + 1 : 0;
}

void tly_proof_step(struct tly_engine *e, uint64_t proven_at)
{
    struct proof *proof = &e->proof;
    uint64_t now = e->now.mono_ns, after = e->forget.forget_after_ns;
    uint64_t age = proven_at == 0 ? TLY_NEVER : proven_at == TLY_NEVER ? 0 : now - proven_at;
    ping(e);
    if (proof->is_news) read_words(e);
    if (proof->said_at != 0 && now - proof->said_at < AGAIN_NS) return;
    bool may_ask = has_far(e) && (proof->asked == 0 || now - proof->asked_at >= after / 16);
    bool asks = may_ask && age > after / 8;
    if (!asks && !is_asked(e)) return;
    /* Who answers may as well ask what it would have to soon. */
    uint64_t asked = may_ask && age > after / 16 ? next_question(e) : proof->asked;
    if (!say(e, asked)) return;
    if (asked != proof->asked) proof->asked_at = now;
    proof->asked = asked;
    proof->said_at = now;
    for (size_t i = 0; i < e->peer_count; i++)
        if (is_answered(e, e->peers[i])) e->peers[i]->answered = e->peers[i]->asks;
}
