/* The gRPC door: connections. What comes goes to nghttp2, which calls back; what it has to say goes into the door's buffer. */
#include "service/shell/grpc.h"

#include "service/shell/libc_mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define IN_BYTES_MAX (64u * 1024u)
/* So much at a time goes to nghttp2, so that not all answers to what one read brought have to wait at once. */
#define PIECE_BYTES 2048u
/* Calls that a connection may reset before all others get their turn: each is much work for a hundred bytes. */
#define RESETS_A_TURN 16u
/* How often a connection is looked at that says nothing. */
#define LOOK_MS 1000
#define IDLE_NS (UINT64_C(600) * 1000000000)
/* Calls that are over and kept for others. */
#define SPARE_CALLS_MAX 16u

LIST_HEAD(calls, tly_grpc_call);

struct tly_grpc {
    struct tly_mem mem;
    struct tly_app *app;
    struct tly_client *client;
    nghttp2_session *session;
    struct calls calls, spare;
    size_t call_count, spare_count;
    size_t resets; /* that came in this turn */
    uint64_t last_call_ns;
    bool spoke;        /* anything came */
    bool is_heard;     /* the client has answered our PING */
    bool is_draining;  /* new calls go elsewhere: the client was told */
    bool is_last_told; /* … and which was the last one */
};

struct tly_app *tly_grpc_app(const struct tly_grpc_call *call)
{
    return call->grpc->app;
}

/* ---- what is sent of a call ---- */

#define NV(n, v)                                                                    \
    {                                                                               \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE            \
    }

/* Percent-encoded, as grpc-message is. */
static void encode_text(const char *text, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (; *text != '\0' && n + 4 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c <= '~' && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = digits[c >> 4];
        out[n++] = digits[c & 15];
    }
    out[n] = '\0';
}

/* The status as header lines; how many. `code` and `text` are room for what they hold. */
static size_t status_lines(const struct tly_grpc_call *call, char code[8], char *text, size_t size,
                           nghttp2_nv *lines)
{
    size_t n = 0;
    (void)snprintf(code, 8, "%u", (unsigned)call->code % 100u);
    nghttp2_nv status = NV("grpc-status", code);
    status.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    lines[n++] = status;
    if (call->code == TLY_GRPC_OK) return n;
    encode_text(call->text, text, size);
    nghttp2_nv message = NV("grpc-message", text);
    message.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    lines[n++] = message;
    return n;
}

static void submit_trailers(struct tly_grpc_call *call)
{
    nghttp2_nv lines[2];
    char code[8], text[3 * TLY_GRPC_TEXT_MAX];
    size_t n = status_lines(call, code, text, sizeof text, lines);
    (void)nghttp2_submit_trailer(call->grpc->session, call->id, lines, n);
}

/* NOLINTNEXTLINE(readability-function-size): nghttp2 says which parameters there are */
static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                        nghttp2_data_source *source, void *context)
{
    (void)session, (void)id, (void)context;
    struct tly_grpc_call *call = source->ptr;
    size_t n = call->out.n - call->sent;
    if (n == 0 && !call->finished) return NGHTTP2_ERR_DEFERRED;
    if (n > size) n = size;
    if (n > 0) memcpy(to, call->out.p + call->sent, n);
    call->sent += n;
    if (call->sent < call->out.n || !call->finished) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    submit_trailers(call);
    return (ssize_t)n;
}

/* Nothing was sent of it: status and headers are one. */
static int submit_error(struct tly_grpc_call *call)
{
    char status[8], code[8], text[3 * TLY_GRPC_TEXT_MAX];
    (void)snprintf(status, sizeof status, "%03u", (unsigned)call->http_status % 1000u);
    nghttp2_nv lines[5] = {NV(":status", status), NV("content-type", "application/grpc"),
                           NV("grpc-accept-encoding", "identity")};
    lines[0].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    size_t n = 3 + status_lines(call, code, text, sizeof text, &lines[3]);
    return nghttp2_submit_response(call->grpc->session, call->id, lines, n, NULL);
}

static int submit_answer(struct tly_grpc_call *call)
{
    const nghttp2_nv lines[] = {NV(":status", "200"), NV("content-type", "application/grpc")};
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_out};
    return nghttp2_submit_response(call->grpc->session, call->id, lines, 2, &provider);
}

void tly_grpc_flush_call(struct tly_grpc_call *call)
{
    nghttp2_session *session = call->grpc->session;
    int result;
    if (call->begun)
        result = nghttp2_session_resume_data(session, call->id);
    else if (call->finished && call->out.n == call->sent)
        result = submit_error(call);
    else
        result = submit_answer(call);
    call->begun = true;
    /* It waits for nothing (then there is nothing to resume), or there is no memory. */
    if (result == NGHTTP2_ERR_NOMEM) tly_client_close(call->grpc->client);
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

/* What came of a call is used: the client may send as much again. */
static void use_bytes(struct tly_grpc *grpc, struct tly_grpc_call *call)
{
    if (call->unused > 0) (void)nghttp2_session_consume(grpc->session, call->id, call->unused);
    call->unused = 0;
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
    if (call->finished || call->in.n == 0) use_bytes(grpc, call);
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
    if (frame->hd.type == NGHTTP2_RST_STREAM) grpc->resets++;
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
    (void)context;
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

/* ---- nghttp2's memory is ours ---- */

/* In front of each block stands its size. */
#define SIZE_BYTES 16

static void *resize_block(void *block, size_t n, void *context)
{
    const struct tly_mem *mem = context;
    uint8_t *old = block != NULL ? (uint8_t *)block - SIZE_BYTES : NULL;
    size_t old_n = 0;
    if (old != NULL) memcpy(&old_n, old, sizeof old_n);
    if (n > SIZE_MAX - SIZE_BYTES) return NULL;
    uint8_t *new = tly_mem_resize(mem, old, old_n, n + SIZE_BYTES);
    if (new == NULL) return NULL;
    n += SIZE_BYTES;
    memcpy(new, &n, sizeof n);
    return new + SIZE_BYTES;
}

static void *new_block(size_t n, void *context)
{
    return resize_block(NULL, n, context);
}

static void *new_zeroed(size_t count, size_t n, void *context)
{
    if (count != 0 && n > SIZE_MAX / count) return NULL;
    void *block = resize_block(NULL, count * n, context);
    if (block != NULL) memset(block, 0, count * n);
    return block;
}

static void free_block(void *block, void *context)
{
    if (block == NULL) return;
    size_t n;
    uint8_t *old = (uint8_t *)block - SIZE_BYTES;
    memcpy(&n, old, sizeof n);
    tly_mem_free(context, old, n);
}

/* ---- a connection ---- */

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
}

static int make_session(struct tly_grpc *grpc)
{
    nghttp2_mem mem = {&grpc->mem, new_block, free_block, new_zeroed, resize_block};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int result = nghttp2_session_callbacks_new(&callbacks);
    if (result == 0) result = nghttp2_option_new(&option);
    if (result == 0) {
        set_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_stream_reset_rate_limit(option, TLY_GRPC_RESETS_MAX, TLY_GRPC_RESETS_PER_S);
        nghttp2_option_set_no_closed_streams(option, 1);
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
    struct tly_mem mem = tly_libc_mem();
    struct tly_grpc *grpc = tly_mem_zeroed(&mem, sizeof *grpc);
    if (grpc == NULL) return NULL;
    grpc->mem = mem;
    grpc->app = app;
    grpc->client = client;
    grpc->last_call_ns = tly_app_now(app).mono_ns;
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

static size_t feed(void *state, struct tly_client *client, struct tly_slice in)
{
    struct tly_grpc *grpc = state;
    size_t used = 0;
    grpc->spoke = true;
    grpc->resets = 0;
    while (used < in.n && !tly_client_is_closing(client) && !tly_client_is_full(client)) {
        size_t n = in.n - used < PIECE_BYTES ? in.n - used : PIECE_BYTES;
        ssize_t taken = nghttp2_session_mem_recv(grpc->session, in.p + used, n);
        if (taken < 0) {
            tly_client_close(client);
            return in.n;
        }
        used += (size_t)taken;
        say(grpc);
        if (grpc->resets < RESETS_A_TURN) continue;
        tly_client_go_on(client);
        break;
    }
    return used;
}

/* Calls whose request does not come, or does not end; those that go on say what is new. */
static void look_at_calls(struct tly_grpc *grpc, uint64_t now_ns)
{
    struct tly_grpc_call *next;
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
    bool told = nghttp2_submit_shutdown_notice(grpc->session) == 0 &&
                nghttp2_submit_ping(grpc->session, NGHTTP2_FLAG_NONE, NULL) == 0;
    if (told) say(grpc);
    return told;
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
