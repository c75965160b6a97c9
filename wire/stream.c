/* Tables of streams, and what both ends expect of a row. */
#include "wire/stream_impl.h"

#include "wire/frame.h"

#include <assert.h>

static_assert(OCTAVES > 17 && TLY_NAMES_MAX == 1u << 17, "every number has its octave");
static_assert(TLY_NUMS_MAX <= WORDS, "every word has its place");

struct tly_stream *tly_stream_new(const struct tly_mem *mem)
{
    struct tly_stream *stream = tly_mem_zeroed(mem, sizeof *stream);
    if (stream == NULL) return NULL;
    stream->mem = *mem;
    stream->names_max = TLY_NAMES_MAX;
    tly_stream_reset(stream);
    return stream;
}

void tly_stream_limit(struct tly_stream *stream, uint32_t names_max)
{
    assert(names_max >= 1 && names_max <= TLY_NAMES_MAX);
    stream->names_max = names_max;
}

static void forget_keys(struct tly_stream *stream)
{
    for (size_t i = 0; i < stream->told_count; i++) {
        tly_mem_free(&stream->mem, stream->told[i].key, stream->told[i].key_n);
        stream->told[i] = (struct told){0};
    }
    stream->told_count = 0;
    stream->key_bytes = 0;
}

void tly_stream_free(struct tly_stream *stream)
{
    if (stream == NULL) return;
    struct tly_mem mem = stream->mem;
    forget_keys(stream);
    tly_mem_free(&mem, stream->told, stream->told_capacity * sizeof *stream->told);
    tly_mem_free(&mem, stream->lives, stream->life_capacity * sizeof *stream->lives);
    tly_mem_free(&mem, stream, sizeof *stream);
}

void tly_stream_reset(struct tly_stream *stream)
{
    forget_keys(stream);
    struct tly_stream empty = {
        .mem = stream->mem,
        .reset_due = true,
        .names_max = stream->names_max,
        .lives = stream->lives,
        .life_capacity = stream->life_capacity,
        .told = stream->told,
        .told_capacity = stream->told_capacity,
    };
    *stream = empty;
}

size_t tly_stream_bytes(const struct tly_stream *stream)
{
    return sizeof *stream + stream->key_bytes + stream->told_capacity * sizeof *stream->told +
           stream->life_capacity * sizeof *stream->lives;
}

bool tly_stream_life(struct tly_stream *stream, uint64_t origin, uint32_t *life)
{
    /* Lists of marks have their lives in one order, so it mostly is the last one or the next. */
    uint32_t at = stream->last_life;
    for (size_t i = 0; i < stream->life_count; i++, at++) {
        if (at >= stream->life_count) at = 0;
        if (stream->lives[at].origin != origin) continue;
        *life = stream->last_life = at;
        return true;
    }
    if (stream->life_count == TLY_STREAM_LIVES_MAX) return false;
    void *lives = tly_mem_reserve(&stream->mem, stream->lives, &stream->life_capacity, stream->life_count + 1,
                                  sizeof *stream->lives);
    if (lives == NULL) return false;
    stream->lives = lives;
    *life = stream->last_life = (uint32_t)stream->life_count;
    stream->lives[stream->life_count++] = (struct stream_life){.origin = origin};
    return true;
}

bool tly_stream_reach(struct tly_stream *stream, uint32_t number)
{
    if (number < stream->told_count) return true;
    void *told = tly_mem_reserve(&stream->mem, stream->told, &stream->told_capacity, (size_t)number + 1,
                                 sizeof *stream->told);
    if (told == NULL) return false;
    stream->told = told;
    for (; stream->told_count <= number; stream->told_count++)
        stream->told[stream->told_count] = (struct told){0};
    return true;
}

bool tly_column_add(struct column *column, const struct tly_mem *mem, uint32_t at, uint64_t value)
{
    void *grown =
        tly_mem_reserve(mem, column->at, &column->at_capacity, column->count + 1, sizeof *column->at);
    if (grown == NULL) return false;
    column->at = grown;
    grown = tly_mem_reserve(mem, column->value, &column->value_capacity, column->count + 1,
                            sizeof *column->value);
    if (grown == NULL) return false;
    column->value = grown;
    column->at[column->count] = at;
    column->value[column->count++] = value;
    return true;
}

void tly_stream_keep_window(struct tly_stream *stream, uint64_t window, uint64_t epoch)
{
    size_t place = stream->window_count < WINDOWS_MAX ? stream->window_count++ : stream->window_next++;
    stream->windows[place].window = window;
    stream->windows[place].epoch = epoch;
    if (stream->window_next == WINDOWS_MAX) stream->window_next = 0;
}

/* ---- room to work in ---- */

struct tly_parts *tly_parts_new(const struct tly_mem *mem)
{
    struct tly_parts *parts = tly_mem_zeroed(mem, sizeof *parts);
    if (parts == NULL) return NULL;
    parts->mem = *mem;
    tly_buf_init(&parts->bits, mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&parts->tail, mem, TLY_FRAME_BODY_MAX);
    return parts;
}

void tly_parts_use_hash(struct tly_parts *parts, const struct tly_hash_key *key)
{
    parts->hash_key = *key;
    parts->has_hash_key = true;
}

void tly_parts_free(struct tly_parts *parts)
{
    if (parts == NULL) return;
    struct tly_mem mem = parts->mem;
    tly_mem_free(&mem, parts->work, parts->work_capacity * sizeof *parts->work);
    tly_mem_free(&mem, parts->order, parts->order_capacity * sizeof *parts->order);
    tly_mem_free(&mem, parts->order_other, parts->other_capacity * sizeof *parts->order_other);
    tly_mem_free(&mem, parts->growth, parts->growth_capacity * sizeof *parts->growth);
    tly_mem_free(&mem, parts->rows, parts->row_capacity * sizeof *parts->rows);
    tly_mem_free(&mem, parts->number, parts->number_capacity * sizeof *parts->number);
    tly_mem_free(&mem, parts->by_ts, parts->by_ts_capacity * sizeof *parts->by_ts);
    for (size_t i = 0; i < 2; i++)
        tly_mem_free(&mem, parts->aged[i], parts->aged_capacity[i] * sizeof *parts->aged[i]);
    tly_mem_free(&mem, parts->told, parts->told_capacity * sizeof *parts->told);
    tly_mem_free(&mem, parts->start, parts->start_capacity * sizeof *parts->start);
    tly_mem_free(&mem, parts->end, parts->end_capacity * sizeof *parts->end);
    for (size_t i = 0; i < EXCEPTIONS; i++) {
        struct column *column = &parts->column[i];
        tly_mem_free(&mem, column->at, column->at_capacity * sizeof *column->at);
        tly_mem_free(&mem, column->value, column->value_capacity * sizeof *column->value);
    }
    tly_buf_fini(&parts->bits);
    tly_buf_fini(&parts->tail);
    tly_mem_free(&mem, parts, sizeof *parts);
}
