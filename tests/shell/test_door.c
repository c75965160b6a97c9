/* Doors on real sockets: requests and answers, limits, timeouts, batches, draining. */
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREET(name) cmocka_unit_test_setup_teardown(name, street_setup, street_teardown)

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

static bool nobody_is_left(void *context)
{
    return street_stats(context).open == 0;
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
    street_until(street, nobody_is_left, street);
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
    street_until(street, nobody_is_left, street);
}

static void who_does_not_go_is_sent_away(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "close\n");
    visitor_hears_end(visitor);
    assert_int_equal(street_stats(street).open, 1);
    fake_app_advance(street->app, TLY_LINGER_MS);
    street_until(street, nobody_is_left, street);
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
    for (size_t i = 0; i < 10000 && !nobody_is_left(street); i++) {
        (void)visitor_push(visitor, more, sizeof more);
        (void)event_base_loop(street->base, EVLOOP_NONBLOCK);
    }
    assert_true(nobody_is_left(street));
    visitor_free(visitor);
}

/* ---- limits ---- */

static void a_request_that_never_ends_is_not_kept(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    char endless[STREET_IN_MAX + 1];
    memset(endless, 'e', sizeof endless);
    assert_int_equal(visitor_push(visitor, endless, STREET_IN_MAX - 1), STREET_IN_MAX - 1);
    street_settle(street);
    visitor_say(visitor, "\n");
    street_settle(street);
    assert_int_equal(visitor_heard_bytes(visitor), STREET_IN_MAX);
    assert_int_equal(visitor_push(visitor, endless, sizeof endless), sizeof endless);
    visitor_hears_end(visitor);
    assert_int_equal(street_stats(street).requests, 1);
    visitor_free(visitor);
}

static void who_does_not_read_is_not_read_from(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_listen(visitor, false);
    for (size_t i = 0; i < 64; i++)
        visitor_say(visitor, "big 1000000\n");
    street_settle(street);
    uint64_t taken = street_stats(street).requests;
    assert_true(taken >= 1 && taken < 20);
    visitor_listen(visitor, true);
    visitor_say(visitor, "close\n");
    visitor_hears_end(visitor);
    assert_int_equal(visitor_heard_bytes(visitor), 64 * 1000001 + 6);
    assert_int_equal(street_stats(street).requests, 65);
    visitor_free(visitor);
}

static void who_takes_nothing_is_closed(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_listen(visitor, false);
    visitor_say(visitor, "big 16000000\n");
    street_advance(street, TLY_STUCK_MS - 1);
    assert_int_equal(street_stats(street).open, 1);
    fake_app_advance(street->app, 1);
    street_until(street, nobody_is_left, street);
    assert_int_equal(street_stats(street).timed_out, 1);
    visitor_free(visitor);
}

struct share {
    const struct visitor *visitor;
    size_t bytes;
};

static bool is_taken(void *context)
{
    const struct share *share = context;
    return visitor_is_over(share->visitor) || visitor_heard_bytes(share->visitor) >= share->bytes;
}

/* Each time as much as makes the system take more from the door. */
static void who_takes_a_little_is_kept(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    struct share share = {visitor, 0};
    visitor_listen(visitor, false);
    visitor_say(visitor, "big 16000000\n");
    for (size_t i = 0; i < 2; i++) {
        street_advance(street, TLY_STUCK_MS - 1);
        share.bytes += 4500000;
        visitor_listen(visitor, true);
        street_until(street, is_taken, &share);
        visitor_listen(visitor, false);
        street_settle(street);
    }
    street_advance(street, TLY_LINGER_MS);
    assert_false(visitor_is_over(visitor));
    assert_int_equal(street_stats(street).open, 1);
    assert_int_equal(street_stats(street).timed_out, 0);
    visitor_free(visitor);
}

static void an_answer_that_cannot_be_held_ends_the_connection(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "big 16777216\n");
    visitor_hears_end(visitor);
    assert_int_equal(street_stats(street).open, 0);
    visitor_free(visitor);
}

static void beyond_the_most_clients_newcomers_are_closed(void **state)
{
    struct street *street = *state;
    fake_app_clients(street->app, TLY_CLIENTS_MAX);
    struct visitor *one_too_many = visitor_new(street);
    visitor_hears_end(one_too_many);
    assert_int_equal(street_stats(street).refused, 1);
    assert_int_equal(street_stats(street).accepted, 0);
    fake_app_clients(street->app, TLY_CLIENTS_MAX - 1);
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "one\n");
    visitor_hears(visitor, "one\n");
    visitor_free(one_too_many);
    visitor_free(visitor);
}

static void who_has_no_session_is_refused(void **state)
{
    struct street *street = *state;
    street_open(street, street_refusing());
    struct visitor *visitor = visitor_new(street);
    visitor_hears_end(visitor);
    assert_int_equal(street_stats(street).refused, 1);
    assert_int_equal(street_stats(street).open, 0);
    visitor_free(visitor);
}

/* The lowest descriptor that is free now. */
static rlim_t next_descriptor(void)
{
    int fd = dup(0);
    assert_true(fd >= 0);
    (void)close(fd);
    return (rlim_t)fd;
}

static void out_of_descriptors_it_waits_and_recovers(void **state)
{
    struct street *street = *state;
    struct rlimit before, none_left;
    struct visitor *first = visitor_new(street);
    visitor_say(first, "one\n");
    visitor_hears(first, "one\n");
    struct visitor *second = visitor_new(street);
    visitor_say(second, "two\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none_left = (struct rlimit){next_descriptor(), before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none_left), 0);
    street_settle(street);
    uint64_t accepted = street_stats(street).accepted;
    visitor_say(first, "three\n");
    visitor_hears(first, "one\nthree\n");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(accepted, 1);
    visitor_hears(second, "two\n");
    visitor_free(first);
    visitor_free(second);
}

/* ---- patience ---- */

static void half_a_request_may_take_so_long(void **state)
{
    struct street *street = *state;
    struct visitor *slow = visitor_new(street), *quiet = visitor_new(street);
    visitor_say(slow, "sl");
    street_advance(street, TLY_HALF_MS - 1);
    visitor_say(slow, "ow"); /* another byte buys no time */
    street_settle(street);
    assert_int_equal(street_stats(street).open, 2);
    fake_app_advance(street->app, 1);
    visitor_hears_end(slow);
    assert_int_equal(street_stats(street).timed_out, 1);
    visitor_say(quiet, "here\n");
    visitor_hears(quiet, "here\n");
    visitor_free(slow);
    visitor_free(quiet);
}

static void each_request_has_its_own_time(void **state)
{
    struct street *street = *state;
    struct visitor *visitor = visitor_new(street);
    visitor_say(visitor, "a");
    for (size_t i = 0; i < 3; i++) {
        street_advance(street, TLY_HALF_MS - 1);
        visitor_say(visitor, "\na");
        street_settle(street);
    }
    assert_string_equal(visitor_heard(visitor), "a\na\na\n");
    assert_int_equal(street_stats(street).open, 1);
    visitor_free(visitor);
}

static void who_is_silent_too_long_is_closed(void **state)
{
    struct street *street = *state;
    struct visitor *silent = visitor_new(street), *active = visitor_new(street);
    street_advance(street, STREET_IDLE_MS - 1);
    visitor_say(active, "here\n");
    visitor_hears(active, "here\n");
    assert_int_equal(street_stats(street).open, 2);
    fake_app_advance(street->app, 1);
    visitor_hears_end(silent);
    assert_int_equal(street_stats(street).open, 1);
    assert_int_equal(street_stats(street).timed_out, 1);
    visitor_free(silent);
    visitor_free(active);
}

static bool the_other_is_gone(void *context)
{
    return street_stats(context).open == 1;
}

static void a_patient_protocol_waits_for_ever(void **state)
{
    struct street *street = *state;
    street_open(street, street_patient_lines());
    struct visitor *silent = visitor_new(street), *half = visitor_new(street);
    visitor_say(half, "half");
    street_settle(street);
    fake_app_advance(street->app, UINT64_C(365) * 24 * 3600 * 1000);
    street_until(street, the_other_is_gone, street);
    visitor_say(silent, "here\n");
    visitor_hears(silent, "here\n");
    visitor_free(silent);
    visitor_free(half);
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
        STREET(who_sends_no_more_still_gets_the_answers),
        STREET(who_resets_is_forgotten),
        STREET(the_last_answer_survives_what_nobody_read),
        STREET(who_does_not_go_is_sent_away),
        STREET(who_talks_on_and_on_after_the_end_is_cut_off),
        STREET(a_request_that_never_ends_is_not_kept),
        STREET(who_does_not_read_is_not_read_from),
        STREET(who_takes_nothing_is_closed),
        STREET(who_takes_a_little_is_kept),
        STREET(an_answer_that_cannot_be_held_ends_the_connection),
        STREET(beyond_the_most_clients_newcomers_are_closed),
        STREET(who_has_no_session_is_refused),
        STREET(out_of_descriptors_it_waits_and_recovers),
        STREET(half_a_request_may_take_so_long),
        STREET(each_request_has_its_own_time),
        STREET(who_is_silent_too_long_is_closed),
        STREET(a_patient_protocol_waits_for_ever),
        STREET(an_answer_waits_for_its_batch),
        STREET(a_client_may_go_while_its_answer_waits),
        STREET(a_drained_door_owes_nobody_an_answer),
        STREET(a_taken_port_is_named),
        STREET(addresses_of_version_6_stand_in_brackets),
        STREET(a_unix_socket_is_made_replaced_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
