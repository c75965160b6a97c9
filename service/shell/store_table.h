/*
 * A change of the table of prefixes, on its way to the disk beside the batches before and after it.  Used by the writer thread.
 *
 *     INTENT   it is written
 *     CUT      all before it is in segments that have ended, synced
 *     ROWS     the batches that belong to it, which came before it, are the first of the segment to come
 *     then     that segment is written and synced; MANIFEST is saved with it, the new table, and the id of the change: that is the
 *              moment.  What changed counts from that segment on.  Its row, and the intent's end
 *
 * Each step is tried again until it is done, and nothing behind it is written before that, so the disk has either the old table and
 * batches from before, or the new one.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_TABLE_H
#define TALLY_SERVICE_SHELL_STORE_TABLE_H

#include "service/engine/engine.h"
#include "service/shell/store.h"
#include "service/shell/store_snapshot.h"

enum tly_table_step { TLY_TABLE_BEGINS, TLY_TABLE_INTENT, TLY_TABLE_CUT, TLY_TABLE_ROWS };

/* A value; owns its rows. */
struct tly_table_writer {
    struct tly_snapshot_writer
        *snapshot; /* borrowed, with what that borrows; takes over intents that could not be ended */
    enum tly_table_step step;
    struct tly_intent intent; /* id "": none is under way */
    uint64_t from;
    struct tly_buf rows; /* batches of the change to come, each as bin */
    size_t rows_put;     /* bytes of them that the journal has */
    uint64_t published;  /* so many since the start */
    char error[256];     /* why it did not get on */
};

void tly_table_writer_init(struct tly_table_writer *t, struct tly_snapshot_writer *snapshot);
void tly_table_writer_fini(struct tly_table_writer *t);

/* A batch that belongs to the next change. Not TLY_OK: it is to be called again with the same. */
enum tly_result tly_table_add_rows(struct tly_table_writer *t, struct tly_slice batch) TLY_MUST_CHECK;
/* Goes as far as it can with this change, which is the batch of that number. Not TLY_OK: it is to be called again with the same. */
enum tly_result tly_table_write(struct tly_table_writer *t, uint64_t number,
                                struct tly_slice bytes) TLY_MUST_CHECK;

#endif
