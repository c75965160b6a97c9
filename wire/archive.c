#include "wire/archive.h"

#include "wire/pack.h"

#include <xxhash.h>

/* The last two bytes are the format, little-endian; bytes of two kinds of line end show what took it for text. */
static const uint8_t magic[TLY_ARCHIVE_MAGIC_BYTES] = "tally dots\r\n\x1a";
#define FORMAT_AT 14

static void put_magic(uint8_t to[TLY_ARCHIVE_MAGIC_BYTES])
{
    memcpy(to, magic, TLY_ARCHIVE_MAGIC_BYTES);
    to[FORMAT_AT] = TLY_ARCHIVE_FORMAT & 0xff;
    to[FORMAT_AT + 1] = TLY_ARCHIVE_FORMAT >> 8;
}

/* The digest goes on from frame to frame, so it also tells their order. */
static uint64_t digest_with(uint64_t digest, struct tly_slice bytes)
{
    return XXH3_64bits_withSeed(bytes.p, bytes.n, digest);
}

/* ---- writing ---- */

void tly_archive_writer_init(struct tly_archive_writer *writer, const struct tly_mem *mem)
{
    *writer = (struct tly_archive_writer){0};
    tly_buf_init(&writer->body, mem, TLY_FRAME_BODY_MAX);
}

void tly_archive_writer_fini(struct tly_archive_writer *writer)
{
    tly_buf_fini(&writer->body);
}

/* Frames what stands in the body, and counts all bytes of `out` from `from` on into the digest. */
static void put_frame(struct tly_archive_writer *writer, enum tly_frame_type type, size_t from,
                      struct tly_buf *out)
{
    if (writer->body.result != TLY_OK) tly_buf_fail(out, writer->body.result);
    tly_frame_put(out, type, tly_buf_slice(&writer->body));
    tly_buf_clear(&writer->body);
    if (out->result != TLY_OK) return;
    writer->digest = digest_with(writer->digest, tly_slice_of(out->p + from, out->n - from));
}

void tly_archive_put_head(struct tly_archive_writer *writer, const struct tly_archive_head *head,
                          struct tly_mark_list marks, struct tly_buf *out)
{
    uint8_t first[TLY_ARCHIVE_MAGIC_BYTES];
    size_t from = out->n;
    put_magic(first);
    tly_buf_put(out, first, sizeof first);
    tly_put_array(&writer->body, 6);
    tly_put_text(&writer->body, head->cluster);
    tly_put_text(&writer->body, head->name);
    tly_put_bytes(&writer->body, head->prefix);
    tly_put_uint(&writer->body, head->origin);
    tly_put_uint(&writer->body, head->wall_ns);
    tly_marks_put(&writer->body, marks.marks, marks.count);
    put_frame(writer, TLY_FRAME_ARCHIVE_HEAD, from, out);
}

void tly_archive_put_rows(struct tly_archive_writer *writer, const struct tly_round_writer *rows,
                          struct tly_buf *out)
{
    const struct tly_mark_list none = {0};
    tly_round_writer_finish(rows, 0, none, none, &writer->body);
    put_frame(writer, TLY_FRAME_ARCHIVE_ROWS, out->n, out);
    writer->rows += rows->row_count;
}

void tly_archive_put_end(struct tly_archive_writer *writer, struct tly_buf *out)
{
    tly_put_array(&writer->body, 2);
    tly_put_uint(&writer->body, writer->rows);
    tly_put_uint(&writer->body, writer->digest);
    put_frame(writer, TLY_FRAME_ARCHIVE_END, out->n, out);
}

/* ---- reading ---- */

void tly_archive_reader_init(struct tly_archive_reader *reader, const struct tly_mem *mem)
{
    *reader = (struct tly_archive_reader){0};
    tly_buf_init(&reader->scratch, mem, TLY_FRAME_BODY_MAX);
}

void tly_archive_reader_fini(struct tly_archive_reader *reader)
{
    tly_buf_fini(&reader->scratch);
}

void tly_archive_reader_rewind(struct tly_archive_reader *reader)
{
    *reader = (struct tly_archive_reader){.scratch = reader->scratch};
}

/* TLY_OK, TLY_MORE, TLY_BAD_FRAME: something else; TLY_UNKNOWN_FRAME: a newer format. */
static enum tly_result check_magic(struct tly_slice in)
{
    uint8_t expected[TLY_ARCHIVE_MAGIC_BYTES];
    put_magic(expected);
    size_t n = in.n < sizeof expected ? in.n : sizeof expected;
    if (n > 0 && memcmp(in.p, expected, n < FORMAT_AT ? n : FORMAT_AT) != 0) return TLY_BAD_FRAME;
    if (n < sizeof expected) return TLY_MORE;
    unsigned format = (unsigned)in.p[FORMAT_AT] | (unsigned)in.p[FORMAT_AT + 1] << 8;
    if (format == TLY_ARCHIVE_FORMAT) return TLY_OK;
    return format > TLY_ARCHIVE_FORMAT ? TLY_UNKNOWN_FRAME : TLY_BAD_FRAME;
}

static enum tly_result get_head(struct tly_slice body, struct tly_archive_head *head)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    if (tly_get_array(&cursor, 6) != 6) tly_cursor_fail(&cursor);
    head->cluster = tly_get_bytes(&cursor, TLY_NAME_BYTES_MAX);
    head->name = tly_get_bytes(&cursor, TLY_NAME_BYTES_MAX);
    head->prefix = tly_get_bytes(&cursor, TLY_KEY_BYTES_MAX);
    head->origin = tly_get_uint(&cursor);
    head->wall_ns = tly_get_uint(&cursor);
    head->marks = tly_marks_get(&cursor);
    return tly_cursor_end(&cursor);
}

static enum tly_result get_rows(struct tly_slice body, struct tly_round *rows)
{
    enum tly_result result = tly_round_get(body, rows);
    return result == TLY_OK && rows->flags != 0 ? TLY_BAD_MESSAGE : result;
}

static enum tly_result get_end(const struct tly_archive_reader *reader, struct tly_slice body)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    if (tly_get_array(&cursor, 2) != 2) tly_cursor_fail(&cursor);
    uint64_t rows = tly_get_uint(&cursor), digest = tly_get_uint(&cursor);
    enum tly_result result = tly_cursor_end(&cursor);
    if (result != TLY_OK) return result;
    return rows == reader->rows && digest == reader->digest ? TLY_OK : TLY_BAD_CHECKSUM;
}

static enum tly_result get_part(const struct tly_archive_reader *reader, const struct tly_frame *frame,
                                struct tly_archive_item *item)
{
    if (frame->ignorable) return TLY_UNKNOWN_FRAME;
    if ((frame->type == TLY_FRAME_ARCHIVE_HEAD) == reader->has_head) return TLY_BAD_MESSAGE;
    switch (frame->type) {
    case TLY_FRAME_ARCHIVE_HEAD: item->part = TLY_ARCHIVE_HEAD; return get_head(frame->body, &item->head);
    case TLY_FRAME_ARCHIVE_ROWS: item->part = TLY_ARCHIVE_ROWS; return get_rows(frame->body, &item->rows);
    case TLY_FRAME_ARCHIVE_END: item->part = TLY_ARCHIVE_END; return get_end(reader, frame->body);
    default: return TLY_UNKNOWN_FRAME;
    }
}

enum tly_result tly_archive_get(struct tly_archive_reader *reader, struct tly_slice in,
                                struct tly_archive_item *item, size_t *consumed)
{
    if (reader->has_end) return in.n > 0 ? TLY_BAD_MESSAGE : TLY_MORE;
    size_t lead = reader->has_head ? 0 : TLY_ARCHIVE_MAGIC_BYTES, frame_bytes;
    enum tly_result result = lead > 0 ? check_magic(in) : TLY_OK;
    if (result != TLY_OK) return result;
    struct tly_frame frame;
    struct tly_slice rest = in.n > lead ? tly_slice_of(in.p + lead, in.n - lead) : tly_slice_of(NULL, 0);
    result = tly_frame_get(rest, &reader->scratch, &frame, &frame_bytes);
    if (result == TLY_OK) result = get_part(reader, &frame, item);
    if (result != TLY_OK) return result;

    *consumed = lead + frame_bytes;
    reader->digest = digest_with(reader->digest, tly_slice_of(in.p, *consumed));
    reader->offset += *consumed;
    reader->rows += item->part == TLY_ARCHIVE_ROWS ? item->rows.row_count : 0;
    reader->has_head = true;
    reader->has_end = item->part == TLY_ARCHIVE_END;
    return TLY_OK;
}
