#include "service/shell/segment.h"

#include "service/shell/libc_mem.h"
#include "wire/frame.h"

#include <stdio.h>

#define MAGIC "tally log\n"
#define MAGIC_BYTES (sizeof MAGIC - 1)
#define RECORD_BYTES_MAX (TLY_FRAME_HEAD_MAX + TLY_FRAME_BODY_MAX)
#define WINDOW_BYTES (4 * RECORD_BYTES_MAX)

_Static_assert(MAGIC_BYTES + 2 + 8 == TLY_SEGMENT_HEADER_BYTES, "the parts of a header");

void tly_segment_name(uint64_t number, char name[TLY_SEGMENT_NAME_BYTES])
{
    (void)snprintf(name, TLY_SEGMENT_NAME_BYTES, "log-%llu.tly", (unsigned long long)number);
}

bool tly_segment_parse_name(const char *name, uint64_t *number)
{
    char same[TLY_SEGMENT_NAME_BYTES];
    uint64_t value = 0;
    if (strncmp(name, "log-", 4) != 0) return false;
    for (const char *p = name + 4; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    /* What overflowed or is written otherwise is not what we would write. */
    tly_segment_name(value, same);
    if (value == 0 || strcmp(same, name) != 0) return false;
    *number = value;
    return true;
}

static void put_le(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void tly_segment_header(uint64_t number, uint8_t header[TLY_SEGMENT_HEADER_BYTES])
{
    memcpy(header, MAGIC, MAGIC_BYTES);
    put_le(header + MAGIC_BYTES, TLY_SEGMENT_FORMAT, 2);
    put_le(header + MAGIC_BYTES + 2, number, 8);
}

/* ---- reading ---- */

/* Part of the segment in memory: `window` from `at` on is what lies at `offset` of the file. */
struct reader {
    struct tly_storage *storage;
    char name[TLY_SEGMENT_NAME_BYTES];
    uint64_t offset;
    uint64_t bytes; /* that there should be */
    uint64_t end;   /* as far as there are any */
    struct tly_buf window;
    size_t at;
};

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

static enum tly_result read_header(struct reader *r, uint64_t number)
{
    uint8_t expected[TLY_SEGMENT_HEADER_BYTES];
    enum tly_result result = fill(r);
    if (result != TLY_OK) return result;
    struct tly_slice in = in_window(r);
    if (in.n < sizeof expected) return TLY_BAD_FRAME;
    tly_segment_header(number, expected);
    if (memcmp(in.p, expected, MAGIC_BYTES) != 0) return TLY_BAD_FRAME;
    unsigned format = (unsigned)in.p[MAGIC_BYTES] | (unsigned)in.p[MAGIC_BYTES + 1] << 8;
    if (format > TLY_SEGMENT_FORMAT) return TLY_UNKNOWN_FRAME;
    if (memcmp(in.p, expected, sizeof expected) != 0) return TLY_BAD_FRAME;
    pass_over(r, sizeof expected);
    return TLY_OK;
}

/* Could be the head of a record: spares most offsets the hashing of what is no body. */
static bool is_record_head(struct tly_slice in)
{
    size_t kind = 0;
    while (kind < in.n && kind < 3 && in.p[kind] >= 0x80)
        kind++;
    return kind + 1 < in.n && (in.p[kind + 1] & ~(unsigned)TLY_FRAME_LZ4) == TLY_FRAME_ROUND;
}

/* Looks behind damage for a record that is whole. TLY_MORE: there is none. */
static enum tly_result find_record(struct reader *r, struct tly_buf *scratch)
{
    while (r->offset < r->end) {
        struct tly_frame frame;
        size_t consumed;
        pass_over(r, 1);
        enum tly_result result = fill(r);
        if (result != TLY_OK) return result;
        if (!is_record_head(in_window(r))) continue;
        result = tly_frame_get(in_window(r), scratch, &frame, &consumed);
        if (result == TLY_OK || result == TLY_NOMEM) return result;
    }
    return TLY_MORE;
}

/* What stands at the offset is no record: TLY_MORE when it is the end of the log, TLY_BAD_CHECKSUM when more follows. */
static enum tly_result judge_damage(struct reader *r, struct tly_buf *scratch, struct tly_segment_end *end)
{
    enum tly_result result = find_record(r, scratch);
    end->following = r->offset;
    return result == TLY_OK ? TLY_BAD_CHECKSUM : result;
}

static enum tly_result read_record(struct reader *r, struct tly_buf *scratch, struct tly_frame *frame)
{
    size_t consumed;
    enum tly_result result = fill(r);
    if (result != TLY_OK) return result;
    if (r->offset == r->end) return TLY_MORE;
    result = tly_frame_get(in_window(r), scratch, frame, &consumed);
    if (result == TLY_OK) pass_over(r, consumed);
    return result;
}

static enum tly_result read_records(struct reader *r, struct tly_buf *scratch, tly_take_batch *take,
                                    void *context, struct tly_segment_end *end)
{
    while (end->valid < r->bytes) {
        struct tly_frame frame;
        enum tly_result result = read_record(r, scratch, &frame);
        if (result == TLY_IO || result == TLY_NOT_FOUND || result == TLY_NOMEM) return result;
        if (result != TLY_OK) return judge_damage(r, scratch, end);
        if (frame.type != TLY_FRAME_ROUND) return TLY_UNKNOWN_FRAME;
        result = take(context, frame.body);
        end->is_takers = result != TLY_OK;
        if (result != TLY_OK) return result;
        end->valid = r->offset;
    }
    return TLY_OK;
}

enum tly_result tly_segment_read(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                 struct tly_segment_end *end)
{
    struct tly_mem mem = tly_libc_mem();
    struct reader r = {.storage = part->storage, .bytes = part->bytes, .end = part->bytes};
    struct tly_buf scratch;
    tly_segment_name(part->number, r.name);
    tly_buf_init(&r.window, &mem, WINDOW_BYTES);
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    *end = (struct tly_segment_end){0};
    enum tly_result result = read_header(&r, part->number);
    if (result == TLY_OK) {
        end->valid = r.offset;
        result = read_records(&r, &scratch, take, context, end);
    }
    tly_buf_fini(&scratch);
    tly_buf_fini(&r.window);
    return result;
}
