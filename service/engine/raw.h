/*
 * What a key holds as plain bytes, as it goes in and comes out at the edge: an lww value as it is; an epoch_max value as exactly
 * 16 bytes, epoch (u64) and count (i64) as two big-endian words. A counter has no such form.
 */
#ifndef TALLY_SERVICE_ENGINE_RAW_H
#define TALLY_SERVICE_ENGINE_RAW_H

#include "crdt/strategy.h"

#define TLY_RAW_EPOCH_MAX_BYTES 16

/* Sets op, num and bytes of a PUT. TLY_OK, TLY_BAD_RAW, TLY_VALUE_TOO_LARGE, TLY_WRONG_STRATEGY. */
enum tly_result tly_raw_get(const struct tly_strategy *strategy, struct tly_slice raw,
                            struct tly_dot *put) TLY_MUST_CHECK;
/* The bytes of a value that is there, perhaps in `room`; false: the strategy has no raw form. */
bool tly_raw_of(const struct tly_strategy *strategy, const struct tly_value *value,
                uint8_t room[TLY_RAW_EPOCH_MAX_BYTES], struct tly_slice *raw);

#endif
