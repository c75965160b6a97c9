#define XXH_STATIC_LINKING_ONLY /* for the state's size, so that it needs no allocation */

#include "wire/frame.h"

#include <assert.h>
#include <lz4.h>
#include <xxhash.h>

#define VARINT_BYTES_MAX 3
#define CHECKSUM_BYTES 4
#define COMPRESS_BYTES_MIN 128

enum { KIND_TYPE = 0x1f, KIND_RESERVED = 0x80 };

static_assert(TLY_FRAME_HEAD_MAX == VARINT_BYTES_MAX + 1 + CHECKSUM_BYTES, "the parts of a head");
static_assert(TLY_FRAME_BODY_MAX < 1u << (7 * VARINT_BYTES_MAX), "every length fits");

/* Length and kind, as they are hashed: the head but for the checksum. */
struct start {
    uint8_t bytes[VARINT_BYTES_MAX + 1];
    size_t n;
};

static size_t varint_put(uint8_t *to, size_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        to[n++] = (uint8_t)(value | 0x80);
    to[n++] = (uint8_t)value;
    return n;
}

/* TLY_OK, TLY_MORE, TLY_BAD_FRAME when it is not the shortest form, TLY_TOO_LARGE above TLY_FRAME_BODY_MAX. */
static enum tly_result varint_get(struct tly_slice in, size_t *value, size_t *bytes)
{
    size_t sum = 0;
    for (size_t i = 0; i < VARINT_BYTES_MAX; i++) {
        if (i == in.n) return TLY_MORE;
        sum |= (size_t)(in.p[i] & 0x7f) << (7 * i);
        if (in.p[i] >= 0x80) continue;
        if (i > 0 && in.p[i] == 0) return TLY_BAD_FRAME;
        *value = sum;
        *bytes = i + 1;
        return sum <= TLY_FRAME_BODY_MAX ? TLY_OK : TLY_TOO_LARGE;
    }
    return TLY_TOO_LARGE;
}

static uint32_t checksum_of(struct tly_slice start, struct tly_slice body)
{
    XXH3_state_t state;
    (void)XXH3_64bits_reset(&state);
    (void)XXH3_64bits_update(&state, start.p, start.n);
    if (body.n > 0) (void)XXH3_64bits_update(&state, body.p, body.n);
    return (uint32_t)XXH3_64bits_digest(&state);
}

static void le32_put(uint8_t *to, uint32_t value)
{
    for (size_t i = 0; i < CHECKSUM_BYTES; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t le32_get(const uint8_t *from)
{
    uint32_t value = 0;
    for (size_t i = CHECKSUM_BYTES; i-- > 0;)
        value = value << 8 | from[i];
    return value;
}

/* The compressed form of a body, at `to`, which has room for body.n bytes; 0 when it is not worth it. */
static size_t compress(uint8_t *to, struct tly_slice body)
{
    if (body.n < COMPRESS_BYTES_MIN) return 0;
    size_t worth = body.n - (body.n + 19) / 20;
    size_t head = varint_put(to, body.n);
    int n = LZ4_compress_default((const char *)body.p, (char *)to + head, (int)body.n, (int)(worth - head));
    return n > 0 ? head + (size_t)n : 0;
}

void tly_frame_put(struct tly_buf *out, enum tly_frame_type type, struct tly_slice body)
{
    assert(((unsigned)type & ~(unsigned)(KIND_TYPE | TLY_FRAME_IGNORABLE)) == 0);
    if (body.n > TLY_FRAME_BODY_MAX) tly_buf_fail(out, TLY_TOO_LARGE);
    uint8_t *to = out->result == TLY_OK ? tly_buf_room(out, TLY_FRAME_HEAD_MAX + body.n) : NULL;
    if (to == NULL) return;

    size_t packed = compress(to + TLY_FRAME_HEAD_MAX, body);
    struct tly_slice stored = packed > 0 ? tly_slice_of(to + TLY_FRAME_HEAD_MAX, packed) : body;
    unsigned kind = (unsigned)type | (packed > 0 ? TLY_FRAME_LZ4 : 0u);

    struct start start = {{0}, 0};
    start.n = varint_put(start.bytes, stored.n);
    start.bytes[start.n++] = (uint8_t)kind;
    uint32_t checksum = checksum_of(tly_slice_of(start.bytes, start.n), stored);

    if (stored.n > 0) memmove(to + start.n + CHECKSUM_BYTES, stored.p, stored.n);
    memcpy(to, start.bytes, start.n);
    le32_put(to + start.n, checksum);
    out->n += start.n + CHECKSUM_BYTES + stored.n;
}

/* The body behind LZ4: TLY_OK, TLY_BAD_FRAME, TLY_TOO_LARGE, TLY_NOMEM. */
static enum tly_result decompress(struct tly_slice stored, struct tly_buf *scratch, struct tly_slice *body)
{
    size_t raw_n = 0, head = 0;
    enum tly_result result = varint_get(stored, &raw_n, &head);
    if (result == TLY_MORE || (result == TLY_OK && raw_n == 0)) return TLY_BAD_FRAME;
    if (result != TLY_OK) return result;

    tly_buf_clear(scratch);
    uint8_t *to = tly_buf_room(scratch, raw_n);
    if (to == NULL) return scratch->result;
    int n =
        LZ4_decompress_safe((const char *)stored.p + head, (char *)to, (int)(stored.n - head), (int)raw_n);
    if (n < 0 || (size_t)n != raw_n) return TLY_BAD_FRAME;
    scratch->n = raw_n;
    *body = tly_buf_slice(scratch);
    return TLY_OK;
}

enum tly_result tly_frame_get(struct tly_slice in, struct tly_buf *scratch, struct tly_frame *frame,
                              size_t *consumed)
{
    size_t stored_n = 0, kind_at = 0;
    enum tly_result result = varint_get(in, &stored_n, &kind_at);
    if (result != TLY_OK) return result;
    if (in.n == kind_at) return TLY_MORE;
    unsigned kind = in.p[kind_at];
    if ((kind & KIND_RESERVED) != 0) return TLY_BAD_FRAME;
    size_t head_n = kind_at + 1 + CHECKSUM_BYTES;
    if (in.n < head_n || in.n - head_n < stored_n) return TLY_MORE;

    struct tly_slice body = tly_slice_of(in.p + head_n, stored_n);
    uint32_t checksum = checksum_of(tly_slice_of(in.p, kind_at + 1), body);
    if (checksum != le32_get(in.p + kind_at + 1)) return TLY_BAD_CHECKSUM;
    if ((kind & TLY_FRAME_LZ4) != 0) result = decompress(body, scratch, &body);
    if (result != TLY_OK) return result;

    *frame = (struct tly_frame){kind & KIND_TYPE, (kind & TLY_FRAME_IGNORABLE) != 0, body};
    *consumed = head_n + stored_n;
    return TLY_OK;
}
