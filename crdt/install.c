#include "crdt/install.h"

#include "crdt/counter.h"
#include "crdt/epoch_sum.h"
#include "crdt/ormap_impl.h"

#include <assert.h>

struct former {
    uint64_t origin, whole;
    /* What it counted beyond this waits for another snapshot; UINT64_MAX: nothing does. */
    uint64_t waits_above;
    uint8_t noted[TLY_NOTED_BYTES_MAX];
    size_t noted_bytes;
};

struct tly_install {
    struct tly_ormap *map;
    struct tly_ormap *staged;  /* has no own life, and no marks until the end: everything may come in */
    struct tly_ormap *refused; /* rows past the end of a life that is settled here; NULL: there are none */
    struct tly_life *lives;    /* as the source had them */
    size_t life_count, life_capacity;
    struct former *former;
    size_t former_count, former_capacity;
    bool *unsure; /* by number of life in the map: dots of it went that the source does not know to be gone */
    size_t unsure_count;
    bool uncovers; /* some of those may have taken the place of others, of any life */
    bool hides;    /* so may some that are refused, there */
    struct tly_bounds bounds;
    tly_left_out *is_left_out; /* NULL: nothing is */
    void *context;
};

static struct tly_ormap *new_beside(const struct tly_ormap *map)
{
    struct tly_ormap_config config = {
        .mem = map->given,
        .hash_key = map->hash_key,
        .registry = map->registry,
        .keys_max = map->keys_max,
        .clock = map->clock,
    };
    return tly_ormap_new(&config);
}

struct tly_install *tly_install_new(struct tly_ormap *map)
{
    struct tly_install *install = tly_mem_zeroed(&map->given, sizeof *install);
    if (install == NULL) return NULL;
    install->map = map;
    install->staged = new_beside(map);
    if (install->staged != NULL) return install;
    tly_mem_free(&map->given, install, sizeof *install);
    return NULL;
}

void tly_install_free(struct tly_install *install)
{
    if (install == NULL) return;
    const struct tly_mem mem = install->map->given;
    tly_ormap_free(install->staged);
    tly_ormap_free(install->refused);
    tly_mem_free(&mem, install->lives, install->life_capacity * sizeof *install->lives);
    tly_mem_free(&mem, install->former, install->former_capacity * sizeof *install->former);
    tly_mem_free(&mem, install->unsure, install->unsure_count * sizeof *install->unsure);
    tly_mem_free(&mem, install, sizeof *install);
}

static struct tly_life *life_of(const struct tly_install *install, uint64_t origin)
{
    for (size_t i = 0; i < install->life_count; i++)
        if (install->lives[i].origin == origin) return &install->lives[i];
    return NULL;
}

enum tly_result tly_install_life(struct tly_install *install, const struct tly_life *life)
{
    if (life->origin == 0 || life_of(install, life->origin) != NULL) return TLY_OK;
    if (install->life_count == TLY_ORIGINS_MAX) return TLY_FULL;
    void *lives = tly_mem_reserve(&install->map->given, install->lives, &install->life_capacity,
                                  install->life_count + 1, sizeof *install->lives);
    if (lives == NULL) return TLY_NOMEM;
    install->lives = lives;
    install->lives[install->life_count++] = *life;
    return TLY_OK;
}

void tly_install_bounds(struct tly_install *install, struct tly_bounds bounds)
{
    install->bounds = bounds;
}

enum tly_result tly_install_add(struct tly_install *install, struct tly_slice key, const struct tly_dot *dot,
                                enum tly_outcome *outcome)
{
    return tly_ormap_apply(install->staged, key, dot, outcome);
}

void tly_install_leave_out(struct tly_install *install, tly_left_out *is_left_out, void *context)
{
    install->is_left_out = is_left_out;
    install->context = context;
}

enum tly_result tly_install_former(struct tly_install *install, uint64_t origin, struct tly_slice noted,
                                   uint64_t whole)
{
    assert(noted.n <= TLY_NOTED_BYTES_MAX);
    void *former = tly_mem_reserve(&install->map->given, install->former, &install->former_capacity,
                                   install->former_count + 1, sizeof *install->former);
    if (former == NULL) return TLY_NOMEM;
    install->former = former;
    struct former *new = &install->former[install->former_count++];
    *new =
        (struct former){.origin = origin, .whole = whole, .waits_above = UINT64_MAX, .noted_bytes = noted.n};
    if (noted.n > 0) memcpy(new->noted, noted.p, noted.n);
    return TLY_OK;
}

bool tly_install_dot(struct tly_install *install, struct tly_slice key, struct tly_dot *dot)
{
    const struct tly_entry *entry = tly_ormap_find(install->staged, key);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(install->staged, entry, &count) : NULL;
    if (count == 1) *dot = dots[0];
    return count == 1;
}

/* ---- what stays of what was here ---- */

/* The mark at which a life was settled, there or here; false: it is not. */
static bool is_settled(const struct tly_install *install, uint64_t origin, uint64_t *mark)
{
    const struct tly_life *there = life_of(install, origin);
    uint32_t number = tly_map_life_find(install->map, origin);
    const struct tly_map_life *here = number != TLY_NO_LIFE ? &install->map->lives[number] : NULL;
    if (there != NULL && there->state >= TLY_LIFE_SETTLED)
        *mark = there->mark;
    else if (here != NULL && here->state >= TLY_LIFE_SETTLED)
        *mark = here->mark;
    else
        return false;
    return true;
}

uint64_t tly_install_known(const struct tly_install *install, uint64_t origin)
{
    const struct tly_life *life = life_of(install, origin);
    if (life == NULL) return install->bounds.lost;
    return life->state >= TLY_LIFE_SETTLED ? UINT64_MAX : life->mark;
}

void tly_install_reached(struct tly_install *install, uint64_t origin, uint64_t ts)
{
    struct tly_life *life = life_of(install, origin);
    if (life != NULL && life->state == TLY_LIFE_OPEN && life->mark < ts) life->mark = ts;
}

static bool stands(struct tly_ormap *map, struct tly_slice key, const struct tly_dot *dot)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    for (size_t i = 0; i < count; i++)
        if (tly_dot_equal(&dots[i], dot)) return true;
    return false;
}

/* A REMOVE that was not here restarts what this node counted itself. */
static bool brings_remove(struct tly_install *install, struct tly_slice key)
{
    const struct tly_entry *there = tly_ormap_find(install->staged, key);
    if (there == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(install->staged, there, &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_REMOVE && !stands(install->map, key, &dots[i])) return true;
    return false;
}

/* Whether two shards count side by side, so that time alone cannot have ended one of them before the other. */
static bool are_neighbours(const struct tly_dot *a, const struct tly_dot *b)
{
    if (a->op != TLY_PUT || a->num[TLY_SUM_WINDOW] != b->num[TLY_SUM_WINDOW]) return false;
    uint64_t x = a->num[TLY_SUM_EPOCH], y = b->num[TLY_SUM_EPOCH];
    return a->num[TLY_SUM_WINDOW] == 0 ? x == y : x + 1 >= y && y + 1 >= x;
}

/* Whether a dot at or below the mark is gone from a map: it neither stands there nor does anything make it redundant. */
static bool is_gone_from(struct tly_ormap *map, uint64_t mark, struct tly_slice key,
                         const struct tly_dot *dot)
{
    if (dot->version.ts > mark) return false;
    const struct tly_entry *entry = tly_ormap_find(map, key);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(map, entry, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (tly_dot_equal(&dots[i], dot) || tly_dominates(tly_entry_strategy(entry), &dots[i], dot))
            return false;
    return true;
}

/* A counter that has begun anew since counts something else. */
static bool is_counted_on(const struct tly_dot *from, const struct tly_dot *to)
{
    if (to->version.origin != from->version.origin) return false;
    return from->num[TLY_SUM_WINDOW] != 0 || to->num[TLY_SUM_EPOCH] == from->num[TLY_SUM_EPOCH];
}

/* Whether a row that is refused took its place there; *counts_on: one of the same life did that went on from it. */
static bool was_hidden(const struct tly_install *install, struct tly_slice key, const struct tly_dot *dot,
                       bool *counts_on)
{
    bool was = false;
    *counts_on = false;
    const struct tly_entry *entry = install->refused != NULL ? tly_ormap_find(install->refused, key) : NULL;
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(install->refused, entry, &count);
    for (size_t i = 0; i < count; i++) {
        if (!tly_dominates(tly_entry_strategy(entry), &dots[i], dot)) continue;
        was = true;
        *counts_on = *counts_on || is_counted_on(dot, &dots[i]);
    }
    return was;
}

static bool is_gone_there(struct tly_install *install, struct tly_slice key, const struct tly_dot *dot)
{
    bool same;
    const struct tly_life *life = life_of(install, dot->version.origin);
    return life != NULL && is_gone_from(install->staged, life->mark, key, dot) &&
           !was_hidden(install, key, dot, &same);
}

/* Beyond this those who settled a life may have had no room for all of it. */
static uint64_t omitted_above(const struct tly_install *install, uint64_t origin)
{
    for (size_t i = 0; i < install->former_count; i++)
        if (install->former[i].origin == origin) return install->former[i].whole;
    return UINT64_MAX;
}

/*
 * Whether the key was deleted while this node was away: the snapshot has a REMOVE that was not here, or lacks a dot that it must have
 * known and that nothing there makes redundant. What the own shard counted is lost then, as it would be had the REMOVE come. What may have been
 * left out, of whichever former life, need not have been known.
 */
static bool was_deleted(struct tly_install *install, struct tly_slice key, const struct tly_dot *own)
{
    if (brings_remove(install, key)) return true;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(install->map, tly_ormap_find(install->map, key), &count);
    for (size_t i = 0; i < count; i++) {
        bool may_be_left_out = dots[i].version.ts > omitted_above(install, dots[i].version.origin);
        if (!may_be_left_out && are_neighbours(&dots[i], own) && is_gone_there(install, key, &dots[i]))
            return true;
    }
    return false;
}

static bool is_own(const struct tly_install *install, uint64_t origin)
{
    for (size_t i = 0; i < install->former_count; i++)
        if (install->former[i].origin == origin) return true;
    return origin == tly_ormap_origin(install->map);
}

/* Whether something that counts, or takes counts away, lies beyond the end of a life there. */
static bool counts_beyond(struct tly_ormap *staged, uint64_t origin, uint64_t end)
{
    uint32_t life = tly_map_life_find(staged, origin);
    if (life == TLY_NO_LIFE) return false;
    struct tly_scan scan = tly_scan_of(staged, life, end);
    for (struct tly_scanned scanned; tly_scan_next(staged, &scan, &scanned);)
        if (scanned.strategy->own_shards) return true;
    return false;
}

/*
 * A source that has not settled a life yet, or is to be brought up itself, may have some of it that all others refuse. That stands in place of what
 * they have of the same shards, so own - theirs is not known from there. Nor is it from one that lacks some of it from before its end, and will get
 * that from the others.
 */
static void note_who_waits(struct tly_install *install)
{
    for (size_t i = 0; i < install->former_count; i++) {
        struct former *former = &install->former[i];
        uint64_t end;
        if (!is_settled(install, former->origin, &end)) continue;
        bool has_less = tly_install_known(install, former->origin) < end;
        bool has_more = counts_beyond(install->staged, former->origin, end);
        if (has_less || has_more) former->waits_above = former->whole < end ? former->whole : end;
    }
}

/* What the snapshot shows to have been deleted does not wait: what shows it, and is no part of that life, goes or stays with this one. */
static bool waits(struct tly_install *install, struct tly_slice key, const struct tly_dot *dot)
{
    for (size_t i = 0; i < install->former_count; i++) {
        const struct former *former = &install->former[i];
        if (former->origin == dot->version.origin)
            return dot->version.ts > former->waits_above && !was_deleted(install, key, dot);
    }
    return false;
}

static bool stays(struct tly_install *install, const struct tly_entry *entry, const struct tly_dot *dot)
{
    uint64_t end;
    bool counted = dot->op == TLY_PUT && tly_entry_strategy(entry)->own_shards, counts_on;
    if (counted && waits(install, tly_entry_key(entry), dot)) return true;
    bool hidden = was_hidden(install, tly_entry_key(entry), dot, &counts_on);
    if (dot->version.ts <= tly_install_known(install, dot->version.origin) && !hidden) return false;
    if (is_settled(install, dot->version.origin, &end) && dot->version.ts > end) return false;
    if (dot->version.ts > install->bounds.forgotten) return true;
    if (counted && counts_on) return true; /* the source counted it in what is refused */
    return counted && is_own(install, dot->version.origin) &&
           !was_deleted(install, tly_entry_key(entry), dot);
}

/* Whether a dot takes the place of what other lives say. */
static bool may_cover(const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    if (dot->op == TLY_REMOVE || !strategy->own_shards) return true;
    return dot->num[TLY_SUM_WINDOW] == 0 && dot->num[TLY_SUM_EPOCH] != 0;
}

/* Up to where the source had all of a life: of one that was settled further on, at what came ahead of the rest, not up to its end. */
static uint64_t whole_up_to(const struct tly_install *install, uint64_t origin)
{
    uint64_t end, whole = omitted_above(install, origin);
    if (!is_settled(install, origin, &end)) return tly_install_known(install, origin);
    return whole < end ? whole : end;
}

/*
 * The source never had a dot that goes, nor perhaps what that took the place of, which is nowhere here: who has it must be free to say it again. What is
 * younger, as a life is than those that this node had before, did not lie under it.
 */
static void note_uncovered(struct tly_install *install, const struct tly_entry *entry,
                           const struct tly_dot *dot)
{
    uint64_t own = tly_ormap_origin(install->map);
    if (dot->version.ts <= whole_up_to(install, dot->version.origin)) return;
    if (!may_cover(tly_entry_strategy(entry), dot)) return;
    install->uncovers = true;
    if (own == 0 || is_own(install, dot->version.origin)) return;
    if (dot->version.ts > tly_install_known(install, own)) install->unsure[install->map->own] = true;
}

/* Nobody can tell whether a dot that goes was deleted: who has it, and need not be brought up itself, must be free to say it again. */
static void note_dropped(struct tly_install *install, const struct tly_entry *entry,
                         const struct tly_dot *dot)
{
    note_uncovered(install, entry, dot);
    if (dot->version.ts <= tly_install_known(install, dot->version.origin)) return;
    install->unsure[tly_map_life_find(install->map, dot->version.origin)] = true;
}

static enum tly_result keep_dots(struct tly_install *install, const struct tly_entry *entry,
                                 struct tly_installed *report)
{
    size_t count;
    struct tly_slice key = tly_entry_key(entry);
    (void)tly_entry_dots(install->map, entry, &count);
    for (size_t i = 0; i < count; i++) {
        /* The array is the map's one scratch, which the questions below use as well. */
        struct tly_dot dot = tly_entry_dots(install->map, entry, &count)[i];
        if (stands(install->staged, key, &dot)) continue;
        if (!stays(install, entry, &dot)) {
            report->dropped++;
            note_dropped(install, entry, &dot);
            continue;
        }
        enum tly_outcome outcome;
        enum tly_result result = tly_ormap_apply(install->staged, key, &dot, &outcome);
        if (result != TLY_OK) return result;
        report->kept++;
    }
    return TLY_OK;
}

static void note_own(const struct tly_install *install, struct tly_installed *report)
{
    uint32_t own = install->map->own;
    if (own == TLY_NO_LIFE || own >= install->unsure_count) return;
    report->own_unsure = install->unsure[own];
    report->own_known = tly_install_known(install, tly_ormap_origin(install->map));
}

static enum tly_result keep_local_words(struct tly_install *install, struct tly_entry *entry)
{
    const uint64_t *words = tly_entry_local(entry);
    struct tly_entry *staged = words != NULL ? tly_ormap_find(install->staged, tly_entry_key(entry)) : NULL;
    if (staged == NULL) return TLY_OK;
    enum tly_result result = tly_entry_need_local(install->staged, &staged);
    if (result == TLY_OK) memcpy(tly_entry_local(staged), words, TLY_LOCAL_WORDS * sizeof *words);
    return result;
}

static enum tly_result keep_what_stays(struct tly_install *install, struct tly_installed *report)
{
    enum tly_result result = TLY_OK;
    size_t cursor = 0, lives = install->map->life_count;
    if (install->unsure == NULL && lives > 0) {
        install->unsure = tly_mem_zeroed(&install->map->given, lives * sizeof *install->unsure);
        if (install->unsure == NULL) return TLY_NOMEM;
        install->unsure_count = lives;
    }
    for (struct tly_entry *entry; (entry = tly_ormap_each(install->map, &cursor)) != NULL;) {
        result = keep_dots(install, entry, report);
        if (result == TLY_OK) result = keep_local_words(install, entry);
        if (result != TLY_OK) break;
    }
    return result;
}

/* ---- what is refused ---- */

struct refusal {
    struct tly_install *install;
    struct tly_slice key;
};

/* Whether something of a life from beyond its end stands here, so that what this hid is not here either. */
static bool has_beyond(struct tly_ormap *map, struct tly_slice key, const struct tly_map_life *life)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(map, entry, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (dots[i].version.origin == life->origin && dots[i].version.ts > life->mark) return true;
    return false;
}

static bool is_refused(void *context, const struct tly_dot *dot)
{
    uint64_t end;
    const struct refusal *refusal = context;
    struct tly_ormap *map = refusal->install->map;
    uint32_t number = tly_map_life_find(map, dot->version.origin);
    if (number == TLY_NO_LIFE || map->lives[number].state < TLY_LIFE_SETTLED) return false;
    if (dot->version.ts <= map->lives[number].mark) return false;
    if (is_settled(refusal->install, dot->version.origin, &end) && dot->version.ts <= end) return false;
    return !has_beyond(map, refusal->key, &map->lives[number]);
}

static enum tly_result note_refused(struct tly_install *install, const struct tly_entry *entry, bool *has_any)
{
    enum tly_result result = TLY_OK;
    struct refusal refusal = {install, tly_entry_key(entry)};
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(install->staged, entry, &count);
    *has_any = false;
    for (size_t i = 0; result == TLY_OK && i < count; i++) {
        enum tly_outcome outcome;
        if (!is_refused(&refusal, &dots[i])) continue;
        *has_any = true;
        install->hides = install->hides || may_cover(tly_entry_strategy(entry), &dots[i]);
        if (install->refused == NULL) install->refused = new_beside(install->map);
        if (install->refused == NULL) return TLY_NOMEM;
        result = tly_ormap_apply(install->refused, refusal.key, &dots[i], &outcome);
    }
    return result;
}

/*
 * A source that has not settled a life yet, or is to be brought up itself, may have some of it from past its end, in the place of what others said. Here
 * that never came in, and what it hid there is what stands here.
 */
static enum tly_result refuse(struct tly_install *install, struct tly_installed *report)
{
    enum tly_result result = TLY_OK;
    size_t cursor = 0;
    for (struct tly_entry *entry; (entry = tly_ormap_each(install->staged, &cursor)) != NULL;) {
        bool has_any;
        result = note_refused(install, entry, &has_any);
        if (result != TLY_OK) break;
        struct refusal refusal = {install, tly_entry_key(entry)};
        size_t keys = install->staged->keys;
        if (has_any) report->stale += tly_map_drop_if(install->staged, entry, is_refused, &refusal);
        if (install->staged->keys < keys) cursor--; /* another of the same hash has moved up */
    }
    return result;
}

/* ---- what nobody had heard ---- */

/* Units of a shard that fall into an epoch. */
static int64_t units_in(const struct tly_dot *dot, uint64_t epoch)
{
    if (dot->num[TLY_SUM_EPOCH] == epoch) return (int64_t)dot->num[TLY_SUM_COUNT];
    bool before = dot->num[TLY_SUM_WINDOW] != 0 && dot->num[TLY_SUM_EPOCH] == epoch + 1;
    return before ? (int64_t)dot->num[TLY_SUM_AUX] : 0;
}

/* The dot of a former life's shard of this window in an entry; an absent one is all zero. */
static struct tly_dot shard_in(struct tly_ormap *map, struct tly_slice key, uint64_t origin, uint64_t window)
{
    struct tly_dot shard = {.num = {window}};
    const struct tly_entry *entry = tly_ormap_find(map, key);
    if (entry == NULL) return shard;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
    for (size_t i = 0; i < count; i++)
        if (dots[i].version.origin == origin && dots[i].op == TLY_PUT &&
            dots[i].num[TLY_SUM_WINDOW] == window)
            shard = dots[i];
    return shard;
}

static enum tly_result count_hit(struct tly_ormap *map, struct tly_slice key, const struct tly_hit *hit)
{
    struct tly_entry *entry;
    enum tly_result result = tly_ormap_need(map, key, &entry);
    if (result != TLY_OK) return result;
    result = tly_ormap_hit(map, &entry, hit);
    if (result != TLY_OK) tly_ormap_tidy(map, entry);
    return result;
}

/* Whether the own shard has left this window behind: what was counted then would be counted into a later one now. */
static bool is_left_behind(const struct tly_install *install, struct tly_slice key, const struct tly_hit *hit)
{
    const struct tly_entry *entry = tly_ormap_find(install->staged, key);
    struct tly_dot own;
    return hit->window != 0 && entry != NULL && tly_ormap_own(install->staged, entry, hit->window, &own) &&
           hit->epoch + 1 < own.num[TLY_SUM_EPOCH];
}

static enum tly_result carry_units(struct tly_install *install, struct tly_slice key, struct tly_hit hit,
                                   struct tly_installed *report)
{
    if (hit.units == 0 || is_left_behind(install, key, &hit)) return TLY_OK;
    enum tly_result result = count_hit(install->staged, key, &hit);
    if (result != TLY_OK) return result;
    report->carried++;
    report->carried_units += hit.units > 0 ? (uint64_t)hit.units : 0;
    return TLY_OK;
}

static int64_t difference(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_sub_overflow(a, b, &sum)) return sum;
    return a > b ? INT64_MAX : INT64_MIN;
}

static enum tly_result carry_shard(struct tly_install *install, struct tly_slice key,
                                   const struct tly_dot *own, struct tly_installed *report)
{
    uint64_t window = own->num[TLY_SUM_WINDOW], epoch = own->num[TLY_SUM_EPOCH];
    struct tly_dot theirs = shard_in(install->staged, key, own->version.origin, window);
    if (theirs.version.ts > own->version.ts) return TLY_OK; /* what is here is of a disk from before that */
    struct tly_hit hit = {.window = window, .epoch = epoch, .keeps_aux = true};
    if (window == 0) {
        const struct tly_entry *entry = tly_ormap_find(install->staged, key);
        if (entry != NULL && tly_counter_generation(install->staged, entry) > epoch) return TLY_OK;
        hit.keeps_aux = own->num[TLY_SUM_AUX] == 0;
        hit.aux = (int64_t)own->num[TLY_SUM_AUX];
    } else if (epoch > 0) {
        struct tly_hit before = {.window = window, .epoch = epoch - 1};
        before.units = difference(units_in(own, epoch - 1), units_in(&theirs, epoch - 1));
        enum tly_result result = carry_units(install, key, before, report);
        if (result != TLY_OK) return result;
    }
    hit.units = difference(units_in(own, epoch), units_in(&theirs, epoch));
    return carry_units(install, key, hit, report);
}

static bool is_left_out(const struct tly_install *install, const struct tly_scanned *own)
{
    return install->is_left_out != NULL && install->is_left_out(install->context, own->key, &own->dot);
}

static enum tly_result carry_life(struct tly_install *install, const struct former *former, uint64_t mark,
                                  struct tly_installed *report)
{
    enum tly_result result = TLY_OK;
    uint32_t life = tly_map_life_find(install->map, former->origin);
    if (life == TLY_NO_LIFE) return TLY_OK;
    struct tly_scan scan = tly_scan_of(install->map, life, former->whole < mark ? former->whole : mark);
    for (struct tly_scanned scanned; result == TLY_OK && tly_scan_next(install->map, &scan, &scanned);) {
        if (scanned.dot.op != TLY_PUT || !scanned.strategy->own_shards) continue;
        if (was_deleted(install, scanned.key, &scanned.dot)) continue;
        if (is_left_out(install, &scanned)) continue;
        result = carry_shard(install, scanned.key, &scanned.dot, report);
    }
    return result;
}

/* Unless that was done before. */
static enum tly_result carry_once(struct tly_install *install, const struct former *former, uint64_t mark,
                                  struct tly_installed *report)
{
    struct tly_slice noted = tly_slice_of(former->noted, former->noted_bytes);
    if (noted.n > 0 && tly_ormap_find(install->staged, noted) != NULL) return TLY_OK;
    size_t before = report->carried;
    enum tly_result result = carry_life(install, former, mark, report);
    if (result != TLY_OK || noted.n == 0 || report->carried == before) return result;
    struct tly_dot note = {.op = TLY_PUT};
    return tly_ormap_put(install->staged, noted, &note);
}

static enum tly_result carry_over(struct tly_install *install, struct tly_installed *report)
{
    enum tly_result result = TLY_OK;
    if (install->staged->own == TLY_NO_LIFE) return TLY_OK;
    for (size_t i = 0; result == TLY_OK && i < install->former_count; i++) {
        uint64_t mark;
        const struct former *former = &install->former[i];
        if (former->waits_above == UINT64_MAX && is_settled(install, former->origin, &mark))
            result = carry_once(install, former, mark, report);
    }
    return result;
}

/* ---- the own shard ---- */

static enum tly_result restart_shard(struct tly_install *install, struct tly_slice key,
                                     const struct tly_dot *own)
{
    uint64_t window = own->num[TLY_SUM_WINDOW], epoch = own->num[TLY_SUM_EPOCH];
    struct tly_hit now = {.window = window, .epoch = epoch};
    now.units = difference(0, units_in(own, epoch));
    enum tly_result result = count_hit(install->staged, key, &now);
    if (window == 0 || epoch == 0 || result != TLY_OK) return result;
    struct tly_hit before = {.window = window, .epoch = epoch - 1};
    before.units = difference(0, units_in(own, epoch - 1));
    return count_hit(install->staged, key, &before);
}

/*
 * What nobody had heard and is older than what was forgotten there is said anew, with a version above that: who has not forgotten it yet
 * would drop it, and all others keep it.
 */
static enum tly_result renew_shard(struct tly_install *install, struct tly_slice key,
                                   const struct tly_dot *own)
{
    struct tly_hit nothing = {
        .window = own->num[TLY_SUM_WINDOW], .epoch = own->num[TLY_SUM_EPOCH], .keeps_aux = true};
    return count_hit(install->staged, key, &nothing);
}

/* What the own life counted stays, save where the snapshot brings a REMOVE. */
static enum tly_result restart_own(struct tly_install *install)
{
    enum tly_result result = TLY_OK;
    struct tly_ormap *map = install->map;
    if (map->own == TLY_NO_LIFE) return TLY_OK;
    struct tly_scan scan = tly_scan_of(map, map->own, tly_install_known(install, tly_ormap_origin(map)));
    for (struct tly_scanned scanned; result == TLY_OK && tly_scan_next(map, &scan, &scanned);) {
        if (scanned.dot.op != TLY_PUT || !scanned.strategy->own_shards) continue;
        if (!stands(install->staged, scanned.key, &scanned.dot)) continue;
        if (brings_remove(install, scanned.key))
            result = restart_shard(install, scanned.key, &scanned.dot);
        else if (scanned.dot.version.ts <= install->bounds.forgotten)
            result = renew_shard(install, scanned.key, &scanned.dot);
    }
    return result;
}

/* ---- what the source does not know to be gone ---- */

struct staleness {
    struct tly_install *install;
    struct tly_slice key;
};

/* What lies behind the end that a life has here has never been here. */
static uint64_t known_here(const struct tly_install *install, uint64_t origin)
{
    uint32_t number = tly_map_life_find(install->map, origin);
    return number != TLY_NO_LIFE ? install->map->lives[number].mark : install->map->lost;
}

static bool is_stale(void *context, const struct tly_dot *dot)
{
    const struct staleness *stale = context;
    struct tly_ormap *map = stale->install->map;
    if (dot->version.origin == tly_ormap_origin(map))
        return false; /* ours, and perhaps counted into just now */
    return is_gone_from(map, known_here(stale->install, dot->version.origin), stale->key, dot);
}

/* A source that was restored from an old disk may still have what was deleted and forgotten here. */
static void drop_stale(struct tly_install *install, struct tly_installed *report)
{
    size_t cursor = 0;
    for (struct tly_entry *entry; (entry = tly_ormap_each(install->staged, &cursor)) != NULL;) {
        struct staleness stale = {install, tly_entry_key(entry)};
        size_t keys = install->staged->keys;
        report->stale += tly_map_drop_if(install->staged, entry, is_stale, &stale);
        if (install->staged->keys < keys) cursor--; /* another of the same hash has moved up */
    }
}

/* Nor is a life that was dropped here to be waited for again because the source still has it. */
static void drop_lives(struct tly_install *install)
{
    const struct tly_ormap *map = install->map;
    struct tly_ormap *staged = install->staged;
    tly_map_settle_log(staged);
    for (uint32_t i = 0; i < staged->life_count; i++) {
        const struct tly_map_life *life = &staged->lives[i];
        bool dropped = life->origin != 0 && life->mark <= map->lost && i != staged->own &&
                       tly_map_life_find(map, life->origin) == TLY_NO_LIFE;
        if (dropped && life->log.last == 0) tly_map_life_drop(staged, i);
    }
}

/* ---- the swap ---- */

static enum tly_result take_life(struct tly_ormap *staged, const struct tly_life *life)
{
    uint32_t number;
    enum tly_result result = tly_map_life_need(staged, life->origin, &number);
    if (result != TLY_OK) return result;
    struct tly_map_life *taken = &staged->lives[number];
    /* The source's lives come first. Where it has one settled, what was here beyond its mark has just gone. */
    bool ends = taken->state < TLY_LIFE_SETTLED && life->state >= TLY_LIFE_SETTLED;
    if (ends || (taken->state < TLY_LIFE_SETTLED && life->mark > taken->mark)) taken->mark = life->mark;
    if (life->state > taken->state) taken->state = life->state;
    if (life->floor > taken->floor) taken->floor = life->floor < taken->mark ? life->floor : taken->mark;
    return TLY_OK;
}

/*
 * What the source knew of a life, number i: no more than here, if it lacks what is refused took the place of. What it has forgotten all had, so its
 * floors stay below.
 */
static struct tly_life life_there(const struct tly_install *install, size_t i)
{
    struct tly_life life = install->lives[i];
    if (!install->hides || life.state >= TLY_LIFE_SETTLED) return life;
    uint64_t known = tly_ormap_mark(install->map, life.origin);
    if (known < life.floor) known = life.floor;
    if (life.mark > known) life.mark = known;
    return life;
}

static enum tly_result take_their_lives(struct tly_install *install)
{
    enum tly_result result = TLY_OK;
    for (size_t i = 0; result == TLY_OK && i < install->life_count; i++) {
        struct tly_life life = life_there(install, i);
        result = take_life(install->staged, &life);
    }
    tly_map_raise_bounds(install->staged, install->bounds);
    return result;
}

/* What was known here of a life, number i: no more than there, if dots of it have gone that the source never had. */
static struct tly_life life_here(const struct tly_install *install, size_t i)
{
    struct tly_life life = tly_ormap_life_kept(install->map, i);
    /* What all are thought to have of a retired life is said no more; a source with a disk from before its end lacks it. */
    if (life.state == TLY_LIFE_RETIRED && tly_install_known(install, life.origin) < life.mark)
        life.state = TLY_LIFE_SETTLED;
    bool unsure = install->uncovers || (i < install->unsure_count && install->unsure[i]);
    if (!unsure || life.origin == tly_ormap_origin(install->map) || life.state >= TLY_LIFE_SETTLED)
        return life;
    uint64_t known = tly_install_known(install, life.origin);
    if (life.mark > known) life.mark = known;
    return life;
}

/* A life that the source has dropped, or never had, and of which nothing stays here either, must not be waited for here for ever. */
static bool is_dropped_there(const struct tly_install *install, const struct tly_life *life)
{
    return life_of(install, life->origin) == NULL && life->mark <= install->bounds.lost &&
           tly_map_life_find(install->staged, life->origin) == TLY_NO_LIFE;
}

static enum tly_result take_lives(struct tly_install *install)
{
    const struct tly_ormap *map = install->map;
    struct tly_ormap *staged = install->staged;
    enum tly_result result = take_their_lives(install);
    for (size_t i = 0; result == TLY_OK && i < map->life_count; i++) {
        struct tly_life life = life_here(install, i);
        if (life.origin != 0 && !is_dropped_there(install, &life)) result = take_life(staged, &life);
    }
    tly_map_raise_bounds(staged, tly_ormap_bounds(map));
    return result;
}

static enum tly_result take_own(struct tly_install *install)
{
    uint64_t own = tly_ormap_origin(install->map);
    const struct tly_life *life = life_of(install, own);
    if (life != NULL && life->state >= TLY_LIFE_SETTLED) return TLY_STALE;
    return own != 0 ? tly_map_life_need(install->staged, own, &install->staged->own) : TLY_OK;
}

/* Each struct keeps its own way to memory; all else changes places. */
static void swap(struct tly_ormap *a, struct tly_ormap *b)
{
    struct tly_ormap old = *a;
    struct tly_mem mem_a = a->mem, mem_b = b->mem;
    *a = *b;
    *b = old;
    a->mem = mem_a;
    b->mem = mem_b;
    a->registry = old.registry;
    a->prints = old.prints;
    b->prints = NULL;
    if (a->prints != NULL) memset(a->prints->of, 0, sizeof a->prints->of);
    a->arrangement += old.arrangement; /* no slot that was sought before is taken for one of these */
    a->numbering += old.numbering + 1;
    struct tly_clock clock = old.clock;
    tly_clock_observe(&clock, a->clock.last);
    a->clock = clock;
}

enum tly_result tly_install_finish(struct tly_install *install, struct tly_installed *report)
{
    *report = (struct tly_installed){0};
    install->staged->registry = install->map->registry;
    /* What is made from now on stands above all that was forgotten there, as what a member makes does by its number. */
    tly_clock_observe(&install->staged->clock, install->bounds.forgotten);
    enum tly_result result = tly_ormap_seal(install->map);
    note_who_waits(install);
    if (result == TLY_OK) result = refuse(install, report);
    if (result == TLY_OK) result = keep_what_stays(install, report);
    note_own(install, report);
    if (result == TLY_OK) result = take_own(install);
    if (result == TLY_OK) result = restart_own(install);
    if (result == TLY_OK) result = carry_over(install, report);
    if (result == TLY_OK) result = take_lives(install);
    if (result != TLY_OK) return result;
    drop_stale(install, report);
    drop_lives(install);
    swap(install->map, install->staged);
    return TLY_OK;
}

enum tly_result tly_install_whole(struct tly_install *install)
{
    assert(tly_ormap_origin(install->map) == 0);
    enum tly_result result = take_their_lives(install);
    if (result == TLY_OK) swap(install->map, install->staged);
    return result;
}
