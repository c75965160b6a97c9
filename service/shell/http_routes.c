#include "service/shell/http.h"

#define READ (TLY_HTTP_GET | TLY_HTTP_HEAD)

/* An exact path is found before a prefix of it. */
static const struct tly_http_route routes[] = {
    {"/check/", true, TLY_HTTP_ANY, tly_http_run_forward,
     "/check/LIMIT?FIELD=VALUE&hits=N&deny=403: 200 or 429, for proxies"},
    {"/v1/check", false, TLY_HTTP_POST, tly_http_run_check, "POST: check a limit, or up to 1000"},
    {"/v1/counters/", true, READ | TLY_HTTP_POST | TLY_HTTP_DELETE, tly_http_run_counter,
     "/v1/counters/KEY: read, change (POST), delete a counter or a value"},
    {"/v1/cluster", false, READ, tly_http_run_cluster,
     "this node and its peers; ?digest=1 with the digest of all it holds"},
    {"/v1/peers", false, READ, tly_http_run_peers, "the peers"},
    {"/v1/limits", false, READ, tly_http_run_limits, "the named limits"},
    {"/metrics", false, READ, tly_http_run_metrics, "for Prometheus"},
    {"/healthz", false, READ, tly_http_run_healthz, "200 while the process lives"},
    {"/readyz", false, READ, tly_http_run_readyz, "200, or 503 and why not"},
    {"/", false, READ, tly_http_run_root, "this"},
};

const struct tly_http_route *tly_http_routes(size_t *count)
{
    *count = sizeof routes / sizeof *routes;
    return routes;
}
