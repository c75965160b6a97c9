/* Questions and answers of the feed, and the cursors in them: written and read alike, and never believed. */
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "tests/wire/damage.h"
#include "wire/feed.h"
#include "wire/fields.h"

static const struct tly_mark marks[] = {{7, 1000}, {9, UINT64_MAX}};
static const struct tly_feed_sent sent[] = {{7, 1005, 1}};

static struct tly_slice text(const char *word)
{
    return tly_slice_text(word);
}

static void put_ask(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    struct tly_feed_ask ask = {.cursor = text("a cursor"),
                               .delta = true,
                               .origin = 77,
                               .failed = 2,
                               .bytes_max = 4096,
                               .prefixes = {{text("kv:a"), true}, {text("ctr:"), false}},
                               .prefix_count = 2};
    tly_feed_ask_put(out, &ask);
}

static const uint8_t floors[] = {0, 1, 0xcd, 0x01, 0x00};

static void put_answer(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    struct tly_feed_answer answer = {.verdict = TLY_FEED_COLD_START,
                                     .reason = TLY_COLD_AHEAD,
                                     .cursor = text("a cursor"),
                                     .place = text("a place"),
                                     .more = true,
                                     .origin = 5,
                                     .taken = 6,
                                     .forgotten = 7,
                                     .missing = {{text("a"), text("b")}, 2},
                                     .dropped = {{text("c")}, 1},
                                     .floors = tly_slice_of(floors, sizeof floors),
                                     .floor_count = 3,
                                     .swept = {8, 9, 10}};
    tly_feed_answer_put(out, &answer);
}

static void put_cursor(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    struct tly_feed_cursor cursor = {.base = {5, 6, 7, 8}, .in_round = true};
    tly_feed_cursor_put(out, &cursor, (struct tly_mark_list){marks, 2}, sent, 1);
}

static void put_place(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    struct tly_feed_place place = {.base = {5, 6, 7, 8},
                                   .number = 9,
                                   .chunks = 10,
                                   .at = UINT64_MAX,
                                   .key = text("key"),
                                   .sent = {11, 12},
                                   .seen = 13};
    tly_feed_place_put(out, &place);
}

static struct tly_buf written(encode_fn *put)
{
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 1u << 20);
    put(&out, &mem, NULL);
    assert_int_equal(out.result, TLY_OK);
    return out;
}

static void a_question_is_read_as_it_was_written(void **state)
{
    struct tly_buf out = written(put_ask);
    struct tly_feed_ask ask;
    assert_int_equal(tly_feed_ask_get(tly_buf_slice(&out), &ask), TLY_OK);
    assert_true(ask.delta && tly_slice_equal(ask.cursor, text("a cursor")));
    assert_int_equal(ask.origin, 77);
    assert_int_equal(ask.failed, 2);
    assert_int_equal(ask.bytes_max, 4096);
    assert_int_equal(ask.prefix_count, 2);
    assert_true(ask.prefixes[0].held && !ask.prefixes[1].held);
    assert_true(tly_slice_equal(ask.prefixes[1].prefix, text("ctr:")));
    uint64_t scope = tly_feed_scope(&ask);
    ask.prefix_count = 1;
    assert_true(scope != 0 && tly_feed_scope(&ask) != scope && tly_feed_scope(&ask) != 0);
    ask.prefix_count = 0;
    assert_int_equal(tly_feed_scope(&ask), 0);
    tly_buf_fini(&out);
}

static void an_answer_is_read_as_it_was_written(void **state)
{
    struct tly_buf out = written(put_answer);
    struct tly_feed_answer answer;
    assert_int_equal(tly_feed_answer_get(tly_buf_slice(&out), &answer), TLY_OK);
    assert_int_equal(answer.verdict, TLY_FEED_COLD_START);
    assert_int_equal(answer.reason, TLY_COLD_AHEAD);
    assert_true(answer.more && tly_slice_equal(answer.place, text("a place")));
    assert_int_equal(answer.origin, 5);
    assert_int_equal(answer.taken, 6);
    assert_int_equal(answer.forgotten, 7);
    assert_int_equal(answer.missing.count, 2);
    assert_true(tly_slice_equal(answer.missing.names[1], text("b")));
    assert_int_equal(answer.dropped.count, 1);
    assert_int_equal(answer.floor_count, 3);
    assert_true(tly_slice_equal(answer.floors, tly_slice_of(floors, sizeof floors)));
    assert_true(answer.swept.upto == 8 && answer.swept.now_ms == 9 && answer.swept.skew_ns == 10);
    tly_buf_fini(&out);
}

static void get_dropped(struct tly_cursor *cursor, void *message)
{
    size_t *names = message;
    *names = tly_get_array(cursor, TLY_FEED_PREFIXES_MAX);
    for (size_t i = 0; i < *names; i++)
        (void)tly_get_bytes(cursor, TLY_KEY_BYTES_MAX);
}

/* E8. */
static void who_does_not_know_what_an_answer_says_more_passes_over_it(void **state)
{
    (void)state;
    static const struct tly_field_reader fields[] = {{"dropped", get_dropped}};
    struct tly_buf out = written(put_answer);
    struct tly_cursor cursor = tly_cursor_of(tly_buf_slice(&out));
    size_t names = 0;
    tly_fields_get(&cursor, fields, 1, 1, &names);
    assert_int_equal(tly_cursor_end(&cursor), TLY_OK);
    assert_int_equal(names, 1);
    tly_buf_fini(&out);
}

static void a_cursor_is_read_as_it_was_written_and_one_kind_is_not_the_other(void **state)
{
    struct tly_buf a = written(put_cursor), b = written(put_place);
    struct tly_feed_cursor cursor;
    struct tly_feed_place place;
    struct tly_feed_sent one;
    struct tly_mark mark;
    assert_int_equal(tly_feed_cursor_get(tly_buf_slice(&a), &cursor), TLY_OK);
    assert_int_equal(cursor.base.late, 8);
    assert_true(cursor.in_round);
    assert_true(tly_marks_next(&cursor.marks, &mark) && mark.origin == 7 && mark.ts == 1000);
    assert_true(tly_marks_next(&cursor.marks, &mark) && !tly_marks_next(&cursor.marks, &mark));
    assert_true(tly_feed_sent_next(&cursor, &one) && !tly_feed_sent_next(&cursor, &one));
    assert_true(one.origin == 7 && one.ts == 1005 && one.passed == 1);
    assert_int_equal(tly_feed_place_get(tly_buf_slice(&b), &place), TLY_OK);
    assert_int_equal(place.at, UINT64_MAX);
    assert_int_equal(place.seen, 13);
    assert_true(place.sent.ts == 11 && place.sent.origin == 12);
    assert_int_equal(tly_feed_cursor_get(tly_buf_slice(&b), &cursor), TLY_UNKNOWN_FRAME);
    assert_int_equal(tly_feed_place_get(tly_buf_slice(&a), &place), TLY_UNKNOWN_FRAME);
    tly_buf_fini(&a);
    tly_buf_fini(&b);
}

/* What is read twice the same was read; of anything else there is a result. */
static bool is_judged(struct tly_slice bytes, void *context)
{
    bool *whole = context;
    struct tly_feed_ask ask;
    struct tly_feed_answer answer;
    struct tly_feed_cursor cursor;
    struct tly_feed_place place;
    struct tly_feed_sent one;
    struct tly_mark mark;
    enum tly_result results[] = {tly_feed_ask_get(bytes, &ask), tly_feed_answer_get(bytes, &answer),
                                 tly_feed_cursor_get(bytes, &cursor), tly_feed_place_get(bytes, &place)};
    bool ok = false;
    for (size_t i = 0; i < 4; i++) {
        if (results[i] != TLY_OK && results[i] != TLY_BAD_MESSAGE && results[i] != TLY_UNKNOWN_FRAME)
            return false;
        ok = ok || results[i] == TLY_OK;
    }
    struct tly_cursor ages = tly_cursor_of(results[1] == TLY_OK ? answer.floors : tly_slice_of(NULL, 0));
    for (size_t i = 0; results[1] == TLY_OK && i < answer.floor_count; i++)
        (void)tly_get_uint(&ages);
    if (results[1] == TLY_OK && tly_cursor_end(&ages) != TLY_OK) return false;
    if (results[0] == TLY_OK && ask.prefix_count > TLY_FEED_PREFIXES_MAX) return false;
    if (results[2] == TLY_OK) {
        while (tly_marks_next(&cursor.marks, &mark))
            if (mark.origin == 0) return false;
        while (tly_feed_sent_next(&cursor, &one))
            if (cursor.sent.result != TLY_OK) return false;
    }
    return whole == NULL || *whole == ok;
}

static void damage_is_seen_or_harmless(void **state)
{
    encode_fn *const puts[] = {put_ask, put_answer, put_cursor, put_place};
    struct tly_buf bufs[4];
    struct tly_slice seeds[4];
    for (size_t i = 0; i < 4; i++) {
        bool whole = true;
        bufs[i] = written(puts[i]);
        seeds[i] = tly_buf_slice(&bufs[i]);
        at_the_edge(seeds[i], is_judged, &whole);
        whole = false;
        each_prefix(seeds[i], is_judged, &whole);
        each_bit_flip(seeds[i], is_judged, NULL);
        each_failed_allocation(puts[i], NULL);
    }
    each_mutant(seeds, 4, is_judged, NULL);
    for (size_t i = 0; i < 4; i++)
        tly_buf_fini(&bufs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_read_as_it_was_written),
        cmocka_unit_test(an_answer_is_read_as_it_was_written),
        cmocka_unit_test(who_does_not_know_what_an_answer_says_more_passes_over_it),
        cmocka_unit_test(a_cursor_is_read_as_it_was_written_and_one_kind_is_not_the_other),
        cmocka_unit_test(damage_is_seen_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
