/*
 * Memory for an engine with many keys.  A table larger than what the processor knows the addresses of costs a walk through page tables
 * for every key, so what is kept by key lies in regions of 2 MiB that the kernel may back with one page each.
 *
 *     blocks of 512 bytes to 256 KiB, of nearly a power of two    in regions, by halves: a block and its buddy become one when free
 *     all others                                                  libc's
 *
 * Which of the two a block is follows from its size alone.  The first region has small pages, so that a node with few keys is
 * small; with the second, both ask for large ones.  A kernel that gives none is no error.  A region without blocks goes
 * back, save one.
 */
#ifndef TALLY_SERVICE_SHELL_HEAP_H
#define TALLY_SERVICE_SHELL_HEAP_H

#include "crdt/mem.h"

#include <stdbool.h>

struct tly_heap;

/* NULL: no memory. For one thread at a time. */
struct tly_heap *tly_heap_new(void);
/* All blocks were given back. */
void tly_heap_free(struct tly_heap *heap);

/* A borrow of the heap. */
struct tly_mem tly_heap_mem(struct tly_heap *heap);

/* Regions that are there, and bytes of the blocks that are held in them. */
size_t tly_heap_regions(const struct tly_heap *heap);
size_t tly_heap_held(const struct tly_heap *heap);
/* Whether a block of this size lies in a region. */
bool tly_heap_takes(size_t bytes);

/* The invariant; aborts on our own mistakes. */
void tly_heap_check(const struct tly_heap *heap);

#endif
