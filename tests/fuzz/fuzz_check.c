/*
 * The body of a check, read in both ways.  Claims: nothing beyond it is read, and what is read plainly is what the reader of JSON makes
 * of it.
 */
#include "tests/shell/support_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)read_twice(tly_slice_of(data, size));
    return 0;
}
