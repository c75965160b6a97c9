/* CL.THROTTLE as redis-cell, THROTTLE as throttlecrab, and the named limits. */
#include "tests/shell/support_resp.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <stdio.h>

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

/* As redis-cell, which lets its key expire then. */
static void a_bucket_is_there_until_it_is_full(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"CL.THROTTLE u 4 1 2 3", "*5\r\n:0\r\n:5\r\n:2\r\n:-1\r\n:6\r\n"}, {"PTTL rl:a:u", ":6000\r\n"},
             {"EXISTS rl:a:u", ":1\r\n"});
    fake_app_advance(scene->app, 5999);
    CONVERSE({"PTTL rl:a:u", ":1\r\n"}, {"KEYS rl:*", "*1\r\n$6\r\nrl:a:u\r\n"});
    fake_app_advance(scene->app, 1);
    CONVERSE({"PTTL rl:a:u", ":-2\r\n"}, {"EXISTS rl:a:u", ":0\r\n"}, {"KEYS rl:*", "*0\r\n"});
}

/* There is no value of it but in some window, of which a key may have several. */
static void a_windows_key_reads_as_absent_and_can_be_deleted(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL};
    fake_app_limit(scene->app, "api", "9/10s", TLY_FIXED_WINDOW, fields);
    (void)talk_say(scene->talk, "TLY.CHECK api tenant t HITS 4\r\n");
    CONVERSE({"EXISTS rl:n:api:t", ":0\r\n"}, {"GET rl:n:api:t", "$-1\r\n"}, {"TTL rl:n:api:t", ":-2\r\n"},
             {"KEYS *", "*0\r\n"}, {"DBSIZE", ":1\r\n"}, {"DEL rl:n:api:t", ":1\r\n"},
             {"DEL rl:n:api:t", ":0\r\n"}, {"TLY.REFUND api tenant t HITS 4", ":0\r\n"});
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

static void throttle_is_throttlecrabs(void **state)
{
    struct scene *scene = *state;
#define BAD "-ERR Rate limit check failed: "
    CONVERSE({"THROTTLE u 5 1 1 6", "*5\r\n:0\r\n:5\r\n:5\r\n:0\r\n:1\r\n"},
             {"THROTTLE u 5 1 1", "*5\r\n:1\r\n:5\r\n:4\r\n:1\r\n:0\r\n"},
             {"THROTTLE u 5 1 1 0", "*5\r\n:1\r\n:5\r\n:4\r\n:1\r\n:0\r\n"},
             {"throttle u 5 1 1 4", "*5\r\n:1\r\n:5\r\n:0\r\n:5\r\n:0\r\n"},
             {"THROTTLE u 5 1 1", "*5\r\n:0\r\n:5\r\n:0\r\n:5\r\n:1\r\n"});
    fake_app_advance(scene->app, 2500);
    CONVERSE({"THROTTLE u 5 1 1 2", "*5\r\n:1\r\n:5\r\n:0\r\n:5\r\n:0\r\n"},
             {"THROTTLE u 5 1 1", "*5\r\n:0\r\n:5\r\n:0\r\n:5\r\n:1\r\n"},
             {"THROTTLE", "-ERR wrong number of arguments for 'throttle' command\r\n"},
             {"THROTTLE u 5 1 1 1 1", "-ERR wrong number of arguments for 'throttle' command\r\n"},
             {"THROTTLE u x 1 1", "-ERR invalid max_burst\r\n"},
             {"THROTTLE u 5 1.5 1", "-ERR invalid count_per_period\r\n"},
             {"THROTTLE u 5 1 9223372036854775808", "-ERR invalid period\r\n"},
             {"THROTTLE u 5 1 1 \"\"", "-ERR invalid quantity\r\n"},
             {"THROTTLE u 5 1 1 -1", BAD "negative quantity: -1\r\n"},
             {"THROTTLE u 0 1 1", BAD "invalid rate limit parameters\r\n"},
             {"THROTTLE u 5 0 1", BAD "invalid rate limit parameters\r\n"},
             {"THROTTLE u 5 1 -1", BAD "invalid rate limit parameters\r\n"},
             {"THROTTLE u 5 1 9223372036854775807", BAD "invalid rate limit parameters\r\n"},
             {"THROTTLE u 9223372036854775807 1 1000000", BAD "invalid rate limit parameters\r\n"},
             /* One bucket, whichever command asks. */
             {"DEL u", ":1\r\n"}, {"CL.THROTTLE u 4 1 1 5", "*5\r\n:0\r\n:5\r\n:0\r\n:-1\r\n:5\r\n"},
             {"THROTTLE u 5 1 1", "*5\r\n:0\r\n:5\r\n:0\r\n:5\r\n:1\r\n"});
}

/* Its formula: a request passes if tat + increment - emission * (max_burst - 1) is not later than now, tat being one emission ago at first. */
static void crab_throttle(int64_t *stored, int64_t now, const int64_t arg[4], char *answer)
{
    int64_t emission = arg[2] * 1000000000 / arg[1], tolerance = emission * (arg[0] - 1),
            idle = now - emission, tat = *stored > idle ? *stored : idle, next = tat + emission * arg[3],
            early = next - tolerance - now;
    bool allowed = early <= 0;
    if (allowed && arg[3] > 0) *stored = next;
    if (allowed) tat = next;
    int64_t room = tolerance - (tat - now);
    (void)sprintf(answer, "*5\r\n:%d\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n:%" PRId64 "\r\n",
                  allowed, arg[0], room < 0 ? 0 : room / emission,
                  (tat + emission - now + 999999999) / 1000000000,
                  allowed ? 0 : (early + 999999999) / 1000000000);
}

static void random_throttles_follow_throttlecrabs_formula(void **state)
{
    struct scene *scene = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    int64_t tat[8] = {0};
    size_t allowed = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t key = (size_t)test_rng_below(&rng, 8);
        const int64_t arg[4] = {(int64_t)(1 + key * 3), (int64_t)(1 + key * 7), (int64_t)(1 + key * key),
                                (int64_t)test_rng_below(&rng, 5)};
        char said[128], expected[160];
        (void)snprintf(said, sizeof said, "THROTTLE k%zu %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\r\n",
                       key, arg[0], arg[1], arg[2], arg[3]);
        crab_throttle(&tat[key], (int64_t)tly_app_now(scene->app).wall_ns, arg, expected);
        const char *answer = talk_say(scene->talk, said);
        if (strcmp(answer, expected) != 0) print_message("%zu: %s%s%s", i, said, answer, expected);
        claim(strcmp(answer, expected) == 0);
        allowed += answer[5] == '1';
        fake_app_advance(scene->app, test_rng_below(&rng, 200));
    }
    claim(allowed > 1000 && allowed < 9000);
}

static void named_limits_are_checked_peeked_and_reset(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", "route", NULL};
    fake_app_limit(scene->app, "api", "2/10s", TLY_FIXED_WINDOW, fields);
#define VERDICT(code, remaining, retry, reason, why)                        \
    code "\r\n$5\r\nlimit\r\n:2\r\n$9\r\nremaining\r\n:" remaining          \
         "\r\n$8\r\nreset_ms\r\n:10000\r\n$14\r\nretry_after_ms\r\n:" retry \
         "\r\n$4\r\nname\r\n$3\r\napi\r\n" HOW reason "$3\r\nwhy\r\n" why "\r\n"
#define HOW "$4\r\nmode\r\n$10\r\noptimistic\r\n$5\r\nbound\r\n:0\r\n$6\r\nreason\r\n"
#define NONE "$4\r\nnone\r\n"
#define LIMIT "$5\r\nlimit\r\n"
#define OF_USED(used, hits) "$20\r\n" used " used + " hits " hits of 2"
#define OK "*20\r\n$4\r\ncode\r\n$2\r\nok"
#define OVER "*20\r\n$4\r\ncode\r\n$4\r\nover"
    CONVERSE(
        {"TLY.CHECK api tenant t1 route /x", VERDICT(OK, "1", "0", NONE, OF_USED("0", "1"))},
        {"TLY.CHECK api route /x tenant t1", VERDICT(OK, "0", "0", NONE, OF_USED("1", "1"))},
        {"TLY.CHECK api route /x tenant t1 hits 1", VERDICT(OVER, "0", "10000", LIMIT, OF_USED("2", "1"))},
        {"TLY.CHECK api route /x tenant t1 HITS 3", VERDICT(OVER, "0", "-1", LIMIT, OF_USED("2", "3"))},
        {"TLY.CHECK api route /x tenant t2 hits 2", VERDICT(OK, "0", "0", NONE, OF_USED("0", "2"))},
        {"TLY.PEEK api route /x tenant t1", VERDICT(OK, "0", "0", NONE, OF_USED("2", "0"))},
        {"TLY.RESET api route /x tenant t1", ":1\r\n"}, {"TLY.RESET api route /x tenant t1", ":0\r\n"},
        {"TLY.CHECK api tenant t1 route /x", VERDICT(OK, "1", "0", NONE, OF_USED("0", "1"))});
}

static void several_limits_are_one_check(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL};
    fake_app_limit(scene->app, "api", "2/10s", TLY_FIXED_WINDOW, fields);
    fake_app_limit(scene->app, "org", "2/10s", TLY_FIXED_WINDOW, fields);
    static const char both[] = "TLY.CHECK api tenant t1 AND org tenant and hits 2";
    static const char *const said[] = {"*2\r\n", "\r\nok\r\n", "\r\norg\r\n"};
    char line[256];
    (void)snprintf(line, sizeof line, "%s\r\n", both);
    const char *answer = talk_say(scene->talk, line);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(strstr(answer, said[i]));
    assert_null(strstr(answer, "over"));
    answer = talk_say(scene->talk, line);
    assert_non_null(strstr(answer, "\r\nover\r\n"));
    /* What only another limit refused was looked at. */
    answer = talk_say(scene->talk, "TLY.CHECK api tenant t2 HITS 2 AND org tenant and\r\n");
    assert_non_null(strstr(answer, "\r\n0 used + 0 hits of 2\r\n"));
    CONVERSE({"TLY.REFUND api tenant t1", ":1\r\n"}, {"TLY.REFUND api tenant t1", ":0\r\n"});
    (void)snprintf(line, sizeof line, "%s CHARGE ALL\r\n", both);
    answer = talk_say(scene->talk, line);
    assert_non_null(strstr(answer, "\r\nover\r\n"));
    CONVERSE(
        {"TLY.REFUND api tenant t1 HITS 5 AT 1", ":0\r\n"}, {"TLY.REFUND api tenant t1 HITS 5", ":1\r\n"},
        {"TLY.REFUND org tenant and HITS 1", ":1\r\n"}, {"TLY.REFUND nope", "-ERR no limit of that name\r\n"},
        {"TLY.REFUND api AT x", NOT_INT}, {"TLY.CHECK api AND", "-ERR syntax error\r\n"},
        {"TLY.CHECK api CHARGE", "-ERR syntax error\r\n"}, {"TLY.PEEK api AND org", "-ERR syntax error\r\n"},
        {"TLY.CHECK api AND org tenant a b", "-ERR syntax error\r\n"});
}

static void a_reservation_is_settled_by_its_id(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL};
    fake_app_limit(scene->app, "api", "9/10s", TLY_FIXED_WINDOW, fields);
    const char *answer = talk_say(scene->talk, "TLY.RESERVE api tenant t HITS 5 TTL 1000 ID one\r\n");
    assert_ptr_equal(strstr(answer, "*2\r\n$3\r\none\r\n"), answer);
    answer = talk_say(scene->talk, "TLY.RESERVE api tenant t HITS 5\r\n");
    assert_ptr_equal(strstr(answer, "*2\r\n$-1\r\n"), answer);
    CONVERSE(
        {"TLY.COMMIT one 7", ":7\r\n"}, {"TLY.COMMIT one 7", ":7\r\n"}, {"TLY.CANCEL one", ":7\r\n"},
        {"TLY.REFUND api tenant t HITS 9", ":7\r\n"}, {"TLY.COMMIT one x", NOT_INT},
        {"TLY.CANCEL two", "-ERR this node has no reservation or lease of that id\r\n"},
        {"TLY.RESERVE api TTL x", NOT_INT}, {"TLY.RESERVE api TTL 0", "-ERR TTL: 1 to 86400000\r\n"},
        {"TLY.RESERVE api TTL 86400001", "-ERR TTL: 1 to 86400000\r\n"},
        {"TLY.COMMIT one 4294967296", "-ERR HITS: 0 to 4294967295\r\n"},
        {"TLY.COMMIT one -1", "-ERR HITS: 0 to 4294967295\r\n"}, {"TLY.COMMIT one x", NOT_INT},
        {"CL.THROTTLE k 5 9223372036854775807 1",
         "-Cell error: rate and burst: a bucket of at most one unit per ns, filled within 366 days, was expected\r\n"},
        {"TLY.RESERVE nope", "-ERR no limit of that name\r\n"});
    answer = talk_say(scene->talk, "TLY.RESERVE api tenant t HITS 5\r\n");
    assert_ptr_equal(strstr(answer, "*2\r\n$32\r\n"), answer);
}

static void options_stand_in_any_order_beside_the_fields(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL}, *const same_word[] = {"id", "hits", NULL};
    fake_app_limit(scene->app, "api", "100/10s", TLY_FIXED_WINDOW, fields);
    fake_app_limit(scene->app, "items", "100/10s", TLY_FIXED_WINDOW, same_word);
    static const char *const orders[] = {"TLY.RESERVE api tenant t TTL 1000 HITS 5 ID a\r\n",
                                         "TLY.RESERVE api HITS 5 ID b TTL 1000 tenant t\r\n",
                                         "TLY.RESERVE api ID c tenant t hits 5\r\n",
                                         "TLY.RESERVE items id 7 HITS 5 ID d hits 8\r\n"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        char start[] = "*2\r\n$1\r\na\r\n", cancel[] = "TLY.CANCEL a\r\n";
        start[8] = cancel[11] = (char)('a' + i);
        const char *answer = talk_say(scene->talk, orders[i]);
        assert_ptr_equal(strstr(answer, start), answer);
        assert_non_null(strstr(answer, "used + 5 hits of 100"));
        assert_string_equal(talk_say(scene->talk, cancel), ":0\r\n");
    }
    CONVERSE({"TLY.REFUND api HITS 5 AT 1 tenant t", ":0\r\n"},
             {"TLY.REFUND api AT 1 tenant t HITS 5", ":0\r\n"},
             {"TLY.CHECK api HITS 1 tenant t HITS 1", "-ERR syntax error\r\n"},
             {"TLY.RESERVE api tenant t ID a ID b", "-ERR syntax error\r\n"});
    (void)talk_say(scene->talk, "TLY.CHECK items id 1 HITS 3 hits 2\r\n");
    CONVERSE({"TLY.REFUND items id 1 hits 2 HITS 9", ":3\r\n"});
}

static void what_may_be_in_flight_is_acquired_and_released(void **state)
{
    struct scene *scene = *state;
    static const char *const fields[] = {"tenant", NULL};
    fake_app_limit(scene->app, "jobs", "5/10s", TLY_CONCURRENCY, fields);
    const char *answer = talk_say(scene->talk, "TLY.ACQUIRE jobs tenant t HITS 5 TTL 1000 ID one\r\n");
    assert_ptr_equal(strstr(answer, "*2\r\n$3\r\none\r\n"), answer);
    answer = talk_say(scene->talk, "TLY.ACQUIRE jobs tenant t\r\n");
    assert_ptr_equal(strstr(answer, "*2\r\n$-1\r\n"), answer);
    assert_non_null(strstr(answer, "5 in flight (5 from here, 0 from other nodes) + 1 hits of 5"));
    CONVERSE({"TLY.RELEASE one", ":0\r\n"},
             {"TLY.RELEASE one", "-ERR this node has no reservation or lease of that id\r\n"},
             {"TLY.CHECK jobs tenant t",
              "-ERR what may be in flight at once is acquired and released, and not counted\r\n"});
    answer = talk_say(scene->talk, "TLY.PEEK jobs tenant t\r\n");
    assert_non_null(strstr(answer, "remaining\r\n:5\r\n"));
}

static void a_limit_without_a_name_is_complained_of_and_not_its_key(void **state)
{
#define NAMELESS "-ERR limit: the name of a limit\r\n"
    CONVERSE({"TLY.CHECK \"\"", NAMELESS}, {"TLY.CHECK \"\" tenant acme", NAMELESS},
             {"TLY.CHECK org tenant acme AND \"\" tenant acme", NAMELESS}, {"TLY.PEEK \"\"", NAMELESS},
             {"TLY.RESET \"\"", NAMELESS}, {"TLY.REFUND \"\"", NAMELESS}, {"TLY.RESERVE \"\"", NAMELESS},
             {"TLY.ACQUIRE \"\"", NAMELESS});
#undef NAMELESS
}

static void a_limit_that_is_not_there_is_unknown(void **state)
{
    CONVERSE({"TLY.CHECK nope",
              "*20\r\n$4\r\ncode\r\n$7\r\nunknown\r\n$5\r\nlimit\r\n:0\r\n$9\r\nremaining\r\n:0\r\n$8\r\n"
              "reset_ms\r\n:0\r\n$14\r\nretry_after_ms\r\n:0\r\n$4\r\nname\r\n$4\r\nnope\r\n" HOW
              "$8\r\nno_limit\r\n$3\r\nwhy\r\n$30\r\nthere is no limit of this name\r\n"},
             {"TLY.RESET nope", "-ERR no limit of that name\r\n"},
             {"TLY.CHECK nope a", "-ERR syntax error\r\n"}, {"TLY.CHECK nope HITS x", NOT_INT},
             {"TLY.CHECK nope HITS -1", NOT_INT}, {"TLY.CHECK nope HITS 4294967296", NOT_INT},
             {"TLY.CHECK nope a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9", "-ERR a limit has at most 8 fields\r\n"});
}

static void a_verdict_is_a_map_in_resp3(void **state)
{
    struct scene *scene = *state;
    (void)talk_say(scene->talk, "HELLO 3\r\n");
    assert_int_equal(strncmp(talk_say(scene->talk, "TLY.CHECK nope\r\n"), "%10\r\n$4\r\ncode\r\n", 15), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(throttle_answers_as_redis_cell),
        SCENE(a_bucket_is_there_until_it_is_full),
        SCENE(a_windows_key_reads_as_absent_and_can_be_deleted),
        SCENE(throttle_has_redis_cells_errors),
        SCENE(deleting_a_key_resets_its_throttle),
        SCENE(random_throttles_follow_redis_cells_formulas),
        SCENE(throttle_is_throttlecrabs),
        SCENE(random_throttles_follow_throttlecrabs_formula),
        SCENE(named_limits_are_checked_peeked_and_reset),
        SCENE(several_limits_are_one_check),
        SCENE(a_reservation_is_settled_by_its_id),
        SCENE(options_stand_in_any_order_beside_the_fields),
        SCENE(what_may_be_in_flight_is_acquired_and_released),
        SCENE(a_limit_without_a_name_is_complained_of_and_not_its_key),
        SCENE(a_limit_that_is_not_there_is_unknown),
        SCENE(a_verdict_is_a_map_in_resp3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
