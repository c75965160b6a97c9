/* The links of a cluster that is too large for a full mesh; see ring.c. */
#ifndef TALLY_SERVICE_ENGINE_RING_H
#define TALLY_SERVICE_ENGINE_RING_H

#include "crdt/hash.h"

/* Whether the members at places a and b of a ring of n are linked. */
bool tly_ring_links(size_t a, size_t b, size_t n);
/* Where a name stands in the order of the ring; alike on every node. */
uint64_t tly_ring_hash(struct tly_slice name);
/* Ascending; heap sort, for what a peer may choose. */
void tly_sort_u64(uint64_t *numbers, size_t count);

#endif
