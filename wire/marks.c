#include "wire/message.h"
#include "wire/pack.h"

void tly_marks_put(struct tly_buf *out, const struct tly_mark *marks, size_t count)
{
    if (count > TLY_MARKS_MAX) {
        tly_buf_fail(out, TLY_TOO_LARGE);
        return;
    }
    tly_put_array(out, 2 * count);
    for (size_t i = 0; i < count; i++) {
        tly_put_uint(out, marks[i].origin);
        tly_put_uint(out, marks[i].ts);
    }
}

static struct tly_mark mark_get(struct tly_cursor *cursor)
{
    struct tly_mark mark = {.origin = tly_get_uint(cursor)};
    mark.ts = tly_get_uint(cursor);
    if (mark.origin == 0) tly_cursor_fail(cursor);
    return mark;
}

struct tly_marks tly_marks_get(struct tly_cursor *cursor)
{
    size_t elements = tly_get_array(cursor, (size_t)2 * TLY_MARKS_MAX);
    struct tly_marks marks = {*cursor, elements / 2};
    if (elements % 2 != 0) tly_cursor_fail(cursor);
    for (size_t i = 0; i < marks.left && cursor->result == TLY_OK; i++)
        (void)mark_get(cursor);
    if (cursor->result != TLY_OK) return (struct tly_marks){*cursor, 0};
    return marks;
}

bool tly_marks_next(struct tly_marks *marks, struct tly_mark *mark)
{
    if (marks->left == 0) return false;
    marks->left--;
    *mark = mark_get(&marks->cursor);
    return marks->cursor.result == TLY_OK;
}
