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

static void open_with(struct user *user, struct test_disk *disk, enum tly_fsync fsync, size_t recent_bytes)
{
    struct tly_store_limits limits = tly_store_limits_default();
    limits.recent_bytes = recent_bytes;
    char error[256] = "";
    user->hand = (struct tly_store_hand){now_of, user};
    user->found = 0;
    limits.hand = &user->hand;
    assert_int_equal(
        tly_store_open_limited(test_disk_open(disk), fsync, &limits, &user->store, error, sizeof error),
        TLY_OK);
    assert_int_equal(tly_store_replay(user->store, count, user, error, sizeof error), TLY_OK);
}

static enum tly_result begin_life(struct user *user, uint64_t origin)
{
    char error[256] = "";
    return tly_store_begin(user->store, "n", origin, 1000, error, sizeof error);
}

static void start_with(struct user *user, struct test_disk *disk, enum tly_fsync fsync, size_t recent_bytes)
{
    open_with(user, disk, fsync, recent_bytes);
    assert_int_equal(begin_life(user, 7), TLY_OK);
}

static void start(struct user *user, struct test_disk *disk, enum tly_fsync fsync)
{
    start_with(user, disk, fsync, 0);
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

/* ---- what outlives the process before it is in the log ---- */

#define RECENT 4096

/* The process is no more, without having done anything else. */
static void crash(struct user *user, struct test_disk *disk)
{
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_ANY, .times = SIZE_MAX, .dead = true});
    tly_store_close(user->store, false);
    test_disk_fail(disk, &(struct test_disk_fault){0});
}

static void it_is_stored_at_once_and_written_a_little_later(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 1);
    uint64_t next = work(&user), bytes = user.report.bytes;
    assert_int_equal(next, user.now + 2 * MS);
    user.now = next - MS;
    append(&user, 2);
    assert_int_equal(work(&user), next);
    assert_int_equal(user.report.bytes, bytes);
    user.now = next;
    assert_int_equal(work(&user), user.now + TLY_FSYNC_INTERVAL_MS * MS);
    assert_true(user.report.bytes > bytes);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

/* The second time it is in the log. */
static void a_crash_loses_nothing_that_was_stored(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    append(&user, 2);
    crash(&user, disk);
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    assert_int_equal(user.found, 2);
    append(&user, 1);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 1);
    crash(&user, disk);
    start_with(&user, disk, TLY_FSYNC_ALWAYS, RECENT);
    assert_int_equal(user.found, 3);
    crash(&user, disk);
    start(&user, disk, TLY_FSYNC_ALWAYS);
    assert_int_equal(user.found, 3);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

/* Whatever was done of the next start, which begins another life. */
static void a_crash_while_it_starts_loses_nothing_either(void **state)
{
    (void)state;
    size_t deaths = 0;
    for (size_t n = 0, failed = 1; failed > 0; n++) {
        struct user user = {.now = 5000 * MS};
        struct test_disk *disk = test_disk_new();
        start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
        append(&user, 1);
        append(&user, 2);
        crash(&user, disk);
        open_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
        test_disk_fail(
            disk, &(struct test_disk_fault){.op = TEST_DISK_ANY, .n = n, .times = SIZE_MAX, .dead = true});
        (void)!begin_life(&user, 8);
        failed = test_disk_failed(disk);
        deaths += failed > 0;
        crash(&user, disk);
        start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
        if (user.found < 2) fail_msg("the start that died at operation %zu lost %zu", n, 2 - user.found);
        tly_store_close(user.store, true);
        test_disk_free(disk);
    }
    assert_true(deaths > 5);
}

/* MANIFEST still fits where the log does not. */
static void nor_does_a_start_on_a_full_disk(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    char error[256];
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    append(&user, 2);
    crash(&user, disk);
    for (uint64_t life = 8; life < 10; life++) {
        open_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
        assert_int_equal(user.found, 2);
        test_disk_fail(disk,
                       &(struct test_disk_fault){.op = TEST_DISK_APPEND, .times = SIZE_MAX, .full = true});
        assert_int_equal(begin_life(&user, life), TLY_FULL);
        assert_int_equal(tly_store_begin_full(user.store, life, error, sizeof error), TLY_OK);
        append(&user, 1);
        for (int i = 0; i < 500; i++) {
            user.now += MS;
            uint64_t next = work(&user);
            assert_true(next > user.now);
        }
        assert_true(user.report.failing);
        if (life == 8) crash(&user, disk);
    }
    test_disk_fail(disk, &(struct test_disk_fault){0});
    user.now += 10000 * MS;
    while (work(&user) <= user.now)
        continue;
    assert_false(user.report.failing);
    crash(&user, disk);
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    assert_int_equal(user.found, 3);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

static void of_a_machine_that_was_started_anew_it_is_not_read(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    struct test_rng rng = test_rng_of(1);
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    /* All of its bytes have come to the disk, as they may. */
    struct tly_storage *storage = test_disk_open(disk);
    assert_int_equal(tly_storage_sync(storage, "recent"), TLY_OK);
    tly_storage_close(storage);
    struct test_disk *after = test_disk_cut(disk, TEST_CUT_NONE, &rng);
    size_t n;
    assert_non_null(test_disk_bytes(after, "recent", &n));
    crash(&user, disk);
    start_with(&user, after, TLY_FSYNC_INTERVAL, RECENT);
    assert_int_equal(user.found, 0);
    tly_store_close(user.store, true);
    test_disk_free(after);
    test_disk_free(disk);
}

/* While all that changes a file is refused but what is written over what is there. */
static void a_disk_that_fails_does_not_keep_it_from_being_stored(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_SYNC, .times = SIZE_MAX});
    for (int i = 0; i < 3000; i++)
        user.now += MS, (void)work(&user);
    assert_true(user.report.failing);
    append(&user, 2);
    (void)work(&user);
    assert_int_equal(user.report.stored, 2);
    assert_int_equal(user.report.synced, 0);
    crash(&user, disk);
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    assert_int_equal(user.found, 3); /* the first is in the log, too */
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

/* It is lost, and cannot be removed, once; and nothing else is handed over. */
static void what_could_not_be_removed_does_not_fail_for_ever(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    user.now = work(&user);
    uint64_t next = work(&user);
    assert_int_equal(next, user.now + TLY_FSYNC_INTERVAL_MS * MS);
    user.now = next;
    test_disk_lose_map(disk);
    test_disk_fail(disk, &(struct test_disk_fault){.op = TEST_DISK_REMOVE, .times = 1});
    next = work(&user);
    assert_int_equal(test_disk_failed(disk), 1);
    assert_true(user.report.failing);
    assert_non_null(strstr(user.report.error, "recent"));
    assert_int_equal(next, user.now + 100 * MS);
    user.now = next;
    (void)work(&user);
    assert_false(user.report.failing);
    tly_store_close(user.store, true);
    test_disk_free(disk);
}

static void in_a_directory_that_is_anothers_by_now_nothing_is_stored(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    struct tly_storage *other = test_disk_open(disk);
    start_with(&user, disk, TLY_FSYNC_INTERVAL, RECENT);
    append(&user, 1);
    user.now = work(&user);
    (void)work(&user);
    assert_int_equal(tly_storage_put(other, "MANIFEST", tly_slice_text("another's")), TLY_OK);
    tly_store_lease(user.store, 1u << 30);
    (void)work(&user);
    assert_true(user.report.is_taken);
    append(&user, 2);
    tly_store_poll(user.store, &user.report);
    assert_int_equal(user.report.stored, 1);
    tly_store_close(user.store, true);
    tly_storage_close(other);
    test_disk_free(disk);
}

static bool has_anything_recent(struct test_disk *disk)
{
    size_t n, set = 0;
    const uint8_t *bytes = test_disk_bytes(disk, "recent", &n);
    for (size_t i = 0; bytes != NULL && i < n && i < 20; i++)
        set += bytes[i] != 0;
    return set > 0;
}

static void before_a_snapshot_is_published_it_is_emptied(void **state)
{
    (void)state;
    struct user user = {.now = 5000 * MS};
    struct test_disk *disk = test_disk_new();
    start_with(&user, disk, TLY_FSYNC_NEVER, RECENT);
    append(&user, 1);
    user.now += 2 * MS;
    (void)work(&user);
    assert_true(has_anything_recent(disk));
    const struct tly_slice none = tly_slice_of(NULL, 0);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, none), TLY_OK);
    (void)work(&user);
    append(&user, 2);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BATCH, tly_slice_text("all")), TLY_OK);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_END, none), TLY_OK);
    assert_true(has_anything_recent(disk));
    (void)work(&user);
    assert_int_equal(user.report.snapshots, 1);
    assert_false(has_anything_recent(disk));
    crash(&user, disk);
    start_with(&user, disk, TLY_FSYNC_NEVER, RECENT);
    assert_int_equal(user.found, 2); /* the snapshot's, and the second */
    tly_store_close(user.store, true);
    assert_false(has_anything_recent(disk));
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
        cmocka_unit_test(it_is_stored_at_once_and_written_a_little_later),
        cmocka_unit_test(a_crash_loses_nothing_that_was_stored),
        cmocka_unit_test(a_crash_while_it_starts_loses_nothing_either),
        cmocka_unit_test(nor_does_a_start_on_a_full_disk),
        cmocka_unit_test(of_a_machine_that_was_started_anew_it_is_not_read),
        cmocka_unit_test(a_disk_that_fails_does_not_keep_it_from_being_stored),
        cmocka_unit_test(what_could_not_be_removed_does_not_fail_for_ever),
        cmocka_unit_test(in_a_directory_that_is_anothers_by_now_nothing_is_stored),
        cmocka_unit_test(before_a_snapshot_is_published_it_is_emptied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
