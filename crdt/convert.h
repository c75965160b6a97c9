/*
 * The dots of a prefix under another strategy.  What a key reads as goes over; what there is no place for in the new strategy is
 * lost, and counted as such.
 *
 *     lww        -> epoch_max   16 bytes, an epoch and a count as at the edge; a deadline has no place there
 *     lww        -> epoch_sum   a number in digits, as INCR takes one; the deadline stays
 *     epoch_max  -> lww         those 16 bytes
 *     epoch_max  -> epoch_sum   the count, if the epoch is 0
 *     epoch_sum  -> lww         the sum in digits, and the deadline; shards of windows have no place anywhere
 *     epoch_sum  -> epoch_max   epoch 0 and the sum, if there is no deadline
 *
 * REMOVEs stay as they are.  What a key reads as becomes one dot, under the newest version of the PUTs that it was read from, so that
 * nodes which held the same hold the same again, and what is written later is later.  A counter's generation follows from that version
 * too: of two nodes that did not hold the same, one wins whole, as with SET.
 */
#ifndef TALLY_CRDT_CONVERT_H
#define TALLY_CRDT_CONVERT_H

#include "crdt/ormap.h"

/* Room for the bytes of a converted dot. */
#define TLY_CONVERTED_BYTES 24

/* Replaces the dots of one key; how many there are then, never more. *loses: of what it read as, not all has gone over. */
size_t tly_convert(const struct tly_strategy *from, const struct tly_strategy *to, struct tly_dot *dots,
                   size_t count, uint8_t room[TLY_CONVERTED_BYTES], bool *loses);

struct tly_conversion;

/*
 * Makes ready what the keys for which concerns() holds become; everything is sealed. Nothing is to be written to these keys until it is
 * finished or freed. TLY_NOMEM; TLY_CLOCK_AHEAD: a generation would lie further ahead than peers let in.
 */
enum tly_result tly_conversion_new(struct tly_ormap *map, const struct tly_strategy *to,
                                   tly_concerns *concerns, void *context,
                                   struct tly_conversion **out) TLY_MUST_CHECK;
void tly_conversion_free(struct tly_conversion *conversion);
size_t tly_conversion_keys(const struct tly_conversion *conversion);
/* Keys of which not all goes over, or nothing. */
size_t tly_conversion_lost(const struct tly_conversion *conversion);
/* The dots as they will be, key by key: *key from 0 on; NULL: no more. Borrowed until the next call. */
const struct tly_dot *tly_conversion_next(struct tly_conversion *conversion, size_t *cursor,
                                          struct tly_slice *key, size_t *count);
/* Carries it out and frees it. Cannot fail. The map needs its new registry before anything else is asked of it. */
void tly_conversion_finish(struct tly_conversion *conversion);

#endif
