/*
 * Fingerprints, by which two nodes find where they differ (TREE in PROTOCOL.md).
 *
 *     key --keyed hash--> leaf: the first 12 bits, of which the first 6 are its branch
 *     print of a leaf = sum of the prints of its dots;  of a branch = of its leaves;  of all = of its branches
 *
 * All nodes of a cluster have one key for it, so that equal dots have equal prints, and nobody else knows which dots cancel out.
 *
 * An entry is either in the sums or not.  Whatever changes it takes it out first, and a walk puts in what is not: so a change costs two
 * prints of its dots at most, a key that is busy costs that once between two walks, and a new key nothing.
 *
 * Two nodes may differ in some dots although they agree, for each drops alone what time has ended, and forgets when it gets there.
 * Such dots are left out of a comparison, for which both take the same F and the same time.
 */
#ifndef TALLY_CRDT_PRINTS_H
#define TALLY_CRDT_PRINTS_H

#include "crdt/forget.h"

#define TLY_BRANCHES 64u
#define TLY_LEAVES_EACH 64u
#define TLY_LEAVES (TLY_BRANCHES * TLY_LEAVES_EACH)

/* The sums of a map, kept by their owner. */
struct tly_prints {
    struct tly_hash_key key;
    uint64_t of[TLY_LEAVES]; /* the entries that are in */
};

/* From now on the map, in which no entry may have been printed before, keeps these sums, which are borrowed for its life. */
void tly_ormap_use_prints(struct tly_ormap *map, struct tly_prints *prints);

uint64_t tly_print_of_key(const struct tly_hash_key *key, struct tly_slice name);
/* `name_print` is that of the dot's key. */
uint64_t tly_print_of_dot(const struct tly_hash_key *key, uint64_t name_print,
                          const struct tly_strategy *strategy, const struct tly_dot *dot);

/* Of a key with this print. */
static inline unsigned tly_leaf_of(uint64_t name_print)
{
    return (unsigned)(name_print >> 52);
}

/* What is left out. */
struct tly_omit {
    struct tly_ended ended; /* REMOVEs up to its F, and what has ended by it */
    tly_gone *gone;         /* PUTs that time has ended; NULL: none */
    void *context;
};

/* Takes what is left out from among the dots of one key; how many stay, in front and in order. */
size_t tly_omit_from(const struct tly_omit *omit, struct tly_slice key, const struct tly_strategy *strategy,
                     struct tly_dot *dots, size_t count);
/* The sealed dots of an entry that are not left out (NULL: nothing is). Borrowed. */
const struct tly_dot *tly_entry_dots_left(struct tly_ormap *map, const struct tly_entry *entry,
                                          const struct tly_omit *omit, size_t *count);

/*
 * Puts up to `budget` entries from *cursor on into the sums (those that are unsealed stay out) and adds the prints of what is left out of
 * them to omitted[TLY_LEAVES]. False: it has passed the last one. When the map has not changed since the walk began and all was
 * sealed, sums less `omitted` are the prints of all that is to be compared.
 */
bool tly_prints_walk(struct tly_ormap *map, size_t *cursor, size_t budget, const struct tly_omit *omit,
                     uint64_t *omitted);

/* A number that rises whenever a dot comes, goes or is sealed. */
uint64_t tly_ormap_changes(const struct tly_ormap *map);

#endif
