#include "service/shell/heap.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1; others refuse it */
#endif

#define REGION_BYTES ((size_t)2 << 20)
#define LEAF_SHIFT 9u
#define LEAF_BYTES ((size_t)1 << LEAF_SHIFT)
#define LEAVES (REGION_BYTES >> LEAF_SHIFT)
/* A block of order n has 2^n leaves. */
#define ORDER_MAX 9u
#define BLOCK_MAX (LEAF_BYTES << ORDER_MAX)
/* Leaves that the head of a region takes. */
#define HEAD_LEAVES 16u

/* A free block begins with this. */
struct gap {
    struct gap *next, *prev;
};

struct region {
    struct region *next, *prev;
    size_t used;          /* leaves */
    uint8_t free[LEAVES]; /* where a free block begins, its order + 1 */
};

static_assert(sizeof(struct region) <= HEAD_LEAVES * LEAF_BYTES, "the head of a region has room");
static_assert(sizeof(struct gap) <= LEAF_BYTES, "a free block can be listed");

struct tly_heap {
    struct region *regions;
    struct gap *gaps[ORDER_MAX + 1];
    size_t region_count, empty_count, held;
    bool is_large; /* large pages are asked for */
};

/* ---- sizes ---- */

static unsigned order_for(size_t bytes)
{
    unsigned order = 0;
    while (LEAF_BYTES << order < bytes)
        order++;
    return order;
}

bool tly_heap_takes(size_t bytes)
{
    if (bytes <= LEAF_BYTES / 2 || bytes > BLOCK_MAX) return false;
    size_t block = LEAF_BYTES << order_for(bytes);
    return block - bytes <= block / 8;
}

/* ---- regions ---- */

static struct region *region_of(const void *block)
{
    return (struct region *)((uintptr_t)block & ~(uintptr_t)(REGION_BYTES - 1));
}

static size_t leaf_of(const struct region *region, const void *block)
{
    return (size_t)((const uint8_t *)block - (const uint8_t *)region) >> LEAF_SHIFT;
}

static void *block_at(struct region *region, size_t leaf)
{
    return (uint8_t *)region + (leaf << LEAF_SHIFT);
}

static void list_gap(struct tly_heap *heap, struct region *region, size_t leaf, unsigned order)
{
    struct gap *gap = block_at(region, leaf);
    *gap = (struct gap){.next = heap->gaps[order]};
    if (gap->next != NULL) gap->next->prev = gap;
    heap->gaps[order] = gap;
    region->free[leaf] = (uint8_t)(order + 1);
}

static void unlist_gap(struct tly_heap *heap, struct region *region, size_t leaf, unsigned order)
{
    struct gap *gap = block_at(region, leaf);
    if (gap->prev != NULL)
        gap->prev->next = gap->next;
    else
        heap->gaps[order] = gap->next;
    if (gap->next != NULL) gap->next->prev = gap->prev;
    region->free[leaf] = 0;
}

/* An aligned piece of address space, cut out of a larger one. */
static void *map_region(void)
{
    uint8_t *all = mmap(NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return NULL;
    size_t before = (REGION_BYTES - ((uintptr_t)all & (REGION_BYTES - 1))) & (REGION_BYTES - 1);
    uint8_t *region = all + before, *end = region + REGION_BYTES;
    if (before > 0) (void)munmap(all, before);
    (void)munmap(end, REGION_BYTES - before);
    return region;
}

/* From now on pages are large; the one region that is there already becomes so. Whatever the kernel says to it. */
static void turn_large(struct tly_heap *heap)
{
    for (struct region *region = heap->regions; region != NULL; region = region->next) {
        (void)madvise(region, REGION_BYTES, MADV_HUGEPAGE);
        (void)madvise(region, REGION_BYTES, MADV_COLLAPSE);
    }
    heap->is_large = true;
}

/* How large the block is that begins at this leaf of an empty region. */
static unsigned order_at(size_t leaf)
{
    unsigned order = (unsigned)__builtin_ctzll(leaf);
    return order < ORDER_MAX ? order : ORDER_MAX;
}

static bool add_region(struct tly_heap *heap)
{
    struct region *region = map_region();
    if (region == NULL) return false;
    if (!heap->is_large && heap->region_count > 0) turn_large(heap);
    if (heap->is_large) (void)madvise(region, REGION_BYTES, MADV_HUGEPAGE);
    region->next = heap->regions;
    if (region->next != NULL) region->next->prev = region;
    heap->regions = region;
    heap->region_count++;
    heap->empty_count++;
    for (size_t leaf = HEAD_LEAVES; leaf < LEAVES; leaf += (size_t)1 << order_at(leaf))
        list_gap(heap, region, leaf, order_at(leaf));
    return true;
}

static void drop_region(struct tly_heap *heap, struct region *region)
{
    for (size_t leaf = HEAD_LEAVES; leaf < LEAVES; leaf += (size_t)1 << order_at(leaf))
        unlist_gap(heap, region, leaf, order_at(leaf));
    if (region->prev != NULL)
        region->prev->next = region->next;
    else
        heap->regions = region->next;
    if (region->next != NULL) region->next->prev = region->prev;
    heap->region_count--;
    heap->empty_count--;
    (void)munmap(region, REGION_BYTES);
}

/* ---- blocks ---- */

static void *take(struct tly_heap *heap, size_t bytes)
{
    unsigned order = order_for(bytes), found = order;
    while (found <= ORDER_MAX && heap->gaps[found] == NULL)
        found++;
    if (found > ORDER_MAX) {
        if (!add_region(heap)) return NULL;
        found = order;
        while (heap->gaps[found] == NULL)
            found++;
    }
    void *block = heap->gaps[found];
    struct region *region = region_of(block);
    size_t leaf = leaf_of(region, block), leaves = (size_t)1 << order;
    unlist_gap(heap, region, leaf, found);
    while (found > order) {
        found--;
        list_gap(heap, region, leaf + ((size_t)1 << found), found);
    }
    if (region->used == 0) heap->empty_count--;
    region->used += leaves;
    heap->held += leaves << LEAF_SHIFT;
    return block;
}

static void give_back(struct tly_heap *heap, void *block, size_t bytes)
{
    unsigned order = order_for(bytes);
    struct region *region = region_of(block);
    size_t leaf = leaf_of(region, block), leaves = (size_t)1 << order;
    assert(region->used >= leaves && region->free[leaf] == 0);
    region->used -= leaves;
    heap->held -= leaves << LEAF_SHIFT;
    for (; order < ORDER_MAX; order++) {
        size_t buddy = leaf ^ (size_t)1 << order;
        if (region->free[buddy] != order + 1) break;
        unlist_gap(heap, region, buddy, order);
        leaf &= ~((size_t)1 << order);
    }
    list_gap(heap, region, leaf, order);
    if (region->used > 0) return;
    heap->empty_count++;
    if (heap->empty_count > 1) drop_region(heap, region);
}

static void *get(struct tly_heap *heap, size_t bytes)
{
    return tly_heap_takes(bytes) ? take(heap, bytes) : malloc(bytes);
}

static void release(struct tly_heap *heap, void *block, size_t bytes)
{
    if (block == NULL) return;
    if (tly_heap_takes(bytes))
        give_back(heap, block, bytes);
    else
        free(block);
}

static void *resize(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    struct tly_heap *heap = context;
    bool was_ours = block != NULL && tly_heap_takes(old_bytes), will_be = tly_heap_takes(new_bytes);
    if (new_bytes == 0) {
        release(heap, block, old_bytes);
        return NULL;
    }
    if (block == NULL) return get(heap, new_bytes);
    if (!was_ours && !will_be) return realloc(block, new_bytes);
    if (was_ours && will_be && order_for(old_bytes) == order_for(new_bytes)) return block;
    void *moved = get(heap, new_bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    release(heap, block, old_bytes);
    return moved;
}

/* ---- the whole ---- */

struct tly_heap *tly_heap_new(void)
{
    return calloc(1, sizeof(struct tly_heap));
}

void tly_heap_free(struct tly_heap *heap)
{
    if (heap == NULL) return;
    assert(heap->held == 0);
    while (heap->regions != NULL)
        drop_region(heap, heap->regions);
    free(heap);
}

struct tly_mem tly_heap_mem(struct tly_heap *heap)
{
    return (struct tly_mem){resize, heap};
}

size_t tly_heap_regions(const struct tly_heap *heap)
{
    return heap->region_count;
}

size_t tly_heap_held(const struct tly_heap *heap)
{
    return heap->held;
}

/* ---- the invariant ---- */

/* Leaves of a region that are free; no two free blocks that are buddies stand side by side. */
static size_t check_region(const struct region *region)
{
    size_t free_leaves = 0;
    for (size_t leaf = HEAD_LEAVES; leaf < LEAVES; leaf++) {
        if (region->free[leaf] == 0) continue;
        unsigned order = region->free[leaf] - 1u;
        size_t leaves = (size_t)1 << order;
        assert(order <= ORDER_MAX && leaf % leaves == 0);
        assert(order == ORDER_MAX || region->free[leaf ^ leaves] != order + 1);
        for (size_t i = 1; i < leaves; i++)
            assert(region->free[leaf + i] == 0);
        free_leaves += leaves;
    }
    return free_leaves;
}

void tly_heap_check(const struct tly_heap *heap)
{
    size_t count = 0, empty = 0, held = 0, free_leaves = 0, listed = 0;
    for (const struct region *region = heap->regions; region != NULL; region = region->next, count++) {
        size_t gaps = check_region(region);
        assert(gaps + region->used + HEAD_LEAVES == LEAVES);
        free_leaves += gaps;
        empty += region->used == 0;
        held += region->used << LEAF_SHIFT;
    }
    for (unsigned order = 0; order <= ORDER_MAX; order++)
        for (const struct gap *gap = heap->gaps[order]; gap != NULL; gap = gap->next) {
            struct region *region = region_of(gap);
            assert(region->free[leaf_of(region, gap)] == order + 1);
            listed += (size_t)1 << order;
        }
    assert(count == heap->region_count && empty == heap->empty_count && empty <= 1);
    assert(held == heap->held && listed == free_leaves);
}
