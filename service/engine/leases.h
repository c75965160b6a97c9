/*
 * What a node has in flight: leases by their ids and by their ends, and how much of each key they are.  Nothing of it outlives the
 * process: others know the sum of a key only.
 */
#ifndef TALLY_SERVICE_ENGINE_LEASES_H
#define TALLY_SERVICE_ENGINE_LEASES_H

#include "service/engine/engine.h"

/* Of one node at a time. */
#define TLY_LEASES_MAX TLY_HOLDS_MAX

/* A key of which something is in flight here. */
struct tly_flight {
    struct tly_flight *next; /* in its bucket */
    uint32_t hash;
    size_t at; /* among the others */
    size_t leases;
    uint64_t units;     /* of them in all */
    uint64_t window_ms; /* it is said under this one, in this epoch for the last time */
    uint64_t epoch;
    size_t key_bytes;
    uint8_t key[];
};

struct tly_lease {
    struct tly_lease *next;
    uint32_t hash;
    size_t at; /* in the heap of ends */
    uint64_t end_ms, units;
    struct tly_flight *flight;
    uint8_t n, id[TLY_HOLD_ID_BYTES_MAX]; /* n 0: nobody can release it */
};

/* An object. */
struct tly_leases;

/* NULL: no memory. Keys and ids are hashed with this. */
struct tly_leases *tly_leases_new(const struct tly_mem *mem, const struct tly_hash_key *hash_key);
void tly_leases_free(struct tly_leases *leases);
void tly_leases_check(const struct tly_leases *leases);

size_t tly_leases_count(const struct tly_leases *leases);
struct tly_lease *tly_leases_find(const struct tly_leases *leases, struct tly_slice id);
/* The next to end; NULL: there is none. */
struct tly_lease *tly_leases_first(const struct tly_leases *leases);
struct tly_flight *tly_leases_flight(const struct tly_leases *leases, struct tly_slice key);
/* The keys: the i-th of so many, in an order that a removal changes. */
size_t tly_leases_flights(const struct tly_leases *leases);
struct tly_flight *tly_leases_flight_at(const struct tly_leases *leases, size_t i);

/* One that is not there yet, without units. TLY_FULL: there are TLY_LEASES_MAX; TLY_NOMEM. Nothing changed then. */
enum tly_result tly_leases_add(struct tly_leases *leases, struct tly_slice key, struct tly_slice id,
                               uint64_t end_ms, struct tly_lease **out) TLY_MUST_CHECK;
void tly_leases_fill(struct tly_lease *lease, uint64_t units);
/* Its key too, if it was the last of it. */
void tly_leases_remove(struct tly_leases *leases, struct tly_lease *lease);

#endif
