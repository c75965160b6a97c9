#include "service/engine/feed.h"

#include "service/engine/feed_internal.h"
#include "wire/table.h"

/* Lives that followers may add; the rest is left for nodes. */
#define LIVES_MAX (TLY_ORIGINS_MAX / 2)

/* ---- dots that come late ---- */

void tly_late_learned(struct tly_engine *e, const struct tly_life *life, uint64_t ts)
{
    struct late_dots *late = &e->late;
    late->ring[late->count++ % TLY_LATE_KEPT] = (struct tly_mark){life->origin, ts};
    if (ts <= life->mark) late->repaired = late->count;
}

void tly_late_reset(struct tly_engine *e)
{
    e->late = (struct late_dots){.session = e->late.session + 1};
}

/* ---- what the follower wrote ---- */

/* Gives each round behind the question to `each`, whole and checked. */
static enum tly_result each_upload(struct tly_feed *feed,
                                   enum tly_result (*each)(struct tly_feed *feed, const struct tly_round *))
{
    static const struct tly_round empty;
    struct tly_slice rest = feed->uploads;
    enum tly_result result = TLY_OK;
    while (result == TLY_OK && rest.n > 0) {
        struct tly_frame frame;
        struct tly_round round = empty;
        size_t consumed = 0;
        result = tly_frame_get(rest, &feed->e->scratch, &frame, &consumed);
        if (result == TLY_OK && frame.type != TLY_FRAME_ROUND && !frame.ignorable) result = TLY_UNKNOWN_FRAME;
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
        if (result != TLY_OK || frame.type != TLY_FRAME_ROUND) continue;
        result = tly_round_get(frame.body, &round);
        if (result == TLY_OK) result = each(feed, &round);
    }
    return result;
}

/* A follower speaks for its own life alone. */
static bool is_all_its_own(const struct tly_feed *feed, const struct tly_round *round)
{
    struct tly_marks lists[] = {round->start, round->end};
    for (size_t i = 0; i < 2; i++)
        for (struct tly_mark mark; tly_marks_next(&lists[i], &mark);)
            if (mark.origin != feed->ask.origin) return false;
    for (size_t i = 0; i < round->life_count; i++)
        if (round->lives[i] != feed->ask.origin) return false;
    return true;
}

static enum tly_result judge_upload(struct tly_feed *feed, const struct tly_round *round)
{
    if (!is_all_its_own(feed, round)) return TLY_OWN_LIFE;
    struct tly_rows rows = tly_rows_of(round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (tly_slice_begins(row.key, tly_slice_text("sys:"))) return TLY_READ_ONLY;
    return tly_session_admits_all(feed->e, round);
}

static enum tly_result join_upload(struct tly_feed *feed, const struct tly_round *round)
{
    struct tly_engine *e = feed->e;
    if ((round->flags & TLY_ROUND_FIRST) != 0) feed->takes = tly_marks_are_covered(e, round->start);
    if (!feed->takes) return TLY_OK;
    size_t held = 0;
    enum tly_result result = tly_session_join(e, round, &held);
    e->stats.feed_dots_taken += round->row_count;
    /* What there was no room for is not said to be here; the follower sends it again. */
    if (held > 0) feed->takes = false;
    if (result == TLY_OK && feed->takes && (round->flags & TLY_ROUND_LAST) != 0)
        result = tly_marks_take(e, round->end);
    return result;
}

/* Whether the life is some node's, this one's included. */
static bool is_a_nodes(const struct tly_engine *e, uint64_t origin)
{
    if (origin == tly_ormap_origin(e->map) || origin == tly_life_spoken(e)) return true;
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->origin == origin || e->peers[i]->member_origin == origin) return true;
    return false;
}

static bool is_known_life(const struct tly_engine *e, uint64_t origin)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++)
        if (tly_ormap_life(e->map, i).origin == origin) return true;
    return false;
}

/* Of a life that is closed nothing is taken, as of a peer's; the verdict says so. */
static enum tly_result take_uploads(struct tly_feed *feed)
{
    struct tly_engine *e = feed->e;
    uint64_t origin = feed->ask.origin;
    if (feed->uploads.n == 0 || tly_lives_is_closed(e, origin)) return TLY_OK;
    if (origin == 0 || is_a_nodes(e, origin)) return TLY_OWN_LIFE;
    if (!is_known_life(e, origin) && tly_ormap_lives(e->map) >= LIVES_MAX) return TLY_FULL;
    enum tly_result result = each_upload(feed, judge_upload);
    if (result == TLY_OK) result = each_upload(feed, join_upload);
    if (result == TLY_OK) tly_flush_soon(e, true);
    return result;
}

/* ---- the question ---- */

/* The frame is decompressed into e->frame, which nothing else uses meanwhile; what is behind it goes through e->scratch. */
static enum tly_result get_question(struct tly_feed *feed, struct tly_slice question)
{
    struct tly_frame frame;
    size_t consumed;
    if (question.n == 0) return TLY_OK;
    enum tly_result result = tly_frame_get(question, &feed->e->frame, &frame, &consumed);
    if (result != TLY_OK) return result;
    if (frame.type != TLY_FRAME_FEED_ASK) return TLY_UNKNOWN_FRAME;
    feed->uploads = tly_slice_of(question.p + consumed, question.n - consumed);
    return tly_feed_ask_get(frame.body, &feed->ask);
}

uint64_t tly_feed_scope_now(const struct tly_feed *feed)
{
    uint64_t scope = tly_feed_scope(&feed->ask);
    const struct tly_registry *registry = feed->e->registry;
    for (size_t i = 0; i < tly_registry_count(registry); i++) {
        struct tly_prefix row = tly_registry_at(registry, i);
        /* What was registered once and never changed was under another prefix with the same strategy, or was not there. */
        if (row.generation < 2) continue;
        for (size_t at = 0; at < row.prefix.n; at++)
            scope = (scope ^ row.prefix.p[at]) * UINT64_C(0x100000001b3);
        scope = (scope ^ tly_table_word(&row)) * UINT64_C(0x100000001b3);
    }
    return scope;
}

static enum tly_result get_cursor(struct tly_feed *feed)
{
    feed->is_readable = true;
    if (feed->ask.cursor.n == 0) {
        feed->cursor.base.scope = tly_feed_scope_now(feed);
        return TLY_OK;
    }
    enum tly_result result = tly_feed_cursor_get(feed->ask.cursor, &feed->cursor);
    if (result != TLY_OK && result != TLY_UNKNOWN_FRAME) return result;
    feed->is_readable = result == TLY_OK && feed->cursor.base.scope == tly_feed_scope_now(feed);
    return TLY_OK;
}

/* ---- the verdict ---- */

/*
 * A settled life too is known only so far here, but for the records beyond its mark, the newest of `handed` dots. Of one that is not remembered
 * only who gave the cursor can tell.
 */
static bool knows_more(const struct tly_feed *feed, struct tly_mark mark, bool handed)
{
    const struct tly_ormap *map = feed->e->map;
    for (size_t i = 0; i < tly_ormap_lives(map); i++) {
        struct tly_life life = tly_ormap_life_kept(map, i);
        if (life.origin == mark.origin) return mark.ts > life.mark && (!handed || mark.ts > life.last);
    }
    return mark.ts > tly_ormap_bounds(map).lost || feed->cursor.base.origin != tly_ormap_origin(map);
}

/*
 * What was handed over beyond a mark stands here until a snapshot is installed. Elsewhere it may never come: a life may be settled without it, and then
 * nothing else takes it from the follower.
 */
static bool was_handed_more(const struct tly_feed *feed)
{
    struct tly_feed_cursor cursor = feed->cursor;
    if (tly_feed_is_going_on(feed)) return false;
    for (struct tly_feed_sent sent; tly_feed_sent_next(&cursor, &sent);)
        if (knows_more(feed, (struct tly_mark){sent.origin, sent.ts}, true)) return true;
    return false;
}

static bool is_ahead(const struct tly_feed *feed)
{
    struct tly_marks marks = feed->cursor.marks;
    for (struct tly_mark mark; tly_marks_next(&marks, &mark);)
        if (knows_more(feed, mark, false)) return true;
    return was_handed_more(feed);
}

/* Something came in below its mark since, and it is not known any more what. */
static bool has_missed_repair(const struct tly_feed *feed)
{
    const struct late_dots *late = &feed->e->late;
    const struct tly_feed_base *base = &feed->cursor.base;
    bool is_held = late->count - base->late <= TLY_LATE_KEPT;
    return base->session == late->session && base->late < late->repaired && !is_held;
}

/* Whether there is a reason why no round can bring it up. */
static bool is_cold(struct tly_feed *feed, enum tly_cold_start *reason)
{
    struct tly_engine *e = feed->e;
    *reason = TLY_COLD_NO_DELTA;
    if (feed->ask.origin != 0 && tly_lives_is_closed(e, feed->ask.origin))
        *reason = TLY_COLD_FORGOTTEN;
    else if (!feed->is_readable)
        *reason = TLY_COLD_NO_DELTA;
    else if (is_ahead(feed))
        *reason = TLY_COLD_AHEAD;
    else if (feed->ask.failed >= TLY_FEED_FAILED_MAX)
        *reason = TLY_COLD_APPLY_FAILED;
    else if (has_missed_repair(feed) || tly_snap_is_below_floor(e, feed->cursor.marks))
        *reason = TLY_COLD_FLOOR;
    else
        return !feed->ask.delta && tly_follower_is_behind(&feed->follower);
    return true;
}

static void count(struct tly_engine *e, const struct tly_feed_answer *answer)
{
    static const size_t verdicts[] = {
        [TLY_FEED_UP_TO_DATE] = offsetof(struct tly_stats, feed_up_to_date),
        [TLY_FEED_OPS] = offsetof(struct tly_stats, feed_ops),
        [TLY_FEED_SNAPSHOT] = offsetof(struct tly_stats, feed_pages),
    };
    static const size_t reasons[] = {
        [TLY_COLD_FLOOR] = offsetof(struct tly_stats, feed_cold_floor),
        [TLY_COLD_FORGOTTEN] = offsetof(struct tly_stats, feed_cold_forgotten),
        [TLY_COLD_AHEAD] = offsetof(struct tly_stats, feed_cold_ahead),
        [TLY_COLD_APPLY_FAILED] = offsetof(struct tly_stats, feed_cold_apply_failed),
        [TLY_COLD_NO_DELTA] = offsetof(struct tly_stats, feed_cold_no_delta),
    };
    bool cold = answer->verdict == TLY_FEED_COLD_START;
    size_t at = cold ? reasons[answer->reason] : verdicts[answer->verdict];
    ++*(uint64_t *)(void *)((uint8_t *)&e->stats + at);
}

static enum tly_result answer_sync(struct tly_feed *feed)
{
    enum tly_result result = get_cursor(feed);
    if (result == TLY_OK) result = take_uploads(feed);
    if (result == TLY_OK) result = tly_flush_seal(feed->e);
    if (result == TLY_OK && feed->is_readable) result = tly_feed_follow(feed);
    if (result != TLY_OK) return result;
    if (!is_cold(feed, &feed->answer.reason)) return tly_feed_give_round(feed);
    feed->answer.verdict = TLY_FEED_COLD_START;
    tly_feed_finish(feed);
    return feed->out->result;
}

static enum tly_result answer_snapshot(struct tly_feed *feed)
{
    enum tly_result result = tly_flush_seal(feed->e);
    return result == TLY_OK ? tly_feed_give_snapshot(feed) : result;
}

static enum tly_result answer(struct tly_engine *e, struct tly_slice question, struct tly_time now,
                              enum tly_result (*with)(struct tly_feed *feed), struct tly_feed_said *said,
                              struct tly_buf *out)
{
    struct tly_feed feed = {.e = e, .out = out};
    size_t before = out->n;
    tly_engine_wake(e, now);
    tly_follower_init(&feed.follower, &e->mem, e->map);
    enum tly_result result = get_question(&feed, question);
    /* What is not durable yet must not be heard. */
    if (result == TLY_OK && e->held_batch > e->stored) result = TLY_FULL;
    if (result == TLY_OK) result = with(&feed);
    tly_follower_fini(&feed.follower);
    tly_buf_clear(&e->body);
    tly_buf_clear(&e->part);
    if (result == TLY_OK) count(e, &feed.answer);
    if (result == TLY_OK) *said = (struct tly_feed_said){feed.answer.verdict, feed.answer.reason};
    if (result == TLY_OK) return TLY_OK;
    e->stats.feed_refused++;
    if (out->n > before) out->n = before;
    return result;
}

enum tly_result tly_feed_sync(struct tly_engine *e, struct tly_slice question, struct tly_time now,
                              struct tly_feed_said *said, struct tly_buf *out)
{
    return answer(e, question, now, answer_sync, said, out);
}

enum tly_result tly_feed_snapshot(struct tly_engine *e, struct tly_slice question, struct tly_time now,
                                  struct tly_feed_said *said, struct tly_buf *out)
{
    return answer(e, question, now, answer_snapshot, said, out);
}
