/* The gRPC door, spoken to by nghttp2's other half: what is answered, what ends when, and what nobody can make it do. */
#include "service/shell/door_internal.h"
#include "service/shell/grpc.h"
#include "service/shell/grpc_flood.h"
#include "service/shell/libc_mem.h"
#include "service/shell/rls.h"
#include "tests/shell/support_scene.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS_MAX 3000

static const char rules[] =
    "domain: d\ndescriptors:\n  - {key: k, rate_limit: {unit: year, requests_per_unit: 4000000}}\n";
#define PATH "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
/* domain "d", a descriptor k=v */
static const uint8_t ask_bytes[] = {0, 0,    0, 0,    13, 0x0a, 1,    'd', 0x12,
                                    8, 0x0a, 6, 0x0a, 1,  'k',  0x12, 1,   'v'};

/* One call as its client sees it. */
struct call {
    const uint8_t *body;
    size_t body_n, sent;
    bool keeps_open;
    int http_status, code; /* code -1: none yet */
    char text[512];
    uint8_t answer[256]; /* how it begins */
    size_t answer_n;
    bool closed;
    uint32_t error;
};

struct peer {
    struct scene *scene;
    nghttp2_session *session;
    struct call *call; /* by number of the stream / 2 */
    int32_t goaway_last;
    size_t goaways, goaways_before_ping;
    uint32_t goaway_error;
    uint8_t *out; /* what is to be said */
    size_t out_n;
};

static struct call *call_of(struct peer *peer, int32_t id)
{
    return &peer->call[id / 2 % CALLS_MAX];
}

/* NOLINTNEXTLINE(readability-function-size): nghttp2 says which parameters there are */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *context)
{
    (void)session, (void)flags;
    struct call *call = call_of(context, frame->hd.stream_id);
    struct tly_slice is = tly_slice_of(name, name_n);
    if (tly_slice_equal(is, tly_slice_text(":status"))) call->http_status = atoi((const char *)value);
    if (tly_slice_equal(is, tly_slice_text("grpc-status"))) call->code = atoi((const char *)value);
    if (tly_slice_equal(is, tly_slice_text("grpc-message")))
        (void)snprintf(call->text, sizeof call->text, "%.*s", (int)value_n, (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
                   void *context)
{
    (void)session, (void)flags;
    struct call *call = call_of(context, id);
    if (n > sizeof call->answer - call->answer_n) n = sizeof call->answer - call->answer_n;
    memcpy(call->answer + call->answer_n, bytes, n);
    call->answer_n += n;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    (void)session;
    call_of(context, id)->closed = true;
    call_of(context, id)->error = error;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)session;
    struct peer *peer = context;
    if (frame->hd.type == NGHTTP2_PING) peer->goaways_before_ping = peer->goaways;
    if (frame->hd.type != NGHTTP2_GOAWAY) return 0;
    peer->goaways++;
    peer->goaway_last = frame->goaway.last_stream_id;
    peer->goaway_error = frame->goaway.error_code;
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): … here too */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *context)
{
    (void)session, (void)id, (void)context;
    struct call *call = source->ptr;
    size_t n = call->body_n - call->sent;
    if (n == 0 && call->keeps_open) return NGHTTP2_ERR_DEFERRED;
    if (n > size) n = size;
    if (n > 0) memcpy(to, call->body + call->sent, n);
    call->sent += n;
    if (call->sent == call->body_n && !call->keeps_open) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* What there is to say goes to `out`. */
static void collect(struct peer *peer)
{
    const uint8_t *bytes;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(peer->session, &bytes)) > 0) {
        peer->out = realloc(peer->out, peer->out_n + (size_t)n);
        assert_non_null(peer->out);
        memcpy(peer->out + peer->out_n, bytes, (size_t)n);
        peer->out_n += (size_t)n;
    }
    assert_true(n == 0);
}

static void hear(struct peer *peer, struct tly_slice said)
{
    if (said.n > 0) assert_int_equal(nghttp2_session_mem_recv(peer->session, said.p, said.n), said.n);
}

/* Both speak until neither has anything to say. */
static void exchange(struct peer *peer)
{
    for (collect(peer); peer->out_n > 0; collect(peer)) {
        uint8_t *out = peer->out;
        struct tly_slice bytes = tly_slice_of(out, peer->out_n);
        peer->out = NULL;
        peer->out_n = 0;
        hear(peer, talk_say_bytes(peer->scene->talk, bytes));
        free(out);
        if (talk_is_closed(peer->scene->talk)) return;
    }
}

static struct peer *peer_new(struct scene *scene)
{
    struct peer *peer = calloc(1, sizeof *peer);
    nghttp2_session_callbacks *callbacks;
    assert_non_null(peer);
    peer->scene = scene;
    peer->call = calloc(CALLS_MAX, sizeof *peer->call);
    assert_non_null(peer->call);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    assert_int_equal(nghttp2_session_client_new(&peer->session, callbacks, peer), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(peer->session, 0, NULL, 0), 0);
    return peer;
}

static void peer_free(struct peer *peer)
{
    nghttp2_session_del(peer->session);
    free(peer->call);
    free(peer->out);
    free(peer);
}

#define NV(n, v)                                                                      \
    {                                                                                 \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0 \
    }

/* A call with one header more, which may be empty. */
static struct call *call_with(struct peer *peer, const char *path, const char *name, const char *value,
                              struct call how)
{
    const nghttp2_nv lines[] = {NV(":method", "POST"), NV(":scheme", "http"),
                                NV(":path", path),     NV(":authority", "x"),
                                NV("te", "trailers"),  NV("content-type", "application/grpc"),
                                NV(name, value)};
    int32_t next = (int32_t)nghttp2_session_get_next_stream_id(peer->session);
    struct call *call = call_of(peer, next);
    *call = how;
    call->code = -1;
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_body};
    int32_t id = nghttp2_submit_request(peer->session, NULL, lines, 7, &provider, NULL);
    assert_int_equal(id, next);
    return call;
}

static struct call *call_new(struct peer *peer, const char *path, struct call how)
{
    return call_with(peer, path, "x-nothing", "", how);
}

static const struct call whole = {.body = ask_bytes, .body_n = sizeof ask_bytes};
static const struct call half = {.body = ask_bytes, .body_n = sizeof ask_bytes - 1, .keeps_open = true};

static int setup(void **state)
{
    int result = scene_setup(state, tly_grpc_protocol());
    struct scene *scene = *state;
    struct tly_rls_settings settings;
    tly_rls_settings_init(&settings);
    fake_app_rls(scene->app, &settings, rules);
    return result;
}

static uint64_t hits(struct scene *scene)
{
    return tly_rls_series_at(tly_rls_series(tly_app_rls(scene->app)), 0)->total_hits;
}

/* ---- calls ---- */

static void a_call_is_answered_with_its_status_behind(void **state)
{
    struct peer *peer = peer_new(*state);
    struct call *call = call_new(peer, PATH, whole);
    exchange(peer);
    assert_true(call->closed && call->error == 0);
    assert_int_equal(call->http_status, 200);
    assert_int_equal(call->code, TLY_GRPC_OK);
    assert_true(call->answer_n > 7 && call->answer[0] == 0 && call->answer[4] == call->answer_n - 5);
    assert_int_equal(call->answer[5], 0x08);
    assert_int_equal(call->answer[6], TLY_RLS_OK);
    peer_free(peer);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct peer *peer = peer_new(*state);
    struct call *call = call_new(peer, PATH, whole);
    collect(peer);
    for (size_t i = 0; i < peer->out_n; i++)
        hear(peer, talk_say_bytes(peer->scene->talk, tly_slice_of(peer->out + i, 1)));
    peer->out_n = 0;
    exchange(peer);
    assert_int_equal(call->code, TLY_GRPC_OK);
    peer_free(peer);
}

struct wrong {
    const char *what;
    const char *name, *value; /* a header more */
    const char *body;
    size_t body_n;
    int code;
    const char *text;
};

#define BODY(text) text, sizeof(text) - 1

static void what_is_no_proper_call_is_told(void **state)
{
    const struct wrong wrong[] = {
        {"nothing", "x", "", BODY(""), 13, "grpc: the call ended before its message did"},
        {"half a prefix", "x", "", BODY("\0\0\0"), 13, "grpc: the call ended before its message did"},
        {"half a message", "x", "", BODY("\0\0\0\0\5abc"), 13, "grpc: the call ended before its message did"},
        {"two messages", "x", "", BODY("\0\0\0\0\0\0\0\0\0\0"), 13,
         "grpc: more than one message in a call that takes one"},
        {"a flag", "x", "", BODY("\1\0\0\0\0"), 13,
         "grpc: compressed flag set with identity or empty encoding"},
        {"another flag", "x", "", BODY("\2\0\0\0\0"), 13,
         "grpc: compressed flag set with identity or empty encoding"},
        {"a flag with its encoding", "grpc-encoding", "gzip", BODY("\1\0\0\0\0"), 12,
         "grpc: messages are taken as they are, not compressed"},
        {"too long", "x", "", BODY("\0\0\1\0\1"), 8,
         "grpc: received message larger than max (65537 vs. 65536)"},
        {"far too long", "x", "", BODY("\0\377\377\377\377"), 8,
         "grpc: received message larger than max (4294967295 vs. 65536)"},
        {"no protobuf", "x", "", BODY("\0\0\0\0\1\12"), 13,
         "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"},
        {"no domain", "x", "", BODY("\0\0\0\0\0"), 2, "rate limit domain must not be empty"},
        {"a timeout without a number", "grpc-timeout", "m", BODY("\0\0\0\0\0"), 13,
         "malformed grpc-timeout: \"m\""},
        {"a timeout of nine digits", "grpc-timeout", "123456789S", BODY("\0\0\0\0\0"), 13,
         "malformed grpc-timeout: \"123456789S\""},
        {"a timeout of no unit", "grpc-timeout", "5s", BODY("\0\0\0\0\0"), 13,
         "malformed grpc-timeout: \"5s\""},
    };
    struct peer *peer = peer_new(*state);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct wrong *w = &wrong[i];
        struct call how = {.body = (const uint8_t *)w->body, .body_n = w->body_n};
        struct call *call = call_with(peer, PATH, w->name, w->value, how);
        exchange(peer);
        if (!call->closed || call->code != w->code)
            fail_msg("%s: code %d, %s", w->what, call->code, call->text);
        assert_string_equal(call->text, w->text);
        assert_int_equal(call->http_status, 200);
        assert_int_equal(call->answer_n, 0);
    }
    assert_false(talk_is_closed(peer->scene->talk));
    peer_free(peer);
}

static void an_unknown_method_is_named(void **state)
{
    static const struct {
        const char *path, *text;
    } unknown[] = {
        {"/a.B/C", "unknown service a.B"},
        {"/grpc.health.v1.Health/C", "unknown method C for service grpc.health.v1.Health"},
        {"/C", "malformed method name: \"/C\""},
        {"/a.service.whose.name.is.longer.than.any.that.is.known.here.by.so.many.bytes.that.it.is.not.kept."
         "at.all/AndAMethodOfIt.That.Is.Long",
         "unknown method, of more than 127 bytes"}};
    struct peer *peer = peer_new(*state);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        struct call *call = call_new(peer, unknown[i].path, whole);
        exchange(peer);
        assert_int_equal(call->code, TLY_GRPC_UNIMPLEMENTED);
        assert_string_equal(call->text, unknown[i].text);
    }
    peer_free(peer);
}

static void what_is_no_grpc_is_refused_in_http(void **state)
{
    struct peer *peer = peer_new(*state);
    const nghttp2_nv get[] = {NV(":method", "GET"), NV(":scheme", "http"), NV(":path", PATH),
                              NV(":authority", "x")};
    const nghttp2_nv post[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", PATH),
                               NV(":authority", "x"), NV("content-type", "application/json")};
    int32_t a = nghttp2_submit_request(peer->session, NULL, get, 4, NULL, NULL);
    int32_t b = nghttp2_submit_request(peer->session, NULL, post, 5, NULL, NULL);
    exchange(peer);
    assert_int_equal(call_of(peer, a)->http_status, 405);
    assert_int_equal(call_of(peer, b)->http_status, 415);
    peer_free(peer);
}

static void another_protocol_is_not_spoken_to(void **state)
{
    struct scene *scene = *state;
    (void)talk_say(scene->talk, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(talk_is_closed(scene->talk));
}

/* ---- time ---- */

static void a_deadline_ends_half_a_call(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct call *call = call_with(peer, PATH, "grpc-timeout", "20m", half);
    exchange(peer);
    fake_app_advance(scene->app, 19);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(call->code, -1);
    fake_app_advance(scene->app, 1);
    hear(peer, talk_wake(scene->talk));
    assert_true(call->closed);
    assert_int_equal(call->code, TLY_GRPC_DEADLINE_EXCEEDED);
    assert_int_equal(hits(scene), 0);
    peer_free(peer);
}

static void what_comes_behind_the_deadline_is_not_charged(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct call *call = call_with(peer, PATH, "grpc-timeout", "1S", half);
    exchange(peer);
    fake_app_advance(scene->app, 1000);
    call->body_n++;
    call->keeps_open = false;
    assert_int_equal(nghttp2_session_resume_data(peer->session, 1), 0);
    exchange(peer);
    assert_int_equal(call->code, TLY_GRPC_DEADLINE_EXCEEDED);
    assert_int_equal(hits(scene), 0);
    peer_free(peer);
}

static void half_a_call_may_take_ten_seconds(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct call *call = call_new(peer, PATH, half);
    exchange(peer);
    fake_app_advance(scene->app, TLY_HALF_MS);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(call->code, -1);
    fake_app_advance(scene->app, 1);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(call->code, TLY_GRPC_DEADLINE_EXCEEDED);
    struct call *next = call_new(peer, PATH, whole);
    exchange(peer);
    assert_int_equal(next->code, TLY_GRPC_OK);
    peer_free(peer);
}

static void each_message_of_a_stream_has_ten_seconds(void **state)
{
    static const uint8_t list[] = {0, 0, 0, 0, 2, 0x3a, 0};
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct call *call = call_new(peer, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                 (struct call){.body = list, .keeps_open = true});
    exchange(peer);
    fake_app_advance(scene->app, TLY_HALF_MS + 1);
    call->body_n = 3;
    assert_int_equal(nghttp2_session_resume_data(peer->session, 1), 0);
    exchange(peer);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(call->code, -1);
    fake_app_advance(scene->app, TLY_HALF_MS + 1);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(call->code, TLY_GRPC_DEADLINE_EXCEEDED);
    peer_free(peer);
}

/* The door wakes a connection only when it says nothing for a while. */
static void a_call_ends_though_its_connection_is_busy(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct call *slow = call_new(peer, PATH, half), *late = call_with(peer, PATH, "grpc-timeout", "2S", half);
    for (size_t ms = 0; ms <= TLY_HALF_MS; ms += 500) {
        struct call *other = call_new(peer, PATH, whole);
        exchange(peer);
        assert_int_equal(other->code, TLY_GRPC_OK);
        if (ms >= 3000) assert_int_equal(late->code, TLY_GRPC_DEADLINE_EXCEEDED);
        assert_int_equal(slow->code, -1);
        fake_app_advance(scene->app, 500);
    }
    fake_app_advance(scene->app, 1000);
    (void)call_new(peer, PATH, whole);
    exchange(peer);
    assert_int_equal(slow->code, TLY_GRPC_DEADLINE_EXCEEDED);
    peer_free(peer);
}

static void who_says_nothing_at_all_is_not_waited_for(void **state)
{
    struct scene *scene = *state;
    (void)talk_wake(scene->talk);
    assert_false(talk_is_closed(scene->talk));
    fake_app_advance(scene->app, TLY_HALF_MS + 1);
    (void)talk_wake(scene->talk);
    assert_true(talk_is_closed(scene->talk));
}

static void a_connection_that_nobody_uses_ends_with_goaway(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    (void)call_new(peer, PATH, whole);
    exchange(peer);
    fake_app_advance(scene->app, 599000);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(peer->goaways, 0);
    fake_app_advance(scene->app, 2000);
    hear(peer, talk_wake(scene->talk));
    assert_int_equal(peer->goaways, 1);
    assert_int_equal(peer->goaway_error, NGHTTP2_NO_ERROR);
    assert_true(talk_is_closed(scene->talk));
    peer_free(peer);
}

/* ---- the end ---- */

/* What the client has to say goes behind what is kept. */
static void keep(struct peer *peer, struct tly_buf *kept)
{
    collect(peer);
    tly_buf_put(kept, peer->out, peer->out_n);
    assert_int_equal(kept->result, TLY_OK);
    free(peer->out);
    peer->out = NULL;
    peer->out_n = 0;
}

static void a_drain_has_two_steps_and_loses_no_call(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf first, second;
    tly_buf_init(&first, &mem, 65536);
    tly_buf_init(&second, &mem, 65536);
    (void)call_new(peer, PATH, whole);
    exchange(peer);
    struct call *before = call_new(peer, PATH, whole);
    keep(peer, &first);
    struct call *behind = call_new(peer, PATH, whole);
    keep(peer, &second);
    hear(peer, talk_drain(scene->talk));
    assert_int_equal(peer->goaways, 1);
    /* Whoever answers it has heard of the end. */
    assert_int_equal(peer->goaways_before_ping, 1);
    assert_int_equal(peer->goaway_last, INT32_MAX);
    assert_false(talk_is_closed(scene->talk));
    /* The answer to our PING stands between two calls, and all of it comes at once. */
    keep(peer, &first);
    tly_buf_put(&first, second.p, second.n);
    hear(peer, talk_say_bytes(scene->talk, tly_buf_slice(&first)));
    assert_int_equal(peer->goaways, 2);
    assert_int_equal(before->code, TLY_GRPC_OK);
    assert_int_equal(behind->code, TLY_GRPC_OK);
    assert_int_equal(hits(scene), 3);
    assert_int_equal(peer->goaway_last, 5);
    assert_true(talk_is_closed(scene->talk));
    tly_buf_fini(&first);
    tly_buf_fini(&second);
    peer_free(peer);
}

static void a_client_without_calls_has_nothing_more_to_say_then(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    exchange(peer);
    hear(peer, talk_drain(scene->talk));
    exchange(peer);
    assert_int_equal(peer->goaways, 1);
    assert_int_equal(nghttp2_session_want_read(peer->session), 0);
    peer_free(peer);
}

static void who_has_not_spoken_is_closed_by_a_drain(void **state)
{
    struct scene *scene = *state;
    (void)talk_drain(scene->talk);
    assert_true(talk_is_closed(scene->talk));
}

/* ---- floods ---- */

static void resets_are_bounded(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    size_t count = 0;
    exchange(peer);
    while (!talk_is_closed(scene->talk) && count < 2 * TLY_GRPC_RESETS_MAX) {
        (void)call_new(peer, PATH, half);
        collect(peer);
        int32_t id = (int32_t)nghttp2_session_get_next_stream_id(peer->session) - 2;
        assert_int_equal(nghttp2_submit_rst_stream(peer->session, 0, id, NGHTTP2_CANCEL), 0);
        exchange(peer);
        count++;
    }
    assert_true(talk_is_closed(scene->talk));
    assert_int_equal(count, TLY_GRPC_RESETS_MAX + 1);
    assert_int_equal(peer->goaways, 1);
    assert_int_equal(peer->goaway_error, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(hits(scene), 0);
    peer_free(peer);
}

/* With time the account fills up again. */
static void who_resets_now_and_then_is_let_be(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    exchange(peer);
    for (size_t i = 0; i < TLY_GRPC_RESETS_MAX + TLY_GRPC_RESETS_MAX / 2; i++) {
        struct call *call = call_new(peer, PATH, half);
        collect(peer);
        int32_t id = (int32_t)nghttp2_session_get_next_stream_id(peer->session) - 2;
        assert_int_equal(nghttp2_submit_rst_stream(peer->session, 0, id, NGHTTP2_CANCEL), 0);
        exchange(peer);
        assert_true(call->closed);
        fake_app_advance(scene->app, 1000 / TLY_GRPC_RESETS_PER_S);
    }
    assert_false(talk_is_closed(scene->talk));
    peer_free(peer);
}

/* Frames as a client would write them that keeps no state. */
static void say_frames(struct scene *scene, const char *frame, size_t n, size_t count)
{
    for (size_t i = 0; i < count && !talk_is_closed(scene->talk); i++)
        (void)talk_say_bytes(scene->talk, tly_slice_of(frame, n));
}

#define PING "\0\0\10\6\0\0\0\0\0abcdefgh"

static void frames_that_ask_for_nothing_are_bounded(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } frames[] = {
        {BODY(PING)},
        {BODY("\0\0\10\6\1\0\0\0\0abcdefgh")}, /* the answer to none */
        {BODY("\0\0\0\4\0\0\0\0\0")},
        {BODY("\0\0\5\2\0\0\0\0\1\0\0\0\0\0")},
        {BODY("\0\0\4\10\0\0\0\0\0\0\0\0\1")},
        /* Nothing, and padding of no bytes, for a call that is open. */
        {BODY("\0\0\0\0\0\0\0\0\1")},
        {BODY("\0\0\1\0\10\0\0\0\1\0")},
        /* Frames of types that are not known here: the first of them, one in the middle, the last. */
        {BODY("\0\0\0\12\0\0\0\0\0")},
        {BODY("\0\0\3\115\0\0\0\0\1abc")},
        {BODY("\0\0\0\377\0\0\0\0\0")}};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct scene *scene = *state;
        struct peer *peer = peer_new(scene);
        (void)call_new(peer, PATH, half);
        exchange(peer);
        say_frames(scene, frames[i].bytes, frames[i].n, TLY_GRPC_CHATTER_MAX - 20);
        assert_false(talk_is_closed(scene->talk));
        say_frames(scene, frames[i].bytes, frames[i].n, 30);
        if (!talk_is_closed(scene->talk)) fail_msg("frames %zu are not bounded", i);
        peer_free(peer);
        assert_int_equal(scene_teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

/* … of all connections of a door together. */
static void what_a_door_keeps_is_bounded(void **state)
{
    (void)state;
    struct tly_door door = {.mem = test_mem(), .bytes_max = TLY_DOOR_BYTES_MAX};
    struct tly_client client = {.door = &door};
    struct tly_mem mem = tly_client_mem(&client);
    assert_null(tly_mem_new(&mem, TLY_DOOR_BYTES_MAX + 1));
    /* Others fill the door with what they have half said: this one's part is its own all the same, and no more. */
    door.bytes = TLY_DOOR_BYTES_MAX;
    client.is_greedy = false;
    void *block = tly_mem_new(&mem, TLY_FAIR_BYTES);
    assert_non_null(block);
    assert_false(client.is_greedy);
    assert_int_equal(door.bytes, TLY_DOOR_BYTES_MAX + TLY_FAIR_BYTES);
    assert_null(tly_mem_resize(&mem, block, TLY_FAIR_BYTES, TLY_FAIR_BYTES + 1));
    assert_true(client.is_greedy);
    block = tly_mem_resize(&mem, block, TLY_FAIR_BYTES, 40);
    assert_int_equal(door.bytes, TLY_DOOR_BYTES_MAX + 40);
    tly_mem_free(&mem, block, 40);
    assert_int_equal(door.bytes, TLY_DOOR_BYTES_MAX);
    /* There is room again. */
    door.bytes = TLY_DOOR_BYTES_MAX - TLY_FAIR_BYTES - 1;
    block = tly_mem_new(&mem, TLY_FAIR_BYTES + 1);
    assert_non_null(block);
    assert_int_equal(door.bytes, TLY_DOOR_BYTES_MAX);
    tly_mem_free(&mem, block, TLY_FAIR_BYTES + 1);
}

/* A client that measures with each answer, for as long as it likes. */
static void frames_beside_calls_are_free(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    for (size_t i = 0; i < 2 * TLY_GRPC_CHATTER_MAX; i++) {
        struct call *call = call_new(peer, PATH, whole);
        for (size_t ping = 0; ping < 4; ping++)
            assert_int_equal(nghttp2_submit_ping(peer->session, 0, NULL), 0);
        exchange(peer);
        assert_int_equal(call->code, TLY_GRPC_OK);
    }
    assert_false(talk_is_closed(scene->talk));
    peer_free(peer);
}

static void calls_at_once_are_bounded_and_so_are_their_bytes(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    uint8_t *body = calloc(1, 60005);
    assert_non_null(body);
    body[2] = 60000 >> 16;
    body[3] = (60000 >> 8) & 0xff;
    body[4] = 60000 & 0xff;
    exchange(peer);
    struct call *all[40];
    /* 40 calls of 60,000 bytes are more than the window; the rest stays with the client. */
    for (size_t i = 0; i < 40; i++)
        all[i] = call_new(peer, PATH, (struct call){.body = body, .body_n = 60000, .keeps_open = true});
    exchange(peer);
    size_t sent = 0;
    for (size_t i = 0; i < 40; i++)
        sent += all[i]->sent;
    assert_true(sent <= TLY_GRPC_WINDOW_BYTES && sent > TLY_GRPC_WINDOW_BYTES / 2);
    /* The window is given back when they are over. */
    fake_app_advance(scene->app, TLY_HALF_MS + 1);
    for (int i = 0; i < 4; i++) {
        hear(peer, talk_wake(scene->talk));
        exchange(peer);
        fake_app_advance(scene->app, TLY_HALF_MS + 1);
    }
    struct call *next = call_new(peer, PATH, whole);
    exchange(peer);
    assert_int_equal(next->code, TLY_GRPC_OK);
    free(body);
    peer_free(peer);
}

/* What is answered widens the window, though the next message has begun. */
static void a_stream_of_messages_is_not_cut_by_the_window(void **state)
{
    enum { MESSAGE = 40000, ALL = 3 * (5 + MESSAGE) };
    struct peer *peer = peer_new(*state);
    uint8_t *body = calloc(1, ALL);
    assert_non_null(body);
    for (uint8_t *at = body; at < body + ALL; at += 5 + MESSAGE) {
        at[3] = MESSAGE >> 8;
        at[4] = MESSAGE & 0xff;
        /* A host of so many bytes; nothing else is asked. */
        memcpy(at + 5, "\x0a\xbc\xb8\x02", 4);
    }
    struct call *call = call_new(peer, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                 (struct call){.body = body, .body_n = ALL});
    exchange(peer);
    assert_int_equal(call->sent, ALL);
    assert_true(call->closed);
    assert_int_equal(call->code, TLY_GRPC_OK);
    free(body);
    peer_free(peer);
}

static void endless_headers_come_to_an_end(void **state)
{
    struct scene *scene = *state;
    struct peer *peer = peer_new(scene);
    char value[4096];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    const nghttp2_nv line = NV("x-many", value);
    nghttp2_nv lines[16] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", PATH),
                            NV(":authority", "x")};
    for (size_t i = 4; i < 16; i++)
        lines[i] = line;
    exchange(peer);
    int32_t id = nghttp2_submit_request(peer->session, NULL, lines, 16, NULL, NULL);
    exchange(peer);
    assert_true(call_of(peer, id)->closed);
    assert_int_not_equal(call_of(peer, id)->error, NGHTTP2_NO_ERROR);
    struct call *next = call_new(peer, PATH, whole);
    exchange(peer);
    assert_int_equal(next->code, TLY_GRPC_OK);
    peer_free(peer);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_call_is_answered_with_its_status_behind),
        SCENE(bytes_may_come_one_by_one),
        SCENE(what_is_no_proper_call_is_told),
        SCENE(an_unknown_method_is_named),
        SCENE(what_is_no_grpc_is_refused_in_http),
        SCENE(another_protocol_is_not_spoken_to),
        SCENE(a_deadline_ends_half_a_call),
        SCENE(what_comes_behind_the_deadline_is_not_charged),
        SCENE(half_a_call_may_take_ten_seconds),
        SCENE(each_message_of_a_stream_has_ten_seconds),
        SCENE(a_call_ends_though_its_connection_is_busy),
        SCENE(who_says_nothing_at_all_is_not_waited_for),
        SCENE(a_connection_that_nobody_uses_ends_with_goaway),
        SCENE(a_drain_has_two_steps_and_loses_no_call),
        SCENE(a_client_without_calls_has_nothing_more_to_say_then),
        SCENE(who_has_not_spoken_is_closed_by_a_drain),
        SCENE(resets_are_bounded),
        SCENE(who_resets_now_and_then_is_let_be),
        SCENE(frames_that_ask_for_nothing_are_bounded),
        SCENE(frames_beside_calls_are_free),
        SCENE(what_a_door_keeps_is_bounded),
        SCENE(calls_at_once_are_bounded_and_so_are_their_bytes),
        SCENE(a_stream_of_messages_is_not_cut_by_the_window),
        SCENE(endless_headers_come_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
