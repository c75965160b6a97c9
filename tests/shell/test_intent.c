/* Changes of many steps: what is left of one is finished or dropped once, and what cannot be read is kept and named. */
#include "service/shell/intent.h"
#include "service/shell/libc_mem.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void append_some(struct test_user *user, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        test_user_append(user);
        test_user_wait_stored(user);
    }
}

static void snapshot(struct test_user *user, uint64_t count)
{
    test_user_image(user);
    assert_true(test_user_wait_snapshots(user, count));
    test_user_wait_stored(user);
}

/* ---- one row, no intent ---- */

static void a_change_that_is_done_has_one_row_and_no_intent(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    for (uint64_t i = 1; i <= 3; i++) {
        append_some(&user, 2);
        snapshot(&user, i);
    }
    test_user_close(&user, true);
    struct test_changes changes = test_user_changes(&user);
    assert_true(changes.rows == 3 && changes.done == 3 && changes.intents == 0);
    test_user_fini(&user);
}

static void a_change_whose_intent_cannot_be_removed_has_succeeded(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_REMOVE, TEST_READ};
    for (size_t i = 0; i < 2; i++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
        user.limits.retry_ms = user.limits.retry_max_ms = 0;
        test_user_open(&user);
        append_some(&user, 3);
        /*
         * Removals fail from the file of the snapshot on, which nobody has made yet; MANIFEST was read for the intent and for the
         * segment when the row wants to read the log.
         */
        test_faults_set(&user.faults, (struct test_fault){ops[i], TEST_EIO, 2, SIZE_MAX});
        test_user_image(&user);
        bool is_done = test_user_wait_snapshots(&user, 1);
        while (is_done && !user.report.changes_left)
            test_user_poll(&user);
        assert_true(is_done && test_faults_clear(&user.faults) > 0);
        assert_int_equal(test_user_changes(&user).intents, 1);
        append_some(&user, 1);
        assert_false(user.report.changes_left);
        struct test_changes changes = test_user_changes(&user);
        assert_true(changes.rows == 1 && changes.done == 1 && changes.intents == 0);
        test_user_fini(&user);
    }
}

/* ---- the classifier ---- */

enum found { LISTED, UNLISTED, WITHOUT_MANIFEST, WITH_ROW, FOUND };

static const char *const outcomes[FOUND] = {"done", "discarded", "unknown", "done"};

static struct tly_intent leave_one(struct test_user *user)
{
    struct tly_intent intent = tly_intent_of(TLY_CHANGE_DROP, "somebody");
    assert_true(tly_intent_add_prefix(&intent, tly_slice_text("kv:")));
    assert_int_equal(tly_intent_write(user->faults.inner, &intent), TLY_OK);
    assert_int_equal(tly_intent_write(user->faults.inner, &intent), TLY_OK);
    return intent;
}

static void prepare(struct test_user *user, enum found found, const struct tly_intent *intent)
{
    static struct tly_manifest manifest;
    char error[512];
    assert_int_equal(tly_manifest_load(user->faults.inner, &manifest, error, sizeof error), TLY_OK);
    if (found == LISTED) tly_manifest_add_change(&manifest, intent->id);
    if (found == WITHOUT_MANIFEST)
        assert_int_equal(tly_storage_remove(user->faults.inner, TLY_MANIFEST_NAME), TLY_OK);
    else
        assert_int_equal(tly_manifest_save(user->faults.inner, &manifest), TLY_OK);
    if (found != WITH_ROW) return;
    assert_int_equal(tly_intent_finish(user->faults.inner, intent, "done"), TLY_OK);
    assert_int_equal(tly_intent_write(user->faults.inner, intent), TLY_OK);
}

static void assert_row(struct test_user *user, const struct tly_intent *intent, const char *outcome)
{
    char expected[256];
    struct tly_slice log = test_user_read(user, "audit.log");
    int n = snprintf(
        expected, sizeof expected,
        "{\"id\":\"%s\",\"at_ms\":%llu,\"kind\":\"drop\",\"prefixes\":[\"kv:\"],\"actor\":\"somebody\","
        "\"outcome\":\"%s\"}\n",
        intent->id, (unsigned long long)intent->at_ms, outcome);
    assert_int_equal(log.n, n);
    assert_memory_equal(log.p, expected, log.n);
    free((void *)(uintptr_t)log.p);
}

/* And through any single fault: one row all the same. */
static void what_is_left_is_decided_by_manifests_list_and_once(void **state)
{
    (void)state;
    static const enum test_fault_op ops[] = {TEST_PUT,  TEST_APPEND, TEST_SYNC,
                                             TEST_READ, TEST_LIST,   TEST_REMOVE};
    static const enum test_fault_kind kinds[] = {TEST_EIO, TEST_SHORT, TEST_LATE};
    size_t fired = 0;
    for (enum found found = 0; found < FOUND; found++) {
        for (size_t cell = 0; cell < 6 * 3 * 4; cell++) {
            struct test_user user;
            test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
            user.limits.retry_ms = user.limits.retry_max_ms = 0;
            test_user_open(&user);
            append_some(&user, 2);
            test_user_close(&user, true);
            struct tly_intent intent = leave_one(&user);
            prepare(&user, found, &intent);
            struct test_fault fault = {ops[cell % 6], kinds[cell / 6 % 3], cell / 18, 1};
            test_faults_set(&user.faults, fault);
            if (test_user_try_open(&user) != TLY_OK) test_user_open(&user);
            user.last_id = user.id_at_open;
            append_some(&user, 1);
            append_some(&user, 1);
            fired += test_faults_clear(&user.faults);
            /* One that could not be read is kept, for the next start. */
            bool is_kept = tly_store_kept(user.store, 0) != NULL;
            assert_true(!is_kept || fault.op == TEST_READ);
            test_user_close(&user, true);
            assert_int_equal(test_user_changes(&user).intents, is_kept);
            test_user_open(&user);
            assert_int_equal(user.id_at_open, 4);
            assert_int_equal(test_user_changes(&user).intents, 0);
            assert_row(&user, &intent, is_kept && found == WITHOUT_MANIFEST ? "discarded" : outcomes[found]);
            test_user_fini(&user);
        }
    }
    assert_true(fired > 60);
}

static void a_row_that_was_torn_is_cut_off_first(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_user_close(&user, true);
    struct tly_intent intent = leave_one(&user);
    char torn[64];
    (void)snprintf(torn, sizeof torn, "{\"id\":\"%s\",\"at", intent.id);
    test_user_write(&user, "audit.log", tly_slice_text(torn));
    test_user_open(&user);
    test_user_close(&user, true);
    assert_row(&user, &intent, "discarded");
    test_user_fini(&user);
}

static void without_being_able_to_look_no_node_starts(void **state)
{
    (void)state;
    struct test_user user;
    test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    test_user_close(&user, true);
    (void)leave_one(&user);
    test_faults_set(&user.faults, (struct test_fault){TEST_LIST, TEST_EIO, 0, 1});
    assert_int_equal(test_user_try_open(&user), TLY_IO);
    assert_non_null(strstr(user.notice, "unfinished changes"));
    assert_int_equal(test_faults_clear(&user.faults), 1);
    test_user_open(&user);
    assert_int_equal(test_user_changes(&user).intents, 0);
    test_user_fini(&user);
}

/* ---- what it costs ---- */

static size_t looks(struct test_user *user)
{
    return test_faults_calls(&user->faults, TEST_LIST) + test_faults_calls(&user->faults, TEST_READ) +
           test_faults_calls(&user->faults, TEST_SIZE) + test_faults_calls(&user->faults, TEST_REMOVE) +
           test_faults_calls(&user->faults, TEST_PUT) + test_faults_calls(&user->faults, TEST_TRUNCATE);
}

static void healing_is_free(void **state)
{
    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        struct test_user user;
        test_user_init(&user, NULL, TLY_FSYNC_ALWAYS);
        user.limits.segment_bytes = 1 << 30;
        if (kept) test_user_write(&user, "intent/01J0000000000000000000GARBAGE", tly_slice_text("garbage"));
        test_user_open(&user);
        assert_int_equal(tly_store_kept(user.store, 0) != NULL, kept);
        append_some(&user, 1);
        test_faults_set(&user.faults, (struct test_fault){TEST_OPS, TEST_EIO, 0, 0});
        append_some(&user, 1000);
        assert_true(test_faults_calls(&user.faults, TEST_APPEND) >= 1000);
        assert_int_equal(looks(&user), 0);
        test_user_fini(&user);
    }
}

/* ---- what cannot be read ---- */

#define NAME_TAIL 8

struct odd {
    char path[128];
    const char *name;
};

static void odd_file(const struct odd *odd, const void *bytes, size_t n)
{
    char path[400];
    (void)snprintf(path, sizeof path, "%s/intent/%s", odd->path, odd->name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static struct tly_buf newer_intent(void)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body, frame;
    tly_buf_init(&body, &mem, 1000);
    tly_buf_init(&frame, &mem, 1000);
    tly_put_array(&body, 9);
    tly_put_text(&body, tly_slice_text("tally intent"));
    tly_put_uint(&body, TLY_INTENT_FORMAT + 1);
    for (int i = 0; i < 7; i++)
        tly_put_uint(&body, 0);
    tly_frame_put(&frame, TLY_FRAME_HELLO, tly_buf_slice(&body));
    assert_int_equal(frame.result, TLY_OK);
    tly_buf_fini(&body);
    return frame;
}

static const struct {
    const char *what, *why;
} kinds[] = {
    {"truncated", "cut short"}, {"garbage", ""},          {"empty", "cut short"},
    {"newer", "newer version"}, {"directory", "no file"}, {"mode 000", "Permission denied"},
    {"symlink", "no file"},     {"another's", ""},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

/* An intent about kv: in each of the ways in which it cannot be read. */
static void make_odd(const struct odd *odd, size_t kind, const struct tly_buf *whole)
{
    char path[400];
    struct tly_buf newer = newer_intent();
    (void)snprintf(path, sizeof path, "%s/intent/%s", odd->path, odd->name);
    switch (kind) {
    case 0: odd_file(odd, whole->p, whole->n - 3); break;
    case 1: odd_file(odd, "\x05garbage, and more of it", 23); break;
    case 2: odd_file(odd, "", 0); break;
    case 3: odd_file(odd, newer.p, newer.n); break;
    case 4: assert_int_equal(mkdir(path, 0700), 0); break;
    case 5:
        odd_file(odd, whole->p, whole->n);
        assert_int_equal(chmod(path, 0), 0);
        break;
    case 6: assert_int_equal(symlink("../MANIFEST", path), 0); break;
    case 7: odd_file(odd, whole->p, whole->n); break; /* under the name of another change */
    default: fail();
    }
    tly_buf_fini(&newer);
}

/* Writes one, reads its bytes and its name, and takes it away. */
static void take_whole(struct test_user *user, struct odd *odd, struct tly_buf *whole, char *name,
                       size_t size)
{
    struct tly_mem mem = tly_libc_mem();
    char directory[160];
    struct tly_intent intent = leave_one(user);
    (void)snprintf(directory, sizeof directory, "%s/intent", odd->path);
    DIR *entries = opendir(directory);
    assert_non_null(entries);
    name[0] = '\0';
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strncmp(entry->d_name, intent.id, strlen(intent.id)) == 0)
            (void)snprintf(name, size, "%s", entry->d_name);
    (void)closedir(entries);
    char object[300];
    (void)snprintf(object, sizeof object, "intent/%s", name);
    struct tly_slice bytes = test_user_read(user, object);
    tly_buf_init(whole, &mem, 4096);
    tly_buf_put(whole, bytes.p, bytes.n);
    free((void *)(uintptr_t)bytes.p);
    assert_int_equal(tly_storage_remove(user->faults.inner, object), TLY_OK);
    odd->name = name;
}

/* It is named with the cause and its prefix, stays as it is, and everything else goes on. */
static void check_odd(struct test_user *user, const struct odd *odd, size_t kind)
{
    struct stat before, after;
    char path[400];
    (void)snprintf(path, sizeof path, "%s/intent/%s", odd->path, odd->name);
    assert_int_equal(lstat(path, &before), 0);
    test_user_open(user);
    const struct tly_kept_intent *kept = tly_store_kept(user->store, 0);
    assert_non_null(kept);
    assert_null(tly_store_kept(user->store, 1));
    assert_non_null(strstr(kept->name, odd->name));
    assert_true(kept->why[0] != '\0' && strstr(kept->why, kinds[kind].why) != NULL);
    assert_true(tly_kept_intent_is_about(kept, tly_slice_text("kv:")));
    assert_false(tly_kept_intent_is_about(kept, tly_slice_text("ctr:")));
    append_some(user, 3);
    snapshot(user, 1);
    test_user_close(user, true);
    assert_int_equal(lstat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_mode == after.st_mode &&
                before.st_size == after.st_size);
    (void)remove(path);
}

/* In a process that is not root, for whom no mode would be an obstacle. */
static void try_all_odd(const char *path)
{
    struct test_user user;
    struct odd odd = {.name = ""};
    struct tly_buf whole;
    char name[256];
    (void)snprintf(odd.path, sizeof odd.path, "%s", path);
    test_user_init(&user, path, TLY_FSYNC_ALWAYS);
    test_user_open(&user);
    append_some(&user, 2);
    test_user_close(&user, true);
    take_whole(&user, &odd, &whole, name, sizeof name);
    for (size_t kind = 0; kind < KINDS; kind++) {
        name[NAME_TAIL] = kind == 7 ? (name[NAME_TAIL] == '0' ? '1' : '0') : name[NAME_TAIL];
        make_odd(&odd, kind, &whole);
        check_odd(&user, &odd, kind);
        print_message("  %s: kept and named\n", kinds[kind].what);
    }
    tly_buf_fini(&whole);
    test_user_fini(&user);
}

static void what_cannot_be_read_is_kept_and_named_and_others_go_on(void **state)
{
    (void)state;
    char path[] = "/tmp/tally-intent-XXXXXX";
    assert_non_null(mkdtemp(path));
    if (geteuid() != 0) {
        try_all_odd(path);
        assert_int_equal(test_remove_tree(path), 0);
        return;
    }
    assert_int_equal(chown(path, 65534, 65534), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setgid(65534) != 0 || setuid(65534) != 0) _exit(99);
        try_all_odd(path);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(test_remove_tree(path), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_that_is_done_has_one_row_and_no_intent),
        cmocka_unit_test(a_change_whose_intent_cannot_be_removed_has_succeeded),
        cmocka_unit_test(what_is_left_is_decided_by_manifests_list_and_once),
        cmocka_unit_test(a_row_that_was_torn_is_cut_off_first),
        cmocka_unit_test(without_being_able_to_look_no_node_starts),
        cmocka_unit_test(healing_is_free),
        cmocka_unit_test(what_cannot_be_read_is_kept_and_named_and_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
