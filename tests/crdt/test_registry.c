/* The prefix registry against a plain list of prefixes. */
#include "crdt/registry.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>
#include <string.h>

static struct tly_registry *new_registry(void)
{
    struct tly_mem mem = test_mem();
    struct tly_registry *registry = tly_registry_new(&mem);
    assert_non_null(registry);
    return registry;
}

/* The table with one more prefix in the old one's place. */
static enum tly_result add(struct tly_registry **registry, struct tly_slice prefix,
                           const struct tly_strategy *strategy)
{
    struct tly_registry *next = NULL;
    enum tly_result result = tly_registry_with(*registry, prefix, strategy, &next);
    if (result != TLY_OK) {
        assert_null(next);
        return result;
    }
    tly_registry_free(*registry);
    *registry = next;
    return TLY_OK;
}

static void must_add(struct tly_registry **registry, const char *prefix, const struct tly_strategy *strategy)
{
    assert_int_equal(add(registry, tly_slice_text(prefix), strategy), TLY_OK);
}

static const struct tly_strategy *find(const struct tly_registry *registry, const char *key)
{
    return tly_registry_find(registry, tly_slice_text(key));
}

static void nothing_is_left(struct tly_registry *registry)
{
    tly_registry_free(registry);
    assert_int_equal(test_mem_live(), 0);
}

static void a_key_under_no_prefix_has_no_strategy(void **state)
{
    struct tly_registry *registry = new_registry();
    assert_null(find(registry, "a"));
    must_add(&registry, "rl:", tly_epoch_sum());
    assert_null(find(registry, "r"));
    assert_null(find(registry, "rl"));
    assert_null(find(registry, "RL:"));
    assert_null(find(registry, "xrl:"));
    assert_null(tly_registry_find(registry, tly_slice_of(NULL, 0)));
    assert_ptr_equal(find(registry, "rl:"), tly_epoch_sum());
    assert_ptr_equal(find(registry, "rl:a"), tly_epoch_sum());
    nothing_is_left(registry);
}

/* Law M2 */
static void the_longest_prefix_wins_and_neighbours_do_not_mix(void **state)
{
    struct tly_registry *registry = new_registry();
    must_add(&registry, "rl:ab", tly_lww());
    must_add(&registry, "rl:", tly_epoch_sum());
    must_add(&registry, "rl:a", tly_epoch_max());
    must_add(&registry, "rl:b", tly_lww());
    assert_ptr_equal(find(registry, "rl:aa"), tly_epoch_max());
    assert_ptr_equal(find(registry, "rl:a"), tly_epoch_max());
    assert_ptr_equal(find(registry, "rl:ab"), tly_lww());
    assert_ptr_equal(find(registry, "rl:abc"), tly_lww());
    assert_ptr_equal(find(registry, "rl:ac"), tly_epoch_max());
    assert_ptr_equal(find(registry, "rl:c"), tly_epoch_sum());
    nothing_is_left(registry);
}

static void the_empty_prefix_takes_every_other_key(void **state)
{
    struct tly_registry *registry = new_registry();
    assert_int_equal(add(&registry, tly_slice_of(NULL, 0), tly_lww()), TLY_OK);
    must_add(&registry, "rl:", tly_epoch_sum());
    assert_ptr_equal(find(registry, "x"), tly_lww());
    assert_ptr_equal(find(registry, "rl:x"), tly_epoch_sum());
    assert_ptr_equal(tly_registry_find(registry, tly_slice_of(NULL, 0)), tly_lww());
    nothing_is_left(registry);
}

static void a_prefix_is_bytes_and_not_text(void **state)
{
    struct tly_registry *registry = new_registry();
    assert_int_equal(add(&registry, tly_slice_of("a\0b", 3), tly_lww()), TLY_OK);
    assert_int_equal(add(&registry, tly_slice_of("\xff", 1), tly_epoch_max()), TLY_OK);
    assert_ptr_equal(tly_registry_find(registry, tly_slice_of("a\0bc", 4)), tly_lww());
    assert_null(tly_registry_find(registry, tly_slice_of("a\0c", 3)));
    assert_ptr_equal(tly_registry_find(registry, tly_slice_of("\xff\x01", 2)), tly_epoch_max());
    nothing_is_left(registry);
}

static void registering_again_is_a_no_op_and_with_another_strategy_an_error(void **state)
{
    struct tly_registry *registry = new_registry();
    must_add(&registry, "a:", tly_lww());
    must_add(&registry, "b:", tly_epoch_max());
    must_add(&registry, "a:", tly_lww());
    assert_int_equal(tly_registry_count(registry), 2);
    assert_int_equal(add(&registry, tly_slice_text("a:"), tly_epoch_max()), TLY_PREFIX_TAKEN);
    assert_int_equal(tly_registry_count(registry), 2);
    assert_ptr_equal(find(registry, "a:x"), tly_lww());
    assert_ptr_equal(find(registry, "b:x"), tly_epoch_max());
    nothing_is_left(registry);
}

/* Law M2 */
static void a_table_in_use_never_changes(void **state)
{
    struct tly_registry *old = new_registry(), *next = NULL;
    must_add(&old, "b:", tly_lww());
    assert_int_equal(tly_registry_with(old, tly_slice_text("a:"), tly_epoch_sum(), &next), TLY_OK);
    assert_int_equal(tly_registry_count(old), 1);
    assert_null(find(old, "a:x"));
    assert_ptr_equal(find(next, "a:x"), tly_epoch_sum());
    tly_registry_free(old);
    assert_ptr_equal(find(next, "b:x"), tly_lww());
    nothing_is_left(next);
}

static void a_prefix_has_at_most_64_bytes(void **state)
{
    char bytes[TLY_PREFIX_BYTES_MAX + 1];
    memset(bytes, 'p', sizeof bytes);
    struct tly_registry *registry = new_registry();
    assert_int_equal(add(&registry, tly_slice_of(bytes, TLY_PREFIX_BYTES_MAX - 1), tly_lww()), TLY_OK);
    assert_int_equal(add(&registry, tly_slice_of(bytes, TLY_PREFIX_BYTES_MAX), tly_epoch_max()), TLY_OK);
    assert_int_equal(add(&registry, tly_slice_of(bytes, TLY_PREFIX_BYTES_MAX + 1), tly_lww()),
                     TLY_BAD_PREFIX);
    assert_ptr_equal(tly_registry_find(registry, tly_slice_of(bytes, sizeof bytes)), tly_epoch_max());
    assert_ptr_equal(tly_registry_find(registry, tly_slice_of(bytes, TLY_PREFIX_BYTES_MAX - 1)), tly_lww());
    nothing_is_left(registry);
}

static void at_most_256_prefixes_are_registered(void **state)
{
    struct tly_registry *registry = new_registry();
    char prefix[8];
    for (unsigned i = 0; i < TLY_PREFIXES_MAX; i++) {
        (void)snprintf(prefix, sizeof prefix, "%03u:", i);
        must_add(&registry, prefix, tly_lww());
    }
    assert_int_equal(add(&registry, tly_slice_text("one more"), tly_lww()), TLY_BAD_PREFIX);
    must_add(&registry, "017:", tly_lww());
    assert_int_equal(add(&registry, tly_slice_text("017:"), tly_epoch_max()), TLY_PREFIX_TAKEN);
    assert_int_equal(tly_registry_count(registry), TLY_PREFIXES_MAX);
    assert_ptr_equal(find(registry, "255:x"), tly_lww());
    nothing_is_left(registry);
}

/* ---- against a list ---- */

struct listed {
    char text[8];
    const struct tly_strategy *strategy;
};

static const struct tly_strategy *list_find(const struct listed *list, size_t count, const char *key)
{
    const struct listed *best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list[i].text);
        if (strncmp(list[i].text, key, n) == 0 && (best == NULL || n > strlen(best->text))) best = &list[i];
    }
    return best != NULL ? best->strategy : NULL;
}

static void random_text(struct test_rng *rng, char *text, size_t length_max)
{
    size_t n = (size_t)test_rng_below(rng, length_max + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + test_rng_below(rng, 2));
    text[n] = '\0';
}

static size_t fill_both(struct test_rng *rng, struct tly_registry **registry, struct listed *list,
                        size_t adds)
{
    size_t count = 0;
    for (size_t i = 0; i < adds; i++) {
        struct listed row = {.strategy = tly_strategy_at((size_t)test_rng_below(rng, 3))};
        random_text(rng, row.text, 5);
        const struct tly_strategy *held = NULL;
        for (size_t j = 0; j < count; j++)
            if (strcmp(list[j].text, row.text) == 0) held = list[j].strategy;
        enum tly_result expected = held == NULL || held == row.strategy ? TLY_OK : TLY_PREFIX_TAKEN;
        claim(add(registry, tly_slice_text(row.text), row.strategy) == expected);
        if (held == NULL) list[count++] = row;
    }
    return count;
}

/* Law M2 */
static void every_key_finds_what_a_list_of_prefixes_finds(void **state)
{
    uint64_t first = test_seed_first();
    size_t found = 0;
    for (uint64_t seed = first; seed < first + 300; seed++) {
        struct test_rng rng = test_rng_of(seed);
        struct tly_registry *registry = new_registry();
        struct listed list[64];
        size_t count = fill_both(&rng, &registry, list, (size_t)test_rng_below(&rng, 40));
        claim(tly_registry_count(registry) == count);
        for (size_t i = 1; i < count; i++)
            claim(tly_slice_compare(tly_registry_at(registry, i - 1).prefix,
                                    tly_registry_at(registry, i).prefix) < 0);
        for (size_t i = 0; i < 200; i++) {
            char key[16];
            random_text(&rng, key, 9);
            const struct tly_strategy *expected = list_find(list, count, key);
            claim(find(registry, key) == expected);
            found += expected != NULL;
        }
        tly_registry_free(registry);
    }
    claim(found > 10000);
    claim(test_mem_live() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_under_no_prefix_has_no_strategy),
        cmocka_unit_test(the_longest_prefix_wins_and_neighbours_do_not_mix),
        cmocka_unit_test(the_empty_prefix_takes_every_other_key),
        cmocka_unit_test(a_prefix_is_bytes_and_not_text),
        cmocka_unit_test(registering_again_is_a_no_op_and_with_another_strategy_an_error),
        cmocka_unit_test(a_table_in_use_never_changes),
        cmocka_unit_test(a_prefix_has_at_most_64_bytes),
        cmocka_unit_test(at_most_256_prefixes_are_registered),
        cmocka_unit_test(every_key_finds_what_a_list_of_prefixes_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
