#include "service/shell/segment.h"

#include "service/shell/libc_mem.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <stdio.h>
#include <xxhash.h>

#define MAGIC_BYTES 10
#define RECORD_BYTES_MAX (TLY_FRAME_HEAD_MAX + TLY_FRAME_BODY_MAX)
#define WINDOW_BYTES (4 * RECORD_BYTES_MAX)

_Static_assert(MAGIC_BYTES + 2 + 8 == TLY_SEGMENT_HEADER_BYTES, "the parts of a header");

static const char *const magics[TLY_SEGMENT_KINDS] = {"tally log\n", "tally snp\n"};
static const char *const prefixes[TLY_SEGMENT_KINDS] = {"log-", "snap-"};

void tly_segment_name(enum tly_segment_kind kind, uint64_t number, char name[TLY_SEGMENT_NAME_BYTES])
{
    (void)snprintf(name, TLY_SEGMENT_NAME_BYTES, "%s%llu.tly", prefixes[kind], (unsigned long long)number);
}

bool tly_segment_parse_name(enum tly_segment_kind kind, const char *name, uint64_t *number)
{
    char same[TLY_SEGMENT_NAME_BYTES];
    uint64_t value = 0;
    size_t prefix = strlen(prefixes[kind]);
    if (strncmp(name, prefixes[kind], prefix) != 0) return false;
    for (const char *p = name + prefix; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    /* What overflowed or is written otherwise is not what we would write. */
    tly_segment_name(kind, value, same);
    if (value == 0 || strcmp(same, name) != 0) return false;
    *number = value;
    return true;
}

static void put_le(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void tly_segment_header(enum tly_segment_kind kind, uint64_t number, uint8_t header[TLY_SEGMENT_HEADER_BYTES])
{
    memcpy(header, magics[kind], MAGIC_BYTES);
    put_le(header + MAGIC_BYTES, TLY_SEGMENT_FORMAT, 2);
    put_le(header + MAGIC_BYTES + 2, number, 8);
}

/* ---- records of its own ---- */

/* A record of these numbers. */
static void put_numbers(struct tly_buf *out, enum tly_frame_type type, const uint64_t *numbers, size_t count)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body;
    tly_buf_init(&body, &mem, 64);
    tly_put_array(&body, count);
    for (size_t i = 0; i < count; i++)
        tly_put_uint(&body, numbers[i]);
    if (body.result != TLY_OK) tly_buf_fail(out, body.result);
    tly_frame_put(out, type, tly_buf_slice(&body));
    tly_buf_fini(&body);
}

static bool get_numbers(struct tly_slice body, uint64_t *numbers, size_t count)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    if (tly_get_array(&cursor, count) != count) tly_cursor_fail(&cursor);
    for (size_t i = 0; i < count; i++)
        numbers[i] = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor) == TLY_OK;
}

void tly_segment_put_synced(struct tly_buf *out, uint64_t bytes)
{
    put_numbers(out, TLY_FRAME_SYNCED, &bytes, 1);
}

static void sum_add(struct tly_segment_sum *sum, struct tly_slice record)
{
    sum->batches++;
    sum->digest = XXH3_64bits_withSeed(record.p, record.n, sum->digest);
}

void tly_segment_put_batch(struct tly_buf *out, struct tly_slice batch, struct tly_segment_sum *sum)
{
    size_t from = out->n;
    tly_frame_put(out, TLY_FRAME_ROUND, batch);
    if (out->result == TLY_OK) sum_add(sum, tly_slice_of(out->p + from, out->n - from));
}

void tly_segment_put_end(struct tly_buf *out, const struct tly_segment_sum *sum)
{
    put_numbers(out, TLY_FRAME_SEGMENT_END, (const uint64_t[]){sum->batches, sum->digest}, 2);
}

/* ---- reading ---- */

/* Part of the segment in memory: `window` from `at` on is what lies at `offset` of the file. */
struct reader {
    struct tly_storage *storage;
    char name[TLY_SEGMENT_NAME_BYTES];
    uint64_t offset;
    uint64_t bytes; /* that there should be */
    uint64_t end;   /* as far as there are any */
    struct tly_buf window, scratch;
    size_t at;
    bool is_snapshot;
    struct tly_segment_sum sum; /* of a snapshot, so far */
    tly_take_batch *take;
    void *context;
};

struct record {
    struct tly_frame frame;
    struct tly_slice whole; /* in the window */
    size_t bytes;
};

/* Says nothing of the bytes that were read. */
static bool is_ours_to_tell(enum tly_result result)
{
    return result == TLY_IO || result == TLY_NOT_FOUND || result == TLY_NOMEM;
}

static struct tly_slice in_window(const struct reader *r)
{
    size_t n = r->window.n - r->at;
    return n > 0 ? tly_slice_of(r->window.p + r->at, n) : tly_slice_of(NULL, 0);
}

/* Lets the window hold the longest record at the offset, or all up to the end, which a short file has earlier. */
static enum tly_result fill(struct reader *r)
{
    size_t have = r->window.n - r->at;
    uint64_t left = r->end - r->offset - have;
    if (have >= RECORD_BYTES_MAX || left == 0) return TLY_OK;
    tly_buf_take(&r->window, r->at);
    r->at = 0;
    size_t want = WINDOW_BYTES - have < left ? WINDOW_BYTES - have : (size_t)left;
    size_t got = 0;
    uint8_t *to = tly_buf_room(&r->window, want);
    if (to == NULL) return r->window.result;
    enum tly_result result = tly_storage_read(r->storage, r->name, r->offset + have, to, want, &got);
    if (result != TLY_OK) return result;
    r->window.n += got;
    if (got < want) r->end = r->offset + have + got;
    return TLY_OK;
}

static void pass_over(struct reader *r, size_t n)
{
    r->at += n;
    r->offset += n;
}

static enum tly_result read_header(struct reader *r, const struct tly_segment_part *part,
                                   struct tly_segment_end *end)
{
    uint8_t expected[TLY_SEGMENT_HEADER_BYTES];
    enum tly_result result = fill(r);
    if (result != TLY_OK) return result;
    struct tly_slice in = in_window(r);
    if (in.n < sizeof expected) return TLY_BAD_FRAME;
    tly_segment_header(part->kind, part->number, expected);
    if (memcmp(in.p, expected, MAGIC_BYTES) != 0) return TLY_BAD_FRAME;
    end->format = (unsigned)in.p[MAGIC_BYTES] | (unsigned)in.p[MAGIC_BYTES + 1] << 8;
    if (end->format > TLY_SEGMENT_FORMAT) return TLY_UNKNOWN_FRAME;
    bool is_number = memcmp(in.p + MAGIC_BYTES + 2, expected + MAGIC_BYTES + 2, 8) == 0;
    if (!is_number || end->format == 0) return TLY_BAD_FRAME;
    pass_over(r, sizeof expected);
    end->valid = r->offset;
    return TLY_OK;
}

static bool is_record_type(unsigned type)
{
    return type == TLY_FRAME_ROUND || type == TLY_FRAME_SYNCED || type == TLY_FRAME_SEGMENT_END;
}

/* Could be the head of a record: spares most offsets the hashing of what is no body. */
static bool is_record_head(struct tly_slice in)
{
    size_t kind = 0;
    while (kind < in.n && kind < 3 && in.p[kind] >= 0x80)
        kind++;
    return kind + 1 < in.n && is_record_type(in.p[kind + 1] & ~(unsigned)TLY_FRAME_LZ4);
}

/* Reads the record at the offset, without passing over it. TLY_MORE also at the end. */
static enum tly_result look(struct reader *r, struct record *record)
{
    enum tly_result result = fill(r);
    if (result != TLY_OK) return result;
    if (r->offset == r->end) return TLY_MORE;
    result = tly_frame_get(in_window(r), &r->scratch, &record->frame, &record->bytes);
    if (result == TLY_OK) record->whole = tly_slice_of(r->window.p + r->at, record->bytes);
    return result;
}

/* Looks behind damage, from the next byte on, for a record that is whole. TLY_MORE: there is none. */
static enum tly_result find_record(struct reader *r, struct record *record)
{
    while (r->offset < r->end) {
        pass_over(r, 1);
        enum tly_result result = fill(r);
        if (result != TLY_OK) return result;
        if (!is_record_head(in_window(r))) continue;
        result = look(r, record);
        if (result == TLY_OK || is_ours_to_tell(result)) return result;
    }
    return TLY_MORE;
}

/* Passes over zeros, but for the last of them, with which a record might begin. Blank: there is nothing else up to the end. */
static enum tly_result pass_over_zeros(struct reader *r, bool *is_blank)
{
    for (;;) {
        enum tly_result result = fill(r);
        if (result != TLY_OK) return result;
        struct tly_slice in = in_window(r);
        size_t zeros = 0;
        while (zeros < in.n && in.p[zeros] == 0)
            zeros++;
        *is_blank = zeros > 0 && r->offset + zeros == r->end;
        pass_over(r, zeros > 0 && !*is_blank ? zeros - 1 : zeros);
        if (zeros == 0 || zeros < in.n || *is_blank) return TLY_OK;
    }
}

static void note_synced(const struct record *record, struct tly_segment_end *end)
{
    uint64_t synced = 0;
    bool tells = record->frame.type == TLY_FRAME_SYNCED && get_numbers(record->frame.body, &synced, 1);
    if (tells && synced > end->synced) end->synced = synced;
}

/*
 * What stands at end->valid is no record: TLY_BAD_CHECKSUM when it was durable by the word of a record behind it, else TLY_MORE: it
 * is what a crash left, even if records that were written later got to the disk and it did not.
 */
static enum tly_result judge_damage(struct reader *r, const struct tly_segment_part *part,
                                    struct tly_segment_end *end)
{
    struct record record;
    enum tly_result result = r->is_snapshot ? TLY_OK : pass_over_zeros(r, &end->is_blank);
    if (result != TLY_OK) return result;
    while ((result = find_record(r, &record)) == TLY_OK) {
        if (end->following == 0) end->following = r->offset;
        if (end->format == 1) return TLY_BAD_CHECKSUM;
        note_synced(&record, end);
        pass_over(r, record.bytes - 1);
    }
    if (is_ours_to_tell(result)) return result;
    return part->kind == TLY_SEGMENT_SNAPSHOT || end->synced > end->valid ? TLY_BAD_CHECKSUM : TLY_MORE;
}

/* The last record of a snapshot, and nothing behind it. */
static enum tly_result check_end(const struct reader *r, const struct tly_frame *frame)
{
    uint64_t numbers[2];
    bool is_right = get_numbers(frame->body, numbers, 2) && numbers[0] == r->sum.batches &&
                    numbers[1] == r->sum.digest && r->offset == r->bytes;
    return is_right ? TLY_OK : TLY_BAD_CHECKSUM;
}

/* TLY_OK for what needs no more than to be passed over, too. */
static enum tly_result take_record(struct reader *r, const struct record *record, struct tly_segment_end *end)
{
    if (!r->is_snapshot) note_synced(record, end);
    if (record->frame.type == TLY_FRAME_SYNCED && !r->is_snapshot) return TLY_OK;
    if (record->frame.type != TLY_FRAME_ROUND) return TLY_UNKNOWN_FRAME;
    if (r->is_snapshot) sum_add(&r->sum, record->whole);
    enum tly_result result = r->take(r->context, record->frame.body);
    end->is_takers = result != TLY_OK;
    return result;
}

static enum tly_result read_records(struct reader *r, const struct tly_segment_part *part,
                                    struct tly_segment_end *end)
{
    while (end->valid < r->bytes) {
        struct record record;
        enum tly_result result = look(r, &record);
        if (is_ours_to_tell(result)) return result;
        if (result == TLY_MORE && r->is_snapshot && r->offset == r->end) return TLY_MORE;
        if (result != TLY_OK) return judge_damage(r, part, end);
        bool is_end = r->is_snapshot && record.frame.type == TLY_FRAME_SEGMENT_END;
        if (!is_end) result = take_record(r, &record, end);
        if (result != TLY_OK) return result;
        pass_over(r, record.bytes);
        if (is_end) result = check_end(r, &record.frame);
        if (result != TLY_OK) return result;
        end->valid = r->offset;
        if (is_end) return TLY_OK;
    }
    return r->is_snapshot ? TLY_MORE : TLY_OK;
}

static void reader_init(struct reader *r, const struct tly_segment_part *part, tly_take_batch *take,
                        void *context)
{
    struct tly_mem mem = tly_libc_mem();
    *r = (struct reader){
        .storage = part->storage,
        .bytes = part->bytes,
        .end = part->bytes,
        .is_snapshot = part->kind == TLY_SEGMENT_SNAPSHOT,
        .take = take,
        .context = context,
    };
    tly_segment_name(part->kind, part->number, r->name);
    tly_buf_init(&r->window, &mem, WINDOW_BYTES);
    tly_buf_init(&r->scratch, &mem, TLY_FRAME_BODY_MAX);
}

static void reader_fini(struct reader *r)
{
    tly_buf_fini(&r->scratch);
    tly_buf_fini(&r->window);
}

enum tly_result tly_segment_read(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                 struct tly_segment_end *end)
{
    struct reader r;
    reader_init(&r, part, take, context);
    *end = (struct tly_segment_end){0};
    enum tly_result result = read_header(&r, part, end);
    if (result == TLY_OK) result = read_records(&r, part, end);
    reader_fini(&r);
    return result;
}

/* ---- salvage ---- */

enum tly_result tly_segment_salvage(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                    uint64_t *lost)
{
    struct reader r;
    struct tly_segment_end end = {0};
    reader_init(&r, part, take, context);
    *lost = 0;
    enum tly_result result = read_header(&r, part, &end);
    while (result == TLY_OK && r.offset < r.end) {
        struct record record;
        uint64_t from = r.offset;
        result = look(&r, &record);
        if (result != TLY_OK && !is_ours_to_tell(result)) result = find_record(&r, &record);
        *lost += r.offset - from;
        if (result != TLY_OK) break;
        if (record.frame.type == TLY_FRAME_ROUND) result = take(context, record.frame.body);
        pass_over(&r, record.bytes);
    }
    reader_fini(&r);
    return result == TLY_MORE ? TLY_OK : result;
}
