/*
 * What a limit that is near, capped or told what to do at a partition takes into account beside what the map has: the projection, the
 * cap, members that cannot be reached; and the bound that is published with the verdict.
 */
#ifndef TALLY_SERVICE_ENGINE_JUDGE_H
#define TALLY_SERVICE_ENGINE_JUDGE_H

#include "service/engine/limit.h"

/* When others have probably spoken, or may be heard again. */
#define TLY_RETRY_SOON_MS 300

/* What is in the way of how much. */
struct tly_judged {
    struct tly_hot *hot; /* NULL: nothing is known of the key */
    struct tly_carry ahead;
    uint64_t limit;         /* what of it there is to take */
    uint64_t room;          /* what may be admitted now */
    enum tly_reason reason; /* what makes it so little */
};

/* Nobody else counts, so there is nothing to project and nothing that was not heard. A cap has a say all the same. */
static inline bool tly_judge_is_alone(const struct tly_limit_ask *ask)
{
    return ask->cluster->members == 1 && ask->rate->mode != TLY_CAPPED;
}

/* Whether a key of which so much is used needs to be judged; if not, what the map has is all there is to know. */
static inline bool tly_judge_wants(const struct tly_limit_ask *ask, uint64_t used, uint64_t limit)
{
    if (ask->heat == NULL || tly_judge_is_alone(ask)) return false;
    bool is_firm = ((unsigned)ask->rate->mode | (unsigned)ask->rate->on_partition) != 0;
    return is_firm || used >= limit / 2 || ask->cluster->lost > 0 ||
           tly_heat_may_have(ask->heat, ask->seek.hash);
}

/* Looks at the key: sets hot, ahead and limit. */
void tly_judge_look(const struct tly_limit_ask *ask, const struct tly_heat_ask *look,
                    struct tly_judged *judged);
/* `room` is what the algorithm leaves with all that; is_new: nobody has counted yet. Sets room and reason. */
void tly_judge_room(const struct tly_limit_ask *ask, uint64_t room, bool is_new, struct tly_judged *judged);
/* Sets what a verdict says of it; of a bucket the limit is its burst. */
void tly_judge_tell(const struct tly_limit_ask *ask, const struct tly_judged *judged, uint64_t limit,
                    struct tly_verdict *verdict);

/* The published bound of a limit, if that was measured of a key of it (tly_hot_bound). */
uint64_t tly_judge_bound(const struct tly_rate *rate, const struct tly_cluster_now *cluster, uint64_t limit,
                         uint64_t measured);

#endif
