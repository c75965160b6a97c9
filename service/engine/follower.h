/*
 * A follower of the change feed: how far one reader of this node's log has come, life by life, and the production of the
 * next part of its round.  Peers and the disk are followers alike.
 *
 * Per life:   have   what the follower is known to hold: its own word, or the end of a round it was handed
 *             sent   how far the round under way has scanned (have <= sent)
 *             told   our own mark as it last heard it
 *             due    when what came from elsewhere goes on to it, which may have it by its own link before
 *
 * A round ends only when the scan has caught up with the log, so every dot that stands beyond `have` at that moment has
 * been handed over, and the marks of that moment are true for whoever took all parts.
 */
#ifndef TALLY_SERVICE_ENGINE_FOLLOWER_H
#define TALLY_SERVICE_ENGINE_FOLLOWER_H

#include "crdt/ormap.h"
#include "wire/stream.h"

struct tly_reach {
    uint64_t origin; /* the number may be given to another life */
    uint64_t have, sent, told;
    uint64_t passed; /* of the version behind `sent` so many dots are handed over: two were forged with one */
    uint64_t due;    /* mono, ns; 0: at once */
    uint64_t after,
        until; /* what stands between (the latter included) is handed over already; void once sent is there */
    bool pinned; /* something of it must not be overtaken by marks: it does not wait, whatever is due when */
    bool
        goes_along; /* … by marks of lives that are not this node's own: it waits no longer than any of these */
    uint64_t word;          /* its own word alone: what it has acknowledged */
    uint64_t cut_off_until; /* mono, ns */
};

struct tly_follower {
    const struct tly_mem *mem; /* both borrowed */
    struct tly_ormap *map;
    struct tly_reach *reach; /* by number of life in the map */
    size_t lives, capacity;
    struct tly_mark *early; /* its word of lives that the map does not know yet */
    size_t early_count, early_capacity;
    uint64_t numbering; /* of the map's lives, as `reach` has them */
    uint64_t soonest;   /* nothing that waits is due before; 0: nothing waits */
    uint64_t rested_at; /* the map's moves when nothing was lacking; 0: something may be */
    bool in_round;
    struct tly_stream *stream; /* parts are written for this table; NULL: as rounds of protocol version 1 */
    bool begun;                /* a round with start marks went out, and the next one may go on from it */
};

void tly_follower_init(struct tly_follower *follower, const struct tly_mem *mem, struct tly_ormap *map);
void tly_follower_fini(struct tly_follower *follower);

/*
 * The follower's own word of its mark: raises `have`. If it has more than it was handed, and something is held back, that will come to it as
 * this did: *had_it_first, which may be NULL.
 */
enum tly_result tly_follower_has(struct tly_follower *follower, struct tly_mark mark,
                                 bool *had_it_first) TLY_MUST_CHECK;
/* What is held back of that life is so until `due`, if that is later than before. */
void tly_follower_put_off(struct tly_follower *follower, uint64_t origin, uint64_t due);
/* What it has acknowledged of a life. */
uint64_t tly_follower_word(const struct tly_follower *follower, uint64_t origin);
/* What it was handed of a life, or has. */
uint64_t tly_follower_handed(const struct tly_follower *follower, uint64_t origin);
/* It did not take a round: forget what it was thought to have; its own marks follow. */
void tly_follower_reset(struct tly_follower *follower);
/* It was handed a life's dots up to here, and of those at ts so many; call tly_follower_has before. */
enum tly_result tly_follower_resume(struct tly_follower *follower, struct tly_mark sent,
                                    uint64_t passed) TLY_MUST_CHECK;
/* It holds all that is here now: a disk that was just read. */
enum tly_result tly_follower_catch_up(struct tly_follower *follower) TLY_MUST_CHECK;
/*
 * Something of this life came from elsewhere: unless the follower has it by then, it goes on at `due`. Call tly_follower_expects
 * before it is joined: what the follower lacks already, and what is pinned, is not held back by it.
 */
void tly_follower_expects(struct tly_follower *follower, size_t life);
void tly_follower_learned(struct tly_follower *follower, size_t life, uint64_t due);
/* The same for what may make dots of other lives redundant: it is in whatever round goes next. */
void tly_follower_pin(struct tly_follower *follower, size_t life);
/* Whether it lacks anything of this life, as far as is known: it may have told of it before it came here. */
bool tly_follower_lacks(struct tly_follower *follower, size_t life);
/*
 * … or in whatever goes next of any other life, as long as no mark of the own one rests on it: `own_may` one that is on its way to the follower.
 */
void tly_follower_go_along(struct tly_follower *follower, size_t life, bool own_may);
/* Whether something of this life was handed over lately only because it had not come another way by when it was due. */
bool tly_follower_is_cut_off(const struct tly_follower *follower, size_t life, uint64_t now_ns);
/* The first moment at which something that waits is due, or UINT64_MAX. O(lives). */
uint64_t tly_follower_next_due(struct tly_follower *follower);
/* A moment before which nothing is due, that is that moment or may come before it; or UINT64_MAX. */
uint64_t tly_follower_due_after(const struct tly_follower *follower);
/* A dot of this life came in out of order, below what may have been scanned. What was handed over above it is not again. */
void tly_follower_rewind(struct tly_follower *follower, size_t life, uint64_t ts);

/* The same for a dot that came in below its mark: everything from there on is handed over again. */
void tly_follower_reopen(struct tly_follower *follower, size_t life, uint64_t ts);

/* Whether there is anything it does not have: dots or marks. */
bool tly_follower_is_behind(const struct tly_follower *follower);
/* The same without what is not due yet. */
bool tly_follower_is_due(const struct tly_follower *follower, uint64_t now_ns);
/* Everything that stands here up to this ts it has acknowledged, but for dots of its own life and for those of settled ones. */
uint64_t tly_follower_surely_has(const struct tly_follower *follower, uint64_t own);
/* Live records beyond what it has acknowledged. O(lives * log records beyond). */
uint64_t tly_follower_lag(const struct tly_follower *follower);

/* Not everything: keys that are wanted, found by looking at so many records at most. */
struct tly_only {
    bool (*wants)(void *context, struct tly_slice key);
    void *context;
    size_t looks; /* left */
};

/*
 * About how many bytes of marks go with the rows of the next part, where its round ends with it; and those of our marks that it has not heard,
 * so many at most. O(lives).
 */
size_t tly_follower_marks_bytes(const struct tly_follower *follower);
size_t tly_follower_told_bytes(const struct tly_follower *follower, size_t most);

struct tly_part_wish {
    size_t rows_bytes_max; /* about so many bytes of rows */
    struct tly_only *only; /* NULL: all keys */
    uint64_t only_origin;  /* rows of this life alone, and no end of the round; 0: of all */
    uint64_t not_origin;   /* no rows of this life, which the follower has anyhow; 0: of all */
    uint64_t now_ns;       /* mono; what is due later waits, and so do its marks */
    size_t tell;           /* with a stream: so many of our marks that it has not heard go along, at most */
};

/* What parts are written with; all scratch but the names. A follower without a stream needs the writer alone. */
struct tly_pens {
    struct tly_round_writer *writer;
    struct tly_parts *parts;
    struct tly_names *names;
};

struct tly_handed {
    size_t rows; /* dots in it; 0, and it is not the last: nothing was appended */
    bool last;   /* the round is complete */
    bool full;   /* more rows would have gone with them */
};

/*
 * Appends the body of the next part of a round to `out`. Everything must be sealed. Failure is in out->result; the
 * follower then must be reset.
 */
struct tly_handed tly_follower_next(struct tly_follower *follower, const struct tly_part_wish *wish,
                                    const struct tly_pens *pens, struct tly_buf *out);

/*
 * In a long round what becomes new in one life may go ahead of what is old: from now on, what is sealed later. The life must have no
 * versions but its own node's.
 */
void tly_follower_split(struct tly_follower *follower, uint64_t origin);
/* Whether something of it can go ahead. */
bool tly_follower_is_ahead(const struct tly_follower *follower, uint64_t origin);
/* Appends the body of a part with what goes ahead; otherwise as tly_follower_next. */
struct tly_handed tly_follower_go_ahead(struct tly_follower *follower, const struct tly_part_wish *wish,
                                        const struct tly_pens *pens, struct tly_buf *out);

/*
 * The same outside a round: what is new in a life beyond *until, which moves along. The follower must have a stream. Nothing is noted of
 * it otherwise: all goes again when rounds do.
 */
struct tly_handed tly_follower_news(struct tly_follower *follower, struct tly_mark *until,
                                    const struct tly_part_wish *wish, const struct tly_pens *pens,
                                    struct tly_buf *out);

/*
 * Appends the body of an ACK, or with a stream of a part that only tells, with our marks that it has not heard, so many at most; how many
 * there were (0: nothing appended).
 */
size_t tly_follower_ack(struct tly_follower *follower, size_t most, const struct tly_pens *pens,
                        struct tly_buf *out);

#endif
