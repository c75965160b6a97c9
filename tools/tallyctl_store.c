/* The data directory of a node that is stopped: read as it is, or given an archive as the node itself would take it. */
#include "service/engine/engine.h"
#include "service/shell/libc_mem.h"
#include "service/shell/reading.h"
#include "service/shell/recent.h"
#include "service/shell/segment.h"
#include "tools/tallyctl_stopped.h"
#include "wire/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* ---- the lock ---- */

int tly_ctl_store_hold(const char *directory)
{
    char path[4096], holder[24] = "";
    snprintf(path, sizeof path, "%s/LOCK", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        const char *why = errno == ENOENT ? "it is no data directory of tallyd" : strerror(errno);
        tly_ctl_complain("%s: %s", path, why);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    (void)!read(fd, holder, sizeof holder - 1);
    tly_ctl_complain("%s is in use by process %.*s: ask the node itself, with -s, or stop it first",
                     directory, (int)strcspn(holder, " \n"), holder);
    (void)close(fd);
    return -1;
}

/* ---- reading ---- */

struct batches {
    tly_take_batch *take;
    void *context;
    struct tly_reading *reading;
    char name[TLY_SEGMENT_NAME_BYTES];
};

static bool read_segment(struct tly_storage *storage, const struct tly_segment *segment, bool is_last,
                         struct batches *batches)
{
    struct tly_segment_end end = {0};
    struct tly_segment_part part = {storage, TLY_SEGMENT_LOG, segment->number, segment->bytes};
    batches->reading->piece = segment->number;
    tly_segment_name(TLY_SEGMENT_LOG, segment->number, batches->name);
    enum tly_result result = TLY_OK;
    bool is_open = part.bytes == 0 || is_last;
    if (is_open) result = tly_storage_size(storage, batches->name, &part.bytes);
    if (result == TLY_OK) result = tly_segment_read(&part, batches->take, batches->context, &end);
    if (result == TLY_OK || (result == TLY_MORE && end.is_blank && is_open)) return true;
    if (result == TLY_MORE && is_last && !end.is_takers) {
        tly_ctl_complain("%s: %" PRIu64 " bytes at its end were torn by a crash and are left out",
                         batches->name, part.bytes - end.valid);
        return true;
    }
    tly_ctl_complain("%s: %s", batches->name, tly_ctl_segment_text(result, &end));
    return false;
}

static bool read_snapshot(struct tly_storage *storage, uint64_t number, struct batches *batches)
{
    struct tly_segment_end end = {0};
    struct tly_segment_part part = {storage, TLY_SEGMENT_SNAPSHOT, number, 0};
    if (number == 0) return true;
    batches->reading->piece = number;
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, number, batches->name);
    enum tly_result result = tly_storage_size(storage, batches->name, &part.bytes);
    if (result == TLY_OK) result = tly_segment_read(&part, batches->take, batches->context, &end);
    if (result == TLY_OK) return true;
    tly_ctl_complain("%s, byte %" PRIu64 ": %s", batches->name, end.valid,
                     tly_ctl_segment_text(result, &end));
    return false;
}

enum tly_result tly_ctl_store_recent(struct tly_storage *storage, uint64_t origin, tly_take_batch *take,
                                     void *context)
{
    struct tly_recent_owner owner = {tly_storage_boot(storage), origin};
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf left;
    tly_buf_init(&left, &mem, TLY_RECENT_LEFT_MAX);
    enum tly_result result = tly_recent_read(storage, &owner, &left);
    struct tly_slice rest = tly_buf_slice(&left), batch;
    while (result == TLY_OK && tly_recent_next(&rest, &batch))
        result = take(context, batch);
    tly_buf_fini(&left);
    return result;
}

/* What a crash left beside the log. */
static bool read_recent(struct tly_storage *storage, const struct tly_manifest *manifest,
                        struct batches *batches)
{
    batches->reading->piece = UINT64_MAX;
    enum tly_result result = tly_ctl_store_recent(storage, manifest->origin, batches->take, batches->context);
    if (result == TLY_OK) return true;
    const char *why = result == TLY_IO ? tly_storage_error(storage) : tly_result_text(result);
    tly_ctl_complain("%s: %s", TLY_RECENT_NAME, why);
    return false;
}

static bool read_log(struct tly_storage *storage, const struct tly_manifest *manifest,
                     struct batches *batches)
{
    bool ok = read_snapshot(storage, manifest->snapshot, batches);
    for (size_t i = 0; ok && i < manifest->segment_count; i++)
        ok = read_segment(storage, &manifest->segments[i], i + 1 == manifest->segment_count, batches);
    return ok && read_recent(storage, manifest, batches);
}

/* Gives every batch of the log, to an engine if there is one; the lock is held meanwhile. */
static bool each_batch(const char *directory, tly_take_batch *take, void *context,
                       struct tly_reading *reading, struct tly_engine *engine)
{
    static struct tly_manifest manifest;
    char error[512] = "";
    int lock = tly_ctl_store_hold(directory);
    if (lock < 0) return false;
    struct batches batches = {take, context, reading, ""};
    reading->manifest = &manifest;
    struct tly_storage *storage = tly_storage_directory(directory, error, sizeof error);
    enum tly_result result = TLY_IO;
    if (storage != NULL) result = tly_manifest_load(storage, &manifest, error, sizeof error);
    if (result == TLY_NOT_FOUND)
        snprintf(error, sizeof error, "%s/MANIFEST is missing: no node ran here", directory);
    if (result == TLY_OK && engine != NULL) {
        result = tly_reading_equip(reading, engine);
        if (result != TLY_OK) snprintf(error, sizeof error, "%s: %s", directory, tly_ctl_equip_text(result));
    }
    bool ok = result == TLY_OK && read_log(storage, &manifest, &batches);
    if (engine != NULL) tly_engine_leave_out(engine, NULL, NULL);
    if (result != TLY_OK) tly_ctl_complain("%s", error);
    if (storage != NULL) tly_storage_close(storage);
    (void)close(lock);
    return ok;
}

struct each_context {
    tly_ctl_each *each;
    void *context;
    struct tly_reading reading;
};

static enum tly_result each_row(void *context, struct tly_slice batch)
{
    static struct tly_round round;
    const struct each_context *each = context;
    struct tly_slice rounds;
    enum tly_result result = tly_batch_rows(batch, &rounds);
    if (result == TLY_OK && rounds.n > 0) result = tly_round_get(rounds, &round);
    if (result != TLY_OK || rounds.n == 0) return result;
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (!tly_reading_leaves_out(&each->reading, row.key) && !each->each(each->context, &row))
            return TLY_NOMEM;
    return TLY_OK;
}

bool tly_ctl_store_each(const char *directory, tly_ctl_each *each, void *context)
{
    struct each_context inner = {.each = each, .context = context};
    return each_batch(directory, each_row, &inner, &inner.reading, NULL);
}

/* ---- as an engine ---- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

struct tly_time tly_ctl_store_now(void)
{
    return (struct tly_time){clock_ns(CLOCK_REALTIME), clock_ns(CLOCK_MONOTONIC)};
}

struct tly_engine *tly_ctl_store_new_engine(const char *name, bool has_store)
{
    struct tly_engine_config config = {
        .mem = tly_libc_mem(),
        .name = tly_slice_text(name),
        .cluster = tly_slice_text("-"),
        .has_store = has_store,
        .now = tly_ctl_store_now(),
    };
    struct tly_engine *engine = NULL;
    bool random = getentropy(&config.hash_key, sizeof config.hash_key) == 0;
    if (random && tly_engine_new(&config, &engine) == TLY_OK) return engine;
    tly_ctl_complain("out of memory");
    return NULL;
}

static enum tly_result replay(void *context, struct tly_slice batch)
{
    return tly_engine_replay(context, batch);
}

struct tly_engine *tly_ctl_store_engine(const char *directory)
{
    struct tly_engine *engine = tly_ctl_store_new_engine("store", false);
    if (engine == NULL) return NULL;
    struct tly_reading reading = {0};
    if (each_batch(directory, replay, engine, &reading, engine)) return engine;
    tly_engine_free(engine);
    return NULL;
}

/* ---- applying ---- */

/* Hands over what the engine wants stored. False: it was said what is wrong. */
static bool append_all(struct tly_engine *engine, struct tly_store *store, const struct tly_event *event)
{
    struct tly_effects effects;
    struct tly_event timed = *event;
    timed.now = tly_ctl_store_now();
    enum tly_result result = tly_engine_step(engine, &timed, &effects);
    for (size_t i = 0; result == TLY_OK && i < effects.count; i++) {
        const struct tly_effect *effect = &effects.list[i];
        if (effect->kind == TLY_DO_APPEND) result = tly_store_append(store, effect->number, effect->bytes);
        if (tly_effect_is_change(effect)) result = tly_store_change(store, effect);
    }
    if (result != TLY_OK) tly_ctl_complain("cannot store it: %s", tly_result_text(result));
    return result == TLY_OK;
}

/* Until everything is on the disk. */
static bool store_all(struct tly_engine *engine, struct tly_store *store)
{
    struct tly_event event = {.kind = TLY_TICK};
    while (append_all(engine, store, &event) && tly_engine_ticket(engine) != 0) {
        struct tly_store_report report;
        struct pollfd wakeup = {.fd = tly_store_wakeup_fd(store), .events = POLLIN};
        (void)poll(&wakeup, 1, 100);
        tly_store_poll(store, &report);
        if (report.failing) {
            tly_ctl_complain("cannot store it: %s", report.error);
            return false;
        }
        /* One event tells what is stored, and the next looks for more. */
        bool is_told = event.kind == TLY_STORED && event.number == report.stored;
        event.kind = is_told ? TLY_TICK : TLY_STORED;
        event.number = report.stored;
    }
    return tly_engine_ticket(engine) == 0;
}

static void complain_of(enum tly_result result, const struct tly_applied *applied)
{
    char key[120], at[160] = "";
    tly_ctl_printable(applied->key, key, sizeof key);
    if (key[0] != '\0') snprintf(at, sizeof at, ", key %s", key);
    const char *why = result == TLY_MORE ? "the file ends too early" : tly_result_text(result);
    tly_ctl_complain("at byte %" PRIu64 "%s: %s: nothing was applied", applied->offset, at, why);
}

/* The store is open and read into the engine. */
static enum tly_ctl_exit join(struct tly_engine *engine, struct tly_store *store, struct tly_slice archive,
                              const struct tly_ctl *ctl)
{
    struct tly_request request = {
        .kind = TLY_ASK_APPLY, .now = tly_ctl_store_now(), .bytes = archive, .number = INT64_MAX};
    struct tly_reply reply;
    enum tly_result result = tly_engine_ask(engine, &request, &reply);
    if (result != TLY_OK) {
        complain_of(result, &reply.applied);
        return TLY_CTL_NO;
    }
    if (!store_all(engine, store)) return TLY_CTL_NO;
    tly_ctl_show_applied(ctl, reply.applied.rows, reply.applied.applied, reply.applied.repaired);
    return TLY_CTL_DONE;
}

static enum tly_ctl_exit complain_text(const char *text)
{
    tly_ctl_complain("%s", text[0] != '\0' ? text : "out of memory");
    return TLY_CTL_NO;
}

/* The life in the directory goes on or ends with the next start as it would have: it is only taken in hand. */
static enum tly_ctl_exit apply_in(struct tly_store *store, struct tly_slice archive,
                                  const struct tly_ctl *ctl, bool *is_clean)
{
    char text[512] = "";
    struct tly_identity identity = *tly_store_identity(store);
    if (identity.origin == 0) return complain_text("the data directory holds no node yet: start it once");
    struct tly_engine *engine = tly_ctl_store_new_engine(identity.name, true);
    if (engine == NULL) return TLY_CTL_NO;
    enum tly_ctl_exit status = TLY_CTL_NO;
    enum tly_result result = tly_store_equip(store, engine);
    if (result != TLY_OK) snprintf(text, sizeof text, "%s", tly_ctl_equip_text(result));
    if (result == TLY_OK) result = tly_store_replay(store, replay, engine, text, sizeof text);
    tly_engine_leave_out(engine, NULL, NULL);
    if (result == TLY_OK) {
        /* A torn tail that was cut off ends the life too. */
        identity = *tly_store_identity(store);
        text[0] = '\0';
        result = tly_store_begin(store, identity.name, identity.origin, identity.lease, text, sizeof text);
    }
    if (result == TLY_OK) result = tly_engine_start(engine, identity.origin, tly_ctl_store_now());
    if (result == TLY_OK)
        status = join(engine, store, archive, ctl);
    else
        status = complain_text(text);
    *is_clean = status == TLY_CTL_DONE && identity.may_continue;
    if (status == TLY_CTL_NO && result == TLY_OK) *is_clean = identity.may_continue;
    tly_engine_free(engine);
    return status;
}

enum tly_ctl_exit tly_ctl_store_apply(const char *directory, struct tly_slice archive,
                                      const struct tly_ctl *ctl)
{
    char error[512] = "";
    int lock =
        tly_ctl_store_hold(directory); /* also tells what is no data directory before one is made of it */
    if (lock < 0) return TLY_CTL_NO;
    (void)close(lock);
    struct tly_store *store = NULL;
    struct tly_storage *storage = tly_storage_directory(directory, error, sizeof error);
    if (storage == NULL || tly_store_open(storage, TLY_FSYNC_ALWAYS, &store, error, sizeof error) != TLY_OK)
        return complain_text(error);
    bool is_clean = false;
    enum tly_ctl_exit status = apply_in(store, archive, ctl, &is_clean);
    tly_store_close(store, is_clean);
    return status;
}
