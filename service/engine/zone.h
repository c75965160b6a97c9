/*
 * Time zones, and the calendar units of quotas in them.  A zone is what a file of the tz database says (TZif, RFC 9636), and after its last
 * change what the rule at its end says (POSIX TZ), worked out for the years to come.  Leap seconds are not counted.
 *
 * Days, weeks (from Monday), months and years begin when the zone's clock first shows their beginning, whatever it shows afterwards, so
 * a day has 23 hours or 25 where clocks change.  Minutes and hours follow the zone's clock too, but none is longer or shorter
 * for that: an hour that the clock shows twice is two.
 */
#ifndef TALLY_SERVICE_ENGINE_ZONE_H
#define TALLY_SERVICE_ENGINE_ZONE_H

#include "crdt/calendar.h"
#include "crdt/dot.h"
#include "crdt/mem.h"
#include "crdt/result.h"

struct tly_zone;

/* Of these bytes, which may be anything. TLY_OK, TLY_NOMEM, TLY_BAD_MESSAGE: no such file, or no rule that can be read. */
enum tly_result tly_zone_new(const struct tly_mem *mem, struct tly_slice tzif,
                             struct tly_zone **out) TLY_MUST_CHECK;
void tly_zone_free(struct tly_zone *zone);
/* Seconds east of Greenwich; NULL: UTC. */
int32_t tly_zone_offset(const struct tly_zone *zone, int64_t at_s);

/* One calendar unit. A value. */
struct tly_unit_span {
    uint64_t number; /* since 1970, as of tly_calendar_start_ms */
    uint64_t start_ms, end_ms;
};

/* The unit of this kind (TLY_UNIT_...) in which a moment lies. Numbers never fall while time goes on. */
struct tly_unit_span tly_zone_span(const struct tly_zone *zone, unsigned unit, uint64_t now_ms);
/* Before that no zone there is or may be has begun the unit of that number. */
uint64_t tly_zone_earliest_ms(unsigned unit, uint64_t number);

#endif
