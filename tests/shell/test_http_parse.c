/* The HTTP decoder: what it takes, what it refuses and how, and that nobody can make two requests of one. */
#include "service/shell/http_parse.h"
#include "tests/support/cmocka.h"
#include "tests/support/guard.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

static struct tly_http_scan scan;
static struct tly_http_request request;

static int setup(void **state)
{
    (void)state;
    scan = (struct tly_http_scan){0};
    memset(&request, 0, sizeof request);
    return 0;
}

static enum tly_result parse(struct tly_slice in)
{
    scan = (struct tly_http_scan){0};
    return tly_http_parse(in, &scan, &request);
}

static void body_of(char *text)
{
    struct tly_slice piece;
    size_t n = 0;
    for (size_t at = 0; tly_http_body_next(&request, &at, &piece); n += piece.n)
        memcpy(text + n, piece.p, piece.n);
    text[n] = '\0';
}

/* Method, path, query, whether it is kept alive, and the body, with bars between. */
static const char *shown(char *text)
{
    char body[2048];
    body_of(body);
    (void)sprintf(text, "%.*s|%.*s|%.*s|%s|%s", (int)request.method.n, (const char *)request.method.p,
                  (int)request.path.n, (const char *)request.path.p, (int)request.query.n,
                  (const char *)request.query.p, request.keep_alive ? "keep" : "close", body);
    return text;
}

static const struct {
    const char *in, *shown;
} good[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/||keep|"},
    {"GET /a/b?c=d&e HTTP/1.1\r\nhost:a\r\n\r\n", "GET|/a/b|c=d&e|keep|"},
    {"GET /? HTTP/1.1\r\nHost:\r\n\r\n", "GET|/||keep|"},
    {"GET / HTTP/1.0\r\n\r\n", "GET|/||close|"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET|/||keep|"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET|/||close|"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: te , Close\r\n\r\n", "GET|/||close|"},
    {"GET http://host:80/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/p|q|keep|"},
    {"GET HTTP://host HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/||keep|"},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS|*||keep|"},
    {"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH|/||keep|"},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "POST|/||keep|hi"},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nhi", "POST|/||keep|hi"},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "POST|/||keep|hi"},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST|/||keep|"},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
     "POST|/||keep|hi"},
    {"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked\r\n\r\n"
     "1;x=y\r\nh\r\n0A; z=\"w\"\r\n0123456789\r\n00\r\nTrailer: 1\r\nMore: 2\r\n\r\n",
     "POST|/||keep|h0123456789"},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: \t caf\xc3\xa9 \t\r\nY:\r\n\r\n", "GET|/||keep|"},
};

static void requests_read_as_they_were_written(void **state)
{
    (void)state;
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        assert_int_equal(parse(in), TLY_OK);
        assert_int_equal(request.bytes, in.n);
        assert_string_equal(shown(text), good[i].shown);
        assert_int_equal(scan.at + scan.need + scan.head_bytes, 0);
    }
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* Every way we know of to make two servers disagree about where a request ends, and plain nonsense. */
static const struct {
    int status;
    const char *in;
} bad[] = {
    /* how long is it? */
    {400, POST "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"},
    {400, POST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n"},
    {400, POST "Content-Length: 2, 2\r\n\r\n"},
    {400, POST "Content-Length: +2\r\n\r\n"},
    {400, POST "Content-Length: -2\r\n\r\n"},
    {400, POST "Content-Length: 0x2\r\n\r\n"},
    {400, POST "Content-Length: 2 2\r\n\r\n"},
    {400, POST "Content-Length: \r\n\r\n"},
    {400, POST "Content-Length: 1e3\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {501, POST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, POST "Transfer-Encoding: chunked, identity\r\n\r\n"},
    {501, POST "Transfer-Encoding: identity\r\n\r\n"},
    {501, POST "Transfer-Encoding: xchunked\r\n\r\n"},
    {501, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"},
    {501, POST "Transfer-Encoding:\r\n\r\n"},
    {400, POST "Transfer-Encoding: chun\x0bked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {413, POST "Content-Length: 1048577\r\n\r\n"},
    {413, POST "Content-Length: 18446744073709551618\r\n\r\n"},
    {413, POST "Content-Length: 99999999999999999999999999999999\r\n\r\n"},
    /* how long is a chunk? */
    {400, CHUNKED "x\r\n"},
    {400, CHUNKED "\r\n"},
    {400, CHUNKED "-1\r\n"},
    {400, CHUNKED "+1\r\n"},
    {400, CHUNKED "0x1\r\n"},
    {400, CHUNKED " 1\r\n"},
    {400, CHUNKED "1 \r\n"},
    {400, CHUNKED "1 ;a\r\n"},
    {400, CHUNKED "1\na\r\n"},
    {400, CHUNKED "1;a\nb\r\n"},
    {400, CHUNKED "1;a\rb\r\n"},
    {400, CHUNKED "1\r\nab\r\n"},
    {400, CHUNKED "1\r\na\n0\r\n\r\n"},
    {400, CHUNKED "0\r\nbad trailer\r\n\r\n"},
    {400, CHUNKED "0\r\n folded: 1\r\n\r\n"},
    {400, CHUNKED "0\r\na: 1\n\r\n"},
    {400, CHUNKED "0\n\r\n"},
    {413, CHUNKED "100001\r\n"},
    {413, CHUNKED "ffffffffffffffff1\r\n"},
    {413, CHUNKED "10000000000000001\r\n"},
    /* which header is it? */
    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\n\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\x80: z\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fz\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: money\r\n\r\n"},
    /* is it a request? */
    {400, "GET /\r\n"},
    {400, "GET\r\n"},
    {400, "\r\n"},
    {400, "\n"},
    {400, " GET / HTTP/1.1\r\n"},
    {400, "get / HTTP/1.1\r\n"},
    {400, "G\tET / HTTP/1.1\r\n"},
    {400, "GET  / HTTP/1.1\r\n"},
    {400, "GET / HTTP/1.1 \r\n"},
    {400, "GET /  HTTP/1.1\r\n"},
    {400, "GET /a b HTTP/1.1\r\n"},
    {400, "GET /\x80 HTTP/1.1\r\n"},
    {400, "GET /\x01 HTTP/1.1\r\n"},
    {400, "GET a HTTP/1.1\r\n"},
    {400, "GET https://a/ HTTP/1.1\r\n"},
    {400, "CONNECT a:80 HTTP/1.1\r\n"},
    {400, "GET / HTTP/1.x\r\n"},
    {400, "GET / HTTP/11\r\n"},
    {400, "GET / http/1.1\r\n"},
    {505, "GET / HTTP/1.2\r\n"},
    {505, "GET / HTTP/2.0\r\n"},
    {505, "GET / HTTP/0.9\r\n"},
    {505, "PRI * HTTP/2.0\r\n"},
    {400, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJK"},
    /* other tongues, at their first words */
    {400, "*1\r\n$4\r\nPING\r\n"},
    {400, "*"},
    {400, "PING\r\n"},
    {400, "\x16\x03\x01"},
    {400, "\x80"},
};

static void what_is_ambiguous_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        enum tly_result result = parse(tly_slice_text(bad[i].in));
        if (result != TLY_BAD_MESSAGE || request.status != bad[i].status)
            print_message("case %zu: result %d, status %d: %s\n", i, (int)result, request.status, bad[i].in);
        assert_int_equal(result, TLY_BAD_MESSAGE);
        assert_int_equal(request.status, bad[i].status);
        assert_non_null(request.error);
    }
}

/* The same verdict comes however the bytes trickle in, if perhaps earlier. */
static void what_is_ambiguous_is_refused_in_pieces_too(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tly_slice in = tly_slice_text(bad[i].in);
        enum tly_result result = TLY_MORE;
        scan = (struct tly_http_scan){0};
        for (size_t n = 1; result == TLY_MORE && n <= in.n; n++)
            result = tly_http_parse(tly_slice_of(in.p, n), &scan, &request);
        assert_int_equal(result, TLY_BAD_MESSAGE);
        assert_int_equal(request.status, bad[i].status);
    }
}

static void a_zero_byte_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                                        CHUNKED "1;x=y\r\na\r\n0\r\nT: 1\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t at = 0; at < strlen(texts[i]); at++) {
            char text[256];
            memcpy(text, texts[i], strlen(texts[i]) + 1);
            bool is_data = i == 1 && strncmp(text + at, "a\r\n0", 4) == 0;
            text[at] = '\0';
            enum tly_result result = parse(tly_slice_of(text, strlen(texts[i])));
            assert_true(is_data ? result == TLY_OK : result == TLY_BAD_MESSAGE || result == TLY_MORE);
        }
    }
}

/* The input ends where readable memory ends. */
static void every_strict_prefix_wants_more(void **state)
{
    (void)state;
    struct test_guard *guard = test_guard_new(4096);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (size_t cut = 0; cut < strlen(good[i].in); cut++) {
            const uint8_t *p = test_guard_place(guard, good[i].in, cut);
            assert_int_equal(parse(tly_slice_of(p, cut)), TLY_MORE);
        }
    }
    test_guard_free(guard);
}

static void a_request_in_two_pieces_reads_as_a_whole_one(void **state)
{
    (void)state;
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        for (size_t cut = 0; cut < in.n; cut++) {
            assert_int_equal(parse(tly_slice_of(in.p, cut)), TLY_MORE);
            assert_int_equal(tly_http_parse(in, &scan, &request), TLY_OK);
            assert_int_equal(request.bytes, in.n);
            assert_string_equal(shown(text), good[i].shown);
        }
    }
}

static void a_request_byte_by_byte_reads_as_a_whole_one(void **state)
{
    (void)state;
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        enum tly_result result = parse(tly_slice_of(in.p, 0));
        for (size_t n = 1; result == TLY_MORE && n <= in.n; n++)
            result = tly_http_parse(tly_slice_of(in.p, n), &scan, &request);
        assert_int_equal(result, TLY_OK);
        assert_string_equal(shown(text), good[i].shown);
    }
}

static void what_follows_a_request_is_left_alone(void **state)
{
    (void)state;
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int n = snprintf(text, sizeof text, "%sGET /next HTTP/1.1\r\n", good[i].in);
        assert_int_equal(parse(tly_slice_of(text, (size_t)n)), TLY_OK);
        assert_int_equal(request.bytes, strlen(good[i].in));
    }
}

static void headers_are_found_whatever_their_case(void **state)
{
    (void)state;
    assert_int_equal(
        parse(tly_slice_text("GET / HTTP/1.1\r\nHOST: a\r\nX-Real-Ip:  1.2.3.4 \r\nEmpty:\r\n\r\n")), TLY_OK);
    assert_true(tly_slice_equal(tly_http_header(&request, "host"), tly_slice_text("a")));
    assert_true(tly_slice_equal(tly_http_header(&request, "x-real-ip"), tly_slice_text("1.2.3.4")));
    assert_non_null(tly_http_header(&request, "empty").p);
    assert_int_equal(tly_http_header(&request, "empty").n, 0);
    assert_null(tly_http_header(&request, "x-real").p);
}

static void who_waits_to_be_asked_is_asked_once(void **state)
{
    (void)state;
    struct tly_slice in = tly_slice_text(POST "Content-Length: 4\r\nExpect: 100-Continue\r\n\r\nabcd");
    assert_int_equal(parse(tly_slice_of(in.p, in.n - 5)), TLY_MORE);
    assert_false(request.wants_continue);
    assert_int_equal(tly_http_parse(tly_slice_of(in.p, in.n - 4), &scan, &request), TLY_MORE);
    assert_true(request.wants_continue);
    assert_int_equal(tly_http_parse(tly_slice_of(in.p, in.n - 2), &scan, &request), TLY_MORE);
    assert_false(request.wants_continue);
    assert_int_equal(tly_http_parse(in, &scan, &request), TLY_OK);
}

/* A request line of n bytes with its end, then headers; into a buffer of the test. */
static struct tly_slice long_line(char *text, size_t n)
{
    memcpy(text, "GET /", 5);
    memset(text + 5, 'a', n);
    memcpy(text + n - 11, " HTTP/1.1\r\n", 11);
    memcpy(text + n, "Host: a\r\n\r\n", 11);
    return tly_slice_of(text, n + 11);
}

static void the_longest_request_line_is_taken_and_a_longer_one_is_not(void **state)
{
    (void)state;
    char *text = malloc(TLY_HTTP_LINE_BYTES_MAX + 64);
    assert_non_null(text);
    assert_int_equal(parse(long_line(text, TLY_HTTP_LINE_BYTES_MAX)), TLY_OK);
    assert_int_equal(parse(long_line(text, TLY_HTTP_LINE_BYTES_MAX + 1)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 414);
    assert_int_equal(parse(tly_slice_of(text, TLY_HTTP_LINE_BYTES_MAX - 20)), TLY_MORE);
    memset(text + 5, 'a', TLY_HTTP_LINE_BYTES_MAX);
    assert_int_equal(parse(tly_slice_of(text, TLY_HTTP_LINE_BYTES_MAX + 1)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 414);
    free(text);
}

static struct tly_slice with_headers(char *text, size_t count, size_t bytes)
{
    size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n"), begin = n;
    for (size_t i = 0; i + 1 < count; i++)
        n += (size_t)sprintf(text + n, "X%zu: 1\r\n", i);
    n += (size_t)sprintf(text + n, "Host: ");
    while (n - begin + 4 < bytes)
        text[n++] = 'h';
    n += (size_t)sprintf(text + n, "\r\n\r\n");
    return tly_slice_of(text, n);
}

static void as_many_headers_as_may_be_are_taken_and_one_more_is_not(void **state)
{
    (void)state;
    char *text = malloc(TLY_HTTP_HEAD_BYTES_MAX + 4096);
    assert_non_null(text);
    assert_int_equal(parse(with_headers(text, TLY_HTTP_HEADERS_MAX, 0)), TLY_OK);
    assert_int_equal(request.header_count, TLY_HTTP_HEADERS_MAX);
    assert_int_equal(parse(with_headers(text, TLY_HTTP_HEADERS_MAX + 1, 0)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 431);
    free(text);
}

static void the_largest_head_is_taken_and_a_larger_one_is_not(void **state)
{
    (void)state;
    char *text = malloc(TLY_HTTP_HEAD_BYTES_MAX + 4096);
    assert_non_null(text);
    assert_int_equal(parse(with_headers(text, 3, TLY_HTTP_HEAD_BYTES_MAX)), TLY_OK);
    assert_int_equal(parse(with_headers(text, 3, TLY_HTTP_HEAD_BYTES_MAX + 1)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 431);
    struct tly_slice endless = with_headers(text, 3, TLY_HTTP_HEAD_BYTES_MAX + 100);
    assert_int_equal(parse(tly_slice_of(endless.p, endless.n - 4)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 431);
    free(text);
}

static void the_largest_body_is_taken_and_a_larger_one_is_not(void **state)
{
    (void)state;
    size_t size = TLY_HTTP_BODY_BYTES_MAX;
    char *text = malloc(size + 256);
    assert_non_null(text);
    size_t n = (size_t)sprintf(text, POST "Content-Length: %zu\r\n\r\n", size);
    memset(text + n, 'b', size);
    assert_int_equal(parse(tly_slice_of(text, n + size - 1)), TLY_MORE);
    assert_int_equal(tly_http_parse(tly_slice_of(text, n + size), &scan, &request), TLY_OK);
    assert_int_equal(request.body.n, size);
    n = (size_t)sprintf(text, CHUNKED "%zx\r\n", size);
    memset(text + n, 'b', size);
    n += size;
    n += (size_t)sprintf(text + n, "\r\n0\r\n\r\n");
    assert_int_equal(parse(tly_slice_of(text, n)), TLY_OK);
    memcpy(text + n - 5, "1\r\nx\r\n", 6);
    assert_int_equal(parse(tly_slice_of(text, n + 1)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 413);
    free(text);
}

/* One byte in a chunk takes six: what is small in bytes of body is not small on the wire. */
static void too_many_chunks_are_refused(void **state)
{
    (void)state;
    size_t chunks = 250000, n;
    char *text = malloc(chunks * 6 + 256);
    assert_non_null(text);
    n = (size_t)sprintf(text, CHUNKED);
    for (size_t i = 0; i < chunks; i++, n += 6)
        memcpy(text + n, "1\r\nx\r\n", 6);
    assert_int_equal(parse(tly_slice_of(text, n)), TLY_BAD_MESSAGE);
    assert_int_equal(request.status, 413);
    free(text);
}

/* Whether its end is here or not: a request is not judged by how it happened to be cut. */
static void an_endless_chunk_head_is_refused(void **state)
{
    (void)state;
    char text[4096];
    size_t n = (size_t)sprintf(text, CHUNKED "1;"), line = n - 2;
    memset(text + n, 'e', 2 * TLY_HTTP_CHUNK_LINE_BYTES_MAX);
    memcpy(text + line + TLY_HTTP_CHUNK_LINE_BYTES_MAX - 2, "\r\nx\r\n0\r\n\r\n", 10);
    assert_int_equal(parse(tly_slice_of(text, line + TLY_HTTP_CHUNK_LINE_BYTES_MAX + 8)), TLY_OK);
    memset(text + n, 'e', 2 * TLY_HTTP_CHUNK_LINE_BYTES_MAX);
    memcpy(text + line + TLY_HTTP_CHUNK_LINE_BYTES_MAX - 1, "\r\nx\r\n0\r\n\r\n", 10);
    for (size_t more = 1; more < 10; more++) {
        assert_int_equal(parse(tly_slice_of(text, line + TLY_HTTP_CHUNK_LINE_BYTES_MAX + more)),
                         TLY_BAD_MESSAGE);
        assert_int_equal(request.status, 400);
    }
}

/* ---- texts ---- */

static void percent_encoding_is_undone(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        bool is_query;
    } cases[] = {
        {"a%20b", "a b", false}, {"a+b", "a+b", false}, {"a+b", "a b", true},   {"%41%6a", "Aj", false},
        {"", "", false},         {"%2B", "+", true},    {"%25%32", "%2", true},
    };
    uint8_t out[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = tly_http_decode(tly_slice_text(cases[i].in), cases[i].is_query, out);
        assert_true(tly_slice_equal(tly_slice_of(out, n), tly_slice_text(cases[i].out)));
    }
    static const char *const malformed[] = {"%", "%1", "a%", "%x1", "%1x", "%%41", "%-1"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        assert_true(tly_http_decode(tly_slice_text(malformed[i]), false, out) == SIZE_MAX);
}

static void a_query_comes_apart(void **state)
{
    (void)state;
    struct tly_slice query = tly_slice_text("&a=1&&b&c=&=d&e=f=g&"), name, value;
    static const char *const expected[][2] = {{"a", "1"}, {"b", ""}, {"c", ""}, {"", "d"}, {"e", "f=g"}};
    size_t at = 0;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(tly_http_query_next(query, &at, &name, &value));
        assert_true(tly_slice_equal(name, tly_slice_text(expected[i][0])));
        assert_true(tly_slice_equal(value, tly_slice_text(expected[i][1])));
    }
    assert_false(tly_http_query_next(query, &at, &name, &value));
}

/* ---- mutants ---- */

static size_t mutate(struct test_rng *rng, uint8_t *bytes, size_t n, size_t max)
{
    static const char likely[] = "\r\n :;,\t0123456789abcdefABCDEF/?%chunked";
    for (uint64_t changes = 1 + test_rng_below(rng, 4); changes > 0 && n > 0; changes--) {
        size_t at = (size_t)test_rng_below(rng, n);
        switch (test_rng_below(rng, 5)) {
        case 0: bytes[at] = (uint8_t)test_rng_next(rng); break;
        case 1: bytes[at] = (uint8_t)likely[test_rng_below(rng, sizeof likely - 1)]; break;
        case 2: n = at; break;
        case 3:
            memmove(bytes + at, bytes + at + 1, n - at - 1);
            n--;
            break;
        default:
            if (n * 2 - at > max) break;
            memmove(bytes + n, bytes + at, n - at);
            n += n - at;
        }
    }
    return n;
}

static void check_found(struct tly_slice in)
{
    claim(request.bytes > 0 && request.bytes <= in.n);
    claim(request.method.p >= in.p && request.method.p + request.method.n <= in.p + in.n);
    claim(request.body.n == 0 || request.body.p + request.body.n == in.p + request.bytes);
    struct tly_slice piece;
    size_t total = 0;
    for (size_t at = 0; tly_http_body_next(&request, &at, &piece); total += piece.n)
        claim(piece.p >= in.p && piece.p + piece.n <= in.p + request.bytes);
    claim(total <= request.body.n);
}

/* What is read whole is also read in two pieces, with the same end. */
static void mutants_are_refused_or_read_but_never_beyond_their_end(void **state)
{
    (void)state;
    struct test_guard *guard = test_guard_new(4096);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t seen[3] = {0};
    for (size_t i = 0; i < 100000; i++) {
        uint8_t bytes[1024];
        const char *from = good[test_rng_below(&rng, sizeof good / sizeof *good)].in;
        size_t n = strlen(from);
        memcpy(bytes, from, n);
        n = mutate(&rng, bytes, n, sizeof bytes);
        struct tly_slice in = tly_slice_of(test_guard_place(guard, bytes, n), n);
        enum tly_result result = parse(in);
        claim(result == TLY_OK || result == TLY_MORE || result == TLY_BAD_MESSAGE);
        seen[result == TLY_OK ? 0 : result == TLY_MORE ? 1 : 2]++;
        if (result != TLY_OK) continue;
        check_found(in);
        size_t end = request.bytes;
        claim(parse(tly_slice_of(in.p, (size_t)test_rng_below(&rng, end))) == TLY_MORE);
        claim(tly_http_parse(in, &scan, &request) == TLY_OK && request.bytes == end);
    }
    claim(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
    test_guard_free(guard);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        CASE(requests_read_as_they_were_written),
        CASE(what_is_ambiguous_is_refused),
        CASE(what_is_ambiguous_is_refused_in_pieces_too),
        CASE(a_zero_byte_is_refused_wherever_it_stands),
        CASE(every_strict_prefix_wants_more),
        CASE(a_request_in_two_pieces_reads_as_a_whole_one),
        CASE(a_request_byte_by_byte_reads_as_a_whole_one),
        CASE(what_follows_a_request_is_left_alone),
        CASE(headers_are_found_whatever_their_case),
        CASE(who_waits_to_be_asked_is_asked_once),
        CASE(the_longest_request_line_is_taken_and_a_longer_one_is_not),
        CASE(as_many_headers_as_may_be_are_taken_and_one_more_is_not),
        CASE(the_largest_head_is_taken_and_a_larger_one_is_not),
        CASE(the_largest_body_is_taken_and_a_larger_one_is_not),
        CASE(too_many_chunks_are_refused),
        CASE(an_endless_chunk_head_is_refused),
        CASE(percent_encoding_is_undone),
        CASE(a_query_comes_apart),
        CASE(mutants_are_refused_or_read_but_never_beyond_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
