/* The limits of tally.yaml. */
#include "service/shell/config_yaml.h"
#include "service/shell/zonefile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool take_name(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a name of 1 to 64 bytes";
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    bool fits = text[0] != '\0' && strlcpy(rule->name, text, sizeof rule->name) < sizeof rule->name;
    return fits || tly_yaml_expect(loader, value, expected);
}

static const char field_form[] = "a field name of 1 to 64 bytes";
static const char fields_form[] = "a field name, or a list of them such as [tenant, route]";

static bool add_field(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *node)
{
    const char *text = tly_yaml_text(loader, node, field_form);
    if (text == NULL) return false;
    if (rule->field_count == TLY_RULE_FIELDS_MAX)
        return tly_yaml_expect(loader, node, "at most 8 fields in a key");
    char *field = rule->field[rule->field_count];
    if (text[0] == '\0' || strlcpy(field, text, sizeof rule->field[0]) >= sizeof rule->field[0])
        return tly_yaml_expect(loader, node, field_form);
    for (size_t i = 0; i < rule->field_count; i++)
        if (strcmp(rule->field[i], field) == 0)
            return tly_yaml_expect(loader, node, "every field of a key once");
    rule->field_count++;
    return true;
}

static bool take_key(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    rule->field_count = 0;
    if (value->type == YAML_SCALAR_NODE) {
        /* A field that no check gives would be one count for everybody. */
        if (strpbrk((const char *)value->data.scalar.value, ", \t\n") != NULL)
            return tly_yaml_expect(loader, value, fields_form);
        return add_field(loader, rule, value);
    }
    if (value->type != YAML_SEQUENCE_NODE) return tly_yaml_expect(loader, value, fields_form);
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++)
        if (!add_field(loader, rule, tly_yaml_node(loader, *item))) return false;
    return true;
}

static bool take_rate(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] =
        "units/window, such as 100/10s, 5/m, 1000/500ms or, for a quota, 1000000/mo (1 ms to 366 days)";
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    if (tly_rate_parse(tly_slice_text(text), &rule->rate) == TLY_OK) return true;
    return tly_yaml_expect(loader, value, expected);
}

static bool take_algorithm(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    char expected[200];
    snprintf(expected, sizeof expected, "one of: %s", tly_algorithm_names());
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    return tly_algorithm_parse(tly_slice_text(text), &rule->rate.algorithm) ||
           tly_yaml_expect(loader, value, expected);
}

static bool take_zone(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a time zone that this machine has a file of, such as Europe/Berlin";
    const char *text = tly_yaml_text(loader, value, expected);
    struct tly_zone *zone;
    if (text == NULL) return false;
    loader->zone = value;
    rule->rate.zone = tly_rules_zone(loader->rules, text);
    if (rule->rate.zone != NULL) return true;
    enum tly_result result = tly_zonefile_read(loader->mem, text, &zone);
    if (result == TLY_OK) rule->rate.zone = tly_rules_keep_zone(loader->rules, text, zone);
    if (rule->rate.zone != NULL) return true;
    return result == TLY_OK || result == TLY_NOMEM ? tly_yaml_fail(loader, value, tly_result_text(TLY_NOMEM))
                                                   : tly_yaml_expect(loader, value, expected);
}

static bool take_shadow(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    const char *text = tly_yaml_text(loader, value, "true or false");
    if (text == NULL) return false;
    rule->shadow = strcmp(text, "true") == 0;
    return rule->shadow || strcmp(text, "false") == 0 || tly_yaml_expect(loader, value, "true or false");
}

static const char mode_form[] = "optimistic, hard, or a map {capped: UNITS} with at least 1";

/* The one pair of a map is read as it would be written in a text. */
static bool mode_text(struct tly_loader *loader, const yaml_node_t *value, char text[64])
{
    const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
    if (value->data.mapping.pairs.top != pair + 1) return tly_yaml_expect(loader, value, mode_form);
    const char *name = tly_yaml_text(loader, tly_yaml_node(loader, pair->key), mode_form);
    const char *units =
        name != NULL ? tly_yaml_text(loader, tly_yaml_node(loader, pair->value), mode_form) : NULL;
    if (units == NULL) return false;
    return snprintf(text, 64, "%s: %s", name, units) < 64 || tly_yaml_expect(loader, value, mode_form);
}

static bool take_mode(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    char map[64];
    const char *text = map;
    if (value->type == YAML_MAPPING_NODE) {
        if (!mode_text(loader, value, map)) return false;
    } else {
        text = tly_yaml_text(loader, value, mode_form);
        if (text == NULL) return false;
    }
    return tly_mode_parse(tly_slice_text(text), &rule->rate) == TLY_OK ||
           tly_yaml_expect(loader, value, mode_form);
}

/* What it may be, and is when it is not said, depends on the mode: it is looked at last. */
static bool take_on_partition(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    (void)rule;
    loader->on_partition = value;
    return true;
}

static bool set_on_partition(struct tly_loader *loader, struct tly_rule *rule)
{
    const yaml_node_t *value = loader->on_partition;
    bool capped = rule->rate.mode == TLY_CAPPED;
    const char *expected = capped ? "closed or open" : "open, share or closed";
    if (value == NULL) return true;
    if (rule->rate.mode == TLY_HARD)
        return tly_yaml_fail(loader, value,
                             "on_partition goes with optimistic and capped only: a hard limit holds anyhow");
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    bool known = tly_on_partition_parse(tly_slice_text(text), &rule->rate.on_partition);
    if (capped && rule->rate.on_partition == TLY_PARTITION_SHARE) known = false;
    return known || tly_yaml_expect(loader, value, expected);
}

static const char number_form[] = "a whole number, at least 1";

static bool take_number(struct tly_loader *loader, const yaml_node_t *value, const char *expected,
                        uint64_t *number)
{
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    bool good = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number >= 1 &&
                *number <= INT64_MAX;
    return good || tly_yaml_expect(loader, value, expected);
}

static bool take_burst(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    return take_number(loader, value, "a whole number of units, at least 1", &rule->rate.burst);
}

/* They are set together once it is known that it is a counter. */
static bool take_min(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a whole number, 0 or less";
    const char *text = tly_yaml_text(loader, value, expected);
    if (text == NULL) return false;
    char *end;
    errno = 0;
    rule->rate.min = strtoll(text, &end, 10);
    loader->min = value;
    bool is_number =
        (text[0] == '-' && text[1] >= '0' && text[1] <= '9') || (text[0] >= '0' && text[0] <= '9');
    bool good = is_number && *end == '\0' && errno == 0 && rule->rate.min <= 0 && rule->rate.min > INT64_MIN;
    return good || tly_yaml_expect(loader, value, expected);
}

static bool take_max(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    (void)rule;
    loader->max = value;
    return take_number(loader, value, number_form, &loader->most);
}

static bool set_bounds(struct tly_loader *loader, const yaml_node_t *node, struct tly_rate *rate)
{
    const yaml_node_t *bound = loader->max != NULL ? loader->max : loader->min;
    if (rate->algorithm != TLY_COUNTER)
        return bound == NULL || tly_yaml_fail(loader, bound, "min and max go with algorithm: counter only");
    if (rate->limit != 0)
        return tly_yaml_fail(loader, node, "a counter has no rate, but max and perhaps min");
    if (loader->max == NULL) return tly_yaml_fail(loader, node, "the counter has no max");
    rate->limit = loader->most;
    if (rate->mode != TLY_CAPPED && rate->on_partition != TLY_PARTITION_SHARE) return true;
    return tly_yaml_fail(
        loader, node,
        "algorithm: counter goes with mode: hard, or optimistic with on_partition: open or closed only");
}

static bool take_cardinality_max(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    uint64_t number;
    if (!take_number(loader, value, number_form, &number)) return false;
    rule->keys_max = (size_t)number;
    return true;
}

static bool take_match_pair(struct tly_loader *loader, void *into, const char *key, yaml_node_t *key_node,
                            yaml_node_t *value)
{
    static const char expected[] = "a value of 1 to 64 bytes, the begin of one and '*', or '*' for any";
    const char *text = tly_yaml_text(loader, value, expected);
    struct tly_rule *rule = into;
    if (text == NULL) return false;
    if (key[0] == '\0' || strlen(key) > TLY_FIELD_NAME_BYTES_MAX)
        return tly_yaml_expect(loader, key_node, field_form);
    if (rule->match_count == TLY_RULE_MATCHES_MAX)
        return tly_yaml_expect(loader, key_node, "at most 4 fields in match");
    return tly_rule_add_match(rule, key, text) || tly_yaml_expect(loader, value, expected);
}

static bool take_match(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    if (value->type != YAML_MAPPING_NODE)
        return tly_yaml_expect(loader, value,
                               "a map of fields and what they have to be, such as {plan: free}");
    loader->match = value;
    return tly_yaml_each_pair(loader, value, take_match_pair, rule);
}

static const struct {
    const char *key;
    bool (*take)(struct tly_loader *loader, struct tly_rule *rule, const yaml_node_t *value);
} rule_keys[] = {
    {"name", take_name},
    {"key", take_key},
    {"match", take_match},
    {"rate", take_rate},
    {"algorithm", take_algorithm},
    {"burst", take_burst},
    {"zone", take_zone},
    {"shadow", take_shadow},
    {"mode", take_mode},
    {"on_partition", take_on_partition},
    {"cardinality_max", take_cardinality_max},
    {"min", take_min},
    {"max", take_max},
};

static bool take_rule_pair(struct tly_loader *loader, void *into, const char *key, yaml_node_t *key_node,
                           yaml_node_t *value)
{
    for (size_t i = 0; i < sizeof rule_keys / sizeof rule_keys[0]; i++)
        if (strcmp(rule_keys[i].key, key) == 0) return rule_keys[i].take(loader, into, value);
    return tly_yaml_expect(
        loader, key_node,
        "a key of a limit: name, key, match, rate, algorithm, burst, zone, shadow, mode, on_partition, cardinality_max, min, max");
}

/* What goes with which algorithm. */
static bool fits_together(struct tly_loader *loader, const yaml_node_t *node, const struct tly_rate *rate)
{
    if (loader->zone != NULL && rate->algorithm != TLY_QUOTA)
        return tly_yaml_fail(loader, loader->zone, "zone goes with algorithm: quota only");
    const char *fault = tly_rate_fault(rate);
    return fault == NULL || tly_yaml_fail(loader, node, fault);
}

static bool take_limit(struct tly_loader *loader, const yaml_node_t *node)
{
    struct tly_rule rule = {.name = ""};
    loader->on_partition = loader->zone = loader->match = loader->min = loader->max = NULL;
    if (node->type != YAML_MAPPING_NODE)
        return tly_yaml_expect(loader, node,
                               "a limit: a map with name, rate and perhaps key, algorithm, burst, shadow");
    if (!tly_yaml_each_pair(loader, node, take_rule_pair, &rule) || !set_on_partition(loader, &rule))
        return false;
    if (rule.name[0] == '\0') return tly_yaml_fail(loader, node, "the limit has no name");
    if (!set_bounds(loader, node, &rule.rate)) return false;
    if (rule.rate.limit == 0) return tly_yaml_fail(loader, node, "the limit has no rate");
    if (tly_rules_find(loader->rules, tly_slice_text(rule.name)) != NULL)
        return tly_yaml_fail(loader, node, "another limit has this name");
    if (tly_rule_fields(&rule) > TLY_RULE_FIELDS_MAX)
        return tly_yaml_fail(loader, loader->match, "key and match together have at most 8 fields");
    if (!fits_together(loader, node, &rule.rate)) return false;
    enum tly_result result = tly_rules_add(loader->rules, &rule);
    if (result == TLY_FULL) return tly_yaml_fail(loader, node, "a limit too many; expected at most 4096");
    return result == TLY_OK || tly_yaml_fail(loader, node, tly_result_text(result));
}

bool tly_yaml_take_limits(struct tly_loader *loader, const yaml_node_t *value)
{
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0)
        return true; /* nothing behind the key */
    if (value->type != YAML_SEQUENCE_NODE) return tly_yaml_expect(loader, value, "a list of limits");
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++)
        if (!take_limit(loader, tly_yaml_node(loader, *item))) return false;
    return true;
}
