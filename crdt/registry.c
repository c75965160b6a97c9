#include "crdt/registry.h"

#include "crdt/word.h"

struct row {
    uint8_t bytes[TLY_PREFIX_BYTES_MAX];
    uint8_t n;
    uint32_t generation;
    const struct tly_strategy *strategy; /* NULL: dropped */
};

struct tly_registry {
    struct tly_mem mem;
    size_t count;
    const struct tly_strategy *shortest; /* of the empty prefix; NULL: there is none */
    uint16_t from[256], end[256];        /* by a key's first byte: the rows that begin with it */
    struct row rows[];                   /* ascending by bytes */
};

static size_t bytes_for(size_t count)
{
    return sizeof(struct tly_registry) + count * sizeof(struct row);
}

static struct tly_slice prefix_of(const struct row *row)
{
    return tly_slice_of(row->bytes, row->n);
}

static struct tly_registry *with_room(const struct tly_mem *mem, size_t count)
{
    struct tly_registry *registry = tly_mem_zeroed(mem, bytes_for(count));
    if (registry == NULL) return NULL;
    registry->mem = *mem;
    registry->count = count;
    return registry;
}

struct tly_registry *tly_registry_new(const struct tly_mem *mem)
{
    return with_room(mem, 0);
}

void tly_registry_free(struct tly_registry *registry)
{
    if (registry == NULL) return;
    struct tly_mem mem = registry->mem;
    tly_mem_free(&mem, registry, bytes_for(registry->count));
}

/* Where the prefix is, or would stand. */
static size_t place_of(const struct tly_registry *registry, struct tly_slice prefix)
{
    size_t i = 0;
    while (i < registry->count && tly_slice_compare(prefix_of(&registry->rows[i]), prefix) < 0)
        i++;
    return i;
}

/* Rows that begin with a byte stand together; the empty prefix, the first of all, stands before every one. */
static void index_rows(struct tly_registry *registry)
{
    size_t at = registry->count > 0 && registry->rows[0].n == 0 ? 1 : 0;
    registry->shortest = at > 0 ? registry->rows[0].strategy : NULL;
    for (unsigned byte = 0; byte < 256; byte++) {
        registry->from[byte] = (uint16_t)at;
        while (at < registry->count && registry->rows[at].bytes[0] == byte)
            at++;
        registry->end[byte] = (uint16_t)at;
    }
}

static struct tly_prefix row_of(const struct row *row)
{
    return (struct tly_prefix){prefix_of(row), row->strategy, row->generation};
}

bool tly_registry_get(const struct tly_registry *registry, struct tly_slice prefix, struct tly_prefix *out)
{
    size_t at = place_of(registry, prefix);
    if (at == registry->count || !tly_slice_equal(prefix_of(&registry->rows[at]), prefix)) return false;
    *out = row_of(&registry->rows[at]);
    return true;
}

enum tly_result tly_registry_set(const struct tly_registry *registry, const struct tly_prefix *prefix,
                                 struct tly_registry **out)
{
    struct tly_prefix known;
    if (prefix->prefix.n > TLY_PREFIX_BYTES_MAX || prefix->generation > TLY_GENERATION_MAX)
        return TLY_BAD_PREFIX;
    size_t at = place_of(registry, prefix->prefix), count = registry->count;
    bool is_new = !tly_registry_get(registry, prefix->prefix, &known);
    if (is_new && count == TLY_PREFIXES_MAX) return TLY_BAD_PREFIX;

    struct tly_registry *next = with_room(&registry->mem, count + is_new);
    if (next == NULL) return TLY_NOMEM;
    memcpy(next->rows, registry->rows, at * sizeof(struct row));
    memcpy(next->rows + at + is_new, registry->rows + at, (count - at) * sizeof(struct row));
    struct row *row = &next->rows[at];
    *row = (struct row){
        .n = (uint8_t)prefix->prefix.n, .generation = prefix->generation, .strategy = prefix->strategy};
    if (row->n > 0) memcpy(row->bytes, prefix->prefix.p, row->n);
    index_rows(next);
    *out = next;
    return TLY_OK;
}

enum tly_result tly_registry_with(const struct tly_registry *registry, struct tly_slice prefix,
                                  const struct tly_strategy *strategy, struct tly_registry **out)
{
    struct tly_prefix row = {prefix, strategy, 0}, known;
    if (tly_registry_get(registry, prefix, &known)) {
        if (known.strategy != strategy) return TLY_PREFIX_TAKEN;
        row.generation = known.generation;
    }
    return tly_registry_set(registry, &row, out);
}

/* Whether a key that is no shorter begins with a row's prefix. */
static inline bool begins(struct tly_slice key, const struct row *row)
{
    if (row->n > sizeof(uint64_t) || key.n < sizeof(uint64_t)) return memcmp(row->bytes, key.p, row->n) == 0;
    /* The first bytes are the low ones. */
    uint64_t differs = tly_word_load(row->bytes) ^ tly_word_load(key.p);
    return row->n == 0 || differs << (64 - 8 * row->n) == 0;
}

/* NULL: the empty prefix, or none. */
static inline const struct row *find_row(const struct tly_registry *registry, struct tly_slice key)
{
    if (key.n == 0) return NULL;
    size_t from = registry->from[key.p[0]], i = registry->end[key.p[0]];
    /* A longer prefix of the same key sorts after a shorter one, so the last match is the longest. */
    for (; i > from; i--) {
        const struct row *row = &registry->rows[i - 1];
        if (row->n <= key.n && begins(key, row) && row->strategy != NULL) return row;
    }
    return NULL;
}

const struct tly_strategy *tly_registry_find(const struct tly_registry *registry, struct tly_slice key)
{
    const struct row *row = find_row(registry, key);
    return row != NULL ? row->strategy : registry->shortest;
}

bool tly_registry_home(const struct tly_registry *registry, struct tly_slice key, struct tly_prefix *out)
{
    const struct row *row = find_row(registry, key);
    if (row == NULL && registry->shortest == NULL) return false;
    *out = row_of(row != NULL ? row : &registry->rows[0]);
    return true;
}

size_t tly_registry_count(const struct tly_registry *registry)
{
    return registry->count;
}

struct tly_prefix tly_registry_at(const struct tly_registry *registry, size_t i)
{
    return row_of(&registry->rows[i]);
}
