/*
 * A directory that somebody else took over, since LOCK was removed by hand: the next thing that would be published fails on the
 * revision of MANIFEST and says so, and from then on the first one touches nothing there.
 */
#include "service/shell/manifest.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>

static const char *const names[] = {"MANIFEST", "log-1.tly", "log-2.tly", "log-3.tly", "snap-2.tly"};
#define NAMES (sizeof names / sizeof names[0])

/* Three batches are stored; then another one writes what it would. */
static void begin(struct test_user *user)
{
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->limits.segment_bytes = 1 << 20;
    test_user_open(user);
    for (size_t i = 0; i < 3; i++)
        test_user_append(user);
    test_user_wait_stored(user);
}

static void take_over(struct test_user *user)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(names[i], "log-1.tly") != 0) test_user_write(user, names[i], tly_slice_text("another's"));
}

/* It is said, whatever is tried meanwhile and at the end; and the other's files are as they were. */
static void assert_kept_out(struct test_user *user)
{
    struct tly_slice log = test_user_read(user, "log-1.tly");
    test_user_wait_failing(user, true);
    assert_non_null(strstr(user->report.error, "written by another process"));
    uint64_t stored = user->report.stored;
    test_faults_set(&user->faults, (struct test_fault){.op = TEST_CHANGE});
    for (size_t i = 0; i < 20; i++)
        test_user_append(user);
    test_user_image(user);
    tly_store_lease(user->store, 1u << 30);
    tly_store_poll(user->store, &user->report);
    assert_true(user->report.failing);
    assert_int_equal(user->report.stored, stored);
    test_user_close(user, true);
    assert_int_equal(test_faults_calls(&user->faults, TEST_CHANGE), 0);
    for (size_t i = 0; i < NAMES; i++) {
        struct tly_slice found = test_user_read(user, names[i]);
        bool is_ours = strcmp(names[i], "log-1.tly") == 0;
        assert_true(tly_slice_equal(found, is_ours ? log : tly_slice_text("another's")));
        free((void *)(uintptr_t)found.p);
    }
    free((void *)(uintptr_t)log.p);
    test_user_fini(user);
}

static void a_lease_is_not_written_over_anothers(void **state)
{
    struct test_user user;
    begin(&user);
    take_over(&user);
    tly_store_lease(user.store, 1u << 20);
    assert_kept_out(&user);
}

static void a_segment_of_anothers_is_not_begun_anew(void **state)
{
    struct test_user user;
    begin(&user);
    take_over(&user);
    /* What cannot be synced is written to a new segment. */
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_EIO, 0, 1});
    test_user_append(&user);
    test_faults_wait_fired(&user.faults, 1);
    test_user_wait_failing(&user, true);
    while (strstr(user.report.error, "another process") == NULL)
        test_user_poll(&user);
    assert_kept_out(&user);
}

static void a_snapshot_is_not_published_beside_anothers(void **state)
{
    struct test_user user;
    begin(&user);
    take_over(&user);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    assert_kept_out(&user);
}

/* A snapshot that was begun before is left where it is. */
static void what_was_being_made_is_let_lie(void **state)
{
    struct test_user user;
    begin(&user);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    test_user_append(&user);
    test_user_wait_stored(&user);
    take_over(&user);
    tly_store_lease(user.store, 1u << 20);
    assert_kept_out(&user);
}

/* A writing that failed may have taken effect. What stands there afterwards is neither the old one nor that one. */
static void after_a_writing_that_is_unsure_anothers_is_still_told_apart(void **state)
{
    struct test_user user;
    begin(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_PUT, TEST_LATE, 0, SIZE_MAX});
    tly_store_lease(user.store, 1u << 20);
    test_faults_wait_fired(&user.faults, 1);
    take_over(&user);
    while (strstr(user.report.error, "another process") == NULL)
        test_user_poll(&user);
    assert_kept_out(&user);
}

/* The revision is one of the bytes, so they count their writings: what was said once is never said in the same bytes again. */
static void a_stale_revision_loses_even_when_all_is_as_it_was(void **state)
{
    static struct tly_manifest ours, theirs;
    char error[256];
    struct tly_storage *s = tly_storage_memory();
    assert_non_null(s);
    assert_int_equal(tly_manifest_save(s, &ours), TLY_OK);
    assert_int_equal(tly_manifest_load(s, &theirs, error, sizeof error), TLY_OK);
    theirs.clean = true;
    assert_int_equal(tly_manifest_save(s, &theirs), TLY_OK);
    theirs.clean = false;
    assert_int_equal(tly_manifest_save(s, &theirs), TLY_OK);
    assert_int_equal(tly_manifest_save(s, &ours), TLY_STALE);
    assert_true(ours.is_taken && !theirs.is_taken);
    assert_int_equal(tly_manifest_save(s, &theirs), TLY_OK);
    tly_storage_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_is_not_written_over_anothers),
        cmocka_unit_test(a_segment_of_anothers_is_not_begun_anew),
        cmocka_unit_test(a_snapshot_is_not_published_beside_anothers),
        cmocka_unit_test(what_was_being_made_is_let_lie),
        cmocka_unit_test(after_a_writing_that_is_unsure_anothers_is_still_told_apart),
        cmocka_unit_test(a_stale_revision_loses_even_when_all_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
