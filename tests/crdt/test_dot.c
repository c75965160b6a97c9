/* Slices and dots in order, and the keyed hash. */
#include "crdt/hash.h"
#include "crdt/hash_inline.h"
#include "tests/crdt/sample.h"
#include "tests/support/cmocka.h"

#include <stdlib.h>
#include <string.h>

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static void slices_are_ordered_by_bytes_a_prefix_first(void **state)
{
    static const char *const ascending[] = {"", "a", "a\x01", "ab", "b", "\x7f", "\x80", "\xff", "\xff\xff"};
    for (size_t i = 0; i < 9; i++)
        for (size_t j = 0; j < 9; j++) {
            struct tly_slice a = tly_slice_text(ascending[i]), b = tly_slice_text(ascending[j]);
            assert_int_equal(sign(tly_slice_compare(a, b)), (i > j) - (i < j));
            assert_int_equal(tly_slice_equal(a, b), i == j);
        }
    assert_int_equal(tly_slice_compare(tly_slice_of(NULL, 0), tly_slice_text("")), 0);
    assert_true(tly_slice_equal(tly_slice_of(NULL, 0), tly_slice_text("")));
    assert_true(tly_slice_compare(tly_slice_of("a\0b", 3), tly_slice_of("a\0c", 3)) < 0);
}

static void dots_have_one_order_that_starts_with_the_version(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t equal = 0, rounds = 100000;
    for (size_t i = 0; i < rounds; i++) {
        const struct tly_strategy *strategy = tly_strategy_at(i % SAMPLE_STRATEGIES);
        struct tly_dot a = sample_dot(&rng, strategy), b = sample_dot(&rng, strategy),
                       c = sample_dot(&rng, strategy);
        if (test_rng_chance(&rng, 30)) b.version = a.version;
        int ab = sign(tly_dot_compare(&a, &b)), bc = sign(tly_dot_compare(&b, &c)),
            ac = sign(tly_dot_compare(&a, &c));
        claim(ab == -sign(tly_dot_compare(&b, &a)));
        claim((ab == 0) == tly_dot_equal(&a, &b));
        claim(!(ab <= 0 && bc <= 0) || ac <= 0);
        int version = sign(tly_version_compare(a.version, b.version));
        claim(version == 0 || version == ab);
        equal += ab == 0;
    }
    claim(equal > 0 && equal < rounds);
}

static struct tly_hash_key key_of(uint64_t seed)
{
    struct test_rng rng = test_rng_of(seed);
    struct tly_hash_key key = {{0}};
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)test_rng_next(&rng);
    return key;
}

/* Of every length, and not a byte beyond it. */
static void a_hash_follows_its_key_and_every_byte(void **state)
{
    struct tly_hash_key key = key_of(1), other = key_of(2);
    for (size_t n = 0; n <= TLY_KEY_BYTES_MAX; n++) {
        uint8_t *bytes = malloc(n + 1);
        assert_non_null(bytes);
        memset(bytes, 'k', n + 1);
        struct tly_slice slice = tly_slice_of(bytes, n);
        uint64_t hash = tly_hash(&key, slice);
        bytes[n] = 'x';
        assert_true(tly_hash(&key, slice) == hash);
        assert_true(tly_hash(&other, slice) != hash);
        for (size_t i = 0; i < n; i += 1 + n / 16) {
            bytes[i] = 'K';
            assert_true(tly_hash(&key, slice) != hash);
            bytes[i] = 'k';
        }
        free(bytes);
    }
}

/* At the ends of the bytes that may be read: a sanitizer sees one byte more. */
static void two_pieces_hash_as_the_whole(void **state)
{
    struct tly_hash_key key = key_of(1);
    (void)state;
    for (size_t n = TLY_JOINED_BYTES_MIN; n <= TLY_JOINED_BYTES_MAX; n++)
        for (size_t begin_bytes = 1; begin_bytes < 8; begin_bytes++) {
            uint8_t whole[TLY_JOINED_BYTES_MAX];
            uint8_t *rest = malloc(n - begin_bytes);
            assert_non_null(rest);
            for (size_t i = 0; i < n; i++)
                whole[i] = (uint8_t)(i * 37 + n);
            memcpy(rest, whole + begin_bytes, n - begin_bytes);
            struct tly_joined joined = {0, begin_bytes, tly_slice_of(rest, n - begin_bytes)};
            for (size_t i = 0; i < begin_bytes; i++)
                joined.begin |= (uint64_t)whole[i] << 8 * i;
            assert_true(tly_hash_joined(&key, &joined) == tly_hash(&key, tly_slice_of(whole, n)));
            free(rest);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_ordered_by_bytes_a_prefix_first),
        cmocka_unit_test(dots_have_one_order_that_starts_with_the_version),
        cmocka_unit_test(a_hash_follows_its_key_and_every_byte),
        cmocka_unit_test(two_pieces_hash_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
