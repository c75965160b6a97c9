/* The words of an epoch_sum payload, their ranges, and the sum that never wraps. */
#ifndef TALLY_CRDT_EPOCH_SUM_H
#define TALLY_CRDT_EPOCH_SUM_H

#include "crdt/strategy.h"

enum { TLY_SUM_WINDOW = 0, TLY_SUM_EPOCH = 1, TLY_SUM_COUNT = 2, TLY_SUM_AUX = 3 };

/* One year of 366 days. */
#define TLY_WINDOW_MS_MAX UINT64_C(31622400000)

/* In aux of a plain counter: "the deadline is lifted", as against 0, "nothing said". */
#define TLY_DEADLINE_NONE INT64_MAX

/* a + b, held at the ends of the range: a wrap would open a gate. */
int64_t tly_clamp_add(int64_t a, int64_t b);

#endif
