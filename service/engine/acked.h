/*
 * How far what was written here has come.  Four words, each more than the one before:
 *
 *     queued    it is in the log, and goes to whoever can be reached
 *     sent      it was handed to the connections of so many nodes
 *     merged    so many have said that they have it
 *     durable   so many have it on their disks, as safe as their fsync promises
 *
 * Who waits has a peer say its marks at once, and when they are stored; without anybody waiting none of that is sent.
 */
#ifndef TALLY_SERVICE_ENGINE_ACKED_H
#define TALLY_SERVICE_ENGINE_ACKED_H

#include "service/engine/engine.h"

/* X(NAME, word) */
#define TLY_REACHES(X)  \
    X(QUEUED, "queued") \
    X(SENT, "sent")     \
    X(MERGED, "merged") \
    X(DURABLE, "durable")

enum tly_reached {
#define TLY_REACHED_ENUM(name, word) TLY_REACHED_##name,
    TLY_REACHES(TLY_REACHED_ENUM)
#undef TLY_REACHED_ENUM
        TLY_REACHED_COUNT
};

const char *tly_reached_word(enum tly_reached reached);

/* Under way at the same time. */
#define TLY_ACKS_MAX 1024
/* More nodes than this nobody waits for. */
#define TLY_ACK_NODES_MAX 1024

struct tly_ack_wish {
    uint64_t nodes;      /* other than this one */
    bool durable;        /* wait until it is durable there, not only merged */
    uint64_t timeout_ns; /* 0: as long as it takes */
};

struct tly_acked {
    bool done;                      /* what was wished for is reached, or the time is over */
    enum tly_reached reached;       /* at the nodes wished for; with none: queued */
    uint64_t sent, merged, durable; /* at so many nodes */
};

/* Somebody who waits; an object, to be freed before the engine. */
struct tly_ack;

/*
 * Waits for all that was written here until now. When it is done, TLY_DO_ACKED says that somebody is.
 * TLY_OK, TLY_FULL (TLY_ACKS_MAX wait already), TLY_NOMEM, TLY_CLOCK_END.
 */
enum tly_result tly_ack_new(struct tly_engine *engine, const struct tly_ack_wish *wish, struct tly_time now,
                            struct tly_ack **out) TLY_MUST_CHECK;
struct tly_acked tly_ack_look(const struct tly_ack *ack);
/* What was reached by then is counted. */
void tly_ack_free(struct tly_ack *ack);

#endif
