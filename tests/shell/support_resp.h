/* A conversation in RESP with a real engine in virtual time. */
#ifndef TALLY_TESTS_SHELL_SUPPORT_RESP_H
#define TALLY_TESTS_SHELL_SUPPORT_RESP_H

#include "tests/shell/support_scene.h"

int resp_scene_setup(void **state);
#define SCENE(name) cmocka_unit_test_setup_teardown(name, resp_scene_setup, scene_teardown)

/* What is said, without its line end, and the whole answer. */
struct line {
    const char *said, *answer;
};

void converse(struct scene *scene, const struct line *lines, size_t count);

/* In a test: CONVERSE({said, answer}, …). */
#define CONVERSE(...)                                             \
    do {                                                          \
        const struct line script[] = {__VA_ARGS__};               \
        converse(*state, script, sizeof script / sizeof *script); \
    } while (0)

#define WRONGTYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"

#endif
