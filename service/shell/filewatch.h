/*
 * Tells when what a path leads to has become another: written, replaced, gone, come, or reached through a symbolic link that
 * was turned (as Kubernetes does with the directory of a configmap).  inotify on the path's directory says so at once; a look once a second sees
 * what inotify does not: links further up, and file systems without it.
 *
 * Nothing is told before the path has been at rest for TLY_FILEWATCH_REST_MS, so that a file is not read while it is being written.
 */
#ifndef TALLY_SERVICE_SHELL_FILEWATCH_H
#define TALLY_SERVICE_SHELL_FILEWATCH_H

#include <stdbool.h>

#define TLY_FILEWATCH_REST_MS 100
#define TLY_FILEWATCH_LOOK_MS 1000

struct event_base;
struct tly_filewatch;

/* exists: whether there is anything at the path. */
typedef void tly_filewatch_changed(void *context, bool exists);

/*
 * From now on; what is there now is no change. The path is copied. NULL: no memory. Without inotify (no descriptors, no such system)
 * it looks once a second.
 */
struct tly_filewatch *tly_filewatch_new(struct event_base *base, const char *path,
                                        tly_filewatch_changed *changed, void *context);
void tly_filewatch_free(struct tly_filewatch *watch);

#endif
