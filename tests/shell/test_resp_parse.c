/* The RESP decoder: what it takes, what it refuses, where it stops, and that it never looks too far. */
#include "service/shell/resp_parse.h"
#include "tests/support/cmocka.h"
#include "tests/support/guard.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

struct scene {
    struct tly_buf scratch;
    struct tly_resp_scan scan;
    struct tly_slice arg[TLY_RESP_ARGS_MAX];
    struct tly_resp_request request;
};

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    struct scene *scene = calloc(1, sizeof *scene);
    if (scene == NULL) return -1;
    tly_buf_init(&scene->scratch, &mem, TLY_RESP_LINE_BYTES_MAX);
    scene->request.arg = scene->arg;
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    tly_buf_fini(&scene->scratch);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

static enum tly_result parse(struct scene *scene, struct tly_slice in)
{
    scene->scan = (struct tly_resp_scan){0};
    return tly_resp_parse(in, &scene->scan, &scene->scratch, &scene->request);
}

/* Arguments as one text: [a][b]. */
static const char *shown(const struct tly_resp_request *request, char *text)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < request->count; i++)
        n += (size_t)sprintf(text + n, "[%.*s]", (int)request->arg[i].n, (const char *)request->arg[i].p);
    return text;
}

static const struct {
    const char *in, *args;
} good[] = {
    {"*1\r\n$4\r\nPING\r\n", "[PING]"},
    {"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", "[ECHO][hi]"},
    {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "[GET][]"},
    {"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n", "[GET][\r\n\r\n]"},
    {"*0\r\n", ""},
    {"*-1\r\n", ""},
    {"*-7\r\n", ""},
    {"PING\r\n", "[PING]"},
    {"PING\n", "[PING]"},
    {"\r\n", ""},
    {"\n", ""},
    {"   \t \r\n", ""},
    {"  set   a\tb  \r\n", "[set][a][b]"},
    {"set \"a b\" 'c d'\r\n", "[set][a b][c d]"},
    {"set \"\\x41\\n\\\"\\\\\" x\r\n", "[set][A\n\"\\][x]"},
    {"set \"\\r\\t\\b\\a\\q\"\r\n", "[set][\r\t\b\aq]"},
    {"set \"\\xg1\\x4\"\r\n", "[set][xg1x4]"},
    {"set 'a\\'b\\n'\r\n", "[set][a'b\\n]"},
    {"set \"\" ''\r\n", "[set][][]"},
    {"set a\"b c\"\r\n", "[set][ab c]"},
    {"$4\r\n", "[$4]"},
};

static void requests_read_as_redis_reads_them(void **state)
{
    struct scene *scene = *state;
    char text[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        assert_int_equal(parse(scene, in), TLY_OK);
        assert_int_equal(scene->request.bytes, in.n);
        assert_string_equal(shown(&scene->request, text), good[i].args);
        assert_int_equal(scene->scan.at, 0);
    }
}

static const struct {
    const char *in, *error;
} bad[] = {
    {"*x\r\n", "invalid multibulk length"},
    {"*\r\n", "invalid multibulk length"},
    {"*-\r\n", "invalid multibulk length"},
    {"*+1\r\n", "invalid multibulk length"},
    {"* 1\r\n", "invalid multibulk length"},
    {"*01\r\n", "invalid multibulk length"},
    {"*-0\r\n", "invalid multibulk length"},
    {"*1\n", "invalid multibulk length"},
    {"*1\rx", "invalid multibulk length"},
    {"*1025\r\n", "invalid multibulk length"},
    {"*2147483648\r\n", "invalid multibulk length"},
    {"*99999999999", "invalid multibulk length"},
    {"*1\r\nPING\r\n", "expected '$'"},
    {"*1\r\n:1\r\n", "expected '$'"},
    {"*1\r\n$x\r\n", "invalid bulk length"},
    {"*1\r\n$-1\r\n", "invalid bulk length"},
    {"*1\r\n$00\r\n", "invalid bulk length"},
    {"*1\r\n$66049\r\n", "invalid bulk length"},
    {"*1\r\n$4294967296\r\n", "invalid bulk length"},
    {"*1\r\n$99999999999", "invalid bulk length"},
    {"*1\r\n$4\r\nPINGxx", "expected CRLF after an argument"},
    {"*1\r\n$4\r\nPING\rx", "expected CRLF after an argument"},
    {"set \"a\r\n", "unbalanced quotes in request"},
    {"set 'a\r\n", "unbalanced quotes in request"},
    {"set \"a\"b\r\n", "unbalanced quotes in request"},
    {"\x16\x03\x01\x02", "unexpected byte"},
    {"\x80hello", "unexpected byte"},
    {"\x01", "unexpected byte"},
};

static void what_is_malformed_is_named(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(scene, tly_slice_text(bad[i].in)), TLY_BAD_MESSAGE);
        assert_string_equal(scene->request.error + strlen("Protocol error: "), bad[i].error);
    }
}

/* The input ends where readable memory ends. */
static void every_strict_prefix_wants_more(void **state)
{
    struct scene *scene = *state;
    struct test_guard *guard = test_guard_new(4096);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = strlen(good[i].in);
        for (size_t cut = 0; cut < n; cut++) {
            if (memchr(good[i].in, '\n', cut) != NULL && good[i].in[0] != '*') break;
            const uint8_t *p = test_guard_place(guard, good[i].in, cut);
            assert_int_equal(parse(scene, tly_slice_of(p, cut)), TLY_MORE);
        }
    }
    test_guard_free(guard);
}

static void a_request_in_two_pieces_reads_as_a_whole_one(void **state)
{
    struct scene *scene = *state;
    char text[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        for (size_t cut = 0; cut < in.n; cut++) {
            if (parse(scene, tly_slice_of(in.p, cut)) != TLY_MORE) continue;
            assert_int_equal(tly_resp_parse(in, &scene->scan, &scene->scratch, &scene->request), TLY_OK);
            assert_int_equal(scene->request.bytes, in.n);
            assert_string_equal(shown(&scene->request, text), good[i].args);
        }
    }
}

static void a_request_byte_by_byte_reads_as_a_whole_one(void **state)
{
    struct scene *scene = *state;
    char text[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tly_slice in = tly_slice_text(good[i].in);
        enum tly_result result = parse(scene, tly_slice_of(in.p, 0));
        for (size_t n = 1; result == TLY_MORE && n <= in.n; n++)
            result = tly_resp_parse(tly_slice_of(in.p, n), &scene->scan, &scene->scratch, &scene->request);
        assert_int_equal(result, TLY_OK);
        assert_string_equal(shown(&scene->request, text), good[i].args);
    }
}

/* "*2\r\n$3\r\nSET\r\n$N\r\n" and N bytes; the caller frees it. */
static struct tly_slice with_argument(size_t n)
{
    char *text = malloc(n + 64);
    assert_non_null(text);
    size_t head = (size_t)sprintf(text, "*2\r\n$3\r\nSET\r\n$%zu\r\n", n);
    memset(text + head, 'x', n);
    memcpy(text + head + n, "\r\n", 2);
    return tly_slice_of(text, head + n + 2);
}

static void release(struct tly_slice text)
{
    union {
        const uint8_t *given;
        void *block;
    } both = {.given = text.p};
    free(both.block);
}

static void the_largest_argument_is_taken_and_one_byte_more_is_not(void **state)
{
    struct scene *scene = *state;
    struct tly_slice fits = with_argument(TLY_RESP_ARG_BYTES_MAX),
                     larger = with_argument(TLY_RESP_ARG_BYTES_MAX + 1);
    assert_int_equal(parse(scene, fits), TLY_OK);
    assert_int_equal(scene->request.arg[1].n, TLY_RESP_ARG_BYTES_MAX);
    assert_int_equal(parse(scene, larger), TLY_BAD_MESSAGE);
    assert_string_equal(scene->request.error, "Protocol error: invalid bulk length");
    release(fits);
    release(larger);
}

/* The refusal comes with the length: nothing of the argument has to be sent. */
static void a_large_argument_is_waited_for_without_looking(void **state)
{
    struct scene *scene = *state;
    struct tly_slice in = with_argument(1000);
    assert_int_equal(parse(scene, tly_slice_of(in.p, 20)), TLY_MORE);
    assert_int_equal(scene->scan.need, in.n);
    assert_int_equal(scene->scan.seen, 1);
    release(in);
}

static struct tly_slice many_arguments(size_t count, size_t each)
{
    char *text = malloc(64 + count * (each + 16));
    assert_non_null(text);
    size_t n = (size_t)sprintf(text, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++) {
        n += (size_t)sprintf(text + n, "$%zu\r\n", each);
        memset(text + n, 'y', each);
        memcpy(text + n + each, "\r\n", 2);
        n += each + 2;
    }
    return tly_slice_of(text, n);
}

static void as_many_arguments_as_may_be_are_taken_and_one_more_is_not(void **state)
{
    struct scene *scene = *state;
    struct tly_slice fits = many_arguments(TLY_RESP_ARGS_MAX, 3),
                     more = many_arguments(TLY_RESP_ARGS_MAX + 1, 3);
    assert_int_equal(parse(scene, fits), TLY_OK);
    assert_int_equal(scene->request.count, TLY_RESP_ARGS_MAX);
    assert_int_equal(parse(scene, more), TLY_BAD_MESSAGE);
    release(fits);
    release(more);
}

static void a_request_is_refused_as_soon_as_it_cannot_fit(void **state)
{
    struct scene *scene = *state;
    struct tly_slice in = many_arguments(20, 60000);
    assert_int_equal(parse(scene, in), TLY_BAD_MESSAGE);
    assert_string_equal(scene->request.error, "Protocol error: too big request");
    assert_true(scene->scan.at < TLY_RESP_REQUEST_BYTES_MAX);
    release(in);
}

static void the_longest_line_is_taken_and_a_longer_one_is_not(void **state)
{
    struct scene *scene = *state;
    char *line = malloc(TLY_RESP_LINE_BYTES_MAX + 2);
    assert_non_null(line);
    memset(line, 'a', TLY_RESP_LINE_BYTES_MAX + 1);
    line[TLY_RESP_LINE_BYTES_MAX] = '\n';
    assert_int_equal(parse(scene, tly_slice_of(line, TLY_RESP_LINE_BYTES_MAX + 1)), TLY_OK);
    assert_int_equal(scene->request.arg[0].n, TLY_RESP_LINE_BYTES_MAX);
    line[TLY_RESP_LINE_BYTES_MAX] = 'a';
    assert_int_equal(parse(scene, tly_slice_of(line, TLY_RESP_LINE_BYTES_MAX)), TLY_MORE);
    assert_int_equal(parse(scene, tly_slice_of(line, TLY_RESP_LINE_BYTES_MAX + 1)), TLY_BAD_MESSAGE);
    assert_string_equal(scene->request.error, "Protocol error: too big inline request");
    free(line);
}

static void quoted_words_of_a_long_line_do_not_move_each_other(void **state)
{
    struct scene *scene = *state;
    char line[4096];
    size_t n = 0;
    for (size_t i = 0; i < 200; i++)
        n += (size_t)sprintf(line + n, "\"word %03zu\" ", i);
    line[n++] = '\n';
    assert_int_equal(parse(scene, tly_slice_of(line, n)), TLY_OK);
    assert_int_equal(scene->request.count, 200);
    for (size_t i = 0; i < 200; i++) {
        char word[16];
        (void)snprintf(word, sizeof word, "word %03zu", i);
        assert_true(tly_slice_equal(scene->request.arg[i], tly_slice_text(word)));
    }
}

static void unquoting_without_memory_says_so(void **state)
{
    struct scene *scene = *state;
    struct test_failing failing = {0};
    struct tly_mem mem = test_failing_mem(&failing);
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_RESP_LINE_BYTES_MAX);
    scene->scan = (struct tly_resp_scan){0};
    assert_int_equal(tly_resp_parse(tly_slice_text("a \"b\"\n"), &scene->scan, &scratch, &scene->request),
                     TLY_NOMEM);
    assert_true(failing.failed);
    tly_buf_fini(&scratch);
}

static bool lies_within(struct tly_slice part, struct tly_slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* A good request with some bytes changed, taken out, doubled or cut. */
static size_t mutate(struct test_rng *rng, uint8_t *bytes, size_t n, size_t max)
{
    for (uint64_t changes = 1 + test_rng_below(rng, 4); changes > 0 && n > 0; changes--) {
        size_t at = (size_t)test_rng_below(rng, n);
        switch (test_rng_below(rng, 4)) {
        case 0: bytes[at] = (uint8_t)test_rng_next(rng); break;
        case 1: bytes[at] = (uint8_t) "*$\r\n019-\"'\\ "[test_rng_below(rng, 13)]; break;
        case 2: n = at; break;
        default:
            if (n * 2 - at > max) break;
            memmove(bytes + n, bytes + at, n - at);
            n += n - at;
        }
    }
    return n;
}

/* What is all here at once is read by shorter code than what comes behind its head. */
static void must_read_alike_behind_its_head(struct scene *scene, struct tly_slice in, enum tly_result result)
{
    struct tly_resp_request whole = scene->request;
    struct tly_slice args[TLY_RESP_ARGS_MAX];
    size_t head = 4;
    if (in.n <= head || in.p[0] != '*' || parse(scene, tly_slice_of(in.p, head)) != TLY_MORE) return;
    if (result == TLY_OK) memcpy(args, scene->arg, whole.count * sizeof args[0]);
    /* Of what is not whole it may be said later that it never will be. */
    bool is_read = tly_resp_parse(in, &scene->scan, &scene->scratch, &scene->request) == TLY_OK;
    claim(is_read == (result == TLY_OK));
    if (!is_read) return;
    claim(scene->request.bytes == whole.bytes && scene->request.count == whole.count);
    for (size_t i = 0; i < whole.count; i++)
        claim(scene->arg[i].p == args[i].p && scene->arg[i].n == args[i].n);
    scene->request = whole;
}

/* What is read in the frame of the request before it is what would be read without. */
static void must_read_alike_in_a_frame(struct scene *scene, struct tly_slice before, size_t number,
                                       struct tly_slice in, size_t seen[2])
{
    claim(parse(scene, before) == TLY_OK && number < scene->request.count);
    struct tly_resp_frame frame = tly_resp_frame_of(before.p, &scene->request, number);
    struct tly_resp_request first = scene->request;
    struct tly_slice args[16], own;
    memcpy(args, scene->arg, first.count * sizeof args[0]);
    size_t bytes = frame.head.n > 0 ? tly_resp_parse_framed(in, &frame, &own) : 0;
    seen[bytes != 0]++;
    if (bytes == 0) return;
    claim(parse(scene, in) == TLY_OK);
    claim(scene->request.bytes == bytes && scene->request.count == first.count && !scene->request.is_inline);
    claim(scene->arg[number].p == own.p && scene->arg[number].n == own.n);
    for (size_t i = 0; i < first.count; i++)
        claim(i == number || tly_slice_equal(scene->arg[i], args[i]));
}

/* A request with another argument in one place, and then with some bytes changed. */
static void what_repeats_a_request_is_read_as_it_would_be_alone(void **state)
{
    static const struct {
        const char *head, *tail;
    } models[] = {
        {"*6\r\n$11\r\nCL.THROTTLE\r\n", "$2\r\n15\r\n$2\r\n30\r\n$2\r\n60\r\n$1\r\n1\r\n"},
        {"*2\r\n$4\r\nINCR\r\n", ""},
        {"*3\r\n$1\r\nx\r\n", "$0\r\n\r\n"},
    };
    static const char letters[] =
        "$1\r\n0*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct scene *scene = *state;
    struct test_guard *guard = test_guard_new(4096);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t seen[2] = {0};
    for (size_t i = 0; i < 100000; i++) {
        char before[512], bytes[1024];
        size_t model = (size_t)test_rng_below(&rng, sizeof models / sizeof *models);
        size_t length = (size_t)test_rng_below(&rng, 110), other = (size_t)test_rng_below(&rng, 110);
        size_t from = (size_t)test_rng_below(&rng, 8);
        size_t m = (size_t)snprintf(before, sizeof before, "%s$%zu\r\n%.*s\r\n%s", models[model].head, length,
                                    (int)length, letters + from, models[model].tail);
        size_t n = (size_t)snprintf(bytes, sizeof bytes, "%s$%zu\r\n%.*s\r\n%s", models[model].head, other,
                                    (int)other, letters, models[model].tail);
        if (test_rng_below(&rng, 2) == 0) n = mutate(&rng, (uint8_t *)bytes, n, sizeof bytes);
        if (test_rng_below(&rng, 4) == 0) n += (size_t)sprintf(bytes + n, "*1\r\n$4");
        struct tly_slice in = tly_slice_of(test_guard_place(guard, (uint8_t *)bytes, n), n);
        must_read_alike_in_a_frame(scene, tly_slice_of(before, m), 1, in, seen);
    }
    claim(seen[0] > 10000 && seen[1] > 10000);
    test_guard_free(guard);
}

static void mutants_are_refused_or_read_but_never_beyond_their_end(void **state)
{
    struct scene *scene = *state;
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
        enum tly_result result = parse(scene, in);
        claim(result == TLY_OK || result == TLY_MORE || result == TLY_BAD_MESSAGE);
        seen[result == TLY_OK ? 0 : result == TLY_MORE ? 1 : 2]++;
        must_read_alike_behind_its_head(scene, in, result);
        if (result != TLY_OK) continue;
        claim(scene->request.bytes > 0 && scene->request.bytes <= n);
        for (size_t arg = 0; arg < scene->request.count; arg++)
            claim(lies_within(scene->request.arg[arg], in) ||
                  lies_within(scene->request.arg[arg], tly_buf_slice(&scene->scratch)));
    }
    claim(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
    test_guard_free(guard);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(requests_read_as_redis_reads_them),
        SCENE(what_is_malformed_is_named),
        SCENE(every_strict_prefix_wants_more),
        SCENE(a_request_in_two_pieces_reads_as_a_whole_one),
        SCENE(a_request_byte_by_byte_reads_as_a_whole_one),
        SCENE(the_largest_argument_is_taken_and_one_byte_more_is_not),
        SCENE(a_large_argument_is_waited_for_without_looking),
        SCENE(as_many_arguments_as_may_be_are_taken_and_one_more_is_not),
        SCENE(a_request_is_refused_as_soon_as_it_cannot_fit),
        SCENE(the_longest_line_is_taken_and_a_longer_one_is_not),
        SCENE(quoted_words_of_a_long_line_do_not_move_each_other),
        SCENE(unquoting_without_memory_says_so),
        SCENE(mutants_are_refused_or_read_but_never_beyond_their_end),
        SCENE(what_repeats_a_request_is_read_as_it_would_be_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
