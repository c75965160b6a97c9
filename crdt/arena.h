/*
 * Where entries live: blocks named by 32-bit references, from pages of blocks of one size.
 *
 *     reference = page number << 14 | offset in the page / 4          0: none
 *
 * Sizes go in steps of 4 bytes up to 256, then in eighths of a doubling, so little is lost to rounding.  A block above
 * TLY_ARENA_SMALL_MAX is a page of its own.  The first pages of a size are small and later ones TLY_PAGE_BYTES, so a small map
 * is small.  A page that empties is given back, save one for each size, lest a single block come and go by the page.
 *
 * TLY_ARENA_SLACK bytes behind any block may be read, so that a number can be loaded without asking where the block ends.
 * Blocks whose size is a multiple of 8 are aligned to 8.
 */
#ifndef TALLY_CRDT_ARENA_H
#define TALLY_CRDT_ARENA_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>

#define TLY_PAGE_BYTES 65536u
#define TLY_PAGE_BYTES_MIN 512u
#define TLY_ARENA_SLACK 8u
#define TLY_ARENA_SMALL_MAX 8192u
/* 64 of 4 bytes each, then eight for each doubling from 256 to 8192; the last is for blocks that are pages. */
#define TLY_ARENA_SIZES (64u + 5u * 8u)

struct tly_page {
    uint8_t *bytes; /* NULL: the number is free */
    uint32_t total; /* bytes of the page */
    uint32_t prev,
        next;       /* in the list of pages of its size that have room; next: also of free numbers. 0: none */
    uint16_t size;  /* number of the size; TLY_ARENA_SIZES: one large block */
    uint16_t used;  /* blocks */
    uint16_t freed; /* the last freed block, as offset / 4 + 1; the next is in its first bytes. 0: none */
    uint16_t fresh; /* offset / 4 behind which nothing was given yet */
};

struct tly_arena {
    struct tly_page *pages; /* number 0 is not used */
    size_t count, capacity;
    uint32_t free_number;
    uint32_t open[TLY_ARENA_SIZES]; /* pages with room */
    size_t held[TLY_ARENA_SIZES];   /* bytes of the pages of a size */
};

/* `*arena = (struct tly_arena){0}` is a good one. */
void tly_arena_fini(struct tly_arena *arena, const struct tly_mem *mem);

/* A block of at least `bytes`, uninitialised; 0: no memory, or no number left. */
uint32_t tly_arena_new(struct tly_arena *arena, const struct tly_mem *mem, size_t bytes);
void tly_arena_free(struct tly_arena *arena, const struct tly_mem *mem, uint32_t ref);

static inline void *tly_arena_at(const struct tly_arena *arena, uint32_t ref)
{
    return arena->pages[ref >> 14].bytes + (size_t)(ref & 0x3fff) * 4;
}

/* Bytes that the block has; never fewer than were asked for. */
size_t tly_arena_room(const struct tly_arena *arena, uint32_t ref);
/* Bytes that a block of this size would have. */
size_t tly_arena_room_for(size_t bytes);

/* The invariant; `blocks` is how many are held. */
void tly_arena_check(const struct tly_arena *arena, size_t blocks);

#endif
