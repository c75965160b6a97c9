#include "service/engine/impl.h"

#include "crdt/counter.h"
#include "service/engine/limit.h"

/* ---- checks ---- */

static enum tly_result key_of_check(struct tly_engine *e, const struct tly_check *check,
                                    const struct tly_rule **rule, struct tly_slice *key)
{
    size_t n;
    enum tly_result result;
    *rule = NULL;
    if (check->limit.n > 0) {
        *rule = e->rules != NULL ? tly_rules_find(e->rules, check->limit) : NULL;
        if (*rule == NULL) return TLY_NO_LIMIT;
        result = tly_rule_key(*rule, check->fields, check->field_count, e->key, &n);
    } else {
        result = tly_adhoc_key(check->key, e->key, &n);
    }
    *key = tly_slice_of(e->key, result == TLY_OK ? n : 0);
    return result;
}

static enum tly_result check_if_room(struct tly_engine *e, const struct tly_limit_ask *ask,
                                     struct tly_verdict *verdict)
{
    enum tly_result result;
    tly_room_for(e, ROOM_NEW_KEY);
    do
        result = tly_limit_check(e->map, ask, verdict);
    while (tly_room_retry(e, ask->key, &result));
    tly_room_for(e, ROOM_FOR_ALL);
    return result;
}

/* What cannot be counted cannot be limited: on_full decides. */
static void answer_full(struct tly_engine *e, const struct tly_rate *rate, bool shadow,
                        struct tly_verdict *verdict)
{
    bool refuses = e->on_full == TLY_ON_FULL_REFUSE && !shadow;
    verdict->full = true;
    verdict->shadow = shadow && e->on_full == TLY_ON_FULL_REFUSE;
    verdict->code = refuses ? TLY_CODE_OVER : TLY_CODE_OK;
    verdict->limit = rate->limit;
    verdict->remaining = refuses ? 0 : rate->limit;
    /* The next look for room, for want of anything better known. */
    verdict->retry_after_ms = refuses ? TLY_SWEEP_PASS_FULL_NS / NS_PER_MS : 0;
    if (refuses)
        e->stats.checks_refused_full++;
    else
        e->stats.checks_uncounted++;
}

static enum tly_result ask_check(struct tly_engine *e, const struct tly_check *check,
                                 struct tly_verdict *verdict)
{
    const struct tly_rule *rule;
    struct tly_slice key;
    enum tly_result result = key_of_check(e, check, &rule, &key);
    if (result == TLY_NO_LIMIT) {
        e->stats.checks_unknown++;
        verdict->code = TLY_CODE_UNKNOWN;
    }
    if (result != TLY_OK) return result;
    const struct tly_rate *rate = rule != NULL ? &rule->rate : &check->rate;
    verdict->name = rule != NULL ? tly_slice_text(rule->name) : tly_slice_of(NULL, 0);
    bool was_unsealed = tly_ormap_is_unsealed(e->map);
    struct tly_limit_ask ask = {key, rate, check->hits, e->cluster_ns};
    result = check_if_room(e, &ask, verdict);
    if (result == TLY_FULL) {
        answer_full(e, rate, rule != NULL && rule->shadow, verdict);
        return TLY_OK;
    }
    if (result != TLY_OK) return result;
    if (verdict->code == TLY_CODE_OVER && rule != NULL && rule->shadow) {
        verdict->code = TLY_CODE_OK;
        verdict->shadow = true;
        e->stats.checks_over++;
    } else if (verdict->code == TLY_CODE_OVER) {
        e->stats.checks_over++;
    } else {
        e->stats.checks_ok++;
    }
    if (!was_unsealed && tly_ormap_is_unsealed(e->map)) tly_flush_soon(e, true);
    return TLY_OK;
}

static enum tly_result ask_reset(struct tly_engine *e, const struct tly_check *check)
{
    const struct tly_rule *rule;
    struct tly_slice key;
    enum tly_result result = key_of_check(e, check, &rule, &key);
    return result == TLY_OK ? tly_ormap_remove(e->map, key) : result;
}

/* ---- keys ---- */

static enum tly_result ask_read(struct tly_engine *e, struct tly_slice key, struct tly_value *value)
{
    struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return TLY_NOT_FOUND;
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, value);
    return value->present ? TLY_OK : TLY_NOT_FOUND;
}

static enum tly_result put_raw(struct tly_engine *e, const struct tly_request *request,
                               const struct tly_strategy *strategy)
{
    struct tly_dot dot;
    enum tly_result result = tly_raw_get(strategy, request->bytes, &dot);
    if (result != TLY_OK) return result;
    if (strategy->id == TLY_LWW) dot.num[0] = request->deadline_ms;
    return tly_ormap_put(e->map, request->key, &dot);
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

static enum tly_result ask_write(struct tly_engine *e, const struct tly_request *request,
                                 const struct tly_strategy *strategy, struct tly_value *value)
{
    struct tly_dot dot = {.op = TLY_PUT};
    switch (request->kind) {
    case TLY_ASK_ADD:
        return tly_counter_add(e->map, request->key, request->number, e->cluster_ns / NS_PER_MS,
                               &value->count);
    case TLY_ASK_SET: return tly_counter_set(e->map, request->key, request->number, request->deadline_ms);
    case TLY_ASK_EXPIRE: return ask_expire(e, request, strategy);
    case TLY_ASK_REMOVE: return tly_ormap_remove(e->map, request->key);
    case TLY_ASK_PUT_MAX:
        dot.num[0] = request->epoch;
        dot.num[1] = (uint64_t)request->number;
        return strategy->id == TLY_EPOCH_MAX ? tly_ormap_put(e->map, request->key, &dot) : TLY_WRONG_STRATEGY;
    case TLY_ASK_PUT: return strategy->id == TLY_LWW ? put_raw(e, request, strategy) : TLY_WRONG_STRATEGY;
    case TLY_ASK_PUT_RAW: return put_raw(e, request, strategy);
    case TLY_ASK_CHECK:
    case TLY_ASK_RESET:
    case TLY_ASK_READ:
    case TLY_ASK_APPLY:
    case TLY_ASK_FORGET:
    case TLY_ASK_REGISTER: break;
    }
    return TLY_WRONG_STRATEGY;
}

static enum tly_result write_if_room(struct tly_engine *e, const struct tly_request *request,
                                     struct tly_reply *reply)
{
    enum tly_result result;
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

static bool is_read_only(const struct tly_request *request)
{
    if (tly_slice_begins(request->key, tly_slice_text("sys:"))) return true;
    return tly_limit_is_limit(request->key) && request->kind != TLY_ASK_REMOVE;
}

/* ---- the registry ---- */

/* Keys that exist keep the strategy they have: a new prefix must not claim them for another. */
static bool claims_existing(struct tly_engine *e, struct tly_slice prefix,
                            const struct tly_strategy *strategy)
{
    size_t cursor = 0;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;) {
        if (tly_slice_begins(tly_entry_key(entry), prefix) && tly_entry_strategy(entry) != strategy)
            return true;
    }
    return false;
}

static enum tly_result ask_register(struct tly_engine *e, struct tly_slice prefix, struct tly_slice name)
{
    const struct tly_strategy *strategy = tly_strategy_by_name(name);
    if (strategy == NULL) return TLY_WRONG_STRATEGY;
    if (tly_registry_find(e->registry, prefix) != strategy && claims_existing(e, prefix, strategy))
        return TLY_PREFIX_TAKEN;
    struct tly_registry *next;
    enum tly_result result = tly_registry_with(e->registry, prefix, strategy, &next);
    if (result != TLY_OK) return result;
    tly_ormap_use_registry(e->map, next);
    tly_registry_free(e->registry);
    e->registry = next;
    return TLY_OK;
}

void tly_engine_wake(struct tly_engine *e, struct tly_time now)
{
    /* Many are asked at one moment, and what is told twice changes nothing. */
    now = tly_time_believed(e, now);
    if (now.mono_ns != e->now.mono_ns || now.wall_ns != e->now.wall_ns) {
        e->now = now;
        tly_clock_tick(tly_ormap_clock(e->map), e->now);
        tly_time_tick(e);
    }
    tly_time_use(e);
}

enum tly_result tly_engine_ask(struct tly_engine *e, const struct tly_request *request,
                               struct tly_reply *reply)
{
    *reply = (struct tly_reply){0};
    tly_engine_wake(e, request->now);
    if (request->kind == TLY_ASK_CHECK) return ask_check(e, &request->check, &reply->verdict);
    if (request->kind == TLY_ASK_FORGET) return tly_forget_ask(e, request->bytes);
    if (request->kind == TLY_ASK_REGISTER) return ask_register(e, request->key, request->bytes);

    enum tly_result result;
    if (request->kind == TLY_ASK_APPLY) {
        size_t rows_max = request->number > 0 ? (size_t)request->number : TLY_APPLY_ROWS_MAX;
        result = tly_archive_apply(e, request->bytes, rows_max, &reply->applied);
    } else if (request->kind == TLY_ASK_RESET) {
        result = ask_reset(e, &request->check);
    } else {
        if (request->key.n == 0 || request->key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
        reply->strategy = tly_registry_find(e->registry, request->key);
        if (reply->strategy == NULL) return TLY_NO_STRATEGY;
        if (request->kind == TLY_ASK_READ) return ask_read(e, request->key, &reply->value);
        if (is_read_only(request)) return TLY_READ_ONLY;
        result = write_if_room(e, request, reply);
    }
    if (result != TLY_OK) return result;
    e->stats.writes++;
    tly_flush_soon(e, true);
    return TLY_OK;
}
