#include "service/shell/h2_mem.h"

#include <stdint.h>
#include <string.h>

/* In front of each block stands its size. */
#define SIZE_BYTES 16

static void *resize_block(void *block, size_t n, void *context)
{
    const struct tly_mem *mem = context;
    uint8_t *old = block != NULL ? (uint8_t *)block - SIZE_BYTES : NULL;
    size_t old_n = 0;
    if (old != NULL) memcpy(&old_n, old, sizeof old_n);
    if (n > SIZE_MAX - SIZE_BYTES) return NULL;
    uint8_t *new = tly_mem_resize(mem, old, old_n, n + SIZE_BYTES);
    if (new == NULL) return NULL;
    n += SIZE_BYTES;
    memcpy(new, &n, sizeof n);
    return new + SIZE_BYTES;
}

static void *new_block(size_t n, void *context)
{
    return resize_block(NULL, n, context);
}

static void *new_zeroed(size_t count, size_t n, void *context)
{
    if (count != 0 && n > SIZE_MAX / count) return NULL;
    void *block = resize_block(NULL, count * n, context);
    if (block != NULL) memset(block, 0, count * n);
    return block;
}

static void free_block(void *block, void *context)
{
    if (block == NULL) return;
    size_t n;
    uint8_t *old = (uint8_t *)block - SIZE_BYTES;
    memcpy(&n, old, sizeof n);
    tly_mem_free(context, old, n);
}

nghttp2_mem tly_h2_mem(struct tly_mem *mem)
{
    return (nghttp2_mem){mem, new_block, free_block, new_zeroed, resize_block};
}
