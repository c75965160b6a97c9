#include "service/shell/app_internal.h"

#include "crdt/version.h"
#include "service/shell/intent.h"
#include "service/shell/libc_mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_S 4

static uint64_t random_u64(void)
{
    uint64_t number;
    do
        arc4random_buf(&number, sizeof number);
    while (number == 0);
    return number;
}

static bool fail(struct tly_config_error *error, const char *what, const char *why)
{
    snprintf(error->text, sizeof error->text, "%s: %s", what, why);
    return false;
}

/* ---- up ---- */

static bool open_store(struct tly_app *app, struct tly_config_error *error)
{
    if (app->config.data[0] == '\0') return true;
    char why[512];
    struct tly_storage *storage = tly_storage_directory(app->config.data, why, sizeof why);
    if (storage == NULL) return fail(error, "data", why);
    if (tly_store_open(storage, app->config.fsync, &app->store, why, sizeof why) != TLY_OK)
        return fail(error, "data", why);
    return true;
}

static bool listen_for_peers(struct tly_app *app, struct tly_config_error *error)
{
    char *address = app->address[DOOR_COUNT], why[512];
    app->net = tly_net_new(app->base, tly_app_on_net, app);
    if (app->net == NULL) return fail(error, "peers", "out of memory");
    if (app->config.peers.kind == TLY_LISTEN_NONE) return true;
    if (!tly_net_listen(app->net, &app->config.peers, address, TLY_ADDRESS_TEXT_MAX, why, sizeof why))
        return fail(error, "peers", why);
    return true;
}

static const char *port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon != NULL ? colon + 1 : "";
}

/* The name that was set, else the one that the data directory knows, else host name and peers port. */
static void choose_name(struct tly_app *app)
{
    if (app->config.name[0] != '\0') return;
    const struct tly_identity *identity = app->store != NULL ? tly_store_identity(app->store) : NULL;
    if (identity != NULL && identity->name[0] != '\0') {
        strlcpy(app->config.name, identity->name, sizeof app->config.name);
        return;
    }
    char host[TLY_NAME_BYTES_MAX - 8];
    if (gethostname(host, sizeof host) != 0) strlcpy(host, "node", sizeof host);
    host[sizeof host - 1] = '\0';
    const char *port = port_of(app->address[DOOR_COUNT]);
    snprintf(app->config.name, sizeof app->config.name, "%s%s%s", host, port[0] != '\0' ? "-" : "", port);
}

/* What peers dial: the setting, else the peers address, with the host's name where that means all addresses. */
static void choose_advertise(struct tly_app *app)
{
    const char *peers = app->address[DOOR_COUNT];
    if (app->config.advertise[0] != '\0' || app->config.peers.kind == TLY_LISTEN_NONE) return;
    const char *host = app->config.peers.host;
    if (strcmp(host, "0.0.0.0") != 0 && strcmp(host, "::") != 0 && strcmp(host, "[::]") != 0) {
        strlcpy(app->config.advertise, peers, sizeof app->config.advertise);
        return;
    }
    char name[200];
    if (gethostname(name, sizeof name) != 0) strlcpy(name, "localhost", sizeof name);
    name[sizeof name - 1] = '\0';
    snprintf(app->config.advertise, sizeof app->config.advertise, "%s:%s", name, port_of(peers));
    tly_log(app->log, TLY_LEVEL_WARN,
            "peers listens on all addresses: other nodes are told %s; set advertise= if "
            "they cannot reach that",
            app->config.advertise);
}

/* A sanitizer sees what is done to libc's blocks only. */
#ifdef __SANITIZE_ADDRESS__
#define IS_WATCHED true
#else
#define IS_WATCHED false
#endif

static bool make_engine(struct tly_app *app, uint64_t lease, struct tly_config_error *error)
{
    if (app->config.large_pages == TLY_LARGE_PAGES_AUTO && !IS_WATCHED) app->heap = tly_heap_new();
    struct tly_engine_config config = {
        .mem = app->heap != NULL ? tly_heap_mem(app->heap) : tly_libc_mem(),
        .seed = random_u64(),
        .name = tly_slice_text(app->config.name),
        .cluster = tly_slice_text(app->config.cluster),
        .secret = tly_slice_text(app->config.secret),
        .address = tly_slice_text(app->config.advertise),
        .flush_ms = app->config.flush_ms,
        .mesh_max = app->config.mesh_max,
        .link_budget = app->config.link_budget,
        .memory_max = app->config.memory_max,
        .on_full = app->config.on_full,
        .tombstone_grace_ms = app->config.tombstone_grace_ms,
        .forget_after_ms = app->config.forget_after_ms,
        .wall_earliest_ns = TLY_RELEASED_S * UINT64_C(1000000000),
        .lease = lease,
        .has_store = app->store != NULL,
        .now = tly_app_read_time(),
    };
    arc4random_buf(config.hash_key.secret, sizeof config.hash_key.secret);
    enum tly_result result = tly_engine_new(&config, &app->engine);
    return result == TLY_OK || fail(error, "cannot start", tly_result_text(result));
}

struct replay {
    struct tly_app *app;
    uint64_t batches;
    uint64_t told_at;
};

static enum tly_result replay_batch(void *context, struct tly_slice batch)
{
    struct replay *replay = context;
    replay->batches++;
    uint64_t now = tly_app_read_time().mono_ns;
    if (now - replay->told_at > UINT64_C(2000000000)) {
        replay->told_at = now;
        tly_log(replay->app->log, TLY_LEVEL_INFO, "reading the log: %llu batches so far",
                (unsigned long long)replay->batches);
    }
    return tly_engine_replay(replay->app->engine, batch);
}

static bool read_store(struct tly_app *app, struct tly_config_error *error)
{
    char notice[512] = "";
    struct replay replay = {.app = app, .told_at = tly_app_read_time().mono_ns};
    enum tly_result result = tly_store_equip(app->store, app->engine);
    if (result == TLY_WRONG_STRATEGY)
        return fail(
            error, "data",
            "a prefix has a strategy that this tallyd does not know: start the version that registered it");
    if (result == TLY_OK) result = tly_store_replay(app->store, replay_batch, &replay, notice, sizeof notice);
    tly_engine_leave_out(app->engine, NULL, NULL);
    if (result == TLY_CLOCK_AHEAD)
        return fail(error, "data",
                    "the log is further in the future than this machine's clock allows: set the clock");
    if (result != TLY_OK) return fail(error, "data", notice[0] != '\0' ? notice : tly_result_text(result));
    if (notice[0] != '\0') tly_log(app->log, TLY_LEVEL_WARN, "data: %s", notice);
    if (tly_store_identity(app->store)->manifest_lost)
        tly_log(app->log, TLY_LEVEL_WARN,
                "data: MANIFEST is missing: the log was read as it is, and a new life begins");
    return true;
}

static void tell_kept(const struct tly_app *app)
{
    const struct tly_kept_intent *kept;
    for (size_t i = 0; (kept = tly_store_kept(app->store, i)) != NULL; i++)
        tly_log(
            app->log, TLY_LEVEL_ERROR,
            "data: %s, a change that was not finished, cannot be read: %s; it is kept, and all else goes on. "
            "Make it readable and start again, or start the version that wrote it; if neither can be, move it "
            "away: MANIFEST alone says what the state is",
            kept->name, kept->why);
}

/* On a full disk too, under a life that nobody on it knows of; *origin is that then. */
static bool begin_store(struct tly_app *app, uint64_t from, uint64_t *origin, struct tly_config_error *error)
{
    char why[512];
    enum tly_result result =
        tly_store_begin(app->store, app->config.name, *origin, from + TLY_CLOCK_LEASE_NS, why, sizeof why);
    bool is_full = result == TLY_FULL;
    if (is_full) {
        tly_log(
            app->log, TLY_LEVEL_ERROR,
            "data: %s; the node starts all the same, as a new life, and stores nothing before there is space",
            why);
        *origin = random_u64();
        result = tly_store_begin_full(app->store, *origin, why, sizeof why);
    }
    if (result != TLY_OK) return fail(error, "data", why);
    tell_kept(app);
    if (tly_store_hold(app->store, app->engine) != TLY_OK)
        return fail(error, "data",
                    "more changes were not finished and cannot be read than prefixes can be refused");
    if (is_full) return true;
    struct tly_event leased = {
        .kind = TLY_LEASED, .now = tly_app_read_time(), .number = from + TLY_CLOCK_LEASE_NS};
    struct tly_effects none;
    result = tly_engine_step(app->engine, &leased, &none);
    return result == TLY_OK || fail(error, "cannot start", tly_result_text(result));
}

/* The earlier life goes on after a clean stop; the lease is durable before the first version is given. */
static bool begin_life(struct tly_app *app, struct tly_config_error *error)
{
    const struct tly_identity *identity = app->store != NULL ? tly_store_identity(app->store) : NULL;
    bool may_go_on = identity != NULL && identity->may_continue && identity->origin != 0;
    uint64_t earlier = may_go_on ? identity->origin : random_u64(), origin = earlier;
    struct tly_time now = tly_app_read_time();
    if (identity != NULL) {
        uint64_t from = identity->lease > now.wall_ns ? identity->lease : now.wall_ns;
        if (!begin_store(app, from, &origin, error)) return false;
    }
    bool goes_on = may_go_on && origin == earlier;
    enum tly_result result = goes_on ? tly_engine_resume(app->engine, origin, app->config.join_count > 0, now)
                                     : tly_engine_start(app->engine, origin, now);
    for (size_t i = 0; i < app->config.join_count && result == TLY_OK; i++)
        if (!tly_seed_is_dns(app->config.join[i]))
            result = tly_engine_join(app->engine, tly_slice_text(app->config.join[i]));
    return result == TLY_OK || fail(error, "cannot start", tly_result_text(result));
}

static void on_seeds(void *context, unsigned source, const struct tly_slice *addresses, size_t count)
{
    struct tly_app *app = context;
    if (tly_engine_seeds(app->engine, source, addresses, count) != TLY_OK)
        tly_log(app->log, TLY_LEVEL_WARN, "join: out of memory for seeds; they are asked for again");
    tly_app_tick_soon(app);
}

/* Names are looked up, again and again, while the node runs. */
static bool start_reloading(struct tly_app *app, const struct tly_config_sources *sources,
                            struct tly_config_error *error)
{
    struct tly_reload_config config = {.base = app->base,
                                       .log = app->log,
                                       .engine = app->engine,
                                       .config = &app->config,
                                       .sources = sources};
    app->reload = tly_reload_new(&config);
    return app->reload != NULL || fail(error, "limits", "out of memory");
}

static bool start_seeds(struct tly_app *app, struct tly_config_error *error)
{
    struct tly_seeds_config config = {
        .base = app->base,
        .log = app->log,
        .resolver = app->config.resolver,
        .found = on_seeds,
        .context = app,
    };
    for (size_t i = 0; i < app->config.join_count; i++) {
        char why[256] = "out of memory";
        if (!tly_seed_is_dns(app->config.join[i])) continue;
        if (app->seeds == NULL) app->seeds = tly_seeds_new(&config, why, sizeof why);
        if (app->seeds == NULL) return fail(error, "join", why);
        if (!tly_seeds_add(app->seeds, (unsigned)i + 1, app->config.join[i]))
            return fail(error, "join", "out of memory");
    }
    return true;
}

/* Envoy's rate limit service is there whether a door leads to it or not. */
static bool start_rls(struct tly_app *app, struct tly_config_error *error)
{
    struct tly_mem mem = tly_libc_mem();
    app->rls = tly_rls_new(&mem, &app->config.rls);
    if (app->rls == NULL) return fail(error, "cannot start", "out of memory");
    if (app->config.xds.server[0] != '\0') {
        struct tly_tls_error why;
        app->xds = tly_xds_new(app, app->rls, &app->config.xds, &why);
        return app->xds != NULL || fail(error, "xds", why.text);
    }
    if (app->config.rls_place.root[0] == '\0') return true;
    app->rls_files = tly_rls_files_new(app, app->rls, &app->config.rls_place);
    return app->rls_files != NULL || fail(error, "cannot start", "out of memory");
}

static bool start_tls(struct tly_app *app, struct tly_config_error *error)
{
    struct tly_tls_error why;
    if (app->config.grpc_tls.certificate[0] == '\0') return true;
    app->grpc_tls = tly_tls_new(&app->config.grpc_tls, TLY_TLS_SERVER, &why);
    if (app->grpc_tls == NULL) return fail(error, "TLS of the gRPC door", why.text);
    return tly_tls_watch(app->grpc_tls, app->base, app->log) || fail(error, "cannot start", "out of memory");
}

static bool open_doors(struct tly_app *app, struct tly_config_error *error)
{
    const struct tly_listen *listens[DOOR_COUNT] = {&app->config.resp, &app->config.http, &app->config.grpc,
                                                    &app->config.debug};
    const struct tly_protocol *protocols[DOOR_COUNT] = {tly_resp_protocol(), tly_http_protocol(),
                                                        tly_grpc_protocol(), tly_http_protocol()};
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        char why[512];
        if (listens[i]->kind == TLY_LISTEN_NONE) continue;
        app->doors[i] = tly_door_open(app, listens[i], protocols[i], app->address[i], TLY_ADDRESS_TEXT_MAX,
                                      why, sizeof why);
        if (app->doors[i] == NULL) return fail(error, protocols[i]->name, why);
        if (i == DOOR_GRPC) tly_door_encrypt(app->doors[i], app->grpc_tls);
    }
    return true;
}

static void on_log_turn(int fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    tly_log_turn(argument, tly_app_read_time().mono_ns / 1000000);
}

static bool start_events(struct tly_app *app, struct tly_config_error *error)
{
    static const struct timeval second = {1, 0};
    app->tick = event_new(app->base, -1, 0, tly_app_on_tick, app);
    app->log_turn = event_new(app->base, -1, EV_PERSIST, on_log_turn, app->log);
    if (app->tick == NULL || app->log_turn == NULL || event_add(app->log_turn, &second) != 0)
        return fail(error, "cannot start", "out of memory");
    if (app->store == NULL) return true;
    int fd = tly_store_wakeup_fd(app->store);
    struct tly_compact_config compact = {app->base, app->engine, app->store, app->log,
                                         app->config.compact_min};
    app->wakeup = event_new(app->base, fd, EV_READ | EV_PERSIST, tly_app_on_store, app);
    app->compact = tly_compact_new(&compact);
    if (app->wakeup == NULL || app->compact == NULL || event_add(app->wakeup, NULL) != 0)
        return fail(error, "cannot start", "out of memory");
    return true;
}

bool tly_app_start(struct tly_app *app, const struct tly_config_sources *sources, struct tly_rules *rules,
                   struct tly_config_error *error)
{
    for (size_t i = 0; i <= DOOR_COUNT; i++)
        strlcpy(app->address[i], "none", sizeof app->address[i]);
    app->started_ns = tly_app_read_time().mono_ns;
    if (!open_store(app, error) || !listen_for_peers(app, error)) goto free_rules;
    choose_name(app);
    choose_advertise(app);
    uint64_t lease = app->store != NULL ? tly_store_identity(app->store)->lease : 0;
    if (!make_engine(app, lease, error)) goto free_rules;
    tly_engine_use_rules(app->engine, rules);
    if (app->store != NULL && !read_store(app, error)) return false;
    if (!start_events(app, error) || !begin_life(app, error) || !start_seeds(app, error) ||
        !start_rls(app, error) || !start_reloading(app, sources, error) || !start_tls(app, error) ||
        !open_doors(app, error))
        return false;
    tly_app_tick_soon(app);
    return true;
free_rules:
    tly_rules_free(rules);
    return false;
}

/* ---- changes ---- */

void tly_app_reload(struct tly_app *app)
{
    if (app->rls_files != NULL) tly_rls_files_reload(app->rls_files);
    bool has_file = app->config.file[0] != '\0';
    if (app->reload != NULL && (has_file || app->rls_files == NULL)) tly_reload_file(app->reload);
}

/* ---- down ---- */

static void on_give_up(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tly_app *app = argument;
    tly_log(app->log, TLY_LEVEL_WARN, "not everybody took the last answers in time: stopping all the same");
    event_base_loopbreak(app->base);
}

static void on_look(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    tly_app_check_drained(argument);
}

/* A disk that refuses is not waited for: what it lacks is lost, and the life ends. */
static bool is_on_its_way(struct tly_app *app)
{
    struct tly_node_view view;
    tly_engine_node(app->engine, false, &view);
    return view.store_failing || tly_engine_has_handed_all(app->engine);
}

void tly_app_check_drained(struct tly_app *app)
{
    static const struct timeval soon = {0, 10000};
    bool drained = tly_net_is_idle(app->net) && is_on_its_way(app);
    for (size_t i = 0; i < DOOR_COUNT; i++)
        drained = drained && (app->doors[i] == NULL || tly_door_is_drained(app->doors[i]));
    if (drained)
        event_base_loopbreak(app->base);
    else
        event_add(app->look, &soon);
}

void tly_app_stop(struct tly_app *app)
{
    static const struct timeval patience = {DRAIN_S, 0};
    if (app->stopping) {
        tly_log(app->log, TLY_LEVEL_WARN, "told to stop again: stopping now");
        event_base_loopbreak(app->base);
        return;
    }
    app->stopping = true;
    tly_log(app->log, TLY_LEVEL_INFO, "stopping: draining connections");
    for (size_t i = 0; i < DOOR_COUNT; i++)
        if (app->doors[i] != NULL) tly_door_drain(app->doors[i]);
    tly_net_stop_listening(app->net);
    struct tly_event leave = {.kind = TLY_LEAVE};
    tly_app_step(app, &leave);
    app->give_up = event_new(app->base, -1, 0, on_give_up, app);
    app->look = event_new(app->base, -1, 0, on_look, app);
    if (app->give_up == NULL || app->look == NULL || event_add(app->give_up, &patience) != 0) {
        event_base_loopbreak(app->base);
        return;
    }
    tly_app_check_drained(app);
}

/* What the engine still has for the disk goes there before the clean mark does. */
static void write_last_batches(struct tly_app *app)
{
    for (int i = 0; i < 64 && tly_engine_deadline(app->engine) == 0; i++) {
        struct tly_event tick = {.kind = TLY_TICK};
        tly_app_step(app, &tick);
    }
}

/*
 * A life that was begun while running is not in the MANIFEST, and the one that is must not be gone on with. Nor one of which peers may have
 * more than the disk gets.
 */
static bool keeps_its_life(struct tly_app *app)
{
    struct tly_node_view view;
    if (app->engine == NULL || !tly_engine_has_handed_all(app->engine)) return false;
    tly_engine_node(app->engine, false, &view);
    return view.origin == tly_store_identity(app->store)->origin;
}

void tly_app_close(struct tly_app *app)
{
    for (size_t i = 0; i < DOOR_COUNT; i++)
        tly_door_free(app->doors[i]);
    tly_tls_free(app->grpc_tls);
    if (app->engine != NULL && app->wakeup != NULL) write_last_batches(app);
    tly_rls_files_free(app->rls_files);
    tly_xds_free(app->xds);
    tly_rls_free(app->rls);
    tly_compact_free(app->compact);
    tly_seeds_free(app->seeds);
    tly_reload_free(app->reload);
    tly_net_free(app->net);
    struct event *events[] = {app->tick,   app->wakeup,  app->terminate, app->interrupt,
                              app->hangup, app->give_up, app->look,      app->log_turn};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i] != NULL) event_free(events[i]);
    if (app->store != NULL) tly_store_close(app->store, app->stopping && keeps_its_life(app));
    tly_engine_free(app->engine);
    tly_heap_free(app->heap);
    if (app->base != NULL) {
        /* libevent lets go of a bufferevent in the turn after the one in which it was freed. */
        (void)event_base_loop(app->base, EVLOOP_NONBLOCK);
        event_base_free(app->base);
    }
    tly_log_free(app->log);
}
