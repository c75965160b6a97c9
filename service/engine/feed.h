/*
 * The change feed for followers that are no nodes: a cache, a tool.  Each asks when it likes, gives its cursor, and is answered from the
 * same log as every other follower (follower.h); nothing of it is kept here between two questions.
 *
 *     sync       up_to_date | ops, and the next cursor | cold_start and why
 *     snapshot   the next piece of all that stands, and with the first one the cursor to go on from afterwards
 *
 * Of a follower that writes, the dots of its own life come with its question; they are joined like those of a peer, so an answer that
 * was lost only makes it send them again.
 *
 * A dot that comes in below what was handed over already would be missed by a cursor that nobody holds.  So the latest of those are
 * kept here by number, and a cursor says how many of them it has seen.
 */
#ifndef TALLY_SERVICE_ENGINE_FEED_H
#define TALLY_SERVICE_ENGINE_FEED_H

#include "service/engine/engine.h"
#include "wire/feed.h"

/* Bytes of rows in one answer; what a follower asks for is brought into these bounds. */
#define TLY_FEED_BYTES_LEAST (4u * 1024u)
#define TLY_FEED_BYTES_MAX (64u * 1024u)
#define TLY_FEED_BYTES_USUAL (32u * 1024u)
/* A whole answer. */
#define TLY_FEED_ANSWER_BYTES_MAX (4 * TLY_FRAME_BODY_MAX)
/* From so many answers to one cursor that could not be applied on, a snapshot it is. */
#define TLY_FEED_FAILED_MAX 2

/* What was answered, for a log or a header. */
struct tly_feed_said {
    enum tly_feed_verdict verdict;
    enum tly_cold_start reason;
};

/*
 * Answers a question; both appended to `out` and read from `question` are as wire/feed.h has them. Of anything but TLY_OK nothing was
 * changed and nothing is to be sent:
 *   TLY_BAD_FRAME, TLY_BAD_CHECKSUM, TLY_TOO_LARGE, TLY_BAD_MESSAGE, TLY_UNKNOWN_FRAME, TLY_MORE (it is cut off)
 *   TLY_CLOCK_AHEAD, TLY_NO_STRATEGY, TLY_WRONG_STRATEGY, TLY_BAD_KEY, TLY_READ_ONLY
 *                 of the follower's dots, none of which is taken
 *   TLY_OWN_LIFE  it writes under a life that is not its own
 *   TLY_FULL      nothing can be answered now, or no further life be known
 *   TLY_NOMEM, TLY_CLOCK_END
 */
enum tly_result tly_feed_sync(struct tly_engine *engine, struct tly_slice question, struct tly_time now,
                              struct tly_feed_said *said, struct tly_buf *out) TLY_MUST_CHECK;
enum tly_result tly_feed_snapshot(struct tly_engine *engine, struct tly_slice question, struct tly_time now,
                                  struct tly_feed_said *said, struct tly_buf *out) TLY_MUST_CHECK;

#endif
