#include "crdt/escrow.h"

#include "crdt/epoch_sum.h"

__extension__ typedef unsigned __int128 wide;

bool tly_rights_is_standing(const struct tly_dot *dot)
{
    uint64_t window = dot->num[TLY_RIGHTS_WINDOW];
    return dot->op == TLY_PUT && (window == TLY_RIGHTS_STANDING || window == TLY_RIGHTS_TAKEN);
}

static bool is_move(const struct tly_dot *dot)
{
    return dot->op == TLY_PUT && !tly_rights_is_standing(dot) &&
           dot->num[TLY_RIGHTS_WINDOW] != TLY_RIGHTS_VOTE;
}

/* Of a counter, whose rights end with no window. */
static bool is_lasting(uint64_t window)
{
    return window >= TLY_RIGHTS_TOOK_DOWN && window <= TLY_RIGHTS_UP;
}

static enum tly_result check(const struct tly_dot *put)
{
    uint64_t window = put->num[TLY_RIGHTS_WINDOW], peer = put->num[TLY_RIGHTS_PEER],
             units = put->num[TLY_RIGHTS_UNITS];
    if (window == TLY_RIGHTS_VOTE)
        return peer != 0 && units == 0 && put->num[TLY_RIGHTS_EPOCH] == 0 ? TLY_OK : TLY_BAD_PAYLOAD;
    if (tly_rights_is_standing(put)) {
        struct tly_stretch stretch = tly_stretch_of(units);
        if (stretch.begin >= stretch.end) return TLY_BAD_PAYLOAD;
        return peer != 0 || window == TLY_RIGHTS_TAKEN ? TLY_OK : TLY_BAD_PAYLOAD;
    }
    bool is_window = tly_window_is_good(window) || is_lasting(window);
    return units <= INT64_MAX && is_window ? TLY_OK : TLY_BAD_PAYLOAD;
}

static int word_compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/*
 * Of what one life gave another the newest sum says all; of its votes the last. Facts about the line all stand: who held a point
 * before is what makes the next gift of it true.
 */
static bool dominates(const struct tly_dot *a, const struct tly_dot *b)
{
    int version = tly_version_compare(a->version, b->version);
    bool same_window = a->num[TLY_RIGHTS_WINDOW] == b->num[TLY_RIGHTS_WINDOW];
    if (version < 0 || !same_window || a->version.origin != b->version.origin) return false;
    if (tly_rights_is_standing(a)) return false;
    int peer = word_compare(a->num[TLY_RIGHTS_PEER], b->num[TLY_RIGHTS_PEER]);
    if (!is_move(a)) return version > 0 || peer > 0;
    int epoch = word_compare(a->num[TLY_RIGHTS_EPOCH], b->num[TLY_RIGHTS_EPOCH]);
    if (peer != 0 || epoch < 0) return false;
    return version > 0 || epoch > 0 || a->num[TLY_RIGHTS_UNITS] > b->num[TLY_RIGHTS_UNITS];
}

static bool is_of(const struct tly_dot *dot, const struct tly_moment *at)
{
    return is_move(dot) && dot->num[TLY_RIGHTS_WINDOW] == at->window &&
           dot->num[TLY_RIGHTS_EPOCH] == at->epoch;
}

static int64_t held(wide sum)
{
    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

/* The units that changed hands in that epoch. */
static void read(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                 struct tly_value *value)
{
    wide sum = 0;
    *value = (struct tly_value){.epoch = at->epoch};
    for (size_t i = 0; i < count; i++) {
        if (dots[i].op == TLY_REMOVE) continue;
        value->present = true;
        if (is_of(&dots[i], at) && dots[i].num[TLY_RIGHTS_PEER] != 0) sum += dots[i].num[TLY_RIGHTS_UNITS];
    }
    value->count = held(sum);
}

static bool expired(const struct tly_dot *put, uint64_t now_ms, uint64_t skew_ms)
{
    if (!is_move(put) || is_lasting(put->num[TLY_RIGHTS_WINDOW])) return false;
    return tly_window_expired(put->num[TLY_RIGHTS_WINDOW], put->num[TLY_RIGHTS_EPOCH], now_ms, skew_ms);
}

/* ---- one epoch of a window ---- */

static void add(uint64_t *sum, uint64_t units)
{
    *sum = (uint64_t)held((wide)*sum + units);
}

/* A REMOVE takes back what was known to be given: nothing that was can be told from what was not, so nothing came and all went. */
static bool has_remove(const struct tly_dot *dots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_REMOVE) return true;
    return false;
}

struct tly_moved tly_rights_moved(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                                  uint64_t life)
{
    struct tly_moved moved = {0};
    if (has_remove(dots, count)) return (struct tly_moved){.out = INT64_MAX};
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        uint64_t to = dot->num[TLY_RIGHTS_PEER], units = dot->num[TLY_RIGHTS_UNITS];
        bool is_own = dot->version.origin == life;
        /* Whoever has gone on to a later epoch no longer knows what it gave in this one. */
        if (is_own && is_move(dot) && dot->num[TLY_RIGHTS_WINDOW] == at->window &&
            dot->num[TLY_RIGHTS_EPOCH] > at->epoch)
            moved.out = INT64_MAX;
        if (!is_of(dot, at)) continue;
        if (to == 0) {
            if (!is_own || units <= moved.wish) continue;
            moved.wish = units;
            moved.wish_ts = dot->version.ts;
        } else if (is_own) {
            add(&moved.out, units);
        } else if (to == life) {
            add(&moved.in, units);
        }
    }
    return moved;
}

uint64_t tly_rights_given(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                          uint64_t from, uint64_t to)
{
    uint64_t given = 0;
    for (size_t i = 0; i < count; i++)
        if (is_of(&dots[i], at) && dots[i].version.origin == from && dots[i].num[TLY_RIGHTS_PEER] == to &&
            dots[i].num[TLY_RIGHTS_UNITS] > given)
            given = dots[i].num[TLY_RIGHTS_UNITS];
    return given;
}

/* ---- counters ---- */

static uint64_t took_of(uint64_t window)
{
    return window == TLY_RIGHTS_UP ? TLY_RIGHTS_TOOK_UP : TLY_RIGHTS_TOOK_DOWN;
}

struct tly_tenure tly_rights_tenure(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                                    uint64_t life)
{
    struct tly_moved moved = tly_rights_moved(dots, count, at, life);
    struct tly_tenure tenure = {.in = moved.in, .wish = moved.wish, .wish_ts = moved.wish_ts};
    __extension__ __int128 rights = (__int128)moved.in - (__int128)moved.out;
    for (size_t i = 0; i < count; i++) {
        const struct tly_dot *dot = &dots[i];
        bool counts = dot->op == TLY_PUT && dot->num[TLY_RIGHTS_WINDOW] == took_of(at->window) &&
                      dot->num[TLY_RIGHTS_EPOCH] == at->epoch;
        if (!counts) continue;
        if (dot->version.origin == life) rights += dot->num[TLY_RIGHTS_UNITS];
        if (dot->num[TLY_RIGHTS_PEER] == life) rights -= dot->num[TLY_RIGHTS_UNITS];
    }
    bool is_unknown = moved.out == INT64_MAX || rights < INT64_MIN;
    tenure.rights = is_unknown ? INT64_MIN : rights > INT64_MAX ? INT64_MAX : (int64_t)rights;
    return tenure;
}

uint64_t tly_rights_took(const struct tly_dot *dots, size_t count, const struct tly_moment *at, uint64_t by,
                         uint64_t from)
{
    struct tly_moment took = {.window = took_of(at->window), .epoch = at->epoch};
    return tly_rights_given(dots, count, &took, by, from);
}

uint64_t tly_rights_born(const struct tly_dot *dots, size_t count, const struct tly_moment *at)
{
    uint64_t born = 0;
    for (size_t i = 0; i < count; i++)
        if (dots[i].op == TLY_PUT && dots[i].num[TLY_RIGHTS_WINDOW] == took_of(at->window) &&
            dots[i].num[TLY_RIGHTS_EPOCH] == at->epoch && dots[i].num[TLY_RIGHTS_PEER] == 0)
            add(&born, dots[i].num[TLY_RIGHTS_UNITS]);
    return born;
}

/* ---- the line ---- */

uint64_t tly_stretch_units(struct tly_stretch stretch, uint64_t limit)
{
    return (uint64_t)((wide)limit * stretch.end / TLY_LINE_END - (wide)limit * stretch.begin / TLY_LINE_END);
}

struct fact {
    struct tly_stretch stretch;
    uint64_t from, to, since_ms;
};

static struct fact fact_of(const struct tly_dot *dot)
{
    bool is_taken = dot->num[TLY_RIGHTS_WINDOW] == TLY_RIGHTS_TAKEN;
    uint64_t origin = dot->version.origin, peer = dot->num[TLY_RIGHTS_PEER];
    return (struct fact){.stretch = tly_stretch_of(dot->num[TLY_RIGHTS_UNITS]),
                         .from = is_taken ? peer : origin,
                         .to = is_taken ? origin : peer,
                         .since_ms = dot->num[TLY_RIGHTS_EPOCH]};
}

static bool meets(const struct tly_piece *piece, const struct fact *fact)
{
    return piece->life == fact->from && piece->stretch.begin < fact->stretch.end &&
           fact->stretch.begin < piece->stretch.end;
}

static size_t cut(struct tly_piece *pieces, size_t count, size_t i, uint32_t at)
{
    if (at <= pieces[i].stretch.begin || at >= pieces[i].stretch.end) return count;
    memmove(&pieces[i + 1], &pieces[i], (count - i) * sizeof *pieces);
    pieces[i].stretch.end = pieces[i + 1].stretch.begin = at;
    return count + 1;
}

/* Of a piece what the fact is about passes on; 0: too many pieces. */
static size_t pass_on(struct tly_piece *pieces, size_t count, const struct fact *fact)
{
    for (size_t i = 0; i < count; i++) {
        if (!meets(&pieces[i], fact)) continue;
        if (count + 2 > TLY_LINE_PIECES_MAX) return 0;
        size_t before = count;
        count = cut(pieces, count, i, fact->stretch.begin);
        if (count > before) continue; /* the second half comes next */
        count = cut(pieces, count, i, fact->stretch.end);
        pieces[i].life = fact->to;
        pieces[i].since_ms = fact->since_ms;
    }
    return count;
}

/* Neighbours of one holder are one piece, as of the later fact: else a line that is shared out again and again falls to dust. */
static size_t merge(struct tly_piece *pieces, size_t count)
{
    size_t kept = 0;
    for (size_t i = 1; i < count; i++) {
        struct tly_piece *last = &pieces[kept];
        if (pieces[i].life != last->life) {
            pieces[++kept] = pieces[i];
            continue;
        }
        last->stretch.end = pieces[i].stretch.end;
        if (pieces[i].since_ms > last->since_ms) last->since_ms = pieces[i].since_ms;
    }
    return count > 0 ? kept + 1 : 0;
}

size_t tly_line_read(const struct tly_dot *dots, size_t count, uint64_t start_ms,
                     struct tly_piece pieces[TLY_LINE_PIECES_MAX])
{
    size_t n = 1;
    pieces[0] = (struct tly_piece){.stretch = {0, TLY_LINE_END}};
    if (has_remove(dots, count)) return 0;
    for (size_t i = 0; i < count && n > 0; i++) {
        if (!tly_rights_is_standing(&dots[i]) || dots[i].num[TLY_RIGHTS_EPOCH] > start_ms) continue;
        struct fact fact = fact_of(&dots[i]);
        n = merge(pieces, pass_on(pieces, n, &fact));
    }
    return n;
}

static const struct tly_strategy strategy = {
    .name = "escrow",
    .id = TLY_ESCROW,
    .nums = 4,
    .check = check,
    .dominates = dominates,
    .read = read,
    .expired = expired,
};

const struct tly_strategy *tly_escrow(void)
{
    return &strategy;
}
