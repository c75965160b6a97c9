/* The store with other limits than those of tly_store_open. */
#ifndef TALLY_SERVICE_SHELL_STORE_INTERNAL_H
#define TALLY_SERVICE_SHELL_STORE_INTERNAL_H

#include "service/shell/store.h"

struct tly_store_limits {
    uint64_t segment_bytes; /* a segment of so many bytes is full */
    size_t waiting_bytes;   /* batches handed over and not written */
    size_t kept_bytes;      /* batches written and not synced */
    size_t image_bytes;     /* batches of a snapshot handed over and not written */
    uint32_t interval_ms;   /* of fsync=interval */
    uint32_t retry_ms;      /* before the first repetition of what failed; doubled each time … */
    uint32_t retry_max_ms;  /* … up to here */
    uint32_t close_ms;      /* for what is left when the store is closed */
};

struct tly_store_limits tly_store_limits_default(void);

enum tly_result tly_store_open_limited(struct tly_storage *storage, enum tly_fsync fsync,
                                       const struct tly_store_limits *limits, struct tly_store **out,
                                       char *error, size_t size) TLY_MUST_CHECK;

#endif
