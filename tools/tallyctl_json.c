#include "tools/tallyctl.h"

#include "service/shell/http_json.h"
#include "service/shell/libc_mem.h"

#include <limits.h>

/* Nesting that is followed. */
#define DEPTH_MAX 32

struct misreading {
    size_t at;
    const char *why;
};

static size_t number_span(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] != 0 && strchr("+-.0123456789Ee", p[i]) != NULL)
        i++;
    return i;
}

/* Whether an integer fits 64 bits: signed when it is negative, else unsigned. Other numbers pass. */
static bool integer_fits(const uint8_t *p, size_t n)
{
    bool negative = p[0] == '-';
    const char *digits = (const char *)p + negative;
    n -= negative;
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    if (strspn(digits, "0123456789") < n || n < strlen(most)) return true;
    return n == strlen(most) && memcmp(digits, most, n) <= 0;
}

static size_t string_span(const uint8_t *p, size_t n)
{
    size_t i = 1;
    while (i < n && p[i] != '"')
        i += p[i] == '\\' ? 2 : 1;
    return i < n ? i + 1 : n;
}

/*
 * What json-c would take for something else: it gives the nearest number that fits 64 bits for one that does not,
 * takes ' for ", and ends at a NUL as if that were the end.
 */
static bool find_misreading(struct tly_slice text, struct misreading *found)
{
    size_t span;
    for (size_t i = 0; i < text.n; i += span) {
        const uint8_t *p = text.p + i;
        size_t left = text.n - i;
        span = 1;
        found->at = i;
        found->why = *p == 0 ? "a NUL byte" : "' is no quote";
        if (*p == 0 || *p == '\'') return true;
        if (*p == '"') span = string_span(p, left);
        if (*p != '-' && (*p < '0' || *p > '9')) continue;
        span = number_span(p, left);
        found->why = "the integer does not fit 64 bits";
        if (!integer_fits(p, span)) return true;
    }
    return false;
}

static bool parse(struct json_tokener *tokener, struct tly_slice text, struct json_object **out, char *error,
                  size_t size)
{
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* The NUL behind the text is read too: it ends a number that stands alone. */
    *out = json_tokener_parse_ex(tokener, (const char *)text.p, (int)text.n + 1);
    enum json_tokener_error result = json_tokener_get_error(tokener);
    if (result == json_tokener_success) return true;
    const char *why = result == json_tokener_continue ? "it ends too early" : json_tokener_error_desc(result);
    snprintf(error, size, "bad JSON at byte %zu: %s", json_tokener_get_parse_end(tokener) + 1, why);
    return false;
}

bool tly_ctl_json(struct tly_slice text, struct json_object **out, char *error, size_t size)
{
    struct misreading found;
    *out = NULL;
    if (text.n >= INT_MAX) {
        snprintf(error, size, "too long");
        return false;
    }
    if (find_misreading(text, &found)) {
        snprintf(error, size, "bad JSON at byte %zu: %s", found.at + 1, found.why);
        return false;
    }
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL) {
        snprintf(error, size, "out of memory");
        return false;
    }
    bool ok = parse(tokener, text, out, error, size);
    json_tokener_free(tokener);
    return ok;
}

bool tly_ctl_add(struct json_object *object, const char *name, struct json_object *value)
{
    if (value != NULL && json_object_object_add(object, name, value) == 0) return true;
    json_object_put(value);
    return false;
}

bool tly_ctl_add_text(struct json_object *object, const char *name, struct tly_slice text)
{
    if (tly_utf8_is_valid(text))
        return tly_ctl_add(object, name, json_object_new_string_len((const char *)text.p, (int)text.n));
    struct tly_mem mem = tly_libc_mem();
    struct tly_buf out;
    char longer[64];
    tly_buf_init(&out, &mem, 4 * (size_t)TLY_LWW_BYTES_MAX);
    struct tly_json json = tly_json_of(&out);
    tly_json_put_base64(&json, text);
    bool ok = out.result == TLY_OK && out.n >= 2;
    snprintf(longer, sizeof longer, "%s_base64", name);
    /* The quotes are the writer's. */
    ok = ok &&
         tly_ctl_add(object, longer, json_object_new_string_len((const char *)out.p + 1, (int)out.n - 2));
    tly_buf_fini(&out);
    return ok;
}
