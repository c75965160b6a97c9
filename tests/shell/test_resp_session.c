/* What clients say at connect and about the server; nothing they say ends a session by mistake. */
#include "service/shell/resp.h"
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- sessions ---- */

static void a_session_greets_and_ends(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"PING", "+PONG\r\n"}, {"PING hi", "$2\r\nhi\r\n"},
             {"PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"},
             {"ECHO \"a b\"", "$3\r\na b\r\n"}, {"SELECT 0", "+OK\r\n"},
             {"SELECT 1", "-ERR DB index is out of range\r\n"}, {"SELECT x", NOT_INT},
             {"RESET", "+RESET\r\n"}, {"TIME", "*2\r\n$10\r\n1767225600\r\n$1\r\n0\r\n"});
    assert_false(talk_is_closed(scene->talk));
    CONVERSE({"QUIT", "+OK\r\n"});
    assert_true(talk_is_closed(scene->talk));
}

static void what_follows_quit_is_not_done(void **state)
{
    struct scene *scene = *state;
    assert_string_equal(talk_say(scene->talk, "QUIT\r\nINCR a\r\n"), "+OK\r\n");
    assert_int_equal(talk_requests(scene->talk), 1);
}

#define NO_PASSWORD                                                                                        \
    "-ERR AUTH <password> called without any password configured for the default user. Are you sure your " \
    "configuration is correct?\r\n"
#define WRONG_PASSWORD "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

static void hello_chooses_the_protocol(void **state)
{
    static const char in_2[] =
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:2\r\n"
        "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        "$7\r\nmodules\r\n*0\r\n";
    static const char in_3[] =
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n"
        "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        "$7\r\nmodules\r\n*0\r\n";
    CONVERSE({"HELLO", in_2}, {"GET a", "$-1\r\n"}, {"HELLO 3 SETNAME me", in_3}, {"GET a", "_\r\n"},
             {"CLIENT GETNAME", "$2\r\nme\r\n"}, {"HELLO", in_3},
             {"HELLO 4", "-NOPROTO unsupported protocol version\r\n"},
             {"HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"},
             {"HELLO 2 AUTH nobody x", WRONG_PASSWORD}, {"HELLO 2 AUTH nobody x SETNAME you", WRONG_PASSWORD},
             {"HELLO 2 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'\r\n"},
             {"HELLO 2 NOPE", "-ERR Syntax error in HELLO option 'NOPE'\r\n"}, {"GET a", "_\r\n"},
             {"CLIENT GETNAME", "$2\r\nme\r\n"}, {"HELLO 2", in_2},
             {"HELLO 3 AUTH default x SETNAME you", in_3}, {"CLIENT GETNAME", "$3\r\nyou\r\n"});
}

static void without_a_password_any_is_that_of_the_default_user(void **state)
{
    CONVERSE({"AUTH x", NO_PASSWORD}, {"AUTH default x", "+OK\r\n"}, {"AUTH default \"\"", "+OK\r\n"},
             {"AUTH nobody x", WRONG_PASSWORD}, {"AUTH DEFAULT x", WRONG_PASSWORD},
             {"AUTH a b c", "-ERR syntax error\r\n"});
}

static void what_libraries_say_at_connect_succeeds(void **state)
{
    CONVERSE(
        {"CLIENT SETINFO LIB-NAME redis-py", "+OK\r\n"}, {"CLIENT SETINFO LIB-VER 5.0.1", "+OK\r\n"},
        {"CLIENT SETINFO lib-name node-redis(x)", "+OK\r\n"}, {"CLIENT SETNAME worker-1", "+OK\r\n"},
        {"CLIENT GETNAME", "$8\r\nworker-1\r\n"}, {"CLIENT ID", ":7\r\n"}, {"CLIENT NO-EVICT ON", "+OK\r\n"},
        {"CLIENT NO-TOUCH off", "+OK\r\n"}, {"CLIENT REPLY ON", "+OK\r\n"},
        {"CLIENT INFO",
         "$164\r\nid=7 addr=192.0.2.7:53412 laddr=127.0.0.1:7379 name=worker-1 age=0 idle=0 flags=N db=0 "
         "sub=0 psub=0 multi=-1 cmd=client resp=2 lib-name=node-redis(x) lib-ver=5.0.1\n\r\n"});
}

#define NO_SCRIPTS(name)          \
    "-ERR unknown command '" name \
    "': there are no scripts here; CL.THROTTLE and TLY.CHECK limit in one command\r\n"

static void unknown_client_words_fail_without_ending_the_session(void **state)
{
    struct scene *scene = *state;
    CONVERSE(
        {"CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n"},
        {"CLIENT KILL 1.2.3.4:5", "-ERR unknown subcommand 'KILL'. Try CLIENT HELP.\r\n"},
        {"CLIENT TRACKING ON", "-ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.\r\n"},
        {"CLIENT SETINFO x y", "-ERR Unrecognized option 'x'\r\n"},
        {"CLIENT SETNAME \"a b\"",
         "-ERR Client names cannot contain spaces, newlines or special characters, or be longer than 63\r\n"},
        {"CLIENT GETNAME", "$-1\r\n"},
        {"CLIENT GETNAME x", "-ERR wrong number of arguments for 'client' command\r\n"},
        {"CLIENT", "-ERR wrong number of arguments for 'client' command\r\n"},
        {"CLIENT NO-EVICT maybe", "-ERR syntax error\r\n"},
        {"COMMAND NOPE", "-ERR unknown subcommand 'NOPE'. Try COMMAND HELP.\r\n"},
        {"COMMAND HELP", "*1\r\n+COUNT | DOCS [name ...] | INFO [name ...] | LIST\r\n"},
        {"CONFIG NOPE", "-ERR unknown subcommand 'NOPE'. Try CONFIG HELP.\r\n"},
        {"config help", "*1\r\n+GET pattern [pattern ...]\r\n"},
        {"MEMORY HELP", "*1\r\n+USAGE key [SAMPLES n]\r\n"},
        {"FOO", "-ERR unknown command 'FOO', with args beginning with: \r\n"},
        {"FOO a bc", "-ERR unknown command 'FOO', with args beginning with: 'a' 'bc' \r\n"},
        {"FOO \"a\\r\\nb\"", "-ERR unknown command 'FOO', with args beginning with: 'a  b' \r\n"},
        {"eval \"return 1\" 0", NO_SCRIPTS("eval")}, {"EVALSHA_RO abc 0", NO_SCRIPTS("EVALSHA_RO")},
        {"SCRIPT LOAD x", NO_SCRIPTS("SCRIPT")}, {"fcall f 0", NO_SCRIPTS("fcall")}, {"PING", "+PONG\r\n"});
    assert_false(talk_is_closed(scene->talk));
}

static void a_long_unknown_command_is_shown_in_part(void **state)
{
    struct scene *scene = *state;
    char said[2048], args[1000];
    memset(args, 'x', sizeof args);
    (void)snprintf(said, sizeof said, "%.600s %.400s %.400s\r\n", args, args, args);
    const char *answer = talk_say(scene->talk, said);
    assert_true(strlen(answer) < 600);
    assert_int_equal(strncmp(answer, "-ERR unknown command 'xxx", 25), 0);
    assert_string_equal(answer + strlen(answer) - 2, "\r\n");
}

/* ---- about the server ---- */

static void command_tells_what_there_is(void **state)
{
    struct scene *scene = *state;
    size_t count;
    const struct tly_resp_command *commands = tly_resp_commands(&count);
    char expected[32];
    (void)snprintf(expected, sizeof expected, ":%zu\r\n", count);
    CONVERSE({"COMMAND COUNT", expected},
             {"COMMAND INFO get nope",
              "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
              "*2\r\n+@read\r\n+@fast\r\n*0\r\n*0\r\n*0\r\n*-1\r\n"},
             {"COMMAND DOCS echo nope",
              "*2\r\n$4\r\necho\r\n*6\r\n$7\r\nsummary\r\n$31\r\nAnswers with what it was given.\r\n"
              "$5\r\nsince\r\n$5\r\n0.1.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n"});
    (void)snprintf(expected, sizeof expected, "*%zu\r\n*10\r\n$4\r\nauth\r\n", count);
    assert_int_equal(strncmp(talk_say(scene->talk, "COMMAND\r\n"), expected, strlen(expected)), 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || memcmp(commands[i - 1].name, commands[i].name, sizeof commands->name) < 0);
        assert_ptr_equal(tly_resp_find(tly_slice_text(commands[i].name)), &commands[i]);
    }
}

static void every_command_answers_something_to_any_number_of_arguments(void **state)
{
    struct scene *scene = *state;
    size_t count;
    const struct tly_resp_command *commands = tly_resp_commands(&count);
    for (size_t i = 0; i < count; i++) {
        bool ends = strcmp(commands[i].name, "QUIT") == 0, waits = strcmp(commands[i].name, "WAIT") == 0;
        for (int args = 0; args < 9 && !ends; args++) {
            if (waits && args == 2) continue;
            assert_string_equal(talk_say(scene->talk, "RESET\r\n"), "+RESET\r\n");
            char line[64];
            (void)snprintf(line, sizeof line, "%s%.*s\r\n", commands[i].name, args * 2, " 1 1 1 1 1 1 1 1");
            assert_true(strlen(talk_say(scene->talk, line)) > 3);
            bool queues = strcmp(commands[i].name, "MULTI") == 0 && args == 0;
            bool hears = args > 0 && (strcmp(commands[i].name, "SUBSCRIBE") == 0 ||
                                      strcmp(commands[i].name, "PSUBSCRIBE") == 0);
            const char *pong = hears ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n";
            assert_string_equal(talk_say(scene->talk, "PING\r\n"), queues ? "+QUEUED\r\n" : pong);
        }
    }
}

static void wait_answers_when_its_time_is_over_and_what_is_behind_it_then(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"WAIT 0 0", ":0\r\n"}, {"WAIT -1 0", ":0\r\n"},
             {"WAIT x 0", "-ERR value is not an integer or out of range\r\n"},
             {"WAIT 1 x", "-ERR timeout is not an integer or out of range\r\n"},
             {"WAIT 1 9223372036854775807", "-ERR timeout is not an integer or out of range\r\n"},
             {"WAIT 1 -1", "-ERR timeout is negative\r\n"},
             {"WAIT 1", "-ERR wrong number of arguments for 'wait' command\r\n"});
    assert_string_equal(talk_say(scene->talk, "WAIT 1 50\r\nPING\r\nWAIT 2 50\r\n"), "");
    assert_string_equal(talk_say(scene->talk, "PING\r\n"), "");
    fake_app_advance(scene->app, 49);
    fake_app_tick(scene->app);
    assert_string_equal(talk_say(scene->talk, ""), "");
    fake_app_advance(scene->app, 1);
    fake_app_tick(scene->app);
    assert_string_equal(talk_say(scene->talk, ""), ":0\r\n+PONG\r\n");
    fake_app_advance(scene->app, 50);
    fake_app_tick(scene->app);
    assert_string_equal(talk_say(scene->talk, ""), ":0\r\n+PONG\r\n");
    struct tly_stats stats;
    tly_engine_stats(tly_app_engine(scene->app), &stats);
    assert_int_equal(stats.acks_queued, 4);
    assert_string_equal(talk_say(scene->talk, "WAIT 1 0\r\n"), ""); /* and is never told */
}

static void config_get_matches_patterns(void **state)
{
    struct scene *scene = *state;
    CONVERSE(
        {"CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"},
        {"CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
        {"CONFIG GET appendonly databases",
         "*4\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$9\r\ndatabases\r\n$1\r\n1\r\n"},
        {"CONFIG GET maxmem?ry", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"},
        {"CONFIG GET FLUSH_[lm]?", "*2\r\n$8\r\nflush_ms\r\n$2\r\n10\r\n"}, {"CONFIG GET nope*", "*0\r\n"},
        {"CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n"},
        {"CONFIG SET save x", "-ERR settings come from the file and the command line, not from clients\r\n"});
    const char *all = talk_say(scene->talk, "CONFIG GET *\r\n");
    for (size_t i = 0; tly_config_key(i) != NULL; i++)
        assert_non_null(strstr(all, tly_config_key(i)));
}

static void info_has_what_clients_look_for(void **state)
{
    struct scene *scene = *state;
    static const char *const wanted[] = {"redis_version:7.0.0\r\n",
                                         "tally_version:",
                                         "tcp_port:7379\r\n",
                                         "loading:0\r\n",
                                         "role:master\r\n",
                                         "connected_clients:",
                                         "total_commands_processed:",
                                         "tally_checks_ok:",
                                         "# Server\r\n",
                                         "# Replication\r\n",
                                         "uptime_in_seconds:0\r\n"};
    const char *info = talk_say(scene->talk, "INFO\r\n");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_non_null(strstr(info, wanted[i]));
    info = talk_say(scene->talk, "INFO server REPLICATION\r\n");
    assert_non_null(strstr(info, "redis_version"));
    assert_non_null(strstr(info, "role:"));
    assert_null(strstr(info, "loading:"));
    assert_string_equal(talk_say(scene->talk, "INFO nope\r\n"), "$0\r\n\r\n");
    (void)talk_say(scene->talk, "HELLO 3\r\n");
    assert_int_equal(talk_say(scene->talk, "INFO stats\r\n")[0], '=');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_session_greets_and_ends),
        SCENE(what_follows_quit_is_not_done),
        SCENE(hello_chooses_the_protocol),
        SCENE(without_a_password_any_is_that_of_the_default_user),
        SCENE(what_libraries_say_at_connect_succeeds),
        SCENE(unknown_client_words_fail_without_ending_the_session),
        SCENE(a_long_unknown_command_is_shown_in_part),
        SCENE(command_tells_what_there_is),
        SCENE(every_command_answers_something_to_any_number_of_arguments),
        SCENE(wait_answers_when_its_time_is_over_and_what_is_behind_it_then),
        SCENE(config_get_matches_patterns),
        SCENE(info_has_what_clients_look_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
