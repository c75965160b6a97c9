/*
 * The configuration of envoyproxy/ratelimit, as tables: what loads and in which words it does not, which limit a request finds and
 * what that is measured under, and which requests share a counter.
 */
#include "service/shell/rls_config.h"
#include "service/shell/rls_key.h"
#include "service/shell/rls_yaml.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define RATE "    rate_limit: {unit: second, requests_per_unit: 1}\n"

/* Every case is counted, and there must be as many as were promised. */
static size_t cases;

/* ---- loading ---- */

struct load {
    const char *yaml;
    const char *error; /* NULL: it loads */
};

static const struct load loads[] = {
    /* what loads */
    {"domain: a\n", NULL},
    {"domain: a\ndescriptors:\n", NULL},
    {"domain: a\ndescriptors: ~\n", NULL},
    {"domain: a\ndescriptors: []\n", NULL},
    {"domain: 7\n", NULL},
    {"domain: true\n", NULL},
    {"domain: a # with a comment\n", NULL},
    {"---\ndomain: a\n", NULL},
    {"{domain: a, descriptors: [{key: k}]}", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE, NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit:\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value:\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value: 7\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value: 'on'\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value: yes\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    descriptors:\n      - key: l\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: SECOND, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: mInUtE, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: hour, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: week, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: month, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: year, requests_per_unit: 1}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 0}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 4294967295}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 0x10}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 1_000}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unlimited: true}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unlimited: yes, requests_per_unit: 5}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unlimited: true, unit: fortnight}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    shadow_mode: true\n    quota_mode: off\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    detailed_metric: true\n    value_to_metric: True\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value: v*\n    share_threshold: true\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k*\n    share_threshold: true\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    value: v\n    share_threshold: false\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, name: n, replaces: [{name: m}]}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: []}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: ~}\n", NULL},
    {"domain: a\ndescriptors:\n  - {key: k, value: a}\n  - {key: k, value: b}\n  - key: k\n", NULL},
    {"domain: a\ndescriptors:\n  - {key: k}\n  - {key: K}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    metadata: {owner: [x, 1.5, {y: z}], 7: 8}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, metadata: {tally: {}}}\n", NULL},
    {"domain: a\ndescriptors:\n  - &x {key: k, rate_limit: &r {unit: day}}\n  - {key: l, rate_limit: *r}\n",
     NULL},
    {"domain: a\ndomain: b\n", NULL},
    {"domain: a\n---\ndomain: b\ndescriptors: 7\n", NULL},
    /* ours */
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {algorithm: sliding_window}}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE
     "    metadata: {tally: {algorithm: token_bucket, burst: 5}}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {window: 10s}}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE
     "    metadata: {tally: {mode: 'capped: 3', on_partition: open}}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {mode: {capped: 3}}}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {mode: {capped: 0}}}\n",
     "f: metadata.tally.mode at line 5: not valid; metadata.tally: algorithm, window (10s), burst, mode, on_partition "
     "or charge (all, admitted) was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {mode: {capped: 3, hard: 4}}}\n",
     "f: metadata.tally.mode at line 5: not valid; metadata.tally: algorithm, window (10s), burst, mode, on_partition "
     "or charge (all, admitted) was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE
     "    metadata: {tally: {on_partition: share, mode: {capped: 3}}}\n",
     "f: metadata of 'a.k': on_partition: closed or open goes with mode: capped"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {mode: hard}}\n",
     "f: metadata of 'a.k': algorithm: concurrency and counter, and mode: hard, are for limits with a name"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE
     "    metadata: {tally: {algorithm: concurrency, window: 10s}}\n",
     "f: metadata of 'a.k': algorithm: concurrency and counter, and mode: hard, are for limits with a name"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {algorithm: quota, window: 1mo}}\n",
     NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {window: 1mo}}\n",
     "f: metadata of 'a.k': a month or a year goes with algorithm: quota only"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {charge: admitted}}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {charge: all}}\n", NULL},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {charge: some}}\n",
     "f: metadata.tally.charge at line 5: not valid; metadata.tally: algorithm, window (10s), burst, mode, "
     "on_partition or charge (all, admitted) was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {algorithm: leaky}}\n",
     "f: metadata.tally.algorithm at line 5: not valid; metadata.tally: algorithm, window (10s), burst, mode, "
     "on_partition or charge (all, admitted) was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {colour: blue}}\n",
     "f: metadata.tally.colour at line 5: not valid; metadata.tally: algorithm, window (10s), burst, mode, on_partition "
     "or charge (all, admitted) was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: 7}\n",
     "f: metadata.tally: a map was expected"},
    {"domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {burst: 5}}\n",
     "f: metadata of 'a.k': burst goes with algorithm: token_bucket only"},
    /* no domain */
    {"", "f: config file cannot have empty domain"},
    {"# nothing\n", "f: config file cannot have empty domain"},
    {"~\n", "f: config file cannot have empty domain"},
    {"domain:\n", "f: config file cannot have empty domain"},
    {"domain: ''\n", "f: config file cannot have empty domain"},
    {"descriptors: []\n", "f: config file cannot have empty domain"},
    /* keys */
    {"domain: a\ncolour: blue\n", "f: config error, unknown key 'colour'"},
    {"Domain: a\n", "f: config error, unknown key 'Domain'"},
    {"domain: a\ndescriptors:\n  - key: k\n    ratelimit: {}\n", "f: config error, unknown key 'ratelimit'"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {units: day}\n",
     "f: config error, unknown key 'units'"},
    {"domain: a\n7: b\n", "f: config error, key is not of type string: 7"},
    {"domain: a\ntrue: b\n", "f: config error, key is not of type string: true"},
    {"domain: a\n~: b\n", "f: config error, key is not of type string: <nil>"},
    {"domain: a\n1.5: b\n", "f: config error, key is not of type string: 1.5"},
    {"domain: a\n'7': b\n", "f: config error, unknown key '7'"},
    /* lists */
    {"domain: a\ndescriptors: [x]\n", "f: config error, yaml file contains list of type other than map: x"},
    {"domain: a\ndescriptors: [7]\n", "f: config error, yaml file contains list of type other than map: 7"},
    {"domain: a\ndescriptors: [~]\n",
     "f: config error, yaml file contains list of type other than map: <nil>"},
    {"domain: a\ndescriptors: [[]]\n", "f: config error, yaml file contains list of type other than map: []"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: [m]}\n",
     "f: config error, yaml file contains list of type other than map: m"},
    /* kinds */
    {"domain: 1.5\n", "f: error checking config"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 1.5}\n",
     "f: error checking config"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: .inf}\n",
     "f: error checking config"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 99999999999999999999}\n",
     "f: error checking config"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: many}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!str `many` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: as-many-as-you-like}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!str `as-many...` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: -1}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!int `-1` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 4294967296}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!int `4294967296` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: '5'}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!str `5` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: true}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!bool `true` into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: {}}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!map into uint32"},
    {"domain: a\ndescriptors:\n  - key: k\n    shadow_mode: 1\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!int `1` into bool"},
    {"domain: a\ndescriptors:\n  - key: k\n    shadow_mode: maybe\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!str `maybe` into bool"},
    {"domain: {}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 1: cannot unmarshal !!map into string"},
    {"domain: []\n",
     "f: error loading config file: yaml: unmarshal errors:   line 1: cannot unmarshal !!seq into string"},
    {"domain: a\ndescriptors: {}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 2: cannot unmarshal !!map into []config.YamlDescriptor"},
    {"domain: a\ndescriptors: k\n",
     "f: error loading config file: yaml: unmarshal errors:   line 2: cannot unmarshal !!str `k` into "
     "[]config.YamlDescriptor"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: 5\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!int `5` into config.YamlRateLimit"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: m}\n",
     "f: error loading config file: yaml: unmarshal errors:   line 4: cannot unmarshal !!str `m` into "
     "[]config.yamlReplaces"},
    {"- domain: a\n",
     "f: error loading config file: yaml: unmarshal errors:   line 1: cannot unmarshal !!seq into "
     "map[interface {}]interface {}"},
    {"a\n", "f: error loading config file: yaml: unmarshal errors:   line 1: cannot unmarshal !!str `a` into "
            "map[interface {}]interface {}"},
    {"domain: [a\n", "f: error loading config file: yaml: line 1: did not find expected ',' or ']'"},
    {"domain: a\n descriptors: b\n",
     "f: error loading config file: yaml: line 2: mapping values are not allowed in this context"},
    {"domain: \"a\n", "f: error loading config file: yaml: line 2: found unexpected end of stream"},
    /* descriptors */
    {"domain: a\ndescriptors:\n  - value: v\n", "f: descriptor has empty key"},
    {"domain: a\ndescriptors:\n  - {key: ''}\n", "f: descriptor has empty key"},
    {"domain: a\ndescriptors:\n  - key: k\n    descriptors:\n      - {value: v}\n",
     "f: descriptor has empty key"},
    {"domain: a\ndescriptors:\n  - key: k\n  - key: k\n", "f: duplicate descriptor composite key 'a.k'"},
    {"domain: a\ndescriptors:\n  - {key: k, value: v}\n  - {key: k, value: v}\n",
     "f: duplicate descriptor composite key 'a.k_v'"},
    {"domain: a\ndescriptors:\n  - {key: k_v}\n  - {key: k, value: v}\n",
     "f: duplicate descriptor composite key 'a.k_v'"},
    {"domain: a\ndescriptors:\n  - key: k\n    descriptors:\n      - key: l\n      - key: l\n",
     "f: duplicate descriptor composite key 'a.k.l'"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: fortnight}\n",
     "f: invalid rate limit unit 'fortnight'"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: seconds}\n",
     "f: invalid rate limit unit 'seconds'"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: unknown}\n",
     "f: invalid rate limit unit 'unknown'"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {requests_per_unit: 5}\n",
     "f: invalid rate limit unit ''"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {}\n", "f: invalid rate limit unit ''"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unlimited: true, unit: day}\n",
     "f: should not specify rate limit unit when unlimited"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: [{name: ''}]}\n",
     "f: should not have an empty replaces entry"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, replaces: [{}]}\n",
     "f: should not have an empty replaces entry"},
    {"domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, name: n, replaces: [{name: n}]}\n",
     "f: replaces should not contain name of same descriptor"},
    {"domain: a\ndescriptors:\n  - key: k\n    value: v\n    share_threshold: true\n",
     "f: share_threshold can only be used with wildcard values (ending with '*'), but found key 'k_v'"},
    {"domain: a\ndescriptors:\n  - key: k\n    share_threshold: true\n",
     "f: share_threshold can only be used with wildcard values (ending with '*'), but found key 'k'"},
};

static bool load(struct tly_rls_config **config, const char *yaml, struct tly_rls_error *error)
{
    struct tly_mem mem = test_mem();
    *config = tly_rls_config_new(&mem);
    assert_non_null(*config);
    bool good = tly_rls_yaml_load(*config, "f", tly_slice_text(yaml), false, error);
    if (good) return true;
    tly_rls_config_free(*config);
    *config = NULL;
    return false;
}

static void files_load_or_say_why_not(void **state)
{
    for (size_t i = 0; i < COUNT(loads); i++, cases++) {
        struct tly_rls_config *config;
        struct tly_rls_error error = {""};
        bool good = load(&config, loads[i].yaml, &error);
        if (good != (loads[i].error == NULL))
            fail_msg("case %zu: %s\n%s", i, good ? "it loads" : error.text, loads[i].yaml);
        if (!good) assert_string_equal(error.text, loads[i].error);
        tly_rls_config_free(config);
    }
    assert_int_equal(test_mem_live(), 0);
}

/* What on_partition is by default depends on the mode, and what was said does not depend on where. */
static void what_is_said_of_a_partition_counts_in_either_order(void **state)
{
    static const char *const says[] = {"mode: {capped: 3}, on_partition: open",
                                       "on_partition: open, mode: {capped: 3}"};
    for (size_t i = 0; i < COUNT(says); i++, cases++) {
        char yaml[256];
        struct tly_rls_config *config;
        struct tly_rls_error error = {""};
        (void)snprintf(yaml, sizeof yaml,
                       "domain: a\ndescriptors:\n  - key: k\n" RATE "    metadata: {tally: {%s}}\n", says[i]);
        assert_true(load(&config, yaml, &error));
        const struct tly_rate *rate = &tly_rls_config_limit_at(config, 0)->rate;
        assert_true(rate->mode == TLY_CAPPED && rate->cap == 3 && rate->on_partition == TLY_PARTITION_OPEN);
        tly_rls_config_free(config);
    }
}

static void domains_are_merged_when_that_is_wanted(void **state)
{
    struct tly_rls_config *config;
    struct tly_rls_error error;
    struct tly_slice more = tly_slice_text("domain: a\ndescriptors: [{key: l}]\n");
    assert_true(load(&config, "domain: a\ndescriptors: [{key: k}]\n", &error));
    assert_false(tly_rls_yaml_load(config, "g", more, false, &error));
    assert_string_equal(error.text, "g: duplicate domain 'a' in config file");
    assert_true(tly_rls_yaml_load(config, "g", more, true, &error));
    assert_int_equal(tly_rls_config_domain_count(config), 1);
    assert_int_equal(tly_rls_config_rule_count(config), 2);
    assert_false(tly_rls_yaml_load(config, "h", more, true, &error));
    assert_string_equal(error.text, "h: duplicate descriptor composite key 'a.l'");
    tly_rls_config_free(config);
    cases += 3;
}

/* ---- matching ---- */

#define LIMIT(n) "rate_limit: {unit: hour, requests_per_unit: " #n "}"

static const char rules[] =
    "domain: d\n"
    "descriptors:\n"
    "  - {key: a, " LIMIT(
        1) "}\n"
           "  - {key: a, value: x, " LIMIT(
               2) "}\n"
                  "  - {key: a, value: 'x*', " LIMIT(
                      3) "}\n"
                         "  - {key: a, value: 'xy*', " LIMIT(
                             4) "}\n"
                                "  - {key: b, value: 'v*', " LIMIT(
                                    5) "}\n"
                                       "  - key: c\n"
                                       "    descriptors:\n"
                                       "      - {key: d, " LIMIT(
                                           6) "}\n"
                                              "      - {key: d, value: 1, " LIMIT(
                                                  7) "}\n"
                                                     "  - key: c\n"
                                                     "    value: deep\n"
                                                     "    " LIMIT(
                                                         8) "\n"
                                                            "    descriptors:\n"
                                                            "      - {key: e, " LIMIT(
                                                                9) "}\n"
                                                                   "      - key: f\n"
                                                                   "        descriptors: [{key: g, value: 'z*', " LIMIT(
                                                                       10) "}]\n"
                                                                           "  - {key: empty}\n"
                                                                           "  - {key: 'w*', " LIMIT(
                                                                               11) "}\n"
                                                                                   "  - {key: det, detailed_metric: true, " LIMIT(
                                                                                       12) "}\n"
                                                                                           "  - {key: vm, value_to_metric: true, " LIMIT(
                                                                                               13) "}\n"
                                                                                                   "  - {key: vw, value: 'p*', value_to_metric: true, " LIMIT(
                                                                                                       14) "}\n"
                                                                                                           "  - {key: sh, value: 's*', share_threshold: true, " LIMIT(
                                                                                                               15) "}\n"
                                                                                                                   "  - {key: sd, value: 's*', share_threshold: true, detailed_metric: true, " LIMIT(
                                                                                                                       16) "}\n"
                                                                                                                           "  - key: sv\n"
                                                                                                                           "    value: 's*'\n"
                                                                                                                           "    share_threshold: true\n"
                                                                                                                           "    value_to_metric: true\n"
                                                                                                                           "    descriptors: [{key: in, value_to_metric: true, " LIMIT(
                                                                                                                               17) "}]\n"
                                                                                                                                   "  - key: dn\n"
                                                                                                                                   "    descriptors: [{key: in, detailed_metric: true, " LIMIT(
                                                                                                                                       18) "}]\n"
                                                                                                                                           "  - {key: k_with, value: under_score, " LIMIT(
                                                                                                                                               19) "}\n"
                                                                                                                                                   "  - {key: num, value: 7, " LIMIT(
                                                                                                                                                       20) "}\n"
                                                                                                                                                           "  - {key: n, value: 'q*', descriptors: [{key: in, " LIMIT(
                                                                                                                                                               21) "}]}\n";

struct match {
    const char *entries; /* "key=value,key=value" */
    uint32_t limit;      /* 0: none is found */
    const char *metric;
};

static const struct match matches[] = {
    {"a=", 1, "d.a"},
    {"a=y", 1, "d.a"},
    {"a=x", 2, "d.a_x"},
    {"a=X", 1, "d.a"},
    {"a=xy", 3, "d.a_x*"}, /* the first that fits, in the order of the file */
    {"a=xyz", 3, "d.a_x*"},
    {"a=x*", 3, "d.a_x*"},
    {"A=x", 0, NULL},
    {"a=x,b=v", 0, NULL},
    {"b=v", 5, "d.b_v*"},
    {"b=vv", 5, "d.b_v*"},
    {"b=", 0, NULL},
    {"b=w", 0, NULL},
    {"c=q", 0, NULL},
    {"c=q,d=", 6, "d.c.d"},
    {"c=q,d=2", 6, "d.c.d"},
    {"c=q,d=1", 7, "d.c.d_1"},
    {"c=,d=1", 7, "d.c.d_1"},
    {"c=q,d=1,e=1", 0, NULL},
    {"c=q,e=1", 0, NULL},
    {"d=1", 0, NULL},
    {"c=deep", 8, "d.c_deep"},
    {"c=deep,e=1", 9, "d.c_deep.e"},
    {"c=deep,d=1", 0, NULL},
    {"c=deep,f=1", 0, NULL},
    {"c=deep,f=1,g=z", 10, "d.c_deep.f.g_z*"},
    {"c=deep,f=1,g=zz", 10, "d.c_deep.f.g_z*"},
    {"c=deep,f=1,g=y", 0, NULL},
    {"c=deep,f=,g=z1,h=", 0, NULL},
    {"empty=", 0, NULL},
    {"empty=x", 0, NULL},
    {"empty=x,a=x", 0, NULL},
    {"w=", 11, "d.w_w*"},
    {"wide=x", 11, "d.wide_w*"},
    {"w*=", 11, "d.w*_w*"},
    {"v=w", 0, NULL},
    {"det=1", 12, "d.det_1"},
    {"det=2", 12, "d.det_2"},
    {"det=", 12, "d.det_"},
    {"vm=1", 13, "d.vm_1"},
    {"vm=", 13, "d.vm"},
    {"vw=p1", 14, "d.vw_p1"},
    {"vw=p", 14, "d.vw_p"},
    {"vw=q", 0, NULL},
    {"sh=s1", 15, "d.sh_s*"},
    {"sh=s2", 15, "d.sh_s*"},
    {"sh=t", 0, NULL},
    {"sd=s1", 16, "d.sd_s*"},
    {"sv=s1,in=1", 17, "d.sv_s*.in_1"},
    {"sv=s2,in=", 17, "d.sv_s*.in"},
    {"dn=1,in=2", 18, "d.dn_1.in_2"},
    {"k_with=under_score", 19, "d.k_with_under_score"},
    {"k=with_under_score", 19, "d.k_with_under_score"}, /* the composite is one text, as it is there */
    {"k_with_under=score", 19, "d.k_with_under_score"},
    {"k=with", 0, NULL},
    {"num=7", 20, "d.num_7"},
    {"num=8", 0, NULL},
    {"n=q1,in=2", 21, "d.n_q*.in"},
    {"n=r,in=2", 0, NULL},
    {"", 0, NULL},
};

/* Reads "key=value,key=value". */
static void read_entries(const char *text, struct tly_rls_entry *entry, struct tly_rls_descriptor *descriptor)
{
    *descriptor = (struct tly_rls_descriptor){.entry = entry};
    while (*text != '\0') {
        size_t key = strcspn(text, "="), value = strcspn(text + key + 1, ",");
        entry[descriptor->entry_count++] =
            (struct tly_rls_entry){tly_slice_of(text, key), tly_slice_of(text + key + 1, value)};
        text += key + 1 + value;
        text += *text == ',';
    }
}

static void check_match(const struct tly_rls_config *config, const struct match *expected,
                        struct tly_buf *metric)
{
    struct tly_rls_entry entry[8];
    struct tly_rls_descriptor descriptor;
    struct tly_rls_match match;
    read_entries(expected->entries, entry, &descriptor);
    tly_rls_config_find(config, tly_slice_text("d"), &descriptor, &match);
    assert_true(match.is_domain_known);
    if ((match.limit != NULL ? match.limit->requests_per_unit : 0) != expected->limit)
        fail_msg("'%s' finds %u", expected->entries,
                 match.limit != NULL ? match.limit->requests_per_unit : 0);
    if (match.limit == NULL) return;
    tly_buf_clear(metric);
    if (match.is_metric_plain)
        tly_buf_put(metric, match.limit->full_key.p, match.limit->full_key.n);
    else
        tly_rls_metric_put(&match, tly_slice_text("d"), &descriptor, metric);
    tly_buf_put(metric, "", 1);
    if (match.is_metric_plain && match.limit->requests_per_unit == 11)
        return; /* key and pattern are one text */
    if (strcmp((const char *)metric->p, expected->metric) != 0)
        fail_msg("'%s' is measured as %s", expected->entries, (const char *)metric->p);
}

static void requests_find_their_limits(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_rls_config *config;
    struct tly_rls_error error;
    struct tly_buf metric;
    if (!load(&config, rules, &error)) fail_msg("%s", error.text);
    tly_buf_init(&metric, &mem, 4096);
    for (size_t i = 0; i < COUNT(matches); i++, cases++)
        check_match(config, &matches[i], &metric);
    struct tly_rls_match match;
    struct tly_rls_descriptor none = {0};
    tly_rls_config_find(config, tly_slice_text("e"), &none, &match);
    assert_false(match.is_domain_known);
    assert_null(match.limit);
    tly_buf_fini(&metric);
    tly_rls_config_free(config);
}

/* ---- counters ---- */

struct identity {
    const char *a, *b; /* domain, and entries */
    bool same;
};

static const struct identity identities[] = {
    {"d|a=x", "d|a=x", true},
    {"d|a=x", "e|a=x", false},
    {"d|a=x", "d|a=y", false},
    {"d|a=x", "d|b=x", false},
    {"d|a=x", "d|a=X", false},
    {"d|a=", "d|a=", true},
    {"d|a=x,b=y", "d|a=x,b=y", true},
    {"d|a=x,b=y", "d|b=y,a=x", false},
    {"d|a=x,b=y", "d|a=x", false},
    {"d|a=x:b", "d|a=x,b=", false},
    {"d:a|b=x", "d|a=b:x", false},
    {"d|a=%3A", "d|a=:", false},
    {"d|a=b_c", "d|a_b=c", false},
    {"d|sh=s1", "d|sh=s2", true},  /* by share_threshold */
    {"d|vw=p1", "d|vw=p2", false}, /* a wildcard alone shares nothing */
    {"d|sv=s1,in=1", "d|sv=s2,in=1", true},
    {"d|sv=s1,in=1", "d|sv=s1,in=2", false},
    {"d|sd=s", "d|sd=s*", false}, /* exactly the pattern is no wildcard match */
};

static struct tly_slice key_of(const struct tly_rls_config *config, const char *text,
                               uint8_t out[TLY_KEY_BYTES_MAX])
{
    size_t n = strcspn(text, "|");
    struct tly_rls_entry entry[8];
    struct tly_rls_descriptor descriptor;
    struct tly_rls_match match;
    read_entries(text + n + 1, entry, &descriptor);
    tly_rls_config_find(config, tly_slice_of(text, n), &descriptor, &match);
    return tly_rls_key("", tly_slice_of(text, n), &descriptor, match.has_shared ? match.shared : NULL, out);
}

static void counters_are_told_apart(void **state)
{
    struct tly_rls_config *config;
    struct tly_rls_error error;
    if (!load(&config, rules, &error)) fail_msg("%s", error.text);
    for (size_t i = 0; i < COUNT(identities); i++, cases++) {
        uint8_t a[TLY_KEY_BYTES_MAX], b[TLY_KEY_BYTES_MAX];
        bool same = tly_slice_equal(key_of(config, identities[i].a, a), key_of(config, identities[i].b, b));
        if (i + 1 == COUNT(identities))
            assert_true(same); /* the value that is the pattern names what the pattern shares */
        else if (same != identities[i].same)
            fail_msg("%s and %s", identities[i].a, identities[i].b);
    }
    tly_rls_config_free(config);
}

static void long_descriptors_have_counters_too(void **state)
{
    char values[2][2048];
    uint8_t key[3][TLY_KEY_BYTES_MAX];
    memset(values, 'x', sizeof values);
    values[1][2047] = 'y';
    struct tly_slice made[3];
    for (size_t i = 0; i < 3; i++) {
        const char *value = values[i % 2];
        struct tly_rls_entry entry = {tly_slice_text("path"), tly_slice_of(value, sizeof values[0])};
        struct tly_rls_descriptor descriptor = {.entry = &entry, .entry_count = 1};
        made[i] = tly_rls_key("", tly_slice_text("d"), &descriptor, NULL, key[i]);
        assert_int_equal(made[i].n, 34);
    }
    assert_false(tly_slice_equal(made[0], made[1]));
    assert_true(tly_slice_equal(made[0], made[2]));
}

static void there_are_as_many_cases_as_promised(void **state)
{
    assert_true(cases >= 190);
}

static void what_is_loaded_is_shown(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_rls_config *config;
    struct tly_rls_error error;
    struct tly_buf out;
    assert_true(load(&config,
                     "domain: a\ndescriptors:\n  - {key: k, value: v, shadow_mode: true, " LIMIT(
                         5) "}\n"
                            "  - {key: u, rate_limit: {unlimited: true}}\n",
                     &error));
    tly_buf_init(&out, &mem, 4096);
    tly_rls_config_dump(config, &out);
    tly_buf_put(&out, "", 1);
    assert_string_equal((const char *)out.p, "a.k_v: unit=HOUR requests_per_unit=5, shadow_mode: true\n"
                                             "a.u: unit=UNKNOWN requests_per_unit=0, shadow_mode: false\n");
    tly_buf_fini(&out);
    tly_rls_config_free(config);
}

/* ---- hostile files ---- */

static void expect_refused(const char *yaml, const char *why)
{
    struct tly_rls_config *config;
    struct tly_rls_error error;
    assert_false(load(&config, yaml, &error));
    if (strstr(error.text, why) == NULL) fail_msg("%s", error.text);
}

static void aliases_that_multiply_come_to_an_end(void **state)
{
    char yaml[4096];
    size_t n = (size_t)snprintf(yaml, sizeof yaml, "domain: a\ndescriptors:\n  - &l0 {key: k0}\n");
    for (int i = 1; i < 14; i++) {
        n += (size_t)snprintf(yaml + n, sizeof yaml - n, "  - &l%d {key: k%d, descriptors: [", i, i);
        for (int j = 0; j < 8; j++)
            n += (size_t)snprintf(yaml + n, sizeof yaml - n, "%s*l%d", j > 0 ? ", " : "", i - 1);
        n += (size_t)snprintf(yaml + n, sizeof yaml - n, "]}\n");
    }
    expect_refused(yaml, "too many values");
}

static void an_alias_of_itself_comes_to_an_end(void **state)
{
    expect_refused("domain: a\ndescriptors: [&x {key: k, descriptors: [*x]}]\n", "nested too deep");
}

static void what_is_deep_is_refused(void **state)
{
    char yaml[4096];
    size_t n = (size_t)snprintf(yaml, sizeof yaml, "domain: a\ndescriptors: ");
    for (int i = 0; i < TLY_RLS_DEPTH_MAX + 1; i++)
        n += (size_t)snprintf(yaml + n, sizeof yaml - n, "[{key: k, descriptors: ");
    n += (size_t)snprintf(yaml + n, sizeof yaml - n, "[]");
    for (int i = 0; i < TLY_RLS_DEPTH_MAX + 1; i++)
        n += (size_t)snprintf(yaml + n, sizeof yaml - n, "}]");
    expect_refused(yaml, "more than 16 descriptors in each other");
    memset(yaml, '[', 200);
    yaml[200] = '\0';
    expect_refused(yaml, "nested too deep");
}

/* A text of this many bytes: head, and a comment. */
static void expect_long(const char *head, size_t n, const char *why)
{
    char *yaml = malloc(n + 1);
    assert_non_null(yaml);
    memset(yaml, '#', n);
    memcpy(yaml, head, strlen(head));
    yaml[n] = '\0';
    struct tly_rls_config *config;
    struct tly_rls_error error = {""};
    bool good = load(&config, yaml, &error);
    assert_int_equal(good, why == NULL);
    if (why != NULL) assert_string_equal(error.text, why);
    tly_rls_config_free(config);
    free(yaml);
}

static void what_is_long_is_refused(void **state)
{
    static char yaml[TLY_RLS_REPLACES_MAX * 16 + 256];
    expect_long("domain: a\n", TLY_RLS_FILE_BYTES_MAX, NULL);
    expect_long("domain: a\n", TLY_RLS_FILE_BYTES_MAX + 1, "f: error loading config file: larger than 1 MiB");
    for (size_t count = TLY_RLS_REPLACES_MAX; count <= TLY_RLS_REPLACES_MAX + 1; count++) {
        struct tly_rls_config *config;
        struct tly_rls_error error = {""};
        size_t n = (size_t)snprintf(
            yaml, sizeof yaml, "domain: a\ndescriptors:\n  - {key: k, rate_limit: {unit: day, replaces: [");
        for (size_t i = 0; i < count; i++)
            n += (size_t)snprintf(yaml + n, sizeof yaml - n, "%s{name: n}", i > 0 ? ", " : "");
        (void)snprintf(yaml + n, sizeof yaml - n, "]}}\n");
        assert_int_equal(load(&config, yaml, &error), count == TLY_RLS_REPLACES_MAX);
        if (config == NULL) assert_string_equal(error.text, "f: more than 64 replaces");
        tly_rls_config_free(config);
    }
}

/* As many descriptors as there may be, and one more; a file of that many has too many values, so they are added one by one. */
static void there_are_so_many_descriptors(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_rls_config *config = tly_rls_config_new(&mem);
    struct tly_rls_error error = {""};
    struct tly_rls_node *domain = tly_rls_config_domain(config, "f", tly_slice_text("a"), false, &error);
    static struct tly_rls_spec spec;
    char key[16];
    assert_non_null(domain);
    for (size_t i = 0; i < TLY_RLS_RULES_MAX; i++) {
        (void)snprintf(key, sizeof key, "k%06zu", i);
        spec.key = tly_slice_text(key);
        assert_non_null(tly_rls_config_add(config, "f", domain, &spec, &error));
    }
    spec.key = tly_slice_text("one more");
    assert_null(tly_rls_config_add(config, "f", domain, &spec, &error));
    assert_string_equal(error.text, "f: more than 65536 descriptors");
    assert_int_equal(tly_rls_config_rule_count(config), TLY_RLS_RULES_MAX);
    tly_rls_config_free(config);
}

static void no_memory_is_an_error_like_others(void **state)
{
    struct tly_rls_error error;
    bool good = false;
    for (size_t n = 0; !good; n++) {
        struct test_failing failing = {.countdown = n};
        struct tly_mem mem = test_failing_mem(&failing);
        struct tly_rls_config *config = tly_rls_config_new(&mem);
        good = config != NULL && tly_rls_yaml_load(config, "f", tly_slice_text(rules), false, &error);
        assert_true(good || failing.failed);
        if (!good && config != NULL) assert_string_equal(error.text, "f: out of memory");
        tly_rls_config_free(config);
        assert_int_equal(test_mem_live(), 0);
        if (good) assert_true(n > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_load_or_say_why_not),
        cmocka_unit_test(what_is_said_of_a_partition_counts_in_either_order),
        cmocka_unit_test(domains_are_merged_when_that_is_wanted),
        cmocka_unit_test(requests_find_their_limits),
        cmocka_unit_test(counters_are_told_apart),
        cmocka_unit_test(there_are_as_many_cases_as_promised),
        cmocka_unit_test(long_descriptors_have_counters_too),
        cmocka_unit_test(what_is_loaded_is_shown),
        cmocka_unit_test(aliases_that_multiply_come_to_an_end),
        cmocka_unit_test(an_alias_of_itself_comes_to_an_end),
        cmocka_unit_test(what_is_deep_is_refused),
        cmocka_unit_test(what_is_long_is_refused),
        cmocka_unit_test(there_are_so_many_descriptors),
        cmocka_unit_test(no_memory_is_an_error_like_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
