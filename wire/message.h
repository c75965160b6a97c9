/*
 * The messages that frames carry.  Encoders append a body to a buffer (failure in out->result); decoders own nothing: every
 * slice in what they give borrows from the body, and lists stay encoded and are walked with a cursor.
 * All of it is specified in PROTOCOL.md.
 */
#ifndef TALLY_WIRE_MESSAGE_H
#define TALLY_WIRE_MESSAGE_H

#include "crdt/registry.h"
#include "wire/buf.h"
#include "wire/cursor.h"

#define TLY_PROTOCOL_OLDEST 1
#define TLY_PROTOCOL_NEWEST 2

#define TLY_NAME_BYTES_MAX 64
#define TLY_ADDRESS_BYTES_MAX 255
#define TLY_REASON_BYTES_MAX 255
#define TLY_MARKS_MAX 8192

/* One life and how far it is known. */
struct tly_mark {
    uint64_t origin;
    uint64_t ts;
};

/* Marks, encoded: a msgpack array origin, ts, origin, ts, … A longer list than TLY_MARKS_MAX is TLY_TOO_LARGE. */
void tly_marks_put(struct tly_buf *out, const struct tly_mark *marks, size_t count);

/* A borrow: marks in memory. */
struct tly_mark_list {
    const struct tly_mark *marks;
    size_t count;
};

struct tly_marks {
    struct tly_cursor cursor; /* behind the array's head */
    size_t left;
};

/* Checks a list and passes over it; gives the walk over it. A malformed one fails the cursor and the walk is empty. */
struct tly_marks tly_marks_get(struct tly_cursor *cursor);
/* The next mark; false at the end. A list inside a decoded message is well-formed. */
bool tly_marks_next(struct tly_marks *marks, struct tly_mark *mark);

/* ---- HELLO ---- */

/* Prefixes, encoded: a msgpack array prefix, word, prefix, word, … (wire/table.h). */
struct tly_prefixes {
    struct tly_cursor cursor;
    size_t left;
};

bool tly_prefixes_next(struct tly_prefixes *prefixes, struct tly_slice *prefix, uint64_t *word);

struct tly_hello {
    uint64_t version_oldest, version_newest;
    struct tly_slice cluster, name, address; /* address: host:port to dial, or empty */
    uint64_t origin;
    uint64_t wall_ns; /* the sender's wall clock */
    bool delta;       /* capability: takes rounds */
    uint64_t table;   /* numbers that it holds for a stream to it; 0: as many as there may be */
    bool snapshot;    /* capability: knows the messages of wire/snapshot.h */
    bool repair;      /* … of wire/repair.h */
    bool resume;      /* … how a snapshot that was cut off goes on */
    bool news;        /* … what is new while one is under way */
    bool columns;     /* … chunks in the form of PART */
    struct tly_prefixes prefixes;
    struct tly_marks marks;
};

/*
 * `prefixes` and `marks` of hello are not read: the registry and the list are given beside it. Name and cluster have at
 * least one byte. TLY_TOO_LARGE: a string or the list is longer than its limit.
 */
void tly_hello_put(struct tly_buf *out, const struct tly_hello *hello, const struct tly_registry *registry,
                   const struct tly_mark *marks, size_t mark_count);
/* Unknown map keys are skipped; one missing or there twice, a wrong magic or a bound overstepped is TLY_BAD_MESSAGE. */
enum tly_result tly_hello_get(struct tly_slice body, struct tly_hello *hello) TLY_MUST_CHECK;

/* ---- ROUND ---- */

/*
 * A round brings a follower from its marks to the sender's. A long one goes in parts: the first carries the start marks,
 * the last the end marks, which the receiver takes over when it has applied all parts. The body of a part:
 *
 *     [flags, start marks, lives, rows, end marks]
 *     lives  [origin, …]            named by number in the rows
 *     row    [key, strategy id, life number, ts - ts of the row before (signed, wrapping), op, word…, bytes?]
 */
enum { TLY_ROUND_FIRST = 1, TLY_ROUND_LAST = 2 };

/* Lives that one part can name. */
#define TLY_ROUND_LIVES_MAX 1024
/* Bytes of one part's rows. The largest row fits, and beside the rows all lives and TLY_MARKS_MAX start and end marks. */
#define TLY_ROUND_ROWS_BYTES_MAX ((size_t)96 * 1024)

struct tly_round_writer {
    struct tly_buf rows;
    size_t row_count;
    uint64_t last_ts;
    uint64_t lives[TLY_ROUND_LIVES_MAX];
    size_t life_count;
};

void tly_round_writer_init(struct tly_round_writer *writer, const struct tly_mem *mem);
void tly_round_writer_fini(struct tly_round_writer *writer);
/* Empty again. */
void tly_round_writer_clear(struct tly_round_writer *writer);
/*
 * Adds a sealed dot of a well-formed payload; false when it does not fit any more (too many lives, or
 * TLY_ROUND_ROWS_BYTES_MAX): finish this part first. An empty writer takes any dot. Also false when there is no memory:
 * writer->rows.result is then TLY_NOMEM, as is what finish gives, until the writer is cleared.
 */
bool tly_round_writer_add(struct tly_round_writer *writer, struct tly_slice key,
                          const struct tly_strategy *strategy, const struct tly_dot *dot);
/* Bytes of the rows so far. */
size_t tly_round_writer_bytes(const struct tly_round_writer *writer);
/*
 * Appends the body of the part. The start marks are read only with TLY_ROUND_FIRST, the end marks only with
 * TLY_ROUND_LAST. When both lists are long (more than TLY_MARKS_MAX together) send them in different parts.
 */
void tly_round_writer_finish(const struct tly_round_writer *writer, unsigned flags,
                             struct tly_mark_list start, struct tly_mark_list end, struct tly_buf *out);

struct tly_round {
    unsigned flags;
    struct tly_marks start, end;
    uint64_t lives[TLY_ROUND_LIVES_MAX];
    size_t life_count;
    struct tly_cursor rows;
    size_t row_count;
};

struct tly_row {
    struct tly_slice key;
    uint64_t strategy_id;
    struct tly_dot dot;
    uint32_t hash; /* of the key, for tly_seek_known; 0: it is not known */
};

/* Asks for the memory of a row: who takes them by age (tly_part) comes to them in no order. */
static inline void tly_row_prefetch(const struct tly_row *row)
{
    __builtin_prefetch(row);
    __builtin_prefetch(&row->hash);
}

/*
 * Checks the whole body, rows included, so that walking it cannot fail: shapes, bounds, life numbers, no bytes
 * left over. A row of an unknown strategy id keeps the body well-formed: its words are skipped (dot.num is 0) and the
 * receiver decides. Payloads are judged by tly_dot_check, later.
 */
enum tly_result tly_round_get(struct tly_slice body, struct tly_round *round) TLY_MUST_CHECK;

/* Walks the rows. A borrow of the round. */
struct tly_rows {
    const struct tly_round *round;
    struct tly_cursor cursor;
    size_t left;
    uint64_t last_ts;
};

struct tly_rows tly_rows_of(const struct tly_round *round);
bool tly_rows_next(struct tly_rows *rows, struct tly_row *row);

/* ---- the small ones ---- */

/*
 * ACK: the sender's marks that changed since it last told. WANTED and KEPT have the same form, with one mark: somebody waits until the
 * sender's life is known up to there; what the receiver made is stored up to there.
 */
void tly_ack_put(struct tly_buf *out, const struct tly_mark *marks, size_t count);
enum tly_result tly_ack_get(struct tly_slice body, struct tly_marks *marks) TLY_MUST_CHECK;

/* NAK: a round was not taken. `result` names why (TLY_CLOCK_AHEAD, or TLY_STALE when its start was not covered). */
void tly_nak_put(struct tly_buf *out, enum tly_result result, const struct tly_mark *marks, size_t count);
enum tly_result tly_nak_get(struct tly_slice body, struct tly_slice *result_name,
                            struct tly_marks *marks) TLY_MUST_CHECK;

/* PING carries the sender's monotonic time and wall clock; PONG gives both back with the answerer's wall clock. */
struct tly_ping {
    uint64_t mono_ns; /* of who asked */
    uint64_t wall_ns; /* of who sends this frame */
};

void tly_ping_put(struct tly_buf *out, const struct tly_ping *ping);
enum tly_result tly_ping_get(struct tly_slice body, struct tly_ping *ping) TLY_MUST_CHECK;

/* PROBE asks another member when it last heard a third one; PROBED answers. */
struct tly_probe {
    uint64_t nonce;        /* of who asks, given back */
    struct tly_slice name; /* of the third */
    uint64_t heard_ms;     /* PROBED: so long ago; UINT64_MAX: never. In a PROBE 0 */
};

void tly_probe_put(struct tly_buf *out, const struct tly_probe *probe);
enum tly_result tly_probe_get(struct tly_slice body, struct tly_probe *probe) TLY_MUST_CHECK;

/*
 * GOODBYE: the last frame: a stable word (such as "leaving", "duplicate", "cluster"), at most TLY_NAME_BYTES_MAX, and a
 * sentence for the log, cut off at TLY_REASON_BYTES_MAX: a farewell that is too long is better than none.
 */
void tly_goodbye_put(struct tly_buf *out, struct tly_slice word, struct tly_slice text);
enum tly_result tly_goodbye_get(struct tly_slice body, struct tly_slice *word,
                                struct tly_slice *text) TLY_MUST_CHECK;

#endif
