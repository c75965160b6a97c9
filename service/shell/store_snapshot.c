#include "service/shell/store_snapshot.h"

#include "service/shell/libc_mem.h"

#include <stdio.h>

/* So much is written at once; and synced at once, so that the log never waits long for its turn on the disk. */
#define WRITE_BYTES ((size_t)256 * 1024)
#define SYNC_BYTES ((size_t)4 * 1024 * 1024)

/* ---- one snapshot ---- */

static void end_writing(struct tly_snapshot_writer *s)
{
    tly_buf_fini(&s->out);
    s->is_writing = false;
}

static void remove_file(struct tly_snapshot_writer *s)
{
    char name[TLY_SEGMENT_NAME_BYTES];
    if (s->manifest->is_taken) return; /* another may have one of that name */
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, s->number, name);
    if (tly_storage_remove(s->storage, name) != TLY_OK) s->sweep_due = true;
}

static void end_intent(struct tly_snapshot_writer *s, const char *outcome)
{
    if (s->intent.id[0] == '\0' || s->manifest->is_taken) return;
    if (tly_intent_finish(s->storage, &s->intent, outcome) == TLY_OK)
        tly_manifest_drop_change(s->manifest, s->intent.id);
    else
        s->heal_due = true;
    s->intent = (struct tly_intent){0};
}

static void fail(struct tly_snapshot_writer *s, enum tly_result result, const char *why)
{
    bool is_disks = result == TLY_IO && why[0] != '\0';
    (void)snprintf(s->error, sizeof s->error, "%s", is_disks ? why : tly_result_text(result));
    s->failed++;
    if (s->is_writing) {
        remove_file(s);
        end_writing(s);
    }
    end_intent(s, "discarded");
}

static enum tly_result flush(struct tly_snapshot_writer *s, bool sync)
{
    char name[TLY_SEGMENT_NAME_BYTES];
    tly_segment_name(TLY_SEGMENT_SNAPSHOT, s->number, name);
    enum tly_result result = s->out.result;
    if (result == TLY_OK && s->out.n > 0)
        result = tly_storage_append(s->storage, name, tly_buf_slice(&s->out));
    if (result != TLY_OK) return result;
    s->bytes += s->out.n;
    s->unsynced += s->out.n;
    tly_buf_clear(&s->out);
    if (!sync && s->unsynced < SYNC_BYTES) return TLY_OK;
    s->unsynced = 0;
    return tly_storage_sync(s->storage, name);
}

/* It is named by MANIFEST now. */
static void note_published(struct tly_snapshot_writer *s)
{
    s->is_awaited = false;
    s->published++;
    s->published_bytes = s->bytes;
    s->sweep_due = true;
    end_intent(s, "done");
}

/* One change at a time: the one before is published before another begins. */
static enum tly_result publish_awaited(struct tly_snapshot_writer *s)
{
    /* Nothing is written, not even the intent, where somebody else has come. */
    enum tly_result result = s->manifest->is_changed ? tly_manifest_save(s->storage, s->manifest)
                                                     : tly_manifest_verify(s->storage, s->manifest);
    if (result != TLY_OK) return result;
    if (s->is_awaited) note_published(s);
    return s->manifest->change_count == TLY_CHANGES_MAX ? TLY_FULL : TLY_OK;
}

enum tly_result tly_snapshot_give_way(struct tly_snapshot_writer *s)
{
    if (s->is_writing) fail(s, TLY_STALE, "");
    return publish_awaited(s);
}

static enum tly_result begin_intent(struct tly_snapshot_writer *s, enum tly_change_kind kind,
                                    const char *actor)
{
    enum tly_result result = publish_awaited(s);
    if (result != TLY_OK) return result;
    s->intent = tly_intent_of(kind, actor);
    return tly_intent_write(s->storage, &s->intent);
}

void tly_snapshot_begin(struct tly_snapshot_writer *s, enum tly_change_kind kind, const char *actor)
{
    uint8_t header[TLY_SEGMENT_HEADER_BYTES];
    struct tly_mem mem = tly_libc_mem();
    tly_snapshot_drop(s);
    enum tly_result result = begin_intent(s, kind, actor);
    if (result != TLY_OK) {
        fail(s, result, tly_storage_error(s->storage));
        return;
    }
    result = tly_journal_roll(s->journal, &s->number);
    if (result != TLY_OK) {
        fail(s, TLY_IO, tly_journal_error(s->journal));
        return;
    }
    s->is_writing = true;
    s->bytes = s->unsynced = 0;
    s->sum = (struct tly_segment_sum){0};
    remove_file(s);
    tly_buf_init(&s->out, &mem, 4 * WRITE_BYTES);
    tly_segment_header(TLY_SEGMENT_SNAPSHOT, s->number, header);
    tly_buf_put(&s->out, header, sizeof header);
}

void tly_snapshot_put(struct tly_snapshot_writer *s, struct tly_slice batch)
{
    if (!s->is_writing) return;
    tly_segment_put_batch(&s->out, batch, &s->sum);
    enum tly_result result = s->out.result;
    if (result == TLY_OK && s->out.n >= WRITE_BYTES) result = flush(s, false);
    if (result != TLY_OK) fail(s, result, tly_storage_error(s->storage));
}

void tly_snapshot_end(struct tly_snapshot_writer *s)
{
    if (!s->is_writing) return;
    enum tly_result result = TLY_OK;
    if (tly_journal_is_behind(s->journal)) result = tly_journal_write(s->journal);
    if (result == TLY_OK) result = tly_journal_sync(s->journal);
    if (result != TLY_OK) {
        fail(s, TLY_IO, tly_journal_error(s->journal));
        return;
    }
    tly_segment_put_end(&s->out, &s->sum);
    result = flush(s, true);
    if (result != TLY_OK) {
        fail(s, result, tly_storage_error(s->storage));
        return;
    }
    end_writing(s);
    /* A writing of MANIFEST that fails may have taken effect, so the file is kept from here on, and the writing repeated. */
    tly_journal_drop_before(s->journal, s->number, s->intent.id);
    s->is_awaited = true;
}

void tly_snapshot_drop(struct tly_snapshot_writer *s)
{
    if (!s->is_writing) return;
    remove_file(s);
    end_writing(s);
    end_intent(s, "discarded");
}

void tly_snapshot_settle(struct tly_snapshot_writer *s)
{
    if (s->manifest->is_changed) return;
    if (s->is_awaited) note_published(s);
    /* While nothing is being made, all that MANIFEST does not name is left over. */
    bool all = !s->is_writing && !tly_journal_is_behind(s->journal);
    if (s->sweep_due) s->sweep_due = tly_store_sweep(s->storage, s->manifest, all) != TLY_OK;
}

/* ---- what is left over ---- */

#define STRAYS_MAX 64

struct stray {
    enum tly_segment_kind kind;
    uint64_t number;
};

struct strays {
    const struct tly_manifest *manifest;
    bool all;
    struct stray list[STRAYS_MAX];
    size_t count;
};

static bool is_stray(const struct strays *strays, struct stray file)
{
    const struct tly_manifest *m = strays->manifest;
    if (file.kind == TLY_SEGMENT_SNAPSHOT)
        return file.number != m->snapshot && (strays->all || file.number < m->snapshot);
    for (size_t i = 0; i < m->segment_count; i++)
        if (m->segments[i].number == file.number) return false;
    return strays->all || (m->segment_count > 0 && file.number < m->segments[m->segment_count - 1].number);
}

static void note_stray(void *context, const char *name)
{
    struct strays *strays = context;
    for (struct stray file = {0}; file.kind < TLY_SEGMENT_KINDS; file.kind++)
        if (tly_segment_parse_name(file.kind, name, &file.number) && is_stray(strays, file) &&
            strays->count < STRAYS_MAX)
            strays->list[strays->count++] = file;
}

enum tly_result tly_store_sweep(struct tly_storage *storage, const struct tly_manifest *manifest, bool all)
{
    struct strays strays;
    do {
        strays = (struct strays){.manifest = manifest, .all = all};
        enum tly_result result = tly_storage_list(storage, "", note_stray, &strays);
        for (size_t i = 0; result == TLY_OK && i < strays.count; i++) {
            char name[TLY_SEGMENT_NAME_BYTES];
            tly_segment_name(strays.list[i].kind, strays.list[i].number, name);
            result = tly_storage_remove(storage, name);
        }
        if (result != TLY_OK) return result;
    } while (strays.count == STRAYS_MAX);
    return TLY_OK;
}
