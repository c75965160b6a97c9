/* A node in this program: what it counts, who drives it, and what it says of mistakes. */
#include "service/library/tally.h"
#include "tests/support/cmocka.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tally *open_with(enum tally_drive drive, const char *const *settings)
{
    char error[256] = "";
    struct tally_options options = {.settings = settings, .drive = drive};
    struct tally *tally = tally_open(&options, error, sizeof error);
    if (tally == NULL) print_message("%s\n", error);
    assert_non_null(tally);
    return tally;
}

static struct tally *open_quiet(enum tally_drive drive)
{
    static const char *const settings[] = {"log=error", "name=here", NULL};
    return open_with(drive, settings);
}

static void a_counter_counts(void **state)
{
    (void)state;
    for (int drive = TALLY_OWN_THREAD; drive <= TALLY_CALLER; drive++) {
        struct tally *tally = open_quiet((enum tally_drive)drive);
        struct tally_bytes key = tally_text("k");
        int64_t value = 0;
        assert_int_equal(tally_get(tally, key, &value), TALLY_NOT_FOUND);
        assert_int_equal(tally_add(tally, key, 5, &value), TALLY_OK);
        assert_int_equal(value, 5);
        assert_int_equal(tally_add(tally, key, -7, NULL), TALLY_OK);
        assert_int_equal(tally_get(tally, key, &value), TALLY_OK);
        assert_int_equal(value, -2);
        assert_int_equal(tally_set(tally, key, 40, 0), TALLY_OK);
        assert_int_equal(tally_add(tally, key, 2, &value), TALLY_OK);
        assert_int_equal(value, 42);
        assert_int_equal(tally_expire(tally, key, 1000000), TALLY_OK);
        assert_int_equal(tally_expire(tally, key, UINT64_MAX), TALLY_OK);
        assert_int_equal(tally_set(tally, key, 1, UINT64_MAX), TALLY_OK);
        assert_int_equal(tally_delete(tally, key), TALLY_OK);
        assert_int_equal(tally_delete(tally, key), TALLY_NOT_FOUND);
        assert_string_equal(tally_address(tally, "resp"), "none");
        tally_close(tally);
    }
}

static void a_rate_is_kept(void **state)
{
    (void)state;
    struct tally *tally = open_quiet(TALLY_CALLER);
    struct tally_check check = {
        .key = tally_text("k"), .rate = 3, .window_ms = 86400000, .algorithm = TALLY_FIXED_WINDOW, .hits = 1};
    struct tally_verdict verdict;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(tally_check(tally, &check, &verdict), TALLY_OK);
        assert_int_equal(verdict.code, i < 3 ? TALLY_ADMITTED : TALLY_REFUSED);
        assert_int_equal(verdict.remaining, i < 3 ? 2 - i : 0);
        assert_int_equal(verdict.limit, 3);
        assert_string_equal(verdict.reason, i < 3 ? "none" : "limit");
        assert_string_equal(verdict.mode, "optimistic");
    }
    assert_in_range(verdict.retry_after_ms, 1, 86400000);
    check.hits = 4;
    assert_int_equal(tally_check(tally, &check, &verdict), TALLY_OK);
    assert_true(verdict.retry_after_ms == TALLY_NEVER);
    assert_int_equal(tally_reset(tally, &check), TALLY_OK);
    assert_int_equal(tally_reset(tally, &check), TALLY_NOT_FOUND);
    check.hits = 0;
    assert_int_equal(tally_check(tally, &check, &verdict), TALLY_OK);
    assert_int_equal(verdict.remaining, 3);
    tally_close(tally);
}

static void many_checks_at_once_are_as_one_by_one(void **state)
{
    (void)state;
    struct tally *tally = open_quiet(TALLY_OWN_THREAD);
    struct tally_check checks[64];
    struct tally_verdict verdicts[64];
    enum tally_result results[64];
    for (size_t i = 0; i < 64; i++)
        checks[i] = (struct tally_check){
            .key = tally_text(i % 2 ? "odd" : "even"), .rate = 20, .window_ms = 86400000, .hits = 1};
    checks[7].rate = 0;
    checks[9].limit = tally_text("none");
    tally_checks(tally, checks, 64, results, verdicts);
    size_t admitted = 0;
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(results[i], i == 7 ? TALLY_BAD_RULE : i == 9 ? TALLY_NO_LIMIT : TALLY_OK);
        if (results[i] == TALLY_OK) admitted += verdicts[i].code == TALLY_ADMITTED;
    }
    assert_int_equal(admitted, 40);
    tally_close(tally);
}

static void mistakes_have_codes(void **state)
{
    (void)state;
    struct tally *tally = open_quiet(TALLY_CALLER);
    char large[600];
    memset(large, 'k', sizeof large);
    int64_t value;
    struct tally_field field = {tally_text("user"), tally_text("u1")};
    struct tally_check check = {.rate = 1, .window_ms = 1000, .hits = 1};
    struct tally_verdict verdict;
    assert_int_equal(tally_check(tally, &check, &verdict), TALLY_BAD_KEY);
    check.fields = &field;
    check.field_count = 1;
    assert_int_equal(tally_check(tally, &check, &verdict), TALLY_NO_LIMIT); /* what is missing is its name */
    assert_int_equal(tally_add(tally, tally_text(""), 1, &value), TALLY_BAD_KEY);
    assert_int_equal(tally_add(tally, (struct tally_bytes){large, sizeof large}, 1, &value), TALLY_BAD_KEY);
    assert_int_equal(tally_add(tally, tally_text("sys:x"), 1, &value), TALLY_READ_ONLY);
    assert_int_equal(tally_add(tally, tally_text("kv:x"), 1, &value), TALLY_WRONG_STRATEGY);
    assert_int_equal(tally_set(tally, tally_text("k"), INT64_MAX, 0), TALLY_OK);
    assert_int_equal(tally_add(tally, tally_text("k"), 1, &value), TALLY_OVERFLOW);
    assert_string_equal(tally_code(TALLY_OVERFLOW), "overflow");
    assert_string_equal(tally_code(TALLY_NO_LIMIT), "no_limit");
    assert_string_equal(tally_message(TALLY_NO_LIMIT), "no limit of that name");
    assert_string_equal(tally_code(TALLY_NO_RIGHTS), "no_rights");
    assert_string_equal(tally_code(TALLY_OTHER), "unknown");
    tally_close(tally);
}

static void what_cannot_be_opened_says_why(void **state)
{
    (void)state;
    static const char *const settings[] = {"log=error", "nosuch=1", NULL};
    char error[256] = "";
    struct tally_options options = {.settings = settings};
    assert_null(tally_open(&options, error, sizeof error));
    assert_non_null(strstr(error, "nosuch"));
    options = (struct tally_options){.file = "/nonexistent/tally.yaml"};
    assert_null(tally_open(&options, error, sizeof error));
    assert_non_null(strstr(error, "/nonexistent/tally.yaml"));
    tally_close(NULL);
}

#define THREADS 4
#define ADDS 2000

static void *add_many(void *context)
{
    for (int i = 0; i < ADDS; i++)
        assert_int_equal(tally_add(context, tally_text("k"), 1, NULL), TALLY_OK);
    return NULL;
}

static void every_thread_may_call(void **state)
{
    (void)state;
    struct tally *tally = open_quiet(TALLY_OWN_THREAD);
    pthread_t threads[THREADS];
    int64_t value;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, tally), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(tally_get(tally, tally_text("k"), &value), TALLY_OK);
    assert_int_equal(value, THREADS * ADDS);
    tally_close(tally);
}

/* Two nodes in one program, one of them with a thread, meet and count together. */
static void nodes_in_one_program_count_together(void **state)
{
    (void)state;
    static const char *const first[] = {"log=error", "name=a", "peers=127.0.0.1:0", NULL};
    struct tally *a = open_with(TALLY_OWN_THREAD, first);
    char join[128];
    (void)snprintf(join, sizeof join, "join=%s", tally_address(a, "peers"));
    const char *const second[] = {"log=error", "name=b", "peers=127.0.0.1:0", join, NULL};
    struct tally *b = open_with(TALLY_CALLER, second);
    int64_t value = 0;
    assert_int_equal(tally_add(a, tally_text("k"), 40, NULL), TALLY_OK);
    assert_int_equal(tally_add(b, tally_text("k"), 2, NULL), TALLY_OK);
    while (tally_get(b, tally_text("k"), &value) == TALLY_OK && value != 42)
        tally_turn(b, 10);
    assert_int_equal(value, 42);
    do {
        tally_turn(b, 10);
        assert_int_equal(tally_get(a, tally_text("k"), &value), TALLY_OK);
    } while (value != 42);
    tally_close(b);
    tally_close(a);
}

/* What a node has on disk is there when it is opened again. */
static void a_directory_keeps_what_was_counted(void **state)
{
    (void)state;
    char directory[] = "/tmp/libtally.XXXXXX", data[64], command[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(data, sizeof data, "data=%s", directory);
    const char *const settings[] = {"log=error", "name=here", data, NULL};
    for (int i = 1; i <= 3; i++) {
        struct tally *tally = open_with(i % 2 ? TALLY_OWN_THREAD : TALLY_CALLER, settings);
        int64_t value;
        assert_int_equal(tally_add(tally, tally_text("k"), 1, &value), TALLY_OK);
        assert_int_equal(value, i);
        tally_close(tally);
    }
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the name is our own */
}

/* A child that the program forked meanwhile has all its descriptors, and lives on. */
static void a_closed_directory_is_free_whoever_was_forked(void **state)
{
    (void)state;
    char directory[] = "/tmp/libtally.XXXXXX", data[64], command[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(data, sizeof data, "data=%s", directory);
    const char *const settings[] = {"log=error", "name=here", data, NULL};
    struct tally *tally = open_with(TALLY_OWN_THREAD, settings);
    pid_t child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    assert_true(child > 0);
    tally_close(tally);
    char error[256] = "";
    tally = tally_open(&(struct tally_options){.settings = settings}, error, sizeof error);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_string_equal(error, "");
    tally_close(tally);
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the name is our own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_counts),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(many_checks_at_once_are_as_one_by_one),
        cmocka_unit_test(mistakes_have_codes),
        cmocka_unit_test(what_cannot_be_opened_says_why),
        cmocka_unit_test(every_thread_may_call),
        cmocka_unit_test(nodes_in_one_program_count_together),
        cmocka_unit_test(a_directory_keeps_what_was_counted),
        cmocka_unit_test(a_closed_directory_is_free_whoever_was_forked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
