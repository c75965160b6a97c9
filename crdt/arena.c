#include "crdt/arena.h"

#include <assert.h>
#include <string.h>

#define LARGE TLY_ARENA_SIZES
#define STEPPED_MAX 256u
#define PAGES_MAX ((size_t)1 << 18)

static unsigned log2_of(size_t n)
{
    return 63u - (unsigned)__builtin_clzll(n);
}

static unsigned size_for(size_t bytes)
{
    if (bytes <= 4) return 0;
    if (bytes <= STEPPED_MAX) return (unsigned)(bytes + 3) / 4 - 1;
    if (bytes > TLY_ARENA_SMALL_MAX) return LARGE;
    unsigned doubling = log2_of(bytes - 1);
    return 64 + (doubling - 8) * 8 + (unsigned)((bytes - 1) >> (doubling - 3) & 7);
}

static size_t bytes_of(unsigned size)
{
    if (size < 64) return ((size_t)size + 1) * 4;
    unsigned doubling = (size - 64) / 8 + 8;
    return ((size_t)1 << doubling) + ((size_t)(size - 64) % 8 + 1) * ((size_t)1 << (doubling - 3));
}

/* Large blocks grow by eighths, so that growing cell by cell copies each byte a few times only. */
static size_t large_bytes(size_t bytes)
{
    size_t step = (size_t)1 << (log2_of(bytes) - 3);
    return (bytes + step - 1) / step * step;
}

size_t tly_arena_room_for(size_t bytes)
{
    unsigned size = size_for(bytes);
    return size == LARGE ? large_bytes(bytes) : bytes_of(size);
}

size_t tly_arena_room(const struct tly_arena *arena, uint32_t ref)
{
    const struct tly_page *page = &arena->pages[ref >> 14];
    return page->size == LARGE ? page->total - TLY_ARENA_SLACK : bytes_of(page->size);
}

void tly_arena_fini(struct tly_arena *arena, const struct tly_mem *mem)
{
    for (size_t i = 1; i < arena->count; i++)
        tly_mem_free(mem, arena->pages[i].bytes, arena->pages[i].total);
    tly_mem_free(mem, arena->pages, arena->capacity * sizeof *arena->pages);
    *arena = (struct tly_arena){0};
}

/* ---- pages ---- */

/* A number for a page; 0: none. It stays unused until take_number. */
static uint32_t reserve_number(struct tly_arena *arena, const struct tly_mem *mem)
{
    if (arena->free_number != 0) return arena->free_number;
    size_t next = arena->count > 0 ? arena->count : 1;
    if (next == PAGES_MAX) return 0;
    void *pages = tly_mem_reserve(mem, arena->pages, &arena->capacity, next + 1, sizeof *arena->pages);
    if (pages == NULL) return 0;
    arena->pages = pages;
    return (uint32_t)next;
}

static uint32_t new_page(struct tly_arena *arena, const struct tly_mem *mem, size_t total, unsigned size)
{
    uint32_t number = reserve_number(arena, mem);
    if (number == 0 || total > UINT32_MAX) return 0;
    uint8_t *bytes = tly_mem_new(mem, total);
    if (bytes == NULL) return 0;
    if (number == arena->free_number)
        arena->free_number = arena->pages[number].next;
    else
        arena->count = (size_t)number + 1;
    arena->pages[number] =
        (struct tly_page){.bytes = bytes, .total = (uint32_t)total, .size = (uint16_t)size};
    return number;
}

static void release_page(struct tly_arena *arena, const struct tly_mem *mem, uint32_t number)
{
    struct tly_page *page = &arena->pages[number];
    tly_mem_free(mem, page->bytes, page->total);
    *page = (struct tly_page){.next = arena->free_number};
    arena->free_number = number;
}

static void link_open(struct tly_arena *arena, uint32_t number)
{
    struct tly_page *page = &arena->pages[number];
    uint32_t *head = &arena->open[page->size];
    page->prev = 0;
    page->next = *head;
    if (*head != 0) arena->pages[*head].prev = number;
    *head = number;
}

static void unlink_open(struct tly_arena *arena, uint32_t number)
{
    const struct tly_page *page = &arena->pages[number];
    if (page->prev != 0)
        arena->pages[page->prev].next = page->next;
    else
        arena->open[page->size] = page->next;
    if (page->next != 0) arena->pages[page->next].prev = page->prev;
}

static size_t page_bytes(size_t held, size_t block)
{
    size_t least = block * 4 + TLY_ARENA_SLACK;
    size_t bytes = held < TLY_PAGE_BYTES_MIN ? TLY_PAGE_BYTES_MIN : held;
    if (bytes < least) bytes = least;
    return bytes < TLY_PAGE_BYTES ? bytes : TLY_PAGE_BYTES;
}

static bool is_full(const struct tly_page *page)
{
    size_t block = bytes_of(page->size);
    return page->freed == 0 && (size_t)page->fresh * 4 + block + TLY_ARENA_SLACK > page->total;
}

/* ---- blocks ---- */

static uint32_t take_block(struct tly_arena *arena, uint32_t number)
{
    struct tly_page *page = &arena->pages[number];
    uint16_t at;
    if (page->freed != 0) {
        at = (uint16_t)(page->freed - 1);
        memcpy(&page->freed, page->bytes + (size_t)at * 4, sizeof page->freed);
    } else {
        at = page->fresh;
        page->fresh = (uint16_t)(page->fresh + bytes_of(page->size) / 4);
    }
    page->used++;
    if (is_full(page)) unlink_open(arena, number);
    return number << 14 | at;
}

uint32_t tly_arena_new(struct tly_arena *arena, const struct tly_mem *mem, size_t bytes)
{
    unsigned size = size_for(bytes);
    if (size == LARGE) {
        uint32_t number = new_page(arena, mem, large_bytes(bytes) + TLY_ARENA_SLACK, LARGE);
        if (number != 0) arena->pages[number].used = 1;
        return number << 14;
    }
    if (arena->open[size] == 0) {
        uint32_t number = new_page(arena, mem, page_bytes(arena->held[size], bytes_of(size)), size);
        if (number == 0) return 0;
        arena->held[size] += arena->pages[number].total;
        link_open(arena, number);
    }
    return take_block(arena, arena->open[size]);
}

void tly_arena_free(struct tly_arena *arena, const struct tly_mem *mem, uint32_t ref)
{
    uint32_t number = ref >> 14;
    struct tly_page *page = &arena->pages[number];
    assert(page->used > 0);
    if (page->size == LARGE) {
        release_page(arena, mem, number);
        return;
    }
    if (is_full(page)) link_open(arena, number);
    uint16_t at = (uint16_t)(ref & 0x3fff);
    memcpy(page->bytes + (size_t)at * 4, &page->freed, sizeof page->freed);
    page->freed = (uint16_t)(at + 1);
    page->used--;
    bool alone = arena->open[page->size] == number && page->next == 0;
    if (page->used > 0 || alone) return;
    arena->held[page->size] -= page->total;
    unlink_open(arena, number);
    release_page(arena, mem, number);
}

/* ---- the invariant ---- */

static void check_page(const struct tly_page *page)
{
    size_t block = bytes_of(page->size), freed = 0;
    for (uint16_t at = page->freed; at != 0; freed++) {
        size_t offset = ((size_t)at - 1) * 4;
        assert(offset % block == 0 && at <= page->fresh && freed < TLY_PAGE_BYTES);
        memcpy(&at, page->bytes + offset, sizeof at);
    }
    assert((size_t)page->fresh * 4 == (page->used + freed) * block);
    assert((size_t)page->fresh * 4 + TLY_ARENA_SLACK <= page->total);
    (void)block;
}

static size_t count_open(const struct tly_arena *arena)
{
    size_t count = 0;
    for (unsigned size = 0; size < TLY_ARENA_SIZES; size++) {
        uint32_t prev = 0;
        for (uint32_t i = arena->open[size]; i != 0; prev = i, i = arena->pages[i].next, count++) {
            assert(arena->pages[i].size == size && arena->pages[i].prev == prev);
            assert(!is_full(&arena->pages[i]));
        }
        (void)prev;
    }
    return count;
}

void tly_arena_check(const struct tly_arena *arena, size_t blocks)
{
    size_t used = 0, open = 0, held[TLY_ARENA_SIZES + 1] = {0};
    for (size_t i = 1; i < arena->count; i++) {
        const struct tly_page *page = &arena->pages[i];
        if (page->bytes == NULL) continue;
        used += page->used;
        held[page->size] += page->total;
        if (page->size == LARGE) continue;
        check_page(page);
        open += !is_full(page);
    }
    assert(used == blocks && open == count_open(arena));
    for (unsigned size = 0; size < TLY_ARENA_SIZES; size++)
        assert(held[size] == arena->held[size]);
    (void)blocks;
}
