/*
 * Reservations: hits that are charged before it is known how many they will be, and settled afterwards.  Each is an lww key,
 * sys:hold:NODE:ID, so it outlives a crash: the node of that name, in whatever life, returns it at its end.  Only that node settles it,
 * for two that did would give back twice.
 *
 *     open --commit--> committed      the key stays for a while, so that whoever asks again gets the same answer
 *          --cancel--> cancelled
 *          --its end-> returned
 *
 * What is settled is written before it is given back: a failure in between charges too much, never too little.
 */
#include "service/engine/impl.h"
#include "service/engine/limit.h"

#include "crdt/counter.h"
#include "wire/pack.h"

#define PREFIX "sys:hold:"
#define PREFIX_BYTES 9
#define KEY_BYTES_MAX (PREFIX_BYTES + TLY_NAME_BYTES_MAX + 1 + TLY_HOLD_ID_BYTES_MAX)
/* An open one is kept so much longer than to its end, for a node that is away; a settled one so much longer. */
#define OPEN_KEPT_MS UINT64_C(86400000)
#define SETTLED_KEPT_MS UINT64_C(600000)
#define FIELDS 13
#define FIELDS_BEFORE 12 /* of earlier releases */
#define UNKNOWN UINT64_MAX

struct hold {
    uint64_t state; /* enum tly_hold_state */
    uint64_t end_ms, charged_ns;
    uint64_t hits;               /* that were charged when it was made */
    uint64_t settled;            /* … and in the end */
    struct tly_slice limit, key; /* the limit's name, empty: ad hoc; the key that it counts under */
    struct tly_rate rate;        /* as of then; a limit's name of an earlier release has none */
    uint64_t generation;         /* of a counter, then */
    uint64_t made_ts;            /* of its newest version */
};

const char *tly_hold_word(enum tly_hold_state state)
{
    static const char *const words[] = {"none", "open", "committed", "cancelled", "returned", "released"};
    return (size_t)state < sizeof words / sizeof *words ? words[state] : "unknown";
}

/* ---- as bytes ---- */

static struct tly_slice key_of(const struct tly_engine *e, struct tly_slice id, uint8_t key[KEY_BYTES_MAX])
{
    size_t name = strlen(e->name), n = PREFIX_BYTES;
    memcpy(key, PREFIX, PREFIX_BYTES);
    memcpy(key + n, e->name, name);
    n += name;
    key[n++] = ':';
    if (id.n > 0) memcpy(key + n, id.p, id.n);
    return tly_slice_of(key, n + id.n);
}

/* The id of one of this node's; n 0: it is none. */
static struct tly_slice id_of(const struct tly_engine *e, struct tly_slice key)
{
    uint8_t begin[KEY_BYTES_MAX];
    struct tly_slice own = key_of(e, tly_slice_of(NULL, 0), begin);
    bool is_own = tly_slice_begins(key, own) && key.n - own.n <= TLY_HOLD_ID_BYTES_MAX;
    return is_own ? tly_slice_of(key.p + own.n, key.n - own.n) : tly_slice_of(NULL, 0);
}

static bool get(struct tly_slice bytes, struct hold *hold)
{
    struct tly_cursor c = tly_cursor_of(bytes);
    size_t fields = tly_get_array(&c, 32);
    if (fields < FIELDS_BEFORE) return false;
    hold->state = tly_get_uint(&c);
    hold->end_ms = tly_get_uint(&c);
    hold->charged_ns = tly_get_uint(&c);
    hold->hits = tly_get_uint(&c);
    hold->settled = tly_get_uint(&c);
    hold->limit = tly_get_bytes(&c, TLY_RULE_NAME_BYTES_MAX);
    hold->key = tly_get_bytes(&c, TLY_KEY_BYTES_MAX);
    hold->rate = (struct tly_rate){.limit = tly_get_uint(&c)};
    hold->rate.window_ms = tly_get_uint(&c);
    hold->rate.burst = tly_get_uint(&c);
    hold->rate.algorithm = (enum tly_algorithm)tly_get_uint(&c);
    hold->rate.unit = (unsigned)tly_get_uint(&c);
    hold->generation = fields >= FIELDS ? tly_get_uint(&c) : UNKNOWN;
    if (c.result != TLY_OK || hold->key.n == 0) return false;
    if (hold->hits > UINT32_MAX || hold->settled > UINT32_MAX) return false;
    return hold->state >= TLY_HOLD_OPEN && hold->state <= TLY_HOLD_RETURNED &&
           (hold->limit.n > 0 || tly_rate_check(&hold->rate) == TLY_OK);
}

static enum tly_result put(struct tly_engine *e, struct tly_slice id, const struct hold *hold)
{
    uint8_t key[KEY_BYTES_MAX];
    struct tly_buf *out = &e->frame;
    tly_buf_clear(out);
    tly_put_array(out, FIELDS);
    tly_put_uint(out, hold->state);
    tly_put_uint(out, hold->end_ms);
    tly_put_uint(out, hold->charged_ns);
    tly_put_uint(out, hold->hits);
    tly_put_uint(out, hold->settled);
    tly_put_bytes(out, hold->limit);
    tly_put_bytes(out, hold->key);
    tly_put_uint(out, hold->rate.limit);
    tly_put_uint(out, hold->rate.window_ms);
    tly_put_uint(out, hold->rate.burst);
    tly_put_uint(out, (uint64_t)hold->rate.algorithm);
    tly_put_uint(out, hold->rate.unit);
    tly_put_uint(out, hold->generation);
    if (out->result != TLY_OK) return out->result;
    uint64_t until_ms = hold->state == TLY_HOLD_OPEN ? hold->end_ms + OPEN_KEPT_MS
                                                     : e->cluster_ns / NS_PER_MS + SETTLED_KEPT_MS;
    struct tly_dot dot = {.op = TLY_PUT, .num = {until_ms}, .bytes = tly_buf_slice(out)};
    struct tly_slice whole = key_of(e, id, key);
    struct tly_before before = tly_watch_before(e, whole);
    enum tly_result result = tly_ormap_put(e->map, whole, &dot);
    if (result != TLY_OK) return result;
    tly_watch_after(e, whole, before, tly_ormap_origin(e->map));
    tly_flush_soon(e, true);
    return TLY_OK;
}

static uint64_t newest_of(struct tly_engine *e, const struct tly_entry *entry, enum tly_op op)
{
    uint64_t newest = 0;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == op && dots[i].version.ts > newest) newest = dots[i].version.ts;
    return newest;
}

/* Its slices lie in the map, until that changes. */
static bool read(struct tly_engine *e, struct tly_slice id, struct hold *hold)
{
    uint8_t key[KEY_BYTES_MAX];
    const struct tly_entry *entry = tly_ormap_find(e->map, key_of(e, id, key));
    if (entry == NULL) return false;
    struct tly_value value;
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, &value);
    if (!value.present || !get(value.bytes, hold)) return false;
    hold->made_ts = newest_of(e, entry, TLY_PUT);
    return true;
}

/* ---- their ends: a heap, the next one first ---- */

static void swap(struct hold_end *a, struct hold_end *b)
{
    struct hold_end other = *a;
    *a = *b;
    *b = other;
}

static enum tly_result reserve_end(struct tly_engine *e)
{
    if (e->hold_count == TLY_HOLDS_MAX) return TLY_FULL;
    void *grown = tly_mem_reserve(&e->mem, e->holds, &e->hold_capacity, e->hold_count + 1, sizeof *e->holds);
    if (grown == NULL) return TLY_NOMEM;
    e->holds = grown;
    return TLY_OK;
}

/* There is room. */
static void push_end(struct tly_engine *e, uint64_t end_ms, bool has_wished, struct tly_slice id)
{
    size_t i = e->hold_count++;
    e->holds[i].end_ms = end_ms;
    e->holds[i].has_wished = has_wished;
    e->holds[i].n = (uint8_t)id.n;
    memcpy(e->holds[i].id, id.p, id.n);
    for (; i > 0 && e->holds[i].end_ms < e->holds[(i - 1) / 2].end_ms; i = (i - 1) / 2)
        swap(&e->holds[i], &e->holds[(i - 1) / 2]);
}

static void pop_end(struct tly_engine *e)
{
    struct hold_end *at = e->holds;
    size_t count = --e->hold_count, i = 0;
    at[0] = at[count];
    for (size_t next; (next = 2 * i + 1) < count; i = next) {
        if (next + 1 < count && at[next + 1].end_ms < at[next].end_ms) next++;
        if (at[i].end_ms <= at[next].end_ms) break;
        swap(&at[i], &at[next]);
    }
}

/* What was reserved in an earlier life, or comes back from the peers. Without memory for it, it is returned by the next life. */
void tly_hold_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice id = id_of(e, key);
    struct hold hold;
    if (id.n == 0 || !read(e, id, &hold) || hold.state != TLY_HOLD_OPEN) return;
    if (reserve_end(e) == TLY_OK) push_end(e, hold.end_ms, false, id);
}

/* ---- settling ---- */

static uint64_t generation_of(struct tly_engine *e, const struct hold *hold)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, hold->key);
    if (entry == NULL || hold->rate.algorithm != TLY_COUNTER) return UNKNOWN;
    return tly_counter_generation(e->map, entry);
}

/* What was charged is gone then, and what stands there was charged by others. */
static bool was_reset(struct tly_engine *e, const struct hold *hold)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, hold->key);
    if (entry == NULL) return false;
    /* A hard counter is reset by a new generation. */
    bool is_later = hold->generation != UNKNOWN && generation_of(e, hold) > hold->generation;
    return is_later || newest_of(e, entry, TLY_REMOVE) > hold->made_ts;
}

/* False: nothing has to become otherwise. A rule that is gone, or counts elsewhere by now, counts nothing any more. */
static bool correction_of(struct tly_engine *e, const struct hold *hold, struct tly_limit_ask *ask)
{
    const struct tly_rule *rule = NULL;
    if (hold->limit.n > 0) {
        rule = e->rules != NULL ? tly_rules_of_key(e->rules, hold->key) : NULL;
        if (rule == NULL) return false;
    }
    bool is_more = hold->settled > hold->hits;
    *ask = (struct tly_limit_ask){
        .rate = rule != NULL ? &rule->rate : &hold->rate,
        .hits = (uint32_t)(is_more ? hold->settled - hold->hits : hold->hits - hold->settled),
        .now_ns = e->cluster_ns,
    };
    /* What was charged in one window was in no other. */
    bool is_elsewhere = hold->rate.limit != 0 && tly_rate_window(ask->rate) != tly_rate_window(&hold->rate);
    if (ask->hits == 0) return false;
    if (!is_more && (is_elsewhere || was_reset(e, hold))) return false;
    tly_seek_to(e->map, hold->key, &ask->seek);
    return true;
}

/* A hard limit is not passed, whatever was spent: as much more is charged as this node holds the rights to. */
static enum tly_result charge_what_is_held(struct tly_engine *e, struct tly_limit_ask *ask, struct hold *hold)
{
    struct tly_verdict verdict;
    uint64_t more = ask->hits;
    ask->hits = 0;
    enum tly_result result = tly_escrow_check(e, ask, &verdict);
    if (result != TLY_OK) return result;
    hold->settled = hold->hits + (more < verdict.remaining ? more : verdict.remaining);
    return TLY_OK;
}

/* What of a hard counter others hold the rights to comes first; once it is settled nobody would give it back any more. *part: what can be now. */
static enum tly_result may_correct(struct tly_engine *e, struct hold *hold, uint64_t *part)
{
    struct tly_limit_ask ask;
    if (!correction_of(e, hold, &ask) || ask.rate->mode != TLY_HARD) return TLY_OK;
    if (hold->settled > hold->hits) return charge_what_is_held(e, &ask, hold);
    return ask.rate->algorithm == TLY_COUNTER ? tly_tenure_may_lower(e, &ask, part) : TLY_OK;
}

/* What was charged becomes what it shall be. */
static enum tly_result correct(struct tly_engine *e, const struct hold *hold)
{
    struct tly_limit_ask ask;
    uint64_t units;
    if (!correction_of(e, hold, &ask)) return TLY_OK;
    if (hold->settled > hold->hits) return tly_limit_charge(e->map, &ask);
    return tly_escrow_refund(e, &ask, hold->charged_ns, &units);
}

/*
 * What was spent is charged, also if nobody says so again before its end. And of what comes back there is given back what there are rights to:
 * two nodes that kept them until they had all would hold each other up.
 */
static enum tly_result stay_open(struct tly_engine *e, struct tly_slice id, struct hold *hold, uint64_t spent,
                                 uint64_t part)
{
    struct hold returned = *hold;
    returned.hits = part;
    returned.settled = 0;
    hold->state = TLY_HOLD_OPEN;
    hold->settled = spent;
    hold->hits -= part;
    enum tly_result result = put(e, id, hold);
    if (result == TLY_OK) result = correct(e, &returned);
    return result == TLY_OK ? TLY_NO_RIGHTS : result;
}

/* What it charged comes with the same round, and that is over by then, if not all are there with whom it joins. */
#define JOINS_NS UINT64_C(60000000000)

/* A life with an empty disk hears of it from the others, and may not have heard yet of what it charged: there is nothing to give back then. */
static bool has_joined(struct tly_engine *e)
{
    if (!e->cluster_now.joined) tly_standing_look(e);
    bool waits_long =
        e->joining_as == tly_ormap_origin(e->map) && e->now.mono_ns - e->joining_since >= JOINS_NS;
    return e->cluster_now.joined || waits_long;
}

/* TLY_NOT_FOUND; TLY_NO_RIGHTS: it is open still; one that is settled already stays as it is. */
static enum tly_result settle(struct tly_engine *e, struct tly_slice id, enum tly_hold_state state,
                              uint64_t hits, struct hold *hold)
{
    uint8_t limit[TLY_RULE_NAME_BYTES_MAX], key[TLY_KEY_BYTES_MAX];
    if (!read(e, id, hold)) return TLY_NOT_FOUND;
    if (hold->state != TLY_HOLD_OPEN) return TLY_OK;
    /* They lie in the dot that is replaced. */
    if (hold->limit.n > 0) memcpy(limit, hold->limit.p, hold->limit.n);
    memcpy(key, hold->key.p, hold->key.n);
    hold->limit.p = limit;
    hold->key.p = key;
    uint64_t before = hold->settled, spent = before, part = 0;
    bool was_said = state == TLY_HOLD_RETURNED && spent > 0;
    hold->state = was_said ? TLY_HOLD_COMMITTED : state;
    hold->settled = was_said ? spent : hits;
    enum tly_result result = may_correct(e, hold, &part);
    if (result == TLY_OK) result = put(e, id, hold);
    if (result == TLY_OK) result = correct(e, hold);
    if (state == TLY_HOLD_COMMITTED) spent = hits;
    /* What was said to be spent stays charged, also if all is cancelled later and that has to wait. */
    uint64_t unspent = hold->hits > spent ? hold->hits - spent : 0;
    if (part > unspent) part = unspent;
    if (result == TLY_NO_RIGHTS && (part > 0 || spent != before))
        result = stay_open(e, id, hold, spent, part);
    hold->limit = hold->key = tly_slice_of(NULL, 0);
    return result;
}

/*
 * One that has to wait is looked at again after a quarter of what it has waited, within these bounds; and each time once more so soon that what
 * the first look wished for is still wished for, and so here, when it has come.
 */
#define AGAIN_MS UINT64_C(1000)
#define AGAIN_MS_MAX UINT64_C(10000)
/* However many end in one moment, so many are settled in a step, and some more after so long. */
#define AT_ONCE 256
#define NEXT_NS UINT64_C(1000000)

static uint64_t again_ms(const struct hold *hold, uint64_t now_ms)
{
    uint64_t part_ms = now_ms > hold->end_ms ? (now_ms - hold->end_ms) / 4 : 0;
    return part_ms < AGAIN_MS ? AGAIN_MS : part_ms < AGAIN_MS_MAX ? part_ms : AGAIN_MS_MAX;
}

void tly_hold_tick(struct tly_engine *e)
{
    uint64_t now_ms = e->cluster_ns / NS_PER_MS, count = 0;
    e->holds_left = false;
    while (e->hold_count > 0 && e->holds[0].end_ms <= now_ms && has_joined(e)) {
        e->holds_left = count++ == AT_ONCE;
        if (e->holds_left) return;
        struct hold hold;
        struct hold_end end = e->holds[0];
        enum tly_result result = settle(e, tly_slice_of(end.id, end.n), TLY_HOLD_RETURNED, 0, &hold);
        if (result == TLY_NOMEM) return; /* tried again */
        pop_end(e);
        if (result == TLY_NO_RIGHTS) {
            uint64_t again = end.has_wished ? again_ms(&hold, now_ms) : AGAIN_MS;
            push_end(e, now_ms + again, !end.has_wished, tly_slice_of(end.id, end.n));
        }
        if (result == TLY_OK && hold.state == TLY_HOLD_RETURNED) e->stats.holds_returned++;
    }
}

uint64_t tly_hold_deadline(const struct tly_engine *e)
{
    if (e->hold_count == 0) return TLY_NEVER;
    uint64_t now_ms = e->cluster_ns / NS_PER_MS, end_ms = e->holds[0].end_ms;
    uint64_t late_ns = e->holds_left ? NEXT_NS : AGAIN_MS * NS_PER_MS;
    return e->now.mono_ns + (end_ms > now_ms ? (end_ms - now_ms) * NS_PER_MS : late_ns);
}

/* ---- asking ---- */

static bool is_id(struct tly_slice id)
{
    if (id.n == 0 || id.n > TLY_HOLD_ID_BYTES_MAX) return false;
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] <= ' ' || id.p[i] > '~') return false;
    return true;
}

static struct tly_slice new_id(struct tly_engine *e, uint8_t id[TLY_HOLD_ID_BYTES_MAX])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i += 16) {
        uint64_t random = tly_random(e);
        for (size_t k = 0; k < 16; k++)
            id[i + k] = (uint8_t)digits[random >> 4 * k & 15];
    }
    return tly_slice_of(id, 32);
}

static void tell(struct tly_hold_view *view, const struct hold *hold)
{
    view->state = (enum tly_hold_state)hold->state;
    view->end_ms = hold->end_ms;
    view->charged = hold->state == TLY_HOLD_OPEN ? hold->hits : hold->settled;
}

/* The check was admitted: what it charged is held. */
static enum tly_result keep(struct tly_engine *e, const struct tly_request *request, struct tly_slice id,
                            struct tly_reply *reply)
{
    const struct tly_check *check = &request->check;
    const struct tly_rule *rule;
    struct hold hold = {.state = TLY_HOLD_OPEN,
                        .charged_ns = e->cluster_ns,
                        .end_ms = e->cluster_ns / NS_PER_MS + (uint64_t)request->number,
                        .limit = check->limit};
    const struct tly_verdict *verdict = &reply->verdict;
    hold.hits = tly_verdict_counts(verdict) ? check->hits : 0;
    enum tly_result result = tly_ask_key(e, check, e->key, &rule, &hold.key);
    hold.rate = result == TLY_OK && rule != NULL ? rule->rate : check->rate;
    if (result == TLY_OK) {
        hold.generation = generation_of(e, &hold);
        result = put(e, id, &hold);
    }
    if (result == TLY_OK) {
        push_end(e, hold.end_ms, false, id);
        tell(&reply->hold, &hold);
        return TLY_OK;
    }
    uint64_t units;
    if (hold.hits > 0 && tly_ask_refund(e, check, hold.charged_ns, &units) != TLY_OK) return TLY_NOMEM;
    return result;
}

/* What an id that was given before stands for. */
static bool is_known(struct tly_engine *e, struct tly_slice id, struct tly_hold_view *view)
{
    struct hold hold;
    if (tly_flight_find(e, id, view)) return true;
    if (!read(e, id, &hold)) return false;
    tell(view, &hold);
    return true;
}

static enum tly_result reserve(struct tly_engine *e, const struct tly_request *request,
                               struct tly_reply *reply)
{
    struct tly_slice id = request->bytes;
    bool is_named = id.n > 0;
    if (is_named && !is_id(id)) return TLY_BAD_ID;
    if (request->number < 1 || request->number > TLY_HOLD_MS_MAX) return TLY_BAD_RULE;
    if (!is_named) id = new_id(e, e->hold_id);
    reply->hold.id = id;
    struct tly_checked checked = {.check = request->check};
    if (is_named && is_known(e, id, &reply->hold)) {
        tly_ask_peek(e, request->now, &checked, 1);
        reply->verdict = checked.verdict;
        return checked.result;
    }
    if (tly_flight_is_asked(e, &request->check)) return tly_flight_acquire(e, request, id, reply);
    enum tly_result result = reserve_end(e);
    if (result != TLY_OK) return result;
    tly_engine_checks(e, request->now, &checked, 1);
    reply->verdict = checked.verdict;
    if (checked.result != TLY_OK || checked.verdict.code != TLY_CODE_OK) return checked.result;
    return keep(e, request, id, reply);
}

enum tly_result tly_hold_ask(struct tly_engine *e, const struct tly_request *request, struct tly_reply *reply)
{
    if (request->kind == TLY_ASK_RESERVE) return reserve(e, request, reply);
    bool commits = request->kind == TLY_ASK_COMMIT;
    struct hold hold;
    if (!is_id(request->bytes)) return TLY_BAD_ID;
    if (request->number < 0 || request->number > UINT32_MAX) return TLY_BAD_RULE;
    reply->hold.id = request->bytes;
    if (tly_flight_find(e, request->bytes, &reply->hold))
        return commits ? TLY_IN_FLIGHT : tly_flight_release(e, request->bytes, &reply->hold);
    enum tly_result result = settle(e, request->bytes, commits ? TLY_HOLD_COMMITTED : TLY_HOLD_CANCELLED,
                                    commits ? (uint64_t)request->number : 0, &hold);
    if (result == TLY_NOT_FOUND) return TLY_NO_HOLD;
    if (result == TLY_OK) tell(&reply->hold, &hold);
    return result;
}
