/* Numbers in RESP: each is written as printf writes it. */
#include "service/shell/digits.h"
#include "service/shell/resp_reply.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <inttypes.h>
#include <stdio.h>

static void writes(struct tly_buf *out, int64_t number)
{
    char text[64];
    const int64_t numbers[] = {number, -1};
    int n = snprintf(text, sizeof text, "*2\r\n:%" PRId64 "\r\n:-1\r\n", number);
    tly_buf_clear(out);
    tly_resp_put_ints(out, numbers, 2);
    tly_buf_put(out, "", 1);
    assert_string_equal((const char *)out->p, text);
    assert_int_equal(out->n, n + 1);

    uint8_t digits[TLY_DIGITS_MAX], *end = digits + sizeof digits, *first = tly_digits_signed(end, number);
    n = snprintf(text, sizeof text, "%" PRId64, number);
    assert_int_equal(end - first, n);
    assert_memory_equal(first, text, (size_t)n);
}

static void a_number_is_written_as_printf_writes_it(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 1024);
    struct test_rng rng = test_rng_of(test_seed_first());
    int64_t power = 1;
    for (size_t digits = 1; digits <= 19; digits++, power = digits < 19 ? power * 10 : power) {
        for (int64_t off = -101; off <= 101; off++) {
            writes(&out, power + off);
            writes(&out, -power + off);
        }
        for (size_t i = 0; i < 200; i++)
            writes(&out, (int64_t)(test_rng_next(&rng) % (uint64_t)power));
    }
    writes(&out, INT64_MAX);
    writes(&out, INT64_MIN);
    writes(&out, INT64_MIN + 1);
    tly_buf_fini(&out);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_number_is_written_as_printf_writes_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
