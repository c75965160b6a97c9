#include "service/engine/keys.h"

#include "service/engine/impl.h"
#include "service/engine/limit.h"

static bool is_readable(struct tly_engine *e, const struct tly_entry *entry, struct tly_value *value)
{
    struct tly_moment at = {.now_ms = e->cluster_ns / NS_PER_MS};
    tly_entry_read(e->map, entry, &at, value);
    tly_limit_value(tly_entry_key(entry), at.now_ms, value);
    return value->present;
}

static bool is_own(struct tly_slice key)
{
    return tly_slice_begins(key, tly_slice_text("sys:"));
}

void tly_engine_keys(struct tly_engine *e, struct tly_time now, uint64_t *cursor, size_t budget,
                     tly_key_visit *visit, void *context)
{
    tly_engine_wake(e, now);
    size_t next = *cursor > UINT32_MAX ? SIZE_MAX : (size_t)*cursor << TLY_CURSOR_HASH_SHIFT;
    uint64_t last = 0; /* where the walk comes to the hash of the entry before */
    struct tly_value value;
    bool goes_on = true;
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &next)) != NULL;) {
        struct tly_slice key = tly_entry_key(entry);
        uint64_t at = tly_ormap_cursor_at(e->map, key);
        if ((budget == 0 || !goes_on) && at != last) {
            *cursor = at >> TLY_CURSOR_HASH_SHIFT;
            return;
        }
        last = at;
        budget -= budget > 0;
        if (!is_own(key) && is_readable(e, entry, &value)) goes_on = visit(context, key) && goes_on;
    }
    *cursor = 0;
}

/* NULL: it cannot be read. */
static const struct tly_entry *find(struct tly_engine *e, struct tly_time now, struct tly_slice key,
                                    struct tly_value *value)
{
    tly_engine_wake(e, now);
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return NULL;
    const struct tly_entry *entry = tly_ormap_find(e->map, key);
    return entry != NULL && is_readable(e, entry, value) ? entry : NULL;
}

uint64_t tly_engine_print(struct tly_engine *e, struct tly_time now, struct tly_slice key)
{
    struct tly_value value;
    return find(e, now, key, &value) != NULL ? tly_read_sum(e, &value) : 0;
}

size_t tly_engine_key_bytes(struct tly_engine *e, struct tly_time now, struct tly_slice key)
{
    struct tly_value value;
    const struct tly_entry *entry = find(e, now, key, &value);
    return entry != NULL ? tly_entry_bytes(entry) : 0;
}
