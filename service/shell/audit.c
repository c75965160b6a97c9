#include "service/shell/audit.h"

#include "service/shell/intent.h"
#include "service/shell/libc_mem.h"

#include <stdio.h>

/* So much of the log is read at once; a row is shorter. */
#define CHUNK_BYTES ((size_t)64 * 1024)
#define ROW_BYTES_MAX ((size_t)16 * 1024)

/* ---- reading ---- */

/* What a walk over the lines found. */
struct lines {
    struct tly_slice id; /* `{"id":"…"`, as a row begins */
    bool found;
    uint64_t whole; /* bytes up to the end of the last line */
    uint64_t bytes; /* of all */
};

/* The whole lines at the beginning of a chunk; how many bytes they are. */
static size_t take_lines(struct lines *lines, struct tly_slice chunk)
{
    size_t at = 0;
    for (;;) {
        const uint8_t *end = chunk.n > at ? memchr(chunk.p + at, '\n', chunk.n - at) : NULL;
        if (end == NULL) return at;
        struct tly_slice line = tly_slice_of(chunk.p + at, (size_t)(end - (chunk.p + at)));
        lines->found = lines->found || tly_slice_begins(line, lines->id);
        at += line.n + 1;
    }
}

static enum tly_result read_chunks(struct tly_storage *storage, struct lines *lines, uint8_t *chunk)
{
    for (;;) {
        size_t got = 0;
        enum tly_result result =
            tly_storage_read(storage, TLY_AUDIT_NAME, lines->whole, chunk, CHUNK_BYTES, &got);
        if (result == TLY_NOT_FOUND) return TLY_OK;
        if (result != TLY_OK) return result;
        size_t taken = take_lines(lines, tly_slice_of(chunk, got));
        lines->whole += taken;
        lines->bytes = lines->whole + (got - taken);
        if (taken == 0 || got < CHUNK_BYTES) return TLY_OK;
    }
}

static enum tly_result read_lines(struct tly_storage *storage, const char *id, struct lines *lines)
{
    struct tly_mem mem = tly_libc_mem();
    char begins[64];
    (void)snprintf(begins, sizeof begins, "{\"id\":\"%s\"", id);
    *lines = (struct lines){.id = tly_slice_text(begins)};
    uint8_t *chunk = tly_mem_new(&mem, CHUNK_BYTES);
    if (chunk == NULL) return TLY_NOMEM;
    enum tly_result result = read_chunks(storage, lines, chunk);
    tly_mem_free(&mem, chunk, CHUNK_BYTES);
    lines->id = tly_slice_of(NULL, 0);
    return result;
}

enum tly_result tly_audit_find(struct tly_storage *storage, const char *id, bool *found)
{
    struct lines lines;
    enum tly_result result = read_lines(storage, id, &lines);
    *found = lines.found;
    return result;
}

/* ---- writing ---- */

static void put(struct tly_buf *out, const char *text)
{
    tly_buf_put(out, text, strlen(text));
}

void tly_audit_put_text(struct tly_buf *out, struct tly_slice text)
{
    put(out, "\"");
    for (size_t i = 0; i < text.n; i++) {
        char coded[8];
        uint8_t c = text.p[i];
        bool is_plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        (void)snprintf(coded, sizeof coded, is_plain ? "%c" : "\\u%04x", c);
        put(out, coded);
    }
    put(out, "\"");
}

static void put_row(struct tly_buf *out, const struct tly_intent *intent, const char *outcome)
{
    char head[128];
    (void)snprintf(head, sizeof head, "{\"id\":\"%s\",\"at_ms\":%llu,\"kind\":\"%s\",\"prefixes\":[",
                   intent->id, (unsigned long long)intent->at_ms, tly_change_word(intent->kind));
    put(out, head);
    for (size_t i = 0; i < intent->prefix_count; i++) {
        if (i > 0) put(out, ",");
        tly_audit_put_text(out, tly_intent_prefix(intent, i));
    }
    put(out, "],\"actor\":");
    tly_audit_put_text(out, tly_slice_text(intent->actor));
    put(out, ",\"outcome\":");
    tly_audit_put_text(out, tly_slice_text(outcome));
    put(out, "}\n");
}

static enum tly_result append_row(struct tly_storage *storage, const struct tly_intent *intent,
                                  const char *outcome)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf row;
    tly_buf_init(&row, &mem, ROW_BYTES_MAX);
    put_row(&row, intent, outcome);
    enum tly_result result = row.result;
    if (result == TLY_OK) result = tly_storage_append(storage, TLY_AUDIT_NAME, tly_buf_slice(&row));
    tly_buf_fini(&row);
    return result;
}

enum tly_result tly_audit_add(struct tly_storage *storage, const struct tly_intent *intent,
                              const char *outcome)
{
    struct lines lines;
    enum tly_result result = read_lines(storage, intent->id, &lines);
    if (result == TLY_OK && lines.bytes > lines.whole)
        result = tly_storage_truncate(storage, TLY_AUDIT_NAME, lines.whole);
    if (result == TLY_OK && !lines.found) result = append_row(storage, intent, outcome);
    /* A row that was found may be one whose sync failed. */
    return result == TLY_OK ? tly_storage_sync(storage, TLY_AUDIT_NAME) : result;
}
