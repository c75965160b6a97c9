/*
 * A check as most of them are: a rate of its own in a window, the one of the check before it, and a key that this node alone counts
 * in, that has room and that nobody has to be told of anew.  All that follows from the rate and the moment is made out once; of a key
 * nothing is put together, and its entry is looked at where it lies (crdt/tally_inline.h).  Whatever else it is goes the long way.
 *
 * What is waited for is memory: the key, a slot of the index, an entry.  So a check has to be short and to guess no branch wrongly, that
 * the next one's key is on its way before this one's entry has come; and nothing may be read in larger pieces than it was just written in.
 */
#include "crdt/hash_inline.h"
#include "crdt/tally_inline.h"
#include "service/engine/impl.h"

void tly_usual_learn(struct tly_engine *e, const struct tly_rate *rate)
{
    struct usual *usual = &e->usual;
    const struct tly_span *span = &e->span;
    bool is_firm = ((unsigned)rate->mode | (unsigned)rate->on_partition) != 0;
    usual->length_ms = 0;
    if (rate->algorithm >= TLY_TOKEN_BUCKET || is_firm || e->near_limits != NULL) return;
    if (span->pane.window != rate->window_ms || span->pane.width == 0) return;
    usual->start_ms = span->start_ms;
    usual->length_ms = rate->window_ms;
    usual->is_sliding = rate->algorithm == TLY_SLIDING_WINDOW;
    usual->half = rate->limit / 2;
    usual->near_limit = tly_ask_near(rate->limit);
    usual->meter = (struct tly_meter){.pane = span->pane, .whole = rate->window_ms, .most = rate->limit};
}

/* What it takes for a key to be judged (tly_judge_wants), but for how much of it is used. */
static inline bool may_be_judged(const struct tly_engine *e, uint32_t hash)
{
    if (e->cluster_now.members == 1) return false;
    return e->cluster_now.lost > 0 || tly_heat_may_have(e->heat, hash);
}

/* How far into the window it is; false: it is another one, or something else is asked. */
static inline bool is_usual(struct tly_engine *e, const struct tly_check *check, uint64_t *elapsed)
{
    struct usual *usual = &e->usual;
    *elapsed = e->cluster_ns / NS_PER_MS - usual->start_ms;
    if (*elapsed >= usual->length_ms || !tly_rate_is_good(e, &check->rate)) return false;
    if (check->limit.n != 0 || check->charging != TLY_CHARGE_ADMITTED || check->hits == 0) return false;
    usual->meter.below = e->cluster_now.members == 1 ? usual->meter.most : usual->half;
    usual->meter.part = usual->is_sliding ? usual->length_ms - *elapsed : 0;
    return true;
}

static inline void tell(const struct usual *usual, uint64_t used, uint64_t elapsed,
                        struct tly_verdict *verdict)
{
    uint64_t left = usual->length_ms - elapsed;
    verdict->code = TLY_CODE_OK;
    verdict->reason = TLY_REASON_NONE;
    verdict->mode = TLY_OPTIMISTIC;
    verdict->algorithm = usual->is_sliding ? TLY_SLIDING_WINDOW : TLY_FIXED_WINDOW;
    verdict->bound = 0;
    verdict->is_judged = verdict->shadow = verdict->full = false;
    verdict->name = tly_slice_of(NULL, 0);
    verdict->limit = usual->meter.most;
    verdict->used = used;
    verdict->remaining = usual->meter.most - used;
    verdict->reset_ms = usual->is_sliding ? left + usual->length_ms : left;
    verdict->retry_after_ms = 0;
    verdict->window_ms = usual->length_ms;
}

/* One check in so many is looked at, and there the key is wanted whole. */
static __attribute__((noinline)) void sample(struct tly_engine *e, const struct tly_taking *taking,
                                             const struct tly_verdict *verdict)
{
    struct tly_seek seek = {.key.p = e->key, .hash = taking->hash};
    if (tly_adhoc_key(taking->key.rest, e->key, &seek.key.n) == TLY_OK) tly_top_look(e, &seek, verdict);
}

static inline void count_check(struct tly_engine *e, const struct tly_taking *taking,
                               const struct tly_verdict *verdict)
{
    e->stats.checks_ok++;
    e->is_refusing = false;
    if (--e->sampling.left == 0) sample(e, taking, verdict);
    if (verdict->remaining <= e->usual.near_limit && tly_ask_crosses(verdict, taking->hits))
        tly_flush_crossed(e);
}

/* Makes what is to be taken of a check, but for the hash; false: its key is too short or too long. */
static inline bool can_take(struct tly_engine *e, const struct tly_check *check, struct tly_taking *taking)
{
    size_t begin_bytes = sizeof TLY_ADHOC_BEGIN - 1, key_bytes = begin_bytes + check->key.n;
    taking->key.begin = TLY_ADHOC_WORD;
    taking->key.begin_bytes = begin_bytes;
    taking->key.rest = tly_slice_of(check->key.p, check->key.n);
    taking->hits = check->hits;
    taking->meter = &e->usual.meter;
    return key_bytes >= TLY_JOINED_BYTES_MIN && key_bytes <= TLY_JOINED_BYTES_MAX;
}

static inline void hash(const struct tly_engine *e, struct tly_taking *taking)
{
    taking->hash = tly_key_hash_of(tly_hash_joined(&e->hash_key, &taking->key));
}

/* A check that is usual if its key is; false: that is not, and nothing has changed. */
TLY_ALWAYS_INLINE bool take(struct tly_engine *e, const struct tly_taking *taking, uint64_t elapsed,
                            struct tly_verdict *verdict)
{
    uint64_t used;
    if (may_be_judged(e, taking->hash) || !tly_tally_take(e->map, taking, &used)) return false;
    tell(&e->usual, used + taking->hits, elapsed, verdict);
    count_check(e, taking, verdict);
    return true;
}

enum tly_result tly_usual_check(struct tly_engine *e, const struct tly_check *check,
                                struct tly_verdict *verdict)
{
    uint64_t elapsed;
    struct tly_taking taking;
    if (e->usual.length_ms == 0 || check->limit.n != 0 || !can_take(e, check, &taking))
        return tly_ask_check(e, check, 0, verdict);
    hash(e, &taking); /* first of all: what is waited for follows from it */
    if (!is_usual(e, check, &elapsed) || !take(e, &taking, elapsed, verdict))
        return tly_ask_check(e, check, 0, verdict);
    return TLY_OK;
}

/* Each step asks for the memory of the next: what the keys lie in, slots of the index, then entries. */
bool tly_usual_checks(struct tly_engine *e, struct tly_checked *checks, size_t count)
{
    struct tly_taking takings[TLY_CHECK_GROUP];
    uint64_t elapsed = 0;
    bool holds = true; /* what was learned; on the long way it may be something else */
    for (size_t i = 0; i < count; i++) {
        if (!is_usual(e, &checks[i].check, &elapsed) || !can_take(e, &checks[i].check, &takings[i]))
            return false;
        __builtin_prefetch(checks[i].check.key.p);
        __builtin_prefetch(checks[i].check.key.p +
                           checks[i].check.key.n); /* most lie in no more than two lines */
    }
    for (size_t i = 0; i < count; i++)
        hash(e, &takings[i]);
    for (size_t i = 0; i < count; i++)
        tly_take_far(e->map, takings[i].hash);
    for (size_t i = 0; i < count; i++)
        tly_take_near(e->map, takings[i].hash);
    for (size_t i = 0; i < count; i++) {
        struct tly_checked *checked = &checks[i];
        holds = (holds || is_usual(e, &checked->check, &elapsed)) &&
                take(e, &takings[i], elapsed, &checked->verdict);
        checked->result = holds ? TLY_OK : tly_ask_check(e, &checked->check, 0, &checked->verdict);
    }
    return true;
}
