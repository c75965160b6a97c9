/*
 * tally.yaml: settings and limits, by libyaml.  The document is small and bounded, so it is loaded whole; every node carries
 * its place, and every error names it.
 */
#include "service/shell/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#define FILE_BYTES_MAX (1024L * 1024L)

struct loader {
    const char *path;
    yaml_document_t document;
    struct tly_config config;
    struct tly_rules *rules;
    struct tly_config_error *error;
};

/* "FILE:LINE:COLUMN: text", lines and columns from 1. */
static bool fail_at(const struct loader *loader, yaml_mark_t mark, const char *text)
{
    snprintf(loader->error->text, sizeof loader->error->text, "%.300s:%zu:%zu: %.600s", loader->path,
             mark.line + 1, mark.column + 1, text);
    return false;
}

static bool fail(const struct loader *loader, const yaml_node_t *node, const char *text)
{
    return fail_at(loader, node->start_mark, text);
}

static yaml_node_t *node_of(struct loader *loader, int index)
{
    return yaml_document_get_node(&loader->document, index);
}

/* A scalar's text, or NULL with the error set. */
static const char *text_of(const struct loader *loader, const yaml_node_t *node, const char *expected)
{
    char text[200];
    snprintf(text, sizeof text, "expected %s", expected);
    if (node->type != YAML_SCALAR_NODE ||
        strlen((const char *)node->data.scalar.value) != node->data.scalar.length) {
        (void)fail(loader, node, text);
        return NULL;
    }
    return (const char *)node->data.scalar.value;
}

/* ---- walking a map ---- */

typedef bool take_pair(struct loader *loader, void *into, const char *key, yaml_node_t *key_node,
                       yaml_node_t *value);

static bool is_repeated(struct loader *loader, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = node_of(loader, pair->key);
    for (const yaml_node_pair_t *earlier = map->data.mapping.pairs.start; earlier < pair; earlier++) {
        const yaml_node_t *other = node_of(loader, earlier->key);
        if (other->type == YAML_SCALAR_NODE &&
            strcmp((const char *)other->data.scalar.value, (const char *)key->data.scalar.value) == 0)
            return true;
    }
    return false;
}

static bool each_pair(struct loader *loader, const yaml_node_t *map, take_pair *take, void *into)
{
    const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    for (; pair < map->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = node_of(loader, pair->key);
        const char *key = text_of(loader, key_node, "a name as key");
        if (key == NULL) return false;
        if (is_repeated(loader, map, pair)) return fail(loader, key_node, "the key stands here twice");
        if (!take(loader, into, key, key_node, node_of(loader, pair->value))) return false;
    }
    return true;
}

/* ---- limits ---- */

static bool take_name(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a name of 1 to 64 bytes";
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    bool fits = text[0] != '\0' && strlcpy(rule->name, text, sizeof rule->name) < sizeof rule->name;
    return fits || fail(loader, value, "expected a name of 1 to 64 bytes");
}

static bool add_field(struct loader *loader, struct tly_rule *rule, const yaml_node_t *node)
{
    const char *text = text_of(loader, node, "the name of a descriptor field");
    if (text == NULL) return false;
    if (rule->field_count == TLY_RULE_FIELDS_MAX) return fail(loader, node, "a key has at most 8 fields");
    char *field = rule->field[rule->field_count];
    if (text[0] == '\0' || strlcpy(field, text, sizeof rule->field[0]) >= sizeof rule->field[0])
        return fail(loader, node, "expected a field name of 1 to 64 bytes");
    for (size_t i = 0; i < rule->field_count; i++)
        if (strcmp(rule->field[i], field) == 0) return fail(loader, node, "the field stands here twice");
    rule->field_count++;
    return true;
}

static bool take_key(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    rule->field_count = 0;
    if (value->type == YAML_SCALAR_NODE) return add_field(loader, rule, value);
    if (value->type != YAML_SEQUENCE_NODE)
        return fail(loader, value, "expected a field name or a list of them");
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++)
        if (!add_field(loader, rule, node_of(loader, *item))) return false;
    return true;
}

static bool take_rate(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "units/window, such as 100/10s, 5/m or 1000/500ms";
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    if (tly_rate_parse(tly_slice_text(text), &rule->rate) == TLY_OK) return true;
    return fail(loader, value,
                "expected units/window, such as 100/10s, 5/m or 1000/500ms (1 ms to 366 days)");
}

static bool take_algorithm(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    char expected[200];
    snprintf(expected, sizeof expected, "expected one of: %s", tly_algorithm_names());
    const char *text = text_of(loader, value, "the name of an algorithm");
    if (text == NULL) return false;
    return tly_algorithm_parse(tly_slice_text(text), &rule->rate.algorithm) || fail(loader, value, expected);
}

static bool take_burst(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    const char *text = text_of(loader, value, "a whole number of units");
    if (text == NULL) return false;
    char *end;
    errno = 0;
    unsigned long long burst = strtoull(text, &end, 10);
    bool good =
        text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && burst >= 1 && burst <= INT64_MAX;
    rule->rate.burst = burst;
    return good || fail(loader, value, "expected a whole number of units, at least 1");
}

static bool take_shadow(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    const char *text = text_of(loader, value, "true or false");
    if (text == NULL) return false;
    rule->shadow = strcmp(text, "true") == 0;
    return rule->shadow || strcmp(text, "false") == 0 || fail(loader, value, "expected true or false");
}

static bool take_mode(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    (void)rule; /* the one mode there is is also what a rule has without this key */
    bool known =
        value->type == YAML_SCALAR_NODE && strcmp((const char *)value->data.scalar.value, "optimistic") == 0;
    return known || fail(loader, value, "this version has the mode optimistic only");
}

static const struct {
    const char *key;
    bool (*take)(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value);
} rule_keys[] = {
    {"name", take_name},   {"key", take_key},       {"rate", take_rate}, {"algorithm", take_algorithm},
    {"burst", take_burst}, {"shadow", take_shadow}, {"mode", take_mode},
};

static bool take_rule_pair(struct loader *loader, void *into, const char *key, yaml_node_t *key_node,
                           yaml_node_t *value)
{
    for (size_t i = 0; i < sizeof rule_keys / sizeof rule_keys[0]; i++)
        if (strcmp(rule_keys[i].key, key) == 0) return rule_keys[i].take(loader, into, value);
    char text[300];
    snprintf(
        text, sizeof text,
        "%.60s: no such key of a limit; expected one of: name, key, rate, algorithm, burst, shadow, mode",
        key);
    return fail(loader, key_node, text);
}

static bool take_limit(struct loader *loader, const yaml_node_t *node)
{
    struct tly_rule rule = {.name = ""};
    if (node->type != YAML_MAPPING_NODE)
        return fail(loader, node,
                    "expected a limit: a map with name, rate and perhaps key, algorithm, burst, shadow");
    if (!each_pair(loader, node, take_rule_pair, &rule)) return false;
    if (rule.name[0] == '\0') return fail(loader, node, "the limit has no name");
    if (rule.rate.limit == 0) return fail(loader, node, "the limit has no rate");
    if (tly_rules_find(loader->rules, tly_slice_text(rule.name)) != NULL)
        return fail(loader, node, "another limit has this name");
    if (rule.rate.burst != 0 && rule.rate.algorithm != TLY_TOKEN_BUCKET)
        return fail(loader, node, "burst goes with algorithm: token_bucket only");
    if (tly_rate_check(&rule.rate) != TLY_OK)
        return fail(loader, node,
                    "the bucket is too fast or too large: at most one unit per ns, filled within 366 days");
    enum tly_result result = tly_rules_add(loader->rules, &rule);
    return result == TLY_OK || fail(loader, node, tly_result_text(result));
}

static bool take_limits(struct loader *loader, const yaml_node_t *value)
{
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0)
        return true; /* nothing behind the key */
    if (value->type != YAML_SEQUENCE_NODE) return fail(loader, value, "expected a list of limits");
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++)
        if (!take_limit(loader, node_of(loader, *item))) return false;
    return true;
}

/* ---- settings ---- */

/* join may be a list; every other setting is a scalar. */
static bool join_list(struct loader *loader, const yaml_node_t *value, char *text, size_t size)
{
    text[0] = '\0';
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++) {
        const char *address = text_of(loader, node_of(loader, *item), "ADDR:PORT");
        if (address == NULL) return false;
        strlcat(text, text[0] != '\0' ? "," : "", size);
        if (strlcat(text, address, size) >= size) return fail(loader, value, "the list is too long");
    }
    return true;
}

static bool take_top_pair(struct loader *loader, void *into, const char *key, yaml_node_t *key_node,
                          yaml_node_t *value)
{
    (void)into;
    char list[TLY_CONFIG_TEXT_MAX];
    if (strcmp(key, "limits") == 0) return take_limits(loader, value);
    const char *text = list;
    if (strcmp(key, "join") == 0 && value->type == YAML_SEQUENCE_NODE) {
        if (!join_list(loader, value, list, sizeof list)) return false;
    } else {
        text = text_of(loader, value, "a single value");
        if (text == NULL) return false;
    }
    struct tly_config_error inner;
    if (tly_config_put(&loader->config, key, text, &inner)) return true;
    bool known = tly_config_get(&loader->config, key, list, sizeof list);
    if (!known) strlcat(inner.text, ", limits", sizeof inner.text);
    return fail(loader, known ? value : key_node, inner.text);
}

/* ---- the file ---- */

static bool fail_parser(const struct loader *loader, const yaml_parser_t *parser)
{
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    return fail_at(loader, parser->problem_mark, problem);
}

/* Anchors make a tree into something else; nobody needs them here. libyaml resolves them to one node used twice. */
static bool refuse_aliases(struct loader *loader)
{
    size_t nodes = (size_t)(loader->document.nodes.top - loader->document.nodes.start), uses = 1;
    for (const yaml_node_t *node = loader->document.nodes.start; node < loader->document.nodes.top; node++) {
        if (node->type == YAML_SEQUENCE_NODE)
            uses += (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        else if (node->type == YAML_MAPPING_NODE)
            uses += 2 * (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    }
    yaml_mark_t top = {0};
    return uses <= nodes || fail_at(loader, top, "anchors and aliases are not supported");
}

static bool take_document(struct loader *loader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    if (root == NULL) return true; /* an empty file sets nothing */
    if (!refuse_aliases(loader)) return false;
    if (root->type != YAML_MAPPING_NODE) return fail(loader, root, "expected settings and limits: a map");
    return each_pair(loader, root, take_top_pair, NULL);
}

static bool parse(struct loader *loader, FILE *file)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        snprintf(loader->error->text, sizeof loader->error->text, "%.300s: out of memory", loader->path);
        return false;
    }
    yaml_parser_set_input_file(&parser, file);
    bool good = false;
    if (!yaml_parser_load(&parser, &loader->document)) {
        (void)fail_parser(loader, &parser);
        goto delete_parser;
    }
    good = take_document(loader);
    yaml_document_delete(&loader->document);
    if (!good) goto delete_parser;
    if (!yaml_parser_load(&parser, &loader->document)) {
        good = fail_parser(loader, &parser);
        goto delete_parser;
    }
    const yaml_node_t *second = yaml_document_get_root_node(&loader->document);
    if (second != NULL) good = fail(loader, second, "expected one document");
    yaml_document_delete(&loader->document);
delete_parser:
    yaml_parser_delete(&parser);
    return good;
}

static FILE *open_file(const char *path, struct tly_config_error *error)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    const char *why = file == NULL ? strerror(errno) : NULL;
    if (why == NULL && (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)))
        why = "not a regular file";
    if (why == NULL && status.st_size > FILE_BYTES_MAX) why = "larger than 1 MiB";
    if (why == NULL) return file;
    snprintf(error->text, sizeof error->text, "%.300s: %s", path, why);
    if (file != NULL) fclose(file);
    return NULL;
}

bool tly_config_load(struct tly_config *config, const char *path, const struct tly_mem *mem,
                     struct tly_rules **rules, struct tly_config_error *error)
{
    struct loader loader = {.path = path, .config = *config, .error = error};
    error->text[0] = '\0';
    if (strlcpy(loader.config.file, path, sizeof loader.config.file) >= sizeof loader.config.file) {
        snprintf(error->text, sizeof error->text, "%.300s...: the path is too long", path);
        return false;
    }
    FILE *file = open_file(path, error);
    if (file == NULL) return false;
    loader.rules = tly_rules_new(mem);
    bool good = loader.rules != NULL && parse(&loader, file);
    fclose(file);
    if (!good) {
        if (error->text[0] == '\0') snprintf(error->text, sizeof error->text, "%.300s: out of memory", path);
        tly_rules_free(loader.rules);
        return false;
    }
    *config = loader.config;
    *rules = loader.rules;
    return true;
}
