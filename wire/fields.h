/*
 * A message that is a map, so that a later version can say more to who understands it: keys that are not known are passed over, one
 * that is there twice is malformed.
 */
#ifndef TALLY_WIRE_FIELDS_H
#define TALLY_WIRE_FIELDS_H

#include "wire/cursor.h"

/* Bytes of a key, and of any other word of ours. */
#define TLY_WORD_BYTES_MAX 32
#define TLY_FIELDS_MAX 32

struct tly_field_reader {
    const char *key;
    void (*get)(struct tly_cursor *cursor, void *message);
};

/* Reads a map; the first `required` of the fields must be there. What is wrong is in cursor->result. */
void tly_fields_get(struct tly_cursor *cursor, const struct tly_field_reader *fields, size_t count,
                    size_t required, void *message);

#endif
