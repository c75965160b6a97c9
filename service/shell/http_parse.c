#include "service/shell/http_parse.h"

#define METHOD_BYTES_MAX 32

static enum tly_result refuse(struct tly_http_request *request, int status, const char *error)
{
    request->status = status;
    request->error = error;
    return TLY_BAD_MESSAGE;
}

/* ---- characters ---- */

/* What a byte may be part of. */
enum {
    IN_TOKEN = 1,  /* tchar of RFC 9110, 5.6.2 */
    IN_FIELD = 2,  /* text, blanks and bytes above ASCII: no control character, so no bare CR either */
    IN_TARGET = 4, /* ASCII that is seen */
    IN_HOST =
        8, /* of a host, its port and an address in brackets (RFC 3986, 3.2.2): nobody's name before an @ */
};

/* Sixteen in a row, from 0x00 on; from 0x80 on they are all alike. */
static const uint8_t kinds[0x100] = {
    /* clang-format off */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    2, 15, 6, 7, 15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 15, 6,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 14, 6, 14, 6, 6,
    6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 6, 14, 7, 15,
    7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6, 7, 6, 15, 0,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    /* clang-format on */
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_method(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Bytes from `from` on that are all of a kind. */
static inline size_t pass(struct tly_slice text, size_t from, unsigned kind)
{
    while (from < text.n && (kinds[text.p[from]] & kind) != 0)
        from++;
    return from;
}

/* ---- the request line ---- */

static enum tly_result parse_version(struct tly_slice text, struct tly_http_request *request)
{
    if (text.n != 8 || memcmp(text.p, "HTTP/", 5) != 0 || !is_digit(text.p[5]) || text.p[6] != '.' ||
        !is_digit(text.p[7]))
        return refuse(request, 400, "the request line has no version");
    if (text.p[5] != '1' || text.p[7] > '1')
        return refuse(request, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    request->minor = text.p[7] - '0';
    return TLY_OK;
}

/* Of "http://host/path" what follows the host, which *host is; other forms as they are, and *host is left alone. */
static struct tly_slice origin_form(struct tly_slice target, struct tly_slice *host)
{
    const size_t scheme = sizeof "http://" - 1;
    if (target.n < scheme || !tly_http_is(tly_slice_of(target.p, scheme), "http://")) return target;
    size_t n = scheme;
    while (n < target.n && target.p[n] != '/' && target.p[n] != '?')
        n++;
    *host = tly_slice_of(target.p + scheme, n - scheme);
    return tly_slice_of(target.p + n, target.n - n);
}

static bool is_host(struct tly_slice text)
{
    return pass(text, 0, IN_HOST) == text.n;
}

static enum tly_result parse_target(struct tly_slice target, struct tly_http_request *request)
{
    if (pass(target, 0, IN_TARGET) < target.n)
        return refuse(request, 400, "the target has an illegal character");
    bool is_star = target.n == 1 && target.p[0] == '*';
    request->host = (struct tly_slice){0};
    target = origin_form(target, &request->host);
    bool is_absolute = request->host.p != NULL;
    if (is_absolute && (request->host.n == 0 || !is_host(request->host)))
        return refuse(request, 400, "the target has no host, or a malformed one");
    const uint8_t *mark = target.n > 0 ? memchr(target.p, '?', target.n) : NULL;
    size_t n = mark != NULL ? (size_t)(mark - target.p) : target.n;
    request->path = is_absolute && n == 0 ? tly_slice_text("/") : tly_slice_of(target.p, n);
    request->query = mark != NULL ? tly_slice_of(mark + 1, target.n - n - 1) : tly_slice_of(target.p + n, 0);
    if (!is_star && (request->path.n == 0 || request->path.p[0] != '/'))
        return refuse(request, 400, "the target is not a path");
    return TLY_OK;
}

/* The line without its end. */
static enum tly_result parse_request_line(struct tly_slice line, struct tly_http_request *request)
{
    size_t n = 0;
    while (n < line.n && n < METHOD_BYTES_MAX && is_method(line.p[n]))
        n++;
    if (n == 0 || n == line.n || line.p[n] != ' ')
        return refuse(request, 400, "the request line is malformed");
    const uint8_t *target = line.p + n + 1, *space = memchr(target, ' ', line.n - n - 1);
    if (space == NULL) return refuse(request, 400, "the request line is malformed");
    size_t target_n = (size_t)(space - target);
    request->method = tly_slice_of(line.p, n);
    enum tly_result result = parse_version(tly_slice_of(space + 1, line.n - n - target_n - 2), request);
    return result == TLY_OK ? parse_target(tly_slice_of(target, target_n), request) : result;
}

/* ---- headers ---- */

/* One line without its end. */
static enum tly_result parse_header(struct tly_slice line, struct tly_http_header *header,
                                    struct tly_http_request *request)
{
    if (is_blank(line.p[0])) return refuse(request, 400, "a header is folded");
    size_t n = pass(line, 0, IN_TOKEN);
    if (n == 0 || n == line.n || line.p[n] != ':')
        return refuse(request, 400, "a header's name is malformed");
    if (pass(line, n + 1, IN_FIELD) < line.n)
        return refuse(request, 400, "a header's value has an illegal character");
    header->name = tly_slice_of(line.p, n);
    header->value = tly_http_trimmed(tly_slice_of(line.p + n + 1, line.n - n - 1));
    return TLY_OK;
}

/*
 * The line that begins at *at, without its CRLF; *at moves behind it. TLY_MORE: its end is not here; false in *is_strict: it
 * ends in a bare LF.
 */
static enum tly_result get_line(struct tly_slice in, size_t *at, struct tly_slice *line, bool *is_strict)
{
    const uint8_t *end = memchr(in.p + *at, '\n', in.n - *at);
    if (end == NULL) return TLY_MORE;
    size_t n = (size_t)(end - (in.p + *at));
    *is_strict = n > 0 && in.p[*at + n - 1] == '\r';
    *line = tly_slice_of(in.p + *at, *is_strict ? n - 1 : n);
    *at += n + 1;
    return TLY_OK;
}

/* All headers of a head that is here whole; *at moves behind the empty line. */
static enum tly_result parse_headers(struct tly_slice in, size_t *at, struct tly_http_request *request)
{
    request->header_count = 0;
    for (;;) {
        struct tly_slice line;
        bool is_strict;
        enum tly_result result = get_line(in, at, &line, &is_strict);
        if (result != TLY_OK) return result;
        if (!is_strict) return refuse(request, 400, "a line does not end in CRLF");
        if (line.n == 0) return TLY_OK;
        if (request->header_count == TLY_HTTP_HEADERS_MAX) return refuse(request, 431, "too many headers");
        result = parse_header(line, &request->header[request->header_count], request);
        if (result != TLY_OK) return result;
        request->header_count++;
    }
}

struct tly_slice tly_http_header(const struct tly_http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (tly_http_is(request->header[i].name, name)) return request->header[i].value;
    return (struct tly_slice){0};
}

/* ---- how long the body is ---- */

struct framing {
    bool has_length, has_host, expects, closes, keeps;
    uint64_t length;
};

static enum tly_result take_length(struct tly_slice value, struct framing *framing,
                                   struct tly_http_request *request)
{
    uint64_t length = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (!is_digit(value.p[i])) return refuse(request, 400, "Content-Length is not a number");
        if (length <= TLY_HTTP_BODY_BYTES_MAX) length = length * 10 + (uint64_t)(value.p[i] - '0');
    }
    if (value.n == 0) return refuse(request, 400, "Content-Length is not a number");
    if (framing->has_length && framing->length != length)
        return refuse(request, 400, "two different lengths");
    framing->has_length = true;
    framing->length = length;
    return TLY_OK;
}

static enum tly_result take_header(const struct tly_http_header *header, struct framing *framing,
                                   struct tly_http_request *request)
{
    struct tly_slice value = header->value;
    if (tly_http_is(header->name, "content-length")) return take_length(value, framing, request);
    if (tly_http_is(header->name, "transfer-encoding")) {
        if (request->is_chunked) return refuse(request, 400, "two transfer encodings");
        if (!tly_http_is(value, "chunked"))
            return refuse(request, 501, "the only transfer encoding is chunked");
        request->is_chunked = true;
    } else if (tly_http_is(header->name, "host")) {
        if (framing->has_host) return refuse(request, 400, "two Host headers");
        if (!is_host(value)) return refuse(request, 400, "the Host header is malformed");
        framing->has_host = true;
        if (request->host.p == NULL) request->host = value;
    } else if (tly_http_is(header->name, "connection")) {
        framing->closes = framing->closes || tly_http_list_has(value, "close");
        framing->keeps = framing->keeps || tly_http_list_has(value, "keep-alive");
    } else if (tly_http_is(header->name, "expect")) {
        if (!tly_http_is(value, "100-continue"))
            return refuse(request, 417, "the only expectation is 100-continue");
        framing->expects = request->minor > 0;
    } else if (tly_http_is(header->name, "origin")) {
        request->origin = value;
    } else if (tly_http_is(header->name, "sec-fetch-site")) {
        request->fetch_site = value;
    }
    return TLY_OK;
}

/* Looks at the headers that say where the request ends. */
static enum tly_result frame(struct tly_http_request *request, struct framing *framing)
{
    request->is_chunked = false;
    request->origin = request->fetch_site = (struct tly_slice){0};
    for (size_t i = 0; i < request->header_count; i++) {
        enum tly_result result = take_header(&request->header[i], framing, request);
        if (result != TLY_OK) return result;
    }
    request->keep_alive = !framing->closes && (request->minor > 0 || framing->keeps);
    if (request->is_chunked && framing->has_length)
        return refuse(request, 400, "a length and a transfer encoding");
    if (request->is_chunked && request->minor == 0)
        return refuse(request, 400, "HTTP/1.0 has no transfer encodings");
    if (!framing->has_host && request->minor > 0) return refuse(request, 400, "no Host header");
    if (framing->length > TLY_HTTP_BODY_BYTES_MAX)
        return refuse(request, 413, "the body is larger than 1 MiB");
    return TLY_OK;
}

/* ---- chunks ---- */

/* "1a;name=value": the size, whatever follows the semicolon. */
static enum tly_result parse_chunk_size(struct tly_slice line, size_t *size, struct tly_http_request *request)
{
    size_t n = 0;
    *size = 0;
    for (; n < line.n && tly_http_hex_digit(line.p[n]) >= 0; n++) {
        *size = *size * 16 + (size_t)tly_http_hex_digit(line.p[n]);
        if (*size > TLY_HTTP_BODY_BYTES_MAX) return refuse(request, 413, "the body is larger than 1 MiB");
    }
    if (n == 0 || (n < line.n && line.p[n] != ';'))
        return refuse(request, 400, "a chunk's size is malformed");
    if (pass(line, n, IN_FIELD) < line.n)
        return refuse(request, 400, "a chunk's extension has an illegal character");
    return TLY_OK;
}

/* Passes one chunk at scan->at; after the one of size 0 trailers follow. */
static enum tly_result scan_chunk(struct tly_slice in, struct tly_http_scan *scan,
                                  struct tly_http_request *request)
{
    struct tly_slice line;
    bool is_strict;
    size_t at = scan->at, size;
    enum tly_result result = get_line(in, &at, &line, &is_strict);
    size_t n = (result == TLY_OK ? at : in.n) - scan->at;
    if (n > TLY_HTTP_CHUNK_LINE_BYTES_MAX) return refuse(request, 400, "a chunk's head is too long");
    if (result != TLY_OK) return result;
    if (!is_strict) return refuse(request, 400, "a chunk's head does not end in CRLF");
    result = parse_chunk_size(line, &size, request);
    if (result != TLY_OK) return result;
    if (size > TLY_HTTP_BODY_BYTES_MAX - scan->body_bytes)
        return refuse(request, 413, "the body is larger than 1 MiB");
    if (size > 0) {
        scan->need = at + size + 2;
        if (in.n - at < size + 2) return TLY_MORE;
        if (memcmp(in.p + at + size, "\r\n", 2) != 0)
            return refuse(request, 400, "a chunk does not end in CRLF");
        at += size + 2;
    }
    scan->at = at;
    scan->is_last = size == 0;
    scan->body_bytes += size;
    return TLY_OK;
}

/* Trailers are checked and forgotten. */
static enum tly_result scan_trailers(struct tly_slice in, struct tly_http_scan *scan,
                                     struct tly_http_request *request)
{
    for (;;) {
        struct tly_slice line;
        struct tly_http_header header;
        bool is_strict;
        enum tly_result result = get_line(in, &scan->at, &line, &is_strict);
        if (result != TLY_OK) return result;
        if (!is_strict) return refuse(request, 400, "a line does not end in CRLF");
        if (line.n == 0) return TLY_OK;
        result = parse_header(line, &header, request);
        if (result != TLY_OK) return result;
    }
}

static enum tly_result scan_chunks(struct tly_slice in, struct tly_http_scan *scan,
                                   struct tly_http_request *request)
{
    enum tly_result result = TLY_OK;
    while (result == TLY_OK && !scan->is_last)
        result = scan_chunk(in, scan, request);
    if (result == TLY_OK) result = scan_trailers(in, scan, request);
    size_t n = (result == TLY_OK ? scan->at : in.n) - scan->head_bytes;
    if (result != TLY_BAD_MESSAGE && n >= TLY_HTTP_BODY_BYTES_MAX + TLY_HTTP_CHUNKING_BYTES_MAX)
        return refuse(request, 413, "the body has too many chunks, or too many trailers");
    return result;
}

/* ---- the whole ---- */

/* Whether the first bytes can be those of a request line; anything else is another tongue and told so at once. */
static bool begins_well(struct tly_slice in)
{
    size_t n = 0;
    while (n < in.n && n <= METHOD_BYTES_MAX && is_method(in.p[n]))
        n++;
    return n == in.n ? n <= METHOD_BYTES_MAX : n > 0 && in.p[n] == ' ';
}

static enum tly_result find_line(struct tly_slice in, struct tly_http_scan *scan,
                                 struct tly_http_request *request)
{
    if (!begins_well(in)) return refuse(request, 400, "this is no HTTP request");
    struct tly_slice line;
    bool is_strict;
    enum tly_result result = get_line(in, &scan->at, &line, &is_strict);
    size_t n = result == TLY_OK ? scan->at : in.n;
    if (n > TLY_HTTP_LINE_BYTES_MAX) return refuse(request, 414, "the request line is too long");
    if (result != TLY_OK) return result;
    if (!is_strict) return refuse(request, 400, "a line does not end in CRLF");
    scan->line_bytes = scan->at;
    return parse_request_line(line, request);
}

/* Finds the empty line that ends the head. */
static enum tly_result find_head(struct tly_slice in, struct tly_http_scan *scan,
                                 struct tly_http_request *request)
{
    struct tly_slice line = {0};
    enum tly_result result = TLY_OK;
    bool is_strict;
    do
        result = get_line(in, &scan->at, &line, &is_strict);
    while (result == TLY_OK && line.n > 0);
    size_t n = result == TLY_OK ? scan->at : in.n;
    if (n - scan->line_bytes > TLY_HTTP_HEAD_BYTES_MAX)
        return refuse(request, 431, "the headers are too long");
    if (result == TLY_OK) scan->head_bytes = scan->at;
    return result;
}

/* Of a head that is here whole, what stands behind its first line. */
static enum tly_result parse_rest(struct tly_slice in, const struct tly_http_scan *scan,
                                  struct framing *framing, struct tly_http_request *request)
{
    size_t at = scan->line_bytes;
    enum tly_result result = parse_headers(in, &at, request);
    return result == TLY_OK ? frame(request, framing) : result;
}

/* The same with that line, which was looked at when only a part of the request was here. */
static enum tly_result parse_head(struct tly_slice in, const struct tly_http_scan *scan,
                                  struct framing *framing, struct tly_http_request *request)
{
    enum tly_result result = parse_request_line(tly_slice_of(in.p, scan->line_bytes - 2), request);
    return result == TLY_OK ? parse_rest(in, scan, framing, request) : result;
}

/* Everything up to the body; *expects: the client waits to be asked for it. */
static enum tly_result scan_head(struct tly_slice in, struct tly_http_scan *scan,
                                 struct tly_http_request *request, bool *expects)
{
    struct framing framing = {0};
    bool is_new = scan->line_bytes == 0;
    enum tly_result result = is_new ? find_line(in, scan, request) : TLY_OK;
    if (result == TLY_OK) result = find_head(in, scan, request);
    if (result == TLY_OK)
        result = is_new ? parse_rest(in, scan, &framing, request) : parse_head(in, scan, &framing, request);
    if (result != TLY_OK) return result;
    scan->is_chunked = request->is_chunked;
    scan->need = scan->head_bytes + (size_t)framing.length;
    *expects = framing.expects;
    return TLY_OK;
}

enum tly_result tly_http_parse(struct tly_slice in, struct tly_http_scan *scan,
                               struct tly_http_request *request)
{
    request->wants_continue = false;
    if (in.n == 0 || in.n < scan->need) return TLY_MORE;
    bool is_new = scan->head_bytes == 0, expects = false;
    enum tly_result result = is_new ? scan_head(in, scan, request, &expects) : TLY_OK;
    if (result != TLY_OK) return result;
    if (scan->is_chunked)
        result = scan_chunks(in, scan, request);
    else if (in.n < scan->need)
        result = TLY_MORE;
    if (result == TLY_MORE) request->wants_continue = expects;
    if (result != TLY_OK) return result;

    struct framing framing = {0};
    if (!is_new && parse_head(in, scan, &framing, request) != TLY_OK) return TLY_BAD_MESSAGE;
    request->bytes = scan->is_chunked ? scan->at : scan->need;
    request->body = tly_slice_of(in.p + scan->head_bytes, request->bytes - scan->head_bytes);
    *scan = (struct tly_http_scan){0};
    return TLY_OK;
}

/* ---- walking what was found ---- */

bool tly_http_body_next(const struct tly_http_request *request, size_t *at, struct tly_slice *piece)
{
    struct tly_slice line;
    bool is_strict;
    if (!request->is_chunked) {
        *piece = request->body;
        bool is_first = *at == 0;
        *at = request->body.n;
        return is_first && piece->n > 0;
    }
    if (*at >= request->body.n || get_line(request->body, at, &line, &is_strict) != TLY_OK) return false;
    size_t size = 0;
    for (size_t i = 0; i < line.n && tly_http_hex_digit(line.p[i]) >= 0; i++)
        size = size * 16 + (size_t)tly_http_hex_digit(line.p[i]);
    *piece = tly_slice_of(request->body.p + *at, size);
    *at = size > 0 ? *at + size + 2 : request->body.n;
    return size > 0;
}
