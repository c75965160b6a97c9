#include "service/shell/http.h"

#define READ (TLY_HTTP_GET | TLY_HTTP_HEAD)

/* Looked through from the top; the busiest first. */
static const struct tly_http_route routes[] = {
    {"/check/", true, TLY_HTTP_ANY, tly_http_run_forward, "LIMIT?FIELD=VALUE",
     "200 or 429 for a proxy; &hits=N, &deny=403"},
    {"/v1/check", false, TLY_HTTP_POST, tly_http_run_check, "", "POST one check, or up to 1000"},
    {"/v1/reserve", false, TLY_HTTP_POST, tly_http_run_reserve, "",
     "POST a check: its hits are charged until they are settled, or ttl_ms has passed"},
    {"/v1/commit", false, TLY_HTTP_POST, tly_http_run_commit, "",
     "POST a reservation's id and what it came to"},
    {"/v1/cancel", false, TLY_HTTP_POST, tly_http_run_cancel, "",
     "POST a reservation's id: nothing is charged"},
    {"/v1/acquire", false, TLY_HTTP_POST, tly_http_run_reserve, "",
     "POST a check of a limit of concurrency: a lease, until it is released, or ttl_ms has passed"},
    {"/v1/release", false, TLY_HTTP_POST, tly_http_run_cancel, "", "POST a lease's id"},
    {"/v1/refund", false, TLY_HTTP_POST, tly_http_run_refund, "", "POST a check: its hits are given back"},
    {"/v1/reset", false, TLY_HTTP_POST, tly_http_run_reset, "", "POST a check: what it counted is forgotten"},
    {"/v1/counters/", true, READ | TLY_HTTP_POST | TLY_HTTP_PUT | TLY_HTTP_DELETE, tly_http_run_counter,
     "KEY", "read, change (POST), set as bytes (PUT) or delete a key"},
    {"/v1/watch", false, TLY_HTTP_GET, tly_http_run_watch, "",
     "changes as they happen, as server-sent events; ?prefix=P: of these keys"},
    {"/v1/explain/", true, READ, tly_http_run_explain, "KEY", "the dots of a key, and what they come from"},
    {"/v1/export", false, READ, tly_http_run_export, "",
     "all dots as a file; ?prefix=P: of keys that begin so"},
    {"/v1/apply", false, TLY_HTTP_POST, tly_http_run_apply, "",
     "POST such a file: its dots are joined, all or none"},
    {"/v1/sync", false, TLY_HTTP_POST, tly_http_run_sync, "",
     "POST a question of the change feed: what is new since its cursor"},
    {"/v1/snapshot", false, TLY_HTTP_POST, tly_http_run_snapshot, "",
     "POST the same: all that stands, piece by piece"},
    {"/v1/cluster", false, READ, tly_http_run_cluster, "",
     "this node and its peers; ?digest=1: of all it holds"},
    {"/v1/cluster/forget/", true, TLY_HTTP_POST, tly_http_run_forget, "NAME",
     "a member that is gone for good: nothing waits for it any more"},
    {"/v1/cluster/claim", false, TLY_HTTP_POST, tly_http_run_claim, "",
     "nobody ever counted by hard limits before: windows that have begun are this node's to share"},
    {"/v1/prefixes", false, READ | TLY_HTTP_POST, tly_http_run_prefixes, "",
     "which prefixes have which strategy; POST changes of that, all or none"},
    {"/v1/prefixes/", true, READ, tly_http_run_prefix, "PREFIX",
     "what dropping it would lose, and the approval that it takes"},
    {"/v1/peers", false, READ, tly_http_run_peers, "", "the peers"},
    {"/v1/top", false, READ, tly_http_run_top, "",
     "the keys that are asked most, the fullest, and those refused most"},
    {"/v1/why", false, READ, tly_http_run_refused, "", "the keys that were refused last"},
    {"/v1/why/", true, READ, tly_http_run_why, "KEY",
     "why a key was refused the last time: the verdict, and who had counted how much"},
    {"/v1/limits", false, READ, tly_http_run_limits, "", "the named limits"},
    {"/v1/limits/", true, READ, tly_http_run_limit, "NAME",
     "one of them: by how much it can be passed now, and what that follows from"},
    {"/json", false, TLY_HTTP_ANY, tly_http_run_rls_json, "",
     "Envoy's rate limit service, for who speaks no gRPC"},
    {"/healthcheck", false, READ, tly_http_run_rls_health, "",
     "200 OK, or 500, as envoyproxy/ratelimit has it"},
    {"/rlconfig", false, READ, tly_http_run_rls_config, "", "the limits of that service"},
    {"/stats", false, READ, tly_http_run_rls_stats, "", "what it counts, under its names"},
    {"/metrics", false, READ, tly_http_run_metrics, "", "for Prometheus"},
    {"/healthz", false, READ, tly_http_run_healthz, "", "200 while the process lives"},
    {"/readyz", false, READ, tly_http_run_readyz, "", "200, or 503 and why not"},
    {"/", false, READ, tly_http_run_root, "", "this"},
};

const struct tly_http_route *tly_http_routes(size_t *count)
{
    *count = sizeof routes / sizeof *routes;
    return routes;
}
