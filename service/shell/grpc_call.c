/* One call: its headers, its messages in and out, its status. */
#include "service/shell/grpc.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PREFIX_BYTES 5

void tly_grpc_call_init(struct tly_grpc_call *call, struct tly_grpc *grpc, const struct tly_mem *mem)
{
    *call = (struct tly_grpc_call){.grpc = grpc};
    tly_buf_init(&call->in, mem, TLY_GRPC_MESSAGE_MAX + PREFIX_BYTES);
    tly_buf_init(&call->out, mem, TLY_GRPC_OUT_MAX);
}

void tly_grpc_call_fini(struct tly_grpc_call *call)
{
    tly_buf_fini(&call->in);
    tly_buf_fini(&call->out);
}

void tly_grpc_call_begin(struct tly_grpc_call *call, int32_t id, uint64_t now_ns)
{
    struct tly_buf in = call->in, out = call->out;
    *call = (struct tly_grpc_call){.grpc = call->grpc, .id = id, .http_status = 200, .began_ns = now_ns};
    call->in = in;
    call->out = out;
    tly_buf_clear(&call->in);
    tly_buf_clear(&call->out);
}

void tly_grpc_finish(struct tly_grpc_call *call)
{
    call->finished = true;
    tly_grpc_flush_call(call);
}

void tly_grpc_fail(struct tly_grpc_call *call, enum tly_grpc_code code, const char *format, ...)
{
    if (call->finished) return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(call->text, sizeof call->text, format, args);
    va_end(args);
    call->code = code;
    tly_grpc_finish(call);
}

/* ---- headers ---- */

/* "20m": at most eight digits and a unit. */
static bool parse_timeout(struct tly_slice text, uint64_t *ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'n', 1},          {'u', 1000},           {'m', 1000000},
                 {'S', 1000000000}, {'M', 60000000000ull}, {'H', 3600000000000ull}};
    uint64_t number = 0;
    if (text.n < 2 || text.n > 9) return false;
    for (size_t i = 0; i + 1 < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        number = number * 10 + (text.p[i] - '0');
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (text.p[text.n - 1] != (uint8_t)units[i].unit) continue;
        /* Over 31 years are no deadline. */
        *ns = number > 1000000000000000000ull / units[i].ns ? 0 : number * units[i].ns;
        if (number == 0) *ns = 1;
        return true;
    }
    return false;
}

static bool is(struct tly_slice text, const char *word)
{
    return tly_slice_equal(text, tly_slice_text(word));
}

static void take_timeout(struct tly_grpc_call *call, struct tly_slice value)
{
    uint64_t ns;
    if (parse_timeout(value, &ns))
        call->deadline_ns = ns == 0 ? 0 : call->began_ns + ns;
    else
        tly_grpc_fail(call, TLY_GRPC_INTERNAL, "malformed grpc-timeout: \"%.*s\"",
                      (int)(value.n < 40 ? value.n : 40), (const char *)value.p);
}

void tly_grpc_call_header(struct tly_grpc_call *call, struct tly_slice name, struct tly_slice value)
{
    if (is(name, ":path")) {
        if (value.n >= sizeof call->path) return;
        memcpy(call->path, value.p, value.n);
        call->path[value.n] = '\0';
    } else if (is(name, ":method")) {
        call->is_post = is(value, "POST");
    } else if (is(name, "content-type")) {
        struct tly_slice grpc = tly_slice_text("application/grpc");
        char next = value.n > grpc.n ? (char)value.p[grpc.n] : ';';
        call->is_grpc = tly_slice_begins(value, grpc) && (next == ';' || next == '+');
    } else if (is(name, "grpc-timeout")) {
        take_timeout(call, value);
    } else if (is(name, "grpc-encoding")) {
        call->is_encoded = !is(value, "identity");
    }
}

void tly_grpc_call_headers_end(struct tly_grpc_call *call)
{
    char error[TLY_GRPC_TEXT_MAX];
    if (call->finished) return;
    if (!call->is_post || !call->is_grpc) {
        call->http_status = call->is_post ? 415 : 405;
        tly_grpc_fail(call, TLY_GRPC_UNKNOWN, "%s",
                      call->is_post ? "content-type is not application/grpc" : "gRPC is asked with POST");
        return;
    }
    call->method = tly_grpc_find(tly_slice_text(call->path), error);
    if (call->path[0] == '\0')
        tly_grpc_fail(call, TLY_GRPC_UNIMPLEMENTED, "unknown method, of more than %zu bytes",
                      sizeof call->path - 1);
    else if (call->method == NULL)
        tly_grpc_fail(call, TLY_GRPC_UNIMPLEMENTED, "%s", error);
}

/* ---- messages in ---- */

static uint32_t length_of(const uint8_t *prefix)
{
    return (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 | prefix[4];
}

/* Whether the prefix is one that can be taken; if not, the call has failed. */
static bool check_prefix(struct tly_grpc_call *call, const uint8_t *prefix)
{
    uint32_t n = length_of(prefix);
    if (prefix[0] == 1 && call->is_encoded)
        tly_grpc_fail(call, TLY_GRPC_UNIMPLEMENTED, "grpc: messages are taken as they are, not compressed");
    else if (prefix[0] != 0)
        tly_grpc_fail(call, TLY_GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
    else if (n > TLY_GRPC_MESSAGE_MAX)
        tly_grpc_fail(call, TLY_GRPC_RESOURCE_EXHAUSTED,
                      "grpc: received message larger than max (%" PRIu32 " vs. %u)", n, TLY_GRPC_MESSAGE_MAX);
    return !call->finished;
}

/* One whole message at the beginning of what is there; 0: there is none. */
static size_t whole_message(struct tly_grpc_call *call, struct tly_slice bytes)
{
    if (bytes.n < PREFIX_BYTES || !check_prefix(call, bytes.p)) return 0;
    size_t n = PREFIX_BYTES + length_of(bytes.p);
    return bytes.n < n ? 0 : n;
}

static void run(struct tly_grpc_call *call, struct tly_slice framed)
{
    call->messages++;
    call->method->run(call, tly_slice_of(framed.p + PREFIX_BYTES, framed.n - PREFIX_BYTES));
}

static void run_each(struct tly_grpc_call *call)
{
    size_t used = 0, n;
    for (; !call->finished; used += n) {
        struct tly_slice rest = tly_slice_of(call->in.p + used, call->in.n - used);
        n = call->in.n > used ? whole_message(call, rest) : 0;
        if (n == 0) break;
        run(call, tly_slice_of(rest.p, n));
    }
    if (used > 0) tly_buf_take(&call->in, used);
}

/* Takes as much as belongs to the message that has begun, for how long that is has been looked at before more is kept. */
static size_t step_of(const struct tly_grpc_call *call, size_t n)
{
    size_t has = call->in.n;
    size_t wants = has < PREFIX_BYTES ? PREFIX_BYTES - has : PREFIX_BYTES + length_of(call->in.p) - has;
    return n < wants ? n : wants;
}

void tly_grpc_call_data(struct tly_grpc_call *call, struct tly_slice bytes)
{
    while (bytes.n > 0 && !call->finished) {
        bool is_whole = call->in.n >= PREFIX_BYTES && call->in.n == PREFIX_BYTES + length_of(call->in.p);
        if (is_whole) {
            tly_grpc_fail(call, TLY_GRPC_INTERNAL, "grpc: more than one message in a call that takes one");
            return;
        }
        /* Each of many has its own time. */
        if (call->method->takes_many && call->in.n == 0)
            call->began_ns = tly_app_now(tly_grpc_app(call)).mono_ns;
        size_t n = step_of(call, bytes.n);
        tly_buf_put(&call->in, bytes.p, n);
        bytes = tly_slice_of(bytes.p + n, bytes.n - n);
        if (call->in.result != TLY_OK) {
            tly_grpc_fail(call, TLY_GRPC_RESOURCE_EXHAUSTED, "out of memory");
            return;
        }
        if (call->in.n >= PREFIX_BYTES && !check_prefix(call, call->in.p)) return;
        if (call->method->takes_many) run_each(call);
    }
}

void tly_grpc_call_end(struct tly_grpc_call *call, uint64_t now_ns)
{
    call->client_ended = true;
    if (call->finished) return;
    if (call->deadline_ns != 0 && now_ns >= call->deadline_ns) {
        tly_grpc_fail(call, TLY_GRPC_DEADLINE_EXCEEDED, "the deadline passed before the request was here");
        return;
    }
    if (call->method->takes_many && call->in.n == 0) {
        tly_grpc_finish(call);
        return;
    }
    struct tly_slice in = tly_buf_slice(&call->in);
    if (in.n == 0 || whole_message(call, in) == 0) {
        tly_grpc_fail(call, TLY_GRPC_INTERNAL, "grpc: the call ended before its message did");
        return;
    }
    run(call, in);
    tly_buf_clear(&call->in);
    if (!call->finished && !call->method->goes_on)
        tly_grpc_fail(call, TLY_GRPC_INTERNAL, "the call was not answered");
}

/* ---- messages out ---- */

struct tly_buf *tly_grpc_begin_message(struct tly_grpc_call *call)
{
    static const uint8_t prefix[PREFIX_BYTES];
    if (call->sent == call->out.n) {
        tly_buf_clear(&call->out);
        call->sent = 0;
    }
    call->message_at = call->out.n;
    tly_buf_put(&call->out, prefix, sizeof prefix);
    return &call->out;
}

void tly_grpc_end_message(struct tly_grpc_call *call)
{
    if (call->out.result != TLY_OK) {
        call->out.n = call->message_at;
        call->out.result = TLY_OK;
        tly_grpc_fail(call, TLY_GRPC_RESOURCE_EXHAUSTED, "the answer does not fit");
        return;
    }
    size_t n = call->out.n - call->message_at - PREFIX_BYTES;
    uint8_t *prefix = call->out.p + call->message_at;
    for (unsigned i = 0; i < 4; i++)
        prefix[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    tly_grpc_flush_call(call);
}
