/*
 * lww (LastWriterWins): a register.  Total order by (version, REMOVE over PUT, payload), so one dot survives.
 * The payload is an optional deadline, then opaque bytes.
 */
#include "crdt/strategy.h"

static enum tly_result check(const struct tly_dot *put)
{
    return put->bytes.n <= TLY_LWW_BYTES_MAX ? TLY_OK : TLY_TOO_LARGE;
}

static bool dominates(const struct tly_dot *a, const struct tly_dot *b)
{
    int order = tly_version_compare(a->version, b->version);
    if (order != 0) return order > 0;
    if (a->op != b->op) return a->op == TLY_REMOVE;
    if (a->num[0] != b->num[0]) return a->num[0] > b->num[0];
    return tly_slice_compare(a->bytes, b->bytes) > 0;
}

static void read(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                 struct tly_value *value)
{
    *value = (struct tly_value){0};
    const struct tly_dot *last = NULL;
    for (size_t i = 0; i < count; i++)
        if (last == NULL || dominates(&dots[i], last)) last = &dots[i];
    if (last == NULL || last->op == TLY_REMOVE) return;
    if (last->num[0] != 0 && at->now_ms >= last->num[0]) return;
    value->present = true;
    value->deadline_ms = last->num[0];
    value->bytes = last->bytes;
}

static const struct tly_strategy strategy = {
    .name = "lww",
    .id = TLY_LWW,
    .nums = 1,
    .has_bytes = true,
    .check = check,
    .dominates = dominates,
    .total = true,
    .read = read,
};

const struct tly_strategy *tly_lww(void)
{
    return &strategy;
}
