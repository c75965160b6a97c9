#include "service/shell/rls_files.h"

#include "service/shell/filewatch.h"
#include "service/shell/libc_mem.h"
#include "service/shell/rls_yaml.h"

#include <dirent.h>
#include <errno.h>
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

static void place_path(const struct tly_rls_place *place, char *path, size_t size)
{
    const char *parts[] = {place->subdirectory, place->app_directory};
    size_t n = strlcpy(path, place->root, size);
    for (size_t i = 0; i < 2; i++)
        if (parts[i][0] != '\0') n += (size_t)snprintf(path + n, size - n, "/%s", parts[i]);
}

static bool list_place(struct listing *listing, const struct tly_rls_place *place,
                       struct tly_rls_error *error)
{
    char path[PATH_BYTES_MAX + 512];
    *listing = (struct listing){.place = place, .error = error};
    place_path(place, path, sizeof path);
    bool good = list(listing, path, place->app_directory[0] != '\0' ? place->app_directory : "config", 0);
    if (good && listing->count > 1) qsort(listing->file, listing->count, sizeof *listing->file, by_key);
    return good;
}

/* Changes when anything about the files does, in practice. */
static uint64_t print_of(const struct listing *listing)
{
    uint64_t print = listing->failed ? 1 : 2;
    for (size_t i = 0; i < listing->count; i++)
        print = tly_filewatch_print(print, listing->file[i].path, &listing->file[i].status);
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
    struct tly_filewatch *watch;
};

void tly_rls_files_reload(struct tly_rls_files *files)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_log *log = tly_app_log(files->app);
    struct tly_rls_error error = {""};
    struct tly_rls_config *config = tly_rls_files_load(&files->place, &mem, &error);
    tly_rls_use(files->rls, config);
    if (config == NULL)
        tly_log(log, TLY_LEVEL_ERROR, "error loading new configuration, %s: %s",
                tly_rls_config(files->rls) != NULL ? "the limits stay as they are"
                                                   : "nothing is limited and calls are refused",
                error.text);
    else
        tly_log(log, TLY_LEVEL_INFO, "loaded %zu descriptors in %zu domains from %s",
                tly_rls_config_rule_count(config), tly_rls_config_domain_count(config), files->place.root);
}

static uint64_t print_of_place(void *context)
{
    const struct tly_rls_files *files = context;
    struct tly_rls_error error;
    struct listing listing;
    (void)list_place(&listing, &files->place, &error);
    uint64_t print = print_of(&listing);
    free_listing(&listing);
    return print;
}

/* Those on the way to it, the one in which a link to the root would be swapped among them, and those with files. */
static void watch_directories(void *context, struct tly_filewatch *watch)
{
    const struct tly_rls_files *files = context;
    struct tly_rls_error error;
    struct listing listing;
    char path[PATH_BYTES_MAX + 512];
    (void)list_place(&listing, &files->place, &error);
    place_path(&files->place, path, sizeof path);
    while (strlen(path) > strlen(files->place.root)) {
        tly_filewatch_directory(watch, path);
        *strrchr(path, '/') = '\0';
    }
    tly_filewatch_directory(watch, path);
    char *last = strrchr(path, '/');
    if (last != NULL) last[last == path ? 1 : 0] = '\0';
    tly_filewatch_directory(watch, last != NULL ? path : ".");
    for (size_t i = 0; i < listing.count; i++) {
        char *slash = strrchr(listing.file[i].path, '/');
        *slash = '\0';
        tly_filewatch_directory(watch, listing.file[i].path);
    }
    free_listing(&listing);
}

static void on_changed(void *context, bool exists)
{
    (void)exists;
    tly_rls_files_reload(context);
}

struct tly_rls_files *tly_rls_files_new(struct tly_app *app, struct tly_rls *rls,
                                        const struct tly_rls_place *place)
{
    struct tly_rls_files *files = calloc(1, sizeof *files);
    if (files == NULL) return NULL;
    files->app = app;
    files->rls = rls;
    files->place = *place;
    const struct tly_filewatched what = {print_of_place, watch_directories, on_changed, files};
    files->watch = tly_filewatch_new_of(tly_app_base(app), &what);
    if (files->watch == NULL) {
        tly_rls_files_free(files);
        return NULL;
    }
    tly_rls_files_reload(files);
    return files;
}

void tly_rls_files_free(struct tly_rls_files *files)
{
    if (files == NULL) return;
    tly_filewatch_free(files->watch);
    free(files);
}
