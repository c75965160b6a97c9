/* MULTI, EXEC, DISCARD, WATCH: as redis, bounded, and the same replies as one by one. */
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

#define QUEUED "+QUEUED\r\n"
#define OK "+OK\r\n"
#define ABORT "-EXECABORT Transaction discarded because of previous errors.\r\n"

static void queued_requests_run_at_exec_and_answer_as_one_by_one(void **state)
{
    CONVERSE({"MULTI", OK}, {"INCR a", QUEUED}, {"EXPIRE a 100", QUEUED}, {"SET kv:x \"a b\"", QUEUED},
             {"GET kv:x", QUEUED}, {"INCR kv:x", QUEUED}, {"CL.THROTTLE u 4 1 1", QUEUED}, {"PING", QUEUED},
             {"EXEC", "*7\r\n:1\r\n:1\r\n+OK\r\n$3\r\na b\r\n" WRONGTYPE
                      "*5\r\n:0\r\n:5\r\n:4\r\n:-1\r\n:1\r\n+PONG\r\n"},
             {"GET a", "$1\r\n1\r\n"}, {"TTL a", ":100\r\n"}, {"MULTI", OK}, {"EXEC", "*0\r\n"});
}

static void before_exec_nothing_has_happened(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"MULTI", OK}, {"INCR a", QUEUED}, {"DISCARD", OK}, {"GET a", "$-1\r\n"}, {"MULTI", OK},
             {"INCR a", QUEUED});
    struct talk *other = talk_new(scene->app, tly_resp_protocol());
    assert_string_equal(talk_say(other, "GET a\r\n"), "$-1\r\n");
    CONVERSE({"EXEC", "*1\r\n:1\r\n"});
    assert_string_equal(talk_say(other, "GET a\r\n"), "$1\r\n1\r\n");
    talk_free(other);
}

static void what_cannot_be_queued_spoils_the_transaction(void **state)
{
    CONVERSE({"MULTI", OK}, {"INCR a", QUEUED},
             {"NOPE", "-ERR unknown command 'NOPE', with args beginning with: \r\n"}, {"INCR a", QUEUED},
             {"EXEC", ABORT}, {"GET a", "$-1\r\n"}, {"MULTI", OK},
             {"INCR", "-ERR wrong number of arguments for 'incr' command\r\n"}, {"EXEC", ABORT},
             {"MULTI", OK}, {"WAIT 1 0", "-ERR Command not allowed inside a transaction\r\n"},
             {"EXEC", ABORT}, {"NOPE", "-ERR unknown command 'NOPE', with args beginning with: \r\n"},
             {"MULTI", OK}, {"INCR a", QUEUED}, {"EXEC", "*1\r\n:1\r\n"});
}

static void the_words_of_a_transaction_have_an_order(void **state)
{
    CONVERSE(
        {"EXEC", "-ERR EXEC without MULTI\r\n"}, {"DISCARD", "-ERR DISCARD without MULTI\r\n"}, {"MULTI", OK},
        {"MULTI", "-ERR MULTI calls can not be nested\r\n"},
        {"WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n"}, {"INCR a", QUEUED},
        {"EXEC", "*1\r\n:1\r\n"}, {"MULTI", OK}, {"INCR a", QUEUED}, {"RESET", "+RESET\r\n"},
        {"GET a", "$1\r\n1\r\n"}, {"EXEC", "-ERR EXEC without MULTI\r\n"}, {"MULTI", OK},
        {"EXEC x",
         "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n"},
        {"EXEC", "-ERR EXEC without MULTI\r\n"}, {"MULTI", OK}, {"QUIT", OK});
    struct scene *scene = *state;
    assert_true(talk_is_closed(scene->talk));
}

static void a_watched_key_that_reads_otherwise_stops_exec(void **state)
{
    struct scene *scene = *state;
    struct talk *other = talk_new(scene->app, tly_resp_protocol());
    CONVERSE({"SET a 5", OK}, {"WATCH a b", OK}, {"MULTI", OK}, {"SET a 6", QUEUED});
    fake_app_tick(scene->app);
    CONVERSE({"EXEC", "*1\r\n+OK\r\n"}, {"WATCH a b", OK});
    assert_string_equal(talk_say(other, "INCR b\r\n"), ":1\r\n");
    CONVERSE({"MULTI", OK}, {"SET a 7", QUEUED}, {"EXEC", "*-1\r\n"}, {"GET a", "$1\r\n6\r\n"},
             /* EXEC has ended the watch. */
             {"MULTI", OK}, {"SET a 7", QUEUED}, {"EXEC", "*1\r\n+OK\r\n"}, {"WATCH a", OK}, {"UNWATCH", OK});
    assert_string_equal(talk_say(other, "DEL a\r\n"), ":1\r\n");
    CONVERSE({"MULTI", OK}, {"INCR a", QUEUED}, {"EXEC", "*1\r\n:1\r\n"}, {"EXPIRE a 1", ":1\r\n"},
             {"WATCH a", OK});
    assert_true(talk_say(scene->talk, "HELLO 3\r\n")[0] == '%');
    fake_app_advance(scene->app, 2000);
    CONVERSE({"MULTI", OK}, {"INCR a", QUEUED}, {"EXEC", "_\r\n"});
    talk_free(other);
}

static void a_transaction_is_bounded_in_requests_and_bytes(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"MULTI", OK});
    for (unsigned i = 0; i < 4096; i++)
        assert_string_equal(talk_say(scene->talk, "INCR a\r\n"), QUEUED);
    CONVERSE({"INCR a", "-ERR the transaction is too large\r\n"}, {"EXEC", ABORT}, {"GET a", "$-1\r\n"},
             {"MULTI", OK});
    char *large = malloc(65536);
    assert_non_null(large);
    memset(large, 'x', 65536);
    memcpy(large, "SET kv:a ", 9);
    memcpy(large + 60000, "\r\n", 3);
    size_t queued = 0;
    while (strcmp(talk_say(scene->talk, large), QUEUED) == 0)
        queued++;
    assert_int_equal(queued, 1024 * 1024 / 60002);
    free(large);
    CONVERSE({"EXEC", ABORT}, {"GET kv:a", "$-1\r\n"});
}

static void a_transaction_walks_over_all_keys_once_at_most(void **state)
{
    CONVERSE({"MULTI", OK}, {"KEYS *", QUEUED},
             {"FLUSHDB", "-ERR one KEYS, FLUSHDB or FLUSHALL at most in a transaction\r\n"}, {"EXEC", ABORT},
             {"MULTI", OK}, {"FLUSHDB", QUEUED}, {"EXEC", "*1\r\n+OK\r\n"});
}

static void too_many_watched_keys_are_refused_and_those_before_stand(void **state)
{
    struct scene *scene = *state;
    char said[560] = "WATCH k0000";
    memset(said + 11, 'k', 500);
    memcpy(said + 511, "\r\n", 3);
    const char *answer;
    unsigned watched = 0;
    do {
        (void)snprintf(said + 7, 5, "%04u", watched++);
        said[11] = 'k';
        answer = talk_say(scene->talk, said);
    } while (strcmp(answer, OK) == 0);
    assert_string_equal(answer, "-ERR too many keys are watched\r\n");
    assert_in_range(watched, 120, 130);
    CONVERSE({"INCR a", ":1\r\n"}, {"WATCH a", OK}, {"INCR a", ":2\r\n"}, {"MULTI", OK}, {"EXEC", "*-1\r\n"});
}

static const char pipeline[] = "*1\r\n$5\r\nMULTI\r\n"
                               "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"
                               "*3\r\n$6\r\nEXPIRE\r\n$1\r\nn\r\n$2\r\n60\r\n"
                               "echo \"a b\"\r\n"
                               "*1\r\n$4\r\nEXEC\r\n"
                               "TTL n\r\n";
static const char answers[] = OK QUEUED QUEUED QUEUED "*3\r\n:1\r\n:1\r\n$3\r\na b\r\n:60\r\n";

static void a_transaction_cut_at_every_byte_gets_the_same_answers(void **state)
{
    (void)state;
    scene_cut_everywhere(tly_resp_protocol(), pipeline, answers, false);
}

static void a_transaction_byte_by_byte_gets_the_same_answers(void **state)
{
    scene_byte_by_byte(*state, pipeline, answers);
}

static void each_throttle_of_a_transaction_has_its_own_numbers(void **state)
{
    CONVERSE({"MULTI", "+OK\r\n"}, {"CL.THROTTLE u 4 1 1", QUEUED}, {"CL.THROTTLE v 9 1 2", QUEUED},
             {"THROTTLE w 3 1 1", QUEUED},
             {"EXEC", "*3\r\n*5\r\n:0\r\n:5\r\n:4\r\n:-1\r\n:1\r\n*5\r\n:0\r\n:10\r\n:9\r\n:-1\r\n:2\r\n"
                      "*5\r\n:1\r\n:3\r\n:2\r\n:1\r\n:0\r\n"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(each_throttle_of_a_transaction_has_its_own_numbers),
        SCENE(queued_requests_run_at_exec_and_answer_as_one_by_one),
        SCENE(before_exec_nothing_has_happened),
        SCENE(what_cannot_be_queued_spoils_the_transaction),
        SCENE(the_words_of_a_transaction_have_an_order),
        SCENE(a_watched_key_that_reads_otherwise_stops_exec),
        SCENE(a_transaction_is_bounded_in_requests_and_bytes),
        SCENE(a_transaction_walks_over_all_keys_once_at_most),
        SCENE(too_many_watched_keys_are_refused_and_those_before_stand),
        SCENE(a_transaction_cut_at_every_byte_gets_the_same_answers),
        SCENE(a_transaction_byte_by_byte_gets_the_same_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
