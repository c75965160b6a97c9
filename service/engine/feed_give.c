#include "service/engine/feed_internal.h"

/* Records, or entries, looked at for one answer when not all keys are wanted. */
#define LOOKS_MAX 4000

/* ---- what is wanted ---- */

/* Which prefixes the keys that were looked at begin with. */
struct wanted {
    const struct tly_feed_ask *ask;
    uint64_t seen;
    struct tly_only only;
};

static bool wants(void *context, struct tly_slice key)
{
    struct wanted *wanted = context;
    bool found = false;
    for (size_t i = 0; i < wanted->ask->prefix_count; i++) {
        if (!tly_slice_begins(key, wanted->ask->prefixes[i].prefix)) continue;
        wanted->seen |= UINT64_C(1) << i;
        found = true;
    }
    return found;
}

static void want(struct wanted *wanted, const struct tly_feed_ask *ask)
{
    *wanted = (struct wanted){.ask = ask, .only = {wants, wanted, LOOKS_MAX}};
}

static struct tly_only *filter_of(struct wanted *wanted)
{
    return wanted->ask->prefix_count > 0 ? &wanted->only : NULL;
}

static size_t page_bytes(const struct tly_feed_ask *ask)
{
    if (ask->bytes_max == 0) return TLY_FEED_BYTES_USUAL;
    if (ask->bytes_max < TLY_FEED_BYTES_LEAST) return TLY_FEED_BYTES_LEAST;
    return ask->bytes_max < TLY_FEED_BYTES_MAX ? (size_t)ask->bytes_max : TLY_FEED_BYTES_MAX;
}

static struct tly_feed_base base_of(const struct tly_feed *feed)
{
    const struct tly_engine *e = feed->e;
    return (struct tly_feed_base){tly_ormap_origin(e->map), tly_feed_scope_now(feed), e->late.session,
                                  e->late.count};
}

void tly_feed_finish(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    struct tly_feed_answer *answer = &feed->answer;
    answer->origin = tly_ormap_origin(e->map);
    answer->forgotten = tly_ormap_without_removes(e->map, TLY_FORGET_RECORDS);
    answer->swept = e->forget.swept;
    if (feed->ask.origin != 0) answer->taken = tly_ormap_mark(e->map, feed->ask.origin);
    tly_buf_clear(&e->part);
    tly_feed_answer_put(&e->part, answer);
    if (e->part.result != TLY_OK) tly_buf_fail(feed->out, e->part.result);
    tly_frame_put(feed->out, TLY_FRAME_FEED_ANSWER, tly_buf_slice(&e->part));
}

/* ---- rounds ---- */

/* A dot came in below what was handed over: it is handed over from there on. */
static void go_back(struct tly_feed *feed)
{
    const struct late_dots *late = &feed->e->late;
    for (uint64_t i = feed->cursor.base.late; i < late->count; i++) {
        struct tly_mark dot = late->ring[i % TLY_LATE_KEPT];
        for (size_t life = 0; life < feed->follower.lives; life++) {
            if (feed->follower.reach[life].origin != dot.origin) continue;
            tly_follower_rewind(&feed->follower, life, dot.ts);
            tly_follower_reopen(&feed->follower, life, dot.ts);
        }
    }
}

static enum tly_result resume(struct tly_feed *feed)
{
    struct tly_feed_cursor cursor = feed->cursor;
    enum tly_result result = TLY_OK;
    for (struct tly_feed_sent sent; result == TLY_OK && tly_feed_sent_next(&cursor, &sent);)
        result = tly_follower_resume(&feed->follower, (struct tly_mark){sent.origin, sent.ts}, sent.passed);
    feed->follower.in_round = cursor.in_round;
    return result;
}

bool tly_feed_is_going_on(const struct tly_feed *feed)
{
    const struct tly_feed_base *base = &feed->cursor.base;
    return base->origin == tly_ormap_origin(feed->e->map) && base->session == feed->e->late.session;
}

enum tly_result tly_feed_follow(struct tly_feed *feed)
{
    const struct late_dots *late = &feed->e->late;
    const struct tly_feed_base *base = &feed->cursor.base;
    enum tly_result result = TLY_OK;
    struct tly_marks marks = feed->cursor.marks;
    size_t lives = tly_ormap_lives(feed->e->map);
    /* This follower is gone before any other life is known. */
    for (struct tly_mark mark; result == TLY_OK && tly_marks_next(&marks, &mark);)
        if (tly_ormap_life_number(feed->e->map, mark.origin) < lives)
            result = tly_follower_has(&feed->follower, mark, NULL);
    /* Its own life's dots it has by itself. */
    struct tly_mark own = {feed->ask.origin, tly_ormap_mark(feed->e->map, feed->ask.origin)};
    if (result == TLY_OK && own.origin != 0) result = tly_follower_has(&feed->follower, own, NULL);
    bool is_held = base->late <= late->count && late->count - base->late <= TLY_LATE_KEPT;
    if (result != TLY_OK || !tly_feed_is_going_on(feed) || !is_held) return result;
    result = resume(feed);
    go_back(feed);
    return result;
}

static void put_cursor(struct tly_feed *feed, struct tly_mark *marks, struct tly_feed_sent *sent)
{
    const struct tly_follower *follower = &feed->follower;
    struct tly_feed_cursor cursor = {.base = base_of(feed), .in_round = follower->in_round};
    size_t mark_count = 0, sent_count = 0;
    for (size_t i = 0; i < follower->lives; i++) {
        const struct tly_reach *reach = &follower->reach[i];
        if (reach->origin == 0) continue;
        if (reach->have != 0) marks[mark_count++] = (struct tly_mark){reach->origin, reach->have};
        if (reach->sent > reach->have || reach->passed > 0)
            sent[sent_count++] = (struct tly_feed_sent){reach->origin, reach->sent, reach->passed};
    }
    tly_feed_cursor_put(&feed->e->scratch, &cursor, (struct tly_mark_list){marks, mark_count}, sent,
                        sent_count);
}

/* The follower's place as a cursor, in e->scratch. */
static enum tly_result make_cursor(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    size_t lives = feed->follower.lives + 1;
    struct tly_mark *marks = tly_mem_new(&e->mem, lives * sizeof *marks);
    struct tly_feed_sent *sent = tly_mem_new(&e->mem, lives * sizeof *sent);
    tly_buf_clear(&e->scratch);
    if (marks != NULL && sent != NULL)
        put_cursor(feed, marks, sent);
    else
        tly_buf_fail(&e->scratch, TLY_NOMEM);
    tly_mem_free(&e->mem, marks, lives * sizeof *marks);
    tly_mem_free(&e->mem, sent, lives * sizeof *sent);
    feed->answer.cursor = tly_buf_slice(&e->scratch);
    return e->scratch.result;
}

/* The answer, and the round in e->body behind it. */
static enum tly_result finish_round(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    struct tly_buf floors;
    tly_buf_init(&floors, &e->mem, TLY_FRAME_BODY_MAX);
    enum tly_result result = TLY_OK;
    if (e->body.n > 0) result = tly_feed_put_floors(feed, tly_buf_slice(&e->body), &floors);
    if (result == TLY_OK) tly_feed_finish(feed);
    if (result == TLY_OK && e->body.n > 0) tly_frame_put(feed->out, TLY_FRAME_ROUND, tly_buf_slice(&e->body));
    feed->answer.floors = tly_slice_of(NULL, 0);
    tly_buf_fini(&floors);
    return result == TLY_OK ? feed->out->result : result;
}

enum tly_result tly_feed_give_round(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    struct tly_pens pens = {&e->writer, e->parts, e->names};
    struct wanted wanted;
    struct tly_handed handed = {.last = true};
    want(&wanted, &feed->ask);
    struct tly_part_wish wish = {
        .rows_bytes_max = page_bytes(&feed->ask), .only = filter_of(&wanted), .now_ns = TLY_NEVER};
    bool was_in_round = feed->follower.in_round, is_behind = tly_follower_is_behind(&feed->follower);
    tly_buf_clear(&e->body);
    if (is_behind) handed = tly_follower_next(&feed->follower, &wish, &pens, &e->body);
    enum tly_result result = e->body.result;
    if (result == TLY_OK) result = make_cursor(feed);
    if (result != TLY_OK) return result;
    bool is_nothing = handed.rows == 0 && handed.last && !was_in_round;
    feed->answer.verdict = is_nothing ? TLY_FEED_UP_TO_DATE : TLY_FEED_OPS;
    feed->answer.more = !handed.last;
    return finish_round(feed);
}

/* ---- snapshots ---- */

static bool is_registered(const struct tly_engine *e, struct tly_slice prefix)
{
    struct tly_prefix row;
    return tly_registry_get(e->registry, prefix, &row) && row.strategy != NULL;
}

/* Prefixes that nothing begins with: one that is nobody's is missing, or was dropped if the follower knows it. */
static void name_absent(struct tly_feed *feed, uint64_t seen)
{
    for (size_t i = 0; i < feed->ask.prefix_count; i++) {
        const struct tly_feed_prefix *prefix = &feed->ask.prefixes[i];
        if ((seen >> i & 1u) != 0 || is_registered(feed->e, prefix->prefix)) continue;
        struct tly_feed_names *names = prefix->held ? &feed->answer.dropped : &feed->answer.missing;
        names->names[names->count++] = prefix->prefix;
    }
}

/* Where the last piece ended, unless nothing of that holds any more: then a snapshot begins. */
static enum tly_result find_place(struct tly_feed *feed, struct snap_out *out, struct tly_feed_place *place)
{
    struct tly_feed_base base = base_of(feed);
    enum tly_result result = TLY_UNKNOWN_FRAME;
    if (feed->ask.cursor.n > 0) result = tly_feed_place_get(feed->ask.cursor, place);
    if (result != TLY_OK && result != TLY_UNKNOWN_FRAME) return result;
    bool goes_on = result == TLY_OK && place->base.origin == base.origin && place->base.scope == base.scope &&
                   place->base.session == base.session;
    if (!goes_on) *place = (struct tly_feed_place){.number = ++feed->e->snapshots};
    *out = (struct snap_out){.active = true,
                             .begun = goes_on,
                             .number = place->number,
                             .chunks = place->chunks,
                             .cursor = (size_t)place->at,
                             .sent = place->sent,
                             .key_bytes = place->key.n};
    if (place->key.n > 0) memcpy(out->key, place->key.p, place->key.n);
    return TLY_OK;
}

/* The pieces are framed into `frames` first, since the answer that goes before them says how far they came. */
static enum tly_result put_pieces(struct tly_feed *feed, struct snap_out *out, struct tly_buf *frames)
{
    struct tly_engine *e = feed->e;
    size_t most = page_bytes(&feed->ask), bytes = 0;
    while (out->active && bytes < most && (out->only == NULL || out->only->looks > 0)) {
        tly_buf_clear(&e->body);
        enum tly_frame_type type = tly_snap_next(e, out, most - bytes);
        if (e->body.result != TLY_OK) return e->body.result;
        tly_frame_put(frames, type, tly_buf_slice(&e->body));
        bytes += e->body.n;
    }
    return frames->result;
}

/* Of a snapshot that begins: the cursor of who has all that is here now. */
static enum tly_result first_cursor(struct tly_feed *feed)
{
    enum tly_result result = tly_follower_catch_up(&feed->follower);
    for (size_t i = 0; i < feed->follower.lives; i++)
        feed->follower.reach[i].sent = feed->follower.reach[i].have;
    return result == TLY_OK ? make_cursor(feed) : result;
}

static void next_place(const struct tly_feed *feed, const struct snap_out *out, uint64_t seen,
                       struct tly_buf *to)
{
    struct tly_feed_place place = {.base = base_of(feed),
                                   .number = out->number,
                                   .chunks = out->chunks,
                                   .at = out->cursor,
                                   .key = tly_slice_of(out->key, out->key_bytes),
                                   .sent = out->sent,
                                   .seen = seen};
    tly_feed_place_put(to, &place);
}

enum tly_result tly_feed_give_snapshot(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    struct tly_feed_place from;
    struct snap_out out;
    struct wanted wanted;
    struct tly_buf frames, place;
    enum tly_result result = find_place(feed, &out, &from);
    if (result == TLY_OK && !out.begun) result = first_cursor(feed);
    if (result != TLY_OK) return result;
    tly_buf_init(&frames, &e->mem, TLY_FEED_ANSWER_BYTES_MAX);
    tly_buf_init(&place, &e->mem, TLY_KEY_BYTES_MAX + 128);
    want(&wanted, &feed->ask);
    wanted.seen = from.seen;
    out.only = filter_of(&wanted);
    result = put_pieces(feed, &out, &frames);
    feed->answer.verdict = TLY_FEED_SNAPSHOT;
    feed->answer.more = out.active;
    if (out.active)
        next_place(feed, &out, wanted.seen, &place);
    else
        name_absent(feed, wanted.seen);
    feed->answer.place = tly_buf_slice(&place);
    if (result == TLY_OK) result = place.result;
    if (result == TLY_OK) tly_feed_finish(feed);
    tly_buf_put(feed->out, frames.p, frames.n);
    tly_buf_fini(&frames);
    tly_buf_fini(&place);
    return result == TLY_OK ? feed->out->result : result;
}
