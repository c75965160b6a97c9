/* One direction of a link, in virtual time: rate, delay, jitter, queue and clogs are what they say, to the ns. */
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"
#include "tools/link/pipe.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define START (5 * S)

static struct tly_pipe pipe_of(uint64_t rate_bps, uint64_t delay_ns, uint64_t jitter_ns, size_t queue_bytes)
{
    struct tly_pipe_shape shape = {rate_bps, delay_ns, jitter_ns, queue_bytes};
    return tly_pipe_of(&shape, 7);
}

/* Offers `total` bytes as fast as they are taken in, from START on; when the last of them comes out. */
static uint64_t push(struct tly_pipe *pipe, size_t total)
{
    uint64_t now = START, at = 0;
    while (total > 0) {
        size_t room = tly_pipe_room(pipe, now);
        if (room > total) room = total;
        if (room == 0) {
            uint64_t next = tly_pipe_room_at(pipe);
            assert_true(next > now);
            now = next;
            continue;
        }
        at = tly_pipe_take(pipe, room, now);
        total -= room;
    }
    return at;
}

static void a_rate_is_exact_over_any_number_of_bytes(void **state)
{
    static const uint64_t rates[] = {1, 9600, 256000, 1000003, UINT64_C(100000000), UINT64_C(40000000000)};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct tly_pipe pipe = pipe_of(rates[i], 0, 0, 10000);
        size_t bytes = 123457;
        uint64_t exact = bytes * 8 * S / rates[i];
        assert_int_equal(push(&pipe, bytes) - START, exact);
    }
}

static void without_a_rate_nothing_waits(void **state)
{
    struct tly_pipe pipe = pipe_of(0, 3 * MS, 0, 1);
    assert_int_equal(push(&pipe, 10000000), START + 3 * MS);
}

static void a_pause_earns_no_credit(void **state)
{
    struct tly_pipe pipe = pipe_of(8000, 0, 0, 10000); /* a byte in 1 ms */
    assert_int_equal(tly_pipe_take(&pipe, 10, START), START + 10 * MS);
    assert_int_equal(tly_pipe_take(&pipe, 10, START + S), START + S + 10 * MS);
}

static void delay_is_added_to_the_time_of_sending(void **state)
{
    struct tly_pipe pipe = pipe_of(8000, 100 * MS, 0, 10000);
    assert_int_equal(tly_pipe_take(&pipe, 10, START), START + 110 * MS);
    /* The next is sent while the first travels. */
    assert_int_equal(tly_pipe_take(&pipe, 10, START), START + 120 * MS);
    assert_int_equal(tly_pipe_take(&pipe, 0, START), START + 120 * MS);
}

static void jitter_is_bounded_and_overtakes_nothing(void **state)
{
    struct tly_pipe pipe = pipe_of(0, 50 * MS, 20 * MS, 1), again = pipe;
    uint64_t last = 0, least = UINT64_MAX, most = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        /* Further apart than the jitter, so that each has its own. */
        uint64_t now = START + i * 30 * MS, at = tly_pipe_take(&pipe, 1, now), took = at - now;
        assert_int_equal(at, tly_pipe_take(&again, 1, now));
        if (took < least) least = took;
        if (took > most) most = took;
        assert_true(at >= last);
        last = at;
    }
    assert_in_range(least, 50 * MS, 51 * MS);
    assert_in_range(most, 69 * MS, 70 * MS);
    /* Closer together than the jitter. */
    for (uint64_t now = START + 10000 * 30 * MS; now < START + 10010 * 30 * MS; now += MS) {
        uint64_t at = tly_pipe_take(&pipe, 1, now);
        assert_true(at >= last);
        last = at;
    }
}

static void another_seed_is_another_jitter(void **state)
{
    struct tly_pipe a = pipe_of(0, 0, S, 1), b = a;
    b.seed++;
    assert_int_not_equal(tly_pipe_take(&a, 1, START), tly_pipe_take(&b, 1, START));
}

/* Random rates, queues and times: never more waits than the queue holds, save the one segment that always may. */
static void a_queue_holds_no_more_than_it_says(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t filled = 0;
    for (int round = 0; round < 1000; round++) {
        uint64_t rate = 1000 + test_rng_below(&rng, 10000000);
        size_t queue = 1 + (size_t)test_rng_below(&rng, 40000);
        struct tly_pipe pipe = pipe_of(rate, test_rng_below(&rng, S), 0, queue);
        uint64_t now = START;
        for (int i = 0; i < 200; i++) {
            uint64_t clock = tly_pipe_clock(&pipe, now);
            size_t room = tly_pipe_room(&pipe, now);
            claim(room <= TLY_PIPE_SEGMENT_BYTES);
            if (room > 0) (void)tly_pipe_take(&pipe, room, now);
            double waiting = pipe.free_at > clock ? (double)(pipe.free_at - clock) * (double)rate / 8e9 : 0;
            double bound = queue > TLY_PIPE_SEGMENT_BYTES ? (double)queue : (double)TLY_PIPE_SEGMENT_BYTES;
            claim(waiting <= bound + 1);
            filled += room == 0;
            if (room == 0 && test_rng_chance(&rng, 50)) now = tly_pipe_room_at(&pipe);
            now += test_rng_below(&rng, 5 * MS);
        }
    }
    claim(filled > 1000);
}

static void there_is_room_when_it_was_promised(void **state)
{
    static const size_t queues[] = {1, 2, 100, 1447, 1448, 1449, 16000};
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        struct tly_pipe pipe = pipe_of(256000, 0, 0, queues[i]);
        while (tly_pipe_room(&pipe, START) > 0)
            (void)tly_pipe_take(&pipe, tly_pipe_room(&pipe, START), START);
        assert_true(tly_pipe_room(&pipe, tly_pipe_room_at(&pipe)) > 0);
    }
}

static void while_clogged_time_stands_still(void **state)
{
    struct tly_pipe pipe = pipe_of(8000, 100 * MS, 0, 1000);
    uint64_t at = tly_pipe_take(&pipe, 10, START);
    tly_pipe_clog(&pipe, START + 5 * MS);
    assert_int_equal(tly_pipe_real(&pipe, at), TLY_PIPE_NEVER);
    assert_int_equal(tly_pipe_clock(&pipe, START + S), START + 5 * MS);
    tly_pipe_clog(&pipe, START + S); /* again: nothing new */
    tly_pipe_release(&pipe, START + 2 * S);
    assert_int_equal(tly_pipe_real(&pipe, at), START + 110 * MS + 2 * S - 5 * MS);
    assert_int_equal(tly_pipe_clock(&pipe, START + 2 * S), START + 5 * MS);
    tly_pipe_release(&pipe, START + 3 * S); /* again: nothing new */
    assert_int_equal(tly_pipe_clock(&pipe, START + 2 * S), START + 5 * MS);
}

static void a_new_shape_holds_from_the_next_segment_on(void **state)
{
    struct tly_pipe pipe = pipe_of(8000, 0, 0, 1000);
    struct tly_pipe_shape faster = {16000, 0, 0, 1000};
    assert_int_equal(tly_pipe_take(&pipe, 10, START), START + 10 * MS);
    tly_pipe_reshape(&pipe, &faster);
    assert_int_equal(tly_pipe_take(&pipe, 10, START), START + 15 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_exact_over_any_number_of_bytes),
        cmocka_unit_test(without_a_rate_nothing_waits),
        cmocka_unit_test(a_pause_earns_no_credit),
        cmocka_unit_test(delay_is_added_to_the_time_of_sending),
        cmocka_unit_test(jitter_is_bounded_and_overtakes_nothing),
        cmocka_unit_test(another_seed_is_another_jitter),
        cmocka_unit_test(a_queue_holds_no_more_than_it_says),
        cmocka_unit_test(there_is_room_when_it_was_promised),
        cmocka_unit_test(while_clogged_time_stands_still),
        cmocka_unit_test(a_new_shape_holds_from_the_next_segment_on),
    };
    return cmocka_run_group_tests_name("link/pipe", tests, NULL, NULL);
}
