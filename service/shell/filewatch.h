/*
 * Tells when what a path leads to has become another: written, replaced, gone, come, or reached through a symbolic link that
 * was turned (as Kubernetes does with the directory of a configmap).  inotify on the path's directory says so at once; a look from time to time sees
 * what inotify does not: links further up, and file systems without it.  Whoever watches more than one path says itself what there is.
 *
 * Nothing is told before all has been at rest for TLY_FILEWATCH_REST_MS, so that a file is not read while it is being written.
 */
#ifndef TALLY_SERVICE_SHELL_FILEWATCH_H
#define TALLY_SERVICE_SHELL_FILEWATCH_H

#include <stdbool.h>
#include <stdint.h>

#define TLY_FILEWATCH_REST_MS 100
/* With the rest, and some time to read: within a second. */
#define TLY_FILEWATCH_LOOK_MS 800

struct event_base;
struct stat;
struct tly_filewatch;

/* exists: whether there is anything at the path. */
typedef void tly_filewatch_changed(void *context, bool exists);

/*
 * From now on; what is there now is no change. The path is copied. NULL: no memory. Without inotify (no descriptors, no such system)
 * it only looks.
 */
struct tly_filewatch *tly_filewatch_new(struct event_base *base, const char *path,
                                        tly_filewatch_changed *changed, void *context);
/* What was known before has this print: if it is another by now, that is a change. */
void tly_filewatch_as_of(struct tly_filewatch *watch, uint64_t print);
void tly_filewatch_free(struct tly_filewatch *watch);

/* What is watched that is more than one path. */
struct tly_filewatched {
    /* Another number when what is there is another; 0: there is nothing. */
    uint64_t (*print)(void *context);
    /* Names the directories in which something may change, with tly_filewatch_directory. */
    void (*directories)(void *context, struct tly_filewatch *watch);
    tly_filewatch_changed *changed;
    void *context;
};

/* The same, of that. */
struct tly_filewatch *tly_filewatch_new_of(struct event_base *base, const struct tly_filewatched *what);
void tly_filewatch_directory(struct tly_filewatch *watch, const char *path);
/* A print with that of a file added to it: equal ones are the same bytes, as far as a file system tells. Never 0. */
uint64_t tly_filewatch_print(uint64_t print, const char *path, const struct stat *status);

#endif
