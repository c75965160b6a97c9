/*
 * Several limits in one check: user and organisation and all together.  First all of them are looked at; only if each has room are they
 * charged, so a refusal costs none of them anything.  What shares a count is looked at with what stands before it.
 */
#include "service/engine/impl.h"

#include <assert.h>

/* What became of the checks of the limit that is asked for by name; NULL: there is none. */
static struct tly_rule_count *count_of(const struct tly_engine *e, const struct tly_check *check)
{
    const struct tly_rule *rule =
        e->rules != NULL && check->limit.n > 0 ? tly_rules_find(e->rules, check->limit) : NULL;
    return rule != NULL ? rule->count : NULL;
}

/* What was looked at only is none of a limit's checks. */
static void look(struct tly_engine *e, struct tly_time now, struct tly_checked *checked)
{
    uint32_t hits = checked->check.hits;
    struct tly_rule_count *count = count_of(e, &checked->check), before = {0};
    if (count != NULL) before = *count;
    checked->check.hits = 0;
    tly_engine_checks(e, now, checked, 1);
    checked->check.hits = hits;
    checked->verdict.is_peek = true;
    if (count == NULL) return;
    before.keys = count->keys;
    *count = before;
}

void tly_ask_peek(struct tly_engine *e, struct tly_time now, struct tly_checked *checks, size_t count)
{
    struct tly_stats before = e->stats;
    for (size_t i = 0; i < count; i++)
        look(e, now, &checks[i]);
    e->stats = before;
}

/* What of a check has to be known beside its verdict. */
struct member {
    struct tly_slice key;
    uint8_t bytes[TLY_KEY_BYTES_MAX];
    const struct tly_rule *rule;
    const struct tly_rate *rate;
    uint64_t wanted; /* hits, those before it on the same count among them */
    bool fits;
};

static bool shares_count(const struct member *a, const struct member *b)
{
    enum tly_algorithm kind = a->rate->algorithm, other = b->rate->algorithm;
    if (!tly_slice_equal(a->key, b->key)) return false;
    if (kind == TLY_QUOTA || other == TLY_QUOTA) return kind == other && a->rate->unit == b->rate->unit;
    if (kind == TLY_TOKEN_BUCKET || other == TLY_TOKEN_BUCKET) return kind == other;
    return a->rate->window_ms == b->rate->window_ms;
}

/* Of a check that could be looked at. A limit that does not exist, or is not for these fields, refuses nothing and counts nothing. */
static void see(struct tly_engine *e, const struct tly_checked *checks, struct member *members, size_t i)
{
    struct member *m = &members[i];
    const struct tly_check *check = &checks[i].check;
    *m = (struct member){.wanted = check->hits, .fits = true};
    if (checks[i].verdict.reason == TLY_REASON_UNMATCHED) return;
    if (tly_ask_key(e, check, m->bytes, &m->rule, &m->key) != TLY_OK) return;
    m->rate = m->rule != NULL ? &m->rule->rate : &check->rate;
    for (size_t j = 0; j < i; j++)
        if (members[j].rate != NULL && shares_count(&members[j], m)) m->wanted += checks[j].check.hits;
    bool is_shadow = m->rule != NULL && m->rule->shadow;
    m->fits = is_shadow || m->wanted <= checks[i].verdict.remaining;
}

static bool was_charged(const struct tly_checked *checked)
{
    const struct tly_verdict *verdict = &checked->verdict;
    return checked->result == TLY_OK && checked->check.hits > 0 && tly_verdict_counts(verdict);
}

static enum tly_result give_back(struct tly_engine *e, struct tly_checked *checks, size_t count)
{
    enum tly_result first = TLY_OK;
    for (size_t i = count; i-- > 0;) {
        uint64_t units;
        if (!was_charged(&checks[i])) continue;
        enum tly_result result = tly_ask_refund(e, &checks[i].check, e->cluster_ns, &units);
        if (first == TLY_OK) first = result;
        struct tly_rule_count *counted = count_of(e, &checks[i].check);
        if (counted != NULL) counted->admitted--;
        e->stats.checks_ok--;
    }
    return first;
}

/*
 * Looking and charging happen at one moment, so what fits is admitted. Only memory can still be short, and a share of what is left over
 * may be counted by the hit.
 */
static enum tly_result charge(struct tly_engine *e, const struct tly_request *request, bool *is_over)
{
    for (size_t i = 0; i < request->checked_count; i++) {
        struct tly_checked *checked = &request->checked[i];
        tly_engine_checks(e, request->now, checked, 1);
        bool is_there = checked->result == TLY_OK || checked->result == TLY_NO_LIMIT;
        if (is_there && checked->verdict.code != TLY_CODE_OVER) continue;
        *is_over = is_there;
        enum tly_result undone = give_back(e, request->checked, i);
        return undone != TLY_OK ? undone : is_there ? TLY_OK : checked->result;
    }
    return TLY_OK;
}

/* More than one check can ask for. */
static void refuse_by_hand(struct tly_engine *e, uint64_t wanted, struct tly_rule_count *count,
                           struct tly_verdict *verdict)
{
    verdict->code = TLY_CODE_OVER;
    verdict->is_peek = false;
    verdict->reason = TLY_REASON_LIMIT;
    verdict->retry_after_ms = wanted > verdict->limit ? UINT64_MAX : verdict->reset_ms;
    e->stats.checks_over++;
    if (count != NULL) count->refused++;
}

/*
 * Those that refuse say so in their own words; the others say what they have. Who cannot count a key at all may admit what is more than
 * its limit: none is over then.
 */
static enum tly_result refuse(struct tly_engine *e, const struct tly_request *request,
                              const struct member *members, bool *is_over)
{
    *is_over = false;
    for (size_t i = 0; i < request->checked_count; i++) {
        struct tly_checked *checked = &request->checked[i];
        if (members[i].fits) continue;
        if (members[i].wanted > UINT32_MAX) {
            refuse_by_hand(e, members[i].wanted, count_of(e, &checked->check), &checked->verdict);
            *is_over = true;
            continue;
        }
        uint32_t hits = checked->check.hits;
        checked->check.hits = (uint32_t)members[i].wanted;
        tly_engine_checks(e, request->now, checked, 1);
        enum tly_result undone = give_back(e, checked, 1);
        checked->check.hits = hits;
        if (undone != TLY_OK) return undone;
        *is_over = *is_over || checked->verdict.code == TLY_CODE_OVER;
    }
    return TLY_OK;
}

static enum tly_result ask_all(struct tly_engine *e, const struct tly_request *request, bool *is_over)
{
    struct member members[TLY_CHECK_ALL_MAX];
    struct tly_checked *checks = request->checked;
    size_t count = request->checked_count;
    tly_ask_peek(e, request->now, checks, count);
    for (size_t i = 0; i < count; i++)
        if (checks[i].result != TLY_OK && checks[i].result != TLY_NO_LIMIT) return checks[i].result;
    for (size_t i = 0; i < count; i++) {
        see(e, checks, members, i);
        *is_over = *is_over || !members[i].fits;
    }
    enum tly_result result = *is_over ? refuse(e, request, members, is_over) : TLY_OK;
    return result != TLY_OK || *is_over ? result : charge(e, request, is_over);
}

enum tly_result tly_ask_several(struct tly_engine *e, const struct tly_request *request, bool *is_over)
{
    size_t count = request->checked_count;
    assert(count > 0 && count <= TLY_CHECK_ALL_MAX);
    *is_over = false;
    if (request->kind == TLY_ASK_CHECK_ALL) return ask_all(e, request, is_over);
    tly_engine_checks(e, request->now, request->checked, count);
    for (size_t i = 0; i < count; i++)
        *is_over = *is_over || request->checked[i].verdict.code == TLY_CODE_OVER;
    return TLY_OK;
}
