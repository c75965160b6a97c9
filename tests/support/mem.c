#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before each block: its size, in as much room as keeps the block aligned. */
#define SIZE_ROOM 16
#define NEW_BYTE 0xa5

static size_t live;

static unsigned char *start_of(void *block)
{
    return (unsigned char *)block - SIZE_ROOM;
}

static void check_size(void *block, size_t old_bytes)
{
    size_t bytes = 0;
    if (block != NULL) memcpy(&bytes, start_of(block), sizeof bytes);
    if (bytes == old_bytes) return;
    fprintf(stderr, "a block of %zu bytes was given back as one of %zu\n", bytes, old_bytes);
    abort();
}

static void *resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    (void)context;
    check_size(block, old_bytes);
    unsigned char *moved = NULL;
    if (new_bytes > 0) {
        unsigned char *start = malloc(SIZE_ROOM + new_bytes);
        if (start == NULL) return NULL;
        memcpy(start, &new_bytes, sizeof new_bytes);
        moved = start + SIZE_ROOM;
        memset(moved, NEW_BYTE, new_bytes);
        if (block != NULL) memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    }
    if (block != NULL) free(start_of(block));
    live = live - old_bytes + new_bytes;
    return moved;
}

static void *resize_or_fail(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct test_failing *failing = context;
    if (new_bytes > old_bytes && !failing->failed && failing->countdown-- == 0) {
        failing->failed = true;
        return NULL;
    }
    return resize(NULL, block, old_bytes, new_bytes);
}

struct tly_mem test_mem(void)
{
    return (struct tly_mem){resize, NULL};
}

size_t test_mem_live(void)
{
    return live;
}

struct tly_mem test_failing_mem(struct test_failing *failing)
{
    return (struct tly_mem){resize_or_fail, failing};
}
