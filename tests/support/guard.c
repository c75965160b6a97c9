#include "tests/support/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* readable pages | one page that nobody may touch */
struct test_guard {
    uint8_t *pages;
    size_t readable;
    size_t page;
};

static void give_up(const char *what)
{
    perror(what);
    abort();
}

struct test_guard *test_guard_new(size_t bytes_max)
{
    struct test_guard *guard = malloc(sizeof *guard);
    if (guard == NULL) give_up("malloc");
    guard->page = (size_t)sysconf(_SC_PAGESIZE);
    guard->readable = (bytes_max / guard->page + 1) * guard->page;
    size_t bytes = guard->readable + guard->page;
    /* cppcheck-suppress invalidFunctionArg ; memory without a file has the descriptor -1 */
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) give_up("mmap");
    guard->pages = pages;
    if (mprotect(guard->pages + guard->readable, guard->page, PROT_NONE) != 0) give_up("mprotect");
    return guard;
}

void test_guard_free(struct test_guard *guard)
{
    if (guard == NULL) return;
    if (munmap(guard->pages, guard->readable + guard->page) != 0) give_up("munmap");
    free(guard);
}

const uint8_t *test_guard_place(struct test_guard *guard, const void *bytes, size_t n)
{
    if (n > guard->readable) abort();
    uint8_t *at = guard->pages + (guard->readable - n);
    if (n > 0) memcpy(at, bytes, n);
    return at;
}
