#include "service/shell/rls_files.h"

#include "crdt/hash.h"
#include "service/shell/libc_mem.h"
#include "service/shell/rls_yaml.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096
#define DEPTH_MAX 8

struct file {
    char *path, *key; /* key: "config.example.yaml" */
    struct stat status;
};

/* What is in the directory. An object on the stack. */
struct listing {
    const struct tly_rls_place *place;
    struct file *file;
    size_t count;
    struct tly_rls_error *error;
    bool failed;
};

/* ---- what files there are ---- */

static bool fail(struct listing *listing, const char *path, const char *why)
{
    listing->failed = true;
    (void)tly_rls_error_set(listing->error, path, "%s", why);
    return false;
}

static void free_listing(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->file[i].path);
        free(listing->file[i].key);
    }
    free(listing->file);
}

static bool add_file(struct listing *listing, const char *path, const char *key, const struct stat *status)
{
    if (listing->count == TLY_RLS_FILES_MAX) return fail(listing, path, "more than 1024 files");
    if (listing->file == NULL) listing->file = calloc(TLY_RLS_FILES_MAX, sizeof *listing->file);
    if (listing->file == NULL) return fail(listing, path, "out of memory");
    struct file *file = &listing->file[listing->count];
    *file = (struct file){strdup(path), strdup(key), *status};
    listing->count++;
    return (file->path != NULL && file->key != NULL) || fail(listing, path, "out of memory");
}

static bool list(struct listing *listing, const char *path, const char *key, size_t depth);

/* Links to files are followed, links to directories are not, as in a mounted ConfigMap. */
static bool list_entry(struct listing *listing, const char *directory, const char *parent, const char *name,
                       size_t depth)
{
    char path[PATH_BYTES_MAX], key[PATH_BYTES_MAX];
    struct stat status, link;
    bool is_dot =
        name[0] == '.' && (listing->place->ignores_dot_files || name[1] == '\0' || strcmp(name, "..") == 0);
    if (is_dot) return true;
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    int m = snprintf(key, sizeof key, "%s.%s", parent, name);
    if (n >= (int)sizeof path || m >= (int)sizeof key)
        return fail(listing, directory, "a path that is too long");
    /* What is gone by now is gone. */
    if (lstat(path, &link) != 0 || stat(path, &status) != 0) return true;
    if (S_ISDIR(link.st_mode)) return depth == DEPTH_MAX || list(listing, path, key, depth + 1);
    return !S_ISREG(status.st_mode) || add_file(listing, path, key, &status);
}

static bool list(struct listing *listing, const char *path, const char *key, size_t depth)
{
    DIR *directory = opendir(path);
    if (directory == NULL) return fail(listing, path, strerror(errno));
    const struct dirent *entry;
    bool good = true;
    while (good && (entry = readdir(directory)) != NULL)
        good = list_entry(listing, path, key, entry->d_name, depth);
    (void)closedir(directory);
    return good;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->key, ((const struct file *)b)->key);
}

static bool list_place(struct listing *listing, const struct tly_rls_place *place,
                       struct tly_rls_error *error)
{
    char path[PATH_BYTES_MAX + 512];
    *listing = (struct listing){.place = place, .error = error};
    const char *parts[] = {place->subdirectory, place->app_directory};
    size_t n = strlcpy(path, place->root, sizeof path);
    for (size_t i = 0; i < 2; i++)
        if (parts[i][0] != '\0') n += (size_t)snprintf(path + n, sizeof path - n, "/%s", parts[i]);
    bool good = list(listing, path, place->app_directory[0] != '\0' ? place->app_directory : "config", 0);
    if (good && listing->count > 1) qsort(listing->file, listing->count, sizeof *listing->file, by_key);
    return good;
}

/* Changes when anything about the files does, in practice. */
static uint64_t print_of(const struct listing *listing)
{
    struct tly_hash_key key;
    uint64_t print = listing->failed ? 1 : 2;
    tly_hash_key_from(&key, tly_slice_text("files"));
    for (size_t i = 0; i < listing->count; i++) {
        const struct stat *s = &listing->file[i].status;
        const uint64_t facts[] = {print,
                                  tly_hash(&key, tly_slice_text(listing->file[i].path)),
                                  (uint64_t)s->st_dev,
                                  (uint64_t)s->st_ino,
                                  (uint64_t)s->st_size,
                                  (uint64_t)s->st_mtim.tv_sec,
                                  (uint64_t)s->st_mtim.tv_nsec,
                                  (uint64_t)s->st_ctim.tv_sec,
                                  (uint64_t)s->st_ctim.tv_nsec};
        print = tly_hash(&key, tly_slice_of(facts, sizeof facts));
    }
    return print;
}

/* ---- reading them ---- */

static char *read_file(const char *path, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = fd >= 0 ? malloc(TLY_RLS_FILE_BYTES_MAX + 1) : NULL;
    ssize_t got = text != NULL ? 1 : -1;
    for (*n = 0; *n <= TLY_RLS_FILE_BYTES_MAX && got > 0; *n += got > 0 ? (size_t)got : 0)
        got = read(fd, text + *n, TLY_RLS_FILE_BYTES_MAX + 1 - *n);
    if (fd >= 0) (void)close(fd);
    if (got >= 0) return text;
    free(text);
    return NULL;
}

static bool load_file(struct tly_rls_config *config, const struct file *file, bool merges, size_t *total,
                      struct tly_rls_error *error)
{
    size_t n;
    char *text = read_file(file->path, &n);
    if (text == NULL) return tly_rls_error_set(error, file->key, "%s", strerror(errno)) != NULL;
    bool good = n <= TLY_RLS_FILES_BYTES_MAX - *total;
    if (!good) (void)tly_rls_error_set(error, file->key, "all files together are larger than 16 MiB");
    *total += n;
    good = good && tly_rls_yaml_load(config, file->key, tly_slice_of(text, n), merges, error);
    free(text);
    return good;
}

static struct tly_rls_config *load_listing(const struct listing *listing, const struct tly_mem *mem,
                                           struct tly_rls_error *error)
{
    struct tly_rls_config *config = tly_rls_config_new(mem);
    size_t total = 0;
    if (config == NULL) return tly_rls_error_set(error, listing->place->root, "out of memory");
    for (size_t i = 0; i < listing->count; i++) {
        if (load_file(config, &listing->file[i], listing->place->merges_domains, &total, error)) continue;
        tly_rls_config_free(config);
        return NULL;
    }
    return config;
}

struct tly_rls_config *tly_rls_files_load(const struct tly_rls_place *place, const struct tly_mem *mem,
                                          struct tly_rls_error *error)
{
    struct listing listing;
    struct tly_rls_config *config = NULL;
    if (list_place(&listing, place, error)) config = load_listing(&listing, mem, error);
    free_listing(&listing);
    return config;
}

/* ---- again and again ---- */

struct tly_rls_files {
    struct tly_app *app;
    struct tly_rls *rls;
    struct tly_rls_place place;
    struct event *look;
    uint64_t print; /* of what was loaded last */
};

static void use(struct tly_rls_files *files, struct tly_rls_config *config, const struct tly_rls_error *error)
{
    struct tly_log *log = tly_app_log(files->app);
    tly_rls_use(files->rls, config);
    if (config == NULL)
        tly_log(log, TLY_LEVEL_ERROR, "error loading new configuration, the limits stay as they are: %s",
                error->text);
    else
        tly_log(log, TLY_LEVEL_INFO, "loaded %zu descriptors in %zu domains from %s",
                tly_rls_config_rule_count(config), tly_rls_config_domain_count(config), files->place.root);
}

static void look(struct tly_rls_files *files, bool anyway)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_rls_error error = {""};
    struct listing listing;
    (void)list_place(&listing, &files->place, &error);
    uint64_t print = print_of(&listing);
    if (anyway || print != files->print) {
        files->print = print;
        use(files, listing.failed ? NULL : load_listing(&listing, &mem, &error), &error);
    }
    free_listing(&listing);
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    look(context, false);
}

struct tly_rls_files *tly_rls_files_new(struct tly_app *app, struct tly_rls *rls,
                                        const struct tly_rls_place *place)
{
    const struct timeval every = {.tv_usec = TLY_RLS_LOOK_MS * 1000};
    struct tly_rls_files *files = calloc(1, sizeof *files);
    if (files == NULL) return NULL;
    files->app = app;
    files->rls = rls;
    files->place = *place;
    files->look = event_new(tly_app_base(app), -1, EV_PERSIST, on_look, files);
    if (files->look == NULL || event_add(files->look, &every) != 0) {
        tly_rls_files_free(files);
        return NULL;
    }
    look(files, true);
    return files;
}

void tly_rls_files_free(struct tly_rls_files *files)
{
    if (files == NULL) return;
    if (files->look != NULL) event_free(files->look);
    free(files);
}

void tly_rls_files_reload(struct tly_rls_files *files)
{
    look(files, true);
}
