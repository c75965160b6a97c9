#include "wire/feed.h"

#include "wire/fields.h"
#include "wire/pack.h"

#include <xxhash.h>

#define DELTA "delta"
#define CAPS_MAX 64
#define SWEPT_MAX 16
/* What cursors begin with; never used again for another form. */
#define FORM_SYNC 1
#define FORM_SNAPSHOT 2

static const char *const verdicts[TLY_FEED_VERDICT_COUNT] = {
#define WORD(name, word) [TLY_FEED_##name] = (word),
    TLY_FEED_VERDICTS(WORD)
#undef WORD
};

const char *tly_feed_verdict_word(enum tly_feed_verdict verdict)
{
    return (size_t)verdict < TLY_FEED_VERDICT_COUNT ? verdicts[verdict] : "unknown";
}

static void put_word(struct tly_buf *out, const char *word)
{
    tly_put_text(out, tly_slice_text(word));
}

static void put_number(struct tly_buf *out, const char *key, uint64_t number)
{
    if (number == 0) return;
    put_word(out, key);
    tly_put_uint(out, number);
}

static void put_blob(struct tly_buf *out, const char *key, struct tly_slice bytes)
{
    if (bytes.n == 0) return;
    if (bytes.n > TLY_FEED_CURSOR_BYTES_MAX) tly_buf_fail(out, TLY_TOO_LARGE);
    put_word(out, key);
    tly_put_bytes(out, bytes);
}

/* ---- questions ---- */

void tly_feed_ask_put(struct tly_buf *out, const struct tly_feed_ask *ask)
{
    size_t pairs = 1;
    pairs += ask->cursor.n > 0;
    pairs += ask->origin != 0;
    pairs += ask->failed != 0;
    pairs += ask->bytes_max != 0;
    pairs += ask->prefix_count != 0;
    tly_put_map(out, pairs);
    put_word(out, "caps");
    tly_put_array(out, ask->delta ? 1 : 0);
    if (ask->delta) put_word(out, DELTA);
    put_blob(out, "cursor", ask->cursor);
    put_number(out, "origin", ask->origin);
    put_number(out, "failed", ask->failed);
    put_number(out, "bytes", ask->bytes_max);
    if (ask->prefix_count == 0) return;
    put_word(out, "prefixes");
    tly_put_array(out, 2 * ask->prefix_count);
    for (size_t i = 0; i < ask->prefix_count; i++) {
        tly_put_bytes(out, ask->prefixes[i].prefix);
        tly_put_bool(out, ask->prefixes[i].held);
    }
}

static void get_ask_cursor(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    ask->cursor = tly_get_bytes(cursor, TLY_FEED_CURSOR_BYTES_MAX);
}

static void get_caps(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    size_t count = tly_get_array(cursor, CAPS_MAX);
    for (size_t i = 0; i < count; i++)
        if (tly_slice_equal(tly_get_bytes(cursor, TLY_WORD_BYTES_MAX), tly_slice_text(DELTA)))
            ask->delta = true;
}

static void get_ask_origin(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    ask->origin = tly_get_uint(cursor);
    if (ask->origin == 0) tly_cursor_fail(cursor);
}

static void get_failed(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    ask->failed = tly_get_uint(cursor);
}

static void get_bytes_max(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    ask->bytes_max = tly_get_uint(cursor);
}

static void get_prefixes(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_ask *ask = message;
    size_t elements = tly_get_array(cursor, (size_t)2 * TLY_FEED_PREFIXES_MAX);
    if (elements % 2 != 0) tly_cursor_fail(cursor);
    for (size_t i = 0; i < elements / 2 && cursor->result == TLY_OK; i++) {
        struct tly_feed_prefix *prefix = &ask->prefixes[ask->prefix_count++];
        prefix->prefix = tly_get_bytes(cursor, TLY_KEY_BYTES_MAX);
        prefix->held = tly_get_bool(cursor);
        if (prefix->prefix.n == 0) tly_cursor_fail(cursor);
    }
}

enum tly_result tly_feed_ask_get(struct tly_slice body, struct tly_feed_ask *ask)
{
    static const struct tly_field_reader fields[] = {
        {"cursor", get_ask_cursor}, {"caps", get_caps},       {"origin", get_ask_origin},
        {"failed", get_failed},     {"bytes", get_bytes_max}, {"prefixes", get_prefixes},
    };
    struct tly_cursor cursor = tly_cursor_of(body);
    *ask = (struct tly_feed_ask){0};
    tly_fields_get(&cursor, fields, sizeof fields / sizeof fields[0], 0, ask);
    return tly_cursor_end(&cursor);
}

uint64_t tly_feed_scope(const struct tly_feed_ask *ask)
{
    uint64_t scope = 0;
    for (size_t i = 0; i < ask->prefix_count; i++) {
        struct tly_slice prefix = ask->prefixes[i].prefix;
        scope = XXH3_64bits_withSeed(prefix.p, prefix.n, scope + prefix.n);
        if (scope == 0) scope = 1;
    }
    return scope;
}

/* ---- answers ---- */

static void put_names(struct tly_buf *out, const char *key, const struct tly_feed_names *names)
{
    if (names->count == 0) return;
    put_word(out, key);
    tly_put_array(out, names->count);
    for (size_t i = 0; i < names->count; i++)
        tly_put_bytes(out, names->names[i]);
}

static void put_floors(struct tly_buf *out, const struct tly_feed_answer *answer)
{
    if (answer->floor_count == 0) return;
    put_word(out, "floors");
    tly_put_array(out, answer->floor_count);
    tly_buf_put(out, answer->floors.p, answer->floors.n);
}

static void put_swept(struct tly_buf *out, const struct tly_feed_swept *swept)
{
    if (swept->upto == 0) return;
    put_word(out, "swept");
    tly_put_array(out, 3);
    tly_put_uint(out, swept->upto);
    tly_put_uint(out, swept->now_ms);
    tly_put_uint(out, swept->skew_ns);
}

void tly_feed_answer_put(struct tly_buf *out, const struct tly_feed_answer *answer)
{
    bool is_cold = answer->verdict == TLY_FEED_COLD_START;
    size_t pairs = 2;
    pairs += is_cold;
    pairs += answer->cursor.n > 0;
    pairs += answer->place.n > 0;
    pairs += answer->more;
    pairs += answer->taken != 0;
    pairs += answer->forgotten != 0;
    pairs += answer->missing.count > 0;
    pairs += answer->dropped.count > 0;
    pairs += answer->floor_count > 0;
    pairs += answer->swept.upto != 0;
    tly_put_map(out, pairs);
    put_word(out, "verdict");
    put_word(out, tly_feed_verdict_word(answer->verdict));
    put_word(out, "origin");
    tly_put_uint(out, answer->origin);
    if (is_cold) {
        put_word(out, "reason");
        put_word(out, tly_cold_start_word(answer->reason));
    }
    put_blob(out, "cursor", answer->cursor);
    put_blob(out, "place", answer->place);
    if (answer->more) {
        put_word(out, "more");
        tly_put_bool(out, true);
    }
    put_number(out, "taken", answer->taken);
    put_number(out, "forgotten", answer->forgotten);
    put_names(out, "missing", &answer->missing);
    put_names(out, "dropped", &answer->dropped);
    put_floors(out, answer);
    put_swept(out, &answer->swept);
}

static void get_verdict(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    struct tly_slice word = tly_get_bytes(cursor, TLY_WORD_BYTES_MAX);
    size_t i = 0;
    while (i < TLY_FEED_VERDICT_COUNT && !tly_slice_equal(word, tly_slice_text(verdicts[i])))
        i++;
    if (i == TLY_FEED_VERDICT_COUNT) tly_cursor_fail(cursor);
    answer->verdict = (enum tly_feed_verdict)i;
}

static void get_answer_origin(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->origin = tly_get_uint(cursor);
    if (answer->origin == 0) tly_cursor_fail(cursor);
}

static void get_reason(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->reason = tly_cold_start_named(tly_get_bytes(cursor, TLY_WORD_BYTES_MAX));
}

static void get_answer_cursor(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->cursor = tly_get_bytes(cursor, TLY_FEED_CURSOR_BYTES_MAX);
}

static void get_place(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->place = tly_get_bytes(cursor, TLY_FEED_CURSOR_BYTES_MAX);
}

static void get_more(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->more = tly_get_bool(cursor);
}

static void get_taken(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->taken = tly_get_uint(cursor);
}

static void get_forgotten(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->forgotten = tly_get_uint(cursor);
}

static void get_names(struct tly_cursor *cursor, struct tly_feed_names *names)
{
    size_t count = tly_get_array(cursor, TLY_FEED_PREFIXES_MAX);
    for (size_t i = 0; i < count && cursor->result == TLY_OK; i++)
        names->names[names->count++] = tly_get_bytes(cursor, TLY_KEY_BYTES_MAX);
}

static void get_missing(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    get_names(cursor, &answer->missing);
}

static void get_dropped(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    get_names(cursor, &answer->dropped);
}

static void get_floors(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    answer->floor_count = tly_get_array(cursor, TLY_ROUND_ROWS_BYTES_MAX);
    const uint8_t *from = cursor->p;
    for (size_t i = 0; i < answer->floor_count && cursor->result == TLY_OK; i++)
        (void)tly_get_uint(cursor);
    if (cursor->result == TLY_OK) answer->floors = tly_slice_of(from, (size_t)(cursor->p - from));
}

/* Numbers behind these a later version may add. */
static void get_swept(struct tly_cursor *cursor, void *message)
{
    struct tly_feed_answer *answer = message;
    size_t elements = tly_get_array(cursor, SWEPT_MAX);
    if (elements < 3) tly_cursor_fail(cursor);
    answer->swept.upto = tly_get_uint(cursor);
    answer->swept.now_ms = tly_get_uint(cursor);
    answer->swept.skew_ns = tly_get_uint(cursor);
    for (size_t i = 3; i < elements; i++)
        tly_cursor_skip(cursor);
}

enum tly_result tly_feed_answer_get(struct tly_slice body, struct tly_feed_answer *answer)
{
    static const struct tly_field_reader fields[] = {
        {"verdict", get_verdict},      {"origin", get_answer_origin}, {"reason", get_reason},
        {"cursor", get_answer_cursor}, {"place", get_place},          {"more", get_more},
        {"taken", get_taken},          {"forgotten", get_forgotten},  {"missing", get_missing},
        {"dropped", get_dropped},      {"floors", get_floors},        {"swept", get_swept},
    };
    struct tly_cursor cursor = tly_cursor_of(body);
    *answer = (struct tly_feed_answer){0};
    tly_fields_get(&cursor, fields, sizeof fields / sizeof fields[0], 2, answer);
    return tly_cursor_end(&cursor);
}

/* ---- cursors ---- */

#define BASE_ELEMENTS 5u

static void put_base(struct tly_buf *out, uint64_t form, const struct tly_feed_base *base, size_t more)
{
    tly_put_array(out, BASE_ELEMENTS + more);
    tly_put_uint(out, form);
    tly_put_uint(out, base->origin);
    tly_put_uint(out, base->scope);
    tly_put_uint(out, base->session);
    tly_put_uint(out, base->late);
}

/* Whether it is of this form; all forms are arrays that begin with their number. */
static bool get_base(struct tly_cursor *cursor, uint64_t form, struct tly_feed_base *base, size_t more)
{
    size_t elements = tly_get_array(cursor, 64);
    if (tly_get_uint(cursor) != form && cursor->result == TLY_OK && elements > 0) return false;
    if (elements != BASE_ELEMENTS + more) tly_cursor_fail(cursor);
    base->origin = tly_get_uint(cursor);
    base->scope = tly_get_uint(cursor);
    base->session = tly_get_uint(cursor);
    base->late = tly_get_uint(cursor);
    return true;
}

void tly_feed_cursor_put(struct tly_buf *out, const struct tly_feed_cursor *cursor,
                         struct tly_mark_list marks, const struct tly_feed_sent *sent, size_t sent_count)
{
    put_base(out, FORM_SYNC, &cursor->base, 3);
    tly_put_bool(out, cursor->in_round);
    tly_marks_put(out, marks.marks, marks.count);
    if (sent_count > TLY_MARKS_MAX) tly_buf_fail(out, TLY_TOO_LARGE);
    tly_put_array(out, 3 * sent_count);
    for (size_t i = 0; i < sent_count; i++) {
        tly_put_uint(out, sent[i].origin);
        tly_put_uint(out, sent[i].ts);
        tly_put_uint(out, sent[i].passed);
    }
}

enum tly_result tly_feed_cursor_get(struct tly_slice bytes, struct tly_feed_cursor *out)
{
    struct tly_cursor cursor = tly_cursor_of(bytes);
    *out = (struct tly_feed_cursor){0};
    if (!get_base(&cursor, FORM_SYNC, &out->base, 3)) return TLY_UNKNOWN_FRAME;
    out->in_round = tly_get_bool(&cursor);
    out->marks = tly_marks_get(&cursor);
    size_t elements = tly_get_array(&cursor, (size_t)3 * TLY_MARKS_MAX);
    if (elements % 3 != 0) tly_cursor_fail(&cursor);
    out->sent = cursor;
    out->sent_count = elements / 3;
    for (size_t i = 0; i < elements && cursor.result == TLY_OK; i++)
        (void)tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}

bool tly_feed_sent_next(struct tly_feed_cursor *cursor, struct tly_feed_sent *sent)
{
    if (cursor->sent_count == 0) return false;
    cursor->sent_count--;
    sent->origin = tly_get_uint(&cursor->sent);
    sent->ts = tly_get_uint(&cursor->sent);
    sent->passed = tly_get_uint(&cursor->sent);
    return true;
}

void tly_feed_place_put(struct tly_buf *out, const struct tly_feed_place *place)
{
    put_base(out, FORM_SNAPSHOT, &place->base, 7);
    tly_put_uint(out, place->number);
    tly_put_uint(out, place->chunks);
    tly_put_uint(out, place->at);
    tly_put_bytes(out, place->key);
    tly_put_uint(out, place->sent.ts);
    tly_put_uint(out, place->sent.origin);
    tly_put_uint(out, place->seen);
}

enum tly_result tly_feed_place_get(struct tly_slice bytes, struct tly_feed_place *place)
{
    struct tly_cursor cursor = tly_cursor_of(bytes);
    *place = (struct tly_feed_place){0};
    if (!get_base(&cursor, FORM_SNAPSHOT, &place->base, 7)) return TLY_UNKNOWN_FRAME;
    place->number = tly_get_uint(&cursor);
    place->chunks = tly_get_uint(&cursor);
    place->at = tly_get_uint(&cursor);
    place->key = tly_get_bytes(&cursor, TLY_KEY_BYTES_MAX);
    place->sent.ts = tly_get_uint(&cursor);
    place->sent.origin = tly_get_uint(&cursor);
    place->seen = tly_get_uint(&cursor);
    return tly_cursor_end(&cursor);
}
