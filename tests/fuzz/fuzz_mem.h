/* Memory for a fuzz target: libc's, and nothing counted. */
#ifndef TALLY_TESTS_FUZZ_MEM_H
#define TALLY_TESTS_FUZZ_MEM_H

#include "crdt/mem.h"

#include <stdlib.h>

static inline void *fuzz_resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    (void)context;
    (void)old_bytes;
    if (new_bytes > 0) return realloc(block, new_bytes);
    free(block);
    return NULL;
}

static inline struct tly_mem fuzz_mem(void)
{
    return (struct tly_mem){fuzz_resize, NULL};
}

#endif
