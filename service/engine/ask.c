#include "service/engine/impl.h"

#include "crdt/calendar.h"
#include "crdt/counter.h"

#include <assert.h>

/* ---- checks ---- */

/* A check whose key and rate are known. */
struct asked {
    enum tly_result result;      /* not TLY_OK: nothing can be decided */
    const struct tly_rule *rule; /* NULL: ad hoc */
    bool is_unmatched;           /* the rule is not for these fields */
    struct tly_limit_ask ask;
};

/* A named limit; NULL: there is none of that name. */
static const struct tly_rule *find_rule(struct tly_engine *e, struct tly_slice name)
{
    const struct tly_rule **recent = &e->recent[(name.n + name.p[name.n - 1]) % TLY_RULES_RECENT], *found;
    if (*recent != NULL && tly_slice_equal(tly_slice_text((*recent)->name), name)) return *recent;
    found = e->rules != NULL ? tly_rules_find(e->rules, name) : NULL;
    if (found != NULL) *recent = found;
    return found;
}

/* The key under which a check counts, written to `out`, and its rule. */
static inline enum tly_result find_key(struct tly_engine *e, const struct tly_check *check,
                                       uint8_t out[TLY_KEY_BYTES_MAX], const struct tly_rule **rule,
                                       struct tly_slice *key)
{
    enum tly_result result;
    *rule = NULL;
    key->p = out;
    if (check->limit.n == 0) return tly_adhoc_key(check->key, out, &key->n);
    *rule = find_rule(e, check->limit);
    if (*rule == NULL) return TLY_NO_LIMIT;
    result = tly_rule_key(*rule, check->fields, check->field_count, out, &key->n);
    return result;
}

enum tly_result tly_ask_key(struct tly_engine *e, const struct tly_check *check,
                            uint8_t out[TLY_KEY_BYTES_MAX], const struct tly_rule **rule,
                            struct tly_slice *key)
{
    return find_key(e, check, out, rule, key);
}

/* Whoever asks with a rate of his own asks with the same one again: what was found good last is not looked at twice. */
static inline enum tly_result check_rate(struct tly_engine *e, const struct tly_rate *rate)
{
    if (tly_rate_is_good(e, rate)) return TLY_OK;
    enum tly_result result = tly_rate_check(rate);
    if (result != TLY_OK) return result;
    e->good_rate = *rate;
    tly_usual_forget(e);
    return TLY_OK;
}

/* All but the key. */
TLY_ALWAYS_INLINE void weigh(struct tly_engine *e, const struct tly_check *check, struct asked *asked)
{
    /* The rate of a rule was looked at when it was added. */
    asked->ask.rate = asked->rule != NULL ? &asked->rule->rate : &check->rate;
    if (asked->rule == NULL) asked->result = check_rate(e, asked->ask.rate);
    if (asked->rule != NULL && asked->rule->match_count > 0 &&
        !tly_rule_matches(asked->rule, check->fields, check->field_count))
        asked->is_unmatched = true;
    if (asked->rule == NULL && tly_rate_needs_rule(asked->ask.rate)) asked->result = TLY_BAD_RULE;
    if (asked->ask.rate->mode == TLY_CAPPED && !e->cluster_now.joined) tly_standing_look(e);
    asked->ask.hits = check->hits;
    asked->ask.charging = check->charging;
    asked->ask.now_ns = e->cluster_ns;
    asked->ask.heat = e->heat;
    asked->ask.cluster = &e->cluster_now;
    asked->ask.rights = NULL;
}

/* All but the hash: a key is hashed some time after it was written, lest the one waits for the other. */
TLY_ALWAYS_INLINE void resolve(struct tly_engine *e, const struct tly_check *check,
                               uint8_t out[TLY_KEY_BYTES_MAX], struct asked *asked)
{
    asked->is_unmatched = false;
    asked->result = find_key(e, check, out, &asked->rule, &asked->ask.seek.key);
    if (asked->result == TLY_OK) weigh(e, check, asked);
}

static inline void seek(const struct tly_engine *e, struct asked *asked)
{
    if (asked->result == TLY_OK) tly_seek_to(e->map, asked->ask.seek.key, &asked->ask.seek);
}

static inline enum tly_result check_one(struct tly_engine *e, const struct tly_limit_ask *ask,
                                        struct tly_verdict *verdict)
{
    if (ask->rate->mode == TLY_HARD) return tly_escrow_check(e, ask, verdict);
    if (ask->rate->algorithm == TLY_CONCURRENCY) return tly_flight_check(e, ask, verdict);
    return tly_limit_check(e->map, ask, &e->span, verdict);
}

static enum tly_result check_if_room(struct tly_engine *e, const struct tly_rule *rule,
                                     const struct tly_limit_ask *ask, struct tly_verdict *verdict)
{
    if (rule != NULL && rule->keys_max != 0 && ask->hits > 0 &&
        !tly_cardinality_has_room(e, rule, &ask->seek))
        return TLY_FULL;
    if (e->memory_max == 0) return check_one(e, ask, verdict);
    enum tly_result result;
    tly_room_for(e, ROOM_NEW_KEY);
    do
        result = check_one(e, ask, verdict);
    while (tly_room_retry(e, ask->seek.key, &result));
    tly_room_for(e, ROOM_FOR_ALL);
    return result;
}

/* What cannot be counted cannot be limited: on_full decides, save of a hard limit, which nothing passes. */
static void answer_full(struct tly_engine *e, const struct asked *asked, bool shadow,
                        struct tly_verdict *verdict)
{
    const struct tly_rate *rate = asked->ask.rate;
    struct tly_rule_count *count = asked->rule != NULL ? asked->rule->count : NULL;
    bool is_of_rule = count != NULL && asked->rule->keys_max != 0 && count->keys >= asked->rule->keys_max;
    bool would = e->on_full == TLY_ON_FULL_REFUSE || rate->mode == TLY_HARD, refuses = would && !shadow;
    *verdict = (struct tly_verdict){
        .full = true,
        .reason = is_of_rule ? TLY_REASON_KEYS : TLY_REASON_MEMORY,
        .mode = rate->mode,
        .shadow = shadow && would,
        .code = refuses ? TLY_CODE_OVER : TLY_CODE_OK,
        .limit = rate->limit,
        .remaining = refuses ? 0 : rate->limit,
        /* The next look for room, for want of anything better known. */
        .retry_after_ms = refuses ? TLY_SWEEP_PASS_FULL_NS / NS_PER_MS : 0,
        .window_ms = rate->window_ms,
        .algorithm = rate->algorithm,
    };
    if (refuses)
        e->stats.checks_refused_full++;
    else
        e->stats.checks_uncounted++;
    if (count != NULL) *(refuses ? &count->refused_full : &count->uncounted) += 1;
}

/* Who asks for nothing looks: that is no check of a limit, let in or not. */
static bool is_check(const struct asked *asked)
{
    return asked->ask.hits > 0;
}

/* The limit has nothing to say of it. */
static enum tly_result answer_unmatched(struct tly_engine *e, const struct asked *asked,
                                        struct tly_verdict *verdict)
{
    const struct tly_rate *rate = asked->ask.rate;
    *verdict = (struct tly_verdict){
        .code = TLY_CODE_OK,
        .reason = TLY_REASON_UNMATCHED,
        .mode = rate->mode,
        .algorithm = rate->algorithm,
        .limit = rate->limit,
        .remaining = rate->limit,
        .window_ms = rate->window_ms,
        .name = tly_slice_text(asked->rule->name),
    };
    e->stats.checks_unmatched += is_check(asked);
    asked->rule->count->unmatched += is_check(asked);
    return TLY_OK;
}

/* A refusal, or no room: what becomes of it. */
static void answer_refused(struct tly_engine *e, const struct asked *asked, enum tly_result result,
                           struct tly_verdict *verdict)
{
    bool shadow = asked->rule != NULL && asked->rule->shadow;
    if (result == TLY_FULL) {
        answer_full(e, asked, shadow, verdict);
        return;
    }
    *(shadow ? &e->stats.checks_ok : &e->stats.checks_over) += 1;
    if (asked->rule != NULL)
        *(shadow ? &asked->rule->count->would_refuse : &asked->rule->count->refused) += 1;
    tly_why_note(e, &asked->ask.seek, asked->ask.hits, verdict);
    verdict->shadow = shadow;
    if (shadow) verdict->code = TLY_CODE_OK;
}

static enum tly_result answer_unasked(struct tly_engine *e, enum tly_result result,
                                      struct tly_verdict *verdict)
{
    *verdict = (struct tly_verdict){.code = result == TLY_NO_LIMIT ? TLY_CODE_UNKNOWN : TLY_CODE_OK};
    if (result == TLY_NO_LIMIT) verdict->reason = TLY_REASON_UNKNOWN;
    e->stats.checks_unknown += result == TLY_NO_LIMIT;
    return result;
}

bool tly_ask_crosses(const struct tly_verdict *verdict, uint64_t hits)
{
    static const unsigned percents[] = {80, 95, 100};
    uint64_t used = verdict->limit - verdict->remaining, before = used > hits ? used - hits : 0;
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        uint64_t at = verdict->limit - verdict->limit / 100 * (100 - percents[i]) -
                      verdict->limit % 100 * (100 - percents[i]) / 100;
        if (before < at && used >= at) return true;
    }
    return false;
}

static enum tly_result decide(struct tly_engine *e, const struct asked *asked, struct tly_verdict *verdict)
{
    if (asked->result != TLY_OK) return answer_unasked(e, asked->result, verdict);
    if (asked->is_unmatched) return answer_unmatched(e, asked, verdict);
    bool may_begin = e->conn_count > 0 && !tly_ormap_is_unsealed(e->map);
    tly_why_ahead(e, asked->ask.seek.hash);
    enum tly_result result = check_if_room(e, asked->rule, &asked->ask, verdict);
    if (result != TLY_OK && result != TLY_FULL) return answer_unasked(e, result, verdict);
    e->is_refusing = result != TLY_OK || verdict->code != TLY_CODE_OK;
    if (e->is_refusing)
        answer_refused(e, asked, result, verdict);
    else
        e->stats.checks_ok += is_check(asked);
    if (--e->sampling.left == 0) tly_top_look(e, &asked->ask.seek, verdict);
    if (e->near_limits != NULL && is_check(asked)) tly_near_note(e, asked->ask.seek.key, verdict);
    if (asked->rule != NULL) {
        verdict->name = tly_slice_text(asked->rule->name);
        if (result == TLY_OK && tly_verdict_counts(verdict)) asked->rule->count->admitted += is_check(asked);
    }
    if (may_begin && tly_ormap_is_unsealed(e->map)) tly_flush_soon(e, true);
    if (verdict->remaining <= tly_ask_near(verdict->limit) && verdict->code == TLY_CODE_OK &&
        tly_ask_crosses(verdict, asked->ask.hits))
        tly_flush_crossed(e);
    return TLY_OK;
}

/* A check whose key was sought, where it is not as most are. */
static enum tly_result check_sought(struct tly_engine *e, struct asked *asked, struct tly_verdict *verdict)
{
    enum tly_result result = decide(e, asked, verdict);
    if (result == TLY_OK && asked->rule == NULL) tly_usual_learn(e, asked->ask.rate);
    return result;
}

static __attribute__((noinline)) enum tly_result check_unusual(struct tly_engine *e,
                                                               const struct tly_check *check,
                                                               const struct tly_seek *sought,
                                                               struct tly_verdict *verdict)
{
    struct asked asked = {.ask.seek = *sought};
    assert(check->limit.n == 0 && asked.ask.seek.key.n > check->key.n);
    weigh(e, check, &asked);
    return check_sought(e, &asked, verdict);
}

static inline enum tly_result check_ahead(struct tly_engine *e, const struct tly_check *check, unsigned ahead,
                                          struct tly_verdict *verdict)
{
    const struct tly_seek *sought = tly_ask_ahead_of(e, ahead);
    if (tly_usual_bucket(e, check, sought, verdict)) return TLY_OK;
    return check_unusual(e, check, sought, verdict);
}

enum tly_result tly_ask_check(struct tly_engine *e, const struct tly_check *check, unsigned ahead,
                              struct tly_verdict *verdict)
{
    if (ahead != 0) return check_ahead(e, check, ahead, verdict);
    struct asked asked;
    resolve(e, check, e->key, &asked);
    bool is_adhoc = asked.result == TLY_OK && asked.rule == NULL;
    if (is_adhoc)
        tly_seek_joined(e->map, TLY_ADHOC_WORD, asked.ask.seek.key, check->key, &asked.ask.seek);
    else
        seek(e, &asked);
    if (is_adhoc && tly_usual_bucket(e, check, &asked.ask.seek, verdict)) return TLY_OK;
    return check_sought(e, &asked, verdict);
}

/* A bucket has local words. */
static inline void ask_ahead(const struct tly_engine *e, struct tly_limit_ask *ask)
{
    if (ask->rate->algorithm == TLY_TOKEN_BUCKET)
        tly_seek_ahead_local(e->map, &ask->seek);
    else
        tly_seek_ahead(e->map, &ask->seek);
}

/* Each step of a group asks for the memory of the next: what the keys lie in, slots of the index, then entries. */
static void check_group(struct tly_engine *e, struct tly_checked *checks, size_t count)
{
    struct asked asked[TLY_CHECK_GROUP];
    uint8_t keys[TLY_CHECK_GROUP][TLY_KEY_BYTES_MAX];
    for (size_t i = 0; i < count && count > 1; i++) {
        struct tly_slice key = checks[i].check.key;
        __builtin_prefetch(key.p);
        __builtin_prefetch(key.p + key.n); /* most keys lie in no more than two lines */
    }
    for (size_t i = 0; i < count; i++)
        resolve(e, &checks[i].check, keys[i], &asked[i]);
    for (size_t i = 0; i < count; i++)
        seek(e, &asked[i]);
    for (size_t i = 0; i < count; i++)
        if (asked[i].result == TLY_OK) ask_ahead(e, &asked[i].ask);
    for (size_t i = 0; i < count; i++)
        checks[i].result = decide(e, &asked[i], &checks[i].verdict);
}

void tly_engine_ahead(struct tly_engine *e, const struct tly_slice *keys, size_t count)
{
    uint64_t local = 0;
    assert(count <= TLY_AHEAD_MAX);
    for (size_t i = 0; i < count; i++)
        local |= (uint64_t)tly_limit_is_limit(keys[i]) << i;
    tly_seek_all_ahead(e->map, keys, count, local, e->ahead);
    e->ahead_count = count;
}

void tly_engine_checks(struct tly_engine *e, struct tly_time now, struct tly_checked *checks, size_t count)
{
    tly_engine_wake(e, now);
    if (count == 1) {
        checks->result = tly_usual_check(e, &checks->check, &checks->verdict);
        return;
    }
    for (size_t done = 0; done < count; done += TLY_CHECK_GROUP) {
        size_t left = count - done, n = left < TLY_CHECK_GROUP ? left : TLY_CHECK_GROUP;
        if (!tly_usual_checks(e, checks + done, n)) check_group(e, checks + done, n);
    }
}

/* Its rights begin anew with it. */
static bool is_hard_counter(const struct tly_rule *rule)
{
    return rule != NULL && rule->rate.mode == TLY_HARD && rule->rate.algorithm == TLY_COUNTER;
}

static enum tly_result ask_reset(struct tly_engine *e, const struct tly_check *check)
{
    const struct tly_rule *rule;
    struct tly_slice key;
    enum tly_result result = tly_ask_key(e, check, e->key, &rule, &key);
    if (rule != NULL && rule->rate.algorithm == TLY_CONCURRENCY) return TLY_IN_FLIGHT;
    if (result == TLY_OK && is_hard_counter(rule)) return tly_tenure_reset(e, key, &rule->rate);
    return result == TLY_OK ? tly_ormap_remove(e->map, key) : result;
}

enum tly_result tly_ask_refund(struct tly_engine *e, const struct tly_check *check, uint64_t at_ns,
                               uint64_t *units)
{
    struct asked asked;
    *units = 0;
    resolve(e, check, e->key, &asked);
    if (asked.result != TLY_OK || asked.is_unmatched) return asked.result;
    seek(e, &asked);
    return tly_escrow_refund(e, &asked.ask, at_ns, units);
}

static enum tly_result ask_refund(struct tly_engine *e, const struct tly_request *request,
                                  struct tly_reply *reply)
{
    uint64_t at_ms = request->number > 0 ? (uint64_t)request->number : 0;
    uint64_t at_ns = at_ms == 0 ? e->cluster_ns : at_ms > TLY_LAST_MS ? UINT64_MAX : at_ms * NS_PER_MS;
    enum tly_result result = tly_ask_refund(e, &request->check, at_ns, &reply->refunded);
    if (result != TLY_OK) return result;
    struct tly_checked peek = {.check = request->check};
    tly_ask_peek(e, request->now, &peek, 1);
    reply->verdict = peek.verdict;
    return peek.result;
}

/* ---- keys ---- */

static enum tly_result ask_read(struct tly_engine *e, struct tly_slice key, struct tly_value *value)
{
    struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return TLY_NOT_FOUND;
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, value);
    tly_limit_value(key, at.now_ms, value);
    return value->present ? TLY_OK : TLY_NOT_FOUND;
}

static enum tly_result put(struct tly_engine *e, const struct tly_request *request, const struct tly_dot *dot)
{
    if (request->ahead == 0) return tly_ormap_put(e->map, request->key, dot);
    const struct tly_seek *seek = tly_ask_ahead_of(e, request->ahead);
    assert(seek->key.n == request->key.n);
    return tly_seek_put(e->map, seek, dot);
}

static enum tly_result put_raw(struct tly_engine *e, const struct tly_request *request,
                               const struct tly_strategy *strategy)
{
    struct tly_dot dot;
    enum tly_result result = tly_raw_get(strategy, request->bytes, &dot);
    if (result != TLY_OK) return result;
    if (strategy->id == TLY_LWW) dot.num[0] = request->deadline_ms;
    return put(e, request, &dot);
}

static enum tly_result ask_expire(struct tly_engine *e, const struct tly_request *request,
                                  const struct tly_strategy *strategy)
{
    uint64_t now_ms = e->cluster_ns / NS_PER_MS;
    if (strategy->id != TLY_LWW)
        return tly_counter_expire(e->map, request->key, request->deadline_ms, now_ms);
    struct tly_value value;
    enum tly_result result = ask_read(e, request->key, &value);
    if (result != TLY_OK) return result;
    /* The bytes belong to the dot that the new one replaces. */
    tly_buf_clear(&e->frame);
    tly_buf_put(&e->frame, value.bytes.p, value.bytes.n);
    if (e->frame.result != TLY_OK) return e->frame.result;
    struct tly_dot dot = {.op = TLY_PUT, .num = {request->deadline_ms}, .bytes = tly_buf_slice(&e->frame)};
    return tly_ormap_put(e->map, request->key, &dot);
}

/* What is past its deadline is absent, though its dots stand. A limit's key holds windows, which no read of a key tells of. */
static enum tly_result ask_remove(struct tly_engine *e, struct tly_slice key)
{
    struct tly_value value;
    enum tly_result result = tly_limit_is_limit(key) ? TLY_OK : ask_read(e, key, &value);
    return result == TLY_OK ? tly_ormap_remove(e->map, key) : result;
}

static enum tly_result add_to(struct tly_engine *e, const struct tly_request *request, int64_t *value)
{
    struct tly_seek own;
    const struct tly_seek *seek = &own;
    if (request->ahead != 0)
        seek = tly_ask_ahead_of(e, request->ahead);
    else
        tly_seek_to(e->map, request->key, &own);
    assert(seek->key.n == request->key.n);
    return tly_counter_add_sought(e->map, seek, request->number, e->cluster_ns / NS_PER_MS, value);
}

static enum tly_result ask_write(struct tly_engine *e, const struct tly_request *request,
                                 const struct tly_strategy *strategy, struct tly_value *value)
{
    struct tly_dot dot = {.op = TLY_PUT};
    switch (request->kind) {
    case TLY_ASK_ADD: return add_to(e, request, &value->count);
    case TLY_ASK_SET: return tly_counter_set(e->map, request->key, request->number, request->deadline_ms);
    case TLY_ASK_EXPIRE: return ask_expire(e, request, strategy);
    case TLY_ASK_REMOVE: return ask_remove(e, request->key);
    case TLY_ASK_PUT_MAX:
        dot.num[0] = request->epoch;
        dot.num[1] = (uint64_t)request->number;
        return strategy->id == TLY_EPOCH_MAX ? put(e, request, &dot) : TLY_WRONG_STRATEGY;
    case TLY_ASK_PUT: return strategy->id == TLY_LWW ? put_raw(e, request, strategy) : TLY_WRONG_STRATEGY;
    case TLY_ASK_PUT_RAW: return put_raw(e, request, strategy);
    case TLY_ASK_CHECK:
    case TLY_ASK_CHECK_ALL:
    case TLY_ASK_CHECK_EACH:
    case TLY_ASK_RESET:
    case TLY_ASK_REFUND:
    case TLY_ASK_RESERVE:
    case TLY_ASK_COMMIT:
    case TLY_ASK_CANCEL:
    case TLY_ASK_READ:
    case TLY_ASK_APPLY:
    case TLY_ASK_FORGET:
    case TLY_ASK_CLAIM:
    case TLY_ASK_PREFIXES: break;
    }
    return TLY_WRONG_STRATEGY;
}

static enum tly_result write_if_room(struct tly_engine *e, const struct tly_request *request,
                                     struct tly_reply *reply)
{
    enum tly_result result;
    if (request->kind == TLY_ASK_ADD) tly_forget_touch(e, request->key);
    struct tly_before before = tly_watch_before(e, request->key);
    tly_room_for(e, ROOM_NEW_KEY);
    do
        result = ask_write(e, request, reply->strategy, &reply->value);
    while (tly_room_retry(e, request->key, &result));
    tly_room_for(e, ROOM_FOR_ALL);
    if (result == TLY_FULL) e->stats.writes_refused_full++;
    if (result == TLY_OK) tly_watch_after(e, request->key, before, tly_ormap_origin(e->map));
    return result;
}

/* A limit's key may be deleted, save that of a hard counter, which is reset as a limit. */
static bool is_read_only(const struct tly_engine *e, const struct tly_request *request)
{
    if (tly_slice_begins(request->key, tly_slice_text("sys:"))) return true;
    if (!tly_limit_is_limit(request->key)) return false;
    if (request->kind != TLY_ASK_REMOVE) return true;
    return e->rules != NULL && is_hard_counter(tly_rules_of_key(e->rules, request->key));
}

/* One more for a counter that is there, where it lies. False: it is not that, and nothing has changed. */
static inline bool add_in_place(struct tly_engine *e, const struct tly_request *request, int64_t *value)
{
    if (request->ahead != 0)
        return tly_tally_add(e->map, tly_ask_ahead_of(e, request->ahead), request->number, value);
    struct tly_seek seek = tly_seek_of(e->map, request->key);
    return tly_tally_add(e->map, &seek, request->number, value);
}

/* What most writes are. Nobody watches, and what room it takes is that of a key that is there. False as above. */
static inline bool counts_on(struct tly_engine *e, const struct tly_request *request, int64_t *value)
{
    if (request->kind != TLY_ASK_ADD || e->watch_count > 0) return false;
    tly_room_for(e, ROOM_OLD_KEY);
    bool done = add_in_place(e, request, value);
    tly_room_for(e, ROOM_FOR_ALL);
    return done;
}

/* About one key. Sets no more of the reply than there is to say: counting is done too often to clear all of it. */
static __attribute__((noinline)) enum tly_result ask_key(struct tly_engine *e,
                                                         const struct tly_request *request,
                                                         struct tly_reply *reply)
{
    reply->value = (struct tly_value){0};
    reply->strategy = NULL;
    if (request->key.n == 0 || request->key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    reply->strategy = tly_registry_find(e->registry, request->key);
    if (reply->strategy == NULL) return TLY_NO_STRATEGY;
    if (e->held_count > 0 && tly_prefixes_is_key_held(e, request->key)) return TLY_PREFIX_HELD;
    if (request->kind == TLY_ASK_READ) return ask_read(e, request->key, &reply->value);
    if (is_read_only(e, request)) return TLY_READ_ONLY;
    enum tly_result result =
        counts_on(e, request, &reply->value.count) ? TLY_OK : write_if_room(e, request, reply);
    if (result != TLY_OK) return result;
    e->stats.writes++;
    tly_flush_soon(e, true);
    return TLY_OK;
}

/* All but checks and keys. */
static __attribute__((noinline)) enum tly_result ask_other(struct tly_engine *e,
                                                           const struct tly_request *request,
                                                           struct tly_reply *reply)
{
    *reply = (struct tly_reply){0};
    if (request->kind == TLY_ASK_FORGET) return tly_forget_ask(e, request->bytes);
    if (request->kind == TLY_ASK_PREFIXES) return tly_prefixes_ask(e, request, reply);
    if (request->kind == TLY_ASK_CHECK_ALL || request->kind == TLY_ASK_CHECK_EACH)
        return tly_ask_several(e, request, &reply->is_over);

    enum tly_result result;
    if (request->kind == TLY_ASK_APPLY) {
        size_t rows_max = request->number > 0 ? (size_t)request->number : TLY_APPLY_ROWS_MAX;
        result = tly_archive_apply(e, request->bytes, rows_max, &reply->applied);
    } else if (request->kind == TLY_ASK_CLAIM) {
        result = tly_line_claim(e);
    } else if (request->kind == TLY_ASK_RESET) {
        result = ask_reset(e, &request->check);
    } else if (request->kind == TLY_ASK_REFUND) {
        result = ask_refund(e, request, reply);
    } else {
        result = tly_hold_ask(e, request, reply);
    }
    if (result != TLY_OK) return result;
    e->stats.writes++;
    tly_flush_soon(e, true);
    return TLY_OK;
}

enum tly_result tly_engine_read(struct tly_engine *e, struct tly_slice key, struct tly_time now,
                                struct tly_value *value)
{
    tly_engine_look_up(e, now);
    if (e->held_count > 0 && tly_prefixes_is_key_held(e, key)) return TLY_PREFIX_HELD;
    return ask_read(e, key, value);
}

enum tly_result tly_engine_ask(struct tly_engine *e, const struct tly_request *request,
                               struct tly_reply *reply)
{
    tly_engine_wake(e, request->now);
    if (request->kind == TLY_ASK_CHECK)
        return request->ahead == 0 ? tly_usual_check(e, &request->check, &reply->verdict)
                                   : tly_ask_check(e, &request->check, request->ahead, &reply->verdict);
    bool is_of_key = request->kind >= TLY_ASK_READ && request->kind <= TLY_ASK_REMOVE;
    if (is_of_key) return ask_key(e, request, reply);
    return ask_other(e, request, reply);
}

enum tly_result tly_engine_check_again(struct tly_engine *e, const struct tly_request *request,
                                       struct tly_reply *reply)
{
    assert(request->kind == TLY_ASK_CHECK && request->ahead != 0);
    return check_ahead(e, &request->check, request->ahead, &reply->verdict);
}
