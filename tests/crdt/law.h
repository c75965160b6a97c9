/*
 * What the tests of laws share: how much is run, and the count of what was covered.  A test names the laws of LAWS.md that it
 * shows in the comment above it, as `Laws L2, L5:`; tools/lint/laws and tools/laws read that.
 */
#ifndef TALLY_TESTS_CRDT_LAW_H
#define TALLY_TESTS_CRDT_LAW_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TALLY_LAWS=full in the environment: everything that `make check-laws` covers; otherwise what fits beside other tests. */
bool law_is_full(void);
/* How many random histories: `quick`, ten times as many with TALLY_LONG=1, or the whole million. */
uint64_t law_rounds(uint64_t quick);
/*
 * Prints one line that tools/laws adds up: how many histories (for R0 to R2 and the orders, triples and pairs of dots) the test
 * went through. Of random ones `seed` is that of the first; 0: these were all there are.
 */
void law_covered(const char *laws, const char *strategy, uint64_t seed, size_t cases);

/*
 * Memory for small histories by the million: one after the other from a piece that is begun anew whenever all was given
 * back. A block moves when it grows, and new bytes are what one of the maps before left there.
 */
struct tly_mem law_mem(void);
/* Bytes given and not got back. */
size_t law_mem_live(void);

#endif
