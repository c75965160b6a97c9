/* Pipelines, pieces, limits, garbage and other tongues. */
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <stdlib.h>

/* All kinds of requests, a pipeline. */
static const char pipeline[] = "*3\r\n$3\r\nSET\r\n$4\r\nkv:a\r\n$5\r\nh\r\nlo\r\n"
                               "*2\r\n$3\r\nGET\r\n$4\r\nkv:a\r\n"
                               "INCR n\r\n"
                               "*0\r\n"
                               "\r\n"
                               "echo \"a b\"\r\n"
                               "*1\r\n$4\r\nNOPE\r\n"
                               "*5\r\n$11\r\nCL.THROTTLE\r\n$1\r\nu\r\n$1\r\n3\r\n$1\r\n5\r\n$2\r\n10\r\n"
                               "*2\r\n$4\r\nMGET\r\n$1\r\nn\r\n"
                               "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nPING\r\n";

static const char answers[] = "+OK\r\n$5\r\nh\r\nlo\r\n:1\r\n$3\r\na b\r\n"
                              "-ERR unknown command 'NOPE', with args beginning with: \r\n"
                              "*5\r\n:0\r\n:4\r\n:3\r\n:-1\r\n:2\r\n*1\r\n$1\r\n1\r\n:2\r\n+PONG\r\n";

static void a_pipeline_cut_at_every_byte_gets_the_same_answers(void **state)
{
    (void)state;
    scene_cut_everywhere(tly_resp_protocol(), pipeline, answers, false);
}

static void a_pipeline_byte_by_byte_gets_the_same_answers(void **state)
{
    scene_byte_by_byte(*state, pipeline, answers);
}

static void ten_thousand_in_one_go_are_answered_in_order(void **state)
{
    struct scene *scene = *state;
    size_t count = 10000, n = 0, at = 0;
    char *said = malloc(count * 32);
    assert_non_null(said);
    for (size_t i = 0; i < count; i++)
        n += (size_t)sprintf(said + n, "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n");
    struct tly_slice got = talk_say_bytes(scene->talk, tly_slice_of(said, n));
    for (size_t i = 1; i <= count; i++) {
        char expected[32];
        size_t m = (size_t)sprintf(expected, ":%zu\r\n", i);
        assert_true(got.n - at >= m && memcmp(got.p + at, expected, m) == 0);
        at += m;
    }
    assert_int_equal(at, got.n);
    assert_int_equal(talk_requests(scene->talk), count);
    free(said);
}

/* An array of words, each with a blank behind it; `@` in them stands for this speaker, whose keys begin so. */
static size_t put_request(char *to, const char *words, char speaker)
{
    char text[1024];
    size_t count = 0, n = 0;
    for (const char *word = words; *word != '\0'; count++) {
        size_t length = strcspn(word, " ");
        n += (size_t)sprintf(text + n, "$%zu\r\n%.*s\r\n", length, (int)length, word);
        word += length + 1;
    }
    for (size_t i = 0; i < n; i++)
        if (text[i] == '@') text[i] = speaker;
    size_t head = (size_t)sprintf(to, "*%zu\r\n", count);
    memcpy(to + head, text, n);
    return head + n;
}

/* Much like the one before it: mostly another key, now and then another number, command or number of arguments. */
static void draw_request(struct test_rng *rng, char *words)
{
    static const char *const forms[] = {
        "CL.THROTTLE # 3 % 60 ",
        "CL.THROTTLE # 3 % 60 1 ",
        "CL.THROTTLE # % 2 6 ",
        "THROTTLE # 3 % 60 ",
        "cl.throttle # x % 60 ",
        "INCRBY # % ",
        "INCR # ",
        "MGET # @a @b ",
        "DEL # @a ",
    };
    static const char *const others[] = {"MULTI ", "EXEC ", "DISCARD ", "PING ", "NOPE @a ", "INCR "};
    static const char *const keys[] = {"@",   "@a",           "@b",
                                       "@ab", "@abcdefghijk", "@a-key-of-more-than-forty-bytes-----------"};
    if (test_rng_below(rng, 12) == 0) {
        (void)sprintf(words, "%s", others[test_rng_below(rng, sizeof others / sizeof *others)]);
        return;
    }
    static size_t form, number;
    if (test_rng_below(rng, 5) == 0) form = (size_t)test_rng_below(rng, sizeof forms / sizeof *forms);
    if (test_rng_below(rng, 5) == 0) number = (size_t)test_rng_below(rng, 3);
    const char *key = keys[test_rng_below(rng, sizeof keys / sizeof *keys)];
    for (const char *from = forms[form]; *from != '\0'; from++) {
        if (*from == '#')
            words += sprintf(words, "%s", key);
        else
            *words++ = *from == '%' ? (char)('0' + number) : *from;
    }
    *words = '\0';
}

/* What repeats the request before it is not read as carefully: it must not be taken for it. */
static void many_alike_in_one_go_are_answered_as_one_by_one(void **state)
{
    struct scene *scene = *state;
    struct talk *other = talk_new(scene->app, tly_resp_protocol());
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t round = 0; round < 2000; round++) {
        char words[256], all[16384], one[512], answer[32768];
        size_t count = 1 + (size_t)test_rng_below(&rng, 40), n = 0, got = 0;
        for (size_t i = 0; i < count; i++) {
            draw_request(&rng, words);
            n += put_request(all + n, words, 'p');
            struct tly_slice said = talk_say_bytes(other, tly_slice_of(one, put_request(one, words, 'q')));
            claim(said.n < sizeof answer - got);
            memcpy(answer + got, said.p, said.n);
            got += said.n;
        }
        struct tly_slice at_once = talk_say_bytes(scene->talk, tly_slice_of(all, n));
        for (size_t i = 0; i < got; i++) /* who does not know the command tells its arguments */
            if (answer[i] == 'q') answer[i] = 'p';
        claim(at_once.n == got && memcmp(at_once.p, answer, got) == 0);
        fake_app_advance(scene->app, test_rng_below(&rng, 3000));
    }
    talk_free(other);
}

static void a_strict_prefix_of_a_request_changes_nothing(void **state)
{
    struct scene *scene = *state;
    static const char said[] = "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    for (size_t n = 0; n + 1 < sizeof said; n++) {
        struct talk *talk = talk_new(scene->app, tly_resp_protocol());
        assert_int_equal(talk_say_bytes(talk, tly_slice_of(said, n)).n, 0);
        assert_int_equal(talk_left(talk), n);
        talk_free(talk);
    }
    CONVERSE({"GET n", "$-1\r\n"});
}

static void while_answers_pile_up_requests_wait(void **state)
{
    struct scene *scene = *state;
    talk_fill(scene->talk, true);
    assert_string_equal(talk_say(scene->talk, "INCR a\r\nINCR a\r\n"), "");
    assert_int_equal(talk_left(scene->talk), 16);
    talk_fill(scene->talk, false);
    assert_string_equal(talk_say(scene->talk, ""), ":1\r\n:2\r\n");
}

/* Requests are read some way ahead; when one of them has to wait, those behind it are read anew. */
static void what_was_read_ahead_of_a_wait_is_done_after_it(void **state)
{
    struct scene *scene = *state;
    const char *said = "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$2\r\n50\r\n"
                       "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*3\r\n$6\r\nINCRBY\r\n$1\r\na\r\n$";
    assert_string_equal(talk_say(scene->talk, said), ":1\r\n");
    assert_string_equal(talk_say(scene->talk, "1\r\n"), "");
    fake_app_advance(scene->app, 50);
    fake_app_tick(scene->app);
    assert_string_equal(talk_say(scene->talk, "8\r\n"), ":0\r\n:2\r\n:10\r\n");
    assert_int_equal(talk_left(scene->talk), 0);
}

static void lost_rhythm_ends_the_session_with_a_reason(void **state)
{
    struct scene *scene = *state;
    static const struct line lines[] = {
        {"*1\r\n:1\r\n", "-ERR Protocol error: expected '$'\r\n"},
        {"*2\r\n$3\r\nGET\r\n$66049\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
        {"*1025\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"\x16\x03\x01\x02\x01", "-ERR Protocol error: unexpected byte\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "-ERR Protocol error: possible cross protocol request\r\n"},
        {"POST /v1/check HTTP/1.1\r\n", "-ERR Protocol error: possible cross protocol request\r\n"},
        {"host: a\r\n", "-ERR Protocol error: possible cross protocol request\r\n"},
        {"*1\r\n$4\r\nPOST\r\n", "-ERR Protocol error: possible cross protocol request\r\n"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "-ERR Protocol error: possible cross protocol request\r\n"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct talk *talk = talk_new(scene->app, tly_resp_protocol());
        assert_string_equal(talk_say(talk, lines[i].said), lines[i].answer);
        assert_true(talk_is_closed(talk));
        assert_string_equal(talk_say(talk, "INCR a\r\n"), "");
        talk_free(talk);
    }
    CONVERSE({"GET a", "$-1\r\n"});
}

static void the_largest_value_is_kept_and_read(void **state)
{
    struct scene *scene = *state;
    size_t n = 65536;
    char *said = malloc(n + 256);
    assert_non_null(said);
    size_t head = (size_t)sprintf(said, "*3\r\n$3\r\nSET\r\n$4\r\nkv:a\r\n$%zu\r\n", n);
    memset(said + head, 'v', n);
    memcpy(said + head + n, "\r\n", 2);
    assert_string_equal((const char *)talk_say_bytes(scene->talk, tly_slice_of(said, head + n + 2)).p,
                        "+OK\r\n");
    struct tly_slice got = talk_say_bytes(scene->talk, tly_slice_text("GET kv:a\r\n"));
    assert_int_equal(got.n, 8 + n + 2);
    assert_memory_equal(got.p, "$65536\r\n", 8);
    assert_memory_equal(got.p + 8, said + head, n + 2);
    free(said);
}

static void an_answer_that_would_be_too_large_is_refused(void **state)
{
    struct scene *scene = *state;
    the_largest_value_is_kept_and_read(state);
    char *said = malloc(4096), *at = said;
    assert_non_null(said);
    at += sprintf(at, "MGET");
    for (size_t i = 0; i < 200; i++)
        at += sprintf(at, " kv:a");
    (void)sprintf(at, "\r\n");
    assert_string_equal(talk_say(scene->talk, said), "-ERR larger than the limit for its kind\r\n");
    free(said);
}

/* Random bytes and mutants of the pipeline, in random pieces: whatever comes, an answer is whole and nothing breaks. */
static void garbage_never_breaks_the_door(void **state)
{
    struct scene *scene = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t closed = 0, answered = 0;
    for (size_t i = 0; i < 100000; i++) {
        struct talk *talk = talk_new(scene->app, tly_resp_protocol());
        uint8_t bytes[sizeof pipeline];
        size_t begin = (size_t)test_rng_below(&rng, sizeof pipeline - 1), n = sizeof pipeline - 1 - begin;
        memcpy(bytes, pipeline + begin, n);
        for (uint64_t changes = test_rng_below(&rng, 4); changes > 0; changes--)
            bytes[test_rng_below(&rng, n)] = (uint8_t)test_rng_next(&rng);
        struct tly_slice got =
            talk_say_cut(talk, tly_slice_of(bytes, n), (size_t)test_rng_below(&rng, n + 1));
        claim(got.n == 0 || (got.n >= 3 && memcmp(got.p + got.n - 2, "\r\n", 2) == 0));
        answered += got.n > 0;
        closed += talk_is_closed(talk);
        talk_free(talk);
    }
    claim(answered > 1000 && closed > 1000 && closed < 99000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_pipeline_cut_at_every_byte_gets_the_same_answers),
        SCENE(a_pipeline_byte_by_byte_gets_the_same_answers),
        SCENE(ten_thousand_in_one_go_are_answered_in_order),
        SCENE(many_alike_in_one_go_are_answered_as_one_by_one),
        SCENE(a_strict_prefix_of_a_request_changes_nothing),
        SCENE(while_answers_pile_up_requests_wait),
        SCENE(what_was_read_ahead_of_a_wait_is_done_after_it),
        SCENE(lost_rhythm_ends_the_session_with_a_reason),
        SCENE(the_largest_value_is_kept_and_read),
        SCENE(an_answer_that_would_be_too_large_is_refused),
        SCENE(garbage_never_breaks_the_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
