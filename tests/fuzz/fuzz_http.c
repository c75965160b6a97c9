/*
 * A stream of HTTP requests, their targets and bodies.  Claims: nothing is consumed that is not there, all that was found
 * lies in the request, and a request that comes in two pieces reads as in one.
 */
#include "service/shell/http_json.h"
#include "service/shell/http_parse.h"
#include "tests/fuzz/fuzz_mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct tly_slice part, struct tly_slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static size_t check_body(const struct tly_http_request *request)
{
    struct tly_slice piece;
    size_t total = 0;
    for (size_t at = 0; tly_http_body_next(request, &at, &piece); total += piece.n)
        assert(lies_within(piece, request->body));
    assert(total <= TLY_HTTP_BODY_BYTES_MAX);
    return total;
}

static void check_found(const struct tly_http_request *request, struct tly_slice in)
{
    assert(request->bytes > 0 && request->bytes <= in.n && request->header_count <= TLY_HTTP_HEADERS_MAX);
    struct tly_slice whole = tly_slice_of(in.p, request->bytes);
    assert(lies_within(request->method, whole) && lies_within(request->query, whole));
    assert(lies_within(request->path, whole) || tly_slice_equal(request->path, tly_slice_text("/")));
    assert(lies_within(request->body, whole));
    for (size_t i = 0; i < request->header_count; i++)
        assert(lies_within(request->header[i].name, whole) && lies_within(request->header[i].value, whole));
}

static void read_in_two_pieces(struct tly_slice in, size_t bytes, size_t body_bytes)
{
    static struct tly_http_request request;
    struct tly_http_scan scan = {0};
    size_t cut = in.p[bytes / 2] * (size_t)251 % bytes;
    enum tly_result result = tly_http_parse(tly_slice_of(in.p, cut), &scan, &request);
    assert(result == TLY_MORE);
    result = tly_http_parse(in, &scan, &request);
    assert(result == TLY_OK && request.bytes == bytes);
    check_found(&request, in);
    size_t total = check_body(&request);
    assert(total == body_bytes);
}

static void walk(const struct tly_http_request *request, const struct tly_mem *mem)
{
    uint8_t decoded[TLY_HTTP_LINE_BYTES_MAX];
    struct tly_http_query query = {request->query, decoded};
    struct tly_slice name, value;
    while (tly_http_query_next(&query, &name, &value))
        assert(name.n + value.n <= (size_t)(query.to - decoded));
    bool is_whole = query.left.n == 0;
    assert(is_whole == (tly_http_decode(request->query, true, NULL) != SIZE_MAX));
    assert((size_t)(query.to - decoded) <= request->query.n);
    (void)tly_http_decode(request->path, false, decoded);
    const char *error;
    struct json_object *object = tly_json_parse(request, mem, &error);
    assert(object != NULL || error != NULL);
    (void)json_object_put(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tly_http_request request;
    struct tly_mem mem = fuzz_mem();
    struct tly_slice rest = tly_slice_of(data, size);
    for (;;) {
        struct tly_http_scan scan = {0};
        enum tly_result result = tly_http_parse(rest, &scan, &request);
        assert(result == TLY_OK || result == TLY_MORE || result == TLY_BAD_MESSAGE);
        if (result != TLY_OK) break;
        check_found(&request, rest);
        walk(&request, &mem);
        read_in_two_pieces(rest, request.bytes, check_body(&request));
        rest = tly_slice_of(rest.p + request.bytes, rest.n - request.bytes);
    }
    return 0;
}
