/* Reading a part: straight down through the columns, then row by row; nothing is handed out before all of it was read. */
#include "wire/stream_impl.h"

#include <assert.h>

#define FLAGS \
    (TLY_PART_FIRST | TLY_PART_LAST | TLY_PART_RESET | TLY_PART_START | TLY_PART_TAIL | TLY_PART_TOLD)
#define TAIL_BYTES_MAX 3
/* Rows whose place in the table is fetched beforehand; what it says of the key is looked at when half as many are left. */
#define AHEAD 16

/* A part that is being read. */
struct reader {
    struct tly_parts *parts;
    struct tly_stream *stream;
    struct tly_bits_in bits;
    struct tly_tail tail;
    enum tly_result result; /* what is worse than malformed */
    uint64_t rows;
};

static void fail(struct reader *reader, enum tly_result result)
{
    if (!reader->bits.failed) reader->result = result;
    reader->bits.failed = true;
}

static void malformed(struct reader *reader)
{
    fail(reader, TLY_BAD_MESSAGE);
}

/* A number of at most `most`, of which each takes a bit at least. */
static uint64_t get_count(struct reader *reader, tly_code *code, uint64_t most)
{
    uint64_t count = tly_code_get(&reader->bits, code);
    if (count > most || count > tly_bits_left(&reader->bits)) {
        malformed(reader);
        return 0;
    }
    return count;
}

/* ---- lives and marks ---- */

static void get_lives(struct reader *reader)
{
    struct tly_stream *stream = reader->stream;
    uint64_t count = get_count(reader, &stream->codes.lives, TLY_STREAM_LIVES_MAX);
    for (; count > 0 && !reader->bits.failed; count--) {
        size_t before = stream->life_count;
        uint32_t life;
        uint64_t origin = tly_bits_get(&reader->bits, 64);
        if (origin == 0 || reader->bits.failed || before == TLY_STREAM_LIVES_MAX)
            malformed(reader);
        else if (!tly_stream_life(stream, origin, &life))
            fail(reader, TLY_NOMEM);
        else if (stream->life_count == before)
            malformed(reader);
    }
}

static bool add_mark(const struct tly_mem *mem, struct tly_mark **marks, size_t *capacity,
                     struct tly_mark_list *list, struct tly_mark mark)
{
    void *grown = tly_mem_reserve(mem, *marks, capacity, list->count + 1, sizeof **marks);
    if (grown == NULL) return false;
    *marks = grown;
    (*marks)[list->count++] = mark;
    list->marks = *marks;
    return true;
}

/* A list of marks that is being read. */
struct mark_reader {
    struct reader *reader;
    tly_code *life, *ts;
    size_t next; /* the least life that the next mark may be of */
};

/* The next mark's life and difference; NULL: there is none such. */
static struct stream_life *get_mark(struct mark_reader *marks, uint64_t *difference)
{
    struct reader *reader = marks->reader;
    uint64_t gap = tly_code_get(&reader->bits, marks->life);
    *difference = tly_unzigzag(tly_code_get(&reader->bits, marks->ts));
    if (reader->bits.failed || gap >= reader->stream->life_count - marks->next) {
        malformed(reader);
        return NULL;
    }
    size_t life = marks->next + (size_t)gap;
    marks->next = life + 1;
    return &reader->stream->lives[life];
}

static void get_told_marks(struct reader *reader, struct tly_mark_list *list)
{
    struct tly_parts *parts = reader->parts;
    struct tly_stream *stream = reader->stream;
    struct mark_reader marks = {reader, &stream->codes.told.life, &stream->codes.told.ts, 0};
    uint64_t difference, count = get_count(reader, &stream->codes.told.count, TLY_STREAM_MARKS_MAX - 1) + 1;
    for (; count > 0 && !reader->bits.failed; count--) {
        struct stream_life *life = get_mark(&marks, &difference);
        if (life == NULL) return;
        life->told = near_mark(stream, life->told) + difference;
        struct tly_mark mark = {life->origin, life->told};
        if (!add_mark(&parts->mem, &parts->told, &parts->told_capacity, list, mark)) fail(reader, TLY_NOMEM);
    }
}

static void get_start_marks(struct reader *reader, struct tly_mark_list *list)
{
    struct tly_parts *parts = reader->parts;
    struct tly_stream *stream = reader->stream;
    struct mark_reader marks = {reader, &stream->codes.mark.life, &stream->codes.mark.ts, 0};
    uint64_t difference, count = get_count(reader, &stream->codes.mark.count, TLY_STREAM_MARKS_MAX);
    for (; count > 0 && !reader->bits.failed; count--) {
        struct stream_life *life = get_mark(&marks, &difference);
        if (life == NULL) return;
        stream->newest_ts += difference;
        struct tly_mark mark = {life->origin, stream->newest_ts};
        if (!add_mark(&parts->mem, &parts->start, &parts->start_capacity, list, mark))
            fail(reader, TLY_NOMEM);
    }
}

static void settle_mark(struct reader *reader, size_t i, struct tly_mark_list *list)
{
    struct tly_parts *parts = reader->parts;
    struct stream_life *life = &reader->stream->lives[i];
    uint64_t end = life->listed ? life->end : expected_mark(reader->stream, life);
    life->listed = false;
    if (end == life->mark) return;
    life->mark = end;
    struct tly_mark mark = {life->origin, end};
    if (!add_mark(&parts->mem, &parts->end, &parts->end_capacity, list, mark)) fail(reader, TLY_NOMEM);
}

static void get_end_marks(struct reader *reader, struct tly_mark_list *list)
{
    struct tly_stream *stream = reader->stream;
    struct mark_reader marks = {reader, &stream->codes.mark.life, &stream->codes.mark.ts, 0};
    uint64_t difference, count = get_count(reader, &stream->codes.mark.count, TLY_STREAM_LIVES_MAX);
    for (; count > 0 && !reader->bits.failed; count--) {
        struct stream_life *life = get_mark(&marks, &difference);
        if (life == NULL) return;
        uint64_t expected = expected_mark(stream, life);
        life->end = near_mark(stream, expected) + difference;
        life->listed = true;
        if (life->end == expected) malformed(reader);
    }
    for (size_t i = 0; i < stream->life_count && !reader->bits.failed; i++)
        settle_mark(reader, i, list);
}

/* ---- columns ---- */

static bool reserve_rows(struct tly_parts *parts, size_t count)
{
    void *rows = tly_mem_reserve(&parts->mem, parts->rows, &parts->row_capacity, count, sizeof *parts->rows);
    if (rows != NULL) parts->rows = rows;
    void *number =
        tly_mem_reserve(&parts->mem, parts->number, &parts->number_capacity, count, sizeof *parts->number);
    if (number != NULL) parts->number = number;
    return rows != NULL && number != NULL;
}

static void get_numbers(struct reader *reader)
{
    uint32_t number = 0;
    if (!reserve_rows(reader->parts, (size_t)reader->rows)) fail(reader, TLY_NOMEM);
    struct tly_bits_in bits = reader->bits;
    for (size_t i = 0; i < reader->rows && !bits.failed; i++) {
        uint64_t gap = swap_0_and_1(tly_code_next(&bits, &reader->stream->codes.gap[octave_of(number)]));
        if (gap >= reader->stream->names_max - number) {
            malformed(reader);
            return;
        }
        number += (uint32_t)gap;
        reader->parts->number[i] = number;
    }
    reader->bits = bits;
    if (!reader->bits.failed && !tly_stream_reach(reader->stream, number)) fail(reader, TLY_NOMEM);
}

/* The places of what is listed, with a last one behind all rows. */
static void get_places(struct reader *reader, enum exception exception, bool values)
{
    struct codes *codes = &reader->stream->codes;
    struct column *column = &reader->parts->column[exception];
    uint64_t next = 0, value = 0;
    uint64_t count = get_count(reader, &codes->exception[exception].count, reader->rows);
    if (exception < X_RARE && count == 0) malformed(reader);
    for (; count > 0 && !reader->bits.failed; count--) {
        uint64_t gap = tly_code_get(&reader->bits, &codes->exception[exception].gap);
        if (values) value = tly_code_get(&reader->bits, &codes->exception[exception].value);
        if (gap >= reader->rows - next || value == UINT64_MAX) {
            malformed(reader);
            return;
        }
        next += gap;
        if (!tly_column_add(column, &reader->parts->mem, (uint32_t)next++, value)) fail(reader, TLY_NOMEM);
    }
}

static void get_kind(struct reader *reader, struct told *told)
{
    struct tly_stream *stream = reader->stream;
    uint64_t kind = tly_code_get(&reader->bits, &stream->codes.kind);
    if (kind != 0) {
        uint64_t life = tly_code_get(&reader->bits, &stream->codes.life);
        if (kind > UINT8_MAX || life >= stream->life_count) {
            malformed(reader);
            return;
        }
        stream->fresh_strategy = (uint8_t)kind;
        stream->fresh_life = (uint32_t)life;
    }
    if (stream->fresh_strategy == 0 || stream->fresh_life >= stream->life_count) {
        malformed(reader);
    } else if (tly_strategy_by_id(stream->fresh_strategy) == NULL) {
        fail(reader, TLY_WRONG_STRATEGY);
    }
    told->strategy = tly_strategy_by_id(stream->fresh_strategy);
    told->life = stream->fresh_life;
}

static void keep_key(struct reader *reader, struct told *told, struct tly_slice key)
{
    struct tly_stream *stream = reader->stream;
    if (key.n > TLY_NAMES_KEY_BYTES_MAX - (stream->key_bytes - told->key_n)) {
        malformed(reader);
        return;
    }
    uint8_t *copy = tly_mem_resize(&stream->mem, told->key, told->key_n, key.n);
    if (copy == NULL) {
        fail(reader, TLY_NOMEM);
        return;
    }
    stream->key_bytes += key.n - told->key_n;
    memcpy(copy, key.p, key.n);
    told->key = copy;
    told->key_n = (uint16_t)key.n;
    told->hash = reader->parts->has_hash_key ? tly_key_hash(&reader->parts->hash_key, key) : 0;
}

static void get_fresh(struct reader *reader)
{
    struct tly_parts *parts = reader->parts;
    const struct column *column = &parts->column[X_FRESH];
    get_places(reader, X_FRESH, false);
    for (size_t i = 0; i < column->count && !reader->bits.failed; i++) {
        uint32_t at = column->at[i];
        struct told *told = &reader->stream->told[parts->number[at]];
        /* A number is told anew before anything of it, or the rows before would change their key. */
        if (at > 0 && parts->number[at - 1] == parts->number[at]) malformed(reader);
        *told = (struct told){.key = told->key, .key_n = told->key_n, .issue = FRESH};
        get_kind(reader, told);
        struct tly_slice key = tly_text_get(&reader->stream->text, &reader->bits, &reader->tail);
        if (!reader->bits.failed) keep_key(reader, told, key);
    }
}

static void get_exceptions(struct reader *reader)
{
    for (size_t i = 0; i < EXCEPTIONS; i++)
        reader->parts->column[i].count = 0;
    uint64_t rare = tly_code_get(&reader->bits, &reader->stream->codes.rare);
    if (rare >> X_RARE != 0) malformed(reader);
    if ((rare & 1u << X_FRESH) != 0) get_fresh(reader);
    for (unsigned i = X_FRESH + 1; i < EXCEPTIONS; i++)
        if (i >= X_RARE || (rare & 1u << i) != 0) get_places(reader, (enum exception)i, i != X_REMOVE);
}

/* ---- rows ---- */

/* How far the lists have been walked. */
struct walk {
    size_t next[EXCEPTIONS];
    size_t at;     /* the row */
    size_t listed; /* the next row of which anything is listed: those before it are as expected */
    bool rise;
};

static size_t next_listed(const struct reader *reader, const struct walk *walk)
{
    size_t listed = SIZE_MAX;
    for (unsigned i = X_FRESH + 1; i < EXCEPTIONS; i++) {
        const struct column *column = &reader->parts->column[i];
        if (walk->next[i] < column->count && column->at[walk->next[i]] < listed)
            listed = column->at[walk->next[i]];
    }
    return listed;
}

static bool is_listed(const struct reader *reader, struct walk *walk, enum exception exception)
{
    const struct column *column = &reader->parts->column[exception];
    size_t next = walk->next[exception];
    if (next == column->count || column->at[next] != walk->at) return false;
    walk->next[exception] = next + 1;
    return true;
}

TLY_ALWAYS_INLINE uint64_t listed_difference(const struct reader *reader, struct walk *walk,
                                             enum exception exception)
{
    if (walk->at != walk->listed || !is_listed(reader, walk, exception)) return 0;
    return tly_unzigzag(reader->parts->column[exception].value[walk->next[exception] - 1] + 1);
}

TLY_ALWAYS_INLINE uint64_t get_growth(struct reader *reader, const struct walk *walk)
{
    tly_code *code = &reader->stream->codes.growth[octave_of(reader->parts->number[walk->at])];
    uint64_t value = tly_code_next(&reader->bits, code);
    return walk->rise ? value + 1 : tly_unzigzag(value);
}

static void get_words(struct reader *reader, struct walk *walk, struct told *told,
                      const struct tly_strategy *strategy, struct tly_dot *dot)
{
    struct tly_stream *stream = reader->stream;
    const struct layout *layout = layout_of(strategy);
    uint64_t word[WORDS] = {0};
    if (has_word(layout, WINDOW)) {
        word[WINDOW] = told->issue == FRESH ? stream->fresh_window : told->word[WINDOW];
        word[WINDOW] += listed_difference(reader, walk, X_WINDOW);
        if (told->issue == FRESH) stream->fresh_window = word[WINDOW];
    }
    if (has_word(layout, EPOCH)) {
        word[EPOCH] = expected_epoch(stream, told, word[WINDOW]);
        word[EPOCH] += listed_difference(reader, walk, X_EPOCH);
    }
    bool fresh = told->issue == FRESH;
    struct rest rest =
        expected_rest(told, fresh ? stream->fresh_aux : told->word[AUX], dot->version.ts, word);
    if (has_word(layout, AUX)) word[AUX] = rest.aux + listed_difference(reader, walk, X_AUX);
    if (has_word(layout, COUNT)) word[COUNT] = rest.count + get_growth(reader, walk);
    if (fresh) stream->fresh_aux = word[AUX];
    settle_words(stream, told, word);
    /* What a strategy does not have is 0, as the window is of one that has none. */
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        dot->num[i] = word[layout->word[i]];
}

static void get_bytes(struct reader *reader, struct tly_dot *dot)
{
    uint64_t n = tly_code_get(&reader->bits, &reader->stream->codes.bytes);
    const uint8_t *bytes = n <= TLY_LWW_BYTES_MAX ? tly_tail_take(&reader->tail, (size_t)n) : NULL;
    if (bytes == NULL)
        malformed(reader);
    else
        dot->bytes = tly_slice_of(bytes, (size_t)n);
}

/* All but the payload. */
TLY_ALWAYS_INLINE void begin_row(struct tly_stream *stream, const struct told *told, uint64_t difference,
                                 struct tly_row *row)
{
    struct stream_life *life = &stream->lives[told->life];
    /* One by one: a slice that was put together elsewhere would be read in one piece, and wait for its two. */
    row->key.p = told->key;
    row->key.n = told->key_n;
    row->hash = told->hash;
    row->strategy_id = told->strategy->id;
    row->dot.op = TLY_PUT;
    row->dot.bytes.p = NULL;
    row->dot.bytes.n = 0;
    row->dot.version.origin = life->origin;
    row->dot.version.ts = expected_ts(stream, life) + difference;
    settle_ts(stream, life, row->dot.version.ts);
}

/*
 * What nearly every row is: nothing of it is listed, and it counts on in the newest epoch of a window. get_words would come to the
 * same. False: it is another one, and nothing was read.
 */
TLY_ALWAYS_INLINE bool get_usual(struct reader *reader, const struct walk *walk, struct told *told,
                                 struct tly_row *row)
{
    struct tly_stream *stream = reader->stream;
    uint64_t window = told->word[WINDOW];
    if (told->issue != KNOWN || walk->at == walk->listed || window == 0) return false;
    const uint64_t *newest = newest_epoch(stream, window);
    if (newest == NULL || *newest != told->word[EPOCH]) return false;
    begin_row(stream, told, 0, row);
    if (row->dot.version.ts == 0) malformed(reader);
    uint64_t count = told->word[COUNT] + get_growth(reader, walk), *num = row->dot.num;
    /* Who has a window has all four, in this order. */
    num[WINDOW] = window;
    num[EPOCH] = told->word[EPOCH];
    num[COUNT] = told->word[COUNT] = count;
    num[AUX] = told->word[AUX];
    return true;
}

static void get_row(struct reader *reader, struct walk *walk)
{
    struct tly_stream *stream = reader->stream;
    struct told *told = &stream->told[reader->parts->number[walk->at]];
    struct tly_row *row = &reader->parts->rows[walk->at];
    if (get_usual(reader, walk, told, row)) return;
    if (told->issue == UNKNOWN) {
        malformed(reader);
        return;
    }
    const struct tly_strategy *strategy = told->strategy;
    begin_row(stream, told, listed_difference(reader, walk, X_TS), row);
    memset(row->dot.num, 0, sizeof row->dot.num);
    if (row->dot.version.ts == 0) malformed(reader);
    bool is_remove = walk->at == walk->listed && is_listed(reader, walk, X_REMOVE);
    row->dot.op = is_remove ? TLY_REMOVE : TLY_PUT;
    if (row->dot.op == TLY_PUT) {
        get_words(reader, walk, told, strategy, &row->dot);
        if (strategy->has_bytes) get_bytes(reader, &row->dot);
    }
    told->issue = KNOWN;
    if (walk->at == walk->listed) walk->listed = next_listed(reader, walk);
}

/* What is listed for a row that has no such word is never reached. */
static void check_walked(struct reader *reader, const struct walk *walk)
{
    for (size_t i = X_FRESH + 1; i < EXCEPTIONS; i++)
        if (walk->next[i] != reader->parts->column[i].count) malformed(reader);
}

static void get_rows(struct reader *reader)
{
    struct walk walk = {.at = 0};
    get_numbers(reader);
    if (!reader->bits.failed) get_exceptions(reader);
    walk.listed = next_listed(reader, &walk);
    walk.rise = tly_bits_get(&reader->bits, 1) != 0;
    for (; walk.at < reader->rows && !reader->bits.failed; walk.at++) {
        if (walk.at + AHEAD < reader->rows)
            __builtin_prefetch(&reader->stream->told[reader->parts->number[walk.at + AHEAD]]);
        if (walk.at + AHEAD / 2 < reader->rows)
            __builtin_prefetch(reader->stream->told[reader->parts->number[walk.at + AHEAD / 2]].key);
        get_row(reader, &walk);
    }
    if (!reader->bits.failed) check_walked(reader, &walk);
}

/* ---- the whole ---- */

/* Flags, and how much of the body is its tail. */
static bool open_body(struct reader *reader, struct tly_slice body, unsigned *flags)
{
    if (body.n == 0) return false;
    size_t at = 1, tail = 0;
    *flags = body.p[0];
    bool known = (*flags & ~(unsigned)FLAGS) == 0;
    if (!known || ((*flags & TLY_PART_START) != 0 && (*flags & TLY_PART_FIRST) == 0)) return false;
    if ((*flags & TLY_PART_TAIL) != 0) {
        do {
            if (at == body.n || at > TAIL_BYTES_MAX) return false;
            tail |= (size_t)(body.p[at] & 0x7f) << (7 * (at - 1));
        } while (body.p[at++] >= 0x80);
        if (tail == 0 || body.p[at - 1] == 0 || tail > body.n - at) return false;
    }
    size_t bits = body.n - at - tail;
    reader->bits = tly_bits_in_of(tly_slice_of(body.p + at, bits));
    reader->tail = (struct tly_tail){body.p + at + bits, tail};
    return true;
}

static void get_part(struct reader *reader, struct tly_part *part)
{
    reader->rows = get_count(reader, &reader->stream->codes.rows, TLY_PART_ROWS_MAX);
    get_lives(reader);
    if ((part->flags & TLY_PART_TOLD) != 0 && !reader->bits.failed) get_told_marks(reader, &part->told);
    if ((part->flags & TLY_PART_START) != 0) get_start_marks(reader, &part->start);
    if (reader->rows > 0 && !reader->bits.failed) get_rows(reader);
    if ((part->flags & TLY_PART_LAST) != 0 && !reader->bits.failed) get_end_marks(reader, &part->end);
    if (!tly_bits_ended(&reader->bits) || reader->tail.n > 0) malformed(reader);
}

enum tly_result tly_parts_get(struct tly_parts *parts, struct tly_stream *stream, struct tly_slice body,
                              struct tly_part *part)
{
    struct reader reader = {.parts = parts, .stream = stream, .result = TLY_BAD_MESSAGE};
    *part = (struct tly_part){0};
    if (!open_body(&reader, body, &part->flags)) return TLY_BAD_MESSAGE;
    if ((part->flags & TLY_PART_RESET) != 0) tly_stream_reset(stream);
    stream->part++;
    if ((part->flags & TLY_PART_FIRST) != 0) stream->round++;
    get_part(&reader, part);
    if (reader.bits.failed) return reader.result;
    if (reader.rows > 0 && !tly_parts_order(parts, (size_t)reader.rows)) return TLY_NOMEM;
    part->by_ts = parts->by_ts;
    part->rows = parts->rows;
    part->row_count = (size_t)reader.rows;
    return TLY_OK;
}
