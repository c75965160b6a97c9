#include "crdt/index.h"

#include <assert.h>

#define SLOTS_MIN 16

static size_t home_of(const struct tly_index *index, uint64_t hash)
{
    return (size_t)hash & index->mask;
}

bool tly_index_init(struct tly_index *index, const struct tly_mem *mem)
{
    *index = (struct tly_index){.mask = SLOTS_MIN - 1};
    index->slots = tly_mem_zeroed(mem, SLOTS_MIN * sizeof *index->slots);
    return index->slots != NULL;
}

void tly_index_fini(struct tly_index *index, const struct tly_mem *mem)
{
    if (index->slots != NULL) tly_mem_free(mem, index->slots, (index->mask + 1) * sizeof *index->slots);
    *index = (struct tly_index){0};
}

struct tly_probe tly_probe_of(const struct tly_index *index, uint64_t hash)
{
    return (struct tly_probe){home_of(index, hash), (uint32_t)(hash >> 32)};
}

bool tly_probe_next(const struct tly_index *index, struct tly_probe *probe, uint32_t *number)
{
    for (;;) {
        struct tly_slot slot = index->slots[probe->at];
        if (slot.number == 0) return false;
        probe->at = (probe->at + 1) & index->mask;
        if (slot.tag != probe->tag) continue;
        *number = slot.number - 1;
        return true;
    }
}

void tly_index_add(struct tly_index *index, uint64_t hash, uint32_t number)
{
    assert(index->used < index->mask);
    size_t at = home_of(index, hash);
    while (index->slots[at].number != 0)
        at = (at + 1) & index->mask;
    index->slots[at] = (struct tly_slot){(uint32_t)(hash >> 32), number + 1};
    index->used++;
}

bool tly_index_reserve(struct tly_index *index, const struct tly_mem *mem, tly_hash_of *hash_of,
                       const void *context)
{
    size_t slots = index->mask + 1;
    if (index->used + 1 <= slots / 4 * 3) return true;
    struct tly_index grown = {.mask = slots * 2 - 1};
    grown.slots = tly_mem_zeroed(mem, slots * 2 * sizeof *grown.slots);
    if (grown.slots == NULL) return false;
    for (size_t i = 0; i < slots; i++) {
        uint32_t number = index->slots[i].number;
        if (number != 0) tly_index_add(&grown, hash_of(context, number - 1), number - 1);
    }
    tly_index_fini(index, mem);
    *index = grown;
    return true;
}

void tly_index_remove(struct tly_index *index, uint64_t hash, uint32_t number, tly_hash_of *hash_of,
                      const void *context)
{
    size_t hole = home_of(index, hash);
    while (index->slots[hole].number != number + 1) {
        assert(index->slots[hole].number != 0);
        hole = (hole + 1) & index->mask;
    }
    /* Move back every follower whose home does not lie between the hole and itself. */
    for (size_t at = (hole + 1) & index->mask; index->slots[at].number != 0; at = (at + 1) & index->mask) {
        size_t home = home_of(index, hash_of(context, index->slots[at].number - 1));
        if (((at - home) & index->mask) < ((at - hole) & index->mask)) continue;
        index->slots[hole] = index->slots[at];
        hole = at;
    }
    index->slots[hole] = (struct tly_slot){0, 0};
    index->used--;
}
