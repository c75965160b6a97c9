#include "service/engine/impl.h"

#include <assert.h>

#define DIALLED_BIT (UINT64_C(1) << 63)

/* ---- making and ending ---- */

static bool copy_name(char *out, size_t size, struct tly_slice text)
{
    if (text.n >= size || (text.n > 0 && memchr(text.p, '\0', text.n) != NULL)) return false;
    if (text.n > 0) memcpy(out, text.p, text.n);
    out[text.n] = '\0';
    return true;
}

static void init_buffers(struct tly_engine *e)
{
    tly_buf_init(&e->arena, &e->mem, TLY_EFFECT_BYTES_MAX);
    tly_buf_init(&e->body, &e->mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&e->frame, &e->mem, TLY_FRAME_BODY_MAX + TLY_FRAME_HEAD_MAX);
    tly_buf_init(&e->part, &e->mem, TLY_FRAME_BODY_MAX);
    tly_buf_init(&e->scratch, &e->mem, TLY_FRAME_BODY_MAX);
    tly_round_writer_init(&e->writer, &e->mem);
    tly_round_writer_init(&e->forget.gone, &e->mem);
}

/*
 * A stream's table takes about a hundred bytes for each number at either end. Under a ceiling all of them together must stay
 * small beside it, whoever is at the other end.
 */
#define TABLE_PART 256u
#define TABLE_ROW_BYTES 100u
#define TABLE_LEAST 64u

static uint32_t table_for(size_t memory_max)
{
    size_t rows = memory_max / TABLE_PART / TABLE_ROW_BYTES;
    if (memory_max == 0 || rows > TLY_NAMES_MAX) return TLY_NAMES_MAX;
    return rows > TABLE_LEAST ? (uint32_t)rows : TABLE_LEAST;
}

static enum tly_result make_streams(struct tly_engine *e, const struct tly_hash_key *hash_key)
{
    e->table = e->names_max = table_for(e->memory_max);
    struct tly_names_config names = {.mem = e->mem,
                                     .hash_key = *hash_key,
                                     .names_max = e->names_max,
                                     .key_bytes_max = TLY_NAMES_KEY_BYTES_MAX};
    e->names = tly_names_new(&names);
    e->parts = tly_parts_new(&e->mem);
    if (e->parts != NULL) tly_parts_use_hash(e->parts, hash_key);
    return e->names != NULL && e->parts != NULL ? TLY_OK : TLY_NOMEM;
}

/* The key of fingerprints follows from the cluster's name, a zero and its secret. */
static enum tly_result make_print_key(struct tly_engine *e, struct tly_slice secret)
{
    tly_buf_clear(&e->part);
    tly_buf_put(&e->part, e->cluster, strlen(e->cluster) + 1);
    if (secret.n > 0) tly_buf_put(&e->part, secret.p, secret.n);
    if (e->part.result != TLY_OK) return e->part.result;
    tly_hash_key_from(&e->print_key, tly_buf_slice(&e->part));
    tly_buf_clear(&e->part);
    return TLY_OK;
}

static enum tly_result make_map(struct tly_engine *e, const struct tly_engine_config *config)
{
    enum tly_result result = tly_prefixes_init(e);
    if (result != TLY_OK) return result;
    uint64_t skew = config->max_skew_ns != 0 ? config->max_skew_ns : TLY_MAX_SKEW_NS;
    struct tly_ormap_config map = {
        .mem = e->mem,
        .hash_key = config->hash_key,
        .registry = e->registry,
        .keys_max = SIZE_MAX,
        .clock = tly_clock_of(config->lease, config->now, skew),
    };
    e->map = tly_ormap_new(&map);
    if (e->map == NULL) return TLY_NOMEM;
    tly_follower_init(&e->disk, &e->mem, e->map);
    return make_print_key(e, config->secret);
}

enum tly_result tly_engine_new(const struct tly_engine_config *config, struct tly_engine **out)
{
    struct tly_engine *e = tly_mem_zeroed(&config->mem, sizeof *e);
    if (e == NULL) return TLY_NOMEM;
    e->budget = tly_budget_of(&config->mem, sizeof *e);
    e->mem = tly_budget_mem(&e->budget);
    e->hash_key = config->hash_key;
    e->good_rate = (struct tly_rate){.limit = 1, .window_ms = 1};
    e->memory_max = config->memory_max;
    e->on_full = config->on_full;
    e->flush_ns = (config->flush_ms != 0 ? config->flush_ms : 10) * NS_PER_MS;
    e->link_budget = config->link_budget;
    e->horizon_ns = config->horizon_ns;
    e->random = config->seed;
    e->late.session = config->seed + config->now.wall_ns;
    e->has_store = config->has_store;
    e->now = config->now;
    e->wall_earliest_ns = config->wall_earliest_ns;
    e->time = tly_cluster_time_of(config->now);
    e->cluster_ns = config->now.wall_ns;
    e->wall_bias = config->now.wall_ns - config->now.mono_ns;
    e->mesh_max = config->mesh_max != 0 ? config->mesh_max : TLY_MESH_MAX;
    e->incarnation = 1;
    e->due = TLY_NEVER;
    e->keys_cursor = SIZE_MAX;
    e->sampling.left = e->sampling.step = 1;
    e->next_dial = DIALLED_BIT;
    e->ticket_open = 1;
    e->repair_step_at = TLY_NEVER;
    e->lease_asked = config->lease;
    e->sweep_at = e->sweep_from = config->now.mono_ns + TLY_SWEEP_FIRST_NS;
    tly_forget_init(e, config);
    init_buffers(e);
    bool named = config->name.n > 0 && copy_name(e->name, sizeof e->name, config->name) &&
                 copy_name(e->cluster, sizeof e->cluster, config->cluster) &&
                 copy_name(e->address, sizeof e->address, config->address);
    enum tly_result result = named ? make_map(e, config) : TLY_BAD_MESSAGE;
    if (result == TLY_OK) result = make_streams(e, &config->hash_key);
    if (result == TLY_OK) result = tly_near_init(e);
    if (result == TLY_OK) result = tly_standing_init(e);
    if (result != TLY_OK) {
        tly_engine_free(e);
        return result;
    }
    *out = e;
    return TLY_OK;
}

void tly_engine_free(struct tly_engine *e)
{
    if (e == NULL) return;
    for (size_t i = 0; i < e->conn_count; i++)
        tly_conn_free(e, e->conns[i]);
    for (size_t i = 0; i < e->target_count; i++)
        tly_mem_free(&e->mem, e->targets[i], sizeof *e->targets[i]);
    tly_snap_drop_aside(e);
    for (size_t i = 0; i < e->peer_count; i++)
        tly_mem_free(&e->mem, e->peers[i], sizeof *e->peers[i]);
    tly_mem_free(&e->mem, e->conns, e->conn_capacity * sizeof *e->conns);
    tly_mem_free(&e->mem, e->targets, e->target_capacity * sizeof *e->targets);
    tly_mem_free(&e->mem, e->peers, e->peer_capacity * sizeof *e->peers);
    tly_mem_free(&e->mem, e->numbers, e->number_capacity * sizeof *e->numbers);
    tly_ring_free(e);
    tly_mem_free(&e->mem, e->pending, e->pending_capacity * sizeof *e->pending);
    tly_mem_free(&e->mem, e->effects, e->effect_capacity * sizeof *e->effects);
    tly_mem_free(&e->mem, e->holds, e->hold_capacity * sizeof *e->holds);
    tly_leases_free(e->leases);
    tly_top_fini(e);
    tly_why_fini(e);
    tly_watch_fini(e);
    tly_mem_free(&e->mem, e->forget.closed, e->forget.closed_capacity * sizeof *e->forget.closed);
    tly_snap_fini(e, &e->redump);
    tly_follower_fini(&e->disk);
    tly_buf_fini(&e->arena);
    tly_buf_fini(&e->body);
    tly_buf_fini(&e->frame);
    tly_buf_fini(&e->part);
    tly_buf_fini(&e->scratch);
    tly_round_writer_fini(&e->writer);
    tly_round_writer_fini(&e->forget.gone);
    tly_mem_free(&e->mem, e->near_limits, TLY_NEAR_KEPT * sizeof *e->near_limits);
    tly_columns_fini(e);
    tly_parts_free(e->parts);
    tly_names_free(e->names);
    tly_rules_free(e->rules);
    tly_heat_free(e->heat);
    tly_escrow_fini(e);
    tly_ormap_free(e->map);
    tly_mem_free(&e->mem, e->examiner, sizeof *e->examiner);
    tly_registry_free(e->registry);
    tly_buf_fini(&e->table_news);
    struct tly_mem given = e->budget.given;
    tly_mem_free(&given, e, sizeof *e);
}

void tly_engine_check(const struct tly_engine *e)
{
    tly_leases_check(e->leases);
    tly_ormap_check(e->map);
    tly_heat_check(e->heat);
    assert(e->stored <= e->batch && e->ticket_count <= TLY_BATCHES_MAX);
    assert(e->budget.ceiling == TLY_NO_CEILING && e->budget.used >= tly_ormap_bytes(e->map));
    for (size_t i = 0; i < e->conn_count; i++) {
        const struct conn *conn = e->conns[i];
        assert((conn->target != NULL) == (conn->id >= DIALLED_BIT));
        assert((conn->state == CONN_UP) == (conn->peer != NULL));
        assert(conn->target == NULL || conn->target->dialling);
        assert(conn->peer == NULL || conn->peer->conn == conn);
        tly_lanes_check(&conn->lanes);
        (void)conn;
    }
}

/* ---- the start ---- */

enum tly_result tly_engine_replay(struct tly_engine *e, struct tly_slice batch)
{
    size_t kind = tly_batch_kind(batch);
    if (kind != 0 && kind != TLY_BATCH_ROUND) return tly_snap_replay(e, batch, kind);
    struct tly_round round;
    enum tly_result result = tly_round_get(batch, &round);
    if (result != TLY_OK) return result;
    if (tly_forget_replay(e, &round)) return TLY_OK;
    if ((round.flags & TLY_ROUND_FIRST) != 0) e->replay_taken = tly_marks_are_covered(e, round.start);
    result = tly_session_join(e, &round, NULL);
    if (result != TLY_OK) return result;
    bool complete = (round.flags & TLY_ROUND_LAST) != 0 && e->replay_taken;
    return complete ? tly_marks_take(e, round.end) : TLY_OK;
}

void tly_engine_clear_marks(struct tly_engine *e)
{
    assert(tly_ormap_origin(e->map) == 0);
    tly_ormap_clear_marks(e->map);
}

static void set_out(struct tly_engine *e, uint64_t origin, struct tly_time now)
{
    assert(origin != 0 && tly_ormap_origin(e->map) == 0);
    e->now = tly_time_believed(e, now);
    e->set_out_at = e->now.mono_ns;
    tly_clock_tick(tly_ormap_clock(e->map), e->now);
    tly_time_tick(e);
    e->stats = (struct tly_stats){0}; /* what the replay counted was not received */
}

enum tly_result tly_engine_start(struct tly_engine *e, uint64_t origin, struct tly_time now)
{
    set_out(e, origin, now);
    return tly_life_start(e, origin);
}

enum tly_result tly_engine_resume(struct tly_engine *e, uint64_t origin, bool has_seeds, struct tly_time now)
{
    set_out(e, origin, now);
    return tly_life_resume(e, origin, has_seeds);
}

enum tly_result tly_engine_join(struct tly_engine *e, struct tly_slice address)
{
    if (address.n == 0 || address.n > TLY_ADDRESS_BYTES_MAX) return TLY_BAD_MESSAGE;
    struct target *target = tly_target_need(e, address);
    if (target == NULL) return TLY_NOMEM;
    target->is_seed = true;
    return TLY_OK;
}

enum tly_result tly_engine_seeds(struct tly_engine *e, unsigned source, const struct tly_slice *addresses,
                                 size_t count)
{
    for (size_t i = 0; i < e->target_count; i++)
        if (e->targets[i]->source == source) e->targets[i]->is_seed = false;
    for (size_t i = 0; i < count; i++) {
        struct target *target = tly_target_need(e, addresses[i]);
        if (target == NULL) return TLY_NOMEM;
        if (!target->is_seed) target->source = source;
        target->is_seed = true;
    }
    return TLY_OK;
}

void tly_engine_use_rules(struct tly_engine *e, struct tly_rules *rules)
{
    if (rules != NULL && e->rules != NULL) tly_rules_go_on(rules, e->rules);
    tly_rules_free(e->rules);
    e->rules = rules;
    tly_cardinality_use(e);
    memset(e->recent, 0, sizeof e->recent);
    tly_escrow_use_rules(e);
    tly_flight_use_rules(e);
    /* It may be of a zone that is gone, in whose place another may lie. */
    e->span = (struct tly_span){0};
}

const struct tly_rules *tly_engine_rules(const struct tly_engine *e)
{
    return e->rules;
}

/* ---- events ---- */

static void on_accepted(struct tly_engine *e, uint64_t id)
{
    struct conn *conn = id != 0 && id < DIALLED_BIT && !e->leaving ? tly_conn_new(e, id, NULL) : NULL;
    if (conn != NULL)
        tly_conn_greet(e, conn);
    else
        tly_fx_add(e, TLY_DO_CLOSE, id, 0, tly_slice_of(NULL, 0));
}

static void on_conn(struct tly_engine *e, const struct tly_event *event)
{
    struct conn *conn = tly_conn_find(e, event->conn);
    if (conn == NULL) {
        e->stats.stale_callbacks++;
        return;
    }
    if (event->kind == TLY_CONNECTED) {
        if (conn->state == CONN_DIALLING) tly_conn_greet(e, conn);
    } else if (event->kind == TLY_CLOSED) {
        tly_conn_gone(e, conn, conn->in.n > 0 ? "connection closed inside a frame" : "connection closed");
    } else if (event->kind == TLY_QUEUED) {
        tly_conn_taken(e, conn, event->number);
    } else if (conn->state != CONN_DIALLING) {
        tly_session_bytes(e, conn, event->bytes);
    }
}

bool tly_engine_is_waited_for(struct tly_engine *e, uint64_t id, uint64_t queued)
{
    struct conn *conn = tly_conn_find(e, id);
    if (conn == NULL) return true;
    tly_conn_taken(e, conn, queued);
    return conn->blocked;
}

static void on_leave(struct tly_engine *e)
{
    if (e->leaving) return;
    e->leaving = true;
    if (tly_member_announce(e, true) == TLY_OK) {
        for (size_t i = 0; i < e->conn_count; i++)
            e->conns[i]->flush_at = e->now.mono_ns;
        tly_flush_tick(e);
    }
    while (e->conn_count > 0)
        tly_conn_end(e, e->conns[e->conn_count - 1], "leaving", "the node is stopping");
}

static void on_event(struct tly_engine *e, const struct tly_event *event)
{
    switch (event->kind) {
    case TLY_TICK:
        tly_swim_tick(e);
        tly_link_tick(e);
        tly_forget_tick(e);
        tly_hearsay_tick(e);
        tly_hold_tick(e);
        tly_flight_tick(e);
        tly_cardinality_tick(e);
        tly_flush_tick(e);
        tly_room_tick(e);
        tly_repair_tick(e);
        tly_snap_tick(e);
        break;
    case TLY_ACCEPTED: on_accepted(e, event->conn); break;
    case TLY_CONNECTED:
    case TLY_CLOSED:
    case TLY_BYTES:
    case TLY_QUEUED: on_conn(e, event); break;
    case TLY_STORED:
        e->store_failing = false;
        tly_flush_stored(e, event->number);
        break;
    case TLY_LEASED: tly_clock_leased(tly_ormap_clock(e->map), event->number); break;
    case TLY_STORE_FAILED: e->store_failing = true; break;
    case TLY_INSTALL_FAILED: tly_snap_dump_again(e); break;
    case TLY_LEAVE: on_leave(e); break;
    }
}

enum tly_result tly_engine_step(struct tly_engine *e, const struct tly_event *event,
                                struct tly_effects *effects)
{
    tly_fx_reset(e);
    e->now = tly_time_believed(e, event->now);
    tly_swim_wake(e);
    tly_clock_tick(tly_ormap_clock(e->map), e->now);
    tly_time_tick(e);
    tly_prefixes_step(e);
    on_event(e, event);
    tly_lives_end_connections(e);
    tly_life_judge(e);
    tly_time_judge(e);
    tly_watch_tick(e);
    tly_escrow_step(e);
    tly_acks_step(e);
    tly_standing_step(e, event->kind == TLY_TICK || event->kind == TLY_CLOSED);
    if (event->kind == TLY_TICK) tly_swim_next(e);
    *effects = tly_fx_take(e);
    return e->arena.result == TLY_OK && effects->list != NULL ? TLY_OK : TLY_NOMEM;
}

uint64_t tly_engine_deadline(const struct tly_engine *e)
{
    const uint64_t all[] = {tly_link_deadline(e),        tly_flush_deadline(e),  tly_room_deadline(e),
                            tly_watch_deadline(e),       tly_forget_deadline(e), tly_repair_deadline(e),
                            tly_snap_deadline(e),        tly_acks_deadline(e),   tly_life_deadline(e),
                            tly_escrow_deadline(e),      tly_hold_deadline(e),   tly_flight_deadline(e),
                            tly_cardinality_deadline(e), tly_hearsay_deadline(e)};
    uint64_t at = e->greets_anew ? 0 : TLY_NEVER;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        at = tly_earlier(at, all[i]);
    /* It asks every peer, and nothing of it is due before that. */
    return e->swim_at < at ? tly_earlier(at, tly_swim_deadline(e)) : at;
}
