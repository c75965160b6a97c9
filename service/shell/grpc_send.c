/* What is sent of a call: its headers, its messages, its status. */
#include "service/shell/grpc_internal.h"

#include <stdio.h>
#include <string.h>

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
