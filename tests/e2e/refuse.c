/*
 * A disk that refuses, for one process: loaded into it with LD_PRELOAD, each fdatasync fails with EIO while the file REFUSES_IN is there.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By another name here, for the header's declaration names its parameter otherwise. */
int refused_sync(int fd) __asm__("fdatasync");

int refused_sync(int fd)
{
    const char *path = getenv("REFUSES_IN");
    if (path == NULL || access(path, F_OK) != 0) return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}
