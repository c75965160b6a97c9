#include "wire/text.h"

#include <assert.h>

/* In the order in which they are numbered, from 1; 0 is the end of the key. */
static const char separators[] = ":|-.,#/";
#define SEPARATORS (sizeof separators - 1)
#define LETTERS 64
static const char letters[LETTERS + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum kind { DECIMAL, HEX, WORD, BYTES };

/* How a word is said: with the shape that is expected there, spelled out, or by its rank from here on. */
enum { EXPECTED, SPELLED, RANKED };

/* ---- words ---- */

static bool is_decimal(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(uint8_t byte)
{
    return is_decimal(byte) || (byte >= 'a' && byte <= 'f');
}

static unsigned letter_of(uint8_t byte)
{
    if (byte >= 'a' && byte <= 'z') return byte - (unsigned)'a' + 26;
    if (byte >= 'A' && byte <= 'Z') return byte - (unsigned)'A';
    if (is_decimal(byte)) return byte - (unsigned)'0' + 52;
    return byte == '-' ? 62 : byte == '_' ? 63 : LETTERS;
}

static enum kind kind_of(struct tly_slice word)
{
    enum kind kind = DECIMAL;
    for (size_t i = 0; i < word.n; i++) {
        uint8_t byte = word.p[i];
        if (kind == DECIMAL && !is_decimal(byte)) kind = HEX;
        if (kind == HEX && !is_hex(byte)) kind = WORD;
        if (letter_of(byte) == LETTERS) return BYTES;
    }
    return kind;
}

static unsigned separator_of(uint8_t byte)
{
    switch (byte) {
    case ':': return 1;
    case '|': return 2;
    case '-': return 3;
    case '.': return 4;
    case ',': return 5;
    case '#': return 6;
    case '/': return 7;
    default: return 0;
    }
}

/* Bytes of the word at the beginning, without the separator. A slash parts only numbers from what is beside them. */
static size_t word_length(struct tly_slice rest)
{
    bool number = true;
    size_t n = 0;
    for (; n < rest.n; n++) {
        bool ends = separator_of(rest.p[n]) != 0;
        if (ends && rest.p[n] == '/')
            ends = (number && n > 0) || (n + 1 < rest.n && is_decimal(rest.p[n + 1]));
        if (ends) break;
        number = number && is_decimal(rest.p[n]);
    }
    return n;
}

/* ---- what both ends do alike ---- */

/* Whether a word can be spelled in this kind. */
static bool fits(enum kind kind, struct tly_slice word)
{
    enum kind least = kind_of(word);
    return least <= kind && word.n > 0;
}

/* A number that happens to be decimal does not make its place one of decimal numbers. */
static struct tly_text_shape shape_of(const struct tly_text *text, size_t i, struct tly_slice key,
                                      size_t start)
{
    struct tly_slice word = tly_slice_of(key.p + start, key.n - start);
    word.n = word_length(word);
    bool ends = start + word.n == key.n;
    struct tly_text_shape shape = {(uint16_t)start, (uint16_t)word.n, (uint8_t)kind_of(word),
                                   (uint8_t)(ends ? 0 : separator_of(word.p[word.n]))};
    bool like = i < text->shape_count && text->shapes[i].n == shape.n;
    if (like && text->shapes[i].kind == HEX && fits(HEX, word)) shape.kind = HEX;
    return shape;
}

/* The key stands in text->before. */
static void remember_shapes(struct tly_text *text)
{
    struct tly_slice key = tly_slice_of(text->before, text->before_n);
    size_t start = 0, i = 0;
    bool more = true;
    for (; more && i < TLY_TEXT_SHAPES; i++) {
        text->shapes[i] = shape_of(text, i, key, start);
        start += text->shapes[i].n + 1u;
        more = text->shapes[i].separator != 0;
    }
    text->shape_count = (uint8_t)i;
}

/* Which word of the key before the byte at `offset` belongs to. */
static size_t shape_at(const struct tly_text *text, size_t offset)
{
    size_t i = 0;
    while (i < text->shape_count && (size_t)text->shapes[i].start + text->shapes[i].n < offset)
        i++;
    return i;
}

/* From which word, and which byte of it, the key goes on behind what is shared. */
static void find_word(const struct tly_text *text, size_t shared, size_t *word, size_t *known)
{
    *word = shape_at(text, shared);
    *known = *word < text->shape_count ? shared - text->shapes[*word].start : 0;
}

/* The shape of word i, of which `known` bytes are there already; false: it has none. */
static bool expected_shape(const struct tly_text *text, size_t i, size_t known, struct tly_text_shape *shape)
{
    if (i >= text->shape_count) return false;
    *shape = text->shapes[i];
    if (known >= shape->n) return false;
    shape->n = (uint16_t)(shape->n - known);
    return true;
}

/* The word of this rank becomes the latest. */
static struct tly_text_word *promote(struct tly_text *text, size_t rank)
{
    uint8_t place = text->order[rank];
    memmove(text->order + 1, text->order, rank);
    text->order[0] = place;
    return &text->words[place];
}

/* A word as it was spelled, with its separator, is known from now on. Numbers are not: they seldom come again. */
static void remember_word(struct tly_text *text, enum kind kind, struct tly_slice word, bool ends)
{
    if (kind == DECIMAL || kind == HEX || word.n < 2 || word.n > TLY_TEXT_WORD_BYTES_MAX) return;
    if (text->word_count < TLY_TEXT_WORDS) {
        text->order[text->word_count] = text->word_count;
        text->word_count++;
    }
    struct tly_text_word *kept = promote(text, text->word_count - 1u);
    kept->n = (uint8_t)word.n;
    kept->ends = ends;
    memcpy(kept->bytes, word.p, word.n);
}

/* ---- writing ---- */

static void put_decimal(struct tly_bits_out *bits, struct tly_slice word)
{
    static const uint8_t width[4] = {0, 4, 7, 10};
    for (size_t i = 0, n; i < word.n; i += n) {
        unsigned value = 0;
        n = word.n - i < 3 ? word.n - i : 3;
        for (size_t j = 0; j < n; j++)
            value = value * 10 + (word.p[i + j] - (unsigned)'0');
        tly_bits_put(bits, value, width[n]);
    }
}

/* Of a letter, in bits. */
static unsigned width_of(enum kind kind)
{
    return kind == WORD ? 6 : 4;
}

static void put_letters(struct tly_bits_out *bits, enum kind kind, struct tly_slice word)
{
    unsigned width = width_of(kind);
    for (size_t i = 0; i < word.n;) {
        uint64_t some = 0;
        unsigned count = 0;
        for (; i < word.n && count + width <= 32; count += width, i++) {
            uint8_t byte = word.p[i];
            unsigned nibble = is_decimal(byte) ? byte - (unsigned)'0' : byte - (unsigned)'a' + 10;
            some |= (uint64_t)(kind == WORD ? letter_of(byte) : nibble) << count;
        }
        tly_bits_put(bits, some, count);
    }
}

/* Numbers are not looked for: they are hardly ever kept. */
static size_t rank_of(const struct tly_text *text, struct tly_slice word, bool ends)
{
    enum kind kind = kind_of(tly_slice_of(word.p, word.n - (ends ? 0 : 1)));
    if (kind == DECIMAL || kind == HEX) return TLY_TEXT_WORDS;
    for (size_t i = 0; i < text->word_count; i++) {
        const struct tly_text_word *known = &text->words[text->order[i]];
        if (known->ends == ends && tly_slice_equal(word, tly_slice_of(known->bytes, known->n))) return i;
    }
    return TLY_TEXT_WORDS;
}

static void put_spelling(enum kind kind, struct tly_slice word, struct tly_bits_out *bits,
                         struct tly_buf *tail)
{
    if (kind == DECIMAL)
        put_decimal(bits, word);
    else if (kind == BYTES)
        tly_buf_put(tail, word.p, word.n);
    else
        put_letters(bits, kind, word);
}

/* The key that is being written. */
struct writing {
    struct tly_slice rest;
    size_t word, known; /* the number of the next word, and how much of it was shared */
    struct tly_bits_out *bits;
    struct tly_buf *tail;
};

static void put_new_word(struct tly_text *text, const struct writing *writing, struct tly_slice word,
                         unsigned separator)
{
    struct tly_text_shape shape;
    enum kind kind = kind_of(word);
    bool expected = expected_shape(text, writing->word, writing->known, &shape) && shape.n == word.n &&
                    shape.separator == separator && fits((enum kind)shape.kind, word);
    tly_code_put(writing->bits, &text->rank, expected ? EXPECTED : SPELLED);
    if (expected) {
        kind = (enum kind)shape.kind;
    } else {
        tly_bits_put(writing->bits, kind, 2);
        tly_code_put(writing->bits, &text->length[kind], word.n);
        tly_code_put(writing->bits, &text->separator, separator);
    }
    put_spelling(kind, word, writing->bits, writing->tail);
    bool ends = separator == 0;
    remember_word(text, kind, tly_slice_of(word.p, word.n + (ends ? 0 : 1)), ends);
}

/* One word with its separator; false: it ended the key. */
static bool put_word(struct tly_text *text, struct writing *writing)
{
    struct tly_slice *rest = &writing->rest;
    size_t n = word_length(*rest), whole = n < rest->n ? n + 1 : n;
    struct tly_slice spelled = tly_slice_of(rest->p, whole);
    *rest = tly_slice_of(rest->p + whole, rest->n - whole);
    size_t rank = rank_of(text, spelled, whole == n);
    if (rank < TLY_TEXT_WORDS) {
        tly_code_put(writing->bits, &text->rank, rank + RANKED);
        (void)promote(text, rank);
    } else {
        put_new_word(text, writing, tly_slice_of(spelled.p, n), whole > n ? separator_of(spelled.p[n]) : 0);
    }
    writing->word++;
    writing->known = 0;
    return whole > n;
}

/* Bytes that the key shares with the one before; the words that follow begin there, so a name is not cut. */
static size_t shared_with_before(const struct tly_text *text, struct tly_slice key)
{
    size_t same = 0, start = 0;
    while (same < key.n && same < text->before_n && key.p[same] == text->before[same])
        same++;
    for (;;) {
        size_t n = word_length(tly_slice_of(key.p + start, key.n - start));
        if (start + n >= same || start + n == key.n) {
            enum kind kind = kind_of(tly_slice_of(key.p + start, n));
            return kind == DECIMAL || kind == HEX || same == key.n ? same : start;
        }
        start += n + 1;
    }
}

void tly_text_put(struct tly_text *text, struct tly_slice key, struct tly_bits_out *bits,
                  struct tly_buf *tail)
{
    assert(key.n >= 1 && key.n <= TLY_KEY_BYTES_MAX);
    size_t shared = shared_with_before(text, key);
    struct writing writing = {
        .rest = tly_slice_of(key.p + shared, key.n - shared), .bits = bits, .tail = tail};
    find_word(text, shared, &writing.word, &writing.known);
    tly_code_put(bits, &text->shared, shared);
    while (put_word(text, &writing))
        continue;
    memcpy(text->before, key.p, key.n);
    text->before_n = (uint16_t)key.n;
    remember_shapes(text);
}

/* ---- reading ---- */

const uint8_t *tly_tail_take(struct tly_tail *tail, size_t n)
{
    if (n > tail->n) return NULL;
    const uint8_t *p = tail->p;
    tail->p += n;
    tail->n -= n;
    return p;
}

/* The key that is being read. */
struct spelling {
    uint8_t *to;
    size_t n;
    size_t word, known; /* the number of the next word, and how much of it was shared */
    struct tly_bits_in *bits;
    struct tly_tail *tail;
};

static uint8_t *room(struct spelling *spelling, size_t n)
{
    if (n > TLY_KEY_BYTES_MAX - spelling->n) spelling->bits->failed = true;
    if (spelling->bits->failed) return NULL;
    uint8_t *to = spelling->to + spelling->n;
    spelling->n += n;
    return to;
}

static void get_decimal(struct spelling *spelling, uint8_t *to, size_t length)
{
    static const uint8_t width[4] = {0, 4, 7, 10};
    static const unsigned limit[4] = {1, 10, 100, 1000};
    for (size_t i = 0, n; i < length; i += n) {
        n = length - i < 3 ? length - i : 3;
        unsigned value = (unsigned)tly_bits_get(spelling->bits, width[n]);
        if (value >= limit[n]) spelling->bits->failed = true;
        for (size_t j = n; j-- > 0; value /= 10)
            to[i + j] = (uint8_t)('0' + value % 10);
    }
}

static void get_bytes(struct spelling *spelling, uint8_t *to, size_t length)
{
    const uint8_t *from = tly_tail_take(spelling->tail, length);
    if (from == NULL)
        spelling->bits->failed = true;
    else if (length > 0)
        memcpy(to, from, length);
}

static void get_letters(struct spelling *spelling, enum kind kind, uint8_t *to, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    const char *alphabet = kind == WORD ? letters : hex;
    unsigned width = width_of(kind);
    for (size_t i = 0; i < length;) {
        size_t count = 32 / width < length - i ? 32 / width : length - i;
        uint64_t some = tly_bits_get(spelling->bits, (unsigned)count * width);
        for (; count > 0; count--, some >>= width)
            to[i++] = (uint8_t)alphabet[some & ((1u << width) - 1)];
    }
}

static bool get_shape(struct tly_text *text, struct spelling *spelling, bool expected,
                      struct tly_text_shape *shape)
{
    if (expected) return expected_shape(text, spelling->word, spelling->known, shape);
    uint64_t kind = tly_bits_get(spelling->bits, 2);
    uint64_t n = tly_code_get(spelling->bits, &text->length[kind]);
    uint64_t separator = tly_code_get(spelling->bits, &text->separator);
    if (n > TLY_KEY_BYTES_MAX || separator > SEPARATORS) return false;
    *shape = (struct tly_text_shape){0, (uint16_t)n, (uint8_t)kind, (uint8_t)separator};
    return true;
}

/* A word that is spelled out; false: it ends the key. */
static bool get_new_word(struct tly_text *text, struct spelling *spelling, bool expected)
{
    struct tly_text_shape shape;
    if (!get_shape(text, spelling, expected, &shape)) spelling->bits->failed = true;
    uint8_t *to = spelling->bits->failed ? NULL : room(spelling, shape.n);
    if (to == NULL) return false;
    if (shape.kind == DECIMAL)
        get_decimal(spelling, to, shape.n);
    else if (shape.kind == BYTES)
        get_bytes(spelling, to, shape.n);
    else
        get_letters(spelling, (enum kind)shape.kind, to, shape.n);
    bool ends = shape.separator == 0;
    uint8_t *end = room(spelling, ends ? 0 : 1);
    if (end == NULL) return false;
    if (!ends) *end = (uint8_t)separators[shape.separator - 1];
    remember_word(text, (enum kind)shape.kind, tly_slice_of(to, shape.n + (ends ? 0u : 1u)), ends);
    return !ends;
}

static bool get_known_word(struct tly_text *text, struct spelling *spelling, size_t rank)
{
    const struct tly_text_word *word = promote(text, rank);
    uint8_t *to = room(spelling, word->n);
    if (to == NULL) return false;
    memcpy(to, word->bytes, word->n);
    return !word->ends;
}

static bool get_word(struct tly_text *text, struct spelling *spelling)
{
    uint64_t how = tly_code_get(spelling->bits, &text->rank);
    bool more = false;
    if (how < RANKED)
        more = get_new_word(text, spelling, how == EXPECTED);
    else if (how - RANKED < text->word_count)
        more = get_known_word(text, spelling, (size_t)how - RANKED);
    else
        spelling->bits->failed = true;
    spelling->word++;
    spelling->known = 0;
    return more;
}

struct tly_slice tly_text_get(struct tly_text *text, struct tly_bits_in *bits, struct tly_tail *tail)
{
    struct spelling spelling = {.to = text->before, .bits = bits, .tail = tail};
    uint64_t shared = tly_code_get(bits, &text->shared);
    if (shared > text->before_n) bits->failed = true;
    if (bits->failed) return (struct tly_slice){0};
    spelling.n = (size_t)shared;
    find_word(text, spelling.n, &spelling.word, &spelling.known);
    while (get_word(text, &spelling))
        continue;
    if (spelling.n == 0) bits->failed = true;
    if (bits->failed) return (struct tly_slice){0};
    text->before_n = (uint16_t)spelling.n;
    remember_shapes(text);
    return tly_slice_of(text->before, text->before_n);
}
