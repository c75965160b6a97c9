/* The messages of a snapshot: what goes in comes out, and no damaged one is taken or read past its end. */
#include "tests/support/guard.h"
#include "tests/support/mem.h"
#include "wire/frame.h"
#include "wire/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static enum tly_result get_begin(struct tly_slice body)
{
    struct tly_snap_begin begin;
    return tly_snap_begin_get(body, &begin);
}

static enum tly_result get_chunk(struct tly_slice body)
{
    struct tly_snap_chunk chunk;
    return tly_snap_chunk_get(body, &chunk);
}

static enum tly_result get_end(struct tly_slice body)
{
    struct tly_snap_end end;
    return tly_snap_end_get(body, &end);
}

static enum tly_result get_cold_start(struct tly_slice body)
{
    struct tly_cold cold;
    return tly_cold_get(body, &cold);
}

static enum tly_result get_news(struct tly_slice body)
{
    uint64_t ts;
    return tly_news_get(body, &ts);
}

static const struct tly_life lives[] = {
    {.origin = 7, .mark = 100, .floor = 50, .state = TLY_LIFE_CLOSED},
    {.origin = UINT64_MAX, .mark = UINT64_MAX - 1, .state = TLY_LIFE_RETIRED},
};

static void put(struct tly_buf *out, int message)
{
    struct tly_snap_begin begin = {.number = 9, .bounds = {3, 4}};
    struct tly_snap_chunk chunk = {9, 1, tly_slice_text("some rows")};
    tly_buf_clear(out);
    if (message == 0) tly_snap_begin_put(out, &begin, lives, 2);
    if (message == 1) tly_snap_chunk_put(out, &chunk);
    if (message == 2) tly_snap_end_put(out, &(struct tly_snap_end){9, 2});
    if (message == 3) tly_cold_put(out, &(struct tly_cold){.reason = TLY_COLD_NO_DELTA, .forgotten = 8});
    if (message == 4)
        tly_cold_put(out, &(struct tly_cold){TLY_COLD_FLOOR, 8, true, 9, 70000, tly_slice_text("kv:a")});
    if (message == 5) tly_news_put(out, UINT64_MAX - 5);
}

static enum tly_result (*const getters[])(struct tly_slice body) = {get_begin,      get_chunk,      get_end,
                                                                    get_cold_start, get_cold_start, get_news};

#define MESSAGES (sizeof getters / sizeof getters[0])

static void what_goes_in_comes_out(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    put(&out, 0);
    struct tly_snap_begin begin;
    assert_int_equal(tly_snap_begin_get(tly_buf_slice(&out), &begin), TLY_OK);
    assert_int_equal(begin.bounds.lost, 3);
    assert_int_equal(begin.bounds.forgotten, 4);
    struct tly_life life;
    for (size_t i = 0; i < 2; i++) {
        assert_true(tly_snap_lives_next(&begin, &life));
        assert_int_equal(life.origin, lives[i].origin);
        assert_int_equal(life.mark, lives[i].mark);
        assert_int_equal(life.floor, lives[i].floor);
        assert_int_equal(life.state, lives[i].state);
    }
    assert_false(tly_snap_lives_next(&begin, &life));
    for (size_t i = 0; i < TLY_COLD_START_COUNT; i++) {
        struct tly_cold in = {.reason = (enum tly_cold_start)i, .forgotten = 77 + i}, cold;
        in.resumes = i % 2 == 1;
        in.number = in.resumes ? i : 0;
        in.chunks = in.resumes ? 1000 * i : 0;
        in.key = tly_slice_text(in.resumes ? "kv:a" : "");
        tly_buf_clear(&out);
        tly_cold_put(&out, &in);
        assert_int_equal(tly_cold_get(tly_buf_slice(&out), &cold), TLY_OK);
        assert_int_equal(cold.reason, i);
        assert_int_equal(cold.forgotten, 77 + i);
        assert_int_equal(cold.resumes, in.resumes);
        assert_int_equal(cold.number, in.number);
        assert_int_equal(cold.chunks, in.chunks);
        assert_true(tly_slice_equal(cold.key, in.key));
    }
    tly_buf_fini(&out);
    assert_int_equal(test_mem_live(), 0);
}

static void no_beginning_and_no_lengthening_of_a_message_is_taken(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    struct test_guard *guard = test_guard_new(4096);
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    for (size_t message = 0; message < MESSAGES; message++) {
        put(&out, (int)message);
        for (size_t n = 0; n < out.n; n++) {
            struct tly_slice cut = tly_slice_of(test_guard_place(guard, out.p, n), n);
            assert_int_equal(getters[message](cut), TLY_BAD_MESSAGE);
        }
        assert_int_equal(getters[message](tly_buf_slice(&out)), TLY_OK);
        tly_buf_put(&out, "\xc0", 1);
        assert_int_equal(getters[message](tly_buf_slice(&out)), TLY_BAD_MESSAGE);
    }
    tly_buf_fini(&out);
    test_guard_free(guard);
}

static void lives_without_an_origin_or_of_no_state_are_refused(void **state)
{
    static const char *const bodies[] = {
        "\x94\x01\x01\x01\x94\x00\x01\x01\x01", /* origin 0 */
        "\x94\x01\x01\x01\x94\x01\x01\x01\x04", /* state 4 */
        "\x94\x01\x01\x01\x93\x01\x01\x01",     /* three of four */
        "\x94\x01\x01\x01\xdd\xff\xff\xff\xff", /* 2^32 - 1 elements */
    };
    static const size_t sizes[] = {9, 9, 8, 9};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(get_begin(tly_slice_of(bodies[i], sizes[i])), TLY_BAD_MESSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(no_beginning_and_no_lengthening_of_a_message_is_taken),
        cmocka_unit_test(lives_without_an_origin_or_of_no_state_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
