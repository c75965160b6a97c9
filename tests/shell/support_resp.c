#include "tests/shell/support_resp.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

int resp_scene_setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (scene == NULL) return -1;
    scene->app = fake_app_new(NULL);
    scene->talk = talk_new(scene->app, tly_resp_protocol());
    *state = scene;
    return 0;
}

int resp_scene_teardown(void **state)
{
    struct scene *scene = *state;
    talk_free(scene->talk);
    fake_app_free(scene->app);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

void converse(struct scene *scene, const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char said[2048];
        (void)snprintf(said, sizeof said, "%s\r\n", lines[i].said);
        const char *answer = talk_say(scene->talk, said);
        if (strcmp(answer, lines[i].answer) != 0) print_message("said: %s\n", lines[i].said);
        assert_string_equal(answer, lines[i].answer);
    }
}
