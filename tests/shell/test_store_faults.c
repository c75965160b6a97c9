/*
 * A disk that fails: what is reported stored is, everything comes back once the disk does, and no batch is lost, doubled
 * or out of order.  Then a process that dies at each of its changes, and the power with it.
 */
#include "service/shell/manifest.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const op_names[] = {"put",  "append", "truncate", "sync",  "read",
                                       "size", "list",   "remove",   "change"};
static const char *const kind_names[] = {"EIO", "ENOSPC", "short", "late", "hang", "death"};
static const char *const mode_names[] = {"always", "interval", "never"};

/* Where a failed assertion was. */
static void name_cell(enum tly_fsync mode, struct test_fault fault)
{
    (void)printf("  fsync=%s %s %s, calls %zu to %zu\n", mode_names[mode], op_names[fault.op],
                 kind_names[fault.kind], fault.first, fault.first + fault.count - 1);
}

/* ---- the disk fails, and comes back ---- */

static void work_through_fault(struct test_user *user, struct test_fault fault)
{
    test_user_open(user);
    test_faults_set(&user->faults, fault);
    for (size_t i = 0; i < 60; i++) {
        test_user_append(user);
        if (i % 3 == 0) tly_store_lease(user->store, TEST_LEASE + i + 1);
        if (i % 2 == 0) test_user_wait_stored(user);
    }
    if (user->fsync == TLY_FSYNC_NEVER)
        test_user_wait_stored(user);
    else
        test_user_wait_synced(user);
    while (user->report.leased < TEST_LEASE + 58)
        test_user_poll(user);
    test_user_close(user, true);
}

static void assert_nothing_is_lost(struct test_user *user)
{
    test_faults_power_cut(&user->faults, 0);
    test_user_open(user);
    assert_int_equal(user->id_at_open, 60);
    assert_string_equal(user->notice, "");
    const struct tly_identity *identity = tly_store_identity(user->store);
    assert_true(identity->may_continue && identity->lease == TEST_LEASE + 58);
}

static void try_cell(enum tly_fsync mode, struct test_fault fault)
{
    struct test_user user;
    test_user_init(&user, NULL, mode);
    user.limits.retry_ms = user.limits.retry_max_ms = 0;
    work_through_fault(&user, fault);
    size_t fired = test_faults_clear(&user.faults);
    if (fired != fault.count) name_cell(mode, fault);
    assert_int_equal(fired, fault.count);
    assert_nothing_is_lost(&user);
    test_user_fini(&user);
}

/* The calls number 0 to first_max of an operation fail, each in a cell of its own, and two or four after it. */
struct row {
    enum test_fault_op op;
    size_t first_max;
};

static void every_operation_may_fail_and_nothing_is_lost(void **state)
{
    (void)state;
    static const struct row rows[] = {{TEST_APPEND, 9}, {TEST_SYNC, 4}, {TEST_PUT, 9}, {TEST_CHANGE, 24}};
    static const enum test_fault_kind kinds[] = {TEST_EIO, TEST_ENOSPC, TEST_SHORT, TEST_LATE};
    for (size_t mode = 0; mode < 3; mode++)
        for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++)
            for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
                for (size_t first = 0; first <= rows[row].first_max; first++)
                    for (size_t count = 1; count <= 5; count += 2)
                        try_cell((enum tly_fsync)mode,
                                 (struct test_fault){rows[row].op, kinds[kind], first, count});
}

/* The repair fails too: an append fails short, and the segment cannot be truncated. */
static void a_segment_that_cannot_be_mended_is_abandoned(void **state)
{
    (void)state;
    for (size_t mode = 0; mode < 3; mode++) {
        struct test_user user;
        test_user_init(&user, NULL, (enum tly_fsync)mode);
        user.limits.segment_bytes = 1 << 20;
        user.limits.interval_ms = 3600 * 1000;
        test_user_open(&user);
        for (size_t i = 0; i < 5; i++)
            test_user_append(&user);
        test_user_wait_stored(&user);
        /* Append, truncate, and all that a new segment takes but for the last step. */
        test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_SHORT, 0, 6});
        for (size_t i = 0; i < 5; i++)
            test_user_append(&user);
        test_user_wait_stored(&user);
        assert_int_equal(test_faults_clear(&user.faults), 6);
        test_user_close(&user, true);
        test_faults_power_cut(&user.faults, 0);
        test_user_open(&user);
        assert_int_equal(user.id_at_open, 10);
        assert_string_equal(user.notice, "");
        test_user_fini(&user);
    }
}

/* The system forgets pages whose sync failed, and says so once. */
static void what_a_failed_sync_covered_is_written_again(void **state)
{
    (void)state;
    static const uint8_t zeros[300];
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    user.limits.segment_bytes = 1 << 20;
    test_user_open(&user);
    test_user_append(&user);
    test_user_wait_synced(&user);
    uint64_t synced;
    assert_int_equal(tly_storage_size(user.faults.inner, "log-1.tly", &synced), TLY_OK);
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_EIO, 0, 1});
    for (size_t i = 0; i < 20; i++)
        test_user_append(&user);
    test_user_wait_synced(&user);
    assert_int_equal(test_faults_clear(&user.faults), 1);
    test_user_close(&user, true);

    assert_true(test_user_has(&user, "log-2.tly"));
    assert_int_equal(tly_storage_truncate(user.faults.inner, "log-1.tly", synced), TLY_OK);
    assert_int_equal(tly_storage_append(user.faults.inner, "log-1.tly", tly_slice_of(zeros, sizeof zeros)),
                     TLY_OK);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 21);
    assert_string_equal(user.notice, "");
    test_user_fini(&user);
}

static void a_file_whose_sync_failed_is_never_synced_again(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_EIO, 0, 3});
    test_user_append(&user);
    test_user_wait_stored(&user);
    assert_int_equal(test_faults_clear(&user.faults), 3);
    /* log-1 failed, then log-2 and log-3 while they were made, which leaves no trace; log-1 had nothing. */
    assert_false(test_user_has(&user, "log-1.tly") || test_user_has(&user, "log-2.tly") ||
                 test_user_has(&user, "log-3.tly"));
    assert_true(test_user_has(&user, "log-4.tly"));
    test_user_fini(&user);
}

static void while_it_fails_nothing_is_reported_stored_and_the_reason_is(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_user_append(&user);
    test_user_wait_stored(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_APPEND, TEST_ENOSPC, 0, SIZE_MAX});
    for (size_t i = 0; i < 10; i++)
        test_user_append(&user);
    test_user_wait_failing(&user, true);
    assert_int_equal(user.report.stored, 1);
    assert_int_equal(user.report.synced, 1);
    assert_non_null(strstr(user.last_error, "No space left on device"));
    /* What to do is said once, by who knows the reason. */
    const char *advice = strstr(user.last_error, "free space");
    assert_non_null(advice);
    assert_null(strstr(advice + 1, "free space"));
    assert_null(strstr(user.last_error, "mend the disk"));
    assert_non_null(strstr(user.last_error, "tried again"));
    test_faults_wait_fired(&user.faults, 5);
    tly_store_poll(user.store, &user.report);
    assert_true(user.report.failing && user.report.stored == 1);
    (void)test_faults_clear(&user.faults);
    test_user_wait_stored(&user);
    assert_string_equal(user.report.error, "");
    test_user_fini(&user);
}

/* A batch is there, and who comes next begins on a full disk if it must. */
static void leave_one(struct test_user *user, bool clean)
{
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->begins_full = true;
    test_user_open(user);
    test_user_append(user);
    test_user_wait_stored(user);
    test_user_close(user, clean);
}

static void the_reserve_makes_room_to_take_the_mark_away(void **state)
{
    (void)state;
    struct test_user user;
    leave_one(&user, true);
    assert_true(test_user_has(&user, TLY_RESERVE_NAME));
    test_faults_set(&user.faults, (struct test_fault){TEST_PUT, TEST_ENOSPC, 0, 1});
    test_user_open(&user);
    assert_int_equal(test_faults_clear(&user.faults), 1);
    assert_true(tly_store_identity(user.store)->may_continue);
    assert_int_equal(tly_store_identity(user.store)->origin, TEST_ORIGIN);
    assert_false(test_user_has(&user, TLY_RESERVE_NAME));
    test_user_close(&user, false);
    test_user_open(&user);
    assert_false(tly_store_identity(user.store)->may_continue);
    test_user_fini(&user);
}

/* Else a life that went on would begin where others know that it was another's turn. */
static void with_a_mark_that_cannot_be_taken_away_nothing_begins(void **state)
{
    (void)state;
    struct test_user user;
    leave_one(&user, true);
    test_faults_set(&user.faults, (struct test_fault){TEST_PUT, TEST_ENOSPC, 0, SIZE_MAX});
    for (int i = 0; i < 2; i++) { /* with the reserve, and without: twice each */
        assert_int_equal(test_user_try_open(&user), TLY_IO);
        assert_non_null(strstr(user.notice, "No space left on device"));
    }
    assert_int_equal(test_faults_clear(&user.faults), 4);
    test_user_open(&user);
    assert_true(tly_store_identity(user.store)->may_continue);
    assert_int_equal(user.id_at_open, 1);
    test_user_fini(&user);
}

static void without_a_mark_a_life_begins_on_a_full_disk(void **state)
{
    (void)state;
    static struct tly_manifest manifest;
    char error[512];
    struct test_user user;
    leave_one(&user, false);
    test_faults_set(&user.faults, (struct test_fault){TEST_PUT, TEST_ENOSPC, 0, SIZE_MAX});
    test_user_open(&user);
    test_user_wait_failing(&user, true);
    assert_non_null(strstr(user.last_error, "No space left on device"));
    assert_int_equal(tly_manifest_load(user.faults.inner, &manifest, error, sizeof error), TLY_OK);
    assert_true(manifest.origin == TEST_ORIGIN && !manifest.clean);
    test_user_append(&user);
    (void)test_faults_clear(&user.faults);
    test_user_wait_stored(&user);
    test_user_wait_failing(&user, false);
    assert_int_equal(user.report.leased, TEST_LEASE);
    assert_int_equal(tly_manifest_load(user.faults.inner, &manifest, error, sizeof error), TLY_OK);
    assert_int_equal(manifest.origin, TEST_ORIGIN + 1);
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 2);
    test_user_fini(&user);
}

static void assert_is_told(enum tly_fsync mode, enum test_fault_op op)
{
    struct test_user user;
    test_user_init(&user, NULL, mode);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){op, TEST_EIO, 0, SIZE_MAX});
    while (!user.report.failing) {
        test_user_append(&user);
        test_user_poll(&user);
    }
    assert_non_null(strstr(user.last_error, "Input/output error"));
    assert_true(test_faults_clear(&user.faults) > 0);
    test_user_wait_failing(&user, false);
    test_user_wait_stored(&user);
    test_user_fini(&user);
}

static void every_failure_is_told_until_it_is_over(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_APPEND, TEST_SYNC, TEST_PUT, TEST_CHANGE};
    for (size_t mode = 0; mode < 3; mode++)
        for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
            assert_is_told((enum tly_fsync)mode, ops[i]);
}

static void a_lease_that_cannot_be_written_is_not_reported_and_tried_again(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_PUT, TEST_EIO, 0, SIZE_MAX});
    tly_store_lease(user.store, 5000);
    test_user_wait_failing(&user, true);
    assert_int_equal(user.report.leased, TEST_LEASE);
    /* The log does not wait for the lease. */
    test_user_append(&user);
    while (user.report.stored < 1)
        test_user_poll(&user);
    assert_true(user.report.failing);
    (void)test_faults_clear(&user.faults);
    while (user.report.leased < 5000)
        test_user_poll(&user);
    assert_false(user.report.failing);
    test_user_fini(&user);
}

static void a_close_while_the_disk_fails_leaves_no_clean_mark(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_APPEND, TEST_SYNC, TEST_PUT};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_NEVER);
        user.limits.close_ms = 20;
        test_user_open(&user);
        test_faults_set(&user.faults, (struct test_fault){ops[i], TEST_EIO, 0, SIZE_MAX});
        test_user_append(&user);
        test_user_close(&user, true);
        assert_true(test_faults_clear(&user.faults) > 0);
        test_user_open(&user);
        assert_false(tly_store_identity(user.store)->may_continue);
        test_user_fini(&user);
    }
}

/* ---- at the start ---- */

static void a_start_that_fails_says_so_and_changes_nothing_that_counts(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_PUT, TEST_SYNC, TEST_READ, TEST_SIZE};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
        test_user_open(&user);
        for (size_t k = 0; k < 10; k++)
            test_user_append(&user);
        test_user_close(&user, true);
        test_faults_set(&user.faults, (struct test_fault){ops[i], TEST_EIO, 0, 1});
        assert_int_equal(test_user_try_open(&user), TLY_IO);
        assert_non_null(strstr(user.notice, "Input/output error"));
        assert_int_equal(test_faults_clear(&user.faults), 1);
        test_user_open(&user);
        assert_int_equal(user.id_at_open, 10);
        assert_true(tly_store_identity(user.store)->may_continue);
        test_user_fini(&user);
    }
}

static void a_new_directory_that_refuses_says_so(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_PUT, TEST_SYNC, TEST_APPEND, TEST_READ, TEST_LIST};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
        test_faults_set(&user.faults, (struct test_fault){ops[i], TEST_SHORT, 0, 1});
        assert_int_equal(test_user_try_open(&user), TLY_IO);
        assert_non_null(strstr(user.notice, "Input/output error"));
        assert_int_equal(test_faults_clear(&user.faults), 1);
        test_user_open(&user);
        assert_int_equal(user.id_at_open, 0);
        test_user_fini(&user);
    }
}

/* ---- death at each change, and the power with it ---- */

/* Works until it is done or dead; how many batches it was told are stored. */
static uint64_t work_until_death(struct test_user *user)
{
    uint64_t stored = user->last_id;
    if (test_user_try_open(user) != TLY_OK) return stored;
    user->last_id = user->id_at_open;
    for (size_t i = 0; i < 12 && !user->report.failing; i++) {
        test_user_append(user);
        tly_store_lease(user->store, TEST_LEASE + user->last_id);
        if (i % 2 == 0) continue;
        while (!user->report.failing && user->report.stored < user->number)
            test_user_poll(user);
    }
    stored = user->id_at_open + user->report.stored;
    test_user_close(user, true);
    return stored;
}

/* Dies at change number k of its second life; false when it has no so many. */
static bool die_at(enum tly_fsync mode, size_t k, unsigned percent)
{
    struct test_user user;
    test_user_init(&user, NULL, mode);
    user.limits.segment_bytes = 400;
    user.limits.close_ms = 0;
    uint64_t stored = work_until_death(&user);
    uint64_t given = user.last_id;
    test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, k, 1});
    user.last_id = stored;
    stored = work_until_death(&user);
    if (user.last_id > given) given = user.last_id;
    bool died = test_faults_clear(&user.faults) > 0;
    test_faults_power_cut(&user.faults, percent);

    test_user_open(&user);
    if (user.id_at_open < stored || user.id_at_open > given)
        fail_msg(
            "fsync=%s, dead at change %zu, %u %% of what was not synced left: %llu batches of %llu stored ones",
            mode_names[mode], k, percent, (unsigned long long)user.id_at_open, (unsigned long long)stored);
    if (died) assert_false(tly_store_identity(user.store)->may_continue && user.last_id < given);
    test_user_append(&user);
    test_user_wait_stored(&user);
    test_user_fini(&user);
    return died;
}

static size_t die_everywhere(enum tly_fsync mode, unsigned percent)
{
    size_t k = 0;
    while (die_at(mode, k, percent))
        k++;
    return k;
}

static void what_is_acknowledged_survives_death_and_power_cut(void **state)
{
    (void)state;
    static const unsigned percents[] = {0, 50, 99, 100};
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++)
        assert_true(die_everywhere(TLY_FSYNC_ALWAYS, percents[i]) > 20);
}

/* What is written is the system's; only the power takes it away. */
static void what_is_written_survives_death(void **state)
{
    (void)state;
    assert_true(die_everywhere(TLY_FSYNC_INTERVAL, 100) > 20);
    assert_true(die_everywhere(TLY_FSYNC_NEVER, 100) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_may_fail_and_nothing_is_lost),
        cmocka_unit_test(a_segment_that_cannot_be_mended_is_abandoned),
        cmocka_unit_test(what_a_failed_sync_covered_is_written_again),
        cmocka_unit_test(a_file_whose_sync_failed_is_never_synced_again),
        cmocka_unit_test(while_it_fails_nothing_is_reported_stored_and_the_reason_is),
        cmocka_unit_test(the_reserve_makes_room_to_take_the_mark_away),
        cmocka_unit_test(with_a_mark_that_cannot_be_taken_away_nothing_begins),
        cmocka_unit_test(without_a_mark_a_life_begins_on_a_full_disk),
        cmocka_unit_test(every_failure_is_told_until_it_is_over),
        cmocka_unit_test(a_lease_that_cannot_be_written_is_not_reported_and_tried_again),
        cmocka_unit_test(a_close_while_the_disk_fails_leaves_no_clean_mark),
        cmocka_unit_test(a_start_that_fails_says_so_and_changes_nothing_that_counts),
        cmocka_unit_test(a_new_directory_that_refuses_says_so),
        cmocka_unit_test(what_is_acknowledged_survives_death_and_power_cut),
        cmocka_unit_test(what_is_written_survives_death),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
