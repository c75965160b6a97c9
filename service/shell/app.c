#include "service/shell/app_internal.h"
#include "service/shell/intent.h"

#include "crdt/version.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

struct tly_time tly_app_read_time(void)
{
    return (struct tly_time){read_clock(CLOCK_REALTIME), read_clock(CLOCK_MONOTONIC)};
}

/* The same, but for a wall that was set within the last millisecond. */
static struct tly_time time_of(struct tly_app *app)
{
    uint64_t mono_ns = read_clock(CLOCK_MONOTONIC);
    if (tly_wall_is_due(&app->wall, mono_ns))
        tly_wall_note(&app->wall, (struct tly_time){read_clock(CLOCK_REALTIME), mono_ns});
    return tly_wall_at(&app->wall, mono_ns);
}

/* ---- stepping ---- */

static void print_trace(struct tly_app *app, const struct tly_trace *trace)
{
    tly_log(app->log, tly_trace_level(trace->kind), "%s%s%.*s%s%.*s", tly_trace_word(trace->kind),
            trace->peer.n > 0 ? " peer=" : "", (int)trace->peer.n, (const char *)trace->peer.p,
            trace->detail.n > 0 ? ": " : "", (int)trace->detail.n, (const char *)trace->detail.p);
}

static void do_effect(struct tly_app *app, const struct tly_effect *effect)
{
    switch (effect->kind) {
    case TLY_DO_DIAL: tly_net_dial(app->net, effect->conn, effect->bytes); break;
    case TLY_DO_SEND: tly_net_send(app->net, effect->conn, effect->bytes); break;
    case TLY_DO_CLOSE: tly_net_close(app->net, effect->conn); break;
    case TLY_DO_APPEND:
        if (tly_store_append(app->store, effect->number, effect->bytes) != TLY_OK)
            tly_log(app->log, TLY_LEVEL_ERROR,
                    "store: a batch does not fit into memory; nothing more becomes durable");
        else if (tly_store_is_prompt(app->store) && app->wakeup != NULL)
            event_active(app->wakeup, EV_READ, 0);
        break;
    case TLY_DO_INSTALL_FIRST:
    case TLY_DO_INSTALL:
    case TLY_DO_INSTALL_LAST:
    case TLY_DO_TABLE:
    case TLY_DO_TABLE_ROWS:
        if (tly_store_change(app->store, effect) != TLY_OK)
            tly_log(
                app->log, TLY_LEVEL_ERROR,
                "store: a change of the table of prefixes does not fit into memory; nothing more becomes durable");
        break;
    case TLY_DO_LEASE: tly_store_lease(app->store, effect->number); break;
    case TLY_DO_WATCH:
        for (size_t i = 0; i < DOOR_COUNT; i++)
            if (app->doors[i] != NULL) tly_door_wake(app->doors[i]);
        break;
    case TLY_DO_ACKED: app->acked = true; break;
    case TLY_DO_TRACE: print_trace(app, &effect->trace); break;
    }
}

/* Sets the timer for what comes next. */
static void wait_for_deadline(struct tly_app *app, uint64_t now)
{
    uint64_t at = tly_engine_deadline(app->engine);
    if (at == UINT64_MAX) {
        event_del(app->tick);
        return;
    }
    if (at <= now) {
        tly_app_tick_soon(app);
        return;
    }
    uint64_t us = (at - now + 999) / 1000;
    struct timeval in = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    event_add(app->tick, &in);
}

/* Not before all effects are done: who goes on may ask the engine, whose effects do not outlive that. */
static void resume_clients(struct tly_app *app)
{
    app->acked = false;
    for (size_t i = 0; i < DOOR_COUNT; i++)
        if (app->doors[i] != NULL) tly_door_resume(app->doors[i]);
}

void tly_app_step(struct tly_app *app, struct tly_event *event)
{
    struct tly_effects effects;
    event->now = tly_app_read_time();
    if (tly_engine_step(app->engine, event, &effects) != TLY_OK)
        tly_log(app->log, TLY_LEVEL_ERROR, "out of memory: an event was not taken");
    for (size_t i = 0; i < effects.count; i++)
        do_effect(app, &effects.list[i]);
    if (app->acked) resume_clients(app);
    if (!app->tick_active) wait_for_deadline(app, read_clock(CLOCK_MONOTONIC));
}

void tly_app_tick_soon(struct tly_app *app)
{
    if (app->tick_active) return;
    app->tick_active = true;
    event_active(app->tick, EV_TIMEOUT, 0);
}

void tly_app_on_tick(int fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tly_app *app = argument;
    app->tick_active = false;
    uint64_t now = read_clock(CLOCK_MONOTONIC);
    if (tly_engine_deadline(app->engine) <= now) {
        struct tly_event tick = {.kind = TLY_TICK};
        tly_app_step(app, &tick);
    } else {
        wait_for_deadline(app, now);
    }
}

void tly_app_on_net(void *context, struct tly_event *event)
{
    struct tly_app *app = context;
    bool is_idle_word =
        event->kind == TLY_QUEUED && !tly_engine_is_waited_for(app->engine, event->conn, event->number);
    if (!is_idle_word) tly_app_step(app, event);
}

void tly_app_on_store(int fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tly_app *app = argument;
    struct tly_store_report report;
    tly_store_poll(app->store, &report);
    bool was_failing = app->report.failing, is_taken = report.is_taken && !app->report.is_taken;
    uint64_t installs_failed = app->report.installs_failed, was_stored = app->report.stored;
    if (report.changes_left && !app->report.changes_left)
        tly_log(app->log, TLY_LEVEL_WARN,
                "a change is done, but its intent or its row in audit.log is not: with the "
                "next write that is made up for");
    app->report = report;
    if (app->compact != NULL) tly_compact_report(app->compact, &report);
    if (report.failing && (!was_failing || is_taken)) {
        tly_log(app->log, TLY_LEVEL_ERROR, "store fails: %s", report.error);
    } else if (was_failing && !report.failing) {
        tly_log(app->log, TLY_LEVEL_WARN, "store works again");
    }
    if (report.installs_failed > installs_failed) {
        struct tly_event again = {.kind = TLY_INSTALL_FAILED};
        tly_app_step(app, &again);
    }
    if (!report.failing || report.stored > was_stored) {
        struct tly_event stored = {.kind = TLY_STORED, .number = report.stored};
        tly_app_step(app, &stored);
    }
    /* Behind what was stored: that a batch still fitted does not mean that the disk works. */
    if (report.failing) {
        struct tly_event failed = {.kind = TLY_STORE_FAILED};
        tly_app_step(app, &failed);
    }
    struct tly_event leased = {.kind = TLY_LEASED, .number = report.leased};
    tly_app_step(app, &leased);
    for (size_t i = 0; i < DOOR_COUNT; i++)
        if (app->doors[i] != NULL) tly_door_stored(app->doors[i]);
    if (app->stopping) tly_app_check_drained(app);
}

/* ---- for the doors ---- */

struct event_base *tly_app_base(struct tly_app *app)
{
    return app->base;
}

struct tly_engine *tly_app_engine(struct tly_app *app)
{
    return app->engine;
}

const struct tly_config *tly_app_config(const struct tly_app *app)
{
    return &app->config;
}

struct tly_log *tly_app_log(struct tly_app *app)
{
    return app->log;
}

struct tly_rls *tly_app_rls(struct tly_app *app)
{
    return app->rls;
}

enum tly_result tly_app_ask(struct tly_app *app, struct tly_request *request, struct tly_reply *reply)
{
    request->now = tly_app_now(app);
    enum tly_result result = tly_engine_ask(app->engine, request, reply);
    if (request->kind != TLY_ASK_READ) tly_app_tick_soon(app);
    bool is_check = request->kind == TLY_ASK_CHECK || request->kind == TLY_ASK_CHECK_ALL ||
                    request->kind == TLY_ASK_CHECK_EACH;
    if (request->kind != TLY_ASK_READ && !is_check) app->took_writes = true;
    return result;
}

void tly_app_checks(struct tly_app *app, struct tly_checked *checks, size_t count)
{
    tly_engine_checks(app->engine, tly_app_now(app), checks, count);
    tly_app_tick_soon(app);
}

enum tly_result tly_app_ask_feed(struct tly_app *app, tly_app_feed *feed, struct tly_slice question,
                                 struct tly_feed_said *said, struct tly_buf *out)
{
    enum tly_result result = feed(app->engine, question, tly_app_now(app), said, out);
    tly_app_tick_soon(app);
    app->took_writes = true;
    return result;
}

enum tly_result tly_app_wait(struct tly_app *app, const struct tly_ack_wish *wish, struct tly_ack **ack)
{
    tly_app_tick_soon(app);
    return tly_ack_new(app->engine, wish, tly_app_now(app), ack);
}

uint64_t tly_app_ticket(const struct tly_app *app)
{
    return tly_engine_ticket(app->engine);
}

bool tly_app_must_wait(const struct tly_app *app, uint64_t ticket, bool is_write)
{
    if (ticket == 0 || tly_engine_is_stored(app->engine, ticket)) return false;
    return !app->report.failing || (is_write && app->config.fsync == TLY_FSYNC_ALWAYS);
}

bool tly_app_took_writes(struct tly_app *app)
{
    bool took = app->took_writes;
    app->took_writes = false;
    return took;
}

struct tly_time tly_app_now(struct tly_app *app)
{
    return app->in_turn ? app->turn : time_of(app);
}

uint64_t tly_app_cluster_ns(struct tly_app *app)
{
    return tly_engine_cluster_ns(app->engine, tly_app_now(app));
}

void tly_app_turn_begin(struct tly_app *app)
{
    app->turn = time_of(app);
    app->in_turn = true;
}

uint64_t tly_app_turn_end(struct tly_app *app)
{
    app->in_turn = false;
    return read_clock(CLOCK_MONOTONIC) - app->turn.mono_ns;
}

uint64_t tly_app_uptime_s(const struct tly_app *app)
{
    return (read_clock(CLOCK_MONOTONIC) - app->started_ns) / UINT64_C(1000000000);
}

static void add_reason(char *text, size_t size, const char *reason, const char *detail)
{
    size_t n = strlen(text);
    snprintf(text + n, size - n, "%s%s%s\n", reason, detail[0] != '\0' ? ": " : "", detail);
}

/* Whose clock is wrong a node cannot know; most of the others agree, so it is ours. */
static void add_dispute(char *text, size_t size, const struct tly_node_view *view)
{
    char why[200];
    bool ahead = 2 * view->refused_by > view->peers_judged;
    size_t count = ahead ? view->refused_by : view->refusing;
    if (2 * count <= view->peers_judged) return;
    (void)snprintf(
        why, sizeof why,
        "%zu of %zu peers disagree: this machine's clock is %s theirs by more than max_skew; set it "
        "(timedatectl, ntpd)",
        count, view->peers_judged, ahead ? "ahead of" : "behind");
    add_reason(text, size, "clock", why);
}

void tly_app_readiness(const struct tly_app *app, char *text, size_t size)
{
    text[0] = '\0';
    struct tly_node_view view;
    tly_engine_node(app->engine, false, &view);
    if (app->stopping) add_reason(text, size, "stopping", "the node drains its connections and ends");
    if (app->report.failing) add_reason(text, size, "store", app->report.error);
    if (view.peers_held_back > 0)
        add_reason(
            text, size, "memory",
            "memory_max is reached and not all keys of the peers fit: raise it, or wait for keys to expire");
    if (!view.clock_covered)
        add_reason(text, size, "lease",
                   "the clock's lease is not durable: after a crash the order of writes is not assured");
    if (!view.wall_borrowed && read_clock(CLOCK_REALTIME) < TLY_RELEASED_S * UINT64_C(1000000000))
        add_reason(text, size, "clock",
                   "the machine's clock is before this release: set it (timedatectl, ntpd)");
    if (app->xds != NULL && tly_rls_config(app->rls) == NULL)
        add_reason(text, size, "ratelimit", "the management server has not said yet what is limited");
    if (app->rls_files != NULL && tly_rls_config(app->rls) == NULL)
        add_reason(text, size, "ratelimit",
                   "no configuration could be loaded since the start, so calls are refused: set it right");
    struct tly_reload_stats reload = {.good = true};
    if (app->reload != NULL) tly_reload_stats(app->reload, &reload);
    if (reload.key_never_good)
        add_reason(text, size, "limits",
                   "the key " TLY_RELOAD_KEY
                   " cannot be read since the start, so none of its limits is in force: set it right");
    add_dispute(text, size, &view);
}

const struct tly_kept_intent *tly_app_kept(const struct tly_app *app, struct tly_slice prefix)
{
    const struct tly_kept_intent *kept;
    for (size_t i = 0; app->store != NULL && (kept = tly_store_kept(app->store, i)) != NULL; i++)
        if (tly_kept_intent_is_about(kept, prefix)) return kept;
    return NULL;
}

void tly_app_stats(const struct tly_app *app, struct tly_app_stats *stats)
{
    *stats = (struct tly_app_stats){
        .has_store = app->store != NULL,
        .snapshot_given_up = app->compact != NULL && tly_compact_gave_up(app->compact),
        .store_bytes = app->report.bytes,
        .store_batches_stored = app->report.stored,
        .store_batches_synced = app->report.synced,
        .store_snapshot_bytes = app->report.snapshot_bytes,
        .store_snapshots = app->report.snapshots,
        .store_snapshots_failed = app->report.snapshots_failed,
        .store_turn_max_ns = app->compact != NULL ? tly_compact_turn_max_ns(app->compact) : 0,
    };
    struct tly_reload_stats reload = {.good = true};
    if (app->reload != NULL) tly_reload_stats(app->reload, &reload);
    stats->reloads = reload.taken;
    stats->reloads_refused = reload.refused;
    stats->reloaded_at_s = reload.taken_at_s;
    stats->reload_good = reload.good;
    stats->limits_from_file = reload.from_file;
    stats->limits_from_key = reload.from_key;
    struct tly_xds_stats xds = {0};
    if (app->xds != NULL) tly_xds_stats(app->xds, &xds);
    stats->xds_up = xds.is_up;
    stats->xds_connections = xds.dials;
    stats->xds_accepted = xds.accepted;
    stats->xds_refused = xds.refused;
    uint64_t *requests[DOOR_COUNT] = {&stats->resp_commands, &stats->http_requests, &stats->grpc_calls,
                                      &stats->http_requests};
    struct tly_histogram *latency[DOOR_COUNT] = {&stats->resp_latency, &stats->http_latency,
                                                 &stats->grpc_latency, &stats->http_latency};
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        struct tly_door_stats door = {0};
        if (app->doors[i] != NULL) tly_door_stats(app->doors[i], &door);
        *requests[i] += door.requests;
        tly_histogram_join(latency[i], &door.latency);
        stats->clients_open += door.open;
        stats->clients_accepted += door.accepted;
        stats->clients_refused += door.refused;
        stats->clients_calmed += door.calmed;
        stats->clients_crowded += door.crowded;
    }
}

const char *tly_app_address(const struct tly_app *app, const char *door)
{
    if (strcmp(door, "resp") == 0) return app->address[DOOR_RESP];
    if (strcmp(door, "http") == 0) return app->address[DOOR_HTTP];
    if (strcmp(door, "grpc") == 0) return app->address[DOOR_GRPC];
    if (strcmp(door, "peers") == 0) return app->address[DOOR_COUNT];
    return "none";
}
