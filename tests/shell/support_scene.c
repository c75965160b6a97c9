#include "tests/shell/support_scene.h"

#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdlib.h>
#include <string.h>

int scene_setup(void **state, const struct tly_protocol *protocol)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (scene == NULL) return -1;
    scene->app = fake_app_new(NULL);
    scene->talk = talk_new(scene->app, protocol);
    *state = scene;
    return 0;
}

int scene_teardown(void **state)
{
    struct scene *scene = *state;
    talk_free(scene->talk);
    fake_app_free(scene->app);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

void scene_cut_everywhere(const struct tly_protocol *protocol, const char *said, const char *answers,
                          bool closes)
{
    for (size_t cut = 0; cut <= strlen(said); cut++) {
        struct tly_app *app = fake_app_new(NULL);
        struct talk *talk = talk_new(app, protocol);
        struct tly_slice got = talk_say_cut(talk, tly_slice_text(said), cut);
        assert_string_equal((const char *)got.p, answers);
        assert_int_equal(talk_left(talk), 0);
        assert_int_equal(talk_is_closed(talk), closes);
        talk_free(talk);
        fake_app_free(app);
    }
}

void scene_byte_by_byte(struct scene *scene, const char *said, const char *answers)
{
    size_t size = strlen(answers) + 64, n = 0;
    char *all = malloc(size);
    assert_non_null(all);
    for (const char *byte = said; *byte != '\0'; byte++) {
        struct tly_slice got = talk_say_bytes(scene->talk, tly_slice_of(byte, 1));
        assert_true(n + got.n < size);
        memcpy(all + n, got.p, got.n);
        n += got.n;
    }
    all[n] = '\0';
    assert_string_equal(all, answers);
    free(all);
}
