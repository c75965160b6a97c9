#include "service/shell/resp_parse.h"

#include "crdt/bytes.h"

/* Digits of a length, its sign not counted. */
#define DIGITS_MAX 10
/* "$0\r\n\r\n" */
#define ARG_BYTES_MIN 6

static enum tly_result malformed(struct tly_resp_request *request, const char *error)
{
    request->error = error;
    return TLY_BAD_MESSAGE;
}

/* ---- arrays of bulk strings ---- */

enum length_kind { LENGTH_OK, LENGTH_MORE, LENGTH_BAD };

/*
 * Reads "123\r\n" or "-1\r\n" at *at and moves behind it. Digits only, no leading zeros, as redis writes them; a
 * negative number reads as -1.
 */
static enum length_kind get_any_length(struct tly_slice in, size_t *at, int64_t *length)
{
    size_t i = *at;
    bool negative = i < in.n && in.p[i] == '-';
    i += negative;
    size_t first = i;
    int64_t value = 0;
    while (i < in.n && in.p[i] >= '0' && in.p[i] <= '9') {
        if (i - first == DIGITS_MAX) return LENGTH_BAD;
        value = value * 10 + (in.p[i++] - '0');
    }
    if (i == in.n) return LENGTH_MORE;
    if (i == first || (in.p[first] == '0' && (i - first > 1 || negative)) || in.p[i] != '\r')
        return LENGTH_BAD;
    if (i + 1 == in.n) return LENGTH_MORE;
    if (in.p[i + 1] != '\n') return LENGTH_BAD;
    *at = i + 2;
    *length = negative ? -1 : value;
    return LENGTH_OK;
}

/* Most lengths have one digit or two. */
static inline enum length_kind get_length(struct tly_slice in, size_t *at, int64_t *length)
{
    if (in.n - *at < 4) return get_any_length(in, at, length);
    const uint8_t *p = in.p + *at;
    unsigned tens = (unsigned)p[0] - '0', ones = (unsigned)p[1] - '0';
    if (tens <= 9 && p[1] == '\r' && p[2] == '\n') {
        *at += 3;
        *length = tens;
        return LENGTH_OK;
    }
    if (tens == 0 || tens > 9 || ones > 9 || p[2] != '\r' || p[3] != '\n')
        return get_any_length(in, at, length);
    *at += 4;
    *length = tens * 10 + ones;
    return LENGTH_OK;
}

/* The head of the array at scan->at 0. */
static enum tly_result scan_head(struct tly_slice in, struct tly_resp_scan *scan,
                                 struct tly_resp_request *request)
{
    size_t at = 1;
    int64_t count;
    enum length_kind kind = get_length(in, &at, &count);
    if (kind == LENGTH_MORE) return TLY_MORE;
    if (kind == LENGTH_BAD || count > TLY_RESP_ARGS_MAX)
        return malformed(request, "Protocol error: invalid multibulk length");
    scan->args = count > 0 ? (uint32_t)count : 0;
    scan->at = at;
    scan->need = at + scan->args * (size_t)ARG_BYTES_MIN;
    return TLY_OK;
}

/* One argument at scan->at; *arg is set when all of it is here. */
static enum tly_result scan_arg(struct tly_slice in, struct tly_resp_scan *scan,
                                struct tly_resp_request *request, struct tly_slice *arg)
{
    if (scan->at == in.n) return TLY_MORE;
    if (in.p[scan->at] != '$') return malformed(request, "Protocol error: expected '$'");
    size_t at = scan->at + 1;
    int64_t length;
    enum length_kind kind = get_length(in, &at, &length);
    if (kind == LENGTH_MORE) return TLY_MORE;
    if (kind == LENGTH_BAD || length < 0 || length > TLY_RESP_ARG_BYTES_MAX)
        return malformed(request, "Protocol error: invalid bulk length");
    size_t n = (size_t)length, rest = scan->args - scan->seen - 1;
    scan->need = at + n + 2 + rest * ARG_BYTES_MIN;
    if (scan->need > TLY_RESP_REQUEST_BYTES_MAX) return malformed(request, "Protocol error: too big request");
    if (in.n - at < n + 2) return TLY_MORE;
    if (in.p[at + n] != '\r' || in.p[at + n + 1] != '\n')
        return malformed(request, "Protocol error: expected CRLF after an argument");
    *arg = tly_slice_of(in.p + at, n);
    scan->at = at + n + 2;
    scan->seen++;
    return TLY_OK;
}

/* Goes on from where the scan is; arguments passed now are noted. */
static enum tly_result scan_array(struct tly_slice in, struct tly_resp_scan *scan,
                                  struct tly_resp_request *request)
{
    enum tly_result result = scan->at == 0 ? scan_head(in, scan, request) : TLY_OK;
    while (result == TLY_OK && scan->seen < scan->args)
        result = scan_arg(in, scan, request, &request->arg[scan->seen]);
    return result;
}

/* ---- the usual request: few and short arguments, all of it here ---- */

/* Bytes as they lie in memory, to be compared with others. */
static inline uint32_t four(const void *p)
{
    uint32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

static inline uint16_t two(const void *p)
{
    uint16_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

/* Of "$7\r\n" and "*7\r\n": all but the digit. */
static inline uint32_t frame_of(const void *p)
{
    return four(p) & four("\xff\0\xff\xff");
}

/* Moves behind "$7\r\n" or "$42\r\n" at *at, of which at least 5 bytes are there; false: something else stands there. */
static inline bool get_short_length(const uint8_t **at, size_t *length)
{
    const uint8_t *p = *at;
    size_t tens = (size_t)p[1] - '0', ones = (size_t)p[2] - '0';
    if (tens > 9) return false;
    *length = tens;
    *at = p + 4;
    if (frame_of(p) == four("$\0\r\n")) return true;
    *length = tens * 10 + ones;
    *at = p + 5;
    return tens != 0 && ones <= 9 && p[0] == '$' && two(p + 3) == two("\r\n");
}

/* How many bytes the request has; 0: it is not of this kind, or not whole, and the other code has to look. */
static size_t parse_short(struct tly_slice in, struct tly_resp_request *request)
{
    if (in.n < 4 || frame_of(in.p) != four("*\0\r\n")) return 0;
    size_t count = (size_t)in.p[1] - '0', n;
    if (count == 0 || count > 9) return 0;
    const uint8_t *p = in.p + 4, *end = in.p + in.n;
    struct tly_slice *arg = request->arg;
    for (size_t left = count; left > 0; left--) {
        if (end - p < 5 || !get_short_length(&p, &n)) return 0;
        if ((size_t)(end - p) < n + 2 || two(p + n) != two("\r\n")) return 0;
        *arg++ = tly_slice_of(p, n);
        p += n + 2;
    }
    request->count = count;
    return (size_t)(p - in.p);
}

/* ---- what repeats the request before ---- */

/* Clients say the same of one key after the other; beyond this they do not. */
#define FRAME_BYTES_MAX 256
#define FRAMED_BYTES_MAX 99

struct tly_resp_frame tly_resp_frame_of(const uint8_t *p, const struct tly_resp_request *request,
                                        size_t number)
{
    struct tly_slice arg = request->arg[number];
    struct tly_resp_frame frame = {0};
    if (request->is_inline || arg.n > FRAMED_BYTES_MAX || request->bytes > FRAME_BYTES_MAX) return frame;
    const uint8_t *length = arg.p - (arg.n < 10 ? 4 : 5), *behind = arg.p + arg.n;
    frame.head = tly_slice_of(p, (size_t)(length - p));
    frame.tail = tly_slice_of(behind, (size_t)(p + request->bytes - behind));
    return frame;
}

static inline bool begins_with(const uint8_t *p, struct tly_slice with)
{
    return with.n == 2 ? two(p) == two(with.p) : tly_bytes_equal_old(p, with.p, with.n);
}

size_t tly_resp_parse_framed(struct tly_slice in, const struct tly_resp_frame *frame, struct tly_slice *arg)
{
    size_t head = frame->head.n, n;
    if (in.n < head + 5 || !begins_with(in.p, frame->head)) return 0;
    const uint8_t *p = in.p + head;
    if (!get_short_length(&p, &n)) return 0;
    if (in.n - (size_t)(p - in.p) < n + frame->tail.n || !begins_with(p + n, frame->tail)) return 0;
    *arg = tly_slice_of(p, n);
    return (size_t)(p - in.p) + n + frame->tail.n;
}

static enum tly_result parse_array(struct tly_slice in, struct tly_resp_scan *scan,
                                   struct tly_resp_request *request)
{
    if (in.n < scan->need) return TLY_MORE;
    bool is_continued = scan->at != 0;
    enum tly_result result = scan_array(in, scan, request);
    if (result == TLY_OK && is_continued) {
        /* It is whole; those of its arguments that were passed earlier have to be noted too. */
        *scan = (struct tly_resp_scan){0};
        result = scan_array(in, scan, request);
    }
    if (result != TLY_OK) return result;
    request->count = scan->args;
    request->bytes = scan->at;
    *scan = (struct tly_resp_scan){0};
    return TLY_OK;
}

/* ---- lines ---- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

/* One character of a quoted text at *at, which moves behind it. */
static uint8_t unquote(struct tly_slice line, size_t *at, char quote)
{
    const uint8_t *p = line.p + *at;
    size_t left = line.n - *at;
    if (p[0] != '\\' || left < 2 || (quote == '\'' && p[1] != '\'')) {
        *at += 1;
        return p[0];
    }
    int high = left >= 4 ? hex_digit(p[2]) : -1, low = left >= 4 ? hex_digit(p[3]) : -1;
    if (quote == '"' && p[1] == 'x' && high >= 0 && low >= 0) {
        *at += 4;
        return (uint8_t)(high * 16 + low);
    }
    *at += 2;
    return quote == '"' ? escaped(p[1]) : p[1];
}

/* A word with quotes in it, unquoted at `to`. How long it got is in arg->n; false: the quotes are not balanced. */
static bool get_quoted(struct tly_slice line, size_t *at, uint8_t *to, struct tly_slice *arg)
{
    size_t n = 0;
    char quote = '\0';
    while (*at < line.n && (quote != '\0' || !is_space(line.p[*at]))) {
        uint8_t c = line.p[*at];
        bool opens = quote == '\0' && (c == '"' || c == '\'');
        bool closes = quote != '\0' && c == (uint8_t)quote;
        if (closes && *at + 1 < line.n && !is_space(line.p[*at + 1])) return false;
        if (opens || closes) {
            quote = opens ? (char)c : '\0';
            *at += 1;
        } else if (quote != '\0') {
            to[n++] = unquote(line, at, quote);
        } else {
            to[n++] = line.p[(*at)++];
        }
    }
    *arg = tly_slice_of(to, n);
    return quote == '\0';
}

/* Finds the end of a word without quotes; false: it has some. */
static bool get_word(struct tly_slice line, size_t *at, struct tly_slice *arg)
{
    size_t i = *at;
    while (i < line.n && !is_space(line.p[i])) {
        if (line.p[i] == '"' || line.p[i] == '\'') return false;
        i++;
    }
    *arg = tly_slice_of(line.p + *at, i - *at);
    *at = i;
    return true;
}

static enum tly_result split_line(struct tly_slice line, struct tly_buf *scratch,
                                  struct tly_resp_request *request)
{
    tly_buf_clear(scratch);
    for (size_t at = 0;;) {
        while (at < line.n && is_space(line.p[at]))
            at++;
        if (at == line.n) return TLY_OK;
        if (request->count == TLY_RESP_ARGS_MAX)
            return malformed(request, "Protocol error: too big inline request");
        struct tly_slice *arg = &request->arg[request->count];
        if (!get_word(line, &at, arg)) {
            /* Room for all of the line at once, so that what is in it already never moves. */
            uint8_t *to = tly_buf_room(scratch, line.n - scratch->n);
            if (to == NULL) return TLY_NOMEM;
            if (!get_quoted(line, &at, to, arg))
                return malformed(request, "Protocol error: unbalanced quotes in request");
            scratch->n += arg->n;
        }
        request->count++;
    }
}

/* What no line begins with; a greeting in another tongue is recognised by it. */
static bool is_binary(uint8_t c)
{
    return (c < 0x20 && !is_space(c)) || c >= 0x7f;
}

static enum tly_result parse_line(struct tly_slice in, struct tly_resp_scan *scan, struct tly_buf *scratch,
                                  struct tly_resp_request *request)
{
    if (is_binary(in.p[0])) return malformed(request, "Protocol error: unexpected byte");
    const uint8_t *end = memchr(in.p + scan->at, '\n', in.n - scan->at);
    size_t n = end != NULL ? (size_t)(end - in.p) : in.n;
    if (n > TLY_RESP_LINE_BYTES_MAX) return malformed(request, "Protocol error: too big inline request");
    if (end == NULL) {
        scan->at = in.n;
        return TLY_MORE;
    }
    request->is_inline = true;
    request->count = 0;
    request->bytes = n + 1;
    *scan = (struct tly_resp_scan){0};
    return split_line(tly_slice_of(in.p, n), scratch, request);
}

enum tly_result tly_resp_parse(struct tly_slice in, struct tly_resp_scan *scan, struct tly_buf *scratch,
                               struct tly_resp_request *request)
{
    if (in.n == 0) return TLY_MORE;
    request->bytes = scan->at == 0 ? parse_short(in, request) : 0;
    request->is_inline = false;
    if (request->bytes != 0) return TLY_OK;
    return in.p[0] == '*' ? parse_array(in, scan, request) : parse_line(in, scan, scratch, request);
}
