/* A node in a program: up, its loop, down. */
#include "service/library/internal.h"
#include "service/shell/libc_mem.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- work for the loop ---- */

void tly_library_perform(struct tally *tally, void (*run)(struct tally *tally, void *argument),
                         void *argument)
{
    if (tally->drive == TALLY_CALLER) {
        run(tally, argument);
        return;
    }
    struct tally_job job = {.run = run, .argument = argument};
    uint64_t one = 1;
    (void)sem_init(&job.done, 0, 0);
    (void)pthread_mutex_lock(&tally->mutex);
    bool is_first = tally->first == NULL;
    *tally->last = &job;
    /* It is taken out before this function returns. */
    /* cppcheck-suppress autoVariables */
    tally->last = &job.next;
    (void)pthread_mutex_unlock(&tally->mutex);
    while (is_first && write(tally->fd, &one, sizeof one) < 0 && errno == EINTR) {}
    while (sem_wait(&job.done) != 0) {}
    (void)sem_destroy(&job.done);
}

static void on_called(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct tally *tally = context;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    (void)pthread_mutex_lock(&tally->mutex);
    struct tally_job *job = tally->first;
    tally->first = NULL;
    tally->last = &tally->first;
    (void)pthread_mutex_unlock(&tally->mutex);
    /* A job ends with its post: who waited for it goes on. */
    for (struct tally_job *next; job != NULL; job = next) {
        next = job->next;
        job->run(tally, job->argument);
        (void)sem_post(&job->done);
    }
}

static void *run_loop(void *context)
{
    struct tally *tally = context;
    (void)event_base_dispatch(tally->app.base);
    return NULL;
}

/* Signals are the program's: its threads get them. */
static bool start_thread(struct tally *tally)
{
    sigset_t all, before;
    tally->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tally->fd < 0) return false;
    tally->called = event_new(tally->app.base, tally->fd, EV_READ | EV_PERSIST, on_called, tally);
    if (tally->called == NULL || event_add(tally->called, NULL) != 0) return false;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&tally->thread, NULL, run_loop, tally);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0;
}

static void on_turn_end(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what, (void)context;
}

void tally_turn(struct tally *tally, unsigned wait_ms)
{
    struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000) * 1000};
    if (wait_ms > 0) (void)event_add(tally->turn_end, &wait);
    (void)event_base_loop(tally->app.base, wait_ms > 0 ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
    (void)event_del(tally->turn_end);
}

/* ---- up ---- */

/* What a program has not asked for is not there. */
static const char *const quiet[] = {"resp=none", "http=none", "peers=none", "data=none", NULL};

static void free_node(struct tally *tally)
{
    if (tally->called != NULL) event_free(tally->called);
    if (tally->turn_end != NULL) event_free(tally->turn_end);
    tly_app_close(&tally->app);
    if (tally->fd >= 0) (void)close(tally->fd);
    (void)pthread_mutex_destroy(&tally->mutex);
    free(tally);
}

static bool start(struct tally *tally, const struct tly_config_sources *sources, struct tly_rules *rules,
                  struct tly_config_error *error)
{
    struct tly_app *app = &tally->app;
    app->log = tly_log_new(stderr, app->config.level);
    app->base = event_base_new();
    if (app->log == NULL || app->base == NULL) {
        tly_rules_free(rules);
        return false;
    }
    tally->turn_end = event_new(app->base, -1, 0, on_turn_end, NULL);
    if (!tly_app_start(app, sources, rules, error)) return false;
    if (tally->turn_end != NULL && (tally->drive == TALLY_CALLER || start_thread(tally))) return true;
    (void)snprintf(error->text, sizeof error->text, "no thread can be started");
    return false;
}

struct tally *tally_open(const struct tally_options *options, char *error, size_t error_bytes)
{
    struct tly_config_error fault = {"out of memory"};
    struct tly_mem mem = tly_libc_mem();
    struct tly_config_sources sources = {
        .defaults = quiet, .file = options->file, .options = options->settings};
    struct tly_rules *rules;
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL) goto say;
    tally->fd = -1;
    tally->drive = options->drive;
    tally->last = &tally->first;
    (void)pthread_mutex_init(&tally->mutex, NULL);
    if (tly_config_read(&tally->app.config, &sources, &mem, &rules, &fault) &&
        start(tally, &sources, rules, &fault))
        return tally;
    free_node(tally);
say:
    if (error_bytes > 0) (void)snprintf(error, error_bytes, "%s", fault.text);
    return NULL;
}

const char *tally_address(struct tally *tally, const char *door)
{
    return tly_app_address(&tally->app, door);
}

/* ---- down ---- */

/* In the loop, for that is what it ends when all is said. */
static void on_stop(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    tly_app_stop(context);
}

static void stop(struct tally *tally, void *argument)
{
    static const struct timeval now = {0, 0};
    (void)argument;
    if (event_base_once(tally->app.base, -1, EV_TIMEOUT, on_stop, &tally->app, &now) != 0)
        (void)event_base_loopbreak(tally->app.base);
}

void tally_close(struct tally *tally)
{
    if (tally == NULL) return;
    tly_library_perform(tally, stop, NULL);
    if (tally->drive == TALLY_CALLER)
        (void)event_base_dispatch(tally->app.base);
    else
        (void)pthread_join(tally->thread, NULL);
    free_node(tally);
}
