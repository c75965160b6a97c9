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
#include "service/engine/impl.h"

#include "wire/pack.h"
#include "wire/table.h"

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

static bool is_first(struct tly_slice prefix)
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
    tly_buf_init(&e->table_news, &e->mem, TLY_FRAME_BODY_MAX);
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

/* Keys that this prefix is the home of by this table, or would be if it were registered. */
struct home {
    const struct tly_registry *table;
    struct tly_slice prefix;
};

static bool is_home(void *context, struct tly_slice key)
{
    const struct home *home = context;
    struct tly_prefix found;
    if (!tly_slice_begins(key, home->prefix)) return false;
    return !tly_registry_home(home->table, key, &found) || found.prefix.n <= home->prefix.n;
}

static size_t count_under(struct tly_engine *e, const struct tly_registry *table, struct tly_slice prefix)
{
    size_t count = 0, cursor = 0;
    struct home home = {table, prefix};
    for (const struct tly_entry *entry; (entry = tly_ormap_each(e->map, &cursor)) != NULL;)
        count += is_home(&home, tly_entry_key(entry));
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
    return e->table_news.n > 0;
}

static enum tly_result put_news(struct tly_engine *e, const struct tly_table_change *change,
                                const struct tly_registry *next)
{
    if (!e->has_store) return TLY_OK;
    size_t before = e->table_news.n;
    tly_buf_clear(&e->part);
    tly_table_change_put(&e->part, change, next);
    if (e->part.result == TLY_OK) tly_put_bytes(&e->table_news, tly_buf_slice(&e->part));
    enum tly_result result = e->part.result != TLY_OK ? e->part.result : e->table_news.result;
    if (result != TLY_OK) e->table_news.n = before;
    e->table_news.result = TLY_OK;
    tly_buf_clear(&e->part);
    return result;
}

void tly_prefixes_hand_over(struct tly_engine *e)
{
    struct tly_cursor cursor = tly_cursor_of(tly_buf_slice(&e->table_news));
    struct tly_slice change = tly_get_bytes(&cursor, TLY_FRAME_BODY_MAX);
    assert(cursor.result == TLY_OK);
    tly_fx_add(e, TLY_DO_TABLE, 0, ++e->batch, change);
    e->tickets[e->ticket_count++] = (struct ticket){e->ticket_open++, e->batch};
    tly_buf_take(&e->table_news, e->table_news.n - tly_cursor_left(&cursor));
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

/* A change as it grows, wish by wish. */
struct draft {
    struct tly_engine *e;
    struct tly_registry *next; /* NULL: nothing changes as yet */
    struct tly_table_change change;
    struct tly_reply *reply;
};

static struct tly_registry *draft_table(const struct draft *draft)
{
    return draft->next != NULL ? draft->next : draft->e->registry;
}

static enum tly_result draft_row(struct draft *draft, const struct tly_prefix *row, uint64_t kind, bool keeps)
{
    struct tly_table_change *change = &draft->change;
    if (change->changed_count == TLY_TABLE_CHANGED_MAX) return TLY_BAD_PREFIX;
    for (size_t i = 0; i < change->changed_count; i++)
        if (tly_slice_equal(change->changed[i].prefix, row->prefix)) return TLY_PREFIX_TAKEN;
    struct tly_registry *next;
    enum tly_result result = tly_registry_set(draft_table(draft), row, &next);
    if (result != TLY_OK) return result;
    tly_registry_free(draft->next);
    draft->next = next;
    change->kind = change->changed_count == 0 ? kind : TLY_TABLE_BATCH;
    change->changed[change->changed_count++] = (struct tly_table_changed){row->prefix, keeps};
    return TLY_OK;
}

static enum tly_result draft_register(struct draft *draft, const struct tly_prefix_wish *wish)
{
    const struct tly_registry *table = draft_table(draft);
    struct tly_prefix known = {0}, row = {wish->prefix, tly_strategy_by_name(wish->strategy), 0};
    /* Rights are under the prefix that all nodes know them by, and no other. */
    if (row.strategy == NULL || tly_table_is_implied(&row)) return TLY_NO_SUCH_STRATEGY;
    bool is_known = tly_registry_get(table, wish->prefix, &known);
    if (is_known && known.strategy == row.strategy) return TLY_OK;
    if (is_known && known.strategy != NULL) return TLY_PREFIX_TAKEN;
    row.generation = known.generation + 1;
    bool keeps = tly_registry_find(table, wish->prefix) == row.strategy;
    /* Keys that exist keep the strategy they have: a new prefix must not claim them for another. */
    if (!keeps && count_under(draft->e, table, wish->prefix) > 0) return TLY_PREFIX_TAKEN;
    return draft_row(draft, &row, TLY_TABLE_REGISTER, keeps);
}

/* The number by which an operator says that this, as it is now, may go: alike on all nodes that hold the same. */
static enum tly_result plan_of(struct tly_engine *e, const struct tly_prefix *row,
                               struct tly_prefix_plan *plan)
{
    enum tly_result result = tly_flush_seal(e);
    if (result != TLY_OK) return result;
    struct home home = {e->registry, row->prefix};
    uint64_t digest = tly_ormap_digest_of(e->map, is_home, &home, &plan->keys);
    digest = (digest ^ tly_table_word(row)) * UINT64_C(0x9e3779b97f4a7c15);
    digest ^= digest >> 32;
    plan->approval = digest != 0 ? digest : 1;
    return TLY_OK;
}

static enum tly_result draft_drop(struct draft *draft, const struct tly_prefix_wish *wish)
{
    struct tly_prefix row;
    if (!tly_registry_get(draft->e->registry, wish->prefix, &row) || row.strategy == NULL)
        return TLY_NO_PREFIX;
    if (is_first(wish->prefix)) return TLY_PREFIX_BUILT_IN;
    enum tly_result result = plan_of(draft->e, &row, &draft->reply->plan);
    if (result != TLY_OK) return result;
    if (wish->approval == 0 && draft->reply->plan.keys > 0) return TLY_UNAPPROVED;
    if (wish->approval != 0 && wish->approval != draft->reply->plan.approval) return TLY_APPROVAL_STALE;
    row.prefix = wish->prefix;
    row.strategy = NULL;
    row.generation++;
    return draft_row(draft, &row, TLY_TABLE_DROP, false);
}

static enum tly_result draft_wish(struct draft *draft, const struct tly_prefix_wish *wish)
{
    if (wish->prefix.n > TLY_PREFIX_BYTES_MAX) return TLY_BAD_PREFIX;
    if (tly_prefixes_are_held(draft->e, wish->prefix)) return TLY_PREFIX_HELD;
    return wish->op == TLY_PREFIX_DROP ? draft_drop(draft, wish) : draft_register(draft, wish);
}

/* Nothing fails from here on. */
static void carry_out(struct draft *draft)
{
    struct tly_engine *e = draft->e;
    for (size_t i = 0; i < draft->change.changed_count; i++) {
        const struct tly_table_changed *changed = &draft->change.changed[i];
        struct home home = {e->registry, changed->prefix};
        if (!changed->keeps) (void)tly_ormap_wipe(e->map, is_home, &home);
    }
    use_table(e, draft->next);
    draft->next = NULL;
}

/* The disk would be asked to hold more than it may be behind. */
static bool is_disk_full(const struct tly_engine *e)
{
    return e->has_store && (e->store_failing || e->table_news.n > TLY_FRAME_BODY_MAX / 2);
}

static enum tly_result finish_draft(struct draft *draft, enum tly_result result)
{
    if (result == TLY_OK && draft->next != NULL) {
        result = is_disk_full(draft->e) ? TLY_IO : put_news(draft->e, &draft->change, draft->next);
        if (result == TLY_OK) carry_out(draft);
    }
    tly_registry_free(draft->next);
    return result;
}

enum tly_result tly_prefixes_ask(struct tly_engine *e, const struct tly_request *request,
                                 struct tly_reply *reply)
{
    struct draft draft = {.e = e, .reply = reply, .change.actor = request->bytes};
    enum tly_result result = request->bytes.n <= TLY_TABLE_ACTOR_MAX ? TLY_OK : TLY_BAD_MESSAGE;
    for (reply->wish_at = 0; result == TLY_OK && reply->wish_at < request->wish_count; reply->wish_at++) {
        result = draft_wish(&draft, &request->wishes[reply->wish_at]);
        if (result != TLY_OK) break;
    }
    return finish_draft(&draft, result);
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
                                    .is_built_in = is_first(row.prefix),
                                    .is_held = tly_prefixes_are_held(e, row.prefix)};
}

enum tly_result tly_engine_prefix_plan(struct tly_engine *e, struct tly_slice prefix,
                                       struct tly_prefix_plan *plan)
{
    struct tly_prefix row;
    if (!tly_registry_get(e->registry, prefix, &row) || row.strategy == NULL) return TLY_NO_PREFIX;
    return plan_of(e, &row, plan);
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

/* ---- peers ---- */

/* What the peer's table says of the keys that begin so; false: nothing. */
static bool their_home(struct tly_prefixes prefixes, struct tly_slice key, struct tly_prefix *home)
{
    struct tly_prefix row;
    bool found = false;
    for (uint64_t word; tly_prefixes_next(&prefixes, &row.prefix, &word);) {
        if (!tly_table_from_word(word, &row) || row.strategy == NULL) continue;
        if (!tly_slice_begins(key, row.prefix) || (found && row.prefix.n < home->prefix.n)) continue;
        *home = row;
        found = true;
    }
    return found;
}

static bool their_row(struct tly_prefixes prefixes, struct tly_slice prefix, uint64_t *word)
{
    struct tly_slice at;
    while (tly_prefixes_next(&prefixes, &at, word))
        if (tly_slice_equal(at, prefix)) return true;
    return false;
}

/* Of one row of either table: 0 says that there is none in the other, which is well if keys then mean the same. */
static bool agree(const struct tly_prefix *row, uint64_t word, bool is_known,
                  const struct tly_strategy *else_is)
{
    if (is_known) return tly_table_word(row) == word;
    return row->generation == 0 && row->strategy == else_is;
}

/* A sentence that is cut off where its room ends. */
struct sentence {
    char *text;
    size_t size, n;
};

static void say(struct sentence *to, struct tly_slice words)
{
    for (size_t i = 0; i < words.n && to->n + 1 < to->size; i++)
        to->text[to->n++] = words.p[i] >= ' ' && words.p[i] < 0x7f ? (char)words.p[i] : '?';
    to->text[to->n] = '\0';
}

static void say_number(struct sentence *to, uint32_t number)
{
    char digits[10];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    say(to, tly_slice_of(digits + at, sizeof digits - at));
}

static void say_row(struct sentence *to, const struct tly_prefix *row)
{
    if (row == NULL) {
        say(to, tly_slice_text("not registered"));
        return;
    }
    say(to, tly_slice_text(row->strategy != NULL ? row->strategy->name : "dropped"));
    say(to, tly_slice_text(" (generation "));
    say_number(to, row->generation);
    say(to, tly_slice_text(")"));
}

static void say_difference(struct tly_slice prefix, const struct tly_prefix *ours,
                           const struct tly_prefix *theirs, char *text, size_t size)
{
    struct sentence to = {text, size, 0};
    say(&to, tly_slice_text("prefix \""));
    say(&to, prefix);
    say(&to, tly_slice_text("\" is "));
    say_row(&to, ours);
    say(&to, tly_slice_text(" here and "));
    say_row(&to, theirs);
    say(&to, tly_slice_text(" there"));
}

/* A row of theirs that ours does not agree with; false: there is none. */
static bool their_difference(const struct tly_engine *e, struct tly_prefixes *theirs, struct tly_prefix *row,
                             char *text, size_t size)
{
    for (uint64_t word; tly_prefixes_next(theirs, &row->prefix, &word);) {
        struct tly_prefix ours;
        bool is_known = tly_registry_get(e->registry, row->prefix, &ours);
        bool can_read = tly_table_from_word(word, row);
        const struct tly_strategy *else_is = tly_registry_find(e->registry, row->prefix);
        if (can_read && agree(row, is_known ? tly_table_word(&ours) : 0, is_known, else_is)) continue;
        say_difference(row->prefix, is_known ? &ours : NULL, row, text, size);
        return true;
    }
    return false;
}

bool tly_prefixes_differ(const struct tly_engine *e, struct tly_prefixes theirs, char *text, size_t size)
{
    struct tly_prefix row;
    struct tly_prefixes walk = theirs;
    if (their_difference(e, &walk, &row, text, size)) return true;
    for (size_t i = 0; i < tly_registry_count(e->registry); i++) {
        struct tly_prefix ours = tly_registry_at(e->registry, i), home = {0};
        uint64_t word = 0;
        if (tly_table_is_implied(&ours)) continue;
        bool is_known = their_row(theirs, ours.prefix, &word);
        (void)their_home(theirs, ours.prefix, &home);
        if (agree(&ours, word, is_known, home.strategy)) continue;
        say_difference(ours.prefix, &ours, NULL, text, size);
        return true;
    }
    return false;
}

/*
 * A row of a later generation is taken over if that costs nothing: nothing is here that it would be the home of; or it is the first
 * that is said of the prefix, and changes nothing for the keys that are here.
 */
static enum tly_result follow_row(struct draft *draft, const struct tly_prefix *row)
{
    struct tly_prefix ours = {0};
    struct tly_engine *e = draft->e;
    const struct tly_registry *table = draft_table(draft);
    bool is_known = tly_registry_get(table, row->prefix, &ours);
    if (row->generation <= ours.generation || is_first(row->prefix)) return TLY_PREFIX_TAKEN;
    if (tly_prefixes_are_held(e, row->prefix)) return TLY_PREFIX_HELD;
    bool keeps = !is_known && row->generation == 1 && row->strategy != NULL &&
                 tly_registry_find(table, row->prefix) == row->strategy;
    if (!keeps && count_under(e, table, row->prefix) > 0) return TLY_PREFIX_TAKEN;
    return draft_row(draft, row, row->strategy != NULL ? TLY_TABLE_REGISTER : TLY_TABLE_DROP, keeps);
}

bool tly_prefixes_follow(struct tly_engine *e, struct tly_slice peer, struct tly_prefixes theirs)
{
    char actor[TLY_TABLE_ACTOR_MAX + 1], text[256];
    struct tly_reply reply;
    struct tly_prefix row;
    struct sentence who = {actor, sizeof actor, 0};
    say(&who, tly_slice_text("peer "));
    say(&who, peer);
    struct draft draft = {.e = e, .reply = &reply, .change.actor = tly_slice_of(actor, who.n)};
    enum tly_result result = TLY_OK;
    /* What does not go into one change goes into the next, after the next greeting. */
    while (result == TLY_OK && draft.change.changed_count < TLY_TABLE_CHANGED_MAX &&
           their_difference(e, &theirs, &row, text, sizeof text))
        result = follow_row(&draft, &row);
    bool follows = draft.next != NULL;
    return finish_draft(&draft, result) == TLY_OK && follows;
}
