#include "tests/support/mem.h"
#include "tests/wire/damage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct tly_buf buf_of(size_t bytes_max)
{
    struct tly_mem mem = test_mem();
    struct tly_buf buf;
    tly_buf_init(&buf, &mem, bytes_max);
    return buf;
}

static void assert_holds(const struct tly_buf *buf, const char *text)
{
    assert_true(tly_slice_equal(tly_buf_slice(buf), tly_slice_text(text)));
}

static void a_new_buffer_is_empty_and_holds_no_memory(void **state)
{
    size_t live = test_mem_live();
    struct tly_buf buf = buf_of(10);
    assert_int_equal(buf.n, 0);
    assert_int_equal(buf.result, TLY_OK);
    assert_int_equal(test_mem_live(), live);
    tly_buf_fini(&buf);
}

static void what_was_put_is_there_in_order(void **state)
{
    struct tly_buf buf = buf_of(100);
    tly_buf_put(&buf, "one ", 4);
    tly_buf_put(&buf, "", 0);
    tly_buf_put(&buf, "two", 3);
    assert_holds(&buf, "one two");
    tly_buf_fini(&buf);
}

static void growing_keeps_what_was_there(void **state)
{
    struct tly_buf buf = buf_of(100000);
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        tly_buf_put(&buf, &byte, 1);
    }
    assert_int_equal(buf.result, TLY_OK);
    assert_int_equal(buf.n, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf.p[i], (uint8_t)(i * 7));
    tly_buf_fini(&buf);
}

static void it_never_holds_more_memory_than_its_bound(void **state)
{
    size_t live = test_mem_live();
    struct tly_buf buf = buf_of(5);
    tly_buf_put(&buf, "12345", 5);
    assert_int_equal(buf.result, TLY_OK);
    assert_holds(&buf, "12345");
    assert_int_equal(test_mem_live() - live, 5);
    tly_buf_fini(&buf);
}

static void past_the_bound_it_is_too_large_and_stays_as_it_was(void **state)
{
    struct tly_buf buf = buf_of(5);
    tly_buf_put(&buf, "1234", 4);
    tly_buf_put(&buf, "56", 2);
    assert_int_equal(buf.result, TLY_TOO_LARGE);
    assert_holds(&buf, "1234");
    tly_buf_fini(&buf);
}

static void a_length_near_the_end_of_size_t_does_not_wrap(void **state)
{
    struct tly_buf buf = buf_of(SIZE_MAX);
    tly_buf_put(&buf, "12", 2);
    assert_null(tly_buf_room(&buf, SIZE_MAX - 1));
    assert_int_equal(buf.result, TLY_TOO_LARGE);
    tly_buf_fini(&buf);
}

static void the_first_failure_stays_and_later_puts_do_nothing(void **state)
{
    struct tly_buf buf = buf_of(5);
    tly_buf_put(&buf, "123456", 6);
    tly_buf_put(&buf, "1", 1);
    assert_null(tly_buf_room(&buf, 1));
    tly_buf_fail(&buf, TLY_NOMEM);
    assert_int_equal(buf.result, TLY_TOO_LARGE);
    assert_holds(&buf, "");
    tly_buf_fini(&buf);
}

static void clear_forgets_the_failure_and_keeps_the_memory(void **state)
{
    struct tly_buf buf = buf_of(5);
    tly_buf_put(&buf, "123", 3);
    tly_buf_put(&buf, "456", 3);
    size_t live = test_mem_live();
    tly_buf_clear(&buf);
    assert_int_equal(buf.result, TLY_OK);
    assert_holds(&buf, "");
    assert_int_equal(test_mem_live(), live);
    tly_buf_put(&buf, "abc", 3);
    assert_holds(&buf, "abc");
    tly_buf_fini(&buf);
}

static void taking_moves_the_rest_to_the_front(void **state)
{
    struct tly_buf buf = buf_of(100);
    tly_buf_put(&buf, "one two", 7);
    tly_buf_take(&buf, 0);
    assert_holds(&buf, "one two");
    tly_buf_take(&buf, 4);
    assert_holds(&buf, "two");
    tly_buf_take(&buf, 3);
    assert_holds(&buf, "");
    tly_buf_fini(&buf);
}

static void room_counts_only_what_the_caller_adds(void **state)
{
    struct tly_buf buf = buf_of(100);
    tly_buf_put(&buf, "a", 1);
    uint8_t *room = tly_buf_room(&buf, 50);
    assert_non_null(room);
    assert_int_equal(buf.n, 1);
    room[0] = 'b';
    buf.n += 1;
    assert_holds(&buf, "ab");
    tly_buf_fini(&buf);
}

static void room_for_nothing_is_no_failure(void **state)
{
    struct tly_buf buf = buf_of(1);
    assert_non_null(tly_buf_room(&buf, 0));
    tly_buf_put(&buf, "a", 1);
    assert_non_null(tly_buf_room(&buf, 0));
    assert_int_equal(buf.result, TLY_OK);
    tly_buf_fini(&buf);
}

static void put_a_lot(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    for (int i = 0; i < 1000; i++)
        tly_buf_put(out, "some text", 9);
}

static void without_memory_it_says_so_whichever_growth_fails(void **state)
{
    each_failed_allocation(put_a_lot, NULL);
}

static void fini_returns_all_memory_and_may_be_repeated(void **state)
{
    size_t live = test_mem_live();
    struct tly_buf buf = buf_of(1000);
    tly_buf_put(&buf, "text", 4);
    assert_true(test_mem_live() > live);
    tly_buf_fini(&buf);
    tly_buf_fini(&buf);
    assert_int_equal(test_mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_buffer_is_empty_and_holds_no_memory),
        cmocka_unit_test(what_was_put_is_there_in_order),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(it_never_holds_more_memory_than_its_bound),
        cmocka_unit_test(past_the_bound_it_is_too_large_and_stays_as_it_was),
        cmocka_unit_test(a_length_near_the_end_of_size_t_does_not_wrap),
        cmocka_unit_test(the_first_failure_stays_and_later_puts_do_nothing),
        cmocka_unit_test(clear_forgets_the_failure_and_keeps_the_memory),
        cmocka_unit_test(taking_moves_the_rest_to_the_front),
        cmocka_unit_test(room_counts_only_what_the_caller_adds),
        cmocka_unit_test(room_for_nothing_is_no_failure),
        cmocka_unit_test(without_memory_it_says_so_whichever_growth_fails),
        cmocka_unit_test(fini_returns_all_memory_and_may_be_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
