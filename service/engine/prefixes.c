/*
 * The table of prefixes, and how it changes.
 *
 * A change is made whole in memory at once: a new table, and what was under a dropped prefix is gone without a trace.  The disk gets it
 * as one of its batches, between those before and those after it (wire/table.h).  What has no trace comes back from whoever has it still,
 * so a node speaks with those only whose table says the same: every session ends with a change, and the next HELLO decides.
 *
 *     their generation is higher, and nothing is here under that prefix     this node follows, and dials again
 *     … and something is here                                             refused: an operator says here too what is to become of it
 *     the same generation and another strategy                            refused
 */
#include "service/engine/prefixes_internal.h"

#include "wire/pack.h"

#include <assert.h>

static const struct {
    const char *prefix;
    uint64_t strategy;
} first_prefixes[] = {
    {"", TLY_EPOCH_SUM},     {"rl:", TLY_EPOCH_SUM},
    {"ctr:", TLY_EPOCH_SUM}, {"em:", TLY_EPOCH_MAX},
    {"kv:", TLY_LWW},        {"config:", TLY_LWW},
    {"policy:", TLY_LWW},    {"worker:", TLY_LWW},
    {"sys:", TLY_LWW},       {TLY_RIGHTS_PREFIX, TLY_ESCROW},
};

bool tly_prefix_is_first(struct tly_slice prefix)
{
    for (size_t i = 0; i < sizeof first_prefixes / sizeof first_prefixes[0]; i++)
        if (tly_slice_equal(prefix, tly_slice_text(first_prefixes[i].prefix))) return true;
    return false;
}

static enum tly_result set_row(struct tly_registry **table, const struct tly_prefix *row)
{
    struct tly_registry *next;
    enum tly_result result = tly_registry_set(*table, row, &next);
    if (result != TLY_OK) return result;
    tly_registry_free(*table);
    *table = next;
    return TLY_OK;
}

enum tly_result tly_prefixes_init(struct tly_engine *e)
{
    tly_buf_init(&e->table_news, &e->mem, TLY_TABLE_NEWS_MAX);
    e->registry = tly_registry_new(&e->mem);
    if (e->registry == NULL) return TLY_NOMEM;
    for (size_t i = 0; i < sizeof first_prefixes / sizeof first_prefixes[0]; i++) {
        struct tly_prefix row = {tly_slice_text(first_prefixes[i].prefix),
                                 tly_strategy_by_id(first_prefixes[i].strategy), 0};
        enum tly_result result = set_row(&e->registry, &row);
        if (result != TLY_OK) return result;
    }
    return TLY_OK;
}

/* ---- a table in place of another ---- */

bool tly_prefix_is_home(void *context, struct tly_slice key)
{
    const struct home *home = context;
    struct tly_prefix found;
    if (!tly_slice_begins(key, home->prefix)) return false;
    return !tly_registry_home(home->table, key, &found) || found.prefix.n <= home->prefix.n;
}

size_t tly_prefix_count(struct tly_engine *e, const struct tly_registry *table, struct tly_slice prefix)
{
    size_t count = 0, cursor = 0;
    struct home home = {table, prefix};
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;)
        count += tly_prefix_is_home(&home, tly_entry_key(entry));
    return count;
}

void tly_prefixes_step(struct tly_engine *e)
{
    if (!e->greets_anew) return;
    e->greets_anew = false;
    while (e->conn_count > 0)
        tly_conn_end(e, e->conns[e->conn_count - 1], "prefix", "the table of prefixes was changed here");
    for (size_t i = 0; i < e->target_count; i++) {
        e->targets[i]->backoff_ns = TLY_BACKOFF_MIN_NS;
        if (!e->targets[i]->has_left) e->targets[i]->next_at = e->now.mono_ns;
    }
}

/* What is under way was begun with the old table, or would miss what goes. */
static void use_table(struct tly_engine *e, struct tly_registry *next)
{
    tly_snap_drop_aside(e);
    tly_snap_fini(e, &e->coming);
    tly_exports_fail(e);
    tly_late_reset(e);
    tly_watch_resync(e);
    tly_ormap_use_registry(e->map, next);
    tly_registry_free(e->registry);
    e->registry = next;
    e->greets_anew = true;
}

/* ---- to the disk ---- */

bool tly_prefixes_wait(const struct tly_engine *e)
{
    return e->table_news.n > e->table_handed;
}

static enum tly_result put_news(struct draft *draft)
{
    struct tly_engine *e = draft->e;
    if (!e->has_store) return TLY_OK;
    size_t before = e->table_news.n;
    enum tly_result result = tly_draft_put_rows(draft, &e->table_news);
    tly_buf_clear(&e->part);
    tly_table_change_put(&e->part, &draft->change, draft->next);
    if (result == TLY_OK) result = e->part.result;
    tly_put_uint(&e->table_news, TLY_DO_TABLE);
    tly_put_bytes(&e->table_news, tly_buf_slice(&e->part));
    if (result == TLY_OK) result = e->table_news.result;
    if (result != TLY_OK) e->table_news.n = before;
    e->table_news.result = TLY_OK;
    tly_buf_clear(&e->part);
    return result;
}

void tly_prefixes_hand_over(struct tly_engine *e)
{
    struct tly_slice news = tly_buf_slice(&e->table_news);
    struct tly_cursor cursor =
        tly_cursor_of(tly_slice_of(news.p + e->table_handed, news.n - e->table_handed));
    enum tly_effect_kind kind = (enum tly_effect_kind)tly_get_uint(&cursor);
    struct tly_slice bytes = tly_get_bytes(&cursor, TLY_FRAME_BODY_MAX);
    assert(cursor.result == TLY_OK && (kind == TLY_DO_TABLE || kind == TLY_DO_TABLE_ROWS));
    tly_fx_add(e, kind, 0, ++e->batch, bytes);
    if (kind == TLY_DO_TABLE) e->tickets[e->ticket_count++] = (struct ticket){e->ticket_open++, e->batch};
    e->table_handed = news.n - tly_cursor_left(&cursor);
    if (tly_prefixes_wait(e)) return;
    tly_buf_fini(&e->table_news);
    tly_buf_init(&e->table_news, &e->mem, TLY_TABLE_NEWS_MAX);
    e->table_handed = 0;
}

enum tly_result tly_engine_use_table(struct tly_engine *e, struct tly_slice table)
{
    assert(tly_ormap_origin(e->map) == 0);
    struct tly_cursor cursor = tly_cursor_of(table);
    struct tly_prefixes rows = tly_table_get(&cursor);
    enum tly_result result = tly_cursor_end(&cursor);
    if (result != TLY_OK) return result;
    struct tly_prefix row;
    for (uint64_t word; tly_prefixes_next(&rows, &row.prefix, &word);) {
        if (!tly_table_from_word(word, &row)) return TLY_WRONG_STRATEGY;
        struct tly_registry *next;
        result = tly_registry_set(e->registry, &row, &next);
        if (result != TLY_OK) return result;
        tly_ormap_use_registry(e->map, next);
        tly_registry_free(e->registry);
        e->registry = next;
    }
    return TLY_OK;
}

void tly_engine_leave_out(struct tly_engine *e, tly_concerns *leaves_out, void *context)
{
    e->leaves_out = leaves_out;
    e->leaves_context = context;
}

/* ---- what an operator wants ---- */

struct tly_registry *tly_draft_table(const struct draft *draft)
{
    return draft->next != NULL ? draft->next : draft->e->registry;
}

enum tly_result tly_draft_row(struct draft *draft, const struct tly_prefix *row, uint64_t kind, bool keeps)
{
    struct tly_table_change *change = &draft->change;
    if (change->changed_count == TLY_TABLE_CHANGED_MAX) return TLY_BAD_PREFIX;
    for (size_t i = 0; i < change->changed_count; i++)
        if (tly_slice_equal(change->changed[i].prefix, row->prefix)) return TLY_PREFIX_TAKEN;
    struct tly_registry *next;
    enum tly_result result = tly_registry_set(tly_draft_table(draft), row, &next);
    if (result != TLY_OK) return result;
    tly_registry_free(draft->next);
    draft->next = next;
    change->kind = change->changed_count == 0 ? kind : TLY_TABLE_BATCH;
    change->changed[change->changed_count++] = (struct tly_table_changed){row->prefix, keeps};
    return TLY_OK;
}

static enum tly_result draft_register(struct draft *draft, const struct tly_prefix_wish *wish)
{
    const struct tly_registry *table = tly_draft_table(draft);
    struct tly_prefix known = {0}, row = {wish->prefix, tly_strategy_by_name(wish->strategy), 0};
    /* Rights are under the prefix that all nodes know them by, and no other. */
    if (row.strategy == NULL || tly_table_is_implied(&row)) return TLY_NO_SUCH_STRATEGY;
    bool is_known = tly_registry_get(table, wish->prefix, &known);
    if (is_known && known.strategy == row.strategy) return TLY_OK;
    if (is_known && known.strategy != NULL) return TLY_PREFIX_TAKEN;
    row.generation = known.generation + 1;
    bool keeps = tly_registry_find(table, wish->prefix) == row.strategy;
    /* Keys that exist keep the strategy they have: a new prefix must not claim them for another. */
    if (!keeps && tly_prefix_count(draft->e, table, wish->prefix) > 0) return TLY_PREFIX_TAKEN;
    return tly_draft_row(draft, &row, TLY_TABLE_REGISTER, keeps);
}

static enum tly_result draft_drop(struct draft *draft, const struct tly_prefix_wish *wish)
{
    struct tly_prefix row;
    if (!tly_registry_get(draft->e->registry, wish->prefix, &row) || row.strategy == NULL)
        return TLY_NO_PREFIX;
    if (tly_prefix_is_first(wish->prefix)) return TLY_PREFIX_BUILT_IN;
    struct tly_prefix_plan *plan = &draft->reply->plan;
    enum tly_result result = tly_prefix_plan_of(draft->e, tly_draft_table(draft), &row, NULL, plan);
    if (result == TLY_OK) result = tly_prefix_approve(plan, wish->approval);
    if (result != TLY_OK) return result;
    row.prefix = wish->prefix;
    row.strategy = NULL;
    row.generation++;
    return tly_draft_row(draft, &row, TLY_TABLE_DROP, false);
}

static enum tly_result draft_wish(struct draft *draft, const struct tly_prefix_wish *wish)
{
    if (wish->prefix.n > TLY_PREFIX_BYTES_MAX) return TLY_BAD_PREFIX;
    if (tly_prefixes_are_held(draft->e, wish->prefix)) return TLY_PREFIX_HELD;
    switch (wish->op) {
    case TLY_PREFIX_REGISTER: return draft_register(draft, wish);
    case TLY_PREFIX_DROP: return draft_drop(draft, wish);
    case TLY_PREFIX_MIGRATE: return tly_draft_migrate(draft, wish);
    }
    return TLY_BAD_MESSAGE;
}

/* Whose keys they are would be a matter of the order, unless both are new. */
static bool nests(const struct tly_prefix_wish *wishes, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        const struct tly_prefix_wish *a = &wishes[i], *b = &wishes[at];
        bool both_new = a->op == TLY_PREFIX_REGISTER && b->op == TLY_PREFIX_REGISTER;
        bool nest = tly_slice_begins(a->prefix, b->prefix) || tly_slice_begins(b->prefix, a->prefix);
        if (nest && !both_new && a->prefix.n != b->prefix.n) return true;
    }
    return false;
}

/* Nothing fails from here on. */
static void carry_out(struct draft *draft)
{
    struct tly_engine *e = draft->e;
    for (size_t i = 0; i < draft->change.changed_count; i++) {
        const struct tly_table_changed *changed = &draft->change.changed[i];
        struct home home = {draft->next, changed->prefix};
        if (draft->conversions[i] != NULL)
            tly_conversion_finish(draft->conversions[i]);
        else if (!changed->keeps)
            (void)tly_ormap_wipe(e->map, tly_prefix_is_home, &home);
        draft->conversions[i] = NULL;
    }
    use_table(e, draft->next);
    draft->next = NULL;
}

/* What the disk is to hold: TLY_IO: it refuses, or is further behind than it may be; TLY_BUSY. */
static enum tly_result may_write(const struct tly_engine *e)
{
    if (!e->has_store) return TLY_OK;
    /* A dump replaces all that is before its end, and would take for old what the new table has made. */
    if (e->dump.active) return TLY_BUSY;
    bool is_behind = e->table_news.n - e->table_handed > TLY_FRAME_BODY_MAX / 2;
    return e->store_failing || is_behind ? TLY_IO : TLY_OK;
}

enum tly_result tly_draft_finish(struct draft *draft, enum tly_result result)
{
    if (result == TLY_OK && draft->next != NULL) {
        result = may_write(draft->e);
        if (result == TLY_OK) result = put_news(draft);
        if (result == TLY_OK) carry_out(draft);
    }
    for (size_t i = 0; i < TLY_TABLE_CHANGED_MAX; i++)
        tly_conversion_free(draft->conversions[i]);
    tly_registry_free(draft->next);
    return result;
}

enum tly_result tly_prefixes_ask(struct tly_engine *e, const struct tly_request *request,
                                 struct tly_reply *reply)
{
    struct draft draft = {.e = e, .reply = reply, .change.actor = request->bytes};
    enum tly_result result = request->bytes.n <= TLY_TABLE_ACTOR_MAX ? TLY_OK : TLY_BAD_MESSAGE;
    for (reply->wish_at = 0; result == TLY_OK && reply->wish_at < request->wish_count; reply->wish_at++) {
        result = nests(request->wishes, reply->wish_at) ? TLY_PREFIXES_NEST : TLY_OK;
        if (result == TLY_OK) result = draft_wish(&draft, &request->wishes[reply->wish_at]);
        if (result != TLY_OK) break;
    }
    return tly_draft_finish(&draft, result);
}

/* ---- looking in ---- */

size_t tly_engine_prefixes(const struct tly_engine *e)
{
    return tly_registry_count(e->registry);
}

struct tly_prefix_view tly_engine_prefix(const struct tly_engine *e, size_t i)
{
    struct tly_prefix row = tly_registry_at(e->registry, i);
    return (struct tly_prefix_view){.prefix = row.prefix,
                                    .strategy = row.strategy,
                                    .generation = row.generation,
                                    .is_built_in = tly_prefix_is_first(row.prefix),
                                    .is_held = tly_prefixes_are_held(e, row.prefix)};
}

/* ---- prefixes that nobody knows the state of ---- */

enum tly_result tly_engine_hold(struct tly_engine *e, struct tly_slice prefix)
{
    if (prefix.n > TLY_PREFIX_BYTES_MAX || e->held_count == TLY_HELD_MAX) return TLY_BAD_PREFIX;
    struct held_prefix *held = &e->held[e->held_count++];
    if (prefix.n > 0) memcpy(held->bytes, prefix.p, prefix.n);
    held->n = (uint8_t)prefix.n;
    return TLY_OK;
}

bool tly_prefixes_are_held(const struct tly_engine *e, struct tly_slice prefix)
{
    for (size_t i = 0; i < e->held_count; i++)
        if (tly_slice_equal(tly_slice_of(e->held[i].bytes, e->held[i].n), prefix)) return true;
    return false;
}

bool tly_prefixes_is_key_held(const struct tly_engine *e, struct tly_slice key)
{
    struct tly_prefix home;
    return e->held_count > 0 && tly_registry_home(e->registry, key, &home) &&
           tly_prefixes_are_held(e, home.prefix);
}
