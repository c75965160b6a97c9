/* The HTTP decoder: its limits, what it finds in a head, and the small texts of targets. */
#include "service/shell/http_parse.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

static struct tly_http_scan scan;
static struct tly_http_request request;

static enum tly_result parse(struct tly_slice in)
{
    scan = (struct tly_http_scan){0};
    return tly_http_parse(in, &scan, &request);
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

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
    uint8_t room[64];
    struct tly_http_query query = {tly_slice_text("&a=1&&b&c=&=d&e=f=g&%61+%3D=%26%31&"), room};
    static const char *const expected[][2] = {{"a", "1"}, {"b", ""},    {"c", ""},
                                              {"", "d"},  {"e", "f=g"}, {"a =", "&1"}};
    struct tly_slice name[7], value[7];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_true(tly_http_query_next(&query, &name[i], &value[i]));
    assert_false(tly_http_query_next(&query, &name[6], &value[6]));
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(tly_slice_equal(name[i], tly_slice_text(expected[i][0])));
        assert_true(tly_slice_equal(value[i], tly_slice_text(expected[i][1])));
    }
    query = (struct tly_http_query){tly_slice_text("a=1&b=%zz&c=2"), room};
    assert_true(tly_http_query_next(&query, name, value));
    assert_false(tly_http_query_next(&query, name, value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_found_whatever_their_case),
        cmocka_unit_test(who_waits_to_be_asked_is_asked_once),
        cmocka_unit_test(the_longest_request_line_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(as_many_headers_as_may_be_are_taken_and_one_more_is_not),
        cmocka_unit_test(the_largest_head_is_taken_and_a_larger_one_is_not),
        cmocka_unit_test(the_largest_body_is_taken_and_a_larger_one_is_not),
        cmocka_unit_test(too_many_chunks_are_refused),
        cmocka_unit_test(an_endless_chunk_head_is_refused),
        cmocka_unit_test(percent_encoding_is_undone),
        cmocka_unit_test(a_query_comes_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
