/* The store with other limits than those of tly_store_open, and without its thread. */
#ifndef TALLY_SERVICE_SHELL_STORE_INTERNAL_H
#define TALLY_SERVICE_SHELL_STORE_INTERNAL_H

#include "service/shell/store.h"

/* The clock of a store that has no thread. */
struct tly_store_hand {
    uint64_t (*now_ns)(void *context);
    void *context;
};

struct tly_store_limits {
    uint64_t segment_bytes;            /* a segment of so many bytes is full */
    size_t waiting_bytes;              /* batches handed over and not written */
    size_t kept_bytes;                 /* batches written and not synced */
    size_t image_bytes;                /* batches of a snapshot handed over and not written */
    size_t recent_bytes;               /* of each half of what survives the process; 0: there is none */
    uint32_t gather_ms;                /* so long what is there waits for more */
    uint32_t interval_ms;              /* of fsync=interval */
    uint32_t retry_ms;                 /* before the first repetition of what failed; doubled each time … */
    uint32_t retry_max_ms;             /* … up to here */
    uint32_t close_ms;                 /* for what is left when the store is closed */
    const struct tly_store_hand *hand; /* tly_store_work does the work; NULL: a thread. Borrowed */
};

struct tly_store_limits tly_store_limits_default(void);

enum tly_result tly_store_open_limited(struct tly_storage *storage, enum tly_fsync fsync,
                                       const struct tly_store_limits *limits, struct tly_store **out,
                                       char *error, size_t size) TLY_MUST_CHECK;

/*
 * Of a store without a thread, after begin: does what the thread would do now. When it would do more, by that clock; UINT64_MAX: when it
 * is asked to. tly_store_close does the rest at one moment, once.
 */
uint64_t tly_store_work(struct tly_store *store);

#endif
