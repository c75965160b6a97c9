/*
 * MANIFEST: who used the directory, and which snapshot and segments of the log are its state.  A value that knows how to be written.
 *
 * On disk it is one frame of the wire (type HELLO), so its checksum is the frame's; the body is a msgpack array:
 *
 *     "tally manifest"   format version   count of its writings   name   origin   lease   clean mark   place
 *     [ [number, bytes], ... ]            the segments, in order
 *     number of the snapshot              0: none; not in format 1
 *     [ id, ... ]                         changes that are part of this state and whose intents may still be there (change.h); since
 *                                         format 3
 *     [ prefix, word, from, ... ]         the table of prefixes (wire/table.h): what lies before log-<from>.tly and snap-<from>.tly of
 *                                         a prefix's keys is no part of the state; empty: the table of tallyd itself; since format 4
 *
 * The count of writings makes every content, and so every revision (storage.h), one of its own.
 */
#ifndef TALLY_SERVICE_SHELL_MANIFEST_H
#define TALLY_SERVICE_SHELL_MANIFEST_H

#include "crdt/registry.h"
#include "service/shell/storage.h"

#define TLY_MANIFEST_FORMAT 4
#define TLY_MANIFEST_NAME "MANIFEST"
#define TLY_RESERVE_NAME "reserve"
#define TLY_SEGMENTS_MAX 4096
#define TLY_CHANGES_MAX 16
#define TLY_CHANGE_ID_BYTES 27 /* a ULID and its end */

/*
 * bytes: so many of log-<number>.tly count.  Of the last segment: its length at a clean stop, else 0.  0 elsewhere: all
 * (a log whose MANIFEST is gone).
 */
struct tly_segment {
    uint64_t number;
    uint64_t bytes;
};

struct tly_manifest_prefix {
    uint8_t bytes[TLY_PREFIX_BYTES_MAX], n;
    uint64_t word, from;
};

struct tly_manifest {
    uint64_t writings;
    char name[65];
    uint64_t origin;
    uint64_t lease;
    bool clean;
    char place[TLY_STORAGE_IDENTITY_MAX]; /* of tly_storage_identity */
    struct tly_segment segments[TLY_SEGMENTS_MAX];
    size_t segment_count;
    uint64_t snapshot; /* snap-<number>.tly is the state before log-<number>.tly; 0: there is none */
    char changes[TLY_CHANGES_MAX][TLY_CHANGE_ID_BYTES];
    size_t change_count;
    struct tly_manifest_prefix prefixes[TLY_PREFIXES_MAX];
    size_t prefix_count;
    bool is_changed; /* not written: something here is not yet in the storage */
    /* Not written: the revision that the storage has; 0: none. */
    uint64_t revision;
    bool revision_is_unsure; /* a writing failed that may have taken effect: then it has revision_tried */
    uint64_t revision_tried;
    bool is_taken; /* somebody else wrote it, and has the directory: nothing may be written there any more */
};

/*
 * TLY_OK; TLY_NOT_FOUND: there is none, *manifest is empty; else `error` says what is wrong with it and what to do.
 */
enum tly_result tly_manifest_load(struct tly_storage *storage, struct tly_manifest *manifest, char *error,
                                  size_t size) TLY_MUST_CHECK;

/* Lists a change; it is published with the next saving. There must be room. */
void tly_manifest_add_change(struct tly_manifest *manifest, const char *id);
bool tly_manifest_has_change(const struct tly_manifest *manifest, const char *id);
/* One that nobody will ask for any more; gone with the next saving. */
void tly_manifest_drop_change(struct tly_manifest *manifest, const char *id);

static inline struct tly_slice tly_manifest_prefix_of(const struct tly_manifest_prefix *row)
{
    return tly_slice_of(row->bytes, row->n);
}

/* The row of the longest prefix that the key begins with, dropped or not; NULL: there is none. */
const struct tly_manifest_prefix *tly_manifest_home(const struct tly_manifest *manifest,
                                                    struct tly_slice key);

/* Durable with TLY_OK, otherwise tried again by calling it again. TLY_STALE: somebody else wrote it; is_taken from then on. */
enum tly_result tly_manifest_save(struct tly_storage *storage, struct tly_manifest *manifest) TLY_MUST_CHECK;
/*
 * Puts the reserve there: bytes that are given up on a disk that is full, so that MANIFEST can be replaced once more. Durable with TLY_OK.
 */
enum tly_result tly_manifest_reserve(struct tly_storage *storage) TLY_MUST_CHECK;
/* Whether it is still as it was saved last: TLY_OK, TLY_STALE (and is_taken), TLY_IO, TLY_NOMEM. */
enum tly_result tly_manifest_verify(struct tly_storage *storage,
                                    struct tly_manifest *manifest) TLY_MUST_CHECK;

#endif
