#include "service/shell/store_writer.h"

#include "service/shell/store_install.h"
#include "service/shell/store_snapshot.h"
#include "service/shell/store_table.h"
#include "wire/frame.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define NEVER UINT64_MAX
/* What the thread gets to end by itself after close_ms. */
#define GRACE_MS 200
/* Of what waits for more. */
#define GATHERED_BYTES ((size_t)256 * 1024)

/* A batch of the log; or a step of a snapshot, or something of a change of the table of prefixes, that comes between two. */
enum batch_kind { LOGGED, IMAGE, CHANGE };

struct batch {
    struct batch *next;
    enum batch_kind kind;
    enum tly_store_image what;   /* of IMAGE */
    enum tly_effect_kind effect; /* of CHANGE */
    uint64_t number;
    size_t n;
    uint8_t bytes[];
};

/* First in, first out. */
struct queue {
    struct batch *first;
    struct batch **end; /* NULL: empty */
};

/* When something that failed may be tried again. */
struct retry {
    bool failing;
    uint64_t at_ns;
    uint64_t pause_ms;
    char why[200];
};

struct tly_writer {
    struct tly_writer_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for the thread */
    pthread_cond_t ended;   /* for who stops it */

    /* Under the mutex. */
    struct queue queue;
    size_t waiting_bytes; /* not yet taken in by the journal */
    size_t image_bytes;   /* of a snapshot, not yet written */
    uint64_t last_number;
    uint64_t lost;        /* batches that never came, for want of memory; nothing after … */
    uint64_t whole_up_to; /* … this one is ever reported stored */
    uint64_t lease_wanted;
    uint64_t gather_until_ns; /* what waits may wait for more until then; 0: it may not */
    bool is_stopping, wants_clean, has_ended, is_abandoned;
    uint64_t stop_at_ns;
    struct tly_store_report report;

    /* The thread's. */
    struct queue taken;
    size_t taken_in_bytes; /* by the journal, since waiting_bytes was told */
    size_t taken_image_bytes;
    struct tly_snapshot_writer snapshot;
    struct tly_table_writer table;
    struct tly_install_writer install;
    uint64_t
        install_gap; /* from when that has failed until it begins anew nothing behind this is reported stored */
    struct retry log, lease, heal;
    uint64_t sync_at_ns; /* NEVER: nothing is to be synced */
    bool knows_of_stop;
};

static uint64_t now_ns(const struct tly_writer *w)
{
    const struct tly_store_hand *hand = w->config.limits.hand;
    if (hand != NULL) return hand->now_ns(hand->context);
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void lock(struct tly_writer *w)
{
    int failed = pthread_mutex_lock(&w->mutex);
    assert(failed == 0);
    (void)failed;
}

static void unlock(struct tly_writer *w)
{
    int failed = pthread_mutex_unlock(&w->mutex);
    assert(failed == 0);
    (void)failed;
}

/* ---- queue ---- */

/* All of `from` to the end of `to`. */
static void queue_move(struct queue *to, struct queue *from)
{
    if (from->first == NULL) return;
    if (to->first == NULL)
        to->first = from->first;
    else
        *to->end = from->first;
    to->end = from->end;
    *from = (struct queue){0};
}

static void queue_add(struct queue *queue, struct batch *batch)
{
    struct queue one = {batch, &batch->next};
    batch->next = NULL;
    queue_move(queue, &one);
}

static void queue_drop_first(struct queue *queue)
{
    struct batch *first = queue->first;
    queue->first = first->next;
    if (queue->first == NULL) queue->end = NULL;
    free(first);
}

static void queue_free(struct queue *queue)
{
    while (queue->first != NULL)
        queue_drop_first(queue);
}

/* ---- failures ---- */

static void note_failure(const struct tly_writer *w, struct retry *retry, const char *why)
{
    const struct tly_store_limits *limits = &w->config.limits;
    retry->pause_ms = retry->failing ? retry->pause_ms * 2 : limits->retry_ms;
    if (retry->pause_ms > limits->retry_max_ms) retry->pause_ms = limits->retry_max_ms;
    retry->failing = true;
    retry->at_ns = now_ns(w) + retry->pause_ms * NS_PER_MS;
    (void)snprintf(retry->why, sizeof retry->why, "%s", why);
}

static void note_success(struct retry *retry)
{
    *retry = (struct retry){0};
}

/* ---- the log ---- */

static bool has_log_work(const struct tly_writer *w)
{
    return w->taken.first != NULL || tly_journal_is_behind(w->config.journal);
}

/* Failures are the snapshot's own. */
static void step_snapshot(struct tly_writer *w, const struct batch *batch)
{
    switch (batch->what) {
    case TLY_IMAGE_BEGIN: tly_snapshot_begin(&w->snapshot, TLY_CHANGE_COMPACT, "node"); break;
    case TLY_IMAGE_BATCH: tly_snapshot_put(&w->snapshot, tly_slice_of(batch->bytes, batch->n)); break;
    case TLY_IMAGE_END: tly_snapshot_end(&w->snapshot); break;
    case TLY_IMAGE_DROP: tly_snapshot_drop(&w->snapshot); break;
    }
    w->taken_image_bytes += batch->n;
}

/* Behind a snapshot that failed nothing is stored. Once it is given anew what came between counts no more. */
static enum tly_result step_install(struct tly_writer *w, const struct batch *batch)
{
    uint64_t failed = w->install.failed;
    enum tly_result result =
        tly_install_write(&w->install, batch->effect, batch->number, tly_slice_of(batch->bytes, batch->n));
    if (w->install.failed != failed) w->install_gap = batch->number - 1;
    return result;
}

static enum tly_result step_change(struct tly_writer *w, const struct batch *batch)
{
    struct tly_slice bytes = tly_slice_of(batch->bytes, batch->n);
    if (batch->effect == TLY_DO_TABLE_ROWS) return tly_table_add_rows(&w->table, bytes);
    if (batch->effect == TLY_DO_TABLE) return tly_table_write(&w->table, batch->number, bytes);
    return step_install(w, batch);
}

/* TLY_MORE: the journal has enough for now. Of a change of the table nothing may be written before it is all there. */
static enum tly_result take_in(struct tly_writer *w, const struct batch *batch)
{
    struct tly_slice bytes = tly_slice_of(batch->bytes, batch->n);
    if (batch->kind == CHANGE) return step_change(w, batch);
    enum tly_result result = tly_journal_put(w->config.journal, batch->number, bytes);
    return result == TLY_FULL ? TLY_MORE : result;
}

/* TLY_OK also when not all was taken in. */
static enum tly_result feed_journal(struct tly_writer *w)
{
    for (struct batch *batch; (batch = w->taken.first) != NULL; queue_drop_first(&w->taken)) {
        if (batch->kind == IMAGE) {
            step_snapshot(w, batch);
            continue;
        }
        enum tly_result result = take_in(w, batch);
        if (result != TLY_OK) return result == TLY_MORE ? TLY_OK : result;
        w->taken_in_bytes += batch->n;
    }
    return TLY_OK;
}

static bool is_sync_due(const struct tly_writer *w)
{
    bool is_wanted = w->knows_of_stop || w->config.fsync == TLY_FSYNC_ALWAYS;
    return is_wanted || tly_journal_wants_sync(w->config.journal) || now_ns(w) >= w->sync_at_ns;
}

/* The interval begins with the first batch that is not synced. */
static void time_sync(struct tly_writer *w)
{
    if (!tly_journal_is_unsynced(w->config.journal))
        w->sync_at_ns = NEVER;
    else if (w->config.fsync == TLY_FSYNC_INTERVAL && w->sync_at_ns == NEVER)
        w->sync_at_ns = now_ns(w) + w->config.limits.interval_ms * NS_PER_MS;
}

/* One group: all that waits, one append, one sync if it is due. */
static enum tly_result write_group(struct tly_writer *w)
{
    enum tly_result result = feed_journal(w);
    if (result != TLY_OK) return result;
    if (tly_journal_is_behind(w->config.journal)) result = tly_journal_write(w->config.journal);
    if (result == TLY_OK && is_sync_due(w)) result = tly_journal_sync(w->config.journal);
    time_sync(w);
    return result;
}

static void write_log(struct tly_writer *w)
{
    if (w->log.failing && now_ns(w) < w->log.at_ns) return;
    do {
        w->table.error[0] = '\0';
        if (write_group(w) != TLY_OK) {
            const char *why = w->table.error[0] != '\0'    ? w->table.error
                              : w->install.file.is_awaited ? tly_storage_error(w->config.storage)
                                                           : tly_journal_error(w->config.journal);
            note_failure(w, &w->log, why);
            return;
        }
    } while (has_log_work(w));
    if (w->log.failing) w->snapshot.sweep_due = true; /* a segment that was given up may still be there */
    note_success(&w->log);
}

/* Before it is in the log MANIFEST names no other life, as whose it would not be read again. */
static bool write_left(struct tly_writer *w)
{
    if (!w->config.left_due) return true;
    if (w->log.failing && now_ns(w) < w->log.at_ns) return false;
    struct tly_journal *journal = w->config.journal;
    enum tly_result result = tly_journal_is_behind(journal) ? tly_journal_write(journal) : TLY_OK;
    if (result == TLY_OK) result = tly_journal_sync(journal);
    if (result != TLY_OK) note_failure(w, &w->log, tly_journal_error(journal));
    w->config.left_due = result != TLY_OK;
    return result == TLY_OK;
}

/* ---- intents ---- */

/* What an earlier change left is finished before the next thing is written. Without a leftover that costs nothing. */
static void heal(struct tly_writer *w)
{
    if (!w->snapshot.heal_due || !has_log_work(w) || (w->heal.failing && now_ns(w) < w->heal.at_ns)) return;
    struct tly_healed healed;
    /* One change is under way at a time. */
    const char *live = w->table.intent.id[0] != '\0'          ? w->table.intent.id
                       : w->install.file.intent.id[0] != '\0' ? w->install.file.intent.id
                                                              : w->snapshot.intent.id;
    enum tly_result result = tly_intents_heal(w->config.storage, w->config.manifest, live, &healed);
    w->snapshot.heal_due = result != TLY_OK || healed.left > 0;
    if (result != TLY_OK)
        note_failure(w, &w->heal, tly_storage_error(w->config.storage));
    else if (healed.left > 0)
        note_failure(w, &w->heal, healed.left_why);
    else
        note_success(&w->heal);
}

/* ---- MANIFEST ---- */

static enum tly_result save_manifest(struct tly_writer *w, uint64_t lease)
{
    struct tly_manifest *m = w->config.manifest;
    uint64_t before = m->lease;
    if (lease > m->lease) m->lease = lease;
    enum tly_result result = tly_manifest_save(w->config.storage, m);
    if (result != TLY_OK) m->lease = before;
    return result;
}

/* A lease, or a snapshot that is ready to be published. */
static bool has_manifest_work(const struct tly_writer *w, uint64_t lease)
{
    return !w->config.left_due && (lease > w->config.manifest->lease || w->config.manifest->is_changed);
}

static void write_manifest(struct tly_writer *w, uint64_t lease)
{
    if (!has_manifest_work(w, lease) || (w->lease.failing && now_ns(w) < w->lease.at_ns)) return;
    enum tly_result result = save_manifest(w, lease);
    if (result == TLY_OK) {
        note_success(&w->lease);
        return;
    }
    const char *why = tly_storage_error(w->config.storage);
    note_failure(w, &w->lease, result == TLY_IO && why[0] != '\0' ? why : tly_result_text(result));
}

/* ---- reports; under the mutex ---- */

static void explain_failure(const struct tly_writer *w, char *error, size_t size)
{
    const struct retry *retry = w->log.failing ? &w->log : &w->lease;
    if (w->config.manifest->is_taken)
        (void)snprintf(error, size,
                       "MANIFEST was written by another process, which has the data directory now (was LOCK "
                       "removed?): nothing is stored here any more; stop one of the two");
    else if (retry->failing)
        (void)snprintf(error, size, "%s; it is tried again", retry->why);
    else if (w->install.has_failed)
        (void)snprintf(error, size,
                       "the snapshot that a peer gave cannot be stored: %.160s; it is tried again",
                       w->install.file.error);
    else if (w->lost > 0)
        (void)snprintf(
            error, size,
            "%llu batches came while all memory for waiting ones was in use, and are not on the disk; "
            "once the peers have everything, move the data directory away and restart",
            (unsigned long long)w->lost);
    else
        error[0] = '\0';
}

static uint64_t at_most(uint64_t number, uint64_t limit)
{
    return number < limit ? number : limit;
}

static void make_report(const struct tly_writer *w, struct tly_store_report *report)
{
    const struct tly_journal *journal = w->config.journal;
    bool is_always = w->config.fsync == TLY_FSYNC_ALWAYS;
    memset(report, 0, sizeof *report);
    bool has_gap = w->install.has_failed && !w->install.is_open;
    uint64_t limit = has_gap ? at_most(w->whole_up_to, w->install_gap) : w->whole_up_to;
    report->synced = at_most(tly_journal_synced(journal), limit);
    report->stored = is_always ? report->synced : at_most(tly_journal_written(journal), limit);
    report->installs_failed = w->install.failed;
    report->leased = w->config.manifest->lease;
    report->failing = w->log.failing || w->lease.failing || w->lost > 0 || w->install.has_failed ||
                      w->config.manifest->is_taken;
    report->is_taken = w->config.manifest->is_taken;
    report->bytes = tly_journal_bytes(journal);
    report->segments = w->config.manifest->segment_count;
    report->snapshots = w->snapshot.published;
    report->snapshots_failed = w->snapshot.failed;
    report->snapshot_bytes = w->snapshot.published_bytes;
    report->changes_left = w->snapshot.heal_due;
    (void)snprintf(report->change_error, sizeof report->change_error, "%s", w->heal.why);
    (void)snprintf(report->snapshot_error, sizeof report->snapshot_error, "%s", w->snapshot.error);
    explain_failure(w, report->error, sizeof report->error);
}

static void wake(const struct tly_writer *w)
{
    const uint64_t one = 1;
    (void)!write(w->config.wakeup_fd, &one, sizeof one);
}

static bool is_same_report(const struct tly_store_report *a, const struct tly_store_report *b)
{
    return a->stored == b->stored && a->synced == b->synced && a->leased == b->leased &&
           a->installs_failed == b->installs_failed && a->bytes == b->bytes && a->snapshots == b->snapshots &&
           a->snapshots_failed == b->snapshots_failed && a->changes_left == b->changes_left &&
           strcmp(a->change_error, b->change_error) == 0 && a->failing == b->failing &&
           strcmp(a->error, b->error) == 0;
}

static void tell(struct tly_writer *w)
{
    struct tly_store_report report;
    make_report(w, &report);
    if (is_same_report(&report, &w->report)) return;
    w->report = report;
    wake(w);
}

/* ---- the thread ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When there is something to do; 0: now. Under the mutex. */
static uint64_t next_work(const struct tly_writer *w)
{
    uint64_t at = w->is_stopping ? w->stop_at_ns : NEVER;
    if (w->is_stopping && !w->knows_of_stop) return 0;
    if (w->config.manifest->is_taken) return at;
    if (w->queue.first != NULL) at = earlier(at, later(w->log.at_ns, w->gather_until_ns));
    if (has_log_work(w) || w->log.failing) at = earlier(at, w->log.at_ns);
    if (!w->log.failing) at = earlier(at, w->sync_at_ns);
    if (has_manifest_work(w, w->lease_wanted)) at = earlier(at, w->lease.at_ns);
    return at;
}

static void sleep_until(struct tly_writer *w, uint64_t at)
{
    struct timespec until = {(time_t)(at / 1000000000), (long)(at % 1000000000)};
    if (at == NEVER)
        (void)pthread_cond_wait(&w->changed, &w->mutex);
    else
        (void)pthread_cond_timedwait(&w->changed, &w->mutex, &until);
}

static void wait_for_work(struct tly_writer *w)
{
    for (uint64_t at; (at = next_work(w)) > now_ns(w);)
        sleep_until(w, at);
}

/* A stop is a reason to try at once what failed. */
static void notice_stop(struct tly_writer *w)
{
    if (!w->is_stopping || w->knows_of_stop) return;
    w->knows_of_stop = true;
    w->log.at_ns = w->lease.at_ns = w->heal.at_ns = 0;
}

static bool is_all_durable(const struct tly_writer *w)
{
    return w->queue.first == NULL && !has_log_work(w) && !w->log.failing &&
           !tly_journal_is_unsynced(w->config.journal) && !has_manifest_work(w, w->lease_wanted);
}

static bool has_ended_writing(const struct tly_writer *w)
{
    return w->config.manifest->is_taken || is_all_durable(w);
}

/*
 * If it cannot be set, the next start begins a new life. There is no mark without the reserve: what gives the space to take the mark
 * away again should the disk be full by then.
 */
static void set_clean_mark(const struct tly_writer *w)
{
    struct tly_manifest *m = w->config.manifest;
    if (tly_manifest_reserve(w->config.storage) != TLY_OK) return;
    m->segments[m->segment_count - 1].bytes = tly_journal_size(w->config.journal);
    m->clean = true;
    (void)!tly_manifest_save(w->config.storage, m);
}

static void work_on_disk(struct tly_writer *w, uint64_t lease)
{
    const struct tly_manifest *m = w->config.manifest;
    if (m->is_taken || !write_left(w)) return;
    heal(w);
    if (!m->is_taken) write_log(w);
    if (!m->is_taken) write_manifest(w, lease);
    /* A sweep takes for left over what MANIFEST does not name yet. */
    if (!m->is_taken && !w->install.is_open) tly_snapshot_settle(&w->snapshot);
}

/* All that there is to do now. Under the mutex, which is free while the disk is waited for. */
static void work_once(struct tly_writer *w)
{
    notice_stop(w);
    queue_move(&w->taken, &w->queue);
    uint64_t lease = w->lease_wanted;
    unlock(w);
    work_on_disk(w, lease);
    lock(w);
    w->waiting_bytes -= w->taken_in_bytes;
    w->image_bytes -= w->taken_image_bytes;
    w->taken_in_bytes = w->taken_image_bytes = 0;
    tell(w);
}

static void work_until_stopped(struct tly_writer *w)
{
    do {
        wait_for_work(w);
        work_once(w);
    } while (!w->knows_of_stop || (!has_ended_writing(w) && now_ns(w) < w->stop_at_ns));
}

/* For which no time goes by. */
static void work_to_the_end_by_hand(struct tly_writer *w)
{
    do
        work_once(w);
    while (!has_ended_writing(w) && next_work(w) <= now_ns(w));
}

static void free_writer(struct tly_writer *w)
{
    queue_free(&w->queue);
    queue_free(&w->taken);
    tly_table_writer_fini(&w->table);
    (void)pthread_cond_destroy(&w->ended);
    (void)pthread_cond_destroy(&w->changed);
    (void)pthread_mutex_destroy(&w->mutex);
    free(w);
}

/* Nobody waited for the end. */
static void end_alone(struct tly_writer *w)
{
    struct tly_writer_config config = w->config;
    free_writer(w);
    config.abandoned(config.context);
}

/* The last of it, once it was told to stop. Under the mutex, which it lets go of. */
static void finish(struct tly_writer *w)
{
    bool is_whole = w->lost == 0 && !w->install.is_open && !w->install.has_failed;
    bool is_clean = w->wants_clean && is_whole && !w->config.manifest->is_taken && is_all_durable(w);
    unlock(w);
    tly_snapshot_drop(&w->snapshot);
    tly_install_writer_drop(&w->install);
    if (is_clean) set_clean_mark(w);
}

static void *run(void *argument)
{
    struct tly_writer *w = argument;
    lock(w);
    work_until_stopped(w);
    finish(w);
    lock(w);
    w->has_ended = true;
    bool is_abandoned = w->is_abandoned;
    (void)pthread_cond_signal(&w->ended);
    unlock(w);
    if (is_abandoned) end_alone(w);
    return NULL;
}

/* ---- up and down ---- */

static bool init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) return false;
    bool done = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(condition, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return done;
}

/* Signals are for the thread that has the event loop. */
static bool start_thread(struct tly_writer *w)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_BLOCK, &all, &before) != 0) return false;
    bool started = pthread_create(&w->thread, NULL, run, w) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct tly_writer *tly_writer_start(const struct tly_writer_config *config)
{
    struct tly_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->config = *config;
    w->whole_up_to = UINT64_MAX;
    w->sync_at_ns = NEVER;
    w->snapshot = (struct tly_snapshot_writer){
        .storage = config->storage,
        .manifest = config->manifest,
        .journal = config->journal,
        .published_bytes = config->snapshot_bytes,
        .sweep_due = config->sweep_due,
        .heal_due = config->heal_due,
    };
    tly_table_writer_init(&w->table, &w->snapshot);
    tly_install_writer_init(&w->install, &w->snapshot);
    make_report(w, &w->report);
    if (pthread_mutex_init(&w->mutex, NULL) != 0) goto free_writer;
    if (!init_condition(&w->changed)) goto destroy_mutex;
    if (!init_condition(&w->ended)) goto destroy_changed;
    if (config->limits.hand == NULL && !start_thread(w)) goto destroy_ended;
    wake(w);
    return w;
destroy_ended:
    (void)pthread_cond_destroy(&w->ended);
destroy_changed:
    (void)pthread_cond_destroy(&w->changed);
destroy_mutex:
    (void)pthread_mutex_destroy(&w->mutex);
free_writer:
    free(w);
    return NULL;
}

/* Whether the thread ended in time. Under the mutex. */
static bool wait_for_end(struct tly_writer *w)
{
    uint64_t at = w->stop_at_ns + GRACE_MS * NS_PER_MS;
    struct timespec until = {(time_t)(at / 1000000000), (long)(at % 1000000000)};
    while (!w->has_ended && now_ns(w) < at)
        (void)pthread_cond_timedwait(&w->ended, &w->mutex, &until);
    return w->has_ended;
}

uint64_t tly_writer_work(struct tly_writer *w)
{
    assert(w->config.limits.hand != NULL);
    lock(w);
    if (next_work(w) <= now_ns(w)) work_once(w);
    uint64_t next = next_work(w);
    unlock(w);
    return next;
}

bool tly_writer_stop(struct tly_writer *w, bool clean)
{
    lock(w);
    w->is_stopping = true;
    w->wants_clean = clean;
    w->stop_at_ns = now_ns(w) + w->config.limits.close_ms * NS_PER_MS;
    if (w->config.limits.hand != NULL) {
        work_to_the_end_by_hand(w);
        finish(w);
        free_writer(w);
        return true;
    }
    (void)pthread_cond_signal(&w->changed);
    bool ended = wait_for_end(w);
    w->is_abandoned = !ended;
    if (!ended) (void)pthread_detach(w->thread);
    unlock(w);
    if (!ended) return false;
    (void)pthread_join(w->thread, NULL);
    free_writer(w);
    return true;
}

/* ---- for the loop ---- */

/* A number that was left out is a batch that is not stored, and so none after it is. */
static void note_number(struct tly_writer *w, uint64_t number)
{
    assert(number > w->last_number);
    uint64_t missing = number - w->last_number - 1;
    if (missing > 0 && w->lost == 0) w->whole_up_to = w->last_number;
    w->lost += missing;
    w->last_number = number;
}

static struct batch *new_batch(struct tly_slice bytes)
{
    struct batch *batch = malloc(sizeof *batch + bytes.n);
    if (batch == NULL) return NULL;
    *batch = (struct batch){.n = bytes.n};
    if (bytes.n > 0) memcpy(batch->bytes, bytes.p, bytes.n);
    return batch;
}

/* Under the mutex. Whether the thread is to be woken: what outlives the process already waits for more, so that there are few writes. */
static bool queue_numbered(struct tly_writer *w, struct batch *batch)
{
    bool outlives = batch->kind == LOGGED && !w->report.is_taken;
    struct tly_recent *recent = outlives ? w->config.recent : NULL;
    bool is_first = w->queue.first == NULL;
    note_number(w, batch->number);
    queue_add(&w->queue, batch);
    w->waiting_bytes += batch->n;
    struct tly_slice bytes = tly_slice_of(batch->bytes, batch->n);
    bool waits = recent != NULL && tly_recent_add(recent, batch->number, bytes, w->report.stored) &&
                 w->waiting_bytes < GATHERED_BYTES;
    if (!waits)
        w->gather_until_ns = 0;
    else if (is_first)
        w->gather_until_ns = now_ns(w) + w->config.limits.gather_ms * NS_PER_MS;
    return is_first || !waits;
}

/* What has a number goes to the disk in that order. */
static enum tly_result add_numbered(struct tly_writer *w, uint64_t number, struct tly_slice bytes,
                                    struct batch like)
{
    if (bytes.n > TLY_FRAME_BODY_MAX) return TLY_TOO_LARGE;
    struct batch *batch = new_batch(bytes);
    if (batch == NULL) return TLY_NOMEM;
    batch->number = number;
    batch->kind = like.kind;
    batch->effect = like.effect;

    lock(w);
    bool fits = bytes.n <= w->config.limits.waiting_bytes - w->waiting_bytes;
    bool wakes = fits && queue_numbered(w, batch);
    unlock(w);
    if (!fits) {
        free(batch);
        return TLY_FULL;
    }
    /* Not under the mutex, which the thread wants at once. */
    if (wakes) (void)pthread_cond_signal(&w->changed);
    return TLY_OK;
}

enum tly_result tly_writer_append(struct tly_writer *w, uint64_t number, struct tly_slice bytes)
{
    return add_numbered(w, number, bytes, (struct batch){.kind = LOGGED});
}

enum tly_result tly_writer_change(struct tly_writer *w, const struct tly_effect *effect)
{
    struct batch like = {.kind = CHANGE, .effect = effect->kind};
    return add_numbered(w, effect->number, effect->bytes, like);
}

enum tly_result tly_writer_image(struct tly_writer *w, enum tly_store_image what, struct tly_slice bytes)
{
    if (bytes.n > TLY_FRAME_BODY_MAX) return TLY_TOO_LARGE;
    struct batch *batch = new_batch(bytes);
    if (batch == NULL) return TLY_NOMEM;
    batch->kind = IMAGE;
    batch->what = what;

    lock(w);
    bool fits = what != TLY_IMAGE_BATCH || w->image_bytes < w->config.limits.image_bytes;
    if (fits) {
        queue_add(&w->queue, batch);
        w->image_bytes += bytes.n;
        w->gather_until_ns = 0;
    }
    unlock(w);
    if (fits) (void)pthread_cond_signal(&w->changed);
    if (!fits) free(batch);
    return fits ? TLY_OK : TLY_FULL;
}

void tly_writer_lease(struct tly_writer *w, uint64_t lease)
{
    lock(w);
    if (lease > w->lease_wanted) w->lease_wanted = lease;
    unlock(w);
    (void)pthread_cond_signal(&w->changed);
}

void tly_writer_poll(struct tly_writer *w, struct tly_store_report *report)
{
    lock(w);
    *report = w->report;
    if (w->config.recent != NULL) report->stored = tly_recent_last(w->config.recent, report->stored);
    unlock(w);
}
