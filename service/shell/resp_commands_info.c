/* INFO: sections of "name:value" lines, under the names that clients of redis look for. */
#include "crdt/version.h"
#include "service/shell/resp.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define INFO_BYTES_MAX 8192

struct info {
    struct tly_resp *resp;
    char text[INFO_BYTES_MAX];
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void line(struct info *info, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof info->text - info->n;
    int written = vsnprintf(info->text + info->n, room, format, args);
    va_end(args);
    /* A line that does not fit is left out. */
    if (written < 0 || (size_t)written + 2 >= room) return;
    info->n += (size_t)written;
    info->text[info->n++] = '\r';
    info->text[info->n++] = '\n';
}

static unsigned long long ull(uint64_t number)
{
    return number;
}

static void server(struct info *info)
{
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(info->resp->app), false, &node);
    const char *address = tly_app_address(info->resp->app, "resp"), *colon = strrchr(address, ':');
    line(info, "redis_version:%s", TLY_RESP_REDIS_VERSION);
    line(info, "tally_version:%s", TLY_VERSION);
    line(info, "redis_mode:standalone");
    line(info, "arch_bits:%zu", sizeof(void *) * 8);
    line(info, "multiplexing_api:libevent");
    line(info, "process_id:%ld", (long)getpid());
    line(info, "run_id:%016llx", ull(node.origin));
    line(info, "tcp_port:%s", colon != NULL && strncmp(address, "unix:", 5) != 0 ? colon + 1 : "0");
    line(info, "uptime_in_seconds:%llu", ull(tly_app_uptime_s(info->resp->app)));
    line(info, "tally_name:%.*s", (int)node.name.n, (const char *)node.name.p);
    line(info, "tally_cluster:%.*s", (int)node.cluster.n, (const char *)node.cluster.p);
}

static void clients(struct info *info)
{
    struct tly_app_stats stats;
    tly_app_stats(info->resp->app, &stats);
    line(info, "connected_clients:%llu", ull(stats.clients_open));
    line(info, "maxclients:%d", TLY_CLIENTS_MAX);
    line(info, "blocked_clients:0");
}

static void memory(struct info *info)
{
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(info->resp->app), false, &node);
    line(info, "used_memory:%zu", node.memory_used);
    line(info, "maxmemory:%zu", node.memory_max);
    line(info, "maxmemory_policy:noeviction");
}

static void persistence(struct info *info)
{
    struct tly_app_stats stats;
    tly_app_stats(info->resp->app, &stats);
    line(info, "loading:0");
    line(info, "aof_enabled:%d", stats.has_store);
    line(info, "tally_store_bytes:%llu", ull(stats.store_bytes));
    line(info, "tally_store_batches_stored:%llu", ull(stats.store_batches_stored));
    line(info, "tally_store_batches_synced:%llu", ull(stats.store_batches_synced));
}

static void stats(struct info *info)
{
    struct tly_app_stats app;
    struct tly_stats engine;
    tly_app_stats(info->resp->app, &app);
    tly_engine_stats(tly_app_engine(info->resp->app), &engine);
    line(info, "total_connections_received:%llu", ull(app.clients_accepted));
    line(info, "total_commands_processed:%llu", ull(app.resp_commands));
    line(info, "rejected_connections:%llu", ull(app.clients_refused));
#define LINE(name, help) line(info, "tally_" #name ":%llu", ull(engine.name));
    TLY_STATS(LINE)
#undef LINE
}

static void replication(struct info *info)
{
    const struct tly_engine *engine = tly_app_engine(info->resp->app);
    size_t up = 0, peers = tly_engine_peers(engine);
    for (size_t i = 0; i < peers; i++) {
        struct tly_peer_view peer;
        tly_engine_peer(engine, i, &peer);
        up += peer.up;
    }
    line(info, "role:master");
    line(info, "connected_slaves:0");
    line(info, "tally_peers:%zu", peers);
    line(info, "tally_peers_up:%zu", up);
}

static void keyspace(struct info *info)
{
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(info->resp->app), false, &node);
    if (node.keys > 0) line(info, "db0:keys=%zu,expires=0,avg_ttl=0", node.keys);
}

static const struct {
    const char *name; /* as it is asked for */
    const char *title;
    void (*write)(struct info *info);
} sections[] = {
    {"SERVER", "Server", server},       {"CLIENTS", "Clients", clients},
    {"MEMORY", "Memory", memory},       {"PERSISTENCE", "Persistence", persistence},
    {"STATS", "Stats", stats},          {"REPLICATION", "Replication", replication},
    {"KEYSPACE", "Keyspace", keyspace},
};

static bool is_wanted(const char *section, const struct tly_slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tly_resp_is(names[i], section) || tly_resp_is(names[i], "ALL") ||
            tly_resp_is(names[i], "DEFAULT") || tly_resp_is(names[i], "EVERYTHING"))
            return true;
    return count == 0;
}

void tly_resp_run_info(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    struct info info = {.resp = resp};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (!is_wanted(sections[i].name, arg + 1, count - 1)) continue;
        if (info.n > 0) line(&info, "%s", "");
        line(&info, "# %s", sections[i].title);
        sections[i].write(&info);
    }
    tly_resp_put_verbatim(resp->out, resp->proto, tly_slice_of(info.text, info.n));
}
