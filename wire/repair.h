/*
 * The messages by which two nodes find what one of them should have and has not (crdt/prints.h): COMPARE asks with the print of
 * everything, TREE answers, with those of the branches if they differ, OPEN gives those of the leaves, and LEAVES bring the dots
 * themselves, from either side.  All are sent ignorable, and only to a peer with the capability `repair`.
 */
#ifndef TALLY_WIRE_REPAIR_H
#define TALLY_WIRE_REPAIR_H

#include "crdt/prints.h"
#include "wire/message.h"

/* The time as of which both compare is in steps of this. */
#define TLY_REPAIR_STEP_MS 10000u

/* COMPARE: [number, check, f, time, state, root]; TREE: [number, f, time, state, root, branches]. */
struct tly_compare {
    uint64_t number; /* of the comparison, by who began it on this connection */
    uint64_t check;  /* COMPARE: of the cluster's key, 32 bits: with another one nothing can be compared */
    uint64_t f;      /* what was forgotten up to there is left out */
    uint64_t time;   /* what has ended then is left out; in TLY_REPAIR_STEP_MS since 1970 */
    uint64_t state;  /* equal on two nodes that have equal marks and nothing beyond; 0: things are changing */
    uint64_t root;
    struct tly_slice branches; /* TREE: TLY_BRANCHES prints, or none; borrows */
};

void tly_compare_put(struct tly_buf *out, const struct tly_compare *compare);
enum tly_result tly_compare_get(struct tly_slice body, struct tly_compare *compare) TLY_MUST_CHECK;
void tly_tree_put(struct tly_buf *out, const struct tly_compare *tree);
enum tly_result tly_tree_get(struct tly_slice body, struct tly_compare *tree) TLY_MUST_CHECK;

/* Prints in a row, eight bytes each, low byte first. */
uint64_t tly_print_at(struct tly_slice prints, size_t i);
void tly_print_set(uint8_t *prints, size_t i, uint64_t print);

/* OPEN: [number, f, time, [branch, prints, …]]; prints: those of its TLY_LEAVES_EACH leaves, or none: all its dots are wanted. */
struct tly_open {
    uint64_t number, f, time;
    struct tly_cursor branches;
    size_t count;
};

struct tly_opened {
    uint64_t branch;
    struct tly_slice prints; /* borrows */
};

void tly_open_put(struct tly_buf *out, const struct tly_open *open, const struct tly_opened *branches);
/* Branches ascend. */
enum tly_result tly_open_get(struct tly_slice body, struct tly_open *open) TLY_MUST_CHECK;
bool tly_open_next(struct tly_open *open, struct tly_opened *branch);

/* LEAVES: [number, flags, [leaf, …], part]; part: bin, as ROUND's body, flags and marks empty. */
enum { TLY_LEAVES_LAST = 1, TLY_LEAVES_OF_ASKER = 2 };

struct tly_leaves {
    uint64_t number;
    unsigned flags;
    struct tly_cursor
        leaves; /* with the last from who was asked: those that were listed; TLY_LEAVES + a branch: all of it */
    size_t count;
    struct tly_slice part; /* borrows; it is not looked into */
};

/* As numbered. */
void tly_leaves_put(struct tly_buf *out, const struct tly_leaves *message, const uint16_t *leaves);
enum tly_result tly_leaves_get(struct tly_slice body, struct tly_leaves *message) TLY_MUST_CHECK;
bool tly_leaves_next(struct tly_leaves *message, uint64_t *leaf);

#endif
