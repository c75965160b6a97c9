/* The allocator with a ceiling: counts what a malloc takes, refuses growth beyond, never a block that shrinks. */
#include "service/engine/budget.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

static void a_block_costs_what_a_malloc_takes_for_it(void **state)
{
    (void)state;
    static const size_t rows[][2] = {{1, 32},  {24, 32},   {25, 48},    {40, 48},
                                     {41, 64}, {120, 128}, {4096, 4112}};
    struct tly_mem given = test_mem();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_budget budget = tly_budget_of(&given, 0);
        struct tly_mem mem = tly_budget_mem(&budget);
        void *block = tly_mem_new(&mem, rows[i][0]);
        assert_non_null(block);
        assert_int_equal(budget.used, rows[i][1]);
        tly_mem_free(&mem, block, rows[i][0]);
        assert_int_equal(budget.used, 0);
    }
    assert_int_equal(tly_budget_of(&given, 100).used, 112);
}

static void up_to_the_ceiling_and_not_a_step_further(void **state)
{
    (void)state;
    struct tly_mem given = test_mem();
    struct tly_budget budget = tly_budget_of(&given, 0);
    struct tly_mem mem = tly_budget_mem(&budget);
    budget.ceiling = 128;
    void *block = tly_mem_new(&mem, 88); /* 96 */
    void *last = tly_mem_new(&mem, 24);  /* 32 */
    assert_non_null(block);
    assert_non_null(last);
    assert_false(budget.refused);
    assert_null(tly_mem_new(&mem, 1));
    assert_true(budget.refused);
    assert_null(tly_mem_resize(&mem, last, 24, 25));
    assert_null(tly_mem_new(&mem, SIZE_MAX));
    assert_null(tly_mem_new(&mem, SIZE_MAX - 40));
    assert_int_equal(budget.used, 128);
    /* Within its 16 bytes, or smaller, it costs no more, also above a ceiling that was lowered. */
    budget.ceiling = 64;
    budget.refused = false;
    last = tly_mem_resize(&mem, last, 24, 20);
    assert_non_null(last);
    block = tly_mem_resize(&mem, block, 88, 40);
    assert_non_null(block);
    assert_int_equal(budget.used, 80);
    assert_false(budget.refused);
    tly_mem_free(&mem, block, 40);
    tly_mem_free(&mem, last, 20);
    assert_int_equal(budget.used, 0);
    assert_int_equal(test_mem_live(), 0);
}

static void without_memory_nothing_is_counted_and_nothing_refused(void **state)
{
    (void)state;
    struct test_failing failing = {.countdown = 1};
    struct tly_mem given = test_failing_mem(&failing);
    struct tly_budget budget = tly_budget_of(&given, 0);
    struct tly_mem mem = tly_budget_mem(&budget);
    void *block = tly_mem_new(&mem, 100);
    assert_non_null(block);
    assert_null(tly_mem_resize(&mem, block, 100, 200));
    assert_true(failing.failed);
    assert_false(budget.refused);
    assert_int_equal(budget.used, 112);
    tly_mem_free(&mem, block, 100);
    assert_int_equal(test_mem_live(), 0);
}

static void what_is_used_is_the_sum_of_what_is_held(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_mem given = test_mem();
    struct tly_budget budget = tly_budget_of(&given, 0);
    struct tly_mem mem = tly_budget_mem(&budget);
    void *blocks[50] = {0};
    size_t sizes[50] = {0}, refusals = 0;
    budget.ceiling = 50000;
    for (int i = 0; i < 20000; i++) {
        size_t at = test_rng_below(&rng, 50),
               size = test_rng_below(&rng, 3) == 0 ? 0 : test_rng_below(&rng, 4000);
        budget.refused = false;
        void *moved = tly_mem_resize(&mem, blocks[at], sizes[at], size);
        refusals += budget.refused;
        claim(budget.refused == (moved == NULL && size > 0));
        if (!budget.refused) {
            blocks[at] = moved;
            sizes[at] = size;
        }
        size_t held = 0;
        for (size_t j = 0; j < 50; j++)
            if (blocks[j] != NULL) held += sizes[j] <= 24 ? 32 : (sizes[j] + 8 + 15) / 16 * 16;
        claim(held == budget.used && held <= budget.ceiling);
    }
    claim(refusals > 100);
    for (size_t j = 0; j < 50; j++)
        tly_mem_free(&mem, blocks[j], sizes[j]);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_costs_what_a_malloc_takes_for_it),
        cmocka_unit_test(up_to_the_ceiling_and_not_a_step_further),
        cmocka_unit_test(without_memory_nothing_is_counted_and_nothing_refused),
        cmocka_unit_test(what_is_used_is_the_sum_of_what_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
