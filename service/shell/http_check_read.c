/* A check of one limit, as a JSON object says it. */
#include "service/shell/http_check.h"

#include <stdarg.h>
#include <stdio.h>

bool tly_http_fail(struct tly_http_fault *fault, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
    return false;
}

static bool get_fields(struct json_object *object, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    struct json_object_iterator at = json_object_iter_begin(object), end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        struct json_object *value = json_object_iter_peek_value(&at);
        if (asked->check.field_count == TLY_RULE_FIELDS_MAX)
            return tly_http_fail(fault, "key: a limit has at most %d fields", TLY_RULE_FIELDS_MAX);
        if (!json_object_is_type(value, json_type_string) && !json_object_is_type(value, json_type_int))
            return tly_http_fail(fault, "key: a field's value is a string or a whole number");
        const char *text = json_object_get_string(value);
        size_t n = json_object_is_type(value, json_type_string) ? (size_t)json_object_get_string_len(value)
                                                                : strlen(text);
        asked->field[asked->check.field_count++] =
            (struct tly_field){tly_slice_text(json_object_iter_peek_name(&at)), tly_slice_of(text, n)};
    }
    asked->check.fields = asked->field;
    return true;
}

static bool get_key(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    if (json_object_is_type(value, json_type_object)) return get_fields(value, asked, fault);
    asked->has_key = true;
    return tly_json_get_text(value, &asked->check.key) ||
           tly_http_fail(fault, "key: the fields of a named limit as an object, or a string");
}

static bool get_limit(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    bool is_name = tly_json_get_text(value, &asked->check.limit) && asked->check.limit.n > 0;
    return is_name || tly_http_fail(fault, "limit: the name of a limit");
}

static bool get_rate(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    struct tly_slice text;
    asked->has_rate = true;
    bool is_rate = tly_json_get_text(value, &text) && tly_rate_parse(text, &asked->check.rate) == TLY_OK;
    return is_rate || tly_http_fail(fault, "rate: a text like \"100/10s\", \"5/m\" or \"1000/500ms\"");
}

static bool get_algorithm(struct json_object *value, struct tly_http_asked *asked,
                          struct tly_http_fault *fault)
{
    struct tly_slice text;
    bool is_known =
        tly_json_get_text(value, &text) && tly_algorithm_parse(text, &asked->check.rate.algorithm);
    return is_known || tly_http_fail(fault, "algorithm: one of %s", tly_algorithm_names());
}

static bool get_burst(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    return tly_json_get_uint(value, TLY_LIMIT_MAX, &asked->check.rate.burst) ||
           tly_http_fail(fault, "burst: a whole number of units");
}

static bool get_hits(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    uint64_t hits;
    if (!tly_json_get_uint(value, UINT32_MAX, &hits))
        return tly_http_fail(fault, "hits: a whole number from 0 to 4294967295");
    asked->check.hits = (uint32_t)hits;
    return true;
}

static bool get_mode(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault)
{
    struct tly_slice text;
    asked->has_mode = true;
    bool is_mode = tly_json_get_text(value, &text) && tly_mode_parse(text, &asked->check.rate) == TLY_OK;
    /* Hard limits are those that every node knows. */
    is_mode = is_mode && asked->check.rate.mode != TLY_HARD;
    return is_mode || tly_http_fail(fault, "mode: \"optimistic\" or \"capped: UNITS\"");
}

static bool get_on_partition(struct json_object *value, struct tly_http_asked *asked,
                             struct tly_http_fault *fault)
{
    struct tly_slice text;
    asked->has_on_partition = true;
    bool is_known = tly_json_get_text(value, &text) && tly_on_partition_parse(text, &asked->on_partition);
    return is_known || tly_http_fail(fault, "on_partition: \"open\", \"share\" or \"closed\"");
}

static const struct {
    const char *name;
    bool (*get)(struct json_object *value, struct tly_http_asked *asked, struct tly_http_fault *fault);
} members[] = {
    {"limit", get_limit}, {"key", get_key},
    {"hits", get_hits},   {"rate", get_rate},
    {"burst", get_burst}, {"algorithm", get_algorithm},
    {"mode", get_mode},   {"on_partition", get_on_partition},
};

static bool get_member(const char *name, struct json_object *value, struct tly_http_asked *asked,
                       struct tly_http_fault *fault)
{
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(name, members[i].name) == 0) return members[i].get(value, asked, fault);
    return tly_http_fail(
        fault,
        "no such member: \"%.64s\"; there are limit, key, hits, rate, burst, algorithm, mode, on_partition",
        name);
}

bool tly_http_get_check(struct json_object *object, struct tly_http_asked *asked,
                        struct tly_http_fault *fault)
{
    *asked = (struct tly_http_asked){.check = {.rate = {.algorithm = TLY_SLIDING_WINDOW}, .hits = 1}};
    if (!json_object_is_type(object, json_type_object)) return tly_http_fail(fault, "a check is an object");
    struct json_object_iterator at = json_object_iter_begin(object), end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
        if (!get_member(json_object_iter_peek_name(&at), json_object_iter_peek_value(&at), asked, fault))
            return false;

    bool is_named = asked->check.limit.n > 0;
    if (is_named && (asked->has_rate || asked->has_key || asked->has_mode || asked->has_on_partition))
        return tly_http_fail(fault,
                             "a named limit has its own rate and mode, and its key is an object of fields");
    if (asked->has_on_partition) asked->check.rate.on_partition = asked->on_partition;
    if (!is_named && !(asked->has_rate && asked->has_key))
        return tly_http_fail(fault, "either \"limit\" with the fields of its key, or \"key\" and \"rate\"");
    const char *text = is_named ? NULL : tly_rate_fault_by_request(&asked->check.rate);
    return text == NULL || tly_http_fail(fault, "%s", text);
}
