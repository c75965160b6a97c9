/*
 * The rules of LAWS.md written once more, slowly and apart from the code: what dominates what, what is left of some
 * dots, and how that reads.  Nothing here calls tly_dominates, tly_join or a strategy's read, so a law that compares with
 * it cannot be wrong in the same way.
 */
#ifndef TALLY_TESTS_CRDT_RULES_H
#define TALLY_TESTS_CRDT_RULES_H

#include "crdt/strategy.h"

bool rule_dominates(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b);

/* Leaves the dots that no other dominates, without doubles, ascending; how many those are. */
size_t rule_fold(const struct tly_strategy *strategy, struct tly_dot *dots, size_t count);

/* What folded dots read as; an empty value for none. */
struct tly_value rule_read(const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count,
                           const struct tly_moment *at);

#endif
