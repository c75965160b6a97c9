/*
 * The store: batches appended to a log, read back at the start; the node's identity and lease.
 *
 *     DIR/LOCK        flock for the daemon's life, the holder's pid inside
 *     DIR/MANIFEST    name, origin, lease, clean-stop mark, revision, which snapshot and log segments are the state; replaced
 *                     atomically
 *     DIR/reserve     made by a clean stop; given up for room for MANIFEST when a start finds the disk full
 *     DIR/log-N.tly   a header, then frames of the wire, each one batch; segments roll at 64 MiB
 *     DIR/snap-N.tly  the same: what the log before log-N.tly came to
 *     DIR/recent      what was handed over last and the log may not have yet, for a crash of the process (recent.h)
 *     DIR/intent/     changes of many steps that are under way (intent.h); DIR/audit.log: what became of them
 *
 * Disk work happens on one writer thread.  The loop hands over and polls; it never waits for the disk.
 * Everything that touches files goes through storage.h.
 */
#ifndef TALLY_SERVICE_SHELL_STORE_H
#define TALLY_SERVICE_SHELL_STORE_H

#include "crdt/clock.h"
#include "crdt/dot.h"
#include "crdt/result.h"
#include "service/shell/storage.h"

/*
 * always: a batch is stored once synced; interval, never: once written (safe from a crash of the process).  Never does not
 * sync by time, but what is not synced is kept in memory, so every 16 MiB and every segment are.
 */
enum tly_fsync { TLY_FSYNC_ALWAYS, TLY_FSYNC_INTERVAL, TLY_FSYNC_NEVER };

#define TLY_FSYNC_INTERVAL_MS 1000

struct tly_engine;
struct tly_effect;
struct tly_store;
struct tly_kept_intent;

/* What the store knows of the node that used it. */
struct tly_identity {
    char name[65];   /* "" in a new store */
    uint64_t origin; /* 0 in a new store; from tly_store_begin on, that of now */
    uint64_t lease;
    /* The life may go on: the stop was clean, and this is the same directory on the same machine, not a copy. */
    bool may_continue;
    bool manifest_lost; /* there is a state and no MANIFEST: who wrote it is not known */
};

/* Owns the storage from now on, also on failure. On failure `error` (of size bytes) says what and what to do. */
enum tly_result tly_store_open(struct tly_storage *storage, enum tly_fsync fsync, struct tly_store **out,
                               char *error, size_t size) TLY_MUST_CHECK;

const struct tly_identity *tly_store_identity(const struct tly_store *store);

/* Before the replay into an engine: tly_reading_equip, of what is being replayed. */
enum tly_result tly_store_equip(struct tly_store *store, struct tly_engine *engine) TLY_MUST_CHECK;

/*
 * Gives every batch in order to take(); a torn tail is cut off and reported in `notice`, a damaged middle is TLY_BAD_CHECKSUM
 * and refuses the store by segment and offset. take() ends the replay by returning anything but TLY_OK.
 */
typedef enum tly_result tly_take_batch(void *context, struct tly_slice batch);
enum tly_result tly_store_replay(struct tly_store *store, tly_take_batch *take, void *context, char *notice,
                                 size_t size) TLY_MUST_CHECK;

/*
 * Durably takes the clean-stop mark away and writes the identity, then starts the writer. Once, after replay. TLY_FULL: there was no space for
 * the identity, and no mark; tly_store_begin_full may follow.
 */
enum tly_result tly_store_begin(struct tly_store *store, const char *name, uint64_t origin, uint64_t lease,
                                char *error, size_t size) TLY_MUST_CHECK;
/*
 * Starts the writer all the same: it fails, and is done with what was asked for once there is space. The life has to be a new one, for
 * a restart before that goes on with the one that the disk knows of.
 */
enum tly_result tly_store_begin_full(struct tly_store *store, uint64_t origin, char *error,
                                     size_t size) TLY_MUST_CHECK;

/* After begin: the engine refuses the prefixes that a kept intent is about. */
enum tly_result tly_store_hold(const struct tly_store *store, struct tly_engine *engine) TLY_MUST_CHECK;
/* The i-th intent that was kept at begin because it cannot be read: its name, and why; NULL: there are no more. */
const struct tly_kept_intent *tly_store_kept(const struct tly_store *store, size_t i);

/*
 * Copies the batch and returns at once. Numbers rise by 1 from 1. TLY_NOMEM, TLY_FULL (64 MiB wait already), TLY_TOO_LARGE
 * (for a frame), TLY_IO (before begin); the number may then be tried again. If it is left out, nothing from there on is
 * reported stored.
 */
enum tly_result tly_store_append(struct tly_store *store, uint64_t number,
                                 struct tly_slice batch) TLY_MUST_CHECK;
/*
 * Something of a change of many steps, in the place of a batch; it is stored and synced at once, under an intent. A change of the
 * table of prefixes (TLY_DO_TABLE): batches that belong to it (TLY_DO_TABLE_ROWS) come before it and are stored with it. A snapshot that
 * replaces all before (TLY_DO_INSTALL…).
 */
enum tly_result tly_store_change(struct tly_store *store, const struct tly_effect *effect) TLY_MUST_CHECK;
/* Makes a lease durable (MANIFEST), sooner or later; reported by poll. */
void tly_store_lease(struct tly_store *store, uint64_t lease);

/*
 * A snapshot: begin, batches that together stand for all that was appended before begin, end. It takes the place of the log up to
 * begin once it is published, which needs all to be synced that was appended before end. All return at once. TLY_FULL (1 MiB of it
 * waits already): later; TLY_NOMEM, TLY_TOO_LARGE; TLY_IO (before tly_store_begin).
 */
enum tly_store_image { TLY_IMAGE_BEGIN, TLY_IMAGE_BATCH, TLY_IMAGE_END, TLY_IMAGE_DROP };
enum tly_result tly_store_image(struct tly_store *store, enum tly_store_image what,
                                struct tly_slice batch) TLY_MUST_CHECK;

struct tly_store_report {
    uint64_t stored; /* all batches up to this number are stored as the fsync setting promises */
    uint64_t synced; /* … and will survive a power cut */
    uint64_t leased;
    bool failing;    /* the disk refuses; what waits is kept and tried again on a new segment */
    bool is_taken;   /* another process has the directory: nothing is stored here any more */
    char error[256]; /* while failing: what, and what to do */
    uint64_t bytes;  /* of all segments of the log */
    uint64_t segments;
    uint64_t snapshots, snapshots_failed; /* published, and given up, since the start */
    uint64_t snapshot_bytes;              /* of the one in use */
    char snapshot_error[256];             /* why the last one was given up */
    uint64_t installs_failed;             /* snapshots that were to replace all, and are to be given anew */
    bool changes_left; /* a change is done, and its intent is still there: finished with the next write */
    char change_error[200]; /* why that failed; "": it did not */
};

/* Becomes readable when a report has news. */
int tly_store_wakeup_fd(const struct tly_store *store);
/* What was handed over may be stored when the call returns: it is worth a poll without a wakeup. */
bool tly_store_is_prompt(const struct tly_store *store);
/* Also clears the wakeup. */
void tly_store_poll(struct tly_store *store, struct tly_store_report *report);

/* Writes and syncs what waits (5 s at most), marks a clean stop if wanted and all is durable, lets the lock go. */
void tly_store_close(struct tly_store *store, bool clean);

#endif
