#include "service/shell/filewatch.h"

#include "crdt/hash.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_EVENTS                                                                            \
    (IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB | \
     IN_DELETE_SELF | IN_MOVE_SELF)

/* Directories, as inotify numbers them. */
struct watched {
    int *list;
    size_t count, capacity;
};

struct tly_filewatch {
    struct tly_filewatched what;
    char *path; /* of the one that is watched, and who is told; NULL: `what` knows all that itself */
    tly_filewatch_changed *path_changed;
    void *path_context;
    uint64_t told, seen; /* as of what was told last, and of the last look */
    int inotify;         /* -1: none */
    struct watched watched;
    struct event_base *base;
    struct event *on_inotify, *look, *rest;
};

uint64_t tly_filewatch_print(uint64_t print, const char *path, const struct stat *status)
{
    struct tly_hash_key key;
    tly_hash_key_from(&key, tly_slice_text("files"));
    const uint64_t facts[] = {print,
                              tly_hash(&key, tly_slice_text(path)),
                              (uint64_t)status->st_dev,
                              (uint64_t)status->st_ino,
                              (uint64_t)status->st_size,
                              (uint64_t)status->st_mtim.tv_sec,
                              (uint64_t)status->st_mtim.tv_nsec,
                              (uint64_t)status->st_ctim.tv_sec,
                              (uint64_t)status->st_ctim.tv_nsec};
    return tly_hash(&key, tly_slice_of(facts, sizeof facts)) | 1;
}

static void set_timer(struct event *timer, unsigned ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    (void)evtimer_add(timer, &in);
}

/* ---- one path ---- */

static uint64_t print_of_path(void *context)
{
    const struct tly_filewatch *watch = context;
    struct stat status;
    return stat(watch->path, &status) == 0 ? tly_filewatch_print(0, watch->path, &status) : 0;
}

/* The directory in which this path stands. */
static void watch_directory_of(struct tly_filewatch *watch, char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL) slash[slash == path ? 1 : 0] = '\0';
    tly_filewatch_directory(watch, slash != NULL ? path : ".");
}

/* That of the path, and that of what it leads to, which may be another each time. */
static void watch_directories_of_path(void *context, struct tly_filewatch *watch)
{
    (void)context;
    char *own = strdup(watch->path), *real = realpath(watch->path, NULL);
    if (own != NULL) watch_directory_of(watch, own);
    if (real != NULL) watch_directory_of(watch, real);
    free(own);
    free(real);
}

static void on_path_changed(void *context, bool exists)
{
    const struct tly_filewatch *watch = context;
    watch->path_changed(watch->path_context, exists);
}

/* ---- looking ---- */

static void look_at(struct tly_filewatch *watch);

static void on_inotify(int fd, short what, void *argument)
{
    (void)what;
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    while (read(fd, events, sizeof events) > 0)
        continue; /* whatever it was, what counts is what there is */
    look_at(argument);
}

static bool has(const struct watched *watched, int number)
{
    for (size_t i = 0; i < watched->count; i++)
        if (watched->list[i] == number) return true;
    return false;
}

/* Without the memory for its number it is watched to the end. */
static void note(struct watched *watched, int number)
{
    if (has(watched, number)) return;
    if (watched->count == watched->capacity) {
        size_t capacity = watched->capacity == 0 ? 4 : 2 * watched->capacity;
        int *list = realloc(watched->list, capacity * sizeof *list);
        if (list == NULL) return;
        watched->list = list;
        watched->capacity = capacity;
    }
    watched->list[watched->count++] = number;
}

void tly_filewatch_directory(struct tly_filewatch *watch, const char *path)
{
    int number = inotify_add_watch(watch->inotify, path, DIRECTORY_EVENTS);
    if (number >= 0) note(&watch->watched, number);
}

static bool open_inotify(struct tly_filewatch *watch)
{
    if (watch->inotify >= 0) return true;
    watch->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->inotify < 0) return false;
    watch->on_inotify = event_new(watch->base, watch->inotify, EV_READ | EV_PERSIST, on_inotify, watch);
    if (watch->on_inotify != NULL) (void)event_add(watch->on_inotify, NULL);
    return true;
}

/*
 * Each time, for the directories may be others by now. The descriptor stays: to close one takes the system ten milliseconds, in which the loop
 * would answer nobody. Without it there is the look.
 */
static void watch_directories(struct tly_filewatch *watch)
{
    if (!open_inotify(watch)) return;
    struct watched before = watch->watched;
    watch->watched = (struct watched){0};
    watch->what.directories(watch->what.context, watch);
    for (size_t i = 0; i < before.count; i++)
        if (!has(&watch->watched, before.list[i])) (void)inotify_rm_watch(watch->inotify, before.list[i]);
    free(before.list);
}

/* What changed has to stay as it is for a moment, and is looked at once more then: also what changed while nobody was told. */
static void look_at(struct tly_filewatch *watch)
{
    uint64_t now = watch->what.print(watch->what.context);
    bool moves = now != watch->seen;
    watch->seen = now;
    if (!moves) return;
    set_timer(watch->rest, TLY_FILEWATCH_REST_MS);
    watch_directories(watch);
}

static void on_rest(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct tly_filewatch *watch = argument;
    look_at(watch);
    if (evtimer_pending(watch->rest, NULL) || watch->seen == watch->told) return;
    watch->told = watch->seen;
    watch->what.changed(watch->what.context, watch->seen != 0);
}

static void on_look(int fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct tly_filewatch *watch = argument;
    look_at(watch);
    set_timer(watch->look, TLY_FILEWATCH_LOOK_MS);
}

/* ---- its life ---- */

static bool begin(struct tly_filewatch *watch, struct event_base *base)
{
    watch->base = base;
    watch->look = evtimer_new(base, on_look, watch);
    watch->rest = evtimer_new(base, on_rest, watch);
    if (watch->look == NULL || watch->rest == NULL) return false;
    watch_directories(watch);
    watch->told = watch->seen = watch->what.print(watch->what.context);
    set_timer(watch->look, TLY_FILEWATCH_LOOK_MS);
    return true;
}

struct tly_filewatch *tly_filewatch_new_of(struct event_base *base, const struct tly_filewatched *what)
{
    struct tly_filewatch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return NULL;
    watch->what = *what;
    watch->inotify = -1;
    if (begin(watch, base)) return watch;
    tly_filewatch_free(watch);
    return NULL;
}

struct tly_filewatch *tly_filewatch_new(struct event_base *base, const char *path,
                                        tly_filewatch_changed *changed, void *context)
{
    struct tly_filewatch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return NULL;
    watch->what = (struct tly_filewatched){print_of_path, watch_directories_of_path, on_path_changed, watch};
    watch->inotify = -1;
    watch->path = strdup(path);
    watch->path_changed = changed;
    watch->path_context = context;
    if (watch->path != NULL && begin(watch, base)) return watch;
    tly_filewatch_free(watch);
    return NULL;
}

void tly_filewatch_as_of(struct tly_filewatch *watch, uint64_t print)
{
    watch->told = print;
    if (watch->seen != print) set_timer(watch->rest, TLY_FILEWATCH_REST_MS);
}

void tly_filewatch_free(struct tly_filewatch *watch)
{
    if (watch == NULL) return;
    if (watch->on_inotify != NULL) event_free(watch->on_inotify);
    if (watch->inotify >= 0) (void)close(watch->inotify);
    free(watch->watched.list);
    if (watch->look != NULL) event_free(watch->look);
    if (watch->rest != NULL) event_free(watch->rest);
    free(watch->path);
    free(watch);
}
