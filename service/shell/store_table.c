#include "service/shell/store_table.h"

#include "service/shell/libc_mem.h"
#include "wire/frame.h"
#include "wire/pack.h"
#include "wire/table.h"

#include <assert.h>
#include <stdio.h>

static_assert(TLY_TABLE_REGISTER == (int)TLY_CHANGE_REGISTER && TLY_TABLE_DROP == (int)TLY_CHANGE_DROP &&
                  TLY_TABLE_MIGRATE == (int)TLY_CHANGE_MIGRATE && TLY_TABLE_BATCH == (int)TLY_CHANGE_BATCH,
              "kinds of changes are numbered alike");
static_assert(TLY_TABLE_CHANGED_MAX <= TLY_INTENT_PREFIXES_MAX && TLY_TABLE_ACTOR_MAX <= TLY_INTENT_ACTOR_MAX,
              "every change fits into an intent");

static enum tly_result fail(struct tly_table_writer *t, enum tly_result result, const char *why)
{
    (void)snprintf(t->error, sizeof t->error, "%s", why[0] != '\0' ? why : tly_result_text(result));
    return result;
}

static enum tly_result write_intent(struct tly_table_writer *t, const struct tly_table_change *change)
{
    struct tly_storage *storage = t->snapshot->storage;
    enum tly_result result = tly_snapshot_give_way(t->snapshot);
    if (result != TLY_OK) return fail(t, result, tly_storage_error(storage));
    if (t->intent.id[0] == '\0') {
        char actor[TLY_INTENT_ACTOR_MAX + 1];
        (void)snprintf(actor, sizeof actor, "%.*s", (int)change->actor.n, (const char *)change->actor.p);
        t->intent = tly_intent_of((enum tly_change_kind)change->kind, actor);
        bool fits = true;
        for (size_t i = 0; i < change->changed_count; i++)
            fits = fits && tly_intent_add_prefix(&t->intent, change->changed[i].prefix);
        assert(fits);
        (void)fits;
    }
    result = tly_intent_write(storage, &t->intent);
    return result == TLY_OK ? TLY_OK : fail(t, result, tly_storage_error(storage));
}

/* ---- the table ---- */

static const struct tly_table_changed *find_changed(const struct tly_table_change *change,
                                                    struct tly_slice prefix)
{
    for (size_t i = 0; i < change->changed_count; i++)
        if (tly_slice_equal(change->changed[i].prefix, prefix)) return &change->changed[i];
    return NULL;
}

/* A prefix that is not in question keeps its beginning; one that nothing is said of yet, that of its keys' home. */
static uint64_t from_of(const struct tly_table_writer *t, const struct tly_table_change *change,
                        struct tly_slice prefix)
{
    const struct tly_table_changed *changed = find_changed(change, prefix);
    if (changed != NULL && !changed->keeps) return t->from;
    const struct tly_manifest_prefix *home = tly_manifest_home(t->snapshot->manifest, prefix);
    return home != NULL ? home->from : 0;
}

static void list_table(struct tly_table_writer *t, const struct tly_table_change *change)
{
    struct tly_manifest *m = t->snapshot->manifest;
    static_assert(sizeof m->prefixes <= (size_t)32 * 1024, "it may lie on the stack");
    struct tly_manifest_prefix next[TLY_PREFIXES_MAX];
    struct tly_prefixes rows = change->rows;
    struct tly_slice prefix;
    size_t count = 0;
    for (uint64_t word; count < TLY_PREFIXES_MAX && tly_prefixes_next(&rows, &prefix, &word); count++) {
        struct tly_manifest_prefix *row = &next[count];
        *row = (struct tly_manifest_prefix){
            .n = (uint8_t)prefix.n, .word = word, .from = from_of(t, change, prefix)};
        if (prefix.n > 0) memcpy(row->bytes, prefix.p, prefix.n);
    }
    memcpy(m->prefixes, next, count * sizeof *next);
    m->prefix_count = count;
    tly_manifest_add_change(m, t->intent.id);
}

/* The new table, published with the segment to come; while it is not, the manifest has the old one, whoever saves it. */
static enum tly_result publish(struct tly_table_writer *t, const struct tly_table_change *change)
{
    struct tly_manifest *m = t->snapshot->manifest;
    struct tly_manifest_prefix before[TLY_PREFIXES_MAX];
    size_t count = m->prefix_count;
    memcpy(before, m->prefixes, count * sizeof *before);
    list_table(t, change);
    enum tly_result result = tly_journal_write(t->snapshot->journal);
    if (result == TLY_OK) return TLY_OK;
    memcpy(m->prefixes, before, count * sizeof *before);
    m->prefix_count = count;
    tly_manifest_drop_change(m, t->intent.id);
    return fail(t, result, tly_journal_error(t->snapshot->journal));
}

/* ---- the batches of a change ---- */

void tly_table_writer_init(struct tly_table_writer *t, struct tly_snapshot_writer *snapshot)
{
    struct tly_mem mem = tly_libc_mem();
    *t = (struct tly_table_writer){.snapshot = snapshot};
    tly_buf_init(&t->rows, &mem, SIZE_MAX);
}

void tly_table_writer_fini(struct tly_table_writer *t)
{
    tly_buf_fini(&t->rows);
}

enum tly_result tly_table_add_rows(struct tly_table_writer *t, struct tly_slice batch)
{
    size_t before = t->rows.n;
    tly_put_bytes(&t->rows, batch);
    enum tly_result result = t->rows.result;
    if (result == TLY_OK) return TLY_OK;
    t->rows.n = before;
    t->rows.result = TLY_OK;
    return fail(t, result, "");
}

static enum tly_result put_rows(struct tly_table_writer *t, uint64_t number)
{
    struct tly_slice rows = tly_buf_slice(&t->rows);
    while (t->rows_put < rows.n) {
        struct tly_cursor cursor = tly_cursor_of(tly_slice_of(rows.p + t->rows_put, rows.n - t->rows_put));
        struct tly_slice batch = tly_get_bytes(&cursor, TLY_FRAME_BODY_MAX);
        assert(cursor.result == TLY_OK);
        enum tly_result result = tly_journal_put(t->snapshot->journal, number, batch);
        if (result != TLY_OK) return fail(t, result, tly_journal_error(t->snapshot->journal));
        t->rows_put = rows.n - tly_cursor_left(&cursor);
    }
    return TLY_OK;
}

static void forget_rows(struct tly_table_writer *t)
{
    struct tly_mem mem = t->rows.mem;
    tly_buf_fini(&t->rows);
    tly_buf_init(&t->rows, &mem, SIZE_MAX);
    t->rows_put = 0;
}

/* ---- the steps ---- */

static enum tly_result finish(struct tly_table_writer *t, uint64_t number)
{
    struct tly_snapshot_writer *s = t->snapshot;
    tly_journal_note(s->journal, number);
    if (tly_intent_finish(s->storage, &t->intent, "done") == TLY_OK)
        tly_manifest_drop_change(s->manifest, t->intent.id);
    else
        s->heal_due = true;
    s->sweep_due = true;
    forget_rows(t);
    t->intent = (struct tly_intent){0};
    t->step = TLY_TABLE_BEGINS;
    t->published++;
    return TLY_OK;
}

static enum tly_result cut(struct tly_table_writer *t)
{
    struct tly_journal *journal = t->snapshot->journal;
    enum tly_result result = tly_journal_cut(journal, &t->from);
    return result == TLY_OK ? TLY_OK : fail(t, result, tly_journal_error(journal));
}

static enum tly_result take_step(struct tly_table_writer *t, uint64_t number,
                                 const struct tly_table_change *change)
{
    switch (t->step) {
    case TLY_TABLE_BEGINS: return write_intent(t, change);
    case TLY_TABLE_INTENT: return cut(t);
    case TLY_TABLE_CUT: return put_rows(t, number);
    case TLY_TABLE_ROWS: break;
    }
    return publish(t, change);
}

enum tly_result tly_table_write(struct tly_table_writer *t, uint64_t number, struct tly_slice bytes)
{
    struct tly_table_change change;
    enum tly_result result = tly_table_change_get(bytes, &change);
    if (result != TLY_OK) return fail(t, result, "");
    for (;;) {
        result = take_step(t, number, &change);
        if (result != TLY_OK) return result;
        if (t->step == TLY_TABLE_ROWS) return finish(t, number);
        t->step++;
    }
}
