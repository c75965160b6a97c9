/* export and apply: dots into a file and out of it. */
#include "service/engine/engine.h"
#include "service/shell/http_parse.h"
#include "service/shell/libc_mem.h"
#include "tools/tallyctl_archive.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- export ---- */

/* In the order of the verb's options. */
enum { EXPORT_STORE, EXPORT_OUT };

/* What comes is checked while it is written: a file that is not whole must not pass for one. */
struct export
{
    const char *path; /* NULL: standard output */
    FILE *out; /* of a path it is opened with the first bytes: until then an earlier file stays as it is */
    struct tly_ctl_reading reading;
    uint64_t bytes;
    uint64_t told_bytes;
    bool shows;
    enum tly_ctl_exit failed; /* and it was said why; TLY_CTL_DONE: nothing did */
};

/* Of standard output main says it. */
static void fail_to_write(struct export *export)
{
    if (export->path != NULL) tly_ctl_complain("%s: %s", export->path, strerror(errno));
    export->failed = TLY_CTL_NO;
}

static void fail_to_read(struct export *export)
{
    tly_ctl_complain("what came is no whole export, %s", export->reading.error);
    export->failed = TLY_CTL_UNREACHABLE;
}

static void show_progress(struct export *export)
{
    if (!export->shows || export->bytes - export->told_bytes < (1u << 20)) return;
    char text[32];
    tly_ctl_bytes((double)export->bytes, text, sizeof text);
    fprintf(stderr, "\r%" PRIu64 " dots, %s ", export->reading.dots, text);
    export->told_bytes = export->bytes;
}

static enum tly_ctl_taken take(void *context, struct tly_slice bytes)
{
    struct export *export = context;
    if (export->out == NULL) export->out = fopen(export->path, "we");
    if (export->out == NULL)
        fail_to_write(export);
    else if (!tly_ctl_reading_take(&export->reading, bytes))
        fail_to_read(export);
    else if (fwrite(bytes.p, 1, bytes.n, export->out) != bytes.n)
        fail_to_write(export);
    if (export->failed != TLY_CTL_DONE) return TLY_CTL_FAILED;
    export->bytes += bytes.n;
    show_progress(export);
    return TLY_CTL_MORE;
}

static enum tly_ctl_exit from_node(const struct tly_ctl *ctl, const char *prefix, struct export *export)
{
    char *path = tly_ctl_key_path("/v1/export?prefix=", prefix);
    if (path == NULL) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    struct tly_ctl_request request = {.method = "GET", .path = path, .take = take, .context = export};
    enum tly_ctl_exit status = tly_ctl_ask_and_take(ctl, &request);
    free(path);
    return status;
}

static enum tly_ctl_exit from_engine(struct tly_engine *engine, const char *prefix, struct export *export)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_export *pieces = NULL;
    struct tly_buf piece;
    struct timespec wall = {0};
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    struct tly_time now = {.wall_ns = (uint64_t)wall.tv_sec * UINT64_C(1000000000) + (uint64_t)wall.tv_nsec};
    tly_buf_init(&piece, &mem, 2 * TLY_ARCHIVE_FRAME_BYTES_MAX);
    bool ok = tly_export_new(engine, tly_slice_text(prefix), now, &pieces) == TLY_OK, done = false;
    while (ok && !done) {
        tly_buf_clear(&piece);
        ok = tly_export_next(pieces, &piece, &done) == TLY_OK &&
             take(export, tly_buf_slice(&piece)) == TLY_CTL_MORE;
    }
    tly_export_free(pieces);
    tly_buf_fini(&piece);
    if (!ok && export->failed == TLY_CTL_DONE) tly_ctl_complain("out of memory");
    return ok ? TLY_CTL_DONE : TLY_CTL_NO;
}

static enum tly_ctl_exit from_store(const char *directory, const char *prefix, struct export *export)
{
    struct tly_engine *engine = tly_ctl_store_engine(directory);
    if (engine == NULL) return TLY_CTL_NO;
    enum tly_ctl_exit status = from_engine(engine, prefix, export);
    tly_engine_free(engine);
    return status;
}

static void show_exported(const struct tly_ctl *ctl, struct export *export)
{
    if (export->shows) fputs("\r\033[K", stderr);
    if (ctl->json)
        fprintf(stderr, "{\"dots\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", export->reading.dots,
                export->bytes);
    else
        fprintf(stderr, "%" PRIu64 " dots, %" PRIu64 " bytes\n", export->reading.dots, export->bytes);
}

static enum tly_ctl_exit export_to(const struct tly_ctl *ctl, const struct tly_ctl_args *args,
                                   struct export *export)
{
    const char *prefix = args->count > 0 ? args->words[0] : "", *store = args->option[EXPORT_STORE];
    enum tly_ctl_exit status =
        store != NULL ? from_store(store, prefix, export) : from_node(ctl, prefix, export);
    if (export->failed != TLY_CTL_DONE) return export->failed;
    if (status != TLY_CTL_DONE) return status;
    if (!tly_ctl_reading_end(&export->reading))
        fail_to_read(export);
    else if (fflush(export->out) != 0)
        fail_to_write(export);
    if (export->failed != TLY_CTL_DONE) return export->failed;
    show_exported(ctl, export);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_export(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *path = args->option[EXPORT_OUT];
    struct export export = {
        .path = path, .out = path == NULL ? stdout : NULL, .shows = isatty(STDERR_FILENO) == 1};
    if (path == NULL && isatty(STDOUT_FILENO))
        return tly_ctl_misused("export", "an export is no text: use > FILE, or -o FILE");
    tly_ctl_reading_init(&export.reading, NULL);
    enum tly_ctl_exit status = export_to(ctl, args, &export);
    tly_ctl_reading_fini(&export.reading);
    if (path == NULL || export.out == NULL) return status;
    if (fclose(export.out) != 0 && status == TLY_CTL_DONE) {
        fail_to_write(&export);
        status = export.failed;
    }
    if (status != TLY_CTL_DONE) tly_ctl_remove_file(path);
    return status;
}

/* ---- apply ---- */

enum { APPLY_STORE };

/* The whole file; to be freed. NULL: it was said what is wrong. */
static uint8_t *load(const char *path, size_t *n)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "re");
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf buf;
    uint8_t *room;
    size_t got = 0;
    tly_buf_init(&buf, &mem, SIZE_MAX / 4);
    do {
        room = in != NULL ? tly_buf_room(&buf, 1u << 16) : NULL;
        got = room != NULL ? fread(room, 1, 1u << 16, in) : 0;
        buf.n += got;
    } while (got > 0);
    bool ok = room != NULL && ferror(in) == 0;
    if (!ok) tly_ctl_complain("%s: %s", path, buf.result == TLY_NOMEM ? "out of memory" : strerror(errno));
    if (in != NULL && !is_stdin) fclose(in);
    *n = buf.n;
    if (ok) return buf.p;
    tly_buf_fini(&buf);
    return NULL;
}

void tly_ctl_show_applied(const struct tly_ctl *ctl, uint64_t dots, uint64_t applied, uint64_t repaired)
{
    if (ctl->json) {
        printf("{\"dots\":%" PRIu64 ",\"applied\":%" PRIu64 ",\"repaired\":%" PRIu64 "}\n", dots, applied,
               repaired);
        return;
    }
    printf("%" PRIu64 " of %" PRIu64 " dots were new here", applied, dots);
    if (repaired > 0) printf(", %" PRIu64 " of them at or below a mark", repaired);
    putchar('\n');
}

static enum tly_ctl_exit to_node(const struct tly_ctl *ctl, struct tly_slice archive)
{
    if (archive.n > TLY_HTTP_BODY_BYTES_MAX) {
        tly_ctl_complain(
            "a running node takes at most 1 MiB and %d dots at once, and this file has %zu bytes: export by "
            "PREFIX, or stop the node and use --store",
            TLY_APPLY_ROWS_MAX, archive.n);
        return TLY_CTL_NO;
    }
    struct tly_ctl_request request = {.method = "POST", .path = "/v1/apply", .bytes = archive};
    struct tly_ctl_answer answer;
    enum tly_ctl_exit status = tly_ctl_ask(ctl, &request, &answer);
    if (status != TLY_CTL_DONE) return status;
    if (tly_ctl_accepted(&answer))
        tly_ctl_show_applied(ctl, (uint64_t)tly_ctl_int(answer.json, "dots"),
                             (uint64_t)tly_ctl_int(answer.json, "applied"),
                             (uint64_t)tly_ctl_int(answer.json, "repaired"));
    else
        status = TLY_CTL_NO;
    if (status == TLY_CTL_NO && ctl->json && answer.json != NULL) tly_ctl_print_json(answer.json);
    json_object_put(answer.json);
    return status;
}

/* What is wrong with a file is said here, before anybody is asked. */
static bool is_whole(const char *path, struct tly_slice archive)
{
    struct tly_ctl_reading reading;
    tly_ctl_reading_init(&reading, NULL);
    bool ok = tly_ctl_reading_take(&reading, archive) && tly_ctl_reading_end(&reading);
    if (!ok) tly_ctl_complain("%s: %s: nothing was applied", path, reading.error);
    tly_ctl_reading_fini(&reading);
    return ok;
}

enum tly_ctl_exit tly_ctl_apply(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    size_t n;
    uint8_t *bytes = load(args->words[0], &n);
    if (bytes == NULL) return TLY_CTL_NO;
    struct tly_slice archive = tly_slice_of(bytes, n);
    enum tly_ctl_exit status = TLY_CTL_NO;
    if (is_whole(args->words[0], archive))
        status = args->option[APPLY_STORE] != NULL
                     ? tly_ctl_store_apply(args->option[APPLY_STORE], archive, ctl)
                     : to_node(ctl, archive);
    free(bytes);
    return status;
}
