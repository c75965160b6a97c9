/*
 * One window of one key.  What this node may still count is
 *
 *     its share of the line  +  what came  -  what it gave away  -  what it counted
 *
 * and each term is its own word or a gift that was given before it came.  Who has used half of what it holds, or had to refuse,
 * says what it would like to hold; every other member gives part of what it has left, in the measure of that.
 */
#include "service/engine/impl.h"

#include "crdt/epoch_sum.h"

#define HOLDERS_MAX 256
/* A wish that could not be met is looked at again after so long; one of which a part was, when that was heard. */
#define AGAIN_NS (100 * NS_PER_MS)
#define HEARD_NS (20 * NS_PER_MS)
/* So long after a wish for a counter was said it is no longer looked at. */
#define WANTED_NS (2 * NS_PER_S)
/* Who has nothing to give looks again after so long. */
#define NOTHING_NS (2 * NS_PER_S)
/* Keys whose wishes are known at once; a new one takes the place of the oldest, and who goes on wanting says so again after so long. */
#define WANTS_MAX 4096
#define WISH_NS (30 * NS_PER_S)
/* Units of the calendar that are to come and may have begun somewhere: of a day, that lasts 23 hours at least, two (tly_zone_earliest_ms). */
#define BEGUN_BEFORE_MAX 2

__extension__ typedef unsigned __int128 wide;

/* What somebody holds of one epoch. */
struct holder {
    uint64_t life;
    uint64_t rights, spent, left, wish;
    uint64_t wish_ts;
    bool is_late; /* it went on to a later epoch, and no longer knows what it did in this one */
};

/* One epoch of one key. */
struct slip {
    struct tly_slice key; /* of the limit */
    const struct tly_rate *rate;
    struct tly_term term;
};

/* Whoever has another zone, or another edition of it, begins a unit at another time; and the same one. */
static struct tly_term term_of_quota(const struct tly_rate *rate, uint64_t now_ms)
{
    struct tly_unit_span span = tly_zone_span(rate->zone, rate->unit, now_ms);
    return (struct tly_term){
        .at = {.now_ms = now_ms, .window = tly_rate_window(rate), .epoch = span.number},
        .left_ms = span.end_ms - now_ms,
        .begun_ms = tly_zone_earliest_ms(rate->unit, span.number),
    };
}

struct tly_term tly_term_of(const struct tly_rate *rate, uint64_t now_ms)
{
    if (rate->algorithm == TLY_QUOTA) return term_of_quota(rate, now_ms);
    if (rate->algorithm == TLY_COUNTER) return (struct tly_term){.left_ms = UINT64_MAX, .begun_ms = now_ms};
    uint64_t epoch = now_ms / rate->window_ms, start_ms = epoch * rate->window_ms;
    return (struct tly_term){
        .at = {.now_ms = now_ms, .window = rate->window_ms, .epoch = epoch},
        .left_ms = start_ms + rate->window_ms - now_ms,
        .begun_ms = start_ms,
    };
}

static struct slip slip_of(const struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate)
{
    return (struct slip){key, rate, tly_term_of(rate, e->cluster_ns / NS_PER_MS)};
}

bool tly_rights_key(struct tly_slice limit, uint8_t out[TLY_KEY_BYTES_MAX], struct tly_slice *key)
{
    const size_t cut = strlen("rl:");
    if (limit.n - cut > TLY_KEY_BYTES_MAX - TLY_RIGHTS_PREFIX_BYTES) return false;
    memcpy(out, TLY_RIGHTS_PREFIX, TLY_RIGHTS_PREFIX_BYTES);
    memcpy(out + TLY_RIGHTS_PREFIX_BYTES, limit.p + cut, limit.n - cut);
    *key = tly_slice_of(out, TLY_RIGHTS_PREFIX_BYTES + limit.n - cut);
    return true;
}

const struct tly_dot *tly_escrow_dots(struct tly_engine *e, struct tly_slice key, size_t *count)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    *count = 0;
    return entry != NULL ? tly_entry_dots(e->map, entry, count) : NULL;
}

/* ---- what one holds ---- */

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void put_moved(const struct slip *slip, const struct tly_dot *dots, size_t count,
                      struct holder *holder)
{
    struct tly_moved moved = tly_rights_moved(dots, count, &slip->term.at, holder->life);
    holder->rights = minus(holder->rights + moved.in, moved.out);
    holder->wish = moved.wish;
    holder->wish_ts = moved.wish_ts;
    holder->is_late = holder->is_late || moved.out == INT64_MAX;
}

/* What this life counted; false: it has counted in a later epoch, and no longer knows. */
static bool own_spent(struct tly_engine *e, const struct slip *slip, uint64_t *spent)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, slip->key);
    struct tly_dot own;
    *spent = 0;
    if (entry == NULL || !tly_ormap_own(e->map, entry, slip->term.at.window, &own)) return true;
    if (own.num[1] == slip->term.at.epoch && (int64_t)own.num[2] > 0) *spent = own.num[2];
    return own.num[1] <= slip->term.at.epoch;
}

static bool is_counter(const struct slip *slip)
{
    return slip->rate->algorithm == TLY_COUNTER;
}

/* What is wished for there is what comes, for what is held goes up and down with what is counted. */
static void look_at_counter(struct tly_engine *e, const struct slip *slip, struct holder *holder)
{
    struct tly_holding holding = tly_tenure_holding(e, slip->key, &slip->term.at, holder->life);
    *holder = (struct holder){
        .life = holder->life, .rights = holding.in, .left = holding.left, .wish = holding.wish};
}

static void look_at_self(struct tly_engine *e, const struct slip *slip, struct holder *self)
{
    uint8_t buffer[TLY_KEY_BYTES_MAX];
    struct tly_slice key;
    size_t count;
    *self = (struct holder){.life = tly_ormap_origin(e->map)};
    if (is_counter(slip)) {
        if (tly_line_is_fit(e)) look_at_counter(e, slip, self);
        return;
    }
    if (!tly_line_is_fit(e)) return;
    self->rights = tly_line_share(e, slip->term.begun_ms, self->life, slip->rate->limit);
    /* Of a key that is too long for that nothing can be given, and the share is all there is. */
    if (tly_rights_key(slip->key, buffer, &key)) {
        const struct tly_dot *dots = tly_escrow_dots(e, key, &count);
        put_moved(slip, dots, count, self);
    }
    if (!own_spent(e, slip, &self->spent)) self->is_late = true;
    if (self->is_late) self->rights = 0;
    self->left = minus(self->rights, self->spent);
}

/* ---- wishes ---- */

bool tly_escrow_is_old(const struct tly_engine *e, uint64_t ts, uint64_t age_ns)
{
    struct tly_time now = tly_ormap_clock(e->map)->now;
    if (now.wall_ns > ts && now.wall_ns - ts > age_ns) return true;
    /* Versions may be ahead of the clock by max_skew. */
    const struct spoken *spoken = e->escrow.spoken;
    for (size_t i = 0; i < TLY_SPOKEN_MAX; i++)
        if (now.mono_ns - spoken[i].at > age_ns) return ts <= spoken[i].ts;
    return false;
}

static void note_what_was_spoken(struct tly_engine *e)
{
    struct spoken *spoken = e->escrow.spoken;
    const struct tly_clock *clock = tly_ormap_clock(e->map);
    if (!e->escrow.is_used || clock->now.mono_ns - spoken[0].at < NS_PER_S) return;
    memmove(spoken + 1, spoken, (TLY_SPOKEN_MAX - 1) * sizeof *spoken);
    spoken[0] = (struct spoken){clock->last, clock->now.mono_ns};
}

bool tly_escrow_say(struct tly_engine *e, struct tly_slice limit, const struct tly_moment *at, uint64_t peer,
                    uint64_t units)
{
    uint8_t buffer[TLY_KEY_BYTES_MAX];
    struct tly_slice key;
    struct tly_dot dot = {.op = TLY_PUT, .num = {at->window, at->epoch, peer, units}};
    if (!tly_rights_key(limit, buffer, &key) || tly_ormap_put(e->map, key, &dot) != TLY_OK) return false;
    tly_flush_soon(e, true);
    return true;
}

static bool put_word(struct tly_engine *e, const struct slip *slip, uint64_t peer, uint64_t units)
{
    return tly_escrow_say(e, slip->key, &slip->term.at, peer, units);
}

/* Ahead of need: once half is used, or something had to be refused; and not again before the last wish was met, or may have been forgotten. What could not pass with all there is would only be taken from the others. */
static void wish(struct tly_engine *e, const struct slip *slip, const struct holder *self,
                 const struct tly_verdict *verdict, uint32_t hits)
{
    uint64_t limit = slip->rate->limit;
    uint64_t room = minus(limit, verdict->used);
    bool refused = verdict->code == TLY_CODE_OVER, half = self->left <= self->rights / 2;
    if (hits == 0 || room < (refused ? hits : 1) || !(refused || half)) return;
    bool is_wishing = self->wish > self->rights && !tly_escrow_is_old(e, self->wish_ts, WISH_NS);
    if (is_wishing || self->is_late || e->cluster_now.members < 2 || !tly_line_is_fit(e)) return;
    uint64_t more = self->spent > hits ? self->spent : hits;
    uint64_t wanted = more > limit - self->rights ? limit : self->rights + more;
    if (self->rights < limit) (void)put_word(e, slip, 0, wanted);
}

/* ---- checks ---- */

/* Until a window begins that somebody holds: units of the calendar are shared out before anybody begins them, so the next may be nobody's as well. */
static uint64_t somebodys_in_ms(struct tly_engine *e, const struct slip *slip)
{
    uint64_t now_ms = slip->term.at.now_ms, left_ms = slip->term.left_ms;
    for (int i = 0; i < BEGUN_BEFORE_MAX && !tly_line_is_nobodys(e, UINT64_MAX); i++) {
        struct tly_term next = tly_term_of(slip->rate, now_ms + left_ms);
        if (!tly_line_is_nobodys(e, next.begun_ms)) break;
        left_ms += next.left_ms;
    }
    return left_ms;
}

/* Rights may come from others at any time, save where there are none, or of no use. */
static void tell(struct tly_engine *e, const struct slip *slip, const struct holder *self,
                 const struct tly_limit_ask *ask, struct tly_verdict *verdict)
{
    uint64_t left_ms = slip->term.left_ms;
    verdict->is_judged = true;
    verdict->own = self->spent;
    verdict->held = self->rights;
    verdict->ahead = verdict->unheard = 0;
    if (verdict->code != TLY_CODE_OVER || ask->hits > minus(slip->rate->limit, verdict->used)) return;
    bool is_nobodys = tly_line_is_nobodys(e, slip->term.begun_ms);
    bool may_come = !is_nobodys && !self->is_late && left_ms > AGAIN_NS / NS_PER_MS;
    verdict->reason = is_nobodys ? TLY_REASON_NOBODYS : TLY_REASON_RIGHTS;
    verdict->retry_after_ms = may_come     ? AGAIN_NS / NS_PER_MS
                              : is_nobodys ? somebodys_in_ms(e, slip)
                                           : left_ms;
}

enum tly_result tly_escrow_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict)
{
    if (ask->rate->algorithm == TLY_COUNTER) return tly_tenure_check(e, ask, verdict);
    struct slip slip = slip_of(e, ask->seek.key, ask->rate);
    struct tly_limit_ask held = *ask;
    struct holder self;
    look_at_self(e, &slip, &self);
    held.heat = NULL;
    held.rights = &self.left;
    enum tly_result result = tly_limit_check(e->map, &held, &e->span, verdict);
    if (result != TLY_OK) return result;
    if (ask->charging != TLY_CHARGE_ADMITTED) {
        look_at_self(e, &slip, &self);
    } else if (verdict->code == TLY_CODE_OK) {
        self.spent += ask->hits;
        self.left -= ask->hits;
    }
    tell(e, &slip, &self, ask, verdict);
    wish(e, &slip, &self, verdict, ask->hits);
    return TLY_OK;
}

/* ---- giving ---- */

struct table {
    struct holder holder[HOLDERS_MAX]; /* this node first */
    size_t count;
};

static void add_holder(struct table *table, uint64_t life)
{
    if (table->count < HOLDERS_MAX) table->holder[table->count++] = (struct holder){.life = life};
}

static void put_spent(struct tly_engine *e, const struct slip *slip, struct table *table)
{
    size_t count;
    const struct tly_dot *dots = tly_escrow_dots(e, slip->key, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t h = 1; h < table->count; h++) {
            struct holder *holder = &table->holder[h];
            bool is_its = dots[i].op == TLY_PUT && dots[i].version.origin == holder->life &&
                          dots[i].num[0] == slip->term.at.window;
            if (!is_its || dots[i].num[1] < slip->term.at.epoch) continue;
            if (dots[i].num[1] > slip->term.at.epoch)
                holder->is_late = true;
            else if ((int64_t)dots[i].num[2] > 0)
                holder->spent = dots[i].num[2];
        }
}

/* What the others hold of a window. */
static void look_at_others(struct tly_engine *e, const struct slip *slip, struct table *table)
{
    uint8_t buffer[TLY_KEY_BYTES_MAX];
    struct tly_slice key;
    size_t count;
    for (size_t h = 1; h < table->count; h++)
        table->holder[h].rights =
            tly_line_share(e, slip->term.begun_ms, table->holder[h].life, slip->rate->limit);
    put_spent(e, slip, table);
    if (!tly_rights_key(slip->key, buffer, &key)) return;
    const struct tly_dot *dots = tly_escrow_dots(e, key, &count);
    for (size_t h = 1; h < table->count; h++) {
        struct holder *holder = &table->holder[h];
        put_moved(slip, dots, count, holder);
        /* It has nothing of this one and needs nothing, as it finds itself. */
        if (holder->is_late) holder->rights = holder->wish = 0;
        holder->left = minus(holder->rights, holder->spent);
    }
}

/* Those who can be reached, this node first: what each holds, as far as is known here. */
static void look_at_all(struct tly_engine *e, const struct slip *slip, struct table *table)
{
    table->count = 1;
    look_at_self(e, slip, &table->holder[0]);
    for (size_t i = 0; i < e->peer_count; i++) {
        const struct peer *peer = e->peers[i];
        uint64_t life =
            peer->conn != NULL ? peer->origin : peer->member_origin; /* some never have a connection */
        if (life != 0 && (peer->conn != NULL || tly_member_is_reachable(e, peer))) add_holder(table, life);
    }
    if (!is_counter(slip)) {
        look_at_others(e, slip, table);
        return;
    }
    for (size_t h = 1; h < table->count; h++)
        look_at_counter(e, slip, &table->holder[h]);
}

static bool is_richest(const struct table *table, const struct holder *asker)
{
    const struct holder *self = &table->holder[0];
    for (size_t h = 1; h < table->count; h++) {
        const struct holder *other = &table->holder[h];
        if (other == asker) continue;
        if (other->left > self->left || (other->left == self->left && other->life < self->life)) return false;
    }
    return true;
}

/*
 * Of what is lacking everybody gives in the measure of what it has left, the richest the odd unit. Who is asked itself keeps as much
 * as it would leave the other with, but of what one check lacks, that is more than the asker has counted so far: else nobody could ever ask for
 * more than a share. Of a counter all is given that is not wished for here: it will not be there anew in the next window.
 */
static uint64_t part_of(const struct table *table, const struct holder *asker, bool is_counter)
{
    const struct holder *self = &table->holder[0];
    if (asker->wish <= asker->rights || self->left == 0) return 0;
    uint64_t lacking = asker->wish - asker->rights, gap = minus(self->left, asker->left);
    bool is_wishing = self->wish > self->rights, is_busy = self->spent > 0 || is_wishing;
    bool is_for_one = !is_wishing && lacking > asker->spent;
    bool gives_all = is_counter ? !is_busy : is_for_one;
    if (!gives_all && gap == 0) return 0;
    wide all = 0;
    for (size_t h = 0; h < table->count; h++)
        if (&table->holder[h] != asker) all += table->holder[h].left;
    wide part = (wide)lacking * self->left;
    part = (part + (is_richest(table, asker) ? all - 1 : 0)) / all;
    uint64_t most = gives_all ? self->left : is_busy ? gap / 2 : gap - gap / 2;
    return part < most ? (uint64_t)part : most;
}

static bool give(struct tly_engine *e, const struct slip *slip, struct table *table, struct holder *asker)
{
    uint8_t buffer[TLY_KEY_BYTES_MAX];
    struct tly_slice key;
    size_t count;
    struct holder *self = &table->holder[0];
    uint64_t part = part_of(table, asker, is_counter(slip));
    if (part == 0 || !tly_rights_key(slip->key, buffer, &key)) return false;
    const struct tly_dot *dots = tly_escrow_dots(e, key, &count);
    uint64_t before = tly_rights_given(dots, count, &slip->term.at, self->life, asker->life);
    if (part > INT64_MAX - before || !put_word(e, slip, asker->life, before + part)) return false;
    bool is_wishing = self->wish > self->rights;
    self->left -= part;
    self->rights = minus(self->rights, part);
    /* Who has no wish has none for what it gives away. */
    if (!is_counter(slip) && !is_wishing && self->wish > self->rights && put_word(e, slip, 0, self->rights))
        self->wish = self->rights;
    asker->rights += part;
    asker->left += part;
    e->stats.rights_given += part;
    return true;
}

/* What came of looking at a wish. */
struct given {
    bool gave, has_left;
};

/* False: nobody lacks anything any more. */
static bool give_to_all(struct tly_engine *e, const struct slip *slip, struct given *given)
{
    struct table table;
    bool is_lacking = false;
    look_at_all(e, slip, &table);
    for (size_t h = 1; h < table.count; h++) {
        struct holder *asker = &table.holder[h];
        if (asker->wish <= asker->rights) continue;
        if (give(e, slip, &table, asker)) given->gave = true;
        is_lacking = is_lacking || asker->wish > asker->rights;
    }
    given->has_left = given->has_left || table.holder[0].left > 0;
    return is_lacking;
}

/* ---- what is wanted ---- */

static struct want *want_find(struct tly_engine *e, struct tly_slice key)
{
    for (size_t i = 0; i < e->escrow.want_count; i++) {
        struct want *want = &e->escrow.wants[i];
        if (tly_slice_equal(tly_slice_of(want->key, want->key_bytes), key)) return want;
    }
    return NULL;
}

static struct want *want_oldest(struct escrow *escrow)
{
    struct want *oldest = &escrow->wants[0];
    for (size_t i = 1; i < escrow->want_count; i++)
        if (escrow->wants[i].since < oldest->since) oldest = &escrow->wants[i];
    return oldest;
}

static struct want *want_new(struct tly_engine *e)
{
    struct escrow *escrow = &e->escrow;
    if (escrow->want_count == WANTS_MAX) return want_oldest(escrow);
    void *wants = tly_mem_reserve(&e->mem, escrow->wants, &escrow->want_capacity, escrow->want_count + 1,
                                  sizeof *escrow->wants);
    if (wants == NULL) return NULL; /* it will be said again */
    escrow->wants = wants;
    return &escrow->wants[escrow->want_count++];
}

static struct want *want_need(struct tly_engine *e, struct tly_slice key)
{
    struct want *want = want_find(e, key);
    if (want != NULL) return want;
    want = want_new(e);
    if (want == NULL) return NULL;
    *want = (struct want){.key_bytes = key.n, .at = TLY_NEVER};
    memcpy(want->key, key.p, key.n);
    return want;
}

void tly_escrow_learn(struct tly_engine *e, struct tly_slice key)
{
    struct tly_slice prefix = tly_slice_text(TLY_RIGHTS_PREFIX);
    if (!tly_slice_begins(key, prefix)) return;
    uint8_t limit[TLY_KEY_BYTES_MAX];
    e->escrow.is_read = false;
    e->escrow.is_used = true;
    if (key.n == prefix.n) {
        e->escrow.step_at = e->now.mono_ns;
        return;
    }
    memcpy(limit, "rl:", 3);
    memcpy(limit + 3, key.p + prefix.n, key.n - prefix.n);
    struct want *want = want_need(e, tly_slice_of(limit, 3 + key.n - prefix.n));
    uint64_t now = e->now.mono_ns;
    if (want == NULL) return;
    want->at = want->not_before > now ? want->not_before : now;
    want->since = now;
}

/* What is given back may be what somebody has waited for. */
static void look_again(struct tly_engine *e, struct tly_slice key)
{
    struct want *want = want_find(e, key);
    uint64_t now = e->now.mono_ns;
    if (want != NULL) want->at = want->not_before > now ? want->not_before : now;
}

enum tly_result tly_escrow_refund(struct tly_engine *e, const struct tly_limit_ask *ask, uint64_t at_ns,
                                  uint64_t *units)
{
    bool is_hard = ask->rate->mode == TLY_HARD, is_counter = ask->rate->algorithm == TLY_COUNTER;
    *units = 0;
    enum tly_result result =
        is_hard && is_counter ? tly_tenure_lower(e, ask, units) : tly_limit_refund(e->map, ask, at_ns, units);
    if (is_hard && *units > 0) look_again(e, ask->seek.key);
    return result;
}

static bool look_at_windows_want(struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate,
                                 struct given *given)
{
    struct slip slip = slip_of(e, key, rate);
    return give_to_all(e, &slip, given);
}

/* Up and down. */
static bool look_at_counters_want(struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate,
                                  struct given *given)
{
    bool is_lacking = false;
    for (int i = 0; i < 2; i++) {
        uint64_t window = i == 0 ? TLY_RIGHTS_UP : TLY_RIGHTS_DOWN;
        struct slip slip = {key, rate, tly_tenure_term(e, key, window)};
        bool lacks = give_to_all(e, &slip, given);
        if (lacks && tly_tenure_tend(e, key, rate, window)) lacks = give_to_all(e, &slip, given);
        is_lacking = is_lacking || lacks;
    }
    return is_lacking;
}

/* False: it need not be looked at any more. */
static bool look_at_want(struct tly_engine *e, struct want *want)
{
    uint8_t bytes[TLY_KEY_BYTES_MAX];
    memcpy(bytes, want->key, want->key_bytes);
    struct tly_slice key = tly_slice_of(bytes, want->key_bytes);
    const struct tly_rule *rule = e->rules != NULL ? tly_rules_of_key(e->rules, key) : NULL;
    struct given given = {0};
    if (rule == NULL || rule->rate.mode != TLY_HARD) return false;
    bool is_lacking = rule->rate.algorithm == TLY_COUNTER ? look_at_counters_want(e, key, &rule->rate, &given)
                                                          : look_at_windows_want(e, key, &rule->rate, &given);
    want->not_before = given.gave ? e->now.mono_ns + 2 * e->flush_ns + HEARD_NS : want->not_before;
    want->at = given.gave ? want->not_before : e->now.mono_ns + (given.has_left ? AGAIN_NS : NOTHING_NS);
    /* What a counter has not got may never come. */
    if (rule->rate.algorithm == TLY_COUNTER && e->now.mono_ns - want->since > WANTED_NS) return given.gave;
    return is_lacking || given.gave;
}

void tly_escrow_step(struct tly_engine *e)
{
    struct escrow *escrow = &e->escrow;
    escrow->is_read = false;
    note_what_was_spoken(e);
    tly_line_step(e);
    for (size_t i = escrow->want_count; i-- > 0;) {
        struct want *want = &escrow->wants[i];
        if (e->now.mono_ns < want->at || look_at_want(e, want)) continue;
        *want = escrow->wants[--escrow->want_count];
    }
}

void tly_escrow_use_rules(struct tly_engine *e)
{
    for (size_t i = 0; e->rules != NULL && i < tly_rules_count(e->rules); i++)
        if (tly_rules_at(e->rules, i)->rate.mode == TLY_HARD) {
            e->escrow.is_used = true;
            e->escrow.step_at = e->now.mono_ns;
        }
}

uint64_t tly_escrow_deadline(const struct tly_engine *e)
{
    uint64_t at = e->escrow.is_used ? e->escrow.step_at : TLY_NEVER;
    for (size_t i = 0; i < e->escrow.want_count; i++)
        if (e->escrow.wants[i].at < at) at = e->escrow.wants[i].at;
    return at;
}

void tly_escrow_fini(struct tly_engine *e)
{
    struct escrow *escrow = &e->escrow;
    tly_mem_free(&e->mem, escrow->wants, escrow->want_capacity * sizeof *escrow->wants);
    if (escrow->pieces != NULL)
        tly_mem_free(&e->mem, escrow->pieces, TLY_LINE_PIECES_MAX * sizeof *escrow->pieces);
}
