/* A prefix under another strategy: first everything that takes memory, then everything that cannot fail. */
#include "crdt/convert.h"
#include "crdt/ormap_impl.h"

/* One key, and its entry as it will be. */
struct converted {
    struct tly_entry *entry;
    uint32_t ref; /* 0: nothing is left of it */
};

struct tly_conversion {
    struct tly_ormap *map;
    const struct tly_strategy *to;
    struct converted *list;
    size_t count, capacity;
    size_t lost;
};

/* ---- making ready ---- */

static bool is_in_time(const struct tly_conversion *c, const struct tly_dot *dots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!tly_ormap_is_in_time(c->map, c->to, &dots[i])) return false;
    return true;
}

static enum tly_result convert_entry(struct tly_conversion *c, struct tly_entry *entry)
{
    struct tly_ormap *map = c->map;
    uint8_t room[TLY_CONVERTED_BYTES];
    bool loses;
    size_t count;
    void *list = tly_mem_reserve(&map->mem, c->list, &c->capacity, c->count + 1, sizeof *c->list);
    if (list == NULL) return TLY_NOMEM;
    c->list = list;
    (void)tly_entry_dots(map, entry, &count);
    count = tly_convert(tly_map_strategy(map, entry), c->to, map->scratch, count, room, &loses);
    if (!is_in_time(c, map->scratch, count)) return TLY_CLOCK_AHEAD;
    struct converted *converted = &c->list[c->count];
    *converted = (struct converted){.entry = entry};
    if (count > 0) {
        converted->ref = tly_map_write_block(map, tly_entry_key(entry), c->to, map->scratch, count);
        if (converted->ref == 0) return TLY_NOMEM;
    }
    c->count++;
    c->lost += loses;
    return TLY_OK;
}

enum tly_result tly_conversion_new(struct tly_ormap *map, const struct tly_strategy *to,
                                   tly_concerns *concerns, void *context, struct tly_conversion **out)
{
    assert(!tly_ormap_is_unsealed(map));
    struct tly_conversion *c = tly_mem_zeroed(&map->mem, sizeof *c);
    if (c == NULL) return TLY_NOMEM;
    c->map = map;
    c->to = to;
    enum tly_result result = TLY_OK;
    size_t cursor = 0;
    for (struct tly_entry *entry; (entry = tly_ormap_each(map, &cursor)) != NULL && result == TLY_OK;)
        if (concerns(context, tly_entry_key(entry))) result = convert_entry(c, entry);
    if (result == TLY_OK)
        *out = c;
    else
        tly_conversion_free(c);
    return result;
}

static void free_list(struct tly_conversion *c)
{
    struct tly_ormap *map = c->map;
    tly_mem_free(&map->mem, c->list, c->capacity * sizeof *c->list);
    tly_mem_free(&map->mem, c, sizeof *c);
}

void tly_conversion_free(struct tly_conversion *c)
{
    if (c == NULL) return;
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].ref != 0) tly_arena_free(&c->map->arena, &c->map->mem, c->list[i].ref);
    free_list(c);
}

/* ---- looking in ---- */

size_t tly_conversion_keys(const struct tly_conversion *c)
{
    return c->count;
}

size_t tly_conversion_lost(const struct tly_conversion *c)
{
    return c->lost;
}

const struct tly_dot *tly_conversion_next(struct tly_conversion *c, size_t *cursor, struct tly_slice *key,
                                          size_t *count)
{
    while (*cursor < c->count && c->list[*cursor].ref == 0)
        ++*cursor;
    if (*cursor == c->count) return NULL;
    const struct tly_entry *entry = tly_arena_at(&c->map->arena, c->list[(*cursor)++].ref);
    *key = tly_entry_key(entry);
    return tly_entry_dots(c->map, entry, count);
}

/* ---- carrying out ---- */

static bool all_go(void *context, const struct tly_dot *dot)
{
    (void)context;
    (void)dot;
    return true;
}

void tly_conversion_finish(struct tly_conversion *c)
{
    struct tly_ormap *map = c->map;
    for (size_t i = 0; i < c->count; i++) {
        struct tly_place place = tly_map_place_of(map, c->list[i].entry);
        if (c->list[i].ref != 0)
            tly_map_use_block(map, &place, c->list[i].ref);
        else
            (void)tly_map_drop_if(map, c->list[i].entry, all_go, NULL);
    }
    free_list(c);
}
