/*
 * Archives: writing one while the node works on, and joining one whole.
 *
 * An export is a follower of the log that has nothing: it hands over, life by life, what stands, and is done when it has caught
 * up.  So a key whose dot is replaced while the export runs is in it all the same, with the newer one.
 */
#include "wire/archive.h"

#include "service/engine/impl.h"
#include "service/engine/limit.h"

#include <assert.h>

/* Records looked at in one go, whether they have the prefix or not, and bytes of rows. */
#define SCANNED_MAX 2000
#define ROWS_BYTES (12u * 1024u)

static bool is_sys(struct tly_slice key)
{
    return tly_slice_begins(key, tly_slice_text("sys:"));
}

/* ---- exports ---- */

/* Everything of a life below ts was handed over, and the first `nth` of the dots at ts: two may be forged with one version. */
struct passed {
    uint64_t ts;
    size_t nth;
};

struct tly_export {
    struct tly_engine *engine;
    struct tly_export *next;
    uint8_t prefix[TLY_KEY_BYTES_MAX];
    size_t prefix_bytes;
    uint64_t wall_ns;
    bool begun;
    bool stale;            /* lives have other numbers now, or the map was replaced: it cannot go on */
    struct passed *passed; /* by number of life */
    size_t lives, capacity;
    size_t budget; /* records that may still be looked at in this piece */
    struct tly_round_writer rows;
    struct tly_archive_writer writer;
};

static size_t count_exports(const struct tly_engine *e)
{
    size_t count = 0;
    for (const struct tly_export *export = e->exports; export != NULL; export = export->next)
        count++;
    return count;
}

enum tly_result tly_export_new(struct tly_engine *e, struct tly_slice prefix, struct tly_time now,
                               struct tly_export **out)
{
    if (prefix.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    if (count_exports(e) == TLY_EXPORTS_MAX) return TLY_FULL;
    struct tly_export *export = tly_mem_zeroed(&e->mem, sizeof *export);
    if (export == NULL) return TLY_NOMEM;
    if (prefix.n > 0) memcpy(export->prefix, prefix.p, prefix.n);
    export->prefix_bytes = prefix.n;
    export->wall_ns = now.wall_ns;
    export->engine = e;
    export->next = e->exports;
    e->exports = export;
    tly_round_writer_init(&export->rows, &e->mem);
    tly_archive_writer_init(&export->writer, &e->mem);
    *out = export;
    return TLY_OK;
}

void tly_export_free(struct tly_export *export)
{
    if (export == NULL) return;
    struct tly_engine *e = export->engine;
    struct tly_export **at = &e->exports;
    while (*at != export)
        at = &(*at)->next;
    *at = export->next;
    tly_mem_free(&e->mem, export->passed, export->capacity * sizeof *export->passed);
    tly_round_writer_fini(&export->rows);
    tly_archive_writer_fini(&export->writer);
    tly_mem_free(&e->mem, export, sizeof *export);
}

void tly_exports_rewind(struct tly_engine *e, size_t life, uint64_t ts)
{
    for (struct tly_export *export = e->exports; export != NULL; export = export->next)
        if (life < export->lives && export->passed[life].ts >= ts)
            export->passed[life] = (struct passed){.ts = ts - 1};
}

void tly_exports_fail(struct tly_engine *e)
{
    for (struct tly_export *export = e->exports; export != NULL; export = export->next)
        export->stale = true;
}

static enum tly_result put_head(struct tly_export *export, struct tly_buf *out)
{
    struct tly_engine *e = export->engine;
    struct own_marks own;
    if (!tly_own_marks_init(e, &own)) return TLY_NOMEM;
    struct tly_archive_head head = {
        .cluster = tly_slice_text(e->cluster),
        .name = tly_slice_text(e->name),
        .prefix = tly_slice_of(export->prefix, export->prefix_bytes),
        .origin = tly_ormap_origin(e->map),
        .wall_ns = export->wall_ns,
    };
    tly_archive_put_head(&export->writer, &head, (struct tly_mark_list){own.marks, own.count}, out);
    tly_own_marks_fini(e, &own);
    export->begun = true;
    return out->result;
}

static bool cover_lives(struct tly_export *export)
{
    size_t lives = tly_ormap_lives(export->engine->map);
    if (lives <= export->lives) return true;
    void *passed = tly_mem_reserve(&export->engine->mem, export->passed, &export->capacity, lives,
                                   sizeof *export->passed);
    if (passed == NULL) return false;
    export->passed = passed;
    for (size_t i = export->lives; i < lives; i++)
        export->passed[i] = (struct passed){0};
    export->lives = lives;
    return true;
}

static bool wants(const struct tly_export *export, struct tly_slice key)
{
    if (export->prefix_bytes == 0) return !is_sys(key);
    return tly_slice_begins(key, tly_slice_of(export->prefix, export->prefix_bytes));
}

/* One dot; false: the piece is full. */
static bool pass(struct tly_export *export, struct passed *passed, const struct tly_scanned *scanned)
{
    if (export->budget == 0 || tly_round_writer_bytes(&export->rows) >= ROWS_BYTES) return false;
    export->budget--;
    if (wants(export, scanned->key) &&
        !tly_round_writer_add(&export->rows, scanned->key, scanned->strategy, &scanned->dot))
        return false;
    uint64_t ts = scanned->dot.version.ts;
    *passed = (struct passed){ts, ts == passed->ts ? passed->nth + 1 : 1};
    return true;
}

/* What stands of one life beyond what was passed; false: the piece is full. */
static bool pass_life(struct tly_export *export, size_t life)
{
    struct tly_ormap *map = export->engine->map;
    struct passed *passed = &export->passed[life];
    uint64_t from = passed->ts;
    size_t known = passed->nth;
    struct tly_scan scan = tly_scan_of(map, life, known > 0 ? from - 1 : from);
    for (struct tly_scanned scanned; tly_scan_next(map, &scan, &scanned);) {
        if (known > 0 && scanned.dot.version.ts == from) {
            known--;
            continue;
        }
        if (!pass(export, passed, &scanned)) return false;
    }
    return true;
}

enum tly_result tly_export_next(struct tly_export *export, struct tly_buf *out, bool *done)
{
    *done = false;
    if (export->stale) return TLY_STALE;
    enum tly_result result = tly_flush_seal(export->engine);
    if (result == TLY_OK && !export->begun) result = put_head(export, out);
    if (result != TLY_OK) return result;
    if (!cover_lives(export)) return TLY_NOMEM;

    tly_round_writer_clear(&export->rows);
    export->budget = SCANNED_MAX;
    bool caught_up = true;
    for (size_t i = 0; i < export->lives && caught_up; i++)
        caught_up = pass_life(export, i);
    if (export->rows.rows.result != TLY_OK) return export->rows.rows.result;
    if (export->rows.row_count > 0) tly_archive_put_rows(&export->writer, &export->rows, out);
    if (caught_up) tly_archive_put_end(&export->writer, out);
    *done = caught_up;
    return out->result;
}

/* ---- applying ---- */

/* What one of the passes over an archive does with each row; i counts rows. */
struct visit {
    struct tly_engine *e;
    struct tly_applied *applied;
    struct tly_archive_reader reader;
    struct staged *staged; /* by row */
    size_t rows;           /* to be visited */
    size_t rows_max;       /* of an archive */
    enum tly_result (*row)(struct visit *visit, const struct tly_row *row, size_t i);
};

struct staged {
    int64_t units_before; /* of a bucket's shard */
    bool taken;
    struct tly_before before; /* what its key read as, if somebody watches */
};

static enum tly_result blame(struct visit *visit, struct tly_slice key, enum tly_result result)
{
    memcpy(visit->e->key, key.p, key.n);
    visit->applied->key = tly_slice_of(visit->e->key, key.n);
    return result;
}

static enum tly_result visit_rows(struct visit *visit, const struct tly_round *round, size_t *i)
{
    struct tly_rows rows = tly_rows_of(round);
    enum tly_result result = TLY_OK;
    for (struct tly_row row; result == TLY_OK && *i < visit->rows && tly_rows_next(&rows, &row); (*i)++) {
        result = visit->row(visit, &row, *i);
        if (result != TLY_OK) return blame(visit, row.key, result);
    }
    return result;
}

/* Reads the archive from its beginning to its end; applied->offset is where it failed. *rows: how many were visited. */
static enum tly_result each_row(struct visit *visit, struct tly_slice archive, size_t *rows)
{
    struct tly_archive_reader *reader = &visit->reader;
    struct tly_archive_item item;
    enum tly_result result = TLY_OK;
    tly_archive_reader_rewind(reader);
    *rows = 0;
    while (result == TLY_OK && !(reader->has_end && reader->offset == archive.n)) {
        size_t consumed, at = (size_t)reader->offset;
        visit->applied->offset = at;
        result = tly_archive_get(reader, tly_slice_of(archive.p + at, archive.n - at), &item, &consumed);
        if (result == TLY_OK && item.part == TLY_ARCHIVE_ROWS) result = visit_rows(visit, &item.rows, rows);
    }
    return result;
}

/* Whether the dot stands here, or is redundant. */
static bool is_known(struct tly_engine *e, const struct tly_row *row)
{
    const struct tly_entry *entry = tly_ormap_find(e->map, row->key);
    if (entry == NULL) return false;
    size_t count;
    const struct tly_dot *dots = tly_entry_dots(e->map, entry, &count);
    for (size_t i = 0; i < count; i++)
        if (tly_dot_equal(&dots[i], &row->dot) ||
            tly_dominates(tly_entry_strategy(entry), &dots[i], &row->dot))
            return true;
    return false;
}

static enum tly_result judge_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    struct tly_engine *e = visit->e;
    if (i == visit->rows_max) return TLY_TOO_LARGE;
    const struct tly_strategy *strategy = tly_registry_find(e->registry, row->key);
    if (strategy != NULL && strategy->id != row->strategy_id) return TLY_WRONG_STRATEGY;
    enum tly_result result = tly_ormap_admits(e->map, row->key, &row->dot);
    if (result != TLY_OK) return result;
    if (is_sys(row->key)) return TLY_READ_ONLY;
    result = tly_dot_check(strategy, &row->dot);
    bool is_own = row->dot.version.origin == tly_ormap_origin(e->map);
    if (result == TLY_OK && is_own && !is_known(e, row)) result = TLY_OWN_LIFE;
    return result;
}

static enum tly_result see_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    visit->staged[i] = (struct staged){.before = tly_watch_before(visit->e, row->key)};
    return TLY_OK;
}

static enum tly_result tell_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    const struct staged *staged = &visit->staged[i];
    if (staged->taken) tly_watch_after(visit->e, row->key, staged->before, row->dot.version.origin);
    return TLY_OK;
}

static enum tly_result stage_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    struct tly_engine *e = visit->e;
    struct staged *staged = &visit->staged[i];
    if (e->watch_count == 0) staged->before = (struct tly_before){0};
    staged->units_before = 0;
    staged->taken = false;
    if (row->dot.version.origin == tly_ormap_origin(e->map)) return TLY_OK;
    if (tly_limit_is_bucket(row->key, &row->dot))
        staged->units_before = tly_limit_units(e->map, row->key, &row->dot);
    enum tly_outcome outcome;
    enum tly_result result = tly_ormap_stage(e->map, row->key, &row->dot, &outcome);
    staged->taken = result == TLY_OK && outcome == TLY_APPLIED;
    return result;
}

static enum tly_result settle_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    struct tly_engine *e = visit->e;
    if (!visit->staged[i].taken) return TLY_OK;
    tly_ormap_settle(e->map, row->key, &row->dot);
    tly_session_rewind(e, &row->dot);
    if (tly_limit_is_bucket(row->key, &row->dot))
        tly_limit_learned(e->map, row->key, &row->dot, visit->staged[i].units_before, e->cluster_ns);
    visit->applied->applied++;
    visit->applied->repaired += row->dot.version.ts <= tly_ormap_mark(e->map, row->dot.version.origin);
    return TLY_OK;
}

static enum tly_result unstage_row(struct visit *visit, const struct tly_row *row, size_t i)
{
    if (visit->staged[i].taken) tly_ormap_unstage(visit->e->map, row->key, &row->dot);
    return TLY_OK;
}

/* For what cannot fail: the archive was read to its end before, and memory to decompress it is there. */
static void each_row_again(struct visit *visit, struct tly_slice archive)
{
    size_t rows;
    enum tly_result result = each_row(visit, archive, &rows);
    assert(result == TLY_OK);
    (void)result;
}

static void watch_each(struct visit *visit, struct tly_slice archive,
                       enum tly_result row(struct visit *visit, const struct tly_row *row, size_t i))
{
    if (visit->e->watch_count == 0) return;
    visit->row = row;
    each_row_again(visit, archive);
}

/* All rows are in order. What a failed staging leaves is taken out again; while something is staged nothing is read. */
static enum tly_result join_all(struct visit *visit, struct tly_slice archive)
{
    size_t done;
    watch_each(visit, archive, see_row);
    visit->row = stage_row;
    enum tly_result result = each_row(visit, archive, &done);
    struct tly_applied why = *visit->applied;
    visit->rows = result == TLY_OK ? SIZE_MAX : done;
    visit->row = result == TLY_OK ? settle_row : unstage_row;
    each_row_again(visit, archive);
    if (result == TLY_OK) watch_each(visit, archive, tell_row);
    if (result != TLY_OK) *visit->applied = why;
    return result;
}

static enum tly_result apply(struct visit *visit, struct tly_slice archive)
{
    struct tly_engine *e = visit->e;
    /* A shard of one's own that was counted into since its version was given would not be known again. */
    enum tly_result result = tly_flush_seal(e);
    visit->row = judge_row;
    visit->rows = SIZE_MAX;
    size_t rows = 0;
    if (result == TLY_OK) result = each_row(visit, archive, &rows);
    visit->applied->rows = rows;
    if (result != TLY_OK || rows == 0) return result;
    visit->staged = tly_mem_new(&e->mem, rows * sizeof *visit->staged);
    if (visit->staged == NULL) return TLY_NOMEM;
    result = join_all(visit, archive);
    tly_mem_free(&e->mem, visit->staged, rows * sizeof *visit->staged);
    return result;
}

enum tly_result tly_archive_apply(struct tly_engine *e, struct tly_slice archive, size_t rows_max,
                                  struct tly_applied *applied)
{
    struct visit visit = {.e = e, .applied = applied, .rows_max = rows_max};
    tly_archive_reader_init(&visit.reader, &e->mem);
    enum tly_result result = apply(&visit, archive);
    tly_archive_reader_fini(&visit.reader);
    if (result == TLY_OK) {
        e->stats.archives_applied++;
        e->stats.dots_repaired += applied->repaired;
    } else {
        e->stats.archives_refused++;
        applied->applied = applied->repaired = 0;
    }
    return result;
}

/* ---- one key ---- */

enum tly_result tly_engine_entry(struct tly_engine *e, struct tly_slice key, struct tly_entry_view *view)
{
    *view = (struct tly_entry_view){0};
    if (key.n == 0 || key.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
    view->strategy = tly_registry_find(e->registry, key);
    if (view->strategy == NULL) return TLY_NO_STRATEGY;
    struct tly_entry *entry = tly_ormap_find(e->map, key);
    if (entry == NULL) return TLY_NOT_FOUND;
    view->now_ms = e->cluster_ns / NS_PER_MS;
    view->unsealed = tly_entry_is_unsealed(entry);
    const uint64_t *local = tly_entry_local(entry);
    view->is_bucket = local != NULL && local[TLY_BUCKET_EMISSION] != 0;
    if (view->is_bucket) {
        view->tat_ns = local[TLY_BUCKET_TAT];
        view->emission_ns = local[TLY_BUCKET_EMISSION];
        view->tolerance_ns = local[TLY_BUCKET_TOLERANCE];
    }
    view->dots = tly_entry_dots(e->map, entry, &view->count);
    return TLY_OK;
}
