/* The RESP door's conversations: every command as clients of redis know it, on a real engine in virtual time. */
#include "service/shell/resp.h"
#include "tests/shell/support_fake_app.h"
#include "tests/shell/support_talk.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct scene {
    struct tly_app *app;
    struct talk *talk;
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (scene == NULL) return -1;
    scene->app = fake_app_new(NULL);
    scene->talk = talk_new(scene->app, tly_resp_protocol());
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    talk_free(scene->talk);
    fake_app_free(scene->app);
    free(scene);
    return test_mem_live() == 0 ? 0 : -1;
}

/* One line each: what is said, and the whole answer. */
struct line {
    const char *said, *answer;
};

static void converse(struct scene *scene, const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char said[1024];
        (void)snprintf(said, sizeof said, "%s\r\n", lines[i].said);
        const char *answer = talk_say(scene->talk, said);
        if (strcmp(answer, lines[i].answer) != 0) print_message("said: %s\n", lines[i].said);
        assert_string_equal(answer, lines[i].answer);
    }
}

#define CONVERSE(...)                                          \
    do {                                                       \
        const struct line lines[] = {__VA_ARGS__};             \
        converse(*state, lines, sizeof lines / sizeof *lines); \
    } while (0)

#define WRONGTYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"

/* ---- counters and registers ---- */

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
             {"SET n 1 PXAT 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"},
             {"PTTL n", ":500\r\n"});
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
    CONVERSE({"EXISTS a kv:b", ":0\r\n"}, {"TTL a", ":-2\r\n"}, {"INCR a", ":1\r\n"}, {"TTL a", ":-1\r\n"});
}

static void what_belongs_to_nodes_and_limits_is_not_written(void **state)
{
    static const char by_node[] = "-ERR keys under sys: are written by the nodes themselves\r\n";
    static const char by_limit[] =
        "-ERR keys under rl: belong to limits: they are checked or deleted, not set\r\n";
    CONVERSE({"SET sys:a x", by_node}, {"DEL sys:a", by_node}, {"DEL b sys:a", by_node},
             {"INCR rl:a", by_limit}, {"SET rl:a 1", by_limit}, {"EXPIRE rl:a 1", by_limit},
             {"PERSIST rl:a", by_limit}, {"GETDEL rl:a", by_limit}, {"SETEX rl:a 1 1", by_limit},
             {"DEL rl:a", ":0\r\n"}, {"GET sys:a", "$-1\r\n"}, {"GET rl:a", "$-1\r\n"});
}

static void what_the_engine_says_is_said_in_redis_words(void **state)
{
    struct scene *scene = *state;
    static const struct {
        enum tly_result result;
        const char *answer;
    } cases[] = {
        {TLY_NOMEM, "-OOM out of memory\r\n"},
        {TLY_FULL, "-OOM the store holds as many keys as it may\r\n"},
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

/* ---- limits ---- */

static void throttle_answers_as_redis_cell(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"CL.THROTTLE u 4 1 1 6", "*5\r\n:1\r\n:5\r\n:5\r\n:-1\r\n:0\r\n"},
             {"CL.THROTTLE u 4 1 1", "*5\r\n:0\r\n:5\r\n:4\r\n:-1\r\n:1\r\n"},
             {"CL.THROTTLE u 4 1 1 0", "*5\r\n:0\r\n:5\r\n:4\r\n:-1\r\n:1\r\n"},
             {"cl.throttle u 4 1 1 4", "*5\r\n:0\r\n:5\r\n:0\r\n:-1\r\n:5\r\n"},
             {"CL.THROTTLE u 4 1 1", "*5\r\n:1\r\n:5\r\n:0\r\n:1\r\n:5\r\n"});
    fake_app_advance(scene->app, 3000);
    CONVERSE({"CL.THROTTLE u 4 1 1", "*5\r\n:0\r\n:5\r\n:2\r\n:-1\r\n:3\r\n"});
    fake_app_advance(scene->app, 100);
    CONVERSE({"CL.THROTTLE u 4 1 1", "*5\r\n:0\r\n:5\r\n:1\r\n:-1\r\n:4\r\n"},
             {"CL.THROTTLE u 4 1 1 5", "*5\r\n:1\r\n:5\r\n:1\r\n:4\r\n:4\r\n"});
}

static void throttle_has_redis_cells_errors(void **state)
{
    static const char usage[] =
        "-Cell error: Usage: cl.throttle <key> <max_burst> <count per period> <period> [<quantity>]\r\n";
    static const char zero[] = "-Cell error: Zero rates are not supported\r\n";
    static const char negative[] = "-Cell error: Negative numbers are not supported\r\n";
    CONVERSE({"CL.THROTTLE", usage}, {"CL.THROTTLE a 1 2", usage}, {"CL.THROTTLE a 1 2 3 4 5", usage},
             {"CL.THROTTLE a x 2 3", "-Cell error: Couldn't parse as integer: x\r\n"},
             {"CL.THROTTLE a 1 2 3 9223372036854775808",
              "-Cell error: Couldn't parse as integer: 9223372036854775808\r\n"},
             {"CL.THROTTLE a 1 2 \"\"", "-Cell error: Couldn't parse as integer: \r\n"},
             {"CL.THROTTLE a 1 0 3", zero}, {"CL.THROTTLE a 1 2 0", zero}, {"CL.THROTTLE a -1 2 3", negative},
             {"CL.THROTTLE a 1 -2 3", negative}, {"CL.THROTTLE a 1 2 -3", negative},
             {"CL.THROTTLE a 1 2 3 -1", negative},
             {"CL.THROTTLE a 9223372036854775807 1 1", "-Cell error: Number too large\r\n"},
             {"CL.THROTTLE a 1 1 9223372036854775807", "-Cell error: Number too large\r\n"},
             {"CL.THROTTLE a 1 1 1 4294967296", "-Cell error: Number too large\r\n"},
             {"CL.THROTTLE a +1 002 3", "*5\r\n:0\r\n:2\r\n:1\r\n:-1\r\n:2\r\n"});
}

static void deleting_a_key_resets_its_throttle(void **state)
{
    CONVERSE({"CL.THROTTLE u 0 1 60", "*5\r\n:0\r\n:1\r\n:0\r\n:-1\r\n:60\r\n"},
             {"CL.THROTTLE u 0 1 60", "*5\r\n:1\r\n:1\r\n:0\r\n:60\r\n:60\r\n"}, {"DEL u", ":1\r\n"},
             {"CL.THROTTLE u 0 1 60", "*5\r\n:0\r\n:1\r\n:0\r\n:-1\r\n:60\r\n"}, {"INCR u", ":1\r\n"},
             {"DEL u", ":1\r\n"}, {"EXISTS u", ":0\r\n"},
             {"CL.THROTTLE u 0 1 60", "*5\r\n:0\r\n:1\r\n:0\r\n:-1\r\n:60\r\n"});
}

/* redis-cell's formulas in whole nanoseconds. */
struct cell {
    int64_t tat;
};

static void cell_throttle(struct cell *cell, int64_t now, const int64_t arg[4], char *answer)
{
    int64_t emission = arg[2] * 1000000000 / arg[1], tolerance = emission * (arg[0] + 1),
            increment = emission * arg[3];
    int64_t tat = cell->tat > now ? cell->tat : now, diff = now - (tat + increment - tolerance), retry = -1,
            ttl;
    bool limited = diff < 0;
    if (limited) {
        if (increment <= tolerance) retry = -diff;
        ttl = tat - now;
    } else {
        ttl = tat + increment - now;
        if (arg[3] > 0) cell->tat = tat + increment;
    }
    int64_t remaining = ttl > tolerance ? 0 : (tolerance - ttl) / emission;
    (void)sprintf(answer, "*5\r\n:%d\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n",
                  limited, arg[0] + 1, remaining, retry < 0 ? -1 : (retry + 999999999) / 1000000000,
                  (ttl + 999999999) / 1000000000);
}

static void random_throttles_follow_redis_cells_formulas(void **state)
{
    struct scene *scene = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct cell cells[8] = {0};
    size_t limited = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t key = (size_t)test_rng_below(&rng, 8);
        const int64_t arg[4] = {(int64_t)(key * 3), (int64_t)(1 + key * 7), (int64_t)(1 + key * key),
                                (int64_t)test_rng_below(&rng, 5)};
        char said[128], expected[160];
        (void)snprintf(said, sizeof said,
                       "CL.THROTTLE k%zu %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\r\n", key, arg[0],
                       arg[1], arg[2], arg[3]);
        cell_throttle(&cells[key], (int64_t)tly_app_now(scene->app).wall_ns, arg, expected);
        const char *answer = talk_say(scene->talk, said);
        if (strcmp(answer, expected) != 0) print_message("%zu: %s%s%s", i, said, answer, expected);
        claim(strcmp(answer, expected) == 0);
        limited += answer[5] == '1';
        fake_app_advance(scene->app, test_rng_below(&rng, 200));
    }
    claim(limited > 1000 && limited < 9000);
}

static void named_limits_are_checked_peeked_and_reset(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", "route", NULL};
    fake_app_limit(scene->app, "api", "2/10s", TLY_FIXED_WINDOW, fields);
#define VERDICT(code, remaining, retry)                                     \
    code "\r\n$5\r\nlimit\r\n:2\r\n$9\r\nremaining\r\n:" remaining          \
         "\r\n$8\r\nreset_ms\r\n:10000\r\n$14\r\nretry_after_ms\r\n:" retry \
         "\r\n$4\r\nname\r\n$3\r\napi\r\n"
#define OK "*12\r\n$4\r\ncode\r\n$2\r\nok"
#define OVER "*12\r\n$4\r\ncode\r\n$4\r\nover"
    CONVERSE({"TLY.CHECK api tenant t1 route /x", VERDICT(OK, "1", "0")},
             {"TLY.CHECK api route /x tenant t1", VERDICT(OK, "0", "0")},
             {"TLY.CHECK api route /x tenant t1 hits 1", VERDICT(OVER, "0", "10000")},
             {"TLY.CHECK api route /x tenant t1 HITS 3", VERDICT(OVER, "0", "-1")},
             {"TLY.CHECK api route /x tenant t2 hits 2", VERDICT(OK, "0", "0")},
             {"TLY.PEEK api route /x tenant t1", VERDICT(OK, "0", "0")},
             {"TLY.RESET api route /x tenant t1", ":1\r\n"}, {"TLY.RESET api route /x tenant t1", ":0\r\n"},
             {"TLY.CHECK api tenant t1 route /x", VERDICT(OK, "1", "0")});
}

static void a_limit_that_is_not_there_is_unknown(void **state)
{
    CONVERSE({"TLY.CHECK nope",
              "*12\r\n$4\r\ncode\r\n$7\r\nunknown\r\n$5\r\nlimit\r\n:0\r\n$9\r\nremaining\r\n:0\r\n$8\r\n"
              "reset_ms\r\n:0\r\n$14\r\nretry_after_ms\r\n:0\r\n$4\r\nname\r\n$4\r\nnope\r\n"},
             {"TLY.RESET nope", "-ERR no limit of that name\r\n"},
             {"TLY.CHECK nope a", "-ERR syntax error\r\n"}, {"TLY.CHECK nope HITS x", NOT_INT},
             {"TLY.CHECK nope HITS -1", NOT_INT}, {"TLY.CHECK nope HITS 4294967296", NOT_INT},
             {"TLY.CHECK nope a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9", "-ERR a limit has at most 8 fields\r\n"});
}

static void a_verdict_is_a_map_in_resp3(void **state)
{
    struct scene *scene = *state;
    (void)talk_say(scene->talk, "HELLO 3\r\n");
    assert_int_equal(strncmp(talk_say(scene->talk, "TLY.CHECK nope\r\n"), "%6\r\n$4\r\ncode\r\n", 14), 0);
}

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
             {"HELLO 2 AUTH default x", NO_PASSWORD},
             {"HELLO 2 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'\r\n"},
             {"HELLO 2 NOPE", "-ERR Syntax error in HELLO option 'NOPE'\r\n"}, {"GET a", "_\r\n"},
             {"HELLO 2", in_2}, {"AUTH x", NO_PASSWORD}, {"AUTH default x", NO_PASSWORD},
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
         "$151\r\nid=7 addr=192.0.2.7:53412 laddr=127.0.0.1:7379 name=worker-1 age=0 idle=0 flags=N db=0 "
         "sub=0 psub=0 multi=-1 cmd=client resp=2 lib-name=node-redis(x) lib-ver=5.0.1\n\r\n"});
}

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
        {"CONFIG NOPE", "-ERR unknown subcommand 'NOPE'. Try CONFIG HELP.\r\n"},
        {"FOO", "-ERR unknown command 'FOO', with args beginning with: \r\n"},
        {"FOO a bc", "-ERR unknown command 'FOO', with args beginning with: 'a' 'bc' \r\n"},
        {"FOO \"a\\r\\nb\"", "-ERR unknown command 'FOO', with args beginning with: 'a  b' \r\n"},
        {"PING", "+PONG\r\n"});
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
              "*2\r\n$4\r\necho\r\n*6\r\n$7\r\nsummary\r\n$30\r\nAnswers with what it was given.\r\n"
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
        char said[256];
        (void)snprintf(said, sizeof said, "%s", commands[i].name);
        for (size_t args = 0; args < 9; args++) {
            if (strcmp(commands[i].name, "QUIT") != 0) {
                char line[300];
                (void)snprintf(line, sizeof line, "%s\r\n", said);
                assert_true(strlen(talk_say(scene->talk, line)) > 3);
                assert_string_equal(talk_say(scene->talk, "PING\r\n"), "+PONG\r\n");
            }
            strcat(said, " 1");
        }
    }
}

static void config_get_matches_patterns(void **state)
{
    struct scene *scene = *state;
    CONVERSE(
        {"CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"},
        {"CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
        {"CONFIG GET appendonly databases",
         "*4\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$9\r\ndatabases\r\n$1\r\n1\r\n"},
        {"CONFIG GET maxmem*y", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"},
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

/* ---- bytes ---- */

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
    struct scene *scene = *state;
    for (size_t cut = 0; cut < sizeof pipeline; cut++) {
        struct tly_app *app = fake_app_new(NULL);
        struct talk *talk = talk_new(app, tly_resp_protocol());
        struct tly_slice got = talk_say_cut(talk, tly_slice_text(pipeline), cut);
        assert_string_equal((const char *)got.p, answers);
        assert_int_equal(talk_left(talk), 0);
        talk_free(talk);
        fake_app_free(app);
    }
    (void)scene;
}

static void a_pipeline_byte_by_byte_gets_the_same_answers(void **state)
{
    struct scene *scene = *state;
    char all[sizeof answers + 64];
    size_t n = 0;
    for (size_t i = 0; i + 1 < sizeof pipeline; i++) {
        struct tly_slice got = talk_say_bytes(scene->talk, tly_slice_of(pipeline + i, 1));
        assert_true(n + got.n < sizeof all);
        memcpy(all + n, got.p, got.n);
        n += got.n;
    }
    all[n] = '\0';
    assert_string_equal(all, answers);
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
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(counters_count),
        SCENE(strings_live_under_kv),
        SCENE(epoch_keys_take_epoch_and_count),
        SCENE(set_obeys_its_options),
        SCENE(setex_is_set_with_a_deadline),
        SCENE(keys_are_counted_read_and_deleted),
        SCENE(deadlines_are_set_read_and_lifted),
        SCENE(past_its_deadline_a_key_is_absent),
        SCENE(what_belongs_to_nodes_and_limits_is_not_written),
        SCENE(what_the_engine_says_is_said_in_redis_words),
        SCENE(a_failed_write_leaves_one_answer),
        SCENE(throttle_answers_as_redis_cell),
        SCENE(throttle_has_redis_cells_errors),
        SCENE(deleting_a_key_resets_its_throttle),
        SCENE(random_throttles_follow_redis_cells_formulas),
        SCENE(named_limits_are_checked_peeked_and_reset),
        SCENE(a_limit_that_is_not_there_is_unknown),
        SCENE(a_verdict_is_a_map_in_resp3),
        SCENE(a_session_greets_and_ends),
        SCENE(what_follows_quit_is_not_done),
        SCENE(hello_chooses_the_protocol),
        SCENE(what_libraries_say_at_connect_succeeds),
        SCENE(unknown_client_words_fail_without_ending_the_session),
        SCENE(a_long_unknown_command_is_shown_in_part),
        SCENE(command_tells_what_there_is),
        SCENE(every_command_answers_something_to_any_number_of_arguments),
        SCENE(config_get_matches_patterns),
        SCENE(info_has_what_clients_look_for),
        SCENE(a_pipeline_cut_at_every_byte_gets_the_same_answers),
        SCENE(a_pipeline_byte_by_byte_gets_the_same_answers),
        SCENE(ten_thousand_in_one_go_are_answered_in_order),
        SCENE(a_strict_prefix_of_a_request_changes_nothing),
        SCENE(while_answers_pile_up_requests_wait),
        SCENE(lost_rhythm_ends_the_session_with_a_reason),
        SCENE(the_largest_value_is_kept_and_read),
        SCENE(an_answer_that_would_be_too_large_is_refused),
        SCENE(garbage_never_breaks_the_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
