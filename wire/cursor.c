/*
 * msgpack by its specification (github.com/msgpack/msgpack, spec.md).  Every value begins with a head:
 *
 *     00..7f  the number itself         c0..df  by the table below, then 1, 2, 4 or 8 bytes, big-endian:
 *     80..8f  map, pairs in 4 bits              the number, or how much follows
 *     90..9f  array, elements in 4 bits
 *     a0..bf  str, bytes in 5 bits      e0..ff  the number - 256
 */
#include "wire/cursor.h"

#include <assert.h>

enum kind { RESERVED, NIL, BOOLEAN, UINT, SINT, FLOATING, BYTES, EXTENSION, ARRAY, MAP };

/* n: a number (SINT: in two's complement), or how many bytes, elements or pairs follow. */
struct head {
    enum kind kind;
    uint64_t n;
};

/* c0..df: what it is, the bytes of its number, and the number when it has no bytes. */
static const struct {
    uint8_t kind;
    uint8_t number_bytes;
    uint8_t n;
} heads[32] = {
    {NIL, 0, 0},        {RESERVED, 0, 0},  {BOOLEAN, 0, 0},   {BOOLEAN, 0, 1},   /* c0..c3 */
    {BYTES, 1, 0},      {BYTES, 2, 0},     {BYTES, 4, 0},     {EXTENSION, 1, 0}, /* c4..c7 */
    {EXTENSION, 2, 0},  {EXTENSION, 4, 0}, {FLOATING, 0, 4},  {FLOATING, 0, 8},  /* c8..cb */
    {UINT, 1, 0},       {UINT, 2, 0},      {UINT, 4, 0},      {UINT, 8, 0},      /* cc..cf */
    {SINT, 1, 0},       {SINT, 2, 0},      {SINT, 4, 0},      {SINT, 8, 0},      /* d0..d3 */
    {EXTENSION, 0, 1},  {EXTENSION, 0, 2}, {EXTENSION, 0, 4}, {EXTENSION, 0, 8}, /* d4..d7 */
    {EXTENSION, 0, 16}, {BYTES, 1, 0},     {BYTES, 2, 0},     {BYTES, 4, 0},     /* d8..db */
    {ARRAY, 2, 0},      {ARRAY, 4, 0},     {MAP, 2, 0},       {MAP, 4, 0},       /* dc..df */
};

struct tly_cursor tly_cursor_of(struct tly_slice bytes)
{
    return (struct tly_cursor){bytes.p, bytes.n > 0 ? bytes.p + bytes.n : bytes.p, TLY_OK};
}

void tly_cursor_fail(struct tly_cursor *cursor)
{
    cursor->p = cursor->end;
    cursor->result = TLY_BAD_MESSAGE;
}

enum tly_result tly_cursor_end(const struct tly_cursor *cursor)
{
    return cursor->result == TLY_OK && cursor->p == cursor->end ? TLY_OK : TLY_BAD_MESSAGE;
}

/* The next n bytes; NULL, and the cursor has failed, when there are fewer. */
static const uint8_t *take(struct tly_cursor *cursor, uint64_t n)
{
    if (cursor->result != TLY_OK || n > tly_cursor_left(cursor)) {
        tly_cursor_fail(cursor);
        return NULL;
    }
    const uint8_t *p = cursor->p;
    cursor->p += n;
    return p;
}

static uint64_t take_number(struct tly_cursor *cursor, size_t bytes)
{
    const uint8_t *p = take(cursor, bytes);
    uint64_t n = 0;
    for (size_t i = 0; p != NULL && i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

/* Fills the bytes above a number of 1, 2, 4 or 8 bytes with its sign. */
static uint64_t sign_extended(uint64_t n, size_t bytes)
{
    uint64_t sign = UINT64_C(1) << (bytes * 8 - 1);
    return (n ^ sign) - sign;
}

static struct head take_head(struct tly_cursor *cursor)
{
    const uint8_t *p = take(cursor, 1);
    if (p == NULL) return (struct head){RESERVED, 0};
    uint8_t byte = *p;
    if (byte <= 0x7f) return (struct head){UINT, byte};
    if (byte >= 0xe0) return (struct head){SINT, sign_extended(byte, 1)};
    if (byte <= 0x8f) return (struct head){MAP, byte & 0x0fu};
    if (byte <= 0x9f) return (struct head){ARRAY, byte & 0x0fu};
    if (byte <= 0xbf) return (struct head){BYTES, byte & 0x1fu};

    enum kind kind = (enum kind)heads[byte - 0xc0].kind;
    size_t bytes = heads[byte - 0xc0].number_bytes;
    uint64_t n = heads[byte - 0xc0].n;
    if (bytes > 0) {
        n = take_number(cursor, bytes);
        if (kind == SINT) n = sign_extended(n, bytes);
    }
    if (kind == RESERVED) tly_cursor_fail(cursor);
    return cursor->result == TLY_OK ? (struct head){kind, n} : (struct head){RESERVED, 0};
}

/* What follows a head of cc..cf or d0..d3, moved up to the top of the word, when a whole word can be loaded there. */
static bool take_wide(struct tly_cursor *cursor, unsigned first, uint64_t *word, unsigned *bits)
{
    if (tly_cursor_left(cursor) <= sizeof *word) return false;
    unsigned form = *cursor->p - first;
    if (form > 3) return false;
    uint64_t loaded;
    memcpy(&loaded, cursor->p + 1, sizeof loaded);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    loaded = __builtin_bswap64(loaded);
#endif
    *word = loaded;
    *bits = 8u << form;
    cursor->p += 1 + (1u << form);
    return true;
}

uint64_t tly_get_uint_any(struct tly_cursor *cursor)
{
    uint64_t word;
    unsigned bits;
    if (take_wide(cursor, 0xcc, &word, &bits)) return word >> (64 - bits);
    struct head head = take_head(cursor);
    bool fits = head.kind == UINT || (head.kind == SINT && head.n <= INT64_MAX);
    if (!fits) tly_cursor_fail(cursor);
    return fits ? head.n : 0;
}

int64_t tly_get_int_any(struct tly_cursor *cursor)
{
    uint64_t word;
    unsigned bits;
    if (take_wide(cursor, 0xd0, &word, &bits)) return (int64_t)sign_extended(word >> (64 - bits), bits / 8);
    struct head head = take_head(cursor);
    bool fits = head.kind == SINT || (head.kind == UINT && head.n <= INT64_MAX);
    if (!fits) tly_cursor_fail(cursor);
    return fits ? (int64_t)head.n : 0;
}

bool tly_get_bool(struct tly_cursor *cursor)
{
    struct head head = take_head(cursor);
    if (head.kind != BOOLEAN) tly_cursor_fail(cursor);
    return head.kind == BOOLEAN && head.n == 1;
}

struct tly_slice tly_get_bytes_any(struct tly_cursor *cursor, size_t bytes_max)
{
    struct head head = take_head(cursor);
    if (head.kind != BYTES || head.n > bytes_max) tly_cursor_fail(cursor);
    const uint8_t *p = take(cursor, head.n);
    return p != NULL ? tly_slice_of(p, (size_t)head.n) : tly_slice_of(NULL, 0);
}

/* A container's count, when so many values can follow at all. */
static size_t count_of(struct tly_cursor *cursor, struct head head, enum kind kind, size_t count_max)
{
    size_t values_max = kind == MAP ? tly_cursor_left(cursor) / 2 : tly_cursor_left(cursor);
    if (head.kind == kind && head.n <= count_max && head.n <= values_max) return (size_t)head.n;
    tly_cursor_fail(cursor);
    return 0;
}

size_t tly_get_array_any(struct tly_cursor *cursor, size_t count_max)
{
    return count_of(cursor, take_head(cursor), ARRAY, count_max);
}

size_t tly_get_map(struct tly_cursor *cursor, size_t count_max)
{
    return count_of(cursor, take_head(cursor), MAP, count_max);
}

/* Passes over a head and the bytes that belong to it; true: *values more values belong to it. */
static bool skip_head(struct tly_cursor *cursor, size_t *values)
{
    struct head head = take_head(cursor);
    switch (head.kind) {
    case BYTES:
    case FLOATING: (void)take(cursor, head.n); return false;
    case EXTENSION: (void)take(cursor, head.n + 1); return false; /* a byte says which extension */
    case ARRAY: *values = count_of(cursor, head, ARRAY, SIZE_MAX); return true;
    case MAP: *values = 2 * count_of(cursor, head, MAP, SIZE_MAX); return true;
    case RESERVED:
    case NIL:
    case BOOLEAN:
    case UINT:
    case SINT: break;
    }
    return false;
}

void tly_cursor_skip(struct tly_cursor *cursor)
{
    size_t todo[TLY_CURSOR_DEPTH_MAX + 1] = {1}; /* values still to pass over, by depth */
    size_t depth = 0;
    while (cursor->result == TLY_OK) {
        while (todo[depth] == 0 && depth > 0)
            depth--;
        if (todo[depth] == 0) return;
        todo[depth]--;
        size_t values = 0;
        if (!skip_head(cursor, &values)) continue;
        if (depth == TLY_CURSOR_DEPTH_MAX) {
            tly_cursor_fail(cursor);
            return;
        }
        todo[++depth] = values;
    }
}
