/*
 * Plain counters: epoch_sum entries with window 0.  The epoch is the reset generation, aux the deadline.  Adding counts into
 * the own shard and is sealed later; setting, and moving a deadline, take a version at once.
 */
#ifndef TALLY_CRDT_COUNTER_H
#define TALLY_CRDT_COUNTER_H

#include "crdt/ormap.h"

/*
 * The generation in which this node counts now: the highest that the entry holds, but after a REMOVE at least one above all
 * that the REMOVE's own version makes possible. A shard that another node restarts because of that REMOVE keeps its old generation;
 * were counting to begin again below it, what is counted after the delete would not be read.
 */
uint64_t tly_counter_generation(struct tly_ormap *map, const struct tly_entry *entry);
/*
 * Above every generation that whoever wrote this REMOVE knew: a SET's lies less than 2^16 above its clock. The low bits are no
 * origin's, so nodes that count on after the same REMOVE count together.
 */
uint64_t tly_counter_after(uint64_t remove_ts);
/* The least number above `floor` whose low 16 bits are the origin's; 0 at the end of numbers. */
uint64_t tly_counter_above(uint64_t floor, uint64_t origin);

/*
 * Adds to a counter; an absent one counts from 0, one past its deadline starts a new generation. *value is the sum
 * now. TLY_WRONG_STRATEGY: the key is no counter; TLY_OVERFLOW: nothing changed; otherwise as tly_ormap_put.
 */
enum tly_result tly_counter_add(struct tly_ormap *map, struct tly_slice key, int64_t delta, uint64_t now_ms,
                                int64_t *value) TLY_MUST_CHECK;
/* The same for a key on its way. */
enum tly_result tly_counter_add_sought(struct tly_ormap *map, const struct tly_seek *seek, int64_t delta,
                                       uint64_t now_ms, int64_t *value) TLY_MUST_CHECK;

/*
 * Starts a new generation with this value: the least number above the clock and every generation of the entry
 * whose low 16 bits are the origin's, so that of two concurrent ones one wins whole. deadline_ms 0: none.
 */
enum tly_result tly_counter_set(struct tly_ormap *map, struct tly_slice key, int64_t value,
                                uint64_t deadline_ms) TLY_MUST_CHECK;

/* Sets (or with 0 lifts) the deadline of a present counter; TLY_NOT_FOUND when it is absent. */
enum tly_result tly_counter_expire(struct tly_ormap *map, struct tly_slice key, uint64_t deadline_ms,
                                   uint64_t now_ms) TLY_MUST_CHECK;

/* The counter's value now. TLY_NOT_FOUND when absent, TLY_WRONG_STRATEGY, or TLY_NO_STRATEGY. */
enum tly_result tly_counter_get(struct tly_ormap *map, struct tly_slice key, uint64_t now_ms,
                                struct tly_value *value) TLY_MUST_CHECK;

#endif
