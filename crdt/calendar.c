#include "crdt/calendar.h"

#define HOUR_MS UINT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
/* 1970 began on a Thursday. */
#define FIRST_MONDAY_MS (4 * DAY_MS)

/* Days from 1970-01-01 to the first of a month (Hinnant, "chrono-compatible low-level date algorithms"). */
static uint64_t days_to_month(uint64_t months)
{
    uint64_t year = 1970 + months / 12, month = months % 12;
    if (month < 2) year--; /* years are taken to begin in March, so that a leap day ends one */
    uint64_t era = year / 400, of_era = year % 400, from_march = (month + 10) % 12;
    uint64_t of_year = (153 * from_march + 2) / 5;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static uint64_t times(uint64_t number, uint64_t unit_ms)
{
    return number > TLY_LAST_MS / unit_ms ? UINT64_MAX : number * unit_ms;
}

uint64_t tly_calendar_start_ms(uint64_t unit, uint64_t number)
{
    if (number > TLY_LAST_MS) return UINT64_MAX;
    switch (unit) {
    case TLY_UNIT_MINUTE: return times(number, 60000);
    case TLY_UNIT_HOUR: return times(number, HOUR_MS);
    case TLY_UNIT_DAY: return times(number, DAY_MS);
    case TLY_UNIT_WEEK:
        if (number == 0) return 0;
        number = times(number - 1, 7 * DAY_MS);
        return number == UINT64_MAX ? number : number + FIRST_MONDAY_MS;
    case TLY_UNIT_MONTH: return times(days_to_month(number), DAY_MS);
    case TLY_UNIT_YEAR: return times(days_to_month(12 * number), DAY_MS);
    default: return UINT64_MAX;
    }
}
