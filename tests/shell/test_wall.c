/* The wall clock between two readings. */
#include "service/shell/wall.h"

#include "tests/support/cmocka.h"

#define MS UINT64_C(1000000)

static void it_is_to_be_read_before_anything_is_known_of_it(void **state)
{
    (void)state;
    struct tly_wall wall = {0};
    assert_true(tly_wall_is_due(&wall, 0));
    assert_true(tly_wall_is_due(&wall, 5 * MS));
}

static void it_goes_as_the_other_clock_does(void **state)
{
    (void)state;
    struct tly_wall wall = {0};
    tly_wall_note(&wall, (struct tly_time){1000 * MS, 5 * MS});
    struct tly_time later = tly_wall_at(&wall, 5 * MS + 999999);
    assert_int_equal(later.wall_ns, 1000 * MS + 999999);
    assert_int_equal(later.mono_ns, 5 * MS + 999999);
}

/* As that of a machine which was started with its clock at 1970. */
static void it_may_be_behind_the_other_clock(void **state)
{
    (void)state;
    struct tly_wall wall = {0};
    tly_wall_note(&wall, (struct tly_time){3, 500 * MS});
    assert_int_equal(tly_wall_at(&wall, 500 * MS + 10).wall_ns, 13);
}

static void one_that_was_set_is_seen_a_millisecond_later(void **state)
{
    (void)state;
    struct tly_wall wall = {0};
    tly_wall_note(&wall, (struct tly_time){1000 * MS, 5 * MS});
    assert_false(tly_wall_is_due(&wall, 6 * MS - 1));
    assert_true(tly_wall_is_due(&wall, 6 * MS));
    tly_wall_note(&wall, (struct tly_time){200 * MS, 6 * MS});
    assert_int_equal(tly_wall_at(&wall, 6 * MS + 1).wall_ns, 200 * MS + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_to_be_read_before_anything_is_known_of_it),
        cmocka_unit_test(it_goes_as_the_other_clock_does),
        cmocka_unit_test(it_may_be_behind_the_other_clock),
        cmocka_unit_test(one_that_was_set_is_seen_a_millisecond_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
