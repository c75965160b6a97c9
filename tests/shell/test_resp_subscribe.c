/* SUBSCRIBE and its like: refusals are heard, in both protocols, and whoever is slow costs nothing. */
#include "service/shell/resp.h"
#include "tests/shell/support_resp.h"
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

#define OVER_API "$8\r\nover:api\r\n"
#define SUBSCRIBED_API "*3\r\n$9\r\nsubscribe\r\n" OVER_API ":1\r\n"
#define RESYNC "$15\r\n{\"resync\":true}\r\n"

static struct talk *other_talk(struct scene *scene)
{
    return talk_new(scene->app, tly_resp_protocol());
}

static void refuse(struct tly_app *app, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_CHECK, .check = {.key = tly_slice_text(key), .hits = 2}};
    request.check.rate = (struct tly_rate){.limit = 1, .window_ms = 86400000, .algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(tly_app_ask(app, &request, &reply), TLY_OK);
    assert_int_equal(reply.verdict.code, TLY_CODE_OVER);
}

#define assert_begins(heard, text) assert_memory_equal(heard, text, sizeof(text) - 1)

/* How often `part` is in what was heard. */
static size_t times_in(const char *heard, const char *part)
{
    size_t times = 0;
    for (const char *at = heard; (at = strstr(at, part)) != NULL; at += strlen(part))
        times++;
    return times;
}

static void names_are_counted_as_redis_counts_them(void **state)
{
    struct scene *scene = *state;
    CONVERSE(
        {"SUBSCRIBE over:api", SUBSCRIBED_API}, {"SUBSCRIBE over:api", SUBSCRIBED_API},
        {"PSUBSCRIBE a* over*",
         "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:2\r\n*3\r\n$10\r\npsubscribe\r\n$5\r\nover*\r\n:3\r\n"},
        {"UNSUBSCRIBE nope", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnope\r\n:3\r\n"},
        {"PUNSUBSCRIBE", "*3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:2\r\n"
                         "*3\r\n$12\r\npunsubscribe\r\n$5\r\nover*\r\n:1\r\n"},
        {"UNSUBSCRIBE over:api", "*3\r\n$11\r\nunsubscribe\r\n" OVER_API ":0\r\n"},
        {"UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"}, {"GET a", "$-1\r\n"},
        {"SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command\r\n"});
    assert_false(talk_is_closed(scene->talk));
}

static void in_resp2_who_hears_says_little_else(void **state)
{
    CONVERSE({"SUBSCRIBE over:api", SUBSCRIBED_API},
             {"GET a", "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                       "RESET are allowed in this context\r\n"},
             {"PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"}, {"PING x", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n"},
             {"RESET", "+RESET\r\n"}, {"GET a", "$-1\r\n"}, {"MULTI", "+OK\r\n"},
             {"SUBSCRIBE x", "-ERR Command not allowed inside a transaction\r\n"}, {"RESET", "+RESET\r\n"},
             {"SUBSCRIBE over:api", SUBSCRIBED_API}, {"QUIT", "+OK\r\n"});
}

static void a_refusal_is_heard_on_its_channels(void **state)
{
    static const char *const fields[] = {"tenant", NULL};
    struct scene *scene = *state;
    fake_app_limit(scene->app, "api", "1/1d", TLY_FIXED_WINDOW, fields);
    struct talk *other = other_talk(scene);
    CONVERSE({"SUBSCRIBE over:api", SUBSCRIBED_API},
             {"PSUBSCRIBE ove?", "*3\r\n$10\r\npsubscribe\r\n$4\r\nove?\r\n:2\r\n"});
    (void)talk_say(other, "TLY.CHECK api tenant t1\r\n");
    assert_int_equal(talk_wake(scene->talk).n, 0);
    (void)talk_say(other, "TLY.CHECK api tenant t1\r\nTLY.CHECK api tenant t1\r\n");
    const char *heard = (const char *)talk_wake(scene->talk).p;
    assert_begins(heard, "*3\r\n$7\r\nmessage\r\n" OVER_API "$");
    assert_int_equal(times_in(heard, "message"), 1);
    assert_int_equal(times_in(heard, "{\"key\":\"rl:n:api:t1\",\"at_ms\":1767225600000,\"times\":2,"), 1);
    assert_int_equal(talk_wake(scene->talk).n, 0);
    refuse(scene->app, "k");
    heard = (const char *)talk_wake(scene->talk).p;
    assert_begins(heard, "*4\r\n$8\r\npmessage\r\n$4\r\nove?\r\n$4\r\nover\r\n$");
    assert_int_equal(times_in(heard, "{\"key\":\"rl:a:k\","), 1);
    talk_free(other);
}

static void in_resp3_it_is_a_push_between_answers(void **state)
{
    struct scene *scene = *state;
    (void)talk_say(scene->talk, "HELLO 3\r\n");
    CONVERSE({"SUBSCRIBE over", ">3\r\n$9\r\nsubscribe\r\n$4\r\nover\r\n:1\r\n"}, {"INCR a", ":1\r\n"},
             {"PING", "+PONG\r\n"});
    refuse(scene->app, "k");
    assert_begins((const char *)talk_wake(scene->talk).p, ">3\r\n$7\r\nmessage\r\n$4\r\nover\r\n$");
    CONVERSE({"GET a", "$1\r\n1\r\n"}, {"UNSUBSCRIBE", ">3\r\n$11\r\nunsubscribe\r\n$4\r\nover\r\n:0\r\n"});
    refuse(scene->app, "k");
    assert_int_equal(talk_wake(scene->talk).n, 0);
}

static void refusals_from_before_are_not_told(void **state)
{
    struct scene *scene = *state;
    refuse(scene->app, "k");
    CONVERSE({"SUBSCRIBE over", "*3\r\n$9\r\nsubscribe\r\n$4\r\nover\r\n:1\r\n"});
    assert_int_equal(talk_wake(scene->talk).n, 0);
}

static void who_missed_some_is_told_so(void **state)
{
    struct scene *scene = *state;
    CONVERSE({"PSUBSCRIBE over*", "*3\r\n$10\r\npsubscribe\r\n$5\r\nover*\r\n:1\r\n"});
    for (size_t i = 0; i < 2000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", i);
        refuse(scene->app, key);
    }
    const char *heard = (const char *)talk_wake(scene->talk).p;
    assert_begins(heard, "*4\r\n$8\r\npmessage\r\n$5\r\nover*\r\n$4\r\nover\r\n" RESYNC);
    assert_int_equal(times_in(heard, "resync"), 1);
    assert_in_range(times_in(heard, "{\"key\":\"rl:a:k"), 200, 256);
    assert_int_equal(times_in(heard, "{\"key\":\"rl:a:k1999\","), 1);
    assert_int_equal(talk_wake(scene->talk).n, 0);
}

static void too_many_names_are_none(void **state)
{
    struct scene *scene = *state;
    static char said[5000] = "SUBSCRIBE ok ";
    for (size_t i = 13; i < 4500; i++)
        said[i] = 'x';
    memcpy(said + 4500, "\r\n", 3);
    assert_string_equal(talk_say(scene->talk, said),
                        "-ERR one connection subscribes to no more than 4096 bytes of names\r\n");
    CONVERSE({"GET a", "$-1\r\n"}, {"SUBSCRIBE over:api", SUBSCRIBED_API});
}

static void the_128th_subscriber_is_the_last(void **state)
{
    struct scene *scene = *state;
    struct talk *talks[TLY_WATCHERS_MAX];
    for (size_t i = 0; i < TLY_WATCHERS_MAX; i++) {
        talks[i] = other_talk(scene);
        assert_string_equal(talk_say(talks[i], "SUBSCRIBE over:api\r\n"), SUBSCRIBED_API);
    }
    CONVERSE({"SUBSCRIBE over:api", "-ERR 128 clients subscribe already\r\n"}, {"GET a", "$-1\r\n"});
    for (size_t i = 0; i < TLY_WATCHERS_MAX; i++)
        talk_free(talks[i]);
    CONVERSE({"SUBSCRIBE over:api", SUBSCRIBED_API});
}

/* ---- on a socket ---- */

static bool has_last(void *context)
{
    return strstr(visitor_heard(context), "\"key\":\"rl:a:last\"") != NULL;
}

static void a_slow_subscriber_costs_a_bounded_number_of_bytes_and_gets_a_mark(void **state)
{
    struct street *street = *state;
    street_open(street, tly_resp_protocol());
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "SUBSCRIBE over\r\n");
    visitor_hears(visitor, "*3\r\n$9\r\nsubscribe\r\n$4\r\nover\r\n:1\r\n");
    visitor_listen(visitor, false);
    for (size_t i = 0; i < 100000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", i);
        refuse(street->app, key);
        if (i % 100 == 0) tly_door_wake(street->door);
    }
    street_settle(street);
    visitor_listen(visitor, true);
    refuse(street->app, "last");
    street_until(street, has_last, visitor);
    const char *heard = visitor_heard(visitor);
    assert_non_null(strstr(heard, RESYNC));
    /* Of the hundred thousand what sockets and the door hold: the rest was never written. */
    assert_in_range(times_in(heard, "$7\r\nmessage\r\n"), 256, 50000);
    visitor_free(visitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(names_are_counted_as_redis_counts_them),
        SCENE(in_resp2_who_hears_says_little_else),
        SCENE(a_refusal_is_heard_on_its_channels),
        SCENE(in_resp3_it_is_a_push_between_answers),
        SCENE(refusals_from_before_are_not_told),
        SCENE(who_missed_some_is_told_so),
        SCENE(too_many_names_are_none),
        SCENE(the_128th_subscriber_is_the_last),
        STREET(a_slow_subscriber_costs_a_bounded_number_of_bytes_and_gets_a_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
