#include "service/engine/follower.h"

#include "crdt/lives_inline.h"

#include <assert.h>

/* How long it is thought to be cut off from a life whose dots did not come to it another way. */
#define CUT_OFF_NS UINT64_C(30000000000)

void tly_follower_init(struct tly_follower *follower, const struct tly_mem *mem, struct tly_ormap *map)
{
    *follower = (struct tly_follower){.mem = mem, .map = map};
}

void tly_follower_fini(struct tly_follower *follower)
{
    if (follower->mem == NULL) return;
    tly_mem_free(follower->mem, follower->reach, follower->capacity * sizeof *follower->reach);
    tly_mem_free(follower->mem, follower->early, follower->early_capacity * sizeof *follower->early);
    tly_stream_free(follower->stream);
    *follower = (struct tly_follower){0};
}

/* How far it is with a life: not at all if the number was another's before. */
static struct tly_reach reach_of(const struct tly_follower *follower, size_t i, uint64_t origin)
{
    bool known = i < follower->lives && follower->reach[i].origin == origin;
    return known ? follower->reach[i] : (struct tly_reach){.origin = origin};
}

/* Where its word of that life stands, or would: they are in order of their lives, for a peer may make up thousands and say them again and again. */
static size_t early_at(const struct tly_follower *follower, uint64_t origin)
{
    size_t from = 0, to = follower->early_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (follower->early[middle].origin < origin)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static struct tly_mark *early_of(const struct tly_follower *follower, uint64_t origin)
{
    size_t at = early_at(follower, origin);
    bool is_there = at < follower->early_count && follower->early[at].origin == origin;
    return is_there ? &follower->early[at] : NULL;
}

/* What it says of a life that the map does not know yet, it does not say again. Of one that was dropped nothing comes any more. */
static enum tly_result note_early(struct tly_follower *follower, struct tly_mark mark)
{
    struct tly_mark *early = early_of(follower, mark.origin);
    if (early != NULL) {
        if (early->ts < mark.ts) early->ts = mark.ts;
        return TLY_OK;
    }
    bool is_lost = mark.ts <= tly_ormap_mark(follower->map, mark.origin);
    if (is_lost || follower->early_count == TLY_ORIGINS_MAX) return TLY_OK;
    early = tly_mem_reserve(follower->mem, follower->early, &follower->early_capacity,
                            follower->early_count + 1, sizeof *early);
    if (early == NULL) return TLY_NOMEM;
    follower->early = early;
    size_t at = early_at(follower, mark.origin);
    memmove(early + at + 1, early + at, (follower->early_count++ - at) * sizeof *early);
    early[at] = mark;
    return TLY_OK;
}

/* How far it is with a life that the map has come to know. */
static struct tly_reach reach_anew(struct tly_follower *follower, uint64_t origin)
{
    struct tly_reach reach = {.origin = origin};
    struct tly_mark *early = early_of(follower, origin);
    if (early == NULL) return reach;
    reach.word = reach.have = reach.sent = early->ts;
    size_t behind = (size_t)(follower->early + follower->early_count-- - early) - 1;
    memmove(early, early + 1, behind * sizeof *early);
    return reach;
}

static bool cover_lives_anew(struct tly_follower *follower)
{
    size_t lives = tly_ormap_lives(follower->map);
    if (follower->lives > lives) follower->lives = lives;
    for (size_t i = 0; i < follower->lives; i++) {
        uint64_t origin = tly_ormap_life(follower->map, i).origin;
        if (follower->reach[i].origin != origin) follower->reach[i] = reach_anew(follower, origin);
    }
    if (lives > follower->capacity) {
        void *reach = tly_mem_reserve(follower->mem, follower->reach, &follower->capacity, lives,
                                      sizeof *follower->reach);
        if (reach == NULL) return false;
        follower->reach = reach;
    }
    for (size_t i = follower->lives; i < lives; i++)
        follower->reach[i] = reach_anew(follower, tly_ormap_life(follower->map, i).origin);
    follower->lives = lives;
    follower->numbering = tly_ormap_numbering(follower->map);
    follower->rested_at = 0;
    return true;
}

/* Room for every life that the map knows, under the numbers that they have now. */
static inline bool cover_lives(struct tly_follower *follower)
{
    return follower->numbering == tly_ormap_numbering(follower->map) || cover_lives_anew(follower);
}

/* The number of the life, or follower->lives. */
static size_t life_of(const struct tly_follower *follower, uint64_t origin)
{
    size_t life = tly_ormap_life_number(follower->map, origin);
    return life < follower->lives && follower->reach[life].origin == origin ? life : follower->lives;
}

static void note_due(struct tly_follower *follower, uint64_t due)
{
    if (follower->soonest == 0 || due < follower->soonest) follower->soonest = due;
}

/* Nothing of the life is held back any more. */
static void settle(struct tly_reach *reach)
{
    reach->due = 0;
    reach->pinned = reach->goes_along = false;
}

/* Whether the follower lacks anything of a life. */
static inline bool lacks(const struct tly_follower *follower, size_t i)
{
    static const struct tly_reach nothing = {0};
    const struct tly_reach *reach = i < follower->lives ? &follower->reach[i] : &nothing;
    return tly_ormap_life_is_beyond(follower->map, i, reach->origin, reach->have, reach->sent);
}

enum tly_result tly_follower_has(struct tly_follower *follower, struct tly_mark mark, bool *had_it_first)
{
    if (had_it_first != NULL) *had_it_first = false;
    if (!cover_lives(follower)) return TLY_NOMEM;
    size_t number = life_of(follower, mark.origin);
    if (number == follower->lives) return note_early(follower, mark);
    struct tly_reach *reach = &follower->reach[number];
    bool has_more = reach->due != 0 && mark.ts > reach->sent;
    if (reach->word < mark.ts) reach->word = mark.ts;
    if (reach->have < mark.ts) reach->have = mark.ts;
    if (reach->sent < reach->have) reach->sent = reach->have;
    if (!lacks(follower, number))
        settle(reach);
    else if (had_it_first != NULL)
        *had_it_first = has_more;
    return TLY_OK;
}

void tly_follower_put_off(struct tly_follower *follower, uint64_t origin, uint64_t due)
{
    size_t number = life_of(follower, origin);
    if (number == follower->lives) return;
    struct tly_reach *reach = &follower->reach[number];
    if (reach->due < due) reach->due = due; /* later than was noted */
}

uint64_t tly_follower_word(const struct tly_follower *follower, uint64_t origin)
{
    size_t number = life_of(follower, origin);
    return number < follower->lives ? follower->reach[number].word : 0;
}

uint64_t tly_follower_handed(const struct tly_follower *follower, uint64_t origin)
{
    size_t number = life_of(follower, origin);
    return number < follower->lives ? follower->reach[number].have : 0;
}

void tly_follower_reset(struct tly_follower *follower)
{
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_reach *reach = &follower->reach[i];
        reach->have = reach->sent = reach->word = reach->passed = reach->until = 0;
        settle(reach); /* what was sent is sent again, and must not overtake what waits */
    }
    follower->early_count = 0;
    follower->in_round = follower->begun = false;
    follower->rested_at = 0;
}

/* Whether nothing was lacking and nothing has come since: what is asked most often, and costs least. */
static bool rests(const struct tly_follower *follower)
{
    return follower->rested_at == tly_ormap_moves(follower->map) &&
           follower->numbering == tly_ormap_numbering(follower->map);
}

void tly_follower_expects(struct tly_follower *follower, size_t life)
{
    if (!cover_lives(follower)) return; /* then nothing is held back either */
    if (follower->reach[life].due == 0 && lacks(follower, life)) follower->reach[life].pinned = true;
}

void tly_follower_learned(struct tly_follower *follower, size_t life, uint64_t due)
{
    if (!cover_lives(follower)) return; /* then it goes at once */
    struct tly_reach *reach = &follower->reach[life];
    if (reach->due == 0 || due < reach->due) reach->due = due;
    note_due(follower, reach->due);
}

void tly_follower_pin(struct tly_follower *follower, size_t life)
{
    if (cover_lives(follower)) follower->reach[life].pinned = true;
}

void tly_follower_go_along(struct tly_follower *follower, size_t life, bool own_may)
{
    if (!cover_lives(follower)) return;
    size_t own = tly_ormap_own_life(follower->map);
    if (own_may && (own >= follower->lives || lacks(follower, own)))
        follower->reach[life].pinned = true;
    else
        follower->reach[life].goes_along = true;
}

bool tly_follower_lacks(struct tly_follower *follower, size_t life)
{
    return !cover_lives(follower) || lacks(follower, life);
}

bool tly_follower_is_cut_off(const struct tly_follower *follower, size_t life, uint64_t now_ns)
{
    return life < follower->lives && now_ns < follower->reach[life].cut_off_until;
}

/* A row goes to it. From time to time it is left to come another way, or else nobody saw that it does again. */
static void note_way(struct tly_reach *reach, uint64_t now_ns)
{
    bool waited = reach->due != 0 && reach->due <= now_ns && now_ns != UINT64_MAX;
    if (waited && reach->cut_off_until <= now_ns) reach->cut_off_until = now_ns + CUT_OFF_NS;
}

uint64_t tly_follower_due_after(const struct tly_follower *follower)
{
    return follower->soonest != 0 ? follower->soonest : UINT64_MAX;
}

uint64_t tly_follower_next_due(struct tly_follower *follower)
{
    uint64_t next = UINT64_MAX;
    follower->soonest = 0;
    if (rests(follower)) return next;
    for (size_t i = 0; i < follower->lives && i < tly_ormap_lives(follower->map); i++)
        if (follower->reach[i].due != 0 && follower->reach[i].due < next && lacks(follower, i))
            next = follower->reach[i].due;
    if (next != UINT64_MAX) note_due(follower, next);
    return next;
}

/* `others`: marks of other lives than this node's own are about to move. */
static inline bool is_waiting(const struct tly_follower *follower, size_t i, uint64_t now_ns, bool others)
{
    if (i >= follower->lives) return false;
    const struct tly_reach *reach = &follower->reach[i];
    return reach->due > now_ns && !reach->pinned && !(reach->goes_along && others);
}

/* Whether the next round moves a mark of another life than this node's own, and something goes along with it. */
static bool moves_others(const struct tly_follower *follower, uint64_t now_ns)
{
    bool some_go_along = false;
    size_t own = tly_ormap_own_life(follower->map);
    for (size_t i = 0; i < follower->lives && !some_go_along; i++)
        some_go_along = follower->reach[i].goes_along && is_waiting(follower, i, now_ns, false);
    for (size_t i = 0; i < follower->lives && some_go_along; i++)
        if (i != own && !is_waiting(follower, i, now_ns, false) && lacks(follower, i)) return true;
    return false;
}

void tly_follower_rewind(struct tly_follower *follower, size_t life, uint64_t ts)
{
    if (life >= follower->lives) return;
    follower->rested_at = 0;
    struct tly_reach *reach = &follower->reach[life];
    bool within = ts > reach->sent && ts > reach->after && ts <= reach->until;
    if (within) reach->after = ts;
    bool split = reach->passed != 0; /* between two dots of one version: the second is not handed over */
    reach->passed = 0;
    if (reach->sent < ts) return;
    if (reach->until <= reach->sent) {
        reach->after = ts;
        reach->until = split ? 0 : reach->sent;
    }
    reach->sent = ts - 1 > reach->have ? ts - 1 : reach->have;
}

void tly_follower_reopen(struct tly_follower *follower, size_t life, uint64_t ts)
{
    if (life >= follower->lives) return;
    follower->rested_at = 0;
    struct tly_reach *reach = &follower->reach[life];
    if (reach->have >= ts) reach->have = ts - 1;
    if (reach->sent >= ts) reach->sent = ts - 1;
    if (reach->until >= ts) reach->until = 0;
}

enum tly_result tly_follower_resume(struct tly_follower *follower, struct tly_mark sent, uint64_t passed)
{
    if (!cover_lives(follower)) return TLY_NOMEM;
    size_t number = life_of(follower, sent.origin);
    if (number == follower->lives || sent.ts < follower->reach[number].sent) return TLY_OK;
    follower->reach[number].sent = sent.ts;
    follower->reach[number].passed = passed;
    return TLY_OK;
}

enum tly_result tly_follower_catch_up(struct tly_follower *follower)
{
    if (!cover_lives(follower)) return TLY_NOMEM;
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        uint64_t sent = life.last > life.mark ? life.last : life.mark;
        follower->reach[i] =
            (struct tly_reach){.origin = life.origin, .have = life.mark, .sent = sent, .told = life.mark};
    }
    return TLY_OK;
}

bool tly_follower_is_due(const struct tly_follower *follower, uint64_t now_ns)
{
    if (follower->in_round) return true;
    if (rests(follower)) return false;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++)
        if (!is_waiting(follower, i, now_ns, false) && lacks(follower, i)) return true;
    return false;
}

bool tly_follower_is_behind(const struct tly_follower *follower)
{
    return tly_follower_is_due(follower, UINT64_MAX);
}

uint64_t tly_follower_surely_has(const struct tly_follower *follower, uint64_t own)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.state >= TLY_LIFE_SETTLED || life.origin == own) continue;
        uint64_t word = reach_of(follower, i, life.origin).word;
        if (word < life.last && word < least) least = word;
    }
    return least;
}

uint64_t tly_follower_lag(const struct tly_follower *follower)
{
    uint64_t lag = 0;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.state != TLY_LIFE_RETIRED)
            lag += tly_ormap_newer(follower->map, i, reach_of(follower, i, life.origin).word);
    }
    return lag;
}

/* The part that is being written: for a table, or on its own as in version 1. */
struct sheet {
    struct tly_follower *follower;
    const struct tly_part_wish *wish;
    const struct tly_pens *pens;
    bool others; /* it moves marks of other lives than this node's own */
};

static void begin_sheet(const struct sheet *sheet)
{
    const struct tly_pens *pens = sheet->pens;
    if (sheet->follower->stream != NULL)
        tly_parts_begin(pens->parts, sheet->follower->stream, pens->names);
    else
        tly_round_writer_clear(pens->writer);
}

static bool add_row(const struct sheet *sheet, const struct tly_scanned *row)
{
    const struct tly_pens *pens = sheet->pens;
    if (sheet->follower->stream != NULL)
        return tly_parts_add(pens->parts, row->key, row->strategy, &row->dot);
    return tly_round_writer_add(pens->writer, row->key, row->strategy, &row->dot);
}

static size_t bytes_of(const struct sheet *sheet)
{
    return sheet->follower->stream != NULL ? tly_parts_bytes(sheet->pens->parts)
                                           : tly_round_writer_bytes(sheet->pens->writer);
}

static size_t rows_of(const struct sheet *sheet)
{
    return sheet->follower->stream != NULL ? tly_parts_rows(sheet->pens->parts)
                                           : sheet->pens->writer->row_count;
}

static bool has_failed(const struct sheet *sheet)
{
    return sheet->follower->stream != NULL ? tly_parts_failed(sheet->pens->parts)
                                           : sheet->pens->writer->rows.result != TLY_OK;
}

/* Whether a record has been handed over ahead; then the scan goes on behind all that was. */
static bool passes_over(struct tly_reach *reach, uint64_t ts)
{
    if (reach->until <= reach->sent || ts <= reach->after || ts > reach->until) return false;
    reach->sent = reach->until;
    reach->until = 0;
    return true;
}

/* Bytes of a row beside its key and value, at most. */
#define ROW_BYTES 48

/* Whether the part is full before this row. One row may be larger than any part should be. */
static bool is_full(const struct sheet *sheet, const struct tly_scanned *row)
{
    const struct tly_only *only = sheet->wish->only;
    size_t bytes = bytes_of(sheet), most = sheet->wish->rows_bytes_max;
    if (bytes >= most || (only != NULL && only->looks == 0)) return true;
    return rows_of(sheet) > 0 && most - bytes < row->key.n + row->dot.bytes.n + ROW_BYTES;
}

static bool is_wanted(const struct sheet *sheet, struct tly_slice key)
{
    struct tly_only *only = sheet->wish->only;
    if (only == NULL) return true;
    if (only->looks > 0) only->looks--;
    return only->wants(only->context, key);
}

/* Writes the rows of one life; false: the part is full. */
static bool write_life(const struct sheet *sheet, size_t life)
{
    struct tly_follower *follower = sheet->follower;
    struct tly_reach *reach = &follower->reach[life];
    size_t skip = reach->passed, nth = 0;
    reach->passed = 0;
    if (reach->sent >= tly_ormap_life_last(follower->map, life)) return true;
    struct tly_scan scan = tly_scan_of(follower->map, life, reach->sent);
    for (struct tly_scanned scanned; tly_scan_next(follower->map, &scan, &scanned);) {
        uint64_t ts = scanned.dot.version.ts;
        if (passes_over(reach, ts)) {
            scan = tly_scan_of(follower->map, life, reach->sent);
            skip = nth = 0;
            continue;
        }
        nth = ts == reach->sent ? nth + 1 : 1;
        if (nth <= skip) {
            reach->sent = ts;
            continue;
        }
        skip = 0;
        /* A part seldom ends between two records of one version: only if they are forged and do not fit together. */
        if (ts != reach->sent && is_full(sheet, &scanned)) return false;
        if (is_wanted(sheet, scanned.key) && !add_row(sheet, &scanned)) {
            if (ts == reach->sent) reach->passed = nth - 1;
            if (ts == reach->sent) reach->sent = ts - 1;
            return false;
        }
        note_way(reach, sheet->wish->now_ns);
        reach->sent = ts;
    }
    /* Dots that were beyond the mark and are gone leave records behind: they have been looked at, too. */
    uint64_t last = tly_ormap_life_last(follower->map, life);
    if (reach->sent < last) reach->sent = last;
    return true;
}

static inline bool waits(const struct sheet *sheet, size_t life)
{
    return is_waiting(sheet->follower, life, sheet->wish->now_ns, sheet->others);
}

/* Writes rows until the part is full (false) or every life that is wanted and due has been scanned to its end (true). */
static bool write_rows(const struct sheet *sheet)
{
    const struct tly_follower *follower = sheet->follower;
    uint64_t only = sheet->wish->only_origin;
    for (size_t i = 0; i < follower->lives; i++) {
        uint64_t origin = follower->reach[i].origin;
        if (tly_ormap_life_is_retired(follower->map, i) || waits(sheet, i)) continue;
        if ((only != 0 && origin != only) || origin == sheet->wish->not_origin) continue;
        if (!write_life(sheet, i)) return false;
    }
    return true;
}

struct mark_list {
    struct tly_mark *marks;
    size_t count, capacity;
};

static bool list_add(struct mark_list *list, const struct tly_mem *mem, struct tly_mark mark)
{
    void *marks = tly_mem_reserve(mem, list->marks, &list->capacity, list->count + 1, sizeof *list->marks);
    if (marks == NULL) return false;
    list->marks = marks;
    list->marks[list->count++] = mark;
    return true;
}

static void list_fini(struct mark_list *list, const struct tly_mem *mem)
{
    tly_mem_free(mem, list->marks, list->capacity * sizeof *list->marks);
}

/*
 * Start marks: what the follower must have for the end marks to be true. With a single part only lives whose mark the round
 * moves need one; at the beginning of a long round any life may still move.
 */
static bool list_start(const struct tly_follower *follower, bool single, struct mark_list *list)
{
    for (size_t i = 0; i < follower->lives; i++) {
        const struct tly_reach *reach = &follower->reach[i];
        if (reach->have == 0 || (single && tly_ormap_life_mark(follower->map, i) <= reach->have)) continue;
        if (!list_add(list, follower->mem, (struct tly_mark){reach->origin, reach->have})) return false;
    }
    return true;
}

/* Whether the round that ends now moves the mark of a life. */
static inline bool is_moved(const struct sheet *sheet, size_t i)
{
    const struct tly_follower *follower = sheet->follower;
    return tly_ormap_life_mark(follower->map, i) > follower->reach[i].have && !waits(sheet, i);
}

static bool list_end(const struct sheet *sheet, struct mark_list *list)
{
    const struct tly_follower *follower = sheet->follower;
    for (size_t i = 0; i < follower->lives; i++) {
        if (!is_moved(sheet, i)) continue;
        struct tly_mark mark = {follower->reach[i].origin, tly_ormap_life_mark(follower->map, i)};
        if (!list_add(list, follower->mem, mark)) return false;
    }
    return true;
}

/* Our marks that the follower has not heard, so many at most; they are told from now on. */
static bool list_told(struct tly_follower *follower, size_t most, struct mark_list *list)
{
    for (size_t i = 0; i < follower->lives && list->count < most; i++) {
        struct tly_reach *reach = &follower->reach[i];
        uint64_t mark = tly_ormap_life_mark(follower->map, i);
        if (mark <= reach->told) continue;
        if (!list_add(list, follower->mem, (struct tly_mark){reach->origin, mark})) return false;
        reach->told = mark;
    }
    return true;
}

/* A mark of a life that is named for the first time: its origin and its time. */
#define MARK_BYTES 20

size_t tly_follower_marks_bytes(const struct tly_follower *follower)
{
    bool starts = !follower->in_round && (follower->stream == NULL || !follower->begun);
    size_t marks = 0;
    for (size_t i = 0; i < tly_ormap_lives(follower->map); i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        uint64_t have = reach_of(follower, i, life.origin).have;
        if (starts && have != 0) marks++; /* if it turns out to be long */
        if (life.mark > have) marks++;
    }
    return marks * MARK_BYTES;
}

size_t tly_follower_told_bytes(const struct tly_follower *follower, size_t most)
{
    size_t marks = 0;
    for (size_t i = 0; i < tly_ormap_lives(follower->map) && marks < most; i++) {
        struct tly_life life = tly_ormap_life(follower->map, i);
        if (life.mark > reach_of(follower, i, life.origin).told) marks++;
    }
    return marks * MARK_BYTES;
}

static void look_whether_it_rests(struct tly_follower *follower)
{
    follower->rested_at = tly_ormap_moves(follower->map);
    for (size_t i = 0; i < follower->lives && follower->rested_at != 0; i++)
        if (lacks(follower, i)) follower->rested_at = 0;
}

/* The round is handed over: what it ends at is what the follower has and what it has heard of us. */
static void finish_round(const struct sheet *sheet)
{
    struct tly_follower *follower = sheet->follower;
    for (size_t i = 0; i < follower->lives; i++) {
        struct tly_reach *reach = &follower->reach[i];
        if (waits(sheet, i)) continue;
        uint64_t mark = tly_ormap_life_mark(follower->map, i);
        if (mark > reach->have) reach->have = reach->told = mark;
        if (reach->sent < reach->have) reach->sent = reach->have;
        settle(reach);
    }
    look_whether_it_rests(follower);
}

/* The lists that a part may carry. */
struct part_lists {
    struct mark_list told, start, end;
};

static struct tly_mark_list as_list(const struct mark_list *list)
{
    return (struct tly_mark_list){list->marks, list->count};
}

static_assert(TLY_PART_FIRST + 0 == TLY_ROUND_FIRST + 0 && TLY_PART_LAST + 0 == TLY_ROUND_LAST + 0,
              "one pair of flags serves both");

static void end_sheet(const struct sheet *sheet, unsigned flags, const struct part_lists *lists,
                      struct tly_buf *out)
{
    struct tly_follower *follower = sheet->follower;
    if (follower->stream == NULL) {
        tly_round_writer_finish(sheet->pens->writer, flags, as_list(&lists->start), as_list(&lists->end),
                                out);
        return;
    }
    bool starts = (flags & TLY_PART_FIRST) != 0 && !follower->begun;
    struct tly_part_head head = {.flags = flags | (starts ? TLY_PART_START : 0u),
                                 .told = as_list(&lists->told),
                                 .start = as_list(&lists->start),
                                 .end = as_list(&lists->end)};
    tly_parts_end(sheet->pens->parts, &head, out);
    if (starts) follower->begun = true;
}

/* Rows, lists and end of one part; false: no memory. */
static bool write_part(struct sheet *sheet, struct part_lists *lists, struct tly_handed *handed,
                       struct tly_buf *out)
{
    struct tly_follower *follower = sheet->follower;
    bool first = !follower->in_round;
    if (!cover_lives(follower)) return false;
    begin_sheet(sheet);
    sheet->others = moves_others(follower, sheet->wish->now_ns);
    handed->full = !write_rows(sheet);
    handed->last = !handed->full && sheet->wish->only_origin == 0;
    handed->rows = rows_of(sheet);
    if (has_failed(sheet)) return false;
    if (handed->rows == 0 && !handed->last) return true;
    if (first && !list_start(follower, handed->last, &lists->start)) return false;
    if (handed->last && !list_end(sheet, &lists->end)) return false;
    if (handed->last) finish_round(sheet); /* what it moves needs no telling */
    if (follower->stream != NULL && !list_told(follower, sheet->wish->tell, &lists->told)) return false;
    end_sheet(sheet, (first ? TLY_ROUND_FIRST : 0u) | (handed->last ? TLY_ROUND_LAST : 0u), lists, out);
    follower->in_round = !handed->last;
    return true;
}

struct tly_handed tly_follower_next(struct tly_follower *follower, const struct tly_part_wish *wish,
                                    const struct tly_pens *pens, struct tly_buf *out)
{
    struct tly_handed handed = {0};
    struct part_lists lists = {0};
    struct sheet sheet = {follower, wish, pens, false};
    if (!write_part(&sheet, &lists, &handed, out)) tly_buf_fail(out, TLY_NOMEM);
    list_fini(&lists.told, follower->mem);
    list_fini(&lists.start, follower->mem);
    list_fini(&lists.end, follower->mem);
    return handed;
}

/* ---- what goes ahead ---- */

/* Behind the last that went ahead, or would have: 0 when the scan is there already. */
static uint64_t ahead_of(const struct tly_reach *reach)
{
    return reach->until > reach->sent ? reach->until : 0;
}

void tly_follower_split(struct tly_follower *follower, uint64_t origin)
{
    if (!cover_lives(follower)) return; /* then all goes in its order */
    size_t life = life_of(follower, origin);
    if (life == follower->lives || ahead_of(&follower->reach[life]) != 0) return;
    follower->reach[life].after = follower->reach[life].until = tly_ormap_life(follower->map, life).last;
}

bool tly_follower_is_ahead(const struct tly_follower *follower, uint64_t origin)
{
    size_t life = life_of(follower, origin);
    if (!follower->in_round || life == follower->lives) return false;
    uint64_t ahead = ahead_of(&follower->reach[life]);
    return ahead != 0 && tly_ormap_life(follower->map, life).last > ahead;
}

/* Writes what is beyond *until in a life, and moves it; false: the part is full. */
static bool write_beyond(const struct sheet *sheet, size_t life, uint64_t *until)
{
    const struct tly_follower *follower = sheet->follower;
    struct tly_scan scan = tly_scan_of(follower->map, life, *until);
    for (struct tly_scanned scanned; tly_scan_next(follower->map, &scan, &scanned);) {
        if (is_full(sheet, &scanned) || !add_row(sheet, &scanned)) return false;
        *until = scanned.dot.version.ts;
    }
    return true;
}

static struct tly_handed hand_beyond(const struct sheet *sheet, size_t life, uint64_t *until,
                                     struct tly_buf *out)
{
    struct tly_follower *follower = sheet->follower;
    struct tly_handed handed = {0};
    struct part_lists lists = {0};
    begin_sheet(sheet);
    handed.full = !write_beyond(sheet, life, until);
    handed.rows = rows_of(sheet);
    bool failed = has_failed(sheet);
    if (!failed && follower->stream != NULL) failed = !list_told(follower, sheet->wish->tell, &lists.told);
    if (failed)
        tly_buf_fail(out, TLY_NOMEM);
    else if (handed.rows > 0)
        end_sheet(sheet, 0, &lists, out);
    list_fini(&lists.told, follower->mem);
    return handed;
}

struct tly_handed tly_follower_go_ahead(struct tly_follower *follower, const struct tly_part_wish *wish,
                                        const struct tly_pens *pens, struct tly_buf *out)
{
    struct sheet sheet = {follower, wish, pens, false};
    if (!tly_follower_is_ahead(follower, wish->only_origin)) return (struct tly_handed){0};
    size_t life = life_of(follower, wish->only_origin);
    struct tly_reach *reach = &follower->reach[life];
    struct tly_handed handed = hand_beyond(&sheet, life, &reach->until, out);
    /* What another life's dot took the place of meanwhile is not there to go. */
    if (!handed.full) reach->until = tly_ormap_life(follower->map, life).last;
    return handed;
}

struct tly_handed tly_follower_news(struct tly_follower *follower, struct tly_mark *until,
                                    const struct tly_part_wish *wish, const struct tly_pens *pens,
                                    struct tly_buf *out)
{
    struct sheet sheet = {follower, wish, pens, false};
    assert(follower->stream != NULL);
    if (!cover_lives(follower)) tly_buf_fail(out, TLY_NOMEM);
    size_t life = life_of(follower, until->origin);
    if (life == follower->lives || out->result != TLY_OK) return (struct tly_handed){0};
    return hand_beyond(&sheet, life, &until->ts, out);
}

size_t tly_follower_ack(struct tly_follower *follower, size_t most, const struct tly_pens *pens,
                        struct tly_buf *out)
{
    struct mark_list told = {0};
    if (!cover_lives(follower) || !list_told(follower, most, &told)) {
        tly_buf_fail(out, TLY_NOMEM);
    } else if (told.count > 0 && follower->stream == NULL) {
        tly_ack_put(out, told.marks, told.count);
    } else if (told.count > 0) {
        struct tly_part_head head = {.told = as_list(&told)};
        tly_parts_begin(pens->parts, follower->stream, pens->names);
        tly_parts_end(pens->parts, &head, out);
    }
    list_fini(&told, follower->mem);
    return told.count;
}
