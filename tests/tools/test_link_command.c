/* What a link can be told, word by word. */
#include "tests/support/cmocka.h"
#include "tools/link/command.h"

#include <string.h>

static void numbers_have_units_and_up_to_two_directions(void **state)
{
    static const struct {
        enum tly_link_what what;
        const char *text;
        uint64_t up, down;
    } rows[] = {
        {TLY_LINK_RATE, "256k", 256000, 256000},
        {TLY_LINK_RATE, "1.5M", 1500000, 1500000},
        {TLY_LINK_RATE, "0", 0, 0},
        {TLY_LINK_RATE, "256k/1M", 256000, 1000000},
        {TLY_LINK_DELAY, "100ms", 100000000, 100000000},
        {TLY_LINK_DELAY, "0.25s/3us", 250000000, 3000},
        {TLY_LINK_JITTER, "7ns", 7, 7},
        {TLY_LINK_QUEUE, "16k/1", 16000, 1},
        {TLY_LINK_QUEUE, "1000000000000000", UINT64_C(1000000000000000), UINT64_C(1000000000000000)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value[TLY_LINK_WAYS] = {0};
        assert_null(tly_link_value_parse(rows[i].what, rows[i].text, value));
        assert_int_equal(value[TLY_LINK_UP], rows[i].up);
        assert_int_equal(value[TLY_LINK_DOWN], rows[i].down);
    }
}

static void a_value_that_is_none_changes_nothing(void **state)
{
    static const struct {
        enum tly_link_what what;
        const char *text;
    } rows[] = {
        {TLY_LINK_RATE, ""},
        {TLY_LINK_RATE, "k"},
        {TLY_LINK_RATE, "-1"},
        {TLY_LINK_RATE, "1K"},
        {TLY_LINK_RATE, "1/"},
        {TLY_LINK_RATE, "/1"},
        {TLY_LINK_RATE, "1/2/3"},
        {TLY_LINK_RATE, "1ms"},
        {TLY_LINK_DELAY, "100"},
        {TLY_LINK_DELAY, "1k"},
        {TLY_LINK_DELAY, "1 ms"},
        {TLY_LINK_DELAY, "1.5.5s"},
        {TLY_LINK_QUEUE, "0"},
        {TLY_LINK_QUEUE, "5/0"},
        {TLY_LINK_QUEUE, "1000000000000001"},
        {TLY_LINK_QUEUE, "18446744073709551617"},
        {TLY_LINK_DELAY, "10000000000s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value[TLY_LINK_WAYS] = {3, 4};
        assert_non_null(tly_link_value_parse(rows[i].what, rows[i].text, value));
        assert_int_equal(value[TLY_LINK_UP], 3);
        assert_int_equal(value[TLY_LINK_DOWN], 4);
    }
}

static void commands_say_what_they_are(void **state)
{
    struct tly_link_command command;
    assert_null(tly_link_command_parse("  set  delay 5ms/6ms\r", &command));
    assert_int_equal(command.verb, TLY_LINK_SET);
    assert_int_equal(command.what, TLY_LINK_DELAY);
    assert_int_equal(command.value[TLY_LINK_DOWN], 6000000);
    assert_null(tly_link_command_parse("cut blackhole", &command));
    assert_int_equal(command.verb, TLY_LINK_CUT);
    assert_int_equal(command.end, TLY_LINK_BLACKHOLE);
    assert_null(tly_link_command_parse("after down 17 fin", &command));
    assert_int_equal(command.verb, TLY_LINK_AFTER);
    assert_int_equal(command.end, TLY_LINK_FIN);
    assert_int_equal(command.value[0], 17);
    assert_true(command.way[TLY_LINK_DOWN] && !command.way[TLY_LINK_UP]);
    assert_null(tly_link_command_parse("clog", &command));
    assert_int_equal(command.verb, TLY_LINK_CLOG);
    assert_true(command.way[TLY_LINK_UP] && command.way[TLY_LINK_DOWN]);
    assert_null(tly_link_command_parse("release up", &command));
    assert_int_equal(command.verb, TLY_LINK_RELEASE);
    assert_true(command.way[TLY_LINK_UP] && !command.way[TLY_LINK_DOWN]);
}

static void commands_of_one_word(void **state)
{
    static const struct {
        const char *text;
        enum tly_link_verb verb;
    } rows[] = {{"close", TLY_LINK_CLOSE},
                {"open", TLY_LINK_OPEN},
                {"stats", TLY_LINK_STATS},
                {"quit", TLY_LINK_QUIT}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_link_command command;
        assert_null(tly_link_command_parse(rows[i].text, &command));
        assert_int_equal(command.verb, rows[i].verb);
    }
}

static void a_command_that_is_none_says_what_was_expected(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "set, cut"},
        {"rate 5", "set, cut"},
        {"set rate", "set rate|delay|jitter|queue"},
        {"set speed 5", "set rate|delay|jitter|queue"},
        {"set rate five", "bits per second"},
        {"cut", "rst|fin|blackhole"},
        {"cut rst now", "rst|fin|blackhole"},
        {"after both 5 rst", "after up|down"},
        {"after up 5", "after up|down"},
        {"clog both", "up, down"},
        {"close door", "nothing"},
        {"a b c d e", "four words"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "four words"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_link_command command;
        const char *why = tly_link_command_parse(rows[i].text, &command);
        assert_non_null(why);
        assert_non_null(strstr(why, rows[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_units_and_up_to_two_directions),
        cmocka_unit_test(a_value_that_is_none_changes_nothing),
        cmocka_unit_test(commands_say_what_they_are),
        cmocka_unit_test(commands_of_one_word),
        cmocka_unit_test(a_command_that_is_none_says_what_was_expected),
    };
    return cmocka_run_group_tests_name("link/command", tests, NULL, NULL);
}
