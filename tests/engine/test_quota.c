/* Quotas: limits of a unit of the calendar, in a time zone. */
#include "tests/engine/support_limit.h"
#include "tests/engine/support_zone.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#define HOUR_MS UINT64_C(3600000)
/* 2026-10-24 22:00 UTC is midnight in Berlin, before the day on which its clocks go back. */
#define LONG_DAY_MS UINT64_C(1792879200000)

static int nothing_is_left(void **state)
{
    (void)state;
    return test_mem_live() == 0 ? 0 : -1;
}

static struct tly_rate quota(const char *text, const struct tly_zone *zone)
{
    struct tly_rate rate = {.algorithm = TLY_QUOTA, .zone = zone};
    assert_int_equal(tly_rate_parse(tly_slice_text(text), &rate), TLY_OK);
    assert_int_equal(tly_rate_check(&rate), TLY_OK);
    return rate;
}

static void a_day_of_25_hours_has_one_quota(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_zone *zone = zone_of(BERLIN);
    struct tly_rate rate = quota("10/d", zone);
    assert_int_equal(check_at(&scene, &rate, 4, LONG_DAY_MS * MS - 1).remaining, 6);
    struct tly_verdict v = check_at(&scene, &rate, 7, LONG_DAY_MS * MS);
    assert_int_equal(v.remaining, 3);
    assert_int_equal(v.reset_ms, 25 * HOUR_MS);
    assert_int_equal(v.window_ms, 25 * HOUR_MS);
    v = check_at(&scene, &rate, 4, (LONG_DAY_MS + 25 * HOUR_MS) * MS - 1);
    assert_int_equal(v.code, TLY_CODE_OVER);
    assert_int_equal(v.retry_after_ms, 1);
    assert_int_equal(check_at(&scene, &rate, 4, (LONG_DAY_MS + 25 * HOUR_MS) * MS).remaining, 6);
    tly_zone_free(zone);
    scene_free(&scene);
}

static void zones_turn_at_their_own_midnight(void **state)
{
    (void)state;
    struct scene scene = scene_new(1);
    struct tly_zone *berlin = zone_of(BERLIN), *york = zone_of(NEW_YORK);
    struct tly_rate here = quota("10/d", berlin), there = quota("10/d", york);
    uint64_t noon = (LONG_DAY_MS - 10 * HOUR_MS) * MS;
    assert_int_equal(check_at(&scene, &here, 1, noon).reset_ms, 10 * HOUR_MS);
    assert_int_equal(check_at(&scene, &there, 0, noon).reset_ms, 16 * HOUR_MS);
    assert_int_equal(check_at(&scene, &here, 0, noon).reset_ms, 10 * HOUR_MS);
    tly_zone_free(york);
    tly_zone_free(berlin);
    scene_free(&scene);
}

/* One unit of the calendar, told by hand: its last ms is in, and what comes before and after it is not. */
static void claim_unit(const char *text, const char *rule, uint64_t begin_s, uint64_t half_hours)
{
    struct scene scene = scene_new(1);
    struct tly_zone *zone = zone_of(rule);
    struct tly_rate rate = quota(text, zone);
    uint64_t begin = begin_s * 1000, end = begin + half_hours * HOUR_MS / 2;
    assert_int_equal(check_at(&scene, &rate, 10, (begin - 1) * MS).remaining, 0);
    struct tly_verdict v = check_at(&scene, &rate, 10, begin * MS);
    assert_int_equal(v.code, TLY_CODE_OK);
    assert_int_equal(v.reset_ms, end - begin);
    v = check_at(&scene, &rate, 1, end * MS - 1);
    assert_int_equal(v.code, TLY_CODE_OVER);
    assert_int_equal(v.retry_after_ms, 1);
    assert_int_equal(check_at(&scene, &rate, 1, end * MS).remaining, 9);
    tly_zone_free(zone);
    scene_free(&scene);
}

/* Days on which clocks go on and back, and a leap day; and months with these in them, in three zones. */
static void quotas_are_right_over_clock_changes_in_three_zones_and_leap_days(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        uint64_t begin_s, half_hours;
    } days[] = {{BERLIN, UINT64_C(1774738800), 46},    {BERLIN, UINT64_C(1792879200), 50},
                {BERLIN, UINT64_C(1835391600), 48},    {NEW_YORK, UINT64_C(1772946000), 46},
                {NEW_YORK, UINT64_C(1793505600), 50},  {NEW_YORK, UINT64_C(1835413200), 48},
                {LORD_HOWE, UINT64_C(1791034200), 47}, {LORD_HOWE, UINT64_C(1775307600), 49},
                {LORD_HOWE, UINT64_C(1835355600), 48}},
      months[] = {{BERLIN, UINT64_C(1832972400), 1392},    {BERLIN, UINT64_C(1772319600), 1486},
                  {NEW_YORK, UINT64_C(1832994000), 1392},  {NEW_YORK, UINT64_C(1793505600), 1442},
                  {LORD_HOWE, UINT64_C(1832936400), 1392}, {LORD_HOWE, UINT64_C(1790775000), 1487}};
    for (size_t i = 0; i < sizeof days / sizeof *days; i++)
        claim_unit("10/d", days[i].rule, days[i].begin_s, days[i].half_hours);
    for (size_t i = 0; i < sizeof months / sizeof *months; i++)
        claim_unit("10/mo", months[i].rule, months[i].begin_s, months[i].half_hours);
}

/* The last ms is in, the next is out. */
static void claim_edges(const struct tly_rate *rate, uint64_t end_ms)
{
    struct scene scene = scene_new(1);
    assert_int_equal(check_at(&scene, rate, 10, (end_ms - 1) * MS).remaining, 0);
    struct tly_verdict v = check_at(&scene, rate, 1, end_ms * MS - 1);
    assert_int_equal(v.code, TLY_CODE_OVER);
    assert_int_equal(v.retry_after_ms, 1);
    assert_int_equal(check_at(&scene, rate, 1, end_ms * MS).remaining, 9);
    scene_free(&scene);
}

static void windows_of_every_length_have_sharp_edges(void **state)
{
    (void)state;
    static const char *const fixed[] = {"10/ms", "10/7s", "10/10m", "10/h", "10/366d"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        struct tly_rate rate = {.algorithm = TLY_FIXED_WINDOW};
        assert_int_equal(tly_rate_parse(tly_slice_text(fixed[i]), &rate), TLY_OK);
        claim_edges(&rate, (START / MS / rate.window_ms + 1) * rate.window_ms);
    }
    static const struct {
        const char *text;
        uint64_t end_s;
    } units[] = {
        {"10/m", 1772323260},  {"10/h", 1772326800}, {"10/d", 1772323200}, {"10/w", 1772409600},
        {"10/mo", 1772323200}, {"10/y", 1798761600}, {"10/mo", 1835481600} /* a leap day is the last */};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct tly_rate rate = quota(units[i].text, NULL);
        claim_edges(&rate, units[i].end_s * 1000);
    }
}

static void the_greatest_numbers_do_not_overflow(void **state)
{
    (void)state;
    static const char *const texts[] = {"9223372036854775807/ms", "9223372036854775807/7s",
                                        "9223372036854775807/366d", "9223372036854775807/mo",
                                        "9223372036854775807/y"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (enum tly_algorithm algorithm = TLY_SLIDING_WINDOW; algorithm <= TLY_QUOTA; algorithm++) {
            struct tly_rate rate = {.algorithm = algorithm};
            assert_int_equal(tly_rate_parse(tly_slice_text(texts[i]), &rate), TLY_OK);
            if (tly_rate_check(&rate) != TLY_OK) continue;
            struct scene scene = scene_new(1);
            for (uint64_t n = 1; n <= 100; n++) {
                struct tly_verdict v = check_at(&scene, &rate, UINT32_MAX, START);
                assert_int_equal(v.code, TLY_CODE_OK);
                assert_true(v.remaining == INT64_MAX - n * UINT32_MAX);
            }
            scene_free(&scene);
        }
    }
}

static void a_quota_counts_over_nodes_and_is_given_back(void **state)
{
    (void)state;
    struct scene a = scene_new(1), b = scene_new(2);
    struct tly_zone *zone = zone_of(LORD_HOWE);
    struct tly_rate rate = quota("100/mo", zone);
    assert_int_equal(check_at(&a, &rate, 90, START).code, TLY_CODE_OK);
    hand_over(&a, &b, START);
    assert_int_equal(check_at(&b, &rate, 11, START).code, TLY_CODE_OVER);
    assert_int_equal(check_at(&b, &rate, 1, START).remaining, 9);
    struct tly_limit_ask back = {
        .seek = tly_seek_of(b.map, tly_slice_text("rl:k")), .rate = &rate, .hits = 50, .now_ns = START};
    uint64_t units;
    assert_int_equal(tly_limit_refund(b.map, &back, START - 40 * 24 * HOUR_MS * MS, &units), TLY_OK);
    assert_int_equal(units, 0);
    assert_int_equal(tly_limit_refund(b.map, &back, START, &units), TLY_OK);
    assert_int_equal(units, 50);
    assert_int_equal(check_at(&b, &rate, 0, START).remaining, 59);
    tly_zone_free(zone);
    scene_free(&b);
    scene_free(&a);
}

static void what_has_no_one_unit_is_no_quota(void **state)
{
    (void)state;
    static const char *const none[] = {"10/2d", "10/s", "10/ms", "10/60s"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct tly_rate rate = {.algorithm = TLY_QUOTA};
        assert_int_equal(tly_rate_parse(tly_slice_text(none[i]), &rate), TLY_OK);
        assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
    }
    struct tly_rate rate = {.algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(tly_rate_parse(tly_slice_text("1/2mo"), &rate), TLY_BAD_RULE);
    assert_int_equal(tly_rate_parse(tly_slice_text("1/mo"), &rate), TLY_OK);
    assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_day_of_25_hours_has_one_quota, nothing_is_left),
        cmocka_unit_test_teardown(quotas_are_right_over_clock_changes_in_three_zones_and_leap_days,
                                  nothing_is_left),
        cmocka_unit_test_teardown(zones_turn_at_their_own_midnight, nothing_is_left),
        cmocka_unit_test_teardown(windows_of_every_length_have_sharp_edges, nothing_is_left),
        cmocka_unit_test_teardown(the_greatest_numbers_do_not_overflow, nothing_is_left),
        cmocka_unit_test_teardown(a_quota_counts_over_nodes_and_is_given_back, nothing_is_left),
        cmocka_unit_test_teardown(what_has_no_one_unit_is_no_quota, nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
