#include "crdt/index.h"

#include <assert.h>
#include <string.h>

#define CAPACITY_MIN 8u
#define TAIL_MIN 8u
/* A directory larger than this would not pay: hashes that agree so far are not divided any more. */
#define DEPTH_MAX 18u

/* Blocks of more slots than this are whole from the start. */
#define EXACT_MAX 1024u
#define WHOLE (TLY_SEGMENT_SLOTS + TAIL_MIN + TLY_SEGMENT_SLOTS / 64)

static size_t bytes_of(const struct tly_segment *segment)
{
    return segment->allotted * sizeof *segment->slots;
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
    uint32_t room = capacity + tail;
    *segment = (struct tly_segment){.capacity = capacity, .room = room, .allotted = room, .depth = depth};
    if (room > EXACT_MAX && room < WHOLE) segment->allotted = WHOLE;
    segment->slots = tly_mem_new(mem, bytes_of(segment));
    if (segment->slots == NULL) return false;
    memset(segment->slots, 0, room * sizeof *segment->slots);
    return true;
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
    tly_mem_free(mem, index->aside, WHOLE * sizeof *index->aside);
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

/* Some sorted slots, with empty ones among them. */
struct run {
    const struct tly_slot *from, *end;
};

/* The tail of a segment whose slots end there: one slot stays empty, one is for what is about to come. */
static uint32_t tail_after(uint64_t next, uint32_t capacity)
{
    uint32_t tail = tail_for(capacity);
    return next + 2 > (uint64_t)capacity + tail ? (uint32_t)(next - capacity) + tail : tail;
}

/* The tail that the last run will need. */
static uint32_t tail_of(struct run run, uint32_t capacity, uint32_t depth)
{
    uint64_t next = 0;
    for (const struct tly_slot *slot = run.from; slot < run.end; slot++) {
        if (slot->ref == 0) continue;
        uint64_t home = (uint64_t)(uint32_t)(slot->hash << depth) * capacity >> 32;
        next = (home > next ? home : next) + 1;
    }
    return tail_after(next, capacity);
}

/* Copies the slots into an empty segment; where they end, NULL: past its room. */
static const struct tly_slot *fill(struct tly_segment *to, struct run run)
{
    struct tly_slot *next = to->slots;
    const struct tly_slot *last = to->slots + to->room - 1;
    uint32_t used = 0;
    for (const struct tly_slot *slot = run.from; slot < run.end; slot++) {
        if (slot->ref == 0) continue;
        struct tly_slot *home = tly_index_home(to, slot->hash);
        if (home > next) next = home;
        if (next >= last) return NULL;
        *next++ = *slot;
        used++;
    }
    to->used = used;
    return next;
}

static void fill_fitting(struct tly_segment *to, struct run run)
{
    const struct tly_slot *end = fill(to, run);
    assert(end != NULL);
    (void)end;
}

static bool reserve_aside(struct tly_index *index, const struct tly_mem *mem)
{
    if (index->aside == NULL) index->aside = tly_mem_new(mem, WHOLE * sizeof *index->aside);
    return index->aside != NULL;
}

/* Spreads the slots over so many homes of the block in which they are, as `aside` has room. False: they stay as they were. */
static bool respread(struct tly_index *index, struct tly_segment *segment, uint32_t capacity)
{
    struct tly_segment old = *segment;
    size_t bytes = old.room * sizeof *old.slots;
    uint32_t most = capacity + 2 * tail_for(capacity);
    memcpy(index->aside, old.slots, bytes);
    segment->capacity = capacity;
    segment->room = most < old.allotted ? most : old.allotted;
    memset(old.slots, 0, (old.room > segment->room ? old.room : segment->room) * sizeof *old.slots);
    const struct tly_slot *end = fill(segment, (struct run){index->aside, index->aside + old.room});
    uint32_t room = end == NULL ? 0 : capacity + tail_after((uint64_t)(end - old.slots), capacity);
    if (end != NULL && room <= segment->room) {
        segment->room = room;
        return true;
    }
    memcpy(old.slots, index->aside, bytes);
    *segment = old;
    return false;
}

/* The lower part of the slots alone, over so many homes, which suffice. */
static void respread_lower(struct tly_index *index, struct tly_segment *segment, struct run lower,
                           uint32_t capacity, uint32_t tail)
{
    size_t n = (size_t)(lower.end - lower.from);
    memcpy(index->aside, lower.from, n * sizeof *index->aside);
    uint32_t before = segment->room;
    segment->capacity = capacity;
    segment->room = capacity + tail;
    memset(segment->slots, 0, (before > segment->room ? before : segment->room) * sizeof *segment->slots);
    fill_fitting(segment, (struct run){index->aside, index->aside + n});
}

static bool resize(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *first,
                   uint32_t capacity)
{
    struct tly_segment grown = *first, old = *first;
    struct run run = {old.slots, old.slots + old.room};
    bool spreads = capacity >= old.capacity && old.allotted == WHOLE;
    if (spreads && !reserve_aside(index, mem)) return false;
    if (!spreads || !respread(index, &grown, capacity)) {
        if (!segment_init(&grown, mem, capacity, tail_of(run, capacity, old.depth), old.depth)) return false;
        fill_fitting(&grown, run);
        segment_fini(&old, mem);
    }
    index->moved += old.used;
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

/* The slots whose next bit is 0, and those where it is 1. */
static void part(const struct tly_segment *segment, struct run *lower, struct run *upper)
{
    uint32_t bit = UINT32_C(1) << (31 - segment->depth);
    *upper = (struct run){segment->slots, segment->slots + segment->room};
    *lower = (struct run){segment->slots, segment->slots};
    for (const struct tly_slot *slot = upper->from; slot < upper->end; slot++)
        if (slot->ref != 0 && (slot->hash & bit) == 0) lower->end = slot + 1;
    upper->from = lower->end;
}

static uint32_t count_of(struct run run)
{
    uint32_t count = 0;
    for (const struct tly_slot *slot = run.from; slot < run.end; slot++)
        count += slot->ref != 0;
    return count;
}

static bool segment_of(struct tly_segment *segment, const struct tly_mem *mem, struct run run, uint32_t depth)
{
    uint32_t capacity = capacity_for(count_of(run));
    if (!segment_init(segment, mem, capacity, tail_of(run, capacity, depth), depth)) return false;
    fill_fitting(segment, run);
    return true;
}

/* The lower half of a divided segment: it keeps the block if that is a whole one. */
static bool keep_lower(struct tly_index *index, const struct tly_mem *mem, struct tly_segment *low,
                       struct run lower)
{
    struct tly_segment old = *low;
    uint32_t depth = old.depth + 1, capacity = capacity_for(count_of(lower));
    uint32_t tail = tail_of(lower, capacity, depth);
    if (old.allotted == WHOLE && capacity + tail <= WHOLE) {
        if (!reserve_aside(index, mem)) return false;
        low->depth = depth;
        respread_lower(index, low, lower, capacity, tail);
        return true;
    }
    if (!segment_of(low, mem, lower, depth)) {
        *low = old;
        return false;
    }
    segment_fini(&old, mem);
    return true;
}

/* Of one segment two, by the next bit of the hash. */
static bool divide(struct tly_index *index, const struct tly_mem *mem, uint32_t hash)
{
    if (tly_index_segment(index, hash)->depth == index->depth && !double_directory(index, mem)) return false;
    struct tly_segment *first = first_for(index, hash), low = *first, high;
    struct run lower, upper;
    uint32_t used = low.used;
    part(&low, &lower, &upper);
    if (!segment_of(&high, mem, upper, low.depth + 1)) return false;
    if (!keep_lower(index, mem, &low, lower)) {
        segment_fini(&high, mem);
        return false;
    }
    index->moved += used;
    publish(index, first, &low);
    publish(index, first + ((size_t)1 << (index->depth - low.depth)), &high);
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
        uint32_t capacity = first->capacity + first->capacity / 8 + CAPACITY_MIN;
        if (!full) {
            /* The last slot of a segment stays empty, so that a walk needs no other end. */
            const struct tly_slot *last = first->slots + first->room - 1;
            index->place = place_for(first, hash);
            index->empty = empty_from(index->place);
            if (index->empty < last) return true;
            if (!resize(index, mem, first, first->capacity)) return false;
        } else if (first->capacity < TLY_SEGMENT_SLOTS) {
            if (!resize(index, mem, first, capacity < TLY_SEGMENT_SLOTS ? capacity : TLY_SEGMENT_SLOTS))
                return false;
        } else if (first->depth == DEPTH_MAX) {
            if (!resize(index, mem, first, capacity)) return false;
        } else if (!divide(index, mem, hash)) {
            return false;
        }
    }
}

struct tly_slot *tly_index_add(struct tly_index *index, uint32_t hash, uint32_t ref)
{
    struct tly_segment *first = first_for(index, hash);
    struct tly_slot *slot = index->place;
    assert(ref != 0 && index->empty < first->slots + first->room - 1);
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
    if (first->capacity > 4 * CAPACITY_MIN && first->used < first->capacity / 3) {
        /* Without memory for the smaller one the large one stays. */
        uint32_t capacity = capacity_for(first->used);
        (void)resize(index, mem, first, capacity);
    }
    if (index->aside != NULL && index->used < EXACT_MAX) {
        tly_mem_free(mem, index->aside, WHOLE * sizeof *index->aside);
        index->aside = NULL;
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
