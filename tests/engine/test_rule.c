/* Rates, rules by name, and the keys that limits count under. */
#include "service/engine/rule.h"
#include "tests/engine/support_zone.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/support/rng.h"

#include <stdio.h>

static enum tly_result parse(const char *text, struct tly_rate *rate)
{
    *rate = (struct tly_rate){0};
    return tly_rate_parse(tly_slice_text(text), rate);
}

static void a_rate_is_units_per_window(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t limit, window_ms;
    } rows[] = {
        {"100/10s", 100, 10000},
        {"5/m", 5, 60000},
        {"1000/500ms", 1000, 500},
        {"10/2h", 10, 7200000},
        {"1/1d", 1, 86400000},
        {"1/366d", 1, UINT64_C(31622400000)},
        {"1/ms", 1, 1},
        {"9223372036854775807/s", INT64_MAX, 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_rate rate;
        assert_int_equal(parse(rows[i].text, &rate), TLY_OK);
        assert_int_equal(rate.limit, rows[i].limit);
        assert_int_equal(rate.window_ms, rows[i].window_ms);
    }
}

static void what_is_no_rate_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "/",
        "100",
        "100/",
        "/10s",
        "100/10",
        "100/10x",
        "100 /10s",
        "-1/s",
        "0/s",
        "1/0s",
        "1.5/s",
        "1/1.5s",
        "1/367d",
        "1/1s ",
        "9223372036854775808/s",
        "1/s/s",
        "1e3/s",
        "0x1/s",
        "1/1mss",
        "1//s",
        "+1/s",
        "1/-1s",
        "99999999999999999999/s",
        "1/99999999999999999999s",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tly_rate rate;
        assert_int_equal(parse(texts[i], &rate), TLY_BAD_RULE);
    }
    struct tly_rate rate;
    assert_int_equal(tly_rate_parse(tly_slice_of(NULL, 0), &rate), TLY_BAD_RULE);
}

static void a_bucket_whose_numbers_overflow_is_refused(void **state)
{
    (void)state;
    struct tly_rate rate = {.limit = 1, .window_ms = 1, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(tly_rate_check(&rate), TLY_OK);
    rate.limit = 1000001; /* more than one unit per ns */
    assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
    rate = (struct tly_rate){.limit = 1, .window_ms = 86400000, .burst = 366, .algorithm = TLY_TOKEN_BUCKET};
    assert_int_equal(tly_rate_check(&rate), TLY_OK);
    rate.burst = 367;
    assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
    rate.burst = UINT64_MAX;
    assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
    rate = (struct tly_rate){.limit = 1, .window_ms = 1, .burst = 1, .algorithm = TLY_FIXED_WINDOW};
    assert_int_equal(tly_rate_check(&rate), TLY_BAD_RULE);
}

static void algorithms_are_known_by_name(void **state)
{
    (void)state;
    enum tly_algorithm algorithm;
    for (int i = TLY_SLIDING_WINDOW; i <= TLY_TOKEN_BUCKET; i++) {
        const char *name = tly_algorithm_name((enum tly_algorithm)i);
        assert_true(tly_algorithm_parse(tly_slice_text(name), &algorithm));
        assert_int_equal(algorithm, i);
        assert_non_null(strstr(tly_algorithm_names(), name));
    }
    assert_false(tly_algorithm_parse(tly_slice_text("leaky"), &algorithm));
}

static struct tly_rule rule_of(const char *name, size_t fields)
{
    struct tly_rule rule = {.field_count = fields, .rate = {.limit = 1, .window_ms = 1000}};
    snprintf(rule.name, sizeof rule.name, "%s", name);
    for (size_t i = 0; i < fields; i++)
        snprintf(rule.field[i], sizeof rule.field[i], "f%zu", i);
    return rule;
}

static void rules_are_found_by_name_and_a_name_is_taken_once(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    assert_non_null(rules);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", i * 271 % 500);
        struct tly_rule rule = rule_of(name, 1);
        assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
        assert_int_equal(tly_rules_add(rules, &rule), TLY_BAD_RULE);
    }
    assert_int_equal(tly_rules_count(rules), 500);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        const struct tly_rule *rule = tly_rules_find(rules, tly_slice_text(name));
        assert_non_null(rule);
        assert_string_equal(rule->name, name);
    }
    assert_null(tly_rules_find(rules, tly_slice_text("r500")));
    struct tly_rule nameless = rule_of("", 0);
    assert_int_equal(tly_rules_add(rules, &nameless), TLY_BAD_RULE);
    tly_rules_free(rules);
    assert_int_equal(test_mem_live(), 0);
}

static void a_table_takes_4096_rules_and_without_memory_stays_as_it_was(void **state)
{
    (void)state;
    struct test_failing failing = {.countdown = 4};
    struct tly_mem mem = test_failing_mem(&failing);
    struct tly_rules *rules = tly_rules_new(&mem);
    assert_non_null(rules);
    int refused = 0;
    for (size_t i = 0; i < TLY_RULES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu", i);
        struct tly_rule rule = rule_of(name, TLY_RULE_FIELDS_MAX);
        enum tly_result result = tly_rules_add(rules, &rule);
        if (result == TLY_NOMEM) {
            assert_int_equal(refused++, 0);
            assert_int_equal(tly_rules_count(rules), i);
            assert_null(tly_rules_find(rules, tly_slice_text(name)));
            result = tly_rules_add(rules, &rule);
        }
        assert_int_equal(result, TLY_OK);
    }
    assert_int_equal(refused, 1);
    struct tly_rule rule = rule_of("one more", 0);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_FULL);
    for (size_t i = 1; i < TLY_RULES_MAX; i++)
        assert_true(strcmp(tly_rules_at(rules, i - 1)->name, tly_rules_at(rules, i)->name) < 0);
    tly_rules_free(rules);
    tly_rules_free(NULL);
    failing.countdown = 0;
    failing.failed = false;
    assert_null(tly_rules_new(&mem));
    assert_true(failing.failed);
    assert_int_equal(test_mem_live(), 0);
}

static struct tly_slice key_for(const struct tly_rule *rule, const char *a, const char *b, uint8_t *out)
{
    size_t n;
    struct tly_field fields[] = {{tly_slice_text("f0"), tly_slice_text(a)},
                                 {tly_slice_text("f1"), tly_slice_text(b)}};
    assert_int_equal(tly_rule_key(rule, fields, 2, out, &n), TLY_OK);
    return tly_slice_of(out, n);
}

static void keys_do_not_collide(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"a_b", "c"}, {"a", "b_c"}, {"a:b", "c"}, {"a", "b:c"}, {"", "a"},   {"a", ""},
        {"", ""},     {":", ""},    {"", ":"},    {"%3A", ""},  {"%", "3A"}, {"a%3Ab", "c"},
    };
    struct tly_rule rule = rule_of("api", 2);
    uint8_t a[TLY_KEY_BYTES_MAX], b[TLY_KEY_BYTES_MAX];
    size_t count = sizeof pairs / sizeof pairs[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            struct tly_slice x = key_for(&rule, pairs[i][0], pairs[i][1], a);
            struct tly_slice y = key_for(&rule, pairs[j][0], pairs[j][1], b);
            assert_false(tly_slice_equal(x, y));
        }
    }
    struct tly_rule other = rule_of("api:x", 1), plain = rule_of("api", 2);
    struct tly_slice x = key_for(&other, "y", "", a), y = key_for(&plain, "x", "y", b);
    assert_false(tly_slice_equal(x, y));
}

/* Byte by byte, as the header says it. */
static size_t escape(struct tly_slice part, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] == ':' || part.p[i] == '%')
            n += (size_t)snprintf(out + n, 4, "%%%02X", (unsigned)part.p[i]);
        else
            out[n++] = (char)part.p[i];
    }
    return n;
}

/* Mostly the two that are escaped and their neighbours, in every place of a word. */
static void any_part_is_escaped_and_nothing_else(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {':', '%', '9', ';', '$', '&', 0, 0xff, ':' | 0x80, '%' | 0x80, 'a'};
    struct tly_rule rule = rule_of("api", 1);
    for (uint64_t seed = test_seed_first(); seed < test_seed_first() + 20000; seed++) {
        struct test_rng rng = test_rng_of(seed);
        uint8_t part[64], key[TLY_KEY_BYTES_MAX];
        char expected[256];
        size_t n = (size_t)test_rng_below(&rng, sizeof part + 1), found;
        uint64_t kinds = 1 + test_rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < n; i++)
            part[i] = bytes[sizeof bytes - 1 - test_rng_below(&rng, kinds)];
        struct tly_field field = {tly_slice_text("f0"), tly_slice_of(part, n)};
        size_t begin = (size_t)snprintf(expected, sizeof expected, "rl:n:api:");
        size_t wanted = begin + escape(field.value, expected + begin);
        claim(tly_rule_key(&rule, &field, 1, key, &found) == TLY_OK);
        claim(tly_slice_equal(tly_slice_of(key, found), tly_slice_of(expected, wanted)));
    }
}

static void a_field_that_is_not_given_is_empty_and_one_too_many_is_ignored(void **state)
{
    (void)state;
    struct tly_rule rule = rule_of("api", 2);
    struct tly_field fields[] = {{tly_slice_text("f1"), tly_slice_text("y")},
                                 {tly_slice_text("other"), tly_slice_text("z")}};
    uint8_t out[TLY_KEY_BYTES_MAX];
    size_t n;
    assert_int_equal(tly_rule_key(&rule, fields, 2, out, &n), TLY_OK);
    assert_true(tly_slice_equal(tly_slice_of(out, n), tly_slice_text("rl:n:api::y")));
}

static void a_key_of_512_bytes_fits_and_one_of_513_does_not(void **state)
{
    (void)state;
    uint8_t long_key[TLY_KEY_BYTES_MAX], out[TLY_KEY_BYTES_MAX];
    size_t n;
    memset(long_key, 'x', sizeof long_key);
    assert_int_equal(tly_adhoc_key(tly_slice_of(long_key, 507), out, &n), TLY_OK);
    assert_int_equal(n, 512);
    assert_int_equal(tly_adhoc_key(tly_slice_of(long_key, 508), out, &n), TLY_BAD_KEY);
    assert_int_equal(tly_adhoc_key(tly_slice_of(long_key, 0), out, &n), TLY_BAD_KEY);
}

static void add_quota(struct tly_rules *rules, const char *name, const char *zone)
{
    struct tly_rule rule = rule_of(name, 0);
    assert_int_equal(parse("100/d", &rule.rate), TLY_OK);
    rule.rate.algorithm = TLY_QUOTA;
    rule.rate.zone = tly_rules_zone(rules, zone);
    if (rule.rate.zone == NULL) rule.rate.zone = tly_rules_keep_zone(rules, zone, zone_of(BERLIN));
    assert_non_null(rule.rate.zone);
    assert_int_equal(tly_rules_add(rules, &rule), TLY_OK);
}

static const char *zone_name_of(const struct tly_rules *rules, const char *name)
{
    const struct tly_rule *rule = tly_rules_find(rules, tly_slice_text(name));
    assert_non_null(rule);
    return tly_rules_zone_name(rules, rule->rate.zone);
}

/* A table is made of two, and either may end first. */
static void a_zone_lives_as_long_as_any_table_with_rules_of_it(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    struct tly_rules *first = tly_rules_new(&mem), *second = tly_rules_new(&mem), *both = tly_rules_new(&mem);
    add_quota(first, "a", "Europe/Berlin");
    add_quota(first, "b", "Europe/Berlin");
    add_quota(second, "b", "Europe/Paris");
    add_quota(second, "c", "Europe/Paris");
    assert_int_equal(tly_rules_add_all(both, first), TLY_OK);
    assert_int_equal(tly_rules_add_all(both, second), TLY_OK);
    tly_rules_free(first);
    assert_int_equal(tly_rules_count(both), 3);
    assert_string_equal(zone_name_of(both, "a"), "Europe/Berlin");
    assert_string_equal(zone_name_of(both, "b"), "Europe/Berlin");
    assert_string_equal(zone_name_of(both, "c"), "Europe/Paris");
    const struct tly_rule *rule = tly_rules_find(both, tly_slice_text("a"));
    assert_int_equal(tly_zone_offset(rule->rate.zone, 1784116800), 7200);
    tly_rules_free(both);
    assert_string_equal(zone_name_of(second, "c"), "Europe/Paris");
    tly_rules_free(second);
    assert_int_equal(test_mem_live(), 0);
}

static void without_memory_tables_are_not_joined_and_nothing_is_lost(void **state)
{
    (void)state;
    struct test_failing failing = {.countdown = SIZE_MAX};
    struct tly_mem mem = test_failing_mem(&failing);
    struct tly_rules *from = tly_rules_new(&mem);
    add_quota(from, "a", "Europe/Berlin");
    int refused = 0;
    enum tly_result result = TLY_NOMEM;
    for (size_t countdown = 0; result == TLY_NOMEM; countdown++) {
        struct tly_rules *into = tly_rules_new(&mem);
        failing = (struct test_failing){.countdown = countdown};
        result = tly_rules_add_all(into, from);
        failing = (struct test_failing){.countdown = SIZE_MAX};
        refused += result == TLY_NOMEM;
        tly_rules_free(into);
        assert_string_equal(zone_name_of(from, "a"), "Europe/Berlin");
    }
    assert_int_equal(result, TLY_OK);
    assert_true(refused >= 3);
    tly_rules_free(from);
    assert_int_equal(test_mem_live(), 0);
}

/* Each way in which a rule can be another, alone. */
static void rules_agree_when_nothing_of_them_differs(void **state)
{
    (void)state;
    struct tly_mem mem = test_mem();
    for (int way = 0; way <= 16; way++) {
        struct tly_rules *rules = tly_rules_new(&mem), *others = tly_rules_new(&mem);
        struct tly_rule rule = rule_of("a", 2);
        assert_true(tly_rule_add_match(&rule, "plan", "gold*"));
        const struct tly_zone *berlin = tly_rules_keep_zone(rules, "Europe/Berlin", zone_of(BERLIN));
        const struct tly_zone *again = tly_rules_keep_zone(others, "Europe/Berlin", zone_of(BERLIN));
        rule.rate.zone = berlin;
        struct tly_rule other = rule;
        other.rate.zone = again;
        switch (way) {
        case 1: other.rate.limit++; break;
        case 2: other.rate.window_ms++; break;
        case 3: other.rate.burst++; break;
        case 4: other.rate.algorithm = TLY_QUOTA; break;
        case 5: other.rate.mode = TLY_CAPPED; break;
        case 6: other.rate.on_partition = TLY_PARTITION_SHARE; break;
        case 7: other.rate.unit++; break;
        case 8: other.rate.cap++; break;
        case 9: other.rate.min--; break;
        case 10: other.rate.zone = NULL; break;
        case 11: other.field_count--; break;
        case 12: other.field[1][0] = 'x'; break;
        case 13: other.match_count--; break;
        case 14: other.match[0].is_prefix = false; break;
        case 15: other.shadow = true; break;
        case 16: other.keys_max = 7; break;
        default: break;
        }
        if (tly_rules_agree(rules, &rule, others, &other) != (way == 0)) fail_msg("way %d", way);
        tly_rules_free(rules);
        tly_rules_free(others);
    }
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_units_per_window),
        cmocka_unit_test(what_is_no_rate_is_refused),
        cmocka_unit_test(a_bucket_whose_numbers_overflow_is_refused),
        cmocka_unit_test(algorithms_are_known_by_name),
        cmocka_unit_test(rules_are_found_by_name_and_a_name_is_taken_once),
        cmocka_unit_test(a_table_takes_4096_rules_and_without_memory_stays_as_it_was),
        cmocka_unit_test(a_zone_lives_as_long_as_any_table_with_rules_of_it),
        cmocka_unit_test(without_memory_tables_are_not_joined_and_nothing_is_lost),
        cmocka_unit_test(rules_agree_when_nothing_of_them_differs),
        cmocka_unit_test(keys_do_not_collide),
        cmocka_unit_test(any_part_is_escaped_and_nothing_else),
        cmocka_unit_test(a_field_that_is_not_given_is_empty_and_one_too_many_is_ignored),
        cmocka_unit_test(a_key_of_512_bytes_fits_and_one_of_513_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
