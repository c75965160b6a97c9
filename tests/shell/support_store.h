/*
 * A store on a storage that can fail, and a user of it who remembers what was appended: batches with ids 1, 2, 3, ... over
 * all restarts, each with a content that follows from its id.
 */
#ifndef TALLY_TESTS_SHELL_SUPPORT_STORE_H
#define TALLY_TESTS_SHELL_SUPPORT_STORE_H

#include "service/shell/store_internal.h"
#include "tests/shell/support_fault_storage.h"

#define TEST_ORIGIN 0x1234
#define TEST_LEASE 1000

struct test_user {
    struct test_faults faults;
    enum tly_fsync fsync;
    struct tly_store_limits limits;
    struct tly_store *store;
    struct tly_store_report report; /* as last polled */
    bool was_failing;               /* some report said so, with an error */
    char last_error[256];
    uint64_t last_id;    /* given to the store */
    uint64_t number;     /* of the last batch in this life */
    uint64_t id_at_open; /* the last id that replay found */
    size_t image_parts;  /* that it found before that */
    bool gives_anew;     /* installs that fail */
    bool begins_full;    /* with TEST_ORIGIN + 1, when there is no space for the identity */
    uint64_t given_anew; /* so many were */
    char notice[512];
};

/* In memory, if path is NULL. Small limits: segments of 1000 bytes, retries within milliseconds. */
void test_user_init(struct test_user *user, const char *path, enum tly_fsync fsync);
void test_user_fini(struct test_user *user);

/* Opens, replays (the ids must be 1, 2, ... in order) and begins; the notice and the last id are kept. */
enum tly_result test_user_try_open(struct test_user *user);
/* The same, and it must succeed. */
void test_user_open(struct test_user *user);
void test_user_close(struct test_user *user, bool clean);

void test_user_append(struct test_user *user);
/* Hands over what replaces all up to now, in two steps. What is given up is given anew by test_user_poll. */
void test_user_install_first(struct test_user *user);
void test_user_install_part(struct test_user *user);
void test_user_install_rest(struct test_user *user);
void test_user_install(struct test_user *user);

struct tly_table_change;
struct tly_registry;
/* A change of the table of prefixes, with so many batches that belong to it. */
void test_user_table(struct test_user *user, const struct tly_table_change *change,
                     const struct tly_registry *table, size_t batches);
/* What was given to the store up to now is reported stored, resp. synced, within ten seconds. */
void test_user_wait_stored(struct test_user *user);
void test_user_wait_synced(struct test_user *user);
/* Polls until the report says failing, resp. not failing. */
void test_user_wait_failing(struct test_user *user, bool failing);
/* Waits for news, ten seconds at most, and polls. */
void test_user_poll(struct test_user *user);

/* Hands over an image of all up to now, with a batch after each of its parts. */
#define TEST_IMAGE_PARTS 3
void test_user_image(struct test_user *user);
/* Until so many were published since the start, or one more was given up (false). */
bool test_user_wait_snapshots(struct test_user *user, uint64_t count);

/* What became of changes of many steps, by the audit log. */
struct test_changes {
    size_t rows, done, discarded;
    size_t intents; /* that are still there */
};
/* Every line is whole and no id has two. */
struct test_changes test_user_changes(struct test_user *user);

/* The content of a batch. */
struct tly_slice test_batch(uint64_t id, uint8_t bytes[512]);

/* Whole objects, without faults. The caller frees what is read. */
struct tly_slice test_user_read(struct test_user *user, const char *name);
void test_user_write(struct test_user *user, const char *name, struct tly_slice bytes);
bool test_user_has(struct test_user *user, const char *name);

/* A directory and all in it, links not followed; 0, or what remove() or nftw() gave. */
int test_remove_tree(const char *path);

#endif
