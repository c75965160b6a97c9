/* The arena against a list of blocks, each full of bytes of its own. */
#include "crdt/arena.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <string.h>

#define BLOCKS 500

struct block {
    size_t bytes;
    uint32_t ref;
    uint8_t mark;
};

static size_t size_of_kind(struct test_rng *rng, size_t kind)
{
    switch (kind) {
    case 0: return 1 + test_rng_below(rng, 64);
    case 1: return 52;
    case 2: return 1 + test_rng_below(rng, 9000);
    case 3: return 8000 + test_rng_below(rng, 70000);
    default: return 1 + test_rng_below(rng, (uint64_t)1 << test_rng_below(rng, 18));
    }
}

static void fill(const struct tly_arena *arena, struct block *block)
{
    uint8_t *bytes = tly_arena_at(arena, block->ref);
    size_t room = tly_arena_room(arena, block->ref);
    claim(room >= block->bytes && room == tly_arena_room_for(block->bytes));
    claim(room <= block->bytes + 3 || room - block->bytes <= block->bytes / 8);
    claim(room % 8 != 0 || (uintptr_t)bytes % 8 == 0);
    memset(bytes, block->mark, room);
}

static void claim_intact(const struct tly_arena *arena, const struct block *block)
{
    const uint8_t *bytes = tly_arena_at(arena, block->ref);
    size_t room = tly_arena_room(arena, block->ref);
    for (size_t i = 0; i < room; i++)
        claim(bytes[i] == block->mark);
    /* What lies behind may be read; a sanitizer would object otherwise. */
    volatile uint8_t behind = bytes[room + TLY_ARENA_SLACK - 1];
    (void)behind;
}

static void walk(struct test_rng *rng, const struct tly_mem *mem, size_t kind)
{
    struct tly_arena arena = {0};
    struct block blocks[BLOCKS] = {0};
    size_t held = 0;
    for (size_t step = 0; step < 3000; step++) {
        struct block *block = &blocks[test_rng_below(rng, step < 2000 ? BLOCKS : BLOCKS / 20)];
        if (block->ref != 0) {
            claim_intact(&arena, block);
            tly_arena_free(&arena, mem, block->ref);
            *block = (struct block){0};
            held--;
        } else {
            *block = (struct block){.bytes = size_of_kind(rng, kind), .mark = (uint8_t)test_rng_next(rng)};
            block->ref = tly_arena_new(&arena, mem, block->bytes);
            claim(block->ref != 0);
            fill(&arena, block);
            held++;
        }
        if (step % 256 == 0) tly_arena_check(&arena, held);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i].ref != 0) claim_intact(&arena, &blocks[i]);
    tly_arena_check(&arena, held);
    tly_arena_fini(&arena, mem);
}

/* Law M6 */
static void blocks_keep_what_was_written_to_them(void **state)
{
    struct tly_mem mem = test_mem();
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 100 : 6;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        for (size_t kind = 0; kind < 5; kind++)
            walk(&rng, &mem, kind);
    }
    claim(test_mem_live() == 0);
}

static void little_is_lost_to_rounding_and_pages(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_arena arena = {0};
    size_t live = test_mem_live();
    for (size_t i = 0; i < 100000; i++)
        assert_true(tly_arena_new(&arena, &mem, 52) != 0);
    assert_true(test_mem_live() - live < 53 * 100000);
    tly_arena_check(&arena, 100000);
    tly_arena_fini(&arena, &mem);
    assert_int_equal(test_mem_live(), live);
}

static void a_small_arena_is_small(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_arena arena = {0};
    size_t live = test_mem_live();
    assert_true(tly_arena_new(&arena, &mem, 40) != 0);
    assert_true(test_mem_live() - live < 1024);
    tly_arena_fini(&arena, &mem);
}

static void empty_pages_are_given_back(void **state)
{
    static uint32_t refs[20000];
    struct tly_mem mem = test_mem();
    struct tly_arena arena = {0};
    size_t live = test_mem_live();
    for (size_t i = 0; i < 20000; i++)
        refs[i] = tly_arena_new(&arena, &mem, 60);
    size_t full = test_mem_live() - live;
    struct test_rng rng = test_rng_of(test_seed_first());
    test_rng_shuffle(&rng, refs, 20000, sizeof refs[0]);
    for (size_t i = 0; i < 20000; i++)
        tly_arena_free(&arena, &mem, refs[i]);
    tly_arena_check(&arena, 0);
    assert_true(test_mem_live() - live <= TLY_PAGE_BYTES + 4096);
    assert_true(full > 19 * TLY_PAGE_BYTES / 2);
    uint32_t large = tly_arena_new(&arena, &mem, 1000000);
    assert_true(large != 0 && test_mem_live() - live > 1000000);
    tly_arena_free(&arena, &mem, large);
    assert_true(test_mem_live() - live <= TLY_PAGE_BYTES + 4096);
    tly_arena_fini(&arena, &mem);
    assert_int_equal(test_mem_live(), live);
}

static void without_memory_nothing_is_given_and_nothing_changes(void **state)
{
    size_t failures = 0;
    for (size_t countdown = 0;; countdown++) {
        struct test_failing failing = {.countdown = countdown};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_arena arena = {0};
        for (size_t i = 0; i < 300; i++) {
            size_t bytes = i % 3 == 0 ? 9000 + i : i;
            uint32_t ref = tly_arena_new(&arena, &mem, bytes);
            if (ref == 0) {
                tly_arena_check(&arena, i);
                ref = tly_arena_new(&arena, &mem, bytes);
                failures++;
            }
            assert_true(ref != 0);
        }
        tly_arena_check(&arena, 300);
        tly_arena_fini(&arena, &mem);
        assert_int_equal(test_mem_live(), 0);
        if (!failing.failed) break;
    }
    assert_true(failures > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_what_was_written_to_them),
        cmocka_unit_test(little_is_lost_to_rounding_and_pages),
        cmocka_unit_test(a_small_arena_is_small),
        cmocka_unit_test(empty_pages_are_given_back),
        cmocka_unit_test(without_memory_nothing_is_given_and_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
