#include "crdt/index.h"

#include <assert.h>
#include <string.h>

#define CAPACITY_MIN 8u
#define TAIL_MIN 8u
/* A directory larger than this would not pay: hashes that agree so far are not divided any more. */
#define DEPTH_MAX 18u

static size_t bytes_of(const struct tly_segment *segment)
{
    return segment->room * sizeof *segment->slots;
}

static size_t directory_bytes(uint32_t depth)
{
    return sizeof(struct tly_segment) << depth;
}

static uint32_t tail_for(uint32_t capacity)
{
    return TAIL_MIN + capacity / 64;
}

/* Homes for so many slots with some room to grow. */
static uint32_t capacity_for(uint32_t used)
{
    uint32_t capacity = used + used / 4 + used / 32;
    return capacity > CAPACITY_MIN ? capacity : CAPACITY_MIN;
}

static bool segment_init(struct tly_segment *segment, const struct tly_mem *mem, uint32_t capacity,
                         uint32_t tail, uint32_t depth)
{
    *segment = (struct tly_segment){.capacity = capacity, .room = capacity + tail, .depth = depth};
    segment->slots = tly_mem_zeroed(mem, bytes_of(segment));
    return segment->slots != NULL;
}

static void segment_fini(struct tly_segment *segment, const struct tly_mem *mem)
{
    tly_mem_free(mem, segment->slots, bytes_of(segment));
}

bool tly_index_init(struct tly_index *index, const struct tly_mem *mem)
{
    *index = (struct tly_index){0};
    index->directory = tly_mem_new(mem, directory_bytes(0));
    if (index->directory == NULL) return false;
    if (segment_init(index->directory, mem, CAPACITY_MIN, TAIL_MIN, 0)) return true;
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
        segment_fini(s, mem);
    tly_mem_free(mem, index->directory, directory_bytes(index->depth));
    *index = (struct tly_index){0};
}

static void publish(struct tly_index *index, struct tly_segment *first, const struct tly_segment *segment)
{
    for (size_t i = 0, n = (size_t)1 << (index->depth - segment->depth); i < n; i++)
        first[i] = *segment;
}

struct tly_slot *tly_index_from(const struct tly_index *index, uint32_t hash)
{
    struct tly_segment *segment = first_for(index, hash);
    struct tly_slot *slot = tly_index_home(segment, hash);
    for (;;) {
        for (const struct tly_slot *end = segment->slots + segment->room; slot < end; slot++)
            if (slot->ref != 0 && slot->hash >= hash) return slot;
        segment = segment_after(index, segment);
        if (segment == NULL) return NULL;
        slot = segment->slots;
    }
}

/* ---- growing ---- */

/*
 * Copies sorted slots into an empty segment. False: its tail is too short for the last run; nothing but the new segment has
 * changed.
 */
static bool fill(struct tly_segment *to, const struct tly_slot *from, const struct tly_slot *end)
{
    struct tly_slot *next = to->slots, *last = to->slots + to->room - 1;
    for (; from < end; from++) {
        if (from->ref == 0) continue;
        struct tly_slot *home = tly_index_home(to, from->hash);
        if (home > next) next = home;
        if (next >= last) return false;
        *next++ = *from;
        to->used++;
    }
    return true;
}

/* A segment of these slots; its tail as long as it takes. */
static bool refill(struct tly_segment *to, const struct tly_mem *mem, uint32_t capacity, uint32_t tail,
                   const struct tly_slot *from, const struct tly_slot *end)
{
    uint32_t depth = to->depth;
    for (;; tail *= 2) {
        if (!segment_init(to, mem, capacity, tail, depth)) return false;
        if (fill(to, from, end)) return true;
        segment_fini(to, mem);
    }
}

static bool resize(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *first,
                   uint32_t capacity, uint32_t tail)
{
    struct tly_segment grown = {.depth = first->depth}, old = *first;
    if (!refill(&grown, mem, capacity, tail, old.slots, old.slots + old.room)) return false;
    index->moved += old.used;
    segment_fini(&old, mem);
    publish(index, first, &grown);
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
    struct tly_segment *first = first_for(index, hash), old = *first;
    struct tly_segment low = {.depth = old.depth + 1}, high = low;
    uint32_t bit = UINT32_C(1) << (31 - old.depth), below = 0;
    const struct tly_slot *middle = old.slots, *end = old.slots + old.room;
    for (const struct tly_slot *slot = old.slots; slot < end; slot++) {
        if (slot->ref == 0 || (slot->hash & bit) != 0) continue;
        middle = slot + 1;
        below++;
    }
    uint32_t low_homes = capacity_for(below), high_homes = capacity_for(old.used - below);
    if (!refill(&low, mem, low_homes, tail_for(low_homes), old.slots, middle)) return false;
    if (!refill(&high, mem, high_homes, tail_for(high_homes), middle, end)) {
        segment_fini(&low, mem);
        return false;
    }
    index->moved += old.used;
    segment_fini(&old, mem);
    size_t half = (size_t)1 << (index->depth - low.depth);
    publish(index, first, &low);
    publish(index, first + half, &high);
    return true;
}

/* The place for one more slot of this hash: behind those that are not greater. */
static struct tly_slot *place_for(const struct tly_segment *segment, uint32_t hash)
{
    struct tly_slot *slot = tly_index_home(segment, hash);
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
        bool full = (uint64_t)(first->used + 1) * 8 > (uint64_t)first->capacity * 7;
        if (!full) {
            /* The last slot of a segment stays empty, so that a walk needs no other end. */
            const struct tly_slot *last = first->slots + first->room - 1;
            if (empty_from(place_for(first, hash)) < last) return true;
            if (!resize(index, mem, first, first->capacity, (first->room - first->capacity) * 2))
                return false;
        } else if (first->capacity < TLY_SEGMENT_SLOTS || first->depth == DEPTH_MAX) {
            uint32_t capacity = first->capacity + first->capacity / 8 + CAPACITY_MIN;
            if (!resize(index, mem, first, capacity, tail_for(capacity))) return false;
        } else if (!divide(index, mem, hash)) {
            return false;
        }
    }
}

struct tly_slot *tly_index_add(struct tly_index *index, uint32_t hash, uint32_t ref)
{
    struct tly_segment *first = first_for(index, hash);
    struct tly_slot *slot = place_for(first, hash), *empty = empty_from(slot);
    assert(ref != 0 && empty < first->slots + first->room - 1);
    memmove(slot + 1, slot, (size_t)(empty - slot) * sizeof *slot);
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
    if (first->capacity > 4 * CAPACITY_MIN && first->used < first->capacity / 3) {
        /* Without memory for the smaller one the large one stays. */
        uint32_t capacity = capacity_for(first->used);
        (void)resize(index, mem, first, capacity, tail_for(capacity));
    }
}

/* ---- the invariant ---- */

static size_t check_segment(const struct tly_index *index, const struct tly_segment *first)
{
    size_t used = 0, share = shares(index, first), number = (size_t)(first - index->directory) / share;
    const struct tly_slot *before = NULL;
    for (const struct tly_slot *slot = first->slots; slot < first->slots + first->room; slot++) {
        if (slot->ref == 0) {
            assert(slot->hash == 0);
            continue;
        }
        assert((uint64_t)slot->hash << first->depth >> 32 == number);
        const struct tly_slot *home = tly_index_home(first, slot->hash);
        assert(home <= slot && (home == slot || slot[-1].ref != 0));
        assert(before == NULL || before->hash <= slot->hash);
        before = slot;
        used++;
        (void)home;
    }
    assert(first->slots[first->room - 1].ref == 0 && used == first->used);
    for (size_t i = 0; i < share; i++)
        assert(first[i].slots == first->slots && first[i].capacity == first->capacity &&
               first[i].room == first->room && first[i].depth == first->depth);
    (void)before;
    (void)number;
    return used;
}

void tly_index_check(const struct tly_index *index)
{
    size_t used = 0;
    for (struct tly_segment *s = index->directory; s != NULL; s = segment_after(index, s))
        used += check_segment(index, s);
    assert(used == index->used);
}
