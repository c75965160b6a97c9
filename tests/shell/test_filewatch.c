/* What a path leads to has become another: in whichever way that was done it is told once, when it is over. */
#include "service/shell/filewatch.h"
#include "tests/support/cmocka.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scene {
    struct event_base *base;
    struct tly_filewatch *watch;
    char directory[64];
    unsigned told;
    bool exists;
};

static void on_changed(void *context, bool exists)
{
    struct scene *scene = context;
    scene->told++;
    scene->exists = exists;
}

static const char *path_of(const struct scene *scene, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", scene->directory, name);
    return path;
}

static void write_file(const struct scene *scene, const char *name, const char *text)
{
    FILE *file = fopen(path_of(scene, name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void move(const struct scene *scene, const char *from, const char *to)
{
    assert_int_equal(rename(path_of(scene, from), path_of(scene, to)), 0);
}

/* As a configmap is laid out: file -> ..data/file, ..data -> ..0 */
static int setup(void **state)
{
    static struct scene scene;
    scene = (struct scene){.directory = "/tmp/tally-filewatch-XXXXXX"};
    assert_non_null(mkdtemp(scene.directory));
    assert_int_equal(mkdir(path_of(&scene, "..0"), 0700), 0);
    write_file(&scene, "..0/file", "nothing yet");
    assert_int_equal(symlink("..0", path_of(&scene, "..data")), 0);
    assert_int_equal(symlink("..data/file", path_of(&scene, "file")), 0);
    scene.base = event_base_new();
    assert_non_null(scene.base);
    scene.watch = tly_filewatch_new(scene.base, path_of(&scene, "file"), on_changed, &scene);
    assert_non_null(scene.watch);
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    static const char *const names[] = {"..0/file", "..0/other", "..1/file", "..0", "..1", "..data", "file"};
    tly_filewatch_free(scene->watch);
    event_base_free(scene->base);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)remove(path_of(scene, names[i]));
    return rmdir(scene->directory);
}

/* The look once a second comes anyhow: each turn of the loop ends. */
static void expect_told(struct scene *scene, bool exists)
{
    unsigned before = scene->told;
    for (int turns = 0; scene->told == before && turns < 10000; turns++)
        assert_int_equal(event_base_loop(scene->base, EVLOOP_ONCE), 0);
    assert_int_equal(scene->told, before + 1);
    assert_int_equal(scene->exists, exists);
}

static void what_changed_before_it_was_watched_is_told(void **state)
{
    struct scene *scene = *state;
    struct stat status;
    assert_int_equal(stat(path_of(scene, "file"), &status), 0);
    uint64_t print = tly_filewatch_print(0, path_of(scene, "file"), &status);
    tly_filewatch_free(scene->watch);
    write_file(scene, "..0/file", "written before anybody watched");
    scene->watch = tly_filewatch_new(scene->base, path_of(scene, "file"), on_changed, scene);
    assert_non_null(scene->watch);
    tly_filewatch_as_of(scene->watch, print);
    expect_told(scene, true);
    assert_int_equal(stat(path_of(scene, "file"), &status), 0);
    tly_filewatch_as_of(scene->watch, tly_filewatch_print(0, path_of(scene, "file"), &status));
    write_file(scene, "..0/file", "written again");
    expect_told(scene, true);
}

static void whatever_is_done_to_it_is_told_once(void **state)
{
    struct scene *scene = *state;
    write_file(scene, "..0/file", "in place");
    expect_told(scene, true);
    write_file(scene, "..0/new", "replaced behind the links");
    move(scene, "..0/new", "..0/file");
    expect_told(scene, true);
    assert_int_equal(mkdir(path_of(scene, "..1"), 0700), 0);
    write_file(scene, "..1/file", "another directory");
    assert_int_equal(symlink("..1", path_of(scene, "..tmp")), 0);
    move(scene, "..tmp", "..data");
    expect_told(scene, true);
    /* Where the link leads now is what counts. */
    write_file(scene, "..1/file", "there, in place");
    expect_told(scene, true);
    write_file(scene, "plain", "no link any more");
    move(scene, "plain", "file");
    expect_told(scene, true);
    assert_int_equal(unlink(path_of(scene, "file")), 0);
    expect_told(scene, false);
    write_file(scene, "file", "back");
    expect_told(scene, true);
    assert_int_equal(scene->told, 7);
}

/* Two changes between two looks are one, and what is as it was is none. */
static void what_is_not_at_rest_is_told_when_it_is(void **state)
{
    struct scene *scene = *state;
    write_file(scene, "..0/other", "of no concern");
    write_file(scene, "..0/file", "half of it");
    assert_int_equal(event_base_loop(scene->base, EVLOOP_ONCE), 0);
    assert_int_equal(scene->told, 0);
    write_file(scene, "..0/file", "half of it, and the rest");
    expect_told(scene, true);
    write_file(scene, "..0/other", "still of no concern");
    for (int looks = 0; looks < 3; looks++)
        assert_int_equal(event_base_loop(scene->base, EVLOOP_ONCE), 0);
    assert_int_equal(scene->told, 1);
}

/* Of the one descriptor that this process has for it: how many directories are watched, and the greatest number that one got. */
static void count_watches(size_t *count, int *greatest)
{
    *count = 0;
    *greatest = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[64], line[256];
        (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        FILE *file = fopen(path, "r");
        int number;
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            if (sscanf(line, "inotify wd:%x", (unsigned *)&number) != 1) continue;
            ++*count;
            if (number > *greatest) *greatest = number;
        }
        if (file != NULL) (void)fclose(file);
    }
}

/* To close the descriptor takes the system ten milliseconds; what is watched no longer goes all the same. */
static void the_directories_change_and_the_descriptor_stays(void **state)
{
    struct scene *scene = *state;
    size_t count;
    int greatest;
    assert_int_equal(mkdir(path_of(scene, "..1"), 0700), 0);
    write_file(scene, "..1/file", "another directory");
    for (int i = 0; i < 6; i++) {
        assert_int_equal(symlink(i % 2 == 0 ? "..1" : "..0", path_of(scene, "..tmp")), 0);
        move(scene, "..tmp", "..data");
        expect_told(scene, true);
        count_watches(&count, &greatest);
        assert_int_equal(count, 2);
    }
    assert_int_equal(greatest, 2 + 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_changed_before_it_was_watched_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_is_done_to_it_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_at_rest_is_told_when_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(the_directories_change_and_the_descriptor_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
