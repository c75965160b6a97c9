#include "service/shell/rls_yaml.h"

#include "service/shell/rls_yaml_word.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* Lists and maps in each other: four for each level of descriptors, and those of metadata. */
#define DEPTH_MAX (4 * TLY_RLS_DEPTH_MAX + 16)

struct loader {
    const char *file;
    struct tly_slice text;
    yaml_document_t document;
    struct tly_rls_config *config;
    struct tly_rls_error *error;
    size_t visits; /* aliases may lead to the same nodes again and again */
};

#define FAIL(loader, ...) (tly_rls_error_set((loader)->error, (loader)->file, __VA_ARGS__), false)

static yaml_node_t *node_of(struct loader *loader, int index)
{
    return yaml_document_get_node(&loader->document, index);
}

static struct tly_slice text_of(const yaml_node_t *node)
{
    return tly_slice_of(node->data.scalar.value, node->data.scalar.length);
}

static enum tly_yaml_word word_of(const yaml_node_t *node)
{
    bool is_plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return is_plain ? tly_yaml_word(text_of(node)) : TLY_YAML_TEXT;
}

static bool is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && word_of(node) == TLY_YAML_NULL;
}

static bool has_text(const yaml_node_t *node, const char *text)
{
    return node->type == YAML_SCALAR_NODE && tly_slice_equal(text_of(node), tly_slice_text(text));
}

/* Every walk is counted, and none is without end. */
static bool visit(struct loader *loader, size_t depth)
{
    if (++loader->visits > 8 * TLY_RLS_VALUES_MAX)
        return FAIL(loader, "error loading config file: too many values");
    return depth <= DEPTH_MAX || FAIL(loader, "error loading config file: nested too deep");
}

/* The last value of a key, as it is when a map is filled; NULL: none. */
static const yaml_node_t *member(struct loader *loader, const yaml_node_t *map, const char *key)
{
    const yaml_node_pair_t *start = map->data.mapping.pairs.start, *pair = map->data.mapping.pairs.top;
    while (pair-- > start)
        if (has_text(node_of(loader, pair->key), key)) return node_of(loader, pair->value);
    return NULL;
}

/* ---- which keys there are ---- */

static bool is_known(const yaml_node_t *key)
{
    static const char *const known[] = {
        "domain",    "key",         "value",    "descriptors",     "rate_limit",      "unit",
        "unlimited", "shadow_mode", "name",     "detailed_metric", "value_to_metric", "requests_per_unit",
        "replaces",  "quota_mode",  "metadata", "share_threshold",
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (has_text(key, known[i])) return true;
    return false;
}

static bool check_key(struct loader *loader, const yaml_node_t *key)
{
    struct tly_slice text = key->type == YAML_SCALAR_NODE ? text_of(key) : tly_slice_text("a map or a list");
    bool is_text = key->type == YAML_SCALAR_NODE && word_of(key) == TLY_YAML_TEXT;
    if (is_null(key)) text = tly_slice_text("<nil>");
    if (!is_text)
        return FAIL(loader, "config error, key is not of type string: %.*s", (int)text.n,
                    (const char *)text.p);
    return is_known(key) ||
           FAIL(loader, "config error, unknown key '%.*s'", (int)text.n, (const char *)text.p);
}

static bool check_keys(struct loader *loader, const yaml_node_t *map, size_t depth);

static bool check_items(struct loader *loader, const yaml_node_t *list, size_t depth)
{
    const yaml_node_item_t *item = list->data.sequence.items.start;
    for (; item < list->data.sequence.items.top; item++) {
        const yaml_node_t *node = node_of(loader, *item);
        struct tly_slice text = node->type == YAML_SCALAR_NODE ? text_of(node) : tly_slice_text("[]");
        if (is_null(node)) text = tly_slice_text("<nil>");
        if (node->type != YAML_MAPPING_NODE)
            return FAIL(loader, "config error, yaml file contains list of type other than map: %.*s",
                        (int)text.n, (const char *)text.p);
        if (!check_keys(loader, node, depth)) return false;
    }
    return true;
}

static bool check_keys(struct loader *loader, const yaml_node_t *map, size_t depth)
{
    if (!visit(loader, depth)) return false;
    const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    for (; pair < map->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = node_of(loader, pair->key), *value = node_of(loader, pair->value);
        if (!check_key(loader, key)) return false;
        if (has_text(key, "metadata")) continue;
        bool good = true;
        if (value->type == YAML_SEQUENCE_NODE)
            good = check_items(loader, value, depth + 2);
        else if (value->type == YAML_MAPPING_NODE)
            good = check_keys(loader, value, depth + 1);
        else if (word_of(value) == TLY_YAML_FLOAT)
            good = FAIL(loader, "error checking config");
        if (!good) return false;
    }
    return true;
}

/* ---- values of a kind ---- */

static const char *tag_of(const yaml_node_t *node)
{
    if (node->type == YAML_MAPPING_NODE) return "!!map";
    return node->type == YAML_SEQUENCE_NODE ? "!!seq" : tly_yaml_word_tag(word_of(node));
}

/* "line 4: cannot unmarshal !!str `abc` into uint32" */
static bool fail_kind(struct loader *loader, const yaml_node_t *node, const char *kind)
{
    char shown[32] = "";
    if (node->type == YAML_SCALAR_NODE) {
        struct tly_slice text = text_of(node);
        bool is_long = text.n > 10;
        (void)snprintf(shown, sizeof shown, " `%.*s%s`", is_long ? 7 : (int)text.n, (const char *)text.p,
                       is_long ? "..." : "");
    }
    return FAIL(
        loader,
        "error loading config file: yaml: unmarshal errors:\n  line %zu: cannot unmarshal %s%s into %s",
        node->start_mark.line + 1, tag_of(node), shown, kind);
}

static bool get_text(struct loader *loader, const yaml_node_t *map, const char *key, struct tly_slice *text)
{
    const yaml_node_t *node = member(loader, map, key);
    if (node == NULL || is_null(node)) return true;
    if (node->type != YAML_SCALAR_NODE) return fail_kind(loader, node, "string");
    *text = text_of(node);
    return true;
}

static bool get_bool(struct loader *loader, const yaml_node_t *map, const char *key, bool *value)
{
    const yaml_node_t *node = member(loader, map, key);
    if (node == NULL || is_null(node)) return true;
    bool is_bool = node->type == YAML_SCALAR_NODE && word_of(node) <= TLY_YAML_FALSE;
    if (!is_bool) return fail_kind(loader, node, "bool");
    *value = word_of(node) == TLY_YAML_TRUE;
    return true;
}

static bool get_uint32(struct loader *loader, const yaml_node_t *map, const char *key, uint32_t *value)
{
    const yaml_node_t *node = member(loader, map, key);
    int64_t number = 0;
    if (node == NULL || is_null(node)) return true;
    bool fits = node->type == YAML_SCALAR_NODE && word_of(node) == TLY_YAML_INT &&
                tly_yaml_int(text_of(node), &number) && number >= 0 && number <= UINT32_MAX;
    if (!fits) return fail_kind(loader, node, "uint32");
    *value = (uint32_t)number;
    return true;
}

/* ---- what is ours ---- */

static bool fail_extra(struct loader *loader, const yaml_node_t *key, const yaml_node_t *value)
{
    static const char expected[] =
        "metadata.tally: algorithm, window (10s), burst, mode, on_partition or charge (all, admitted) was expected";
    if (key->type != YAML_SCALAR_NODE) return FAIL(loader, "%s", expected);
    struct tly_slice text = text_of(key);
    return FAIL(loader, "metadata.tally.%.*s at line %zu: not valid; %s", (int)(text.n < 40 ? text.n : 40),
                (const char *)text.p, value->start_mark.line + 1, expected);
}

/* A word, or the one pair of a map, read as it would be written in a text. */
static bool take_mode(struct loader *loader, const yaml_node_t *value, struct tly_rate *extras)
{
    if (value->type == YAML_SCALAR_NODE) return tly_mode_parse(text_of(value), extras) == TLY_OK;
    const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
    if (value->type != YAML_MAPPING_NODE || value->data.mapping.pairs.top != pair + 1) return false;
    const yaml_node_t *name = node_of(loader, pair->key), *units = node_of(loader, pair->value);
    if (name->type != YAML_SCALAR_NODE || units->type != YAML_SCALAR_NODE) return false;
    struct tly_slice left = text_of(name), right = text_of(units);
    char text[64];
    if (left.n > 16 || right.n > 32) return false;
    int n = snprintf(text, sizeof text, "%.*s: %.*s", (int)left.n, (const char *)left.p, (int)right.n,
                     (const char *)right.p);
    return tly_mode_parse(tly_slice_of(text, (size_t)n), extras) == TLY_OK;
}

static bool take_window(struct tly_slice text, struct tly_rate *extras)
{
    char window[64];
    struct tly_rate rate;
    if (text.n > 32) return false;
    int n = snprintf(window, sizeof window, "1/%.*s", (int)text.n, (const char *)text.p);
    if (tly_rate_parse(tly_slice_of(window, (size_t)n), &rate) != TLY_OK) return false;
    extras->window_ms = rate.window_ms;
    extras->unit = rate.unit;
    return true;
}

static bool take_extra(struct loader *loader, const yaml_node_t *key, const yaml_node_t *value,
                       struct tly_rls_spec *spec)
{
    struct tly_rate *extras = &spec->extras;
    if (has_text(key, "mode")) return true; /* it was taken first */
    if (key->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE)
        return fail_extra(loader, key, value);
    struct tly_slice text = text_of(value);
    int64_t burst;
    bool good = false;
    if (has_text(key, "algorithm")) {
        good = tly_algorithm_parse(text, &extras->algorithm);
    } else if (has_text(key, "on_partition")) {
        good = tly_on_partition_parse(text, &extras->on_partition);
    } else if (has_text(key, "charge")) {
        spec->spares_refused = has_text(value, "admitted");
        good = spec->spares_refused || has_text(value, "all");
    } else if (has_text(key, "burst")) {
        good = tly_yaml_int(text, &burst) && burst > 0;
        if (good) extras->burst = (uint64_t)burst;
    } else if (has_text(key, "window")) {
        good = take_window(text, extras);
    }
    return good || fail_extra(loader, key, value);
}

static bool get_extras(struct loader *loader, const yaml_node_t *map, struct tly_rls_spec *spec)
{
    const yaml_node_t *metadata = member(loader, map, "metadata");
    if (metadata == NULL || metadata->type != YAML_MAPPING_NODE) return true;
    const yaml_node_t *ours = member(loader, metadata, "tally");
    if (ours == NULL || is_null(ours)) return true;
    if (ours->type != YAML_MAPPING_NODE) return FAIL(loader, "metadata.tally: a map was expected");
    /* What on_partition is when it is not said depends on the mode. */
    const yaml_node_pair_t *start = ours->data.mapping.pairs.start, *pair;
    for (pair = start; pair < ours->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = node_of(loader, pair->key), *value = node_of(loader, pair->value);
        if (has_text(key, "mode") && !take_mode(loader, value, &spec->extras))
            return fail_extra(loader, key, value);
    }
    for (pair = start; pair < ours->data.mapping.pairs.top; pair++)
        if (!take_extra(loader, node_of(loader, pair->key), node_of(loader, pair->value), spec)) return false;
    return true;
}

/* ---- descriptors ---- */

static bool get_replaces(struct loader *loader, const yaml_node_t *map, struct tly_rls_spec *spec)
{
    const yaml_node_t *list = member(loader, map, "replaces");
    if (list == NULL || is_null(list)) return true;
    if (list->type != YAML_SEQUENCE_NODE) return fail_kind(loader, list, "[]config.yamlReplaces");
    const yaml_node_item_t *item = list->data.sequence.items.start;
    for (; item < list->data.sequence.items.top; item++) {
        struct tly_slice *name = &spec->replaces[spec->replaces_count];
        if (spec->replaces_count == TLY_RLS_REPLACES_MAX)
            return FAIL(loader, "more than %d replaces", TLY_RLS_REPLACES_MAX);
        *name = tly_slice_of(NULL, 0);
        if (!get_text(loader, node_of(loader, *item), "name", name)) return false;
        spec->replaces_count++;
    }
    return true;
}

static bool get_rate_limit(struct loader *loader, const yaml_node_t *map, struct tly_rls_spec *spec)
{
    const yaml_node_t *rate = member(loader, map, "rate_limit");
    if (rate == NULL || is_null(rate)) return true;
    if (rate->type != YAML_MAPPING_NODE) return fail_kind(loader, rate, "config.YamlRateLimit");
    spec->has_limit = true;
    return get_uint32(loader, rate, "requests_per_unit", &spec->requests_per_unit) &&
           get_text(loader, rate, "unit", &spec->unit) &&
           get_bool(loader, rate, "unlimited", &spec->unlimited) &&
           get_text(loader, rate, "name", &spec->name) && get_replaces(loader, rate, spec) &&
           get_extras(loader, rate, spec);
}

static bool get_spec(struct loader *loader, const yaml_node_t *map, struct tly_rls_spec *spec)
{
    *spec = (struct tly_rls_spec){.extras = {.algorithm = TLY_FIXED_WINDOW}};
    return get_text(loader, map, "key", &spec->key) && get_text(loader, map, "value", &spec->value) &&
           get_extras(loader, map, spec) && get_rate_limit(loader, map, spec) &&
           get_bool(loader, map, "shadow_mode", &spec->shadow) &&
           get_bool(loader, map, "quota_mode", &spec->quota) &&
           get_bool(loader, map, "detailed_metric", &spec->detailed) &&
           get_bool(loader, map, "value_to_metric", &spec->value_to_metric) &&
           get_bool(loader, map, "share_threshold", &spec->share_threshold);
}

/* parent NULL: only looks whether all is of its kind. */
static bool take_descriptors(struct loader *loader, const yaml_node_t *map, struct tly_rls_node *parent,
                             size_t depth)
{
    const yaml_node_t *list = member(loader, map, "descriptors");
    if (list == NULL || is_null(list)) return true;
    if (list->type != YAML_SEQUENCE_NODE) return fail_kind(loader, list, "[]config.YamlDescriptor");
    const yaml_node_item_t *item = list->data.sequence.items.start;
    for (; item < list->data.sequence.items.top; item++) {
        const yaml_node_t *node = node_of(loader, *item);
        struct tly_rls_spec spec;
        struct tly_rls_node *added = NULL;
        if (!visit(loader, depth) || !get_spec(loader, node, &spec)) return false;
        if (parent != NULL) {
            added = tly_rls_config_add(loader->config, loader->file, parent, &spec, loader->error);
            if (added == NULL) return false;
        }
        if (!take_descriptors(loader, node, added, depth + 2)) return false;
    }
    return true;
}

static bool take_document(struct loader *loader, bool merges)
{
    const yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    struct tly_slice domain = {0};
    if (root != NULL && is_null(root)) root = NULL;
    if (root != NULL && root->type != YAML_MAPPING_NODE)
        return fail_kind(loader, root, "map[interface {}]interface {}");
    if (root != NULL && (!check_keys(loader, root, 1) || !get_text(loader, root, "domain", &domain) ||
                         !take_descriptors(loader, root, NULL, 1)))
        return false;
    struct tly_rls_node *node =
        tly_rls_config_domain(loader->config, loader->file, domain, merges, loader->error);
    return node != NULL && (root == NULL || take_descriptors(loader, root, node, 1));
}

/* ---- the text ---- */

static bool fail_parser(struct loader *loader, const yaml_parser_t *parser)
{
    size_t line = parser->problem_mark.line != 0 ? parser->problem_mark.line : parser->context_mark.line;
    const char *problem = parser->problem != NULL ? parser->problem : "unknown problem parsing YAML content";
    if (parser->error == YAML_MEMORY_ERROR) return FAIL(loader, "out of memory");
    if (parser->error == YAML_SCANNER_ERROR && parser->problem_mark.line != 0) line++;
    if (line == 0) return FAIL(loader, "error loading config file: yaml: %s", problem);
    return FAIL(loader, "error loading config file: yaml: line %zu: %s", line, problem);
}

/* Before libyaml builds its tree, which is far larger than the text. */
static bool survey(struct loader *loader)
{
    yaml_parser_t parser;
    size_t values = 0, depth = 0;
    bool good = yaml_parser_initialize(&parser) != 0, ended = false;
    if (!good) return FAIL(loader, "out of memory");
    yaml_parser_set_input_string(&parser, loader->text.p, loader->text.n);
    while (good && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            good = fail_parser(loader, &parser);
            break;
        }
        bool opens = event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT;
        depth += opens;
        depth -= event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        values += opens || event.type == YAML_SCALAR_EVENT || event.type == YAML_ALIAS_EVENT;
        ended = event.type == YAML_STREAM_END_EVENT || event.type == YAML_DOCUMENT_END_EVENT;
        yaml_event_delete(&event);
        if (values > TLY_RLS_VALUES_MAX) good = FAIL(loader, "error loading config file: too many values");
        if (depth > DEPTH_MAX) good = FAIL(loader, "error loading config file: nested too deep");
    }
    yaml_parser_delete(&parser);
    return good;
}

bool tly_rls_yaml_load(struct tly_rls_config *config, const char *file, struct tly_slice text, bool merges,
                       struct tly_rls_error *error)
{
    struct loader loader = {.file = file, .text = text, .config = config, .error = error};
    yaml_parser_t parser;
    if (text.n > TLY_RLS_FILE_BYTES_MAX) return FAIL(&loader, "error loading config file: larger than 1 MiB");
    if (!survey(&loader)) return false;
    if (!yaml_parser_initialize(&parser)) return FAIL(&loader, "out of memory");
    yaml_parser_set_input_string(&parser, text.p, text.n);
    bool good = yaml_parser_load(&parser, &loader.document) != 0;
    if (good) {
        good = take_document(&loader, merges);
        yaml_document_delete(&loader.document);
    } else {
        (void)fail_parser(&loader, &parser);
    }
    yaml_parser_delete(&parser);
    return good;
}
