#include "crdt/strategy.h"

static const struct tly_strategy *(*const strategies[])(void) = {tly_lww, tly_epoch_max, tly_epoch_sum,
                                                                 tly_escrow};

#define STRATEGY_COUNT (sizeof strategies / sizeof strategies[0])

const struct tly_strategy *tly_strategy_at(size_t i)
{
    return i < STRATEGY_COUNT ? strategies[i]() : NULL;
}

const struct tly_strategy *tly_strategy_by_id(uint64_t id)
{
    switch (id) {
    case TLY_LWW: return tly_lww();
    case TLY_EPOCH_MAX: return tly_epoch_max();
    case TLY_EPOCH_SUM: return tly_epoch_sum();
    case TLY_ESCROW: return tly_escrow();
    default: return NULL;
    }
}

const struct tly_strategy *tly_strategy_by_name(struct tly_slice name)
{
    for (size_t i = 0; i < STRATEGY_COUNT; i++)
        if (tly_slice_equal(tly_slice_text(strategies[i]()->name), name)) return strategies[i]();
    return NULL;
}

bool tly_dominates(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b)
{
    if (strategy->total) return strategy->dominates(a, b);
    if (a->op == TLY_REMOVE) return tly_version_compare(a->version, b->version) >= 0 && !tly_dot_equal(a, b);
    if (b->op == TLY_REMOVE) return false;
    return strategy->dominates(a, b);
}

enum tly_result tly_dot_check(const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    if (dot->version.ts == 0 || dot->version.origin == 0) return TLY_BAD_PAYLOAD;
    unsigned words = dot->op == TLY_REMOVE ? 0 : strategy->nums;
    for (unsigned i = words; i < TLY_NUMS_MAX; i++)
        if (dot->num[i] != 0) return TLY_BAD_PAYLOAD;
    if (dot->bytes.n > 0 && (dot->op == TLY_REMOVE || !strategy->has_bytes)) return TLY_BAD_PAYLOAD;
    return dot->op == TLY_REMOVE ? TLY_OK : strategy->check(dot);
}

static bool is_maximal(const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count,
                       size_t i)
{
    for (size_t j = 0; j < count; j++)
        if (tly_dominates(strategy, &dots[j], &dots[i])) return false;
    return true;
}

size_t tly_join(const struct tly_strategy *strategy, struct tly_dot *dots, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct tly_dot dot = dots[i];
        size_t j = i;
        for (; j > 0 && tly_dot_compare(&dots[j - 1], &dot) > 0; j--)
            dots[j] = dots[j - 1];
        dots[j] = dot;
    }
    /* What a removed dot dominates, its own dominator dominates too: the order of removal does not matter. */
    for (size_t i = 0; i < count;) {
        bool same = i > 0 && tly_dot_equal(&dots[i - 1], &dots[i]);
        if (same || !is_maximal(strategy, dots, count, i)) {
            memmove(&dots[i], &dots[i + 1], (count - i - 1) * sizeof *dots);
            count--;
        } else {
            i++;
        }
    }
    return count;
}
