/* Counters, registers, keys and their deadlines, as clients of redis know them. */
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"

#include <stdio.h>

static void counters_count(void **state)
{
    CONVERSE({"INCR a", ":1\r\n"}, {"incr a", ":2\r\n"}, {"INCRBY a 10", ":12\r\n"}, {"DECR a", ":11\r\n"},
             {"DECRBY a 20", ":-9\r\n"}, {"GET a", "$2\r\n-9\r\n"}, {"INCRBY a x", NOT_INT},
             {"INCRBY a 1.5", NOT_INT}, {"INCRBY a 9223372036854775808", NOT_INT}, {"INCRBY a +1", NOT_INT},
             {"INCRBY a 01", NOT_INT},
             {"INCRBY a -9223372036854775808", "-ERR increment or decrement would overflow\r\n"},
             {"DECRBY a -9223372036854775808", "-ERR decrement would overflow\r\n"},
             {"SET a 9223372036854775807", "+OK\r\n"},
             {"INCR a", "-ERR increment or decrement would overflow\r\n"},
             {"GET a", "$19\r\n9223372036854775807\r\n"},
             {"INCR", "-ERR wrong number of arguments for 'incr' command\r\n"},
             {"INCR a b", "-ERR wrong number of arguments for 'incr' command\r\n"});
}

static void strings_live_under_kv(void **state)
{
    CONVERSE({"SET kv:a hello", "+OK\r\n"}, {"GET kv:a", "$5\r\nhello\r\n"}, {"SET kv:a \"\"", "+OK\r\n"},
             {"GET kv:a", "$0\r\n\r\n"}, {"GET kv:b", "$-1\r\n"}, {"INCR kv:a", WRONGTYPE},
             {"SET a hello", "-ERR value is not an integer or out of range; strings live under kv:\r\n"},
             {"GET a", "$-1\r\n"});
}

static void epoch_keys_take_epoch_and_count(void **state)
{
    CONVERSE({"SET em:a 6:0", "+OK\r\n"}, {"GET em:a", "$3\r\n6:0\r\n"}, {"SET em:a 5:9", "+OK\r\n"},
             {"GET em:a", "$3\r\n6:0\r\n"}, {"SET em:a 18446744073709551615:-9223372036854775808", "+OK\r\n"},
             {"GET em:a", "$41\r\n18446744073709551615:-9223372036854775808\r\n"}, {"INCR em:a", WRONGTYPE},
             {"SET em:a 6", "-ERR value is not epoch:count\r\n"},
             {"SET em:a :6", "-ERR value is not epoch:count\r\n"},
             {"SET em:a 6:", "-ERR value is not epoch:count\r\n"},
             {"SET em:a 6:x", "-ERR value is not epoch:count\r\n"},
             {"SET em:a 18446744073709551616:0", "-ERR value is not epoch:count\r\n"},
             {"SET em:a 6:0 EX 5", "-ERR this key takes no deadline\r\n"}, {"EXPIRE em:a 5", WRONGTYPE},
             {"EXPIRE em:a -5", WRONGTYPE}, {"TTL em:a", ":-1\r\n"}, {"DEL em:a", ":1\r\n"},
             {"GET em:a", "$-1\r\n"});
}

static void set_obeys_its_options(void **state)
{
    CONVERSE({"SET n 1 NX", "+OK\r\n"}, {"SET n 2 NX", "$-1\r\n"}, {"GET n", "$1\r\n1\r\n"},
             {"SET m 2 XX", "$-1\r\n"}, {"SET n 2 XX", "+OK\r\n"}, {"SET n 3 GET", "$1\r\n2\r\n"},
             {"SET kv:o x GET", "$-1\r\n"}, {"SET kv:o y NX GET", "$1\r\nx\r\n"}, {"GET kv:o", "$1\r\nx\r\n"},
             {"SET n 4 EX 10", "+OK\r\n"}, {"TTL n", ":10\r\n"}, {"SET n 5 KEEPTTL", "+OK\r\n"},
             {"TTL n", ":10\r\n"}, {"SET n 6", "+OK\r\n"}, {"TTL n", ":-1\r\n"},
             {"SET n 7 px 1500 xx", "+OK\r\n"}, {"PTTL n", ":1500\r\n"},
             {"SET n 8 EXAT 1767225700", "+OK\r\n"}, {"TTL n", ":100\r\n"},
             {"SET n 8 PXAT 1767225600500", "+OK\r\n"}, {"PTTL n", ":500\r\n"},
             {"SET n 1 NX XX", "-ERR syntax error\r\n"}, {"SET n 1 EX 5 KEEPTTL", "-ERR syntax error\r\n"},
             {"SET n 1 EX 5 PX 5", "-ERR syntax error\r\n"}, {"SET n 1 EX", "-ERR syntax error\r\n"},
             {"SET n 1 FOO", "-ERR syntax error\r\n"}, {"SET n 1 EX x", NOT_INT},
             {"SET n 1 EX 0", "-ERR invalid expire time in 'set' command\r\n"},
             {"SET n 1 EX -1", "-ERR invalid expire time in 'set' command\r\n"},
             {"SET n 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"},
             {"PTTL n", ":500\r\n"}, {"SET n 1 EX x FOO", "-ERR syntax error\r\n"},
             {"SET n 1 EX 0 NX XX", "-ERR syntax error\r\n"}, {"SET n 1 EX x PX 5", "-ERR syntax error\r\n"},
             {"SET n 1 EX 5 EX x", NOT_INT}, {"SET n 1 EX x EX 9", "+OK\r\n"}, {"TTL n", ":9\r\n"},
             {"SET n 1 PXAT 9223372036854775807", "+OK\r\n"}, {"PTTL n", ":9223370269629175806\r\n"});
}

static void setex_is_set_with_a_deadline(void **state)
{
    CONVERSE({"SETEX kv:s 10 v", "+OK\r\n"}, {"TTL kv:s", ":10\r\n"}, {"PSETEX c 2500 7", "+OK\r\n"},
             {"PTTL c", ":2500\r\n"}, {"GET c", "$1\r\n7\r\n"},
             {"SETEX c 0 1", "-ERR invalid expire time in 'setex' command\r\n"},
             {"PSETEX c -1 1", "-ERR invalid expire time in 'psetex' command\r\n"}, {"SETEX c x 1", NOT_INT});
}

static void keys_are_counted_read_and_deleted(void **state)
{
    CONVERSE({"INCR a", ":1\r\n"}, {"SET kv:b x", "+OK\r\n"}, {"EXISTS a kv:b c a", ":3\r\n"},
             {"TYPE a", "+string\r\n"}, {"TYPE c", "+none\r\n"},
             {"MGET a kv:b c", "*3\r\n$1\r\n1\r\n$1\r\nx\r\n$-1\r\n"}, {"DBSIZE", ":2\r\n"},
             {"GETDEL kv:b", "$1\r\nx\r\n"}, {"GETDEL kv:b", "$-1\r\n"}, {"DEL a b c", ":1\r\n"},
             {"UNLINK a", ":0\r\n"}, {"EXISTS a", ":0\r\n"},
             {"GET \"\"", "-ERR a key has 1 to 512 bytes\r\n"});
}

static void deadlines_are_set_read_and_lifted(void **state)
{
    CONVERSE({"TTL a", ":-2\r\n"}, {"PTTL a", ":-2\r\n"}, {"EXPIRE a 10", ":0\r\n"}, {"PERSIST a", ":0\r\n"},
             {"INCR a", ":1\r\n"}, {"TTL a", ":-1\r\n"}, {"PERSIST a", ":0\r\n"}, {"EXPIRE a 10", ":1\r\n"},
             {"TTL a", ":10\r\n"}, {"EXPIRE a 20 NX", ":0\r\n"}, {"EXPIRE a 20 GT", ":1\r\n"},
             {"EXPIRE a 10 GT", ":0\r\n"}, {"EXPIRE a 10 LT", ":1\r\n"}, {"PERSIST a", ":1\r\n"},
             {"EXPIRE a 5 XX", ":0\r\n"}, {"EXPIRE a 5 GT", ":0\r\n"}, {"PEXPIRE a 2500", ":1\r\n"},
             {"PTTL a", ":2500\r\n"}, {"TTL a", ":3\r\n"}, {"EXPIREAT a 1767225660", ":1\r\n"},
             {"TTL a", ":60\r\n"}, {"PEXPIREAT a 1767225600001", ":1\r\n"}, {"PTTL a", ":1\r\n"},
             {"EXPIRE a x", NOT_INT}, {"EXPIRE a 1 ZZ", "-ERR Unsupported option ZZ\r\n"},
             {"EXPIRE a 1 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"},
             {"EXPIRE a 1 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n"},
             {"EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n"},
             {"EXPIRE a x ZZ", "-ERR Unsupported option ZZ\r\n"},
             {"EXPIRE a 9223372036854775807 GT LT",
              "-ERR GT and LT options at the same time are not compatible\r\n"},
             {"PEXPIREAT a 9223372036854775807", ":1\r\n"}, {"PTTL a", ":9223370269629175806\r\n"},
             {"EXPIRE a 0", ":1\r\n"}, {"EXISTS a", ":0\r\n"}, {"SET kv:b x", "+OK\r\n"},
             {"EXPIREAT kv:b 5", ":1\r\n"}, {"EXISTS kv:b", ":0\r\n"});
}

static void past_its_deadline_a_key_is_absent(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"SET a 5 PX 1000", "+OK\r\n"}, {"SET kv:b x PX 1000", "+OK\r\n"});
    fake_app_advance(scene->app, 999);
    CONVERSE({"EXISTS a kv:b", ":2\r\n"}, {"PTTL a", ":1\r\n"});
    fake_app_advance(scene->app, 1);
    CONVERSE({"EXISTS a kv:b", ":0\r\n"}, {"DEL a kv:b", ":0\r\n"}, {"UNLINK kv:b", ":0\r\n"},
             {"TTL a", ":-2\r\n"}, {"INCR a", ":1\r\n"}, {"TTL a", ":-1\r\n"}, {"DEL a kv:b", ":1\r\n"});
}

/* Cluster time makes up for it by and by, and by that it is judged what is over. */
static void deadlines_outlive_a_clock_that_is_set_back(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"SET kv:old x EX 10", "+OK\r\n"});
    fake_app_set_back(scene->app, 100000);
    CONVERSE({"TTL kv:old", ":10\r\n"}, {"SET kv:a x EX 20", "+OK\r\n"}, {"GET kv:a", "$1\r\nx\r\n"},
             {"TTL kv:a", ":20\r\n"}, {"INCR c", ":1\r\n"}, {"EXPIRE c 20", ":1\r\n"}, {"TTL c", ":20\r\n"},
             {"SET kv:b x EXAT 1767225601", "+OK\r\n"}, {"PTTL kv:b", ":1000\r\n"},
             {"TIME", "*2\r\n$10\r\n1767225600\r\n$1\r\n0\r\n"});
    fake_app_advance(scene->app, 19000);
    CONVERSE({"EXISTS kv:old kv:a c kv:b", ":2\r\n"});
    fake_app_advance(scene->app, 4000);
    CONVERSE({"EXISTS kv:old kv:a c kv:b", ":0\r\n"});
}

static void what_belongs_to_nodes_and_limits_is_not_written(void **state)
{
    static const char kept[] = "-ERR keys under sys: and rl: are kept by tallyd itself\r\n";
    CONVERSE({"SET sys:a x", kept}, {"DEL sys:a", kept}, {"INCR rl:a", kept}, {"SET rl:a 1", kept},
             {"SETEX rl:a 1 1", kept}, {"DEL rl:a", ":0\r\n"}, {"EXPIRE rl:a 1", ":0\r\n"},
             {"GET sys:a", "$-1\r\n"}, {"GET rl:a", "$-1\r\n"});
}

static void what_the_engine_says_is_said_in_redis_words(void **state)
{
    struct scene *scene = *state;
    static const struct {
        enum tly_result result;
        const char *answer;
    } cases[] = {
        {TLY_NOMEM, "-OOM out of memory\r\n"},
        {TLY_FULL, "-OOM command not allowed when used memory > 'memory_max'.\r\n"},
        {TLY_WRONG_STRATEGY, WRONGTYPE},
        {TLY_NO_STRATEGY, "-ERR no strategy registered for key\r\n"},
        {TLY_CLOCK_END, "-ERR the clock has reached its last value\r\n"},
    };
    static const char *const said[] = {
        "INCR a",    "GET a",    "MGET a",      "SET a 1",     "DEL a",
        "EXISTS a",  "TYPE a",   "EXPIRE a 1",  "TTL a",       "PTTL a",
        "PERSIST a", "GETDEL a", "TLY.CHECK a", "TLY.RESET a", "CL.THROTTLE a 1 1 1"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t j = 0; j < sizeof said / sizeof *said; j++) {
            fake_app_fail(scene->app, cases[i].result, 1);
            CONVERSE({said[j], cases[i].answer});
        }
    }
}

/* The answer was begun already when the write failed. */
static void a_failed_write_leaves_one_answer(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"SET kv:a x", "+OK\r\n"});
    fake_app_fail(scene->app, TLY_OK, 0);
    char key[1200];
    (void)snprintf(key, sizeof key, "SET %0600d 1", 7);
    CONVERSE({key, "-ERR a key has 1 to 512 bytes\r\n"},
             {"MGET kv:a \"\"", "-ERR a key has 1 to 512 bytes\r\n"},
             {"EXISTS kv:a \"\"", "-ERR a key has 1 to 512 bytes\r\n"},
             {"DEL kv:a \"\"", "-ERR a key has 1 to 512 bytes\r\n"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(counters_count),
        SCENE(strings_live_under_kv),
        SCENE(epoch_keys_take_epoch_and_count),
        SCENE(set_obeys_its_options),
        SCENE(setex_is_set_with_a_deadline),
        SCENE(keys_are_counted_read_and_deleted),
        SCENE(deadlines_are_set_read_and_lifted),
        SCENE(past_its_deadline_a_key_is_absent),
        SCENE(deadlines_outlive_a_clock_that_is_set_back),
        SCENE(what_belongs_to_nodes_and_limits_is_not_written),
        SCENE(what_the_engine_says_is_said_in_redis_words),
        SCENE(a_failed_write_leaves_one_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
