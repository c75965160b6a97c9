/*
 * From a key's hash to an entry's number: open addressing with linear probing, eight bytes a slot, no tombstones (a
 * removal moves the following slots back).  The caller compares keys; half of the hash stands in the slot so that it
 * seldom has to.
 */
#ifndef TALLY_CRDT_INDEX_H
#define TALLY_CRDT_INDEX_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct tly_slot {
    uint32_t tag;    /* upper half of the hash */
    uint32_t number; /* entry + 1; 0: empty */
};

struct tly_index {
    struct tly_slot *slots;
    size_t mask; /* slots - 1; slots is a power of two */
    size_t used;
};

/* A walk over the slots that may hold a hash. */
struct tly_probe {
    size_t at;
    uint32_t tag;
};

bool tly_index_init(struct tly_index *index, const struct tly_mem *mem);
void tly_index_fini(struct tly_index *index, const struct tly_mem *mem);

struct tly_probe tly_probe_of(const struct tly_index *index, uint64_t hash);
/* The next candidate's number; false at the end of the run. */
bool tly_probe_next(const struct tly_index *index, struct tly_probe *probe, uint32_t *number);

/* False: no memory for the growth; hash_of gives the hash of an entry when slots move. */
typedef uint64_t tly_hash_of(const void *context, uint32_t number);
bool tly_index_reserve(struct tly_index *index, const struct tly_mem *mem, tly_hash_of *hash_of,
                       const void *context);
/* After tly_index_reserve. */
void tly_index_add(struct tly_index *index, uint64_t hash, uint32_t number);
void tly_index_remove(struct tly_index *index, uint64_t hash, uint32_t number, tly_hash_of *hash_of,
                      const void *context);

#endif
