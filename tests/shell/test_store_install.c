/* A snapshot that a peer gave, on its way to the disk: what comes beside it, and what may be said when it failed. */
#include "service/shell/libc_mem.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "wire/table.h"

/* Parts that do not wait in memory any more. */
#define LARGE 15000

static void begin(struct test_user *user)
{
    test_user_init(user, NULL, TLY_FSYNC_ALWAYS);
    user->limits.segment_bytes = 1 << 20;
    test_user_open(user);
    for (size_t i = 0; i < 10; i++)
        test_user_append(user);
    test_user_wait_stored(user);
}

/* Until all that was given before is dealt with: MANIFEST comes after the log. */
static void wait_dealt_with(struct test_user *user)
{
    uint64_t lease = user->report.leased + 1;
    tly_store_lease(user->store, lease);
    while (user->report.leased < lease)
        test_user_poll(user);
}

static void it_stands_for_all_before_it(void **state)
{
    (void)state;
    struct test_user user;
    begin(&user);
    test_user_install(&user);
    for (size_t i = 0; i < 3; i++)
        test_user_append(&user);
    test_user_wait_stored(&user);
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    assert_int_equal(user.id_at_open, 13);
    struct test_changes changes = test_user_changes(&user);
    assert_true(changes.rows == 1 && changes.done == 1 && changes.intents == 0);
    test_user_fini(&user);
}

/* Whatever of the disk's tidying fails is made up for with the next thing that is written. */
static void what_is_left_over_is_made_up_for(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_REMOVE, TEST_APPEND};
    size_t fired = 0;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (size_t k = 0, before = SIZE_MAX; before != fired; k++) {
            struct test_user user;
            before = fired;
            begin(&user);
            test_faults_set(&user.faults, (struct test_fault){ops[i], TEST_EIO, k, 1});
            test_user_install(&user);
            test_user_wait_stored(&user);
            wait_dealt_with(&user);
            fired += test_faults_clear(&user.faults);
            test_user_append(&user);
            test_user_wait_stored(&user);
            test_user_append(&user);
            test_user_wait_stored(&user);
            struct test_changes changes = test_user_changes(&user);
            assert_int_equal(changes.intents, 0);
            assert_true(changes.done == 1 && changes.rows == changes.done + changes.discarded);
            test_user_fini(&user);
        }
    }
    assert_true(fired >= 4);
}

/* What is left over of a change is swept away behind it, and is not what is being made. */
static void a_sweep_leaves_it_alone(void **state)
{
    (void)state;
    struct test_user user;
    struct tly_mem mem = tly_libc_mem();
    struct tly_registry *table = tly_registry_new(&mem);
    struct tly_table_change change = {.kind = TLY_TABLE_REGISTER, .actor = tly_slice_text("test")};
    assert_non_null(table);
    begin(&user);
    /* Both are taken in at once, since the disk hangs when they come. */
    test_faults_set(&user.faults, (struct test_fault){TEST_APPEND, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    test_user_table(&user, &change, table, 0);
    test_user_install_first(&user);
    for (size_t i = 0; i < LARGE; i++)
        test_user_install_part(&user);
    test_faults_release(&user.faults);
    test_user_wait_stored(&user);
    wait_dealt_with(&user);
    test_user_install_rest(&user);
    test_user_wait_stored(&user);
    assert_int_equal(user.report.installs_failed, 0);
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS + LARGE);
    tly_registry_free(table);
    test_user_fini(&user);
}

/* A compaction that is under way gives way, and what it still sends goes nowhere. */
static void a_compaction_gives_way(void **state)
{
    (void)state;
    struct test_user user;
    begin(&user);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    test_user_install_first(&user);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BATCH, tly_slice_text("x")), TLY_OK);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_END, tly_slice_of(NULL, 0)), TLY_OK);
    test_user_install_rest(&user);
    test_user_wait_stored(&user);
    assert_true(user.report.snapshots == 0 && user.report.snapshots_failed == 1);
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    struct test_changes changes = test_user_changes(&user);
    assert_true(changes.done == 1 && changes.discarded == 1 && changes.intents == 0);
    test_user_fini(&user);
}

/* Nothing behind one that failed is stored, whatever the disk has; nor is a stop then clean. */
static void behind_one_that_failed_nothing_is_stored(void **state)
{
    (void)state;
    struct test_user user;
    begin(&user);
    user.gives_anew = false;
    test_user_install_first(&user);
    test_user_wait_stored(&user);
    uint64_t stored = user.report.stored;
    test_faults_set(&user.faults, (struct test_fault){TEST_SYNC, TEST_EIO, 0, 1});
    test_user_install_rest(&user);
    while (user.report.installs_failed == 0)
        test_user_poll(&user);
    assert_int_equal(test_faults_clear(&user.faults), 1);
    test_user_append(&user);
    wait_dealt_with(&user);
    assert_true(user.report.stored >= stored && user.report.stored < user.number - 1);
    assert_true(user.report.failing);
    assert_non_null(strstr(user.report.error, "the snapshot that a peer gave cannot be stored"));
    test_user_close(&user, true);
    test_user_open(&user);
    assert_int_equal(user.image_parts, 0);
    assert_int_equal(user.id_at_open, 11);
    assert_false(tly_store_identity(user.store)->may_continue);
    test_user_fini(&user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stands_for_all_before_it),
        cmocka_unit_test(what_is_left_over_is_made_up_for),
        cmocka_unit_test(a_sweep_leaves_it_alone),
        cmocka_unit_test(a_compaction_gives_way),
        cmocka_unit_test(behind_one_that_failed_nothing_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
