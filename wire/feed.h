/*
 * The change feed over a protocol of questions and answers: what a follower that is no node (a cache, a tool) sends, and what it is
 * answered.  Both are a frame whose body is a map, and behind it other frames as between nodes:
 *
 *     question   FEED_ASK, then ROUNDs with dots of the follower's own life, perhaps none
 *     answer     FEED_ANSWER, then one ROUND, or frames of a snapshot, perhaps none
 *
 * Whoever answers keeps nothing of the follower: all of it is in the cursor, which is opaque to the follower and is given back by it.
 * See PROTOCOL.md, 11.
 */
#ifndef TALLY_WIRE_FEED_H
#define TALLY_WIRE_FEED_H

#include "wire/frame.h"
#include "wire/message.h"
#include "wire/snapshot.h"

/* Prefixes that one follower can ask for; without any it is given everything. */
#define TLY_FEED_PREFIXES_MAX 64
#define TLY_FEED_CURSOR_BYTES_MAX (TLY_FRAME_BODY_MAX - 8192)

/* X(NAME, word) */
#define TLY_FEED_VERDICTS(X)    \
    X(UP_TO_DATE, "up_to_date") \
    X(OPS, "ops")               \
    X(COLD_START, "cold_start") \
    X(SNAPSHOT, "snapshot")

enum tly_feed_verdict {
#define TLY_FEED_ENUM(name, word) TLY_FEED_##name,
    TLY_FEED_VERDICTS(TLY_FEED_ENUM)
#undef TLY_FEED_ENUM
        TLY_FEED_VERDICT_COUNT
};

const char *tly_feed_verdict_word(enum tly_feed_verdict verdict);

/* ---- questions ---- */

struct tly_feed_prefix {
    struct tly_slice prefix;
    bool held; /* the follower holds what it was once given of it */
};

struct tly_feed_ask {
    struct tly_slice cursor; /* of the last answer that was taken; empty: none */
    bool delta;              /* capability: takes rounds */
    uint64_t origin;         /* the follower's own life; 0: it writes nothing */
    uint64_t failed;         /* so many answers to this cursor could not be applied */
    uint64_t bytes_max;      /* of an answer, about; 0: as the node likes */
    struct tly_feed_prefix prefixes[TLY_FEED_PREFIXES_MAX];
    size_t prefix_count;
};

void tly_feed_ask_put(struct tly_buf *out, const struct tly_feed_ask *ask);
enum tly_result tly_feed_ask_get(struct tly_slice body, struct tly_feed_ask *ask) TLY_MUST_CHECK;
/* A number that stands for the list of prefixes in its order; 0: everything. */
uint64_t tly_feed_scope(const struct tly_feed_ask *ask);

/* ---- answers ---- */

struct tly_feed_names {
    struct tly_slice names[TLY_FEED_PREFIXES_MAX];
    size_t count;
};

/* What the node has let go because time had ended it, in a whole pass over what it holds. */
struct tly_feed_swept {
    uint64_t upto;    /* F at that time; 0: not known */
    uint64_t now_ms;  /* its time */
    uint64_t skew_ns; /* its max_skew */
};

struct tly_feed_answer {
    enum tly_feed_verdict verdict;
    enum tly_cold_start reason; /* with COLD_START */
    struct tly_slice cursor;    /* to go on from; of a snapshot: once all of it is installed. Empty: none */
    struct tly_slice place;     /* of a snapshot that goes on: the cursor to ask for the rest with */
    bool more;                  /* there is more at once */
    uint64_t origin;            /* the life that answers */
    uint64_t taken;             /* its mark of the follower's own life */
    uint64_t forgotten;         /* it has no REMOVE up to this ts */
    /*
     * Of each row of the round, in their order: 0, or by how much and 1 more the oldest dot of the key that stands at the node is older. msgpack, without
     * the array's head.
     */
    struct tly_slice floors;
    size_t floor_count; /* 0: none are given */
    struct tly_feed_swept swept;
    struct tly_feed_names missing, dropped; /* at the end of a snapshot: prefixes of which there is nothing */
};

void tly_feed_answer_put(struct tly_buf *out, const struct tly_feed_answer *answer);
enum tly_result tly_feed_answer_get(struct tly_slice body, struct tly_feed_answer *answer) TLY_MUST_CHECK;

/* ---- cursors, for the node that gives them out ---- */

/* What both kinds begin with. */
struct tly_feed_base {
    uint64_t origin;  /* the life that gave it */
    uint64_t scope;   /* tly_feed_scope of the question */
    uint64_t session; /* what the node does not keep over a restart is good for this number alone */
    uint64_t late;    /* dots that had come out of order by then */
};

/* Of one life: how far the round under way has come, and of the dots at that ts so many are handed over. */
struct tly_feed_sent {
    uint64_t origin, ts, passed;
};

struct tly_feed_cursor {
    struct tly_feed_base base;
    bool in_round;
    struct tly_marks marks;
    struct tly_cursor sent;
    size_t sent_count;
};

void tly_feed_cursor_put(struct tly_buf *out, const struct tly_feed_cursor *cursor,
                         struct tly_mark_list marks, const struct tly_feed_sent *sent, size_t sent_count);
/* TLY_UNKNOWN_FRAME: of another form, which a later or earlier version gave; TLY_BAD_MESSAGE: nobody gave it. */
enum tly_result tly_feed_cursor_get(struct tly_slice bytes, struct tly_feed_cursor *out) TLY_MUST_CHECK;
bool tly_feed_sent_next(struct tly_feed_cursor *cursor, struct tly_feed_sent *sent);

/* Where the walk of a snapshot stands. */
struct tly_feed_place {
    struct tly_feed_base base;
    uint64_t number, chunks;
    uint64_t at;             /* in the order of hashes */
    struct tly_slice key;    /* of the entry that the last chunk ended in; may be empty */
    struct tly_version sent; /* … and its last dot that is handed over */
    uint64_t seen;           /* a bit for each prefix of which there was something */
};

void tly_feed_place_put(struct tly_buf *out, const struct tly_feed_place *place);
enum tly_result tly_feed_place_get(struct tly_slice bytes, struct tly_feed_place *place) TLY_MUST_CHECK;

#endif
