/*
 * A disk in memory that outlives the storage opened on it.  It knows what was synced, fails the operations it is told to,
 * and can be copied as a power cut would leave it.  An object; the test frees it when no storage is open on it.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_DISK_H
#define TALLY_TESTS_SHELL_SUPPORT_DISK_H

#include "service/shell/storage.h"
#include "tests/support/rng.h"

struct test_disk;

enum test_disk_op {
    TEST_DISK_PUT, /* put, put_absent, replace */
    TEST_DISK_APPEND,
    TEST_DISK_TRUNCATE,
    TEST_DISK_SYNC,
    TEST_DISK_READ,
    TEST_DISK_SIZE,
    TEST_DISK_LIST,
    TEST_DISK_REMOVE,
    TEST_DISK_LOCK,
    TEST_DISK_IDENTITY,
    TEST_DISK_GROW,   /* of these, what takes space: PUT, APPEND */
    TEST_DISK_CHANGE, /* … what changes anything: those, TRUNCATE, SYNC, REMOVE */
    TEST_DISK_ANY,
    TEST_DISK_OPS
};

/* `times` operations fail, from the n-th (counted from 0) from now on; half of an append is written. */
struct test_disk_fault {
    enum test_disk_op op;
    size_t n;
    size_t times;
    bool late; /* … having taken effect */
    bool full; /* … for want of space */
    bool dead; /* after the first nothing has any effect: the process is no more */
};

/* What a power cut leaves of bytes that were not synced. */
enum test_disk_cut { TEST_CUT_NONE, TEST_CUT_PREFIX, TEST_CUT_ZEROS, TEST_CUT_PAGES, TEST_CUTS };

struct test_disk *test_disk_new(void);
void test_disk_free(struct test_disk *disk);
/* Many may be open at a time; the lock is given to one. */
struct tly_storage *test_disk_open(struct test_disk *disk);

void test_disk_fail(struct test_disk *disk, const struct test_disk_fault *fault);
/* What is mapped is the object's no longer. */
void test_disk_lose_map(struct test_disk *disk);
/* Operations that failed since test_disk_fail. */
size_t test_disk_failed(struct test_disk *disk);

/* All of it, synced; with the same identity or another one. */
struct test_disk *test_disk_copy(struct test_disk *disk, bool same_place);
/* What is there after a power cut now; the machine was started anew. */
struct test_disk *test_disk_cut(struct test_disk *disk, enum test_disk_cut cut, struct test_rng *rng);

size_t test_disk_count(const struct test_disk *disk);
const char *test_disk_name(const struct test_disk *disk, size_t i);
/* The bytes of an object, to be changed in place; NULL: none. */
uint8_t *test_disk_bytes(struct test_disk *disk, const char *name, size_t *n);
/* Shortens an object. */
void test_disk_shorten(struct test_disk *disk, const char *name, size_t n);

#endif
