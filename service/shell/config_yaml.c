/*
 * tally.yaml: settings and limits, by libyaml.  The file is bounded and read whole, then surveyed event by event (one
 * document, no anchors, not deep, not many values) before libyaml builds its tree.  Every node of that carries its
 * place, and every error names it.
 */
#include "service/shell/config_yaml.h"
#include "service/shell/filewatch.h"
#include "service/shell/http_json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define DEPTH_MAX 8
/* Room for TLY_RULES_MAX limits with all that one can have. */
#define VALUES_MAX ((size_t)TLY_RULES_MAX * 32)

/* "FILE:LINE:COLUMN: text", lines and columns from 1. A value may hold anything, and may be cut off. */
static bool fail_at(const struct tly_loader *loader, yaml_mark_t mark, const char *text)
{
    char *out = loader->error->text;
    snprintf(out, sizeof loader->error->text, "%.300s:%zu:%zu: %.600s", loader->path, mark.line + 1,
             mark.column + 1, text);
    tly_utf8_make_line(out, '?');
    return false;
}

bool tly_yaml_fail(const struct tly_loader *loader, const yaml_node_t *node, const char *text)
{
    return fail_at(loader, node->start_mark, text);
}

bool tly_yaml_expect(const struct tly_loader *loader, const yaml_node_t *node, const char *expected)
{
    char text[500];
    const char *kind = node->type == YAML_MAPPING_NODE ? "map" : "list";
    if (node->type == YAML_SCALAR_NODE)
        snprintf(text, sizeof text, "'%.100s'; expected %.300s", (const char *)node->data.scalar.value,
                 expected);
    else
        snprintf(text, sizeof text, "a %s; expected %.300s", kind, expected);
    return tly_yaml_fail(loader, node, text);
}

yaml_node_t *tly_yaml_node(struct tly_loader *loader, int index)
{
    return yaml_document_get_node(&loader->document, index);
}

const char *tly_yaml_text(const struct tly_loader *loader, const yaml_node_t *node, const char *expected)
{
    char why[400];
    if (node->type != YAML_SCALAR_NODE) {
        (void)tly_yaml_expect(loader, node, expected);
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (strlen(text) == node->data.scalar.length) return text;
    /* What stands before it is not shown: it may be a secret. */
    (void)snprintf(why, sizeof why, "a value with a NUL; expected %.300s", expected);
    (void)tly_yaml_fail(loader, node, why);
    return NULL;
}

/* ---- walking a map ---- */

static bool is_repeated(struct tly_loader *loader, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = tly_yaml_node(loader, pair->key);
    for (const yaml_node_pair_t *earlier = map->data.mapping.pairs.start; earlier < pair; earlier++) {
        const yaml_node_t *other = tly_yaml_node(loader, earlier->key);
        if (other->type == YAML_SCALAR_NODE &&
            strcmp((const char *)other->data.scalar.value, (const char *)key->data.scalar.value) == 0)
            return true;
    }
    return false;
}

bool tly_yaml_each_pair(struct tly_loader *loader, const yaml_node_t *map, tly_yaml_pair *take, void *into)
{
    const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    for (; pair < map->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = tly_yaml_node(loader, pair->key);
        const char *key = tly_yaml_text(loader, key_node, "a name as key");
        if (key == NULL) return false;
        if (is_repeated(loader, map, pair)) return tly_yaml_expect(loader, key_node, "every key once");
        if (!take(loader, into, key, key_node, tly_yaml_node(loader, pair->value))) return false;
    }
    return true;
}

/* ---- settings ---- */

/* join may be a list; every other setting is a scalar. */
static bool join_list(struct tly_loader *loader, const yaml_node_t *value, char *text, size_t size)
{
    text[0] = '\0';
    const yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++) {
        const char *address = tly_yaml_text(loader, tly_yaml_node(loader, *item), "ADDR:PORT");
        if (address == NULL) return false;
        strlcat(text, text[0] != '\0' ? "," : "", size);
        if (strlcat(text, address, size) >= size) return tly_yaml_expect(loader, value, "a shorter one");
    }
    return true;
}

static bool take_top_pair(struct tly_loader *loader, void *into, const char *key, yaml_node_t *key_node,
                          yaml_node_t *value)
{
    (void)into;
    char list[TLY_CONFIG_JOIN_TEXT_MAX];
    if (strcmp(key, "limits") == 0) return tly_yaml_take_limits(loader, value);
    if (loader->only_limits)
        return tly_yaml_expect(loader, key_node, "limits alone: settings belong into a node's file");
    bool known = tly_config_get(&loader->config, key, list, sizeof list);
    const char *text = "";
    if (strcmp(key, "join") == 0 && value->type == YAML_SEQUENCE_NODE) {
        if (!join_list(loader, value, list, sizeof list)) return false;
        text = list;
    } else if (known) {
        text = tly_yaml_text(loader, value, "a single value");
        if (text == NULL) return false;
    }
    struct tly_config_error inner;
    if (tly_config_put(&loader->config, key, text, &inner)) return true;
    if (!known) strlcat(inner.text, ", limits", sizeof inner.text);
    return tly_yaml_fail(loader, known ? value : key_node, inner.text);
}

/* ---- the file ---- */

/* libyaml tells the place of bytes that are no text as an offset only. */
static yaml_mark_t mark_of_offset(const struct tly_loader *loader, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < loader->text.n; i++) {
        bool ends = loader->text.p[i] == '\n';
        mark.line += ends;
        mark.column = ends ? 0 : mark.column + 1;
    }
    return mark;
}

/* libyaml has several sentences for it, and not all of them name it; nor can it be seen in an editor. */
static bool is_tab(const struct tly_loader *loader, yaml_mark_t mark)
{
    size_t at = 0;
    for (size_t line = 0; line < mark.line && at < loader->text.n; at++)
        line += loader->text.p[at] == '\n';
    return mark.column < loader->text.n - at && loader->text.p[at + mark.column] == '\t';
}

static bool fail_parser(const struct tly_loader *loader, const yaml_parser_t *parser)
{
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_MEMORY_ERROR) return false; /* said by the caller */
    bool is_text = parser->error != YAML_READER_ERROR;
    if (is_text && is_tab(loader, parser->problem_mark))
        problem = "a tab; expected blanks, for nothing is indented by tabs in YAML";
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

/* What stands for no value at all in YAML. A blank is what is left where a template had none to put in. */
static bool is_null(const yaml_event_t *event)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp((const char *)event->data.scalar.value, words[i]) == 0) return true;
    return false;
}

static bool has_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: return event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT: return event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT: return event->data.mapping_start.tag != NULL;
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
    if (has_tag(event)) return "a tag; expected the value itself, for they are not supported";
    if (survey->depth > 0 && is_null(event))
        return "nothing; expected a value, in quotes if it is meant as it stands: \"\" is an empty one, [] an empty list";
    if (survey->values > VALUES_MAX) return "too many values; expected settings and at most 4096 limits";
    return survey->depth > DEPTH_MAX ? "nested too deep; expected settings and a list of limits" : NULL;
}

static bool survey_text(const struct tly_loader *loader)
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

static bool take_document(struct tly_loader *loader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&loader->document);
    bool is_nothing = root == NULL || (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0 &&
                                       root->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
    if (is_nothing) return true; /* an empty file sets nothing, nor does one that has "---" alone */
    if (root->type != YAML_MAPPING_NODE) return tly_yaml_expect(loader, root, "settings and limits: a map");
    return tly_yaml_each_pair(loader, root, take_top_pair, NULL);
}

static bool load_text(struct tly_loader *loader)
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
static uint8_t *read_file(const char *path, size_t *n, uint64_t *print, struct tly_config_error *error)
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
    if (why == NULL) {
        *print = tly_filewatch_print(0, path, &status);
        return bytes;
    }
    snprintf(error->text, sizeof error->text, "%.300s: %s", path, why);
    free(bytes);
    return NULL;
}

/* The rules are freed unless all is well. */
static bool load(struct tly_loader *loader, const struct tly_mem *mem)
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
    struct tly_loader loader = {.path = path, .config = *config, .mem = mem, .error = error};
    error->text[0] = '\0';
    if (strlcpy(loader.config.file, path, sizeof loader.config.file) >= sizeof loader.config.file) {
        snprintf(error->text, sizeof error->text, "%.300s...: the path is too long", path);
        return false;
    }
    uint8_t *bytes = read_file(path, &loader.text.n, &loader.config.file_print, error);
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
    struct tly_loader loader = {.path = label, .text = text, .only_limits = true, .mem = mem, .error = error};
    if (text.n == 0) loader.text = tly_slice_text("\n");
    if (!load(&loader, mem)) return false;
    *rules = loader.rules;
    return true;
}
