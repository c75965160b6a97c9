#include "service/engine/limit.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "service/engine/bounded.h"
#include "service/engine/bucket.h"
#include "service/engine/judge.h"

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
    *span = (struct tly_span){.start_ms = epoch * length_ms, .pane = tly_pane_of(length_ms, epoch)};
}

static void find_unit(struct tly_span *span, const struct tly_rate *rate, uint64_t now_ms)
{
    uint64_t window = TLY_WINDOW_CALENDAR + rate->unit;
    bool is_same = span->pane.window == window && span->zone == rate->zone;
    if (is_same && now_ms >= span->start_ms && now_ms < span->end_ms) return;
    struct tly_unit_span unit = tly_zone_span(rate->zone, rate->unit, now_ms);
    *span = (struct tly_span){unit.start_ms, tly_pane_of(window, unit.number), unit.end_ms, rate->zone};
}

/* Units that are used now: previous * (1 - elapsed / length) + current, rounded up. */
static uint64_t window_used(const struct window *w)
{
    if (w->previous == 0) return w->current;
    wide weighted = (wide)w->previous * (w->length - w->elapsed);
    wide used = (weighted + w->length - 1) / w->length + w->current;
    return used > UINT64_MAX ? UINT64_MAX : (uint64_t)used;
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
    return used >= limit ? 0 : limit - used;
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

/* A check of a window, as far as it has come. */
struct look {
    struct window w;
    uint64_t used, room;
    bool sliding, ok;
};

/* Field by field, for every check comes by here; what is said only of keys that were judged is not set. */
TLY_ALWAYS_INLINE void tell_code(const struct tly_limit_ask *ask, bool ok, struct tly_verdict *verdict)
{
    verdict->code = ok ? TLY_CODE_OK : TLY_CODE_OVER;
    verdict->reason = ok ? TLY_REASON_NONE : TLY_REASON_LIMIT;
    verdict->mode = ask->rate->mode;
    verdict->algorithm = ask->rate->algorithm;
    verdict->bound = 0;
    verdict->is_peek = verdict->is_judged = verdict->shadow = verdict->full = false;
    verdict->name = tly_slice_of(NULL, 0);
}

TLY_ALWAYS_INLINE void tell_window(const struct tly_limit_ask *ask, const struct look *look,
                                   struct tly_verdict *verdict)
{
    const struct tly_rate *rate = ask->rate;
    tell_code(ask, look->ok, verdict);
    verdict->limit = rate->limit;
    verdict->used = look->used;
    verdict->remaining = look->room;
    verdict->reset_ms = window_reset(&look->w, look->sliding);
    verdict->retry_after_ms = look->ok ? 0 : refused_for(&look->w, ask, look->sliding);
    verdict->window_ms = look->w.length;
}

/*
 * Refused hits are counted when they are over what is known to be used. What a projection refuses may still fit, and what a cap says
 * must not be passed is not counted either.
 */
TLY_ALWAYS_INLINE bool charges_refused(const struct tly_limit_ask *ask, uint64_t used)
{
    return ask->charging == TLY_CHARGE_ALL && ask->rate->mode == TLY_OPTIMISTIC &&
           ask->hits > left_of(ask->rate->limit, used);
}

TLY_ALWAYS_INLINE enum tly_result hit_window(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                             const struct tly_span *span, const struct tly_tally *tally,
                                             struct look *look)
{
    look->ok = ask->hits <= look->room;
    if ((!look->ok && !charges_refused(ask, look->used)) || ask->hits == 0) return TLY_OK;
    enum tly_result result = tly_tally_hit(map, &ask->seek, &span->pane, tally, (int64_t)ask->hits);
    if (result != TLY_OK) return result;
    look->w.current += ask->hits;
    look->used += ask->hits;
    look->room = left_of(look->room, ask->hits);
    return TLY_OK;
}

/* The window that was asked about, with fewer hits in it. */
static __attribute__((noinline)) enum tly_result give_back(struct tly_ormap *map,
                                                           const struct tly_limit_ask *ask,
                                                           const struct tly_span *span,
                                                           const struct tly_tally *tally, struct look look,
                                                           struct tly_verdict *verdict)
{
    uint64_t hits = ask->hits < look.w.current ? ask->hits : look.w.current;
    look.ok = true;
    if (hits > 0) {
        enum tly_result result = tly_tally_hit(map, &ask->seek, &span->pane, tally, -(int64_t)hits);
        if (result != TLY_OK) return result;
        look.w.current -= hits;
        look.used = window_used(&look.w);
        look.room = left_of(ask->rate->limit, look.used);
    }
    tell_window(ask, &look, verdict);
    return TLY_OK;
}

/* What stands in the way beside the limit may be gone as soon as the others have spoken. */
static void retry_soon(const struct look *look, const struct tly_limit_ask *ask, struct tly_verdict *verdict)
{
    uint64_t left = look->w.length - look->w.elapsed;
    if (verdict->code == TLY_CODE_OK || verdict->retry_after_ms == NEVER) return;
    if (ask->hits > left_of(ask->rate->limit, look->used)) return;
    verdict->retry_after_ms = left < TLY_RETRY_SOON_MS ? left : TLY_RETRY_SOON_MS;
}

/* The look by value: so it need not lie in memory where nothing is judged. */
static __attribute__((noinline)) enum tly_result judge_window(struct tly_ormap *map,
                                                              const struct tly_heat_ask *about,
                                                              const struct tly_limit_ask *ask,
                                                              const struct tly_span *span, struct look look,
                                                              struct tly_verdict *verdict)
{
    struct tly_judged judged;
    int64_t current = about->tally->current;
    tly_judge_look(ask, about, &judged);
    struct window projected = look.w;
    projected.current += judged.ahead.current;
    if (look.sliding) projected.previous += judged.ahead.previous;
    tly_judge_room(ask, left_of(judged.limit, window_used(&projected)), about->tally->entry == NULL, &judged);
    look.room = judged.room;
    uint64_t before = look.used;
    enum tly_result result = hit_window(map, ask, span, about->tally, &look);
    if (result != TLY_OK) return result;
    if (look.used != before && judged.hot != NULL)
        tly_hot_count(judged.hot, ask->hits, tly_clamp_add(current, (int64_t)ask->hits));
    tell_window(ask, &look, verdict);
    retry_soon(&look, ask, verdict);
    tly_judge_tell(ask, &judged, ask->rate->limit, verdict);
    return TLY_OK;
}

/* Of a window that begins and ends so. */
TLY_ALWAYS_INLINE enum tly_result check_span(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                             const struct tly_span *span, uint64_t length_ms,
                                             struct tly_verdict *verdict)
{
    const struct tly_rate *rate = ask->rate;
    uint64_t now_ms = ask->now_ns / NS_PER_MS;
    struct tly_tally tally;
    tly_tally_of(map, &ask->seek, &span->pane, &tally);
    struct look look = {.sliding = rate->algorithm == TLY_SLIDING_WINDOW};
    look.w = (struct window){length_ms, now_ms - span->start_ms, units_of(tally.current),
                             look.sliding ? units_of(tally.previous) : 0};
    look.used = window_used(&look.w);
    look.room = left_of(rate->limit, look.used);
    if (ask->rights != NULL && *ask->rights < look.room) look.room = *ask->rights;
    if (ask->charging == TLY_GIVE_BACK) return give_back(map, ask, span, &tally, look, verdict);
    if (tly_judge_wants(ask, look.used, rate->limit)) {
        struct tly_heat_ask about = {map,
                                     &ask->seek,
                                     &span->pane,
                                     &tally,
                                     span->start_ms * NS_PER_MS,
                                     ask->now_ns,
                                     rate->mode == TLY_CAPPED};
        return judge_window(map, &about, ask, span, look, verdict);
    }
    enum tly_result result = hit_window(map, ask, span, &tally, &look);
    if (result == TLY_OK) tell_window(ask, &look, verdict);
    return result;
}

static enum tly_result check_window(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                    struct tly_span *span, struct tly_verdict *verdict)
{
    find_span(span, ask->rate->window_ms, ask->now_ns / NS_PER_MS);
    return check_span(map, ask, span, ask->rate->window_ms, verdict);
}

static __attribute__((noinline)) enum tly_result check_quota(struct tly_ormap *map,
                                                             const struct tly_limit_ask *ask,
                                                             struct tly_span *span,
                                                             struct tly_verdict *verdict)
{
    find_unit(span, ask->rate, ask->now_ns / NS_PER_MS);
    return check_span(map, ask, span, span->end_ms - span->start_ms, verdict);
}

/* ---- the token bucket ---- */

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

struct tly_bucket tly_bucket_read(struct tly_ormap *map, const struct tly_tally *tally,
                                  const struct tly_rate *rate, uint64_t now_ns)
{
    struct tly_bucket bucket = tly_bucket_of(rate);
    if (tally->entry == NULL || tly_entry_strategy(tally->entry)->id != TLY_EPOCH_SUM) return bucket;
    const uint64_t *local = tly_bucket_words(tally->entry);
    bucket.tat =
        local != NULL ? local[TLY_BUCKET_TAT] : first_tat(map, tally->entry, bucket.tolerance, now_ns);
    return bucket;
}

const uint64_t *tly_bucket_words(struct tly_entry *entry)
{
    const uint64_t *local = tly_entry_local(entry);
    return local != NULL && local[TLY_BUCKET_EMISSION] != 0 ? local : NULL;
}

void tly_bucket_note(struct tly_entry *entry, const struct tly_bucket *bucket)
{
    tly_bucket_write(tly_entry_local(entry), bucket);
}

enum tly_result tly_bucket_take(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                const struct tly_tally *tally, const struct tly_bucket *bucket, int64_t units)
{
    struct tly_entry *entry = tally->entry;
    if (entry != NULL && tly_entry_local(entry) != NULL &&
        tly_tally_counter_hit(map, &ask->seek, tally, units, (int64_t)bucket->tat)) {
        tly_bucket_note(entry, bucket);
        return TLY_OK;
    }
    enum tly_result result = tly_seek_need(map, &ask->seek, &entry);
    if (result != TLY_OK) return result;
    struct tly_hit hit = {.epoch = tally->generation, .units = units, .aux = (int64_t)bucket->tat};
    result = tly_entry_strategy(entry)->id == TLY_EPOCH_SUM ? TLY_OK : TLY_WRONG_STRATEGY;
    if (result == TLY_OK) result = tly_entry_need_local(map, &entry);
    if (result == TLY_OK) result = tly_ormap_hit(map, &entry, &hit);
    if (result == TLY_OK)
        tly_bucket_note(entry, bucket);
    else
        tly_ormap_tidy(map, entry);
    return result;
}

/* A check of a bucket, as far as it has come. */
struct drain {
    uint64_t debt;              /* ns until it is full again */
    uint64_t limit, left, room; /* units: in all, that are there, that may be taken */
    uint64_t cost;              /* ns that a unit takes to come back */
    bool is_judged;
    struct tly_judged judged;
};

/* A part of the limit is full again in the same time as all of it, so each of its units takes the longer to come back. */
static uint64_t cost_of(const struct tly_limit_ask *ask, const struct tly_bucket *bucket, uint64_t limit)
{
    if (limit == ask->rate->limit) return bucket->emission;
    return limit == 0 ? bucket->tolerance + 1 : ask->rate->window_ms * NS_PER_MS / limit;
}

static __attribute__((noinline)) void judge_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                                   const struct tly_tally *tally,
                                                   const struct tly_bucket *bucket, struct drain *drain)
{
    struct tly_pane pane = {.epoch = tally->generation};
    struct tly_tally told = *tally;
    told.current = (int64_t)bucket->tat;
    struct tly_heat_ask about = {
        map, &ask->seek, &pane, &told, 0, ask->now_ns, ask->rate->mode == TLY_CAPPED};
    tly_judge_look(ask, &about, &drain->judged);
    wide debt = drain->debt + (wide)drain->judged.ahead.current * bucket->emission;
    drain->cost = cost_of(ask, bucket, drain->judged.limit);
    struct tly_bucket part = {.emission = drain->cost, .tolerance = bucket->tolerance};
    uint64_t room = debt >= part.tolerance ? 0 : tly_bucket_left(&part, (uint64_t)debt);
    tly_judge_room(ask, room, tally->entry == NULL, &drain->judged);
    drain->room = drain->judged.room;
    drain->is_judged = true;
}

uint64_t tly_bucket_retry_ms(const struct tly_bucket *bucket, uint64_t debt, uint32_t hits)
{
    wide wanted = (wide)bucket->emission * hits;
    if (wanted > bucket->tolerance) return NEVER;
    if (debt + wanted <= bucket->tolerance) return TLY_RETRY_SOON_MS;
    return (uint64_t)(debt + wanted - bucket->tolerance + NS_PER_MS - 1) / NS_PER_MS;
}

/*
 * No rate lets a bucket owe more than twice all of it, so that is of an earlier rate of the limit: it starts from empty. What comes with its own
 * rate is as it was asked for, perhaps with more than one.
 */
static void bring_down(const struct tly_limit_ask *ask, struct tly_bucket *bucket)
{
    bool is_named = tly_slice_begins(ask->seek.key, tly_slice_text("rl:n:"));
    if (is_named && bucket->tat > ask->now_ns + 2 * bucket->tolerance)
        bucket->tat = ask->now_ns + bucket->tolerance;
}

/* Whether a bucket that is refused has started from elsewhere than is kept of it. */
static bool is_started(const struct tly_tally *tally, const struct tly_bucket *bucket)
{
    const uint64_t *words = tally->entry != NULL ? tly_bucket_words(tally->entry) : NULL;
    return tally->entry != NULL && (words == NULL || words[TLY_BUCKET_TAT] != bucket->tat);
}

/* It fills from where it started; without room for that it starts anew with the next check, from no less. */
static __attribute__((noinline)) void start_bucket(struct tly_ormap *map, struct tly_entry *entry,
                                                   const struct tly_bucket *bucket)
{
    bool is_sum = tly_entry_strategy(entry)->id == TLY_EPOCH_SUM;
    if (is_sum && tly_entry_need_local(map, &entry) == TLY_OK) tly_bucket_note(entry, bucket);
}

static enum tly_result check_bucket(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                    struct tly_verdict *verdict)
{
    uint32_t hits = ask->hits;
    uint64_t now_ns = ask->now_ns;
    struct tly_tally tally;
    tly_tally_counter(map, &ask->seek, &tally);
    struct tly_bucket bucket = tly_bucket_read(map, &tally, ask->rate, now_ns);
    bring_down(ask, &bucket);
    struct drain drain = {.debt = max_u64(bucket.tat, now_ns) - now_ns, .limit = tly_bucket_burst(ask->rate)};
    drain.left = drain.room = tly_bucket_left(&bucket, drain.debt);
    drain.cost = bucket.emission;
    if (tly_judge_wants(ask, drain.limit - drain.room, drain.limit))
        judge_bucket(map, ask, &tally, &bucket, &drain);
    bool ok = hits <= drain.room || ask->charging == TLY_GIVE_BACK;
    if (ok && hits > 0 && ask->charging != TLY_GIVE_BACK) {
        drain.debt += drain.cost * hits;
        drain.room -= hits;
        drain.left = drain.is_judged ? tly_bucket_left(&bucket, drain.debt) : drain.left - hits;
        bucket.tat = now_ns + drain.debt;
        enum tly_result result = tly_bucket_take(map, ask, &tally, &bucket, hits);
        if (result != TLY_OK) return result;
        if (drain.judged.hot != NULL) tly_hot_count(drain.judged.hot, hits, (int64_t)bucket.tat);
    }
    if (!ok && is_started(&tally, &bucket)) start_bucket(map, tally.entry, &bucket);
    tell_code(ask, ok, verdict);
    verdict->limit = drain.limit;
    verdict->used = drain.limit - drain.left;
    verdict->remaining = drain.room;
    verdict->reset_ms = (drain.debt + NS_PER_MS - 1) / NS_PER_MS;
    verdict->retry_after_ms = ok ? 0 : tly_bucket_retry_ms(&bucket, drain.debt, hits);
    verdict->window_ms = ask->rate->window_ms;
    if (drain.is_judged) tly_judge_tell(ask, &drain.judged, drain.limit, verdict);
    return TLY_OK;
}

enum tly_result tly_limit_check(struct tly_ormap *map, const struct tly_limit_ask *ask, struct tly_span *span,
                                struct tly_verdict *verdict)
{
    enum tly_algorithm algorithm = ask->rate->algorithm;
    if (algorithm < TLY_TOKEN_BUCKET) return check_window(map, ask, span, verdict);
    if (algorithm == TLY_TOKEN_BUCKET) return check_bucket(map, ask, verdict);
    if (algorithm == TLY_COUNTER) return tly_bounded_check(map, ask, verdict);
    return algorithm == TLY_QUOTA ? check_quota(map, ask, span, verdict) : TLY_IN_FLIGHT;
}

/* ---- learning from elsewhere, ending ---- */

bool tly_limit_is_counter(struct tly_slice key)
{
    return !tly_limit_is_limit(key) || tly_slice_begins(key, tly_slice_text("rl:c:"));
}

void tly_limit_value(struct tly_slice key, uint64_t now_ms, struct tly_value *value)
{
    if (tly_limit_is_counter(key)) return;
    value->deadline_ms = value->deadline_ms / NS_PER_MS + (value->deadline_ms % NS_PER_MS != 0);
    value->present = value->present && value->deadline_ms > now_ms;
}

bool tly_limit_is_bucket(struct tly_slice key, const struct tly_dot *dot)
{
    return dot->op == TLY_PUT && dot->num[TLY_SUM_WINDOW] == 0 && !tly_limit_is_counter(key);
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
    if (__builtin_sub_overflow((int64_t)dot->num[TLY_SUM_COUNT], units_before, &taken) || taken == 0) return;
    uint64_t skew_ns = tly_ormap_clock(map)->max_skew_ns;
    if (taken > 0 && tly_limit_expired(key, tly_entry_strategy(entry), dot, now_ns, skew_ns)) return;
    if (taken < 0) {
        /* It gave back. */
        wide back = (wide)local[TLY_BUCKET_EMISSION] * (0 - (uint64_t)taken);
        uint64_t debt = max_u64(now_ns, local[TLY_BUCKET_TAT]) - now_ns;
        local[TLY_BUCKET_TAT] = now_ns + (back > debt ? 0 : debt - (uint64_t)back);
        return;
    }
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
    /* A bucket is full again once its TAT has passed; what a reset began from nothing says so to others first. */
    uint64_t full = max_u64(units_of((int64_t)put->num[TLY_SUM_AUX]), put->version.ts);
    return now_ns > full && now_ns - full > skew_ns;
}
