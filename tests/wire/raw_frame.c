#include "tests/wire/raw_frame.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

/* Over one copy of start and body, as PROTOCOL.md says it, and not as wire/frame.c does it. */
static uint32_t checksum_of(struct tly_slice start, struct tly_slice body)
{
    uint8_t *all = malloc(start.n + body.n);
    assert(all != NULL);
    memcpy(all, start.p, start.n);
    if (body.n > 0) memcpy(all + start.n, body.p, body.n);
    uint32_t checksum = (uint32_t)(XXH3_64bits(all, start.n + body.n) & 0xffffffffu);
    free(all);
    return checksum;
}

static void write_checksum(uint8_t *to, uint32_t checksum)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(checksum >> (8 * i));
}

void raw_frame(struct tly_buf *out, unsigned kind, struct tly_slice stored)
{
    uint8_t head[16];
    size_t n = 0;
    for (size_t length = stored.n; length >= 0x80 || n == 0 || head[n - 1] >= 0x80; length >>= 7)
        head[n++] = (uint8_t)(length >= 0x80 ? (length & 0x7f) | 0x80 : length);
    head[n++] = (uint8_t)kind;
    write_checksum(head + n, checksum_of(tly_slice_of(head, n), stored));
    tly_buf_put(out, head, n + 4);
    tly_buf_put(out, stored.p, stored.n);
}

bool seal_raw_frame(uint8_t *bytes, size_t n)
{
    size_t length = 0, at = 0;
    while (at < n && at < 3 && bytes[at] >= 0x80) {
        length |= (size_t)(bytes[at] & 0x7f) << (7 * at);
        at++;
    }
    if (at >= n) return false;
    length |= (size_t)(bytes[at] & 0x7f) << (7 * at);
    at++;
    if (n - at < 5 || n - at - 5 < length) return false;
    write_checksum(bytes + at + 1,
                   checksum_of(tly_slice_of(bytes, at + 1), tly_slice_of(bytes + at + 5, length)));
    return true;
}
