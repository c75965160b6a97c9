/*
 * Protocol buffers, read field by field and written in order: no descriptors, no copies, nothing allocated.
 *
 *     struct tly_pb in = tly_pb_of(bytes);
 *     for (struct tly_pb_field field; tly_pb_next(&in, &field);)
 *         if (tly_pb_is_bytes(&field, 1)) name = field.bytes;
 *     if (in.bad) ...
 *
 * A field of a number that nobody knows, or of another wire type than the one expected, is left out, as every implementation does;
 * groups, which are of old, are left out whole.
 */
#ifndef TALLY_WIRE_PROTOBUF_H
#define TALLY_WIRE_PROTOBUF_H

#include "wire/buf.h"

/* Groups in groups; what is deeper is malformed. */
#define TLY_PB_GROUPS_MAX 32

enum tly_pb_type { TLY_PB_VARINT = 0, TLY_PB_FIXED64 = 1, TLY_PB_BYTES = 2, TLY_PB_FIXED32 = 5 };

/* A borrow: where reading is. */
struct tly_pb {
    const uint8_t *at, *end;
    bool bad; /* what was read is malformed, and nothing more is read */
};

/* A borrow: a field as it was found. */
struct tly_pb_field {
    uint32_t number;
    enum tly_pb_type type;
    uint64_t value;         /* of a varint or a fixed field */
    struct tly_slice bytes; /* of a text, of bytes, of a message */
};

struct tly_pb tly_pb_of(struct tly_slice message);
/* The next field; false: there is none, or the message is bad. */
bool tly_pb_next(struct tly_pb *pb, struct tly_pb_field *field);

static inline bool tly_pb_is_bytes(const struct tly_pb_field *field, uint32_t number)
{
    return field->number == number && field->type == TLY_PB_BYTES;
}

static inline bool tly_pb_is_varint(const struct tly_pb_field *field, uint32_t number)
{
    return field->number == number && field->type == TLY_PB_VARINT;
}

/* ---- writing; a failure stays in the buffer ---- */

#define TLY_PB_VARINT_BYTES_MAX 10

/* How many bytes a number takes. */
size_t tly_pb_size(uint64_t number);
/* Writes it, at most TLY_PB_VARINT_BYTES_MAX bytes; how many. */
size_t tly_pb_put_raw(uint8_t *out, uint64_t number);
/* A field of a number; 0, which is what an absent field means, is left out. */
void tly_pb_put_varint(struct tly_buf *out, uint32_t number, uint64_t value);
/* A field of a text, of bytes or of a whole message; an empty one too. */
void tly_pb_put_bytes(struct tly_buf *out, uint32_t number, struct tly_slice bytes);
/* The same, of a text that is left out when it is empty. */
void tly_pb_put_text(struct tly_buf *out, uint32_t number, const char *text);
/*
 * A message whose length is not known yet: begin, write its fields, end. Messages nest. What begin returns goes to end.
 */
size_t tly_pb_begin(struct tly_buf *out, uint32_t number);
void tly_pb_end(struct tly_buf *out, size_t begun);

#endif
