/*
 * The engine: a node without a world.  Everything that happens comes in as an event with the time inside it, or as a request;
 * everything to be done goes out as effects.  It reads no clock, opens nothing, logs nothing, and two engines fed alike
 * behave alike.  The same engine runs under libevent, in virtual time and in fuzzers.
 *
 *     step(event) -> effects        ask(request) -> reply        deadline() -> when to step again
 *
 * Memory: an event and its bytes are the caller's and are read during the call only.  Effects, with every slice in
 * them, are the engine's and stay until the next call of step.  A reply's slices stay until the next call of anything.
 * Events and requests are validated; what a peer may get wrong is an effect (a trace, a close), never an abort.
 */
#ifndef TALLY_SERVICE_ENGINE_ENGINE_H
#define TALLY_SERVICE_ENGINE_ENGINE_H

#include "crdt/ormap.h"
#include "service/engine/histogram.h"
#include "service/engine/raw.h"
#include "service/engine/rule.h"
#include "service/engine/watch.h"
#include "wire/message.h"

struct tly_engine;
struct tly_hot;

/* What becomes of a check whose key is new and does not fit into memory_max, or its limit's cardinality_max. */
enum tly_on_full { TLY_ON_FULL_ADMIT, TLY_ON_FULL_REFUSE };

#define TLY_HORIZON_PLAIN 1

struct tly_engine_config {
    struct tly_mem mem;
    struct tly_hash_key hash_key;
    uint64_t seed;            /* for jitter */
    struct tly_slice name;    /* of this node, 1 to TLY_NAME_BYTES_MAX bytes */
    struct tly_slice cluster; /* nodes of another cluster are refused */
    struct tly_slice
        secret; /* of the cluster, alike on all nodes: what fingerprints are keyed with; may be empty */
    struct tly_slice address; /* what peers dial; empty: nobody can dial us */
    uint32_t flush_ms;        /* between two rounds to one peer, under load; 0: 10 */
    uint64_t link_budget;     /* bytes/s to each peer, at most; 0: no end */
    size_t mesh_max;          /* members up to which all are linked to all; 0: 16 */
    size_t memory_max;        /* bytes that the engine may hold; 0: no end */
    enum tly_on_full on_full;
    /*
     * How long what others were last known to count is carried forward; 0: three flushes, at least 300 ms; TLY_HORIZON_PLAIN: a
     * plain view, to measure against: not at all, and a count that comes near its limit waits for its flush like any other.
     */
    uint64_t horizon_ns;
    uint64_t max_skew_ns; /* 0: TLY_MAX_SKEW_NS */
    /* A wall before this is wrong for certain: that of the members is taken then. */
    uint64_t wall_earliest_ns;
    uint64_t lease;              /* durable from an earlier process, 0: none */
    uint64_t tombstone_grace_ms; /* between knowing that all have a REMOVE and forgetting it; 0: 300000 */
    /* A member that is away for so long is forgotten if it holds up others; 0: 86400000. */
    uint64_t forget_after_ms;
    bool has_store; /* effects of kind TLY_DO_APPEND and TLY_DO_LEASE are wanted */
    struct tly_time now;
};

/* TLY_OK, TLY_NOMEM, TLY_BAD_MESSAGE (a name or address too long). The prefixes of the README are registered. */
enum tly_result tly_engine_new(const struct tly_engine_config *config,
                               struct tly_engine **out) TLY_MUST_CHECK;
void tly_engine_free(struct tly_engine *engine);
/* The invariant of everything inside; aborts on our own mistakes. For tests. */
void tly_engine_check(const struct tly_engine *engine);

/* Before the start: takes in one batch as TLY_DO_APPEND gave it to the store. Errors as of a round's body. */
enum tly_result tly_engine_replay(struct tly_engine *engine, struct tly_slice batch) TLY_MUST_CHECK;
/* Before the start, when something of what should have been replayed is missing: all is to come again from the peers. */
void tly_engine_clear_marks(struct tly_engine *engine);
/* Before the start and any replay: the table as the disk has it, as tly_table_put made it. TLY_BAD_MESSAGE, TLY_WRONG_STRATEGY: of a newer version. */
enum tly_result tly_engine_use_table(struct tly_engine *engine, struct tly_slice table) TLY_MUST_CHECK;
/* Keys that replay is to pass over from now on, since their prefix was dropped later; NULL: none. */
void tly_engine_leave_out(struct tly_engine *engine, tly_concerns *leaves_out, void *context);
/* Before the start: what a prefix is to become is not known, and its keys are refused (TLY_PREFIX_HELD). TLY_BAD_PREFIX: too many. */
#define TLY_HELD_MAX 16
enum tly_result tly_engine_hold(struct tly_engine *engine, struct tly_slice prefix) TLY_MUST_CHECK;
/* Begins the life `origin`, random and not 0. Once, before any request. */
enum tly_result tly_engine_start(struct tly_engine *engine, uint64_t origin,
                                 struct tly_time now) TLY_MUST_CHECK;
/*
 * Instead: goes on with the life of an earlier process that stopped cleanly, as soon as it is certain that no other node knows
 * more of it; with another life, if one does or it cannot be learned. has_seeds: addresses to dial will be named.
 */
enum tly_result tly_engine_resume(struct tly_engine *engine, uint64_t origin, bool has_seeds,
                                  struct tly_time now) TLY_MUST_CHECK;
/* An address to dial until a peer answers there, for ever. TLY_BAD_MESSAGE: too long. */
enum tly_result tly_engine_join(struct tly_engine *engine, struct tly_slice address) TLY_MUST_CHECK;
/*
 * The newest answer of a source of seeds, numbered from 1: its addresses are dialled as those of tly_engine_join are, and those
 * that it gave before and no longer gives are not, unless they are a member's.
 */
enum tly_result tly_engine_seeds(struct tly_engine *engine, unsigned source,
                                 const struct tly_slice *addresses, size_t count) TLY_MUST_CHECK;
/* The named limits from now on; the engine owns them. */
void tly_engine_use_rules(struct tly_engine *engine, struct tly_rules *rules);
const struct tly_rules *tly_engine_rules(const struct tly_engine *engine);

/* ---- events and effects ---- */

/*
 * Connections are numbered and a number is never used again, so an event for an earlier connection is recognised, counted and
 * ignored. The engine numbers those it dials (top bit set), the caller those it accepts (top bit clear, not 0).
 */
enum tly_event_kind {
    TLY_TICK,      /* deadline() has come, or something may be due */
    TLY_ACCEPTED,  /* conn */
    TLY_CONNECTED, /* conn: a dial succeeded */
    TLY_CLOSED,    /* conn: it is gone, or the dial failed; whoever closed it */
    TLY_BYTES,     /* conn, bytes */
    TLY_QUEUED, /* conn, number: bytes handed over that the socket has not taken yet; told when it shrank */
    TLY_STORED, /* number: every batch up to this one is as durable as the fsync setting promises */
    TLY_LEASED, /* number: this lease is durable */
    TLY_INSTALL_FAILED, /* a snapshot that was to replace all on the disk was given up: it is to be given anew */
    TLY_STORE_FAILED, /* the disk refuses: nothing more becomes durable until TLY_STORED says otherwise */
    TLY_LEAVE         /* say goodbye to all peers and stop dialling */
};

struct tly_event {
    enum tly_event_kind kind;
    struct tly_time now;
    uint64_t conn;
    uint64_t number;
    struct tly_slice bytes;
};

enum tly_effect_kind {
    TLY_DO_DIAL,   /* conn, bytes: the address, host:port */
    TLY_DO_SEND,   /* conn, bytes */
    TLY_DO_CLOSE,  /* conn: once what was sent is out; a TLY_CLOSED may follow and is ignored */
    TLY_DO_APPEND, /* number, bytes: one batch for the store, numbered from 1 */
    TLY_DO_TABLE, /* number, bytes: a change of the table of prefixes (wire/table.h), in the order of the batches and numbered with them */
    TLY_DO_TABLE_ROWS, /* number, bytes: a batch that belongs to the next TLY_DO_TABLE, and counts with it or not at all */
    TLY_DO_INSTALL_FIRST,
    TLY_DO_INSTALL,
    TLY_DO_INSTALL_LAST, /* number, bytes: batches of a snapshot that replaces all before its first, once it has its last */
    TLY_DO_LEASE, /* number: make this lease durable */
    TLY_DO_WATCH, /* some watcher has something to read */
    TLY_DO_ACKED, /* somebody who waits (acked.h) is done */
    TLY_DO_TRACE  /* trace */
};

/* What an operator should know of; one per state change. X(NAME, "word", level) with level error, warn, info, debug. */
#define TLY_TRACES(X)                               \
    X(PEER_UP, "peer up", INFO)                     \
    X(PEER_DOWN, "peer down", WARN)                 \
    X(PEER_REFUSED, "peer refused", WARN)           \
    X(OWN_SEED, "own address", INFO)                \
    X(PEER_ERROR, "peer broke the protocol", WARN)  \
    X(PEER_GOODBYE, "peer said goodbye", INFO)      \
    X(DIAL_FAILED, "cannot reach peer", INFO)       \
    X(ROUND_REFUSED, "round refused", WARN)         \
    X(HELD_BACK, "memory full", WARN)               \
    X(ROOM_AGAIN, "room again", INFO)               \
    X(DOT_KEPT_OUT, "malformed dot kept out", WARN) \
    X(OVERLONG, "too many concurrent values", WARN) \
    X(NEW_LIFE, "new life", WARN)                   \
    X(MEMBER, "member", WARN)                       \
    X(LIFE_CLOSED, "life closed", INFO)             \
    X(LIFE_SETTLED, "life settled", INFO)           \
    X(MEMBER_FORGOTTEN, "member forgotten", WARN)   \
    X(COLD_START, "cold start", WARN)               \
    X(INSTALLED, "snapshot installed", INFO)        \
    X(REPAIRED, "dot repaired", ERROR)              \
    X(CLOCK, "clock", ERROR)

enum tly_level { TLY_LEVEL_ERROR, TLY_LEVEL_WARN, TLY_LEVEL_INFO, TLY_LEVEL_DEBUG };

enum tly_trace_kind {
#define TLY_TRACE_ENUM(name, word, level) TLY_TRACE_##name,
    TLY_TRACES(TLY_TRACE_ENUM)
#undef TLY_TRACE_ENUM
        TLY_TRACE_COUNT
};

struct tly_trace {
    enum tly_trace_kind kind;
    struct tly_slice peer;   /* name, or address while the name is not known; may be empty */
    struct tly_slice detail; /* a sentence; may be empty */
};

const char *tly_trace_word(enum tly_trace_kind kind);
enum tly_level tly_trace_level(enum tly_trace_kind kind);

struct tly_effect {
    enum tly_effect_kind kind;
    uint64_t conn;
    uint64_t number;
    struct tly_slice bytes;
    struct tly_trace trace;
};

/* Whether it is something of a change of many steps, for the disk. */
static inline bool tly_effect_is_change(const struct tly_effect *effect)
{
    return effect->kind >= TLY_DO_TABLE && effect->kind <= TLY_DO_INSTALL_LAST;
}

struct tly_effects {
    const struct tly_effect *list;
    size_t count;
};

/*
 * What a TLY_QUEUED would say, noted without a step. True: the connection waited for that (or is not known), so there is one to make
 * with the event itself. Of what is sent little ever waits.
 */
bool tly_engine_is_waited_for(struct tly_engine *engine, uint64_t conn, uint64_t queued);

/*
 * TLY_OK, or TLY_NOMEM: the event was not taken (a connection it concerned is closed by a later step).
 * Effects are set in either case.
 */
enum tly_result tly_engine_step(struct tly_engine *engine, const struct tly_event *event,
                                struct tly_effects *effects) TLY_MUST_CHECK;

/* Monotonic ns at which a TLY_TICK is due; 0: at once; UINT64_MAX: not before something happens. */
uint64_t tly_engine_deadline(const struct tly_engine *engine);

/*
 * A ticket for everything asked for until now; 0 when all of it is stored, or there is no store. A reply that promises
 * durability may go out once the ticket is stored.
 */
uint64_t tly_engine_ticket(const struct tly_engine *engine);
bool tly_engine_is_stored(const struct tly_engine *engine, uint64_t ticket);
/* Whether all is in batches that were given out, stored or not: only then may the life go on from its disk. So many wait to be stored, and no more. */
bool tly_engine_has_handed_all(const struct tly_engine *engine);

/* ---- requests ---- */

enum tly_verdict_code { TLY_CODE_OK, TLY_CODE_OVER, TLY_CODE_UNKNOWN };

struct tly_verdict;

/* What refused, or would without shadow. X(NAME, "word") */
#define TLY_REASONS(X)                                                                        \
    X(NONE, "none")           /* nothing */                                                   \
    X(UNKNOWN, "no_limit")    /* there is no limit of that name; nothing was counted */       \
    X(LIMIT, "limit")         /* what is known to be used */                                  \
    X(PROJECTED, "projected") /* … and what others have probably counted since */           \
    X(WAITING, "waiting")     /* this node's share of what is left over */                    \
    X(CAPPED, "capped")       /* the cap on what others have not heard of */                  \
    X(JOINING, "joining")     /* this node does not know yet what the others know */          \
    X(SHARE, "share")         /* members cannot be reached: only the others' part is there */ \
    X(PARTITION, "partition") /* members cannot be reached: nothing is admitted */            \
    X(RIGHTS, "rights")       /* hard: what this node holds the rights to */                  \
    X(NOBODYS, "nobodys")     /* hard: the window began before anybody held rights */         \
    X(MEMORY, "memory_full")  /* the key is new and memory_max is reached */                  \
    X(KEYS, "keys_full")      /* the key is new and the limit has cardinality_max of them */  \
    X(UNMATCHED, "no_match")  /* the limit is not for these fields; nothing was counted */

enum tly_reason {
#define TLY_REASON_ENUM(name, word) TLY_REASON_##name,
    TLY_REASONS(TLY_REASON_ENUM)
#undef TLY_REASON_ENUM
        TLY_REASON_COUNT
};

const char *tly_reason_word(enum tly_reason reason);

/* The reason of a verdict as a sentence that adds up, of up to so many bytes with its end. */
#define TLY_WHY_BYTES_MAX 320
size_t tly_reason_put(const struct tly_verdict *verdict, uint64_t hits, char out[TLY_WHY_BYTES_MAX]);

/* As a bound: there is none. */
#define TLY_BOUND_NONE UINT64_MAX

struct tly_verdict {
    enum tly_verdict_code code;
    enum tly_reason reason;
    enum tly_mode mode;
    uint64_t bound; /* by how much the limit can be passed, as of now; TLY_BOUND_NONE: no end */
    uint64_t used;  /* units that are known, these hits among them if they were admitted */
    bool is_peek;   /* nothing was asked for but how it stands, so it is about no hits */
    bool is_judged; /* the key is watched, for it was near its limit or is capped; only then is known: */
    uint64_t own;   /* of used, what this node counted in this window */
    uint64_t ahead; /* units that others have probably counted beyond used */
    union {
        uint64_t unheard; /* of own, what not every member is known to have heard of */
        uint64_t below;   /* of a counter, judged or not, by how much it is less than nothing */
    };
    uint64_t held;  /* hard: units of this window that this node holds the rights to, used ones included */
    uint64_t limit; /* units; for a token bucket its burst */
    uint64_t remaining;      /* never negative */
    uint64_t reset_ms;       /* until the count is back to nothing if nobody comes */
    uint64_t retry_after_ms; /* 0 when admitted; UINT64_MAX: these hits can never pass */
    uint64_t window_ms;
    enum tly_algorithm algorithm;
    bool shadow; /* refused by the numbers, admitted by the rule's shadow switch */
    bool
        full; /* the key is new and memory_max or cardinality_max is reached: not counted, decided by on_full alone */
    struct tly_slice name; /* of the named limit; empty for ad-hoc ones */
};

/* Whether the hits that a verdict is about were counted, if that is what was asked. */
static inline bool tly_verdict_counts(const struct tly_verdict *verdict)
{
    return verdict->code == TLY_CODE_OK && !verdict->full && !verdict->shadow &&
           verdict->reason != TLY_REASON_UNMATCHED;
}

/*
 * What is counted. ADMITTED: hits that were admitted. ALL: refused ones too, as Envoy's rate limit service counts; only windows of mode
 * optimistic do. GIVE_BACK: the hits are taken from what the window has, down to nothing at most; nothing of a bucket. ACQUIRE: as
 * ADMITTED, by TLY_ASK_RESERVE, which knows when they end: the only one that a limit of concurrency takes.
 */
enum tly_charging { TLY_CHARGE_ADMITTED, TLY_CHARGE_ALL, TLY_GIVE_BACK, TLY_ACQUIRE };

/* Either a named limit with its fields, or (limit empty) an ad-hoc rate with a key. */
struct tly_check {
    struct tly_slice limit;
    const struct tly_field *fields;
    size_t field_count;
    struct tly_slice key;
    struct tly_rate rate;
    uint32_t hits; /* 0 peeks */
    enum tly_charging charging;
};

/* Reservations of one node at a time, how long one may last, and its id: printable ASCII without spaces. */
#define TLY_HOLDS_MAX 65536
#define TLY_HOLD_MS_MAX INT64_C(86400000)
#define TLY_HOLD_ID_BYTES_MAX 64

enum tly_hold_state {
    TLY_HOLD_NONE,
    TLY_HOLD_OPEN,
    TLY_HOLD_COMMITTED,
    TLY_HOLD_CANCELLED,
    TLY_HOLD_RETURNED,
    TLY_HOLD_RELEASED /* of concurrency: no more is known of it from then on */
};
/* "open". */
const char *tly_hold_word(enum tly_hold_state state);

struct tly_hold_view {
    struct tly_slice id;
    enum tly_hold_state state; /* NONE: the check was refused */
    uint64_t charged;          /* hits, now */
    uint64_t end_ms;           /* ms since 1970 */
};

/* Limits in one check. */
#define TLY_CHECK_ALL_MAX 64

enum tly_request_kind {
    TLY_ASK_CHECK, /* check -> verdict, and nothing else of the reply; TLY_NO_LIMIT, TLY_BAD_RULE, TLY_BAD_KEY */
    /* checked, checked_count -> each one's result and verdict; is_over: one of them refuses. All are charged, or none. */
    TLY_ASK_CHECK_ALL,
    TLY_ASK_CHECK_EACH, /* … whichever admits is charged */
    TLY_ASK_RESET,      /* check: forgets what was counted; TLY_NOT_FOUND */
    TLY_ASK_REFUND, /* check: gives back its hits, charged at number (ms since 1970; 0: now) -> refunded; verdict: as of a peek */
    /*
     * check, number: ms, bytes: an id of one's own, or empty -> verdict and, if it admits, hold: what was charged is given back after
     * that time unless it is settled before. The same id again: the same hold, nothing is charged. TLY_FULL: too many. Of
     * concurrency it is a lease, which this life alone knows; TLY_ASK_CANCEL releases it.
     */
    TLY_ASK_RESERVE,
    TLY_ASK_COMMIT, /* bytes: an id, number: hits it came to -> hold. Again: the same. TLY_NO_HOLD */
    TLY_ASK_CANCEL, /* bytes: an id -> hold; the same */
    /* From here to REMOVE only value and strategy are set of the reply. */
    TLY_ASK_READ,    /* key -> value, strategy; TLY_NOT_FOUND */
    TLY_ASK_ADD,     /* key, number -> value.count: a counter */
    TLY_ASK_SET,     /* key, number, deadline_ms: a counter */
    TLY_ASK_EXPIRE,  /* key, deadline_ms (0: lift): a counter or an lww key */
    TLY_ASK_PUT_MAX, /* key, epoch, number: an epoch_max key */
    TLY_ASK_PUT,     /* key, bytes, deadline_ms: an lww key; TLY_VALUE_TOO_LARGE */
    TLY_ASK_PUT_RAW, /* key, bytes, deadline_ms: an lww or an epoch_max key, see raw.h */
    TLY_ASK_REMOVE, /* key; TLY_NOT_FOUND. Writes to keys under sys: and rl: are TLY_READ_ONLY, save this on rl: */
    TLY_ASK_APPLY, /* bytes: a whole archive, number: dots at most, 0: TLY_APPLY_ROWS_MAX -> applied, on failure
                      too; all of it is joined, or nothing */
    TLY_ASK_FORGET, /* bytes: a member's name, which is gone for good; TLY_NOT_FOUND */
    TLY_ASK_CLAIM, /* the rights of windows that began before any were founded are this node's: nobody ever counted there;
                        TLY_NOT_FOUND: none are founded, or these are somebody's */
    TLY_ASK_PREFIXES /* wishes, all or none, bytes: who wants it; wish_at: of those, which could not be.
                        TLY_NO_SUCH_STRATEGY, TLY_PREFIX_TAKEN, TLY_BAD_PREFIX, TLY_NO_PREFIX, TLY_PREFIX_BUILT_IN, TLY_PREFIX_HELD,
                        TLY_UNAPPROVED and TLY_APPROVAL_STALE (plan), TLY_PREFIXES_NEST, TLY_BUSY, TLY_TOO_LARGE: to migrate in one
                        piece, TLY_IO: the disk refuses */
};

/* What is to become of a prefix. */
enum tly_prefix_op { TLY_PREFIX_REGISTER, TLY_PREFIX_DROP, TLY_PREFIX_MIGRATE };

struct tly_prefix_wish {
    enum tly_prefix_op op;
    struct tly_slice prefix;
    struct tly_slice strategy; /* its name; to register, and to migrate */
    uint64_t approval;         /* of the plan, as long as there are keys; 0: none was given */
};

struct tly_prefix_plan {
    size_t keys;       /* that there are */
    size_t lost;       /* of these, keys that would be lost, or something of what they say */
    uint64_t approval; /* what has to be given; alike on all nodes on which this prefix holds the same */
};

struct tly_request {
    enum tly_request_kind kind;
    struct tly_time now;
    struct tly_slice key;
    struct tly_slice bytes;
    int64_t number;
    uint64_t epoch;
    uint64_t deadline_ms; /* ms since 1970; 0: none */
    /* Of ADD, the PUTs, and a check without a limit's name: what tly_engine_ahead said of the key; 0: it was not asked for ahead. */
    unsigned ahead;
    struct tly_check check;
    union {
        const struct tly_prefix_wish *wishes;
        struct tly_checked *checked;
    };
    union {
        size_t wish_count;
        size_t checked_count; /* 1 to TLY_CHECK_ALL_MAX */
    };
};

/* Dots that one archive may bring: they are joined at once, and the node does nothing else meanwhile. */
#define TLY_APPLY_ROWS_MAX 65536

struct tly_applied {
    uint64_t rows;        /* of the archive */
    uint64_t applied;     /* were new; the others stood already, or are redundant here */
    uint64_t repaired;    /* of those, at or below the mark of their origin: only an archive lets such in */
    uint64_t offset;      /* on failure: of the part that is wrong */
    struct tly_slice key; /* on failure: whose row is wrong; empty: no row is */
};

struct tly_reply {
    struct tly_applied applied;
    struct tly_verdict verdict;
    struct tly_value value;
    const struct tly_strategy *strategy; /* of the key; NULL: none registered */
    size_t wish_at;
    struct tly_prefix_plan plan;
    bool is_over;
    uint64_t refunded;
    struct tly_hold_view hold;
};

/*
 * What a key reads as, for the node itself: nobody is answered by it, so cluster time may still be set once the first peers have been
 * heard. TLY_OK, TLY_NOT_FOUND, TLY_PREFIX_HELD; the value is good until the next call of anything.
 */
enum tly_result tly_engine_read(struct tly_engine *engine, struct tly_slice key, struct tly_time now,
                                struct tly_value *value) TLY_MUST_CHECK;
/* Decides locally, at once. Whatever changed is handed to followers by later steps; look at deadline() again. */
enum tly_result tly_engine_ask(struct tly_engine *engine, const struct tly_request *request,
                               struct tly_reply *reply) TLY_MUST_CHECK;
/* The same for a check of a key that was asked for ahead, right behind another one: at the time of that one. */
enum tly_result tly_engine_check_again(struct tly_engine *engine, const struct tly_request *request,
                                       struct tly_reply *reply) TLY_MUST_CHECK;

struct tly_checked {
    struct tly_check check;
    enum tly_result result; /* set, as the verdict is; as of TLY_ASK_CHECK */
    struct tly_verdict verdict;
};

/*
 * Keys that are about to be asked for, at most TLY_AHEAD_MAX, as the engine has them: tly_adhoc_key of what a check without a name is
 * of. Their memory is asked for, and nothing else happens. A request may refer to the one of number i as i + 1 until this is called
 * again, as long as its bytes are what they were: then it is not looked for a second time.
 */
#define TLY_AHEAD_MAX 16
void tly_engine_ahead(struct tly_engine *engine, const struct tly_slice *keys, size_t count);

/*
 * TLY_ASK_CHECK for each in turn, all at one moment: while one is decided, the memory of the next is on its way. For checks in
 * process, and for whoever has many.
 */
void tly_engine_checks(struct tly_engine *engine, struct tly_time now, struct tly_checked *checks,
                       size_t count);

/* ---- what was refused ---- */

struct tly_refusal_shard {
    uint64_t origin, window, epoch;
    int64_t units, before; /* of that epoch, and of the one before it */
};

/* A key that was refused, as of the last time. Good until the next request. */
struct tly_refusal_view {
    struct tly_slice key;
    uint64_t at_ms; /* since 1970 */
    uint64_t times; /* since it is remembered */
    uint32_t hits;
    const struct tly_verdict *verdict; /* then, without a name */
    const struct tly_refusal_shard *shards;
    size_t shard_count;
    uint64_t shards_ms; /* when the shards were so */
};

/* Of the key of a limit. TLY_NOT_FOUND: it was not refused, or others were since; TLY_BAD_KEY. */
enum tly_result tly_engine_why(struct tly_engine *engine, struct tly_slice key,
                               struct tly_refusal_view *view) TLY_MUST_CHECK;
/* One after another of those that are remembered, in no order; false: there are no more. */
bool tly_engine_refused(struct tly_engine *engine, size_t *cursor, struct tly_refusal_view *view);

/*
 * Who hears of refusals: TLY_DO_WATCH says that there are some, as to a watcher (watch.h), and then they are read.  Nothing is kept for
 * a hearer but its mark: a key that was refused often is told once, as of the last time, and who is so late that refusals were
 * forgotten meanwhile is told that.
 */
/* A hearer more; *mark is where it begins. TLY_OK, TLY_FULL (there are TLY_WATCHERS_MAX). */
enum tly_result tly_engine_hear(struct tly_engine *engine, uint64_t *mark) TLY_MUST_CHECK;
void tly_engine_unhear(struct tly_engine *engine);
/* A refusal, good until the next request; NULL: some before the next one are forgotten. False: no more for now. */
typedef bool tly_refusal_each(void *context, const struct tly_refusal_view *view);
/* Tells those that are later than the mark, oldest first; the mark behind the last that was told. */
uint64_t tly_engine_refusals_since(struct tly_engine *engine, uint64_t mark, tly_refusal_each *each,
                                   void *context);

/* ---- what is asked most ---- */

struct tly_top_view {
    struct tly_slice key;
    uint64_t checks_per_1000s; /* lately; an estimate once there are more than a thousand a second */
    uint64_t used, limit;      /* as of one of the last checks; used 0 once it is over */
};

/* One after another of about 512 keys among which are those that are asked most, in no order; false: there are no more. Until the next request. */
bool tly_engine_top(struct tly_engine *engine, struct tly_time now, size_t *cursor,
                    struct tly_top_view *view);

/* ---- the table of prefixes ---- */

struct tly_prefix_view {
    struct tly_slice prefix;
    const struct tly_strategy *strategy; /* NULL: it was dropped */
    uint32_t generation;
    bool is_built_in, is_held;
};

/* In byte order. */
size_t tly_engine_prefixes(const struct tly_engine *engine);
struct tly_prefix_view tly_engine_prefix(const struct tly_engine *engine, size_t i);
/* What dropping it would lose, or with a strategy's name migrating to that: a walk over all keys. TLY_NO_PREFIX, TLY_NO_SUCH_STRATEGY,
   and errors of the change. */
enum tly_result tly_engine_prefix_plan(struct tly_engine *engine, struct tly_slice prefix,
                                       struct tly_slice strategy,
                                       struct tly_prefix_plan *plan) TLY_MUST_CHECK;

/* ---- exports ---- */

/*
 * Walks over all live dots of keys with a prefix, and gives an archive piece by piece (wire/archive.h). What is written meanwhile
 * is in it or not, but no key is missing that was there all the time. The owner frees it before the engine.
 */
struct tly_export;

/* At the same time; each holds up to about 200 KiB. */
#define TLY_EXPORTS_MAX 16

/* An empty prefix: all but sys:. TLY_BAD_KEY: too long; TLY_FULL: TLY_EXPORTS_MAX are under way; TLY_NOMEM. */
enum tly_result tly_export_new(struct tly_engine *engine, struct tly_slice prefix, struct tly_time now,
                               struct tly_export **out) TLY_MUST_CHECK;
void tly_export_free(struct tly_export *export);
/*
 * Appends the next piece, perhaps none, about TLY_EXPORT_PIECE_BYTES at most, in well under a millisecond. *done: that was the
 * last. TLY_NOMEM, TLY_CLOCK_END, or what is in out->result: it cannot go on.
 */
#define TLY_EXPORT_PIECE_BYTES (32u * 1024u)
/* TLY_STALE: what it had walked was replaced; begin another. */
enum tly_result tly_export_next(struct tly_export *export, struct tly_buf *out, bool *done) TLY_MUST_CHECK;

/* ---- images ---- */

/*
 * Walks over everything and gives it as batches, to be replayed as those of TLY_DO_APPEND are. An image, and all batches given out
 * after it was begun, stand for the node as it was at any later moment; so an image may take the place of the log once the ticket
 * taken at its end is stored. Until it is freed nothing is forgotten, so its owner frees it in time, and before the engine.
 */
struct tly_image;

/*
 * TLY_OK; TLY_MORE: not in this turn; TLY_NOMEM, TLY_CLOCK_END. Batches given out until now are covered by the image.
 */
enum tly_result tly_image_new(struct tly_engine *engine, struct tly_image **out) TLY_MUST_CHECK;
void tly_image_free(struct tly_image *image);
/*
 * Appends the next batch, of about 6 KiB, in well under a millisecond. *done: it was the last. TLY_STALE: everything was
 * replaced by a snapshot from a peer, begin anew; other failures as of tly_export_next.
 */
enum tly_result tly_image_next(struct tly_image *image, struct tly_buf *out, bool *done) TLY_MUST_CHECK;

/* ---- looking in ---- */

/* Counters since the start. X(name, help) */
#define TLY_STATS(X)                                                                         \
    X(checks_ok, "Checks admitted")                                                          \
    X(checks_over, "Checks refused")                                                         \
    X(checks_unknown, "Checks against a limit that does not exist")                          \
    X(checks_uncounted, "Checks admitted without counting, for there was no room for a key") \
    X(checks_unmatched, "Checks against a limit that is not for their fields")               \
    X(writes, "Local writes other than checks")                                              \
    X(rounds_sent, "Parts of rounds sent to peers")                                          \
    X(rounds_received, "Parts of rounds received")                                           \
    X(dots_sent, "Dots sent to peers")                                                       \
    X(dots_received, "Dots received")                                                        \
    X(dots_applied, "Received dots that were new")                                           \
    X(dots_redundant, "Received dots that were known or dominated")                          \
    X(dots_stale, "Received dots dropped as stale")                                          \
    X(dots_malformed, "Received dots kept out as malformed")                                 \
    X(dots_overlong, "Received values of a frontier that had no room for more")              \
    X(dots_forged, "Received dots of our own life, dropped")                                 \
    X(dots_repaired, "Dots let in though their mark said that they were here")               \
    X(archives_applied, "Archives applied")                                                  \
    X(archives_refused, "Archives refused, nothing of which was applied")                    \
    X(dots_expired, "Dots dropped because their window is over")                             \
    X(naks_sent, "Rounds not taken")                                                         \
    X(naks_received, "Rounds that a peer did not take")                                      \
    X(bytes_sent, "Bytes handed to peer connections")                                        \
    X(bytes_taken, "Bytes of them that sockets took")                                        \
    X(bytes_acked, "Bytes of them that peers have taken in")                                 \
    X(bytes_lost, "Bytes of them that ended with their connection, not acknowledged")        \
    X(lane_control_bytes, "Bytes handed over on the control lane")                           \
    X(lane_live_bytes, "Bytes handed over on the live lane")                                 \
    X(lane_repair_bytes, "Bytes handed over on the repair lane")                             \
    X(lane_bulk_bytes, "Bytes handed over on the bulk lane")                                 \
    X(bytes_received, "Bytes received from peers")                                           \
    X(sessions_up, "Peer sessions that came up")                                             \
    X(sessions_refused, "Peer sessions refused")                                             \
    X(sessions_broken, "Peer sessions ended by a protocol error")                            \
    X(frames_ignored, "Unknown ignorable frames skipped")                                    \
    X(dials, "Connections dialled")                                                          \
    X(clock_lives, "Lives begun because the time in use was off by more than max_skew")      \
    X(stale_callbacks, "Events of connections that were already replaced")                   \
    X(probes_sent, "Members asked after a silent one")                                       \
    X(suspicions, "Members that this node began to suspect")                                 \
    X(verdicts, "Members that this node declared dead")                                      \
    X(refutations, "Times this node contradicted what was said of it")                       \
    X(pauses, "Times this node found that it had been stopped for a while")                  \
    X(leases_ended, "Units in flight that nobody released, ended at their time")             \
    X(checks_refused_full, "Checks refused because there was no room for a key")             \
    X(holds_returned, "Reservations that nobody settled, given back at their end")           \
    X(writes_refused_full, "Writes refused because the store was full")                      \
    X(dots_held_back, "Received dots left out until there is room for them")                 \
    X(rounds_held_back, "Received parts of rounds that did not fit whole")                   \
    X(dots_refused, "Received dots of settled lives, refused")                               \
    X(dots_ended, "Dots dropped because their deadline is past and known everywhere")        \
    X(removes_forgotten, "REMOVEs forgotten")                                                \
    X(rights_taken, "Parts of hard limits taken over from lives that ended")                 \
    X(rights_given, "Units of hard limits whose rights were given to other nodes")           \
    X(lives_settled, "Lives settled")                                                        \
    X(lives_dropped, "Settled lives of which nothing is left")                               \
    X(members_forgotten, "Members declared forgotten here")                                  \
    X(cold_starts_floor, "Cold starts here: below a floor")                                  \
    X(cold_starts_forgotten, "Cold starts here: this node had been forgotten")               \
    X(cold_starts_ahead, "Cold starts here: a peer knew more of this life")                  \
    X(cold_starts_apply_failed, "Cold starts here: a round failed twice")                    \
    X(cold_starts_no_delta, "Cold starts here: this node takes no rounds")                   \
    X(snapshots_sent, "Snapshots sent to the end")                                           \
    X(snapshots_resumed, "Snapshots that went on after their connection was cut")            \
    X(snapshots_installed, "Snapshots installed")                                            \
    X(units_carried, "Units of former lives carried over")                                   \
    X(feed_up_to_date, "Questions of feed followers: nothing new")                           \
    X(feed_ops, "Questions of feed followers: answered with changes")                        \
    X(feed_pages, "Questions of feed followers: answered with a piece of a snapshot")        \
    X(feed_refused, "Questions of feed followers: refused")                                  \
    X(feed_dots_taken, "Dots that feed followers sent")                                      \
    X(feed_cold_floor, "Feed followers sent to a snapshot: below a floor")                   \
    X(feed_cold_forgotten, "Feed followers sent to a snapshot: their life is closed")        \
    X(feed_cold_ahead, "Feed followers sent to a snapshot: they know more than this node")   \
    X(feed_cold_apply_failed, "Feed followers sent to a snapshot: an answer failed twice")   \
    X(feed_cold_no_delta, "Feed followers sent to a snapshot: they take no changes")         \
    X(repairs_begun, "Comparisons with peers that this node began")                          \
    X(repairs_equal, "Comparisons that found all alike")                                     \
    X(repairs_opened, "Comparisons that looked into all that differed")                      \
    X(repairs_audited, "Comparisons that looked at a sample, for things were changing")      \
    X(repairs_refused, "Repairs refused because of a version too far in the future")         \
    X(repair_dots_sent, "Dots listed to peers in comparisons")                               \
    X(acks_queued, "Waits for other nodes that ended with no more than queued")              \
    X(acks_sent, "Waits for other nodes that ended with sent")                               \
    X(acks_merged, "Waits for other nodes that ended with merged")                           \
    X(acks_durable, "Waits for other nodes that ended with durable")                         \
    X(batches, "Batches handed to the store")

struct tly_stats {
#define TLY_STATS_FIELD(name, help) uint64_t name;
    TLY_STATS(TLY_STATS_FIELD)
#undef TLY_STATS_FIELD
};

struct tly_node_view {
    struct tly_slice name, cluster, address;
    uint64_t origin;
    bool
        life_in_question; /* peers are being asked whether it may go on; what is written goes out in another */
    size_t keys, lives, bytes;
    size_t memory_used, memory_max; /* of all the engine holds; memory_max 0: no end */
    bool full;                      /* new keys were refused, at most a minute ago */
    size_t watchers;                /* of changes and of refusals */
    size_t leases;                  /* of concurrency, that this node has given out */
    size_t peers_held_back;         /* whose dots do not all fit */
    size_t log_records;
    uint64_t digest; /* equal on nodes with equal contents; 0 unless asked for: it costs O(keys) */
    bool clock_covered;
    bool store_failing;
    size_t peers_up;
    size_t peers_judged; /* whose clock is known: they are up, or the last word between us was about clocks */
    size_t refused_by;   /* of those, how many refuse our rounds because our clock is ahead of theirs */
    bool wall_borrowed;  /* the machine's clock is wrong for certain, and the members' is used instead */
    size_t refusing;     /* … whose rounds we refuse because their clock is ahead of ours */
    uint64_t clock_last, lease;
    uint64_t cluster_ns;    /* cluster time now */
    int64_t time_offset_ns; /* cluster time minus the own wall */
    int64_t time_skew_ns;   /* what is still to be made up */
};

struct tly_peer_view {
    struct tly_slice name, address;
    uint64_t origin;
    bool up;
    bool dialled;           /* by us */
    const char *state;      /* alive, left, suspect or dead by the member list; unknown */
    bool reachable;         /* heard lately, by this node or by another member */
    bool linked;            /* the mesh or the ring has a connection for it */
    bool held_back;         /* not all it has fits into memory_max here */
    uint64_t last_heard_ms; /* ago; UINT64_MAX: never */
    uint64_t rtt_ns;        /* 0: not measured yet */
    int64_t offset_ns;      /* its wall clock minus ours, as of the last pong */
    uint64_t queued_bytes;  /* that the socket has not taken */
    uint64_t rate;          /* bytes/s that the link was seen to carry; 0: not known */
    uint64_t chunk_bytes, credit_bytes, unacked_bytes; /* of repair and bulk */
    uint64_t bytes_sent, bytes_received;
    uint64_t clock_refusals; /* parts of rounds that were refused as too far in the future */
};

/* What holds up forgetting, and how far it has come. */
struct tly_forget_view {
    uint64_t number;    /* what this node last said of itself */
    uint64_t f;         /* what every member has */
    uint64_t forgotten; /* newest ts that was forgotten */
    size_t removes;     /* that stand */
    size_t closed;      /* lives that ended and are still remembered as such */
};

void tly_engine_forgetting(const struct tly_engine *engine, struct tly_forget_view *view);
/* The i-th of so many lives; origin 0: none any more. */
size_t tly_engine_lives(const struct tly_engine *engine);
struct tly_life tly_engine_life(const struct tly_engine *engine, size_t i);

/* How hard a limit is now, and what that follows from. */
struct tly_limit_view {
    const struct tly_rule *rule;
    uint64_t bound; /* the greatest of its keys'; TLY_BOUND_NONE: no end */
    size_t members, lost,
        ended;   /* members that count, those of them that cannot be reached, lives that ended lately */
    bool joined; /* this node knows what the others knew when they came to know it */
    uint64_t flush_ns, horizon_ns;
    bool is_founded;      /* hard: somebody holds the rights */
    bool is_fit;          /* … this node may count by them now */
    bool is_nobodys;      /* … but of the window that has begun nobody holds any */
    uint64_t left_ms;     /* … until it ends */
    uint64_t share;       /* … units of each key and window that are this node's to begin with */
    uint64_t share_here;  /* … and those of all that can be reached */
    size_t watched;       /* of its keys: those that came near the limit, or are capped */
    struct tly_slice key; /* of those, the one with that bound; empty: none */
    struct tly_hot *hot;  /* … for tly_engine_limit_other */
};

/* What is known here of another life that counts in that key. */
struct tly_limit_other {
    struct tly_slice node;   /* its name; empty: not known, or several */
    uint64_t origin;         /* 0: several */
    uint64_t rate_per_1000s; /* units */
    uint64_t units;          /* of the window, as known */
    uint64_t staleness_ns;   /* of that knowledge */
    uint64_t unseen;         /* the most that was not known here, in this window and the one before it */
};

/* TLY_OK, TLY_NO_LIMIT; the view is good until the next call of anything. */
enum tly_result tly_engine_limit(struct tly_engine *engine, struct tly_slice name, struct tly_time now,
                                 struct tly_limit_view *view) TLY_MUST_CHECK;
/* The i-th other; false: there are no more. */
bool tly_engine_limit_other(const struct tly_engine *engine, const struct tly_limit_view *view, size_t i,
                            struct tly_limit_other *other);

void tly_engine_stats(const struct tly_engine *engine, struct tly_stats *stats);
/* How old the newest of a peer's own dots was, by cluster time, when it was joined here: one for each part that brought any. */
const struct tly_histogram *tly_engine_staleness(const struct tly_engine *engine);
void tly_engine_node(struct tly_engine *engine, bool with_digest, struct tly_node_view *view);
/* Cluster time, by which windows and deadlines are judged. */
uint64_t tly_engine_cluster_ns(struct tly_engine *engine, struct tly_time now);

/* What one key holds, as it is. */
struct tly_entry_view {
    const struct tly_strategy *strategy;
    const struct tly_dot
        *dots; /* ascending by version; an unsealed one has its last version, ts 0: none yet */
    size_t count;
    uint64_t now_ms; /* cluster time, to read it by */
    bool unsealed;   /* something was counted since the last hand-over */
    bool is_bucket;
    uint64_t tat_ns, emission_ns, tolerance_ns; /* of a token bucket that was asked here */
};

/* TLY_OK, TLY_NOT_FOUND, TLY_BAD_KEY, TLY_NO_STRATEGY; the view is good until the next call of anything. */
enum tly_result tly_engine_entry(struct tly_engine *engine, struct tly_slice key,
                                 struct tly_entry_view *view) TLY_MUST_CHECK;
/* Peers known, this node not among them. */
size_t tly_engine_peers(const struct tly_engine *engine);
void tly_engine_peer(const struct tly_engine *engine, size_t i, struct tly_peer_view *view);
/* Dots here that it has not acknowledged, for some us if they are a million. False: there is no session, and so it is not known. */
bool tly_engine_peer_lag(const struct tly_engine *engine, size_t i, uint64_t *dots);

#endif
