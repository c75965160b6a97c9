#include "wire/text.h"

#include <assert.h>

/* In the order in which they are numbered, from 1; 0 is the end of the key. */
static const char separators[] = ":|-.,#/";
#define SEPARATORS (sizeof separators - 1)
#define LETTERS 64
static const char letters[LETTERS + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum kind { DECIMAL, HEX, WORD, BYTES };

/* ---- what both ends do alike ---- */

static void remember_key(struct tly_text *text, struct tly_slice key)
{
    memcpy(text->before, key.p, key.n);
    text->before_n = (uint16_t)key.n;
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
static void remember_word(struct tly_text *text, enum kind kind, struct tly_slice word)
{
    if (kind == DECIMAL || kind == HEX || word.n < 2 || word.n > TLY_TEXT_WORD_BYTES_MAX) return;
    if (text->word_count < TLY_TEXT_WORDS) {
        text->order[text->word_count] = text->word_count;
        text->word_count++;
    }
    struct tly_text_word *kept = promote(text, text->word_count - 1u);
    kept->n = (uint8_t)word.n;
    memcpy(kept->bytes, word.p, word.n);
}

/* ---- writing ---- */

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
    const char *at = byte != 0 ? memchr(letters, byte, LETTERS) : NULL;
    return at != NULL ? (unsigned)(at - letters) : LETTERS;
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
    const char *at = byte != 0 ? memchr(separators, byte, SEPARATORS) : NULL;
    return at != NULL ? (unsigned)(at - separators) + 1 : 0;
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

static void put_letters(struct tly_bits_out *bits, enum kind kind, struct tly_slice word)
{
    for (size_t i = 0; i < word.n; i++) {
        uint8_t byte = word.p[i];
        if (kind == WORD)
            tly_bits_put(bits, letter_of(byte), 6);
        else
            tly_bits_put(bits, is_decimal(byte) ? byte - (unsigned)'0' : byte - (unsigned)'a' + 10, 4);
    }
}

static size_t rank_of(const struct tly_text *text, struct tly_slice word)
{
    for (size_t i = 0; i < text->word_count; i++) {
        const struct tly_text_word *known = &text->words[text->order[i]];
        if (tly_slice_equal(word, tly_slice_of(known->bytes, known->n))) return i;
    }
    return TLY_TEXT_WORDS;
}

static void put_new_word(struct tly_text *text, struct tly_slice word, struct tly_bits_out *bits,
                         struct tly_buf *tail)
{
    enum kind kind = kind_of(word);
    tly_bits_put(bits, kind, 2);
    tly_code_put(bits, &text->length[kind], word.n);
    if (kind == DECIMAL)
        put_decimal(bits, word);
    else if (kind == BYTES)
        tly_buf_put(tail, word.p, word.n);
    else
        put_letters(bits, kind, word);
}

/* One word with its separator, and *rest goes on behind it; false: it ended the key. */
static bool put_word(struct tly_text *text, struct tly_slice *rest, struct tly_bits_out *bits,
                     struct tly_buf *tail)
{
    size_t n = word_length(*rest), whole = n < rest->n ? n + 1 : n;
    struct tly_slice word = tly_slice_of(rest->p, n), spelled = tly_slice_of(rest->p, whole);
    *rest = tly_slice_of(rest->p + whole, rest->n - whole);
    size_t rank = whole > n ? rank_of(text, spelled) : TLY_TEXT_WORDS;
    if (rank < TLY_TEXT_WORDS) {
        tly_code_put(bits, &text->rank, rank + 1);
        (void)promote(text, rank);
        return true;
    }
    tly_code_put(bits, &text->rank, 0);
    put_new_word(text, word, bits, tail);
    tly_code_put(bits, &text->separator, whole > n ? separator_of(spelled.p[n]) : 0);
    if (whole > n) remember_word(text, kind_of(word), spelled);
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

void tly_text_put(struct tly_text *text, struct tly_slice key, struct tly_bits_out *bits, struct tly_buf *tail)
{
    assert(key.n >= 1 && key.n <= TLY_KEY_BYTES_MAX);
    size_t shared = shared_with_before(text, key);
    struct tly_slice rest = tly_slice_of(key.p + shared, key.n - shared);
    tly_code_put(bits, &text->shared, shared);
    while (put_word(text, &rest, bits, tail))
        continue;
    remember_key(text, key);
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
    for (size_t i = 0; i < length; i++) {
        uint64_t letter = tly_bits_get(spelling->bits, kind == WORD ? 6 : 4);
        to[i] = (uint8_t)(kind == WORD ? letters[letter] : hex[letter]);
    }
}

/* A word that is spelled out; false: it ends the key. */
static bool get_new_word(struct tly_text *text, struct spelling *spelling)
{
    enum kind kind = (enum kind)tly_bits_get(spelling->bits, 2);
    uint64_t length = tly_code_get(spelling->bits, &text->length[kind]);
    uint8_t *to = room(spelling, length <= TLY_KEY_BYTES_MAX ? (size_t)length : SIZE_MAX);
    if (to == NULL) return false;
    if (kind == DECIMAL)
        get_decimal(spelling, to, (size_t)length);
    else if (kind == BYTES)
        get_bytes(spelling, to, (size_t)length);
    else
        get_letters(spelling, kind, to, (size_t)length);

    uint64_t separator = tly_code_get(spelling->bits, &text->separator);
    if (separator > SEPARATORS) spelling->bits->failed = true;
    if (separator == 0 || spelling->bits->failed) return false;
    uint8_t *end = room(spelling, 1);
    if (end == NULL) return false;
    *end = (uint8_t)separators[separator - 1];
    remember_word(text, kind, tly_slice_of(to, (size_t)length + 1));
    return true;
}

static bool get_word(struct tly_text *text, struct spelling *spelling)
{
    uint64_t rank = tly_code_get(spelling->bits, &text->rank);
    if (rank == 0) return get_new_word(text, spelling);
    if (rank > text->word_count) {
        spelling->bits->failed = true;
        return false;
    }
    const struct tly_text_word *word = promote(text, (size_t)rank - 1);
    uint8_t *to = room(spelling, word->n);
    if (to == NULL) return false;
    memcpy(to, word->bytes, word->n);
    return true;
}

struct tly_slice tly_text_get(struct tly_text *text, struct tly_bits_in *bits, struct tly_tail *tail)
{
    struct spelling spelling = {text->before, 0, bits, tail};
    uint64_t shared = tly_code_get(bits, &text->shared);
    if (shared > text->before_n) bits->failed = true;
    if (!bits->failed) spelling.n = (size_t)shared;
    while (!bits->failed && get_word(text, &spelling))
        continue;
    if (spelling.n == 0) bits->failed = true;
    if (bits->failed) return (struct tly_slice){0};
    text->before_n = (uint16_t)spelling.n;
    return tly_slice_of(text->before, text->before_n);
}
