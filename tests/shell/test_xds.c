/* The connection to a management server, whose bytes are written here by hand: real sockets, and one loop around both ends. */
#include "service/shell/xds.h"

#include "service/shell/tls.h"
#include "tests/shell/support_fake_app.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 10

/* SETTINGS; HEADERS of the call: ":status: 200", and 404. */
#define GREETING "\0\0\0\4\0\0\0\0\0"
#define HEADERS "\0\0\1\1\4\0\0\0\1\x88"
#define NOT_FOUND "\0\0\1\1\4\0\0\0\1\x8d"
/* HEADERS with END_STREAM: "grpc-status: 14". */
#define TRAILERS                 \
    "\0\0\x10\1\5\0\0\0\1\0\x0b" \
    "grpc-status"                \
    "\2"                         \
    "14"
#define BYTES(text) text, sizeof text - 1

struct scene {
    struct event_base *base;
    struct tly_app *app;
    struct tly_xds *xds;
    int listener, fd; /* fd: the connection that came last, or -1 */
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    struct tly_xds_settings settings = {.node_id = "n", .retry_ms = 1};
    struct tly_tls_error error;
    assert_non_null(scene);
    scene->fd = -1;
    scene->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(scene->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(scene->listener, 8), 0);
    assert_int_equal(getsockname(scene->listener, (struct sockaddr *)&at, &n), 0);
    (void)snprintf(settings.server, sizeof settings.server, "127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    scene->base = event_base_new();
    scene->app = fake_app_new(scene->base);
    scene->xds = tly_xds_new(scene->app, tly_app_rls(scene->app), &settings, &error);
    if (scene->xds == NULL) fail_msg("%s", error.text);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    tly_xds_free(scene->xds);
    if (scene->fd >= 0) (void)close(scene->fd);
    (void)close(scene->listener);
    fake_app_free(scene->app);
    event_base_free(scene->base);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

/* ---- the server ---- */

typedef bool claim(struct scene *scene);

static void until(struct scene *scene, claim *holds)
{
    const time_t end = time(NULL) + PATIENCE_S;
    while (!holds(scene)) {
        if (time(NULL) > end) fail_msg("it did not come to be within %d s", PATIENCE_S);
        assert_true(event_base_loop(scene->base, EVLOOP_NONBLOCK) >= 0);
    }
}

/* A connection has come; the one before it stays open as long as the client leaves it. */
static bool has_come(struct scene *scene)
{
    int fd = accept(scene->listener, NULL, NULL);
    if (fd < 0) return false;
    if (scene->fd >= 0) (void)close(scene->fd);
    scene->fd = fd;
    return true;
}

static void say(struct scene *scene, const char *bytes, size_t n)
{
    assert_int_equal(send(scene->fd, bytes, n, MSG_NOSIGNAL), n);
}

static bool is_up(struct scene *scene)
{
    struct tly_xds_stats stats;
    tly_xds_stats(scene->xds, &stats);
    return stats.is_up;
}

static bool is_down(struct scene *scene)
{
    return !is_up(scene);
}

/* ---- scenes ---- */

static void a_call_that_its_server_ends_is_made_again(void **state)
{
    struct scene *scene = *state;
    until(scene, has_come);
    say(scene, BYTES(GREETING HEADERS TRAILERS));
    until(scene, has_come);
}

static void a_server_that_has_no_such_call_is_dialled_again(void **state)
{
    struct scene *scene = *state;
    until(scene, has_come);
    say(scene, BYTES(GREETING NOT_FOUND));
    until(scene, has_come);
}

/* So it is after each new connection, when the version that was taken last is still the newest. */
static void a_server_that_has_nothing_new_to_say_is_up(void **state)
{
    struct scene *scene = *state;
    until(scene, has_come);
    assert_false(is_up(scene));
    say(scene, BYTES(GREETING));
    until(scene, is_up);
    assert_int_equal(shutdown(scene->fd, SHUT_RDWR), 0);
    until(scene, is_down);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_that_its_server_ends_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_has_no_such_call_is_dialled_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_has_nothing_new_to_say_is_up, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
