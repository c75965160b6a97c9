/*
 * What was handed to the writer's thread and may not be in the log yet, in memory that is that of a file (DIR/recent), which the loop writes
 * at once and nobody syncs: what is there outlives the process, so nobody has to wait for the thread to be told so.  After a crash of the process it
 * is read behind the log; after one of the machine it is not read at all, for what of it had come to the disk is of no certain age.
 *
 * Two halves take turns.  Each is a chain of records from its beginning, whose numbers rise by one:
 *
 *     half 0:  | 8 check, 8 number, 4 n, n bytes | … | anything
 *     half 1:  | … |
 *
 * The check is a hash (XXH3) of number, bytes, the machine's boot and the node's life; a record that it does not fit is no record,
 * and ends the chain.  A half is begun anew once all that it has is in the log, and a chain begins only where all before it is.
 * So what is read is whole up to its last record, or all of it is in the log already, which is the same.
 *
 * What is in the log already may not be read again behind a snapshot that was published since: the snapshot may have forgotten what it was
 * overruled by.  Before anything is published it is emptied, therefore, unless it has something that the log lacks: then it has also all
 * that came after what it has first.  So that this stays true of what a crash leaves, an older half is never there without the newer one.
 */
#ifndef TALLY_SERVICE_SHELL_RECENT_H
#define TALLY_SERVICE_SHELL_RECENT_H

#include "service/shell/storage.h"
#include "wire/buf.h"

#define TLY_RECENT_NAME "recent"
/* More than any such file has: what whoever reads one is ready to hold. */
#define TLY_RECENT_LEFT_MAX ((size_t)64 * 1024 * 1024)

/* Two threads may use it. */
struct tly_recent;

/* Whose it is. */
struct tly_recent_owner {
    uint64_t boot;   /* tly_storage_boot */
    uint64_t origin; /* the life */
};

/*
 * The batches that an earlier process left, in order, each with 4 bytes of length ahead (the machine's order). None if there is no
 * file, or it is another's. TLY_NOMEM, or what the storage says.
 */
enum tly_result tly_recent_read(struct tly_storage *storage, const struct tly_recent_owner *owner,
                                struct tly_buf *out) TLY_MUST_CHECK;
/* Takes the first of them off. False: there is none. */
bool tly_recent_next(struct tly_slice *left, struct tly_slice *batch);

/* Makes the file anew, of two halves of so many bytes; borrows the storage. NULL: it cannot be made, or is not to be had as memory. */
struct tly_recent *tly_recent_new(struct tly_storage *storage, const struct tly_recent_owner *owner,
                                  size_t half_bytes);
void tly_recent_free(struct tly_recent *recent);

/* `logged`: all up to that number is in the log. False: it has no place here, and is stored once it is in the log. */
bool tly_recent_add(struct tly_recent *recent, uint64_t number, struct tly_slice batch, uint64_t logged);
/* All up to this number is here or in the log. */
uint64_t tly_recent_last(struct tly_recent *recent, uint64_t logged);
/* Whether somebody has removed the file, by the thread that has the storage: then it is lost. */
void tly_recent_look(struct tly_recent *recent);
/* Ahead of a publication, by the thread that has the storage. On failure nothing may be published. */
enum tly_result tly_recent_settle(struct tly_recent *recent, uint64_t logged) TLY_MUST_CHECK;

#endif
