#include "service/shell/store_install.h"

void tly_install_writer_init(struct tly_install_writer *t, struct tly_snapshot_writer *compaction)
{
    *t = (struct tly_install_writer){.compaction = compaction};
    t->file.storage = compaction->storage;
    t->file.manifest = compaction->manifest;
    t->file.journal = compaction->journal;
}

/* One of the two looks after what is left over. */
static void hand_leftovers(struct tly_install_writer *t)
{
    t->compaction->sweep_due = t->compaction->sweep_due || t->file.sweep_due;
    t->compaction->heal_due = t->compaction->heal_due || t->file.heal_due;
    t->file.sweep_due = t->file.heal_due = false;
}

static void end_failed(struct tly_install_writer *t)
{
    t->is_open = false;
    t->has_failed = true;
    t->failed++;
    hand_leftovers(t);
}

void tly_install_writer_drop(struct tly_install_writer *t)
{
    tly_snapshot_drop(&t->file);
    t->is_open = false;
    hand_leftovers(t);
}

static void begin(struct tly_install_writer *t)
{
    if (t->is_open) tly_install_writer_drop(t);
    t->file.error[0] = '\0';
    /* What does not give way now stands in the way of the next step, which fails and says why. */
    if (tly_snapshot_give_way(t->compaction) == TLY_OK || !t->compaction->is_awaited)
        tly_snapshot_begin(&t->file, TLY_CHANGE_INSTALL, "peer");
    t->is_open = t->file.is_writing;
    if (!t->is_open) end_failed(t);
}

static enum tly_result finish(struct tly_install_writer *t)
{
    if (!t->file.is_awaited) tly_snapshot_end(&t->file);
    if (!t->file.is_awaited) {
        end_failed(t);
        return TLY_OK;
    }
    enum tly_result result = tly_snapshot_give_way(&t->file);
    if (result != TLY_OK && t->file.is_awaited) return result;
    t->is_open = t->has_failed = false;
    t->compaction->published_bytes = t->file.published_bytes;
    hand_leftovers(t);
    return TLY_OK;
}

enum tly_result tly_install_write(struct tly_install_writer *t, enum tly_effect_kind kind, uint64_t number,
                                  struct tly_slice batch)
{
    if (kind == TLY_DO_INSTALL_FIRST) begin(t);
    if (!t->is_open) return TLY_OK;
    if (!t->file.is_awaited) tly_snapshot_put(&t->file, batch);
    if (!t->file.is_awaited && !t->file.is_writing) {
        end_failed(t);
        return TLY_OK;
    }
    if (kind == TLY_DO_INSTALL_LAST) {
        enum tly_result result = finish(t);
        if (result != TLY_OK || t->has_failed) return result;
    }
    tly_journal_note(t->file.journal, number);
    return TLY_OK;
}
