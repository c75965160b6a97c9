/* Many calls at once say what they would say one by one. */
#include "service/shell/volley.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES_MAX 3000

/* Pairs of sockets: the first of each is a shot's, the second the test's. */
struct scene {
    int ours[TLY_VOLLEY_MAX], others[TLY_VOLLEY_MAX];
    struct tly_shot shots[TLY_VOLLEY_MAX];
    unsigned char bytes[TLY_VOLLEY_MAX][BYTES_MAX];
};

enum other { SPEAKS, IS_SILENT, HAS_ENDED, IS_GONE, IS_FULL, OTHERS };

static void fill(int fd)
{
    static const char many[65536];
    while (send(fd, many, sizeof many, MSG_DONTWAIT) > 0) {}
    assert_int_equal(errno, EAGAIN);
}

/* One socket and what is to be done with it: of the same numbers the same is made. */
static void make(struct scene *scene, size_t i, struct test_rng rng)
{
    int pair[2];
    char said[BYTES_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    scene->ours[i] = pair[0];
    scene->others[i] = pair[1];
    memset(said, 'a' + (int)i, sizeof said);
    bool is_send = test_rng_below(&rng, 2) == 0;
    size_t n = 1 + (size_t)test_rng_below(&rng, BYTES_MAX),
           said_n = 1 + (size_t)test_rng_below(&rng, BYTES_MAX);
    switch ((enum other)test_rng_below(&rng, OTHERS)) {
    case SPEAKS: assert_int_equal(send(pair[1], said, said_n, 0), said_n); break;
    case HAS_ENDED: assert_int_equal(shutdown(pair[1], SHUT_RDWR), 0); break;
    case IS_GONE:
        assert_int_equal(close(pair[1]), 0);
        scene->others[i] = -1;
        break;
    case IS_FULL: fill(pair[0]); break;
    case IS_SILENT:
    case OTHERS: break;
    }
    memset(scene->bytes[i], 'A' + (int)i, sizeof scene->bytes[i]);
    scene->shots[i] = (struct tly_shot){is_send, pair[0], scene->bytes[i], n, 12345};
}

static void end(struct scene *scene, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(close(scene->ours[i]), 0);
        if (scene->others[i] >= 0) assert_int_equal(close(scene->others[i]), 0);
    }
}

static void must_be_alike(const struct scene *scene, const struct scene *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct tly_shot *shot = &scene->shots[i];
        assert_int_equal(shot->result, expected->shots[i].result);
        assert_memory_equal(scene->bytes[i], expected->bytes[i], BYTES_MAX);
        if (!shot->is_send || shot->result <= 0) continue;
        unsigned char heard[BYTES_MAX];
        assert_int_equal(recv(scene->others[i], heard, sizeof heard, MSG_DONTWAIT), shot->result);
        assert_memory_equal(heard, scene->bytes[i], (size_t)shot->result);
    }
}

static void a_volley_says_what_its_calls_would_say(void **state)
{
    struct tly_volley *volley = *state;
    static struct scene scene, expected;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t seen[3] = {0};
    for (size_t round = 0; round < 300; round++) {
        size_t count = 1 + (size_t)test_rng_below(&rng, TLY_VOLLEY_MAX);
        for (size_t i = 0; i < count; i++) {
            struct test_rng own = test_rng_of(test_rng_next(&rng));
            make(&scene, i, own);
            make(&expected, i, own);
        }
        tly_volley_fire(volley, scene.shots, count);
        tly_volley_fire(NULL, expected.shots, count);
        must_be_alike(&scene, &expected, count);
        for (size_t i = 0; i < count; i++)
            seen[scene.shots[i].result < 0 ? 0 : scene.shots[i].result == 0 ? 1 : 2]++;
        end(&scene, count);
        end(&expected, count);
    }
    assert_true(seen[0] > 100 && seen[1] > 100 && seen[2] > 100);
}

static void what_is_no_socket_spoils_nothing_for_the_others(void **state)
{
    struct tly_volley *volley = *state;
    int pair[2];
    char heard[3] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct tly_shot shots[] = {
        {true, pair[0], (char[]){"a"}, 1, 0},
        {true, -1, (char[]){"b"}, 1, 0},
        {true, pair[0], (char[]){"c"}, 1, 0},
    };
    tly_volley_fire(volley, shots, 3);
    assert_int_equal(shots[0].result, 1);
    assert_int_equal(shots[1].result, -EBADF);
    assert_int_equal(shots[2].result, 1);
    assert_int_equal(recv(pair[1], heard, sizeof heard, MSG_DONTWAIT), 2);
    assert_memory_equal(heard, "ac", 2);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
}

static void a_volley_of_none_is_none(void **state)
{
    tly_volley_fire(*state, NULL, 0);
    tly_volley_fire(NULL, NULL, 0);
    tly_volley_free(NULL);
}

static int teardown(void **state)
{
    tly_volley_free(*state);
    return 0;
}

int main(void)
{
    struct tly_volley *volley = tly_volley_new();
    if (volley == NULL) {
        puts("the kernel has no io_uring, or does not let us");
        return 77;
    }
    struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_volley_says_what_its_calls_would_say, volley),
        cmocka_unit_test_prestate(what_is_no_socket_spoils_nothing_for_the_others, volley),
        cmocka_unit_test_prestate_setup_teardown(a_volley_of_none_is_none, NULL, teardown, volley),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
