/*
 * tally.yaml: settings and limits, by libyaml.  The file is bounded and read whole, then surveyed event by event (one
 * document, no anchors, not deep, not many values) before libyaml builds its tree.  Every node of that carries its
 * place, and every error names it.
 */
#include "service/shell/config.h"
#include "service/shell/zonefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define DEPTH_MAX 8
/* Room for TLY_RULES_MAX limits with all that one can have. */
#define VALUES_MAX ((size_t)TLY_RULES_MAX * 32)

struct loader {
    const char *path;
    struct tly_slice text; /* of the file */
    yaml_document_t document;
    struct tly_config config;
    struct tly_rules *rules;
    bool only_limits;
    const yaml_node_t *on_partition, *zone; /* of the limit that is being read; NULL: not said */
    const struct tly_mem *mem;
    struct tly_config_error *error;
};

/* "FILE:LINE:COLUMN: text", lines and columns from 1; control characters, which a value may hold, become '?'. */
static bool fail_at(const struct loader *loader, yaml_mark_t mark, const char *text)
{
    char *out = loader->error->text;
    snprintf(out, sizeof loader->error->text, "%.300s:%zu:%zu: %.600s", loader->path, mark.line + 1,
             mark.column + 1, text);
    for (; *out != '\0'; out++)
        if ((unsigned char)*out < 0x20 || *out == 0x7f) *out = '?';
    return false;
}

static bool fail(const struct loader *loader, const yaml_node_t *node, const char *text)
{
    return fail_at(loader, node->start_mark, text);
}

/* Says what stands there and what was expected instead. */
static bool expect(const struct loader *loader, const yaml_node_t *node, const char *expected)
{
    char text[500];
    const char *kind = node->type == YAML_MAPPING_NODE ? "map" : "list";
    if (node->type == YAML_SCALAR_NODE)
        snprintf(text, sizeof text, "'%.100s'; expected %.300s", (const char *)node->data.scalar.value,
                 expected);
    else
        snprintf(text, sizeof text, "a %s; expected %.300s", kind, expected);
    return fail(loader, node, text);
}

static yaml_node_t *node_of(struct loader *loader, int index)
{
    return yaml_document_get_node(&loader->document, index);
}

/* A scalar's text, or NULL with the error set. */
static const char *text_of(const struct loader *loader, const yaml_node_t *node, const char *expected)
{
    bool is_text = node->type == YAML_SCALAR_NODE &&
                   strlen((const char *)node->data.scalar.value) == node->data.scalar.length;
    if (!is_text) (void)expect(loader, node, expected);
    return is_text ? (const char *)node->data.scalar.value : NULL;
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
        if (is_repeated(loader, map, pair)) return expect(loader, key_node, "every key once");
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
    return fits || expect(loader, value, expected);
}

static bool add_field(struct loader *loader, struct tly_rule *rule, const yaml_node_t *node)
{
    static const char expected[] = "a field name of 1 to 64 bytes";
    const char *text = text_of(loader, node, expected);
    if (text == NULL) return false;
    if (rule->field_count == TLY_RULE_FIELDS_MAX) return expect(loader, node, "at most 8 fields in a key");
    char *field = rule->field[rule->field_count];
    if (text[0] == '\0' || strlcpy(field, text, sizeof rule->field[0]) >= sizeof rule->field[0])
        return expect(loader, node, expected);
    for (size_t i = 0; i < rule->field_count; i++)
        if (strcmp(rule->field[i], field) == 0) return expect(loader, node, "every field of a key once");
    rule->field_count++;
    return true;
}

static bool take_key(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    rule->field_count = 0;
    if (value->type == YAML_SCALAR_NODE) return add_field(loader, rule, value);
    if (value->type != YAML_SEQUENCE_NODE) return expect(loader, value, "a field name or a list of them");
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++)
        if (!add_field(loader, rule, node_of(loader, *item))) return false;
    return true;
}

static bool take_rate(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] =
        "units/window, such as 100/10s, 5/m, 1000/500ms or, for a quota, 1000000/mo (1 ms to 366 days)";
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    if (tly_rate_parse(tly_slice_text(text), &rule->rate) == TLY_OK) return true;
    return expect(loader, value, expected);
}

static bool take_algorithm(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    char expected[200];
    snprintf(expected, sizeof expected, "one of: %s", tly_algorithm_names());
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    return tly_algorithm_parse(tly_slice_text(text), &rule->rate.algorithm) ||
           expect(loader, value, expected);
}

static bool take_zone(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a time zone that this machine has a file of, such as Europe/Berlin";
    const char *text = text_of(loader, value, expected);
    struct tly_zone *zone;
    if (text == NULL) return false;
    loader->zone = value;
    rule->rate.zone = tly_rules_zone(loader->rules, text);
    if (rule->rate.zone != NULL) return true;
    enum tly_result result = tly_zonefile_read(loader->mem, text, &zone);
    if (result == TLY_OK) rule->rate.zone = tly_rules_keep_zone(loader->rules, text, zone);
    if (rule->rate.zone != NULL) return true;
    return result == TLY_OK || result == TLY_NOMEM ? fail(loader, value, tly_result_text(TLY_NOMEM))
                                                   : expect(loader, value, expected);
}

static bool take_burst(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    static const char expected[] = "a whole number of units, at least 1";
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    char *end;
    errno = 0;
    unsigned long long burst = strtoull(text, &end, 10);
    bool good =
        text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && burst >= 1 && burst <= INT64_MAX;
    rule->rate.burst = burst;
    return good || expect(loader, value, expected);
}

static bool take_shadow(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    const char *text = text_of(loader, value, "true or false");
    if (text == NULL) return false;
    rule->shadow = strcmp(text, "true") == 0;
    return rule->shadow || strcmp(text, "false") == 0 || expect(loader, value, "true or false");
}

static const char mode_form[] = "optimistic, hard, or a map {capped: UNITS} with at least 1";

/* The one pair of a map is read as it would be written in a text. */
static bool mode_text(struct loader *loader, const yaml_node_t *value, char text[64])
{
    const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
    if (value->data.mapping.pairs.top != pair + 1) return expect(loader, value, mode_form);
    const char *name = text_of(loader, node_of(loader, pair->key), mode_form);
    const char *units = name != NULL ? text_of(loader, node_of(loader, pair->value), mode_form) : NULL;
    if (units == NULL) return false;
    return snprintf(text, 64, "%s: %s", name, units) < 64 || expect(loader, value, mode_form);
}

static bool take_mode(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    char map[64];
    const char *text = map;
    if (value->type == YAML_MAPPING_NODE) {
        if (!mode_text(loader, value, map)) return false;
    } else {
        text = text_of(loader, value, mode_form);
        if (text == NULL) return false;
    }
    return tly_mode_parse(tly_slice_text(text), &rule->rate) == TLY_OK || expect(loader, value, mode_form);
}

/* What it may be, and is when it is not said, depends on the mode: it is looked at last. */
static bool take_on_partition(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value)
{
    (void)rule;
    loader->on_partition = value;
    return true;
}

static bool set_on_partition(struct loader *loader, struct tly_rule *rule)
{
    const yaml_node_t *value = loader->on_partition;
    bool capped = rule->rate.mode == TLY_CAPPED;
    const char *expected = capped ? "closed or open" : "open, share or closed";
    if (value == NULL) return true;
    if (rule->rate.mode == TLY_HARD)
        return fail(loader, value,
                    "on_partition goes with optimistic and capped only: a hard limit holds anyhow");
    const char *text = text_of(loader, value, expected);
    if (text == NULL) return false;
    bool known = tly_on_partition_parse(tly_slice_text(text), &rule->rate.on_partition);
    if (capped && rule->rate.on_partition == TLY_PARTITION_SHARE) known = false;
    return known || expect(loader, value, expected);
}

/* Designed, but not in this version: a limit that has one of these would not do what it says. */
static bool is_later(const char *key)
{
    return strcmp(key, "match") == 0 || strcmp(key, "cardinality_max") == 0;
}

static const struct {
    const char *key;
    bool (*take)(struct loader *loader, struct tly_rule *rule, const yaml_node_t *value);
} rule_keys[] = {
    {"name", take_name},   {"key", take_key},       {"rate", take_rate}, {"algorithm", take_algorithm},
    {"burst", take_burst}, {"shadow", take_shadow}, {"mode", take_mode}, {"on_partition", take_on_partition},
    {"zone", take_zone},
};

static bool take_rule_pair(struct loader *loader, void *into, const char *key, yaml_node_t *key_node,
                           yaml_node_t *value)
{
    for (size_t i = 0; i < sizeof rule_keys / sizeof rule_keys[0]; i++)
        if (strcmp(rule_keys[i].key, key) == 0) return rule_keys[i].take(loader, into, value);
    if (is_later(key))
        return expect(loader, key_node, "a limit without it: this version does not support it yet");
    return expect(loader, key_node,
                  "a key of a limit: name, key, rate, algorithm, burst, zone, shadow, mode or on_partition");
}

static bool unit_fits(struct loader *loader, const yaml_node_t *node, const struct tly_rate *rate)
{
    if (rate->algorithm == TLY_QUOTA && rate->unit == 0)
        return fail(loader, node, "a quota is of one m, h, d, w, mo or y, such as 1000000/mo");
    if (rate->algorithm != TLY_QUOTA && rate->unit >= TLY_UNIT_MONTH)
        return fail(loader, node, "a month or a year goes with algorithm: quota only");
    return true;
}

static bool take_limit(struct loader *loader, const yaml_node_t *node)
{
    struct tly_rule rule = {.name = ""};
    loader->on_partition = loader->zone = NULL;
    if (node->type != YAML_MAPPING_NODE)
        return expect(loader, node,
                      "a limit: a map with name, rate and perhaps key, algorithm, burst, shadow");
    if (!each_pair(loader, node, take_rule_pair, &rule) || !set_on_partition(loader, &rule)) return false;
    if (rule.name[0] == '\0') return fail(loader, node, "the limit has no name");
    if (rule.rate.limit == 0) return fail(loader, node, "the limit has no rate");
    if (tly_rules_find(loader->rules, tly_slice_text(rule.name)) != NULL)
        return fail(loader, node, "another limit has this name");
    if (rule.rate.burst != 0 && rule.rate.algorithm != TLY_TOKEN_BUCKET)
        return fail(loader, node, "burst goes with algorithm: token_bucket only");
    if (rule.rate.mode == TLY_HARD && rule.rate.algorithm != TLY_FIXED_WINDOW)
        return fail(loader, node, "mode: hard goes with algorithm: fixed_window only");
    if (loader->zone != NULL && rule.rate.algorithm != TLY_QUOTA)
        return fail(loader, loader->zone, "zone goes with algorithm: quota only");
    if (!unit_fits(loader, node, &rule.rate)) return false;
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
    if (value->type != YAML_SEQUENCE_NODE) return expect(loader, value, "a list of limits");
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
        if (strlcat(text, address, size) >= size) return expect(loader, value, "a shorter one");
    }
    return true;
}

static bool take_top_pair(struct loader *loader, void *into, const char *key, yaml_node_t *key_node,
                          yaml_node_t *value)
{
    (void)into;
    char list[TLY_CONFIG_TEXT_MAX];
    if (strcmp(key, "limits") == 0) return take_limits(loader, value);
    if (loader->only_limits)
        return expect(loader, key_node, "limits alone: settings belong into a node's file");
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

/* libyaml tells the place of bytes that are no text as an offset only. */
static yaml_mark_t mark_of_offset(const struct loader *loader, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < loader->text.n; i++) {
        bool ends = loader->text.p[i] == '\n';
        mark.line += ends;
        mark.column = ends ? 0 : mark.column + 1;
    }
    return mark;
}

static bool fail_parser(const struct loader *loader, const yaml_parser_t *parser)
{
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_MEMORY_ERROR) return false; /* said by the caller */
    bool is_text = parser->error != YAML_READER_ERROR;
    return fail_at(loader, is_text ? parser->problem_mark : mark_of_offset(loader, parser->problem_offset),
                   problem);
}

struct survey {
    size_t documents, values, depth;
    bool ended;
};

static bool has_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT: return true;
    case YAML_SCALAR_EVENT: return event->data.scalar.anchor != NULL;
    case YAML_SEQUENCE_START_EVENT: return event->data.sequence_start.anchor != NULL;
    case YAML_MAPPING_START_EVENT: return event->data.mapping_start.anchor != NULL;
    default: return false;
    }
}

/* NULL, or what is wrong with the document so far. */
static const char *look(struct survey *survey, const yaml_event_t *event)
{
    bool opens = event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT;
    bool closes = event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;
    survey->ended = event->type == YAML_STREAM_END_EVENT;
    survey->documents += event->type == YAML_DOCUMENT_START_EVENT;
    survey->values += opens || event->type == YAML_SCALAR_EVENT;
    survey->depth += opens;
    survey->depth -= closes;
    if (survey->documents > 1) return "a second document; expected one";
    if (has_anchor(event)) return "an anchor or alias; expected the value itself, for they are not supported";
    if (survey->values > VALUES_MAX) return "too many values; expected settings and at most 4096 limits";
    return survey->depth > DEPTH_MAX ? "nested too deep; expected settings and a list of limits" : NULL;
}

static bool survey_text(const struct loader *loader)
{
    yaml_parser_t parser;
    struct survey survey = {0};
    bool good = yaml_parser_initialize(&parser) != 0;
    if (!good) return false;
    yaml_parser_set_input_string(&parser, loader->text.p, loader->text.n);
    while (good && !survey.ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            good = fail_parser(loader, &parser);
            continue;
        }
        const char *problem = look(&survey, &event);
        if (problem != NULL) good = fail_at(loader, event.start_mark, problem);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return good;
}

static bool take_document(struct loader *loader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    if (root == NULL) return true; /* an empty file sets nothing */
    if (root->type != YAML_MAPPING_NODE) return expect(loader, root, "settings and limits: a map");
    return each_pair(loader, root, take_top_pair, NULL);
}

static bool load_text(struct loader *loader)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return false;
    yaml_parser_set_input_string(&parser, loader->text.p, loader->text.n);
    bool good = yaml_parser_load(&parser, &loader->document) != 0;
    if (good) {
        good = take_document(loader);
        yaml_document_delete(&loader->document);
    } else {
        (void)fail_parser(loader, &parser);
    }
    yaml_parser_delete(&parser);
    return good;
}

/* Up to size bytes; false: errno says why. */
static bool read_all(int fd, uint8_t *bytes, size_t size, size_t *n)
{
    ssize_t got = 1;
    for (*n = 0; *n < size && got > 0; *n += got > 0 ? (size_t)got : 0)
        got = read(fd, bytes + *n, size - *n);
    return got >= 0;
}

/* The file's bytes, to be freed, or NULL with the error set. A pipe that nobody writes to is no reason to wait. */
static uint8_t *read_file(const char *path, size_t *n, struct tly_config_error *error)
{
    struct stat status;
    const char *why = NULL;
    uint8_t *bytes = malloc(FILE_BYTES_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) != 0)
        why = strerror(errno);
    else if (!S_ISREG(status.st_mode))
        why = "not a regular file";
    else if (bytes == NULL || !read_all(fd, bytes, FILE_BYTES_MAX + 1, n))
        why = strerror(errno);
    else if (*n > FILE_BYTES_MAX)
        why = "larger than 1 MiB";
    if (fd >= 0) close(fd);
    if (why == NULL) return bytes;
    snprintf(error->text, sizeof error->text, "%.300s: %s", path, why);
    free(bytes);
    return NULL;
}

/* The rules are freed unless all is well. */
static bool load(struct loader *loader, const struct tly_mem *mem)
{
    loader->error->text[0] = '\0';
    loader->rules = tly_rules_new(mem);
    bool good = loader->rules != NULL && survey_text(loader) && load_text(loader);
    if (good) return true;
    if (loader->error->text[0] == '\0')
        snprintf(loader->error->text, sizeof loader->error->text, "%.300s: out of memory", loader->path);
    tly_rules_free(loader->rules);
    return false;
}

bool tly_config_load(struct tly_config *config, const char *path, const struct tly_mem *mem,
                     struct tly_rules **rules, struct tly_config_error *error)
{
    struct loader loader = {.path = path, .config = *config, .mem = mem, .error = error};
    error->text[0] = '\0';
    if (strlcpy(loader.config.file, path, sizeof loader.config.file) >= sizeof loader.config.file) {
        snprintf(error->text, sizeof error->text, "%.300s...: the path is too long", path);
        return false;
    }
    uint8_t *bytes = read_file(path, &loader.text.n, error);
    if (bytes == NULL) return false;
    loader.text.p = bytes;
    bool good = load(&loader, mem);
    free(bytes);
    if (!good) return false;
    *config = loader.config;
    *rules = loader.rules;
    return true;
}

bool tly_config_parse_limits(const char *label, struct tly_slice text, const struct tly_mem *mem,
                             struct tly_rules **rules, struct tly_config_error *error)
{
    struct loader loader = {.path = label, .text = text, .only_limits = true, .mem = mem, .error = error};
    if (text.n == 0) loader.text = tly_slice_text("\n");
    if (!load(&loader, mem)) return false;
    *rules = loader.rules;
    return true;
}
