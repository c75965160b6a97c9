/* Settings and tally.yaml: what is accepted, and that an error says where and what. */
#include "service/shell/config.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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
        {"grpc", "127.0.0.1:7381"},
        {"grpc", "unix:/run/g.sock"},
        {"debug", "127.0.0.1:6070"},
        {"ratelimit", "/srv/runtime/config"},
        {"ratelimit", "none"},
        {"xds", "m.example:18000"},
        {"xds", "dns:///[::1]:18000"},
        {"xds", "unix:/run/m.sock"},
        {"xds", "unix:///run/m.sock"},
        {"xds", "none"},
        {"peers", "10.0.0.1:7382"},
        {"peers", "none"},
        {"advertise", "gw1.example:7382"},
        {"join", "a:1,b:2,[::1]:3"},
        {"join", ""},
        {"fsync", "always"},
        {"fsync", "never"},
        {"flush_ms", "1"},
        {"flush_ms", "1000"},
        {"resolver", ""},
        {"mesh_max", "16"},
        {"link_budget", "0"},
        {"link_budget", "32k"},
        {"memory_max", "0"},
        {"on_full", "admit"},
        {"large_pages", "no"},
        {"io_uring", "auto"},
        {"io_uring", "no"},
        {"compact_min", "64m"},
        {"tombstone_grace", "1"},
        {"tombstone_grace", "604800"},
        {"forget_after", "31622400"},
        {"client_ip", "real-ip"},
        {"client_ip", "forwarded"},
        {"trusted_hops", "16"},
        {"ipv6_prefix", "128"},
        {"x_ratelimit", "seconds"},
        {"x_ratelimit", "epoch"},
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

static const char *const bad_settings[][2] = {
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
    {"resp=[]:80", "ADDR:PORT"},
    {"resp=[::1:80", "ADDR:PORT"},
    {"resp=[a]:80", "ADDR:PORT"},
    {"resp=a b:80", "ADDR:PORT"},
    {"resp=a\nb:80", "ADDR:PORT"},
    {"http=unix:", "unix:PATH"},
    {"peers=unix:/x", "ADDR:PORT or none"},
    {"grpc=7381", "unix:PATH or none"},
    {"xds=m", "HOST:PORT or unix:PATH"},
    {"xds=m:", "HOST:PORT or unix:PATH"},
    {"xds=:1", "HOST:PORT or unix:PATH"},
    {"xds=m:65536", "HOST:PORT or unix:PATH"},
    {"xds=m:1x", "HOST:PORT or unix:PATH"},
    {"xds=unix:", "HOST:PORT or unix:PATH"},
    {"xds=unix://host/path", "HOST:PORT or unix:PATH"},
    {"ratelimit=", "a directory with files of envoyproxy/ratelimit"},
    {"name=", "1 to 64"},
    {"name=a b", "1 to 64"},
    {"join=a:0", "ADDR:PORT"},
    {"join=a:1,,b:1", "ADDR:PORT"},
    {"fsync=sometimes", "always, interval or never"},
    {"log=loud", "error, warn, info or debug"},
    {"data=", "a directory or none"},
    {"mesh_max=1", "a number from 2"},
    {"link_budget=1023", "at least 1k"},
    {"link_budget=fast", "bytes a second"},
    {"memory_max=-1", "bytes such as 512m"},
    {"memory_max=", "bytes such as 512m"},
    {"memory_max=m", "bytes such as 512m"},
    {"memory_max=64mm", "bytes such as 512m"},
    {"memory_max=64t", "bytes such as 512m"},
    {"memory_max=15m", "at least 16m"},
    {"memory_max=17179869184g", "bytes such as 512m"},
    {"on_full=evict", "admit or refuse"},
    {"large_pages=yes", "auto or no"},
    {"io_uring=yes", "auto or no"},
    {"x_ratelimit=yes", "no, seconds or epoch"},
    {"compact_min=1", "at least 64k"},
    {"tombstone_grace=0", "seconds"},
    {"tombstone_grace=604801", "seconds"},
    {"forget_after=5m", "seconds"},
    {"client_ip=header", "forwarded, real-ip or connection"},
    {"trusted_hops=0", "from 1 to 16"},
    {"trusted_hops=17", "from 1 to 16"},
    {"ipv6_prefix=0", "from 1 to 128"},
    {"ipv6_prefix=129", "from 1 to 128"},
};

static void a_bad_setting_says_what_was_expected_and_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_settings / sizeof bad_settings[0]; i++) {
        struct tly_config config = fresh(), before = fresh();
        struct tly_config_error error;
        assert_false(tly_config_set(&config, bad_settings[i][0], &error));
        assert_non_null(strstr(error.text, "-o "));
        if (strstr(error.text, bad_settings[i][1]) == NULL)
            fail_msg("%s: %s", bad_settings[i][0], error.text);
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

/* A file, and what is said of it. */
/* Of each setting, with a value that none has room for. */
static void what_is_too_long_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static char text[32768], before[TLY_CONFIG_TEXT_MAX], after[TLY_CONFIG_TEXT_MAX];
    struct tly_config config = fresh();
    struct tly_config_error error;
    memset(text, 'x', sizeof text - 1);
    memcpy(text + sizeof text - 4, ":1", 3);
    for (size_t i = 0; tly_config_key(i) != NULL; i++) {
        assert_true(tly_config_get(&config, tly_config_key(i), before, sizeof before));
        assert_false(tly_config_put(&config, tly_config_key(i), text, &error));
        assert_true(tly_config_get(&config, tly_config_key(i), after, sizeof after));
        assert_string_equal(after, before);
    }
}

#define FIVE_TIMES(text) text text text text text

static const char *const bad_files[][2] = {
    {"limits: [{name: a, rate: x" FIVE_TIMES(FIVE_TIMES("\u00e9\u00e9\u00e9\u00e9")) "}]\n",
     "\u00e9?'; expected units"},
    {"secret: \"hush\\0hush\"\n", ":1:9: a value with a NUL; expected a single value"},
    {"name: [a]\n", ":1:7: a list; expected a single value"},
    {"flush_ms: 0\n", ":1:11: flush_ms=0: expected a number from 1 to 1000"},
    {"\ncolour: red\n", ":2:1: colour: no such setting"},
    {"domain: acme\ndescriptors: []\n",
     ":1:1: domain: rules of Envoy's ratelimit are files in a directory of their own: -o ratelimit=DIR"},
    {"\nlimit:\n  - {name: a, rate: 1/s}\n", ":2:1: limit: no such setting"},
    {"name: a\nname: b\n", ":2:1: 'name'; expected every key once"},
    {"- a\n", ":1:1: a list; expected settings and limits: a map"},
    {"limits: 3\n", ":1:9: '3'; expected a list of limits"},
    {"limits:\n  - api\n", ":2:5: 'api'; expected a limit"},
    {"limits:\n  - name: api\n", ":2:5: the limit has no rate"},
    {"limits:\n  - rate: 1/s\n", ":2:5: the limit has no name"},
    {"limits:\n  - name: api\n    rate: fast\n", ":3:11: 'fast'; expected units/window"},
    {"limits:\n  - name: api\n    rate: 1/s\n    algorithm: leaky\n",
     ":4:16: 'leaky'; expected one of: sliding_window"},
    {"limits:\n  - name: api\n    rate: 1/s\n    colour: red\n",
     ":4:5: 'colour'; expected a key of a limit: name, key, match"},
    {"limits:\n  - name: api\n    rate: 1/s\n    burst: 5\n", "burst goes with algorithm: token_bucket"},
    {"limits:\n  - name: api\n    rate: 1/s\n    burst: x\n", ":4:12: 'x'; expected a whole number"},
    {"limits:\n  - name: api\n    rate: 1/s\n    shadow: maybe\n", ":4:13: 'maybe'; expected true or false"},
    {"limits:\n  - name: api\n    rate: 1/s\n    mode: soft\n",
     ":4:11: 'soft'; expected optimistic, hard, or a map {capped: UNITS}"},
    {"limits:\n  - {name: api, rate: 1/s, mode: hard}\n",
     ":2:5: mode: hard goes with algorithm: fixed_window, quota or counter only"},
    {"limits:\n  - {name: api, rate: 1/s, algorithm: fixed_window, mode: hard, on_partition: open}\n",
     ":2:79: on_partition goes with optimistic and capped only"},
    {"limits:\n  - {name: api, rate: 1/s, mode: {capped: 0}}\n",
     ":2:34: a map; expected optimistic, hard, or a map"},
    {"limits:\n  - {name: api, rate: 1/s, mode: {capped: 5, x: 1}}\n", ":2:34: a map; expected optimistic"},
    {"limits:\n  - {name: api, rate: 1/s, mode: {capped: [5]}}\n", ":2:43: a list; expected optimistic"},
    {"limits:\n  - {name: api, rate: 1/s, on_partition: ajar}\n",
     ":2:42: 'ajar'; expected open, share or closed"},
    {"limits:\n  - {name: api, rate: 1/s, on_partition: share, mode: {capped: 5}}\n",
     ":2:42: 'share'; expected closed or open"},
    {"limits:\n  - name: api\n    rate: 1/s\n    key: [a, a]\n",
     ":4:14: 'a'; expected every field of a key once"},
    {"limits:\n  - name: api\n    rate: 1/s\n    key: tenant, route\n",
     ":4:10: 'tenant, route'; expected a field name, or a list of them such as [tenant, route]"},
    {"limits:\n  - name: api\n    rate: 1/s\n    key: tenant route\n",
     ":4:10: 'tenant route'; expected a field name, or a list of them such as [tenant, route]"},
    {"limits:\n  - {name: a, rate: 1/s}\n  - {name: a, rate: 2/s}\n", ":3:5: another limit has this name"},
    {"name: a\n---\nname: b\n", ":2:1: a second document; expected one"},
    {"limits: &x\n  - {name: a, rate: 1/s}\nname: *x\n",
     ":1:9: an anchor or alias; expected the value itself"},
    {"name: &x a\n", ":1:7: an anchor or alias"},
    {"name: *x\n", ":1:7: an anchor or alias"},
    {"name: !!str x\n", ":1:7: a tag; expected the value itself"},
    {"limits: !!seq []\n", ":1:9: a tag; expected the value itself"},
    {"secret:\nname: a\n", ":1:8: nothing; expected a value"},
    {"secret: ~\n", ":1:9: nothing; expected a value"},
    {"secret: null\n", ":1:9: nothing; expected a value"},
    {"limits:\n",
     ":1:8: nothing; expected a value, in quotes if it is meant as it stands: \"\" is an empty one, [] an empty list"},
    {"limits: [{name: a, rate: }]\n", ":1:26: nothing; expected a value"},
    {"name: a\n---\n", ":2:1: a second document; expected one"},
    {"limits:\n  - {name: api, algorithm: counter}\n", ":2:5: the counter has no max"},
    {"limits:\n  - {name: api, algorithm: counter, max: 5, rate: 1/s}\n", ":2:5: a counter has no rate"},
    {"limits:\n  - {name: api, rate: 1/s, max: 5}\n", ":2:33: min and max go with algorithm: counter"},
    {"limits:\n  - {name: api, algorithm: counter, max: 0}\n",
     ":2:42: '0'; expected a whole number, at least 1"},
    {"limits:\n  - {name: api, algorithm: counter, max: 5, min: 1}\n",
     ":2:50: '1'; expected a whole number, 0 or less"},
    {"limits:\n  - {name: api, algorithm: counter, max: 5, min: -}\n", ":2:50: "},
    {"limits:\n  - {name: api, algorithm: counter, max: 5, mode: {capped: 2}}\n",
     ":2:5: algorithm: counter goes with mode: hard, or optimistic with on_partition: open or closed only"},
    {"limits:\n  - {name: api, algorithm: counter, max: 5, on_partition: share}\n",
     ":2:5: algorithm: counter goes with mode: hard, or optimistic with on_partition: open or closed only"},
    {"limits:\n  - {name: api, rate: 1/s, algorithm: token_bucket, mode: hard}\n",
     ":2:5: mode: hard goes with"},
    {"limits:\n  - {name: api, rate: 1/s, algorithm: concurrency, mode: hard}\n",
     ":2:5: mode: hard goes with"},
    {"limits:\n  - {name: api, rate: 9/s, algorithm: concurrency, mode: {capped: 2}}\n",
     ":2:5: algorithm: concurrency goes with mode: optimistic only"},
    {"limits:\n  - {name: api, rate: 1/s, match: free}\n", ":2:35: 'free'; expected a map of fields"},
    {"limits:\n  - {name: api, rate: 1/s, match: {plan: [a]}}\n",
     ":2:42: a list; expected a value of 1 to 64"},
    {"limits:\n  - {name: api, rate: 1/s, match: {plan: ''}}\n", ":2:42: ''; expected a value of 1 to 64"},
    {"limits:\n  - {name: api, rate: 1/s, match: {a: x, b: x, c: x, d: x, e: x}}\n",
     ":2:60: 'e'; expected at most 4 fields in match"},
    {"limits:\n  - {name: api, rate: 1/s, match: {a: x, a: y}}\n", ":2:42: 'a'; expected every key once"},
    {"limits:\n  - {name: api, rate: 1/s, key: [a, b, c, d, e, f, g, h], match: {i: x}}\n",
     ":2:66: key and match together have at most 8 fields"},
    {"limits:\n  - {name: api, rate: 1/mo}\n", ":2:5: a month or a year goes with algorithm: quota only"},
    {"limits:\n  - {name: api, rate: 1/2d, algorithm: quota}\n",
     ":2:5: a quota is of one m, h, d, w, mo or y"},
    {"limits:\n  - {name: api, rate: 5/10s, algorithm: concurrency, mode: {capped: 2}}\n",
     ":2:5: algorithm: concurrency goes with mode: optimistic only"},
    {"limits:\n  - {name: api, rate: 5/10ms, algorithm: concurrency}\n",
     ":2:5: what is in flight counts for 1s to 1h"},
    {"limits:\n  - {name: api, rate: 1/d, zone: UTC}\n", ":2:34: "},
    {"limits:\n  - {name: api, rate: 1/d, algorithm: quota, zone: Nowhere/Atall}\n",
     ":2:52: 'Nowhere/Atall'; expected a time zone that this machine has a file of"},
    {"limits:\n  - {name: api, rate: 1/d, algorithm: quota, zone: ../../../etc/passwd}\n", ":2:52: '../"},
    {"limits:\n  - {name: api, rate: 1/s, cardinality_max: 0}\n",
     ":2:45: '0'; expected a whole number, at least 1"},
    {"limits:\n  - {name: api, rate: 1/s, cardinality_max: many}\n",
     ":2:45: 'many'; expected a whole number"},
    {"limits:\n  - {name: api, rate: 1/s, cardinality_max: 99999999999999999999}\n", ":2:45: '9999"},
    {"limits:\n  - {name: api, rate: 1/s, mode: [hard]}\n", ":2:34: a list; expected optimistic"},
    {"limits:\n  - {name: api, rate: 1/s, key: {a: b}}\n", ":2:33: a map; expected a field name"},
    {"limits:\n  - {name: api, rate: 1/s, key: [a,b,c,d,e,f,g,h,i]}\n", "'i'; expected at most 8 fields"},
    {"name: \"a\\0b\"\n", ":1:7: a value with a NUL; expected a single value"},
    {"name: \"a\\nb\"\n", ":1:7: name=a?b: expected 1 to 64"},
    {"name: a\ncluster: \x01\n", ":2:10: control characters are not allowed"},
    {"[[[[[[[[[a]]]]]]]]]\n", ":1:9: nested too deep"},
    {"name: 'a\n", ":2:1:"},
    {"name: a\n\tcluster: b\n", ":2:1: a tab; expected blanks, for nothing is indented by tabs in YAML"},
    {"limits:\n\t- {name: api, rate: 1/s}\n", ":2:1: a tab; expected blanks"},
    {"limits:\n  -\tname: api\n", ":2:4: a tab; expected blanks"},
    {"name: |\n\tx\n", ":2:1: a tab; expected blanks"},
    {"name: a\ncluster: @b\n", ":2:10: found character that cannot start any token"},
    {"\xff\xfe\xff", ":1:3: incomplete UTF-16"},
    {"name: a\n# \xc3(\n", ":2:4: invalid trailing UTF-8"},
};

static void a_bad_file_is_refused_by_line_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = NULL;
        write_file(bad_files[i][0]);
        assert_false(tly_config_load(&config, path, &mem, &rules, &error));
        if (strstr(error.text, bad_files[i][1]) == NULL || strstr(error.text, path) != error.text)
            fail_msg("%s gives: %s", bad_files[i][0], error.text);
        assert_value(&config, "name", "");
        assert_value(&config, "flush_ms", "10");
        assert_null(rules);
    }
}

static void a_file_that_says_nothing_sets_nothing(void **state)
{
    (void)state;
    static const char *const files[] = {"",          "\n", "# no more\n", "---\n", "---\n# to be filled in\n",
                                        "---\n...\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_mem mem = test_mem();
        struct tly_rules *rules = NULL;
        write_file(files[i]);
        if (!tly_config_load(&config, path, &mem, &rules, &error))
            fail_msg("'%s' gives: %s", files[i], error.text);
        assert_int_equal(tly_rules_count(rules), 0);
        tly_rules_free(rules);
    }
}

/* As with commas between. */
static void a_list_has_room_for_every_seed_that_there_may_be(void **state)
{
    (void)state;
    static char text[TLY_JOIN_MAX * (TLY_ADDRESS_BYTES_MAX + 4)];
    char address[TLY_ADDRESS_BYTES_MAX + 1];
    memset(address, 'h', sizeof address);
    memcpy(address + sizeof address - 4, ":82", 4);
    (void)strlcpy(text, "join:\n", sizeof text);
    for (size_t i = 0; i < TLY_JOIN_MAX; i++) {
        (void)strlcat(text, "- ", sizeof text);
        (void)strlcat(text, address, sizeof text);
        assert_true(strlcat(text, "\n", sizeof text) < sizeof text);
    }
    write_file(text);
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules = NULL;
    if (!tly_config_load(&config, path, &mem, &rules, &error)) fail_msg("%s", error.text);
    assert_int_equal(config.join_count, TLY_JOIN_MAX);
    assert_string_equal(config.join[TLY_JOIN_MAX - 1], address);
    tly_rules_free(rules);
}

/* A file of the tz database that has a rule only, as "Here" in a directory of its own. */
static void write_zone(char directory[64], char file[80])
{
    uint8_t bytes[108] = {0};
    for (size_t part = 0; part < 2; part++) {
        uint8_t *at = bytes + part * 54;
        memcpy(at, "TZif2", 5);
        at[39] = 1;
        at[43] = 4;
    }
    (void)snprintf(directory, 64, "/tmp/test_config_zones.XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(file, 80, "%s/Here", directory);
    FILE *zone = fopen(file, "w");
    assert_non_null(zone);
    assert_int_equal(fwrite(bytes, 1, sizeof bytes, zone), sizeof bytes);
    assert_true(fputs("\nCET-1CEST,M3.5.0,M10.5.0/3\n", zone) >= 0);
    assert_int_equal(fclose(zone), 0);
}

static void a_quota_has_a_zone_of_this_machine(void **state)
{
    (void)state;
    char directory[64], file[80];
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_rules *rules = NULL;
    struct tly_mem mem = test_mem();
    write_zone(directory, file);
    assert_int_equal(setenv("TZDIR", directory, 1), 0);
    write_file("limits:\n"
               "  - {name: a, rate: 5/mo, algorithm: quota, zone: Here}\n"
               "  - {name: b, rate: 5/y, zone: Here, algorithm: quota}\n"
               "  - {name: c, rate: 5/d, algorithm: quota, mode: hard}\n"
               "  - {name: d, algorithm: counter, max: 5, min: -2, mode: hard}\n");
    assert_true(tly_config_load(&config, path, &mem, &rules, &error));
    const struct tly_rule *a = tly_rules_at(rules, 0), *b = tly_rules_at(rules, 1),
                          *c = tly_rules_at(rules, 2);
    assert_non_null(a->rate.zone);
    assert_ptr_equal(a->rate.zone, b->rate.zone);
    assert_null(c->rate.zone);
    assert_string_equal(tly_rules_zone_name(rules, a->rate.zone), "Here");
    assert_string_equal(tly_rules_zone_name(rules, NULL), "UTC");
    assert_int_equal(a->rate.unit, TLY_UNIT_MONTH);
    assert_int_equal(c->rate.mode, TLY_HARD);
    assert_int_equal(tly_rules_at(rules, 3)->rate.mode, TLY_HARD);
    assert_int_equal(tly_rules_at(rules, 3)->rate.min, -2);
    assert_int_equal(tly_zone_offset(a->rate.zone, 1782864000), 7200);
    tly_rules_free(rules);
    assert_int_equal(unsetenv("TZDIR"), 0);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(directory), 0);
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

static void a_text_of_limits_may_set_nothing_else(void **state)
{
    (void)state;
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules;
    assert_true(tly_config_parse_limits("k", tly_slice_text("limits: [{name: a, rate: 7/1s}]"), &mem, &rules,
                                        &error));
    assert_int_equal(tly_rules_count(rules), 1);
    assert_int_equal(tly_rules_find(rules, tly_slice_text("a"))->rate.limit, 7);
    tly_rules_free(rules);
    assert_true(tly_config_parse_limits("k", tly_slice_of(NULL, 0), &mem, &rules, &error));
    assert_int_equal(tly_rules_count(rules), 0);
    tly_rules_free(rules);
    static const char *const bad[][2] = {
        {"limits: []\nname: x\n", "k:2:1: 'name'; expected limits alone: settings belong into a node's file"},
        {"limits: [{name: a}]", "k:1:10: the limit has no rate"},
        {"limits: {", NULL},
        {"\xff", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(tly_config_parse_limits("k", tly_slice_text(bad[i][0]), &mem, &rules, &error));
        if (bad[i][1] != NULL) assert_string_equal(error.text, bad[i][1]);
        assert_non_null(strstr(error.text, "k:"));
    }
    assert_int_equal(test_mem_live(), 0);
}

/* Waiting for somebody to write into it would stop the loop at a reload. */
static void a_pipe_is_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules;
    assert_false(tly_config_load(&config, path, &mem, &rules, &error));
    assert_non_null(strstr(error.text, ": not a regular file"));
}

static void a_hostile_file_is_refused_by_its_bound(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *expected;
        size_t bytes;
    } rows[] = {
        {"[", ":1:9: nested too deep", 1048576},   {"{", ":1:9: nested too deep", 1048576},
        {"- ", ":1:17: nested too deep", 1048576}, {"- a\n", "too many values", 1048576},
        {"? ", "nested too deep", 1048576},        {"#", "larger than 1 MiB", 1048577},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (size_t n = 0; n < rows[i].bytes; n += strlen(rows[i].piece))
            assert_true(fputs(rows[i].piece, file) >= 0);
        assert_int_equal(fclose(file), 0);
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_mem mem = test_mem();
        struct tly_rules *rules;
        assert_false(tly_config_load(&config, path, &mem, &rules, &error));
        if (strstr(error.text, rows[i].expected) == NULL) fail_msg("%s gives: %s", rows[i].piece, error.text);
    }
}

static void write_limits(int count)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("limits:\n", file) >= 0);
    for (int i = 0; i < count; i++)
        assert_true(
            fprintf(file,
                    "- {name: l%d, key: [a, b, c, d, e, f, g, h], rate: 1/s, algorithm: token_bucket, "
                    "burst: 1, shadow: true, mode: optimistic}\n",
                    i) > 0);
    assert_int_equal(fclose(file), 0);
}

static void as_many_limits_as_there_may_be_are_loaded_and_one_more_is_refused(void **state)
{
    (void)state;
    struct tly_config config = fresh();
    struct tly_config_error error;
    struct tly_mem mem = test_mem();
    struct tly_rules *rules;
    write_limits(TLY_RULES_MAX);
    if (!tly_config_load(&config, path, &mem, &rules, &error)) fail_msg("%s", error.text);
    assert_int_equal(tly_rules_count(rules), TLY_RULES_MAX);
    tly_rules_free(rules);
    write_limits(TLY_RULES_MAX + 1);
    assert_false(tly_config_load(&config, path, &mem, &rules, &error));
    if (strstr(error.text, ":4098:3: a limit too many; expected at most 4096") == NULL)
        fail_msg("%s", error.text);
}

static void without_memory_nothing_changes_and_nothing_is_left(void **state)
{
    (void)state;
    write_file("name: x\nlimits:\n  - {name: a, rate: 1/s}\n");
    size_t failed = 0;
    for (bool loaded = false; !loaded; failed++) {
        struct test_failing failing = {.countdown = failed};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_config config = fresh();
        struct tly_config_error error;
        struct tly_rules *rules;
        loaded = tly_config_load(&config, path, &mem, &rules, &error);
        assert_int_equal(loaded, !failing.failed);
        assert_value(&config, "name", loaded ? "x" : "");
        if (loaded) tly_rules_free(rules);
        assert_int_equal(test_mem_live(), 0);
    }
    assert_in_range(failed, 3, 100); /* the object, its array, and once all is well */
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

/* ---- all of it ---- */

static void what_comes_later_goes_before_and_all_is_checked(void **state)
{
    const char *defaults[] = {"resp=none", "flush_ms=5", NULL}, *options[] = {"flush_ms=7", NULL};
    const char *bad[] = {"grpc_tls_key=k.pem", NULL};
    struct tly_mem mem = test_mem();
    struct tly_config config;
    struct tly_config_error error;
    struct tly_rules *rules;
    write_file("flush_ms: 6\nfsync: never\nlimits: [{name: a, rate: 1/s}]\n");
    struct tly_config_sources sources = {.defaults = defaults, .file = path, .options = options};
    assert_true(tly_config_read(&config, &sources, &mem, &rules, &error));
    assert_int_equal(config.flush_ms, 7);
    assert_int_equal(config.fsync, TLY_FSYNC_NEVER);
    assert_int_equal(config.resp.kind, TLY_LISTEN_NONE);
    assert_int_equal(tly_rules_count(rules), 1);
    tly_rules_free(rules);
    sources.options = bad;
    assert_false(tly_config_read(&config, &sources, &mem, &rules, &error));
    assert_string_equal(error.text, "grpc_tls_cert and grpc_tls_key are needed together");
    assert_null(rules);
    sources = (struct tly_config_sources){0};
    assert_true(tly_config_read(&config, &sources, &mem, &rules, &error));
    assert_int_equal(tly_rules_count(rules), 0);
    tly_rules_free(rules);
}

static void settings_that_differ_are_named(void **state)
{
    static const char *const others[] = {"secret=b", "join=127.0.0.1:2,127.0.0.1:1", "log=warn",
                                         "memory_max=1g"};
    struct tly_config a, b;
    struct tly_config_error error;
    char names[64];
    tly_config_init(&a);
    assert_true(tly_config_set(&a, "secret=a", &error));
    b = a;
    tly_config_differences(&a, &b, names, sizeof names);
    assert_string_equal(names, "");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_true(tly_config_set(&b, others[i], &error));
    tly_config_differences(&a, &b, names, sizeof names);
    assert_string_equal(names, "secret, join, memory_max, log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_reads_back_as_it_was_written),
        cmocka_unit_test(a_bad_setting_says_what_was_expected_and_changes_nothing),
        cmocka_unit_test(what_is_too_long_is_refused_and_changes_nothing),
        cmocka_unit_test_setup_teardown(a_file_sets_settings_and_limits, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_bad_file_is_refused_by_line_and_column, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_quota_has_a_zone_of_this_machine, make_file, remove_file),
        cmocka_unit_test(what_is_no_file_is_refused_by_name),
        cmocka_unit_test(a_text_of_limits_may_set_nothing_else),
        cmocka_unit_test_setup_teardown(a_pipe_is_refused_at_once, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_file_that_says_nothing_sets_nothing, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_list_has_room_for_every_seed_that_there_may_be, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(a_hostile_file_is_refused_by_its_bound, make_file, remove_file),
        cmocka_unit_test_setup_teardown(as_many_limits_as_there_may_be_are_loaded_and_one_more_is_refused,
                                        make_file, remove_file),
        cmocka_unit_test_setup_teardown(without_memory_nothing_changes_and_nothing_is_left, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(every_prefix_of_a_good_file_loads_or_says_where_it_fails, make_file,
                                        remove_file),
        cmocka_unit_test(the_data_directory_follows_the_environment),
        cmocka_unit_test(what_comes_later_goes_before_and_all_is_checked),
        cmocka_unit_test(settings_that_differ_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
