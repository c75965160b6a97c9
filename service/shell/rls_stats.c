#include "service/shell/rls_stats.h"

#include <string.h>

struct tly_rls_series {
    struct tly_mem mem;
    struct tly_hash_key key;
    struct tly_rls_stats **list; /* in the order in which they were made */
    size_t count, capacity;
    uint32_t *slot; /* 1 + place in the list; 0: empty */
    size_t slots;   /* a power of two, at least twice the count */
};

struct tly_rls_series *tly_rls_series_new(const struct tly_mem *mem, const struct tly_hash_key *key)
{
    struct tly_rls_series *series = tly_mem_zeroed(mem, sizeof *series);
    if (series == NULL) return NULL;
    series->mem = *mem;
    series->key = *key;
    return series;
}

void tly_rls_series_free(struct tly_rls_series *series)
{
    if (series == NULL) return;
    struct tly_mem mem = series->mem;
    for (size_t i = 0; i < series->count; i++)
        tly_mem_free(&mem, series->list[i], sizeof *series->list[i] + series->list[i]->name.n);
    tly_mem_free(&mem, series->list, series->capacity * sizeof(struct tly_rls_stats *));
    tly_mem_free(&mem, series->slot, series->slots * sizeof *series->slot);
    tly_mem_free(&mem, series, sizeof *series);
}

/* The slot of a name, or the empty one where it would go. */
static size_t slot_of(const struct tly_rls_series *series, struct tly_slice name)
{
    size_t at = tly_hash(&series->key, name) & (series->slots - 1);
    while (series->slot[at] != 0 && !tly_slice_equal(series->list[series->slot[at] - 1]->name, name))
        at = (at + 1) & (series->slots - 1);
    return at;
}

static bool grow(struct tly_rls_series *series)
{
    size_t slots = series->slots == 0 ? 64 : 2 * series->slots, old = series->slots;
    if (2 * (series->count + 1) <= series->slots) return true;
    uint32_t *slot = tly_mem_zeroed(&series->mem, slots * sizeof *slot);
    if (slot == NULL) return false;
    tly_mem_free(&series->mem, series->slot, old * sizeof *slot);
    series->slot = slot;
    series->slots = slots;
    for (size_t i = 0; i < series->count; i++)
        slot[slot_of(series, series->list[i]->name)] = (uint32_t)i + 1;
    return true;
}

static struct tly_rls_stats *add(struct tly_rls_series *series, struct tly_slice name)
{
    if (series->count == TLY_RLS_SERIES_MAX || !grow(series)) return NULL;
    struct tly_rls_stats **list = tly_mem_reserve(&series->mem, series->list, &series->capacity,
                                                  series->count + 1, sizeof(struct tly_rls_stats *));
    if (list == NULL) return NULL;
    series->list = list;
    struct tly_rls_stats *stats = tly_mem_zeroed(&series->mem, sizeof *stats + name.n);
    if (stats == NULL) return NULL;
    if (name.n > 0) memcpy(stats + 1, name.p, name.n);
    stats->name = tly_slice_of(stats + 1, name.n);
    list[series->count] = stats;
    series->slot[slot_of(series, stats->name)] = (uint32_t)++series->count;
    return stats;
}

struct tly_rls_stats *tly_rls_series_need(struct tly_rls_series *series, struct tly_slice name)
{
    if (series->slots > 0) {
        size_t at = slot_of(series, name);
        if (series->slot[at] != 0) return series->list[series->slot[at] - 1];
    }
    return add(series, name);
}

const struct tly_rls_stats *tly_rls_series_at(const struct tly_rls_series *series, size_t i)
{
    return i < series->count ? series->list[i] : NULL;
}

/* How long the address is that a text begins with: four numbers of one to three digits with dots between them; 0: there is none. */
static size_t address_length(const uint8_t *text, size_t n)
{
    size_t at = 0;
    for (unsigned number = 0; number < 4; number++) {
        if (number > 0 && (at == n || text[at++] != '.')) return 0;
        size_t first = at;
        while (at < n && at - first < 3 && text[at] >= '0' && text[at] <= '9')
            at++;
        if (at == first) return 0;
    }
    return at;
}

void tly_rls_stats_clean(uint8_t *name, size_t n)
{
    for (size_t i = 0, end = 0; i < n; i++) {
        if (i >= end) end = i + address_length(name + i, n - i);
        bool is_dot = i < end && name[i] == '.';
        if (is_dot || name[i] == ':' || name[i] == '|') name[i] = '_';
    }
}
