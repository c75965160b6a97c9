/*
 * An allocator that counts what it gave and refuses what would pass a ceiling.  The ceiling is set by whoever is about to work:
 * what must be done has none, what may be refused has one.  What is counted is what a usual malloc takes for a block: 8
 * bytes more, in steps of 16, at least 32.
 */
#ifndef TALLY_SERVICE_ENGINE_BUDGET_H
#define TALLY_SERVICE_ENGINE_BUDGET_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>

#define TLY_NO_CEILING SIZE_MAX

/* A value that must not move: what tly_budget_mem gives borrows it. */
struct tly_budget {
    struct tly_mem given;
    size_t used;
    size_t ceiling; /* used stays at or below this; TLY_NO_CEILING */
    size_t wanted;  /* by what was refused last */
    bool refused;   /* something was, since this was last cleared */
};

/* Without a ceiling, and as if one block of `bytes` had been given already. */
struct tly_budget tly_budget_of(const struct tly_mem *given, size_t bytes);
struct tly_mem tly_budget_mem(struct tly_budget *budget);

#endif
