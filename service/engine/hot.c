#include "service/engine/heat_internal.h"

/* Others that have been silent for so many horizons do not wait any more. */
#define QUIET_HORIZONS 4

void tly_hot_count(struct tly_hot *hot, uint64_t units, int64_t current)
{
    if (hot->current != INT64_MIN) hot->current = current;
    hot->own = tly_add(hot->own, units);
    hot->share_left = tly_less(hot->share_left, units);
}

uint64_t tly_hot_others(const struct tly_hot *hot)
{
    return hot->others;
}

uint64_t tly_hot_own(const struct tly_hot *hot)
{
    return hot->own;
}

uint64_t tly_hot_unheard(const struct tly_hot *hot)
{
    return tly_less(hot->own, hot->heard);
}

/* ---- the projection ---- */

static tly_wide carried(const struct tly_shard *shard, uint64_t from, uint64_t to)
{
    return (tly_wide)shard->pace.rate * tly_less(to, from);
}

/* One that is asked as often as this node admits as much, in units of 1/MIRROR; more than so much more is not believed. */
#define MIRROR 256
#define MIRROR_MAX (16 * MIRROR)

static uint64_t mirror_of(const struct tly_hot *hot, const struct tly_shard *shard)
{
    if (hot->pace.rate == 0) return 0;
    tly_wide ratio = (tly_wide)shard->pace.rate * MIRROR / hot->pace.rate;
    return ratio > MIRROR_MAX ? MIRROR_MAX : (uint64_t)ratio;
}

/* Takes one shard into the projection as of now. */
static void project(struct tly_hot *hot, const struct tly_shard *shard, uint64_t now_ns)
{
    uint64_t horizon = hot->world->horizon_ns, from = tly_max(shard->ref_ns, hot->start_ns);
    uint64_t age = tly_less(now_ns, from);
    if (shard->pace.rate == 0) return;
    hot->busy += shard->count > 0 && age < QUIET_HORIZONS * horizon;
    if (age < horizon) {
        uint64_t mirror = mirror_of(hot, shard);
        hot->base += carried(shard, from, now_ns);
        hot->rates = tly_add(hot->rates, shard->pace.rate);
        hot->mirror += mirror;
        hot->mirror_base += (tly_wide)mirror * tly_trail_at(&hot->trail, from);
        hot->until_ns = tly_min(hot->until_ns, from + horizon);
    } else if (shard->count > 0 && age < QUIET_HORIZONS * horizon) {
        hot->quiet++;
        hot->until_ns = tly_min(hot->until_ns, from + QUIET_HORIZONS * horizon);
    }
    /* The end of the window before, if it may still be told. */
    if (hot->window == 0 || shard->ref_ns >= hot->start_ns || tly_less(now_ns, shard->ref_ns) >= horizon)
        return;
    hot->late = tly_add(hot->late, (uint64_t)(carried(shard, shard->ref_ns, hot->start_ns) >> 32));
    hot->until_ns = tly_min(hot->until_ns, shard->ref_ns + horizon);
}

/*
 * What frees itself little by little all see at once, and take: whoever goes by how fast the others were takes too much, and then too little.
 * What this node took since they last spoke they have taken too, each in its measure.
 */
struct tly_carry tly_hot_ahead(struct tly_hot *hot, uint64_t now_ns)
{
    if (now_ns >= hot->until_ns || now_ns < hot->base_ns) {
        hot->base = hot->mirror_base = 0;
        hot->rates = hot->mirror = hot->late = hot->busy = hot->quiet = 0;
        hot->base_ns = now_ns;
        hot->until_ns = UINT64_MAX;
        for (size_t i = 0; i < hot->count; i++)
            project(hot, &hot->shards[i], now_ns);
    }
    tly_wide ahead = (hot->base + (tly_wide)hot->rates * (now_ns - hot->base_ns)) >> 32;
    tly_wide taken = (tly_wide)hot->mirror * hot->own;
    tly_wide mirrored = taken > hot->mirror_base ? (taken - hot->mirror_base) / MIRROR : 0;
    if (mirrored > ahead) ahead = mirrored;
    return (struct tly_carry){ahead > INT64_MAX ? INT64_MAX : (uint64_t)ahead, tly_min(hot->late, INT64_MAX)};
}

void tly_hot_refused(struct tly_hot *hot, uint64_t now_ns)
{
    hot->refused_at = now_ns;
}

uint64_t tly_hot_share(struct tly_hot *hot, uint64_t room, uint64_t now_ns)
{
    uint64_t horizon = hot->world->horizon_ns;
    bool waits = hot->refused_at != 0 && tly_less(now_ns, hot->refused_at) < 2 * horizon;
    bool lasts = hot->share_at != 0 && tly_less(now_ns, hot->share_at) < horizon;
    if (!waits || room == 0 || (hot->quiet == 0 && !lasts)) {
        if (!lasts) hot->share_at = 0;
        return room;
    }
    if (!lasts) {
        size_t parts = hot->busy + 1;
        hot->share_at = now_ns;
        hot->share = hot->share_left = room / parts + (room % parts != 0);
    }
    /* A request that is greater than any share has the room for itself if nothing of the share was taken. */
    return hot->share_left == hot->share ? room : tly_min(room, hot->share_left);
}

/* ---- the bound ---- */

/* What one that is not heard of may have counted meanwhile. */
static void note_silence(const struct tly_hot *hot, struct tly_shard *shard)
{
    if (shard->pace.rate == 0 || shard->count == 0) return;
    uint64_t silence = hot->world->silence(hot->world->context, shard->origin);
    if (silence <= hot->world->horizon_ns) return;
    tly_wide more = (tly_wide)shard->pace.rate * silence >> 32;
    shard->unseen = tly_max(shard->unseen, more > INT64_MAX ? INT64_MAX : (uint64_t)more);
}

uint64_t tly_hot_bound(struct tly_hot *hot, uint64_t limit, bool refused)
{
    for (size_t i = 0; !refused && i < hot->count; i++)
        note_silence(hot, &hot->shards[i]);
    return tly_hot_unseen(hot, limit);
}

uint64_t tly_hot_unseen(const struct tly_hot *hot, uint64_t limit)
{
    uint64_t unseen = 0;
    for (size_t i = 0; i < hot->count; i++)
        unseen =
            tly_add(unseen, tly_min(tly_max(hot->shards[i].unseen, hot->shards[i].unseen_before), limit));
    return unseen;
}

bool tly_hot_at(const struct tly_hot *hot, size_t i, uint64_t now_ns, struct tly_hot_view *view)
{
    if (i >= hot->count) return false;
    const struct tly_shard *shard = &hot->shards[i];
    tly_wide rate = ((tly_wide)shard->pace.rate * 1000000000000u) >> 32;
    *view = (struct tly_hot_view){
        .origin = shard->origin,
        .rate_per_1000s = rate > UINT64_MAX ? UINT64_MAX : (uint64_t)rate,
        .count = shard->count,
        .age_ns = tly_less(now_ns, shard->ref_ns),
        .unseen = tly_max(shard->unseen, shard->unseen_before),
    };
    return true;
}
