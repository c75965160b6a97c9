#include "crdt/mem.h"

#include <stdint.h>
#include <string.h>

void *tly_mem_zeroed(const struct tly_mem *mem, size_t bytes)
{
    void *block = tly_mem_new(mem, bytes);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

void *tly_mem_reserve(const struct tly_mem *mem, void *items, size_t *capacity, size_t need,
                      size_t item_bytes)
{
    if (need <= *capacity && items != NULL) return items;
    size_t wanted = *capacity < 4 ? 4 : *capacity;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2) return NULL;
        wanted *= 2;
    }
    if (wanted > SIZE_MAX / item_bytes) return NULL;
    void *grown = tly_mem_resize(mem, items, *capacity * item_bytes, wanted * item_bytes);
    if (grown != NULL) *capacity = wanted;
    return grown;
}
