/*
 * Storage in a directory.  Beside the objects there are only
 *
 *     LOCK        flock of the daemon, its pid inside; its inode tells this directory from a copy
 *     .claim      flock by which those who put, replace and remove take turns
 *     .new-XXXX   an object being written aside; what a crash left is removed by the next holder of LOCK
 *
 * Nothing is opened through a symbolic link below the top.
 */
#include "service/shell/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASIDE_PREFIX ".new-"
#define ASIDE_BYTES 32

/* A log and a snapshot grow at a time. */
#define APPENDED 2

/* An object that was appended to is kept open: a failed sync is told only to those who had it open. */
struct appended {
    int fd;
    char name[TLY_STORAGE_NAME_MAX + 1]; /* "": none */
    bool is_new;                         /* its directory is not synced yet */
    uint64_t used;
    bool has_room;       /* behind its end: it is written at its end, not at that of the file */
    bool is_lost;        /* another process writes it too, and where is not known any more */
    uint64_t end;        /* if it has room */
    uint64_t file_end;   /* with the room */
    uint64_t no_room_to; /* there was no space for more; tried again once it is as long as this */
};

struct directory {
    char *path;
    int top;
    int lock;
    struct appended appended[APPENDED];
    uint64_t appends;
    int mapped; /* the object that is mapped; -1: none */
    char error[512];
    bool is_full; /* that is why */
};

/* Where an object is: its directory, open, and its name there. */
struct place {
    int directory;
    const char *leaf;
};

/* ---- failures ---- */

static enum tly_result fail_because(struct directory *d, const char *name, const char *what, const char *why)
{
    (void)snprintf(d->error, sizeof d->error, "%s/%s: %s: %s", d->path, name, what, why);
    return TLY_IO;
}

/* What to do about it; "": what it says is all. */
static const char *advice_for(int reason)
{
    switch (reason) {
    case EACCES:
    case EPERM: return ": let the user that runs tallyd read and write it, or give another data directory";
    case EROFS: return ": the file system is read-only: mount it writable, or give another data directory";
    case ENOSPC:
    case EDQUOT: return ": free space there, or give another data directory";
    case EIO: return ": mend the disk, or give another data directory";
    case ENOTDIR: return ": give a directory as data directory, not a file";
    default: return "";
    }
}

/* As errno says. */
static enum tly_result fail(struct directory *d, const char *name, const char *what)
{
    int reason = errno;
    char why[200];
    d->is_full = reason == ENOSPC || reason == EDQUOT;
    (void)snprintf(why, sizeof why, "%s%s", strerror(reason), advice_for(reason));
    (void)fail_because(d, name, what, why);
    return reason == ENOENT ? TLY_NOT_FOUND : TLY_IO;
}

/* The same where absence is no answer. */
static enum tly_result fail_io(struct directory *d, const char *name, const char *what)
{
    (void)fail(d, name, what);
    return TLY_IO;
}

static void close_quietly(int fd)
{
    int reason = errno;
    if (fd >= 0) (void)close(fd);
    errno = reason;
}

/* ---- places ---- */

/* The directory of the next part of a name; -1 with errno. */
static int enter_part(int at, const char *part, size_t n, bool make)
{
    char name[TLY_STORAGE_NAME_MAX + 1];
    memcpy(name, part, n);
    name[n] = '\0';
    if (make && mkdirat(at, name, 0700) == 0 && fsync(at) != 0) return -1;
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Makes the directories on the way if wanted. The caller closes place->directory. */
static enum tly_result find_place(struct directory *d, const char *name, bool make, struct place *place)
{
    d->error[0] = '\0';
    int at = fcntl(d->top, F_DUPFD_CLOEXEC, 0);
    const char *part = name;
    for (const char *slash; at >= 0 && (slash = strchr(part, '/')) != NULL; part = slash + 1) {
        int next = enter_part(at, part, (size_t)(slash - part), make);
        close_quietly(at);
        at = next;
    }
    if (at < 0) return fail(d, name, "open directory");
    *place = (struct place){at, part};
    return TLY_OK;
}

static enum tly_result check_is_file(struct directory *d, const char *name, int fd)
{
    struct stat is;
    if (fstat(fd, &is) != 0) return fail(d, name, "stat");
    return S_ISREG(is.st_mode) ? TLY_OK : fail_because(d, name, "open", "not a regular file");
}

/* *fd is set only with TLY_OK. */
static enum tly_result open_object(struct directory *d, const char *name, int flags, int *fd)
{
    struct place place;
    enum tly_result result = find_place(d, name, (flags & O_CREAT) != 0, &place);
    if (result != TLY_OK) return result;
    int opened = openat(place.directory, place.leaf, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    result = opened >= 0 ? check_is_file(d, name, opened) : fail(d, name, "open");
    close_quietly(place.directory);
    if (result == TLY_OK)
        *fd = opened;
    else
        close_quietly(opened);
    return result;
}

static bool write_all(int fd, struct tly_slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes = tly_slice_of(bytes.p + n, bytes.n - (size_t)n);
    }
    return true;
}

/* Up to size bytes from offset; -1 with errno. */
static ssize_t read_all(int fd, uint64_t offset, uint8_t *bytes, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = pread(fd, bytes + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* ---- whole objects ---- */

/* False, with errno: the room is still there. */
static bool give_room_back(struct appended *appended)
{
    if (!appended->has_room || appended->is_lost) return true;
    if (ftruncate(appended->fd, (off_t)appended->end) != 0) return false;
    appended->file_end = appended->end;
    return true;
}

/* Room that cannot be given back stays, as after a crash. */
static void forget_appended(struct appended *appended)
{
    if (appended->fd >= 0) {
        (void)!give_room_back(appended);
        (void)close(appended->fd);
    }
    *appended = (struct appended){.fd = -1};
}

/* NULL: it is not open. */
static struct appended *find_appended(struct directory *d, const char *name)
{
    for (size_t i = 0; i < APPENDED; i++)
        if (strcmp(d->appended[i].name, name) == 0) return &d->appended[i];
    return NULL;
}

/* Waits until no other put, replace or remove is under way; closing *turn ends it. */
static enum tly_result take_turn(struct directory *d, const char *name, int *turn)
{
    d->error[0] = '\0';
    struct appended *appended = find_appended(d, name);
    if (appended != NULL) forget_appended(appended);
    *turn = openat(d->top, ".claim", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*turn < 0) return fail_io(d, ".claim", "open");
    int failed;
    do
        failed = flock(*turn, LOCK_EX);
    while (failed != 0 && errno == EINTR);
    if (failed == 0) return TLY_OK;
    (void)fail(d, ".claim", "flock");
    close_quietly(*turn);
    return TLY_IO;
}

/* A new file at the top that holds the bytes, synced; its name in `aside`. */
static enum tly_result write_aside(struct directory *d, struct tly_slice bytes, char aside[ASIDE_BYTES])
{
    uint64_t number;
    arc4random_buf(&number, sizeof number);
    (void)snprintf(aside, ASIDE_BYTES, ASIDE_PREFIX "%016llx", (unsigned long long)number);
    int fd = openat(d->top, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return fail_io(d, aside, "create");
    bool written = write_all(fd, bytes) && fsync(fd) == 0;
    if (!written) (void)fail(d, aside, "write");
    if (close(fd) != 0 && written) {
        (void)fail(d, aside, "close");
        written = false;
    }
    if (!written) (void)unlinkat(d->top, aside, 0);
    return written ? TLY_OK : TLY_IO;
}

/* The name is taken by one of all who try; EEXIST for the others. */
static int rename_if_absent(int from, const char *aside, const struct place *to)
{
    int failed = renameat2(from, aside, to->directory, to->leaf, RENAME_NOREPLACE);
    if (failed == 0 || (errno != EINVAL && errno != ENOSYS)) return failed;
    failed = linkat(from, aside, to->directory, to->leaf, 0);
    if (failed == 0) (void)unlinkat(from, aside, 0);
    return failed;
}

static enum tly_result publish(struct directory *d, const char *name, const char *aside, bool if_absent)
{
    struct place to;
    enum tly_result result = find_place(d, name, true, &to);
    if (result != TLY_OK) return TLY_IO;
    int failed =
        if_absent ? rename_if_absent(d->top, aside, &to) : renameat(d->top, aside, to.directory, to.leaf);
    if (failed != 0 && if_absent && errno == EEXIST)
        result = TLY_STALE;
    else if (failed != 0 || fsync(to.directory) != 0)
        result = fail_io(d, name, failed != 0 ? "rename" : "sync of its directory");
    close_quietly(to.directory);
    return result;
}

/* With the turn taken. */
static enum tly_result write_whole(struct directory *d, const char *name, struct tly_slice bytes,
                                   bool if_absent)
{
    char aside[ASIDE_BYTES];
    enum tly_result result = write_aside(d, bytes, aside);
    if (result != TLY_OK) return result;
    result = publish(d, name, aside, if_absent);
    if (result != TLY_OK) (void)unlinkat(d->top, aside, 0);
    return result;
}

static enum tly_result put(void *self, const char *name, struct tly_slice bytes)
{
    struct directory *d = self;
    int turn;
    enum tly_result result = take_turn(d, name, &turn);
    if (result != TLY_OK) return result;
    result = write_whole(d, name, bytes, false);
    close_quietly(turn);
    return result;
}

static enum tly_result put_absent(void *self, const char *name, struct tly_slice bytes)
{
    struct directory *d = self;
    int turn;
    enum tly_result result = take_turn(d, name, &turn);
    if (result != TLY_OK) return result;
    result = write_whole(d, name, bytes, true);
    close_quietly(turn);
    return result;
}

static enum tly_result read_whole(struct directory *d, const char *name, int fd, uint64_t *revision)
{
    struct stat is;
    if (fstat(fd, &is) != 0) return fail(d, name, "stat");
    size_t size = (size_t)is.st_size;
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL) return TLY_NOMEM;
    ssize_t got = read_all(fd, 0, bytes, size);
    enum tly_result result = got < 0 ? fail(d, name, "read") : TLY_OK;
    if (got >= 0) *revision = tly_storage_revision_of(tly_slice_of(bytes, (size_t)got));
    free(bytes);
    return result;
}

/* TLY_NOT_FOUND if there is no such object. */
static enum tly_result find_revision(struct directory *d, const char *name, uint64_t *revision)
{
    int fd;
    enum tly_result result = open_object(d, name, O_RDONLY, &fd);
    if (result != TLY_OK) return result;
    result = read_whole(d, name, fd, revision);
    close_quietly(fd);
    return result;
}

static enum tly_result replace(void *self, const char *name, uint64_t revision, struct tly_slice bytes,
                               uint64_t *new_revision)
{
    struct directory *d = self;
    int turn;
    enum tly_result result = take_turn(d, name, &turn);
    if (result != TLY_OK) return result;
    uint64_t found = 0;
    if (revision != 0) result = find_revision(d, name, &found);
    if (result == TLY_OK && found != revision) result = TLY_STALE;
    if (result == TLY_OK) result = write_whole(d, name, bytes, revision == 0);
    if (result == TLY_OK) *new_revision = tly_storage_revision_of(bytes);
    close_quietly(turn);
    return result;
}

static enum tly_result remove_object(void *self, const char *name)
{
    struct directory *d = self;
    struct place place;
    int turn;
    enum tly_result result = take_turn(d, name, &turn);
    if (result != TLY_OK) return result;
    result = find_place(d, name, false, &place);
    if (result == TLY_OK) {
        if (unlinkat(place.directory, place.leaf, 0) != 0)
            result = fail(d, name, "remove");
        else if (fsync(place.directory) != 0)
            result = fail(d, name, "sync of its directory");
        close_quietly(place.directory);
    }
    close_quietly(turn);
    return result == TLY_NOT_FOUND ? TLY_OK : result;
}

/* ---- objects that grow ---- */

/* The one that was not used for longer makes room. */
static enum tly_result open_to_append(struct directory *d, const char *name, bool make, struct appended **out)
{
    struct appended *appended = find_appended(d, name);
    if (appended == NULL) {
        appended = d->appended[0].used <= d->appended[1].used ? &d->appended[0] : &d->appended[1];
        /* What is appended behind room that stayed would be lost behind zeros. */
        if (!give_room_back(appended)) return fail_io(d, appended->name, "give room back");
        forget_appended(appended);
        const int flags = O_WRONLY | O_APPEND;
        enum tly_result result = open_object(d, name, flags, &appended->fd);
        appended->is_new = result == TLY_NOT_FOUND;
        if (result == TLY_NOT_FOUND && !make) return result;
        if (result == TLY_NOT_FOUND) result = open_object(d, name, flags | O_CREAT, &appended->fd);
        if (result != TLY_OK) return TLY_IO;
        (void)snprintf(appended->name, sizeof appended->name, "%s", name);
    }
    appended->used = ++d->appends;
    *out = appended;
    return TLY_OK;
}

static bool overwrite_all(int fd, uint64_t offset, struct tly_slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = pwrite(fd, bytes.p, bytes.n, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes = tly_slice_of(bytes.p + n, bytes.n - (size_t)n);
        offset += (size_t)n;
    }
    return true;
}

static const char being_shared[] = "another process writes it too (was LOCK removed?): stop one of the two";

/* What is asked for is not when it was last written: to be told that, the system would write it anew with each write. */
static enum tly_result find_end(struct directory *d, const char *name, struct appended *appended)
{
    struct statx is;
    if (statx(appended->fd, "", AT_EMPTY_PATH, STATX_NLINK | STATX_SIZE, &is) != 0)
        return fail(d, name, "stat");
    if (is.stx_nlink == 0) return fail_because(d, name, "append", "somebody removed it while it was in use");
    if (!appended->has_room) appended->end = appended->file_end = is.stx_size;
    appended->is_lost = appended->is_lost || is.stx_size != appended->file_end;
    return appended->is_lost ? fail_because(d, name, "append", being_shared) : TLY_OK;
}

/* Whether it is written at its end from now on, and no longer at that of the file. */
static bool begin_room(struct appended *appended)
{
    int flags = fcntl(appended->fd, F_GETFL);
    appended->has_room = flags >= 0 && fcntl(appended->fd, F_SETFL, flags & ~O_APPEND) == 0;
    return appended->has_room;
}

/* For so many bytes, and as many more as are wanted. Without room it is appended all the same. */
static enum tly_result make_room(struct directory *d, struct appended *appended, uint64_t n, uint64_t room)
{
    uint64_t end = appended->end;
    if (room == 0 || end + n <= appended->file_end || end + n < appended->no_room_to) return TLY_OK;
    if (fallocate(appended->fd, 0, (off_t)end, (off_t)(n + room)) == 0 &&
        (appended->has_room || begin_room(appended))) {
        appended->file_end = end + n + room;
        return TLY_OK;
    }
    /* A part of it may be there. */
    appended->no_room_to = end + room;
    appended->file_end = end;
    return ftruncate(appended->fd, (off_t)end) == 0 ? TLY_OK : fail_io(d, appended->name, "give room back");
}

static enum tly_result append_roomy(void *self, const char *name, struct tly_slice bytes, uint64_t room)
{
    struct directory *d = self;
    struct appended *appended;
    d->error[0] = '\0';
    enum tly_result result = open_to_append(d, name, true, &appended);
    if (result == TLY_OK) result = find_end(d, name, appended);
    if (result == TLY_OK) result = make_room(d, appended, bytes.n, room);
    if (result != TLY_OK) return result;
    if (appended->has_room ? overwrite_all(appended->fd, appended->end, bytes)
                           : write_all(appended->fd, bytes)) {
        appended->end += bytes.n;
        if (appended->end > appended->file_end) appended->file_end = appended->end;
        return TLY_OK;
    }
    (void)fail(d, name, "append");
    appended->file_end = appended->end;
    (void)!ftruncate(appended->fd, (off_t)appended->end);
    return TLY_IO;
}

static enum tly_result append(void *self, const char *name, struct tly_slice bytes)
{
    return append_roomy(self, name, bytes, 0);
}

/* Of an open file. */
static enum tly_result find_size(struct directory *d, const char *name, int fd, uint64_t *bytes)
{
    struct stat is;
    const struct appended *appended = find_appended(d, name);
    if (fstat(fd, &is) != 0) return fail(d, name, "stat");
    *bytes = appended != NULL && appended->has_room ? appended->end : (uint64_t)is.st_size;
    return TLY_OK;
}

/* Not by the descriptor that appends, which does nothing else; but that is open, and will be told what becomes of it. */
static enum tly_result overwrite(void *self, const char *name, uint64_t offset, struct tly_slice bytes)
{
    struct directory *d = self;
    struct appended *appended;
    uint64_t size;
    int fd = -1;
    d->error[0] = '\0';
    enum tly_result result = open_to_append(d, name, false, &appended);
    if (result == TLY_OK) result = open_object(d, name, O_WRONLY, &fd);
    if (result != TLY_OK) return result;
    result = find_size(d, name, fd, &size);
    if (result == TLY_OK && (offset > size || bytes.n > size - offset))
        result = fail_because(d, name, "write", "it is shorter than that");
    else if (result == TLY_OK && !overwrite_all(fd, offset, bytes))
        result = fail(d, name, "write");
    close_quietly(fd);
    return result;
}

static enum tly_result truncate_object(void *self, const char *name, uint64_t bytes)
{
    struct directory *d = self;
    struct appended *appended = find_appended(d, name);
    uint64_t size;
    int fd;
    if (appended != NULL && appended->is_lost) return fail_because(d, name, "truncate", being_shared);
    enum tly_result result = open_object(d, name, O_WRONLY, &fd);
    if (result != TLY_OK) return result;
    result = find_size(d, name, fd, &size);
    if (result == TLY_OK && size < bytes)
        result = fail_because(d, name, "truncate", "it is shorter than that");
    else if (result == TLY_OK && ftruncate(fd, (off_t)bytes) != 0)
        result = fail(d, name, "truncate");
    close_quietly(fd);
    if (result == TLY_OK && appended != NULL) appended->end = appended->file_end = bytes;
    return result;
}

static enum tly_result sync_directory_of(struct directory *d, const char *name)
{
    struct place place;
    enum tly_result result = find_place(d, name, false, &place);
    if (result != TLY_OK) return result;
    if (fsync(place.directory) != 0) result = fail(d, name, "sync of its directory");
    close_quietly(place.directory);
    return result;
}

static enum tly_result sync_object(void *self, const char *name)
{
    struct directory *d = self;
    d->error[0] = '\0';
    struct appended *appended = find_appended(d, name);
    bool is_open = appended != NULL;
    int fd = is_open ? appended->fd : -1;
    enum tly_result result = is_open ? TLY_OK : open_object(d, name, O_RDONLY, &fd);
    if (result != TLY_OK) return result;
    if (fdatasync(fd) != 0) result = fail(d, name, "sync");
    if (result == TLY_OK && (!is_open || appended->is_new)) result = sync_directory_of(d, name);
    if (result == TLY_OK && is_open) appended->is_new = false;
    if (!is_open) close_quietly(fd);
    return result;
}

/* ---- reading ---- */

/* NOLINTNEXTLINE(readability-function-size): as of tly_storage_read */
static enum tly_result read_object(void *self, const char *name, uint64_t offset, void *bytes, size_t size,
                                   size_t *got)
{
    struct directory *d = self;
    int fd;
    enum tly_result result = open_object(d, name, O_RDONLY, &fd);
    if (result != TLY_OK) return result;
    const struct appended *appended = find_appended(d, name);
    uint64_t end = appended != NULL && appended->has_room ? appended->end : UINT64_MAX;
    if (offset > end) offset = end;
    ssize_t n = read_all(fd, offset, bytes, size < end - offset ? size : (size_t)(end - offset));
    if (n < 0)
        result = fail(d, name, "read");
    else
        *got = (size_t)n;
    close_quietly(fd);
    return result;
}

static enum tly_result size_of_object(void *self, const char *name, uint64_t *bytes)
{
    struct directory *d = self;
    int fd;
    enum tly_result result = open_object(d, name, O_RDONLY, &fd);
    if (result != TLY_OK) return result;
    result = find_size(d, name, fd, bytes);
    close_quietly(fd);
    return result;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "LOCK") != 0;
}

static int is_aside(const struct dirent *entry)
{
    return strncmp(entry->d_name, ASIDE_PREFIX, strlen(ASIDE_PREFIX)) == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* What is given of the entries: objects, or all the others. */
struct listing {
    bool foreign;
    void (*each)(void *context, const char *name);
    void *context;
};

static enum tly_result list_place(struct directory *d, const char *name, int at,
                                  const struct listing *listing)
{
    struct dirent **entries;
    int n = scandirat(at, ".", &entries, is_shown, by_bytes);
    if (n < 0) return fail(d, name, "list");
    for (int i = 0; i < n; i++) {
        struct stat is;
        if (fstatat(at, entries[i]->d_name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(is.st_mode) != listing->foreign)
            listing->each(listing->context, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return TLY_OK;
}

/* *fd is set only with TLY_OK. */
static enum tly_result open_listed(struct directory *d, const char *name, int *fd)
{
    struct place place;
    bool is_top = name[0] == '\0';
    enum tly_result result = find_place(d, is_top ? "." : name, false, &place);
    if (result != TLY_OK) return result;
    *fd = openat(place.directory, place.leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0) result = fail(d, name, "open directory");
    close_quietly(place.directory);
    return result;
}

static enum tly_result list_entries(struct directory *d, const char *directory, const struct listing *listing)
{
    int at;
    enum tly_result result = open_listed(d, directory, &at);
    if (result != TLY_OK) return result == TLY_NOT_FOUND ? TLY_OK : result;
    result = list_place(d, directory, at, listing);
    close_quietly(at);
    return result;
}

static enum tly_result list_objects(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    return list_entries(self, directory, &(struct listing){false, each, context});
}

static enum tly_result list_foreign(void *self, const char *directory,
                                    void (*each)(void *context, const char *name), void *context)
{
    return list_entries(self, directory, &(struct listing){true, each, context});
}

/* ---- who uses it, and which one it is ---- */

static void read_holder(int fd, char *holder, size_t size)
{
    char text[32];
    ssize_t n = read_all(fd, 0, (uint8_t *)text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strspn(text, "0123456789")] = '\0';
    (void)snprintf(holder, size, "%s", text[0] != '\0' ? text : "unknown");
}

static void remove_residue(struct directory *d)
{
    struct dirent **entries;
    int n = scandirat(d->top, ".", &entries, is_aside, by_bytes);
    for (int i = 0; i < n; i++) {
        (void)unlinkat(d->top, entries[i]->d_name, 0);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

/* Written over the earlier pid in one piece, so that nobody reads half of one. */
static bool write_holder(const struct directory *d, int fd)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%-10ld\n", (long)getpid());
    return pwrite(fd, text, (size_t)n, 0) == n && ftruncate(fd, n) == 0 && fsync(fd) == 0 &&
           fsync(d->top) == 0;
}

static enum tly_result lock(void *self, char *holder, size_t holder_size)
{
    struct directory *d = self;
    d->error[0] = '\0';
    int fd = openat(d->top, "LOCK", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0) return fail_io(d, "LOCK", "open");
    enum tly_result result = TLY_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        result = errno == EWOULDBLOCK ? TLY_STALE : fail(d, "LOCK", "flock");
        if (result == TLY_STALE) read_holder(fd, holder, holder_size);
    } else if (!write_holder(d, fd)) {
        result = fail(d, "LOCK", "write");
    }
    if (result != TLY_OK) {
        close_quietly(fd);
        return result;
    }
    d->lock = fd;
    remove_residue(d);
    return TLY_OK;
}

/* /etc/machine-id, or "none". */
static void read_machine(char *text, size_t size)
{
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read_all(fd, 0, (uint8_t *)text, size - 1) : 0;
    close_quietly(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz")] = '\0';
    if (text[0] == '\0') (void)snprintf(text, size, "none");
}

/* When it was made tells a file from one that was restored and got the same inode. */
static enum tly_result identity(void *self, char *text, size_t size)
{
    struct directory *d = self;
    d->error[0] = '\0';
    struct statx is;
    if (d->lock < 0) return fail_because(d, "LOCK", "identity", "not locked");
    if (statx(d->lock, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &is) != 0)
        return fail(d, "LOCK", "stat");
    bool has_birth = (is.stx_mask & STATX_BTIME) != 0;
    char machine[48];
    read_machine(machine, sizeof machine);
    (void)snprintf(text, size, "device %u:%u inode %llu born %lld.%09u machine %s", is.stx_dev_major,
                   is.stx_dev_minor, (unsigned long long)is.stx_ino,
                   has_birth ? (long long)is.stx_btime.tv_sec : 0, has_birth ? is.stx_btime.tv_nsec : 0,
                   machine);
    return TLY_OK;
}

/* ---- mapped memory ---- */

/* What the handler has to know. */
static struct {
    bool is_on;
    uint8_t *p; /* NULL: nothing is mapped */
    size_t n, page;
    volatile sig_atomic_t lost;
} guarded;

static bool is_guarded(const uint8_t *at)
{
    return guarded.p != NULL && at >= guarded.p && at < guarded.p + guarded.n;
}

/* A page of the file that cannot be had is one of nothing from here on, and all is told to be lost; anything else is as without a handler. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    uint8_t *at = info->si_addr;
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    const void *page = MAP_FAILED;
    if (is_guarded(at)) {
        uint8_t *from = guarded.p + (size_t)(at - guarded.p) / guarded.page * guarded.page;
        page = mmap(from, guarded.page, PROT_READ | PROT_WRITE, how, -1, 0);
    }
    if (page != MAP_FAILED)
        guarded.lost = 1;
    else
        (void)signal(number, SIG_DFL);
}

bool tly_storage_guard(void)
{
    struct sigaction guard = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART};
    (void)sigemptyset(&guard.sa_mask);
    guarded.page = (size_t)sysconf(_SC_PAGESIZE);
    guarded.is_on = sigaction(SIGBUS, &guard, NULL) == 0;
    return guarded.is_on;
}

static void end_map(void)
{
    (void)munmap(guarded.p, guarded.n);
    guarded.p = NULL;
}

static bool can_map(const void *self)
{
    (void)self;
    return guarded.is_on && guarded.p == NULL;
}

static enum tly_result map_object(void *self, const char *name, size_t n, struct tly_storage_map *map)
{
    struct directory *d = self;
    int fd;
    d->error[0] = '\0';
    if (!can_map(self)) return fail_because(d, name, "map", "it is not guarded");
    enum tly_result result = open_object(d, name, O_RDWR, &fd);
    if (result != TLY_OK) return result;
    struct stat is;
    bool is_long = fstat(fd, &is) == 0 && S_ISREG(is.st_mode) && (uint64_t)is.st_size >= n;
    uint8_t *p = is_long ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
        result = fail_because(d, name, "map", is_long ? strerror(errno) : "it is too short");
        close_quietly(fd);
        return result;
    }
    (void)mlock(p, n); /* what is not in memory has to be waited for */
    guarded.lost = 0;
    guarded.n = n;
    guarded.p = p;
    d->mapped = fd;
    *map = (struct tly_storage_map){p, &guarded.lost};
    return TLY_OK;
}

static void look_at_map(const void *self)
{
    const struct directory *d = self;
    struct statx is;
    bool is_known = d->mapped >= 0 && statx(d->mapped, "", AT_EMPTY_PATH, STATX_NLINK, &is) == 0;
    if (is_known && is.stx_nlink == 0) guarded.lost = 1;
}

/* ---- up and down ---- */

static const char *error_of(const void *self)
{
    const struct directory *d = self;
    return d->error;
}

static void close_directory(void *self)
{
    struct directory *d = self;
    for (size_t i = 0; i < APPENDED; i++)
        forget_appended(&d->appended[i]);
    if (d->mapped >= 0) end_map();
    close_quietly(d->mapped);
    /* A process that was forked meanwhile has the descriptor too, and would hold the directory for as long as it lives. */
    if (d->lock >= 0) (void)flock(d->lock, LOCK_UN);
    close_quietly(d->lock);
    close_quietly(d->top);
    free(d->path);
    free(d);
}

static bool is_full(const void *self)
{
    const struct directory *d = self;
    return d->error[0] != '\0' && d->is_full;
}

static uint64_t boot(const void *self)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read_all(fd, 0, (uint8_t *)text, sizeof text) : 0;
    close_quietly(fd);
    (void)self;
    return n > 0 ? tly_storage_revision_of(tly_slice_of(text, (size_t)n)) : 0;
}

static const struct tly_storage_ops directory_ops = {
    .close = close_directory,
    .put = put,
    .put_absent = put_absent,
    .replace = replace,
    .append = append,
    .append_roomy = append_roomy,
    .overwrite = overwrite,
    .truncate = truncate_object,
    .sync = sync_object,
    .read = read_object,
    .size = size_of_object,
    .list = list_objects,
    .list_foreign = list_foreign,
    .remove = remove_object,
    .lock = lock,
    .identity = identity,
    .map = map_object,
    .can_map = can_map,
    .look_at_map = look_at_map,
    .boot = boot,
    .error = error_of,
    .is_full = is_full,
};

/* A name that was just made outlives a power cut once its parent is synced; where that is not permitted, so be it. */
static void sync_parent(const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/')
        n--;
    char *parent = n > 0 ? strndup(path, n) : strdup(".");
    int fd = parent != NULL ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) (void)fsync(fd);
    close_quietly(fd);
    free(parent);
}

/* mkdir -p; 0, or the first errno of what could not be made, which matters only if the path is not there in the end. */
static int make_path(char *path)
{
    int reason = 0;
    for (size_t i = 1; path[i - 1] != '\0'; i++) {
        char end = path[i];
        if (end != '/' && end != '\0') continue;
        path[i] = '\0';
        if (mkdir(path, 0700) == 0)
            sync_parent(path, i);
        else if (reason == 0 && errno != EEXIST)
            reason = errno;
        path[i] = end;
    }
    return reason;
}

static int open_top(char *path)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int fd = open(path, flags);
    if (fd >= 0 || errno != ENOENT) return fd;
    int reason = make_path(path);
    fd = open(path, flags);
    if (fd < 0 && errno == ENOENT && reason != 0) errno = reason;
    return fd;
}

struct tly_storage *tly_storage_directory(const char *path, char *error, size_t size)
{
    struct directory *d = calloc(1, sizeof *d);
    char *copy = strdup(path);
    if (d == NULL || copy == NULL) {
        (void)snprintf(error, size, "out of memory");
        goto free_both;
    }
    *d = (struct directory){.path = copy, .top = open_top(copy), .lock = -1, .mapped = -1};
    for (size_t i = 0; i < APPENDED; i++)
        d->appended[i].fd = -1;
    if (d->top < 0) {
        (void)snprintf(error, size, "%s: %s%s", path, strerror(errno), advice_for(errno));
        goto free_both;
    }
    struct tly_storage *storage = tly_storage_new(&directory_ops, d);
    if (storage == NULL) (void)snprintf(error, size, "out of memory");
    return storage;
free_both:
    free(copy);
    free(d);
    return NULL;
}
