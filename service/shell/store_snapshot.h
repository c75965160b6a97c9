/*
 * The writing side of a snapshot, snap-<number>.tly, beside the running log.  Used by the writer thread.
 *
 *     begin    an intent is written (intent.h).  The log is rolled: all batches up to now lie before segment <number>, which is also the snapshot's number
 *     put      a batch more
 *     end      the log is synced up to now, then the file; then MANIFEST names it in place of all segments before <number>.  From
 *              that moment it stands in the manifest, and whoever saves that next publishes it
 *     settle   once MANIFEST is saved: what it no longer names is removed, and the intent
 *
 * Until MANIFEST names it, what is there is the old state and a file that nobody reads; afterwards the new state and files that
 * nobody reads.  Such files go at the next start, and while running with the next thing that is written.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_SNAPSHOT_H
#define TALLY_SERVICE_SHELL_STORE_SNAPSHOT_H

#include "service/shell/intent.h"
#include "service/shell/journal.h"
#include "service/shell/segment.h"

/* A value; owns the memory of `out` while it is writing. */
struct tly_snapshot_writer {
    struct tly_storage *storage; /* all three borrowed */
    struct tly_manifest *manifest;
    struct tly_journal *journal;
    bool is_writing, is_awaited; /* awaited: it is done and in the manifest, which is not saved yet */
    bool sweep_due;
    struct tly_intent intent; /* id "": none is under way */
    bool heal_due;            /* one that was finished is still there */
    uint64_t number;
    struct tly_buf out; /* records that are not written yet */
    struct tly_segment_sum sum;
    uint64_t bytes, unsynced;
    uint64_t published, failed; /* so many since the start */
    uint64_t published_bytes;   /* of the one that MANIFEST names */
    char error[256];            /* why the last one failed */
};

/* Each does nothing unless one was begun; what fails ends it, removes the file, and is told by `failed` and `error`. */
void tly_snapshot_begin(struct tly_snapshot_writer *s, enum tly_change_kind kind, const char *actor);
void tly_snapshot_put(struct tly_snapshot_writer *s, struct tly_slice batch);
void tly_snapshot_end(struct tly_snapshot_writer *s);
void tly_snapshot_drop(struct tly_snapshot_writer *s);
/* Something else is to be published, so one that is done is now, and one that is not is given up. Otherwise tly_storage_error says why. */
enum tly_result tly_snapshot_give_way(struct tly_snapshot_writer *s) TLY_MUST_CHECK;
/* After anything else was written. */
void tly_snapshot_settle(struct tly_snapshot_writer *s);

/* Removes files that MANIFEST, which is as it was saved, does not name. `all`: those too that are being made. */
enum tly_result tly_store_sweep(struct tly_storage *storage, const struct tly_manifest *manifest,
                                bool all) TLY_MUST_CHECK;

#endif
