/* Lines for the operator: one per change, printable, bounded, repeats counted. */
#include "service/shell/log.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct scene {
    char *text;
    size_t bytes;
    FILE *out;
    struct tly_log *log;
};

/* In place: the stream keeps the addresses of text and bytes. */
static void scene_init(struct scene *scene, enum tly_level level)
{
    *scene = (struct scene){0};
    scene->out = open_memstream(&scene->text, &scene->bytes);
    assert_non_null(scene->out);
    scene->log = tly_log_new(scene->out, level);
    assert_non_null(scene->log);
}

static void scene_free(struct scene *scene)
{
    tly_log_free(scene->log);
    fclose(scene->out);
    free(scene->text);
}

static size_t lines_of(struct scene *scene)
{
    size_t lines = 0;
    fflush(scene->out);
    for (const char *at = scene->text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    return lines;
}

static void a_line_has_a_time_a_level_and_the_message(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    tly_log(scene.log, TLY_LEVEL_WARN, "peer %s is down", "b");
    fflush(scene.out);
    int year, month, day, hour, minute, second, ms, end = 0;
    int fields = sscanf(scene.text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute,
                        &second, &ms, &end);
    assert_int_equal(fields, 7);
    assert_string_equal(scene.text + end, " warn peer b is down\n");
    scene_free(&scene);
}

static void below_the_level_nothing_is_written(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_WARN);
    tly_log(scene.log, TLY_LEVEL_INFO, "quiet");
    tly_log(scene.log, TLY_LEVEL_ERROR, "loud");
    assert_int_equal(lines_of(&scene), 1);
    scene_free(&scene);
}

static void repeats_are_counted_and_said_once(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    for (int i = 0; i < 1000; i++) {
        tly_log(scene.log, TLY_LEVEL_INFO, "same");
        tly_log(scene.log, TLY_LEVEL_INFO, "other");
    }
    assert_int_equal(lines_of(&scene), 2);
    assert_int_equal(tly_log_suppressed(scene.log), 1998);
    tly_log_free(scene.log);
    scene.log = NULL;
    assert_int_equal(lines_of(&scene), 4);
    assert_non_null(strstr(scene.text, "same (999 more times"));
    scene_free(&scene);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void the_last_line_is_the_latest_news(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    for (int i = 0; i < 3; i++) {
        tly_log(scene.log, TLY_LEVEL_INFO, "up");
        if (i < 2) tly_log(scene.log, TLY_LEVEL_INFO, "down");
    }
    tly_log_turn(scene.log, now_ms());
    assert_int_equal(lines_of(&scene), 2);
    tly_log_turn(scene.log, now_ms() + 1500);
    assert_int_equal(lines_of(&scene), 4);
    const char *down = strstr(scene.text, "down (1 more times");
    assert_non_null(down);
    assert_non_null(strstr(down, "up (2 more times"));
    /* Of what is the last line anyhow it is said at the end of the minute how often it came. */
    tly_log(scene.log, TLY_LEVEL_INFO, "up");
    tly_log_turn(scene.log, now_ms() + 30000);
    assert_int_equal(lines_of(&scene), 4);
    tly_log_turn(scene.log, now_ms() + 61000);
    assert_int_equal(lines_of(&scene), 5);
    scene_free(&scene);
}

static void what_alternates_is_said_less_and_less(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    uint64_t now = now_ms();
    for (uint64_t s = 0; s < 59; s++) {
        tly_log(scene.log, TLY_LEVEL_INFO, "up");
        tly_log(scene.log, TLY_LEVEL_INFO, "down");
        tly_log_turn(scene.log, now + s * 1000 + 900);
    }
    assert_in_range(lines_of(&scene), 4, 20);
    scene_free(&scene);
}

static void what_others_said_stays_on_its_line(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    tly_log(scene.log, TLY_LEVEL_INFO, "peer %s", "x\n2026 error forged\r\x1b[31m\x7f");
    assert_int_equal(lines_of(&scene), 1);
    assert_non_null(strstr(scene.text, "x\\x0a2026 error forged\\x0d\\x1b[31m\\x7f"));
    tly_log(scene.log, TLY_LEVEL_INFO, "%s",
            "\xc2\x9b"
            "31m \xc2\xa9 caf\xc3\xa9");
    assert_int_equal(lines_of(&scene), 2);
    assert_non_null(strstr(scene.text, "\\xc2\\x9b31m \xc2\xa9 caf\xc3\xa9\n"));
    scene_free(&scene);
}

static void a_line_is_bounded(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, TLY_LEVEL_INFO);
    char huge[8192];
    memset(huge, 1, sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    tly_log(scene.log, TLY_LEVEL_INFO, "%s", huge);
    fflush(scene.out);
    assert_in_range(scene.bytes, 900, 1100);
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_a_time_a_level_and_the_message),
        cmocka_unit_test(below_the_level_nothing_is_written),
        cmocka_unit_test(repeats_are_counted_and_said_once),
        cmocka_unit_test(the_last_line_is_the_latest_news),
        cmocka_unit_test(what_alternates_is_said_less_and_less),
        cmocka_unit_test(what_others_said_stays_on_its_line),
        cmocka_unit_test(a_line_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
