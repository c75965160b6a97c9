/* backup and restore: a node's state into a file, durably, and a data directory out of such a file. */
#include "service/engine/engine.h"
#include "service/shell/libc_mem.h"
#include "tools/tallyctl_stopped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of rows in one batch. */
#define BATCH_BYTES (32u * 1024u)

/* ---- backup ---- */

static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0) ok = false;
    return ok;
}

/* The file has its name only when it is whole and on the disk. */
static bool settle(const char *aside, const char *path)
{
    char *directory = strdup(path);
    if (directory == NULL) return false;
    char *slash = strrchr(directory, '/');
    if (slash != NULL) slash[slash == directory ? 1 : 0] = '\0';
    bool ok = sync_path(aside, O_RDONLY) && rename(aside, path) == 0 &&
              sync_path(slash != NULL ? directory : ".", O_RDONLY | O_DIRECTORY);
    int reason = errno;
    free(directory);
    errno = reason;
    return ok;
}

enum tly_ctl_exit tly_ctl_backup(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *path = args->words[0];
    char *aside = NULL;
    if (asprintf(&aside, "%s.part", path) < 0) {
        tly_ctl_complain("out of memory");
        return TLY_CTL_NO;
    }
    /* As for export: the directory, then the file. */
    struct tly_ctl_args whole = {.option = {args->option[0], aside}};
    (void)umask(077);
    enum tly_ctl_exit status = tly_ctl_export(ctl, &whole);
    if (status == TLY_CTL_DONE && !settle(aside, path)) {
        tly_ctl_complain("%s: %s", path, strerror(errno));
        (void)unlink(aside);
        status = TLY_CTL_NO;
    }
    free(aside);
    return status;
}

/* ---- restore ---- */

static void note_any(void *context, const char *name)
{
    char *first = context;
    if (first[0] == '\0') (void)snprintf(first, TLY_STORAGE_NAME_MAX + 1, "%s", name);
}

/* It is made, or holds nothing. */
static struct tly_storage *open_empty(const char *directory)
{
    char error[512] = "", holder[32] = "unknown", first[TLY_STORAGE_NAME_MAX + 1] = "";
    struct tly_storage *storage = tly_storage_directory(directory, error, sizeof error);
    if (storage == NULL) {
        tly_ctl_complain("%s", error);
        return NULL;
    }
    enum tly_result result = tly_storage_lock(storage, holder, sizeof holder);
    if (result == TLY_OK) result = tly_storage_list(storage, "", note_any, first);
    if (result == TLY_OK && first[0] == '\0') return storage;
    if (result == TLY_STALE)
        tly_ctl_complain("%s is in use by process %s", directory, holder);
    else if (result == TLY_OK)
        tly_ctl_complain("%s is not empty (%s): restore makes a new data directory and replaces none",
                         directory, first);
    else
        (void)tly_ctl_storage_failed(storage, result, "cannot use the directory");
    tly_storage_close(storage);
    return NULL;
}

static void put_batch(struct tly_ctl_state *state, struct tly_round_writer *writer, struct tly_buf *body)
{
    const struct tly_mark_list none = {0};
    tly_round_writer_finish(writer, 0, none, none, body);
    if (body->result == TLY_OK)
        tly_ctl_state_add(state, tly_buf_slice(body));
    else
        state->result = body->result;
    tly_buf_clear(body);
    tly_round_writer_clear(writer);
}

/* No mark is taken over: peers give the node all that they have, which is right whatever the file lacks. */
static void put_rows(struct tly_ctl_state *state, const struct tly_ctl_rows *rows)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_round_writer writer;
    struct tly_buf body;
    tly_round_writer_init(&writer, &mem);
    tly_buf_init(&body, &mem, TLY_FRAME_BODY_MAX);
    for (size_t i = 0; i < rows->count && state->result == TLY_OK; i++) {
        const struct tly_ctl_row *row = &rows->list[i];
        if (tly_round_writer_bytes(&writer) >= BATCH_BYTES) put_batch(state, &writer, &body);
        if (tly_round_writer_add(&writer, row->key, row->strategy, &row->dot)) continue;
        put_batch(state, &writer, &body);
        if (!tly_round_writer_add(&writer, row->key, row->strategy, &row->dot)) state->result = TLY_NOMEM;
    }
    if (writer.row_count > 0 && state->result == TLY_OK) put_batch(state, &writer, &body);
    tly_buf_fini(&body);
    tly_round_writer_fini(&writer);
}

/* As nodes begin, with no prefix registered; the node would not start on what it cannot take. False: it was said what is wrong. */
static bool has_their_strategies(const struct tly_ctl_rows *rows, const char *file, const char *directory)
{
    struct tly_engine *engine = tly_ctl_store_new_engine("store", false);
    struct tly_request request = {.kind = TLY_ASK_READ, .now = tly_ctl_store_now()};
    bool ok = engine != NULL;
    for (size_t i = 0; i < rows->count && ok; i++) {
        const struct tly_ctl_row *row = &rows->list[i];
        struct tly_reply reply = {0};
        char key[120];
        request.key = row->key;
        (void)!tly_engine_ask(engine, &request, &reply);
        ok = reply.strategy == row->strategy;
        if (ok) continue;
        tly_ctl_printable(row->key, key, sizeof key);
        tly_ctl_complain(
            "%s: %s is of strategy %s, for which its prefix was registered: start a node on %s, register its "
            "prefixes (tallyctl prefix register), stop it, and: tallyctl apply %s --store %s",
            file, key, row->strategy->name, directory, file, directory);
    }
    tly_engine_free(engine);
    return ok;
}

enum tly_ctl_exit tly_ctl_restore(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    static struct tly_manifest manifest;
    struct tly_ctl_rows rows = {0};
    struct tly_ctl_state state;
    enum tly_ctl_exit status = TLY_CTL_NO;
    struct tly_storage *storage = NULL;
    if (tly_ctl_read_file(args->words[0], tly_slice_of(NULL, 0), &rows) &&
        has_their_strategies(&rows, args->words[0], args->words[1]))
        storage = open_empty(args->words[1]);
    if (storage != NULL) {
        tly_ctl_state_begin(&state, storage, 1);
        put_rows(&state, &rows);
        if (tly_ctl_state_publish(&state, &manifest)) status = TLY_CTL_DONE;
        tly_storage_close(storage);
    }
    if (status == TLY_CTL_DONE)
        printf(ctl->json ? "{\"dots\":%zu}\n" : "%zu dots restored; the node begins a new life there\n",
               rows.count);
    tly_ctl_rows_free(&rows);
    return status;
}
