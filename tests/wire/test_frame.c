#include "tests/support/mem.h"
#include "tests/support/rng.h"
#include "tests/wire/damage.h"
#include "tests/wire/raw_frame.h"
#include "wire/frame.h"

#include <lz4.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* What a test needs: bytes that a frame is written to, scratch to read with, and a body to fill. */
struct bench {
    struct tly_buf out, scratch;
    uint8_t body[TLY_FRAME_BODY_MAX + 1];
    struct tly_frame frame;
    size_t consumed;
};

static int setup(void **state)
{
    struct tly_mem mem = test_mem();
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return -1;
    tly_buf_init(&bench->out, &mem, SIZE_MAX);
    tly_buf_init(&bench->scratch, &mem, TLY_FRAME_BODY_MAX);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    tly_buf_fini(&bench->out);
    tly_buf_fini(&bench->scratch);
    free(bench);
    return test_mem_live() == 0 ? 0 : -1;
}

static struct tly_slice same_bytes(struct bench *bench, size_t n)
{
    memset(bench->body, 'x', n);
    return tly_slice_of(bench->body, n);
}

static struct tly_slice random_bytes(struct bench *bench, size_t n)
{
    struct test_rng rng = test_rng_of(test_seed_first());
    for (size_t i = 0; i < n; i++)
        bench->body[i] = (uint8_t)test_rng_next(&rng);
    return tly_slice_of(bench->body, n);
}

static struct tly_slice frame_of(struct bench *bench, unsigned type, struct tly_slice body)
{
    tly_buf_clear(&bench->out);
    tly_frame_put(&bench->out, (enum tly_frame_type)type, body);
    assert_int_equal(bench->out.result, TLY_OK);
    return tly_buf_slice(&bench->out);
}

static struct tly_slice raw_frame_of(struct bench *bench, unsigned kind, const char *stored_hex)
{
    uint8_t stored[64];
    tly_buf_clear(&bench->out);
    raw_frame(&bench->out, kind, from_hex(stored_hex, stored, sizeof stored));
    return tly_buf_slice(&bench->out);
}

static enum tly_result get(struct bench *bench, struct tly_slice in)
{
    return tly_frame_get(in, &bench->scratch, &bench->frame, &bench->consumed);
}

static enum tly_result get_hex(struct bench *bench, const char *hex)
{
    uint8_t bytes[64];
    return get(bench, from_hex(hex, bytes, sizeof bytes));
}

static void assert_round_trip(struct bench *bench, struct tly_slice body)
{
    struct tly_slice frame = frame_of(bench, TLY_FRAME_ROUND, body);
    assert_int_equal(get(bench, frame), TLY_OK);
    assert_int_equal(bench->consumed, frame.n);
    assert_int_equal(bench->frame.type, TLY_FRAME_ROUND);
    assert_false(bench->frame.ignorable);
    assert_true(tly_slice_equal(bench->frame.body, body));
}

static void a_body_of_any_size_comes_back(void **state)
{
    static const size_t sizes[] = {0,     1,     2,     126,   127,    128,    129,    1000,
                                   16383, 16384, 16385, 65536, 262142, 262143, 262144, TLY_FRAME_BODY_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_round_trip(*state, random_bytes(*state, sizes[i]));
        assert_round_trip(*state, same_bytes(*state, sizes[i]));
    }
}

static bool is_compressed(struct tly_slice frame)
{
    size_t at = 0;
    while (frame.p[at] >= 0x80)
        at++;
    return (frame.p[at + 1] & TLY_FRAME_LZ4) != 0;
}

static void a_body_is_compressed_from_128_bytes_on_when_that_is_worth_it(void **state)
{
    assert_false(is_compressed(frame_of(*state, TLY_FRAME_ROUND, same_bytes(*state, 127))));
    assert_true(is_compressed(frame_of(*state, TLY_FRAME_ROUND, same_bytes(*state, 128))));
    assert_false(is_compressed(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 5000))));
}

static void a_body_that_shrinks_by_less_than_5_percent_stays_as_it_is(void **state)
{
    struct bench *bench = *state;
    for (size_t same = 0; same < 200; same++) {
        (void)random_bytes(bench, 1000);
        memset(bench->body, 0, same);
        struct tly_slice frame = frame_of(bench, TLY_FRAME_ROUND, tly_slice_of(bench->body, 1000));
        bool small = frame.n - 7 <= 950;
        claim(small == is_compressed(frame));
        claim(small || frame.n == 1000 + 7);
    }
}

static void a_body_above_the_limit_is_too_large_to_write(void **state)
{
    struct bench *bench = *state;
    tly_frame_put(&bench->out, TLY_FRAME_ROUND, random_bytes(bench, TLY_FRAME_BODY_MAX + 1));
    assert_int_equal(bench->out.result, TLY_TOO_LARGE);
    assert_int_equal(bench->out.n, 0);
}

static void the_checksum_is_the_low_half_of_xxh3_over_all_but_itself(void **state)
{
    struct bench *bench = *state;
    for (size_t n = 0; n < 1000; n += 37) {
        struct tly_slice body = random_bytes(bench, n);
        tly_buf_clear(&bench->out);
        tly_frame_put(&bench->out, TLY_FRAME_ACK, body);
        size_t half = bench->out.n;
        raw_frame(&bench->out, TLY_FRAME_ACK, body);
        assert_true(tly_slice_equal(tly_slice_of(bench->out.p, half),
                                    tly_slice_of(bench->out.p + half, bench->out.n - half)));
    }
}

static bool is_ok(struct tly_slice bytes, void *context)
{
    return get(context, bytes) == TLY_OK;
}

static bool is_more(struct tly_slice bytes, void *context)
{
    return get(context, bytes) == TLY_MORE;
}

static bool is_not_ok(struct tly_slice bytes, void *context)
{
    return get(context, bytes) != TLY_OK;
}

static void every_prefix_of_a_frame_wants_more(void **state)
{
    each_prefix(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 0)), is_more, *state);
    each_prefix(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 300)), is_more, *state);
    each_prefix(frame_of(*state, TLY_FRAME_ROUND, same_bytes(*state, 20000)), is_more, *state);
}

static void a_frame_is_read_without_touching_what_follows(void **state)
{
    at_the_edge(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 0)), is_ok, *state);
    at_the_edge(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 300)), is_ok, *state);
    at_the_edge(frame_of(*state, TLY_FRAME_ROUND, same_bytes(*state, 300)), is_ok, *state);
}

static void every_turned_bit_is_noticed(void **state)
{
    each_bit_flip(frame_of(*state, TLY_FRAME_PING, random_bytes(*state, 0)), is_not_ok, *state);
    each_bit_flip(frame_of(*state, TLY_FRAME_ROUND, random_bytes(*state, 200)), is_not_ok, *state);
    each_bit_flip(frame_of(*state, TLY_FRAME_ROUND, same_bytes(*state, 2000)), is_not_ok, *state);
}

static void a_turned_bit_in_the_body_is_a_bad_checksum(void **state)
{
    struct bench *bench = *state;
    struct tly_slice frame = frame_of(bench, TLY_FRAME_ROUND, random_bytes(bench, 100));
    bench->out.p[frame.n - 1] ^= 1;
    assert_int_equal(get(bench, frame), TLY_BAD_CHECKSUM);
}

static void frames_follow_each_other(void **state)
{
    struct bench *bench = *state;
    tly_frame_put(&bench->out, TLY_FRAME_PING, tly_slice_text("one"));
    tly_frame_put(&bench->out, TLY_FRAME_PONG, same_bytes(bench, 500));
    struct tly_slice rest = tly_buf_slice(&bench->out);
    assert_int_equal(get(bench, rest), TLY_OK);
    assert_int_equal(bench->frame.type, TLY_FRAME_PING);
    assert_true(tly_slice_equal(bench->frame.body, tly_slice_text("one")));
    rest = tly_slice_of(rest.p + bench->consumed, rest.n - bench->consumed);
    assert_int_equal(get(bench, rest), TLY_OK);
    assert_int_equal(bench->frame.type, TLY_FRAME_PONG);
    assert_int_equal(bench->frame.body.n, 500);
    assert_int_equal(bench->consumed, rest.n);
}

static void an_unknown_type_is_given_as_it_is_and_may_be_ignorable(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(get(bench, frame_of(bench, 31 | TLY_FRAME_IGNORABLE, tly_slice_text("?"))), TLY_OK);
    assert_int_equal(bench->frame.type, 31);
    assert_true(bench->frame.ignorable);
    assert_int_equal(get(bench, raw_frame_of(bench, 0, "01")), TLY_OK);
    assert_int_equal(bench->frame.type, 0);
    assert_false(bench->frame.ignorable);
}

static void the_top_bit_of_the_kind_is_refused(void **state)
{
    assert_int_equal(get(*state, raw_frame_of(*state, TLY_FRAME_PING | 0x80u, "01")), TLY_BAD_FRAME);
    assert_int_equal(get_hex(*state, "05 85"), TLY_BAD_FRAME);
}

static void a_length_above_the_limit_is_refused_at_once(void **state)
{
    assert_int_equal(get_hex(*state, "80 80 80 80 10"), TLY_TOO_LARGE); /* 4 GiB */
    assert_int_equal(get_hex(*state, "80 80 80"), TLY_TOO_LARGE);       /* … whatever it becomes */
    assert_int_equal(get_hex(*state, "ff ff ff ff ff ff ff ff ff 01"), TLY_TOO_LARGE);
    assert_int_equal(get_hex(*state, "81 80 10"), TLY_TOO_LARGE); /* the limit + 1 */
    assert_int_equal(get_hex(*state, "ff ff 7f"), TLY_TOO_LARGE);
    assert_int_equal(get_hex(*state, "80 80 10"), TLY_MORE); /* the limit */
}

static void a_length_that_is_not_in_its_shortest_form_is_refused(void **state)
{
    assert_int_equal(get_hex(*state, "80 00"), TLY_BAD_FRAME);
    assert_int_equal(get_hex(*state, "85 00"), TLY_BAD_FRAME);
    assert_int_equal(get_hex(*state, "85 80 00"), TLY_BAD_FRAME);
}

/* Each has a checksum that fits. `f0` 'x' … is LZ4 for literals; see lz4_Block_format. */
static void compressed_bodies_that_lie_are_refused(void **state)
{
    static const struct {
        const char *what;
        const char *stored_hex;
        enum tly_result result;
    } rows[] = {
        {"two bytes as they are said to be", "02 20 61 62", TLY_OK},
        {"nothing at all", "", TLY_BAD_FRAME},
        {"a raw length that does not end", "80", TLY_BAD_FRAME},
        {"a raw length alone", "02", TLY_BAD_FRAME},
        {"no bytes", "00", TLY_BAD_FRAME},
        {"no bytes, compressed", "00 00", TLY_BAD_FRAME},
        {"a raw length that is not in its shortest form", "82 00 20 61 62", TLY_BAD_FRAME},
        {"fewer bytes than said", "03 20 61 62", TLY_BAD_FRAME},
        {"more bytes than said", "01 20 61 62", TLY_BAD_FRAME},
        {"the limit + 1", "81 80 10 20 61 62", TLY_TOO_LARGE},
        {"4 GiB", "80 80 80 80 10 20 61 62", TLY_TOO_LARGE},
        {"literals that are not there", "0f f0 00 61 62", TLY_BAD_FRAME},
        {"a match before the beginning", "20 1f 61 ff ff 00 50 61 61 61 61 61", TLY_BAD_FRAME},
        {"a match at offset 0", "20 1f 61 00 00 00 50 61 61 61 61 61", TLY_BAD_FRAME},
        {"a match length that does not end", "20 1f 61 01 00 ff ff ff ff", TLY_BAD_FRAME},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum tly_result result =
            get(*state, raw_frame_of(*state, TLY_FRAME_ROUND | TLY_FRAME_LZ4, rows[i].stored_hex));
        if (result != rows[i].result) fail_msg("%s: %s", rows[i].what, tly_result_name(result));
    }
}

/* A stored body of some KiB that unpacks to `raw` bytes and says that it is `said`. */
static struct tly_slice bomb_of(struct bench *bench, size_t raw, size_t said)
{
    uint8_t *zeros = calloc(1, raw), *stored = malloc((size_t)LZ4_compressBound((int)raw) + 3);
    if (zeros == NULL || stored == NULL) abort();
    size_t n = 0;
    for (; said >= 0x80; said >>= 7)
        stored[n++] = (uint8_t)(said | 0x80);
    stored[n++] = (uint8_t)said;
    n += (size_t)LZ4_compress_default((char *)zeros, (char *)stored + n, (int)raw,
                                      LZ4_compressBound((int)raw));
    tly_buf_clear(&bench->out);
    raw_frame(&bench->out, TLY_FRAME_ROUND | TLY_FRAME_LZ4, tly_slice_of(stored, n));
    free(zeros);
    free(stored);
    return tly_buf_slice(&bench->out);
}

static void an_lz4_bomb_never_unpacks_beyond_what_it_said(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(get(bench, bomb_of(bench, TLY_FRAME_BODY_MAX, TLY_FRAME_BODY_MAX)), TLY_OK);
    assert_int_equal(get(bench, bomb_of(bench, 10 * TLY_FRAME_BODY_MAX, 10 * TLY_FRAME_BODY_MAX)),
                     TLY_TOO_LARGE);
    assert_int_equal(get(bench, bomb_of(bench, 10 * TLY_FRAME_BODY_MAX, TLY_FRAME_BODY_MAX)), TLY_BAD_FRAME);
    tly_buf_fini(&bench->scratch);
    assert_int_equal(get(bench, bomb_of(bench, 10 * TLY_FRAME_BODY_MAX, 1000)), TLY_BAD_FRAME);
    assert_true(bench->scratch.capacity <= 1000);
}

static void scratch_that_cannot_hold_the_body_is_told_apart(void **state)
{
    struct bench *bench = *state;
    struct tly_slice frame = frame_of(bench, TLY_FRAME_ROUND, same_bytes(bench, 1000));
    struct test_failing failing = {0};
    struct tly_mem mem = test_failing_mem(&failing);
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, 2000);
    assert_int_equal(tly_frame_get(frame, &scratch, &bench->frame, &bench->consumed), TLY_NOMEM);
    assert_true(failing.failed);
    assert_int_equal(tly_frame_get(frame, &scratch, &bench->frame, &bench->consumed), TLY_OK);
    tly_buf_fini(&scratch);
    tly_buf_init(&scratch, &mem, 999);
    assert_int_equal(tly_frame_get(frame, &scratch, &bench->frame, &bench->consumed), TLY_TOO_LARGE);
    tly_buf_fini(&scratch);
}

static void a_frame_that_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
    struct bench *bench = *state;
    struct tly_mem mem = test_mem();
    struct tly_buf out;
    tly_buf_init(&out, &mem, 100);
    tly_frame_put(&out, TLY_FRAME_PING, random_bytes(bench, 50));
    size_t n = out.n;
    tly_frame_put(&out, TLY_FRAME_PING, random_bytes(bench, 50));
    assert_int_equal(out.result, TLY_TOO_LARGE);
    assert_int_equal(out.n, n);
    tly_buf_fini(&out);
}

static void put_frames(struct tly_buf *out, const struct tly_mem *mem, void *context)
{
    (void)mem;
    struct bench *bench = context;
    tly_frame_put(out, TLY_FRAME_PING, tly_slice_text("ping"));
    tly_frame_put(out, TLY_FRAME_ROUND, tly_slice_of(bench->body, 100000));
}

static void without_memory_no_frame_is_written(void **state)
{
    each_failed_allocation(put_frames, *state);
}

/* A mutant, once as it is and once with the checksum put right: then it is the frame's own checks that must hold. */
static bool mutant_is_harmless(struct tly_slice bytes, void *context)
{
    struct bench *bench = context;
    enum tly_result result = get(bench, bytes);
    if (result == TLY_OK && bench->consumed > bytes.n) return false;
    uint8_t copy[8192];
    if (bytes.n > sizeof copy || bytes.n == 0) return true;
    memcpy(copy, bytes.p, bytes.n);
    if (!seal_raw_frame(copy, bytes.n)) return true;
    result = get(bench, tly_slice_of(copy, bytes.n));
    if (result != TLY_OK) return result == TLY_BAD_FRAME || result == TLY_TOO_LARGE;
    return bench->consumed <= bytes.n && bench->frame.type <= 31 && bench->frame.body.n <= TLY_FRAME_BODY_MAX;
}

static void mutants_are_frames_within_the_limits_or_none(void **state)
{
    struct bench *bench = *state;
    size_t ends[5] = {0};
    tly_frame_put(&bench->out, TLY_FRAME_PING, tly_slice_text("ping"));
    ends[1] = bench->out.n;
    tly_frame_put(&bench->out, TLY_FRAME_ROUND, same_bytes(bench, 300));
    ends[2] = bench->out.n;
    tly_frame_put(&bench->out, TLY_FRAME_ROUND, random_bytes(bench, 200));
    ends[3] = bench->out.n;
    memset(bench->body + 50, 'y', 100);
    tly_frame_put(&bench->out, TLY_FRAME_ROUND, tly_slice_of(bench->body, 200));
    ends[4] = bench->out.n;
    struct tly_slice seeds[4];
    for (size_t i = 0; i < 4; i++)
        seeds[i] = tly_slice_of(bench->out.p + ends[i], ends[i + 1] - ends[i]);
    each_mutant(seeds, 4, mutant_is_harmless, bench);
}

#define test(claim) cmocka_unit_test_setup_teardown(claim, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_body_of_any_size_comes_back),
        test(a_body_is_compressed_from_128_bytes_on_when_that_is_worth_it),
        test(a_body_that_shrinks_by_less_than_5_percent_stays_as_it_is),
        test(a_body_above_the_limit_is_too_large_to_write),
        test(the_checksum_is_the_low_half_of_xxh3_over_all_but_itself),
        test(every_prefix_of_a_frame_wants_more),
        test(a_frame_is_read_without_touching_what_follows),
        test(every_turned_bit_is_noticed),
        test(a_turned_bit_in_the_body_is_a_bad_checksum),
        test(frames_follow_each_other),
        test(an_unknown_type_is_given_as_it_is_and_may_be_ignorable),
        test(the_top_bit_of_the_kind_is_refused),
        test(a_length_above_the_limit_is_refused_at_once),
        test(a_length_that_is_not_in_its_shortest_form_is_refused),
        test(compressed_bodies_that_lie_are_refused),
        test(an_lz4_bomb_never_unpacks_beyond_what_it_said),
        test(scratch_that_cannot_hold_the_body_is_told_apart),
        test(a_frame_that_does_not_fit_leaves_the_buffer_as_it_was),
        test(without_memory_no_frame_is_written),
        test(mutants_are_frames_within_the_limits_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
