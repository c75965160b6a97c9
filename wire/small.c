/* The messages of one line: ACK, NAK, PING (and PONG), PROBE (and PROBED), GOODBYE. */
#include "wire/message.h"
#include "wire/pack.h"

#include <assert.h>

void tly_ack_put(struct tly_buf *out, const struct tly_mark *marks, size_t count)
{
    tly_marks_put(out, marks, count);
}

enum tly_result tly_ack_get(struct tly_slice body, struct tly_marks *marks)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *marks = tly_marks_get(&cursor);
    return tly_cursor_end(&cursor);
}

static void get_pair(struct tly_cursor *cursor)
{
    if (tly_get_array(cursor, 2) != 2) tly_cursor_fail(cursor);
}

static struct tly_slice get_word(struct tly_cursor *cursor)
{
    struct tly_slice word = tly_get_bytes(cursor, TLY_NAME_BYTES_MAX);
    if (word.n == 0) tly_cursor_fail(cursor);
    return word;
}

void tly_nak_put(struct tly_buf *out, enum tly_result result, const struct tly_mark *marks, size_t count)
{
    tly_put_array(out, 2);
    tly_put_text(out, tly_slice_text(tly_result_name(result)));
    tly_marks_put(out, marks, count);
}

enum tly_result tly_nak_get(struct tly_slice body, struct tly_slice *result_name, struct tly_marks *marks)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_pair(&cursor);
    *result_name = get_word(&cursor);
    *marks = tly_marks_get(&cursor);
    return tly_cursor_end(&cursor);
}

void tly_ping_put(struct tly_buf *out, const struct tly_ping *ping)
{
    tly_put_array(out, 2);
    tly_put_uint(out, ping->mono_ns);
    tly_put_uint(out, ping->wall_ns);
}

enum tly_result tly_ping_get(struct tly_slice body, struct tly_ping *ping)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_pair(&cursor);
    ping->mono_ns = tly_get_uint(&cursor);
    ping->wall_ns = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}

void tly_probe_put(struct tly_buf *out, const struct tly_probe *probe)
{
    tly_put_array(out, 3);
    tly_put_uint(out, probe->nonce);
    tly_put_text(out, probe->name);
    tly_put_uint(out, probe->heard_ms);
}

enum tly_result tly_probe_get(struct tly_slice body, struct tly_probe *probe)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    if (tly_get_array(&cursor, 3) != 3) tly_cursor_fail(&cursor);
    probe->nonce = tly_get_uint(&cursor);
    probe->name = get_word(&cursor);
    probe->heard_ms = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}

void tly_goodbye_put(struct tly_buf *out, struct tly_slice word, struct tly_slice text)
{
    assert(word.n >= 1 && word.n <= TLY_NAME_BYTES_MAX);
    if (text.n > TLY_REASON_BYTES_MAX) text.n = TLY_REASON_BYTES_MAX;
    tly_put_array(out, 2);
    tly_put_text(out, word);
    tly_put_text(out, text);
}

enum tly_result tly_goodbye_get(struct tly_slice body, struct tly_slice *word, struct tly_slice *text)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_pair(&cursor);
    *word = get_word(&cursor);
    *text = tly_get_bytes(&cursor, TLY_REASON_BYTES_MAX);
    return tly_cursor_end(&cursor);
}
