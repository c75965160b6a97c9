/*
 * Calendar units, numbered since 1970 in UTC: proleptic Gregorian, no leap seconds. Weeks begin on Monday; week 0 is the one that
 * 1970 began in.
 */
#ifndef TALLY_CRDT_CALENDAR_H
#define TALLY_CRDT_CALENDAR_H

#include <stdint.h>

/* No version can be made later, so what begins later never comes. */
#define TLY_LAST_MS (UINT64_MAX / 1000000)

enum { TLY_UNIT_MINUTE = 1, TLY_UNIT_HOUR, TLY_UNIT_DAY, TLY_UNIT_WEEK, TLY_UNIT_MONTH, TLY_UNIT_YEAR };

/* When the unit of this number begins, ms since 1970; UINT64_MAX: after TLY_LAST_MS, or no such unit. */
uint64_t tly_calendar_start_ms(uint64_t unit, uint64_t number);

#endif
