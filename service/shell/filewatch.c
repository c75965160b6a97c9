#include "service/shell/filewatch.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_EVENTS                                                                            \
    (IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB | \
     IN_DELETE_SELF | IN_MOVE_SELF)

/* What a path leads to; equal ones are the same bytes, as far as a file system tells. */
struct identity {
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct tly_filewatch {
    char *path;
    struct identity told, seen; /* as of what was told last, and of the last look */
    int inotify;                /* -1: none */
    int real_number;            /* of the watch on the directory of what the path leads to; -1: none */
    struct event *on_inotify, *look, *rest;
    tly_filewatch_changed *changed;
    void *context;
};

static struct identity identify(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) return (struct identity){.exists = false};
    return (struct identity){.exists = true,
                             .device = status.st_dev,
                             .inode = status.st_ino,
                             .size = status.st_size,
                             .modified = status.st_mtim,
                             .changed = status.st_ctim};
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
    if (!a->exists || !b->exists) return a->exists == b->exists;
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           is_same_time(a->modified, b->modified) && is_same_time(a->changed, b->changed);
}

static void set_timer(struct event *timer, unsigned ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    (void)evtimer_add(timer, &in);
}

/* The directory in which this path stands. */
static int watch_directory_of(const struct tly_filewatch *watch, char *path)
{
    char *slash = strrchr(path, '/');
    if (slash == NULL) return inotify_add_watch(watch->inotify, ".", DIRECTORY_EVENTS);
    slash[slash == path ? 1 : 0] = '\0';
    return inotify_add_watch(watch->inotify, path, DIRECTORY_EVENTS);
}

/* That of the path, and that of what it leads to, which may be another each time. */
static void watch_directories(struct tly_filewatch *watch)
{
    char *own = strdup(watch->path), *real = realpath(watch->path, NULL);
    int numbers[2] = {-1, -1};
    if (own != NULL) numbers[0] = watch_directory_of(watch, own);
    if (real != NULL) numbers[1] = watch_directory_of(watch, real);
    free(own);
    free(real);
    int old = watch->real_number;
    if (old >= 0 && old != numbers[0] && old != numbers[1]) (void)inotify_rm_watch(watch->inotify, old);
    watch->real_number = numbers[1];
}

/* What changed has to stay as it is for a moment. */
static void look_at(struct tly_filewatch *watch)
{
    struct identity now = identify(watch->path);
    bool moves = !is_same(&now, &watch->seen);
    watch->seen = now;
    if (!moves) return;
    set_timer(watch->rest, TLY_FILEWATCH_REST_MS);
    if (watch->inotify >= 0) watch_directories(watch);
}

static void on_rest(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct tly_filewatch *watch = argument;
    look_at(watch);
    if (evtimer_pending(watch->rest, NULL) || is_same(&watch->seen, &watch->told)) return;
    watch->told = watch->seen;
    watch->changed(watch->context, watch->seen.exists);
}

static void on_look(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct tly_filewatch *watch = argument;
    look_at(watch);
    set_timer(watch->look, TLY_FILEWATCH_LOOK_MS);
}

static void on_inotify(int fd, short what, void *argument)
{
    (void)what;
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    while (read(fd, events, sizeof events) > 0)
        continue; /* whatever it was, what counts is what the path leads to */
    look_at(argument);
}

/* Without it there is the look once a second. */
static void begin_inotify(struct tly_filewatch *watch, struct event_base *base)
{
    watch->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->inotify < 0) return;
    watch_directories(watch);
    watch->on_inotify = event_new(base, watch->inotify, EV_READ | EV_PERSIST, on_inotify, watch);
    if (watch->on_inotify != NULL) (void)event_add(watch->on_inotify, NULL);
}

struct tly_filewatch *tly_filewatch_new(struct event_base *base, const char *path,
                                        tly_filewatch_changed *changed, void *context)
{
    struct tly_filewatch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return NULL;
    watch->inotify = watch->real_number = -1;
    watch->changed = changed;
    watch->context = context;
    watch->path = strdup(path);
    watch->look = evtimer_new(base, on_look, watch);
    watch->rest = evtimer_new(base, on_rest, watch);
    if (watch->path == NULL || watch->look == NULL || watch->rest == NULL) {
        tly_filewatch_free(watch);
        return NULL;
    }
    begin_inotify(watch, base);
    watch->told = watch->seen = identify(path);
    set_timer(watch->look, TLY_FILEWATCH_LOOK_MS);
    return watch;
}

void tly_filewatch_free(struct tly_filewatch *watch)
{
    if (watch == NULL) return;
    struct event *events[] = {watch->on_inotify, watch->look, watch->rest};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i] != NULL) event_free(events[i]);
    if (watch->inotify >= 0) close(watch->inotify);
    free(watch->path);
    free(watch);
}
