/* What a node tells of itself. */
#include "crdt/version.h"
#include "service/shell/http.h"

#include <stdio.h>

void tly_http_run_root(struct tly_exchange *x)
{
    size_t count;
    const struct tly_http_route *routes = tly_http_routes(&count);
    x->type = TLY_HTTP_TEXT;
    tly_http_put_text(x, "Tally " TLY_VERSION ": limits and counters shared by a cluster of equals.\n\n");
    for (size_t i = 0; i < count; i++) {
        char line[160];
        int n = snprintf(line, sizeof line, "  %s%s", routes[i].path, routes[i].rest);
        (void)snprintf(line + n, sizeof line - (size_t)n, "%*s%s\n", n < 30 ? 30 - n : 1, "",
                       routes[i].summary);
        tly_http_put_text(x, line);
    }
}

void tly_http_run_healthz(struct tly_exchange *x)
{
    x->type = TLY_HTTP_TEXT;
    tly_http_put_text(x, "ok\n");
}

void tly_http_run_readyz(struct tly_exchange *x)
{
    char reasons[2048];
    tly_app_readiness(x->app, reasons, sizeof reasons);
    x->type = TLY_HTTP_TEXT;
    x->status = reasons[0] == '\0' ? 200 : 503;
    tly_http_put_text(x, reasons[0] == '\0' ? "ok" : reasons);
    size_t n = strlen(reasons);
    if (n == 0 || reasons[n - 1] != '\n') tly_http_put_text(x, "\n");
}

/* ---- the cluster ---- */

/* What there is no session for, or what was not measured yet, is not said. */
static void put_peer(struct tly_json *json, const struct tly_engine *engine, size_t i)
{
    struct tly_peer_view view;
    const struct tly_peer_view *peer = &view;
    uint64_t lag;
    tly_engine_peer(engine, i, &view);
    tly_json_open(json, '{');
    tly_json_member_text(json, "name", peer->name);
    tly_json_member_text(json, "address", peer->address);
    tly_json_member_hex(json, "origin", peer->origin);
    tly_json_member_bool(json, "up", peer->up);
    tly_json_member_string(json, "state", peer->state);
    tly_json_member_bool(json, "reachable", peer->reachable);
    tly_json_member_bool(json, "linked", peer->linked);
    tly_json_member_bool(json, "dialled", peer->dialled);
    tly_json_member_bool(json, "held_back", peer->held_back);
    if (peer->last_heard_ms != UINT64_MAX) tly_json_member_uint(json, "last_heard_ms", peer->last_heard_ms);
    if (peer->rtt_ns != 0) {
        tly_json_member_uint(json, "rtt_ns", peer->rtt_ns);
        tly_json_member_int(json, "offset_ns", peer->offset_ns);
    }
    if (tly_engine_peer_lag(engine, i, &lag)) tly_json_member_uint(json, "lag_dots", lag);
    tly_json_member_uint(json, "queued_bytes", peer->queued_bytes);
    tly_json_member_uint(json, "bytes_sent", peer->bytes_sent);
    tly_json_member_uint(json, "bytes_received", peer->bytes_received);
    tly_json_member_uint(json, "clock_refusals", peer->clock_refusals);
    tly_json_close(json, '}');
}

static void put_peers(struct tly_json *json, const struct tly_engine *engine)
{
    tly_json_open(json, '[');
    size_t count = tly_engine_peers(engine);
    for (size_t i = 0; i < count; i++)
        put_peer(json, engine, i);
    tly_json_close(json, ']');
}

static bool query_wants(const struct tly_exchange *x, const char *word)
{
    uint8_t room[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_http_query query = {x->request->query, room};
    struct tly_slice name, value;
    while (tly_http_query_next(&query, &name, &value))
        if (tly_http_is(name, word)) return tly_slice_equal(value, tly_slice_text("1"));
    return false;
}

static void put_node(struct tly_exchange *x, struct tly_json *json, bool with_digest)
{
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(x->app), with_digest, &node);
    tly_json_member_text(json, "name", node.name);
    tly_json_member_text(json, "cluster", node.cluster);
    tly_json_member_text(json, "address", node.address);
    tly_json_member_string(json, "version", TLY_VERSION);
    tly_json_member_hex(json, "origin", node.origin);
    tly_json_member_uint(json, "uptime_s", tly_app_uptime_s(x->app));
    tly_json_member_uint(json, "keys", node.keys);
    tly_json_member_uint(json, "lives", node.lives);
    tly_json_member_uint(json, "bytes", node.bytes);
    tly_json_member_uint(json, "memory_used", node.memory_used);
    tly_json_member_uint(json, "memory_max", node.memory_max);
    tly_json_member_bool(json, "memory_full", node.full);
    tly_json_member_uint(json, "watchers", node.watchers);
    tly_json_member_uint(json, "log_records", node.log_records);
    if (with_digest) tly_json_member_hex(json, "digest", node.digest);
    tly_json_member_bool(json, "clock_covered", node.clock_covered);
    tly_json_member_bool(json, "store_failing", node.store_failing);
    tly_json_member_uint(json, "clock_last", node.clock_last);
    tly_json_member_uint(json, "lease", node.lease);
    tly_json_member_uint(json, "time_ms", node.cluster_ns / 1000000);
    tly_json_member_int(json, "time_offset_ns", node.time_offset_ns);
    tly_json_member_int(json, "time_skew_ns", node.time_skew_ns);
}

/* "NAME: DETAIL" lines as objects. */
static void put_reasons(struct tly_json *json, const char *reasons)
{
    tly_json_key(json, "reasons");
    tly_json_open(json, '[');
    for (const char *line = reasons; *line != '\0';) {
        size_t n = strcspn(line, "\n"), name = strcspn(line, ":\n");
        tly_json_open(json, '{');
        tly_json_member_text(json, "reason", tly_slice_of(line, name));
        size_t detail = name + 2 <= n ? name + 2 : n;
        tly_json_member_text(json, "detail", tly_slice_of(line + detail, n - detail));
        tly_json_close(json, '}');
        line += n + (line[n] == '\n');
    }
    tly_json_close(json, ']');
}

/* What the shell around the engine knows: readiness, doors, the store's kind. */
static void put_shell(struct tly_exchange *x, struct tly_json *json)
{
    char reasons[2048], fsync[16], on_full[16];
    struct tly_app_stats app;
    struct tly_stats engine;
    tly_app_readiness(x->app, reasons, sizeof reasons);
    tly_app_stats(x->app, &app);
    tly_engine_stats(tly_app_engine(x->app), &engine);
    (void)tly_config_get(tly_app_config(x->app), "fsync", fsync, sizeof fsync);
    (void)tly_config_get(tly_app_config(x->app), "on_full", on_full, sizeof on_full);
    tly_json_member_bool(json, "ready", reasons[0] == '\0');
    put_reasons(json, reasons);
    tly_json_member_bool(json, "has_store", app.has_store);
    tly_json_member_string(json, "fsync", fsync);
    tly_json_member_string(json, "on_full", on_full);
    tly_json_member_uint(json, "joins", tly_app_config(x->app)->join_count);
    tly_json_member_bool(json, "snapshot_given_up", app.snapshot_given_up);
    tly_json_member_bool(json, "limits_good", app.reload_good);
    tly_json_member_uint(json, "reloads_refused", app.reloads_refused);
    tly_json_member_uint(json, "clients_refused", app.clients_refused);
    tly_json_member_uint(json, "sessions_refused", engine.sessions_refused);
    tly_json_member_uint(json, "sessions_broken", engine.sessions_broken);
}

/* What is forgotten, and what holds it up. */
static void put_forgetting(struct tly_json *json, const struct tly_engine *engine)
{
    struct tly_forget_view view;
    tly_engine_forgetting(engine, &view);
    tly_json_key(json, "forgetting");
    tly_json_open(json, '{');
    tly_json_member_uint(json, "number", view.number);
    tly_json_member_uint(json, "f", view.f);
    tly_json_member_uint(json, "forgotten", view.forgotten);
    tly_json_member_uint(json, "removes", view.removes);
    tly_json_member_uint(json, "closed", view.closed);
    tly_json_close(json, '}');
}

static void put_lives(struct tly_json *json, const struct tly_engine *engine, size_t count)
{
    static const char *const states[] = {"open", "closed", "settled", "retired"};
    tly_json_key(json, "known_lives");
    tly_json_open(json, '[');
    for (size_t i = 0; i < count; i++) {
        struct tly_life life = tly_engine_life(engine, i);
        if (life.origin == 0) continue;
        tly_json_open(json, '{');
        tly_json_member_hex(json, "origin", life.origin);
        tly_json_member_string(json, "state", states[life.state]);
        tly_json_member_uint(json, "mark", life.mark);
        tly_json_member_uint(json, "floor", life.floor);
        tly_json_close(json, '}');
    }
    tly_json_close(json, ']');
}

void tly_http_run_claim(struct tly_exchange *x)
{
    struct tly_request request = {.kind = TLY_ASK_CLAIM};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK) {
        x->type = TLY_HTTP_JSON;
        tly_http_put_text(x, "{\"claimed\":true}\n");
    } else if (result == TLY_NOT_FOUND) {
        tly_http_problem(x, 409, "nothing_to_claim",
                         "no hard limit is in use yet, or what began before them is somebody's already");
    } else {
        tly_http_problem_of(x, result);
    }
}

void tly_http_run_forget(struct tly_exchange *x)
{
    uint8_t bytes[TLY_HTTP_LINE_BYTES_MAX];
    size_t n = tly_http_decode(x->rest, false, bytes);
    if (n == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_path", "the path has a malformed escape");
        return;
    }
    struct tly_request request = {.kind = TLY_ASK_FORGET, .bytes = tly_slice_of(bytes, n)};
    struct tly_reply reply;
    enum tly_result result = tly_app_ask(x->app, &request, &reply);
    if (result == TLY_OK) {
        struct tly_json json = tly_json_of(x->body);
        x->type = TLY_HTTP_JSON;
        tly_json_open(&json, '{');
        tly_json_member_text(&json, "forgotten", request.bytes);
        tly_json_close(&json, '}');
        tly_http_put_text(x, "\n");
    } else if (result == TLY_NOT_FOUND) {
        tly_http_problem(x, 404, "no_member", "no member of that name, other than this node, is waited for");
    } else {
        tly_http_problem_of(x, result);
    }
}

void tly_http_run_cluster(struct tly_exchange *x)
{
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    tly_json_open(&json, '{');
    put_node(x, &json, query_wants(x, "digest"));
    put_shell(x, &json);
    const struct tly_engine *engine = tly_app_engine(x->app);
    put_forgetting(&json, engine);
    put_lives(&json, engine, tly_engine_lives(engine));
    tly_json_key(&json, "peers");
    put_peers(&json, tly_app_engine(x->app));
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

void tly_http_run_peers(struct tly_exchange *x)
{
    struct tly_json json = tly_json_of(x->body);
    x->type = TLY_HTTP_JSON;
    put_peers(&json, tly_app_engine(x->app));
    tly_http_put_text(x, "\n");
}
