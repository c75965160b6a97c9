/* Doors on real sockets: what one connection, and all together, may take of a node; and for how long. */
#include "service/shell/door_internal.h"
#include "tests/shell/support_street.h"
#include "tests/support/cmocka.h"

#include <sys/resource.h>
#include <unistd.h>

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
    street_until(street, street_is_empty, street);
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

#define CROWD 64

/* Each holds half a request; who only asks something is served all the while. */
static void all_together_hold_no_more_than_the_door_may(void **state)
{
    struct street *street = *state;
    struct visitor *crowd[CROWD];
    static char half[60000];
    memset(half, 'x', sizeof half);
    street_open(street, tly_resp_protocol());
    street->door->bytes_max = 1024 * 1024;
    struct visitor *honest = visitor_new(street);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = visitor_new(street);
        street_settle(street);
        visitor_say(crowd[i], "*2\r\n$4\r\nECHO\r\n$65000\r\n");
        (void)visitor_push(crowd[i], half, sizeof half);
        street_settle(street);
        assert_true(street->door->bytes <= 1024 * 1024);
    }
    struct tly_door_stats stats = street_stats(street);
    assert_in_range(stats.crowded, CROWD / 2, CROWD - 8);
    assert_int_equal(stats.open, CROWD + 1 - stats.crowded);
    visitor_say(honest, "PING\r\n");
    visitor_hears(honest, "+PONG\r\n");
    for (size_t i = 0; i < CROWD; i++)
        visitor_free(crowd[i]);
    visitor_free(honest);
    street_until(street, street_is_empty, street);
    assert_int_equal(street->door->bytes, 0);
}

/* What a transaction has queued, and the keys that it watches, are held as half a request is. */
static void transactions_are_counted_with_the_buffers(void **state)
{
    struct street *street = *state;
    struct visitor *crowd[CROWD];
    static char queued[60000];
    memset(queued, 'x', sizeof queued);
    memcpy(queued, "MULTI\r\nECHO ", 12);
    memcpy(queued + sizeof queued - 2, "\r\n", 2);
    street_open(street, tly_resp_protocol());
    street->door->bytes_max = 1024 * 1024;
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = visitor_new(street);
        street_settle(street);
        (void)visitor_push(crowd[i], queued, sizeof queued);
        street_settle(street);
        assert_true(street->door->bytes <= 1024 * 1024);
    }
    assert_in_range(street->door->bytes, 512 * 1024, 1024 * 1024);
    struct tly_door_stats stats = street_stats(street);
    assert_in_range(stats.crowded, CROWD / 2, CROWD - 8);
    assert_int_equal(stats.open, CROWD - stats.crowded);
    for (size_t i = 0; i < CROWD; i++)
        visitor_free(crowd[i]);
    street_settle(street);
    assert_int_equal(street->door->bytes, 0);
}

/* Each 'k' makes it keep 1000 bytes for its client; the rest is answered as it is. */
struct keeper {
    struct tly_client *client;
    void *block[100];
    size_t count;
};

#define BLOCK_BYTES 1000

static void *open_keeper(struct tly_app *app, struct tly_client *client)
{
    (void)app;
    struct tly_mem mem = tly_client_mem(client);
    struct keeper *keeper = tly_mem_zeroed(&mem, sizeof *keeper);
    if (keeper != NULL) keeper->client = client;
    return keeper;
}

static size_t feed_keeper(void *state, struct tly_client *client, struct tly_slice in)
{
    struct keeper *keeper = state;
    struct tly_mem mem = tly_client_mem(client);
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != 'k') {
            tly_buf_put(tly_client_out(client), &in.p[i], 1);
            continue;
        }
        keeper->block[keeper->count] = tly_mem_new(&mem, BLOCK_BYTES);
        keeper->count += keeper->block[keeper->count] != NULL;
    }
    return in.n;
}

static void close_keeper(void *state)
{
    struct keeper *keeper = state;
    struct tly_mem mem = tly_client_mem(keeper->client);
    while (keeper->count > 0)
        tly_mem_free(&mem, keeper->block[--keeper->count], BLOCK_BYTES);
    tly_mem_free(&mem, keeper, sizeof *keeper);
}

/* It is one ceiling: what a protocol keeps, as the one for gRPC does, stands beside the buffers. */
static void what_is_kept_for_all_is_counted_with_their_buffers(void **state)
{
    static const struct tly_protocol keeping = {.name = "keeping",
                                                .in_max = STREET_IN_MAX,
                                                .open = open_keeper,
                                                .feed = feed_keeper,
                                                .close = close_keeper};
    struct street *street = *state;
    struct visitor *crowd[CROWD];
    char much[61];
    memset(much, 'k', 60);
    much[60] = '\0';
    street_open(street, &keeping);
    street->door->bytes_max = 1024 * 1024;
    struct visitor *honest = visitor_new(street);
    street_settle(street);
    assert_int_equal(street->door->bytes, 0); /* whatever an idle one is kept */
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = visitor_new(street);
        street_settle(street);
        visitor_say(crowd[i], much);
        street_settle(street);
        assert_true(street->door->bytes <= 1024 * 1024 + CROWD * TLY_FAIR_BYTES);
    }
    struct tly_door_stats stats = street_stats(street);
    assert_in_range(stats.crowded, CROWD / 2, CROWD - 8);
    assert_int_equal(stats.open, CROWD + 1 - stats.crowded);
    visitor_say(honest, "kind");
    visitor_hears(honest, "ind");
    for (size_t i = 0; i < CROWD; i++)
        visitor_free(crowd[i]);
    visitor_free(honest);
    street_until(street, street_is_empty, street);
    assert_int_equal(street->door->bytes, 0);
}

/* What comes byte by byte on many connections, in each protocol, takes no turn from whoever asks in one piece. */
static void dribblers_starve_nobody(void **state)
{
    static const struct {
        const struct tly_protocol *(*protocol)(void);
        const char *dribbled, *asked, *answered;
    } tongues[] = {
        {tly_resp_protocol, "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", "PING\r\n", "+PONG\r\n"},
        {tly_http_protocol, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
         "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
    };
    struct street *street = *state;
    for (size_t t = 0; t < 2; t++) {
        struct visitor *crowd[CROWD];
        street_open(street, tongues[t].protocol());
        struct visitor *honest = visitor_new(street);
        for (size_t i = 0; i < CROWD; i++)
            crowd[i] = visitor_new(street);
        street_settle(street);
        size_t rounds = strlen(tongues[t].dribbled), heard = 0;
        for (size_t at = 0; at < rounds; at++) {
            for (size_t i = 0; i < CROWD; i++)
                assert_int_equal(visitor_push(crowd[i], tongues[t].dribbled + at, 1), 1);
            visitor_say(honest, tongues[t].asked);
            street_settle(street);
            /* In the same turns in which they were read from it has its answer. */
            assert_true(visitor_heard_bytes(honest) > heard);
            heard = visitor_heard_bytes(honest);
            assert_memory_equal(visitor_heard(honest), tongues[t].answered, strlen(tongues[t].answered));
        }
        assert_int_equal(street_stats(street).requests, rounds + CROWD);
        for (size_t i = 0; i < CROWD; i++)
            visitor_free(crowd[i]);
        visitor_free(honest);
    }
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

/* The door of HTTP, where every wait has an end: who sends no more may listen still; who is gone for good is told by a reset. */
static void who_sends_no_more_gets_the_answer_that_waits(void **state)
{
    static const char write[] = "POST /v1/counters/ctr:a?ack=1&timeout_ms=5000 HTTP/1.1\r\nHost: x\r\n\r\n";
    const struct linger at_once = {.l_onoff = 1};
    struct street *street = *state;
    street_open(street, tly_http_protocol());
    struct visitor *ended = visitor_new(street), *gone = visitor_new(street);
    visitor_say(ended, write);
    visitor_end(ended);
    visitor_say(gone, write);
    street_settle(street);
    assert_int_equal(street_stats(street).requests, 2);
    assert_int_equal(setsockopt(visitor_fd(gone), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    visitor_free(gone);
    street_advance(street, 3000);
    assert_int_equal(street_stats(street).open, 1);
    fake_app_advance(street->app, 2000);
    fake_app_tick(street->app);
    tly_door_resume(street->door);
    visitor_hears_end(ended);
    assert_non_null(strstr(visitor_heard(ended), "Tally-Ack: queued; "));
    street_until(street, street_is_empty, street);
    visitor_free(ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREET(a_request_that_never_ends_is_not_kept),
        STREET(who_does_not_read_is_not_read_from),
        STREET(who_takes_nothing_is_closed),
        STREET(who_takes_a_little_is_kept),
        STREET(all_together_hold_no_more_than_the_door_may),
        STREET(transactions_are_counted_with_the_buffers),
        STREET(what_is_kept_for_all_is_counted_with_their_buffers),
        STREET(dribblers_starve_nobody),
        STREET(an_answer_that_cannot_be_held_ends_the_connection),
        STREET(beyond_the_most_clients_newcomers_are_closed),
        STREET(who_has_no_session_is_refused),
        STREET(out_of_descriptors_it_waits_and_recovers),
        STREET(half_a_request_may_take_so_long),
        STREET(each_request_has_its_own_time),
        STREET(who_is_silent_too_long_is_closed),
        STREET(a_patient_protocol_waits_for_ever),
        STREET(who_sends_no_more_gets_the_answer_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
