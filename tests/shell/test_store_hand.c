/* A store without its thread: whoever calls tly_store_work is it, by a clock of one's own. */
#include "service/shell/store_internal.h"
#include "tests/shell/support_disk.h"
#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)
#define NEVER UINT64_MAX

struct user {
    uint64_t now;
    struct tly_store_hand hand;
    struct tly_store *store;
    struct tly_store_report report;
    unsigned found; /* batches, at the last start */
};

static uint64_t now_of(void *context)
{
    const struct user *user = context;
    return user->now;
}

static enum tly_result count(void *context, struct tly_slice batch)
{
    struct user *user = context;
    user->found += batch.n > 0;
    return TLY_OK;
}

static void start(struct user *user, struct test_disk *disk, enum tly_fsync fsync)
{
    struct tly_store_limits limits = tly_store_limits_default();
    char error[256] = "";
    user->hand = (struct tly_store_hand){now_of, user};
    user->found = 0;
    limits.hand = &user->hand;
    assert_int_equal(
        tly_store_open_limited(test_disk_open(disk), fsync, &limits, &user->store, error, sizeof error),
        TLY_OK);
    assert_int_equal(tly_store_replay(user->store, count, user, error, sizeof error), TLY_OK);
    assert_int_equal(tly_store_begin(user->store, "n", 7, 1000, error, sizeof error), TLY_OK);
}

static void append(struct user *user, uint64_t number)
{
    assert_int_equal(tly_store_append(user->store, number, tly_slice_text("batch")), TLY_OK);
}

/* When there is more to do; the report is taken. */
static uint64_t work(struct user *user)
{
    uint64_t next = tly_store_work(user->store);
    tly_store_poll(user->store, &user->report);
    return next;
}

static void nothing_is_written_before_the_turn(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start(&user, disk, TLY_FSYNC_INTERVAL);
    append(&user, 1);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 0);
    assert_int_equal(work(&user), user.now + TLY_FSYNC_INTERVAL_MS * MS);
    assert_int_equal(user.report.stored, 1);
    assert_int_equal(user.report.synced, 0);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

static void the_interval_is_that_of_the_given_clock(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start(&user, disk, TLY_FSYNC_INTERVAL);
    append(&user, 1);
    uint64_t next = work(&user);
    user.now = next - 1;
    assert_int_equal(work(&user), next);
    assert_int_equal(user.report.synced, 0);
    user.now = next;
    assert_int_equal(work(&user), NEVER);
    assert_int_equal(user.report.synced, 1);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

static void what_failed_is_tried_again_by_that_clock(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start(&user, disk, TLY_FSYNC_ALWAYS);
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_CHANGE, .times = SIZE_MAX});
    append(&user, 1);
    uint64_t next = work(&user);
    assert_int_equal(next, user.now + 100 * MS);
    assert_true(user.report.failing);
    test_disk_fail(disk, &(struct test_disk_fault){0});
    assert_int_equal(work(&user), next);
    assert_true(user.report.failing);
    user.now = next;
    assert_int_equal(work(&user), NEVER);
    assert_false(user.report.failing);
    assert_int_equal(user.report.synced, 1);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

static void closing_writes_what_waits_and_sets_the_mark(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start(&user, disk, TLY_FSYNC_INTERVAL);
    append(&user, 1);
    append(&user, 2);
    tly_store_close(user.store, true);
    start(&user, disk, TLY_FSYNC_INTERVAL);
    assert_int_equal(user.found, 2);
    assert_true(tly_store_identity(user.store)->may_continue);
    tly_store_close(user.store, false);
    test_disk_free(disk);
}

/* No time goes by, so what fails then is not tried again. */
static void closing_ends_on_a_disk_that_fails(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start(&user, disk, TLY_FSYNC_INTERVAL);
    append(&user, 1);
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_ANY, .times = SIZE_MAX, .dead = true});
    tly_store_close(user.store, true);
    test_disk_fail(disk, &(struct test_disk_fault){0});
    start(&user, disk, TLY_FSYNC_INTERVAL);
    assert_int_equal(user.found, 0);
    assert_false(tly_store_identity(user.store)->may_continue);
    tly_store_close(user.store, false);
    test_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_written_before_the_turn),
        cmocka_unit_test(the_interval_is_that_of_the_given_clock),
        cmocka_unit_test(what_failed_is_tried_again_by_that_clock),
        cmocka_unit_test(closing_writes_what_waits_and_sets_the_mark),
        cmocka_unit_test(closing_ends_on_a_disk_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
