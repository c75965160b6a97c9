/* The version of the whole tree, as tallyd -V and tallyctl version print it. */
#ifndef TALLY_CRDT_VERSION_H
#define TALLY_CRDT_VERSION_H

#include <stdint.h>

#define TLY_VERSION "0.1.0"
/* 2026-11-01, s since 1970: a machine whose clock says less is wrong. */
#define TLY_RELEASED_S UINT64_C(1793491200)

#endif
