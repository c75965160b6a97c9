#include "crdt/forget.h"

#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

#include <assert.h>

#define NS_PER_MS UINT64_C(1000000)

/* ---- the ends of lives ---- */

enum tly_result tly_ormap_close_life(struct tly_ormap *map, uint64_t origin)
{
    uint32_t life;
    enum tly_result result = tly_map_life_need(map, origin, &life);
    if (result != TLY_OK) return result;
    if (map->lives[life].state == TLY_LIFE_OPEN) map->lives[life].state = TLY_LIFE_CLOSED;
    return TLY_OK;
}

enum tly_result tly_ormap_settle_life(struct tly_ormap *map, uint64_t origin, uint64_t mark)
{
    assert(origin != tly_ormap_origin(map));
    if (mark <= map->lost && tly_map_life_find(map, origin) == TLY_NO_LIFE) return TLY_OK;
    uint32_t number;
    enum tly_result result = tly_map_life_need(map, origin, &number);
    if (result != TLY_OK) return result;
    struct tly_map_life *life = &map->lives[number];
    if (life->state >= TLY_LIFE_SETTLED) return TLY_OK;
    if (life->mark < mark) return TLY_MORE;
    life->state = TLY_LIFE_SETTLED;
    if (tly_ormap_beyond(map, origin, mark).print != 0) map->lives[number].mark = mark;
    return TLY_OK;
}

static void raise_floor(struct tly_ormap *map, uint32_t life, uint64_t ts)
{
    if (map->lives[life].floor < ts) map->lives[life].floor = ts;
    if (map->forgotten < ts) map->forgotten = ts;
}

void tly_ormap_retire_life(struct tly_ormap *map, uint64_t origin, struct tly_version word)
{
    uint32_t number = tly_map_life_find(map, origin);
    if (number == TLY_NO_LIFE || map->lives[number].state != TLY_LIFE_SETTLED) return;
    map->lives[number].state = TLY_LIFE_RETIRED;
    uint32_t writer = tly_map_life_find(map, word.origin);
    if (writer != TLY_NO_LIFE) raise_floor(map, writer, word.ts);
}

struct tly_life tly_ormap_life_kept(const struct tly_ormap *map, size_t i)
{
    const struct tly_map_life *life = &map->lives[i];
    return (struct tly_life){life->origin, life->mark, life->log.last, life->floor, life->state};
}

bool tly_ormap_is_spent(const struct tly_ormap *map, uint64_t origin)
{
    uint32_t life = tly_map_life_find(map, origin);
    tly_map_settle_log(map);
    return life == TLY_NO_LIFE || map->lives[life].log.last == 0;
}

bool tly_ormap_drop_life(struct tly_ormap *map, uint64_t origin)
{
    uint32_t number = tly_map_life_find(map, origin);
    if (number == TLY_NO_LIFE || number == map->own) return false;
    const struct tly_map_life *life = &map->lives[number];
    bool is_unused = life->mark == 0 && life->floor == 0;
    if (!(life->state == TLY_LIFE_RETIRED || is_unused) || !tly_ormap_is_spent(map, origin)) return false;
    if (map->lost < life->mark) map->lost = life->mark;
    tly_map_life_drop(map, number);
    return true;
}

struct tly_bounds tly_ormap_bounds(const struct tly_ormap *map)
{
    return (struct tly_bounds){map->lost, map->forgotten};
}

void tly_map_raise_bounds(struct tly_ormap *map, struct tly_bounds bounds)
{
    if (map->lost < bounds.lost) map->lost = bounds.lost;
    if (map->forgotten < bounds.forgotten) map->forgotten = bounds.forgotten;
}

struct tly_beyond tly_ormap_beyond(struct tly_ormap *map, uint64_t origin, uint64_t mark)
{
    struct tly_beyond beyond = {.newest = mark};
    uint32_t life = tly_map_life_find(map, origin);
    if (life == TLY_NO_LIFE) return beyond;
    struct tly_scan scan = tly_scan_of(map, life, mark);
    for (struct tly_scanned scanned; tly_scan_next(map, &scan, &scanned);) {
        beyond.newest = scanned.dot.version.ts;
        beyond.print += tly_map_digest_dot(tly_map_digest_key(scanned.strategy, scanned.key), &scanned.dot);
    }
    return beyond;
}

enum tly_outcome tly_map_lets_in(const struct tly_ormap *map, struct tly_version version)
{
    uint32_t number = tly_map_life_find(map, version.origin);
    uint64_t mark = number == TLY_NO_LIFE ? map->lost : map->lives[number].mark;
    if (version.ts <= mark) return TLY_DROPPED;
    bool settled = number != TLY_NO_LIFE && map->lives[number].state >= TLY_LIFE_SETTLED;
    return settled ? TLY_REFUSED : TLY_APPLIED;
}

/* ---- REMOVEs ---- */

void tly_map_noted_remove(struct tly_ormap *map, uint32_t life, uint64_t ts)
{
    map->removes++;
    if (map->newest_remove < ts) map->newest_remove = ts;
    if (map->lives[life].walked >= ts) map->lives[life].walked = ts - 1;
}

uint64_t tly_ormap_newest_remove(const struct tly_ormap *map)
{
    return map->removes > 0 ? map->newest_remove : 0;
}

size_t tly_ormap_removes(const struct tly_ormap *map)
{
    return map->removes;
}

struct forgetting {
    struct tly_ormap *map;
    uint64_t upto;
    bool all;       /* PUTs too */
    bool strangers; /* a stranger's too, of which no floor tells: somewhere it is known to have gone */
};

/*
 * What all members have is said of lives that they know. Of one whose marks nobody has told, a stranger's, it says nothing: a floor above
 * the own mark is one that no peer comes up to, whatever snapshot it gets from here.
 */
static bool is_of_a_stranger(const struct tly_ormap *map, uint32_t life, uint64_t ts)
{
    const struct tly_map_life *of = &map->lives[life];
    return of->mark < ts && of->state < TLY_LIFE_SETTLED && life != map->own;
}

static bool is_forgotten(void *context, const struct tly_dot *dot)
{
    const struct forgetting *forgetting = context;
    if (dot->version.ts > forgetting->upto || (dot->op == TLY_PUT && !forgetting->all)) return false;
    uint32_t life = tly_map_life_find(forgetting->map, dot->version.origin);
    if (is_of_a_stranger(forgetting->map, life, dot->version.ts)) return forgetting->strangers;
    raise_floor(forgetting->map, life, dot->version.ts);
    return true;
}

/*
 * Moves a life's walk on to its next REMOVE at or below upto; *next is UINT64_MAX when there is none. False: the budget
 * ended before that was known.
 */
static bool walk_to_remove(struct tly_ormap *map, uint32_t number, uint64_t upto, size_t *budget,
                           uint64_t *next)
{
    struct tly_map_life *life = &map->lives[number];
    struct tly_scan scan = tly_scan_of(map, number, life->walked);
    *next = UINT64_MAX;
    for (struct tly_scanned scanned; tly_scan_next(map, &scan, &scanned);) {
        uint64_t ts = scanned.dot.version.ts;
        if (ts > upto) break;
        if (scanned.dot.op == TLY_REMOVE) {
            life->walked = ts - 1;
            *next = ts;
            return true;
        }
        if (*budget == 0) return false;
        (*budget)--;
        /* Two dots may be forged with one version: what stands before this one has been seen, this version not yet. */
        life->walked = ts - 1;
    }
    if (life->walked < upto) life->walked = upto;
    return true;
}

/* The life whose next REMOVE is the oldest of all, or of those that are no stranger's; TLY_NO_LIFE: none has one. */
static uint32_t oldest_of(struct tly_ormap *map, uint64_t upto, bool strangers, size_t *budget, bool *known)
{
    uint32_t oldest = TLY_NO_LIFE;
    uint64_t least = UINT64_MAX, next;
    for (uint32_t life = 0; life < map->life_count; life++) {
        if (map->lives[life].walked >= upto) continue;
        *known = walk_to_remove(map, life, upto, budget, &next);
        if (!*known) return TLY_NO_LIFE;
        if (next >= least || (!strangers && is_of_a_stranger(map, life, next))) continue;
        least = next;
        oldest = life;
    }
    return oldest;
}

/* Forgets the REMOVE that a life's walk stands before. */
static size_t forget_next(struct tly_ormap *map, uint32_t life, bool strangers)
{
    struct tly_scan scan = tly_scan_of(map, life, map->lives[life].walked);
    for (struct tly_scanned scanned; tly_scan_next(map, &scan, &scanned);) {
        if (scanned.dot.op != TLY_REMOVE) continue;
        struct forgetting forgetting = {.map = map, .upto = scanned.dot.version.ts, .strangers = strangers};
        return tly_map_drop_if(map, tly_ormap_find(map, scanned.key), is_forgotten, &forgetting);
    }
    return 0;
}

static struct tly_forgotten forget_removes(struct tly_ormap *map, uint64_t upto, bool strangers,
                                           size_t budget)
{
    struct tly_forgotten forgotten = {.done = true};
    if (map->removes == 0) return forgotten;
    while (forgotten.done) {
        uint32_t life = oldest_of(map, upto, strangers, &budget, &forgotten.done);
        if (life == TLY_NO_LIFE) break;
        forgotten.done = budget > 0;
        if (!forgotten.done) break;
        budget--;
        forgotten.dropped += forget_next(map, life, strangers);
    }
    return forgotten;
}

struct tly_forgotten tly_ormap_forget(struct tly_ormap *map, uint64_t upto, size_t budget)
{
    return forget_removes(map, upto, false, budget);
}

size_t tly_ormap_forget_gone(struct tly_ormap *map, uint64_t upto)
{
    return forget_removes(map, upto, true, SIZE_MAX).dropped;
}

uint64_t tly_ormap_without_removes(struct tly_ormap *map, size_t budget)
{
    if (map->removes == 0) return map->forgotten;
    bool known = true;
    uint32_t life = oldest_of(map, map->forgotten, true, &budget, &known);
    if (!known) return 0;
    return life == TLY_NO_LIFE ? map->forgotten : map->lives[life].walked;
}

/* ---- what time has ended ---- */

/* When what has these dots ended, ms since 1970; 0: it has not. */
static uint64_t ended_at_ms(struct tly_slice key, const struct tly_strategy *strategy,
                            const struct tly_dot *dots, size_t count, const struct tly_ended *ended)
{
    uint64_t deadline_ms = 0;
    if (strategy->id == TLY_LWW) {
        /* Past its deadline a register reads as absent, so its dot is asked. */
        deadline_ms = count == 1 ? dots[0].num[0] : 0;
    } else if (strategy->id == TLY_EPOCH_SUM && ended->is_counter(key)) {
        struct tly_moment at = {.now_ms = ended->now_ms};
        struct tly_value value;
        strategy->read(dots, count, &at, &value);
        deadline_ms = value.deadline_ms;
    }
    return ended->now_ms >= deadline_ms ? deadline_ms : 0;
}

/* Whether nothing that is not known everywhere can make a difference. */
static bool may_go(bool counter, const struct tly_dot *dots, size_t count, uint64_t deadline_ms,
                   const struct tly_ended *ended)
{
    for (size_t i = 0; i < count; i++) {
        bool window = counter && dots[i].op == TLY_PUT && dots[i].num[TLY_SUM_WINDOW] != 0;
        if (window || dots[i].version.ts > ended->upto) return false;
    }
    if (!counter) return true;
    return ended->upto > ended->skew_ns && (ended->upto - ended->skew_ns) / NS_PER_MS >= deadline_ms;
}

bool tly_dots_may_go(struct tly_slice key, const struct tly_strategy *strategy, const struct tly_dot *dots,
                     size_t count, const struct tly_ended *ended)
{
    uint64_t deadline_ms = count > 0 ? ended_at_ms(key, strategy, dots, count, ended) : 0;
    return deadline_ms != 0 && may_go(strategy->id == TLY_EPOCH_SUM, dots, count, deadline_ms, ended);
}

static void note_waiting(bool counter, const struct tly_dot *dots, size_t count, uint64_t deadline_ms,
                         const struct tly_ended *ended, struct tly_swept *swept)
{
    swept->waiting++;
    for (size_t i = 0; i < count; i++)
        if (dots[i].version.ts > swept->newest_waiting) swept->newest_waiting = dots[i].version.ts;
    uint64_t passed = counter ? deadline_ms * NS_PER_MS + ended->skew_ns : 0;
    if (passed > swept->newest_waiting) swept->newest_waiting = passed;
}

static size_t drop_ended(struct tly_ormap *map, struct tly_entry *entry, const struct tly_ended *ended,
                         struct forgetting *forgetting)
{
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    if (ended == NULL || ended->has_gone == NULL)
        return tly_map_drop_if(map, entry, is_forgotten, forgetting);
    struct tly_version newest = dots[count - 1].version;
    uint8_t bytes[TLY_KEY_BYTES_MAX];
    struct tly_slice key = tly_entry_key(entry);
    memcpy(bytes, key.p, key.n);
    size_t dropped = tly_map_drop_if(map, entry, is_forgotten, forgetting);
    if (dropped == count) ended->has_gone(ended->context, tly_slice_of(bytes, key.n), newest);
    return dropped;
}

struct tly_swept tly_ormap_sweep_ended(struct tly_ormap *map, size_t *cursor, size_t budget,
                                       const struct tly_ended *ended)
{
    struct tly_swept swept = {0};
    struct forgetting forgetting = {map, ended->upto, .all = true};
    for (; budget > 0; budget--) {
        struct tly_entry *entry = tly_ormap_each(map, cursor);
        if (entry == NULL) {
            *cursor = 0;
            break;
        }
        const struct tly_strategy *strategy = tly_entry_strategy(entry);
        bool counter = strategy->id == TLY_EPOCH_SUM;
        size_t count;
        const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
        uint64_t deadline_ms = ended_at_ms(tly_entry_key(entry), strategy, dots, count, ended);
        if (deadline_ms == 0) continue;
        size_t keys = map->keys;
        if (may_go(counter, dots, count, deadline_ms, ended))
            swept.dropped += drop_ended(map, entry, counter ? ended : NULL, &forgetting);
        else
            note_waiting(counter, dots, count, deadline_ms, ended, &swept);
        if (map->keys < keys) --*cursor; /* another of the same hash has moved up */
    }
    return swept;
}

bool tly_ormap_has_put(struct tly_ormap *map, struct tly_slice key, struct tly_version version)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(map, entry, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_PUT && tly_version_compare(dots[i].version, version) == 0) return true;
    return false;
}

void tly_ormap_drop_gone(struct tly_ormap *map, struct tly_slice key, struct tly_version newest)
{
    struct forgetting forgetting = {map, newest.ts, .all = true, .strangers = true};
    struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry != NULL) (void)tly_map_drop_if(map, entry, is_forgotten, &forgetting);
}

size_t tly_ormap_end(struct tly_ormap *map, struct tly_entry *entry, const struct tly_ended *ended)
{
    size_t count;
    struct forgetting forgetting = {map, ended->upto, .all = true};
    const struct tly_strategy *strategy = tly_entry_strategy(entry);
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    if (!tly_dots_may_go(tly_entry_key(entry), strategy, dots, count, ended)) return 0;
    return drop_ended(map, entry, strategy->id == TLY_EPOCH_SUM ? ended : NULL, &forgetting);
}
