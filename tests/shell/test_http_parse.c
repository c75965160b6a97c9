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
    {"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", "GET|/||close|"},
    {"GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", "GET|/||close|"},
    {"GET http://host:80/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/p|q|keep|"},
    {"GET HTTP://host HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/||keep|"},
    {"GET http://host?q=/p HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/|q=/p|keep|"},
    {"GET http://host/?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/|q|keep|"},
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

/* RFC 9112, 3.2.2: of a target that has one, whatever the header says. */
static void the_host_is_that_of_the_target_first(void **state)
{
    (void)state;
    static const struct {
        const char *in, *host;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", "a:80"},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", ""},
        {"GET http://b:81/c HTTP/1.1\r\nHost: a\r\n\r\n", "b:81"},
        {"GET http://b?c HTTP/1.0\r\n\r\n", "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(tly_slice_text(cases[i].in)), TLY_OK);
        assert_non_null(request.host.p);
        assert_true(tly_slice_equal(request.host, tly_slice_text(cases[i].host)));
    }
    assert_int_equal(parse(tly_slice_text("GET / HTTP/1.0\r\n\r\n")), TLY_OK);
    assert_null(request.host.p);
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
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: <a>\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a?b\r\n\r\n"},
    {400, "GET http://u@a/ HTTP/1.1\r\n"},
    {400, "GET http://a#b HTTP/1.1\r\n"},
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
    {400, "GET http:// HTTP/1.1\r\n"},
    {400, "GET http:///a HTTP/1.1\r\n"},
    {400, "GET http://?a HTTP/1.1\r\n"},
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

/* Whether a request with this byte in the middle of what the pattern has a '$' for is taken. */
static bool is_taken_with(const char *pattern, int byte)
{
    char text[128];
    size_t n = strlen(pattern);
    memcpy(text, pattern, n);
    *(char *)memchr(text, '$', n) = (char)byte;
    return parse(tly_slice_of(text, n)) == TLY_OK;
}

static bool is_of_a_host(int c)
{
    return c != 0 && c < 0x80 &&
           strchr("-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c) !=
               NULL;
}

static bool is_tchar(int c)
{
    return c != 0 && c < 0x80 &&
           strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c) != NULL;
}

static void each_byte_stands_where_it_may(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool is_text = c == '\t' || (c >= ' ' && c != 0x7f), is_seen = c > ' ' && c < 0x7f;
        assert_int_equal(is_taken_with("GET /a$b HTTP/1.1\r\nHost: h\r\n\r\n", c), is_seen);
        assert_int_equal(is_taken_with("GET / HTTP/1.1\r\nHost: h\r\na$b: c\r\n\r\n", c),
                         is_tchar(c) || c == ':');
        assert_int_equal(is_taken_with("GET / HTTP/1.1\r\nHost: h\r\na: b$c\r\n\r\n", c), is_text);
        assert_int_equal(is_taken_with("GET / HTTP/1.1\r\nHost: a$b\r\n\r\n", c), is_of_a_host(c));
    }
}

static void a_request_in_two_pieces_reads_as_a_whole_one(void **state)
{
    (void)state;
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        for (size_t cut = 0; cut < in.n; cut++) {
            assert_int_equal(parse(tly_slice_of(in.p, cut)), TLY_MORE);
            memset(&request, 0, sizeof request); /* between two reads only the scan is kept */
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
        CASE(the_host_is_that_of_the_target_first),
        CASE(what_is_ambiguous_is_refused),
        CASE(what_is_ambiguous_is_refused_in_pieces_too),
        CASE(a_zero_byte_is_refused_wherever_it_stands),
        CASE(every_strict_prefix_wants_more),
        CASE(each_byte_stands_where_it_may),
        CASE(a_request_in_two_pieces_reads_as_a_whole_one),
        CASE(a_request_byte_by_byte_reads_as_a_whole_one),
        CASE(what_follows_a_request_is_left_alone),
        CASE(mutants_are_refused_or_read_but_never_beyond_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
