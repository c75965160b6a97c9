#include "service/shell/manifest.h"

#include "service/shell/libc_mem.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/pack.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define MARK "tally manifest"
#define RESERVE_BYTES 32768
#define FIELDS 12 /* each earlier format has one less */

static_assert(TLY_SEGMENTS_MAX * 19 + TLY_PREFIXES_MAX * (TLY_PREFIX_BYTES_MAX + 20) + 1024 <
                  TLY_FRAME_BODY_MAX,
              "every manifest fits into a frame");

/* ---- reading ---- */

static void get_text(struct tly_cursor *cursor, char *text, size_t size)
{
    struct tly_slice bytes = tly_get_bytes(cursor, size - 1);
    if (bytes.n > 0) memcpy(text, bytes.p, bytes.n);
    text[bytes.n] = '\0';
    if (strlen(text) != bytes.n) tly_cursor_fail(cursor);
}

static void get_segments(struct tly_cursor *cursor, struct tly_manifest *m)
{
    m->segment_count = tly_get_array(cursor, TLY_SEGMENTS_MAX);
    for (size_t i = 0; i < m->segment_count; i++) {
        if (tly_get_array(cursor, 2) != 2) tly_cursor_fail(cursor);
        m->segments[i].number = tly_get_uint(cursor);
        m->segments[i].bytes = tly_get_uint(cursor);
        uint64_t least = i > 0 ? m->segments[i - 1].number + 1 : 1;
        if (m->segments[i].number < least) tly_cursor_fail(cursor);
    }
}

static void get_changes(struct tly_cursor *cursor, struct tly_manifest *m)
{
    m->change_count = tly_get_array(cursor, TLY_CHANGES_MAX);
    for (size_t i = 0; i < m->change_count; i++)
        get_text(cursor, m->changes[i], sizeof m->changes[i]);
}

static void get_prefixes(struct tly_cursor *cursor, struct tly_manifest *m)
{
    size_t elements = tly_get_array(cursor, (size_t)3 * TLY_PREFIXES_MAX);
    if (elements % 3 != 0) tly_cursor_fail(cursor);
    for (size_t i = 0; i < elements / 3 && cursor->result == TLY_OK; i++) {
        struct tly_manifest_prefix *row = &m->prefixes[i];
        struct tly_slice prefix = tly_get_bytes(cursor, TLY_PREFIX_BYTES_MAX);
        if (prefix.n > 0) memcpy(row->bytes, prefix.p, prefix.n);
        row->n = (uint8_t)prefix.n;
        row->word = tly_get_uint(cursor);
        row->from = tly_get_uint(cursor);
        if (i > 0 && tly_slice_compare(tly_manifest_prefix_of(row - 1), prefix) >= 0) tly_cursor_fail(cursor);
    }
    m->prefix_count = elements / 3;
}

/* TLY_OK, TLY_BAD_MESSAGE, TLY_UNKNOWN_FRAME: of a newer format. */
static enum tly_result get_manifest(struct tly_slice body, struct tly_manifest *m)
{
    struct tly_cursor cursor = tly_cursor_of(body);
    size_t fields = tly_get_array(&cursor, SIZE_MAX);
    if (!tly_slice_equal(tly_get_bytes(&cursor, sizeof MARK - 1), tly_slice_text(MARK)))
        return TLY_BAD_MESSAGE;
    uint64_t format = tly_get_uint(&cursor);
    if (cursor.result == TLY_OK && format > TLY_MANIFEST_FORMAT) return TLY_UNKNOWN_FRAME;
    if (format == 0 || fields != FIELDS - (TLY_MANIFEST_FORMAT - format)) return TLY_BAD_MESSAGE;

    m->writings = tly_get_uint(&cursor);
    get_text(&cursor, m->name, sizeof m->name);
    m->origin = tly_get_uint(&cursor);
    m->lease = tly_get_uint(&cursor);
    m->clean = tly_get_bool(&cursor);
    get_text(&cursor, m->place, sizeof m->place);
    get_segments(&cursor, m);
    if (format > 1) m->snapshot = tly_get_uint(&cursor);
    if (format > 2) get_changes(&cursor, m);
    if (format > 3) get_prefixes(&cursor, m);
    if (m->segment_count > 0 && m->segments[0].number < m->snapshot) tly_cursor_fail(&cursor);
    return tly_cursor_end(&cursor);
}

static enum tly_result parse(struct tly_slice bytes, struct tly_manifest *m)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf scratch;
    struct tly_frame frame;
    size_t consumed;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    enum tly_result result = tly_frame_get(bytes, &scratch, &frame, &consumed);
    if (result == TLY_MORE) result = TLY_BAD_FRAME;
    if (result == TLY_OK && (frame.type != TLY_FRAME_HELLO || consumed != bytes.n)) result = TLY_BAD_FRAME;
    if (result == TLY_OK) result = get_manifest(frame.body, m);
    tly_buf_fini(&scratch);
    return result;
}

/* All of the object into `bytes`. Longer than any manifest, it is only begun. */
static enum tly_result read_bytes(struct tly_storage *storage, struct tly_buf *bytes)
{
    size_t size = TLY_FRAME_BODY_MAX + TLY_FRAME_HEAD_MAX + 1, got = 0;
    uint8_t *to = tly_buf_room(bytes, size);
    if (to == NULL) return bytes->result;
    enum tly_result result = tly_storage_read(storage, TLY_MANIFEST_NAME, 0, to, size, &got);
    bytes->n = result == TLY_OK ? got : 0;
    return result;
}

static void explain(struct tly_storage *storage, enum tly_result result, char *error, size_t size)
{
    if (result == TLY_UNKNOWN_FRAME)
        (void)snprintf(
            error, size,
            "MANIFEST is of a newer format than this tallyd knows (%d): nothing was touched; start the "
            "version that wrote it, or use another data directory",
            TLY_MANIFEST_FORMAT);
    else if (result == TLY_IO || result == TLY_NOMEM)
        (void)snprintf(error, size, "cannot read MANIFEST: %s",
                       result == TLY_IO ? tly_storage_error(storage) : tly_result_text(result));
    else
        (void)snprintf(
            error, size,
            "MANIFEST is damaged (%s): nothing was touched; put it back from a backup, or move it away: "
            "then the log is read as it is and the node begins a new life",
            tly_result_text(result));
}

enum tly_result tly_manifest_load(struct tly_storage *storage, struct tly_manifest *manifest, char *error,
                                  size_t size)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf bytes;
    memset(manifest, 0, sizeof *manifest);
    tly_buf_init(&bytes, &mem, 2 * TLY_FRAME_BODY_MAX);
    enum tly_result result = read_bytes(storage, &bytes);
    if (result == TLY_OK) {
        manifest->revision = tly_storage_revision_of(tly_buf_slice(&bytes));
        result = parse(tly_buf_slice(&bytes), manifest);
    }
    tly_buf_fini(&bytes);
    if (result != TLY_OK && result != TLY_NOT_FOUND) explain(storage, result, error, size);
    return result;
}

/* ---- changes ---- */

static size_t place_of(const struct tly_manifest *m, const char *id)
{
    size_t i = 0;
    while (i < m->change_count && strcmp(m->changes[i], id) != 0)
        i++;
    return i;
}

void tly_manifest_add_change(struct tly_manifest *m, const char *id)
{
    assert(m->change_count < TLY_CHANGES_MAX);
    (void)snprintf(m->changes[m->change_count++], TLY_CHANGE_ID_BYTES, "%s", id);
}

bool tly_manifest_has_change(const struct tly_manifest *m, const char *id)
{
    return place_of(m, id) < m->change_count;
}

void tly_manifest_drop_change(struct tly_manifest *m, const char *id)
{
    size_t at = place_of(m, id);
    if (at == m->change_count) return;
    m->change_count--;
    memmove(m->changes + at, m->changes + at + 1, (m->change_count - at) * sizeof m->changes[0]);
}

const struct tly_manifest_prefix *tly_manifest_home(const struct tly_manifest *m, struct tly_slice key)
{
    /* A longer prefix of a key sorts after a shorter one. */
    for (size_t i = m->prefix_count; i-- > 0;)
        if (tly_slice_begins(key, tly_manifest_prefix_of(&m->prefixes[i]))) return &m->prefixes[i];
    return NULL;
}

/* ---- writing ---- */

static void put_manifest(struct tly_buf *out, const struct tly_manifest *m)
{
    tly_put_array(out, FIELDS);
    tly_put_text(out, tly_slice_text(MARK));
    tly_put_uint(out, TLY_MANIFEST_FORMAT);
    tly_put_uint(out, m->writings);
    tly_put_text(out, tly_slice_text(m->name));
    tly_put_uint(out, m->origin);
    tly_put_uint(out, m->lease);
    tly_put_bool(out, m->clean);
    tly_put_text(out, tly_slice_text(m->place));
    tly_put_array(out, m->segment_count);
    for (size_t i = 0; i < m->segment_count; i++) {
        tly_put_array(out, 2);
        tly_put_uint(out, m->segments[i].number);
        tly_put_uint(out, m->segments[i].bytes);
    }
    tly_put_uint(out, m->snapshot);
    tly_put_array(out, m->change_count);
    for (size_t i = 0; i < m->change_count; i++)
        tly_put_text(out, tly_slice_text(m->changes[i]));
    tly_put_array(out, 3 * m->prefix_count);
    for (size_t i = 0; i < m->prefix_count; i++) {
        tly_put_bytes(out, tly_manifest_prefix_of(&m->prefixes[i]));
        tly_put_uint(out, m->prefixes[i].word);
        tly_put_uint(out, m->prefixes[i].from);
    }
}

/* What a failed writing left there: the old content or our new one. Anything else is another's, who took the lock away. */
static enum tly_result find_revision(struct tly_storage *storage, struct tly_manifest *m)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf bytes;
    tly_buf_init(&bytes, &mem, 2 * TLY_FRAME_BODY_MAX);
    enum tly_result result = read_bytes(storage, &bytes);
    uint64_t found = result == TLY_OK ? tly_storage_revision_of(tly_buf_slice(&bytes)) : 0;
    tly_buf_fini(&bytes);
    if (result != TLY_OK && result != TLY_NOT_FOUND) return result;
    bool is_ours =
        found == 0 || found == m->revision || (m->revision_is_unsure && found == m->revision_tried);
    m->is_taken = m->is_taken || !is_ours;
    if (!is_ours) return TLY_STALE;
    m->revision = found;
    m->revision_is_unsure = false;
    return TLY_OK;
}

enum tly_result tly_manifest_verify(struct tly_storage *storage, struct tly_manifest *manifest)
{
    return manifest->is_taken ? TLY_STALE : find_revision(storage, manifest);
}

static enum tly_result write_manifest(struct tly_storage *storage, struct tly_manifest *m,
                                      struct tly_buf *body, struct tly_buf *frame)
{
    m->writings++;
    put_manifest(body, m);
    if (body->result != TLY_OK) return body->result;
    tly_frame_put(frame, TLY_FRAME_HELLO, tly_buf_slice(body));
    if (frame->result != TLY_OK) return frame->result;
    m->revision_tried = tly_storage_revision_of(tly_buf_slice(frame));
    enum tly_result result =
        tly_storage_replace(storage, TLY_MANIFEST_NAME, m->revision, tly_buf_slice(frame), &m->revision);
    m->is_taken = result == TLY_STALE;
    m->revision_is_unsure = result == TLY_IO || result == TLY_NOT_FOUND;
    m->is_changed = m->is_changed && result != TLY_OK;
    return result;
}

enum tly_result tly_manifest_save(struct tly_storage *storage, struct tly_manifest *manifest)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf body, frame;
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&frame, &mem, 2 * TLY_FRAME_BODY_MAX);
    enum tly_result result = manifest->is_taken ? TLY_STALE : TLY_OK;
    if (result == TLY_OK && manifest->revision_is_unsure) result = find_revision(storage, manifest);
    if (result == TLY_OK) result = write_manifest(storage, manifest, &body, &frame);
    tly_buf_fini(&body);
    tly_buf_fini(&frame);
    return result;
}

/* Of random bytes: what some file systems compress would keep no room. */
enum tly_result tly_manifest_reserve(struct tly_storage *storage)
{
    uint8_t bytes[RESERVE_BYTES];
    arc4random_buf(bytes, sizeof bytes);
    return tly_storage_put(storage, TLY_RESERVE_NAME, tly_slice_of(bytes, sizeof bytes));
}
