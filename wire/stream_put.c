/* Writing a part: rows are gathered, put in the order of their numbers, compared with the table, and written column by column. */
#include "wire/stream_impl.h"

#include "crdt/ormap.h"
#include "wire/frame.h"

#include <assert.h>

/* What a row takes at worst, when nothing about it is wild, and what a wild word adds. */
#define ROW_WORST_BYTES 32
#define WORD_WORST_BYTES 13
#define WILD_BITS 32
/* The spelling of a key takes at worst so many bytes for each of its own. */
#define SPELLING_WORST 3
#define ORDER_BITS 9

static_assert(TLY_NAMES_MAX <= 1u << (2 * ORDER_BITS), "two turns sort all numbers");
static_assert(TLY_STREAM_MARKS_MAX >= TLY_ORIGINS_MAX, "all lives of a map have a mark");

/* ---- gathering ---- */

void tly_parts_begin(struct tly_parts *parts, struct tly_stream *stream, struct tly_names *names)
{
    parts->stream = stream;
    parts->names = names;
    parts->count = parts->bytes = parts->worst_bytes = 0;
    parts->result = TLY_OK;
    tly_names_begin(names);
    /* The other end's keys are bounded; what a part may add must still have room. */
    if (stream->key_bytes > TLY_NAMES_KEY_BYTES_MAX - TLY_PART_WORST_BYTES) tly_stream_reset(stream);
}

bool tly_parts_failed(const struct tly_parts *parts)
{
    return parts->result != TLY_OK;
}

size_t tly_parts_rows(const struct tly_parts *parts)
{
    return parts->count;
}

size_t tly_parts_bytes(const struct tly_parts *parts)
{
    return parts->bytes;
}

static size_t worst_bytes(const struct work *work, bool fresh)
{
    size_t worst = ROW_WORST_BYTES + work->dot.bytes.n;
    if (fresh) worst += SPELLING_WORST * work->key.n;
    for (size_t i = 0; i < TLY_NUMS_MAX; i++)
        if (tly_bits_of(work->dot.num[i]) > WILD_BITS) worst += WORD_WORST_BYTES;
    return worst;
}

static bool reserve_work(struct tly_parts *parts)
{
    void *work = tly_mem_reserve(&parts->mem, parts->work, &parts->work_capacity, parts->count + 1,
                                 sizeof *parts->work);
    if (work != NULL) parts->work = work;
    return work != NULL;
}

/* What a word takes that differs by so much from what it is thought to be. */
static inline size_t difference_bytes(uint64_t difference)
{
    return difference == 0 ? 0 : 1 + tly_bits_of(tly_zigzag(difference)) / 7;
}

/*
 * About what a row takes. Its words are told by how far they are from those that the table has of its key, or from those of the row before where
 * that is of the same key (another window of it, or another life's), or the key is new.
 */
static size_t usual_bytes(const struct tly_parts *parts, const struct work *work, bool fresh)
{
    const struct work *before = parts->count > 0 ? &parts->work[parts->count - 1] : NULL;
    const struct told *told = &parts->stream->told[work->name.number];
    const struct layout *layout = layout_of(work->strategy);
    bool is_again = before != NULL && before->name.number == work->name.number;
    bool is_alike = before != NULL && before->strategy == work->strategy;
    size_t bytes = 1 + work->dot.bytes.n + (fresh && !is_again ? 4 + work->key.n : 0);
    bytes += before != NULL ? difference_bytes(work->dot.version.ts - before->dot.version.ts) : 1;
    for (size_t i = 0; i < work->strategy->nums; i++) {
        uint64_t base = is_again || (fresh && is_alike) ? before->dot.num[i]
                        : fresh                         ? 0
                                                        : told->word[layout->word[i]];
        bytes += difference_bytes(work->dot.num[i] - base);
    }
    return bytes;
}

bool tly_parts_add(struct tly_parts *parts, struct tly_slice key, const struct tly_strategy *strategy,
                   const struct tly_dot *dot)
{
    assert(key.n >= 1 && key.n <= TLY_KEY_BYTES_MAX && dot->bytes.n <= TLY_LWW_BYTES_MAX);
    assert(dot->version.ts != 0 && dot->version.origin != 0);
    if (parts->count == TLY_PART_ROWS_MAX || parts->result != TLY_OK) return false;

    struct work work = {.key = key, .strategy = strategy, .dot = *dot};
    bool good = reserve_work(parts) &&
                tly_names_need(parts->names, key, &dot->version, strategy, &work.name) &&
                tly_stream_reach(parts->stream, work.name.number) &&
                tly_stream_life(parts->stream, dot->version.origin, &work.life);
    if (!good) {
        parts->result = parts->count == 0 ? TLY_NOMEM : TLY_OK;
        return false;
    }
    bool fresh = parts->stream->told[work.name.number].issue != work.name.issue;
    size_t worst = worst_bytes(&work, fresh);
    if (parts->count > 0 && worst > TLY_PART_WORST_BYTES - parts->worst_bytes) return false;
    parts->worst_bytes += worst;
    parts->bytes += usual_bytes(parts, &work, fresh);
    parts->work[parts->count++] = work;
    return true;
}

/* ---- the order of numbers; rows of one number keep theirs ---- */

static bool is_ordered(const struct tly_parts *parts)
{
    for (size_t i = 1; i < parts->count; i++)
        if (parts->work[i - 1].name.number > parts->work[i].name.number) return false;
    return true;
}

static void sort_turn(const struct tly_parts *parts, unsigned shift, const uint32_t *from, uint32_t *to)
{
    uint32_t place[(1u << ORDER_BITS) + 1] = {0};
    const uint32_t mask = (1u << ORDER_BITS) - 1;
    for (size_t i = 0; i < parts->count; i++)
        place[(parts->work[from[i]].name.number >> shift & mask) + 1]++;
    for (size_t i = 1; i <= mask; i++)
        place[i] += place[i - 1];
    for (size_t i = 0; i < parts->count; i++)
        to[place[parts->work[from[i]].name.number >> shift & mask]++] = from[i];
}

static bool reserve_order(struct tly_parts *parts)
{
    const struct tly_mem *mem = &parts->mem;
    size_t need = parts->count + 1;
    void *order = tly_mem_reserve(mem, parts->order, &parts->order_capacity, need, sizeof *parts->order);
    if (order != NULL) parts->order = order;
    void *other =
        tly_mem_reserve(mem, parts->order_other, &parts->other_capacity, need, sizeof *parts->order_other);
    if (other != NULL) parts->order_other = other;
    void *growth = tly_mem_reserve(mem, parts->growth, &parts->growth_capacity, need, sizeof *parts->growth);
    if (growth != NULL) parts->growth = growth;
    return order != NULL && other != NULL && growth != NULL;
}

static bool put_in_order(struct tly_parts *parts)
{
    if (!reserve_order(parts)) return false;
    for (size_t i = 0; i < parts->count; i++)
        parts->order[i] = (uint32_t)i;
    if (is_ordered(parts)) return true;
    sort_turn(parts, 0, parts->order, parts->order_other);
    sort_turn(parts, ORDER_BITS, parts->order_other, parts->order);
    return true;
}

/* ---- comparing with the table ---- */

static void except(struct tly_parts *parts, enum exception exception, size_t at, uint64_t value)
{
    if (!tly_column_add(&parts->column[exception], &parts->mem, (uint32_t)at, value))
        parts->result = TLY_NOMEM;
}

static void except_difference(struct tly_parts *parts, enum exception exception, size_t at,
                              uint64_t difference)
{
    if (difference != 0) except(parts, exception, at, tly_zigzag(difference) - 1);
}

static void compare_words(struct tly_parts *parts, size_t at, const struct work *work, bool fresh)
{
    struct tly_stream *stream = parts->stream;
    struct told *told = &stream->told[work->name.number];
    const struct layout *layout = layout_of(work->strategy);
    uint64_t word[WORDS] = {0};
    for (size_t i = 0; i < work->strategy->nums; i++)
        word[layout->word[i]] = work->dot.num[i];

    if (has_word(layout, WINDOW)) {
        except_difference(parts, X_WINDOW, at,
                          word[WINDOW] - (fresh ? stream->fresh_window : told->word[WINDOW]));
        if (fresh) stream->fresh_window = word[WINDOW];
    }
    if (has_word(layout, EPOCH))
        except_difference(parts, X_EPOCH, at, word[EPOCH] - expected_epoch(stream, told, word[WINDOW]));
    struct rest rest =
        expected_rest(told, fresh ? stream->fresh_aux : told->word[AUX], work->dot.version.ts, word);
    if (has_word(layout, AUX)) except_difference(parts, X_AUX, at, word[AUX] - rest.aux);
    parts->growth[at] = word[COUNT] - rest.count;
    if (fresh) stream->fresh_aux = word[AUX];
    settle_words(stream, told, word);
}

static void compare_row(struct tly_parts *parts, size_t at)
{
    const struct work *work = &parts->work[parts->order[at]];
    struct tly_stream *stream = parts->stream;
    struct told *told = &stream->told[work->name.number];
    bool fresh = told->issue != work->name.issue;
    if (fresh) {
        except(parts, X_FRESH, at, 0);
        stream->key_bytes += work->key.n - told->key_n;
        *told = (struct told){
            .issue = work->name.issue, .key_n = (uint16_t)work->key.n, .strategy = work->strategy};
    }
    struct stream_life *life = &stream->lives[work->life];
    except_difference(parts, X_TS, at, work->dot.version.ts - expected_ts(stream, life));
    settle_ts(stream, life, work->dot.version.ts);
    if (work->dot.op == TLY_REMOVE)
        except(parts, X_REMOVE, at, 0);
    else
        compare_words(parts, at, work, fresh);
}

static void compare(struct tly_parts *parts)
{
    for (size_t i = 0; i < EXCEPTIONS; i++)
        parts->column[i].count = 0;
    for (size_t i = 0; i < parts->count; i++)
        compare_row(parts, i);
}

/* ---- marks ---- */

/* Notes the marks with their lives; how many lives there are to go through afterwards. */
static void list_marks(struct tly_parts *parts, struct tly_mark_list list)
{
    struct tly_stream *stream = parts->stream;
    uint32_t life;
    if (list.count > TLY_STREAM_MARKS_MAX) parts->result = TLY_TOO_LARGE;
    for (size_t i = 0; i < list.count && parts->result == TLY_OK; i++) {
        if (!tly_stream_life(stream, list.marks[i].origin, &life)) {
            parts->result = TLY_NOMEM;
            return;
        }
        stream->lives[life].end = list.marks[i].ts;
        stream->lives[life].listed = true;
    }
}

static void unlist_marks(struct tly_stream *stream)
{
    for (size_t i = 0; i < stream->life_count; i++)
        stream->lives[i].listed = false;
}

/* Lives are introduced before they are named, so those of marks too must be known by now. */
static void meet_lives(struct tly_parts *parts, const struct tly_part_head *head)
{
    list_marks(parts, head->told);
    if ((head->flags & TLY_PART_START) != 0) list_marks(parts, head->start);
    if ((head->flags & TLY_PART_LAST) != 0) list_marks(parts, head->end);
    unlist_marks(parts->stream);
}

struct mark_writer {
    tly_code *life, *ts;
    struct tly_bits_out *bits;
    size_t next; /* the least life that the next mark may be of */
};

static void put_mark(struct mark_writer *writer, size_t life, uint64_t difference)
{
    tly_code_put(writer->bits, writer->life, life - writer->next);
    tly_code_put(writer->bits, writer->ts, tly_zigzag(difference));
    writer->next = life + 1;
}

static void put_told_marks(struct tly_parts *parts, struct tly_mark_list list, struct tly_bits_out *bits)
{
    struct tly_stream *stream = parts->stream;
    struct mark_writer writer = {&stream->codes.told.life, &stream->codes.told.ts, bits, 0};
    list_marks(parts, list);
    tly_code_put(bits, &stream->codes.told.count, list.count - 1);
    for (size_t i = 0; i < stream->life_count; i++) {
        struct stream_life *life = &stream->lives[i];
        if (!life->listed) continue;
        put_mark(&writer, i, life->end - near_mark(stream, life->told));
        life->told = life->end;
        life->listed = false;
    }
}

static void put_start_marks(struct tly_parts *parts, struct tly_mark_list list, struct tly_bits_out *bits)
{
    struct tly_stream *stream = parts->stream;
    struct mark_writer writer = {&stream->codes.mark.life, &stream->codes.mark.ts, bits, 0};
    list_marks(parts, list);
    tly_code_put(bits, &stream->codes.mark.count, list.count);
    for (size_t i = 0; i < stream->life_count; i++) {
        struct stream_life *life = &stream->lives[i];
        if (!life->listed) continue;
        put_mark(&writer, i, life->end - stream->newest_ts);
        stream->newest_ts = life->end;
        life->listed = false;
    }
}

static void put_end_marks(struct tly_parts *parts, struct tly_mark_list list, struct tly_bits_out *bits)
{
    struct tly_stream *stream = parts->stream;
    struct mark_writer writer = {&stream->codes.mark.life, &stream->codes.mark.ts, bits, 0};
    size_t count = 0;
    list_marks(parts, list);
    for (size_t i = 0; i < stream->life_count; i++) {
        struct stream_life *life = &stream->lives[i];
        if (!life->listed) life->end = life->mark;
        count += life->end != expected_mark(stream, life);
    }
    tly_code_put(bits, &stream->codes.mark.count, count);
    for (size_t i = 0; i < stream->life_count; i++) {
        struct stream_life *life = &stream->lives[i];
        uint64_t expected = expected_mark(stream, life);
        if (life->end != expected) put_mark(&writer, i, life->end - near_mark(stream, expected));
        life->mark = life->end;
        life->listed = false;
    }
}

/* ---- writing ---- */

static void put_lives(struct tly_stream *stream, struct tly_bits_out *bits)
{
    tly_code_put(bits, &stream->codes.lives, stream->life_count - stream->lives_told);
    for (; stream->lives_told < stream->life_count; stream->lives_told++)
        tly_bits_put(bits, stream->lives[stream->lives_told].origin, 64);
}

static void put_numbers(struct tly_parts *parts, struct tly_bits_out *bits)
{
    uint32_t before = 0;
    for (size_t i = 0; i < parts->count; i++) {
        uint32_t number = parts->work[parts->order[i]].name.number;
        tly_code_put(bits, &parts->stream->codes.gap[octave_of(before)], swap_0_and_1(number - before));
        before = number;
    }
}

static void put_places(struct tly_parts *parts, enum exception exception, bool values,
                       struct tly_bits_out *bits)
{
    struct codes *codes = &parts->stream->codes;
    const struct column *column = &parts->column[exception];
    uint32_t next = 0;
    tly_code_put(bits, &codes->exception[exception].count, column->count);
    for (size_t i = 0; i < column->count; i++) {
        tly_code_put(bits, &codes->exception[exception].gap, column->at[i] - next);
        if (values) tly_code_put(bits, &codes->exception[exception].value, column->value[i]);
        next = column->at[i] + 1;
    }
}

/* Strategy and life as one small number: 0 when they are those of the fresh row before. */
static void put_kind(struct tly_stream *stream, const struct work *work, struct tly_bits_out *bits)
{
    bool same = stream->fresh_strategy == work->strategy->id && stream->fresh_life == work->life;
    tly_code_put(bits, &stream->codes.kind, same ? 0 : work->strategy->id);
    if (same) return;
    tly_code_put(bits, &stream->codes.life, work->life);
    stream->fresh_strategy = work->strategy->id;
    stream->fresh_life = work->life;
}

static void put_fresh(struct tly_parts *parts, struct tly_bits_out *bits)
{
    put_places(parts, X_FRESH, false, bits);
    for (size_t i = 0; i < parts->column[X_FRESH].count; i++) {
        const struct work *work = &parts->work[parts->order[parts->column[X_FRESH].at[i]]];
        put_kind(parts->stream, work, bits);
        tly_text_put(&parts->stream->text, work->key, bits, &parts->tail);
    }
}

static void put_exceptions(struct tly_parts *parts, struct tly_bits_out *bits)
{
    unsigned rare = 0;
    for (unsigned i = 0; i < X_RARE; i++)
        if (parts->column[i].count > 0) rare |= 1u << i;
    tly_code_put(bits, &parts->stream->codes.rare, rare);
    if ((rare & 1u << X_FRESH) != 0) put_fresh(parts, bits);
    for (unsigned i = X_FRESH + 1; i < EXCEPTIONS; i++)
        if (i >= X_RARE || (rare & 1u << i) != 0) put_places(parts, (enum exception)i, i != X_REMOVE, bits);
}

static bool counts(const struct work *work)
{
    return work->dot.op == TLY_PUT && has_word(layout_of(work->strategy), COUNT);
}

/* Whether all counts rise, so that their differences need no sign and 0 is free. */
static bool all_rise(const struct tly_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        if (counts(&parts->work[parts->order[i]]) && (parts->growth[i] - 1) >> 63 != 0) return false;
    return true;
}

static void put_payloads(struct tly_parts *parts, struct tly_bits_out *bits)
{
    struct codes *codes = &parts->stream->codes;
    bool rise = all_rise(parts);
    tly_bits_put(bits, rise, 1);
    for (size_t i = 0; i < parts->count; i++) {
        const struct work *work = &parts->work[parts->order[i]];
        uint64_t growth = parts->growth[i];
        if (counts(work)) {
            tly_code_put(bits, &codes->growth[octave_of(work->name.number)],
                         rise ? growth - 1 : tly_zigzag(growth));
        } else if (work->dot.op == TLY_PUT && work->strategy->has_bytes) {
            tly_code_put(bits, &codes->bytes, work->dot.bytes.n);
            tly_buf_put(&parts->tail, work->dot.bytes.p, work->dot.bytes.n);
        }
    }
}

static void put_bits(struct tly_parts *parts, const struct tly_part_head *head, struct tly_bits_out *bits)
{
    struct codes *codes = &parts->stream->codes;
    tly_code_put(bits, &codes->rows, parts->count);
    put_lives(parts->stream, bits);
    if (head->told.count > 0) put_told_marks(parts, head->told, bits);
    if ((head->flags & TLY_PART_START) != 0) put_start_marks(parts, head->start, bits);
    if (parts->count > 0) {
        compare(parts);
        put_numbers(parts, bits);
        put_exceptions(parts, bits);
        put_payloads(parts, bits);
    }
    if ((head->flags & TLY_PART_LAST) != 0) put_end_marks(parts, head->end, bits);
    tly_bits_end(bits);
}

/* The tail stands behind the bits, its length before them, so both are written apart and put together here. */
static void put_body(struct tly_parts *parts, const struct tly_part_head *head, struct tly_buf *out)
{
    struct tly_bits_out bits = tly_bits_out_of(&parts->bits);
    put_bits(parts, head, &bits);
    if (parts->bits.result != TLY_OK) tly_buf_fail(out, parts->bits.result);
    if (parts->tail.result != TLY_OK) tly_buf_fail(out, parts->tail.result);

    size_t tail = parts->tail.n;
    uint8_t first = (uint8_t)(head->flags | (parts->stream->reset_due ? TLY_PART_RESET : 0u) |
                              (tail > 0 ? TLY_PART_TAIL : 0u) | (head->told.count > 0 ? TLY_PART_TOLD : 0u));
    tly_buf_put(out, &first, 1);
    for (; tail > 0; tail >>= 7) {
        uint8_t byte = (uint8_t)((tail & 0x7f) | (tail > 0x7f ? 0x80 : 0));
        tly_buf_put(out, &byte, 1);
    }
    tly_buf_put(out, parts->bits.p, parts->bits.n);
    tly_buf_put(out, parts->tail.p, parts->tail.n);
}

void tly_parts_end(struct tly_parts *parts, const struct tly_part_head *head, struct tly_buf *out)
{
    struct tly_stream *stream = parts->stream;
    assert((head->flags & ~(unsigned)(TLY_PART_FIRST | TLY_PART_LAST | TLY_PART_START)) == 0);
    assert((head->flags & TLY_PART_START) == 0 || (head->flags & TLY_PART_FIRST) != 0);
    tly_buf_clear(&parts->bits);
    tly_buf_clear(&parts->tail);
    stream->part++;
    if ((head->flags & TLY_PART_FIRST) != 0) stream->round++;
    if (parts->result == TLY_OK && !put_in_order(parts)) parts->result = TLY_NOMEM;
    if (parts->result == TLY_OK) meet_lives(parts, head);
    if (parts->result == TLY_OK) put_body(parts, head, out);
    if (parts->result != TLY_OK) tly_buf_fail(out, parts->result);
    if (out->result != TLY_OK)
        tly_stream_reset(stream);
    else
        stream->reset_due = false;
}
