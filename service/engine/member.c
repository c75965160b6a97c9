/*
 * Who is in the cluster: one lww key per node, sys:member:NAME -> [origin, address, state, incarnation], spread like
 * everything else.  Whoever has not left and can be dialled becomes a target, so that from one seed every node meets every
 * other.  A member writes its own key; others write it only to say that it is suspect or dead (swim.c), which it refutes.
 */
#include "service/engine/impl.h"

#include "wire/pack.h"

#define PREFIX "sys:member:"
#define PREFIX_BYTES 11

struct member {
    uint64_t origin, state, incarnation;
    struct tly_slice address;
};

static const char *const state_words[] = {
    [MEMBER_ALIVE] = "alive", [MEMBER_LEFT] = "left", [MEMBER_SUSPECT] = "suspect", [MEMBER_DEAD] = "dead"};

const char *tly_member_word(enum member_state state)
{
    return state >= MEMBER_ALIVE && state <= MEMBER_DEAD ? state_words[state] : "unknown";
}

static bool member_get(struct tly_slice bytes, struct member *member)
{
    struct tly_cursor cursor = tly_cursor_of(bytes);
    size_t elements = tly_get_array(&cursor, 16);
    if (elements < 3) return false;
    member->origin = tly_get_uint(&cursor);
    member->address = tly_get_bytes(&cursor, TLY_ADDRESS_BYTES_MAX);
    member->state = tly_get_uint(&cursor);
    member->incarnation = elements > 3 ? tly_get_uint(&cursor) : 0;
    return cursor.result == TLY_OK; /* a later version may say more behind it */
}

static enum tly_result member_put(struct tly_engine *e, struct tly_slice name, const struct member *member)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, name.p, name.n);
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 4);
    tly_put_uint(&e->frame, member->origin);
    tly_put_bytes(&e->frame, member->address);
    tly_put_uint(&e->frame, member->state);
    tly_put_uint(&e->frame, member->incarnation);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    struct tly_slice whole = tly_slice_of(key, PREFIX_BYTES + name.n);
    struct tly_before before = tly_watch_before(e, whole);
    enum tly_result result = tly_ormap_put(e->map, whole, &dot);
    if (result != TLY_OK) return result;
    tly_watch_after(e, whole, before, tly_ormap_origin(e->map));
    tly_flush_soon(e, true);
    return TLY_OK;
}

enum tly_result tly_member_announce(struct tly_engine *e, bool leaving)
{
    if (e->address[0] == '\0') return TLY_OK;
    struct member own = {
        .origin = tly_ormap_origin(e->map),
        .address = tly_slice_text(e->address),
        .state = leaving ? MEMBER_LEFT : MEMBER_ALIVE,
        .incarnation = e->incarnation,
    };
    return member_put(e, tly_slice_text(e->name), &own);
}

size_t tly_member_count(const struct tly_engine *e)
{
    size_t count = 1;
    for (size_t i = 0; i < e->peer_count; i++)
        count += e->peers[i]->is_member && e->peers[i]->state != MEMBER_LEFT;
    return count;
}

/* Takes over what the list says of a peer; tells of every change. */
static void change_state(struct tly_engine *e, struct peer *peer, const struct member *member)
{
    enum member_state old = peer->state, new = (enum member_state)member->state;
    peer->member_origin = member->origin;
    peer->incarnation = member->incarnation;
    if (peer->is_member && old == new) return;
    peer->state = new;
    e->ring_changed = true;
    if (new == MEMBER_SUSPECT) peer->suspect_at = e->now.mono_ns;
    if (!peer->is_member) peer->vouched = e->now.mono_ns; /* it is given the time of a silence from now on */
    if (peer->is_member || new != MEMBER_ALIVE)
        tly_fx_trace(e, TLY_TRACE_MEMBER, peer->name, tly_slice_text(tly_member_word(new)));
    peer->is_member = true;
}

enum tly_result tly_member_say(struct tly_engine *e, struct peer *peer, enum member_state state)
{
    struct member member = {
        .origin = peer->member_origin,
        .address = tly_slice_text(peer->address),
        .state = state,
        .incarnation = peer->incarnation,
    };
    enum tly_result result = member_put(e, tly_slice_text(peer->name), &member);
    if (result == TLY_OK) change_state(e, peer, &member);
    return result;
}

/*
 * What others say of this node itself: that it is alive it knows, the rest it refutes. What was said of an earlier life of it
 * stands in the same key and is refuted as well.
 */
static void learn_of_self(struct tly_engine *e, const struct member *member)
{
    bool accused = member->state == MEMBER_SUSPECT || member->state == MEMBER_DEAD;
    if (accused && tly_ormap_origin(e->map) != 0) tly_swim_refute(e, member->incarnation);
}

bool tly_is_member_key(struct tly_slice key)
{
    return key.n > PREFIX_BYTES && tly_slice_begins(key, tly_slice_text(PREFIX));
}

void tly_member_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice name = tly_slice_of(key.p + PREFIX_BYTES, key.n - PREFIX_BYTES);
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (name.n > TLY_NAME_BYTES_MAX || entry == NULL) return;
    struct tly_value value;
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, &value);
    struct member member;
    if (!value.present || !member_get(value.bytes, &member)) return;
    if (memchr(member.address.p, '\0', member.address.n) != NULL) return;
    if (member.state < MEMBER_ALIVE || member.state > MEMBER_DEAD) return; /* a later version's */
    if (tly_slice_equal(name, tly_slice_text(e->name))) {
        learn_of_self(e, &member);
        return;
    }
    struct peer *peer = tly_peer_need(e, name);
    struct target *target = tly_target_need(e, member.address);
    if (peer == NULL || target == NULL) return;
    /* A node that moved is looked for at its new address only. */
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->peer == peer && e->targets[i] != target && e->targets[i]->is_member)
            e->targets[i]->retired = true;
    target->peer = peer;
    target->is_member = true;
    target->retired = member.state == MEMBER_LEFT;
    memcpy(peer->address, target->address, sizeof peer->address);
    change_state(e, peer, &member);
}

void tly_member_learn_all(struct tly_engine *e)
{
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;) {
        struct tly_slice key = tly_entry_key(entry);
        if (tly_is_member_key(key)) tly_member_learn(e, key);
    }
}
