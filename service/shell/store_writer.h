/*
 * The store's writer thread: takes what waits, hands it to the journal as one append, syncs as the setting says, makes
 * leases durable, and reports.  While it runs, storage, MANIFEST and journal are its own.  With limits.hand there is no
 * thread: whoever calls tly_writer_work is it.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_WRITER_H
#define TALLY_SERVICE_SHELL_STORE_WRITER_H

#include "service/shell/journal.h"
#include "service/shell/manifest.h"
#include "service/shell/store_internal.h"

struct tly_writer;

/* All borrowed, until tly_writer_stop returns true or abandoned() is called. */
struct tly_writer_config {
    struct tly_storage *storage;
    struct tly_manifest *manifest;
    struct tly_journal *journal;
    struct tly_recent *recent; /* NULL: there is none */
    uint64_t snapshot_bytes;   /* of the snapshot in use */
    bool sweep_due;            /* files were left over and could not be removed */
    bool heal_due;             /* … intents, and could not be finished */
    bool left_due;             /* the journal has what an earlier process left: that goes ahead of all else */
    int wakeup_fd;             /* an eventfd */
    enum tly_fsync fsync;
    struct tly_store_limits limits;
    void (*abandoned)(void *context);
    void *context;
};

/* NULL: no memory, or no thread. */
struct tly_writer *tly_writer_start(const struct tly_writer_config *config);

/* As the functions of the store with these names. */
enum tly_result tly_writer_append(struct tly_writer *writer, uint64_t number,
                                  struct tly_slice bytes) TLY_MUST_CHECK;
enum tly_result tly_writer_change(struct tly_writer *writer, const struct tly_effect *effect) TLY_MUST_CHECK;
enum tly_result tly_writer_image(struct tly_writer *writer, enum tly_store_image what,
                                 struct tly_slice bytes) TLY_MUST_CHECK;
void tly_writer_lease(struct tly_writer *writer, uint64_t lease);
void tly_writer_poll(struct tly_writer *writer, struct tly_store_report *report);

/* As tly_store_work. */
uint64_t tly_writer_work(struct tly_writer *writer);

/*
 * Writes and syncs what waits, close_ms at most, and sets the clean mark if wanted and nothing is left.
 *   true    the thread has ended and the writer is gone
 *   false   the disk does not answer: should it ever, the writer ends by itself and its thread calls abandoned()
 */
bool tly_writer_stop(struct tly_writer *writer, bool clean) TLY_MUST_CHECK;

#endif
