#include "wire/protobuf.h"

enum { GROUP_BEGIN = 3, GROUP_END = 4 };

struct tly_pb tly_pb_of(struct tly_slice message)
{
    static const uint8_t none[1];
    const uint8_t *at = message.n > 0 ? message.p : none;
    return (struct tly_pb){.at = at, .end = at + message.n};
}

/* At most ten bytes; bits beyond the 64th are dropped, as everybody does. */
static bool get_varint(struct tly_pb *pb, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70 && pb->at < pb->end; shift += 7) {
        uint8_t byte = *pb->at++;
        if (shift < 64) *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    pb->bad = true;
    return false;
}

static bool get_fixed(struct tly_pb *pb, size_t n, uint64_t *value)
{
    *value = 0;
    if ((size_t)(pb->end - pb->at) < n) {
        pb->bad = true;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)pb->at[i] << 8 * i;
    pb->at += n;
    return true;
}

/* Tags and lengths have five bytes at most; of a tag the bits beyond the 32nd are dropped, and a length is less than 2 GiB. */
static bool get_short(struct tly_pb *pb, bool is_length, uint32_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 35 && pb->at < pb->end; shift += 7) {
        uint8_t byte = *pb->at++;
        if (shift == 28 && is_length && byte >= 8) break;
        *value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    pb->bad = true;
    return false;
}

static bool get_bytes(struct tly_pb *pb, struct tly_slice *bytes)
{
    uint32_t n;
    if (!get_short(pb, true, &n)) return false;
    if (n > (size_t)(pb->end - pb->at)) {
        pb->bad = true;
        return false;
    }
    *bytes = tly_slice_of(pb->at, n);
    pb->at += n;
    return true;
}

/* No field has the number 0. */
static bool get_tag(struct tly_pb *pb, uint32_t *number, unsigned *type)
{
    uint32_t tag;
    if (!get_short(pb, false, &tag)) return false;
    *number = tag >> 3;
    *type = tag & 7;
    if (*number == 0) pb->bad = true;
    return !pb->bad;
}

static bool get_content(struct tly_pb *pb, unsigned type, struct tly_pb_field *field)
{
    switch (type) {
    case TLY_PB_VARINT: return get_varint(pb, &field->value);
    case TLY_PB_FIXED64: return get_fixed(pb, 8, &field->value);
    case TLY_PB_FIXED32: return get_fixed(pb, 4, &field->value);
    case TLY_PB_BYTES: return get_bytes(pb, &field->bytes);
    default: pb->bad = true; return false;
    }
}

/* Goes behind a group that has begun. */
static bool skip_group(struct tly_pb *pb, uint32_t number)
{
    uint32_t open[TLY_PB_GROUPS_MAX] = {number};
    struct tly_pb_field ignored;
    unsigned type;
    for (size_t depth = 1; depth > 0;) {
        if (!get_tag(pb, &number, &type)) return false;
        if (type == GROUP_BEGIN) {
            pb->bad = depth == TLY_PB_GROUPS_MAX;
            if (!pb->bad) open[depth++] = number;
        } else if (type == GROUP_END) {
            pb->bad = number != open[--depth];
        } else {
            (void)get_content(pb, type, &ignored);
        }
        if (pb->bad) return false;
    }
    return true;
}

bool tly_pb_next(struct tly_pb *pb, struct tly_pb_field *field)
{
    uint32_t number;
    unsigned type = 0;
    while (!pb->bad && pb->at < pb->end && get_tag(pb, &number, &type)) {
        if (type == GROUP_BEGIN) {
            if (!skip_group(pb, number)) return false;
            continue;
        }
        *field = (struct tly_pb_field){.number = number, .type = (enum tly_pb_type)type};
        return get_content(pb, type, field);
    }
    return false;
}

/* ---- writing ---- */

size_t tly_pb_size(uint64_t number)
{
    size_t n = 1;
    for (; number >= 0x80; number >>= 7)
        n++;
    return n;
}

size_t tly_pb_put_raw(uint8_t *out, uint64_t number)
{
    size_t n = 0;
    for (; number >= 0x80; number >>= 7)
        out[n++] = (uint8_t)(number | 0x80);
    out[n++] = (uint8_t)number;
    return n;
}

static void put_number(struct tly_buf *out, uint64_t number)
{
    uint8_t *at = tly_buf_room(out, TLY_PB_VARINT_BYTES_MAX);
    if (at != NULL) out->n += tly_pb_put_raw(at, number);
}

void tly_pb_put_varint(struct tly_buf *out, uint32_t number, uint64_t value)
{
    if (value == 0) return;
    put_number(out, (uint64_t)number << 3 | TLY_PB_VARINT);
    put_number(out, value);
}

void tly_pb_put_bytes(struct tly_buf *out, uint32_t number, struct tly_slice bytes)
{
    put_number(out, (uint64_t)number << 3 | TLY_PB_BYTES);
    put_number(out, bytes.n);
    if (bytes.n > 0) tly_buf_put(out, bytes.p, bytes.n);
}

void tly_pb_put_text(struct tly_buf *out, uint32_t number, const char *text)
{
    if (text[0] != '\0') tly_pb_put_bytes(out, number, tly_slice_text(text));
}

/* One byte is left for the length, which is enough for most; end makes room for more. */
size_t tly_pb_begin(struct tly_buf *out, uint32_t number)
{
    put_number(out, (uint64_t)number << 3 | TLY_PB_BYTES);
    tly_buf_put(out, "", 1);
    return out->n;
}

void tly_pb_end(struct tly_buf *out, size_t begun)
{
    if (out->result != TLY_OK) return;
    size_t n = out->n - begun, more = tly_pb_size(n) - 1;
    if (more > 0) {
        if (tly_buf_room(out, more) == NULL) return;
        memmove(out->p + begun + more, out->p + begun, n);
        out->n += more;
    }
    (void)tly_pb_put_raw(out->p + begun - 1, n);
}
