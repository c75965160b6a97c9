/* Doors on real sockets: requests and answers, batches, draining, where they listen. */
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- requests and answers ---- */

static void requests_are_answered_whole_or_in_pieces(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "one\ntwo\nthr");
    visitor_hears(visitor, "one\ntwo\n");
    visitor_say(visitor, "ee\n");
    visitor_hears(visitor, "one\ntwo\nthree\n");
    assert_int_equal(street_stats(street).requests, 3);
    visitor_free(visitor);
}

static void many_clients_do_not_mix(void **state)
{
    struct street *street = *state;
    struct visitor *visitors[50];
    for (size_t i = 0; i < 50; i++)
        visitors[i] = visitor_new(street);
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 50; i++) {
            char word[32];
            (void)snprintf(word, sizeof word, round == 0 ? "w%zu" : "-%zu\n", i);
            visitor_say(visitors[i], word);
        }
        street_settle(street);
    }
    for (size_t i = 0; i < 50; i++) {
        char line[32];
        (void)snprintf(line, sizeof line, "w%zu-%zu\n", i, i);
        visitor_hears(visitors[i], line);
        visitor_free(visitors[i]);
    }
    assert_int_equal(street_stats(street).accepted, 50);
}

/* Some end, some ask for much and do not listen, some were gone before: it is nothing to the others who speak at the same time. */
static void those_who_speak_at_once_do_not_disturb_each_other(void **state)
{
    struct street *street = *state;
    struct visitor *visitors[8];
    const struct linger at_once = {1, 0};
    for (size_t i = 0; i < 8; i++)
        visitors[i] = visitor_new(street);
    street_settle(street);
    visitor_say(visitors[0], "one\ntw");
    visitor_say(visitors[1], "big 3000000\n");
    visitor_listen(visitors[1], false);
    visitor_say(visitors[2], "close\nnot\n");
    visitor_say(visitors[3], "three\n");
    assert_int_equal(setsockopt(visitor_fd(visitors[3]), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    visitor_free(visitors[3]);
    visitor_end(visitors[4]);
    visitor_say(visitors[5], "wait\n");
    visitor_say(visitors[6], "six\n");
    visitor_say(visitors[7], "big 40000\nseven\n");
    visitor_hears(visitors[6], "six\n");
    visitor_hears(visitors[0], "one\n");
    visitor_hears(visitors[2], "close\n");
    visitor_hears_end(visitors[2]);
    visitor_hears_end(visitors[4]);
    visitor_say(visitors[0], "o\n");
    visitor_hears(visitors[0], "one\ntwo\n");
    assert_int_equal(visitor_heard_bytes(visitors[5]), 0);
    assert_int_equal(visitor_heard_bytes(visitors[7]), 40001 + 6);
    visitor_listen(visitors[1], true);
    visitor_say(visitors[1], "close\n");
    visitor_hears_end(visitors[1]);
    assert_int_equal(visitor_heard_bytes(visitors[1]), 3000001 + 6);
    for (size_t i = 0; i < 8; i++)
        if (i != 3) visitor_free(visitors[i]);
    street_until(street, street_is_empty, street);
}

/* An event between those of two who speak and what is done for both. */
struct between {
    struct event *event;
    struct tly_door *door;
    bool is_next, did_drain;
};

static void drain_between(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct between *between = context;
    if (!between->is_next) {
        /* Behind the sockets, for they are in the list by now. */
        between->is_next = true;
        event_active(between->event, EV_READ, 0);
        return;
    }
    tly_door_drain(between->door);
    between->did_drain = true;
}

static void who_ends_while_others_are_awaited_is_forgotten(void **state)
{
    struct street *street = *state;
    struct visitor *gone = visitor_new(street), *other = visitor_new(street);
    street_settle(street);
    const struct linger at_once = {1, 0};
    assert_int_equal(setsockopt(visitor_fd(gone), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    visitor_free(gone);
    visitor_say(other, "other\n");
    struct between between = {.door = street->door};
    between.event = event_new(street->base, -1, 0, drain_between, &between);
    event_active(between.event, EV_READ, 0);
    assert_int_equal(event_base_loop(street->base, EVLOOP_NONBLOCK), 0);
    assert_true(between.did_drain);
    assert_int_equal(street_stats(street).open, 1);
    visitor_hears_end(other);
    assert_string_equal(visitor_heard(other), "");
    event_free(between.event);
    visitor_free(other);
    street_until(street, street_is_empty, street);
    assert_true(tly_door_is_drained(street->door));
}

/* Where the kernel does not let it be otherwise. */
static void each_by_calls_of_its_own_is_answered_alike(void **state)
{
    struct street *street = *state;
    fake_app_set(street->app, "io_uring=no");
    street_open(street, street_lines());
    many_clients_do_not_mix(state);
    street_open(street, street_lines());
    those_who_speak_at_once_do_not_disturb_each_other(state);
}

static void who_sends_no_more_still_gets_the_answers(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "one\nbig 100000\nhalf");
    visitor_end(visitor);
    visitor_hears_end(visitor);
    assert_false(visitor_was_reset(visitor));
    assert_int_equal(visitor_heard_bytes(visitor), 4 + 100001);
    assert_int_equal(street_stats(street).open, 0);
    visitor_free(visitor);
}

static void who_resets_is_forgotten(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "one\n");
    visitor_hears(visitor, "one\n");
    const struct linger at_once = {1, 0};
    assert_int_equal(setsockopt(visitor_fd(visitor), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    visitor_free(visitor);
    street_until(street, street_is_empty, street);
}

/* What the client had sent besides must not cost it the last answer. */
static void the_last_answer_survives_what_nobody_read(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    char more[60000];
    memset(more, 'm', sizeof more);
    visitor_say(visitor, "close\n");
    assert_true(visitor_push(visitor, more, sizeof more) > 10000);
    visitor_hears_end(visitor);
    assert_false(visitor_was_reset(visitor));
    assert_string_equal(visitor_heard(visitor), "close\n");
    assert_int_equal(street_stats(street).requests, 1);
    visitor_free(visitor);
    street_until(street, street_is_empty, street);
}

static void who_does_not_go_is_sent_away(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "close\n");
    visitor_hears_end(visitor);
    assert_int_equal(street_stats(street).open, 1);
    fake_app_advance(street->app, TLY_LINGER_MS);
    street_until(street, street_is_empty, street);
    assert_int_equal(street_stats(street).timed_out, 0);
    visitor_free(visitor);
}

static void who_talks_on_and_on_after_the_end_is_cut_off(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    char more[65536];
    memset(more, 'm', sizeof more);
    visitor_say(visitor, "close\n");
    visitor_hears_end(visitor);
    for (size_t i = 0; i < 10000 && !street_is_empty(street); i++) {
        (void)visitor_push(visitor, more, sizeof more);
        (void)event_base_loop(street->base, EVLOOP_NONBLOCK);
    }
    assert_true(street_is_empty(street));
    visitor_free(visitor);
}

/* ---- batches ---- */

static void an_answer_waits_for_its_batch(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street), *other = visitor_new(street);
    fake_app_batches(street->app, 5, 4);
    visitor_say(visitor, "one\n");
    street_settle(street);
    visitor_say(visitor, "two\n");
    street_settle(street);
    assert_int_equal(street_stats(street).requests, 2);
    assert_string_equal(visitor_heard(visitor), "");
    /* The second was asked later and waits for a later batch. */
    fake_app_batches(street->app, 6, 5);
    tly_door_stored(street->door);
    visitor_hears(visitor, "one\n");
    street_settle(street);
    assert_string_equal(visitor_heard(visitor), "one\n");
    fake_app_batches(street->app, 6, 6);
    tly_door_stored(street->door);
    visitor_hears(visitor, "one\ntwo\n");
    fake_app_batches(street->app, 0, 6);
    visitor_say(other, "three\n");
    visitor_hears(other, "three\n");
    visitor_free(visitor);
    visitor_free(other);
}

static void a_client_may_go_while_its_answer_waits(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street), *ending = visitor_new(street);
    fake_app_batches(street->app, 5, 4);
    visitor_say(visitor, "one\n");
    visitor_say(ending, "two\nclose\n");
    visitor_end(ending);
    street_settle(street);
    assert_false(visitor_is_over(ending));
    fake_app_batches(street->app, 5, 5);
    visitor_free(visitor);
    tly_door_stored(street->door);
    visitor_hears_end(ending);
    assert_string_equal(visitor_heard(ending), "two\nclose\n");
    visitor_free(ending);
}

/* ---- draining ---- */

static bool is_drained(void *context)
{
    const struct street *street = context;
    return tly_door_is_drained(street->door);
}

static void a_drained_door_owes_nobody_an_answer(void **state)
{
    struct street *street = *state;
    struct visitor *idle = visitor_new(street), *slow = visitor_new(street), *held = visitor_new(street);
    visitor_listen(slow, false);
    visitor_say(slow, "big 8000000\n");
    street_settle(street);
    fake_app_batches(street->app, 5, 4);
    visitor_say(held, "held\n");
    street_settle(street);
    tly_door_drain(street->door);
    assert_false(tly_door_is_drained(street->door));
    visitor_hears_end(idle);
    visitor_listen(slow, true);
    visitor_hears_end(slow);
    assert_int_equal(visitor_heard_bytes(slow), 8000001);
    fake_app_batches(street->app, 5, 5);
    tly_door_stored(street->door);
    visitor_hears_end(held);
    assert_string_equal(visitor_heard(held), "held\n");
    visitor_free(idle);
    visitor_free(slow);
    visitor_free(held);
    street_until(street, is_drained, street);
}

/* ---- where it listens ---- */

static struct tly_door *open_at(struct street *street, const struct tly_listen *listen, char *error,
                                size_t size)
{
    return tly_door_open(street->app, listen, street_lines(), street->address, sizeof street->address, error,
                         size);
}

static void a_taken_port_is_named(void **state)
{
    struct street *street = *state;
    char error[256] = "", expected[256], port[16];
    struct tly_listen listen = {.kind = TLY_LISTEN_TCP, .host = "127.0.0.1"};
    (void)snprintf(port, sizeof port, "%s", strrchr(street->address, ':') + 1);
    assert_string_not_equal(port, "0");
    listen.port = (uint16_t)strtoul(port, NULL, 10);
    assert_null(open_at(street, &listen, error, sizeof error));
    (void)snprintf(expected, sizeof expected, "cannot listen at 127.0.0.1:%s: Address already in use", port);
    assert_string_equal(error, expected);
    (void)snprintf(listen.host, sizeof listen.host, "not a host");
    assert_null(open_at(street, &listen, error, sizeof error));
    assert_int_equal(strncmp(error, "cannot listen at not a host:", 28), 0);
}

static void addresses_of_version_6_stand_in_brackets(void **state)
{
    struct street *street = *state;
    char error[256] = "";
    struct tly_listen listen = {.kind = TLY_LISTEN_TCP, .host = "[::1]"};
    struct tly_door *door = open_at(street, &listen, error, sizeof error);
    if (door == NULL && strstr(error, "Cannot assign") != NULL) skip(); /* a machine without IPv6 */
    assert_string_equal(error, "");
    assert_int_equal(strncmp(street->address, "[::1]:", 6), 0);
    tly_door_free(door);
}

static void a_unix_socket_is_made_replaced_and_removed(void **state)
{
    struct street *street = *state;
    char directory[] = "/tmp/tally-door-XXXXXX", error[256] = "";
    struct tly_listen listen = {.kind = TLY_LISTEN_UNIX};
    struct stat there;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(listen.path, sizeof listen.path, "%s/sock", directory);
    tly_door_free(street->door);
    street->door = open_at(street, &listen, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(strncmp(street->address, "unix:/tmp/", 10), 0);
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "one\n");
    visitor_hears(visitor, "one\n");
    visitor_free(visitor);

    /* One that is served is left alone. */
    assert_null(open_at(street, &listen, error, sizeof error));
    assert_non_null(strstr(error, "Address already in use"));
    tly_door_free(street->door);
    street->door = NULL;
    assert_int_equal(stat(listen.path, &there), -1);

    /* One that was left behind is replaced; what is no socket is not. */
    char stale[128];
    (void)snprintf(stale, sizeof stale, "%s/stale", directory);
    street->door = open_at(street, &listen, error, sizeof error);
    assert_int_equal(link(listen.path, stale), 0);
    tly_door_free(street->door);
    assert_int_equal(rename(stale, listen.path), 0);
    street->door = open_at(street, &listen, error, sizeof error);
    assert_non_null(street->door);
    tly_door_free(street->door);
    street->door = NULL;
    FILE *file = fopen(listen.path, "w");
    assert_non_null(file);
    (void)fclose(file);
    assert_null(open_at(street, &listen, error, sizeof error));
    assert_int_equal(stat(listen.path, &there), 0);
    (void)unlink(listen.path);
    (void)rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREET(requests_are_answered_whole_or_in_pieces),
        STREET(many_clients_do_not_mix),
        STREET(those_who_speak_at_once_do_not_disturb_each_other),
        STREET(who_ends_while_others_are_awaited_is_forgotten),
        STREET(each_by_calls_of_its_own_is_answered_alike),
        STREET(who_sends_no_more_still_gets_the_answers),
        STREET(who_resets_is_forgotten),
        STREET(the_last_answer_survives_what_nobody_read),
        STREET(who_does_not_go_is_sent_away),
        STREET(who_talks_on_and_on_after_the_end_is_cut_off),
        STREET(an_answer_waits_for_its_batch),
        STREET(a_client_may_go_while_its_answer_waits),
        STREET(a_drained_door_owes_nobody_an_answer),
        STREET(a_taken_port_is_named),
        STREET(addresses_of_version_6_stand_in_brackets),
        STREET(a_unix_socket_is_made_replaced_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
