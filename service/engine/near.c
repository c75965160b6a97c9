/*
 * Which limits are nearly reached, while a link budget is used up.  What is sealed first is sent first, and what is hit again before it
 * could go is sealed again behind it; so in every sealing the keys that are closest to their limits go ahead of the others.
 *
 * The order in which keys were first sent costs fewer bytes, so without a budget, or while it lasts, that one is kept.
 */
#include "service/engine/impl.h"

#define NEAR_PERCENT 80
#define MIDDLE_PERCENT 50
#define CLASS_SHIFT 24
#define LAST_IN_CLASS ((UINT32_C(1) << CLASS_SHIFT) - 1)

enum { CLASS_NEAR, CLASS_MIDDLE, CLASS_FAR };

enum tly_result tly_near_init(struct tly_engine *e)
{
    if (e->link_budget == 0) return TLY_OK;
    e->near_limits = tly_mem_zeroed(&e->mem, TLY_NEAR_KEPT * sizeof *e->near_limits);
    return e->near_limits != NULL ? TLY_OK : TLY_NOMEM;
}

bool tly_near_matters(const struct tly_engine *e)
{
    if (e->link_budget == 0) return false;
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->state == CONN_UP && tly_lanes_is_out_of_budget(&e->conns[i]->lanes)) return true;
    return false;
}

static struct near_limit *place_of(struct tly_engine *e, uint64_t hash)
{
    return &e->near_limits[hash % TLY_NEAR_KEPT];
}

/* Of two keys in one place the nearer is known, until the other comes after it has moved away from its limit. */
void tly_near_note(struct tly_engine *e, struct tly_slice key, const struct tly_verdict *verdict)
{
    if (verdict->limit == 0) return;
    uint64_t used = verdict->remaining < verdict->limit ? verdict->limit - verdict->remaining : 0;
    uint64_t percent = used >= verdict->limit ? 100 : used / (verdict->limit / 100 + 1);
    uint64_t hash = tly_hash(&e->hash_key, key);
    struct near_limit *place = place_of(e, hash);
    if (place->hash == hash || place->percent <= percent)
        *place = (struct near_limit){hash, (unsigned)percent};
}

static uint32_t class_of(struct tly_engine *e, struct tly_slice key)
{
    uint64_t hash = tly_hash(&e->hash_key, key);
    const struct near_limit *place = place_of(e, hash);
    if (place->hash != hash) return CLASS_MIDDLE;
    if (place->percent >= NEAR_PERCENT) return CLASS_NEAR;
    return place->percent >= MIDDLE_PERCENT ? CLASS_MIDDLE : CLASS_FAR;
}

uint32_t tly_near_rank(struct tly_engine *e, struct tly_slice key, uint32_t number)
{
    return class_of(e, key) << CLASS_SHIFT | (number < LAST_IN_CLASS ? number : LAST_IN_CLASS);
}
