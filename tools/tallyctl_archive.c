#include "tools/tallyctl_archive.h"

#include "service/shell/libc_mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BLOCK_BYTES ((size_t)256 * 1024)
#define READ_BYTES ((size_t)64 * 1024)

/* ---- the table ---- */

struct tly_ctl_block {
    struct tly_ctl_block *next;
    size_t used, size;
    uint8_t bytes[];
};

static const uint8_t *keep(struct tly_ctl_rows *rows, struct tly_slice bytes)
{
    struct tly_ctl_block *block = rows->blocks;
    if (block == NULL || block->size - block->used < bytes.n) {
        size_t size = bytes.n > BLOCK_BYTES ? bytes.n : BLOCK_BYTES;
        block = malloc(sizeof *block + size);
        if (block == NULL) return NULL;
        *block = (struct tly_ctl_block){.next = rows->blocks, .size = size};
        rows->blocks = block;
    }
    uint8_t *to = block->bytes + block->used;
    if (bytes.n > 0) memcpy(to, bytes.p, bytes.n);
    block->used += bytes.n;
    return to;
}

bool tly_ctl_rows_add(struct tly_ctl_rows *rows, const struct tly_ctl_row *row)
{
    struct tly_mem mem = tly_libc_mem();
    void *list = tly_mem_reserve(&mem, rows->list, &rows->capacity, rows->count + 1, sizeof *rows->list);
    if (list == NULL) return false;
    rows->list = list;
    struct tly_ctl_row copy = *row;
    copy.key.p = keep(rows, row->key);
    copy.dot.bytes.p = keep(rows, row->dot.bytes);
    if (copy.key.p == NULL || copy.dot.bytes.p == NULL) return false;
    rows->list[rows->count++] = copy;
    return true;
}

void tly_ctl_rows_free(struct tly_ctl_rows *rows)
{
    while (rows->blocks != NULL) {
        struct tly_ctl_block *next = rows->blocks->next;
        free(rows->blocks);
        rows->blocks = next;
    }
    free(rows->list);
    *rows = (struct tly_ctl_rows){0};
}

static int compare_rows(const void *left, const void *right)
{
    const struct tly_ctl_row *a = left, *b = right;
    int keys = tly_slice_compare(a->key, b->key);
    return keys != 0 ? keys : tly_dot_compare(&a->dot, &b->dot);
}

void tly_ctl_rows_sort(struct tly_ctl_rows *rows)
{
    if (rows->count > 0) qsort(rows->list, rows->count, sizeof *rows->list, compare_rows);
}

size_t tly_ctl_rows_group(const struct tly_ctl_rows *rows, size_t i)
{
    size_t end = i;
    while (end < rows->count && tly_slice_equal(rows->list[end].key, rows->list[i].key))
        end++;
    return end - i;
}

/* ---- reading ---- */

void tly_ctl_reading_init(struct tly_ctl_reading *reading, struct tly_ctl_rows *rows)
{
    struct tly_mem mem = tly_libc_mem();
    *reading = (struct tly_ctl_reading){.rows = rows};
    tly_archive_reader_init(&reading->reader, &mem);
    tly_buf_init(&reading->in, &mem, TLY_ARCHIVE_MAGIC_BYTES + TLY_ARCHIVE_FRAME_BYTES_MAX + READ_BYTES);
}

void tly_ctl_reading_fini(struct tly_ctl_reading *reading)
{
    tly_archive_reader_fini(&reading->reader);
    tly_buf_fini(&reading->in);
}

static bool fail(struct tly_ctl_reading *reading, const char *why)
{
    snprintf(reading->error, sizeof reading->error, "at byte %" PRIu64 ": %s", reading->reader.offset, why);
    return false;
}

static bool add_row(struct tly_ctl_reading *reading, const struct tly_row *row)
{
    const struct tly_strategy *strategy = tly_strategy_by_id(row->strategy_id);
    if (strategy == NULL)
        return fail(reading, "before it stands a dot of a strategy that this tallyctl does not know");
    if (tly_dot_check(strategy, &row->dot) != TLY_OK)
        return fail(reading, "before it stands a malformed dot");
    reading->dots++;
    bool wanted = reading->only_key.n == 0 || tly_slice_equal(reading->only_key, row->key);
    if (reading->rows == NULL || !wanted) return true;
    struct tly_ctl_row copy = {row->key, strategy, row->dot};
    return tly_ctl_rows_add(reading->rows, &copy) || fail(reading, "out of memory");
}

static bool add_item(struct tly_ctl_reading *reading, const struct tly_archive_item *item)
{
    if (item->part != TLY_ARCHIVE_ROWS) return true;
    struct tly_rows rows = tly_rows_of(&item->rows);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (!add_row(reading, &row)) return false;
    return true;
}

static const char *why_not(enum tly_result result)
{
    if (result == TLY_UNKNOWN_FRAME) return "a newer format than this tallyctl knows";
    if (result == TLY_NOMEM) return "out of memory";
    return "damaged, or no export of tallyctl";
}

/* Takes the whole parts that stand at the beginning of what was given. */
static bool take_parts(struct tly_ctl_reading *reading)
{
    static struct tly_archive_item item;
    for (;;) {
        size_t consumed;
        struct tly_slice in = tly_buf_slice(&reading->in);
        if (reading->reader.has_end && in.n == 0) return true;
        enum tly_result result = tly_archive_get(&reading->reader, in, &item, &consumed);
        if (result == TLY_MORE) return true;
        if (result != TLY_OK) return fail(reading, why_not(result));
        if (!add_item(reading, &item)) return false;
        tly_buf_take(&reading->in, consumed);
    }
}

bool tly_ctl_reading_take(struct tly_ctl_reading *reading, struct tly_slice bytes)
{
    while (bytes.n > 0) {
        size_t n = bytes.n < READ_BYTES ? bytes.n : READ_BYTES;
        tly_buf_put(&reading->in, bytes.p, n);
        if (reading->in.result != TLY_OK) return fail(reading, "out of memory");
        if (!take_parts(reading)) return false;
        bytes = tly_slice_of(bytes.p + n, bytes.n - n);
    }
    return true;
}

bool tly_ctl_reading_end(struct tly_ctl_reading *reading)
{
    if (reading->reader.has_end && reading->in.n == 0) return true;
    return fail(reading, "it ends too early: what stands here is not whole");
}

static bool read_all(FILE *in, struct tly_ctl_reading *reading)
{
    static uint8_t bytes[READ_BYTES];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, in)) > 0)
        if (!tly_ctl_reading_take(reading, tly_slice_of(bytes, n))) return false;
    if (ferror(in)) return fail(reading, strerror(errno));
    return tly_ctl_reading_end(reading);
}

bool tly_ctl_read_file(const char *path, struct tly_slice only_key, struct tly_ctl_rows *rows)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "re");
    if (in == NULL) {
        tly_ctl_complain("%s: %s", path, strerror(errno));
        return false;
    }
    struct tly_ctl_reading reading;
    tly_ctl_reading_init(&reading, rows);
    reading.only_key = only_key;
    bool ok = read_all(in, &reading);
    if (!ok) tly_ctl_complain("%s: %s", is_stdin ? "standard input" : path, reading.error);
    tly_ctl_reading_fini(&reading);
    if (!is_stdin) fclose(in);
    return ok;
}

/* ---- writing ---- */

struct writing {
    FILE *out;
    struct tly_buf buf;
    struct tly_round_writer rows;
    struct tly_archive_writer writer;
};

static bool flush(struct writing *w)
{
    bool ok = w->buf.result == TLY_OK && fwrite(w->buf.p, 1, w->buf.n, w->out) == w->buf.n;
    tly_buf_clear(&w->buf);
    return ok;
}

static bool flush_rows(struct writing *w)
{
    if (w->rows.row_count > 0) tly_archive_put_rows(&w->writer, &w->rows, &w->buf);
    tly_round_writer_clear(&w->rows);
    return flush(w);
}

static bool put_row(struct writing *w, const struct tly_ctl_row *row)
{
    if (tly_round_writer_add(&w->rows, row->key, row->strategy, &row->dot)) return true;
    return flush_rows(w) && tly_round_writer_add(&w->rows, row->key, row->strategy, &row->dot);
}

static bool write_rows(FILE *out, const struct tly_ctl_rows *rows)
{
    static struct writing w;
    struct tly_mem mem = tly_libc_mem();
    struct tly_archive_head head = {0};
    w.out = out;
    tly_buf_init(&w.buf, &mem, 2 * TLY_ARCHIVE_FRAME_BYTES_MAX);
    tly_round_writer_init(&w.rows, &mem);
    tly_archive_writer_init(&w.writer, &mem);
    tly_archive_put_head(&w.writer, &head, (struct tly_mark_list){0}, &w.buf);
    bool ok = flush(&w);
    for (size_t i = 0; ok && i < rows->count; i++)
        ok = put_row(&w, &rows->list[i]);
    ok = ok && flush_rows(&w);
    tly_archive_put_end(&w.writer, &w.buf);
    ok = ok && flush(&w) && fflush(out) == 0;
    tly_buf_fini(&w.buf);
    tly_round_writer_fini(&w.rows);
    tly_archive_writer_fini(&w.writer);
    return ok;
}

void tly_ctl_remove_file(const char *path)
{
    struct stat what;
    if (lstat(path, &what) == 0 && S_ISREG(what.st_mode)) (void)remove(path);
}

bool tly_ctl_write_file(const char *path, const struct tly_ctl_rows *rows)
{
    bool is_stdout = strcmp(path, "-") == 0;
    errno = 0;
    FILE *out = is_stdout ? stdout : fopen(path, "we");
    bool ok = out != NULL && write_rows(out, rows);
    if (out != NULL && !is_stdout && fclose(out) != 0) ok = false;
    if (ok) return true;
    tly_ctl_complain("%s: %s", is_stdout ? "standard output" : path,
                     errno != 0 ? strerror(errno) : "out of memory");
    if (out != NULL && !is_stdout) tly_ctl_remove_file(path);
    return false;
}
