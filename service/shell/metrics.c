/* GET /metrics: Prometheus' text format 0.0.4. */
#include "crdt/version.h"
#include "service/shell/http.h"

#include <inttypes.h>
#include <stdio.h>

static void put_head(struct tly_buf *out, const char *name, const char *kind, const char *help)
{
    char line[256];
    int n = snprintf(line, sizeof line, "# HELP tally_%s %s\n# TYPE tally_%s %s\n", name, help, name, kind);
    tly_buf_put(out, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void put_sample(struct tly_buf *out, const char *name, uint64_t number)
{
    char line[128];
    int n = snprintf(line, sizeof line, "tally_%s %" PRIu64 "\n", name, number);
    tly_buf_put(out, line, (size_t)n);
}

static void put_counter(struct tly_buf *out, const char *name, const char *help, uint64_t number)
{
    put_head(out, name, "counter", help);
    put_sample(out, name, number);
}

static void put_gauge(struct tly_buf *out, const char *name, const char *help, uint64_t number)
{
    put_head(out, name, "gauge", help);
    put_sample(out, name, number);
}

/* A label's value: backslash, quote and line end are escaped, what is no UTF-8 is replaced. */
void tly_http_put_label(struct tly_buf *out, struct tly_slice text)
{
    bool is_text = tly_utf8_is_valid(text);
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c == '\n')
            tly_buf_put(out, "\\n", 2);
        else if (c == '"' || c == '\\')
            tly_buf_put(out, c == '"' ? "\\\"" : "\\\\", 2);
        else if (c >= 0x80 && !is_text)
            tly_buf_put(out, "?", 1);
        else
            tly_buf_put(out, &c, 1);
    }
}

/* The digits of a signed number of ns, in seconds. */
static void put_ns(struct tly_buf *out, int64_t ns)
{
    char text[32];
    uint64_t size = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    int n = snprintf(text, sizeof text, "%s%" PRIu64 ".%09" PRIu64, ns < 0 ? "-" : "", size / 1000000000,
                     size % 1000000000);
    tly_buf_put(out, text, (size_t)n);
}

static void put_seconds(struct tly_buf *out, const char *name, const char *help, int64_t ns)
{
    put_head(out, name, "gauge", help);
    tly_buf_put(out, "tally_", 6);
    tly_buf_put(out, name, strlen(name));
    tly_buf_put(out, " ", 1);
    put_ns(out, ns);
    tly_buf_put(out, "\n", 1);
}

/* Seconds with as many digits as a step needs: 2^i us. */
void tly_http_put_histogram(struct tly_buf *out, const char *name, const char *label,
                            const struct tly_histogram *histogram)
{
    char line[192];
    uint64_t below = 0;
    const char *comma = label[0] != '\0' ? "," : "";
    for (size_t i = 0; i < TLY_HISTOGRAM_STEPS - 1; i++) {
        below += histogram->step[i];
        uint64_t us = UINT64_C(1) << i;
        int n = snprintf(line, sizeof line, "%s_bucket{%s%sle=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n",
                         name, label, comma, us / 1000000, us % 1000000, below);
        tly_buf_put(out, line, (size_t)n);
    }
    const char *open = label[0] != '\0' ? "{" : "", *close = label[0] != '\0' ? "}" : "";
    int n = snprintf(line, sizeof line, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n%s_sum%s%s%s ", name, label,
                     comma, histogram->count, name, open, label, close);
    tly_buf_put(out, line, (size_t)n);
    put_ns(out, (int64_t)histogram->sum_ns);
    n = snprintf(line, sizeof line, "\n%s_count%s%s%s %" PRIu64 "\n", name, open, label, close,
                 histogram->count);
    tly_buf_put(out, line, (size_t)n);
}

static void put_build(struct tly_buf *out, const struct tly_node_view *node)
{
    put_head(out, "build_info", "gauge", "What is running; always 1");
    static const char begin[] = "tally_build_info{version=\"" TLY_VERSION "\",name=\"",
                      middle[] = "\",cluster=\"", end[] = "\"} 1\n";
    tly_buf_put(out, begin, sizeof begin - 1);
    tly_http_put_label(out, node->name);
    tly_buf_put(out, middle, sizeof middle - 1);
    tly_http_put_label(out, node->cluster);
    tly_buf_put(out, end, sizeof end - 1);
}

static void put_engine(struct tly_buf *out, const struct tly_engine *engine)
{
    struct tly_stats stats;
    tly_engine_stats(engine, &stats);
#define PUT(name, help) put_counter(out, #name "_total", help, stats.name);
    TLY_STATS(PUT)
#undef PUT
    put_head(out, "staleness_seconds", "histogram",
             "Age of a peer's newest count, by cluster time, when it arrived");
    tly_http_put_histogram(out, "tally_staleness_seconds", "", tly_engine_staleness(engine));
}

static void put_node(struct tly_buf *out, const struct tly_node_view *node)
{
    put_gauge(out, "keys", "Keys held", node->keys);
    put_gauge(out, "lives", "Lives of nodes known", node->lives);
    put_gauge(out, "bytes", "Bytes of memory held by the map", node->bytes);
    put_gauge(out, "memory_used_bytes", "Bytes of memory held in all, as memory_max counts them",
              node->memory_used);
    put_gauge(out, "memory_max_bytes", "The setting memory_max; 0: no limit", node->memory_max);
    put_gauge(out, "memory_full", "1 while there is no room for new keys", node->full);
    put_gauge(out, "leases", "Leases of limits of concurrency that this node has given out", node->leases);
    put_gauge(out, "watchers", "Clients that watch for changes or refusals", node->watchers);
    put_gauge(out, "peers_held_back", "Peers whose keys do not all fit into memory_max",
              node->peers_held_back);
    put_gauge(out, "log_records", "Records of the operation log", node->log_records);
    put_gauge(out, "clock_covered", "1 when the clock's lease covers every version given",
              node->clock_covered);
    put_seconds(out, "time_offset_seconds", "Cluster time minus this machine's wall clock",
                node->time_offset_ns);
    put_seconds(out, "time_skew_seconds", "What cluster time has still to make up", node->time_skew_ns);
    put_gauge(out, "store_failing", "1 while the disk refuses", node->store_failing);
}

static void put_app(struct tly_buf *out, struct tly_app *app)
{
    struct tly_app_stats stats;
    char reasons[256];
    tly_app_stats(app, &stats);
    tly_app_readiness(app, reasons, sizeof reasons);
    put_gauge(out, "uptime_seconds", "Seconds since the start", tly_app_uptime_s(app));
    put_gauge(out, "ready", "1 when the node is ready", reasons[0] == '\0');
    put_counter(out, "resp_commands_total", "Commands taken by the RESP door", stats.resp_commands);
    put_counter(out, "http_requests_total", "Requests taken by the HTTP door", stats.http_requests);
    put_counter(out, "grpc_calls_total", "Calls taken by the gRPC door", stats.grpc_calls);
    put_gauge(out, "clients_open", "Connections of clients", stats.clients_open);
    put_counter(out, "clients_accepted_total", "Connections of clients accepted", stats.clients_accepted);
    put_counter(out, "clients_refused_total", "Connections of clients refused", stats.clients_refused);
    put_counter(out, "clients_calmed_total",
                "Connections of the gRPC door closed for sending too much that asks for nothing",
                stats.clients_calmed);
    put_counter(out, "clients_crowded_total", "Connections of clients closed because all held too many bytes",
                stats.clients_crowded);
    put_gauge(out, "xds_up", "1 while the management server of Envoy's limits answers", stats.xds_up);
    put_counter(out, "xds_connections_total", "Connections to the management server", stats.xds_connections);
    put_counter(out, "xds_accepted_total", "Configurations of the management server that were taken",
                stats.xds_accepted);
    put_counter(out, "xds_refused_total", "Configurations of the management server that were refused",
                stats.xds_refused);
    put_head(out, "request_duration_seconds", "histogram",
             "From when requests could be read until what was answered at once was handed to the socket");
    tly_http_put_histogram(out, "tally_request_duration_seconds", "door=\"resp\"", &stats.resp_latency);
    tly_http_put_histogram(out, "tally_request_duration_seconds", "door=\"http\"", &stats.http_latency);
    tly_http_put_histogram(out, "tally_request_duration_seconds", "door=\"grpc\"", &stats.grpc_latency);
    put_gauge(out, "config_limits_file", "Limits of the file", stats.limits_from_file);
    put_gauge(out, "config_limits_key", "Limits of the key config:limits", stats.limits_from_key);
    put_counter(out, "config_reloads_total", "Limits taken over while running", stats.reloads);
    put_counter(out, "config_reloads_refused_total", "Limits that could not be read and changed nothing",
                stats.reloads_refused);
    put_gauge(out, "config_last_reload_successful",
              "0 when the file or the key could not be read the last time", stats.reload_good);
    put_gauge(out, "config_last_reload_success_timestamp_seconds",
              "When limits were last taken over while running; 0: not yet", stats.reloaded_at_s);
    put_gauge(out, "has_store", "1 when there is a store", stats.has_store);
    put_gauge(out, "store_bytes", "Bytes of the store's log", stats.store_bytes);
    put_gauge(out, "store_snapshot_bytes", "Bytes of the store's snapshot; 0: there is none",
              stats.store_snapshot_bytes);
    put_counter(out, "store_snapshots_total", "Snapshots that took the place of the log before them",
                stats.store_snapshots);
    put_counter(out, "store_snapshots_failed_total", "Snapshots that were given up",
                stats.store_snapshots_failed);
    put_seconds(out, "store_turn_max_seconds", "Longest time that the loop spent on a snapshot in one turn",
                (int64_t)stats.store_turn_max_ns);
    put_counter(out, "store_batches_stored_total", "Batches stored as the fsync setting promises",
                stats.store_batches_stored);
    put_counter(out, "store_batches_synced_total", "Batches that will survive a power cut",
                stats.store_batches_synced);
}

/* ---- peers: one series each ---- */

enum {
    PEER_UP,
    PEER_HEARD,
    PEER_RTT,
    PEER_OFFSET,
    PEER_LAG,
    PEER_QUEUED,
    PEER_SENT,
    PEER_RECEIVED,
    PEER_CLOCK,
    PEER_METRICS
};

static const struct {
    const char *name, *kind, *help;
    bool is_ns; /* shown in seconds */
} peer_metrics[PEER_METRICS] = {
    [PEER_UP] = {"peer_up", "gauge", "1 while the session is up", false},
    [PEER_HEARD] = {"peer_last_heard_seconds", "gauge", "Seconds since the peer was heard", true},
    [PEER_RTT] = {"peer_rtt_seconds", "gauge", "Round trip", true},
    [PEER_OFFSET] = {"peer_offset_seconds", "gauge", "The peer's wall clock minus ours", true},
    [PEER_LAG] = {"peer_lag_dots", "gauge", "Dots that the peer has not acknowledged", false},
    [PEER_QUEUED] = {"peer_queued_bytes", "gauge", "Bytes that its connection has not taken", false},
    [PEER_SENT] = {"peer_bytes_sent_total", "counter", "Bytes handed to its connection", false},
    [PEER_RECEIVED] = {"peer_bytes_received_total", "counter", "Bytes received from it", false},
    [PEER_CLOCK] = {"peer_clock_refusals_total", "counter",
                    "Parts of its rounds that were refused as too far in the future", false},
};

/* One of those to be told about. */
struct told {
    const struct tly_engine *engine;
    size_t i;
    struct tly_peer_view view;
};

/* False: there is nothing to tell. What was measured in a session is not said of a peer without one. */
static bool peer_number(const struct told *told, size_t metric, int64_t *number)
{
    const struct tly_peer_view *peer = &told->view;
    uint64_t lag = 0;
    if (metric == PEER_LAG && !tly_engine_peer_lag(told->engine, told->i, &lag)) return false;
    const uint64_t numbers[PEER_METRICS] = {
        [PEER_UP] = peer->up,
        [PEER_HEARD] = peer->last_heard_ms * 1000000,
        [PEER_RTT] = peer->rtt_ns,
        [PEER_OFFSET] = (uint64_t)peer->offset_ns,
        [PEER_LAG] = lag,
        [PEER_QUEUED] = peer->queued_bytes,
        [PEER_SENT] = peer->bytes_sent,
        [PEER_RECEIVED] = peer->bytes_received,
        [PEER_CLOCK] = peer->clock_refusals,
    };
    *number = (int64_t)numbers[metric];
    if (metric == PEER_HEARD) return peer->last_heard_ms < UINT64_MAX / 1000000;
    return (metric != PEER_RTT && metric != PEER_OFFSET) || (peer->up && peer->rtt_ns != 0);
}

static struct tly_slice label_of(const struct tly_peer_view *peer)
{
    return peer->name.n > 0 ? peer->name : peer->address;
}

/* Who has left is not waited for, nor one that the ring needs no connection for: their series would ring the bell for ever. */
static bool is_told(const struct tly_peer_view *peer)
{
    bool is_gone = strcmp(peer->state, "left") == 0 || strcmp(peer->state, "forgotten") == 0;
    return peer->up || strcmp(peer->state, "dead") == 0 || (peer->linked && !is_gone);
}

/* A label may stand once only: whether one of the peers before has it too. */
static bool is_repeated(const struct tly_engine *engine, size_t i, const struct tly_peer_view *peer)
{
    for (size_t before = 0; before < i; before++) {
        struct tly_peer_view other;
        tly_engine_peer(engine, before, &other);
        if (is_told(&other) && tly_slice_equal(label_of(&other), label_of(peer))) return true;
    }
    return false;
}

static void put_peer(struct tly_buf *out, size_t metric, const struct told *told)
{
    int64_t number;
    if (!peer_number(told, metric, &number)) return;
    tly_buf_put(out, "tally_", 6);
    tly_buf_put(out, peer_metrics[metric].name, strlen(peer_metrics[metric].name));
    tly_buf_put(out, "{peer=\"", 7);
    tly_http_put_label(out, label_of(&told->view));
    tly_buf_put(out, "\"} ", 3);
    if (peer_metrics[metric].is_ns) {
        put_ns(out, number);
    } else {
        char text[32];
        tly_buf_put(out, text, (size_t)snprintf(text, sizeof text, "%" PRId64, number));
    }
    tly_buf_put(out, "\n", 1);
}

static void put_peers(struct tly_buf *out, const struct tly_engine *engine)
{
    size_t count = tly_engine_peers(engine);
    for (size_t metric = 0; count > 0 && metric < PEER_METRICS; metric++) {
        put_head(out, peer_metrics[metric].name, peer_metrics[metric].kind, peer_metrics[metric].help);
        for (size_t i = 0; i < count; i++) {
            struct told told = {.engine = engine, .i = i};
            tly_engine_peer(engine, i, &told.view);
            if (is_told(&told.view) && !is_repeated(engine, i, &told.view)) put_peer(out, metric, &told);
        }
    }
}

/* ---- limits: those with a name, so many series and no more ---- */

static const struct {
    const char *result;
    size_t at;
    bool is_usual; /* told of every limit, the others once there is one */
} limit_results[] = {
    {"admitted", offsetof(struct tly_rule_count, admitted), true},
    {"refused", offsetof(struct tly_rule_count, refused), true},
    {"would_refuse", offsetof(struct tly_rule_count, would_refuse), false},
    {"uncounted", offsetof(struct tly_rule_count, uncounted), false},
    {"refused_full", offsetof(struct tly_rule_count, refused_full), false},
    {"no_match", offsetof(struct tly_rule_count, unmatched), false},
};

static void put_limit(struct tly_buf *out, const char *metric, const struct tly_rule *rule,
                      const char *result, uint64_t number)
{
    char text[64];
    tly_buf_put(out, metric, strlen(metric));
    tly_buf_put(out, "{limit=\"", 8);
    tly_http_put_label(out, tly_slice_text(rule->name));
    tly_buf_put(out, "\"", 1);
    if (result != NULL) tly_buf_put(out, text, (size_t)snprintf(text, sizeof text, ",result=\"%s\"", result));
    tly_buf_put(out, text, (size_t)snprintf(text, sizeof text, "} %" PRIu64 "\n", number));
}

static void put_limit_results(struct tly_buf *out, const struct tly_rule *rule)
{
    for (size_t i = 0; i < sizeof limit_results / sizeof *limit_results; i++) {
        uint64_t number;
        memcpy(&number, (const char *)rule->count + limit_results[i].at, sizeof number);
        if (number > 0 || limit_results[i].is_usual)
            put_limit(out, "tally_limit_checks_total", rule, limit_results[i].result, number);
    }
}

static void put_limits(struct tly_buf *out, const struct tly_engine *engine)
{
    const struct tly_rules *rules = tly_engine_rules(engine);
    size_t count = rules != NULL ? tly_rules_count(rules) : 0;
    if (count == 0) return;
    put_head(out, "limit_checks_total", "counter", "Checks of a named limit, by what became of them");
    for (size_t i = 0; i < count; i++)
        put_limit_results(out, tly_rules_at(rules, i));
    put_head(out, "limit_keys", "gauge", "Keys of a named limit with cardinality_max");
    for (size_t i = 0; i < count; i++) {
        const struct tly_rule *rule = tly_rules_at(rules, i);
        if (rule->keys_max != 0) put_limit(out, "tally_limit_keys", rule, NULL, rule->count->keys);
    }
}

void tly_http_run_metrics(struct tly_exchange *x)
{
    struct tly_engine *engine = tly_app_engine(x->app);
    struct tly_node_view node;
    tly_engine_node(engine, false, &node);
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    put_build(x->body, &node);
    put_engine(x->body, engine);
    put_node(x->body, &node);
    put_app(x->body, x->app);
    put_limits(x->body, engine);
    put_peers(x->body, engine);
    tly_http_put_rls_metrics(x->body, x->app);
}
