/*
 * The other end of the feed (feed.h): keeps an engine that has not begun a life equal to a node.  Pure: questions out, answers in; what
 * was applied comes out as batches, which tly_engine_replay takes when they are read back.
 *
 *     SYNC  --cold_start, or another list of prefixes-->  SNAPSHOT  --all of it is installed-->  SYNC
 *
 * Durable state: once every batch that was given out is durable, what tly_mirror_state_put writes may be made durable too, never before.
 * What is lost is then only asked for again.
 *
 * An answer is checked whole and then applied whole; one that cannot be applied moves nothing and is asked for again.  After the second
 * time the node is told so, and sends a snapshot; dots of that which cannot be read here are kept out of it and counted.
 */
#ifndef TALLY_SERVICE_ENGINE_MIRROR_H
#define TALLY_SERVICE_ENGINE_MIRROR_H

#include "service/engine/feed.h"

struct tly_mirror;

struct tly_mirror_config {
    struct tly_engine *engine;        /* borrowed; no life has begun in it */
    bool no_delta;                    /* live on snapshots */
    uint64_t bytes_max;               /* of an answer, about; 0: as the node likes */
    const struct tly_slice *prefixes; /* borrowed; none: everything */
    size_t prefix_count;
};

/* TLY_OK, TLY_NOMEM, TLY_TOO_LARGE (more than TLY_FEED_PREFIXES_MAX), TLY_BAD_KEY. */
enum tly_result tly_mirror_new(const struct tly_mirror_config *config,
                               struct tly_mirror **out) TLY_MUST_CHECK;
void tly_mirror_free(struct tly_mirror *mirror);

/*
 * What was durable once. TLY_BAD_MESSAGE: it is not what tly_mirror_state_put wrote. What is behind it in the engine does no harm.
 */
enum tly_result tly_mirror_state_get(struct tly_mirror *mirror, struct tly_slice state) TLY_MUST_CHECK;
void tly_mirror_state_put(const struct tly_mirror *mirror, struct tly_buf *out);

/* Appends the next question; true: it is for /v1/snapshot, false: for /v1/sync. */
bool tly_mirror_ask(struct tly_mirror *mirror, struct tly_buf *out);

/* Takes what has to be durable before the state may be. */
struct tly_mirror_sink {
    enum tly_result (*batch)(void *context, struct tly_slice batch);
    /* A dot of a snapshot that is left out; may be NULL. */
    void (*kept_out)(void *context, struct tly_slice key, enum tly_result why);
    void *context;
};

struct tly_mirror_news {
    enum tly_feed_verdict verdict;
    enum tly_cold_start reason;
    bool more;      /* ask again at once */
    bool installed; /* a snapshot has replaced what was here */
    uint64_t dots;  /* in the answer */
    uint64_t kept_out;
    struct tly_feed_names missing, dropped; /* borrow from the answer */
};

/*
 * Takes an answer. Of anything but TLY_OK nothing has moved, though of a round some dots may be here already:
 *   TLY_CLOCK_AHEAD    versions lie too far ahead of this machine's clock
 *   TLY_NO_STRATEGY, TLY_WRONG_STRATEGY, TLY_BAD_KEY  of a dot: twice, and a snapshot follows
 *   TLY_MORE, TLY_BAD_FRAME, TLY_BAD_CHECKSUM, TLY_BAD_MESSAGE, TLY_UNKNOWN_FRAME, TLY_TOO_LARGE  it is no answer
 *   TLY_STALE          it does not go on from what is here: a snapshot is asked for next
 *   TLY_NOMEM
 *   what sink.batch gave: the mirror knows more than its disk now, and must be made again from that
 */
enum tly_result tly_mirror_take(struct tly_mirror *mirror, struct tly_slice answer, struct tly_time now,
                                const struct tly_mirror_sink *sink,
                                struct tly_mirror_news *news) TLY_MUST_CHECK;

/* A number that equal contents share, as tly_engine_node gives it. */
uint64_t tly_mirror_digest(struct tly_mirror *mirror);

#endif
