/* Writing a whole state into a data directory that nobody uses: what repair and restore share. */
#ifndef TALLY_TOOLS_TALLYCTL_STOPPED_H
#define TALLY_TOOLS_TALLYCTL_STOPPED_H

#include "service/shell/manifest.h"
#include "service/shell/segment.h"
#include "tools/tallyctl_archive.h"

/* A snapshot that is being written. A value; owns the memory of `out`. */
struct tly_ctl_state {
    struct tly_storage *storage; /* borrowed */
    uint64_t number;
    struct tly_buf out;
    struct tly_segment_sum sum;
    enum tly_result result; /* the first failure */
};

void tly_ctl_state_begin(struct tly_ctl_state *state, struct tly_storage *storage, uint64_t number);
void tly_ctl_state_add(struct tly_ctl_state *state, struct tly_slice batch);
/*
 * Makes it durable and has MANIFEST name it alone; the node begins a new life. `manifest` is as it was loaded, or empty. False: it
 * was said what is wrong, and the directory is as it was.
 */
bool tly_ctl_state_publish(struct tly_ctl_state *state, struct tly_manifest *manifest);

/* Replaces the log of a store that has begun by what the engine holds, all of it; waits. False: it was said what is wrong. */
bool tly_ctl_compact(struct tly_engine *engine, struct tly_store *store, uint64_t *bytes);

/* tallyctl_store.c: what a crash left beside the log of that life, batch by batch. */
enum tly_result tly_ctl_store_recent(struct tly_storage *storage, uint64_t origin, tly_take_batch *take,
                                     void *context) TLY_MUST_CHECK;

/* What is wrong with a file that was read so. */
const char *tly_ctl_segment_text(enum tly_result result, const struct tly_segment_end *end);

/* Why tly_store_equip, or tly_reading_equip, failed. */
const char *tly_ctl_equip_text(enum tly_result result);

/* Complains of the storage's failure. */
enum tly_ctl_exit tly_ctl_storage_failed(struct tly_storage *storage, enum tly_result result,
                                         const char *what);

#endif
