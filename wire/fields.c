#include "wire/fields.h"

#include <assert.h>

/* A bound on what a writer of another version may have put in. */
#define PAIRS_MAX 64

static size_t field_of(const struct tly_field_reader *fields, size_t count, struct tly_slice key)
{
    size_t i = 0;
    while (i < count && !tly_slice_equal(key, tly_slice_text(fields[i].key)))
        i++;
    return i;
}

void tly_fields_get(struct tly_cursor *cursor, const struct tly_field_reader *fields, size_t count,
                    size_t required, void *message)
{
    assert(count <= TLY_FIELDS_MAX && required <= count);
    uint64_t seen = 0, needed = (UINT64_C(1) << required) - 1;
    size_t pairs = tly_get_map(cursor, PAIRS_MAX);
    for (size_t i = 0; i < pairs && cursor->result == TLY_OK; i++) {
        size_t field = field_of(fields, count, tly_get_bytes(cursor, TLY_WORD_BYTES_MAX));
        if (field == count) {
            tly_cursor_skip(cursor);
            continue;
        }
        if ((seen >> field & 1u) != 0) tly_cursor_fail(cursor);
        seen |= UINT64_C(1) << field;
        fields[field].get(cursor, message);
    }
    if ((seen & needed) != needed) tly_cursor_fail(cursor);
}
