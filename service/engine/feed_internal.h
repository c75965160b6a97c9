/* One question of a feed follower while it is answered: what feed.c (questions, verdicts) and feed_give.c (what is handed out) share. */
#ifndef TALLY_SERVICE_ENGINE_FEED_INTERNAL_H
#define TALLY_SERVICE_ENGINE_FEED_INTERNAL_H

#include "service/engine/feed.h"
#include "service/engine/impl.h"

struct tly_feed {
    struct tly_engine *e;
    struct tly_feed_ask ask;
    struct tly_slice uploads;      /* frames behind the question */
    bool takes;                    /* the rounds in them go on from what is here */
    bool is_readable;              /* the cursor */
    struct tly_feed_cursor cursor; /* as it came */
    struct tly_follower follower;  /* made from it, for this answer */
    struct tly_feed_answer answer;
    struct tly_buf *out;
};

/* Of the question, and of prefixes that mean another thing than once: no change brings up who has what was before. */
uint64_t tly_feed_scope_now(const struct tly_feed *feed);
/* Whether this node gave the cursor, in this life, and has installed nothing since. */
bool tly_feed_is_going_on(const struct tly_feed *feed);
/* Has the follower stand where the cursor says. */
enum tly_result tly_feed_follow(struct tly_feed *feed) TLY_MUST_CHECK;
/* The next part of its round, or that there is nothing; with the answer before it. */
enum tly_result tly_feed_give_round(struct tly_feed *feed) TLY_MUST_CHECK;
/* The next piece of a snapshot. */
enum tly_result tly_feed_give_snapshot(struct tly_feed *feed) TLY_MUST_CHECK;
/* Has the answer say, of the rows of the round, what of their keys stands no more; in `floors`. */
enum tly_result tly_feed_put_floors(struct tly_feed *feed, struct tly_slice body,
                                    struct tly_buf *floors) TLY_MUST_CHECK;
/* Writes the answer, which is complete, as a frame. */
void tly_feed_finish(struct tly_feed *feed);

#endif
