#include "service/shell/http_text.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

int tly_http_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

bool tly_http_is(struct tly_slice text, const char *lower_case)
{
    for (size_t i = 0; i < text.n; i++)
        if (lower_case[i] == '\0' || lower(text.p[i]) != (uint8_t)lower_case[i]) return false;
    return lower_case[text.n] == '\0';
}

struct tly_slice tly_http_trimmed(struct tly_slice text)
{
    while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t')) {
        text.p++;
        text.n--;
    }
    while (text.n > 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    return text;
}

bool tly_http_list_has(struct tly_slice list, const char *lower_case)
{
    while (list.n > 0) {
        const uint8_t *comma = memchr(list.p, ',', list.n);
        size_t n = comma != NULL ? (size_t)(comma - list.p) : list.n;
        if (tly_http_is(tly_http_trimmed(tly_slice_of(list.p, n)), lower_case)) return true;
        size_t taken = comma != NULL ? n + 1 : n;
        list = tly_slice_of(list.p + taken, list.n - taken);
    }
    return false;
}

size_t tly_http_decode(struct tly_slice text, bool is_query, uint8_t *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c == '%') {
            int high = text.n - i > 2 ? tly_http_hex_digit(text.p[i + 1]) : -1,
                low = high >= 0 ? tly_http_hex_digit(text.p[i + 2]) : -1;
            if (low < 0) return SIZE_MAX;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (is_query && c == '+') {
            c = ' ';
        }
        if (to != NULL) to[n] = c;
        n++;
    }
    return n;
}

static bool decode_part(struct tly_http_query *query, struct tly_slice part, struct tly_slice *decoded)
{
    size_t n = tly_http_decode(part, true, query->to);
    if (n == SIZE_MAX) return false;
    *decoded = tly_slice_of(query->to, n);
    query->to += n;
    return true;
}

bool tly_http_query_next(struct tly_http_query *query, struct tly_slice *name, struct tly_slice *value)
{
    struct tly_slice left = query->left;
    while (left.n > 0 && left.p[0] == '&')
        left = tly_slice_of(left.p + 1, left.n - 1);
    query->left = left;
    if (left.n == 0) return false;
    const uint8_t *end = memchr(left.p, '&', left.n);
    size_t n = end != NULL ? (size_t)(end - left.p) : left.n;
    const uint8_t *equals = memchr(left.p, '=', n);
    size_t name_n = equals != NULL ? (size_t)(equals - left.p) : n;
    struct tly_slice rest =
        equals != NULL ? tly_slice_of(equals + 1, n - name_n - 1) : tly_slice_of(left.p + n, 0);
    if (!decode_part(query, tly_slice_of(left.p, name_n), name) || !decode_part(query, rest, value))
        return false;
    query->left = tly_slice_of(left.p + n, left.n - n);
    return true;
}
