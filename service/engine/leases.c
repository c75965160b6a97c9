#include "service/engine/leases.h"

#include "crdt/hash.h"

#include <assert.h>
#include <string.h>

/* Two tables of chains, by id and by key; they grow with what is in them and never shrink. */
struct table {
    void **bucket;
    size_t size; /* 0, or a power of two */
};

struct tly_leases {
    struct tly_mem mem;
    struct tly_hash_key hash_key;
    struct table by_id, by_key;
    struct tly_lease **heap; /* no other ends before the first */
    size_t count, capacity;
    struct tly_flight **flights;
    size_t flight_count, flight_capacity;
};

struct tly_leases *tly_leases_new(const struct tly_mem *mem, const struct tly_hash_key *hash_key)
{
    struct tly_leases *leases = tly_mem_zeroed(mem, sizeof *leases);
    if (leases == NULL) return NULL;
    leases->mem = *mem;
    leases->hash_key = *hash_key;
    return leases;
}

static size_t flight_bytes(const struct tly_flight *flight)
{
    return sizeof *flight + flight->key_bytes;
}

void tly_leases_free(struct tly_leases *leases)
{
    if (leases == NULL) return;
    struct tly_mem mem = leases->mem;
    for (size_t i = 0; i < leases->count; i++)
        tly_mem_free(&mem, leases->heap[i], sizeof *leases->heap[i]);
    for (size_t i = 0; i < leases->flight_count; i++)
        tly_mem_free(&mem, leases->flights[i], flight_bytes(leases->flights[i]));
    tly_mem_free(&mem, leases->heap, leases->capacity * sizeof *leases->heap);
    tly_mem_free(&mem, leases->flights, leases->flight_capacity * sizeof *leases->flights);
    tly_mem_free(&mem, leases->by_id.bucket, leases->by_id.size * sizeof *leases->by_id.bucket);
    tly_mem_free(&mem, leases->by_key.bucket, leases->by_key.size * sizeof *leases->by_key.bucket);
    tly_mem_free(&mem, leases, sizeof *leases);
}

size_t tly_leases_count(const struct tly_leases *leases)
{
    return leases != NULL ? leases->count : 0;
}

size_t tly_leases_flights(const struct tly_leases *leases)
{
    return leases != NULL ? leases->flight_count : 0;
}

struct tly_flight *tly_leases_flight_at(const struct tly_leases *leases, size_t i)
{
    return leases->flights[i];
}

struct tly_lease *tly_leases_first(const struct tly_leases *leases)
{
    return tly_leases_count(leases) > 0 ? leases->heap[0] : NULL;
}

/* ---- finding ---- */

static uint32_t hash_of(const struct tly_leases *leases, struct tly_slice bytes)
{
    return (uint32_t)tly_hash(&leases->hash_key, bytes);
}

static struct tly_slice id_of(const struct tly_lease *lease)
{
    return tly_slice_of(lease->id, lease->n);
}

static struct tly_slice key_of(const struct tly_flight *flight)
{
    return tly_slice_of(flight->key, flight->key_bytes);
}

struct tly_lease *tly_leases_find(const struct tly_leases *leases, struct tly_slice id)
{
    if (tly_leases_count(leases) == 0) return NULL;
    struct tly_lease *lease = leases->by_id.bucket[hash_of(leases, id) & (leases->by_id.size - 1)];
    while (lease != NULL && !tly_slice_equal(id_of(lease), id))
        lease = lease->next;
    return lease;
}

struct tly_flight *tly_leases_flight(const struct tly_leases *leases, struct tly_slice key)
{
    if (tly_leases_flights(leases) == 0) return NULL;
    struct tly_flight *flight = leases->by_key.bucket[hash_of(leases, key) & (leases->by_key.size - 1)];
    while (flight != NULL && !tly_slice_equal(key_of(flight), key))
        flight = flight->next;
    return flight;
}

/* ---- ends ---- */

static void place(struct tly_leases *leases, size_t i, struct tly_lease *lease)
{
    leases->heap[i] = lease;
    lease->at = i;
}

/* Lets what belongs at place i, or before or behind it, find its place. */
static void sift(struct tly_leases *leases, size_t i, struct tly_lease *lease)
{
    struct tly_lease **heap = leases->heap;
    for (; i > 0 && lease->end_ms < heap[(i - 1) / 2]->end_ms; i = (i - 1) / 2)
        place(leases, i, heap[(i - 1) / 2]);
    for (size_t next; (next = 2 * i + 1) < leases->count; i = next) {
        if (next + 1 < leases->count && heap[next + 1]->end_ms < heap[next]->end_ms) next++;
        if (lease->end_ms <= heap[next]->end_ms) break;
        place(leases, i, heap[next]);
    }
    place(leases, i, lease);
}

/* ---- making room ---- */

/* One chain at least for each that there may be next; the links are followed by whoever knows what is in it. */
static bool reserve_table(struct tly_leases *leases, struct table *table, size_t count,
                          void (*link)(struct table *table, const struct tly_leases *leases))
{
    struct table grown = {.size = table->size != 0 ? table->size * 2 : 16};
    if (count < table->size) return true;
    grown.bucket = tly_mem_zeroed(&leases->mem, grown.size * sizeof *grown.bucket);
    if (grown.bucket == NULL) return false;
    link(&grown, leases);
    tly_mem_free(&leases->mem, table->bucket, table->size * sizeof *table->bucket);
    *table = grown;
    return true;
}

static void link_lease(struct table *table, struct tly_lease *lease)
{
    void **bucket = &table->bucket[lease->hash & (table->size - 1)];
    lease->next = *bucket;
    *bucket = lease;
}

static void link_flight(struct table *table, struct tly_flight *flight)
{
    void **bucket = &table->bucket[flight->hash & (table->size - 1)];
    flight->next = *bucket;
    *bucket = flight;
}

static void link_leases(struct table *table, const struct tly_leases *leases)
{
    for (size_t i = 0; i < leases->count; i++)
        if (leases->heap[i]->n > 0) link_lease(table, leases->heap[i]);
}

static void link_flights(struct table *table, const struct tly_leases *leases)
{
    for (size_t i = 0; i < leases->flight_count; i++)
        link_flight(table, leases->flights[i]);
}

static bool reserve(struct tly_leases *leases)
{
    void *heap = tly_mem_reserve(&leases->mem, leases->heap, &leases->capacity, leases->count + 1,
                                 sizeof *leases->heap);
    if (heap == NULL) return false;
    leases->heap = heap;
    void *flights = tly_mem_reserve(&leases->mem, leases->flights, &leases->flight_capacity,
                                    leases->flight_count + 1, sizeof *leases->flights);
    if (flights == NULL) return false;
    leases->flights = flights;
    return reserve_table(leases, &leases->by_id, leases->count, link_leases) &&
           reserve_table(leases, &leases->by_key, leases->flight_count, link_flights);
}

/* ---- adding and removing ---- */

/* There is room. */
static struct tly_flight *add_flight(struct tly_leases *leases, struct tly_slice key)
{
    struct tly_flight *flight = tly_mem_zeroed(&leases->mem, sizeof *flight + key.n);
    if (flight == NULL) return NULL;
    flight->hash = hash_of(leases, key);
    flight->key_bytes = key.n;
    memcpy(flight->key, key.p, key.n);
    flight->at = leases->flight_count;
    leases->flights[leases->flight_count++] = flight;
    link_flight(&leases->by_key, flight);
    return flight;
}

static void remove_flight(struct tly_leases *leases, struct tly_flight *flight)
{
    void **bucket = &leases->by_key.bucket[flight->hash & (leases->by_key.size - 1)];
    struct tly_flight *before = *bucket;
    if (before == flight) {
        *bucket = flight->next;
    } else {
        while (before->next != flight)
            before = before->next;
        before->next = flight->next;
    }
    struct tly_flight *last = leases->flights[--leases->flight_count];
    leases->flights[flight->at] = last;
    last->at = flight->at;
    tly_mem_free(&leases->mem, flight, flight_bytes(flight));
}

enum tly_result tly_leases_add(struct tly_leases *leases, struct tly_slice key, struct tly_slice id,
                               uint64_t end_ms, struct tly_lease **out)
{
    if (leases->count == TLY_LEASES_MAX) return TLY_FULL;
    struct tly_lease *lease = reserve(leases) ? tly_mem_zeroed(&leases->mem, sizeof *lease) : NULL;
    if (lease == NULL) return TLY_NOMEM;
    struct tly_flight *flight = tly_leases_flight(leases, key);
    if (flight == NULL) flight = add_flight(leases, key);
    if (flight == NULL) {
        tly_mem_free(&leases->mem, lease, sizeof *lease);
        return TLY_NOMEM;
    }
    lease->end_ms = end_ms;
    lease->flight = flight;
    lease->n = (uint8_t)id.n;
    if (id.n > 0) {
        memcpy(lease->id, id.p, id.n);
        lease->hash = hash_of(leases, id);
        link_lease(&leases->by_id, lease);
    }
    flight->leases++;
    sift(leases, leases->count++, lease);
    *out = lease;
    return TLY_OK;
}

void tly_leases_fill(struct tly_lease *lease, uint64_t units)
{
    lease->units += units;
    lease->flight->units += units;
}

static void unlink_lease(struct tly_leases *leases, struct tly_lease *lease)
{
    void **bucket = &leases->by_id.bucket[lease->hash & (leases->by_id.size - 1)];
    struct tly_lease *before = *bucket;
    if (before == lease) {
        *bucket = lease->next;
        return;
    }
    while (before->next != lease)
        before = before->next;
    before->next = lease->next;
}

void tly_leases_remove(struct tly_leases *leases, struct tly_lease *lease)
{
    struct tly_lease *last = leases->heap[--leases->count];
    if (lease->n > 0) unlink_lease(leases, lease);
    if (last != lease) sift(leases, lease->at, last);
    lease->flight->units -= lease->units;
    if (--lease->flight->leases == 0) remove_flight(leases, lease->flight);
    tly_mem_free(&leases->mem, lease, sizeof *lease);
}

void tly_leases_check(const struct tly_leases *leases)
{
    size_t held = 0;
    if (leases == NULL) return;
    for (size_t i = 0; i < leases->count; i++) {
        const struct tly_lease *lease = leases->heap[i];
        assert(lease->at == i && (i == 0 || leases->heap[(i - 1) / 2]->end_ms <= lease->end_ms));
        assert(lease->n == 0 || tly_leases_find(leases, id_of(lease)) == lease);
        assert(tly_leases_flight(leases, key_of(lease->flight)) == lease->flight);
    }
    for (size_t i = 0; i < leases->flight_count; i++) {
        const struct tly_flight *flight = leases->flights[i];
        assert(flight->at == i && flight->leases > 0);
        held += flight->leases;
    }
    assert(held == leases->count);
}
