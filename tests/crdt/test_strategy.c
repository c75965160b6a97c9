/* What each strategy takes, keeps and reads, by example. */
#include "crdt/calendar.h"
#include "crdt/epoch_sum.h"
#include "tests/crdt/sample.h"
#include "tests/support/cmocka.h"

#include <inttypes.h>
#include <string.h>

__extension__ typedef __int128 wide;

#define WINDOW UINT64_C(1000)

static struct tly_value read_of(const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count,
                                struct tly_moment at)
{
    struct tly_value value;
    memset(&value, 0xa5, sizeof value);
    strategy->read(dots, count, &at, &value);
    return value;
}

/* ---- lww ---- */

/* Law LWW3 */
static void lww_reads_the_last_write_until_its_deadline(void **state)
{
    struct tly_dot dots[] = {text_of(5, 1, "old"), text_of(7, 2, "new")};
    dots[1].num[0] = 1000;
    struct tly_value value = read_of(tly_lww(), dots, 2, (struct tly_moment){.now_ms = 999});
    assert_true(value.present && value.deadline_ms == 1000);
    assert_true(tly_slice_equal(value.bytes, tly_slice_text("new")));
    assert_false(read_of(tly_lww(), dots, 2, (struct tly_moment){.now_ms = 1000}).present);
    assert_false(read_of(tly_lww(), dots, 2, (struct tly_moment){.now_ms = UINT64_MAX}).present);
}

/* Law LWW1 */
static void lww_ties_fall_to_origin_then_remove_then_payload(void **state)
{
    struct tly_dot low[] = {text_of(5, 1, "z"), text_of(5, 1, "a"), text_of(5, 1, "a"), text_of(5, 1, "a")};
    struct tly_dot high[] = {text_of(5, 2, "a"), remove_of(5, 1), text_of(5, 1, "ab"), text_of(5, 1, "")};
    high[3].num[0] = 1;
    for (size_t i = 0; i < 4; i++) {
        assert_true(tly_dominates(tly_lww(), &high[i], &low[i]));
        assert_false(tly_dominates(tly_lww(), &low[i], &high[i]));
    }
}

/* Law LWW2 */
static void in_lww_a_newer_put_leaves_no_boundary(void **state)
{
    struct tly_dot dots[] = {remove_of(5, 1), text_of(6, 1, "a"), text_of(4, 1, "b")};
    assert_int_equal(tly_join(tly_lww(), dots, 3), 1);
    assert_int_equal(dots[0].version.ts, 6);
}

/* Law LWW4 */
static void a_lww_value_has_at_most_64_kib(void **state)
{
    static const uint8_t bytes[TLY_LWW_BYTES_MAX + 1];
    struct tly_dot dot = {.version = {1, 1}, .bytes = tly_slice_of(bytes, TLY_LWW_BYTES_MAX - 1)};
    assert_int_equal(tly_dot_check(tly_lww(), &dot), TLY_OK);
    dot.bytes.n++;
    assert_int_equal(tly_dot_check(tly_lww(), &dot), TLY_OK);
    dot.bytes.n++;
    assert_int_equal(tly_dot_check(tly_lww(), &dot), TLY_TOO_LARGE);
}

/* ---- epoch_max ---- */

/* Laws R2, EM2 */
static void a_boundary_advances_in_every_order(void **state)
{
    const struct tly_dot all[] = {remove_of(10, 1), remove_of(20, 1), put_of(15, 2, 0, 1),
                                  put_of(25, 2, 0, 2)};
    size_t order[] = {0, 1, 2, 3}, orders = 0;
    do {
        struct tly_dot held[4];
        size_t count = 0;
        for (size_t i = 0; i < 4; i++) {
            held[count] = all[order[i]];
            count = tly_join(tly_epoch_max(), held, count + 1);
        }
        assert_int_equal(count, 2);
        assert_true(tly_dot_equal(&held[0], &all[1]) && tly_dot_equal(&held[1], &all[3]));
        orders++;
    } while (next_order(order, 4));
    assert_int_equal(orders, 24);
}

/* Law EM2 */
static void a_remove_between_two_points_uncovers_the_newer(void **state)
{
    struct tly_dot dots[] = {put_of(90, 1, 6, 0), put_of(100, 2, 5, 100), remove_of(95, 3)};
    assert_int_equal(tly_join(tly_epoch_max(), dots, 2), 2);
    struct tly_value value = read_of(tly_epoch_max(), dots, 2, (struct tly_moment){0});
    assert_true(value.present && value.epoch == 6 && value.count == 0);

    dots[2] = remove_of(95, 3);
    assert_int_equal(tly_join(tly_epoch_max(), dots, 3), 2);
    value = read_of(tly_epoch_max(), dots, 2, (struct tly_moment){0});
    assert_true(value.present && value.epoch == 5 && value.count == 100);
}

/* Law EM1 */
static void an_equal_value_moves_forward_only(void **state)
{
    struct tly_dot old = put_of(10, 1, 3, 3), same = put_of(11, 1, 3, 3);
    assert_true(tly_dominates(tly_epoch_max(), &same, &old));
    assert_false(tly_dominates(tly_epoch_max(), &old, &same));
}

/* Law EM3 */
static void epoch_max_values_come_back_as_they_went(void **state)
{
    static const uint64_t values[][2] = {{UINT64_MAX, (uint64_t)INT64_MIN}, {0, 0}, {42, UINT64_MAX}};
    for (size_t i = 0; i < 3; i++) {
        struct tly_dot dot = put_of(1, 1, values[i][0], values[i][1]);
        struct tly_value value = read_of(tly_epoch_max(), &dot, 1, (struct tly_moment){0});
        assert_true(value.present && value.epoch == values[i][0] && value.count == (int64_t)values[i][1]);
    }
}

/* ---- epoch_sum, with a window ---- */

static struct tly_dot window_shard(uint64_t origin, uint64_t epoch, int64_t count, int64_t aux)
{
    return shard_of(10 + origin, origin, (uint64_t[]){WINDOW, epoch, (uint64_t)count, (uint64_t)aux});
}

static void claim_window(const struct tly_dot *dots, size_t count, uint64_t epoch, int64_t current,
                         int64_t previous)
{
    struct tly_moment at = {.window = WINDOW, .epoch = epoch};
    struct tly_value value = read_of(tly_epoch_sum(), dots, count, at);
    assert_int_equal(value.count, current);
    assert_int_equal(value.previous, previous);
}

/* Law ES5 */
static void a_window_adds_counts_of_now_and_aux_of_the_next(void **state)
{
    struct tly_dot dots[] = {window_shard(1, 50, 5, 1), window_shard(2, 49, 7, 100),
                             window_shard(3, 51, 200, 11)};
    claim_window(dots, 3, 50, 5 + 11, 7 + 1);
    claim_window(dots, 3, 49, 7 + 1, 100);
    claim_window(dots, 3, 51, 200, 5 + 11);
    claim_window(dots, 3, 52, 0, 200);
    claim_window(dots, 3, 53, 0, 0);
    claim_window(dots, 3, 48, 100, 0);
}

/* Law ES5 */
static void old_window_leaves_nothing(void **state)
{
    struct tly_dot dots[] = {window_shard(1, 50, 40, 9), window_shard(2, 50, 50, 9)};
    claim_window(dots, 2, 50, 90, 18);
    claim_window(dots, 2, 51, 0, 90);
    claim_window(dots, 2, 52, 0, 0);
}

/* Law ES5 */
static void fast_clock_hides_nothing_and_a_slow_one_still_counts(void **state)
{
    struct tly_dot fast[] = {window_shard(1, 50, 10, 3), window_shard(2, 51, 4, 6),
                             window_shard(3, 49, 2, 8)};
    claim_window(fast, 3, 50, 10 + 6, 2 + 3);
    claim_window(fast, 3, 51, 4, 10 + 6);
}

/* Law ES5 */
static void a_shard_too_far_ahead_counts_when_its_time_comes(void **state)
{
    struct tly_dot dots[] = {window_shard(1, 50, 5, 0), window_shard(2, 60, 7, 3),
                             window_shard(3, UINT64_MAX, INT64_MAX, INT64_MAX)};
    claim_window(dots, 3, 50, 5, 0);
    claim_window(dots, 3, 51, 0, 5);
    claim_window(dots, 3, 59, 3, 0);
    claim_window(dots, 3, 60, 7, 3);
    claim_window(dots, 3, 61, 0, 7);
    claim_window(dots, 3, 62, 0, 0);
}

/* Law ES5 */
static void the_ends_of_the_epochs_do_not_meet(void **state)
{
    struct tly_dot dots[] = {window_shard(1, UINT64_MAX, 5, 3), window_shard(2, 0, 7, 2)};
    claim_window(dots, 2, 0, 7, 2);
    claim_window(dots, 2, 1, 0, 7);
    claim_window(dots, 2, UINT64_MAX - 1, 3, 0);
    claim_window(dots, 2, UINT64_MAX, 5, 3);
}

/* Law ES5 */
static void of_one_origin_only_the_newest_epoch_is_read(void **state)
{
    struct tly_dot dots[] = {shard_of(20, 1, (uint64_t[]){WINDOW, 49, 100, 100}), window_shard(1, 50, 5, 1)};
    assert_int_equal(tly_join(tly_epoch_sum(), dots, 2), 2);
    claim_window(dots, 2, 50, 5, 1);
    claim_window(dots, 2, 49, 1, 0);
    /* The newest that has come: one far ahead does not hide the others. */
    assert_int_equal(dots[0].num[TLY_SUM_EPOCH], 50);
    dots[0].num[TLY_SUM_EPOCH] = 60;
    claim_window(dots, 2, 49, 100, 100);
}

/* Law ES3 */
static void windows_of_one_key_are_apart(void **state)
{
    struct tly_dot dots[] = {window_shard(1, 50, 5, 1), shard_of(11, 1, (uint64_t[]){7, 50, 100, 100}),
                             shard_of(11, 1, (uint64_t[]){0, 50, 1000, 0})};
    assert_int_equal(tly_join(tly_epoch_sum(), dots, 3), 3);
    claim_window(dots, 3, 50, 5, 1);
    struct tly_value value = read_of(tly_epoch_sum(), dots, 3, (struct tly_moment){0});
    assert_int_equal(value.count, 1000);
}

/* ---- sums ---- */

static int64_t clamped(wide sum)
{
    if (sum > INT64_MAX) return INT64_MAX;
    return sum < INT64_MIN ? INT64_MIN : (int64_t)sum;
}

static void claim_sum(const int64_t *counts, size_t n, uint64_t window)
{
    struct tly_dot dots[8];
    wide sum = 0;
    for (size_t i = 0; i < n; i++) {
        dots[i] = shard_of(1, i + 1, (uint64_t[]){window, 4, (uint64_t)counts[i], 0});
        sum += counts[i];
    }
    struct tly_moment at = {.window = window, .epoch = 4};
    claim(read_of(tly_epoch_sum(), dots, n, at).count == clamped(sum));
    at.epoch = 5;
    if (window != 0) claim(read_of(tly_epoch_sum(), dots, n, at).previous == clamped(sum));
}

/* Law ES7 */
static void sums_saturate_alike_in_every_order(void **state)
{
    static const int64_t sets[][3] = {{INT64_MAX, 1, -1},
                                      {INT64_MIN, -1, 1},
                                      {INT64_MAX, INT64_MAX, INT64_MIN},
                                      {INT64_MIN, INT64_MIN, INT64_MAX}};
    size_t orders = 0;
    for (size_t s = 0; s < 4; s++) {
        size_t order[] = {0, 1, 2};
        do {
            int64_t counts[] = {sets[s][order[0]], sets[s][order[1]], sets[s][order[2]]};
            claim_sum(counts, 3, 0);
            claim_sum(counts, 3, WINDOW);
            orders++;
        } while (next_order(order, 3));
    }
    assert_int_equal(orders, 24);
}

/* Law ES7 */
static void random_sums_equal_those_of_128_bits(void **state)
{
    static const int64_t ends[] = {INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1, -1, 1};
    uint64_t first = test_seed_first();
    for (uint64_t seed = first; seed < first + 20000; seed++) {
        struct test_rng rng = test_rng_of(seed);
        int64_t counts[8];
        size_t n = (size_t)test_rng_below(&rng, 9);
        for (size_t i = 0; i < n; i++)
            counts[i] =
                test_rng_chance(&rng, 50) ? ends[test_rng_below(&rng, 6)] : (int64_t)test_rng_next(&rng);
        claim_sum(counts, n, test_rng_chance(&rng, 50) ? 0 : WINDOW);
        int64_t a = ends[test_rng_below(&rng, 6)], b = (int64_t)test_rng_next(&rng);
        claim(tly_clamp_add(a, b) == clamped((wide)a + b));
        claim(tly_clamp_add(a, a) == clamped((wide)a + a));
    }
}

/* ---- expiry ---- */

static bool expired(uint64_t window, uint64_t epoch, uint64_t now_ms, uint64_t skew_ms)
{
    struct tly_dot dot = shard_of(1, 1, (uint64_t[]){window, epoch, 1, 1});
    return tly_epoch_sum()->expired(&dot, now_ms, skew_ms);
}

/* Law ES13 */
static void a_shard_expires_two_windows_and_the_skew_after_its_end_to_the_ms(void **state)
{
    static const uint64_t windows[] = {1, 7000, 600000, TLY_WINDOW_MS_MAX};
    static const uint64_t skews[] = {0, 1, 300000};
    for (size_t i = 0; i < 12; i++) {
        uint64_t window = windows[i / 3], skew = skews[i % 3], last = 51 * window + 2 * window + skew;
        assert_false(expired(window, 50, last, skew));
        assert_true(expired(window, 50, last + 1, skew));
        assert_false(expired(window, 50, 50 * window, skew));
        assert_false(expired(window, 50, 0, skew));
    }
}

/* Law ES13 */
static void neither_counters_nor_far_epochs_nor_large_skews_expire(void **state)
{
    assert_false(expired(0, 0, UINT64_MAX, 0));
    assert_false(expired(1, TLY_LAST_MS, 0, 0));
    assert_false(expired(1, TLY_LAST_MS, TLY_LAST_MS, 0));
    assert_true(expired(1, TLY_LAST_MS, TLY_LAST_MS + 4, 0));
    assert_false(expired(1000, 0, UINT64_MAX, UINT64_MAX));
    assert_false(expired(TLY_WINDOW_MS_MAX, TLY_LAST_MS / TLY_WINDOW_MS_MAX, TLY_LAST_MS, 0));
}

static void an_epoch_that_no_clock_reaches_is_over_from_the_beginning(void **state)
{
    assert_true(expired(1, UINT64_MAX, 0, UINT64_MAX));
    assert_true(expired(1, TLY_LAST_MS + 1, 0, UINT64_MAX));
    assert_true(expired(TLY_WINDOW_MS_MAX, TLY_LAST_MS / TLY_WINDOW_MS_MAX + 1, 0, UINT64_MAX));
    for (uint64_t unit = 1; unit <= TLY_CALENDAR_UNITS; unit++)
        assert_true(expired(TLY_WINDOW_CALENDAR + unit, UINT64_MAX, 0, UINT64_MAX));
}

/* date(1) of another system made these. */
static void calendar_units_begin_when_the_calendar_says(void **state)
{
    static const struct {
        uint64_t unit, number, start_s;
    } known[] = {
        {TLY_UNIT_MINUTE, 1, 60},
        {TLY_UNIT_HOUR, 2, 7200},
        {TLY_UNIT_DAY, 59, 5097600},
        {TLY_UNIT_WEEK, 0, 0},
        {TLY_UNIT_WEEK, 1, 345600},
        {TLY_UNIT_WEEK, 2957, 1788134400},
        {TLY_UNIT_MONTH, 0, 0},
        {TLY_UNIT_MONTH, 1, 2678400},
        {TLY_UNIT_MONTH, 361, 949363200},
        {TLY_UNIT_MONTH, 362, 951868800},
        {TLY_UNIT_MONTH, 650, 1709251200},
        {TLY_UNIT_YEAR, 30, 946684800},
        {TLY_UNIT_YEAR, 130, 4102444800},
        {TLY_UNIT_YEAR, 131, 4133980800},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(tly_calendar_start_ms(known[i].unit, known[i].number), known[i].start_s * 1000);
    assert_int_equal(tly_calendar_start_ms(0, 1), UINT64_MAX);
    assert_int_equal(tly_calendar_start_ms(TLY_CALENDAR_UNITS + 1, 1), UINT64_MAX);
}

static void a_month_expires_two_months_and_15_hours_after_its_end(void **state)
{
    const uint64_t hour = 3600000, skew = 300000;
    uint64_t february_2024 = 649, june = tly_calendar_start_ms(TLY_UNIT_MONTH, february_2024 + 3);
    uint64_t last = june + 15 * hour + skew;
    assert_false(expired(TLY_WINDOW_CALENDAR + TLY_UNIT_MONTH, february_2024, last, skew));
    assert_true(expired(TLY_WINDOW_CALENDAR + TLY_UNIT_MONTH, february_2024, last + 1, skew));
    assert_false(expired(TLY_WINDOW_CALENDAR + TLY_UNIT_MONTH, february_2024, 0, skew));
    for (uint64_t unit = 1; unit <= TLY_CALENDAR_UNITS; unit++) {
        uint64_t end = tly_calendar_start_ms(unit, 103) + 15 * hour + skew;
        assert_false(expired(TLY_WINDOW_CALENDAR + unit, 100, end, skew));
        assert_true(expired(TLY_WINDOW_CALENDAR + unit, 100, end + 1, skew));
    }
}

/* Law ES13 */
static void expiry_agrees_with_128_bits_everywhere(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t yes = 0, rounds = 200000;
    for (size_t i = 0; i < rounds; i++) {
        uint64_t window = 1 + test_rng_next(&rng) % TLY_WINDOW_MS_MAX, shift = test_rng_below(&rng, 64);
        uint64_t now = test_rng_next(&rng) >> shift, skew = test_rng_below(&rng, 400000);
        uint64_t epoch = now / window + test_rng_below(&rng, 8) - 6;
        wide gone_after = ((wide)epoch + 3) * window + skew;
        bool never_comes = epoch > TLY_LAST_MS / window;
        claim(expired(window, epoch, now, skew) == (never_comes || (wide)now > gone_after));
        yes += expired(window, epoch, now, skew);
    }
    claim(yes > 1000 && yes < rounds);
}

/* ---- window 0 ---- */

/* Law ES6 */
static void a_counter_sums_the_highest_generation_only(void **state)
{
    struct tly_dot dots[] = {shard_of(30, 1, (uint64_t[]){0, 4, 100, 0}),
                             shard_of(20, 2, (uint64_t[]){0, 5, 7, 0}),
                             shard_of(25, 3, (uint64_t[]){0, 5, (uint64_t)-2, 0}), remove_of(10, 4)};
    assert_int_equal(tly_join(tly_epoch_sum(), dots, 4), 4);
    struct tly_value value = read_of(tly_epoch_sum(), dots, 4, (struct tly_moment){0});
    assert_true(value.present && value.epoch == 5 && value.count == 5 && value.deadline_ms == 0);
}

/* Law ES11 */
static void the_newest_word_on_a_deadline_counts(void **state)
{
    struct tly_dot dots[] = {
        shard_of(30, 1, (uint64_t[]){0, 5, 1, 0}), shard_of(20, 2, (uint64_t[]){0, 5, 1, 900}),
        shard_of(25, 3, (uint64_t[]){0, 5, 1, 800}), shard_of(40, 4, (uint64_t[]){0, 4, 1, 1})};
    struct tly_value value = read_of(tly_epoch_sum(), dots, 4, (struct tly_moment){.now_ms = 799});
    assert_true(value.present && value.count == 3 && value.deadline_ms == 800);
    value = read_of(tly_epoch_sum(), dots, 4, (struct tly_moment){.now_ms = 800});
    assert_true(!value.present && value.deadline_ms == 800);
    dots[2].num[TLY_SUM_AUX] = TLY_DEADLINE_NONE;
    value = read_of(tly_epoch_sum(), dots, 4, (struct tly_moment){.now_ms = UINT64_MAX});
    assert_true(value.present && value.deadline_ms == 0);
}

/* ---- the edge and the table ---- */

/* Law L9 */
static void malformed_dots_are_refused(void **state)
{
    for (size_t s = 0; s < SAMPLE_STRATEGIES; s++) {
        const struct tly_strategy *strategy = tly_strategy_at(s);
        struct tly_dot good = {.version = {1, 1}}, bad;
        if (strategy->id == TLY_ESCROW) good.num[0] = WINDOW;
        bad = good;
        assert_int_equal(tly_dot_check(strategy, &good), TLY_OK);
        bad.version.ts = 0;
        assert_int_equal(tly_dot_check(strategy, &bad), TLY_BAD_PAYLOAD);
        bad = good;
        bad.version.origin = 0;
        assert_int_equal(tly_dot_check(strategy, &bad), TLY_BAD_PAYLOAD);
        for (size_t word = 0; word < TLY_NUMS_MAX; word++) {
            bad = good;
            bad.num[word] = 1;
            assert_int_equal(tly_dot_check(strategy, &bad), word < strategy->nums ? TLY_OK : TLY_BAD_PAYLOAD);
            bad.op = TLY_REMOVE;
            assert_int_equal(tly_dot_check(strategy, &bad), TLY_BAD_PAYLOAD);
        }
        bad = good;
        bad.bytes = tly_slice_text("x");
        assert_int_equal(tly_dot_check(strategy, &bad), strategy->has_bytes ? TLY_OK : TLY_BAD_PAYLOAD);
        bad.op = TLY_REMOVE;
        assert_int_equal(tly_dot_check(strategy, &bad), TLY_BAD_PAYLOAD);
    }
}

/* Law ES15 */
static void a_window_is_at_most_a_year(void **state)
{
    struct tly_dot dot = shard_of(1, 1, (uint64_t[]){TLY_WINDOW_MS_MAX, 0, 0, 0});
    assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), TLY_OK);
    dot.num[TLY_SUM_WINDOW]++;
    assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), TLY_BAD_PAYLOAD);
    for (uint64_t unit = 0; unit <= TLY_CALENDAR_UNITS + 1; unit++) {
        bool known = unit >= 1 && unit <= TLY_CALENDAR_UNITS;
        dot.num[TLY_SUM_WINDOW] = TLY_WINDOW_CALENDAR + unit;
        assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), known ? TLY_OK : TLY_BAD_PAYLOAD);
    }
}

/* Law ES15 */
static void a_window_may_be_one_of_six_calendar_units(void **state)
{
    struct tly_dot dot = shard_of(1, 1, (uint64_t[]){0, 0, 1, 2});
    for (uint64_t unit = 0; unit <= TLY_CALENDAR_UNITS + 1; unit++) {
        dot.num[TLY_SUM_WINDOW] = TLY_WINDOW_CALENDAR + unit;
        bool known = unit >= 1 && unit <= TLY_CALENDAR_UNITS;
        assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), known ? TLY_OK : TLY_BAD_PAYLOAD);
    }
    dot.num[TLY_SUM_WINDOW] = TLY_WINDOW_CALENDAR - 1;
    assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), TLY_BAD_PAYLOAD);
    dot.num[TLY_SUM_WINDOW] = UINT64_MAX;
    assert_int_equal(tly_dot_check(tly_epoch_sum(), &dot), TLY_BAD_PAYLOAD);
}

static void every_strategy_is_found_by_number_and_name(void **state)
{
    static const char *const names[] = {"lww", "epoch_max", "epoch_sum", "escrow"};
    for (size_t i = 0; i < SAMPLE_STRATEGIES; i++) {
        const struct tly_strategy *strategy = tly_strategy_at(i);
        assert_string_equal(strategy->name, names[i]);
        assert_ptr_equal(tly_strategy_by_id(strategy->id), strategy);
        assert_ptr_equal(tly_strategy_by_name(tly_slice_text(names[i])), strategy);
    }
    assert_null(tly_strategy_at(SAMPLE_STRATEGIES));
    assert_null(tly_strategy_by_id(0));
    assert_null(tly_strategy_by_id(UINT64_MAX));
    assert_null(tly_strategy_by_name(tly_slice_text("lw")));
    assert_null(tly_strategy_by_name(tly_slice_text("lwww")));
    assert_null(tly_strategy_by_name(tly_slice_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lww_reads_the_last_write_until_its_deadline),
        cmocka_unit_test(lww_ties_fall_to_origin_then_remove_then_payload),
        cmocka_unit_test(in_lww_a_newer_put_leaves_no_boundary),
        cmocka_unit_test(a_lww_value_has_at_most_64_kib),
        cmocka_unit_test(a_boundary_advances_in_every_order),
        cmocka_unit_test(a_remove_between_two_points_uncovers_the_newer),
        cmocka_unit_test(an_equal_value_moves_forward_only),
        cmocka_unit_test(epoch_max_values_come_back_as_they_went),
        cmocka_unit_test(a_window_adds_counts_of_now_and_aux_of_the_next),
        cmocka_unit_test(old_window_leaves_nothing),
        cmocka_unit_test(fast_clock_hides_nothing_and_a_slow_one_still_counts),
        cmocka_unit_test(a_shard_too_far_ahead_counts_when_its_time_comes),
        cmocka_unit_test(the_ends_of_the_epochs_do_not_meet),
        cmocka_unit_test(of_one_origin_only_the_newest_epoch_is_read),
        cmocka_unit_test(windows_of_one_key_are_apart),
        cmocka_unit_test(sums_saturate_alike_in_every_order),
        cmocka_unit_test(random_sums_equal_those_of_128_bits),
        cmocka_unit_test(a_shard_expires_two_windows_and_the_skew_after_its_end_to_the_ms),
        cmocka_unit_test(neither_counters_nor_far_epochs_nor_large_skews_expire),
        cmocka_unit_test(an_epoch_that_no_clock_reaches_is_over_from_the_beginning),
        cmocka_unit_test(calendar_units_begin_when_the_calendar_says),
        cmocka_unit_test(a_month_expires_two_months_and_15_hours_after_its_end),
        cmocka_unit_test(expiry_agrees_with_128_bits_everywhere),
        cmocka_unit_test(a_counter_sums_the_highest_generation_only),
        cmocka_unit_test(the_newest_word_on_a_deadline_counts),
        cmocka_unit_test(malformed_dots_are_refused),
        cmocka_unit_test(a_window_is_at_most_a_year),
        cmocka_unit_test(a_window_may_be_one_of_six_calendar_units),
        cmocka_unit_test(every_strategy_is_found_by_number_and_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
