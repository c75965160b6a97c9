/*
 * Snapshots, given and taken.  Who cannot be brought up by rounds is told COLD_START, asks, gets the live dots entry by entry while
 * writes go on, and installs them as a whole (crdt/install.h).  After that every connection begins anew, since what either side thought
 * of the other's marks is no longer true.  The disk is then written anew in the same form, and until that is stored no peer hears
 * anything: what was carried over from a former life must not be heard twice.
 */
#include "service/engine/impl.h"

/* ---- the messages of a snapshot ---- */

static enum tly_frame_type put_begin(struct tly_engine *e, struct snap_out *out)
{
    size_t count = tly_ormap_lives(e->map), bytes = (count + 1) * sizeof(struct tly_life);
    struct tly_life *lives = tly_mem_new(&e->mem, bytes);
    out->begun = true;
    if (lives == NULL) {
        tly_buf_fail(&e->body, TLY_NOMEM);
        return TLY_FRAME_SNAP_BEGIN;
    }
    for (size_t i = 0; i < count; i++)
        lives[i] = tly_life_told(e, i);
    struct tly_snap_begin begin = {.number = out->number, .bounds = tly_ormap_bounds(e->map)};
    tly_snap_begin_put(&e->body, &begin, lives, count);
    tly_mem_free(&e->mem, lives, bytes);
    return TLY_FRAME_SNAP_BEGIN;
}

static bool add_row(struct tly_engine *e, const struct snap_out *out, struct tly_slice key,
                    const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    if (out->columns != NULL) return tly_parts_add(e->parts, key, strategy, dot);
    return tly_round_writer_add(&e->writer, key, strategy, dot);
}

static size_t bytes_of(const struct tly_engine *e, const struct snap_out *out)
{
    return out->columns != NULL ? tly_parts_bytes(e->parts) : tly_round_writer_bytes(&e->writer);
}

/*
 * Adds the dots of an entry behind the last one sent of it; false: the part is full. An entry may have hundreds, so it is full amid them
 * too, save where the dots of a key are judged together.
 */
static bool put_entry(struct tly_engine *e, struct snap_out *out, const struct tly_entry *entry,
                      size_t rows_bytes_max)
{
    size_t count;
    const struct snap_dots *some = out->dots;
    const struct tly_dot *dots =
        some != NULL ? some->of(some->context, entry, &count) : tly_entry_dots(e->map, entry, &count);
    struct tly_slice key = tly_entry_key(entry);
    for (size_t i = 0; i < count; i++) {
        if (out->sent.ts != 0 && tly_version_compare(dots[i].version, out->sent) <= 0) continue;
        if (some != NULL && !some->wants(some->context, &dots[i])) continue;
        if (tly_news_were_said(out, dots[i].version)) continue;
        /* Two dots may be forged with one version: they go together or not at all. */
        bool is_other = i == 0 || tly_version_compare(dots[i - 1].version, dots[i].version) != 0;
        bool is_full = some == NULL && is_other && bytes_of(e, out) >= rows_bytes_max;
        if (is_full || !add_row(e, out, key, tly_entry_strategy(entry), &dots[i])) {
            out->sent = i > 0 ? dots[i - 1].version : (struct tly_version){0};
            return false;
        }
    }
    out->sent = (struct tly_version){0};
    return true;
}

/* The entry that the part before ended in, unless it is gone. */
static const struct tly_entry *unfinished(struct tly_engine *e, struct snap_out *out)
{
    if (out->key_bytes == 0) return NULL;
    const struct tly_entry *entry = tly_ormap_find(e->map, tly_slice_of(out->key, out->key_bytes));
    out->key_bytes = 0;
    if (entry == NULL) out->sent = (struct tly_version){0};
    return entry;
}

/* The next entry that is wanted, after so many looks at most; NULL: *is_last, or not yet. */
static const struct tly_entry *next_entry(struct tly_engine *e, struct snap_out *out, bool *is_last)
{
    for (;;) {
        if (out->only != NULL && out->only->looks == 0) return NULL;
        const struct tly_entry *entry = tly_ormap_each(e->map, &out->cursor);
        *is_last = entry == NULL;
        if (out->only == NULL || entry == NULL) return entry;
        out->only->looks--;
        if (out->only->wants(out->only->context, tly_entry_key(entry))) return entry;
    }
}

bool tly_snap_fill(struct tly_engine *e, struct snap_out *out, size_t rows_bytes_max)
{
    if (out->columns != NULL)
        tly_columns_begin(e, out->columns);
    else
        tly_round_writer_clear(&e->writer);
    const struct tly_entry *entry = unfinished(e, out);
    bool is_last = false;
    while (bytes_of(e, out) < rows_bytes_max) {
        if (entry == NULL) entry = next_entry(e, out, &is_last);
        if (entry == NULL) break;
        if (!put_entry(e, out, entry, rows_bytes_max)) {
            struct tly_slice key = tly_entry_key(entry);
            memcpy(out->key, key.p, key.n);
            out->key_bytes = key.n;
            return true;
        }
        entry = NULL;
    }
    return bytes_of(e, out) > 0 || !is_last;
}

enum tly_frame_type tly_snap_next(struct tly_engine *e, struct snap_out *out, size_t rows_bytes_max)
{
    if (!out->begun) return put_begin(e, out);
    if (!tly_snap_fill(e, out, rows_bytes_max)) {
        out->active = false;
        tly_snap_end_put(&e->body, &(struct tly_snap_end){out->number, out->chunks});
        return TLY_FRAME_SNAP_END;
    }
    tly_buf_clear(&e->part);
    if (out->columns != NULL)
        tly_parts_end(e->parts, &(struct tly_part_head){0}, &e->part);
    else
        tly_round_writer_finish(&e->writer, 0, (struct tly_mark_list){0}, (struct tly_mark_list){0},
                                &e->part);
    if (e->part.result != TLY_OK) tly_buf_fail(&e->body, e->part.result);
    tly_snap_chunk_put(&e->body,
                       &(struct tly_snap_chunk){out->number, out->chunks++, tly_buf_slice(&e->part)});
    return TLY_FRAME_SNAP_CHUNK;
}

void tly_snap_fini(struct tly_engine *e, struct snap_in *in)
{
    (void)e;
    tly_install_free(in->install);
    *in = (struct snap_in){0};
}

/* Every ts that stands for what others made: one from the future would hold back whatever they make until then. */
static bool is_in_time(const struct tly_engine *e, uint64_t mark, uint64_t floor)
{
    const struct tly_clock *clock = tly_ormap_clock(e->map);
    return tly_clock_admits(clock, mark) && tly_clock_admits(clock, floor);
}

static enum tly_result take_begin(struct tly_engine *e, struct snap_in *in, struct tly_slice body)
{
    struct tly_snap_begin begin;
    enum tly_result result = tly_snap_begin_get(body, &begin);
    if (result != TLY_OK) return result;
    if (!is_in_time(e, begin.bounds.lost, begin.bounds.forgotten)) return TLY_CLOCK_AHEAD;
    tly_snap_fini(e, in);
    in->install = tly_install_new(e->map);
    if (in->install == NULL) return TLY_NOMEM;
    in->number = begin.number;
    in->forgotten = begin.bounds.forgotten;
    tly_install_bounds(in->install, begin.bounds);
    for (struct tly_life life; result == TLY_OK && tly_snap_lives_next(&begin, &life);) {
        if (!is_in_time(e, life.mark, life.floor)) result = TLY_CLOCK_AHEAD;
        if (result == TLY_OK) result = tly_install_life(in->install, &life);
    }
    if (result != TLY_OK) tly_snap_fini(e, in); /* half of the lives are none to go on with */
    return result;
}

/* What was cut off goes on behind this. */
static void note_key(struct snap_in *in, struct tly_slice key)
{
    memcpy(in->key, key.p, key.n);
    in->key_bytes = key.n;
}

static enum tly_result stage_row(struct tly_engine *e, struct snap_in *in, const struct tly_row *row)
{
    enum tly_outcome outcome;
    if (tly_is_left_out(e, row->key)) return TLY_OK;
    enum tly_result result = tly_install_add(in->install, row->key, &row->dot, &outcome);
    if (result == TLY_OK && outcome == TLY_MALFORMED) e->stats.dots_malformed++;
    return result;
}

static enum tly_result stage_rows(struct tly_engine *e, struct snap_in *in, struct tly_slice part,
                                  struct tly_slice *last)
{
    struct tly_round round;
    enum tly_result result = tly_round_get(part, &round);
    if (result == TLY_OK && round.flags != 0) result = TLY_BAD_MESSAGE;
    if (result == TLY_OK) result = tly_session_admits_all(e, &round);
    if (result != TLY_OK) return result;
    struct tly_rows rows = tly_rows_of(&round);
    for (struct tly_row row; result == TLY_OK && tly_rows_next(&rows, &row);) {
        result = stage_row(e, in, &row);
        *last = row.key;
    }
    return result;
}

/* The key that was written last is that of the last row: what is new has its number in the order in which it came. */
static enum tly_result stage_columns(struct tly_engine *e, struct snap_in *in, struct tly_slice body,
                                     struct tly_slice *last)
{
    struct tly_part part;
    enum tly_result result = tly_columns_get(e, body, &part);
    for (size_t i = 0; result == TLY_OK && i < part.row_count; i++)
        result = tly_session_admits(e, &part.rows[i]);
    for (size_t i = 0; result == TLY_OK && i < part.row_count; i++) {
        result = stage_row(e, in, &part.rows[i]);
        *last = part.rows[i].key;
    }
    return result;
}

static enum tly_result take_chunk(struct tly_engine *e, struct snap_in *in, struct tly_slice body)
{
    struct tly_snap_chunk chunk;
    struct tly_slice last = {0};
    enum tly_result result = tly_snap_chunk_get(body, &chunk);
    if (result != TLY_OK) return result;
    if (in->install == NULL || chunk.number != in->number || chunk.nth != in->chunks) return TLY_BAD_MESSAGE;
    bool columns = tly_snap_chunk_has_columns(&chunk);
    result = columns ? stage_columns(e, in, chunk.part, &last) : stage_rows(e, in, chunk.part, &last);
    if (result != TLY_OK) return result; /* it may come again */
    in->chunks++;
    if (last.n > 0) note_key(in, last);
    return result;
}

static enum tly_result take_end(const struct snap_in *in, struct tly_slice body)
{
    struct tly_snap_end end;
    enum tly_result result = tly_snap_end_get(body, &end);
    if (result != TLY_OK) return result;
    bool whole = in->install != NULL && end.number == in->number && end.chunks == in->chunks;
    return whole ? TLY_OK : TLY_BAD_MESSAGE;
}

/* ---- the disk ---- */

enum tly_result tly_snap_replay(struct tly_engine *e, struct tly_slice batch, size_t kind)
{
    struct snap_in *in = &e->redump;
    if (kind == TLY_BATCH_SNAP_BEGIN) return take_begin(e, in, batch);
    if (kind == TLY_BATCH_SNAP_CHUNK) return take_chunk(e, in, batch);
    enum tly_result result = take_end(in, batch);
    if (result == TLY_OK) result = tly_install_whole(in->install);
    tly_snap_fini(e, in);
    return result;
}

void tly_snap_dump(struct tly_engine *e)
{
    if (!e->has_store) return;
    e->dump = (struct snap_out){.active = true, .number = ++e->snapshots};
    e->held_batch = TLY_NEVER;
    tly_follower_fini(&e->disk);
    tly_follower_init(&e->disk, &e->mem, e->map);
    if (tly_follower_catch_up(&e->disk) != TLY_OK) tly_follower_reset(&e->disk);
}

void tly_snap_dump_again(struct tly_engine *e)
{
    if (e->held_batch <= e->stored) return;
    /* What was promised with what is lost will be with what comes in its place, and nobody waits for the former any more. */
    e->ticket_count = 0;
    e->stored = e->batch;
    tly_snap_dump(e);
    e->dump_at = e->now.mono_ns + NS_PER_S;
}

/* ---- taking ---- */

static void count_cold_start(struct tly_engine *e, enum tly_cold_start why)
{
    switch (why) {
    case TLY_COLD_FLOOR: e->stats.cold_starts_floor++; break;
    case TLY_COLD_FORGOTTEN: e->stats.cold_starts_forgotten++; break;
    case TLY_COLD_AHEAD: e->stats.cold_starts_ahead++; break;
    case TLY_COLD_APPLY_FAILED: e->stats.cold_starts_apply_failed++; break;
    case TLY_COLD_NO_DELTA: e->stats.cold_starts_no_delta++; break;
    case TLY_COLD_START_COUNT: break;
    }
}

static void put_cold(struct tly_engine *e, enum tly_cold_start why)
{
    tly_cold_put(&e->body,
                 &(struct tly_cold){.reason = why, .forgotten = tly_ormap_bounds(e->map).forgotten});
}

/* Of two sources nothing may be mixed, nor of two lives of one. */
bool tly_snap_is_bringing(const struct tly_engine *e, const struct conn *conn)
{
    return conn->asked && e->coming.install != NULL && e->coming.source == conn->peer->origin;
}

/* The same as put_cold, and where the snapshot goes on of which so much has come. */
static void put_resumption(struct tly_engine *e, enum tly_cold_start why)
{
    struct snap_in *in = &e->coming;
    in->kept_until = 0;
    tly_cold_put(&e->body, &(struct tly_cold){.reason = why,
                                              .forgotten = tly_ormap_bounds(e->map).forgotten,
                                              .resumes = true,
                                              .number = in->number,
                                              .chunks = in->chunks,
                                              .key = tly_slice_of(in->key, in->key_bytes)});
}

bool tly_snap_is_asking(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->asked) return true;
    return false;
}

/* What one gives may be no better than what is here, so all are asked in turn. */
void tly_snap_resync(struct tly_engine *e)
{
    struct conn *next = NULL;
    /* What the last one brought is to be stored and heard by the others first. */
    if (tly_snap_is_asking(e) || e->held_batch > e->stored) return;
    for (size_t i = 0; i < e->conn_count; i++) {
        struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP || conn->below || !conn->snapshots) continue;
        if (next == NULL || conn->peer->brings_at < next->peer->brings_at) next = conn;
    }
    if (next != NULL) tly_snap_ask(e, next, TLY_COLD_FLOOR);
}

void tly_snap_ask(struct tly_engine *e, struct conn *conn, enum tly_cold_start why)
{
    conn->asked = true;
    conn->brought_at = conn->peer->brings_at = e->now.mono_ns;
    conn->asked_why = why;
    conn->takes_rounds = false; /* what it gets now would be replaced */
    if (tly_snap_is_bringing(e, conn) && conn->resumes)
        put_resumption(e, why);
    else
        put_cold(e, why);
    tly_fx_send(e, conn, TLY_FRAME_SNAP_ASK);
    count_cold_start(e, why);
    tly_fx_trace(e, TLY_TRACE_COLD_START, conn->peer->name, tly_slice_text(tly_cold_start_word(why)));
}

/* Of two that are both below the other the one serves that has forgotten more: it knows more. Who was forgotten does not. */
static bool serves(const struct tly_engine *e, const struct conn *conn, const struct tly_cold *told)
{
    if (!conn->below || told->reason == TLY_COLD_FORGOTTEN) return false;
    if (conn->below_why == TLY_COLD_FORGOTTEN) return true;
    uint64_t forgotten = tly_ormap_bounds(e->map).forgotten;
    if (forgotten != told->forgotten) return forgotten > told->forgotten;
    return tly_ormap_origin(e->map) < conn->peer->origin;
}

enum tly_result tly_snap_cold_start(struct tly_engine *e, struct conn *conn, struct tly_slice body,
                                    bool *ended)
{
    struct tly_cold told;
    enum tly_result result = tly_cold_get(body, &told);
    conn->is_cold = true;
    if (result != TLY_OK || serves(e, conn, &told)) return result;
    enum tly_cold_start why = told.reason;
    conn->below = false;
    if (why != TLY_COLD_FORGOTTEN) {
        if (!tly_snap_is_asking(e)) tly_snap_ask(e, conn, why);
        e->forget.resync = true; /* another is asked when this one fails */
        return TLY_OK;
    }
    result = tly_life_another(e, "this node had been forgotten", false);
    if (result != TLY_OK && result != TLY_MORE) return result;
    if (result == TLY_OK) count_cold_start(e, why);
    *ended = true;
    for (size_t i = e->conn_count; i-- > 0;)
        if (e->conns[i] == conn || result == TLY_OK)
            tly_conn_end(e, e->conns[i], "resync",
                         result == TLY_OK
                             ? "the node has begun a new life"
                             : "this node had been forgotten, and begins no second life within a minute");
    return TLY_OK;
}

enum tly_result tly_snap_begin(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    if (!conn->asked) return TLY_BAD_MESSAGE;
    enum tly_result result = take_begin(e, &e->coming, body);
    e->coming.source = conn->peer->origin;
    conn->brought_at = e->now.mono_ns;
    if (result == TLY_OK) tly_news_answer(e, conn);
    return result;
}

enum tly_result tly_snap_chunk(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    if (!tly_snap_is_bringing(e, conn)) return TLY_BAD_MESSAGE;
    if (!conn->news.gives) tly_news_answer(e, conn);
    conn->brought_at = e->now.mono_ns;
    return take_chunk(e, &e->coming, body);
}

/* Everything that was derived from the map is derived anew. */
static enum tly_result after_install(struct tly_engine *e, const struct tly_installed *report)
{
    e->stats.snapshots_installed++;
    e->stats.units_carried += report->carried_units;
    if (report->carried > 0) tly_life_carried(e);
    uint64_t old = tly_ormap_origin(e->map);
    /* Without memory it goes on: a mark that says too much is found by comparing. */
    bool has_left = report->own_unsure && tly_life_leave(e, report->own_known) == TLY_OK;
    tly_columns_fini(e);
    tly_snap_dump(e);
    tly_watch_resync(e);
    tly_exports_fail(e);
    tly_late_reset(e);
    for (size_t i = e->conn_count; i-- > 0;)
        tly_conn_end(e, e->conns[i], "resync", "a snapshot was installed");
    /* What was being given was of what is no longer here. */
    tly_snap_drop_aside(e);
    tly_member_learn_all(e);
    enum tly_result result = tly_lives_start(e);
    if (result == TLY_OK) result = tly_lives_close_unannounced(e);
    if (result == TLY_OK && has_left) result = tly_lives_left(e, old, true);
    return result == TLY_OK ? tly_member_announce(e, false) : result;
}

enum tly_result tly_snap_end(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_installed report;
    enum tly_result result = tly_snap_is_bringing(e, conn) ? take_end(&e->coming, body) : TLY_BAD_MESSAGE;
    if (result == TLY_OK) result = tly_flush_seal(e);
    if (result == TLY_OK) tly_news_end(e, conn);
    if (result == TLY_OK) result = tly_lives_former(e, e->coming.install);
    if (result == TLY_OK) {
        tly_cardinality_stop(e);
        result = tly_install_finish(e->coming.install, &report);
        tly_cardinality_use(e);
    }
    if (result == TLY_OK) result = tly_flush_seal(e);
    if (result != TLY_OK) return result;
    conn->peer->failures = 0;
    tly_fx_trace(e, TLY_TRACE_INSTALLED, conn->peer->name,
                 tly_slice_text(tly_cold_start_word(conn->asked_why)));
    return after_install(e, &report);
}

/* ---- giving ---- */

static uint64_t said_by_marks(const void *marks, uint64_t origin)
{
    struct tly_marks left = *(const struct tly_marks *)marks;
    uint64_t said = 0;
    for (struct tly_mark mark; tly_marks_next(&left, &mark);)
        if (mark.origin == origin && mark.ts > said) said = mark.ts;
    return said;
}

/*
 * Whether these marks speak of a life that is retired here, and do not have all of it: their disk did not keep what it was that they
 * had said to be known. Nothing of that life is said again, so rounds would not bring it.
 */
static bool lacks_some(struct tly_marks marks, struct tly_life life)
{
    for (struct tly_mark mark; tly_marks_next(&marks, &mark);)
        if (mark.origin == life.origin) return mark.ts < life.mark;
    return false;
}

bool tly_snap_is_below_floor(struct tly_engine *e, struct tly_marks marks)
{
    for (size_t i = 0; i < tly_ormap_lives(e->map); i++) {
        struct tly_life life = tly_ormap_life(e->map, i);
        if (life.state >= TLY_LIFE_RETIRED && lacks_some(marks, tly_ormap_life_kept(e->map, i))) return true;
        if (life.floor == 0 || life.state >= TLY_LIFE_RETIRED) continue;
        struct tly_version floor = {life.floor, life.origin};
        if (!tly_lives_is_known(e, said_by_marks, &marks, floor)) return true;
    }
    return false;
}

/* Its rounds could not be read, twice at one place: what it holds may come another way. */
static bool has_failed(const struct conn *conn)
{
    return conn->snapshots && conn->peer->failures >= TLY_APPLY_TRIES;
}

bool tly_snap_greeted(struct tly_engine *e, struct conn *conn, const struct tly_hello *hello)
{
    conn->snapshots = hello->snapshot;
    conn->below = true;
    if (tly_lives_is_closed(e, hello->origin))
        conn->below_why = TLY_COLD_FORGOTTEN;
    else if (tly_snap_is_below_floor(e, hello->marks))
        conn->below_why = TLY_COLD_FLOOR;
    else if (!hello->delta && hello->snapshot)
        conn->below_why = TLY_COLD_NO_DELTA;
    else
        conn->below = false;
    if (!conn->below) {
        if (has_failed(conn) && !tly_snap_is_asking(e)) tly_snap_ask(e, conn, TLY_COLD_APPLY_FAILED);
        return true;
    }
    tly_news_greeted(e, conn);
    conn->takes_rounds = false;
    if (!conn->snapshots) {
        tly_conn_end(e, conn, "cold_start", "it needs a snapshot and does not know of any");
        return false;
    }
    put_cold(e, conn->below_why);
    tly_fx_send(e, conn, TLY_FRAME_COLD_START);
    return true;
}

/* A joiner is in the list of every member that can be reached before it gets the first byte. */
static enum tly_result introduce(struct tly_engine *e, struct conn *conn)
{
    struct peer *peer = conn->peer;
    bool known = peer->member_origin == peer->origin && peer->state == MEMBER_ALIVE;
    if (known) return TLY_OK;
    enum tly_result result = tly_member_put(e, tly_slice_text(peer->name), peer->origin,
                                            tly_slice_text(peer->address), MEMBER_ALIVE);
    conn->out.joined_at = tly_ormap_mark(e->map, tly_ormap_origin(e->map));
    return result;
}

/* ---- what was cut off ---- */

static void drop_out(struct tly_engine *e, struct peer *peer)
{
    tly_mem_free(&e->mem, peer->aside, sizeof *peer->aside);
    peer->aside = NULL;
}

void tly_snap_drop_aside(struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        drop_out(e, e->peers[i]);
    tly_snap_fini(e, &e->coming);
}

void tly_snap_put_aside(struct tly_engine *e, struct conn *conn)
{
    uint64_t until = e->now.mono_ns + TLY_RESUME_NS;
    struct peer *peer = conn->peer;
    if (peer == NULL) return;
    if (tly_snap_is_bringing(e, conn)) e->coming.kept_until = until;
    if (!conn->out.active || !conn->out.begun || !conn->resumes) return;
    drop_out(e, peer);
    peer->aside = tly_mem_new(&e->mem, sizeof *peer->aside);
    if (peer->aside == NULL) return;
    *peer->aside = conn->out;
    peer->aside_life = peer->origin;
    peer->aside_until = until < conn->out.give_up_at ? until : conn->out.give_up_at;
}

void tly_snap_tick(struct tly_engine *e)
{
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->aside != NULL && e->peers[i]->aside_until <= e->now.mono_ns)
            drop_out(e, e->peers[i]);
    if (e->coming.kept_until != 0 && e->coming.kept_until <= e->now.mono_ns) tly_snap_fini(e, &e->coming);
}

uint64_t tly_snap_deadline(const struct tly_engine *e)
{
    uint64_t at = e->coming.kept_until != 0 ? e->coming.kept_until : TLY_NEVER;
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->aside != NULL && e->peers[i]->aside_until < at) at = e->peers[i]->aside_until;
    return at;
}

bool tly_snap_holds(const struct tly_engine *e)
{
    for (size_t i = 0; i < e->conn_count; i++)
        if (e->conns[i]->out.active) return true;
    for (size_t i = 0; i < e->peer_count; i++)
        if (e->peers[i]->aside != NULL) return true;
    return false;
}

/* Goes on with what was put aside, from where the peer says; whatever it is, it is not kept any longer. False: a new one begins. */
static bool resume(struct tly_engine *e, struct conn *conn, const struct tly_cold *asked)
{
    struct peer *peer = conn->peer;
    const struct snap_out *aside = peer->aside;
    bool goes_on = aside != NULL && asked->resumes && peer->aside_life == peer->origin &&
                   aside->number == asked->number && asked->chunks <= aside->chunks;
    if (goes_on) {
        conn->out = *aside;
        conn->out.chunks = asked->chunks;
        conn->out.cursor = asked->key.n > 0 ? tly_ormap_cursor_at(e->map, asked->key) : 0;
        conn->out.sent = (struct tly_version){0};
        conn->out.key_bytes = 0;
        conn->flush_at = e->now.mono_ns;
        e->stats.snapshots_resumed++;
        tly_news_begin(e, conn);
    }
    drop_out(e, peer);
    return goes_on;
}

enum tly_result tly_snap_asked(struct tly_engine *e, struct conn *conn, struct tly_slice body)
{
    struct tly_cold asked;
    enum tly_result result = tly_cold_get(body, &asked);
    if (result != TLY_OK) return result;
    conn->below = true;
    conn->below_why = asked.reason;
    conn->takes_rounds = false;
    if (resume(e, conn, &asked)) return TLY_OK;
    conn->out = (struct snap_out){.active = true, .number = ++e->snapshots};
    conn->out.wait_until = e->now.mono_ns + TLY_JOIN_WAIT_NS;
    conn->out.give_up_at = e->now.mono_ns + TLY_SERVE_MAX_NS;
    conn->out.frozen = TLY_NEVER;
    conn->out.frozen = tly_forget_number(e);
    conn->flush_at = e->now.mono_ns;
    tly_news_begin(e, conn);
    return introduce(e, conn);
}

static bool all_know_the_joiner(const struct tly_engine *e, const struct snap_out *out)
{
    if (out->joined_at == 0 || e->now.mono_ns >= out->wait_until) return true;
    for (size_t i = 0; i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        if (conn->state != CONN_UP || conn->below || conn->asked) continue;
        if (tly_follower_word(&conn->follower, tly_ormap_origin(e->map)) < out->joined_at) return false;
    }
    return true;
}

/* The next message, on the lane for bulk. */
static void send_message(struct tly_engine *e, struct conn *conn, size_t room, unsigned wanting)
{
    struct snap_out *out = &conn->out;
    tly_news_skip(e, conn);
    out->columns = conn->columns && conn->version >= 2 ? tly_columns_need(e) : NULL;
    enum tly_frame_type type = tly_snap_next(e, out, room);
    if (!out->active) {
        tly_buf_clear(&e->body);
        tly_news_end(e, conn);
        tly_snap_end_put(&e->body, &(struct tly_snap_end){out->number, out->chunks});
        e->stats.snapshots_sent++;
        tly_columns_fini(e);
    }
    tly_fx_send_on(e, conn, type, TLY_LANE_BULK, wanting);
    tly_flush_part_sent(e, conn);
}

/* Of the snapshot, or of what is new meanwhile; false: nothing more goes now. */
static bool send_some(struct tly_engine *e, struct conn *conn)
{
    uint64_t now = e->now.mono_ns, news_at = conn->out.begun ? tly_news_at(e, conn) : TLY_NEVER;
    unsigned wanting = 1u << TLY_LANE_BULK | (news_at <= now ? 1u << TLY_LANE_LIVE : 0);
    size_t room, told = tly_flush_told_bytes(conn, news_at <= now ? tly_flush_tell(e, conn) : 0);
    enum tly_lane lane = tly_lanes_next(&conn->lanes, wanting, told, now, &room);
    conn->blocked = lane == TLY_LANES;
    if (lane == TLY_LANE_LIVE) tly_news_give(e, conn, room, wanting);
    if (lane > TLY_LANE_LIVE && lane != TLY_LANES) send_message(e, conn, room, wanting);
    if (lane != TLY_LANES) return true;
    uint64_t budget_at = tly_lanes_budget_at(&conn->lanes, now);
    conn->flush_at = news_at > now && news_at < budget_at ? news_at : budget_at;
    return false;
}

void tly_snap_flush(struct tly_engine *e, struct conn *conn)
{
    conn->flush_at = TLY_NEVER;
    conn->blocked = false;
    if (!all_know_the_joiner(e, &conn->out)) {
        conn->flush_at = e->now.mono_ns + e->flush_ns;
        return;
    }
    if (e->now.mono_ns >= conn->out.give_up_at) {
        tly_conn_end(e, conn, "timeout", "the snapshot took too long");
        return;
    }
    while (conn->out.active && e->held_batch <= e->stored) {
        if (tly_fx_is_full(e)) {
            conn->flush_at = e->now.mono_ns;
            return;
        }
        if (!send_some(e, conn)) return;
    }
}
