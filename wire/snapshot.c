#include "wire/snapshot.h"

#include "wire/frame.h"
#include "wire/pack.h"

static const char *const words[TLY_COLD_START_COUNT] = {
#define WORD(name, word) [TLY_COLD_##name] = (word),
    TLY_COLD_STARTS(WORD)
#undef WORD
};

const char *tly_cold_start_word(enum tly_cold_start reason)
{
    return (size_t)reason < TLY_COLD_START_COUNT ? words[reason] : "unknown";
}

enum tly_cold_start tly_cold_start_named(struct tly_slice word)
{
    enum tly_cold_start reason = TLY_COLD_FLOOR;
    for (size_t i = 0; i < TLY_COLD_START_COUNT; i++)
        if (tly_slice_equal(word, tly_slice_text(words[i]))) reason = (enum tly_cold_start)i;
    return reason;
}

static void get_array_of(struct tly_cursor *cursor, size_t elements)
{
    if (tly_get_array(cursor, elements) != elements) tly_cursor_fail(cursor);
}

void tly_cold_put(struct tly_buf *out, const struct tly_cold *cold)
{
    tly_put_array(out, cold->resumes ? 5 : 2);
    tly_put_text(out, tly_slice_text(tly_cold_start_word(cold->reason)));
    tly_put_uint(out, cold->forgotten);
    if (!cold->resumes) return;
    tly_put_uint(out, cold->number);
    tly_put_uint(out, cold->chunks);
    tly_put_bytes(out, cold->key);
}

enum tly_result tly_cold_get(struct tly_slice body, struct tly_cold *cold)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    *cold = (struct tly_cold){0};
    size_t elements = tly_get_array(&cursor, 5);
    if (elements != 2 && elements != 5) tly_cursor_fail(&cursor);
    struct tly_slice word = tly_get_bytes(&cursor, TLY_NAME_BYTES_MAX);
    if (word.n == 0) tly_cursor_fail(&cursor);
    cold->forgotten = tly_get_uint(&cursor);
    cold->reason = tly_cold_start_named(word);
    cold->resumes = elements == 5;
    if (cold->resumes) {
        cold->number = tly_get_uint(&cursor);
        cold->chunks = tly_get_uint(&cursor);
        cold->key = tly_get_bytes(&cursor, TLY_KEY_BYTES_MAX);
    }
    return tly_cursor_end(&cursor);
}

void tly_snap_begin_put(struct tly_buf *out, const struct tly_snap_begin *begin, const struct tly_life *lives,
                        size_t count)
{
    size_t listed = 0;
    for (size_t i = 0; i < count; i++)
        listed += lives[i].origin != 0;
    if (listed > TLY_SNAP_LIVES_MAX) {
        tly_buf_fail(out, TLY_TOO_LARGE);
        return;
    }
    tly_put_array(out, 4);
    tly_put_uint(out, begin->number);
    tly_put_uint(out, begin->bounds.lost);
    tly_put_uint(out, begin->bounds.forgotten);
    tly_put_array(out, 4 * listed);
    for (size_t i = 0; i < count; i++) {
        if (lives[i].origin == 0) continue;
        tly_put_uint(out, lives[i].origin);
        tly_put_uint(out, lives[i].mark);
        tly_put_uint(out, lives[i].floor);
        tly_put_uint(out, lives[i].state);
    }
}

static struct tly_life life_get(struct tly_cursor *cursor)
{
    struct tly_life life = {.origin = tly_get_uint(cursor)};
    life.mark = tly_get_uint(cursor);
    life.floor = tly_get_uint(cursor);
    uint64_t state = tly_get_uint(cursor);
    if (life.origin == 0 || state > TLY_LIFE_RETIRED) tly_cursor_fail(cursor);
    if (cursor->result == TLY_OK) life.state = (enum tly_life_state)state;
    return life;
}

enum tly_result tly_snap_begin_get(struct tly_slice body, struct tly_snap_begin *begin)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 4);
    begin->number = tly_get_uint(&cursor);
    begin->bounds.lost = tly_get_uint(&cursor);
    begin->bounds.forgotten = tly_get_uint(&cursor);
    size_t elements = tly_get_array(&cursor, (size_t)4 * TLY_SNAP_LIVES_MAX);
    if (elements % 4 != 0) tly_cursor_fail(&cursor);
    begin->lives = cursor;
    begin->life_count = elements / 4;
    for (size_t i = 0; i < begin->life_count && cursor.result == TLY_OK; i++)
        (void)life_get(&cursor);
    return tly_cursor_end(&cursor);
}

bool tly_snap_lives_next(struct tly_snap_begin *begin, struct tly_life *life)
{
    if (begin->life_count == 0) return false;
    begin->life_count--;
    *life = life_get(&begin->lives);
    return begin->lives.result == TLY_OK;
}

void tly_snap_chunk_put(struct tly_buf *out, const struct tly_snap_chunk *chunk)
{
    tly_put_array(out, 3);
    tly_put_uint(out, chunk->number);
    tly_put_uint(out, chunk->nth);
    tly_put_bytes(out, chunk->part);
}

bool tly_snap_chunk_has_columns(const struct tly_snap_chunk *chunk)
{
    return chunk->part.n > 0 && (chunk->part.p[0] & 0x80) == 0;
}

enum tly_result tly_snap_chunk_get(struct tly_slice body, struct tly_snap_chunk *chunk)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 3);
    chunk->number = tly_get_uint(&cursor);
    chunk->nth = tly_get_uint(&cursor);
    chunk->part = tly_get_bytes(&cursor, TLY_FRAME_BODY_MAX);
    return tly_cursor_end(&cursor);
}

void tly_snap_end_put(struct tly_buf *out, const struct tly_snap_end *end)
{
    tly_put_array(out, 2);
    tly_put_uint(out, end->number);
    tly_put_uint(out, end->chunks);
}

enum tly_result tly_snap_end_get(struct tly_slice body, struct tly_snap_end *end)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 2);
    end->number = tly_get_uint(&cursor);
    end->chunks = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}

void tly_news_put(struct tly_buf *out, uint64_t ts)
{
    tly_put_array(out, 1);
    tly_put_uint(out, ts);
}

enum tly_result tly_news_get(struct tly_slice body, uint64_t *ts)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    get_array_of(&cursor, 1);
    *ts = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}

/* ---- on disk ---- */

size_t tly_batch_kind(struct tly_slice batch)
{
    struct tly_cursor cursor = tly_cursor_of(batch);
    size_t elements = tly_get_array(&cursor, TLY_BATCH_ROUND);
    return cursor.result == TLY_OK && elements >= TLY_BATCH_SNAP_END ? elements : 0;
}

enum tly_result tly_batch_rows(struct tly_slice batch, struct tly_slice *round)
{
    struct tly_snap_begin begin;
    struct tly_snap_chunk chunk = {0};
    struct tly_snap_end end;
    enum tly_result result = TLY_OK;
    size_t kind = tly_batch_kind(batch);
    if (kind == TLY_BATCH_SNAP_BEGIN) result = tly_snap_begin_get(batch, &begin);
    if (kind == TLY_BATCH_SNAP_CHUNK) result = tly_snap_chunk_get(batch, &chunk);
    if (kind == TLY_BATCH_SNAP_END) result = tly_snap_end_get(batch, &end);
    /* What is none of them is for tly_round_get to refuse. */
    *round = kind == 0 || kind == TLY_BATCH_ROUND ? batch : chunk.part;
    return result;
}
