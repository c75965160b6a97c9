#include "service/engine/heat_internal.h"

#include <assert.h>

struct tly_heat *tly_heat_new(const struct tly_mem *mem, const struct tly_heat_world *world)
{
    struct tly_heat *heat = tly_mem_zeroed(mem, sizeof *heat);
    if (heat == NULL) return NULL;
    heat->mem = *mem;
    heat->world = *world;
    return heat;
}

static struct tly_hot **place_of(const struct tly_heat *heat, size_t i)
{
    return &heat->sets[i / TLY_HEAT_WAYS].hot[i % TLY_HEAT_WAYS];
}

static void free_hot(struct tly_heat *heat, struct tly_hot *hot)
{
    if (hot == NULL) return;
    heat->bytes -= sizeof *hot + hot->key_capacity + hot->capacity * sizeof *hot->shards;
    tly_mem_free(&heat->mem, hot->shards, hot->capacity * sizeof *hot->shards);
    tly_mem_free(&heat->mem, hot->key, hot->key_capacity);
    tly_mem_free(&heat->mem, hot, sizeof *hot);
    heat->head.count--;
}

void tly_heat_free(struct tly_heat *heat)
{
    if (heat == NULL) return;
    size_t cursor = 0;
    for (struct tly_hot_key key; tly_heat_at(heat, &cursor, &key);)
        free_hot(heat, *place_of(heat, cursor - 1));
    struct tly_mem mem = heat->mem;
    tly_mem_free(&mem, heat->sets, TLY_SETS_BYTES);
    tly_mem_free(&mem, heat, sizeof *heat);
}

void tly_heat_check(const struct tly_heat *heat)
{
    size_t count = 0, bytes = 0, cursor = 0;
    for (struct tly_hot_key key; tly_heat_at(heat, &cursor, &key); count++) {
        const struct tly_hot *hot = key.hot;
        size_t i = cursor - 1;
        assert(hot->hash % TLY_HEAT_SETS == i / TLY_HEAT_WAYS);
        assert(hot->hash == heat->sets[i / TLY_HEAT_WAYS].hash[i % TLY_HEAT_WAYS]);
        assert(hot->count <= hot->capacity && hot->count <= TLY_HEAT_SHARDS);
        bytes += sizeof *hot + hot->key_capacity + hot->capacity * sizeof *hot->shards;
    }
    assert(count == heat->head.count && bytes == heat->bytes);
    (void)bytes;
}

size_t tly_heat_count(const struct tly_heat *heat)
{
    return heat->head.count;
}

size_t tly_heat_bytes(const struct tly_heat *heat)
{
    return sizeof *heat + heat->bytes + (heat->sets != NULL ? TLY_SETS_BYTES : 0);
}

bool tly_heat_has(const struct tly_heat *heat, uint32_t hash)
{
    const uint32_t *set = heat->sets[hash % TLY_HEAT_SETS].hash;
    for (size_t way = 0; way < TLY_HEAT_WAYS; way++)
        if (set[way] == hash) return true;
    return false;
}

static bool is_of(const struct tly_hot *hot, const struct tly_seek *seek, uint64_t window)
{
    return hot != NULL && hot->hash == seek->hash && hot->window == window &&
           tly_slice_equal(tly_slice_of(hot->key, hot->key_bytes), seek->key);
}

static struct tly_hot *find(const struct tly_heat *heat, const struct tly_seek *seek, uint64_t window)
{
    if (heat->head.count == 0) return NULL;
    struct tly_hot *const *set = heat->sets[seek->hash % TLY_HEAT_SETS].hot;
    for (size_t way = 0; way < TLY_HEAT_WAYS; way++)
        if (is_of(set[way], seek, window)) return set[way];
    return NULL;
}

const struct tly_hot *tly_heat_find(const struct tly_heat *heat, const struct tly_seek *seek, uint64_t window)
{
    return find(heat, seek, window);
}

/* The place of a set that is free, or was not asked for the longest. */
static size_t way_in(const struct tly_heat_set *set)
{
    size_t oldest = 0;
    for (size_t way = 0; way < TLY_HEAT_WAYS; way++) {
        if (set->hot[way] == NULL) return way;
        if (set->hot[way]->used_ns < set->hot[oldest]->used_ns) oldest = way;
    }
    return oldest;
}

/* Keys are kept in blocks, so that one fits where another was. */
#define KEY_BLOCK 64

/* Room for a key; false: there is none, and all is as it was. */
static bool need_key(struct tly_heat *heat, struct tly_hot *hot, size_t n)
{
    if (n <= hot->key_capacity) return true;
    size_t capacity = (n + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK;
    uint8_t *key = tly_mem_resize(&heat->mem, hot->key, hot->key_capacity, capacity);
    if (key == NULL) return false;
    heat->bytes += capacity - hot->key_capacity;
    hot->key = key;
    hot->key_capacity = capacity;
    return true;
}

/* The place's own, whose key is forgotten, or a new one: where all places are taken nothing is allocated any more. */
static struct tly_hot *need_hot(struct tly_heat *heat, struct tly_hot **place, size_t key_bytes)
{
    struct tly_hot *hot = *place;
    if (hot != NULL) return need_key(heat, hot, key_bytes) ? hot : NULL;
    hot = tly_mem_zeroed(&heat->mem, sizeof *hot);
    if (hot == NULL) return NULL;
    if (!need_key(heat, hot, key_bytes)) {
        tly_mem_free(&heat->mem, hot, sizeof *hot);
        return NULL;
    }
    heat->bytes += sizeof *hot;
    heat->head.count++;
    *place = hot;
    return hot;
}

static struct tly_hot *make(struct tly_heat *heat, const struct tly_heat_ask *ask)
{
    const struct tly_seek *seek = ask->seek;
    if (heat->sets == NULL) heat->sets = tly_mem_zeroed(&heat->mem, TLY_SETS_BYTES);
    if (heat->sets == NULL) return NULL;
    struct tly_heat_set *set = &heat->sets[seek->hash % TLY_HEAT_SETS];
    size_t way = way_in(set);
    struct tly_hot *hot = need_hot(heat, &set->hot[way], seek->key.n);
    if (hot == NULL) return NULL;
    *hot = (struct tly_hot){
        .hash = seek->hash,
        .key = hot->key,
        .key_bytes = seek->key.n,
        .key_capacity = hot->key_capacity,
        .window = ask->pane->window,
        .epoch = ask->pane->epoch,
        .start_ns = ask->start_ns,
        .shards = hot->shards,
        .capacity = hot->capacity,
        .world = &heat->world,
        .current = INT64_MIN, /* nothing was looked at */
    };
    memcpy(hot->key, seek->key.p, seek->key.n);
    set->hash[way] = hot->hash;
    return hot;
}

bool tly_heat_at(const struct tly_heat *heat, size_t *cursor, struct tly_hot_key *out)
{
    while (heat->sets != NULL && *cursor < TLY_HEAT_SETS * TLY_HEAT_WAYS) {
        struct tly_hot *hot = *place_of(heat, (*cursor)++);
        if (hot == NULL) continue;
        *out = (struct tly_hot_key){hot, tly_slice_of(hot->key, hot->key_bytes), hot->window, hot->used_ns};
        return true;
    }
    return false;
}

struct tly_hot *tly_heat_look(struct tly_heat *heat, const struct tly_heat_ask *ask)
{
    struct tly_hot *hot = find(heat, ask->seek, ask->pane->window);
    if (hot == NULL) hot = make(heat, ask);
    if (hot == NULL) return NULL;
    hot->used_ns = ask->now_ns;
    tly_hot_learn(heat, hot, ask);
    return hot;
}
