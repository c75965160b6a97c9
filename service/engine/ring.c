/*
 * Who keeps a connection to whom.  Up to mesh_max members all do.  Beyond, the members stand in a ring in the order of a
 * hash of their names, and two are linked when a power of four lies between them, either way round: about log4(N) * 2
 * links each, about as many hops at the most.  The rule looks at the member list alone, so both ends compute it alike, and
 * marks make relaying exact whatever the links are.  Members that are held for dead are not in the ring; each is dialled by
 * those that would be linked to it if it stood there.
 */
#include "service/engine/ring.h"

#include "service/engine/impl.h"

#include <string.h>

bool tly_ring_links(size_t a, size_t b, size_t n)
{
    size_t way = a > b ? a - b : b - a;
    for (size_t step = 1; step <= n / 2; step *= 4)
        if (way == step || way == n - step) return true;
    return false;
}

/* The same on every node, so the key is no secret. */
uint64_t tly_ring_hash(struct tly_slice name)
{
    struct tly_hash_key key;
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)(i * 151 + 89);
    return tly_hash(&key, name);
}

static void sift_down(uint64_t *ring, size_t i, size_t n)
{
    uint64_t hash = ring[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ring[child] < ring[child + 1]) child++;
        if (hash >= ring[child]) break;
        ring[i] = ring[child];
    }
    ring[i] = hash;
}

void tly_sort_u64(uint64_t *numbers, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(numbers, i, count);
    for (size_t n = count; n > 1; n--) {
        uint64_t greatest = numbers[0];
        numbers[0] = numbers[n - 1];
        numbers[n - 1] = greatest;
        sift_down(numbers, 0, n - 1);
    }
}

/* How many stand before this hash. */
static size_t place_of(const uint64_t *ring, size_t n, uint64_t hash)
{
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        if (ring[low + half] < hash) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

static bool is_in_ring(const struct peer *peer)
{
    return tly_member_counts(peer) && peer->state != MEMBER_DEAD;
}

/* The hashes of the ring in order, oneself among them; 0: no memory. */
static size_t gather(struct tly_engine *e)
{
    void *ring =
        tly_mem_reserve(&e->mem, e->numbers, &e->number_capacity, e->peer_count + 1, sizeof *e->numbers);
    if (ring == NULL) return 0;
    e->numbers = ring;
    size_t n = 0;
    e->numbers[n++] = tly_ring_hash(tly_slice_text(e->name));
    for (size_t i = 0; i < e->peer_count; i++)
        if (is_in_ring(e->peers[i])) e->numbers[n++] = e->peers[i]->ring_hash;
    tly_sort_u64(e->numbers, n);
    return n;
}

/* ---- who relays ---- */

#define UNREACHED UINT8_MAX

static size_t on_from(size_t place, size_t way, size_t n)
{
    return (place + way) % n;
}

/* From place 0, link by link. Every member sees the same ring from its place. */
static void count_links(struct ring *ring)
{
    size_t n = ring->count;
    memset(ring->links, UNREACHED, n);
    ring->links[0] = 0;
    ring->most = 0;
    for (bool found = true; found; ring->most += found) {
        found = false;
        for (size_t at = 0; at < n; at++) {
            if (ring->links[at] != ring->most) continue;
            for (size_t step = 1; step <= n / 2; step *= 4) {
                uint8_t *both[] = {&ring->links[on_from(at, step, n)],
                                   &ring->links[on_from(at, n - step, n)]};
                for (size_t i = 0; i < 2; i++) {
                    if (*both[i] != UNREACHED) continue;
                    *both[i] = (uint8_t)(ring->most + 1);
                    found = true;
                }
            }
        }
    }
}

/* Without memory nobody has a turn: all relay when the word does not come. */
static void lay_out(struct tly_engine *e, size_t n, size_t own)
{
    struct ring *ring = &e->ring;
    ring->count = 0;
    if (n <= e->mesh_max) return;
    void *links = tly_mem_reserve(&e->mem, ring->links, &ring->capacity, n, sizeof *ring->links);
    if (links == NULL) return;
    ring->links = links;
    ring->count = n;
    ring->place = own;
    count_links(ring);
}

void tly_ring_free(struct tly_engine *e)
{
    tly_mem_free(&e->mem, e->ring.links, e->ring.capacity * sizeof *e->ring.links);
}

size_t tly_ring_place(const struct tly_engine *e, uint64_t origin)
{
    if (e->ring.count == 0) return TLY_NOWHERE;
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->member_origin == origin) return e->peers[i]->place;
    return TLY_NOWHERE;
}

/* How far a neighbour is from a place; of those that are as far, the one that comes first behind it. */
static size_t nearness(const struct ring *ring, size_t neighbour, size_t place)
{
    size_t n = ring->count, way = on_from(neighbour, n - place, n);
    return ring->links[way] * n + way;
}

static enum turn turn_in_ring(const struct ring *ring, size_t at, size_t place)
{
    size_t n = ring->count, own = nearness(ring, ring->place, place), nearer = 0;
    for (size_t step = 1; step <= n / 2; step *= 4) {
        size_t one = on_from(at, step, n), other = on_from(at, n - step, n);
        nearer += nearness(ring, one, place) < own;
        nearer += other != one && nearness(ring, other, place) < own;
    }
    return nearer == 0 ? FIRST_TO_RELAY : nearer == 1 ? SECOND_TO_RELAY : LAST_TO_RELAY;
}

enum turn tly_ring_turn(const struct tly_engine *e, const struct peer *peer, size_t place)
{
    if (e->ring.count == 0) return peer->is_next_to_us ? SECOND_TO_RELAY : LAST_TO_RELAY;
    if (peer->place == TLY_NOWHERE) return SECOND_TO_RELAY;
    if (!peer->is_linked) return LAST_TO_RELAY;
    return turn_in_ring(&e->ring, peer->place, place);
}

/* ---- who is linked ---- */

void tly_ring_update(struct tly_engine *e)
{
    if (!e->ring_changed) return;
    size_t n = gather(e);
    if (n == 0) return;
    e->ring_changed = false;
    uint64_t own_hash = tly_ring_hash(tly_slice_text(e->name));
    size_t own = place_of(e->numbers, n, own_hash);
    lay_out(e, n, own);
    for (size_t i = 0; i < e->peer_count; i++) {
        struct peer *peer = e->peers[i];
        bool in_ring = is_in_ring(peer);
        size_t place = place_of(e->numbers, n, peer->ring_hash), count = in_ring ? n : n + 1;
        /* One who is not in it is thought to stand there: whoever comes behind moves on by one. */
        size_t mine = !in_ring && peer->ring_hash < own_hash ? own + 1 : own;
        bool linked = count <= e->mesh_max || tly_ring_links(mine, place, count);
        if (linked && !peer->is_linked)
            peer->vouched = e->now.mono_ns; /* there is to be a connection first */
        peer->is_linked = linked;
        peer->place = in_ring ? place : TLY_NOWHERE;
        peer->is_next_to_us = in_ring && (own + n - place - 1) % n < TLY_RELAYS;
    }
}
