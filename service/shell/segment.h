/*
 * A segment of the log, log-<number>.tly: a header, then records, each one frame of the wire (type ROUND) whose body is a
 * batch.
 *
 *     magic     10 bytes: "tally log" and a newline
 *     format    2 bytes, little-endian
 *     number    8 bytes, little-endian: that of the name
 */
#ifndef TALLY_SERVICE_SHELL_SEGMENT_H
#define TALLY_SERVICE_SHELL_SEGMENT_H

#include "service/shell/store.h"

#define TLY_SEGMENT_FORMAT 1
#define TLY_SEGMENT_HEADER_BYTES 20
#define TLY_SEGMENT_NAME_BYTES 32

void tly_segment_name(uint64_t number, char name[TLY_SEGMENT_NAME_BYTES]);
/* Whether it is the name of a segment, and of which. */
bool tly_segment_parse_name(const char *name, uint64_t *number);
void tly_segment_header(uint64_t number, uint8_t header[TLY_SEGMENT_HEADER_BYTES]);

/* The first `bytes` bytes of a segment. */
struct tly_segment_part {
    struct tly_storage *storage;
    uint64_t number;
    uint64_t bytes;
};

struct tly_segment_end {
    uint64_t valid;     /* bytes up to the end of the last record that was taken */
    uint64_t following; /* with TLY_BAD_CHECKSUM: where valid records go on */
    bool is_takers;     /* the result is that of take() */
};

/*
 * Gives the batches in a part of a segment to take().
 *   TLY_OK             all of it; end->valid is part->bytes
 *   TLY_MORE           no valid record from end->valid on: torn, or its last record is damaged
 *   TLY_BAD_CHECKSUM   damaged at end->valid, and valid records follow
 *   TLY_BAD_FRAME      not a segment, or that of another number
 *   TLY_UNKNOWN_FRAME  of a newer format
 *   TLY_IO, TLY_NOT_FOUND, TLY_NOMEM, or what take() returned
 */
enum tly_result tly_segment_read(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                 struct tly_segment_end *end) TLY_MUST_CHECK;

#endif
