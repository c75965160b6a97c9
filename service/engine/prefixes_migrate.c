/* What a prefix holds under another strategy, and what approves of its loss. */
#include "service/engine/prefixes_internal.h"

#include "wire/pack.h"

/* ---- plans ---- */

/* The number by which an operator says that this, as it is now, may go: alike on all nodes that hold the same. */
static uint64_t approval_of(uint64_t digest, const struct tly_prefix *row, const struct tly_strategy *to)
{
    uint64_t target = to != NULL ? to->id : 0;
    digest = (digest ^ tly_table_word(row) ^ target << 56) * UINT64_C(0x9e3779b97f4a7c15);
    digest ^= digest >> 32;
    return digest != 0 ? digest : 1;
}

/* *conversion: what it becomes; NULL where nothing does. */
static enum tly_result make_plan(struct tly_engine *e, struct home *home, const struct tly_prefix *row,
                                 const struct tly_strategy *to, struct tly_prefix_plan *plan,
                                 struct tly_conversion **conversion)
{
    *conversion = NULL;
    enum tly_result result = tly_flush_seal(e);
    if (result != TLY_OK) return result;
    uint64_t digest = tly_ormap_digest_of(e->map, tly_prefix_is_home, home, &plan->keys);
    plan->lost = plan->keys;
    plan->approval = approval_of(digest, row, to);
    if (to == NULL) return TLY_OK;
    result = tly_conversion_new(e->map, to, tly_prefix_is_home, home, conversion);
    if (result == TLY_OK) plan->lost = tly_conversion_lost(*conversion);
    return result;
}

enum tly_result tly_prefix_plan_of(struct tly_engine *e, const struct tly_registry *table,
                                   const struct tly_prefix *row, const struct tly_strategy *to,
                                   struct tly_prefix_plan *plan)
{
    struct tly_conversion *conversion;
    struct home home = {table, row->prefix};
    enum tly_result result = make_plan(e, &home, row, to, plan, &conversion);
    tly_conversion_free(conversion);
    return result;
}

enum tly_result tly_engine_prefix_plan(struct tly_engine *e, struct tly_slice prefix,
                                       struct tly_slice strategy, struct tly_prefix_plan *plan)
{
    struct tly_prefix row;
    const struct tly_strategy *to = strategy.n > 0 ? tly_strategy_by_name(strategy) : NULL;
    if (strategy.n > 0 && to == NULL) return TLY_NO_SUCH_STRATEGY;
    if (!tly_registry_get(e->registry, prefix, &row) || row.strategy == NULL) return TLY_NO_PREFIX;
    *plan = (struct tly_prefix_plan){0};
    return to == row.strategy ? TLY_OK : tly_prefix_plan_of(e, e->registry, &row, to, plan);
}

enum tly_result tly_prefix_approve(const struct tly_prefix_plan *plan, uint64_t approval)
{
    if (approval == 0) return plan->keys > 0 ? TLY_UNAPPROVED : TLY_OK;
    return approval == plan->approval ? TLY_OK : TLY_APPROVAL_STALE;
}

/* ---- a migration ---- */

/*
 * Also one that loses nothing has to be approved: who approves of the same number holds the same, and so will all that were migrated
 * under it.
 */
enum tly_result tly_draft_migrate(struct draft *draft, const struct tly_prefix_wish *wish)
{
    struct tly_prefix row;
    struct tly_conversion *conversion;
    struct tly_prefix_plan *plan = &draft->reply->plan;
    const struct tly_strategy *to = tly_strategy_by_name(wish->strategy);
    if (to == NULL || tly_table_is_implied(&(struct tly_prefix){.strategy = to})) return TLY_NO_SUCH_STRATEGY;
    if (!tly_registry_get(tly_draft_table(draft), wish->prefix, &row) || row.strategy == NULL)
        return TLY_NO_PREFIX;
    if (tly_prefix_is_first(wish->prefix)) return TLY_PREFIX_BUILT_IN;
    if (row.strategy == to) return TLY_OK;
    struct home home = {tly_draft_table(draft), wish->prefix};
    enum tly_result result = make_plan(draft->e, &home, &row, to, plan, &conversion);
    if (result == TLY_OK) result = tly_prefix_approve(plan, wish->approval);
    row.prefix = wish->prefix;
    row.strategy = to;
    row.generation++;
    if (result == TLY_OK) result = tly_draft_row(draft, &row, TLY_TABLE_MIGRATE, false);
    if (result == TLY_OK)
        draft->conversions[draft->change.changed_count - 1] = conversion;
    else
        tly_conversion_free(conversion);
    return result;
}

/* ---- to the disk ---- */

/* Batches as they grow. */
struct rows {
    struct tly_round_writer writer;
    struct tly_buf *part, *out;
    size_t parts;
};

static enum tly_result end_part(struct rows *rows)
{
    static const struct tly_mark_list none;
    if (rows->writer.rows.result != TLY_OK) return rows->writer.rows.result;
    if (rows->writer.row_count == 0) return TLY_OK;
    if (++rows->parts > TLY_TABLE_PARTS_MAX) return TLY_TOO_LARGE;
    tly_buf_clear(rows->part);
    tly_round_writer_finish(&rows->writer, 0, none, none, rows->part);
    if (rows->part->result != TLY_OK) return rows->part->result;
    tly_put_uint(rows->out, TLY_DO_TABLE_ROWS);
    tly_put_bytes(rows->out, tly_buf_slice(rows->part));
    tly_round_writer_clear(&rows->writer);
    return rows->out->result;
}

static enum tly_result put_key(struct rows *rows, struct tly_slice key, const struct tly_strategy *strategy,
                               const struct tly_dot *dots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tly_round_writer_add(&rows->writer, key, strategy, &dots[i])) continue;
        enum tly_result result = end_part(rows);
        if (result != TLY_OK) return result;
        if (!tly_round_writer_add(&rows->writer, key, strategy, &dots[i])) return rows->writer.rows.result;
    }
    return TLY_OK;
}

static enum tly_result put_conversion(struct rows *rows, struct tly_conversion *conversion,
                                      const struct tly_strategy *strategy)
{
    size_t cursor = 0, count;
    struct tly_slice key;
    enum tly_result result = TLY_OK;
    const struct tly_dot *dots;
    while (result == TLY_OK && (dots = tly_conversion_next(conversion, &cursor, &key, &count)) != NULL)
        result = put_key(rows, key, strategy, dots, count);
    return result;
}

enum tly_result tly_draft_put_rows(const struct draft *draft, struct tly_buf *out)
{
    struct rows rows = {.part = &draft->e->part, .out = out};
    enum tly_result result = TLY_OK;
    tly_round_writer_init(&rows.writer, &draft->e->mem);
    for (size_t i = 0; result == TLY_OK && i < draft->change.changed_count; i++) {
        struct tly_prefix row;
        if (draft->conversions[i] == NULL) continue;
        (void)tly_registry_get(draft->next, draft->change.changed[i].prefix, &row);
        result = put_conversion(&rows, draft->conversions[i], row.strategy);
    }
    if (result == TLY_OK) result = end_part(&rows);
    tly_round_writer_fini(&rows.writer);
    return result;
}
