/*
 * A disk that refuses, for one process: loaded into it with LD_PRELOAD, each fdatasync fails with EIO if the file REFUSES_IN is there,
 * until the process leaves its event loop.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By other names here, for the headers' declarations name their parameters otherwise. */
int refused_sync(int fd) __asm__("fdatasync");
int left_loop(void *base) __asm__("event_base_loopbreak");

static atomic_bool has_left;

int left_loop(void *base)
{
    int (*leave)(void *) = NULL;
    void *found = dlsym(RTLD_NEXT, "event_base_loopbreak");
    memcpy(&leave, &found, sizeof leave);
    has_left = true;
    return leave(base);
}

int refused_sync(int fd)
{
    const char *path = getenv("REFUSES_IN");
    if (path == NULL || has_left || access(path, F_OK) != 0) return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}
