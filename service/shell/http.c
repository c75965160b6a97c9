#include "service/shell/http.h"

#include "service/shell/digits.h"
#include "service/shell/libc_mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* A connection that asked for nothing for so long is closed. */
#define IDLE_MS 120000
#define BODY_BYTES_MAX (8u * 1024u * 1024u)
/* A body's buffer larger than this is not kept for the next request. */
#define BODY_BYTES_KEPT 2048u
#define DATE_BYTES_MAX 48u

/* One connection. */
struct http {
    struct tly_app *app;
    struct tly_client *client;
    struct tly_http_scan scan;
    struct tly_buf body;
    struct tly_http_stream
        stream; /* with next: an answer is under way, and its request is kept in the input */
    size_t stream_request_bytes;
    bool stream_is_chunked, stream_keeps_alive;
    struct tly_watch *watch; /* it is a stream of changes; NULL: it takes requests */
    struct parked *parked;   /* an answer that waits for other nodes; its body is in `body` */
    uint64_t date_s;         /* what `date` says; it is "" at first */
    char date[DATE_BYTES_MAX];
};

/* All of an answer but its body. */
struct parked {
    struct tly_exchange exchange;
    struct tly_http_request request; /* what of it an answer depends on */
    bool keeps_alive;
};

static void end_parked(struct http *http)
{
    if (http->parked == NULL) return;
    tly_ack_free(http->parked->exchange.ack);
    tly_mem_free(&http->body.mem, http->parked, sizeof *http->parked);
    http->parked = NULL;
}

static void end_stream(struct http *http)
{
    if (http->stream.next != NULL) http->stream.end(http->stream.context);
    http->stream = (struct tly_http_stream){0};
}

static void *open_session(struct tly_app *app, struct tly_client *client)
{
    struct tly_mem mem = tly_libc_mem();
    struct http *http = tly_mem_zeroed(&mem, sizeof *http);
    if (http == NULL) return NULL;
    http->app = app;
    http->client = client;
    tly_buf_init(&http->body, &mem, BODY_BYTES_MAX);
    return http;
}

static void close_session(void *state)
{
    struct http *http = state;
    struct tly_mem mem = http->body.mem;
    end_stream(http);
    end_parked(http);
    if (http->watch != NULL) tly_engine_unwatch(tly_app_engine(http->app), http->watch);
    tly_buf_fini(&http->body);
    tly_mem_free(&mem, http, sizeof *http);
}

/* ---- answers ---- */

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *tly_http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return "Unknown";
}

void tly_http_put_text(struct tly_exchange *x, const char *text)
{
    tly_buf_put(x->body, text, strlen(text));
}

void tly_http_add_header(struct tly_exchange *x, const char *format, ...)
{
    size_t room = sizeof x->lines.text - x->lines.n;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(x->lines.text + x->lines.n, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n + 2 >= room) return;
    memcpy(x->lines.text + x->lines.n + n, "\r\n", 2);
    x->lines.n += (size_t)n + 2;
}

void tly_http_add_pieces(struct tly_exchange *x, const struct tly_slice *pieces, size_t count)
{
    size_t n = 0, room = sizeof x->lines.text - x->lines.n;
    for (size_t i = 0; i < count; i++)
        n += pieces[i].n;
    if (n + 2 >= room) return;
    char *to = x->lines.text + x->lines.n;
    for (size_t i = 0; i < count; to += pieces[i++].n)
        memcpy(to, pieces[i].p, pieces[i].n);
    memcpy(to, "\r\n", 2);
    x->lines.n += n + 2;
}

void tly_http_problem(struct tly_exchange *x, int status, const char *code, const char *format, ...)
{
    char detail[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    tly_buf_clear(x->body);
    x->status = status;
    x->type = "application/problem+json";
    struct tly_json json = tly_json_of(x->body);
    tly_json_open(&json, '{');
    tly_json_member_string(&json, "type", "about:blank");
    tly_json_member_string(&json, "title", tly_http_reason(status));
    tly_json_member_uint(&json, "status", (uint64_t)status);
    tly_json_member_string(&json, "detail", detail);
    tly_json_member_string(&json, "code", code);
    tly_json_close(&json, '}');
    tly_http_put_text(x, "\n");
}

static int status_of(enum tly_result result)
{
    switch (result) {
    case TLY_OK: return 200;
    case TLY_NOT_FOUND:
    case TLY_NO_LIMIT:
    case TLY_NO_HOLD:
    case TLY_NO_PREFIX:
    case TLY_NO_STRATEGY: return 404;
    case TLY_READ_ONLY: return 403;
    case TLY_BAD_KEY:
    case TLY_BAD_ID:
    case TLY_BAD_PREFIX:
    case TLY_NO_SUCH_STRATEGY:
    case TLY_BAD_RULE:
    case TLY_IN_FLIGHT:
    case TLY_BAD_RAW:
    case TLY_BAD_PAYLOAD: return 400;
    case TLY_VALUE_TOO_LARGE:
    case TLY_TOO_LARGE: return 413;
    case TLY_WRONG_STRATEGY:
    case TLY_PREFIX_TAKEN:
    case TLY_PREFIX_BUILT_IN:
    case TLY_UNAPPROVED:
    case TLY_APPROVAL_STALE:
    case TLY_PREFIXES_NEST:
    case TLY_OVERFLOW:
    case TLY_FRONTIER_FULL: return 409;
    case TLY_FULL: return 507;
    case TLY_NOMEM:
    case TLY_PREFIX_HELD:
    case TLY_BUSY:
    case TLY_NO_RIGHTS:
    case TLY_CLOCK_END: return 503;
    default: return 500;
    }
}

void tly_http_problem_of(struct tly_exchange *x, enum tly_result result)
{
    tly_http_problem(x, status_of(result), tly_result_name(result), "%s", tly_result_text(result));
}

bool tly_http_method_is(const struct tly_http_request *request, const char *method)
{
    return tly_slice_equal(request->method, tly_slice_text(method));
}

bool tly_http_whole_body(const struct tly_http_request *request, struct tly_buf *room, struct tly_slice *body)
{
    *body = request->body;
    if (!request->is_chunked) return true;
    struct tly_slice piece;
    for (size_t at = 0; tly_http_body_next(request, &at, &piece);)
        tly_buf_put(room, piece.p, piece.n);
    *body = tly_buf_slice(room);
    return room->result == TLY_OK;
}

/* ---- sending ---- */

static void put(struct tly_buf *out, const char *text)
{
    tly_buf_put(out, text, strlen(text));
}

static uint8_t *append(uint8_t *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static uint8_t *append_number(uint8_t *to, uint64_t number)
{
    uint8_t digits[TLY_DIGITS_MAX], *end = digits + sizeof digits, *first = tly_digits(end, number);
    memcpy(to, first, (size_t)(end - first));
    return to + (end - first);
}

/* How long and of which type the body is. */
static uint8_t *append_body_lines(uint8_t *to, const struct tly_exchange *x)
{
    bool is_stream = x->stream.next != NULL;
    if (is_stream && x->request->minor > 0)
        to = append(to, "Transfer-Encoding: chunked\r\n");
    else if (!is_stream && x->status != 204)
        to = append(append_number(append(to, "Content-Length: "), x->body->n), "\r\n");
    if (is_stream || x->body->n > 0) to = append(append(append(to, "Content-Type: "), x->type), "\r\n");
    return to;
}

/* The line that says when it is (RFC 9110, 6.6.1), in no language but that of the RFC; made anew once a second. */
static const char *date_line(struct http *http)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    uint64_t now_s = tly_app_now(http->app).wall_ns / 1000000000;
    struct tm tm;
    time_t time = (time_t)now_s;
    bool is_made = http->date[0] != '\0' && http->date_s == now_s;
    if (is_made || gmtime_r(&time, &tm) == NULL) return http->date;
    (void)snprintf(http->date, sizeof http->date, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                   days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                   tm.tm_sec);
    http->date_s = now_s;
    return http->date;
}

/* More than the lines of an answer take that no handler adds, but for two texts in them. */
#define HEAD_BYTES_MAX 256u

static void send_answer(struct http *http, const struct tly_exchange *x, bool keep_alive)
{
    struct tly_buf *out = tly_client_out(http->client);
    const char *reason = tly_http_reason(x->status);
    size_t texts = strlen(reason) + strlen(x->type);
    uint8_t *from = tly_buf_room(out, HEAD_BYTES_MAX + texts + x->lines.n), *to = from;
    if (from == NULL) return;
    to = append_number(append(to, "HTTP/1.1 "), (uint64_t)x->status);
    to = append(append(append(to, " "), reason), "\r\n");
    to = append_body_lines(append(to, date_line(http)), x);
    memcpy(to, x->lines.text, x->lines.n);
    to += x->lines.n;
    if (!keep_alive)
        to = append(to, "Connection: close\r\n");
    else if (x->request->minor == 0)
        to = append(to, "Connection: keep-alive\r\n");
    to = append(to, "\r\n");
    out->n += (size_t)(to - from);
    if (x->body->n > 0 && !tly_http_method_is(x->request, "HEAD")) tly_buf_put(out, x->body->p, x->body->n);
}

/* ---- one request ---- */

static const struct {
    const char *name;
    unsigned bit;
} methods[] = {
    {"GET", TLY_HTTP_GET}, {"HEAD", TLY_HTTP_HEAD},     {"POST", TLY_HTTP_POST},
    {"PUT", TLY_HTTP_PUT}, {"DELETE", TLY_HTTP_DELETE},
};

#define METHODS (sizeof methods / sizeof *methods)

static unsigned method_bit(const struct tly_http_request *request)
{
    for (size_t i = 0; i < METHODS; i++)
        if (tly_http_method_is(request, methods[i].name)) return methods[i].bit;
    return 0;
}

static const struct tly_http_route *find_route(struct tly_slice path)
{
    size_t count;
    const struct tly_http_route *routes = tly_http_routes(&count);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(routes[i].path);
        if (path.n < n || memcmp(path.p, routes[i].path, n) != 0) continue;
        if (routes[i].is_prefix ? path.n > n : path.n == n) return &routes[i];
    }
    return NULL;
}

static void add_allow(struct tly_exchange *x, unsigned allowed)
{
    char list[64] = "";
    for (size_t i = 0; i < METHODS; i++) {
        if ((allowed & methods[i].bit) == 0) continue;
        size_t n = strlen(list);
        (void)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", methods[i].name);
    }
    tly_http_add_header(x, "Allow: %s", list);
}

/*
 * Whether a browser says that it asks for the page of another site (Fetch Metadata, and RFC 6454). Such a page can send what has a
 * simple content type to any address that its reader's machine reaches, also to ours.
 */
static bool is_of_other_site(const struct tly_http_request *request)
{
    struct tly_slice site = request->fetch_site, origin = request->origin, host = request->host;
    if (site.p != NULL) return !tly_http_is(site, "same-origin") && !tly_http_is(site, "none");
    if (origin.p == NULL) return false;
    return origin.n < host.n + sizeof "://" - 1 || memcmp(origin.p + origin.n - host.n - 3, "://", 3) != 0 ||
           memcmp(origin.p + origin.n - host.n, host.p, host.n) != 0;
}

static void route(struct tly_exchange *x)
{
    struct tly_slice path = x->request->path;
    const struct tly_http_route *found = find_route(path);
    if (found == NULL) {
        tly_http_problem(x, 404, "no_route", "there is nothing here; GET / names what there is");
        return;
    }
    size_t n = strlen(found->path);
    x->rest = tly_slice_of(path.p + n, path.n - n);
    if ((found->methods & (TLY_HTTP_ANY | method_bit(x->request))) == 0) {
        add_allow(x, found->methods);
        tly_http_problem(x, 405, "method_not_allowed", "this is not done with %.*s",
                         (int)x->request->method.n, (const char *)x->request->method.p);
        return;
    }
    /* A proxy that asks for a verdict passes on what its client said. */
    bool changes = (found->methods & TLY_HTTP_ANY) == 0 &&
                   (method_bit(x->request) & (TLY_HTTP_GET | TLY_HTTP_HEAD)) == 0;
    if (changes && is_of_other_site(x->request)) {
        tly_http_problem(x, 403, "cross_site", "a page of another site changes nothing here");
        return;
    }
    if (tly_http_decode(x->request->query, true, NULL) == SIZE_MAX) {
        tly_http_problem(x, 400, "bad_query", "the query has a malformed escape");
        return;
    }
    found->run(x);
}

/* The answer has no end but that of the connection. */
static void start_stream(struct http *http, struct tly_watch *watch)
{
    http->watch = watch;
    tly_client_stream(http->client);
    struct tly_buf *out = tly_client_out(http->client);
    put(out, "HTTP/1.1 200 OK\r\n");
    put(out, date_line(http));
    put(out, "Content-Type: text/event-stream\r\n"
             "Cache-Control: no-store\r\nConnection: close\r\n\r\n: watching\n\n");
}

static void add_acked(struct tly_exchange *x)
{
    struct tly_acked acked = tly_ack_look(x->ack);
    tly_http_add_header(x, "Tally-Ack: %s; sent=%llu; merged=%llu; durable=%llu",
                        tly_reached_word(acked.reached), (unsigned long long)acked.sent,
                        (unsigned long long)acked.merged, (unsigned long long)acked.durable);
}

/* Keeps an answer whose wait goes on; false: it goes out now, and says how far it is. */
static bool park(struct http *http, const struct tly_exchange *x, bool keeps_alive)
{
    if (tly_ack_look(x->ack).done) return false;
    struct parked *parked = tly_mem_zeroed(&http->body.mem, sizeof *parked);
    if (parked == NULL) return false;
    parked->exchange = *x;
    parked->exchange.request = &parked->request;
    parked->request.minor = x->request->minor;
    parked->request.method = tly_slice_text("POST");
    parked->keeps_alive = keeps_alive;
    http->parked = parked;
    tly_client_park(http->client);
    return true;
}

/* The answer that was waited for, or what has become of it when the connection has to end. */
static void unpark(struct http *http)
{
    struct parked *parked = http->parked;
    if (!tly_ack_look(parked->exchange.ack).done && !tly_client_is_closing(http->client)) {
        tly_client_park(http->client);
        return;
    }
    add_acked(&parked->exchange);
    if (!parked->keeps_alive) tly_client_close(http->client);
    send_answer(http, &parked->exchange, parked->keeps_alive && !tly_client_is_closing(http->client));
    end_parked(http);
}

/* Field by field: to clear the room for lines takes as long as to find the key. */
static void begin_exchange(struct tly_exchange *x, struct http *http, const struct tly_http_request *request)
{
    x->app = http->app;
    x->client = http->client;
    x->request = request;
    x->rest = (struct tly_slice){0};
    x->status = 200;
    x->type = "";
    x->body = &http->body;
    x->stream = (struct tly_http_stream){0};
    x->lines.n = 0;
    x->ack = NULL;
    x->watch = NULL;
}

static void answer(struct http *http, const struct tly_http_request *request)
{
    tly_client_count_request(http->client);
    tly_buf_clear(&http->body);
    struct tly_exchange x;
    begin_exchange(&x, http, request);
    route(&x);
    if (x.watch != NULL) {
        start_stream(http, x.watch);
        return;
    }
    if (http->body.result != TLY_OK) {
        tly_http_problem(&x, 503, tly_result_name(http->body.result), "the answer could not be made");
        if (http->body.result != TLY_OK) tly_client_close(http->client);
    }
    bool has_body = !tly_http_method_is(request, "HEAD");
    bool is_stream = x.stream.next != NULL;
    /* Before HTTP/1.1 a body of unknown length ends with the connection. */
    bool keep_alive = request->keep_alive && (!is_stream || request->minor > 0);
    if (x.ack != NULL && park(http, &x, keep_alive)) return;
    if (x.ack != NULL) add_acked(&x);
    tly_ack_free(x.ack);
    if (!keep_alive && !(is_stream && has_body)) tly_client_close(http->client);
    send_answer(http, &x, keep_alive && !tly_client_is_closing(http->client));
    http->stream = x.stream;
    if (!is_stream) return;
    http->stream_request_bytes = request->bytes;
    http->stream_is_chunked = request->minor > 0;
    http->stream_keeps_alive = keep_alive;
    if (!has_body) end_stream(http);
}

/* ---- answers made while they are sent ---- */

/* Sends what stands in the body as a piece of the answer. */
static void send_piece(struct http *http)
{
    struct tly_buf *out = tly_client_out(http->client);
    char head[24];
    if (http->body.n == 0) return;
    (void)snprintf(head, sizeof head, "%zx\r\n", http->body.n);
    if (http->stream_is_chunked) put(out, head);
    tly_buf_put(out, http->body.p, http->body.n);
    if (http->stream_is_chunked) put(out, "\r\n");
}

/* One piece more. How many bytes of the input are used now: those of the request, once all of the answer is made. */
static size_t go_on(struct http *http)
{
    bool done = false;
    tly_buf_clear(&http->body);
    bool ok = http->stream.next(http->stream.context, &http->body, &done) && http->body.result == TLY_OK;
    if (ok) send_piece(http);
    if (ok && !done) {
        tly_client_go_on(http->client);
        return 0;
    }
    end_stream(http);
    if (ok && http->stream_is_chunked) put(tly_client_out(http->client), "0\r\n\r\n");
    if (!ok || !http->stream_keeps_alive) tly_client_close(http->client);
    return http->stream_request_bytes;
}

/* The code of what is no request that a route could see, after its status. */
static const char *refusal_code(int status)
{
    switch (status) {
    case 413: return "too_large";
    case 414: return "uri_too_long";
    case 417: return "expectation_failed";
    case 431: return "headers_too_large";
    case 501: return "not_implemented";
    case 505: return "version_not_supported";
    default: return "bad_request";
    }
}

/* The connection has lost its rhythm: a last answer, and it ends. */
static void refuse(struct http *http, const struct tly_http_request *request)
{
    const struct tly_http_request nothing = {.minor = 1};
    struct tly_exchange x = {
        .app = http->app, .client = http->client, .request = &nothing, .type = "", .body = &http->body};
    tly_http_problem(&x, request->status, refusal_code(request->status), "%s", request->error);
    tly_client_close(http->client);
    send_answer(http, &x, false);
}

/* Whether another may follow; *used grows by what was taken. */
static bool take_one(struct http *http, struct tly_slice in, struct tly_http_request *request, size_t *used)
{
    enum tly_result result = tly_http_parse(in, &http->scan, request);
    if (result == TLY_MORE) {
        if (request->wants_continue) put(tly_client_out(http->client), "HTTP/1.1 100 Continue\r\n\r\n");
        return false;
    }
    if (result != TLY_OK) {
        refuse(http, request);
        return false;
    }
    answer(http, request);
    if (http->stream.next != NULL) {
        tly_client_go_on(http->client);
        return false;
    }
    *used += request->bytes;
    return !tly_client_is_closing(http->client) && http->watch == NULL && http->parked == NULL;
}

static size_t feed(void *state, struct tly_client *client, struct tly_slice in)
{
    struct http *http = state;
    struct tly_http_request request;
    if (http->watch != NULL) return in.n; /* whatever it says, it is only listened for its end */
    if (http->parked != NULL) unpark(http);
    if (http->parked != NULL) return 0;
    size_t used = http->stream.next != NULL ? go_on(http) : 0;
    bool goes_on = http->stream.next == NULL && !tly_client_is_closing(client);
    while (goes_on && used < in.n && !tly_client_is_full(client))
        goes_on = take_one(http, tly_slice_of(in.p + used, in.n - used), &request, &used);
    if (http->body.capacity > BODY_BYTES_KEPT && http->parked == NULL) tly_buf_fini(&http->body);
    return used;
}

static bool wake(void *state, struct tly_client *client, bool is_idle)
{
    struct http *http = state;
    if (is_idle) put(tly_client_out(client), ":\n\n");
    return tly_http_put_changes(http->app, http->watch, client);
}

const struct tly_protocol *tly_http_protocol(void)
{
    static const struct tly_protocol protocol = {
        .name = "http",
        .in_max = TLY_HTTP_REQUEST_BYTES_MAX,
        .idle_ms = IDLE_MS,
        .open = open_session,
        .feed = feed,
        .close = close_session,
        .wake = wake,
        .waits_end = true,
    };
    return &protocol;
}
