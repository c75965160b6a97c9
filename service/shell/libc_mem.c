#include "service/shell/libc_mem.h"

#include <stdlib.h>

static void *resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    (void)context;
    (void)old_bytes;
    if (new_bytes > 0) return realloc(block, new_bytes);
    free(block);
    return NULL;
}

struct tly_mem tly_libc_mem(void)
{
    return (struct tly_mem){resize, NULL};
}
