#include "wire/table.h"

#include "wire/pack.h"

#define STRATEGY_BITS 4
#define STRATEGY_MASK ((UINT64_C(1) << STRATEGY_BITS) - 1)
#define CHANGE_FIELDS 4

uint64_t tly_table_word(const struct tly_prefix *prefix)
{
    uint64_t id = prefix->strategy != NULL ? prefix->strategy->id : 0;
    return id | ((uint64_t)prefix->generation << STRATEGY_BITS);
}

bool tly_table_from_word(uint64_t word, struct tly_prefix *prefix)
{
    uint64_t id = word & STRATEGY_MASK, generation = word >> STRATEGY_BITS;
    prefix->strategy = tly_strategy_by_id(id);
    prefix->generation = (uint32_t)generation;
    return (id == 0 || prefix->strategy != NULL) && generation <= TLY_GENERATION_MAX;
}

/* ---- tables ---- */

bool tly_table_is_implied(const struct tly_prefix *prefix)
{
    return prefix->strategy != NULL && prefix->strategy->id == TLY_ESCROW;
}

void tly_table_put(struct tly_buf *out, const struct tly_registry *registry)
{
    size_t count = tly_registry_count(registry), said = 0;
    for (size_t i = 0; i < count; i++) {
        struct tly_prefix prefix = tly_registry_at(registry, i);
        said += !tly_table_is_implied(&prefix);
    }
    tly_put_array(out, 2 * said);
    for (size_t i = 0; i < count; i++) {
        struct tly_prefix prefix = tly_registry_at(registry, i);
        if (tly_table_is_implied(&prefix)) continue;
        tly_put_bytes(out, prefix.prefix);
        tly_put_uint(out, tly_table_word(&prefix));
    }
}

struct tly_prefixes tly_table_get(struct tly_cursor *cursor)
{
    size_t elements = tly_get_array(cursor, (size_t)2 * TLY_PREFIXES_MAX);
    if (elements % 2 != 0) tly_cursor_fail(cursor);
    struct tly_prefixes prefixes = {*cursor, elements / 2};
    struct tly_slice before = {0};
    for (size_t i = 0; i < elements / 2 && cursor->result == TLY_OK; i++) {
        struct tly_slice prefix = tly_get_bytes(cursor, TLY_PREFIX_BYTES_MAX);
        (void)tly_get_uint(cursor);
        /* Ascending, so that none can be there twice with two strategies. */
        if (i > 0 && tly_slice_compare(before, prefix) >= 0) tly_cursor_fail(cursor);
        before = prefix;
    }
    return prefixes;
}

bool tly_prefixes_next(struct tly_prefixes *prefixes, struct tly_slice *prefix, uint64_t *word)
{
    if (prefixes->left == 0) return false;
    prefixes->left--;
    *prefix = tly_get_bytes(&prefixes->cursor, TLY_PREFIX_BYTES_MAX);
    *word = tly_get_uint(&prefixes->cursor);
    return prefixes->cursor.result == TLY_OK;
}

/* ---- changes ---- */

void tly_table_change_put(struct tly_buf *out, const struct tly_table_change *change,
                          const struct tly_registry *registry)
{
    tly_put_array(out, CHANGE_FIELDS);
    tly_put_uint(out, change->kind);
    tly_put_text(out, change->actor);
    tly_put_array(out, 2 * change->changed_count);
    for (size_t i = 0; i < change->changed_count; i++) {
        tly_put_bytes(out, change->changed[i].prefix);
        tly_put_bool(out, change->changed[i].keeps);
    }
    tly_table_put(out, registry);
}

static void get_changed(struct tly_cursor *cursor, struct tly_table_change *change)
{
    size_t elements = tly_get_array(cursor, (size_t)2 * TLY_TABLE_CHANGED_MAX);
    if (elements % 2 != 0) tly_cursor_fail(cursor);
    for (size_t i = 0; i < elements / 2 && cursor->result == TLY_OK; i++) {
        change->changed[i].prefix = tly_get_bytes(cursor, TLY_PREFIX_BYTES_MAX);
        change->changed[i].keeps = tly_get_bool(cursor);
    }
    change->changed_count = elements / 2;
}

enum tly_result tly_table_change_get(struct tly_slice body, struct tly_table_change *change)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *change = (struct tly_table_change){0};
    if (tly_get_array(&cursor, CHANGE_FIELDS) != CHANGE_FIELDS) tly_cursor_fail(&cursor);
    change->kind = tly_get_uint(&cursor);
    change->actor = tly_get_bytes(&cursor, TLY_TABLE_ACTOR_MAX);
    get_changed(&cursor, change);
    change->rows = tly_table_get(&cursor);
    return tly_cursor_end(&cursor);
}
