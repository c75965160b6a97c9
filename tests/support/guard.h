/*
 * Bytes that end where readable memory ends: whoever looks at one more is killed on the spot.  An object; the test frees it.
 */
#ifndef TALLY_TESTS_SUPPORT_GUARD_H
#define TALLY_TESTS_SUPPORT_GUARD_H

#include <stddef.h>
#include <stdint.h>

struct test_guard;

/* For inputs of up to bytes_max. Ends the program when the system does not give the pages. */
struct test_guard *test_guard_new(size_t bytes_max);
void test_guard_free(struct test_guard *guard);

/* Copies n bytes to the end of the readable part and returns where they are. Good until the next call. */
const uint8_t *test_guard_place(struct test_guard *guard, const void *bytes, size_t n);

#endif
