/*
 * A check as most of them are written, read in place: one object of limit, key, hits, rate and algorithm, in ASCII and without escapes.
 * Whatever is not that is left to the reader of JSON, which makes objects of it; what is taken here is what that would have made of it.
 *
 *     {"limit": "api", "key": {"tenant": "t1"}, "hits": 1}
 */
#include "service/shell/http_check.h"

/* Each once. */
enum { HAS_LIMIT = 1, HAS_KEY = 2, HAS_HITS = 4, HAS_RATE = 8, HAS_ALGORITHM = 16 };

/* A place in the text. It has failed once something else stood there than what was asked for. */
struct reader {
    const uint8_t *at, *end;
    bool has_failed;
};

static bool fail(struct reader *reader)
{
    reader->has_failed = true;
    return false;
}

/* The next byte that is no blank; 0: there is none. */
static uint8_t next(struct reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
    return reader->at < reader->end ? *reader->at : 0;
}

/* Passes a byte over if it is there. */
static bool take(struct reader *reader, uint8_t wanted)
{
    if (next(reader) != wanted) return false;
    reader->at++;
    return true;
}

static struct tly_slice get_text(struct reader *reader)
{
    struct tly_slice text = {0};
    if (!take(reader, '"')) {
        fail(reader);
        return text;
    }
    text.p = reader->at;
    while (reader->at < reader->end && *reader->at >= ' ' && *reader->at < 0x7f && *reader->at != '"' &&
           *reader->at != '\\')
        reader->at++;
    text.n = (size_t)(reader->at - text.p);
    if (reader->at == reader->end || *reader->at != '"')
        fail(reader);
    else
        reader->at++;
    return text;
}

/* A whole number as it is written: digits, and no zero before others. */
static struct tly_slice get_digits(struct reader *reader)
{
    (void)next(reader);
    struct tly_slice digits = {.p = reader->at};
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    digits.n = (size_t)(reader->at - digits.p);
    bool is_plain = digits.n > 0 && digits.n <= 18 && (digits.n == 1 || digits.p[0] != '0');
    bool is_broken = reader->at < reader->end && (*reader->at == '.' || (*reader->at | 0x20) == 'e');
    if (!is_plain || is_broken) fail(reader);
    return digits;
}

/* Whether another member follows. */
static bool goes_on(struct reader *reader)
{
    if (reader->has_failed || take(reader, '}')) return false;
    return take(reader, ',') || fail(reader);
}

static void get_field(struct reader *reader, struct tly_http_asked *asked)
{
    struct tly_check *check = &asked->check;
    struct tly_field field = {.name = get_text(reader)};
    if (!take(reader, ':')) fail(reader);
    field.value = next(reader) == '"' ? get_text(reader) : get_digits(reader);
    for (size_t i = 0; i < check->field_count; i++)
        if (tly_slice_equal(asked->field[i].name, field.name)) fail(reader);
    if (check->field_count == TLY_RULE_FIELDS_MAX)
        fail(reader);
    else
        asked->field[check->field_count++] = field;
}

static void get_key(struct reader *reader, struct tly_http_asked *asked)
{
    if (!take(reader, '{')) {
        asked->has_key = true;
        asked->check.key = get_text(reader);
        return;
    }
    asked->check.fields = asked->field;
    if (take(reader, '}')) return;
    do
        get_field(reader, asked);
    while (goes_on(reader));
}

static void get_hits(struct reader *reader, struct tly_http_asked *asked)
{
    struct tly_slice digits = get_digits(reader);
    uint64_t hits = 0;
    for (size_t i = 0; i < digits.n; i++)
        hits = hits * 10 + (uint64_t)(digits.p[i] - '0');
    if (hits > UINT32_MAX) fail(reader);
    asked->check.hits = (uint32_t)hits;
}

static bool is(struct tly_slice name, const char *word)
{
    return tly_slice_equal(name, tly_slice_text(word));
}

/* Which member it was; 0: none of ours. */
static unsigned get_value(struct reader *reader, struct tly_slice name, struct tly_http_asked *asked)
{
    struct tly_check *check = &asked->check;
    if (is(name, "limit")) {
        check->limit = get_text(reader);
        return HAS_LIMIT;
    }
    if (is(name, "key")) {
        get_key(reader, asked);
        return HAS_KEY;
    }
    if (is(name, "hits")) {
        get_hits(reader, asked);
        return HAS_HITS;
    }
    if (is(name, "rate")) {
        if (tly_rate_parse(get_text(reader), &check->rate) != TLY_OK) fail(reader);
        return HAS_RATE;
    }
    if (is(name, "algorithm")) {
        if (!tly_algorithm_parse(get_text(reader), &check->rate.algorithm)) fail(reader);
        return HAS_ALGORITHM;
    }
    return 0;
}

static void get_member(struct reader *reader, struct tly_http_asked *asked, unsigned *has)
{
    struct tly_slice name = get_text(reader);
    if (!take(reader, ':')) fail(reader);
    unsigned member = reader->has_failed ? 0 : get_value(reader, name, asked);
    if (member == 0 || (*has & member) != 0) fail(reader);
    *has |= member;
}

bool tly_http_get_plain(struct tly_slice text, struct tly_http_asked *asked)
{
    struct reader reader = {.at = text.p, .end = text.p + text.n};
    unsigned has = 0;
    *asked = (struct tly_http_asked){.check = {.rate = {.algorithm = TLY_SLIDING_WINDOW}, .hits = 1}};
    if (text.n == 0 || text.n > TLY_HTTP_PLAIN_BYTES_MAX || !take(&reader, '{')) return false;
    do
        get_member(&reader, asked, &has);
    while (goes_on(&reader));
    if (reader.has_failed || reader.at != reader.end) return false;
    asked->has_rate = (has & HAS_RATE) != 0;
    if (asked->check.limit.n > 0) return !asked->has_rate && !asked->has_key;
    return (has & HAS_LIMIT) == 0 && asked->has_rate && asked->has_key &&
           tly_rate_fault_by_request(&asked->check.rate) == NULL;
}
