#include "crdt/diff.h"

#include "crdt/epoch_sum.h"

/* Whether some dot of the list makes this one redundant, or is the same. */
static bool covers(const struct tly_strategy *strategy, struct tly_dots list, const struct tly_dot *dot)
{
    for (size_t i = 0; i < list.count; i++)
        if (tly_dot_equal(&list.dots[i], dot) || tly_dominates(strategy, &list.dots[i], dot)) return true;
    return false;
}

/* A dominated dot may go at once: what it dominates, its own dominator dominates too. */
size_t tly_diff(const struct tly_strategy *strategy, struct tly_dots a, struct tly_dot *b, size_t b_count)
{
    size_t kept = 0;
    for (size_t i = 0; i < b_count; i++) {
        bool gone = covers(strategy, a, &b[i]) || covers(strategy, (struct tly_dots){b, kept}, &b[i]);
        for (size_t j = i + 1; !gone && j < b_count; j++)
            gone = tly_dominates(strategy, &b[j], &b[i]);
        if (!gone) b[kept++] = b[i];
    }
    return kept;
}

/* ---- reasons ---- */

static const char *why_lww(const struct tly_dot *a, const struct tly_dot *b)
{
    if (tly_version_compare(a->version, b->version) != 0) return "of two writes the later version wins";
    if (a->op != b->op) return "at one version a remove wins over a put";
    return "two payloads were forged with one version: the greater one wins";
}

static const char *why_epoch_max(const struct tly_dot *a, const struct tly_dot *b)
{
    if (tly_version_compare(a->version, b->version) == 0)
        return "two payloads were forged with one version: the greater (epoch, count) wins";
    bool same = a->num[0] == b->num[0] && a->num[1] == b->num[1];
    return same ? "the same (epoch, count) at a later version"
                : "a later version with a greater (epoch, count)";
}

static const char *why_epoch_sum(const struct tly_dot *a, const struct tly_dot *b)
{
    uint64_t x = a->num[TLY_SUM_EPOCH], y = b->num[TLY_SUM_EPOCH];
    if (a->num[TLY_SUM_WINDOW] == 0 && x > y)
        return "a counter was set or begun anew: only its highest generation counts";
    if (tly_version_compare(a->version, b->version) == 0)
        return "two shards were forged with one version: the greater one stays";
    return "a shard is replaced by the next one of its origin";
}

const char *tly_why(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b)
{
    if (!tly_dominates(strategy, a, b)) return NULL;
    if (!strategy->total && a->op == TLY_REMOVE) return "a remove ends everything up to its own version";
    switch (strategy->id) {
    case TLY_LWW: return why_lww(a, b);
    case TLY_EPOCH_MAX: return why_epoch_max(a, b);
    case TLY_EPOCH_SUM: return why_epoch_sum(a, b);
    case TLY_ESCROW: return "the newest sum of what a life gave, wished or voted is all of it";
    default: return "its strategy says so";
    }
}
