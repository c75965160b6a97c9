/* Protocol buffers: what is malformed is, what nobody knows is left out, and numbers of every size come back. */
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"
#include "wire/protobuf.h"

#include <stdlib.h>

#define BYTES(text) tly_slice_of(text, sizeof(text) - 1)

/* How many fields are read of a message; -1: it is malformed. */
static int fields_of(struct tly_slice message)
{
    /* In a block of its own size, so that a sanitizer sees one byte too many. */
    uint8_t *copy = malloc(message.n > 0 ? message.n : 1);
    assert_non_null(copy);
    if (message.n > 0) memcpy(copy, message.p, message.n);
    struct tly_pb in = tly_pb_of(tly_slice_of(copy, message.n));
    int count = 0;
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        count++;
    free(copy);
    return in.bad ? -1 : count;
}

static void every_type_is_read(void **state)
{
    struct tly_pb in = tly_pb_of(BYTES("\x08\x96\x01\x12\x02hi\x1d\x01\x02\x03\x04\x21\x01\0\0\0\0\0\0\x80"));
    struct tly_pb_field field;
    assert_true(tly_pb_next(&in, &field) && tly_pb_is_varint(&field, 1));
    assert_int_equal(field.value, 150);
    assert_true(tly_pb_next(&in, &field) && tly_pb_is_bytes(&field, 2));
    assert_true(tly_slice_equal(field.bytes, tly_slice_text("hi")));
    assert_true(tly_pb_next(&in, &field));
    assert_int_equal(field.type, TLY_PB_FIXED32);
    assert_int_equal(field.value, 0x04030201);
    assert_true(tly_pb_next(&in, &field));
    assert_int_equal(field.type, TLY_PB_FIXED64);
    assert_true(field.value == UINT64_C(0x8000000000000001));
    assert_false(tly_pb_next(&in, &field));
    assert_false(in.bad);
}

static void nothing_is_a_message(void **state)
{
    assert_int_equal(fields_of(tly_slice_of(NULL, 0)), 0);
}

static void what_is_malformed_is_bad(void **state)
{
    const struct tly_slice bad[] = {
        BYTES("\x08"),                                         /* no number */
        BYTES("\x08\x80"),                                     /* a number without its end */
        BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), /* of eleven bytes */
        BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), /* a tag that is too long */
        BYTES("\x80\x80\x80\x80\x10\x01"),                     /* a tag of more than 32 bits */
        BYTES("\x00\x01"),                                     /* field 0 */
        BYTES("\x02\x01"),                                     /* … of any type */
        BYTES("\x12\x03hi"),                                   /* three bytes, of which two are there */
        BYTES("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* more than there can be */
        BYTES("\x0e\x01"),                                     /* wire type 6 */
        BYTES("\x0f\x01"),                                     /* wire type 7 */
        BYTES("\x0c"),                                         /* the end of a group that has not begun */
        BYTES("\x0b\x08\x01"),                                 /* a group without its end */
        BYTES("\x0b\x14"),                                     /* … with that of another */
        BYTES("\x1d\x01\x02\x03"),                             /* half a fixed number */
        BYTES("\x21\x01\x02\x03\x04\x05\x06\x07"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (fields_of(bad[i]) != -1) fail_msg("case %zu is not malformed", i);
}

static void groups_are_left_out_whole(void **state)
{
    assert_int_equal(fields_of(BYTES("\x0b\x08\x01\x12\x01x\x0c\x08\x02")), 1);
    assert_int_equal(fields_of(BYTES("\x0b\x13\x13\x14\x14\x0c")), 0);
    uint8_t deep[2 * TLY_PB_GROUPS_MAX + 2];
    memset(deep, 0x0b, sizeof deep / 2);
    memset(deep + sizeof deep / 2, 0x0c, sizeof deep / 2);
    assert_int_equal(fields_of(tly_slice_of(deep, sizeof deep)), -1);
    assert_int_equal(fields_of(tly_slice_of(deep + 1, sizeof deep - 2)), 0);
}

static void every_prefix_ends_somewhere(void **state)
{
    static const char whole[] = "\x0a\x04"
                                "acme\x12\x0a\x0a\x08\x0a\x01k\x12\x03"
                                "abc\x18\x05";
    struct tly_slice message = BYTES(whole);
    assert_int_equal(fields_of(message), 3);
    size_t bad = 0;
    for (size_t n = 0; n < message.n; n++)
        bad += fields_of(tly_slice_of(message.p, n)) < 0;
    assert_int_equal(bad, message.n - 3); /* all but those that end with a field */
}

static void numbers_of_every_size_come_back(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 4096);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t number = (UINT64_C(1) << bit) | 1;
        struct tly_pb_field field;
        tly_buf_clear(&out);
        tly_pb_put_varint(&out, 5, number);
        assert_int_equal(out.n, 1 + tly_pb_size(number));
        struct tly_pb in = tly_pb_of(tly_buf_slice(&out));
        assert_true(tly_pb_next(&in, &field) && tly_pb_is_varint(&field, 5) && field.value == number);
    }
    tly_buf_clear(&out);
    tly_pb_put_varint(&out, 5, 0);
    assert_int_equal(out.n, 0);
    tly_buf_fini(&out);
}

static void messages_of_every_length_nest(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 129, 16383, 16384, 20000};
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    uint8_t *filling = calloc(1, 20000);
    assert_non_null(filling);
    tly_buf_init(&out, &mem, 1 << 20);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct tly_pb_field field;
        tly_buf_clear(&out);
        size_t outer = tly_pb_begin(&out, 1), inner = tly_pb_begin(&out, 2);
        tly_buf_put(&out, filling, lengths[i]);
        tly_pb_end(&out, inner);
        tly_pb_put_varint(&out, 3, 7);
        tly_pb_end(&out, outer);
        struct tly_pb in = tly_pb_of(tly_buf_slice(&out));
        assert_true(tly_pb_next(&in, &field) && tly_pb_is_bytes(&field, 1));
        assert_false(in.at < in.end);
        in = tly_pb_of(field.bytes);
        assert_true(tly_pb_next(&in, &field) && tly_pb_is_bytes(&field, 2));
        assert_int_equal(field.bytes.n, lengths[i]);
        assert_true(tly_pb_next(&in, &field) && tly_pb_is_varint(&field, 3) && field.value == 7);
    }
    free(filling);
    tly_buf_fini(&out);
}

static void what_does_not_fit_stays_in_the_buffer(void **state)
{
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 64);
    size_t begun = tly_pb_begin(&out, 1);
    for (int i = 0; i < 40; i++)
        tly_buf_put(&out, "xx", 2);
    tly_pb_end(&out, begun);
    assert_int_equal(out.result, TLY_TOO_LARGE);
    tly_buf_fini(&out);
    assert_int_equal(test_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(nothing_is_a_message),
        cmocka_unit_test(what_is_malformed_is_bad),
        cmocka_unit_test(groups_are_left_out_whole),
        cmocka_unit_test(every_prefix_ends_somewhere),
        cmocka_unit_test(numbers_of_every_size_come_back),
        cmocka_unit_test(messages_of_every_length_nest),
        cmocka_unit_test(what_does_not_fit_stays_in_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
