/*
 * A storage that fails when it is told to, in front of another one that stays: closing it and opening another one
 * is what a restart is.  What happened is counted, so that a test can assert that its fault did.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_FAULT_STORAGE_H
#define TALLY_TESTS_SHELL_SUPPORT_FAULT_STORAGE_H

#include "service/shell/storage.h"

#include <pthread.h>

/* PUT is put, put_absent and replace; CHANGE is each of PUT, APPEND, TRUNCATE, SYNC and REMOVE. */
enum test_fault_op {
    TEST_PUT,
    TEST_APPEND,
    TEST_TRUNCATE,
    TEST_SYNC,
    TEST_READ,
    TEST_SIZE,
    TEST_LIST,
    TEST_REMOVE,
    TEST_CHANGE,
    TEST_OPS
};

enum test_fault_kind {
    TEST_EIO,    /* fails, nothing happened */
    TEST_ENOSPC, /* the same for another reason */
    TEST_SHORT,  /* half of an append is written, then it fails; else as EIO */
    TEST_LATE,   /* happens, and fails all the same */
    TEST_HANG,   /* waits for test_faults_release, then happens */
    TEST_DEATH   /* half of an append is written; this call and all later ones fail: the process is no more */
};

/* The calls number `first` (from 0, from now on) to first + count - 1 of `op` fail. */
struct test_fault {
    enum test_fault_op op;
    enum test_fault_kind kind;
    size_t first;
    size_t count;
};

#define TEST_FILES_MAX 64

struct test_faults {
    struct tly_storage *inner;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct test_fault fault;
    size_t calls[TEST_OPS]; /* since the fault was set */
    size_t fired;
    size_t hanging;
    bool is_dead, is_locked;
    /* What a power cut would leave. */
    struct {
        char name[64];
        uint64_t synced;
    } files[TEST_FILES_MAX];
    size_t file_count;
};

/* Takes the inner one over and locks it. */
void test_faults_init(struct test_faults *faults, struct tly_storage *inner);
/* Closes the inner one too. */
void test_faults_fini(struct test_faults *faults);

/* Another handle. */
struct tly_storage *test_fault_storage(struct test_faults *faults);

/* Forgets the fault before it, counts anew, and brings the dead to life. */
void test_faults_set(struct test_faults *faults, struct test_fault fault);
/* No fault from now on; how often the last one fired. */
size_t test_faults_clear(struct test_faults *faults);
size_t test_faults_fired(struct test_faults *faults);
size_t test_faults_calls(struct test_faults *faults, enum test_fault_op op);

/* Until so many calls have failed. */
void test_faults_wait_fired(struct test_faults *faults, size_t count);
/* Until a call hangs. */
void test_faults_wait_hanging(struct test_faults *faults);
/* Until the handle that has the lock is closed. */
void test_faults_wait_closed(struct test_faults *faults);
/* Lets what hangs go on. */
void test_faults_release(struct test_faults *faults);

/* Takes back what was appended and not synced, all but `percent` of it. */
void test_faults_power_cut(struct test_faults *faults, unsigned percent);

#endif
