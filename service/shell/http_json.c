#include "service/shell/http_json.h"

#include "service/shell/digits.h"

/* ---- UTF-8 ---- */

size_t tly_utf8_bytes(struct tly_slice text)
{
    uint8_t c = text.p[0];
    if (c < 0x80) return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || text.n < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((text.p[i] & 0xc0) != 0x80) return 0;
    uint8_t second = text.p[1];
    bool is_long = (c == 0xe0 && second < 0xa0) || (c == 0xf0 && second < 0x90);
    bool is_outside = (c == 0xed && second > 0x9f) || (c == 0xf4 && second > 0x8f);
    return is_long || is_outside ? 0 : n;
}

void tly_utf8_make_line(char *text, char line_end)
{
    for (size_t n; *text != '\0'; text += n) {
        n = tly_utf8_bytes(tly_slice_text(text));
        bool is_shown = n > 0 && (unsigned char)*text >= 0x20 && *text != 0x7f;
        if (is_shown) continue;
        *text = *text == '\n' ? line_end : '?';
        n = 1;
    }
}

bool tly_utf8_is_valid(struct tly_slice text)
{
    while (text.n > 0) {
        size_t n = tly_utf8_bytes(text);
        if (n == 0) return false;
        text = tly_slice_of(text.p + n, text.n - n);
    }
    return true;
}

/* ---- writing ---- */

struct tly_json tly_json_of(struct tly_buf *out)
{
    return (struct tly_json){.out = out};
}

static void put(struct tly_json *json, const char *text, size_t n)
{
    tly_buf_put(json->out, text, n);
}

/* Before a value or a name. */
static void separate(struct tly_json *json)
{
    if (json->wants_comma) put(json, ",", 1);
    json->wants_comma = true;
}

void tly_json_open(struct tly_json *json, char bracket)
{
    separate(json);
    put(json, &bracket, 1);
    json->wants_comma = false;
}

void tly_json_close(struct tly_json *json, char bracket)
{
    put(json, &bracket, 1);
    json->wants_comma = true;
}

void tly_json_put_uint(struct tly_json *json, uint64_t number)
{
    uint8_t digits[TLY_DIGITS_MAX], *end = digits + sizeof digits, *first = tly_digits(end, number);
    separate(json);
    tly_buf_put(json->out, first, (size_t)(end - first));
}

void tly_json_put_int(struct tly_json *json, int64_t number)
{
    if (number >= 0) {
        tly_json_put_uint(json, (uint64_t)number);
        return;
    }
    separate(json);
    put(json, "-", 1);
    json->wants_comma = false;
    tly_json_put_uint(json, 0 - (uint64_t)number);
}

void tly_json_put_null(struct tly_json *json)
{
    separate(json);
    put(json, "null", 4);
}

void tly_json_put_bool(struct tly_json *json, bool value)
{
    separate(json);
    put(json, value ? "true" : "false", value ? 4 : 5);
}

static void put_escape(struct tly_json *json, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    const char *named = c == '"'    ? "\\\""
                        : c == '\\' ? "\\\\"
                        : c == '\n' ? "\\n"
                        : c == '\r' ? "\\r"
                                    : "\\t";
    if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t') {
        put(json, named, 2);
    } else {
        char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        put(json, text, sizeof text);
    }
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void tly_json_put_text(struct tly_json *json, struct tly_slice text)
{
    separate(json);
    put(json, "\"", 1);
    while (text.n > 0) {
        size_t n = 0;
        while (n < text.n && is_plain(text.p[n]))
            n++;
        tly_buf_put(json->out, text.p, n);
        text = tly_slice_of(text.p + n, text.n - n);
        if (text.n == 0) break;
        n = tly_utf8_bytes(text);
        if (n == 0)
            put(json, "\xef\xbf\xbd", 3);
        else if (n == 1)
            put_escape(json, text.p[0]);
        else
            tly_buf_put(json->out, text.p, n);
        n = n == 0 ? 1 : n;
        text = tly_slice_of(text.p + n, text.n - n);
    }
    put(json, "\"", 1);
}

void tly_json_put_base64(struct tly_json *json, struct tly_slice bytes)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    separate(json);
    put(json, "\"", 1);
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t left = bytes.n - i;
        uint32_t three = (uint32_t)bytes.p[i] << 16;
        if (left > 1) three |= (uint32_t)bytes.p[i + 1] << 8;
        if (left > 2) three |= bytes.p[i + 2];
        char four[4] = {letters[three >> 18], letters[three >> 12 & 63],
                        left > 1 ? letters[three >> 6 & 63] : '=', left > 2 ? letters[three & 63] : '='};
        put(json, four, sizeof four);
    }
    put(json, "\"", 1);
}

void tly_json_key(struct tly_json *json, const char *name)
{
    tly_json_put_text(json, tly_slice_text(name));
    put(json, ":", 1);
    json->wants_comma = false;
}

void tly_json_member_uint(struct tly_json *json, const char *name, uint64_t number)
{
    tly_json_key(json, name);
    tly_json_put_uint(json, number);
}

void tly_json_member_hex(struct tly_json *json, const char *name, uint64_t number)
{
    char text[17];
    (void)snprintf(text, sizeof text, "%016" PRIx64, number);
    tly_json_member_string(json, name, text);
}

void tly_json_member_int(struct tly_json *json, const char *name, int64_t number)
{
    tly_json_key(json, name);
    tly_json_put_int(json, number);
}

void tly_json_member_bool(struct tly_json *json, const char *name, bool value)
{
    tly_json_key(json, name);
    tly_json_put_bool(json, value);
}

void tly_json_member_text(struct tly_json *json, const char *name, struct tly_slice text)
{
    tly_json_key(json, name);
    tly_json_put_text(json, text);
}

void tly_json_member_string(struct tly_json *json, const char *name, const char *text)
{
    tly_json_member_text(json, name, tly_slice_text(text));
}

/* ---- reading ---- */

/* What a text consists of, looked at before anything is made of it. */
struct census {
    size_t containers, commas;
    const char *
        fault; /* the first thing that json-c would make something else of than it says; NULL: there is none */
};

static void note(struct census *census, const char *fault)
{
    if (census->fault == NULL) census->fault = fault;
}

#define NO_UNIT UINT32_MAX

/* The unit of UTF-16 of "\u00e9" at `at`, or NO_UNIT. */
static uint32_t unit_at(struct tly_slice text, size_t at)
{
    uint32_t unit = 0;
    if (text.n < 6 || at > text.n - 6 || memcmp(text.p + at, "\\u", 2) != 0) return NO_UNIT;
    for (size_t i = 2; i < 6; i++) {
        int digit = tly_http_hex_digit(text.p[at + i]);
        if (digit < 0) return NO_UNIT;
        unit = unit * 16 + (uint32_t)digit;
    }
    return unit;
}

/* Where the escape at `at` ends. One that is malformed is left to json-c. */
static size_t pass_escape(struct tly_slice text, size_t at, struct census *census, bool *has_zero)
{
    uint32_t unit = unit_at(text, at);
    if (unit == NO_UNIT) return at + 2;
    uint32_t second = unit_at(text, at + 6);
    bool is_high = unit >= 0xd800 && unit <= 0xdbff, is_low = unit >= 0xdc00 && unit <= 0xdfff;
    bool is_pair = is_high && second >= 0xdc00 && second <= 0xdfff;
    if (is_low || (is_high && !is_pair)) note(census, "the JSON text has half a surrogate pair");
    *has_zero = *has_zero || unit == 0;
    return at + (is_pair ? 12 : 6);
}

static size_t pass_blanks(struct tly_slice text, size_t at)
{
    while (at < text.n && memchr(" \n\r\t", text.p[at], 4) != NULL)
        at++;
    return at;
}

/* Where the string at `at` ends. json-c ends a name, not a value, at its first zero. */
static size_t pass_string(struct tly_slice text, size_t at, struct census *census)
{
    bool has_zero = false;
    for (at++; at < text.n && text.p[at] != '"';) {
        if (text.p[at] < 0x20) note(census, "the JSON text has a control character");
        at = text.p[at] == '\\' ? pass_escape(text, at, census, &has_zero) : at + 1;
    }
    size_t next = pass_blanks(text, ++at);
    if (has_zero && next < text.n && text.p[next] == ':') note(census, "a name has a zero character");
    return at;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Where the number at `at` ends, or its whole part. json-c takes what is beyond 64 bits for the last that is not. */
static size_t pass_number(struct tly_slice text, size_t at, struct census *census)
{
    bool is_negative = text.p[at] == '-';
    uint64_t number = 0, most = is_negative ? UINT64_C(1) << 63 : UINT64_MAX;
    size_t from = is_negative ? at + 1 : at;
    bool is_large = false;
    for (at = from; at < text.n && is_digit(text.p[at]); at++) {
        uint64_t digit = text.p[at] - (uint64_t)'0';
        is_large = is_large || number > (most - digit) / 10;
        number = is_large ? number : number * 10 + digit;
    }
    bool is_whole = at == text.n || memchr(".eE", text.p[at], 3) == NULL;
    if (is_large && is_whole) note(census, "a number has more than 64 bits");
    if (at - from > 1 && text.p[from] == '0') note(census, "a number begins with a zero");
    return at;
}

static void count(struct census *census, uint8_t c)
{
    if (c < 0x20 && c != '\n' && c != '\r' && c != '\t')
        note(census, "the JSON text has a control character");
    if (c == '\'') note(census, "JSON texts have double quotes");
    census->containers += c == '{' || c == '[';
    census->commas += c == ',';
}

static struct census take_census(struct tly_slice text)
{
    struct census census = {0};
    for (size_t at = 0; at < text.n;) {
        uint8_t c = text.p[at];
        if (c == '"')
            at = pass_string(text, at, &census);
        else if (c == '-' || is_digit(c))
            at = pass_number(text, at, &census);
        else
            count(&census, text.p[at++]);
    }
    return census;
}

/* Why a text is not worth parsing; NULL: it is. */
static const char *fault_of(struct tly_slice text)
{
    struct census census = take_census(text);
    if (census.containers > TLY_JSON_CONTAINERS_MAX || census.commas >= TLY_JSON_VALUES_MAX)
        return "the JSON text has too many values";
    if (census.fault != NULL) return census.fault;
    return tly_utf8_is_valid(text) ? NULL : "the JSON text is not UTF-8";
}

static struct json_object *parse(struct tly_slice text, const char **error)
{
    *error = fault_of(text);
    if (*error != NULL) return NULL;
    struct json_tokener *tokener = json_tokener_new_ex(TLY_JSON_DEPTH_MAX);
    if (tokener == NULL) {
        *error = tly_result_text(TLY_NOMEM);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *object = json_tokener_parse_ex(tokener, (const char *)text.p, (int)text.n);
    /* Its zero is the end: until then a number could go on. */
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        object = json_tokener_parse_ex(tokener, "", 1);
    enum json_tokener_error result = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (object == NULL)
        *error = result == json_tokener_error_parse_eof ? "the JSON text ends too early"
                 : result == json_tokener_success       ? "a JSON object is expected"
                                                        : json_tokener_error_desc(result);
    return object;
}

struct json_object *tly_json_parse(const struct tly_http_request *request, const struct tly_mem *mem,
                                   const char **error)
{
    if (!request->is_chunked) return parse(request->body, error);
    struct tly_buf joined;
    struct tly_slice piece;
    tly_buf_init(&joined, mem, TLY_HTTP_BODY_BYTES_MAX);
    for (size_t at = 0; tly_http_body_next(request, &at, &piece);)
        tly_buf_put(&joined, piece.p, piece.n);
    *error = tly_result_text(joined.result);
    struct json_object *object = joined.result == TLY_OK ? parse(tly_buf_slice(&joined), error) : NULL;
    tly_buf_fini(&joined);
    return object;
}

bool tly_json_get_uint(struct json_object *value, uint64_t max, uint64_t *number)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0) return false;
    *number = json_object_get_uint64(value);
    return *number <= max;
}

bool tly_json_get_int(struct json_object *value, int64_t *number)
{
    if (!json_object_is_type(value, json_type_int)) return false;
    *number = json_object_get_int64(value);
    return *number < 0 || json_object_get_uint64(value) <= INT64_MAX;
}

bool tly_json_get_text(struct json_object *value, struct tly_slice *text)
{
    if (!json_object_is_type(value, json_type_string)) return false;
    *text = tly_slice_of(json_object_get_string(value), (size_t)json_object_get_string_len(value));
    return true;
}
