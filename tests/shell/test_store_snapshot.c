/* Snapshots: what they take the place of, and a disk that fails, a process that dies or a power cut in every gap of the writing. */
#include "service/shell/manifest.h"
#include "service/shell/segment.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const mode_names[] = {"always", "interval", "never"};
static const char *const kind_names[] = {"EIO", "ENOSPC", "short", "late", "hang", "death"};

static void append_many(struct test_user *user, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        test_user_append(user);
        test_user_wait_stored(user);
    }
}

/* ---- what is there ---- */

struct files {
    size_t logs, snapshots, named;
    struct tly_manifest manifest;
};

static void count_file(void *context, const char *name)
{
    struct files *files = context;
    uint64_t number;
    if (tly_segment_parse_name(TLY_SEGMENT_SNAPSHOT, name, &number)) {
        files->snapshots++;
        files->named += number == files->manifest.snapshot;
    }
    if (!tly_segment_parse_name(TLY_SEGMENT_LOG, name, &number)) return;
    files->logs++;
    for (size_t i = 0; i < files->manifest.segment_count; i++)
        files->named += files->manifest.segments[i].number == number;
}

static struct files files_of(struct test_user *user)
{
    static char error[512];
    struct files files = {0};
    assert_int_equal(tly_manifest_load(user->faults.inner, &files.manifest, error, sizeof error), TLY_OK);
    assert_int_equal(tly_storage_list(user->faults.inner, "", count_file, &files), TLY_OK);
    return files;
}

/* MANIFEST names all files, and all that it names are there. */
static void assert_no_leftovers(struct test_user *user)
{
    struct files files = files_of(user);
    assert_int_equal(files.named, files.logs + files.snapshots);
    assert_int_equal(files.logs, files.manifest.segment_count);
    assert_int_equal(files.snapshots, files.manifest.snapshot != 0);
}

/* Each has its row, the last one is done, and no intent is left. */
static void assert_all_changes_ended(struct test_user *user)
{
    struct test_changes changes = test_user_changes(user);
    assert_int_equal(changes.intents, 0);
    assert_true(changes.done > 0);
    assert_int_equal(changes.rows, changes.done + changes.discarded);
}

/* ---- what they are for ---- */

static void a_snapshot_takes_the_place_of_the_log_before_it(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    test_user_open(&user);
    append_many(&user, 100);
    uint64_t before = user.report.bytes;
    assert_true(files_of(&user).logs > 5);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    test_user_wait_stored(&user);
    assert_true(user.report.bytes < before / 5);
    test_user_close(&user, true);
    assert_no_leftovers(&user);
    struct files files = files_of(&user);
    assert_true(files.snapshots == 1 && files.logs <= 2);

    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    assert_int_equal(user.id_at_open, 100 + TEST_IMAGE_PARTS);
    assert_true(tly_store_identity(user.store)->may_continue);
    tly_store_poll(user.store, &user.report);
    assert_true(user.report.snapshot_bytes > 0);
    test_user_fini(&user);
}

static void a_snapshot_after_a_snapshot_drops_the_first(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    for (uint64_t i = 1; i <= 5; i++) {
        test_user_image(&user);
        assert_true(test_user_wait_snapshots(&user, i));
        append_many(&user, i == 3 ? 0 : 10);
        assert_no_leftovers(&user);
    }
    test_user_close(&user, false);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, user.last_id);
    test_user_fini(&user);
}

static void one_that_is_dropped_leaves_the_log_as_it_was(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 10);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BATCH, tly_slice_text("x")), TLY_OK);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_DROP, tly_slice_of(NULL, 0)), TLY_OK);
    append_many(&user, 10);
    test_user_close(&user, true);
    assert_no_leftovers(&user);
    test_user_open(&user);
    assert_true(user.image_parts == 0 && user.id_at_open == 20);
    test_user_fini(&user);
}

/* The loop hands over no more than the disk takes. */
static void an_image_does_not_pile_up(void **state)
{
    (void)state;
    static const uint8_t bytes[10000];
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_APPEND, TEST_HANG, 0, 1});
    test_user_append(&user);
    test_faults_wait_hanging(&user.faults);
    size_t count = 0;
    struct tly_slice batch = tly_slice_of(bytes, sizeof bytes);
    assert_int_equal(tly_store_image(user.store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0)), TLY_OK);
    while (tly_store_image(user.store, TLY_IMAGE_BATCH, batch) == TLY_OK)
        count++;
    assert_in_range(count, 100, 110);
    /* The log has room of its own. */
    test_user_append(&user);
    test_faults_release(&user.faults);
    test_user_wait_stored(&user);
    test_user_fini(&user);
}

/* What was replaced during the walk is in no image, so what replaced it must be there when the image counts. */
static void it_counts_only_when_what_was_written_meanwhile_is_durable(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_INTERVAL);
    user.limits.interval_ms = 3600 * 1000;
    test_user_open(&user);
    append_many(&user, 5);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    user.limits.close_ms = 0;
    test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, 0, 1});
    test_user_close(&user, false);
    (void)test_faults_clear(&user.faults);
    test_faults_power_cut(&user.faults, 0);
    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    assert_int_equal(user.id_at_open, 5 + TEST_IMAGE_PARTS);
    test_user_fini(&user);
}

static void while_manifest_cannot_be_written_the_old_files_stay(void **state)
{
    (void)state;
    static const enum test_fault_kind kinds[] = {TEST_EIO, TEST_LATE};
    for (size_t i = 0; i < 2; i++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
        user.limits.close_ms = 0;
        test_user_open(&user);
        append_many(&user, 20);
        /* The first are the intent and that of the roll. */
        test_faults_set(&user.faults, (struct test_fault){TEST_PUT, kinds[i], 2, SIZE_MAX});
        test_user_image(&user);
        test_user_wait_failing(&user, true);
        test_faults_wait_fired(&user.faults, 3);
        test_user_close(&user, false);
        (void)test_faults_clear(&user.faults);
        test_user_open(&user);
        assert_int_equal(user.id_at_open, 20 + TEST_IMAGE_PARTS);
        assert_no_leftovers(&user);
        test_user_fini(&user);
    }
}

/* ---- damage ---- */

static void a_damaged_snapshot_is_refused_by_name(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 3);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    test_user_close(&user, true);
    uint64_t last = user.last_id;
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, files_of(&user).manifest.snapshot, name);
    struct tly_slice good = test_user_read(&user, name);
    uint8_t *bytes = malloc(good.n + 1);
    assert_non_null(bytes);
    for (size_t at = 0; at < 2 * good.n + 1; at++) {
        memcpy(bytes, good.p, good.n);
        bytes[good.n] = 'x';
        size_t n = at < good.n ? good.n : at == 2 * good.n ? good.n + 1 : at - good.n;
        if (at < good.n) bytes[at] ^= 0x41;
        test_user_write(&user, name, tly_slice_of(bytes, n));
        enum tly_result result = test_user_try_open(&user);
        if (result == TLY_OK) fail_msg("%zu: opened", at);
        assert_non_null(strstr(user.notice, name));
    }
    test_user_write(&user, name, good);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, last);
    free(bytes);
    free((void *)(uintptr_t)good.p);
    test_user_fini(&user);
}

static void without_a_manifest_the_newest_whole_snapshot_counts(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 20);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    append_many(&user, 20);
    test_user_close(&user, true);
    assert_int_equal(tly_storage_remove(user.faults.inner, TLY_MANIFEST_NAME), TLY_OK);
    test_user_write(&user, "snap-999.tly", tly_slice_text("the beginning of one"));
    test_user_open(&user);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    assert_int_equal(user.id_at_open, 40 + TEST_IMAGE_PARTS);
    assert_false(tly_store_identity(user.store)->may_continue);
    assert_no_leftovers(&user);
    test_user_fini(&user);
}

/* What is left of a restore that was killed, or of a directory whose log went when the snapshot was whole. */
static void without_a_manifest_a_snapshot_that_is_the_state_is_not_passed_over(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_many(&user, 20);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    append_many(&user, 20);
    test_user_close(&user, true);
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, files_of(&user).manifest.snapshot, name);
    struct tly_slice whole = test_user_read(&user, name), cut = {whole.p, whole.n / 2};
    assert_int_equal(tly_storage_remove(user.faults.inner, TLY_MANIFEST_NAME), TLY_OK);
    test_user_write(&user, name, cut);
    assert_int_equal(test_user_try_open(&user), TLY_BAD_CHECKSUM);
    assert_non_null(strstr(user.notice, name));
    assert_true(test_user_has(&user, name));
    test_user_write(&user, name, whole);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, 40 + TEST_IMAGE_PARTS);
    assert_true(tly_store_identity(user.store)->manifest_lost);
    free((void *)(uintptr_t)whole.p);
    test_user_fini(&user);
}

/* ---- death in every gap ---- */

/* Two snapshots, with batches before, during and after; up to the death. How many batches it was told are stored. */
static uint64_t work_until_death(struct test_user *user)
{
    uint64_t stored = user->last_id;
    if (test_user_try_open(user) != TLY_OK) return stored;
    user->last_id = user->id_at_open;
    for (uint64_t i = 1; i <= 2 && !user->report.failing; i++) {
        test_user_append(user);
        test_user_image(user);
        while (!user->report.failing && user->report.snapshots < i && user->report.snapshots_failed == 0)
            test_user_poll(user);
        test_user_append(user);
        while (!user->report.failing && user->report.stored < user->number)
            test_user_poll(user);
    }
    stored = user->id_at_open + user->report.stored;
    test_user_close(user, true);
    return stored;
}

static bool die_at(enum tly_fsync mode, size_t k, unsigned percent)
{
    struct test_user user;
    test_user_init(&user, NULL, mode);
    user.limits.segment_bytes = 500;
    test_user_open(&user);
    append_many(&user, 10);
    test_user_close(&user, true);
    user.limits.close_ms = 0;
    test_faults_set(&user.faults, (struct test_fault){TEST_CHANGE, TEST_DEATH, k, 1});
    uint64_t stored = work_until_death(&user), given = user.last_id;
    bool died = test_faults_clear(&user.faults) > 0;
    test_faults_power_cut(&user.faults, percent);

    test_user_open(&user);
    if (user.id_at_open < stored || user.id_at_open > given)
        fail_msg("fsync=%s, dead at change %zu, %u %% left: %llu of %llu", mode_names[mode], k, percent,
                 (unsigned long long)user.id_at_open, (unsigned long long)stored);
    assert_no_leftovers(&user);
    test_user_image(&user);
    assert_true(test_user_wait_snapshots(&user, 1));
    test_user_close(&user, true);
    assert_no_leftovers(&user);
    assert_all_changes_ended(&user);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, user.last_id);
    test_user_fini(&user);
    return died;
}

static void death_in_any_gap_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    static const unsigned percents[] = {0, 50, 100};
    for (size_t mode = 0; mode < 3; mode++) {
        for (size_t i = 0; i < 3; i++) {
            /* Without always, only the power takes what was stored. */
            if (mode != TLY_FSYNC_ALWAYS && percents[i] != 100) continue;
            size_t k = 0;
            while (die_at((enum tly_fsync)mode, k, percents[i]))
                k++;
            print_message("  fsync=%s, %3u %% of the unsynced left: %zu kill points\n", mode_names[mode],
                          percents[i], k);
            assert_true(k > 25);
        }
    }
}

/* ---- one failure in every gap ---- */

static bool fail_at(enum tly_fsync mode, struct test_fault fault)
{
    struct test_user user;
    test_user_init(&user, NULL, mode);
    user.limits.segment_bytes = 500;
    user.limits.retry_ms = user.limits.retry_max_ms = 0;
    test_user_open(&user);
    append_many(&user, 10);
    test_faults_set(&user.faults, fault);
    test_user_image(&user);
    uint64_t done = test_user_wait_snapshots(&user, 1);
    append_many(&user, 3);
    bool fired = test_faults_clear(&user.faults) > 0;
    test_user_image(&user);
    if (!test_user_wait_snapshots(&user, done + 1))
        fail_msg("fsync=%s, %s at change %zu: no snapshot afterwards: %s", mode_names[mode],
                 kind_names[fault.kind], fault.first, user.report.snapshot_error);
    append_many(&user, 3);
    test_user_close(&user, true);
    assert_no_leftovers(&user);
    assert_all_changes_ended(&user);
    assert_int_equal(test_user_changes(&user).done, done + 1);
    test_faults_power_cut(&user.faults, 0);
    test_user_open(&user);
    assert_int_equal(user.id_at_open, user.last_id);
    assert_int_equal(user.image_parts, TEST_IMAGE_PARTS);
    assert_string_equal(user.notice, "");
    test_user_fini(&user);
    return fired;
}

static void after_a_failure_in_any_gap_the_next_one_succeeds(void **state)
{
    (void)state;
    static const enum test_fault_kind kinds[] = {TEST_EIO, TEST_SHORT, TEST_LATE};
    for (size_t mode = 0; mode < 2; mode++) {
        for (size_t kind = 0; kind < 3; kind++) {
            size_t k = 0;
            while (fail_at((enum tly_fsync)mode, (struct test_fault){TEST_CHANGE, kinds[kind], k, 1}))
                k++;
            print_message("  fsync=%s, %s: %zu gaps\n", mode_names[mode], kind_names[kinds[kind]], k);
            assert_true(k > 12);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_takes_the_place_of_the_log_before_it),
        cmocka_unit_test(a_snapshot_after_a_snapshot_drops_the_first),
        cmocka_unit_test(one_that_is_dropped_leaves_the_log_as_it_was),
        cmocka_unit_test(it_counts_only_when_what_was_written_meanwhile_is_durable),
        cmocka_unit_test(while_manifest_cannot_be_written_the_old_files_stay),
        cmocka_unit_test(an_image_does_not_pile_up),
        cmocka_unit_test(a_damaged_snapshot_is_refused_by_name),
        cmocka_unit_test(without_a_manifest_the_newest_whole_snapshot_counts),
        cmocka_unit_test(without_a_manifest_a_snapshot_that_is_the_state_is_not_passed_over),
        cmocka_unit_test(death_in_any_gap_leaves_the_old_or_the_new),
        cmocka_unit_test(after_a_failure_in_any_gap_the_next_one_succeeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
