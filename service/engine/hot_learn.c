#include "service/engine/heat_internal.h"

#include "crdt/epoch_sum.h"

/* A rate is that of the last so many ns, up to twice as many. */
#define MEMORY_NS UINT64_C(400000000)
/* What came in less time is no rate yet. */
#define MEMORY_LEAST_NS (MEMORY_NS / 4)

/* ---- what others say ---- */

/* NULL: there is no memory. */
static struct tly_shard *need_shard(struct tly_heat *heat, struct tly_hot *hot, uint64_t origin)
{
    for (size_t i = 0; i < hot->count; i++)
        if (hot->shards[i].origin == origin) return &hot->shards[i];
    if (hot->count == TLY_HEAT_SHARDS) return &hot->shards[TLY_HEAT_SHARDS - 1];
    size_t before = hot->capacity;
    void *grown =
        tly_mem_reserve(&heat->mem, hot->shards, &hot->capacity, hot->count + 1, sizeof *hot->shards);
    if (grown == NULL) return NULL;
    hot->shards = grown;
    heat->bytes += (hot->capacity - before) * sizeof *hot->shards;
    struct tly_shard *shard = &hot->shards[hot->count++];
    *shard = (struct tly_shard){.origin = hot->count == TLY_HEAT_SHARDS ? 0 : origin};
    return shard;
}

/* What a dot counted in an epoch, of which it is or which it is the next of. */
static uint64_t units_in(const struct tly_dot *dot, uint64_t epoch)
{
    if (dot->num[TLY_SUM_EPOCH] == epoch) return tly_units((int64_t)dot->num[TLY_SUM_COUNT]);
    bool is_next = dot->num[TLY_SUM_WINDOW] != 0 && dot->num[TLY_SUM_EPOCH] == epoch + 1;
    return is_next ? tly_units((int64_t)dot->num[TLY_SUM_AUX]) : 0;
}

/* Of one life the newest epoch counts. */
static void hear(struct tly_shard *shard, const struct tly_hot *hot, const struct tly_dot *dot,
                 uint64_t ref_ns)
{
    uint64_t epoch = dot->num[TLY_SUM_EPOCH];
    bool is_rest = shard->origin == 0;
    if (shard->now_found && !is_rest && shard->now_epoch > epoch) return;
    uint64_t count = units_in(dot, hot->epoch);
    uint64_t before = hot->window != 0 && hot->epoch > 0 ? units_in(dot, hot->epoch - 1) : 0;
    bool adds = shard->now_found && is_rest;
    shard->now_count = adds ? tly_add(shard->now_count, count) : count;
    shard->now_before = adds ? tly_add(shard->now_before, before) : before;
    shard->now_ref = adds ? tly_min(shard->now_ref, ref_ns) : ref_ns;
    shard->now_epoch = epoch;
    shard->now_found = true;
}

/* What a count was at a moment at least. */
uint64_t tly_trail_at(const struct tly_trail *trail, uint64_t at_ns)
{
    uint64_t count = 0;
    for (size_t i = 0; i < trail->n; i++)
        if (trail->at[i].at_ns <= at_ns) count = tly_max(count, trail->at[i].count);
    return count;
}

/* False: it is too soon after the last. */
static bool trail_add(struct tly_trail *trail, uint64_t at_ns, uint64_t count, uint64_t horizon_ns)
{
    if (trail->n > 0 && at_ns - trail->at[trail->n - 1].at_ns < horizon_ns / TLY_SEEN_PER_HORIZON)
        return false;
    if (trail->n == TLY_SEEN) {
        memmove(&trail->at[0], &trail->at[1], (TLY_SEEN - 1) * sizeof trail->at[0]);
        trail->n--;
    }
    trail->at[trail->n].at_ns = at_ns;
    trail->at[trail->n++].count = count;
    return true;
}

static void measure(struct tly_pace *pace, uint64_t units, uint64_t span_ns)
{
    pace->units = tly_add(pace->units, units);
    pace->span_ns = tly_add(pace->span_ns, tly_max(span_ns, 1));
    while (pace->span_ns > 2 * MEMORY_NS) {
        pace->span_ns /= 2;
        pace->units /= 2;
    }
    tly_wide rate = ((tly_wide)pace->units << 32) / tly_max(pace->span_ns, MEMORY_LEAST_NS);
    pace->rate = rate > UINT64_MAX ? UINT64_MAX : (uint64_t)rate;
}

/* More of the window before has come to be known. */
static void learn_before(struct tly_shard *shard)
{
    if (shard->now_before <= shard->before) return;
    shard->before = shard->now_before;
    shard->unseen_before = tly_max(shard->unseen_before, tly_less(shard->before, shard->known_before));
}

/*
 * Between the moment as of which it last spoke and that of now it may have counted all that is new at once, while nothing more was known
 * here than at the former.
 */
static void learn(struct tly_shard *shard, const struct tly_hot *hot, uint64_t now_ns)
{
    learn_before(shard);
    uint64_t since = tly_max(shard->ref_ns, hot->start_ns);
    if (shard->now_count != shard->count) {
        uint64_t more = tly_less(shard->now_count, shard->count);
        /* A bucket's count is that of its whole life: what it is at first says nothing. */
        bool is_first = hot->window == 0 && shard->seen.n == 0;
        /* Nor does what was made before the window began, by somebody whose clock runs ahead. */
        if (more > 0 && !is_first && shard->now_ref > since)
            measure(&shard->pace, more, tly_less(shard->now_ref, since));
        uint64_t unseen = is_first ? 0 : tly_less(shard->now_count, tly_trail_at(&shard->seen, since));
        shard->unseen = tly_max(shard->unseen, unseen);
        shard->count = shard->now_count;
        (void)trail_add(&shard->seen, now_ns, shard->count, hot->world->horizon_ns);
    }
    shard->ref_ns = tly_max(shard->ref_ns, shard->now_ref);
}

static void settle(struct tly_hot *hot, uint64_t now_ns)
{
    hot->others = 0;
    for (size_t i = hot->count; i-- > 0;) {
        struct tly_shard *shard = &hot->shards[i];
        if (!shard->now_found) {
            /* A delete took it, or it expired. */
            shard->count = 0;
            shard->pace = (struct tly_pace){0};
            shard->seen.n = 0;
            continue;
        }
        learn(shard, hot, now_ns);
        shard->now_found = false;
        hot->others = tly_add(hot->others, shard->count);
    }
    hot->until_ns = 0;
}

/* As of when it speaks. What was there at the last look grows no younger, also where no clock tells its age but only how long such things take to come. */
static uint64_t ref_of(const struct tly_heat *heat, struct tly_shard *shard, const struct tly_dot *dot,
                       uint64_t now_ns)
{
    if (shard->origin != 0 && shard->ts == dot->version.ts) return shard->ref_ns;
    shard->ts = dot->version.ts;
    return tly_less(now_ns, heat->world.age(heat->world.context, dot->version));
}

/* False: there is no memory for all of them. */
static bool hear_all(struct tly_heat *heat, struct tly_hot *hot, const struct tly_heat_ask *ask)
{
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(ask->map, ask->tally->entry, &count);
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        if (dot->op != TLY_PUT || dot->num[TLY_SUM_WINDOW] != hot->window) continue;
        if (dot->version.origin == hot->own_origin || dot->version.ts == 0) continue;
        if (hot->window == 0 && dot->num[TLY_SUM_EPOCH] != hot->epoch) continue;
        struct tly_shard *shard = need_shard(heat, hot, dot->version.origin);
        if (shard == NULL) return false;
        hear(shard, hot, dot, ref_of(heat, shard, dot, ask->now_ns));
    }
    return true;
}

/* A bucket has no windows: what was measured is kept for ten to twenty seconds. */
#define ROTATE_NS UINT64_C(10000000000)

static void rotate(struct tly_hot *hot, uint64_t now_ns)
{
    if (hot->window != 0 || now_ns < hot->rotate_at) return;
    hot->rotate_at = now_ns + ROTATE_NS;
    for (size_t i = 0; i < hot->count; i++) {
        hot->shards[i].unseen_before = hot->shards[i].unseen;
        hot->shards[i].unseen = 0;
    }
}

/* What was counted here is gone: nobody has heard of what comes now. */
static void forget_heard(struct tly_hot *hot)
{
    hot->heard = hot->candidate = hot->candidate_ts = hot->latest = hot->latest_ts = 0;
}

/* The window turned: what was of the one before is put there. */
static void turn(struct tly_hot *hot, const struct tly_heat_ask *ask)
{
    bool is_next = hot->window != 0 && ask->pane->epoch == hot->epoch + 1;
    for (size_t i = 0; i < hot->count; i++) {
        struct tly_shard *shard = &hot->shards[i];
        shard->known_before = tly_trail_at(&shard->seen, tly_max(shard->ref_ns, hot->start_ns));
        shard->before = is_next ? shard->count : 0;
        shard->unseen_before = is_next ? shard->unseen : 0;
        shard->count = shard->unseen = 0;
        shard->seen.n = 0;
    }
    hot->epoch = ask->pane->epoch;
    hot->start_ns = ask->start_ns;
    forget_heard(hot);
    hot->share_at = 0;
    hot->trail.n = 0;
    hot->current = INT64_MIN;
}

/* ---- what others have heard ---- */

static uint64_t own_sealed(const struct tly_hot *hot, const struct tly_heat_ask *ask, uint64_t *ts)
{
    struct tly_dot own;
    *ts = 0;
    if (tly_entry_is_unsealed(ask->tally->entry)) return 0;
    if (!tly_ormap_own(ask->map, ask->tally->entry, hot->window, &own)) return 0;
    *ts = own.version.ts;
    return units_in(&own, hot->epoch);
}

/*
 * One candidate is on its way at a time; when all have it, the newest sealing is the next. So a key that is sealed more often than
 * anybody can answer still moves on.
 */
static void confirm(struct tly_hot *hot, const struct tly_heat_ask *ask)
{
    uint64_t ts, sealed = own_sealed(hot, ask, &ts);
    if (ts != 0) {
        hot->latest_ts = ts;
        hot->latest = sealed;
    }
    uint64_t heard = hot->world->heard(hot->world->context);
    if (heard == UINT64_MAX) {
        hot->heard = UINT64_MAX;
        return;
    }
    if (hot->heard == UINT64_MAX) hot->heard = 0;
    if (hot->candidate_ts != 0 && heard >= hot->candidate_ts) {
        hot->heard = hot->candidate;
        hot->candidate_ts = 0;
    }
    if (hot->candidate_ts == 0 && hot->latest_ts != 0) {
        hot->candidate_ts = hot->latest_ts;
        hot->candidate = hot->latest;
        if (heard >= hot->candidate_ts) hot->heard = hot->candidate;
    }
}

static uint64_t own_units(const struct tly_hot *hot, const struct tly_heat_ask *ask)
{
    struct tly_dot own;
    return tly_ormap_own(ask->map, ask->tally->entry, hot->window, &own) ? units_in(&own, hot->epoch) : 0;
}

static void note_own(struct tly_hot *hot, uint64_t now_ns)
{
    size_t n = hot->trail.n;
    uint64_t since = n > 0 ? hot->trail.at[n - 1].at_ns : hot->start_ns;
    uint64_t before = n > 0 ? hot->trail.at[n - 1].count : 0;
    bool is_first = hot->window == 0 && n == 0;
    if (!trail_add(&hot->trail, now_ns, hot->own, hot->world->horizon_ns) || is_first) return;
    measure(&hot->pace, tly_less(hot->own, before), tly_less(now_ns, since));
}

void tly_hot_learn(struct tly_heat *heat, struct tly_hot *hot, const struct tly_heat_ask *ask)
{
    uint64_t origin = tly_ormap_origin(ask->map), own = hot->own;
    if (hot->own_origin != origin || hot->epoch != ask->pane->epoch) {
        hot->own_origin = origin;
        turn(hot, ask);
    }
    if (hot->current != ask->tally->current || hot->previous != ask->tally->previous) {
        bool heard = hear_all(heat, hot, ask);
        settle(hot, ask->now_ns);
        /* What could not be heard is looked at again next time. */
        hot->current = heard ? ask->tally->current : INT64_MIN;
        hot->previous = ask->tally->previous;
        hot->own = own_units(hot, ask);
        if (hot->own < own) forget_heard(hot);
    }
    note_own(hot, ask->now_ns);
    rotate(hot, ask->now_ns);
    if (ask->is_capped) confirm(hot, ask);
}
