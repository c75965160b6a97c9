/*
 * The one way in which the pure layers get memory.  The caller supplies a single function in the manner of
 * realloc that is also told the old size, so that an owner can count exactly what is in use.
 */
#ifndef TALLY_CRDT_MEM_H
#define TALLY_CRDT_MEM_H

#include <stddef.h>

/*
 * For what must not be a call; and for whatever does nothing but __builtin_prefetch: a compiler that has not inlined it yet takes it
 * for a function without effects, and leaves it out.
 */
#define TLY_ALWAYS_INLINE static inline __attribute__((always_inline))

/*
 * resize(context, block, old_bytes, new_bytes):
 *   block NULL, old 0     a new block of new_bytes, uninitialised
 *   new_bytes 0           releases the block and returns NULL
 *   otherwise             the block moved to its new size, its first min(old, new) bytes kept
 * Returns NULL when there is no memory; the old block then stays as it was.
 */
struct tly_mem {
    void *(*resize)(void *context, void *block, size_t old_bytes, size_t new_bytes);
    void *context;
};

static inline void *tly_mem_resize(const struct tly_mem *mem, void *block, size_t old_bytes, size_t new_bytes)
{
    return mem->resize(mem->context, block, old_bytes, new_bytes);
}

static inline void *tly_mem_new(const struct tly_mem *mem, size_t bytes)
{
    return mem->resize(mem->context, NULL, 0, bytes);
}

static inline void tly_mem_free(const struct tly_mem *mem, void *block, size_t bytes)
{
    if (block != NULL) (void)mem->resize(mem->context, block, bytes, 0);
}

/* A zeroed block, or NULL. */
void *tly_mem_zeroed(const struct tly_mem *mem, size_t bytes);

/*
 * Makes room for at least `need` items of `item_bytes` in an array of `*capacity` items, at least doubling it.
 * The new array, or NULL when there is no memory; the old array and capacity then stay as they were.
 */
void *tly_mem_reserve(const struct tly_mem *mem, void *items, size_t *capacity, size_t need,
                      size_t item_bytes);

#endif
