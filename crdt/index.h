/*
 * From a key's hash to where its entry lies.  Slots of eight bytes stand in the order of their hashes: linear probing
 * from a home that is proportional to the hash, every run sorted, no tombstones.  A slot moves without a look at the entry.
 *
 *     directory[first bits of the hash] -> segment -> page, by the bits that follow -> slots, and a tail for the last run
 *
 * A segment that fills up gets one more page or two, or with TLY_SEGMENT_PAGES of them is divided in two by the next bit (extendible
 * hashing), so no insertion moves more slots than one segment holds, and the table is between 5/7 and 9/10 full as long as it only
 * grows.  Nearly all pages have one size, so what one segment gives back another takes: a heap of blocks of every size that a
 * segment once had would keep the earlier ones.
 *
 * The caller compares keys; several entries may share a hash of 32 bits, and stand side by side.
 */
#ifndef TALLY_CRDT_INDEX_H
#define TALLY_CRDT_INDEX_H

#include "crdt/mem.h"

#include <stdbool.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TLY_SEGMENT_PAGES 16u
/* Homes of a page when a segment has several; with its tail and the heap's own word it takes 8192 bytes. */
#define TLY_PAGE_HOMES 1000u
/* Pages that a table of several segments keeps when it gets them back: the next to grow asks for one more, and not for all. */
#define TLY_INDEX_SPARES 18u

struct tly_slot {
    uint32_t hash;
    uint32_t ref; /* 0: empty */
};

struct tly_segment {
    uint32_t page_count;
    uint32_t homes; /* of each page */
    uint32_t room;  /* of each page, homes and tail; the last slot is always empty */
    uint32_t depth; /* bits of the hash that all of the segment share */
    uint32_t used;  /* kept right only in the first of the directory's entries for one segment */
    struct tly_slot *pages[TLY_SEGMENT_PAGES];
};

struct tly_index {
    struct tly_segment *directory; /* 2^depth */
    uint32_t depth;
    size_t used;
    struct tly_slot *place, *empty; /* where what was reserved goes, and the first empty slot from there */
    size_t moved;                   /* slots that were moved by growing, ever */
    struct tly_slot *spare[TLY_INDEX_SPARES];
    size_t spares;
};

bool tly_index_init(struct tly_index *index, const struct tly_mem *mem);
void tly_index_fini(struct tly_index *index, const struct tly_mem *mem);

static inline struct tly_segment *tly_index_segment(const struct tly_index *index, uint32_t hash)
{
    return &index->directory[(uint64_t)hash << index->depth >> 32];
}

/* What is left of the hash below the segment's bits, times its pages: the page and, in the lower half, how far in it. */
static inline uint64_t tly_index_spread(const struct tly_segment *segment, uint32_t hash)
{
    return (uint64_t)(hash << segment->depth) * segment->page_count;
}

/* The number of the page in which a slot of this hash stands or would stand. */
static inline uint32_t tly_index_page(const struct tly_segment *segment, uint32_t hash)
{
    return (uint32_t)(tly_index_spread(segment, hash) >> 32);
}

/* How far in the page. */
static inline size_t tly_index_offset(const struct tly_segment *segment, uint64_t spread)
{
    return (size_t)((spread & UINT32_MAX) * segment->homes >> 32);
}

/* Where it would best stand. */
static inline struct tly_slot *tly_index_home(const struct tly_segment *segment, uint32_t hash)
{
    uint64_t spread = tly_index_spread(segment, hash);
    return segment->pages[spread >> 32] + tly_index_offset(segment, spread);
}

/* From a slot that is not behind it to the first one of this hash, or to where that would stand. */
static inline struct tly_slot *tly_index_walk(struct tly_slot *slot, uint32_t hash)
{
    while (slot->hash < hash && slot->ref != 0)
        slot++;
    return slot;
}

static inline bool tly_index_is_of(const struct tly_slot *slot, uint32_t hash)
{
    return slot->hash == hash && slot->ref != 0;
}

/* The first slot of this hash; those of the same hash follow it, until hash or ref differ. NULL: none. */
static inline struct tly_slot *tly_index_find(const struct tly_index *index, uint32_t hash)
{
    struct tly_slot *slot = tly_index_home(tly_index_segment(index, hash), hash);
    __builtin_prefetch(slot + 6); /* every second run goes on in the next line */
    slot = tly_index_walk(slot, hash);
    return tly_index_is_of(slot, hash) ? slot : NULL;
}

/* The next slot of the same hash, or NULL. */
static inline struct tly_slot *tly_index_again(struct tly_slot *slot)
{
    return tly_index_is_of(slot + 1, slot->hash) ? slot + 1 : NULL;
}

/* Asks for the memory of tly_index_home, which it returns. */
TLY_ALWAYS_INLINE struct tly_slot *tly_index_prefetch(const struct tly_index *index, uint32_t hash)
{
    struct tly_slot *home = tly_index_home(tly_index_segment(index, hash), hash);
    __builtin_prefetch(home);
    __builtin_prefetch(home + 6);
    return home;
}

/* So many slots from a home on are looked at together: a page's tail has no fewer, so they are there, and one more. */
#define TLY_INDEX_AMONG 8u

/* Which of them is the first of this hash; TLY_INDEX_AMONG: none. An empty slot has the hash of none. */
TLY_ALWAYS_INLINE unsigned tly_index_among(const struct tly_slot *home, uint32_t hash)
{
#ifdef __SSE2__
    const float *at = (const float *)(const void *)home;
    const __m128i wanted = _mm_set1_epi32((int)hash);
    __m128 first = _mm_shuffle_ps(_mm_loadu_ps(at), _mm_loadu_ps(at + 4), 0x88);
    __m128 second = _mm_shuffle_ps(_mm_loadu_ps(at + 8), _mm_loadu_ps(at + 12), 0x88);
    __m128i is = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_castps_si128(first), wanted),
                                 _mm_cmpeq_epi32(_mm_castps_si128(second), wanted));
    /* Two bits of each. */
    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(is) | 1u << 2 * TLY_INDEX_AMONG) / 2;
#else
    unsigned i = 0;
    while (i < TLY_INDEX_AMONG && home[i].hash != hash)
        i++;
    return i;
#endif
}

/*
 * tly_index_find for who looks for one key: nearly always without a branch that is guessed wrongly, so that what the caller does next
 * begins before the slots have come.
 */
TLY_ALWAYS_INLINE struct tly_slot *tly_index_look(const struct tly_index *index, uint32_t hash)
{
    struct tly_slot *home = tly_index_home(tly_index_segment(index, hash), hash);
    unsigned which = tly_index_among(home, hash);
    if (which < TLY_INDEX_AMONG) return home + which;
    struct tly_slot *slot = tly_index_walk(home + TLY_INDEX_AMONG, hash);
    return tly_index_is_of(slot, hash) ? slot : NULL;
}

/* The first slot whose hash is not less, from whichever segment; NULL: none. */
struct tly_slot *tly_index_from(const struct tly_index *index, uint32_t hash);

/* Room for one more slot of this hash. False: no memory, nothing changed that shows. Slots may move. */
bool tly_index_reserve(struct tly_index *index, const struct tly_mem *mem, uint32_t hash);
/* After tly_index_reserve. Slots of the same hash keep their order, the new one comes last. */
struct tly_slot *tly_index_add(struct tly_index *index, uint32_t hash, uint32_t ref);
/* Takes the slot out; slots may move. */
void tly_index_remove(struct tly_index *index, const struct tly_mem *mem, struct tly_slot *slot);

/* The invariant; aborts on our own mistakes. */
void tly_index_check(const struct tly_index *index);

#endif
