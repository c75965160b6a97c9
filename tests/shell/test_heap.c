/* Memory in regions: what is in a block stays there, blocks do not overlap, and what is not used goes back. */
#include "service/shell/heap.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdint.h>
#include <string.h>

#define BLOCKS 400

struct block {
    uint8_t *p;
    size_t n;
    uint8_t fill;
};

static void fill(struct block *block, uint8_t with)
{
    block->fill = with;
    if (block->p != NULL) memset(block->p, with, block->n);
}

static void assert_filled(const struct block *block, size_t n)
{
    if (block->p == NULL) {
        assert_int_equal(n, 0);
        return;
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(block->p[i], block->fill);
}

/* Sizes as tables have them, and as they come. */
static size_t some_size(struct test_rng *rng)
{
    static const size_t usual[] = {512, 1000, 8184, 8192, 65536, 250000, 262144, 512};
    if (test_rng_below(rng, 4) > 0) return usual[test_rng_below(rng, sizeof usual / sizeof usual[0])];
    return 1 + test_rng_below(rng, 300000);
}

static void change(struct tly_mem *mem, struct block *block, struct test_rng *rng)
{
    size_t old = block->n, n = test_rng_below(rng, 3) == 0 && block->p != NULL ? 0 : some_size(rng);
    assert_filled(block, old);
    uint8_t *moved = tly_mem_resize(mem, block->p, old, n);
    assert_true((moved == NULL) == (n == 0));
    block->p = moved;
    block->n = n;
    assert_filled(block, old < n ? old : n);
    fill(block, (uint8_t)test_rng_below(rng, 256));
}

static void blocks_keep_what_is_in_them_whatever_becomes_of_others(void **state)
{
    (void)state;
    struct test_rng rng = test_rng_of(test_seed_first());
    struct tly_heap *heap = tly_heap_new();
    struct tly_mem mem = tly_heap_mem(heap);
    struct block blocks[BLOCKS] = {{0}};
    for (size_t turn = 0; turn < 6000; turn++) {
        change(&mem, &blocks[test_rng_below(&rng, BLOCKS)], &rng);
        if (turn % 100 == 0) tly_heap_check(heap);
    }
    assert_true(tly_heap_regions(heap) > 2);
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_filled(&blocks[i], blocks[i].n);
        tly_mem_free(&mem, blocks[i].p, blocks[i].n);
    }
    tly_heap_check(heap);
    assert_int_equal(tly_heap_held(heap), 0);
    assert_true(tly_heap_regions(heap) <= 1);
    tly_heap_free(heap);
}

static void a_block_lies_where_its_size_says(void **state)
{
    (void)state;
    static const size_t ours[] = {448, 512, 8184, 8192, 65536, 262144},
                        not_ours[] = {1, 256, 600, 9000, 262145};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        assert_true(tly_heap_takes(ours[i]));
    for (size_t i = 0; i < sizeof not_ours / sizeof not_ours[0]; i++)
        assert_false(tly_heap_takes(not_ours[i]));
}

static void a_region_is_full_of_blocks_before_there_is_another(void **state)
{
    (void)state;
    struct tly_heap *heap = tly_heap_new();
    struct tly_mem mem = tly_heap_mem(heap);
    /* All of 2 MiB but for 8 KiB. */
    static void *blocks[4080];
    for (size_t i = 0; i < 4080; i++) {
        blocks[i] = tly_mem_new(&mem, 512);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 512, 0);
    }
    assert_int_equal(tly_heap_regions(heap), 1);
    void *more = tly_mem_new(&mem, 512);
    assert_int_equal(tly_heap_regions(heap), 2);
    tly_mem_free(&mem, more, 512);
    for (size_t i = 0; i < 4080; i++)
        tly_mem_free(&mem, blocks[i], 512);
    tly_heap_check(heap);
    assert_int_equal(tly_heap_regions(heap), 1);
    /* Halves became wholes again. */
    void *large[7];
    for (size_t i = 0; i < 7; i++)
        large[i] = tly_mem_new(&mem, 262144);
    assert_int_equal(tly_heap_regions(heap), 1);
    for (size_t i = 0; i < 7; i++)
        tly_mem_free(&mem, large[i], 262144);
    tly_heap_free(heap);
}

static void a_block_that_grows_within_its_size_stays_where_it_is(void **state)
{
    (void)state;
    struct tly_heap *heap = tly_heap_new();
    struct tly_mem mem = tly_heap_mem(heap);
    void *block = tly_mem_new(&mem, 60000);
    assert_ptr_equal(tly_mem_resize(&mem, block, 60000, 65536), block);
    assert_int_equal(tly_heap_held(heap), 65536);
    tly_mem_free(&mem, block, 65536);
    tly_heap_free(heap);
    tly_heap_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_what_is_in_them_whatever_becomes_of_others),
        cmocka_unit_test(a_block_lies_where_its_size_says),
        cmocka_unit_test(a_region_is_full_of_blocks_before_there_is_another),
        cmocka_unit_test(a_block_that_grows_within_its_size_stays_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
