/* The contract of storage.h, once for every backend; and what is special about a directory. */
#include "service/shell/storage.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLAIMANTS 64
#define NOBODY 65534

struct place {
    struct tly_storage *s;
    char path[64]; /* "" in memory */
};

/* ---- places ---- */

static struct tly_storage *open_directory(const char *path)
{
    char error[256] = "";
    struct tly_storage *s = tly_storage_directory(path, error, sizeof error);
    if (s == NULL) fail_msg("%s", error);
    return s;
}

static int make_directory(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    (void)snprintf(place->path, sizeof place->path, "/tmp/test_storage.XXXXXX");
    assert_non_null(mkdtemp(place->path));
    place->s = open_directory(place->path);
    *state = place;
    return 0;
}

static int make_memory(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    place->s = tly_storage_memory();
    assert_non_null(place->s);
    *state = place;
    return 0;
}

static int end_place(void **state)
{
    struct place *place = *state;
    tly_storage_close(place->s);
    int failed = place->path[0] != '\0' ? test_remove_tree(place->path) : 0;
    free(place);
    return failed;
}

/* A handle of a claimant's own, where there can be one. */
static struct tly_storage *other_handle(const struct place *place)
{
    return place->path[0] != '\0' ? open_directory(place->path) : place->s;
}

static void end_handle(const struct place *place, struct tly_storage *s)
{
    if (s != place->s) tly_storage_close(s);
}

static void path_in(const struct place *place, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%s", place->path, name);
}

/* ---- what is there ---- */

static void assert_ok(struct tly_storage *s, enum tly_result result)
{
    if (result != TLY_OK) fail_msg("%s: %s", tly_result_name(result), tly_storage_error(s));
}

static void assert_holds(struct tly_storage *s, const char *name, const char *text)
{
    char found[256];
    size_t got = 0;
    uint64_t size = 0;
    assert_ok(s, tly_storage_read(s, name, 0, found, sizeof found - 1, &got));
    found[got] = '\0';
    assert_string_equal(found, text);
    assert_ok(s, tly_storage_size(s, name, &size));
    assert_int_equal(size, strlen(text));
}

static void assert_absent(struct tly_storage *s, const char *name)
{
    uint64_t size;
    assert_int_equal(tly_storage_size(s, name, &size), TLY_NOT_FOUND);
}

static void add_name(void *context, const char *name)
{
    char *names = context;
    size_t n = strlen(names);
    (void)snprintf(names + n, 256 - n, "%s ", name);
}

static void assert_lists(struct tly_storage *s, const char *directory, const char *expected)
{
    char names[256] = "";
    assert_ok(s, tly_storage_list(s, directory, add_name, names));
    assert_string_equal(names, expected);
}

/* ---- the contract ---- */

static void what_was_put_is_there_when_put_returns(void **state)
{
    struct place *place = *state;
    struct tly_storage *other = other_handle(place);
    assert_ok(place->s, tly_storage_put(place->s, "a", tly_slice_text("one")));
    assert_holds(other, "a", "one");
    assert_ok(place->s, tly_storage_put(place->s, "a", tly_slice_text("two, longer")));
    assert_holds(other, "a", "two, longer");
    assert_ok(place->s, tly_storage_put(place->s, "a", tly_slice_text("")));
    assert_holds(other, "a", "");
    assert_ok(place->s, tly_storage_put(place->s, "deep/er/b", tly_slice_text("x")));
    assert_holds(other, "deep/er/b", "x");
    end_handle(place, other);
}

static void an_object_that_is_there_is_not_claimed(void **state)
{
    struct place *place = *state;
    assert_int_equal(tly_storage_put_absent(place->s, "a", tly_slice_text("first")), TLY_OK);
    assert_int_equal(tly_storage_put_absent(place->s, "a", tly_slice_text("second")), TLY_STALE);
    assert_holds(place->s, "a", "first");
    assert_lists(place->s, "", "a ");
}

struct claim {
    struct place *place;
    size_t number;
    bool won;
    pthread_t thread;
};

static void *claim(void *argument)
{
    struct claim *claim = argument;
    struct tly_storage *s = other_handle(claim->place);
    char text[32];
    (void)snprintf(text, sizeof text, "%zu", claim->number);
    enum tly_result result = tly_storage_put_absent(s, "claimed", tly_slice_text(text));
    claim->won = result == TLY_OK;
    if (result != TLY_OK && result != TLY_STALE) abort();
    end_handle(claim->place, s);
    return NULL;
}

static void of_many_threads_one_wins(void **state)
{
    struct claim claims[CLAIMANTS];
    size_t winners = 0, winner = 0;
    for (size_t i = 0; i < CLAIMANTS; i++) {
        claims[i] = (struct claim){.place = *state, .number = i};
        assert_int_equal(pthread_create(&claims[i].thread, NULL, claim, &claims[i]), 0);
    }
    for (size_t i = 0; i < CLAIMANTS; i++) {
        assert_int_equal(pthread_join(claims[i].thread, NULL), 0);
        if (claims[i].won) winner = i;
        winners += claims[i].won;
    }
    char text[32];
    (void)snprintf(text, sizeof text, "%zu", winner);
    assert_int_equal(winners, 1);
    assert_holds(claims[0].place->s, "claimed", text);
    assert_lists(claims[0].place->s, "", "claimed ");
}

static void a_replacement_needs_the_revision(void **state)
{
    struct place *place = *state;
    uint64_t first = 0, second = 0, unset = 77;
    assert_int_equal(tly_storage_replace(place->s, "m", 5, tly_slice_text("one"), &unset), TLY_NOT_FOUND);
    assert_ok(place->s, tly_storage_replace(place->s, "m", 0, tly_slice_text("one"), &first));
    assert_int_equal(tly_storage_replace(place->s, "m", 0, tly_slice_text("two"), &unset), TLY_STALE);
    assert_ok(place->s, tly_storage_replace(place->s, "m", first, tly_slice_text("two"), &second));
    assert_int_not_equal(first, second);
    assert_int_equal(tly_storage_replace(place->s, "m", first, tly_slice_text("three"), &unset), TLY_STALE);
    assert_holds(place->s, "m", "two");
    assert_int_equal(unset, 77);
    assert_true(second == tly_storage_revision_of(tly_slice_text("two")));
}

/* Adds 1 to a number in an object, as often as it takes. */
static void *count_up(void *argument)
{
    struct claim *claim = argument;
    struct tly_storage *s = other_handle(claim->place);
    enum tly_result result = TLY_STALE;
    while (result == TLY_STALE) {
        char text[32];
        size_t got = 0;
        uint64_t revision;
        if (tly_storage_read(s, "n", 0, text, sizeof text - 1, &got) != TLY_OK) abort();
        text[got] = '\0';
        revision = tly_storage_revision_of(tly_slice_of(text, got));
        (void)snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);
        result = tly_storage_replace(s, "n", revision, tly_slice_text(text), &revision);
    }
    if (result != TLY_OK) abort();
    end_handle(claim->place, s);
    return NULL;
}

static void racing_replacements_lose_nothing(void **state)
{
    struct place *place = *state;
    struct claim claims[8];
    assert_ok(place->s, tly_storage_put(place->s, "n", tly_slice_text("0")));
    for (size_t i = 0; i < 8; i++) {
        claims[i] = (struct claim){.place = place};
        assert_int_equal(pthread_create(&claims[i].thread, NULL, count_up, &claims[i]), 0);
    }
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_join(claims[i].thread, NULL), 0);
    assert_holds(place->s, "n", "8");
}

static void what_is_appended_is_read_in_pieces(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    char piece[8];
    size_t got = 99;
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("abc")));
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("")));
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("defgh")));
    assert_ok(s, tly_storage_sync(s, "log"));
    assert_holds(s, "log", "abcdefgh");
    assert_ok(s, tly_storage_read(s, "log", 2, piece, 3, &got));
    assert_int_equal(got, 3);
    assert_memory_equal(piece, "cde", 3);
    assert_ok(s, tly_storage_read(s, "log", 6, piece, sizeof piece, &got));
    assert_int_equal(got, 2);
    assert_ok(s, tly_storage_read(s, "log", 8, piece, sizeof piece, &got));
    assert_int_equal(got, 0);
    assert_ok(s, tly_storage_read(s, "log", 1000, piece, sizeof piece, &got));
    assert_int_equal(got, 0);
}

static void two_objects_are_appended_to_in_turn(void **state)
{
    struct place *place = *state;
    for (size_t i = 0; i < 3; i++) {
        assert_ok(place->s, tly_storage_append(place->s, "log-1", tly_slice_text("a")));
        assert_ok(place->s, tly_storage_append(place->s, "log-2", tly_slice_text("bb")));
    }
    assert_ok(place->s, tly_storage_sync(place->s, "log-1"));
    assert_holds(place->s, "log-1", "aaa");
    assert_holds(place->s, "log-2", "bbbbbb");
}

static void what_is_truncated_goes_on_from_there(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("abcdef")));
    assert_ok(s, tly_storage_truncate(s, "log", 2));
    assert_holds(s, "log", "ab");
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("X")));
    assert_holds(s, "log", "abX");
    assert_int_equal(tly_storage_truncate(s, "log", 4), TLY_IO);
    assert_holds(s, "log", "abX");
    assert_ok(s, tly_storage_truncate(s, "log", 0));
    assert_holds(s, "log", "");
}

static void what_is_overwritten_keeps_its_size(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    assert_int_equal(tly_storage_overwrite(s, "log", 0, tly_slice_text("")), TLY_NOT_FOUND);
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("abcdef")));
    assert_ok(s, tly_storage_overwrite(s, "log", 1, tly_slice_text("XY")));
    assert_ok(s, tly_storage_overwrite(s, "log", 5, tly_slice_text("Z")));
    assert_ok(s, tly_storage_overwrite(s, "log", 6, tly_slice_text("")));
    assert_ok(s, tly_storage_sync(s, "log"));
    assert_holds(s, "log", "aXYdeZ");
    assert_int_equal(tly_storage_overwrite(s, "log", 5, tly_slice_text("no")), TLY_IO);
    assert_int_equal(tly_storage_overwrite(s, "log", 7, tly_slice_text("")), TLY_IO);
    assert_int_equal(tly_storage_overwrite(s, "log", UINT64_MAX, tly_slice_text("no")), TLY_IO);
    assert_holds(s, "log", "aXYdeZ");
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("g")));
    assert_holds(s, "log", "aXYdeZg");
}

static void room_behind_the_end_is_not_seen(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    assert_ok(s, tly_storage_append_roomy(s, "log", tly_slice_text("abc"), 100));
    assert_ok(s, tly_storage_append_roomy(s, "log", tly_slice_text("def"), 100));
    assert_holds(s, "log", "abcdef");
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("g")));
    assert_int_equal(tly_storage_overwrite(s, "log", 6, tly_slice_text("no")), TLY_IO);
    assert_int_equal(tly_storage_truncate(s, "log", 8), TLY_IO);
    assert_ok(s, tly_storage_overwrite(s, "log", 6, tly_slice_text("G")));
    assert_ok(s, tly_storage_sync(s, "log"));
    assert_holds(s, "log", "abcdefG");
    assert_ok(s, tly_storage_truncate(s, "log", 2));
    assert_ok(s, tly_storage_append_roomy(s, "log", tly_slice_text("X"), 100));
    assert_holds(s, "log", "abX");
    for (size_t i = 0; i < 100; i++) /* from one room to the next */
        assert_ok(s, tly_storage_append_roomy(s, "log", tly_slice_text("0123456789"), 25));
    uint64_t size;
    assert_ok(s, tly_storage_size(s, "log", &size));
    assert_int_equal(size, 1003);
}

static void an_object_that_was_put_or_removed_is_appended_to_anew(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("old")));
    assert_ok(s, tly_storage_put(s, "log", tly_slice_text("new")));
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("er")));
    assert_holds(s, "log", "newer");
    assert_ok(s, tly_storage_remove(s, "log"));
    assert_ok(s, tly_storage_append(s, "log", tly_slice_text("again")));
    assert_holds(s, "log", "again");
}

static void a_list_has_the_objects_in_byte_order_and_nothing_else(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    static const char *const names[] = {"log-2.tly", "b", "log-10.tly", "dir/y", "dir/x", "dir/deep/z", "Z"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_ok(s, tly_storage_put(s, names[i], tly_slice_text("x")));
    char holder[16];
    assert_ok(s, tly_storage_lock(s, holder, sizeof holder));
    assert_lists(s, "", "Z b log-10.tly log-2.tly ");
    assert_lists(s, "dir", "x y ");
    assert_lists(s, "dir/deep", "z ");
    assert_lists(s, "nowhere", "");
    assert_lists(s, "no/where", "");
}

static void assert_refused(struct tly_storage *s, const char *name)
{
    char byte;
    size_t got;
    uint64_t number;
    struct tly_slice bytes = tly_slice_text("x");
    const enum tly_result results[] = {
        tly_storage_put(s, name, bytes),
        tly_storage_put_absent(s, name, bytes),
        tly_storage_replace(s, name, 0, bytes, &number),
        tly_storage_append(s, name, bytes),
        tly_storage_truncate(s, name, 0),
        tly_storage_sync(s, name),
        tly_storage_read(s, name, 0, &byte, 1, &got),
        tly_storage_size(s, name, &number),
        tly_storage_remove(s, name),
        name[0] != '\0' ? tly_storage_list(s, name, add_name, NULL) : TLY_BAD_KEY,
    };
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i] != TLY_BAD_KEY)
            fail_msg("call %zu took '%s': %s", i, name, tly_result_name(results[i]));
    assert_string_not_equal(tly_storage_error(s), "");
}

static void a_name_that_is_none_is_refused(void **state)
{
    struct place *place = *state;
    static const char *const names[] = {"",   ".",    "..",  "../x", "a/../x", ".hidden", "a/.b",     "/a",
                                        "a/", "a//b", "a b", "a\nb", "a\\b",   "a:b",     "\xc3\xa9", "LOCK"};
    char longest[TLY_STORAGE_NAME_MAX + 2];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_refused(place->s, names[i]);
    memset(longest, 'n', sizeof longest);
    longest[TLY_STORAGE_NAME_MAX + 1] = '\0';
    assert_refused(place->s, longest);
    longest[TLY_STORAGE_NAME_MAX] = '\0';
    assert_ok(place->s, tly_storage_put(place->s, longest, tly_slice_text("x")));
    assert_holds(place->s, longest, "x");
}

static void what_is_absent_is_not_found_and_not_made(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    char byte;
    size_t got;
    uint64_t number;
    assert_int_equal(tly_storage_read(s, "a", 0, &byte, 1, &got), TLY_NOT_FOUND);
    assert_int_equal(tly_storage_size(s, "a", &number), TLY_NOT_FOUND);
    assert_int_equal(tly_storage_truncate(s, "a", 0), TLY_NOT_FOUND);
    assert_int_equal(tly_storage_sync(s, "a"), TLY_NOT_FOUND);
    assert_int_equal(tly_storage_read(s, "no/where", 0, &byte, 1, &got), TLY_NOT_FOUND);
    assert_lists(s, "", "");
}

static void removing_is_idempotent(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = place->s;
    assert_ok(s, tly_storage_put(s, "a", tly_slice_text("x")));
    assert_ok(s, tly_storage_put(s, "b/c", tly_slice_text("x")));
    for (size_t i = 0; i < 2; i++) {
        assert_ok(s, tly_storage_remove(s, "a"));
        assert_ok(s, tly_storage_remove(s, "b/c"));
        assert_ok(s, tly_storage_remove(s, "no/where"));
    }
    assert_absent(s, "a");
    assert_absent(s, "b/c");
    assert_lists(s, "", "");
}

static void an_error_is_forgotten_by_the_next_call(void **state)
{
    struct place *place = *state;
    assert_int_equal(tly_storage_put(place->s, "..", tly_slice_text("x")), TLY_BAD_KEY);
    assert_string_not_equal(tly_storage_error(place->s), "");
    assert_ok(place->s, tly_storage_put(place->s, "a", tly_slice_text("x")));
    assert_string_equal(tly_storage_error(place->s), "");
    assert_int_equal(tly_storage_truncate(place->s, "a", 7), TLY_IO);
    assert_string_not_equal(tly_storage_error(place->s), "");
    assert_absent(place->s, "b");
    assert_lists(place->s, "", "a ");
    assert_string_equal(tly_storage_error(place->s), "");
}

static void a_lock_is_held_by_one_and_names_it(void **state)
{
    struct place *place = *state;
    struct tly_storage *other = other_handle(place);
    char holder[16] = "", pid[32];
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    assert_ok(place->s, tly_storage_lock(place->s, holder, sizeof holder));
    assert_int_equal(tly_storage_lock(other, holder, sizeof holder), TLY_STALE);
    assert_string_equal(holder, pid);
    end_handle(place, other);
}

/* ---- a directory ---- */

static void of_many_processes_one_wins(void **state)
{
    struct claim mine = {.place = *state};
    pid_t children[CLAIMANTS];
    size_t winners = 0;
    for (size_t i = 0; i < CLAIMANTS; i++) {
        mine.number = i;
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] > 0) continue;
        (void)claim(&mine);
        _exit(mine.won);
    }
    for (size_t i = 0; i < CLAIMANTS; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        winners += WEXITSTATUS(status) == 1;
    }
    assert_int_equal(winners, 1);
    assert_lists(mine.place->s, "", "claimed ");
}

static void a_lock_ends_with_its_holder(void **state)
{
    struct place *place = *state;
    char holder[16];
    for (size_t i = 0; i < 3; i++) {
        struct tly_storage *s = open_directory(place->path);
        assert_ok(s, tly_storage_lock(s, holder, sizeof holder));
        tly_storage_close(s);
    }
}

static void directories_on_the_way_are_made_and_private(void **state)
{
    struct place *place = *state;
    char path[128];
    struct stat is;
    path_in(place, "x/y/z", path, sizeof path);
    struct tly_storage *s = open_directory(path);
    assert_ok(s, tly_storage_put(s, "intent/i", tly_slice_text("x")));
    static const char *const made[] = {"x", "x/y", "x/y/z", "x/y/z/intent", "x/y/z/intent/i"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        path_in(place, made[i], path, sizeof path);
        assert_int_equal(stat(path, &is), 0);
        assert_int_equal(is.st_mode & 077, 0);
    }
    tly_storage_close(s);
}

static void a_directory_that_cannot_be_had_says_why(void **state)
{
    struct place *place = *state;
    char path[128], error[256] = "";
    assert_ok(place->s, tly_storage_put(place->s, "file", tly_slice_text("x")));
    path_in(place, "file/x", path, sizeof path);
    assert_null(tly_storage_directory(path, error, sizeof error));
    assert_non_null(strstr(error, path));
    assert_non_null(strstr(error, strerror(ENOTDIR)));
    /* Nobody makes directories there, root neither: that is the reason, and not that it is absent. */
    assert_null(tly_storage_directory("/sys/tally/data", error, sizeof error));
    assert_null(strstr(error, strerror(ENOENT)));
}

static void an_error_names_the_path_and_the_reason(void **state)
{
    struct place *place = *state;
    char path[128];
    path_in(place, "d", path, sizeof path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tly_storage_append(place->s, "d", tly_slice_text("x")), TLY_IO);
    assert_non_null(strstr(tly_storage_error(place->s), path));
    assert_non_null(strstr(tly_storage_error(place->s), strerror(EISDIR)));
}

static void a_link_is_not_followed(void **state)
{
    struct place *place = *state;
    char path[128], byte;
    size_t got;
    path_in(place, "link", path, sizeof path);
    assert_ok(place->s, tly_storage_put(place->s, "real", tly_slice_text("x")));
    assert_int_equal(symlink("real", path), 0);
    assert_int_equal(tly_storage_read(place->s, "link", 0, &byte, 1, &got), TLY_IO);
    assert_int_equal(tly_storage_append(place->s, "link", tly_slice_text("y")), TLY_IO);
    path_in(place, "up", path, sizeof path);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(tly_storage_put(place->s, "up/x", tly_slice_text("y")), TLY_IO);
    assert_holds(place->s, "real", "x");
    assert_lists(place->s, "", "real ");
}

static void what_was_removed_by_somebody_else_is_not_appended_to_in_silence(void **state)
{
    struct place *place = *state;
    struct tly_storage *other = other_handle(place);
    assert_ok(place->s, tly_storage_append(place->s, "log", tly_slice_text("x")));
    assert_ok(other, tly_storage_remove(other, "log"));
    assert_int_equal(tly_storage_append(place->s, "log", tly_slice_text("y")), TLY_IO);
    assert_non_null(strstr(tly_storage_error(place->s), "removed"));
    end_handle(place, other);
}

/* It must neither be waited for nor be read. */
static void a_pipe_is_no_object(void **state)
{
    struct place *place = *state;
    char path[128], byte;
    size_t got;
    path_in(place, "pipe", path, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(tly_storage_read(place->s, "pipe", 0, &byte, 1, &got), TLY_IO);
    assert_int_equal(tly_storage_append(place->s, "pipe", tly_slice_text("y")), TLY_IO);
    assert_lists(place->s, "", "");
}

/* What a crash between two system calls leaves. */
static void residue_is_not_listed_and_goes_with_the_next_lock(void **state)
{
    struct place *place = *state;
    char path[128], holder[16];
    path_in(place, ".new-0123456789abcdef", path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_lists(place->s, "", "");
    assert_ok(place->s, tly_storage_lock(place->s, holder, sizeof holder));
    assert_int_equal(access(path, F_OK), -1);
}

/* Runs a scene in a process of its own, where its limits and its user are nobody else's. */
static void in_child(const struct place *place, int (*scene)(const struct place *place))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(scene(place));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define EXPECT(condition)                                                         \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            return 1;                                                             \
        }                                                                         \
    } while (0)

static int as_nobody(const struct place *place)
{
    char byte, path[128];
    size_t got;
    uint64_t number;
    struct tly_storage *s = place->s;
    path_in(place, "secret", path, sizeof path);
    EXPECT(chmod(path, 0) == 0);
    if (geteuid() == 0) EXPECT(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    EXPECT(tly_storage_read(s, "secret", 0, &byte, 1, &got) == TLY_IO);
    EXPECT(strstr(tly_storage_error(s), strerror(EACCES)) != NULL &&
           strstr(tly_storage_error(s), path) != NULL);
    EXPECT(tly_storage_size(s, "secret", &number) == TLY_IO);
    EXPECT(tly_storage_append(s, "secret", tly_slice_text("x")) == TLY_IO);
    EXPECT(tly_storage_truncate(s, "secret", 0) == TLY_IO);
    return 0;
}

static int in_locked_room(const struct place *place)
{
    char byte, names[256] = "", path[128];
    size_t got;
    uint64_t number;
    struct tly_storage *s = place->s;
    path_in(place, "room", path, sizeof path);
    EXPECT(chmod(path, 0) == 0);
    if (geteuid() == 0) EXPECT(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    EXPECT(tly_storage_read(s, "room/x", 0, &byte, 1, &got) == TLY_IO);
    EXPECT(tly_storage_size(s, "room/none", &number) == TLY_IO);
    EXPECT(tly_storage_list(s, "room", add_name, names) == TLY_IO);
    EXPECT(tly_storage_remove(s, "room/x") == TLY_IO);
    EXPECT(tly_storage_put(s, "room/y", tly_slice_text("x")) == TLY_IO);
    return 0;
}

static void a_permission_error_is_loud_and_never_absent(void **state)
{
    struct place *place = *state;
    char path[128];
    assert_ok(place->s, tly_storage_put(place->s, "secret", tly_slice_text("x")));
    assert_ok(place->s, tly_storage_put(place->s, "room/x", tly_slice_text("x")));
    assert_int_equal(chmod(place->path, 0755), 0);
    in_child(place, as_nobody);
    in_child(place, in_locked_room);
    path_in(place, "room", path, sizeof path);
    assert_int_equal(chmod(path, 0700), 0);
    assert_holds(place->s, "room/x", "x");
    assert_lists(place->s, "", "secret ");
}

static void assert_file_bytes(const struct place *place, const char *name, int64_t bytes)
{
    char path[128];
    struct stat is;
    path_in(place, name, path, sizeof path);
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_size, bytes);
}

static void room_is_given_back_when_the_object_is_left(void **state)
{
    struct place *place = *state;
    struct tly_storage *s = open_directory(place->path);
    assert_ok(s, tly_storage_append_roomy(s, "log-1", tly_slice_text("abc"), 4096));
    assert_file_bytes(place, "log-1", 3 + 4096);
    assert_ok(s, tly_storage_append_roomy(s, "log-2", tly_slice_text("x"), 4096));
    assert_ok(s, tly_storage_append(s, "log-3", tly_slice_text("y")));
    assert_file_bytes(place, "log-1", 3);
    assert_ok(s, tly_storage_append(s, "log-1", tly_slice_text("d")));
    tly_storage_close(s);
    assert_file_bytes(place, "log-2", 1);
    assert_holds(place->s, "log-1", "abcd");
}

/* As if its process were killed. */
static int with_room(const struct place *place)
{
    struct tly_storage *s = open_directory(place->path);
    EXPECT(tly_storage_append_roomy(s, "log", tly_slice_text("abc"), 20) == TLY_OK);
    EXPECT(tly_storage_append_roomy(s, "log", tly_slice_text("de"), 20) == TLY_OK);
    return 0;
}

static void a_crash_leaves_zeros_where_there_was_room(void **state)
{
    struct place *place = *state;
    static const char left[23] = "abcde";
    char found[64];
    size_t got;
    in_child(place, with_room);
    assert_ok(place->s, tly_storage_read(place->s, "log", 0, found, sizeof found, &got));
    assert_int_equal(got, sizeof left);
    assert_memory_equal(found, left, sizeof left);
}

/* What it believes to be room may hold what the other one wrote. */
static void what_another_process_makes_longer_or_shorter_is_not_written_over(void **state)
{
    struct place *place = *state;
    for (size_t i = 0; i < 2; i++) {
        struct tly_storage *s = open_directory(place->path), *other = other_handle(place);
        assert_ok(s, tly_storage_append_roomy(s, "log", tly_slice_text("abc"), 100));
        if (i == 0)
            assert_ok(other, tly_storage_truncate(other, "log", 3));
        else
            assert_ok(other, tly_storage_append(other, "log", tly_slice_text("x")));
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(tly_storage_append_roomy(s, "log", tly_slice_text("no"), 100), TLY_IO);
            assert_non_null(strstr(tly_storage_error(s), "another process"));
            assert_int_equal(tly_storage_truncate(s, "log", 3), TLY_IO);
        }
        tly_storage_close(s);
        assert_file_bytes(place, "log", i == 0 ? 3 : 3 + 100 + 1);
        assert_ok(other, tly_storage_remove(other, "log"));
        end_handle(place, other);
    }
}

/* No file may grow beyond 1000 bytes: a write is cut short, and what is left of it fails. */
static int with_little_room(const struct place *place)
{
    static uint8_t much[4096];
    const struct rlimit little = {1000, 1000};
    struct tly_storage *s = place->s;
    uint64_t size = 0;
    EXPECT(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    EXPECT(tly_storage_append(s, "log", tly_slice_of(much, 300)) == TLY_OK);
    EXPECT(setrlimit(RLIMIT_FSIZE, &little) == 0);
    EXPECT(tly_storage_append(s, "log", tly_slice_of(much, sizeof much)) == TLY_IO);
    EXPECT(strstr(tly_storage_error(s), strerror(EFBIG)) != NULL);
    EXPECT(tly_storage_size(s, "log", &size) == TLY_OK && size == 300);
    EXPECT(tly_storage_append(s, "log", tly_slice_of(much, 300)) == TLY_OK);
    EXPECT(tly_storage_append_roomy(s, "roomy", tly_slice_of(much, 300), 4096) == TLY_OK);
    EXPECT(tly_storage_append_roomy(s, "roomy", tly_slice_of(much, 300), 100) == TLY_OK);
    EXPECT(tly_storage_append_roomy(s, "roomy", tly_slice_of(much, 600), 100) == TLY_IO);
    EXPECT(tly_storage_size(s, "roomy", &size) == TLY_OK && size == 600);
    EXPECT(tly_storage_append_roomy(s, "roomy", tly_slice_of(much, 400), 100) == TLY_OK);
    EXPECT(tly_storage_put(s, "whole", tly_slice_of(much, sizeof much)) == TLY_IO);
    EXPECT(tly_storage_size(s, "whole", &size) == TLY_OK && size == 5);
    return 0;
}

static void a_write_cut_short_leaves_no_trace(void **state)
{
    struct place *place = *state;
    assert_ok(place->s, tly_storage_put(place->s, "whole", tly_slice_text("whole")));
    in_child(place, with_little_room);
    uint64_t size;
    assert_ok(place->s, tly_storage_size(place->s, "log", &size));
    assert_int_equal(size, 600);
    assert_file_bytes(place, "roomy", 1000);
    assert_holds(place->s, "whole", "whole");
    DIR *top = opendir(place->path);
    assert_non_null(top);
    for (const struct dirent *entry; (entry = readdir(top)) != NULL;)
        assert_null(strstr(entry->d_name, ".new-"));
    assert_int_equal(closedir(top), 0);
}

struct reader {
    const struct place *place;
    _Atomic bool done;
    _Atomic size_t reads;
    size_t halves;
};

static void *read_on(void *argument)
{
    struct reader *reader = argument;
    struct tly_storage *s = open_directory(reader->place->path);
    static uint8_t bytes[65536];
    while (!reader->done) {
        size_t got = 0;
        if (tly_storage_read(s, "a", 0, bytes, sizeof bytes, &got) != TLY_OK) abort();
        bool whole = got == sizeof bytes;
        for (size_t i = 1; i < got && whole; i++)
            whole = bytes[i] == bytes[0];
        reader->halves += !whole;
        reader->reads++;
    }
    tly_storage_close(s);
    return NULL;
}

static void a_reader_never_sees_half_of_what_is_put(void **state)
{
    static uint8_t bytes[65536];
    struct reader reader = {.place = *state};
    struct tly_storage *s = reader.place->s;
    pthread_t thread;
    memset(bytes, 0, sizeof bytes);
    assert_ok(s, tly_storage_put(s, "a", tly_slice_of(bytes, sizeof bytes)));
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (unsigned i = 0; i < 100 || reader.reads < 100; i++) {
        memset(bytes, (int)(i % 251), sizeof bytes);
        assert_ok(s, tly_storage_put(s, "a", tly_slice_of(bytes, sizeof bytes)));
    }
    reader.done = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reader.halves, 0);
}

/* Open descriptors of this process; those that a child would inherit are counted in *inherited. */
static size_t count_descriptors(size_t *inherited)
{
    size_t count = 0;
    *inherited = 0;
    for (int fd = 3; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0) continue;
        count++;
        *inherited += (flags & FD_CLOEXEC) == 0;
    }
    return count;
}

static void descriptors_are_closed_and_never_inherited(void **state)
{
    struct place *place = *state;
    size_t inherited_before, inherited, before = count_descriptors(&inherited_before);
    for (size_t i = 0; i < 200; i++) {
        char holder[16];
        struct tly_storage *s = open_directory(place->path);
        assert_ok(s, tly_storage_lock(s, holder, sizeof holder));
        assert_ok(s, tly_storage_append(s, i % 2 == 0 ? "a" : "b/c", tly_slice_text("x")));
        assert_lists(s, "b", i == 0 ? "" : "c ");
        (void)count_descriptors(&inherited);
        assert_int_equal(inherited, inherited_before);
        tly_storage_close(s);
    }
    assert_int_equal(count_descriptors(&inherited), before);
}

static void read_identity(const char *path, char *text)
{
    char holder[16];
    struct tly_storage *s = open_directory(path);
    assert_ok(s, tly_storage_lock(s, holder, sizeof holder));
    assert_ok(s, tly_storage_identity(s, text, TLY_STORAGE_IDENTITY_MAX));
    tly_storage_close(s);
}

static void a_directory_is_known_again_and_another_is_not(void **state)
{
    struct place *place = *state;
    char first[TLY_STORAGE_IDENTITY_MAX], again[TLY_STORAGE_IDENTITY_MAX], path[128];
    read_identity(place->path, first);
    read_identity(place->path, again);
    assert_string_equal(first, again);
    path_in(place, "copy", path, sizeof path);
    read_identity(path, again);
    assert_string_not_equal(first, again);
    path_in(place, "LOCK", path, sizeof path);
    assert_int_equal(unlink(path), 0);
    read_identity(place->path, again);
    assert_string_not_equal(first, again);
}

#define CONTRACT(scene)                                              \
    {#scene " (directory)", scene, make_directory, end_place, NULL}, \
    {                                                                \
#scene " (memory)", scene, make_memory, end_place, NULL      \
    }
#define DIRECTORY(scene) cmocka_unit_test_setup_teardown(scene, make_directory, end_place)

/* It is one handle's, and only where somebody sees to what the system says when a page cannot be had. */
static void what_is_mapped_is_the_object(void **state)
{
    struct place *place = *state;
    struct tly_storage_map map, second;
    char bytes[8] = "";
    size_t got;
    static const char zeros[3 * 4096];
    assert_ok(place->s, tly_storage_put(place->s, "m", tly_slice_of(zeros, sizeof zeros)));
    assert_false(tly_storage_can_map(place->s));
    assert_int_equal(tly_storage_map(place->s, "m", sizeof zeros, &map), TLY_IO);
    assert_true(tly_storage_guard());
    assert_true(tly_storage_can_map(place->s));
    assert_int_equal(tly_storage_map(place->s, "absent", 1, &map), TLY_NOT_FOUND);
    assert_int_equal(tly_storage_map(place->s, "m", sizeof zeros + 1, &map), TLY_IO);
    assert_ok(place->s, tly_storage_map(place->s, "m", sizeof zeros, &map));
    assert_int_equal(tly_storage_map(place->s, "m", 1, &second), TLY_IO);
    memcpy(map.p + 5000, "written", 7);
    struct tly_storage *other = open_directory(place->path);
    assert_ok(other, tly_storage_read(other, "m", 5000, bytes, 7, &got));
    assert_string_equal(bytes, "written");
    assert_int_equal(*map.lost, 0);
    /* Somebody cuts it. */
    assert_ok(other, tly_storage_truncate(other, "m", 100));
    memcpy(map.p + 5000, "is lost", 7);
    assert_int_equal(*map.lost, 1);
    assert_memory_equal(map.p + 5000, "is lost", 7);
    tly_storage_close(other);
    tly_storage_close(place->s);
    place->s = open_directory(place->path);
    assert_ok(place->s, tly_storage_put(place->s, "m", tly_slice_of(zeros, sizeof zeros)));
    assert_ok(place->s, tly_storage_map(place->s, "m", sizeof zeros, &map));
    tly_storage_look_at_map(place->s);
    assert_int_equal(*map.lost, 0);
    /* Somebody removes it, and makes another one. */
    other = open_directory(place->path);
    assert_ok(other, tly_storage_put(other, "m", tly_slice_of(zeros, sizeof zeros)));
    tly_storage_look_at_map(place->s);
    assert_int_equal(*map.lost, 1);
    tly_storage_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(what_was_put_is_there_when_put_returns),
        CONTRACT(an_object_that_is_there_is_not_claimed),
        CONTRACT(of_many_threads_one_wins),
        CONTRACT(a_replacement_needs_the_revision),
        CONTRACT(racing_replacements_lose_nothing),
        CONTRACT(what_is_appended_is_read_in_pieces),
        CONTRACT(two_objects_are_appended_to_in_turn),
        CONTRACT(what_is_truncated_goes_on_from_there),
        CONTRACT(what_is_overwritten_keeps_its_size),
        CONTRACT(room_behind_the_end_is_not_seen),
        CONTRACT(an_object_that_was_put_or_removed_is_appended_to_anew),
        CONTRACT(a_list_has_the_objects_in_byte_order_and_nothing_else),
        CONTRACT(a_name_that_is_none_is_refused),
        CONTRACT(what_is_absent_is_not_found_and_not_made),
        CONTRACT(removing_is_idempotent),
        CONTRACT(an_error_is_forgotten_by_the_next_call),
        CONTRACT(a_lock_is_held_by_one_and_names_it),
        DIRECTORY(of_many_processes_one_wins),
        DIRECTORY(a_lock_ends_with_its_holder),
        DIRECTORY(directories_on_the_way_are_made_and_private),
        DIRECTORY(a_directory_that_cannot_be_had_says_why),
        DIRECTORY(an_error_names_the_path_and_the_reason),
        DIRECTORY(a_link_is_not_followed),
        DIRECTORY(what_was_removed_by_somebody_else_is_not_appended_to_in_silence),
        DIRECTORY(room_is_given_back_when_the_object_is_left),
        DIRECTORY(a_crash_leaves_zeros_where_there_was_room),
        DIRECTORY(what_another_process_makes_longer_or_shorter_is_not_written_over),
        DIRECTORY(a_pipe_is_no_object),
        DIRECTORY(residue_is_not_listed_and_goes_with_the_next_lock),
        DIRECTORY(a_permission_error_is_loud_and_never_absent),
        DIRECTORY(a_write_cut_short_leaves_no_trace),
        DIRECTORY(a_reader_never_sees_half_of_what_is_put),
        DIRECTORY(descriptors_are_closed_and_never_inherited),
        DIRECTORY(a_directory_is_known_again_and_another_is_not),
        DIRECTORY(what_is_mapped_is_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
