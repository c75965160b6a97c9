/*
 * The prefix registry: which merge strategy a key has.  A key takes the strategy of its longest registered prefix.
 * A table never changes: registering makes a new one, so nobody ever sees half of a change.  The owner frees the
 * old one once nothing uses it.
 */
#ifndef TALLY_CRDT_REGISTRY_H
#define TALLY_CRDT_REGISTRY_H

#include "crdt/mem.h"
#include "crdt/strategy.h"

#define TLY_PREFIX_BYTES_MAX 64
#define TLY_PREFIXES_MAX 256

struct tly_registry;

/*
 * A prefix that was dropped stays in the table, so that nobody takes what was under it for something of now; its keys are those of
 * a shorter prefix.  The generation rises with whatever changes what its keys mean; 0: it has been so from the beginning.
 */
struct tly_prefix {
    struct tly_slice prefix;             /* borrows from the registry */
    const struct tly_strategy *strategy; /* NULL: it was dropped */
    uint32_t generation;
};

#define TLY_GENERATION_MAX (UINT32_C(1) << 24)

/* An empty table. NULL: no memory. */
struct tly_registry *tly_registry_new(const struct tly_mem *mem);
void tly_registry_free(struct tly_registry *registry);

/*
 * A table with one more prefix.
 *   TLY_OK              *out is a new table (also when nothing changed: same prefix, same strategy)
 *   TLY_PREFIX_TAKEN    registered with another strategy
 *   TLY_BAD_PREFIX      too long, or too many
 *   TLY_NOMEM
 */
enum tly_result tly_registry_with(const struct tly_registry *registry, struct tly_slice prefix,
                                  const struct tly_strategy *strategy,
                                  struct tly_registry **out) TLY_MUST_CHECK;

/* A table in which the prefix is as said, whatever it was. TLY_BAD_PREFIX, TLY_NOMEM. */
enum tly_result tly_registry_set(const struct tly_registry *registry, const struct tly_prefix *prefix,
                                 struct tly_registry **out) TLY_MUST_CHECK;

/* What the table says of just this prefix, also if it was dropped; false: nothing. */
bool tly_registry_get(const struct tly_registry *registry, struct tly_slice prefix, struct tly_prefix *out);
/* The longest registered prefix of key; false: there is none. */
bool tly_registry_home(const struct tly_registry *registry, struct tly_slice key, struct tly_prefix *out);

/* The strategy of the longest registered prefix of key, or NULL. */
const struct tly_strategy *tly_registry_find(const struct tly_registry *registry, struct tly_slice key);

/* Prefixes in byte order, those that were dropped too. */
size_t tly_registry_count(const struct tly_registry *registry);
struct tly_prefix tly_registry_at(const struct tly_registry *registry, size_t i);

#endif
