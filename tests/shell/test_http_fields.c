/*
 * RateLimit and RateLimit-Policy are lists as RFC 9651 has them: read by a parser that was written after the RFC, strictly, and knows
 * nothing of how they are written.
 */
#include "tests/shell/support_http.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const tenant[] = {"tenant", NULL};

/* An item of a list: a string with parameters that are integers. */
struct item {
    char name[160];
    char keys[8];
    int64_t values[8];
    size_t count;
};

/* 4.2.5: printable ASCII in quotes, and only a quote or a backslash behind a backslash. */
static const char *read_string(const char *at, char *out, size_t size)
{
    size_t n = 0;
    if (*at++ != '"') return NULL;
    for (; *at != '"'; at++) {
        if (*at == '\\' && *++at != '"' && *at != '\\') return NULL;
        if (*at < ' ' || *at > '~' || n + 1 == size) return NULL;
        out[n++] = *at;
    }
    out[n] = '\0';
    return at + 1;
}

/* 4.2.4: up to fifteen digits. */
static const char *read_integer(const char *at, int64_t *value)
{
    size_t sign = *at == '-', digits = strspn(at + sign, "0123456789");
    if (digits == 0 || digits > 15) return NULL;
    *value = strtoll(at, NULL, 10);
    return at + sign + digits;
}

/* 4.2.3.2: ";" *SP key "=" value; keys here are one letter. */
static const char *read_parameters(const char *at, struct item *item)
{
    while (at != NULL && *at == ';') {
        at++;
        at += strspn(at, " ");
        if (*at < 'a' || *at > 'z' || at[1] != '=' || item->count == 8) return NULL;
        if (memchr(item->keys, *at, item->count) != NULL) return NULL;
        item->keys[item->count] = *at;
        at = read_integer(at + 2, &item->values[item->count++]);
    }
    return at;
}

/* A list of one; false: it is none. */
static bool read_list(const char *field, struct item *item)
{
    *item = (struct item){0};
    const char *at = read_string(field, item->name, sizeof item->name);
    at = at != NULL ? read_parameters(at, item) : NULL;
    return at != NULL && *at == '\0';
}

static int64_t parameter(const struct item *item, char key)
{
    for (size_t i = 0; i < item->count; i++)
        if (item->keys[i] == key) return item->values[i];
    fail_msg("there is no parameter %c", key);
    return -1;
}

static void the_parser_takes_what_is_a_list_and_nothing_else(void **state)
{
    (void)state;
    struct item item;
    assert_true(read_list("\"a\\\"b\\\\\";r=50; t=-3", &item));
    assert_string_equal(item.name, "a\"b\\");
    assert_int_equal(parameter(&item, 'r'), 50);
    assert_int_equal(parameter(&item, 't'), -3);
    static const char *const no[] = {
        "a;r=1",      "\"a;r=1",    "\"a\\x\";r=1",  "\"\xc3\xa9\";r=1",        "\"a\";r=",
        "\"a\";r=1 ", "\"a\" ;r=1", "\"a\";r=1;r=2", "\"a\";r=1234567890123456"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(read_list(no[i], &item));
}

/* Both fields of an answer; r and q at least, and in the order of the draft. */
static void check_fields(const struct answer *answer, const char *name, int64_t limit)
{
    struct item rest, policy;
    const char *field = header_of(answer, "RateLimit");
    assert_non_null(field);
    assert_true(read_list(field, &rest));
    field = header_of(answer, "RateLimit-Policy");
    assert_non_null(field);
    assert_true(read_list(field, &policy));
    assert_string_equal(rest.name, name);
    assert_string_equal(policy.name, name);
    assert_in_range(parameter(&rest, 'r'), 0, limit);
    assert_int_equal(parameter(&policy, 'q'), limit);
    assert_true(parameter(&policy, 'w') > 0);
    const char *retry = header_of(answer, "Retry-After");
    if (retry != NULL) assert_true(strtoll(retry, NULL, 10) >= parameter(&rest, 't'));
}

static void fields_parse_on_allow_and_deny(void **state)
{
    struct scene *scene = *state;
    static const enum tly_algorithm algorithms[] = {TLY_SLIDING_WINDOW, TLY_FIXED_WINDOW, TLY_TOKEN_BUCKET};
    static const char *const names[] = {"s", "f", "b"};
    size_t refused = 0;
    for (size_t i = 0; i < 3; i++)
        fake_app_limit(scene->app, names[i], "5/7s", algorithms[i], tenant);
    for (size_t i = 0; i < 300; i++) {
        char target[64];
        (void)snprintf(target, sizeof target, "/check/%s?tenant=%zu&hits=%zu", names[i % 3], i % 2, i % 4);
        struct answer answer = get(scene, target);
        assert_true(answer.status == 200 || answer.status == 429);
        check_fields(&answer, names[i % 3], 5);
        if (answer.status == 429) assert_problem(answer, 429, "over");
        refused += answer.status == 429;
        fake_app_advance(scene->app, 50 + i * 37 % 100);
    }
    assert_in_range(refused, 50, 250);
}

static void names_and_numbers_that_do_not_fit_are_made_to(void **state)
{
    struct scene *scene = *state;
    fake_app_limit(scene->app, "a\"b\\c\xc3\xa9", "9223372036854775807/366d", TLY_FIXED_WINDOW, tenant);
    struct answer answer = get(scene, "/check/a%22b%5Cc%C3%A9");
    assert_int_equal(answer.status, 200);
    check_fields(&answer, "a\"b\\c??", INT64_C(999999999999999));
    answer = post(scene, "/v1/check", "{\"key\":\"k\",\"rate\":\"3/10s\"}");
    check_fields(&answer, "default", 3);
}

static void use_only(struct scene *scene, const struct tly_rule *rule)
{
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = tly_rules_new(&mem);
    assert_non_null(rules);
    assert_int_equal(tly_rules_add(rules, rule), TLY_OK);
    tly_engine_use_rules(tly_app_engine(scene->app), rules);
}

/* Who reads t=0 comes back at once; both parameters may be left out. */
static void what_never_comes_back_by_itself_has_no_time_for_it(void **state)
{
    struct scene *scene = *state;
    const struct tly_rule rule = {.name = "c", .rate = {.algorithm = TLY_COUNTER, .limit = 1}};
    use_only(scene, &rule);
    struct answer answer = get(scene, "/check/c");
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "RateLimit"), "\"c\";r=0");
    assert_string_equal(header_of(&answer, "RateLimit-Policy"), "\"c\";q=1");
    answer = get(scene, "/check/c");
    assert_int_equal(answer.status, 429);
    assert_string_equal(header_of(&answer, "RateLimit"), "\"c\";r=0");
    assert_null(header_of(&answer, "Retry-After"));
}

/* A switch adds what clients knew before there was a draft; Reset counts from now, or is a time. */
static void x_ratelimit_headers_are_there_when_wanted(void **state)
{
    struct scene *scene = *state;
    const struct tly_rule window = {.name = "w",
                                    .rate = {.algorithm = TLY_FIXED_WINDOW, .limit = 2, .window_ms = 60000}},
                          counter = {.name = "c", .rate = {.algorithm = TLY_COUNTER, .limit = 2}};
    char at[32];
    use_only(scene, &window);
    struct answer answer = get(scene, "/check/w");
    assert_null(header_of(&answer, "X-RateLimit-Limit"));
    fake_app_set(scene->app, "x_ratelimit=seconds");
    answer = get(scene, "/check/w");
    assert_string_equal(header_of(&answer, "X-RateLimit-Limit"), "2");
    assert_string_equal(header_of(&answer, "X-RateLimit-Remaining"), "0");
    assert_string_equal(header_of(&answer, "X-RateLimit-Reset"), "60");
    fake_app_set(scene->app, "x_ratelimit=epoch");
    answer = get(scene, "/check/w");
    assert_int_equal(answer.status, 429);
    (void)snprintf(at, sizeof at, "%" PRIu64, tly_app_now(scene->app).wall_ns / 1000000000 + 60);
    assert_string_equal(header_of(&answer, "X-RateLimit-Reset"), at);
    use_only(scene, &counter);
    answer = get(scene, "/check/c");
    assert_string_equal(header_of(&answer, "X-RateLimit-Remaining"), "1");
    assert_null(header_of(&answer, "X-RateLimit-Reset"));
}

/* A window that is nobody's: nothing is used, so nothing is reset either, and yet it is to be waited for. */
static void a_refusal_has_one_time_to_come_back(void **state)
{
    struct scene *scene = *state;
    struct tly_rule rule = {.name = "h",
                            .rate = {.algorithm = TLY_FIXED_WINDOW, .limit = 2, .window_ms = 60000}};
    assert_int_equal(tly_mode_parse(tly_slice_text("hard"), &rule.rate), TLY_OK);
    use_only(scene, &rule);
    struct answer answer = get(scene, "/check/h");
    assert_int_equal(answer.status, 429);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "\"h\";r=0;t=%s", header_of(&answer, "Retry-After"));
    assert_string_equal(header_of(&answer, "RateLimit"), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(the_parser_takes_what_is_a_list_and_nothing_else),
        SCENE(fields_parse_on_allow_and_deny),
        SCENE(names_and_numbers_that_do_not_fit_are_made_to),
        SCENE(what_never_comes_back_by_itself_has_no_time_for_it),
        SCENE(x_ratelimit_headers_are_there_when_wanted),
        SCENE(a_refusal_has_one_time_to_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
