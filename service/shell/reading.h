/*
 * A state that is read piece by piece, as its MANIFEST says: which keys of a piece are no part of it any more, and what an engine has to
 * know before it is given the batches.
 */
#ifndef TALLY_SERVICE_SHELL_READING_H
#define TALLY_SERVICE_SHELL_READING_H

#include "service/engine/engine.h"
#include "service/shell/manifest.h"

/* A value. */
struct tly_reading {
    const struct tly_manifest *manifest; /* borrowed */
    uint64_t piece;                      /* the number of the segment or snapshot whose batches come now */
};

bool tly_reading_leaves_out(const struct tly_reading *reading, struct tly_slice key);
/*
 * The engine gets the table of prefixes, and leaves out what was written under one that was dropped since. It borrows the reading until
 * it is told otherwise (tly_engine_leave_out). TLY_NOMEM; TLY_WRONG_STRATEGY: of a newer version.
 */
enum tly_result tly_reading_equip(struct tly_reading *reading, struct tly_engine *engine) TLY_MUST_CHECK;

#endif
