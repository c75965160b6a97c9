/*
 * Chunks of a snapshot in the form of PART, which takes a third of what rows take. Each stands alone: its table begins empty, so that a
 * snapshot may go on with any of them on another connection.
 */
#include "service/engine/impl.h"

/* All that a part can name, and what its keys may take: a part is full before. */
#define NAMES_MAX TLY_PART_ROWS_MAX
#define KEY_BYTES_MAX TLY_PART_WORST_BYTES

struct columns *tly_columns_need(struct tly_engine *e)
{
    struct columns *columns = &e->columns;
    struct tly_names_config config = {
        .mem = e->mem, .hash_key = e->hash_key, .names_max = NAMES_MAX, .key_bytes_max = KEY_BYTES_MAX};
    if (columns->names == NULL) columns->names = tly_names_new(&config);
    if (columns->out == NULL) columns->out = tly_stream_new(&e->mem);
    return columns->names != NULL && columns->out != NULL ? columns : NULL;
}

void tly_columns_fini(struct tly_engine *e)
{
    tly_names_free(e->columns.names);
    tly_stream_free(e->columns.out);
    tly_stream_free(e->columns.in);
    e->columns = (struct columns){0};
}

void tly_columns_begin(struct tly_engine *e, struct columns *columns)
{
    tly_names_clear(columns->names);
    tly_stream_reset(columns->out);
    tly_parts_begin(e->parts, columns->out, columns->names);
}

enum tly_result tly_columns_get(struct tly_engine *e, struct tly_slice body, struct tly_part *part)
{
    if (e->columns.in == NULL) e->columns.in = tly_stream_new(&e->mem);
    if (e->columns.in == NULL) return TLY_NOMEM;
    enum tly_result result = tly_parts_get(e->parts, e->columns.in, body, part);
    if (result != TLY_OK) {
        tly_stream_free(e->columns.in);
        e->columns.in = NULL;
        return result;
    }
    /* It stands alone and says nothing but rows. */
    bool good = part->flags == TLY_PART_RESET || part->flags == (TLY_PART_RESET | TLY_PART_TAIL);
    return good ? TLY_OK : TLY_BAD_MESSAGE;
}
