#include "tests/support/mem.h"
#include "tests/wire/damage.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct tly_mark some_marks[] = {{7, 1000}, {UINT64_MAX, UINT64_MAX}, {3, 0}};

static struct tly_buf out;

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    tly_buf_init(&out, &mem, TLY_FRAME_BODY_MAX);
    return 0;
}

static int teardown(void **state)
{
    tly_buf_fini(&out);
    return test_mem_live() == 0 ? 0 : -1;
}

static bool are_some_marks(struct tly_marks marks)
{
    struct tly_mark mark;
    for (size_t i = 0; i < 3; i++) {
        if (!tly_marks_next(&marks, &mark)) return false;
        if (mark.origin != some_marks[i].origin || mark.ts != some_marks[i].ts) return false;
    }
    return !tly_marks_next(&marks, &mark);
}

/* ---- each message, as a judge: whether the bytes are one, and what was taken is within the bounds ---- */

static bool walks_to_its_end(struct tly_marks marks)
{
    struct tly_mark mark;
    size_t left = marks.left;
    for (; tly_marks_next(&marks, &mark); left--)
        if (mark.origin == 0) return false;
    return left == 0;
}

static bool is_ack(struct tly_slice bytes, bool *sound)
{
    struct tly_marks marks;
    bool ok = tly_ack_get(bytes, &marks) == TLY_OK;
    *sound = !ok || walks_to_its_end(marks);
    return ok;
}

static bool is_nak(struct tly_slice bytes, bool *sound)
{
    struct tly_slice name;
    struct tly_marks marks;
    bool ok = tly_nak_get(bytes, &name, &marks) == TLY_OK;
    *sound = !ok || (name.n >= 1 && name.n <= TLY_NAME_BYTES_MAX && walks_to_its_end(marks));
    return ok;
}

static bool is_ping(struct tly_slice bytes, bool *sound)
{
    struct tly_ping ping;
    *sound = true;
    return tly_ping_get(bytes, &ping) == TLY_OK;
}

static bool is_probe(struct tly_slice bytes, bool *sound)
{
    struct tly_probe probe;
    bool ok = tly_probe_get(bytes, &probe) == TLY_OK;
    *sound = !ok || (probe.name.n >= 1 && probe.name.n <= TLY_NAME_BYTES_MAX);
    return ok;
}

static bool is_goodbye(struct tly_slice bytes, bool *sound)
{
    struct tly_slice word, text;
    bool ok = tly_goodbye_get(bytes, &word, &text) == TLY_OK;
    *sound = !ok || (word.n >= 1 && word.n <= TLY_NAME_BYTES_MAX && text.n <= TLY_REASON_BYTES_MAX);
    return ok;
}

static void put_ack(void)
{
    tly_ack_put(&out, some_marks, 3);
}

static void put_nak(void)
{
    tly_nak_put(&out, TLY_CLOCK_AHEAD, some_marks, 3);
}

static void put_ping(void)
{
    tly_ping_put(&out, &(struct tly_ping){.mono_ns = 77, .wall_ns = UINT64_MAX});
}

static void put_probe(void)
{
    struct tly_probe probe = {.nonce = UINT64_MAX, .name = tly_slice_text("n2"), .heard_ms = 1234};
    tly_probe_put(&out, &probe);
}

static void put_goodbye(void)
{
    tly_goodbye_put(&out, tly_slice_text("leaving"), tly_slice_text("the node is being stopped"));
}

static const struct message {
    bool (*is)(struct tly_slice bytes, bool *sound);
    void (*put)(void);
} messages[] = {
    {is_ack, put_ack},         {is_nak, put_nak},     {is_ping, put_ping},
    {is_goodbye, put_goodbye}, {is_probe, put_probe},
};

#define MESSAGES (sizeof messages / sizeof messages[0])

static struct tly_slice body_of(const struct message *message)
{
    tly_buf_clear(&out);
    message->put();
    assert_int_equal(out.result, TLY_OK);
    return tly_buf_slice(&out);
}

static bool taken(struct tly_slice bytes, void *context)
{
    const struct message *message = context;
    bool sound = false;
    return message->is(bytes, &sound) && sound;
}

static bool refused(struct tly_slice bytes, void *context)
{
    const struct message *message = context;
    bool sound = false;
    return !message->is(bytes, &sound);
}

static bool sound_or_refused(struct tly_slice bytes, void *context)
{
    const struct message *message = context;
    bool sound = false;
    (void)message->is(bytes, &sound);
    return sound;
}

/* ---- claims ---- */

static void an_ack_comes_back_as_it_was(void **state)
{
    struct tly_marks marks;
    assert_int_equal(tly_ack_get(body_of(&messages[0]), &marks), TLY_OK);
    assert_true(are_some_marks(marks));
}

static void an_empty_ack_comes_back_empty(void **state)
{
    struct tly_marks marks;
    struct tly_mark mark;
    tly_ack_put(&out, NULL, 0);
    assert_int_equal(tly_ack_get(tly_buf_slice(&out), &marks), TLY_OK);
    assert_false(tly_marks_next(&marks, &mark));
}

static void as_many_marks_as_may_be_come_back_and_one_more_is_not_written(void **state)
{
    static struct tly_mark many[TLY_MARKS_MAX + 1];
    struct tly_marks marks;
    for (size_t i = 0; i <= TLY_MARKS_MAX; i++)
        many[i] = (struct tly_mark){i + 1, UINT64_MAX - i};
    tly_ack_put(&out, many, TLY_MARKS_MAX);
    assert_int_equal(tly_ack_get(tly_buf_slice(&out), &marks), TLY_OK);
    assert_int_equal(marks.left, TLY_MARKS_MAX);
    tly_buf_clear(&out);
    tly_ack_put(&out, many, TLY_MARKS_MAX + 1);
    assert_int_equal(out.result, TLY_TOO_LARGE);
    assert_int_equal(out.n, 0);
}

static void a_nak_comes_back_with_its_reason_by_name(void **state)
{
    struct tly_marks marks;
    struct tly_slice name;
    assert_int_equal(tly_nak_get(body_of(&messages[1]), &name, &marks), TLY_OK);
    assert_true(tly_slice_equal(name, tly_slice_text("clock_ahead")));
    assert_true(are_some_marks(marks));
}

static void a_ping_comes_back_as_it_was(void **state)
{
    struct tly_ping ping;
    assert_int_equal(tly_ping_get(body_of(&messages[2]), &ping), TLY_OK);
    assert_true(ping.mono_ns == 77 && ping.wall_ns == UINT64_MAX);
}

static void a_probe_comes_back_as_it_was(void **state)
{
    struct tly_probe probe;
    assert_int_equal(tly_probe_get(body_of(&messages[4]), &probe), TLY_OK);
    assert_true(probe.nonce == UINT64_MAX && probe.heard_ms == 1234);
    assert_true(tly_slice_equal(probe.name, tly_slice_text("n2")));
}

static void a_goodbye_comes_back_as_it_was(void **state)
{
    struct tly_slice word, text;
    assert_int_equal(tly_goodbye_get(body_of(&messages[3]), &word, &text), TLY_OK);
    assert_true(tly_slice_equal(word, tly_slice_text("leaving")));
    assert_true(tly_slice_equal(text, tly_slice_text("the node is being stopped")));
}

static void a_long_farewell_is_cut_off(void **state)
{
    char sentence[1000];
    struct tly_slice word, text;
    memset(sentence, 'x', sizeof sentence);
    tly_goodbye_put(&out, tly_slice_text("leaving"), tly_slice_of(sentence, sizeof sentence));
    assert_int_equal(tly_goodbye_get(tly_buf_slice(&out), &word, &text), TLY_OK);
    assert_int_equal(text.n, TLY_REASON_BYTES_MAX);
}

static void malformed_bodies_are_refused(void **state)
{
    static const struct {
        size_t message;
        const char *hex;
        bool good;
    } rows[] = {
        {0, "90", true},
        {0, "92 01 02", true},
        {0, "dc 00 02 cd 00 01 d3 00 00 00 00 00 00 00 02", true},
        {0, "91 01", false},
        {0, "92 00 02", false},
        {0, "92 01 ff", false},
        {0, "92 01 02 00", false},
        {0, "92 01", false},
        {0, "80", false},
        {0, "c0", false},
        {0, "dd 0f ff ff ff", false},
        {0, "dd ff ff ff fe 01 02 01 02", false},
        {1, "92 a1 78 90", true},
        {1, "92 a0 90", false},
        {1, "92 78 90", false},
        {1, "91 a1 78", false},
        {1, "91 a1 78 90", false},
        {1, "93 a1 78 90 90", false},
        {1, "92 a1 78 92 00 01", false},
        {1, "92 db ff ff ff ff 78 90", false},
        {2, "92 01 02", true},
        {2, "92 cf ff ff ff ff ff ff ff ff d0 02", true},
        {2, "91 01", false},
        {2, "91 01 02", false},
        {2, "93 01 02 03", false},
        {2, "92 01 ff", false},
        {2, "92 01 ca 00 00 00 00", false},
        {2, "92 01 02 03", false},
        {3, "92 a1 78 a0", true},
        {3, "92 c4 01 78 c4 00", true},
        {3, "92 a0 a0", false},
        {3, "92 a1 78 da 01 00", false},
        {3, "92 a1 78 01", false},
        {3, "81 a1 78 a0", false},
        {3, "92 a1 78 a0 00", false},
        {4, "93 00 a1 78 00", true},
        {4, "93 00 a0 00", false},
        {4, "93 ff a1 78 00", false},
        {4, "93 00 a1 78 ff", false},
        {4, "92 00 a1 78", false},
        {4, "94 00 a1 78 00 00", false},
    };
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool sound = false;
        struct tly_slice body = from_hex(rows[i].hex, bytes, sizeof bytes);
        if (messages[rows[i].message].is(body, &sound) != rows[i].good) fail_msg("%s", rows[i].hex);
    }
}

static void a_word_or_sentence_beyond_its_limit_is_refused(void **state)
{
    static const uint8_t letters[256];
    struct tly_slice word, text;
    struct tly_marks marks;
    for (size_t more = 0; more <= 1; more++) {
        enum tly_result expected = more == 0 ? TLY_OK : TLY_BAD_MESSAGE;
        tly_buf_clear(&out);
        tly_put_array(&out, 2);
        tly_put_text(&out, tly_slice_of(letters, TLY_NAME_BYTES_MAX + more));
        tly_put_array(&out, 0);
        assert_int_equal(tly_nak_get(tly_buf_slice(&out), &word, &marks), expected);
        tly_buf_clear(&out);
        tly_put_array(&out, 2);
        tly_put_text(&out, tly_slice_of(letters, TLY_NAME_BYTES_MAX));
        tly_put_text(&out, tly_slice_of(letters, TLY_REASON_BYTES_MAX + more));
        assert_int_equal(tly_goodbye_get(tly_buf_slice(&out), &word, &text), expected);
    }
}

static void no_prefix_of_a_message_is_one(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++)
        each_prefix(body_of(&messages[i]), refused, (void *)(uintptr_t)&messages[i]);
}

static void messages_are_read_without_touching_what_follows(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++)
        at_the_edge(body_of(&messages[i]), taken, (void *)(uintptr_t)&messages[i]);
}

static void mutants_are_messages_within_the_bounds_or_none(void **state)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        struct tly_slice seed = body_of(&messages[i]);
        each_mutant(&seed, 1, sound_or_refused, (void *)(uintptr_t)&messages[i]);
    }
}

static void put_all(struct tly_buf *into, const struct tly_mem *mem, void *context)
{
    (void)mem, (void)context;
    tly_ack_put(into, some_marks, 3);
    tly_nak_put(into, TLY_STALE, some_marks, 3);
    tly_ping_put(into, &(struct tly_ping){0});
    tly_goodbye_put(into, tly_slice_text("leaving"), tly_slice_text("for good"));
}

static void without_memory_no_message_is_written(void **state)
{
    each_failed_allocation(put_all, NULL);
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(an_ack_comes_back_as_it_was),
        test(an_empty_ack_comes_back_empty),
        test(as_many_marks_as_may_be_come_back_and_one_more_is_not_written),
        test(a_nak_comes_back_with_its_reason_by_name),
        test(a_ping_comes_back_as_it_was),
        test(a_probe_comes_back_as_it_was),
        test(a_goodbye_comes_back_as_it_was),
        test(a_long_farewell_is_cut_off),
        test(malformed_bodies_are_refused),
        test(a_word_or_sentence_beyond_its_limit_is_refused),
        test(no_prefix_of_a_message_is_one),
        test(messages_are_read_without_touching_what_follows),
        test(mutants_are_messages_within_the_bounds_or_none),
        test(without_memory_no_message_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
