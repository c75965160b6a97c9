/*
 * A change of the table of prefixes, on its way to the disk beside the batches before and after it.  Used by the writer thread.
 *
 *     INTENT   it is written
 *     CUT      all before it is in segments that have ended, synced
 *     LISTED   the new table and the id of the change are in the manifest, the new segment's number as `from` of what changed
 *     then     MANIFEST is saved as the new segment is published: that is the moment; its row, and the intent's end
 *
 * Each step is tried again until it is done, and nothing behind it is written before that, so the disk has either the old table and
 * batches from before, or the new one.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_TABLE_H
#define TALLY_SERVICE_SHELL_STORE_TABLE_H

#include "service/engine/engine.h"
#include "service/shell/store.h"
#include "service/shell/store_snapshot.h"

enum tly_table_step { TLY_TABLE_BEGINS, TLY_TABLE_INTENT, TLY_TABLE_CUT, TLY_TABLE_LISTED };

/* A value. */
struct tly_table_writer {
    struct tly_snapshot_writer
        *snapshot; /* borrowed, with what that borrows; takes over intents that could not be ended */
    enum tly_table_step step;
    struct tly_intent intent; /* id "": none is under way */
    uint64_t from;
    uint64_t published; /* so many since the start */
    char error[256];    /* why it did not get on */
};

/* Goes as far as it can with this change, which is the batch of that number. Not TLY_OK: it is to be called again with the same. */
enum tly_result tly_table_write(struct tly_table_writer *t, uint64_t number,
                                struct tly_slice bytes) TLY_MUST_CHECK;

#endif
