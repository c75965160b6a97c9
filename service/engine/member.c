/*
 * Who is in the cluster: one lww key per node, sys:member:NAME -> [origin, address, state], spread like everything else.
 * Whoever is alive there and can be dialled becomes a target, so that from one seed every node meets every other.
 */
#include "service/engine/impl.h"

#include "wire/pack.h"

#define PREFIX "sys:member:"
#define PREFIX_BYTES 11

enum { STATE_ALIVE = 1, STATE_LEFT = 2 };

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

enum tly_result tly_member_announce(struct tly_engine *e, bool leaving)
{
    if (e->address[0] == '\0') return TLY_OK;
    uint8_t key[PREFIX_BYTES + TLY_NAME_BYTES_MAX];
    size_t name_bytes = strlen(e->name);
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + PREFIX_BYTES, e->name, name_bytes);

    tly_buf_clear(&e->frame);
    tly_put_array(&e->frame, 3);
    tly_put_uint(&e->frame, tly_ormap_origin(e->map));
    tly_put_bytes(&e->frame, tly_slice_text(e->address));
    tly_put_uint(&e->frame, leaving ? STATE_LEFT : STATE_ALIVE);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .bytes = tly_buf_slice(&e->frame)};
    struct tly_slice whole = tly_slice_of(key, PREFIX_BYTES + name_bytes);
    struct tly_before before = tly_watch_before(e, whole);
    enum tly_result result = tly_ormap_put(e->map, whole, &dot);
    if (result != TLY_OK) return result;
    tly_watch_after(e, whole, before, tly_ormap_origin(e->map));
    tly_flush_soon(e, true);
    return result;
}

void tly_member_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice name = tly_slice_of(key.p + PREFIX_BYTES, key.n - PREFIX_BYTES);
    if (name.n > TLY_NAME_BYTES_MAX || tly_slice_equal(name, tly_slice_text(e->name))) return;
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return;
    struct tly_value value;
    struct tly_moment at = {.now_ms = e->now.wall_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, &value);
    struct member member;
    if (!value.present || !member_get(value.bytes, &member)) return;
    if (memchr(member.address.p, '\0', member.address.n) != NULL) return;
    struct peer *peer = tly_peer_need(e, name);
    struct target *target = tly_target_need(e, member.address);
    if (peer == NULL || target == NULL) return;
    /* A node that moved is looked for at its new address only. */
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->peer == peer && e->targets[i] != target && e->targets[i]->is_member)
            e->targets[i]->retired = true;
    target->peer = peer;
    target->is_member = true;
    target->retired = member.state == STATE_LEFT;
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
