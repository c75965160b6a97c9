/*
 * A stream of frames.  Claims: nothing is consumed that is not there, no body is larger than the limit, every prefix of a good
 * frame wants more, and a body that was read is written and read again as it was.
 */
#include "tests/fuzz/fuzz_mem.h"
#include "wire/frame.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read_again(const struct tly_mem *mem, const struct tly_frame *frame)
{
    struct tly_buf out, scratch;
    tly_buf_init(&out, mem, TLY_FRAME_BODY_MAX + TLY_FRAME_HEAD_MAX);
    tly_buf_init(&scratch, mem, TLY_FRAME_BODY_MAX);
    unsigned type = frame->type | (frame->ignorable ? TLY_FRAME_IGNORABLE : 0u);
    tly_frame_put(&out, (enum tly_frame_type)type, frame->body);
    assert(out.result == TLY_OK);
    struct tly_frame again;
    size_t consumed = 0;
    enum tly_result result = tly_frame_get(tly_buf_slice(&out), &scratch, &again, &consumed);
    assert(result == TLY_OK && consumed == out.n);
    assert(again.type == frame->type && again.ignorable == frame->ignorable);
    assert(tly_slice_equal(again.body, frame->body));
    tly_buf_fini(&out);
    tly_buf_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tly_mem mem = fuzz_mem();
    struct tly_buf scratch;
    tly_buf_init(&scratch, &mem, TLY_FRAME_BODY_MAX);
    struct tly_slice rest = tly_slice_of(data, size);
    struct tly_frame frame;
    size_t consumed = 0;
    while (tly_frame_get(rest, &scratch, &frame, &consumed) == TLY_OK) {
        assert(consumed > 0 && consumed <= rest.n && frame.body.n <= TLY_FRAME_BODY_MAX);
        write_and_read_again(&mem, &frame);
        enum tly_result shorter =
            tly_frame_get(tly_slice_of(rest.p, consumed - 1), &scratch, &frame, &consumed);
        assert(shorter == TLY_MORE);
        rest = tly_slice_of(rest.p + consumed, rest.n - consumed);
    }
    tly_buf_fini(&scratch);
    return 0;
}
