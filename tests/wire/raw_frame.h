/* Frames made by hand, with a checksum that fits: what a peer could send whatever our encoder would do. */
#ifndef TALLY_TESTS_WIRE_RAW_FRAME_H
#define TALLY_TESTS_WIRE_RAW_FRAME_H

#include "wire/buf.h"

/* Appends length (in its shortest form), kind, checksum and the stored body as they are given. */
void raw_frame(struct tly_buf *out, unsigned kind, struct tly_slice stored);

/* Puts the right checksum into what may be a frame; false when it is too short for its length to tell where. */
bool seal_raw_frame(uint8_t *bytes, size_t n);

#endif
