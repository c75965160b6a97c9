#include "tests/shell/support_resp.h"

#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

int resp_scene_setup(void **state)
{
    return scene_setup(state, tly_resp_protocol());
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
