#include "service/shell/journal.h"
#include "service/shell/libc_mem.h"
#include "service/shell/reading.h"
#include "service/shell/recent.h"
#include "service/shell/segment.h"
#include "service/shell/store_internal.h"
#include "service/shell/store_snapshot.h"
#include "service/shell/store_writer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

struct tly_store {
    struct tly_storage *storage;
    enum tly_fsync fsync;
    struct tly_store_limits limits;
    struct tly_manifest manifest;
    struct tly_identity identity;
    char place[TLY_STORAGE_IDENTITY_MAX];
    uint64_t last_bytes;  /* of the last segment, once replayed */
    uint64_t last_synced; /* … so much of it was durable, by its own word */
    bool last_is_old;     /* … and it is of an older format */
    uint64_t snapshot_bytes;
    bool sweep_due, heal_due;
    struct tly_healed healed; /* at begin */
    bool is_replayed;
    struct tly_reading reading; /* the replay */
    int wakeup_fd;
    struct tly_buf
        left;      /* by the process before: batches that its log may lack, as tly_recent_read gives them */
    bool has_left; /* … they wait in the journal */
    struct tly_recent *recent; /* NULL: nothing outlives the process before it is in the log */
    struct tly_journal *journal;
    struct tly_writer *writer; /* NULL before begin */
};

/* What somebody is told of a failure. */
struct text {
    char *to;
    size_t size;
};

static enum tly_result say_storage(const struct tly_store *store, enum tly_result result, const char *what,
                                   struct text text)
{
    const char *why = tly_storage_error(store->storage);
    (void)snprintf(text.to, text.size, "%s: %s", what, why[0] != '\0' ? why : tly_result_text(result));
    return result;
}

/* ---- open ---- */

struct tly_store_limits tly_store_limits_default(void)
{
    return (struct tly_store_limits){
        .segment_bytes = 64 * MIB,
        .waiting_bytes = 64 * MIB,
        .kept_bytes = 64 * MIB,
        .image_bytes = MIB,
        .recent_bytes = MIB,
        .gather_ms = 2,
        .interval_ms = TLY_FSYNC_INTERVAL_MS,
        .retry_ms = 100,
        .retry_max_ms = 5000,
        .close_ms = 5000,
    };
}

static enum tly_result take_lock(struct tly_store *store, struct text error)
{
    char holder[32] = "unknown";
    enum tly_result result = tly_storage_lock(store->storage, holder, sizeof holder);
    if (result == TLY_STALE)
        (void)snprintf(
            error.to, error.size,
            "the data directory is in use by process %s: stop it, or give this node another data directory",
            holder);
    else if (result != TLY_OK)
        (void)say_storage(store, result, "cannot lock the data directory", error);
    return result;
}

/* In the order of their numbers. */
static void adopt_segment(void *context, const char *name)
{
    struct tly_manifest *m = context;
    uint64_t number;
    if (!tly_segment_parse_name(TLY_SEGMENT_LOG, name, &number) || m->segment_count == TLY_SEGMENTS_MAX)
        return;
    size_t at = m->segment_count++;
    for (; at > 0 && m->segments[at - 1].number > number; at--)
        m->segments[at] = m->segments[at - 1];
    m->segments[at] = (struct tly_segment){.number = number};
}

/* One that a crash left without its header holds nothing. */
static enum tly_result drop_headless(struct tly_store *store)
{
    struct tly_manifest *m = &store->manifest;
    size_t kept = 0;
    for (size_t i = 0; i < m->segment_count; i++) {
        char name[TLY_SEGMENT_NAME_BYTES];
        uint64_t bytes;
        tly_segment_name(TLY_SEGMENT_LOG, m->segments[i].number, name);
        enum tly_result result = tly_storage_size(store->storage, name, &bytes);
        if (result != TLY_OK) return result;
        if (bytes >= TLY_SEGMENT_HEADER_BYTES) m->segments[kept++] = m->segments[i];
    }
    m->segment_count = kept;
    return TLY_OK;
}

/* The newest snapshot below `below`. */
struct newest {
    uint64_t below, number;
};

static void note_newest(void *context, const char *name)
{
    struct newest *newest = context;
    uint64_t number;
    if (!tly_segment_parse_name(TLY_SEGMENT_SNAPSHOT, name, &number)) return;
    if (number < newest->below && number > newest->number) newest->number = number;
}

static enum tly_result take_nothing(void *context, struct tly_slice batch)
{
    (void)context;
    (void)batch;
    return TLY_OK;
}

static enum tly_result read_snapshot(const struct tly_store *store, uint64_t number, tly_take_batch *take,
                                     void *context, struct tly_segment_end *end)
{
    struct tly_segment_part part = {store->storage, TLY_SEGMENT_SNAPSHOT, number, 0};
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, number, name);
    enum tly_result result = tly_storage_size(store->storage, name, &part.bytes);
    return result == TLY_OK ? tly_segment_read(&part, take, context, end) : result;
}

/* What a crash left is redundant, for the log before it stays until it is whole and published. Without that it was the state, or was to be. */
static enum tly_result pass_over(const struct tly_store *store, uint64_t number, struct text error)
{
    const struct tly_manifest *m = &store->manifest;
    if (number == UINT64_MAX || (m->segment_count > 0 && m->segments[0].number < number)) return TLY_OK;
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, number, name);
    (void)snprintf(error.to, error.size,
                   "%s is not whole, and neither MANIFEST nor a log before it is there (a restore that was "
                   "ended?); nothing was changed. Restore the data directory anew, or move it away: the node "
                   "then takes the state from its peers",
                   name);
    return TLY_BAD_CHECKSUM;
}

/* One with an end was published, or might have been: it stands for what is before it. */
static enum tly_result adopt_snapshot(struct tly_store *store, struct text error)
{
    struct newest newest = {.below = UINT64_MAX};
    for (;;) {
        enum tly_result result = tly_storage_list(store->storage, "", note_newest, &newest);
        if (result != TLY_OK) return result;
        if (newest.number == 0) return pass_over(store, newest.below, error);
        struct tly_segment_end end = {0};
        result = read_snapshot(store, newest.number, take_nothing, NULL, &end);
        if (result == TLY_IO || result == TLY_NOMEM) return result;
        if (result == TLY_OK) store->manifest.snapshot = newest.number;
        if (result == TLY_OK) return TLY_OK;
        newest = (struct newest){.below = newest.number};
    }
}

static void drop_superseded(struct tly_manifest *m)
{
    size_t gone = 0;
    while (gone < m->segment_count && m->segments[gone].number < m->snapshot)
        gone++;
    memmove(m->segments, m->segments + gone, (m->segment_count - gone) * sizeof *m->segments);
    m->segment_count -= gone;
}

/* Without a MANIFEST the state is all that the directory has. */
static enum tly_result adopt_log(struct tly_store *store, struct text error)
{
    enum tly_result result = tly_storage_list(store->storage, "", adopt_segment, &store->manifest);
    if (result == TLY_OK) result = drop_headless(store);
    if (result == TLY_OK) result = adopt_snapshot(store, error);
    if (result == TLY_OK) drop_superseded(&store->manifest);
    return result;
}

static enum tly_result load_manifest(struct tly_store *store, struct text error)
{
    enum tly_result result = tly_manifest_load(store->storage, &store->manifest, error.to, error.size);
    if (result != TLY_NOT_FOUND) return result;
    result = adopt_log(store, error);
    store->identity.manifest_lost = store->manifest.segment_count > 0 || store->manifest.snapshot != 0;
    if (result == TLY_OK || result == TLY_BAD_CHECKSUM) return result;
    return say_storage(store, result, "cannot look for a log", error);
}

static enum tly_result identify(struct tly_store *store, struct text error)
{
    const struct tly_manifest *m = &store->manifest;
    enum tly_result result = tly_storage_identity(store->storage, store->place, sizeof store->place);
    if (result != TLY_OK) return say_storage(store, result, "cannot identify the data directory", error);
    (void)snprintf(store->identity.name, sizeof store->identity.name, "%s", m->name);
    store->identity.origin = m->origin;
    store->identity.lease = m->lease;
    store->identity.may_continue = m->clean && strcmp(m->place, store->place) == 0;
    return TLY_OK;
}

static struct tly_store *new_store(struct tly_storage *storage, struct text error)
{
    struct tly_store *store = calloc(1, sizeof *store);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store != NULL && fd >= 0) {
        struct tly_mem mem = tly_libc_mem();
        tly_buf_init(&store->left, &mem, TLY_RECENT_LEFT_MAX);
        store->storage = storage;
        store->wakeup_fd = fd;
        return store;
    }
    (void)snprintf(error.to, error.size, "cannot make a store: %s",
                   store == NULL ? "out of memory" : strerror(errno));
    if (fd >= 0) (void)close(fd);
    free(store);
    tly_storage_close(storage);
    return NULL;
}

/* NOLINTNEXTLINE(readability-function-size): six, of which two are where an error is told */
enum tly_result tly_store_open_limited(struct tly_storage *storage, enum tly_fsync fsync,
                                       const struct tly_store_limits *limits, struct tly_store **out,
                                       char *error, size_t size)
{
    struct text text = {error, size};
    struct tly_store *store = new_store(storage, text);
    if (store == NULL) return TLY_NOMEM;
    store->fsync = fsync;
    store->limits = *limits;
    enum tly_result result = take_lock(store, text);
    if (result == TLY_OK) result = load_manifest(store, text);
    if (result == TLY_OK) result = identify(store, text);
    if (result == TLY_OK)
        *out = store;
    else
        tly_store_close(store, false);
    return result;
}

enum tly_result tly_store_open(struct tly_storage *storage, enum tly_fsync fsync, struct tly_store **out,
                               char *error, size_t size)
{
    struct tly_store_limits limits = tly_store_limits_default();
    return tly_store_open_limited(storage, fsync, &limits, out, error, size);
}

const struct tly_identity *tly_store_identity(const struct tly_store *store)
{
    return &store->identity;
}

/* ---- replay ---- */

struct replay {
    struct tly_store *store;
    tly_take_batch *take;
    void *context;
    struct text notice;
};

/* One segment of those in MANIFEST. */
struct piece {
    struct tly_segment *segment; /* NULL: it is a snapshot */
    bool is_last;
    char name[TLY_SEGMENT_NAME_BYTES];
    uint64_t size;
};

#define REMEDY \
    "; nothing was changed. Put the file back from a backup, or move the data directory away: the node then "
#define REMEDY_PEERS "takes the state from its peers; or keep what can be read: tallyctl store repair"

/* Where it is damaged, what follows there, and what to do. */
static void explain_damage(const struct piece *piece, const struct tly_segment_end *end, struct text notice)
{
    char follows[96] = "", cut[96] = "";
    if (end->following > end->valid && end->synced > end->valid)
        (void)snprintf(follows, sizeof follows, " (valid records follow at %llu, up to %llu it was synced)",
                       (unsigned long long)end->following, (unsigned long long)end->synced);
    else if (end->following > end->valid)
        (void)snprintf(follows, sizeof follows, " (valid records follow at %llu)",
                       (unsigned long long)end->following);
    if (piece->is_last || (piece->segment != NULL && piece->segment->bytes == 0))
        (void)snprintf(cut, sizeof cut, "; or give up what follows: truncate -s %llu %s",
                       (unsigned long long)end->valid, piece->name);
    (void)snprintf(notice.to, notice.size, "%s is damaged at byte %llu%s" REMEDY REMEDY_PEERS "%s",
                   piece->name, (unsigned long long)end->valid, follows, cut);
}

static void explain_refusal(const struct replay *r, const struct piece *piece, enum tly_result result,
                            const struct tly_segment_end *end)
{
    struct text notice = r->notice;
    if (end->is_takers)
        (void)snprintf(notice.to, notice.size, "%s: the record at byte %llu was not taken: %s", piece->name,
                       (unsigned long long)end->valid, tly_result_text(result));
    else if (result == TLY_BAD_CHECKSUM || result == TLY_MORE)
        explain_damage(piece, end, notice);
    else if (result == TLY_BAD_FRAME)
        (void)snprintf(notice.to, notice.size,
                       "%s is damaged at byte 0: it is not the segment it is called" REMEDY REMEDY_PEERS,
                       piece->name);
    else if (result == TLY_UNKNOWN_FRAME)
        (void)snprintf(
            notice.to, notice.size,
            "%s is of a newer format than this tallyd knows: nothing was touched; start the version that "
            "wrote it, or use another data directory",
            piece->name);
    else
        (void)say_storage(r->store, result, piece->name, notice);
}

/* The last segment ended in the middle of a record, or has room behind it: a crash while it was written. */
static enum tly_result cut_tail(const struct replay *r, const struct piece *piece,
                                const struct tly_segment_end *end)
{
    struct tly_store *store = r->store;
    const uint64_t valid = end->valid;
    enum tly_result result = tly_storage_truncate(store->storage, piece->name, valid);
    if (result == TLY_OK) result = tly_storage_sync(store->storage, piece->name);
    if (result != TLY_OK) return say_storage(store, result, "cannot cut off a torn tail", r->notice);
    if (end->is_blank) return TLY_OK;
    store->identity.may_continue = false;
    (void)snprintf(r->notice.to, r->notice.size,
                   "%s: %llu bytes at its end were torn by a crash and are cut off%s", piece->name,
                   (unsigned long long)(piece->size - valid),
                   end->following > valid ? "; the disk had written some of them out of order" : "");
    return TLY_OK;
}

/* After a clean stop the length is known; what is missing then would be given out a second time by the same life. */
static void check_clean_length(const struct replay *r, const struct piece *piece, uint64_t valid)
{
    struct tly_store *store = r->store;
    if (!store->manifest.clean || piece->segment->bytes == 0 || piece->segment->bytes == valid) return;
    store->identity.may_continue = false;
    if (r->notice.to[0] != '\0') return;
    (void)snprintf(r->notice.to, r->notice.size,
                   "%s has %llu bytes and had %llu when the node was stopped: it begins a new life",
                   piece->name, (unsigned long long)valid, (unsigned long long)piece->segment->bytes);
}

static enum tly_result replay_last(const struct replay *r, const struct piece *piece)
{
    struct tly_segment_end end = {0};
    struct tly_segment_part all = {r->store->storage, TLY_SEGMENT_LOG, piece->segment->number, piece->size};
    enum tly_result result = tly_segment_read(&all, r->take, r->context, &end);
    bool is_torn = result == TLY_MORE && !end.is_takers;
    /* All of it was synced when the node was stopped cleanly, and more of it is there: no crash left that. */
    bool is_middle = r->store->manifest.clean && end.following > end.valid;
    if (is_torn && is_middle && piece->segment->bytes > end.valid) {
        result = TLY_BAD_CHECKSUM;
        is_torn = false;
    }
    if (result != TLY_OK && !is_torn) {
        explain_refusal(r, piece, result, &end);
        return result;
    }
    if (is_torn) result = cut_tail(r, piece, &end);
    if (result != TLY_OK) return result;
    check_clean_length(r, piece, end.valid);
    r->store->last_bytes = end.valid;
    r->store->last_synced = end.synced < end.valid ? end.synced : end.valid;
    r->store->last_is_old = end.format < TLY_SEGMENT_FORMAT;
    return TLY_OK;
}

/* An earlier segment is what MANIFEST says, to the byte. */
static enum tly_result replay_earlier(const struct replay *r, const struct piece *piece)
{
    struct tly_segment *segment = piece->segment;
    struct tly_segment_end end = {0};
    uint64_t bytes = segment->bytes != 0 ? segment->bytes : piece->size;
    struct tly_segment_part part = {r->store->storage, TLY_SEGMENT_LOG, segment->number, bytes};
    enum tly_result result = tly_segment_read(&part, r->take, r->context, &end);
    if (result == TLY_OK || (result == TLY_MORE && end.is_blank && segment->bytes == 0)) {
        segment->bytes = end.valid;
        return TLY_OK;
    }
    explain_refusal(r, piece, result, &end);
    return result == TLY_MORE && !end.is_takers ? TLY_BAD_CHECKSUM : result;
}

static enum tly_result find_piece(const struct replay *r, struct piece *piece)
{
    enum tly_result result = tly_storage_size(r->store->storage, piece->name, &piece->size);
    if (result == TLY_NOT_FOUND) {
        (void)snprintf(r->notice.to, r->notice.size, "%s is missing" REMEDY REMEDY_PEERS, piece->name);
        return TLY_BAD_CHECKSUM;
    }
    return result == TLY_OK ? TLY_OK : say_storage(r->store, result, "cannot read the log", r->notice);
}

static enum tly_result replay_segment(const struct replay *r, size_t i)
{
    struct tly_manifest *m = &r->store->manifest;
    struct piece piece = {.segment = &m->segments[i], .is_last = i + 1 == m->segment_count};
    r->store->reading.piece = piece.segment->number;
    tly_segment_name(TLY_SEGMENT_LOG, piece.segment->number, piece.name);
    enum tly_result result = find_piece(r, &piece);
    if (result != TLY_OK) return result;
    return piece.is_last ? replay_last(r, &piece) : replay_earlier(r, &piece);
}

/* It was whole before MANIFEST named it. */
static enum tly_result replay_snapshot(const struct replay *r)
{
    struct tly_store *store = r->store;
    struct tly_segment_end end = {0};
    struct piece piece = {0};
    if (store->manifest.snapshot == 0) return TLY_OK;
    store->reading.piece = store->manifest.snapshot;
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, store->manifest.snapshot, piece.name);
    enum tly_result result = find_piece(r, &piece);
    if (result != TLY_OK) return result;
    store->snapshot_bytes = piece.size;
    result = read_snapshot(store, store->manifest.snapshot, r->take, r->context, &end);
    if (result == TLY_OK) return TLY_OK;
    explain_refusal(r, &piece, result, &end);
    return result == TLY_MORE && !end.is_takers ? TLY_BAD_CHECKSUM : result;
}

/* What is behind the log. */
static enum tly_result replay_left(const struct replay *r)
{
    struct tly_store *store = r->store;
    struct tly_recent_owner owner = {tly_storage_boot(store->storage), store->manifest.origin};
    enum tly_result result = tly_recent_read(store->storage, &owner, &store->left);
    if (result != TLY_OK) return say_storage(store, result, TLY_RECENT_NAME, r->notice);
    store->reading.piece = UINT64_MAX;
    struct tly_slice left = tly_buf_slice(&store->left), batch;
    while (result == TLY_OK && tly_recent_next(&left, &batch))
        result = r->take(r->context, batch);
    return result;
}

enum tly_result tly_store_replay(struct tly_store *store, tly_take_batch *take, void *context, char *notice,
                                 size_t size)
{
    assert(store->writer == NULL && size > 0);
    struct replay replay = {store, take, context, {notice, size}};
    notice[0] = '\0';
    enum tly_result result = replay_snapshot(&replay);
    for (size_t i = 0; result == TLY_OK && i < store->manifest.segment_count; i++)
        result = replay_segment(&replay, i);
    if (result == TLY_OK) result = replay_left(&replay);
    if (result != TLY_OK) return result;
    store->is_replayed = true;
    return TLY_OK;
}

enum tly_result tly_store_equip(struct tly_store *store, struct tly_engine *engine)
{
    store->reading.manifest = &store->manifest;
    return tly_reading_equip(&store->reading, engine);
}

/* ---- begin ---- */

/* Where what a prefix has now begins. */
static uint64_t latest_from(const struct tly_manifest *m)
{
    uint64_t latest = 0;
    for (size_t i = 0; i < m->prefix_count; i++)
        if (m->prefixes[i].from > latest) latest = m->prefixes[i].from;
    return latest;
}

/* A table can be published before the segment that it begins with: then too the last one is not added to. */
static bool is_last_ended(const struct tly_store *store)
{
    const struct tly_manifest *m = &store->manifest;
    return store->last_is_old ||
           (m->segment_count > 0 && m->segments[m->segment_count - 1].number < latest_from(m));
}

static bool make_journal(struct tly_store *store)
{
    struct tly_journal_config config = {
        .storage = store->storage,
        .manifest = &store->manifest,
        .size = store->last_bytes,
        .is_old = is_last_ended(store),
        .segment_bytes = store->limits.segment_bytes,
        .kept_bytes = store->limits.kept_bytes,
    };
    store->journal = tly_journal_new(&config);
    return store->journal != NULL;
}

/*
 * What an earlier process wrote and did not sync. Where a sync failed, the system takes what it covered for written and the next
 * process is told nothing: so it is written anew.
 */
static enum tly_result write_anew(struct tly_store *store, const char *name)
{
    uint8_t bytes[16384];
    enum tly_result result = TLY_OK;
    size_t got;
    for (uint64_t at = store->last_synced; result == TLY_OK && at < store->last_bytes; at += got) {
        uint64_t left = store->last_bytes - at;
        size_t n = left < sizeof bytes ? (size_t)left : sizeof bytes;
        result = tly_storage_read(store->storage, name, at, bytes, n, &got);
        if (result == TLY_OK && got == 0) return TLY_IO;
        if (result == TLY_OK)
            result = tly_storage_overwrite(store->storage, name, at, tly_slice_of(bytes, got));
    }
    return result;
}

/* What the process before left goes to the log first. */
static enum tly_result take_left(struct tly_store *store)
{
    struct tly_slice left = tly_buf_slice(&store->left), batch;
    enum tly_result result = TLY_OK;
    while (result == TLY_OK && tly_recent_next(&left, &batch))
        result = tly_journal_put(store->journal, 0, batch);
    store->has_left = store->left.n > 0;
    tly_buf_fini(&store->left);
    return result;
}

/* Ahead of MANIFEST: what was left is not read again once that names another life. */
static enum tly_result log_left(struct tly_store *store, struct text error)
{
    if (!store->has_left) return TLY_OK;
    enum tly_result result =
        tly_journal_is_behind(store->journal) ? tly_journal_write(store->journal) : TLY_OK;
    if (result == TLY_OK) result = tly_journal_sync(store->journal);
    if (result != TLY_OK)
        (void)snprintf(error.to, error.size, "cannot write to the log what the process before left: %s",
                       tly_journal_error(store->journal));
    store->has_left = result != TLY_OK;
    return result;
}

/* The log is synced first, so that all that follows can rely on it. */
static enum tly_result write_identity(struct tly_store *store, bool was_clean, struct text error)
{
    struct tly_manifest *m = &store->manifest;
    if (m->segment_count == 0) {
        enum tly_result result = tly_journal_write(store->journal);
        if (result != TLY_OK)
            (void)snprintf(error.to, error.size, "cannot begin a log: %s", tly_journal_error(store->journal));
        return result;
    }
    struct tly_segment *last = &m->segments[m->segment_count - 1];
    char name[TLY_SEGMENT_NAME_BYTES];
    last->bytes = 0;
    tly_segment_name(TLY_SEGMENT_LOG, last->number, name);
    enum tly_result result = was_clean ? TLY_OK : write_anew(store, name);
    if (result == TLY_OK) result = tly_storage_sync(store->storage, name);
    if (result != TLY_OK) return say_storage(store, result, "cannot write the node's identity", error);
    result = log_left(store, error);
    if (result != TLY_OK) return result;
    result = tly_manifest_save(store->storage, m);
    return result == TLY_OK ? TLY_OK : say_storage(store, result, "cannot write the node's identity", error);
}

/*
 * On a full disk the reserve makes room for taking the mark of a clean stop away. Without that mark whoever starts next begins a new
 * life in any case, so the identity can wait: TLY_FULL.
 */
static enum tly_result write_identity_somehow(struct tly_store *store, bool was_clean, struct text error)
{
    enum tly_result result = write_identity(store, was_clean, error);
    bool is_full = tly_storage_is_full(store->storage) || tly_journal_lacks_space(store->journal);
    if (result != TLY_IO || !is_full) return result;
    if (!was_clean) return TLY_FULL;
    /* If there is none, error says why there is no identity. */
    if (tly_storage_remove(store->storage, TLY_RESERVE_NAME) != TLY_OK) return result;
    return write_identity(store, was_clean, error);
}

/* Changes that an earlier process did not come to the end of. */
static enum tly_result heal(struct tly_store *store, struct text error)
{
    enum tly_result result = tly_intents_heal(store->storage, &store->manifest, "", &store->healed);
    if (result != TLY_OK) return say_storage(store, result, "cannot look for unfinished changes", error);
    store->heal_due = store->healed.left > 0;
    return TLY_OK;
}

/*
 * Without it everybody waits for the log, which is as safe. Where all is synced before it counts it would be of no use; what there was of it
 * is in the log now, and is not to be read behind what comes.
 */
static enum tly_result begin_recent(struct tly_store *store, struct text error)
{
    struct tly_recent_owner owner = {tly_storage_boot(store->storage), store->manifest.origin};
    bool is_wanted = store->fsync != TLY_FSYNC_ALWAYS && store->limits.recent_bytes > 0 && owner.boot != 0 &&
                     tly_storage_can_map(store->storage);
    if (is_wanted) store->recent = tly_recent_new(store->storage, &owner, store->limits.recent_bytes);
    tly_journal_set_recent(store->journal, store->recent);
    enum tly_result result =
        store->recent == NULL ? tly_storage_remove(store->storage, TLY_RECENT_NAME) : TLY_OK;
    return result == TLY_OK ? TLY_OK
                            : say_storage(store, result, "cannot remove what the process before left", error);
}

static void free_store(void *context)
{
    struct tly_store *store = context;
    tly_recent_free(store->recent);
    tly_buf_fini(&store->left);
    tly_journal_free(store->journal);
    tly_storage_close(store->storage);
    (void)close(store->wakeup_fd);
    free(store);
}

static enum tly_result start_writer(struct tly_store *store, struct text error)
{
    struct tly_writer_config config = {
        .storage = store->storage,
        .manifest = &store->manifest,
        .journal = store->journal,
        .recent = store->recent,
        .snapshot_bytes = store->snapshot_bytes,
        .sweep_due = store->sweep_due,
        .heal_due = store->heal_due,
        .left_due = store->has_left,
        .wakeup_fd = store->wakeup_fd,
        .fsync = store->fsync,
        .limits = store->limits,
        .abandoned = free_store,
        .context = store,
    };
    store->writer = tly_writer_start(&config);
    if (store->writer != NULL) return TLY_OK;
    (void)snprintf(error.to, error.size, "cannot start the thread that writes: out of memory or of threads");
    return TLY_NOMEM;
}

/* NOLINTNEXTLINE(readability-function-size): six, of which two are where an error is told */
enum tly_result tly_store_begin(struct tly_store *store, const char *name, uint64_t origin, uint64_t lease,
                                char *error, size_t size)
{
    assert(store->is_replayed && store->writer == NULL && store->journal == NULL);
    struct tly_manifest *m = &store->manifest;
    struct text text = {error, size};
    bool was_clean = m->clean, was_left = store->left.n > 0;
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    (void)snprintf(m->place, sizeof m->place, "%s", store->place);
    m->origin = store->identity.origin = origin;
    m->lease = lease;
    m->clean = false;
    if (!make_journal(store) || take_left(store) != TLY_OK) {
        (void)snprintf(error, size, "out of memory");
        return TLY_NOMEM;
    }
    enum tly_result result = heal(store, text); /* by MANIFEST as it was found */
    if (result == TLY_OK) result = write_identity_somehow(store, was_clean, text);
    if (result != TLY_OK) return result;
    result = begin_recent(store, text);
    if (result != TLY_OK && was_left) return result;
    /* What a crash left does no harm: if it cannot be removed now, it goes later. */
    store->sweep_due = tly_store_sweep(store->storage, m, true) != TLY_OK;
    return start_writer(store, text);
}

enum tly_result tly_store_begin_full(struct tly_store *store, uint64_t origin, char *error, size_t size)
{
    struct tly_manifest *m = &store->manifest;
    struct text text = {error, size};
    uint64_t lease = m->lease;
    m->origin = store->identity.origin = origin;
    m->lease = store->identity.lease; /* what the disk has */
    m->is_changed = true;
    store->sweep_due = true;
    enum tly_result result = start_writer(store, text);
    if (result == TLY_OK) tly_store_lease(store, lease);
    return result;
}

const struct tly_kept_intent *tly_store_kept(const struct tly_store *store, size_t i)
{
    size_t count = store->healed.kept_count;
    return i < count && i < TLY_INTENTS_KEPT_MAX ? &store->healed.kept[i] : NULL;
}

enum tly_result tly_store_hold(const struct tly_store *store, struct tly_engine *engine)
{
    const struct tly_kept_intent *kept;
    for (size_t i = 0; (kept = tly_store_kept(store, i)) != NULL; i++)
        for (size_t at = 0; at < tly_engine_prefixes(engine); at++) {
            struct tly_prefix_view view = tly_engine_prefix(engine, at);
            if (view.is_held || !tly_kept_intent_is_about(kept, view.prefix)) continue;
            enum tly_result result = tly_engine_hold(engine, view.prefix);
            if (result != TLY_OK) return result;
        }
    return TLY_OK;
}

/* ---- running ---- */

enum tly_result tly_store_append(struct tly_store *store, uint64_t number, struct tly_slice batch)
{
    return store->writer != NULL ? tly_writer_append(store->writer, number, batch) : TLY_IO;
}

enum tly_result tly_store_change(struct tly_store *store, const struct tly_effect *effect)
{
    return store->writer != NULL ? tly_writer_change(store->writer, effect) : TLY_IO;
}

enum tly_result tly_store_image(struct tly_store *store, enum tly_store_image what, struct tly_slice batch)
{
    return store->writer != NULL ? tly_writer_image(store->writer, what, batch) : TLY_IO;
}

void tly_store_lease(struct tly_store *store, uint64_t lease)
{
    if (store->writer != NULL) tly_writer_lease(store->writer, lease);
}

int tly_store_wakeup_fd(const struct tly_store *store)
{
    return store->wakeup_fd;
}

bool tly_store_is_prompt(const struct tly_store *store)
{
    return store->recent != NULL;
}

void tly_store_poll(struct tly_store *store, struct tly_store_report *report)
{
    uint64_t count;
    (void)!read(store->wakeup_fd, &count, sizeof count);
    *report = (struct tly_store_report){.leased = store->identity.lease};
    if (store->writer != NULL) tly_writer_poll(store->writer, report);
}

uint64_t tly_store_work(struct tly_store *store)
{
    return tly_writer_work(store->writer);
}

void tly_store_close(struct tly_store *store, bool clean)
{
    if (store == NULL) return;
    /* While the thread hangs in the disk, it needs everything; it frees it in our place. */
    if (store->writer != NULL && !tly_writer_stop(store->writer, clean)) return;
    free_store(store);
}
