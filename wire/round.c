#include "wire/frame.h"
#include "wire/message.h"
#include "wire/pack.h"

#include <assert.h>

/* Elements of a row that every strategy has, and the most that a row of one we do not know may have. */
#define ROW_FIXED 5
#define ROW_ELEMENTS_MAX 32

/* The most bytes: a head and a number; a list's head; the largest row; flags and the five-element array around it all. */
#define NUMBER_BYTES_MAX TLY_PACK_NUMBER_BYTES_MAX
#define LIST_BYTES_MAX 5
#define ROW_FIXED_BYTES_MAX (5 + TLY_KEY_BYTES_MAX + (4 + TLY_NUMS_MAX) * NUMBER_BYTES_MAX + 5)
#define ROW_BYTES_MAX (ROW_FIXED_BYTES_MAX + TLY_LWW_BYTES_MAX)
#define MARKS_BYTES_MAX (TLY_MARKS_MAX * 2 * NUMBER_BYTES_MAX)
#define LIVES_BYTES_MAX (TLY_ROUND_LIVES_MAX * NUMBER_BYTES_MAX)

static_assert(ROW_BYTES_MAX <= TLY_ROUND_ROWS_BYTES_MAX, "an empty writer takes any dot");
static_assert(2 + 4 * LIST_BYTES_MAX + MARKS_BYTES_MAX + LIVES_BYTES_MAX + TLY_ROUND_ROWS_BYTES_MAX <=
                  TLY_FRAME_BODY_MAX,
              "a part fits into a frame");

/* ---- writing ---- */

void tly_round_writer_init(struct tly_round_writer *writer, const struct tly_mem *mem)
{
    tly_buf_init(&writer->rows, mem, TLY_ROUND_ROWS_BYTES_MAX);
    tly_round_writer_clear(writer);
}

void tly_round_writer_fini(struct tly_round_writer *writer)
{
    tly_buf_fini(&writer->rows);
}

void tly_round_writer_clear(struct tly_round_writer *writer)
{
    tly_buf_clear(&writer->rows);
    writer->row_count = 0;
    writer->last_ts = 0;
    writer->life_count = 0;
}

/* The number of a life: of the last added first, since dots come life by life; life_count when it has none yet. */
static size_t life_number(const struct tly_round_writer *writer, uint64_t origin)
{
    for (size_t i = writer->life_count; i-- > 0;)
        if (writer->lives[i] == origin) return i;
    return writer->life_count;
}

static bool word_is_signed(const struct tly_strategy *strategy, unsigned i)
{
    return (strategy->signed_nums >> i & 1) != 0;
}

/* A counter, which nearly every dot is, has four words of which the last two are signed. */
static bool is_counter(const struct tly_strategy *strategy)
{
    return strategy->nums == 4 && strategy->signed_nums == (1u << 2 | 1u << 3) && !strategy->has_bytes;
}

static uint8_t *pack_payload(uint8_t *to, const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    if (is_counter(strategy)) {
        to = tly_pack_uint(to, dot->num[0]);
        to = tly_pack_uint(to, dot->num[1]);
        to = tly_pack_int(to, (int64_t)dot->num[2]);
        return tly_pack_int(to, (int64_t)dot->num[3]);
    }
    for (unsigned i = 0; i < strategy->nums; i++)
        to = word_is_signed(strategy, i) ? tly_pack_int(to, (int64_t)dot->num[i])
                                         : tly_pack_uint(to, dot->num[i]);
    return strategy->has_bytes ? tly_pack_bytes_head(to, dot->bytes.n) : to;
}

static size_t payload_elements(const struct tly_strategy *strategy, enum tly_op op)
{
    return op == TLY_PUT ? strategy->nums + (strategy->has_bytes ? 1u : 0u) : 0;
}

/* All but the bytes of the payload; the end of it. */
static uint8_t *pack_row(uint8_t *to, const struct tly_round_writer *writer, struct tly_slice key,
                         const struct tly_strategy *strategy, const struct tly_dot *dot, size_t life)
{
    to = tly_pack_array(to, ROW_FIXED + payload_elements(strategy, dot->op));
    to = tly_pack_bytes_head(to, key.n);
    memcpy(to, key.p, key.n);
    to = tly_pack_uint(to + key.n, strategy->id);
    to = tly_pack_uint(to, life);
    to = tly_pack_int(to, (int64_t)(dot->version.ts - writer->last_ts));
    to = tly_pack_uint(to, dot->op);
    return dot->op == TLY_PUT ? pack_payload(to, strategy, dot) : to;
}

/* False, and nothing was written: it does not fit, or there is no memory. */
static bool put_row(struct tly_round_writer *writer, struct tly_slice key,
                    const struct tly_strategy *strategy, const struct tly_dot *dot, size_t life)
{
    struct tly_buf *rows = &writer->rows;
    uint8_t aside[ROW_FIXED_BYTES_MAX];
    size_t left = rows->bytes_max - rows->n, before = rows->n;
    uint8_t *to = left >= sizeof aside ? tly_buf_room(rows, sizeof aside) : aside;
    if (to == NULL) return false;
    size_t n = (size_t)(pack_row(to, writer, key, strategy, dot, life) - to);
    if (n > left || dot->bytes.n > left - n) return false;
    if (to == aside)
        tly_buf_put(rows, aside, n);
    else
        rows->n += n;
    if (dot->op == TLY_PUT && dot->bytes.n > 0) tly_buf_put(rows, dot->bytes.p, dot->bytes.n);
    if (rows->result != TLY_OK) rows->n = before;
    return rows->result == TLY_OK;
}

bool tly_round_writer_add(struct tly_round_writer *writer, struct tly_slice key,
                          const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    assert(key.n >= 1 && key.n <= TLY_KEY_BYTES_MAX && dot->bytes.n <= TLY_LWW_BYTES_MAX);
    assert(dot->version.ts != 0 && dot->version.origin != 0);
    size_t life = life_number(writer, dot->version.origin);
    if (life == TLY_ROUND_LIVES_MAX || writer->rows.result != TLY_OK) return false;

    if (!put_row(writer, key, strategy, dot, life)) return false;
    if (life == writer->life_count) writer->lives[writer->life_count++] = dot->version.origin;
    writer->last_ts = dot->version.ts;
    writer->row_count++;
    return true;
}

size_t tly_round_writer_bytes(const struct tly_round_writer *writer)
{
    return writer->rows.n + writer->life_count * NUMBER_BYTES_MAX;
}

void tly_round_writer_finish(const struct tly_round_writer *writer, unsigned flags,
                             struct tly_mark_list start, struct tly_mark_list end, struct tly_buf *out)
{
    assert((flags & ~(unsigned)(TLY_ROUND_FIRST | TLY_ROUND_LAST)) == 0);
    if (writer->rows.result != TLY_OK) tly_buf_fail(out, writer->rows.result);
    tly_put_array(out, 5);
    tly_put_uint(out, flags);
    tly_marks_put(out, start.marks, (flags & TLY_ROUND_FIRST) != 0 ? start.count : 0);
    tly_put_array(out, writer->life_count);
    for (size_t i = 0; i < writer->life_count; i++)
        tly_put_uint(out, writer->lives[i]);
    tly_put_array(out, writer->row_count);
    tly_buf_put(out, writer->rows.p, writer->rows.n);
    tly_marks_put(out, end.marks, (flags & TLY_ROUND_LAST) != 0 ? end.count : 0);
}

/* ---- reading ---- */

/* The words of a counter, which nearly every dot is, without asking of each whether it is signed. */
static void get_counter(struct tly_cursor *cursor, uint64_t *num)
{
    num[0] = tly_get_uint(cursor);
    num[1] = tly_get_uint(cursor);
    num[2] = (uint64_t)tly_get_int(cursor);
    num[3] = (uint64_t)tly_get_int(cursor);
}

static void get_payload(struct tly_cursor *cursor, const struct tly_strategy *strategy, struct tly_dot *dot)
{
    if (is_counter(strategy)) {
        get_counter(cursor, dot->num);
    } else {
        for (unsigned i = 0; i < strategy->nums; i++)
            dot->num[i] = word_is_signed(strategy, i) ? (uint64_t)tly_get_int(cursor) : tly_get_uint(cursor);
    }
    if (strategy->has_bytes) dot->bytes = tly_get_bytes(cursor, TLY_LWW_BYTES_MAX);
}

/* The elements behind the fixed ones: those that op and strategy want, or of an unknown strategy whatever is there. */
static void get_rest(struct tly_cursor *cursor, size_t elements, struct tly_row *row)
{
    const struct tly_strategy *strategy = tly_strategy_by_id(row->strategy_id);
    bool unknown = strategy == NULL && row->dot.op == TLY_PUT;
    if (!unknown && elements != (strategy != NULL ? payload_elements(strategy, row->dot.op) : 0)) {
        tly_cursor_fail(cursor);
    } else if (unknown) {
        for (size_t i = 0; i < elements; i++)
            tly_cursor_skip(cursor);
    } else if (row->dot.op == TLY_PUT) {
        get_payload(cursor, strategy, &row->dot);
    }
}

/* last_ts: of the row before; of this row afterwards. Every field of the row is set; of a failed cursor to whatever was read. */
TLY_ALWAYS_INLINE void get_row(struct tly_cursor *cursor, const struct tly_round *round, uint64_t *last_ts,
                               struct tly_row *row)
{
    size_t elements = tly_get_array(cursor, ROW_ELEMENTS_MAX);
    struct tly_dot *dot = &row->dot;
    row->key = tly_get_bytes(cursor, TLY_KEY_BYTES_MAX);
    row->hash = 0;
    row->strategy_id = tly_get_uint(cursor);
    uint64_t life = tly_get_uint(cursor);
    *last_ts += (uint64_t)tly_get_int(cursor);
    uint64_t op = tly_get_uint(cursor);
    dot->version.ts = *last_ts;
    dot->op = op == TLY_REMOVE ? TLY_REMOVE : TLY_PUT;
    memset(dot->num, 0, sizeof dot->num);
    dot->bytes = tly_slice_of(NULL, 0);
    bool sound = elements >= ROW_FIXED && row->key.n > 0 && *last_ts != 0 && life < round->life_count;
    if (!sound || op > TLY_REMOVE) tly_cursor_fail(cursor);
    if (cursor->result != TLY_OK) return;
    dot->version.origin = round->lives[life];
    get_rest(cursor, elements - ROW_FIXED, row);
}

static void get_lives(struct tly_cursor *cursor, struct tly_round *round)
{
    round->life_count = tly_get_array(cursor, TLY_ROUND_LIVES_MAX);
    for (size_t i = 0; i < round->life_count; i++) {
        round->lives[i] = tly_get_uint(cursor);
        if (round->lives[i] == 0) tly_cursor_fail(cursor);
    }
}

static void get_rows(struct tly_cursor *cursor, struct tly_round *round)
{
    round->row_count = tly_get_array(cursor, TLY_FRAME_BODY_MAX);
    round->rows = *cursor;
    uint64_t last_ts = 0;
    struct tly_row row;
    for (size_t i = 0; i < round->row_count && cursor->result == TLY_OK; i++)
        get_row(cursor, round, &last_ts, &row);
}

enum tly_result tly_round_get(struct tly_slice body, struct tly_round *round)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    if (tly_get_array(&cursor, 5) != 5) tly_cursor_fail(&cursor);
    uint64_t flags = tly_get_uint(&cursor);
    if (flags > (TLY_ROUND_FIRST | TLY_ROUND_LAST)) tly_cursor_fail(&cursor);
    round->flags = (unsigned)flags;
    round->start = tly_marks_get(&cursor);
    get_lives(&cursor, round);
    get_rows(&cursor, round);
    round->end = tly_marks_get(&cursor);
    if ((flags & TLY_ROUND_FIRST) == 0 && round->start.left > 0) tly_cursor_fail(&cursor);
    if ((flags & TLY_ROUND_LAST) == 0 && round->end.left > 0) tly_cursor_fail(&cursor);
    return tly_cursor_end(&cursor);
}

struct tly_rows tly_rows_of(const struct tly_round *round)
{
    return (struct tly_rows){.round = round, .cursor = round->rows, .left = round->row_count};
}

bool tly_rows_next(struct tly_rows *rows, struct tly_row *row)
{
    if (rows->left == 0) return false;
    rows->left--;
    get_row(&rows->cursor, rows->round, &rows->last_ts, row);
    assert(rows->cursor.result == TLY_OK);
    return true;
}
