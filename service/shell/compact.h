/*
 * The loop's side of a snapshot: watches how the log grows, and when it is larger than twice the state walks over the state in
 * slices, between which the loop does its other work, and hands them to the store's writer.
 *
 *     RESTING -- log too large --> BEGINNING -- at the end of a batch --> WALKING -- all handed over --> ENDING
 *        ^                                                                   |                             |
 *        |                                                             disk fails, no memory       all of it is stored
 *        |                                                                   v                             v
 *        +----------------- published, or given up for a while --------------+----------------------- PUBLISHING
 *
 * An object; it borrows engine and store.
 */
#ifndef TALLY_SERVICE_SHELL_COMPACT_H
#define TALLY_SERVICE_SHELL_COMPACT_H

#include "service/engine/engine.h"
#include "service/shell/log.h"
#include "service/shell/store.h"

struct event_base;
struct tly_compact;

struct tly_compact_config {
    struct event_base *base;
    struct tly_engine *engine;
    struct tly_store *store;
    struct tly_log *log;
    uint64_t log_bytes_min; /* a log up to here is left alone */
};

/* NULL: no memory. */
struct tly_compact *tly_compact_new(const struct tly_compact_config *config);
/* A snapshot under way is dropped. */
void tly_compact_free(struct tly_compact *compact);
/* What the store said last. */
void tly_compact_report(struct tly_compact *compact, const struct tly_store_report *report);
/* Whether the last one was given up. */
bool tly_compact_gave_up(const struct tly_compact *compact);
/* The longest time that the loop gave it in one turn. */
uint64_t tly_compact_turn_max_ns(const struct tly_compact *compact);

#endif
