#include "service/engine/bounded.h"

#include "crdt/counter.h"
#include "service/engine/judge.h"

#define NS_PER_MS UINT64_C(1000000)

uint64_t tly_bounded_range(const struct tly_rate *rate)
{
    return rate->limit + (0 - (uint64_t)rate->min);
}

static enum tly_result read(struct tly_ormap *map, const struct tly_limit_ask *ask, int64_t *value)
{
    struct tly_value read = {0};
    enum tly_result result = tly_counter_get(map, ask->seek.key, ask->now_ns / NS_PER_MS, &read);
    *value = result == TLY_OK ? read.count : 0;
    return result == TLY_NOT_FOUND ? TLY_OK : result;
}

static enum tly_result add(struct tly_ormap *map, const struct tly_limit_ask *ask, int64_t delta,
                           int64_t *value)
{
    return tly_counter_add_sought(map, &ask->seek, delta, ask->now_ns / NS_PER_MS, value);
}

/* Other nodes may have brought it beyond a bound: nothing is left then. */
static uint64_t above(const struct tly_rate *rate, int64_t value)
{
    int64_t most = (int64_t)rate->limit;
    return value < most ? (uint64_t)most - (uint64_t)value : 0;
}

static uint64_t below(const struct tly_rate *rate, int64_t value)
{
    return value > rate->min ? (uint64_t)value - (uint64_t)rate->min : 0;
}

/* What the bound leaves, and what this node holds the rights to. */
static uint64_t held(const struct tly_limit_ask *ask, uint64_t room)
{
    return ask->rights != NULL && *ask->rights < room ? *ask->rights : room;
}

static void tell(const struct tly_limit_ask *ask, int64_t value, bool ok, bool is_closed,
                 struct tly_verdict *verdict)
{
    const struct tly_rate *rate = ask->rate;
    uint64_t left = held(ask, above(rate, value)), room = is_closed ? 0 : left;
    *verdict = (struct tly_verdict){
        .code = ok ? TLY_CODE_OK : TLY_CODE_OVER,
        .reason = ok          ? TLY_REASON_NONE
                  : is_closed ? TLY_REASON_PARTITION
                              : TLY_REASON_LIMIT,
        .mode = rate->mode,
        .algorithm = TLY_COUNTER,
        .bound = tly_judge_bound(rate, ask->cluster, tly_bounded_range(rate), 0),
        .limit = rate->limit,
        .used = value > 0 ? (uint64_t)value : 0,
        .below = value < 0 ? 0 - (uint64_t)value : 0,
        .remaining = room,
        /* It never goes down by itself, but is open again once all are heard. */
        .retry_after_ms = ok                               ? 0
                          : is_closed && ask->hits <= left ? TLY_RETRY_SOON_MS
                                                           : UINT64_MAX,
    };
}

enum tly_result tly_bounded_check(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                  struct tly_verdict *verdict)
{
    int64_t value;
    enum tly_result result = read(map, ask, &value);
    if (result != TLY_OK) return result;
    bool is_closed = ask->rate->mode != TLY_HARD && ask->cluster->lost > 0 &&
                     ask->rate->on_partition == TLY_PARTITION_CLOSED;
    bool ok = ask->hits <= held(ask, above(ask->rate, value)) && !(is_closed && ask->hits > 0);
    if (ok && ask->hits > 0) result = add(map, ask, (int64_t)ask->hits, &value);
    if (result == TLY_OK) tell(ask, value, ok, is_closed, verdict);
    return result;
}

enum tly_result tly_bounded_below(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t *room)
{
    int64_t value;
    enum tly_result result = read(map, ask, &value);
    *room = result == TLY_OK ? below(ask->rate, value) : 0;
    return result;
}

enum tly_result tly_bounded_lower(struct tly_ormap *map, const struct tly_limit_ask *ask, uint64_t *units)
{
    int64_t value;
    enum tly_result result = read(map, ask, &value);
    if (result != TLY_OK) return result;
    uint64_t room = held(ask, below(ask->rate, value)), back = ask->hits < room ? ask->hits : room;
    *units = 0;
    if (back > 0) result = add(map, ask, -(int64_t)back, &value);
    if (result == TLY_OK) *units = back;
    return result;
}

enum tly_result tly_bounded_raise(struct tly_ormap *map, const struct tly_limit_ask *ask)
{
    int64_t value;
    enum tly_result result = read(map, ask, &value);
    if (result != TLY_OK) return result;
    uint64_t room = above(ask->rate, value), more = ask->hits < room ? ask->hits : room;
    return more > 0 ? add(map, ask, (int64_t)more, &value) : TLY_OK;
}
