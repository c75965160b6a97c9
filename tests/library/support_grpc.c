#include "tests/library/support_grpc.h"

#include "tests/support/cmocka.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFIX_BYTES 5

struct grpc {
    nghttp2_session *session;
    int fd;
    grpc_turn *turn;
    void *context;
    struct grpc_answer answer;
    uint8_t said[PREFIX_BYTES + 512];
    size_t said_n, sent, heard; /* heard: bytes of the answer, its prefix among them */
    bool is_closed;
};

/* ---- one call ---- */

/* NOLINTNEXTLINE(readability-function-size): nghttp2 says which parameters there are */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *context)
{
    (void)session, (void)frame, (void)flags;
    struct grpc_answer *answer = &((struct grpc *)context)->answer;
    if (name_n == 11 && memcmp(name, "grpc-status", 11) == 0) answer->status = atoi((const char *)value);
    if (name_n == 12 && memcmp(name, "grpc-message", 12) == 0)
        (void)snprintf(answer->text, sizeof answer->text, "%.*s", (int)value_n, (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
                   void *context)
{
    (void)session, (void)flags, (void)id;
    struct grpc *grpc = context;
    for (size_t i = 0; i < n; i++, grpc->heard++) {
        if (grpc->heard < PREFIX_BYTES) continue;
        assert_true(grpc->answer.n < sizeof grpc->answer.message);
        grpc->answer.message[grpc->answer.n++] = bytes[i];
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    (void)session, (void)id;
    assert_int_equal(error, 0);
    ((struct grpc *)context)->is_closed = true;
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): … here too */
static ssize_t read_said(nghttp2_session *session, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *context)
{
    (void)session, (void)id, (void)source;
    struct grpc *grpc = context;
    size_t n = grpc->said_n - grpc->sent;
    if (n > size) n = size;
    memcpy(to, grpc->said + grpc->sent, n);
    grpc->sent += n;
    if (grpc->sent == grpc->said_n) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

struct grpc *grpc_new(int fd, grpc_turn *turn, void *context)
{
    struct grpc *grpc = calloc(1, sizeof *grpc);
    nghttp2_session_callbacks *callbacks;
    assert_non_null(grpc);
    grpc->fd = fd;
    grpc->turn = turn;
    grpc->context = context;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_client_new(&grpc->session, callbacks, grpc), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(grpc->session, 0, NULL, 0), 0);
    return grpc;
}

void grpc_free(struct grpc *grpc)
{
    nghttp2_session_del(grpc->session);
    (void)close(grpc->fd);
    free(grpc);
}

/* What there is to say goes out, the server has a turn, and what it said comes in. */
static void exchange(struct grpc *grpc)
{
    const uint8_t *bytes;
    uint8_t heard[4096];
    for (ssize_t n; (n = nghttp2_session_mem_send(grpc->session, &bytes)) != 0;) {
        assert_true(n > 0);
        assert_int_equal(send(grpc->fd, bytes, (size_t)n, 0), n);
    }
    grpc->turn(grpc->context);
    ssize_t got = recv(grpc->fd, heard, sizeof heard, MSG_DONTWAIT);
    assert_true(got > 0 || (got < 0 && errno == EAGAIN));
    if (got > 0) assert_int_equal(nghttp2_session_mem_recv(grpc->session, heard, (size_t)got), got);
}

#define NV(n, v)                                                                      \
    {                                                                                 \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0 \
    }

const struct grpc_answer *grpc_ask(struct grpc *grpc, const char *path, const uint8_t *message, size_t n)
{
    const nghttp2_nv lines[] = {NV(":method", "POST"), NV(":scheme", "http"),
                                NV(":path", path),     NV(":authority", "it"),
                                NV("te", "trailers"),  NV("content-type", "application/grpc")};
    nghttp2_data_provider provider = {.read_callback = read_said};
    assert_true(n <= sizeof grpc->said - PREFIX_BYTES);
    memset(grpc->said, 0, PREFIX_BYTES);
    grpc->said[3] = (uint8_t)(n >> 8);
    grpc->said[4] = (uint8_t)n;
    memcpy(grpc->said + PREFIX_BYTES, message, n);
    grpc->said_n = PREFIX_BYTES + n;
    grpc->sent = grpc->heard = 0;
    grpc->answer = (struct grpc_answer){.status = -1};
    grpc->is_closed = false;
    assert_true(nghttp2_submit_request(grpc->session, NULL, lines, sizeof lines / sizeof *lines, &provider,
                                       NULL) > 0);
    while (!grpc->is_closed)
        exchange(grpc);
    return &grpc->answer;
}

/* ---- messages ---- */

static void put_varint(struct grpc_message *message, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        message->p[message->n++] = (uint8_t)(number | 0x80);
    message->p[message->n++] = (uint8_t)number;
}

static void put_bytes(struct grpc_message *message, unsigned field, const void *bytes, size_t n)
{
    assert_true(n + 20 <= sizeof message->p - message->n);
    put_varint(message, field << 3 | 2);
    put_varint(message, n);
    memcpy(message->p + message->n, bytes, n);
    message->n += n;
}

void grpc_put_number(struct grpc_message *message, unsigned field, uint64_t number)
{
    assert_true(20 <= sizeof message->p - message->n);
    put_varint(message, field << 3);
    put_varint(message, number);
}

void grpc_put_text(struct grpc_message *message, unsigned field, const char *text)
{
    put_bytes(message, field, text, strlen(text));
}

void grpc_put_message(struct grpc_message *message, unsigned field, const struct grpc_message *inner)
{
    put_bytes(message, field, inner->p, inner->n);
}

static uint64_t take_varint(struct grpc_piece *piece)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert_true(piece->n > 0);
        uint8_t byte = *piece->p++;
        piece->n--;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return number;
    }
    fail_msg("%s", "a number of more than ten bytes");
    return 0;
}

/* Numbers and bytes are all that the service answers with. */
static void look(struct grpc_piece rest, unsigned field, uint64_t *number, struct grpc_piece *bytes)
{
    while (rest.n > 0) {
        uint64_t tag = take_varint(&rest), value = take_varint(&rest);
        assert_true((tag & 7) == 0 || ((tag & 7) == 2 && value <= rest.n));
        bool is_it = tag >> 3 == field;
        if ((tag & 7) == 0) {
            if (is_it) *number = value;
            continue;
        }
        if (is_it) *bytes = (struct grpc_piece){rest.p, value};
        rest = (struct grpc_piece){rest.p + value, rest.n - value};
    }
}

uint64_t grpc_number(struct grpc_piece message, unsigned field)
{
    uint64_t number = 0;
    struct grpc_piece bytes = {0};
    look(message, field, &number, &bytes);
    return number;
}

struct grpc_piece grpc_bytes(struct grpc_piece message, unsigned field)
{
    uint64_t number = 0;
    struct grpc_piece bytes = {0};
    look(message, field, &number, &bytes);
    return bytes;
}
