/* A conversation in HTTP with a real engine in virtual time. */
#ifndef TALLY_TESTS_SHELL_SUPPORT_HTTP_H
#define TALLY_TESTS_SHELL_SUPPORT_HTTP_H

#include "tests/shell/support_scene.h"

int http_scene_setup(void **state);
#define SCENE(name) cmocka_unit_test_setup_teardown(name, http_scene_setup, scene_teardown)

/* An answer taken apart; good until the next request. */
struct answer {
    int status;
    const char *head; /* with the status line, ended by a zero */
    const char *body;
};

/* A request with these header lines (each with its end; "" for none beside Host) and this body (NULL for none). */
struct answer ask(struct scene *scene, const char *method_and_target, const char *headers, const char *body);
struct answer get(struct scene *scene, const char *target);
struct answer post(struct scene *scene, const char *target, const char *body);
/* What is said as it stands. */
struct answer say(struct scene *scene, const char *text);

/* The value of a header of an answer, or NULL; good until the next call. */
const char *header_of(const struct answer *answer, const char *name);
/* Whether an answer is a problem with this status and code. */
void assert_problem(struct answer answer, int status, const char *code);

#endif
