/*
 * Hard limits: a node counts what it holds the rights to, so the limit is never passed, whatever the network does.  Of every
 * window a node holds the units on its stretch of the line (crdt/escrow.h), and what others gave it of that window; it gives
 * away what it has not used to those who wish for it.
 *
 *     line.c      who holds the line: its founding, its sharing out, what is taken over from lives that ended
 *     escrow.c    one window of one key: checks, wishes, gifts
 *     tenure.c    counters, whose rights end with no window
 *     proof.c     who had not given this node up, and when
 */
#ifndef TALLY_SERVICE_ENGINE_ESCROW_H
#define TALLY_SERVICE_ENGINE_ESCROW_H

#include "crdt/escrow.h"
#include "service/engine/limit.h"

/* Rights lie under this; what is behind it is "" for the line, or a limit's key without its "rl:". */
#define TLY_RIGHTS_PREFIX "sys:r:"
#define TLY_RIGHTS_PREFIX_BYTES 6

/* A limit's key that somebody wishes more of. */
struct want {
    uint8_t key[TLY_KEY_BYTES_MAX];
    size_t key_bytes;
    uint64_t at;         /* it is looked at then */
    uint64_t since;      /* the last that was said of it came then */
    uint64_t not_before; /* something was given: that is to be heard first */
};

/* The last version that there was at that moment (mono, ns): one a second, for longer than any wish is waited for. */
struct spoken {
    uint64_t ts, at;
};
#define TLY_SPOKEN_MAX 32

struct escrow {
    struct tly_piece *pieces; /* the line, as of the class below; NULL: nobody asked yet */
    size_t piece_count;
    uint64_t class_ms;  /* the newest fact that counts */
    bool is_read;       /* in this step */
    bool is_used;       /* a limit here is hard, or somebody else's is */
    uint64_t fit_until; /* mono, ns: until then nobody can have taken over what this node holds */
    uint64_t step_at;
    struct want *wants;
    size_t want_count, want_capacity;
    struct spoken spoken[TLY_SPOKEN_MAX]; /* the newest first */
};

struct tly_engine;

/* One window of a hard limit. A value. */
struct tly_term {
    struct tly_moment at;
    uint64_t left_ms;  /* until it ends here */
    uint64_t begun_ms; /* nobody has begun it before, whatever zone it has: the line divides it as of then */
};

struct tly_term tly_term_of(const struct tly_rate *rate, uint64_t now_ms);

/* ---- line.c ---- */

/* The line of windows that start then; *count 0: nobody holds anything, or there is no memory. Until something is written. */
const struct tly_piece *tly_line_at(struct tly_engine *e, uint64_t start_ms, size_t *count);
/* The units of such a limit that lie on what a life holds. */
uint64_t tly_line_share(struct tly_engine *e, uint64_t start_ms, uint64_t life, uint64_t limit);
/* Whether nobody holds anything of windows that start then: not even who is away can give any of it. */
bool tly_line_is_nobodys(struct tly_engine *e, uint64_t start_ms);
/* Whether this node may count by rights now: it knows what it did, and nobody has reason to think it gone. */
bool tly_line_is_fit(const struct tly_engine *e);
/* Whether this node alone holds that point, now and later, and knows all that those said who held it before. */
bool tly_line_is_owner(struct tly_engine *e, uint32_t point);
/* An operator says that nobody ever counted in windows that began before the founding: this node holds all of them. TLY_NOT_FOUND. */
enum tly_result tly_line_claim(struct tly_engine *e) TLY_MUST_CHECK;
/* Sets what a view of a hard limit says of the line. */
void tly_line_tell(struct tly_engine *e, struct tly_limit_view *view);
/* Founds, shares out, takes over, when that is due. */
void tly_line_step(struct tly_engine *e);

/* ---- escrow.c ---- */

/* A check of a hard limit, as tly_limit_check. */
enum tly_result tly_escrow_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict) TLY_MUST_CHECK;
/* … and as tly_limit_refund. */
enum tly_result tly_escrow_refund(struct tly_engine *e, const struct tly_limit_ask *ask, uint64_t at_ns,
                                  uint64_t *units) TLY_MUST_CHECK;
/* The key of the rights of a limit's key, written to `out`; false: it would be too long. */
bool tly_rights_key(struct tly_slice limit, uint8_t out[TLY_KEY_BYTES_MAX], struct tly_slice *key);
/* The dots about a key; none, if it is not here. */
const struct tly_dot *tly_escrow_dots(struct tly_engine *e, struct tly_slice key, size_t *count);
/* Writes a fact about rights: to that peer (0: a wish, or from nobody), so many units. False: it could not be written. */
bool tly_escrow_say(struct tly_engine *e, struct tly_slice limit, const struct tly_moment *at, uint64_t peer,
                    uint64_t units);
/* Whether that was said so long ago, half a minute at most. Of this life's words alone, for another's clock may be another. */
bool tly_escrow_is_old(const struct tly_engine *e, uint64_t ts, uint64_t age_ns);
/* Such a key has changed. */
void tly_escrow_learn(struct tly_engine *e, struct tly_slice key);
/* New limits are in use. */
void tly_escrow_use_rules(struct tly_engine *e);
void tly_escrow_step(struct tly_engine *e);
uint64_t tly_escrow_deadline(const struct tly_engine *e);
void tly_escrow_fini(struct tly_engine *e);

/* ---- tenure.c ---- */

/* What a life holds of a counter, in one direction. */
struct tly_holding {
    int64_t rights;
    uint64_t in, wish; /* what came from others, and what it would like to have come */
    uint64_t left;
};

/* Of a counter that is TLY_RIGHTS_UP or TLY_RIGHTS_DOWN, in the generation that lasts. */
struct tly_term tly_tenure_term(struct tly_engine *e, struct tly_slice key, uint64_t window);
struct tly_holding tly_tenure_holding(struct tly_engine *e, struct tly_slice key, const struct tly_moment *at,
                                      uint64_t life);
/* Takes what is nobody's, or was left by lives that ended, if this node is the owner; whether there was any. */
bool tly_tenure_tend(struct tly_engine *e, struct tly_slice key, const struct tly_rate *rate,
                     uint64_t window);
/* As tly_bounded_check and tly_bounded_lower. */
enum tly_result tly_tenure_check(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 struct tly_verdict *verdict) TLY_MUST_CHECK;
enum tly_result tly_tenure_lower(struct tly_engine *e, const struct tly_limit_ask *ask,
                                 uint64_t *units) TLY_MUST_CHECK;
/*
 * Whether all hits that there still are can be given back here; *units: so many of them. TLY_NO_RIGHTS: other nodes hold the rights to some, and have been asked
 * for them; or this node cannot tell now what it holds.
 */
enum tly_result tly_tenure_may_lower(struct tly_engine *e, const struct tly_limit_ask *ask,
                                     uint64_t *units) TLY_MUST_CHECK;
/* It is 0, and this node holds all rights. TLY_NO_RIGHTS: this node cannot tell now what it did. */
enum tly_result tly_tenure_reset(struct tly_engine *e, struct tly_slice key,
                                 const struct tly_rate *rate) TLY_MUST_CHECK;
/* Of a tly_install, whose context is the engine. */
bool tly_tenure_is_left_out(void *engine, struct tly_slice key);

#endif
