/*
 * A key's history as JSON, one op an object:
 *
 *     {"op":"put","ts":7,"origin":4, …payload}     {"op":"remove","ts":2,"origin":2}
 *
 * The payload is "epoch" and "count" of epoch_max, "value" of lww and, if it has one, "deadline_ms", "window", "epoch", "count" and "aux" of epoch_sum.
 */
#ifndef TALLY_TOOLS_TALLYCTL_HISTORY_H
#define TALLY_TOOLS_TALLYCTL_HISTORY_H

#include "crdt/strategy.h"

#include <json-c/json.h>

/* The dot's bytes borrow from the JSON. False: error, of size bytes, says what was expected. */
bool tly_history_read_op(struct json_object *op, const struct tly_strategy *strategy, struct tly_dot *dot,
                         char *error, size_t size);
/* NULL: no memory. */
struct json_object *tly_history_write_op(const struct tly_strategy *strategy, const struct tly_dot *dot);

/* Op and payload, in words. */
void tly_history_describe(const struct tly_strategy *strategy, const struct tly_dot *dot, char *text,
                          size_t size);

/*
 * When to read an entry: outside of time (no deadline has passed), its plain counter if it has one, otherwise the
 * newest epoch of its shortest window.
 */
struct tly_moment tly_history_moment(const struct tly_strategy *strategy, const struct tly_dot *dots,
                                     size_t count);
/* The value as JSON in *out, which is NULL for JSON's null. False: no memory. */
bool tly_history_write_read(const struct tly_strategy *strategy, const struct tly_value *value,
                            struct json_object **out);

#endif
