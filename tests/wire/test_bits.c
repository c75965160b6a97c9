#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "wire/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUMBERS 4000

struct bench {
    struct tly_mem mem;
    struct tly_buf out, tail;
    uint64_t numbers[NUMBERS];
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return -1;
    bench->mem = test_mem();
    tly_buf_init(&bench->out, &bench->mem, 1 << 20);
    tly_buf_init(&bench->tail, &bench->mem, 1 << 20);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    tly_buf_fini(&bench->out);
    tly_buf_fini(&bench->tail);
    free(bench);
    return test_mem_live() == 0 ? 0 : -1;
}

static struct tly_slice put_numbers(struct bench *bench, size_t count)
{
    struct tly_bits_out bits = tly_bits_out_of(&bench->out);
    tly_code code = 0;
    tly_buf_clear(&bench->out);
    for (size_t i = 0; i < count; i++)
        tly_code_put(&bits, &code, bench->numbers[i]);
    tly_bits_end(&bits);
    return tly_buf_slice(&bench->out);
}

static void get_numbers(struct bench *bench, size_t count)
{
    struct tly_bits_in bits = tly_bits_in_of(tly_buf_slice(&bench->out));
    tly_code code = 0;
    for (size_t i = 0; i < count; i++)
        claim(tly_code_get(&bits, &code) == bench->numbers[i]);
    claim(tly_bits_ended(&bits));
}

/* ---- claims: bits ---- */

static void numbers_of_every_length_come_back_in_every_state_of_the_code(void **state)
{
    struct bench *bench = *state;
    for (unsigned code = 0; code <= 8 * TLY_CODE_K_MAX; code++) {
        for (unsigned shift = 0; shift < 64; shift++) {
            uint64_t edge[] = {UINT64_MAX >> shift, (UINT64_MAX >> shift) - 1, 0};
            struct tly_bits_out out = tly_bits_out_of(&bench->out);
            tly_code putting = (tly_code)code, getting = (tly_code)code;
            tly_buf_clear(&bench->out);
            for (size_t i = 0; i < 3; i++)
                tly_code_put(&out, &putting, edge[i]);
            tly_bits_end(&out);
            struct tly_bits_in in = tly_bits_in_of(tly_buf_slice(&bench->out));
            for (size_t i = 0; i < 3; i++)
                assert_true(tly_code_get(&in, &getting) == edge[i]);
            assert_true(tly_bits_ended(&in) && putting == getting);
        }
    }
}

static void random_numbers_come_back(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < NUMBERS; i++)
        bench->numbers[i] = test_rng_next(&rng) >> test_rng_below(&rng, 64);
    put_numbers(bench, NUMBERS);
    get_numbers(bench, NUMBERS);
}

/* A geometric distribution of mean 100 has an entropy of 8.1 bits. */
static void the_code_follows_what_it_writes(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < NUMBERS; i++) {
        bench->numbers[i] = 0;
        while (test_rng_below(&rng, 101) != 0)
            bench->numbers[i]++;
    }
    size_t bytes = put_numbers(bench, NUMBERS).n;
    get_numbers(bench, NUMBERS);
    assert_in_range(bytes * 8, NUMBERS * 80 / 10, NUMBERS * 86 / 10);
}

static void what_never_changes_costs_a_bit(void **state)
{
    struct bench *bench = *state;
    memset(bench->numbers, 0, sizeof bench->numbers);
    assert_int_equal(put_numbers(bench, NUMBERS).n, NUMBERS / 8);
}

static void whole_words_come_back_at_every_offset(void **state)
{
    struct bench *bench = *state;
    for (unsigned offset = 0; offset < 64; offset++) {
        struct tly_bits_out out = tly_bits_out_of(&bench->out);
        tly_buf_clear(&bench->out);
        tly_bits_put(&out, 0, offset);
        tly_bits_put(&out, UINT64_C(0xfedcba9876543210), 64);
        tly_bits_put(&out, 5, 3);
        tly_bits_end(&out);
        struct tly_bits_in in = tly_bits_in_of(tly_buf_slice(&bench->out));
        assert_true(tly_bits_get(&in, offset) == 0);
        assert_true(tly_bits_get(&in, 64) == UINT64_C(0xfedcba9876543210));
        assert_true(tly_bits_get(&in, 3) == 5 && tly_bits_ended(&in));
    }
}

static bool reads_no_further(struct tly_slice bytes, void *context)
{
    struct tly_bits_in bits = tly_bits_in_of(bytes);
    tly_code code = *(tly_code *)context;
    for (size_t i = 0; i <= 8 * bytes.n; i++)
        (void)tly_code_get(&bits, &code);
    return bits.failed && !tly_bits_ended(&bits);
}

static void bits_that_are_not_there_are_a_failure(void **state)
{
    struct bench *bench = *state;
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < 20; i++)
        bench->numbers[i] = test_rng_next(&rng) >> test_rng_below(&rng, 64);
    for (unsigned code = 0; code < 256; code += 51)
        each_prefix(put_numbers(bench, 20), reads_no_further, &(tly_code){(tly_code)code});
}

static void what_fills_the_last_byte_is_zero_and_less_than_a_byte(void **state)
{
    static const struct {
        size_t n;
        bool ends;
        uint8_t bytes[2];
    } ends[] = {{1, true, {0x07}}, {1, false, {0x0f}}, {1, false, {0x87}}, {2, false, {0x07, 0}}};
    for (size_t i = 0; i < 4; i++) {
        struct tly_bits_in bits = tly_bits_in_of(tly_slice_of(ends[i].bytes, ends[i].n));
        assert_int_equal(tly_bits_get(&bits, 3), 7);
        assert_int_equal(tly_bits_ended(&bits), ends[i].ends);
    }
    struct tly_bits_in none = tly_bits_in_of(tly_slice_of("", 0));
    assert_true(tly_bits_ended(&none));
}

/* Sixty-five ones are the code of no number. */
static void a_code_longer_than_a_number_is_refused(void **state)
{
    uint8_t ones[40];
    memset(ones, 0xff, sizeof ones);
    ones[9] = 0;
    for (unsigned code = 0; code < 256; code += 8) {
        struct tly_bits_in bits = tly_bits_in_of(tly_slice_of(ones, sizeof ones));
        tly_code get = (tly_code)code;
        (void)tly_code_get(&bits, &get);
        assert_true(bits.failed);
    }
}

/* ---- claims: keys ---- */

static size_t spell(struct bench *bench, struct tly_text *text, const char *key)
{
    struct tly_bits_out out = tly_bits_out_of(&bench->out);
    tly_buf_clear(&bench->out);
    tly_buf_clear(&bench->tail);
    tly_text_put(text, tly_slice_text(key), &out, &bench->tail);
    tly_bits_end(&out);
    return bench->out.n + bench->tail.n;
}

static void read_back(struct bench *bench, struct tly_text *text, const char *key)
{
    struct tly_bits_in in = tly_bits_in_of(tly_buf_slice(&bench->out));
    struct tly_tail tail = {bench->tail.p, bench->tail.n};
    struct tly_slice got = tly_text_get(text, &in, &tail);
    if (!tly_slice_equal(got, tly_slice_text(key))) fail_msg("%s", key);
    assert_true(tly_bits_ended(&in) && tail.n == 0);
}

static void keys_of_all_kinds_come_back(void **state)
{
    static const char *const keys[] = {
        "a",
        ":",
        "::",
        "a:",
        ":a",
        "kv:a",
        "kv:a",
        "kv:ab",
        "kv:",
        "kv",
        "0",
        "00",
        "0000000000",
        "12/34/x",
        "user/1/cart",
        "user/22/cart",
        "user/22/",
        "user/22",
        "/api/v1/orders:beef",
        "/api/v1/orders:12345",
        "550e8400-e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a716-446655440001",
        "10.0.0.1",
        "\xff\x01",
        "deadbeef",
        "DEADBEEF",
        "|,#./-",
        "a b c",
        "rl:00017:/x:0000a",
        "rl:00017:/x:99999",
        "rl:00018:/x:9999a",
    };
    static struct tly_text put, get;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        spell(*state, &put, keys[i]);
        read_back(*state, &get, keys[i]);
    }
    assert_memory_equal(put.before, get.before, sizeof put.before);
}

/* Made of what the spelling looks for, so that every way of saying a word is taken. */
static void random_key(struct test_rng *rng, char *key)
{
    static const char alphabet[] = "0123456789abcdef:|-.,#/zZ_ \xe4";
    size_t n = 1 + (size_t)test_rng_below(rng, test_rng_chance(rng, 3) ? TLY_KEY_BYTES_MAX : 24);
    uint64_t letters = test_rng_chance(rng, 50) ? 11 : sizeof alphabet - 1;
    for (size_t i = 0; i < n; i++)
        key[i] = alphabet[test_rng_below(rng, letters)];
    key[n] = '\0';
}

static void random_keys_come_back(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    static struct tly_text put, get;
    char key[TLY_KEY_BYTES_MAX + 1];
    for (size_t i = 0; i < 20000; i++) {
        random_key(&rng, key);
        if (i % 3 == 1 && put.before_n < 500) { /* the key before, and a little more or less */
            memcpy(key, put.before, put.before_n);
            snprintf(key + test_rng_below(&rng, put.before_n + 1u), 9, "%d", (int)test_rng_below(&rng, 9999));
        }
        if (key[0] == '\0') continue;
        spell(*state, &put, key);
        read_back(*state, &get, key);
    }
    assert_int_equal(put.word_count, TLY_TEXT_WORDS);
}

/* "user:12345678:cart": eight digits are 27 bits of news. */
static void keys_of_one_pattern_cost_little_more_than_what_is_new_in_them(void **state)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    static struct tly_text put;
    size_t bytes = 0;
    for (size_t i = 0; i < 1000; i++) {
        char key[64];
        snprintf(key, sizeof key, "user:%08d:cart", (int)test_rng_below(&rng, 100000000));
        bytes += spell(*state, &put, key);
    }
    assert_in_range(bytes, 1000, 5500);
}

static bool is_a_key_or_none(struct tly_slice bytes, void *context)
{
    static struct tly_text text;
    text = *(struct tly_text *)context;
    size_t n = bytes.n / 4;
    struct tly_bits_in in = tly_bits_in_of(tly_slice_of(bytes.p, bytes.n - n));
    struct tly_tail tail = {bytes.p + bytes.n - n, n};
    struct tly_slice key = tly_text_get(&text, &in, &tail);
    return in.failed ? key.n == 0 : key.n >= 1 && key.n <= TLY_KEY_BYTES_MAX;
}

static void mutants_are_keys_or_none(void **state)
{
    struct bench *bench = *state;
    static struct tly_text text;
    spell(bench, &text, "rl:00017:/api/v1/orders:0000a");
    spell(bench, &text, "rl:00018:/api/v1/orders:0000b");
    uint8_t seed[64];
    memset(seed, 0x5a, sizeof seed);
    struct tly_slice seeds[2] = {tly_buf_slice(&bench->out), {seed, sizeof seed}};
    each_mutant(seeds, 2, is_a_key_or_none, &text);
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(numbers_of_every_length_come_back_in_every_state_of_the_code),
        test(random_numbers_come_back),
        test(the_code_follows_what_it_writes),
        test(what_never_changes_costs_a_bit),
        test(whole_words_come_back_at_every_offset),
        test(bits_that_are_not_there_are_a_failure),
        test(what_fills_the_last_byte_is_zero_and_less_than_a_byte),
        test(a_code_longer_than_a_number_is_refused),
        test(keys_of_all_kinds_come_back),
        test(random_keys_come_back),
        test(keys_of_one_pattern_cost_little_more_than_what_is_new_in_them),
        test(mutants_are_keys_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
