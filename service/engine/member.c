/*
 * Who is in the cluster: one lww key per node, sys:member:NAME -> [origin, address, state], spread like everything else.
 * Whoever is alive there and can be dialled becomes a target, so that from one seed every node meets every other.
 */
#include "service/engine/impl.h"

#include "wire/pack.h"

#define PREFIX "sys:member:"
#define PREFIX_BYTES 11

struct member {
    uint64_t origin, state;
    struct tly_slice address;
};

static bool member_get(struct tly_slice bytes, struct member *member)
{
    struct tly_cursor cursor = tly_cursor_of(bytes);
    if (tly_get_array(&cursor, 16) < 3) return false;
    member->origin = tly_get_uint(&cursor);
    member->address = tly_get_bytes(&cursor, TLY_ADDRESS_BYTES_MAX);
    member->state = tly_get_uint(&cursor);
    return cursor.result == TLY_OK; /* a later version may say more behind it */
}

static struct tly_slice key_of(uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX], struct tly_slice name)
{
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, name.p, name.n);
    return tly_slice_of(key, PREFIX_BYTES + name.n);
}

enum tly_result tly_member_put(struct tly_engine *e, struct tly_slice name, uint64_t origin,
                               struct tly_slice address, uint64_t state)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 3);
    tly_put_uint(&e->frame, origin);
    tly_put_bytes(&e->frame, address);
    tly_put_uint(&e->frame, state);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    enum tly_result result = tly_ormap_put(e->map, key_of(key, name), &dot);
    if (result != TLY_OK) return result;
    tly_flush_soon(e, true);
    tly_member_learn(e, key_of(key, name));
    return TLY_OK;
}

static bool member_read(struct tly_engine *e, struct tly_slice key, struct member *member)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return false;
    struct tly_value value;
    struct tly_moment at = {.now_ms = e->now.wall_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, &value);
    return value.present && member_get(value.bytes, member);
}

uint64_t tly_member_origin(struct tly_engine *e, struct tly_slice name)
{
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    struct member member;
    return member_read(e, key_of(key, name), &member) ? member.origin : 0;
}

enum tly_result tly_member_announce(struct tly_engine *e, bool leaving)
{
    /* Who cannot be dialled need not be known, until something is to be forgotten. */
    if (e->address[0] == '\0' && tly_member_origin(e, tly_slice_text(e->name)) == 0) return TLY_OK;
    return tly_member_put(e, tly_slice_text(e->name), tly_ormap_origin(e->map), tly_slice_text(e->address),
                          leaving ? TLY_MEMBER_LEFT : TLY_MEMBER_ALIVE);
}

/* A name that passed to another life: the one before has ended. */
static void note_record(struct tly_engine *e, struct peer *peer, const struct member *member)
{
    uint64_t before = peer->member_origin;
    peer->member_origin = member->origin;
    peer->member_state = member->state;
    if (before != 0 && before != member->origin && tly_ormap_origin(e->map) != 0 &&
        tly_lives_close(e, before, tly_slice_text(peer->name)) != TLY_OK)
        e->arena.result = TLY_NOMEM;
}

void tly_member_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice name = tly_slice_of(key.p + PREFIX_BYTES, key.n - PREFIX_BYTES);
    if (name.n > TLY_NAME_BYTES_MAX || tly_slice_equal(name, tly_slice_text(e->name))) return;
    struct member member;
    if (!member_read(e, key, &member)) return;
    if (memchr(member.address.p, '\0', member.address.n) != NULL) return;
    struct peer *peer = tly_peer_need(e, name);
    struct target *target = tly_target_need(e, member.address);
    if (peer == NULL) return;
    bool is_left =
        member.state ==
        TLY_MEMBER_LEFT; /* who was forgotten is dialled for ever: two that forgot each other must meet */
    note_record(e, peer, &member); /* may write, so nothing of the record is looked at afterwards */
    if (target == NULL) return;
    /* A node that moved is looked for at its new address only. */
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->peer == peer && e->targets[i] != target && e->targets[i]->is_member)
            e->targets[i]->retired = true;
    target->peer = peer;
    target->is_member = true;
    target->retired = is_left;
    memcpy(peer->address, target->address, sizeof peer->address);
}

void tly_member_learn_all(struct tly_engine *e)
{
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;) {
        struct tly_slice key = tly_entry_key(entry);
        if (key.n > PREFIX_BYTES && memcmp(key.p, PREFIX, PREFIX_BYTES) == 0) tly_member_learn(e, key);
    }
}
