/*
 * A frame, on a stream between peers and in a log on disk:
 *
 *     length    varint (LEB128, shortest form), 1 to 3 bytes: bytes of the stored body
 *     kind      1 byte: type in the low 5 bits, TLY_FRAME_LZ4, TLY_FRAME_IGNORABLE, top bit 0
 *     checksum  4 bytes little-endian: low half of XXH3-64 over length, kind and stored body
 *     body      msgpack, or with TLY_FRAME_LZ4: varint raw length, then one LZ4 block
 *
 * Every length is checked against its limit before anything is allocated.  See PROTOCOL.md.
 */
#ifndef TALLY_WIRE_FRAME_H
#define TALLY_WIRE_FRAME_H

#include "wire/buf.h"

/* Of a body, stored and raw. */
#define TLY_FRAME_BODY_MAX ((size_t)256 * 1024)
#define TLY_FRAME_HEAD_MAX 8

enum { TLY_FRAME_LZ4 = 0x20, TLY_FRAME_IGNORABLE = 0x40 };

enum tly_frame_type {
    TLY_FRAME_HELLO = 1,
    TLY_FRAME_ROUND = 2,
    TLY_FRAME_ACK = 3,
    TLY_FRAME_NAK = 4,
    TLY_FRAME_PING = 5,
    TLY_FRAME_PONG = 6,
    TLY_FRAME_GOODBYE = 7,
    TLY_FRAME_PART = 8,
    TLY_FRAME_COLD_START = 9,
    TLY_FRAME_SNAP_ASK = 10,
    TLY_FRAME_SNAP_BEGIN = 11,
    TLY_FRAME_SNAP_CHUNK = 12,
    TLY_FRAME_SNAP_END = 13,
    /* Ignorable. */
    TLY_FRAME_PROBE = 16,
    TLY_FRAME_PROBED = 17,
    TLY_FRAME_WANTED = 18,
    TLY_FRAME_KEPT = 19,
    /* Ignorable, and only to who knows them: wire/repair.h. */
    TLY_FRAME_COMPARE = 20,
    TLY_FRAME_TREE = 21,
    TLY_FRAME_OPEN = 22,
    TLY_FRAME_LEAVES = 23,
    /* In files only: wire/archive.h. */
    TLY_FRAME_ARCHIVE_HEAD = 24,
    TLY_FRAME_ARCHIVE_ROWS = 25,
    TLY_FRAME_ARCHIVE_END = 26,
    /* In questions and answers of the feed only: wire/feed.h. */
    TLY_FRAME_FEED_ASK = 27,
    TLY_FRAME_FEED_ANSWER = 28,
    /* Only to who knows it: wire/snapshot.h. */
    TLY_FRAME_NEWS = 29,
    /* In the store's files only: service/shell/segment.h. */
    TLY_FRAME_SYNCED = 30,
    TLY_FRAME_SEGMENT_END = 31
};

struct tly_frame {
    unsigned type; /* may be one we do not know */
    bool ignorable;
    struct tly_slice body; /* raw; borrows from the input or from the scratch buffer */
};

/*
 * Appends a frame; compresses when the body has at least 128 bytes and shrinks by 5 %. Failure is in out->result;
 * TLY_TOO_LARGE: a body above the limit, or out has no room for it uncompressed. `type` may carry TLY_FRAME_IGNORABLE.
 */
void tly_frame_put(struct tly_buf *out, enum tly_frame_type type, struct tly_slice body);

/*
 * Reads the frame at the beginning of `in`.
 *   TLY_OK            *consumed bytes belong to it
 *   TLY_MORE          the beginning of a frame
 *   TLY_BAD_FRAME     length, kind or compression is malformed
 *   TLY_TOO_LARGE     a length above the limit
 *   TLY_BAD_CHECKSUM
 *   TLY_NOMEM
 * A limit is told as soon as its bytes are there, whatever is still to come. `scratch` holds a decompressed body until
 * its next use and must take TLY_FRAME_BODY_MAX bytes. *frame and *consumed are set only with TLY_OK.
 */
enum tly_result tly_frame_get(struct tly_slice in, struct tly_buf *scratch, struct tly_frame *frame,
                              size_t *consumed) TLY_MUST_CHECK;

#endif
