#include "service/shell/resp_reply.h"

#include "service/shell/digits.h"

#include <stdarg.h>
#include <stdio.h>

/* A type, a number, a line's end. */
#define HEAD_BYTES_MAX (1 + TLY_DIGITS_MAX + 2)
#define ERROR_BYTES_MAX 512

static inline size_t digits_of(uint64_t number)
{
    size_t n = 1;
    for (; number >= 100; number /= 100)
        n += 2;
    return n + (number >= 10);
}

/* From -1 on, with their line ends: which of them it is nobody can foresee, so there is no branch for their lengths. */
#define TEN_NUMBERS(tens)                                                                             \
    tens "0\r\n", tens "1\r\n", tens "2\r\n", tens "3\r\n", tens "4\r\n", tens "5\r\n", tens "6\r\n", \
        tens "7\r\n", tens "8\r\n", tens "9\r\n"

static const char small_numbers[][4] = {
    "-1\r\n",         TEN_NUMBERS(""),  TEN_NUMBERS("1"), TEN_NUMBERS("2"),
    TEN_NUMBERS("3"), TEN_NUMBERS("4"), TEN_NUMBERS("5"), TEN_NUMBERS("6"),
    TEN_NUMBERS("7"), TEN_NUMBERS("8"), TEN_NUMBERS("9"),
};

/* Appends type, number and line end at `to`; where they end. */
static inline uint8_t *put_head(uint8_t *to, char type, int64_t number)
{
    *to++ = (uint8_t)type;
    uint64_t rest = (uint64_t)number;
    if (rest + 1 < sizeof small_numbers / sizeof small_numbers[0]) {
        memcpy(to, small_numbers[rest + 1], sizeof small_numbers[0]);
        return to + sizeof small_numbers[0] - (rest < 10);
    }
    if (number < 0) {
        *to++ = '-';
        rest = 0 - rest;
    }
    to += digits_of(rest);
    (void)tly_digits(to, rest);
    memcpy(to, "\r\n", 2);
    return to + 2;
}

void tly_resp_put_ints(struct tly_buf *out, const int64_t *numbers, size_t count)
{
    uint8_t *from = tly_buf_room(out, HEAD_BYTES_MAX * (count + 1));
    if (from == NULL) return;
    uint8_t *to = put_head(from, '*', (int64_t)count);
    for (size_t i = 0; i < count; i++)
        to = put_head(to, ':', numbers[i]);
    out->n += (size_t)(to - from);
}

static void put_number(struct tly_buf *out, char type, int64_t number)
{
    uint8_t *to = tly_buf_room(out, HEAD_BYTES_MAX);
    if (to != NULL) out->n += (size_t)(put_head(to, type, number) - to);
}

void tly_resp_put_simple(struct tly_buf *out, const char *text)
{
    size_t n = strlen(text);
    uint8_t *to = tly_buf_room(out, n + 3);
    if (to == NULL) return;
    to[0] = '+';
    memcpy(to + 1, text, n);
    memcpy(to + 1 + n, "\r\n", 2);
    out->n += n + 3;
}

void tly_resp_put_error(struct tly_buf *out, const char *format, ...)
{
    char text[ERROR_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t n = written < 0 ? 0 : (size_t)written;
    if (n > sizeof text - 1) n = sizeof text - 1;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20) text[i] = ' ';
    tly_buf_put(out, "-", 1);
    tly_buf_put(out, text, n);
    tly_buf_put(out, "\r\n", 2);
}

void tly_resp_put_int(struct tly_buf *out, int64_t number)
{
    put_number(out, ':', number);
}

void tly_resp_put_uint(struct tly_buf *out, uint64_t number)
{
    tly_resp_put_int(out, tly_resp_as_int(number));
}

void tly_resp_put_bulk(struct tly_buf *out, struct tly_slice bytes)
{
    uint8_t *to = tly_buf_room(out, HEAD_BYTES_MAX + bytes.n + 2);
    if (to == NULL) return;
    uint8_t *end = put_head(to, '$', (int64_t)bytes.n);
    if (bytes.n > 0) memcpy(end, bytes.p, bytes.n);
    memcpy(end + bytes.n, "\r\n", 2);
    out->n += (size_t)(end - to) + bytes.n + 2;
}

void tly_resp_put_text(struct tly_buf *out, const char *text)
{
    tly_resp_put_bulk(out, tly_slice_text(text));
}

void tly_resp_put_bulk_int(struct tly_buf *out, int64_t number)
{
    uint8_t digits[TLY_DIGITS_MAX], *first = tly_digits_signed(digits + TLY_DIGITS_MAX, number);
    tly_resp_put_bulk(out, tly_slice_of(first, (size_t)(digits + TLY_DIGITS_MAX - first)));
}

void tly_resp_put_null(struct tly_buf *out, int proto)
{
    if (proto == 3)
        tly_buf_put(out, "_\r\n", 3);
    else
        tly_buf_put(out, "$-1\r\n", 5);
}

void tly_resp_put_null_array(struct tly_buf *out, int proto)
{
    if (proto == 3)
        tly_buf_put(out, "_\r\n", 3);
    else
        tly_buf_put(out, "*-1\r\n", 5);
}

void tly_resp_put_verbatim(struct tly_buf *out, int proto, struct tly_slice text)
{
    if (proto != 3) {
        tly_resp_put_bulk(out, text);
        return;
    }
    put_number(out, '=', (int64_t)text.n + 4);
    tly_buf_put(out, "txt:", 4);
    tly_buf_put(out, text.p, text.n);
    tly_buf_put(out, "\r\n", 2);
}

void tly_resp_put_array(struct tly_buf *out, size_t count)
{
    put_number(out, '*', (int64_t)count);
}

void tly_resp_put_map(struct tly_buf *out, int proto, size_t pairs)
{
    put_number(out, proto == 3 ? '%' : '*', (int64_t)(proto == 3 ? pairs : pairs * 2));
}

void tly_resp_put_set(struct tly_buf *out, int proto, size_t count)
{
    put_number(out, proto == 3 ? '~' : '*', (int64_t)count);
}

void tly_resp_put_push(struct tly_buf *out, int proto, size_t count)
{
    put_number(out, proto == 3 ? '>' : '*', (int64_t)count);
}
