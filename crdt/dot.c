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
