/* The cells of an entry against a list of what was written. */
#include "crdt/arena.h"
#include "crdt/cell.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <string.h>

#define CELLS 12
#define BYTES 40
#define ROOM \
    (TLY_ENTRY_LOCAL_BYTES + TLY_KEY_BYTES_MAX + CELLS * (TLY_CELL_FIXED_MAX + BYTES) + TLY_ARENA_SLACK)

struct written {
    const struct tly_strategy *strategy;
    struct tly_cell cell[CELLS];
    char bytes[CELLS][BYTES];
    size_t count;
};

/* Of any width up to eight bytes, and often at the ends of one. */
static uint64_t word_of(struct test_rng *rng)
{
    uint64_t word = test_rng_next(rng) >> test_rng_below(rng, 64);
    switch (test_rng_below(rng, 5)) {
    case 0: return 0;
    case 1: return (UINT64_C(1) << test_rng_below(rng, 64)) - 1;
    case 2: return UINT64_C(1) << test_rng_below(rng, 64);
    case 3: return 0 - word;
    default: return word;
    }
}

static struct tly_cell cell_of(struct test_rng *rng, const struct tly_strategy *strategy, char *bytes)
{
    struct tly_cell cell = {.life = (uint32_t)(word_of(rng) % TLY_ORIGINS_MAX)};
    cell.dot.version.ts = word_of(rng);
    if (test_rng_chance(rng, 10)) {
        cell.dot.op = TLY_REMOVE;
        return cell;
    }
    for (unsigned i = 0; i < strategy->nums; i++)
        cell.dot.num[i] = word_of(rng);
    cell.unsealed = test_rng_chance(rng, 30);
    cell.says_aux = cell.unsealed && test_rng_chance(rng, 50);
    if (strategy->has_bytes) {
        size_t n = (size_t)test_rng_below(rng, BYTES);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)test_rng_next(rng);
        if (n > 0) cell.dot.bytes = tly_slice_of(bytes, n);
    }
    return cell;
}

static void claim_same(const struct tly_cell *a, const struct tly_cell *b)
{
    claim(a->dot.version.ts == b->dot.version.ts && a->dot.op == b->dot.op && a->life == b->life);
    claim(memcmp(a->dot.num, b->dot.num, sizeof a->dot.num) == 0);
    claim(tly_slice_equal(a->dot.bytes, b->dot.bytes));
    claim(a->unsealed == b->unsealed && a->says_aux == b->says_aux);
}

/* By both walks, the long one and the brief one. */
static void claim_reads_as(const struct tly_entry *entry, const struct written *written)
{
    struct tly_cells cells = tly_cells_of(entry, written->strategy), briefs = cells;
    struct tly_cell cell;
    struct tly_cell_brief brief;
    for (size_t i = 0; i < written->count; i++) {
        claim(tly_cells_next(&cells, &cell) && tly_cell_skim(&briefs, &brief));
        claim_same(&cell, &written->cell[i]);
        claim(cell.size == tly_cell_size(written->strategy, &cell));
        claim(brief.ts == cell.dot.version.ts && brief.life == cell.life && brief.at == cell.at);
    }
    claim(!tly_cells_next(&cells, &cell) && !tly_cell_skim(&briefs, &brief));
}

static void write_all(struct test_rng *rng, struct tly_entry *entry, struct written *written)
{
    uint8_t *next = (uint8_t *)entry + tly_entry_cells_offset(entry), *last = next;
    for (size_t i = 0; i < written->count; i++) {
        written->cell[i] = cell_of(rng, written->strategy, written->bytes[i]);
        last = next;
        next = tly_cell_put(next, written->strategy, &written->cell[i]);
        claim((size_t)(next - last) == tly_cell_size(written->strategy, &written->cell[i]));
    }
    tly_cell_mark_last(last, true);
    entry->flags |= TLY_ENTRY_HELD;
    claim(tly_entry_cells_size(entry, written->strategy) ==
          (size_t)(next - (uint8_t *)entry) - tly_entry_cells_offset(entry));
}

/* Whether another cell was written in place of number i; where it was not, no byte changed. */
static bool replace(struct test_rng *rng, struct tly_entry *entry, struct written *written, size_t i)
{
    struct tly_cells cells = tly_cells_of(entry, written->strategy);
    struct tly_cell old, other = cell_of(rng, written->strategy, written->bytes[i]);
    for (size_t skipped = 0; skipped <= i; skipped++)
        claim(tly_cells_next(&cells, &old));
    /* Most cells are replaced by one of nearly the same numbers. */
    if (test_rng_chance(rng, 60)) {
        other = written->cell[i];
        other.dot.num[test_rng_below(rng, written->strategy->nums)] ^= test_rng_below(rng, 400);
        other.dot.version.ts++;
    }
    other.dot.bytes = tly_slice_of(NULL, 0);
    bool fits = tly_cell_size(written->strategy, &other) == old.size;
    claim(tly_cell_put_same((uint8_t *)(uintptr_t)old.at, old.size, written->strategy, &other) == fits);
    if (fits) written->cell[i] = other;
    return fits;
}

static size_t walk(struct test_rng *rng, const struct tly_strategy *strategy)
{
    static _Alignas(8) uint8_t block[ROOM];
    char key[TLY_KEY_BYTES_MAX];
    size_t key_bytes = 1 + (size_t)test_rng_below(rng, sizeof key), replaced = 0;
    memset(key, 'k', sizeof key);
    struct tly_entry *entry = tly_entry_make(block, strategy, tly_slice_of(key, key_bytes));
    struct written written = {.strategy = strategy, .count = 1 + (size_t)test_rng_below(rng, CELLS)};
    write_all(rng, entry, &written);
    claim_reads_as(entry, &written);
    for (size_t step = 0; step < 20; step++) {
        size_t i = (size_t)test_rng_below(rng, written.count);
        if (written.cell[i].dot.op == TLY_REMOVE || written.cell[i].dot.bytes.n > 0) continue;
        replaced += replace(rng, entry, &written, i);
        claim_reads_as(entry, &written);
    }
    claim(tly_slice_equal(tly_entry_key(entry), tly_slice_of(key, key_bytes)));
    claim(tly_entry_strategy(entry) == strategy);
    return replaced;
}

/* Law M7 */
static void a_cell_reads_as_it_was_written(void **state)
{
    uint64_t first = test_seed_first(), rounds = test_is_long() ? 100000 : 3000;
    size_t replaced = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct test_rng rng = test_rng_of(seed);
        replaced += walk(&rng, tly_strategy_at((size_t)seed % 3));
    }
    claim(replaced > rounds);
}

/* Law M7: as two words of their widths, and no bit beside them. */
static void two_words_are_written_over_as_one_after_the_other(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (unsigned codes = 0; codes < 64; codes++) {
        unsigned code = codes & 7, second_code = codes >> 3;
        uint8_t expected[3 * sizeof(uint64_t)], bytes[sizeof expected];
        for (size_t i = 0; i < sizeof bytes; i++)
            expected[i] = bytes[i] = (uint8_t)test_rng_next(&rng);
        uint64_t first = test_rng_next(&rng) & tly_mask_of_code[code];
        uint64_t second = test_rng_next(&rng) & tly_mask_of_code[second_code];
        for (unsigned i = 0; i < tly_width_of(code); i++)
            expected[i] = (uint8_t)(first >> 8 * i);
        for (unsigned i = 0; i < tly_width_of(second_code); i++)
            expected[tly_width_of(code) + i] = (uint8_t)(second >> 8 * i);
        tly_words_put_over(bytes, codes | 0xfc0, first, second);
        assert_memory_equal(bytes, expected, sizeof bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_reads_as_it_was_written),
        cmocka_unit_test(two_words_are_written_over_as_one_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
