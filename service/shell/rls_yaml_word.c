#include "service/shell/rls_yaml_word.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    enum tly_yaml_word word;
} words[] = {
    {"y", TLY_YAML_TRUE},      {"Y", TLY_YAML_TRUE},      {"yes", TLY_YAML_TRUE},
    {"Yes", TLY_YAML_TRUE},    {"YES", TLY_YAML_TRUE},    {"true", TLY_YAML_TRUE},
    {"True", TLY_YAML_TRUE},   {"TRUE", TLY_YAML_TRUE},   {"on", TLY_YAML_TRUE},
    {"On", TLY_YAML_TRUE},     {"ON", TLY_YAML_TRUE},     {"n", TLY_YAML_FALSE},
    {"N", TLY_YAML_FALSE},     {"no", TLY_YAML_FALSE},    {"No", TLY_YAML_FALSE},
    {"NO", TLY_YAML_FALSE},    {"false", TLY_YAML_FALSE}, {"False", TLY_YAML_FALSE},
    {"FALSE", TLY_YAML_FALSE}, {"off", TLY_YAML_FALSE},   {"Off", TLY_YAML_FALSE},
    {"OFF", TLY_YAML_FALSE},   {"", TLY_YAML_NULL},       {"~", TLY_YAML_NULL},
    {"null", TLY_YAML_NULL},   {"Null", TLY_YAML_NULL},   {"NULL", TLY_YAML_NULL},
    {".nan", TLY_YAML_FLOAT},  {".NaN", TLY_YAML_FLOAT},  {".NAN", TLY_YAML_FLOAT},
    {".inf", TLY_YAML_FLOAT},  {".Inf", TLY_YAML_FLOAT},  {".INF", TLY_YAML_FLOAT},
    {"+.inf", TLY_YAML_FLOAT}, {"+.Inf", TLY_YAML_FLOAT}, {"+.INF", TLY_YAML_FLOAT},
    {"-.inf", TLY_YAML_FLOAT}, {"-.Inf", TLY_YAML_FLOAT}, {"-.INF", TLY_YAML_FLOAT},
};

/* Underscores may stand between digits. */
static bool plain_digits(struct tly_slice text, char out[64])
{
    size_t n = 0;
    if (text.n == 0 || text.n >= 64) return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] != '_') out[n++] = (char)text.p[i];
    out[n] = '\0';
    return n > 0;
}

bool tly_yaml_int(struct tly_slice text, int64_t *number)
{
    char digits[64], *end;
    if (!plain_digits(text, digits)) return false;
    const char *first = digits + (digits[0] == '-' || digits[0] == '+');
    if (first[0] < '0' || first[0] > '9') return false;
    bool is_binary = first[0] == '0' && first[1] == 'b', is_octal = first[0] == '0' && first[1] == 'o';
    const char *from = is_binary || is_octal ? first + 2 : digits;
    if ((is_binary || is_octal) && (from[0] < '0' || from[0] > '7')) return false;
    errno = 0;
    long long value = strtoll(from, &end, is_binary ? 2 : is_octal ? 8 : 0);
    if (*end != '\0' || errno != 0) return false;
    *number = (is_binary || is_octal) && digits[0] == '-' ? -value : value;
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *c)
{
    c += *c == '-' || *c == '+';
    size_t whole = strspn(c, "0123456789"), part = 0;
    c += whole;
    if (*c == '.') part = strspn(++c, "0123456789");
    c += part;
    if (whole + part == 0) return false;
    if (*c == 'e' || *c == 'E') {
        c += 1 + (c[1] == '-' || c[1] == '+');
        size_t n = strspn(c, "0123456789");
        if (n == 0) return false;
        c += n;
    }
    return *c == '\0';
}

enum tly_yaml_word tly_yaml_word(struct tly_slice text)
{
    int64_t ignored;
    char digits[64];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (tly_slice_equal(text, tly_slice_text(words[i].text))) return words[i].word;
    if (tly_yaml_int(text, &ignored)) return TLY_YAML_INT;
    return plain_digits(text, digits) && is_float(digits) ? TLY_YAML_FLOAT : TLY_YAML_TEXT;
}

const char *tly_yaml_word_tag(enum tly_yaml_word word)
{
    static const char *const tags[] = {"!!bool", "!!bool", "!!null", "!!int", "!!float", "!!str"};
    return tags[word];
}
