/* The store: what was appended comes back, who may go on with whose life, and who is refused. */
#include "service/shell/manifest.h"
#include "service/shell/segment.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/test_store.XXXXXX");
    return mkdtemp(path) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return test_remove_tree(path);
}

static void append_many(struct test_user *user, size_t count)
{
    for (size_t i = 0; i < count; i++)
        test_user_append(user);
}

static const struct tly_identity *identity_of(const struct test_user *user)
{
    return tly_store_identity(user->store);
}

static void look(struct test_user *user)
{
    struct tly_storage *storage = test_fault_storage(&user->faults);
    enum tly_result result =
        tly_store_open(storage, TLY_FSYNC_ALWAYS, &user->store, user->notice, sizeof user->notice);
    if (result != TLY_OK) fail_msg("%s", user->notice);
}

static bool may_continue(struct test_user *user)
{
    look(user);
    bool may = identity_of(user)->may_continue;
    test_user_close(user, true);
    return may;
}

/* ---- batches ---- */

static void what_was_appended_comes_back_in_order(void **state)
{
    (void)state;
    static const enum tly_fsync modes[] = {TLY_FSYNC_ALWAYS, TLY_FSYNC_INTERVAL, TLY_FSYNC_NEVER};
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_ALWAYS);
    for (uint64_t life = 0; life < 9; life++) {
        user.fsync = modes[life % 3];
        test_user_open(&user);
        assert_int_equal(user.id_at_open, life * 20);
        assert_string_equal(user.notice, "");
        append_many(&user, 20);
        if (life % 2 == 0) test_user_wait_stored(&user);
        test_user_close(&user, life % 4 < 2);
    }
    assert_false(user.was_failing);
    test_user_fini(&user);
}

static void a_close_writes_what_waits(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_NEVER);
    user.limits.interval_ms = 60000;
    test_user_open(&user);
    append_many(&user, 500);
    test_user_close(&user, true);
    test_faults_power_cut(&user.faults, 0);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 500);
    test_user_fini(&user);
}

static void an_empty_batch_is_a_batch(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    user.number++;
    assert_int_equal(tly_store_append(user.store, 1, tly_slice_of(NULL, 0)), TLY_OK);
    test_user_wait_stored(&user);
    test_user_fini(&user);
}

static bool has_segment(struct test_user *user, uint64_t number, char *name)
{
    tly_segment_name(TLY_SEGMENT_LOG, number, name);
    return test_user_has(user, name);
}

static void segments_roll_and_all_come_back(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    for (size_t i = 0; i < 60; i++) {
        test_user_append(&user);
        test_user_wait_stored(&user);
    }
    assert_true(test_user_has(&user, "log-1.tly") && test_user_has(&user, "log-5.tly"));
    uint64_t bytes = 0, size;
    char name[TLY_SEGMENT_NAME_BYTES];
    for (uint64_t i = 1; has_segment(&user, i, name); i++) {
        assert_int_equal(tly_storage_size(user.faults.inner, name, &size), TLY_OK);
        assert_true(size < 1000 + 512);
        bytes += size;
    }
    assert_int_equal(user.report.bytes, bytes);
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 60);
    test_user_poll(&user);
    assert_int_equal(user.report.bytes, bytes);
    test_user_fini(&user);
}

static void a_batch_beyond_a_frame_is_refused(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    uint8_t *bytes = calloc(1, 256 * 1024 + 1);
    assert_non_null(bytes);
    assert_int_equal(tly_store_append(user.store, 1, tly_slice_of(bytes, 256 * 1024 + 1)), TLY_TOO_LARGE);
    assert_int_equal(tly_store_append(user.store, 1, tly_slice_of(bytes, 256 * 1024)), TLY_OK);
    user.number = 1;
    test_user_wait_stored(&user);
    free(bytes);
    test_user_fini(&user);
}

static enum tly_result count_batches(void *context, struct tly_slice batch)
{
    uint64_t *left = context;
    (void)batch;
    return (*left)-- > 0 ? TLY_OK : TLY_CLOCK_AHEAD;
}

static void who_takes_can_end_the_replay(void **state)
{
    (void)state;
    struct test_user user;
    char text[512];
    uint64_t left = 3;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 10);
    test_user_close(&user, true);
    struct tly_storage *storage = test_fault_storage(&user.faults);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &user.store, text, sizeof text), TLY_OK);
    assert_int_equal(tly_store_replay(user.store, count_batches, &left, text, sizeof text), TLY_CLOCK_AHEAD);
    assert_non_null(strstr(text, "log-1.tly"));
    test_user_fini(&user);
}

static void before_begin_nothing_is_taken(void **state)
{
    (void)state;
    struct test_user user;
    char text[512];
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    struct tly_storage *storage = test_fault_storage(&user.faults);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &user.store, text, sizeof text), TLY_OK);
    assert_int_equal(tly_store_append(user.store, 1, tly_slice_text("x")), TLY_IO);
    tly_store_lease(user.store, 5);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 0);
    test_user_close(&user, true);
    assert_false(test_user_has(&user, TLY_MANIFEST_NAME));
    test_user_fini(&user);
}

/* ---- when it is stored ---- */

static void always_means_synced(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    /* What was synced so far, and the batch, in one. */
    assert_int_equal(test_faults_calls(&user.faults, TEST_APPEND), 1);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 0);
    test_faults_release(&user.faults);
    test_user_wait_stored(&user);
    assert_int_equal(user.report.synced, 1);
    test_user_fini(&user);
}

static void interval_means_written_and_soon_synced(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_user_wait_stored(&user);
    assert_int_equal(user.report.synced, 0);
    test_faults_wait_hanging(&user.faults);
    test_faults_release(&user.faults);
    test_user_wait_synced(&user);
    test_user_fini(&user);
}

static void within_the_interval_one_sync_is_enough(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    user.limits.interval_ms = 3600 * 1000;
    user.limits.segment_bytes = 1 << 20;
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){.count = 0});
    for (size_t i = 0; i < 50; i++) {
        test_user_append(&user);
        test_user_wait_stored(&user);
    }
    assert_int_equal(test_faults_calls(&user.faults, TEST_SYNC), 0);
    test_user_close(&user, true);
    assert_int_equal(test_faults_calls(&user.faults, TEST_SYNC), 1);
    test_user_fini(&user);
}

static void never_does_not_sync_what_is_written(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_NEVER);
    user.limits.segment_bytes = 1 << 20;
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){.count = 0});
    append_many(&user, 100);
    test_user_wait_stored(&user);
    assert_int_equal(test_faults_calls(&user.faults, TEST_SYNC), 0);
    assert_int_equal(user.report.synced, 0);
    test_user_fini(&user);
}

static void what_waits_becomes_one_append_and_one_sync(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    user.limits.segment_bytes = 1 << 20;
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_APPEND, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    append_many(&user, 100);
    test_faults_release(&user.faults);
    test_user_wait_stored(&user);
    /* Each with what was synced before it. */
    assert_int_equal(test_faults_calls(&user.faults, TEST_APPEND), 2);
    assert_int_equal(test_faults_calls(&user.faults, TEST_SYNC), 2);
    test_user_fini(&user);
}

static void what_does_not_fit_is_refused_and_may_come_again(void **state)
{
    (void)state;
    struct test_user user;
    uint8_t bytes[512];
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    user.limits.waiting_bytes = 1000;
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_APPEND, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    enum tly_result result = TLY_OK;
    while (result == TLY_OK) {
        result = tly_store_append(user.store, user.number + 1, test_batch(user.last_id + 1, bytes));
        user.number += result == TLY_OK;
        user.last_id += result == TLY_OK;
    }
    assert_int_equal(result, TLY_FULL);
    assert_true(user.number > 2);
    test_faults_release(&user.faults);
    test_user_wait_stored(&user);
    test_user_append(&user);
    test_user_wait_stored(&user);
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, user.last_id);
    test_user_fini(&user);
}

static void after_a_gap_nothing_is_reported_stored(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 3);
    user.number += 2;
    append_many(&user, 4);
    test_user_wait_failing(&user, true);
    test_user_close(&user, true);
    assert_int_equal(user.report.stored, 3);
    assert_non_null(strstr(user.last_error, "2 batches"));
    assert_false(may_continue(&user));
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 7);
    test_user_close(&user, true);
    assert_true(may_continue(&user));
    test_user_fini(&user);
}

/* ---- identity ---- */

static void a_new_store_knows_nobody(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_ALWAYS);
    look(&user);
    assert_string_equal(identity_of(&user)->name, "");
    assert_int_equal(identity_of(&user)->origin, 0);
    assert_int_equal(identity_of(&user)->lease, 0);
    assert_false(identity_of(&user)->may_continue);
    test_user_fini(&user);
}

static void name_origin_and_lease_survive(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    tly_store_lease(user.store, UINT64_MAX - 7);
    while (user.report.leased != UINT64_MAX - 7)
        test_user_poll(&user);
    tly_store_lease(user.store, 3);
    test_user_close(&user, false);
    look(&user);
    assert_string_equal(identity_of(&user)->name, "gw1");
    assert_int_equal(identity_of(&user)->origin, TEST_ORIGIN);
    assert_true(identity_of(&user)->lease == UINT64_MAX - 7);
    test_user_fini(&user);
}

static void a_life_goes_on_after_a_clean_close_only(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    append_many(&user, 5);
    test_user_close(&user, false);
    assert_false(may_continue(&user));
    test_user_open(&user);
    append_many(&user, 5);
    test_user_close(&user, true);
    /* To look at it spends nothing. */
    assert_true(may_continue(&user));
    assert_true(may_continue(&user));
    test_user_open(&user);
    test_user_close(&user, false);
    assert_false(may_continue(&user));
    test_user_fini(&user);
}

static void the_clean_mark_is_spent_when_begin_returns(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_NEVER);
    test_user_open(&user);
    test_user_close(&user, true);
    user.limits.close_ms = 20;
    test_user_open(&user);
    /* The process ends here, and with it the power. */
    test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, 0, 1});
    test_user_append(&user);
    test_user_wait_failing(&user, true);
    test_user_close(&user, true);
    assert_int_equal(test_faults_clear(&user.faults), 1);
    test_faults_power_cut(&user.faults, 0);
    assert_false(may_continue(&user));
    test_user_fini(&user);
}

static void copy_file(const char *from, const char *to, const char *name)
{
    char command[256];
    (void)snprintf(command, sizeof command, "cp -p %s/%s %s/%s", from, name, to, name);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): names are our own */
}

static void a_copied_directory_begins_a_new_life(void **state)
{
    (void)state;
    struct test_user user, copy;
    char other[96];
    test_user_init(&user, path, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    append_many(&user, 5);
    test_user_close(&user, true);
    (void)snprintf(other, sizeof other, "%s/copy", path);
    test_user_init(&copy, other, TLY_FSYNC_INTERVAL);
    copy_file(path, other, "LOCK");
    copy_file(path, other, "MANIFEST");
    copy_file(path, other, "log-1.tly");
    assert_false(may_continue(&copy));
    assert_true(may_continue(&user));
    test_user_open(&copy);
    assert_int_equal(copy.id_at_open, 5);
    test_user_fini(&copy);
    test_user_fini(&user);
}

/* ---- refused ---- */

static void a_second_one_is_refused_and_told_the_pid(void **state)
{
    (void)state;
    struct tly_store *first, *second = NULL;
    char error[256] = "", pid[48];
    (void)snprintf(pid, sizeof pid, "process %ld:", (long)getpid());
    struct tly_storage *storage = tly_storage_directory(path, error, sizeof error);
    assert_non_null(storage);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &first, error, sizeof error), TLY_OK);
    storage = tly_storage_directory(path, error, sizeof error);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &second, error, sizeof error), TLY_STALE);
    assert_non_null(strstr(error, pid));
    assert_null(second);
    tly_store_close(first, false);
    storage = tly_storage_directory(path, error, sizeof error);
    assert_int_equal(tly_store_open(storage, TLY_FSYNC_ALWAYS, &second, error, sizeof error), TLY_OK);
    tly_store_close(second, false);
}

/* ---- without a MANIFEST ---- */

static void without_a_manifest_the_log_is_read_and_a_life_begins(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, path, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    for (size_t i = 0; i < 120; i++) {
        test_user_append(&user);
        test_user_wait_stored(&user);
    }
    assert_true(test_user_has(&user, "log-11.tly"));
    test_user_close(&user, true);
    assert_int_equal(tly_storage_remove(user.faults.inner, TLY_MANIFEST_NAME), TLY_OK);
    test_user_write(&user, "log-99.tly", tly_slice_text("tally"));
    look(&user);
    assert_int_equal(identity_of(&user)->origin, 0);
    assert_false(identity_of(&user)->may_continue);
    assert_true(identity_of(&user)->manifest_lost);
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 120);
    assert_false(test_user_has(&user, "log-99.tly"));
    append_many(&user, 10);
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 130);
    test_user_fini(&user);
}

static void a_segment_that_manifest_does_not_name_goes(void **state)
{
    (void)state;
    struct test_user user;
    uint8_t header[TLY_SEGMENT_HEADER_BYTES];
    test_user_init(&user, path, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 3);
    test_user_close(&user, true);
    tly_segment_header(TLY_SEGMENT_LOG, 2, header);
    test_user_write(&user, "log-2.tly", tly_slice_of(header, sizeof header));
    test_user_write(&user, "log-3.tly.bak", tly_slice_text("an operator's"));
    test_user_open(&user);
    assert_false(test_user_has(&user, "log-2.tly"));
    assert_true(test_user_has(&user, "log-3.tly.bak"));
    append_many(&user, 40);
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 43);
    test_user_fini(&user);
}

static void a_stray_that_cannot_be_removed_is_not_in_the_way(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 3);
    test_user_close(&user, true);
    test_user_write(&user, "log-2.tly", tly_slice_text("what a crash left of a segment"));
    test_faults_set(&user.faults, (struct test_fault){TEST_REMOVE, TEST_EIO, 0, 1});
    test_user_open(&user);
    assert_int_equal(test_faults_fired(&user.faults), 1);
    for (size_t i = 0; i < 40; i++) {
        test_user_append(&user);
        test_user_wait_stored(&user);
    }
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 43);
    test_user_fini(&user);
}

/* ---- resources ---- */

static size_t count_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void two_hundred_lives_cost_no_descriptor(void **state)
{
    (void)state;
    size_t before = count_descriptors();
    for (size_t i = 0; i < 200; i++) {
        char error[256] = "";
        struct tly_store *store = NULL;
        struct tly_storage *storage = tly_storage_directory(path, error, sizeof error);
        assert_int_equal(tly_store_open(storage, TLY_FSYNC_INTERVAL, &store, error, sizeof error), TLY_OK);
        uint64_t left = UINT64_MAX;
        assert_int_equal(tly_store_replay(store, count_batches, &left, error, sizeof error), TLY_OK);
        if (i % 2 == 0) {
            assert_int_equal(tly_store_begin(store, "n", 1, i, error, sizeof error), TLY_OK);
            assert_int_equal(tly_store_append(store, 1, tly_slice_text("x")), TLY_OK);
        }
        tly_store_close(store, i % 3 == 0);
        assert_int_equal(count_descriptors(), before);
    }
}

static void a_disk_that_does_not_answer_does_not_hold_up_the_close(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    user.limits.close_ms = 1;
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    test_user_close(&user, true);
    assert_int_equal(test_faults_fired(&user.faults), 1);
    /* Should it ever answer, all is given back, the lock too. */
    test_faults_release(&user.faults);
    test_faults_wait_closed(&user.faults);
    test_user_fini(&user);
}

#define SCENE(scene) cmocka_unit_test_setup_teardown(scene, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(what_was_appended_comes_back_in_order),
        SCENE(a_close_writes_what_waits),
        SCENE(an_empty_batch_is_a_batch),
        SCENE(segments_roll_and_all_come_back),
        SCENE(a_batch_beyond_a_frame_is_refused),
        SCENE(who_takes_can_end_the_replay),
        SCENE(before_begin_nothing_is_taken),
        SCENE(always_means_synced),
        SCENE(interval_means_written_and_soon_synced),
        SCENE(within_the_interval_one_sync_is_enough),
        SCENE(never_does_not_sync_what_is_written),
        SCENE(what_waits_becomes_one_append_and_one_sync),
        SCENE(what_does_not_fit_is_refused_and_may_come_again),
        SCENE(after_a_gap_nothing_is_reported_stored),
        SCENE(a_new_store_knows_nobody),
        SCENE(name_origin_and_lease_survive),
        SCENE(a_life_goes_on_after_a_clean_close_only),
        SCENE(the_clean_mark_is_spent_when_begin_returns),
        SCENE(a_copied_directory_begins_a_new_life),
        SCENE(a_second_one_is_refused_and_told_the_pid),
        SCENE(without_a_manifest_the_log_is_read_and_a_life_begins),
        SCENE(a_segment_that_manifest_does_not_name_goes),
        SCENE(a_stray_that_cannot_be_removed_is_not_in_the_way),
        SCENE(two_hundred_lives_cost_no_descriptor),
        SCENE(a_disk_that_does_not_answer_does_not_hold_up_the_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
