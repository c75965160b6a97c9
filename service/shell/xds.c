/* The connection to a management server: dialling, HTTP/2, one call. */
#include "service/shell/xds.h"

#include "service/shell/h2_mem.h"
#include "service/shell/libc_mem.h"
#include "service/shell/tls.h"
#include "service/shell/xds_message.h"
#include "service/shell/xds_target.h"

#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFIX_BYTES 5
#define READ_BYTES 16384
#define HEADERS_MAX 16
/* What is to be said and was not taken yet. */
#define OUT_MAX (1024u * 1024u)
#define WINDOW_BYTES (1024 * 1024)
#define WHY_BYTES 400

struct tly_xds {
    struct tly_app *app;
    struct tly_rls *rls;
    struct tly_xds_settings settings;
    struct tly_xds_target target;
    struct tly_mem mem;
    struct tly_tls *tls; /* NULL: in the clear */
    struct evdns_base *dns;
    struct event *retry, *patience;
    struct bufferevent *dialling; /* NULL: not now */
    int fd;                       /* -1: none */
    struct event *readable, *writable;
    struct tly_tls_link *link;
    nghttp2_session *session;
    int32_t call;
    struct tly_buf out;     /* bytes for the socket */
    struct tly_buf request; /* messages of the call that HTTP/2 has not taken */
    struct tly_buf in;      /* half a message */
    size_t sent, taken;     /* of out; of request */
    bool is_probed;         /* the server was asked whether it is there */
    bool is_over;           /* this connection is of no more use: why */
    char why[WHY_BYTES];
    char status[WHY_BYTES];            /* how the server ended the call */
    uint32_t wait_ms;                  /* before the next dial */
    char version[TLY_XDS_VERSION_MAX]; /* of what was taken last */
    size_t version_n;
    struct tly_xds_stats stats;
};

/* ---- the end of a connection ---- */

static void set_timer(struct event *timer, uint32_t ms)
{
    const struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    (void)event_add(timer, &in);
}

static void free_event(struct event **event)
{
    if (*event != NULL) event_free(*event);
    *event = NULL;
}

static void hang_up(struct tly_xds *xds)
{
    if (xds->dialling != NULL) {
        if (xds->fd < 0) xds->fd = bufferevent_getfd(xds->dialling);
        bufferevent_free(xds->dialling);
    }
    xds->dialling = NULL;
    free_event(&xds->readable);
    free_event(&xds->writable);
    nghttp2_session_del(xds->session);
    xds->session = NULL;
    tly_tls_close(xds->link);
    xds->link = NULL;
    if (xds->fd >= 0) (void)close(xds->fd);
    xds->fd = -1;
    (void)event_del(xds->patience);
    tly_buf_fini(&xds->out);
    tly_buf_fini(&xds->request);
    tly_buf_fini(&xds->in);
    xds->sent = xds->taken = 0;
    xds->is_probed = xds->is_over = xds->stats.is_up = false;
    xds->status[0] = '\0';
}

static void give_up(struct tly_xds *xds, const char *why)
{
    uint32_t wait_ms = xds->wait_ms / 2 + arc4random_uniform(xds->wait_ms / 2 + 1);
    tly_log(tly_app_log(xds->app), TLY_LEVEL_WARN,
            "no connection to the management server %s: %s; the limits stay as they are",
            xds->settings.server, why);
    hang_up(xds);
    set_timer(xds->retry, wait_ms);
    xds->wait_ms = xds->wait_ms > TLY_XDS_RETRY_MAX_MS / 2 ? TLY_XDS_RETRY_MAX_MS : xds->wait_ms * 2;
}

/* Not from within nghttp2, which would be freed under its own feet: what it does next is seen afterwards. */
static void end_later(struct tly_xds *xds, const char *why)
{
    if (xds->is_over) return;
    xds->is_over = true;
    (void)snprintf(xds->why, sizeof xds->why, "%s", why);
}

/* ---- the call ---- */

static void say(struct tly_xds *xds, struct tly_slice nonce, const char *error)
{
    static const uint8_t prefix[PREFIX_BYTES];
    struct tly_xds_request request = {.node_id = xds->settings.node_id,
                                      .metadata = xds->settings.metadata,
                                      .version = tly_slice_of(xds->version, xds->version_n),
                                      .nonce = nonce,
                                      .error = error};
    if (xds->taken > 0) tly_buf_take(&xds->request, xds->taken);
    xds->taken = 0;
    size_t at = xds->request.n;
    tly_buf_put(&xds->request, prefix, sizeof prefix);
    tly_xds_request_put(&request, &xds->request);
    if (xds->request.result != TLY_OK) {
        end_later(xds, "out of memory");
        return;
    }
    size_t n = xds->request.n - at - PREFIX_BYTES;
    for (unsigned i = 0; i < 4; i++)
        xds->request.p[at + 1 + i] = (uint8_t)(n >> (24 - 8 * i));
    (void)nghttp2_session_resume_data(xds->session, xds->call);
}

static void refuse(struct tly_xds *xds, const struct tly_xds_response *response,
                   const struct tly_rls_error *error)
{
    xds->stats.refused++;
    tly_rls_use(xds->rls, NULL);
    tly_log(tly_app_log(xds->app), TLY_LEVEL_ERROR,
            "error loading new configuration, the limits stay as they are: %s", error->text);
    say(xds, response->nonce, error->text);
}

static void take(struct tly_xds *xds, const struct tly_xds_response *response, struct tly_rls_config *config)
{
    xds->stats.accepted++;
    tly_log(tly_app_log(xds->app), TLY_LEVEL_INFO, "loaded %zu descriptors in %zu domains from %s",
            tly_rls_config_rule_count(config), tly_rls_config_domain_count(config), xds->settings.server);
    tly_rls_use(xds->rls, config);
    if (response->version.n > 0) memcpy(xds->version, response->version.p, response->version.n);
    xds->version_n = response->version.n;
    xds->wait_ms = xds->settings.retry_ms;
    say(xds, response->nonce, NULL);
}

static void hear(struct tly_xds *xds, struct tly_slice message)
{
    struct tly_xds_response response;
    struct tly_rls_error error = {""};
    struct tly_rls_config *config = NULL;
    bool is_whole = tly_xds_response_get(message, &response);
    xds->stats.is_up = true;
    if (response.version.n > TLY_XDS_VERSION_MAX || response.nonce.n > TLY_XDS_VERSION_MAX) {
        end_later(xds, "a version or a nonce is too long");
        return;
    }
    if (!is_whole)
        (void)tly_rls_error_set(&error, "response", "proto: cannot parse invalid wire-format data");
    else if (response.type_url.n > 0 && !tly_slice_equal(response.type_url, tly_slice_text(TLY_XDS_TYPE)))
        (void)tly_rls_error_set(&error, "response", "resources of another type than was asked for");
    else
        config = tly_xds_response_config(&response, xds->settings.merges_domains, &xds->mem, &error);
    if (config != NULL)
        take(xds, &response, config);
    else
        refuse(xds, &response, &error);
}

static uint32_t length_of(const uint8_t *prefix)
{
    return (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 | prefix[4];
}

/* Messages that are whole; false: what comes is none. */
static bool hear_all(struct tly_xds *xds)
{
    size_t used = 0;
    while (!xds->is_over && xds->in.n - used >= PREFIX_BYTES) {
        const uint8_t *p = xds->in.p + used;
        uint32_t n = length_of(p);
        if (p[0] != 0 || n > TLY_XDS_MESSAGE_MAX) return false;
        if (xds->in.n - used < PREFIX_BYTES + (size_t)n) break;
        hear(xds, tly_slice_of(p + PREFIX_BYTES, n));
        used += PREFIX_BYTES + (size_t)n;
    }
    if (used > 0) tly_buf_take(&xds->in, used);
    if (xds->in.n == 0) tly_buf_fini(&xds->in);
    return true;
}

/* ---- nghttp2 calls back ---- */

/* NOLINTNEXTLINE(readability-function-size): nghttp2 says which parameters there are */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *context)
{
    (void)session, (void)frame, (void)flags;
    struct tly_xds *xds = context;
    static const char *const kept[] = {"grpc-status", "grpc-message", ":status"};
    size_t n = strlen(xds->status);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        if (!tly_slice_equal(tly_slice_of(name, name_n), tly_slice_text(kept[i]))) continue;
        if (kept[i][0] == ':' && value_n == 3 && memcmp(value, "200", 3) == 0) continue;
        (void)snprintf(xds->status + n, sizeof xds->status - n, " %s=%.*s", kept[i],
                       (int)(value_n < 200 ? value_n : 200), (const char *)value);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
                   void *context)
{
    (void)session, (void)flags, (void)id;
    struct tly_xds *xds = context;
    tly_buf_put(&xds->in, bytes, n);
    if (xds->in.result != TLY_OK || !hear_all(xds))
        end_later(xds, "what it sends is compressed, too long, or nothing of gRPC");
    return 0;
}

static void end_call(struct tly_xds *xds, uint32_t error)
{
    char why[WHY_BYTES];
    (void)snprintf(why, sizeof why, "it ended the call (%s)%.350s", nghttp2_http2_strerror(error),
                   xds->status);
    end_later(xds, why);
}

/*
 * The server's end of the call is the end of it, though ours is open: not every server resets it then (RFC 9113, 8.1). So is what is no
 * answer of gRPC at all.
 */
static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)session;
    struct tly_xds *xds = context;
    bool is_of_call = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    bool is_end = is_of_call && ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 || xds->status[0] != '\0');
    if (frame->hd.type == NGHTTP2_SETTINGS) xds->stats.is_up = true;
    if (is_end) end_call(xds, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    (void)session, (void)id;
    end_call(context, error);
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): … here too */
static ssize_t read_request(nghttp2_session *session, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *context)
{
    (void)session, (void)id, (void)flags, (void)source;
    struct tly_xds *xds = context;
    size_t n = xds->request.n - xds->taken;
    if (n == 0) return NGHTTP2_ERR_DEFERRED;
    if (n > size) n = size;
    memcpy(to, xds->request.p + xds->taken, n);
    xds->taken += n;
    return (ssize_t)n;
}

static int make_session(struct tly_xds *xds)
{
    nghttp2_mem mem = tly_h2_mem(&xds->mem);
    nghttp2_session_callbacks *callbacks = NULL;
    int result = nghttp2_session_callbacks_new(&callbacks);
    if (result != 0) return result;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    result = nghttp2_session_client_new3(&xds->session, callbacks, xds, NULL, &mem);
    nghttp2_session_callbacks_del(callbacks);
    return result;
}

/* A header in nghttp2's form; borrows. */
static nghttp2_nv line_of(struct tly_slice name, struct tly_slice value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n,
                        NGHTTP2_NV_FLAG_NONE};
}

/* Those of the settings: "name:value,name:value". */
static size_t add_headers(const char *text, nghttp2_nv *lines, size_t n)
{
    for (; *text != '\0' && n < HEADERS_MAX; text += strcspn(text, ","), text += *text == ',') {
        size_t all = strcspn(text, ","), name = strcspn(text, ":,");
        if (name == 0 || name >= all) continue;
        lines[n++] = line_of(tly_slice_of(text, name), tly_slice_of(text + name + 1, all - name - 1));
    }
    return n;
}

static bool begin_call(struct tly_xds *xds)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES}};
    static const char *const fixed[][2] = {{":method", "POST"},
                                           {":scheme", "http"},
                                           {":path", TLY_XDS_METHOD},
                                           {"te", "trailers"},
                                           {"content-type", "application/grpc"},
                                           {"user-agent", "tally"}};
    nghttp2_nv lines[HEADERS_MAX];
    size_t n = 0;
    for (; n < sizeof fixed / sizeof fixed[0]; n++)
        lines[n] = line_of(tly_slice_text(fixed[n][0]), tly_slice_text(fixed[n][1]));
    if (xds->tls != NULL) lines[1] = line_of(tly_slice_text(":scheme"), tly_slice_text("https"));
    lines[n++] = lines[3];
    lines[3] = line_of(tly_slice_text(":authority"), tly_slice_text(xds->target.authority));
    n = add_headers(xds->settings.headers, lines, n);
    nghttp2_data_provider provider = {.read_callback = read_request};
    if (make_session(xds) != 0 ||
        nghttp2_submit_settings(xds->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(xds->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) != 0)
        return false;
    xds->call = nghttp2_submit_request(xds->session, NULL, lines, n, &provider, NULL);
    if (xds->call < 0) return false;
    say(xds, tly_slice_of(NULL, 0), NULL);
    return !xds->is_over;
}

/* ---- the socket ---- */

static ssize_t give_bytes(struct tly_xds *xds)
{
    const uint8_t *p = xds->out.p + xds->sent;
    size_t n = xds->out.n - xds->sent;
    return xds->link != NULL ? tly_tls_send(xds->link, p, n) : send(xds->fd, p, n, MSG_NOSIGNAL);
}

static const char *problem_of(const struct tly_xds *xds)
{
    const char *problem = xds->link != NULL ? tly_tls_problem(xds->link) : NULL;
    return problem != NULL ? problem : strerror(errno);
}

/* Says what there is to say, as far as the socket takes it, and sees what came of the turn. The connection may be gone afterwards. */
static void settle(struct tly_xds *xds)
{
    const uint8_t *bytes;
    ssize_t n = 0;
    while (!xds->is_over && (n = nghttp2_session_mem_send(xds->session, &bytes)) > 0)
        tly_buf_put(&xds->out, bytes, (size_t)n);
    if (n < 0 || xds->out.result != TLY_OK) end_later(xds, "it takes nothing, or there is no memory");
    while (!xds->is_over && xds->sent < xds->out.n) {
        n = give_bytes(xds);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) end_later(xds, problem_of(xds));
        xds->sent += n > 0 ? (size_t)n : 0;
    }
    if (!xds->is_over && nghttp2_session_want_read(xds->session) == 0 &&
        nghttp2_session_want_write(xds->session) == 0)
        end_later(xds, "it ended the connection");
    if (xds->is_over) {
        char why[WHY_BYTES];
        (void)snprintf(why, sizeof why, "%s", xds->why);
        give_up(xds, why);
        return;
    }
    if (xds->sent == xds->out.n) {
        tly_buf_clear(&xds->out);
        xds->sent = 0;
    }
    /* A handshake that reads is waited for by what is read. */
    bool wants_write = xds->link == NULL || tly_tls_wants_write(xds->link);
    if (xds->sent < xds->out.n && wants_write)
        (void)event_add(xds->writable, NULL);
    else
        (void)event_del(xds->writable);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct tly_xds *xds = context;
    uint8_t bytes[READ_BYTES];
    ssize_t n =
        xds->link != NULL ? tly_tls_recv(xds->link, bytes, sizeof bytes) : recv(fd, bytes, sizeof bytes, 0);
    if (n == 0) end_later(xds, "it closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) end_later(xds, problem_of(xds));
    if (n > 0) {
        xds->is_probed = false;
        set_timer(xds->patience, TLY_XDS_SILENCE_MS);
        ssize_t used = nghttp2_session_mem_recv(xds->session, bytes, (size_t)n);
        if (used < 0) end_later(xds, nghttp2_strerror((int)used));
        if (xds->link != NULL && tly_tls_has_more(xds->link)) event_active(xds->readable, EV_READ, 0);
    }
    settle(xds);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    settle(context);
}

/* Silence: it is asked whether it is there, and the next time it is not. */
static void on_patience(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct tly_xds *xds = context;
    if (xds->session == NULL || xds->is_probed) {
        give_up(xds, "it does not answer");
        return;
    }
    xds->is_probed = true;
    set_timer(xds->patience, TLY_XDS_SILENCE_MS);
    (void)nghttp2_submit_ping(xds->session, NGHTTP2_FLAG_NONE, NULL);
    settle(xds);
}

/* ---- dialling ---- */

static void begin(struct tly_xds *xds)
{
    struct event_base *base = tly_app_base(xds->app);
    xds->fd = bufferevent_getfd(xds->dialling);
    bufferevent_free(xds->dialling);
    xds->dialling = NULL;
    xds->stats.dials++;
    tly_log(tly_app_log(xds->app), TLY_LEVEL_INFO, "connected to the management server %s",
            xds->settings.server);
    if (xds->tls != NULL) xds->link = tly_tls_open(xds->tls, xds->fd, xds->target.host);
    xds->readable = event_new(base, xds->fd, EV_READ | EV_PERSIST, on_readable, xds);
    xds->writable = event_new(base, xds->fd, EV_WRITE | EV_PERSIST, on_writable, xds);
    bool good = (xds->link != NULL || xds->tls == NULL) && xds->readable != NULL && xds->writable != NULL &&
                event_add(xds->readable, NULL) == 0 && begin_call(xds);
    if (!good) {
        give_up(xds, "out of memory");
        return;
    }
    settle(xds);
}

static void on_dialled(struct bufferevent *bev, short what, void *context)
{
    struct tly_xds *xds = context;
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        begin(xds);
        return;
    }
    int dns = bufferevent_socket_get_dns_error(bev);
    give_up(xds, dns != 0 ? evutil_gai_strerror(dns) : strerror(EVUTIL_SOCKET_ERROR()));
}

static void dial(struct tly_xds *xds)
{
    xds->dialling = bufferevent_socket_new(tly_app_base(xds->app), -1, BEV_OPT_DEFER_CALLBACKS);
    set_timer(xds->patience, TLY_XDS_SILENCE_MS);
    if (xds->dialling == NULL) {
        give_up(xds, "out of memory");
        return;
    }
    bufferevent_setcb(xds->dialling, NULL, NULL, on_dialled, xds);
    if (!tly_xds_target_dial(&xds->target, xds->dialling, xds->dns) && xds->dialling != NULL)
        give_up(xds, strerror(errno));
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    dial(context);
}

/* ---- the client ---- */

static bool start(struct tly_xds *xds, struct tly_tls_error *error)
{
    struct event_base *base = tly_app_base(xds->app);
    xds->dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    xds->retry = event_new(base, -1, 0, on_retry, xds);
    xds->patience = event_new(base, -1, 0, on_patience, xds);
    (void)snprintf(error->text, sizeof error->text, "out of memory");
    if (xds->retry == NULL || xds->patience == NULL) return false;
    if (!tly_xds_target_parse(xds->settings.server, &xds->target)) {
        (void)snprintf(error->text, sizeof error->text, "the server is no HOST:PORT and no unix:PATH: %s",
                       xds->settings.server);
        return false;
    }
    if (!xds->settings.uses_tls) return true;
    xds->tls = tly_tls_new(&xds->settings.tls, TLY_TLS_CLIENT, error);
    return xds->tls != NULL && tly_tls_watch(xds->tls, base, tly_app_log(xds->app));
}

struct tly_xds *tly_xds_new(struct tly_app *app, struct tly_rls *rls, const struct tly_xds_settings *settings,
                            struct tly_tls_error *error)
{
    struct tly_mem mem = tly_libc_mem();
    struct tly_xds *xds = tly_mem_zeroed(&mem, sizeof *xds);
    (void)snprintf(error->text, sizeof error->text, "out of memory");
    if (xds == NULL) return NULL;
    xds->app = app;
    xds->rls = rls;
    xds->settings = *settings;
    xds->mem = mem;
    xds->fd = -1;
    xds->wait_ms = settings->retry_ms;
    tly_buf_init(&xds->out, &mem, OUT_MAX);
    tly_buf_init(&xds->request, &mem, OUT_MAX);
    tly_buf_init(&xds->in, &mem, TLY_XDS_MESSAGE_MAX + PREFIX_BYTES + READ_BYTES);
    if (!start(xds, error)) {
        tly_xds_free(xds);
        return NULL;
    }
    dial(xds);
    return xds;
}

void tly_xds_free(struct tly_xds *xds)
{
    if (xds == NULL) return;
    if (xds->patience != NULL) hang_up(xds);
    free_event(&xds->retry);
    free_event(&xds->patience);
    if (xds->dns != NULL) evdns_base_free(xds->dns, 0);
    tly_tls_free(xds->tls);
    struct tly_mem mem = xds->mem;
    tly_mem_free(&mem, xds, sizeof *xds);
}

void tly_xds_stats(const struct tly_xds *xds, struct tly_xds_stats *stats)
{
    *stats = xds->stats;
}
