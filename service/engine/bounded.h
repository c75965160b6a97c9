/*
 * A counter with bounds: a plain counter under a limit's name, which checks raise and refunds lower; never above its greatest value
 * and never below its least, as far as this node knows.  It has no window and no end.
 */
#ifndef TALLY_SERVICE_ENGINE_BOUNDED_H
#define TALLY_SERVICE_ENGINE_BOUNDED_H

#include "service/engine/limit.h"

/* From its least to its greatest value. */
uint64_t tly_bounded_range(const struct tly_rate *rate);
/* As tly_limit_check, tly_limit_refund and tly_limit_charge; the last raises it to its greatest value at most. */
enum tly_result tly_bounded_check(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                  struct tly_verdict *verdict) TLY_MUST_CHECK;
enum tly_result tly_bounded_lower(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                  uint64_t *units) TLY_MUST_CHECK;
/* How far it is above its least value. */
enum tly_result tly_bounded_below(struct tly_ormap *map, const struct tly_limit_ask *ask,
                                  uint64_t *room) TLY_MUST_CHECK;
enum tly_result tly_bounded_raise(struct tly_ormap *map, const struct tly_limit_ask *ask) TLY_MUST_CHECK;

#endif
