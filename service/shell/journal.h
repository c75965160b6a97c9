/*
 * The writing side of the log: framed batches, the segment they go to, and what happens when the disk refuses.  Used by
 * one thread at a time; it waits for the disk.
 *
 * What is not known to be synced is kept in memory, framed, and so can be written again, to another segment:
 *
 *     kept:   | written to the segment, not synced | not written |
 *             0                              written             n
 *
 *             is full, a sync failed
 *      +--------------------------------------------------+
 *      |                                                  v
 *     OPEN --- an append failed ---> TORN --- cannot ---> CLOSED --- new segment holds ---> STAGED
 *      ^                              |     be truncated    ^        all that is kept,        |
 *      |        truncated             |                     |        synced                   |
 *      +------------------------------+                     +-- (a new one each time)         |
 *      +-------------------------------- MANIFEST names it -----------------------------------+
 *
 * A segment whose sync failed is never synced again: it counts up to what was synced before.  Every step can be tried
 * again by calling tly_journal_write again.
 */
#ifndef TALLY_SERVICE_SHELL_JOURNAL_H
#define TALLY_SERVICE_SHELL_JOURNAL_H

#include "service/shell/manifest.h"
#include "service/shell/recent.h"
#include "service/shell/store.h"

struct tly_journal;

struct tly_journal_config {
    struct tly_storage *storage;   /* borrowed */
    struct tly_manifest *manifest; /* borrowed; nobody else changes its segments */
    uint64_t size;                 /* of the last segment in MANIFEST, all of it valid; 0 if there is none */
    bool is_old;                   /* it is not added to, being of an older format or from before a change */
    uint64_t segment_bytes;        /* a segment of so many bytes is full */
    size_t kept_bytes;             /* that may be kept in memory */
};

/* NULL: no memory. */
struct tly_journal *tly_journal_new(const struct tly_journal_config *config);
void tly_journal_free(struct tly_journal *journal);

/* Frames a batch; tly_journal_write writes it. TLY_FULL: as much is kept as may be; TLY_TOO_LARGE, TLY_NOMEM. */
enum tly_result tly_journal_put(struct tly_journal *journal, uint64_t number,
                                struct tly_slice batch) TLY_MUST_CHECK;
/* Writes what was put, in one append. Otherwise tly_journal_error says why; nothing is lost by it. */
enum tly_result tly_journal_write(struct tly_journal *journal) TLY_MUST_CHECK;
/* Syncs what was written, and settles what is recent, as whoever is about to publish something wants it. A failure closes the segment. */
enum tly_result tly_journal_sync(struct tly_journal *journal) TLY_MUST_CHECK;

/*
 * Ends the segment after all that was put, synced, and begins a new one, whose number is *number. Otherwise tly_journal_error says
 * why, and tly_journal_write goes on.
 */
enum tly_result tly_journal_roll(struct tly_journal *journal, uint64_t *number) TLY_MUST_CHECK;
/*
 * The first half of that: what was put is synced and the segment has ended; tly_journal_write begins the new one. *number: that will
 * have this number, or a later one.
 */
enum tly_result tly_journal_cut(struct tly_journal *journal, uint64_t *number) TLY_MUST_CHECK;
/* From now on; NULL: there is none. Borrowed. */
void tly_journal_set_recent(struct tly_journal *journal, struct tly_recent *recent);
/* Something else than a batch has this number, and is stored now; nothing waits. */
void tly_journal_note(struct tly_journal *journal, uint64_t number);
/* A snapshot stands for all before segment `from`, in MANIFEST, which is to be saved. `change`: the id of its intent. */
void tly_journal_drop_before(struct tly_journal *journal, uint64_t from, const char *change);

/* Something waits for tly_journal_write. */
bool tly_journal_is_behind(const struct tly_journal *journal);
/* Something waits for tly_journal_sync. */
bool tly_journal_is_unsynced(const struct tly_journal *journal);
/* More is kept in memory than is good (a quarter of kept_bytes): sync, whatever the setting. */
bool tly_journal_wants_sync(const struct tly_journal *journal);

/* The last batch that was written, and that was synced. */
uint64_t tly_journal_written(const struct tly_journal *journal);
uint64_t tly_journal_synced(const struct tly_journal *journal);
/* Of all segments, and of the last. */
uint64_t tly_journal_bytes(const struct tly_journal *journal);
uint64_t tly_journal_size(const struct tly_journal *journal);
/* What failed last, and whether for want of space alone. */
bool tly_journal_lacks_space(const struct tly_journal *journal);
const char *tly_journal_error(const struct tly_journal *journal);

#endif
