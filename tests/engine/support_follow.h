/* A follower of the feed beside engines in virtual time: what it was given stays in memory as its disk would have it. */
#ifndef TALLY_TESTS_ENGINE_SUPPORT_FOLLOW_H
#define TALLY_TESTS_ENGINE_SUPPORT_FOLLOW_H

#include "service/engine/mirror.h"
#include "tests/engine/support_net.h"

struct follow {
    struct tly_engine *engine;
    struct tly_mirror *mirror;
    struct tly_buf batches; /* length (8 bytes), bytes, … */
    struct tly_buf state;   /* as it was last durable */
    struct tly_buf question, answer;
    bool no_delta;
    bool is_node_old; /* what the node says of what has ended there does not come */
    uint64_t bytes_max;
    struct tly_slice prefixes[TLY_FEED_PREFIXES_MAX];
    size_t prefix_count;
    /* What happened since follow_new: */
    size_t answers[TLY_FEED_VERDICT_COUNT], reasons[TLY_COLD_START_COUNT], failures, kept_out, bytes;
    char missing[256], dropped[256]; /* names, each with a space behind */
};

/* With what is set in it: no_delta, bytes_max, prefixes. */
void follow_begin(struct follow *f, struct net *net, size_t node);
void follow_end(struct follow *f);
/* It is killed, and starts from what is durable: all batches, and the state of the last tick. */
void follow_restart(struct follow *f, struct net *net, size_t node);
/* One question and its answer. What tly_mirror_take said; more is in f->news. */
enum tly_result follow_ask(struct follow *f, struct net *net, size_t node, struct tly_mirror_news *news);
/* Asks until there is nothing more, or one answer cannot be taken. */
enum tly_result follow_tick(struct follow *f, struct net *net, size_t node);
/* What a counter reads there; INT64_MIN: it is absent. */
int64_t follow_read(struct follow *f, const char *key);
bool follow_is_equal(struct follow *f, struct net *net, size_t node);

#endif
