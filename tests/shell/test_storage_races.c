/*
 * The contract of storage.h between processes that share a directory, often enough for a race to show.  It lies in memory where
 * that is to be had: what is durable is not the question here, and syncing would take minutes.
 */
#include "service/shell/storage.h"
#include "tests/shell/support_store.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLAIMANTS 64
#define NAMES 1000
#define COUNTERS 8
#define ROUNDS 1000
#define CHANGES 10000
#define BIG (64 * 1024)

struct place {
    char path[64];
    struct tly_storage *s;
};

static struct tly_storage *open_place(const char *path)
{
    char error[256] = "";
    struct tly_storage *s = tly_storage_directory(path, error, sizeof error);
    if (s == NULL) fail_msg("%s", error);
    return s;
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    bool in_memory = access("/dev/shm", W_OK) == 0;
    (void)snprintf(place->path, sizeof place->path, "%s/test_races.XXXXXX", in_memory ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(place->path));
    place->s = open_place(place->path);
    *state = place;
    return 0;
}

static int end_place(void **state)
{
    struct place *place = *state;
    tly_storage_close(place->s);
    int failed = test_remove_tree(place->path);
    free(place);
    return failed;
}

static void path_in(const struct place *place, const char *name, char path[256])
{
    (void)snprintf(path, 256, "%s/%s", place->path, name);
}

/* ---- processes ---- */

/* Memory that children write to and the parent reads. */
static void *shared_new(size_t bytes)
{
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return shared;
}

/* Runs `body` in so many processes, each with a handle of its own; all have to end with 0. */
static void in_processes(const struct place *place, size_t count,
                         int (*body)(struct tly_storage *s, size_t number, void *shared), void *shared)
{
    pid_t children[CLAIMANTS];
    assert_in_range(count, 1, CLAIMANTS);
    for (size_t i = 0; i < count; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] > 0) continue;
        char error[256];
        struct tly_storage *s = tly_storage_directory(place->path, error, sizeof error);
        if (s == NULL) _exit(100);
        int status = body(s, i, shared);
        tly_storage_close(s);
        _exit(status);
    }
    for (size_t i = 0; i < count; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

struct tallies {
    _Atomic unsigned of[NAMES];
};

static int claim_each(struct tly_storage *s, size_t number, void *shared)
{
    struct tallies *wins = shared;
    char name[32], text[32];
    (void)snprintf(text, sizeof text, "%zu", number);
    for (size_t i = 0; i < NAMES; i++) {
        (void)snprintf(name, sizeof name, "claim-%zu", i);
        enum tly_result result = tly_storage_put_absent(s, name, tly_slice_text(text));
        if (result == TLY_OK)
            wins->of[i]++;
        else if (result != TLY_STALE)
            return 1;
    }
    return 0;
}

static void of_many_claimants_of_many_names_one_wins_each(void **state)
{
    struct place *place = *state;
    struct tallies *wins = shared_new(sizeof *wins);
    in_processes(place, CLAIMANTS, claim_each, wins);
    for (size_t i = 0; i < NAMES; i++)
        assert_int_equal(wins->of[i], 1);
    assert_int_equal(munmap(wins, sizeof *wins), 0);
}

static int count_up(struct tly_storage *s, size_t number, void *shared)
{
    (void)number;
    struct tallies *lost = shared;
    for (unsigned done = 0; done < ROUNDS;) {
        char text[32];
        size_t got = 0;
        uint64_t revision;
        if (tly_storage_read(s, "n", 0, text, sizeof text - 1, &got) != TLY_OK) return 1;
        text[got] = '\0';
        revision = tly_storage_revision_of(tly_slice_of(text, got));
        (void)snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);
        enum tly_result result = tly_storage_replace(s, "n", revision, tly_slice_text(text), &revision);
        if (result != TLY_OK && result != TLY_STALE) return 2;
        done += result == TLY_OK;
        lost->of[0] += result != TLY_OK;
    }
    return 0;
}

static void eight_times_a_thousand_replacements_are_eight_thousand(void **state)
{
    struct place *place = *state;
    char text[32] = "";
    size_t got;
    struct tallies *lost = shared_new(sizeof *lost);
    assert_int_equal(tly_storage_put(place->s, "n", tly_slice_text("0")), TLY_OK);
    in_processes(place, COUNTERS, count_up, lost);
    assert_int_equal(tly_storage_read(place->s, "n", 0, text, sizeof text - 1, &got), TLY_OK);
    assert_string_equal(text, "8000");
    assert_true(lost->of[0] > 0); /* they did race */
    assert_int_equal(munmap(lost, sizeof *lost), 0);
}

/* ---- readers ---- */

struct watched {
    _Atomic unsigned claimed; /* so many names are there */
    _Atomic unsigned done, whole, absent;
};

/* All bytes are the same, and there are as many as the first of them says. */
static bool is_whole(const uint8_t *bytes, size_t n)
{
    if (n == 0 || n != 1 + (size_t)bytes[0] * 31) return false;
    for (size_t i = 1; i < n; i++)
        if (bytes[i] != bytes[0]) return false;
    return true;
}

static int change(struct tly_storage *s, struct watched *watched)
{
    static uint8_t bytes[1 + 255 * 31];
    struct test_rng rng = test_rng_of(1);
    uint64_t revision = 0;
    for (unsigned i = 0; i < CHANGES || watched->whole < 100 || watched->absent < 100; i++) {
        char name[32];
        uint8_t byte = (uint8_t)test_rng_below(&rng, 256);
        size_t n = 1 + (size_t)byte * 31;
        memset(bytes, byte, n);
        (void)snprintf(name, sizeof name, "c-%u", watched->claimed);
        bool claims = i % 4 == 0 && i > 0;
        enum tly_result result =
            claims ? tly_storage_put_absent(s, name, tly_slice_of(bytes, n))
                   : tly_storage_replace(s, "r", revision, tly_slice_of(bytes, n), &revision);
        if (result != TLY_OK) return 1;
        watched->claimed += claims;
    }
    watched->done = 1;
    return 0;
}

/* The next name to be claimed is there whole or not at all. */
static int read_on(struct tly_storage *s, struct watched *watched)
{
    static uint8_t bytes[BIG];
    while (!watched->done) {
        char name[32] = "r";
        for (unsigned i = 0; i < 2; i++) {
            size_t got = 0;
            enum tly_result result = tly_storage_read(s, name, 0, bytes, sizeof bytes, &got);
            if (result == TLY_OK && !is_whole(bytes, got)) return 2;
            if (result != TLY_OK && result != TLY_NOT_FOUND) return 3;
            watched->whole += result == TLY_OK;
            watched->absent += result == TLY_NOT_FOUND;
            (void)snprintf(name, sizeof name, "c-%u", watched->claimed);
        }
    }
    return 0;
}

static int change_or_read(struct tly_storage *s, size_t number, void *shared)
{
    return number == 0 ? change(s, shared) : read_on(s, shared);
}

static void a_reader_sees_what_was_or_what_is(void **state)
{
    struct watched *watched = shared_new(sizeof *watched);
    in_processes(*state, 3, change_or_read, watched);
    assert_true(watched->claimed >= CHANGES / 4 - 1);
    assert_true(watched->whole >= 100 && watched->absent >= 100);
    assert_int_equal(munmap(watched, sizeof *watched), 0);
}

/* By the system's own calls, the moment that put or append returned. */
static void assert_read_elsewhere(const struct place *place, const char *name, uint64_t at, size_t n,
                                  uint8_t byte)
{
    static uint8_t found[BIG + 1];
    char path[256];
    path_in(place, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, found, n + 1, (off_t)at), n);
    assert_int_equal(close(fd), 0);
    for (size_t i = 0; i < n; i++)
        if (found[i] != byte) fail_msg("%s: byte %zu", name, i);
}

static void what_was_written_is_read_by_others_at_once(void **state)
{
    struct place *place = *state;
    static uint8_t bytes[BIG];
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "put-%u", i % 50);
        memset(bytes, (int)(i % 251), 8192);
        assert_int_equal(tly_storage_put(place->s, name, tly_slice_of(bytes, 8192)), TLY_OK);
        assert_read_elsewhere(place, name, 0, 8192, (uint8_t)(i % 251));
    }
    for (unsigned i = 0; i < 200; i++) {
        memset(bytes, (int)(i % 251), BIG);
        assert_int_equal(tly_storage_append(place->s, "log", tly_slice_of(bytes, BIG)), TLY_OK);
        assert_read_elsewhere(place, "log", (uint64_t)i * BIG, BIG, (uint8_t)(i % 251));
    }
}

/* ---- outside ---- */

static void nothing_is_removed_outside(void **state)
{
    struct place *place = *state;
    char path[256], outside[256];
    assert_int_equal(tly_storage_put(place->s, "in/x", tly_slice_text("x")), TLY_OK);
    path_in(place, "in", path);
    struct tly_storage *in = open_place(path);
    path_in(place, "secret", outside);
    int fd = open(outside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && close(fd) == 0);
    path_in(place, "in/up", path);
    assert_int_equal(symlink("..", path), 0);
    path_in(place, "in/link", path);
    assert_int_equal(symlink("../secret", path), 0);

    static const char *const names[] = {"../secret", "up/secret", "..", "x/../../secret", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_not_equal(tly_storage_remove(in, names[i]), TLY_OK);
    /* A link is nobody's object; whatever becomes of it, what it points to stays. */
    (void)!tly_storage_remove(in, "link");
    assert_int_equal(access(outside, F_OK), 0);
    assert_int_equal(tly_storage_remove(in, "x"), TLY_OK);
    assert_int_equal(tly_storage_remove(in, "x"), TLY_OK);
    tly_storage_close(in);
}

static void add_name(void *context, const char *name)
{
    char *names = context;
    size_t n = strlen(names);
    (void)snprintf(names + n, 256 - n, "%s ", name);
}

static void a_list_has_no_siblings_names(void **state)
{
    struct place *place = *state;
    static const char *const names[] = {"intent/a",   "intent-2/b", "intents",
                                        "intent.old", "inten/c",    "intent/d/e"};
    char found[256] = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(tly_storage_put(place->s, names[i], tly_slice_text("x")), TLY_OK);
    assert_int_equal(tly_storage_list(place->s, "intent", add_name, found), TLY_OK);
    assert_string_equal(found, "a ");
    assert_int_equal(tly_storage_remove(place->s, "intent/a"), TLY_OK);
    size_t got;
    char byte;
    assert_int_equal(tly_storage_read(place->s, "intent/a", 0, &byte, 1, &got), TLY_NOT_FOUND);
}

#define SCENE(scene) cmocka_unit_test_setup_teardown(scene, make_place, end_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(of_many_claimants_of_many_names_one_wins_each),
        SCENE(eight_times_a_thousand_replacements_are_eight_thousand),
        SCENE(a_reader_sees_what_was_or_what_is),
        SCENE(what_was_written_is_read_by_others_at_once),
        SCENE(nothing_is_removed_outside),
        SCENE(a_list_has_no_siblings_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
