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

static const char *const state_words[] = {[MEMBER_ALIVE] = "alive",
                                          [MEMBER_LEFT] = "left",
                                          [MEMBER_SUSPECT] = "suspect",
                                          [MEMBER_DEAD] = "dead",
                                          [MEMBER_FORGOTTEN] = "forgotten"};

const char *tly_member_word(enum member_state state)
{
    return state >= MEMBER_ALIVE && state <= MEMBER_FORGOTTEN ? state_words[state] : "unknown";
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

static struct tly_slice key_of(uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX], struct tly_slice name)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, name.p, name.n);
    return tly_slice_of(key, PREFIX_BYTES + name.n);
}

/* What is said of a life is said of the incarnation that is known. */
static uint64_t incarnation_of(struct tly_engine *e, struct tly_slice name, uint64_t origin)
{
    if (origin == tly_ormap_origin(e->map)) return e->incarnation;
    const struct peer *peer = tly_peer_find(e, name);
    return peer != NULL && peer->member_origin == origin ? peer->incarnation : 0;
}

enum tly_result tly_member_put(struct tly_engine *e, struct tly_slice name, uint64_t origin,
                               struct tly_slice address, uint64_t state)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 4);
    tly_put_uint(&e->frame, origin);
    tly_put_bytes(&e->frame, address);
    tly_put_uint(&e->frame, state);
    tly_put_uint(&e->frame, incarnation_of(e, name, origin));
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    struct tly_slice whole = key_of(key, name);
    struct tly_before before = tly_watch_before(e, whole);
    enum tly_result result = tly_ormap_put(e->map, whole, &dot);
    if (result != TLY_OK) return result;
    tly_watch_after(e, whole, before, tly_ormap_origin(e->map));
    tly_flush_soon(e, true);
    tly_member_learn(e, whole);
    return TLY_OK;
}

static bool member_read(struct tly_engine *e, struct tly_slice key, struct member *member)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return false;
    struct tly_value value;
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, &value);
    if (!value.present || !member_get(value.bytes, member)) return false;
    /* Another state is a later version's. */
    return member->state >= MEMBER_ALIVE && member->state <= MEMBER_FORGOTTEN &&
           memchr(member->address.p, '\0', member->address.n) == NULL;
}

uint64_t tly_member_origin(struct tly_engine *e, struct tly_slice name)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    struct member member;
    return member_read(e, key_of(key, name), &member) ? member.origin : 0;
}

bool tly_member_told(struct tly_engine *e, struct tly_version *version)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(key, tly_slice_text(e->name)));
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    if (count > 0) *version = dots[count - 1].version;
    return count > 0;
}

enum tly_result tly_member_announce(struct tly_engine *e, bool leaving)
{
    if (e->life.kept != 0) return TLY_OK; /* not before it is known which life this is */
    /* Who cannot be dialled need not be known, until something is to be forgotten. */
    if (e->address[0] == '\0' && tly_member_origin(e, tly_slice_text(e->name)) == 0) return TLY_OK;
    return tly_member_put(e, tly_slice_text(e->name), tly_ormap_origin(e->map), tly_slice_text(e->address),
                          leaving ? MEMBER_LEFT : MEMBER_ALIVE);
}

size_t tly_member_count(const struct tly_engine *e)
{
    size_t count = 1;
    for (size_t i = 0; i < e->peer_count; i++)
        count += tly_member_counts(e->peers[i]);
    return count;
}

/* It is given the time of a silence from now on, also if it has only just made itself heard through others. */
static void give_time(const struct tly_engine *e, struct peer *peer, const struct member *member)
{
    bool is_back = peer->state != MEMBER_ALIVE && member->state == MEMBER_ALIVE;
    if (!peer->is_member || is_back) peer->vouched = e->now.mono_ns;
    bool was_accused = peer->state == MEMBER_SUSPECT || peer->state == MEMBER_DEAD;
    if (is_back && was_accused && peer->member_origin == member->origin) peer->contradicted++;
}

/* Takes over what the list says of a peer; tells of every change. */
static void change_state(struct tly_engine *e, struct peer *peer, const struct member *member)
{
    enum member_state old = peer->state, new = (enum member_state)member->state;
    give_time(e, peer, member);
    peer->member_origin = member->origin;
    peer->incarnation = member->incarnation;
    if (peer->is_member && old == new) return;
    peer->state = new;
    e->ring_changed = true;
    if (new == MEMBER_SUSPECT) peer->suspect_at = e->now.mono_ns;
    if (peer->is_member || new != MEMBER_ALIVE)
        tly_fx_trace(e, TLY_TRACE_MEMBER, peer->name, tly_slice_text(tly_member_word(new)));
    peer->is_member = true;
}

enum tly_result tly_member_say(struct tly_engine *e, struct peer *peer, enum member_state state)
{
    return tly_member_put(e, tly_slice_text(peer->name), peer->member_origin, tly_slice_text(peer->address),
                          state);
}

static bool is_accused(const struct member *member)
{
    return member->state == MEMBER_SUSPECT || member->state == MEMBER_DEAD;
}

/*
 * What others say of this node itself: that it is alive it knows, the rest it refutes. What was said of an earlier life of it
 * stands in the same key and is refuted as well.
 */
static void learn_of_self(struct tly_engine *e, const struct member *member)
{
    if (is_accused(member) && tly_ormap_origin(e->map) != 0) tly_swim_refute(e, member->incarnation);
}

bool tly_is_member_key(struct tly_slice key)
{
    return key.n > PREFIX_BYTES && tly_slice_begins(key, tly_slice_text(PREFIX));
}

/* Where a member is dialled from now on: at its new address only. */
static void retarget(struct tly_engine *e, struct peer *peer, const struct member *member)
{
    struct target *target = tly_target_need(e, member->address);
    if (target == NULL) return;
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->peer == peer && e->targets[i] != target && e->targets[i]->is_member)
            e->targets[i]->retired = true;
    target->peer = peer;
    target->is_member = true;
    target->retired = false;
    bool has_left = member->state == MEMBER_LEFT;
    if (has_left != target->has_left) tly_target_left(e, target, has_left);
    memcpy(peer->address, target->address, sizeof peer->address);
}

/* By somebody who has not heard, across a cut or on an older disk, that another life has taken the place of this one. */
static bool is_of_ended_life(const struct tly_engine *e, const struct peer *peer, const struct member *member)
{
    return is_accused(member) && peer->member_origin != member->origin &&
           tly_lives_is_closed(e, member->origin);
}

/*
 * Whether somebody accuses who was forgotten, for he had not heard of that, nor perhaps of what it contradicted before, or of its last life.
 * A later word, it would have the member waited for anew.
 */
static bool was_forgotten(const struct tly_engine *e, const struct peer *peer, const struct member *member)
{
    bool is_old = peer->member_origin == member->origin && peer->incarnation >= member->incarnation;
    return is_accused(member) && peer->state == MEMBER_FORGOTTEN &&
           (is_old || is_of_ended_life(e, peer, member));
}

void tly_member_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice name = tly_slice_of(key.p + PREFIX_BYTES, key.n - PREFIX_BYTES);
    struct member member;
    if (name.n == 0 || name.n > TLY_NAME_BYTES_MAX || !member_read(e, key, &member)) return;
    if (tly_slice_equal(name, tly_slice_text(e->name))) {
        learn_of_self(e, &member);
        return;
    }
    struct peer *peer = tly_peer_need(e, name);
    if (peer == NULL) return;
    uint64_t before = peer->member_origin;
    bool has_life = tly_ormap_origin(e->map) != 0, again = has_life && was_forgotten(e, peer, &member);
    bool is_late = is_of_ended_life(e, peer, &member);
    if (again) { /* what is older is no news, and is not to be said */
        member.origin = before;
        member.incarnation = peer->incarnation;
    }
    retarget(e, peer, &member);
    change_state(e, peer, &member);
    /* A name that passed to another life: the one before has ended. This may write, so nothing is looked at afterwards. */
    bool passed = has_life && before != 0 && before != member.origin && !is_late;
    if ((again && tly_member_say(e, peer, MEMBER_FORGOTTEN) != TLY_OK) ||
        (passed && tly_lives_close(e, before, tly_slice_text(peer->name)) != TLY_OK))
        e->arena.result = TLY_NOMEM;
}

void tly_member_learn_all(struct tly_engine *e)
{
    size_t cursor = 0;
    e->proof.is_news = true;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;) {
        struct tly_slice key = tly_entry_key(entry);
        if (tly_is_member_key(key)) tly_member_learn(e, key);
    }
}
