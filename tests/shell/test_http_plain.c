/* A check as most are written is read without making objects of it, and means the same. */
#include "tests/shell/support_check.h"
#include "tests/support/cmocka.h"
#include "tests/support/rng.h"

#include <stdio.h>

static struct tly_slice text_of(const char *text)
{
    return tly_slice_text(text);
}

static void what_most_say_is_plain(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"limit\":\"api\",\"key\":{\"tenant\":\"t1\"},\"hits\":1}",
        "{\"limit\":\"api\"}",
        "{ \"key\" : {\"a\": 12, \"b\":\"\"} ,\r\n\t\"limit\":\"x y\", \"hits\":0 }",
        "{\"key\":\"any\",\"rate\":\"2/10s\",\"algorithm\":\"fixed_window\"}",
        "{\"rate\":\"2/10s\",\"key\":\"\",\"hits\":4294967295}",
        "{\"limit\":\"api\",\"key\":{}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_true(read_twice(text_of(texts[i])));
}

/* Some are checks, some are none: the other reader says which. */
static void what_is_not_plain_is_left_to_the_other_reader(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"limit\":\"api\",}",
        "{\"limit\":\"api\"} ",
        "{\"limit\":\"api\"}{",
        "{\"limit\":\"\"}",
        "{\"limit\":\"\",\"key\":\"k\",\"rate\":\"1/s\"}",
        "{\"limit\":\"\\u0061pi\"}",
        "{\"limit\":\"\xc3\xa4\"}",
        "{\"limit\":\"a\x7f\"}",
        "{\"limit\":\"api\",\"limit\":\"other\"}",
        "{\"limit\":\"api\",\"key\":{\"a\":\"1\",\"a\":\"2\"}}",
        "{\"limit\":\"api\",\"key\":{\"a\":01}}",
        "{\"limit\":\"api\",\"key\":{\"a\":-1}}",
        "{\"limit\":\"api\",\"key\":{\"a\":1.5}}",
        "{\"limit\":\"api\",\"key\":{\"a\":1e3}}",
        "{\"limit\":\"api\",\"key\":{\"a\":1234567890123456789}}",
        "{\"limit\":\"api\",\"key\":\"k\"}",
        "{\"limit\":\"api\",\"rate\":\"1/s\"}",
        "{\"limit\":\"api\",\"hits\":4294967296}",
        "{\"limit\":\"api\",\"hits\":\"1\"}",
        "{\"limit\":\"api\",\"burst\":1}",
        "{\"key\":\"k\",\"rate\":\"1/s\",\"mode\":\"optimistic\"}",
        "{\"key\":\"k\",\"rate\":\"never\"}",
        "{\"key\":\"k\",\"rate\":\"1/s\",\"algorithm\":\"none\"}",
        "{\"key\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1},\"limit\":\"api\"}",
        "{\"checks\":[]}",
        "{'limit':\"api\"}",
        "{\"limit\":\"api\"",
        "{\"limit\"",
        "{\"limit\":",
        "{\"limit\":\"api",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(read_twice(text_of(texts[i])));
}

/* ---- at random ---- */

#define TEXT_BYTES 1024

static void put_any(struct test_rng *rng, char *text, const char *const *words, size_t count)
{
    size_t n = strlen(text);
    (void)snprintf(text + n, TEXT_BYTES - n, "%s", words[test_rng_below(rng, count)]);
}

#define PUT_ANY(...)                                             \
    do {                                                         \
        static const char *const words[] = {__VA_ARGS__};        \
        put_any(rng, text, words, sizeof words / sizeof *words); \
    } while (0)

static void put_member(struct test_rng *rng, char *text)
{
    if (test_rng_chance(rng, 80)) {
        PUT_ANY("\"limit\":\"api\"", "\"limit\": \"b c\"", "\"key\":\"k\"", "\"key\":{\"a\":\"b\"}",
                "\"key\":{\"a\":1, \"b\":\"\"}", "\"rate\":\"5/m\"", "\"hits\":0", "\"hits\" : 12",
                "\"algorithm\":\"token_bucket\"");
        return;
    }
    PUT_ANY("\"limit\"", "\"key\"", "\"key\"", "\"rate\"", "\"hits\"", "\"algorithm\"", "\"burst\"",
            "\"limit", "limit");
    PUT_ANY(":", ":", ":", " : ", "\n:\t", "", "::");
    PUT_ANY("\"api\"", "\"5/m\"", "\"token_bucket\"", "1", "0", "12", "00", "4294967296", "{\"a\":\"b\"}",
            "{\"a\":1,\"b\":2}", "{\"a\":1,\"a\":2}", "{}", "{ \"a\" : 7 }", "[]", "null", "\"\"",
            "\"x\\ny\"", "{\"a\":{}}");
}

static void both_readers_agree_at_random(void **state)
{
    (void)state;
    size_t plain = 0;
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + 20; seed++) {
        struct test_rng random = test_rng_of(seed), *rng = &random;
        for (size_t n = 0; n < 2000; n++) {
            char text[TEXT_BYTES] = "{";
            for (size_t members = test_rng_below(rng, 4) + 1; members > 0; members--) {
                put_member(rng, text);
                if (members > 1) PUT_ANY(",", ",", ", ", " ,", ",", "", ",,");
            }
            PUT_ANY("}", "}", "}", "}", " }", "", "} ", "}}");
            if (test_rng_chance(rng, 10))
                text[test_rng_below(rng, strlen(text))] = (char)test_rng_below(rng, 256);
            plain += read_twice(tly_slice_text(text));
        }
    }
    assert_true(plain > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_most_say_is_plain),
        cmocka_unit_test(what_is_not_plain_is_left_to_the_other_reader),
        cmocka_unit_test(both_readers_agree_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
