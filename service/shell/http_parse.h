/*
 * Decodes HTTP/1.0 and 1.1 requests (RFC 9112).  Owns nothing: what it gives are slices of the input.  It is strict where
 * leniency has let one request pass for two: lines end in CRLF, a header is not folded, there is one length and not two.
 *
 *     POST /v1/check?x=1 HTTP/1.1\r\n            method target version
 *     Host: example\r\n Content-Length: 2\r\n    headers
 *     \r\n {}                                    body, whole or in chunks
 *
 * A request that is not complete is not looked at from its beginning again: the scan remembers how far it is known.
 */
#ifndef TALLY_SERVICE_SHELL_HTTP_PARSE_H
#define TALLY_SERVICE_SHELL_HTTP_PARSE_H

#include "crdt/result.h"
#include "service/shell/http_text.h"

#define TLY_HTTP_LINE_BYTES_MAX 8192u
#define TLY_HTTP_HEAD_BYTES_MAX 16384u
#define TLY_HTTP_HEADERS_MAX 100
#define TLY_HTTP_BODY_BYTES_MAX (1024u * 1024u)
/* A body in chunks may take this much more, for their heads and for trailers. */
#define TLY_HTTP_CHUNKING_BYTES_MAX 65536u
#define TLY_HTTP_CHUNK_LINE_BYTES_MAX 1024u
#define TLY_HTTP_REQUEST_BYTES_MAX                                                 \
    (TLY_HTTP_LINE_BYTES_MAX + TLY_HTTP_HEAD_BYTES_MAX + TLY_HTTP_BODY_BYTES_MAX + \
     TLY_HTTP_CHUNKING_BYTES_MAX)

struct tly_http_header {
    struct tly_slice name, value;
};

/* What is known of a request that has begun; {0} before each. */
struct tly_http_scan {
    size_t at;         /* beginning of the line, or chunk, that is not here whole */
    size_t need;       /* the request has at least so many bytes */
    size_t line_bytes; /* of the request line; 0: it is not here */
    size_t head_bytes; /* with the request line; 0: it is not here */
    size_t body_bytes; /* in whole chunks */
    bool is_chunked;
    bool is_last; /* the last chunk is here */
};

struct tly_http_request {
    size_t bytes; /* of the whole request */
    struct tly_slice method, path,
        query;             /* path and query as they were sent; query without its question mark */
    struct tly_slice host; /* of the target if that has one, else of the header; p NULL: there is none */
    struct tly_slice origin,
        fetch_site; /* the headers by which a browser says whose page asks; p NULL: there is none */
    int minor;      /* of the version: 0 or 1 */
    struct tly_http_header header[TLY_HTTP_HEADERS_MAX];
    size_t header_count;
    bool keep_alive;
    bool is_chunked;
    struct tly_slice body; /* with is_chunked as it was sent: walk it with tly_http_body_next */
    bool wants_continue;   /* with TLY_MORE, once: the head is here and the client waits for "100 Continue" */
    int status;            /* why it is refused */
    const char *error;     /* a sentence for people */
};

/*
 * Reads the request at the beginning of `in`, of which `scan` has seen a beginning perhaps.
 *   TLY_OK            request->bytes belong to it; the scan is {0} again
 *   TLY_MORE          the beginning of a request
 *   TLY_BAD_MESSAGE   request->status is the answer (400, 413, 414, 417, 431, 501, 505) and request->error says why; the
 *                     connection has lost its rhythm and must be closed
 */
enum tly_result tly_http_parse(struct tly_slice in, struct tly_http_scan *scan,
                               struct tly_http_request *request) TLY_MUST_CHECK;

/* Pieces of a body, one by one; start with *at 0. False at the end. */
bool tly_http_body_next(const struct tly_http_request *request, size_t *at, struct tly_slice *piece);

/* The value of the first header of this name (in lower case), or an empty slice with p NULL. */
struct tly_slice tly_http_header(const struct tly_http_request *request, const char *name);
#endif
