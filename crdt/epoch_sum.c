/*
 * epoch_sum: EpochMaxWins shards, one per (origin, window), summed.
 *
 * With a window, epoch = floor(time / window) and a shard carries two slots: count is what its origin admitted in
 * `epoch`, aux what it admitted in `epoch` - 1.  Dots of neighbouring epochs are read together, so a node whose
 * clock runs a window ahead neither wipes nor hides what the others counted.  With window 0 it is a plain counter:
 * the epoch is its reset generation and only the highest generation is read.
 */
#include "crdt/epoch_sum.h"

#include "crdt/calendar.h"

__extension__ typedef __int128 wide;

int64_t tly_clamp_add(int64_t a, int64_t b)
{
    wide sum = (wide)a + b;
    if (sum > INT64_MAX) return INT64_MAX;
    if (sum < INT64_MIN) return INT64_MIN;
    return (int64_t)sum;
}

static int64_t clamp(wide sum)
{
    if (sum > INT64_MAX) return INT64_MAX;
    if (sum < INT64_MIN) return INT64_MIN;
    return (int64_t)sum;
}

bool tly_window_is_good(uint64_t window)
{
    uint64_t unit = window - TLY_WINDOW_CALENDAR;
    bool calendar = window >= TLY_WINDOW_CALENDAR && unit >= 1 && unit <= TLY_CALENDAR_UNITS;
    return calendar || window <= TLY_WINDOW_MS_MAX;
}

static enum tly_result check(const struct tly_dot *put)
{
    return tly_window_is_good(put->num[TLY_SUM_WINDOW]) ? TLY_OK : TLY_BAD_PAYLOAD;
}

static bool slots_greater(const struct tly_dot *a, const struct tly_dot *b)
{
    int64_t x = (int64_t)a->num[TLY_SUM_COUNT], y = (int64_t)b->num[TLY_SUM_COUNT];
    if (x != y) return x > y;
    return (int64_t)a->num[TLY_SUM_AUX] > (int64_t)b->num[TLY_SUM_AUX];
}

static bool dominates(const struct tly_dot *a, const struct tly_dot *b)
{
    int version = tly_version_compare(a->version, b->version);
    if (version < 0 || a->num[TLY_SUM_WINDOW] != b->num[TLY_SUM_WINDOW]) return false;
    uint64_t x = a->num[TLY_SUM_EPOCH], y = b->num[TLY_SUM_EPOCH];
    if (a->num[TLY_SUM_WINDOW] == 0 && x > y) return true;
    if (a->version.origin != b->version.origin || x < y) return false;
    return version > 0 || x > y || slots_greater(a, b);
}

/* The dots are few per entry; one origin shows twice only after a hostile or a repeated write. */
static bool newer_from_same_origin(const struct tly_dot *dots, size_t count, size_t i, uint64_t epoch_max)
{
    for (size_t j = 0; j < count; j++) {
        const struct tly_dot *other = &dots[j];
        if (j == i || other->op == TLY_REMOVE || other->version.origin != dots[i].version.origin) continue;
        if (other->num[TLY_SUM_WINDOW] != dots[i].num[TLY_SUM_WINDOW]) continue;
        if (other->num[TLY_SUM_EPOCH] > dots[i].num[TLY_SUM_EPOCH] && other->num[TLY_SUM_EPOCH] <= epoch_max)
            return true;
    }
    return false;
}

static void read_window(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                        struct tly_value *value)
{
    wide current = 0, previous = 0;
    uint64_t ahead = at->epoch == UINT64_MAX ? UINT64_MAX : at->epoch + 1;
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        uint64_t epoch = dot->num[TLY_SUM_EPOCH];
        if (dot->op == TLY_REMOVE || dot->num[TLY_SUM_WINDOW] != at->window || epoch > ahead) continue;
        value->present = true;
        /* Of one origin no two dots have one epoch, so however many are forged, three of them at most are looked at twice. */
        bool past = epoch < at->epoch && at->epoch - epoch > 1;
        if (past || newer_from_same_origin(dots, count, i, ahead)) continue;
        int64_t units = (int64_t)dot->num[TLY_SUM_COUNT], before = (int64_t)dot->num[TLY_SUM_AUX];
        if (epoch == at->epoch) {
            current += units;
            previous += before;
        } else if (epoch == ahead) {
            current += before;
        } else if (epoch == at->epoch - 1) {
            previous += units;
        }
    }
    value->epoch = at->epoch;
    value->count = clamp(current);
    value->previous = clamp(previous);
}

static void read_counter(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                         struct tly_value *value)
{
    wide sum = 0;
    const struct tly_dot *carrier = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        if (dot->op == TLY_REMOVE || dot->num[TLY_SUM_WINDOW] != 0) continue;
        if (!value->present || dot->num[TLY_SUM_EPOCH] > value->epoch) {
            sum = 0;
            carrier = NULL;
            value->epoch = dot->num[TLY_SUM_EPOCH];
        }
        value->present = true;
        if (dot->num[TLY_SUM_EPOCH] != value->epoch) continue;
        sum += (int64_t)dot->num[TLY_SUM_COUNT];
        if (dot->num[TLY_SUM_AUX] == 0) continue;
        if (carrier == NULL || tly_version_compare(dot->version, carrier->version) > 0) carrier = dot;
    }
    value->count = clamp(sum);
    int64_t aux = carrier != NULL ? (int64_t)carrier->num[TLY_SUM_AUX] : 0;
    if (aux > 0 && aux != TLY_DEADLINE_NONE) value->deadline_ms = (uint64_t)aux;
    if (value->deadline_ms != 0 && at->now_ms >= value->deadline_ms) value->present = false;
}

static void read(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                 struct tly_value *value)
{
    *value = (struct tly_value){0};
    if (at->window == 0)
        read_counter(dots, count, at, value);
    else
        read_window(dots, count, at, value);
}

/* ---- when a window is over ---- */

/* In some zone a day ends so much later than in UTC, and a bit. */
#define ZONES_MS UINT64_C(54000000)

static bool calendar_expired(uint64_t window, uint64_t epoch, uint64_t now_ms, uint64_t skew_ms)
{
    uint64_t unit = window - TLY_WINDOW_CALENDAR;
    if (tly_calendar_start_ms(unit, epoch) == UINT64_MAX) return true;
    uint64_t end_ms = tly_calendar_start_ms(unit, epoch + 3);
    return end_ms != UINT64_MAX && now_ms > end_ms && now_ms - end_ms > ZONES_MS &&
           now_ms - end_ms - ZONES_MS > skew_ms;
}

bool tly_window_expired(uint64_t window, uint64_t epoch, uint64_t now_ms, uint64_t skew_ms)
{
    if (window == 0) return false;
    if (window >= TLY_WINDOW_CALENDAR) return calendar_expired(window, epoch, now_ms, skew_ms);
    /* A window that never comes would else be held for ever. */
    if (epoch > TLY_LAST_MS / window) return true;
    /* The window ends at (epoch + 1) * window; two more windows and the skew must have passed. */
    uint64_t passed = now_ms / window;
    if (epoch > passed || passed - epoch < 3) return false;
    return now_ms - (epoch + 3) * window > skew_ms;
}

static bool expired(const struct tly_dot *put, uint64_t now_ms, uint64_t skew_ms)
{
    return tly_window_expired(put->num[TLY_SUM_WINDOW], put->num[TLY_SUM_EPOCH], now_ms, skew_ms);
}

bool tly_sum_is_ahead(const struct tly_dot *put, uint64_t now_ms)
{
    uint64_t window = put->num[TLY_SUM_WINDOW], epoch = put->num[TLY_SUM_EPOCH];
    if (window == 0 || epoch == 0) return false;
    if (window < TLY_WINDOW_CALENDAR) return epoch - 1 > now_ms / window;
    uint64_t unit = window - TLY_WINDOW_CALENDAR, start_ms = tly_calendar_start_ms(unit, epoch - 1);
    /* Hours and minutes are the same in all zones, but for those that are half an hour apart. */
    uint64_t apart_ms = unit <= TLY_UNIT_HOUR ? 0 : ZONES_MS;
    return start_ms != UINT64_MAX && start_ms > now_ms && start_ms - now_ms > apart_ms;
}

static const struct tly_strategy strategy = {
    .name = "epoch_sum",
    .id = TLY_EPOCH_SUM,
    .nums = 4,
    .signed_nums = 1u << TLY_SUM_COUNT | 1u << TLY_SUM_AUX,
    .own_shards = true,
    .check = check,
    .dominates = dominates,
    .read = read,
    .expired = expired,
};

const struct tly_strategy *tly_epoch_sum(void)
{
    return &strategy;
}
