/* The one list of outcomes. */
#include "crdt/result.h"
#include "tests/support/cmocka.h"

#include <string.h>

static void every_result_has_a_word_of_its_own_and_a_sentence(void **state)
{
    for (int i = 0; i < TLY_RESULT_COUNT; i++) {
        const char *name = tly_result_name((enum tly_result)i), *text = tly_result_text((enum tly_result)i);
        assert_true(strlen(name) > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name));
        assert_true(strlen(text) > 0 && text[strlen(text) - 1] != '.');
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, tly_result_name((enum tly_result)j));
    }
    assert_int_equal(TLY_OK, 0);
    assert_string_equal(tly_result_name(TLY_NO_STRATEGY), "no_strategy");
    assert_string_equal(tly_result_text(TLY_NO_STRATEGY), "no strategy registered for key");
}

static void a_number_that_is_none_is_unknown(void **state)
{
    assert_string_equal(tly_result_name(TLY_RESULT_COUNT), "unknown");
    assert_string_equal(tly_result_text(TLY_RESULT_COUNT), "unknown result");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_has_a_word_of_its_own_and_a_sentence),
        cmocka_unit_test(a_number_that_is_none_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
