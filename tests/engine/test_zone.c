/* Time zones and the units of the calendar in them; the oracle is the C library. */
#include "tests/engine/support_zone.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdlib.h>
#include <time.h>

#define HOUR_MS UINT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
/* 2370: what the C library computes from a rule has no end. */
#define LAST_S UINT64_C(12622780800)

static const char *const rules[] = {
    BERLIN,
    NEW_YORK,
    LORD_HOWE,
    "IST-5:30",                         /* no summer */
    "CST5CDT,M3.2.0/0,M11.1.0/1",       /* the clock goes back over midnight's hour */
    "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", /* changes on the evening before */
    "NZST-12NZDT,M9.5.0,M4.1.0/3",      /* summer over new year */
    "IST-1GMT0,M10.5.0,M3.5.0/1",       /* winter is the exception */
    "XXX4YYY,J60/0,J300/0",             /* days that know no leap years */
    "XXX4YYY3,59/0,299/0",              /* … and that do */
};

#define RULES (sizeof rules / sizeof *rules)

static void use_libc(const char *rule)
{
    assert_int_equal(setenv("TZ", rule, 1), 0);
    tzset();
}

static struct tm shown(uint64_t at_ms)
{
    struct tm tm;
    time_t at = (time_t)(at_ms / 1000);
    assert_non_null(localtime_r(&at, &tm));
    return tm;
}

static void offsets_are_those_of_the_c_library(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < RULES; i++) {
        struct tly_zone *zone = zone_of(rules[i]);
        use_libc(rules[i]);
        for (size_t n = 0; n < 20000; n++) {
            uint64_t at_s = test_rng_below(&rng, LAST_S);
            if (tly_zone_offset(zone, (int64_t)at_s) != shown(at_s * 1000).tm_gmtoff)
                print_message("%s at %zu\n", rules[i], (size_t)at_s);
            claim(tly_zone_offset(zone, (int64_t)at_s) == shown(at_s * 1000).tm_gmtoff);
        }
        tly_zone_free(zone);
    }
}

/* The unit is what the clock shows, and its first moment is the first at which it shows it. */
static bool same_unit(unsigned unit, const struct tm *a, const struct tm *b)
{
    switch (unit) {
    case TLY_UNIT_DAY: return a->tm_year == b->tm_year && a->tm_yday == b->tm_yday;
    case TLY_UNIT_WEEK: return false;
    case TLY_UNIT_MONTH: return a->tm_year == b->tm_year && a->tm_mon == b->tm_mon;
    default: return a->tm_year == b->tm_year;
    }
}

static void claim_unit(unsigned unit, const struct tly_zone *zone, uint64_t now_ms)
{
    struct tly_unit_span span = tly_zone_span(zone, unit, now_ms);
    claim(span.start_ms <= now_ms && now_ms < span.end_ms);
    struct tly_unit_span next = tly_zone_span(zone, unit, span.end_ms);
    claim(next.number == span.number + 1 && next.start_ms == span.end_ms);
    struct tly_unit_span last = tly_zone_span(zone, unit, span.end_ms - 1);
    claim(last.number == span.number && last.end_ms == span.end_ms);
    struct tm first = shown(span.start_ms), now = shown(now_ms), end = shown(span.end_ms),
              before = shown(span.start_ms - 1000);
    if (unit == TLY_UNIT_WEEK) {
        claim(first.tm_wday == 1 && end.tm_wday == 1 && before.tm_wday == 0);
        return;
    }
    claim(same_unit(unit, &first, &now) && !same_unit(unit, &first, &end));
    claim(!same_unit(unit, &first, &before));
}

static void units_begin_where_the_clock_first_shows_them(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < RULES; i++) {
        struct tly_zone *zone = zone_of(rules[i]);
        use_libc(rules[i]);
        for (size_t n = 0; n < 3000; n++)
            claim_unit(TLY_UNIT_DAY + (unsigned)test_rng_below(&rng, 4), zone,
                       400 * DAY_MS + test_rng_below(&rng, LAST_S) * 1000);
        tly_zone_free(zone);
    }
}

static uint64_t utc_ms(int year, int month, int day, int hour)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour};
    return (uint64_t)timegm(&tm) * 1000;
}

static void days_in_which_clocks_change_are_shorter_or_longer(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        int year, month, day;
        uint64_t half_hours;
    } days[] = {
        {BERLIN, 2026, 3, 29, 46},   {BERLIN, 2026, 10, 25, 50},   {BERLIN, 2026, 10, 26, 48},
        {NEW_YORK, 2026, 3, 8, 46},  {NEW_YORK, 2026, 11, 1, 50},  {NEW_YORK, 2024, 2, 29, 48},
        {LORD_HOWE, 2026, 4, 5, 49}, {LORD_HOWE, 2026, 10, 4, 47}, {LORD_HOWE, 2026, 10, 5, 48},
    };
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        struct tly_zone *zone = zone_of(days[i].rule);
        uint64_t noon = utc_ms(days[i].year, days[i].month, days[i].day, 12);
        noon -= (uint64_t)((int64_t)tly_zone_offset(zone, (int64_t)(noon / 1000)) * 1000);
        struct tly_unit_span span = tly_zone_span(zone, TLY_UNIT_DAY, noon);
        assert_int_equal(span.end_ms - span.start_ms, days[i].half_hours * HOUR_MS / 2);
        tly_zone_free(zone);
    }
}

static void months_have_their_days_and_february_its_leap_day(void **state)
{
    (void)state;
    static const struct {
        int year, month;
        uint64_t days;
    } months[] = {{2027, 2, 28}, {2028, 2, 29},  {2100, 2, 28}, {2000, 2, 29},
                  {2026, 4, 30}, {2026, 12, 31}, {2026, 1, 31}};
    for (size_t i = 0; i < sizeof months / sizeof *months; i++) {
        uint64_t start = utc_ms(months[i].year, months[i].month, 1, 0);
        struct tly_unit_span span = tly_zone_span(NULL, TLY_UNIT_MONTH, start + 15 * DAY_MS);
        assert_int_equal(span.start_ms, start);
        assert_int_equal(span.end_ms - span.start_ms, months[i].days * DAY_MS);
        assert_int_equal(span.number, (months[i].year - 1970) * 12 + months[i].month - 1);
    }
    struct tly_unit_span leap = tly_zone_span(NULL, TLY_UNIT_YEAR, utc_ms(2028, 12, 31, 23));
    assert_int_equal(leap.end_ms - leap.start_ms, 366 * DAY_MS);
    assert_int_equal(leap.number, 58);
}

/* An hour that the clock shows twice is two; none goes back. */
static void minutes_and_hours_go_on_over_every_change(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < RULES; i++) {
        struct tly_zone *zone = zone_of(rules[i]);
        for (unsigned unit = TLY_UNIT_MINUTE; unit <= TLY_UNIT_YEAR; unit++) {
            uint64_t now = utc_ms(2026, 1, 1, 0), until = utc_ms(2028, 1, 1, 0), number = 0;
            while (now < until) {
                struct tly_unit_span span = tly_zone_span(zone, unit, now);
                claim(span.number >= number && span.start_ms <= now && now < span.end_ms);
                if (unit <= TLY_UNIT_HOUR)
                    claim(span.end_ms - span.start_ms == (unit == TLY_UNIT_HOUR ? HOUR_MS : HOUR_MS / 60));
                number = span.number;
                now += test_rng_below(&rng, HOUR_MS);
            }
        }
        struct tly_unit_span hour = tly_zone_span(zone, TLY_UNIT_HOUR, utc_ms(2026, 10, 25, 1));
        if (i == 0) assert_int_equal(hour.start_ms, utc_ms(2026, 10, 25, 1));
        if (i == 3) assert_int_equal(hour.start_ms, utc_ms(2026, 10, 25, 0) + HOUR_MS / 2);
        tly_zone_free(zone);
    }
}

static void what_is_no_zone_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"CET",
                                      "CET-1CEST",
                                      "CET-1CEST,M3.5.0",
                                      "CET-30",
                                      "CET-1CEST,M13.1.0,M1.1.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "-1",
                                      "<CET-1",
                                      "CET-1CEST,J0,J366",
                                      "CET-1CEST,366,1"};
    uint8_t bytes[ZONE_BYTES];
    struct tly_mem mem = test_mem();
    struct tly_zone *zone = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tly_zone_new(&mem, tly_slice_of(bytes, zone_file(bad[i], bytes)), &zone),
                         TLY_BAD_MESSAGE);
    size_t n = zone_file(BERLIN, bytes);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(tly_zone_new(&mem, tly_slice_of(bytes, cut), &zone), TLY_BAD_MESSAGE);
}

static void any_bytes_are_survived(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_mem mem = test_mem();
    size_t taken = 0;
    for (size_t i = 0; i < 20000; i++) {
        uint8_t bytes[ZONE_BYTES];
        size_t n = zone_file(rules[i % RULES], bytes);
        for (size_t times = 1 + (size_t)test_rng_below(&rng, 3); times > 0; times--)
            bytes[test_rng_below(&rng, n)] = (uint8_t)test_rng_below(&rng, 256);
        struct tly_zone *zone;
        enum tly_result result = tly_zone_new(&mem, tly_slice_of(bytes, n), &zone);
        claim(result == TLY_OK || result == TLY_BAD_MESSAGE);
        if (result != TLY_OK) continue;
        uint64_t now = test_rng_below(&rng, TLY_LAST_MS);
        for (unsigned unit = TLY_UNIT_MINUTE; unit <= TLY_UNIT_YEAR; unit++) {
            struct tly_unit_span span = tly_zone_span(zone, unit, now);
            claim(span.start_ms <= now && now < span.end_ms);
        }
        taken++;
        tly_zone_free(zone);
    }
    claim(taken > 100);
}

static void without_memory_nothing_is_left(void **state)
{
    (void)state;
    uint8_t bytes[ZONE_BYTES];
    size_t n = zone_file(BERLIN, bytes), failed = 0;
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = countdown};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_zone *zone = NULL;
        enum tly_result result = tly_zone_new(&mem, tly_slice_of(bytes, n), &zone);
        assert_int_equal(result, failing.failed ? TLY_NOMEM : TLY_OK);
        if (!failing.failed) {
            tly_zone_free(zone);
            break;
        }
        failed++;
    }
    assert_true(failed > 2);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_those_of_the_c_library),
        cmocka_unit_test(units_begin_where_the_clock_first_shows_them),
        cmocka_unit_test(days_in_which_clocks_change_are_shorter_or_longer),
        cmocka_unit_test(months_have_their_days_and_february_its_leap_day),
        cmocka_unit_test(minutes_and_hours_go_on_over_every_change),
        cmocka_unit_test(what_is_no_zone_is_refused),
        cmocka_unit_test(any_bytes_are_survived),
        cmocka_unit_test(without_memory_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
