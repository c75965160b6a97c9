#include "service/shell/reading.h"

#include "service/shell/libc_mem.h"
#include "wire/pack.h"

bool tly_reading_leaves_out(const struct tly_reading *reading, struct tly_slice key)
{
    const struct tly_manifest_prefix *home = tly_manifest_home(reading->manifest, key);
    return home != NULL && home->from > reading->piece;
}

static bool leaves_out(void *context, struct tly_slice key)
{
    return tly_reading_leaves_out(context, key);
}

/* Whether anything is to be left out; without, nobody asks for every key. */
static bool has_cuts(const struct tly_manifest *m)
{
    for (size_t i = 0; i < m->prefix_count; i++)
        if (m->prefixes[i].from != 0) return true;
    return false;
}

enum tly_result tly_reading_equip(struct tly_reading *reading, struct tly_engine *engine)
{
    const struct tly_manifest *m = reading->manifest;
    if (m->prefix_count == 0) return TLY_OK;
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf table;
    tly_buf_init(&table, &mem, TLY_PREFIXES_MAX * sizeof m->prefixes[0]);
    tly_put_array(&table, 2 * m->prefix_count);
    for (size_t i = 0; i < m->prefix_count; i++) {
        tly_put_bytes(&table, tly_manifest_prefix_of(&m->prefixes[i]));
        tly_put_uint(&table, m->prefixes[i].word);
    }
    enum tly_result result = table.result;
    if (result == TLY_OK) result = tly_engine_use_table(engine, tly_buf_slice(&table));
    if (result == TLY_OK && has_cuts(m)) tly_engine_leave_out(engine, leaves_out, reading);
    tly_buf_fini(&table);
    return result;
}
