/* The index against a plain list, with hashes that collide. */
#include "crdt/index.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <string.h>

#define NUMBERS 300

struct list {
    uint64_t hash[NUMBERS];
    bool held[NUMBERS];
};

static uint64_t hash_of(const void *context, uint32_t number)
{
    const struct list *list = context;
    return list->hash[number];
}

/* How many candidates the probe gives, none with another upper half, and whether `number` is one of them. */
static size_t candidates(const struct tly_index *index, const struct list *list, uint32_t number, bool *found)
{
    uint64_t hash = list->hash[number];
    struct tly_probe probe = tly_probe_of(index, hash);
    size_t count = 0;
    *found = false;
    for (uint32_t got; tly_probe_next(index, &probe, &got); count++) {
        claim(list->hash[got] >> 32 == hash >> 32);
        *found = *found || got == number;
    }
    return count;
}

static void claim_same(const struct tly_index *index, const struct list *list)
{
    size_t held = 0;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        bool found;
        size_t count = candidates(index, list, i, &found);
        claim(found == list->held[i]);
        claim(count <= index->used);
        held += list->held[i];
    }
    claim(index->used == held);
    claim(index->used < index->mask + 1);
}

/* Each kind makes another sort of collision: of homes, of tags, of both, at the end of the table. */
static uint64_t hash_of_kind(struct test_rng *rng, size_t kind)
{
    uint64_t any = test_rng_next(rng);
    switch (kind) {
    case 0: return any;
    case 1: return any & UINT64_C(0xffffffff00000000);
    case 2: return any & UINT64_C(0xffffffff);
    case 3: return 42;
    case 4: return any | 0xffff;
    default: return any & UINT64_C(0x100000003);
    }
}

static void walk(struct test_rng *rng, const struct tly_mem *mem, size_t kind, size_t steps)
{
    struct list list = {0};
    struct tly_index index;
    claim(tly_index_init(&index, mem));
    for (size_t i = 0; i < NUMBERS; i++)
        list.hash[i] = hash_of_kind(rng, kind);
    for (size_t step = 0; step < steps; step++) {
        uint32_t number = (uint32_t)test_rng_below(rng, step < steps / 2 ? NUMBERS : NUMBERS / 10);
        if (list.held[number]) {
            tly_index_remove(&index, list.hash[number], number, hash_of, &list);
            list.held[number] = false;
            list.hash[number] = hash_of_kind(rng, kind);
        } else {
            claim(tly_index_reserve(&index, mem, hash_of, &list));
            tly_index_add(&index, list.hash[number], number);
            list.held[number] = true;
        }
        if (step % 64 == 0) claim_same(&index, &list);
    }
    claim_same(&index, &list);
    tly_index_fini(&index, mem);
}

static void the_index_finds_what_a_list_holds(void **state)
{
    struct tly_mem mem = test_mem();
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 400 : 40;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        for (size_t kind = 0; kind < 6; kind++)
            walk(&rng, &mem, kind, 600);
    }
    claim(test_mem_live() == 0);
}

static void removing_from_a_run_that_wraps_loses_no_follower(void **state)
{
    struct tly_mem mem = test_mem();
    struct list list = {0};
    struct tly_index index;
    size_t removals = 0;
    assert_true(tly_index_init(&index, &mem));
    /* A run over the end of the table: homes 13, 14, 15, 15, 0, 0, 1. */
    static const uint64_t homes[] = {13, 14, 15, 15, 0, 0, 1};
    for (uint32_t gone = 0; gone < 7; gone++) {
        for (uint32_t i = 0; i < 7; i++) {
            list.hash[i] = homes[i] | (uint64_t)(i + 1) << 32;
            tly_index_add(&index, list.hash[i], i);
        }
        assert_int_equal(index.mask, 15);
        for (uint32_t k = 0; k < 7; k++, removals++) {
            uint32_t number = (gone + k * 3) % 7;
            tly_index_remove(&index, list.hash[number], number, hash_of, &list);
            for (uint32_t later = k + 1; later < 7; later++) {
                uint32_t other = (gone + later * 3) % 7;
                bool found;
                (void)candidates(&index, &list, other, &found);
                assert_true(found);
            }
        }
        assert_int_equal(index.used, 0);
        for (size_t i = 0; i <= index.mask; i++)
            assert_int_equal(index.slots[i].number, 0);
    }
    assert_int_equal(removals, 49);
    tly_index_fini(&index, &mem);
    assert_int_equal(test_mem_live(), 0);
}

static void growth_without_memory_changes_nothing(void **state)
{
    struct test_failing second = {.countdown = 1};
    struct tly_mem failing = test_failing_mem(&second);
    struct list list = {0};
    struct tly_index index;
    assert_true(tly_index_init(&index, &failing));
    uint32_t count = 0;
    while (tly_index_reserve(&index, &failing, hash_of, &list)) {
        list.hash[count] = count;
        list.held[count] = true;
        tly_index_add(&index, count, count);
        count++;
    }
    assert_true(second.failed);
    assert_int_equal(count, 12);
    for (size_t i = count; i < NUMBERS; i++)
        list.hash[i] = UINT64_MAX;
    claim_same(&index, &list);
    tly_index_fini(&index, &failing);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_finds_what_a_list_holds),
        cmocka_unit_test(removing_from_a_run_that_wraps_loses_no_follower),
        cmocka_unit_test(growth_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
