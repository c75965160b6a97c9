#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "wire/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct tly_version a = {5, 11}, b = {5, 12};

static struct tly_names *names_of(const struct tly_mem *mem, uint32_t names_max, size_t key_bytes_max)
{
    struct tly_names_config config = {.mem = *mem, .names_max = names_max, .key_bytes_max = key_bytes_max};
    return tly_names_new(&config);
}

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    *state = names_of(&mem, 100, 8192);
    return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    if (*state != NULL) tly_names_check(*state);
    tly_names_free(*state);
    return test_mem_live() == 0 ? 0 : -1;
}

static struct tly_name need(struct tly_names *names, const char *key, struct tly_version version)
{
    struct tly_name name;
    assert_true(tly_names_need(names, tly_slice_text(key), &version, tly_epoch_sum(), &name));
    return name;
}

static struct tly_name need_number(struct tly_names *names, size_t i)
{
    char key[32];
    snprintf(key, sizeof key, "key:%zu", i);
    return need(names, key, a);
}

static void a_name_stays_as_long_as_there_is_room(void **state)
{
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(need_number(*state, i).number, i);
    tly_names_begin(*state);
    for (size_t i = 100; i-- > 0;)
        assert_true(need_number(*state, i).number == i && need_number(*state, i).issue == 1);
    assert_int_equal(tly_names_count(*state), 100);
}

static void key_life_and_strategy_make_a_name(void **state)
{
    struct tly_name name;
    assert_int_equal(need(*state, "k", a).number, 0);
    assert_int_equal(need(*state, "k", b).number, 1);
    assert_int_equal(need(*state, "l", a).number, 2);
    assert_true(tly_names_need(*state, tly_slice_text("k"), &a, tly_epoch_max(), &name));
    assert_int_equal(name.number, 3);
    assert_int_equal(need(*state, "k", (struct tly_version){6, 11}).number, 0);
}

static void names_are_found_together(void **state)
{
    static const char *const texts[] = {"k", "none", "l", "k", "m", ""};
    const struct tly_strategy *const strategies[] = {tly_epoch_sum(), tly_epoch_sum(), tly_epoch_sum(),
                                                     tly_epoch_max(), tly_epoch_sum(), tly_epoch_sum()};
    static const uint32_t wanted[] = {0, TLY_NO_NAME, 2, TLY_NO_NAME, TLY_NO_NAME, TLY_NO_NAME};
    enum { COUNT = sizeof texts / sizeof texts[0] };
    struct tly_slice keys[COUNT];
    uint32_t numbers[COUNT];
    assert_int_equal(need(*state, "k", a).number, 0);
    assert_int_equal(need(*state, "m", b).number, 1);
    assert_int_equal(need(*state, "l", a).number, 2);
    for (size_t i = 0; i < COUNT; i++)
        keys[i] = tly_slice_text(texts[i]);
    for (size_t count = 0; count <= COUNT; count++) {
        const struct tly_unnamed unnamed = {keys, strategies, count, a.origin};
        memset(numbers, 0, sizeof numbers);
        tly_names_find_all(*state, &unnamed, numbers);
        assert_memory_equal(numbers, wanted, count * sizeof *numbers);
    }
}

static void what_was_used_lately_outlives_what_was_not(void **state)
{
    for (size_t i = 0; i < 1000; i++) {
        tly_names_begin(*state);
        assert_int_equal(need(*state, "hot", a).number, 0);
        need_number(*state, i);
    }
    assert_int_equal(need(*state, "hot", a).issue, 1);
    assert_int_equal(tly_names_count(*state), 100);
}

static void a_number_that_is_issued_anew_says_so(void **state)
{
    for (size_t i = 0; i < 100; i++)
        need_number(*state, i);
    tly_names_begin(*state);
    struct tly_name name = need_number(*state, 1000);
    assert_int_equal(name.issue, 2);
    assert_true(name.number < 100);
    tly_names_begin(*state);
    struct tly_name before = need_number(*state, name.number);
    assert_true(before.number != name.number || before.issue == 3);
}

static void a_part_that_holds_every_name_gets_no_more(void **state)
{
    struct tly_name name;
    tly_names_begin(*state);
    for (size_t i = 0; i < 100; i++)
        need_number(*state, i);
    assert_false(tly_names_need(*state, tly_slice_text("one more"), &a, tly_epoch_sum(), &name));
    assert_int_equal(need_number(*state, 7).number, 7);
    tly_names_begin(*state);
    assert_true(tly_names_need(*state, tly_slice_text("one more"), &a, tly_epoch_sum(), &name));
}

static void the_bytes_of_keys_are_bounded(void **state)
{
    char key[TLY_KEY_BYTES_MAX + 1];
    for (size_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "%0*zu", TLY_KEY_BYTES_MAX, i);
        tly_names_begin(*state);
        need(*state, key, a);
        tly_names_check(*state);
    }
    assert_int_equal(tly_names_count(*state), 8192 / TLY_KEY_BYTES_MAX);
}

static void cleared_names_begin_at_0_and_are_not_taken_for_the_old(void **state)
{
    assert_int_equal(need(*state, "x", a).issue, 1);
    tly_names_clear(*state);
    tly_names_begin(*state);
    struct tly_name name = need(*state, "y", a);
    assert_true(name.number == 0 && name.issue == 2);
    assert_int_equal(tly_names_count(*state), 1);
}

static void random_needs_keep_the_invariant(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < 20000; i++) {
        if (test_rng_chance(&rng, 20)) tly_names_begin(*state);
        char key[600];
        size_t n = 1 + (size_t)test_rng_below(&rng, test_rng_chance(&rng, 5) ? 512 : 12);
        memset(key, 'x', n);
        snprintf(key + n - 1, 2, "%d", (int)test_rng_below(&rng, 10));
        struct tly_name name, again;
        if (!tly_names_need(*state, tly_slice_of(key, n), &b, tly_lww(), &name)) {
            tly_names_begin(*state);
            continue;
        }
        claim(tly_names_need(*state, tly_slice_of(key, n), &b, tly_lww(), &again));
        claim(name.number == again.number && name.issue == again.issue && name.number < 100);
    }
}

static void without_memory_there_is_no_name_and_nothing_leaks(void **state)
{
    for (size_t n = 0;; n++) {
        struct test_failing failing = {.countdown = n};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_names *names = names_of(&mem, 100, 8192);
        for (size_t i = 0; names != NULL && i < 100; i++) {
            struct tly_name name;
            char key[8];
            snprintf(key, sizeof key, "%zu", i);
            if (!tly_names_need(names, tly_slice_text(key), &a, tly_lww(), &name))
                assert_true(failing.failed);
            tly_names_check(names);
        }
        tly_names_free(names);
        if (!failing.failed) return;
    }
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_name_stays_as_long_as_there_is_room),
        test(key_life_and_strategy_make_a_name),
        test(names_are_found_together),
        test(what_was_used_lately_outlives_what_was_not),
        test(a_number_that_is_issued_anew_says_so),
        test(a_part_that_holds_every_name_gets_no_more),
        test(the_bytes_of_keys_are_bounded),
        test(cleared_names_begin_at_0_and_are_not_taken_for_the_old),
        test(random_needs_keep_the_invariant),
        test(without_memory_there_is_no_name_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
