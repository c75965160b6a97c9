#include "service/engine/judge.h"

#define NS_PER_MS UINT64_C(1000000)

__extension__ typedef unsigned __int128 wide;

static uint64_t times(uint64_t a, uint64_t b, uint64_t most)
{
    wide product = (wide)a * b;
    return product > most ? most : (uint64_t)product;
}

static bool is_shared(const struct tly_limit_ask *ask)
{
    return ask->rate->on_partition == TLY_PARTITION_SHARE && ask->cluster->lost > 0;
}

/* The part of it that the reachable members are of all. */
static uint64_t share_of(const struct tly_limit_ask *ask)
{
    size_t members = ask->cluster->members, reachable = members - ask->cluster->lost;
    return (uint64_t)((wide)ask->rate->limit * reachable / members);
}

void tly_judge_look(const struct tly_limit_ask *ask, const struct tly_heat_ask *look,
                    struct tly_judged *judged)
{
    *judged = (struct tly_judged){.limit = is_shared(ask) ? share_of(ask) : ask->rate->limit};
    if (look->tally->entry == NULL) return;
    judged->hot = tly_heat_look(ask->heat, look);
    if (judged->hot != NULL) judged->ahead = tly_hot_ahead(judged->hot, ask->now_ns);
}

static void at_most(struct tly_judged *judged, uint64_t room, enum tly_reason reason)
{
    if (room >= judged->room) return;
    judged->room = room;
    judged->reason = reason;
}

/* Of a key that nobody counted in yet nothing is unheard; of one that cannot be watched, all is. */
static uint64_t cap_left(const struct tly_limit_ask *ask, const struct tly_judged *judged, bool is_new)
{
    uint64_t unheard = is_new ? 0 : judged->hot != NULL ? tly_hot_unheard(judged->hot) : UINT64_MAX;
    return ask->rate->cap > unheard ? ask->rate->cap - unheard : 0;
}

void tly_judge_room(const struct tly_limit_ask *ask, uint64_t room, bool is_new, struct tly_judged *judged)
{
    const struct tly_rate *rate = ask->rate;
    bool is_capped = rate->mode == TLY_CAPPED, is_cut = ask->cluster->lost > 0;
    judged->room = room;
    judged->reason = is_shared(ask)              ? TLY_REASON_SHARE
                     : judged->ahead.current > 0 ? TLY_REASON_PROJECTED
                                                 : TLY_REASON_LIMIT;
    if (judged->hot != NULL)
        at_most(judged, tly_hot_share(judged->hot, room, ask->now_ns), TLY_REASON_WAITING);
    if (is_capped && !(is_cut && rate->on_partition == TLY_PARTITION_OPEN))
        at_most(judged, cap_left(ask, judged, is_new), TLY_REASON_CAPPED);
    if (is_capped && !ask->cluster->joined) at_most(judged, 0, TLY_REASON_JOINING);
    if (!is_capped && is_cut && rate->on_partition == TLY_PARTITION_CLOSED)
        at_most(judged, 0, TLY_REASON_PARTITION);
}

uint64_t tly_judge_bound(const struct tly_rate *rate, const struct tly_cluster_now *cluster, uint64_t limit,
                         uint64_t measured)
{
    if (rate->mode == TLY_HARD) return 0;
    if (rate->mode == TLY_CAPPED) {
        if (cluster->lost > 0 && rate->on_partition == TLY_PARTITION_OPEN) return TLY_BOUND_NONE;
        return times(cluster->members - 1 + cluster->ended, rate->cap, TLY_BOUND_NONE - 1);
    }
    /* Who cannot be reached may be on its own, and then has the whole limit for itself. */
    uint64_t cut = times(cluster->lost, limit, TLY_BOUND_NONE - 1);
    uint64_t most = times(cluster->members - 1, limit, TLY_BOUND_NONE - 1);
    /* What is in flight, or in a counter, goes down too, so nobody can tell how much of it was never heard of. */
    if (rate->algorithm >= TLY_CONCURRENCY) return most;
    return measured > most - cut ? most : measured + cut;
}

void tly_judge_tell(const struct tly_limit_ask *ask, const struct tly_judged *judged, uint64_t limit,
                    struct tly_verdict *verdict)
{
    uint64_t measured =
        judged->hot != NULL ? tly_hot_bound(judged->hot, limit, verdict->code == TLY_CODE_OVER) : 0;
    verdict->bound = tly_judge_bound(ask->rate, ask->cluster, limit, measured);
    if (verdict->code == TLY_CODE_OVER) {
        verdict->reason = judged->reason;
        if (judged->hot != NULL) tly_hot_refused(judged->hot, ask->now_ns);
    }
    verdict->is_judged = judged->hot != NULL;
    verdict->ahead = judged->ahead.current;
    verdict->own = judged->hot != NULL ? tly_hot_own(judged->hot) : 0;
    verdict->unheard = judged->hot != NULL ? tly_hot_unheard(judged->hot) : 0;
}
