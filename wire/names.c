#include "wire/names.h"

#include "crdt/index.h"

#include <assert.h>

struct slot {
    uint64_t hash, origin;
    uint8_t *key; /* NULL: free */
    uint32_t issue;
    uint32_t part; /* in which it was last asked for */
    uint16_t key_n;
    uint8_t strategy;
    bool recent; /* since the hand passed it */
};

struct tly_names {
    struct tly_names_config config;
    struct tly_index index;
    struct slot *slots;
    size_t count, capacity; /* numbers issued so far; room */
    size_t made;            /* slots that have stood for something once, and know their issue */
    size_t used;            /* of them in use */
    size_t key_bytes;
    uint32_t hand, part;
};

struct tly_names *tly_names_new(const struct tly_names_config *config)
{
    assert(config->names_max >= 1 && config->names_max <= TLY_NAMES_MAX);
    assert(config->key_bytes_max >= TLY_KEY_BYTES_MAX && config->key_bytes_max <= TLY_NAMES_KEY_BYTES_MAX);
    struct tly_names *names = tly_mem_zeroed(&config->mem, sizeof *names);
    if (names == NULL) return NULL;
    names->config = *config;
    names->part = 1;
    if (tly_index_init(&names->index, &names->config.mem)) return names;
    tly_mem_free(&config->mem, names, sizeof *names);
    return NULL;
}

static uint32_t short_hash(const struct slot *slot)
{
    return (uint32_t)(slot->hash >> 32);
}

static void release(struct tly_names *names, uint32_t number)
{
    struct slot *slot = &names->slots[number];
    if (slot->key == NULL) return;
    struct tly_slot *place = tly_index_find(&names->index, short_hash(slot));
    while (place != NULL && place->ref != number + 1)
        place = tly_index_again(place);
    assert(place != NULL);
    tly_index_remove(&names->index, &names->config.mem, place);
    tly_mem_free(&names->config.mem, slot->key, slot->key_n);
    names->key_bytes -= slot->key_n;
    slot->key = NULL;
    names->used--;
}

void tly_names_clear(struct tly_names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        release(names, i);
    names->count = 0;
    names->hand = 0;
}

void tly_names_limit(struct tly_names *names, uint32_t names_max)
{
    assert(names_max >= 1 && names_max <= TLY_NAMES_MAX);
    tly_names_clear(names);
    names->config.names_max = names_max;
}

void tly_names_free(struct tly_names *names)
{
    if (names == NULL) return;
    struct tly_mem mem = names->config.mem;
    tly_names_clear(names);
    tly_index_fini(&names->index, &mem);
    tly_mem_free(&mem, names->slots, names->capacity * sizeof *names->slots);
    tly_mem_free(&mem, names, sizeof *names);
}

size_t tly_names_count(const struct tly_names *names)
{
    return names->used;
}

void tly_names_begin(struct tly_names *names)
{
    names->part++;
}

static bool is_named(const struct slot *slot, struct tly_slice key, const struct slot *like)
{
    return slot->origin == like->origin && slot->strategy == like->strategy &&
           tly_slice_equal(key, tly_slice_of(slot->key, slot->key_n));
}

/* Takes a number out of use that was not asked for lately, in two turns of the hand at most; false: all were. */
static bool evict(struct tly_names *names, uint32_t *number)
{
    for (size_t i = 0; i < 2 * names->count; i++) {
        uint32_t at = names->hand;
        names->hand = at + 1 < names->count ? at + 1 : 0;
        struct slot *slot = &names->slots[at];
        bool spared = slot->recent || (slot->key != NULL && slot->part == names->part);
        slot->recent = false;
        if (spared) continue;
        release(names, at);
        *number = at;
        return true;
    }
    return false;
}

/* A number that is free, with room for the key. */
static bool find_room(struct tly_names *names, size_t key_n, uint32_t *number)
{
    bool found = false;
    while (names->key_bytes > names->config.key_bytes_max - key_n) {
        if (!evict(names, number)) return false;
        found = true;
    }
    if (found) return true;
    if (names->count >= names->config.names_max) return evict(names, number);
    void *slots = tly_mem_reserve(&names->config.mem, names->slots, &names->capacity, names->count + 1,
                                  sizeof *names->slots);
    if (slots == NULL) return false;
    names->slots = slots;
    if (names->count == names->made) names->slots[names->made++] = (struct slot){0};
    *number = (uint32_t)names->count++;
    return true;
}

static bool issue(struct tly_names *names, struct tly_slice key, const struct slot *like, uint32_t *number)
{
    uint8_t *copy = tly_mem_new(&names->config.mem, key.n);
    if (copy == NULL) return false;
    if (!find_room(names, key.n, number) ||
        !tly_index_reserve(&names->index, &names->config.mem, short_hash(like))) {
        tly_mem_free(&names->config.mem, copy, key.n);
        return false;
    }
    memcpy(copy, key.p, key.n);
    struct slot *slot = &names->slots[*number];
    uint32_t next = slot->issue + 1;
    *slot = *like;
    slot->issue = next;
    slot->key = copy;
    slot->key_n = (uint16_t)key.n;
    names->key_bytes += key.n;
    names->used++;
    tly_index_add(&names->index, short_hash(slot), *number + 1);
    return true;
}

/* The number that stands for this, from the first place of its hash on, or TLY_NO_NAME. */
static uint32_t find_from(const struct tly_names *names, struct tly_slot *place, struct tly_slice key,
                          const struct slot *like)
{
    for (; place != NULL; place = tly_index_again(place))
        if (is_named(&names->slots[place->ref - 1], key, like)) return place->ref - 1;
    return TLY_NO_NAME;
}

static uint32_t find(const struct tly_names *names, struct tly_slice key, const struct slot *like)
{
    return find_from(names, tly_index_find(&names->index, short_hash(like)), key, like);
}

static struct slot slot_for(const struct tly_names *names, struct tly_slice key, uint64_t origin,
                            const struct tly_strategy *strategy)
{
    uint64_t hash = tly_hash(&names->config.hash_key, key);
    hash = (hash ^ origin ^ strategy->id) * UINT64_C(0x9e3779b97f4a7c15) ^ hash;
    return (struct slot){.hash = hash, .origin = origin, .strategy = strategy->id};
}

/* What is waited for is a place in the index, the slot it says, and that one's key: each is asked for of all before it is read of one. */
void tly_names_find_all(const struct tly_names *names, const struct tly_unnamed *unnamed, uint32_t *numbers)
{
    struct slot like[TLY_NAMES_TOGETHER];
    struct tly_slot *place[TLY_NAMES_TOGETHER];
    size_t count = unnamed->count;
    assert(count <= TLY_NAMES_TOGETHER);
    for (size_t i = 0; i < count; i++) {
        like[i] = slot_for(names, unnamed->keys[i], unnamed->origin, unnamed->strategies[i]);
        tly_index_prefetch(&names->index, short_hash(&like[i]));
    }
    for (size_t i = 0; i < count; i++) {
        place[i] = tly_index_find(&names->index, short_hash(&like[i]));
        if (place[i] != NULL) __builtin_prefetch(&names->slots[place[i]->ref - 1]);
    }
    for (size_t i = 0; i < count; i++)
        if (place[i] != NULL) __builtin_prefetch(names->slots[place[i]->ref - 1].key);
    for (size_t i = 0; i < count; i++)
        numbers[i] = find_from(names, place[i], unnamed->keys[i], &like[i]);
}

bool tly_names_need(struct tly_names *names, struct tly_slice key, const struct tly_version *version,
                    const struct tly_strategy *strategy, struct tly_name *name)
{
    struct slot like = slot_for(names, key, version->origin, strategy);
    uint32_t number = find(names, key, &like);
    if (number == TLY_NO_NAME && !issue(names, key, &like, &number)) return false;
    struct slot *slot = &names->slots[number];
    slot->part = names->part;
    slot->recent = true;
    *name = (struct tly_name){number, slot->issue};
    return true;
}

void tly_names_check(const struct tly_names *names)
{
    size_t used = 0, bytes = 0;
    for (size_t i = 0; i < names->count; i++) {
        used += names->slots[i].key != NULL;
        bytes += names->slots[i].key != NULL ? names->slots[i].key_n : 0;
    }
    assert(used == names->used && used == names->index.used && bytes == names->key_bytes);
    assert(names->count <= names->config.names_max && bytes <= names->config.key_bytes_max);
}
