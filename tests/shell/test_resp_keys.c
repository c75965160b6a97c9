/* SCAN, KEYS, FLUSHDB and MEMORY USAGE. */
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

#define SYNTAX "-ERR syntax error\r\n"

static void count_keys(struct scene *scene, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char said[64];
        (void)snprintf(said, sizeof said, "INCR key:%u\r\n", i);
        assert_string_equal(talk_say(scene->talk, said), ":1\r\n");
    }
}

static void the_keys_of_a_small_node_come_at_once(void **state)
{
    CONVERSE(
        {"SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"}, {"KEYS *", "*0\r\n"}, {"INCR a", ":1\r\n"},
        {"SCAN 0", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n"}, {"KEYS *", "*1\r\n$1\r\na\r\n"},
        {"SET kv:b x", "+OK\r\n"}, {"SCAN 0 MATCH kv:* COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$4\r\nkv:b\r\n"},
        {"SCAN 0 COUNT 100 MATCH KV:*", "*2\r\n$1\r\n0\r\n*0\r\n"}, {"KEYS k[v]:?", "*1\r\n$4\r\nkv:b\r\n"},
        {"SCAN 0 TYPE hash COUNT 100", "*2\r\n$1\r\n0\r\n*0\r\n"},
        {"SCAN 0 match a type string COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n"},
        {"PEXPIRE a -1", ":1\r\n"}, {"KEYS *", "*1\r\n$4\r\nkv:b\r\n"}, {"DEL kv:b", ":1\r\n"},
        {"SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"});
}

static void scan_has_redis_errors(void **state)
{
    CONVERSE({"SCAN", "-ERR wrong number of arguments for 'scan' command\r\n"},
             {"SCAN x", "-ERR invalid cursor\r\n"}, {"SCAN -1", "-ERR invalid cursor\r\n"},
             {"SCAN \"\"", "-ERR invalid cursor\r\n"}, {"SCAN 4294967296", "*2\r\n$1\r\n0\r\n*0\r\n"},
             {"SCAN 18446744073709551616", "-ERR invalid cursor\r\n"}, {"SCAN 0 COUNT", SYNTAX},
             {"SCAN 0 COUNT x", NOT_INT}, {"SCAN 0 COUNT 0", SYNTAX}, {"SCAN 0 MATCH", SYNTAX},
             {"SCAN 0 NOSUCH x", SYNTAX}, {"SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n"},
             {"KEYS", "-ERR wrong number of arguments for 'keys' command\r\n"}, {"FLUSHDB NOW", SYNTAX},
             {"FLUSHDB ASYNC NOW", SYNTAX});
}

/* Marks the keys of a page; where it goes on. */
static unsigned long long read_page(const char *answer, unsigned *times, unsigned count)
{
    unsigned long long cursor;
    unsigned n;
    assert_int_equal(sscanf(answer, "*2\r\n$%*u\r\n%llu\r\n*%u\r\n", &cursor, &n), 2);
    for (const char *at = answer; (at = strstr(at, "key:")) != NULL; at++, n--) {
        unsigned number = (unsigned)strtoul(at + 4, NULL, 10);
        assert_true(number < count);
        times[number]++;
    }
    assert_int_equal(n, 0);
    return cursor;
}

static void a_walk_in_pages_sees_each_key_once_while_the_table_grows(void **state)
{
    struct scene *scene = *state;
    unsigned times[500] = {0};
    count_keys(scene, 500);
    unsigned long long cursor = 0;
    unsigned more = 0;
    do {
        char said[64];
        (void)snprintf(said, sizeof said, "SCAN %llu MATCH key:* COUNT 7\r\n", cursor);
        cursor = read_page(talk_say(scene->talk, said), times, 500);
        /* Some clients keep it in a double, which they write with 16 or 17 digits. */
        assert_in_range(cursor, 0, UINT32_MAX);
        for (unsigned i = 0; i < 30 && more < 3000; i++) {
            (void)snprintf(said, sizeof said, "INCR more:%u\r\n", more++);
            (void)talk_say(scene->talk, said);
        }
    } while (cursor != 0);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(times[i], 1);
}

/* A walk takes as long as a turn may, so what is behind it waits for the next one. */
static void behind_a_walk_others_have_their_turn(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"INCR a", ":1\r\n"});
    assert_string_equal(talk_say(scene->talk, "KEYS *\r\nkeys b\r\nFLUSHDB\r\nPING\r\nPI"),
                        "*1\r\n$1\r\na\r\n");
    assert_int_equal(talk_left(scene->talk), 8 + 9 + 6 + 2);
    assert_string_equal(talk_say(scene->talk, ""), "*0\r\n");
    assert_string_equal(talk_say(scene->talk, ""), "+OK\r\n");
    assert_string_equal(talk_say(scene->talk, ""), "+PONG\r\n");
    assert_string_equal(talk_say(scene->talk, "NG\r\nKEYS *\r\n"), "+PONG\r\n*0\r\n");
    assert_int_equal(talk_left(scene->talk), 0);
}

static void flushdb_leaves_nothing_to_read(void **state)
{
    struct scene *scene = *state;
    count_keys(scene, 300);
    CONVERSE({"SET kv:a x", "+OK\r\n"}, {"CL.THROTTLE u 0 1 60", "*5\r\n:0\r\n:1\r\n:0\r\n:-1\r\n:60\r\n"},
             {"FLUSHDB", "+OK\r\n"}, {"KEYS *", "*0\r\n"}, {"GET kv:a", "$-1\r\n"}, {"GET key:7", "$-1\r\n"},
             {"CL.THROTTLE u 0 1 60", "*5\r\n:0\r\n:1\r\n:0\r\n:-1\r\n:60\r\n"}, {"flushall sync", "+OK\r\n"},
             {"KEYS *", "*0\r\n"});
}

static void flushdb_says_what_stopped_it(void **state)
{
    struct scene *scene = *state;
    count_keys(scene, 3);
    fake_app_fail(scene->app, TLY_CLOCK_END, 1);
    assert_int_equal(strncmp(talk_say(scene->talk, "FLUSHDB\r\n"), "-ERR ", 5), 0);
    CONVERSE({"FLUSHDB", "+OK\r\n"}, {"KEYS *", "*0\r\n"});
}

static void memory_usage_is_that_of_a_key(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"MEMORY USAGE a", "$-1\r\n"},
             {"MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command\r\n"},
             {"MEMORY DOCTOR", "-ERR unknown subcommand 'DOCTOR'. Try MEMORY HELP.\r\n"},
             {"INCR a", ":1\r\n"}, {"SET kv:a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "+OK\r\n"});
    int counter = atoi(talk_say(scene->talk, "MEMORY USAGE a\r\n") + 1);
    int text = atoi(talk_say(scene->talk, "MEMORY USAGE kv:a SAMPLES 0\r\n") + 1);
    assert_in_range(counter, 20, 100);
    assert_in_range(text, counter + 30, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(the_keys_of_a_small_node_come_at_once),
        SCENE(scan_has_redis_errors),
        SCENE(a_walk_in_pages_sees_each_key_once_while_the_table_grows),
        SCENE(behind_a_walk_others_have_their_turn),
        SCENE(flushdb_leaves_nothing_to_read),
        SCENE(flushdb_says_what_stopped_it),
        SCENE(memory_usage_is_that_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
