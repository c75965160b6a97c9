/* The index against a plain list, with hashes that collide. */
#include "crdt/index.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdlib.h>

#define ITEMS 300

struct list {
    uint32_t hash[ITEMS];
    bool held[ITEMS];
};

static struct tly_slot *slot_of(const struct tly_index *index, uint32_t hash, uint32_t ref)
{
    struct tly_slot *slot = tly_index_find(index, hash);
    while (slot != NULL && slot->ref != ref)
        slot = tly_index_again(slot);
    return slot;
}

static size_t slots_of(const struct tly_index *index, uint32_t hash)
{
    size_t count = 0;
    for (struct tly_slot *slot = tly_index_find(index, hash); slot != NULL; slot = tly_index_again(slot))
        count++;
    return count;
}

static size_t held_of(const struct list *list, uint32_t hash)
{
    size_t count = 0;
    for (size_t i = 0; i < ITEMS; i++)
        count += list->held[i] && list->hash[i] == hash;
    return count;
}

/* A walk by hash meets every slot. */
static size_t walk_all(const struct tly_index *index)
{
    size_t met = 0;
    uint32_t last = 0;
    struct tly_slot *slot = tly_index_from(index, 0);
    while (slot != NULL) {
        claim(slot->hash >= last);
        last = slot->hash;
        met++;
        struct tly_slot *again = tly_index_again(slot);
        slot = again != NULL || last == UINT32_MAX ? again : tly_index_from(index, last + 1);
    }
    return met;
}

static void claim_same(const struct tly_index *index, const struct list *list)
{
    size_t held = 0;
    tly_index_check(index);
    for (uint32_t i = 0; i < ITEMS; i++) {
        claim((slot_of(index, list->hash[i], i + 1) != NULL) == list->held[i]);
        claim(slots_of(index, list->hash[i]) == held_of(list, list->hash[i]));
        claim(tly_index_look(index, list->hash[i]) == tly_index_find(index, list->hash[i]));
        held += list->held[i];
    }
    claim(index->used == held && walk_all(index) == held);
}

/* Each kind makes another sort of collision: of whole hashes, of first bits, at both ends of the table. */
static uint32_t hash_of_kind(struct test_rng *rng, size_t kind)
{
    uint32_t any = (uint32_t)test_rng_next(rng), hash = any;
    switch (kind) {
    case 1: hash = any & 0xff000000; break;
    case 2: hash = any & 0xff; break;
    case 3: hash = 42; break;
    case 4: hash = any | 0xffffff00; break;
    case 5: hash = UINT32_MAX; break;
    case 6: hash = any % 3; break;
    default: break;
    }
    return hash != 0 ? hash : 1;
}

#define KINDS 7

static void walk(struct test_rng *rng, const struct tly_mem *mem, size_t kind, size_t steps)
{
    struct list list = {0};
    struct tly_index index;
    claim(tly_index_init(&index, mem));
    for (size_t i = 0; i < ITEMS; i++)
        list.hash[i] = hash_of_kind(rng, kind);
    for (size_t step = 0; step < steps; step++) {
        uint32_t i = (uint32_t)test_rng_below(rng, step < steps / 2 ? ITEMS : ITEMS / 10);
        if (list.held[i]) {
            tly_index_remove(&index, mem, slot_of(&index, list.hash[i], i + 1));
            list.held[i] = false;
            list.hash[i] = hash_of_kind(rng, kind);
        } else {
            claim(tly_index_reserve(&index, mem, list.hash[i]));
            claim(tly_index_add(&index, list.hash[i], i + 1) == slot_of(&index, list.hash[i], i + 1));
            list.held[i] = true;
        }
        if (step % 64 == 0) claim_same(&index, &list);
    }
    claim_same(&index, &list);
    tly_index_fini(&index, mem);
}

/* Law M5 */
static void the_index_finds_what_a_list_holds(void **state)
{
    struct tly_mem mem = test_mem();
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 400 : 20;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        for (size_t kind = 0; kind < KINDS; kind++)
            walk(&rng, &mem, kind, 600);
    }
    claim(test_mem_live() == 0);
}

static void slots_of_one_hash_keep_the_order_in_which_they_came(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_index index;
    assert_true(tly_index_init(&index, &mem));
    for (uint32_t i = 1; i <= 1000; i++) {
        uint32_t hash = i % 10 == 0 ? 7 : i * 2654435761u | 1;
        assert_true(tly_index_reserve(&index, &mem, hash));
        (void)tly_index_add(&index, hash, i);
    }
    uint32_t last = 0;
    for (struct tly_slot *slot = tly_index_find(&index, 7); slot != NULL; slot = tly_index_again(slot)) {
        assert_true(slot->ref > last);
        last = slot->ref;
    }
    assert_int_equal(last, 1000);
    tly_index_fini(&index, &mem);
}

/* Law M5: the pause that an insertion makes is counted in slots, since time is not our own. */
static void no_insertion_moves_more_than_a_segment_and_the_table_stays_full(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_index index;
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t count = test_is_long() ? 10000000 : 1000000, most = 0, live = test_mem_live();
    claim(tly_index_init(&index, &mem));
    for (size_t i = 1; i <= count; i++) {
        uint32_t hash = (uint32_t)test_rng_next(&rng) | 1;
        size_t before = index.moved;
        claim(tly_index_reserve(&index, &mem, hash));
        (void)tly_index_add(&index, hash, (uint32_t)i);
        if (index.moved - before > most) most = index.moved - before;
        /* Eight bytes a slot at 5/7 full, and a fortieth for tails. */
        if (i % 20000 == 0 && i >= 100000) claim((test_mem_live() - live) * 10 < i * 115);
    }
    print_message("%zu insertions moved %zu slots, none more than %zu\n", count, index.moved, most);
    claim(most <= TLY_SEGMENT_PAGES * TLY_PAGE_HOMES);
    claim(index.moved < count * 8);
    tly_index_check(&index);
    tly_index_fini(&index, &mem);
    claim(test_mem_live() == live);
}

static void what_empties_gives_its_memory_back(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_index index;
    size_t live = test_mem_live();
    claim(tly_index_init(&index, &mem));
    for (uint32_t i = 1; i <= 100000; i++) {
        claim(tly_index_reserve(&index, &mem, i * 2654435761u));
        (void)tly_index_add(&index, i * 2654435761u, i);
    }
    size_t full = test_mem_live() - live;
    for (uint32_t i = 1; i <= 100000; i++)
        tly_index_remove(&index, &mem, tly_index_find(&index, i * 2654435761u));
    tly_index_check(&index);
    claim(index.used == 0 && (test_mem_live() - live) * 50 < full);
    tly_index_fini(&index, &mem);
    claim(test_mem_live() == live);
}

/* Every growth of every kind fails once; the table is then as it was, and the same growth succeeds. */
static void growth_without_memory_changes_nothing(void **state)
{
    size_t failures = 0;
    for (size_t kind = 0; kind < KINDS; kind++)
        for (size_t countdown = 0;; countdown++) {
            struct test_failing failing = {.countdown = countdown};
            struct tly_mem mem = test_failing_mem(&failing);
            struct test_rng rng = test_rng_of(kind);
            struct tly_index index;
            bool made = tly_index_init(&index, &mem);
            claim(made || failing.failed);
            if (!made) claim(tly_index_init(&index, &mem));
            for (uint32_t i = 1; i <= (kind == 0 ? 20000 : 300); i++) {
                uint32_t hash = hash_of_kind(&rng, kind);
                size_t used = index.used;
                if (!tly_index_reserve(&index, &mem, hash)) {
                    tly_index_check(&index);
                    claim(index.used == used && walk_all(&index) == used);
                    claim(tly_index_reserve(&index, &mem, hash));
                    failures++;
                }
                (void)tly_index_add(&index, hash, i);
            }
            tly_index_check(&index);
            tly_index_fini(&index, &mem);
            if (!failing.failed) break;
        }
    claim(failures > 50);
    claim(test_mem_live() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_finds_what_a_list_holds),
        cmocka_unit_test(slots_of_one_hash_keep_the_order_in_which_they_came),
        cmocka_unit_test(no_insertion_moves_more_than_a_segment_and_the_table_stays_full),
        cmocka_unit_test(what_empties_gives_its_memory_back),
        cmocka_unit_test(growth_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
