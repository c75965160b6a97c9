/* One conversation with a real engine in virtual time, whatever the protocol. */
#ifndef TALLY_TESTS_SHELL_SUPPORT_SCENE_H
#define TALLY_TESTS_SHELL_SUPPORT_SCENE_H

#include "tests/shell/support_fake_app.h"
#include "tests/shell/support_talk.h"

struct scene {
    struct tly_app *app;
    struct talk *talk;
};

/* 0, and the scene in *state. */
int scene_setup(void **state, const struct tly_protocol *protocol);
/* -1 when memory was left. */
int scene_teardown(void **state);

/* Whether `said`, cut in two at every place, each time in a new scene, is answered by `answers` and ends the connection or not. */
void scene_cut_everywhere(const struct tly_protocol *protocol, const char *said, const char *answers,
                          bool closes);
/* Whether `said`, byte by byte, is answered by `answers`. */
void scene_byte_by_byte(struct scene *scene, const char *said, const char *answers);

#endif
