/* The messages of repair: what goes in comes out, and no damaged one is taken or read past its end. */
#include "tests/support/cmocka.h"
#include "tests/support/guard.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "wire/frame.h"
#include "wire/repair.h"

static struct tly_buf out;
static uint8_t prints[TLY_BRANCHES * sizeof(uint64_t)];

static enum tly_result get_compare(struct tly_slice body)
{
    struct tly_compare compare;
    return tly_compare_get(body, &compare);
}

static enum tly_result get_tree(struct tly_slice body)
{
    struct tly_compare tree;
    return tly_tree_get(body, &tree);
}

/* Walks what it was given, too. */
static enum tly_result get_open(struct tly_slice body)
{
    struct tly_open open;
    struct tly_opened opened;
    enum tly_result result = tly_open_get(body, &open);
    while (result == TLY_OK && tly_open_next(&open, &opened))
        claim(opened.branch < TLY_BRANCHES && (opened.prints.n == 0 || opened.prints.n == sizeof prints));
    return result;
}

static enum tly_result get_leaves(struct tly_slice body)
{
    struct tly_leaves message;
    enum tly_result result = tly_leaves_get(body, &message);
    for (uint64_t leaf; result == TLY_OK && tly_leaves_next(&message, &leaf);)
        claim(leaf < TLY_LEAVES + TLY_BRANCHES);
    return result;
}

static enum tly_result (*const getters[])(struct tly_slice body) = {get_compare, get_tree, get_open,
                                                                    get_leaves};

#define MESSAGES (sizeof getters / sizeof getters[0])

static void put(size_t message)
{
    static const uint16_t leaves[] = {0, 4095, TLY_LEAVES, TLY_LEAVES + 63};
    struct tly_slice all = tly_slice_of(prints, sizeof prints);
    struct tly_compare compare = {9, UINT32_MAX, UINT64_MAX, 170000000, 1, UINT64_MAX - 1, all};
    struct tly_opened opened[] = {{0, all}, {1, tly_slice_of(NULL, 0)}, {63, all}};
    for (size_t i = 0; i < TLY_BRANCHES; i++)
        tly_print_set(prints, i, UINT64_MAX / (i + 1));
    tly_buf_clear(&out);
    if (message == 0) tly_compare_put(&out, &compare);
    if (message == 1) tly_tree_put(&out, &compare);
    if (message == 2) tly_open_put(&out, &(struct tly_open){.number = 9, .time = 3, .count = 3}, opened);
    if (message == 3)
        tly_leaves_put(&out, &(struct tly_leaves){9, 3, .count = 4, .part = tly_slice_text("rows")}, leaves);
}

static void begin(const struct tly_mem *mem)
{
    tly_buf_init(&out, mem, TLY_FRAME_BODY_MAX);
}

static void end(void)
{
    tly_buf_fini(&out);
    assert_int_equal(test_mem_live(), 0);
}

static void what_goes_in_comes_out(void **state)
{
    struct tly_mem mem = test_mem();
    begin(&mem);
    struct tly_compare compare, tree;
    put(0);
    assert_int_equal(tly_compare_get(tly_buf_slice(&out), &compare), TLY_OK);
    assert_int_equal(compare.number, 9);
    assert_int_equal(compare.check, UINT32_MAX);
    assert_true(compare.f == UINT64_MAX && compare.root == UINT64_MAX - 1);
    assert_int_equal(compare.time, 170000000);
    put(1);
    assert_int_equal(tly_tree_get(tly_buf_slice(&out), &tree), TLY_OK);
    assert_int_equal(tree.state, 1);
    for (size_t i = 0; i < TLY_BRANCHES; i++)
        assert_true(tly_print_at(tree.branches, i) == UINT64_MAX / (i + 1));
    struct tly_open open;
    struct tly_opened opened;
    put(2);
    assert_int_equal(tly_open_get(tly_buf_slice(&out), &open), TLY_OK);
    static const uint64_t branches[] = {0, 1, 63};
    for (size_t i = 0; i < 3; i++) {
        assert_true(tly_open_next(&open, &opened));
        assert_int_equal(opened.branch, branches[i]);
        assert_int_equal(opened.prints.n, i == 1 ? 0 : sizeof prints);
    }
    assert_false(tly_open_next(&open, &opened));
    struct tly_leaves message;
    uint64_t leaf = 0;
    put(3);
    assert_int_equal(tly_leaves_get(tly_buf_slice(&out), &message), TLY_OK);
    assert_int_equal(message.flags, TLY_LEAVES_LAST | TLY_LEAVES_OF_ASKER);
    assert_true(tly_slice_equal(message.part, tly_slice_text("rows")));
    for (size_t i = 0; i < 4; i++)
        assert_true(tly_leaves_next(&message, &leaf));
    assert_int_equal(leaf, TLY_LEAVES + 63);
    assert_false(tly_leaves_next(&message, &leaf));
    end();
}

static void no_beginning_and_no_lengthening_of_a_message_is_taken(void **state)
{
    struct tly_mem mem = test_mem();
    struct test_guard *guard = test_guard_new(4096);
    begin(&mem);
    for (size_t message = 0; message < MESSAGES; message++) {
        put(message);
        for (size_t n = 0; n < out.n; n++) {
            struct tly_slice cut = tly_slice_of(test_guard_place(guard, out.p, n), n);
            assert_int_equal(getters[message](cut), TLY_BAD_MESSAGE);
        }
        assert_int_equal(getters[message](tly_buf_slice(&out)), TLY_OK);
        tly_buf_put(&out, "\xc0", 1);
        assert_int_equal(getters[message](tly_buf_slice(&out)), TLY_BAD_MESSAGE);
    }
    end();
    test_guard_free(guard);
}

/* Whatever is in it: it is taken within its bounds or refused, and nothing else is read. */
static void flipped_and_mixed_bytes_harm_nothing(void **state)
{
    struct tly_mem mem = test_mem();
    struct test_guard *guard = test_guard_new(4096);
    struct test_rng rng = test_rng_of(test_seed_first());
    size_t refused = 0;
    begin(&mem);
    for (size_t i = 0; i < 40000; i++) {
        size_t message = i % MESSAGES;
        put(message);
        for (size_t flips = 1 + (size_t)test_rng_below(&rng, 4); flips > 0; flips--)
            out.p[test_rng_below(&rng, test_rng_chance(&rng, 50) ? 16 : out.n)] =
                (uint8_t)test_rng_next(&rng);
        enum tly_result result = getters[message](tly_slice_of(test_guard_place(guard, out.p, out.n), out.n));
        claim(result == TLY_OK || result == TLY_BAD_MESSAGE);
        refused += result != TLY_OK;
    }
    claim(refused > 10000 && refused < 39000);
    end();
    test_guard_free(guard);
}

static void numbers_out_of_their_bounds_are_refused(void **state)
{
    static const struct {
        size_t message, n;
        const char *bytes;
    } bad[] = {
        {0, 15, "\x96\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x01\x01\x01\x01"}, /* a check of 33 bits */
        {2, 8, "\x94\x01\x01\x01\x92\x40\xc4\x00"},                              /* branch 64 */
        {2, 11, "\x94\x01\x01\x01\x94\x05\xc4\x00\x05\xc4\x00"},                 /* a branch twice */
        {2, 11, "\x94\x01\x01\x01\x94\x05\xc4\x00\x04\xc4\x00"},                 /* descending */
        {2, 9, "\x94\x01\x01\x01\x92\x05\xc4\x01x"},                             /* one byte of prints */
        {2, 7, "\x94\x01\x01\x01\x91\x05\xc0"},                                  /* half a pair */
        {3, 9, "\x94\x01\x00\x91\xcd\x10\x40\xc4\x00"},                          /* leaf 4160 */
        {3, 6, "\x94\x01\x04\x90\xc4\x00"},                                      /* flag 4 */
        {3, 10, "\x94\x01\x01\xdd\xff\xff\xff\xff\xc4\x00"},                     /* 2^32 - 1 leaves */
        {1, 16,
         "\x96\x01\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\xc4\x00"}, /* a time that overflows in ms */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(getters[bad[i].message](tly_slice_of(bad[i].bytes, bad[i].n)), TLY_BAD_MESSAGE);
}

/* As PROTOCOL.md shows them. */
static void prints_are_as_they_are_written(void **state)
{
    struct tly_hash_key key;
    struct tly_dot dot = {.version = {UINT64_C(1700000000000000007), UINT64_C(0xfedcba9876543210)},
                          .num = {UINT64_C(1700000060000)},
                          .bytes = tly_slice_text("hello")};
    tly_hash_key_from(&key, tly_slice_of("prod\0s3cret", 11));
    uint64_t name = tly_print_of_key(&key, tly_slice_text("kv:a"));
    uint64_t check = tly_print_of_key(&key, tly_slice_of(NULL, 0)) & UINT32_MAX;
    assert_true(check == UINT64_C(0x83a2117d));
    assert_true(name == UINT64_C(0xdc1ed57ee31c0297));
    assert_true(tly_print_of_dot(&key, name, tly_lww(), &dot) == UINT64_C(0x953383604a307ae4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(no_beginning_and_no_lengthening_of_a_message_is_taken),
        cmocka_unit_test(flipped_and_mixed_bytes_harm_nothing),
        cmocka_unit_test(numbers_out_of_their_bounds_are_refused),
        cmocka_unit_test(prints_are_as_they_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
