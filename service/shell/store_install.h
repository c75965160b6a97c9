/*
 * A snapshot that a peer gave, on its way to the disk, where it replaces all that is before it.  Used by the writer thread.
 *
 *     first     a compaction under way gives way; an intent, the log is rolled, a file is begun (store_snapshot.h)
 *     …         its batches go into the file; none of them counts yet
 *     last      the file is synced, and MANIFEST saved with it in place of all before: that is the moment
 *
 * Until then the disk has the old state and what was logged since, which a restart can go on with.  What fails is given up with its
 * file and told (`failed`), for what was synced badly cannot be written again without its content; the engine then gives all anew.  Meanwhile
 * nothing behind it is reported stored.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_INSTALL_H
#define TALLY_SERVICE_SHELL_STORE_INSTALL_H

#include "service/engine/engine.h"
#include "service/shell/store_snapshot.h"

/* A value; owns what `file` does. */
struct tly_install_writer {
    struct tly_snapshot_writer file;
    struct tly_snapshot_writer *compaction; /* borrowed; takes over what could not be removed */
    bool is_open;                           /* some of it has come, and not failed */
    bool has_failed;                        /* and none has succeeded since */
    uint64_t failed;                        /* so many since the start */
};

void tly_install_writer_init(struct tly_install_writer *t, struct tly_snapshot_writer *compaction);
/* Gives up what is under way. */
void tly_install_writer_drop(struct tly_install_writer *t);

/* Not TLY_OK: only the last one does that, and is to be called again with the same. */
enum tly_result tly_install_write(struct tly_install_writer *t, enum tly_effect_kind kind, uint64_t number,
                                  struct tly_slice batch) TLY_MUST_CHECK;

#endif
