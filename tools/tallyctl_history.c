#include "tools/tallyctl_history.h"

#include "crdt/epoch_sum.h"
#include "tools/tallyctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The names of a strategy's words, in their order. */
struct form {
    uint8_t strategy_id;
    const char *word[TLY_NUMS_MAX];
};

static const struct form forms[] = {
    {TLY_LWW, {0}},
    {TLY_EPOCH_MAX, {"epoch", "count"}},
    {TLY_EPOCH_SUM, {"window", "epoch", "count", "aux"}},
    {TLY_ESCROW, {"window", "epoch", "peer", "units"}},
};

static const struct form *form_of(const struct tly_strategy *strategy)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (forms[i].strategy_id == strategy->id) return &forms[i];
    return NULL;
}

/* ---- reading ---- */

static const char *type_name(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_int: return "an integer";
    case json_type_double: return "a number with a fraction or exponent";
    case json_type_string: return "a string";
    case json_type_array: return "an array";
    case json_type_object: return "an object";
    case json_type_boolean: return "a boolean";
    default: return "null";
    }
}

static bool read_int(struct json_object *op, const char *name, struct json_object **value, char *error,
                     size_t size)
{
    if (!json_object_object_get_ex(op, name, value)) {
        snprintf(error, size, "\"%s\" is missing: an integer was expected", name);
        return false;
    }
    if (json_object_get_type(*value) == json_type_int) return true;
    snprintf(error, size, "\"%s\": an integer was expected, this is %s", name, type_name(*value));
    return false;
}

static bool read_unsigned(struct json_object *op, const char *name, uint64_t *out, char *error, size_t size)
{
    struct json_object *value;
    if (!read_int(op, name, &value, error, size)) return false;
    *out = json_object_get_uint64(value);
    if (json_object_get_int64(value) >= 0) return true;
    snprintf(error, size, "\"%s\": 0 to %" PRIu64 " was expected, this is %" PRId64, name, UINT64_MAX,
             json_object_get_int64(value));
    return false;
}

static bool read_signed(struct json_object *op, const char *name, uint64_t *out, char *error, size_t size)
{
    struct json_object *value;
    if (!read_int(op, name, &value, error, size)) return false;
    *out = (uint64_t)json_object_get_int64(value);
    if (json_object_get_int64(value) < 0 || json_object_get_uint64(value) <= INT64_MAX) return true;
    snprintf(error, size, "\"%s\": %" PRId64 " to %" PRId64 " was expected, this is %" PRIu64, name,
             INT64_MIN, INT64_MAX, json_object_get_uint64(value));
    return false;
}

static bool read_positive(struct json_object *op, const char *name, uint64_t *out, char *error, size_t size)
{
    if (!read_unsigned(op, name, out, error, size)) return false;
    if (*out != 0) return true;
    snprintf(error, size, "\"%s\": 1 or more was expected, this is 0", name);
    return false;
}

static bool read_text(struct json_object *op, const char *name, struct tly_slice *out, char *error,
                      size_t size)
{
    struct json_object *value;
    if (!json_object_object_get_ex(op, name, &value)) {
        snprintf(error, size, "\"%s\" is missing: a string was expected", name);
        return false;
    }
    *out = tly_slice_of(json_object_get_string(value), (size_t)json_object_get_string_len(value));
    if (json_object_is_type(value, json_type_string)) return true;
    snprintf(error, size, "\"%s\": a string was expected, this is %s", name, type_name(value));
    return false;
}

static bool read_payload(struct json_object *op, const struct tly_strategy *strategy, struct tly_dot *dot,
                         char *error, size_t size)
{
    const struct form *form = form_of(strategy);
    for (unsigned i = 0; i < TLY_NUMS_MAX && form->word[i] != NULL; i++) {
        bool is_signed = (strategy->signed_nums >> i & 1u) != 0;
        bool ok = is_signed ? read_signed(op, form->word[i], &dot->num[i], error, size)
                            : read_unsigned(op, form->word[i], &dot->num[i], error, size);
        if (!ok) return false;
    }
    bool has_deadline = strategy->id == TLY_LWW && json_object_object_get_ex(op, "deadline_ms", NULL);
    if (has_deadline && !read_unsigned(op, "deadline_ms", &dot->num[0], error, size)) return false;
    return !strategy->has_bytes || read_text(op, "value", &dot->bytes, error, size);
}

static bool read_kind(struct json_object *op, enum tly_op *out, char *error, size_t size)
{
    struct tly_slice kind;
    if (!read_text(op, "op", &kind, error, size)) return false;
    *out = tly_slice_equal(kind, tly_slice_text("remove")) ? TLY_REMOVE : TLY_PUT;
    if (*out == TLY_REMOVE || tly_slice_equal(kind, tly_slice_text("put"))) return true;
    snprintf(error, size, "\"op\": \"put\" or \"remove\" was expected");
    return false;
}

bool tly_history_read_op(struct json_object *op, const struct tly_strategy *strategy, struct tly_dot *dot,
                         char *error, size_t size)
{
    *dot = (struct tly_dot){0};
    if (json_object_get_type(op) != json_type_object) {
        snprintf(error, size, "an object was expected, this is %s", type_name(op));
        return false;
    }
    if (!read_kind(op, &dot->op, error, size)) return false;
    if (!read_positive(op, "ts", &dot->version.ts, error, size)) return false;
    if (!read_positive(op, "origin", &dot->version.origin, error, size)) return false;
    if (dot->op == TLY_PUT && !read_payload(op, strategy, dot, error, size)) return false;
    enum tly_result result = tly_dot_check(strategy, dot);
    if (result == TLY_OK) return true;
    snprintf(error, size, "%s", tly_result_text(result));
    return false;
}

/* ---- writing ---- */

static struct json_object *new_text(struct tly_slice text)
{
    return json_object_new_string_len((const char *)text.p, (int)text.n);
}

static bool add_payload(struct json_object *op, const struct tly_strategy *strategy,
                        const struct tly_dot *dot)
{
    const struct form *form = form_of(strategy);
    bool ok = true;
    for (unsigned i = 0; i < TLY_NUMS_MAX && form->word[i] != NULL; i++) {
        bool is_signed = (strategy->signed_nums >> i & 1u) != 0;
        ok = ok && tly_ctl_add(op, form->word[i],
                               is_signed ? json_object_new_int64((int64_t)dot->num[i])
                                         : json_object_new_uint64(dot->num[i]));
    }
    ok = ok && (!strategy->has_bytes || tly_ctl_add_text(op, "value", dot->bytes));
    bool has_deadline = strategy->id == TLY_LWW && dot->num[0] != 0;
    return ok && (!has_deadline || tly_ctl_add(op, "deadline_ms", json_object_new_uint64(dot->num[0])));
}

struct json_object *tly_history_write_op(const struct tly_strategy *strategy, const struct tly_dot *dot)
{
    struct json_object *op = json_object_new_object();
    if (op == NULL) return NULL;
    bool ok = tly_ctl_add(op, "op", json_object_new_string(dot->op == TLY_REMOVE ? "remove" : "put")) &&
              tly_ctl_add(op, "ts", json_object_new_uint64(dot->version.ts)) &&
              tly_ctl_add(op, "origin", json_object_new_uint64(dot->version.origin)) &&
              (dot->op == TLY_REMOVE || add_payload(op, strategy, dot));
    if (ok) return op;
    json_object_put(op);
    return NULL;
}

struct tly_moment tly_history_moment(const struct tly_strategy *strategy, const struct tly_dot *dots,
                                     size_t count)
{
    struct tly_moment at = {0};
    if (strategy->id != TLY_EPOCH_SUM) return at;
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        uint64_t window = dots[i].num[TLY_SUM_WINDOW], epoch = dots[i].num[TLY_SUM_EPOCH];
        if (dots[i].op == TLY_REMOVE) continue;
        bool newer = !found || window < at.window || (window == at.window && epoch > at.epoch);
        found = true;
        if (newer) at = (struct tly_moment){.window = window, .epoch = epoch};
    }
    return at;
}

static struct json_object *epoch_and_count(const struct tly_value *value)
{
    struct json_object *pair = json_object_new_array_ext(2);
    struct json_object *epoch = json_object_new_uint64(value->epoch);
    struct json_object *count = json_object_new_int64(value->count);
    if (pair != NULL && epoch != NULL && count != NULL && json_object_array_put_idx(pair, 0, epoch) == 0 &&
        json_object_array_put_idx(pair, 1, count) == 0)
        return pair;
    json_object_put(pair);
    return NULL;
}

bool tly_history_write_read(const struct tly_strategy *strategy, const struct tly_value *value,
                            struct json_object **out)
{
    *out = NULL;
    if (!value->present) return true;
    if (strategy->id == TLY_LWW) *out = new_text(value->bytes);
    if (strategy->id == TLY_EPOCH_MAX) *out = epoch_and_count(value);
    if (strategy->id == TLY_EPOCH_SUM || strategy->id == TLY_ESCROW)
        *out = json_object_new_int64(value->count);
    return *out != NULL;
}

/* ---- for people ---- */

void tly_history_describe(const struct tly_strategy *strategy, const struct tly_dot *dot, char *text,
                          size_t size)
{
    char value[200], time[TLY_CTL_TIME_BYTES];
    if (dot->op == TLY_REMOVE) {
        snprintf(text, size, "remove");
    } else if (strategy->id == TLY_LWW) {
        tly_ctl_printable(dot->bytes, value, sizeof value);
        int n = snprintf(text, size, "put \"%s\"", value);
        if (dot->num[0] == 0) return;
        tly_ctl_time(dot->num[0] > UINT64_MAX / 1000000 ? UINT64_MAX : dot->num[0] * 1000000, time,
                     sizeof time);
        snprintf(text + n, size - (size_t)n, " until %s (%" PRIu64 ")", time, dot->num[0]);
    } else if (strategy->id == TLY_EPOCH_MAX) {
        snprintf(text, size, "put epoch %" PRIu64 " count %" PRId64, dot->num[0], (int64_t)dot->num[1]);
    } else if (strategy->id == TLY_ESCROW) {
        snprintf(text, size, "put window %" PRIu64 " epoch %" PRIu64 " peer %" PRIu64 " units %" PRIu64,
                 dot->num[0], dot->num[1], dot->num[2], dot->num[3]);
    } else {
        snprintf(text, size, "put window %" PRIu64 " epoch %" PRIu64 " count %" PRId64 " aux %" PRId64,
                 dot->num[0], dot->num[1], (int64_t)dot->num[2], (int64_t)dot->num[3]);
    }
}
