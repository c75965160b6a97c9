#include "service/engine/mirror.h"

#include "service/engine/impl.h"
#include "service/engine/limit.h"
#include "wire/pack.h"

#define STATE_FORM 1

struct tly_mirror {
    struct tly_engine *engine;
    bool no_delta, in_snapshot;
    uint64_t bytes_max, failed;
    uint64_t held_scope;   /* of the prefixes that are here; UINT64_MAX: nothing is */
    struct tly_buf cursor; /* to ask with; empty: none */
    struct tly_buf after;  /* the snapshot under way: what goes on from it */
    struct tly_buf names;  /* the prefixes, one after the other */
    struct tly_feed_ask ask;
    struct tly_feed_swept swept; /* the newest that was heard since the last snapshot */
    size_t ended_cursor;
};

#define NOTHING_HELD UINT64_MAX

static enum tly_result copy_prefixes(struct tly_mirror *mirror, const struct tly_mirror_config *config)
{
    struct tly_buf *names = &mirror->names;
    for (size_t i = 0; i < config->prefix_count; i++) {
        struct tly_slice prefix = config->prefixes[i];
        if (prefix.n == 0 || prefix.n > TLY_KEY_BYTES_MAX) return TLY_BAD_KEY;
        tly_buf_put(names, prefix.p, prefix.n);
    }
    if (names->result != TLY_OK) return names->result;
    size_t at = 0;
    for (size_t i = 0; i < config->prefix_count; i++) {
        struct tly_slice prefix = tly_slice_of(names->p + at, config->prefixes[i].n);
        mirror->ask.prefixes[mirror->ask.prefix_count++] = (struct tly_feed_prefix){prefix, false};
        at += prefix.n;
    }
    return TLY_OK;
}

enum tly_result tly_mirror_new(const struct tly_mirror_config *config, struct tly_mirror **out)
{
    const struct tly_mem *mem = &config->engine->mem;
    if (config->prefix_count > TLY_FEED_PREFIXES_MAX) return TLY_TOO_LARGE;
    struct tly_mirror *mirror = tly_mem_zeroed(mem, sizeof *mirror);
    if (mirror == NULL) return TLY_NOMEM;
    mirror->engine = config->engine;
    mirror->no_delta = config->no_delta;
    mirror->bytes_max = config->bytes_max;
    mirror->held_scope = NOTHING_HELD;
    /* Without a cursor nobody knows what of it still stands. */
    mirror->in_snapshot = tly_ormap_count(config->engine->map) > 0;
    tly_buf_init(&mirror->cursor, mem, TLY_FEED_CURSOR_BYTES_MAX);
    tly_buf_init(&mirror->after, mem, TLY_FEED_CURSOR_BYTES_MAX);
    tly_buf_init(&mirror->names, mem, (size_t)TLY_FEED_PREFIXES_MAX * TLY_KEY_BYTES_MAX);
    enum tly_result result = copy_prefixes(mirror, config);
    *out = mirror;
    if (result == TLY_OK) return TLY_OK;
    tly_mirror_free(mirror);
    return result;
}

void tly_mirror_free(struct tly_mirror *mirror)
{
    if (mirror == NULL) return;
    const struct tly_mem mem = mirror->engine->mem;
    tly_buf_fini(&mirror->cursor);
    tly_buf_fini(&mirror->after);
    tly_buf_fini(&mirror->names);
    tly_mem_free(&mem, mirror, sizeof *mirror);
}

static uint64_t scope_of(const struct tly_mirror *mirror)
{
    return tly_feed_scope(&mirror->ask);
}

/* ---- what is durable ---- */

void tly_mirror_state_put(const struct tly_mirror *mirror, struct tly_buf *out)
{
    tly_put_array(out, 6);
    tly_put_uint(out, STATE_FORM);
    tly_put_bool(out, mirror->in_snapshot);
    tly_put_uint(out, mirror->failed);
    tly_put_uint(out, mirror->held_scope);
    tly_put_bytes(out, tly_buf_slice(&mirror->cursor));
    tly_put_bytes(out, tly_buf_slice(&mirror->after));
}

static bool replace(struct tly_buf *buf, struct tly_slice bytes)
{
    tly_buf_clear(buf);
    tly_buf_put(buf, bytes.p, bytes.n);
    return buf->result == TLY_OK;
}

enum tly_result tly_mirror_state_get(struct tly_mirror *mirror, struct tly_slice state)
{
    struct tly_cursor cursor = tly_cursor_of(state);
    if (tly_get_array(&cursor, 6) != 6 || tly_get_uint(&cursor) != STATE_FORM) return TLY_BAD_MESSAGE;
    bool in_snapshot = tly_get_bool(&cursor);
    uint64_t failed = tly_get_uint(&cursor), scope = tly_get_uint(&cursor);
    struct tly_slice at = tly_get_bytes(&cursor, TLY_FEED_CURSOR_BYTES_MAX);
    struct tly_slice after = tly_get_bytes(&cursor, TLY_FEED_CURSOR_BYTES_MAX);
    enum tly_result result = tly_cursor_end(&cursor);
    if (result != TLY_OK) return result;
    if (!replace(&mirror->cursor, at) || !replace(&mirror->after, after)) return TLY_NOMEM;
    mirror->in_snapshot = in_snapshot || (at.n == 0 && tly_ormap_count(mirror->engine->map) > 0);
    mirror->failed = failed;
    mirror->held_scope = scope;
    if (scope == NOTHING_HELD || scope == scope_of(mirror)) return TLY_OK;
    /* Other prefixes than before: what is here is replaced by theirs. */
    mirror->in_snapshot = true;
    tly_buf_clear(&mirror->cursor);
    return TLY_OK;
}

/* ---- asking ---- */

bool tly_mirror_ask(struct tly_mirror *mirror, struct tly_buf *out)
{
    struct tly_engine *e = mirror->engine;
    struct tly_feed_ask *ask = &mirror->ask;
    ask->cursor = tly_buf_slice(&mirror->cursor);
    ask->delta = !mirror->no_delta;
    ask->failed = mirror->failed;
    ask->bytes_max = mirror->bytes_max;
    for (size_t i = 0; i < ask->prefix_count; i++) {
        size_t at = 0;
        struct tly_entry *entry;
        do
            entry = tly_ormap_each(e->map, &at);
        while (entry != NULL && !tly_slice_begins(tly_entry_key(entry), ask->prefixes[i].prefix));
        ask->prefixes[i].held = entry != NULL;
    }
    tly_buf_clear(&e->body);
    tly_feed_ask_put(&e->body, ask);
    if (e->body.result != TLY_OK) tly_buf_fail(out, e->body.result);
    tly_frame_put(out, TLY_FRAME_FEED_ASK, tly_buf_slice(&e->body));
    tly_buf_clear(&e->body);
    return mirror->in_snapshot;
}

/* ---- taking ---- */

struct taking {
    struct tly_mirror *mirror;
    const struct tly_mirror_sink *sink;
    struct tly_mirror_news *news;
    struct tly_feed_answer answer;
};

static enum tly_result apply(struct taking *taking, struct tly_slice batch)
{
    enum tly_result result = tly_engine_replay(taking->mirror->engine, batch);
    return result == TLY_OK ? taking->sink->batch(taking->sink->context, batch) : result;
}

/* Whether what is here is what the round goes on from; if not, the cursor says more than was kept. */
static bool goes_on(const struct tly_engine *e, const struct tly_round *round)
{
    return (round->flags & TLY_ROUND_FIRST) != 0 ? tly_marks_are_covered(e, round->start) : e->replay_taken;
}

/* What is given only in part says nothing of marks: a node that is started from it must not believe that it has everything. */
static bool is_partial(const struct taking *taking)
{
    return taking->mirror->ask.prefix_count > 0;
}

/* The rows in e->writer as a part without marks, in e->part. */
static enum tly_result put_part(struct tly_engine *e)
{
    const struct tly_mark_list none = {0};
    tly_buf_clear(&e->part);
    tly_round_writer_finish(&e->writer, 0, none, none, &e->part);
    return e->part.result;
}

static enum tly_result take_partial_round(struct taking *taking, const struct tly_round *round)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_rows rows = tly_rows_of(round);
    tly_round_writer_clear(&e->writer);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (!tly_round_writer_add(&e->writer, row.key, tly_strategy_by_id(row.strategy_id), &row.dot))
            return e->writer.rows.result != TLY_OK ? e->writer.rows.result : TLY_TOO_LARGE;
    enum tly_result result = put_part(e);
    return result == TLY_OK ? apply(taking, tly_buf_slice(&e->part)) : result;
}

/* Lets go what was noted in e->writer, as a log that is read again does. */
static enum tly_result drop_gone(struct taking *taking)
{
    struct tly_engine *e = taking->mirror->engine;
    if (e->writer.row_count == 0) return e->writer.rows.result;
    enum tly_result result = put_part(e);
    tly_round_writer_clear(&e->writer);
    return result == TLY_OK ? apply(taking, tly_buf_slice(&e->part)) : result;
}

static enum tly_result note_gone(struct taking *taking, struct tly_slice key, struct tly_version newest)
{
    struct tly_round_writer *gone = &taking->mirror->engine->writer;
    if (tly_forget_note(gone, key, tly_epoch_sum(), newest)) return TLY_OK;
    enum tly_result result = drop_gone(taking);
    if (result != TLY_OK || tly_forget_note(gone, key, tly_epoch_sum(), newest)) return result;
    return gone->rows.result != TLY_OK ? gone->rows.result : TLY_TOO_LARGE;
}

/* The newest PUT that is older than `floor`; false: there is none. */
static bool newest_below(struct tly_ormap *map, struct tly_slice key, uint64_t floor,
                         struct tly_version *newest)
{
    const struct tly_entry *entry = tly_ormap_find(map, key);
    size_t count = 0;
    const struct tly_dot *dots = entry != NULL ? tly_entry_dots(map, entry, &count) : NULL;
    bool found = false;
    for (size_t i = 0; i < count && dots[i].version.ts < floor; i++) {
        if (dots[i].op != TLY_PUT) continue;
        *newest = dots[i].version;
        found = true;
    }
    return found;
}

/* What the node has let go of the keys of a round, before these are counted in anew. */
static enum tly_result drop_below_floors(struct taking *taking, const struct tly_round *round)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_cursor floors = tly_cursor_of(taking->answer.floors);
    struct tly_rows rows = tly_rows_of(round);
    enum tly_result result = TLY_OK;
    if (taking->answer.floor_count == 0) return TLY_OK;
    tly_round_writer_clear(&e->writer);
    for (struct tly_row row; result == TLY_OK && tly_rows_next(&rows, &row);) {
        uint64_t age = tly_get_uint(&floors), ts = row.dot.version.ts;
        struct tly_version newest;
        if (age == 0 || age > ts || row.strategy_id != TLY_EPOCH_SUM) continue;
        if (newest_below(e->map, row.key, ts - (age - 1), &newest))
            result = note_gone(taking, row.key, newest);
    }
    return result == TLY_OK ? drop_gone(taking) : result;
}

static bool has_a_floor_for_each(const struct taking *taking, const struct tly_round *round)
{
    size_t floors = taking->answer.floor_count;
    return floors == 0 || floors == round->row_count;
}

static enum tly_result take_round(struct taking *taking, struct tly_slice body)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_round round;
    enum tly_result result = tly_round_get(body, &round);
    if (result == TLY_OK && !has_a_floor_for_each(taking, &round)) result = TLY_BAD_MESSAGE;
    if (result == TLY_OK && !is_partial(taking) && !goes_on(e, &round)) result = TLY_STALE;
    if (result == TLY_OK) result = tly_session_admits_all(e, &round);
    if (result == TLY_OK) result = drop_below_floors(taking, &round);
    if (result != TLY_OK) return result;
    result = is_partial(taking) ? take_partial_round(taking, &round) : apply(taking, body);
    if (result == TLY_OK) taking->news->dots += round.row_count;
    return result;
}

static enum tly_result take_begin(struct taking *taking, struct tly_slice body)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_snap_begin begin;
    enum tly_result result = tly_snap_begin_get(body, &begin);
    if (result != TLY_OK || !is_partial(taking)) return result == TLY_OK ? apply(taking, body) : result;
    begin.bounds = (struct tly_bounds){0};
    tly_buf_clear(&e->body);
    tly_snap_begin_put(&e->body, &begin, NULL, 0);
    return e->body.result == TLY_OK ? apply(taking, tly_buf_slice(&e->body)) : e->body.result;
}

/* Whether a row can be read here; TLY_CLOCK_AHEAD is nobody's fault but a clock's. */
static enum tly_result sift_row(struct taking *taking, const struct tly_row *row)
{
    struct tly_engine *e = taking->mirror->engine;
    enum tly_result result = tly_session_admits(e, row);
    if (result == TLY_OK) {
        const struct tly_strategy *strategy = tly_strategy_by_id(row->strategy_id);
        if (tly_round_writer_add(&e->writer, row->key, strategy, &row->dot)) return TLY_OK;
        return e->writer.rows.result != TLY_OK ? e->writer.rows.result : TLY_TOO_LARGE;
    }
    if (result == TLY_CLOCK_AHEAD) return result;
    taking->news->kept_out++;
    if (taking->sink->kept_out != NULL) taking->sink->kept_out(taking->sink->context, row->key, result);
    return TLY_OK;
}

/* Whether pieces of the snapshot are here that this one goes on from. */
static bool is_staged(const struct tly_engine *e, uint64_t number)
{
    return e->redump.install != NULL && e->redump.number == number;
}

/*
 * A piece of a snapshot, without the dots that cannot be read here. It is numbered anew: one that was durable when its cursor was not
 * comes again, perhaps longer, and is another piece then.
 */
static enum tly_result take_chunk(struct taking *taking, struct tly_slice body)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_snap_chunk chunk;
    struct tly_round round;
    enum tly_result result = tly_snap_chunk_get(body, &chunk);
    if (result == TLY_OK) result = tly_round_get(chunk.part, &round);
    if (result == TLY_OK && !is_staged(e, chunk.number)) result = TLY_STALE;
    if (result != TLY_OK) return result;
    tly_round_writer_clear(&e->writer);
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; result == TLY_OK && tly_rows_next(&rows, &row);)
        result = sift_row(taking, &row);
    if (result == TLY_OK) result = put_part(e);
    if (result != TLY_OK) return result;
    chunk.nth = e->redump.chunks;
    chunk.part = tly_buf_slice(&e->part);
    tly_buf_clear(&e->body);
    tly_snap_chunk_put(&e->body, &chunk);
    result = e->body.result == TLY_OK ? apply(taking, tly_buf_slice(&e->body)) : e->body.result;
    if (result == TLY_OK) taking->news->dots += round.row_count;
    return result;
}

static enum tly_result take_end(struct taking *taking, struct tly_slice body)
{
    struct tly_engine *e = taking->mirror->engine;
    struct tly_snap_end end;
    enum tly_result result = tly_snap_end_get(body, &end);
    if (result == TLY_OK && !is_staged(e, end.number)) result = TLY_STALE;
    if (result != TLY_OK) return result;
    end.chunks = e->redump.chunks;
    tly_buf_clear(&e->body);
    tly_snap_end_put(&e->body, &end);
    result = e->body.result == TLY_OK ? apply(taking, tly_buf_slice(&e->body)) : e->body.result;
    taking->news->installed = result == TLY_OK;
    return result;
}

static enum tly_result take_frame(struct taking *taking, const struct tly_frame *frame)
{
    bool snapshot = taking->answer.verdict == TLY_FEED_SNAPSHOT;
    if (frame->type == TLY_FRAME_ROUND && !snapshot) return take_round(taking, frame->body);
    if (frame->type == TLY_FRAME_SNAP_BEGIN && snapshot) return take_begin(taking, frame->body);
    if (frame->type == TLY_FRAME_SNAP_CHUNK && snapshot) return take_chunk(taking, frame->body);
    if (frame->type == TLY_FRAME_SNAP_END && snapshot) return take_end(taking, frame->body);
    return frame->ignorable ? TLY_OK : TLY_UNKNOWN_FRAME;
}

/* Whether a clock forbids to take it, which is seen before anything of the answer is kept: it is given again and again until the clock is right. */
static enum tly_result judge_frame(struct taking *taking, const struct tly_frame *frame)
{
    struct tly_snap_chunk chunk;
    struct tly_round round;
    if (frame->type != TLY_FRAME_SNAP_CHUNK) return TLY_OK;
    enum tly_result result = tly_snap_chunk_get(frame->body, &chunk);
    if (result == TLY_OK) result = tly_round_get(chunk.part, &round);
    if (result != TLY_OK) return result;
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; tly_rows_next(&rows, &row);)
        if (tly_session_admits(taking->mirror->engine, &row) == TLY_CLOCK_AHEAD) return TLY_CLOCK_AHEAD;
    return TLY_OK;
}

static enum tly_result each_frame(struct taking *taking, struct tly_slice rest,
                                  enum tly_result (*each)(struct taking *taking,
                                                          const struct tly_frame *frame))
{
    enum tly_result result = TLY_OK;
    while (result == TLY_OK && rest.n > 0) {
        struct tly_frame frame;
        size_t consumed = 0;
        result = tly_frame_get(rest, &taking->mirror->engine->scratch, &frame, &consumed);
        if (result == TLY_OK) result = each(taking, &frame);
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
    }
    return result;
}

/* Everything that was here by another list, or nothing, is to be replaced. */
static void begin_snapshot(struct tly_mirror *mirror)
{
    mirror->in_snapshot = true;
    mirror->failed = 0;
    mirror->swept = (struct tly_feed_swept){0};
    tly_buf_clear(&mirror->cursor);
    tly_buf_clear(&mirror->after);
}

static bool move_in_snapshot(struct tly_mirror *mirror, const struct taking *taking)
{
    const struct tly_feed_answer *answer = &taking->answer;
    if (answer->cursor.n > 0 && !replace(&mirror->after, answer->cursor)) return false;
    if (!taking->news->installed) return replace(&mirror->cursor, answer->place);
    mirror->in_snapshot = false;
    mirror->held_scope = scope_of(mirror);
    bool ok = replace(&mirror->cursor, tly_buf_slice(&mirror->after));
    tly_buf_clear(&mirror->after);
    return ok;
}

static bool move(struct tly_mirror *mirror, const struct taking *taking)
{
    const struct tly_feed_answer *answer = &taking->answer;
    mirror->failed = 0;
    if (answer->verdict == TLY_FEED_COLD_START) begin_snapshot(mirror);
    if (answer->verdict == TLY_FEED_COLD_START) return true;
    if (answer->verdict == TLY_FEED_SNAPSHOT) return move_in_snapshot(mirror, taking);
    mirror->held_scope = scope_of(mirror);
    return replace(&mirror->cursor, answer->cursor);
}

/* ---- what the node drops by itself ---- */

struct sweeping {
    uint64_t now_ns, skew_ns;
};

static bool is_over(void *context, struct tly_slice key, const struct tly_strategy *strategy,
                    const struct tly_dot *put)
{
    const struct sweeping *sweeping = context;
    return tly_limit_expired(key, strategy, put, sweeping->now_ns, sweeping->skew_ns);
}

/* Notes what ended among the next entries, as far as one part takes it. */
static enum tly_result note_ended(struct tly_mirror *mirror, const struct tly_ended *ended)
{
    struct tly_ormap *map = mirror->engine->map;
    struct tly_round_writer *gone = &mirror->engine->writer;
    for (size_t budget = TLY_SWEEP_ENTRIES; budget > 0; budget--) {
        size_t at = mirror->ended_cursor, count;
        const struct tly_entry *entry = tly_ormap_each(map, &mirror->ended_cursor);
        if (entry == NULL) mirror->ended_cursor = 0;
        if (entry == NULL) break;
        const struct tly_strategy *strategy = tly_entry_strategy(entry);
        struct tly_slice key = tly_entry_key(entry);
        const struct tly_dot *dots = tly_entry_dots(map, entry, &count);
        if (!tly_dots_may_go(key, strategy, dots, count, ended) || dots[count - 1].op != TLY_PUT) continue;
        if (tly_forget_note(gone, key, strategy, dots[count - 1].version)) continue;
        mirror->ended_cursor = at;
        break;
    }
    return gone->rows.result;
}

/*
 * Who has all that the node has, and something that the node would have let go in its last whole pass, has what the node has not. By the node's own
 * numbers, so that neither clocks nor settings matter.
 */
static enum tly_result drop_ended(struct taking *taking)
{
    struct tly_mirror *mirror = taking->mirror;
    const struct tly_feed_swept *heard = &taking->answer.swept;
    if (heard->upto >= mirror->swept.upto) mirror->swept = *heard;
    struct tly_ended ended = {.upto = mirror->swept.upto,
                              .now_ms = mirror->swept.now_ms,
                              .skew_ns = mirror->swept.skew_ns,
                              .is_counter = tly_limit_is_counter};
    if (ended.upto == 0) return TLY_OK;
    tly_round_writer_clear(&mirror->engine->writer);
    enum tly_result result = note_ended(mirror, &ended);
    return result == TLY_OK ? drop_gone(taking) : result;
}

/* REMOVEs that the node has forgotten, what has ended there, and shards whose time is over. */
static enum tly_result tidy(struct taking *taking, struct tly_time now)
{
    struct tly_mirror *mirror = taking->mirror;
    struct tly_ormap *map = mirror->engine->map;
    const struct tly_feed_answer *answer = &taking->answer;
    struct sweeping sweeping = {now.wall_ns, tly_ormap_clock(map)->max_skew_ns};
    if (answer->more || answer->verdict == TLY_FEED_COLD_START) return TLY_OK;
    (void)tly_ormap_forget_gone(map, answer->forgotten);
    (void)tly_ormap_sweep(map, &mirror->engine->sweep_cursor, TLY_SWEEP_ENTRIES, is_over, &sweeping);
    /* What came with a snapshot is not all of one moment: the round behind it makes it so. */
    return answer->verdict == TLY_FEED_SNAPSHOT ? TLY_OK : drop_ended(taking);
}

static bool is_poison(enum tly_result result)
{
    return result == TLY_NO_STRATEGY || result == TLY_WRONG_STRATEGY || result == TLY_BAD_KEY;
}

static bool is_wrong_kind(const struct tly_mirror *mirror, const struct tly_feed_answer *answer)
{
    return (answer->verdict == TLY_FEED_SNAPSHOT) != mirror->in_snapshot;
}

enum tly_result tly_mirror_take(struct tly_mirror *mirror, struct tly_slice answer, struct tly_time now,
                                const struct tly_mirror_sink *sink, struct tly_mirror_news *news)
{
    struct tly_engine *e = mirror->engine;
    struct taking taking = {.mirror = mirror, .sink = sink, .news = news};
    struct tly_frame frame;
    size_t consumed = 0;
    *news = (struct tly_mirror_news){0};
    e->now = now;
    tly_clock_tick(tly_ormap_clock(e->map), now);
    /* The answer is read from e->frame, which nothing that applies it uses. */
    enum tly_result result = tly_frame_get(answer, &e->frame, &frame, &consumed);
    if (result == TLY_OK && frame.type != TLY_FRAME_FEED_ANSWER) result = TLY_UNKNOWN_FRAME;
    if (result == TLY_OK) result = tly_feed_answer_get(frame.body, &taking.answer);
    if (result == TLY_OK && is_wrong_kind(mirror, &taking.answer)) result = TLY_BAD_MESSAGE;
    if (result != TLY_OK) return result;
    struct tly_slice rest = tly_slice_of(answer.p + consumed, answer.n - consumed);
    result = each_frame(&taking, rest, judge_frame);
    if (result == TLY_OK) result = each_frame(&taking, rest, take_frame);
    if (is_poison(result)) mirror->failed++;
    /* The disk and the cursor are not of one moment. */
    if (result == TLY_STALE) begin_snapshot(mirror);
    if (result == TLY_OK) result = tidy(&taking, now);
    if (result == TLY_OK && !move(mirror, &taking)) result = TLY_NOMEM;
    if (result != TLY_OK) return result;
    news->verdict = taking.answer.verdict;
    news->reason = taking.answer.reason;
    news->more = taking.answer.more || news->installed || news->verdict == TLY_FEED_COLD_START;
    news->missing = taking.answer.missing;
    news->dropped = taking.answer.dropped;
    return TLY_OK;
}

uint64_t tly_mirror_digest(struct tly_mirror *mirror)
{
    return tly_ormap_digest(mirror->engine->map);
}
