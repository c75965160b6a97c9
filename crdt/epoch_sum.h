/* The words of an epoch_sum payload, their ranges, and the sum that never wraps. */
#ifndef TALLY_CRDT_EPOCH_SUM_H
#define TALLY_CRDT_EPOCH_SUM_H

#include "crdt/strategy.h"

enum { TLY_SUM_WINDOW = 0, TLY_SUM_EPOCH = 1, TLY_SUM_COUNT = 2, TLY_SUM_AUX = 3 };

/* One year of 366 days. */
#define TLY_WINDOW_MS_MAX UINT64_C(31622400000)

/*
 * A window may be a calendar unit instead: this plus 1 to TLY_CALENDAR_UNITS for minute, hour, day, week, month, year. Its epoch is
 * the unit's index since 1970 in the rule's zone.
 */
#define TLY_WINDOW_CALENDAR (UINT64_C(1) << 63)
#define TLY_CALENDAR_UNITS 6

/* In aux of a plain counter: "the deadline is lifted", as against 0, "nothing said". */
#define TLY_DEADLINE_NONE INT64_MAX

/*
 * Whether what its origin counts at this time would be read nowhere: a shard's epoch never falls, and what is counted more than one window
 * before it is added to that.
 */
bool tly_sum_is_ahead(const struct tly_dot *put, uint64_t now_ms);

/* a + b, held at the ends of the range: a wrap would open a gate. */
int64_t tly_clamp_add(int64_t a, int64_t b);

/* Whether a window is one of the lengths above; 0 is. */
bool tly_window_is_good(uint64_t window);

/* Whether such an epoch of a window that is not 0 is over for good: ES13. */
bool tly_window_expired(uint64_t window, uint64_t epoch, uint64_t now_ms, uint64_t skew_ms);

#endif
