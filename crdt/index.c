#include "crdt/index.h"

#include <assert.h>
#include <string.h>

#define HOMES_MIN 8u
/* A directory larger than this would not pay: hashes that agree so far are not divided any more. */
#define DEPTH_MAX 15u

#define TAIL_FOR(homes) (8u + (homes) / 64)
#define USUAL_ROOM (TLY_PAGE_HOMES + TAIL_FOR(TLY_PAGE_HOMES))

struct shape {
    uint32_t pages, homes, tail;
};

static size_t directory_bytes(uint32_t depth)
{
    return sizeof(struct tly_segment) << depth;
}

static struct shape shape_of(uint32_t pages, uint32_t homes)
{
    return (struct shape){pages, homes, TAIL_FOR(homes)};
}

/* For so many slots, with some room to grow. */
static struct shape shape_for(uint32_t used)
{
    uint32_t homes = used + used / 4 + used / 32;
    if (homes < HOMES_MIN) homes = HOMES_MIN;
    if (homes <= TLY_PAGE_HOMES) return shape_of(1, homes);
    homes = used + used / 8; /* and what is not yet a whole page */
    uint32_t pages = (homes + TLY_PAGE_HOMES - 1) / TLY_PAGE_HOMES;
    if (pages <= TLY_SEGMENT_PAGES) return shape_of(pages, TLY_PAGE_HOMES);
    return shape_of(TLY_SEGMENT_PAGES, homes / TLY_SEGMENT_PAGES);
}

/* ---- pages ---- */

/* An empty page; NULL: no memory. */
static struct tly_slot *take_page(struct tly_index *index, const struct tly_mem *mem, uint32_t room)
{
    size_t bytes = room * sizeof(struct tly_slot);
    if (room != USUAL_ROOM || index->spares == 0) return tly_mem_zeroed(mem, bytes);
    return memset(index->spare[--index->spares], 0, bytes);
}

static void give_page(struct tly_index *index, const struct tly_mem *mem, struct tly_slot *page,
                      uint32_t room)
{
    if (room == USUAL_ROOM && index->depth > 0 && index->spares < TLY_INDEX_SPARES)
        index->spare[index->spares++] = page;
    else
        tly_mem_free(mem, page, room * sizeof *page);
}

static void free_spares(struct tly_index *index, const struct tly_mem *mem)
{
    while (index->spares > 0)
        tly_mem_free(mem, index->spare[--index->spares], USUAL_ROOM * sizeof(struct tly_slot));
}

static void segment_fini(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *segment)
{
    for (uint32_t i = 0; i < segment->page_count; i++)
        give_page(index, mem, segment->pages[i], segment->room);
}

static bool segment_init(struct tly_index *index, const struct tly_mem *mem, struct shape shape,
                         uint32_t depth, struct tly_segment *segment)
{
    *segment = (struct tly_segment){.homes = shape.homes, .room = shape.homes + shape.tail, .depth = depth};
    for (; segment->page_count < shape.pages; segment->page_count++) {
        struct tly_slot *page = take_page(index, mem, segment->room);
        if (page == NULL) {
            segment_fini(index, mem, segment);
            return false;
        }
        segment->pages[segment->page_count] = page;
    }
    return true;
}

bool tly_index_init(struct tly_index *index, const struct tly_mem *mem)
{
    *index = (struct tly_index){0};
    index->directory = tly_mem_new(mem, directory_bytes(0));
    if (index->directory == NULL) return false;
    if (segment_init(index, mem, shape_for(0), 0, index->directory)) return true;
    tly_mem_free(mem, index->directory, directory_bytes(0));
    *index = (struct tly_index){0};
    return false;
}

/* Entries of the directory that one segment has. */
static size_t shares(const struct tly_index *index, const struct tly_segment *segment)
{
    return (size_t)1 << (index->depth - segment->depth);
}

/* The first of them, which keeps the count. */
static struct tly_segment *first_of(const struct tly_index *index, const struct tly_segment *segment)
{
    size_t at = (size_t)(segment - index->directory);
    return &index->directory[at & ~(shares(index, segment) - 1)];
}

static struct tly_segment *first_for(const struct tly_index *index, uint32_t hash)
{
    return first_of(index, tly_index_segment(index, hash));
}

static struct tly_segment *segment_after(const struct tly_index *index, struct tly_segment *first)
{
    first += shares(index, first);
    return first < index->directory + ((size_t)1 << index->depth) ? first : NULL;
}

void tly_index_fini(struct tly_index *index, const struct tly_mem *mem)
{
    if (index->directory == NULL) return;
    for (struct tly_segment *s = index->directory; s != NULL; s = segment_after(index, s))
        segment_fini(index, mem, s);
    free_spares(index, mem);
    tly_mem_free(mem, index->directory, directory_bytes(index->depth));
    *index = (struct tly_index){0};
}

static void publish(struct tly_index *index, struct tly_segment *first, const struct tly_segment *segment)
{
    for (size_t i = 0, n = shares(index, segment); i < n; i++)
        first[i] = *segment;
}

/* The first slot from there to the end of its page whose hash is not less. */
static struct tly_slot *first_in(const struct tly_slot *end, struct tly_slot *slot, uint32_t hash)
{
    for (; slot < end; slot++)
        if (slot->ref != 0 && slot->hash >= hash) return slot;
    return NULL;
}

struct tly_slot *tly_index_from(const struct tly_index *index, uint32_t hash)
{
    struct tly_segment *segment = first_for(index, hash);
    uint32_t page = tly_index_page(segment, hash);
    struct tly_slot *from = tly_index_home(segment, hash);
    for (;;) {
        struct tly_slot *found = first_in(segment->pages[page] + segment->room, from, hash);
        if (found != NULL) return found;
        if (++page == segment->page_count) {
            page = 0;
            segment = segment_after(index, segment);
            if (segment == NULL) return NULL;
        }
        from = segment->pages[page];
    }
}

/* ---- growing ---- */

/* Hashes from one to another, both among them. */
struct range {
    uint32_t from, to;
};

static inline bool is_within(const struct tly_slot *slot, struct range range)
{
    return slot->ref != 0 && slot->hash >= range.from && slot->hash <= range.to;
}

static uint32_t count_within(const struct tly_segment *segment, struct range range)
{
    uint32_t count = 0;
    for (uint32_t page = 0; page < segment->page_count; page++)
        for (uint32_t i = 0; i < segment->room; i++)
            count += is_within(&segment->pages[page][i], range);
    return count;
}

/* The page that slots are copied into: where the next one goes, and where none does. */
struct cursor {
    uint32_t page;
    struct tly_slot *slots, *next, *end;
};

static inline struct cursor cursor_at(const struct tly_segment *to, uint32_t page)
{
    struct tly_slot *slots = to->pages[page];
    return (struct cursor){page, slots, slots, slots + to->room - 2};
}

/* False: its page has no room for it and for one that is about to come. */
static inline bool append(const struct tly_segment *to, struct cursor *cursor, struct tly_slot slot)
{
    uint64_t spread = tly_index_spread(to, slot.hash);
    if (spread >> 32 != cursor->page) *cursor = cursor_at(to, (uint32_t)(spread >> 32));
    struct tly_slot *home = cursor->slots + tly_index_offset(to, spread);
    if (home > cursor->next) cursor->next = home;
    if (cursor->next >= cursor->end) return false;
    *cursor->next++ = slot;
    return true;
}

/* What a segment is made of: slots of another. */
struct source {
    const struct tly_segment *from;
    struct range range;
    uint32_t depth; /* of the new one */
};

/* Copies them into it, which is empty; false: a page has too short a tail. */
static bool fill(struct tly_segment *to, const struct source *source)
{
    const struct tly_segment *from = source->from;
    struct cursor cursor = cursor_at(to, 0);
    uint32_t used = 0;
    for (uint32_t page = 0; page < from->page_count; page++)
        for (const struct tly_slot *slot = from->pages[page], *end = slot + from->room; slot < end; slot++) {
            if (!is_within(slot, source->range)) continue;
            if (!append(to, &cursor, *slot)) return false;
            used++;
        }
    to->used = used;
    return true;
}

/* Makes a segment of slots of another; false: no memory. */
static bool segment_with(struct tly_index *index, const struct tly_mem *mem, struct shape shape,
                         const struct source *source, struct tly_segment *to)
{
    for (;; shape.tail *= 2) {
        if (!segment_init(index, mem, shape, source->depth, to)) return false;
        if (fill(to, source)) return true;
        segment_fini(index, mem, to);
    }
}

static bool reshape(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *first,
                    struct shape shape)
{
    struct tly_segment old = *first, made;
    const struct source whole = {&old, {0, UINT32_MAX}, old.depth};
    if (!segment_with(index, mem, shape, &whole, &made)) return false;
    index->moved += old.used;
    publish(index, first, &made);
    segment_fini(index, mem, &old);
    return true;
}

static bool double_directory(struct tly_index *index, const struct tly_mem *mem)
{
    size_t bytes = directory_bytes(index->depth);
    struct tly_segment *grown = tly_mem_resize(mem, index->directory, bytes, 2 * bytes);
    if (grown == NULL) return false;
    for (size_t i = (size_t)1 << index->depth; i-- > 0;)
        grown[2 * i] = grown[2 * i + 1] = grown[i];
    index->directory = grown;
    index->depth++;
    return true;
}

/* Of one segment two, by the next bit of the hash. */
static bool divide(struct tly_index *index, const struct tly_mem *mem, uint32_t hash)
{
    if (tly_index_segment(index, hash)->depth == index->depth && !double_directory(index, mem)) return false;
    struct tly_segment *first = first_for(index, hash), old = *first, low, high;
    uint32_t depth = old.depth + 1, middle = (hash >> (32 - depth) | 1) << (32 - depth);
    const struct source lower = {&old, {0, middle - 1}, depth}, upper = {&old, {middle, UINT32_MAX}, depth};
    uint32_t of_lower = count_within(&old, lower.range);
    if (!segment_with(index, mem, shape_for(of_lower), &lower, &low)) return false;
    if (!segment_with(index, mem, shape_for(old.used - of_lower), &upper, &high)) {
        segment_fini(index, mem, &low);
        return false;
    }
    index->moved += old.used;
    publish(index, first, &low);
    publish(index, first + shares(index, &low), &high);
    segment_fini(index, mem, &old);
    return true;
}

/* By how many pages a segment grows: all its slots are moved each time. */
static uint32_t pages_more(uint32_t pages)
{
    return pages < TLY_SEGMENT_PAGES / 2 || pages + 1 == TLY_SEGMENT_PAGES ? 1 : 2;
}

/* More homes, for a segment that is full. */
static bool grow(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *first, uint32_t hash)
{
    uint32_t pages = first->page_count, homes = first->homes, more = homes + homes / 8 + HOMES_MIN;
    if (pages == 1 && homes < TLY_PAGE_HOMES)
        return reshape(index, mem, first, shape_of(1, more < TLY_PAGE_HOMES ? more : TLY_PAGE_HOMES));
    if (pages < TLY_SEGMENT_PAGES)
        return reshape(index, mem, first, shape_of(pages + pages_more(pages), homes));
    if (first->depth < DEPTH_MAX) return divide(index, mem, hash);
    return reshape(index, mem, first, shape_of(pages, more));
}

/* A longer tail, for a segment whose hashes are crowded at one place. */
static bool lengthen(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *first)
{
    return reshape(index, mem, first,
                   (struct shape){first->page_count, first->homes, 2 * (first->room - first->homes)});
}

static bool is_above(const struct tly_segment *first, uint32_t part, uint32_t of)
{
    return (uint64_t)(first->used + 1) * of > (uint64_t)first->page_count * first->homes * part;
}

/* The place for one more slot of this hash: behind those that are not greater. */
static struct tly_slot *place_from(struct tly_slot *slot, uint32_t hash)
{
    while (slot->ref != 0 && slot->hash <= hash)
        slot++;
    return slot;
}

static struct tly_slot *empty_from(struct tly_slot *slot)
{
    while (slot->ref != 0)
        slot++;
    return slot;
}

bool tly_index_reserve(struct tly_index *index, const struct tly_mem *mem, uint32_t hash)
{
    for (;;) {
        struct tly_segment *first = first_for(index, hash);
        if (!is_above(first, 9, 10)) {
            const struct tly_slot *last = first->pages[tly_index_page(first, hash)] + first->room - 1;
            index->place = place_from(tly_index_home(first, hash), hash);
            index->empty = empty_from(index->place);
            /* The last slot of a page stays empty, so that a walk needs no other end. */
            if (index->empty < last) return true;
            if (!is_above(first, 3, 4)) {
                if (!lengthen(index, mem, first)) return false;
                continue;
            }
        }
        if (!grow(index, mem, first, hash)) return false;
    }
}

struct tly_slot *tly_index_add(struct tly_index *index, uint32_t hash, uint32_t ref)
{
    struct tly_segment *first = first_for(index, hash);
    struct tly_slot *slot = index->place;
    assert(ref != 0 && index->empty->ref == 0);
    for (struct tly_slot *to = index->empty; to > slot; to--)
        to[0] = to[-1];
    *slot = (struct tly_slot){hash, ref};
    first->used++;
    index->used++;
    return slot;
}

void tly_index_remove(struct tly_index *index, const struct tly_mem *mem, struct tly_slot *slot)
{
    struct tly_segment *first = first_for(index, slot->hash);
    /* All that follow up to the first one at home move back by one. */
    struct tly_slot *end = slot + 1;
    while (end->ref != 0 && tly_index_home(first, end->hash) < end)
        end++;
    memmove(slot, slot + 1, (size_t)(end - slot - 1) * sizeof *slot);
    end[-1] = (struct tly_slot){0, 0};
    first->used--;
    index->used--;
    /* Without memory for a smaller one the large one stays. */
    uint32_t homes = first->page_count * first->homes;
    if (homes > 4 * HOMES_MIN && first->used < homes / 3)
        (void)reshape(index, mem, first, shape_for(first->used));
    if (index->used < TLY_PAGE_HOMES) free_spares(index, mem);
}

/* ---- the invariant ---- */

/* Slots of a page, sorted, each as near to its home as those before it let; what of the hash all share is `number`. */
static size_t check_page(const struct tly_segment *segment, uint32_t page, size_t number)
{
    size_t used = 0;
    uint32_t before = 0;
    const struct tly_slot *slots = segment->pages[page];
    for (uint32_t i = 0; i < segment->room; i++) {
        uint32_t hash = slots[i].hash;
        if (slots[i].ref == 0) {
            assert(hash == 0);
            continue;
        }
        const struct tly_slot *home = tly_index_home(segment, hash);
        assert((uint64_t)hash << segment->depth >> 32 == number && tly_index_page(segment, hash) == page);
        assert(home <= &slots[i] && (home == &slots[i] || slots[i - 1].ref != 0));
        assert(hash >= before);
        before = hash;
        used++;
        (void)home;
    }
    assert(slots[segment->room - 1].ref == 0);
    (void)number;
    return used;
}

static size_t check_segment(const struct tly_index *index, const struct tly_segment *first)
{
    size_t used = 0, share = shares(index, first), number = (size_t)(first - index->directory) / share;
    assert(first->page_count > 0 && first->page_count <= TLY_SEGMENT_PAGES);
    for (uint32_t page = 0; page < first->page_count; page++)
        used += check_page(first, page, number);
    assert(used == first->used);
    for (size_t i = 1; i < share; i++) {
        const struct tly_segment *same = &first[i];
        assert(same->page_count == first->page_count && same->homes == first->homes);
        assert(same->room == first->room && same->depth == first->depth);
        assert(memcmp(same->pages, first->pages, first->page_count * sizeof first->pages[0]) == 0);
        (void)same;
    }
    return used;
}

void tly_index_check(const struct tly_index *index)
{
    size_t used = 0;
    for (struct tly_segment *s = index->directory; s != NULL; s = segment_after(index, s))
        used += check_segment(index, s);
    assert(index->spares <= TLY_INDEX_SPARES);
    assert(used == index->used);
}
