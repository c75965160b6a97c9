/* Giving back, and charging what was done already, whatever the limit says. */
#include "crdt/epoch_sum.h"
#include "service/engine/bounded.h"
#include "service/engine/bucket.h"

#define NS_PER_MS UINT64_C(1000000)

static uint64_t units_of(int64_t count)
{
    return count > 0 ? (uint64_t)count : 0;
}

static uint64_t debt_of(const struct tly_bucket *bucket, uint64_t now_ns)
{
    return bucket->tat > now_ns ? bucket->tat - now_ns : 0;
}

static uint64_t own_units(const struct tly_ormap *map, const struct tly_tally *tally,
                          const struct tly_pane *pane)
{
    struct tly_dot own;
    if (tally->entry == NULL || !tly_ormap_own(map, tally->entry, pane->window, &own)) return 0;
    return own.num[TLY_SUM_EPOCH] == pane->epoch ? units_of((int64_t)own.num[TLY_SUM_COUNT]) : 0;
}

/* Gives back to a window; before: to the one before it, which weighs in a sliding one. */
static enum tly_result refund_span(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                   const struct tly_pane *pane, bool before, uint64_t *units)
{
    struct tly_tally tally;
    tly_tally_of(map, &ask->seek, pane, &tally);
    uint64_t charged = units_of(before ? tally.previous : tally.current);
    /* What another has used of its rights this node cannot give it back. */
    if (ask->rate->mode == TLY_HARD) charged = own_units(map, &tally, pane);
    uint64_t back = ask->hits < charged ? ask->hits : charged;
    if (back == 0) return TLY_OK;
    struct tly_hit hit = {.window = pane->window, .epoch = pane->epoch - before, .units = -(int64_t)back};
    enum tly_result result = before ? tly_ormap_hit(map, &tally.entry, &hit)
                                    : tly_tally_hit(map, &ask->seek, pane, &tally, hit.units);
    if (result == TLY_OK) *units = back;
    return result;
}

static enum tly_result refund_window(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t at_ns,
                                     uint64_t *units)
{
    uint64_t length = ask->rate->window_ms, now = ask->now_ns / NS_PER_MS / length;
    uint64_t epoch = at_ns / NS_PER_MS / length;
    bool is_before = epoch + 1 == now && ask->rate->algorithm == TLY_SLIDING_WINDOW;
    *units = 0;
    if (epoch != now && !is_before) return TLY_OK;
    struct tly_pane pane = tly_pane_of(length, now);
    return refund_span(map, ask, &pane, is_before, units);
}

static enum tly_result refund_quota(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t at_ns,
                                    uint64_t *units)
{
    const struct tly_rate *rate = ask->rate;
    struct tly_unit_span span = tly_zone_span(rate->zone, rate->unit, ask->now_ns / NS_PER_MS);
    uint64_t at_ms = at_ns / NS_PER_MS;
    *units = 0;
    if (at_ms < span.start_ms || at_ms >= span.end_ms) return TLY_OK;
    struct tly_pane pane = tly_pane_of(tly_rate_window(rate), span.number);
    return refund_span(map, ask, &pane, false, units);
}

static enum tly_result refund_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t at_ns,
                                     uint64_t *units)
{
    struct tly_tally tally;
    tly_tally_counter(map, &ask->seek, &tally);
    struct tly_bucket bucket = tly_bucket_read(map, &tally, ask->rate, ask->now_ns);
    /* Of the last of those that were taken a part may have flowed back; with it the bucket is full, and no more than that. */
    uint64_t debt = debt_of(&bucket, ask->now_ns), charged = (debt + bucket.emission - 1) / bucket.emission;
    uint64_t back = ask->hits < charged ? ask->hits : charged;
    *units = 0;
    /* By then it has all come back by itself. */
    bool is_over = at_ns < ask->now_ns && ask->now_ns - at_ns >= bucket.tolerance;
    if (back == 0 || is_over) return TLY_OK;
    bucket.tat = ask->now_ns + (back < charged ? debt - back * bucket.emission : 0);
    enum tly_result result = tly_bucket_take(map, ask, &tally, &bucket, -(int64_t)back);
    if (result == TLY_OK) *units = back;
    return result;
}

enum tly_result tly_limit_refund(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t at_ns,
                                 uint64_t *units)
{
    *units = 0;
    if (ask->rate->algorithm == TLY_CONCURRENCY) return TLY_IN_FLIGHT;
    if (ask->rate->algorithm == TLY_COUNTER) return tly_bounded_lower(map, ask, units);
    if (ask->rate->algorithm == TLY_TOKEN_BUCKET) return refund_bucket(map, ask, at_ns, units);
    if (ask->rate->algorithm == TLY_QUOTA) return refund_quota(map, ask, at_ns, units);
    return refund_window(map, ask, at_ns, units);
}

/* ---- charging ---- */

static struct tly_pane pane_at(const struct tly_rate *rate, uint64_t now_ms)
{
    if (rate->algorithm != TLY_QUOTA) return tly_pane_of(tly_rate_window(rate), now_ms / rate->window_ms);
    struct tly_unit_span span = tly_zone_span(rate->zone, rate->unit, now_ms);
    return tly_pane_of(tly_rate_window(rate), span.number);
}

static enum tly_result charge_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask)
{
    struct tly_tally tally;
    tly_tally_counter(map, &ask->seek, &tally);
    struct tly_bucket bucket = tly_bucket_read(map, &tally, ask->rate, ask->now_ns);
    /* An hour's work that is said at once must not become an hour of refusals. */
    uint64_t debt = debt_of(&bucket, ask->now_ns), most = 2 * bucket.tolerance;
    uint64_t left = debt < most ? (most - debt) / bucket.emission : 0;
    bucket.tat = ask->now_ns + (ask->hits > left ? most : debt + bucket.emission * ask->hits);
    return tly_bucket_take(map, ask, &tally, &bucket, ask->hits);
}

enum tly_result tly_limit_charge(struct tly_ormap *map, const struct tly_limit_ask *ask)
{
    if (ask->hits == 0) return TLY_OK;
    if (ask->rate->algorithm == TLY_CONCURRENCY) return TLY_IN_FLIGHT;
    if (ask->rate->algorithm == TLY_COUNTER) return tly_bounded_raise(map, ask);
    if (ask->rate->algorithm == TLY_TOKEN_BUCKET) return charge_bucket(map, ask);
    struct tly_pane pane = pane_at(ask->rate, ask->now_ns / NS_PER_MS);
    struct tly_tally tally;
    tly_tally_of(map, &ask->seek, &pane, &tally);
    return tly_tally_hit(map, &ask->seek, &pane, &tally, ask->hits);
}
