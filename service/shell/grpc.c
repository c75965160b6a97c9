/* The gRPC door: connections. What comes goes to nghttp2, which calls back; what it has to say goes into the door's buffer. */
#include "service/shell/grpc_internal.h"
#include "service/shell/h2_mem.h"

#include <assert.h>
#include <string.h>

#define IN_BYTES_MAX (64u * 1024u)
/* So much at a time goes to nghttp2, so that not all answers to what one read brought have to wait at once, and little of a flood is done. */
#define PIECE_BYTES 2048u
/* How often a connection's calls are looked at, whether it says anything or not. */
#define LOOK_MS 1000
#define IDLE_NS (UINT64_C(600) * 1000000000)
/* Calls that are over and kept for others. */
#define SPARE_CALLS_MAX 16u

struct tly_app *tly_grpc_app(const struct tly_grpc_call *call)
{
    return call->grpc->app;
}

/* ---- calls ---- */

static struct tly_grpc_call *new_call(struct tly_grpc *grpc, int32_t id)
{
    struct tly_grpc_call *call = LIST_FIRST(&grpc->spare);
    if (call != NULL) {
        LIST_REMOVE(call, in_calls);
        grpc->spare_count--;
    } else {
        call = tly_mem_new(&grpc->mem, sizeof *call);
        if (call == NULL) return NULL;
        tly_grpc_call_init(call, grpc, &grpc->mem);
    }
    grpc->last_call_ns = tly_app_now(grpc->app).mono_ns;
    tly_grpc_call_begin(call, id, grpc->last_call_ns);
    LIST_INSERT_HEAD(&grpc->calls, call, in_calls);
    grpc->call_count++;
    return call;
}

static void free_call(struct tly_grpc *grpc, struct tly_grpc_call *call)
{
    tly_grpc_call_fini(call);
    tly_mem_free(&grpc->mem, call, sizeof *call);
}

static void end_call(struct tly_grpc *grpc, struct tly_grpc_call *call)
{
    LIST_REMOVE(call, in_calls);
    grpc->call_count--;
    grpc->last_call_ns = tly_app_now(grpc->app).mono_ns;
    if (grpc->spare_count == SPARE_CALLS_MAX || call->in.capacity + call->out.capacity > 8192) {
        free_call(grpc, call);
        return;
    }
    LIST_INSERT_HEAD(&grpc->spare, call, in_calls);
    grpc->spare_count++;
}

/* What came of a call is used, but for what is kept of it: the client may send as much again. */
static void use_bytes(struct tly_grpc *grpc, struct tly_grpc_call *call)
{
    size_t kept = call->finished ? 0 : call->in.n;
    if (call->unused <= kept) return;
    (void)nghttp2_session_consume(grpc->session, call->id, call->unused - kept);
    call->unused = kept;
}

/* ---- nghttp2 calls back ---- */

static struct tly_grpc_call *call_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct tly_grpc *grpc = context;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct tly_grpc_call *call = new_call(grpc, frame->hd.stream_id);
    if (call == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

/* NOLINTNEXTLINE(readability-function-size): … here too */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *context)
{
    (void)flags, (void)context;
    struct tly_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL) return 0;
    /* RFC 9113, 10.5.1: what a line of a header counts. */
    call->header_bytes += (uint32_t)(name_n + value_n + 32);
    if (call->header_bytes > TLY_GRPC_HEADER_BYTES_MAX) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !call->finished)
        tly_grpc_call_header(call, tly_slice_of(name, name_n), tly_slice_of(value, value_n));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
                   void *context)
{
    (void)flags;
    struct tly_grpc *grpc = context;
    struct tly_grpc_call *call = call_of(session, id);
    if (call == NULL) {
        (void)nghttp2_session_consume_connection(session, n);
        return 0;
    }
    call->unused += n;
    tly_grpc_call_data(call, tly_slice_of(bytes, n));
    use_bytes(grpc, call);
    return 0;
}

/* All that were called before the client heard of the end have begun. */
static void tell_last(struct tly_grpc *grpc)
{
    grpc->is_last_told = true;
    (void)nghttp2_submit_goaway(grpc->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(grpc->session), NGHTTP2_NO_ERROR,
                                NULL, 0);
    for (struct tly_grpc_call *call = LIST_FIRST(&grpc->calls); call != NULL;
         call = LIST_NEXT(call, in_calls))
        if (!call->finished && call->method != NULL && call->method->look != NULL)
            call->method->look(call, true);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct tly_grpc *grpc = context;
    if (frame->hd.type != NGHTTP2_HEADERS)
        tly_grpc_flood_heard(&grpc->flood, frame, tly_app_now(grpc->app).mono_ns);
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) grpc->is_heard = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    struct tly_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        tly_client_count_request(grpc->client);
        call->client_ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        tly_grpc_call_headers_end(call);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    tly_grpc_call_end(call, call->deadline_ns != 0 ? tly_app_now(grpc->app).mono_ns : 0);
    use_bytes(grpc, call);
    return 0;
}

/* All is said. The rest of what the client still sends is of no use to anybody (RFC 9113, 8.1). */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct tly_grpc *grpc = context;
    tly_grpc_flood_said(&grpc->flood, frame, tly_app_now(grpc->app).mono_ns);
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    struct tly_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL || call->client_ended) return 0;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    (void)error;
    struct tly_grpc *grpc = context;
    struct tly_grpc_call *call = call_of(session, id);
    if (call == NULL) return 0;
    if (call->unused > 0) (void)nghttp2_session_consume_connection(session, call->unused);
    (void)nghttp2_session_set_stream_user_data(session, id, NULL);
    end_call(grpc, call);
    return 0;
}

/* A frame of a type that is not known here: of no meaning (RFC 9113, 5.5), but heard. */
static int on_unknown(nghttp2_session *session, void **payload, const nghttp2_frame_hd *head, void *context)
{
    (void)session, (void)head, (void)context;
    *payload = NULL;
    return 0;
}

/* ---- a connection ---- */

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_unknown);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
}

static int make_session(struct tly_grpc *grpc)
{
    nghttp2_mem mem = tly_h2_mem(&grpc->mem);
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int result = nghttp2_session_callbacks_new(&callbacks);
    if (result == 0) result = nghttp2_option_new(&option);
    if (result == 0) {
        set_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        /* A second net: ours is narrower, and says which it was. */
        nghttp2_option_set_stream_reset_rate_limit(option, (uint64_t)2 * TLY_GRPC_RESETS_MAX,
                                                   (uint64_t)2 * TLY_GRPC_RESETS_PER_S);
        nghttp2_option_set_no_closed_streams(option, 1);
        for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
            nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
        result = nghttp2_session_server_new3(&grpc->session, callbacks, grpc, option, &mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return result;
}

static bool greet(struct tly_grpc *grpc)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, TLY_GRPC_CALLS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, TLY_GRPC_MESSAGE_MAX + 1024},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, TLY_GRPC_HEADER_BYTES_MAX},
    };
    size_t count = sizeof settings / sizeof settings[0];
    return nghttp2_submit_settings(grpc->session, NGHTTP2_FLAG_NONE, settings, count) == 0 &&
           nghttp2_session_set_local_window_size(grpc->session, NGHTTP2_FLAG_NONE, 0,
                                                 TLY_GRPC_WINDOW_BYTES) == 0;
}

static void close_session(void *state)
{
    struct tly_grpc *grpc = state;
    struct tly_mem mem = grpc->mem;
    struct tly_grpc_call *call;
    nghttp2_session_del(grpc->session);
    while ((call = LIST_FIRST(&grpc->calls)) != NULL) {
        LIST_REMOVE(call, in_calls);
        free_call(grpc, call);
    }
    while ((call = LIST_FIRST(&grpc->spare)) != NULL) {
        LIST_REMOVE(call, in_calls);
        free_call(grpc, call);
    }
    tly_mem_free(&mem, grpc, sizeof *grpc);
}

static void *open_session(struct tly_app *app, struct tly_client *client)
{
    struct tly_mem mem = tly_client_mem(client);
    struct tly_grpc *grpc = tly_mem_zeroed(&mem, sizeof *grpc);
    if (grpc == NULL) return NULL;
    grpc->mem = mem;
    grpc->app = app;
    grpc->client = client;
    grpc->last_call_ns = grpc->looked_ns = tly_app_now(app).mono_ns;
    LIST_INIT(&grpc->calls);
    LIST_INIT(&grpc->spare);
    if (make_session(grpc) != 0 || !greet(grpc)) {
        close_session(grpc);
        return NULL;
    }
    tly_client_stream(client);
    return grpc;
}

/* Everything that nghttp2 has to say by now; what is too much for the client's windows stays with the calls. */
static void say(struct tly_grpc *grpc)
{
    struct tly_buf *out = tly_client_out(grpc->client);
    const uint8_t *bytes;
    ssize_t n;
    /* Not from within nghttp2: a call that came behind the client's answer would be run, though it was told that it is not. */
    if (grpc->is_draining && grpc->is_heard && !grpc->is_last_told) tell_last(grpc);
    while ((n = nghttp2_session_mem_send(grpc->session, &bytes)) > 0)
        tly_buf_put(out, bytes, (size_t)n);
    bool is_over =
        nghttp2_session_want_read(grpc->session) == 0 && nghttp2_session_want_write(grpc->session) == 0;
    if (n < 0 || is_over) tly_client_close(grpc->client);
}

/* The last that is said to a client that floods. */
static void calm(struct tly_grpc *grpc, const char *what)
{
    if (grpc->is_calmed) return;
    grpc->is_calmed = true;
    tly_client_count_calmed(grpc->client);
    tly_log(tly_app_log(grpc->app), TLY_LEVEL_WARN, "client closed door=grpc peer=%s reason=\"too many %s\"",
            tly_client_peer(grpc->client), what);
    (void)nghttp2_session_terminate_session(grpc->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* One piece; how much of it was used, or below 0: the connection is over. */
static ssize_t take(struct tly_grpc *grpc, const uint8_t *bytes, size_t n)
{
    ssize_t taken = nghttp2_session_mem_recv(grpc->session, bytes, n);
    if (taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) grpc->flood.what = "pieces of headers";
    if (taken == NGHTTP2_ERR_FLOODED) grpc->flood.what = "frames to be acknowledged";
    if (grpc->flood.what != NULL) calm(grpc, grpc->flood.what);
    return taken;
}

/* Calls whose request does not come, or does not end; those that go on say what is new. */
static void look_at_calls(struct tly_grpc *grpc, uint64_t now_ns)
{
    struct tly_grpc_call *next;
    grpc->looked_ns = now_ns;
    for (struct tly_grpc_call *call = LIST_FIRST(&grpc->calls); call != NULL; call = next) {
        next = LIST_NEXT(call, in_calls);
        bool is_half =
            !call->client_ended && (call->method == NULL || !call->method->takes_many || call->in.n > 0);
        /* Whoever does not take its answer has no call any more. */
        if (call->finished && now_ns - call->began_ns > TLY_STUCK_MS * UINT64_C(1000000))
            (void)nghttp2_submit_rst_stream(grpc->session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
        if (call->finished) continue;
        if (call->deadline_ns != 0 && now_ns >= call->deadline_ns)
            tly_grpc_fail(call, TLY_GRPC_DEADLINE_EXCEEDED, "the deadline passed");
        else if (is_half && now_ns - call->began_ns > TLY_HALF_MS * UINT64_C(1000000))
            tly_grpc_fail(call, TLY_GRPC_DEADLINE_EXCEEDED, "half a request may take %d ms", TLY_HALF_MS);
        else if (call->client_ended && call->method->look != NULL)
            call->method->look(call, false);
    }
}

static size_t feed(void *state, struct tly_client *client, struct tly_slice in)
{
    struct tly_grpc *grpc = state;
    uint64_t now_ns = tly_app_now(grpc->app).mono_ns;
    size_t used = 0;
    /* Who always has something to say is never woken for being idle. */
    if (now_ns - grpc->looked_ns >= LOOK_MS * UINT64_C(1000000)) look_at_calls(grpc, now_ns);
    grpc->spoke = true;
    grpc->flood.resets_of_turn = 0;
    while (used < in.n && !tly_client_is_closing(client) && !tly_client_is_full(client)) {
        size_t n = in.n - used < PIECE_BYTES ? in.n - used : PIECE_BYTES;
        ssize_t taken = take(grpc, in.p + used, n);
        if (taken < 0) {
            if (grpc->is_calmed) say(grpc);
            tly_client_close(client);
            return in.n;
        }
        used += (size_t)taken;
        say(grpc);
        if (grpc->flood.resets_of_turn < TLY_GRPC_RESETS_PER_TURN || used == in.n) continue;
        /* Others have their turn before the rest of it. */
        tly_client_go_on(client);
        break;
    }
    return used;
}

/* Nobody called for long: the client is told to come again when it needs us. */
static void end_idle(struct tly_grpc *grpc, uint64_t now_ns)
{
    bool said_nothing = !grpc->spoke && now_ns - grpc->last_call_ns > TLY_HALF_MS * UINT64_C(1000000);
    if (said_nothing)
        tly_client_close(grpc->client);
    else if (grpc->call_count == 0 && now_ns - grpc->last_call_ns > IDLE_NS)
        (void)nghttp2_session_terminate_session(grpc->session, NGHTTP2_NO_ERROR);
}

static bool wake(void *state, struct tly_client *client, bool is_idle)
{
    struct tly_grpc *grpc = state;
    uint64_t now_ns = tly_app_now(grpc->app).mono_ns;
    (void)client;
    look_at_calls(grpc, now_ns);
    if (is_idle) end_idle(grpc, now_ns);
    say(grpc);
    return false;
}

/*
 * In two steps (RFC 9113, 6.8): first that there will be an end, and once that has been heard, which call is the last one. What was
 * called until then is answered.
 */
static bool drain(void *state, struct tly_client *client)
{
    struct tly_grpc *grpc = state;
    (void)client;
    if (!grpc->spoke || grpc->is_draining) return grpc->is_draining;
    grpc->is_draining = true;
    grpc->is_heard = false;
    if (nghttp2_submit_shutdown_notice(grpc->session) != 0) return false;
    /* Said before the PING is there, which nghttp2 would say first: its answer has to mean that this was heard. */
    say(grpc);
    if (nghttp2_submit_ping(grpc->session, NGHTTP2_FLAG_NONE, NULL) != 0) return false;
    say(grpc);
    return true;
}

const struct tly_protocol *tly_grpc_protocol(void)
{
    static const struct tly_protocol protocol = {
        .name = "grpc",
        .in_max = IN_BYTES_MAX,
        .idle_ms = LOOK_MS,
        .open = open_session,
        .feed = feed,
        .close = close_session,
        .wake = wake,
        .drain = drain,
    };
    return &protocol;
}
