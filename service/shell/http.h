/*
 * The HTTP door, inside: one request and its answer, the table of routes, and what the route files share.
 * A handler sets status, type and headers and writes the body; http.c sends it.
 */
#ifndef TALLY_SERVICE_SHELL_HTTP_H
#define TALLY_SERVICE_SHELL_HTTP_H

#include "service/shell/door.h"
#include "service/shell/http_json.h"
#include "service/shell/http_parse.h"

#define TLY_HTTP_LINES_BYTES_MAX 1024

/* Header lines that a handler adds. */
struct tly_http_lines {
    char text[TLY_HTTP_LINES_BYTES_MAX];
    size_t n;
};

/*
 * A body that is made while it is sent: next() appends a piece, in one turn of the loop, and sets *done with the last. false: it
 * cannot go on, and the client sees that it is not whole. end() is called once, however it ends.
 */
struct tly_http_stream {
    bool (*next)(void *context, struct tly_buf *piece, bool *done);
    void (*end)(void *context);
    void *context;
};

struct tly_exchange {
    struct tly_app *app;
    const struct tly_client *client;
    const struct tly_http_request *request;
    struct tly_slice rest; /* of the path, behind the route's prefix, as it was sent */
    int status;
    const char *type; /* of the body */
    struct tly_buf *body;
    struct tly_http_stream stream; /* with next: what is sent, in the place of body */
    struct tly_http_lines lines;
    struct tly_ack *ack;     /* set: the answer waits until it is done; the connection owns it */
    struct tly_watch *watch; /* set: the answer is a stream of its changes; the connection owns it */
};

typedef void tly_http_handler(struct tly_exchange *x);

enum {
    TLY_HTTP_GET = 1,
    TLY_HTTP_HEAD = 2,
    TLY_HTTP_POST = 4,
    TLY_HTTP_DELETE = 8,
    TLY_HTTP_PUT = 16,
    TLY_HTTP_ANY = 32
};

struct tly_http_route {
    const char *path;
    bool is_prefix; /* more follows */
    unsigned methods;
    tly_http_handler *run;
    const char *rest, *summary; /* for people, at /: what follows the path, and what it is for */
};

const struct tly_http_route *tly_http_routes(size_t *count);

#define TLY_HTTP_JSON "application/json"
#define TLY_HTTP_BYTES "application/octet-stream"
#define TLY_HTTP_TEXT "text/plain; charset=utf-8"

/* The answer is a problem (RFC 9457) with a stable code and a sentence for people; what was written before is dropped. */
void tly_http_problem(struct tly_exchange *x, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a result of the engine. */
void tly_http_problem_of(struct tly_exchange *x, enum tly_result result);
/* One more header line, without its end. */
void tly_http_add_header(struct tly_exchange *x, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same put together from pieces, for lines that every check has. */
void tly_http_add_pieces(struct tly_exchange *x, const struct tly_slice *pieces, size_t count);
void tly_http_put_text(struct tly_exchange *x, const char *text);
/* "OK" for 200. */
const char *tly_http_reason(int status);
/* Whether the request's method is this one. */
bool tly_http_method_is(const struct tly_http_request *request, const char *method);

/* All of the request's body in one piece; in place, unless it came in chunks: then in `room`. False: no memory. */
bool tly_http_whole_body(const struct tly_http_request *request, struct tly_buf *room,
                         struct tly_slice *body);

/* Retry-After, RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) for a verdict, and X-RateLimit where that is set. */
void tly_http_add_limit_headers(struct tly_exchange *x, const struct tly_verdict *verdict);

/* Room for an IPv6 network. */
#define TLY_HTTP_IP_BYTES 64

/*
 * What proxies say of the request that they ask about: its "ip", "host", "path", "method" or "scheme"; p NULL when none said. The
 * address is canonical, and of an IPv6 address the network (settings client_ip, trusted_hops, ipv6_prefix); it may lie in text,
 * which has room for TLY_HTTP_IP_BYTES. False: no such word.
 */
bool tly_http_said(const struct tly_exchange *x, const char *name, char *text, struct tly_slice *value);

/* http_routes_check.c, http_routes_forward.c */
tly_http_handler tly_http_run_check, tly_http_run_refund, tly_http_run_reset, tly_http_run_reserve,
    tly_http_run_commit, tly_http_run_cancel, tly_http_run_forward;
/* http_routes_counter.c */
tly_http_handler tly_http_run_counter;
/* The members that say what a key holds: value, value_base64, or epoch and count; and deadline_ms. */
void tly_http_put_value(struct tly_json *json, const struct tly_strategy *strategy,
                        const struct tly_value *value);
/* http_routes_watch.c */
tly_http_handler tly_http_run_watch;
/* Writes what the watcher has to tell as server-sent events; true: it is much, and there may be more. */
bool tly_http_put_changes(struct tly_app *app, struct tly_watch *watch, struct tly_client *client);
/* http_routes_node.c */
tly_http_handler tly_http_run_claim, tly_http_run_cluster, tly_http_run_forget, tly_http_run_peers,
    tly_http_run_healthz, tly_http_run_readyz, tly_http_run_root;
/* http_routes_limits.c */
tly_http_handler tly_http_run_limits, tly_http_run_limit;
/* A bound as its member: -1 when there is none. */
void tly_http_put_bound(struct tly_json *json, uint64_t bound);
/* http_routes_why.c */
tly_http_handler tly_http_run_why, tly_http_run_refused, tly_http_run_top;
/* http_routes_archive.c */
tly_http_handler tly_http_run_export, tly_http_run_apply, tly_http_run_explain;
/* http_routes_feed.c */
tly_http_handler tly_http_run_sync, tly_http_run_snapshot;
/* http_routes_prefixes.c */
tly_http_handler tly_http_run_prefixes, tly_http_run_prefix;
/* http_routes_rls.c */
tly_http_handler tly_http_run_rls_json, tly_http_run_rls_health, tly_http_run_rls_config,
    tly_http_run_rls_stats;
/* metrics_rls.c: those of Envoy's rate limit service; nothing while it has no configuration. */
void tly_http_put_rls_metrics(struct tly_buf *out, struct tly_app *app);
/* Seconds; label: "" or as it stands in braces. */
void tly_http_put_histogram(struct tly_buf *out, const char *name, const char *label,
                            const struct tly_histogram *histogram);
/* A label's value. */
void tly_http_put_label(struct tly_buf *out, struct tly_slice text);
/* metrics.c: Prometheus' text format 0.0.4 */
tly_http_handler tly_http_run_metrics;

#endif
