/*
 * Concurrency: what is in flight at once.  Each node says how much of a key is in flight with it, in the shard of an epoch_sum whose
 * window is the time for which that counts, and says it anew at half of it; of every node the newest word of the last window, this one
 * or the next is read.  So what a node that crashed had given out ends by itself, once, and a life that begins anew knows nothing of it.
 *
 *     acquire  --> lease --release--> gone
 *                        --its end--> gone
 */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"
#include "service/engine/judge.h"

/* What is in flight is looked through so often, and so many keys at a time. */
#define LOOK_NS (200 * NS_PER_MS)
#define LOOK_KEYS 128
/* Whoever is refused may come again then: anything may have been released. */
#define RETRY_MS 300

static uint64_t now_ms(const struct tly_engine *e)
{
    return e->cluster_ns / NS_PER_MS;
}

/* ---- what is known of a key ---- */

struct known {
    struct tly_entry *entry;   /* NULL: nothing */
    struct tly_flight *flight; /* NULL: nothing is in flight here */
    uint64_t own, others;      /* units */
    uint64_t epoch;            /* the one to count in */
    bool is_said;              /* this life has said something … */
    uint64_t said_epoch;       /* … then */
    int64_t said;
};

static bool is_newest(const struct tly_dot *dots, size_t count, size_t i, uint64_t last)
{
    for (size_t j = 0; j < count; j++)
        if (j != i && dots[j].op == TLY_PUT && dots[j].version.origin == dots[i].version.origin &&
            dots[j].num[TLY_SUM_WINDOW] == dots[i].num[TLY_SUM_WINDOW] &&
            dots[j].num[TLY_SUM_EPOCH] > dots[i].num[TLY_SUM_EPOCH] && dots[j].num[TLY_SUM_EPOCH] <= last)
            return false;
    return true;
}

static uint64_t units_of_others(struct tly_engine *e, const struct tly_entry *entry, uint64_t window,
                                uint64_t epoch)
{
    size_t count;
    int64_t sum = 0;
    uint64_t own = tly_ormap_origin(e->map);
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    for (size_t i = 0; i < count; i++) {
        const uint64_t *num = dots[i].num;
        bool counts = dots[i].op == TLY_PUT && dots[i].version.origin != own &&
                      num[TLY_SUM_WINDOW] == window && num[TLY_SUM_EPOCH] + 1 >= epoch &&
                      num[TLY_SUM_EPOCH] <= epoch + 1;
        if (counts && (int64_t)num[TLY_SUM_COUNT] > 0 && is_newest(dots, count, i, epoch + 1))
            sum = tly_clamp_add(sum, (int64_t)num[TLY_SUM_COUNT]);
    }
    return (uint64_t)sum;
}

/* TLY_WRONG_STRATEGY. */
static enum tly_result look(struct tly_engine *e, const struct tly_seek *seek, uint64_t window,
                            struct known *known)
{
    struct tly_dot own;
    *known = (struct known){.entry = tly_seek_find(e->map, seek),
                            .flight = tly_leases_flight(e->leases, seek->key),
                            .epoch = now_ms(e) / window};
    if (known->flight != NULL) known->own = known->flight->units;
    if (known->entry == NULL) return TLY_OK;
    if (tly_entry_strategy(known->entry)->id != TLY_EPOCH_SUM) return TLY_WRONG_STRATEGY;
    known->others = units_of_others(e, known->entry, window, known->epoch);
    known->is_said = tly_ormap_own(e->map, known->entry, window, &own);
    if (!known->is_said) return TLY_OK;
    known->said_epoch = own.num[TLY_SUM_EPOCH];
    known->said = (int64_t)own.num[TLY_SUM_COUNT];
    /* This life went on after a clean stop: what it had given out then runs on unknown, and ends as another's would. */
    bool is_of_before = known->flight == NULL && known->said > 0 && known->said_epoch + 1 >= known->epoch;
    if (is_of_before) known->own = (uint64_t)known->said;
    return TLY_OK;
}

/* Says that so much is in flight here. */
static enum tly_result say(struct tly_engine *e, const struct tly_seek *seek, uint64_t window,
                           struct known *known, uint64_t units)
{
    enum tly_result result = TLY_OK;
    struct tly_hit hit = {.window = window, .epoch = known->epoch, .units = (int64_t)units};
    if (known->entry == NULL) result = tly_seek_need(e->map, seek, &known->entry);
    if (result != TLY_OK) return result;
    /* An own epoch never falls. */
    if (known->is_said && known->said_epoch > hit.epoch) hit.epoch = known->said_epoch;
    if (known->is_said && known->said_epoch == hit.epoch) hit.units -= known->said;
    if (known->is_said && known->said_epoch == hit.epoch && hit.units == 0) return TLY_OK;
    bool may_begin = !tly_ormap_is_unsealed(e->map);
    result = tly_ormap_hit(e->map, &known->entry, &hit);
    if (result != TLY_OK) {
        tly_ormap_tidy(e->map, known->entry);
        return result;
    }
    if (may_begin) tly_flush_soon(e, true);
    return TLY_OK;
}

/* ---- checks ---- */

/* Members that cannot be reached may have the whole limit for themselves; else on_partition says what they have. */
static void judge(const struct tly_limit_ask *ask, uint64_t used, struct tly_judged *judged)
{
    struct tly_tally none = {.entry = NULL};
    struct tly_heat_ask about = {.tally = &none};
    tly_judge_look(ask, &about, judged);
    tly_judge_room(ask, used < judged->limit ? judged->limit - used : 0, true, judged);
}

static void tell(struct tly_engine *e, const struct tly_limit_ask *ask, const struct known *known,
                 const struct tly_judged *judged, struct tly_verdict *verdict)
{
    const struct tly_rate *rate = ask->rate;
    bool ok = ask->hits <= judged->room;
    uint64_t taken = ok ? ask->hits : 0, used = known->own + known->others + taken;
    uint64_t left_ms = 2 * rate->window_ms - now_ms(e) % rate->window_ms;
    *verdict = (struct tly_verdict){
        .code = ok ? TLY_CODE_OK : TLY_CODE_OVER,
        .mode = rate->mode,
        .algorithm = TLY_CONCURRENCY,
        .limit = rate->limit,
        .used = used,
        .remaining = judged->room - taken,
        .reset_ms = used > 0 ? left_ms : 0,
        .retry_after_ms = ok                        ? 0
                          : ask->hits > rate->limit ? UINT64_MAX
                                                    : RETRY_MS,
        .window_ms = rate->window_ms,
    };
    tly_judge_tell(ask, judged, rate->limit, verdict);
    verdict->is_judged = true;
    verdict->own = known->own + taken;
}

enum tly_result tly_flight_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict)
{
    struct known known;
    struct tly_judged judged;
    if (ask->hits > 0 && ask->charging != TLY_ACQUIRE) return TLY_IN_FLIGHT;
    enum tly_result result = look(e, &ask->seek, ask->rate->window_ms, &known);
    if (result != TLY_OK) return result;
    judge(ask, known.own + known.others, &judged);
    if (ask->hits > 0 && ask->hits <= judged.room)
        result = say(e, &ask->seek, ask->rate->window_ms, &known, known.own + ask->hits);
    if (result == TLY_OK) tell(e, ask, &known, &judged, verdict);
    return result;
}

/* ---- leases ---- */

bool tly_flight_is_asked(struct tly_engine *e, const struct tly_check *check)
{
    const struct tly_rule *rule =
        e->rules != NULL && check->limit.n > 0 ? tly_rules_find(e->rules, check->limit) : NULL;
    return rule != NULL && rule->rate.algorithm == TLY_CONCURRENCY;
}

static void show(const struct tly_lease *lease, struct tly_hold_view *view)
{
    view->state = TLY_HOLD_OPEN;
    view->charged = lease->units;
    view->end_ms = lease->end_ms;
}

bool tly_flight_find(const struct tly_engine *e, struct tly_slice id, struct tly_hold_view *view)
{
    const struct tly_lease *lease = tly_leases_find(e->leases, id);
    if (lease != NULL) show(lease, view);
    return lease != NULL;
}

/* What runs on from before a clean stop is a lease that nobody can release. */
static enum tly_result take_over(struct tly_engine *e, const struct tly_seek *seek, uint64_t window,
                                 const struct known *known)
{
    struct tly_lease *lease;
    if (known->flight != NULL || known->own == 0) return TLY_OK;
    uint64_t end_ms = (known->said_epoch + 2) * window;
    enum tly_result result = tly_leases_add(e->leases, seek->key, tly_slice_of(NULL, 0), end_ms, &lease);
    if (result != TLY_OK) return result;
    tly_leases_fill(lease, known->own);
    lease->flight->window_ms = window;
    lease->flight->epoch = known->said_epoch;
    return TLY_OK;
}

static enum tly_result need_leases(struct tly_engine *e)
{
    if (e->leases != NULL) return TLY_OK;
    e->leases = tly_leases_new(&e->mem, &e->hash_key);
    e->flight_at = e->now.mono_ns + LOOK_NS;
    return e->leases != NULL ? TLY_OK : TLY_NOMEM;
}

/* Room for the lease is made first, so that nothing is in flight that nobody knows of. */
static enum tly_result prepare(struct tly_engine *e, const struct tly_request *request, struct tly_slice id,
                               struct tly_lease **lease)
{
    const struct tly_rule *rule = NULL;
    struct known known;
    struct tly_seek seek;
    uint64_t end_ms = now_ms(e) + (uint64_t)request->number;
    enum tly_result result = need_leases(e);
    if (result == TLY_OK) result = tly_ask_key(e, &request->check, e->key, &rule, &seek.key);
    if (result != TLY_OK) return result;
    tly_seek_to(e->map, seek.key, &seek);
    result = look(e, &seek, rule->rate.window_ms, &known);
    if (result == TLY_OK) result = take_over(e, &seek, rule->rate.window_ms, &known);
    if (result == TLY_OK) result = tly_leases_add(e->leases, seek.key, id, end_ms, lease);
    if (result != TLY_OK) return result;
    (*lease)->flight->window_ms = rule->rate.window_ms;
    return TLY_OK;
}

enum tly_result tly_flight_acquire(struct tly_engine *e, const struct tly_request *request,
                                   struct tly_slice id, struct tly_reply *reply)
{
    struct tly_checked checked = {.check = request->check};
    struct tly_lease *lease = NULL;
    tly_room_for(e, ROOM_NEW_KEY);
    enum tly_result result = prepare(e, request, id, &lease);
    if (result == TLY_NOMEM && e->budget.refused) result = TLY_FULL;
    tly_room_for(e, ROOM_FOR_ALL);
    if (result != TLY_OK) return result;
    checked.check.charging = TLY_ACQUIRE;
    tly_engine_checks(e, request->now, &checked, 1);
    reply->verdict = checked.verdict;
    if (checked.result != TLY_OK || checked.verdict.code != TLY_CODE_OK) {
        tly_leases_remove(e->leases, lease);
        return checked.result;
    }
    lease->flight->epoch = now_ms(e) / lease->flight->window_ms;
    tly_leases_fill(lease, tly_verdict_counts(&checked.verdict) ? request->check.hits : 0);
    show(lease, &reply->hold);
    return TLY_OK;
}

/* Says that the lease is over, then forgets it; TLY_NOMEM: it is not. */
static enum tly_result end(struct tly_engine *e, struct tly_lease *lease)
{
    struct tly_flight *flight = lease->flight;
    struct tly_seek seek;
    struct known known;
    tly_seek_to(e->map, tly_slice_of(flight->key, flight->key_bytes), &seek);
    enum tly_result result = look(e, &seek, flight->window_ms, &known);
    /* What somebody deleted is not begun anew. */
    if (result == TLY_OK && known.entry != NULL)
        result = say(e, &seek, flight->window_ms, &known, flight->units - lease->units);
    if (result == TLY_NOMEM || result == TLY_CLOCK_END) return result;
    flight->epoch = known.epoch;
    tly_leases_remove(e->leases, lease);
    return TLY_OK;
}

enum tly_result tly_flight_release(struct tly_engine *e, struct tly_slice id, struct tly_hold_view *view)
{
    struct tly_lease *lease = tly_leases_find(e->leases, id);
    if (lease == NULL) return TLY_NO_HOLD;
    enum tly_result result = end(e, lease);
    if (result != TLY_OK) return result;
    view->state = TLY_HOLD_RELEASED;
    view->charged = 0;
    return TLY_OK;
}

/* ---- time ---- */

/*
 * From the middle of a window on it is said in this one, so others hear it before the last one counts no more; what was not said in the
 * last one either, at once.
 */
static bool is_due(const struct tly_engine *e, const struct tly_flight *flight)
{
    uint64_t epoch = now_ms(e) / flight->window_ms;
    if (flight->epoch + 1 < epoch) return true;
    return flight->epoch < epoch && now_ms(e) % flight->window_ms >= flight->window_ms / 2;
}

static bool say_again(struct tly_engine *e, struct tly_flight *flight)
{
    struct tly_seek seek;
    struct known known;
    tly_seek_to(e->map, tly_slice_of(flight->key, flight->key_bytes), &seek);
    enum tly_result result = look(e, &seek, flight->window_ms, &known);
    if (result == TLY_OK) result = say(e, &seek, flight->window_ms, &known, flight->units);
    if (result == TLY_OK) flight->epoch = known.epoch;
    return result != TLY_NOMEM;
}

static void look_through(struct tly_engine *e)
{
    size_t count = tly_leases_flights(e->leases);
    for (size_t i = 0; i < LOOK_KEYS && e->flight_cursor < count; i++) {
        struct tly_flight *flight = tly_leases_flight_at(e->leases, e->flight_cursor);
        if (is_due(e, flight) && !say_again(e, flight)) break;
        e->flight_cursor++;
    }
    bool is_through = e->flight_cursor >= count;
    if (is_through) e->flight_cursor = 0;
    e->flight_at = e->now.mono_ns + (is_through ? LOOK_NS : NS_PER_MS);
}

void tly_flight_use_rules(struct tly_engine *e)
{
    size_t count = e->leases != NULL && e->rules != NULL ? tly_leases_flights(e->leases) : 0;
    for (size_t i = 0; i < count; i++) {
        struct tly_flight *flight = tly_leases_flight_at(e->leases, i);
        const struct tly_rule *rule =
            tly_rules_of_key(e->rules, tly_slice_of(flight->key, flight->key_bytes));
        if (rule == NULL || rule->rate.window_ms == flight->window_ms) continue;
        flight->window_ms = rule->rate.window_ms;
        flight->epoch = 0; /* it was never said under this one */
    }
}

void tly_flight_tick(struct tly_engine *e)
{
    struct tly_lease *first;
    while ((first = tly_leases_first(e->leases)) != NULL && first->end_ms <= now_ms(e)) {
        uint64_t units = first->units;
        if (end(e, first) != TLY_OK) break; /* tried again */
        e->stats.leases_ended += units;
    }
    if (tly_leases_flights(e->leases) > 0 && e->now.mono_ns >= e->flight_at) look_through(e);
}

uint64_t tly_flight_deadline(const struct tly_engine *e)
{
    const struct tly_lease *first = tly_leases_first(e->leases);
    if (first == NULL) return TLY_NEVER;
    uint64_t now = now_ms(e), wait_ns = first->end_ms > now ? (first->end_ms - now) * NS_PER_MS : LOOK_NS;
    uint64_t end = e->now.mono_ns + wait_ns;
    return end < e->flight_at ? end : e->flight_at;
}
