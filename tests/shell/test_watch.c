/* GET /v1/watch on a real socket: events, slow readers, idle times, and what an ended watcher leaves. */
#include "service/shell/door.h"
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD                                                                     \
    "HTTP/1.1 200 OK\r\n" FAKE_DATE                                              \
    "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: " \
    "close\r\n\r\n: watching\n\n"

static struct visitor *watcher(struct street *street, const char *target)
{
    char request[256];
    struct visitor *visitor = visitor_new(street);
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    visitor_say(visitor, request);
    return visitor;
}

static void put(struct street *street, const char *key, struct tly_slice bytes)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_PUT, .key = tly_slice_text(key), .bytes = bytes};
    assert_int_equal(tly_app_ask(street->app, &request, &reply), TLY_OK);
}

static void add(struct street *street, const char *key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_text(key), .number = 1};
    assert_int_equal(tly_app_ask(street->app, &request, &reply), TLY_OK);
}

static void remove_key(struct street *street, struct tly_slice key)
{
    struct tly_reply reply;
    struct tly_request request = {.kind = TLY_ASK_REMOVE, .key = key};
    assert_int_equal(tly_app_ask(street->app, &request, &reply), TLY_OK);
}

static void each_change_is_an_event(void **state)
{
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch?prefix=kv%3A");
    visitor_hears(visitor, HEAD);
    put(street, "kv:a", tly_slice_text("x\"\n"));
    put(street, "kv:b", tly_slice_of("\xff\xfe", 2));
    add(street, "counter");
    tly_door_wake(street->door);
    remove_key(street, tly_slice_text("kv:a"));
    tly_door_wake(street->door);
    tly_door_wake(street->door);
    visitor_hears(
        visitor,
        HEAD "event: change\ndata: "
             "{\"key\":\"kv:a\",\"value\":\"x\\\"\\n\",\"origin\":\"0000000000abcdef\",\"local\":true}\n\n"
             "event: change\ndata: "
             "{\"key\":\"kv:b\",\"value_base64\":\"//4=\",\"origin\":\"0000000000abcdef\",\"local\":true}\n\n"
             "event: change\ndata: "
             "{\"key\":\"kv:a\",\"value\":null,\"origin\":\"0000000000abcdef\",\"local\":true}\n\n");
    visitor_free(visitor);
}

static void a_key_that_is_no_text_is_told_as_bytes(void **state)
{
    struct street *street = *state;
    struct tly_reply reply;
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch");
    visitor_hears(visitor, HEAD);
    struct tly_request request = {.kind = TLY_ASK_ADD, .key = tly_slice_of("\xff", 1), .number = 3};
    assert_int_equal(tly_app_ask(street->app, &request, &reply), TLY_OK);
    tly_door_wake(street->door);
    visitor_hears(visitor, HEAD "event: change\ndata: "
                                "{\"key_base64\":\"/w==\",\"value\":3,\"origin\":\"0000000000abcdef\","
                                "\"local\":true}\n\n");
    visitor_free(visitor);
}

static void what_cannot_be_watched_is_said(void **state)
{
    static const char *const wrong[][2] = {
        {"/v1/watch?prefix=%zz", "HTTP/1.1 400 Bad Request\r\n"},
        {"/v1/watch?prefix="
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
         "HTTP/1.1 200 OK\r\n"},
    };
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    for (size_t i = 0; i < 2; i++) {
        struct visitor *visitor = watcher(street, wrong[i][0]);
        street_settle(street);
        assert_memory_equal(visitor_heard(visitor), wrong[i][1], strlen(wrong[i][1]));
        visitor_free(visitor);
    }
}

static bool has_resync(void *context)
{
    return strstr(visitor_heard(context), "event: resync\ndata: {}\n\n") != NULL;
}

static void a_slow_reader_costs_a_bounded_number_of_bytes_and_gets_a_mark(void **state)
{
    struct street *street = *state;
    static uint8_t large[32 * 1024];
    memset(large, 'x', sizeof large);
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch?prefix=kv:");
    visitor_hears(visitor, HEAD);
    visitor_listen(visitor, false);
    struct tly_node_view before, after;
    tly_engine_node(tly_app_engine(street->app), false, &before);
    for (size_t i = 0; i < 40000; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "kv:%zu", i % 2000);
        large[0] = (uint8_t)('a' + i % 26);
        put(street, key, tly_slice_of(large, i < 2000 ? sizeof large : i % 100 + 1));
        if (i % 50 == 0) tly_door_wake(street->door);
    }
    street_settle(street);
    tly_engine_node(tly_app_engine(street->app), false, &after);
    assert_true(after.memory_used - after.bytes < before.memory_used - before.bytes + 512u * 1024u);
    visitor_listen(visitor, true);
    street_until(street, has_resync, visitor);
    put(street, "kv:last", tly_slice_text("here"));
    tly_door_wake(street->door);
    street_settle(street);
    assert_non_null(strstr(visitor_heard(visitor), "\"kv:last\",\"value\":\"here\""));
    visitor_free(visitor);
}

static void an_idle_watcher_is_kept_alive(void **state)
{
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch");
    visitor_hears(visitor, HEAD);
    for (int i = 0; i < 3; i++)
        street_advance(street, 120000);
    visitor_hears(visitor, HEAD ":\n\n:\n\n:\n\n");
    assert_false(visitor_is_over(visitor));
    visitor_free(visitor);
}

/* What concerns other keys is no news, and does not put off the sign of life. */
static void changes_of_other_keys_keep_nobody_from_being_idle(void **state)
{
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch?prefix=kv:");
    visitor_hears(visitor, HEAD);
    for (int i = 0; i < 3; i++) {
        add(street, "counter");
        tly_door_wake(street->door);
        street_advance(street, 60000);
    }
    visitor_hears(visitor, HEAD ":\n\n");
    visitor_free(visitor);
}

/* Answers that the disk holds up are not sent, nor are there more and more of them. */
static void a_watcher_whose_answers_wait_for_the_disk_waits(void **state)
{
    struct street *street = *state;
    static uint8_t large[60 * 1024];
    memset(large, 'x', sizeof large);
    street_open(street, tly_http_protocol());
    struct visitor *visitor = watcher(street, "/v1/watch?prefix=kv:");
    visitor_hears(visitor, HEAD);
    fake_app_batches(street->app, 1, 0);
    for (size_t i = 0; i < 50; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "kv:%zu", i);
        put(street, key, tly_slice_of(large, sizeof large));
        tly_door_wake(street->door);
    }
    for (int i = 0; i < 2; i++) {
        /* Someone idle, whose end tells that the door has looked at both. */
        struct visitor *idle = visitor_new(street);
        street_settle(street);
        fake_app_advance(street->app, 130000);
        visitor_hears_end(idle);
        visitor_free(idle);
    }
    assert_int_equal(visitor_heard_bytes(visitor), sizeof HEAD - 1);
    assert_false(visitor_is_over(visitor));
    fake_app_batches(street->app, 1, 1);
    tly_door_stored(street->door);
    tly_door_wake(street->door);
    street_settle(street);
    tly_door_wake(street->door);
    street_settle(street);
    assert_true(visitor_heard_bytes(visitor) > 50 * sizeof large);
    visitor_free(visitor);
}

static void who_leaves_makes_room(void **state)
{
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    struct visitor *visitors[TLY_WATCHERS_MAX];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < TLY_WATCHERS_MAX; i++) {
            visitors[i] = watcher(street, "/v1/watch");
            visitor_hears(visitors[i], HEAD);
        }
        struct visitor *late = watcher(street, "/v1/watch");
        street_settle(street);
        static const char status[] = "HTTP/1.1 503 Service Unavailable\r\n";
        assert_memory_equal(visitor_heard(late), status, sizeof status - 1);
        assert_non_null(strstr(visitor_heard(late), "\"code\":\"too_many_watchers\""));
        visitor_free(late);
        for (size_t i = 0; i < TLY_WATCHERS_MAX; i++)
            visitor_free(visitors[i]);
        street_until(street, street_is_empty, street);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREET(each_change_is_an_event),
        STREET(a_key_that_is_no_text_is_told_as_bytes),
        STREET(what_cannot_be_watched_is_said),
        STREET(a_slow_reader_costs_a_bounded_number_of_bytes_and_gets_a_mark),
        STREET(an_idle_watcher_is_kept_alive),
        STREET(changes_of_other_keys_keep_nobody_from_being_idle),
        STREET(a_watcher_whose_answers_wait_for_the_disk_waits),
        STREET(who_leaves_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
