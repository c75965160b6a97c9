#include "crdt/dot.h"

int tly_slice_compare(struct tly_slice a, struct tly_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0) return order;
    if (a.n == b.n) return 0;
    return a.n < b.n ? -1 : 1;
}

bool tly_dot_equal(const struct tly_dot *a, const struct tly_dot *b)
{
    return tly_version_compare(a->version, b->version) == 0 && a->op == b->op &&
           memcmp(a->num, b->num, sizeof a->num) == 0 && tly_slice_equal(a->bytes, b->bytes);
}

int tly_dot_compare(const struct tly_dot *a, const struct tly_dot *b)
{
    int order = tly_version_compare(a->version, b->version);
    if (order != 0) return order;
    if (a->op != b->op) return a->op < b->op ? -1 : 1;
    for (unsigned i = 0; i < TLY_NUMS_MAX; i++)
        if (a->num[i] != b->num[i]) return a->num[i] < b->num[i] ? -1 : 1;
    return tly_slice_compare(a->bytes, b->bytes);
}
