/*
 * Runs a fuzz target over files, and over the files of directories, without libFuzzer: so the corpora are tests under any
 * compiler.  Prints how many inputs there were; none at all, or one that cannot be read, is a failure.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input stands in a block of its own size, so that a sanitizer sees one byte too many. */
static bool replay_file(const char *path, size_t size)
{
    FILE *in = fopen(path, "rb");
    uint8_t *data = malloc(size > 0 ? size : 1);
    bool whole = in != NULL && data != NULL && fread(data, 1, size, in) == size;
    if (whole)
        (void)LLVMFuzzerTestOneInput(data, size);
    else
        perror(path);
    free(data);
    if (in != NULL) (void)fclose(in);
    return whole;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool replay(const char *path, size_t *count);

/* In the order of the names, so that every run is the same. */
static bool replay_directory(const char *path, size_t *count)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_shown, alphasort);
    bool good = n >= 0;
    if (!good) perror(path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        (void)snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        good = replay(file, count) && good;
        free(entries[i]);
    }
    free(entries);
    return good;
}

static bool replay(const char *path, size_t *count)
{
    struct stat about;
    if (stat(path, &about) != 0) {
        perror(path);
        return false;
    }
    if (S_ISDIR(about.st_mode)) return replay_directory(path, count);
    ++*count;
    return replay_file(path, (size_t)about.st_size);
}

int main(int argc, char **argv)
{
    size_t count = 0;
    bool good = true;
    for (int i = 1; i < argc; i++)
        good = replay(argv[i], &count) && good;
    printf("%zu inputs\n", count);
    return good && count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
