#include "service/shell/zonefile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Letters, digits, '_', '+', '-' and '/' only, and not from the root: so it names nothing outside the directory. */
static bool is_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 64 || name[0] == '/') return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool is_plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_plain && strchr("_+-/", c) == NULL) return false;
    }
    return true;
}

static int open_file(const char *name)
{
    const char *directory = secure_getenv("TZDIR");
    char path[4096];
    struct stat status;
    if (directory == NULL || directory[0] != '/') directory = "/usr/share/zoneinfo";
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path) return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))) return fd;
    close(fd);
    return -1;
}

enum tly_result tly_zonefile_read(const struct tly_mem *mem, const char *name, struct tly_zone **out)
{
    int fd = is_name(name) ? open_file(name) : -1;
    if (fd < 0) return TLY_NOT_FOUND;
    uint8_t *bytes = malloc(TLY_ZONEFILE_BYTES_MAX);
    size_t n = 0;
    ssize_t got = 1;
    while (bytes != NULL && got > 0 && n < TLY_ZONEFILE_BYTES_MAX) {
        got = read(fd, bytes + n, TLY_ZONEFILE_BYTES_MAX - n);
        if (got > 0) n += (size_t)got;
    }
    close(fd);
    enum tly_result result = bytes != NULL ? tly_zone_new(mem, tly_slice_of(bytes, n), out) : TLY_NOMEM;
    free(bytes);
    return result;
}
