/* A snapshot as a file: the claims of fuzz_segment.h. */
#include "tests/fuzz/fuzz_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void target(struct tly_slice file)
{
    fuzz_segment(TLY_SEGMENT_SNAPSHOT, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_sealed_too(tly_slice_of(data, size), TLY_SEGMENT_HEADER_BYTES, target);
    return 0;
}
