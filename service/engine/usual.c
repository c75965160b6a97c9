/*
 * A check as most of them are: a rate of its own in a window or a bucket, the one of the check before it, and a key that this node alone
 * counts in, that has room and that nobody has to be told of anew (a bucket may have none: most that are asked for are those that are
 * empty).  All that follows from the rate and the moment is made out once; of a key
 * nothing is put together, and its entry is looked at where it lies (crdt/tally_inline.h).  Whatever else it is goes the long way.
 *
 * What is waited for is memory: the key, a slot of the index, an entry.  So a check has to be short and to guess no branch wrongly, that
 * the next one's key is on its way before this one's entry has come; and nothing may be read in larger pieces than it was just written in.
 */
#include "crdt/hash_inline.h"
#include "crdt/tally_inline.h"
#include "service/engine/impl.h"

static void learn_bucket(struct usual *usual, const struct tly_rate *rate)
{
    usual->bucket = tly_bucket_of(rate);
    usual->meter.most = tly_bucket_burst(rate);
    usual->half = usual->meter.most / 2;
    usual->near_limit = tly_ask_near(usual->meter.most);
}

void tly_usual_learn(struct tly_engine *e, const struct tly_rate *rate)
{
    struct usual *usual = &e->usual;
    const struct tly_span *span = &e->span;
    bool is_firm = ((unsigned)rate->mode | (unsigned)rate->on_partition) != 0;
    tly_usual_forget(e);
    if (rate->algorithm > TLY_TOKEN_BUCKET || is_firm || e->near_limits != NULL) return;
    if (rate->algorithm == TLY_TOKEN_BUCKET) {
        learn_bucket(usual, rate);
        return;
    }
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
    verdict->is_peek = verdict->is_judged = verdict->shadow = verdict->full = false;
    verdict->name = tly_slice_of(NULL, 0);
    verdict->limit = usual->meter.most;
    verdict->used = used;
    verdict->remaining = usual->meter.most - used;
    verdict->reset_ms = usual->is_sliding ? left + usual->length_ms : left;
    verdict->retry_after_ms = 0;
    verdict->window_ms = usual->length_ms;
}

static inline void count_admitted(struct tly_engine *e, uint64_t hits, const struct tly_verdict *verdict)
{
    e->stats.checks_ok++;
    e->is_refusing = false;
    if (verdict->remaining <= e->usual.near_limit && tly_ask_crosses(verdict, hits)) tly_flush_crossed(e);
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
    if (--e->sampling.left == 0) sample(e, taking, verdict);
    count_admitted(e, taking->hits, verdict);
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

/* ---- buckets ---- */

static inline bool is_usual_bucket(const struct tly_engine *e, const struct tly_check *check)
{
    if (e->usual.bucket.emission == 0 || !tly_rate_is_good(e, &check->rate)) return false;
    return check->limit.n == 0 && check->charging == TLY_CHARGE_ADMITTED && check->hits > 0;
}

static inline void tell_bucket(const struct tly_engine *e, bool ok, uint64_t left, uint64_t debt,
                               struct tly_verdict *verdict)
{
    verdict->code = ok ? TLY_CODE_OK : TLY_CODE_OVER;
    verdict->reason = ok ? TLY_REASON_NONE : TLY_REASON_LIMIT;
    verdict->mode = TLY_OPTIMISTIC;
    verdict->algorithm = TLY_TOKEN_BUCKET;
    verdict->bound = 0;
    verdict->is_peek = verdict->is_judged = verdict->shadow = verdict->full = false;
    verdict->name = tly_slice_of(NULL, 0);
    verdict->limit = e->usual.meter.most;
    verdict->used = e->usual.meter.most - left;
    verdict->remaining = left;
    verdict->reset_ms = (debt + NS_PER_MS - 1) / NS_PER_MS;
    verdict->window_ms = e->good_rate.window_ms;
}

static inline void count_refused(struct tly_engine *e, const struct tly_seek *seek, uint32_t hits,
                                 const struct tly_verdict *verdict)
{
    e->stats.checks_over++;
    e->is_refusing = true;
    tly_why_note(e, seek, hits, verdict);
}

/* Counts the hits in a bucket that has room for them. */
static inline bool fill(struct tly_engine *e, const struct tly_seek *seek, const struct tly_tally *tally,
                        const struct tly_bucket *bucket, uint32_t hits)
{
    if (!tly_tally_counter_hit(e->map, seek, tally, hits, (int64_t)bucket->tat)) return false;
    tly_bucket_write(tly_entry_words(tally->entry), bucket);
    return true;
}

bool tly_usual_bucket(struct tly_engine *e, const struct tly_check *check, const struct tly_seek *seek,
                      struct tly_verdict *verdict)
{
    struct tly_tally tally;
    struct tly_bucket bucket = e->usual.bucket;
    if (!is_usual_bucket(e, check)) return false;
    tly_why_ahead(e, seek->hash);
    if (may_be_judged(e, seek->hash) || !tly_take_find_local(e->map, seek, &tally)) return false;
    const uint64_t *words = tly_entry_words(tally.entry);
    if (words[TLY_BUCKET_EMISSION] == 0) return false;
    uint64_t now_ns = e->cluster_ns, tat = words[TLY_BUCKET_TAT], debt = tat > now_ns ? tat - now_ns : 0;
    uint64_t left = tly_bucket_left(&bucket, debt), used = e->usual.meter.most - left;
    if (e->cluster_now.members != 1 && used >= e->usual.half) return false;
    bool ok = check->hits <= left;
    if (ok) {
        left -= check->hits;
        debt += bucket.emission * check->hits;
        bucket.tat = now_ns + debt;
        if (!fill(e, seek, &tally, &bucket, check->hits)) return false;
    }
    verdict->retry_after_ms = ok ? 0 : tly_bucket_retry_ms(&bucket, debt, check->hits);
    tell_bucket(e, ok, left, debt, verdict);
    if (ok)
        count_admitted(e, check->hits, verdict);
    else
        count_refused(e, seek, check->hits, verdict);
    if (--e->sampling.left == 0) tly_top_look(e, seek, verdict);
    return true;
}

/* ---- windows ---- */

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
