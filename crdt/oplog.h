/*
 * The operation log of one life: records (ts, entry) in ts order.  A record is live while the entry still holds that
 * dot.  Appending is O(1); a record that comes out of order (two relays) is put in place when the log is next read.
 * Compaction drops the dead ones; it runs when dead > live and dead > 64 and never drops a live one.
 */
#ifndef TALLY_CRDT_OPLOG_H
#define TALLY_CRDT_OPLOG_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct tly_record {
    uint64_t ts;
    uint32_t entry;
};

struct tly_oplog {
    struct tly_record *records;
    size_t count, capacity;
    size_t ordered; /* so many of them, from the first on, stand in order; late ones come behind */
    size_t dead;
};

/*
 * Whether the entry holds more than `nth` dots of the record's version. Equal records stand side by side and nth counts them:
 * there is more than one only if two dots were forged with one version, or a dropped dot was taken again.
 */
typedef bool tly_is_live(const void *context, const struct tly_record *record, size_t nth);

/* Room for one more record. False: no memory. */
bool tly_oplog_reserve(struct tly_oplog *log, const struct tly_mem *mem);
/* After tly_oplog_reserve. */
void tly_oplog_append(struct tly_oplog *log, struct tly_record record);
/* One of the records has lost its dot: counts it, and compacts when that is due. */
void tly_oplog_died(struct tly_oplog *log, tly_is_live *is_live, const void *context);
void tly_oplog_fini(struct tly_oplog *log, const struct tly_mem *mem);

/* The place of the first record with ts > after; sorts first if need be. */
size_t tly_oplog_after(struct tly_oplog *log, uint64_t after_ts);

#endif
