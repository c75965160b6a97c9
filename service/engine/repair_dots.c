/*
 * The dots of leaves that differ: listed for the peer, and joined when they come from it.  Only what a node's own marks cover is listed,
 * and only what its marks cover is judged by who gets it: all else is on its way in a round.
 */
#include "service/engine/impl.h"

/* ---- what the peer has shown to have ---- */

static bool has_seen(const struct repair *repair, uint64_t print)
{
    if (repair->seen_capacity == 0) return false;
    size_t at = (size_t)print & (repair->seen_capacity - 1);
    while (repair->seen[at] != 0 && repair->seen[at] != print)
        at = (at + 1) & (repair->seen_capacity - 1);
    return repair->seen[at] == print;
}

static void put_seen(uint64_t *seen, size_t capacity, uint64_t print)
{
    size_t at = (size_t)print & (capacity - 1);
    while (seen[at] != 0)
        at = (at + 1) & (capacity - 1);
    seen[at] = print;
}

static bool grow_seen(struct tly_engine *e, struct repair *repair)
{
    size_t capacity = repair->seen_capacity > 0 ? repair->seen_capacity * 2 : 256;
    if (capacity > (size_t)TLY_REPAIR_SEEN_MAX * 2) return false;
    uint64_t *seen = tly_repair_spare(e, capacity * sizeof *seen);
    if (seen == NULL) return false;
    for (size_t i = 0; i < repair->seen_capacity; i++)
        if (repair->seen[i] != 0) put_seen(seen, capacity, repair->seen[i]);
    tly_mem_free(&e->mem, repair->seen, repair->seen_capacity * sizeof *seen);
    repair->seen = seen;
    repair->seen_capacity = capacity;
    return true;
}

/* What is not remembered is sent back, which costs its bytes. */
static void see(struct tly_engine *e, struct repair *repair, uint64_t print)
{
    if (print == 0 || has_seen(repair, print)) return;
    if (repair->seen_count >= repair->seen_capacity / 2 && !grow_seen(e, repair)) return;
    put_seen(repair->seen, repair->seen_capacity, print);
    repair->seen_count++;
}

void tly_repair_forget_seen(struct tly_engine *e, struct repair *repair)
{
    tly_mem_free(&e->mem, repair->seen, repair->seen_capacity * sizeof *repair->seen);
    repair->seen = NULL;
    repair->seen_count = repair->seen_capacity = 0;
}

/* ---- listing ---- */

struct listing {
    struct tly_engine *e;
    const struct repair *repair;
    struct omission omission;
    struct tly_only only;
    struct snap_dots dots;
    uint64_t name_print; /* of the entry at hand, and its strategy */
    const struct tly_strategy *strategy;
};

static bool is_listed(const struct repair *repair, unsigned leaf)
{
    return (repair->leaves[leaf / 64] >> leaf % 64 & 1) != 0;
}

static bool wants_key(void *context, struct tly_slice key)
{
    struct listing *listing = context;
    listing->name_print = tly_print_of_key(&listing->e->print_key, key);
    return is_listed(listing->repair, tly_leaf_of(listing->name_print));
}

static const struct tly_dot *dots_of(void *context, const struct tly_entry *entry, size_t *count)
{
    struct listing *listing = context;
    listing->name_print = tly_print_of_key(&listing->e->print_key, tly_entry_key(entry));
    listing->strategy = tly_entry_strategy(entry);
    return tly_entry_dots_left(listing->e->map, entry, &listing->omission.omit, count);
}

static bool wants_dot(void *context, const struct tly_dot *dot)
{
    const struct listing *listing = context;
    const struct tly_engine *e = listing->e;
    if (dot->version.ts > tly_ormap_mark(e->map, dot->version.origin)) return false;
    /* What is carried over counts once more where it came this way. */
    bool counted = listing->strategy->own_shards && dot->op == TLY_PUT;
    if (counted && tly_lives_may_be_carried(e, dot->version.origin)) return false;
    return !has_seen(listing->repair,
                     tly_print_of_dot(&e->print_key, listing->name_print, listing->strategy, dot));
}

/* The leaves that were listed, for who has to answer: branches that were wanted whole by one number. */
static size_t name_leaves(const struct repair *repair, uint16_t leaves[TLY_LEAVES])
{
    size_t count = 0;
    for (unsigned i = 0; i < TLY_LEAVES; i++) {
        unsigned branch = i / TLY_LEAVES_EACH;
        bool whole = repair->branches[branch] == LEAF_WHOLE;
        if (whole && i % TLY_LEAVES_EACH == 0) leaves[count++] = (uint16_t)(TLY_LEAVES + branch);
        if (!whole && is_listed(repair, i)) leaves[count++] = (uint16_t)i;
    }
    return count;
}

static void send_leaves(struct tly_engine *e, struct conn *conn, const struct repair *repair, bool last)
{
    uint16_t leaves[TLY_LEAVES];
    struct tly_leaves message = {.number = repair->number};
    if (last) message.flags |= TLY_LEAVES_LAST;
    if (repair->asker) message.flags |= TLY_LEAVES_OF_ASKER;
    if (last && !repair->asker) message.count = name_leaves(repair, leaves);
    tly_buf_clear(&e->part);
    tly_round_writer_finish(&e->writer, 0, (struct tly_mark_list){0}, (struct tly_mark_list){0}, &e->part);
    if (e->part.result != TLY_OK) tly_buf_fail(&e->body, e->part.result);
    message.part = tly_buf_slice(&e->part);
    tly_leaves_put(&e->body, &message, leaves);
    tly_repair_send(e, conn, TLY_FRAME_LEAVES);
    e->stats.repair_dots_sent += e->writer.row_count;
}

bool tly_repair_list(struct tly_engine *e, struct conn *conn, struct repair *repair, size_t room)
{
    struct listing listing = {.e = e, .repair = repair};
    listing.only = (struct tly_only){.wants = wants_key, .context = &listing, .looks = TLY_REPAIR_ENTRIES};
    listing.dots = (struct snap_dots){dots_of, wants_dot, &listing};
    tly_repair_omit(e, repair->f, repair->time * TLY_REPAIR_STEP_MS, &listing.omission);
    repair->walk.only = &listing.only;
    repair->walk.dots = &listing.dots;
    bool more = tly_snap_fill(e, &repair->walk, room);
    repair->walk.only = NULL;
    repair->walk.dots = NULL;
    if (!more || e->writer.row_count > 0) send_leaves(e, conn, repair, !more);
    return more;
}

/* ---- taking ---- */

/* Dots of one key that are judged together; more of them one batch after the other. */
#define GROUP_MAX 32

struct group {
    struct tly_row rows[GROUP_MAX];
    size_t count;
};

/* The next rows, all of one key. `row` is the first of them and then of those that follow; *more: there is one. */
static void next_group(struct tly_rows *rows, struct tly_row *row, bool *more, struct group *group)
{
    group->count = 0;
    do {
        group->rows[group->count++] = *row;
        *more = tly_rows_next(rows, row);
    } while (*more && group->count < GROUP_MAX && tly_slice_equal(row->key, group->rows[0].key));
}

static void see_group(struct tly_engine *e, struct repair *repair, const struct group *group)
{
    const struct tly_hash_key *key = &e->print_key;
    const struct tly_row *first = &group->rows[0];
    uint64_t name_print = tly_print_of_key(key, first->key);
    const struct tly_strategy *strategy = tly_registry_find(e->registry, first->key);
    for (size_t i = 0; repair->asker && i < group->count; i++)
        see(e, repair, tly_print_of_dot(key, name_print, strategy, &group->rows[i].dot));
}

/* Joins those that both sides should have and that this one has not; *repaired counts them. */
static enum tly_result take_group(struct tly_engine *e, const struct group *group, size_t *repaired)
{
    struct omission omission;
    struct tly_dot dots[GROUP_MAX];
    struct tly_row row = group->rows[0];
    enum tly_result result = TLY_OK;
    for (size_t i = 0; i < group->count; i++)
        dots[i] = group->rows[i].dot;
    tly_repair_omit(e, e->forget.ripe.f, tly_forget_now_ms(e), &omission);
    const struct tly_strategy *strategy = tly_registry_find(e->registry, row.key);
    size_t left = tly_omit_from(&omission.omit, row.key, strategy, dots, group->count);
    for (size_t i = 0; i < left && result == TLY_OK; i++) {
        enum tly_outcome outcome;
        row.dot = dots[i];
        if (row.dot.version.ts > tly_ormap_mark(e->map, row.dot.version.origin)) continue;
        result = tly_session_repair_row(e, &row, &outcome);
        *repaired += result == TLY_OK && outcome == TLY_REPAIRED;
    }
    return result;
}

enum tly_result tly_repair_take(struct tly_engine *e, struct conn *conn, struct repair *repair,
                                const struct tly_round *round)
{
    struct group group;
    size_t repaired = 0;
    enum tly_result result = tly_session_admits_all(e, round);
    if (result == TLY_CLOCK_AHEAD) {
        e->stats.repairs_refused++;
        conn->peer->clock_ahead_at = e->now.mono_ns;
        tly_fx_trace(e, TLY_TRACE_ROUND_REFUSED, conn->peer->name,
                     tly_slice_text("a repair of it has a version too far in the future"));
    }
    if (result != TLY_OK) return result;
    struct tly_rows rows = tly_rows_of(round);
    struct tly_row row;
    bool more = tly_rows_next(&rows, &row);
    while (more && result == TLY_OK) {
        next_group(&rows, &row, &more, &group);
        see_group(e, repair, &group);
        result = take_group(e, &group, &repaired);
    }
    if (repaired > 0) {
        tly_fx_trace(
            e, TLY_TRACE_REPAIRED, conn->peer->name,
            tly_slice_text("it has dots that this node should have had and had not; they are here now"));
        tly_flush_soon(e, false);
    }
    return result;
}
