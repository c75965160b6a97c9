/*
 * escrow: rights, which only their holder may give away or use up.  One dot is one fact, written by the life that it binds; nobody
 * can say of another that it gave.  The words of a PUT are (window, epoch, peer, units):
 *
 *     window                   epoch    peer          units
 *     a window (ms, calendar)  of it    a life        its origin has given that life so many units of that epoch, in all
 *     a window                 of it    0             a wish: its origin would like to hold so many, in all
 *     TLY_RIGHTS_STANDING      from ms  a life        its origin has given that life a stretch of the line, for windows from then on
 *     TLY_RIGHTS_TAKEN         from ms  a life, or 0  its origin has taken a stretch over from a life that ended; 0: nobody's yet
 *     TLY_RIGHTS_VOTE          0        a life        its origin lets that life take what is nobody's yet
 *     TLY_RIGHTS_UP, _DOWN     of it    a life, or 0  as of a window, of what a counter with bounds may rise, or fall, in this generation
 *     TLY_RIGHTS_TOOK_UP, …    of it    a life, or 0  its origin has taken so many over from a life that ended, in all; 0: nobody's
 *
 * The line is what every window is divided by: whoever holds a stretch of it holds the units of every limit that lie on it.  So
 * the shares of all holders add up to the limit, to the unit, however the line is cut.
 */
#ifndef TALLY_CRDT_ESCROW_H
#define TALLY_CRDT_ESCROW_H

#include "crdt/strategy.h"

enum { TLY_RIGHTS_WINDOW, TLY_RIGHTS_EPOCH, TLY_RIGHTS_PEER, TLY_RIGHTS_UNITS };

#define TLY_RIGHTS_STANDING UINT64_C(0)
#define TLY_RIGHTS_TAKEN UINT64_MAX
#define TLY_RIGHTS_VOTE (UINT64_MAX - 1)

#define TLY_RIGHTS_UP (UINT64_MAX - 2)
#define TLY_RIGHTS_DOWN (UINT64_MAX - 3)
#define TLY_RIGHTS_TOOK_UP (UINT64_MAX - 4)
#define TLY_RIGHTS_TOOK_DOWN (UINT64_MAX - 5)

/* The line goes from 0 up to this. */
#define TLY_LINE_END UINT32_MAX
/* Stretches into which it may be cut; one that is cut further is nobody's. */
#define TLY_LINE_PIECES_MAX 1024

/* From begin up to end, without it. A value. */
struct tly_stretch {
    uint32_t begin, end;
};

static inline uint64_t tly_stretch_pack(struct tly_stretch stretch)
{
    return (uint64_t)stretch.begin << 32 | stretch.end;
}

static inline struct tly_stretch tly_stretch_of(uint64_t packed)
{
    return (struct tly_stretch){(uint32_t)(packed >> 32), (uint32_t)packed};
}

/* How many of so many units lie on it. */
uint64_t tly_stretch_units(struct tly_stretch stretch, uint64_t limit);

/* Whether a dot is about the line: a standing gift, or something taken over. */
bool tly_rights_is_standing(const struct tly_dot *dot);

struct tly_piece {
    struct tly_stretch stretch;
    uint64_t life;     /* who holds it; 0: nobody */
    uint64_t since_ms; /* by a fact for windows from then on */
};

/*
 * Who holds what of the line in a window that starts at that ms, by these dots of one entry, ascending by version. The pieces
 * are in order, without gaps. A fact counts only if whoever gave held that point then. 0: nobody holds anything, for the entry holds
 * a REMOVE, or the line is cut too small.
 */
size_t tly_line_read(const struct tly_dot *dots, size_t count, uint64_t start_ms,
                     struct tly_piece pieces[TLY_LINE_PIECES_MAX]);

/* What moved in one epoch of one window, as one life sees it of another or itself. */
struct tly_moved {
    uint64_t in, out; /* units that came, and that went */
    uint64_t wish;    /* units that it would like to hold */
    uint64_t wish_ts; /* of the version that says so */
};

/* Of these dots of one entry. Sums are held at the end of their range. */
struct tly_moved tly_rights_moved(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                                  uint64_t life);
/* What `from` has given `to` in that epoch. */
uint64_t tly_rights_given(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                          uint64_t from, uint64_t to);

/* ---- counters, whose rights never end: at.window is TLY_RIGHTS_UP or TLY_RIGHTS_DOWN, at.epoch the generation ---- */

struct tly_tenure {
    int64_t
        rights; /* by how much it may have raised, or lowered, the counter in all; INT64_MIN: it cannot be told */
    uint64_t in;      /* of that, what others gave it */
    uint64_t wish;    /* what it would like to be given, in all */
    uint64_t wish_ts; /* of the version that says so */
};

/* What a life holds. It may be less than nothing: who lowered a counter may give away that it can rise again. */
struct tly_tenure tly_rights_tenure(const struct tly_dot *dots, size_t count, const struct tly_moment *at,
                                    uint64_t life);
/* What `by` took over from `from`, in all; from 0: what was nobody's. */
uint64_t tly_rights_took(const struct tly_dot *dots, size_t count, const struct tly_moment *at, uint64_t by,
                         uint64_t from);
/* What anybody took that was nobody's: all rights that there are. */
uint64_t tly_rights_born(const struct tly_dot *dots, size_t count, const struct tly_moment *at);

#endif
