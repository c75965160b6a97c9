/* Settings and tally.yaml: what is accepted, and that an error says where and what. */
#include "service/shell/config.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static int make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_config.XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    return close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path) == 0 && test_mem_live() == 0 ? 0 : -1;
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct tly_config fresh(void)
{
    struct tly_config config;
    tly_config_init(&config);
    return config;
}

static void assert_value(const struct tly_config *config, const char *key, const char *expected)
{
    char value[TLY_CONFIG_TEXT_MAX];
    assert_true(tly_config_get(config, key, value, sizeof value));
    assert_string_equal(value, expected);
}

static void every_setting_reads_back_as_it_was_written(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"name", "a.b-c_1"},
        {"cluster", "prod"},
        {"data", "/srv/tally"},
        {"data", "none"},
        {"resp", "127.0.0.1:0"},
        {"resp", "unix:/run/t.sock"},
        {"resp", "none"},
        {"http", "[::1]:80"},
        {"grpc", "none"},
        {"peers", "10.0.0.1:7382"},
        {"peers", "none"},
        {"advertise", "gw1.example:7382"},
        {"join", "a:1,b:2,[::1]:3"},
        {"join", ""},
        {"fsync", "always"},
        {"fsync", "never"},
        {"flush_ms", "1"},
        {"flush_ms", "1000"},
        {"keys_max", "0"},
        {"log", "debug"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_config config = fresh();
        struct tly_config_error error;
        char assignment[256];
        snprintf(assignment, sizeof assignment, "%s=%s", rows[i][0], rows[i][1]);
        assert_true(tly_config_set(&config, assignment, &error));
        assert_value(&config, rows[i][0], rows[i][1]);
    }
    struct tly_config config = fresh();
    struct tly_config_error error;
    assert_true(tly_config_set(&config, "peers=:7000", &error));
    assert_value(&config, "peers", "0.0.0.0:7000");
}

static void a_bad_setting_says_what_was_expected_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"flush_ms=abc", "flush_ms=abc: expected a number from 1 to 1000"},
        {"flush_ms=0", "1 to 1000"},
        {"flush_ms=1001", "1 to 1000"},
        {"flush_ms=", "1 to 1000"},
        {"colour=red", "no such setting; expected one of: name, cluster"},
        {"resp", "expected key=value"},
        {"resp=7379", "ADDR:PORT"},
        {"resp=1.2.3.4:65536", "ADDR:PORT"},
        {"resp=1.2.3.4:7x", "ADDR:PORT"},
        {"resp=::1:80", "ADDR:PORT"},
        {"http=unix:", "unix:PATH"},
        {"peers=unix:/x", "ADDR:PORT or none"},
        {"grpc=127.0.0.1:7381", "no gRPC door yet"},
        {"name=", "1 to 64"},
        {"name=a b", "1 to 64"},
        {"join=a:0", "ADDR:PORT"},
        {"join=a:1,,b:1", "ADDR:PORT"},
        {"fsync=sometimes", "always, interval or never"},
        {"log=loud", "error, warn, info or debug"},
        {"data=", "a directory or none"},
        {"keys_max=-1", "a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_config config = fresh(), before = fresh();
        struct tly_config_error error;
        assert_false(tly_config_set(&config, rows[i][0], &error));
        assert_non_null(strstr(error.text, "-o "));
        if (strstr(error.text, rows[i][1]) == NULL) fail_msg("%s: %s", rows[i][0], error.text);
        for (size_t k = 0; tly_config_key(k) != NULL; k++) {
            char value[TLY_CONFIG_TEXT_MAX];
            assert_true(tly_config_get(&before, tly_config_key(k), value, sizeof value));
            assert_value(&config, tly_config_key(k), value);
        }
    }
}

static void a_file_sets_settings_and_limits(void **state)
{
    (void)state;
    write_file("# a comment\n"
               "name: gw1\n"
               "join: [a:1, b:2]\n"
               "flush_ms: 25\n"
               "limits:\n"
               "  - name: api\n"
               "    key: [tenant, route]\n"
               "    rate: 100/10s\n"
               "    algorithm: fixed_window\n"
               "  - name: login\n"
               "    key: ip\n"
               "    rate: 5/m\n"
               "    algorithm: token_bucket\n"
               "    burst: 20\n"
               "    shadow: true\n"
               "    mode: optimistic\n");
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules;
    if (!tly_config_load(&config, path, &mem, &rules, &error)) fail_msg("%s", error.text);
    assert_value(&config, "name", "gw1");
    assert_value(&config, "join", "a:1,b:2");
    assert_value(&config, "flush_ms", "25");
    assert_int_equal(tly_rules_count(rules), 2);
    const struct tly_rule *api = tly_rules_find(rules, tly_slice_text("api"));
    assert_non_null(api);
    assert_int_equal(api->field_count, 2);
    assert_string_equal(api->field[1], "route");
    assert_int_equal(api->rate.limit, 100);
    assert_int_equal(api->rate.window_ms, 10000);
    assert_int_equal(api->rate.algorithm, TLY_FIXED_WINDOW);
    const struct tly_rule *login = tly_rules_find(rules, tly_slice_text("login"));
    assert_non_null(login);
    assert_string_equal(login->field[0], "ip");
    assert_int_equal(login->rate.burst, 20);
    assert_true(login->shadow);
    tly_rules_free(rules);
}

static void a_bad_file_is_refused_by_line_and_column(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"name: [a]\n", ":1:7: expected a single value"},
        {"flush_ms: 0\n", ":1:11: flush_ms=0: expected a number from 1 to 1000"},
        {"\ncolour: red\n", ":2:1: colour: no such setting"},
        {"name: a\nname: b\n", ":2:1: the key stands here twice"},
        {"- a\n", ":1:1: expected settings and limits: a map"},
        {"limits: 3\n", ":1:9: expected a list of limits"},
        {"limits:\n  - api\n", ":2:5: expected a limit"},
        {"limits:\n  - name: api\n", ":2:5: the limit has no rate"},
        {"limits:\n  - rate: 1/s\n", ":2:5: the limit has no name"},
        {"limits:\n  - name: api\n    rate: fast\n", ":3:11: expected units/window"},
        {"limits:\n  - name: api\n    rate: 1/s\n    algorithm: leaky\n",
         ":4:16: expected one of: sliding_window"},
        {"limits:\n  - name: api\n    rate: 1/s\n    colour: red\n", ":4:5: colour: no such key of a limit"},
        {"limits:\n  - name: api\n    rate: 1/s\n    burst: 5\n", "burst goes with algorithm: token_bucket"},
        {"limits:\n  - name: api\n    rate: 1/s\n    burst: x\n", ":4:12: expected a whole number"},
        {"limits:\n  - name: api\n    rate: 1/s\n    shadow: maybe\n", ":4:13: expected true or false"},
        {"limits:\n  - name: api\n    rate: 1/s\n    mode: hard\n",
         ":4:11: this version has the mode optimistic only"},
        {"limits:\n  - name: api\n    rate: 1/s\n    key: [a, a]\n", ":4:14: the field stands here twice"},
        {"limits:\n  - {name: a, rate: 1/s}\n  - {name: a, rate: 2/s}\n",
         ":3:5: another limit has this name"},
        {"name: a\n---\nname: b\n", ":3:1: expected one document"},
        {"limits: &x\n  - {name: a, rate: 1/s}\nname: *x\n", "anchors and aliases"},
        {"name: 'a\n", ":2:1:"},
        {"name: a\n\tcluster: b\n", ":2:"},
        {"\xff\xfe\xff", ":1:1:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = NULL;
        write_file(rows[i][0]);
        assert_false(tly_config_load(&config, path, &mem, &rules, &error));
        if (strstr(error.text, rows[i][1]) == NULL || strstr(error.text, path) != error.text)
            fail_msg("%s gives: %s", rows[i][0], error.text);
        assert_value(&config, "name", "");
        assert_value(&config, "flush_ms", "10");
        assert_null(rules);
    }
}

static void what_is_no_file_is_refused_by_name(void **state)
{
    (void)state;
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules;
    assert_false(tly_config_load(&config, "/nowhere/tally.yaml", &mem, &rules, &error));
    assert_string_equal(error.text, "/nowhere/tally.yaml: No such file or directory");
    assert_false(tly_config_load(&config, "/tmp", &mem, &rules, &error));
    assert_string_equal(error.text, "/tmp: not a regular file");
}

static void every_prefix_of_a_good_file_loads_or_says_where_it_fails(void **state)
{
    (void)state;
    static const char text[] =
        "name: gw1\nlimits:\n  - name: api\n    key: [a, b]\n    rate: 100/10s\n    burst: 7\n"
        "    algorithm: token_bucket\n";
    size_t loaded = 0;
    for (size_t n = 0; n < sizeof text; n++) {
        char prefix[sizeof text];
        memcpy(prefix, text, n);
        prefix[n] = '\0';
        write_file(prefix);
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = NULL;
        if (tly_config_load(&config, path, &mem, &rules, &error)) {
            loaded++;
            tly_rules_free(rules);
        } else {
            assert_int_equal(strncmp(error.text, path, strlen(path)), 0);
        }
    }
    assert_in_range(loaded, 2, sizeof text - 2);
}

static void the_data_directory_follows_the_environment(void **state)
{
    (void)state;
    char *old = getenv("XDG_STATE_HOME");
    assert_int_equal(setenv("XDG_STATE_HOME", "/state", 1), 0);
    struct tly_config config = fresh();
    assert_value(&config, "data", "/state/tally");
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_int_equal(setenv("HOME", "/home/me", 1), 0);
    config = fresh();
    assert_value(&config, "data", "/home/me/.local/state/tally");
    if (old != NULL) assert_int_equal(setenv("XDG_STATE_HOME", old, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_reads_back_as_it_was_written),
        cmocka_unit_test(a_bad_setting_says_what_was_expected_and_changes_nothing),
        cmocka_unit_test_setup_teardown(a_file_sets_settings_and_limits, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_bad_file_is_refused_by_line_and_column, make_file, remove_file),
        cmocka_unit_test(what_is_no_file_is_refused_by_name),
        cmocka_unit_test_setup_teardown(every_prefix_of_a_good_file_loads_or_says_where_it_fails, make_file,
                                        remove_file),
        cmocka_unit_test(the_data_directory_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
