/*
 * How many distinct keys a limit has here, for cardinality_max: of all nodes, for what others count lies here too.  The map says when a
 * key comes or goes; when the limits are others they are counted anew, some at a time and in the order of a walk, so that of what comes
 * meanwhile it is known whether the walk has it still before it.
 */
#include "service/engine/impl.h"

/* Some tens of microseconds. */
#define KEYS_AT_A_TIME 512

static struct tly_rule_count *count_of(const struct tly_engine *e, struct tly_slice key)
{
    const struct tly_rule *rule = tly_rules_of_key(e->rules, key);
    return rule != NULL && rule->keys_max != 0 ? rule->count : NULL;
}

static void on_key(void *context, struct tly_slice key, bool is_new)
{
    struct tly_engine *e = context;
    struct tly_rule_count *count = count_of(e, key);
    if (count == NULL || tly_ormap_cursor_at(e->map, key) >= e->keys_cursor) return;
    if (is_new)
        count->keys++;
    else if (count->keys > 0)
        count->keys--;
}

void tly_cardinality_stop(struct tly_engine *e)
{
    tly_ormap_watch_keys(e->map, NULL, NULL);
    e->keys_cursor = SIZE_MAX;
}

void tly_cardinality_use(struct tly_engine *e)
{
    bool is_used = false;
    for (size_t i = 0; e->rules != NULL && i < tly_rules_count(e->rules); i++) {
        const struct tly_rule *rule = tly_rules_at(e->rules, i);
        rule->count->keys = 0;
        is_used = is_used || rule->keys_max != 0;
    }
    tly_cardinality_stop(e);
    if (!is_used) return;
    tly_ormap_watch_keys(e->map, on_key, e);
    e->keys_cursor = 0;
    tly_cardinality_tick(e);
}

bool tly_cardinality_has_room(struct tly_engine *e, const struct tly_rule *rule, const struct tly_seek *seek)
{
    return rule->count->keys < rule->keys_max || tly_seek_find(e->map, seek) != NULL;
}

void tly_cardinality_tick(struct tly_engine *e)
{
    const struct tly_entry *entry;
    if (e->keys_cursor == SIZE_MAX) return;
    for (size_t i = 0; i < KEYS_AT_A_TIME; i++) {
        entry = tly_ormap_each(e->map, &e->keys_cursor);
        if (entry == NULL) {
            e->keys_cursor = SIZE_MAX;
            return;
        }
        struct tly_rule_count *count = count_of(e, tly_entry_key(entry));
        if (count != NULL) count->keys++;
    }
}

uint64_t tly_cardinality_deadline(const struct tly_engine *e)
{
    return e->keys_cursor != SIZE_MAX ? 0 : TLY_NEVER;
}
