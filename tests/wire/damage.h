/*
 * Every way of handing damaged bytes to a decoder.  The decoder sees each input at the end of readable memory; a test
 * fails at the first input that its judge calls false, and prints what repeats it.
 */
#ifndef TALLY_TESTS_WIRE_DAMAGE_H
#define TALLY_TESTS_WIRE_DAMAGE_H

#include "wire/buf.h"

/* Random mutants that each_mutant makes. */
#define MUTANTS 100000

/* Decodes the bytes and says whether all that must hold of the outcome does. */
typedef bool judge_fn(struct tly_slice bytes, void *context);

/* The whole, undamaged. */
void at_the_edge(struct tly_slice bytes, judge_fn *judge, void *context);
/* Every strict prefix, the empty one too. */
void each_prefix(struct tly_slice bytes, judge_fn *judge, void *context);
/* Every single bit turned. */
void each_bit_flip(struct tly_slice bytes, judge_fn *judge, void *context);
/* MUTANTS times (with TALLY_LONG=1 ten times as often) one of the seeds with a few random changes. */
void each_mutant(const struct tly_slice *seeds, size_t seed_count, judge_fn *judge, void *context);

/*
 * Runs an encoder with the first, second, … allocation failing until none is left to fail. Each time the buffer must
 * say TLY_NOMEM and all memory must come back; at the end it must say TLY_OK. `mem` also serves the encoder's own needs.
 */
typedef void encode_fn(struct tly_buf *out, const struct tly_mem *mem, void *context);
void each_failed_allocation(encode_fn *encode, void *context);

/* Bytes written as hex ("dd 0f ff"), blanks ignored, into `to`, which has room for `room`. Ends the test on anything else. */
struct tly_slice from_hex(const char *hex, uint8_t *to, size_t room);

#endif
