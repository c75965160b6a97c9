/*
 * GET /metrics, of Envoy's rate limit service: the names and labels that envoyproxy/ratelimit's own mapping for Prometheus gives them, so
 * that dashboards go on.  A series is named DOMAIN.KEY1.KEY2, and the labels are what stands between its first dots.
 */
#include "service/shell/http.h"
#include "service/shell/rls.h"

#include <inttypes.h>
#include <stdio.h>

static void put_head_of(struct tly_buf *out, const char *name, const char *kind, const char *help)
{
    char line[256];
    int n = snprintf(line, sizeof line, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
    tly_buf_put(out, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void put_head(struct tly_buf *out, const char *name, const char *help)
{
    put_head_of(out, name, "counter", help);
}

static void put_text(struct tly_buf *out, const char *text)
{
    tly_buf_put(out, text, strlen(text));
}

static void put_number(struct tly_buf *out, uint64_t number)
{
    char line[32];
    int n = snprintf(line, sizeof line, " %" PRIu64 "\n", number);
    tly_buf_put(out, line, (size_t)n);
}

/* What stands before the next dot, which is taken out of the rest; with `all` all that is left. */
static struct tly_slice next_part(struct tly_slice *rest, bool all)
{
    size_t n = 0;
    while (n < rest->n && (all || rest->p[n] != '.'))
        n++;
    struct tly_slice part = tly_slice_of(rest->p, n);
    size_t skip = n < rest->n ? n + 1 : n;
    *rest = tly_slice_of(rest->p + skip, rest->n - skip);
    return part;
}

static void put_labels(struct tly_buf *out, struct tly_slice name)
{
    static const char *const labels[] = {"{domain=\"", "\",key1=\"", "\",key2=\""};
    for (size_t i = 0; i < 3 && (i < 2 || name.n > 0); i++) {
        put_text(out, labels[i]);
        tly_http_put_label(out, next_part(&name, i == 2));
    }
    put_text(out, "\"}");
}

#define PUT_SERIES(member)                                                    \
    put_head(out, "ratelimit_service_rate_limit_" #member,                    \
             "Hits of a limit, as envoyproxy/ratelimit counts them");         \
    for (size_t i = 0; (stats = tly_rls_series_at(series, i)) != NULL; i++) { \
        put_text(out, "ratelimit_service_rate_limit_" #member);               \
        put_labels(out, stats->name);                                         \
        put_number(out, stats->member);                                       \
    }

/* What a call takes is measured by the door, which tells no method from another. */
static void put_calls(struct tly_buf *out, struct tly_app *app, uint64_t calls)
{
    static const char duration[] = "ratelimit_service_response_time_seconds";
    struct tly_app_stats stats;
    tly_app_stats(app, &stats);
    put_head(out, "ratelimit_service_total_requests", "Requests over gRPC");
    put_text(out, "ratelimit_service_total_requests{grpc_method=\"ShouldRateLimit\"}");
    put_number(out, calls);
    put_head_of(out, duration, "histogram",
                "Time that a call took in the gRPC door, those of health checks among them");
    tly_http_put_histogram(out, duration, "grpc_method=\"ShouldRateLimit\"", &stats.grpc_latency);
}

void tly_http_put_rls_metrics(struct tly_buf *out, struct tly_app *app)
{
    const struct tly_rls *rls = tly_app_rls(app);
    const struct tly_rls_series *series = tly_rls_series(rls);
    const struct tly_rls_stats *stats;
    struct tly_rls_service_stats service;
    tly_rls_service_stats(rls, &service);
    if (service.config_load_success + service.config_load_error == 0) return;
    const struct {
        const char *name, *help;
        uint64_t number;
    } all[] = {
        {"ratelimit_service_config_load_success", "Configurations that were loaded",
         service.config_load_success},
        {"ratelimit_service_config_load_error", "Configurations that could not be loaded",
         service.config_load_error},
        {"ratelimit_service_global_shadow_mode", "Refusals that SHADOW_MODE let through",
         service.global_shadow_mode},
        {"ratelimit_service_domain_not_found", "Descriptors of domains that no file has",
         service.domain_not_found},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        put_head(out, all[i].name, all[i].help);
        put_text(out, all[i].name);
        put_number(out, all[i].number);
    }
    put_head(out, "ratelimit_service_should_rate_limit_error", "Requests that could not be answered");
    put_text(out, "ratelimit_service_should_rate_limit_error{err_type=\"service_error\"}");
    put_number(out, service.service_error);
    put_text(out, "ratelimit_service_should_rate_limit_error{err_type=\"redis_error\"}");
    put_number(out, service.redis_error);
    put_calls(out, app, service.calls);
    TLY_RLS_LIMIT_STATS(PUT_SERIES)
}
