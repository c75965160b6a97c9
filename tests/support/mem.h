/*
 * Memory for tests, libc's underneath.  A block moves whenever it is resized, new bytes are not zero, and an owner that
 * gives a wrong old size ends the program: what is borrowed too long, read too early or counted wrong shows.
 */
#ifndef TALLY_TESTS_SUPPORT_MEM_H
#define TALLY_TESTS_SUPPORT_MEM_H

#include "crdt/mem.h"

#include <stdbool.h>

struct tly_mem test_mem(void);
/* Bytes that test_mem and all failing ones have given and not got back. */
size_t test_mem_live(void);

/* A value that the test owns: the allocation (or growth) number `countdown` from now, counted from 0, fails; only that one. */
struct test_failing {
    size_t countdown;
    bool failed;
};

struct tly_mem test_failing_mem(struct test_failing *failing);

#endif
