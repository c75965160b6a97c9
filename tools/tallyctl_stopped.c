/* store: what is to be done with the data directory of a node that is stopped. */
#include "tools/tallyctl_stopped.h"

#include "service/engine/engine.h"
#include "service/shell/libc_mem.h"
#include "service/shell/reading.h"
#include "service/shell/recent.h"
#include "service/shell/store_snapshot.h"
#include "wire/snapshot.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)256 * 1024)

enum tly_ctl_exit tly_ctl_storage_failed(struct tly_storage *storage, enum tly_result result,
                                         const char *what)
{
    const char *why = tly_storage_error(storage);
    tly_ctl_complain("%s: %s", what, why[0] != '\0' ? why : tly_result_text(result));
    return TLY_CTL_NO;
}

/* A record of a type that is not known has its checksum, so it too is another program's. */
static bool is_newer(enum tly_result result, const struct tly_segment_end *end)
{
    return result == TLY_UNKNOWN_FRAME && !end->is_takers;
}

const char *tly_ctl_segment_text(enum tly_result result, const struct tly_segment_end *end)
{
    return is_newer(result, end)
               ? "of a newer format than this tallyctl knows: use that of the version that wrote it"
               : tly_result_text(result);
}

const char *tly_ctl_equip_text(enum tly_result result)
{
    return result == TLY_WRONG_STRATEGY
               ? "a prefix has a strategy that this tallyctl does not know: use that of the version that registered it"
               : tly_result_text(result);
}

/* ---- a whole state ---- */

static void flush(struct tly_ctl_state *state)
{
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, state->number, name);
    if (state->result == TLY_OK) state->result = state->out.result;
    if (state->result == TLY_OK)
        state->result = tly_storage_append(state->storage, name, tly_buf_slice(&state->out));
    tly_buf_clear(&state->out);
}

void tly_ctl_state_begin(struct tly_ctl_state *state, struct tly_storage *storage, uint64_t number)
{
    struct tly_mem mem = tly_libc_mem();
    uint8_t header[TLY_SEGMENT_HEADER_BYTES];
    char name[TLY_SEGMENT_NAME_BYTES];
    *state = (struct tly_ctl_state){.storage = storage, .number = number};
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, number, name);
    state->result = tly_storage_remove(storage, name);
    tly_buf_init(&state->out, &mem, 4 * PIECE_BYTES);
    tly_segment_header(TLY_SEGMENT_SNAPSHOT, number, header);
    tly_buf_put(&state->out, header, sizeof header);
}

void tly_ctl_state_add(struct tly_ctl_state *state, struct tly_slice batch)
{
    tly_segment_put_batch(&state->out, batch, &state->sum);
    if (state->out.n >= PIECE_BYTES) flush(state);
}

bool tly_ctl_state_publish(struct tly_ctl_state *state, struct tly_manifest *manifest)
{
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, state->number, name);
    tly_segment_put_end(&state->out, &state->sum);
    flush(state);
    tly_buf_fini(&state->out);
    if (state->result == TLY_OK) state->result = tly_storage_sync(state->storage, name);
    if (state->result == TLY_OK) {
        manifest->snapshot = state->number;
        manifest->segment_count = 0;
        manifest->clean = false;
        state->result = tly_manifest_save(state->storage, manifest);
        /* One that failed may have taken effect, so what it names stays. */
    } else {
        (void)tly_ctl_storage_failed(state->storage, state->result, "cannot write the state");
        (void)!tly_storage_remove(state->storage, name);
        return false;
    }
    if (state->result != TLY_OK)
        (void)tly_ctl_storage_failed(state->storage, state->result, "cannot write MANIFEST");
    return state->result == TLY_OK;
}

/* ---- what is there ---- */

struct opened {
    int lock;
    struct tly_storage *storage;
    struct tly_manifest manifest;
};

static void close_store(struct opened *opened)
{
    if (opened->storage != NULL) tly_storage_close(opened->storage);
    if (opened->lock >= 0) (void)close(opened->lock);
}

/* Without a MANIFEST there is nothing to go by. False: it was said what is wrong. */
static bool open_store(const char *directory, struct opened *opened)
{
    char error[512] = "";
    *opened = (struct opened){.lock = tly_ctl_store_hold(directory)};
    if (opened->lock < 0) return false;
    opened->storage = tly_storage_directory(directory, error, sizeof error);
    enum tly_result result = TLY_IO;
    if (opened->storage != NULL)
        result = tly_manifest_load(opened->storage, &opened->manifest, error, sizeof error);
    if (result == TLY_NOT_FOUND)
        snprintf(error, sizeof error,
                 "%s/MANIFEST is missing: start the node once, and it reads what is there without it",
                 directory);
    if (result == TLY_OK) return true;
    tly_ctl_complain("%s", error);
    close_store(opened);
    return false;
}

/* One file after the other; the snapshot first. */
struct file {
    struct tly_segment_part part;
    char name[TLY_SEGMENT_NAME_BYTES];
    uint64_t size;
    uint64_t synced; /* bytes of it that must be there: what was on the disk at a clean stop */
    bool is_last;
    bool is_open; /* a log that no one has noted the length of: room may stand behind it */
    bool is_there;
};

static size_t file_count(const struct opened *opened)
{
    return opened->manifest.segment_count + (opened->manifest.snapshot != 0);
}

static struct file file_of(const struct opened *opened, size_t i)
{
    const struct tly_manifest *m = &opened->manifest;
    size_t before = m->snapshot != 0;
    const struct tly_segment *segment = i < before ? NULL : &m->segments[i - before];
    struct file file = {
        .part = {opened->storage, TLY_SEGMENT_SNAPSHOT, m->snapshot, 0},
        .is_last = i + 1 == file_count(opened),
    };
    if (segment != NULL) {
        file.part.kind = TLY_SEGMENT_LOG;
        file.part.number = segment->number;
    }
    tly_segment_name(file.part.kind, file.part.number, file.name);
    file.is_there = tly_storage_size(opened->storage, file.name, &file.size) == TLY_OK;
    file.part.bytes = file.size;
    if (segment == NULL) return file;
    /* Of an earlier segment so much counts, no more and no less. */
    bool is_noted = file.is_there && segment->bytes != 0;
    file.is_open = !is_noted || file.is_last;
    if (!file.is_open) file.part.bytes = segment->bytes;
    if (is_noted && file.is_last && m->clean) file.synced = segment->bytes;
    return file;
}

/* TLY_MORE: what a crash left at the end of the log, which the next start cuts off; that of all damage alone is none. */
static enum tly_result read_file(const struct file *file, tly_take_batch *take, void *context,
                                 struct tly_segment_end *end)
{
    enum tly_result result = tly_segment_read(&file->part, take, context, end);
    if (end->is_takers || (result != TLY_OK && result != TLY_MORE)) return result;
    bool is_end_of_log = file->is_last && file->part.kind == TLY_SEGMENT_LOG;
    if (result == TLY_MORE && end->is_blank && file->is_open) result = TLY_OK;
    if (end->valid < file->synced || (result == TLY_MORE && !is_end_of_log)) return TLY_BAD_CHECKSUM;
    return result;
}

/* ---- check ---- */

struct checked {
    uint64_t batches, rows;
};

static enum tly_result count_batch(void *context, struct tly_slice batch)
{
    static struct tly_round round;
    struct checked *checked = context;
    struct tly_slice rounds;
    enum tly_result result = tly_batch_rows(batch, &rounds);
    if (result == TLY_OK && rounds.n > 0) result = tly_round_get(rounds, &round);
    if (result != TLY_OK) return result;
    checked->batches++;
    if (rounds.n > 0) checked->rows += round.row_count;
    return TLY_OK;
}

/* Of files that are neither whole nor torn. */
struct bad {
    size_t damaged, newer;
};

static void check_file(const struct opened *opened, size_t i, struct bad *bad)
{
    struct file file = file_of(opened, i);
    struct checked checked = {0};
    struct tly_segment_end end = {0};
    char verdict[160] = "whole";
    enum tly_result result = TLY_NOT_FOUND;
    if (file.is_there) result = read_file(&file, count_batch, &checked, &end);
    bool is_torn = result == TLY_MORE && !end.is_takers;
    if (is_newer(result, &end))
        snprintf(verdict, sizeof verdict, "of a newer format");
    else if (result == TLY_NOT_FOUND)
        snprintf(verdict, sizeof verdict, "MISSING");
    else if (is_torn)
        snprintf(verdict, sizeof verdict, "torn at byte %" PRIu64 ", the next start cuts it off", end.valid);
    else if (result != TLY_OK)
        snprintf(verdict, sizeof verdict, "DAMAGED at byte %" PRIu64 ": %s", end.valid,
                 tly_result_text(result));
    printf("%-16s %10" PRIu64 " bytes %8" PRIu64 " batches %9" PRIu64 " dots  %s\n", file.name,
           result == TLY_OK ? end.valid : file.part.bytes, checked.batches, checked.rows, verdict);
    bad->newer += is_newer(result, &end);
    bad->damaged += result != TLY_OK && !is_torn && !is_newer(result, &end);
}

/* Nothing is said of it while it has nothing. */
static bool check_recent(const struct opened *opened)
{
    struct checked checked = {0};
    enum tly_result result =
        tly_ctl_store_recent(opened->storage, opened->manifest.origin, count_batch, &checked);
    if (result != TLY_OK)
        (void)tly_ctl_storage_failed(opened->storage, result, TLY_RECENT_NAME);
    else if (checked.batches > 0)
        printf("%-16s %10s       %8" PRIu64 " batches %9" PRIu64
               " dots  left by a crash, the next start takes it in\n",
               TLY_RECENT_NAME, "", checked.batches, checked.rows);
    return result == TLY_OK;
}

static enum tly_ctl_exit check(const char *directory)
{
    static struct opened opened;
    if (!open_store(directory, &opened)) return TLY_CTL_NO;
    const struct tly_manifest *m = &opened.manifest;
    printf("node %s, life %" PRIu64 ", %s\n", m->name[0] != '\0' ? m->name : "-", m->origin,
           m->clean ? "stopped cleanly" : "not stopped cleanly: the next start begins a new life");
    struct bad bad = {0};
    for (size_t i = 0; i < file_count(&opened); i++)
        check_file(&opened, i, &bad);
    bool is_readable = check_recent(&opened);
    close_store(&opened);
    if (bad.newer > 0)
        tly_ctl_complain(
            "%zu files are of a newer format than this tallyctl knows: use that of the version that wrote them",
            bad.newer);
    else if (bad.damaged > 0)
        tly_ctl_complain("%zu files are damaged: put them back from a backup, or: tallyctl store repair %s",
                         bad.damaged, directory);
    return bad.newer + bad.damaged == 0 && is_readable ? TLY_CTL_DONE : TLY_CTL_NO;
}

/* ---- dump ---- */

static bool dump_row(void *context, const struct tly_row *row)
{
    (void)context;
    char key[600];
    const struct tly_strategy *strategy = tly_strategy_by_id(row->strategy_id);
    tly_ctl_printable(row->key, key, sizeof key);
    printf("%s %s %" PRIu64 " %" PRIu64 " %s", key, strategy != NULL ? strategy->name : "?",
           row->dot.version.ts, row->dot.version.origin, row->dot.op == TLY_REMOVE ? "remove" : "put");
    for (unsigned i = 0; strategy != NULL && row->dot.op == TLY_PUT && i < strategy->nums; i++) {
        bool is_signed = (strategy->signed_nums >> i & 1u) != 0;
        printf(is_signed ? " %" PRId64 : " %" PRIu64, row->dot.num[i]);
    }
    if (row->dot.bytes.n > 0) {
        tly_ctl_printable(row->dot.bytes, key, sizeof key);
        printf(" %s", key);
    }
    putchar('\n');
    return ferror(stdout) == 0;
}

/* ---- repair ---- */

struct salvage {
    struct tly_engine *engine;
    struct tly_reading reading;
    uint64_t batches, refused;
    bool by_rows; /* the file is not whole */
};

/* A whole map that has a hole is none: what is left of it is dots, and what it said of the lives is not taken over. */
static enum tly_result salvage_batch(void *context, struct tly_slice batch)
{
    struct salvage *salvage = context;
    struct tly_slice rounds = batch;
    enum tly_result result = salvage->by_rows ? tly_batch_rows(batch, &rounds) : TLY_OK;
    if (result == TLY_OK && rounds.n > 0) result = tly_engine_replay(salvage->engine, rounds);
    if (result == TLY_NOMEM) return result;
    salvage->refused += result != TLY_OK;
    salvage->batches += result == TLY_OK;
    return TLY_OK;
}

/* Before it is no longer named: the bytes of a file that is not whole stay under another name. */
static bool keep_aside(struct tly_storage *storage, const char *name)
{
    char aside[TLY_SEGMENT_NAME_BYTES + 16];
    uint8_t *bytes = malloc(PIECE_BYTES);
    enum tly_result result = bytes != NULL ? TLY_OK : TLY_NOMEM;
    snprintf(aside, sizeof aside, "damaged-%s", name);
    if (result == TLY_OK) result = tly_storage_remove(storage, aside);
    size_t got = PIECE_BYTES;
    for (uint64_t at = 0; result == TLY_OK && got == PIECE_BYTES; at += got) {
        result = tly_storage_read(storage, name, at, bytes, PIECE_BYTES, &got);
        if (result == TLY_OK) result = tly_storage_append(storage, aside, tly_slice_of(bytes, got));
    }
    if (result == TLY_OK) result = tly_storage_sync(storage, aside);
    free(bytes);
    if (result != TLY_OK) (void)tly_ctl_storage_failed(storage, result, "cannot keep the damaged file");
    if (result == TLY_OK) printf("%s: kept as %s\n", name, aside);
    return result == TLY_OK;
}

/* *lost: bytes that held nothing that can be read, or SIZE_MAX: all of it. False: it cannot go on. */
static bool salvage_file(const struct opened *opened, size_t i, struct salvage *salvage, bool *is_whole)
{
    struct file file = file_of(opened, i);
    uint64_t lost = 0, before = salvage->batches;
    *is_whole = false;
    if (!file.is_there) {
        printf("%s: missing\n", file.name);
        return true;
    }
    struct checked ignored = {0};
    struct tly_segment_end end;
    enum tly_result result = read_file(&file, count_batch, &ignored, &end);
    *is_whole = result == TLY_OK;
    salvage->reading.piece = file.part.number;
    salvage->by_rows = !*is_whole;
    result = tly_segment_salvage(&file.part, salvage_batch, salvage, &lost);
    if (result == TLY_IO || result == TLY_NOMEM) {
        (void)tly_ctl_storage_failed(opened->storage, result, file.name);
        return false;
    }
    uint64_t bytes = file.part.bytes > file.synced ? file.part.bytes : file.synced;
    if (result != TLY_OK)
        lost = bytes;
    else if (file.size < bytes)
        lost += bytes - file.size;
    if (!*is_whole)
        printf("%s: %" PRIu64 " batches read, %" PRIu64 " of %" PRIu64 " bytes lost%s\n", file.name,
               salvage->batches - before, lost, bytes, lost == 0 ? ", and its end is gone" : "");
    return *is_whole || keep_aside(opened->storage, file.name);
}

/* What a crash left beside a log that has a hole: dots. */
static bool salvage_recent(const struct opened *opened, struct salvage *salvage)
{
    salvage->reading.piece = UINT64_MAX;
    salvage->by_rows = true;
    enum tly_result result =
        tly_ctl_store_recent(opened->storage, opened->manifest.origin, salvage_batch, salvage);
    if (result != TLY_OK) (void)tly_ctl_storage_failed(opened->storage, result, TLY_RECENT_NAME);
    return result == TLY_OK;
}

static bool put_image(struct tly_engine *engine, struct tly_ctl_state *state)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_image *image = NULL;
    struct tly_buf batch;
    tly_buf_init(&batch, &mem, TLY_FRAME_BODY_MAX);
    enum tly_result result = tly_image_new(engine, &image);
    for (bool done = false; result == TLY_OK && !done;) {
        tly_buf_clear(&batch);
        result = tly_image_next(image, &batch, &done);
        if (result == TLY_OK) tly_ctl_state_add(state, tly_buf_slice(&batch));
    }
    tly_image_free(image);
    tly_buf_fini(&batch);
    if (result != TLY_OK) state->result = result;
    return result == TLY_OK;
}

static uint64_t next_number(const struct tly_manifest *m)
{
    uint64_t last = m->segment_count > 0 ? m->segments[m->segment_count - 1].number : 0;
    return (last > m->snapshot ? last : m->snapshot) + 1;
}

static enum tly_ctl_exit rewrite(struct opened *opened, struct salvage *salvage)
{
    struct tly_ctl_state state;
    /* What was lost is to come from the peers, and what this life had made of it must not be made again by the same life. */
    tly_engine_clear_marks(salvage->engine);
    opened->manifest.origin = 0;
    tly_ctl_state_begin(&state, opened->storage, next_number(&opened->manifest));
    (void)put_image(salvage->engine, &state);
    if (!tly_ctl_state_publish(&state, &opened->manifest)) return TLY_CTL_NO;
    (void)!tly_store_sweep(opened->storage, &opened->manifest, true);
    printf("repaired: %" PRIu64 " batches kept, %" PRIu64
           " refused; the node begins a new life, and asks its peers "
           "for everything\n",
           salvage->batches, salvage->refused);
    return TLY_CTL_DONE;
}

/* What a newer version wrote is not damaged, and all of it would be lost. False: it was said which file it is. */
static bool is_all_ours(const struct opened *opened)
{
    for (size_t i = 0; i < file_count(opened); i++) {
        struct file file = file_of(opened, i);
        struct checked ignored = {0};
        struct tly_segment_end end = {0};
        enum tly_result result = file.is_there ? read_file(&file, count_batch, &ignored, &end) : TLY_OK;
        if (!is_newer(result, &end)) continue;
        tly_ctl_complain("%s: %s: nothing was touched", file.name, tly_ctl_segment_text(result, &end));
        return false;
    }
    return true;
}

static enum tly_ctl_exit repair(const char *directory)
{
    static struct opened opened;
    struct salvage salvage = {0};
    if (!open_store(directory, &opened)) return TLY_CTL_NO;
    salvage.engine = tly_ctl_store_new_engine("store", false);
    salvage.reading.manifest = &opened.manifest;
    bool ok = salvage.engine != NULL, is_whole = true;
    enum tly_result result = ok ? tly_reading_equip(&salvage.reading, salvage.engine) : TLY_OK;
    if (result != TLY_OK) tly_ctl_complain("%s: %s", directory, tly_ctl_equip_text(result));
    ok = ok && result == TLY_OK && is_all_ours(&opened);
    size_t damaged = 0;
    for (size_t i = 0; ok && i < file_count(&opened); i++) {
        ok = salvage_file(&opened, i, &salvage, &is_whole);
        damaged += !is_whole;
    }
    if (damaged > 0) ok = ok && salvage_recent(&opened, &salvage);
    enum tly_ctl_exit status = ok ? TLY_CTL_DONE : TLY_CTL_NO;
    if (ok && damaged == 0)
        puts("nothing is damaged; nothing was changed");
    else if (ok)
        status = rewrite(&opened, &salvage);
    tly_engine_free(salvage.engine);
    close_store(&opened);
    return status;
}

/* ---- compact ---- */

static enum tly_result replay(void *context, struct tly_slice batch)
{
    return tly_engine_replay(context, batch);
}

/* Hands the batches of an image over. */
static enum tly_result hand_over(struct tly_engine *engine, struct tly_store *store)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_image *image = NULL;
    struct tly_buf batch;
    tly_buf_init(&batch, &mem, TLY_FRAME_BODY_MAX);
    enum tly_result result = tly_image_new(engine, &image);
    if (result == TLY_OK) result = tly_store_image(store, TLY_IMAGE_BEGIN, tly_slice_of(NULL, 0));
    for (bool done = false; result == TLY_OK && !done;) {
        tly_buf_clear(&batch);
        result = tly_image_next(image, &batch, &done);
        struct pollfd wakeup = {.fd = tly_store_wakeup_fd(store), .events = POLLIN};
        while (result == TLY_OK &&
               (result = tly_store_image(store, TLY_IMAGE_BATCH, tly_buf_slice(&batch))) == TLY_FULL) {
            (void)poll(&wakeup, 1, 1);
            result = TLY_OK;
        }
    }
    if (result == TLY_OK) result = tly_store_image(store, TLY_IMAGE_END, tly_slice_of(NULL, 0));
    tly_image_free(image);
    tly_buf_fini(&batch);
    return result;
}

/* Until one more is published than `before`. */
static bool wait_published(struct tly_store *store, const struct tly_store_report *before,
                           struct tly_store_report *now)
{
    for (;;) {
        struct pollfd wakeup = {.fd = tly_store_wakeup_fd(store), .events = POLLIN};
        tly_store_poll(store, now);
        if (now->snapshots > before->snapshots) return true;
        if (now->snapshots_failed > before->snapshots_failed || now->failing) {
            tly_ctl_complain("%s", now->failing ? now->error : now->snapshot_error);
            return false;
        }
        (void)poll(&wakeup, 1, 100);
    }
}

bool tly_ctl_compact(struct tly_engine *engine, struct tly_store *store, uint64_t *bytes)
{
    struct tly_store_report before, now;
    tly_store_poll(store, &before);
    enum tly_result result = hand_over(engine, store);
    if (result != TLY_OK) {
        tly_ctl_complain("%s", tly_result_text(result));
        return false;
    }
    if (!wait_published(store, &before, &now)) return false;
    *bytes = now.snapshot_bytes;
    return true;
}

/* The life goes on or ends with the next start as it would have. */
static enum tly_ctl_exit compact_in(struct tly_store *store, bool *is_clean)
{
    char text[512] = "";
    struct tly_engine *engine = tly_ctl_store_new_engine("store", true);
    if (engine == NULL) return TLY_CTL_NO;
    enum tly_result result = tly_store_equip(store, engine);
    if (result != TLY_OK) snprintf(text, sizeof text, "%s", tly_ctl_equip_text(result));
    if (result == TLY_OK) result = tly_store_replay(store, replay, engine, text, sizeof text);
    tly_engine_leave_out(engine, NULL, NULL);
    struct tly_identity identity = *tly_store_identity(store);
    if (result == TLY_OK && text[0] != '\0') tly_ctl_complain("%s", text);
    if (result == TLY_OK)
        result = tly_store_begin(store, identity.name, identity.origin, identity.lease, text, sizeof text);
    if (result == TLY_OK) {
        *is_clean = identity.may_continue;
    } else {
        tly_ctl_complain("%s", text[0] != '\0' ? text : tly_result_text(result));
    }
    uint64_t bytes = 0;
    bool ok = result == TLY_OK && tly_ctl_compact(engine, store, &bytes);
    if (ok) printf("the state has %" PRIu64 " bytes\n", bytes);
    tly_engine_free(engine);
    return ok ? TLY_CTL_DONE : TLY_CTL_NO;
}

static enum tly_ctl_exit compact(const char *directory)
{
    char error[512] = "";
    int lock =
        tly_ctl_store_hold(directory); /* also tells what is no data directory before one is made of it */
    if (lock < 0) return TLY_CTL_NO;
    (void)close(lock);
    struct tly_store *store = NULL;
    struct tly_storage *storage = tly_storage_directory(directory, error, sizeof error);
    if (storage == NULL || tly_store_open(storage, TLY_FSYNC_ALWAYS, &store, error, sizeof error) != TLY_OK) {
        tly_ctl_complain("%s", error);
        return TLY_CTL_NO;
    }
    bool is_clean = false;
    enum tly_ctl_exit status = compact_in(store, &is_clean);
    tly_store_close(store, is_clean);
    return status;
}

/* ---- the verb ---- */

enum tly_ctl_exit tly_ctl_store(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)ctl;
    const char *what = args->words[0], *directory = args->words[1];
    if (strcmp(what, "check") == 0) return check(directory);
    if (strcmp(what, "dump") == 0)
        return tly_ctl_store_each(directory, dump_row, NULL) ? TLY_CTL_DONE : TLY_CTL_NO;
    if (strcmp(what, "repair") == 0) return repair(directory);
    if (strcmp(what, "compact") == 0) return compact(directory);
    return tly_ctl_misused("store", "check, dump, repair or compact, not \"%.40s\"", what);
}
