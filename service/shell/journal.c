#include "service/shell/journal.h"

#include "service/shell/libc_mem.h"
#include "service/shell/segment.h"
#include "wire/frame.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* A buffer that grew beyond this is given back once it is empty. */
#define KEPT_RETAINED_BYTES ((size_t)1 * 1024 * 1024)

/* What is copied to go to the disk in one write with the record that precedes it. */
#define AHEAD_BYTES ((size_t)64 * 1024)
/* What is made ready for the batches that will come. */
#define ROOM_BYTES (UINT64_C(1) << 20)
#define SYNCED_BYTES_MAX ((size_t)TLY_FRAME_HEAD_MAX + 16)

enum state { OPEN, TORN, CLOSED, STAGED };

struct tly_journal {
    struct tly_journal_config config;
    struct tly_recent *recent;
    enum state state;
    struct tly_buf kept;
    size_t written; /* of kept */
    struct tly_buf ahead;

    uint64_t last_put, last_staged, last_written, last_synced; /* numbers of batches */

    char name[TLY_SEGMENT_NAME_BYTES]; /* of the segment that is open */
    uint64_t size, synced_size;        /* its valid bytes; 0: there is no segment yet */
    uint64_t told_size;                /* its last SYNCED record */
    uint64_t tried;                    /* number of the last segment that was made or tried */
    uint64_t earlier_bytes;            /* of all segments before it */
    char error[512];
    bool lacks_space; /* that is why */
};

/* ---- the machine ---- */

static void move(struct tly_journal *j, enum state to)
{
    static const bool may[][4] = {
        [OPEN] = {[TORN] = true, [CLOSED] = true},
        [TORN] = {[OPEN] = true, [CLOSED] = true},
        [CLOSED] = {[STAGED] = true},
        [STAGED] = {[OPEN] = true},
    };
    assert(may[j->state][to]);
    j->state = to;
}

static enum tly_result fail(struct tly_journal *j, enum tly_result result)
{
    const char *why = tly_storage_error(j->config.storage);
    j->lacks_space = result == TLY_IO && tly_storage_is_full(j->config.storage);
    if (why[0] == '\0' || result == TLY_NOMEM || result == TLY_TOO_LARGE) why = tly_result_text(result);
    (void)snprintf(j->error, sizeof j->error, "%s", why);
    return result;
}

static struct tly_segment *last_segment(const struct tly_journal *j)
{
    struct tly_manifest *m = j->config.manifest;
    return m->segment_count > 0 ? &m->segments[m->segment_count - 1] : NULL;
}

/* ---- up and down ---- */

static void sum_earlier(struct tly_journal *j)
{
    const struct tly_manifest *m = j->config.manifest;
    j->earlier_bytes = 0;
    for (size_t i = 0; i + 1 < m->segment_count; i++)
        j->earlier_bytes += m->segments[i].bytes;
}

struct tly_journal *tly_journal_new(const struct tly_journal_config *config)
{
    struct tly_journal *j = calloc(1, sizeof *j);
    if (j == NULL) return NULL;
    struct tly_mem mem = tly_libc_mem();
    j->config = *config;
    tly_buf_init(&j->kept, &mem, config->kept_bytes);
    tly_buf_init(&j->ahead, &mem, AHEAD_BYTES + SYNCED_BYTES_MAX);
    const struct tly_segment *last = last_segment(j);
    assert((last != NULL) == (config->size >= TLY_SEGMENT_HEADER_BYTES));
    j->state = last != NULL && !config->is_old ? OPEN : CLOSED;
    /* Without a segment, the first is that with the snapshot's number. */
    uint64_t snapshot = config->manifest->snapshot;
    j->tried = last != NULL ? last->number : snapshot - (snapshot > 0);
    j->size = j->synced_size = config->size;
    tly_segment_name(TLY_SEGMENT_LOG, j->tried, j->name);
    sum_earlier(j);
    return j;
}

void tly_journal_free(struct tly_journal *j)
{
    if (j == NULL) return;
    tly_buf_fini(&j->ahead);
    tly_buf_fini(&j->kept);
    free(j);
}

/* ---- what is kept ---- */

enum tly_result tly_journal_put(struct tly_journal *j, uint64_t number, struct tly_slice batch)
{
    if (batch.n > TLY_FRAME_BODY_MAX) return fail(j, TLY_TOO_LARGE);
    if (j->kept.bytes_max - j->kept.n < batch.n + TLY_FRAME_HEAD_MAX) return TLY_FULL;
    tly_frame_put(&j->kept, TLY_FRAME_ROUND, batch);
    enum tly_result result = j->kept.result;
    j->kept.result = TLY_OK;
    if (result != TLY_OK) return fail(j, result);
    j->last_put = number;
    return TLY_OK;
}

static void forget_written(struct tly_journal *j)
{
    tly_buf_take(&j->kept, j->written);
    j->written = 0;
    if (j->kept.n > 0 || j->kept.capacity <= KEPT_RETAINED_BYTES) return;
    struct tly_mem mem = j->kept.mem;
    tly_buf_fini(&j->kept);
    tly_buf_init(&j->kept, &mem, j->config.kept_bytes);
}

static void note_synced(struct tly_journal *j)
{
    j->synced_size = j->size;
    j->last_synced = j->last_written;
    forget_written(j);
}

/* ---- steps; each leaves the state from which it can be tried again ---- */

/* What was synced since this was last said is said ahead of what follows: in one write with it, unless that is much. */
static enum tly_result append_ahead(struct tly_journal *j, struct tly_slice *bytes)
{
    struct tly_buf *ahead = &j->ahead;
    tly_buf_clear(ahead);
    if (j->synced_size != j->told_size) tly_segment_put_synced(ahead, j->synced_size);
    if (bytes->n <= AHEAD_BYTES) {
        tly_buf_put(ahead, bytes->p, bytes->n);
        bytes->n = 0;
    }
    if (ahead->result != TLY_OK || ahead->n == 0) return ahead->result;
    return tly_storage_append_roomy(j->config.storage, j->name, tly_buf_slice(ahead), ROOM_BYTES);
}

/* OPEN -> OPEN, TORN */
static enum tly_result append_kept(struct tly_journal *j)
{
    struct tly_slice bytes = tly_slice_of(j->kept.p + j->written, j->kept.n - j->written);
    struct tly_slice left = bytes;
    enum tly_result result = append_ahead(j, &left);
    if (result == TLY_OK && left.n > 0)
        result = tly_storage_append_roomy(j->config.storage, j->name, left, ROOM_BYTES);
    if (result != TLY_OK) {
        move(j, TORN);
        return fail(j, result);
    }
    j->size += j->ahead.n + left.n;
    j->told_size = j->synced_size;
    j->written = j->kept.n;
    j->last_written = j->last_put;
    return TLY_OK;
}

/* TORN -> OPEN, CLOSED */
static void mend(struct tly_journal *j)
{
    if (tly_storage_truncate(j->config.storage, j->name, j->size) == TLY_OK)
        move(j, OPEN);
    else
        move(j, CLOSED);
}

static enum tly_result write_segment(struct tly_journal *j, const char *name, uint64_t number)
{
    struct tly_storage *storage = j->config.storage;
    uint8_t header[TLY_SEGMENT_HEADER_BYTES];
    tly_segment_header(TLY_SEGMENT_LOG, number, header);
    enum tly_result result = tly_storage_remove(storage, name);
    if (result == TLY_OK) result = tly_storage_append(storage, name, tly_slice_of(header, sizeof header));
    if (result == TLY_OK && j->kept.n > 0)
        result = tly_storage_append(storage, name, tly_buf_slice(&j->kept));
    if (result == TLY_OK) result = tly_storage_sync(storage, name);
    return result;
}

/* CLOSED -> STAGED. MANIFEST was never told of a segment that failed here, so it can go. */
static enum tly_result stage(struct tly_journal *j)
{
    char name[TLY_SEGMENT_NAME_BYTES];
    if (j->config.manifest->segment_count == TLY_SEGMENTS_MAX) {
        (void)snprintf(j->error, sizeof j->error, "the log has %d segments and cannot have more",
                       TLY_SEGMENTS_MAX);
        return TLY_FULL;
    }
    /* A segment of that number may be another's by now. */
    enum tly_result result = tly_manifest_verify(j->config.storage, j->config.manifest);
    if (result != TLY_OK) return fail(j, result);
    j->tried++;
    tly_segment_name(TLY_SEGMENT_LOG, j->tried, name);
    result = write_segment(j, name, j->tried);
    if (result != TLY_OK) {
        (void)fail(j, result);
        (void)!tly_storage_remove(j->config.storage, name);
        return result;
    }
    j->written = j->kept.n;
    j->last_staged = j->last_put;
    move(j, STAGED);
    return TLY_OK;
}

/* Ends the last segment and adds the staged one; an ended one without a record is dropped. */
static void list_staged(const struct tly_journal *j)
{
    struct tly_manifest *m = j->config.manifest;
    size_t at = m->segment_count;
    if (at > 0) m->segments[at - 1].bytes = j->synced_size;
    if (at > 0 && j->synced_size <= TLY_SEGMENT_HEADER_BYTES) at--;
    m->segments[at] = (struct tly_segment){.number = j->tried};
    m->segment_count = at + 1;
}

/* STAGED -> OPEN */
static enum tly_result publish(struct tly_journal *j)
{
    struct tly_manifest *m = j->config.manifest;
    const size_t count = m->segment_count, last = count > 0 ? count - 1 : 0;
    const struct tly_segment before = m->segments[last];
    list_staged(j);
    enum tly_result result = tly_manifest_save(j->config.storage, m);
    if (result != TLY_OK) {
        m->segment_count = count;
        m->segments[last] = before;
        return fail(j, result);
    }
    if (m->segment_count == count) (void)!tly_storage_remove(j->config.storage, j->name);
    tly_segment_name(TLY_SEGMENT_LOG, j->tried, j->name);
    sum_earlier(j);
    j->told_size = 0;
    j->size = TLY_SEGMENT_HEADER_BYTES + j->written;
    j->last_written = j->last_staged;
    move(j, OPEN);
    note_synced(j);
    return TLY_OK;
}

/* ---- what others call ---- */

static bool is_full(const struct tly_journal *j)
{
    return j->size >= j->config.segment_bytes && j->config.manifest->segment_count < TLY_SEGMENTS_MAX;
}

void tly_journal_set_recent(struct tly_journal *j, struct tly_recent *recent)
{
    j->recent = recent;
}

static enum tly_result sync_segment(struct tly_journal *j)
{
    if (!tly_journal_is_unsynced(j)) return TLY_OK;
    enum tly_result result = tly_storage_sync(j->config.storage, j->name);
    if (result != TLY_OK) {
        move(j, CLOSED);
        return fail(j, result);
    }
    note_synced(j);
    return TLY_OK;
}

enum tly_result tly_journal_sync(struct tly_journal *j)
{
    assert(j->state == OPEN);
    enum tly_result result = sync_segment(j);
    if (result != TLY_OK || j->recent == NULL) return result;
    result = tly_recent_settle(j->recent, j->last_written);
    if (result != TLY_OK)
        (void)snprintf(j->error, sizeof j->error, "%s cannot be removed: %s", TLY_RECENT_NAME,
                       tly_result_text(result));
    return result;
}

enum tly_result tly_journal_write(struct tly_journal *j)
{
    enum tly_result result = TLY_OK;
    if (j->recent != NULL) tly_recent_look(j->recent);
    if (j->state == TORN) mend(j);
    if (j->state == OPEN && is_full(j)) {
        result = tly_journal_sync(j);
        if (result != TLY_OK) return result;
        move(j, CLOSED);
    }
    if (j->state == CLOSED) result = stage(j);
    if (j->state == STAGED) result = publish(j);
    if (j->state == OPEN && j->written < j->kept.n) result = append_kept(j);
    return result;
}

enum tly_result tly_journal_cut(struct tly_journal *j, uint64_t *number)
{
    enum tly_result result = tly_journal_is_behind(j) ? tly_journal_write(j) : TLY_OK;
    if (result == TLY_OK) result = tly_journal_sync(j);
    if (result != TLY_OK) return result;
    move(j, CLOSED);
    *number = j->tried + 1;
    return TLY_OK;
}

enum tly_result tly_journal_roll(struct tly_journal *j, uint64_t *number)
{
    enum tly_result result = tly_journal_cut(j, number);
    if (result == TLY_OK) result = tly_journal_write(j);
    if (result == TLY_OK) *number = j->tried;
    return result;
}

void tly_journal_note(struct tly_journal *j, uint64_t number)
{
    assert(j->state == OPEN && j->kept.n == 0);
    j->last_put = j->last_staged = j->last_written = j->last_synced = number;
}

void tly_journal_drop_before(struct tly_journal *j, uint64_t from, const char *change)
{
    struct tly_manifest *m = j->config.manifest;
    size_t gone = 0;
    while (gone + 1 < m->segment_count && m->segments[gone].number < from)
        gone++;
    memmove(m->segments, m->segments + gone, (m->segment_count - gone) * sizeof *m->segments);
    m->segment_count -= gone;
    m->snapshot = from;
    tly_manifest_add_change(m, change);
    m->is_changed = true;
    sum_earlier(j);
}

bool tly_journal_is_behind(const struct tly_journal *j)
{
    return j->state != OPEN || j->written < j->kept.n;
}

bool tly_journal_is_unsynced(const struct tly_journal *j)
{
    return j->size > j->synced_size;
}

bool tly_journal_wants_sync(const struct tly_journal *j)
{
    return j->written > j->config.kept_bytes / 4;
}

uint64_t tly_journal_written(const struct tly_journal *j)
{
    return j->last_written;
}

uint64_t tly_journal_synced(const struct tly_journal *j)
{
    return j->last_synced;
}

uint64_t tly_journal_bytes(const struct tly_journal *j)
{
    return j->earlier_bytes + j->size;
}

uint64_t tly_journal_size(const struct tly_journal *j)
{
    return j->size;
}

bool tly_journal_lacks_space(const struct tly_journal *j)
{
    return j->lacks_space;
}

const char *tly_journal_error(const struct tly_journal *j)
{
    return j->error;
}
