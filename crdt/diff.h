/*
 * Comparing the dots of one key: what one side lacks, and why a dot is redundant beside another.  Nothing here decides: both
 * say in another form what dominance says (strategy.h).
 */
#ifndef TALLY_CRDT_DIFF_H
#define TALLY_CRDT_DIFF_H

#include "crdt/strategy.h"

/* The dots of one side. */
struct tly_dots {
    const struct tly_dot *dots;
    size_t count;
};

/*
 * Reduces b, in place and in the order it had, to the least D with join(a, D) = join(a, b): the dots of the join that a does
 * not have. Without any one of them the join would be another. Neither side need be a join. O(count^2). How many are left.
 */
size_t tly_diff(const struct tly_strategy *strategy, struct tly_dots a, struct tly_dot *b, size_t b_count);

/* By which rule a makes b redundant, as a sentence; NULL exactly when it does not (tly_dominates). */
const char *tly_why(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b);

#endif
