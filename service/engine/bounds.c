/* How hard each named limit is now. */
#include "service/engine/bounded.h"
#include "service/engine/impl.h"
#include "service/engine/judge.h"

/* Whether a key is one of the limit whose keys begin so: behind that is its first part, or nothing. */
static bool is_of(struct tly_slice key, struct tly_slice begin)
{
    return tly_slice_begins(key, begin) && (key.n == begin.n || key.p[begin.n] == ':');
}

/* The units that may be in it at once, which for a bucket are its burst, and for a counter go from its least up. */
static uint64_t most_of(const struct tly_rate *rate)
{
    if (rate->algorithm == TLY_COUNTER) return tly_bounded_range(rate);
    return rate->algorithm == TLY_TOKEN_BUCKET && rate->burst != 0 ? rate->burst : rate->limit;
}

static void look_at_keys(struct tly_engine *e, struct tly_slice begin, struct tly_limit_view *view)
{
    size_t cursor = 0;
    uint64_t most = 0, limit = most_of(&view->rule->rate);
    for (struct tly_hot_key key; tly_heat_at(e->heat, &cursor, &key);) {
        if (!is_of(key.key, begin)) continue;
        uint64_t unseen = tly_hot_unseen(key.hot, limit);
        view->watched++;
        if (view->hot != NULL && unseen <= most) continue;
        most = unseen;
        view->hot = key.hot;
        view->key = key.key;
    }
    view->bound = tly_judge_bound(&view->rule->rate, &e->cluster_now, limit, most);
}

enum tly_result tly_engine_limit(struct tly_engine *e, struct tly_slice name, struct tly_time now,
                                 struct tly_limit_view *view)
{
    const struct tly_rule *rule = e->rules != NULL ? tly_rules_find(e->rules, name) : NULL;
    if (rule == NULL) return TLY_NO_LIMIT;
    tly_engine_wake(e, now);
    tly_standing_look(e);
    *view = (struct tly_limit_view){
        .rule = rule,
        .members = e->cluster_now.members,
        .lost = e->cluster_now.lost,
        .ended = e->cluster_now.ended,
        .joined = e->cluster_now.joined,
        .flush_ns = e->flush_ns,
        .horizon_ns = tly_standing_horizon(e),
    };
    if (rule->rate.mode == TLY_HARD) tly_line_tell(e, view);
    /* What its keys begin with is its key without fields. */
    struct tly_rule bare = {.field_count = 0};
    struct tly_slice begin = {.p = e->key};
    memcpy(bare.name, rule->name, sizeof bare.name);
    if (tly_rule_key(&bare, NULL, 0, e->key, &begin.n) == TLY_OK) look_at_keys(e, begin, view);
    return TLY_OK;
}

bool tly_engine_limit_other(const struct tly_engine *e, const struct tly_limit_view *view, size_t i,
                            struct tly_limit_other *other)
{
    struct tly_hot_view hot;
    if (view->hot == NULL || !tly_hot_at(view->hot, i, e->cluster_ns, &hot)) return false;
    *other = (struct tly_limit_other){.origin = hot.origin,
                                      .rate_per_1000s = hot.rate_per_1000s,
                                      .units = hot.count,
                                      .staleness_ns = hot.age_ns,
                                      .unseen = hot.unseen};
    for (size_t at = 0; at < e->peer_count; at++)
        if (hot.origin != 0 && e->peers[at]->origin == hot.origin)
            other->node = tly_slice_text(e->peers[at]->name);
    return true;
}
