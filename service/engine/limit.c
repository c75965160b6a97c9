#include "service/engine/limit.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"

#define NS_PER_MS UINT64_C(1000000)
#define NEVER UINT64_MAX

__extension__ typedef unsigned __int128 wide;

static uint64_t units_of(int64_t count)
{
    return count > 0 ? (uint64_t)count : 0;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- windows ---- */

struct window {
    uint64_t length, elapsed;
    uint64_t current, previous;
};

static void find_span(struct tly_span *span, uint64_t length_ms, uint64_t now_ms)
{
    if (span->pane.window == length_ms && now_ms - span->start_ms < length_ms) return;
    uint64_t epoch = now_ms / length_ms;
    *span = (struct tly_span){epoch * length_ms, tly_pane_of(length_ms, epoch)};
}

/* How many units could be taken now: limit - previous * (1 - elapsed / length) - current, rounded down, at least 0. */
static uint64_t window_room(const struct window *w, uint64_t limit)
{
    if (w->previous == 0) return w->current >= limit ? 0 : limit - w->current;
    wide weighted = (wide)w->previous * (w->length - w->elapsed);
    wide used = (weighted + w->length - 1) / w->length + w->current;
    return used >= limit ? 0 : limit - (uint64_t)used;
}

/* The first moment of a window at which `before` units of the one before it leave room for `wanted` of `limit`. */
static uint64_t first_fit(uint64_t before, uint64_t wanted, uint64_t limit, uint64_t length)
{
    if (before == 0) return 0;
    wide weight = (wide)(limit - wanted) * length / before;
    return weight >= length ? 0 : length - (uint64_t)weight;
}

static uint64_t window_retry(const struct window *w, uint64_t hits, uint64_t limit)
{
    if (hits > limit) return NEVER;
    uint64_t left = w->length - w->elapsed;
    if (w->current <= limit && hits <= limit - w->current) {
        uint64_t fit = first_fit(w->previous, w->current + hits, limit, w->length);
        if (fit < w->length) return fit > w->elapsed ? fit - w->elapsed : 0;
    }
    return left + first_fit(w->current, hits, limit, w->length);
}

static uint64_t window_reset(const struct window *w, bool sliding)
{
    uint64_t left = w->length - w->elapsed;
    if (w->current > 0) return sliding ? left + w->length : left;
    return w->previous > 0 ? left : 0;
}

static uint64_t refused_for(const struct window *w, const struct tly_limit_ask *ask, bool sliding)
{
    if (sliding) return window_retry(w, ask->hits, ask->rate->limit);
    return ask->hits > ask->rate->limit ? NEVER : w->length - w->elapsed;
}

static enum tly_result check_window(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                    struct tly_span *span, struct tly_verdict *verdict)
{
    const struct tly_rate *rate = ask->rate;
    uint64_t now_ms = ask->now_ns / NS_PER_MS, hits = ask->hits;
    find_span(span, rate->window_ms, now_ms);
    struct tly_tally tally;
    tly_tally_of(map, &ask->seek, &span->pane, &tally);
    bool sliding = rate->algorithm == TLY_SLIDING_WINDOW;
    struct window w = {rate->window_ms, now_ms - span->start_ms, units_of(tally.current),
                       sliding ? units_of(tally.previous) : 0};
    uint64_t room = window_room(&w, rate->limit);
    bool ok = hits <= room;
    if (ok && hits > 0) {
        enum tly_result result = tly_tally_hit(map, &ask->seek, &span->pane, &tally, (int64_t)hits);
        if (result != TLY_OK) return result;
        w.current += hits;
        room -= hits;
    }
    *verdict = (struct tly_verdict){
        .code = ok ? TLY_CODE_OK : TLY_CODE_OVER,
        .limit = rate->limit,
        .remaining = room,
        .reset_ms = window_reset(&w, sliding),
        .retry_after_ms = ok ? 0 : refused_for(&w, ask, sliding),
        .window_ms = rate->window_ms,
        .algorithm = rate->algorithm,
    };
    return TLY_OK;
}

/* ---- the token bucket ---- */

struct bucket {
    uint64_t tat, emission, tolerance;
};

/* Where a node starts that sees a bucket for the first time: every shard's own debt, added up, but not over full. */
static uint64_t first_tat(struct tly_ormap *map, const struct tly_entry *entry, uint64_t tolerance,
                          uint64_t now_ns)
{
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    uint64_t debt = 0;
    for (size_t i = 0; i < count; i++) {
        if (dots[i].op == TLY_REMOVE || dots[i].num[TLY_SUM_WINDOW] != 0) continue;
        uint64_t tat = units_of((int64_t)dots[i].num[TLY_SUM_AUX]);
        if (tat <= now_ns) continue;
        uint64_t more = tat - now_ns;
        debt = more >= tolerance - debt ? tolerance : debt + more;
    }
    return debt == 0 ? 0 : now_ns + debt;
}

/* Of an entry that may not be there. */
static struct bucket read_bucket(struct tly_ormap *map, const struct tly_tally *tally,
                                 const struct tly_rate *rate, uint64_t now_ns)
{
    uint64_t burst = rate->burst != 0 ? rate->burst : rate->limit;
    struct bucket bucket = {.emission = rate->window_ms * NS_PER_MS / rate->limit};
    bucket.tolerance = bucket.emission * burst;
    if (tally->entry == NULL || tly_entry_strategy(tally->entry)->id != TLY_EPOCH_SUM) return bucket;
    const uint64_t *local = tly_entry_local(tally->entry);
    bool known = local != NULL && local[TLY_BUCKET_EMISSION] != 0;
    bucket.tat = known ? local[TLY_BUCKET_TAT] : first_tat(map, tally->entry, bucket.tolerance, now_ns);
    return bucket;
}

static void note_bucket(struct tly_entry *entry, const struct bucket *bucket)
{
    uint64_t *local = tly_entry_local(entry);
    local[TLY_BUCKET_TAT] = bucket->tat;
    local[TLY_BUCKET_EMISSION] = bucket->emission;
    local[TLY_BUCKET_TOLERANCE] = bucket->tolerance;
}

static enum tly_result take_from_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                        const struct tly_tally *tally, const struct bucket *bucket)
{
    struct tly_entry *entry = tally->entry;
    if (entry != NULL && tly_entry_local(entry) != NULL &&
        tly_tally_counter_hit(map, &ask->seek, tally, ask->hits, (int64_t)bucket->tat)) {
        note_bucket(entry, bucket);
        return TLY_OK;
    }
    enum tly_result result = tly_seek_need(map, &ask->seek, &entry);
    if (result != TLY_OK) return result;
    struct tly_hit hit = {.epoch = tally->generation, .units = ask->hits, .aux = (int64_t)bucket->tat};
    result = tly_entry_strategy(entry)->id == TLY_EPOCH_SUM ? TLY_OK : TLY_WRONG_STRATEGY;
    if (result == TLY_OK) result = tly_entry_need_local(map, &entry);
    if (result == TLY_OK) result = tly_ormap_hit(map, &entry, &hit);
    if (result == TLY_OK)
        note_bucket(entry, bucket);
    else
        tly_ormap_tidy(map, entry);
    return result;
}

static enum tly_result check_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                    struct tly_verdict *verdict)
{
    uint32_t hits = ask->hits;
    uint64_t now_ns = ask->now_ns;
    struct tly_tally tally;
    tly_tally_counter(map, &ask->seek, &tally);
    struct bucket bucket = read_bucket(map, &tally, ask->rate, now_ns);
    uint64_t debt = max_u64(bucket.tat, now_ns) - now_ns;
    wide wanted = (wide)bucket.emission * hits;
    bool ok = debt + wanted <= bucket.tolerance;
    if (ok && hits > 0) {
        debt += (uint64_t)wanted;
        bucket.tat = now_ns + debt;
        enum tly_result result = take_from_bucket(map, ask, &tally, &bucket);
        if (result != TLY_OK) return result;
    }
    uint64_t missing_ns = ok ? 0 : (uint64_t)(debt + wanted - bucket.tolerance);
    *verdict = (struct tly_verdict){
        .code = ok ? TLY_CODE_OK : TLY_CODE_OVER,
        .limit = bucket.tolerance / bucket.emission,
        .remaining = debt >= bucket.tolerance ? 0 : (bucket.tolerance - debt) / bucket.emission,
        .reset_ms = (debt + NS_PER_MS - 1) / NS_PER_MS,
        .retry_after_ms = wanted > bucket.tolerance ? NEVER : (missing_ns + NS_PER_MS - 1) / NS_PER_MS,
        .window_ms = ask->rate->window_ms,
        .algorithm = TLY_TOKEN_BUCKET,
    };
    return TLY_OK;
}

enum tly_result tly_limit_check(struct tly_ormap *map, const struct tly_limit_ask *ask, struct tly_span *span,
                                struct tly_verdict *verdict)
{
    if (ask->rate->algorithm == TLY_TOKEN_BUCKET) return check_bucket(map, ask, verdict);
    return check_window(map, ask, span, verdict);
}

/* ---- learning from elsewhere, ending ---- */

bool tly_limit_is_counter(struct tly_slice key)
{
    return !tly_limit_is_limit(key);
}

bool tly_limit_is_limit(struct tly_slice key)
{
    return tly_slice_begins(key, tly_slice_text("rl:"));
}

bool tly_limit_is_bucket(struct tly_slice key, const struct tly_dot *dot)
{
    return dot->op == TLY_PUT && dot->num[TLY_SUM_WINDOW] == 0 && tly_limit_is_limit(key);
}

int64_t tly_limit_units(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry == NULL) return 0;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *other = &dots[i];
        if (other->op == TLY_PUT && other->version.origin == dot->version.origin &&
            other->num[TLY_SUM_WINDOW] == 0 && other->num[TLY_SUM_EPOCH] == dot->num[TLY_SUM_EPOCH])
            return (int64_t)other->num[TLY_SUM_COUNT];
    }
    return 0;
}

void tly_limit_learned(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot,
                       int64_t units_before, uint64_t now_ns)
{
    struct tly_entry *entry = tly_ormap_find(map, key);
    uint64_t *local = entry != NULL ? tly_entry_local(entry) : NULL;
    if (local == NULL || local[TLY_BUCKET_EMISSION] == 0) return;
    int64_t taken;
    if (__builtin_sub_overflow((int64_t)dot->num[TLY_SUM_COUNT], units_before, &taken) || taken <= 0) return;
    /* An hour apart must not become an hour of refusals. */
    uint64_t most = now_ns + 2 * local[TLY_BUCKET_TOLERANCE];
    wide tat = max_u64(now_ns, local[TLY_BUCKET_TAT]) + (wide)local[TLY_BUCKET_EMISSION] * (uint64_t)taken;
    local[TLY_BUCKET_TAT] = tat > most ? most : (uint64_t)tat;
}

bool tly_limit_expired(struct tly_slice key, const struct tly_strategy *strategy, const struct tly_dot *put,
                       uint64_t now_ns, uint64_t skew_ns)
{
    if (strategy->expired == NULL) return false;
    if (!tly_limit_is_bucket(key, put))
        return strategy->expired(put, now_ns / NS_PER_MS, skew_ns / NS_PER_MS);
    /* A bucket is full again once its TAT has passed. */
    uint64_t full = units_of((int64_t)put->num[TLY_SUM_AUX]);
    return now_ns > full && now_ns - full > skew_ns;
}
