/*
 * Hard counters: rights that end with no window.  What a node may still raise a counter by is
 *
 *     what it took over  +  what came  -  what it gave away  -  what others took over from it  -  what it counted
 *
 * and downwards the same, with what it counted added: who lowers a counter may let it rise again, and may give that away too.  Both
 * rights of a key are nobody's at first.  The owner of a key, who holds the point of the line that its bytes fall on and knows all that
 * owners before it said, takes them; and later what lives left that have ended.  So all that is counted stays within the bounds, and
 * what is lost with a life is lost for the counter as well.
 */
#include "service/engine/impl.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "service/engine/bounded.h"

#define LIVES_MAX 256
/* What was wished for so long ago was not there, and is wished for again if it is still wanted. */
#define WISH_NS (2 * NS_PER_S)
/* A refused check may pass when those who were asked have given. */
#define AGAIN_MS 100

__extension__ typedef __int128 wide;

/* One counter, in one direction. */
struct tenure {
    struct tly_slice key;
    const struct tly_rate *rate;
    struct tly_moment at;
};

struct tly_term tly_tenure_term(struct tly_engine *e, struct tly_slice key, uint64_t window)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    uint64_t generation = entry != NULL ? tly_counter_generation(e->map, entry) : 0;
    return (struct tly_term){.at = {.window = window, .epoch = generation}, .left_ms = UINT64_MAX};
}

static struct tenure tenure_of(struct tly_engine *e, const struct tly_limit_ask *ask, uint64_t window)
{
    return (struct tenure){ask->seek.key, ask->rate, tly_tenure_term(e, ask->seek.key, window).at};
}

/* ---- what one holds ---- */

static int64_t counted_by(struct tly_engine *e, struct tly_slice key, uint64_t generation, uint64_t life)
{
    size_t count;
    const struct tly_dot *dots = tly_escrow_dots(e, key, &count);
    for (size_t i = 0; i < count; i++) {
        const uint64_t *num = dots[i].num;
        bool counts = dots[i].op == TLY_PUT && dots[i].version.origin == life && num[TLY_SUM_WINDOW] == 0;
        if (counts && num[TLY_SUM_EPOCH] == generation) return (int64_t)num[TLY_SUM_COUNT];
    }
    return 0;
}

static const struct tly_dot *rights_dots(struct tly_engine *e, struct tly_slice key, size_t *count)
{
    uint8_t buffer[TLY_KEY_BYTES_MAX];
    struct tly_slice rights;
    *count = 0;
    return tly_rights_key(key, buffer, &rights) ? tly_escrow_dots(e, rights, count) : NULL;
}

/* Rights less what was counted: one after the other, for the dots of both are shown in one place. It may be less than nothing as long as not all is known. */
static wide rest_of(struct tly_engine *e, struct tly_slice key, const struct tly_moment *at, uint64_t life,
                    struct tly_tenure *tenure)
{
    size_t count;
    const struct tly_dot *dots = rights_dots(e, key, &count);
    *tenure = tly_rights_tenure(dots, count, at, life);
    wide counted = counted_by(e, key, at->epoch, life);
    return (wide)tenure->rights - (at->window == TLY_RIGHTS_UP ? counted : -counted);
}

struct tly_holding tly_tenure_holding(struct tly_engine *e, struct tly_slice key, const struct tly_moment *at,
                                      uint64_t life)
{
    struct tly_tenure tenure;
    wide rest = rest_of(e, key, at, life, &tenure);
    struct tly_holding holding = {.rights = tenure.rights, .in = tenure.in, .wish = tenure.wish};
    bool is_known = tenure.rights != INT64_MIN;
    /* Another's is looked at for as long when it comes (escrow.c). */
    bool is_own = life == tly_ormap_origin(e->map);
    if (is_own && tly_escrow_is_old(e, tenure.wish_ts, WISH_NS)) holding.wish = 0;
    if (is_known && rest > 0) holding.left = rest > INT64_MAX ? INT64_MAX : (uint64_t)rest;
    return holding;
}

static struct tly_holding own(struct tly_engine *e, const struct tenure *tenure)
{
    if (!tly_line_is_fit(e)) return (struct tly_holding){0};
    return tly_tenure_holding(e, tenure->key, &tenure->at, tly_ormap_origin(e->map));
}

/* ---- what the owner takes ---- */

/* So that keys have their owners among all nodes; anything that is the same on all of them would do (FNV-1a). */
static uint32_t point_of(struct tly_slice key)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ key.p[i]) * 16777619u;
    return hash % TLY_LINE_END;
}

static bool take(struct tly_engine *e, const struct tenure *tenure, uint64_t from, uint64_t units)
{
    size_t count;
    const struct tly_dot *dots = rights_dots(e, tenure->key, &count);
    uint64_t before = tly_rights_took(dots, count, &tenure->at, tly_ormap_origin(e->map), from);
    uint64_t window = tenure->at.window == TLY_RIGHTS_UP ? TLY_RIGHTS_TOOK_UP : TLY_RIGHTS_TOOK_DOWN;
    struct tly_moment at = {.window = window, .epoch = tenure->at.epoch};
    return units <= INT64_MAX - before && tly_escrow_say(e, tenure->key, &at, from, before + units);
}

static uint64_t born(struct tly_engine *e, const struct tenure *tenure, uint64_t window)
{
    size_t count;
    const struct tly_dot *dots = rights_dots(e, tenure->key, &count);
    struct tly_moment at = {.window = window, .epoch = tenure->at.epoch};
    return tly_rights_born(dots, count, &at);
}

static bool is_born(struct tly_engine *e, const struct tenure *tenure)
{
    return born(e, tenure, TLY_RIGHTS_UP) > 0 || born(e, tenure, TLY_RIGHTS_DOWN) > 0;
}

static uint64_t rights_of(const struct tly_rate *rate, uint64_t window)
{
    return window == TLY_RIGHTS_UP ? rate->limit : 0 - (uint64_t)rate->min;
}

/* What was counted without rights, in another mode, fits no rights: such a counter is to be reset. */
static bool may_be_born(struct tly_engine *e, const struct tenure *tenure)
{
    size_t count;
    const struct tly_dot *dots = tly_escrow_dots(e, tenure->key, &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].op != TLY_PUT || dots[i].num[TLY_SUM_COUNT] != 0) return false;
    return tenure->at.epoch == 0;
}

static bool take_what_is_nobodys(struct tly_engine *e, const struct tenure *tenure)
{
    uint64_t all = rights_of(tenure->rate, tenure->at.window), there = born(e, tenure, tenure->at.window);
    if (there >= all || !(is_born(e, tenure) || may_be_born(e, tenure))) return false;
    return take(e, tenure, 0, all - there);
}

struct lives {
    uint64_t life[LIVES_MAX];
    size_t count;
    bool complete;
};

static void add_life(struct lives *lives, uint64_t life)
{
    for (size_t i = 0; i < lives->count; i++)
        if (lives->life[i] == life) return;
    lives->complete = lives->complete && lives->count < LIVES_MAX;
    if (lives->count < LIVES_MAX && life != 0) lives->life[lives->count++] = life;
}

/* All that hold or counted something. */
static void find_lives(struct tly_engine *e, const struct tenure *tenure, struct lives *lives)
{
    size_t count;
    const struct tly_dot *dots = rights_dots(e, tenure->key, &count);
    lives->count = 0;
    lives->complete = true;
    for (size_t i = 0; i < count; i++) {
        add_life(lives, dots[i].version.origin);
        if (dots[i].op == TLY_PUT) add_life(lives, dots[i].num[TLY_RIGHTS_PEER]);
    }
    dots = tly_escrow_dots(e, tenure->key, &count);
    for (size_t i = 0; i < count; i++)
        add_life(lives, dots[i].version.origin);
}

static bool has_ended(const struct tly_engine *e, uint64_t life)
{
    return life != tly_ormap_origin(e->map) && tly_ormap_mark(e->map, life) == UINT64_MAX;
}

/*
 * What lives left that ended and are settled. One may have counted what another gave it that nobody else heard of: it then counted more
 * than it seems to have held, and so much of what is left is not.
 */
static bool take_what_was_left(struct tly_engine *e, const struct tenure *tenure)
{
    struct lives lives;
    struct tly_tenure unused;
    wide owed = 0;
    bool took = false;
    find_lives(e, tenure, &lives);
    if (!lives.complete) return false;
    for (size_t i = 0; i < lives.count; i++) {
        wide rest = rest_of(e, tenure->key, &tenure->at, lives.life[i], &unused);
        if (unused.rights == INT64_MIN) return false;
        if (rest < 0) owed -= rest;
    }
    for (size_t i = 0; i < lives.count; i++) {
        if (!has_ended(e, lives.life[i])) continue;
        wide rest = rest_of(e, tenure->key, &tenure->at, lives.life[i], &unused);
        wide held_back = rest < owed ? rest : owed;
        if (rest <= 0) continue;
        owed -= held_back;
        if (rest > held_back && take(e, tenure, lives.life[i], (uint64_t)(rest - held_back))) took = true;
    }
    return took;
}

bool tly_tenure_tend(struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate, uint64_t window)
{
    struct tenure tenure = {key, rate, tly_tenure_term(e, key, window).at};
    if (!tly_line_is_fit(e) || !tly_line_is_owner(e, point_of(key))) return false;
    bool took = take_what_is_nobodys(e, &tenure);
    return take_what_was_left(e, &tenure) || took;
}

/* ---- wishes ---- */

/* Ahead of need, and each time for as much again as came; not before the last wish was met. The bound leaves room for so many hits. */
static void wish(struct tly_engine *e, const struct tenure *tenure, const struct tly_holding *self,
                 uint64_t hits)
{
    uint64_t range = tly_bounded_range(tenure->rate), more = 2 * hits;
    if (hits == 0 || self->left >= more || self->wish > self->in) return;
    if (e->cluster_now.members < 2 || !tly_line_is_fit(e)) return;
    if (more < self->in) more = self->in;
    if (more > range) more = range;
    if (more <= INT64_MAX - self->in) (void)tly_escrow_say(e, tenure->key, &tenure->at, 0, self->in + more);
}

/* ---- checks and refunds ---- */

/* What there is for so many hits, or to look at: the owner takes more if it lacks some. */
static struct tly_holding hold_for(struct tly_engine *e, const struct tenure *tenure, uint32_t hits)
{
    struct tly_holding self = own(e, tenure);
    bool has_enough = self.left > 0 && self.left >= hits;
    if (has_enough || !tly_tenure_tend(e, tenure->key, tenure->rate, tenure->at.window)) return self;
    return own(e, tenure);
}

/* Up to the bound. */
static uint64_t room_of(const struct tly_verdict *verdict)
{
    return verdict->used < verdict->limit ? verdict->limit - verdict->used + verdict->below : 0;
}

static void tell(struct tly_engine *e, const struct tenure *tenure, const struct tly_holding *self,
                 const struct tly_limit_ask *ask, struct tly_verdict *verdict)
{
    int64_t counted = counted_by(e, tenure->key, tenure->at.epoch, tly_ormap_origin(e->map));
    verdict->is_judged = true;
    verdict->own = counted > 0 ? (uint64_t)counted : 0;
    verdict->held = self->rights > 0 ? (uint64_t)self->rights : 0;
    if (verdict->code != TLY_CODE_OVER || ask->hits <= self->left || ask->hits > room_of(verdict)) return;
    verdict->reason = is_born(e, tenure) ? TLY_REASON_RIGHTS : TLY_REASON_NOBODYS;
    verdict->retry_after_ms = AGAIN_MS;
}

enum tly_result tly_tenure_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict)
{
    struct tenure tenure = tenure_of(e, ask, TLY_RIGHTS_UP);
    struct tly_holding self = hold_for(e, &tenure, ask->hits);
    struct tly_limit_ask held = *ask;
    held.rights = &self.left;
    enum tly_result result = tly_bounded_check(e->map, &held, verdict);
    if (result != TLY_OK) return result;
    tell(e, &tenure, &self, ask, verdict);
    bool is_met = verdict->code == TLY_CODE_OK;
    uint64_t room = room_of(verdict);
    if (is_met) self.left -= ask->hits;
    if (verdict->remaining > self.left) verdict->remaining = self.left;
    if (is_met || ask->hits <= room) wish(e, &tenure, &self, ask->hits);
    return TLY_OK;
}

enum tly_result tly_tenure_lower(struct tly_engine *e, const struct tly_limit_ask *ask, uint64_t *units)
{
    struct tenure tenure = tenure_of(e, ask, TLY_RIGHTS_DOWN);
    struct tly_holding self = hold_for(e, &tenure, ask->hits);
    struct tly_limit_ask held = *ask;
    held.rights = &self.left;
    uint64_t room;
    enum tly_result result = tly_bounded_below(e->map, ask, &room);
    if (result == TLY_OK) result = tly_bounded_lower(e->map, &held, units);
    if (result != TLY_OK) return result;
    self.left -= *units;
    wish(e, &tenure, &self, ask->hits < room ? ask->hits : room);
    return TLY_OK;
}

enum tly_result tly_tenure_may_lower(struct tly_engine *e, const struct tly_limit_ask *ask, uint64_t *units)
{
    uint64_t room;
    *units = 0;
    enum tly_result result = tly_bounded_below(e->map, ask, &room);
    if (result != TLY_OK) return result;
    if (!tly_line_is_fit(e)) return TLY_NO_RIGHTS;
    struct tenure tenure = tenure_of(e, ask, TLY_RIGHTS_DOWN);
    uint32_t hits = ask->hits < room ? ask->hits : (uint32_t)room;
    struct tly_holding self = hold_for(e, &tenure, hits);
    *units = hits < self.left ? hits : self.left;
    if (hits <= self.left) return TLY_OK;
    wish(e, &tenure, &self, hits);
    return TLY_NO_RIGHTS;
}

/* A new generation, of which nobody but this node can have rights: no other node makes one of this number. */
enum tly_result tly_tenure_reset(struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate)
{
    if (!tly_line_is_fit(e)) return TLY_NO_RIGHTS;
    enum tly_result result = tly_counter_set(e->map, key, 0, 0);
    if (result != TLY_OK) return result;
    for (int i = 0; i < 2; i++) {
        uint64_t window = i == 0 ? TLY_RIGHTS_UP : TLY_RIGHTS_DOWN;
        struct tenure tenure = {key, rate, tly_tenure_term(e, key, window).at};
        uint64_t all = rights_of(rate, window), there = born(e, &tenure, window);
        if (there < all && !take(e, &tenure, 0, all - there)) return TLY_NOMEM;
    }
    return TLY_OK;
}

/* What a former life counted and nobody heard was not counted: its rights may be another's by now. */
bool tly_tenure_is_left_out(void *engine, struct tly_slice key)
{
    struct tly_engine *e = engine;
    size_t count;
    return tly_slice_begins(key, tly_slice_text("rl:c:")) && rights_dots(e, key, &count) != NULL && count > 0;
}
