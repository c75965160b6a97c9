/* The directory of Envoy's rules: however it becomes another, the rules do too, and what cannot be loaded changes nothing. */
#include "service/shell/rls_files.h"
#include "tests/shell/support_fake_app.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* DIRECTORY/current -> one, or two; the rules in one/sub/config. */
struct scene {
    struct event_base *base;
    struct tly_app *app;
    struct tly_rls *rls;
    struct tly_rls_files *files;
    struct tly_rls_service_stats stats; /* as of the last look */
    char directory[64];
};

static const char *path_of(const struct scene *scene, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", scene->directory, name);
    return path;
}

/* So many descriptors in a domain of that name. */
static void write_rules(const struct scene *scene, const char *name, const char *domain, unsigned count)
{
    FILE *file = fopen(path_of(scene, "new"), "w");
    assert_non_null(file);
    assert_true(fprintf(file, "domain: %s\ndescriptors:\n", domain) > 0);
    for (unsigned i = 0; i < count; i++)
        assert_true(fprintf(file, "  - key: k%u\n", i) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(path_of(scene, "new"), path_of(scene, name)), 0);
}

static void turn_link(const struct scene *scene, const char *to)
{
    assert_int_equal(symlink(to, path_of(scene, "new")), 0);
    assert_int_equal(rename(path_of(scene, "new"), path_of(scene, "current")), 0);
}

static int setup(void **state)
{
    static const char *const directories[] = {"one", "one/sub", "one/sub/config", "one/sub/config/more",
                                              "two", "two/sub", "two/sub/config"};
    static struct scene scene;
    struct tly_rls_settings settings;
    struct tly_rls_place place = {.subdirectory = "sub", .app_directory = "config"};
    scene = (struct scene){.directory = "/tmp/tally-rls-files-XXXXXX"};
    assert_non_null(mkdtemp(scene.directory));
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        assert_int_equal(mkdir(path_of(&scene, directories[i]), 0700), 0);
    write_rules(&scene, "one/sub/config/a.yaml", "a", 1);
    write_rules(&scene, "two/sub/config/a.yaml", "a", 7);
    turn_link(&scene, "one");
    (void)snprintf(place.root, sizeof place.root, "%s/current", scene.directory);
    scene.base = event_base_new();
    scene.app = fake_app_new(scene.base);
    tly_rls_settings_init(&settings);
    fake_app_rls(scene.app, &settings, NULL);
    scene.rls = tly_app_rls(scene.app);
    scene.files = tly_rls_files_new(scene.app, scene.rls, &place);
    assert_non_null(scene.files);
    tly_rls_service_stats(scene.rls, &scene.stats);
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    static const char *const names[] = {"one/sub/config/more/b.yaml",
                                        "one/sub/config/more",
                                        "one/sub/config/a.yaml",
                                        "one/sub/config",
                                        "one/sub",
                                        "one",
                                        "two/sub/config/a.yaml",
                                        "two/sub/config",
                                        "two/sub",
                                        "two",
                                        "current"};
    tly_rls_files_free(scene->files);
    fake_app_free(scene->app);
    event_base_free(scene->base);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)remove(path_of(scene, names[i]));
    return rmdir(scene->directory) == 0 && test_mem_live() == 0 ? 0 : -1;
}

/* The look comes anyhow: each turn of the loop ends. */
static void expect_loads(struct scene *scene, unsigned good, unsigned bad)
{
    struct tly_rls_service_stats *stats = &scene->stats, before = *stats;
    uint64_t want = before.config_load_success + before.config_load_error + 1;
    for (int turns = 0; turns < 10000; turns++) {
        tly_rls_service_stats(scene->rls, stats);
        if (stats->config_load_success + stats->config_load_error >= want) break;
        assert_int_equal(event_base_loop(scene->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(stats->config_load_success, before.config_load_success + good);
    assert_int_equal(stats->config_load_error, before.config_load_error + bad);
}

static size_t rules_of(const struct scene *scene)
{
    return tly_rls_config_rule_count(tly_rls_config(scene->rls));
}

static void whatever_changes_is_loaded(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(rules_of(scene), 1);
    write_rules(scene, "one/sub/config/a.yaml", "a", 2);
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 2);
    write_rules(scene, "one/sub/config/more/b.yaml", "b", 3);
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 5);
    turn_link(scene, "two");
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 7);
    /* What the link leads to now is what is watched. */
    write_rules(scene, "two/sub/config/a.yaml", "a", 8);
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 8);
}

static void what_cannot_be_loaded_is_counted_and_changes_nothing(void **state)
{
    struct scene *scene = *state;
    write_rules(scene, "one/sub/config/more/b.yaml", "a", 3); /* the domain of the other file */
    expect_loads(scene, 0, 1);
    assert_int_equal(rules_of(scene), 1);
    turn_link(scene, "nowhere");
    expect_loads(scene, 0, 1);
    assert_int_equal(rules_of(scene), 1);
    turn_link(scene, "two");
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 7);
}

#define COMMENT_BYTES ((size_t)1000 * 1024)

/* A directory of so many files with so many bytes of comment each, loaded once: NULL, or what is wrong. */
static const char *load_many(struct scene *scene, size_t files, size_t bytes)
{
    static struct tly_rls_error error;
    static char comment[COMMENT_BYTES];
    memset(comment, '#', sizeof comment);
    struct tly_rls_place place = {.ignores_dot_files = true};
    struct tly_mem mem = test_mem();
    char name[48];
    (void)snprintf(place.root, sizeof place.root, "%s/two/sub", scene->directory);
    for (size_t i = 0; i < files; i++) {
        (void)snprintf(name, sizeof name, "two/sub/%04zu.yaml", i);
        FILE *file = fopen(path_of(scene, name), "w");
        assert_non_null(file);
        assert_true(fprintf(file, "domain: d%zu\n", i) > 0);
        assert_int_equal(fwrite(comment, 1, bytes, file), bytes);
        assert_int_equal(fclose(file), 0);
    }
    struct tly_rls_config *config = tly_rls_files_load(&place, &mem, &error);
    bool is_good = config != NULL;
    tly_rls_config_free(config);
    for (size_t i = 0; i < files; i++) {
        (void)snprintf(name, sizeof name, "two/sub/%04zu.yaml", i);
        (void)unlink(path_of(scene, name));
    }
    return is_good ? NULL : error.text;
}

static void so_many_files_are_too_many(void **state)
{
    struct scene *scene = *state;
    assert_null(load_many(scene, TLY_RLS_FILES_MAX - 1, 0)); /* one is there */
    const char *why = load_many(scene, TLY_RLS_FILES_MAX, 0);
    assert_non_null(why);
    assert_non_null(strstr(why, "more than 1024 files"));
}

static void so_many_bytes_are_too_many(void **state)
{
    struct scene *scene = *state;
    size_t count = TLY_RLS_FILES_BYTES_MAX / COMMENT_BYTES;
    assert_null(load_many(scene, count, COMMENT_BYTES));
    const char *why = load_many(scene, count + 1, COMMENT_BYTES);
    assert_non_null(why);
    assert_non_null(strstr(why, "all files together are larger than 16 MiB"));
}

static void it_is_loaded_again_when_it_is_told_to(void **state)
{
    struct scene *scene = *state;
    tly_rls_files_reload(scene->files);
    expect_loads(scene, 1, 0);
    assert_int_equal(rules_of(scene), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_changes_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_loaded_is_counted_and_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(so_many_files_are_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(so_many_bytes_are_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_loaded_again_when_it_is_told_to, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
