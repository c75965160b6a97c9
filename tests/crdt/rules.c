#include "tests/crdt/rules.h"

__extension__ typedef __int128 wide;

/* ---- order ---- */

static bool same(const struct tly_dot *a, const struct tly_dot *b)
{
    bool alike = a->version.ts == b->version.ts && a->version.origin == b->version.origin && a->op == b->op;
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        alike = alike && a->num[i] == b->num[i];
    return alike && a->bytes.n == b->bytes.n &&
           (a->bytes.n == 0 || memcmp(a->bytes.p, b->bytes.p, a->bytes.n) == 0);
}

static bool not_older(const struct tly_dot *a, const struct tly_dot *b)
{
    return a->version.ts > b->version.ts ||
           (a->version.ts == b->version.ts && a->version.origin >= b->version.origin);
}

static bool greater_bytes(struct tly_slice a, struct tly_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    return order > 0 || (order == 0 && a.n > b.n);
}

/* LWW1 */
static bool lww_rule(const struct tly_dot *a, const struct tly_dot *b)
{
    if (a->version.ts != b->version.ts) return a->version.ts > b->version.ts;
    if (a->version.origin != b->version.origin) return a->version.origin > b->version.origin;
    if (a->op != b->op) return a->op == TLY_REMOVE;
    if (a->num[0] != b->num[0]) return a->num[0] > b->num[0];
    return greater_bytes(a->bytes, b->bytes);
}

/* EM1, of two PUTs whose versions are in order */
static bool max_rule(const struct tly_dot *p, const struct tly_dot *q)
{
    int64_t x = (int64_t)p->num[1], y = (int64_t)q->num[1];
    return p->num[0] > q->num[0] || (p->num[0] == q->num[0] && x >= y);
}

/* ES1, ES2, ES3, of two PUTs whose versions are in order */
static bool sum_rule(const struct tly_dot *p, const struct tly_dot *q)
{
    if (p->num[0] != q->num[0]) return false;
    if (p->num[0] == 0 && p->num[1] > q->num[1]) return true;
    if (p->version.origin != q->version.origin || p->num[1] < q->num[1]) return false;
    bool tie = p->version.ts == q->version.ts && p->num[1] == q->num[1];
    int64_t count_p = (int64_t)p->num[2], count_q = (int64_t)q->num[2];
    if (tie && count_p != count_q) return count_p > count_q;
    return !tie || (int64_t)p->num[3] > (int64_t)q->num[3];
}

/* EC1 to EC3, of two PUTs whose versions are in order */
static bool escrow_rule(const struct tly_dot *p, const struct tly_dot *q)
{
    bool tie = p->version.ts == q->version.ts, is_vote = p->num[0] == UINT64_MAX - 1;
    if (p->version.origin != q->version.origin || p->num[0] != q->num[0]) return false;
    if (p->num[0] == 0 || p->num[0] == UINT64_MAX) return false;
    if (is_vote) return !tie || p->num[2] > q->num[2];
    if (p->num[2] != q->num[2] || p->num[1] < q->num[1]) return false;
    return !tie || p->num[1] > q->num[1] || p->num[3] > q->num[3];
}

bool rule_dominates(const struct tly_strategy *strategy, const struct tly_dot *a, const struct tly_dot *b)
{
    if (same(a, b)) return false;
    if (strategy->id == TLY_LWW) return lww_rule(a, b);
    if (!not_older(a, b) || (a->op == TLY_PUT && b->op == TLY_REMOVE)) return false;
    if (a->op == TLY_REMOVE) return true;
    if (strategy->id == TLY_ESCROW) return escrow_rule(a, b);
    return strategy->id == TLY_EPOCH_MAX ? max_rule(a, b) : sum_rule(a, b);
}

/* ---- join ---- */

/* The order in which dots are listed: version, PUT before REMOVE, words as unsigned numbers, bytes. */
static bool listed_before(const struct tly_dot *a, const struct tly_dot *b)
{
    if (a->version.ts != b->version.ts) return a->version.ts < b->version.ts;
    if (a->version.origin != b->version.origin) return a->version.origin < b->version.origin;
    if (a->op != b->op) return a->op == TLY_PUT;
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        if (a->num[i] != b->num[i]) return a->num[i] < b->num[i];
    return greater_bytes(b->bytes, a->bytes);
}

static bool falls(const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count, size_t i)
{
    for (size_t j = 0; j < count; j++)
        if (rule_dominates(strategy, &dots[j], &dots[i]) || (j < i && same(&dots[j], &dots[i]))) return true;
    return false;
}

/* Which dots fall is settled among all of them before the first is taken out. */
static size_t take_out(const struct tly_strategy *strategy, struct tly_dot *dots, size_t count)
{
    uint64_t gone[4] = {0};
    size_t kept = 0;
    for (size_t i = 0; i < count && count <= 256; i++)
        if (falls(strategy, dots, count, i)) gone[i / 64] |= UINT64_C(1) << i % 64;
    for (size_t i = 0; i < count; i++)
        if (!(gone[i / 64] >> i % 64 & 1)) dots[kept++] = dots[i];
    return kept;
}

size_t rule_fold(const struct tly_strategy *strategy, struct tly_dot *dots, size_t count)
{
    /* A set too large to be marked at once is first folded in its halves. */
    if (count > 256) {
        size_t half = count / 2, left = rule_fold(strategy, dots, half),
               right = rule_fold(strategy, dots + half, count - half);
        memmove(dots + left, dots + half, right * sizeof *dots);
        if (left + right < count) return rule_fold(strategy, dots, left + right);
        count = left + right;
    }
    size_t kept = take_out(strategy, dots, count);
    for (size_t i = 1; i < kept; i++)
        for (size_t j = i; j > 0 && listed_before(&dots[j], &dots[j - 1]); j--) {
            struct tly_dot dot = dots[j];
            dots[j] = dots[j - 1];
            dots[j - 1] = dot;
        }
    return kept;
}

/* ---- reading ---- */

static int64_t held(wide sum)
{
    return sum > INT64_MAX ? INT64_MAX : sum < INT64_MIN ? INT64_MIN : (int64_t)sum;
}

/* LWW3: of folded dots there is one. */
static void read_lww(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                     struct tly_value *value)
{
    if (count == 0 || dots[0].op == TLY_REMOVE) return;
    uint64_t deadline = dots[0].num[0];
    if (deadline != 0 && deadline <= at->now_ms) return;
    *value = (struct tly_value){.present = true, .deadline_ms = deadline, .bytes = dots[0].bytes};
}

/* EM3 */
static void read_max(const struct tly_dot *dots, size_t count, struct tly_value *value)
{
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        int64_t units = (int64_t)dot->num[1];
        bool greater = dot->num[0] > value->epoch || (dot->num[0] == value->epoch && units > value->count);
        if (dot->op == TLY_PUT && (!value->present || greater))
            *value = (struct tly_value){.present = true, .epoch = dot->num[0], .count = units};
    }
}

/* ES4, ES5: the newest dot of its origin among those that have come. */
static bool is_read(const struct tly_dot *dots, size_t count, size_t i, const struct tly_moment *at)
{
    wide ahead = (wide)at->epoch + 1;
    if (dots[i].op == TLY_REMOVE || dots[i].num[0] != at->window || dots[i].num[1] > ahead) return false;
    for (size_t j = 0; j < count; j++) {
        bool newer = dots[j].op == TLY_PUT && dots[j].version.origin == dots[i].version.origin &&
                     dots[j].num[0] == at->window && dots[j].num[1] > dots[i].num[1];
        if (newer && dots[j].num[1] <= ahead) return false;
    }
    return true;
}

static void read_window(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                        struct tly_value *value)
{
    wide current = 0, previous = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_read(dots, count, i, at)) continue;
        wide distance = (wide)dots[i].num[1] - at->epoch;
        int64_t units = (int64_t)dots[i].num[2], before = (int64_t)dots[i].num[3];
        current += distance == 0 ? units : distance == 1 ? before : 0;
        previous += distance == -1 ? units : distance == 0 ? before : 0;
        value->present = true;
    }
    value->epoch = at->epoch;
    value->count = held(current);
    value->previous = held(previous);
}

/* ES6, ES10 */
static void read_counter(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                         struct tly_value *value)
{
    wide sum = 0;
    int64_t deadline = 0;
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_PUT && dots[i].num[0] == 0) {
            value->present = true;
            if (dots[i].num[1] > value->epoch) value->epoch = dots[i].num[1];
        }
    /* Folded dots ascend by version, so the last that carries a deadline is the newest. */
    for (size_t i = 0; i < count; i++) {
        if (dots[i].op != TLY_PUT || dots[i].num[0] != 0 || dots[i].num[1] != value->epoch) continue;
        sum += (int64_t)dots[i].num[2];
        if (dots[i].num[3] != 0) deadline = (int64_t)dots[i].num[3];
    }
    value->count = held(sum);
    if (deadline > 0 && deadline != INT64_MAX) value->deadline_ms = (uint64_t)deadline;
    if (value->deadline_ms != 0 && value->deadline_ms <= at->now_ms) value->present = false;
}

/* EC4 */
static void read_escrow(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                        struct tly_value *value)
{
    wide sum = 0;
    bool is_window = at->window != 0 && at->window < UINT64_MAX - 1;
    value->epoch = at->epoch;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *num = dots[i].num;
        value->present = value->present || dots[i].op == TLY_PUT;
        if (is_window && num[0] == at->window && num[1] == at->epoch && num[2] != 0) sum += (int64_t)num[3];
    }
    value->count = held(sum);
}

struct tly_value rule_read(const struct tly_strategy *strategy, const struct tly_dot *dots, size_t count,
                           const struct tly_moment *at)
{
    struct tly_value value = {0};
    if (count == 0) return value;
    if (strategy->id == TLY_LWW)
        read_lww(dots, count, at, &value);
    else if (strategy->id == TLY_EPOCH_MAX)
        read_max(dots, count, &value);
    else if (strategy->id == TLY_ESCROW)
        read_escrow(dots, count, at, &value);
    else if (at->window == 0)
        read_counter(dots, count, at, &value);
    else
        read_window(dots, count, at, &value);
    return value;
}
