/*
 * epoch_max (EpochMaxWins): a register with many writers.  The greater (epoch, count) wins, but an older dot
 * with a higher value stays beside a newer one with a lower value, because a REMOVE between the two versions
 * must uncover the newer.  So an entry is a frontier.
 */
#include "crdt/strategy.h"

static int value_compare(const struct tly_dot *a, const struct tly_dot *b)
{
    if (a->num[0] != b->num[0]) return a->num[0] < b->num[0] ? -1 : 1;
    int64_t x = (int64_t)a->num[1], y = (int64_t)b->num[1];
    if (x != y) return x < y ? -1 : 1;
    return 0;
}

static enum tly_result check(const struct tly_dot *put)
{
    (void)put; /* any epoch and any count are values */
    return TLY_OK;
}

static bool dominates(const struct tly_dot *a, const struct tly_dot *b)
{
    int version = tly_version_compare(a->version, b->version), value = value_compare(a, b);
    return version >= 0 && value >= 0 && (version != 0 || value != 0);
}

static void read(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                 struct tly_value *value)
{
    (void)at;
    *value = (struct tly_value){0};
    const struct tly_dot *greatest = NULL;
    for (size_t i = 0; i < count; i++) {
        if (dots[i].op == TLY_REMOVE) continue;
        if (greatest == NULL || value_compare(&dots[i], greatest) > 0) greatest = &dots[i];
    }
    if (greatest == NULL) return;
    value->present = true;
    value->epoch = greatest->num[0];
    value->count = (int64_t)greatest->num[1];
}

static const struct tly_strategy strategy = {
    .name = "epoch_max",
    .id = TLY_EPOCH_MAX,
    .nums = 2,
    .signed_nums = 1u << 1,
    .check = check,
    .dominates = dominates,
    .read = read,
};

const struct tly_strategy *tly_epoch_max(void)
{
    return &strategy;
}
