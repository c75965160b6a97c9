/* What is said to a management server, and what becomes of what it says. */
#include "service/shell/xds_message.h"

#include "service/shell/http_json.h"
#include "tests/support/cmocka.h"
#include "tests/support/mem.h"

#include <string.h>

static struct tly_buf empty_buf(void)
{
    struct tly_mem mem = test_mem();
    struct tly_buf buf;
    tly_buf_init(&buf, &mem, 1u << 20);
    return buf;
}

/* A resource of one descriptor, whose bytes may be anything. */
static void put_resource(struct tly_buf *out, const char *type, const char *name, const char *domain,
                         struct tly_slice descriptor)
{
    size_t any = tly_pb_begin(out, 2);
    tly_pb_put_text(out, 1, type);
    size_t value = tly_pb_begin(out, 2);
    tly_pb_put_text(out, 1, name);
    tly_pb_put_text(out, 2, domain);
    if (descriptor.n > 0) tly_pb_put_bytes(out, 3, descriptor);
    tly_pb_end(out, value);
    tly_pb_end(out, any);
}

/* A descriptor of `depth` in each other, the last with a limit. */
static void put_descriptor(struct tly_buf *out, size_t depth, uint64_t unit, size_t replaces)
{
    tly_pb_put_text(out, 1, "k");
    if (depth > 1) {
        size_t inner = tly_pb_begin(out, 4);
        put_descriptor(out, depth - 1, unit, replaces);
        tly_pb_end(out, inner);
        return;
    }
    size_t policy = tly_pb_begin(out, 3);
    tly_pb_put_varint(out, 1, unit);
    tly_pb_put_varint(out, 2, 5);
    for (size_t i = 0; i < replaces; i++) {
        size_t replace = tly_pb_begin(out, 5);
        tly_pb_put_text(out, 1, "r");
        tly_pb_end(out, replace);
    }
    tly_pb_end(out, policy);
}

/* What is said of a response: "" when it was taken. */
static const char *verdict(struct tly_slice bytes, bool merges)
{
    static struct tly_rls_error error;
    struct tly_mem mem = test_mem();
    struct tly_xds_response response;
    if (!tly_xds_response_get(bytes, &response)) return "malformed";
    struct tly_rls_config *config = tly_xds_response_config(&response, merges, &mem, &error);
    assert_true((config == NULL) == (error.text[0] != '\0'));
    tly_rls_config_free(config);
    return error.text;
}

static void a_request_says_what_was_taken_and_what_was_not(void **state)
{
    struct tly_buf out = empty_buf();
    struct tly_xds_request request = {.node_id = "n",
                                      .metadata = "a=b=c,,x,d=",
                                      .version = tly_slice_text("v"),
                                      .nonce = tly_slice_text("o"),
                                      .error = "e"};
    (void)state;
    tly_xds_request_put(&request, &out);
    struct tly_pb in = tly_pb_of(tly_buf_slice(&out));
    uint32_t order[] = {1, 2, 4, 5, 6};
    size_t n = 0;
    for (struct tly_pb_field field; tly_pb_next(&in, &field); n++) {
        assert_true(n < 5 && field.number == order[n]);
        if (field.number == 4) assert_true(tly_slice_equal(field.bytes, tly_slice_text(TLY_XDS_TYPE)));
        if (field.number == 6) assert_memory_equal(field.bytes.p, "\x08\3\x12\1e", field.bytes.n);
        if (field.number == 2)
            assert_memory_equal(field.bytes.p,
                                "\x0a\1n\x1a\x15"
                                "\x0a\x0a\x0a\1a\x12\5\x1a\3b=c"
                                "\x0a\7\x0a\1d\x12\2\x1a\0",
                                field.bytes.n);
    }
    assert_int_equal(n, 5);
    tly_buf_fini(&out);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    const struct {
        size_t depth;
        uint64_t unit;
        size_t replaces;
        const char *says;
    } cases[] = {{1, 1, 0, ""},
                 {TLY_RLS_DEPTH_MAX, 7, TLY_RLS_REPLACES_MAX, ""},
                 {TLY_RLS_DEPTH_MAX + 1, 1, 0, "c: more than 16 descriptors in each other"},
                 {2000, 1, 0, "c: more than 16 descriptors in each other"},
                 {1, 1, TLY_RLS_REPLACES_MAX + 1, "c: more than 64 replaces"},
                 {1, 0, 0, "c: invalid rate limit unit 'UNKNOWN'"},
                 {1, 8, 0, "c: invalid rate limit unit 'of a number that is none'"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tly_buf descriptor = empty_buf(), out = empty_buf();
        put_descriptor(&descriptor, cases[i].depth, cases[i].unit, cases[i].replaces);
        put_resource(&out, TLY_XDS_TYPE, "c", "d", tly_buf_slice(&descriptor));
        assert_string_equal(verdict(tly_buf_slice(&out), false), cases[i].says);
        tly_buf_fini(&descriptor);
        tly_buf_fini(&out);
    }
}

/* Names in three bytes a character: where an error has room for no more of one, it ends between two. */
static void an_error_is_a_text_wherever_it_is_cut(void **state)
{
    struct tly_buf out = empty_buf();
    char name[2 + 3 * 200 + 1];
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'd', shift);
        for (size_t i = 0; i < 200; i++)
            memcpy(name + shift + 3 * i, "\xe4\xb8\xad", 4);
        tly_buf_clear(&out);
        put_resource(&out, TLY_XDS_TYPE, name, name, tly_slice_of(NULL, 0));
        put_resource(&out, TLY_XDS_TYPE, name, name, tly_slice_of(NULL, 0));
        const char *says = verdict(tly_buf_slice(&out), false);
        assert_true(tly_utf8_is_valid(tly_slice_text(says)));
        assert_non_null(strstr(says, ": duplicate domain '"));
    }
    tly_buf_fini(&out);
}

static void resources_are_one_configuration(void **state)
{
    struct tly_buf out = empty_buf();
    (void)state;
    assert_string_equal(verdict(tly_buf_slice(&out), false), "");
    put_resource(&out, TLY_XDS_TYPE, "a", "d", tly_slice_of(NULL, 0));
    put_resource(&out, TLY_XDS_TYPE, "b", "d", tly_slice_of(NULL, 0));
    assert_string_equal(verdict(tly_buf_slice(&out), false), "b: duplicate domain 'd' in config file");
    assert_string_equal(verdict(tly_buf_slice(&out), true), "");
    put_resource(&out, TLY_XDS_TYPE, "\xff", "e", tly_slice_of(NULL, 0));
    assert_non_null(strstr(verdict(tly_buf_slice(&out), true), "cannot parse invalid wire-format data"));
    tly_buf_clear(&out);
    for (size_t i = 0; i <= TLY_XDS_RESOURCES_MAX; i++)
        put_resource(&out, TLY_XDS_TYPE, "a", "d", tly_slice_of(NULL, 0));
    assert_string_equal(verdict(tly_buf_slice(&out), true), "resources: more than 4096 of them");
    tly_buf_fini(&out);
}

/* By the numbers that ratelimit/config/ratelimit/v3/rls_conf.proto has for it. */
static void a_descriptor_says_what_a_file_can_say(void **state)
{
    const struct {
        uint32_t number;
        bool shadow, detailed, quota;
    } cases[] = {
        {15, false, false, false}, {5, true, false, false}, {6, false, true, false}, {7, false, false, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tly_mem mem = test_mem();
        struct tly_rls_error error;
        struct tly_xds_response response;
        struct tly_buf descriptor = empty_buf(), out = empty_buf();
        put_descriptor(&descriptor, 1, 1, 0);
        tly_pb_put_varint(&descriptor, cases[i].number, 1);
        put_resource(&out, TLY_XDS_TYPE, "c", "d", tly_buf_slice(&descriptor));
        assert_true(tly_xds_response_get(tly_buf_slice(&out), &response));
        struct tly_rls_config *config = tly_xds_response_config(&response, false, &mem, &error);
        assert_non_null(config);
        const struct tly_rls_limit *limit = tly_rls_config_limit_at(config, 0);
        assert_int_equal(limit->shadow, cases[i].shadow);
        assert_int_equal(limit->detailed, cases[i].detailed);
        assert_int_equal(limit->quota, cases[i].quota);
        tly_rls_config_free(config);
        tly_buf_fini(&descriptor);
        tly_buf_fini(&out);
    }
}

/* Cut anywhere, and with any byte another one: it is taken or refused, and leaves nothing behind. */
static void damage_is_survived(void **state)
{
    struct tly_buf descriptor = empty_buf(), out = empty_buf();
    (void)state;
    put_descriptor(&descriptor, 3, 1, 2);
    put_resource(&out, TLY_XDS_TYPE, "a", "d", tly_buf_slice(&descriptor));
    for (size_t n = 1; n < out.n; n++)
        assert_string_equal(verdict(tly_slice_of(out.p, n), false), "malformed");
    for (size_t i = 0; i < out.n; i++) {
        uint8_t was = out.p[i];
        for (unsigned byte = 0; byte < 256; byte++) {
            out.p[i] = (uint8_t)byte;
            (void)verdict(tly_buf_slice(&out), false);
        }
        out.p[i] = was;
    }
    assert_string_equal(verdict(tly_buf_slice(&out), false), "");
    tly_buf_fini(&descriptor);
    tly_buf_fini(&out);
}

static int nothing_is_left(void **state)
{
    (void)state;
    return test_mem_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_request_says_what_was_taken_and_what_was_not, nothing_is_left),
        cmocka_unit_test_teardown(what_is_wrong_is_named, nothing_is_left),
        cmocka_unit_test_teardown(an_error_is_a_text_wherever_it_is_cut, nothing_is_left),
        cmocka_unit_test_teardown(resources_are_one_configuration, nothing_is_left),
        cmocka_unit_test_teardown(a_descriptor_says_what_a_file_can_say, nothing_is_left),
        cmocka_unit_test_teardown(damage_is_survived, nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
